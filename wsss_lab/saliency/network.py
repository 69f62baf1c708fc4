"""A salient-object network: trained on masks that GrabCut cuts out of boxes (Oh et al. 2017, Sec. 5.1 and 6.1)."""

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data import frames
from wsss_lab.data.canvas import augment, normalise
from wsss_lab.data.views import TrainView
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule, fit
from wsss_lab.networks.heads import DeepLab, deeplab
from wsss_lab.networks.inference import label_probabilities
from wsss_lab.networks.losses import pixel_loss
from wsss_lab.networks.machine import place, resolve_device
from wsss_lab.saliency.maps import quantise


def train_saliency(images: np.ndarray, masks: np.ndarray, start: dict[str, Tensor], backbone: dict, schedule: dict,
                   seed: int) -> dict:
    """Train a two-label DeepLab-LargeFOV (background, salient).

    The paper's detector has the ASPP head of DeepLab v2, whose branches score the last features directly: enough
    behind a deep ResNet, too little behind the shallow trunks used here.

    images: (N, s, s, 3) uint8. masks: (N, s, s) in {0, 1}, from boxes or from annotators.
    Returns {"state": state dict, "history": loss per iteration}.
    """
    backbone, schedule = Backbone.from_settings(backbone), Schedule(**schedule)
    device = resolve_device()
    torch.manual_seed(seed)
    net = deeplab(backbone, 2)
    backbone.load_start(net.trunk, start)
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    targets = torch.from_numpy(np.array(masks))

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(pixels), (schedule.batch,), generator=generator)
        x, y = augment(pixels[rows], targets[rows], generator)
        return normalise(x.to(device)), y.to(device)

    history = fit(place(net), draw, lambda net, x, y: pixel_loss(net(x), y), schedule, seed,
                  prepare=backbone.prepare)
    return {"state": net.cpu().state_dict(), "history": history}


def restore_saliency(state: dict[str, Tensor], backbone: dict) -> DeepLab:
    """The trained network in evaluation mode on the chosen device."""
    net = deeplab(Backbone.from_settings(backbone), 2)
    net.load_state_dict(state)
    return place(net).eval()


def saliency_frames(view: TrainView, state: dict[str, Tensor], backbone: dict) -> dict:
    """Saliency of every image of a view.

    Returns {"maps": frame (N, Hmax, Wmax) uint8}: foreground probability divided by its maximum in the image, times
    255, as the released maps of Oh et al. 2017 store it.
    """
    net = restore_saliency(state, backbone)
    maps = (quantise(foreground) for _, foreground in label_probabilities(net, view, backbone["side"]))
    return {"maps": frames.stack(view, maps, fill=0)}
