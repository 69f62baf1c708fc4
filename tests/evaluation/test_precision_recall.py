import numpy as np
import pytest

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.evaluation import confusion as cf
from wsss_lab.evaluation import precision_recall as pr

CLASSES = 4


def random_pixels(rng, shape):
    """Confidences on and off the bin edges, winners that are right more often where they are sure."""
    target = rng.integers(0, CLASSES, shape).astype(np.uint8)
    confidence = rng.random(shape).astype(np.float32)
    confidence = np.where(rng.random(shape) < 0.3, np.round(confidence * 16) / 16, confidence)
    right = (rng.random(shape) < confidence) & (target > 0)
    winner = np.where(right, target, rng.integers(1, CLASSES, shape))
    target[rng.random(shape) < 0.1] = 255
    return confidence, winner, target


@pytest.mark.parametrize("with_unclaimed_pixels", [False, True])
def test_one_pass_equals_labelling_the_pixels_anew_at_every_threshold(with_unclaimed_pixels):
    rng = np.random.default_rng(0)
    confidence, winner, target = random_pixels(rng, (40, 50))
    if with_unclaimed_pixels:
        winner = np.where(rng.random(winner.shape) < 0.2, 0, winner)
    swept = pr.sweep(pr.confidence_counts(confidence, winner, target, CLASSES, bins=16))
    literal = [cf.confusion_matrix(np.where((confidence >= i / 16) & (i < 16), winner, 0), target, CLASSES)
               for i in range(17)]
    precision, recall = (np.array(each).T for each in zip(*map(cf.precision_recall_of_labels, literal), strict=True))
    miou = cf.mean_iou(np.array(literal))
    np.testing.assert_allclose(swept.precision, precision)
    np.testing.assert_allclose(swept.recall, recall)
    np.testing.assert_allclose(swept.mean_iou, miou)
    np.testing.assert_allclose(swept.foreground.precision, cf.nan_mean(precision[1:].T)[::-1])
    np.testing.assert_allclose(swept.foreground.recall, recall[1:].mean(0)[::-1])
    threshold, best = swept.best_threshold()
    assert best == miou.max() and miou[round(threshold * 16)] == best


def test_mean_precision_and_area_of_a_drawn_curve():
    """100 object and 100 background pixels: from tau 0.8 down, 27 and 3 of them fire; from 0.1, 96 and 4; at 0 all.

    Foreground, recall and precision: 0.27 and 27/30, 0.96 and 96/100, 1 and 100/200.
    Background, recall and precision: 0.96 and 96/100, 0.97 and 97/170, 1 and 100/200.
    """
    right, wrong = np.zeros((2, 10), int)
    right[[8, 1, 0]], wrong[[8, 1, 0]] = (27, 69, 4), (3, 1, 96)
    counts = np.zeros((3, 2, 10), int)
    counts[pr.TRUTH], counts[pr.WON, 1], counts[pr.HIT, 1] = (wrong, right), right + wrong, right
    assert pr.mean_precision(counts) == pytest.approx((0.9 + 0.96) / 2)
    np.testing.assert_allclose(pr.foreground_precision_at(counts, 0.27), 0.96)  # must exceed, not reach
    np.testing.assert_allclose(pr.foreground_precision_at(counts, 0.5, interpolate=True), 0.9 + 0.06 * 23 / 69)
    assert pr.foreground_area(counts) == pytest.approx(0.9 * 0.27 + (0.9 + 0.96) / 2 * 0.69 + (0.96 + 0.5) / 2 * 0.04)


def test_classes_are_averaged_before_the_level_is_looked_up():
    counts = np.zeros((3, 3, 3), int)
    counts[pr.HIT, 1], counts[pr.HIT, 2] = [7, 0, 3], [3, 1, 0]
    counts[pr.WON, 1], counts[pr.WON, 2] = [13, 0, 4], [4, 2, 0]
    counts[pr.TRUTH, 1:] = [[10, 0, 0], [10, 0, 0]]
    foreground = pr.sweep(counts).foreground
    np.testing.assert_allclose(foreground.recall, [0, 0.15, 0.2, 0.7])
    np.testing.assert_allclose(foreground.precision, [np.nan, 3 / 4, (3 / 4 + 1 / 2) / 2, (10 / 17 + 4 / 6) / 2])
    np.testing.assert_allclose(foreground.precision_at(0.2), (10 / 17 + 4 / 6) / 2)


