"""How many pictures of the toy world one core draws per second.

    python benchmarks/bench_toyvoc.py
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported

from time import perf_counter, process_time

from wsss_lab.data.toyvoc import Knobs, make_pretraining, make_saliency_scenes, make_scenes

CASES = (
    ("scenes 64x64", make_scenes, Knobs()),
    ("scenes 96x96", make_scenes, Knobs(size=96)),
    ("saliency scenes 64x64", make_saliency_scenes, Knobs()),
    ("pre-training crops 32x32", make_pretraining, Knobs()),
)


def main(count: int = 512) -> None:
    print(f"{'pictures per second, one thread':32}{'wall':>8}{'CPU':>8}")
    for name, make, knobs in CASES:
        make(32, 1, knobs)  # first call fills caches
        wall, cpu = perf_counter(), process_time()
        make(count, 2, knobs)
        print(f"{name:32}{count / (perf_counter() - wall):8.0f}{count / (process_time() - cpu):8.0f}")


if __name__ == "__main__":
    main()
