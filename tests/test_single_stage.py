"""One network, one training: the method's switches, the loss step by step, warm-up, snapshot, curves."""

import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_views import blobs
from torch import nn

from wsss_lab.data.canvas import normalise
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.errors import ParameterError, WeightsError
from wsss_lab.fusion.confident import confident_labels
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import pixel_batches
from wsss_lab.networks.deeplab_v3plus import DeepLabV3Plus, v3plus_trunk
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.machine import place
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.refinement.pamr import pamr
from wsss_lab.segmenter.single_stage import (
    IGNORE,
    Losses,
    Method,
    balanced_pixel_loss,
    class_weights,
    restore_single_stage,
    train_single_stage,
)

torch.set_num_threads(1)
BACKBONE = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, aspp=(1, 2), dropout=0.0, side=32)
METHOD = Method(dilations=(1, 2), iterations=3, aspp_statistics="trained")
SCHEDULE = Schedule(4, 3, policy="constant")


@pytest.fixture(scope="module")
def view():
    return blobs([(32, 32), (32, 32), (24, 32), (32, 20)])


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(5)
    return v3plus_trunk(BACKBONE).state_dict()


def train(view, start, method=METHOD, schedule=SCHEDULE, seed=0, warm_up=2, snapshot=0):
    return train_single_stage(view, start, BACKBONE.settings(), schedule.settings(), seed, method.settings(), warm_up,
                              snapshot)


@pytest.fixture(scope="module")
def trained(view, start):
    return train(view.train_view(), start, snapshot=3)


