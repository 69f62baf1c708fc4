"""Measurements of Roy & Todorovic 2017: sparse seeds by hand, the modes of the rectified Gaussian on images."""

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs, make_view

from wsss_lab.data.canvas import canvas_box, from_canvas, normalise
from wsss_lab.data.toyvoc import CLASSES, make_scenes
from wsss_lab.data.views import EvalView
from wsss_lab.evaluation.confusion import VOID
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.networks.backbones import Backbone
from wsss_lab.papers.roy2017.route import (
    SCALES,
    SEED_THRESHOLDS,
    attention_seconds,
    count_pieces,
    gaussian_study,
    inside_objects,
    maps_on_images,
    pieces_of,
    score_attention,
    score_each_object,
    sparse_seeds,
)
from wsss_lab.seeds.neighbours import window
from wsss_lab.seeds.rectified_gaussian import MODES, eigenvalues, mode
from wsss_lab.seeds.top_down import Attention, cell_weights, top_down_maps
from wsss_lab.segmenter.fusion import Method, restore_fusion

torch.set_num_threads(1)
SIDE, GRID, CELLS = 32, (8, 8), 64


def empty(*tags, side=4):
    """Images without any content, of given tags."""
    blank = [np.zeros((side, side), np.uint8)] * len(tags)
    return make_view([np.zeros((side, side, 3), np.uint8)] * len(tags), blank, tags).train_view()


def seeds(view, maps, side=4):
    low, high = SEED_THRESHOLDS
    return sparse_seeds(view, np.array(maps, np.float16), side, low, high)["masks"]


def columns(*values):
    """A map of 4 x 4 cells, equal in all rows."""
    return [list(values)] * 4


# --- sparse seeds ----------------------------------------------------------------------------------------------------


def test_thresholds_are_a_twentieth_and_a_fifth():
    assert SEED_THRESHOLDS == (0.05, 0.2)


def test_sure_cells_get_a_label_and_others_are_ignored():
    """Of a maximum of 8: 0.25 is below a twentieth, 1 is between a twentieth and a fifth."""
    found = seeds(empty((True, False)), [[columns(0, 0.25, 1, 8), columns(0, 0, 0, 0)]])
    assert found.dtype == np.uint8 and found.tolist() == [columns(0, 0, 255, 1)]


def test_the_largest_map_decides_and_absent_classes_have_no_say():
    """Shares of 1, 1/2, 1/8 and 0 of the first class, of 1/4, 1, 1/16 and 1/32 of the second one."""
    maps = [columns(8, 4, 1, 0), columns(1, 4, 0.25, 0.125)]
    both, first, second = seeds(empty((True, True), (True, False), (False, True)), [maps] * 3)
    assert both.tolist() == columns(1, 2, 255, 0)
    assert first.tolist() == columns(1, 1, 255, 0)
    assert second.tolist() == columns(2, 2, 255, 0)


def test_an_image_without_evidence_is_background_and_negative_values_are_none():
    found = seeds(empty((True, False), (True, False)), [[columns(0, 0, 0, 0)] * 2, [columns(-8, -1, 0.1, 1)] * 2])
    assert not found[0].any() and found[1].tolist() == columns(0, 0, 255, 1)


def test_seeds_have_the_sizes_of_their_images():
    view = blobs([(16, 32), (32, 32)]).train_view()
    found = seeds(view, np.full((2, 2, 8, 8), 3), SIDE)
    assert found.shape == (2, 32, 32) and (found[0, 16:] == 255).all()
    assert (found[0, :16] == 1).all() and (found[1] == 2).all()


# --- the study of the rectified Gaussian -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def view():
    labelled = blobs([(SIDE, SIDE)] * 4)
    tags = [[True, False], [True, True], [False, True], [False, True]]
    return make_view([labelled.image(row) for row in range(4)], [labelled.mask(row) for row in range(4)],
                     tags).train_view()


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = Method().network(Backbone.from_settings(BACKBONE), 2)
    net.classifier.weight.data.abs_()  # evidence for every class
    return net


IMAGES = (3, 1)


@pytest.fixture(scope="module")
def found(view, net):
    return gaussian_study(view, net.state_dict(), BACKBONE, Method().settings(), IMAGES)


def chosen(found, what, name):
    return found[what][MODES.index(name)]


