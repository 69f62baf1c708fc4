"""The figures of Roy & Todorovic 2017 from what a session has stored: `run.compute(*steps(run))` comes first.

Pictures are taken from seed 0 and chosen by rule, never by hand; every alt text states the rule. Charts of measured
numbers are in roy2017_charts, diagrams, which need no run, in roy2017_diagrams.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from wsss_lab.evaluation.confusion import nan_mean
from wsss_lab.lab import charts, plots
from wsss_lab.lab.choices import at_quantile, ranked
from wsss_lab.lab.plots import Drawn, Panel
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers import roy2017_charts
from wsss_lab.papers.roy2017_charts import baselines, iterations, learning_curves
from wsss_lab.papers.roy2017_diagrams import draw_top_down, fig1, fig3
from wsss_lab.papers.roy2017_evidence import Evidence
from wsss_lab.papers.roy2017_pictures import MIN_AREA, MISSED, Pictures
from wsss_lab.papers.shared_pictures import per_cent
from wsss_lab.seeds.neighbours import SIGMA_Z, SPACING, window
from wsss_lab.seeds.rectified_gaussian import MODES
from wsss_lab.segmenter.fusion import PRESENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STUDIED = range(4)  # rows of val that `Route.study` looks at
_SHOWN_MODES = {"literal": "literal,\nsolved", "steps": "literal,\n5 steps", "smooth": "smooth"}


def steps(run: Session) -> list[Step]:
    """Everything that figures and charts show: scores of all seeds, and pictures of seed 0."""
    val = Pictures(run, "val")
    return [val.attention_step(), val.attention_step(neighbours=False), *study_steps(run),
            *roy2017_charts.steps(run)]


def study_steps(run: Session) -> list[Step]:
    """What `gaussian_study` and `similarity` show."""
    return [run.route.study()]


# --- the idea ----------------------------------------------------------------------------------------------------

def fig2(run: Session) -> Drawn:
    """What attention of a neuron depends on, without and with neighbours, and measured maps of both."""
    val = Pictures(run, "val")
    gain = val.attention_gain
    rows, names = [], []
    for name, quantile in (("90th\npercentile", 0.9), ("median", 0.5), ("10th\npercentile", 0.1)):
        index = at_quantile(gain, quantile)
        label = val.main_label(index)
        names.append(f"{name}:\n{_points(gain[index])}")
        rows.append([val.image(index), val.truth(index), *(val.attention(label, index, neighbours)
                                                           for neighbours in (False, True))])
    columns = ["image", "ground truth", "parents only", "with own activation\nand neighbours"]
    figure = plots.grid(rows, columns, names, val.classes, size=1.5)
    for axes, neighbours in zip(_above(figure, 1.75), (False, True)):
        draw_top_down(axes, neighbours)
        axes.set_title("parents and children alone\n(excitation back-propagation)" if not neighbours else
                       "with own activation and neighbours\n(rectified Gaussian)", fontsize=9, pad=2)
    better = 100 * np.mean(gain > 0)
    alt = ("Above, neurons of two layers and what attention of neuron i depends on: its parents alone, or also its own "
           "activation and its neighbours. Below, measured attention of the largest tagged object of val images, tags "
           "known, by the full approach's network without and with both; white outlines: where it exceeds that of all "
           "other labels. The images are at three ranks of the IoU that both add to the labels of largest attention: "
           f"{100 * nan_mean(gain):+.1f} pp on average, more than 0 on {better:.0f} % of the images; "
           f"{100 * val.without_evidence:.0f} % of the tags get no attention from parents alone.")
    return Drawn(figure, "Attention without and with neighbours", alt)


def _points(change: float) -> str:
    return f"{100 * change:+.0f} pp".replace("-", "−")


def _above(figure: "Figure", tall: float, gap: float = 0.1, margin: float = 0.0) -> list["Axes"]:
    """Two places side by side above a grid of pictures, `tall` inches high and `gap` inches above it. margin: what each
    leaves free at its left, as a share of the grid's width."""
    height = figure.get_figheight()
    return [figure.add_axes([left + margin, 1 + gap / height, 0.48 - margin, tall / height]) for left in (0, 0.52)]


# --- results -----------------------------------------------------------------------------------------------------

