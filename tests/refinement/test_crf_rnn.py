"""CRF as a recurrent net: its unary and kernel, and mean field on dense matrices."""

import math

import pytest
import torch
from tiny_views import normal

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.refinement.crf_rnn import CrfRnn, bilateral_kernel, message_kernel, unary
from wsss_lab.seeds.neighbours import cell_colours, similarity


def two_tone(side, noise=6, seed=0):
    """uint8 (1, 3, side, side): left half dark, right half bright."""
    generator = torch.Generator().manual_seed(seed)
    halves = torch.where(torch.arange(side) < side // 2, 60.0, 190.0)
    return (halves + noise * torch.randn(1, 3, side, side, generator=generator)).clamp(0, 255).to(torch.uint8)


def test_the_unary_by_hand_and_of_an_impossible_label():
    """-log(0.5 0.25) = log 8; attention of 0 counts as a thousandth; that of a probability of 0 is finite."""
    found = unary(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.0]))
    assert found.tolist() == pytest.approx([math.log(8), math.log(2000)])
    p_s = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).requires_grad_()
    found = CrfRnn(2)(unary(p_s, torch.zeros(1, 2, 1, 1)), torch.zeros(1, 9, 1, 1))
    found[0, 1].sum().backward()
    assert found.flatten().tolist() == pytest.approx([0, 1]) and p_s.grad.isfinite().all()


def test_the_kernel_is_eq_8_divided_by_its_sum_without_the_cell_itself():
    images = two_tone(24)
    weights = similarity(cell_colours(images, (6, 6)))
    expected = weights / weights.sum(1, keepdim=True)
    expected[:, 24] = 0
    torch.testing.assert_close(bilateral_kernel(images, (6, 6)), expected)


def test_it_starts_as_potts_without_a_bias_and_refuses_what_does_not_fit():
    weight, = CrfRnn(3).parameters()
    assert weight[..., 0, 0].tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    with pytest.raises(ParameterError, match="iterations=-1"):
        CrfRnn(2, -1)
    with pytest.raises(DataError, match="weights of shape"):
        CrfRnn(2)(torch.zeros(1, 2, 4, 5), torch.zeros(1, 9, 4, 4))


def test_agrees_with_mean_field_on_dense_matrices():
    """Krähenbühl & Koltun's Algorithm 1 on all pairs of pixels, as it is printed: Potts, messages without oneself."""
    side = 5
    image, potential = two_tone(side, noise=20), normal(1, 3, side, side)
    place = torch.cartesian_prod(torch.arange(side), torch.arange(side)).double()
    colour = cell_colours(image, (side, side)).double().flatten(2)[0].T
    matrix = torch.exp(-torch.cdist(place, place) ** 2 / 6 ** 2 - torch.cdist(colour, colour) ** 2 / 50 ** 2)
    matrix = matrix / matrix.sum(1, keepdim=True) * (1 - torch.eye(side ** 2))
    energy = potential.flatten(2)[0]
    q = (-energy).softmax(0)
    for _ in range(3):
        message = q @ matrix.T
        q = (-energy - (message.sum(0, keepdim=True) - message)).softmax(0)
    colours = cell_colours(image, (side, side))
    kernel = message_kernel(similarity(colours, spacing=1, sigma_z=6, sigma_r=50, radius=side - 1)).double()
    torch.testing.assert_close(CrfRnn(3).double()(potential, kernel)[0].flatten(1), q, rtol=0, atol=1e-6)
