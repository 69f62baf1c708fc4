"""What label maps claim that isn't there: background taken for objects, and classes that an image doesn't show."""

import numpy as np


def false_positives(confusions: np.ndarray) -> np.ndarray:
    """Sums whose `ratio` is the share of background pixels that are labelled as an object.

    confusions: (..., K, K + 1), abstained pixels in the last column. Returns (..., 2): background pixels labelled as
    an object, and all background pixels. See wsss_lab.evaluation.intervals.ratio.

    >>> false_positives(np.array([[6, 2, 1], [1, 9, 0]])).tolist()
    [2, 9]
    """
    background = np.asarray(confusions)[..., 0, :]
    return np.stack([background[..., 1:-1].sum(-1), background.sum(-1)], -1)


def extra_classes(confusions: np.ndarray) -> np.ndarray:
    """Number of object classes that are predicted but not there: int (...).

    confusions: (..., K, K + 1) of single images.

    >>> int(extra_classes(np.array([[6, 2, 1, 0], [1, 9, 0, 0], [0, 0, 0, 0]])))
    1
    """
    confusions = np.asarray(confusions)
    seen, there = confusions[..., :-1].sum(-2) > 0, confusions.sum(-1) > 0
    return (seen & ~there)[..., 1:].sum(-1)
