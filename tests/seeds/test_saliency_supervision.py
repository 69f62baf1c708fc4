"""What localisation maps are taught: both losses, which tags are foreground, images that move with their saliency."""

import json
from itertools import product

import pytest
import torch
from tiny_views import blobs, normal
from torch import nn

from wsss_lab.data.canvas import scale_crop
from wsss_lab.data.resized_crop import jitter_colours, jitter_factors
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.seeds import saliency_supervision as module
from wsss_lab.seeds.saliency_supervision import SMALL, Selection, overlap_ratio
from wsss_lab.seeds.weighted_pooling import soft_margin_loss


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Maps(nn.Module):
    """Gives raw maps that don't depend on the image."""

    def __init__(self, maps):
        super().__init__()
        self.maps = maps

    def class_maps(self, images):
        return self.maps


@pytest.mark.parametrize("background", [0, 1])
def test_the_classification_loss_is_that_of_the_means_of_the_classes_maps(background):
    maps, tags = normal(3, 4 + background, 5, 6), torch.eye(4)[:3]
    expected = soft_margin_loss(maps[:, :4].mean((2, 3)), tags)
    torch.testing.assert_close(module.classification_loss(maps, tags), expected)


@pytest.mark.parametrize(("side", "rows"), [(8, [0, 2, 4, 6]), (9, [0, 2, 4, 6])])
def test_the_total_loss_is_the_sum_of_both_step_by_step(side, rows):
    """Saliency comes to the grid of 4 x 4 cells by nearest neighbour: cell i reads pixel floor(side i / 4)."""
    draw, tags, selection = generator(), torch.tensor([[1.0, 1, 0], [0, 0, 1]]), Selection(tau=0.3, share=0.8)
    raw = 3 * torch.randn(2, 4, 4, 4, generator=draw)
    saliency = torch.randint(0, 256, (2, side, side), generator=draw, dtype=torch.uint8)
    loss = module.JointLoss(selection)
    found = loss(Maps(raw), None, saliency, None, tags)
    classification = soft_margin_loss(raw[:, :3].mean((2, 3)), tags).item()
    target, maps = saliency[:, rows][:, :, rows].float() / 255, raw.exp() / raw.exp().sum(1, keepdim=True)
    estimated, chosen = selection.estimate(maps, target, tags)
    difference = ((target - estimated) ** 2).sum() / (2 * 4 * 4)
    assert found.item() == pytest.approx(classification + difference.item(), rel=1e-5)
    assert loss.curves == {
        "classification": [pytest.approx(classification, rel=1e-5)],
        "saliency": [pytest.approx(difference.item(), rel=1e-5)],
        "selected tags": [pytest.approx(chosen.sum().item() / 3)],
        "background": [pytest.approx((maps[:, -1] > 0.5).float().mean().item())],
    }


def test_eps_has_a_map_more_than_the_baseline_and_no_dropout():
    backbone = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, dropout=0.5, side=32)
    for background, planes, dropped in ((True, 6, 0.0), (False, 5, 0.5)):
        net = module.localisation_net(backbone, 5, background)
        assert net.classifier.out_channels == planes and net.classifier.bias is None
        assert [layer.p for layer in net.head.modules() if isinstance(layer, nn.Dropout2d)] == [dropped]


def test_image_and_saliency_move_together_and_colours_jitter():
    images = torch.randint(0, 256, (8, 3, 16, 16), generator=generator(), dtype=torch.uint8)
    moved, salient = module.scale_and_jitter(images, images[:, 0], generator(1), (0.5, 1.5))
    draw = generator(1)
    plain, expected = scale_crop(images, images[:, 0], draw, 0.5, 1.5)
    assert torch.equal(salient, expected) and moved.dtype == torch.uint8
    assert torch.equal(moved, jitter_colours(plain.float(), *jitter_factors(8, draw)).to(torch.uint8))


def random_case(batch=3, classes=4, height=6, width=5, seed=7):
    """Softmax maps sharp enough for areas above a half, saliency, and tags of all kinds."""
    draw = generator(seed)
    maps = (4 * torch.randn(batch, classes + 1, height, width, generator=draw)).softmax(1)
    tags = torch.rand(batch, classes, generator=draw) < 0.6
    return maps, torch.rand(batch, height, width, generator=draw), tags.float()


def square(rows, columns, value=0.9, side=8):
    area = torch.zeros(side, side)
    area[rows, columns] = value
    return area


