"""Roy & Todorovic 2017: the losses by hand, training, and labels of the trained network."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs, schedule, uniform
from torch import nn

from wsss_lab.data import frames
from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.refinement.crf_rnn import LEAST_ATTENTION, CrfRnn, bilateral_kernel, unary
from wsss_lab.refinement.dense_crf import V2, label_image
from wsss_lab.seeds.top_down import Attention, cell_weights
from wsss_lab.segmenter import fusion
from wsss_lab.segmenter.fusion import (
    WEIGHT,
    Losses,
    Method,
    attention_of,
    classification_loss,
    looked_at,
    segmentation_loss,
    with_background,
)

SIDE, GRID = 32, (8, 8)
SIZES = ((SIDE, SIDE), (16, SIDE), (SIDE, SIDE), (40, 24))
VIEW = blobs(SIZES).guarded()  # reading a mask would raise
PIXELS, BOXES = VIEW.canvas(range(4), SIDE)
TAGS = torch.tensor(VIEW.tags, dtype=torch.float32)  # a cat, a dog, a cat and a dog
IMAGES, PRESENT, CELLS = normalise(PIXELS), with_background(TAGS.bool()), cell_weights(PIXELS, GRID)


def network(method=None):
    torch.manual_seed(0)
    net = (method or Method()).network(Backbone.from_settings(BACKBONE), 2)
    net.classifier.weight.data *= 20  # label maps that are not all alike
    return net


def train(start, method=None, warm_up=0, iterations=2, **others):
    return fusion.train_fusion(VIEW, start, BACKBONE, schedule(iterations, **others), 0,
                               (method or Method()).settings(), warm_up)


def test_the_classification_loss_by_hand():
    """p is 2/3 and 1/4 of the present, 1/5 of the absent label; in the second image 1/2, 9/10 and 1/3."""
    p = torch.tensor([[2 / 3, 1 / 4, 1 / 5], [1 / 2, 9 / 10, 1 / 3]], dtype=torch.float64)
    present = torch.tensor([[True, True, False], [True, False, False]])
    first = -(math.log(2 / 3) + math.log(1 / 4)) / 2 - math.log(4 / 5)
    second = -math.log(1 / 2) - (math.log(1 / 10) + math.log(2 / 3)) / 2
    assert classification_loss(p.logit(), present).item() == pytest.approx((first + second) / 2)


def test_a_sum_over_no_label_is_0_and_sure_mistakes_are_not_hidden():
    """An image that shows everything has no absent label."""
    for scores, present, expected in (
            ([1.0, -2.0], [True, True], (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 2),
            ([1.0, -2.0], [False, False], (math.log(1 + math.exp(1)) + math.log(1 + math.exp(-2))) / 2),
            ([1000.0, -1000.0], [True, False], 0), ([1000.0, -1000.0], [False, True], 2000)):
        assert classification_loss(torch.tensor([scores]), torch.tensor([present])).item() == pytest.approx(expected)


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
    assert found.item() == pytest.approx(slow_segmentation_loss(p_s.detach(), p_a.detach(), present))
    found.backward()
    assert p_s.grad.any() and p_a.grad is None  # attention is a target


def test_sure_mistakes_cost_much_and_not_more_than_any_number():
    sure = torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 2, 1, 1)
    found = segmentation_loss(sure, 1 - sure, torch.ones(1, 2, dtype=torch.bool)).item()
    assert found == pytest.approx(-math.log(1e-6), rel=1e-4)


def losses_by_hand(net, method):
    """Classification loss, and the segmentation losses before and after the CRF-RNN."""
    features = net.features(IMAGES)
    maps, attention = net.scores(features), method.attention.label_attention(net, features, PRESENT, CELLS)
    q = net.crf(unary(maps.softmax(1), attention if method.prior else torch.ones(1)), bilateral_kernel(PIXELS, GRID))
    return (classification_loss(net.aggregation(maps), PRESENT).item(),
            segmentation_loss(maps.softmax(1), attention, PRESENT).item(),
            segmentation_loss(q, attention, PRESENT).item())


@pytest.mark.parametrize(("compared", "prior", "iterations", "shares"), [
    ("both", True, 3, (0.5, 0.5)), ("both", False, 3, (0.5, 0.5)), ("crf", True, 3, (0, 1)),
    ("softmax", True, 3, (1, 0)), ("both", True, 0, (1, 0)), ("crf", True, 0, (1, 0))])
def test_the_total_is_the_sum_of_what_is_compared(compared, prior, iterations, shares):
    method = Method(prior=prior, compared=compared, iterations=iterations, weight=0.7)
    net, losses = network(method), Losses(method, 0)
    classification, before, after = losses_by_hand(net, method)
    expected = shares[0] * before + shares[1] * after
    assert losses(net, PIXELS, TAGS).item() == pytest.approx(classification + 0.7 * expected, rel=1e-5)
    assert losses.curves == {"classification": [pytest.approx(classification, rel=1e-5)],
                             "segmentation": [pytest.approx(expected, rel=1e-5)]}
    assert abs(before - after) > 1e-4


def test_attention_teaches_and_is_not_taught():
    """Both losses move the trunk; without the attention's own gradient, as if the attention had been given."""
    net, losses = network(), Losses(Method(), 0)
    weights = list(net.parameters())
    found, features = torch.autograd.grad(losses(net, PIXELS, TAGS), weights), net.features(IMAGES)
    attention, maps = attention_of(net, Method(), CELLS, features.detach(), PRESENT), net.scores(features)
    assert not attention.requires_grad
    total = classification_loss(net.aggregation(maps), PRESENT) + WEIGHT * losses.segmentation(
        net, maps, attention, CELLS, PRESENT)
    for each, expected in zip(found, torch.autograd.grad(total, weights), strict=True):
        torch.testing.assert_close(each, expected)
        assert each.any()


