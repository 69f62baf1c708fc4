"""Oh et al. 2017, "Exploiting saliency for object segmentation from image level labels": its rows, and its route, seeds
-> saliency -> fusion (guides) -> segmenter -> scores, with the dense CRF in three places."""

import os
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from wsss_lab.data.views import TrainView
from wsss_lab.evaluation import scoring
from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.fusion import guides as fusion
from wsss_lab.fusion.guides import RULES, g1_frames
from wsss_lab.lab.choices import random_images, spread_ranks
from wsss_lab.lab.profiles import named
from wsss_lab.lab.rehearsal import scale_of
from wsss_lab.lab.steps import Output, Step
from wsss_lab.lab.worlds import MapsFolder, WeightsFile, open_world, weights_file
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import TOY_BLOCKS
from wsss_lab.networks.u2netp import WEIGHTS_FILE as U2NETP_FILE
from wsss_lab.networks.u2netp import U2NetP
from wsss_lab.networks.weights import load_into
from wsss_lab.papers.route import PaperRoute, longer, pretrained, start_file
from wsss_lab.refinement.dense_crf import CRF_SETS
from wsss_lab.saliency import maps as saliency
from wsss_lab.saliency.network import saliency_frames, train_saliency
from wsss_lab.seeds import cam as seeds
from wsss_lab.seeds.training import (
    backprop_outputs,
    classifier_outputs,
    restore_classifier,
    train_classifier,
    train_pooled_last,
)
from wsss_lab.segmenter.training import segment, train_segmenter


def refine_shown(view: TrainView, confusions: np.ndarray, state: dict[str, Tensor], backbone: dict, crf: dict,
                 count: int) -> dict:
    """Post-process a segmenter's labels of the images of Fig. 7, 12 and 13.

    The images are at evenly spread ranks of the segmenter's IoU, read from confusions (N, K, K + 1).
    Returns {"indices": (count,) rows of the view, best first; "masks": frame (count, Hmax, Wmax) uint8 of labels}.
    """
    indices = spread_ranks(mean_iou(confusions), count)
    return {"indices": indices, **segment(view.subset(indices), state, backbone, crf=crf)}


def detect_shown(images: np.ndarray, state: dict[str, Tensor], backbone: dict, count: int) -> dict:
    """Saliency of random images of the saliency network's own training set (Fig. 5 and 9).

    images: (N, s, s, 3) uint8. Returns {"indices": (count,); "maps": saliency frame of these images}.
    """
    indices = random_images(len(images), count)
    shown = np.ascontiguousarray(images[indices])
    names, no_tags = [str(index) for index in indices], np.zeros((len(indices), 1), dtype=bool)
    view = TrainView.from_arrays("saliency set", ("object",), names, no_tags, shown, "none")
    return {"indices": indices, **saliency_frames(view, state, backbone)}


def classify_components(view: TrainView, salient: np.ndarray, state: dict[str, Tensor], variant: str, backbone: dict,
                        min_area: float) -> dict:
    """G1 with a trained classifier: {"masks": frame} (see wsss_lab.fusion.guides.g1_frames)."""
    return g1_frames(view, salient, restore_classifier(state, variant, backbone), backbone["side"], min_area)


@dataclass(frozen=True)
class Published:
    """Values that the paper prints (section), or that its released code settles (marked C)."""

    seed_threshold: float = 0.2  # Sec. 6.1
    salient_fraction: float = 0.5  # of the image's maximum; Sec. 6.1
    min_salient_area: float = 0.01  # of the image; Supp. E
    min_seed_pixels: int = 25  # C; at 321 x 321
    guide_blur: float = 10.0  # pixels; C; of the seed maps that are the unaries of G2's CRF
    guide_crf: str = "v2"  # C
    postprocessing_crf: str = "v2"  # Sec. 6.1
    good_saliency_iou: float = 0.6  # Sec. 5.1
    input_side: int = 321  # Supp. B
    large_fov_dilation: int = 12  # Table 6
    batch: int = 15  # Supp. B and F
    lr: float = 1e-3  # Supp. B and F
    decay_every: int = 2000  # Supp. B and F
    iterations: int = 8000  # Supp. B and F
    momentum: float = 0.9  # Supp. B and F
    weight_decay: float = 5e-4  # Supp. B and F
    classifier_batch: int = 40  # Supp. F
    classifier_iterations: int = 30000  # Supp. F
    classifier_decay_every: int = 5000  # Supp. F
    head_lr: float = 10.0  # C; of the last layer, whose fc6 and fc7 start from ImageNet; here of all behind the trunk
    dropout: float = 0.5  # C


