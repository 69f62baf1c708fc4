"""Which objects of an image a saliency map finds: recall of the largest, the second, the third object."""

import numpy as np

from wsss_lab.data import frames
from wsss_lab.data.components import components
from wsss_lab.data.views import EvalView
from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.confusion import VOID, divide

RANKS = 3
FOUND, AREA = range(2)


def object_areas(mask: np.ndarray, min_area: float = 0.0) -> list[np.ndarray]:
    """The separate objects of a mask, largest first: bool (H, W) each.

    An object is an 8-connected region of one class. mask: uint8 (H, W), 0 background, 255 void. min_area: share of the
    image below which a region is no object.
    """
    found = []
    for label in np.setdiff1d(mask, (0, VOID)):
        parts, count = components(mask == label, max(1, min_area * mask.size))
        found += [parts == number for number in range(1, count + 1)]
    return sorted(found, key=np.count_nonzero, reverse=True)


def count_found(saliency: np.ndarray, mask: np.ndarray, threshold: float, min_area: float) -> np.ndarray:
    """Salient and all pixels of the largest three objects: int64 (3, 2), zeros where there are fewer.

    saliency: (H, W) in 0..255. threshold: in (0, 1], of 255. mask, min_area: see `object_areas`.
    """
    counts = np.zeros((RANKS, 2), np.int64)
    salient = saliency >= 255 * threshold
    for row, inside in zip(counts, object_areas(mask, min_area)):
        row[:] = salient[inside].sum(), inside.sum()
    return counts


def score_objects(view: EvalView, saliency: np.ndarray, threshold: float = 0.5, min_area: float = 0.005) -> dict:
    """Found pixels by object rank, per image: {"counts": int64 (N, 3, 2), "objects": int64 (N,) how many there are}.

    saliency: frame uint8, 255 = 1. Raises ParameterError for a threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ParameterError(f"threshold {threshold} of salient pixels", "above 0 and at most 1")
    rows = frames.rows_of(view, saliency)
    counts = [count_found(row, view.mask(index), threshold, min_area) for index, row in enumerate(rows)]
    objects = [len(object_areas(view.mask(index), min_area)) for index in range(len(view))]
    return {"counts": np.array(counts), "objects": np.array(objects)}


def object_recall(counts: np.ndarray) -> np.ndarray:
    """Pixel recall of each rank of object, pooled over images: (..., 3); nan where no image has so many objects.

    counts: (..., N, 3, 2), see `score_objects`.
    """
    pooled = np.asarray(counts).sum(-3)
    return divide(pooled[..., FOUND], pooled[..., AREA])
