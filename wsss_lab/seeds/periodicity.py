"""Whether class maps repeat themselves, as those of dilated networks do (Oh et al. 2017, Supp. B.3, Fig. 8)."""

import numpy as np

from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.confusion import divide


def autocorrelation(maps: np.ndarray, lag: int) -> np.ndarray:
    r"""Correlation of a map with itself shifted by `lag` pixels, mean of the horizontal and the vertical shift.

    .. math:: r(l) = \langle z(u)\, z(u + l) \rangle / \langle z(u)^2 \rangle

    with z the map less its mean, and averages over the pixels that overlap.
    maps: (..., h, w) real numbers, 0 <= lag < min(h, w). Returns float64 (...), nan for a constant map.
    Raises ParameterError for a lag that leaves nothing to compare.

    >>> float(autocorrelation(np.tile([1.0, -1.0], (4, 2)), 0))
    1.0
    """
    maps = np.asarray(maps, dtype=np.float64)
    height, width = maps.shape[-2:]
    if not 0 <= lag < min(height, width):
        raise ParameterError(f"lag {lag} on maps of {height} x {width}", f"0 to {min(height, width) - 1}")
    centred = maps - maps.mean((-2, -1), keepdims=True)
    across = (centred[..., :, :width - lag] * centred[..., :, lag:]).mean((-2, -1))
    down = (centred[..., :height - lag, :] * centred[..., lag:, :]).mean((-2, -1))
    return divide((across + down) / 2, (centred**2).mean((-2, -1)))


def periodic_peak(maps: np.ndarray, period: int) -> np.ndarray:
    r"""How far the autocorrelation stands out at a period: :math:`r(p) - \frac{1}{2}(r(p/2) + r(3p/2))`.

    A smooth map whose correlation falls off evenly has about 0, a wave of this period 2. Half periods are rounded
    down, and the farther one is no farther than the map allows.
    maps: (..., h, w); period: in pixels of the map, 2 or more. Returns float64 (...), nan for a constant map.
    Raises ParameterError for a period below 2, or one that leaves no pixel beyond it.
    """
    farthest = min(np.shape(maps)[-2:]) - 1
    if not 2 <= period < farthest:
        raise ParameterError(f"period {period} on maps of shape {np.shape(maps)[-2:]}", f"2 to {farthest - 1}")
    beside = (period // 2, min(period + period // 2, farthest))
    return autocorrelation(maps, period) - sum(autocorrelation(maps, lag) for lag in beside) / 2
