"""One network, one training: classification and self-supervised segmentation together (Araslanov & Roth 2020)."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.data.canvas import normalise
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.data.views import TrainView
from wsss_lab.errors import one_of
from wsss_lab.fusion.confident import BACKGROUND_CONFIDENCE, CONFIDENCE, LEAST, confident_labels
from wsss_lab.networks.backbones import Backbone, restore, train
from wsss_lab.networks.batches import pixel_batches
from wsss_lab.networks.deeplab_v3plus import DeepLabV3Plus
from wsss_lab.networks.fit import Curves
from wsss_lab.networks.inference import averaged_maps, device_of
from wsss_lab.networks.losses import IGNORE
from wsss_lab.refinement.dense_crf import label_frames
from wsss_lab.refinement.pamr import DILATIONS, ITERATIONS, pamr_present, pamr_steps
from wsss_lab.seeds import weighted_pooling
from wsss_lab.seeds.weighted_pooling import class_scores, masks_of, soft_margin_loss, with_background

# ---------------------------------------------------------------------------------------------------------------------
# The self-supervised pixel loss of Araslanov & Roth 2020 (App. B.2).


AVERAGES = ("released", "paper")


def class_weights(labels: Tensor, classes: int) -> Tensor:
    r"""Balancing weight of every label of every image (Eq. 22): rare labels count more.

    .. math:: q_{b,c} = \frac{M_{b,total} - M_{b,c}}{1 + M_{b,total}}

    labels: integers (B, H, W), 255 = ignore. classes: K, background included. Returns float (B, K) in [0, 1).

    >>> class_weights(torch.tensor([[[0, 0, 0, 1]]]), 2).tolist()
    [[0.20000000298023224, 0.6000000238418579]]
    """
    flat = labels.flatten(1)
    counts = torch.zeros(len(flat), classes + 1, device=labels.device)
    counts.scatter_add_(1, torch.where(flat == IGNORE, classes, flat), torch.ones(flat.shape, device=labels.device))
    counts = counts[:, :classes]
    total = counts.sum(1, keepdim=True)
    return (total - counts) / (1 + total)


def balanced_pixel_loss(scores: Tensor, labels: Tensor, average: str = "released") -> Tensor:
    r"""Cross-entropy with class weights: :math:`-q_c \log m_{c,ij}` at label c (Eq. 21), 0 where it is ignored.

    scores: (B, K, H, W), before the softmax, background first. labels: integers (B, H, W), 255 = ignore.
    average: "released", the mean over all pixels of all images, ignored ones included; "paper", Eq. (23), the mean
    over the pixels of an image, images weighted by their share of the batch's labelled pixels.
    Returns a scalar, 0 without any label. Raises ParameterError for another average.
    """
    one_of("average", average, AVERAGES)
    weights = class_weights(labels, scores.shape[1])
    known = labels != IGNORE
    of_pixel = weights.gather(1, labels.flatten(1).clamp(max=scores.shape[1] - 1)).view(labels.shape)
    losses = F.cross_entropy(scores.float(), labels, ignore_index=IGNORE, reduction="none")
    of_image = (losses * of_pixel * known).mean((1, 2))
    if average == "released":
        return of_image.mean()
    labelled = known.sum((1, 2)).float()
    return (labelled * of_image).sum() / labelled.sum().clamp(min=1)


@dataclass(frozen=True)
class Method:
    """The switches of the paper's ablations; the defaults are its final model (Sec. 4.3).

    power, floor: p and lambda of the size penalty; penalty: False leaves it out. epsilon: of the weighted pooling.
    psi, gate, cue, aspp_statistics: see wsss_lab.networks.deeplab_v3plus. dilations, iterations, bandwidth: of PAMR, 0
    iterations = without it. average: see `balanced_pixel_loss`. least: see wsss_lab.fusion.confident.
    """

    power: float = weighted_pooling.POWER
    floor: float = weighted_pooling.FLOOR
    penalty: bool = True
    epsilon: float = weighted_pooling.EPSILON
    psi: float = 0.3
    gate: str = "stochastic"
    cue: str = "released"
    dilations: tuple[int, ...] = DILATIONS
    iterations: int = ITERATIONS
    bandwidth: str = "released"
    average: str = "released"
    least: float = LEAST
    aspp_statistics: str = "frozen"

    def settings(self) -> dict:
        """As plain JSON values, for the settings of a step."""
        return asdict(self) | {"dilations": list(self.dilations)}

    def network(self, backbone: Backbone, classes: int) -> DeepLabV3Plus:
        """The network that this method trains: one output per class, as the background's score is constant."""
        return DeepLabV3Plus(backbone, classes, self.psi, self.gate, self.cue, self.aspp_statistics)

    def refined(self, images: Tensor, masks: Tensor, tags: Tensor) -> Tensor:
        """Masks after PAMR, on their own grid; planes of classes that are not tags are 0.

        images: (B, 3, H, W) in 0..255. masks: (B, 1 + C, h, w). tags: (B, C).
        """
        small = F.interpolate(images.float() / 255, size=masks.shape[-2:], mode="bilinear", align_corners=True)
        return pamr_present(small, masks, tags, self.dilations, self.iterations, self.bandwidth)

    def pseudo_labels(self, refined: Tensor, tags: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Pseudo ground truth of a size in pixels, see wsss_lab.fusion.confident.confident_labels."""
        grown = F.interpolate(refined, size=size, mode="bilinear", align_corners=True)
        return confident_labels(grown, tags, CONFIDENCE, BACKGROUND_CONFIDENCE, self.least)


class Losses:
    """The loss of one training, and what is written down in each of its iterations.

    warm_up: iterations with the classification loss alone. snapshot: iterations after which the network's tensors are
    kept, 0 = they aren't. curves: name -> value per iteration: both losses, the share of images and of pixels with
    pseudo labels, and of the classes that are not among the tags: mean pixel score and the median sizes of the two
    terms of the class score. kept: tensors of a checkpoint beside them, those of the snapshot.
    """

    def __init__(self, method: Method, warm_up: int, snapshot: int = 0):
        self.method, self.warm_up, self.snapshot, self.curves = method, warm_up, snapshot, Curves()
        self.kept: dict[str, Tensor] = {}

    def __call__(self, net: DeepLabV3Plus, pixels: Tensor, tags: Tensor) -> Tensor:
        """Total loss of a batch. pixels: uint8 (B, 3, H, W), as augmented. tags: (B, C) in {0, 1}."""
        # Before the forward pass, which moves batch norms' statistics, and once: a batch may come in parts or again.
        if self.snapshot and self.curves.iteration == self.snapshot and not self.kept:
            self.kept.update({name: value.detach().cpu().clone() for name, value in net.state_dict().items()})
        method, scores = self.method, net(normalise(pixels)).float()
        pooled, penalty = class_scores(scores, method.power, method.floor, method.epsilon, method.penalty)
        classification = soft_margin_loss(pooled + penalty, tags)
        absent = tags == 0
        facts = {"classification": classification, "absent score": scores.mean((2, 3))[absent].mean(),
                 "absent pooling": pooled[absent].abs().median(), "absent penalty": penalty[absent].abs().median()}
        segmentation = torch.zeros_like(classification)
        if self.curves.iteration >= self.warm_up:
            with torch.no_grad():
                refined = method.refined(pixels, masks_of(scores), tags)
                labels, kept = method.pseudo_labels(refined, tags, pixels.shape[-2:])
            grown = F.interpolate(with_background(scores), size=pixels.shape[-2:], mode="bilinear", align_corners=True)
            segmentation = balanced_pixel_loss(grown, labels, method.average)
            facts |= {"kept images": kept.float().mean(), "labelled pixels": (labels != 255).float().mean()}
        facts["segmentation"] = segmentation
        self.curves.write(facts)
        return classification + segmentation


def train_single_stage(view: TrainView, start: dict[str, Tensor], backbone: dict, schedule: dict, seed: int,
                       method: dict, warm_up: int, snapshot: int = 0) -> dict:
    """Train on images and tags alone (Sec. 3 and 4.1).

    start: state dict of the pre-trained trunk. method: settings of `Method`. warm_up: see `Losses`. snapshot: keep
    the network as it was after so many iterations too, 0 = don't.
    Returns {"state": state dict, "history": total loss per iteration, "curves": see `Losses`, "early": the kept state
    dict, empty without a snapshot}.
    """
    method = Method(**method)
    losses = Losses(method, warm_up, snapshot)
    trained = train(lambda backbone: method.network(backbone, len(view.classes)),
                    partial(pixel_batches, view, change=crop_and_jitter), losses, start, backbone, schedule, seed,
                    lambda _backbone, net: net.prepare())
    return trained | {"curves": dict(losses.curves), "early": losses.kept}


def restore_single_stage(state: dict[str, Tensor], backbone: dict, method: dict) -> DeepLabV3Plus:
    """The trained network in evaluation mode on the chosen device."""
    classes = len(state["decoder.4.bias"])
    return restore(Method(**method).network(Backbone.from_settings(backbone), classes), state)


# ---------------------------------------------------------------------------------------------------------------------
# Labels from the trained network of Araslanov & Roth 2020 (Sec. 4.1), and what it makes of images in training.


PRESENCE = 0.1  # a class with less confidence than this is removed, Sec. 4.1
TAGS = ("predicted", "known")


def keep_present(masks: np.ndarray, present: np.ndarray, power: float = 1.0) -> np.ndarray:
    """Masks of one image without those of absent classes, the background's raised to a power.

    masks: (1 + C, H, W) in [0, 1], background first. present: bool (C,). power: 3 in the released code, which weakens
    the background; the paper has none (1). Returns float32 (1 + C, H, W), not summing to 1.

    >>> keep_present(np.array([0.5, 0.25, 0.25]).reshape(3, 1, 1), np.array([True, False]), 3).ravel().tolist()
    [0.125, 0.25, 0.0]
    """
    kept = np.concatenate([[True], np.asarray(present, bool)])[:, None, None]
    result = np.where(kept, masks, 0).astype(np.float32)
    result[0] **= power
    return result


def present_classes(view: TrainView, index: int, scores: Tensor, tags: str) -> np.ndarray:
    """Classes that may be labelled in an image, bool (C,): "known", its tags; "predicted", those whose score (C,), a
    logit, means a confidence of at least PRESENCE. Raises ParameterError for another word."""
    one_of("tags", tags, TAGS)
    return view.tags[index] if tags == "known" else scores.sigmoid().numpy() >= PRESENCE


def segment_single_stage(view: TrainView, state: dict[str, Tensor], backbone: dict, method: dict,
                         scales: Sequence[float], tags: str = "predicted", power: float = 1.0,
                         crf: dict | None = None) -> dict:
    """Label every image of a view: masks are the mean over scales and mirror images, the best one wins.

    tags: "predicted", as a method at test time must do, or "known", with the image's own tags (Tables 2 and 9).
    power: of the background, see `keep_present`. crf: dense CRF parameters for "refined", None = off.
    Returns {"masks": frame (N, Hmax, Wmax) uint8 of labels, "refined": the same after the CRF, "scores": float32
    (N, C), the largest class scores (logits) over scales}.
    """
    net, method = restore_single_stage(state, backbone, method), Method(**method)
    scores: list[np.ndarray] = []

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        pixel_scores = net(images).float()
        terms = class_scores(pixel_scores, method.power, method.floor, method.epsilon, method.penalty)
        return masks_of(pixel_scores), sum(terms)

    def masks() -> Iterator[np.ndarray]:
        for index, (each, score) in enumerate(averaged_maps(net, run, view, backbone["side"], scales)):
            scores.append(score.numpy())
            yield keep_present(each.numpy(), present_classes(view, index, score, tags), power)

    return label_frames(view, masks(), crf) | {"scores": np.stack(scores)}


@torch.inference_mode()
def training_pictures(view: TrainView, state: dict[str, Tensor], backbone: dict, method: dict,
                      images: Sequence[int]) -> dict:
    """What the loss sees of some images, unaugmented, at the state of a training (Figs. 6 and 10).

    Returns {"masks": float16 (n, iterations + 1, 1 + C, h, w), before PAMR and after each of its iterations, planes of
    absent classes 0; "labels": uint8 (n, side, side), the pseudo ground truth on the canvas, 255 = ignored}.
    """
    net, method, side = restore_single_stage(state, backbone, method), Method(**method), backbone["side"]
    canvases, _ = view.canvas(list(images), side)
    tags = torch.tensor(view.tags[list(images)])
    masks = masks_of(net(normalise(canvases.to(device_of(net))))).cpu()
    small = F.interpolate(canvases.float() / 255, size=masks.shape[-2:], mode="bilinear", align_corners=True)
    steps = torch.stack(list(pamr_steps(small, masks, method.dilations, method.iterations, method.bandwidth)), 1)
    present = torch.cat([torch.ones_like(tags[:, :1]), tags], 1)[:, None, :, None, None]
    steps = steps * present
    labels, _ = method.pseudo_labels(steps[:, -1], tags, (side, side))
    return {"masks": steps.half().numpy(), "labels": labels.to(torch.uint8).numpy()}
