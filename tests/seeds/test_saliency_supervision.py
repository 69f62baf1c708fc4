"""Training of localisation maps: both losses and what they teach, batches with saliency, the network, the baseline."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_views import blobs
from torch import nn

from wsss_lab.data.canvas import MEAN, scale_crop
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import labelled_batches
from wsss_lab.networks.deeplab_v3plus import freeze_trunk, v3plus_trunk
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.seeds.gap_cam import train_cam
from wsss_lab.seeds.saliency_supervision import (
    SMALL,
    JointLoss,
    Selection,
    classification_loss,
    estimated_saliency,
    localisation_net,
    overlap_ratio,
    saliency_loss,
    scale_and_jitter,
    train_localisation,
)

pytestmark = pytest.mark.usefixtures("on_cpu")  # what is computed twice is compared to the last digits
SIZES = ((32, 32), (32, 32), (24, 32), (32, 20))
BACKBONE = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, dropout=0.5, side=32)
SCHEDULE = Schedule(3, 4, policy="constant")
ADAPTIVE = Selection().settings()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def view():
    return blobs(SIZES)


@pytest.fixture(scope="module")
def saliency(view):
    """What a perfect detector would find."""
    frame = np.zeros((4, 32, 32), np.uint8)
    for index, (height, width) in enumerate(SIZES):
        frame[index, :height, :width] = 255 * (view.mask(index) > 0)
    return frame


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(5)
    return v3plus_trunk(BACKBONE).state_dict()


def train(view, start, saliency=None, selection=None, schedule=SCHEDULE, seed=0, random_scale=None):
    return train_localisation(view, start, BACKBONE.settings(), schedule.settings(), seed, selection, saliency,
                              random_scale)


@pytest.fixture(scope="module")
def baseline(view, start):
    return train(view.train_view(), start)


class Maps(nn.Module):
    """Gives raw maps that don't depend on the image."""

    def __init__(self, maps):
        super().__init__()
        self.maps = nn.Parameter(maps)

    def class_maps(self, images):
        return self.maps


def soft_margin_literally(scores, tags):
    """Eq. (4), mean over images."""
    total = 0
    for score, tag in zip(scores.flatten().tolist(), tags.flatten().tolist()):
        probability = torch.sigmoid(torch.tensor(score, dtype=torch.float64))
        total -= float(tag * probability.log() + (1 - tag) * (1 - probability).log())
    return total / scores.numel()


@pytest.mark.parametrize("background", [0, 1])
def test_the_classification_loss_is_that_of_the_equation(background):
    maps = 2 * torch.randn(3, 4 + background, 5, 6, generator=generator()) + 1
    tags = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]])
    expected = soft_margin_literally(maps[:, :4].mean((2, 3)), tags)
    assert classification_loss(maps, tags).item() == pytest.approx(expected, rel=1e-5)


def joint_case(seed=0):
    draw = generator(seed)
    raw = 3 * torch.randn(2, 4, 4, 4, generator=draw, dtype=torch.float32)
    saliency = torch.randint(0, 256, (2, 8, 8), generator=draw, dtype=torch.uint8)
    return raw, saliency, torch.tensor([[1.0, 1, 0], [0, 0, 1]])


def total_loss(raw, saliency, tags, selection=None):
    loss, net = JointLoss(selection or Selection()), Maps(raw)
    return loss(net, None, saliency, None, tags), loss.curves, net.maps


