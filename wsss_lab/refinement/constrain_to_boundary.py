r"""Constrain-to-boundary loss: a network learns to agree with its own output after a dense CRF.

Kolesnikov and Lampert 2016 (SEC); in Oh et al. 2017 it is the switch `crf-loss` (supplement C).
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.errors import DataError
from wsss_lab.refinement.dense_crf import CrfParameters, refine_probabilities


@torch.no_grad()
def crf_targets(probabilities: Tensor, images: Tensor, parameters: CrfParameters,
                tags: Tensor | None = None) -> Tensor:
    """The network's output after a dense CRF on the output grid, as a constant.

    probabilities: float (B, K, h, w), softmax of the network. images: uint8 (B, 3, H, W), RGB. parameters: the CRF at
    the size of `images`; its position widths are divided by H / h (SEC divides by 12 at a stride of 8). tags: bool
    (B, K - 1); where given, only background and the classes among the tags take part (faster, and not the same as all
    classes, see `refine_probabilities`); the others are 0.
    Returns (B, K, h, w) on the device and in the type of `probabilities`, no gradient.
    """
    batch, classes, height, width = probabilities.shape
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[:2] != (batch, 3):
        raise DataError(f"the CRF loss got images of {images.dtype} {tuple(images.shape)}",
                        f"torch.uint8 ({batch}, 3, H, W)")
    if tags is not None and tags.shape != (batch, classes - 1):
        raise DataError(f"the CRF loss got tags of shape {tuple(tags.shape)}", f"({batch}, {classes - 1})")
    on_grid = parameters.scaled(1 / (images.shape[2] / height))
    small = F.interpolate(images.float(), (height, width), mode="area").round().to(torch.uint8)
    small = small.permute(0, 2, 3, 1).cpu().numpy()
    scores = probabilities.float().cpu().numpy()
    kept = [None] * batch if tags is None else [[0, *(np.flatnonzero(row) + 1)] for row in tags.cpu().numpy()]
    refined = [refine_probabilities(image, score, on_grid, labels)
               for image, score, labels in zip(small, scores, kept, strict=True)]
    return torch.from_numpy(np.stack(refined)).to(probabilities)


def boundary_loss(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    r"""Divergence of the network's output f from its refined version Q (Oh et al. 2017, supplement C).

    .. math:: L = \frac1n \sum_u \sum_c Q_{u,c} \log\frac{Q_{u,c}}{f_{u,c}}

    log_probabilities: (B, K, h, w), log-softmax of the network. targets: (B, K, h, w), Q from `crf_targets`.
    Returns a scalar; n counts the positions u of all images. Q is a constant, so the gradient flows through log f
    alone; with respect to the logits it is (f - Q) / n.

    >>> f, q = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])
    >>> round(boundary_loss(f.log().view(1, 2, 1, 1), q.view(1, 2, 1, 1)).item(), 4)
    0.6931
    """
    targets = targets.detach()
    divergence = torch.xlogy(targets, targets) - targets * log_probabilities
    return divergence.sum(1).mean()
