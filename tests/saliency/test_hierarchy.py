"""Hierarchical saliency: what is erased, in what order, and what a detector may not do."""

import numpy as np
import pytest
from tiny_views import BACKBONE, blobs, schedule

from wsss_lab.data import frames
from wsss_lab.data.views import TrainView
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.networks.inference import label_probabilities
from wsss_lab.saliency.hierarchy import (
    THRESHOLDS,
    check_saliency,
    erase,
    hierarchical_saliency,
    hierarchy_frames,
    looks,
    matched_thresholds,
    mean_colour,
    network_detector,
    network_hierarchy,
    unsupervised_detector,
    unsupervised_hierarchy,
    unsupervised_thresholds,
)
from wsss_lab.saliency.maps import quantise
from wsss_lab.saliency.network import restore_saliency, saliency_frames, train_saliency

PAINT = (123, 117, 104)
SIZES = ((12, 16), (16, 16), (16, 10))


class Scripted:
    """A detector that gives prepared maps, one list per look, and keeps the images that it was shown."""

    def __init__(self, *looks):
        self.looks, self.shown = list(looks), []

    def __call__(self, images):
        self.shown.append([image.copy() for image in images])
        return self.looks[len(self.shown) - 1]


def brightest(images):
    """A detector that finds what is brightest among what isn't painted over; it reaches 1 as long as anything is."""
    maps = []
    for image in images:
        light = np.where((image == PAINT).all(2), 0.0, image.sum(2))
        maps.append((light / max(light.max(), 1)) ** 3)
    return maps


