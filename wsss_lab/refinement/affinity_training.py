"""Training of AffinityNet on labels that class maps are sure of (Ahn & Kwak 2018, Sec. 3.2.2)."""

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.data.views import TrainView
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import labelled_batches
from wsss_lab.networks.deeplab_v3plus import AffinityNet
from wsss_lab.networks.fit import Schedule, fit
from wsss_lab.networks.losses import reduce_labels
from wsss_lab.networks.machine import place
from wsss_lab.refinement.affinity_pairs import RADIUS, affinities, affinity_loss, half_disc, pair_labels


def train_affinity(view: TrainView, labels: np.ndarray, start: dict[str, Tensor], backbone: dict, schedule: dict,
                   seed: int, radius: int = RADIUS) -> dict:
    """Train AffinityNet to tell pairs of one label from pairs of two.

    labels: frame (N, Hmax, Wmax) uint8, 255 = not sure, brought to the network's grid by nearest neighbour. start:
    state dict of the pre-trained trunk. radius: of the pairs, in positions on the grid.
    Returns {"state": state dict, "history": loss per iteration}.
    """
    backbone, schedule, offsets = Backbone.from_settings(backbone), Schedule(**schedule), half_disc(radius)
    torch.manual_seed(seed)
    net = AffinityNet(backbone)
    backbone.load_start(net.trunk, start)

    def loss_of(net: AffinityNet, images: Tensor, labels: Tensor, _pixels: Tensor, _tags: Tensor) -> Tensor:
        features = net(images).float()
        pairs = pair_labels(reduce_labels(labels, features.shape[-2:]), offsets)
        return affinity_loss(affinities(features, offsets), pairs)

    batches = labelled_batches(view, labels, backbone.side, schedule.batch, crop_and_jitter)
    history = fit(place(net), batches, loss_of, schedule, seed, prepare=net.prepare)
    return {"state": net.cpu().state_dict(), "history": history}
