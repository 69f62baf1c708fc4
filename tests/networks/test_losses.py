"""The losses that several stages share, and how labels shrink to a network's grid."""

import numpy as np
import pytest
import torch

from wsss_lab.networks.losses import pixel_loss, reduce_labels, tag_loss


def test_tag_loss_by_hand():
    """log 2 per class at score 0: two classes and any number of images give 2 log 2."""
    assert tag_loss(torch.zeros(5, 2), torch.tensor([[1.0, 0.0]] * 5)).item() == pytest.approx(2 * np.log(2))


def test_pixel_loss_ignores_255_and_averages_over_labels():
    scores = torch.zeros(1, 2, 1, 3)
    scores[0, 1, 0, 0] = np.log(3.0)  # probability 3/4 of label 1 at the first pixel
    labels = torch.tensor([[[1, 0, 255]]], dtype=torch.uint8)
    expected = (-np.log(3 / 4) - np.log(1 / 2)) / 2
    assert pixel_loss(scores, labels).item() == pytest.approx(expected, rel=1e-5)
    assert pixel_loss(scores, torch.full((1, 1, 3), 255, dtype=torch.uint8)).item() == 0


def test_labels_shrink_to_the_centre_pixel_of_each_cell():
    labels = torch.arange(36, dtype=torch.uint8).view(1, 6, 6)
    assert reduce_labels(labels, (2, 2)).tolist() == [[[7, 10], [25, 28]]]
