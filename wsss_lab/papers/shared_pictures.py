"""What the figures of all papers are put together from: images, masks and stored label maps as panels; scores."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from wsss_lab.data.canvas import canvas_box, from_canvas
from wsss_lab.data.views import EvalView
from wsss_lab.evaluation.confusion import confusion_matrix, iou, mean_iou, nan_mean
from wsss_lab.evaluation.intervals import Interval
from wsss_lab.lab import charts
from wsss_lab.lab.choices import ranked, spread_ranks
from wsss_lab.lab.plots import Drawn, Panel, grid
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Output, Step
from wsss_lab.measure.quantities import NotMeasured, Quantity, Source
from wsss_lab.measure.strata import Dial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Column = tuple[str, Callable[[int], Panel]]  # a heading, and the panel of an image


class SplitPictures:
    """Panels of the images of one split at seed 0, and the scores by which images are chosen. An image is a row of the
    split."""

    def __init__(self, run: Session, split: str):
        self.run, self.split, self.view = run, split, run.view(split)
        self.route, self.classes = run.route, self.view.classes

    def grid(self, images: Sequence[int] | Sequence[Sequence[int]],
             columns: Mapping[str, Callable[[int], Panel]] | Iterable[Column], names: Sequence[str] = (), *,
             across: bool = False, **options: Any) -> "Figure":
        """A panel for each image and column, an image to a row, or several where images are given row by row. names: of
        the rows. across: images stand side by side, columns are rows, and names those of the images. options: of
        `plots.grid`."""
        columns = list(columns.items() if isinstance(columns, Mapping) else columns)
        headings = [heading for heading, _ in columns]
        if across:
            rows = [[panel(index) for index in images] for _, panel in columns]
            return grid(rows, names, headings, self.classes, **options)
        rows = [np.atleast_1d(row).tolist() for row in images]
        wide = max(map(len, rows))
        if wide > 1:
            options = {"groups": [("", len(columns))] * wide} | options
        return grid([[panel(index) for index in row for _, panel in columns] for row in rows], headings * wide, names,
                    self.classes, **options)

    def loaded(self, output: Output) -> np.ndarray:
        return np.asarray(self.run.load(output))

    def on_image(self, maps: np.ndarray, index: int, side: int) -> np.ndarray:
        """Maps of the image's canvas, which has this side, on its own pixels: (K, h, w) -> float32 (K, H, W)."""
        size = self.view.size(index)
        return from_canvas(np.asarray(maps, np.float32), canvas_box(*size, side), side, size)

    def confusions(self, score: Step) -> np.ndarray:
        """(N, K, K + 1) counts of a scoring step."""
        return self.loaded(score["confusions"])

    def iou(self, score: Step) -> np.ndarray:
        """Mean IoU (N,) of scored labels over the classes that each image shows or is said to show."""
        return mean_iou(self.confusions(score))

    def iou_of(self, labels: np.ndarray, index: int) -> float:
        """Mean IoU of labels (H, W) of an image."""
        return float(mean_iou(confusion_matrix(labels, self.view.mask(index), 1 + len(self.classes))))

    def image(self, index: int, title: str = "") -> Panel:
        return Panel(self.view.image(index), title=title)

    def truth(self, index: int, title: str = "") -> Panel:
        return Panel(self.view.mask(index), "mask", title)

    def truth_of(self, label: int, index: int) -> Panel:
        """The ground truth with one class only, 1..C."""
        mask = self.view.mask(index)
        return Panel(np.where((mask == label) | (mask == 255), mask, 0), "mask")

    def tags(self, index: int, between: str = "\n") -> str:
        """The class names of an image, one per line or with something else between them."""
        return between.join(np.array(self.classes)[self.view.tags[index]])

    def labels(self, frame: np.ndarray, index: int, title: str = "") -> Panel:
        """Labels of an image that lie in the top-left corner of a frame (Hmax, Wmax)."""
        return Panel(self.cut(frame, index), "mask", title)

    def stored(self, output: Output, index: int, title: str = "") -> Panel:
        """Labels of an image from a stored frame (N, Hmax, Wmax)."""
        return self.labels(self.run.load(output)[index], index, title)

    def saliency(self, output: Output, index: int, salient: Callable[[np.ndarray], np.ndarray], title: str = ""
                 ) -> Panel:
        """A map of an image from a stored frame in 0..255, with the border of what is salient of it, in [0, 1]."""
        values = self.cut(self.run.load(output)[index], index) / 255
        return Panel(values, "heat", title, outline=salient(values))

    def cut(self, frame: np.ndarray, index: int) -> np.ndarray:
        """The part (H, W) of a frame (Hmax, Wmax) that shows the image."""
        height, width = self.view.size(index)
        return np.asarray(frame[:height, :width])

    @cached_property
    def with_several_tags(self) -> np.ndarray:
        """Rows of the images that show several classes; of all images where none does."""
        several = np.flatnonzero(self.view.tags.sum(1) > 1)
        return several if len(several) else np.arange(len(self.view))


