"""Canvases: images of any size on one square, and class maps back on the image.

Oh et al. 2017 (released code) resize the longest side of an image to the network's input and fill the rest of
the square by reflection. Label images follow the same geometry with nearest-neighbour values.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.errors import ParameterError

IGNORE = 255
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Box(NamedTuple):
    """Where the image lies on its canvas, in canvas pixels."""

    top: int
    left: int
    height: int
    width: int


def canvas_box(height: int, width: int, side: int) -> Box:
    """The centred place of a height x width image on a side x side canvas; its longest side fills the canvas.

    >>> canvas_box(100, 50, 10)
    Box(top=0, left=2, height=10, width=5)
    """
    if side < 1:
        raise ParameterError(f"canvas side {side}", "a positive number of pixels")
    longest = max(height, width)
    new_height = max(1, round(height * side / longest))
    new_width = max(1, round(width * side / longest))
    return Box((side - new_height) // 2, (side - new_width) // 2, new_height, new_width)


def to_canvas(image: np.ndarray, side: int) -> tuple[np.ndarray, Box]:
    """Resize the longest side to `side` and reflect the image (edge pixel not repeated) to a square.

    image: uint8 (H, W, 3)    returns: uint8 (side, side, 3) and the box of the image on it. Area averaging when the
    image shrinks, bilinear when it grows; a side x side image is returned as it is.
    """
    import cv2

    how = cv2.INTER_AREA if max(image.shape[:2]) > side else cv2.INTER_LINEAR
    return _place(image, side, lambda size: cv2.resize(image, size[::-1], interpolation=how), cv2.BORDER_REFLECT_101)


def label_canvas(mask: np.ndarray, side: int, padding: str = "reflect") -> np.ndarray:
    """The mask on the canvas of its image: nearest neighbour, so that no label is invented.

    mask: uint8 (H, W)    returns: uint8 (side, side)    padding: "reflect" continues the labels like the image (the
    released code of Oh et al. 2017), "ignore" is 255. Raises ParameterError for any other word.
    """
    import cv2

    borders = {"reflect": cv2.BORDER_REFLECT_101, "ignore": cv2.BORDER_CONSTANT}
    if padding not in borders:
        raise ParameterError(f"padding {padding!r}", " or ".join(map(repr, borders)))
    return _place(mask, side, lambda size: nearest(mask, size), borders[padding])[0]


def nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) at another size: a pixel takes the label that its centre lies in, of two the one below or right.

    Pixel i of m takes pixel floor((2 i + 1) n / 2 m) of n, in whole numbers: libraries differ, also from one version to
    the next, in which of two labels a centre takes that lies between them.

    >>> nearest(np.array([[1, 2, 3, 4]]), (1, 2)).tolist(), nearest(np.array([[1, 2]]), (2, 3)).tolist()
    ([[2, 4]], [[1, 2, 2], [1, 2, 2]])
    """
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(mask.shape, size))
    return mask[rows[:, None], columns]


def _place(image: np.ndarray, side: int, resize: Callable, border: int) -> tuple[np.ndarray, Box]:
    import cv2

    box = canvas_box(*image.shape[:2], side)
    if image.shape[:2] != (box.height, box.width):
        image = resize((box.height, box.width))
    if (box.height, box.width) != (side, side):
        below, right = side - box.top - box.height, side - box.left - box.width
        image = cv2.copyMakeBorder(image, box.top, below, box.left, right, border, value=IGNORE)
    return image, box


def from_canvas(maps, box, side: int, out_size: tuple[int, int], released: bool = False):
    """Maps of a canvas, at any stride, brought to the pixels of the image.

    maps: float (C, h, w) tensor or array that covers the whole canvas    box: the 4 numbers of `Box`
    side: canvas side in pixels    out_size: (H, W) of the image
    returns: float32 (C, H, W), a tensor for a tensor and an array for an array

    Bilinear to side x side, cut to the box, bilinear to out_size. released: False aligns the outer edges of pixels, so
    that a map covers what its cells saw; True the centres of the corners, as the zoom of Oh et al.'s code does.
    """
    def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(maps.shape[-2:]) == size:
            return maps
        return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=released)[0]

    as_array = isinstance(maps, np.ndarray)
    # A copy would only be needed for read-only arrays (memmaps), which torch cannot wrap without a warning.
    tensor = torch.from_numpy(np.require(maps, np.float32, "W")) if as_array else maps.float()
    top, left, height, width = (int(value) for value in box)
    tensor = resize(tensor, (side, side))[:, top : top + height, left : left + width]
    tensor = resize(tensor, tuple(out_size)).contiguous()
    return tensor.numpy() if as_array else tensor


