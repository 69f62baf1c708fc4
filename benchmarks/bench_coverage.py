"""How often do 95 % intervals hold the truth, by number of trainings and by their spread?

    python benchmarks/bench_coverage.py | tee benchmarks/results/coverage.txt

Scores are drawn from a known truth: an effect of each image that all trainings share, one of each training (the
spread), and one of each image in each training. Per cell: the share of intervals of wsss_lab.evaluation.intervals that
hold the truth, that of the percentile bootstrap which draws images and trainings alike, and the median width of both.
"""

import numpy as np

from wsss_lab.evaluation.intervals import image_values, interval, ratio, resampled

SHARED, PARTICULAR = 20.0, 10.0  # points, standard deviations over images


def simulated(seeds: int, spread: float, images: int, rng: np.random.Generator) -> np.ndarray:
    """Per-image sums (S, images, 2) whose `ratio` estimates 0, in points."""
    values = (rng.normal(0, SHARED, (1, images)) + rng.normal(0, spread, (seeds, 1))
              + rng.normal(0, PARTICULAR, (seeds, images)))
    return image_values(values)


def simulated_coverage(seeds: int, spread: float, *, repeats: int, replicates: int, images: int) -> float:
    """Share of `repeats` intervals that hold the truth."""
    rng = np.random.default_rng([seeds, int(10 * spread)])
    found = [interval(simulated(seeds, spread, images, rng), ratio, replicates=replicates, rng_seed=i)
             for i in range(repeats)]
    return float(np.mean([each.low <= 0 <= each.high for each in found]))


def compare(seeds: int, spread: float, repeats: int = 1000, replicates: int = 400, images: int = 200) -> tuple:
    """Coverage and median width, of ours and of a bootstrap that draws the trainings too."""
    rng, ours, drawn = np.random.default_rng([seeds, int(10 * spread)]), [], []
    for i in range(repeats):
        sums = simulated(seeds, spread, images, rng)
        found = interval(sums, ratio, replicates=replicates, rng_seed=i)
        ours.append((found.low, found.high))
        samples = resampled(lambda w, sums=sums: np.stack([ratio(w @ seed) for seed in sums], 1), images, replicates, i)
        picks = np.random.default_rng(i).integers(0, seeds, samples.shape)
        drawn.append(np.quantile(np.take_along_axis(samples, picks, 1).mean(1), [0.025, 0.975]))
    return tuple(value for ends in map(np.array, (ours, drawn))
                 for value in (100 * np.mean((ends[:, 0] <= 0) & (ends[:, 1] >= 0)), np.median(np.diff(ends))))


if __name__ == "__main__":
    print(__doc__.split("\n\n")[0] + "\n")
    print(f"{'':>20}  {'images and t':>18}  {'bootstrap of both':>18}")
    print(f"{'trainings':>9} {'spread':>10}  {'holds %':>9}{'width':>9}  {'holds %':>9}{'width':>9}")
    for seeds in (1, 3, 5, 10):
        for spread in (0.0, 1.0, 3.0, 5.4):
            ours, wide, both, narrow = compare(seeds, spread)
            print(f"{seeds:>9} {spread:>10.1f}  {ours:>9.1f}{wide:>9.1f}  {both:>9.1f}{narrow:>9.1f}", flush=True)
