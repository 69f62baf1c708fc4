"""The dial of saliency quality: each kind of damage by hand, against literal references, and how its amount acts."""

import numpy as np
import pytest
from tiny_views import of_masks

from wsss_lab.data import frames
from wsss_lab.data.components import components
from wsss_lab.errors import ParameterError
from wsss_lab.saliency.dial import damaged, dial_frames


def generator(seed=0):
    return np.random.default_rng(seed)


def box(size, top, left, height, width):
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def ragged(seed, size=(24, 31)):
    """An irregular mask with several components."""
    smooth = generator(seed).normal(size=size).cumsum(0).cumsum(1)
    return smooth > np.median(smooth)


@pytest.mark.parametrize(("kind", "amount"), [
    ("oracle", 0), ("eroded", 0), ("blurred", 0), ("noisy", 0), ("oracle", 0.3), ("oracle", 1)])
def test_without_any_amount_every_kind_is_the_foreground_and_the_oracle_always(kind, amount):
    np.testing.assert_array_equal(damaged(ragged(2), kind, amount, generator()), ragged(2))
    assert not damaged(ragged(2), "none", amount, generator()).any()


def test_unknown_kinds_and_amounts_are_refused():
    for kind, amount, message in (("dilated", 0.1, "'dilated'(.|\n)*one of oracle, eroded, blurred, noisy, none"),
                                  *(("eroded", each, "amount is") for each in (-0.01, 1.01, float("nan")))):
        with pytest.raises(ParameterError, match=message):
            dial_frames(of_masks(np.zeros((4, 4), np.uint8)), kind, amount, seed=0)


@pytest.mark.parametrize("amount", [0.04, 0.06, 0.09, 0.2])
def test_erosion_is_that_by_a_disc(amount):
    mask, radius = ragged(5), amount * 24
    rows, columns = np.mgrid[:24, :31]
    expected = np.zeros_like(mask)
    for row, column in np.argwhere(mask):
        disc = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
        expected[row, column] = mask[disc].all()
    np.testing.assert_array_equal(damaged(mask, "eroded", amount, generator()), expected)


def test_objects_are_not_eroded_from_the_border_of_the_image():
    mask = box((20, 20), 0, 0, 20, 10)
    np.testing.assert_array_equal(damaged(mask, "eroded", 0.1, generator()), box((20, 20), 0, 0, 20, 8))
    assert damaged(np.ones((5, 5), bool), "eroded", 1.0, generator()).all()


def test_a_blurred_point_is_a_gaussian_of_the_width_asked_for():
    mask = box((40, 60), 20, 30, 1, 1)
    rows, columns = np.mgrid[-20:20, -30:30]
    width = 2.0  # 0.05 of the shorter side, 40
    expected = np.exp(-(rows**2 + columns**2) / (2 * width**2)) / (2 * np.pi * width**2)
    np.testing.assert_allclose(damaged(mask, "blurred", 0.05, generator()), expected, atol=2e-5)


def test_noise_misses_the_expected_share_of_objects_and_puts_as_many_elsewhere():
    """100 objects of 5x5 pixels in a corner of 200x200 pixels."""
    mask, missed = np.zeros((200, 200), bool), []
    mask[:100, :100] = np.kron(np.ones((10, 10), bool), box((10, 10), 2, 2, 5, 5))
    objects, _ = components(mask)
    for seed in range(8):
        found = damaged(mask, "noisy", 0.3, generator(seed)) > 0
        kept = np.bincount(objects[found], minlength=101)[1:]
        assert set(kept) == {0, 25}  # an object is missed as a whole or not at all
        false, false_count = components(found & ~mask)
        assert false_count == (kept == 0).sum()
        assert set(np.bincount(false.ravel())[1:]) == {21}  # the pixels of a disc with radius sqrt(25 / pi) = 2.8
        assert components(found)[1] == 100  # false ones touch neither objects nor each other
        missed.append((kept == 0).mean())
    assert np.mean(missed) == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / 800))


def test_noise_cuts_what_does_not_fit_and_adds_nothing_without_background():
    mask = np.ones((20, 20), bool)
    mask[:, 15:] = False
    found = damaged(mask, "noisy", 1.0, generator()) > 0
    assert found.any() and not (found & mask).any()
    assert not damaged(np.ones((8, 8), bool), "noisy", 1.0, generator()).any()


@pytest.fixture
def view():
    """Three images of different sizes with objects of two classes and void pixels."""
    masks = [np.zeros(size, np.uint8) for size in ((40, 50), (30, 64), (40, 50))]
    for mask in masks:
        mask[5:12, 5:12], mask[5:12, 20:27], mask[20:27, 5:12] = 1, 2, 1
        mask[15, :] = 255
    return of_masks(*masks)


def test_frames_are_not_stretched_to_their_maximum_and_void_is_no_foreground(view):
    expected = [damaged(np.isin(view.mask(index), (1, 2)), "blurred", 0.2, generator()) for index in range(3)]
    assert all(0 < each.max() < 0.5 for each in expected)
    np.testing.assert_array_equal(dial_frames(view, "blurred", 0.2, seed=0)["maps"],
                                  frames.stack(view, (np.round(each * 255) for each in expected), fill=0))


def test_frames_follow_the_seed_and_the_image_alone(view):
    found = dial_frames(view, "noisy", 0.5, seed=3)["maps"]
    assert not np.array_equal(found, dial_frames(view, "noisy", 0.5, seed=4)["maps"])
    assert not np.array_equal(found[0], found[2])  # the same mask, drawn for on its own
    np.testing.assert_array_equal(found[:2], dial_frames(view.subset([0, 1]), "noisy", 0.5, seed=3)["maps"])
