"""A salient-object network: trained on masks that GrabCut cuts out of boxes (Oh et al. 2017, Sec. 5.1 and 6.1)."""

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data.canvas import augment, normalise
from wsss_lab.data.views import TrainView
from wsss_lab.networks.backbones import Backbone, restore, train
from wsss_lab.networks.heads import DeepLab, deeplab
from wsss_lab.networks.inference import label_probabilities
from wsss_lab.networks.losses import pixel_loss
from wsss_lab.networks.machine import resolve_device
from wsss_lab.saliency.maps import saliency_frame


def train_saliency(images: np.ndarray, masks: np.ndarray, start: dict[str, Tensor], backbone: dict, schedule: dict,
                   seed: int) -> dict:
    """Train a two-label DeepLab-LargeFOV (background, salient).

    The paper's detector has the ASPP head of DeepLab v2, whose branches score the last features directly: enough
    behind a deep ResNet, too little behind the shallow trunks used here.

    images: (N, s, s, 3) uint8. masks: (N, s, s) in {0, 1}, from boxes or from annotators.
    Returns {"state": state dict, "history": loss per iteration}.
    """
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    targets = torch.from_numpy(np.array(masks))

    def batches(_side: int, batch: int):
        def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
            rows = torch.randint(len(pixels), (batch,), generator=generator)
            x, y = augment(pixels[rows], targets[rows], generator)
            return normalise(x.to(resolve_device())), y.to(resolve_device())

        return draw

    return train(lambda backbone: deeplab(backbone, 2), batches, lambda net, x, y: pixel_loss(net(x), y), start,
                 backbone, schedule, seed)


def restore_saliency(state: dict[str, Tensor], backbone: dict) -> DeepLab:
    """The trained network in evaluation mode on the chosen device."""
    return restore(deeplab(Backbone.from_settings(backbone), 2), state)


def saliency_frames(view: TrainView, state: dict[str, Tensor], backbone: dict) -> dict:
    """Saliency of every image of a view.

    Returns {"maps": frame (N, Hmax, Wmax) uint8}: foreground probability divided by its maximum in the image, times
    255, as the released maps of Oh et al. 2017 store it.
    """
    found = label_probabilities(restore_saliency(state, backbone), view, backbone["side"])
    return saliency_frame(view, (foreground for _, foreground in found))
