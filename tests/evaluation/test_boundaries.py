"""Boundaries of label maps against those of the ground truth, by hand."""

import itertools

import numpy as np
import pytest
from tiny_views import drawn, of_masks

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.evaluation import boundaries
from wsss_lab.evaluation.boundaries import boundary_counts, boundary_scores, edges, matches, reference_edges
from wsss_lab.lab.published import published


def square(top, left, side=20, size=64, label=1):
    mask = np.zeros((size, size), np.uint8)
    mask[top:top + side, left:left + side] = label
    return mask


def halves(first, width=64, height=3):
    """Label 1 from column `first` on."""
    return np.repeat((np.arange(width) >= first).astype(np.uint8)[None], height, 0)


def test_edges_are_where_the_laplacian_of_some_labels_indicator_is_not_zero():
    labels = np.random.default_rng(0).choice(np.array([0, 0, 0, 1, 2, 255], np.uint8), (12, 9))
    expected = np.zeros(labels.shape, bool)
    for label in np.unique(labels):
        inside = np.pad((labels == label).astype(int), 1, mode="edge")
        around = inside[:-2, 1:-1] + inside[2:, 1:-1] + inside[1:-1, :-2] + inside[1:-1, 2:]
        expected |= around - 4 * inside[1:-1, 1:-1] != 0
    assert np.array_equal(edges(labels), expected) and not expected.all()


@pytest.mark.parametrize(("function", "arguments", "error", "told"), [
    *((edges, (labels,), DataError, "labels") for labels in (np.zeros((3, 3), int), np.zeros((2, 3, 3), np.uint8))),
    (reference_edges, (np.zeros((3, 3), int), 1), DataError, "mask"),
    (boundary_counts, (np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8), 0.02), DataError, "do not match"),
    *((boundaries.tolerance_pixels, ((10, 10), share), ParameterError, "of the diagonal")
      for share in (0, -0.1, 1, 2, float("nan")))])
def test_bad_input(function, arguments, error, told):
    with pytest.raises(error, match=told):
        function(*arguments)


def test_a_line_of_void_leaves_an_edge_in_its_middle_and_void_inside_a_region_none():
    found, undecided = reference_edges(drawn("000vv11 000vv11"), depth=1)
    assert found[0].tolist() == [False, False, False, True, True, False, False] and not undecided.any()
    assert not reference_edges(drawn("0000 0vv0 0000"), depth=5)[0].any()
    found, undecided = reference_edges(np.full((4, 4), 255, np.uint8), depth=100)
    assert not found.any() and undecided.all()


def test_deep_in_void_there_are_no_edges_and_nothing_is_decided():
    mask = np.full((5, 20), 255, np.uint8)
    mask[:, :5], mask[:, 15:] = 0, 1
    found, undecided = reference_edges(mask, depth=3)
    assert not found.any()
    assert undecided[2].nonzero()[0].tolist() == [8, 9, 10, 11]
    found, undecided = reference_edges(mask, depth=5)
    assert found[2].nonzero()[0].tolist() == [9, 10] and not undecided.any()


def largest_matching(near):
    """Literal: try all partners, the last of them "no partner", for one pixel after the other."""
    if not len(near):
        return 0
    best = largest_matching(near[1:])
    for partner in near[0].nonzero()[0]:
        rest = near[1:].copy()
        rest[:, partner] = False
        best = max(best, 1 + largest_matching(rest))
    return best


@pytest.mark.parametrize("seed", range(8))
def test_matches_agree_with_trying_all_pairings(seed):
    rng = np.random.default_rng(seed)
    found, reference = rng.random((2, 6, 6)) < 0.2
    ours, theirs = np.argwhere(found), np.argwhere(reference)
    distance = np.linalg.norm(ours[:, None] - theirs[None], axis=-1)
    for tolerance in (1, 1.5, 1.9, 2):
        assert matches(found, reference, tolerance) == largest_matching(distance <= tolerance)


