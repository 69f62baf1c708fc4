"""Affinities of nearby positions and what labels say of them: by hand and against loops over pairs."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from wsss_lab.errors import ParameterError
from wsss_lab.refinement.affinity import Pairs, affinities, affinity_loss, half_disc, pair_labels

torch.set_num_threads(1)
NEAR = half_disc(2)  # (0, 1), (1, -1), (1, 0), (1, 1)


def features_of(batch=2, count=3, height=6, width=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, count, height, width, generator=generator, dtype=torch.float64)


def places(height, width, offsets):
    """Pair number, position and its partner, for all pairs on the grid."""
    for (pair, (down, right)), y, x in product(enumerate(offsets), range(height), range(width)):
        if 0 <= y + down < height and 0 <= x + right < width:
            yield pair, (y, x), (y + down, x + right)


# --- offsets ---------------------------------------------------------------------------------------------------------


def test_radius_five_has_34_offsets():
    assert len(half_disc(5)) == 34


@pytest.mark.parametrize("radius", [2, 3, 5, 6])
def test_offsets_and_their_opposites_are_the_open_disc_without_its_centre(radius):
    forward = half_disc(radius)
    both = forward + [(-down, -right) for down, right in forward]
    reach = range(-radius, radius + 1)
    disc = {(y, x) for y, x in product(reach, reach) if 0 < math.hypot(y, x) < radius}
    assert len(both) == len(disc) and set(both) == disc
    assert forward == sorted(forward)


def test_a_radius_without_neighbours_is_refused():
    with pytest.raises(ParameterError, match="radius=1 "):
        half_disc(1)


# --- affinities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "radius"), [(6, 7, 5), (6, 7, 3), (2, 3, 5), (3, 1, 5), (1, 1, 2)])
def test_affinities_are_the_exponential_of_minus_the_mean_difference(height, width, radius):
    """Loops over all pairs; what leaves the grid is 0, also on grids smaller than the radius."""
    features, offsets = features_of(height=height, width=width), half_disc(radius)
    images, expected = features.tolist(), np.zeros((2, len(offsets), height, width))
    for b, (pair, (y, x), (v, u)) in product(range(2), places(height, width, offsets)):
        distance = sum(abs(plane[y][x] - plane[v][u]) for plane in images[b]) / 3
        expected[b, pair, y, x] = math.exp(-distance)
    np.testing.assert_allclose(affinities(features, offsets).numpy(), expected)


def test_equal_features_have_affinity_one_and_more_channels_of_one_kind_change_nothing():
    features = features_of()
    assert affinities(torch.ones(1, 4, 3, 3), NEAR)[0, :, 1, 1].tolist() == [1, 1, 1, 1]
    torch.testing.assert_close(affinities(features.repeat(1, 5, 1, 1), NEAR), affinities(features, NEAR))


@pytest.mark.parametrize(("height", "width"), [(3, 4), (2, 2)])
def test_gradients_of_affinities_are_those_of_finite_differences(height, width):
    features = features_of(2, 2, height, width).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: affinities(x, half_disc(3)), features)


def test_gradients_do_not_depend_on_the_layout_of_features():
    offsets, grads = half_disc(5), []
    weight = torch.randn(2, 34, 6, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for layout in (torch.contiguous_format, torch.channels_last):
        features = features_of().contiguous(memory_format=layout).requires_grad_()
        (affinities(features, offsets) * weight).sum().backward()
        grads.append(features.grad)
    assert grads[0].abs().min() > 0
    torch.testing.assert_close(*grads)


# --- labels ----------------------------------------------------------------------------------------------------------


def test_pairs_of_nine_labels_by_hand():
    """One row of each group per offset: to the right, below left, below, below right."""
    labels = torch.tensor([[[0, 0, 1], [0, 2, 1], [255, 2, 1]]])
    found = pair_labels(labels, NEAR)
    none = [0, 0, 0]
    assert found.background[0].int().tolist() == [
        [[1, 0, 0], none, none], [[0, 1, 0], none, none], [[1, 0, 0], none, none], [none, none, none]]
    assert found.foreground[0].int().tolist() == [
        [none, none, none], [none, none, none], [[0, 0, 1], [0, 1, 1], none], [none, none, none]]
    assert found.negative[0].int().tolist() == [
        [[0, 1, 0], [1, 1, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 1], none], [[0, 1, 0], none, none],
        [[1, 1, 0], [1, 1, 0], none]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize(("height", "width"), [(7, 6), (3, 2)])
def test_pairs_are_those_of_a_loop(height, width, dtype):
    generator, offsets = torch.Generator().manual_seed(0), half_disc(5)
    labels = torch.tensor([0, 1, 2, 255])[torch.randint(4, (3, height, width), generator=generator)].to(dtype)
    expected = torch.zeros(3, 3, len(offsets), height, width, dtype=torch.bool)
    for b, (pair, here, there) in product(range(3), places(height, width, offsets)):
        one, other = labels[b][here].item(), labels[b][there].item()
        if 255 not in (one, other):
            group = 2 if one != other else 0 if one else 1
            expected[group, b, pair, here[0], here[1]] = True
    assert expected.flatten(1).any(1).all()
    for found, group in zip(pair_labels(labels, offsets), expected, strict=True):
        assert torch.equal(found, group)


# --- loss ------------------------------------------------------------------------------------------------------------


def pairs_of(foreground, background, negative):
    """Groups over one offset and a grid of one row."""
    return Pairs(*(torch.tensor(group, dtype=torch.bool).view(1, 1, 1, -1)
                   for group in (foreground, background, negative)))


AFFINITY = torch.tensor([0.9, 0.5, 0.25, 0.1, 0.6]).view(1, 1, 1, 5)


def test_loss_by_hand():
    """Each group counts by its own mean: -log 0.9; -log 0.5 and -log 0.25; -log(1 - 0.1)."""
    pairs = pairs_of([1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0])
    expected = -math.log(0.9) / 4 - math.log(0.5 * 0.25) / 2 / 4 - math.log(0.9) / 2
    assert affinity_loss(AFFINITY, pairs).item() == pytest.approx(expected, abs=3e-5)


@pytest.mark.parametrize(("groups", "expected"), [
    (([0, 0, 0, 0, 1], [0] * 5, [0] * 5), -math.log(0.6) / 4),
    (([0] * 5, [0, 0, 0, 0, 1], [0] * 5), -math.log(0.6) / 4),
    (([0] * 5, [0] * 5, [0, 0, 0, 0, 1]), -math.log(0.4) / 2),
    (([0] * 5, [0] * 5, [0] * 5), 0),
])
def test_groups_without_pairs_add_nothing(groups, expected):
    assert affinity_loss(AFFINITY, pairs_of(*groups)).item() == pytest.approx(expected, abs=3e-5)


def test_certain_errors_cost_a_finite_amount():
    sure = torch.tensor([0.0, 0.0, 1.0]).view(1, 1, 1, 3)
    loss = affinity_loss(sure, pairs_of([1, 0, 0], [0, 1, 0], [0, 0, 1]))
    assert loss.item() == pytest.approx(-math.log(1e-5), rel=0.01)


def test_gradients_of_the_loss_are_those_of_finite_differences():
    labels = torch.tensor([[[0, 0, 1, 1], [0, 2, 1, 255], [0, 2, 2, 1]]] * 2)
    pairs = pair_labels(labels, half_disc(3))
    assert all(group.any() for group in pairs)
    features = features_of(2, 2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: affinity_loss(affinities(x, half_disc(3)), pairs), features)


def test_descent_parts_two_regions_and_joins_each():
    labels = torch.zeros(1, 6, 6, dtype=torch.int64)
    labels[..., 3:] = 1
    pairs, features = pair_labels(labels, half_disc(3)), features_of(1, 4, 6, 6).requires_grad_()
    optimiser = torch.optim.Adam([features], lr=0.2)
    for _ in range(25):
        affinity = affinities(features, half_disc(3))
        optimiser.zero_grad()
        affinity_loss(affinity, pairs).backward()
        optimiser.step()
    together = affinity[pairs.foreground | pairs.background]
    assert together.mean() > 0.8 and affinity[pairs.negative].mean() < 0.2
