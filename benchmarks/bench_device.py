"""Refinement and training on this device, beside the usual ways in plain PyTorch and torchvision.

    python benchmarks/bench_device.py | tee benchmarks/results/device.txt
    python benchmarks/bench_device.py --device cpu --quick    # does it run?

PAMR and the random walk: beside what bench_pamr.py and bench_random_walk.py call usual, on the same device. Training:
images per second of the joint training of Chaudhry et al. (ResNet-101, as in bench_gpu.py, with its batches and both
losses), beside torchvision's deeplabv3_resnet101, which gets one batch that lies on the device again and again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import bench_gpu
import bench_pamr
import bench_random_walk
import torch
from torch import Tensor, nn
from torchvision.models.segmentation import deeplabv3_resnet101

from wsss_lab.networks.machine import Machine

CASES = (bench_pamr.Case(4, 128, 21), bench_pamr.Case(4, 321, 21))
GRIDS = bench_random_walk.GRIDS
REPEATS = 5


def milliseconds(call: Callable[[], Tensor], repeats: int) -> tuple[float, Tensor]:
    """The median of some calls behind a first one, which isn't timed, and what the last has brought."""
    times = []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        found = call()
        if found.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times[1:]), found


def beside(name: str, usual: Callable[[], Tensor], ours: Callable[[], Tensor], repeats: int) -> None:
    (reference, expected), (taken, found) = milliseconds(usual, repeats), milliseconds(ours, repeats)
    print(f"{name:44}{reference:>12.2f}{taken:>12.2f}{reference / taken:>8.1f}"
          f"{(found - expected).abs().max().item():>12.1e}", flush=True)


@torch.inference_mode()
def refinement(cases: tuple, grids: tuple, repeats: int) -> None:
    print(f"{'refinement':44}{'usual, ms':>12}{'ours, ms':>12}{'factor':>8}{'difference':>12}")
    device = Machine.here().device
    for case in cases:
        given = [each.to(device) for each in case.inputs()]
        beside(f"PAMR, {case.batch} of {case.side}x{case.side}, {case.planes} planes",
               lambda case=case, given=given: bench_pamr.refine("stacked", case, bench_pamr.ITERATIONS, *given),
               lambda case=case, given=given: bench_pamr.refine("all", case, bench_pamr.ITERATIONS, *given), repeats)
    for grid in grids:
        given = [each.to(device) for each in bench_random_walk.inputs(*grid)]
        with device:  # where the dense matrix is made
            beside(f"random walk, {grid[0]}x{grid[1]} positions", lambda given=given: bench_random_walk.usual(*given),
                   lambda given=given: bench_random_walk.sparse(*given), repeats)


def plain(side: int, batch: int, steps: int) -> float:
    """Images per second of torchvision's network."""
    machine = Machine.here()
    net = deeplabv3_resnet101(weights=None, weights_backbone=None, num_classes=1 + bench_gpu.CLASSES)
    net = net.to(machine.device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(batch, 3, side, side, device=machine.device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 1 + bench_gpu.CLASSES, (batch, side, side), device=machine.device)

    def step() -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        with machine.autocast():
            loss = nn.functional.cross_entropy(net(images)["out"], labels)
        loss.backward()
        optimiser.step()
        return loss.detach()

    return 1e3 * batch / milliseconds(step, steps)[0]


def training(options: argparse.Namespace) -> None:
    step = bench_gpu.shortened(bench_gpu.session("chaudhry2017").route.trained("S3"), options)
    side, batch = step.settings["backbone"]["side"], step.settings["schedule"]["batch"]
    ours = batch * options.steps / bench_gpu.measure(step)["seconds"]
    theirs = plain(side, batch, options.steps)
    print(f"\n{'training, images/s':44}{'torchvision':>12}{'ours':>12}{'factor':>8}\n"
          f"{f'ResNet-101, {batch} of {side}x{side}':44}{theirs:>12.2f}{ours:>12.2f}{ours / theirs:>8.2f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--quick", action="store_true", help="the smallest sizes")
    arguments = parser.parse_args()
    os.environ["WSSS_DEVICE"] = arguments.device
    print(f"{bench_gpu.device_name()}, torch {torch.__version__}\n")
    small = arguments.quick
    refinement((bench_pamr.Case(1, 32, 5),) if small else CASES, ((8, 9),) if small else GRIDS, 1 if small else REPEATS)
    training(argparse.Namespace(steps=1 if small else 20, side=65 if small else 0, batch=2 if small else 0))
