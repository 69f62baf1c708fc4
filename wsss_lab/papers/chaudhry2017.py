"""Chaudhry et al. 2017, "Discovering class-specific pixels for weakly-supervised semantic segmentation" (DCSP).

The route is a graph of cached steps: attention and hierarchical saliency -> Algorithm 1's cues -> one network trained
to classify and to segment -> its own adapted cues -> a second round -> scores. Nothing is computed here;
`run.compute` does that.
"""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from wsss_lab.evaluation import object_recall, scoring
from wsss_lab.evaluation.scoring import score_salient_pixels
from wsss_lab.fusion.harmonic import cue_frames
from wsss_lab.lab.profiles import unknown_name
from wsss_lab.lab.steps import EVALUATION_READS, Step, seeded_step
from wsss_lab.lab.worlds import ToyWorld, World, weights_file
from wsss_lab.networks.backbones import pretrain
from wsss_lab.papers import chaudhry2017_steps as joins
from wsss_lab.papers import oh2017
from wsss_lab.papers.chaudhry2017_values import PUBLISHED, SCALES, START_WEIGHTS, Scale
from wsss_lab.papers.shared_rehearsal import scale_of
from wsss_lab.saliency.hierarchy import (
    mean_colour,
    network_hierarchy,
    u2net_hierarchy,
    unsupervised_hierarchy,
    unsupervised_thresholds,
)
from wsss_lab.seeds.attention import attention_outputs, score_attention, train_attention
from wsss_lab.segmenter.joint import adapt_cues, segment_multiscale, train_joint

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

#: Rows that are scored on the test split too (Tables 1 and 6), and with a dense CRF.
TESTED = ("S1 + adapt", "S2 + adapt", "S3 + adapt", "VGG, S3 + adapt", "G2", "VGG, G2")
POSTPROCESSED = ("S1", "S1 + adapt", "S2 + adapt", "S3", "S3 + adapt", "VGG, S3 + adapt", "G2", "VGG, G2")

#: Labels pixels exactly as "S3 + adapt, released gradient" does: trained only where that row isn't.
AS_RELEASED = "S3 + adapt, pixel loss only"

#: Rows that a profile runs whose networks take minutes each on a CPU.
_PHOTO_ROWS = ("attention only", "S1", "S1 + adapt", "S3", "S3 + adapt", "S3, longer", AS_RELEASED, "G2")


def trained_rows(profile: str) -> tuple[str, ...]:
    """The rows of ROWS that a profile trains. A gamma is chosen for a row only on masks that no score is from."""
    if profile == "photos":
        return _PHOTO_ROWS
    return tuple(name for name, row in ROWS.items() if name != AS_RELEASED
                 and (row.mean == "harmonic" or tuning_split(profile) == "dev"))


def tuning_split(profile: str) -> str:
    """The split on whose masks gammas are chosen: dev, or val where there is none; cues are made of neither."""
    return "dev" if profile in ("quick", "toy") else "val"


