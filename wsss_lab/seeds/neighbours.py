r"""Bilateral similarity between the cells of a grid on an image (Roy & Todorovic 2017, Eqs. 8 and 9).

.. math:: w_{ii'} = \exp\Big(-\frac{\|z_i - z_{i'}\|^2}{\sigma_z^2}\Big)
                    \exp\Big(-\frac{\|r_i - r_{i'}\|^2}{\sigma_r^2}\Big), \qquad
          \hat w_{ii'} = \frac{w_{ii'}}{\sum_{i''} w_{ii''}}

z are the centres of the cells in pixels, r their colours. Similarities, and any other operator that only ties nearby
cells, are kept as a window of planes (B, (2 radius + 1)^2, h, w): plane k holds for every cell its weight to the cell
that lies `window(radius)[k]` away. The matrix with (hw)^2 entries is never built; where all colours are equal, a window
of 7 x 7 cells misses less than a ten-thousandth of each row's sum at the published widths.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.errors import DataError, ParameterError

SIGMA_Z, SIGMA_R = 10.0, 30.0  # Sec. 4
SPACING = 8.0  # pixels from cell to cell: the output stride of DeepLab-LargeFOV from pool-4 up
RADIUS = 3  # cells; the next ones have a weight below 4e-5
NORMALISATIONS = ("rows", "symmetric")


def window(radius: int = RADIUS) -> list[tuple[int, int]]:
    """(row, column) steps to all cells of a window, itself included, in reading order.

    >>> window(1)[:5]
    [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0)]
    """
    reach = range(-radius, radius + 1)
    return [(row, column) for row in reach for column in reach]


@torch.no_grad()
def cell_colours(images: Tensor, grid: tuple[int, int]) -> Tensor:
    r"""Mean HSV colour of every cell, as a point of the colour cone.

    .. math:: r = (c \cos h, \; c \sin h, \; v), \qquad v = \max(R, G, B), \quad c = v - \min(R, G, B)

    images: uint8 (B, 3, H, W), RGB. grid: (h, w), at most (H, W). Returns float32 (B, 3, h, w) on a scale of 0..255.

    Hue h is an angle, so it must not be averaged or subtracted as a number; on the cone the reds on both sides of 0 are
    neighbours, and a grey has no hue. Chroma c, saturation times value, stands for saturation, which is noise in an
    almost black pixel. The paper has HSV histograms of unstated size; histograms that sum to 1 are nearer to each other
    than 1.5, which sigma_r = 30 cannot tell apart. So: our choice.
    Raises DataError for images of another type or shape, ParameterError for a grid finer than the image.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise DataError(f"cell colours of {images.dtype} images of shape {tuple(images.shape)}",
                        "uint8 (B, 3, H, W), RGB")
    if not all(0 < cells <= pixels for cells, pixels in zip(grid, images.shape[2:])):
        raise ParameterError(f"a grid of {tuple(grid)} cells on images of {tuple(images.shape[2:])} pixels",
                             "at least one pixel in each cell")
    images = images.float()
    value = images.amax(1)
    chroma = value - images.amin(1)
    red, green, blue = images.unbind(1)
    divisor = chroma.clamp(min=1)  # values are whole numbers: 0 only for greys, whose numerators are 0 too
    sixths = torch.where(value == red, (green - blue) / divisor,
                         torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor))
    hue = sixths * (math.pi / 3)
    return F.adaptive_avg_pool2d(torch.stack([chroma * hue.cos(), chroma * hue.sin(), value], 1), tuple(grid))


