"""Chaudhry et al. 2017, "Discovering class-specific pixels for weakly-supervised semantic segmentation" (DCSP).

The route is a graph of cached steps: attention and hierarchical saliency -> Algorithm 1's cues -> one network trained
to classify and to segment -> its own adapted cues -> a second round -> scores. Nothing is computed here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.evaluation import object_recall
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.evaluation.scoring import score_salient_pixels, score_seeds
from wsss_lab.fusion.harmonic import MEANS, cue_frames
from wsss_lab.lab.profiles import has_test, named
from wsss_lab.lab.rehearsal import scale_of
from wsss_lab.lab.steps import Step
from wsss_lab.lab.worlds import ToyWorld
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import RESNET101_BLOCKS, TOY_RESNET_BLOCKS
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.route import PaperRoute, longer, pretrained, start_file
from wsss_lab.refinement.dense_crf import CrfParameters
from wsss_lab.saliency.hierarchy import (
    mean_colour,
    network_hierarchy,
    u2net_hierarchy,
    unsupervised_hierarchy,
    unsupervised_thresholds,
)
from wsss_lab.seeds.attention import attention_maps, attention_outputs, predicted_tags, score_attention, train_attention
from wsss_lab.segmenter.joint import adapt_cues, segment_multiscale, train_joint


def agreement_maps(view: TrainView, maps: np.ndarray, saliency: np.ndarray, side: int,
                   mean: str) -> Iterator[np.ndarray]:
    """Yield the mean of attention and saliency of one image after another: float (C, H, W) in [0, 1], 0 off the tags.

    maps: attention volumes (N, C, h, w). saliency: frame uint8, 255 = 1. mean: a key of MEANS.
    """
    for index, attention in enumerate(attention_maps(view, maps, side)):
        height, width = view.size(index)
        agreement = MEANS[mean](attention, np.float32(saliency[index, :height, :width]) / 255)
        yield agreement * view.tags[index][:, None, None]


def score_agreement(view: EvalView, maps: np.ndarray, saliency: np.ndarray, side: int, mean: str) -> dict:
    """Cues of Algorithm 1 at every gamma at once: {"counts": int32 (N, 3, K, bins)}; the threshold is gamma."""
    return {"counts": score_seeds(view, agreement_maps(view, maps, saliency, side, mean))}


def tuned_cues(view: TrainView, maps: np.ndarray, saliency: np.ndarray, counts: np.ndarray, side: int,
               mean: str) -> dict:
    """Algorithm 1 with the gamma that gives the best cues on other, labelled images: {"masks": frame, "gamma": float}.

    counts: of `score_agreement` on these images. The choice reads their pixel labels.
    """
    gamma, _ = sweep(np.asarray(counts).sum(0)).best_threshold()
    gamma = min(max(float(gamma), 0.01), 0.99)
    return {**cue_frames(view, maps, saliency, side, gamma, mean), "gamma": gamma}


def direct_labels(view: TrainView, maps: np.ndarray, scores: np.ndarray, saliency: np.ndarray, side: int, gamma: float,
                  tags: str) -> dict:
    """Algorithm 1 used as the segmentation itself, without training a segmenter (Table 4, "no").

    tags: "predicted", classes that the attention network sees with a probability above 1/2, as a method at test time
    must do; "known", the image's own tags. Returns {"masks": frame}.
    """
    seen = predicted_tags(scores) if tags == "predicted" else view.tags
    return cue_frames(view, maps, saliency, side, gamma, tags=seen)


@dataclass(frozen=True)
class Published:
    """Values that the paper prints (section), or that its released code settles (marked C)."""

    gamma: float = 0.4  # Sec. 5.1
    erasing: tuple[float, ...] = (0.7, 0.8)  # Sec. 5.1
    scales: tuple[float, ...] = (1.0, 0.75, 0.5)  # at test time, Sec. 5.1; of the attention maps too, C
    random_scale: tuple[float, float] = (0.5, 1.5)  # of the augmentation; C
    crf: CrfParameters = CrfParameters(4, 49, 5, 3, 3)  # C
    input_side: int = 321  # Sec. 5.1
    aspp: tuple[int, ...] = (6, 12, 18, 24)  # DeepLab v2
    batch: int = 10  # Sec. 5.1
    lr: float = 1e-3  # Sec. 5.1; again at the start of each round
    attention_iterations: int = 30000  # Sec. 5.1
    round_iterations: int = 10000  # Sec. 5.1, before and after the cues are adapted
    momentum: float = 0.9  # Sec. 5.1
    weight_decay: float = 5e-4  # Sec. 5.1
    head_lr: float = 10.0  # of new weights (biases: 20); C


PUBLISHED = Published()


@dataclass(frozen=True)
class Scale:
    """How large and how long everything is in one profile; shared by all rows of all tables.

    main: the backbone of the paper's main rows. second: the one of its VGG16 rows; None where there is none.
    attention: stage 1, Eq. (1) alone. round: each round of Eq. (2).
    pretraining: of the main backbone; the second one, and the saliency network, start as in Oh et al. 2017.
    scales: of the maximum. random_scale: of the augmentation, None = trim and mirror only.
    """

    main: Backbone
    second: Backbone | None
    attention: Schedule
    round: Schedule
    pretraining: Schedule | None = None
    scales: tuple[float, ...] = PUBLISHED.scales
    random_scale: tuple[float, float] | None = None
    gamma: float = PUBLISHED.gamma
    image_scale: float = 1.0  # size of the images against the paper's: lengths in pixels are multiplied by it


def _paper_schedule(iterations: int) -> Schedule:
    return Schedule(iterations, PUBLISHED.batch, PUBLISHED.lr, "sgd", "poly", momentum=PUBLISHED.momentum,
                    weight_decay=PUBLISHED.weight_decay, head_lr=PUBLISHED.head_lr)


_GUIDED = oh2017.SCALES

#: Dilations for maps of 16 x 16 positions, the same shares of the map as 6 to 24 are of the paper's 41 x 41.
_SMALL_ASPP = (2, 5, 7, 9)
_TOY_VGG = replace(_GUIDED["toy"].backbone, width=32, aspp=_SMALL_ASPP)
_TOY_RESNET = replace(_TOY_VGG, family="resnet", blocks=TOY_RESNET_BLOCKS)
_SMALL = {"scales": (1.0, 0.875, 0.75),  # half of a 64-pixel image holds too little
          "image_scale": _GUIDED["toy"].image_scale}
_PHOTO_NET = replace(_GUIDED["photos"].backbone, aspp=_SMALL_ASPP)

_SCALES = {
    "quick": Scale(_TOY_RESNET, _TOY_VGG, Schedule(6, 16), Schedule(6, 16), Schedule(6, 32), **_SMALL),
    "toy": Scale(_TOY_RESNET, _TOY_VGG, Schedule(400, 16, 0.1, "sgd", "poly", trunk_lr=0.1),
                 Schedule(500, 16, PUBLISHED.lr, head_lr=PUBLISHED.head_lr), Schedule(1000, 64, 3e-3),
                 **_SMALL),
    "photos": Scale(_PHOTO_NET, None, _GUIDED["photos"].classifier, _GUIDED["photos"].segmenter),
    "voc": Scale(
        Backbone("resnet", RESNET101_BLOCKS, aspp=PUBLISHED.aspp, side=PUBLISHED.input_side),
        replace(_GUIDED["voc"].backbone, aspp=PUBLISHED.aspp), _paper_schedule(PUBLISHED.attention_iterations),
        _paper_schedule(PUBLISHED.round_iterations), random_scale=PUBLISHED.random_scale,
    ),
}
SCALES = _SCALES | {"toy-long": longer(_SCALES["toy"], attention=4, round=4)}

#: File names looked for in the folder WSSS_WEIGHTS.
START_WEIGHTS = oh2017.START_WEIGHTS | {"resnet": "resnet101_imagenet.pth"}


HIERARCHY = ("S1", "S2", "S3")
CUES = (*HIERARCHY, "attention", "G2", "full")
DETECTORS = ("", "unsupervised")  # "" is the profile's own


@dataclass(frozen=True)
class Row:
    """One way through the method: which cues the network learns from, and how.

    cues: "S1" to "S3" (Algorithm 1 with this saliency), "attention" (Algorithm 1 with saliency 1 everywhere), "G2" (the
    guides of Oh et al. 2017) or "full" (ground truth). rounds: of training with Eq. (2). adapt: whether the cues are
    replaced by the network's own before each round but the first. net: "main" or "second" backbone. mean: of attention
    and saliency; gamma is the paper's for the harmonic one and chosen on dev for the others. gradient, absent: see
    wsss_lab.segmenter.joint. frozen: whether stage 1 leaves the trunk as it was pre-trained (released code).
    one_scale: whether cues are adapted from the scores at scale 1 alone.
    """

    cues: str
    rounds: int = 1
    adapt: bool = True
    net: str = "main"
    mean: str = "harmonic"
    gradient: str = "joint"
    absent: str = "excluded"
    frozen: bool = False
    one_scale: bool = False


ROWS = {
    "attention only": Row("attention"),
    "S1": Row("S1"),
    "S1 + adapt": Row("S1", 2),
    "S2": Row("S2"),
    "S2 + adapt": Row("S2", 2),
    "S3": Row("S3"),
    "S3 + adapt": Row("S3", 2),
    "S3 + adapt twice": Row("S3", 3),
    "S3, longer": Row("S3", 2, adapt=False),
    "S3 + adapt, released gradient": Row("S3", 2, gradient="released"),
    "S3 + adapt, released masking": Row("S3", 2, absent="zero"),
    "S3 + adapt, one scale": Row("S3", 2, one_scale=True),
    "S3 + adapt, pixel loss only": Row("S3", 2, gradient="pixel"),
    "S3 + adapt, frozen trunk": Row("S3", 2, frozen=True),
    "S3, geometric mean": Row("S3", mean="geometric"),
    "S3, arithmetic mean": Row("S3", mean="arithmetic"),
    "G2": Row("G2", 2, adapt=False, gradient="pixel"),
    "full": Row("full", 2, adapt=False, gradient="pixel"),
    "VGG, S3 + adapt": Row("S3", 2, net="second"),
    "VGG, G2": Row("G2", 2, adapt=False, net="second", gradient="pixel"),
}

#: Labels pixels exactly as "S3 + adapt, released gradient" does: trained only where that row isn't.
AS_RELEASED = "S3 + adapt, pixel loss only"

#: Rows that a profile runs whose networks take minutes each on a CPU.
_PHOTO_ROWS = ("attention only", "S1", "S1 + adapt", "S2", "S2 + adapt", "S3", "S3 + adapt", "S3, longer", AS_RELEASED,
               "G2")


def trained_rows(profile: str) -> tuple[str, ...]:
    """The rows of ROWS that a profile trains. A gamma is chosen for a row only on masks that no score is from."""
    if profile == "photos":
        return _PHOTO_ROWS
    return tuple(name for name, row in ROWS.items() if name != AS_RELEASED
                 and (row.mean == "harmonic" or tuning_split(profile) == "dev"))


def tuning_split(profile: str) -> str:
    """The split on whose masks gammas are chosen: dev, or val where there is none; cues are made of neither."""
    return "dev" if has_test(profile) else "val"


@dataclass(frozen=True)
class Route(PaperRoute):
    """The steps of one full run of the paper at one seed, on one world.

    starts: start weights of the trunks, "main" and "second". guided: the route of Oh et al. 2017 on the same world,
    whose saliency network and G2 guides are used.
    """

    starts: dict[str, Any]
    guided: oh2017.Route

    @property
    def profile(self) -> str:
        return self.guided.profile

    @property
    def left_out(self) -> set[str]:
        return {*ROWS, "test"} - {*trained_rows(self.profile), self.split("final")}

    def split(self, name: str) -> str:
        """A split by what it is for: "tuning", on whose masks gammas are chosen; "final", that of the paper's test
        results, or val where there is no other with masks."""
        return {"tuning": tuning_split(self.profile), "final": "test" if has_test(self.profile) else "val"
                }.get(name, name)

    # --- seeds ---------------------------------------------------------------------------------------------------

    def attention(self, net: str = "main", pooling: str = "average", frozen: bool = False) -> Step:
        """The attention network after stage 1: Eq. (1) alone; frozen: new layers only."""
        schedule = replace(self.scale.attention, trunk_lr=0.0) if frozen else self.scale.attention
        name = f"attention of {self.network_name(net)}" + ", max pooling" * (pooling == "max")
        return self.step(train_attention, name + ", frozen trunk" * frozen, view="train", start=self.starts[net],
                         backbone=self.backbone(net), schedule=schedule, pooling=pooling, **self._augmented(net))

    def _augmented(self, net: str) -> dict:
        """How training images are varied: by random scales, or in a few ways behind layers that stay as they are."""
        scale = self.scale.random_scale
        return {"random_scale": scale} | ({} if scale else self.frozen(self.backbone(net), self.starts[net]))

    def volumes(self, split: str = "train", net: str = "main", pooling: str = "average", frozen: bool = False) -> Step:
        """Attention volumes V (maximum over scales) and class scores of a split."""
        trained = self.attention(net, pooling, frozen)
        return self.step(attention_outputs, f"maps of {self._name(trained)} on {split}", view=split,
                         state=trained["state"], backbone=self.backbone(net), pooling=pooling, scales=self.scale.scales)

    def attention_score(self, split: str = "val", pooling: str = "average", frozen: bool = False) -> Step:
        """Histograms for precision and recall of attention maps over all thresholds."""
        maps = self.volumes(split, pooling=pooling, frozen=frozen)
        return self.step(score_attention, f"precision-recall of {self._name(maps)}", "evaluation", view=split,
                         maps=maps["maps"], side=self.side)

    # --- saliency ------------------------------------------------------------------------------------------------

    def hierarchy(self, split: str = "train", detector: str = "") -> Step:
        """S1, S2 and S3 of a split. detector: "" (the profile's own) or "unsupervised"."""
        name = f"hierarchical saliency on {split}"
        if named("saliency detector", detector, DETECTORS) == "unsupervised":
            return self.step(unsupervised_hierarchy, f"unsupervised {name}", **self._shown(split),
                             thresholds=self.erasing_thresholds()["thresholds"])
        if self.guided.u2net is not None:
            return self._own_detector(u2net_hierarchy, f"{name} with U2-Net-P", split)
        return self._own_detector(network_hierarchy, name, split)

    def erasing_thresholds(self) -> Step:
        """Thresholds of the unsupervised detector: it erases the share of pixels that the profile's own erases at the
        printed ones. From the images of dev, or of val where there is none; labels are not looked at."""
        split = "dev" if isinstance(self.world, ToyWorld) else "val"
        return self._own_detector(unsupervised_thresholds, f"thresholds of the unsupervised detector on {split}", split)

    def _own_detector(self, function, name: str, split: str) -> Step:
        """A step on what the profile's own detector sees of a split, erasing at the printed thresholds."""
        if self.guided.u2net is None:
            detector = {"state": self.guided.saliency_network()["state"], "backbone": self.guided.scale.backbone}
        else:
            detector = {"state": self.guided.u2net,
                        "reads_masks": "saliency weights trained on class-agnostic pixel masks (DUTS)"}
        return self.step(function, name, **self._shown(split), thresholds=PUBLISHED.erasing, **detector)

    def _shown(self, split: str) -> dict:
        """The images of a split, and the paint of what is erased from them: the training images' mean colour."""
        return {"view": split, "fill": self.step(mean_colour, "mean colour of train", "data", view="train")["colour"]}

    def objects_found(self, step: str = "S3", split: str = "val", detector: str = "") -> Step:
        """Recall of the largest, second and third object of each image by S1, S2 or S3."""
        found = self.hierarchy(split, detector)
        return self.step(object_recall.score_objects, f"objects found by {step} of {self._name(found)}", view=split,
                         saliency=found[step])

    def salient_pixels(self, step: str = "S3", split: str = "val", detector: str = "") -> Step:
        """Right and wrong salient pixels of S1, S2 or S3."""
        found = self.hierarchy(split, detector)
        return self.step(score_salient_pixels, f"salient pixels of {step} of {self._name(found)}", view=split,
                         saliency=found[step])

    # --- fusion: cues --------------------------------------------------------------------------------------------

    def cues(self, kind: str, net: str = "main", mean: str = "harmonic", frozen: bool = False,
             split: str = "train") -> Step:
        """The cues that the first round learns from; kind is one of CUES."""
        if named("kind of cues", kind, CUES) == "G2":
            return self.guided.guides("G2", split=split)
        if kind == "full":
            return self.guided.truth(split)
        volumes = self.volumes(split, net, frozen=frozen)
        name = f"cues of {kind} by {self._name(volumes).removeprefix('maps of ')}"
        given = {"view": split, "maps": volumes["maps"], "side": self.side,
                 "saliency": None if kind == "attention" else self.hierarchy(split)[kind]}
        if mean == "harmonic":
            return self.step(cue_frames, name, **given, gamma=self.scale.gamma)
        return self.step(tuned_cues, f"{name}, {mean} mean", "fusion", "gamma chosen on the masks of dev", **given,
                         mean=mean, counts=self.agreement(mean, kind, "dev")["counts"])

    def agreement(self, mean: str = "harmonic", kind: str = "S3", split: str = "train") -> Step:
        """Cues at every gamma: histograms of the mean of attention and saliency."""
        split = self.split(split)
        return self.step(score_agreement, f"{mean} mean with {kind} at every gamma on {split}", "evaluation",
                         view=split, maps=self.volumes(split)["maps"], saliency=self.hierarchy(split)[kind],
                         side=self.side, mean=mean)

    def direct(self, tags: str = "predicted", kind: str = "S3", split: str = "val") -> Step:
        """Algorithm 1 as the segmentation itself (Table 4, "no"). tags: "predicted" or "known"."""
        volumes = self.volumes(split)
        return self.step(direct_labels, f"attention and {kind} combined directly on {split}, {tags} tags", "fusion",
                         view=split, maps=volumes["maps"], scores=volumes["scores"], tags=tags,
                         saliency=self.hierarchy(split)[kind], side=self.side, gamma=self.scale.gamma)

    def cues_of(self, name: str, round: int = 1) -> Step:
        """The pseudo-masks that a round of a row of ROWS learns from; later rounds of a row that adapts learn from the
        network's own."""
        row = ROWS[name]
        if round == 1 or not row.adapt:
            return self.cues(row.cues, row.net, row.mean, row.frozen)
        trained = self.trained(name, round - 1)
        how = ", released masking" * (row.absent == "zero") + " at one scale" * row.one_scale
        return self.step(adapt_cues, f"cues adapted by {self._name(trained)}{how}", "fusion", view="train",
                         state=trained["state"], backbone=self.backbone(row.net), absent=row.absent,
                         scales=(1.0,) if row.one_scale else self.scale.scales)

    # --- segmenter -----------------------------------------------------------------------------------------------

    def trained(self, name: str, round: int = 0) -> Step:
        """The network of a row of ROWS after a round (counted from 1; 0 = the last one)."""
        row = ROWS[name]
        round = round or row.rounds
        before = self.attention(row.net, frozen=row.frozen) if round == 1 else self.trained(name, round - 1)
        cues = self.cues_of(name, round)
        label = f"round {round} on {self._name(cues)}"
        label += f" by {self.network_name(row.net)}" if row.cues in ("G2", "full") else ""  # others name it already
        label += "" if row.gradient == "joint" else f", {row.gradient} gradient"
        return self.step(train_joint, label, view="train", cues=cues["masks"], state=before["state"],
                         backbone=self.backbone(row.net), schedule=self.scale.round, seed=self.seed + 1000 * round,
                         gradient=row.gradient, **self._augmented(row.net))

    def prediction(self, name: str, crf: bool = False, split: str = "val", scales: tuple[float, ...] = ()) -> Step:
        """Label maps of a row of ROWS on a split; scales: other ones than the profile's three."""
        trained = self.trained(name)
        return self.step(segment_multiscale, f"labels of {split} by {self._name(trained)}" + " + CRF" * crf, view=split,
                         state=trained["state"], backbone=self.backbone(ROWS[name].net),
                         scales=scales or self.scale.scales, crf=self.crf(PUBLISHED.crf) if crf else None)

    def scored(self, name: str, crf: bool = False, split: str = "val", scales: tuple[float, ...] = ()) -> Step:
        """The score of a row of ROWS on a split, with or without the dense CRF."""
        split = self.split(split)
        return self.score(self.prediction(name, crf, split, scales), split)

    def scored_cues(self, name: str, round: int = 1) -> Step:
        """The score of the cues that a round of a row of ROWS learns from, on the training images."""
        return self.score(self.cues_of(name, round), "train")

    # --- helpers -------------------------------------------------------------------------------------------------

    @property
    def side(self) -> int:
        return self.scale.main.side

    def backbone(self, net: str) -> Backbone:
        """The "main" or the "second" one."""
        return self.scale.main if net == "main" else self.scale.second

    def network_name(self, net: str) -> str:
        """What a backbone is called."""
        return {"resnet": "ResNet", "vgg": "VGG", "mobilenet": "MobileNetV2"}[self.backbone(net).family]

    def _name(self, step: Step) -> str:
        return self.unseeded(step.label).removesuffix(" on train")


def routes(profile: str, seeds: int, world_seed: int = 0) -> list[Route]:
    """The routes of a profile, one per training seed; they share world and start weights with those of Oh et al. 2017.

    Raises WeightsError or DataError when the folders that the profile reads don't hold what it needs.
    """
    scale, guided = scale_of(SCALES, profile), oh2017.routes(profile, seeds, world_seed)
    family, start = scale.main.family, guided[0].start
    starts = {"main": start, "second": start}
    if scale.pretraining is not None:
        starts["main"] = pretrained(scale.main, scale.pretraining, guided[0].world,
                                    f"pre-training of {family} on crops")
    elif family != guided[0].scale.backbone.family:
        starts["main"] = start_file(START_WEIGHTS[family], scale.main, scale.main.trunk("DeepLab"))
    return [Route(each.world, scale, each.seed, starts, each) for each in guided]
