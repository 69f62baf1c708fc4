"""Networks with one head on a trunk: for classes (GAP), for labels of pixels (DeepLab), for attention (FCAN)."""

import torch
from torch import Tensor, nn

from wsss_lab.errors import one_of
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.trunks import convolutions

# ---------------------------------------------------------------------------------------------------------------------
# Classifiers whose last features can be read as maps: the GAP networks of Oh et al. 2017, Table 6.


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
    if backbone.family == "mobilenet":
        kernels = ()  # its last features are 1280 pre-trained channels; new hidden layers would start from nothing
    head = _hidden(trunk.out_channels, backbone, kernels, backbone.dilation if variant == "DeepLab" else 1)
    net = GapNet(trunk, head, backbone.width if kernels else trunk.out_channels, classes)
    initialise_head(net.head, net.classifier)
    return net


def _hidden(channels: int, backbone: Backbone, kernels: tuple[int, ...], rate: int) -> nn.Sequential:
    """fc6 and fc7 of VGG as convolutions, with kernels of these sizes, the first dilated by `rate`."""
    layers: list[nn.Module] = []
    for kernel in kernels:
        layers += [nn.Conv2d(channels, backbone.width, kernel, padding=rate * (kernel // 2), dilation=rate),
                   nn.ReLU(), nn.Dropout2d(backbone.dropout)]
        channels, rate = backbone.width, 1
    return nn.Sequential(*layers)


def he_initialise(part: nn.Module) -> None:
    """Convolutions start as in He et al. 2015, without a bias."""
    for layer in convolutions(part):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def initialise_head(*parts: nn.Module) -> None:
    """He initialisation for hidden layers and small weights for the last one, so that scores start near 0."""
    for part in parts[:-1]:
        he_initialise(part)
    for layer in convolutions(parts[-1]):
        nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


@torch.inference_mode()
def output_size(net: nn.Module, side: int) -> tuple[int, int]:
    """Height and width of the map that a network gives for a side x side image."""
    run = net.class_maps if hasattr(net, "class_maps") else net
    return tuple(run(torch.zeros(1, 3, side, side)).shape[-2:])


# ---------------------------------------------------------------------------------------------------------------------
# Segmentation networks: DeepLab-LargeFOV (v1) and the ASPP head (v2).


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


def deeplab(backbone: Backbone, labels: int, head: str = "largefov", cut: str = "") -> DeepLab:
    """DeepLab with `labels` outputs (background included).

    head: "largefov" (v1: fc6 3x3 dilated, fc7 1x1, scores), "aspp" (v2 behind a ResNet: parallel dilated 3x3 scores,
    summed) or "aspp-fc" (v2 behind a VGG: each branch with an fc6 and fc7 of its own). cut: of the trunk, where it
    isn't the usual one: "DeepLab", or "Bottleneck" of a MobileNet.
    """
    one_of("head", head, ("largefov", "aspp", "aspp-fc"))
    usual = "Bottleneck" if backbone.family == "mobilenet" else "DeepLab"
    trunk, hidden = backbone.trunk(cut or usual), nn.Sequential()
    channels, width = trunk.out_channels, backbone.width
    if head == "largefov":
        hidden, last = _hidden(channels, backbone, (3, 1), backbone.dilation), nn.Conv2d(width, labels, 1)
        initialise_head(hidden, last)
    elif head == "aspp":
        last = SummedScores([nn.Conv2d(channels, labels, 3, padding=rate, dilation=rate) for rate in backbone.aspp])
        initialise_head(last)
    else:
        last = SummedScores([nn.Sequential(_hidden(channels, backbone, (3, 1), rate), nn.Conv2d(width, labels, 1))
                             for rate in backbone.aspp])
        for branch in last.branches:
            initialise_head(*branch)
    return DeepLab(trunk, hidden, last)


# ---------------------------------------------------------------------------------------------------------------------
# One network for classification and segmentation (Chaudhry et al. 2017, Fig. 2).


POOLINGS = ("average", "max")


class AttentionNet(nn.Module):
    r"""DeepLab v2 with class filters behind its scores: a segmentation volume f and an attention volume V.

    .. math:: V_c(m) = \sum_k w_{ck} f_k(m) + b_c, \qquad \hat z_c = \frac{1}{hw} \sum_m V_c(m)

    There is no non-linearity between f (K = 1 + C labels) and V (C classes, no background), so V is the class
    activation map of a linear classifier on pooled f, plus its bias (Sec. 4.1).

    pooling: "average" (the paper's) or "max", which it compares with. No layer is called "classifier": both volumes
    are outputs.
    """

    def __init__(self, trunk: nn.Sequential, head: nn.Module, labels: int, pooling: str = "average"):
        super().__init__()
        self.trunk, self.head, self.pooling = trunk, head, one_of("global pooling", pooling, POOLINGS)
        self.attention = nn.Conv2d(labels, labels - 1, 1)

    def scores(self, x: Tensor) -> Tensor:
        """Segmentation volume f: (B, 3, H, W) normalised image -> (B, K, h, w), before the softmax."""
        return self.head(self.trunk(x))

    def class_maps(self, x: Tensor) -> Tensor:
        """Attention volume V: (B, 3, H, W) -> (B, C, h, w), signed."""
        return self.attention(self.scores(x))

    def pool(self, volume: Tensor) -> Tensor:
        """Class scores (logits) of an attention volume: (B, C, h, w) -> (B, C)."""
        return volume.mean((2, 3)) if self.pooling == "average" else volume.amax((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (logits): (B, 3, H, W) -> (B, C)."""
        return self.pool(self.class_maps(x))


def attention_net(backbone: Backbone, labels: int, pooling: str = "average") -> AttentionNet:
    """The network of the paper on a backbone; labels: K = number of classes + 1.

    New layers start from a Gaussian of width 0.01 and bias 0 (released code); the fc6 and fc7 that a VGG has in
    each branch start as in He et al. 2015.
    """
    net = deeplab(backbone, labels, "aspp-fc" if backbone.family == "vgg" else "aspp")
    joined = AttentionNet(net.trunk, net.classifier, labels, pooling)
    initialise_head(joined.attention)
    return joined
