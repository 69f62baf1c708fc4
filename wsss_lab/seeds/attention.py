"""Attention maps of a fully convolutional classifier (Chaudhry et al. 2017, Sec. 4.1)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.data.canvas import canvas_box, from_canvas, normalise
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.evaluation.scoring import score_seeds
from wsss_lab.networks.backbones import Backbone, restore, train
from wsss_lab.networks.batches import augmentation, tagged_batches
from wsss_lab.networks.heads import AttentionNet, attention_net
from wsss_lab.networks.inference import SCALES, volumes

EPSILON = 1e-12


def class_loss(scores: Tensor, tags: Tensor) -> Tensor:
    r"""Independent sigmoid cross-entropies, Eq. (1) of Chaudhry et al. 2017.

    .. math:: \ell_c = \frac{1}{N} \sum_i -\bar z_i \log \sigma(\hat z_i) - (1 - \bar z_i) \log(1 - \sigma(\hat z_i))

    averaged over the classes too, as in the released code, so that it weighs as much as a mean over pixels.
    scores: (N, C) logits. tags: (N, C) in {0, 1}. Returns a scalar.
    """
    return F.binary_cross_entropy_with_logits(scores.float(), tags)


def train_attention(view: TrainView, start: dict[str, Tensor], backbone: dict, schedule: dict, seed: int,
                    pooling: str = "average", random_scale: Sequence[float] | None = None,
                    features: np.ndarray | None = None) -> dict:
    """Train the attention network on images and tags with Eq. (1) alone: the paper's first stage.

    start: state dict of the pre-trained trunk. schedule: trunk_lr 0 trains the new layers only, as the released code
    does. pooling: "average" or "max". random_scale: see `augmentation`.
    features: of the frozen layers, see `tagged_batches`.
    Returns {"state": state dict of the whole network, "history": loss per iteration}.
    """
    return train(lambda backbone: attention_net(backbone, len(view.classes) + 1, pooling),
                 lambda side, batch: tagged_batches(view, side, batch, augmentation(random_scale), features),
                 lambda net, images, tags: class_loss(net(images), tags), start, backbone, schedule, seed)


def restore_attention(state: dict[str, Tensor], backbone: dict, pooling: str = "average") -> AttentionNet:
    """The trained network in evaluation mode on the chosen device."""
    return restore(attention_net(Backbone.from_settings(backbone), len(state["attention.weight"]) + 1, pooling), state)


def attention_outputs(view: TrainView, state: dict[str, Tensor], backbone: dict, pooling: str = "average",
                      scales: Sequence[float] = SCALES) -> dict:
    """The attention volume of every image: maximum over the scales, on the canvas grid.

    Returns {"maps": float16 (N, C, h, w), signed, all classes; "scores": float32 (N, C) logits at scale 1}.
    """
    net, side = restore_attention(state, backbone, pooling), backbone["side"]
    maps = [volume.half().numpy() for _, volume, _ in volumes(net, net.class_maps, view, side, scales)]
    scores = [net.pool(volume[None])[0].numpy() for _, volume, _ in volumes(net, net.class_maps, view, side, (1.0,))]
    return {"maps": np.stack(maps), "scores": np.stack(scores)}


def normalise_slices(volume: np.ndarray, tags: np.ndarray) -> np.ndarray:
    r"""Each tag's slice of an attention volume between its own minimum and maximum.

    .. math:: A^c = \frac{V^c - \min V^c + \varepsilon}{\max(V^c - \min V^c + \varepsilon)}

    volume: (..., C, H, W), signed, at image size. tags: (..., C) bool. Returns float32 (..., C, H, W) in [0, 1], 0 for
    classes that are not tags. Every tag's map reaches 1 somewhere, also where its class cannot be seen. Source:
    Chaudhry et al. 2017, Sec. 4.1; epsilon from the released code.

    >>> normalise_slices(np.array([[[-1.0, 1.0, 3.0]], [[5.0, 6.0, 7.0]]]), np.array([True, False])).round(6).tolist()
    [[[0.0, 0.5, 1.0]], [[0.0, 0.0, 0.0]]]
    """
    volume = np.asarray(volume, np.float32)
    raised = volume - volume.min((-2, -1), keepdims=True)
    relative = (raised + EPSILON) / (raised.max((-2, -1), keepdims=True) + EPSILON)
    return np.where(np.asarray(tags, bool)[..., None, None], relative, 0).astype(np.float32)


def attention_maps(view: TrainView, maps: np.ndarray, side: int,
                   tags: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield the attention maps A of one image after another: float32 (C, H, W) in [0, 1].

    maps: (N, C, h, w) as `attention_outputs` gives them, on canvases of `side` pixels. tags: (N, C) bool of the
    slices that are kept; None means those of the view.
    """
    tags = view.tags if tags is None else np.asarray(tags, bool)
    for index in range(len(view)):
        size = view.size(index)
        grown = from_canvas(np.asarray(maps[index], np.float32), canvas_box(*size, side), side, size)
        yield normalise_slices(grown, tags[index])


def predicted_tags(scores: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Classes that a classifier sees in images whose tags are not known: those above the threshold, else the best one.

    scores: (N, C) logits. Returns bool (N, C).

    >>> predicted_tags(np.array([[2.0, -1.0, 0.5], [-3.0, -1.0, -2.0]])).astype(int).tolist()
    [[1, 0, 1], [0, 1, 0]]
    """
    scores = np.asarray(scores, np.float64)
    above = scores > np.log(threshold / (1 - threshold))
    return above | ((scores == scores.max(-1, keepdims=True)) & ~above.any(-1, keepdims=True))


def score_attention(view: EvalView, maps: np.ndarray, side: int) -> dict:
    """Precision and recall of attention maps over all thresholds: {"counts": int32 (N, 3, K, bins)}."""
    return {"counts": score_seeds(view, attention_maps(view, maps, side))}


# ---------------------------------------------------------------------------------------------------------------------
# Attention volumes and class activation maps are the same thing (Chaudhry et al. 2017, Sec. 4.1), shown in numbers.
#
# Class activation maps, M_c(m) = sum_k w_ck f_k(m) (Zhou et al. 2016, Eq. 2), belong to a network that pools its
# features first and classifies them with a linear layer then; the attention network has its class filters before the
# pooling.


def cam_differences(net: AttentionNet, images: Tensor) -> dict[str, float]:
    """Largest difference between the attention network and a classifier with the pooling in front of the same weights.

    net: in evaluation mode. images: normalised (B, 3, H, W). Returns {"maps": of V less its bias from the class
    activation maps, "scores": of the class scores}, each relative to the largest map value or score.
    """
    def apart(expected: Tensor, found: Tensor) -> float:
        return float((expected - found).abs().max() / expected.abs().max())

    with torch.no_grad():
        features, volume = net.scores(images), net.class_maps(images)
        weight, bias = net.attention.weight[:, :, 0, 0], net.attention.bias
        maps = torch.einsum("ck,bkhw->bchw", weight, features)
        scores = F.linear(features.mean((2, 3)), weight, bias)
        return {"maps": apart(maps, volume - bias[:, None, None]), "scores": apart(scores, net.pool(volume))}


def compare_with_cam(view: TrainView, state: dict[str, Tensor], backbone: dict, images: int = 8) -> dict:
    """`cam_differences` of a trained network on a view's first images, in double precision: {"differences": {...}}."""
    net = restore_attention(state, backbone).cpu().double()
    canvases, _ = view.canvas(range(min(images, len(view))), backbone["side"])
    return {"differences": cam_differences(net, normalise(canvases).double())}
