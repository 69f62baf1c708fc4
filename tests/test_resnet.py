"""ResNet trunks: names and shapes of torchvision's, DeepLab's strides and dilations, start weights, frozen norms."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet50, resnet101

from wsss_lab.errors import ParameterError, WeightsError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import attention_net, output_size
from wsss_lab.networks.trunks import (
    RESNET50_BLOCKS,
    RESNET101_BLOCKS,
    TOY_BLOCKS,
    TOY_RESNET_BLOCKS,
    TOY_RESNET_DEEP_BLOCKS,
    copy_layers,
    freeze_batch_norms,
    resnet_trunk,
    vgg_trunk,
)

torch.set_num_threads(1)
#: One bottleneck per stage; two and more inner channels in the last three.
THIN = ((1, 64), (1, 2), (2, 2), (1, 3))
TOY = Backbone("resnet", TOY_RESNET_BLOCKS, width=8, aspp=(1, 2), dropout=0.0, side=64)


def on_meta(build):
    """Shapes only: nothing is allocated."""
    with torch.device("meta"):
        return build()


def shapes(net):
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


@pytest.fixture(scope="module")
def trunk():
    return on_meta(lambda: resnet_trunk("DeepLab"))


# --- the architecture ------------------------------------------------------------------------------------------------


def test_resnet_101_has_the_names_and_shapes_of_torchvisions(trunk):
    reference = {name: shape for name, shape in shapes(on_meta(resnet101)).items() if not name.startswith("fc.")}
    assert shapes(trunk) == reference
    assert trunk.out_channels == 2048


def test_a_321_pixel_image_gives_41_by_41_positions(trunk):
    assert trunk(torch.empty(1, 3, 321, 321, device="meta")).shape == (1, 2048, 41, 41)
    backbone = Backbone("resnet", RESNET101_BLOCKS, aspp=(6, 12, 18, 24), side=321)
    net = on_meta(lambda: attention_net(backbone, 21))
    assert net.class_maps(torch.empty(1, 3, 321, 321, device="meta")).shape == (1, 20, 41, 41)


def test_a_narrow_stem_keeps_small_images_at_stride_4():
    assert output_size(resnet_trunk("DeepLab", TOY_RESNET_BLOCKS), 64) == (16, 16)
    assert output_size(resnet_trunk("DeepLab", THIN), 64) == (8, 8)
    assert output_size(attention_net(TOY, 3), 64) == (16, 16)


def test_the_last_two_stages_are_dilated_instead_of_strided(trunk):
    spatial = {name: (layer.stride[0], layer.dilation[0]) for name, layer in trunk.named_modules()
               if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)}
    stages = {number: {value for name, value in spatial.items() if name.startswith(f"layer{number}.")}
              for number in (1, 2, 3, 4)}
    assert stages == {1: {(1, 1)}, 2: {(2, 1), (1, 1)}, 3: {(1, 2)}, 4: {(1, 4)}}
    assert [name for name, value in spatial.items() if value == (2, 1)] == ["layer2.0.conv2"]
    assert sum(name.startswith("layer3.") for name in spatial) == 23


def test_every_shortcut_has_the_size_of_what_it_is_added_to():
    """Both sides of a stage's first bottleneck shrink, or neither."""
    trunk = resnet_trunk("DeepLab", THIN).eval()
    x = torch.zeros(1, 3, 33, 47)
    assert trunk(x).shape == (1, 12, 5, 6) and trunk.out_channels == 12


def test_a_change_at_one_place_stays_within_the_reach_of_the_dilations():
    """The last two stages reach 2 + 2 and 4 positions: one 3x3 layer per bottleneck, two and one of them."""
    trunk = resnet_trunk("DeepLab", THIN).double().eval()
    for layer in trunk.modules():  # positive throughout, so that no ReLU can hide a change
        if isinstance(layer, nn.Conv2d):
            layer.weight.data.abs_()
    features = torch.rand(1, 8, 25, 25, dtype=torch.float64)
    touched = features.clone()
    touched[..., 12, 12] += 1
    moved = (trunk.layer4(trunk.layer3(touched)) - trunk.layer4(trunk.layer3(features))).abs().amax((0, 1)) > 0
    rows, columns = moved.nonzero().T
    assert {int(rows.min()), int(columns.min())} == {12 - 8} and {int(rows.max()), int(columns.max())} == {12 + 8}
    assert not moved[1::2].any() and not moved[:, 1::2].any()


def test_variants_of_other_papers_are_the_same_trunk_and_unknown_ones_are_refused():
    assert shapes(resnet_trunk("HighRes", THIN)) == shapes(resnet_trunk("DeepLab", THIN))
    with pytest.raises(ParameterError, match="variant 'Medium'"):
        resnet_trunk("Medium", THIN)


