r"""Pairs of nearby positions: how alike their features are, and what labels say of them (Ahn & Kwak 2018, Sec. 3.2).

.. math:: W_{ij} = \exp\left(-\frac1F \sum_f |f_i - f_j|\right)

The paper prints the L1 norm of the difference; the released code divides it by the number of channels, as is done here.
A pair is stored at its position i under the offset that leads to j; no offset leads backwards, so each is stored once.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from wsss_lab.errors import ParameterError
from wsss_lab.networks.losses import IGNORE

RADIUS = 5  # positions on the grid, published
SMALLEST = 1e-5  # added below each logarithm, released code

Offset = tuple[int, int]  # rows down, columns to the right


class Pairs(NamedTuple):
    """What labels say of pairs: bool (B, P, h, w) each; False everywhere where they say nothing.

    foreground: both of one class. background: both background. negative: of different labels.
    """

    foreground: Tensor
    background: Tensor
    negative: Tensor


def half_disc(radius: int = RADIUS) -> list[Offset]:
    """Offsets that lead from a position to all others nearer than `radius`, each unordered pair once: 34 for 5.

    In reading order. Raises ParameterError for a radius that leaves no neighbour.

    >>> half_disc(2)
    [(0, 1), (1, -1), (1, 0), (1, 1)]
    """
    if radius < 2:
        raise ParameterError(f"radius={radius} of affinities", "2 or more", f"the paper uses {RADIUS}")
    reach = range(1 - radius, radius)
    return [(row, column) for row in range(radius) for column in reach
            if row ** 2 + column ** 2 < radius ** 2 and (row, column) > (0, 0)]


def affinities(features: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """How alike the features at both ends of each pair are: in (0, 1], 0 where a pair leaves the grid.

    features: float (B, F, h, w). Returns (B, P, h, w) for P offsets. Differentiable once.
    """
    return _Affinities.apply(features, offsets)


def pair_labels(labels: Tensor, offsets: Sequence[Offset]) -> Pairs:
    """Sort pairs by the labels of their ends; those that leave the grid or touch a label of 255 are in no group.

    labels: integers (B, h, w), 0 = background. The released code leaves out all pairs of a position from which any
    offset leaves the grid.
    """
    count, *size = labels.shape
    groups = Pairs(*labels.new_zeros(3, count, len(offsets), *size, dtype=torch.bool))
    for pair, (start, end) in enumerate(_ends(size, offsets)):
        one, other = labels[start], labels[end]
        known, same = (one != IGNORE) & (other != IGNORE), one == other
        groups.foreground[:, pair][start] = known & same & (one != 0)
        groups.background[:, pair][start] = known & same & (one == 0)
        groups.negative[:, pair][start] = known & ~same
    return groups


def affinity_loss(affinity: Tensor, pairs: Pairs) -> Tensor:
    """Balanced cross-entropy: 1/4 of the mean over each positive group and 1/2 of that over negative pairs.

    affinity: float (B, P, h, w) in [0, 1]. A group without pairs in the batch adds 0. Returns a scalar: a quarter of
    the paper's sum (released code).
    """
    together, apart = -torch.log(affinity + SMALLEST), -torch.log(1 + SMALLEST - affinity)
    return (_mean(together, pairs.foreground) / 4 + _mean(together, pairs.background) / 4
            + _mean(apart, pairs.negative) / 2)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


class _Affinities(torch.autograd.Function):
    """`affinities` with a backward pass that takes differences anew: kept, they'd be P times as large as features."""

    @staticmethod
    def forward(ctx, features: Tensor, offsets: Sequence[Offset]) -> Tensor:
        count, _, *size = features.shape
        found = features.new_zeros(count, len(offsets), *size)
        for pair, (start, end) in enumerate(_ends(size, offsets)):
            found[:, pair][start] = torch.exp(-(features[start] - features[end]).abs_().mean(1))
        ctx.save_for_backward(features, found)
        ctx.offsets = offsets
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        features, found = ctx.saved_tensors
        per_distance = -gradient * found / features.shape[1]
        total = torch.zeros_like(features)
        for pair, (start, end) in enumerate(_ends(features.shape[2:], ctx.offsets)):
            change = (features[start] - features[end]).sign_().mul_(per_distance[:, pair, None][start])
            total[start] += change
            total[end] -= change
        return total, None


def _ends(size: Sequence[int], offsets: Sequence[Offset]) -> Iterator[tuple[tuple, tuple]]:
    """Per offset the indices of the start and of the end of all its pairs on a grid of `size`, the last two axes."""
    height, width = size
    for down, right in offsets:
        high, wide = max(height - down, 0), max(width - abs(right), 0)
        left, after = max(-right, 0), max(right, 0)
        yield (..., slice(high), slice(left, left + wide)), (..., slice(down, None), slice(after, after + wide))
