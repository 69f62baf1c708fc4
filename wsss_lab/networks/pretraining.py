"""Pre-training of a trunk on single-object crops, the stand-in for ImageNet."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from wsss_lab.data.canvas import normalise
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule, fit
from wsss_lab.networks.machine import place, resolve_device


class CropClassifier(nn.Module):
    """trunk -> global average pooling -> linear layer over the pre-training types."""

    def __init__(self, trunk: nn.Sequential, types: int):
        super().__init__()
        self.trunk = trunk
        self.classifier = nn.Linear(trunk.out_channels, types)

    def forward(self, x):
        return self.classifier(self.trunk(x).mean((2, 3)))


def pretrain(images: np.ndarray, labels: np.ndarray, backbone: dict, schedule: dict, seed: int) -> dict:
    """Train a trunk to name the object of a crop.

    images: (N, s, s, 3) uint8. labels: (N,) integers from 0.
    Returns {"state": state dict of the trunk, "accuracy": share of the last tenth, held out, named rightly}.
    """
    backbone, schedule = Backbone.from_settings(backbone), Schedule(**schedule)
    device = resolve_device()
    torch.manual_seed(seed)
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    targets = torch.from_numpy(np.array(labels, dtype=np.int64))
    kept = len(pixels) - len(pixels) // 10
    net = place(CropClassifier(backbone.trunk("HighRes"), int(targets.max()) + 1))

    def draw(generator):
        rows = torch.randint(kept, (schedule.batch,), generator=generator)
        crop = pixels[rows]
        flip = torch.rand(len(rows), generator=generator) < 0.5
        crop = torch.where(flip.view(-1, 1, 1, 1), crop.flip(3), crop)
        return normalise(crop.to(device)), targets[rows].to(device)

    fit(net, draw, lambda net, x, y: F.cross_entropy(net(x), y), schedule, seed)
    with torch.inference_mode():
        guesses = net(normalise(pixels[kept:].to(device))).argmax(1).cpu()
    accuracy = float((guesses == targets[kept:]).float().mean())
    return {"state": net.trunk.cpu().state_dict(), "accuracy": accuracy}
