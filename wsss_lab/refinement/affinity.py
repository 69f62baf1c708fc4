"""Affinities of pixels: learnt from seeds, and spread along by a random walk (Ahn & Kwak 2018; Lee et al. 2021)."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from wsss_lab.data import frames
from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.data.views import TrainView
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.networks.backbones import Backbone, restore, train
from wsss_lab.networks.batches import labelled_batches
from wsss_lab.networks.deeplab_v3plus import AffinityNet
from wsss_lab.networks.inference import device_of
from wsss_lab.networks.losses import IGNORE, reduce_labels
from wsss_lab.refinement.dense_crf import CrfParameters, label_frames, refine_probabilities
from wsss_lab.refinement.pamr import sparse_matrix
from wsss_lab.seeds.gap_cam import freeze
from wsss_lab.seeds.localisation import localisations

# ---------------------------------------------------------------------------------------------------------------------
# Pairs of nearby positions: how alike their features are, and what labels say of them (Ahn & Kwak 2018, Sec. 3.2).
#
# .. math:: W_{ij} = \exp\left(-\frac1F \sum_f |f_i - f_j|\right)
#
# The paper prints the L1 norm of the difference; the released code divides it by the number of channels, as is done
# here. A pair is stored at its position i under the offset that leads to j; no offset leads backwards, so each is
# stored once.

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
    def mean(values: Tensor, chosen: Tensor) -> Tensor:
        return (values * chosen).sum() / chosen.sum().clamp(min=1)

    together, apart = -torch.log(affinity + SMALLEST), -torch.log(1 + SMALLEST - affinity)
    return (mean(together, pairs.foreground) / 4 + mean(together, pairs.background) / 4
            + mean(apart, pairs.negative) / 2)


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


# ---------------------------------------------------------------------------------------------------------------------
# What AffinityNet is trained on: labels that class maps are sure of, and 255 elsewhere (Ahn & Kwak 2018, Sec. 3.2.1).
#
# Maps have no background. It gets (1 - largest map)^alpha: strong for a small alpha, weak for a large one. What is
# foreground beside a strong background, and background where it is weak, is taken for sure.

ALPHAS = (4, 24)  # 32 instead of 24 in the released code of Ahn & Kwak


def with_background(relative: np.ndarray, alpha: float) -> np.ndarray:
    """Maps (C, H, W) in [0, 1] behind a background of (1 - largest)^alpha: (1 + C, H, W).

    >>> with_background(np.array([[[0.0, 0.5, 1.0]]]), 2)[0].tolist()
    [[1.0, 0.25, 0.0]]
    """
    return np.concatenate([(1 - relative.max(0, keepdims=True)) ** alpha, relative])


def affinity_labels(image: np.ndarray, relative: np.ndarray, tags: np.ndarray, crf: CrfParameters,
                    alphas: Sequence[float] = ALPHAS) -> np.ndarray:
    """Sure labels of one image: uint8 (H, W), 0 background, 1..C classes among the tags, 255 neither for sure.

    image: uint8 (H, W, 3). relative: float (C, H, W) in [0, 1]. tags: bool (C,). alphas: of the strong and of the weak
    background. Both sets of scores, divided by their sum, go through the dense CRF with the present labels only. Where
    the two disagree, background counts (released code).
    Raises ParameterError for alphas that are not positive or don't increase.
    """
    strong, weak = alphas
    if not 0 < strong < weak:
        raise ParameterError(f"alphas {tuple(alphas)}", "a small one above 0, then a large one", f"use {ALPHAS}")
    present = [0, *(1 + np.flatnonzero(tags))]

    def labels_beside(alpha: float) -> np.ndarray:
        scores = with_background(relative, alpha)
        return refine_probabilities(image, scores / scores.sum(0), crf, present).argmax(0)

    beside_strong = labels_beside(strong)
    sure = np.where(beside_strong == 0, IGNORE, beside_strong)
    return np.where(labels_beside(weak) == 0, 0, sure).astype(np.uint8)


def affinity_label_frames(view: TrainView, state: dict[str, Tensor], backbone: dict, scales: Sequence[float],
                          crf: dict, alphas: Sequence[float] = ALPHAS) -> dict:
    """Sure labels of every image from the maps of a trained localisation network, whose state is given; uses tags.

    crf: parameters of the dense CRF. Returns {"masks": frame (N, Hmax, Wmax) uint8}.
    """
    labels = (affinity_labels(view.image(index), found.relative, view.tags[index], CrfParameters(**crf), alphas)
              for index, found in enumerate(localisations(view, state, backbone, scales)))
    return {"masks": frames.stack(view, labels)}


# ---------------------------------------------------------------------------------------------------------------------
# Training of AffinityNet on labels that class maps are sure of (Ahn & Kwak 2018, Sec. 3.2.2).


def train_affinity(view: TrainView, labels: np.ndarray, start: dict[str, Tensor], backbone: dict, schedule: dict,
                   seed: int, radius: int = RADIUS) -> dict:
    """Train AffinityNet to tell pairs of one label from pairs of two.

    labels: frame (N, Hmax, Wmax) uint8, 255 = not sure, brought to the network's grid by nearest neighbour. start:
    state dict of the pre-trained trunk. radius: of the pairs, in positions on the grid.
    Returns {"state": state dict, "history": loss per iteration}.
    """
    offsets = half_disc(radius)

    def loss_of(net: AffinityNet, images: Tensor, labels: Tensor, _pixels: Tensor, _tags: Tensor) -> Tensor:
        features = net(images).float()
        pairs = pair_labels(reduce_labels(labels, features.shape[-2:]), offsets)
        return affinity_loss(affinities(features, offsets), pairs)

    return train(AffinityNet, partial(labelled_batches, view, labels, change=crop_and_jitter), loss_of, start, backbone,
                 schedule, seed, freeze)


# ---------------------------------------------------------------------------------------------------------------------
# Class maps spread by a random walk over positions that belong together (Ahn & Kwak 2018, Sec. 3.3).
#
# .. math:: T = D^{-1} W^{\circ\beta}, \qquad D_{ii} = \sum_j W_{ij}^\beta, \qquad M^* = T^t M
#
# W holds the affinities of pairs of positions nearer than a radius, and 1 on its diagonal. A row of T sums to 1: a step
# replaces each value by a weighted mean of those around it. The released code divides columns instead and multiplies
# from the other side, which is the same for a symmetric W. It squares a dense T eight times; here the sparse one is
# applied 256 times to the few maps that are asked for.

BACKGROUND_ALPHA, BETA, STEPS = 16, 8, 256  # published


@torch.no_grad()
def transition(affinity: Tensor, offsets: Sequence[Offset], beta: float = BETA) -> Tensor:
    """The walk's matrix T: sparse CSR (hw, hw), not negative, every row summing to 1.

    affinity: float (P, h, w) in [0, 1], for P offsets, see wsss_lab.refinement.affinity; what it holds for pairs
    that leave the grid doesn't matter. beta: power of the affinities; a larger one keeps the walk within regions.
    Raises DataError where affinities and offsets don't fit, ParameterError for a beta that is not positive.
    """
    count, height, width = affinity.shape
    if count != len(offsets):
        raise DataError(f"affinities of {count} offsets", f"{len(offsets)}, as many as offsets are given")
    if not beta > 0:
        raise ParameterError(f"beta={beta} of the random walk", "a power above 0", f"the paper uses {BETA}")
    # The 2P + 1 neighbours of each position in reading order, itself among them: (h, w, 2P + 1).
    forward = torch.tensor(offsets, dtype=torch.int32, device=affinity.device)
    to_all = torch.cat([-forward.flip(0), torch.zeros_like(forward[:1]), forward])
    rows = torch.arange(height, dtype=torch.int32, device=affinity.device)[:, None, None] + to_all[:, 0]
    columns = torch.arange(width, dtype=torch.int32, device=affinity.device)[:, None] + to_all[:, 1]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    # The affinity to an earlier position is stored there; what `roll` wraps around is not inside.
    backward = [plane.roll(step, (0, 1)) for plane, step in zip(affinity, offsets)]
    around = torch.stack([*reversed(backward), torch.ones_like(affinity[0]), *affinity], -1)
    weights = around.pow(beta).masked_fill_(~inside, 0)
    weights /= weights.sum(-1, keepdim=True)
    starts = F.pad(inside.sum(-1).flatten().cumsum(0), (1, 0)).to(torch.int32)
    return sparse_matrix(starts, (rows * width + columns)[inside], weights[inside])


@torch.no_grad()
def walk(matrix: Tensor, maps: Tensor, steps: int = STEPS) -> Tensor:
    """Maps after some steps: each value is a weighted mean of those on the map, constant maps stay as they are.

    matrix: sparse (hw, hw), see `transition`. maps: float (K, h, w), of its dtype and on its device. Returns (K, h, w).
    Raises DataError for maps of another size, ParameterError for a negative number of steps.
    """
    if maps[0].numel() != len(matrix):
        raise DataError(f"maps of size {tuple(maps.shape[1:])} for a walk over {len(matrix)} positions",
                        "maps on the grid of the affinities")
    if steps < 0:
        raise ParameterError(f"steps={steps} of the random walk", "0 or more", f"the paper uses {STEPS}")
    values = maps.flatten(1).T.contiguous()
    for _ in range(steps):
        values = matrix @ values
    return values.T.reshape(maps.shape)


def walk_frames(view: TrainView, state: dict[str, Tensor], affinity_state: dict[str, Tensor], backbone: dict,
                scales: Sequence[float], background_alpha: float = BACKGROUND_ALPHA, beta: float = BETA,
                steps: int = STEPS, radius: int = RADIUS, crf: dict | None = None) -> dict:
    """Label every image of a view by its localisation maps after the random walk; its tags are used.

    state: of the localisation network. affinity_state: of an AffinityNet with the same backbone, which looks at images
    once, at one scale. scales: of the localisation maps. A background of (1 - largest map)^background_alpha walks too
    (released code). crf: parameters of a dense CRF on the walked scores, with the present labels only; None = off.
    Returns {"masks": frame (N, Hmax, Wmax) uint8, with a CRF also "refined"}.
    """
    net = restore(AffinityNet(Backbone.from_settings(backbone)), affinity_state)
    found = localisations(view, state, backbone, scales)
    grids = image_affinities(net, view, backbone["side"], half_disc(radius))

    def scores() -> Iterator[np.ndarray]:
        for index, (each, (affinity, box)) in enumerate(zip(found, grids, strict=True)):
            planes = with_background(each.relative, background_alpha)
            present = [0, *(1 + np.flatnonzero(view.tags[index]))]
            reduced = on_canvas_grid(planes[present], box, backbone["side"], affinity.shape[-2:])
            matrix = transition(affinity, half_disc(radius), beta)
            walked = walk(matrix, torch.from_numpy(reduced).to(affinity.device), steps).cpu()
            planes[present] = from_canvas(walked, box, backbone["side"], view.size(index)).numpy()
            yield planes

    labels = label_frames(view, scores(), crf)
    return labels if crf else {"masks": labels["masks"]}


@torch.no_grad()
def image_affinities(net: AffinityNet, view: TrainView, side: int, offsets: Sequence[Offset],
                     batch: int = 32) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield affinities (P, h, w) of every image of a view on the grid of its canvas, and its box on the canvas (4,).

    net: in evaluation mode; affinities stay on its device. side: canvas side in pixels.
    """
    for first in range(0, len(view), batch):
        images, boxes = view.canvas(range(first, min(first + batch, len(view))), side)
        features = net(normalise(images.to(device_of(net)))).float()
        for each, box in zip(features, boxes):
            yield affinities(each[None], offsets)[0], box


def on_canvas_grid(planes: np.ndarray, box: Sequence[int], side: int, size: tuple[int, int]) -> np.ndarray:
    """The inverse of wsss_lab.data.canvas.from_canvas: float32 (K, H, W) of an image to (K, h, w) of its whole canvas.

    Planes are resized to the box of the image, continued by reflection to the square, as the image is, and averaged
    over the cells of the grid `size`; so values stay within their range.
    """
    top, left, height, width = (int(value) for value in box)
    placed = F.interpolate(torch.from_numpy(planes)[None], size=(height, width), mode="bilinear", antialias=True)[0]
    margins = (0, 0), (top, side - top - height), (left, side - left - width)
    return F.adaptive_avg_pool2d(torch.from_numpy(np.pad(placed.numpy(), margins, "reflect")), size).numpy()
