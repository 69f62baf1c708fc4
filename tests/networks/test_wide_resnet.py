"""WideResNet-38: names, sizes and parameters of the published network, its shortcuts, dilations and start weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.trunks import copy_layers, freeze_batch_norms
from wsss_lab.networks.weights import read_weights
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET, Block, wide_resnet_trunk

#: WideResNet-38 with few channels: its names, strides and dilations.
THIN = ((2,), (3, 2, 1, 2, 2), (3, 2, 1, 3, 3), (6, 2, 1, 4, 4), (3, 1, 2, 4, 5),
        (1, 1, 4, 2, 3, 6), (1, 1, 4, 2, 3, 7))
#: The published blocks: (name, channels in, channels of each convolution).
PLAIN = [("b2", 64, (128, 128)), ("b2_1", 128, (128, 128)), ("b2_2", 128, (128, 128)),
         ("b3", 128, (256, 256)), ("b3_1", 256, (256, 256)), ("b3_2", 256, (256, 256)), ("b4", 256, (512, 512)),
         *((f"b4_{index}", 512, (512, 512)) for index in range(1, 6)),
         ("b5", 512, (512, 1024)), ("b5_1", 1024, (512, 1024)), ("b5_2", 1024, (512, 1024))]
BOTTLENECKS = [("b6", 1024, (512, 1024, 2048)), ("b7", 2048, (1024, 2048, 4096))]
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def published_shapes():
    """The names and shapes of the published file's layers, by rule."""
    shapes = {"conv1a.weight": (64, 3, 3, 3)}
    norms = {"bn7": 4096}
    for name, width, channels in PLAIN + BOTTLENECKS:
        if name in ("b2", "b3", "b4", "b5", "b6", "b7"):
            shapes[f"{name}.conv_branch1.weight"] = (channels[-1], width, 1, 1)
        for step, kernel, outputs in zip(("2a", "2b1", "2b2"), (3, 3) if len(channels) == 2 else (1, 3, 1), channels):
            norms[f"{name}.bn_branch{step}"] = width
            shapes[f"{name}.conv_branch{step}.weight"] = (outputs, width, kernel, kernel)
            width = outputs
    for name, width in norms.items():
        shapes |= {f"{name}.{each}": () if each == "num_batches_tracked" else (width,) for each in NORM}
    return shapes


def random_state(net, generator):
    """Random values for a trunk's tensors; variances are positive."""
    state = {}
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value = torch.rand(value.shape, generator=generator, dtype=value.dtype)
            value = value + 0.5 if "running_var" in name else value - 0.3
        state[name] = value
    return state


@pytest.fixture(scope="module")
def trunk():
    with torch.device("meta"):  # shapes only: nothing is allocated
        return wide_resnet_trunk("DeepLab")


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def test_names_and_shapes_are_those_of_the_published_file(trunk):
    assert {name: tuple(value.shape) for name, value in trunk.state_dict().items()} == published_shapes()
    assert len(published_shapes()) == 1 + 38 + 6 - 2 + 5 * 37  # stem; convolutions of the blocks; shortcuts; norms
    assert trunk.out_channels == 4096 and sum(value.numel() for value in trunk.parameters()) == 105_070_912


def literal(state, blocks, x):
    """The network written out with functions: (B, 3, H, W) -> features, in evaluation mode."""
    def norm(name, x):
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scale, shift = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.relu(F.batch_norm(x, mean, variance, scale, shift, eps=1e-5))

    x = F.conv2d(x, state["conv1a.weight"], padding=1)
    dilations = {2: 1, 3: 1, 4: 1, 5: 2, 6: 4, 7: 4}
    for number, (count, stride, *_, last) in enumerate(blocks[1:], start=2):
        for index in range(count):
            name = f"b{number}_{index}" if index else f"b{number}"
            step = 1 if index else stride
            rate = dilations[number]
            first = 1 if name == "b5" else rate
            h = norm(f"{name}.bn_branch2a", x)
            shortcut = x
            if x.shape[1] != last or step == 2:
                shortcut = F.conv2d(h, state[f"{name}.conv_branch1.weight"], stride=step)
            if number < 6:
                h = F.conv2d(h, state[f"{name}.conv_branch2a.weight"], stride=step, padding=first, dilation=first)
            else:
                h = F.conv2d(h, state[f"{name}.conv_branch2a.weight"])
            h = norm(f"{name}.bn_branch2b1", h)
            h = F.conv2d(h, state[f"{name}.conv_branch2b1.weight"], padding=rate, dilation=rate)
            if number >= 6:
                h = F.conv2d(norm(f"{name}.bn_branch2b2", h), state[f"{name}.conv_branch2b2.weight"])
            x = shortcut + h
    return norm("bn7", x)


