"""Class activation maps of the same backbone: the baseline of Araslanov & Roth 2020 (Tables 2 and 9, Fig. 2)."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.data.views import TrainView
from wsss_lab.networks.backbones import Backbone, restore, train
from wsss_lab.networks.batches import tagged_batches
from wsss_lab.networks.deeplab_v3plus import freeze_trunk, v3plus_trunk
from wsss_lab.networks.heads import GapNet
from wsss_lab.networks.inference import averaged_maps
from wsss_lab.refinement.dense_crf import label_frames
from wsss_lab.seeds.cam import normalise_maps
from wsss_lab.seeds.weighted_pooling import soft_margin_loss

BACKGROUND = 0.1  # score of the background beside maps whose maximum is 1; released code


def cam_net(backbone: Backbone, classes: int) -> GapNet:
    """trunk -> channel dropout -> global average pooling -> linear layer without bias (Eqs. 1 and 2)."""
    trunk = v3plus_trunk(backbone)
    net = GapNet(trunk, nn.Sequential(nn.Dropout2d(backbone.dropout)), trunk.out_channels, classes)
    nn.init.xavier_uniform_(net.classifier.weight)
    return net


def freeze(backbone: Backbone, net: nn.Module) -> None:
    """Keep batch norms and first layers of a network's trunk as they were pre-trained, see `freeze_trunk`."""
    freeze_trunk(backbone.family, net.trunk)


def train_cam(view: TrainView, start: dict[str, Tensor], backbone: dict, schedule: dict, seed: int) -> dict:
    """Train the classifier on images and tags with Eq. (6): {"state": state dict, "history": loss per iteration}."""
    return train(lambda backbone: cam_net(backbone, len(view.classes)),
                 partial(tagged_batches, view, change=crop_and_jitter),
                 lambda net, images, tags: soft_margin_loss(net(images), tags), start, backbone, schedule, seed, freeze)


def mean_maps(net: GapNet, activation: Callable[[Tensor], Tensor], view: TrainView, side: int,
              scales: Sequence[float]) -> Iterator[np.ndarray]:
    """Yield the mean over scales and mirror images of a network's activated maps: float32 (K, H, W) per image.

    The activation is taken at the resolution of the network, before maps are enlarged (released code).
    """
    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        raw = net.class_maps(images).float()
        return activation(raw), raw.mean((2, 3))

    for maps, _ in averaged_maps(net, run, view, side, scales):
        yield maps.numpy()


def cam_maps(view: TrainView, state: dict[str, Tensor], backbone: dict,
             scales: Sequence[float]) -> Iterator[np.ndarray]:
    """Yield the background's score and the CAMs of an image's tags, each relative to its maximum: (1 + C, H, W)."""
    net = restore(cam_net(Backbone.from_settings(backbone), len(view.classes)), state)
    for index, maps in enumerate(mean_maps(net, torch.relu, view, backbone["side"], scales)):
        relative = normalise_maps(maps, view.tags[index])
        yield np.concatenate([np.full_like(relative[:1], BACKGROUND), relative])


def label_cams(view: TrainView, state: dict[str, Tensor], backbone: dict, scales: Sequence[float],
               crf: dict | None = None) -> dict:
    """Label every image of a view, whose tags are known, by its CAMs.

    The dense CRF takes the scores divided by their sum. crf: its parameters, None = off.
    Returns {"masks": frame (N, Hmax, Wmax) uint8 of labels, "refined": the same after the CRF}.
    """
    return label_frames(view, cam_maps(view, state, backbone, scales), crf)
