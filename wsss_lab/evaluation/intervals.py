"""95 % intervals over images and training seeds: a paired bootstrap over images, Student's t over seeds.

The bootstrap works on per-image sums: confusion matrices, confidence counts, or any array (S, N, ...) of S training
seeds and N images whose sum over images gives the statistic. Methods that are compared share the resampled images and
are compared seed by seed (paired), so what makes an image hard for both cancels. The figure of a method is the mean
over seeds of the statistic of all images together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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

    mean: over all seeds and images    low, high: the ends, nan where nothing was resampled
    seeds, images: how many of each the figure rests on; images is 0 where only seeds were looked at
    covers: what the interval accounts for: "images and seeds", "images only", "seeds only" or "nothing"
    unit: "" for a fraction or plain number, "%" or "pp" (percentage points) after `percent`
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
        return replace(self, mean=100 * self.mean, low=100 * self.low, high=100 * self.high, unit=unit)

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
        """A value as figures of this unit are printed."""
        return number(value, self.unit)


def number(value: float, unit: str) -> str:
    """One decimal for per cent, signed for percentage points, three decimals for plain numbers."""
    return f"{value:{ {'%': '.1f', 'pp': '+.1f'}.get(unit, '.3f') }}"


def bootstrap(per_seed: Callable[[np.ndarray], np.ndarray], images: int, *, replicates: int = REPLICATES,
              rng_seed: int = 0) -> Interval:
    """Interval of a mean over trainings on images that could have been others: `combined` over resampled images.

    per_seed: takes weights (R, images), how often each of the images was drawn, and returns (R, S), the statistic of
    each training under each row of weights; weights of one give the figure itself. Equal rng_seeds give equal draws.
    """
    whole = np.atleast_2d(per_seed(np.ones((1, images))))[0]
    return combined(whole, resampled(per_seed, images, replicates, rng_seed), images)


def resampled(per_seed: Callable[[np.ndarray], np.ndarray], images: int, replicates: int = REPLICATES,
              rng_seed: int = 0) -> np.ndarray:
    """(replicates, S): `per_seed` of `bootstrap` under images drawn with replacement, CHUNK draws at once."""
    rng = np.random.default_rng(rng_seed)
    rows = [min(CHUNK, replicates - start) for start in range(0, replicates, CHUNK)]
    return np.concatenate([np.asarray(per_seed(_draws(rng, count, images)), np.float64) for count in rows])


def combined(whole: np.ndarray, drawn: np.ndarray, images: int) -> Interval:
    r"""Interval of the mean of S trainings, for other trainings and other images.

    .. math:: \bar{x} \pm \sqrt{t_{S-1}^2 s^2 / S + v \, q^2}

    s is the standard deviation over the trainings and t Student's quantile; q the way from the mean to the end of the
    percentile interval over resampled images, and v the part of that variance which the trainings have in common, as
    what is particular to a training is in s already. So do independent errors of known limits add up (Zou & Donner
    2008, MOVER). With one training the images alone are covered.

    whole: (S,) the statistic of each training    drawn: (R, S) the same on resampled images, nan where undefined

    >>> combined(np.array([0.4, 0.5, 0.6]), np.array([[0.4, 0.5, 0.6]] * 9), 20).ends
    '[0.252, 0.748]'
    """
    seeds, mean = len(whole), float(np.mean(whole))
    known = drawn[~np.isnan(drawn).any(1)]
    if np.isnan(mean) or not len(known):
        return Interval(mean, np.nan, np.nan, seeds, images, "nothing")
    ends = np.quantile(known.mean(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    ways = np.maximum(np.array([mean - ends[0], ends[1] - mean]), 0)
    if seeds > 1:
        ways = np.sqrt(_shared_variance(known) * ways**2 + _t_half(whole) ** 2)
    covers = "images and seeds" if seeds > 1 else "images only"
    return Interval(mean, mean - float(ways[0]), mean + float(ways[1]), seeds, images, covers)


def _shared_variance(drawn: np.ndarray) -> float:
    """Which part of the variance of their mean S > 1 trainings have in common, by draws (R, S): in [0, 1]."""
    covariance, seeds = np.cov(drawn.T), drawn.shape[1]
    total = covariance.sum() / seeds**2
    between = (covariance.sum() - np.trace(covariance)) / (seeds * (seeds - 1))
    return float(np.clip(between / total, 0, 1)) if total > 0 else 0.0


def _t_half(values: np.ndarray) -> float:
    """Half the width of Student's t-interval of the mean of two values or more."""
    from scipy.special import stdtrit

    return float(stdtrit(len(values) - 1, (1 + LEVEL) / 2) * np.std(values, ddof=1) / np.sqrt(len(values)))


