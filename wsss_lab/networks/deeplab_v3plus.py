"""DeepLabv3+ with a gate between its deep and shallow features (Araslanov & Roth 2020, Figs. 3 and 7)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_lab.errors import ParameterError, one_of
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import he_initialise
from wsss_lab.networks.mobilenet import freeze_start
from wsss_lab.networks.trunks import convolutions, freeze_batch_norms
from wsss_lab.networks.wide_resnet import Block

# ---------------------------------------------------------------------------------------------------------------------
# What DeepLabv3+ and AffinityNet need of a trunk: earlier features beside the last ones, and frozen first layers.


#: The layers that read the skip connection's features, and the first and the second level of AffinityNet.
_READERS = {"wide_resnet": ("b4", "b5", "b6"), "resnet": ("layer2", "layer3", "layer4"), "mobilenet": ("4", "7", "14")}
#: The layers whose weights stay as they were pre-trained.
_FROZEN = {"wide_resnet": ("conv1a", "b2"), "resnet": ("conv1", "bn1")}


def readers(family: str, trunk: nn.Sequential) -> list[int]:
    """Indices of the layers that read the skip connection's features, and the two earlier levels of AffinityNet.

    family: as in wsss_lab.networks.backbones.Backbone. Read are
    - "wide_resnet": the outputs of b3 (conv3 at stride 4, as in the paper), b4 and b5, each normalised and rectified by
      the first layers of the block behind it (released code),
    - "resnet": the outputs of layer1 (conv2_x, also in the released code), layer2 and layer3,
    - "vgg": what the last pool with a stride reads (conv3 if the output stride is 8, as in "HighRes" and "DeepLab"),
      and the outputs of the two pools before the last one, which are conv3 and conv4 of VGG-16,
    - "mobilenet": features[3], and the last ones at stride 8 and at stride 16 before the last stage, features[6] and
      features[13].
    """
    if family == "vgg":
        pools = [index for index, layer in enumerate(trunk) if isinstance(layer, nn.MaxPool2d)]
        return [max(index for index in pools if trunk[index].stride > 1), pools[-3] + 1, pools[-2] + 1]
    names = [name for name, _ in trunk.named_children()]
    return [names.index(name) for name in _READERS[family]]


def channels_read(trunk: nn.Sequential, index: int) -> int:
    """Channels that a layer of a trunk reads."""
    return convolutions(trunk[:index])[-1].out_channels


def read_by(trunk: nn.Sequential, indices: list[int], x: Tensor) -> list[Tensor]:
    """What some layers of a trunk read, and last the trunk's output, in one pass over images (B, 3, H, W)."""
    found = []
    for index, layer in enumerate(trunk):
        if index not in indices:
            x = layer(x)
        elif isinstance(layer, Block):
            found.append(layer.activate(x))
            x = layer.add_residual(x, found[-1])
        else:
            found.append(x)
            x = layer(x)
    return [*found, x]


def freeze_trunk(family: str, trunk: nn.Sequential) -> None:
    """Keep all batch norms and the first layers as they were pre-trained, as the released code does.

    Not trained are conv1a and stage b2 of a "wide_resnet", the stem of a "resnet", and the first stages of a
    "mobilenet" (as in `wsss_lab.networks.mobilenet.freeze_start`). Every layer of a "vgg" is trained. Call it after
    ``train()``, which would wake the batch norms.
    """
    if family == "mobilenet":
        freeze_start(nn.ModuleDict({"trunk": trunk}))
        return
    freeze_batch_norms(trunk)
    for name, layer in trunk.named_children():
        if name.split("_")[0] in _FROZEN.get(family, ()):  # "b2_1" is a block of stage b2
            layer.requires_grad_(False)


# ---------------------------------------------------------------------------------------------------------------------
# Deep and shallow features together: stochastic gate and global cue injection (Araslanov & Roth 2020, Sec. 3.4).


GATES = ("stochastic", "deterministic", "none")
CUES = ("released", "paper", "none")


def gate(deep: Tensor, shallow: Tensor, psi: float, training: bool) -> Tensor:
    r"""Stochastic gate: Eq. (9) in training, Eq. (10) at inference.

    .. math:: x^{SG} = (1 - r) \frac{x^{(d)} - \psi x^{(s)}}{1 - \psi} + r \, x^{(s)}, \; r \sim \mathrm{Bern}(\psi)
              \qquad x^{SG} = (1 - \psi) \, x^{(d)} + \psi \, x^{(s)}

    deep, shallow: of one shape. psi: mixing rate in [0, 1). r is drawn for every element (channel and position), from
    torch's global generator. In training the expected value is `deep`.
    Raises ParameterError for psi outside [0, 1).
    """
    if not 0 <= psi < 1:
        raise ParameterError(f"mixing rate psi={psi}", "at least 0 and below 1")
    if not training:
        return (1 - psi) * deep + psi * shallow
    take_shallow = torch.rand_like(deep) < psi
    return torch.where(take_shallow, shallow, (deep - psi * shallow) / (1 - psi))


