"""Background taken for objects, and classes that an image doesn't show."""

import numpy as np

from wsss_lab.evaluation.co_occurrence import extra_classes, false_positives
from wsss_lab.evaluation.confusion import confusion_matrix
from wsss_lab.evaluation.intervals import ratio

CLASSES = 4


def confusions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random predictions, masks with void and few classes, and their confusions."""
    rng = np.random.default_rng(0)
    predictions = rng.choice([0, 0, 0, 1, 2, 3, 255], (30, 3, 4))
    masks = rng.choice(np.array([0, 0, 1, 255], np.uint8), (30, 3, 4))
    return predictions, masks, confusion_matrix(predictions, masks, CLASSES)


def test_false_positives_agree_with_counting_pixels():
    predictions, masks, counts = confusions()
    objects = (predictions > 0) & (predictions < CLASSES)
    expected = [[(objects & (masks == 0))[i].sum(), (masks[i] == 0).sum()] for i in range(len(masks))]
    np.testing.assert_array_equal(false_positives(counts), expected)


def test_their_ratio_is_a_share_of_the_background_and_nan_without_one():
    counts = np.array([[[3, 1, 0], [0, 0, 0]], [[0, 0, 0], [2, 2, 0]]])
    np.testing.assert_array_equal(ratio(false_positives(counts)), [0.25, np.nan])


def test_extra_classes_agree_with_sets_of_labels():
    predictions, masks, counts = confusions()
    expected = []
    for prediction, mask in zip(predictions, masks):
        known = mask != 255
        expected.append(len(set(prediction[known].tolist()) - set(mask[known].tolist()) - {0, 255}))
    np.testing.assert_array_equal(extra_classes(counts), expected)
    assert len(set(expected)) > 1
    assert extra_classes(np.array([[0, 0, 0], [2, 1, 0]])) == 0  # background is no object
