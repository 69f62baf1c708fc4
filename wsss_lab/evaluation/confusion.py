"""One confusion matrix, from which the scores of label maps follow.

The layout is the same everywhere: rows are the target's classes 0..K-1 (0 is background, K = C + 1), columns
are the predicted classes 0..K-1 and one more for *abstained* pixels: predictions of 255 or any other value
that is no class. An abstained pixel is wrong, never left out, so a method cannot gain by not answering.
Pixels whose target is void (255) are left out. Scores are fractions in [0, 1]; tables print per cent.
"""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Literal, NamedTuple

import numpy as np

from wsss_lab.errors import DataError, ParameterError

VOID = 255
MAX_CLASSES = 254  # one byte holds the classes, the extra column and void
TABLE_MIN_PIXELS = 1 << 15  # below it, filling the table of 65 536 byte pairs costs more than counting
TABLE_MAX_PIXELS = 1 << 24  # cv2.calcHist counts in float32: exact up to here
CHUNK_PIXELS = 1 << 20  # pixels of a stack that are counted at once


def confusion_matrix(
    prediction: np.ndarray,
    target: np.ndarray,
    classes: int,
    *,
    ignore: int = VOID,
    void_as_background: bool = False,
) -> np.ndarray:
    """Count pixels by (target class, predicted class), the abstained ones in the last column.

    prediction: (H, W) or (N, H, W) integers; values outside 0..classes-1 count as abstained
    target: the same shape, uint8 labels 0..classes-1 and `ignore`
    classes: K, background included, at most 254
    ignore: the target value left out, in 0..255
    void_as_background: count `ignore` in the target as class 0 instead of leaving it out
    returns: (K, K + 1) or (N, K, K + 1) int64
    raises: DataError for other shapes or types, or a target label that is neither a class nor `ignore`

    >>> confusion_matrix(np.array([[0, 1, 255]]), np.array([[0, 0, 1]], np.uint8), 2).tolist()
    [[1, 1, 0], [0, 0, 1]]
    """
    prediction, target = _checked(prediction, target, classes, ignore)
    prediction = _as_bytes(prediction, classes)
    if void_as_background:
        target = np.where(target == ignore, np.uint8(0), target)
    if target.ndim == 2:
        return _count(prediction[None], target[None], classes, ignore)[0]
    counts = np.zeros((len(target), classes, classes + 1), np.int64)
    pixels = max(1, target.shape[1] * target.shape[2])
    step = 1 if pixels >= TABLE_MIN_PIXELS else CHUNK_PIXELS // pixels
    for i in range(0, len(target), step):
        part = slice(i, i + step)
        counts[part] = _count(prediction[part], target[part], classes, ignore)
    return counts


def per_image_confusions(
    predictions: Iterable[np.ndarray] | np.ndarray,
    masks: Iterable[np.ndarray] | np.ndarray,
    classes: int,
    *,
    ignore: int = VOID,
    void_as_background: bool = False,
) -> np.ndarray:
    """One confusion matrix per image: what intervals over images resample.

    predictions, masks: equally many (H, W) label maps of any sizes (lists or generators), or (N, H, W) stacks
    returns: (N, K, K + 1) int32; sum over the first axis for the matrix of the split
    raises: DataError as confusion_matrix does, or when there are more of one than of the other
    """
    settings = {"ignore": ignore, "void_as_background": void_as_background}
    if getattr(predictions, "ndim", 0) == 3 and getattr(masks, "ndim", 0) == 3:
        return confusion_matrix(predictions, masks, classes, **settings).astype(np.int32)
    counts = [
        confusion_matrix(prediction, mask, classes, **settings).astype(np.int32)
        for prediction, mask in paired(predictions, masks)
    ]
    return np.stack(counts) if counts else np.zeros((0, classes, classes + 1), np.int32)


def paired(predictions: Iterable[np.ndarray], masks: Iterable[np.ndarray]) -> Iterator[tuple]:
    """Go through predictions and masks side by side; raises DataError when one of them ends early."""
    for i, (prediction, mask) in enumerate(zip_longest(predictions, masks)):
        if prediction is None or mask is None:
            raise DataError(
                f"the {'masks' if mask is None else 'predictions'} end after {i} images, the others do not",
                "one prediction for each mask",
                "predict the same images that are scored",
            )
        yield prediction, mask


def iou(confusion: np.ndarray) -> np.ndarray:
    r"""Intersection over union per class, pooled over all counted pixels.

    .. math:: IoU_c = n_{cc} / (t_c + p_c - n_{cc})

    with t_c the target's pixels of class c (abstained ones included) and p_c the predicted ones.
    confusion: (..., K, K + 1)    returns: (..., K) float64, nan for a class in neither target nor prediction
    """
    hits, targets, predicted = _margins(confusion)
    return divide(hits, targets + predicted - hits)


