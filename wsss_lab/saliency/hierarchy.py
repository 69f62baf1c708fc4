"""Hierarchical saliency: erase what was found and look again (Chaudhry et al. 2017, Sec. 4.2)."""

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np

from wsss_lab.errors import DataError, ParameterError

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
    maps = [np.asarray(found, np.float32) for found in detector(images)]
    if len(maps) != len(images):
        raise DataError(f"the saliency detector gave {len(maps)} maps for {len(images)} images", "one per image")
    return [check_saliency(found, image.shape[:2], f"image {index} of the batch")
            for index, (image, found) in enumerate(zip(images, maps))]


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