def test_the_total_loss_is_the_sum_of_both_step_by_step():
    raw, saliency, tags = joint_case()
    found, curves, _ = total_loss(raw, saliency, tags, Selection(tau=0.3, share=0.8))
    classification = soft_margin_literally(raw[:, :3].mean((2, 3)), tags)
    target = saliency[:, ::2, ::2].float() / 255  # nearest neighbour on half the grid: no mixed values
    maps = raw.exp() / raw.exp().sum(1, keepdim=True)
    estimated, chosen = Selection(tau=0.3, share=0.8).estimate(maps, target, tags)
    difference = ((target - estimated) ** 2).sum() / (2 * 4 * 4)
    assert found.item() == pytest.approx(classification + difference.item(), rel=1e-5)
    assert curves == {
        "classification": [pytest.approx(classification, rel=1e-5)],
        "saliency": [pytest.approx(difference.item(), rel=1e-5)],
        "selected tags": [pytest.approx(chosen.sum().item() / 3)],
        "background": [pytest.approx((maps[:, -1] > 0.5).float().mean().item())],
    }


def test_saliency_of_an_odd_size_comes_to_the_grid_by_nearest_neighbour():
    """9 x 9 pixels on 4 x 4 cells: cell i reads pixel floor(9 i / 4). Without tags the estimate is 0 + (1 - M_bg)."""
    raw, _, _ = joint_case()
    saliency = torch.randint(0, 256, (2, 9, 9), generator=generator(1), dtype=torch.uint8)
    _, curves, _ = total_loss(raw, saliency, torch.zeros(2, 3), Selection(share=0))
    rows = [0, 2, 4, 6]
    target = saliency[:, rows][:, :, rows].float() / 255
    expected = (target - 1 + raw.softmax(1)[:, -1]).square().mean()
    assert curves["saliency"] == [pytest.approx(expected.item(), rel=1e-5)]


def test_eps_has_a_map_more_than_the_baseline_and_no_dropout():
    for background, planes, dropped in ((True, 6, 0.0), (False, 5, 0.5)):
        net = localisation_net(BACKBONE, 5, background)
        assert net.classifier.out_channels == planes and net.classifier.bias is None
        assert [layer.p for layer in net.head.modules() if isinstance(layer, nn.Dropout2d)] == [dropped]


def test_image_and_saliency_move_together_and_room_is_not_salient():
    """A bright square on dark, salient where it is bright; room beside the image takes the mean colour."""
    images = torch.full((40, 3, 16, 16), 10, dtype=torch.uint8)
    images[:, :, 4:12, 2:8] = 250
    labels = torch.where(images[:, 0] == 250, 200, 30).to(torch.uint8)
    moved, salient = scale_and_jitter(images, labels, generator(), (0.5, 1.5))
    plain, expected = scale_crop(images, labels, generator(), 0.5, 1.5)
    assert moved.dtype == salient.dtype == torch.uint8 and moved.shape == images.shape
    assert torch.equal(salient, expected) and set(salient.unique().tolist()) == {0, 30, 200}
    room = (plain == torch.tensor(MEAN).view(1, 3, 1, 1)).all(1)
    assert room.any() and torch.equal(room, salient == 0)
    brightness = moved.float().mean(1)
    flat = (plain.float().mean(1) == 250) | (plain.float().mean(1) == 10)  # not between two pixels
    for image in range(40):
        bright, dark = (brightness[image][flat[image] & (salient[image] == value)] for value in (200, 30))
        if len(bright) and len(dark):
            assert bright.min() > dark.max()


def first_batch(view, saliency, change, seed=3):
    return labelled_batches(view, saliency, 32, 4, change)(generator(seed))


@pytest.mark.parametrize("random_scale", [None, (0.6, 0.9)])
def test_the_first_loss_is_that_of_the_first_batch(view, start, saliency, random_scale):
    """Retraced with the crops of the default and with the random scale that is asked for."""
    found = train(view, start, saliency, ADAPTIVE, replace(SCHEDULE, iterations=1), 3, random_scale)

    def scaled(images, labels, draw):
        return scale_and_jitter(images, labels, draw, random_scale)

    torch.manual_seed(3)
    net = localisation_net(BACKBONE, 2, True)
    net.trunk.load_state_dict(start)
    net.train()
    freeze_trunk("wide_resnet", net.trunk)
    batch = first_batch(view, saliency, crop_and_jitter if random_scale is None else scaled)
    torch.manual_seed(3)
    expected = JointLoss(Selection())(net, *batch)
    assert found["history"] == [pytest.approx(expected.item(), rel=1e-5)]


