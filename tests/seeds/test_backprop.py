"""Back-propagation neuron by neuron and layer by layer, and smoothed maps of a view."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from tiny_views import blobs, make_view, normal
from torch import nn

from wsss_lab.data import frames
from wsss_lab.data.canvas import normalise
from wsss_lab.errors import ParameterError
from wsss_lab.seeds import backprop
from wsss_lab.seeds.backprop import METHODS, backprop_maps, class_gradients, deepest_stop, gaussian_smooth

SCENES = blobs([(32, 32)] * 3)
VIEW = make_view(list(frames.images_of(SCENES)), np.zeros((3, 32, 32), np.uint8), [[1, 1], [0, 1], [0, 0]]).train_view()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_maps_of_a_view_are_smoothed_averaged_and_relative_to_their_maximum(method, stride):
    """A width of 8 pixels at a side of 321; batches of two images; gradients are too small for float16."""
    net, (images, _), tags = SmallNet(classes=2), VIEW.canvas(range(3), 32), torch.from_numpy(VIEW.tags.copy())
    net.classifier.weight.data.abs_().mul_(1e-6)
    raw = METHODS[method](net, normalise(images), tags)
    raw = F.interpolate(raw[:, None], size=(32, 32), mode="bilinear", align_corners=False)[:, 0].numpy()
    smooth = gaussian_filter(raw, (0, 8 * 32 / 321, 8 * 32 / 321), mode="mirror", truncate=4)
    expected = smooth.reshape(3, 32 // stride, stride, 32 // stride, stride).mean((2, 4))
    maps = backprop_maps(net, VIEW, 32, method, stride=stride, batch=2)
    assert maps.dtype == np.float16 and not maps[~VIEW.tags].any()
    np.testing.assert_allclose(maps[VIEW.tags], expected / expected.max((1, 2), keepdims=True), atol=2e-3)
    with pytest.raises(ParameterError, match="'grad' is not known"):
        backprop_maps(net, VIEW, 32, "grad")


@pytest.mark.parametrize(("size", "sigma"), [((24, 31), 0.8), ((24, 31), 2.5), ((3, 5), 5.0)])
def test_smoothing_equals_scipy_and_is_cut_where_a_map_is_smaller_than_the_filter(size, sigma):
    maps = np.random.default_rng(0).random((2, *size)).astype(np.float32)
    radius = [min(int(4 * sigma + 0.5), side - 1) for side in size]
    expected = gaussian_filter(maps, (0, sigma, sigma), mode="mirror", radius=(0, *radius))
    np.testing.assert_allclose(gaussian_smooth(torch.from_numpy(maps), sigma).numpy(), expected, atol=1e-5)
    assert torch.equal(gaussian_smooth(torch.from_numpy(maps), 0), torch.from_numpy(maps))


class ScoreNet(nn.Module):
    def __init__(self, inplace: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(inplace), nn.MaxPool2d(2),
                                  nn.Conv2d(5, 6, 3, padding=1), nn.ReLU(inplace), nn.Dropout2d(0.5))
        self.classifier = nn.Linear(6, 3, bias=False)
        self.double()

    def forward(self, x):
        return self.classifier(self.body(x).mean((2, 3)))


TAGS = torch.tensor([[True, False, True], [False, True, False]])


IMAGES = normal(2, 3, 6, 6, seed=1)


def gradients_by_layers(net, x, label, guided):
    """Back-propagation written out for ScoreNet, one layer at a time."""
    conv1, _, pool, conv2, _, _ = net.body
    before1 = conv1(x)
    pooled, winners = F.max_pool2d(before1.relu(), 2, return_indices=True)
    before2, least = conv2(pooled), 0 if guided else -math.inf
    gradient = net.classifier.weight[label].view(1, -1, 1, 1).expand_as(before2) / before2[0, 0].numel()
    gradient = gradient.clamp(min=least) * (before2 > 0)
    gradient = F.max_unpool2d(F.conv_transpose2d(gradient, conv2.weight, padding=1), winners, 2)
    return F.conv_transpose2d(gradient.clamp(min=least) * (before1 > 0), conv1.weight, padding=1)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("guided", [False, True])
def test_gradients_equal_the_rule_layer_by_layer_and_maps_take_the_largest_colour(inplace, guided):
    net, maps = ScoreNet(inplace).eval(), backprop.guided_maps if guided else backprop.vanilla_maps
    found = class_gradients(net, IMAGES, TAGS, guided)
    with torch.no_grad():
        slow = torch.cat([gradients_by_layers(net, IMAGES[row:row + 1], label, guided)
                          for row, label in TAGS.nonzero()])
    torch.testing.assert_close(found, slow)
    torch.testing.assert_close(maps(net, IMAGES, TAGS), slow.abs().max(1).values)
    assert maps(net, IMAGES, torch.zeros(2, 3, dtype=torch.bool)).shape == (0, 6, 6)


def test_net_comes_back_as_it_was():
    net = ScoreNet().train()
    torch.testing.assert_close(backprop.guided_maps(net, IMAGES, TAGS), backprop.guided_maps(net.eval(), IMAGES, TAGS))
    backprop.guided_maps(net.train(), IMAGES, TAGS)
    assert all(module.training and not module._forward_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


class SmallNet(nn.Module):
    """Every kind of layer once; class scores are taken after the pooling, or before it (`score_maps`)."""

    def __init__(self, score_maps: bool = False, classes: int = 3):
        super().__init__()
        torch.manual_seed(0)
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

    def forward(self, x):
        for layer in self.layers():
            x = layer(x)
        return x.flatten(1)


def positive_bias_free(net, seed=0):
    """Without biases a neuron that fires has at least one exciting child, so no mass can get lost."""
    generator = torch.Generator().manual_seed(seed)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator) * 0.5 + 0.1
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return net.double().eval()


THREE = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])


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
    size, stride, padding, dilation = (np.max(getattr(layer, name, 1))  # all are square
                                       for name in ("kernel_size", "stride", "padding", "dilation"))
    best = None
    for i, j in itertools.product(range(size), repeat=2):
        y, x = row * stride - padding + i * dilation, column * stride - padding + j * dilation
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
    image = normal(1, 3, 9, 9)
    tags = torch.tensor([[False, True, True]])
    fast = backprop.excitation_mass(net.layers(), image, tags, stop_at=0)
    layers = [nn.ReLU() if isinstance(layer, nn.ReLU) else layer for layer in net.layers()]  # not in place
    with torch.no_grad():
        slow = torch.cat([neuron_loop(layers, image, index, 0) for index in (1, 2)])
    assert slow.sum() > 0.5
    torch.testing.assert_close(fast, slow)


def test_batched_classes_equal_one_at_a_time():
    net, images = positive_bias_free(SmallNet()), normal(3, 3, 17, 17)
    together = backprop.excitation_maps(net, images, THREE)
    single = [backprop.excitation_maps(net, images[row:row + 1], F.one_hot(index, 3).bool()[None])
              for row, index in THREE.nonzero()]
    torch.testing.assert_close(together, torch.cat(single))
    assert not torch.allclose(together[0], together[1], rtol=1e-2)  # two classes of one image differ
    assert together.shape == (6, 9, 9)  # of the first convolution's output


def test_mass_stops_at_the_first_convolutions_output_or_above_layers_without_a_rule():
    assert deepest_stop(SmallNet().layers()) == 1
    block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    assert deepest_stop([block, nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1)]) == 1
    assert deepest_stop([nn.Conv2d(3, 4, 3), nn.ReLU(), block, nn.ReLU()]) == 3
