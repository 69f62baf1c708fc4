"""ResNet trunks as DeepLab v2 cuts them: the last two stages dilated instead of strided (Chen et al. 2018)."""

from collections import OrderedDict
from pathlib import Path

from torch import Tensor, nn

from wsss_lab.networks.vgg import shape_named
from wsss_lab.networks.weights import load_into

#: ResNet-101 (He et al. 2016): (bottlenecks, their inner channels) of the stages conv2 to conv5.
RESNET101_BLOCKS = ((3, 64), (4, 128), (23, 256), (3, 512))

#: The same topology for 64-pixel images: one bottleneck per stage, few channels, a stem of stride 2 instead of 4.
TOY_RESNET_BLOCKS = ((1, 8), (1, 16), (1, 16), (1, 16))

#: (stride, dilation) of the stages: only the second one is strided.
_STAGES = ((1, 1), (2, 1), (1, 2), (1, 4))
_EXPANSION = 4  # a bottleneck gives four times its inner channels


def resnet_trunk(variant: str, blocks=RESNET101_BLOCKS) -> nn.Sequential:
    """A ResNet of bottlenecks from the image to the end of its last stage.

    variant: a key of wsss_lab.networks.vgg.SHAPES; all of them give the DeepLab trunk, the only one that the papers
    use. blocks: (bottlenecks, inner channels) of the four stages. Input (B, 3, H, W), output (B, 4 * inner channels,
    h, w) at stride 8, or 4 with a stem narrower than 64 channels (small images). Layers are named as in torchvision's
    ``resnet101``, whose state dict fits; `trunk.out_channels` holds the channel count.
    """
    shape_named(variant)
    stem = blocks[0][1]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    kernel, stride = (7, 2) if stem >= 64 else (5, 1)
    layers["conv1"] = nn.Conv2d(3, stem, kernel, stride, padding=kernel // 2, bias=False)
    layers["bn1"] = nn.BatchNorm2d(stem)
    layers["relu"] = nn.ReLU(inplace=True)
    layers["maxpool"] = nn.MaxPool2d(3, 2, padding=1)
    channels = stem
    for number, ((count, inner), (step, dilation)) in enumerate(zip(blocks, _STAGES), start=1):
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
