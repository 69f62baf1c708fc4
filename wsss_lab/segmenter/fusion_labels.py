"""Labels and attention from the trained network of Roy & Todorovic 2017 (Secs. 4, 5 and 7)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import ParameterError
from wsss_lab.networks.fusion_net import FusionNet
from wsss_lab.networks.inference import device_of
from wsss_lab.refinement.crf_rnn import message_kernel, unary
from wsss_lab.refinement.label_frames import label_frames
from wsss_lab.seeds.top_down import cell_weights
from wsss_lab.segmenter.fusion import Method, attention_of, restore_fusion, with_background

PRIORS = ("attention", "image", "none")
TAGS = ("predicted", "known")
PRESENCE = 0.5  # p(y|x) of a class that is predicted; our choice


class Seen(NamedTuple):
    """What the network says of a batch. maps: f, before Eq. (1); attention: p^A (Eq. 4) or None where it isn't asked
    for, both (B, K, h, w). scores: logits (B, K). present: bool (B, K), the labels that get attention. kernel: of the
    CRF-RNN."""

    maps: Tensor
    attention: Tensor | None
    scores: Tensor
    present: Tensor
    kernel: Tensor


def predicted_labels(scores: Tensor) -> Tensor:
    """Labels that an image is taken to show: bool (B, K), from logits (B, K), background first.

    Background always; classes with p(y|x) above PRESENCE, and at least the likeliest one.
    """
    present = scores.sigmoid() > PRESENCE
    present[torch.arange(len(scores)), 1 + scores[:, 1:].argmax(1)] = True
    present[:, 0] = True
    return present


@torch.no_grad()
def looked_at(net: FusionNet, method: Method, view: TrainView, side: int, tags: str, attend: bool = True,
              batch: int = 16) -> Iterator[tuple[range, np.ndarray, Seen]]:
    """Yield (indices, boxes, Seen) of the images of a view, batch by batch.

    tags: "predicted", as a method at test time must do, or "known". attend: whether attention is worked out. Raises
    ParameterError for another word.
    """
    if tags not in TAGS:
        raise ParameterError(f"tags='{tags}' is not known", " or ".join(TAGS))
    for first in range(0, len(view), batch):
        indices = range(first, min(first + batch, len(view)))
        images, boxes = view.canvas(indices, side)
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

    prior: "attention", p^A of every position (Eq. 11); "image", p(y|x) at all of them; "none".
    Raises ParameterError for another word.
    """
    if prior not in PRIORS:
        raise ParameterError(f"prior='{prior}' is not known", " or ".join(PRIORS))
    p_s = seen.maps.softmax(1)
    other = torch.ones_like(p_s) if prior == "none" else seen.scores.sigmoid()[..., None, None]
    return net.crf(unary(p_s, seen.attention if prior == "attention" else other), seen.kernel)


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
    net = restore_fusion(state, backbone, method)
    batches = looked_at(net, Method.from_settings(method), view, backbone["side"], tags)
    return {"maps": np.concatenate([seen.attention.cpu().numpy().astype(np.float16) for _, _, seen in batches])}


@torch.no_grad()
def class_maps(view: TrainView, state: dict, backbone: dict, method: dict) -> dict:
    """The label maps f of all classes, negative values 0: {"maps": float16 (N, C, h, w)} on the canvas.

    Divided by their maximum they are class activation maps: each score is a sum over positions of its own map.
    """
    net = restore_fusion(state, backbone, method)
    batches = looked_at(net, Method.from_settings(method), view, backbone["side"], "known", attend=False)
    return {"maps": np.concatenate([seen.maps[:, 1:].relu().cpu().numpy().astype(np.float16)
                                    for _, _, seen in batches])}
