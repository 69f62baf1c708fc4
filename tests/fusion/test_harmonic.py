"""Algorithm 1 of Chaudhry et al. 2017 against a pixel loop, and what it refuses."""

import math

import numpy as np
import pytest
from tiny_views import of_masks

from wsss_lab.data import frames
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.fusion.harmonic import MEANS, class_specific_pixels, cue_frames, harmonic_mean
from wsss_lab.seeds.attention import attention_maps


def test_zero_on_either_side_is_zero_and_nothing_divides_by_zero():
    with np.errstate(all="raise"):
        found = harmonic_mean(np.array([0.0, 0.0, 1.0, 1e-30]), np.array([0.0, 1.0, 0.0, 0.0]))
    assert found.tolist() == [0, 0, 0, 0]


def scalar_mean(a, s, mean):
    if mean == "arithmetic":
        return (a + s) / 2
    if a == 0 or s == 0:
        return 0.0
    return 2 / (1 / a + 1 / s) if mean == "harmonic" else math.sqrt(a * s)


def pixel_by_pixel(attention, saliency, tags, gamma, mean):
    """Algorithm 1 as it is printed: two loops; the first of equal classes wins."""
    labels = np.zeros(saliency.shape, np.uint8)
    for row, column in np.ndindex(saliency.shape):
        best = 0.0
        for label in np.flatnonzero(tags):
            agreement = scalar_mean(attention[label, row, column], saliency[row, column], mean)
            if agreement >= gamma and agreement > best:
                best, labels[row, column] = agreement, label + 1
    return labels


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("gamma", [0.13, 0.37, 0.7])
def test_algorithm_1_against_a_pixel_loop(mean, gamma):
    """Eighths only, so that ties abound, of which the first wins; no mean of eighths is any gamma."""
    rng = np.random.default_rng(int(100 * gamma))
    for count in range(1, 5):
        tags = np.isin(range(4), rng.choice(4, count, replace=False))
        attention, saliency = rng.integers(0, 9, (4, 9, 7)) / 8 * tags[:, None, None], rng.integers(0, 9, (9, 7)) / 8
        found = class_specific_pixels(attention, saliency, tags, gamma, mean)
        assert found.dtype == np.uint8 and len(np.unique(found)) > 1
        np.testing.assert_array_equal(found, pixel_by_pixel(attention, saliency, tags, gamma, mean))


def test_a_mean_that_equals_gamma_is_foreground():
    """h(1, 0.25) = 0.4, in the single precision of the maps too."""
    for kind in (np.float32, np.float64):
        attention, saliency = np.ones((1, 1, 1), kind), np.full((1, 1), 0.25, kind)
        assert class_specific_pixels(attention, saliency, np.array([True]), 0.4).tolist() == [[1]]
        assert class_specific_pixels(attention, saliency, np.array([True]), 0.401).tolist() == [[0]]


@pytest.mark.parametrize(("bad", "problem"), [
    *(({"gamma": each}, f"gamma={each} is no threshold of Algorithm 1(.|\n)*the paper uses gamma=0.4")
      for each in (0, 1, -0.4, 1.5, float("nan"))),
    ({"mean": "median"}, "mean 'median'(.|\n)*harmonic or geometric or arithmetic"),
    ({"saliency": np.ones((3, 2))}, r"has shape \(3, 2\)"),
    ({"saliency": np.ones((1, 2, 2))}, r"has shape \(1, 2, 2\)"),
    ({"saliency": np.full((2, 2), 255.0)}, "values from 255 to 255"),
    ({"saliency": np.full((2, 2), -0.5)}, "values from -0.5 to -0.5"),
    ({"saliency": np.array([[0.5, np.nan], [0.5, 0.5]])}, "values from nan to nan")])
def test_what_means_nothing_is_refused(bad, problem):
    good = {"attention": np.ones((1, 2, 2)), "saliency": np.ones((2, 2)), "tags": np.array([True])}
    with pytest.raises((DataError, ParameterError), match=problem):
        class_specific_pixels(**good | bad)


SIZES = ((8, 8), (4, 8), (10, 6))
VOLUMES = np.random.default_rng(1).normal(size=(3, 2, 4, 4)).astype(np.float16)


def view_of(tags):
    return of_masks(*(np.zeros(size, np.uint8) for size in SIZES), tags=tags).train_view()


VIEW = view_of([[True, False], [True, True], [False, True]])
SALIENCY = frames.stack(VIEW, (np.random.default_rng(2).integers(0, 250, size, np.uint8) for size in SIZES), fill=0)


@pytest.mark.parametrize("tags", [VIEW.tags, np.array([[False, True], [False, True], [True, False]])])
def test_cues_of_a_view_are_algorithm_1_of_each_image_with_its_or_other_tags(tags):
    found = cue_frames(VIEW, VOLUMES, SALIENCY, side=8, gamma=0.3, tags=tags)["masks"]
    expected = [class_specific_pixels(attention, frames.rows_of(VIEW, SALIENCY)[index] / 255, tags[index], 0.3)
                for index, attention in enumerate(attention_maps(view_of(tags), VOLUMES, 8))]
    np.testing.assert_array_equal(found, frames.stack(VIEW, expected))
    assert all(0 < (each > 0).mean() < 1 for each in expected)
    if tags is VIEW.tags:
        np.testing.assert_array_equal(found, cue_frames(VIEW, VOLUMES, SALIENCY, side=8, gamma=0.3)["masks"])


def test_an_image_without_tags_is_named():
    untagged = view_of([[True, False], [False, False], [False, True]])
    with pytest.raises(DataError, match="image image1: an image without tags(.|\n)*leave the image out"):
        cue_frames(untagged, VOLUMES, SALIENCY, 8, 0.4)
