"""Affinities of nearby positions and what labels say of them, against loops over pairs and dense walks."""

import math
from dataclasses import asdict
from itertools import product

import cv2
import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs

from wsss_lab.data import frames
from wsss_lab.data.canvas import canvas_box, from_canvas, normalise
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.deeplab_v3plus import AffinityNet
from wsss_lab.refinement import affinity as module
from wsss_lab.refinement.affinity import (
    Pairs,
    affinities,
    affinity_label_frames,
    affinity_labels,
    affinity_loss,
    half_disc,
    on_canvas_grid,
    pair_labels,
    transition,
    walk,
    walk_frames,
    with_background,
)
from wsss_lab.refinement.dense_crf import V1, CrfParameters, label_image
from wsss_lab.seeds.localisation import localisations
from wsss_lab.seeds.saliency_supervision import localisation_net


def features_of(batch=2, count=3, height=6, width=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, count, height, width, generator=generator, dtype=torch.float64)


def places(height, width, offsets):
    """Pair number, position and its partner, for all pairs on the grid."""
    for (pair, (down, right)), y, x in product(enumerate(offsets), range(height), range(width)):
        if 0 <= y + down < height and 0 <= x + right < width:
            yield pair, (y, x), (y + down, x + right)


@pytest.mark.parametrize("radius", [2, 3, 5, 6])
def test_offsets_and_their_opposites_are_the_open_disc_without_its_centre(radius):
    forward = half_disc(radius)
    both = forward + [(-down, -right) for down, right in forward]
    reach = range(-radius, radius + 1)
    disc = {(y, x) for y, x in product(reach, reach) if 0 < math.hypot(y, x) < radius}
    assert len(both) == len(disc) and set(both) == disc
    assert forward == sorted(forward)


@pytest.mark.parametrize(("height", "width", "radius"), [(6, 7, 5), (6, 7, 3), (2, 3, 5), (3, 1, 5), (1, 1, 2)])
def test_affinities_are_the_exponential_of_minus_the_mean_difference(height, width, radius):
    """Loops over all pairs; what leaves the grid is 0, also on grids smaller than the radius."""
    features, offsets = features_of(height=height, width=width), half_disc(radius)
    images, expected = features.tolist(), np.zeros((2, len(offsets), height, width))
    for b, (pair, (y, x), (v, u)) in product(range(2), places(height, width, offsets)):
        distance = sum(abs(plane[y][x] - plane[v][u]) for plane in images[b]) / 3
        expected[b, pair, y, x] = math.exp(-distance)
    np.testing.assert_allclose(affinities(features, offsets).numpy(), expected)


@pytest.mark.parametrize(("height", "width"), [(2, 3), (2, 2)])
def test_gradients_of_affinities_are_those_of_finite_differences(height, width):
    features = features_of(2, 2, height, width).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: affinities(x, half_disc(3)), features)


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


NO_PAIRS = CrfParameters(bilateral_weight=0, bilateral_xy=1, bilateral_rgb=1, spatial_weight=0, spatial_xy=1)
TAGS = np.array([True, False, True])


def grey(*size):
    return np.full((*size, 3), 110, np.uint8)


def test_sure_labels_by_hand():
    """Strong background (1 - m)^4 and weak (1 - m)^24 beside the largest map m.

    m = 0: background. 0.05: weak 0.29 > m, background. 0.2: strong 0.41 > m > weak 0.005, not sure. 0.5: strong 0.06,
    foreground. 0.9 likewise, of the larger of two classes.
    """
    first, third = [0.0, 0.05, 0.2, 0.5, 0.9], [0.0, 0.0, 0.1, 0.0, 0.95]
    relative = np.array([[first], [[0.0] * 5], [third]])
    found = affinity_labels(grey(1, 5), relative, TAGS, NO_PAIRS)
    assert found.dtype == np.uint8 and found.tolist() == [[0, 0, 255, 1, 3]]
    # At 0.2 a strong (1 - m)^8 = 0.17 makes foreground, a weak (1 - m)^6 = 0.26 background.
    assert affinity_labels(grey(1, 5), relative, TAGS, NO_PAIRS, (8, 24)).tolist() == [[0, 0, 1, 1, 3]]
    assert affinity_labels(grey(1, 5), relative, TAGS, NO_PAIRS, (4, 6)).tolist() == [[0, 0, 0, 1, 3]]


