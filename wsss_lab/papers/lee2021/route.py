"""Lee et al. 2021, "Railroad is not a train: saliency as pseudo-pixel supervision" (EPS): its rows and its route.

The route is a graph of cached steps: saliency -> classifier with C + 1 maps, taught by tags and saliency ->
pseudo-masks (as they are, after a CRF, after AffinityNet) -> four segmenters -> scores. Nothing is computed here;
`run.compute` does that.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data import frames
from wsss_lab.data.toyvoc import CLASSES, QUIET
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.evaluation import scoring
from wsss_lab.evaluation.boundaries import score_boundaries
from wsss_lab.evaluation.co_occurrence import score_contexts
from wsss_lab.evaluation.object_recall import object_areas
from wsss_lab.lab.profiles import named
from wsss_lab.lab.rehearsal import scale_of
from wsss_lab.lab.stand_ins import SIDE
from wsss_lab.lab.steps import Step
from wsss_lab.lab.worlds import OWN_TRAIN, CocoWorld, ToyWorld, World, saliency_folder
from wsss_lab.measure.quantities import NotMeasured
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.inference import averaged_maps
from wsss_lab.networks.trunks import RESNET101_BLOCKS
from wsss_lab.papers.araslanov2020 import route as araslanov2020
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.route import PaperRoute, longer, start_file
from wsss_lab.refinement.affinity import STEPS, affinity_label_frames, train_affinity, walk_frames
from wsss_lab.refinement.dense_crf import CrfParameters
from wsss_lab.saliency import maps as saliency
from wsss_lab.saliency.dial import dial_frames
from wsss_lab.saliency.network import saliency_frames, train_saliency
from wsss_lab.seeds.localisation import estimated_frames, pseudo_masks, score_localisations
from wsss_lab.seeds.saliency_supervision import Selection, overlap_ratio, restore_localisation, train_localisation
from wsss_lab.segmenter.training import segment, train_segmenter


def shown_maps(view: TrainView, state: dict[str, Tensor], backbone: dict, selection: dict, saliency: np.ndarray,
               images: Sequence[int]) -> dict:
    """Localisation maps of a few images and what the map selection makes of them (Eqs. 1 and 2); tags are used.

    At one scale and at image size, the mean over image and mirror image. saliency: frame of the detector's maps, uint8.
    images: rows of the view. Returns, with n images,
        "maps": float16 frame (n, C + 1, Hmax, Wmax) in [0, 1], background last
        "overlaps": float32 (n, C), the share of each map's area that is salient; "chosen": bool (n, C)
    """
    net, _ = restore_localisation(state, backbone, len(view.classes))
    shown, select = view.subset(images), Selection(**selection)
    sizes = [shown.size(index) for index in range(len(shown))]
    maps = np.zeros((len(shown), len(view.classes) + 1, *np.max(sizes, 0)), np.float16)
    overlaps, chosen = (np.zeros((len(shown), len(view.classes)), kind) for kind in (np.float32, bool))

    def run(pixels: Tensor) -> tuple[Tensor, Tensor]:
        raw = net.class_maps(pixels).float()
        return raw.softmax(1), raw.mean((2, 3))

    detected = frames.rows_of(shown, saliency[list(images)])
    for index, (each, _) in enumerate(averaged_maps(net, run, shown, backbone["side"], (1.0,))):
        target = torch.from_numpy(detected[index] / np.float32(255))[None]
        tags = torch.tensor(shown.tags[index])[None]
        maps[index, :, :sizes[index][0], :sizes[index][1]] = each.numpy()
        overlaps[index] = overlap_ratio(each[None, :-1], target)[0]
        chosen[index] = select.foreground(each[None, :-1], target, tags)[0]
    return {"maps": maps, "overlaps": overlaps, "chosen": chosen}


#: What a forecast answers with, see wsss_lab.lab.stand_ins: (function, output) -> how it is made.
STAND_INS = {("shown_maps", "maps"): lambda made: made.share(made.labels, SIDE, SIDE),
             ("shown_maps", "overlaps"): lambda made: made.share(made.classes),
             ("shown_maps", "chosen"): lambda made: made.share(made.classes) < 0.5}


#: Knobs of a toy world with more and smaller animals, which stands for COCO: several to a picture, seldom alone.
MANY = (("main_length", (10.0, 18.0)), ("secondary", (1.0, 0.9)), ("secondary_length", (7.0, 12.0)),
        ("touching_pair", 0.4))
LEAST = 0.002  # share of the image below which a region is no object


def salient_halves(view: TrainView, maps: np.ndarray) -> dict:
    """Pixels of saliency maps above one half, as the map selection reads them: {"masks": frame of 0 and 1}."""
    masks = ((each > 127).astype(np.uint8) for each in frames.rows_of(view, maps))
    return {"masks": frames.stack(view, masks, fill=0)}


def object_facts(view: EvalView) -> dict:
    """Separate objects of each image: {"objects": int64 (N,), how many; "area": float64 (N,), mean share of the image}.

    An object is a connected region of one class; nan area where there is none.
    """
    found = [[np.count_nonzero(each) / each.size for each in object_areas(view.mask(index), LEAST)]
             for index in range(len(view))]
    return {"objects": np.array([len(areas) for areas in found]),
            "area": np.array([np.mean(areas) if areas else np.nan for areas in found])}


@dataclass(frozen=True)
class Published:
    """Values that the paper prints (section), or that its released code settles (marked C). tau, lambda and the
    constant background score are defaults of wsss_lab.seeds.saliency_supervision and wsss_lab.seeds.localisation."""

    batch: int = 8  # Sec. 4
    iterations: int = 20000  # Sec. 4
    lr: float = 0.01  # Sec. 4
    head_lr: float = 10.0  # of the last layer, Sec. 4
    momentum: float = 5e-4  # C: the weight decay stands in its place
    usual_momentum: float = 0.9  # what SGD usually has; the switch
    weight_decay: float = 5e-4  # C
    side: int = 448  # Sec. 4
    map_side: int = 56  # of the maps: stride 8
    random_scale: tuple[float, float] = (256 / 448, 512 / 448)  # longer side 256 to 512; C
    dropout: float = 0.5  # of the CAM baseline's classifier; C
    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)  # C
    crf: CrfParameters = CrfParameters(4, 67, 3, 3, 1)  # C, of Table 4 and of the segmenters
    affinity_crf: CrfParameters = CrfParameters(10, 80, 13, 3, 3)  # C, before AffinityNet
    affinity_alphas: tuple[float, float] = (4.0, 24.0)  # C
    affinity_batch: int = 8  # Ahn & Kwak 2018, C
    affinity_epochs: int = 8  # Ahn & Kwak 2018, C
    affinity_lr: float = 0.1  # Ahn & Kwak 2018, C
    images: int = 10582  # Sec. 4
    segmenter_side: int = 321  # as all of its kind
    segmenter_batch: int = 10  # DeepLab
    segmenter_iterations: int = 20000  # DeepLab v2
    segmenter_lr: tuple[tuple[str, float], ...] = (("VGG16", 1e-3), ("ResNet101", 2.5e-4))  # DeepLab
    coco_share: float = 0.9  # lambda for COCO; C, the paper says 0.5 "by default"
    coco_batch: int = 16  # C
    coco_iterations: int = 256500  # C
    coco_side: int = 321  # C
    coco_scale: tuple[float, float] = (256 / 321, 448 / 321)  # C
    boundary_shares: tuple[float, ...] = (0.0075, 0.02)  # of the diagonal; the paper gives none, SBD's benchmark 0.0075


PUBLISHED = Published()

#: Classes that the "pre-defined" strategy counts with the background: the paper's examples, and the two that the toy
#: world makes small and hard to see.
RESERVED = ("sofa", "chair", "diningtable", *(CLASSES[index] for index in QUIET))

#: Segmentation networks: their backbone and the head of wsss_lab.networks.heads, by their names in Tables 5 and 6.
SEGMENTERS = {"V1, VGG16": ("VGG16", "largefov"), "V2, VGG16": ("VGG16", "aspp-fc"),
              "V1, ResNet101": ("ResNet101", "largefov"), "V2, ResNet101": ("ResNet101", "aspp")}

#: Kinds of damage to a perfect saliency map and their amounts (see wsss_lab.saliency.dial).
DIAL = {"oracle": ("oracle", 0.0), "eroded": ("eroded", 0.04), "blurred": ("blurred", 0.06), "noisy": ("noisy", 0.4),
        "no saliency": ("none", 0.0)}


@dataclass(frozen=True)
class Scale:
    """How large and how long everything is in one profile; shared by all rows of all tables.

    main: backbone of the classifiers and of AffinityNet. nets: backbones of the segmenters. affinity: None where
    AffinityNet isn't run. segmenters: schedules by backbone. random_scale: of the classifiers' augmentation, None =
    crops of 90 % and more. scored: the training images whose pseudo-masks are scored (the paper's are 1,464 of the
    10,582 that it trains on). paired: the training images that AffinityNet learns from. many: schedule of the
    classifiers on COCO, None = `classifier`. walk_steps: of the random walk; its reach grows with their square root,
    and is kept as a share of the maps.
    """

    main: Backbone
    classifier: Schedule
    nets: Mapping[str, Backbone]
    segmenters: Mapping[str, Schedule]
    affinity: Schedule | None = None
    many: Schedule | None = None
    scored: str = "train"
    paired: str = "train"
    walk_steps: int = STEPS
    scales: tuple[float, ...] = PUBLISHED.scales
    random_scale: tuple[float, float] | None = None
    image_scale: float = 1.0  # size of the images against the paper's: lengths in pixels are multiplied by it


def _paper_schedule(iterations: int, batch: int, lr: float, momentum: float = PUBLISHED.usual_momentum) -> Schedule:
    return Schedule(iterations, batch, lr, "sgd", "poly", momentum=momentum, weight_decay=PUBLISHED.weight_decay,
                    head_lr=PUBLISHED.head_lr)


_GUIDED, _SINGLE, _DCSP = oh2017.SCALES, araslanov2020.SCALES, chaudhry2017.SCALES
_TOY = replace(_SINGLE["toy"].main, dropout=PUBLISHED.dropout)
_TOY_NETS = {"VGG16": replace(_GUIDED["toy"].backbone, aspp=_DCSP["toy"].main.aspp), "ResNet101": _DCSP["toy"].main}
_TOY_CLASSIFIER = Schedule(320, 8, 0.1, "sgd", "poly", momentum=PUBLISHED.momentum, head_lr=PUBLISHED.head_lr)
_TOY_MAP = 16  # side of the toy networks' maps
_PHOTO = _SINGLE["photos"].main
_PAPER_NETS = {"VGG16": Backbone(side=PUBLISHED.segmenter_side),
               "ResNet101": Backbone("resnet", RESNET101_BLOCKS, side=PUBLISHED.segmenter_side)}
_SMALL = {"scales": (1.0, 0.75), "walk_steps": round(STEPS * (_TOY_MAP / PUBLISHED.map_side) ** 2),
          "image_scale": _TOY.side / PUBLISHED.segmenter_side}

_SCALES = {
    "quick": Scale(_TOY, replace(_TOY_CLASSIFIER, iterations=8), _TOY_NETS,
                   dict.fromkeys(_TOY_NETS, Schedule(6, 4)), Schedule(6, 4), scored="train[:24]", paired="train[:24]",
                   **_SMALL),
    "toy": Scale(_TOY, _TOY_CLASSIFIER, _TOY_NETS, dict.fromkeys(_TOY_NETS, Schedule(400, 8, 1e-3, head_lr=10.0)),
                 Schedule(150, 16, 1e-3, head_lr=3.0), scored="train[:500]", paired="train[:500]", **_SMALL),
    "photos": Scale(_PHOTO, _GUIDED["photos"].classifier, {"MobileNetV2": _GUIDED["photos"].backbone},
                    {"MobileNetV2": _GUIDED["photos"].segmenter}, scales=(1.0,)),
    "voc": Scale(
        replace(_SINGLE["voc"].main, side=PUBLISHED.side, dropout=PUBLISHED.dropout),
        _paper_schedule(PUBLISHED.iterations, PUBLISHED.batch, PUBLISHED.lr, PUBLISHED.momentum), _PAPER_NETS,
        {name: _paper_schedule(PUBLISHED.segmenter_iterations, PUBLISHED.segmenter_batch, lr)
         for name, lr in PUBLISHED.segmenter_lr},
        _paper_schedule(PUBLISHED.affinity_epochs * PUBLISHED.images // PUBLISHED.affinity_batch,
                        PUBLISHED.affinity_batch, PUBLISHED.affinity_lr),
        _paper_schedule(PUBLISHED.coco_iterations, PUBLISHED.coco_batch, PUBLISHED.lr, PUBLISHED.momentum),
        scored=OWN_TRAIN, random_scale=PUBLISHED.random_scale,
    ),
}
SCALES = _SCALES | {"toy-long": longer(_SCALES["toy"], classifier=4, segmenters=4, affinity=4)}

#: File names looked for in the folder WSSS_WEIGHTS, by backbone.
START_WEIGHTS = {"main": araslanov2020.START_WEIGHTS["main"], "VGG16": "vgg16_imagenet.pth",
                 "ResNet101": "resnet101_imagenet.pth"}


DETECTORS = ("masks", "boxes", "unsupervised")  # stand for PFAN, DSS and USPS
TAUS = (0.1, 0.3, 0.35, 0.4, 0.45, 0.5, 0.9)
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # lambda


@dataclass(frozen=True)
class Row:
    """One trained classifier. selection: None trains the CAM baseline. detector: one of DETECTORS or of DIAL.

    rate: factor on the learning rate. momentum: of SGD, None = the profile's.
    """

    selection: Selection | None = field(default_factory=Selection)
    detector: str = "masks"
    rate: float = 1.0
    momentum: float | None = None


def tau_row(tau: float) -> str:
    """The row with this tau."""
    return "adaptive" if tau == Selection.tau else f"tau={tau:g}"


def share_row(share: float) -> str:
    """The row with this lambda."""
    return "adaptive" if share == Selection.share else f"lambda={share:g}"


def detector_row(detector: str) -> str:
    """The adaptive row with this detector or damaged saliency."""
    return "adaptive" if detector == "masks" else f"saliency: {detector}"


#: Rows of Table 3 in its order.
STRATEGY_ROWS = {"baseline": "none", "naive": "naive", "pre-defined": "pre-defined", "adaptive": "adaptive"}

#: What the released momentum does: a tenth of the rate with it, and with the usual one, whose steps add up to ten times
#: their size. At the full rate with the usual one, small networks diverge.
MOMENTUM_ROWS = {"rate / 10": Row(rate=0.1),
                 "rate / 10, momentum 0.9": Row(rate=0.1, momentum=PUBLISHED.usual_momentum)}

ROWS = {
    "CAM": Row(None),
    **{name: Row(Selection(strategy)) for name, strategy in STRATEGY_ROWS.items()},
    **{tau_row(tau): Row(Selection(tau=tau)) for tau in TAUS},
    **{share_row(share): Row(Selection(share=share)) for share in SHARES},
    **{detector_row(name): Row(detector=name) for name in (*DETECTORS, *DIAL)},
    **MOMENTUM_ROWS,
}

#: Rows that a profile runs whose networks take minutes each on a CPU.
_PHOTO_ROWS = ("CAM", *STRATEGY_ROWS, detector_row("unsupervised"), detector_row("oracle"))

#: What the segmenters of Tables 5 and 6 are taught by, and which of SEGMENTERS.
TAUGHT = {
    "adaptive": tuple(SEGMENTERS), "CAM": ("V1, VGG16", "V1, ResNet101"), "CAM + AffinityNet": ("V1, VGG16",),
    "G2": ("V1, ResNet101",), "full": ("V1, ResNet101",),
    detector_row("boxes"): ("V1, ResNet101",), detector_row("unsupervised"): ("V1, ResNet101",),
}
_PHOTO_SEGMENTER = "V1, MobileNetV2"


def trained_rows(profile: str) -> tuple[str, ...]:
    """The rows of ROWS that a profile trains; in `voc` no dial, and "boxes" only where somebody made such maps."""
    if profile == "photos":
        return _PHOTO_ROWS
    known = (*DETECTORS, *DIAL)
    if profile == "voc":
        known = DETECTORS if saliency_folder("boxes", DETECTORS) else ("masks", "unsupervised")
    return tuple(name for name, row in ROWS.items() if row.detector in known)


def segmenters(profile: str) -> dict[str, tuple[str, str]]:
    """The segmenters of a profile: name -> (backbone, head)."""
    return {_PHOTO_SEGMENTER: ("MobileNetV2", "largefov")} if profile == "photos" else SEGMENTERS


def taught(profile: str) -> dict[str, tuple[str, ...]]:
    """Labels that segmenters learn from in a profile -> names of these segmenters."""
    if profile == "photos":
        return {name: (_PHOTO_SEGMENTER,) for name in ("adaptive", "CAM", "full")}
    rows = trained_rows(profile)
    return {labels: nets for labels, nets in TAUGHT.items() if labels in rows or labels not in ROWS}


@dataclass(frozen=True)
class Route(PaperRoute):
    """The steps of one full run of the paper at one seed, on one world.

    starts: start weights, "main" (classifiers, AffinityNet) and by backbone of the segmenters. guided: the route of Oh
    et al. 2017 on the same world, whose detectors and G2 guides are used. many: the world of many objects that stands
    for COCO (Table 7), None where there is none. profile: its name, which says what is left out.
    """

    starts: dict[str, Any]
    guided: oh2017.Route
    many: World | None = None
    profile: str = "toy"

    # --- saliency -----------------------------------------------------------------------------------------------------

    def saliency(self, detector: str = "masks", split: str = "train") -> Step:
        """Saliency of a split by one of DETECTORS or of DIAL.

        Maps that somebody else made are read from <WSSS_SALIENCY>/<detector> where the environment names such a folder.
        """
        name = f"saliency '{detector}' of {split}{self._where}"
        if detector in DIAL:
            kind, amount = DIAL[detector]
            return self.step(dial_frames, name, view=self.world.eval_view(split), kind=kind, amount=amount,
                             reads_masks="true foreground as saliency")
        named("saliency detector", detector, (*DETECTORS, *DIAL))
        if folder := saliency_folder(detector, DETECTORS):
            return self.step(saliency.folder_frames, name, view=split, folder=folder,
                             reads_masks="saliency made elsewhere")
        if detector == "unsupervised" or self.guided.u2net is not None:
            return replace(self.guided, world=self.world).saliency_maps(split, "" if detector == "masks" else detector)
        return self.step(saliency_frames, name, view=split, state=self.saliency_network(detector)["state"],
                         backbone=self.guided.scale.backbone)

    def saliency_network(self, detector: str) -> Step:
        """A detector trained on other objects' masks ("masks"), or on what GrabCut makes of their boxes ("boxes")."""
        if detector == "boxes":
            return self.guided.saliency_network()
        scenes, scale = self.guided.world.saliency_scenes(), self.guided.scale
        return self.step(train_saliency, "train saliency network on masks", images=scenes["images"],
                         masks=scenes["masks"], start=self.guided.start, backbone=scale.backbone,
                         schedule=scale.saliency, reads_masks="masks of other objects (saliency set)")

    def estimated(self, split: str = "val") -> Step:
        """The saliency maps that the localisation maps of EPS stand for (Eq. 1)."""
        return self.step(estimated_frames, f"saliency of {split}{self._where} estimated by EPS", "saliency", view=split,
                         state=self.trained("adaptive")["state"], saliency=self.saliency(split=split)["maps"],
                         backbone=self.scale.main, selection=self.selection("adaptive"))

    # --- seeds and fusion ---------------------------------------------------------------------------------------------

    def selection(self, name: str) -> dict | None:
        """Settings of a row's map selection on this world; None for CAM."""
        selection = ROWS[name].selection
        if selection is None:
            return None
        names = RESERVED if selection.strategy == "pre-defined" else ()
        reserved = tuple(index for index, each in enumerate(self.world.classes) if each in names)
        share = PUBLISHED.coco_share if isinstance(self.world, CocoWorld) else selection.share
        return replace(selection, share=share, reserved=reserved).settings()

    def trained(self, name: str) -> Step:
        """The classifier of a row of ROWS."""
        row, schedule = ROWS[named("row", name, ROWS)], self.scale.classifier
        if name not in trained_rows(self.profile):
            raise NotMeasured(f"profile {self.profile} doesn't train the row '{name}'")
        momentum = schedule.momentum if row.momentum is None else row.momentum
        return self.step(train_localisation, f"train {name}{self._where}", view="train", start=self.starts["main"],
                         saliency=self.saliency(row.detector)["maps"] if row.selection else None,
                         backbone=self.scale.main, selection=self.selection(name), random_scale=self.scale.random_scale,
                         schedule=replace(schedule, lr=row.rate * schedule.lr, momentum=momentum),
                         **({} if self.scale.random_scale else self.frozen(self.scale.main, self.starts["main"])))

    @property
    def scored(self) -> str:
        """The training images whose pseudo-masks are scored."""
        return self.scale.scored

    def masks(self, name: str, split: str = "", crf: bool = False) -> Step:
        """Pseudo-masks of a split ("" = `scored`) by a row of ROWS, tags known: "masks", "learned" (with the learned
        background map, not for CAM) and, with crf, "refined"."""
        split = split or self.scored
        return self.step(pseudo_masks, f"pseudo-masks of {split}{self._where} by {name}{' + CRF' * crf}", view=split,
                         state=self.trained(name)["state"], backbone=self.scale.main, scales=self.scale.scales,
                         learned=ROWS[name].selection is not None, crf=self.crf(PUBLISHED.crf if crf else None))

    # --- refinement ---------------------------------------------------------------------------------------------------

    def affinity_net(self, name: str) -> Step:
        """An AffinityNet trained on pairs of pixels that a row's maps and a dense CRF are sure of."""
        if self.scale.affinity is None:
            raise NotMeasured(f"profile {self.profile} trains no AffinityNet")
        labels = self.step(affinity_label_frames, f"affinity labels by {name}", view=self.scale.paired,
                           state=self.trained(name)["state"], backbone=self.scale.main, scales=self.scale.scales,
                           crf=self.crf(PUBLISHED.affinity_crf), alphas=PUBLISHED.affinity_alphas)
        return self.step(train_affinity, f"AffinityNet on {name}", view=self.scale.paired, labels=labels["masks"],
                         start=self.starts["main"], backbone=self.scale.main, schedule=self.scale.affinity)

    def walked(self, name: str, split: str = "") -> Step:
        """Pseudo-masks of a split ("" = `scored`) after the random walk of AffinityNet."""
        split = split or self.scored
        return self.step(walk_frames, f"pseudo-masks of {split} by {name} + AffinityNet", view=split,
                         state=self.trained(name)["state"], affinity_state=self.affinity_net(name)["state"],
                         backbone=self.scale.main, scales=self.scale.scales, steps=self.scale.walk_steps)

    # --- segmenter ----------------------------------------------------------------------------------------------------

    def lessons(self, labels: str) -> Step:
        """What a segmenter is taught: pseudo-masks of a row of ROWS, those of CAM after AffinityNet, the G2 guides of
        Oh et al. 2017, or "full", the ground truth."""
        if labels == "full":
            return self.guided.truth("train")
        if labels == "G2":
            return self.guided.guides("G2")
        return self.walked("CAM", "train") if labels == "CAM + AffinityNet" else self.masks(labels, "train")

    def segmenter(self, labels: str = "adaptive", net: str = "V1, ResNet101") -> Step:
        """A segmenter (see `segmenters`) trained on pseudo-masks."""
        name, head = self._segmenter(net)
        return self.step(train_segmenter, f"{net} on {labels}{self._where}", view="train", start=self.starts[name],
                         pseudo_masks=self.lessons(labels)["masks"], backbone=self.scale.nets[name], head=head,
                         schedule=self.scale.segmenters[name],
                         **self.frozen(self.scale.nets[name], self.starts[name]))

    def prediction(self, labels: str = "adaptive", net: str = "V1, ResNet101", split: str = "val",
                   crf: bool = False) -> Step:
        """Label maps of a split by a segmenter; tags are not used."""
        name, head = self._segmenter(net)
        return self.step(segment, f"labels of {split}{self._where} by {net} on {labels}{' + CRF' * crf}", view=split,
                         state=self.segmenter(labels, net)["state"], backbone=self.scale.nets[name], head=head,
                         crf=self.crf(PUBLISHED.crf if crf else None))

    def _segmenter(self, net: str) -> tuple[str, str]:
        """The backbone's name and the head of a segmenter."""
        known = SEGMENTERS | segmenters("photos")
        return known[named("segmenter", net, known)]

    # --- evaluation, of pseudo-masks on `scored` ----------------------------------------------------------------------

    def score(self, labels: Step, split: str = "", output: str = "masks") -> Step:
        return super().score(labels, split or self.scored, output)

    def boundaries(self, made: Step) -> Step:
        """Matched, found and true boundary pixels per image, for every tolerance (Table 1)."""
        return self.step(score_boundaries, f"boundaries of {made.label}", view=self.scored, masks=made["masks"],
                         shares=PUBLISHED.boundary_shares)

    def contexts(self, made: Step) -> Step:
        """Pixels of surroundings that are labelled as objects, per image (Table 2)."""
        return self.step(score_contexts, f"surroundings in {made.label}", view=self.scored, masks=made["masks"])

    def localisation_score(self, name: str) -> Step:
        """Histograms of a row's relative maps: scores for every constant background."""
        return self.step(score_localisations, f"all backgrounds of {name} on {self.scored}", "evaluation",
                         view=self.scored, state=self.trained(name)["state"], backbone=self.scale.main,
                         scales=self.scale.scales)

    def salient(self, maps: Step, split: str = "val") -> Step:
        """Salient pixels of saliency maps: above one half, as the map selection reads them."""
        return self.step(salient_halves, f"salient pixels of {maps.label}", "saliency", view=split, maps=maps["maps"])

    def saliency_score(self, maps: Step, split: str = "val") -> Step:
        """Foreground counts of saliency maps, per image; see wsss_lab.evaluation.saliency_scores."""
        salient = self.salient(maps, split)
        return self.step(scoring.score_saliency, f"score of {salient.label}", view=split, salient=salient["masks"])

    def covered(self) -> Step:
        """Salient pixels of each class: confusions whose column 1 counts them."""
        return self.score(self.salient(self.saliency(split=self.scored), self.scored))

    def objects(self) -> Step:
        """How many objects the images of val show, and how large they are."""
        return self.step(object_facts, f"objects of val{self._where}", "evaluation", view="val")

    # --- the world of many objects ------------------------------------------------------------------------------------

    @cached_property
    def crowded(self) -> "Route | None":
        """The same route on the world of many objects (Table 7, Fig. 6); its detectors are those of this one."""
        if self.many is None:
            return None
        scale = self.scale
        if scale.many is not None:
            main = replace(scale.main, side=min(scale.main.side, PUBLISHED.coco_side))  # less in a rehearsal
            scale = replace(scale, classifier=scale.many, main=main, random_scale=PUBLISHED.coco_scale, scored="train")
        return replace(self, world=self.many, scale=scale, many=None)

    @property
    def _where(self) -> str:
        return "" if self.world == self.guided.world else " (many objects)"


