"""Class scores of a segmentation network: normalised global weighted pooling (Araslanov & Roth 2020, Sec. 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.errors import ParameterError

BACKGROUND = 1.0  # constant score of the background at every pixel
EPSILON = 1.0  # App. B.1
POWER, FLOOR = 3.0, 0.01  # p and lambda of Eq. (5), Sec. 4.3


def with_background(scores: Tensor) -> Tensor:
    """Pixel scores with the constant background score in front: (B, C, h, w) -> (B, 1 + C, h, w)."""
    return F.pad(scores, (0, 0, 0, 0, 1, 0), value=BACKGROUND)


def masks_of(scores: Tensor) -> Tensor:
    """Masks m, the softmax over background and classes: (B, C, h, w) -> (B, 1 + C, h, w), summing to 1."""
    return with_background(scores.float()).softmax(1)


def average_pooling(scores: Tensor) -> Tensor:
    r"""Global average pooling, :math:`y_c^{GAP} = \frac{1}{hw} \sum_{ij} y_{c,ij}` (Eq. 1): (B, C, h, w) -> (B, C).

    Eq. (1) pools features before the linear layer, which is the same for a layer without bias.
    """
    return scores.mean((2, 3))


def weighted_pooling(scores: Tensor, masks: Tensor, epsilon: float = EPSILON) -> Tensor:
    r"""Normalised global weighted pooling: mean of a class's pixel scores, weighted by its mask (Eqs. 3 and 14).

    .. math:: y_c^{nGWP} = \frac{\sum_{ij} m_{c,ij} \, y_{c,ij}}{\epsilon + \sum_{ij} m_{c,ij}}

    scores: (B, C, h, w). masks: (B, C, h, w) in [0, 1], of the classes only (no background). Returns (B, C).
    With epsilon = 0 an empty mask has no score (nan): its limit depends on the path (Lemma 1).
    Raises ParameterError for a negative epsilon.
    """
    if epsilon < 0:
        raise ParameterError(f"epsilon={epsilon}", "0 or more; the paper takes 1")
    return (masks * scores).sum((2, 3)) / (epsilon + masks.sum((2, 3)))


def size_penalty(masks: Tensor, power: float = POWER, floor: float = FLOOR) -> Tensor:
    r"""Focal penalty of small masks (Eqs. 5, 15 and 16); power 0 gives the plain one of Eq. (4).

    .. math:: y_c^{size-focal} = (1 - \bar m_c)^p \log(\lambda + \bar m_c), \quad
              \bar m_c = \frac{1}{hw} \sum_{ij} m_{c,ij}

    masks: (B, C, h, w) in [0, 1]. power: p. floor: lambda, above 0. Returns (B, C), log(lambda) for an empty mask.
    Raises ParameterError for power < 0 or floor <= 0.
    """
    if power < 0 or floor <= 0:
        raise ParameterError(f"size penalty with p={power}, lambda={floor}", "p of 0 or more and lambda above 0")
    size = masks.mean((2, 3))
    return (1 - size).clamp(min=0) ** power * torch.log(floor + size)


def class_scores(scores: Tensor, power: float = POWER, floor: float = FLOOR, epsilon: float = EPSILON,
                 penalty: bool = True) -> tuple[Tensor, Tensor]:
    """The two terms of a class's score, whose sum is Eq. (13): (weighted pooling, size penalty), each (B, C).

    scores: pixel scores (B, C, h, w). penalty: False leaves the second term 0. Gradients go through masks and scores.
    """
    masks = masks_of(scores)[:, 1:]
    pooled = weighted_pooling(scores.float(), masks, epsilon)
    return pooled, size_penalty(masks, power, floor) if penalty else torch.zeros_like(pooled)


def soft_margin_loss(scores: Tensor, tags: Tensor) -> Tensor:
    r"""Multi-label soft margin loss, mean over classes and images (Eqs. 6 and 12).

    .. math:: L = -\frac{1}{C} \sum_c z_c \log \frac{1}{1 + e^{-y_c}} + (1 - z_c) \log \frac{e^{-y_c}}{1 + e^{-y_c}}

    scores: (B, C). tags: (B, C) in {0, 1}. Returns a scalar.
    """
    return F.multilabel_soft_margin_loss(scores.float(), tags)
