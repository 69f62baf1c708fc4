"""Affinities of nearby positions and what labels say of them, against loops over pairs and dense walks."""

import math
from dataclasses import asdict
from itertools import product

import cv2
import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs, normal, uniform

from wsss_lab.data import frames
from wsss_lab.data.canvas import canvas_box, from_canvas, normalise
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.deeplab_v3plus import AffinityNet
from wsss_lab.refinement import affinity as module
from wsss_lab.refinement.affinity import affinities, affinity_labels, half_disc, transition, walk, with_background
from wsss_lab.refinement.dense_crf import V1, CrfParameters, label_image
from wsss_lab.seeds.localisation import localisations
from wsss_lab.seeds.saliency_supervision import localisation_net

VIEW = blobs(((32, 32), (24, 32), (32, 20))).guarded()  # reading a mask would raise


def places(height, width, offsets):
    """Pair number, position and its partner, for all pairs on the grid."""
    for (pair, (down, right)), y, x in product(enumerate(offsets), range(height), range(width)):
        if 0 <= y + down < height and 0 <= x + right < width:
            yield pair, (y, x), (y + down, x + right)


@pytest.mark.parametrize("radius", [2, 3, 5, 6])
def test_offsets_and_their_opposites_are_the_open_disc_without_its_centre(radius):
    forward, reach = half_disc(radius), range(-radius, radius + 1)
    both = forward + [(-down, -right) for down, right in forward]
    disc = {(y, x) for y, x in product(reach, reach) if 0 < math.hypot(y, x) < radius}
    assert len(both) == len(disc) and set(both) == disc and forward == sorted(forward)


@pytest.mark.parametrize(("height", "width", "radius"), [(6, 7, 5), (6, 7, 3), (2, 3, 5), (3, 1, 5), (1, 1, 2)])
def test_affinities_are_the_exponential_of_minus_the_mean_difference(height, width, radius):
    """Loops over all pairs; what leaves the grid is 0, also on grids smaller than the radius."""
    features, offsets = normal(2, 3, height, width), half_disc(radius)
    images, expected = features.tolist(), np.zeros((2, len(offsets), height, width))
    for b, (pair, (y, x), (v, u)) in product(range(2), places(height, width, offsets)):
        distance = sum(abs(plane[y][x] - plane[v][u]) for plane in images[b]) / 3
        expected[b, pair, y, x] = math.exp(-distance)
    np.testing.assert_allclose(affinities(features, offsets).numpy(), expected)
    if height * width < 10:
        assert torch.autograd.gradcheck(lambda x: affinities(x, offsets), features.requires_grad_())


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
    for found, group in zip(module.pair_labels(labels, offsets), expected, strict=True):
        assert group.any() and torch.equal(found, group)


@pytest.mark.parametrize(("groups", "expected"), [
    # each group counts by its own mean: -log 0.9; -log 0.5 and -log 0.25; -log(1 - 0.1)
    (([1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0]),
     -math.log(0.9) / 4 - math.log(0.5 * 0.25) / 2 / 4 - math.log(0.9) / 2),
    # groups without pairs add nothing
    (([0, 0, 0, 0, 1], [0] * 5, [0] * 5), -math.log(0.6) / 4),
    (([0] * 5, [0, 0, 0, 0, 1], [0] * 5), -math.log(0.6) / 4),
    (([0] * 5, [0] * 5, [0, 0, 0, 0, 1]), -math.log(0.4) / 2), (([0] * 5, [0] * 5, [0] * 5), 0)])
def test_loss_by_hand(groups, expected):
    affinity = torch.tensor([0.9, 0.5, 0.25, 0.1, 0.6]).view(1, 1, 1, 5)
    pairs = module.Pairs(*(torch.tensor(group, dtype=torch.bool).view(1, 1, 1, 5) for group in groups))
    assert module.affinity_loss(affinity, pairs).item() == pytest.approx(expected, abs=3e-5)


NO_PAIRS = CrfParameters(bilateral_weight=0, bilateral_xy=1, bilateral_rgb=1, spatial_weight=0, spatial_xy=1)
TAGS = np.array([True, False, True])


