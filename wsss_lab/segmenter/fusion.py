"""One training from image tags: classification, and segmentation that follows its own attention (Roy & Todorovic 2017).

The network's attention is its teacher: the segmentation loss pulls the label maps towards the attention maps that the
same network gives for the tags of a training image (Secs. 4 to 6). No mask is read.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import one_of
from wsss_lab.networks.backbones import Backbone, restore, train
from wsss_lab.networks.batches import pixel_batches
from wsss_lab.networks.fit import Curves
from wsss_lab.networks.inference import batches_of, device_of
from wsss_lab.refinement.crf_rnn import ITERATIONS, message_kernel, unary
from wsss_lab.refinement.dense_crf import label_frames
from wsss_lab.seeds.fusion_net import FusionNet
from wsss_lab.seeds.top_down import Attention, cell_weights

WEIGHT = 1.5  # lambda of Eq. (13), Sec. 6
COMPARED = ("both", "crf", "softmax")
_LEAST = 1e-6


@dataclass(frozen=True)
class Method:
    """The switches of one training; the defaults are the full approach.

    attention: see wsss_lab.seeds.top_down. aggregation: one of wsss_lab.seeds.fusion_net.AGGREGATIONS. weight: lambda
    of Eq. (13), 0 = the classification loss alone. prior: whether attention is part of the unary (Eq. 11). iterations:
    of the CRF-RNN, 0 = without. compared: which p^S stands in Eq. (15), that of the CRF-RNN ("crf"), of Eq. (1)
    ("softmax") or the mean of both losses ("both").
    """

    attention: Attention = field(default_factory=Attention)
    aggregation: str = "FCL"
    weight: float = WEIGHT
    prior: bool = True
    iterations: int = ITERATIONS
    compared: str = "both"

    def __post_init__(self):
        one_of("compared", self.compared, COMPARED)

    def settings(self) -> dict:
        """As plain JSON values, for the settings of a step."""
        return asdict(self)

    @classmethod
    def from_settings(cls, settings: dict) -> "Method":
        """The inverse of `settings`."""
        return cls(**{**settings, "attention": Attention(**settings["attention"])})

    def network(self, backbone: Backbone, classes: int) -> FusionNet:
        """The network that this method trains; background is its label 0."""
        return FusionNet(backbone, classes + 1, self.aggregation, self.iterations)


def classification_loss(scores: Tensor, present: Tensor) -> Tensor:
    r"""Balanced loss of the image's labels (Eq. 14), its mean over images.

    .. math:: \Delta^C = -\frac1{|Y|} \sum_{y \in Y} \log p(y) - \frac1{|\bar Y|} \sum_{y \in \bar Y} \log(1 - p(y))

    scores: logits (B, K), p = sigmoid. present: bool (B, K), Y. A sum over no label is 0.

    >>> round(classification_loss(torch.zeros(1, 5), torch.tensor([[True, True, False, False, False]])).item(), 4)
    1.3863
    """
    present = present.to(scores.dtype)
    each = F.binary_cross_entropy_with_logits(scores, present, reduction="none")
    absent = 1 - present
    mean = (each * present).sum(1) / present.sum(1).clamp(min=1)
    return (mean + (each * absent).sum(1) / absent.sum(1).clamp(min=1)).mean()


def segmentation_loss(p_s: Tensor, p_a: Tensor, present: Tensor) -> Tensor:
    r"""How far the label maps are from the attention maps of the present labels (Eq. 15), its mean over images.

    .. math:: \Delta^S = -\frac1{N |Y|} \sum_i \sum_{y \in Y} p^A_i \log p^S_i + (1 - p^A_i) \log(1 - p^S_i)

    p_s: probabilities (B, K, h, w), kept a millionth away from 0 and 1. p_a: targets of the same shape, constants.
    present: bool (B, K), at least one in each image.
    """
    p_s = p_s.clamp(_LEAST, 1 - _LEAST)
    p_a = p_a.detach()
    each = -(p_a * p_s.log() + (1 - p_a) * (1 - p_s).log()).mean((2, 3))
    present = present.to(each.dtype)
    return ((each * present).sum(1) / present.sum(1)).mean()


class Losses:
    """The loss of one training (Eq. 13). warm_up: iterations with the classification loss alone.

    curves: name -> value per iteration of both losses.
    """

    def __init__(self, method: Method, warm_up: int):
        self.method, self.warm_up, self.curves = method, warm_up, Curves()

    def __call__(self, net: FusionNet, pixels: Tensor, tags: Tensor) -> Tensor:
        """Total loss of a batch. pixels: uint8 (B, 3, H, W), as augmented. tags: (B, C) in {0, 1}."""
        method, features = self.method, net.features(normalise(pixels))
        maps = net.scores(features).float()
        present = with_background(tags.bool())
        classification = classification_loss(net.aggregation(maps), present)
        segmentation = torch.zeros_like(classification)
        if method.weight and self.curves.iteration >= self.warm_up:
            weights = cell_weights(pixels, maps.shape[2:])
            attention = attention_of(net, method, weights, features.detach(), present)
            segmentation = self.segmentation(net, maps, attention, weights, present)
        self.curves.write({"classification": classification, "segmentation": segmentation})
        return classification + method.weight * segmentation

    def segmentation(self, net: FusionNet, maps: Tensor, attention: Tensor, weights: Tensor, present: Tensor) -> Tensor:
        """Eq. (15) with the p^S that the method compares. attention: (B, K, h, w) of `attention_of`. weights: of the
        cells, see there."""
        before = maps.softmax(1)
        losses = []
        if self.method.compared != "crf" or not self.method.iterations:
            losses.append(segmentation_loss(before, attention, present))
        if self.method.compared != "softmax" and self.method.iterations:
            prior = attention if self.method.prior else torch.ones_like(attention)
            after = net.crf(unary(before, prior), message_kernel(weights))
            losses.append(segmentation_loss(after, attention, present))
        return sum(losses) / len(losses)


def with_background(tags: Tensor) -> Tensor:
    """Present labels (B, 1 + C), bool: the background in every image, and its tags (B, C)."""
    return torch.cat([torch.ones_like(tags[:, :1]), tags], 1)


def attention_of(net: FusionNet, method: Method, weights: Tensor, features: Tensor, present: Tensor) -> Tensor:
    """Attention p^A of every label, (B, K, h, w) float32 without gradient, see Attention.label_attention.

    weights: similarity of the cells of the images' grid, see wsss_lab.seeds.top_down.cell_weights. features:
    FusionNet.features of the images. present: bool (B, K). In full precision also where the training isn't: shares of
    attention over a whole layer are small numbers.
    """
    with torch.autocast(weights.device.type, enabled=False):
        return method.attention.label_attention(net, features.float(), present, weights)


def train_fusion(view: TrainView, start: dict[str, Tensor], backbone: dict, schedule: dict, seed: int, method: dict,
                 warm_up: int) -> dict:
    """Train on images and tags alone (Sec. 6).

    start: state dict of the pre-trained trunk. method: settings of `Method`. warm_up: see `Losses`.
    Returns {"state": state dict, "history": total loss per iteration, "curves": see `Losses`}.
    """
    method = Method.from_settings(method)
    losses = Losses(method, warm_up)
    trained = train(lambda backbone: method.network(backbone, len(view.classes)), partial(pixel_batches, view), losses,
                    start, backbone, schedule, seed)
    return trained | {"curves": dict(losses.curves)}


def restore_fusion(state: dict[str, Tensor], backbone: dict, method: dict) -> FusionNet:
    """The trained network in evaluation mode on the chosen device."""
    classes = len(state["classifier.bias"]) - 1
    return restore(Method.from_settings(method).network(Backbone.from_settings(backbone), classes), state)


# ---------------------------------------------------------------------------------------------------------------------
# Labels and attention from the trained network of Roy & Todorovic 2017 (Secs. 4, 5 and 7).


TAGS = ("predicted", "known")
PRESENCE = 0.5  # p(y|x) of a class that is predicted; our choice


class Seen(NamedTuple):
    """What the network says of a batch."""

    maps: Tensor  # f, before Eq. (1): (B, K, h, w)
    attention: Tensor | None  # p^A (Eq. 4) of the same shape, None where it isn't asked for
    scores: Tensor  # logits (B, K)
    present: Tensor  # bool (B, K), the labels that get attention
    kernel: Tensor  # of the CRF-RNN


def predicted_labels(scores: Tensor) -> Tensor:
    """Labels that an image is taken to show: bool (B, K), from logits (B, K), background first.

    Background always; classes with p(y|x) above PRESENCE, and at least the likeliest one.
    """
    present = scores.sigmoid() > PRESENCE
    present[torch.arange(len(scores)), 1 + scores[:, 1:].argmax(1)] = True
    present[:, 0] = True
    return present


@torch.no_grad()
def looked_at(net: FusionNet, method: Method, view: TrainView, side: int, tags: str,
              attend: bool = True) -> Iterator[tuple[range, np.ndarray, Seen]]:
    """Yield (indices, boxes, Seen) of the images of a view, batch by batch.

    tags: "predicted", as a method at test time must do, or "known". attend: whether attention is worked out. Raises
    ParameterError for another word.
    """
    one_of("tags", tags, TAGS)
    for indices, images, boxes in batches_of(view, side, 16):
        images = images.to(device_of(net))
        features = net.features(normalise(images))
        maps = net.scores(features).float()
        scores = net.aggregation(maps)
        known = torch.tensor(view.tags[list(indices)], device=scores.device)
        present = with_background(known) if tags == "known" else predicted_labels(scores)
        weights = cell_weights(images, maps.shape[2:])
        attention = attention_of(net, method, weights, features, present) if attend else None
        yield indices, boxes, Seen(maps, attention, scores, present, message_kernel(weights))


def fused(net: FusionNet, seen: Seen, prior: str = "attention") -> Tensor:
    """Probabilities of all labels (B, K, h, w): p^S with a prior, after the network's CRF-RNN.

    prior: "attention", p^A of every position (Eq. 11); "image", p(y|x) at all of them; "none"; else ParameterError.
    """
    p_s = seen.maps.softmax(1)
    priors = {"attention": seen.attention, "image": seen.scores.sigmoid()[..., None, None],
              "none": torch.ones_like(p_s)}
    return net.crf(unary(p_s, priors[one_of("prior", prior, priors)]), seen.kernel)


@torch.no_grad()
def segment_fusion(view: TrainView, state: dict[str, Tensor], backbone: dict, method: dict, prior: str = "attention",
                   iterations: int | None = None, tags: str = "predicted", crf: dict | None = None) -> dict:
    """Label every image of a view.

    prior: see `fused`. iterations: of the CRF-RNN, None = as trained. tags: which classes get attention, "predicted" or
    "known". crf: parameters of a dense CRF for "refined", None = off.
    Returns {"masks": frame (N, Hmax, Wmax) uint8 of labels, "refined": the same after the dense CRF, "scores": float32
    (N, K), logits of the image's labels}.
    """
    net, side = restore_fusion(state, backbone, method), backbone["side"]
    net.crf.iterations = net.crf.iterations if iterations is None else iterations
    scores: list[np.ndarray] = []

    def masks() -> Iterator[np.ndarray]:
        batches = looked_at(net, Method.from_settings(method), view, side, tags, attend=prior == "attention")
        for indices, boxes, seen in batches:
            scores.append(seen.scores.cpu().numpy())
            for index, each, box in zip(indices, fused(net, seen, prior).cpu(), boxes):
                yield from_canvas(each, box, side, view.size(index)).numpy()

    return label_frames(view, masks(), crf) | {"scores": np.concatenate(scores)}


def attention_maps(view: TrainView, state: dict[str, Tensor], backbone: dict, method: dict,
                   tags: str = "known") -> dict:
    """Attention p^A of every image on the canvas: {"maps": float16 (N, K, h, w), background first, summing to 1}.

    method: may differ from the trained one in its attention. tags: see `looked_at`.
    """
    return _maps(view, state, backbone, method, lambda seen: seen.attention, tags)


def class_maps(view: TrainView, state: dict, backbone: dict, method: dict) -> dict:
    """The label maps f of all classes, negative values 0: {"maps": float16 (N, C, h, w)} on the canvas.

    Divided by their maximum they are class activation maps: each score is a sum over positions of its own map.
    """
    return _maps(view, state, backbone, method, lambda seen: seen.maps[:, 1:].relu(), attend=False)


@torch.no_grad()
def _maps(view: TrainView, state: dict, backbone: dict, method: dict, of: Callable[[Seen], Tensor], tags: str = "known",
          attend: bool = True) -> dict:
    net = restore_fusion(state, backbone, method)
    batches = looked_at(net, Method.from_settings(method), view, backbone["side"], tags, attend)
    return {"maps": np.concatenate([of(seen).cpu().numpy().astype(np.float16) for _, _, seen in batches])}