def mean_iou(confusion: np.ndarray) -> np.ndarray:
    """Mean of `iou` over the classes, background included: the VOC score when pooled over a split.

    Classes in neither target nor prediction are left out; a class that is predicted but absent counts as 0.
    confusion: (..., K, K + 1)    returns: (...) float64, nan when no class is left
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


def precision_recall_of_labels(
    confusion: np.ndarray, abstained: Literal["missed", "background"] = "missed"
) -> PrecisionRecall:
    """Pooled precision and recall per class of label maps that may abstain, such as guide labels.

    confusion: (..., K, K + 1)
    abstained: "missed" leaves abstained pixels out of precision and counts them as missed in recall;
        "background" scores them as predictions of class 0
    raises: ParameterError for another convention
    """
    if abstained not in ("missed", "background"):
        raise ParameterError(f"abstained={abstained!r} is not known", "'missed' or 'background'")
    hits, targets, predicted = _margins(confusion)
    if abstained == "background":
        hits, predicted = hits.copy(), predicted.copy()
        hits[..., 0] += confusion[..., 0, -1]
        predicted[..., 0] += confusion[..., -1].sum(-1)
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
        raise DataError(
            f"confusion has shape {confusion.shape}",
            "(..., K, K + 1): the last column counts abstained pixels",
            "make it with confusion_matrix or per_image_confusions",
        )
    square = confusion[..., :-1]
    return np.diagonal(square, axis1=-2, axis2=-1), confusion.sum(-1), square.sum(-2)


def _checked(prediction, target, classes: int, ignore: int) -> tuple[np.ndarray, np.ndarray]:
    prediction, target = np.asarray(prediction), np.asarray(target)
    if not 1 <= classes <= MAX_CLASSES:
        raise ParameterError(f"classes={classes}", f"1 to {MAX_CLASSES}, background included")
    if not 0 <= ignore <= 255:
        raise ParameterError(f"ignore={ignore}", "a value a uint8 mask can hold, usually 255")
    if target.dtype != np.uint8:
        raise DataError(f"target has type {target.dtype}", "uint8 labels", "convert it with .astype('uint8')")
    if prediction.dtype.kind not in "iu":
        raise DataError(
            f"prediction has type {prediction.dtype}", "integer labels", "take the argmax of the scores first"
        )
    if target.ndim not in (2, 3) or prediction.shape != target.shape:
        raise DataError(
            f"prediction {prediction.shape} and target {target.shape} do not match",
            "two label maps (H, W) or stacks (N, H, W) of the same shape",
            "upsample the scores to the size of the image before taking the argmax",
        )
    return prediction, target


def _as_bytes(prediction: np.ndarray, classes: int) -> np.ndarray:
    """uint8 labels in which everything that is no class is at least `classes`."""
    if prediction.dtype == np.uint8:
        return prediction
    return np.where((prediction < 0) | (prediction > classes), classes, prediction).astype(np.uint8)


def _count(prediction: np.ndarray, target: np.ndarray, classes: int, ignore: int) -> np.ndarray:
    """(N, K, K + 1) int64; a large image comes alone and goes through the table of byte pairs."""
    if len(target) == 1 and TABLE_MIN_PIXELS <= target.size <= TABLE_MAX_PIXELS:
        return _count_image(prediction[0], target[0], classes, ignore)[None]
    return _count_stack(prediction, target, classes, ignore)


def _count_image(prediction: np.ndarray, target: np.ndarray, classes: int, ignore: int) -> np.ndarray:
    """(K, K + 1) int64 of one image, read from OpenCV's table of all 65 536 byte pairs."""
    import cv2

    pair = [np.ascontiguousarray(target), np.ascontiguousarray(prediction)]
    table = cv2.calcHist(pair, [0, 1], None, [256, 256], [0, 256, 0, 256])
    table[ignore] = 0
    unknown = table[classes:].any(1)
    if unknown.any():
        raise _unknown_label(classes + int(unknown.argmax()), classes, ignore)
    abstained = table[:classes, classes:].sum(1, keepdims=True, dtype=np.float64)
    return np.concatenate([table[:classes, :classes], abstained], 1).astype(np.int64)


def _count_stack(prediction: np.ndarray, target: np.ndarray, classes: int, ignore: int) -> np.ndarray:
    """(N, K, K + 1) int64 of a stack in one pass: every pixel gets the code (image, target, prediction)."""
    import torch

    dropped = target == ignore
    unknown = (target >= classes) & ~dropped
    if unknown.any():
        raise _unknown_label(int(target[unknown][0]), classes, ignore)
    side = classes + 1  # row K collects the dropped pixels, column K the abstained ones
    code = np.where(dropped, np.uint8(classes), target).astype(np.int32)
    code *= side
    code += np.minimum(prediction, np.uint8(classes))
    code += (np.arange(len(target), dtype=np.int32) * side * side)[:, None, None]
    counts = torch.bincount(torch.from_numpy(code.ravel()), minlength=len(target) * side * side)
    return counts.numpy().reshape(len(target), side, side)[:, :classes].copy()


def _unknown_label(label: int, classes: int, ignore: int) -> DataError:
    return DataError(
        f"a mask holds the label {label}",
        f"0 (background) to {classes - 1}, or {ignore} for void",
        "check that masks and class list belong together",
    )
