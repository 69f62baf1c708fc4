import numpy as np
import pytest

from wsss_lab.errors import DataError
from wsss_lab.evaluation import saliency_scores as ss

# Six foreground pixels of two classes, three of background, one void.
MASK = np.array([[1, 1, 1, 2, 2], [2, 0, 0, 0, 255]], np.uint8)
SALIENT = np.array([[1, 1, 1, 1, 0], [0, 1, 0, 0, 1]], bool)  # 4 hits, 1 false, 2 missed, 2 rest


def test_hand_case():
    counts = ss.foreground_counts(SALIENT, MASK)
    assert counts.tolist() == [4, 1, 2, 2]
    assert ss.foreground_iou(counts) == pytest.approx(4 / 7)
    found = ss.foreground_precision_recall(counts)
    assert (found.precision, found.recall) == (pytest.approx(4 / 5), pytest.approx(4 / 6))


def test_pooled_differs_from_per_image():
    full, none = MASK > 0, np.zeros_like(SALIENT)
    counts = ss.per_image_foreground_counts([SALIENT, full, none], [MASK] * 3)
    assert counts.shape == (3, 4)
    np.testing.assert_allclose(ss.foreground_iou(counts), [4 / 7, 1, 0])
    assert ss.foreground_iou(counts.sum(0)) == pytest.approx((4 + 6 + 0) / (7 + 6 + 6))


def test_good_is_strict_and_leaves_empty_images_out():
    counts = np.array([[6, 2, 2, 0], [61, 20, 19, 0], [0, 0, 0, 9]])
    np.testing.assert_allclose(ss.is_good(counts), [0, 1, np.nan])
    np.testing.assert_allclose(ss.is_good(counts, above=0.59), [1, 1, np.nan])


def test_no_images_and_no_foreground(recwarn):
    assert ss.per_image_foreground_counts([], []).shape == (0, 4)
    found = ss.foreground_precision_recall(np.array([0, 0, 0, 5]))
    assert np.isnan(found.precision) and np.isnan(found.recall)
    assert not recwarn.list


def test_bad_input():
    with pytest.raises(DataError, match="type float64"):
        ss.foreground_counts(np.zeros((2, 5)), MASK)
    with pytest.raises(DataError, match="differ in size"):
        ss.foreground_counts(SALIENT[:1], MASK)
    with pytest.raises(DataError, match="masks end after 1 images"):
        ss.per_image_foreground_counts([SALIENT, SALIENT], [MASK])