def fig4(run: Session) -> Drawn:
    """Results on val from the best to the lower quartile, with attention of one label."""
    val = Pictures(run, "val")
    scores = val.network_iou
    order = ranked(scores)
    first = {"best": 0, "upper\nquartile": len(order) // 4, "median": len(order) // 2,
             "lower\nquartile": 3 * len(order) // 4}
    rows = [[panel for index in order[start:start + 2].tolist() for panel in _result(val, index)]
            for start in first.values()]
    figure = plots.grid(rows, ["image", "result", "ground truth", "attention"] * 2, list(first), val.classes, size=1.15,
                        groups=[("", 4), ("", 4)])
    alt = ("Val images with the result of the full approach, tags predicted, the ground truth, and attention of the "
           "class with most pixels, tags known (white outline: where it exceeds that of all other labels). Two images "
           f"from each of four ranks of IoU: the best, the upper quartile ({100 * np.nanquantile(scores, 0.75):.0f} "
           f"%), the median ({100 * np.nanmedian(scores):.0f} %) and the lower quartile "
           f"({100 * np.nanquantile(scores, 0.25):.0f} %).")
    return Drawn(figure, "Results on val, by rank of IoU", alt)


def _result(val: Pictures, index: int) -> list[Panel]:
    label = val.main_label(index)
    return [val.image(index), val.prediction(index, per_cent(val.network_iou[index])), val.truth(index),
            val.attention(label, index, title=val.classes[label - 1])]


def fig5(run: Session) -> Drawn:
    """Two failures: a large object that is missed, and many small ones; with the attention that was there."""
    val = Pictures(run, "val")
    whole, label = val.largest_miss()
    cases = {whole: (f"large:\n{val.classes[label - 1]}", {label: val.view.mask(whole) == label})}
    missed = val.missed_small()
    small = next((index for index in missed if index != whole), None)
    if small is not None:
        cases[small] = (f"small:\n{len(missed[small])} missed", val.regions(missed[small]))
    rows = [_failure(val, index, regions) for index, (_, regions) in cases.items()]
    figure = plots.grid(rows, ["image", "result", "ground truth", "attention of\nwhat is missed"],
                        [name for name, _ in cases.values()], val.classes, size=1.5)
    facts = [_highest(val, index, regions) for index, (_, regions) in cases.items()]
    second = (f"Below, the image with most missed objects (less than {100 * MISSED:.0f} % found) among those of less "
              f"than the median size and at least {100 * MIN_AREA:g} % of the image: {facts[1]}." if len(facts) > 1 else
              "No small object is missed elsewhere.")
    alt = ("Results of the full approach on val. Above, the image with the largest class of which least is found. "
           f"Attention of it (white outline), were the tags known, is at most: {facts[0]}. "
           f"{second} In brackets: p(y|x), above {PRESENCE:g} for a class that is predicted (or the likeliest).")
    return Drawn(figure, "Two failures, and their attention", alt)


def _failure(val: Pictures, index: int, regions: dict[int, np.ndarray]) -> list[Panel]:
    """regions: what is missed, by label; of several labels, the highest attention is shown."""
    attention, missed = val.attention_maps(index)[list(regions)].max(0), np.any(list(regions.values()), 0)
    return [val.image(index), val.prediction(index, per_cent(val.network_iou[index])), val.truth(index),
            Panel(attention, "heat", f"there up to {attention[missed].max():.2f}", under=val.view.image(index),
                  outline=missed)]


def _highest(val: Pictures, index: int, regions: dict[int, np.ndarray]) -> str:
    """The highest attention of each label where it is missed, and its p(y|x)."""
    attention = val.attention_maps(index)
    return ", ".join(f"{val.classes[label - 1]} {attention[label][inside].max():.2f} "
                     f"({val.presence[index, label]:.2f})" for label, inside in regions.items())


# --- neighbours --------------------------------------------------------------------------------------------------

def gaussian_study(run: Session) -> Drawn:
    """What the programme of Eq. (3) makes of a map, as printed and in this lab's reading, and why."""
    val, study = Pictures(run, "val"), Evidence(run).study()
    cells = study["b"][0].size
    rows, names = [], []
    for place, index in enumerate(_STUDIED):
        names.append(val.classes[val.view.tags[index].argmax()])
        rows.append([val.canvas(index), Panel(_relative(study["b"][place]), "heat")])
        for mode in _SHOWN_MODES:
            number = MODES.index(mode)
            count, residual = round(cells * study["active"][number, place]), study["residual"][number, place]
            title = f"{count} cell{'s' * (count > 1)}, KKT {residual:.1g}"
            rows[-1].append(Panel(_relative(study["maps"][number, place]), "heat", title))
    columns = ["image", "b\n(Eqs. 5 to 7)", *_SHOWN_MODES.values()]
    figure = plots.grid(rows, columns, names, val.classes, size=1.35)
    charted = _above(figure, 1.5, gap=0.5, margin=0.03)
    shares = [_spectrum(axes, values) for axes, values in zip(charted, study["eigenvalues"])]
    charted[0].set_yscale("symlog", linthresh=1)
    charted[0].set_yticks([-1000, -100, -10, -1, 0, 1], ["−1000", "−100", "−10", "−1", "0", "1"])
    charted[0].set_ylim(min(-1000, 2 * study["eigenvalues"].min()), 3)
    for axes, name in zip(charted, ("as printed (Eq. 9)", "smooth")):
        axes.set_title(f"eigenvalues of D, {name}", fontsize=9)
    active = 100 * study["active"].mean(1)
    alt = (f"Above: eigenvalues of D on {len(rows)} val images, orange where positive: {100 * shares[0]:.1f} % of them "
           f"for D as printed, {100 * shares[1]:.1f} % for 'smooth'. Below: b for the first tag of each image, and the "
           "maps that the programme gives, each divided by its maximum; above them the cells above a thousandth of it "
           f"and the residual of the KKT conditions. Mean share of such cells: literal {active[0]:.1f} %, five steps "
           f"towards it {active[1]:.0f} %, smooth {active[2]:.0f} %.")
    return Drawn(figure, "One neuron takes all, or neighbours share", alt)


def _relative(values: np.ndarray) -> np.ndarray:
    """A map divided by its maximum."""
    return values / max(values.max(), np.finfo(values.dtype).tiny)


def _spectrum(axes: "Axes", eigenvalues: np.ndarray) -> float:
    """Eigenvalues (images, cells), one line of points per image; returns the share of the positive ones."""
    rank = np.broadcast_to(np.arange(1, eigenvalues.shape[1] + 1), eigenvalues.shape)
    for above, colour in ((True, charts.OUR_COLOUR), (False, charts.PAPER_COLOUR)):
        chosen = (eigenvalues > 0) == above
        axes.plot(rank[chosen], eigenvalues[chosen], ".", ms=4, color=colour)
    charts.light_grid(axes)
    axes.axhline(0, color="#888888", lw=0.9, zorder=1)
    axes.set_xlabel("rank", fontsize=8)
    return float(np.mean(eigenvalues > 0))


def similarity(run: Session) -> Drawn:
    """Eq. (8) around three cells: the window on the image, the weights, and what position alone would give."""
    val, study = Pictures(run, "val"), Evidence(run).study()
    weights = study["similarity"]
    radius = (round(weights.shape[1] ** 0.5) - 1) // 2
    total = weights.sum(1)
    inner = np.full_like(total, np.nan)
    inside = (slice(None), slice(radius, total.shape[1] - radius), slice(radius, total.shape[2] - radius))
    inner[inside] = total[inside]
    by_position = np.exp(-(SPACING / SIGMA_Z) ** 2 * (np.array(window(radius)) ** 2).sum(1))
    rows, names = [], {"most\nalike": 1.0, "median": 0.5, "least\nalike": 0.0}
    for quantile in names.values():
        place, row, column = np.unravel_index(at_quantile(inner.ravel(), quantile), inner.shape)
        rows.append(_around(val, _STUDIED[place], (row, column), weights[place], by_position))
    columns = ["image", "window", "similarity w\n(Eq. 8)", "position\nalone"]
    figure = plots.grid(rows, columns, list(names), val.classes, size=1.4)
    alt = ("Similarity of a cell to those in the window of "
           f"{2 * radius + 1} x {2 * radius + 1} cells around it, for the cell of {len(_STUDIED)} val images (not at "
           "their border) with the largest, the median and the smallest sum of weights "
           f"({', '.join(f'{np.nanquantile(inner, quantile):.1f}' for quantile in names.values())}); position alone "
           f"would give {by_position.sum():.1f} everywhere. Orange box: the window, and the cell itself in the second "
           "column.")
    return Drawn(figure, "Which neighbours are alike", alt)


def _around(val: Pictures, index: int, cell: tuple[int, int], weights: np.ndarray,
            by_position: np.ndarray) -> list[Panel]:
    """An image with the window of a cell, the window itself, and its weights. weights: (planes, h, w) of the image."""
    radius = (round(len(weights) ** 0.5) - 1) // 2
    canvas = val.canvas(index).data
    stride = canvas.shape[0] / weights.shape[1]
    top, left = ((each - radius) * stride for each in cell)
    side, near, far = (2 * radius + 1) * stride, radius * stride, (radius + 1) * stride
    window_pixels = canvas[round(top):round(top + side), round(left):round(left + side)]
    return [val.canvas(index, box=(left, top, left + side, top + side)),
            Panel(window_pixels, box=(near, near, far, far)),
            *(Panel(values.reshape(2 * radius + 1, -1), "heat") for values in (weights[:, *cell], by_position))]


#: Artifact id -> function of a session: the paper's own, then those of this project.
FIGURES: dict[str, Callable[[Session], Drawn]] = {
    "fig1": fig1, "fig2": fig2, "fig3": fig3, "fig4": fig4, "fig5": fig5, "gaussian_study": gaussian_study,
    "similarity": similarity, "baselines": baselines, "learning_curves": learning_curves, "iterations": iterations,
}
