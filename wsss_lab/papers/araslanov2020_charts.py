"""Charts of what was measured for Araslanov & Roth 2020; pictures and diagrams are in araslanov2020_figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.intervals import Interval, difference_interval, interval
from wsss_lab.lab import charts
from wsss_lab.lab.plots import Drawn
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers.araslanov2020 import (
    FLOORS,
    GATE_ROWS,
    ITERATION_ROWS,
    KERNELS,
    POWERS,
    PSIS,
    SWITCHES,
    gate_row,
    penalty_row,
    trained_rows,
)
from wsss_lab.papers.araslanov2020_evidence import Evidence
from wsss_lab.papers.shared_pictures import over_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Rows that change one thing of the reference, by the part of the method that it belongs to.
ABLATIONS = {
    "Size penalty": ["no penalty", *(penalty_row(power, floor) for power in POWERS for floor in FLOORS)],
    "PAMR's kernel": list(KERNELS),
    "PAMR's iterations": list(ITERATION_ROWS),
    "Gate and cue injection": [*GATE_ROWS, *(gate_row(psi, injected) for psi in PSIS for injected in (True, False)
                                             if gate_row(psi, injected) not in GATE_ROWS)],
    "Paper against code": list(SWITCHES),
}

#: What rows are called in charts.
_NAMES = {"ours": "ψ=0.3 (the final model)", "epsilon=0": "ε = 0"}


def steps(run: Session) -> list[Step]:
    """What the charts show, at all seeds."""
    return [route.score(route.prediction(row)) for route in run.routes for row in _shown(run)]


def _shown(run: Session) -> list[str]:
    """The reference and the rows of ABLATIONS that a profile trains."""
    rows = ["reference", *(row for rows in ABLATIONS.values() for row in rows)]
    return [row for row in dict.fromkeys(rows) if row in trained_rows(run.profile)]


def name_of(row: str) -> str:
    """A row's name in charts."""
    return _NAMES.get(row, row.replace("lambda", "λ").replace("psi", "ψ").replace("no GCI", "without GCI"))


# --- ablations -----------------------------------------------------------------------------------------------------

def printed_scores(run: Session) -> dict[str, float]:
    """Val mIoU in per cent, without CRF, that the paper prints for rows of Tables 1a, 1b, 1c and 7; those that are lost
    in its text, or whose row is, are left out."""
    grid, kernels = run.published("table1a"), run.published("table1b")
    gates, counts = run.published("table1c"), run.published("table7")
    grid_rows = ["no penalty" if np.isnan(power) else penalty_row(power, floor)
                 for power, floor in zip(grid["p"], grid["lambda"])]
    kernel_rows = {"none (no PAMR)": "no PAMR", "1-2-4-8-12-24": "reference"}
    count_rows = {count: row for row, count in ITERATION_ROWS.items()}
    pairs = [*zip(grid_rows, grid["val_miou_pct"]), *zip(GATE_ROWS, gates["val_miou_pct"]),
             *zip(kernels["pamr_kernel_dilations"].map(kernel_rows), kernels["val_miou_pct"]),
             *zip(counts["pamr_iterations"].map(count_rows), counts["val_miou_pct"])]
    return {row: float(score) for row, score in pairs if isinstance(row, str) and not np.isnan(score)}


def ablation_bars(run: Session) -> Drawn:
    """Every ablation as the difference of its val mIoU to the reference, the paper's beside ours."""
    from matplotlib.figure import Figure

    evidence, printed, trained = Evidence(run), printed_scores(run), trained_rows(run.profile)
    reference = evidence.confusions("reference")
    groups = {heading: [row for row in rows if row in trained and row != "reference"]
              for heading, rows in ABLATIONS.items()}
    groups = {heading: rows for heading, rows in groups.items() if rows}
    lines = sum(len(rows) + 1 for rows in groups.values())
    figure = Figure(figsize=(6.6, 0.95 + 0.2 * lines), facecolor="white", layout="constrained")
    axes, found, ticks, line = figure.subplots(), {}, {}, 0
    for heading, rows in groups.items():
        axes.text(-0.015, line, heading, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=9,
                  weight="bold")
        for at, row in enumerate(rows, line + 1):
            found[row] = difference_interval(evidence.confusions(row), reference, mean_iou).percent("pp")
            _difference(axes, at, found[row], printed.get(row, np.nan) - printed["reference"],
                        f"ours: {run.world.name} val")
            ticks[at] = name_of(row)
        line += len(rows) + 1
    _ablation_axes(axes, ticks, lines)
    handles, labels = _once(axes)
    axes.legend(handles, labels, fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.4, 1), ncol=3,
                borderaxespad=0.2, columnspacing=1.2, handletextpad=0.4)
    order = sorted(found, key=lambda row: found[row].mean)
    below = sum(each.high < 0 for each in found.values())
    alt = (f"Difference in val mIoU, without CRF, of {len(found)} variants to the reference model, {over_seeds(run)}, "
           "with 95 % intervals, and the paper's difference where it is known. The worst: "
           + ", ".join(f"{name_of(row)} {found[row].mean:+.1f}" for row in order[:3]) + "; the best: "
           f"{name_of(order[-1])} {found[order[-1]].mean:+.1f} pp. {below} of the intervals lie below zero.")
    return Drawn(figure, "What each part is worth", alt, "measured")


