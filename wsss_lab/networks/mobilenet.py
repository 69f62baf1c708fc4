"""MobileNetV2 trunks for photographs on a CPU, cut the way the papers cut VGG."""

from pathlib import Path

from torch import Tensor, nn

from wsss_lab.networks.vgg import SHAPES, shape_named
from wsss_lab.networks.weights import load_into

#: Index of the first layer of each stage that halves the resolution, from the last one backwards.
_LAST_STRIDES = (14, 7)


def mobilenet_trunk(variant: str) -> nn.Sequential:
    """``torchvision.models.mobilenet_v2().features`` with its last strides removed.

    variant: a key of wsss_lab.networks.vgg.SHAPES. "VGG-16" keeps all strides (32); "LowRes" keeps them too, as the
    1/32 map of a 320-pixel photo has the size that matters here; the others remove the last one (16); "DeepLab"
    replaces the removed stride by a dilation; "ROI" adds the 3x3 stride-1 max pooling. Output has 1280 channels.
    """
    from torchvision.models import mobilenet_v2

    shape = shape_named(variant)
    features = mobilenet_v2(weights=None).features
    if variant in ("HighRes", "ROI", "DeepLab"):
        _remove_stride(features, _LAST_STRIDES[0], shape.conv5_dilation)
    layers = list(features)
    if SHAPES[variant].pools[4] is not None and variant == "ROI":
        layers.append(SHAPES[variant].pools[4].layer())
    trunk = nn.Sequential(*layers)
    trunk.out_channels = features[-1][0].out_channels
    return trunk


def _remove_stride(features: nn.Sequential, start: int, dilation: int) -> None:
    """Give the depthwise convolutions of stage `start` stride 1, and the later ones the dilation."""
    for index in range(start, len(features)):
        for layer in features[index].modules():
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
                later = index > start
                layer.stride = (1, 1)
                layer.dilation = (dilation, dilation) if later else (1, 1)
                layer.padding = layer.dilation


def copy_features(source: dict[str, Tensor], trunk: nn.Sequential, origin: str | Path = "start weights") -> None:
    """Load the ``features.*`` part of a torchvision MobileNetV2 state dict into a trunk.

    origin: where they come from, for the error. Raises WeightsError when they are for another architecture.
    """
    prefix = "features."
    load_into(trunk, {name[len(prefix):]: value for name, value in source.items() if name.startswith(prefix)}, origin)


def freeze_batchnorm(net: nn.Module) -> None:
    """Keep batch-norm statistics and parameters fixed: batches here are too small to re-estimate them."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
            layer.weight.requires_grad_(False)
            layer.bias.requires_grad_(False)
