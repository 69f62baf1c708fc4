r"""Class maps spread by a random walk over positions that belong together (Ahn & Kwak 2018, Sec. 3.3).

.. math:: T = D^{-1} W^{\circ\beta}, \qquad D_{ii} = \sum_j W_{ij}^\beta, \qquad M^* = T^t M

W holds the affinities of pairs of positions nearer than a radius, and 1 on its diagonal. A row of T sums to 1: a step
replaces each value by a weighted mean of those around it. The released code divides columns instead and multiplies from
the other side, which is the same for a symmetric W. It squares a dense T eight times; here the sparse one is applied
256 times to the few maps that are asked for.
"""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.deeplab_v3plus import AffinityNet
from wsss_lab.networks.inference import device_of
from wsss_lab.networks.machine import place
from wsss_lab.refinement.affinity_labels import with_background
from wsss_lab.refinement.affinity_pairs import RADIUS, Offset, affinities, half_disc
from wsss_lab.refinement.label_frames import label_frames
from wsss_lab.seeds.localisation import localisations

BACKGROUND_ALPHA, BETA, STEPS = 16, 8, 256  # published


@torch.no_grad()
def transition(affinity: Tensor, offsets: Sequence[Offset], beta: float = BETA) -> Tensor:
    """The walk's matrix T: sparse CSR (hw, hw), not negative, every row summing to 1.

    affinity: float (P, h, w) in [0, 1], for P offsets, see wsss_lab.refinement.affinity_pairs; what it holds for pairs
    that leave the grid doesn't matter. beta: power of the affinities; a larger one keeps the walk within regions.

    Raises DataError where affinities and offsets don't fit, ParameterError for a beta that is not positive.
    """
    count, height, width = affinity.shape
    if count != len(offsets):
        raise DataError(f"affinities of {count} offsets", f"{len(offsets)}, as many as offsets are given")
    if not beta > 0:
        raise ParameterError(f"beta={beta} of the random walk", "a power above 0", f"the paper uses {BETA}")
    inside, columns = _neighbours(height, width, offsets, affinity.device)
    # The affinity to an earlier position is stored there; what `roll` wraps around is not inside.
    backward = [plane.roll(step, (0, 1)) for plane, step in zip(affinity, offsets)]
    around = torch.stack([*reversed(backward), torch.ones_like(affinity[0]), *affinity], -1)
    weights = around.pow(beta).masked_fill_(~inside, 0)
    weights /= weights.sum(-1, keepdim=True)
    starts = F.pad(inside.sum(-1).flatten().cumsum(0), (1, 0)).to(torch.int32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts, columns[inside], weights[inside], (height * width,) * 2,
                                       check_invariants=False)


def _neighbours(height: int, width: int, offsets: Sequence[Offset], device: torch.device) -> tuple[Tensor, Tensor]:
    """Of the 2P + 1 neighbours in reading order, itself among them: which are on the grid, and where; (h, w, 2P + 1).

    The places are 32-bit integers: MKL wants these, and would convert others anew for every product.
    """
    forward = torch.tensor(offsets, dtype=torch.int32, device=device)
    steps = torch.cat([-forward.flip(0), torch.zeros_like(forward[:1]), forward])
    rows = torch.arange(height, dtype=torch.int32, device=device)[:, None, None] + steps[:, 0]
    columns = torch.arange(width, dtype=torch.int32, device=device)[:, None] + steps[:, 1]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return inside, rows * width + columns


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
    net = AffinityNet(Backbone.from_settings(backbone))
    net.load_state_dict(affinity_state)
    found = localisations(view, state, backbone, scales)
    grids = image_affinities(place(net).eval(), view, backbone["side"], half_disc(radius))

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
