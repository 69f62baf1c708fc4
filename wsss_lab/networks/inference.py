"""Running a trained network without changing it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_lab.data.canvas import Box, from_canvas, normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import ParameterError
from wsss_lab.networks.machine import resolve_device

#: The first layers of WideResNet-38 keep 64 channels of each: a gigabyte in single precision, a few times over. On a
#: CPU a tensor above 32 MB gets new memory from the system every time, which takes as long as what is computed there.
PIXELS_AT_ONCE = {"cuda": 64 * 256 ** 2, "cpu": 4 * 256 ** 2}


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
    """How many images to look at together: 32, or fewer where the device would be slower or short of memory.

    side: of the largest that the network sees, in pixels. looks: how many of that size an image comes in, 2 with its
    mirror image.

    >>> [images_at_once(64), images_at_once(256), images_at_once(2 * 448, looks=2)]  # on a CPU
    [32, 4, 1]
    """
    return max(1, min(32, PIXELS_AT_ONCE[resolve_device().type] // (looks * side ** 2)))


def batches_of(view: TrainView, side: int, batch: int | None = None) -> Iterator[tuple[range, Tensor, Tensor]]:
    """Yield (indices, canvases uint8 (B, 3, side, side), boxes (B, 4) of the images on them) of a view, in order.

    batch: how many together, None = `images_at_once`.
    """
    batch = batch or images_at_once(side)
    for first in range(0, len(view), batch):
        indices = range(first, min(first + batch, len(view)))
        yield indices, *view.canvas(indices, side)


@torch.inference_mode()
def label_probabilities(net: nn.Module, view: TrainView, side: int) -> Iterator[np.ndarray]:
    """Yield, image by image, what a segmentation network says of its pixels: float32 (K, H, W), summing to 1 over K.

    net: in evaluation mode, (B, 3, side, side) -> scores (B, K, h, w), which are brought to image size before the
    softmax. side: canvas side in pixels. Tags are not used.
    """
    for indices, images, boxes in batches_of(view, side):
        scores = net(normalise(images.to(device_of(net)))).float().cpu()
        for index, score, box in zip(indices, scores, boxes):
            yield from_canvas(score, box, side, view.size(index)).softmax(0).numpy()


def _scaled(images: Tensor, scale: float) -> Tensor:
    size = [round(scale * side) for side in images.shape[-2:]]
    return images if scale == 1 else _resized(images, size)


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


# ---------------------------------------------------------------------------------------------------------------------
# One network looked through at several scales: the pixel-wise maximum of its volumes (DeepLab v2).


SCALES = (1.0, 0.75, 0.5)


def multiscale_maximum(run: Callable[[Tensor], Tensor], images: Tensor, scales: Sequence[float] = SCALES) -> Tensor:
    """Largest value over the scales, on the grid of the largest one.

    run: images (B, 3, H, W) -> volume (B, K, h, w), linear (before any softmax). images: normalised (B, 3, H, W).
    scales: factors on height and width, in (0, 1]. Returns (B, K, h, w). Source: Chaudhry et al. 2017, released code.
    """
    if not scales or not all(0 < scale <= 1 for scale in scales):
        raise ParameterError(f"scales {list(scales)}", "factors above 0 and at most 1, as in (1, 0.75, 0.5)")
    largest, *smaller = (run(_scaled(images, scale)).float() for scale in sorted(scales, reverse=True))
    for volume in smaller:
        largest = torch.maximum(largest, _resized(volume, largest.shape[-2:]))
    return largest


@torch.inference_mode()
def volumes(net: nn.Module, run: Callable[[Tensor], Tensor], view: TrainView, side: int,
            scales: Sequence[float] = SCALES) -> Iterator[tuple[int, Tensor, Box]]:
    """Yield (index, volume (K, h, w) on the canvas, box of the image on it) of every image of a view.

    net: in evaluation mode. run: one of its methods, see `multiscale_maximum`. side: canvas side in pixels.
    """
    for indices, images, boxes in batches_of(view, side):
        found = multiscale_maximum(run, normalise(images.to(device_of(net))), scales).cpu()
        yield from zip(indices, found, boxes)


# ---------------------------------------------------------------------------------------------------------------------
# One network looked through at several scales and mirrored: the mean of its maps (Chen et al. 2018).


def multiscale_mean(run: Callable[[Tensor], tuple[Tensor, Tensor]], images: Tensor,
                    scales: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Mean of maps, and largest class scores, over scales and mirror images.

    run: normalised images (B, 3, h, w) -> maps (B, K, h', w') and class scores (B, C). images: (B, 3, H, W).
    scales: factors above 0 on height and width; each is looked at as it is and mirrored.
    Returns maps (B, K, H, W), brought to the images' size before the mean, and scores (B, C).
    """
    if not scales or not all(scale > 0 for scale in scales):
        raise ParameterError(f"scales {list(scales)}", "factors above 0, as in (1, 0.5, 1.5, 2)")
    total, best = 0, None
    for scale in scales:
        resized = _scaled(images, scale)
        maps, scores = run(torch.cat([resized, resized.flip(3)]))
        plain, mirrored = maps.float().chunk(2)
        scores = torch.maximum(*scores.float().chunk(2))
        total = total + _resized((plain + mirrored.flip(3)) / 2, images.shape[-2:])
        best = scores if best is None else torch.maximum(best, scores)
    return total / len(scales), best


@torch.inference_mode()
def averaged_maps(net: nn.Module, run: Callable[[Tensor], tuple[Tensor, Tensor]], view: TrainView, side: int,
                  scales: Sequence[float]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (maps (K, H, W) at image size, class scores (C,)) of every image of a view, both float32.

    net: in evaluation mode. run: see `multiscale_mean`. side: canvas side in pixels.
    """
    for indices, images, boxes in batches_of(view, side, images_at_once(round(side * max(scales, default=1)), looks=2)):
        maps, scores = multiscale_mean(run, normalise(images.to(device_of(net))), scales)
        for index, image_maps, image_scores, box in zip(indices, maps.cpu(), scores.cpu(), boxes):
            yield from_canvas(image_maps, box, side, view.size(index)), image_scores