PUBLISHED = Published()


@dataclass(frozen=True)
class Scale:
    """How large and how long everything is in one profile; shared by all rows of all tables."""

    backbone: Backbone
    classifier: Schedule
    segmenter: Schedule
    saliency: Schedule | None = None
    pretraining: Schedule | None = None
    plain_classifier: Schedule | None = None
    seed_threshold: float = PUBLISHED.seed_threshold
    stride: int = 4  # of the class maps, in canvas pixels
    image_scale: float = 1.0  # size of the images against the paper's: lengths in pixels are multiplied by it


_PRINTED = Schedule(PUBLISHED.iterations, PUBLISHED.batch, PUBLISHED.lr, "sgd", "step", PUBLISHED.decay_every,
                    PUBLISHED.momentum, PUBLISHED.weight_decay, PUBLISHED.head_lr)
_TOY_NET = Backbone("vgg", TOY_BLOCKS, width=64, dilation=4, aspp=(1, 2, 3, 4), dropout=0.0, side=64)
_PHOTO_NET = Backbone("mobilenet", width=256, dilation=4, aspp=(2, 4, 6, 8), dropout=0.1, side=256)

#: File names looked for in the folder WSSS_WEIGHTS.
START_WEIGHTS = {"vgg": "vgg16_imagenet.pth", "mobilenet": "mobilenet_v2_imagenet.pth"}

_SCALES = {
    "quick": Scale(_TOY_NET, Schedule(6, 16), Schedule(6, 16), Schedule(40, 16, 3e-3), Schedule(6, 32), Schedule(6, 16),
                   image_scale=_TOY_NET.side / PUBLISHED.input_side),
    "toy": Scale(_TOY_NET, Schedule(600, 16, 2e-3), Schedule(700, 16, 3e-3), Schedule(600, 16, 3e-3),
                 Schedule(1000, 64, 3e-3), image_scale=_TOY_NET.side / PUBLISHED.input_side),
    # those that did best on dev for what they take: a segmenter gains 1.4 points by twice as many iterations there
    # (benchmarks/photo_schedules.py)
    "photos": Scale(_PHOTO_NET, Schedule(400, 16, 3e-4, head_lr=10.0), Schedule(800, 16, 2e-4, head_lr=10.0),
                    stride=16),
    "voc": Scale(
        Backbone(dilation=PUBLISHED.large_fov_dilation, dropout=PUBLISHED.dropout, side=PUBLISHED.input_side),
        _PRINTED, _PRINTED, stride=8, plain_classifier=replace(
            _PRINTED, iterations=PUBLISHED.classifier_iterations, batch=PUBLISHED.classifier_batch,
            decay_every=PUBLISHED.classifier_decay_every),
    ),
}
SCALES = _SCALES | {"toy-long": longer(_SCALES["toy"], classifier=2, segmenter=4)}

GAP_NETS = ("LowRes", "HighRes", "ROI", "DeepLab")
POOLED = "HighRes"  # the network whose pooling is moved behind the linear layer (Supp. B.1)
POOLED_LAST = f"{POOLED}, pooled last"
BACKPROP = ("vanilla", "guided", "excitation")
DETECTORS = ("", "unsupervised", "oracle")  # "" is the profile's own


@dataclass(frozen=True)
class Row:
    """One trained segmenter of the paper's tables: what it learns from.

    rule: "seeds", "G0", "G1", "G2" or "full" (ground truth). variant: seed network. detector, unset: see Route.guides.
    crf_seed, crf_loss: parameter sets "v1" or "v2", None = off. tau: seed threshold, None = the profile's.
    """

    rule: str
    variant: str = "HighRes"
    detector: str = ""
    unset: str = "paper"
    crf_seed: str | None = None
    crf_loss: str | None = None
    tau: float | None = None


