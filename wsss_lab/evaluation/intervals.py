"""95 % intervals: paired bootstrap over images and seeds, and t-intervals over seeds.

The bootstrap works on per-image sums: confusion matrices, confidence counts, foreground counts, or any array
(S, N, ...) of S training seeds and N images whose sum over images gives the statistic. Methods that are
compared share the resampled images and seeds (paired), so what makes an image hard for both cancels. The
figure of a method is the mean over seeds of the statistic of all images together.

Intervals keep the unit of the statistic; `Interval.percent` turns fractions into per cent or percentage
points.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.confusion import divide

REPLICATES = 2000
CHUNK = 250  # replicates computed at once, which bounds the memory
LEVEL = 0.95

Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval.

    mean: the figure itself, over all seeds and images
    low, high: the ends, nan where nothing was resampled
    seeds, images: how many of each the figure rests on; images is 0 where only seeds were looked at
    covers: what the interval accounts for: "images and seeds", "images only", "seeds only" or "nothing"
    unit: "" for a fraction or plain number, "%" or "pp" after `percent`
    """

    mean: float
    low: float
    high: float
    seeds: int
    images: int
    covers: str
    unit: str = ""

    @property
    def excludes_zero(self) -> bool:
        """Whether both ends are on one side of zero."""
        return self.low > 0 or self.high < 0

    def within(self, low: float, high: float) -> bool:
        """Whether the whole interval lies in [low, high]."""
        return low <= self.low and self.high <= high

    def percent(self, unit: str = "%") -> "Interval":
        """The same times 100, labelled with `unit`; unchanged if it has a unit already."""
        if self.unit:
            return self
        scaled = (100 * x for x in (self.mean, self.low, self.high))
        return Interval(*scaled, self.seeds, self.images, self.covers, unit)

    def __str__(self) -> str:
        """The figure with its interval, signed when it is a difference.

        >>> print(Interval(0.071, 0.05, 0.092, 3, 500, "images and seeds").percent("pp"))
        +7.1 [+5.0, +9.2] pp
        """
        return f"{self.number(self.mean)} {self.ends or self.unit}".rstrip()

    @property
    def ends(self) -> str:
        """The ends alone, such as "[+5.0, +9.2] pp", or "" where there are none."""
        if np.isnan(self.low) or np.isnan(self.high):
            return ""
        return f"[{self.number(self.low)}, {self.number(self.high)}] {self.unit}".rstrip()

    def number(self, value: float) -> str:
        """One decimal for per cent, signed for percentage points, three decimals for plain numbers."""
        return f"{value:{ {'%': '.1f', 'pp': '+.1f'}.get(self.unit, '.3f') }}"


def bootstrap(
    per_seed: Callable[[np.ndarray], np.ndarray],
    images: int,
    *,
    replicates: int = REPLICATES,
    level: float = LEVEL,
    rng_seed: int = 0,
) -> Interval:
    """Percentile interval of a mean over seeds, images and seeds drawn with replacement.

    per_seed: takes image weights (R, images), how often each image was drawn, and returns (R, S), the
        statistic of each seed under each row of weights; weights of one give the figure itself
    images: how many images there are, at least 1
    returns: Interval; with one seed it covers the images only

    The same rng_seed gives the same draws, so intervals are reproducible.
    """
    rng = np.random.default_rng(rng_seed)
    whole = np.atleast_2d(per_seed(np.ones((1, images))))[0]
    seeds = len(whole)
    samples = []
    for start in range(0, replicates, CHUNK):
        rows = min(CHUNK, replicates - start)
        drawn = np.asarray(per_seed(_draws(rng, rows, images)))
        samples.append((_draws(rng, rows, seeds) * drawn).sum(1) / seeds)
    low, high = _percentiles(np.concatenate(samples), level)
    covers = "images and seeds" if seeds > 1 else "images only"
    return Interval(float(whole.mean()), low, high, seeds, images, covers)


def interval(sums: np.ndarray, statistic: Statistic, **options) -> Interval:
    """Interval of one method's statistic.

    sums: (S, N, ...) per-image sums of each seed, such as confusions (S, N, K, K + 1)
    statistic: takes sums (R, ...) and returns (R,), such as `mean_iou` or `mean_precision`
    options: replicates, level and rng_seed of `bootstrap`
    """
    return combined_interval([sums], statistic, lambda value: value, **options)