def patches(seed=0):
    """Images of random grey patches: each look of `brightest` finds other ones."""
    rng = np.random.default_rng(seed)
    grey = [rng.integers(1, 255, (height // 2, width // 2), np.uint8) for height, width in SIZES]
    return [np.repeat(np.kron(each, np.ones((2, 2), np.uint8))[..., None], 3, 2) for each in grey]


def test_exactly_what_reaches_the_threshold_takes_the_mean_colour():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    saliency = np.array([[0.0, 0.69, 0.7, 0.71], [1.0, 0.699999, 0.5, 0.9]])
    found = erase(image, saliency, 0.7, PAINT)
    erased = np.array([[0, 0, 1, 1], [1, 0, 0, 1]], bool)
    assert found.dtype == np.uint8
    assert (found[erased] == PAINT).all() and (found[~erased] == image[~erased]).all()
    np.testing.assert_array_equal(image, np.arange(24).reshape(2, 4, 3))  # the caller's image is left alone


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan")])
def test_a_threshold_that_erases_everything_or_nothing_is_refused(threshold):
    with pytest.raises(ParameterError, match="erasing threshold") as caught:
        erase(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1)), threshold, PAINT)
    assert "0.7 and 0.8" in caught.value.fix


def literal_hierarchy(image, detector, thresholds):
    """The definition, pixel by pixel."""
    image = image.copy()
    last = detector([image])[0]
    steps = [last.copy()]
    for threshold in thresholds:
        for at in np.ndindex(last.shape):
            if last[at] >= threshold:
                image[at] = PAINT
        last = detector([image])[0]
        running = steps[-1].copy()
        for at in np.ndindex(last.shape):
            running[at] = max(running[at], last[at])
        steps.append(running)
    return steps


@pytest.mark.parametrize("thresholds", [(0.7, 0.8), (0.8, 0.5), (0.6,), (0.7, 0.7, 0.7), ()])
def test_the_hierarchy_against_its_definition(thresholds):
    images = patches()
    found = hierarchical_saliency(images, brightest, thresholds, PAINT)
    assert len(found) == len(thresholds) + 1
    for index, image in enumerate(images):
        expected = literal_hierarchy(image, brightest, thresholds)
        for step, maps in zip(found, expected, strict=True):
            assert step[index].dtype == np.float32
            np.testing.assert_allclose(step[index], maps, atol=1e-6)


@pytest.mark.parametrize(("maps", "problem"), [
    ([np.zeros((4, 4)), np.zeros((2, 4))], r"image 1 of the batch has shape \(2, 4\)"),
    ([np.full((4, 4), 200.0), np.zeros((4, 4))], "image 0 of the batch holds values from 200 to 200"),
    ([np.full((4, 4), -1.0), np.zeros((4, 4))], "values from -1 to -1"),
    ([np.zeros((4, 4)), np.full((4, 4), np.nan)], "image 1 of the batch holds values from nan to nan"),
])
def test_maps_of_another_size_or_range_are_refused(maps, problem):
    with pytest.raises(DataError, match=problem):
        hierarchical_saliency([np.zeros((4, 4, 3), np.uint8)] * 2, Scripted(maps), THRESHOLDS, PAINT)


def test_a_map_that_a_resize_pushed_a_little_out_of_its_range_is_clipped():
    found = check_saliency(np.array([[-0.0009, 0.5, 1.0009]]), (1, 3), "a")
    assert found.tolist() == [[0, 0.5, 1]]
    with pytest.raises(DataError, match="the saliency of a holds values") as caught:
        check_saliency(np.array([[1.01]]), (1, 1), "a")
    assert "divide 8-bit maps by 255" in caught.value.fix


@pytest.fixture(scope="module")
def view():
    return blobs(SIZES).train_view()


def test_frames_of_a_view_are_the_hierarchy_of_each_image(view):
    stored = hierarchy_frames(view, brightest, THRESHOLDS, PAINT)
    maps = hierarchical_saliency([view.image(index) for index in range(3)], brightest, THRESHOLDS, PAINT)
    assert set(stored) == {"S1", "S2", "S3", "found"}
    for step, expected in zip(("S1", "S2", "S3"), maps):
        assert stored[step].shape == (3, 16, 16) and stored[step].dtype == np.uint8
        for row, each in zip(frames.rows_of(view, stored[step]), expected):
            np.testing.assert_allclose(row / 255, each, atol=0.5 / 255 + 1e-6)
    assert not stored["S3"][0, 12:].any() and not stored["S3"][2, :, 10:].any()


def test_values_are_the_detectors_own_and_found_says_where_they_reach_a_half(view):
    def faint(images):
        level = {(12, 16): 0.2, (16, 16): 0.6, (16, 10): 0.5}
        return [np.full(image.shape[:2], level[image.shape[:2]]) for image in images]

    stored = hierarchy_frames(view, faint, (0.7,), PAINT)
    assert stored["S2"].max((1, 2)).tolist() == [51, 153, 128]
    assert stored["found"].tolist() == [[False, False], [True, True], [True, True]]


def test_a_detector_that_finds_nothing_anywhere_is_no_detector(view):
    def blind(images):
        return [np.full(image.shape[:2], 0.49) for image in images]

    with pytest.raises(DataError, match="finds nothing in any of the 3 images of tiny/train") as caught:
        hierarchy_frames(view, blind, THRESHOLDS, PAINT)
    assert "detector's weights" in caught.value.fix


def test_the_mean_colour_counts_every_pixel_of_every_image_once(view):
    pixels = np.concatenate([view.image(index).reshape(-1, 3) for index in range(3)])
    np.testing.assert_allclose(mean_colour(view)["colour"], pixels.mean(0), atol=1e-9)


def test_matched_thresholds_erase_the_same_share_at_every_look():
    """A detector whose values are the squares of another one's: the same pixels go at the squares of the thresholds."""
    def squared(images):
        return [found ** 2 for found in brightest(images)]

    images, thresholds = np.stack([image[:12, :10] for image in patches()]), (0.7, 0.4)
    view = TrainView.from_arrays("tiny/dev", ("a",), list("abc"), np.ones((3, 1), bool), images, "none")
    matched = matched_thresholds(view, squared, brightest, thresholds, PAINT)
    own, other = looks(images, brightest, thresholds, PAINT), looks(images, squared, matched, PAINT)
    for latest, rescaled, at, level in zip(own, other, thresholds, matched):
        share = (np.stack(latest) >= np.float32(at)).mean()
        assert 0 < share < 0.5 and (np.stack(rescaled) >= np.float32(level)).mean() == share
        assert (np.stack(rescaled) >= np.float32(level - 0.001)).mean() > share  # no lower one does
    assert matched[0] != matched[1] and matched != list(thresholds)


@pytest.fixture(scope="module")
def saliency_network(start):
    """A saliency network that has learnt the blobs of a view."""
    scenes = blobs([(32, 32)] * 4)
    images = np.stack([scenes.image(index) for index in range(4)])
    masks = np.stack([scenes.mask(index) > 0 for index in range(4)]).astype(np.uint8)
    return train_saliency(images, masks, start, BACKBONE, schedule(80), seed=0)["state"]


def test_a_trained_network_finds_objects_at_image_size(saliency_network):
    scenes = blobs([(32, 32), (24, 32), (40, 28)])
    maps = network_detector(saliency_network, BACKBONE)([scenes.image(index) for index in range(3)])
    for index, found in enumerate(maps):
        inside = scenes.mask(index) > 0
        assert found.shape == scenes.size(index) and found.min() >= 0 and found.max() <= 1
        assert found[inside].mean() > found[~inside].mean() + 0.2


def test_frames_of_the_network_are_its_probabilities_of_saliency(saliency_network):
    view = blobs(((32, 32), (16, 32), (40, 24))).train_view()
    maps = saliency_frames(view, saliency_network, BACKBONE)["maps"]
    probabilities = label_probabilities(restore_saliency(saliency_network, BACKBONE), view, 32)
    for found, expected in zip(frames.rows_of(view, maps), probabilities, strict=True):
        np.testing.assert_array_equal(found, quantise(expected[1]))  # label 1 is what is salient


def test_every_detector_gives_a_hierarchy_that_never_falls(saliency_network):
    scenes = blobs([(32, 32), (24, 32)]).train_view()
    for stored in (network_hierarchy(scenes, saliency_network, BACKBONE, THRESHOLDS, PAINT),
                   unsupervised_hierarchy(scenes, THRESHOLDS, PAINT)):
        assert (stored["S1"] <= stored["S2"]).all() and (stored["S2"] <= stored["S3"]).all()
        assert stored["found"].shape == (2, 3) and stored["found"].all()


def test_the_hand_crafted_detector_erases_what_the_network_does_at_the_printed_thresholds(saliency_network):
    scenes = blobs([(32, 32), (24, 32)]).train_view()
    found = unsupervised_thresholds(scenes, saliency_network, THRESHOLDS, PAINT, BACKBONE)["thresholds"]
    network = network_detector(saliency_network, BACKBONE)
    assert found == matched_thresholds(scenes, unsupervised_detector, network, THRESHOLDS, PAINT)
    assert len(found) == 2 and all(0 < each <= 1 for each in found)
