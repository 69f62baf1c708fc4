"""Excitation back-propagation against hand calculations, a loop over neurons, and its invariants."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsss_lab.seeds.backprop import deepest_stop, excitation_maps, excitation_mass


class SmallNet(nn.Module):
    """Every kind of layer once; class scores are taken after the pooling, or before it (`score_maps`)."""

    def __init__(self, score_maps: bool = False, classes: int = 3):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(6, 8, 3, padding=2, dilation=2), nn.ReLU(), nn.MaxPool2d(3, 1, 1),
            nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.ReLU6(), nn.AvgPool2d(2, 1, 1), nn.Dropout2d(0.5))
        self.classifier = nn.Conv2d(8, classes, 1, bias=False)
        self.score_maps = score_maps

    def layers(self):
        pool = nn.AdaptiveAvgPool2d(1)
        last = [self.classifier, pool] if self.score_maps else [pool, self.classifier]
        return [*self.body, *last]


def positive_bias_free(net, seed=0):
    """Without biases a neuron that fires has at least one exciting child, so no mass can get lost."""
    generator = torch.Generator().manual_seed(seed)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator) * 0.5 + 0.1
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return net.double().eval()


def random_images(count, side, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, side, side, generator=generator, dtype=torch.float64)


TAGS = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])


def test_linear_layer_shares_by_activation_times_positive_weight():
    layer = nn.Conv2d(3, 2, 1, bias=True)
    layer.weight.data = torch.tensor([[2.0, 1.0, -5.0], [-1.0, 3.0, 4.0]]).view(2, 3, 1, 1)
    layer.bias.data = torch.tensor([100.0, -100.0])
    activation = torch.tensor([1.0, 2.0, 1.0]).view(1, 3, 1, 1)
    mass = excitation_mass([layer], activation, torch.tensor([[True, True]]), stop_at=0)
    # class 0: 1*2 against 2*1, the negative weight left out; class 1: 2*3 against 1*4. Biases change nothing.
    torch.testing.assert_close(mass.flatten(1), torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.6, 0.4]]))


def test_max_pool_gives_each_window_to_its_winner():
    # Windows of 2, stride 1, over the row 1 4 2 3: winners 4, 4, 3. The convolution above shares its mass
    # as 4*2 : 4*1 : 3*4/3 = 1/2, 1/4, 1/4.
    pick = nn.Conv2d(1, 1, (1, 3), bias=False)
    pick.weight.data = torch.tensor([2.0, 1.0, 4 / 3]).view(1, 1, 1, 3)
    layers = [nn.MaxPool2d((1, 2), 1), pick]
    image = torch.tensor([1.0, 4.0, 2.0, 3.0]).view(1, 1, 1, 4)
    mass = excitation_mass(layers, image, torch.tensor([[True]]), stop_at=0)
    torch.testing.assert_close(mass.flatten(), torch.tensor([0.0, 0.75, 0.0, 0.25]))


def test_average_pools_share_by_activation():
    image = torch.tensor([[1.0, 2.0], [0.0, 5.0]]).view(1, 1, 2, 2)
    for pool in (nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(2)):
        mass = excitation_mass([pool], image, torch.tensor([[True]]), stop_at=0)
        torch.testing.assert_close(mass.flatten(), torch.tensor([0.125, 0.25, 0.0, 0.625]))


def neuron_loop(layers, image, class_index, stop):
    """The rule spelled out: every parent neuron shares its mass among its children, one parent at a time."""
    activations = [image]
    for layer in layers:
        activations.append(layer(activations[-1]))
    mass = torch.zeros_like(activations[-1])
    mass[0, class_index] = 1
    for index in range(len(layers) - 1, stop - 1, -1):
        layer, child = layers[index], activations[index].clamp(min=0)
        below = torch.zeros_like(child)
        for parent in itertools.product(*map(range, mass.shape[1:])):
            influence = neuron_influence(layer, activations[index], child, parent)
            total = influence.sum()
            if total > 0:
                below[0] += influence / total * mass[(0, *parent)]
        mass = below
    return mass


def neuron_influence(layer, raw, child, parent):
    """activation x positive weight of every child (c, h, w) on one parent neuron (channel, row, column)."""
    weight = torch.zeros_like(child[0])
    channel, row, column = parent
    if isinstance(layer, (nn.ReLU, nn.ReLU6, nn.Dropout2d)):
        weight[parent] = 1.0
        return weight
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        weight[channel] = 1.0
        return weight * child[0]
    size = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size,) * 2
    stride = layer.stride if isinstance(layer.stride, tuple) else (layer.stride,) * 2
    padding = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,) * 2
    dilation = layer.dilation if isinstance(getattr(layer, "dilation", 1), tuple) else (1, 1)
    best = None
    for i, j in itertools.product(range(size[0]), range(size[1])):
        y = row * stride[0] - padding[0] + i * dilation[0]
        x = column * stride[1] - padding[1] + j * dilation[1]
        if not (0 <= y < child.shape[2] and 0 <= x < child.shape[3]):
            continue
        if isinstance(layer, nn.MaxPool2d):
            if best is None or raw[0, channel, y, x] > raw[(0, channel, *best)]:
                best = (y, x)
        elif isinstance(layer, nn.AvgPool2d):
            weight[channel, y, x] = 1.0
        else:
            per_group = layer.in_channels // layer.groups
            first = channel // (layer.out_channels // layer.groups) * per_group
            weight[first:first + per_group, y, x] = layer.weight[channel, :, i, j].clamp(min=0)
    if isinstance(layer, nn.MaxPool2d):
        weight[(channel, *best)] = 1.0
        return weight
    return weight * child[0]


@pytest.mark.parametrize("score_maps", [False, True])
def test_equals_a_loop_over_neurons(score_maps):
    net = positive_bias_free(SmallNet(score_maps))
    for layer in net.body:  # biases, so that dead parents occur as well
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.bias, 0.05)
    image = random_images(1, 9)
    tags = torch.tensor([[False, True, True]])
    fast = excitation_mass(net.layers(), image, tags, stop_at=0)
    layers = [nn.ReLU() if isinstance(layer, nn.ReLU) else layer for layer in net.layers()]  # not in place
    with torch.no_grad():
        slow = torch.cat([neuron_loop(layers, image, index, 0) for index in (1, 2)])
    assert slow.sum() > 0.5
    torch.testing.assert_close(fast, slow)


def test_batched_classes_equal_one_at_a_time():
    net = positive_bias_free(SmallNet())
    images = random_images(3, 17)
    together = excitation_maps(net, images, TAGS)
    single = [excitation_maps(net, images[row:row + 1], F.one_hot(index, 3).bool()[None])
              for row, index in TAGS.nonzero()]
    torch.testing.assert_close(together, torch.cat(single))
    assert not torch.allclose(together[0], together[1], rtol=1e-2)  # two classes of one image differ


def test_default_stop_is_the_first_convolutions_output():
    net = positive_bias_free(SmallNet())
    assert deepest_stop(net.layers()) == 1
    assert excitation_maps(net, random_images(1, 16), TAGS[:1]).shape == (2, 8, 8)


def test_default_stop_is_above_layers_without_a_rule():
    block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    layers = [block, nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1)]
    assert deepest_stop(layers) == 1
