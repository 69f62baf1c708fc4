"""Trunks, heads, losses and the training loop."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from wsss_lab.errors import ParameterError, SetupError, TrainingError, WeightsError
from wsss_lab.networks.backbones import Backbone, pretrain
from wsss_lab.networks.fit import Schedule, fit
from wsss_lab.networks.heads import deeplab, gap_net, output_size
from wsss_lab.networks.losses import pixel_loss, reduce_labels, tag_loss
from wsss_lab.networks.machine import resolve_device
from wsss_lab.networks.trunks import TOY_BLOCKS, convolutions, copy_convolutions, vgg_trunk
from wsss_lab.networks.weights import load_into, read_weights

#: VGG-16's topology with two channels everywhere: sizes are the papers', time is not.
THIN = Backbone("vgg", ((2, 2), (2, 2), (3, 2), (3, 2), (3, 2)), width=2, dropout=0.0)
TOY = Backbone("vgg", TOY_BLOCKS, width=16, dilation=4, aspp=(1, 2), dropout=0.0, side=64)


@pytest.mark.parametrize(("variant", "size"), [("LowRes", 21), ("HighRes", 41), ("ROI", 41), ("DeepLab", 41)])
def test_maps_of_a_321_pixel_input_have_the_sizes_of_table_6(variant, size):
    assert output_size(gap_net(variant, THIN, 20), 321) == (size, size)


def test_largefov_gives_41_by_41_scores():
    assert output_size(deeplab(THIN, 21), 321) == (41, 41)
    assert output_size(deeplab(THIN, 21, "aspp"), 321) == (41, 41)
    assert output_size(deeplab(THIN, 21, "aspp-fc"), 321) == (41, 41)


@pytest.mark.parametrize(("variant", "size"), [("LowRes", 8), ("HighRes", 16), ("ROI", 16), ("DeepLab", 16)])
def test_toy_maps_keep_the_ratio_of_low_to_high_resolution(variant, size):
    assert output_size(gap_net(variant, TOY, 8), 64) == (size, size)


def test_roi_window_is_three_by_three():
    """A change two cells away from a position can't reach it through the pooled window and the 1x1 layers."""
    net = gap_net("ROI", TOY, 8).eval()
    features = torch.zeros(1, 64, 7, 7)
    touched = features.clone()
    touched[..., 3, 3] = 9.0
    pool, head = net.trunk[-1], net.head
    moved = (head(pool(touched)) - head(pool(features))).abs().amax(1)[0] > 0
    assert moved[2:5, 2:5].any() and not moved[:2].any() and not moved[5:].any()


def test_dilated_variant_dilates_conv5_and_fc6_only():
    net = gap_net("DeepLab", THIN, 20)
    dilations = [layer.dilation[0] for layer in convolutions(net)]
    assert dilations == [1] * 10 + [2] * 3 + [12, 1, 1]


def test_each_branch_behind_a_vgg_has_an_fc6_and_an_fc7_of_its_own():
    torch.manual_seed(0)
    net = deeplab(TOY, 3, "aspp-fc").eval()
    first, second = net.classifier.branches
    for rate, branch in zip((1, 2), (first, second)):
        layers = convolutions(branch)
        assert [(layer.kernel_size[0], layer.dilation[0], layer.out_channels) for layer in layers] == [
            (3, rate, 16), (1, 1, 16), (1, 1, 3)]
        assert layers[-1].weight.std().item() == pytest.approx(0.01, rel=0.4)
        assert layers[0].weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.1)  # He et al. 2015
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        features = net.head(net.trunk(x))
        assert torch.equal(features, net.trunk(x))
        torch.testing.assert_close(net(x), first(features) + second(features))
        assert not torch.allclose(first(features), second(features), atol=1e-4)


def test_the_mean_of_the_class_maps_is_the_score():
    net = gap_net("HighRes", TOY, 8).eval()
    x = torch.randn(2, 3, 64, 64)
    assert torch.allclose(net.class_maps(x).mean((2, 3)), net(x), atol=1e-5)


def test_start_weights_fit_every_variant():
    source = vgg_trunk("VGG-16", TOY_BLOCKS)
    for variant in ("LowRes", "HighRes", "ROI", "DeepLab"):
        target = vgg_trunk(variant, TOY_BLOCKS)
        copy_convolutions(source.state_dict(), target)
        pairs = zip(convolutions(source), convolutions(target), strict=True)
        assert all(torch.equal(a.weight, b.weight) and torch.equal(a.bias, b.bias) for a, b in pairs)
    with pytest.raises(WeightsError, match="start weights' is for another architecture: 4 layers"):
        copy_convolutions(source.state_dict(), vgg_trunk("HighRes", ((1, 8), (1, 8))))


