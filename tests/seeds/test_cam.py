"""Class activation maps: normalisation by hand, expansion, seeds of a view, and the mean shape of masks."""

import numpy as np
import pytest
import torch
from tiny_views import make_view, of_masks
from torch import nn

from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.errors import ParameterError, TrainingError
from wsss_lab.seeds.cam import centre_mean_shape, expand, label_seeds, normalise_maps, raw_class_maps, seed_labels

TAGS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]], bool)
VIEW = make_view(np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8), np.zeros((5, 8, 8), np.uint8), TAGS,
                 "abc").train_view()


class TinyGap(nn.Module):
    """Class maps of a small network, by dropout in training only."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.trunk = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(0.5))
        self.classifier = nn.Conv2d(6, 3, 1, bias=False)

    def class_maps(self, x):
        return self.classifier(self.trunk(x))


def test_seeds_of_the_released_code_come_from_maps_with_aligned_corners():
    maps = np.random.default_rng(1).random((5, 3, 4, 4)).astype(np.float16)
    plain, aligned = (label_seeds(VIEW, maps, 8, 0.6, released)["masks"] for released in (False, True))
    for labels, released in ((plain, False), (aligned, True)):
        for index, tags in enumerate(TAGS):
            grown = from_canvas(maps[index].astype(np.float32), (0, 0, 8, 8), 8, (8, 8), released)
            np.testing.assert_array_equal(labels[index], seed_labels(normalise_maps(grown, tags), 0.6))
    assert (plain != aligned).any()


def test_normalise_by_hand():
    maps = np.array([[[2.0, -1.0], [4.0, 1.0]], [[9.0, 1.0], [1.0, 1.0]], [[-1.0, -2.0], [-4.0, 0.0]]])
    relative = normalise_maps(maps, np.array([True, False, True]))
    assert relative.dtype == np.float32
    assert relative.tolist() == [[[0.5, 0.0], [1.0, 0.25]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]
    assert normalise_maps(maps[2:] - 1, np.array([True])).max() == 0  # below 0 everywhere: not turned over


def test_raw_maps_are_those_of_the_net_and_finite():
    net, (images, _) = TinyGap().train(), VIEW.canvas(range(5), 8)
    raw = raw_class_maps(net, VIEW, side=8, batch=2)
    assert raw.dtype == np.float16 and net.training
    with torch.no_grad():
        np.testing.assert_allclose(raw, net.eval().class_maps(normalise(images)), rtol=1e-3, atol=1e-3)
    net.classifier.weight.data[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="TinyGap gives class maps that are not finite"):
        raw_class_maps(net, VIEW, 8)


def test_expand_cuts_the_padding_off():
    """The strongest place of the canvas lies in the padding: the image's own maximum has to count."""
    raw = np.zeros((1, 8, 8), np.float32)
    raw[0, 0], raw[0, 4, 3] = 10.0, 2.0
    expected = np.zeros((1, 4, 8), np.float32)
    expected[0, 2, 3] = 1.0
    np.testing.assert_allclose(expand(raw, (2, 0, 4, 8), 8, (4, 8), np.array([True])), expected, atol=1e-6)


def test_rule_by_hand():
    """0.2 is a seed, 0.19 is not; of equal classes the first."""
    maps = np.array([[[0.19, 0.2, 0.9], [0.0, 0.5, 0.1]], [[0.10, 0.1, 1.0], [0.0, 0.5, 0.15]]], np.float32)
    assert seed_labels(maps).dtype == np.uint8 and seed_labels(maps).tolist() == [[0, 1, 2], [0, 1, 0]]
    for tau in (0, -0.1, 1.01, float("nan")):
        with pytest.raises(ParameterError, match="tau="):
            seed_labels(maps, tau)


@pytest.mark.parametrize(("masks", "expected"), [
    ([[[0, 3], [5, 0]], [[0, 1], [0, 0]]], [[0, 1], [0.5, 0]]),  # classes don't matter
    ([[[1, 1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 2]]], [[0.5, 0], [0.25, 0.25]]),  # cells of 1 x 4
    ([[[0, 1]]], [[0, 1], [0, 1]]), ([[[255, 255], [1, 0]], [[1, 255], [1, 0]]], [[1, 0], [1, 0]])])  # void is neither
def test_the_mean_shape_of_stretched_masks(masks, expected):
    shape = centre_mean_shape(of_masks(*(np.array(mask, np.uint8) for mask in masks)), 2)
    assert shape.dtype == np.float32 and shape.tolist() == expected