def test_the_baseline_is_the_classifier_of_class_activation_maps(view, start, baseline):
    """No background map, no saliency, no curves: Eq. (4) alone, behind dropout."""
    other = train_cam(view, start, BACKBONE.settings(), SCHEDULE.settings(), 0)
    assert baseline["curves"] == {} and baseline["history"] == other["history"]
    assert len(baseline["state"]["classifier.weight"]) == 2
    assert all(torch.equal(value, baseline["state"][name]) for name, value in other["state"].items())


def random_case(batch=3, classes=4, height=6, width=5, seed=0):
    """Softmax maps sharp enough for areas above a half, saliency, and tags of all kinds."""
    draw = generator(seed)
    maps = (4 * torch.randn(batch, classes + 1, height, width, generator=draw)).softmax(1)
    tags = torch.rand(batch, classes, generator=draw) < 0.6
    return maps, torch.rand(batch, height, width, generator=draw), tags.float()


def by_hand():
    """Ten pixels in a row, three classes and the background.

    Class 1 lies on pixels 0 to 4 and class 2 on 5 to 9; pixels 0 to 4 and 5 are salient: ratios 1 and 1/5. Class 3 is
    0.1 everywhere and the background takes the rest.
    """
    first = torch.tensor([0.7] * 5 + [0.1] * 5)
    second = torch.tensor([0.1] * 5 + [0.6] * 5)
    third = torch.full((10,), 0.1)
    maps = torch.stack([first, second, third, 1 - first - second - third])[None, :, None]
    saliency = torch.tensor([0.9] * 6 + [0.2] * 4)[None, None]
    return maps, saliency


def square(rows, columns, value=0.9, side=8):
    area = torch.zeros(side, side)
    area[rows, columns] = value
    return area


def test_ratios_of_objects_inside_across_and_outside_of_the_salient_area():
    salient = square(slice(0, 4), slice(0, 8))
    inside, outside = square(slice(1, 3), slice(2, 6)), square(slice(5, 7), slice(0, 3))
    across = square(slice(3, 7), slice(0, 2))
    found = overlap_ratio(torch.stack([inside, across, outside])[None], salient[None])
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.25, 0.0]]), atol=1e-3, rtol=0)
    assert 0.999 < found[0, 0] < 1  # 8 / (8 + 64 * SMALL)
    assert found[0, 0] == pytest.approx(8 / (8 + 64 * 1e-4)) and SMALL == 1e-4


def test_exactly_a_half_belongs_neither_to_a_map_nor_to_the_salient_area():
    sure, half = torch.ones(1, 1, 2, 2), torch.full((1, 2, 2), 0.5)
    assert overlap_ratio(sure, half).tolist() == [[0]]
    assert overlap_ratio(half[:, None], torch.ones(1, 2, 2)).tolist() == [[0]]
    assert overlap_ratio(sure, half + 1e-6)[0, 0] > 0.99 and overlap_ratio(sure / 2 + 1e-6, sure[0])[0, 0] > 0.99
    assert not Selection(tau=0.0).foreground(sure, 0 * half, torch.ones(1, 1)).any()  # 0 doesn't exceed tau = 0


def test_reserved_classes_are_background_by_hand():
    maps, saliency = by_hand()
    selection = Selection("pre-defined", reserved=(0,))
    estimate, chosen = selection.estimate(maps, saliency, torch.tensor([[1, 1, 0]]))
    assert chosen.tolist() == [[False, True, False]]
    # On pixels 0 to 4: M_fg = 0.1, M_bg = 0.7 + 0.1; on the others: M_fg = 0.6, M_bg = 0.1 + 0.2.
    expected = [0.5 * 0.1 + 0.5 * (1 - 0.8)] * 5 + [0.5 * 0.6 + 0.5 * (1 - 0.3)] * 5
    assert estimate[0, 0].tolist() == pytest.approx(expected)


