"""Measurements of Lee et al. 2021: salient pixels of maps, objects of images, and the toy world of many objects."""

import numpy as np
import pytest
import torch
from tiny_views import make_view

from wsss_lab.data.toyvoc import CLASSES, Knobs, make_scenes
from wsss_lab.data.views import EvalView
from wsss_lab.errors import ContractError
from wsss_lab.papers.lee2021.route import LEAST, MANY, object_facts, salient_halves
from wsss_lab.seeds.saliency_supervision import HALF

torch.set_num_threads(1)


def view_of(*masks):
    return make_view([np.zeros((*mask.shape, 3), np.uint8) for mask in masks], masks)


def empty(height=100, width=100):
    return np.zeros((height, width), np.uint8)


# --- salient pixels --------------------------------------------------------------------------------------------------


def test_pixels_above_one_half_are_salient():
    maps = np.array([[[0, 127], [128, 255]]], np.uint8)
    found = salient_halves(view_of(empty(2, 2)).train_view(), maps)
    assert set(found) == {"masks"} and found["masks"].dtype == np.uint8
    assert found["masks"].tolist() == [[[0, 0], [1, 1]]]


def test_salient_are_the_values_that_the_map_selection_takes_for_salient():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    expected = [value / np.float32(255) > HALF for value in range(256)]
    found = salient_halves(view_of(empty(16, 16)).train_view(), values)["masks"]
    assert found.ravel().tolist() == expected


def test_nothing_is_salient_outside_of_an_image():
    """A frame of two images of different sizes, full of the largest value."""
    view = view_of(empty(2, 3), empty(3, 2)).train_view()
    found = salient_halves(view, np.full((2, 3, 3), 255, np.uint8))["masks"]
    assert found.tolist() == [[[1, 1, 1], [1, 1, 1], [0, 0, 0]], [[1, 1, 0], [1, 1, 0], [1, 1, 0]]]


def test_a_map_is_not_stretched_before_it_is_halved():
    """Unlike the salient pixels of Oh et al. 2017, which are relative to the maximum of the image."""
    maps = np.full((1, 4, 4), 100, np.uint8)
    assert not salient_halves(view_of(empty(4, 4)).train_view(), maps)["masks"].any()


# --- objects ---------------------------------------------------------------------------------------------------------


def test_objects_are_counted_and_measured_by_hand():
    """A cat of 400 and one of 200 pixels, and a dog of 300 that touches the first: three objects of 10000 pixels."""
    mask = empty()
    mask[:20, :20], mask[:20, 20:35], mask[50:60, 50:70] = 1, 2, 1
    facts = object_facts(view_of(mask))
    assert facts["objects"].tolist() == [3] and facts["objects"].dtype == np.int64
    assert facts["area"] == pytest.approx([0.03]) and facts["area"].dtype == np.float64


def test_an_object_of_two_parts_that_touch_at_a_corner_is_one():
    mask = empty()
    mask[:10, :10] = mask[10:20, 10:20] = 1
    facts = object_facts(view_of(mask))
    assert facts["objects"].tolist() == [1] and facts["area"] == pytest.approx([0.02])


def test_specks_are_no_objects():
    assert LEAST == 0.002
    masks = [empty(), empty()]
    masks[0][0, :19] = masks[1][0, :20] = 1  # of 10000 pixels, 20 are 0.2 %
    assert object_facts(view_of(*masks))["objects"].tolist() == [0, 1]


def test_images_without_an_object_have_no_mean_area():
    """Neither has one of void alone; the others keep their own."""
    void, cat = empty(), empty()
    void[20:60, 20:60] = 255
    cat[:, :50] = 1
    facts = object_facts(view_of(empty(), void, cat))
    assert facts["objects"].tolist() == [0, 0, 1]
    assert np.isnan(facts["area"]).tolist() == [True, True, False] and facts["area"][2] == 0.5


def test_areas_are_shares_of_their_own_image():
    small, large = empty(20, 30), empty(200, 300)
    small[:10, :30] = large[:100, :300] = 2
    assert object_facts(view_of(small, large))["area"].tolist() == [0.5, 0.5]


def test_objects_are_read_from_masks():
    with pytest.raises(ContractError, match="pixel labels of tiny/train were touched"):
        object_facts(view_of(empty()).guarded())


# --- the world of many objects ---------------------------------------------------------------------------------------


def test_the_world_of_many_objects_shows_more_and_smaller_ones():
    facts = []
    for knobs in (Knobs(), Knobs(**dict(MANY))):
        scenes = make_scenes(64, 0, knobs)
        names = [str(number) for number in range(64)]
        facts.append(object_facts(EvalView.from_arrays("toy", CLASSES, names, scenes["tags"], scenes["images"],
                                                       "generator", masks=scenes["masks"])))
    usual, many = facts
    assert many["objects"].mean() > 1.5 * usual["objects"].mean()
    assert np.nanmean(many["area"]) < 0.6 * np.nanmean(usual["area"])
