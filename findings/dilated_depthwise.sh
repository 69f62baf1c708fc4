#!/usr/bin/env bash
# On a CPU a dilated depthwise convolution learns several times as slowly as the same one without the dilation.
#
# Version: torch 2.14.1 (CPU, one thread, float32)
# Guessed: a dilation only moves where a kernel reads: the same multiplications, about the same time.
# Seen:    forward the two are about as fast; forward and backward, the 3x3 depthwise layer of a MobileNetV2's last stage
#          (16 x 960 x 16 x 16, channels last) takes three to seven times as long with a dilation of 2. Taken as an
#          undilated convolution of the four images that every second row and column make, it gives the same values in
#          less than half of the time.
source "$(dirname "$0")/environment.sh"
environment torch==2.14.1

"$python" - <<'PYTHON'
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(0)
x = torch.randn(16, 960, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
weight = torch.randn(960, 1, 3, 3, requires_grad=True)
gradient = torch.randn(16, 960, 16, 16).contiguous(memory_format=torch.channels_last)


def plain():
    return F.conv2d(x, weight, padding=1, groups=960)


def dilated():
    return F.conv2d(x, weight, padding=2, dilation=2, groups=960)


def split():
    parts = x.permute(0, 2, 3, 1).reshape(16, 8, 2, 8, 2, 960).permute(2, 4, 0, 1, 3, 5).reshape(64, 8, 8, 960)
    parts = F.conv2d(parts.permute(0, 3, 1, 2), weight, padding=1, groups=960).permute(0, 2, 3, 1)
    return parts.reshape(2, 2, 16, 8, 8, 960).permute(2, 3, 0, 4, 1, 5).reshape(16, 16, 16, 960).permute(0, 3, 1, 2)


def seconds(convolve):
    def once():
        began = time.process_time()
        convolve().backward(gradient)
        return time.process_time() - began

    once()
    return min(once() for _ in range(7))


took = {convolve.__name__: seconds(convolve) for convolve in (plain, dilated, split)}
print(*(f"{name}: {took[name] / took['plain']:.1f} times the undilated one" for name in ("dilated", "split")), sep="\n")
assert torch.allclose(dilated(), split(), atol=1e-4)
assert took["dilated"] > 2 * took["plain"] and took["dilated"] > 1.5 * took["split"], "no longer so"
print("as seen before")
PYTHON
