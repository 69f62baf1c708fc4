"""Values of Oh et al. 2017: what the paper prints, and how large everything is in each profile."""

from dataclasses import dataclass

from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import TOY_BLOCKS


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


def paper_schedule(iterations: int, batch: int, decay_every: int) -> Schedule:
    """SGD as printed: step policy; a tenfold rate behind the trunk."""
    return Schedule(iterations, batch, PUBLISHED.lr, "sgd", "step", decay_every, PUBLISHED.momentum,
                    PUBLISHED.weight_decay, PUBLISHED.head_lr)


_TOY_NET = Backbone("vgg", TOY_BLOCKS, width=64, dilation=4, aspp=(1, 2, 3, 4), dropout=0.0, side=64)
_PHOTO_NET = Backbone("mobilenet", width=256, dilation=4, aspp=(2, 4, 6, 8), dropout=0.1, side=256)

#: File names looked for in the folder WSSS_WEIGHTS.
START_WEIGHTS = {"vgg": "vgg16_imagenet.pth", "mobilenet": "mobilenet_v2_imagenet.pth"}

SCALES = {
    "quick": Scale(_TOY_NET, Schedule(6, 16), Schedule(6, 16), Schedule(40, 16, 3e-3), Schedule(6, 32), Schedule(6, 16),
                   image_scale=_TOY_NET.side / PUBLISHED.input_side),
    "toy": Scale(_TOY_NET, Schedule(600, 16, 2e-3), Schedule(700, 16, 3e-3), Schedule(600, 16, 3e-3),
                 Schedule(1000, 64, 3e-3), image_scale=_TOY_NET.side / PUBLISHED.input_side),
    "photos": Scale(_PHOTO_NET, Schedule(120, 16, 1e-4, head_lr=30.0), Schedule(200, 16, 1e-4, head_lr=10.0),
                    stride=16),
    "voc": Scale(
        Backbone(dilation=PUBLISHED.large_fov_dilation, dropout=PUBLISHED.dropout, side=PUBLISHED.input_side),
        paper_schedule(PUBLISHED.iterations, PUBLISHED.batch, PUBLISHED.decay_every),
        paper_schedule(PUBLISHED.iterations, PUBLISHED.batch, PUBLISHED.decay_every),
        plain_classifier=paper_schedule(PUBLISHED.classifier_iterations, PUBLISHED.classifier_batch,
                                        PUBLISHED.classifier_decay_every),
        stride=8,
    ),
}