def grey(*size):
    return np.full((*size, 3), 110, np.uint8)


def test_sure_labels_by_hand():
    """Strong background (1 - m)^4 and weak (1 - m)^24 beside the largest map m.

    m = 0: background. 0.05: weak 0.29 > m, background. 0.2: strong 0.41 > m > weak 0.005, not sure. 0.5: strong 0.06,
    foreground. 0.9 likewise, of the larger of two classes.
    """
    relative = np.array([[[0.0, 0.05, 0.2, 0.5, 0.9]], [[0.0] * 5], [[0.0, 0.0, 0.1, 0.0, 0.95]]])
    for alphas, expected in (
            ((), [0, 0, 255, 1, 3]),
            # At 0.2 a strong (1 - m)^8 = 0.17 makes foreground, a weak (1 - m)^6 = 0.26 background.
            (((8, 24), ), [0, 0, 1, 1, 3]), (((4, 6), ), [0, 0, 0, 1, 3])):
        assert affinity_labels(grey(1, 5), relative, TAGS, NO_PAIRS, *alphas).tolist() == [expected]


def test_the_crf_gets_scores_that_sum_to_one_and_present_labels_and_its_weak_background_counts(monkeypatch):
    """The class beside the strong background, and background beside the weak one."""
    asked, relative = [], np.random.default_rng(0).random((3, 1, 1))

    def refine(image, probabilities, parameters, labels):
        asked.append((probabilities, list(labels)))
        return np.eye(3)[[1, 0]][len(asked) - 1][:, None, None]

    monkeypatch.setattr(module, "refine_probabilities", refine)
    assert affinity_labels(grey(1, 1), relative, TAGS, NO_PAIRS).tolist() == [[0]]
    for alpha, (probabilities, labels) in zip((4, 24), asked, strict=True):
        scores = with_background(relative, alpha)
        np.testing.assert_allclose(probabilities, scores / scores.sum(0))
        assert labels == [0, 1, 3]


OFFSETS = half_disc(5)
MAPS = uniform(3, 6, 7)


def affinity_of(height=6, width=7):
    return affinities(normal(1, 4, height, width) / 4, OFFSETS)[0]


def dense(affinity, beta, steps=1):
    """The walk's matrix (hw, hw), pair by pair, to a power."""
    _, height, width = affinity.shape
    found = torch.eye(height * width, dtype=affinity.dtype)
    for pair, (y, x), (v, u) in places(height, width, OFFSETS):
        found[y * width + x, v * width + u] = found[v * width + u, y * width + x] = affinity[pair, y, x] ** beta
    return torch.matrix_power(found / found.sum(1, keepdim=True), steps)


@pytest.mark.parametrize(("height", "width"), [(6, 7), (11, 4), (2, 3), (1, 6), (1, 1)])
@pytest.mark.parametrize("beta", [1, 8, 0.5])
def test_the_matrix_is_the_normalised_power_of_symmetric_affinities(height, width, beta):
    affinity = affinity_of(height, width)
    affinity[affinity == 0] = 0.7  # of pairs that leave the grid: it doesn't matter
    torch.testing.assert_close(transition(affinity, OFFSETS, beta).to_dense(), dense(affinity, beta))


@pytest.mark.parametrize("steps", [0, 1, 3, 256])
def test_the_walk_is_a_power_of_the_dense_matrix(steps):
    expected = torch.einsum("ij,kj->ki", dense(affinity_of(), 8, steps), MAPS.flatten(1)).view_as(MAPS)
    torch.testing.assert_close(walk(transition(affinity_of(), OFFSETS, 8), MAPS, steps), expected)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda a: half_disc(1), ParameterError, "radius=1 "),
    (lambda a: affinity_labels(grey(1, 1), np.zeros((3, 1, 1)), TAGS, NO_PAIRS, (4, 4)), ParameterError, "alphas"),
    (lambda a: affinity_labels(grey(1, 1), np.zeros((3, 1, 1)), TAGS, NO_PAIRS, (0, 4)), ParameterError, "alphas"),
    (lambda a: transition(a, OFFSETS[1:]), DataError, "34 offsets"),
    (lambda a: transition(a, OFFSETS, 0), ParameterError, "beta=0"),
    (lambda a: walk(transition(a, OFFSETS), MAPS[:, 1:]), DataError, r"\(5, 7\)"),
    (lambda a: walk(transition(a, OFFSETS), MAPS, -1), ParameterError, "steps=-1")])
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(affinity_of())


