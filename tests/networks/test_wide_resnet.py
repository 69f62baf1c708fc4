"""WideResNet-38: names, sizes and parameters of the published network, its shortcuts, dilations and start weights."""

import pytest
import torch
from tiny_views import normal
from torch import nn
from torch.nn import functional as F

from wsss_lab.networks.trunks import convolutions, freeze_batch_norms
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET, Block, wide_resnet_trunk

#: WideResNet-38 with few channels: its names, strides and dilations.
THIN = ((2,), (3, 2, 1, 2, 2), (3, 2, 1, 3, 3), (6, 2, 1, 4, 4), (3, 1, 2, 4, 5),
        (1, 1, 4, 2, 3, 6), (1, 1, 4, 2, 3, 7))
class Published(dict):
    """Random values under the names of a published file; `read` are those that were asked for."""

    def __init__(self, net):
        super().__init__()
        self.read, generator = set(), torch.Generator().manual_seed(3)
        for name, value in net.state_dict().items():  # variances are positive
            self[name] = value + torch.rand(value.shape, generator=generator, dtype=torch.float64) - 0.3

    def __getitem__(self, name):
        self.read.add(name)
        return super().__getitem__(name)


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


def test_features_are_those_of_the_network_written_out_and_so_are_the_names_of_the_published_file():
    trunk, x = wide_resnet_trunk("DeepLab", THIN).double().eval(), normal(2, 3, 37, 50)
    state = Published(trunk)
    trunk.load_state_dict({name: state[name] for name in state})
    state.read.clear()
    with torch.inference_mode():
        found = trunk(x)
        torch.testing.assert_close(found, literal(state, THIN, x))
    assert found.shape == (2, 7, 5, 7) and (found > 0).any() and (found == 0).any()
    assert state.read == {name for name in state if "num_batches" not in name}


def test_only_the_two_wide_bottlenecks_drop_channels_and_the_small_network_costs_what_is_said():
    with torch.device("meta"):  # nothing is allocated
        trunk = wide_resnet_trunk("DeepLab")
    assert trunk.out_channels == 4096
    rates = {name: layer.dropout.p for name, layer in trunk.named_children() if isinstance(layer, Block)}
    assert {name: rate for name, rate in rates.items() if rate} == {"b6": 0.3, "b7": 0.5}
    toy, cost = wide_resnet_trunk("DeepLab", TOY_WIDE_RESNET).eval(), []
    assert not any(layer.p for layer in toy.modules() if isinstance(layer, nn.Dropout2d))
    for layer in convolutions(toy):
        layer.register_forward_hook(lambda layer, _, y: cost.append(y[0].numel() * layer.weight[0].numel()))
    assert toy(torch.zeros(1, 3, 64, 64)).shape == (1, toy.out_channels, 16, 16)
    assert 22e6 < sum(cost) < 24e6  # multiplications per image


def test_whole_channels_are_dropped_before_the_last_two_convolutions_and_only_in_training():
    torch.manual_seed(0)
    block, x, dropped = Block(16, (24, 24, 8), 1, 1, 2, dropout=0.5), torch.rand(8, 16, 5, 5) + 0.1, []
    freeze_batch_norms(block)
    for value in block.parameters():  # positive throughout, so that only the dropout gives zeros
        value.data.abs_()

    def watch(_, inputs):
        whole = (inputs[0] == 0).flatten(2).float().mean(2)
        assert set(whole.unique().tolist()) <= {0, 1}  # a channel is dropped as a whole or not at all
        dropped.append(whole.mean().item())

    for name in ("conv_branch2a", "conv_branch2b1", "conv_branch2b2"):
        getattr(block, name).register_forward_pre_hook(watch)
    block(x)
    block.eval()(x)
    assert dropped == [0.0, *[pytest.approx(0.5, abs=0.15)] * 2, 0.0, 0.0, 0.0]
