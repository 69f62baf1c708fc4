"""Losses that several stages share."""

import torch.nn.functional as F
from torch import Tensor

from wsss_lab.data.canvas import IGNORE


def tag_loss(scores: Tensor, tags: Tensor) -> Tensor:
    """Sigmoid cross-entropy summed over classes, averaged over images (the Caffe sense, as in Oh et al. 2017).

    scores: (B, C) logits. tags: (B, C) in {0, 1}.
    """
    return F.binary_cross_entropy_with_logits(scores, tags, reduction="sum") / len(tags)


def reduce_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels (B, H, W) on a network's grid `size`, by nearest neighbour (released code of Oh et al. 2017)."""
    return F.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")[:, 0].long()


def pixel_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy, averaged over the labelled pixels of the batch.

    scores: (B, K, h, w). labels: (B, H, W), reduced to the grid of the scores; 255 is ignored.
    A batch without any label gives 0.
    """
    target = reduce_labels(labels, scores.shape[-2:])
    summed = F.cross_entropy(scores.float(), target, ignore_index=IGNORE, reduction="sum")
    return summed / (target != IGNORE).sum().clamp(min=1)