def test_the_crf_gets_scores_that_sum_to_one_and_only_present_labels(monkeypatch):
    asked = []

    def refine(image, probabilities, parameters, labels):
        asked.append((image, probabilities, parameters, labels))
        return probabilities

    monkeypatch.setattr(module, "refine_probabilities", refine)
    image, relative = grey(4, 6), np.random.default_rng(0).random((3, 4, 6))
    affinity_labels(image, relative, TAGS, NO_PAIRS)
    for alpha, (picture, probabilities, parameters, labels) in zip((4, 24), asked, strict=True):
        scores = with_background(relative, alpha)
        np.testing.assert_allclose(probabilities, scores / scores.sum(0))
        assert picture is image and parameters is NO_PAIRS and list(labels) == [0, 1, 3]


def test_where_the_crf_finds_background_beside_the_weak_one_alone_background_counts(monkeypatch):
    refined = iter(np.eye(3)[..., None, None][[1, 0]])  # the class, then background
    monkeypatch.setattr(module, "refine_probabilities", lambda *arguments: next(refined))
    assert affinity_labels(grey(1, 1), np.ones((3, 1, 1)), TAGS, NO_PAIRS).tolist() == [[0]]


def test_frames_hold_the_labels_of_every_image():
    view = blobs(((32, 32), (24, 32), (32, 20)))
    torch.manual_seed(0)
    state = localisation_net(Backbone.from_settings(BACKBONE), 2, background=True).state_dict()
    state["classifier.weight"] *= 30  # opinions
    crf = V1.scaled(0.1)
    found = affinity_label_frames(view.guarded(), state, BACKBONE, (1.0, 0.5), asdict(crf), (1, 3))["masks"]
    assert found.shape == (3, 32, 32) and found.dtype == np.uint8
    for index, maps in enumerate(localisations(view.train_view(), state, BACKBONE, (1.0, 0.5))):
        expected = affinity_labels(view.image(index), maps.relative, view.tags[index], crf, (1, 3))
        np.testing.assert_array_equal(frames.rows_of(view, found)[index], expected)
    assert {0, 255} < set(np.unique(found[:, :20, :20])) <= {0, 1, 2, 255}


OFFSETS = half_disc(5)


def affinity_of(height=6, width=7, offsets=OFFSETS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(1, 4, height, width, generator=generator, dtype=torch.float64)
    return affinities(features / 4, offsets)[0]


def maps_of(height=6, width=7, count=3, seed=1):
    return torch.rand(count, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def symmetric(affinity, offsets):
    """Dense W (hw, hw), pair by pair."""
    _, height, width = affinity.shape
    found = torch.eye(height * width, dtype=affinity.dtype)
    for (pair, (down, right)), y, x in product(enumerate(offsets), range(height), range(width)):
        v, u = y + down, x + right
        if 0 <= v < height and 0 <= u < width:
            found[y * width + x, v * width + u] = found[v * width + u, y * width + x] = affinity[pair, y, x]
    return found


@pytest.mark.parametrize(("height", "width"), [(6, 7), (11, 4), (2, 3), (1, 6), (1, 1)])
@pytest.mark.parametrize("beta", [1, 8, 0.5])
def test_the_matrix_is_the_normalised_power_of_symmetric_affinities(height, width, beta):
    affinity = affinity_of(height, width)
    affinity[affinity == 0] = 0.7  # of pairs that leave the grid: it doesn't matter
    power = symmetric(affinity, OFFSETS) ** beta
    expected = power / power.sum(1, keepdim=True)
    torch.testing.assert_close(transition(affinity, OFFSETS, beta).to_dense(), expected)


@pytest.mark.parametrize("steps", [0, 1, 3, 256])
def test_the_walk_is_a_power_of_the_dense_matrix(steps):
    affinity, maps = affinity_of(), maps_of()
    power = symmetric(affinity, OFFSETS) ** 8
    dense = torch.matrix_power(power / power.sum(1, keepdim=True), steps)
    expected = torch.einsum("ij,kj->ki", dense, maps.flatten(1)).view_as(maps)
    torch.testing.assert_close(walk(transition(affinity, OFFSETS, 8), maps, steps), expected)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda a, m: half_disc(1), ParameterError, "radius=1 "),
    (lambda a, m: affinity_labels(grey(1, 1), np.zeros((3, 1, 1)), TAGS, NO_PAIRS, (4, 4)), ParameterError, "alphas"),
    (lambda a, m: affinity_labels(grey(1, 1), np.zeros((3, 1, 1)), TAGS, NO_PAIRS, (0, 4)), ParameterError, "alphas"),
    (lambda a, m: transition(a, OFFSETS[1:]), DataError, "34 offsets"),
    (lambda a, m: transition(a, OFFSETS, 0), ParameterError, "beta=0"),
    (lambda a, m: walk(transition(a, OFFSETS), m[:, 1:]), DataError, r"\(5, 7\)"),
    (lambda a, m: walk(transition(a, OFFSETS), m, -1), ParameterError, "steps=-1"),
])
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(affinity_of(), maps_of())


