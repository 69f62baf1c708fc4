"""Labels of the trained network of Roy & Todorovic 2017: predicted classes, priors, iterations, tags."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs, make_view
from torch import nn

from wsss_lab.data import frames
from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.errors import ParameterError
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import TOY_BLOCKS, vgg_trunk
from wsss_lab.refinement.crf_rnn import LEAST_ATTENTION, CrfRnn, bilateral_kernel
from wsss_lab.refinement.dense_crf import V2
from wsss_lab.seeds.top_down import Attention, cell_weights
from wsss_lab.segmenter.fusion import (
    PRIORS,
    Method,
    Seen,
    attention_maps,
    class_maps,
    fused,
    looked_at,
    predicted_labels,
    restore_fusion,
    segment_fusion,
    train_fusion,
)

torch.set_num_threads(1)
SIDE, GRID = 32, (8, 8)
SIZES = ((SIDE, SIDE), (16, SIDE), (SIDE, SIDE), (40, 24))
METHOD = Method().settings()


@pytest.fixture(scope="module")
def view():
    return blobs(SIZES).train_view()


def trained(view, method, iterations=25):
    torch.manual_seed(0)
    plan = Schedule(iterations, 4, 4e-3, policy="constant").settings()
    return train_fusion(view, vgg_trunk("HighRes", TOY_BLOCKS).state_dict(), BACKBONE, plan, 0, method.settings(),
                        0)["state"]


@pytest.fixture(scope="module")
def state(view):
    return trained(view, Method())


def segment(view, state, **options):
    return segment_fusion(view, state, BACKBONE, METHOD, **options)


def retagged(tags):
    """The same images with other tags."""
    labelled = blobs(SIZES)
    return make_view([labelled.image(row) for row in range(4)], [labelled.mask(row) for row in range(4)],
                     tags).train_view()


# --- predicted labels ------------------------------------------------------------------------------------------------


def test_predicted_labels_by_hand():
    """Logits above 0 are a p(y|x) above one half; the likeliest class is there in any case, and the background."""
    scores = torch.tensor([[-9.0, 0.1, 3.0, -0.1], [9.0, -5.0, -4.0, -6.0], [0.0, 0.0, 1e-3, 0.0], [1, -1, 2, 2]])
    assert predicted_labels(scores).tolist() == [
        [True, True, True, False], [True, False, True, False], [True, False, True, False], [True, False, True, True]]


def test_the_score_of_the_background_decides_nothing():
    scores = torch.tensor([[-9.0, -1.0, -2.0], [9.0, -1.0, -2.0]])
    assert predicted_labels(scores).tolist() == [[True, True, False]] * 2


# --- what stands beside p^S (Eq. 11) ---------------------------------------------------------------------------------


def with_crf(iterations=3):
    """A network of which nothing but its CRF-RNN matters."""
    net = nn.Module()
    net.crf = CrfRnn(3, iterations).requires_grad_(False)
    return net


def one_cell():
    """Probabilities (1/2, 1/4, 1/4) of one cell, attention (1/8, 7/8, 0), image scores of p (1/2, 3/4, 1/5)."""
    maps = torch.tensor([1 / 2, 1 / 4, 1 / 4]).log().view(1, 3, 1, 1)
    attention = torch.tensor([1 / 8, 7 / 8, 0]).view(1, 3, 1, 1)
    scores = torch.tensor([[1 / 2, 3 / 4, 1 / 5]]).logit()
    return Seen(maps, attention, scores, torch.tensor([[True, True, False]]), torch.zeros(1, 49, 1, 1))


@pytest.mark.parametrize(("prior", "products"), [
    ("attention", [1 / 16, 7 / 32, LEAST_ATTENTION / 4]), ("image", [1 / 4, 3 / 16, 1 / 20]),
    ("none", [1 / 2, 1 / 4, 1 / 4])])
def test_priors_by_hand(prior, products):
    """Without any neighbour, what the CRF-RNN gives is the product divided by its sum."""
    found = fused(with_crf(), one_cell(), prior).flatten()
    assert found.tolist() == pytest.approx([value / sum(products) for value in products], rel=1e-5)


def test_priors_of_many_cells_are_refined_by_the_networks_own_crf():
    generator = torch.Generator().manual_seed(0)
    maps, scores = torch.randn(2, 3, *GRID, generator=generator), torch.randn(2, 3, generator=generator)
    attention = torch.rand(2, 3, *GRID, generator=generator)
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    seen = Seen(maps, attention, scores, torch.ones(2, 3, dtype=torch.bool), bilateral_kernel(images, GRID))
    beside = {"attention": attention.clamp(min=LEAST_ATTENTION), "image": scores.sigmoid()[..., None, None],
              "none": torch.ones(1)}
    for prior in PRIORS:
        for net in (with_crf(0), with_crf(3)):
            expected = net.crf(-(maps.softmax(1) * beside[prior]).log(), seen.kernel)
            torch.testing.assert_close(fused(net, seen, prior), expected)
    assert not torch.allclose(fused(with_crf(0), seen), fused(with_crf(3), seen), atol=1e-3)


# --- looking at a view -----------------------------------------------------------------------------------------------


def test_a_batch_of_what_is_seen_equals_a_look_at_each_image(view, state):
    net = restore_fusion(state, BACKBONE, METHOD)
    seen = list(looked_at(net, Method(), view, SIDE, "known", batch=3))
    assert [list(indices) for indices, _, _ in seen] == [[0, 1, 2], [3]]
    for index in range(4):
        (_, boxes, alone), = looked_at(net, Method(), view.subset([index]), SIDE, "known")
        _, batch_boxes, together = seen[index // 3]
        assert torch.equal(boxes[0], batch_boxes[index % 3])
        for one, many in zip(alone, together):
            torch.testing.assert_close(one[0], many[index % 3], rtol=1e-4, atol=1e-5)


def test_what_is_seen_are_the_networks_maps_and_its_attention(view, state):
    net = restore_fusion(state, BACKBONE, METHOD)
    for tags in ("known", "predicted"):
        (_, _, seen), = looked_at(net, Method(), view, SIDE, tags)
        pixels, _ = view.canvas(range(4), SIDE)
        maps, scores = net(normalise(pixels))
        present = predicted_labels(scores)
        if tags == "known":
            present = torch.cat([torch.ones(4, 1, dtype=torch.bool), torch.tensor(view.tags)], 1)
        torch.testing.assert_close(seen.maps, maps)
        torch.testing.assert_close(seen.scores, scores)
        assert torch.equal(seen.present, present) and seen.present.dtype == torch.bool
        torch.testing.assert_close(seen.attention, Attention().label_attention(
            net, net.features(normalise(pixels)), present, cell_weights(pixels, GRID)))
        torch.testing.assert_close(seen.kernel, bilateral_kernel(pixels, GRID))
        assert not seen.maps.requires_grad


# --- labels of a view ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("prior", "tags", "iterations"), [
    ("attention", "predicted", None), ("none", "predicted", 0), ("image", "predicted", 1), ("attention", "known", 2)])
def test_labels_are_the_likeliest_at_image_size(view, state, prior, tags, iterations):
    found = segment(view, state, prior=prior, tags=tags, iterations=iterations)
    net = restore_fusion(state, BACKBONE, METHOD)
    if iterations is not None:
        net.crf.iterations = iterations
    (_, boxes, seen), = looked_at(net, Method(), view, SIDE, tags)
    q = fused(net, seen, prior).detach()
    expected = [from_canvas(each, box, SIDE, size).argmax(0).numpy() for each, box, size in zip(q, boxes, SIZES)]
    assert found["masks"].shape == (4, 40, 32) and found["masks"].dtype == np.uint8
    for labels, each in zip(frames.rows_of(view, found["masks"]), expected, strict=True):
        np.testing.assert_array_equal(labels, each)
    assert (found["masks"][1, 16:] == 255).all() and np.array_equal(found["masks"], found["refined"])
    assert found["scores"].dtype == np.float32
    np.testing.assert_allclose(found["scores"], seen.scores.numpy(), rtol=1e-5)


def test_the_trained_number_of_iterations_is_the_default(view):
    method = Method(iterations=1)
    state = trained(view, method, iterations=2)
    found = {count: segment_fusion(view, state, BACKBONE, method.settings(), iterations=count)["masks"]
             for count in (None, 0, 1)}
    assert np.array_equal(found[None], found[1])


def test_priors_and_iterations_change_labels_and_no_score(view, state):
    plain = segment(view, state)
    for options in ({"prior": "none"}, {"prior": "image"}, {"iterations": 0}):
        other = segment(view, state, **options)
        assert not np.array_equal(other["masks"], plain["masks"]), options
        assert np.array_equal(other["scores"], plain["scores"])


def test_tags_are_not_looked_at_unless_they_are_known(view, state):
    """An image of a cat that is said to show a dog has a dog in it only if its tags are believed."""
    swapped = retagged(~view.tags)
    plain, same = segment(view, state), segment(swapped, state)
    assert all(np.array_equal(plain[name], same[name]) for name in plain)
    assert np.array_equal(plain["masks"], segment(view, state, tags="known")["masks"]), "it has learned its tags"
    assert not np.array_equal(plain["masks"], segment(swapped, state, tags="known")["masks"])


def test_a_dense_crf_refines_what_the_network_gives(view, state):
    found = segment(view, state, iterations=0, crf=asdict(V2))
    assert np.array_equal(found["masks"], segment(view, state, iterations=0)["masks"])
    assert not np.array_equal(found["refined"], found["masks"]) and (found["refined"][1, 16:] == 255).all()


@pytest.mark.parametrize(("options", "message", "expected"), [
    ({"prior": "pixel"}, "prior='pixel'", "attention or image or none"),
    ({"tags": "true"}, "tags='true'", "predicted or known")])
def test_words_that_mean_nothing_are_refused(view, state, options, message, expected):
    with pytest.raises(ParameterError, match=message) as caught:
        segment(view, state, **options)
    assert caught.value.expected == expected


# --- maps of a view --------------------------------------------------------------------------------------------------


def test_attention_maps_are_shared_by_the_known_labels(view, state):
    maps = attention_maps(view, state, BACKBONE, METHOD)["maps"]
    assert maps.shape == (4, 3, *GRID) and maps.dtype == np.float16 and maps.min() >= 0
    np.testing.assert_allclose(maps.astype(float).sum(1), 1, atol=2e-3)
    shown = maps[:, 1:].any((2, 3))
    assert np.array_equal(shown, view.tags)
    (_, _, seen), = looked_at(restore_fusion(state, BACKBONE, METHOD), Method(), view, SIDE, "known")
    np.testing.assert_allclose(maps, seen.attention.numpy(), atol=1e-3)


def test_attention_maps_of_another_attention_and_of_predicted_labels(view, state):
    plain = attention_maps(view, state, BACKBONE, METHOD)["maps"]
    parents = Method(Attention("none", activation=0.0)).settings()
    assert np.abs(attention_maps(view, state, BACKBONE, parents)["maps"] - plain).max() > 0.05
    swapped = retagged(~view.tags)
    assert np.array_equal(attention_maps(swapped, state, BACKBONE, METHOD)["maps"][:, 1:].any((2, 3)), swapped.tags)
    assert np.array_equal(attention_maps(swapped, state, BACKBONE, METHOD, "predicted")["maps"], plain)


def test_class_maps_are_the_positive_label_maps(view, state):
    maps = class_maps(view, state, BACKBONE, METHOD)["maps"]
    assert maps.shape == (4, 2, *GRID) and maps.dtype == np.float16
    with torch.no_grad():
        expected, _ = restore_fusion(state, BACKBONE, METHOD)(normalise(view.canvas(range(4), SIDE)[0]))
    assert (expected[:, 1:] < 0).any() and (maps >= 0).all()
    np.testing.assert_allclose(maps, expected[:, 1:].clamp(min=0).numpy(), rtol=1e-3, atol=1e-3)