ROWS = {
    "seeds": Row("seeds"),
    "G0": Row("G0"),
    "G1": Row("G1"),
    "G2": Row("G2"),
    "oracle": Row("G2", detector="oracle"),
    "full": Row("full"),
    "G2 released": Row("G2", unset="released"),
    "G2, seeds at 0.5": Row("G2", tau=0.5),
    "seeds, crf-seed v1": Row("seeds", crf_seed="v1"),
    "seeds, crf-loss v1": Row("seeds", crf_loss="v1"),
    "seeds, crf-loss v2": Row("seeds", crf_loss="v2"),
    "ROI seeds": Row("seeds", "ROI"),
    "ROI seeds, crf-loss v1": Row("seeds", "ROI", crf_loss="v1"),
    "ROI seeds, crf-loss v2": Row("seeds", "ROI", crf_loss="v2"),
    "ROI G2": Row("G2", "ROI"),
    "LowRes G2": Row("G2", "LowRes"),
    "DeepLab G2": Row("G2", "DeepLab"),
    "G2, crf-loss v1": Row("G2", crf_loss="v1"),
    "G2, crf-loss v2": Row("G2", crf_loss="v2"),
}


def trained_rows(profile: str) -> tuple[str, ...]:
    """The rows of ROWS that a profile trains; on photographs a network takes minutes on a CPU."""
    photos = ("seeds", "G0", "G1", "G2", "oracle", "full", "G2, seeds at 0.5")
    return photos if profile == "photos" else tuple(ROWS)


def trained_nets(profile: str) -> tuple[str, ...]:
    """The GAP networks that a profile trains."""
    return GAP_NETS[:3] if profile == "photos" else GAP_NETS  # a MobileNetV2 called DeepLab is the one called HighRes


