"""The dense CRF: mean field on dense matrices, present labels alone, what is refused, and labels of a view."""

import sys
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
from scipy.special import softmax
from tiny_views import blobs

from wsss_lab.data import frames
from wsss_lab.errors import DataError, ParameterError, SetupError
from wsss_lab.refinement.dense_crf import V1, CrfParameters, dense_crf, label_frames, label_image, refine_probabilities


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
    q = softmax(-unary, 0)
    for _ in range(p.iterations):
        q = softmax(-unary + q @ message, 0)
    return q.reshape(energy.shape)


def test_scaled_changes_positions_only_and_keeps_a_floor():
    assert V1.scaled(0.5) == CrfParameters(10, 40, 13, 3, 1.5)
    assert V1.scaled(0.1) == CrfParameters(10, 8, 13, 3, 1)
    narrow = CrfParameters(1, 0.5, 5, 1, 0.5)
    assert narrow.scaled(0.5) == narrow, "a width under the floor is neither shrunk nor raised"


@pytest.mark.parametrize("parameters", [V1.scaled(0.1), CrfParameters(4, 12, 13, 3, 3)])
def test_agrees_with_mean_field_on_dense_matrices(parameters):
    rng = np.random.default_rng(3)
    image = two_tone(20, noise=6)
    probabilities = rng.dirichlet(np.ones(3), (20, 20)).transpose(2, 0, 1)
    energy = -np.log(probabilities)
    image.flags.writeable = energy.flags.writeable = False  # which the library takes amiss
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


CRF = V1.scaled(0.1)
VIEW = blobs(((16, 20), (20, 12), (16, 16))).train_view()


def test_labels_of_a_view_are_those_of_masks_divided_by_their_sum_and_no_label_without_a_mask_takes_part():
    """The second class is nowhere in the first image; pixels of the last one that no mask has are background."""
    masks = [np.random.default_rng(0).uniform(0, 0.6, (3, *VIEW.size(index))).astype(np.float32) for index in range(3)]
    masks[0][2] = masks[2][:, :8] = 0
    plain, refined = [mask.argmax(0) for mask in masks], []
    for index, kept in enumerate(([0, 1], [0, 1, 2], [0, 1, 2])):
        shares = masks[index] / np.maximum(masks[index].sum(0), 1e-12)
        labels = refine_probabilities(VIEW.image(index), shares[kept], CRF).argmax(0)
        refined.append(np.array(kept)[labels])
        for found, expected in zip(label_image(VIEW.image(index), masks[index], CRF), (plain[index], refined[-1])):
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == np.uint8
    for crf, after in ((asdict(CRF), refined), (None, plain)):
        found = label_frames(VIEW, iter(masks), crf)
        np.testing.assert_array_equal(found["masks"], frames.stack(VIEW, plain))
        np.testing.assert_array_equal(found["refined"], frames.stack(VIEW, after))
    assert all((one != other).any() for one, other in zip(plain, refined)) and not plain[2][:8].any()
