"""Seed maps from back-propagation for a whole view: pass back, smooth, store (Oh et al. 2017, Fig. 3)."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_lab.data.canvas import normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import ParameterError
from wsss_lab.networks.inference import device_of
from wsss_lab.seeds.excitation import excitation_maps
from wsss_lab.seeds.gradients import guided_maps, vanilla_maps

#: method(net, images (B, 3, H, W), tags (B, C)) -> one map per (image, tag) pair, (M, h, w).
METHODS = {"vanilla": vanilla_maps, "guided": guided_maps, "excitation": excitation_maps}

#: Width of the Gaussian, in pixels of a 321-pixel input. The paper smooths but doesn't give a width.
SIGMA_AT_321 = 8.0


def backprop_maps(net: nn.Module, view: TrainView, side: int, method: str, sigma: float | None = None,
                  stride: int = 1, batch: int = 16) -> np.ndarray:
    """Smoothed back-propagation maps of all images of a view on the canvas grid.

    method: a key of METHODS. side: canvas side in pixels. sigma: of the Gaussian in canvas pixels, None = 8
    px at 321, scaled with `side`. stride: the maps are averaged down by it to save space; a smooth map bears
    sigma / 2.
    Returns float16 (N, C, h, h) with h = ceil(side / stride): each tag's map divided by its maximum, 0 for
    other classes. `wsss_lab.seeds.cam.expand` brings them to image size, as it does for class
    activation maps.
    Raises ParameterError for an unknown method.
    """
    if method not in METHODS:
        raise ParameterError(f"back-propagation method '{method}' is not known", ", ".join(METHODS))
    sigma = SIGMA_AT_321 * side / 321 if sigma is None else sigma
    device = device_of(net)
    tags = torch.from_numpy(np.array(view.tags, dtype=bool))
    grid = math.ceil(side / stride)
    maps = torch.zeros(*tags.shape, grid, grid, dtype=torch.float16)
    for start in range(0, len(view), batch):
        indices = range(start, min(start + batch, len(view)))
        images, _ = view.canvas(indices, side)
        part = METHODS[method](net, normalise(images.to(device)), tags[start:indices.stop].to(device))
        part = F.interpolate(part[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]
        part = F.adaptive_avg_pool2d(gaussian_smooth(part, sigma), grid)
        # Gradients can be too small for float16: scale before storing.
        maps[start:indices.stop][tags[start:indices.stop]] = _scale_to_one(part).half().cpu()
    return maps.numpy()


def gaussian_smooth(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian filter of (M, H, W) maps, cut at 4 sigma, borders mirrored; sigma 0 returns the maps.

    The cut is nearer where a map is smaller than the filter.
    """
    if sigma == 0 or len(maps) == 0:
        return maps
    return _filter_rows(_filter_rows(maps, sigma).mT, sigma).mT


def _filter_rows(maps: Tensor, sigma: float) -> Tensor:
    width = maps.shape[-1]
    radius = min(int(4 * sigma + 0.5), width - 1)
    offsets = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.softmax(-0.5 * (offsets / sigma) ** 2, dim=0)
    rows = F.pad(maps.reshape(-1, 1, width), (radius, radius), mode="reflect")
    return F.conv1d(rows, kernel[None, None]).reshape(maps.shape)


def _scale_to_one(maps: Tensor) -> Tensor:
    peak = maps.amax((1, 2), keepdim=True)
    return torch.where(peak > 0, maps / peak, 0)
