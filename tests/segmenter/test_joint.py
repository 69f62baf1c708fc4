"""Joint training: Eq. (2) by hand, what each term reaches, adapted cues, prediction at three scales."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs, schedule
from torch import nn

from wsss_lab.data import frames
from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.scoring import ground_truth
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import AttentionNet
from wsss_lab.networks.trunks import TOY_RESNET_BLOCKS
from wsss_lab.refinement.dense_crf import V2
from wsss_lab.seeds.attention import restore_attention, train_attention
from wsss_lab.segmenter.joint import (
    ABSENT,
    GRADIENTS,
    adapt,
    adapt_cues,
    image_scores,
    joint_losses,
    segment_multiscale,
    train_joint,
)

RESNET = Backbone("resnet", TOY_RESNET_BLOCKS, width=8, aspp=(1, 2), dropout=0.0, side=32).settings()
SIZES = ((32, 32), (16, 32), (32, 32), (40, 24))
NO_PAIRS = asdict(replace(V2, bilateral_weight=0.0, spatial_weight=0.0))


@pytest.fixture(scope="module")
def labelled():
    return blobs(SIZES)


@pytest.fixture(scope="module")
def view(labelled):
    return labelled.train_view()


@pytest.fixture(scope="module")
def cues(labelled):
    return ground_truth(labelled)["masks"]


@pytest.fixture(scope="module")
def states(view):
    """Networks after a short first stage."""
    torch.manual_seed(0)
    return {name: train_attention(view, Backbone.from_settings(settings).trunk("DeepLab").state_dict(), settings,
                                  schedule(5), seed=0)["state"]
            for name, settings in (("vgg", BACKBONE), ("resnet", RESNET))}


@pytest.fixture(scope="module")
def trained(view, cues, states):
    return train_joint(view, cues, states["vgg"], BACKBONE, schedule(300, batch=8, policy="cosine"), seed=0)


def changed(state, other):
    """Parts of the network (trunk, head, attention) in which two states differ."""
    return {key.split(".")[0] for key in state if not torch.equal(state[key], other[key])}


def transparent():
    """A net whose segmentation volume is its input: three labels, two classes with filters (1, -1, 0) and (0, 1, 1)."""
    net = AttentionNet(nn.Sequential(), nn.Identity(), 3)
    net.attention.weight.data = torch.tensor([[1.0, -1.0, 0.0], [0.0, 1.0, 1.0]])[..., None, None]
    net.attention.bias.data = torch.tensor([0.0, -1.0])
    return net


def test_both_terms_by_hand():
    """Pixels with scores (log 2, 0, 0) and (0, 0, log 3), labelled 0 and 1; V is (log 2, 0) and (-1, log 3 - 1)."""
    volume = torch.tensor([[[math.log(2), 0.0]], [[0.0, 0.0]], [[0.0, math.log(3)]]])[None]
    labels, tags = torch.tensor([[[0, 1]]], dtype=torch.uint8), torch.tensor([[1.0, 0.0]])
    classification, pixels = joint_losses(transparent(), volume, labels, tags)
    assert pixels.item() == pytest.approx(-(math.log(2 / 4) + math.log(1 / 5)) / 2)
    scores = math.log(2) / 2, math.log(3) / 2 - 1
    sigmoid = [1 / (1 + math.exp(-score)) for score in scores]
    assert classification.item() == pytest.approx(-(math.log(sigmoid[0]) + math.log(1 - sigmoid[1])) / 2)


@pytest.mark.parametrize(("wrong", "problem", "expected"), [
    (lambda: joint_losses(transparent(), torch.zeros(1, 3, 1, 1), torch.zeros(1, 1, 1), torch.ones(1, 2), "half"),
     "gradient 'half'", "joint or released or pixel"),
    (lambda: adapt(np.zeros((2, 1, 1)), np.array([True]), "minus"), "absent 'minus'", "excluded or zero")])
def test_words_that_mean_nothing_are_refused(wrong, problem, expected):
    with pytest.raises(ParameterError, match=problem) as caught:
        wrong()
    assert caught.value.expected == expected


def layered():
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Tanh())
    net = AttentionNet(trunk, nn.Conv2d(5, 4, 1), 4)
    nn.init.normal_(net.attention.weight)
    return net


def gradients(gradient, terms):
    """Gradients of the chosen terms of the loss (0 classification, 1 pixel) by parameter, None where none arrives."""
    net, generator = layered(), torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 4, (2, 8, 8), generator=generator)
    losses = joint_losses(net, images, labels, torch.eye(3)[:2], gradient)
    total = sum(losses[term] for term in terms)
    if not total.requires_grad:
        return {}
    names, parameters = zip(*net.named_parameters())
    found = torch.autograd.grad(total, parameters, allow_unused=True)
    return {name: each for name, each in zip(names, found) if each is not None and each.abs().sum() > 0}


@pytest.mark.parametrize(("gradient", "reached"), [
    ("joint", {"trunk", "head", "attention"}), ("released", {"attention"}), ("pixel", set()),
])
def test_what_each_term_of_the_loss_reaches(gradient, reached):
    for terms, expected in (([0], reached), ([1], {"trunk", "head"}), ([0, 1], reached | {"trunk", "head"})):
        assert {name.split(".")[0] for name in gradients(gradient, terms)} == expected


@pytest.mark.parametrize("name", ["vgg", "resnet"])
def test_released_training_moves_the_shared_layers_as_pixels_alone_do(view, cues, states, name):
    settings = {"vgg": BACKBONE, "resnet": RESNET}[name]
    plan = schedule(3, weight_decay=0.0, optimiser="sgd", lr=0.05)
    state = {gradient: train_joint(view, cues, states[name], settings, plan, 0, gradient)["state"]
             for gradient in GRADIENTS}
    assert changed(state["pixel"], states[name]) == {"trunk", "head"}
    assert changed(state["released"], states[name]) == {"trunk", "head", "attention"}
    assert changed(state["released"], state["pixel"]) == {"attention"}
    assert changed(state["joint"], state["released"]) == {"trunk", "head", "attention"}
    norms = [key for key in state["joint"] if "bn" in key or "downsample.1" in key]
    assert all(torch.equal(state["joint"][key], states[name][key]) for key in norms)
    assert bool(norms) == (name == "resnet")


def test_the_network_learns_its_cues_and_the_history_is_the_sum_of_both_terms(view, cues, states, trained):
    assert trained["pixel"][-1] < 0.5 * trained["pixel"][0]
    assert trained["classification"][-1] < 0.5 * trained["classification"][0]
    assert len(trained["history"]) == len(trained["pixel"]) == len(trained["classification"]) == 300
    assert np.add(trained["pixel"], trained["classification"]) == pytest.approx(trained["history"], rel=1e-5)
    alone = train_joint(view, cues, states["vgg"], BACKBONE, schedule(), 0, "pixel")
    assert alone["classification"] == [0, 0] and alone["history"] == alone["pixel"]


def test_training_goes_on_from_the_given_state_with_its_seed_and_scale(view, cues, states):
    still = train_joint(view, cues, states["vgg"], BACKBONE, schedule(1, lr=0.0), 0)
    assert changed(still["state"], states["vgg"]) == set()
    first, other, scaled = (train_joint(view, cues, states["vgg"], BACKBONE, schedule(), seed, random_scale=scale)
                            for seed, scale in ((1, None), (2, None), (1, (0.5, 1.5))))
    assert len({each["history"][-1] for each in (first, other, scaled)}) == 3


def slow_adapt(scores, tags, absent):
    """The definition, pixel by pixel."""
    labels = np.zeros(scores.shape[1:], np.uint8)
    for row, column in np.ndindex(labels.shape):
        best = -math.inf
        for label in range(len(scores)):
            present = label == 0 or tags[label - 1]
            if not present and absent == "excluded":
                continue
            score = scores[label, row, column] if present else 0.0
            if score > best:
                best, labels[row, column] = score, label
    return labels


@pytest.mark.parametrize("absent", ABSENT)
@pytest.mark.parametrize("offset", [-100.0, -1.0, 0.0, 5.0])
def test_adapted_labels_against_a_pixel_loop(absent, offset):
    rng = np.random.default_rng(0)
    for count in range(5):
        tags = np.zeros(4, bool)
        tags[rng.choice(4, count, replace=False)] = True
        scores = rng.normal(offset, 2, (5, 6, 7))
        found = adapt(scores, tags, absent)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, slow_adapt(scores, tags, absent))


def retagged(tags):
    other = blobs(SIZES)
    other.tags = np.array(tags, bool)
    return other.train_view()


def test_adapted_cues_are_the_best_allowed_label_at_three_scales(trained, view):
    found = list(frames.rows_of(view, adapt_cues(view, trained["state"], BACKBONE)["masks"]))
    scored = list(image_scores(view, trained["state"], BACKBONE, (1.0, 0.75, 0.5)))
    for labels, scores, tags in zip(found, scored, view.tags, strict=True):
        np.testing.assert_array_equal(labels, slow_adapt(scores, tags, "excluded"))
    one = adapt_cues(view, trained["state"], BACKBONE, scales=(1.0,))["masks"]
    assert not all(np.array_equal(first, second) for first, second in zip(found, frames.rows_of(view, one)))


def test_released_masking_of_a_view_lets_absent_classes_in(trained, view):
    """A network whose scores are all low by the same amount labels as before, unless absent classes count 0."""
    low = {key: value.clone() for key, value in trained["state"].items()}
    biases = [key for key in low if key.startswith("head.") and low[key].shape == (3,)]
    low[biases[0]] -= 100
    same, lifted = (adapt_cues(view, state, BACKBONE)["masks"] for state in (trained["state"], low))
    assert (same == lifted).mean() > 0.999
    zero = adapt_cues(view, low, BACKBONE, absent="zero")["masks"]
    for index, labels in enumerate(frames.rows_of(view, zero)):
        assert (labels == 2 - index % 2).all()


def test_one_scale_is_the_plain_output_and_three_are_the_maximum(trained, view):
    net = restore_attention(trained["state"], BACKBONE)
    canvases, boxes = view.canvas(range(4), 32)
    with torch.inference_mode():
        plain = net.scores(normalise(canvases))
    one = frames.rows_of(view, segment_multiscale(view, trained["state"], BACKBONE, (1.0,))["masks"])
    three = list(image_scores(view, trained["state"], BACKBONE, (1.0, 0.75, 0.5)))
    merged = frames.rows_of(view, segment_multiscale(view, trained["state"], BACKBONE)["masks"])
    for index, box in enumerate(boxes):
        scores = from_canvas(plain[index], box, 32, SIZES[index]).numpy()
        np.testing.assert_array_equal(one[index], scores.argmax(0))
        assert (three[index] >= scores - 1e-4).all() and (three[index] > scores + 1e-2).any()
        np.testing.assert_array_equal(merged[index], three[index].argmax(0))


def test_predictions_look_neither_at_tags_nor_at_class_filters(trained, view):
    other = {key: value * (5 if key.startswith("attention") else 1) for key, value in trained["state"].items()}
    np.testing.assert_array_equal(segment_multiscale(view, trained["state"], BACKBONE)["masks"],
                                  segment_multiscale(retagged(~view.tags), other, BACKBONE)["masks"])


def test_postprocessing_is_a_crf_on_the_softmax_of_the_merged_scores(trained, view):
    plain = segment_multiscale(view, trained["state"], BACKBONE)["masks"]
    unpaired = segment_multiscale(view, trained["state"], BACKBONE, crf=NO_PAIRS)["masks"]
    refined = segment_multiscale(view, trained["state"], BACKBONE, crf=asdict(V2.scaled(0.1)))["masks"]
    assert (plain != unpaired).mean() < 1e-3  # ties of probabilities clipped at 1e-5
    assert (plain != refined).any()
