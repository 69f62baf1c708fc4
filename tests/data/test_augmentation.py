"""Augmentations of batches: what all of them keep, and the geometry and colours of each against its definition."""

import colorsys
import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss_lab.data import resized_crop
from wsss_lab.data.canvas import BACKGROUND, MEAN, augment, scale_crop, trim_and_flip
from wsss_lab.data.resized_crop import crop_and_jitter, crop_boxes, jitter_colours, jitter_factors
from wsss_lab.errors import ParameterError

LUMA = torch.tensor([0.299, 0.587, 0.114])
EACH = pytest.mark.parametrize("change", [augment, scale_crop, crop_and_jitter])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(count=2, height=9, width=7):
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator(9))


def labels_of(count=2, height=9, width=7):
    return torch.randint(0, 5, (count, height, width), dtype=torch.uint8, generator=generator(8))


def ramps(count, side=10, step=20):
    """Images whose red grows with each column and whose green with each row: positions can be read off."""
    steps = step * torch.arange(side, dtype=torch.uint8)
    image = torch.stack([steps.expand(side, side), steps[:, None].expand(side, side), torch.zeros(side, side)])
    return image.to(torch.uint8).repeat(count, 1, 1, 1)


@pytest.fixture
def plain_colours(monkeypatch):
    """Crops without jitter."""
    monkeypatch.setattr(resized_crop, "JITTER", 0.0)
    monkeypatch.setattr(resized_crop, "HUE", 0.0)


@EACH
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_equal_generators_give_equal_batches_of_the_same_types_with_labels_or_without(change, dtype):
    images, labels = ramps(6, 61, 4)[:, :, :, :49], torch.ones(6, 61, 49, dtype=dtype)
    moved, moved_labels = change(images, labels, generator(4))
    assert (moved.shape, moved.dtype) == (images.shape, torch.uint8)
    assert (moved_labels.shape, moved_labels.dtype) == (labels.shape, dtype)
    alone, nothing = change(images, None, generator(4))
    assert nothing is None and torch.equal(alone, moved)
    assert not torch.equal(change(images, None, generator(5))[0], moved)
    assert all(not torch.equal(moved[0], each) for each in moved[1:])


@pytest.mark.parametrize("change", [augment, partial(scale_crop, low=1.0, high=1.0), crop_and_jitter])
def test_half_of_the_images_are_mirrored(change, plain_colours):
    moved, _ = change(ramps(400), None, generator())
    assert 160 < int((moved[:, 0, 0, 0] > moved[:, 0, 0, -1]).sum()) < 240


@pytest.mark.parametrize("change", [augment, crop_and_jitter, scale_crop, partial(scale_crop, low=1.2, high=2.0),
                                    partial(scale_crop, low=0.3, high=0.9)])
def test_labels_move_with_their_image(change, plain_colours):
    """Blocks coloured by their label: where a pixel and all its neighbours share a label, it has its colour."""
    blocks = np.kron(np.random.default_rng(0).integers(1, 6, (30, 3, 3)), np.ones((1, 16, 16)))
    labels = torch.from_numpy(blocks).to(torch.uint8)
    moved, moved_labels = change((40 * labels)[:, None].repeat(1, 3, 1, 1), labels, generator())
    as_floats = moved_labels.float()
    inside = F.max_pool2d(as_floats, 5, 1) == -F.max_pool2d(-as_floats, 5, 1)
    moved, found = moved[:, :, 2:-2, 2:-2], moved_labels[:, 2:-2, 2:-2]
    colours = torch.cat([torch.tensor(MEAN)[None], 40 * torch.arange(1, 6)[:, None].expand(5, 3)])  # 0: room to fill
    assert inside.float().mean() > 0.5 and not torch.equal(moved_labels, labels)
    assert torch.equal(moved.movedim(1, -1)[inside].long(), colours[found[inside].long()])
    fills = getattr(change, "keywords", {}).get("low", 0.5) < 1 and change not in (augment, crop_and_jitter)
    assert set(found[inside].unique().tolist()) == {*([0] if fills else []), 1, 2, 3, 4, 5}


def test_trim_equals_cutting_and_resizing_each_image():
    batch, labels = noise(3, 20, 20), labels_of(3, 20, 20)
    trims, flips = torch.tensor([[2, 1, 0, 2], [0, 0, 1, 1], [2, 2, 2, 2]]), torch.tensor([False, True, True])
    out, out_labels = trim_and_flip(batch, labels, trims, flips)
    for i, (top, bottom, left, right) in enumerate(trims.tolist()):
        cut = (slice(top, 20 - bottom), slice(left, 20 - right))
        image = F.interpolate(batch[i : i + 1, :, *cut].float(), size=(20, 20), mode="bilinear")[0]
        label = F.interpolate(labels[i][cut][None, None].float(), size=(20, 20), mode="nearest-exact")[0, 0]
        if flips[i]:
            image, label = image.flip(-1), label.flip(-1)
        assert (out[i].float() - image).abs().max() <= 0.501  # rounded to whole grey values
        assert torch.equal(out_labels[i].float(), label)


