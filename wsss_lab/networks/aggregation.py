r"""From heat maps to image scores: four ways to aggregate, compared in Roy & Todorovic 2017 (Table 5).

.. math:: s_y = \sum_i u_{y,i} f_i(y) + c_y \;\text{(FCL)}, \quad \max_i f_i(y) \;\text{(GMP)}, \quad
          \frac1N \sum_i f_i(y) \;\text{(GAP)}, \quad \frac1r \log \frac1N \sum_i e^{r f_i(y)} \;\text{(LSE)}

f are a network's scores of N positions i for class y. The paper's own is the fully connected layer FCL.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_lab.errors import ParameterError

SHARPNESS = 5.0  # r of LSE; not in the paper; our choice


def max_pooling(maps: Tensor) -> Tensor:
    """GMP: (B, K, h, w) -> (B, K). Positions that tie share the gradient."""
    return maps.amax((2, 3))


def average_pooling(maps: Tensor) -> Tensor:
    """GAP: (B, K, h, w) -> (B, K)."""
    return maps.mean((2, 3))


def log_sum_exp(maps: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    r"""LSE, :math:`\frac1r \log \frac1N \sum_i e^{r f_i}`: (B, K, h, w) -> (B, K), between GAP and GMP.

    sharpness: r; towards 0 it becomes GAP, towards infinity GMP. Large scores do not overflow.
    Raises ParameterError for a sharpness that is not positive.
    """
    if not sharpness > 0:
        raise ParameterError(f"sharpness r={sharpness} of LSE", "above 0", "GAP and GMP are its limits")
    return (torch.logsumexp(sharpness * maps, (2, 3)) - math.log(maps[0, 0].numel())) / sharpness


class FullyConnected(nn.Module):
    """FCL: each class's map is fully connected to the unit of its class alone (Sec. 3).

    labels: K. grid: (h, w) of the maps. Learned: `weight` (K, h, w), started at 1 / (h w), and `bias` (K,), started at
    0, so that training begins with GAP (not in the paper; our choice).
    forward: (B, K, h', w') -> (B, K); maps of another size are resized to the grid first, bilinearly and, where they
    shrink, with anti-aliasing.
    """

    def __init__(self, labels: int, grid: tuple[int, int]):
        super().__init__()
        self.weight = nn.Parameter(torch.full((labels, *grid), 1 / math.prod(grid)))
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(self, maps: Tensor) -> Tensor:
        grid = self.weight.shape[1:]
        if maps.shape[2:] != grid:
            maps = F.interpolate(maps, size=grid, mode="bilinear", antialias=True)
        return torch.einsum("bkhw,khw->bk", maps, self.weight) + self.bias


class Pooling(nn.Module):
    """A rule without parameters as a layer. kind: a key of POOLINGS. forward: (B, K, h, w) -> (B, K)."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, maps: Tensor) -> Tensor:
        return POOLINGS[self.kind](maps)


POOLINGS = {"GMP": max_pooling, "GAP": average_pooling, "LSE": log_sum_exp}
AGGREGATIONS = ("FCL", *POOLINGS)


def aggregation(kind: str, labels: int, grid: tuple[int, int]) -> FullyConnected | Pooling:
    """The layer that turns heat maps (B, K, h, w) into image scores (B, K).

    kind: one of AGGREGATIONS. labels, grid: K and (h, w), which only FCL needs. Raises ParameterError for another kind.
    """
    if kind not in AGGREGATIONS:
        raise ParameterError(f"aggregation '{kind}' is not known", " or ".join(AGGREGATIONS))
    return FullyConnected(labels, grid) if kind == "FCL" else Pooling(kind)