@torch.no_grad()
def similarity(colours: Tensor, spacing: float = SPACING, sigma_z: float = SIGMA_Z, sigma_r: float = SIGMA_R,
               radius: int = RADIUS) -> Tensor:
    """Similarity w of each cell to those in the window around it (Eq. 8).

    colours: float (B, D, h, w), see `cell_colours`. spacing: pixels from cell to cell. sigma_z, sigma_r: in pixels and
    in units of colour; there is no factor 2 beside their squares. Returns (B, (2 radius + 1)^2, h, w) in [0, 1]: 1 for
    the cell itself, 0 outside of the grid; symmetric as an operator. Never carries a gradient.
    Raises ParameterError for a width or spacing that is not positive or a negative radius.
    """
    if not min(spacing, sigma_z, sigma_r) > 0 or radius < 0:
        given = f"spacing={spacing}, sigma_z={sigma_z}, sigma_r={sigma_r}, radius={radius}"
        raise ParameterError(f"similarity with {given}", "widths and a spacing above 0 and a radius of 0 or more")
    # Beyond the border colours are infinitely far, which gives a weight of exactly 0.
    around = _shifted(F.pad(colours, (radius,) * 4, value=math.inf), radius)
    far = [(spacing / sigma_z) ** 2 * (row ** 2 + column ** 2) for row, column in window(radius)]
    unlike = ((each - colours).square().sum(1) / sigma_r ** 2 for each in around)
    return torch.stack([torch.exp(-colour - position) for colour, position in zip(unlike, far)], 1)


def normalised(weights: Tensor, how: str = "rows") -> Tensor:
    r"""Weights divided by their sums :math:`d_i = \sum_{i'} w_{ii'}`: the same shape.

    weights: (B, (2 radius + 1)^2, h, w), symmetric, with a positive sum at every cell. how: "rows",
    :math:`w_{ii'} / d_i` (Eq. 9 before the 1 is subtracted), or "symmetric", :math:`w_{ii'} / \sqrt{d_i d_{i'}}` (not
    in the paper), which has the same eigenvalues but is symmetric, so that a quadratic form sees all of it.
    Raises ParameterError for another `how`.
    """
    if how not in NORMALISATIONS:
        raise ParameterError(f"normalisation '{how}' is not known", " or ".join(NORMALISATIONS))
    total = weights.sum(1, keepdim=True)
    if how == "rows":
        return weights / total
    scale, radius = total.rsqrt(), radius_of(weights)
    return weights * torch.cat(list(_shifted(F.pad(scale, (radius,) * 4), radius)), 1) * scale


def symmetric_part(weights: Tensor) -> Tensor:
    """(W + W') / 2, all that a quadratic form sees of an operator; weights and result (B, (2 radius + 1)^2, h, w)."""
    radius = radius_of(weights)
    # The way back from cell i + s to i is the step -s: in reading order, the window turned round.
    back = _shifted(F.pad(weights.flip(1), (radius,) * 4), radius)
    return (weights + torch.stack([planes[:, index] for index, planes in enumerate(back)], 1)) / 2


def spread(weights: Tensor, maps: Tensor) -> Tensor:
    """The operator applied to maps: sums over each cell's window, weighted.

    weights: (B, (2 radius + 1)^2, h, w). maps: (B, ..., h, w) of the same dtype and on the same device. Returns the
    shape of the maps. Differentiable in both. Raises DataError where weights and maps do not fit each other.
    """
    radius = radius_of(weights)
    if maps.ndim < 3 or (len(maps), *maps.shape[-2:]) != (len(weights), *weights.shape[2:]):
        raise DataError(f"maps of shape {tuple(maps.shape)} for weights of shape {tuple(weights.shape)}",
                        f"({len(weights)}, ..., {weights.shape[2]}, {weights.shape[3]})")
    flat = maps.reshape(len(maps), -1, *maps.shape[-2:])
    total = torch.zeros_like(flat)
    for plane, around in zip(weights.split(1, 1), _shifted(F.pad(flat, (radius,) * 4), radius)):
        total = total.addcmul_(plane, around)
    return total.reshape(maps.shape)


def radius_of(weights: Tensor) -> int:
    """Radius of the window in which weights (B, (2 radius + 1)^2, h, w) are kept; DataError for another shape."""
    side = math.isqrt(weights.shape[1]) if weights.ndim == 4 else 0
    if side % 2 == 0 or side ** 2 != weights.shape[1]:
        raise DataError(f"weights of shape {tuple(weights.shape)}", "(B, (2 radius + 1)^2, h, w), planes of a window")
    return side // 2


def _shifted(padded: Tensor, radius: int) -> Iterator[Tensor]:
    """Views (B, C, h, w) of planes with a margin of `radius`: what lies there, for each step of the window."""
    height, width = (side - 2 * radius for side in padded.shape[2:])
    for row, column in window(radius):
        yield padded[:, :, radius + row : radius + row + height, radius + column : radius + column + width]
