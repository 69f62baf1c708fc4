"""Charts of measured numbers: learning curves, bars, and our values beside those that a paper prints."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wsss_lab.errors import ParameterError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from wsss_lab.evaluation.intervals import Interval

#: Okabe and Ito's colours that are dark enough for a line on white.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", ":", "-.")
PAPER_COLOUR, OUR_COLOUR = "#0072B2", "#D55E00"


def line_style(index: int) -> dict[str, str]:
    """Colour and dashes of the curve of this number, so that no two of the first 28 look alike."""
    return {"color": LINE_COLOURS[index % len(LINE_COLOURS)],
            "linestyle": LINE_STYLES[index // len(LINE_COLOURS) % len(LINE_STYLES)]}


def light_grid(axes: "Axes") -> None:
    """Pale grid lines behind the data, no frame on the right and above, small tick labels."""
    axes.grid(color="#DDDDDD", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def side_by_side(count: int, size: tuple[float, float], rows: int = 1, **options: Any
                 ) -> "tuple[Figure, Sequence[Axes]]":
    """A white figure of this size, in inches, with charts side by side, row by row. options: of matplotlib's
    `subplots`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    every = figure.subplots(rows, count, squeeze=False, **options).ravel()
    for axes in every:
        light_grid(axes)
    return figure, every


def label(axes: "Axes", x: str, y: str = "", title: str = "") -> None:
    axes.set_xlabel(x, fontsize=9)
    if y:
        axes.set_ylabel(y, fontsize=9)
    if title:
        axes.set_title(title, fontsize=9)


def mark(axes: "Axes", x: float, label: str | None = None) -> None:
    """A dashed grey line upwards from a value of x that something is set to or read at."""
    axes.axvline(x, color="#888888", lw=0.9, ls=(0, (2, 2)), zorder=1, label=label)


def legend_beside(axes: "Axes", **style: Any) -> None:
    """A legend at the right of a chart. style: of matplotlib's `legend`."""
    axes.legend(**{"fontsize": 8, "frameon": False, "loc": "upper left", "bbox_to_anchor": (1, 1), "borderaxespad": 0}
                | style)


def legend_outside(axes: "Axes", where: str, columns: int, **style: Any) -> None:
    """A chart's legend, each label once, above ("upper") or below ("lower") all charts of its figure."""
    entries = {label: handle for handle, label in zip(*axes.get_legend_handles_labels())}
    axes.figure.legend(list(entries.values()), list(entries), fontsize=8, frameon=False, loc=f"outside {where} center",
                       ncol=columns, **style)


def points(axes: "Axes", at: Sequence[float], found: "Collection[Interval]", colour: str, marker: str = "o",
           bar: float = 1.5, **style: Any) -> None:
    """Figures with their intervals. marker: such as "o-". bar: width of the intervals. style: of matplotlib's `plot`.
    """
    axes.vlines(at, [each.low for each in found], [each.high for each in found], color=colour, lw=bar)
    axes.plot(at, [each.mean for each in found], marker, color=colour, **style)