def _difference(axes: "Axes", at: int, ours: Interval, paper: float, label: str) -> None:
    """One row: our difference with its interval, and the paper's."""
    clear = ours.excludes_zero
    axes.hlines(at, ours.low, ours.high, color=charts.OUR_COLOUR, lw=1.6)
    axes.plot(paper, at, "D", mfc="none", mec=charts.PAPER_COLOUR, mew=1.4, ms=5.5, label="paper: VOC 2012 val")
    axes.plot(ours.mean, at, "o", ms=5.5, color=charts.OUR_COLOUR, mfc=charts.OUR_COLOUR if clear else "white",
              label=label + (", 95 % interval" if clear else ", 0 inside"))


def _ablation_axes(axes: "Axes", ticks: dict[int, str], lines: int) -> None:
    charts.light_grid(axes)
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color="#555555", lw=1.0, zorder=1)
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.hlines(list(ticks), 0, 1, color="#EEEEEE", lw=0.6, transform=axes.get_yaxis_transform(), zorder=0)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(lines - 0.4, -0.7)
    axes.set_xlabel("val mIoU against the reference (pp), without CRF", fontsize=9)


def _once(axes: "Axes") -> tuple[list, list]:
    """Handles and labels of a legend, each label once."""
    entries = {label: handle for handle, label in zip(*axes.get_legend_handles_labels())}
    return list(entries.values()), list(entries)


def kernels(run: Session) -> Drawn:
    """Val mIoU by the kernel of PAMR, from none to the widest, the paper's beside ours."""
    from matplotlib.figure import Figure

    evidence, printed = Evidence(run), printed_scores(run)
    rows = [row for row in KERNELS if row in trained_rows(run.profile)]
    scores = {row: interval(evidence.confusions(row), mean_iou).percent() for row in rows}
    figure = Figure(figsize=(6.6, 3.1), facecolor="white", layout="constrained")
    axes = figure.subplots()
    at = [list(KERNELS).index(row) for row in rows]
    axes.vlines(at, [each.low for each in scores.values()], [each.high for each in scores.values()],
                color=charts.OUR_COLOUR, lw=1.6)
    axes.plot(at, [each.mean for each in scores.values()], "o-", ms=5.5, lw=1.2, color=charts.OUR_COLOUR,
              label=f"ours: {run.world.name} val, 95 % interval")
    axes.plot(range(len(KERNELS)), [printed.get(row, np.nan) for row in KERNELS], "D", mfc="none",
              mec=charts.PAPER_COLOUR, mew=1.4, ms=6, label="paper: VOC 2012 val")
    for places, values in _unassigned(run):
        for value in values:
            axes.plot(places, [value] * 2, "D--", color=charts.PAPER_COLOUR, mfc="white", mew=0.9, ms=4, lw=0.9,
                      label="paper, one of the two")
    charts.light_grid(axes)
    axes.grid(visible=False, axis="x")
    axes.set_xticks(range(len(KERNELS)), [_kernel_name(run, row) for row in KERNELS], fontsize=8)
    axes.set_xlim(-0.5, len(KERNELS) - 0.5)
    axes.set_xlabel("dilations of PAMR's kernel", fontsize=9)
    axes.set_ylabel("val mIoU (%), without CRF", fontsize=9)
    figure.legend(*_once(axes), fontsize=8, frameon=False, loc="outside upper center", ncol=3)
    facts = ", ".join(f"{_kernel_name(run, row).splitlines()[0]} {scores[row].mean:.1f}" for row in rows)
    alt = (f"Val mIoU without CRF by the dilations of PAMR's kernel, {over_seeds(run)}, with 95 % intervals: {facts}. "
           f"The paper's: none {printed['no PAMR']:.1f}, 1-2-4-8-12-24 {printed['reference']:.1f}; to which of two "
           "kernels its other values belong is lost in its text.")
    return Drawn(figure, "The reach of PAMR", alt, "measured")