def test_attention_is_worked_out_in_full_precision():
    """As on a GPU, where trainings run in half precision; features in half precision move it a little."""
    net, seen = network(), []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            seen.append(attention_of(net, Method(), CELLS, net.features(IMAGES), PRESENT))
    full, half = seen
    assert half.dtype == torch.float32 and 0 < (full - half).abs().max() < 0.05
    assert (half.sum(1) - 1).abs().max() < 1e-5


def test_in_the_warm_up_classification_is_all(start):
    found = train(start, warm_up=1)
    curves = found["curves"]
    assert curves.keys() == {"classification", "segmentation"} and curves["segmentation"][0] == 0
    total = np.add(curves["classification"], WEIGHT * np.array(curves["segmentation"]))
    assert curves["segmentation"][1] > 0 and total == pytest.approx(found["history"], rel=1e-5)


@pytest.mark.parametrize(("method", "moves"), [(Method(compared="softmax"), False), (Method(), True)])
def test_the_compatibility_learns_from_the_loss_behind_it_alone(start, method, moves):
    """Weight decay does not touch it either."""
    state = train(start, method, weight_decay=0.1)["state"]
    assert torch.equal(state["crf.compatibility.weight"][..., 0, 0], 1 - torch.eye(3)) != moves


def test_without_the_segmentation_loss_no_attention_is_asked_for(start, monkeypatch):
    monkeypatch.setattr(fusion, "attention_of", None)
    found = train(start, Method(Attention("none"), weight=0.0, prior=False))
    assert found["history"] == found["curves"]["classification"] and set(found["curves"]["segmentation"]) == {0.0}


def test_settings_come_back_as_the_method():
    method = Method(Attention("steps", layers="last"), "GAP", 0.5, False, 2, "softmax")
    assert Method.from_settings(method.settings()) == method != Method()
    assert Method().weight == WEIGHT == 1.5  # the paper's lambda


def test_the_network_gives_label_maps_and_scores_of_the_image():
    net = network().eval()
    maps, scores = net(IMAGES)
    assert torch.equal(maps, net.scores(net.features(IMAGES))) and torch.equal(scores, net.aggregation(maps))
    assert torch.equal(maps, net.classifier(net.head(net.trunk(IMAGES)))), "the cut leaves out no layer"


def test_predicted_labels_by_hand():
    """Logits above 0 are a p(y|x) above one half; the likeliest class is there in any case, and the background."""
    scores = torch.tensor([[-9.0, 0.1, 3.0, -0.1], [9.0, -5.0, -4.0, -6.0], [0.0, 0.0, 1e-3, 0.0], [1, -1, 2, 2]])
    assert fusion.predicted_labels(scores).tolist() == [
        [True, True, True, False], [True, False, True, False], [True, False, True, False], [True, False, True, True]]


@pytest.mark.parametrize(("prior", "products"), [
    ("attention", [1 / 16, 7 / 32, LEAST_ATTENTION / 4]), ("image", [1 / 4, 3 / 16, 1 / 20]),
    ("none", [1 / 2, 1 / 4, 1 / 4])])