@pytest.mark.parametrize("size", [(20, 32), (32, 9), (32, 1)])
def test_maps_of_other_images_are_continued_as_the_image_is(size):
    """By reflection without the edge, more than once where there is much room."""
    plane, box = np.random.default_rng(0).random(size, np.float32), canvas_box(*size, 32)
    below, right = 32 - box.top - box.height, 32 - box.left - box.width
    square = cv2.copyMakeBorder(plane, box.top, below, box.left, right, cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(on_canvas_grid(plane[None], box, 32, (32, 32))[0], square, rtol=1e-5)


@pytest.fixture(scope="module")
def labelled():
    return blobs(((32, 32), (24, 32), (32, 20)))


@pytest.fixture(scope="module")
def states():
    """Networks that know nothing but have an opinion everywhere."""
    torch.manual_seed(0)
    backbone = Backbone.from_settings(BACKBONE)
    net = AffinityNet(backbone).state_dict()
    net["merge.weight"] *= 10
    maps = localisation_net(backbone, 2, background=True).state_dict()
    maps["classifier.weight"] *= 30
    return maps, net


def literal_scores(view, states, alpha, beta, steps):
    """Dense walks of every plane, those of absent classes too, which stay empty."""
    net = AffinityNet(Backbone.from_settings(BACKBONE)).eval()
    net.load_state_dict(states[1])
    for index, found in enumerate(localisations(view, states[0], BACKBONE, (1.0, 0.5))):
        images, (box, ) = view.canvas([index], 32)
        with torch.no_grad():
            weights = symmetric(affinities(net(normalise(images)), OFFSETS)[0].double(), OFFSETS) ** beta
        dense = torch.matrix_power(weights / weights.sum(1, keepdim=True), steps)
        reduced = on_canvas_grid(with_background(found.relative, alpha), box, 32, (8, 8))
        walked = dense @ torch.from_numpy(reduced).double().flatten(1).T
        yield from_canvas(walked.T.reshape(3, 8, 8).float(), box, 32, view.size(index)).numpy()


@pytest.mark.parametrize(("alpha", "beta", "steps"), [(16, 8, 256), (1, 2, 4)])
def test_labels_are_the_largest_walked_score_before_and_after_the_crf(labelled, states, alpha, beta, steps):
    view, crf = labelled.train_view(), V1.scaled(0.1)
    found = walk_frames(labelled.guarded(), *states, BACKBONE, (1.0, 0.5), alpha, beta, steps, crf=asdict(crf))
    assert found.keys() == {"masks", "refined"}
    for index, scores in enumerate(literal_scores(view, states, alpha, beta, steps)):
        plain, refined = label_image(view.image(index), scores, crf)
        assert (frames.rows_of(view, found["masks"])[index] == plain).mean() > 0.99  # but for ties
        assert (frames.rows_of(view, found["refined"])[index] == refined).mean() > 0.99
        assert set(np.unique(plain)) <= {0, 1 + index % 2}


def test_without_a_crf_there_are_masks_alone_and_steps_and_radius_count(labelled, states):
    view = labelled.train_view()

    def masks(**changes):
        settings = {"background_alpha": 1, "beta": 2, "steps": 4} | changes
        found = walk_frames(view, *states, BACKBONE, (1.0,), **settings)
        assert found.keys() == {"masks"}
        return found["masks"]

    standing = masks(steps=0)
    assert standing.shape == (3, 32, 32) and standing.dtype == np.uint8
    for changes in ({}, {"background_alpha": 3}):
        assert (masks(**changes) != standing).any()
    assert (masks(radius=2) != masks()).any() and (masks(beta=20) != masks()).any()
