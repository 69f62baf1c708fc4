"""Charts of what was measured for Lee et al. 2021 (EPS); pictures are in lee2021_figures."""

from typing import TYPE_CHECKING

import numpy as np

from wsss_lab.evaluation.confusion import mean_iou, nan_mean
from wsss_lab.evaluation.intervals import Interval, difference_interval, interval
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.lab import charts
from wsss_lab.lab.plots import Drawn
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers.lee2021 import (
    DETECTORS,
    MOMENTUM_ROWS,
    SHARES,
    TAUS,
    detector_row,
    share_row,
    tau_row,
    trained_rows,
)
from wsss_lab.papers.lee2021_evidence import Evidence
from wsss_lab.papers.lee2021_pictures import shown_detectors
from wsss_lab.papers.shared_pictures import over_seeds
from wsss_lab.seeds.localisation import BACKGROUND
from wsss_lab.seeds.saliency_supervision import SHARE, TAU

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Rows of `backgrounds`, and the curves of `learning_curves`: row -> name.
SWEPT = {"CAM": "CAM", "naive": "naive selection", "adaptive": "EPS"}
CURVES = {"adaptive": "EPS", "naive": "naive selection", **{row: f"EPS, {row}" for row in MOMENTUM_ROWS}}


def steps(run: Session) -> list[Step]:
    """What the charts show, at all seeds."""
    trained, made = trained_rows(run.profile), []
    settings = [*map(tau_row, TAUS), *map(share_row, SHARES), *map(detector_row, shown_detectors(run.profile))]
    for route in run.routes:
        made += [route.score(route.masks(row)) for row in ("CAM", *settings) if row in trained]
        made += [route.score(route.masks(row), output="learned") for row in SWEPT if row != "CAM"]
        made += [route.localisation_score(row) for row in SWEPT]
        made += [route.saliency_score(route.saliency(name, "train"), "train") for name in shown_detectors(run.profile)]
        made += [route.trained(row) for row in CURVES if row in trained]
    return made


# --- settings ----------------------------------------------------------------------------------------------------

