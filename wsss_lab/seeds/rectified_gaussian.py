r"""Attention as the mode of a rectified Gaussian (Roy & Todorovic 2017, Sec. 4, Eqs. 2 and 3).

.. math:: \max_{p \succeq 0} \; \tfrac12 p^\top D p + b^\top p

b are what each neuron gets from its parents and its own activation, D ties neighbours. The paper's D (Eq. 9) is the
row-normalised similarity minus 1 in *every* entry: each neuron inhibits all others. On every image measured, all
eigenvalues of its symmetric part but one are positive. Any two neurons then have a mixture of them along which the
objective is strictly convex, so no maximum has more than one active neuron. The copositivity that the paper appeals
to bounds the programme, but makes it neither concave nor its solution spread out. Hence several modes (our choice):

- "literal": the paper's D, solved. One neuron takes all, :math:`p_i = b_i / (1 - \hat w_{ii})`; which one depends on b
  and on how unlike its surroundings it is.
- "steps": a few projected-gradient steps towards that from p = b, which keep a part of the map.
- "smooth": :math:`D = \rho W_s - I` with the symmetrically normalised similarity. It is strictly concave, and as its
  solution :math:`(I - \rho W_s)^{-1} b = \sum_k \rho^k W_s^k b` is not negative for b >= 0, the constraint never binds:
  attention spreads over cells that look alike. With rho = 0 it is b.
- "none": no neighbours, D = -I, which gives b where b >= 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.seeds.neighbours import normalised, radius_of, spread, symmetric_part, window

MODES = ("literal", "steps", "smooth", "none")
RHO, STEPS = 0.9, 5  # our choice
TOLERANCE = 1e-6
LEAST_INHIBITION = 1e-6  # of a cell that looks like none around it; without any, the programme would have no maximum

Interaction = Callable[[Tensor], Tensor]  # p (B, M, h, w) -> D p, of the same shape


class Mode(NamedTuple):
    """maps: p, not negative (B, M, h, w). residual: how far p is from solving its programme (B, M), `kkt_residual`."""

    maps: Tensor
    residual: Tensor


@torch.no_grad()
def mode(b: Tensor, weights: Tensor, how: str = "smooth", rho: float = RHO, steps: int = STEPS) -> Mode:
    """Attention maps with the dependences between neighbours in them (Eq. 3).

    b: float (B, M, h, w), M maps (classes, channels or both) of each image; what is below 0, by rounding, counts as 0.
    weights: similarity (B, (2 radius + 1)^2, h, w), see wsss_lab.seeds.neighbours, shared by the maps of an image.
    how: one of MODES, see above. rho: of "smooth", in [0, 1). steps: of "steps", 0 or more.

    Returns maps of the shape, dtype and device of b, worked out in double precision. The residual is below 1e-6 for
    "literal" and "smooth"; "steps" stops before, and "none" solves its own programme exactly. "smooth" maps are up to
    about 1 / (1 - rho) times as large as b. Scaling b scales the maps. Never carries a gradient.
    Raises ParameterError for another `how`, rho or number of steps, DataError for b and weights that do not fit.
    """
    if how not in MODES:
        raise ParameterError(f"mode '{how}' of the rectified Gaussian is not known", " or ".join(MODES))
    _check_rho(rho)
    if steps < 0:
        raise ParameterError(f"steps={steps}", "0 or more", f"our default is {STEPS}")
    radius_of(weights)
    if b.ndim != 4 or (len(b), *b.shape[2:]) != (len(weights), *weights.shape[2:]):
        raise DataError(f"b of shape {tuple(b.shape)} for weights of shape {tuple(weights.shape)}",
                        f"({len(weights)}, M, {weights.shape[2]}, {weights.shape[3]})")
    b, weights, kind = b.double().clamp(min=0), weights.double(), b.dtype
    if how == "none":
        interaction, maps = torch.neg, b
    elif how == "smooth":
        interaction = smooth_interaction(weights, rho)
        maps = conjugate_gradients(interaction, b).clamp_(min=0)  # what is below 0 is rounding
    else:
        interaction, inhibition = literal_interaction(weights)
        if how == "literal":
            maps = coordinate_ascent(interaction, inhibition, b)
        else:
            # No entry of this D is above 0: what it makes of ones are the negative sums of |D_ii'| over each row.
            largest = -interaction(torch.ones_like(inhibition)).amin((2, 3), keepdim=True)
            maps = projected_ascent(interaction, b, 0.9 / largest, steps)
    return Mode(maps.to(kind), kkt_residual(interaction, b, maps).to(kind))


def literal_interaction(weights: Tensor) -> tuple[Interaction, Tensor]:
    """D of Eq. 9, symmetrised (a quadratic form sees no more of it), as a function and -D_ii (B, 1, h, w).

    weights: similarity with 1 at the cell itself. The ones in every entry are applied as a sum. -D_ii is kept at
    LEAST_INHIBITION or above.
    """
    centre = weights.shape[1] // 2
    others = weights.clone()
    others[:, centre] = 0
    total = weights.sum(1, keepdim=True)
    inhibition = (others.sum(1, keepdim=True) / total).clamp(min=LEAST_INHIBITION)  # exact, unlike 1 - w_ii
    ties = symmetric_part(others / total)

    def interaction(p: Tensor) -> Tensor:
        return spread(ties, p) - (p.sum((2, 3), keepdim=True) - p) - inhibition * p

    return interaction, inhibition


def smooth_interaction(weights: Tensor, rho: float = RHO) -> Interaction:
    """D = rho W_s - I with W_s = normalised(weights, "symmetric"); -D has eigenvalues in [1 - rho, 1 + rho]."""
    ties = rho * normalised(weights, "symmetric")
    return lambda p: spread(ties, p) - p


@torch.no_grad()
def smoother(weights: Tensor, rho: float = RHO) -> Tensor:
    r"""All of "smooth" as one matrix, :math:`(I - \rho W_s)^{-1}`: the mode is ``b.flatten(-2) @ smoother(weights)``.

    weights: (B, (2 radius + 1)^2, h, w). Returns (B, h w, h w), symmetric and not negative, of the dtype of weights.
    For many maps of one image (all channels of all layers) this is cheaper than to solve for each; for few, `mode` is.
    Raises ParameterError for a rho outside [0, 1).
    """
    _check_rho(rho)
    curvature = -rho * _in_full(normalised(weights, "symmetric"))
    curvature.diagonal(dim1=1, dim2=2).add_(1)
    return torch.cholesky_inverse(torch.linalg.cholesky(curvature)).clamp_(min=0)  # what is below 0 is rounding


def kkt_residual(interaction: Interaction, b: Tensor, p: Tensor) -> Tensor:
    r"""How far p is from the conditions of a solution: (B, M), 0 only where they hold, the same for c b and c p.

    .. math:: \max_i \big|\min(p_i, \; -(Dp + b)_i)\big| \; / \; \max_i |b_i|

    A solution has :math:`p \ge 0`, a gradient :math:`Dp + b \le 0`, and 0 for either of them at every position.
    """
    violation = torch.minimum(p, -(interaction(p) + b)).abs().amax((2, 3))
    return violation / b.abs().amax((2, 3)).clamp(min=torch.finfo(b.dtype).tiny)


def conjugate_gradients(interaction: Interaction, b: Tensor, most: int = 1000) -> Tensor:
    """Solve -D p = b for a symmetric, negative definite D without the constraint; all (B, M, h, w).

    Stops where the largest entry of every map's residual is below 1e-7 of the largest of b: a tenth of TOLERANCE, so
    that entries near 0 may be clipped.
    """
    tiny = torch.finfo(b.dtype).tiny
    limit = TOLERANCE / 10 * b.abs().amax((2, 3), keepdim=True)
    p, rest = torch.zeros_like(b), b
    direction, square = rest, _product(rest, rest)
    for _ in range(most):
        if (rest.abs().amax((2, 3), keepdim=True) <= limit).all():
            break
        image = -interaction(direction)
        step = square / _product(direction, image).clamp(min=tiny)
        p, rest = p + step * direction, rest - step * image
        before, square = square, _product(rest, rest)
        direction = rest + square / before.clamp(min=tiny) * direction
    return p


def projected_ascent(interaction: Interaction, b: Tensor, step: Tensor | float, steps: int) -> Tensor:
    """Plain projected-gradient steps from p = max(b, 0); b and result (B, M, h, w), step broadcasts against them."""
    p = b.clamp(min=0)
    for _ in range(steps):
        p = (p + step * (interaction(p) + b)).clamp_(min=0)
    return p


def coordinate_ascent(interaction: Interaction, inhibition: Tensor, b: Tensor, most: int = 10_000) -> Tensor:
    """One entry at a time, from p = 0, until nothing is to be gained; D need not be negative definite.

    inhibition: -D_ii, above 0, broadcasts against b (B, M, h, w). Each step maximises exactly over the entry that gains
    most, so the value only grows, and a point where no entry gains meets the KKT conditions. The first step therefore
    finds the best single neuron; that no other joins it is a property of D. Stops at a KKT residual of TOLERANCE.
    """
    p, gradient = torch.zeros_like(b), b
    for _ in range(most):
        if (kkt_residual(interaction, b, p) <= TOLERANCE).all():
            break
        change = (p + gradient / inhibition).clamp(min=0) - p
        gain = change * (gradient - inhibition * change / 2)
        best = gain.flatten(2).argmax(2, keepdim=True)
        p = p.flatten(2).scatter_add(2, best, change.flatten(2).gather(2, best)).view_as(b)
        gradient = interaction(p) + b
    return p


@torch.no_grad()
def eigenvalues(weights: Tensor, how: str, rho: float = RHO) -> Tensor:
    """Eigenvalues of D for "literal" or "smooth", ascending: (B, hw) in double precision.

    weights: similarity (B, (2 radius + 1)^2, h, w). For small grids: D is built in full, (B, hw, hw).
    Raises ParameterError for another `how`.
    """
    if how not in ("literal", "smooth"):
        raise ParameterError(f"eigenvalues of the mode '{how}'", "literal or smooth", "'steps' has the D of 'literal'")
    weights = weights.double()
    interaction = smooth_interaction(weights, rho) if how == "smooth" else literal_interaction(weights)[0]
    batch, _, height, width = weights.shape
    units = torch.eye(height * width, dtype=weights.dtype, device=weights.device).view(1, -1, height, width)
    return torch.linalg.eigvalsh(interaction(units.expand(batch, -1, -1, -1)).flatten(2))


def _in_full(ties: Tensor) -> Tensor:
    """An operator on the cells, (B, (2 radius + 1)^2, h, w), as a matrix: its columns are the rows of (B, hw, hw)."""
    batch, _, height, width = ties.shape
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    steps = torch.tensor(window(radius_of(ties)))
    down, right = row + steps[:, 0, None, None], column + steps[:, 1, None, None]
    inside = (down >= 0) & (down < height) & (right >= 0) & (right < width)
    plane, place = inside.flatten(1).nonzero(as_tuple=True)
    full = ties.new_zeros(batch, height * width, height * width)
    full[:, (down * width + right).flatten(1)[plane, place], place] = ties.flatten(2)[:, plane, place]
    return full


def _product(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum((2, 3), keepdim=True)


def _check_rho(rho: float) -> None:
    if not 0 <= rho < 1:
        raise ParameterError(f"rho={rho}", "at least 0 and below 1", f"our default is {RHO}")