def test_shapes_and_types(found):
    shapes = {"b": (2, *GRID), "similarity": (2, len(window()), *GRID), "maps": (4, 2, *GRID), "residual": (4, 2),
              "active": (4, 2), "eigenvalues": (2, 2, CELLS)}
    assert {name: value.shape for name, value in found.items()} == shapes
    assert {name for name, value in found.items() if value.dtype != np.float32} == {"eigenvalues"}


def test_each_image_is_studied_for_its_first_tag_before_neighbours_take_part(view, net, found):
    """The dog of image 3 and the cat of image 1; alpha takes part where attention ends, and only there."""
    pixels, _ = view.canvas(IMAGES, SIDE)
    net = restore_fusion(net.state_dict(), BACKBONE, Method().settings())
    with torch.no_grad():
        features = net.features(normalise(pixels))
        weights = cell_weights(pixels, GRID)
        present = torch.tensor([[False, False, True], [False, True, False]])
        parents = top_down_maps(net, features, present, weights, Attention("none", activation=0.0))
    own = features.sum(1) / features.sum((1, 2, 3))[:, None, None]
    np.testing.assert_allclose(found["b"], ((parents + own) / 2).numpy(), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found["similarity"], weights.numpy())


def test_the_activation_is_that_of_the_training(view, net, found):
    alone = gaussian_study(view, net.state_dict(), BACKBONE, Method(Attention(activation=0.0)).settings(), IMAGES)
    assert np.abs(alone["b"] - found["b"]).max() > 1e-3
    np.testing.assert_allclose(alone["b"].sum((1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("name", MODES)
def test_maps_are_the_modes_of_b(found, name):
    b, weights = torch.tensor(found["b"])[:, None], torch.tensor(found["similarity"])
    expected = mode(b, weights, name)
    np.testing.assert_allclose(chosen(found, "maps", name), expected.maps[:, 0].numpy(), rtol=1e-5)
    np.testing.assert_allclose(chosen(found, "residual", name), expected.residual[:, 0].numpy(), rtol=1e-4, atol=1e-9)


def test_the_printed_programme_leaves_one_active_cell(found):
    assert chosen(found, "active", "literal").tolist() == [1 / CELLS] * 2
    assert (chosen(found, "active", "smooth") > 0.5).all()
    for name in MODES:
        maps = chosen(found, "maps", name).reshape(2, -1)
        expected = [(each > each.max() / 1000).mean() for each in maps]
        np.testing.assert_allclose(chosen(found, "active", name), expected)


def test_residuals_tell_what_is_no_solution(found):
    assert all((chosen(found, "residual", name) < 1e-5).all() for name in MODES if name != "steps")
    assert (chosen(found, "residual", "steps") > 1e-3).all()


def test_eigenvalues_are_those_of_the_printed_and_of_our_interaction(found):
    weights = torch.tensor(found["similarity"])
    for name, values in zip(("literal", "smooth"), found["eigenvalues"]):
        np.testing.assert_allclose(values, eigenvalues(weights, name).numpy())
    literal, smooth = found["eigenvalues"]
    assert ((literal > 0).sum(1) == CELLS - 1).all() and (smooth < 0).all()


# --- measurements of claims -------------------------------------------------------------------------------------------


def view_of(masks: np.ndarray, classes: int = 2) -> EvalView:
    """Black images with these masks (N, H, W); tags are the classes of the masks."""
    tags = np.stack([(masks == label).any((1, 2)) for label in range(1, classes + 1)], 1)
    return EvalView.from_arrays("val", CLASSES[:classes], [str(number) for number in range(len(masks))], tags,
                                np.zeros((*masks.shape, 3), np.uint8), "generator", masks=masks)


def test_attention_changes_between_pixels_of_one_object_alone():
    mask = np.array([[1, 1, 0], [1, 2, 2], [1, 2, VOID]], np.uint8)
    maps = np.array([[[0.1, 0.4, 0], [0.3, 0, 0], [0.3, 0, 0]], [[0, 0, 0], [0, 0.5, 0.6], [0, 0.9, 1]]])
    change = (0.3 + 0.2 + 0.0) + (0.1 + 0.4)
    assert inside_objects(maps, mask) == pytest.approx((change, 5, 0.1 + 0.4 + 0.3 + 0.3 + 0.5 + 0.6 + 0.9, 7))


def test_attention_does_not_change_across_the_border_of_the_image():
    mask = np.array([[1, 0, 1]] * 2, np.uint8)
    assert inside_objects(np.array([[[0, 0, 1.0]] * 2]), mask) == (0, 2, 2, 4)


def test_maps_are_brought_to_the_image_without_background():
    rng = np.random.default_rng(0)
    view, maps = view_of(np.ones((2, 6, 12), np.uint8)), rng.random((2, 3, 4, 4)).astype(np.float16)
    for each, expected in zip(maps_on_images(view, maps, 8), maps, strict=True):
        assert each.shape == (2, 6, 12)
        assert np.array_equal(each, from_canvas(expected[1:].astype(np.float32), canvas_box(6, 12, 8), 8, (6, 12)))


def test_attention_is_counted_against_the_masks():
    masks = np.array([[[1, 1], [0, 2]]], np.uint8)
    p = np.array([[[0.9, 0.2], [0.6, 0.1]], [[0.05, 0.0], [0.2, 0.7]]])
    maps = np.concatenate([1 - p.sum(0, keepdims=True), p])[None].astype(np.float16)
    found = score_attention(view_of(masks), maps, 2)
    swept = sweep(found["counts"].sum(0))
    assert swept.recall[1:, 64].tolist() == [0.5, 1] and swept.precision[1:, 64].tolist() == [0.5, 1]
    assert found["inside"] == pytest.approx(np.array([[0.7, 1, 0.9 + 0.2 + 0.7, 3]]), abs=1e-3)


def test_pieces_of_a_small_example():
    mask = np.array([[1, 1, 1, 0, 2], [0, 0, 0, 0, 0], [1, 1, VOID, 0, 0]], np.uint8)
    labels = np.array([[1, 0, 1, 0, 1], [0, 2, 2, 0, 0], [0, 0, 1, 1, VOID]], np.uint8)
    # Pieces: (0, 0); (0, 2); (0, 4); (2, 2) with (2, 3); and the one of class 2. The first object is touched by two.
    assert pieces_of(labels, mask) == (5, 3, 2, 1)
    assert pieces_of(mask, mask) == (3, 3, 3, 3)
    assert pieces_of(0 * mask, mask) == (0, 3, 0, 0)


def test_pieces_are_counted_image_by_image_and_specks_are_no_objects():
    masks = np.zeros((2, 20, 20), np.uint8)
    masks[0, 3, 3], masks[1, 5:9, 5:9] = 1, 2  # 1 of 400 pixels is below LEAST
    labels = masks.copy()
    labels[1, 0, 0] = 1
    assert count_pieces(view_of(masks), labels)["counts"].tolist() == [[1, 0, 0, 0], [2, 1, 1, 1]]


def test_every_object_has_its_recall_and_its_attention():
    none = [0] * 4
    masks = np.array([[[1, 1, 0, 2], [1, 1, 0, 0], none, [2] * 4], [none, none, none, [0, 0, 0, 1]]], np.uint8)
    labels = np.array([[[1, 0, 0, 1], [1, 1, 0, 0], none, [2, 2, 0, 0]], [none] * 4], np.uint8)
    maps = np.zeros((2, 3, 4, 4), np.float16)
    maps[0, 1, 0, :2], maps[0, 2, 3, 2], maps[0, 2, 0, 3], maps[1, 2] = (0.5, 0.25), 0.75, 0.125, 1
    found = score_each_object(view_of(masks), labels, maps, 4)
    assert {name: values.tolist() for name, values in found.items()} == {
        "image": [0, 0, 0, 1], "label": [1, 2, 2, 1], "area": [0.25, 0.25, 0.0625, 0.0625],
        "recall": [0.75, 0.5, 0, 0], "attention": [0.5, 0.75, 0.125, 0]}


def test_attention_takes_time_in_all_its_parts():
    scenes, backbone = make_scenes(9, 0), SCALES["quick"].backbone
    view = EvalView.from_arrays("val", CLASSES, list("abcdefghi"), scenes["tags"], scenes["images"], "generator",
                                masks=scenes["masks"])
    method = Method(iterations=1)
    state = method.network(backbone, len(CLASSES)).state_dict()
    seconds = [attention_seconds(view, state, backbone.settings(), method.settings(), images, 4)["seconds"]
               for images in (1, 99)]
    assert all(each.shape == (4, 5) and (each > 0).all() for each in seconds)
    assert np.median(seconds[0], 0)[[2, 4]].sum() < np.median(seconds[1], 0)[[2, 4]].sum()