def test_the_mask_itself_is_perfect_and_undecided_labels_count_as_background():
    """4 x 20 pixels around the square and 4 x 19 on its rim."""
    mask, partly = square(10, 12), square(10, 12)
    partly[50:60] = 255
    for prediction, share in itertools.product((mask, partly, np.where(mask == 0, np.uint8(255), mask)), (0.0075, 0.1)):
        counts = boundary_counts(prediction, mask, share)
        assert counts.tolist() == [156] * 3 and counts.dtype == np.int64
    assert [float(score) for score in boundary_scores(counts)] == [1, 1, 1]
    empty = np.zeros((64, 64), np.uint8)  # finds nothing, or has nothing to find
    assert boundary_counts(empty, mask, 0.02).tolist() == [0, 0, 156]
    assert boundary_counts(mask, empty, 0.02).tolist() == [0, 156, 0]


@pytest.mark.parametrize(("shift", "tolerance", "matched"),
                         [(1, 1, 6), (2, 1, 3), (2, 2, 6), (5, 1, 0), (5, 3.9, 0), (5, 4, 3), (5, 5, 6), (0, 1, 6)])
def test_a_straight_boundary_counts_up_to_the_tolerance_and_half_a_pixel_further(shift, tolerance, matched):
    """Two columns of 3 pixels each; shifted by one pixel more than the tolerance, the nearer column still matches."""
    counts = boundary_counts(halves(20 + shift), halves(20), tolerance / np.hypot(3, 64) + 1e-12)
    assert counts.tolist() == [matched, 6, 6]


def test_a_void_band_is_forgiven_within_the_tolerance_and_what_is_found_deep_in_void_is_left_out():
    mask = halves(20)
    mask[:, 18:22] = 255
    share = 2 / np.hypot(*mask.shape) + 1e-12
    for first in (18, 20, 22):
        assert boundary_counts(halves(first), mask, share).tolist() == [6, 6, 6]
    assert boundary_counts(halves(24), mask, share).tolist() == [0, 6, 6]
    mask = np.zeros((40, 40), np.uint8)
    mask[5:35, 5:35] = 255
    assert boundary_counts(square(15, 15, side=8, size=40), mask, 0.02).tolist() == [0, 0, 0]
    outside = square(0, 0, side=3, size=40)
    assert boundary_counts(outside, mask, 0.02).tolist() == [0, edges(outside).sum(), 0]


def test_f1_of_the_printed_recall_and_precision_is_the_printed_one():
    table = published("lee2021", "table1")
    recall, precision = (10 * table[f"boundary_{name}_pct"].to_numpy() for name in ("recall", "precision"))
    counts = np.stack([recall * precision, 1000 * recall, 1000 * precision], -1).round().astype(np.int64)
    scores = boundary_scores(counts)
    np.testing.assert_allclose(1000 * scores.recall, recall)
    np.testing.assert_allclose(1000 * scores.precision, precision)
    np.testing.assert_array_equal((100 * scores.f1).round(1), table["boundary_f1_pct"])
    assert table["boundary_f1_pct"].tolist() == [27.5, 42.5, 45.9, 65.9]


def test_scores_that_are_not_defined_are_nan():
    scores = boundary_scores(np.array([[0, 0, 5], [0, 5, 0], [0, 0, 0]]))
    np.testing.assert_array_equal(scores.recall, [0, np.nan, np.nan])
    np.testing.assert_array_equal(scores.precision, [np.nan, 0, np.nan])
    np.testing.assert_array_equal(scores.f1, [0, 0, np.nan])


def test_images_of_a_view_are_counted_in_their_own_corner_for_every_tolerance():
    masks = [square(4, 4, side=8, size=30), halves(20, width=40, height=10)]
    view = of_masks(*masks)
    frame = np.full((2, 30, 40), 255, np.uint8)
    frame[0, :30, :30], frame[1, :10, :40] = square(4, 6, side=8, size=30), masks[1]
    counts = boundaries.score_boundaries(view, frame, [0.0075, 0.05])["counts"]
    assert counts.shape == (2, 2, 3) and counts.dtype == np.int64
    for index, share in itertools.product(range(2), range(2)):
        height, width = masks[index].shape
        expected = boundary_counts(frame[index, :height, :width], masks[index], [0.0075, 0.05][share])
        assert counts[index, share].tolist() == expected.tolist()
    assert counts[0, 0, 0] < counts[0, 1, 0] == counts[0, 1, 2] and counts[1, 0].tolist() == [20] * 3
