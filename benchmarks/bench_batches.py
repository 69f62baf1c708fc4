"""Batches of photographs per second, drawn in place and ahead by threads; wall-clock times.

    python benchmarks/bench_batches.py

200 made-up JPEGs of 500x375 pixels in a folder, batches of 20 on canvases of 321 pixels, decoded every time as in a
split that is larger than the cache. "drawing alone" takes each batch as soon as it is there. "beside a GPU" stands in
for one with a pause of half a second per batch, in which this machine's cores are free: 2 per second at best. The
augmentation is left out: it is done on the network's device, when the batch has its turn.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from wsss_lab.data.pixels import JpegFiles
from wsss_lab.data.views import TrainView
from wsss_lab.networks.batches import Batches, ahead, tagged_batches
from wsss_lab.networks.machine import Machine

PHOTOGRAPHS, SIDE, BATCH, COUNT, REPEATS = 200, 321, 20, 6, 2
WORKERS = (0, 1, 2, 4)
PAUSES = {"drawing alone": 0.0, "beside a GPU": 0.5}


def photographs(folder: Path) -> TrainView:
    """Soft blobs with a little noise: files of a photograph's size."""
    rng, paths = np.random.default_rng(0), []
    for index in range(PHOTOGRAPHS):
        blobs = cv2.resize(rng.uniform(0, 255, (12, 16, 3)).astype(np.float32), (500, 375), None, 0, 0, cv2.INTER_CUBIC)
        noisy = blobs + rng.normal(0, 12, blobs.shape)
        paths.append(folder / f"{index}.jpg")
        cv2.imwrite(str(paths[-1]), noisy.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])
    tags = np.ones((PHOTOGRAPHS, 1), bool)
    return TrainView("photographs", ("blob",), [path.stem for path in paths], tags, "generator",
                     JpegFiles(paths, cache_bytes=0))


def per_second(view: TrainView, workers: int, pause: float) -> float:
    """Best of some runs; the first batch of each is not counted."""
    found, machine = [], Machine(torch.device("cpu"), workers=workers)
    drawn = Batches(tagged_batches(view, SIDE, BATCH).draw, lambda *batch: batch)
    for _ in range(REPEATS):
        with ahead(drawn, torch.Generator(), COUNT + 1, machine) as batches:
            next(batches)
            start = time.perf_counter()
            for _ in batches:
                time.sleep(pause)
            found.append(COUNT / (time.perf_counter() - start))
    return max(found)


def report() -> str:
    """The lines of the result."""
    with tempfile.TemporaryDirectory() as folder:
        view = photographs(Path(folder))
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) / PHOTOGRAPHS / 1024
        lines = [f"{os.cpu_count()} cores, torch {torch.__version__}, files of {size:.0f} kB, best of {REPEATS}",
                 f"{'batches of 20 per second, workers:':44s}" + "".join(f"{workers:8d}" for workers in WORKERS)]
        for where, pause in PAUSES.items():
            rates = [per_second(view, workers, pause) for workers in WORKERS]
            lines.append(f"{where:44s}" + "".join(f"{rate:8.2f}" for rate in rates))
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ["WSSS_DEVICE"] = "cpu"  # pauses stand in for the GPU
    text = report()
    print(text)
    (Path(__file__).parent / "results" / "batches.txt").write_text(text + "\n", encoding="utf-8")