def test_features_are_those_of_the_network_written_out(generator):
    trunk = wide_resnet_trunk("DeepLab", THIN).double().eval()
    state = random_state(trunk, generator)
    trunk.load_state_dict(state)
    x = torch.rand(2, 3, 37, 50, generator=generator, dtype=torch.float64)
    with torch.inference_mode():
        found = trunk(x)
        assert found.shape == (2, 7, 5, 7) and (found > 0).any() and (found == 0).any()
        torch.testing.assert_close(found, literal(state, THIN, x))


def test_only_the_two_wide_bottlenecks_drop_channels(trunk):
    rates = {name: layer.dropout.p for name, layer in trunk.named_children() if isinstance(layer, Block)}
    assert {name: rate for name, rate in rates.items() if rate} == {"b6": 0.3, "b7": 0.5}
    toy = wide_resnet_trunk("DeepLab", TOY_WIDE_RESNET)
    assert not any(layer.p for layer in toy.modules() if isinstance(layer, nn.Dropout2d))


def test_whole_channels_are_dropped_before_the_last_two_convolutions_and_only_in_training():
    torch.manual_seed(0)
    block = Block(16, (24, 24, 8), 1, 1, 2, dropout=0.5)
    freeze_batch_norms(block)
    for value in block.parameters():  # positive throughout, so that only the dropout gives zeros
        value.data.abs_()
    dropped = {}

    def watch(name):
        def hook(_, inputs):
            zero = inputs[0] == 0
            whole = zero.flatten(2).all(2)
            assert torch.equal(whole[..., None, None].expand_as(zero), zero)
            dropped[name] = whole.float().mean().item()
        return hook

    for name in ("conv_branch2a", "conv_branch2b1", "conv_branch2b2"):
        getattr(block, name).register_forward_pre_hook(watch(name))
    block(torch.rand(8, 16, 5, 5) + 0.1)
    assert dropped == {"conv_branch2a": 0.0, "conv_branch2b1": pytest.approx(0.5, abs=0.15),
                       "conv_branch2b2": pytest.approx(0.5, abs=0.15)}
    block.eval()(torch.rand(8, 16, 5, 5) + 0.1)
    assert set(dropped.values()) == {0.0}


def test_the_small_network_halves_the_strides_and_stays_within_its_cost():
    trunk, cost = Backbone("wide_resnet", TOY_WIDE_RESNET).trunk("DeepLab").eval(), []
    for layer in trunk.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda layer, _, y: cost.append(y[0].numel() * layer.weight[0].numel()))
    x, sides = torch.zeros(1, 3, 64, 64), {}
    for name, layer in trunk.named_children():
        x = layer(x)
        sides[name] = x.shape[-1]
    assert sides == {"conv1a": 64, "b2": 32, "b3": 32, "b4": 16, "b5": 16, "b6": 16, "bn6": 16, "relu6": 16}
    assert x.shape == (1, trunk.out_channels, 16, 16)
    assert 20e6 < sum(cost) < 25e6


@pytest.mark.parametrize("classifier", [
    {"fc8.weight": torch.ones(1000, 7)},
    {"linear1000.weight": torch.ones(1000, 7), "linear1000.bias": torch.ones(1000)},
    {},
])
def test_a_published_file_loads_without_its_classifier_and_without_batch_counters(tmp_path, generator, classifier):
    values = random_state(wide_resnet_trunk("DeepLab", THIN), generator)
    values = {name: value for name, value in values.items() if "num_batches" not in name}
    assert values.keys() == {name for name in published_shapes() if "num_batches" not in name}
    path = tmp_path / "ilsvrc-cls_rna-a1_cls1000_ep-0001.pth"
    torch.save(values | classifier, path)
    trunk = wide_resnet_trunk("DeepLab", THIN)
    copy_layers(read_weights(path), trunk, path)
    loaded = trunk.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in values.items())
    assert all(value == 0 for name, value in loaded.items() if "num_batches" in name)
