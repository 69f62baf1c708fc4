"""Class activation maps of a whole view: compute on the canvas, expand to the image, normalise.

Source: Zhou et al. 2016 (the maps), Oh et al. 2017, Sec. 4 (their use as seeds).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import TrainingError
from wsss_lab.networks.inference import device_of, eval_mode


@torch.no_grad()
def raw_class_maps(net: nn.Module, view: TrainView, side: int, batch: int = 32) -> np.ndarray:
    """Class maps as the network gives them: coarse, signed, for all classes.

    net: has ``class_maps``, (B, 3, side, side) -> (B, C, h, w). side: canvas side in pixels.
    Returns float16 (N, C, h, w) on the canvas grid: small enough to keep, and precise to 1/2000 of a value.
    Raises TrainingError when a map is not finite.
    """
    device = device_of(net)
    parts = []
    with eval_mode(net):
        for start in range(0, len(view), batch):
            images, _ = view.canvas(range(start, min(start + batch, len(view))), side)
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


def expand(raw: np.ndarray, box: Sequence[int], side: int, out_size: tuple[int, int], tags: np.ndarray,
           released: bool = False) -> np.ndarray:
    """One image's coarse maps at image size, normalised: (C, h, w) -> float32 (C, H, W) in [0, 1].

    Maps grow (bilinear) before they are normalised, so that the maximum is that of the map that is
    thresholded. Only the maps of tags are computed. box: (top, left, height, width) of the image on the canvas.
    side: of the canvas in pixels. out_size: (H, W). tags: (C,) bool. released: see `from_canvas`.
    """
    tags = np.asarray(tags, dtype=bool)
    maps = np.zeros((len(tags), *out_size), np.float32)
    if tags.any():
        grown = from_canvas(raw[tags].astype(np.float32), box, side, out_size, released)
        maps[tags] = normalise_maps(grown, np.ones(len(grown), dtype=bool))
    return maps
