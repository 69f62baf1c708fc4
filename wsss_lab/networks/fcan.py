"""One network for classification and segmentation (Chaudhry et al. 2017, Fig. 2)."""

from torch import Tensor, nn

from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.deeplab import deeplab
from wsss_lab.networks.gap import initialise_head

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
        if pooling not in POOLINGS:
            raise ParameterError(f"global pooling '{pooling}' is not known", " or ".join(POOLINGS))
        self.trunk, self.head, self.pooling = trunk, head, pooling
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