def test_vgg16_takes_torchvision_weights():
    from torchvision.models import vgg16, vgg16_bn

    with torch.device("meta"):  # shapes only: the linear layers take half a gigabyte
        whole, other = vgg16(weights=None).state_dict(), vgg16_bn(weights=None).state_dict()
    whole |= {name: torch.randn(value.shape) for name, value in whole.items() if name.startswith("features")}
    trunk = vgg_trunk("HighRes")
    copy_convolutions(whole, trunk)
    assert torch.equal(convolutions(trunk)[-1].weight, whole["features.28.weight"])
    assert torch.equal(convolutions(trunk)[-1].bias, whole["features.28.bias"])
    with pytest.raises(WeightsError, match="another architecture: 26 layers"):
        copy_convolutions(other, trunk)


def test_mobilenet_variants_take_torchvision_weights_and_keep_their_strides():
    from torchvision.models import mobilenet_v2

    source = mobilenet_v2(weights=None)
    backbone = Backbone("mobilenet", width=8, dilation=2, side=64)
    sizes = {}
    for variant in ("LowRes", "HighRes", "ROI", "DeepLab"):
        net = gap_net(variant, backbone, 3)
        backbone.load_start(net.trunk, source.state_dict())
        sizes[variant] = output_size(net.eval(), 64)[0]
    assert sizes == {"LowRes": 2, "HighRes": 4, "ROI": 4, "DeepLab": 4}
    with pytest.raises(WeightsError, match="start weights' is for another architecture: 312 missing"):
        backbone.load_start(net.trunk, vgg_trunk("VGG-16", TOY_BLOCKS).state_dict())


def test_frozen_start_does_not_move():
    backbone = Backbone("mobilenet", side=64)
    net = gap_net("HighRes", backbone, 3).train()
    backbone.prepare(net)
    before = {name: value.clone() for name, value in net.state_dict().items() if "running" in name}
    net(torch.randn(2, 3, 64, 64) + 3).sum().backward()
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in net.trunk[:7].parameters())
    assert net.trunk[16].conv[0][0].weight.grad is not None


def test_mobilenet_high_resolution_map_holds_the_low_resolution_one():
    """A dilation in place of the last stride computes the same function on a denser grid."""
    backbone = Backbone("mobilenet", side=64)
    low, high = gap_net("LowRes", backbone, 3).eval(), gap_net("HighRes", backbone, 3).eval()
    high.load_state_dict(low.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(high.class_maps(x)[..., ::2, ::2], low.class_maps(x), atol=1e-5)


def test_backbone_settings_round_trip():
    assert Backbone.from_settings(TOY.settings()) == TOY


def test_unknown_names_are_refused():
    with pytest.raises(ParameterError, match="variant 'Medium'"):
        vgg_trunk("Medium")
    with pytest.raises(ParameterError, match="head 'big'"):
        deeplab(TOY, 3, "big")
    with pytest.raises(ParameterError, match="family"):
        Backbone("alexnet")


def test_tag_loss_by_hand():
    """log 2 per class at score 0: two classes and any number of images give 2 log 2."""
    assert tag_loss(torch.zeros(5, 2), torch.tensor([[1.0, 0.0]] * 5)).item() == pytest.approx(2 * np.log(2))


def test_pixel_loss_ignores_255_and_averages_over_labels():
    scores = torch.zeros(1, 2, 1, 3)
    scores[0, 1, 0, 0] = np.log(3.0)  # probability 3/4 of label 1 at the first pixel
    labels = torch.tensor([[[1, 0, 255]]], dtype=torch.uint8)
    expected = (-np.log(3 / 4) - np.log(1 / 2)) / 2
    assert pixel_loss(scores, labels).item() == pytest.approx(expected, rel=1e-5)
    assert pixel_loss(scores, torch.full((1, 1, 3), 255, dtype=torch.uint8)).item() == 0


def test_pixel_loss_gradient():
    scores = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 4, 4), dtype=torch.uint8)
    labels[0, 0] = 255

    def loss(x):
        target = reduce_labels(labels, x.shape[-2:])
        keep = target != 255
        return -x.log_softmax(1).movedim(1, -1)[keep].gather(1, target[keep][:, None]).mean()

    expected, = torch.autograd.grad(loss(scores), scores)
    found, = torch.autograd.grad(pixel_loss(scores, labels), scores)
    assert torch.allclose(found, expected, atol=1e-6)


def test_labels_shrink_to_the_centre_pixel_of_each_cell():
    labels = torch.arange(36, dtype=torch.uint8).view(1, 6, 6)
    assert reduce_labels(labels, (2, 2)).tolist() == [[[7, 10], [25, 28]]]


@pytest.mark.parametrize(("policy", "expected"), [
    ("constant", [1, 1, 1, 1]), ("step", [1, 1, 0.1, 0.1]), ("poly", [1, 0.75**0.9, 0.5**0.9, 0.25**0.9]),
    ("cosine", [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2])])
