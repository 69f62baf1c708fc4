"""Roy & Todorovic 2017: the losses by hand, training, and labels of the trained network."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs, make_view, schedule
from torch import nn

from wsss_lab.data import frames
from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.trunks import TOY_BLOCKS, vgg_trunk
from wsss_lab.refinement.crf_rnn import LEAST_ATTENTION, CrfRnn, bilateral_kernel, unary
from wsss_lab.refinement.dense_crf import V2
from wsss_lab.seeds.top_down import Attention, cell_weights
from wsss_lab.segmenter import fusion
from wsss_lab.segmenter.fusion import (
    WEIGHT,
    Losses,
    Method,
    Seen,
    attention_maps,
    attention_of,
    class_maps,
    classification_loss,
    fused,
    looked_at,
    predicted_labels,
    restore_fusion,
    segment_fusion,
    segmentation_loss,
    train_fusion,
    with_background,
)

SIDE, GRID = 32, (8, 8)
SIZES = ((SIDE, SIDE), (16, SIDE), (SIDE, SIDE), (40, 24))
POTTS = 1 - torch.eye(3)


def uniform(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def labelled():
    return blobs(SIZES)


@pytest.fixture(scope="module")
def view(labelled):
    return labelled.train_view()


@pytest.fixture(scope="module")
def batch(view):
    """uint8 images and their tags: a cat, a dog, a cat and a dog."""
    pixels, _ = view.canvas(range(4), SIDE)
    return pixels, torch.tensor(view.tags, dtype=torch.float32)


def network(method=None):
    torch.manual_seed(0)
    net = (method or Method()).network(Backbone.from_settings(BACKBONE), 2)
    net.classifier.weight.data *= 20  # label maps that are not all alike
    return net


def train(view, start, method=None, warm_up=0, iterations=3, seed=0, **others):
    return train_fusion(view, start, BACKBONE, schedule(iterations, **others), seed, (method or Method()).settings(),
                        warm_up)


# --- the losses (Eqs. 13 to 15) ---------------------------------------------------------------------------------------


def test_the_classification_loss_by_hand():
    """p is 2/3 and 1/4 of the present, 1/5 of the absent label; in the second image 1/2, 9/10 and 1/3."""
    p = torch.tensor([[2 / 3, 1 / 4, 1 / 5], [1 / 2, 9 / 10, 1 / 3]], dtype=torch.float64)
    present = torch.tensor([[True, True, False], [True, False, False]])
    first = -(math.log(2 / 3) + math.log(1 / 4)) / 2 - math.log(4 / 5)
    second = -math.log(1 / 2) - (math.log(1 / 10) + math.log(2 / 3)) / 2
    assert classification_loss(p.logit(), present).item() == pytest.approx((first + second) / 2)


def test_a_sum_over_no_label_is_0():
    """An image that shows everything has no absent label."""
    scores = torch.tensor([[1.0, -2.0]])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 2
    assert classification_loss(scores, torch.tensor([[True, True]])).item() == pytest.approx(expected)
    expected = (math.log(1 + math.exp(1)) + math.log(1 + math.exp(-2))) / 2
    assert classification_loss(scores, torch.tensor([[False, False]])).item() == pytest.approx(expected)
    scores = torch.tensor([[1000.0, -1000.0]])  # which neither overflow nor hide a mistake
    assert classification_loss(scores, torch.tensor([[True, False]])).item() == 0
    assert classification_loss(scores, torch.tensor([[False, True]])).item() == 2000


def slow_segmentation_loss(p_s, p_a, present):
    images = []
    for image, shown in enumerate(present.tolist()):
        labels = [label for label, there in enumerate(shown) if there]
        total = 0.0
        for row in range(p_s.shape[2]):
            for column in range(p_s.shape[3]):
                for label in labels:
                    s, a = float(p_s[image, label, row, column]), float(p_a[image, label, row, column])
                    total += a * math.log(s) + (1 - a) * math.log(1 - s)
        images.append(-total / (p_s.shape[2] * p_s.shape[3] * len(labels)))
    return sum(images) / len(images)


def test_the_segmentation_loss_equals_loops():
    p_s, p_a = uniform(3, 4, 2, 3), uniform(3, 4, 2, 3, seed=1)
    present = torch.tensor([[True, True, False, False], [True, False, False, False], [True, True, True, True]])
    found = segmentation_loss(p_s.requires_grad_(), p_a.requires_grad_(), present)
    assert found.item() == pytest.approx(slow_segmentation_loss(p_s, p_a, present))
    found.backward()
    assert p_s.grad.any() and p_a.grad is None  # attention is a target


def test_sure_mistakes_cost_much_and_not_more_than_any_number():
    sure = torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 2, 1, 1)
    found = segmentation_loss(sure, 1 - sure, torch.ones(1, 2, dtype=torch.bool)).item()
    assert found == pytest.approx(-math.log(1e-6), rel=1e-4)


def losses_by_hand(net, method, pixels, tags):
    """Classification loss, and the segmentation losses before and after the CRF-RNN."""
    features = net.features(normalise(pixels))
    maps, present = net.scores(features), with_background(tags.bool())
    attention = method.attention.label_attention(net, features, present, cell_weights(pixels, GRID))
    q = net.crf(unary(maps.softmax(1), attention if method.prior else torch.ones(1)), bilateral_kernel(pixels, GRID))
    return (classification_loss(net.aggregation(maps), present).item(),
            segmentation_loss(maps.softmax(1), attention, present).item(),
            segmentation_loss(q, attention, present).item())


@pytest.mark.parametrize(("compared", "prior", "iterations", "shares"), [
    ("both", True, 3, (0.5, 0.5)), ("both", False, 3, (0.5, 0.5)), ("crf", True, 3, (0, 1)),
    ("softmax", True, 3, (1, 0)),
    ("both", True, 0, (1, 0)), ("crf", True, 0, (1, 0))])  # without a CRF there is nothing behind it to compare
def test_the_total_is_the_sum_of_what_is_compared(batch, compared, prior, iterations, shares):
    method = Method(prior=prior, compared=compared, iterations=iterations, weight=0.7)
    net, losses = network(method), Losses(method, 0)
    classification, before, after = losses_by_hand(net, method, *batch)
    expected = shares[0] * before + shares[1] * after
    assert losses(net, *batch).item() == pytest.approx(classification + 0.7 * expected, rel=1e-5)
    assert losses.curves == {"classification": [pytest.approx(classification, rel=1e-5)],
                             "segmentation": [pytest.approx(expected, rel=1e-5)]}
    assert abs(before - after) > 1e-4


def test_attention_teaches_and_is_not_taught(batch):
    """Both losses move the trunk; without the attention's own gradient, as if the attention had been given."""
    pixels, tags = batch
    net, method = network(), Method()
    loss = Losses(method, 0)(net, pixels, tags)
    found = torch.autograd.grad(loss, list(net.parameters()))
    features = net.features(normalise(pixels))
    present = with_background(tags.bool())
    with torch.no_grad():
        attention = attention_of(net, method, cell_weights(pixels, GRID), features, present)
    assert not attention.requires_grad and attention.dtype == torch.float32
    maps = net.scores(features)
    total = classification_loss(net.aggregation(maps), present) + WEIGHT * Losses(method, 0).segmentation(
        net, maps, attention, cell_weights(pixels, GRID), present)
    for each, expected in zip(found, torch.autograd.grad(total, list(net.parameters())), strict=True):
        torch.testing.assert_close(each, expected)
    assert all(each.any() for each in found)


