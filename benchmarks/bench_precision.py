"""Training steps of the five papers in full and in half precision (WSSS_PRECISION); CPU time, one thread.

    python benchmarks/bench_precision.py

Each training of the profile toy, on images of the profile quick and what the steps before it made there: the time of
one iteration, from a longer training minus a shorter one. Both precisions alternate. Half precision needs a CPU with
AVX512-BF16 or AMX; others do it in software, slowly. What it does to scores: benchmarks/results/toy_schedules.csv.
"""

import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsss_lab.lab.pool import WORKERS
from wsss_lab.lab.steps import Step

REPEATS, SHORT, LONG = 3, 4, 16
# What is trained -> paper, the schedule in its scale, its step.
TRAININGS: dict[str, tuple[str, str, Callable[[Any], Step]]] = {
    "Oh, GAP network": ("oh2017", "classifier", lambda route: route.classifier("HighRes")),
    "Oh, segmenter": ("oh2017", "segmenter", lambda route: route.trained("G2")),
    "Chaudhry, attention": ("chaudhry2017", "attention", lambda route: route.attention()),
    "Chaudhry, round": ("chaudhry2017", "round", lambda route: route.trained("S3")),
    "Roy, network": ("roy2017", "schedule", lambda route: route.trained()),
    "Araslanov, single stage": ("araslanov2020", "schedule", lambda route: route.trained("ours")),
    "Lee, EPS": ("lee2021", "classifier", lambda route: route.trained("adaptive")),
}


def seconds(step: Step, given: dict[str, Any], settings: dict[str, Any], iterations: int) -> float:
    """CPU time of a training of so many iterations."""
    settings = settings | {"schedule": settings["schedule"] | {"iterations": iterations}}
    before = resource.getrusage(resource.RUSAGE_SELF)
    step.function(**given, **settings)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure, print and write benchmarks/results/precision.txt."""
    import torch

    from wsss_lab.lab.session import start

    torch.set_num_threads(1)
    lines, ratios = [], []
    for name, (paper, schedule, of) in TRAININGS.items():
        run = start(paper, "quick", seeds=1, figures="", jobs=1)
        batch = getattr(start(paper, "toy", seeds=1, figures="").route.scale, schedule).batch
        step = of(run.route)
        given = {key: run.load(each) for key, each in step.inputs.items()}
        settings = dict(step.settings) | {"schedule": step.settings["schedule"] | {"batch": batch}}
        if "warm_up" in settings:
            settings["warm_up"] = 0  # the whole loss from the start
        found: dict[str, list[float]] = {"fp32": [], "bf16": []}
        for _ in range(REPEATS):
            for precision, times in found.items():
                os.environ["WSSS_PRECISION"] = precision
                times.append((seconds(step, given, settings, LONG) - seconds(step, given, settings, SHORT))
                             / (LONG - SHORT))
        full, half = (1000 * statistics.median(times) for times in found.values())
        ratios.append(full / half)
        lines.append(f"{name:26}{batch:6}{full:9.1f}{half:9.1f}{full / half:8.2f} x")
    mean = statistics.geometric_mean(ratios)
    text = "\n".join([f"1 thread, torch {torch.__version__}, CPU ms per iteration, medians of {REPEATS}",
                      f"{'':26}{'batch':>6}{'fp32':>9}{'bf16':>9}", *lines, f"{'together':50}{mean:8.2f} x", ""])
    print(text, end="")
    (Path(__file__).parent / "results" / "precision.txt").write_text(text)


if __name__ == "__main__":
    if not WORKERS.items() <= os.environ.items():  # glibc reads its settings when a process starts
        with tempfile.TemporaryDirectory() as folder:
            os.environ |= WORKERS | {"WSSS_CACHE": folder}
            sys.exit(os.spawnv(os.P_WAIT, sys.executable, [sys.executable, *sys.argv]))
    main()
