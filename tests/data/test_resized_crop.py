"""Resized crops and colour jitter: the law of the crops, labels that move along, colours against their definition."""

import colorsys
import math

import numpy as np
import pytest
import torch

from wsss_lab.data import resized_crop
from wsss_lab.data.resized_crop import crop_and_jitter, crop_boxes, jitter_colours, jitter_factors

torch.set_num_threads(1)
LUMA = torch.tensor([0.299, 0.587, 0.114])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(count=2, height=9, width=7):
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator(9))


@pytest.fixture
def plain_colours(monkeypatch):
    """Crops without jitter."""
    monkeypatch.setattr(resized_crop, "JITTER", 0.0)
    monkeypatch.setattr(resized_crop, "HUE", 0.0)


@pytest.fixture
def whole_images(monkeypatch):
    """Crops that are the whole of a square image."""
    monkeypatch.setattr(resized_crop, "AREA", (1.0, 1.0))
    monkeypatch.setattr(resized_crop, "ASPECT", (1.0, 1.0))


# --- crops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 64), (64, 50)])
def test_crops_have_the_areas_and_aspects_of_the_law_and_lie_inside(height, width):
    top, left, tall, wide = crop_boxes(3000, height, width, generator()).unbind(1)
    assert (top >= 0).all() and (left >= 0).all() and (top + tall <= 1 + 1e-6).all() and (left + wide <= 1 + 1e-6).all()
    area, aspect = tall * wide, (wide * width) / (tall * height)
    whole = area == 1
    assert (area[~whole] >= 0.9 - 1e-5).all() and (area <= 1 + 1e-5).all()
    assert (aspect[~whole] >= 3 / 4 - 1e-5).all() and (aspect[~whole] <= 4 / 3 + 1e-5).all()


def sides_of_a_crop(rng, height, width):
    """Uniform area and log-uniform aspect, drawn again up to ten times until both sides fit."""
    for _ in range(10):
        area, aspect = rng.uniform(0.9, 1.0), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        tall, wide = math.sqrt(area / aspect * width / height), math.sqrt(area * aspect * height / width)
        if tall <= 1 and wide <= 1:
            return tall, wide
    return 1.0, 1.0


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 50)])
def test_sides_are_distributed_as_by_a_rejection_loop(height, width):
    rng = np.random.default_rng(0)
    expected = np.array([sides_of_a_crop(rng, height, width) for _ in range(4000)])
    found = crop_boxes(4000, height, width, generator())[:, 2:].numpy()
    for mine, others in zip(found.T, expected.T):
        quantiles = [0.05, 0.25, 0.5, 0.75]
        np.testing.assert_allclose(np.quantile(mine, quantiles), np.quantile(others, quantiles), atol=4e-3)
    assert (found == 1).all(1).mean() == pytest.approx((expected == 1).all(1).mean(), abs=0.025)  # the whole image


