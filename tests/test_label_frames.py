"""Labels from class probabilities, with and without the dense CRF."""

from dataclasses import asdict

import numpy as np
import pytest
from tiny_views import blobs

from wsss_lab.data import frames
from wsss_lab.refinement import dense_crf as module
from wsss_lab.refinement.dense_crf import V1, label_frames, label_image, refine_probabilities

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


def test_labels_without_a_mask_do_not_even_take_part(view, masks, monkeypatch):
    taken = []

    def recorded(image, probabilities, crf, labels):
        taken.append(list(labels))
        return refine_probabilities(image, probabilities, crf, labels)

    monkeypatch.setattr(module, "refine_probabilities", recorded)
    for index in range(3):
        label_image(view.image(index), masks[index], CRF)
    assert taken == [[0, 1], [0, 1, 2], [0, 1, 2]]


def test_the_size_of_the_masks_does_not_matter_to_the_crf(view, masks):
    one, other = (label_image(view.image(1), factor * masks[1], CRF) for factor in (1.0, 0.25))
    np.testing.assert_array_equal(one, other)


def test_pixels_without_any_mask_are_background(view):
    mask = np.zeros((3, *SIZES[0]), np.float32)
    mask[0, 0, 0] = mask[1, 5, 5] = 0.5
    plain, refined = label_image(view.image(0), mask, CRF)
    assert plain.sum() == 1 and plain[5, 5] == 1
    assert np.isfinite(refined).all() and set(np.unique(refined)) <= {0, 1}


def test_one_label_alone_takes_the_whole_image(view):
    mask = np.zeros((3, *SIZES[0]), np.float32)
    mask[0] = 0.4
    plain, refined = label_image(view.image(0), mask, CRF)
    assert not plain.any() and not refined.any()


def test_frames_hold_the_labels_of_every_image(view, masks):
    found = label_frames(view, iter(masks), asdict(CRF))
    for index, mask in enumerate(masks):
        plain, refined = label_image(view.image(index), mask, CRF)
        np.testing.assert_array_equal(frames.rows_of(view, found["masks"])[index], plain)
        np.testing.assert_array_equal(frames.rows_of(view, found["refined"])[index], refined)
    assert found["masks"].shape == found["refined"].shape == (3, 20, 20)
    assert (found["masks"][0, 16:] == 255).all() and (found["refined"][1, :, 12:] == 255).all()


def test_without_crf_both_frames_are_the_same(view, masks):
    found = label_frames(view, masks, None)
    np.testing.assert_array_equal(found["masks"], found["refined"])


def test_masks_for_fewer_images_are_noticed(view, masks):
    with pytest.raises(ValueError, match="shorter"):
        label_frames(view, masks[:2], None)