def difference_interval(a: np.ndarray, b: np.ndarray, statistic: Statistic, **options) -> Interval:
    """Interval of statistic(a) - statistic(b) on the same images, seed by seed.

    a, b: (S, N, ...) per-image sums as for `interval`; one with a single seed is paired with every seed
    raises: ParameterError when the numbers of images or seeds do not match
    """
    return combined_interval([a, b], statistic, lambda x, y: x - y, **options)


def combined_interval(
    methods: Sequence[np.ndarray], statistic: Statistic, combine: Callable[..., np.ndarray], **options
) -> Interval:
    """Interval of any combination of the methods' statistics: a ratio, or a difference of two gains.

    methods: arrays (S, N, ...) of per-image sums; one with a single seed is paired with every seed
    combine: takes the methods' statistics, arrays of one shape, and returns one array of that shape

    >>> ones = np.ones((1, 4, 2))
    >>> gain = combined_interval([ones, ones, ones], lambda s: s.sum(-1), lambda a, b, c: (a - b) / c)
    >>> gain.mean, gain.low, gain.high
    (0.0, 0.0, 0.0)
    """
    methods = [np.asarray(sums) for sums in methods]
    _check_pairing(methods)
    images = methods[0].shape[1]
    rows = [sums.reshape(*sums.shape[:2], -1).astype(np.float64) for sums in methods]

    def per_seed(weights: np.ndarray) -> np.ndarray:
        values = [
            np.stack([statistic((weights @ seed).reshape(-1, *sums.shape[2:])) for seed in flat], 1)
            for sums, flat in zip(methods, rows, strict=True)
        ]
        return combine(*np.broadcast_arrays(*values))

    return bootstrap(per_seed, images, **options)


def ratio(sums: np.ndarray) -> np.ndarray:
    """Statistic for plain means over images and other ratios: sums (..., 2) give sums[0] / sums[1]."""
    return divide(sums[..., 0], sums[..., 1])


def image_values(values: np.ndarray) -> np.ndarray:
    """Per-image sums (..., 2) whose `ratio` is the mean of `values` (...) over images, nan left out."""
    known = ~np.isnan(values)
    return np.stack([np.where(known, values, 0.0), known], -1)


def mean_and_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Mean over training seeds with Student's t-interval, for the cells of tables.

    values: one figure per seed; with one seed there is no interval (low and high are nan)
    raises: ParameterError without values
    """
    from scipy.special import stdtrit

    values = np.asarray(values, np.float64).ravel()
    if not values.size:
        raise ParameterError("no values to average", "one figure per seed")
    mean = float(values.mean())
    if values.size == 1:
        return Interval(mean, np.nan, np.nan, 1, 0, "nothing")
    half = stdtrit(values.size - 1, (1 + level) / 2) * values.std(ddof=1) / np.sqrt(values.size)
    return Interval(mean, mean - float(half), mean + float(half), values.size, 0, "seeds only")


def _draws(rng: np.random.Generator, rows: int, items: int) -> np.ndarray:
    """(rows, items) float64: how often each item came up when `items` were drawn with replacement."""
    drawn = rng.integers(0, items, (rows, items)) + items * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * items).reshape(rows, items).astype(np.float64)


def _percentiles(samples: np.ndarray, level: float) -> tuple[float, float]:
    known = samples[~np.isnan(samples)]
    if not known.size:
        return np.nan, np.nan
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check_pairing(methods: list[np.ndarray]) -> None:
    shapes = [sums.shape for sums in methods]
    if any(len(shape) < 2 for shape in shapes):
        raise ParameterError(f"per-image sums have shapes {shapes}", "(seeds, images, ...) each")
    if any(0 in shape[:2] for shape in shapes):
        raise ParameterError(f"no images to resample in shapes {shapes}", "at least one seed and one image")
    seeds, images = {shape[0] for shape in shapes} - {1}, {shape[1] for shape in shapes}
    if len(images) != 1 or len(seeds) > 1:
        raise ParameterError(
            f"per-image sums of shapes {shapes} cannot be paired",
            "the same images and the same seeds for every method",
            "score all methods on one split with the same SEEDS",
        )
