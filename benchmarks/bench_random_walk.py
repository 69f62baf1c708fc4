"""Time and memory of the random walk over affinities, beside the usual way; one thread, CPU times.

    OMP_NUM_THREADS=1 python benchmarks/bench_random_walk.py

The usual way fills a dense matrix over all pairs of positions, squares it eight times and multiplies by the maps. Ours
multiplies a sparse one 256 times by the maps of the present labels (background and two tags). Both start from the same
affinities of the pairs nearer than five positions. Memory is the most that the first call adds to a fresh process
(Linux only).
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from bench_pamr import resident_megabytes
from torch import Tensor

from wsss_lab.refinement.affinity import BETA, STEPS, affinities, half_disc, transition, walk

PLANES, REPEATS = 3, 5  # repeats of ours; the usual way runs once
GRIDS = ((41, 41), (45, 60))  # of a 321-pixel canvas and of a 500x375 photograph, at stride 8
OFFSETS = half_disc()


def inputs(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Affinities of features in soft blocks with noise, and maps in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    features = F.interpolate(torch.randn(1, 32, 6, 6, generator=generator), size=(height, width), mode="bilinear")
    features = features + 0.2 * torch.randn(features.shape, generator=generator)
    return affinities(features, OFFSETS)[0], torch.rand(PLANES, height, width, generator=generator)


def usual(affinity: Tensor, maps: Tensor) -> Tensor:
    """The walk by a dense matrix: symmetric, its power, columns divided by their sums, squared, behind the maps."""
    _, height, width = affinity.shape
    positions = torch.arange(height * width).view(height, width)
    dense = torch.eye(height * width)
    for plane, (down, right) in zip(affinity, OFFSETS):
        left, columns = max(-right, 0), width - abs(right)
        start = positions[:height - down, left:left + columns].flatten()
        end = start + down * width + right
        dense[start, end] = dense[end, start] = plane.flatten()[start]
    dense = dense.pow(BETA)
    dense = dense / dense.sum(0, keepdim=True)
    for _ in range(STEPS.bit_length() - 1):
        dense = dense @ dense
    return (maps.flatten(1) @ dense).view(maps.shape)


def sparse(affinity: Tensor, maps: Tensor) -> Tensor:
    return walk(transition(affinity, OFFSETS), maps)


@torch.inference_mode()
def measure(way: str, grid: tuple[int, int], repeats: int) -> tuple[float, float, np.ndarray]:
    """Median seconds of CPU time, added peak megabytes and the walked maps; runs in a process of its own."""
    torch.set_num_threads(1)
    run = {"usual": usual, "sparse": sparse}[way]
    run(*inputs(8, 9))  # loads what is loaded on first use
    affinity, maps = inputs(*grid)
    before, times = resident_megabytes("VmRSS"), []
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is resident now
    for _ in range(repeats):
        start = time.process_time()
        walked = run(affinity, maps)
        times.append(time.process_time() - start)
        if len(times) == 1:
            added = resident_megabytes("VmHWM") - before
    return statistics.median(times), added, walked.numpy()


def bench(grid: tuple[int, int]) -> None:
    rows = (("usual, dense squarings", "usual", 1), ("wsss_lab, sparse steps", "sparse", REPEATS))
    # A process per row: the peak of one call must not hide in that of another.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        results = [pool.submit(measure, way, grid, repeats).result() for _, way, repeats in rows]
    (reference_time, _, reference), _ = results
    print(f"{grid[0]}x{grid[1]} positions, {PLANES} maps{'ms':>17}{'factor':>9}{'MB':>8}{'difference':>12}", flush=True)
    for (name, _, _), (seconds, added, walked) in zip(rows, results):
        difference = abs(walked - reference).max()
        print(f"{name:27}{1000 * seconds:15.1f}{reference_time / seconds:9.1f}{added:8.0f}{difference:12.1e}")
    print(flush=True)


if __name__ == "__main__":
    print(f"Random walk of {STEPS} steps, {len(OFFSETS)} offsets, beta {BETA}")
    for each in GRIDS:
        bench(each)
