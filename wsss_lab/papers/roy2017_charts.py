"""Charts of what was measured for Roy & Todorovic 2017; pictures and diagrams are in roy2017_figures."""

from typing import TYPE_CHECKING

import numpy as np

from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.intervals import Interval, difference_interval, interval
from wsss_lab.lab import charts
from wsss_lab.lab.plots import Drawn
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers.roy2017 import BASELINES, ITERATIONS, ROWS, labelled_rows
from wsss_lab.papers.roy2017_evidence import Evidence
from wsss_lab.papers.shared_pictures import over_seeds
from wsss_lab.refinement import crf_rnn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Trainings of `learning_curves`, by row of ROWS, and their names.
CURVES = {"full": "full approach", "no warm-up": "no warm-up",
          "loss before the CRF-RNN": "loss before the CRF-RNN", "loss after the CRF-RNN": "loss after the CRF-RNN"}
_CLOSE = 0.5  # pp; differences this small count as none


def steps(run: Session) -> list[Step]:
    """What the charts show, at all seeds."""
    rows = [*(row for row in BASELINES if row in labelled_rows(run.profile)), *_counted(run).values()]
    return [step for route in run.routes for step in (
        *map(route.scored, rows), *(route.trained(ROWS[row].training) for row in _curved(run)))]


def _curved(run: Session) -> list[str]:
    """The trainings of CURVES that a profile has."""
    return [row for row in CURVES if row in labelled_rows(run.profile)]


def _counted(run: Session) -> dict[int, str]:
    """Rows of a profile that differ in the iterations of the CRF-RNN alone, by their number."""
    rows = {count: f"{count} iterations" for count in ITERATIONS} | {crf_rnn.ITERATIONS: "full"}
    return {count: rows[count] for count in sorted(rows) if rows[count] in labelled_rows(run.profile)}


# --- scores ------------------------------------------------------------------------------------------------------

def baselines(run: Session) -> Drawn:
    """Val mIoU of the rows of Table 1, the paper's beside ours."""
    evidence, printed = Evidence(run), run.published("table1")["val_miou_pct"].tolist()
    ours = {row: interval(evidence.confusions(row), mean_iou).percent() for row in BASELINES
            if row in labelled_rows(run.profile)}
    shown = [ours.get(row) for row in BASELINES]
    figure = charts.compare(list(BASELINES), printed, [each.mean if each else np.nan for each in shown],
                            [(each.low, each.high) if each else (np.nan, np.nan) for each in shown], "val mIoU (%)",
                            our_label=f"ours: {run.world.name} val")
    facts = ", ".join(f"{row} {each.mean:.1f}" for row, each in ours.items())
    alt = (f"Val mIoU of the full approach and of its six baselines, {over_seeds(run)}, with 95 % intervals, the "
           f"paper's values beside ours. Ours: {facts}.")
    return Drawn(figure, "What each use of attention is worth", alt, "measured")


def iterations(run: Session) -> Drawn:
    """Val mIoU over the iterations of the CRF-RNN at inference, and its difference to three."""
    from matplotlib.figure import Figure

    evidence, rows = Evidence(run), _counted(run)
    usual = crf_rnn.ITERATIONS
    default = evidence.confusions("full")
    scores = {count: interval(evidence.confusions(row), mean_iou).percent() for count, row in rows.items()}
    found = {count: difference_interval(evidence.confusions(row), default, mean_iou).percent("pp")
             for count, row in rows.items() if count != usual}
    figure = Figure(figsize=(7.8, 2.9), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    _points(left, scores, charts.OUR_COLOUR)
    left.plot(usual, scores[usual].mean, "o", ms=8, mfc="white", mec=charts.OUR_COLOUR, mew=1.8)
    left.set_ylabel("val mIoU (%)", fontsize=9)
    right.axhspan(-_CLOSE, _CLOSE, color="#EFEFEF", zorder=0)
    right.axhline(0, color="#888888", lw=0.9, zorder=1)
    _points(right, found, charts.LINE_COLOURS[0])
    right.plot(usual, 0, "o", ms=8, mfc="white", mec=charts.LINE_COLOURS[0], mew=1.8)
    right.set_ylabel(f"difference to {usual} (pp), paired", fontsize=9)
    for axes in (left, right):
        charts.light_grid(axes)
        axes.set_xticks([*scores])
        axes.set_xlim(-0.5, max(ITERATIONS) + 0.5)
        axes.set_xlabel("iterations of the CRF-RNN at inference", fontsize=9)
        axes.margins(y=0.12)
    facts = ", ".join(f"{count}: {each.mean:.1f} %" for count, each in scores.items())
    changes = ", ".join(f"{count}: {each.mean:+.2f}" for count, each in found.items())
    alt = (f"Val mIoU of the full approach, trained with {usual} iterations of the CRF-RNN, by their number at "
           f"inference, {over_seeds(run)}, with 95 % intervals: {facts}. "
           + (f"Differences to {usual}, in pp: {changes}; grey: within {_CLOSE} pp." if found else
              "This profile runs no other number."))
    return Drawn(figure, "How many mean-field iterations", alt, "measured")


def _points(axes: "Axes", found: dict[int, Interval], colour: str) -> None:
    """Points with their intervals, by number."""
    at, each = list(found), list(found.values())
    axes.vlines(at, [one.low for one in each], [one.high for one in each], color=colour, lw=1.6)
    axes.plot(at, [one.mean for one in each], "o-", color=colour, ms=5, lw=1.2)


# --- training ----------------------------------------------------------------------------------------------------

def learning_curves(run: Session) -> Drawn:
    """Both losses over the training, with and without warm-up and by the p^S that the second one compares."""
    from matplotlib.figure import Figure

    evidence, total = Evidence(run), run.route.scale.schedule.iterations
    curves = {row: evidence.curves(ROWS[row].training) for row in _curved(run)}
    figure = Figure(figsize=(8.8, 3.2), facecolor="white", layout="constrained")
    for axes, name, number in zip(figure.subplots(1, 2), ("classification", "segmentation"), (14, 15)):
        for place, (row, each) in enumerate(curves.items()):
            begins = 0 if name == "classification" else run.route.warm_up(ROWS[row].training)
            charts.training_curve(axes, each[name][:, begins:], CURVES[row], place, total,
                                  linestyle=charts.LINE_STYLES[place])
        smooth = np.concatenate([line.get_ydata() for line in axes.lines[1::2]])
        axes.set_ylim(0.8 * smooth.min(), 1.1 * smooth.max())  # single batches may lie far outside
        charts.light_grid(axes)
        axes.set_xlim(0, total)
        axes.set_title(f"{name} loss (Eq. {number})", fontsize=9)
        axes.set_xlabel("iteration", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside lower center",
                  ncol=len(curves), handlelength=2.6)
    last = {CURVES[row]: [values[:, -max(1, total // 20):].mean() for values in each.values()]
            for row, each in curves.items()}
    facts = "; ".join(f"{name} {first:.2f} and {second:.3f}" for name, (first, second) in last.items())
    alt = (f"Classification and segmentation loss against iteration, {over_seeds(run)}; the second one begins after "
           f"the warm-up of {run.route.warm_up('full')} iterations. At the end: {facts}.")
    return Drawn(figure, "Inside the training", alt, "measured")