def test_attention_is_worked_out_in_full_precision(batch):
    """As on a GPU, where trainings run in half precision; features in half precision move it a little."""
    pixels, tags = batch
    net, method, seen = network(), Method(), []

    class Recording(Losses):
        def segmentation(self, net, maps, attention, pixels, present):
            seen.append(attention)
            return super().segmentation(net, maps, attention, pixels, present)

    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = Recording(method, 0)(net, pixels, tags)
        loss.backward()
    full, half = seen
    assert half.dtype == torch.float32 and 0 < (full - half).abs().max() < 0.05
    assert (half.sum(1) - 1).abs().max() < 1e-5


# --- training --------------------------------------------------------------------------------------------------------


def test_training_reads_no_mask_and_gives_its_curves_of_which_the_warm_up_is_classification_alone(labelled, start):
    found = train(labelled.guarded(), start, warm_up=2, iterations=4)
    curves = found["curves"]
    assert len(found["history"]) == 4 and curves.keys() == {"classification", "segmentation"}
    assert curves["segmentation"][:2] == [0, 0] and min(curves["segmentation"][2:]) > 0
    total = np.add(curves["classification"], WEIGHT * np.array(curves["segmentation"]))
    assert total == pytest.approx(found["history"], rel=1e-5)


@pytest.mark.parametrize(("method", "moves"), [(Method(compared="softmax"), False), (Method(), True)])
def test_the_compatibility_learns_from_the_loss_behind_it_alone(view, start, method, moves):
    """Weight decay does not touch it either."""
    state = train(view, start, method, weight_decay=0.1)["state"]
    assert torch.equal(state["crf.compatibility.weight"][..., 0, 0], POTTS) != moves


