"""MobileNetV2 trunks for photographs on a CPU, cut the way the papers cut VGG."""

from pathlib import Path

from torch import Tensor, nn

from wsss_lab.errors import one_of
from wsss_lab.networks.trunks import SHAPES, freeze_batch_norms
from wsss_lab.networks.weights import load_into

#: First layer of the stage with the last stride (32), and of the one with stride 16.
_LAST_STRIDE, _FIRST_TRAINED = 14, 7


def mobilenet_trunk(variant: str, _blocks: tuple = ()) -> nn.Sequential:
    """``torchvision.models.mobilenet_v2().features`` with its last strides removed: 1280 channels.

    variant: a key of SHAPES. "VGG-16" and "LowRes" keep all strides (32); the others remove the
    last one (16), and "ROI" adds the 3x3 stride-1 max pooling.

    Here a removed stride is always made up for by a dilation of 2: with the few photographs that this trunk is meant
    for, later layers can't learn to live without it. So "HighRes" gives the map of "LowRes" on a finer grid, and
    "DeepLab" is the same network; the papers' comparison of the two needs VGG.
    """
    from torchvision.models import mobilenet_v2

    one_of("network variant", variant, SHAPES)
    layers = list(mobilenet_v2(weights=None).features)
    channels = layers[-1][0].out_channels
    if variant in ("HighRes", "ROI", "DeepLab"):
        for index, stage in enumerate(layers[_LAST_STRIDE:], start=_LAST_STRIDE):
            for layer in stage.modules():
                if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):  # the depthwise ones
                    rate = 2 if index > _LAST_STRIDE else 1
                    layer.stride, layer.dilation, layer.padding = (1, 1), (rate, rate), (rate, rate)
    if variant == "ROI":
        layers.append(SHAPES[variant].pools[4].layer())
    trunk = nn.Sequential(*layers)
    trunk.out_channels = channels
    return trunk


def copy_features(source: dict[str, Tensor], trunk: nn.Sequential, origin: str | Path = "start weights") -> None:
    """Load the ``features.*`` part of a torchvision MobileNetV2 state dict into a trunk.

    origin: where they come from, for the error. Raises WeightsError when they are for another architecture.
    """
    prefix = "features."
    load_into(trunk, {name[len(prefix):]: value for name, value in source.items() if name.startswith(prefix)}, origin)


def freeze_start(net: nn.Module) -> None:
    """Keep batch norms, and the layers up to stride 8, as they were pre-trained.

    Batches here are too small to re-estimate statistics, and early features need no change for new classes.
    """
    freeze_batch_norms(net)
    net.trunk[:_FIRST_TRAINED].requires_grad_(False)
