"""When does an idea help? An effect on parts of the images, sorted by something that images have.

    Dial(miou("G2") - miou("G0"), "IoU of the detector (%)", counts, foreground_iou)

The images are put in order, and an effect is measured on the first fifth alone, on the second, and so on. Nothing is
trained for it. It tells where an effect is large; whether it is large *because* of what the images were sorted by, only
a change of nothing else could tell.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from wsss_lab.evaluation.confusion import nan_mean
from wsss_lab.evaluation.intervals import image_values, ratio
from wsss_lab.measure.quantities import Leaf, Quantity, Source, cached, figure


@dataclass(frozen=True)
class Dial:
    """An effect, and what it may depend on.

    effect: a difference of scores. by: what the images are sorted by, with its unit. source: where that is read. of:
    from what the source gives of S trainings, stacked, to a value of each image (S, N), nan where it has none. parts:
    how many; where the values are fewer, a part has one value.
    """

    effect: Quantity
    by: str
    source: Source
    of: Callable[[np.ndarray], np.ndarray]
    parts: int = 5

    @cached
    def on(self, part: int) -> Quantity:
        """The effect on a part of the images, counted from 0; -1 is the last."""
        return replace(self.effect, leaves=tuple(self._restricted(leaf, part) for leaf in self.effect.leaves))

    @cached
    def value(self, part: int) -> Quantity:
        """The mean of what the images are sorted by, in a part of them."""
        mean = figure(self.by, self.source, ratio, lambda found: image_values(self.of(found)), unit="")
        return replace(mean, leaves=(self._restricted(mean.leaves[0], part),))

    @property
    def change(self) -> Quantity:
        """The effect on the last part minus that on the first."""
        return self.on(-1) - self.on(0)

    def _restricted(self, leaf: Leaf, part: int) -> Leaf:
        def per_seed(weights: np.ndarray, *arrays: np.ndarray) -> np.ndarray:
            *own, sorted_by = arrays
            return leaf.per_seed(weights * (places(self.of(sorted_by), self.parts) == part % self.parts), *own)

        return replace(leaf, sources=(*leaf.sources, self.source), per_seed=per_seed,
                       images=lambda *arrays: leaf.images(*arrays[:-1]))


def places(values: np.ndarray, parts: int) -> np.ndarray:
    """Which part of the images each is in: (N,) from 0, -1 for those without a value.

    values: (S, N), whose mean over the trainings counts. Parts are equally large but for one image, or hold one value
    each where there are at most as many.

    >>> places(np.array([[0.5, 0.1, np.nan, 0.9, 0.7]]), 2).tolist(), places(np.array([[3, 1, 3, 2]]), 3).tolist()
    ([0, 0, -1, 1, 1], [2, 0, 2, 1])
    """
    mean = nan_mean(np.asarray(values, np.float64).T)
    found, known = np.full(len(mean), -1), ~np.isnan(mean)
    distinct, which = np.unique(mean[known], return_inverse=True)
    ranks = np.argsort(np.argsort(mean[known], kind="stable"), kind="stable")
    found[known] = which if len(distinct) <= parts else ranks * parts // max(known.sum(), 1)
    return found