@pytest.mark.parametrize("size", [(20, 32), (32, 9), (32, 1)])
def test_maps_of_other_images_are_continued_as_the_image_is(size):
    """By reflection without the edge, more than once where there is much room."""
    plane, box = np.random.default_rng(0).random(size, np.float32), canvas_box(*size, 32)
    below, right = 32 - box.top - box.height, 32 - box.left - box.width
    square = cv2.copyMakeBorder(plane, box.top, below, box.left, right, cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(module.on_canvas_grid(plane[None], box, 32, (32, 32))[0], square, rtol=1e-5)


@pytest.fixture(scope="module")
def states():
    """Networks that know nothing but have an opinion everywhere."""
    torch.manual_seed(0)
    backbone = Backbone.from_settings(BACKBONE)
    net, maps = AffinityNet(backbone).state_dict(), localisation_net(backbone, 2, background=True).state_dict()
    net["merge.weight"] *= 10
    maps["classifier.weight"] *= 30
    return maps, net


def test_frames_hold_the_sure_labels_of_every_image(states):
    crf = V1.scaled(0.1)
    found = module.affinity_label_frames(VIEW, states[0], BACKBONE, (1.0, 0.5), asdict(crf), (1, 3))["masks"]
    expected = (affinity_labels(VIEW.image(index), maps.relative, VIEW.tags[index], crf, (1, 3))
                for index, maps in enumerate(localisations(VIEW, states[0], BACKBONE, (1.0, 0.5))))
    np.testing.assert_array_equal(found, frames.stack(VIEW, expected))
    assert {0, 255} < set(np.unique(found[:, :20, :20])) <= {0, 1, 2, 255}


def literal_scores(states, alpha, beta, steps):
    """Dense walks of every plane, those of absent classes too, which stay empty."""
    net = AffinityNet(Backbone.from_settings(BACKBONE)).eval()
    net.load_state_dict(states[1])
    for index, found in enumerate(localisations(VIEW, states[0], BACKBONE, (1.0, 0.5))):
        images, (box, ) = VIEW.canvas([index], 32)
        with torch.no_grad():
            matrix = dense(affinities(net(normalise(images)), OFFSETS)[0].double(), beta, steps)
        reduced = module.on_canvas_grid(with_background(found.relative, alpha), box, 32, (8, 8))
        walked = matrix @ torch.from_numpy(reduced).double().flatten(1).T
        yield from_canvas(walked.T.reshape(3, 8, 8).float(), box, 32, VIEW.size(index)).numpy()


@pytest.mark.parametrize(("alpha", "beta", "steps"), [(16, 8, 256), (1, 2, 4)])
def test_labels_are_the_largest_walked_score_before_and_after_the_crf(states, alpha, beta, steps):
    crf, arguments = V1.scaled(0.1), (VIEW, *states, BACKBONE, (1.0, 0.5), alpha, beta, steps)
    found = module.walk_frames(*arguments, crf=asdict(crf))
    labels = (label_image(VIEW.image(index), scores, crf)
              for index, scores in enumerate(literal_scores(states, alpha, beta, steps)))
    for name, expected in zip(("masks", "refined"), zip(*labels), strict=True):
        assert (found[name] == frames.stack(VIEW, expected)).mean() > 0.99  # but for ties
    without = module.walk_frames(*arguments)
    assert without.keys() == {"masks"} and (without["masks"] == found["masks"]).all()
    assert (module.walk_frames(*arguments, radius=2)["masks"] != found["masks"]).any()
