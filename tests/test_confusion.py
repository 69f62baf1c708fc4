import numpy as np
import pytest
import torch

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.evaluation import confusion as cf

# Target and prediction of ten pixels, K = 4. Class 3 is in neither; one pixel is void; one prediction is 255.
TARGET = np.array([[0, 0, 0, 0, 1], [1, 1, 2, 2, 255]], np.uint8)
PREDICTION = np.array([[0, 0, 0, 1, 1], [1, 255, 2, 0, 2]])
EXPECTED = [[3, 1, 0, 0, 0], [0, 2, 0, 0, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0]]


def random_pair(rng, shape, classes):
    target = rng.integers(0, classes, shape).astype(np.uint8)
    prediction = np.where(rng.random(shape) < 0.5, target, rng.integers(0, classes, shape)).astype(np.uint8)
    target[rng.random(shape) < 0.05] = 255
    return prediction, target


def slow_reference(prediction, target, classes):
    counts = np.zeros((classes, classes + 1), np.int64)
    for p, t in zip(prediction.ravel().tolist(), target.ravel().tolist(), strict=True):
        if t != 255:
            counts[t, p if 0 <= p < classes else classes] += 1
    return counts


def test_hand_case_with_void_absent_class_and_a_prediction_of_255():
    counts = cf.confusion_matrix(PREDICTION, TARGET, 4)
    assert counts.dtype == np.int64
    assert counts.tolist() == EXPECTED
    # background 3 / (4 + 4 - 3), class 1: 2 / (3 + 3 - 2), class 2: 1 / (2 + 1 - 1)
    np.testing.assert_allclose(cf.iou(counts), [3 / 5, 2 / 4, 1 / 2, np.nan])
    assert cf.mean_iou(counts) == pytest.approx((3 / 5 + 1 / 2 + 1 / 2) / 3)


def test_void_as_background_counts_the_void_pixel():
    counts = cf.confusion_matrix(PREDICTION, TARGET, 4, void_as_background=True)
    assert counts[0].tolist() == [3, 1, 1, 0, 0]
    assert counts.sum() == TARGET.size


def test_predicted_class_without_target_counts_as_zero():
    counts = cf.confusion_matrix(np.array([[0, 1]]), np.array([[0, 0]], np.uint8), 3)
    np.testing.assert_allclose(cf.iou(counts), [0.5, 0.0, np.nan])
    assert cf.mean_iou(counts) == 0.25


def test_abstaining_lowers_the_score():
    target = np.array([[0, 0, 1, 1]], np.uint8)
    wrong_left_out = cf.mean_iou(cf.confusion_matrix(np.array([[0, 0, 1, 255]]), target, 2))
    assert wrong_left_out == pytest.approx((1 + 1 / 2) / 2)


@pytest.mark.parametrize("value", [-1, -253, -256, -65536, 4, 255, 256, 100_000])
def test_any_value_that_is_no_class_is_abstained(value):
    counts = cf.confusion_matrix(np.array([[0, value]]), np.zeros((1, 2), np.uint8), 4)
    assert counts[0].tolist() == [1, 0, 0, 0, 1]


@pytest.mark.parametrize("abstained, precision, recall", [
    ("missed", [3 / 4, 2 / 3, 1, np.nan], [3 / 4, 2 / 3, 1 / 2, np.nan]),
    ("background", [3 / 5, 2 / 3, 1, np.nan], [3 / 4, 2 / 3, 1 / 2, np.nan]),
])  # fmt: skip
def test_precision_and_recall_of_labels(abstained, precision, recall):
    found = cf.precision_recall_of_labels(np.array(EXPECTED), abstained)
    np.testing.assert_allclose(found.precision, precision)
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_allclose(found.foreground.precision, (2 / 3 + 1) / 2)
    np.testing.assert_allclose(found.foreground.recall, (2 / 3 + 1 / 2) / 2)


def test_abstained_background_pixels_are_right_under_the_second_convention():
    counts = np.array([[6, 0, 2], [1, 3, 4]])
    found = cf.precision_recall_of_labels(counts, "background")
    np.testing.assert_allclose(found.precision, [8 / 13, 1])
    np.testing.assert_allclose(found.recall, [1, 3 / 8])
    assert counts[0, 0] == 6


# One size below and one above the limit between the two ways of counting.
@pytest.mark.parametrize("shape", [(24, 31), (200, 181)])
@pytest.mark.parametrize("classes", [2, 9, 21])
def test_equals_literal_counting(shape, classes):
    rng = np.random.default_rng(0)
    prediction, target = random_pair(rng, shape, classes)
    prediction[rng.random(shape) < 0.05] = 255
    expected = slow_reference(prediction, target, classes)
    np.testing.assert_array_equal(cf.confusion_matrix(prediction, target, classes), expected)
    np.testing.assert_array_equal(cf.confusion_matrix(prediction.astype(np.int64), target, classes), expected)


