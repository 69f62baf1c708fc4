import numpy as np
import pytest
from tiny_views import make_view

from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.scoring import score_salient_pixels


def test_pixels_from_the_threshold_on_are_salient_and_void_is_left_out():
    mask = np.array([[1, 2, 0, 0, 255, 1]], np.uint8)
    saliency = np.array([[[128, 127, 200, 0, 255, 255]]], np.uint8)
    view = make_view([np.zeros((1, 6, 3), np.uint8)], [mask])
    # found, wrongly found, missed, the rest
    assert score_salient_pixels(view, saliency)["counts"].tolist() == [[2, 1, 1, 1]]
    assert score_salient_pixels(view, saliency, 1.0)["counts"].tolist() == [[1, 0, 2, 2]]


def test_padding_of_smaller_images_is_not_counted():
    view = make_view([np.zeros((2, 2, 3), np.uint8), np.zeros((4, 3, 3), np.uint8)],
                     [np.ones((2, 2), np.uint8), np.zeros((4, 3), np.uint8)])
    assert score_salient_pixels(view, np.full((2, 4, 3), 255, np.uint8))["counts"].tolist() == [[4, 0, 0, 0],
                                                                                                [0, 12, 0, 0]]


@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_a_threshold_that_means_nothing_is_refused(threshold):
    view = make_view([np.zeros((1, 1, 3), np.uint8)], [np.ones((1, 1), np.uint8)])
    with pytest.raises(ParameterError, match="salient pixels"):
        score_salient_pixels(view, np.zeros((1, 1, 1), np.uint8), threshold)