def test_ratios_of_objects_inside_across_and_outside_of_the_salient_area():
    salient = square(slice(0, 4), slice(0, 8))
    inside, outside = square(slice(1, 3), slice(2, 6)), square(slice(5, 7), slice(0, 3))
    found = overlap_ratio(torch.stack([inside, square(slice(3, 7), slice(0, 2)), outside])[None], salient[None])
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.25, 0.0]]), atol=1e-3, rtol=0)
    assert found[0, 0] == pytest.approx(8 / (8 + 64 * 1e-4)) and SMALL == 1e-4


def test_exactly_a_half_belongs_neither_to_a_map_nor_to_the_salient_area():
    sure, half = torch.ones(1, 1, 2, 2), torch.full((1, 2, 2), 0.5)
    assert overlap_ratio(sure, half).tolist() == overlap_ratio(half[:, None], sure[0]).tolist() == [[0]]
    assert overlap_ratio(sure, half + 1e-6)[0, 0] > 0.99 and overlap_ratio(sure / 2 + 1e-6, sure[0])[0, 0] > 0.99
    assert not Selection(tau=0.0).foreground(sure, 0 * half, torch.ones(1, 1)).any()  # 0 doesn't exceed tau = 0


def test_reserved_classes_are_background_by_hand():
    """Two pixels. Of classes 1 and 2, both tags, the first is reserved; the third is no tag; the background is last."""
    maps = torch.tensor([[0.7, 0.1], [0.1, 0.6], [0.1, 0.1], [0.1, 0.2]])[None, :, None]
    selection = Selection("pre-defined", reserved=(0,))
    estimate, chosen = selection.estimate(maps, torch.tensor([[[0.9, 0.2]]]), torch.tensor([[1, 1, 0]]))
    assert chosen.tolist() == [[False, True, False]]
    # M_fg = 0.1 and M_bg = 0.7 + 0.1; M_fg = 0.6 and M_bg = 0.1 + 0.2
    assert estimate[0, 0].tolist() == pytest.approx([0.5 * 0.1 + 0.5 * (1 - 0.8), 0.5 * 0.6 + 0.5 * (1 - 0.3)])


def estimate_literally(maps, saliency, tags, tau, share):
    """Eqs. (1) and (2) pixel by pixel."""
    batch, planes, height, width = maps.shape
    pixels = list(product(range(height), range(width)))
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
def test_estimate_and_loss_are_those_of_the_equations_in_full_precision(tau, share):
    maps, saliency, tags = random_case()
    expected = estimate_literally(maps, saliency, tags, tau, share)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, chosen = Selection(tau=tau, share=share).estimate(maps, saliency, tags)
    assert chosen.any() and (chosen.float() != tags).any()  # tags on either side
    torch.testing.assert_close(found, expected)
    squares = [(float(s) - float(e)) ** 2 for s, e in zip(saliency.flatten(), expected.flatten())]
    assert module.saliency_loss(saliency, found).item() == pytest.approx(sum(squares) / 90, rel=1e-5)


def test_settings_survive_json():
    selection = Selection("pre-defined", 0.3, 0.9, reserved=[4, 7])
    assert selection.reserved == (4, 7) and Selection(**json.loads(json.dumps(selection.settings()))) == selection


def train_without_saliency():
    module.train_localisation(blobs([(32, 32)]), {}, {}, {}, 0, Selection().settings())


MAPS, SALIENCY, TAGS = random_case()


@pytest.mark.parametrize(("call", "message"), [
    (lambda: Selection("best"), "map selection 'best' is not known(.|\n)*none, naive, pre-defined, adaptive"),
    *((lambda wrong=wrong: Selection(**wrong), r"=(-0.01|1.01|nan) of the map selection(.|\n)*a number in \[0, 1\]")
      for wrong in ({"tau": -0.01}, {"share": 1.01}, {"tau": float("nan")})),
    (lambda: Selection("pre-defined", reserved=(4,)).estimate(MAPS, SALIENCY, TAGS), "reserved(.|\n)*from 0 to 3"),
    (train_without_saliency, r"saliency=None(.|\n)*a saliency frame, uint8 \(N, Hmax, Wmax\)"),
    *((lambda wrong=wrong: Selection().estimate(*wrong), r"maps \(.*saliency \(.*tags \(") for wrong in (
        (MAPS[:, :-1], SALIENCY, TAGS), (MAPS, SALIENCY[:, :-1], TAGS), (MAPS, SALIENCY[:2], TAGS),
        (MAPS, SALIENCY[:, None], TAGS), (MAPS, SALIENCY, TAGS[0])))])
def test_what_means_nothing_or_does_not_fit_is_refused(call, message):
    with pytest.raises((DataError, ParameterError), match=message):
        call()
