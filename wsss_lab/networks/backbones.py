"""One description of a backbone, shared by every network of a run, and the pre-training of its trunk."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_lab.data.canvas import normalise
from wsss_lab.errors import one_of
from wsss_lab.networks import mobilenet, trunks, wide_resnet
from wsss_lab.networks.batches import Batches
from wsss_lab.networks.fit import Schedule, fit
from wsss_lab.networks.machine import place, resolve_device

#: What makes a trunk of each family, and what copies start weights into it.
_FAMILIES = {"vgg": (trunks.vgg_trunk, trunks.copy_convolutions),
             "resnet": (trunks.resnet_trunk, trunks.copy_layers),
             "wide_resnet": (wide_resnet.wide_resnet_trunk, trunks.copy_layers),
             "mobilenet": (mobilenet.mobilenet_trunk, mobilenet.copy_features)}


@dataclass(frozen=True)
class Backbone:
    """Which trunk, and how wide the layers behind it are.

    family: "vgg", "resnet", "wide_resnet" or "mobilenet". blocks: (convolutions, channels) per VGG block, (bottlenecks,
    inner channels) per ResNet stage, or as wsss_lab.networks.wide_resnet.WIDE_RESNET38; ignored by MobileNet.
    width: channels of fc6 and fc7 (1024 in the papers). dilation: of the LargeFOV fc6 (12 in the papers, on 41x41
    maps; smaller maps take the same fraction). aspp: dilations of the DeepLab-v2 head (6, 12, 18, 24 in the papers).
    dropout: probability after fc6 and fc7 (0.5 in the papers). side: input size in pixels (321 in the papers).
    """

    family: str = "vgg"
    blocks: tuple[tuple[int, ...], ...] = trunks.VGG16_BLOCKS
    width: int = 1024
    dilation: int = 12
    aspp: tuple[int, ...] = (6, 12, 18, 24)
    dropout: float = 0.5
    side: int = 321

    def __post_init__(self):
        one_of("backbone family", self.family, _FAMILIES)

    def settings(self) -> dict:
        """As plain JSON values, for the settings of a step."""
        return asdict(self) | {"blocks": [list(block) for block in self.blocks], "aspp": list(self.aspp)}

    @classmethod
    def from_settings(cls, settings: dict) -> "Backbone":
        """The inverse of `settings`: lists, as JSON has them, become tuples."""
        return cls(**settings | {"blocks": tuple(map(tuple, settings["blocks"])), "aspp": tuple(settings["aspp"])})

    def trunk(self, variant: str) -> nn.Sequential:
        """The trunk cut as `variant` says: a key of wsss_lab.networks.trunks.SHAPES, or "Stride16" for a ResNet."""
        build, _ = _FAMILIES[self.family]
        return build(variant, self.blocks)

    def load_start(self, trunk: nn.Sequential, start: dict[str, Tensor], origin: str | Path = "start weights") -> None:
        """Copy start weights (a trunk's or torchvision's state dict) into a trunk of any variant.

        origin: where they come from, for the error. Raises WeightsError when they are for another architecture.
        """
        _, copy = _FAMILIES[self.family]
        copy(start, trunk, origin)

    def prepare(self, net: nn.Module) -> None:
        """What has to be done to a network in training mode before its first iteration."""
        if self.family == "mobilenet":
            mobilenet.freeze_start(net)
        elif self.family != "vgg":
            trunks.freeze_batch_norms(net)


def train(build: Callable[[Backbone], nn.Module], batches: Callable[[int, int], Batches], loss: Callable[..., Tensor],
          start: dict[str, Tensor], backbone: dict, schedule: dict, seed: int,
          prepare: Callable[[Backbone, nn.Module], None] = Backbone.prepare) -> dict:
    """Build a network, copy start weights into its trunk, and train it: {"state": state dict, "history": losses}.

    batches: of a side in pixels and a batch size, see wsss_lab.networks.batches. prepare: see `fit`; others as there.
    """
    backbone, schedule = Backbone.from_settings(backbone), Schedule(**schedule)
    torch.manual_seed(seed)
    net = build(backbone)
    backbone.load_start(net.trunk, start)
    history = fit(place(net), batches(backbone.side, schedule.batch), loss, schedule, seed,
                  prepare=lambda net: prepare(backbone, net))
    return {"state": net.cpu().state_dict(), "history": history}


def restore(net: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """A network with trained weights, in evaluation mode on the chosen device."""
    net.load_state_dict(state)
    return place(net).eval()


class CropClassifier(nn.Module):
    """trunk -> global average pooling -> linear layer over the pre-training types."""

    def __init__(self, trunk: nn.Sequential, types: int):
        super().__init__()
        self.trunk = trunk
        self.classifier = nn.Linear(trunk.out_channels, types)

    def forward(self, x):
        return self.classifier(self.trunk(x).mean((2, 3)))


def pretrain(images: np.ndarray, labels: np.ndarray, backbone: dict, schedule: dict, seed: int) -> dict:
    """Train a trunk to name the object of a crop, the stand-in for ImageNet.

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
