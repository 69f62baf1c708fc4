"""One confusion matrix, from which the scores of label maps follow.

Rows are the target's classes 0..K-1 (0 is background, K = C + 1), columns the predicted ones and one more for
*abstained* pixels: predictions of 255 or any other value that is no class. An abstained pixel is wrong, never left out,
so no method gains by not answering. Pixels whose target is void (255) are left out. Scores are fractions in [0, 1].
"""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from wsss_lab.errors import DataError, ParameterError

VOID = 255
MAX_CLASSES = 254  # one byte holds the classes, the extra column and void


def confusion_matrix(prediction: np.ndarray, target: np.ndarray, classes: int, *,
                     void_as_background: bool = False) -> np.ndarray:
    """Count pixels by (target class, predicted class), the abstained ones in the last column: (K, K + 1) int64.

    prediction: integers of any shape; values outside 0..classes-1 count as abstained. target: the same shape, uint8
    labels 0..classes-1 and 255 = void, which is left out or, with void_as_background, counted as class 0. classes: K,
    background included, at most 254. Raises DataError for other shapes or types, or another label in the target.

    >>> confusion_matrix(np.array([[0, 1, 255]]), np.array([[0, 0, 1]], np.uint8), 2).tolist()
    [[1, 1, 0], [0, 0, 1]]
    """
    import torch

    prediction, target = np.asarray(prediction), np.asarray(target)
    _check(prediction, target, classes)
    if prediction.dtype != np.uint8:
        prediction = np.where((prediction < 0) | (prediction > classes), classes, prediction).astype(np.uint8)
    pairs = torch.from_numpy((target.astype(np.int32) * 256 + prediction).ravel())
    table = torch.bincount(pairs, minlength=256 * 256).numpy().reshape(256, 256)  # of all pairs of bytes
    if (unknown := table[classes:VOID].any(1)).any():
        raise DataError(f"a mask holds the label {classes + unknown.argmax()}",
                        f"0 (background) to {classes - 1}, or {VOID} for void",
                        "check that masks and class list belong together")
    if void_as_background:
        table[0] += table[VOID]
    return np.concatenate([table[:classes, :classes], table[:classes, classes:].sum(1, keepdims=True)], 1)


def per_image_confusions(predictions: Iterable[np.ndarray], masks: Iterable[np.ndarray], classes: int, *,
                         void_as_background: bool = False) -> np.ndarray:
    """`confusion_matrix` of equally many predictions and masks of any sizes, (N, K, K + 1) int32: what intervals over
    images resample. Raises DataError as it does, or when there are more of one than of the other.
    """
    counts = [confusion_matrix(prediction, mask, classes, void_as_background=void_as_background).astype(np.int32)
              for prediction, mask in paired(predictions, masks)]
    return np.array(counts, np.int32).reshape(-1, classes, classes + 1)


def paired(predictions: Iterable[np.ndarray], masks: Iterable[np.ndarray]) -> Iterator[tuple]:
    """Go through predictions and masks side by side; raises DataError when one of them ends early."""
    for i, (prediction, mask) in enumerate(zip_longest(predictions, masks)):
        if prediction is None or mask is None:
            raise DataError(f"the {'masks' if mask is None else 'predictions'} end after {i} images, the others do not",
                            "one prediction for each mask", "predict the same images that are scored")
        yield prediction, mask


def iou(confusion: np.ndarray) -> np.ndarray:
    r"""Intersection over union per class, pooled over all counted pixels: (..., K, K + 1) -> (..., K) float64.

    .. math:: IoU_c = n_{cc} / (t_c + p_c - n_{cc})

    with t_c the target's pixels of class c, abstained ones included, and p_c the predicted ones; nan without either.
    """
    hits, targets, predicted = _margins(confusion)
    return divide(hits, targets + predicted - hits)


def mean_iou(confusion: np.ndarray) -> np.ndarray:
    """Mean of `iou` over the classes, background included, nan left out: the VOC score when pooled over a split.

    (..., K, K + 1) -> (...) float64, nan when no class is left. A class that is predicted but absent counts as 0.
    """
    return nan_mean(iou(confusion))


class PrecisionRecall(NamedTuple):
    """Precision and recall, each (..., K) float64 in [0, 1], nan where nothing was predicted or is there."""

    precision: np.ndarray
    recall: np.ndarray

    @property
    def foreground(self) -> "PrecisionRecall":
        """Means over the classes 1..K-1, each (...): the foreground figures of Oh et al. 2017, Table 2."""
        return PrecisionRecall(nan_mean(self.precision[..., 1:]), nan_mean(self.recall[..., 1:]))


def precision_recall_of_labels(confusion: np.ndarray) -> PrecisionRecall:
    """Pooled precision and recall per class of label maps that may abstain, such as guide labels: (..., K, K + 1).

    Abstained pixels are left out of precision and count as missed in recall.
    """
    hits, targets, predicted = _margins(confusion)
    return PrecisionRecall(divide(hits, predicted), divide(hits, targets))


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator in float64, nan where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    return np.divide(numerator, denominator, out=np.full(shape, np.nan), where=np.asarray(denominator) != 0)


def nan_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without nan entries; nan, and no warning, where all are nan."""
    known = ~np.isnan(values)
    return divide(np.where(known, values, 0.0).sum(-1), known.sum(-1))


def _margins(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Diagonal, row sums with the abstained pixels, and column sums without them, each (..., K)."""
    confusion = np.asarray(confusion)
    if confusion.ndim < 2 or confusion.shape[-1] != confusion.shape[-2] + 1:
        raise DataError(f"confusion has shape {confusion.shape}",
                        "(..., K, K + 1): the last column counts abstained pixels",
                        "make it with confusion_matrix or per_image_confusions")
    square = confusion[..., :-1]
    return np.diagonal(square, axis1=-2, axis2=-1), confusion.sum(-1), square.sum(-2)


def _check(prediction: np.ndarray, target: np.ndarray, classes: int) -> None:
    if not 1 <= classes <= MAX_CLASSES:
        raise ParameterError(f"classes={classes}", f"1 to {MAX_CLASSES}, background included")
    if target.dtype != np.uint8:
        raise DataError(f"target has type {target.dtype}", "uint8 labels", "convert it with .astype('uint8')")
    if prediction.dtype.kind not in "iu":
        raise DataError(f"prediction has type {prediction.dtype}", "integer labels", "take the argmax of scores first")
    if target.ndim < 2 or prediction.shape != target.shape:
        raise DataError(f"prediction {prediction.shape} and target {target.shape} do not match",
                        "two label maps (H, W) of one shape", "upsample the scores to the image before the argmax")
