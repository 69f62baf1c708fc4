"""VGG trunks as the five papers cut them: which pools stay, which convolutions are dilated.

A trunk is a flat ``nn.Sequential`` of Conv2d, ReLU and MaxPool2d, so that relevance methods can walk through it.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from wsss_lab.errors import ParameterError

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


def shape_named(name: str) -> TrunkShape:
    """The TrunkShape called `name`; ParameterError lists the known names."""
    if name not in SHAPES:
        raise ParameterError(f"network variant '{name}' is not known", " or ".join(SHAPES))
    return SHAPES[name]


def vgg_trunk(variant: str, blocks=VGG16_BLOCKS) -> nn.Sequential:
    """A VGG trunk from the image to the end of conv5/pool5.

    variant: a key of SHAPES. blocks: (convolutions, channels) of the last len(blocks) of conv1..conv5.
    Input (B, 3, H, W), output (B, channels of conv5, h, w). `trunk.out_channels` holds the channel count.
    Convolution weights of all variants have the same shapes and order, so they share start weights.
    """
    shape = shape_named(variant)
    layers: list[nn.Module] = []
    channels = 3
    first = 5 - len(blocks)
    for number, (convolutions, width) in enumerate(blocks, start=first):
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


def copy_convolutions(source: dict[str, Tensor], trunk: nn.Sequential) -> None:
    """Copy start weights into a trunk by order, as pools shift the layer numbers between variants.

    source: the state dict of a trunk (or of torchvision's ``vgg16().features``) with the same convolutions.
    Raises ParameterError when the number or the shapes of the convolutions differ.
    """
    targets = convolutions(trunk)
    weights = [value for name, value in source.items() if name.endswith("weight")]
    biases = [value for name, value in source.items() if name.endswith("bias")]
    if len(weights) != len(targets) or any(w.shape != t.weight.shape for w, t in zip(weights, targets)):
        raise ParameterError(
            f"start weights with {len(weights)} convolutions don't fit a trunk with {len(targets)}",
            "the same number of convolutions with the same shapes",
        )
    for layer, weight, bias in zip(targets, weights, biases):
        layer.weight.data.copy_(weight)
        layer.bias.data.copy_(bias)
