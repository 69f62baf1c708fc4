"""Values of Lee et al. 2021 (EPS): what the paper prints, and how large everything is in each profile."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from wsss_lab.data.toyvoc import CLASSES, QUIET
from wsss_lab.lab.worlds import OWN_TRAIN
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import RESNET101_BLOCKS
from wsss_lab.papers import araslanov2020_values, chaudhry2017_values, oh2017_values
from wsss_lab.refinement.affinity import STEPS
from wsss_lab.refinement.dense_crf import CrfParameters


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


_GUIDED, _SINGLE, _DCSP = oh2017_values.SCALES, araslanov2020_values.SCALES, chaudhry2017_values.SCALES
_TOY = replace(_SINGLE["toy"].main, dropout=PUBLISHED.dropout)
_TOY_NETS = {"VGG16": replace(_GUIDED["toy"].backbone, aspp=_DCSP["toy"].main.aspp), "ResNet101": _DCSP["toy"].main}
_TOY_CLASSIFIER = Schedule(320, 8, 0.1, "sgd", "poly", momentum=PUBLISHED.momentum, head_lr=PUBLISHED.head_lr)
_TOY_MAP = 16  # side of the toy networks' maps
_PHOTO = _SINGLE["photos"].main
_PAPER_NETS = {"VGG16": Backbone(side=PUBLISHED.segmenter_side),
               "ResNet101": Backbone("resnet", RESNET101_BLOCKS, side=PUBLISHED.segmenter_side)}
_SMALL = {"scales": (1.0, 0.75), "walk_steps": round(STEPS * (_TOY_MAP / PUBLISHED.map_side) ** 2),
          "image_scale": _TOY.side / PUBLISHED.segmenter_side}

SCALES = {
    "quick": Scale(_TOY, replace(_TOY_CLASSIFIER, iterations=8), _TOY_NETS,
                   dict.fromkeys(_TOY_NETS, Schedule(6, 4)), Schedule(6, 4), scored="train[:24]", paired="train[:24]",
                   **_SMALL),
    "toy": Scale(_TOY, _TOY_CLASSIFIER, _TOY_NETS, dict.fromkeys(_TOY_NETS, Schedule(400, 8, 1e-3, head_lr=10.0)),
                 Schedule(150, 16, 1e-3, head_lr=3.0), scored="train[:500]", paired="train[:500]", **_SMALL),
    "photos": Scale(_PHOTO, Schedule(160, 8, 1e-4, head_lr=10.0), {"MobileNetV2": _GUIDED["photos"].backbone},
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

#: File names looked for in the folder WSSS_WEIGHTS, by backbone.
START_WEIGHTS = {"main": araslanov2020_values.START_WEIGHTS["main"], "VGG16": "vgg16_imagenet.pth",
                 "ResNet101": "resnet101_imagenet.pth"}
