"""Joint training: Eq. (2) by hand, what each term reaches, adapted cues, prediction at three scales."""

import math
from dataclasses import asdict

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
from wsss_lab.networks.heads import AttentionNet, attention_net
from wsss_lab.networks.inference import multiscale_maximum
from wsss_lab.networks.trunks import TOY_RESNET_BLOCKS, convolutions
from wsss_lab.refinement.dense_crf import V2, refine_probabilities
from wsss_lab.segmenter.joint import ABSENT, GRADIENTS, adapt, adapt_cues, joint_losses, segment_multiscale, train_joint

RESNET = Backbone("resnet", TOY_RESNET_BLOCKS, width=8, aspp=(1, 2), dropout=0.0, side=32).settings()
LABELLED = blobs(((32, 32), (16, 32), (32, 32), (40, 24)))
VIEW, CUES = LABELLED.guarded(), ground_truth(LABELLED)["masks"]  # reading a mask of the view would raise


def network(settings=BACKBONE):
    """A network that knows nothing but has an opinion everywhere."""
    torch.manual_seed(0)
    net = attention_net(Backbone.from_settings(settings), 3).eval()
    for layer in convolutions(net.head):
        layer.weight.data *= 20 if layer.out_channels == 3 else 1
    with torch.no_grad():
        layer.bias -= net.scores(normalise(VIEW.canvas(range(4), 32)[0])).mean((0, 2, 3))
    return net


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


@pytest.mark.parametrize(("wrong", "problem"), [
    (lambda: joint_losses(transparent(), torch.zeros(1, 3, 1, 1), torch.zeros(1, 1, 1), torch.ones(1, 2), "half"),
     "gradient 'half'(.|\n)*joint or released or pixel"),
    (lambda: adapt(np.zeros((2, 1, 1)), np.array([True]), "minus"), "absent 'minus'(.|\n)*excluded or zero")])
def test_words_that_mean_nothing_are_refused(wrong, problem):
    with pytest.raises(ParameterError, match=problem):
        wrong()


@pytest.mark.parametrize(("gradient", "reached"), [
    ("joint", {"trunk", "head", "attention"}), ("released", {"attention"}), ("pixel", set())])
def test_what_each_term_of_the_loss_reaches(gradient, reached):
    torch.manual_seed(0)
    net = AttentionNet(nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Tanh()), nn.Conv2d(5, 4, 1), 4)
    images, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 4, (2, 8, 8))
    for term, expected in ((0, reached), (1, {"trunk", "head"})):
        loss = joint_losses(net, images, labels, torch.eye(3)[:2], gradient)[term]
        net.zero_grad()
        if expected:
            loss.backward()
        assert {name.split(".")[0] for name, each in net.named_parameters() if each.grad is not None} == expected


@pytest.mark.parametrize("settings", [BACKBONE, RESNET], ids=["vgg", "resnet"])
def test_released_training_moves_the_shared_layers_as_pixels_alone_do(settings):
    """From the given state, whose norms stay; the history is the sum of both terms."""
    before = network(settings).state_dict()
    plan = schedule(2, weight_decay=0.0, optimiser="sgd", lr=0.05)
    found = {gradient: train_joint(VIEW, CUES, before, settings, plan, 0, gradient) for gradient in GRADIENTS}
    state = {gradient: each["state"] for gradient, each in found.items()} | {"before": before}

    def changed(one, other):
        return {key.split(".")[0] for key in before if not torch.equal(state[one][key], state[other][key])}

    assert changed("pixel", "before") == {"trunk", "head"}
    assert changed("released", "before") == changed("joint", "released") == {"trunk", "head", "attention"}
    assert changed("released", "pixel") == {"attention"}
    norms = [key for key in before if "bn" in key or "downsample.1" in key]
    assert all(torch.equal(state["joint"][key], before[key]) for key in norms) and bool(norms) == (settings == RESNET)
    for each in found.values():
        assert np.add(each["pixel"], each["classification"]) == pytest.approx(each["history"], rel=1e-5)
    assert found["pixel"]["classification"] == [0, 0] and min(found["joint"]["classification"]) > 0
    others = (train_joint(VIEW, CUES, before, settings, plan, *options) for options in ((1,), (0, "joint", (0.5, 1.5))))
    assert len({each["history"][0] for each in (found["joint"], *others)}) == 3  # by seed and by scale


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
@pytest.mark.parametrize("offset", [-100.0, -1.0, 5.0])
def test_adapted_labels_against_a_pixel_loop(absent, offset):
    rng = np.random.default_rng(0)
    for count in range(5):
        tags = np.isin(range(4), rng.choice(4, count, replace=False))
        scores = rng.normal(offset, 2, (5, 6, 7))
        np.testing.assert_array_equal(adapt(scores, tags, absent), slow_adapt(scores, tags, absent))


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.75, 0.5)])
def test_labels_and_adapted_cues_of_a_view_are_the_best_of_the_maximum_over_scales(scales):
    """Tags count for cues alone; labels are taken before or after a CRF on the softmax."""
    net, (canvases, boxes), crf = network(), VIEW.canvas(range(4), 32), V2.scaled(0.1)
    with torch.inference_mode():
        volumes = multiscale_maximum(net.scores, normalise(canvases), scales)
    scores = [from_canvas(each, box, 32, VIEW.size(index)) for index, (each, box) in enumerate(zip(volumes, boxes))]
    refined = (refine_probabilities(VIEW.image(index), each.softmax(0).numpy(), crf).argmax(0)
               for index, each in enumerate(scores))
    for absent in ABSENT:
        adapted = adapt_cues(VIEW, net.state_dict(), BACKBONE, scales, absent)["masks"]
        expected = (slow_adapt(each.numpy(), tags, absent) for each, tags in zip(scores, VIEW.tags))
        np.testing.assert_array_equal(adapted, frames.stack(VIEW, expected))
    for parameters, expected in ((None, (each.argmax(0) for each in scores)), (asdict(crf), refined)):
        found = segment_multiscale(VIEW, net.state_dict(), BACKBONE, scales, parameters)["masks"]
        np.testing.assert_array_equal(found, frames.stack(VIEW, expected))
        assert parameters or len(np.unique(found)) == 4  # all three labels, and 255 beside the images
