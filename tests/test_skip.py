"""Early features beside a trunk's output, and frozen first layers, for every family of trunks."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.deeplab_v3plus import freeze_trunk, shallow_and_deep, skip_channels
from wsss_lab.networks.trunks import (
    RESNET50_BLOCKS,
    RESNET101_BLOCKS,
    TOY_BLOCKS,
    TOY_RESNET_BLOCKS,
    TOY_RESNET_DEEP_BLOCKS,
    VGG16_BLOCKS,
)
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET, WIDE_RESNET38

torch.set_num_threads(1)
#: (family, variant, blocks, (channels, side) of shallow, of deep) for a 321-pixel image.
FULL = [
    ("wide_resnet", "DeepLab", WIDE_RESNET38, (256, 81), (4096, 41)),
    ("vgg", "DeepLab", VGG16_BLOCKS, (256, 81), (512, 41)),
    ("vgg", "HighRes", VGG16_BLOCKS, (256, 81), (512, 41)),
    ("vgg", "ROI", VGG16_BLOCKS, (256, 81), (512, 41)),
    ("resnet", "Stride16", RESNET50_BLOCKS, (256, 81), (2048, 21)),
    ("resnet", "DeepLab", RESNET101_BLOCKS, (256, 81), (2048, 41)),
    ("mobilenet", "DeepLab", (), (24, 81), (1280, 21)),
]
#: The same for a 64-pixel image and the small trunks: half the strides, except MobileNet's, which has one size.
SMALL = [
    ("wide_resnet", "DeepLab", TOY_WIDE_RESNET, (24, 32), (64, 16)),
    ("vgg", "DeepLab", TOY_BLOCKS, (32, 32), (64, 16)),
    ("resnet", "Stride16", TOY_RESNET_BLOCKS, (32, 32), (64, 16)),
    ("resnet", "DeepLab", TOY_RESNET_DEEP_BLOCKS, (32, 32), (64, 16)),
    ("mobilenet", "DeepLab", (), (24, 16), (1280, 4)),
]
FAMILIES = {"wide_resnet": TOY_WIDE_RESNET, "vgg": TOY_BLOCKS, "resnet": TOY_RESNET_DEEP_BLOCKS, "mobilenet": ()}


def build(family, variant="DeepLab"):
    """A small trunk whose norms have seen some images, so that they do something in evaluation mode too."""
    torch.manual_seed(0)
    trunk = Backbone(family, FAMILIES[family]).trunk(variant)
    trunk(torch.randn(4, 3, 64, 64) * 2 + 1)
    return trunk


def conv3(family, trunk, x):
    """The early features, layer by layer."""
    if family == "wide_resnet":
        return F.relu(trunk.b4.bn_branch2a(trunk.b3(trunk.b2(trunk.conv1a(x)))))
    if family == "resnet":
        return trunk.layer1(trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(x)))))
    if family == "mobilenet":
        return trunk[3](trunk[2](trunk[1](trunk[0](x))))
    conv2 = F.max_pool2d(F.relu(trunk[0](x)), 3, 2, padding=1)
    return F.relu(trunk[3](conv2))


# --- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "variant", "blocks", "shallow", "deep", "side"), [
    *((*row, 321) for row in FULL), *((*row, 64) for row in SMALL)])
def test_early_features_have_the_channels_and_the_stride_of_conv3(family, variant, blocks, shallow, deep, side):
    with torch.device("meta"):  # shapes only: nothing is allocated
        trunk = Backbone(family, blocks).trunk(variant)
        found = shallow_and_deep(family, trunk, torch.empty(2, 3, side, side))
    assert [tuple(each.shape) for each in found] == [(2, size[0], size[1], size[1]) for size in (shallow, deep)]
    assert (skip_channels(family, trunk), trunk.out_channels) == (shallow[0], deep[0])


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_early_features_are_conv3_layer_by_layer_and_late_ones_the_trunks(family):
    trunk = build(family).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        shallow, deep = shallow_and_deep(family, trunk, x)
        assert torch.equal(shallow, conv3(family, trunk, x))
        assert torch.equal(deep, trunk(x))
        assert shallow.std() > 0 and deep.std() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_computes_once(family):
    trunk, calls = build(family).eval(), []
    leaves = {name: layer for name, layer in trunk.named_modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)}
    for name, layer in leaves.items():
        layer.register_forward_hook(lambda *_, name=name: calls.append(name))
    shallow_and_deep(family, trunk, torch.randn(1, 3, 32, 32))
    assert sorted(calls) == sorted(leaves)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_flow_back_from_both_ends(family):
    trunk, x = build(family).eval(), torch.randn(1, 3, 32, 32)
    first, *_, last = (layer.weight for layer in trunk.modules() if isinstance(layer, nn.Conv2d))
    shallow, deep = shallow_and_deep(family, trunk, x)
    early, none = torch.autograd.grad(shallow.square().sum(), (first, last), retain_graph=True, allow_unused=True)
    expected, = torch.autograd.grad(conv3(family, trunk, x).square().sum(), first)
    assert none is None
    torch.testing.assert_close(early, expected)
    assert all(each.abs().sum() > 0 for each in torch.autograd.grad(deep.square().sum(), (first, last)))


# --- frozen layers ---------------------------------------------------------------------------------------------------


def frozen_names(family, trunk):
    """Convolutions of the first layers; norms are frozen everywhere."""
    first = {"wide_resnet": ("conv1a.", "b2."), "resnet": ("conv1.",), "vgg": (),
             "mobilenet": tuple(f"{index}." for index in range(7))}[family]
    norms = {name for name, layer in trunk.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    return {name for name in trunk.state_dict() if name.startswith(first) or name.rpartition(".")[0] in norms}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_of_training_moves_no_norm_and_none_of_the_first_layers(family):
    trunk = build(family).train()
    freeze_trunk(family, trunk)
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    optimiser = torch.optim.SGD([each for each in trunk.parameters() if each.requires_grad], lr=0.1, weight_decay=0.1)
    shallow, deep = shallow_and_deep(family, trunk, torch.randn(2, 3, 64, 64) + 3)
    (shallow.square().sum() + deep.square().sum()).backward()
    optimiser.step()
    moved = {name for name, value in trunk.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == before.keys() - frozen_names(family, trunk)
    assert moved


def test_the_first_layers_of_wideresnet_38_are_the_stem_and_three_blocks():
    with torch.device("meta"):
        trunk = Backbone("wide_resnet", WIDE_RESNET38).trunk("DeepLab").train()
    freeze_trunk("wide_resnet", trunk)
    frozen = {name.split(".")[0] for name, value in trunk.named_parameters() if "conv" in name
              and not value.requires_grad}
    assert frozen == {"conv1a", "b2", "b2_1", "b2_2"}
    assert not any(layer.training for layer in trunk.modules() if isinstance(layer, nn.BatchNorm2d))
    assert trunk.b6.dropout.training and trunk.b7.dropout.training


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [
    lambda trunk: shallow_and_deep("alexnet", trunk, torch.zeros(1, 3, 8, 8)),
    lambda trunk: skip_channels("alexnet", trunk),
    lambda trunk: freeze_trunk("alexnet", trunk),
])
def test_an_unknown_family_is_refused(call):
    with pytest.raises(ParameterError, match="backbone family 'alexnet' is not known"):
        call(build("vgg"))
