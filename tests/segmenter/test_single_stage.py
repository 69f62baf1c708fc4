"""One network, one training (Araslanov & Roth 2020): the loss by hand and step by step, training, labels, pictures."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_views import blobs
from torch import nn

from wsss_lab.data import frames
from wsss_lab.data.canvas import normalise
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.errors import ParameterError
from wsss_lab.fusion.confident import confident_labels
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import pixel_batches
from wsss_lab.networks.deeplab_v3plus import DeepLabV3Plus, v3plus_trunk
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.inference import averaged_maps
from wsss_lab.networks.losses import IGNORE
from wsss_lab.networks.machine import place
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.refinement.dense_crf import V1, label_image
from wsss_lab.refinement.pamr import pamr
from wsss_lab.seeds.weighted_pooling import class_scores, masks_of
from wsss_lab.segmenter import single_stage
from wsss_lab.segmenter.single_stage import (
    PRESENCE,
    Losses,
    Method,
    balanced_pixel_loss,
    class_weights,
    keep_present,
    present_classes,
    restore_single_stage,
    segment_single_stage,
    train_single_stage,
    training_pictures,
)

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
    assert isinstance(net, DeepLabV3Plus) and net.decoder[-1].out_channels == 5


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


def test_the_loss_is_both_losses_step_by_step():
    pixels, scores, tags = coloured()
    losses = Losses(METHOD, warm_up=0)
    found = losses(Scores(scores), pixels, tags)
    _, _, classification = terms_literally(scores, tags)
    masks = with_background(scores).softmax(1)
    labels, kept = METHOD.pseudo_labels(METHOD.refined(pixels, masks, tags), tags, (16, 16))
    assert kept.all() and set(labels.unique().tolist()) == {0, 1, 255}
    padded = with_background(scores)
    grown = F.interpolate(padded, size=(16, 16), mode="bilinear", align_corners=True)
    segmentation = balanced_pixel_loss(grown, labels)
    assert segmentation > 0.01
    torch.testing.assert_close(found, classification + segmentation)
    assert losses.curves["classification"] == [pytest.approx(classification.item(), rel=1e-5)]
    assert losses.curves["segmentation"] == [pytest.approx(segmentation.item(), rel=1e-5)]
    assert losses.curves["kept images"] == [1]
    assert losses.curves["labelled pixels"] == [pytest.approx((labels != 255).float().mean().item())]


@pytest.mark.parametrize("options", [
    {"power": 5.0, "floor": 0.1}, {"epsilon": 0.0}, {"power": 0.0}, {"penalty": False}])
def test_the_classification_loss_has_the_methods_values(options):
    pixels, scores, tags = coloured()
    losses = Losses(replace(METHOD, **options), warm_up=1)
    expected = terms_literally(scores, tags, **options)[2]
    torch.testing.assert_close(losses(Scores(scores), pixels, tags), expected)
    assert abs(expected - terms_literally(scores, tags)[2]) > 1e-3


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


# --- training --------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("workers", "parts"), [("0", "1"), ("2", "2")])
def test_a_snapshot_is_the_network_after_as_many_iterations(view, start, monkeypatch, workers, parts):
    """With a constant learning rate a shorter training ends there. It is taken before a forward pass, and once."""
    monkeypatch.setenv("WSSS_WORKERS", workers)
    monkeypatch.setenv("WSSS_PARTS", parts)
    whole, short = (train(view.guarded(), start, schedule=replace(SCHEDULE, iterations=count, batch=4), snapshot=3)
                    for count in (4, 3))
    total = np.add(whole["curves"]["classification"], whole["curves"]["segmentation"])
    np.testing.assert_allclose(whole["history"], total, rtol=1e-5)
    assert whole["early"].keys() == short["state"].keys() and short["early"] == {}
    assert all(torch.equal(value, whole["early"][name]) for name, value in short["state"].items())
    assert any(not torch.equal(value, whole["early"][name]) for name, value in whole["state"].items())


@pytest.mark.parametrize("method", [
    replace(METHOD, gate="none"), replace(METHOD, gate="deterministic", cue="paper"),
    replace(METHOD, iterations=0, penalty=False), replace(METHOD, epsilon=0.0, average="paper", bandwidth="paper"),
])
def test_every_switch_trains(view, start, method):
    found = train(view, start, method, replace(SCHEDULE, iterations=2), warm_up=1)
    assert np.isfinite(found["history"]).all()
    net = restore_single_stage(found["state"], BACKBONE.settings(), method.settings())
    assert not net.training
    assert all(torch.equal(value, found["state"][name]) for name, value in net.state_dict().items())


# ---------------------------------------------------------------------------------------------------------------------
# The self-supervised pixel loss: weights by hand, both averages against pixel loops.


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


def test_class_weights_by_hand():
    """Counts 3, 1 and 0 of 4 labelled pixels: (4 - 3) / 5, (4 - 1) / 5 and 4 / 5."""
    labels = torch.tensor([[[0, 0, 0], [1, IGNORE, IGNORE]]])
    assert class_weights(labels, 3).flatten().tolist() == pytest.approx([0.2, 0.6, 0.8])


@pytest.mark.parametrize("average", ["released", "paper"])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_a_literal_loop(average, seed):
    scores, labels = some_scores(seed=seed), some_labels(seed=seed)
    assert balanced_pixel_loss(scores, labels, average).item() == pytest.approx(
        literally(scores, labels, average), rel=1e-5)


@pytest.mark.parametrize("average", ["released", "paper"])
def test_a_batch_without_labels_gives_0_and_no_gradient(average):
    scores = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = balanced_pixel_loss(scores, torch.full((2, 4, 4), IGNORE), average)
    loss.backward()
    assert loss.item() == 0 and not scores.grad.any()


# ---------------------------------------------------------------------------------------------------------------------
# Labels of the trained network: absent classes, the background's power, scales, and pictures of training.


SIZES = ((32, 32), (24, 32), (32, 20))
SCALES = (1.0, 0.5)


@pytest.fixture(scope="module")
def labelled():
    return blobs(SIZES).train_view()


@pytest.fixture(scope="module")
def state():
    """A network that knows nothing, with scores large enough for all three labels to win somewhere."""
    torch.manual_seed(0)
    state = METHOD.network(BACKBONE, 2).state_dict()
    state["decoder.4.weight"] *= 60
    state["decoder.4.bias"] = torch.tensor([-1.0, -1.0])
    return state


def segment(labelled, state, **options):
    return segment_single_stage(labelled, state, BACKBONE.settings(), METHOD.settings(), SCALES, **options)


@pytest.fixture(scope="module")
def averaged(labelled, state):
    """Masks and class scores of every image, averaged over scales."""
    net = restore_single_stage(state, BACKBONE.settings(), METHOD.settings())

    def run(images):
        scores = net(images)
        return masks_of(scores), sum(class_scores(scores))

    return [(masks.numpy(), scores) for masks, scores in averaged_maps(net, run, labelled, 32, SCALES)]


def test_a_confidence_of_10_percent_is_present(monkeypatch):
    assert PRESENCE == 0.1
    view = blobs([(16, 16)])
    edge = math.log(0.1 / 0.9)
    scores = torch.tensor([edge + 1e-3, edge - 1e-3])
    assert present_classes(view, 0, scores, "predicted").tolist() == [True, False]
    assert present_classes(view, 0, -scores, "predicted").tolist() == [True, True]
    monkeypatch.setattr(single_stage, "PRESENCE", 0.5)  # which floats hold exactly
    assert present_classes(view, 0, torch.tensor([0.0, -1e-6]), "predicted").tolist() == [True, False]


@pytest.mark.parametrize(("wrong", "message", "expected"), [
    (lambda view, state: segment(view, state, tags="guessed"), "tags 'guessed' is not known", "predicted or known"),
    (lambda *_: balanced_pixel_loss(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long), "mean"),
     "average 'mean' is not known", "released or paper")])
def test_words_that_mean_nothing_are_refused(labelled, state, wrong, message, expected):
    with pytest.raises(ParameterError, match=message) as caught:
        wrong(labelled, state)
    assert caught.value.expected == expected


def test_masks_of_absent_classes_go_and_the_background_is_raised():
    masks = np.array([[0.5, 0.2], [0.3, 0.1], [0.2, 0.7]], np.float64)[:, None]
    found = keep_present(masks, np.array([False, True]), 3.0)
    assert found.dtype == np.float32 and found.shape == (3, 1, 2)
    np.testing.assert_allclose(found[:, 0], [[0.125, 0.008], [0, 0], [0.2, 0.7]], rtol=1e-6)
    np.testing.assert_allclose(keep_present(masks, np.array([True, True])), masks, rtol=1e-6)
    assert masks[0, 0, 0] == 0.5  # what came in is left alone


@pytest.mark.parametrize("tags", ["predicted", "known"])
@pytest.mark.parametrize("power", [1.0, 3.0])
def test_labels_are_the_largest_of_the_kept_masks(labelled, state, averaged, tags, power):
    found = segment(labelled, state, tags=tags, power=power)
    for index, (masks, scores) in enumerate(averaged):
        present = labelled.tags[index] if tags == "known" else torch.sigmoid(scores).numpy() >= 0.1
        expected = [masks[0] ** power, *(masks[1 + c] * present[c] for c in range(2))]
        np.testing.assert_array_equal(frames.rows_of(labelled, found["masks"])[index], np.argmax(expected, 0))
        np.testing.assert_allclose(found["scores"][index], scores, rtol=1e-5)
    np.testing.assert_array_equal(found["masks"], found["refined"])
    assert found["scores"].shape == (3, 2) and found["scores"].dtype == np.float32


def test_classes_below_the_least_confidence_lose_their_pixels(labelled, state, monkeypatch):
    """At a least confidence of 1/2, as the second class of this network is never that sure."""
    plain = segment(labelled, state)
    monkeypatch.setattr(single_stage, "PRESENCE", 0.5)
    found = segment(labelled, state)
    assert (plain["masks"] == 2).any() and not (found["masks"] == 2).any() and (found["masks"] == 1).any()
    np.testing.assert_array_equal(found["scores"], plain["scores"])


def test_the_crf_refines_kept_masks(labelled, state, averaged):
    crf = V1.scaled(0.1)
    found = segment(labelled, state, tags="known", crf=asdict(crf))
    for index, (masks, _) in enumerate(averaged):
        plain, refined = label_image(labelled.image(index), keep_present(masks, labelled.tags[index]), crf)
        np.testing.assert_array_equal(frames.rows_of(labelled, found["masks"])[index], plain)
        np.testing.assert_array_equal(frames.rows_of(labelled, found["refined"])[index], refined)
    assert (found["masks"] != found["refined"]).any()


def test_class_scores_are_those_of_the_method(labelled, state):
    """Without the penalty they are larger; a floor of lambda near 1 hardly has one."""
    scores = {}
    for name, method in (("paper", METHOD), ("none", Method(penalty=False)), ("strict", Method(floor=1e-6))):
        scores[name] = segment_single_stage(labelled, state, BACKBONE.settings(), method.settings(), SCALES)["scores"]
    assert (scores["none"] > scores["paper"]).all() and (scores["paper"] > scores["strict"]).all()


def pictures(labelled, state, images, method=METHOD):
    return training_pictures(labelled, state, BACKBONE.settings(), method.settings(), images)


@pytest.fixture(scope="module")
def taken(labelled, state):
    return pictures(labelled, state, (2, 0))


def test_pictures_hold_the_masks_before_and_after_each_iteration(labelled, state, taken):
    assert taken["masks"].shape == (2, 4, 3, 16, 16) and taken["masks"].dtype == np.float16
    net = restore_single_stage(state, BACKBONE.settings(), METHOD.settings())
    for row, index in enumerate((2, 0)):
        canvas, _ = labelled.canvas([index], 32)
        with torch.inference_mode():
            masks = masks_of(net(normalise(canvas)))
        small = F.interpolate(canvas / 255, size=(16, 16), mode="bilinear", align_corners=True)
        for iteration in range(4):
            present = torch.tensor([True, *labelled.tags[index].tolist()]).view(3, 1, 1)
            expected = pamr(small, masks, (1, 2), iteration)[0] * present
            np.testing.assert_allclose(taken["masks"][row, iteration], expected, atol=1e-3)


def test_pictures_show_the_pseudo_ground_truth_of_the_loss(labelled, taken):
    assert taken["labels"].shape == (2, 32, 32) and taken["labels"].dtype == np.uint8
    tags = torch.tensor(labelled.tags[[2, 0]])
    refined = torch.from_numpy(taken["masks"][:, -1]).float()
    expected, kept = METHOD.pseudo_labels(refined, tags, (32, 32))
    assert kept.all()
    assert (taken["labels"] == expected.numpy()).mean() > 0.99  # masks are stored in half precision


def test_pictures_are_taken_in_the_order_asked_for(labelled, state, taken):
    np.testing.assert_allclose(pictures(labelled, state, [0])["masks"][0], taken["masks"][1], atol=2e-3)
    assert pictures(labelled, state, [1], Method(iterations=0))["masks"].shape == (1, 1, 3, 16, 16)