class Scores(nn.Module):
    """Gives scores that don't depend on the image: what a loss does can be followed."""

    def __init__(self, scores):
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, images):
        return self.scores.repeat(len(images) // len(self.scores), 1, 1, 1)


def coloured(count=2, side=16):
    """Images with a red square on noisy grey, and scores that know it roughly: class 1 is there, class 2 is not."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(90, 130, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    pixels[:, 0, 4:12, 4:12] = 240
    scores = torch.full((count, 2, side // 2, side // 2), -3.0)
    scores[:, 0, 2:6, 2:6] = 4
    scores += torch.randn(scores.shape, generator=generator)
    return pixels, scores, torch.tensor([[1.0, 0.0]]).repeat(count, 1)


# --- the method ------------------------------------------------------------------------------------------------------


def test_the_defaults_are_the_final_model_of_the_paper():
    assert Method().settings() == {
        "power": 3.0, "floor": 0.01, "penalty": True, "epsilon": 1.0, "psi": 0.3, "gate": "stochastic",
        "cue": "released", "dilations": [1, 2, 4, 8, 12, 24], "iterations": 10, "bandwidth": "released",
        "average": "released", "least": 0.2, "aspp_statistics": "frozen",
    }  # fmt: skip


def test_settings_survive_json():
    method = replace(METHOD, psi=0.5, gate="none")
    again = Method(**json.loads(json.dumps(method.settings())))
    assert again.settings() == method.settings()


def test_the_network_has_the_methods_switches():
    net = replace(METHOD, psi=0.7, gate="deterministic", cue="paper").network(BACKBONE, 5)
    assert (net.psi, net.mode, net.cue.form, net.aspp_statistics) == (0.7, "deterministic", "paper", "trained")
    assert isinstance(net, DeepLabV3Plus) and net.decoder[-1].out_channels == 5


def test_refined_masks_are_pamr_on_the_grid_of_the_masks():
    pixels, scores, tags = coloured()
    masks = torch.cat([torch.ones(2, 1, 8, 8), scores], 1).softmax(1)
    found = METHOD.refined(pixels, masks, tags)
    small = F.interpolate(pixels / 255, size=(8, 8), mode="bilinear", align_corners=True)
    expected = pamr(small, masks, (1, 2), 3)
    torch.testing.assert_close(found[:, :2], expected[:, :2])
    assert not found[:, 2].any() and expected[:, 2].all()
    assert not torch.allclose(found[:, :2], masks[:, :2], atol=1e-2)


def test_without_pamr_masks_stay_as_they_are():
    pixels, scores, tags = coloured()
    masks = torch.cat([torch.ones(2, 1, 8, 8), scores], 1).softmax(1)
    found = replace(METHOD, iterations=0).refined(pixels, masks, tags)
    assert torch.equal(found[:, :2], masks[:, :2]) and not found[:, 2].any()


def test_the_printed_bandwidth_is_handed_on():
    pixels, scores, tags = coloured()
    masks = torch.cat([torch.ones(2, 1, 8, 8), scores], 1).softmax(1)
    found = replace(METHOD, bandwidth="paper").refined(pixels, masks, tags)
    small = F.interpolate(pixels / 255, size=(8, 8), mode="bilinear", align_corners=True)
    torch.testing.assert_close(found[:, :2], pamr(small, masks, (1, 2), 3, "paper")[:, :2])
    assert not torch.allclose(found, METHOD.refined(pixels, masks, tags), atol=1e-3)


def test_pseudo_labels_are_those_of_grown_masks():
    refined = (4 * torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))).softmax(1)
    refined[0, 1] = 0.15 * refined[0, 1]  # below the floor of 0.2 everywhere
    tags = torch.tensor([[1, 0], [0, 1], [1, 1]])
    grown = F.interpolate(refined, size=(9, 7), mode="bilinear", align_corners=True)
    for least, any_of_first in ((0.2, False), (0.0, True)):
        labels, kept = replace(METHOD, least=least).pseudo_labels(refined, tags, (9, 7))
        expected, expected_kept = confident_labels(grown, tags, 0.6, 0.7, least)
        assert torch.equal(labels, expected) and torch.equal(kept, expected_kept)
        assert labels.shape == (3, 9, 7) and kept.tolist() == [any_of_first, True, True]


# --- the loss --------------------------------------------------------------------------------------------------------


def terms_literally(scores, tags, power=3.0, floor=0.01, epsilon=1.0):
    """Eqs. (3), (5) and (6): both terms of the class scores and the classification loss."""
    masks = torch.cat([torch.ones_like(scores[:, :1]), scores], 1).softmax(1)[:, 1:]
    pooled = (masks * scores).sum((2, 3)) / (epsilon + masks.sum((2, 3)))
    size = masks.mean((2, 3))
    penalty = (1 - size) ** power * (floor + size).log()
    total = pooled + penalty
    loss = -(tags * torch.sigmoid(total).log() + (1 - tags) * torch.sigmoid(-total).log()).mean()
    return pooled, penalty, loss


def test_the_loss_is_both_losses_step_by_step():
    pixels, scores, tags = coloured()
    losses = Losses(METHOD, warm_up=0)
    found = losses(Scores(scores), pixels, tags)
    _, _, classification = terms_literally(scores, tags)
    masks = torch.cat([torch.ones(2, 1, 8, 8), scores], 1).softmax(1)
    labels, kept = METHOD.pseudo_labels(METHOD.refined(pixels, masks, tags), tags, (16, 16))
    assert kept.all() and set(labels.unique().tolist()) == {0, 1, 255}
    padded = torch.cat([torch.ones(2, 1, 8, 8), scores], 1)
    grown = F.interpolate(padded, size=(16, 16), mode="bilinear", align_corners=True)
    segmentation = balanced_pixel_loss(grown, labels)
    assert segmentation > 0.01
    torch.testing.assert_close(found, classification + segmentation)
    assert losses.curves["classification"] == [pytest.approx(classification.item(), rel=1e-5)]
    assert losses.curves["segmentation"] == [pytest.approx(segmentation.item(), rel=1e-5)]
    assert losses.curves["kept images"] == [1]
    assert losses.curves["labelled pixels"] == [pytest.approx((labels != 255).float().mean().item())]


@pytest.mark.parametrize("options", [{"power": 5.0, "floor": 0.1}, {"epsilon": 0.0}, {"power": 0.0}])
def test_the_classification_loss_has_the_methods_values(options):
    pixels, scores, tags = coloured()
    losses = Losses(replace(METHOD, **options), warm_up=1)
    expected = terms_literally(scores, tags, **options)[2]
    torch.testing.assert_close(losses(Scores(scores), pixels, tags), expected)
    assert abs(expected - terms_literally(scores, tags)[2]) > 1e-3


def test_without_penalty_the_class_score_is_the_pooling_alone():
    pixels, scores, tags = coloured()
    losses = Losses(replace(METHOD, penalty=False), warm_up=1)
    pooled, _, _ = terms_literally(scores, tags)
    expected = F.multilabel_soft_margin_loss(pooled, tags)
    torch.testing.assert_close(losses(Scores(scores), pixels, tags), expected)
    assert losses.curves["absent penalty"] == [0]


def test_the_printed_average_is_handed_on():
    pixels, scores, tags = coloured()
    scores[1] = -5  # the second image gives no labels
    released, paper = (Losses(replace(METHOD, average=name), 0) for name in ("released", "paper"))
    for losses in (released, paper):
        losses(Scores(scores), pixels, tags)
        assert losses.curves["kept images"] == [0.5]
    assert paper.curves["segmentation"][0] == pytest.approx(2 * released.curves["segmentation"][0], rel=1e-4)


def test_curves_of_absent_classes_leave_the_tags_out():
    pixels, scores, _ = coloured()
    tags = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    losses = Losses(METHOD, warm_up=1)
    losses(Scores(scores), pixels, tags)
    pooled, penalty, _ = terms_literally(scores, tags)
    absent = [(0, 1), (1, 0), (1, 1)]
    for name, values in (("absent pooling", pooled), ("absent penalty", penalty)):
        expected = sorted(abs(float(values[each])) for each in absent)[1]
        assert losses.curves[name] == [pytest.approx(expected, rel=1e-4)]
    expected = np.mean([float(scores[each].mean()) for each in absent])
    assert losses.curves["absent score"] == [pytest.approx(expected, rel=1e-4)]


def test_segmentation_starts_after_the_warm_up():
    pixels, scores, tags = coloured()
    losses, net = Losses(METHOD, warm_up=2), Scores(scores)
    totals = [losses(net, pixels, tags).item() for _ in range(4)]
    assert losses.curves["segmentation"][:2] == [0, 0] and min(losses.curves["segmentation"][2:]) > 0
    assert totals[0] == totals[1] < totals[2] == totals[3]
    lengths = {name: len(values) for name, values in losses.curves.items()}
    assert lengths == {"classification": 4, "segmentation": 4, "absent score": 4, "absent pooling": 4,
                       "absent penalty": 4, "kept images": 2, "labelled pixels": 2}


def test_pseudo_labels_are_constants_to_the_gradient():
    pixels, scores, tags = coloured()
    net = Scores(scores.clone())
    Losses(METHOD, warm_up=0)(net, pixels, tags).backward()
    again = scores.clone().requires_grad_()
    with torch.no_grad():
        masks = torch.cat([torch.ones(2, 1, 8, 8), scores], 1).softmax(1)
        labels, _ = METHOD.pseudo_labels(METHOD.refined(pixels, masks, tags), tags, (16, 16))
    padded = torch.cat([torch.ones(2, 1, 8, 8), again], 1)
    grown = F.interpolate(padded, size=(16, 16), mode="bilinear", align_corners=True)
    (terms_literally(again, tags)[2] + balanced_pixel_loss(grown, labels)).backward()
    torch.testing.assert_close(net.scores.grad, again.grad, rtol=1e-4, atol=1e-7)


# --- training --------------------------------------------------------------------------------------------------------


def test_a_batch_is_images_as_bytes_and_their_tags(view):
    pixels, tags = pixel_batches(view, 32, 6, crop_and_jitter)(torch.Generator().manual_seed(0))
    assert (pixels.shape, pixels.dtype) == ((6, 3, 32, 32), torch.uint8)
    assert (tags.shape, tags.dtype) == ((6, 2), torch.float32)
    excess = pixels[:, 0].float() - pixels[:, 1].float()  # cats are red and dogs green, whatever the jitter
    assert torch.equal(excess.flatten(1).amax(1) > 60, tags[:, 0] == 1)
    assert torch.equal(excess.flatten(1).amin(1) < -60, tags[:, 1] == 1)


def test_the_first_loss_is_that_of_the_start_weights(view, start):
    """Retraced: the seed decides new layers, then the batch, then the gate."""
    for warm_up in (0, 1):
        history = train(view, start, schedule=replace(SCHEDULE, iterations=1), seed=3, warm_up=warm_up)["history"]
        torch.manual_seed(3)
        net = place(METHOD.network(BACKBONE, 2))  # its memory layout decides which element gets which draw
        net.trunk.load_state_dict(start)
        net.train()
        net.prepare()
        torch.manual_seed(3)
        pixels, tags = pixel_batches(view, 32, 3, crop_and_jitter)(torch.Generator().manual_seed(3))
        expected = Losses(METHOD, warm_up)(net, pixels, tags)
        assert history == [pytest.approx(expected.item(), rel=1e-5)]


def test_what_a_training_returns(trained):
    assert len(trained["history"]) == 4 and np.isfinite(trained["history"]).all()
    both = np.add(trained["curves"]["classification"], trained["curves"]["segmentation"])
    np.testing.assert_allclose(trained["history"], both, rtol=1e-5)
    assert {name: len(values) for name, values in trained["curves"].items() if len(values) != 4} == {
        "kept images": 2, "labelled pixels": 2}
    assert trained["curves"]["segmentation"][:2] == [0, 0]


def test_equal_seeds_give_equal_networks(view, start, trained):
    again, other = train(view, start), train(view, start, seed=1)
    assert all(torch.equal(value, trained["state"][name]) for name, value in again["state"].items())
    assert again["history"] == trained["history"] and again["history"] != other["history"]


def test_a_snapshot_is_the_network_after_as_many_iterations(view, start, trained):
    """With a constant learning rate a shorter training ends there."""
    short = train(view, start, schedule=replace(SCHEDULE, iterations=3))
    assert trained["early"].keys() == short["state"].keys()
    assert all(torch.equal(value, trained["early"][name]) for name, value in short["state"].items())
    assert any(not torch.equal(value, trained["early"][name]) for name, value in trained["state"].items())
    assert short["early"] == {}


def test_training_changes_the_network_and_not_what_is_frozen(start, trained):
    state = trained["state"]
    changed = {name for name, value in start.items() if not torch.equal(value, state[f"trunk.{name}"])}
    assert changed and not any(name.startswith(("conv1a.", "b2.")) or "bn" in name for name in changed)


def test_images_and_tags_are_enough(view, start, trained):
    """The masks of a guarded view raise when they are read."""
    found = train(view.guarded(), start)
    assert found["history"] == trained["history"]


def test_frozen_statistics_of_the_aspp_stay_at_0_and_1(view, start, trained):
    frozen = train(view, start, replace(METHOD, aspp_statistics="frozen"), replace(SCHEDULE, iterations=1))["state"]
    means = [name for name in frozen if name.startswith("aspp.") and name.endswith("running_mean")]
    assert means and not any(frozen[name].any() for name in means)
    assert all(trained["state"][name].any() for name in means)


@pytest.mark.parametrize("method", [
    replace(METHOD, gate="none"), replace(METHOD, gate="deterministic", cue="paper"),
    replace(METHOD, iterations=0, penalty=False), replace(METHOD, epsilon=0.0, average="paper", bandwidth="paper"),
])
def test_every_switch_trains(view, start, method):
    found = train(view, start, method, replace(SCHEDULE, iterations=2), warm_up=1)
    assert np.isfinite(found["history"]).all()
    restore_single_stage(found["state"], BACKBONE.settings(), method.settings())


def test_a_restored_network_is_the_trained_one_in_evaluation_mode(trained):
    net = restore_single_stage(trained["state"], BACKBONE.settings(), METHOD.settings())
    assert not net.training and net.decoder[-1].out_channels == 2
    assert all(torch.equal(value, trained["state"][name]) for name, value in net.state_dict().items())
    images = normalise(torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8))
    with torch.inference_mode():
        assert torch.equal(net(images), net(images))


def test_weights_of_another_trunk_are_refused(view):
    other = replace(BACKBONE, family="mobilenet")
    with pytest.raises(WeightsError, match="start weights"):
        train(view, v3plus_trunk(other).state_dict())


# ---------------------------------------------------------------------------------------------------------------------
# The self-supervised pixel loss: weights by hand, both averages against pixel loops, gradients.


def some_labels(batch=3, height=4, width=5, classes=3, seed=0):
    """Labels with ignored pixels; one image more labelled than another, the last one not at all."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (batch, height, width), generator=generator)
    ignored = torch.rand(batch, height, width, generator=generator) < torch.linspace(0.1, 0.9, batch)[:, None, None]
    labels[ignored] = IGNORE
    labels[-1] = IGNORE
    return labels


def some_scores(batch=3, classes=3, height=4, width=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(batch, classes, height, width, dtype=torch.float64, generator=generator)


def literally(scores, labels, average):
    """Eqs. (21) to (23) as they are printed, or the mean over all pixels of all images."""
    batch, classes, height, width = scores.shape
    total, above, below = 0.0, 0.0, 0
    for b in range(batch):
        counts = [int((labels[b] == c).sum()) for c in range(classes)]
        labelled, of_image = sum(counts), 0.0
        for i in range(height):
            for j in range(width):
                c = int(labels[b, i, j])
                if c != IGNORE:
                    exponents = [math.exp(y) for y in scores[b, :, i, j].tolist()]
                    q = (labelled - counts[c]) / (1 + labelled)
                    of_image += -q * math.log(exponents[c] / sum(exponents))
        total += of_image
        above, below = above + labelled * of_image, below + labelled
    return total / (batch * height * width) if average == "released" else above / below / (height * width)


# --- weights ---------------------------------------------------------------------------------------------------------


def test_class_weights_by_hand():
    """Counts 3, 1 and 0 of 4 labelled pixels: (4 - 3) / 5, (4 - 1) / 5 and 4 / 5."""
    labels = torch.tensor([[[0, 0, 0], [1, IGNORE, IGNORE]]])
    assert class_weights(labels, 3).flatten().tolist() == pytest.approx([0.2, 0.6, 0.8])


def test_weights_are_those_of_each_image():
    labels = torch.tensor([[[0, 1]], [[1, 1]], [[IGNORE, 0]], [[IGNORE, IGNORE]]])
    expected = torch.tensor([[1 / 3, 1 / 3], [2 / 3, 0], [0, 1 / 2], [0, 0]])
    torch.testing.assert_close(class_weights(labels, 2), expected)


def test_a_single_label_weighs_nothing():
    assert class_weights(torch.full((1, 8, 8), 2), 4)[0, 2] == 0
    assert balanced_pixel_loss(torch.randn(1, 4, 8, 8), torch.full((1, 8, 8), 2)) == 0


def test_a_label_that_is_missing_weighs_most():
    weights = class_weights(some_labels(), 4)[:-1]
    assert torch.equal(weights.argmax(1), torch.full((2,), 3)) and (weights < 1).all()


# --- the loss --------------------------------------------------------------------------------------------------------


def test_the_loss_of_one_image_by_hand():
    """Equal scores: -log of a half at each of three labelled pixels of four, weights 1/4, 1/4 and 2/4."""
    labels = torch.tensor([[[0, 0], [1, IGNORE]]])
    expected = (0.25 + 0.25 + 0.5) * math.log(2) / 4
    for average in ("released", "paper"):
        assert balanced_pixel_loss(torch.zeros(1, 2, 2, 2), labels, average).item() == pytest.approx(expected)


@pytest.mark.parametrize("average", ["released", "paper"])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_a_literal_loop(average, seed):
    scores, labels = some_scores(seed=seed), some_labels(seed=seed)
    assert balanced_pixel_loss(scores, labels, average).item() == pytest.approx(
        literally(scores, labels, average), rel=1e-5)


def test_the_printed_average_prefers_images_with_many_labels():
    """Two images, one with all of its 100 pixels labelled, one with 4: shares 100 / 104 and 4 / 104."""
    scores, labels = some_scores(2, 3, 10, 10), some_labels(3, 10, 10)[:2]
    labels[0] = torch.arange(100).view(10, 10) % 3
    labels[1] = IGNORE
    labels[1, 0, :4] = torch.tensor([0, 1, 2, 1])
    one, two = (balanced_pixel_loss(scores[i:i + 1], labels[i:i + 1]).item() for i in (0, 1))
    assert balanced_pixel_loss(scores, labels, "paper").item() == pytest.approx((100 * one + 4 * two) / 104, rel=1e-5)
    assert balanced_pixel_loss(scores, labels).item() == pytest.approx((one + two) / 2, rel=1e-5)


def test_an_image_without_labels_halves_the_released_average_only():
    scores, labels = some_scores(2, seed=3), some_labels(seed=3)[:2]
    labels[1] = IGNORE
    alone = balanced_pixel_loss(scores[:1], labels[:1])
    torch.testing.assert_close(balanced_pixel_loss(scores, labels), alone / 2)
    torch.testing.assert_close(balanced_pixel_loss(scores, labels, "paper"), alone)


@pytest.mark.parametrize("average", ["released", "paper"])
def test_a_batch_without_labels_gives_0_and_no_gradient(average):
    scores = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = balanced_pixel_loss(scores, torch.full((2, 4, 4), IGNORE), average)
    loss.backward()
    assert loss.item() == 0 and not scores.grad.any()


def test_ignored_pixels_have_no_gradient_and_the_others_have_one():
    scores, labels = some_scores(2).requires_grad_(), some_labels()[:2]
    balanced_pixel_loss(scores, labels).backward()
    assert torch.equal(scores.grad.abs().sum(1) > 0, labels != IGNORE)


@pytest.mark.parametrize("average", ["released", "paper"])
def test_gradients_of_the_loss(average):
    """In single precision inside, hence the wide steps."""
    loss = partial(balanced_pixel_loss, labels=some_labels(), average=average)
    assert torch.autograd.gradcheck(loss, (some_scores().requires_grad_(),), eps=1e-2, atol=1e-4, rtol=1e-2)


def test_another_average_is_refused():
    with pytest.raises(ParameterError, match="average 'mean' is not known") as caught:
        balanced_pixel_loss(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long), "mean")
    assert caught.value.expected == "released or paper"
