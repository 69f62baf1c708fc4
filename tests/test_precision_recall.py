import numpy as np
import pytest

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.evaluation import confusion as cf
from wsss_lab.evaluation import precision_recall as pr

CLASSES = 4


def random_pixels(rng, shape, classes=CLASSES):
    """Confidences on and off the bin edges, winners that are right more often where they are sure."""
    target = rng.integers(0, classes, shape).astype(np.uint8)
    confidence = rng.random(shape).astype(np.float32)
    confidence = np.where(rng.random(shape) < 0.3, np.round(confidence * 16) / 16, confidence)
    right = (rng.random(shape) < confidence) & (target > 0)
    winner = np.where(right, target, rng.integers(1, classes, shape))
    target[rng.random(shape) < 0.1] = 255
    return confidence, winner, target


def swept_literally(confidence, winner, target, classes, bins):
    """Precision and recall (K, T) and mean IoU (T,) by labelling the pixels anew at every threshold."""
    precision, recall, miou = [], [], []
    for i in range(bins + 1):
        fires = (confidence >= i / bins) & (i < bins)
        label = np.where(fires, winner, 0)
        counts = cf.confusion_matrix(label, target, classes)
        found = cf.precision_recall_of_labels(counts)
        precision.append(found.precision)
        recall.append(found.recall)
        miou.append(cf.mean_iou(counts))
    return np.array(precision).T, np.array(recall).T, np.array(miou)


@pytest.mark.parametrize("with_unclaimed_pixels", [False, True])
def test_one_pass_equals_a_literal_sweep(with_unclaimed_pixels):
    rng = np.random.default_rng(0)
    confidence, winner, target = random_pixels(rng, (40, 50))
    if with_unclaimed_pixels:
        winner = np.where(rng.random(winner.shape) < 0.2, 0, winner)
    swept = pr.sweep(pr.confidence_counts(confidence, winner, target, CLASSES, bins=16))
    precision, recall, miou = swept_literally(confidence, winner, target, CLASSES, 16)
    np.testing.assert_allclose(swept.precision, precision)
    np.testing.assert_allclose(swept.recall, recall)
    np.testing.assert_allclose(swept.mean_iou, miou)
    np.testing.assert_allclose(swept.foreground.precision, cf.nan_mean(precision[1:].T)[::-1])
    np.testing.assert_allclose(swept.foreground.recall, recall[1:].mean(0)[::-1])
    np.testing.assert_allclose(swept.of_class(2).precision, precision[2, ::-1])
    threshold, best = swept.best_threshold()
    assert best == miou.max() and miou[round(threshold * 16)] == best


def test_hand_case():
    # Two classes with one map; four bins, thresholds 0, 1/4, 1/2, 3/4, 1.
    confidence = np.array([[1.0, 0.5, 0.3, 0.1, 0.6]])
    target = np.array([[1, 0, 1, 0, 255]], np.uint8)
    counts = pr.confidence_counts(confidence, np.ones((1, 5), int), target, 2, bins=4)
    assert counts[pr.TRUTH].tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]
    assert counts[pr.WON].tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert counts[pr.HIT].tolist() == [[0, 0, 0, 0], [0, 1, 0, 1]]
    swept = pr.sweep(counts)
    np.testing.assert_allclose(swept.precision[1], [2 / 4, 2 / 3, 1 / 2, 1, np.nan])
    np.testing.assert_allclose(swept.recall[1], [1, 1, 1 / 2, 1 / 2, 0])
    np.testing.assert_allclose(swept.precision[0], [np.nan, 1, 1 / 2, 2 / 3, 2 / 4])
    np.testing.assert_allclose(swept.recall[0], [0, 1 / 2, 1 / 2, 1, 1])