def estimate_literally(maps, saliency, tags, tau, share):
    """Eqs. (1) and (2) pixel by pixel."""
    batch, planes, height, width = maps.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    estimate = torch.zeros(batch, height, width, dtype=maps.dtype)
    for image in range(batch):
        is_foreground = []
        for row in range(planes - 1):
            area = [pixel for pixel in pixels if maps[image, row][pixel] > 0.5]
            inside = [pixel for pixel in area if saliency[image][pixel] > 0.5]
            is_foreground.append(bool(area) and len(inside) / len(area) > tau)
        for pixel in pixels:
            foreground, background = 0.0, float(maps[image, -1][pixel])
            for row in range(planes - 1):
                value = float(tags[image, row] * maps[image, row][pixel])
                if is_foreground[row]:
                    foreground += value
                else:
                    background += value
            estimate[image][pixel] = share * foreground + (1 - share) * (1 - background)
    return estimate


@pytest.mark.parametrize(("tau", "share"), [(0.4, 0.5), (0.55, 0.9), (0.5, 0.0)])
def test_estimate_and_loss_are_those_of_the_equations(tau, share):
    maps, saliency, tags = random_case(seed=7)
    expected = estimate_literally(maps, saliency, tags, tau, share)
    found, chosen = Selection(tau=tau, share=share).estimate(maps, saliency, tags)
    assert chosen.any() and (chosen.float() != tags).any()  # tags on either side
    torch.testing.assert_close(found, expected)
    per_image = [sum((float(s) - float(e)) ** 2 for s, e in zip(saliency[i].flatten(), expected[i].flatten())) / 30
                 for i in range(3)]
    assert saliency_loss(saliency, found).item() == pytest.approx(sum(per_image) / 3, rel=1e-5)


def test_half_precision_around_the_loss_does_not_reach_the_sums():
    maps, _, tags = random_case()
    chosen = tags.bool() & (torch.arange(4) < 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = estimated_saliency(maps, tags, chosen)
    assert torch.equal(found, estimated_saliency(maps, tags, chosen))


def test_settings_survive_json():
    selection = Selection("pre-defined", 0.3, 0.9, reserved=[4, 7])
    assert selection.reserved == (4, 7)
    assert Selection(**json.loads(json.dumps(selection.settings()))) == selection


@pytest.mark.parametrize(("call", "message", "expected"), [
    (lambda: Selection("best"), "map selection 'best' is not known", "none, naive, pre-defined, adaptive"),
    (lambda: Selection(tau=-0.01), "tau=-0.01", "a number in [0, 1]"),
    (lambda: Selection(share=1.01), "share=1.01", "a number in [0, 1]"),
    (lambda: Selection(tau=float("nan")), "tau=nan", "a number in [0, 1]"),
    (lambda: Selection("pre-defined", reserved=(4,)).estimate(*random_case()), "reserved classes",
     "indices from 0 to 3"),
    (lambda: train(blobs(SIZES), {}, selection=ADAPTIVE), "saliency=None", "a saliency frame, uint8 (N, Hmax, Wmax)")])
def test_settings_without_meaning_are_refused(call, message, expected):
    with pytest.raises(ParameterError, match=message) as caught:
        call()
    assert caught.value.expected == expected


def test_shapes_that_do_not_fit_are_refused():
    maps, saliency, tags = random_case()
    for wrong in ((maps[:, :-1], saliency, tags), (maps, saliency[:, :-1], tags), (maps, saliency[:2], tags),
                  (maps, saliency[:, None], tags), (maps, saliency, tags[0])):
        with pytest.raises(DataError, match=r"maps \(.*saliency \(.*tags \("):
            Selection().estimate(*wrong)
