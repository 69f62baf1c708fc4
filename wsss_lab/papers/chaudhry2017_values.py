"""Values of Chaudhry et al. 2017: what the paper prints, and how large everything is in each profile."""

from dataclasses import dataclass, replace

from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import RESNET101_BLOCKS, TOY_RESNET_BLOCKS
from wsss_lab.papers import oh2017_values
from wsss_lab.refinement.dense_crf import CrfParameters


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


_GUIDED = oh2017_values.SCALES

#: Dilations for maps of 16 x 16 positions, the same shares of the map as 6 to 24 are of the paper's 41 x 41.
_SMALL_ASPP = (2, 5, 7, 9)
_TOY_VGG = replace(_GUIDED["toy"].backbone, width=32, aspp=_SMALL_ASPP)
_TOY_RESNET = replace(_TOY_VGG, family="resnet", blocks=TOY_RESNET_BLOCKS)
_TOY_SCALES = (1.0, 0.875, 0.75)  # half of a 64-pixel image holds too little
_TOY_IMAGE = _GUIDED["toy"].image_scale
_PHOTO_NET = replace(_GUIDED["photos"].backbone, aspp=_SMALL_ASPP)

SCALES = {
    "quick": Scale(_TOY_RESNET, _TOY_VGG, Schedule(6, 16), Schedule(6, 16), Schedule(6, 32), scales=_TOY_SCALES,
                   image_scale=_TOY_IMAGE),
    "toy": Scale(_TOY_RESNET, _TOY_VGG, Schedule(400, 16, 0.1, "sgd", "poly", trunk_lr=0.1),
                 Schedule(500, 16, PUBLISHED.lr, head_lr=PUBLISHED.head_lr), Schedule(1000, 64, 3e-3),
                 scales=_TOY_SCALES, image_scale=_TOY_IMAGE),
    "photos": Scale(_PHOTO_NET, None, Schedule(100, 16, 0.1, "sgd", "poly", trunk_lr=0.1),
                    Schedule(100, 16, 1e-4, head_lr=10.0)),
    "voc": Scale(
        Backbone("resnet", RESNET101_BLOCKS, aspp=PUBLISHED.aspp, side=PUBLISHED.input_side),
        replace(_GUIDED["voc"].backbone, aspp=PUBLISHED.aspp), _paper_schedule(PUBLISHED.attention_iterations),
        _paper_schedule(PUBLISHED.round_iterations), random_scale=PUBLISHED.random_scale,
    ),
}

#: File names looked for in the folder WSSS_WEIGHTS.
START_WEIGHTS = oh2017_values.START_WEIGHTS | {"resnet": "resnet101_imagenet.pth"}