def counts_of_drawn_curve():
    """Ten bins, 100 object pixels and 100 background pixels.

    From tau 0.8 down, 27 object and 3 background pixels fire; from 0.1 down, 96 and 4; at 0 all of them.
    """
    right = np.zeros(10, int)
    wrong = np.zeros(10, int)
    right[[8, 1, 0]] = 27, 69, 4
    wrong[[8, 1, 0]] = 3, 1, 96
    counts = np.zeros((3, 2, 10), int)
    counts[pr.TRUTH] = wrong, right
    counts[pr.WON, 1] = right + wrong
    counts[pr.HIT, 1] = right
    return counts


def test_mean_precision_of_a_drawn_curve():
    # Foreground, recall and precision: 0.27 and 27/30, 0.96 and 96/100, 1 and 100/200.
    # Background, recall and precision: 0.96 and 96/100, 0.97 and 97/170, 1 and 100/200.
    counts = counts_of_drawn_curve()
    swept = pr.sweep(counts)
    np.testing.assert_allclose(swept.foreground.precision_at(0.2), 0.9)
    np.testing.assert_allclose(swept.background.precision_at(0.8), 0.96)
    assert pr.mean_precision(counts) == pytest.approx((0.9 + 0.96) / 2)
    np.testing.assert_allclose(pr.foreground_precision_at(counts, 0.27), 0.96)  # must exceed, not reach
    np.testing.assert_allclose(
        pr.foreground_precision_at(counts, 0.5, interpolate=True), 0.9 + 0.06 * 23 / 69
    )


def test_classes_are_averaged_before_the_level_is_looked_up():
    # Class 1 reaches recall 0.2 early and class 2 late; their mean exceeds it at the third point only.
    recall = np.array([[0.3, 0.3, 1.0], [0.0, 0.1, 0.4]])
    precision = np.array([[1.0, 0.9, 0.5], [0.8, 0.6, 0.4]])
    mean = pr.PRCurve(precision.mean(0), recall.mean(0))
    assert mean.precision_at(0.2) == pytest.approx(0.45)
    counts = np.zeros((3, 3, 3), int)
    counts[pr.HIT, 1], counts[pr.HIT, 2] = [7, 0, 3], [3, 1, 0]
    counts[pr.WON, 1], counts[pr.WON, 2] = [13, 0, 4], [4, 2, 0]
    counts[pr.TRUTH, 1:] = [[10, 0, 0], [10, 0, 0]]
    foreground = pr.sweep(counts).foreground
    np.testing.assert_allclose(foreground.recall, [0, 0.15, 0.2, 0.7])
    np.testing.assert_allclose(
        foreground.precision, [np.nan, 3 / 4, (3 / 4 + 1 / 2) / 2, (10 / 17 + 4 / 6) / 2]
    )
    np.testing.assert_allclose(foreground.precision_at(0.2), (10 / 17 + 4 / 6) / 2)


def test_precision_at_edges():
    curve = pr.PRCurve(
        np.array([[np.nan, 0.8, 0.6], [0.5, 0.4, 0.3]]), np.array([[0, 0.5, 0.9], [0.2, 0.3, 0.35]])
    )
    np.testing.assert_allclose(curve.precision_at(0.25), [0.8, 0.4])
    np.testing.assert_allclose(curve.precision_at(0.25, interpolate=True), [0.8, 0.45])
    np.testing.assert_allclose(curve.precision_at(0.1, interpolate=True), [0.8, 0.5])
    np.testing.assert_allclose(curve.precision_at(0.4), [0.8, np.nan])
    np.testing.assert_allclose(curve.precision_at(0.95, interpolate=True), [np.nan, np.nan])


def test_area():
    # 0.8 carried to recall 0, then a trapezoid from 0.8 to 0.6 over 0.4 of recall.
    curve = pr.PRCurve(np.array([np.nan, 0.8, 0.6]), np.array([0, 0.5, 0.9]))
    assert curve.area() == pytest.approx(0.8 * 0.5 + 0.7 * 0.4)
    assert pr.foreground_area(counts_of_drawn_curve()) == pytest.approx(
        0.9 * 0.27 + (0.9 + 0.96) / 2 * 0.69 + (0.96 + 0.5) / 2 * 0.04
    )