@dataclass(frozen=True)
class Route:
    """The steps of one full run of the paper at one seed, on one world.

    guided: the route of Oh et al. 2017 on the same world, whose saliency network and G2 guides are used.
    starts: start weights of the trunks, "main" and "second". Every method returns a Step; equal arguments give the
    same step.
    """

    world: World
    scale: Scale
    seed: int
    starts: dict[str, Any]
    guided: oh2017.Route

    # --- seeds ---------------------------------------------------------------------------------------------------

    def attention(self, net: str = "main", pooling: str = "average", frozen: bool = False) -> Step:
        """The attention network after stage 1: Eq. (1) alone; frozen: new layers only."""
        schedule = self.scale.attention
        schedule = replace(schedule, trunk_lr=0.0) if frozen else schedule
        name = f"attention of {self.network_name(net)}" + (", max pooling" if pooling == "max" else "")
        return self._step("seeds", train_attention, f"{name}{', frozen trunk' if frozen else ''}",
                          {"backbone": self._backbone(net), "schedule": schedule.settings(), "seed": self.seed,
                           "pooling": pooling, "random_scale": self.scale.random_scale},
                          {"view": self.world.train_view("train"), "start": self.starts[net]})

    def volumes(self, split: str = "train", net: str = "main", pooling: str = "average", frozen: bool = False) -> Step:
        """Attention volumes V (maximum over scales) and class scores of a split."""
        trained = self.attention(net, pooling, frozen)
        return self._step("seeds", attention_outputs, f"maps of {self._name(trained)} on {split}",
                          {"backbone": self._backbone(net), "pooling": pooling, "scales": self.scale.scales},
                          {"view": self.world.train_view(split), "state": trained["state"]})

    def attention_score(self, split: str = "val", pooling: str = "average", frozen: bool = False) -> Step:
        """Histograms for precision and recall of attention maps over all thresholds."""
        maps = self.volumes(split, pooling=pooling, frozen=frozen)
        return self._step("evaluation", score_attention, f"precision-recall of {self._name(maps)}",
                          {"side": self.side}, {"view": self.world.eval_view(split), "maps": maps["maps"]},
                          EVALUATION_READS)

    # --- saliency ------------------------------------------------------------------------------------------------

    def hierarchy(self, split: str = "train", detector: str = "") -> Step:
        """S1, S2 and S3 of a split. detector: "" (the profile's own) or "unsupervised"."""
        name = f"hierarchical saliency on {split}"
        if detector not in DETECTORS:
            raise unknown_name("saliency detector", detector, list(DETECTORS))
        if detector == "unsupervised":
            return seeded_step(None if self.guided.u2net else self.seed, "saliency", unsupervised_hierarchy,
                               f"unsupervised {name}", {},
                               {**self._shown(split), "thresholds": self.erasing_thresholds()["thresholds"]})
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
        settings, inputs = {"thresholds": PUBLISHED.erasing}, self._shown(split)
        if self.guided.u2net is not None:
            return seeded_step(None, "saliency", function, name, settings, {**inputs, "state": self.guided.u2net},
                               "saliency weights trained on class-agnostic pixel masks (DUTS)")
        return self._step("saliency", function, name,
                          {**settings, "backbone": self.guided.scale.backbone.settings()},
                          {**inputs, "state": self.guided.saliency_network()["state"]})

    def _shown(self, split: str) -> dict:
        """The images of a split, and the paint of what is erased from them: the training images' mean colour."""
        colour = seeded_step(None, "data", mean_colour, "mean colour of train", {},
                             {"view": self.world.train_view("train")})
        return {"view": self.world.train_view(split), "fill": colour["colour"]}

    def objects_found(self, step: str = "S3", split: str = "val", detector: str = "") -> Step:
        """Recall of the largest, second and third object of each image by S1, S2 or S3."""
        found = self.hierarchy(split, detector)
        return self._step("evaluation", object_recall.score_objects, f"objects found by {step} of {self._name(found)}",
                          {}, {"view": self.world.eval_view(split), "saliency": found[step]}, EVALUATION_READS)

    def salient_pixels(self, step: str = "S3", split: str = "val", detector: str = "") -> Step:
        """Right and wrong salient pixels of S1, S2 or S3."""
        found = self.hierarchy(split, detector)
        return self._step("evaluation", score_salient_pixels,
                          f"salient pixels of {step} of {self._name(found)}", {},
                          {"view": self.world.eval_view(split), "saliency": found[step]}, EVALUATION_READS)

    # --- fusion: cues --------------------------------------------------------------------------------------------

    def cues(self, kind: str, net: str = "main", mean: str = "harmonic", frozen: bool = False,
             split: str = "train") -> Step:
        """The cues that the first round learns from; kind is one of CUES."""
        if kind not in CUES:
            raise unknown_name("kind of cues", kind, list(CUES))
        if kind == "G2":
            return self.guided.guides("G2", split=split)
        if kind == "full":
            return self.guided.truth(split)
        volumes = self.volumes(split, net, frozen=frozen)
        inputs = {"view": self.world.train_view(split), "maps": volumes["maps"]}
        name = f"cues of {kind} by {self._name(volumes).removeprefix('maps of ')}"
        if kind != "attention":
            inputs["saliency"] = self.hierarchy(split)[kind]
        if mean == "harmonic":
            settings = {"side": self.side, "gamma": self.scale.gamma}
            extra = {} if kind != "attention" else {"saliency": None}
            return self._step("fusion", cue_frames, name, settings | extra, inputs)
        return self._step("fusion", joins.tuned_cues, f"{name}, {mean} mean", {"side": self.side, "mean": mean},
                          {**inputs, "counts": self.agreement(mean, kind, "dev")["counts"]},
                          "gamma chosen on the masks of dev")

    def agreement(self, mean: str = "harmonic", kind: str = "S3", split: str = "train") -> Step:
        """Cues at every gamma: histograms of the mean of attention and saliency."""
        volumes = self.volumes(split)
        return self._step("evaluation", joins.score_agreement, f"{mean} mean with {kind} at every gamma on {split}",
                          {"side": self.side, "mean": mean},
                          {"view": self.world.eval_view(split), "maps": volumes["maps"],
                           "saliency": self.hierarchy(split)[kind]}, EVALUATION_READS)

    def direct(self, tags: str = "predicted", kind: str = "S3", split: str = "val") -> Step:
        """Algorithm 1 as the segmentation itself (Table 4, "no"). tags: "predicted" or "known"."""
        volumes = self.volumes(split)
        return self._step("fusion", joins.direct_labels,
                          f"attention and {kind} combined directly on {split}, {tags} tags",
                          {"side": self.side, "gamma": self.scale.gamma, "tags": tags},
                          {"view": self.world.train_view(split), "maps": volumes["maps"],
                           "scores": volumes["scores"], "saliency": self.hierarchy(split)[kind]})

    def cues_of(self, name: str, round: int = 1) -> Step:
        """The pseudo-masks that a round of a row of ROWS learns from; later rounds of a row that adapts learn from the
        network's own."""
        row = ROWS[name]
        if round == 1 or not row.adapt:
            return self.cues(row.cues, row.net, row.mean, row.frozen)
        trained = self.trained(name, round - 1)
        how = (", released masking" if row.absent == "zero" else "") + (" at one scale" if row.one_scale else "")
        return self._step("fusion", adapt_cues, f"cues adapted by {self._name(trained)}{how}",
                          {"backbone": self._backbone(row.net), "absent": row.absent,
                           "scales": (1.0,) if row.one_scale else self.scale.scales},
                          {"view": self.world.train_view("train"), "state": trained["state"]})

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
        return self._step("segmenter", train_joint, label,
                          {"backbone": self._backbone(row.net), "schedule": self.scale.round.settings(),
                           "seed": self.seed + 1000 * round, "gradient": row.gradient,
                           "random_scale": self.scale.random_scale},
                          {"view": self.world.train_view("train"), "cues": cues["masks"], "state": before["state"]})

    def prediction(self, name: str, crf: bool = False, split: str = "val", scales: tuple[float, ...] = ()) -> Step:
        """Label maps of a row of ROWS on a split; scales: other ones than the profile's three."""
        trained = self.trained(name)
        label = f"labels of {split} by {self._name(trained)}" + (" + CRF" if crf else "")
        return self._step("segmenter", segment_multiscale, label,
                          {"backbone": self._backbone(ROWS[name].net), "scales": scales or self.scale.scales,
                           "crf": self.crf if crf else None},
                          {"view": self.world.train_view(split), "state": trained["state"]})

    def scored(self, name: str, crf: bool = False, split: str = "val", scales: tuple[float, ...] = ()) -> Step:
        """The score of a row of ROWS on a split, with or without the dense CRF."""
        return self.score(self.prediction(name, crf, split, scales), split)

    def score(self, masks: Step, split: str = "val") -> Step:
        """Confusion matrices, per image, of label maps (or cues) against the ground truth."""
        return seeded_step(None, "evaluation", scoring.score_masks, f"score of {masks.label}", {},
                           {"view": self.world.eval_view(split), "masks": masks["masks"]}, EVALUATION_READS)

    # --- helpers -------------------------------------------------------------------------------------------------

    @property
    def side(self) -> int:
        return self.scale.main.side

    @cached_property
    def crf(self) -> dict:
        """The dense CRF's parameters for images of this profile, its position widths scaled with their size."""
        return asdict(PUBLISHED.crf.scaled(self.scale.image_scale))

    def network_name(self, net: str) -> str:
        """What the "main" or "second" backbone is called."""
        names = {"resnet": "ResNet", "vgg": "VGG", "mobilenet": "MobileNetV2"}
        return names[self._backbone(net)["family"]]

    def _backbone(self, net: str) -> dict:
        return (self.scale.main if net == "main" else self.scale.second).settings()

    def _name(self, step: Step) -> str:
        return step.label.removesuffix(f", seed {self.seed}").removesuffix(" on train")

    def _step(self, *arguments) -> Step:
        return seeded_step(self.seed, *arguments)


def routes(profile: str, seeds: int, world_seed: int = 0) -> list[Route]:
    """The routes of a profile, one per training seed; they share world and start weights with those of Oh et al. 2017.

    Raises WeightsError or DataError when the folders that the profile reads don't hold what it needs.
    """
    scale, guided = scale_of(SCALES, profile), oh2017.routes(profile, seeds, world_seed)
    world, family = guided[0].world, scale.main.family
    starts = {"main": guided[0].start, "second": guided[0].start}
    if scale.pretraining is not None:
        crops = world.crops()
        step = Step("networks", pretrain, {"backbone": scale.main.settings(),
                                           "schedule": scale.pretraining.settings(), "seed": world_seed},
                    {"images": crops["images"], "labels": crops["labels"]}, f"pre-training of {family} on crops")
        starts["main"] = step["state"]
    elif family != guided[0].scale.backbone.family:
        trunk = scale.main.trunk("DeepLab")
        starts["main"] = weights_file(START_WEIGHTS[family],
                                      lambda state, path: scale.main.load_start(trunk, state, path))
    return [Route(world, scale, each.seed, starts, each) for each in guided]
