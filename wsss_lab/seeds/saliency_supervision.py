"""Classifiers whose localisation maps are taught by a saliency map (EPS, Lee et al. 2021), and their CAM baseline."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.data.resized_crop import crop_and_jitter, jitter_colours, jitter_factors
from wsss_lab.data.scale_crop import scale_crop
from wsss_lab.data.views import TrainView
from wsss_lab.errors import ParameterError
from wsss_lab.fusion.map_selection import Selection, saliency_loss
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import labelled_batches, tagged_batches
from wsss_lab.networks.deeplab_v3plus import freeze_trunk
from wsss_lab.networks.fit import Curves, Schedule, fit
from wsss_lab.networks.heads import GapNet
from wsss_lab.networks.machine import place
from wsss_lab.seeds.gap_cam import cam_net
from wsss_lab.seeds.weighted_pooling import average_pooling, soft_margin_loss


def localisation_net(backbone: Backbone, classes: int, background: bool) -> GapNet:
    """trunk -> 1x1 convolution without bias: localisation maps of the classes, and of a background that comes last.

    background: True for EPS (C + 1 maps, no dropout), False for the CAM baseline (C maps behind channel dropout;
    released code). `class_maps` gives the raw maps V, whose spatial mean is the class score.
    """
    return cam_net(replace(backbone, dropout=0.0), classes + 1) if background else cam_net(backbone, classes)


def scale_and_jitter(images: Tensor, labels: Tensor | None, generator: torch.Generator,
                     scales: Sequence[float]) -> tuple[Tensor, Tensor | None]:
    """Random scale, crop, mirror and colour jitter of the released code, on uint8 (B, 3, H, W) and labels (B, H, W).

    Where a shrunk image leaves room, the saliency that stands in `labels` is 0: supervised as background.
    """
    images, labels = scale_crop(images, labels, generator, *scales)
    return jitter_colours(images.float(), *jitter_factors(len(images), generator)).to(images.dtype), labels


def augmentation(random_scale: Sequence[float] | None):
    """How batches are changed: random scale between two factors, as in the paper, or None: crops of 90 % and more."""
    return crop_and_jitter if random_scale is None else partial(scale_and_jitter, scales=random_scale)


def classification_loss(maps: Tensor, tags: Tensor) -> Tensor:
    """Soft margin loss (Eq. 4) of the means of the first C raw maps: none of it reaches the background's map.

    maps: raw (B, C or C + 1, h, w). tags: (B, C) in {0, 1}. Returns a scalar.
    """
    return soft_margin_loss(average_pooling(maps[:, :tags.shape[1]]), tags)


class JointLoss:
    """Classification plus saliency loss (Sec. 3.3), and what is written down in each iteration.

    curves: name -> value per iteration: both losses, the share of tags that are foreground, and of pixels whose
    background map is above one half.
    """

    def __init__(self, selection: Selection):
        self.selection = selection
        self.curves = Curves()

    def __call__(self, net: GapNet, images: Tensor, saliency: Tensor, _pixels: Tensor, tags: Tensor) -> Tensor:
        """Total loss of a batch. images: normalised (B, 3, H, W). saliency: (B, H, W) in 0..255. tags: (B, C)."""
        raw = net.class_maps(images).float()
        maps = raw.softmax(1)
        # The released code brings saliency to the grid of the maps by nearest neighbour.
        target = F.interpolate(saliency[:, None].float() / 255, size=maps.shape[-2:], mode="nearest")[:, 0]
        estimated, chosen = self.selection.estimate(maps, target, tags)
        losses = classification_loss(raw, tags), saliency_loss(target, estimated)
        facts = {"classification": losses[0], "saliency": losses[1],
                 "selected tags": chosen.sum() / tags.sum().clamp(min=1),
                 "background": (maps[:, -1] > 0.5).float().mean()}
        self.curves.write(facts)
        return sum(losses)


def train_localisation(view: TrainView, start: dict[str, Tensor], backbone: dict, schedule: dict, seed: int,
                       selection: dict | None = None, saliency: np.ndarray | None = None,
                       random_scale: Sequence[float] | None = None) -> dict:
    """Train on images, tags and, for EPS, saliency maps that somebody else's detector made.

    start: state dict of the pre-trained trunk. selection: settings of a Selection; None trains the CAM baseline, with
    the classification loss alone and without a background map. saliency: saliency frame (N, Hmax, Wmax) uint8, needed
    with a selection. random_scale: see `augmentation`.
    Returns {"state": state dict, "history": total loss per iteration, "curves": see `JointLoss`, empty for CAM}.
    Raises ParameterError for a selection without saliency.
    """
    if selection is not None and saliency is None:
        raise ParameterError("saliency=None beside a map selection", "a saliency frame, uint8 (N, Hmax, Wmax)",
                             "give saliency maps, or selection=None for the CAM baseline")
    backbone, schedule = Backbone.from_settings(backbone), Schedule(**schedule)
    torch.manual_seed(seed)
    net = localisation_net(backbone, len(view.classes), selection is not None)
    backbone.load_start(net.trunk, start)
    change = augmentation(random_scale)
    if selection is None:
        batches, curves = tagged_batches(view, backbone.side, schedule.batch, change), {}

        def loss(net: GapNet, images: Tensor, tags: Tensor) -> Tensor:
            return soft_margin_loss(net(images), tags)
    else:
        loss = JointLoss(Selection(**selection))
        batches, curves = labelled_batches(view, saliency, backbone.side, schedule.batch, change), loss.curves
    history = fit(place(net), batches, loss, schedule, seed,
                  prepare=lambda net: freeze_trunk(backbone.family, net.trunk))
    return {"state": net.cpu().state_dict(), "history": history, "curves": dict(curves)}


def restore_localisation(state: dict[str, Tensor], backbone: dict, classes: int) -> tuple[GapNet, bool]:
    """The trained network in evaluation mode on the chosen device, and whether its last map is a background."""
    background = len(state["classifier.weight"]) == classes + 1
    net = localisation_net(Backbone.from_settings(backbone), classes, background)
    net.load_state_dict(state)
    return place(net).eval(), background