class CueInjection(nn.Module):
    r"""Shallow features, made to know what the whole image shows (Global Cue Injection, Eq. 11).

    .. math:: x^{(s)*} = \mathrm{ReLU}\Big(z \, \frac{x^{(s)} - \mu(x^{(s)})}{\sigma(x^{(s)})} + b\Big)

    z and b are global maxima of a 1x1 convolution of the deep features, so no position is passed on.

    form: "released", mu and sigma are those of the batch (a batch norm without scale and shift) and the gain is 1 + z;
    "paper", Eq. (11) as printed, with the mean and deviation of each channel of each image; "none", the shallow
    features go through the same convolutions alone. forward: (shallow (B, S, h, w), deep (B, W, h, w)) -> (B, W, h, w).
    """

    def __init__(self, shallow_channels: int, width: int, form: str = "released"):
        super().__init__()
        self.form = one_of("cue injection", form, CUES)
        self.project = nn.Conv2d(shallow_channels, width, 1, bias=False)
        self.normalise = nn.InstanceNorm2d(width) if form == "paper" else nn.BatchNorm2d(width, affine=False)
        if form != "none":
            self.cues = nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        plain = self.normalise(self.project(shallow))
        if self.form != "none":
            gain, shift = self.cues(deep).amax((2, 3), keepdim=True).chunk(2, 1)
            plain = plain * (gain if self.form == "paper" else 1 + gain) + shift
        return self.last(plain.relu())


STATISTICS = ("frozen", "trained")


class DeepLabV3Plus(nn.Module):
    """trunk -> ASPP, joined with a skip connection -> gate with the skip's own features -> decoder of three layers.

    forward: normalised image (B, 3, H, W) -> scores (B, outputs, h, w) on the skip's grid (stride 4), before any
    softmax. psi, mode: of the gate; "none" passes the deep features alone to the decoder. cue: form of the cue
    injection, of CUES. aspp_statistics: of the ASPP's batch norms, see `prepare`. New convolutions start as in He et
    al. 2015.
    """

    def __init__(self, backbone: Backbone, outputs: int, psi: float = 0.3, mode: str = "stochastic",
                 cue: str = "released", aspp_statistics: str = "frozen"):
        super().__init__()
        from torchvision.models.segmentation.deeplabv3 import ASPP

        self.family, self.psi, self.mode = backbone.family, psi, one_of("gate", mode, GATES)
        self.aspp_statistics = one_of("aspp_statistics", aspp_statistics, STATISTICS)
        self.trunk = v3plus_trunk(backbone)
        self._reader = readers(backbone.family, self.trunk)[:1]
        width, skip = backbone.width, channels_read(self.trunk, *self._reader)
        reduced = max(8, 3 * width // 16)  # 48 beside 256 channels
        self.aspp = ASPP(self.trunk.out_channels, backbone.aspp, width)
        self.aspp.project[-1].p = backbone.dropout
        self.skip = _layer(skip, reduced, 1)
        self.merge = _layer(width + reduced, width, 3)
        self.cue = CueInjection(skip, width, cue) if mode != "none" else None
        self.decoder = nn.Sequential(_layer(width, width, 3), nn.Dropout(backbone.dropout), _layer(width, width, 3),
                                     nn.Dropout(backbone.dropout / 5), nn.Conv2d(width, outputs, 1))
        for part in (self.aspp, self.skip, self.merge, self.cue, self.decoder):
            if part is not None:
                he_initialise(part)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Shallow features of the skip connection and merged deep ones, on one grid: (B, S, h, w), (B, W, h, w)."""
        shallow, deep = read_by(self.trunk, self._reader, x)
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


# ---------------------------------------------------------------------------------------------------------------------
# AffinityNet: features whose L1 distance says whether two positions belong together (Ahn & Kwak 2018, Sec. 3.2).


WIDTHS = (64, 128, 256)  # channels that each level is reduced to; a level with fewer keeps its number


class AffinityNet(nn.Module):
    """Three levels of a trunk, each reduced by a 1x1 convolution and ELU, joined by another: (B, features, h, w).

    forward: normalised image (B, 3, H, W) -> features on the grid of the trunk's output. The levels are the trunk's
    output and earlier ones, see `readers`; finer levels are averaged to that grid. Convolutions have no bias and start
    as in the released code; `features` holds the channel count, 448 with WideResNet-38.
    """

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.trunk = v3plus_trunk(backbone)
        self._readers = readers(backbone.family, self.trunk)[1:]
        channels = [*(channels_read(self.trunk, index) for index in self._readers), self.trunk.out_channels]
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
        return read_by(self.trunk, self._readers, x)

    def forward(self, x: Tensor) -> Tensor:
        levels = self.levels(x)
        size = levels[-1].shape[-2:]
        reduced = [F.elu(layer(F.adaptive_avg_pool2d(level, size))) for layer, level in zip(self.reduce, levels)]
        return F.elu(self.merge(torch.cat(reduced, 1)))
