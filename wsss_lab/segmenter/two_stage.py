"""A second network trained on the labels of the first (Araslanov & Roth 2020, App. E), or on the ground truth."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.data.views import TrainView
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import labelled_batches
from wsss_lab.networks.deeplab_v3plus import DeepLabV3Plus
from wsss_lab.networks.fit import Schedule, fit
from wsss_lab.networks.inference import averaged_maps
from wsss_lab.networks.losses import pixel_loss
from wsss_lab.networks.machine import place
from wsss_lab.refinement.label_frames import label_frames


def train_second_stage(view: TrainView, pseudo_masks: np.ndarray, start: dict[str, Tensor], backbone: dict,
                       schedule: dict, seed: int, aspp_statistics: str = "frozen") -> dict:
    """Train a plain DeepLabv3+ (no gate) with cross-entropy on labels, as in full supervision.

    pseudo_masks: frame (N, Hmax, Wmax) uint8, 255 = ignore. start: state dict of the pre-trained trunk.
    aspp_statistics: see wsss_lab.networks.deeplab_v3plus.
    Returns {"state": state dict, "history": loss per iteration}.
    """
    backbone, schedule = Backbone.from_settings(backbone), Schedule(**schedule)
    torch.manual_seed(seed)
    net = DeepLabV3Plus(backbone, len(view.classes) + 1, mode="none", aspp_statistics=aspp_statistics)
    backbone.load_start(net.trunk, start)

    def loss_of(net: DeepLabV3Plus, images: Tensor, labels: Tensor, _pixels: Tensor, _tags: Tensor) -> Tensor:
        scores = F.interpolate(net(images), size=labels.shape[-2:], mode="bilinear", align_corners=True)
        return pixel_loss(scores, labels)

    batches = labelled_batches(view, pseudo_masks, backbone.side, schedule.batch, crop_and_jitter)
    history = fit(place(net), batches, loss_of, schedule, seed, prepare=net.prepare)
    return {"state": net.cpu().state_dict(), "history": history}


def segment_second_stage(view: TrainView, state: dict[str, Tensor], backbone: dict, scales: Sequence[float],
                         crf: dict | None = None) -> dict:
    """Label every image of a view without its tags: {"masks": frame, "refined": frame after the CRF}."""
    net = DeepLabV3Plus(Backbone.from_settings(backbone), len(view.classes) + 1, mode="none")
    net.load_state_dict(state)
    net = place(net).eval()

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        scores = net(images).float()
        return scores.softmax(1), scores.amax((2, 3))

    def masks() -> Iterator[np.ndarray]:
        for each, _ in averaged_maps(net, run, view, backbone["side"], scales):
            yield each.numpy()

    return label_frames(view, masks(), crf)