@pytest.mark.parametrize("shape", [(7, 20, 30), (3, 200, 181), (0, 4, 4)])
def test_stack_equals_list_of_images(shape):
    prediction, target = random_pair(np.random.default_rng(1), shape, 9)
    single = [cf.confusion_matrix(p, t, 9) for p, t in zip(prediction, target, strict=True)]
    stacked = cf.per_image_confusions(prediction, target, 9)
    listed = cf.per_image_confusions(list(prediction), list(target), 9)
    assert stacked.dtype == listed.dtype == np.int32
    assert stacked.shape == listed.shape == (shape[0], 9, 10)
    np.testing.assert_array_equal(stacked, np.array(single).reshape(-1, 9, 10))
    np.testing.assert_array_equal(stacked, listed)


def test_stack_larger_than_a_chunk(monkeypatch):
    monkeypatch.setattr(cf, "CHUNK_PIXELS", 1000)
    prediction, target = random_pair(np.random.default_rng(2), (5, 20, 20), 4)
    single = [cf.confusion_matrix(p, t, 4) for p, t in zip(prediction, target, strict=True)]
    np.testing.assert_array_equal(cf.confusion_matrix(prediction, target, 4), single)


def test_images_of_different_sizes_from_generators():
    rng = np.random.default_rng(3)
    pairs = [random_pair(rng, shape, 5) for shape in [(10, 12), (30, 8), (9, 9)]]
    counts = cf.per_image_confusions((p for p, _ in pairs), (t for _, t in pairs), 5)
    assert counts.sum((1, 2)).tolist() == [(t != 255).sum() for _, t in pairs]


def test_agrees_with_torchmetrics_and_sklearn():
    from sklearn.metrics import confusion_matrix, jaccard_score
    from torchmetrics.classification import MulticlassJaccardIndex

    prediction, target = random_pair(np.random.default_rng(4), (6, 40, 50), 6)
    counts = cf.per_image_confusions(prediction, target, 6).sum(0)
    kept = target != 255
    np.testing.assert_array_equal(counts[:, :6], confusion_matrix(target[kept], prediction[kept]))
    np.testing.assert_allclose(cf.iou(counts), jaccard_score(target[kept], prediction[kept], average=None))
    reference = MulticlassJaccardIndex(6, ignore_index=255)
    expected = reference(torch.from_numpy(prediction).long(), torch.from_numpy(target).long())
    assert cf.mean_iou(counts) == pytest.approx(float(expected), abs=1e-6)


def test_scores_work_on_stacks_of_matrices():
    prediction, target = random_pair(np.random.default_rng(5), (4, 20, 30), 3)
    counts = cf.per_image_confusions(prediction, target, 3)
    np.testing.assert_allclose(cf.mean_iou(counts), [cf.mean_iou(c) for c in counts])
    found = cf.precision_recall_of_labels(counts, "background")
    single = [cf.precision_recall_of_labels(c, "background") for c in counts]
    np.testing.assert_allclose(found.precision, [s.precision for s in single])


def test_nothing_counted_gives_nan_without_a_warning(recwarn):
    empty = np.zeros((3, 4), np.int64)
    assert np.isnan(cf.mean_iou(empty))
    assert not recwarn.list


@pytest.mark.parametrize("shape", [(4, 4), (200, 181)])
def test_label_outside_the_classes_is_named(shape):
    target = np.zeros(shape, np.uint8)
    target[1, 1] = 7
    with pytest.raises(DataError, match="label 7") as caught:
        cf.confusion_matrix(np.zeros(shape, np.uint8), target, 4)
    assert "0 (background) to 3" in str(caught.value)


@pytest.mark.parametrize("prediction, target", [
    (np.zeros((2, 3), int), np.zeros((3, 2), np.uint8)),
    (np.zeros((2, 3)), np.zeros((2, 3), np.uint8)),
    (np.zeros((2, 3), int), np.zeros((2, 3), np.int64)),
    (np.zeros(3, int), np.zeros(3, np.uint8)),
])  # fmt: skip
def test_wrong_shape_or_type(prediction, target):
    with pytest.raises(DataError):
        cf.confusion_matrix(prediction, target, 2)


def test_other_bad_arguments():
    image = np.zeros((2, 2), np.uint8)
    with pytest.raises(DataError, match="predictions end after 1 images"):
        cf.per_image_confusions([image], [image, image], 2)
    with pytest.raises(DataError, match="masks end after 0 images"):
        cf.per_image_confusions([image], [], 2)
    with pytest.raises(ParameterError, match="classes=255"):
        cf.confusion_matrix(image, image, 255)
    with pytest.raises(ParameterError, match="ignore=-1"):
        cf.confusion_matrix(image, image, 2, ignore=-1)
    with pytest.raises(ParameterError, match="'dropped'"):
        cf.precision_recall_of_labels(np.zeros((2, 3)), "dropped")
    with pytest.raises(DataError, match=r"K \+ 1"):
        cf.iou(np.zeros((3, 3)))