def normalise(batch: Tensor) -> Tensor:
    """ImageNet normalisation: (x / 255 - mean) / std per channel.

    batch: uint8 (B, 3, H, W)    returns: float32 (B, 3, H, W), channels-last, on the same device
    """
    mean, std = _statistics(batch.device)
    floats = batch.to(torch.float32, memory_format=torch.channels_last)
    return floats.sub(mean).div_(std)


@lru_cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and width of ImageNet's colours in 0..255; kept, since a copy to a GPU would wait for all its work."""
    with torch.inference_mode(False):
        mean, std = (255 * torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std


def augment(batch: Tensor, labels: Tensor | None, generator: torch.Generator, trim: float = 0.1,
            flip: float = 0.5) -> tuple[Tensor, Tensor | None]:
    """Random trim and mirror, drawn per image; image and labels move together.

    batch: uint8 (B, 3, H, W)    labels: (B, H, W) or None    returns: the same shapes and dtypes
    Each side loses a whole number of pixels, uniform in 0 .. floor(trim * size); the rest is resized back.
    Raises ParameterError for a trim outside [0, 0.5).
    """
    count, _, height, width = batch.shape
    trims, flips = draw_trims(count, height, width, generator, trim, flip)
    return trim_and_flip(batch, labels, trims.to(batch.device), flips.to(batch.device))


def draw_trims(count: int, height: int, width: int, generator: torch.Generator, trim: float = 0.1,
               flip: float = 0.5) -> tuple[Tensor, Tensor]:
    """What `augment` draws: trims, int64 (count, 4), and flips, bool (count,), of `trim_and_flip`."""
    if not 0 <= trim < 0.5:
        raise ParameterError(f"trim {trim}", "a fraction of the side, at least 0 and below 0.5")
    limits = torch.tensor([int(trim * height)] * 2 + [int(trim * width)] * 2, device=generator.device)
    draws = torch.rand(count, 5, generator=generator, device=generator.device)
    return (draws[:, :4] * (limits + 1)).long().minimum(limits), draws[:, 4] < flip


def trim_and_flip(batch: Tensor, labels: Tensor | None, trims: Tensor, flips: Tensor) -> tuple[Tensor, Tensor | None]:
    """Cut the given margins, resize back (image bilinear, labels nearest), then mirror left-right.

    batch: uint8 (B, 3, H, W)    labels: (B, H, W) of any dtype, or None    returns: both, shapes and dtypes kept
    trims: int64 (B, 4), pixels cut at top, bottom, left, right    flips: bool (B,)
    """
    height, width = batch.shape[-2:]
    _, rows = _source_positions(height, trims[:, 0], trims[:, 1])
    _, columns = _source_positions(width, trims[:, 2], trims[:, 3])
    columns = mirrored(columns, flips)
    moved, _ = sampled(batch, None, (2 * rows + 1) / height - 1, (2 * columns + 1) / width - 1)
    labels = labels if labels is None else trim_labels(labels, trims, flips)
    return moved.round_().clamp_(0, 255).to(batch.dtype), labels


def trim_labels(labels: Tensor, trims: Tensor, flips: Tensor) -> Tensor:
    """What `trim_and_flip` makes of labels (B, H, W)."""
    rows, _ = _source_positions(labels.shape[1], trims[:, 0], trims[:, 1])
    columns, _ = _source_positions(labels.shape[2], trims[:, 2], trims[:, 3])
    image = torch.arange(len(labels), device=labels.device)[:, None, None]
    return labels[image, rows[:, :, None], mirrored(columns, flips)[:, None, :]]


def draw_variants(count: int, variants: int, side: int) -> tuple[Tensor, Tensor]:
    """Trims (count, variants, 4) and flips (count, variants) for images that are augmented once and for all."""
    trims, flips = draw_trims(count * variants, side, side, torch.Generator().manual_seed(0))
    return trims.reshape(count, variants, 4), flips.reshape(count, variants)


def mirrored(columns: Tensor, flips: Tensor) -> Tensor:
    """Positions (B, W) of an axis, in the other direction for the images of `flips`, bool (B,)."""
    return torch.where(flips[:, None], columns.flip(1), columns)


def sampled(images: Tensor, labels: Tensor | None, rows: Tensor, columns: Tensor,
            mode: str = "bilinear") -> tuple[Tensor, Tensor | None]:
    """Images (B, C, H, W), as float, and labels (B, H, W), nearest, at positions of both axes, (B, H) and (B, W).

    Positions are in [-1, 1] from edge to edge; what lies beyond takes the value of the edge. mode: of `grid_sample`.
    """
    grid = torch.stack(torch.broadcast_tensors(columns[:, None, :], rows[:, :, None]), -1)
    moved = F.grid_sample(images.float(), grid, mode, padding_mode="border", align_corners=False)
    if labels is None:
        return moved, None
    nearest = F.grid_sample(labels[:, None].float(), grid, "nearest", padding_mode="border", align_corners=False)
    return moved, nearest[:, 0].round().to(labels.dtype)


def _source_positions(size: int, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Per output pixel of one axis: nearest source index (B, size) and bilinear source position (B, size)."""
    kept = (size - before - after)[:, None].float()
    edge_based = before[:, None] + (torch.arange(size, device=before.device) + 0.5) * kept / size
    # Positions stay inside the kept part, so what was cut off does not bleed back in at its border.
    first, last = before[:, None].float(), (size - after - 1)[:, None].float()
    return edge_based.floor().long(), torch.minimum(torch.maximum(edge_based - 0.5, first), last)


# --- random scale, crop and mirror, as DeepLab v2 and Chaudhry et al. 2017 (released code) augment -------------------

BACKGROUND = 0
MEAN = (124, 116, 104)  # RGB of ImageNet: zero for a network whose input has the mean taken off


def scale_crop(images: Tensor, labels: Tensor | None, generator: torch.Generator, low: float = 0.5,
               high: float = 1.5, flip: float = 0.5) -> tuple[Tensor, Tensor | None]:
    """Each image enlarged or shrunk by a factor of its own, cut back to its size at a random place, and mirrored.

    images: uint8 (B, 3, H, W). labels: integers (B, H, W) or None. Returns the same shapes and dtypes, bilinear and
    nearest. low, high: the factor is uniform between them. flip: probability of the mirror. Where a shrunk image leaves
    room, below and to its right (to its left if mirrored), it is filled with the mean colour and labelled background,
    as in the released code; the paper doesn't say. Raises ParameterError unless 0 < low <= high.
    """
    if not 0 < low <= high:
        raise ParameterError(f"scales from {low} to {high}", "0 < low <= high, as in 0.5 and 1.5")
    draws = torch.rand(len(images), 4, generator=generator).to(images.device)
    scale = low + (high - low) * draws[:, 0]
    offset = (scale - 1).clamp(min=0)[:, None] * draws[:, 1:3]  # top and left of the cut on the scaled image
    rows, columns = (((torch.arange(length, device=scale.device) + 0.5) / length + offset[:, axis, None])
                     / scale[:, None] for axis, length in enumerate(images.shape[-2:]))  # 0..1 over the image
    columns = mirrored(columns, draws[:, 3] < flip)
    moved, moved_labels = sampled(images, labels, 2 * rows - 1, 2 * columns - 1)
    inside = (rows < 1)[:, :, None] & (columns < 1)[:, None, :]
    mean = torch.tensor(MEAN, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    moved = torch.where(inside[:, None], moved.round_().clamp_(0, 255).to(images.dtype), mean)
    return moved, None if labels is None else torch.where(inside, moved_labels, BACKGROUND)
