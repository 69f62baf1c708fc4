r"""CRF as a recurrent network (Roy & Todorovic 2017, Sec. 5, Eqs. 10-12; Zheng et al. 2015).

.. math:: E(y) = \sum_i \phi(y_i) + \sum_{(i, i')} \mu(y_i, y_{i'}) \, w_{ii'}, \qquad
          Q^{t+1} = \mathrm{softmax}(-\phi - \mu K Q^t), \quad Q^0 = \mathrm{softmax}(-\phi)

Mean field on the grid of the network's maps. The kernel K comes from the image and is not learned; the compatibility mu
of labels is. "mu varies over different pixel locations", says the paper, but the 1x1 convolution by which it implements
mu is the same everywhere.
"""

import torch
from torch import Tensor, nn

from wsss_lab.errors import ParameterError
from wsss_lab.seeds.neighbours import cell_colours, normalised, similarity, spread

ITERATIONS = 3  # Sec. 7, in training and inference
LEAST_ATTENTION = 1e-3  # not in the paper; our choice


def unary(p_s: Tensor, p_a: Tensor) -> Tensor:
    r"""Unary potential :math:`-\log(p^S p^A)` (Eq. 11), with p^A kept at LEAST_ATTENTION or above.

    p_s: the network's probabilities. p_a: attention in [0, 1], or 1 to leave it out. Both (B, K, h, w) or broadcasting;
    returns their shape, finite. Attention has exact 0s, which would veto a label for ever.
    """
    return -(p_s.clamp(min=torch.finfo(p_s.dtype).tiny).log() + p_a.clamp(min=LEAST_ATTENTION).log())


@torch.no_grad()
def bilateral_kernel(images: Tensor, grid: tuple[int, int]) -> Tensor:
    r"""The kernel K of the messages: Eq. 8 on the cells of a grid, divided by its sum, without the cell itself.

    .. math:: K_{ii'} = \frac{w_{ii'}}{\sum_{i''} w_{ii''}} \; (i' \ne i), \qquad K_{ii} = 0

    images: uint8 (B, 3, H, W), RGB. grid: (h, w). Returns float32 (B, (2 radius + 1)^2, h, w).

    The sum includes the cell itself, as in Zheng et al. 2015 and Eq. 9: messages are at most 1, and a cell unlike all
    those around it gets next to none, where a sum over the others would make it follow them. The cell's own weight is
    then left out, for in mean field no variable sends itself messages.
    """
    return message_kernel(similarity(cell_colours(images, grid)))


def message_kernel(weights: Tensor) -> Tensor:
    """`bilateral_kernel` from similarities (Eq. 8) that are there already: both (B, (2 radius + 1)^2, h, w)."""
    kernel = normalised(weights, "rows")
    kernel[:, kernel.shape[1] // 2] = 0
    return kernel


class CrfRnn(nn.Module):
    """A number of mean-field iterations, each with the same learned compatibility of labels.

    labels: K. `compatibility` is a 1x1 convolution K -> K without bias; it starts as Potts, 0 for equal labels and 1
    for others (not in the paper; our choice). `iterations` may be changed later; ParameterError for a negative number.
    """

    def __init__(self, labels: int, iterations: int = ITERATIONS):
        super().__init__()
        if iterations < 0:
            raise ParameterError(f"iterations={iterations} of the CRF", "0 or more", f"the paper has {ITERATIONS}")
        self.iterations = iterations
        self.compatibility = nn.Conv2d(labels, labels, 1, bias=False)
        with torch.no_grad():
            self.compatibility.weight.copy_((1 - torch.eye(labels))[..., None, None])

    def forward(self, unary: Tensor, kernel: Tensor) -> Tensor:
        """Probabilities Q (B, K, h, w), summing to 1 over K.

        unary: potentials (B, K, h, w), lower is likelier. kernel: (B, (2 radius + 1)^2, h, w) of the same dtype, see
        `bilateral_kernel`. Differentiable in the potentials and the compatibility.
        """
        q = (-unary).softmax(1)
        for _ in range(self.iterations):
            q = (-unary - self.compatibility(spread(kernel, q))).softmax(1)
        return q
