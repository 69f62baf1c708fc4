"""Average precision of image-level class scores: how good a network is as a classifier."""

import numpy as np

from wsss_lab.errors import DataError
from wsss_lab.evaluation.confusion import divide, nan_mean
from wsss_lab.evaluation.intervals import Interval, bootstrap


def average_precisions(scores: np.ndarray, tags: np.ndarray) -> np.ndarray:
    """Average precision of each class: the area under its precision-recall steps, equal scores taken as one.

    scores: (N, C) finite floats, higher means more likely; any monotone scale does
    tags: (N, C) bool
    returns: (C,) float64 in [0, 1], nan for a class that no image has
    raises: DataError for other shapes or scores that are not finite
    """
    from sklearn.metrics import average_precision_score

    scores, tags = np.asarray(scores), np.asarray(tags, bool)
    if scores.ndim != 2 or scores.shape != tags.shape:
        raise DataError(f"scores {scores.shape} and tags {tags.shape} do not match", "both (images, classes)")
    if not np.isfinite(scores).all():
        raise DataError(
            "some class scores are not finite",
            "a number per image and class",
            "look at the classifier's loss",
        )
    found = [
        average_precision_score(t, s) if t.any() else np.nan for t, s in zip(tags.T, scores.T, strict=True)
    ]
    return np.array(found, np.float64)


def mean_average_precision(scores: np.ndarray, tags: np.ndarray) -> float:
    """mAP: mean of `average_precisions` over the classes that some image has (Oh et al. 2017, Table 1).

    >>> mean_average_precision([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], [[1, 0], [0, 1], [1, 0]])
    1.0
    """
    return float(nan_mean(average_precisions(scores, tags)))


def weighted_average_precisions(scores: np.ndarray, tags: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`average_precisions` of resampled images.

    scores, tags: (N, C) as there
    weights: (R, N), how often each image was drawn in each of R resamples
    returns: (R, C), nan where no image of the class was drawn
    """
    found = []
    for score, tag in zip(np.asarray(scores, np.float64).T, np.asarray(tags, bool).T, strict=True):
        order = np.argsort(-score, kind="stable")
        level_end = np.searchsorted(-score[order], -score[order], side="right") - 1
        taken, right = weights[:, order], weights[:, order] * tag[order]
        precision = divide(right.cumsum(1)[:, level_end], taken.cumsum(1)[:, level_end])
        found.append(divide((np.nan_to_num(precision) * right).sum(1), right.sum(1)))
    return np.stack(found, 1)


def map_interval(scores: np.ndarray, tags: np.ndarray, **options) -> Interval:
    """mAP with its bootstrap interval over images and seeds.

    scores: (S, N, C) of S training seeds    tags: (N, C) bool    options: of wsss_lab.evaluation.intervals.bootstrap
    """
    return bootstrap(
        lambda weights: np.stack([nan_mean(weighted_average_precisions(each, tags, weights)) for each in scores], 1),
        len(tags), **options,
    )
