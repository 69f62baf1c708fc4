"""Back-propagation neuron by neuron, layer by layer and by finite differences, and smoothed maps of a view."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import nn

from wsss_lab.data.canvas import normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import ParameterError
from wsss_lab.seeds.backprop import (
    METHODS,
    backprop_maps,
    class_gradients,
    deepest_stop,
    excitation_maps,
    excitation_mass,
    gaussian_smooth,
    guided_maps,
    vanilla_maps,
)
from wsss_lab.seeds.cam import expand


class RedGreenNet(nn.Module):
    """Class 0 answers to red, class 1 to green."""

    def __init__(self):
        super().__init__()
        detect = nn.Conv2d(3, 2, 3, padding=1)
        detect.weight.data = torch.zeros(2, 3, 3, 3)
        detect.weight.data[0, :, 1, 1] = torch.tensor([1e-4, -1e-4, 0.0])  # gradients too small for float16
        detect.weight.data[1, :, 1, 1] = torch.tensor([-1e-4, 1e-4, 0.0])
        nn.init.constant_(detect.bias, -1e-5)
        classifier = nn.Conv2d(2, 2, 1, bias=False)
        classifier.weight.data = torch.eye(2).view(2, 2, 1, 1)
        self.stages = nn.Sequential(detect, nn.ReLU(), nn.AdaptiveAvgPool2d(1), classifier)

    def layers(self):
        return list(self.stages)

    def forward(self, x):
        return self.stages(x).flatten(1)


@pytest.fixture
def view():
    images = np.zeros((3, 32, 32, 3), np.uint8)
    images[:, 4:9, 4:9, 0] = 255  # red, top left
    images[:, 20:27, 18:25, 1] = 255  # green, bottom right
    tags = np.array([[True, True], [False, True], [False, False]])
    return TrainView.from_arrays("test/val", ("red", "green"), ["x", "y", "z"], tags, images, "generator")


@pytest.mark.parametrize("method", METHODS)
def test_each_tag_peaks_on_its_object(view, method):
    maps = backprop_maps(RedGreenNet(), view, side=32, method=method, batch=2)
    assert maps.dtype == np.float16 and maps.shape == (3, 2, 32, 32)
    assert (maps[view.tags].max((1, 2)) == 1).all() and not maps[~view.tags].any()
    for tag, peak in [((0, 0), (6, 6)), ((0, 1), (23, 21)), ((1, 1), (23, 21))]:
        row, column = np.unravel_index(maps[tag].argmax(), (32, 32))
        assert abs(row - peak[0]) <= 2 and abs(column - peak[1]) <= 2


def test_default_sigma_follows_the_side(view):
    images, _ = view.canvas(range(2), 32)
    raw = METHODS["vanilla"](RedGreenNet(), normalise(images), torch.from_numpy(view.tags[:2].copy())).numpy()
    smooth = gaussian_filter(raw, (0, 8 * 32 / 321, 8 * 32 / 321), mode="mirror", truncate=4)
    expected = smooth / smooth.max((1, 2), keepdims=True)
    maps = backprop_maps(RedGreenNet(), view, 32, "vanilla")
    np.testing.assert_allclose(maps[view.tags], expected, atol=1e-3)


def test_stride_saves_space_and_expands_like_class_maps(view):
    fine = backprop_maps(RedGreenNet(), view, 32, "vanilla", sigma=3)
    coarse = backprop_maps(RedGreenNet(), view, 32, "vanilla", sigma=3, stride=2)
    assert coarse.shape == (3, 2, 16, 16)
    for index, tags in enumerate(view.tags):
        grown = [expand(maps[index], (0, 0, 32, 32), 32, (32, 32), tags) for maps in (fine, coarse)]
        np.testing.assert_allclose(*grown, atol=0.06)


@pytest.mark.parametrize("sigma", [0.8, 2.5])
def test_smoothing_equals_scipy(sigma):
    maps = np.random.default_rng(0).random((2, 24, 31)).astype(np.float32)
    expected = gaussian_filter(maps, (0, sigma, sigma), mode="mirror", truncate=4)
    np.testing.assert_allclose(gaussian_smooth(torch.from_numpy(maps), sigma).numpy(), expected, atol=1e-5)


def test_smoothing_small_maps_and_sigma_zero():
    maps = torch.rand(2, 3, 3)
    assert torch.equal(gaussian_smooth(maps, 0), maps)
    expected = gaussian_filter(maps.numpy(), (0, 5, 5), mode="mirror", radius=(0, 2, 2))
    np.testing.assert_allclose(gaussian_smooth(maps, 5.0).numpy(), expected, atol=1e-5)


def test_unknown_method(view):
    with pytest.raises(ParameterError, match="'grad' is not known"):
        backprop_maps(RedGreenNet(), view, 32, "grad")


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


def images(count=2, side=6):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_vanilla_equals_finite_differences():
    net, x, step = ScoreNet().eval(), images(), 1e-6
    gradients = class_gradients(net, x, TAGS)
    assert gradients.shape == (3, 3, 6, 6)
    with torch.no_grad():
        for pair, (row, label) in enumerate(TAGS.nonzero()):
            for position in [(0, 0, 0), (1, 2, 3), (2, 5, 5)]:
                moved = [x[row:row + 1].clone() for _ in range(2)]
                moved[0][(0, *position)] += step
                moved[1][(0, *position)] -= step
                slope = (net(moved[0]) - net(moved[1]))[0, label] / (2 * step)
                torch.testing.assert_close(gradients[(pair, *position)], slope, rtol=1e-5, atol=1e-8)


def test_maps_take_the_largest_colour():
    x, net = images(), ScoreNet().eval()
    torch.testing.assert_close(vanilla_maps(net, x, TAGS), class_gradients(net, x, TAGS).abs().max(1).values)
    guided = class_gradients(net, x, TAGS, guided=True)
    torch.testing.assert_close(guided_maps(net, x, TAGS), guided.abs().max(1).values)


def guided_by_layers(net, x, label):
    """Guided back-propagation written out for ScoreNet, one layer at a time."""
    conv1, _, pool, conv2, _, _ = net.body
    before1 = conv1(x)
    pooled, winners = torch.nn.functional.max_pool2d(before1.relu(), 2, return_indices=True)
    before2 = conv2(pooled)
    gradient = net.classifier.weight[label].view(1, -1, 1, 1).expand_as(before2) / before2[0, 0].numel()
    gradient = gradient.clamp(min=0) * (before2 > 0)
    gradient = torch.nn.functional.conv_transpose2d(gradient, conv2.weight, padding=1)
    gradient = torch.nn.functional.max_unpool2d(gradient, winners, 2)
    gradient = gradient.clamp(min=0) * (before1 > 0)
    return torch.nn.functional.conv_transpose2d(gradient, conv1.weight, padding=1)


@pytest.mark.parametrize("inplace", [False, True])
def test_guided_equals_the_rule_layer_by_layer(inplace):
    net, x = ScoreNet(inplace).eval(), images()
    fast = class_gradients(net, x, TAGS, guided=True)
    with torch.no_grad():
        slow = torch.cat([guided_by_layers(net, x[row:row + 1], label) for row, label in TAGS.nonzero()])
    torch.testing.assert_close(fast, slow)
    assert not torch.allclose(fast, class_gradients(net, x, TAGS))


def test_net_comes_back_as_it_was():
    net = ScoreNet().train()
    hooks = [len(module._forward_hooks) for module in net.modules()]
    guided_maps(net, images(), TAGS)
    assert net.training and all(module.training for module in net.modules())
    assert [len(module._forward_hooks) for module in net.modules()] == hooks
    assert all(parameter.grad is None for parameter in net.parameters())
    vanilla = vanilla_maps(net, images(), TAGS)
    torch.testing.assert_close(vanilla, vanilla_maps(ScoreNet(), images(), TAGS))


def test_images_without_tags_give_no_maps():
    assert vanilla_maps(ScoreNet(), images(), torch.zeros(2, 3, dtype=torch.bool)).shape == (0, 6, 6)


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
    together = excitation_maps(net, images, THREE)
    single = [excitation_maps(net, images[row:row + 1], F.one_hot(index, 3).bool()[None])
              for row, index in THREE.nonzero()]
    torch.testing.assert_close(together, torch.cat(single))
    assert not torch.allclose(together[0], together[1], rtol=1e-2)  # two classes of one image differ


def test_default_stop_is_the_first_convolutions_output():
    net = positive_bias_free(SmallNet())
    assert deepest_stop(net.layers()) == 1
    assert excitation_maps(net, random_images(1, 16), THREE[:1]).shape == (2, 8, 8)


def test_default_stop_is_above_layers_without_a_rule():
    block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    layers = [block, nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1)]
    assert deepest_stop(layers) == 1
