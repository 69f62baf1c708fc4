"""Attention volumes and class activation maps are the same thing (Chaudhry et al. 2017, Sec. 4.1), shown in numbers.

A class activation map (Zhou et al. 2016) belongs to a network that pools its features first and classifies them with
a linear layer then; the attention network has its class filters before the pooling.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.data.canvas import normalise
from wsss_lab.data.views import TrainView
from wsss_lab.networks.heads import AttentionNet
from wsss_lab.seeds.attention import restore_attention


def class_activation_maps(features: Tensor, weight: Tensor) -> Tensor:
    r"""The maps of a linear classifier with pooling in front of it.

    .. math:: M_c(m) = \sum_k w_{ck} f_k(m)

    features: (B, K, h, w). weight: (C, K). Returns (B, C, h, w), without the bias. Source: Zhou et al. 2016, Eq. (2).
    """
    return torch.einsum("ck,bkhw->bchw", weight, features)


def cam_differences(net: AttentionNet, images: Tensor) -> dict[str, float]:
    """Largest difference between the attention network and a classifier with the pooling in front of the same weights.

    net: in evaluation mode. images: normalised (B, 3, H, W). Returns {"maps": of V less its bias from the class
    activation maps, "scores": of the class scores}, each relative to the largest map value or score.
    """
    with torch.no_grad():
        features, volume = net.scores(images), net.class_maps(images)
        weight, bias = net.attention.weight[:, :, 0, 0], net.attention.bias
        maps = class_activation_maps(features, weight)
        scores = F.linear(features.mean((2, 3)), weight, bias)
        return {"maps": _apart(maps, volume - bias[:, None, None]), "scores": _apart(scores, net.pool(volume))}


def compare_with_cam(view: TrainView, state: dict[str, Tensor], backbone: dict, images: int = 8) -> dict:
    """`cam_differences` of a trained network on a view's first images, in double precision: {"differences": {...}}."""
    net = restore_attention(state, backbone).cpu().double()
    canvases, _ = view.canvas(range(min(images, len(view))), backbone["side"])
    return {"differences": cam_differences(net, normalise(canvases).double())}


def _apart(expected: Tensor, found: Tensor) -> float:
    return float((expected - found).abs().max() / expected.abs().max())
