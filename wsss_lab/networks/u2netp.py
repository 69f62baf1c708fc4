"""U2-Net-P, an off-the-shelf detector of salient objects, for given weights (Qin et al. 2020).

It was trained on pixel-level saliency masks (DUTS-TR) without classes: whoever uses it adds that supervision
to the image tags and has to say so. The module holds no batch norms, as they are folded into the convolutions
of the weights file, and its parameter names are those of that file.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_lab.data.canvas import IMAGENET_MEAN, IMAGENET_STD
from wsss_lab.errors import DataError, WeightsError
from wsss_lab.networks.inference import device_of, eval_mode
from wsss_lab.networks.weights import load_into, read_weights

WEIGHTS_FILE = "u2netp_saliency.pth"  # its name in the folder WSSS_WEIGHTS
INPUT_SIDE = 320  # of the square that images are stretched to

_WIDTH = 64  # channels between stages
_INNER = 16  # channels inside a stage
_HEIGHTS = (7, 6, 5, 4, 4, 4)  # of the encoder stages; the decoder mirrors all but the last
_FLAT = (False, False, False, False, True, True)  # stages so coarse that they dilate instead of pooling


class ConvReLU(nn.Module):
    """3x3 convolution and ReLU; the size stays."""

    def __init__(self, channels_in: int, channels_out: int, dilation: int = 1):
        super().__init__()
        self.c = nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(x).relu()


class ResidualUBlock(nn.Module):
    """A small U-Net whose output is added to its first features (RSU-L; RSU-4F when flat).

    height: L, the encoder layers; the last one dilates instead of going deeper. flat: all layers keep the
    resolution and dilate by 1, 2, 4, 8. Input (B, channels_in, h, w), output (B, 64, h, w).
    Source: Qin et al. 2020, Sec. 3.1.
    """

    def __init__(self, height: int, channels_in: int, flat: bool = False):
        super().__init__()
        self.flat = flat
        down = [2**level for level in range(height)] if flat else [1] * (height - 1) + [2]
        up = down[-2::-1]  # layer by layer the dilations of the way down, without the deepest
        widths = [_INNER] * (height - 2) + [_WIDTH]
        self.inp = ConvReLU(channels_in, _WIDTH)
        self.enc = nn.ModuleList(ConvReLU(_INNER if level else _WIDTH, _INNER, dilation)
                                 for level, dilation in enumerate(down))
        self.dec = nn.ModuleList(ConvReLU(2 * _INNER, width, dilation)
                                 for width, dilation in zip(widths, up))  # deepest first

    def forward(self, x: Tensor) -> Tensor:
        start = self.inp(x)
        y = start
        skips = []
        for level, layer in enumerate(self.enc):
            pooled = not self.flat and 0 < level < len(self.enc) - 1
            y = layer(_halve(y) if pooled else y)
            skips.append(y)
        skips.pop()
        for layer in self.dec:
            skip = skips.pop()
            y = layer(torch.cat([_resize_like(y, skip), skip], 1))
        return y + start


class U2NetP(nn.Module):
    """A U-Net of small U-Nets with a fused side output per stage: (B, 3, H, W) -> saliency logits (B, 1, H, W).

    Input: see `prepare`. Source: Qin et al. 2020, Sec. 3.2 and Table 1 (the small variant, 1.13 M parameters).
    """

    def __init__(self):
        super().__init__()
        stages = list(zip(_HEIGHTS, _FLAT))
        self.enc = nn.ModuleList(ResidualUBlock(height, _WIDTH if level else 3, flat)
                                 for level, (height, flat) in enumerate(stages))
        self.dec = nn.ModuleList(ResidualUBlock(height, 2 * _WIDTH, flat)
                                 for height, flat in stages[-2::-1])  # deepest first
        self.side = nn.ModuleList(nn.Conv2d(_WIDTH, 1, 3, padding=1) for _ in stages)  # finest first
        self.out = nn.Conv2d(len(stages), 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        y = x
        for level, stage in enumerate(self.enc):
            y = stage(_halve(y) if level else y)
            skips.append(y)
        outputs = [skips.pop()]
        for stage in self.dec:
            skip = skips.pop()
            outputs.append(stage(torch.cat([_resize_like(outputs[-1], skip), skip], 1)))
        sides = [_resize_like(side(features), x) for side, features in zip(self.side, reversed(outputs))]
        return self.out(torch.cat(sides, 1))


def prepare(image: np.ndarray) -> Tensor:
    """What the network was trained on: uint8 (H, W, 3) RGB -> float32 (1, 3, 320, 320).

    Stretched to a square (bilinear, antialiased), divided by its maximum, ImageNet mean and deviation.
    Raises DataError for another kind of array.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"an image of type {image.dtype} and shape {image.shape}", "uint8 (H, W, 3), RGB")
    x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    x = F.interpolate(x, size=(INPUT_SIDE, INPUT_SIDE), mode="bilinear", align_corners=False, antialias=True)
    x = x / x.max().clamp(min=1e-6)  # a black image stays black
    return (x - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)


