"""Precision and recall of class maps over all thresholds, from one pass over the pixels.

A seeder gives each pixel a winning class and a confidence, the winner's normalised map value. At threshold tau the
pixel takes the winner's label if its confidence is at least tau, else it is background (Oh et al. 2017, Sec. 4.2).
Pixels are counted once into bins of confidence, and every threshold that is a bin edge follows by cumulating. The
counts are an array (3, K, bins) per image, K = C + 1 classes with background first:

    TRUTH  pixels of class k          WON  pixels whose winner is k          HIT  pixels that are both

They are sums over pixels, without those of void: add them over the images for the figures of a split, or weight them to
resample images. Figures are fractions in [0, 1].
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.evaluation.confusion import VOID, divide, nan_mean

TRUTH, WON, HIT = range(3)
BINS = 128  # the paper's curves need about a hundred thresholds; a power of two puts the edges on exact floats
SLACK = 1e-3  # rounding that a confidence may be outside [0, 1]


def confidence_counts(confidence: np.ndarray, winner: np.ndarray, target: np.ndarray, classes: int, *,
                      bins: int = BINS) -> np.ndarray:
    """Count pixels by confidence: those of each true class, those each class won, and those won rightly.

    confidence: (H, W) floats in [0, 1], the maximum over the normalised class maps. winner: (H, W) integer labels
    1..classes-1 of the maximum; 0 where no class map is there at all. target: (H, W) uint8 labels 0..classes-1, 255
    void. classes: K, background included. Returns (3, K, bins) int32: TRUTH, WON, HIT. Raises DataError for other
    shapes, a confidence that is not in [0, 1], or labels beyond the classes.
    """
    confidence, winner, target = np.asarray(confidence), np.asarray(winner), np.asarray(target)
    _check(confidence, winner, target, classes, bins)
    known = target != VOID
    bin_of = np.clip(confidence[known] * bins, 0, bins - 1).astype(np.int64)
    target, winner = target[known], winner[known]
    right = winner == target
    counts = [np.bincount(label.astype(np.int64) * bins + at, minlength=classes * bins).reshape(classes, bins)
              for label, at in ((target, bin_of), (winner, bin_of), (target[right], bin_of[right]))]
    return np.array(counts, np.int32)


def per_image_confidence_counts(pixels: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
                                classes: int) -> np.ndarray:
    """`confidence_counts` of images of any sizes, (confidence, winner, target) each: (N, 3, K, BINS) int32."""
    counts = [confidence_counts(*image, classes) for image in pixels]
    return np.array(counts, np.int32).reshape(-1, 3, classes, BINS)


class PRCurve(NamedTuple):
    """Precision against recall in the order of the sweep in which recall grows.

    precision, recall: (..., T) in [0, 1]; recall never falls along the last axis. Precision is nan where
    nothing was predicted yet.
    """

    precision: np.ndarray
    recall: np.ndarray

    def precision_at(self, level: float, interpolate: bool = False) -> np.ndarray:
        """Precision (...) at the first sweep point whose recall exceeds `level`; nan where none does.

        interpolate: go linearly from the point before to that one, instead of taking that one.

        >>> float(PRCurve(np.array([0.9, 0.5]), np.array([0.1, 0.3])).precision_at(0.2))
        0.5
        """
        precision = self._from_first_known()
        exceeds = self.recall > level
        at = exceeds.argmax(-1)[..., None]
        value = np.take_along_axis(precision, at, -1)
        if interpolate:
            before = np.maximum(at - 1, 0)
            low, high = (np.take_along_axis(self.recall, i, -1) for i in (before, at))
            span = np.where(high > low, high - low, 1.0)
            start = np.take_along_axis(precision, before, -1)
            value = np.where(high > low, start + (value - start) * (level - low) / span, value)
        return np.where(exceeds.any(-1), value[..., 0], np.nan)

    def area(self) -> np.ndarray:
        """Area (...) under the curve by trapezoids.

        The precision of the first prediction is carried on to recall 0; recall that is never reached adds
        nothing, so a seeder that finds little has little area.
        """
        return np.trapezoid(self._from_first_known(), self.recall, axis=-1)

    def _from_first_known(self) -> np.ndarray:
        """Precision with the points before the first prediction set to that of the first prediction."""
        first = (~np.isnan(self.precision)).argmax(-1)[..., None]
        filled = np.take_along_axis(self.precision, first, -1)
        return np.where(np.isnan(self.precision), filled, self.precision)


@dataclass(frozen=True)
class ThresholdSweep:
    """Figures of every class at every threshold; made by `sweep`.

    thresholds: (T,) the bin edges 0, 1/bins, ..., 1; at the last one everything is background
    hits, predicted: (..., K, T) pixels rightly given label k, and all pixels given label k
    targets: (..., K, 1) pixels whose true class is k
    """

    thresholds: np.ndarray
    hits: np.ndarray
    predicted: np.ndarray
    targets: np.ndarray

    @cached_property
    def precision(self) -> np.ndarray:
        """(..., K, T), nan where no pixel gets the label."""
        return divide(self.hits, self.predicted)

    @cached_property
    def recall(self) -> np.ndarray:
        """(..., K, T), nan for classes without a pixel."""
        return divide(self.hits, self.targets)

    @property
    def foreground(self) -> PRCurve:
        """Mean precision against mean recall over the foreground classes: the curves of Oh et al., Fig. 3.

        The means over classes are taken first, threshold by threshold; classes without a value are left out.
        """
        means = (nan_mean(np.moveaxis(x[..., 1:, ::-1], -2, -1)) for x in (self.precision, self.recall))
        return PRCurve(*means)

    @property
    def background(self) -> PRCurve:
        """Precision and recall of background, whose recall grows with the threshold."""
        return PRCurve(self.precision[..., 0, :], self.recall[..., 0, :])

    @property
    def mean_iou(self) -> np.ndarray:
        """Mean IoU (..., T) over the classes, background included, at each threshold."""
        ious = divide(self.hits, self.predicted + self.targets - self.hits)
        return nan_mean(np.moveaxis(ious, -2, -1))

    def best_threshold(self) -> tuple[float, float]:
        """The threshold of greatest mean IoU and that mean IoU, for counts without leading axes.

        It is chosen on pixel labels: a figure at this threshold must say so, and belongs to other images.
        """
        at = int(np.nanargmax(self.mean_iou))
        return float(self.thresholds[at]), float(self.mean_iou[at])


def sweep(counts: np.ndarray) -> ThresholdSweep:
    """All thresholds from confidence counts.

    counts: (..., 3, K, bins), summed over the images of a split (weights may make them fractional)
    raises: DataError for another shape
    """
    counts = np.asarray(counts)
    if counts.ndim < 3 or counts.shape[-3] != 3:
        raise DataError(f"counts have shape {counts.shape}",
                        "(..., 3, K, bins): pixels of each class, won by it, and both",
                        "make them with confidence_counts")
    below = np.zeros((*counts.shape[:-1], counts.shape[-1] + 1), np.result_type(counts.dtype, np.int64))
    np.cumsum(counts, axis=-1, out=below[..., 1:])
    above = below[..., -1:] - below
    truth, won, hit = (x.squeeze(-3) for x in np.split(below, 3, -3))
    predicted, hits = above[..., WON, :, :].copy(), above[..., HIT, :, :].copy()
    # Background: all pixels below the threshold, and those above it that no class map claims.
    predicted[..., 0, :] += truth.sum(-2)
    hits[..., 0, :] += truth[..., 0, :]
    return ThresholdSweep(thresholds=np.linspace(0, 1, counts.shape[-1] + 1), hits=hits, predicted=predicted,
                          targets=truth[..., -1:])


def mean_precision(counts: np.ndarray) -> np.ndarray:
    r"""Seed quality mP of Oh et al. 2017, Sec. 4.2 (unnumbered equation).

    .. math:: mP = (Prec_{Fg}@20\%\,recall + Prec_{Bg}@80\%\,recall) / 2

    Foreground precision and recall are means over the classes first. Each precision is read at the first sweep point
    whose recall exceeds the level, as the authors' code does.
    counts: (..., 3, K, bins). Returns (...) in [0, 1], nan where a recall level is not reached.
    """
    swept = sweep(counts)
    return (swept.foreground.precision_at(0.2) + swept.background.precision_at(0.8)) / 2


def foreground_precision_at(counts: np.ndarray, recall: float, interpolate: bool = False) -> np.ndarray:
    """Mean foreground precision (...) at a level of mean foreground recall; nan where it is not reached."""
    return sweep(counts).foreground.precision_at(recall, interpolate)


def foreground_area(counts: np.ndarray) -> np.ndarray:
    """Area (...) under the mean foreground precision-recall curve."""
    return sweep(counts).foreground.area()


def _check(confidence, winner, target, classes: int, bins: int) -> None:
    if bins < 1 or not 2 <= classes <= 254:
        raise ParameterError(f"classes={classes}, bins={bins}", "2 to 254 classes, and at least one bin")
    if target.ndim != 2 or not confidence.shape == winner.shape == target.shape:
        raise DataError(f"confidence {confidence.shape}, winner {winner.shape} and target {target.shape} do not match",
                        "three maps (H, W) of one shape", "upsample the class maps to the size of the image first")
    if confidence.size == 0:
        return
    low, high = float(confidence.min()), float(confidence.max())
    if not (low >= -SLACK and high <= 1 + SLACK):
        raise DataError(f"confidence goes from {low:g} to {high:g}", "values in [0, 1]",
                        "cut the class maps at 0 and divide each by its maximum")
    if winner.min() < 0 or winner.max() >= classes:
        raise DataError(f"winner goes from {winner.min()} to {winner.max()}",
                        f"labels 1 to {classes - 1}, or 0 where there is no class map",
                        "the label of class index c is c + 1")
    largest = target[target != VOID].max(initial=0)
    if target.dtype != np.uint8 or largest >= classes:
        raise DataError(f"target has type {target.dtype} and labels up to {largest}",
                        f"uint8 labels 0 (background) to {classes - 1}, or {VOID} for void",
                        "check that masks and class list belong together")


# ---------------------------------------------------------------------------------------------------------------------
# Average precision of image-level class scores: how good a network is as a classifier.


def average_precisions(scores: np.ndarray, tags: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Average precision of each class: the area under its precision-recall steps, equal scores taken as one.

    scores: (N, C) finite floats, higher means more likely; any monotone scale does. tags: (N, C) bool. weights: (R, N),
    how often each image was drawn in each of R resamples. Returns (C,), with weights (R, C), float64 in [0, 1], nan for
    a class that no image has. Raises DataError for other shapes or scores that are not finite.
    """
    scores, tags = np.asarray(scores, np.float64), np.asarray(tags, bool)
    if scores.ndim != 2 or scores.shape != tags.shape:
        raise DataError(f"scores {scores.shape} and tags {tags.shape} do not match", "both (images, classes)")
    if not np.isfinite(scores).all():
        raise DataError("some class scores are not finite", "a number per image and class", "look at the loss")
    drawn = np.ones((1, len(scores))) if weights is None else weights
    found = []
    for score, tag in zip(scores.T, tags.T, strict=True):
        order = np.argsort(-score, kind="stable")
        level_end = np.searchsorted(-score[order], -score[order], side="right") - 1
        taken, right = drawn[:, order], drawn[:, order] * tag[order]
        precision = divide(right.cumsum(1)[:, level_end], taken.cumsum(1)[:, level_end])
        found.append(divide((np.nan_to_num(precision) * right).sum(1), right.sum(1)))
    return np.stack(found, 1) if weights is not None else np.concatenate(found)
