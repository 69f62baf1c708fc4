"""Smoothed back-propagation maps of a view."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from wsss_lab.data.canvas import normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import ParameterError
from wsss_lab.seeds.backprop import METHODS, backprop_maps, gaussian_smooth
from wsss_lab.seeds.cam import expand


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


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


def test_batches_do_not_matter(view):
    one, all_at_once = (backprop_maps(RedGreenNet(), view, 32, "guided", batch=batch) for batch in (1, 8))
    np.testing.assert_allclose(one, all_at_once, atol=1e-3)


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