def routes(profile: str, seeds: int, world_seed: int = 0) -> list[Route]:
    """The routes of a profile, one per training seed. In `voc`, WSSS_COCO names the folder of COCO, if there is one.

    Raises WeightsError or DataError when the folders that the profile reads don't hold what it needs.
    """
    scale, guided = scale_of(SCALES, profile), oh2017.routes(profile, seeds, world_seed)
    world = guided[0].world
    if guided[0].scale.pretraining:  # on crops, as in the other papers' notebooks
        starts = araslanov2020.routes(profile, 1, world_seed)[0].starts
        starts = {"main": starts["main"], "VGG16": starts["VGG16"], "ResNet101": starts["ResNet-50"]}
    else:
        starts = start_files(scale)
    return [Route(world, scale, each.seed, starts, each, _many(profile, world), profile) for each in guided]


def _many(profile: str, world: World) -> World | None:
    """The world of Table 7: COCO, or a toy world with more and smaller animals."""
    if isinstance(world, ToyWorld):
        return replace(world, knobs=MANY, counts=tuple((split, count // 2) for split, count in world.counts))
    root = os.environ.get("WSSS_COCO", "")
    return CocoWorld(root) if root and profile == "voc" else None


def start_files(scale: Scale) -> dict[str, Any]:
    """Start weights from the folder WSSS_WEIGHTS, each of them looked at before anything runs."""
    backbones = {"main": scale.main, **scale.nets}
    files = {name: oh2017.START_WEIGHTS["mobilenet"] if backbone.family == "mobilenet" else START_WEIGHTS[name]
             for name, backbone in backbones.items()}
    return {name: start_file(files[name], backbone, backbone.trunk("DeepLab")) for name, backbone in backbones.items()}
