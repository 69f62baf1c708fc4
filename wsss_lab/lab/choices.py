"""Rules by which pictures are chosen, so that nobody picks them by hand."""

from collections.abc import Collection

import numpy as np


def ranked(values: np.ndarray) -> np.ndarray:
    """Positions of the values from best to worst; equal values keep their order and nan is left out.

    >>> ranked(np.array([0.1, 0.9, np.nan, 0.5])).tolist()
    [1, 3, 0]
    """
    values = np.asarray(values, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    return order[np.isfinite(values[order])]


def spread_ranks(values: np.ndarray, count: int) -> np.ndarray:
    """Positions of `count` values from best to worst, evenly spread over the ranks; fewer if there are fewer.

    >>> spread_ranks(np.array([0.1, 0.9, 0.5]), 2).tolist()
    [1, 0]
    """
    order = ranked(values)
    count = min(count, len(order))
    return order[np.linspace(0, len(order) - 1, count).round().astype(int)] if count else order


def at_quantile(values: np.ndarray, quantile: float) -> int:
    """Position of the value at a quantile: 1 the best, 0.5 the median, 0 the worst. values: at least one number.

    >>> at_quantile(np.array([0.1, 0.9, 0.5]), 0.5)
    2
    """
    order = ranked(values)
    return int(order[round((1 - quantile) * (len(order) - 1))])


def random_images(total: int, count: int, seed: int = 0, leave_out: Collection[int] = ()) -> np.ndarray:
    """`count` different positions of `total`, drawn with a fixed seed; fewer if there are fewer."""
    order = np.random.default_rng(seed).permutation(total)
    return order[~np.isin(order, list(leave_out))][:count]