def robustness(run: Session) -> Drawn:
    """MIoU of the pseudo-masks over tau and over lambda, as a difference to the default."""
    from matplotlib.figure import Figure

    evidence, trained = Evidence(run), trained_rows(run.profile)
    default = evidence.pseudo("adaptive")
    score = 100 * mean_iou(default.sum(1)).mean()
    figure = Figure(figsize=(8.4, 3.1), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(len(TAUS), len(SHARES)))
    left.axvspan(TAUS.index(0.3), TAUS.index(0.5), color="#EFEFEF", zorder=0, label="robust, says the paper")
    facts = []
    for number, (axes, symbol, name, values, row_of, usual) in enumerate((
            (left, "τ", "tau", TAUS, tau_row, TAU), (right, "λ", "lambda", SHARES, share_row, SHARE))):
        found = {value: difference_interval(evidence.pseudo(row_of(value)), default, mean_iou).percent("pp")
                 for value in values if row_of(value) in trained}
        _differences(axes, values, found, charts.LINE_COLOURS[number])
        axes.plot(values.index(usual), 0, "o", ms=8, mfc="white", mec=charts.LINE_COLOURS[number], mew=1.8,
                  label=f"default, {score:.1f} %")
        axes.set_xlabel(symbol, fontsize=9)
        facts += [f"{name} {value:g} {each.mean:+.1f}" for value, each in found.items() if value != usual]
    left.set_ylabel("mIoU against the default (pp)", fontsize=9)
    figure.legend(*left.get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside upper center", ncol=3)
    alt = (f"MIoU of the pseudo-masks as a difference to EPS with tau {TAU:g} and lambda {SHARE:g}, {score:.1f} %, "
           f"{over_seeds(run)}" + (f", with 95 % intervals: {', '.join(facts)} pp." if facts else
                                   "; this profile trains no other value."))
    return Drawn(figure, "Other values of τ and λ", alt, "measured")


def _differences(axes: "Axes", values: tuple[float, ...], found: dict[float, Interval], colour: str) -> None:
    """Points joined by a line, with their intervals and numbers; the values stand at equal distances."""
    at = [values.index(value) for value in found]
    charts.light_grid(axes)
    axes.axhline(0, color="#888888", lw=0.9, zorder=1)
    axes.vlines(at, [each.low for each in found.values()], [each.high for each in found.values()], color=colour, lw=1.6)
    axes.plot(at, [each.mean for each in found.values()], "o-", color=colour, ms=5, lw=1.4, label="EPS, 95 % interval")
    for place, each in zip(at, found.values()):
        if (each.low, each.high) != (0, 0):  # the default itself
            axes.annotate(f"{each.mean:+.1f}".replace("-", "−"), (place, max(each.mean, each.high)), (0, 3), ha="left",
                          textcoords="offset points", fontsize=8)
    axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    axes.set_xlim(-0.4, len(values) - 0.4)
    axes.margins(y=0.12)


def dial(run: Session) -> Drawn:
    """MIoU of the pseudo-masks against the quality of the saliency that they were learned from."""
    from matplotlib.figure import Figure

    evidence, names = Evidence(run), shown_detectors(run.profile)
    quality = {name: 100 * foreground_iou(evidence.saliency(name, "train").sum(1)).mean() for name in names}
    scores = {name: interval(evidence.pseudo(detector_row(name)), mean_iou).percent() for name in names}
    figure = Figure(figsize=(6.8, 3.6), facecolor="white", layout="constrained")
    axes = figure.subplots()
    charts.light_grid(axes)
    for kind, colour, marker in (("detectors", charts.LINE_COLOURS[0], "o"),
                                 ("true foreground, damaged", charts.LINE_COLOURS[1], "D")):
        chosen = [name for name in names if (name in DETECTORS) == (kind == "detectors")]
        if not chosen:
            continue
        at, found = [quality[name] for name in chosen], [scores[name] for name in chosen]
        axes.vlines(at, [each.low for each in found], [each.high for each in found], color=colour, lw=1.4)
        axes.plot(at, [each.mean for each in found], marker, color=colour, ms=6, label=kind)
    cam = interval(evidence.pseudo("CAM"), mean_iou).percent()
    axes.axhspan(cam.low, cam.high, color="#EFEFEF", zorder=0)
    axes.axhline(cam.mean, color="#555555", lw=1.2, ls="--", label="CAM, without saliency")
    axes.set_xlim(-4, 114)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("foreground IoU of the saliency on train (%)", fontsize=9)
    axes.set_ylabel("mIoU of the pseudo-masks (%)", fontsize=9)
    _name_points(axes, {name: (quality[name], scores[name].mean) for name in names})
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside upper center", ncol=3)
    facts = ", ".join(f"{name} {scores[name].mean:.1f} ({quality[name]:.0f})"
                      for name in sorted(names, key=lambda name: -scores[name].mean))
    alt = (f"MIoU of EPS's pseudo-masks by the saliency that the classifier learned from, {over_seeds(run)}, with 95 % "
           f"intervals, in brackets the foreground IoU of the saliency, in per cent: {facts}. CAM, without saliency: "
           f"{cam.mean:.1f}.")
    return Drawn(figure, "How good saliency has to be", alt, "measured")


def _name_points(axes: "Axes", points: dict[str, tuple[float, float]]) -> None:
    """Names beside points (x in per cent, y), of detectors at the left, others at the right; moved down where another
    name stands."""
    low, high = axes.get_ylim()
    line, letter = 0.055 * (high - low), 1.4  # what a line and a letter take, in units of the axes
    taken: list[tuple[float, float, float]] = []
    for name, (x, y) in sorted(points.items(), key=lambda point: -point[1][1]):
        side = -1 if name in DETECTORS else 1
        near, far = x + 1.5 * side, x + side * (1.5 + letter * len(name))
        left, right, level = min(near, far), max(near, far), y
        while any(left < other[1] and other[0] < right and abs(level - other[2]) < line for other in taken):
            level -= line / 4
        taken.append((left, right, level))
        axes.text(near, level, name, ha="right" if side < 0 else "left", va="center", fontsize=8)
    axes.set_ylim(min(low, *(level - line for _, _, level in taken)), high)


# --- pseudo-masks ------------------------------------------------------------------------------------------------

def backgrounds(run: Session) -> Drawn:
    """MIoU of the pseudo-masks over the constant score of the background, and with the learned background map."""
    from matplotlib.figure import Figure

    evidence = Evidence(run)
    figure = Figure(figsize=(6.6, 3.2), facecolor="white", layout="constrained")
    axes = figure.subplots()
    charts.light_grid(axes)
    facts = []
    for number, (row, name) in enumerate(SWEPT.items()):
        swept, colour = sweep(evidence.counts(row).sum(1)), charts.LINE_COLOURS[number]
        curve = 100 * nan_mean(swept.mean_iou.T)
        best = int(np.nanargmax(curve))
        axes.plot(swept.thresholds, curve, color=colour, lw=1.8, label=name, ls=("--", "-.", "-")[number])
        axes.plot(swept.thresholds[best], curve[best], "o", color=colour, ms=6)
        usual = np.interp(BACKGROUND, swept.thresholds, curve)
        fact = f"{name} {usual:.1f} at {BACKGROUND:g}, {curve[best]:.1f} at {swept.thresholds[best]:.2f}"
        if row != "CAM":
            level = 100 * mean_iou(evidence.pseudo(row, output="learned").sum(1)).mean()
            axes.axhline(level, color=colour, lw=1.2, ls=(0, (1, 1.5)), label=f"{name}, learned background")
            fact += f", {level:.1f} with the learned map"
        facts.append(fact)
    axes.axvline(BACKGROUND, color="#888888", lw=0.9, ls=(0, (2, 2)), zorder=1,
                 label=f"{BACKGROUND:g}, as in the released code")
    axes.plot([], [], "o", ms=6, color="#555555", label="best, chosen on pixel labels")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("constant score of the background", fontsize=9)
    axes.set_ylabel("mIoU of the pseudo-masks (%)", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0)
    alt = (f"MIoU of the pseudo-masks, in per cent, against the constant score of the background, {over_seeds(run)}: "
           + "; ".join(facts) + ". Dots: the best constant, chosen on pixel labels.")
    return Drawn(figure, "What is background", alt, "measured")


# --- training ----------------------------------------------------------------------------------------------------

def learning_curves(run: Session) -> Drawn:
    """Both losses and the share of selected tags, over the training."""
    from matplotlib.figure import Figure

    evidence = Evidence(run)
    curves = {row: evidence.curves(row) for row in CURVES if row in trained_rows(run.profile)}
    figure = Figure(figsize=(10.4, 3.2), facecolor="white", layout="constrained")
    quantities = {"classification": ("classification loss", 1), "saliency": ("saliency loss", 1),
                  "selected tags": ("tags in the foreground (%)", 100)}
    for axes, (name, (title, scale)) in zip(figure.subplots(1, 3), quantities.items()):
        for number, (row, each) in enumerate(curves.items()):
            charts.training_curve(axes, scale * each[name], CURVES[row], number, each[name].shape[1],
                                  linestyle=charts.LINE_STYLES[number])
        charts.light_grid(axes)
        axes.set_xlim(0, each[name].shape[1])
        axes.set_ylim(0, 103 if scale == 100 else None)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("iteration", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside lower center",
                  ncol=len(curves), handlelength=2.6)
    last = {row: {name: values[:, -max(1, values.shape[1] // 20):].mean() for name, values in each.items()}
            for row, each in curves.items()}
    facts = "; ".join(f"{CURVES[row]} {each['classification']:.2f}, {each['saliency']:.3f}, "
                      f"{100 * each['selected tags']:.0f} %" for row, each in last.items())
    alt = (f"Classification loss, saliency loss and share of the tags in the foreground against iteration, "
           f"{over_seeds(run)}. At the end: {facts}.")
    return Drawn(figure, "Inside the training", alt, "measured")
