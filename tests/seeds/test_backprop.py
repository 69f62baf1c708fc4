"""Smoothed back-propagation maps of a view."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from wsss_lab.data.canvas import normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import ParameterError
from wsss_lab.seeds.backprop import (
    METHODS,
    backprop_maps,
    class_gradients,
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


class ThreePixels(nn.Module):
    """One ReLU per pixel; the score weighs them 2, -3, 5."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return (self.relu(x).flatten(1) * torch.tensor([2.0, -3.0, 5.0])).sum(1, keepdim=True)


def test_guided_gate_by_hand():
    x = torch.tensor([1.0, 1.0, -1.0]).view(1, 3, 1, 1)
    tags = torch.tensor([[True]])
    # The third input is negative (both gates close), the second gradient is (only the guided gate closes).
    assert class_gradients(ThreePixels(), x, tags).flatten().tolist() == [2.0, -3.0, 0.0]
    assert class_gradients(ThreePixels(), x, tags, guided=True).flatten().tolist() == [2.0, 0.0, 0.0]


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
