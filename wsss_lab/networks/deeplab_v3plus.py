"""DeepLabv3+ with a gate between its deep and shallow features (Araslanov & Roth 2020, Figs. 3 and 7)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.gate import GATES, CueInjection, gate
from wsss_lab.networks.skip import freeze_trunk, shallow_and_deep, skip_channels

STATISTICS = ("frozen", "trained")


class DeepLabV3Plus(nn.Module):
    """trunk -> ASPP, joined with a skip connection -> gate with the skip's own features -> decoder of three layers.

    forward: normalised image (B, 3, H, W) -> scores (B, outputs, h, w) on the skip's grid (stride 4), before any
    softmax. psi, mode: of the gate; "none" passes the deep features alone to the decoder. cue: form of the cue
    injection, see wsss_lab.networks.gate. aspp_statistics: of the ASPP's batch norms, see `prepare`. New convolutions
    start as in He et al. 2015.
    """

    def __init__(self, backbone: Backbone, outputs: int, psi: float = 0.3, mode: str = "stochastic",
                 cue: str = "released", aspp_statistics: str = "frozen"):
        super().__init__()
        from torchvision.models.segmentation.deeplabv3 import ASPP

        if mode not in GATES:
            raise ParameterError(f"gate '{mode}' is not known", " or ".join(GATES))
        if aspp_statistics not in STATISTICS:
            raise ParameterError(f"aspp_statistics='{aspp_statistics}' is not known", " or ".join(STATISTICS))
        self.family, self.psi, self.mode, self.aspp_statistics = backbone.family, psi, mode, aspp_statistics
        self.trunk = v3plus_trunk(backbone)
        width, skip = backbone.width, skip_channels(backbone.family, self.trunk)
        reduced = max(8, 3 * width // 16)  # 48 beside 256 channels
        self.aspp = ASPP(self.trunk.out_channels, backbone.aspp, width)
        self.aspp.project[-1].p = backbone.dropout
        self.skip = _layer(skip, reduced, 1)
        self.merge = _layer(width + reduced, width, 3)
        self.cue = CueInjection(skip, width, cue) if mode != "none" else None
        self.decoder = nn.Sequential(_layer(width, width, 3), nn.Dropout(backbone.dropout), _layer(width, width, 3),
                                     nn.Dropout(backbone.dropout / 5), nn.Conv2d(width, outputs, 1))
        for part in (self.aspp, self.skip, self.merge, self.cue, self.decoder):
            _start(part)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Shallow features of the skip connection and merged deep ones, on one grid: (B, S, h, w), (B, W, h, w)."""
        shallow, deep = shallow_and_deep(self.family, self.trunk, x)
        context = F.interpolate(self.aspp(deep), size=shallow.shape[-2:], mode="bilinear", align_corners=True)
        return shallow, self.merge(torch.cat([context, self.skip(shallow)], 1))

    def forward(self, x: Tensor) -> Tensor:
        shallow, deep = self.features(x)
        if self.cue is not None:
            drawn = self.training and self.mode == "stochastic"
            deep = gate(deep, self.cue(shallow, deep), self.psi, drawn)
        return self.decoder(deep)

    def prepare(self, _net: nn.Module | None = None) -> None:
        """Freeze, in training mode, the trunk's batch norms and first layers, as the released code does.

        It also leaves the statistics of the ASPP's batch norms at 0 and 1, while their scale and shift are trained
        (aspp_statistics "frozen"; the paper doesn't say so); "trained" lets them follow the batches.
        """
        freeze_trunk(self.family, self.trunk)
        for layer in self.aspp.modules():
            if isinstance(layer, nn.BatchNorm2d) and self.aspp_statistics == "frozen":
                layer.eval()


def v3plus_trunk(backbone: Backbone) -> nn.Sequential:
    """The trunk as this paper cuts it: output stride 8, or 16 for a ResNet and a MobileNetV2."""
    return backbone.trunk("Stride16" if backbone.family == "resnet" else "DeepLab")


def _layer(channels: int, width: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(width),
                         nn.ReLU())


def _start(part: nn.Module | None) -> None:
    for layer in part.modules() if part is not None else ():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
