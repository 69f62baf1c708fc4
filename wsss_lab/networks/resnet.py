"""ResNet trunks as DeepLab cuts them: their last stages dilated instead of strided (Chen et al. 2018)."""

from collections import OrderedDict
from pathlib import Path

from torch import Tensor, nn

from wsss_lab.errors import ParameterError
from wsss_lab.networks.vgg import SHAPES
from wsss_lab.networks.weights import load_into

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

    variant: "Stride16" for the trunk of Araslanov & Roth 2020; any key of wsss_lab.networks.vgg.SHAPES for that of
    DeepLab v2, the only one that the other papers use. blocks: (bottlenecks, inner channels) of the four stages.
    Input (B, 3, H, W), output (B, 4 * inner channels, h, w) at stride 8, or 16 with "Stride16". With a stem narrower
    than 64 channels (small images) every variant is the same trunk, at stride 4. Layers are named as in torchvision's
    ``resnet101``, whose state dict fits; `trunk.out_channels` holds the channel count.
    Raises ParameterError for an unknown variant.
    """
    if variant not in (*SHAPES, "Stride16"):
        raise ParameterError(f"network variant '{variant}' is not known", " or ".join((*SHAPES, "Stride16")))
    stem = blocks[0][1]
    stages = _STAGES_16 if variant == "Stride16" and stem >= _WIDE_STEM else _STAGES
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    kernel, stride = (7, 2) if stem >= _WIDE_STEM else (5, 1)
    layers["conv1"] = nn.Conv2d(3, stem, kernel, stride, padding=kernel // 2, bias=False)
    layers["bn1"] = nn.BatchNorm2d(stem)
    layers["relu"] = nn.ReLU(inplace=True)
    layers["maxpool"] = nn.MaxPool2d(3, 2, padding=1)
    channels = stem
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


def copy_layers(source: dict[str, Tensor], trunk: nn.Sequential, origin: str | Path = "start weights") -> None:
    """Load the start weights of a trunk, or torchvision's ``resnet101``, whose ``fc.*`` is left out.

    origin: where they come from, for the error. Raises WeightsError when they are for another architecture.
    """
    load_into(trunk, {name: value for name, value in source.items() if not name.startswith("fc.")}, origin)


def freeze_batch_norms(net: nn.Module) -> None:
    """Keep statistics, scales and offsets of all batch norms as they were pre-trained, as DeepLab v2 does."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
            layer.weight.requires_grad_(False)
            layer.bias.requires_grad_(False)