def test_without_the_segmentation_loss_no_attention_is_asked_for(view, start, monkeypatch):
    monkeypatch.setattr(fusion, "attention_of", None)
    found = train(view, start, Method(Attention("none"), weight=0.0, prior=False))
    assert found["history"] == found["curves"]["classification"] and set(found["curves"]["segmentation"]) == {0.0}


def test_training_starts_from_the_given_trunk(view, start):
    still = train(view, start, iterations=1, lr=0.0)["state"]
    expected = vgg_trunk("DeepLab", TOY_BLOCKS)
    Backbone.from_settings(BACKBONE).load_start(expected, start)
    assert all(torch.equal(still[f"trunk.{name}"], value) for name, value in expected.state_dict().items())


def distance_to_attention(state, batch):
    """Eq. (15) of the label maps less what is left of it where they equal the attention."""
    pixels, tags = batch
    net, present = restore_fusion(state, BACKBONE, Method().settings()), with_background(tags.bool())
    with torch.no_grad():
        features = net.features(normalise(pixels))
        attention = attention_of(net, Method(), cell_weights(pixels, GRID), features, present)
        p_s = net.scores(features).softmax(1)
    return (segmentation_loss(p_s, attention, present) - segmentation_loss(attention, attention, present)).item()


def test_the_network_learns_the_tags_and_to_follow_its_attention(view, start, batch):
    both, alone = (train(view, start, method, iterations=40, lr=4e-3, policy="cosine")
                   for method in (Method(), Method(weight=0.0)))
    for found in (both, alone):
        assert np.mean(found["curves"]["classification"][-5:]) < 0.6 * found["curves"]["classification"][0]
    assert distance_to_attention(both["state"], batch) < 0.2 * distance_to_attention(alone["state"], batch)


def test_a_trained_network_comes_back_as_it_was(view, start):
    method = Method(aggregation="LSE", iterations=5)
    state = train(view, start, method)["state"]
    net = restore_fusion(state, BACKBONE, method.settings())
    assert not net.training and net.crf.iterations == 5 and net.aggregation.kind == "LSE"
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


# --- the method and its network --------------------------------------------------------------------------------------


def test_settings_come_back_as_the_method():
    method = Method(Attention("steps", layers="last"), "GAP", 0.5, False, 2, "softmax")
    assert Method.from_settings(method.settings()) == method != Method()
    assert Method().weight == WEIGHT == 1.5  # the paper's lambda


def test_the_network_gives_label_maps_and_scores_of_the_image(batch):
    net = network().eval()
    images = normalise(batch[0])
    maps, scores = net(images)
    assert maps.shape == (4, 3, *GRID) and scores.shape == (4, 3)
    assert torch.equal(maps, net.scores(net.features(images))) and torch.equal(scores, net.aggregation(maps))
    assert torch.equal(maps, net.classifier(net.head(net.trunk(images)))), "the cut leaves out no layer"


