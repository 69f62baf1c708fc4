"""Values of Araslanov & Roth 2020: what the paper prints, and how large everything is in each profile."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import (
    RESNET50_BLOCKS,
    RESNET101_BLOCKS,
    TOY_BLOCKS,
    TOY_RESNET_BLOCKS,
    TOY_RESNET_DEEP_BLOCKS,
    VGG16_BLOCKS,
)
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET, WIDE_RESNET38
from wsss_lab.papers import oh2017_values
from wsss_lab.refinement.dense_crf import V1, CrfParameters


@dataclass(frozen=True)
class Published:
    """Values that the paper prints (section), or that its released code settles (marked C). Those of the method itself
    are the defaults of wsss_lab.segmenter.single_stage.Method and of the functions that it calls."""

    reference_psi: float = 0.5  # of Tables 1a, 1b and 7
    warm_up: float = 5 / 20  # share of the training with the classification loss alone, Sec. 4.1
    batch: int = 16  # C
    epochs: int = 20  # Sec. 4.1
    cam_epochs: int = 6  # C
    epochs_of: tuple[tuple[str, int], ...] = (("VGG16", 32), ("ResNet-50", 20), ("ResNet-101", 20))  # C
    images: int = 10582  # Sec. 4.1
    lr: float = 1e-3  # of the backbone, Sec. 4.1
    resnet50_lr: float = 5e-4  # C
    head_lr: float = 10.0  # factor for new modules, Sec. 4.1
    momentum: float = 0.9  # Sec. 4.1
    weight_decay: float = 5e-4  # Sec. 4.1
    side: int = 321  # Sec. 4.1
    exchanged_side: int = 448  # of other backbones, App. F
    mask_side: int = 81  # of the masks that PAMR refines: stride 4
    width: int = 256  # of ASPP and decoder; DeepLabv3+
    aspp: tuple[int, ...] = (12, 24, 36)  # beside the 1x1 branch and the image pooling; C
    dropout: float = 0.5  # C
    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)  # C
    exchanged_scales: tuple[float, ...] = (1.0, 0.75, 1.25, 1.5)  # App. F
    background_power: float = 3.0  # C; the paper has none
    crf: CrfParameters = V1  # C


PUBLISHED = Published()

#: The backbones of Table 9 besides the main one.
EXCHANGED = ("VGG16", "ResNet-50", "ResNet-101")


@dataclass(frozen=True)
class Scale:
    """How large and how long everything is in one profile; shared by all rows of all tables.

    main: the backbone of all tables but Table 9 (WideResNet-38). nets: the exchanged ones by their name in Table 9.
    schedule: of the single stage; cam: of the CAM baseline; second: of a network trained on labels (Table 8).
    schedules: of exchanged backbones, where they differ. mask_side: of the masks that PAMR refines.
    pretraining: of the backbones that earlier papers' notebooks don't pre-train. scales, exchanged_scales: at test
    time. aspp_statistics: see wsss_lab.networks.deeplab_v3plus. snapshot: after which share of the training Figs. 6
    and 10 look at it.
    """

    main: Backbone
    schedule: Schedule
    cam: Schedule
    second: Schedule
    nets: Mapping[str, Backbone] = field(default_factory=dict)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    mask_side: int = PUBLISHED.mask_side
    pretraining: Schedule | None = None
    scales: tuple[float, ...] = PUBLISHED.scales
    exchanged_scales: tuple[float, ...] = PUBLISHED.exchanged_scales
    aspp_statistics: str = "frozen"
    snapshot: float = 0.3
    image_scale: float = 1.0  # size of the images against the paper's: lengths in pixels are multiplied by it

    def dilations(self, kernel: tuple[int, ...]) -> tuple[int, ...]:
        """PAMR's dilations for masks of this size: the same shares of the mask as the paper's, each of them once."""
        return tuple(sorted({max(1, round(each * self.mask_side / PUBLISHED.mask_side)) for each in kernel}))


def paper_schedule(epochs: int, lr: float = PUBLISHED.lr) -> Schedule:
    """SGD with a constant learning rate, as printed; ten times as large for new modules."""
    return Schedule(epochs * PUBLISHED.images // PUBLISHED.batch, PUBLISHED.batch, lr, "sgd", "constant",
                    momentum=PUBLISHED.momentum, weight_decay=PUBLISHED.weight_decay, head_lr=PUBLISHED.head_lr)


#: Dilations for maps of 16 x 16 positions, the same shares of the map as 12 to 36 are of 41 x 41.
_SMALL_ASPP = (5, 9, 14)
_TOY = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, aspp=_SMALL_ASPP, dropout=0.0, side=64)
_TOY_NETS = {"VGG16": replace(_TOY, family="vgg", blocks=TOY_BLOCKS),
             "ResNet-50": replace(_TOY, family="resnet", blocks=TOY_RESNET_BLOCKS),
             "ResNet-101": replace(_TOY, family="resnet", blocks=TOY_RESNET_DEEP_BLOCKS)}
_TOY_SCHEDULE = Schedule(120, 16, 0.02, "sgd", "poly", head_lr=PUBLISHED.head_lr)
_TOY_LABELLED = Schedule(300, 8, 1e-3, head_lr=3.0)
_PHOTO = replace(oh2017_values.SCALES["photos"].backbone, width=32, aspp=_SMALL_ASPP)
_PHOTO_SCHEDULE = Schedule(160, 8, 1e-4, head_lr=10.0)
_PAPER = Backbone("wide_resnet", WIDE_RESNET38, PUBLISHED.width, aspp=PUBLISHED.aspp, dropout=PUBLISHED.dropout,
                  side=PUBLISHED.side)
_PAPER_BLOCKS = {"VGG16": ("vgg", VGG16_BLOCKS), "ResNet-50": ("resnet", RESNET50_BLOCKS),
                 "ResNet-101": ("resnet", RESNET101_BLOCKS)}
_PAPER_LR = {"ResNet-50": PUBLISHED.resnet50_lr}
_SMALL = {"mask_side": 32, "scales": (1.0, 0.75), "exchanged_scales": (1.0, 0.75, 1.25), "aspp_statistics": "trained",
          "image_scale": _TOY.side / PUBLISHED.side}

SCALES = {
    "quick": Scale(_TOY, Schedule(8, 4), Schedule(6, 4), Schedule(6, 4), _TOY_NETS, pretraining=Schedule(6, 32),
                   **_SMALL),
    "toy": Scale(_TOY, _TOY_SCHEDULE, _TOY_LABELLED, _TOY_LABELLED, _TOY_NETS, pretraining=Schedule(500, 64, 3e-3),
                 **_SMALL),
    "photos": Scale(_PHOTO, _PHOTO_SCHEDULE, _PHOTO_SCHEDULE, _PHOTO_SCHEDULE, mask_side=64,
                    scales=(1.0,), exchanged_scales=(1.0,), aspp_statistics="trained"),
    "voc": Scale(
        _PAPER, paper_schedule(PUBLISHED.epochs), paper_schedule(PUBLISHED.cam_epochs),
        paper_schedule(PUBLISHED.epochs),
        {name: replace(_PAPER, family=family, blocks=blocks, side=PUBLISHED.exchanged_side)
         for name, (family, blocks) in _PAPER_BLOCKS.items()},
        {name: paper_schedule(epochs, _PAPER_LR.get(name, PUBLISHED.lr)) for name, epochs in PUBLISHED.epochs_of},
    ),
}

#: File names looked for in the folder WSSS_WEIGHTS, by backbone.
START_WEIGHTS = {"main": "ilsvrc-cls_rna-a1_cls1000_ep-0001.pth", "VGG16": "vgg16_imagenet.pth",
                 "ResNet-50": "resnet50_imagenet.pth", "ResNet-101": "resnet101_imagenet.pth",
                 "mobilenet": oh2017_values.START_WEIGHTS["mobilenet"]}
