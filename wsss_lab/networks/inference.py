"""Running a trained network without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.data.views import TrainView

#: The first layers of WideResNet-38 keep 64 channels of each: a gigabyte in single precision, a few times over.
PIXELS_AT_ONCE = 64 * 256 ** 2


@contextmanager
def eval_mode(net: nn.Module) -> Iterator[None]:
    """Evaluation behaviour (no dropout, fixed batch norms) inside the block; the modes come back after it.

    >>> net = nn.Sequential(nn.Dropout())
    >>> with eval_mode(net):
    ...     print(net.training)
    False
    >>> net.training
    True
    """
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def device_of(net: nn.Module) -> torch.device:
    """The device that a network's parameters are on."""
    return next(net.parameters()).device


def images_at_once(side: int, looks: int = 1) -> int:
    """How many images to look at together: 32, or fewer where the memory of a GPU would be short.

    side: of the largest that the network sees, in pixels. looks: how many of that size an image comes in, 2 with its
    mirror image.

    >>> images_at_once(321), images_at_once(2 * 448, looks=2)
    (32, 2)
    """
    return max(1, min(32, PIXELS_AT_ONCE // (looks * side ** 2)))


@torch.inference_mode()
def label_probabilities(net: nn.Module, view: TrainView, side: int, batch: int = 32) -> Iterator[np.ndarray]:
    """Yield, image by image, what a segmentation network says of its pixels: float32 (K, H, W), summing to 1 over K.

    net: in evaluation mode, (B, 3, side, side) -> scores (B, K, h, w), which are brought to image size before the
    softmax. side: canvas side in pixels. Tags are not used.
    """
    for first in range(0, len(view), batch):
        indices = range(first, min(first + batch, len(view)))
        images, boxes = view.canvas(indices, side)
        scores = net(normalise(images.to(device_of(net)))).float().cpu()
        for index, score, box in zip(indices, scores, boxes):
            yield from_canvas(score, box, side, view.size(index)).softmax(0).numpy()