def learning_curves(histories: Mapping[str, Sequence[float]]) -> "Figure":
    """Loss against iteration, one smoothed line per training run over its pale raw values. histories: label -> value
    per iteration. The line is a centred moving mean over 1/20 of the iterations."""
    figure, (axes,) = side_by_side(1, (5.2, 2.8))
    for index, (name, history) in enumerate(histories.items()):
        iterations, style = np.arange(1, len(history) + 1), line_style(index)
        axes.plot(iterations, history, color=style["color"], lw=0.6, alpha=0.25)
        axes.plot(iterations, moving_mean(history, len(history) // 20), lw=1.6, label=name, **style)
    label(axes, "iteration", "training loss")
    axes.set_ylim(bottom=0)
    legend_beside(axes)
    return figure


def moving_mean(values: Sequence[float], reach: int) -> np.ndarray:
    """Mean over the values at most reach / 2 places away; near the ends over those that are there.

    >>> moving_mean([0, 3, 6, 3], 2).tolist()
    [1.5, 3.0, 4.0, 4.5]
    """
    kernel = np.ones(2 * (reach // 2) + 1)
    if len(kernel) > len(values):
        return np.full(len(values), np.mean(values))
    sums, counts = (np.convolve(each, kernel, mode="same") for each in (values, np.ones(len(values))))
    return sums / counts


def training_curve(axes: "Axes", values: np.ndarray, label: str, number: int, total: int, **style: str) -> None:
    """What a training wrote down: the mean over its seeds, smoothed, over its pale raw values.

    values: (seeds, iterations), the last ones of a training of `total` iterations. number: of the curve, for its colour
    and dashes (`line_style`), which `style` can replace.
    """
    mean, style = values.mean(0), line_style(number) | style
    at = np.arange(total - len(mean), total) + 1
    axes.plot(at, mean, color=style["color"], lw=0.5, alpha=0.2)
    axes.plot(at, moving_mean(mean, total // 20), lw=1.6, label=label, **style)


def training_panels(panels: Mapping[str, Mapping[str, np.ndarray]], total: int, size: tuple[float, float]) -> "Figure":
    """What trainings of `total` iterations wrote down, a panel for each quantity, and the legend below them. panels:
    title -> training -> values (seeds, iterations), see `training_curve`. size: in inches."""
    figure, every = side_by_side(len(panels), size)
    for axes, (title, curves) in zip(every, panels.items(), strict=True):
        for number, (name, values) in enumerate(curves.items()):
            training_curve(axes, values, name, number, total, linestyle=LINE_STYLES[number])
        axes.set_xlim(0, total)
        label(axes, "iteration", title=title)
    legend_outside(axes, "lower", len(curves), handlelength=2.6)
    return figure


def compare(rows: Sequence[str], published: Sequence[float], ours: Sequence[float],
            intervals: Sequence[tuple[float, float]] | None = None, quantity: str = "mIoU (%)",
            paper_label: str = "paper: VOC 2012 val", our_label: str = "ours: toyvoc val") -> "Figure":
    """The paper's value of each row beside ours, as points on one scale and as numbers at the right.

    published, ours: one value per row, nan (or None) where there is none. intervals: (low, high) of ours per row, nan
    where there is none. Raises ParameterError when their lengths differ from that of rows.
    """
    from matplotlib.figure import Figure

    paper, our = (np.array(values, dtype=float) for values in (published, ours))
    ends = np.full((len(rows), 2), np.nan) if intervals is None else np.array(intervals, dtype=float).reshape(-1, 2)
    for name, values in (("published", paper), ("ours", our), ("intervals", ends)):
        if len(values) != len(rows):
            raise ParameterError(f"{name} has {len(values)} values for {len(rows)} rows", "one per row")
    figure = Figure(figsize=(6.4, 0.95 + 0.27 * len(rows)), facecolor="white")
    axes = figure.add_axes([0.3, 0.5 / figure.get_figheight(), 0.5, 1 - 0.95 / figure.get_figheight()])
    at = np.arange(len(rows))
    low, high = ends.T
    axes.hlines(at + 0.13, low, high, color=OUR_COLOUR, lw=1.6)
    axes.plot(paper, at - 0.13, "D", mfc="white", mec=PAPER_COLOUR, mew=1.5, ms=6, label=paper_label)
    label = our_label if np.isnan(ends).all() else f"{our_label}, 95 % interval"
    axes.plot(our, at + 0.13, "o", color=OUR_COLOUR, ms=6, label=label)
    light_grid(axes)
    axes.grid(visible=False, axis="y")
    axes.hlines(at[:-1] + 0.5, 0, 1, color="#EEEEEE", lw=0.8, transform=axes.get_yaxis_transform(), zorder=0)
    axes.set_yticks(at, rows, fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(quantity, fontsize=9)
    _numbers(axes, 1.06, "paper", paper, PAPER_COLOUR)
    _numbers(axes, 1.20, "ours", our, OUR_COLOUR)
    figure.legend(*axes.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(0.29, 1), ncol=2, fontsize=8,
                  frameon=False, borderaxespad=0, columnspacing=1.5, handletextpad=0.4)
    return figure


def grouped_bars(groups: Sequence[str], series: Mapping[str, Sequence[tuple[float, float, float]]],
                 quantity: str) -> "Figure":
    """One bar per group and series, side by side, with its interval and its number.

    series: name -> (value, low, high) per group; nan draws no bar, and a dash in its place. Raises ParameterError when
    a series hasn't one value per group.
    """
    for name, values in series.items():
        if len(values) != len(groups):
            raise ParameterError(f"{name} has {len(values)} values for {len(groups)} groups", "one per group")
    figure, (axes,) = side_by_side(1, (1.6 + 1.5 * len(groups), 2.8))
    width = 0.8 / len(series)
    for index, (name, values) in enumerate(series.items()):
        value, low, high = np.array(values, dtype=float).T
        at = np.arange(len(groups)) + (index - (len(series) - 1) / 2) * width
        axes.bar(at, value, 0.92 * width, color=LINE_COLOURS[index % len(LINE_COLOURS)], label=name)
        axes.vlines(at, low, high, color="#333333", lw=1.2)
        for x, number, end in zip(at, value, high):
            top = np.nanmax([number, end, 0])
            axes.annotate("–" if np.isnan(number) else f"{number:.0f}", (x, top), (0, 2), ha="center", va="bottom",
                          textcoords="offset points", fontsize=8)
    axes.grid(visible=False, axis="x")
    axes.set_xticks(np.arange(len(groups)), groups, fontsize=9)
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(quantity, fontsize=9)
    legend_beside(axes)
    return figure


def class_heatmap(values: "pd.DataFrame") -> "Figure":
    """One cell per row and class, darker for more, the number written into it. values: rows by name, classes as
    columns, per cent; nan is left white."""
    import seaborn
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 + 0.62 * values.shape[1], 1.3 + 0.32 * len(values)), facecolor="white",
                    layout="constrained")
    axes = figure.subplots()
    seaborn.heatmap(values, ax=axes, annot=True, fmt=".0f", cmap="YlGnBu", vmin=0, vmax=100, linewidths=0.5,
                    annot_kws={"fontsize": 8}, cbar_kws={"label": "IoU (%)", "shrink": 0.9})
    axes.tick_params(length=0, labelsize=8)
    axes.set_xticklabels(axes.get_xticklabels(), rotation=35, ha="right")
    axes.set_ylabel("")
    axes.set_xlabel("")
    return figure


def _numbers(axes: "Axes", x: float, heading: str, values: np.ndarray, colour: str) -> None:
    """A column of numbers right of the axes."""
    place = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center", "fontsize": 8, "color": colour}
    axes.text(x, -0.62, heading, **place | {"va": "bottom"})
    for row, value in enumerate(values):
        axes.text(x, row, "–" if np.isnan(value) else f"{value:.1f}", **place)
