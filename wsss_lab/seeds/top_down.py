r"""Top-down attention: which neurons made the network name a class (Roy & Todorovic 2017, Sec. 4).

From the unit of a class down, layer by layer, each neuron gets attention from its parents, from its own activation and
from its neighbours:

.. math:: b_i = \gamma_i + \alpha_i, \qquad \gamma_i = \sum_j \frac{w^+_{ij} a_i}{\sum_{i'} w^+_{i'j} a_{i'}} p_j,
          \qquad \alpha_i = \frac{a_i}{\sum_{i'} a_{i'}}

(Eqs. 5 to 7), and p is the mode of a rectified Gaussian with D and b (Eqs. 2 and 3, wsss_lab.seeds.rectified_gaussian).
gamma alone is excitation back-propagation (Zhang et al. 2016, wsss_lab.seeds.backprop).
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from wsss_lab.errors import ParameterError
from wsss_lab.networks.inference import eval_mode
from wsss_lab.seeds.backprop import hands_on, pass_down
from wsss_lab.seeds.fusion_net import FusionNet
from wsss_lab.seeds.neighbours import SPACING, cell_colours, similarity
from wsss_lab.seeds.rectified_gaussian import MODES, RHO, mode, smoother

LAYERS = ("all", "last")
BACKGROUNDS = ("complement", "unit")
_TINY = 1e-12


@dataclass(frozen=True)
class Attention:
    """The switches of the top-down pass; the defaults are this lab's reading of the paper.

    neighbours: one of rectified_gaussian.MODES. rho: of "smooth". activation: weight of alpha (Eq. 7), 1 in the paper.
    layers: where neighbours and alpha take part: "all" of them, as printed, or the "last" one, where attention ends.
    background: "complement", 1 - the largest map of the present classes; "unit", passed down from a unit of its own.
    """

    neighbours: str = "smooth"
    rho: float = RHO
    activation: float = 1.0
    layers: str = "all"
    background: str = "complement"

    def __post_init__(self):
        for name, known in (("neighbours", MODES), ("layers", LAYERS), ("background", BACKGROUNDS)):
            if getattr(self, name) not in known:
                raise ParameterError(f"{name}='{getattr(self, name)}' of the attention", " or ".join(known))
        if self.activation < 0:
            raise ParameterError(f"activation={self.activation} of the attention", "a weight of 0 or more")

    def settings(self) -> dict:
        """As plain JSON values, for the settings of a step."""
        return asdict(self)

    @torch.no_grad()
    def label_attention(self, net: FusionNet, features: Tensor, present: Tensor, weights: Tensor) -> Tensor:
        r"""Attention of every label at every position (Eq. 4), summing to 1 over the labels.

        features: of the network, (B, c, h', w'). present: bool (B, K), the labels that get attention; the background,
        label 0, always does. weights: similarity of the cells of the grid (h, w), see `cell_weights`.
        Returns (B, K, h, w) in [0, 1], 0 for absent labels, and for all of them where none has any. Each map is divided
        by its maximum before Eq. (4), which makes maps of small and large objects comparable (our choice).
        """
        asked = present.clone()
        asked[:, 0] = self.background == "unit"
        maps = top_down_maps(net, features, asked, weights, self)
        relative = maps / maps.amax((1, 2), keepdim=True).clamp(min=_TINY)
        attention = maps.new_zeros(*present.shape, *maps.shape[1:])
        attention[asked] = relative
        if self.background == "complement":
            attention[:, 0] = 1 - attention[:, 1:].amax(1)
        return _shares(attention, 1)


def cell_weights(images: Tensor, grid: tuple[int, int], spacing: float = SPACING) -> Tensor:
    """Similarity (Eq. 8) of the cells of a grid on uint8 images (B, 3, H, W): (B, 49, h, w).

    Cells are `spacing` pixels of the paper apart, however large they are here: a network of another stride has the same
    ties between neighbours.
    """
    return similarity(cell_colours(images, grid), spacing)


@torch.no_grad()
def top_down_maps(net: FusionNet, features: Tensor, present: Tensor, weights: Tensor, how: Attention) -> Tensor:
    """Attention of every (image, label) pair where attention ends, summed over channels: (M, h, w), not negative.

    features, present, weights: see `Attention.label_attention`; M labels are present in all images, in the order of
    ``present.nonzero()``. Each map sums to 1. A label without any positive evidence has only what alpha and neighbours
    give it, which is the same for all labels, or 0 without alpha.

    The images run up once, and each layer's denominators are computed once for all labels of an image. Dropout is off.
    """
    with eval_mode(net):
        layers, inputs, maps = net.upper, [], features
        for layer in layers:
            inputs.append(maps)
            maps = layer(maps)
    rows, labels = present.nonzero(as_tuple=True)
    share = Sharing(weights, how)
    mass = share(_from_units(net.aggregation, maps, rows, labels), maps.relu(), rows, last=False)
    for layer in reversed(layers):
        activation = inputs.pop()
        mass = pass_down(layer, activation, mass, rows)
        if not hands_on(layer):
            mass = share(mass, activation.relu(), rows, last=not inputs)
    return mass.sum(1)


class Sharing:
    """Eqs. (2), (3) and (7) at one layer: attention of neurons with their own activation and that of neighbours.

    weights: similarity (B, (2 radius + 1)^2, h, w) of the cells, shared by all layers and channels: the neurons of a
    channel are tied among themselves. What "smooth" solves is linear in b, so that one inverse per image serves all.
    """

    def __init__(self, weights: Tensor, how: Attention):
        self.how, self.weights = how, weights
        self.inverse = smoother(weights, how.rho) if how.neighbours == "smooth" else None

    def __call__(self, mass: Tensor, activation: Tensor, rows: Tensor, last: bool) -> Tensor:
        """mass: gamma (M, c, h, w). activation: a (B, c, h, w), not negative. rows: (M,), the image of each mass.
        Returns p of the same shape, summing to 1 like gamma, so that it can be passed on (our choice)."""
        how = self.how
        if how.layers == "last" and not last:
            return mass
        b = mass
        if how.activation:
            b = b + how.activation * _shares(activation, (1, 2, 3))[rows]
        if self.inverse is not None:
            b = torch.bmm(b.flatten(2), self.inverse[rows]).reshape(b.shape)
        elif how.neighbours != "none":
            b = mode(b, self.weights[rows], how.neighbours).maps
        return _shares(b, (1, 2, 3))


def _from_units(aggregation: nn.Module, maps: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
    """Mass on the label maps (M, K, h, w) from one at the unit of each (image, label) pair, by Eq. (6).

    For the rules without weights, the derivative of the score stands for FCL's weights.
    """
    with torch.enable_grad():
        leaf = maps.detach().requires_grad_()
        slopes, = torch.autograd.grad(aggregation(leaf).sum(), leaf)
    excited = (slopes.clamp(min=0) * maps.relu())[rows, labels]
    mass = maps.new_zeros(len(rows), *maps.shape[1:])
    mass[torch.arange(len(rows), device=rows.device), labels] = _shares(excited, (1, 2))
    return mass


def _shares(values: Tensor, dims: int | tuple[int, ...]) -> Tensor:
    """Divided by their sum over some axes; 0 where all are."""
    return values / values.sum(dims, keepdim=True).clamp(min=_TINY)
