"""Saliency of every image of a view, from each kind of detector, in one common form, and its salient pixels.

A saliency frame is uint8 (N, Hmax, Wmax), image i in the top-left corner of row i, 255 = the image's maximum.
"""

import numpy as np

from wsss_lab.data import frames
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.errors import DataError
from wsss_lab.networks.backbones import restore
from wsss_lab.networks.u2netp import U2NetP, predict
from wsss_lab.saliency.boxes import grabcut_masks
from wsss_lab.saliency.precomputed import SaliencyMaps
from wsss_lab.saliency.unsupervised import detect


def salient_mask(saliency: np.ndarray, fraction: float = 0.5) -> np.ndarray:
    """Pixels that reach `fraction` of their own map's maximum (Oh et al. 2017, section 6.1: one half).

    saliency: (..., h, w), non-negative. Returns bool, same shape; in a map of zeros nothing is salient.

    >>> salient_mask(np.array([[0.1, 0.2, 0.4]]))
    array([[False,  True,  True]])
    """
    highest = saliency.max((-2, -1), keepdims=True)  # a NaN anywhere makes its map's maximum NaN
    if np.isnan(highest).any() or saliency.min() < 0:
        raise DataError("a saliency map holds NaN or values below 0", "values of 0 or more")
    return (saliency >= fraction * highest) & (highest > 0)


def salient_masks(view: TrainView, maps: np.ndarray, fraction: float = 0.5) -> dict:
    """Salient pixels of every image of a saliency frame: {"masks": frame of 0 and 1}; outside the images it is 0."""
    masks = (salient_mask(each, fraction).astype(np.uint8) for each in frames.rows_of(view, maps))
    return {"masks": frames.stack(view, masks, fill=0)}


def quantise(saliency: np.ndarray) -> np.ndarray:
    """A map (H, W) of values that are not negative as uint8, its maximum at 255; a map of zeros stays zero.

    >>> quantise(np.array([[0.0, 0.2, 0.4]])).tolist()
    [[0, 128, 255]]
    """
    peak = saliency.max()
    scaled = saliency * (255 / peak) if peak > 0 else np.zeros_like(saliency)
    return np.round(scaled).astype(np.uint8)


def saliency_frame(view: TrainView, maps) -> dict:
    """{"maps": saliency frame} of one map (H, W) per image."""
    return {"maps": frames.stack(view, map(quantise, maps), fill=0)}


def unsupervised_frames(view: TrainView) -> dict:
    """The hand-crafted detector of wsss_lab.saliency.unsupervised on every image: {"maps": saliency frame}."""
    return saliency_frame(view, map(detect, frames.images_of(view)))


def u2net_frames(view: TrainView, state: dict, batch: int = 8) -> dict:
    """U2-Net-P on every image, from given weights: {"maps": saliency frame}.

    Its weights were trained on pixel masks of salient objects (DUTS): say so beside every score.
    """
    net = restore(U2NetP(), state)
    groups = (range(first, min(first + batch, len(view))) for first in range(0, len(view), batch))
    return saliency_frame(view, (each for group in groups for each in predict(net, list(map(view.image, group)))))


def folder_frames(view: TrainView, folder: str) -> dict:
    """Maps that somebody else made, from a folder of <name>.png or <name>.npy: {"maps": saliency frame}."""
    found = SaliencyMaps(folder)
    return saliency_frame(view, (found.read(name, view.size(index)) for index, name in enumerate(view.names)))


def oracle_saliency(mask: np.ndarray) -> np.ndarray:
    """The true foreground, neither background nor void: uint8 (H, W) -> bool (H, W). READS PIXEL LABELS."""
    return (mask != 0) & (mask != 255)


def oracle_frames(view: EvalView) -> dict:
    """The ground-truth foreground as saliency: the oracle row of Oh et al. 2017, Table 2. READS PIXEL LABELS."""
    return saliency_frame(view, (oracle_saliency(view.mask(index)).astype(np.float32) for index in range(len(view))))


def grabcut_targets(images: np.ndarray, boxes: np.ndarray) -> dict:
    """Training masks that GrabCut cuts out of boxes: {"masks": uint8 (N, H, W) in {0, 1}} (Oh et al., Sec. 6.1)."""
    return {"masks": grabcut_masks(np.asarray(images), np.asarray(boxes))}
