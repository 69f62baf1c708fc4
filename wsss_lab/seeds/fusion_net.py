r"""The network of Roy & Todorovic 2017: how scores of pixels become scores of the image, and what is fused.

Four rules aggregate the scores f of N positions i for class y (Table 5); the paper's own is FCL:

.. math:: s_y = \sum_i u_{y,i} f_i(y) + c_y \;\text{(FCL)}, \quad \max_i f_i(y) \;\text{(GMP)}, \quad
          \frac1N \sum_i f_i(y) \;\text{(GAP)}, \quad \frac1r \log \frac1N \sum_i e^{r f_i(y)} \;\text{(LSE)}
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import deeplab, output_size
from wsss_lab.refinement.crf_rnn import ITERATIONS, CrfRnn
from wsss_lab.seeds.backprop import deepest_stop
from wsss_lab.seeds.weighted_pooling import average_pooling

SHARPNESS = 5.0  # r of LSE; not in the paper; our choice


def max_pooling(maps: Tensor) -> Tensor:
    """GMP: (B, K, h, w) -> (B, K). Positions that tie share the gradient."""
    return maps.amax((2, 3))


def log_sum_exp(maps: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    r"""LSE, :math:`\frac1r \log \frac1N \sum_i e^{r f_i}`: (B, K, h, w) -> (B, K), between GAP and GMP.

    sharpness: r; towards 0 it becomes GAP, towards infinity GMP. Large scores do not overflow.
    """
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


class FusionNet(nn.Module):
    """DeepLab-LargeFOV with K label maps, an aggregation of each map to a score of the image, and a CRF-RNN (Fig. 1).

    backbone: its `side` fixes the grid (h, w) of the fully connected aggregation. labels: K, background first.
    kind: one of AGGREGATIONS. iterations: of the CRF-RNN, 0 = without.

    The trunk is cut where attention ends: `features` runs it up to there, `upper` are the layers from there to the
    label maps, in order. For a VGG that is the output of pool-4 (Sec. 4); for other trunks the highest layer that
    excitation back-propagation has no rule for, as inside a MobileNet.
    """

    def __init__(self, backbone: Backbone, labels: int, kind: str = "FCL", iterations: int = ITERATIONS):
        super().__init__()
        net = deeplab(backbone, labels, cut="DeepLab")  # attention needs activations that aren't negative
        self.trunk, self.head, self.classifier = net.trunk, net.head, net.classifier
        self.aggregation = aggregation(kind, labels, output_size(net, backbone.side))
        self.crf = CrfRnn(labels, iterations)
        pools = [index for index, layer in enumerate(self.trunk) if isinstance(layer, nn.MaxPool2d)]
        self.cut = max(pools[-2] + 1 if len(pools) > 1 else 0, deepest_stop(list(self.trunk)))

    @property
    def upper(self) -> list[nn.Module]:
        """The layers from the end of attention to the label maps."""
        return [*self.trunk[self.cut:], *self.head, self.classifier]

    def features(self, images: Tensor) -> Tensor:
        """Activations at the end of attention: normalised (B, 3, H, W) -> (B, c, h, w)."""
        return self.trunk[:self.cut](images)

    def scores(self, features: Tensor) -> Tensor:
        """Label maps f, before the softmax of Eq. (1): `features` -> (B, K, h, w)."""
        for layer in self.upper:
            features = layer(features)
        return features

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Label maps (B, K, h, w) and scores of the image (B, K), logits: p(y|x) is their sigmoid."""
        maps = self.scores(self.features(images))
        return maps, self.aggregation(maps)