def test_precision_at_edges_and_area():
    curve = pr.PRCurve(np.array([[np.nan, 0.8, 0.6], [0.5, 0.4, 0.3]]), np.array([[0, 0.5, 0.9], [0.2, 0.3, 0.35]]))
    np.testing.assert_allclose(curve.precision_at(0.25), [0.8, 0.4])
    np.testing.assert_allclose(curve.precision_at(0.25, interpolate=True), [0.8, 0.45])
    np.testing.assert_allclose(curve.precision_at(0.1, interpolate=True), [0.8, 0.5])
    np.testing.assert_allclose(curve.precision_at(0.4), [0.8, np.nan])
    np.testing.assert_allclose(curve.precision_at(0.95, interpolate=True), [np.nan, np.nan])
    assert curve.area()[0] == pytest.approx(0.8 * 0.5 + 0.7 * 0.4)  # 0.8 carried to recall 0, then a trapezoid


def test_counts_of_images_add_up_and_an_absent_class_is_left_out_of_the_means():
    pixels = random_pixels(np.random.default_rng(3), (6, 20, 30))
    counts = pr.per_image_confidence_counts(zip(*pixels, strict=True), CLASSES)
    whole = pr.confidence_counts(*(x.reshape(120, 30) for x in pixels), CLASSES)
    assert counts.dtype == whole.dtype == np.int32
    np.testing.assert_array_equal(counts.sum(0), whole)
    np.testing.assert_allclose(pr.mean_precision(counts), [pr.mean_precision(each) for each in counts])
    more = pr.confidence_counts(*(x.reshape(120, 30) for x in pixels), CLASSES + 3)
    assert pr.mean_precision(more) == pr.mean_precision(whole)
    assert pr.per_image_confidence_counts([], 3).shape == (0, 3, 3, pr.BINS)


@pytest.mark.parametrize(("change", "message"), [({"confidence": np.full((2, 2), 1.5)}, "confidence goes from"),
                                                 ({"confidence": np.full((2, 2), np.nan)}, "confidence goes from"),
                                                 ({"winner": np.full((2, 2), 3)}, "winner goes from"),
                                                 ({"target": np.full((2, 2), 9, np.uint8)}, "labels up to 9"),
                                                 ({"target": np.zeros((2, 2), int)}, "type int64"),
                                                 ({"target": np.zeros((2, 3), np.uint8)}, "do not match")])
def test_bad_input(change, message):
    pixels = {"confidence": np.zeros((2, 2)), "winner": np.ones((2, 2), int), "target": np.zeros((2, 2), np.uint8)}
    with pytest.raises(DataError, match=message):
        pr.confidence_counts(**(pixels | change), classes=3)
    with pytest.raises(ParameterError, match="bins=0"):
        pr.confidence_counts(**pixels, classes=3, bins=0)
    with pytest.raises(DataError, match="counts have shape"):
        pr.sweep(np.zeros((2, 4, 4)))


def literal_average_precision(scores, tags):
    """Sum of precision times gain in recall over the distinct score levels, from high to low."""
    total, recall = 0.0, 0.0
    for level in sorted(set(scores), reverse=True):
        taken = scores >= level
        reached = (tags & taken).sum() / tags.sum()
        total += (reached - recall) * (tags & taken).sum() / taken.sum()
        recall = reached
    return total


def test_average_precision_equals_the_literal_sum_and_sklearn_and_of_a_resample_that_of_the_images_drawn():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    scores, tags = rng.integers(0, 12, (60, 5)) / 4, rng.random((60, 5)) < 0.3
    found = pr.average_precisions(scores, tags)
    np.testing.assert_allclose(found, [literal_average_precision(scores[:, c], tags[:, c]) for c in range(5)])
    np.testing.assert_allclose(found, average_precision_score(tags, scores, average=None))
    weights = rng.integers(0, 3, (4, 60))
    for row, drawn in zip(pr.average_precisions(scores, tags, weights), weights, strict=True):
        taken = np.repeat(np.arange(60), drawn)
        np.testing.assert_allclose(row, pr.average_precisions(scores[taken], tags[taken]))
    unseen = pr.average_precisions(np.eye(2), np.eye(2, dtype=bool), np.array([[0.0, 2.0]]))
    np.testing.assert_array_equal(unseen, [[np.nan, 1.0]])


@pytest.mark.parametrize(("scores", "message"), [(np.zeros((2, 3)), "do not match"),
                                                 (np.full((2, 2), np.nan), "not finite")])
def test_scores_that_cannot_be_ranked_are_refused(scores, message):
    with pytest.raises(DataError, match=message):
        pr.average_precisions(scores, np.ones((2, 2), bool))
