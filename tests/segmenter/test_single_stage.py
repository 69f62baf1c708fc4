"""One network, one training (Araslanov & Roth 2020): the loss by hand and step by step, training, labels, pictures."""

import json
import math
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_views import blobs, normal
from torch import nn

from wsss_lab.data import frames
from wsss_lab.data.canvas import normalise
from wsss_lab.errors import ParameterError
from wsss_lab.fusion.confident import confident_labels
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.deeplab_v3plus import v3plus_trunk
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.inference import averaged_maps
from wsss_lab.networks.losses import IGNORE
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.refinement.dense_crf import V1, label_image
from wsss_lab.refinement.pamr import pamr
from wsss_lab.seeds.weighted_pooling import class_scores, masks_of
from wsss_lab.segmenter import single_stage
from wsss_lab.segmenter.single_stage import Losses, Method, balanced_pixel_loss

BACKBONE = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, aspp=(1, 2), dropout=0.0, side=32)
METHOD = Method(dilations=(1, 2), iterations=3, aspp_statistics="trained")
VIEW = blobs([(32, 32), (32, 32), (24, 32), (32, 20)]).guarded()  # reading a mask would raise


class Scores(nn.Module):
    """Gives scores that don't depend on the image: what a loss does can be followed."""

    def __init__(self, scores):
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, images):
        return self.scores


