"""MobileNetV2 trunks for photographs on a CPU, cut the way the papers cut VGG."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_lab.data.canvas import draw_variants, normalise, trim_and_flip
from wsss_lab.data.views import TrainView
from wsss_lab.errors import one_of
from wsss_lab.networks.inference import batches_of
from wsss_lab.networks.machine import place, resolve_device
from wsss_lab.networks.trunks import SHAPES, freeze_batch_norms
from wsss_lab.networks.weights import load_into

#: First layer of the stage with the last stride (32), and the first that is trained.
_LAST_STRIDE, _FIRST_TRAINED = 14, 14


class Trunk(nn.Sequential):
    """All layers for images (B, 3, H, W), the trained ones for what the others make of them, see `frozen_features`."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in list(self)[0 if x.shape[1] == 3 else _FIRST_TRAINED:]:
            x = layer(x)
        return x


class DilatedDepthwise(nn.Conv2d):
    """A 3x3 depthwise convolution with a dilation of 2, by an undilated one of the four images that every second row
    and column make: the same values, and on a CPU a backward pass several times as fast. (B, c, H, W) -> the same."""

    def __init__(self, layer: nn.Conv2d):
        super().__init__(layer.in_channels, layer.out_channels, 3, padding=2, dilation=2, groups=layer.groups,
                         bias=layer.bias is not None)

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        if height % 2 or width % 2:
            return super().forward(x)
        last = x.permute(0, 2, 3, 1).reshape(count, height // 2, 2, width // 2, 2, channels)
        parts = last.permute(2, 4, 0, 1, 3, 5).reshape(4 * count, height // 2, width // 2, channels)
        parts = F.conv2d(parts.permute(0, 3, 1, 2), self.weight, self.bias, padding=1, groups=self.groups)
        last = parts.permute(0, 2, 3, 1).reshape(2, 2, count, height // 2, width // 2, channels)
        return last.permute(2, 3, 0, 4, 1, 5).reshape(count, height, width, channels).permute(0, 3, 1, 2)


def mobilenet_trunk(variant: str, _blocks: tuple = ()) -> nn.Sequential:
    """``torchvision.models.mobilenet_v2().features`` with its last strides removed: 1280 channels, not negative.

    variant: a key of SHAPES, or "Bottleneck". "VGG-16" and "LowRes" keep all strides (32); the others remove the
    last one (16), and "ROI" adds the 3x3 stride-1 max pooling. "Bottleneck" ends before the last layer, with 320
    channels of either sign: a 3x3 layer behind it takes a quarter of the time.

    Here a removed stride is always made up for by a dilation of 2: with the few photographs that this trunk is meant
    for, later layers can't learn to live without it. So "HighRes" gives the map of "LowRes" on a finer grid, and
    "DeepLab" is the same network; the papers' comparison of the two needs VGG.
    """
    from torchvision.models import mobilenet_v2

    one_of("network variant", variant, (*SHAPES, "Bottleneck"))
    layers = list(mobilenet_v2(weights=None).features)
    channels = layers[-1][0].out_channels
    if variant not in ("VGG-16", "LowRes"):
        for index, stage in enumerate(layers[_LAST_STRIDE:]):
            for block in stage.modules():
                for name, layer in block.named_children():
                    if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):  # the depthwise ones
                        layer.stride = (1, 1)
                        if index:
                            setattr(block, name, DilatedDepthwise(layer))
    if variant == "Bottleneck":
        channels = layers.pop()[0].in_channels
    if variant == "ROI":
        layers.append(SHAPES[variant].pools[4].layer())
    trunk = Trunk(*layers)
    trunk.out_channels = channels
    return trunk


def copy_features(source: dict[str, Tensor], trunk: nn.Sequential, origin: str | Path = "start weights") -> None:
    """Load the ``features.*`` part of a torchvision MobileNetV2 state dict, or a longer trunk's, into a trunk.

    origin: where they come from, for the error. Raises WeightsError when they are for another architecture.
    """
    prefix = "features."
    parts = {name.removeprefix(prefix): value for name, value in source.items() if name.startswith(prefix)}
    beyond = f"{len(trunk)}."  # the last layer, where this trunk ends before it
    load_into(trunk, {name: value for name, value in parts.items() if not name.startswith(beyond)}, origin)


def freeze_start(net: nn.Module) -> None:
    """Keep batch norms, and all layers before the last stage, as they were pre-trained.

    Batches here are too small to re-estimate statistics, and photographs too few to learn better features from: on dev,
    neither segmenters nor classifiers do better from stride 16 on (benchmarks/photo_schedules.py).
    """
    freeze_batch_norms(net)
    net.trunk[:_FIRST_TRAINED].requires_grad_(False)


@torch.inference_mode()
def frozen_features(view: TrainView, start: dict[str, Tensor], side: int, variants: int) -> dict:
    """What the frozen layers make of every image of a view, trimmed and mirrored at random in some variants.

    Networks that learn from these, with labels trimmed alike, take half the time; all that share a start can share
    them. side: of the canvas in pixels. Returns {"features": float16 (N, variants, c, side / 16, side / 16)}.
    """
    trunk = mobilenet_trunk("HighRes")
    copy_features(start, trunk)
    trunk = place(nn.Sequential(*list(trunk)[:_FIRST_TRAINED])).eval()
    trims, flips = draw_variants(len(view), variants, side)
    found = None
    for indices, pixels, _ in batches_of(view, side):
        rows = slice(indices.start, indices.stop)
        for variant in range(variants):
            moved, _ = trim_and_flip(pixels, None, trims[rows, variant], flips[rows, variant])
            made = trunk(normalise(moved.to(resolve_device()))).cpu().numpy().astype(np.float16)
            if found is None:
                found = np.empty((len(view), variants, *made.shape[1:]), np.float16)
            found[rows, variant] = made
    return {"features": found}
