"""Hierarchical saliency: what is erased, in what order, and what a detector may not do."""

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs

from wsss_lab.data import frames
from wsss_lab.data.canvas import normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import deeplab
from wsss_lab.networks.inference import label_probabilities
from wsss_lab.saliency import hierarchy
from wsss_lab.saliency.hierarchy import THRESHOLDS, erase, hierarchical_saliency, hierarchy_frames, looks
from wsss_lab.saliency.maps import quantise
from wsss_lab.saliency.network import restore_saliency, saliency_frames

PAINT = (123, 117, 104)
SIZES = ((12, 16), (16, 16), (16, 10))


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
    found = erase(image, np.array([[0.0, 0.69, 0.7, 0.71], [1.0, 0.699999, 0.5, 0.9]]), 0.7, PAINT)
    erased = np.array([[0, 0, 1, 1], [1, 0, 0, 1]], bool)
    assert found.dtype == np.uint8
    assert (found[erased] == PAINT).all() and (found[~erased] == image[~erased]).all()
    np.testing.assert_array_equal(image, np.arange(24).reshape(2, 4, 3))  # the caller's image is left alone
    for threshold in (0, -0.1, 1.01, float("nan")):
        with pytest.raises(ParameterError, match="erasing threshold(.|\n)*0.7 and 0.8"):
            erase(image, np.ones((2, 4)), threshold, PAINT)


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
        hierarchical_saliency([np.zeros((4, 4, 3), np.uint8)] * 2, lambda images: maps, THRESHOLDS, PAINT)


def test_a_map_that_a_resize_pushed_a_little_out_of_its_range_is_clipped():
    found = hierarchy.check_saliency(np.array([[-0.0009, 0.5, 1.0009]]), (1, 3), "a")
    assert found.tolist() == [[0, 0.5, 1]]
    with pytest.raises(DataError, match="the saliency of a holds values(.|\n)*divide 8-bit maps by 255"):
        hierarchy.check_saliency(np.array([[1.01]]), (1, 1), "a")


@pytest.fixture(scope="module")
def view():
    return blobs(SIZES).train_view()


def test_frames_of_a_view_are_the_hierarchy_of_each_image(view):
    stored = hierarchy_frames(view, brightest, THRESHOLDS, PAINT)
    maps = hierarchical_saliency(list(frames.images_of(view)), brightest, THRESHOLDS, PAINT)
    assert set(stored) == {"S1", "S2", "S3", "found"} and stored["found"].all()
    for step, expected in zip(("S1", "S2", "S3"), maps):
        assert stored[step].dtype == np.uint8
        expected = frames.stack(view, expected, float, 0)
        np.testing.assert_allclose(stored[step] / 255, expected, atol=0.5 / 255 + 1e-6)


def of_levels(*levels):
    """A detector that gives each of the view's images one value everywhere."""
    return lambda images: [np.full(image.shape[:2], level) for image, level in zip(images, levels, strict=True)]


def test_values_are_the_detectors_own_and_found_says_where_they_reach_a_half(view):
    stored = hierarchy_frames(view, of_levels(0.2, 0.6, 0.5), (0.7,), PAINT)
    assert stored["S2"].max((1, 2)).tolist() == [51, 153, 128]
    assert stored["found"].tolist() == [[False, False], [True, True], [True, True]]
    with pytest.raises(DataError, match="finds nothing in any of the 3 images of tiny/train(.|\n)*detector's weights"):
        hierarchy_frames(view, of_levels(0.49, 0.49, 0.49), THRESHOLDS, PAINT)


def test_the_mean_colour_counts_every_pixel_of_every_image_once(view):
    pixels = np.concatenate([view.image(index).reshape(-1, 3) for index in range(3)])
    np.testing.assert_allclose(hierarchy.mean_colour(view)["colour"], pixels.mean(0), atol=1e-9)


def test_matched_thresholds_erase_the_same_share_at_every_look():
    """A detector whose values are the squares of another one's: the same pixels go at the squares of the thresholds."""
    def squared(images):
        return [found ** 2 for found in brightest(images)]

    images, thresholds = np.stack([image[:12, :10] for image in patches()]), (0.7, 0.4)
    view = TrainView.from_arrays("tiny/dev", ("a",), list("abc"), np.ones((3, 1), bool), images, "none")
    matched = hierarchy.matched_thresholds(view, squared, brightest, thresholds, PAINT)
    own, other = looks(images, brightest, thresholds, PAINT), looks(images, squared, matched, PAINT)
    for latest, rescaled, at, level in zip(own, other, thresholds, matched):
        share = (np.stack(latest) >= np.float32(at)).mean()
        assert 0 < share < 0.5 and (np.stack(rescaled) >= np.float32(level)).mean() == share
        assert (np.stack(rescaled) >= np.float32(level - 0.001)).mean() > share  # no lower one does
    assert matched[0] != matched[1] and matched != list(thresholds)


SCENES = blobs([(32, 32), (24, 32), (40, 28)]).train_view()


@pytest.fixture(scope="module")
def state():
    """A saliency network that knows nothing but has an opinion everywhere."""
    torch.manual_seed(0)
    net, (canvases, _) = deeplab(Backbone.from_settings(BACKBONE), 2), SCENES.canvas(range(3), 32)
    net.classifier.weight.data *= 100
    with torch.no_grad():
        net.classifier.bias -= net(normalise(canvases)).mean((0, 2, 3))
    return net.state_dict()


def test_a_network_finds_what_is_salient_at_image_size(state):
    """Label 1 is what is salient: its probability, and quantised in frames."""
    probabilities = list(label_probabilities(restore_saliency(state, BACKBONE), SCENES, 32))
    expected = frames.stack(SCENES, (quantise(salient) for _, salient in probabilities), fill=0)
    np.testing.assert_array_equal(saliency_frames(SCENES, state, BACKBONE)["maps"], expected)
    for found, (_, salient) in zip(hierarchy.network_detector(state, BACKBONE)(list(frames.images_of(SCENES))),
                                   probabilities, strict=True):
        np.testing.assert_allclose(found, salient, atol=1e-5)


def test_the_hand_crafted_detector_erases_what_a_network_does_at_the_printed_thresholds(state):
    found = hierarchy.unsupervised_thresholds(SCENES, state, THRESHOLDS, PAINT, BACKBONE)["thresholds"]
    network = hierarchy.network_detector(state, BACKBONE)
    assert found == hierarchy.matched_thresholds(SCENES, hierarchy.unsupervised_detector, network, THRESHOLDS, PAINT)
    for stored in (hierarchy.network_hierarchy(SCENES, state, BACKBONE, THRESHOLDS, PAINT),
                   hierarchy.unsupervised_hierarchy(SCENES, THRESHOLDS, PAINT)):
        assert (stored["S1"] <= stored["S2"]).all() and (stored["S2"] <= stored["S3"]).all() and stored["found"].any()
