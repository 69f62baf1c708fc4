"""Hierarchical saliency: erase what was found and look again (Chaudhry et al. 2017, Sec. 4.2)."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data import frames
from wsss_lab.data.canvas import from_canvas, normalise, to_canvas
from wsss_lab.data.views import TrainView
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.networks.backbones import restore
from wsss_lab.networks.machine import resolve_device
from wsss_lab.networks.u2netp import U2NetP, predict
from wsss_lab.saliency.network import restore_saliency
from wsss_lab.saliency.unsupervised import detect

#: From uint8 images (H, W, 3) to their saliency, float (H, W) in [0, 1] each.
Detector = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]

THRESHOLDS = (0.7, 0.8)  # of the first and of the second erasing (Sec. 5.1)
SLACK = 1e-3  # that a resized map may leave [0, 1] by


def erase(image: np.ndarray, saliency: np.ndarray, threshold: float, fill: Sequence[float]) -> np.ndarray:
    """The image with every pixel whose saliency is at least `threshold` painted over.

    image: uint8 (H, W, 3). saliency: float (H, W) in [0, 1]. fill: RGB in 0..255. Returns a new uint8 (H, W, 3).
    Raises ParameterError for a threshold outside (0, 1].

    >>> erase(np.full((1, 2, 3), 9, np.uint8), np.array([[0.7, 0.6]]), 0.7, fill=(1, 2, 3)).tolist()
    [[[1, 2, 3], [9, 9, 9]]]
    """
    if not 0 < threshold <= 1:
        raise ParameterError(f"erasing threshold {threshold}", "above 0 and at most 1",
                             f"the paper uses {THRESHOLDS[0]} and {THRESHOLDS[1]}")
    colour = np.round(np.asarray(fill)).astype(np.uint8)
    return np.where((saliency >= threshold)[..., None], colour, image)


def hierarchical_saliency(images: Sequence[np.ndarray], detector: Detector, thresholds: Sequence[float],
                          fill: Sequence[float]) -> list[list[np.ndarray]]:
    r"""Saliency after 0, 1, 2, ... erasings of each image.

    .. math:: S_1 = D(I), \qquad S_{k+1} = \max(S_k, D(I_k)), \qquad
              I_k = I_{k-1} \text{ with } D(I_{k-1}) \ge t_k \text{ painted over}, \quad I_0 = I

    images: uint8 (H, W, 3) each, of any sizes. thresholds: one per erasing. fill: RGB of the paint, the mean colour of
    the data set (Sec. 4.2). Returns one list per step, [S_1 of every image, S_2 of every image, ...]: float32 (H, W) in
    [0, 1]. An image in which nothing reaches the threshold is looked at again unchanged, so its map stays as it is.
    Raises DataError when a map has another size than its image or leaves [0, 1].
    """
    return list(accumulate(looks(images, detector, thresholds, fill),
                           lambda before, latest: [np.maximum(*pair) for pair in zip(before, latest)]))


def looks(images: Sequence[np.ndarray], detector: Detector, thresholds: Sequence[float],
          fill: Sequence[float]) -> list[list[np.ndarray]]:
    """D(I_0), D(I_1), ... of `hierarchical_saliency`, which see: what is found on what earlier looks have left.

    An erasing looks at the latest map, not at the accumulated one, and the image stays erased (released code).
    The detector is used as it is; nothing is trained.
    """
    found = [_look(detector, images)]
    for threshold in thresholds:
        images = [erase(image, latest, threshold, fill) for image, latest in zip(images, found[-1])]
        found.append(_look(detector, images))
    return found


def _look(detector: Detector, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [check_saliency(np.asarray(found, np.float32), image.shape[:2], f"image {index} of the batch")
            for index, (image, found) in enumerate(zip(images, detector(images), strict=True))]


def check_saliency(saliency: np.ndarray, size: tuple[int, int], what: str) -> np.ndarray:
    """The map, clipped to [0, 1]; DataError where its size or its range is another one.

    saliency: float (H, W). size: (H, W) of its image. what: names the image in the error.
    """
    if saliency.shape != tuple(size):
        raise DataError(f"the saliency of {what} has shape {saliency.shape}", f"{tuple(size)}, as its image",
                        "resize the map to its image, or compute it again")
    low, high = (float(saliency.min()), float(saliency.max())) if saliency.size else (0.0, 0.0)
    if not (low >= -SLACK and high <= 1 + SLACK):  # NaN fails too
        raise DataError(f"the saliency of {what} holds values from {low:g} to {high:g}", "values in [0, 1]",
                        "divide 8-bit maps by 255; apply a sigmoid to raw scores")
    return np.clip(saliency, 0, 1)


# ---------------------------------------------------------------------------------------------------------------------
# Hierarchical saliency of every image of a view, with each detector of the lab.
#
# Frames are uint8 (N, Hmax, Wmax), 255 = 1. Unlike in wsss_lab.saliency.maps, values are the detector's own and not
# relative to the image's maximum: erasing thresholds and Algorithm 1 read them as they are, and an image in which
# nothing is left must stay dark.

FOUND = 0.5  # saliency that counts as found
LEVELS = 1000  # at which thresholds are looked for


def network_detector(state: dict[str, Tensor], backbone: dict) -> Detector:
    """The world's own saliency network (wsss_lab.saliency.network): foreground probability at image size."""
    net, side = restore_saliency(state, backbone), backbone["side"]

    @torch.inference_mode()
    def look(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        canvases, boxes = zip(*(to_canvas(image, side) for image in images))
        batch = torch.from_numpy(np.stack(canvases)).permute(0, 3, 1, 2)
        scores = net(normalise(batch.to(resolve_device()))).float().cpu()
        return [from_canvas(score, box, side, image.shape[:2]).softmax(0)[1].numpy()
                for image, score, box in zip(images, scores, boxes)]

    return look


def u2net_detector(state: dict[str, Tensor]) -> Detector:
    """U2-Net-P with given weights, which were trained on pixel masks of salient objects (DUTS)."""
    net = restore(U2NetP(), state)
    return lambda images: predict(net, list(images))


def unsupervised_detector(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The hand-crafted detector of wsss_lab.saliency.unsupervised."""
    return list(map(detect, images))


def mean_colour(view: TrainView) -> dict:
    """Mean RGB of all pixels of a view's images, what erased pixels are painted with: {"colour": float64 (3,)}."""
    totals = [image.sum((0, 1), dtype=np.int64) for image in frames.images_of(view)]
    return {"colour": np.sum(totals, 0) / sum(height * width for height, width in map(view.size, range(len(view))))}


def matched_thresholds(view: TrainView, detector: Detector, reference: Detector, thresholds: Sequence[float],
                       fill: Sequence[float]) -> list[float]:
    """Thresholds at which a detector erases, look by look, the share of a view that another one erases at its own.

    Thresholds mean something on the scale of one detector only; the share of pixels that they erase does on all.
    Images are looked at, labels are not. Returns multiples of 1/1000, the nearest by share, the lowest of several.
    """
    matched: list[float] = []
    for count, threshold in enumerate(thresholds):
        share = _shares(view, reference, thresholds[:count], fill, [threshold])
        levels = np.arange(1, LEVELS + 1) / LEVELS
        matched.append(float(levels[abs(_shares(view, detector, matched, fill, levels) - share).argmin()]))
    return matched


def _shares(view: TrainView, detector: Detector, erased: Sequence[float], fill: Sequence[float],
            thresholds: Sequence[float]) -> np.ndarray:
    """Share of a view's pixels that reach each of the thresholds, rising, after erasing at others: float64."""
    counts = np.zeros(len(thresholds) + 1, np.int64)
    for images in _batches(view):
        for found in looks(images, detector, erased, fill)[-1]:
            reached = np.searchsorted(np.asarray(thresholds, np.float32), found.ravel(), side="right")
            counts += np.bincount(reached, minlength=len(counts))
    return counts[::-1].cumsum()[-2::-1] / counts.sum()


def _batches(view: TrainView, batch: int = 32) -> Iterator[list[np.ndarray]]:
    for first in range(0, len(view), batch):
        yield [view.image(index) for index in range(first, min(first + batch, len(view)))]


def hierarchy_frames(view: TrainView, detector: Detector, thresholds: Sequence[float], fill: Sequence[float],
                     batch: int = 32) -> dict:
    """S1, S2, ... of every image of a view.

    Returns {"S1": frame, "S2": frame, ..., "found": bool (N, steps), where anything reaches 0.5}.
    Raises DataError when the detector finds nothing in any image: it then has no say, and all cues are background.
    """
    steps: list[list[np.ndarray]] = [[] for _ in range(len(thresholds) + 1)]
    for images in _batches(view, batch):
        for kept, maps in zip(steps, hierarchical_saliency(images, detector, thresholds, fill)):
            kept += [np.round(255 * each).astype(np.uint8) for each in maps]
    found = np.array([[each.max(initial=0) >= 255 * FOUND for each in maps] for maps in steps]).T
    if not found.any():
        raise DataError(f"the saliency detector finds nothing in any of the {len(view)} images of {view.name}",
                        f"maps that reach {FOUND} somewhere",
                        "check the detector's weights and the images it was made for")
    named = {f"S{number}": frames.stack(view, maps, fill=0) for number, maps in enumerate(steps, start=1)}
    return {**named, "found": found}


def network_hierarchy(view: TrainView, state: dict[str, Tensor], backbone: dict, thresholds: Sequence[float],
                      fill: Sequence[float]) -> dict:
    """`hierarchy_frames` with the world's own saliency network."""
    return hierarchy_frames(view, network_detector(state, backbone), thresholds, fill)


def u2net_hierarchy(view: TrainView, state: dict[str, Tensor], thresholds: Sequence[float],
                    fill: Sequence[float]) -> dict:
    """`hierarchy_frames` with U2-Net-P. Its weights were trained on pixel masks: say so beside every score."""
    return hierarchy_frames(view, u2net_detector(state), thresholds, fill, batch=8)


def unsupervised_hierarchy(view: TrainView, thresholds: Sequence[float], fill: Sequence[float]) -> dict:
    """`hierarchy_frames` with the hand-crafted detector."""
    return hierarchy_frames(view, unsupervised_detector, thresholds, fill)


def unsupervised_thresholds(view: TrainView, state: dict[str, Tensor], thresholds: Sequence[float],
                            fill: Sequence[float], backbone: dict | None = None) -> dict:
    """`matched_thresholds` of the hand-crafted detector: {"thresholds": one per erasing}.

    state: weights of the detector that `thresholds` are for, U2-Net-P's where backbone is None.
    """
    reference = u2net_detector(state) if backbone is None else network_detector(state, backbone)
    return {"thresholds": matched_thresholds(view, unsupervised_detector, reference, thresholds, fill)}
