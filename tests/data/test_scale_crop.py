"""Random scale, crop and mirror: geometry by hand, labels that move with their image, what fills the room."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss_lab.data.canvas import BACKGROUND, MEAN, scale_crop
from wsss_lab.errors import ParameterError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(count=2, height=9, width=7):
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator(9))


def ramps(count, side=10):
    """Images whose red grows by 20 with each column and whose green with each row: positions can be read off."""
    steps = 20 * torch.arange(side, dtype=torch.uint8)
    image = torch.stack([steps.expand(side, side), steps[:, None].expand(side, side), torch.zeros(side, side)])
    return image.to(torch.uint8).repeat(count, 1, 1, 1)


# --- geometry --------------------------------------------------------------------------------------------------------


def test_scale_1_without_mirror_changes_nothing():
    images, labels = noise(), torch.randint(0, 5, (2, 9, 7), dtype=torch.uint8, generator=generator(8))
    moved, moved_labels = scale_crop(images, labels, generator(), 1.0, 1.0, flip=0.0)
    assert torch.equal(moved, images) and torch.equal(moved_labels, labels)


def test_scale_1_with_mirror_turns_left_and_right_around():
    images, labels = noise(), torch.randint(0, 5, (2, 9, 7), dtype=torch.uint8, generator=generator(8))
    moved, moved_labels = scale_crop(images, labels, generator(), 1.0, 1.0, flip=1.0)
    assert torch.equal(moved, images.flip(3)) and torch.equal(moved_labels, labels.flip(2))


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


def test_a_mirrored_shrunk_image_has_its_room_on_the_other_side():
    images, labels = torch.full((1, 3, 4, 4), 7, dtype=torch.uint8), torch.full((1, 4, 4), 2, dtype=torch.uint8)
    moved, moved_labels = scale_crop(images, labels, generator(), 0.5, 0.5, flip=1.0)
    assert moved_labels[0].tolist() == [[0, 0, 2, 2], [0, 0, 2, 2], [0] * 4, [0] * 4]
    assert torch.equal((moved == 7).all(1), moved_labels == 2)


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


def test_scales_are_drawn_between_both_ends():
    """The share of a shrunk image that is filled is the square of its scale."""
    images = torch.full((300, 3, 40, 40), 7, dtype=torch.uint8)
    moved, labels = scale_crop(images, torch.ones(300, 40, 40, dtype=torch.uint8), generator(), 0.5, 1.0)
    scale = labels.float().mean((1, 2)).sqrt()
    assert torch.equal((moved == 7).all(1), labels == 1)
    assert 0.48 < scale.min() < 0.52 and 0.97 < scale.max() <= 1
    assert float(scale.mean()) == pytest.approx(0.75, abs=0.03)


def test_half_of_the_images_are_mirrored():
    moved, _ = scale_crop(ramps(400), None, generator(), 1.0, 1.0)
    mirrored = moved[:, 0, 0, 0] > moved[:, 0, 0, -1]
    assert 160 < int(mirrored.sum()) < 240


def test_the_papers_range_is_the_default():
    images, labels = ramps(200), torch.ones(200, 10, 10, dtype=torch.uint8)
    default, _ = scale_crop(images, labels, generator())
    given, _ = scale_crop(images, labels, generator(), low=0.5, high=1.5, flip=0.5)
    assert torch.equal(default, given)


# --- images and labels together --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(0.5, 1.5), (1.2, 2.0), (0.3, 0.9)])
def test_labels_move_with_their_image(low, high):
    """Blocks of labels 1 to 5, coloured by them: where a pixel and all its neighbours share a label, it has its colour.
    """
    blocks = np.kron(np.random.default_rng(0).integers(1, 6, (30, 3, 3)), np.ones((1, 12, 12)))
    labels = torch.from_numpy(blocks).to(torch.uint8)
    images = (40 * labels)[:, None].repeat(1, 3, 1, 1)
    moved, moved_labels = scale_crop(images, labels, generator(), low, high)
    as_floats = moved_labels.float()
    inside = F.max_pool2d(as_floats, 3, 1) == -F.max_pool2d(-as_floats, 3, 1)
    moved, moved_labels = moved[:, :, 1:-1, 1:-1], moved_labels[:, 1:-1, 1:-1]
    colours = torch.cat([torch.tensor(MEAN)[None], 40 * torch.arange(1, 6)[:, None].expand(5, 3)])
    assert inside.float().mean() > 0.7
    assert torch.equal(moved.movedim(1, -1)[inside].long(), colours[moved_labels[inside].long()])
    assert set(moved_labels[inside].unique().tolist()) == {*([0] if low < 1 else []), 1, 2, 3, 4, 5}


def test_no_label_is_invented_and_void_stays_void():
    labels = torch.where(torch.rand(50, 12, 12, generator=generator(3)) < 0.5, 255, 3).to(torch.uint8)
    _, moved = scale_crop(torch.zeros(50, 3, 12, 12, dtype=torch.uint8), labels, generator())
    assert set(moved.unique().tolist()) == {0, 3, 255} and moved.dtype == torch.uint8


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_shapes_and_types_are_kept(dtype):
    images, labels = noise(3, 11, 5), torch.ones(3, 11, 5, dtype=dtype)
    moved, moved_labels = scale_crop(images, labels, generator())
    assert (moved.shape, moved.dtype) == (images.shape, torch.uint8)
    assert (moved_labels.shape, moved_labels.dtype) == (labels.shape, dtype)
    alone, nothing = scale_crop(images, None, generator())
    assert nothing is None and torch.equal(alone, moved)


def test_equal_generators_give_equal_batches_and_each_image_its_own_draw():
    images = ramps(6)
    first, again, other = (scale_crop(images, None, generator(seed))[0] for seed in (4, 4, 5))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert all(not torch.equal(first[0], each) for each in first[1:])


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.5, 1.5), (1.5, 0.5), (float("nan"), 1.0)])
def test_a_range_that_means_nothing_is_refused(low, high):
    with pytest.raises(ParameterError, match="scales from") as caught:
        scale_crop(noise(), None, generator(), low, high)
    assert "0.5 and 1.5" in caught.value.expected
