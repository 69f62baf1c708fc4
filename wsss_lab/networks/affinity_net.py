"""AffinityNet: features whose L1 distance says whether two positions belong together (Ahn & Kwak 2018, Sec. 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.deeplab_v3plus import v3plus_trunk
from wsss_lab.networks.skip import freeze_trunk

WIDTHS = (64, 128, 256)  # channels that each level is reduced to; a level with fewer keeps its number

#: The layers whose inputs are the first two levels.
_READERS = {"wide_resnet": ("b5", "b6"), "resnet": ("layer3", "layer4"), "mobilenet": ("7", "14")}


class AffinityNet(nn.Module):
    """Three levels of a trunk, each reduced by a 1x1 convolution and ELU, joined by another: (B, features, h, w).

    forward: normalised image (B, 3, H, W) -> features on the grid of the trunk's output. Finer levels are averaged to
    that grid. Convolutions have no bias and start as in the released code; `features` holds the channel count, 448 with
    WideResNet-38. The levels are the trunk's output and
    - "wide_resnet": the normalised and rectified inputs of stages b5 and b6 (512 and 1024 channels; released code),
    - "resnet": the outputs of layer2 and layer3,
    - "vgg": the outputs of the two pools before the last one, which are conv3 and conv4 of VGG-16,
    - "mobilenet": the last features at stride 8 and at stride 16 before the last stage, features[6] and features[13].
    """

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.family = backbone.family
        self.trunk = v3plus_trunk(backbone)
        channels = [*(_inputs(self.trunk[index]) for index in self._readers()), self.trunk.out_channels]
        widths = [min(width, each) for width, each in zip(WIDTHS, channels, strict=True)]
        self.features = sum(widths)
        self.reduce = nn.ModuleList(nn.Conv2d(each, width, 1, bias=False)
                                    for each, width in zip(channels, widths, strict=True))
        self.merge = nn.Conv2d(self.features, self.features, 1, bias=False)
        for layer in self.reduce:
            nn.init.kaiming_normal_(layer.weight)
        nn.init.xavier_uniform_(self.merge.weight, gain=4)

    def levels(self, x: Tensor) -> list[Tensor]:
        """The three levels of a normalised image (B, 3, H, W), coarsest last, each on its own grid."""
        found, readers = [], self._readers()
        for index, layer in enumerate(self.trunk):
            if index not in readers:
                x = layer(x)
            elif self.family == "wide_resnet":
                found.append(layer.activate(x))
                x = layer.add_residual(x, found[-1])
            else:
                found.append(x)
                x = layer(x)
        return [*found, x]

    def forward(self, x: Tensor) -> Tensor:
        levels = self.levels(x)
        size = levels[-1].shape[-2:]
        reduced = [F.elu(layer(F.adaptive_avg_pool2d(level, size))) for layer, level in zip(self.reduce, levels)]
        return F.elu(self.merge(torch.cat(reduced, 1)))

    def prepare(self, _net: nn.Module | None = None) -> None:
        """Freeze, in training mode, the trunk's batch norms and first layers, as the released code does."""
        freeze_trunk(self.family, self.trunk)

    def _readers(self) -> list[int]:
        """Indices of the layers that read the first two levels."""
        if self.family == "vgg":
            pools = [index for index, layer in enumerate(self.trunk) if isinstance(layer, nn.MaxPool2d)]
            return [pools[-3] + 1, pools[-2] + 1]
        names = [name for name, _ in self.trunk.named_children()]
        return [names.index(name) for name in _READERS[self.family]]


def _inputs(layer: nn.Module) -> int:
    """Channels that a layer or stage of a trunk reads."""
    return next(each for each in layer.modules() if isinstance(each, nn.Conv2d)).in_channels