def test_augment_trims_each_side_by_whole_pixels_up_to_a_tenth():
    out, _ = augment(ramps(400, 100, 1), None, generator())
    first, last = out[:, 0, 0, 0].long(), out[:, 0, 0, -1].long()
    left, right = torch.minimum(first, last), 99 - torch.maximum(first, last)
    for cut in (left, right, out[:, 1, 0, 0].long(), 99 - out[:, 1, -1, 0].long()):
        assert set(cut.tolist()) == set(range(11))


@pytest.mark.parametrize(("change", "words"), [
    (partial(augment, trim=0.5), "trim 0.5"),
    *((partial(scale_crop, low=low, high=high), "scales from") for low, high in
      ((0.0, 1.0), (-0.5, 1.5), (1.5, 0.5), (float("nan"), 1.0)))])
def test_a_range_that_means_nothing_is_refused(change, words):
    with pytest.raises(ParameterError, match=words) as caught:
        change(noise(), None, generator())
    assert caught.value.expected


def test_half_the_size_by_hand():
    """Each pixel is the mean of four; the rest takes the mean colour and the label of background."""
    quarter = torch.tensor([[10, 30], [60, 100]], dtype=torch.uint8)
    image = torch.kron(quarter, torch.ones(2, 2, dtype=torch.uint8))
    image[0, 0], image[1, 1] = 6, 14
    labels = torch.kron(torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8), torch.ones(2, 2, dtype=torch.uint8))
    moved, moved_labels = scale_crop(image.expand(1, 3, 4, 4), labels[None], generator(), 0.5, 0.5, flip=0.0)
    for channel, mean in enumerate(MEAN):
        assert moved[0, channel].tolist() == [[10, 30, mean, mean], [60, 100, mean, mean], [mean] * 4, [mean] * 4]
    assert moved_labels[0].tolist() == [[1, 2, 0, 0], [3, 4, 0, 0], [0] * 4, [0] * 4]
    assert BACKGROUND == 0
    mirrored, labels = scale_crop(image.expand(1, 3, 4, 4), labels[None], generator(), 0.5, 0.5, flip=1.0)
    assert torch.equal(mirrored, moved.flip(-1)) and torch.equal(labels, moved_labels.flip(-1))


@pytest.mark.parametrize(("flip", "step"), [(0.0, 10), (1.0, -10)])
def test_twice_the_size_shows_a_window_of_half_the_sides_somewhere(flip, step):
    """Neighbours lie half a pixel apart in the image; the window starts anywhere and ends inside."""
    moved, _ = scale_crop(ramps(40), None, generator(), 2.0, 2.0, flip)
    red, green = moved[:, 0].int(), moved[:, 1].int()
    inner = (red[:, :, 1:-1] > 0) & (red[:, :, 1:-1] < 180)  # beyond the outer pixel centres the colour is kept
    across = red[:, :, 1:] - red[:, :, :-1]
    assert (abs(across[:, :, :-1] - step)[inner & (red[:, :, :-2] > 0) & (red[:, :, :-2] < 180)] <= 1).all()
    assert torch.equal(red, red[:, :1].expand_as(red)) and torch.equal(green, green[:, :, :1].expand_as(green))
    origins = torch.stack([red.amin((1, 2)), green.amin((1, 2))]).float() / 20
    assert abs(torch.corrcoef(origins)[0, 1]) < 0.4  # each axis has a draw of its own
    for starts in origins:
        assert starts.min() < 1 and 3.5 < starts.max() <= 4.75 and len(starts.unique()) > 20


def test_scales_are_drawn_between_both_ends_by_default_those_of_the_paper():
    """The share of a shrunk image that is filled is the square of its scale."""
    images = torch.full((300, 3, 40, 40), 7, dtype=torch.uint8)
    moved, labels = scale_crop(images, torch.ones(300, 40, 40, dtype=torch.uint8), generator(), 0.5, 1.0)
    scale = labels.float().mean((1, 2)).sqrt()
    assert torch.equal((moved == 7).all(1), labels == 1)
    assert 0.48 < scale.min() < 0.52 and 0.97 < scale.max() <= 1
    assert float(scale.mean()) == pytest.approx(0.75, abs=0.03)
    given, _ = scale_crop(ramps(200), None, generator(), low=0.5, high=1.5, flip=0.5)
    assert torch.equal(scale_crop(ramps(200), None, generator())[0], given)


