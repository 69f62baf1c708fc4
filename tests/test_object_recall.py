"""Recall of the largest, the second and the third object, by hand."""

import numpy as np
import pytest
from tiny_views import make_view

from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.object_recall import AREA, FOUND, count_found, object_areas, object_recall, score_objects


def drawn(text):
    """A mask or a map from rows of digits; v is void."""
    return np.array([[255 if sign == "v" else int(sign) for sign in row] for row in text.split()], np.uint8)


MASK = drawn("""
    1110002
    1110002
    0000000
    11000v2
    00000vv
""")
#: 255 on the first row of the largest object, all of the second, half of the third.
SALIENCY = 255 * drawn("""
    1110001
    0000001
    0000000
    1000011
    0000001
""")


def view_of(*masks):
    return make_view([np.zeros((*mask.shape, 3), np.uint8) for mask in masks], masks)


# --- objects ---------------------------------------------------------------------------------------------------------


def test_objects_are_the_separate_regions_of_one_class_largest_first():
    found = object_areas(MASK)
    assert [int(each.sum()) for each in found] == [6, 2, 2, 1]
    assert np.array_equal(found[0], np.pad(np.ones((2, 3), bool), ((0, 3), (0, 4))))
    assert not any(each[MASK == 255].any() for each in found)


def test_regions_that_touch_at_a_corner_are_one_object_and_those_of_two_classes_are_not():
    assert [int(each.sum()) for each in object_areas(drawn("100 010 001"))] == [3]
    assert [int(each.sum()) for each in object_areas(drawn("112 112 222"))] == [5, 4]


def test_void_between_two_parts_keeps_them_apart():
    assert [int(each.sum()) for each in object_areas(drawn("11v1"))] == [2, 1]


def test_regions_below_the_smallest_share_are_no_objects():
    """2 of 35 pixels are 5.7 %."""
    assert [len(object_areas(MASK, share)) for share in (0.0, 0.057, 0.058, 0.2)] == [4, 3, 1, 0]
    assert object_areas(np.zeros((3, 3), np.uint8)) == [] == object_areas(np.full((3, 3), 255, np.uint8))


# --- counts ----------------------------------------------------------------------------------------------------------


def test_found_pixels_by_hand():
    counts = count_found(SALIENCY, MASK, threshold=0.5, min_area=0.05)
    assert counts.dtype == np.int64
    ranks = [counts[0].tolist(), *sorted(counts[1:].tolist())]  # the second and the third are equally large
    assert ranks == [[3, 6], [1, 2], [2, 2]]
    assert count_found(SALIENCY, MASK, 0.5, 0.2).tolist() == [[0, 0]] * 3


def test_the_fourth_object_is_left_out_and_missing_ones_are_zeros():
    row = drawn("1110110101")
    assert count_found(255 * (row > 0), row, 0.5, 0.0).tolist() == [[3, 3], [2, 2], [1, 1]]
    assert count_found(255 * (row > 0), drawn("1110000000"), 0.5, 0.0).tolist() == [[3, 3], [0, 0], [0, 0]]


def test_a_pixel_is_salient_from_the_threshold_on():
    levels = np.array([[127, 128, 255]], np.uint8)
    found = [count_found(levels, np.ones((1, 3), np.uint8), threshold, 0.0)[0].tolist() for threshold in (0.5, 1.0)]
    assert found == [[2, 3], [1, 3]]


# --- a view ----------------------------------------------------------------------------------------------------------


def test_images_of_a_view_are_counted_in_their_own_corner():
    small = drawn("20 22")
    view = view_of(MASK, small)
    saliency = np.full((2, 5, 7), 255, np.uint8)
    saliency[0] = SALIENCY
    saliency[1, 0, 0] = 0
    scored = score_objects(view, saliency, min_area=0.05)
    assert scored["counts"].shape == (2, 3, 2) and scored["objects"].tolist() == [3, 1]
    assert scored["counts"][0].tolist() == count_found(SALIENCY, MASK, 0.5, 0.05).tolist()
    assert scored["counts"][1].tolist() == [[2, 3], [0, 0], [0, 0]]


def test_a_single_pixel_of_a_large_image_is_no_object():
    mask = np.zeros((20, 20), np.uint8)
    mask[0, 0], mask[5:, 5:] = 1, 2  # 1 of 400 pixels is less than the default of half a per cent
    scored = score_objects(view_of(mask), np.zeros((1, 20, 20), np.uint8))
    assert scored["objects"].tolist() == [1] and scored["counts"][0].tolist() == [[0, 225], [0, 0], [0, 0]]


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan")])
def test_a_threshold_that_means_nothing_is_refused(threshold):
    with pytest.raises(ParameterError, match="of salient pixels"):
        score_objects(view_of(MASK), SALIENCY[None], threshold)


# --- recall ----------------------------------------------------------------------------------------------------------


def test_recall_is_pooled_over_images_and_unknown_without_objects():
    counts = np.zeros((2, 3, 2), int)
    counts[0, 0], counts[1, 0], counts[1, 1] = (3, 6), (1, 2), (2, 8)
    recall = object_recall(counts)
    assert recall[:2].tolist() == [0.5, 0.25] and np.isnan(recall[2])
    assert (FOUND, AREA) == (0, 1)


def test_seeds_keep_their_own_recall():
    counts = np.ones((4, 2, 3, 2), int)
    counts[1, ..., FOUND] = 0
    assert object_recall(counts).tolist() == [[1] * 3, [0] * 3, [1] * 3, [1] * 3]
