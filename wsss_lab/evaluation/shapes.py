"""How thin, fragmented and large the objects of each class are, measured on masks."""

import numpy as np

from wsss_lab.data.components import components
from wsss_lab.data.views import EvalView
from wsss_lab.errors import DataError
from wsss_lab.evaluation.confusion import divide

AREA, SQUARED_PERIMETERS, PIECES, IMAGES, SHARE = range(5)
MIN_AREA = 0.005  # share of the image below which a piece is a speck, as in wsss_lab.evaluation.object_recall


def perimeter(inside: np.ndarray) -> int:
    """Number of pixel sides between a region and what is outside it, the border of the image included.

    >>> perimeter(np.array([[1, 1], [1, 0]], bool))
    8
    """
    padded = np.pad(np.asarray(inside, bool), 1)
    return sum(int(np.diff(padded, axis=axis).sum()) for axis in (0, 1))


def shape_counts(mask: np.ndarray, classes: int, min_area: float = MIN_AREA) -> np.ndarray:
    """What `elongation`, `pieces` and `area_share` of one image add up: float64 (classes, 5).

    mask: uint8 (H, W), 0 background, 1..classes, 255 void. A piece is an 8-connected region of one class with at least
    the share `min_area` of the image. Columns: pixels of the pieces, sum of their squared perimeters, number of pieces,
    1 if there is one, share of the image that they take.
    """
    counts = np.zeros((classes, 5))
    for label in np.intersect1d(mask, np.arange(1, classes + 1)):
        numbered, found = components(mask == label, max(1, min_area * mask.size))
        squares = sum(perimeter(numbered == number) ** 2 for number in range(1, found + 1))
        area = np.count_nonzero(numbered)
        counts[label - 1] = area, squares, found, found > 0, area / mask.size
    return counts


def score_shapes(view: EvalView, min_area: float = MIN_AREA) -> dict:
    """`shape_counts` of every image of a view: {"counts": float64 (N, C, 5)}."""
    return {"counts": np.stack([shape_counts(view.mask(index), len(view.classes), min_area)
                                for index in range(len(view))])}


def elongation(counts: np.ndarray) -> np.ndarray:
    r"""Perimeter squared over 16 times the area, mean over the pieces of each class weighted by their areas.

    .. math:: e = \sum_k P_k^2 \Big/ 16 \sum_k A_k

    1 for a square, (n + 1)^2 / 4n for a bar n times as long as wide; it doesn't change with the size of the objects.
    counts: (N, C, 5). Returns (C,), nan for a class without a piece.

    >>> bar = np.zeros((20, 20), np.uint8)
    >>> bar[2:4, 1:17] = 1
    >>> elongation(shape_counts(bar, 1)[None]).tolist()
    [2.53125]
    """
    summed = _summed(counts)
    return divide(summed[:, SQUARED_PERIMETERS], 16 * summed[:, AREA])


def pieces(counts: np.ndarray) -> np.ndarray:
    """Number of pieces of each class per image that shows it: counts (N, C, 5) -> (C,), nan where none does."""
    summed = _summed(counts)
    return divide(summed[:, PIECES], summed[:, IMAGES])


def area_share(counts: np.ndarray) -> np.ndarray:
    """Share of an image that a class takes where it is shown: counts (N, C, 5) -> (C,), nan where it never is."""
    summed = _summed(counts)
    return divide(summed[:, SHARE], summed[:, IMAGES])


def _summed(counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts)
    if counts.ndim != 3 or counts.shape[-1] != 5:
        raise DataError(f"shape counts have shape {counts.shape}", "(N, C, 5)", "make them with score_shapes")
    return counts.sum(0)