def pairs_and_worst(scores: np.ndarray) -> list[list[int]]:
    """Four pairs of images at evenly spread ranks of their scores, from the best on, and the two worst as the last."""
    worst = ranked(scores)[-2:][::-1]
    shown = spread_ranks(np.where(np.isin(np.arange(len(scores)), worst), np.nan, scores), 8)
    return [*in_rows(shown, 2), worst.tolist()]


def in_rows(images: Sequence[int], wide: int) -> list[list[int]]:
    """Images in rows of so many.

    >>> in_rows([5, 6, 7], 2)
    [[5, 6], [7]]
    """
    return [np.asarray(images[first:first + wide]).tolist() for first in range(0, len(images), wide)]


def per_cent(value: float) -> str:
    """An IoU as a short title; "IoU –" where there is none."""
    return "IoU –" if np.isnan(value) else f"IoU {100 * value:.0f} %"


def over_seeds(run: Session) -> str:
    """What a chart's values are, for its alt text."""
    return f"means over {run.seeds} training seeds" if run.seeds > 1 else "one training seed"


def compared(run: Session, ours: Mapping[str, Quantity], printed: Sequence[float], title: str, alt: str) -> Drawn:
    """Printed figures beside ours with their intervals, a line each where there is either. printed: nan for none."""
    unknown = Interval(*[np.nan] * 3, 0, 0, "nothing")
    lines = [(name, paper, _known(lambda each=each: each.interval(run.results), unknown))
             for (name, each), paper in zip(ours.items(), printed, strict=True)]
    names, printed, found = zip(*(line for line in lines if not np.isnan(line[1]) or not np.isnan(line[2].mean)))
    figure = charts.compare(names, printed, [each.mean for each in found],
                            [(each.low, each.high) for each in found], "val mIoU (%)",
                            our_label=f"ours: {run.world.name} val")
    values = ", ".join(f"{name} {each.mean:.1f}" for name, each in zip(names, found)
                       if not np.isnan(each.mean))
    return Drawn(figure, title, f"{alt}, the paper's values beside ours: {values}.", "measured")


def when_chart(run: Session, dials: Sequence[Dial]) -> Drawn:
    """The effect of each dial that is measured on parts of the images, against the mean of what they are sorted by."""
    measured = [(dial, [_known(lambda dial=dial, part=part: (dial.value(part).value(run.results),
                                                             dial.on(part).interval(run.results)))
                        for part in range(dial.parts)]) for dial in dials]
    measured = [each for each in measured if any(each[1])] or measured
    figure, charts_of = charts.side_by_side(len(measured), (3.1 * len(measured), 2.9))
    told = []
    for axes, (dial, parts) in zip(charts_of, measured):
        at, found = zip(*(part or (np.nan, Interval(*[np.nan] * 3, 0, 0, "nothing")) for part in parts))
        charts.points(axes, at, found, charts.line_style(0)["color"], "o-", ms=4)
        axes.axhline(0, color="#888888", lw=0.9)
        charts.label(axes, dial.by, "effect (pp)", dial.effect.name)
        if np.all(np.mod(at, 1) == 0):  # a part for each value
            axes.set_xticks(at)
        if not np.isnan(at).any():
            told.append(f"{dial.effect.name} by {dial.by}: from {found[0].mean:+.1f} at {at[0]:.3g} to "
                        f"{found[-1].mean:+.1f} at {at[-1]:.3g}, a change of {dial.change.interval(run.results)}")
    return Drawn(figure, "When does it help? Effects on parts of the images",
                 "Effects on parts of the images, equally large or of one value each, "
                 f"with 95 % intervals, {over_seeds(run)}. {'; '.join(told)}.", "measured")


def class_iou(run: Session, confusions: Mapping[str, Source]) -> pd.DataFrame:
    """IoU of background and every class in per cent, mean over the trainings: a line for each source of confusions that
    is measured."""
    counts = {name: _known(lambda source=source: run.results.stack(source)) for name, source in confusions.items()}
    values = {name: 100 * nan_mean(iou(each.sum(1)).T) for name, each in counts.items() if each is not None}
    return pd.DataFrame(values, index=["background", *run.world.classes]).T


def _known(of: Callable[[], Any], otherwise: Any = None) -> Any:
    try:
        return of()
    except NotMeasured:
        return otherwise


def world_samples(view: EvalView, count: int = 8) -> Drawn:
    """For each of the first classes, the first image not yet shown that has it, above its mask."""
    chosen, names = [], np.array(view.classes)
    for has_class in view.tags.T[:count]:
        chosen += [int(i) for i in np.flatnonzero(has_class) if i not in chosen][:1]
    rows = [[Panel(view.image(i), title="\n".join(names[view.tags[i]])) for i in chosen],
            [Panel(view.mask(i), "mask") for i in chosen]]
    figure = grid(rows, names=["image, tags", "mask"], classes=view.classes, size=1.2)
    return Drawn(figure, f"Samples of {view.name}: for each class the first image that has it",
                 "Images with their tags above, below each its mask with coloured objects on a dark background and"
                 " white lines of void.")
