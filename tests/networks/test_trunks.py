"""VGG, ResNet and MobileNetV2 trunks: strides, dilations, start weights, and what is frozen of them."""

import pytest
import torch
from tiny_views import moved_by_a_step
from torch import nn
from torchvision.models import mobilenet_v2

from wsss_lab.errors import ParameterError, WeightsError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import attention_net, gap_net, output_size
from wsss_lab.networks.mobilenet import DilatedDepthwise
from wsss_lab.networks.trunks import TOY_BLOCKS, TOY_RESNET_BLOCKS, TOY_RESNET_DEEP_BLOCKS, resnet_trunk, vgg_trunk
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET, WIDE_RESNET38

VGG = Backbone("vgg", TOY_BLOCKS, width=16, dilation=4, aspp=(1, 2), dropout=0.0, side=64)
RESNET = Backbone("resnet", TOY_RESNET_BLOCKS, width=8, aspp=(1, 2), dropout=0.0, side=64)
WIDE = Backbone("wide_resnet", TOY_WIDE_RESNET, width=8, aspp=(1, 2), dropout=0.0, side=64)
MOBILE = Backbone("mobilenet", (), width=8, dilation=2, aspp=(1, 2), dropout=0.0, side=64)


@pytest.mark.parametrize(("backbone", "sizes"), [(VGG, (8, 16, 16, 16)), (MOBILE, (2, 4, 4, 4)), (RESNET, [16] * 4)])
def test_small_maps_keep_the_ratio_of_low_to_high_resolution(backbone, sizes):
    found = [output_size(gap_net(variant, backbone, 3).eval(), 64)[0]
             for variant in ("LowRes", "HighRes", "ROI", "DeepLab")]
    assert found == list(sizes)


@pytest.mark.parametrize("blocks", [TOY_RESNET_BLOCKS, TOY_RESNET_DEEP_BLOCKS])
def test_behind_a_narrow_stem_every_resnet_is_the_same(blocks):
    first, second = resnet_trunk("DeepLab", blocks).eval(), resnet_trunk("Stride16", blocks).eval()
    second.load_state_dict(first.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(first(x), second(x)) and second(x).shape == (1, 64, 16, 16)


@pytest.mark.parametrize("size", [(6, 4), (5, 4)])
def test_a_dilated_depthwise_layer_is_the_dilated_convolution(size):
    plain = torch.nn.Conv2d(3, 3, 3, padding=2, dilation=2, groups=3, bias=False).double()
    fast = DilatedDepthwise(plain).double()
    fast.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    outputs, gradients = zip(*[(y := layer(x), torch.autograd.grad(y.square().sum(), [x, layer.weight]))
                               for layer in (plain, fast)])
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*gradients)


def test_a_mobilenet_takes_torchvisions_features_and_one_that_ends_at_the_bottleneck_is_a_part_of_it():
    whole, part = MOBILE.trunk("DeepLab").eval(), MOBILE.trunk("Bottleneck").eval()
    source, x = mobilenet_v2(weights=None).state_dict(), torch.randn(1, 3, 64, 64)
    MOBILE.load_start(whole, source)
    MOBILE.load_start(part, source)
    assert all(torch.equal(value, source[f"features.{name}"]) for name, value in whole.state_dict().items())
    with torch.inference_mode():
        assert torch.equal(part(x), whole[:-1](x)) and part(x).shape == (1, part.out_channels, 4, 4)


def test_the_high_resolution_map_of_a_mobilenet_holds_the_low_resolution_one():
    """A dilation in place of the last stride computes the same function on a denser grid."""
    low, high = gap_net("LowRes", MOBILE, 3).eval(), gap_net("HighRes", MOBILE, 3).eval()
    high.load_state_dict(low.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(high.class_maps(x)[..., ::2, ::2], low.class_maps(x), atol=1e-5)


@pytest.mark.parametrize("backbone", [VGG, RESNET, WIDE, Backbone("wide_resnet", WIDE_RESNET38)])
def test_a_backbone_is_its_settings(backbone):
    assert Backbone.from_settings(backbone.settings()) == backbone
    assert isinstance(backbone.settings()["blocks"][0], list)


@pytest.mark.parametrize(("wrong", "problem"), [
    *((lambda backbone=backbone: backbone.trunk("Medium"), "network variant 'Medium' is not known")
      for backbone in (VGG, RESNET, WIDE, MOBILE)),
    (lambda: Backbone("alexnet"), "backbone family 'alexnet' is not known")])
def test_unknown_names_are_refused(wrong, problem):
    with pytest.raises(ParameterError, match=problem):
        wrong()


@pytest.mark.parametrize("backbone", [VGG, RESNET, WIDE])
def test_a_trunk_takes_the_weights_of_another_variant(backbone):
    source, trunk = backbone.trunk("VGG-16"), backbone.trunk("DeepLab")
    source(torch.randn(2, 3, 64, 64))  # moves statistics and counters
    backbone.load_start(trunk, source.state_dict())
    pairs = zip(source.state_dict().values(), trunk.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize(("backbone", "source", "problem"), [
    (VGG, lambda own: vgg_trunk("HighRes", ((1, 8), (1, 8))).state_dict(), "2 layers with weights from "),
    (VGG, lambda own: {}, "0 layers with weights"),
    (RESNET, lambda own: resnet_trunk("DeepLab", ((1, 8), (1, 16), (1, 16), (1, 32))).state_dict(), "of another shape"),
    (MOBILE, lambda own: vgg_trunk("VGG-16", TOY_BLOCKS).state_dict(), "312 missing"),
    (WIDE, lambda own: {name.replace("conv_branch2b1", "conv_branch2c"): value for name, value in own.items()},
     r"5 missing \(first: b2.conv_branch2b1.*5 unknown"),
    (WIDE, lambda own: own | {"b2.conv_branch2a.weight": torch.zeros(16, 9, 3, 3)},
     r"1 of another shape \(first: b2.conv_branch2a.weight"),
    (WIDE, lambda own: {}, "missing")])
def test_weights_of_another_architecture_are_refused(backbone, source, problem):
    trunk = backbone.trunk("DeepLab")
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    with pytest.raises(WeightsError, match=f"'start.pth' is for another architecture: .*{problem}"):
        backbone.load_start(trunk, source(before), "start.pth")
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


@pytest.mark.parametrize("backbone", [VGG, RESNET, WIDE, MOBILE])
def test_a_step_of_training_moves_no_batch_norm_and_no_frozen_layer(backbone):
    net = (gap_net("HighRes", backbone, 3) if backbone == MOBILE else attention_net(backbone, 3)).train()
    backbone.prepare(net)
    norms = tuple(f"{name}." for name, layer in net.named_modules() if isinstance(layer, nn.BatchNorm2d))
    start = tuple(f"trunk.{index}." for index in range(14)) if backbone == MOBILE else ()
    assert bool(norms) == (backbone != VGG)
    assert moved_by_a_step(net) == {name for name in net.state_dict() if not name.startswith((*norms, *start))}
