"""Classifiers whose last features can be read as maps: the GAP networks of Oh et al. 2017, Table 6."""

import torch
from torch import Tensor, nn

from wsss_lab.networks.backbones import Backbone


class GapNet(nn.Module):
    r"""trunk -> fc6 (-> fc7) -> global average pooling -> bias-free linear layer.

    .. math:: s_c = \sum_k w_{ck} \frac{1}{hw} \sum_u f_k(u), \qquad h_c(u) = \sum_k w_{ck} f_k(u)

    Source: Oh et al. 2017, Sec. 4.1 and Supp. B (class activation maps: Zhou et al. 2016).
    """

    def __init__(self, trunk: nn.Sequential, head: nn.Sequential, width: int, classes: int):
        super().__init__()
        self.trunk, self.head = trunk, head
        self.classifier = nn.Conv2d(width, classes, 1, bias=False)

    def features(self, x: Tensor) -> Tensor:
        """Last features f: (B, 3, H, W) normalised image -> (B, width, h, w), not negative."""
        return self.head(self.trunk(x))

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (logits): (B, 3, H, W) -> (B, C)."""
        pooled = self.features(x).mean((2, 3), keepdim=True)
        return self.classifier(pooled).flatten(1)

    def class_maps(self, x: Tensor) -> Tensor:
        """Class activation maps, not normalised: (B, 3, H, W) -> (B, C, h, w); their mean is the score."""
        return self.classifier(self.features(x))

    def layers(self) -> list[nn.Module]:
        """All layers in forward order, for methods that walk back through them."""
        return [*self.trunk, *self.head, nn.AdaptiveAvgPool2d(1), self.classifier]


def gap_net(variant: str, backbone: Backbone, classes: int) -> GapNet:
    """One network of Oh et al. 2017, Table 6.

    variant: "LowRes", "HighRes", "ROI", "DeepLab" or "VGG-16" (the plain classifier: fc6 and fc7 slide over the
    last map and their mean gives the score, so that any input size works). MobileNetV2 has no fc6 and fc7.
    """
    trunk = backbone.trunk(variant)
    kernels = {"LowRes": (3,), "HighRes": (3, 3), "ROI": (1, 1), "DeepLab": (3, 1), "VGG-16": (3, 1)}[variant]
    dilations = (backbone.dilation, 1) if variant == "DeepLab" else (1, 1)
    if backbone.family == "mobilenet":
        kernels = ()  # its last features are 1280 pre-trained channels; new hidden layers would start from nothing
    layers: list[nn.Module] = []
    channels = trunk.out_channels
    for kernel, dilation in zip(kernels, dilations):
        padding = dilation * (kernel // 2)
        layers += [nn.Conv2d(channels, backbone.width, kernel, padding=padding, dilation=dilation),
                   nn.ReLU(), nn.Dropout2d(backbone.dropout)]
        channels = backbone.width
    net = GapNet(trunk, nn.Sequential(*layers), channels, classes)
    initialise_head(net.head, net.classifier)
    return net


def initialise_head(*parts: nn.Module) -> None:
    """He initialisation for hidden layers and small weights for the last one, so that scores start near 0."""
    for part in parts[:-1]:
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
    for layer in parts[-1].modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@torch.inference_mode()
def output_size(net: nn.Module, side: int) -> tuple[int, int]:
    """Height and width of the map that a network gives for a side x side image."""
    run = net.class_maps if hasattr(net, "class_maps") else net
    return tuple(run(torch.zeros(1, 3, side, side)).shape[-2:])
