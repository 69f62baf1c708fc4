"""Roy & Todorovic 2017: the losses by hand, what each switch changes, and labels of the trained network."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs, make_view
from torch import nn

from wsss_lab.data import frames
from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import TOY_BLOCKS, vgg_trunk
from wsss_lab.refinement.crf_rnn import LEAST_ATTENTION, CrfRnn, bilateral_kernel, unary
from wsss_lab.refinement.dense_crf import V2
from wsss_lab.seeds.top_down import Attention, cell_weights
from wsss_lab.segmenter import fusion
from wsss_lab.segmenter.fusion import (
    COMPARED,
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

torch.set_num_threads(1)
SIDE, GRID = 32, (8, 8)
SIZES = ((SIDE, SIDE), (16, SIDE), (SIDE, SIDE), (40, 24))
POTTS = 1 - torch.eye(3)


def uniform(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def schedule(iterations=3, **others):
    return Schedule(iterations, **({"batch": 4, "lr": 3e-3, "policy": "constant"} | others)).settings()


@pytest.fixture(scope="module")
def labelled():
    return blobs(SIZES)


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
    assert Method().weight == WEIGHT == 1.5  # the paper's lambda


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


# --- predicted labels ------------------------------------------------------------------------------------------------


def test_predicted_labels_by_hand():
    """Logits above 0 are a p(y|x) above one half; the likeliest class is there in any case, and the background."""
    scores = torch.tensor([[-9.0, 0.1, 3.0, -0.1], [9.0, -5.0, -4.0, -6.0], [0.0, 0.0, 1e-3, 0.0], [1, -1, 2, 2]])
    assert predicted_labels(scores).tolist() == [
        [True, True, True, False], [True, False, True, False], [True, False, True, False], [True, False, True, True]]


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
    for prior in beside:
        for net in (with_crf(0), with_crf(3)):
            expected = net.crf(-(maps.softmax(1) * beside[prior]).log(), seen.kernel)
            torch.testing.assert_close(fused(net, seen, prior), expected)
    assert not torch.allclose(fused(with_crf(0), seen), fused(with_crf(3), seen), atol=1e-3)


# --- looking at a view -----------------------------------------------------------------------------------------------


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


# --- labels of a view ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("prior", "tags", "iterations"), [
    ("attention", "predicted", None), ("none", "predicted", 0), ("image", "predicted", 1), ("attention", "known", 2)])
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


def test_the_trained_number_of_iterations_is_the_default(view, start):
    method = Method(iterations=1)
    state = train(view, start, method, iterations=2)["state"]
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


@pytest.mark.parametrize(("wrong", "message", "expected"), [
    (lambda *network: segment(*network, prior="pixel"), "prior 'pixel'", "attention or image or none"),
    (lambda *network: segment(*network, tags="true"), "tags 'true'", "predicted or known"),
    (lambda *_: Method(compared="after"), "compared 'after'", "both or crf or softmax")])
def test_words_that_mean_nothing_are_refused(view, state, wrong, message, expected):
    with pytest.raises(ParameterError, match=message) as caught:
        wrong(view, state)
    assert caught.value.expected == expected


# --- maps of a view --------------------------------------------------------------------------------------------------


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
