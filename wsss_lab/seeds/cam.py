"""Class activation maps of a whole view: compute on the canvas, expand to the image, normalise.

Source: Zhou et al. 2016 (the maps), Oh et al. 2017, Sec. 4.1 (their use as seeds).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from wsss_lab.data.canvas import canvas_box, from_canvas, normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import TrainingError
from wsss_lab.networks.inference import device_of, eval_mode


@torch.no_grad()
def raw_class_maps(net: nn.Module, view: TrainView, side: int, batch: int = 32,
                   indices: Sequence[int] | None = None) -> np.ndarray:
    """Class maps as the network gives them: coarse, signed, for all classes.

    net: has ``class_maps``, (B, 3, side, side) -> (B, C, h, w). side: canvas side in pixels.
    indices: images of the view, None = all N. Returns float16 (N, C, h, w) on the canvas grid: small enough
    to keep, and precise to 1/2000 of a value. Raises TrainingError when a map is not finite.
    """
    indices = range(len(view)) if indices is None else indices
    device = device_of(net)
    parts = []
    with eval_mode(net):
        for start in range(0, len(indices), batch):
            images, _ = view.canvas(indices[start:start + batch], side)
            parts.append(net.class_maps(normalise(images.to(device))).half().cpu().numpy())
    maps = np.concatenate(parts)
    if not np.isfinite(maps).all():
        raise TrainingError(f"{type(net).__name__} gives class maps that are not finite",
                            "scores within +-65504", "train it again with a lower learning rate")
    return maps


def normalise_maps(maps: np.ndarray, tags: np.ndarray) -> np.ndarray:
    r"""Each tag's map relative to its own maximum: :math:`\hat h_c(u) = \max(h_c(u), 0) / \max_{u'} h_c(u')`.

    maps: (..., C, H, W), signed, at the resolution that is to be thresholded. tags: (..., C) bool.
    Returns float32 (..., C, H, W) in [0, 1]; 0 for classes that are not tags and where the maximum is not
    positive (dividing by it would turn the map over).

    >>> normalise_maps(np.array([[[-1.0, 1.0, 4.0]], [[-2.0, -1.0, -4.0]]]), np.array([True, True])).tolist()
    [[[0.0, 0.25, 1.0]], [[0.0, 0.0, 0.0]]]
    """
    maps = np.asarray(maps, dtype=np.float32)
    peak = maps.max((-2, -1), keepdims=True)
    used = np.asarray(tags, dtype=bool)[..., None, None] & (peak > 0)
    relative = maps / np.where(used, peak, np.inf)
    return np.maximum(relative, 0, out=relative)


def expand(raw: np.ndarray, box: Sequence[int], side: int, out_size: tuple[int, int],
           tags: np.ndarray) -> np.ndarray:
    """One image's coarse maps at image size, normalised: (C, h, w) -> float32 (C, H, W) in [0, 1].

    Maps grow (bilinear) before they are normalised, so that the maximum is that of the map that is
    thresholded. box: (top, left, height, width) of the image on the canvas. tags: (C,) bool.
    """
    return expand_batch(raw[None], box, side, out_size, np.asarray(tags)[None])[0]


def expand_batch(raw: np.ndarray, box: Sequence[int], side: int, out_size: tuple[int, int],
                 tags: np.ndarray) -> np.ndarray:
    """`expand` for B images of one size: raw (B, C, h, w), tags (B, C) -> float32 (B, C, H, W) in [0, 1].

    Only the maps of tags are computed. The result takes 4 B C H W bytes: call it for a part of a large set at
    a time.
    """
    tags = np.asarray(tags, dtype=bool)
    maps = np.zeros((*tags.shape, *out_size), np.float32)
    if tags.any():
        chosen = raw[tags].astype(np.float32)  # (M, h, w)
        grown = from_canvas(chosen, box, side, out_size)
        maps[tags] = normalise_maps(grown, np.ones(len(chosen), dtype=bool))
    return maps


def cam_maps(net: nn.Module, view: TrainView, side: int, indices: Sequence[int] | None = None,
             batch: int = 32) -> Iterator[np.ndarray]:
    """Normalised class maps of one image after another, at its own size: float32 (C, H, W) in [0, 1].

    Arguments as in `raw_class_maps`; images may differ in size.
    """
    indices = range(len(view)) if indices is None else indices
    for start in range(0, len(indices), batch):
        part = indices[start:start + batch]
        for index, raw in zip(part, raw_class_maps(net, view, side, batch, part)):
            size = view.size(index)
            yield expand(raw, canvas_box(*size, side), side, size, view.tags[index])
