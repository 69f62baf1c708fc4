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

    def __init__(self, channels: int, labels: int, dilations: tuple[int, ...]):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, labels, 3, padding=rate, dilation=rate) for rate in dilations)

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches)


def deeplab(backbone: Backbone, labels: int, head: str = "largefov") -> DeepLab:
    """DeepLab with `labels` outputs (background included).

    head: "largefov" (v1: fc6 3x3 dilated, fc7 1x1) or "aspp" (v2: parallel dilated 3x3 scores, summed).
    """
    trunk = backbone.trunk("DeepLab")
    channels, width, rate = trunk.out_channels, backbone.width, backbone.dilation
    if head == "largefov":
        hidden = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=rate, dilation=rate), nn.ReLU(), nn.Dropout2d(backbone.dropout),
            nn.Conv2d(width, width, 1), nn.ReLU(), nn.Dropout2d(backbone.dropout))
        last: nn.Module = nn.Conv2d(width, labels, 1)
    elif head == "aspp":
        hidden = nn.Sequential()
        last = SummedScores(channels, labels, backbone.aspp)
    else:
        raise ParameterError(f"head '{head}' is not known", "largefov or aspp")
    net = DeepLab(trunk, hidden, last)
    initialise_head(net.head, net.classifier)
    return net
