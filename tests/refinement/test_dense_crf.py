"""The dense CRF: mean field on dense matrices, present labels alone, what is refused, and labels of a view."""

import sys
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
from tiny_views import blobs

from wsss_lab.data import frames
from wsss_lab.errors import DataError, ParameterError, SetupError
from wsss_lab.refinement.dense_crf import (
    V1,
    V2,
    CrfParameters,
    dense_crf,
    label_frames,
    label_image,
    refine_probabilities,
)


def softmax(x):
    e = np.exp(x - x.max(0))
    return e / e.sum(0)


def two_tone(side=24, noise=4, seed=0):
    """Left half dark, right half bright."""
    rng = np.random.default_rng(seed)
    halves = np.where(np.arange(side)[None, :, None] < side // 2, 60, 190)
    return (halves + rng.normal(0, noise, (side, side, 3))).clip(0, 255).astype(np.uint8)


def mean_field(image, energy, p):
    """Dense matrices instead of the lattice; a pixel also hears itself, as in the lattice."""
    classes, height, width = energy.shape
    y, x = np.mgrid[:height, :width]
    position = np.stack([y, x], -1).reshape(-1, 2).astype(float)
    colour = image.reshape(-1, 3).astype(float)
    far = ((position[:, None] - position[None]) ** 2).sum(-1)
    unlike = ((colour[:, None] - colour[None]) ** 2).sum(-1)

    def normalised(kernel):
        scale = 1 / np.sqrt(kernel.sum(1))
        return scale[:, None] * kernel * scale[None]

    bilateral = np.exp(-far / (2 * p.bilateral_xy**2) - unlike / (2 * p.bilateral_rgb**2))
    spatial = np.exp(-far / (2 * p.spatial_xy**2))
    message = p.bilateral_weight * normalised(bilateral) + p.spatial_weight * normalised(spatial)
    unary = energy.reshape(classes, -1).astype(float)
    q = softmax(-unary)
    for _ in range(p.iterations):
        q = softmax(-unary + q @ message)
    return q.reshape(energy.shape)


def test_scaled_changes_positions_only_and_keeps_a_floor():
    assert V1.scaled(0.5) == CrfParameters(10, 40, 13, 3, 1.5)
    assert V1.scaled(0.1) == CrfParameters(10, 8, 13, 3, 1)
    assert V1.scaled(2).spatial_xy == 6
    narrow = CrfParameters(1, 0.5, 5, 1, 0.5)
    assert narrow.scaled(0.5) == narrow, "a width under the floor is neither shrunk nor raised"
    assert V1.scaled(0.2).scaled(0.25) == V1.scaled(0.05)


@pytest.mark.parametrize("parameters", [V1.scaled(0.1), CrfParameters(4, 12, 13, 3, 3)])
def test_agrees_with_mean_field_on_dense_matrices(parameters):
    rng = np.random.default_rng(3)
    image = two_tone(20, noise=6)
    probabilities = rng.dirichlet(np.ones(3), (20, 20)).transpose(2, 0, 1)
    energy = -np.log(probabilities)
    fast, exact = dense_crf(image, energy, parameters), mean_field(image, energy, parameters)
    assert (fast.argmax(0) == exact.argmax(0)).mean() >= 0.99
    assert (fast.argmax(0) != probabilities.argmax(0)).mean() > 0.1, "the pairwise terms did something"


def test_restricted_to_present_classes_agrees_where_the_others_are_zero():
    rng = np.random.default_rng(4)
    image = two_tone(48, noise=20)
    probabilities = np.zeros((7, 48, 48), dtype=np.float32)
    probabilities[[0, 2, 5]] = rng.dirichlet(np.ones(3), (48, 48)).transpose(2, 0, 1)
    every = refine_probabilities(image, probabilities, V1.scaled(0.2))
    some = refine_probabilities(image, probabilities, V1.scaled(0.2), labels=[5, 0, 2])
    assert (every.argmax(0) == some.argmax(0)).mean() >= 0.999
    assert (some[[1, 3, 4, 6]] == 0).all()
    np.testing.assert_allclose(some.sum(0), 1, atol=1e-5)


def test_takes_read_only_arrays_and_leaves_its_arguments_alone():
    image, probabilities = two_tone(10), np.full((2, 10, 10), 0.5, dtype=np.float32)
    energy = -np.log(probabilities)
    before = energy.copy()
    image.flags.writeable = energy.flags.writeable = False
    dense_crf(image, energy, V2)
    np.testing.assert_array_equal(energy, before)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: dense_crf(np.zeros((4, 4, 3)), np.zeros((2, 4, 4)), V1), "an image of float64"),
    (lambda: dense_crf(np.zeros((4, 4), np.uint8), np.zeros((2, 4, 4)), V1), r"\(4, 4\)"),
    (lambda: dense_crf(two_tone(4), np.zeros((2, 4, 5)), V1), r"\(2, 4, 5\)"),
    (lambda: dense_crf(two_tone(4), np.full((2, 4, 4), np.nan), V1), "finite"),
    *((partial(refine_probabilities, two_tone(4), np.full((2, 4, 4), 0.5), V1, each), "at least one of 0..1")
      for each in ([], [3], [-1, 0])),
    (lambda: CrfParameters(1, 1, 0, 1, 1), "bilateral_rgb is 0"),
    (lambda: CrfParameters(1, 1, 1, -1, 1), "spatial_weight is -1"),
    (lambda: V1.scaled(0), "scaled by 0")])
