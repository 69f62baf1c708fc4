"""The random walk over affinities: against loops and dense powers, and what it must and must not do to maps."""

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
from wsss_lab.refinement.affinity import (
    affinities,
    half_disc,
    image_affinities,
    on_canvas_grid,
    transition,
    walk,
    walk_frames,
    with_background,
)
from wsss_lab.refinement.dense_crf import V1, label_image
from wsss_lab.seeds.localisation import localisations
from wsss_lab.seeds.saliency_supervision import localisation_net

torch.set_num_threads(1)
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


# --- the matrix ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(6, 7), (11, 4), (2, 3), (1, 6), (1, 1)])
@pytest.mark.parametrize("beta", [1, 8, 0.5])
def test_the_matrix_is_the_normalised_power_of_symmetric_affinities(height, width, beta):
    affinity = affinity_of(height, width)
    power = symmetric(affinity, OFFSETS) ** beta
    expected = power / power.sum(1, keepdim=True)
    torch.testing.assert_close(transition(affinity, OFFSETS, beta).to_dense(), expected)


def test_it_holds_the_pairs_on_the_grid_alone():
    matrix = transition(affinity_of(41, 41), OFFSETS)
    on_grid = sum((41 - down) * (41 - abs(right)) for down, right in OFFSETS)
    assert matrix.layout == torch.sparse_csr and matrix.shape == (1681, 1681)
    assert matrix.values().numel() == 1681 + 2 * on_grid
    assert matrix.col_indices().dtype == matrix.crow_indices().dtype == torch.int32


def test_what_stands_outside_of_the_grid_does_not_matter():
    affinity = affinity_of()
    filled = torch.where(affinity == 0, 0.7, affinity)
    assert (filled != affinity).any()
    assert torch.equal(transition(filled, OFFSETS).to_dense(), transition(affinity, OFFSETS).to_dense())


# --- the walk --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 3, 256])
def test_the_walk_is_a_power_of_the_dense_matrix(steps):
    affinity, maps = affinity_of(), maps_of()
    power = symmetric(affinity, OFFSETS) ** 8
    dense = torch.matrix_power(power / power.sum(1, keepdim=True), steps)
    expected = torch.einsum("ij,kj->ki", dense, maps.flatten(1)).view_as(maps)
    torch.testing.assert_close(walk(transition(affinity, OFFSETS, 8), maps, steps), expected)


def test_columns_divided_and_multiplied_from_the_other_side_are_the_same():
    """The form of the released code."""
    affinity, maps = affinity_of(), maps_of()
    power = symmetric(affinity, OFFSETS) ** 8
    columns = power / power.sum(0, keepdim=True)
    for _ in range(4):
        columns = columns @ columns
    expected = (maps.flatten(1) @ columns).view_as(maps)
    torch.testing.assert_close(walk(transition(affinity, OFFSETS, 8), maps, 16), expected)


def test_single_precision_stays_near_the_dense_power_on_a_grid_of_400():
    affinity, maps = affinity_of(20, 20).float(), maps_of(20, 20).float()
    matrix = transition(affinity, OFFSETS)
    dense = torch.matrix_power(matrix.to_dense().double(), 256) @ maps.flatten(1).T.double()
    torch.testing.assert_close(walk(matrix, maps).double(), dense.T.reshape(maps.shape), rtol=1e-4, atol=1e-5)


def test_constant_maps_stay_and_others_keep_within_their_range():
    matrix = transition(affinity_of(), OFFSETS)
    torch.testing.assert_close(walk(matrix, torch.full((1, 6, 7), 0.3, dtype=torch.float64)),
                               torch.full((1, 6, 7), 0.3, dtype=torch.float64))
    maps, before = maps_of(), maps_of()
    for _ in range(4):
        after = walk(matrix, before, 5)
        assert (after.amax((1, 2)) < before.amax((1, 2))).all() and (after.amin((1, 2)) > before.amin((1, 2))).all()
        before = after
    assert torch.equal(maps, maps_of())


