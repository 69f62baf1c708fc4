"""The CRF as a recurrent network beside pydensecrf, where both can say the same: agreement and time; one thread.

    OMP_NUM_THREADS=1 python benchmarks/bench_crf_rnn.py

Toy images with noisy unaries of their own labels, one bilateral kernel over all pairs of pixels in RGB, normalised on
both sides and with the pixel itself, as pydensecrf has it, and Potts compatibility. exp(-d^2 / s^2) here is
exp(-d^2 / (2 s^2)) there, so widths differ by the square root of 2. pydensecrf filters on a permutohedral lattice,
which is an approximation.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data.toyvoc import CLASSES, make_scenes
from wsss_lab.refinement.crf_rnn import CrfRnn
from wsss_lab.refinement.dense_crf import CrfParameters, dense_crf
from wsss_lab.seeds.neighbours import normalised, similarity

IMAGES, ITERATIONS = 16, (3, 10)
WEIGHT, WIDTH_XY, WIDTH_RGB = 6, 10, 30


def unaries(masks: np.ndarray) -> Tensor:
    """Potentials (N, K, H, W) of noisy probabilities: one label in four is drawn at random."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.from_numpy(np.where(masks == 255, 0, masks)).long()
    wrong = torch.rand(labels.shape, generator=generator) < 0.25
    labels = torch.where(wrong, torch.randint(0, len(CLASSES) + 1, labels.shape, generator=generator), labels)
    scores = 2.0 * torch.nn.functional.one_hot(labels, len(CLASSES) + 1).movedim(-1, 1)
    return -scores.log_softmax(1)


def ours(image: Tensor, energy: Tensor, iterations: int) -> Tensor:
    """Probabilities (1, K, H, W) by the recurrent network."""
    net = CrfRnn(energy.shape[1], iterations)
    net.compatibility.weight.data.mul_(WEIGHT)
    widths = math.sqrt(2) * WIDTH_XY, math.sqrt(2) * WIDTH_RGB
    kernel = normalised(similarity(image.float(), 1, *widths, radius=image.shape[-1] - 1), "symmetric")
    with torch.no_grad():
        return net(energy, kernel)


def theirs(image: Tensor, energy: Tensor, iterations: int) -> np.ndarray:
    """The same by pydensecrf: (K, H, W)."""
    parameters = CrfParameters(WEIGHT, WIDTH_XY, WIDTH_RGB, 0, 3, iterations)
    return dense_crf(np.ascontiguousarray(image.movedim(0, -1).numpy()), energy.numpy(), parameters)


def report() -> str:
    """The lines of the result."""
    scenes = make_scenes(IMAGES, 0)
    images, energies = torch.from_numpy(scenes["images"]).movedim(-1, 1), unaries(scenes["masks"])
    lines = [f"{torch.get_num_threads()} thread, torch {torch.__version__}; {IMAGES} toy images of "
             f"{images.shape[2]} x {images.shape[3]}, {energies.shape[1]} labels"]
    for iterations in ITERATIONS:
        agree, changed, apart, seconds = [], [], [], np.zeros(2)
        for image, energy in zip(images, energies):
            start = time.process_time()
            first = ours(image[None], energy[None], iterations)[0].numpy()
            middle = time.process_time()
            second = theirs(image, energy, iterations)
            seconds += (middle - start, time.process_time() - middle)
            agree.append((first.argmax(0) == second.argmax(0)).mean())
            changed.append((first.argmax(0) != energy.numpy().argmin(0)).mean())
            apart.append(np.abs(first - second).max())
        lines.append(f"{iterations:2d} iterations: labels agree on {100 * np.mean(agree):.2f} % of the pixels (least "
                     f"{100 * min(agree):.2f} %), where the CRF has changed {100 * np.mean(changed):.0f} %; "
                     f"probabilities differ by {max(apart):.3f} at most; {seconds[0] / IMAGES:.2f} s an image against "
                     f"{seconds[1] / IMAGES:.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    text = report()
    print(text)
    (Path(__file__).parent / "results" / "crf_rnn.txt").write_text(text + "\n", encoding="utf-8")
