"""Which objects of a mask are found, and how thin, fragmented and large they are, by hand."""

import numpy as np
import pytest
from tiny_views import drawn, of_masks

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.evaluation.object_recall import FOUND, count_found, object_areas, object_recall, score_objects
from wsss_lab.evaluation.shapes import area_share, elongation, perimeter, pieces, score_shapes, shape_counts

MASK = drawn("1110002 1110002 0000000 11000v2 00000vv")
#: 255 on the first row of the largest object, all of the second, half of the third.
SALIENCY = 255 * drawn("1110001 0000001 0000000 1000011 0000001")


def sizes(mask, share=0.0):
    return [int(each.sum()) for each in object_areas(mask, share)]


def test_objects_are_the_separate_regions_of_one_class_largest_first():
    assert sizes(MASK) == [6, 2, 2, 1] and not any(each[MASK == 255].any() for each in object_areas(MASK))
    assert np.array_equal(object_areas(MASK)[0], np.pad(np.ones((2, 3), bool), ((0, 3), (0, 4))))
    assert sizes(drawn("100 010 001")) == [3] and sizes(drawn("112 112 222")) == [5, 4]  # corners join, classes don't
    assert sizes(drawn("11v1")) == [2, 1] and sizes(drawn("000")) == sizes(drawn("vvv")) == []
    assert [len(sizes(MASK, share)) for share in (0.0, 0.057, 0.058, 0.2)] == [4, 3, 1, 0]  # 2 of 35 pixels: 5.7 %


def test_found_pixels_by_hand():
    counts = count_found(SALIENCY, MASK, threshold=0.5, min_area=0.05)
    # The second and the third are equally large.
    assert [counts[0].tolist(), *sorted(counts[1:].tolist())] == [[3, 6], [1, 2], [2, 2]] and counts.dtype == np.int64
    row = drawn("1110110101")
    assert count_found(255 * (row > 0), row, 0.5, 0.0).tolist() == [[3, 3], [2, 2], [1, 1]]
    assert count_found(255 * (row > 0), drawn("1110000000"), 0.5, 0.0).tolist() == [[3, 3], [0, 0], [0, 0]]
    levels = np.array([[127, 128, 255]], np.uint8)
    assert [count_found(levels, drawn("111"), threshold, 0.0)[0, FOUND] for threshold in (0.5, 1.0)] == [2, 1]


def test_images_of_a_view_are_counted_in_their_own_corner():
    saliency = np.full((2, 5, 7), 255, np.uint8)
    saliency[0], saliency[1, 0, 0] = SALIENCY, 0
    scored = score_objects(of_masks(MASK, drawn("20 22")), saliency, min_area=0.05)
    assert scored["counts"].shape == (2, 3, 2) and scored["objects"].tolist() == [3, 1]
    assert scored["counts"][0].tolist() == count_found(SALIENCY, MASK, 0.5, 0.05).tolist()
    assert scored["counts"][1].tolist() == [[2, 3], [0, 0], [0, 0]]
    mask = np.zeros((20, 20), np.uint8)
    mask[0, 0], mask[5:, 5:] = 1, 2  # 1 of 400 pixels is less than the default of half a per cent
    scored = score_objects(of_masks(mask), np.zeros((1, 20, 20), np.uint8))
    assert scored["objects"].tolist() == [1] and scored["counts"][0].tolist() == [[0, 225], [0, 0], [0, 0]]


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan")])
def test_a_threshold_that_means_nothing_is_refused(threshold):
    with pytest.raises(ParameterError, match="of salient pixels"):
        score_objects(of_masks(MASK), SALIENCY[None], threshold)


def test_recall_is_pooled_over_images_for_each_seed_and_unknown_without_objects():
    counts = np.zeros((2, 2, 3, 2), int)
    counts[0, 0, 0], counts[0, 1, 0], counts[0, 1, 1] = (3, 6), (1, 2), (2, 8)
    counts[1] = 1
    np.testing.assert_array_equal(object_recall(counts), [[0.5, 0.25, np.nan], [1, 1, 1]])


def mask_of(*boxes, side=40):
    """Boxes (label, top, left, height, width) on background."""
    mask = np.zeros((side, side), np.uint8)
    for label, top, left, height, width in boxes:
        mask[top:top + height, left:left + width] = label
    return mask


def test_perimeter_counts_the_border_of_the_image_and_of_holes():
    ring = np.ones((3, 3), bool)
    assert perimeter(ring) == 12
    ring[1, 1] = False
    assert perimeter(ring) == 16


def test_elongation_is_1_for_squares_grows_with_length_and_is_weighted_by_area():
    for n in (4, 8):
        counts = shape_counts(mask_of((1, 0, 0, n, n), (2, 20, 0, 2, 2 * n)), 2, 0.0)[None]
        np.testing.assert_allclose(elongation(counts), [1, (n + 1) ** 2 / (4 * n)])
    counts = shape_counts(mask_of((1, 0, 0, 10, 10), (1, 20, 0, 2, 20)), 1)[None]
    np.testing.assert_allclose(elongation(counts), [(100 * 1 + 40 * 44**2 / 16 / 40) / 140])
    with pytest.raises(DataError, match="shape counts have shape"):
        elongation(np.zeros((4, 5)))


def test_pieces_and_area_are_means_over_the_images_that_show_the_class_without_specks_and_void():
    masks = [mask_of((1, 0, 0, 10, 10), (1, 20, 20, 10, 10)), mask_of((1, 0, 0, 8, 20)), mask_of((2, 0, 0, 4, 4))]
    counts = score_shapes(of_masks(*masks))["counts"]
    assert counts.shape == (3, 2, 5)
    np.testing.assert_allclose(pieces(counts), [1.5, 1])
    np.testing.assert_allclose(area_share(counts), [(200 + 160) / 2 / 1600, 16 / 1600])
    counts = shape_counts(mask_of((1, 0, 0, 10, 10), (1, 30, 30, 2, 2), (2, 30, 0, 2, 2), (255, 20, 0, 10, 10)), 2)
    assert counts.tolist() == [[100, 1600, 1, 1, 100 / 1600], [0] * 5]
    assert np.isnan(elongation(counts[None])[1]) and np.isnan(pieces(counts[None])[1])