@dataclass(frozen=True)
class Route(PaperRoute):
    """The steps of one full run of the paper at one seed, on one world.

    start: what gives the start weights of every trunk (an output of a pre-training step, or a weights file).
    u2net: weights of an off-the-shelf saliency detector; None trains one on the world's saliency set.
    """

    start: Any
    u2net: WeightsFile | None = None
    profile: str = "toy"

    @property
    def left_out(self) -> set[str]:
        return {*ROWS, *GAP_NETS} - {*trained_rows(self.profile), *trained_nets(self.profile)}

    # --- seeds ---------------------------------------------------------------------------------------------------

    def classifier(self, name: str) -> Step:
        """A trained classifier: a GAP network of Table 6, POOLED_LAST, or the plain "VGG-16"."""
        schedule = self.scale.plain_classifier if name == "VGG-16" else self.scale.classifier
        train, net = (train_pooled_last, POOLED) if name == POOLED_LAST else (train_classifier, name)
        return self.step(train, f"train {name}", view="train", variant=net, schedule=schedule or self.scale.classifier,
                         **self.frozen(self.scale.backbone, self.start))

    def class_maps(self, name: str, split: str = "train") -> Step:
        """Class maps and scores of a classifier on a split."""
        return self.step(classifier_outputs, f"maps of {name} on {split}", view=split,
                         state=self.classifier(name)["state"], variant=POOLED if name == POOLED_LAST else name)

    def backprop(self, method: str, split: str = "val") -> Step:
        """Maps of vanilla, guided or excitation back-propagation, smoothed, then through a dense CRF (Fig. 3)."""
        name = f"{method} back-propagation"
        raw = self.step(backprop_outputs, f"{name} on {split}", view=split, state=self.classifier("VGG-16")["state"],
                        variant="VGG-16", method=method, stride=self.scale.stride // 2)
        return self.step(seeds.refine_maps, f"{name} + CRF on {split}", view=split, maps=raw["maps"],
                         crf=self.crf("v2"))

    def centre_shape(self, split: str = "val") -> Step:
        """The centre mean shape as everybody's seed map (Fig. 3's lower bound)."""
        return self.step(seeds.centre_outputs, f"centre mean shape on {split}", "seeds",
                         "average mask of the training set (baseline)", view=split,
                         labelled=self.world.eval_view("train"))

    def seeds(self, variant: str = "HighRes", split: str = "train", crf: str | None = None,
              released: bool = False) -> Step:
        """Seed labels. crf: "v1" or "v2" refines them first (`crf-seed`). released: of maps that grow as in the
        released code, see `wsss_lab.data.canvas.from_canvas`."""
        options = ({"released": True} if released else {}) | ({"crf": self.crf(crf)} if crf else {})
        name = f"seeds of {variant}{self._tau}" + (f" + CRF {crf}" if crf else "") + ", released" * released
        return self.step(seeds.refine_seeds if crf else seeds.label_seeds, f"{name} on {split}", view=split,
                         maps=self.class_maps(variant, split)["maps"], tau=self.scale.seed_threshold, **options)

    def seed_scores(self, maps: Output, name: str, split: str = "val") -> Step:
        """Histograms for precision and recall of seeds over all thresholds."""
        return self.step(seeds.score_maps, f"precision-recall of {name} on {split}", "evaluation", view=split,
                         maps=maps)

    # --- saliency ------------------------------------------------------------------------------------------------

    def saliency_network(self) -> Step:
        """A network trained on masks that GrabCut cuts out of the boxes of the world's saliency set."""
        scenes = self.world.saliency_scenes()
        targets = self.step(saliency.grabcut_targets, "GrabCut in boxes", images=scenes["images"],
                            boxes=scenes["boxes"])
        return self.step(train_saliency, "train saliency network", images=scenes["images"], masks=targets["masks"],
                         schedule=self.scale.saliency)

    def saliency_maps(self, split: str = "train", detector: str = "") -> Step:
        """Saliency of a split.

        detector: "" (the profile's own), "unsupervised", "oracle", or a folder with one map per image (a path).
        """
        if os.sep in detector:
            return self.step(saliency.folder_frames, f"saliency from {detector} on {split}", view=split,
                             folder=MapsFolder(detector))
        if named("saliency detector", detector, DETECTORS) == "oracle":
            return self.step(saliency.oracle_frames, f"oracle saliency on {split}", view=self.world.eval_view(split),
                             reads_masks="true foreground as saliency")
        if detector == "unsupervised":
            return self.step(saliency.unsupervised_frames, f"unsupervised saliency on {split}", view=split)
        if self.u2net is not None:
            return self.step(saliency.u2net_frames, f"U2-Net-P on {split}", view=split, state=self.u2net,
                             reads_masks="saliency weights trained on class-agnostic pixel masks (DUTS)")
        return self.step(saliency_frames, f"saliency on {split}", view=split, state=self.saliency_network()["state"])

    def salient(self, split: str = "train", detector: str = "") -> Step:
        """Salient pixels: at least half of the image's maximum."""
        return self.step(saliency.salient_masks, f"salient pixels ({detector or 'learned'}) on {split}", view=split,
                         maps=self.saliency_maps(split, detector)["maps"], fraction=PUBLISHED.salient_fraction)

    # --- fusion: guides ------------------------------------------------------------------------------------------

    def guides(self, rule: str, variant: str = "HighRes", detector: str = "", unset: str = "paper",
               split: str = "train") -> Step:
        """Guide labels. rule: "seeds", "G0", "G1" or "G2"; detector and unset matter where the rule uses them.

        unset: "paper" leaves undecided pixels to ignore, "released" turns them into background.
        """
        if named("guide rule", rule, ("seeds", *RULES)) == "seeds":
            return self.seeds(variant, split)
        inputs = {"view": split, "salient": self.salient(split, detector)["masks"]}
        if rule == "G0":
            return self.step(fusion.g0_frames, f"G0 on {split}", **inputs)
        if rule == "G1":
            return self.step(classify_components, f"G1 on {split}", "fusion", **inputs,
                             state=self.classifier("VGG-16")["state"], variant="VGG-16",
                             min_area=PUBLISHED.min_salient_area)
        name = f"{rule} of {variant}{self._tau}" + (f", {detector}" if detector else "")
        name += ", released" if unset == "released" else ""
        factor = self.scale.image_scale
        return self.step(fusion.g2_frames, f"{name} on {split}", **inputs, seeds=self.seeds(variant, split)["masks"],
                         min_area=PUBLISHED.min_salient_area, min_seed_area=PUBLISHED.min_seed_pixels * factor**2,
                         blur=PUBLISHED.guide_blur * factor, crf=self.crf(PUBLISHED.guide_crf), variant=unset)

    def truth(self, split: str = "train") -> Step:
        """The ground truth as pseudo-masks: the fully supervised upper bound."""
        return self.step(scoring.ground_truth, f"ground truth of {split}", "fusion", "training masks",
                         view=self.world.eval_view(split))

    # --- segmenter -----------------------------------------------------------------------------------------------

    def trained(self, name: str) -> Step:
        """The segmenter of one row of ROWS."""
        return self.segmenter(self.guides_of(name), ROWS[name].crf_loss)

    def guide_score(self, name: str) -> Step:
        """The score of the pseudo-masks that a row of ROWS learns from, on the training images."""
        return self.score(self.guides_of(name), "train")

    def guides_of(self, name: str) -> Step:
        """The pseudo-masks that a row of ROWS learns from."""
        row = ROWS[named("row", name, ROWS)]
        if row.rule == "full":
            return self.truth()
        if row.crf_seed:
            return self.seeds(row.variant, crf=row.crf_seed)
        tau = row.tau or self.scale.seed_threshold
        route = replace(self, scale=replace(self.scale, seed_threshold=tau))
        return route.guides(row.rule, row.variant, row.detector, row.unset)

    def scored(self, name: str, crf: str | None = None, split: str = "val") -> Step:
        """The score of a row of ROWS on a split, with or without `crf-postproc`."""
        return self.score(self.prediction(self.trained(name), crf, split), split)

    def segmenter(self, guides: Step, crf_loss: str | None = None) -> Step:
        """A DeepLab-LargeFOV trained on guides; crf_loss="v1" or "v2" adds the constrain-to-boundary loss, for
        canvases of the side that the segmenter is trained on."""
        name = self.unseeded(guides.label).removesuffix(" on train") + (f" + CRF loss {crf_loss}" if crf_loss else "")
        loss = asdict(CRF_SETS[crf_loss].scaled(self.side / PUBLISHED.input_side)) if crf_loss else None
        return self.step(train_segmenter, f"segmenter on {name}", view="train", pseudo_masks=guides["masks"],
                         schedule=self.scale.segmenter, crf_loss=loss,
                         **({} if loss else self.frozen(self.scale.backbone, self.start)))

    def prediction(self, segmenter: Step, crf: str | None = None, split: str = "val") -> Step:
        """Label maps of a split; crf="v1" or "v2" post-processes them (`crf-postproc`)."""
        name = segmenter.label + (f" + CRF {crf}" if crf else "")
        return self.step(segment, f"{name} on {split}", view=split, state=segmenter["state"], crf=self.crf(crf))

    def shown(self, count: int) -> Step:
        """Post-processed labels of some training images by the segmenter that learned from G2, see `refine_shown`."""
        return self.step(refine_shown, "G2 + CRF v2, images of the figures", "segmenter", view="train",
                         state=self.trained("G2")["state"], confusions=self.scored("G2", split="train")["confusions"],
                         crf=self.crf("v2"), count=count)

    def shown_saliency(self, count: int) -> Step:
        """Saliency of some images of the saliency set, see `detect_shown`."""
        return self.step(detect_shown, "saliency on its own training set, images of the figures", "saliency",
                         images=self.world.saliency_scenes()["images"], state=self.saliency_network()["state"],
                         count=count)

    def saliency_score(self, split: str = "val", detector: str = "") -> Step:
        """Foreground IoU of salient pixels, per image."""
        salient = self.salient(split, detector)
        return self.step(scoring.score_saliency, f"score of {salient.label}", view=split, salient=salient["masks"])

    # --- helpers -------------------------------------------------------------------------------------------------

    @property
    def _tau(self) -> str:
        """The seed threshold in a label, where it isn't the paper's."""
        tau = self.scale.seed_threshold
        return "" if tau == PUBLISHED.seed_threshold else f" at {tau:g}"


def routes(profile: str, seeds: int, world_seed: int = 0) -> list[Route]:
    """The routes of a profile, one per training seed; they share world and start weights.

    Raises WeightsError or DataError when the folders that the profile reads don't hold what it needs.
    """
    world, scale, u2net = open_world(profile, world_seed), scale_of(SCALES, profile), None
    if scale.pretraining is not None:
        start = pretrained(scale.backbone, scale.pretraining, world)
    else:
        start = start_file(START_WEIGHTS[scale.backbone.family], scale.backbone, scale.backbone.trunk("HighRes"))
        u2net = weights_file(U2NETP_FILE, lambda state, path: load_into(U2NetP(), state, path))
    return [Route(world, scale, seed, start, u2net, profile) for seed in range(seeds)]