def test_each_iteration_has_the_learning_rate_of_its_policy(monkeypatch, policy, expected):
    """Also inside the training: the first iteration has the whole rate."""
    schedule = Schedule(4, lr=0.5, policy=policy, decay_every=2)
    assert [schedule.factor(iteration) for iteration in range(4)] == pytest.approx(expected)
    rates, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *arguments, **named: (
        rates.append(self.param_groups[0]["lr"]), step(self, *arguments, **named)))
    _toy_problem(schedule)
    assert rates == pytest.approx([0.5 * each for each in expected])


def _toy_problem(schedule, loss_of=None, seed=0):
    torch.manual_seed(0)
    net = nn.Linear(3, 1)

    def draw(generator):
        x = torch.randn(8, 3, generator=generator)
        return x, x.sum(1, keepdim=True)

    return net, fit(net, draw, loss_of or (lambda net, x, y: (net(x) - y).square().mean()), schedule, seed)


def test_training_lowers_the_loss_and_is_repeatable():
    schedule = Schedule(60, lr=0.1, policy="constant", weight_decay=0.0)
    net, history = _toy_problem(schedule)
    again, history_again = _toy_problem(schedule)
    assert history[-1] < 0.05 * history[0]
    assert history == history_again and torch.equal(net.weight, again.weight)


def test_a_loss_that_is_not_a_number_names_the_iteration():
    calls = iter(range(10))
    with pytest.raises(TrainingError, match="nan at iteration 4 of 10"):
        _toy_problem(Schedule(10), lambda net, x, y: net(x).mean() * (float("nan") if next(calls) == 3 else 1.0))


def test_head_learns_faster_than_a_frozen_trunk():
    torch.manual_seed(0)
    net = nn.ModuleDict({"trunk": nn.Linear(3, 3), "head": nn.Linear(3, 1)})
    before = {name: value.clone() for name, value in net.named_parameters()}
    fit(net, lambda g: (torch.randn(4, 3, generator=g),),
        lambda net, x: net["head"](net["trunk"](x)).square().mean(), Schedule(3, trunk_lr=0.0, weight_decay=0.0), 0)
    after = dict(net.named_parameters())
    assert torch.equal(before["trunk.weight"], after["trunk.weight"])
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_pretraining_learns_two_colours():
    torch.manual_seed(0)
    labels = np.arange(200) % 2
    images = np.zeros((200, 32, 32, 3), np.uint8)
    images[labels == 1, :, :, 0] = 200
    result = pretrain(images, labels, TOY.settings(), Schedule(15, 16).settings(), 0)
    assert result["accuracy"] == 1.0


def test_weights_file_errors(tmp_path):
    with pytest.raises(WeightsError, match="no weights file"):
        read_weights(tmp_path / "none.pth")
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="broken.pth"):
        read_weights(broken)
    other = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(2, 3)}, other)
    with pytest.raises(WeightsError, match="1 missing.*bias.*1 of another shape"):
        load_into(nn.Linear(4, 2), read_weights(other), other)


@pytest.mark.parametrize("wrap", [
    lambda state: {"state_dict": state, "epoch": 3},
    lambda state: {"epoch": 3, "model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    lambda state: {f"module.{name}": value for name, value in state.items()},
    lambda state: {"net": {f"module._orig_mod.{name}": value for name, value in state.items()}},
])
def test_weights_are_found_in_what_training_programs_save(tmp_path, wrap):
    net = nn.Linear(3, 2)
    torch.save(wrap(net.state_dict()), tmp_path / "w.pth")
    found = read_weights(tmp_path / "w.pth")
    assert list(found) == ["weight", "bias"] and torch.equal(found["bias"], net.bias)


@pytest.mark.parametrize(("content", "problem"), [
    ({"state_dict": {"a": torch.ones(1)}, "ema": {"a": torch.ones(1)}}, "no state dict but several: state_dict, ema"),
    ({"epoch": 3}, "no state dict"), ({}, "no state dict"), ({3: torch.ones(1)}, "no state dict"),
    ({"a": torch.ones(1), "b": torch.tensor([1, math.nan])}, r"1 of 2 tensors aren't finite \(first: b\)"),
    ({"state_dict": {"module.a": torch.tensor(math.inf)}}, r"1 of 1 tensors aren't finite \(first: a\)"),
])
def test_what_is_no_state_dict_or_not_finite_is_named(tmp_path, content, problem):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=f"w.pth'.* {problem}") as caught:
        read_weights(tmp_path / "w.pth")
    assert caught.value.expected and caught.value.fix


def test_half_precision_weights_are_read_as_float32(tmp_path):
    torch.save({"weight": torch.ones(2, dtype=torch.float16)}, tmp_path / "half.pth")
    assert read_weights(tmp_path / "half.pth")["weight"].dtype == torch.float32


def test_devices(monkeypatch):
    assert resolve_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(SetupError, match="DEVICE=cuda"):
        resolve_device("cuda")
    with pytest.raises(ParameterError, match="device=tpu"):
        resolve_device("tpu")
