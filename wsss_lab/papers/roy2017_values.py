"""Values of Roy & Todorovic 2017: what the paper prints, and how large everything is in each profile."""

from dataclasses import dataclass

from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.papers import oh2017_values
from wsss_lab.refinement.dense_crf import CrfParameters


@dataclass(frozen=True)
class Published:
    """Values that the paper prints (section). lambda, the widths of Eq. (8) and the iterations of the CRF-RNN are
    defaults of wsss_lab.segmenter.fusion, wsss_lab.seeds.neighbours and wsss_lab.refinement.crf_rnn."""

    batch: int = 20  # Sec. 7
    iterations: int = 10000  # Sec. 7
    lr: float = 1e-3  # Sec. 7
    decay_every: int = 2000  # Sec. 7
    momentum: float = 0.9  # Sec. 7
    weight_decay: float = 5e-4  # DeepLab's; the paper has none
    head_lr: float = 10.0  # DeepLab's; the paper has none
    warm_up: float = 0.1  # share of the iterations with the classification loss alone; our choice
    input_side: int = 321  # DeepLab's
    dilation: int = 12  # DeepLab's
    dropout: float = 0.5  # DeepLab's
    crf: CrfParameters = CrfParameters(4, 121, 5, 3, 3)  # "as in DeepLab", of the row without CRF-RNN


PUBLISHED = Published()

#: Thresholds of the competitor's seeds: class maps of SEC at a fifth of their maximum; background where no map reaches
#: the lower one (SEC has a saliency map for that).
SEED_THRESHOLDS = (0.05, 0.2)


@dataclass(frozen=True)
class Scale:
    """How large and how long everything is in one profile; shared by all rows of all tables.

    schedule: of all trainings. segmenter: of the networks that learn from labels (competitor and upper bound).
    pretraining: whether the trunk starts from the toy world's crops instead of a file.
    """

    backbone: Backbone
    schedule: Schedule
    segmenter: Schedule
    pretraining: bool = False
    image_scale: float = 1.0  # size of the images against the paper's: lengths in pixels are multiplied by it

    @property
    def warm_up(self) -> int:
        """Iterations with the classification loss alone."""
        return round(PUBLISHED.warm_up * self.schedule.iterations)


def _paper_schedule() -> Schedule:
    return Schedule(PUBLISHED.iterations, PUBLISHED.batch, PUBLISHED.lr, "sgd", "step", PUBLISHED.decay_every,
                    PUBLISHED.momentum, PUBLISHED.weight_decay, PUBLISHED.head_lr)


_GUIDED = oh2017_values.SCALES
_TOY = _GUIDED["toy"].backbone
_PHOTO = _GUIDED["photos"].backbone

#: File names looked for in the folder WSSS_WEIGHTS.
START_WEIGHTS = oh2017_values.START_WEIGHTS

SCALES = {
    "quick": Scale(_TOY, Schedule(8, 8), Schedule(6, 8), True, _GUIDED["toy"].image_scale),
    "toy": Scale(_TOY, Schedule(500, 8, 1e-3, head_lr=10.0), Schedule(400, 8, 1e-3, head_lr=10.0), True,
                 _GUIDED["toy"].image_scale),
    "photos": Scale(_PHOTO, Schedule(160, 8, 1e-4, head_lr=10.0), _GUIDED["photos"].segmenter),
    "voc": Scale(
        Backbone(dilation=PUBLISHED.dilation, dropout=PUBLISHED.dropout, side=PUBLISHED.input_side),
        _paper_schedule(), _paper_schedule(),
    ),
}