def coloured(count=2, side=16):
    """Images with a red square on noisy grey, and scores that know it roughly: class 1 is there, class 2 is not."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(90, 130, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    pixels[:, 0, 4:12, 4:12] = 240
    scores = torch.full((count, 2, side // 2, side // 2), -3.0)
    scores[:, 0, 2:6, 2:6] = 4
    scores += torch.randn(scores.shape, generator=generator)
    return pixels, scores, torch.tensor([[1.0, 0.0]]).repeat(count, 1)


def test_the_defaults_are_the_final_model_of_the_paper_and_settings_survive_json():
    assert Method(**json.loads(json.dumps(METHOD.settings()))).settings() == METHOD.settings()
    assert Method().settings() == {
        "power": 3.0, "floor": 0.01, "penalty": True, "epsilon": 1.0, "psi": 0.3, "gate": "stochastic",
        "cue": "released", "dilations": [1, 2, 4, 8, 12, 24], "iterations": 10, "bandwidth": "released",
        "average": "released", "least": 0.2, "aspp_statistics": "frozen",
    }  # fmt: skip


def test_the_network_has_the_methods_switches():
    net = replace(METHOD, psi=0.7, gate="deterministic", cue="paper").network(BACKBONE, 5)
    assert (net.psi, net.mode, net.cue.form, net.aspp_statistics) == (0.7, "deterministic", "paper", "trained")
    assert net.decoder[-1].out_channels == 5


@pytest.mark.parametrize(("iterations", "bandwidth"), [(3, "released"), (3, "paper"), (0, "released")])
def test_refined_masks_are_pamr_on_the_grid_of_the_masks(iterations, bandwidth):
    pixels, scores, tags = coloured()
    masks = with_background(scores).softmax(1)
    found = replace(METHOD, iterations=iterations, bandwidth=bandwidth).refined(pixels, masks, tags)
    small = F.interpolate(pixels / 255, size=(8, 8), mode="bilinear", align_corners=True)
    expected = pamr(small, masks, (1, 2), iterations, bandwidth)
    torch.testing.assert_close(found[:, :2], expected[:, :2])
    assert not found[:, 2].any() and expected[:, 2].all()


def test_pseudo_labels_are_those_of_grown_masks():
    refined = (4 * normal(3, 3, 4, 4)).softmax(1)
    refined[0, 1] = 0.15 * refined[0, 1]  # below the floor of 0.2 everywhere
    tags = torch.tensor([[1, 0], [0, 1], [1, 1]])
    grown = F.interpolate(refined, size=(9, 7), mode="bilinear", align_corners=True)
    for least, any_of_first in ((0.2, False), (0.0, True)):
        labels, kept = replace(METHOD, least=least).pseudo_labels(refined, tags, (9, 7))
        expected, expected_kept = confident_labels(grown, tags, 0.6, 0.7, least)
        assert torch.equal(labels, expected) and torch.equal(kept, expected_kept)
        assert labels.shape == (3, 9, 7) and kept.tolist() == [any_of_first, True, True]


def with_background(scores):
    return torch.cat([torch.ones_like(scores[:, :1]), scores], 1)


def terms_literally(scores, tags, power=3.0, floor=0.01, epsilon=1.0, penalty=True):
    """Eqs. (3), (5) and (6): both terms of the class scores and the classification loss."""
    masks = with_background(scores).softmax(1)[:, 1:]
    pooled = (masks * scores).sum((2, 3)) / (epsilon + masks.sum((2, 3)))
    size = masks.mean((2, 3))
    smallness = penalty * (1 - size) ** power * (floor + size).log()
    total = pooled + smallness
    loss = -(tags * torch.sigmoid(total).log() + (1 - tags) * torch.sigmoid(-total).log()).mean()
    return pooled, smallness, loss


@pytest.mark.parametrize(("options", "average"), [
    ({}, "released"), ({}, "paper"), ({"power": 5.0, "floor": 0.1}, "released"), ({"power": 0.0}, "paper"),
    ({"epsilon": 0.0, "penalty": False}, "released")])
def test_the_loss_is_both_losses_step_by_step(options, average):
    """Of two images, the second of which gives no labels."""
    pixels, scores, tags = coloured()
    scores[1] = -5
    losses = Losses(replace(METHOD, average=average, **options), warm_up=0)
    found, classification = losses(Scores(scores), pixels, tags), terms_literally(scores, tags, **options)[2]
    padded = with_background(scores)
    labels, kept = METHOD.pseudo_labels(METHOD.refined(pixels, padded.softmax(1), tags), tags, (16, 16))
    assert kept.tolist() == [True, False] and set(labels.unique().tolist()) == {0, 1, 255}
    grown = F.interpolate(padded, size=(16, 16), mode="bilinear", align_corners=True)
    segmentation = balanced_pixel_loss(grown, labels, average)
    torch.testing.assert_close(found, classification + segmentation)
    assert segmentation > 0.005 and losses.curves["kept images"] == [0.5]
    for name, value in (("classification", classification), ("segmentation", segmentation),
                        ("labelled pixels", (labels != 255).float().mean())):
        assert losses.curves[name] == [pytest.approx(value.item(), rel=1e-5)]


def test_curves_of_absent_classes_leave_the_tags_out():
    pixels, scores, _ = coloured()
    tags = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    losses = Losses(METHOD, warm_up=1)
    losses(Scores(scores), pixels, tags)
    (pooled, penalty, _), absent = terms_literally(scores, tags), tags == 0
    for name, expected in (("absent pooling", pooled[absent].abs().median()), ("absent penalty",
                           penalty[absent].abs().median()), ("absent score", scores.mean((2, 3))[absent].mean())):
        assert losses.curves[name] == [pytest.approx(expected.item(), rel=1e-4)]


def test_segmentation_starts_after_the_warm_up():
    pixels, scores, tags = coloured()
    losses, net = Losses(METHOD, warm_up=2), Scores(scores)
    totals = [losses(net, pixels, tags).item() for _ in range(4)]
    assert losses.curves["segmentation"][:2] == [0, 0] and min(losses.curves["segmentation"][2:]) > 0
    assert totals[0] == totals[1] < totals[2] == totals[3]
    assert {name for name, values in losses.curves.items() if len(values) == 4} == {
        "classification", "segmentation", "absent score", "absent pooling", "absent penalty"}
    assert [len(losses.curves[name]) for name in ("kept images", "labelled pixels")] == [2, 2]


@pytest.mark.parametrize(("workers", "parts"), [("0", "1"), ("2", "2")])
def test_a_snapshot_is_the_network_after_as_many_iterations(monkeypatch, workers, parts):
    """With a constant learning rate a shorter training ends there. It is taken before a forward pass, and once."""
    monkeypatch.setenv("WSSS_WORKERS", workers)
    monkeypatch.setenv("WSSS_PARTS", parts)
    torch.manual_seed(5)
    start = v3plus_trunk(BACKBONE).state_dict()
    whole, short = (single_stage.train_single_stage(
        VIEW, start, BACKBONE.settings(), Schedule(count, 4, policy="constant").settings(), 0, METHOD.settings(), 2, 3)
        for count in (4, 3))
    total = np.add(whole["curves"]["classification"], whole["curves"]["segmentation"])
    np.testing.assert_allclose(whole["history"], total, rtol=1e-5)
    assert whole["early"].keys() == short["state"].keys() and short["early"] == {}
    assert all(torch.equal(value, whole["early"][name]) for name, value in short["state"].items())
    assert any(not torch.equal(value, whole["early"][name]) for name, value in whole["state"].items())


def some_labels(batch=3, height=4, width=5, classes=3, seed=0):
    """Labels with ignored pixels; one image more labelled than another, the last one not at all."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (batch, height, width), generator=generator)
    ignored = torch.rand(batch, height, width, generator=generator) < torch.linspace(0.1, 0.9, batch)[:, None, None]
    labels[ignored] = IGNORE
    labels[-1] = IGNORE
    return labels


def literally(scores, labels, average):
    """Eqs. (21) to (23) as they are printed, or the mean over all pixels of all images."""
    batch, classes, height, width = scores.shape
    total, above, below = 0.0, 0.0, 0
    for b in range(batch):
        counts = [int((labels[b] == c).sum()) for c in range(classes)]
        labelled, of_image = sum(counts), 0.0
        for i, j in product(range(height), range(width)):
            c = int(labels[b, i, j])
            if c != IGNORE:
                exponents = [math.exp(y) for y in scores[b, :, i, j].tolist()]
                q = (labelled - counts[c]) / (1 + labelled)
                of_image += -q * math.log(exponents[c] / sum(exponents))
        total += of_image
        above, below = above + labelled * of_image, below + labelled
    return total / (batch * height * width) if average == "released" else above / below / (height * width)


