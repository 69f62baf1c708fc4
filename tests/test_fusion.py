"""The losses and the training of Roy & Todorovic 2017: Eqs. 13 to 15 by hand, what each switch changes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs
from torch import nn

from wsss_lab.data.canvas import normalise
from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import TOY_BLOCKS, vgg_trunk
from wsss_lab.refinement.crf_rnn import bilateral_kernel, unary
from wsss_lab.seeds.fusion_net import FusionNet
from wsss_lab.seeds.top_down import Attention, cell_weights
from wsss_lab.segmenter import fusion
from wsss_lab.segmenter.fusion import (
    COMPARED,
    WEIGHT,
    Losses,
    Method,
    attention_of,
    classification_loss,
    restore_fusion,
    segmentation_loss,
    train_fusion,
    with_background,
)

torch.set_num_threads(1)
SIDE, GRID = 32, (8, 8)
POTTS = 1 - torch.eye(3)


def uniform(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def schedule(iterations=3, **others):
    return Schedule(iterations, **({"batch": 4, "lr": 3e-3, "policy": "constant"} | others)).settings()


@pytest.fixture(scope="module")
def labelled():
    return blobs([(SIDE, SIDE), (16, SIDE), (SIDE, SIDE), (40, 24)])


@pytest.fixture(scope="module")
def view(labelled):
    return labelled.train_view()


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(0)
    return vgg_trunk("HighRes", TOY_BLOCKS).state_dict()


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


# --- the classification loss (Eq. 14) --------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [2, 5, 21])
def test_at_one_half_the_classification_loss_is_2_log_2_for_any_number_of_present_labels(labels):
    for count in range(1, labels):
        present = torch.arange(labels).lt(count)[None]
        assert classification_loss(torch.zeros(1, labels), present).item() == pytest.approx(2 * math.log(2))


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


def test_large_scores_neither_overflow_nor_hide_a_mistake():
    scores = torch.tensor([[1000.0, -1000.0]])
    assert classification_loss(scores, torch.tensor([[True, False]])).item() == 0
    assert classification_loss(scores, torch.tensor([[False, True]])).item() == 2000


def test_the_classification_loss_has_its_gradient():
    present = torch.tensor([[True, True, False, False], [True, False, False, False], [True, True, True, True]])
    scores = (4 * uniform(3, 4) - 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda each: classification_loss(each, present), scores)


# --- the segmentation loss (Eq. 15) ----------------------------------------------------------------------------------


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


def test_the_segmentation_loss_by_hand():
    """Two cells; background (1/2, 1/4) should be (1, 0), the one present class (1/4, 1/2) should be (0, 1)."""
    p_s = torch.tensor([[1 / 2, 1 / 4], [1 / 4, 1 / 2], [1 / 4, 1 / 4]], dtype=torch.float64).view(1, 3, 1, 2)
    p_a = torch.tensor([[1, 0], [0, 1], [0, 0]], dtype=torch.float64).view(1, 3, 1, 2)
    expected = -(2 * math.log(1 / 2) + 2 * math.log(3 / 4)) / 4
    assert segmentation_loss(p_s, p_a, torch.tensor([[True, True, False]])).item() == pytest.approx(expected)


def test_the_segmentation_loss_equals_loops():
    p_s, p_a = uniform(3, 4, 2, 3), uniform(3, 4, 2, 3, seed=1)
    present = torch.tensor([[True, True, False, False], [True, False, False, False], [True, True, True, True]])
    found = segmentation_loss(p_s, p_a, present).item()
    assert found == pytest.approx(slow_segmentation_loss(p_s, p_a, present))


def test_absent_labels_say_nothing_and_soft_targets_are_met_best_by_themselves():
    p_a, present = uniform(2, 3, 4, 4), torch.tensor([[True, True, False], [True, False, False]])
    best = segmentation_loss(p_a, p_a, present)
    for seed in range(5):
        assert segmentation_loss(uniform(2, 3, 4, 4, seed=seed + 2), p_a, present) > best
    other = p_a.clone()
    other[0, 2], other[1, 1:] = 0.5, 0.9
    assert segmentation_loss(other, p_a, present) == best


def test_sure_mistakes_cost_much_and_not_more_than_any_number():
    sure = torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 2, 1, 1)
    found = segmentation_loss(sure, 1 - sure, torch.ones(1, 2, dtype=torch.bool)).item()
    assert found == pytest.approx(-math.log(1e-6), rel=1e-4)


def test_the_segmentation_loss_has_a_gradient_for_the_label_maps_and_none_for_the_attention():
    p_a, present = uniform(2, 3, 2, 2, seed=1).requires_grad_(), torch.tensor([[True, True, False], [True, True, True]])
    maps = uniform(2, 3, 2, 2).requires_grad_()

    def loss(each):
        return segmentation_loss(each.softmax(1), p_a, present)

    assert torch.autograd.gradcheck(loss, maps)
    loss(maps).backward()
    assert maps.grad.any() and p_a.grad is None


# --- both together (Eq. 13) ------------------------------------------------------------------------------------------


def losses_by_hand(net, method, pixels, tags):
    """Classification loss, and the segmentation losses before and after the CRF-RNN."""
    features = net.features(normalise(pixels))
    maps, present = net.scores(features), with_background(tags.bool())
    attention = method.attention.label_attention(net, features, present, cell_weights(pixels, GRID))
    q = net.crf(unary(maps.softmax(1), attention if method.prior else torch.ones(1)), bilateral_kernel(pixels, GRID))
    return (classification_loss(net.aggregation(maps), present).item(),
            segmentation_loss(maps.softmax(1), attention, present).item(),
            segmentation_loss(q, attention, present).item())


@pytest.mark.parametrize("prior", [True, False])
@pytest.mark.parametrize("compared", COMPARED)
def test_the_total_is_the_sum_of_what_is_compared(batch, compared, prior):
    method = Method(prior=prior, compared=compared, weight=0.7)
    net, losses = network(method), Losses(method, 0)
    classification, before, after = losses_by_hand(net, method, *batch)
    expected = {"both": (before + after) / 2, "crf": after, "softmax": before}[compared]
    assert losses(net, *batch).item() == pytest.approx(classification + 0.7 * expected, rel=1e-5)
    assert losses.curves == {"classification": [pytest.approx(classification, rel=1e-5)],
                             "segmentation": [pytest.approx(expected, rel=1e-5)]}
    assert abs(before - after) > 1e-4


def test_lambda_is_the_papers():
    assert Method().weight == WEIGHT == 1.5


@pytest.mark.parametrize("compared", COMPARED)
def test_without_a_crf_the_label_maps_are_compared(batch, compared):
    """What would be compared after no iteration is the product with the attention, its own target."""
    method = Method(iterations=0, compared=compared)
    net, losses = network(method), Losses(method, 0)
    _, before, _ = losses_by_hand(net, method, *batch)
    losses(net, *batch)
    assert losses.curves["segmentation"] == [pytest.approx(before, rel=1e-5)]


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


def test_the_background_is_present_in_every_image():
    tags = torch.tensor([[False, True], [False, False]])
    assert with_background(tags).tolist() == [[True, False, True], [True, False, False]]


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


def test_training_reads_no_mask_and_gives_its_curves(labelled, start):
    found = train(labelled.guarded(), start, warm_up=2, iterations=5)
    curves = found["curves"]
    assert len(found["history"]) == 5 and {name: len(curve) for name, curve in curves.items()} == {
        "classification": 5, "segmentation": 5}
    total = np.add(curves["classification"], WEIGHT * np.array(curves["segmentation"]))
    assert total == pytest.approx(found["history"], rel=1e-5)


def test_the_warm_up_is_classification_alone(view, start):
    curves = train(view, start, warm_up=2, iterations=4)["curves"]
    assert curves["segmentation"][:2] == [0, 0] and min(curves["segmentation"][2:]) > 0
    state, alone = (train(view, start, method, warm_up)["state"] for method, warm_up in (
        (Method(), 3), (Method(weight=0.0), 0)))
    assert all(torch.equal(state[name], alone[name]) for name in state)


@pytest.mark.parametrize(("method", "moves"), [
    (Method(weight=0.0), False), (Method(compared="softmax"), False), (Method(compared="crf"), True), (Method(), True)])
def test_the_compatibility_learns_from_the_loss_behind_it_alone(view, start, method, moves):
    """Weight decay does not touch it either."""
    state = train(view, start, method, weight_decay=0.1)["state"]
    assert torch.equal(state["crf.compatibility.weight"][..., 0, 0], POTTS) != moves


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_without_the_segmentation_loss_no_attention_is_asked_for(view, start, monkeypatch, optimiser):
    """So that with and without attention in the unary it is one training."""
    plain = train(view, start, Method(weight=0.0), optimiser=optimiser)
    monkeypatch.setattr(fusion, "attention_of", None)
    found = train(view, start, Method(Attention("none"), weight=0.0, prior=False), optimiser=optimiser)
    assert found["history"] == plain["history"] == found["curves"]["classification"]
    assert all(torch.equal(found["state"][name], plain["state"][name]) for name in plain["state"])
    assert set(found["curves"]["segmentation"]) == {0.0}


def test_each_switch_changes_the_training(view, start):
    methods = [Method(), Method(Attention("none")), Method(Attention(activation=0.0)), Method(aggregation="GMP"),
               Method(weight=0.5), Method(prior=False), Method(iterations=0), Method(compared="crf"),
               Method(Attention(background="unit"))]
    histories = [train(view, start, method)["history"] for method in methods]
    assert len({history[-1] for history in histories}) == len(methods)


def test_training_starts_from_the_given_trunk_and_repeats_with_its_seed(view, start):
    still = train(view, start, iterations=1, lr=0.0)["state"]
    expected = vgg_trunk("DeepLab", TOY_BLOCKS)
    Backbone.from_settings(BACKBONE).load_start(expected, start)
    assert all(torch.equal(still[f"trunk.{name}"], value) for name, value in expected.state_dict().items())
    first, again, other = (train(view, start, seed=seed) for seed in (1, 1, 2))
    assert first["history"] == again["history"] != other["history"]
    assert all(torch.equal(first["state"][name], again["state"][name]) for name in first["state"])


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
    assert Method.from_settings(Method().settings()) == Method()
    assert replace(Method(), attention=Attention("none")) != Method()


@pytest.mark.parametrize("make", [lambda: Method(compared="after"), lambda: Method(attention=Attention("all"))])
def test_words_that_mean_nothing_are_refused(make):
    with pytest.raises(ParameterError, match=r"compared='after'|neighbours='all'"):
        make()


@pytest.mark.parametrize("kind", ["FCL", "GMP"])
def test_the_network_gives_label_maps_and_scores_of_the_image(batch, kind):
    net = network(Method(aggregation=kind)).eval()
    images = normalise(batch[0])
    maps, scores = net(images)
    assert maps.shape == (4, 3, *GRID) and scores.shape == (4, 3)
    assert torch.equal(maps, net.scores(net.features(images))) and torch.equal(scores, net.aggregation(maps))
    assert torch.equal(maps, net.classifier(net.head(net.trunk(images)))), "the cut leaves out no layer"
    if kind == "FCL":
        assert net.aggregation.weight.shape == (3, *GRID)


def test_attention_of_a_vgg_ends_at_pool_4():
    blocks = ((2, 2), (2, 2), (3, 2), (3, 2), (3, 2))
    net = FusionNet(Backbone(blocks=blocks, width=2, dilation=2, side=64), 3)
    below, above = net.trunk[:net.cut], net.upper
    kinds = [[isinstance(layer, kind) for layer in below].count(True) for kind in (nn.Conv2d, nn.MaxPool2d)]
    assert kinds == [10, 4] and isinstance(below[-1], nn.MaxPool2d)
    assert [layer.kernel_size for layer in above if isinstance(layer, nn.Conv2d)] == [(3, 3)] * 4 + [(1, 1)] * 2
    assert above[-1] is net.classifier and isinstance(above[0], nn.Conv2d)
    features = net.features(torch.zeros(1, 3, 64, 64))
    assert features.shape[2:] == net.scores(features).shape[2:] == (8, 8), "one grid from pool-4 up"
