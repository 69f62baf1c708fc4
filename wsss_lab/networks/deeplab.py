"""Segmentation networks: DeepLab-LargeFOV (v1) and the ASPP head (v2)."""

from torch import Tensor, nn

from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.gap import initialise_head


class DeepLab(nn.Module):
    """trunk -> head -> scores of K labels on the trunk's grid (Chen et al. 2015, 2018).

    forward: (B, 3, H, W) normalised image -> (B, K, h, w) scores (softmax not applied).
    """

    def __init__(self, trunk: nn.Sequential, head: nn.Module, classifier: nn.Module):
        super().__init__()
        self.trunk, self.head, self.classifier = trunk, head, classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(self.trunk(x)))


class SummedScores(nn.Module):
    """The ASPP of DeepLab v2: scores of parallel branches, each with its own dilation, are added."""

    def __init__(self, branches: list[nn.Module]):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches)


def deeplab(backbone: Backbone, labels: int, head: str = "largefov") -> DeepLab:
    """DeepLab with `labels` outputs (background included).

    head: "largefov" (v1: fc6 3x3 dilated, fc7 1x1, scores), "aspp" (v2 behind a ResNet: parallel dilated 3x3 scores,
    summed) or "aspp-fc" (v2 behind a VGG: each branch with an fc6 and fc7 of its own).
    """
    trunk = backbone.trunk("DeepLab")
    channels = trunk.out_channels
    hidden: nn.Module = nn.Sequential()
    if head == "largefov":
        hidden, last = _fully_connected(channels, backbone.dilation, backbone), nn.Conv2d(backbone.width, labels, 1)
        initialise_head(hidden, last)
    elif head == "aspp":
        last = SummedScores([nn.Conv2d(channels, labels, 3, padding=rate, dilation=rate) for rate in backbone.aspp])
        initialise_head(last)
    elif head == "aspp-fc":
        branches = [nn.Sequential(_fully_connected(channels, rate, backbone), nn.Conv2d(backbone.width, labels, 1))
                    for rate in backbone.aspp]
        last = SummedScores(branches)
        for branch in branches:
            initialise_head(*branch)
    else:
        raise ParameterError(f"head '{head}' is not known", "largefov, aspp or aspp-fc")
    return DeepLab(trunk, hidden, last)


def _fully_connected(channels: int, rate: int, backbone: Backbone) -> nn.Sequential:
    """fc6 (3x3, dilated by `rate`) and fc7 of VGG as convolutions."""
    width, dropout = backbone.width, backbone.dropout
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=rate, dilation=rate), nn.ReLU(), nn.Dropout2d(dropout),
        nn.Conv2d(width, width, 1), nn.ReLU(), nn.Dropout2d(dropout))