def test_regions_without_affinity_to_each_other_do_not_mix():
    """What is spread over each of two halves is its own weighted mean."""
    side = (torch.arange(7) < 3).expand(6, 7)
    affinity = affinities(10.0 ** 6 * side.double()[None, None], OFFSETS)[0]
    maps = torch.where(side, maps_of(), 5 + maps_of())
    walked = walk(transition(affinity, OFFSETS), maps, 2000)
    degrees = symmetric(affinity, OFFSETS).sum(1).view(6, 7)
    for region in (side, ~side):
        weights = degrees * region
        mean = (maps * weights).sum((1, 2)) / weights.sum()
        torch.testing.assert_close(walked[:, region], mean[:, None].expand(3, int(region.sum())))


def test_planes_do_not_mix():
    matrix, maps = transition(affinity_of(), OFFSETS), maps_of()
    torch.testing.assert_close(walk(matrix, maps, 9)[1:2], walk(matrix, maps[1:2], 9))


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda a, m: transition(a, OFFSETS[1:]), DataError, "34 offsets"),
    (lambda a, m: transition(a, OFFSETS, 0), ParameterError, "beta=0"),
    (lambda a, m: walk(transition(a, OFFSETS), m[:, 1:]), DataError, r"\(5, 7\)"),
    (lambda a, m: walk(transition(a, OFFSETS), m, -1), ParameterError, "steps=-1"),
])
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(affinity_of(), maps_of())


# --- maps on the grid of the canvas ----------------------------------------------------------------------------------


def test_maps_of_a_full_canvas_are_averaged_over_cells():
    planes = np.random.default_rng(0).random((2, 32, 32), np.float32)
    found = on_canvas_grid(planes, canvas_box(32, 32, 32), 32, (8, 8))
    np.testing.assert_allclose(found, planes.reshape(2, 8, 4, 8, 4).mean((2, 4)), rtol=1e-5)


@pytest.mark.parametrize("size", [(20, 32), (32, 9), (32, 1)])
def test_maps_of_other_images_are_continued_as_the_image_is(size):
    """By reflection without the edge, more than once where there is much room."""
    plane, box = np.random.default_rng(0).random(size, np.float32), canvas_box(*size, 32)
    below, right = 32 - box.top - box.height, 32 - box.left - box.width
    square = cv2.copyMakeBorder(plane, box.top, below, box.left, right, cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(on_canvas_grid(plane[None], box, 32, (32, 32))[0], square, rtol=1e-5)


@pytest.mark.parametrize("size", [(50, 80), (10, 16), (90, 31)])
def test_resized_maps_stay_in_range_and_in_place(size):
    """A ramp from top to bottom comes back as it was, but for the ends, where cells average it."""
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, size[0], dtype=np.float32)[:, None], size).copy()
    box = canvas_box(*size, 32)
    reduced = on_canvas_grid(ramp[None], box, 32, (16, 16))
    assert reduced.min() >= 0.2 and reduced.max() <= 0.8
    back = from_canvas(reduced, box, 32, size)[0]
    assert abs(back - ramp)[size[0] // 5:-(size[0] // 5)].max() < 0.03
    np.testing.assert_allclose(on_canvas_grid(np.full((1, *size), 0.7, np.float32), box, 32, (8, 8)), 0.7, rtol=1e-5)


def test_every_pixel_of_a_larger_image_counts():
    """Samples between pixels 1 and 2 of each four would miss the first."""
    plane = np.zeros((1, 128, 128), np.float32)
    plane[0, 64, 64] = 16
    found = on_canvas_grid(plane, canvas_box(128, 128, 32), 32, (32, 32))
    assert found.sum() == pytest.approx(1)


# --- whole views -----------------------------------------------------------------------------------------------------


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


def test_affinities_of_images_are_those_of_their_canvases(labelled, states):
    net = AffinityNet(Backbone.from_settings(BACKBONE)).eval()
    net.load_state_dict(states[1])
    images, boxes = labelled.canvas(range(3), 32)
    with torch.no_grad():
        expected = affinities(net(normalise(images)), OFFSETS)
    found = list(image_affinities(net, labelled.train_view(), 32, OFFSETS, batch=2))
    assert torch.equal(torch.stack([box for _, box in found]), boxes)
    torch.testing.assert_close(torch.stack([affinity for affinity, _ in found]), expected)


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
