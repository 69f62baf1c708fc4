import numpy as np
import pytest

from wsss_lab.errors import ParameterError
from wsss_lab.seeds.periodicity import autocorrelation, periodic_peak


def test_autocorrelation_against_a_loop():
    values = np.random.default_rng(0).normal(size=(5, 7))
    z, lag = values - values.mean(), 2
    across = [z[y, x] * z[y, x + lag] for y in range(5) for x in range(7 - lag)]
    down = [z[y, x] * z[y + lag, x] for y in range(5 - lag) for x in range(7)]
    assert autocorrelation(values, lag) == pytest.approx((np.mean(across) + np.mean(down)) / 2 / np.mean(z**2))


def test_a_wave_peaks_at_its_period_only_and_a_blob_does_not():
    board, x = np.indices((8, 8)).sum(0) % 2, np.arange(24)
    wave = np.add.outer(np.cos(np.pi * x / 3), np.cos(np.pi * x / 3))  # period 6
    blob = np.exp(-np.add.outer((x - 12) ** 2, (x - 12) ** 2) / 50)
    assert periodic_peak(board, 2) == pytest.approx(2)  # r(2) = 1 between r(1) = r(3) = -1
    assert periodic_peak(wave, 6) == pytest.approx(1)  # a shift along x keeps y: r = (cos + 1) / 2
    assert periodic_peak(wave, 3) < 0 and abs(periodic_peak(blob, 6)) < 0.2
    for period in (1, 5):
        with pytest.raises(ParameterError, match="period"):
            periodic_peak(np.ones((6, 9)), period)