def sides_of_a_crop(rng, height, width):
    """Uniform area and log-uniform aspect, drawn again up to ten times until both sides fit."""
    for _ in range(10):
        area, aspect = rng.uniform(0.9, 1.0), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        tall, wide = math.sqrt(area / aspect * width / height), math.sqrt(area * aspect * height / width)
        if tall <= 1 and wide <= 1:
            return tall, wide
    return 1.0, 1.0


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 50)])
def test_crops_lie_inside_and_their_sides_are_distributed_as_by_a_rejection_loop(height, width):
    rng = np.random.default_rng(0)
    expected = np.array([sides_of_a_crop(rng, height, width) for _ in range(4000)])
    boxes = crop_boxes(4000, height, width, generator()).numpy()
    found = boxes[:, 2:]
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + found <= 1 + 1e-6).all()
    area, aspect = found.prod(1), found[:, 1] * width / (found[:, 0] * height)
    assert area.min() >= 0.9 - 1e-5 and 3 / 4 - 1e-5 <= aspect[area < 1].min() <= aspect[area < 1].max() <= 4 / 3 + 1e-5
    for mine, others in zip(found.T, expected.T):
        quantiles = [0.05, 0.25, 0.5, 0.75]
        np.testing.assert_allclose(np.quantile(mine, quantiles), np.quantile(others, quantiles), atol=4e-3)
    assert (found == 1).all(1).mean() == pytest.approx((expected == 1).all(1).mean(), abs=0.025)  # the whole image
    for axis in (0, 1):
        room = 1 - boxes[:, 2 + axis]  # in which places are uniform
        place = (boxes[:, axis] / np.maximum(room, 1e-9))[room > 1e-3]
        np.testing.assert_allclose(np.quantile(place, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.04)
    assert abs(np.corrcoef(boxes[:, :2].T)[0, 1]) < 0.2
    # An image five times as wide as high has no crop of 90 % of its area with an aspect up to 4/3.
    assert crop_boxes(5, 10, 50, generator()).tolist() == [[0, 0, 1, 1]] * 5


def test_a_crop_shows_its_box(plain_colours):
    """Positions can be read off a ramp: rows and columns run linearly over the box that was drawn."""
    moved, _ = crop_and_jitter(ramps(8, 64, 3), None, generator(3))
    again = generator(3)
    boxes, mirrored = crop_boxes(8, 64, 64, again), torch.rand(8, generator=again) < 0.5
    assert mirrored.any() and not mirrored.all()
    for image, (top, left, tall, wide), mirror in zip(moved.float(), boxes.tolist(), mirrored.tolist()):
        for plane, first, length in ((image[0].flip(1) if mirror else image[0], left, wide), (image[1].T, top, tall)):
            expected = 3 * (64 * (first + length * (torch.arange(64) + 0.5) / 64) - 0.5)
            assert (plane - expected)[:, 3:-3].abs().max() <= 1


def changed(images, brightness=1.0, contrast=1.0, saturation=1.0, turn=0.0):
    factors = torch.tensor([[brightness, contrast, saturation]]).repeat(len(images), 1)
    return jitter_colours(images, factors, torch.full((len(images),), turn))


def muted(count=2):
    """Colours that no change here drives out of 0..255."""
    return torch.randint(90, 150, (count, 3, 6, 5), generator=generator(1)).float()


def test_each_change_by_its_definition_and_all_at_once_as_one_after_the_other():
    images = muted(3)
    grey = (images * LUMA.view(3, 1, 1)).sum(1, keepdim=True)
    mean = grey.mean((2, 3), keepdim=True)
    assert torch.equal(changed(noise().float()), noise().float())
    assert torch.equal(changed(images, brightness=1.2), (images * 1.2).round())
    for found, expected in ((changed(images, contrast=0.7), 0.7 * images + 0.3 * mean),
                            (changed(images, saturation=1.3), 1.3 * images - 0.3 * grey),
                            (changed(images, saturation=0.0), grey.expand_as(images)),
                            (changed(images, turn=1.0), images)):
        torch.testing.assert_close(found, expected, rtol=0, atol=0.51)
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


def test_each_image_has_its_own_factors_and_colours_stay_whole_numbers_in_their_range():
    out, images = changed(noise(4, 16, 16).float(), 1.3, 1.3, 1.3, 0.1), muted(2)
    assert torch.equal(out, out.round()) and out.min() == 0 and out.max() == 255
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