def interval(sums: np.ndarray, statistic: Statistic, **options) -> Interval:
    """Interval of one method's statistic, which takes sums (R, ...) and returns (R,), such as `mean_iou`.

    sums: (S, N, ...) per-image sums of each seed, such as confusions (S, N, K, K + 1). options: of `bootstrap`.
    """
    return _interval([sums], statistic, lambda value: value, **options)


def difference_interval(a: np.ndarray, b: np.ndarray, statistic: Statistic, **options) -> Interval:
    """Interval of statistic(a) - statistic(b) on the same images, seed by seed.

    a, b: (S, N, ...) per-image sums as for `interval`; one with a single seed is paired with every seed. Raises
    ParameterError when the numbers of images or seeds do not match.
    """
    return _interval([a, b], statistic, np.subtract, **options)


def _interval(methods: Sequence[np.ndarray], statistic: Statistic, combine: Callable[..., np.ndarray],
              **options) -> Interval:
    """Interval of what `combine` makes of the methods' statistics, arrays of one shape."""
    methods = [np.asarray(sums) for sums in methods]
    _check_pairing(methods)
    rows = [sums.reshape(*sums.shape[:2], -1).astype(np.float64) for sums in methods]

    def per_seed(weights: np.ndarray) -> np.ndarray:
        values = [np.stack([statistic((weights @ seed).reshape(-1, *sums.shape[2:])) for seed in flat], 1)
                  for sums, flat in zip(methods, rows, strict=True)]
        return combine(*np.broadcast_arrays(*values))

    return bootstrap(per_seed, methods[0].shape[1], **options)


def ratio(sums: np.ndarray) -> np.ndarray:
    """Statistic for plain means over images and other ratios: sums (..., 2) give sums[0] / sums[1]."""
    return divide(sums[..., 0], sums[..., 1])


def image_values(values: np.ndarray) -> np.ndarray:
    """Per-image sums (..., 2) whose `ratio` is the mean of `values` (...) over images, nan left out."""
    known = ~np.isnan(values)
    return np.stack([np.where(known, values, 0.0), known], -1)


def _draws(rng: np.random.Generator, rows: int, items: int) -> np.ndarray:
    """(rows, items) float64: how often each item came up when `items` were drawn with replacement."""
    drawn = rng.integers(0, items, (rows, items)) + items * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * items).reshape(rows, items).astype(np.float64)


def _check_pairing(methods: list[np.ndarray]) -> None:
    shapes = [sums.shape for sums in methods]
    if any(len(shape) < 2 for shape in shapes):
        raise ParameterError(f"per-image sums have shapes {shapes}", "(seeds, images, ...) each")
    if any(0 in shape[:2] for shape in shapes):
        raise ParameterError(f"no images to resample in shapes {shapes}", "at least one seed and one image")
    seeds, images = {shape[0] for shape in shapes} - {1}, {shape[1] for shape in shapes}
    if len(images) != 1 or len(seeds) > 1:
        raise ParameterError(f"per-image sums of shapes {shapes} cannot be paired",
                             "the same images and the same seeds for every method",
                             "score all methods on one split with the same SEEDS")


# ---------------------------------------------------------------------------------------------------------------------
# Spearman's rank correlation as a statistic of sums, so that it can be bootstrapped over images.


def rank_sums(facts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Per-image sums for `correlation`: facts (N,) and values (S, N) -> (S, N, 6), 0 where one of them is nan."""
    from scipy.stats import rankdata

    sums = np.zeros((*values.shape, 6))
    for each, row in zip(sums, values, strict=True):
        known = ~np.isnan(facts) & ~np.isnan(row)
        # Ranks around 0, as sums of squares of large numbers would lose digits.
        x, y = (rankdata(part[known]) - (known.sum() + 1) / 2 for part in (facts, row))
        each[known] = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1)
    return sums


def correlation(summed: np.ndarray) -> np.ndarray:
    """Correlation of ranks from summed `rank_sums` (..., 6), in [-1, 1]; nan where one of them doesn't vary."""
    count, x, y, xx, yy, xy = np.moveaxis(summed, -1, 0)
    spread = np.sqrt(np.maximum(count * xx - x * x, 0) * np.maximum(count * yy - y * y, 0))
    return divide(count * xy - x * y, spread)
