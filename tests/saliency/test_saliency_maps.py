"""Salient pixels of saliency maps."""

import numpy as np
import pytest

from wsss_lab.errors import DataError
from wsss_lab.saliency.maps import oracle_saliency, salient_mask


def test_half_of_the_maximum_is_salient_and_just_below_is_not():
    saliency = np.array([[0.0, 0.299], [0.3, 0.6]])
    assert salient_mask(saliency).tolist() == [[False, False], [True, True]]
    assert salient_mask(saliency, 0.6).tolist() == [[False, False], [False, True]]
    assert not salient_mask(np.zeros((3, 3)), fraction=0.0).any()
    for value in (np.nan, -0.1):
        with pytest.raises(DataError, match="NaN or values below 0"):
            salient_mask(np.array([[0.5, value]]))


def test_oracle_is_neither_background_nor_void():
    assert oracle_saliency(np.array([[0, 1, 20, 255]], np.uint8)).tolist() == [[False, True, True, False]]
