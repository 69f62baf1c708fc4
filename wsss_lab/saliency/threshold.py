"""From a saliency map to the salient pixels of an image."""

from __future__ import annotations

import numpy as np

from wsss_lab.errors import DataError


def salient_mask(saliency: np.ndarray, fraction: float = 0.5) -> np.ndarray:
    """Pixels that reach `fraction` of their own map's maximum (Oh et al. 2017, section 6.1: one half).

    saliency: (..., h, w), non-negative    returns: bool, same shape

    In a map of zeros nothing is salient.

    >>> salient_mask(np.array([[0.1, 0.2, 0.4]]))
    array([[False,  True,  True]])
    """
    highest = _maxima(saliency)
    return (saliency >= fraction * highest) & (highest > 0)


def _maxima(saliency: np.ndarray) -> np.ndarray:
    highest = saliency.max((-2, -1), keepdims=True)  # a NaN anywhere makes its map's maximum NaN
    if np.isnan(highest).any() or saliency.min() < 0:
        raise DataError("a saliency map holds NaN or values below 0", "values of 0 or more")
    return highest