def test_resnet_50_has_the_names_and_shapes_of_torchvisions():
    reference = {name: shape for name, shape in shapes(on_meta(resnet50)).items() if not name.startswith("fc.")}
    assert shapes(on_meta(lambda: resnet_trunk("Stride16", RESNET50_BLOCKS))) == reference


def test_stride_16_strides_the_third_stage_and_dilates_only_the_last():
    trunk = on_meta(lambda: resnet_trunk("Stride16", RESNET50_BLOCKS))
    spatial = {name: (layer.stride[0], layer.dilation[0]) for name, layer in trunk.named_modules()
               if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)}
    assert [name for name, value in spatial.items() if value == (2, 1)] == ["layer2.0.conv2", "layer3.0.conv2"]
    assert {name for name, value in spatial.items() if value == (1, 2)} == {f"layer4.{n}.conv2" for n in range(3)}
    assert set(spatial.values()) == {(1, 1), (2, 1), (1, 2)}
    assert trunk(torch.empty(1, 3, 321, 321, device="meta")).shape == (1, 2048, 21, 21)


@pytest.mark.parametrize("blocks", [TOY_RESNET_BLOCKS, TOY_RESNET_DEEP_BLOCKS])
def test_stride_16_is_the_same_as_deeplab_behind_a_narrow_stem(blocks):
    first, second = resnet_trunk("DeepLab", blocks).eval(), resnet_trunk("Stride16", blocks).eval()
    copy_layers(first.state_dict(), second)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(first(x), second(x))
        assert second(x).shape == (1, 64, 16, 16)


def test_the_deeper_small_network_only_has_more_bottlenecks():
    plain, deep = (shapes(resnet_trunk("DeepLab", blocks)) for blocks in (TOY_RESNET_BLOCKS, TOY_RESNET_DEEP_BLOCKS))
    assert {name: deep[name] for name in plain} == plain
    assert {name[:8] for name in deep.keys() - plain.keys()} == {"layer2.1", "layer3.1"}


# --- start weights ---------------------------------------------------------------------------------------------------


def test_torchvisions_weights_fit_and_their_classifier_is_left_out():
    source = {name: torch.full(shape, 0.5) for name, shape in shapes(resnet_trunk("DeepLab", THIN)).items()}
    source |= {"fc.weight": torch.ones(1000, 12), "fc.bias": torch.ones(1000)}
    trunk = resnet_trunk("DeepLab", THIN)
    copy_layers(source, trunk)
    assert all((value == 0.5).all() for name, value in trunk.state_dict().items() if "num_batches" not in name)


def test_a_trunk_takes_the_weights_of_another_variant():
    source, trunk = resnet_trunk("HighRes", TOY_RESNET_BLOCKS), TOY.trunk("DeepLab")
    TOY.load_start(trunk, source.state_dict())
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(source.eval()(x), trunk.eval()(x))


@pytest.mark.parametrize(("source", "problem"), [
    (lambda: vgg_trunk("VGG-16", TOY_BLOCKS).state_dict(), "missing.*unknown"),
    (lambda: resnet_trunk("DeepLab", ((1, 8), (1, 16), (1, 16), (1, 32))).state_dict(), "of another shape"),
    (lambda: resnet_trunk("DeepLab", ((1, 8), (1, 16), (2, 16), (1, 16))).state_dict(), "unknown"),
    (lambda: on_meta(resnet50).state_dict(), "of another shape"),
    (lambda: {}, "missing"),
])
def test_weights_of_another_architecture_are_refused(source, problem):
    with pytest.raises(WeightsError, match=f"'start.pth' is for another architecture: .*{problem}"):
        TOY.load_start(TOY.trunk("DeepLab"), source(), "start.pth")


# --- frozen norms ----------------------------------------------------------------------------------------------------


def test_batch_norms_stay_as_they_were_pre_trained():
    net = attention_net(TOY, 3).train()
    TOY.prepare(net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.SGD([each for each in net.parameters() if each.requires_grad], lr=0.1, weight_decay=0.1)
    net(torch.randn(2, 3, 64, 64) + 3).square().sum().backward()
    optimiser.step()
    norms = {f"{name}.{each}" for name, layer in net.named_modules() if isinstance(layer, nn.BatchNorm2d)
             for each in layer.state_dict()}
    assert len(norms) == 5 * 17  # the stem's, three in each bottleneck and one in each shortcut
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert not moved & norms
    assert moved == {name for name, _ in net.named_parameters()} - norms


def test_nothing_but_norms_is_frozen():
    net = resnet_trunk("DeepLab", TOY_RESNET_BLOCKS).train()
    freeze_batch_norms(net)
    assert not any(layer.training for layer in net.modules() if isinstance(layer, nn.BatchNorm2d))
    assert net.layer1[0].conv1.training and net.layer1[0].conv1.weight.requires_grad
