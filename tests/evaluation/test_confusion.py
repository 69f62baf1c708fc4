import numpy as np
import pytest

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.evaluation import confusion as cf

# Target and prediction of ten pixels, K = 4. Class 3 is in neither; one pixel is void; one prediction is 255.
TARGET = np.array([[0, 0, 0, 0, 1], [1, 1, 2, 2, 255]], np.uint8)
PREDICTION = np.array([[0, 0, 0, 1, 1], [1, 255, 2, 0, 2]])
EXPECTED = [[3, 1, 0, 0, 0], [0, 2, 0, 0, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
IMAGE = np.zeros((2, 2), np.uint8)


def random_pair(rng, shape, classes):
    target = rng.integers(0, classes, shape).astype(np.uint8)
    prediction = np.where(rng.random(shape) < 0.5, target, rng.integers(0, classes, shape)).astype(np.uint8)
    target[rng.random(shape) < 0.05] = 255
    return prediction, target


def test_hand_case_with_void_absent_class_and_a_prediction_of_255():
    counts = cf.confusion_matrix(PREDICTION, TARGET, 4)
    assert counts.dtype == np.int64 and counts.tolist() == EXPECTED
    # background 3 / (4 + 4 - 3), class 1: 2 / (3 + 3 - 2), class 2: 1 / (2 + 1 - 1)
    np.testing.assert_allclose(cf.iou(counts), [3 / 5, 2 / 4, 1 / 2, np.nan])
    assert cf.mean_iou(counts) == pytest.approx((3 / 5 + 1 / 2 + 1 / 2) / 3)
    with_void = cf.confusion_matrix(PREDICTION, TARGET, 4, void_as_background=True)
    assert with_void.tolist() == [[3, 1, 1, 0, 0], *EXPECTED[1:]]
    found = cf.precision_recall_of_labels(counts)
    np.testing.assert_allclose(found.precision, [3 / 4, 2 / 3, 1, np.nan])
    np.testing.assert_allclose(found.recall, [3 / 4, 2 / 3, 1 / 2, np.nan])
    np.testing.assert_allclose(found.foreground, [(2 / 3 + 1) / 2, (2 / 3 + 1 / 2) / 2])


def test_a_predicted_class_that_is_absent_counts_as_zero_and_so_does_abstaining():
    counts = cf.confusion_matrix(np.array([[0, 1]]), np.array([[0, 0]], np.uint8), 3)
    np.testing.assert_allclose(cf.iou(counts), [0.5, 0.0, np.nan])
    assert cf.mean_iou(counts) == 0.25
    abstained = cf.confusion_matrix(np.array([[0, 0, 1, 255]]), np.array([[0, 0, 1, 1]], np.uint8), 2)
    assert cf.mean_iou(abstained) == pytest.approx((1 + 1 / 2) / 2)


@pytest.mark.parametrize("value", [-1, -253, -256, -65536, 4, 255, 256, 100_000])
def test_any_value_that_is_no_class_is_abstained(value):
    counts = cf.confusion_matrix(np.array([[0, value]]), np.zeros((1, 2), np.uint8), 4)
    assert counts[0].tolist() == [1, 0, 0, 0, 1]


@pytest.mark.parametrize("classes", [2, 21, 254])
def test_equals_literal_counting(classes):
    rng = np.random.default_rng(0)
    prediction, target = random_pair(rng, (24, 31), classes)
    prediction[rng.random(prediction.shape) < 0.05] = 255
    expected = np.zeros((classes, classes + 1), np.int64)
    for p, t in zip(prediction.ravel().tolist(), target.ravel().tolist(), strict=True):
        if t != 255:
            expected[t, min(p, classes)] += 1
    np.testing.assert_array_equal(cf.confusion_matrix(prediction, target, classes), expected)
    np.testing.assert_array_equal(cf.confusion_matrix(prediction.astype(np.int64), target, classes), expected)


def test_images_of_different_sizes_are_counted_apart_and_scored_as_a_stack():
    rng = np.random.default_rng(3)
    pairs = [random_pair(rng, shape, 5) for shape in [(10, 12), (30, 8), (9, 9)]]
    counts = cf.per_image_confusions((p for p, _ in pairs), (t for _, t in pairs), 5)
    assert counts.dtype == np.int32 and cf.per_image_confusions([], [], 5).shape == (0, 5, 6)
    np.testing.assert_array_equal(counts, [cf.confusion_matrix(p, t, 5) for p, t in pairs])
    np.testing.assert_allclose(cf.mean_iou(counts), [cf.mean_iou(each) for each in counts])
    np.testing.assert_allclose(cf.precision_recall_of_labels(counts).precision,
                               [cf.precision_recall_of_labels(each).precision for each in counts])


def test_agrees_with_torchmetrics_and_sklearn():
    import torch
    from sklearn.metrics import confusion_matrix, jaccard_score
    from torchmetrics.classification import MulticlassJaccardIndex

    prediction, target = random_pair(np.random.default_rng(4), (60, 50), 6)
    counts = cf.confusion_matrix(prediction, target, 6)
    kept = target != 255
    np.testing.assert_array_equal(counts[:, :6], confusion_matrix(target[kept], prediction[kept]))
    np.testing.assert_allclose(cf.iou(counts), jaccard_score(target[kept], prediction[kept], average=None))
    expected = MulticlassJaccardIndex(6, ignore_index=255)(*(torch.from_numpy(each).long()
                                                             for each in (prediction, target)))
    assert cf.mean_iou(counts) == pytest.approx(float(expected), abs=1e-6)


def test_nothing_counted_gives_nan_without_a_warning(recwarn):
    assert np.isnan(cf.mean_iou(np.zeros((3, 4), np.int64))) and not recwarn.list


@pytest.mark.parametrize(("function", "arguments", "error", "message"), [
    (cf.confusion_matrix, (IMAGE, IMAGE + 7, 4), DataError, r"label 7(.|\n)*0 \(background\) to 3"),
    (cf.confusion_matrix, (np.zeros((2, 3), int), np.zeros((3, 2), np.uint8), 2), DataError, "do not match"),
    (cf.confusion_matrix, (np.zeros(3, int), np.zeros(3, np.uint8), 2), DataError, "do not match"),
    (cf.confusion_matrix, (IMAGE / 2, IMAGE, 2), DataError, "prediction has type float64"),
    (cf.confusion_matrix, (IMAGE, IMAGE.astype(int), 2), DataError, "target has type int64"),
    (cf.confusion_matrix, (IMAGE, IMAGE, 255), ParameterError, "classes=255"),
    (cf.per_image_confusions, ([IMAGE], [IMAGE, IMAGE], 2), DataError, "predictions end after 1 images"),
    (cf.per_image_confusions, ([IMAGE], [], 2), DataError, "masks end after 0 images"),
    (cf.iou, (np.zeros((3, 3)),), DataError, r"K \+ 1"),
])
def test_bad_input(function, arguments, error, message):
    with pytest.raises(error) as caught:
        function(*arguments)
    caught.match(message)