def test_perfect_maps_have_full_mean_precision_and_area():
    target = np.random.default_rng(1).integers(0, CLASSES, (20, 20)).astype(np.uint8)
    counts = pr.confidence_counts((target > 0).astype(np.float32), np.maximum(target, 1), target, CLASSES)
    assert pr.mean_precision(counts) == 1
    assert pr.foreground_area(counts) == 1
    assert pr.sweep(counts).mean_iou[1:-1].min() == 1


def test_interpolation_agrees_with_the_first_point_rule_on_fine_bins():
    counts = pr.confidence_counts(*random_pixels(np.random.default_rng(2), (200, 200)), CLASSES)
    assert pr.mean_precision(counts) == pytest.approx(float(pr.mean_precision(counts, True)), abs=0.01)


@pytest.mark.parametrize("chunk", [1, 2000, 1 << 20])
def test_counts_of_images_add_up(monkeypatch, chunk):
    monkeypatch.setattr(pr, "CHUNK_PIXELS", chunk)
    confidence, winner, target = random_pixels(np.random.default_rng(3), (6, 20, 30))
    stacked = pr.confidence_counts(confidence, winner, target, CLASSES, bins=8)
    listed = pr.per_image_confidence_counts(zip(confidence, winner, target, strict=True), CLASSES, bins=8)
    assert stacked.dtype == listed.dtype == np.int32
    np.testing.assert_array_equal(stacked, listed)
    whole = pr.confidence_counts(*(x.reshape(120, 30) for x in (confidence, winner, target)), CLASSES, bins=8)
    np.testing.assert_array_equal(stacked.sum(0), whole)
    assert pr.mean_precision(stacked).shape == (6,)
    np.testing.assert_allclose(pr.mean_precision(stacked), [pr.mean_precision(c) for c in listed])


def test_absent_class_is_left_out_of_the_means():
    confidence, winner, target = random_pixels(np.random.default_rng(4), (30, 30))
    few = pr.confidence_counts(confidence, winner, target, CLASSES)
    many = pr.confidence_counts(confidence, winner, target, CLASSES + 3)
    assert pr.mean_precision(few) == pr.mean_precision(many)


def test_no_images():
    assert pr.per_image_confidence_counts([], 3, bins=4).shape == (0, 3, 3, 4)
    empty = np.zeros((0, 5, 5))
    assert pr.confidence_counts(empty, empty, empty.astype(np.uint8), 3, bins=4).shape == (0, 3, 3, 4)


@pytest.mark.parametrize("change, message", [
    ({"confidence": np.full((2, 2), 1.5)}, "confidence goes from"),
    ({"confidence": np.full((2, 2), np.nan)}, "confidence goes from"),
    ({"winner": np.full((2, 2), 3)}, "winner goes from"),
    ({"target": np.full((2, 2), 9, np.uint8)}, "labels up to 9"),
    ({"target": np.zeros((2, 2), int)}, "type int64"),
    ({"target": np.zeros((2, 3), np.uint8)}, "do not match"),
])  # fmt: skip
def test_bad_input(change, message):
    pixels = {
        "confidence": np.zeros((2, 2)),
        "winner": np.ones((2, 2), int),
        "target": np.zeros((2, 2), np.uint8),
    }
    with pytest.raises(DataError, match=message):
        pr.confidence_counts(**(pixels | change), classes=3)


def test_bad_parameters_and_counts():
    image = np.zeros((2, 2), np.uint8)
    with pytest.raises(ParameterError, match="bins=0"):
        pr.confidence_counts(image, image, image, 3, bins=0)
    with pytest.raises(DataError, match="counts have shape"):
        pr.sweep(np.zeros((2, 4, 4)))
