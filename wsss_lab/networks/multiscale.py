"""One network looked through at several scales: the pixel-wise maximum of its volumes (DeepLab v2)."""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_lab.data.canvas import Box, normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import ParameterError
from wsss_lab.networks.inference import device_of

SCALES = (1.0, 0.75, 0.5)


def multiscale_maximum(run: Callable[[Tensor], Tensor], images: Tensor, scales: Sequence[float] = SCALES) -> Tensor:
    """Largest value over the scales, on the grid of the largest one.

    run: images (B, 3, H, W) -> volume (B, K, h, w), linear (before any softmax). images: normalised (B, 3, H, W).
    scales: factors on height and width, in (0, 1]. Returns (B, K, h, w). Source: Chaudhry et al. 2017, released code.
    """
    if not scales or not all(0 < scale <= 1 for scale in scales):
        raise ParameterError(f"scales {list(scales)}", "factors above 0 and at most 1, as in (1, 0.75, 0.5)")
    largest = None
    for scale in sorted(scales, reverse=True):
        size = [round(scale * side) for side in images.shape[-2:]]
        resized = images if scale == 1 else F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        volume = run(resized).float()
        if largest is None:
            largest = volume
        else:
            grown = F.interpolate(volume, size=largest.shape[-2:], mode="bilinear", align_corners=False)
            largest = torch.maximum(largest, grown)
    return largest


@torch.inference_mode()
def volumes(net: nn.Module, run: Callable[[Tensor], Tensor], view: TrainView, side: int,
            scales: Sequence[float] = SCALES, batch: int = 32) -> Iterator[tuple[int, Tensor, Box]]:
    """Yield (index, volume (K, h, w) on the canvas, box of the image on it) of every image of a view.

    net: in evaluation mode. run: one of its methods, see `multiscale_maximum`. side: canvas side in pixels.
    """
    for first in range(0, len(view), batch):
        indices = range(first, min(first + batch, len(view)))
        images, boxes = view.canvas(indices, side)
        found = multiscale_maximum(run, normalise(images.to(device_of(net))), scales).cpu()
        yield from zip(indices, found, boxes)
