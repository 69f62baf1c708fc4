"""VGG and ResNet trunks, each an nn.Sequential with `out_channels`, and what copies start weights into trunks."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from wsss_lab.errors import WeightsError, one_of
from wsss_lab.networks.weights import load_into

# ---------------------------------------------------------------------------------------------------------------------
# VGG trunks as the five papers cut them: which pools stay, which convolutions are dilated.
#
# A trunk is a flat ``nn.Sequential`` of Conv2d, ReLU and MaxPool2d, so that relevance methods can walk through it.


#: VGG-16 (Simonyan & Zisserman 2015): (number of 3x3 convolutions, channels) of conv1 to conv5.
VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))

#: The same topology for 64-pixel images: conv2 to conv5 (no conv1/pool1), one convolution each, few channels.
TOY_BLOCKS = ((1, 16), (1, 32), (1, 64), (1, 64))


@dataclass(frozen=True)
class Pool:
    """A max-pooling layer; `stride` 1 keeps the resolution.

    Sizes are rounded up, as in Caffe: that is how 321 pixels become the 21x21 and 41x41 maps of the papers.
    """

    kernel: int = 2
    stride: int = 2
    padding: int = 0

    def layer(self) -> nn.MaxPool2d:
        return nn.MaxPool2d(self.kernel, self.stride, self.padding, ceil_mode=self.padding == 0)


@dataclass(frozen=True)
class TrunkShape:
    """One column of Oh et al. 2017, Table 6: pools 1 to 5 (None = removed) and the dilation of conv5."""

    pools: tuple[Pool | None, ...]
    conv5_dilation: int = 1


_P2 = Pool()
_P3 = Pool(3, 2, 1)
_KEEP = Pool(3, 1, 1)

#: pool5 of DeepLab is the released 3x3 stride-1 layer; Table 6 leaves it out (it doesn't change the output size).
#: pool3 of DeepLab has stride 2: the printed stride 1 would give 81x81 where the table prints 41x41.
#: GAP-ROI pools the 3x3 window around each position to one bin, which fits the printed 1x1 layers behind it.
SHAPES = {
    "VGG-16": TrunkShape((_P2, _P2, _P2, _P2, _P2)),
    "LowRes": TrunkShape((_P2, _P2, _P2, _P2, None)),
    "HighRes": TrunkShape((_P2, _P2, _P2, None, None)),
    "ROI": TrunkShape((_P2, _P2, _P2, None, _KEEP)),
    "DeepLab": TrunkShape((_P3, _P3, _P3, _KEEP, _KEEP), conv5_dilation=2),
}


def vgg_trunk(variant: str, blocks=VGG16_BLOCKS) -> nn.Sequential:
    """A VGG trunk from the image to the end of conv5/pool5.

    variant: a key of SHAPES. blocks: (convolutions, channels) of the last len(blocks) of conv1..conv5.
    Input (B, 3, H, W), output (B, channels of conv5, h, w). `trunk.out_channels` holds the channel count.
    Convolution weights of all variants have the same shapes and order, so they share start weights.
    """
    shape = SHAPES[one_of("network variant", variant, SHAPES)]
    layers: list[nn.Module] = []
    channels = 3
    for number, (convolutions, width) in enumerate(blocks, start=5 - len(blocks)):
        dilation = shape.conv5_dilation if number == 4 else 1
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=False)]
            channels = width
        if shape.pools[number] is not None:
            layers.append(shape.pools[number].layer())
    trunk = nn.Sequential(*layers)
    trunk.out_channels = channels
    return trunk


def convolutions(trunk: nn.Module) -> list[nn.Conv2d]:
    """The convolutions of a trunk in forward order."""
    return [layer for layer in trunk.modules() if isinstance(layer, nn.Conv2d)]


def copy_convolutions(source: dict[str, Tensor], trunk: nn.Sequential, origin: str | Path = "start weights") -> None:
    """Copy start weights into a VGG by order, as pools shift the layer numbers between variants.

    source: the state dict of a trunk, or of torchvision's ``vgg16()``, whose linear ``classifier.*`` is left out.
    origin: where they come from, for the error. Raises WeightsError when they hold other convolutions.
    """
    targets = convolutions(trunk)
    weights, biases = ([value for name, value in source.items()
                        if name.endswith(kind) and not name.startswith("classifier.")] for kind in ("weight", "bias"))
    found, wanted = ([tuple(each.shape) for each in tensors] for tensors in (weights, [t.weight for t in targets]))
    if found != wanted or len(biases) != len(weights):
        ends = f" from {found[0]} to {found[-1]}" if found else ""
        raise WeightsError(f"'{origin}' is for another architecture: {len(weights)} layers with weights{ends}",
                           f"the {len(wanted)} convolutions from {wanted[0]} to {wanted[-1]} of the trunk, with biases",
                           "give weights of this architecture, for VGG-16 those of torchvision's vgg16")
    for layer, weight, bias in zip(targets, weights, biases):
        layer.weight.data.copy_(weight)
        layer.bias.data.copy_(bias)


# ---------------------------------------------------------------------------------------------------------------------
# ResNet trunks as DeepLab cuts them: their last stages dilated instead of strided (Chen et al. 2018).


#: ResNet-101 (He et al. 2016): (bottlenecks, their inner channels) of the stages conv2 to conv5.
RESNET101_BLOCKS = ((3, 64), (4, 128), (23, 256), (3, 512))

#: ResNet-50.
RESNET50_BLOCKS = ((3, 64), (4, 128), (6, 256), (3, 512))

#: The same topology for 64-pixel images: one bottleneck per stage, few channels, a stem of stride 2 instead of 4.
TOY_RESNET_BLOCKS = ((1, 8), (1, 16), (1, 16), (1, 16))

#: A deeper one beside it, as ResNet-101 is beside ResNet-50: more bottlenecks in the middle stages, nothing else.
TOY_RESNET_DEEP_BLOCKS = ((1, 8), (2, 16), (2, 16), (1, 16))

#: (stride, dilation) of the stages. DeepLab v2 strides only the second one, Araslanov & Roth 2020 the third one too.
_STAGES = ((1, 1), (2, 1), (1, 2), (1, 4))
_STAGES_16 = ((1, 1), (2, 1), (2, 1), (1, 2))
_WIDE_STEM = 64  # a stem of fewer channels is for small images
_EXPANSION = 4  # a bottleneck gives four times its inner channels


def resnet_trunk(variant: str, blocks=RESNET101_BLOCKS) -> nn.Sequential:
    """A ResNet of bottlenecks from the image to the end of its last stage.

    variant: "Stride16" for the trunk of Araslanov & Roth 2020; any key of SHAPES for that of DeepLab v2, the only one
    that the other papers use. blocks: (bottlenecks, inner channels) of the four stages.
    Input (B, 3, H, W), output (B, 4 * inner channels, h, w) at stride 8, or 16 with "Stride16". With a stem narrower
    than 64 channels (small images) every variant is the same trunk, at stride 4. Layers are named as in torchvision's
    ``resnet101``, whose state dict fits; `trunk.out_channels` holds the channel count.
    Raises ParameterError for an unknown variant.
    """
    one_of("network variant", variant, (*SHAPES, "Stride16"))
    stem = blocks[0][1]
    wide = stem >= _WIDE_STEM
    kernel, stride = (7, 2) if wide else (5, 1)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, stem, kernel, stride, padding=kernel // 2, bias=False), bn1=nn.BatchNorm2d(stem),
        relu=nn.ReLU(inplace=True), maxpool=nn.MaxPool2d(3, 2, padding=1))
    channels = stem
    stages = _STAGES_16 if variant == "Stride16" and wide else _STAGES
    for number, ((count, inner), (step, dilation)) in enumerate(zip(blocks, stages), start=1):
        layers[f"layer{number}"] = _stage(channels, count, inner, step, dilation)
        channels = _EXPANSION * inner
    trunk = nn.Sequential(layers)
    trunk.out_channels = channels
    return trunk


def _stage(channels: int, count: int, inner: int, stride: int, dilation: int) -> nn.Sequential:
    from torchvision.models.resnet import Bottleneck

    width = _EXPANSION * inner
    shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))
    first = Bottleneck(channels, inner, stride, shortcut, dilation=dilation)
    return nn.Sequential(first, *(Bottleneck(width, inner, dilation=dilation) for _ in range(count - 1)))


#: What names of the 1000-way linear layer start with.
_CLASSIFIER = ("fc", "linear")


def copy_layers(source: dict[str, Tensor], trunk: nn.Sequential, origin: str | Path = "start weights") -> None:
    """Load the start weights of a ResNet or WideResNet, or published ones, whose 1000-way linear layer is left out.

    Files older than the batch counters of PyTorch's batch norms are taken too: the counters keep their value.
    origin: where they come from, for the error. Raises WeightsError when they are for another architecture.
    """
    counters = {name: value for name, value in trunk.state_dict().items() if name.endswith("num_batches_tracked")}
    layers = {name: value for name, value in source.items() if not name.startswith(_CLASSIFIER)}
    load_into(trunk, counters | layers, origin)


def freeze_batch_norms(net: nn.Module) -> None:
    """Keep statistics, scales and offsets of all batch norms as they were pre-trained, as DeepLab v2 does."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
            layer.requires_grad_(False)
