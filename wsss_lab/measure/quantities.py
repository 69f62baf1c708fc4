"""Quantities: what a cell of a table shows and a claim compares.

    miou("G2") - miou("G1")            a difference, paired over images and trainings
    miou("G2").interval(results)       its figure with its interval

A quantity knows which outputs of a route it reads, so that what must be computed for it follows from it. Papers define
theirs with `figure` in functions that are `cached`: equal quantities are then one object, resampled once.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wsss_lab.evaluation.intervals import REPLICATES, Interval, Statistic, combined, number, resampled

if TYPE_CHECKING:
    from wsss_lab.lab.session import Session
    from wsss_lab.lab.steps import Step

#: From a route to what is read of it, an output of a step or a view. Raises NotMeasured for what a profile leaves out.
Source = Callable[[Any], Any]


class NotMeasured(Exception):
    """What these runs do not hold, on purpose; the message is a sentence that becomes a claim's reason."""


class Derived:
    """What a source may return besides an output: something made of references when it is read, as in
    Derived(lambda view: view.tags, route.world.train_view("val")), or a setting: Derived(lambda: route.side)."""

    def __init__(self, make: Callable[..., Any], *references: Any):
        self.make, self.references = make, references
        self.steps = tuple(dict.fromkeys(step for each in references for step in getattr(each, "steps", ())))

    def load(self, store: Any) -> Any:
        return self.make(*(each.load(store) for each in self.references))


@dataclass(frozen=True, eq=False)
class Leaf:
    """One statistic of results. sources: what it reads; their values, stacked over S trainings, are the arrays of the
    others. per_seed: takes weights (R, images) and the arrays; returns (R, S), the statistic of each training. images:
    how many images (or whatever is resampled) the arrays are about."""

    sources: tuple[Source, ...]
    per_seed: Callable[..., np.ndarray]
    images: Callable[..., int]
    replicates: int = REPLICATES


