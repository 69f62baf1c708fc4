"""Time and memory of pixel-adaptive mask refinement (PAMR), beside the usual way; one thread, CPU times.

    OMP_NUM_THREADS=1 python benchmarks/bench_pamr.py

The usual way holds the values of all neighbours of all planes at once in every iteration: as convolutions with
dilated one-hot filters, or as shifted copies that are stacked. It refines every plane; ours refines all, or the three
that are present (background and two tags). Memory is the most that the first call adds to a fresh process (Linux
only); the difference is the largest to the stacked shifts on the planes that both refine.
"""

from __future__ import annotations

import multiprocessing
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.refinement.pamr import DILATIONS, ITERATIONS, pamr, pamr_present

REPEATS = 5  # of ours; the usual way runs once


@dataclass(frozen=True)
class Case:
    batch: int
    side: int
    planes: int
    dilations: tuple[int, ...] = DILATIONS

    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Images of soft blocks with noise, masks that sum to 1 and two tags per image."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(self.batch, 3, 8, 8, generator=generator)
        images = F.interpolate(coarse, size=(self.side, self.side), mode="bilinear")
        images = (images + 0.05 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
        masks = torch.randn(self.batch, self.planes, self.side, self.side, generator=generator).softmax(1)
        tags = torch.zeros(self.batch, self.planes - 1, dtype=torch.bool)
        tags[:, :2] = True
        return images, masks, tags


CASES = (Case(4, 128, 21), Case(4, 321, 21), Case(16, 32, 9, DILATIONS[:5]), Case(16, 64, 9))


# --- the usual way ---------------------------------------------------------------------------------------------------


def convolved(planes: Tensor, dilations: tuple[int, ...], centre: bool) -> Tensor:
    """(B, K, H, W) -> (B, K, N, H, W): the neighbours' values, by convolutions with one-hot 3x3 filters."""
    batch, count, height, width = planes.shape
    filters = torch.eye(9).view(9, 1, 3, 3)
    if not centre:
        filters = filters[[0, 1, 2, 3, 5, 6, 7, 8]]
    single = planes.reshape(batch * count, 1, height, width)
    rings = [F.conv2d(F.pad(single, (d,) * 4, mode="replicate"), filters, dilation=d) for d in dilations]
    return torch.cat([ring.view(batch, count, -1, height, width) for ring in rings], 2)


def stacked(planes: Tensor, dilations: tuple[int, ...], centre: bool) -> Tensor:
    """The same by stacking shifted copies."""
    height, width = planes.shape[2:]
    copies = []
    for d in dilations:
        padded = F.pad(planes, (d,) * 4, mode="replicate")
        corners = [(y, x) for y in (0, d, 2 * d) for x in (0, d, 2 * d) if centre or (y, x) != (d, d)]
        copies += [padded[..., y : y + height, x : x + width] for y, x in corners]
    return torch.stack(copies, 2)


def usual(neighbours: Callable[..., Tensor], images: Tensor, masks: Tensor, dilations: tuple[int, ...],
          iterations: int) -> Tensor:
    deviation = neighbours(images, dilations, True).std(2, keepdim=True)
    kernel = -(images.unsqueeze(2) - neighbours(images, dilations, False)).abs() / (1e-8 + 0.1 * deviation)
    weights = kernel.mean(1, keepdim=True).softmax(2)
    for _ in range(iterations):
        masks = (neighbours(masks, dilations, False) * weights).sum(2)
    return masks


# --- measuring -------------------------------------------------------------------------------------------------------


def refine(way: str, case: Case, iterations: int, images: Tensor, masks: Tensor, tags: Tensor) -> Tensor:
    if way == "all":
        return pamr(images, masks, case.dilations, iterations)
    if way == "present":
        return pamr_present(images, masks, tags, case.dilations, iterations)
    return usual({"convolved": convolved, "stacked": stacked}[way], images, masks, case.dilations, iterations)


def resident_megabytes(line: str) -> float:
    """Resident memory of this process: now ("VmRSS") or at its peak ("VmHWM")."""
    found = re.search(rf"{line}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024


@torch.inference_mode()
def measure(way: str, case: Case, iterations: int, repeats: int) -> tuple[float, float, np.ndarray]:
    """Median seconds of CPU time, added peak megabytes and the refined masks; runs in a process of its own."""
    torch.set_num_threads(1)
    small = Case(1, 16, case.planes, case.dilations)
    refine(way, small, 1, *small.inputs())  # loads what is loaded on first use
    inputs = case.inputs()
    before, times = resident_megabytes("VmRSS"), []
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is resident now
    for _ in range(repeats):
        start = time.process_time()
        refined = refine(way, case, iterations, *inputs)
        times.append(time.process_time() - start)
        if len(times) == 1:
            added = resident_megabytes("VmHWM") - before
    return statistics.median(times), added, refined.numpy()


def bench(case: Case) -> None:
    rows = (("usual, convolved", "convolved", ITERATIONS, 1), ("usual, stacked", "stacked", ITERATIONS, 1),
            ("wsss_lab, all planes", "all", ITERATIONS, REPEATS),
            ("wsss_lab, 3 present", "present", ITERATIONS, REPEATS),
            ("the same, 1 iteration", "present", 1, REPEATS))
    results = []
    # A process per row: the peak of one call must not hide in that of another.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for _, *arguments in rows:
            results.append(pool.submit(measure, arguments[0], case, *arguments[1:]).result())
    conv, stack, reference = results[0][0], results[1][0], results[1][2]
    title = f"{case.batch} of {case.side}x{case.side}, {case.planes} planes, {len(case.dilations)} dilations"
    print(f"{title:42}{'ms':>9}{'x conv.':>9}{'x stack.':>9}{'MB':>7}{'difference':>12}", flush=True)
    for (name, way, iterations, _), (seconds, added, refined) in zip(rows, results):
        line = f"{name:42}{1000 * seconds:9.1f}"
        if iterations == ITERATIONS:
            kept = slice(3) if way == "present" else slice(None)
            difference = abs(refined[:, kept] - reference[:, kept]).max()
            print(f"{line}{conv / seconds:9.1f}{stack / seconds:9.1f}{added:7.0f}{difference:12.1e}")
        else:
            print(f"{line}{'':18}{added:7.0f}")
    print(flush=True)


if __name__ == "__main__":
    print(f"PAMR, {ITERATIONS} iterations")
    for each in CASES:
        bench(each)