def test_places_are_uniform_in_the_room_that_is_left():
    boxes = crop_boxes(4000, 64, 64, generator())
    for axis in (0, 1):
        room = 1 - boxes[:, 2 + axis]
        place = (boxes[:, axis] / room)[room > 1e-3].numpy()
        np.testing.assert_allclose(np.quantile(place, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.04)
    assert abs(torch.corrcoef(boxes[:, :2].T)[0, 1]) < 0.2


def test_the_whole_image_is_taken_where_no_crop_fits():
    """An image five times as wide as high has no crop of 90 % of its area with an aspect up to 4/3."""
    assert crop_boxes(5, 10, 50, generator()).tolist() == [[0, 0, 1, 1]] * 5


def test_a_whole_image_is_not_resampled(whole_images, plain_colours):
    images, labels = noise(6, 8, 8), torch.randint(0, 5, (6, 8, 8), generator=generator(8))
    moved, moved_labels = crop_and_jitter(images, labels, generator())
    mirrored = [torch.equal(each, image.flip(2)) for each, image in zip(moved, images)]
    assert any(mirrored) and not all(mirrored)
    for index, mirror in enumerate(mirrored):
        flip = (lambda each: each.flip(-1)) if mirror else (lambda each: each)
        assert torch.equal(moved[index], flip(images[index])) and torch.equal(moved_labels[index], flip(labels[index]))


def test_half_of_the_images_are_mirrored(plain_colours):
    ramp = (3 * torch.arange(64, dtype=torch.uint8)).expand(400, 3, 4, 64)
    moved, _ = crop_and_jitter(ramp, None, generator())
    assert 160 < int((moved[:, 0, 0, 0] > moved[:, 0, 0, -1]).sum()) < 240


def test_a_crop_shows_its_box(plain_colours):
    """Positions can be read off a ramp: rows and columns run linearly over the box that was drawn."""
    steps = torch.arange(64, dtype=torch.float32) * 3
    ramp = torch.stack([steps.expand(64, 64), steps[:, None].expand(64, 64), torch.zeros(64, 64)]).to(torch.uint8)
    moved, _ = crop_and_jitter(ramp.repeat(8, 1, 1, 1), None, generator(3))
    again = generator(3)
    boxes, mirrored = crop_boxes(8, 64, 64, again), torch.rand(8, generator=again) < 0.5
    assert mirrored.any() and not mirrored.all()
    for image, (top, left, tall, wide), mirror in zip(moved.float(), boxes.tolist(), mirrored.tolist()):
        for plane, first, length, flip in ((image[0].flip(1) if mirror else image[0], left, wide, False),
                                           (image[1].T, top, tall, False)):
            expected = 3 * (64 * (first + length * (torch.arange(64) + 0.5) / 64) - 0.5)
            assert not flip and (plane - expected)[:, 3:-3].abs().max() <= 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_labels_move_with_their_image(plain_colours, dtype):
    """Blocks coloured by their label: away from the edges of a block a pixel still has the colour of its label."""
    blocks = np.kron(np.random.default_rng(0).integers(1, 6, (20, 3, 3)), np.ones((1, 16, 16)))
    labels = torch.from_numpy(blocks).to(dtype)
    images = (40 * labels)[:, None].repeat(1, 3, 1, 1).to(torch.uint8)
    moved, moved_labels = crop_and_jitter(images, labels, generator())
    assert moved_labels.dtype == dtype and moved_labels.shape == labels.shape
    as_floats = moved_labels.float()
    inside = torch.nn.functional.max_pool2d(as_floats, 5, 1, 2) == -torch.nn.functional.max_pool2d(-as_floats, 5, 1, 2)
    assert inside.float().mean() > 0.5
    assert torch.equal(moved[:, 0][inside].long(), 40 * moved_labels[inside].long())
    assert not torch.equal(moved_labels, labels)


def test_no_label_is_invented_and_void_stays_void():
    labels = torch.where(torch.rand(30, 12, 12, generator=generator(3)) < 0.5, 255, 3).to(torch.uint8)
    _, moved = crop_and_jitter(torch.zeros(30, 3, 12, 12, dtype=torch.uint8), labels, generator())
    assert set(moved.unique().tolist()) == {3, 255}


def test_equal_generators_give_equal_batches_with_labels_or_without():
    images = noise(6, 16, 16)
    first, again, other = (crop_and_jitter(images, None, generator(seed))[0] for seed in (4, 4, 5))
    with_labels, _ = crop_and_jitter(images, torch.zeros(6, 16, 16, dtype=torch.uint8), generator(4))
    assert torch.equal(first, again) and torch.equal(first, with_labels) and not torch.equal(first, other)
    assert (first.dtype, first.shape) == (images.dtype, images.shape)


# --- colours ---------------------------------------------------------------------------------------------------------


def changed(images, brightness=1.0, contrast=1.0, saturation=1.0, turn=0.0):
    factors = torch.tensor([[brightness, contrast, saturation]]).repeat(len(images), 1)
    return jitter_colours(images, factors, torch.full((len(images),), turn))


def muted(count=2):
    """Colours that no change here drives out of 0..255."""
    return torch.randint(90, 150, (count, 3, 6, 5), generator=generator(1)).float()


def test_neutral_factors_change_nothing():
    images = noise().float()
    assert torch.equal(changed(images), images)


def test_brightness_multiplies():
    images = muted()
    assert torch.equal(changed(images, brightness=1.2), (images * 1.2).round())


def test_contrast_stretches_around_the_mean_grey():
    images = muted()
    grey = (images * LUMA.view(3, 1, 1)).sum(1).mean((1, 2)).view(-1, 1, 1, 1)
    torch.testing.assert_close(changed(images, contrast=0.7), 0.7 * images + 0.3 * grey, rtol=0, atol=0.51)


def test_saturation_stretches_around_each_pixels_grey():
    images = muted()
    grey = (images * LUMA.view(3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(changed(images, saturation=1.3), 1.3 * images - 0.3 * grey, rtol=0, atol=0.51)
    torch.testing.assert_close(changed(images, saturation=0.0), grey.expand_as(images), rtol=0, atol=0.51)


def test_all_changes_at_once_are_one_after_the_other():
    images = muted(3)
    one = changed(images, 1.1, 0.8, 1.2, 0.05)
    after = changed(changed(changed(changed(images, 1.1), contrast=0.8), saturation=1.2), turn=0.05)
    assert (one - after).abs().max() <= 3 and (one - images).abs().max() > 10  # each rounds for itself


def test_a_turn_of_the_hue_keeps_grey_and_brightness_and_turns_the_same_way_as_hsv():
    colours = torch.tensor([[120.0, 120, 120], [160, 110, 100], [100, 150, 110], [105, 100, 160]]).T.view(1, 3, 2, 2)
    turned = changed(colours, turn=0.1)
    assert torch.equal(turned[0, :, 0, 0], colours[0, :, 0, 0])
    for before, after in zip(colours[0].flatten(1).T, turned[0].flatten(1).T):
        assert (before @ LUMA - after @ LUMA).abs() < 1
    hues = [[colorsys.rgb_to_hsv(*(pixel / 255).tolist())[0] for pixel in each[0].flatten(1).T[1:]]
            for each in (colours, turned)]
    turns = [(new - old + 0.5) % 1 - 0.5 for old, new in zip(*hues)]
    assert len({turn > 0 for turn in turns}) == 1 and all(0.05 < abs(turn) < 0.17 for turn in turns)


def test_a_full_turn_of_the_hue_is_no_change():
    images = muted()
    torch.testing.assert_close(changed(images, turn=1.0), images, rtol=0, atol=0.01)


def test_colours_stay_whole_numbers_in_their_range():
    out = changed(noise(4, 16, 16).float(), 1.3, 1.3, 1.3, 0.1)
    assert torch.equal(out, out.round()) and out.min() == 0 and out.max() == 255


def test_each_image_has_its_own_factors():
    images = muted(2)
    both = jitter_colours(images, torch.tensor([[1.2, 1, 1], [1, 1, 0.5]]), torch.tensor([0.0, 0.1]))
    torch.testing.assert_close(both[:1], changed(images[:1], brightness=1.2))
    torch.testing.assert_close(both[1:], changed(images[1:], saturation=0.5, turn=0.1))


def test_factors_are_drawn_uniformly_around_1():
    factors, turns = jitter_factors(4000, generator())
    assert (factors.shape, turns.shape) == ((4000, 3), (4000,))
    for values, middle, reach in (*((each, 1, 0.3) for each in factors.T), (turns, 0, 0.1)):
        quantiles = torch.quantile(values, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
        expected = middle + reach * torch.tensor([-1, -0.5, 0, 0.5, 1])
        torch.testing.assert_close(quantiles, expected, rtol=0, atol=0.1 * reach)
    assert torch.corrcoef(torch.cat([factors.T, turns[None]]))[~torch.eye(4, dtype=torch.bool)].abs().max() < 0.06