def test_priors_by_hand(prior, products):
    """One cell: probabilities (1/2, 1/4, 1/4), attention (1/8, 7/8, 0), image scores of p (1/2, 3/4, 1/5).

    Without any neighbour, what the CRF-RNN gives is the product divided by its sum.
    """
    net = nn.Module()  # of which nothing but its CRF-RNN matters
    net.crf = CrfRnn(3).requires_grad_(False)
    maps, attention = (torch.tensor(each).view(1, 3, 1, 1) for each in ([1 / 2, 1 / 4, 1 / 4], [1 / 8, 7 / 8, 0]))
    scores = torch.tensor([[1 / 2, 3 / 4, 1 / 5]]).logit()
    seen = fusion.Seen(maps.log(), attention, scores, torch.tensor([[True, True, False]]), torch.zeros(1, 49, 1, 1))
    expected = [value / sum(products) for value in products]
    assert fusion.fused(net, seen, prior).flatten().tolist() == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def net():
    return network().eval()


@pytest.fixture(scope="module")
def state(net):
    return net.state_dict()


@pytest.mark.parametrize("tags", ["known", "predicted"])
def test_what_is_seen_are_the_networks_maps_and_its_attention(net, tags):
    (_, _, seen), = looked_at(net, Method(), VIEW, SIDE, tags)
    with torch.no_grad():
        maps, scores = net(IMAGES)
        present = PRESENT if tags == "known" else fusion.predicted_labels(scores)
        attention = Attention().label_attention(net, net.features(IMAGES), present, CELLS)
    for found, expected in zip(seen, (maps, attention, scores, present, bilateral_kernel(PIXELS, GRID)), strict=True):
        torch.testing.assert_close(found, expected)
    assert not seen.maps.requires_grad


@pytest.mark.parametrize(("prior", "tags", "iterations", "crf"), [
    ("attention", "predicted", None, None), ("image", "known", 1, None), ("none", "predicted", 0, V2.scaled(0.1))])
def test_labels_are_the_likeliest_at_image_size(net, state, prior, tags, iterations, crf):
    found = fusion.segment_fusion(VIEW, state, BACKBONE, Method().settings(), prior, iterations, tags,
                                  crf and asdict(crf))
    (_, boxes, seen), = looked_at(net, Method(), VIEW, SIDE, tags)
    with torch.no_grad():
        same = network(Method() if iterations is None else Method(iterations=iterations))
        q = fusion.fused(same, seen, prior)
    masks = [from_canvas(each, box, SIDE, size).numpy() for each, box, size in zip(q, boxes, SIZES)]
    labels = zip(*(label_image(VIEW.image(index), each, crf) for index, each in enumerate(masks)))
    for name, expected in zip(("masks", "refined"), labels, strict=True):
        np.testing.assert_array_equal(found[name], frames.stack(VIEW, expected))
    assert found["scores"].dtype == np.float32 and (found["masks"] != found["refined"]).any() == bool(crf)
    np.testing.assert_allclose(found["scores"], seen.scores.numpy(), rtol=1e-5)


@pytest.mark.parametrize(("wrong", "message"), [
    (lambda state: fusion.segment_fusion(VIEW, state, BACKBONE, Method().settings(), "pixel"),
     "prior 'pixel'(.|\n)*attention or image or none"),
    (lambda state: fusion.attention_maps(VIEW, state, BACKBONE, Method().settings(), "true"),
     "tags 'true'(.|\n)*predicted or known"),
    (lambda _: Method(compared="after"), "compared 'after'(.|\n)*both or crf or softmax")])
def test_words_that_mean_nothing_are_refused(state, wrong, message):
    with pytest.raises(ParameterError, match=message):
        wrong(state)


@pytest.mark.parametrize(("attention", "tags"), [
    (Attention(), "known"), (Attention(), "predicted"), (Attention("none", activation=0.0), "known")])
def test_attention_maps_are_those_that_are_seen(net, state, attention, tags):
    """Of another attention than that of the training too."""
    method = replace(Method(), attention=attention)
    maps = fusion.attention_maps(VIEW, state, BACKBONE, method.settings(), tags)["maps"]
    (_, _, seen), = looked_at(net, method, VIEW, SIDE, tags)
    assert maps.dtype == np.float16
    np.testing.assert_allclose(maps, seen.attention.numpy(), atol=1e-3)


def test_class_maps_are_the_positive_label_maps(net, state):
    maps = fusion.class_maps(VIEW, state, BACKBONE, Method().settings())["maps"]
    with torch.no_grad():
        expected = net(IMAGES)[0][:, 1:]
    assert maps.dtype == np.float16 and (expected < 0).any()
    np.testing.assert_allclose(maps, expected.clamp(min=0).numpy(), rtol=1e-3, atol=1e-3)