@torch.no_grad()
def predict(net: U2NetP, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Saliency of each image at its own size: float32 (H, W) in [0, 1].

    images: uint8 (H, W, 3), RGB, of any sizes. Raises DataError for another kind of image.
    """
    maps = []
    with eval_mode(net):
        for image in images:
            saliency = net(prepare(image).to(device_of(net))).sigmoid().cpu()
            resized = F.interpolate(saliency, size=image.shape[:2], mode="bilinear", align_corners=False)
            maps.append(resized[0, 0].numpy())
    return maps


def _halve(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, ceil_mode=True)


def _resize_like(x: Tensor, reference: Tensor) -> Tensor:
    return F.interpolate(x, size=reference.shape[-2:], mode="bilinear", align_corners=False)


# ---------------------------------------------------------------------------------------------------------------------
# U2-Net-P's published weights, as the authors of Qin et al. 2020 share them (u2netp.pth), for `u2netp.U2NetP`.
#
# There every convolution is followed by a batch norm, and the stages have names: `stage1` to `stage6` on the way down,
# `stage5d` to `stage1d` on the way up, and inside a stage of height L `rebnconvin`, `rebnconv1` to `rebnconvL`,
# `rebnconv(L-1)d` to `rebnconv1d`. A batch norm in evaluation mode is linear, so it is folded into its convolution.


def convert(source: str | Path, target: str | Path) -> Path:
    """Write the published weights u2netp.pth as those of `U2NetP`; the file appears complete or not at all.

    Returns target. Raises WeightsError for a source that is missing, damaged or of another network.
    """
    target = Path(target)
    temporary = target.with_name(f"{target.name}.tmp")
    content = io.BytesIO()  # torch hides what the disk says: a failed write is a RuntimeError there
    torch.save(check_original(source), content)
    try:
        temporary.write_bytes(content.getvalue())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def check_original(path: str | Path) -> dict[str, Tensor]:
    """The parameters of a published file for `U2NetP`; WeightsError for a file of another kind or network."""
    state, net = read_weights(path), U2NetP()
    try:
        folded = {f"{ours}.{kind}": value for ours, theirs in _names(net).items()
                  for kind, value in _convolution(state, theirs).items()}
    except KeyError as error:
        raise WeightsError(f"'{path}' has no parameter {error}", "the file u2netp.pth of the network's authors",
                           "u2net.pth, without p, is the larger network: take the small one") from error
    load_into(net, folded, path)
    return folded


def _convolution(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Weight and bias of a layer: gamma (W x + b - mean) / sqrt(var + eps) + beta as one convolution."""
    if not name.rpartition(".")[2].startswith("rebnconv"):
        return {kind: state[f"{name}.{kind}"] for kind in ("weight", "bias")}
    norm = {kind: state[f"{name}.bn_s1.{kind}"] for kind in ("weight", "bias", "running_mean", "running_var")}
    gain = norm["weight"] / (norm["running_var"] + 1e-5).sqrt()
    bias = (state[f"{name}.conv_s1.bias"] - norm["running_mean"]) * gain + norm["bias"]
    return {"weight": state[f"{name}.conv_s1.weight"] * gain[:, None, None, None], "bias": bias}


def _names(net: U2NetP) -> dict[str, str]:
    """The published name of every layer of U2NetP."""
    names = {"out": "outconv"} | {f"side.{index}": f"side{index + 1}" for index in range(len(net.side))}
    stages = [(f"enc.{index}", f"stage{index + 1}", block) for index, block in enumerate(net.enc)]
    stages += [(f"dec.{index}", f"stage{len(net.dec) - index}d", block) for index, block in enumerate(net.dec)]
    for ours, theirs, block in stages:
        names[f"{ours}.inp.c"] = f"{theirs}.rebnconvin"
        names |= {f"{ours}.enc.{index}.c": f"{theirs}.rebnconv{index + 1}" for index in range(len(block.enc))}
        names |= {f"{ours}.dec.{index}.c": f"{theirs}.rebnconv{len(block.dec) - index}d"
                  for index in range(len(block.dec))}
    return names
