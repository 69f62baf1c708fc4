"""The self-supervised pixel loss of Araslanov & Roth 2020 (App. B.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.errors import ParameterError

IGNORE = 255
AVERAGES = ("released", "paper")


def class_weights(labels: Tensor, classes: int) -> Tensor:
    r"""Balancing weight of every label of every image (Eq. 22): rare labels count more.

    .. math:: q_{b,c} = \frac{M_{b,total} - M_{b,c}}{1 + M_{b,total}}

    labels: integers (B, H, W), 255 = ignore. classes: K, background included. Returns float (B, K) in [0, 1).

    >>> class_weights(torch.tensor([[[0, 0, 0, 1]]]), 2).tolist()
    [[0.20000000298023224, 0.6000000238418579]]
    """
    flat = labels.flatten(1)
    counts = torch.zeros(len(flat), classes + 1, device=labels.device)
    counts.scatter_add_(1, torch.where(flat == IGNORE, classes, flat), torch.ones(flat.shape, device=labels.device))
    counts = counts[:, :classes]
    total = counts.sum(1, keepdim=True)
    return (total - counts) / (1 + total)


def balanced_pixel_loss(scores: Tensor, labels: Tensor, average: str = "released") -> Tensor:
    r"""Cross-entropy with class weights: :math:`-q_c \log m_{c,ij}` at label c (Eq. 21), 0 where it is ignored.

    scores: (B, K, H, W), before the softmax, background first. labels: integers (B, H, W), 255 = ignore.
    average: "released", the mean over all pixels of all images, ignored ones included; "paper", Eq. (23), the mean
    over the pixels of an image, images weighted by their share of the batch's labelled pixels.
    Returns a scalar, 0 without any label. Raises ParameterError for another average.
    """
    if average not in AVERAGES:
        raise ParameterError(f"average '{average}' is not known", " or ".join(AVERAGES))
    weights = class_weights(labels, scores.shape[1])
    known = labels != IGNORE
    of_pixel = weights.gather(1, labels.flatten(1).clamp(max=scores.shape[1] - 1)).view(labels.shape)
    losses = F.cross_entropy(scores.float(), labels, ignore_index=IGNORE, reduction="none")
    of_image = (losses * of_pixel * known).mean((1, 2))
    if average == "released":
        return of_image.mean()
    labelled = known.sum((1, 2)).float()
    return (labelled * of_image).sum() / labelled.sum().clamp(min=1)