@pytest.mark.parametrize("average", ["released", "paper"])
def test_the_loss_is_a_literal_loop_and_0_without_labels(average):
    for seed in range(3):
        scores, labels = 2 * normal(3, 3, 4, 5, seed=seed), some_labels(seed=seed)
        assert balanced_pixel_loss(scores, labels, average).item() == pytest.approx(
            literally(scores, labels, average), rel=1e-5)
    loss = balanced_pixel_loss(scores.requires_grad_(), torch.full((3, 4, 5), IGNORE), average)
    loss.backward()
    assert loss.item() == 0 and not scores.grad.any()


SCALES = (1.0, 0.5)


@pytest.fixture(scope="module")
def state():
    """A network that knows nothing, with scores large enough for all three labels to win somewhere."""
    torch.manual_seed(0)
    state = METHOD.network(BACKBONE, 2).state_dict()
    state["decoder.4.weight"] *= 60
    state["decoder.4.bias"] = torch.tensor([-1.0, -1.0])
    return state


def segment(state, method=METHOD, **options):
    return single_stage.segment_single_stage(VIEW, state, BACKBONE.settings(), method.settings(), SCALES, **options)


def test_a_confidence_of_10_percent_is_present(monkeypatch):
    edge = math.log(0.1 / 0.9)
    for scores, expected in (([edge + 1e-3, edge - 1e-3], [True, False]), ([-edge, 0.0], [True, True])):
        assert single_stage.present_classes(VIEW, 0, torch.tensor(scores), "predicted").tolist() == expected
    monkeypatch.setattr(single_stage, "PRESENCE", 0.5)  # which floats hold exactly
    assert single_stage.present_classes(VIEW, 0, torch.tensor([0.0, -1e-6]), "predicted").tolist() == [True, False]


@pytest.mark.parametrize(("wrong", "message"), [
    (lambda state: segment(state, tags="guessed"), "tags 'guessed' is not known(.|\n)*predicted or known"),
    (lambda _: balanced_pixel_loss(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long), "mean"),
     "average 'mean' is not known(.|\n)*released or paper")])
def test_words_that_mean_nothing_are_refused(state, wrong, message):
    with pytest.raises(ParameterError, match=message):
        wrong(state)


@pytest.mark.parametrize(("tags", "power", "crf", "options"), [
    ("predicted", 1.0, None, {}), ("known", 3.0, V1.scaled(0.1), {}), ("predicted", 3.0, None, {"penalty": False}),
    ("known", 1.0, None, {"power": 2.0, "floor": 0.1, "epsilon": 0.5})])
def test_labels_are_the_largest_of_the_kept_masks_averaged_over_scales(state, monkeypatch, tags, power, crf, options):
    """At a least confidence of 1/2, as the second class of this network is never that sure."""
    monkeypatch.setattr(single_stage, "PRESENCE", 0.5)
    method = replace(METHOD, **options)
    net = single_stage.restore_single_stage(state, BACKBONE.settings(), method.settings())
    found, labels = segment(state, method, tags=tags, power=power, crf=crf and asdict(crf)), []

    def run(images):
        scores = net(images)
        return masks_of(scores), sum(class_scores(scores, **options))

    for index, (masks, scores) in enumerate(averaged_maps(net, run, VIEW, 32, SCALES)):
        present = VIEW.tags[index] if tags == "known" else torch.sigmoid(scores).numpy() >= 0.5
        kept = np.stack([masks[0].numpy() ** power, *(masks[1 + c].numpy() * present[c] for c in range(2))])
        labels.append(label_image(VIEW.image(index), kept, crf))
        np.testing.assert_allclose(found["scores"][index], scores, rtol=1e-5)
    for name, expected in zip(("masks", "refined"), zip(*labels), strict=True):
        np.testing.assert_array_equal(found[name], frames.stack(VIEW, expected))
    assert (found["masks"] != found["refined"]).any() == bool(crf) and found["scores"].dtype == np.float32


def test_pictures_hold_the_masks_after_each_iteration_and_the_pseudo_ground_truth_of_the_loss(state):
    net = single_stage.restore_single_stage(state, BACKBONE.settings(), METHOD.settings())
    taken = single_stage.training_pictures(VIEW, state, BACKBONE.settings(), METHOD.settings(), (3, 0))
    assert taken["masks"].shape == (2, 4, 3, 16, 16) and taken["masks"].dtype == np.float16
    canvas, tags = VIEW.canvas([3, 0], 32)[0], torch.tensor(VIEW.tags[[3, 0]])
    with torch.inference_mode():
        masks = masks_of(net(normalise(canvas)))
    small = F.interpolate(canvas / 255, size=(16, 16), mode="bilinear", align_corners=True)
    for iteration in range(4):
        expected = pamr(small, masks, (1, 2), iteration) * F.pad(tags, (1, 0), value=True)[..., None, None]
        np.testing.assert_allclose(taken["masks"][:, iteration], expected, atol=1e-3)
    labels, kept = METHOD.pseudo_labels(expected, tags, (32, 32))
    assert kept.all() and taken["labels"].dtype == np.uint8
    np.testing.assert_array_equal(taken["labels"], labels)
