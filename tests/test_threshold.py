"""Seed labels by hand."""

import numpy as np
import pytest

from wsss_lab.errors import ParameterError
from wsss_lab.seeds.cam import seed_labels

MAPS = np.array([[[0.19, 0.2, 0.9], [0.0, 0.5, 0.1]],
                 [[0.10, 0.1, 1.0], [0.0, 0.5, 0.15]]], dtype=np.float32)


def test_rule_by_hand():
    labels = seed_labels(MAPS)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[0, 1, 2], [0, 1, 0]]  # 0.2 is a seed, 0.19 is not; of equal classes the first


def test_threshold_moves_the_border():
    assert seed_labels(MAPS, 0.15).tolist() == [[1, 1, 2], [0, 1, 2]]
    assert seed_labels(MAPS, 1.0).tolist() == [[0, 0, 2], [0, 0, 0]]


def test_batch_equals_one_at_a_time():
    maps = np.random.default_rng(0).random((3, 5, 4, 6), dtype=np.float32)
    batch = seed_labels(maps, 0.9)
    assert batch.shape == (3, 4, 6) and set(np.unique(batch)) == {0, 1, 2, 3, 4, 5}
    assert all((batch[i] == seed_labels(maps[i], 0.9)).all() for i in range(3))


@pytest.mark.parametrize("tau", [0, -0.1, 1.01, float("nan")])
def test_tau_out_of_range(tau):
    with pytest.raises(ParameterError, match="tau="):
        seed_labels(MAPS, tau)
