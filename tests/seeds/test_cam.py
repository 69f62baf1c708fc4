"""Class activation maps: normalisation by hand, expansion, and where the average pooling may stand."""

import numpy as np
import pytest
import torch
from tiny_views import of_masks
from torch import nn

from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import ParameterError, TrainingError
from wsss_lab.seeds.cam import centre_mean_shape, expand, label_seeds, normalise_maps, raw_class_maps, seed_labels


class TinyGap(nn.Module):
    """Class maps of a small network, by dropout in training only."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.trunk = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(0.5))
        self.classifier = nn.Conv2d(6, 3, 1, bias=False)

    def class_maps(self, x):
        return self.classifier(self.trunk(x))


def test_seeds_of_the_released_code_come_from_maps_with_aligned_corners(view):
    maps = np.random.default_rng(1).random((5, 3, 4, 4)).astype(np.float16)
    for released in (False, True):
        labels = label_seeds(view, maps, 8, 0.6, released)["masks"]
        for index, tags in enumerate(view.tags):
            grown = from_canvas(maps[index].astype(np.float32), (0, 0, 8, 8), 8, (8, 8), released)
            expected = seed_labels(normalise_maps(grown, tags), 0.6)
            np.testing.assert_array_equal(labels[index], expected)
    assert (labels != label_seeds(view, maps, 8, 0.6)["masks"]).any()


def view_of(images, tags):
    names = [f"image{i}" for i in range(len(images))]
    return TrainView.from_arrays("test/train", ("a", "b", "c"), names, np.array(tags), images, "generator")


@pytest.fixture
def view():
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    return view_of(images, np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]], dtype=bool))


def test_normalise_by_hand():
    maps = np.array([[[2.0, -1.0], [4.0, 1.0]], [[9.0, 1.0], [1.0, 1.0]], [[-1.0, -2.0], [-4.0, 0.0]]])
    relative = normalise_maps(maps, np.array([True, False, True]))
    assert relative.dtype == np.float32
    assert relative.tolist() == [[[0.5, 0.0], [1.0, 0.25]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]


def test_raw_maps_are_those_of_the_net(view):
    net = TinyGap().train()
    raw = raw_class_maps(net, view, side=8, batch=2)
    assert raw.dtype == np.float16 and raw.shape == (5, 3, 4, 4)
    assert net.training
    images, _ = view.canvas(range(5), 8)
    with torch.no_grad():
        expected = net.eval().class_maps(normalise(images)).numpy()
    np.testing.assert_allclose(raw, expected, rtol=1e-3, atol=1e-3)


def test_maps_that_are_not_finite_are_reported(view):
    net = TinyGap()
    net.classifier.weight.data[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="TinyGap gives class maps that are not finite"):
        raw_class_maps(net, view, 8)


def test_expand_cuts_the_padding_off():
    """The strongest place of the canvas lies in the padding: the image's own maximum has to count."""
    raw = np.zeros((1, 8, 8), np.float32)
    raw[0, 0], raw[0, 4, 3] = 10.0, 2.0
    maps = expand(raw, (2, 0, 4, 8), 8, (4, 8), np.array([True]))  # a 4 x 8 image in the middle rows
    expected = np.zeros((1, 4, 8), np.float32)
    expected[0, 2, 3] = 1.0
    np.testing.assert_allclose(maps, expected, atol=1e-6)


MAPS = np.array([[[0.19, 0.2, 0.9], [0.0, 0.5, 0.1]],
                 [[0.10, 0.1, 1.0], [0.0, 0.5, 0.15]]], dtype=np.float32)


def test_rule_by_hand():
    labels = seed_labels(MAPS)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[0, 1, 2], [0, 1, 0]]  # 0.2 is a seed, 0.19 is not; of equal classes the first


@pytest.mark.parametrize("tau", [0, -0.1, 1.01, float("nan")])
def test_tau_out_of_range(tau):
    with pytest.raises(ParameterError, match="tau="):
        seed_labels(MAPS, tau)


def mean_shape(*masks):
    return centre_mean_shape(of_masks(*(np.array(mask, np.uint8) for mask in masks)), 2)


def test_mean_of_two_masks_ignores_classes():
    shape = mean_shape([[0, 3], [5, 0]], [[0, 1], [0, 0]])
    assert shape.dtype == np.float32
    assert shape.tolist() == [[0.0, 1.0], [0.5, 0.0]]


def test_masks_of_other_sizes_are_stretched():
    wide = [[1, 1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 2]]  # cells of 1 x 4 after stretching to 2 x 2
    assert mean_shape(wide).tolist() == [[0.5, 0.0], [0.25, 0.25]]
    assert mean_shape([[0, 1]]).tolist() == [[0.0, 1.0], [0.0, 1.0]]


def test_void_counts_neither_way():
    shape = mean_shape([[255, 255], [1, 0]], [[1, 255], [1, 0]])
    assert shape.tolist() == [[1.0, 0.0], [1.0, 0.0]]
