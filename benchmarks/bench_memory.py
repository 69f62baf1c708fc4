"""What it brings that workers keep the memory of large tensors (wsss_lab.lab.pool.WORKERS); CPU time, one thread.

    python benchmarks/bench_memory.py

Trainings of an Oh et al. 2017 segmenter, in fresh processes that have the environment of workers or lack its MALLOC_
lines: of PROFILE=toy, and of PROFILE=photos on features of frozen layers; and MobileNetV2's frozen layers looking at
photographs, 32 at once. Images are noise. Both kinds of processes alternate.
"""

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

REPEATS = 3
WORK = ("toy, training", "photos, training", "photos, frozen layers")


def work(kind: str) -> None:
    """Print CPU ms per image, and fresh pages per image, of the second half of some steps."""
    import torch

    from wsss_lab.networks import mobilenet
    from wsss_lab.networks.fit import make_optimiser
    from wsss_lab.networks.heads import deeplab
    from wsss_lab.networks.losses import pixel_loss
    from wsss_lab.papers.oh2017.route import SCALES

    torch.set_num_threads(1)
    scale = SCALES[kind.split(",")[0]]
    net, side, count = deeplab(scale.backbone, 21).train(), scale.backbone.side, scale.segmenter.batch
    scale.backbone.prepare(net)
    optimiser = make_optimiser(net, scale.segmenter)
    given = torch.randn(count, 96, side // 16, side // 16) if kind == WORK[1] else torch.randn(count, 3, side, side)

    def step() -> int:
        if kind == WORK[2]:
            with torch.inference_mode():
                net.trunk[:mobilenet._FIRST_TRAINED](torch.randn(32, 3, side, side))
            return 32
        labels = torch.randint(21, (count, side, side))
        optimiser.zero_grad(set_to_none=True)
        pixel_loss(net(given), labels).backward()
        optimiser.step()
        return count

    steps = 20 if kind == WORK[0] else 4
    for _ in range(steps):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF)
    images = sum(step() for _ in range(steps))
    after = resource.getrusage(resource.RUSAGE_SELF)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(1000 * took / images, (after.ru_minflt - before.ru_minflt) / images)


def main() -> None:
    """Measure, print and write benchmarks/results/memory.txt."""
    import torch

    from wsss_lab.lab.pool import WORKERS

    kept = os.environ | WORKERS
    usual = {name: value for name, value in kept.items() if not name.startswith("MALLOC_")}
    lines = [f"1 thread, torch {torch.__version__}, medians of {REPEATS}, per image",
             f"{'':24}{'CPU ms, kept':>14}{'usual':>8}{'':>10}{'fresh pages, kept':>18}{'usual':>8}"]
    for kind in WORK:
        found = [[list(map(float, subprocess.run([sys.executable, __file__, kind], env=each, check=True, text=True,
                                                 capture_output=True).stdout.split()))
                  for each in (kept, usual)] for _ in range(REPEATS)]
        (ms, pages), (usual_ms, usual_pages) = ([statistics.median(values) for values in zip(*each)]
                                                for each in zip(*found))
        lines.append(f"{kind:24}{ms:14.2f}{usual_ms:8.2f}{usual_ms / ms:8.2f} x{pages:18.0f}{usual_pages:8.0f}")
    text = "\n".join(lines) + "\n"
    print(text, end="")
    (Path(__file__).parent / "results" / "memory.txt").write_text(text)


if __name__ == "__main__":
    work(sys.argv[1]) if len(sys.argv) > 1 else main()