def _kernel_name(run: Session, row: str) -> str:
    """The kernel as the paper writes it, and as it is on this profile's masks where that differs."""
    if not KERNELS[row]:
        return "none"
    here = run.route.scale.dilations(KERNELS[row])
    lines = ["-".join(map(str, KERNELS[row]))] + ([] if here == KERNELS[row] else ["here " + "-".join(map(str, here))])
    return "\n".join(lines)


def _unassigned(run: Session) -> list[tuple[Sequence[int], list[float]]]:
    """Places of two kernels, and the paper's values of both, of which its text has lost the order."""
    table = run.published("table1b")
    values = table["val_miou_pct"][~table["pamr_kernel_dilations"].isin(["none (no PAMR)", "1-2-4-8-12-24"])].tolist()
    return [((1, 2), values[:2]), ((3, 4), values[2:])]


# --- training --------------------------------------------------------------------------------------------------------

def learning_curves(run: Session) -> Drawn:
    """Losses, labelled shares, and the two terms of the score of absent classes, over the training."""
    from matplotlib.figure import Figure

    evidence = Evidence(run)
    ours = evidence.curves("ours")
    figure = Figure(figsize=(10.4, 3.1), facecolor="white", layout="constrained")
    losses, shares, absent = figure.subplots(1, 3)
    total = ours["classification"].shape[1]
    charts.training_curve(losses, ours["classification"], "classification", 0, total)
    begins = total - ours["kept images"].shape[1]
    charts.training_curve(losses, ours["segmentation"][:, begins:], "segmentation", 1, total)
    charts.training_curve(shares, 100 * ours["kept images"], "images with labels", 0, total)
    charts.training_curve(shares, 100 * ours["labelled pixels"], "labelled pixels", 1, total)
    _absent_scores(absent, evidence, run, total)
    titles = {losses: ("losses", "loss"), shares: ("pseudo ground truth", "share of the batch (%)"),
              absent: ("scores of absent classes", "median size")}
    for axes, (title, quantity) in titles.items():
        charts.light_grid(axes)
        axes.axvline(begins, color="#888888", lw=0.9, ls=(0, (2, 2)), zorder=1)
        axes.set_xlim(0, total)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("iteration", fontsize=9)
        axes.set_ylabel(quantity, fontsize=9)
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncol=2)
    losses.set_ylim(bottom=0)
    shares.set_ylim(0, 100)
    last = {name: values[:, -max(1, total // 20):].mean() for name, values in ours.items()}
    other = ", for epsilon = 1 and 0" if "epsilon=0" in trained_rows(run.profile) else ""
    alt = (f"Training of the final model against iteration, {over_seeds(run)}; dashed: the end of the warm-up. At the "
           f"end the classification loss is {last['classification']:.2f}, the segmentation loss "
           f"{last['segmentation']:.2f}, {100 * last['kept images']:.0f} % of the images and "
           f"{100 * last['labelled pixels']:.0f} % of the pixels have pseudo labels. Right, for the reference: sizes "
           f"of the weighted pooling and of the size penalty of classes that aren't in the image{other}.")
    return Drawn(figure, "Inside the training", alt, "measured")


def _absent_scores(axes: "Axes", evidence: Evidence, run: Session, total: int) -> None:
    """Sizes of both terms, with epsilon = 1 and 0."""
    rows = {"ε = 1": "reference", "ε = 0": "epsilon=0"}
    for number, (name, row) in enumerate(rows.items()):
        if row not in trained_rows(run.profile):
            continue
        curves = evidence.curves(row)
        charts.training_curve(axes, curves["absent pooling"], f"pooling, {name}", number, total)
        charts.training_curve(axes, curves["absent penalty"], f"penalty, {name}", number, total, linestyle="--")
    axes.set_ylim(bottom=0)
