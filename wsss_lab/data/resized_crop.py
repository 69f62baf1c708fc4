"""Random resized crop, mirror and colour jitter, as Araslanov & Roth 2020 augment (Sec. 4.1, released code)."""

import math

import torch
from torch import Tensor

from wsss_lab.data.canvas import mirrored, sampled

AREA, ASPECT = (0.9, 1.0), (3 / 4, 4 / 3)  # shares of the image's area; width over height
ATTEMPTS = 10  # draws of a crop that may stick out of the image, before the whole image is taken
JITTER, HUE = 0.3, 0.1  # of brightness, contrast and saturation; of the hue, in turns

#: RGB to luma and two chroma axes (YIQ), in which a turn of the hue is a rotation.
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def crop_and_jitter(images: Tensor, labels: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Each image cropped to 90 to 100 % of its area, resized back, mirrored with probability 1/2, its colours changed.

    images: uint8 (B, 3, H, W). labels: integers (B, H, W), moved like the image without a change of values, or None.
    Returns the same shapes and dtypes. As `wsss_lab.data.canvas.augment`, to be handed to functions that draw batches.
    """
    boxes = crop_boxes(len(images), *images.shape[-2:], generator).to(images.device)
    flips = torch.rand(len(images), generator=generator).to(images.device) < 0.5
    rows, columns = (boxes[:, axis, None] + boxes[:, 2 + axis, None] * (torch.arange(length).to(boxes) + 0.5) / length
                     for axis, length in enumerate(images.shape[-2:]))
    moved, labels = sampled(images, labels, 2 * rows - 1, 2 * mirrored(columns, flips) - 1, "bicubic")
    return jitter_colours(moved, *jitter_factors(len(images), generator)).to(images.dtype), labels


def crop_boxes(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Crops (top, left, height, width) as shares of the image, (B, 4), drawn as torchvision's RandomResizedCrop does.

    Area uniform in AREA, aspect ratio log-uniform in ASPECT, first of ATTEMPTS draws that lies inside the image, at a
    uniform place; the whole image where none does.
    """
    draws = torch.rand(count, ATTEMPTS, 2, generator=generator)
    area = AREA[0] + (AREA[1] - AREA[0]) * draws[..., 0]
    low, high = (math.log(bound) for bound in ASPECT)
    aspect = torch.exp(low + (high - low) * draws[..., 1]) * height / width  # in shares of the sides
    sizes = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], -1)  # height, width
    inside = (sizes <= 1).all(-1)
    first = inside.int().argmax(1)
    size = torch.where(inside.any(1)[:, None], sizes[torch.arange(count), first], 1.0)
    return torch.cat([(1 - size) * torch.rand(count, 2, generator=generator), size], 1)


def jitter_factors(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Factors of brightness, contrast and saturation, (B, 3) in 1 +- JITTER, and turns of the hue, (B,) in +- HUE."""
    draws = 2 * torch.rand(count, 4, generator=generator) - 1
    return 1 + JITTER * draws[:, :3], HUE * draws[:, 3]


def jitter_colours(images: Tensor, factors: Tensor, turns: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue of each image changed by its own amounts, in this order.

    images: float (B, 3, H, W) in 0..255. factors: (B, 3), 1 = unchanged. turns: (B,) of the hue, 0 = unchanged.
    Returns whole numbers in 0..255 as float. All four are one affine map of the colours, which is applied at once (the
    order of torchvision's ColorJitter is random, its hue is that of HSV, and it clips after each change).
    """
    factors, turns = factors.to(images.device), turns.to(images.device)
    brightness, contrast, saturation = factors.view(-1, 3, 1, 1).unbind(1)
    luma = _YIQ[0].to(images.device)
    matrix = saturation * torch.eye(3, device=images.device) + (1 - saturation) * luma.expand(3, 3)
    matrix = _hue_rotation(turns) @ matrix
    mean = (images.mean((2, 3)) * luma).sum(1).view(-1, 1, 1) * brightness  # mean luma, which grey maps keep
    pixels = matrix @ (images.flatten(2) * (brightness * contrast)) + (1 - contrast) * mean
    return pixels.view(images.shape).round_().clamp_(0, 255)


def _hue_rotation(turns: Tensor) -> Tensor:
    """Matrices (B, 3, 3) that turn the chroma of RGB colours and keep their luma."""
    angle = 2 * math.pi * turns
    rotation, axes = torch.eye(3, device=turns.device).repeat(len(turns), 1, 1), _YIQ.to(turns.device)
    rotation[:, 1, 1] = rotation[:, 2, 2] = angle.cos()
    rotation[:, 1, 2], rotation[:, 2, 1] = -angle.sin(), angle.sin()
    return torch.linalg.inv(axes) @ rotation @ axes
