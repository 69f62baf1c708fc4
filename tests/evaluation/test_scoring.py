"""Label maps, seeds and salient pixels against the masks of a view, image by image."""

import numpy as np
import pytest
from tiny_views import of_masks

from wsss_lab.data import frames
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.evaluation import saliency_scores as ss
from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.scoring import ground_truth, score_masks, score_saliency, score_salient_pixels, score_seeds

MASKS = (np.array([[0, 1, 255, 2]], np.uint8), np.array([[2], [2], [0]], np.uint8))
# Six foreground pixels of two classes, three of background, one void: 4 hits, 1 false, 2 missed, 2 rest.
MASK = np.array([[1, 1, 1, 2, 2], [2, 0, 0, 0, 255]], np.uint8)
SALIENT = np.array([[1, 1, 1, 1, 0], [0, 1, 0, 0, 1]], bool)


@pytest.fixture
def view():
    """Two images of other sizes, 1x4 and 3x1, whose masks are MASKS; classes cat and dog."""
    return of_masks(*MASKS)


def frame_of(view, *maps):
    return frames.stack(view, [np.array(each, np.uint8) for each in maps])


def test_confusions_by_hand(view):
    """Rows are the truth, columns the prediction, the last one 255; what lies outside an image never counts."""
    scores = score_masks(view, frame_of(view, [[0, 2, 1, 255]], [[2], [0], [0]]))
    second = [[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]]
    assert scores["confusions"].tolist() == [[[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], second]
    assert scores["with_void"].tolist() == [[[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], second]
    assert scores["confusions"].dtype == np.int32


def test_the_truth_scores_full_marks_and_is_a_frame(view):
    truth = ground_truth(view)["masks"]
    assert truth.shape == (2, 3, 4) and (truth[0, 1:] == 255).all() and (truth[1, :, 1:] == 255).all()
    assert [rows.tolist() for rows in frames.rows_of(view, truth)] == [mask.tolist() for mask in MASKS]
    assert mean_iou(score_masks(view, truth)["confusions"].sum(0)) == 1
    with pytest.raises((DataError, IndexError)):
        score_masks(view, truth[:1])


def test_seeds_are_counted_for_the_strongest_class_only(view):
    """Summed over the confidences: pixels of each class, those it won, and those it won rightly."""
    maps = [np.zeros((2, 1, 4), np.float32), np.zeros((2, 3, 1), np.float32)]
    maps[0][:, 0, 1] = 0.9, 0.4  # cat, rightly
    maps[0][:, 0, 2] = 0.0, 1.0  # on a void pixel: left out
    maps[1][:, 0, 0] = 0.3, 0.7  # dog, rightly
    maps[1][:, 2, 0] = 0.5, 0.0  # cat, on background
    counts = score_seeds(view, maps)
    assert counts.shape[:3] == (2, 3, 3)
    truth, won, hit = counts.sum((0, 3)).tolist()
    assert truth == [2, 1, 3] and won[1:] == [2, 1] and hit[1:] == [1, 1]


def test_salient_pixels_by_hand(view):
    """Counts are right, wrong, missed and rightly empty pixels; void and what lies outside an image are left out."""
    counts = score_saliency(view, frame_of(view, [[1, 1, 1, 0]], [[1], [0], [0]]))["counts"]
    assert counts.tolist() == [[1, 1, 1, 0], [1, 0, 1, 1]]
    mask = np.array([[1, 2, 0, 0, 255, 1]], np.uint8)
    saliency = np.array([[[128, 127, 200, 0, 255, 255]]], np.uint8)
    assert score_salient_pixels(of_masks(mask), saliency)["counts"].tolist() == [[2, 1, 1, 1]]
    assert score_salient_pixels(of_masks(mask), saliency, 1.0)["counts"].tolist() == [[1, 0, 2, 2]]
    for threshold in (0.0, 1.1):
        with pytest.raises(ParameterError, match="salient pixels"):
            score_salient_pixels(of_masks(mask), saliency, threshold)


def test_foreground_scores_by_hand_pooled_and_per_image(recwarn):
    counts = ss.foreground_counts(SALIENT, MASK)
    assert counts.tolist() == [4, 1, 2, 2]
    np.testing.assert_allclose(ss.foreground_precision_recall(counts), [4 / 5, 4 / 6])
    counts = ss.per_image_foreground_counts([SALIENT, MASK > 0, SALIENT & False], [MASK] * 3)
    np.testing.assert_allclose(ss.foreground_iou(counts), [4 / 7, 1, 0])
    assert ss.foreground_iou(counts.sum(0)) == pytest.approx((4 + 6 + 0) / (7 + 6 + 6))
    assert ss.per_image_foreground_counts([], []).shape == (0, 4)
    assert np.isnan(ss.foreground_precision_recall(np.array([0, 0, 0, 5]))).all() and not recwarn.list


def test_good_is_strict_and_leaves_empty_images_out():
    counts = np.array([[6, 2, 2, 0], [61, 20, 19, 0], [0, 0, 0, 9]])
    np.testing.assert_allclose(ss.is_good(counts), [0, 1, np.nan])
    np.testing.assert_allclose(ss.is_good(counts, above=0.59), [1, 1, np.nan])


@pytest.mark.parametrize(("function", "arguments", "message"), [
    (ss.foreground_counts, (np.zeros((2, 5)), MASK), "type float64"),
    (ss.foreground_counts, (SALIENT[:1], MASK), "differ in size"),
    (ss.per_image_foreground_counts, ([SALIENT, SALIENT], [MASK]), "masks end after 1 images"),
])
def test_bad_input(function, arguments, message):
    with pytest.raises(DataError, match=message):
        function(*arguments)
