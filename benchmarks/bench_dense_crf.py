"""Milliseconds per image of the dense CRF and of the CRF loss; one thread, median of CPU times.

    OMP_NUM_THREADS=1 python benchmarks/bench_dense_crf.py

`all` keeps every class, the other columns two or three of them (background and one or two tags, as most photographs
of VOC 2012 have), as where tags are known. The last two rows are the astronaut of scikit-image at the size of a
photograph of VOC 2012 (`pip install .[photo]`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image
from skimage.data import astronaut

from wsss_lab.refinement.constrain_to_boundary import boundary_loss, crf_targets
from wsss_lab.refinement.dense_crf import CRF_SETS, CrfParameters, refine_probabilities


def blocky_image(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 (H, W, 3): flat blocks with a ramp and a little noise, roughly as redundant as a photograph."""
    block = max(4, height // 8)
    colours = rng.integers(0, 256, (-(-height // block), -(-width // block), 3))
    image = colours.repeat(block, 0).repeat(block, 1)[:height, :width].astype(float)
    image += np.linspace(0, 20, width)[None, :, None] + rng.normal(0, 4, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """Median CPU time of one call."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def boundary_step(
    logits: torch.Tensor, images: torch.Tensor, parameters: CrfParameters, tags: torch.Tensor | None
) -> None:
    """Targets, loss and gradient for a batch, as in a training step."""
    targets = crf_targets(torch.softmax(logits, 1), images, parameters, tags)
    boundary_loss(torch.log_softmax(logits, 1), targets).backward()


def bench_crf(rng: np.random.Generator) -> None:
    print(f"{'dense CRF':<16}{'set':>4}{'all':>10}{'three':>10}{'two':>10}   ms per image")
    photograph = np.array(Image.fromarray(astronaut()).resize((500, 375)))
    images = [*(blocky_image(side, side, rng) for side in (16, 41, 64)), photograph]
    for image, classes, repeats in zip(images, (9, 21, 9, 21), (50, 20, 20, 5), strict=True):
        height, width = image.shape[:2]
        probabilities = rng.dirichlet(np.ones(classes), (height, width)).transpose(2, 0, 1).astype(np.float32)
        for name, parameters in CRF_SETS.items():
            scaled = parameters.scaled(min(1, height / 321))  # the papers' widths are for 321 pixels or more
            times = [milliseconds(partial(refine_probabilities, image, probabilities, scaled, labels), repeats)
                     for labels in (None, [0, 1, 2], [0, 1])]
            print(f"{f'{height}x{width}x{classes}':<16}{name:>4}" + "".join(f"{each:>10.2f}" for each in times))


def bench_loss(rng: np.random.Generator, size: int = 32) -> None:
    print(f"\n{'CRF loss':<16}{'set':>4}{'all':>10}{'present':>10}   ms per image, batch of {size}")
    images = np.stack([blocky_image(64, 64, rng) for _ in range(size)])
    images = torch.from_numpy(images).permute(0, 3, 1, 2)
    logits = torch.randn(size, 9, 16, 16, requires_grad=True)
    two_tags = torch.zeros(size, 8, dtype=torch.bool)
    two_tags[:, :2] = True
    for name, parameters in CRF_SETS.items():
        step = partial(boundary_step, logits, images, parameters.scaled(64 / 321))
        every, present = (milliseconds(partial(step, tags), 10) / size for tags in (None, two_tags))
        print(f"{'16x16x9':<16}{name:>4}{every:>10.2f}{present:>10.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    bench_crf(np.random.default_rng(0))
    bench_loss(np.random.default_rng(1))
