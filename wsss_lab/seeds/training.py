"""Training of the classifiers that give seeds; they see images and tags only."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data.canvas import normalise
from wsss_lab.data.views import TrainView
from wsss_lab.networks.backbones import Backbone, restore, train
from wsss_lab.networks.batches import tagged_batches
from wsss_lab.networks.heads import GapNet, gap_net
from wsss_lab.networks.inference import batches_of
from wsss_lab.networks.losses import tag_loss
from wsss_lab.networks.machine import resolve_device
from wsss_lab.seeds.backprop import backprop_maps
from wsss_lab.seeds.cam import raw_class_maps


def train_classifier(view: TrainView, start: dict[str, Tensor], variant: str, backbone: dict, schedule: dict,
                     seed: int, score=GapNet.forward, features: np.ndarray | None = None) -> dict:
    """Train one GAP network on images and tags (Oh et al. 2017, Sec. 4.1 and Supp. B).

    start: state dict of the pre-trained trunk. variant: a column of Table 6. backbone, schedule: settings.
    score: (net, images) -> class scores. features: of the frozen layers, see `tagged_batches`.
    Returns {"state": state dict, "history": loss per iteration}.
    """
    return train(lambda backbone: gap_net(variant, backbone, len(view.classes)),
                 partial(tagged_batches, view, features=features),
                 lambda net, images, tags: tag_loss(score(net, images), tags), start, backbone, schedule, seed)


def restore_classifier(state: dict[str, Tensor], variant: str, backbone: dict) -> GapNet:
    """The trained network in evaluation mode on the chosen device."""
    return restore(gap_net(variant, Backbone.from_settings(backbone), len(state["classifier.weight"])), state)


@torch.inference_mode()
def classifier_outputs(view: TrainView, state: dict[str, Tensor], variant: str, backbone: dict) -> dict:
    """What a trained classifier says about a view, on the canvas grid.

    Returns {"maps": class maps, float16 (N, C, h, w), signed, all classes; "scores": float32 (N, C) logits}.
    """
    side, scores = backbone["side"], []
    net = restore_classifier(state, variant, backbone)
    maps = raw_class_maps(net, view, side)
    for _, images, _ in batches_of(view, side):
        scores.append(net(normalise(images.to(resolve_device()))).float().cpu())
    return {"maps": maps, "scores": torch.cat(scores)}


def backprop_outputs(view: TrainView, state: dict[str, Tensor], variant: str, backbone: dict, method: str,
                     stride: int) -> dict:
    """Back-propagation maps of a trained classifier (see wsss_lab.seeds.backprop.backprop_maps)."""
    net = restore_classifier(state, variant, backbone)
    return {"maps": backprop_maps(net, view, backbone["side"], method, stride=stride)}


# ---------------------------------------------------------------------------------------------------------------------
# Global average pooling before or after the last linear layer: one function (Oh et al. 2017, Supp. B.1).
#
# Pooling first gives s_c = sum_k w_ck mean_u f_k(u), pooling last s_c = mean_u sum_k w_ck f_k(u).


def scores_pooled_last(net: GapNet, images: Tensor) -> Tensor:
    """Class scores with the pooling behind the linear layer: (B, 3, H, W) -> (B, C)."""
    return net.class_maps(images).mean((2, 3))


def train_pooled_last(view: TrainView, start: dict[str, Tensor], variant: str, backbone: dict, schedule: dict,
                      seed: int, features: np.ndarray | None = None) -> dict:
    """`train_classifier` with the pooling behind the linear layer, same start and batches."""
    return train_classifier(view, start, variant, backbone, schedule, seed, scores_pooled_last, features)


def compare_poolings(view: TrainView, state: dict[str, Tensor], variant: str, backbone: dict, images: int = 8) -> dict:
    """How far both orders of pooling are apart on a trained network's first images, in double precision.

    Returns {"differences": {"scores": ..., "gradients": ...}}, the largest absolute difference of the scores, and of
    the gradient of the tag loss with respect to any weight, relative to the largest score or gradient.
    """
    net = restore_classifier(state, variant, backbone).cpu().double()
    images, _ = view.canvas(range(min(images, len(view))), backbone["side"])
    tags = torch.tensor(view.tags[:len(images)], dtype=torch.float64)
    return {"differences": pooling_differences(net, normalise(images).double(), tags)}


def pooling_differences(net: GapNet, images: Tensor, tags: Tensor) -> dict[str, float]:
    """Relative differences of both orders of pooling, see `compare_poolings`; images (B, 3, H, W), tags (B, C)."""
    weights = [weight for weight in net.parameters() if weight.requires_grad]

    def scores_and_gradients(score) -> tuple[Tensor, Tensor]:
        scores = score(net, images)
        gradients = torch.autograd.grad(tag_loss(scores, tags), weights)
        return scores.detach(), torch.cat([gradient.flatten() for gradient in gradients])

    first, last = (scores_and_gradients(score) for score in (GapNet.forward, scores_pooled_last))
    apart = [float((a - b).abs().max() / a.abs().max()) for a, b in zip(first, last, strict=True)]
    return {"scores": apart[0], "gradients": apart[1]}