def test_bad_input_is_named(call, message):
    with pytest.raises((DataError, ParameterError), match=message):
        call()


def test_missing_pydensecrf_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(SetupError, match="pip install pydensecrf2.*C\\+\\+ compiler.*conda-forge"):
        dense_crf(two_tone(4), np.zeros((2, 4, 4)), V1)


SIZES = ((16, 20), (20, 12), (16, 16))
CRF = V1.scaled(0.1)


@pytest.fixture
def view():
    return blobs(SIZES).train_view()


@pytest.fixture
def masks():
    """Noisy masks that don't sum to 1; the second class is nowhere in the first image."""
    rng = np.random.default_rng(0)
    each = [rng.uniform(0, 0.6, (3, *size)).astype(np.float32) for size in SIZES]
    each[0][2] = 0
    return each


def test_without_crf_the_largest_mask_wins_twice(view, masks):
    plain, refined = label_image(view.image(0), masks[0], None)
    np.testing.assert_array_equal(plain, masks[0].argmax(0))
    np.testing.assert_array_equal(refined, plain)
    assert plain.dtype == np.uint8 and set(np.unique(plain)) == {0, 1}


def test_the_crf_takes_masks_divided_by_their_sum_and_no_label_without_a_mask(view, masks):
    for index, kept in ((0, [0, 1]), (1, [0, 1, 2])):
        image, mask = view.image(index), masks[index]
        shares = mask / mask.sum(0)
        plain, refined = label_image(image, mask, CRF)
        expected = refine_probabilities(image, shares[kept], CRF).argmax(0)
        np.testing.assert_array_equal(refined, np.array(kept)[expected])
        np.testing.assert_array_equal(plain, mask.argmax(0))
        assert (plain != refined).any() and refined.dtype == np.uint8


def test_pixels_without_any_mask_are_background(view):
    mask = np.zeros((3, *SIZES[0]), np.float32)
    mask[0, 0, 0] = mask[1, 5, 5] = 0.5
    plain, refined = label_image(view.image(0), mask, CRF)
    assert plain.sum() == 1 and plain[5, 5] == 1
    assert np.isfinite(refined).all() and set(np.unique(refined)) <= {0, 1}


def test_frames_hold_the_labels_of_every_image(view, masks):
    found = label_frames(view, iter(masks), asdict(CRF))
    for index, mask in enumerate(masks):
        plain, refined = label_image(view.image(index), mask, CRF)
        np.testing.assert_array_equal(frames.rows_of(view, found["masks"])[index], plain)
        np.testing.assert_array_equal(frames.rows_of(view, found["refined"])[index], refined)
    assert found["masks"].shape == found["refined"].shape == (3, 20, 20)
    assert (found["masks"][0, 16:] == 255).all() and (found["refined"][1, :, 12:] == 255).all()
