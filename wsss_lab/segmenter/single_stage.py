"""One network, one training: classification and self-supervised segmentation together (Araslanov & Roth 2020)."""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.data.canvas import normalise
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.data.views import TrainView
from wsss_lab.fusion.confident import BACKGROUND_CONFIDENCE, CONFIDENCE, LEAST, confident_labels
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import pixel_batches
from wsss_lab.networks.deeplab_v3plus import DeepLabV3Plus
from wsss_lab.networks.fit import Curves, Schedule, fit
from wsss_lab.networks.machine import place
from wsss_lab.refinement.pamr import DILATIONS, ITERATIONS, pamr_present
from wsss_lab.seeds.weighted_pooling import (
    EPSILON,
    FLOOR,
    POWER,
    class_scores,
    masks_of,
    soft_margin_loss,
    with_background,
)
from wsss_lab.segmenter.balanced_loss import balanced_pixel_loss


@dataclass(frozen=True)
class Method:
    """The switches of the paper's ablations; the defaults are its final model (Sec. 4.3).

    power, floor: p and lambda of the size penalty; penalty: False leaves it out. epsilon: of the weighted pooling.
    psi, gate, cue, aspp_statistics: see wsss_lab.networks.deeplab_v3plus. dilations, iterations,
    bandwidth: of PAMR, 0 iterations = without it. average: see wsss_lab.segmenter.balanced_loss. least: see
    wsss_lab.fusion.confident.
    """

    power: float = POWER
    floor: float = FLOOR
    penalty: bool = True
    epsilon: float = EPSILON
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
        self.method, self.warm_up, self.snapshot = method, warm_up, snapshot
        self.curves = Curves()
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
    backbone, schedule, method = Backbone.from_settings(backbone), Schedule(**schedule), Method(**method)
    torch.manual_seed(seed)
    net = method.network(backbone, len(view.classes))
    backbone.load_start(net.trunk, start)
    losses = Losses(method, warm_up, snapshot)
    batches = pixel_batches(view, backbone.side, schedule.batch, crop_and_jitter)
    history = fit(place(net), batches, losses, schedule, seed, prepare=net.prepare)
    return {"state": net.cpu().state_dict(), "history": history, "curves": dict(losses.curves), "early": losses.kept}


def restore_single_stage(state: dict[str, Tensor], backbone: dict, method: dict) -> DeepLabV3Plus:
    """The trained network in evaluation mode on the chosen device."""
    classes = len(state["decoder.4.bias"])
    net = Method(**method).network(Backbone.from_settings(backbone), classes)
    net.load_state_dict(state)
    return place(net).eval()
