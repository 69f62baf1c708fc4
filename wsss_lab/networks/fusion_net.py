"""One network that labels pixels, names an image's classes and refines its labels (Roy & Todorovic 2017, Fig. 1)."""

from torch import Tensor, nn

from wsss_lab.networks.aggregation import aggregation
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import deeplab, output_size
from wsss_lab.refinement.crf_rnn import ITERATIONS, CrfRnn
from wsss_lab.seeds.excitation import deepest_stop


class FusionNet(nn.Module):
    """DeepLab-LargeFOV with K label maps, an aggregation of each map to a score of the image, and a CRF-RNN.

    backbone: its `side` fixes the grid (h, w) of the fully connected aggregation. labels: K, background first.
    kind: one of wsss_lab.networks.aggregation.AGGREGATIONS. iterations: of the CRF-RNN, 0 = without.

    The trunk is cut where attention ends: `features` runs it up to there, `upper` are the layers from there to the
    label maps, in order. For a VGG that is the output of pool-4 (Sec. 4); for other trunks the highest layer that
    excitation back-propagation has no rule for, as inside a MobileNet.
    """

    def __init__(self, backbone: Backbone, labels: int, kind: str = "FCL", iterations: int = ITERATIONS):
        super().__init__()
        net = deeplab(backbone, labels)
        self.trunk, self.head, self.classifier = net.trunk, net.head, net.classifier
        self.aggregation = aggregation(kind, labels, output_size(net, backbone.side))
        self.crf = CrfRnn(labels, iterations)
        self.cut = _attention_end(self.trunk)

    @property
    def upper(self) -> list[nn.Module]:
        """The layers from the end of attention to the label maps."""
        return [*self.trunk[self.cut:], *self.head, self.classifier]

    def features(self, images: Tensor) -> Tensor:
        """Activations at the end of attention: normalised (B, 3, H, W) -> (B, c, h, w)."""
        return self.trunk[:self.cut](images)

    def scores(self, features: Tensor) -> Tensor:
        """Label maps f, before the softmax of Eq. (1): `features` -> (B, K, h, w)."""
        for layer in self.upper:
            features = layer(features)
        return features

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Label maps (B, K, h, w) and scores of the image (B, K), logits: p(y|x) is their sigmoid."""
        maps = self.scores(self.features(images))
        return maps, self.aggregation(maps)


def _attention_end(trunk: nn.Sequential) -> int:
    pools = [index for index, layer in enumerate(trunk) if isinstance(layer, nn.MaxPool2d)]
    return max(pools[-2] + 1 if len(pools) > 1 else 0, deepest_stop(list(trunk)))