def per_image_sums(statistic: Statistic, sums: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """`per_seed` of a leaf whose statistic (R, ...) -> (R,) is one of sums over images; sums: arrays -> (S, N, ...)."""

    def per_seed(weights: np.ndarray, *arrays: np.ndarray) -> np.ndarray:
        each = np.asarray(sums(*arrays))
        # Single precision is ample for resampled sums, and twice as fast; weights of one give the figure itself.
        kind = np.float64 if len(weights) == 1 else np.float32
        flat = each.reshape(*each.shape[:2], -1).astype(kind)
        drawn = [(weights.astype(kind) @ seed).astype(np.float64).reshape(-1, *each.shape[2:]) for seed in flat]
        return np.stack([statistic(summed) for summed in drawn], 1)

    return per_seed


@dataclass(frozen=True, eq=False)
class Quantity:
    """A figure made of leaves. combine: from their statistics, arrays of one shape, to the figure. name: for readers.
    unit: "%" for a share, "pp" for a difference of shares, "" for a plain number. parts: the quantities that are shown
    beside it, itself unless it is made of others."""

    leaves: tuple[Leaf, ...]
    name: str
    unit: str = "%"
    combine: Callable[..., np.ndarray] = lambda value: value
    components: tuple["Quantity", ...] = field(default=())

    @property
    def parts(self) -> tuple["Quantity", ...]:
        return self.components or (self,)

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(dict.fromkeys(source for leaf in self.leaves for source in leaf.sources))

    def resolve(self, _results: "Results") -> "Quantity":
        return self

    def __sub__(self, other: "Quantity") -> "Quantity":
        if isinstance(other, Best):
            return replace(other, wrap=lambda chosen: self - other.wrap(chosen), more=(self,))
        return joined(np.subtract, f"{self.name} - {other.name}", self, other, unit=self.unit and "pp")

    def __truediv__(self, other: "Quantity | float") -> "Quantity":
        if isinstance(other, Quantity):
            return joined(np.divide, f"{self.name} / {other.name}", self, other, unit=self.unit and "%")
        return replace(self, combine=lambda *values: self.combine(*values) / other, name=f"{self.name} / {other:g}")

    def called(self, name: str, unit: str | None = None) -> "Quantity":
        """The same under another name, shown alone."""
        return replace(self, name=name, unit=self.unit if unit is None else unit, components=())

    def interval(self, results: "Results") -> Interval:
        """The figure with its 95 % interval, in its unit."""
        known = [results.drawn(leaf) for leaf in self.leaves]
        least = min(len(each.drawn) for each in known)  # the first draws are the same however many follow
        whole = self.combine(*np.broadcast_arrays(*(each.whole for each in known)))
        drawn = self.combine(*np.broadcast_arrays(*(each.drawn[:least] for each in known)))
        found = combined(whole, drawn, max(each.images for each in known))
        return found.percent(self.unit) if self.unit else found

    def values(self, results: "Results") -> np.ndarray:
        """The figure of each training in its unit: (S,)."""
        wholes = np.broadcast_arrays(*map(results.whole, self.leaves))
        return np.asarray(self.combine(*wholes)) * (100 if self.unit else 1)

    def value(self, results: "Results") -> float:
        """The figure in its unit, mean over the trainings; nan where it is undefined."""
        return float(np.mean(self.values(results)))

    def figures(self, results: "Results") -> str:
        """The figures behind it, as in "G2 51.2, G1 46.2"."""
        return ", ".join(f"{part.name} {number(part.value(results), part.unit)}" for part in dict.fromkeys(self.parts))


def cached(make: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function of plain arguments give one object for equal calls: f(1), f(1, None) and f(a=1) alike."""
    signature, known = inspect.signature(make), {}

    @functools.wraps(make)
    def once(*arguments, **named):
        bound = signature.bind(*arguments, **named)
        bound.apply_defaults()
        key = tuple(bound.arguments.items())
        if key not in known:
            known[key] = make(*bound.args, **bound.kwargs)
        return known[key]

    return once


@cached
def result(output: str, method: Callable[..., "Step"], *arguments: Any) -> Source:
    """Source: an output of the step that a method of Route gives for these arguments, as in
    result("confusions", Route.scored, "G2", "v2"); NotMeasured where one of them is a name that the route has
    `left_out`."""

    def source(route: Any) -> Any:
        for name in arguments:
            if name in route.left_out:
                raise NotMeasured(f"profile {route.profile} doesn't have '{name}'")
        return method(route, *arguments)[output]

    return source


def figure(name: str, source: Source | Sequence[Source], statistic: Statistic,
           sums: Callable[..., np.ndarray] = lambda counts: counts, unit: str = "%", replicates: int = REPLICATES
           ) -> Quantity:
    """A statistic (R, ...) -> (R,) of sums over images. sums: from the sources' arrays (S, ...) to (S, N, ...)."""
    sources = (source,) if callable(source) else tuple(source)
    return Quantity((Leaf(sources, per_image_sums(statistic, sums), lambda *arrays: np.asarray(sums(*arrays)).shape[1],
                          replicates),), name, unit)


def joined(combine: Callable[..., np.ndarray], name: str, *of: Quantity, unit: str = "pp") -> Quantity:
    """A quantity made of others by a function of their figures (fractions, not per cent), arrays of one shape."""
    counts = np.cumsum([0, *(len(each.leaves) for each in of)])

    def through(*values: np.ndarray) -> np.ndarray:
        return combine(*(each.combine(*values[a:b]) for each, a, b in zip(of, counts[:-1], counts[1:], strict=True)))

    return Quantity(tuple(leaf for each in of for leaf in each.leaves), name, unit, through,
                    tuple(part for each in of for part in each.parts))


def mean(name: str, of: Sequence[Quantity]) -> Quantity:
    """The mean of quantities of one unit."""
    return replace(joined(lambda *values: sum(values) / len(of), name, *of, unit=of[0].unit), components=())


@dataclass(frozen=True, eq=False)
class Best:
    """The quantity with the greatest figure, which only results tell; what is taken from it or it from. See `best`."""

    options: tuple[Quantity, ...]
    wrap: Callable[[Quantity], Quantity] = lambda chosen: chosen
    more: tuple[Quantity, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(dict.fromkeys(source for each in (*self.options, *self.more) for source in each.sources))

    def resolve(self, results: "Results") -> Quantity:
        values = [each.value(results) for each in self.options]
        return self.wrap(self.options[int(np.nanargmax(values))]).resolve(results)

    def __sub__(self, other: Quantity) -> "Best":
        return replace(self, wrap=lambda chosen: self.wrap(chosen) - other, more=(*self.more, other))


def best(*quantities: Quantity) -> Best:
    """The one of greatest figure, as in `miou("G2") - best(miou("G0"), miou("G1"))`."""
    return Best(quantities)


class Drawn(NamedTuple):
    """A leaf's statistic: of each training (S,), on resampled images (R, S), and how many images there are."""

    whole: np.ndarray
    drawn: np.ndarray
    images: int


class Results:
    """What a session has measured, stacked over the routes of its S trainings, each leaf resampled once. allowed:
    sources that may be read, None = all; a claim may read what it has declared and nothing else. most: of resampled
    images, for who wants to see quickly what is read."""

    def __init__(self, run: "Session", most: int = REPLICATES):
        self.run, self.allowed, self.most = run, None, most
        self._whole: dict[Leaf, np.ndarray] = {}
        self._drawn: dict[Leaf, Drawn] = {}

    @property
    def seeds(self) -> int:
        return len(self.run.routes)

    @property
    def route(self) -> Any:
        """The route of the first training, for settings that all of them share."""
        return self.run.route

    def each(self, source: Source) -> list[Any]:
        """What a source gives, of every training. Raises NotMeasured for what the profile leaves out."""
        if self.allowed is not None and source not in self.allowed:
            raise AssertionError(f"{source} is read without being declared, so that nothing would compute it")
        return [self.run.load(source(route)) for route in self.run.routes]

    def stack(self, source: Source) -> np.ndarray:
        """The same as an array (S, ...)."""
        return np.stack([np.asarray(value) for value in self.each(source)])

    def first(self, source: Source) -> Any:
        """The value of the first training, for what does not depend on it: a view, tags, settings."""
        return self.each(source)[0]

    def whole(self, leaf: Leaf) -> np.ndarray:
        """A leaf's statistic of each training: (S,)."""
        if leaf not in self._whole:
            self._read(leaf)
        return self._whole[leaf]

    def drawn(self, leaf: Leaf) -> "Drawn":
        """The same, and on resampled images."""
        if leaf not in self._drawn:
            arrays, images = self._read(leaf)
            drawn = resampled(lambda weights: leaf.per_seed(weights, *arrays), images, min(self.most, leaf.replicates))
            self._drawn[leaf] = Drawn(self._whole[leaf], drawn, images)
        return self._drawn[leaf]

    def _read(self, leaf: Leaf) -> tuple[list[np.ndarray], int]:
        """A leaf's arrays and how many images they are about; its statistic is noted on the way."""
        arrays = [self.stack(source) for source in leaf.sources]
        images = leaf.images(*arrays)
        self._whole[leaf] = leaf.per_seed(np.ones((1, images)), *arrays)[0]
        return arrays, images


def steps_of(sources: Iterable[Source], route: Any) -> list["Step"]:
    """The steps that sources read of a route, each once. Raises NotMeasured where its profile leaves one out."""
    return list(dict.fromkeys(step for source in sources for step in source(route).steps))
