"""Spearman's rank correlation as a statistic of sums, so that it can be bootstrapped over images."""

import numpy as np

from wsss_lab.evaluation.confusion import divide


def rank_sums(facts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Per-image sums for `correlation`: facts (N,) and values (S, N) -> (S, N, 6), 0 where one of them is nan."""
    from scipy.stats import rankdata

    sums = np.zeros((*values.shape, 6))
    for each, row in zip(sums, values, strict=True):
        known = ~np.isnan(facts) & ~np.isnan(row)
        # Ranks around 0, as sums of squares of large numbers would lose digits.
        x, y = (rankdata(part[known]) - (known.sum() + 1) / 2 for part in (facts, row))
        each[known] = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1)
    return sums


def correlation(summed: np.ndarray) -> np.ndarray:
    """Correlation of ranks from summed `rank_sums` (..., 6), in [-1, 1]; nan where one of them doesn't vary."""
    count, x, y, xx, yy, xy = np.moveaxis(summed, -1, 0)
    spread = np.sqrt(np.maximum(count * xx - x * x, 0) * np.maximum(count * yy - y * y, 0))
    return divide(count * xy - x * y, spread)
