"""Scoring steps: label maps, seeds and salient pixels against the masks of a view, image by image."""

import numpy as np
import pytest
from tiny_views import make_view

from wsss_lab.data import frames
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.scoring import ground_truth, score_masks, score_saliency, score_salient_pixels, score_seeds

MASKS = (np.array([[0, 1, 255, 2]], np.uint8), np.array([[2], [2], [0]], np.uint8))


@pytest.fixture
def view():
    """Two images of other sizes, 1x4 and 3x1, whose masks are MASKS; classes cat and dog."""
    return make_view([np.zeros((*mask.shape, 3), np.uint8) for mask in MASKS], MASKS)


def frame_of(view, *maps):
    return frames.stack(view, [np.array(each, np.uint8) for each in maps])


def test_confusions_by_hand(view):
    """Rows are the truth, columns the prediction, the last one 255; what lies outside an image never counts."""
    scores = score_masks(view, frame_of(view, [[0, 2, 1, 255]], [[2], [0], [0]]))
    assert scores["confusions"].tolist() == [
        [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        [[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]],
    ]
    assert scores["with_void"].tolist() == [
        [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        [[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]],
    ]
    assert scores["confusions"].dtype == np.int32


def test_the_truth_scores_full_marks_and_is_a_frame(view):
    truth = ground_truth(view)["masks"]
    assert truth.shape == (2, 3, 4) and (truth[0, 1:] == 255).all() and (truth[1, :, 1:] == 255).all()
    assert [rows.tolist() for rows in frames.rows_of(view, truth)] == [mask.tolist() for mask in MASKS]
    assert mean_iou(score_masks(view, truth)["confusions"].sum(0)) == 1


def test_a_frame_of_too_few_images_is_refused(view):
    with pytest.raises((DataError, IndexError)):
        score_masks(view, frame_of(view, *MASKS)[:1])


def test_seeds_are_counted_for_the_strongest_class_only(view):
    """Summed over the confidences: pixels of each class, those it won, and those it won rightly."""
    maps = [np.zeros((2, 1, 4), np.float32), np.zeros((2, 3, 1), np.float32)]
    maps[0][:, 0, 1] = 0.9, 0.4  # cat, rightly
    maps[0][:, 0, 2] = 0.0, 1.0  # on a void pixel: left out
    maps[1][:, 0, 0] = 0.3, 0.7  # dog, rightly
    maps[1][:, 2, 0] = 0.5, 0.0  # cat, on background
    counts = score_seeds(view, maps)
    assert counts.shape[:3] == (2, 3, 3)
    truth, won, hit = counts.sum((0, 3))
    assert truth.tolist() == [2, 1, 3]
    assert won[1:].tolist() == [2, 1] and hit[1:].tolist() == [1, 1]


def test_salient_pixels_by_hand(view):
    """Counts are right, wrong, missed and rightly empty pixels; void is left out."""
    counts = score_saliency(view, frame_of(view, [[1, 1, 1, 0]], [[1], [0], [0]]))["counts"]
    assert counts.tolist() == [[1, 1, 1, 0], [1, 0, 1, 1]]


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
