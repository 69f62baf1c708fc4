"""Scores of class-agnostic foreground: saliency maps and the masks cut from them.

Foreground is every pixel of a mask that is neither background (0) nor void (255); void pixels are left out.
Scores are fractions in [0, 1]; tables print per cent.
"""

from collections.abc import Iterable

import numpy as np

from wsss_lab.errors import DataError
from wsss_lab.evaluation.confusion import VOID, PrecisionRecall, divide, paired

HIT, FALSE, MISSED, REST = range(4)


def foreground_counts(prediction: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Pixels of one image that are salient rightly (HIT), wrongly (FALSE), MISSED, and the REST: (4,) int64.

    prediction: (H, W) bool, True where salient. mask: (H, W) uint8, 0 background, 255 void. Raises DataError when the
    sizes differ or prediction is not bool.
    """
    prediction, mask = np.asarray(prediction), np.asarray(mask)
    if prediction.dtype != bool:
        raise DataError(f"prediction has type {prediction.dtype}", "bool", "compare the map with a threshold first")
    if prediction.shape != mask.shape:
        raise DataError(f"prediction {prediction.shape} and mask {mask.shape} differ in size",
                        "a map of the size of the image", "resize the saliency map to the image before thresholding")
    prediction, foreground = (each[mask != VOID] for each in (prediction, mask != 0))
    code = 2 * ~foreground + (prediction ^ foreground)
    hit, missed, rest, false = np.bincount(code, minlength=4)
    return np.array([hit, false, missed, rest])


def per_image_foreground_counts(predictions: Iterable[np.ndarray], masks: Iterable[np.ndarray]) -> np.ndarray:
    """`foreground_counts` of equally many predictions and masks: (N, 4) int64."""
    counts = [foreground_counts(p, m) for p, m in paired(predictions, masks)]
    return np.array(counts, np.int64).reshape(-1, 4)


def foreground_iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union of the foreground: counts (..., 4) -> (...), nan where neither has foreground."""
    counts = np.asarray(counts)
    return divide(counts[..., HIT], counts[..., [HIT, FALSE, MISSED]].sum(-1))


def foreground_precision_recall(counts: np.ndarray) -> PrecisionRecall:
    """Precision and recall of the foreground, each (...), nan where nothing is salient or there is none."""
    counts = np.asarray(counts)
    hit, false, missed = (counts[..., i] for i in (HIT, FALSE, MISSED))
    return PrecisionRecall(divide(hit, hit + false), divide(hit, hit + missed))


def is_good(counts: np.ndarray, above: float = 0.6) -> np.ndarray:
    """Whether each image's foreground IoU exceeds `above`: 1, 0 or nan, (...) (Oh et al. 2017, Sec. 5.1)."""
    values = foreground_iou(counts)
    return np.where(np.isnan(values), np.nan, values > above)