# --- labels of the trained network ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state(view, start):
    return train(view, start, iterations=25, lr=4e-3)["state"]


def segment(view, state, **options):
    return segment_fusion(view, state, BACKBONE, Method().settings(), **options)


def retagged(tags):
    """The same images with other tags."""
    labelled = blobs(SIZES)
    return make_view([labelled.image(row) for row in range(4)], [labelled.mask(row) for row in range(4)],
                     tags).train_view()


def test_predicted_labels_by_hand():
    """Logits above 0 are a p(y|x) above one half; the likeliest class is there in any case, and the background."""
    scores = torch.tensor([[-9.0, 0.1, 3.0, -0.1], [9.0, -5.0, -4.0, -6.0], [0.0, 0.0, 1e-3, 0.0], [1, -1, 2, 2]])
    assert predicted_labels(scores).tolist() == [
        [True, True, True, False], [True, False, True, False], [True, False, True, False], [True, False, True, True]]


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


def test_what_is_seen_are_the_networks_maps_and_its_attention(view, state):
    net = restore_fusion(state, BACKBONE, Method().settings())
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


@pytest.mark.parametrize(("prior", "tags", "iterations"), [
    ("attention", "predicted", None), ("image", "known", 1)])
def test_labels_are_the_likeliest_at_image_size(view, state, prior, tags, iterations):
    found = segment(view, state, prior=prior, tags=tags, iterations=iterations)
    net = restore_fusion(state, BACKBONE, Method().settings())
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


@pytest.mark.parametrize(("wrong", "message", "expected"), [
    (lambda *network: segment(*network, prior="pixel"), "prior 'pixel'", "attention or image or none"),
    (lambda *network: segment(*network, tags="true"), "tags 'true'", "predicted or known"),
    (lambda *_: Method(compared="after"), "compared 'after'", "both or crf or softmax")])
def test_words_that_mean_nothing_are_refused(view, state, wrong, message, expected):
    with pytest.raises(ParameterError, match=message) as caught:
        wrong(view, state)
    assert caught.value.expected == expected


def test_attention_maps_are_shared_by_the_known_labels(view, state):
    maps = attention_maps(view, state, BACKBONE, Method().settings())["maps"]
    assert maps.shape == (4, 3, *GRID) and maps.dtype == np.float16 and maps.min() >= 0
    np.testing.assert_allclose(maps.astype(float).sum(1), 1, atol=2e-3)
    shown = maps[:, 1:].any((2, 3))
    assert np.array_equal(shown, view.tags)
    (_, _, seen), = looked_at(restore_fusion(state, BACKBONE, Method().settings()), Method(), view, SIDE, "known")
    np.testing.assert_allclose(maps, seen.attention.numpy(), atol=1e-3)


def test_attention_maps_of_another_attention_and_of_predicted_labels(view, state):
    plain = attention_maps(view, state, BACKBONE, Method().settings())["maps"]
    parents = Method(Attention("none", activation=0.0)).settings()
    assert np.abs(attention_maps(view, state, BACKBONE, parents)["maps"] - plain).max() > 0.05
    swapped = retagged(~view.tags)
    known = attention_maps(swapped, state, BACKBONE, Method().settings())["maps"]
    assert np.array_equal(known[:, 1:].any((2, 3)), swapped.tags)
    assert np.array_equal(attention_maps(swapped, state, BACKBONE, Method().settings(), "predicted")["maps"], plain)


def test_class_maps_are_the_positive_label_maps(view, state):
    maps = class_maps(view, state, BACKBONE, Method().settings())["maps"]
    assert maps.shape == (4, 2, *GRID) and maps.dtype == np.float16
    with torch.no_grad():
        expected, _ = restore_fusion(state, BACKBONE, Method().settings())(normalise(view.canvas(range(4), SIDE)[0]))
    assert (expected[:, 1:] < 0).any() and (maps >= 0).all()
    np.testing.assert_allclose(maps, expected[:, 1:].clamp(min=0).numpy(), rtol=1e-3, atol=1e-3)
