"""Random scale, crop and mirror: the augmentation of DeepLab v2 and of Chaudhry et al. 2017 (released code)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.errors import ParameterError

BACKGROUND = 0
MEAN = (124, 116, 104)  # RGB of ImageNet: zero for a network whose input has the mean taken off


def scale_crop(images: Tensor, labels: Tensor | None, generator: torch.Generator, low: float = 0.5,
               high: float = 1.5, flip: float = 0.5) -> tuple[Tensor, Tensor | None]:
    """Each image enlarged or shrunk by a factor of its own, cut back to its size at a random place, and mirrored.

    images: uint8 (B, 3, H, W). labels: integers (B, H, W) or None. low, high: the factor is uniform between them.
    flip: probability of the mirror. Where a shrunk image leaves room, below and to its right (to its left if it is
    mirrored), it is filled with the mean colour and labelled background, as the released code does; the paper doesn't
    say.
    Returns the same shapes and dtypes: images bilinear, labels nearest. Raises ParameterError unless 0 < low <= high.
    """
    if not 0 < low <= high:
        raise ParameterError(f"scales from {low} to {high}", "0 < low <= high, as in 0.5 and 1.5")
    draws = torch.rand(len(images), 4, generator=generator).to(images.device)
    scale = low + (high - low) * draws[:, 0]
    slack = (scale - 1).clamp(min=0)
    grid, inside = _grid(images.shape[-2:], scale, slack[:, None] * draws[:, 1:3], draws[:, 3] < flip)
    moved = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    moved = moved.round_().clamp_(0, 255).to(images.dtype)
    mean = torch.tensor(MEAN, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    moved = torch.where(inside[:, None], moved, mean)
    if labels is None:
        return moved, None
    nearest = F.grid_sample(labels[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    return moved, torch.where(inside, nearest[:, 0].round().to(labels.dtype), BACKGROUND)


def _grid(size: tuple[int, int], scale: Tensor, offset: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Source positions (B, H, W, 2) in [-1, 1], x first, for grid_sample, and which of them lie on the image.

    scale, mirrored: (B,). offset: (B, 2), top and left edge of the cut on the scaled image, in image sizes.
    """
    axes = [((torch.arange(length, device=scale.device) + 0.5) / length + offset[:, axis, None]) / scale[:, None]
            for axis, length in enumerate(size)]  # (B, length), 0..1 over the image
    rows, columns = axes
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows, columns = torch.broadcast_tensors(rows[:, :, None], columns[:, None, :])
    return torch.stack([2 * columns - 1, 2 * rows - 1], -1), (rows < 1) & (columns < 1)
