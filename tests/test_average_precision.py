import numpy as np
import pytest

from wsss_lab.errors import DataError
from wsss_lab.evaluation.precision_recall import (
    average_precisions,
    map_interval,
    mean_average_precision,
    weighted_average_precisions,
)


def literal(scores, tags):
    """Sum of precision times gain in recall over the distinct score levels, from high to low."""
    total, recall = 0.0, 0.0
    for level in sorted(set(scores), reverse=True):
        taken = scores >= level
        reached = (tags & taken).sum() / tags.sum()
        total += (reached - recall) * (tags & taken).sum() / taken.sum()
        recall = reached
    return total


def test_hand_case():
    # Ranked: right, wrong, right. Precision 1 at recall 1/2, then 2/3 at recall 1.
    scores = np.array([[3.0], [2.0], [1.0]])
    tags = np.array([[1], [0], [1]], bool)
    np.testing.assert_allclose(average_precisions(scores, tags), [(1 + 2 / 3) / 2])


def test_equal_scores_are_one_level():
    np.testing.assert_allclose(
        average_precisions(np.zeros((4, 1)), np.array([[1], [0], [0], [1]], bool)), [0.5]
    )


def test_equals_the_literal_sum_with_ties():
    rng = np.random.default_rng(0)
    scores, tags = rng.integers(0, 12, (60, 5)) / 4, rng.random((60, 5)) < 0.3
    expected = [literal(scores[:, c], tags[:, c]) for c in range(5)]
    np.testing.assert_allclose(average_precisions(scores, tags), expected)
    assert mean_average_precision(scores, tags) == pytest.approx(np.mean(expected))


def test_class_without_images_is_left_out(recwarn):
    scores, tags = np.array([[0.9, 0.3], [0.1, 0.2]]), np.array([[1, 0], [0, 0]], bool)
    np.testing.assert_allclose(average_precisions(scores, tags), [1, np.nan])
    assert mean_average_precision(scores, tags) == 1
    assert not recwarn.list


@pytest.mark.parametrize("scores, message", [
    (np.zeros((2, 3)), "do not match"),
    (np.full((2, 2), np.nan), "not finite"),
])  # fmt: skip
def test_bad_input(scores, message):
    with pytest.raises(DataError, match=message):
        average_precisions(scores, np.ones((2, 2), bool))


def test_a_resample_scores_as_the_images_that_were_drawn():
    rng = np.random.default_rng(1)
    scores, tags = rng.integers(0, 9, (20, 3)) / 4, rng.random((20, 3)) < 0.4
    weights = rng.integers(0, 3, (4, 20))
    found = weighted_average_precisions(scores, tags, weights)
    for row, drawn in zip(found, weights):
        taken = np.repeat(np.arange(20), drawn)
        np.testing.assert_allclose(row, average_precisions(scores[taken], tags[taken]))


def test_a_class_that_was_not_drawn_has_no_value(recwarn):
    found = weighted_average_precisions(np.eye(2), np.eye(2, dtype=bool), np.array([[0.0, 2.0]]))
    np.testing.assert_array_equal(found, [[np.nan, 1.0]])
    assert not recwarn


def test_the_interval_lies_around_the_mean_over_seeds():
    rng = np.random.default_rng(2)
    tags = rng.random((40, 3)) < 0.4
    scores = tags + rng.normal(size=(2, 40, 3))
    found = map_interval(scores, tags, replicates=200)
    assert found.mean == pytest.approx(np.mean([mean_average_precision(each, tags) for each in scores]))
    assert found.low < found.mean < found.high and found.covers == "images and seeds"
    certain = map_interval(np.stack([tags, tags]), tags, replicates=20)
    assert (certain.low, certain.mean, certain.high) == (1, 1, 1)
