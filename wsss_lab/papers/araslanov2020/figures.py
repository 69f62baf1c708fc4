"""The figures of Araslanov & Roth 2020 from what a session has stored: `run.compute(*steps(run))` comes first.

Pictures are taken from seed 0 and chosen by rule, never by hand; every alt text states the rule. Charts of measured
numbers are in araslanov2020_charts, diagrams and curves that need no run in araslanov2020_diagrams.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from wsss_lab.data.canvas import canvas_box, from_canvas
from wsss_lab.evaluation.confusion import confusion_matrix, divide, mean_iou
from wsss_lab.evaluation.intervals import Interval, difference_interval, interval
from wsss_lab.lab import charts, plots
from wsss_lab.lab.choices import random_images, ranked, spread_ranks
from wsss_lab.lab.plots import Drawn, Panel
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.networks.deeplab_v3plus import gate
from wsss_lab.papers.araslanov2020.route import (
    FLOORS,
    GATE_ROWS,
    ITERATION_ROWS,
    KERNELS,
    OURS,
    POWERS,
    PSIS,
    SWITCHES,
    gate_row,
    penalty_row,
    pooled_maps,
    trained_rows,
)
from wsss_lab.papers.araslanov2020.tables import Evidence
from wsss_lab.papers.shared_pictures import SplitPictures, over_seeds, per_cent
from wsss_lab.refinement.pamr import RING, affinities
from wsss_lab.seeds.weighted_pooling import (
    EPSILON,
    FLOOR,
    POWER,
    average_pooling,
    class_scores,
    masks_of,
    size_penalty,
    soft_margin_loss,
    weighted_pooling,
)

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


def chart_steps(run: Session) -> list[Step]:
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


_DEEP, _SHALLOW, _CUES = "#F6D5C8", "#D3EBF8", "#E4DEF2"


def fig3(_run: Session) -> Drawn:
    """Block diagram of the architecture and of its two losses."""
    boxes = {
        "image": (0.07, 0.30, "Image"),
        "tags": (0.07, 0.90, "Image tags z"),
        "net": (0.225, 0.30, "Segmentation network\nbackbone, ASPP, skip,\nstochastic gate, decoder"),
        "y": (0.405, 0.30, "Pixel scores y\nbackground: 1"),
        "m": (0.562, 0.30, "Masks m\nsoftmax"),
        "score": (0.456, 0.60, "Class scores\nnGWP of y by m\n+ focal penalty of\nsmall masks"),
        "class loss": (0.456, 0.90, "Classification loss, from the first iteration on"),
        "pamr": (0.69, 0.30, "PAMR\nmasks follow\nthe colours"),
        "pseudo": (0.885, 0.30, "Pseudo ground truth\nconfident pixels of\ntagged classes"),
        "pixel loss": (0.885, 0.60, "Segmentation loss\nafter the warm-up"),
    }
    arrows = [("image", "net"), ("net", "y"), ("y", "m"), ("y", "score"), ("m", "score"), ("score", "class loss"),
              ("tags", "class loss"), ("m", "pamr"), ("pamr", "pseudo"), ("pseudo", "pixel loss"),
              ("m", "pixel loss", "corner"), ("image", "pamr", "below")]
    colours = {"net": _DEEP, "score": "#FCE8BF", "class loss": "#FCE8BF", "pamr": "#CFE9DF", "pseudo": "#CFE9DF",
               "pixel loss": "#CFE9DF"}
    figure = plots.flow(boxes, arrows, (10.2, 3.7), colours)
    alt = ("Block diagram: a segmentation network gives pixel scores, to which a constant background is added, and "
           "their softmax, the masks. Normalised global weighted pooling and a focal penalty of small masks turn both "
           "into class scores for the classification loss against the tags. PAMR makes the masks follow the image's "
           "colours; their confident pixels are the pseudo ground truth of a segmentation loss on the same masks.")
    return Drawn(figure, "One network, one training, two losses", alt, "schematic")


def fig7(_run: Session) -> Drawn:
    """Block diagram of the stochastic gate, and what it does to one element, drawn many times."""
    boxes = {
        "conv3": (0.07, 0.82, "Shallow\nfeatures\n(conv3)"),
        "aspp": (0.07, 0.18, "Deep\nfeatures\n(ASPP)"),
        "merge": (0.225, 0.18, "Join with the\nskip, 3×3 conv:\n$x^{(d)}$"),
        "cues": (0.385, 0.50, "1×1 conv, global\nmaximum: z, b"),
        "inject": (0.385, 0.82, "Normalise (AdIN),\ntimes z, plus b,\n1×1 conv"),
        "xs": (0.55, 0.82, "$x^{(s)*}$"),
        "gate": (0.55, 0.18, "Gate\nr ~ Bern(ψ)\nper element"),
        "decoder": (0.675, 0.18, "Decoder"),
    }
    arrows = [("conv3", "inject"), ("conv3", "merge"), ("aspp", "merge"), ("merge", "cues", "corner"),
              ("cues", "inject"), ("gate", "decoder"), ("merge", "gate"), ("inject", "xs"),
              ("xs", "gate")]
    colours = {"aspp": _DEEP, "merge": _DEEP, "decoder": _DEEP, "conv3": _SHALLOW, "inject": _SHALLOW, "xs": _SHALLOW,
               "cues": _CUES, "gate": "#FCE8BF"}
    figure = plots.flow(boxes, arrows, (10.2, 3.2), colours)
    axes = figure.add_axes([0.77, 0.16, 0.225, 0.72])
    facts = _draw_gate(axes)
    alt = ("Block diagram: the maxima of a convolution of the deep features scale and shift the normalised shallow "
           "ones (Global Cue Injection); the stochastic gate then takes each element from the shallow features with "
           "probability psi, otherwise a deep one that makes up for it. At the right what one element becomes in "
           f"training: {facts}.")
    return Drawn(figure, "Stochastic gate and Global Cue Injection", alt, "schematic")


def _draw_gate(axes: "Axes", deep: float = 1.0, shallow: float = 0.2, draws: int = 100_000) -> str:
    """The two values that the gate gives an element, by how often; returns the numbers in words."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = gate(torch.full((draws,), deep), torch.full((draws,), shallow), OURS.psi, training=True).numpy()
    values, counts = np.unique(drawn.round(4), return_counts=True)
    shares = 100 * counts / draws
    low, high = zip(values, shares)
    axes.bar(values, shares, 0.16, color=["#56B4E9", "#D55E00"])
    names = (r"$x^{(s)}$", r"$(x^{(d)} - \psi x^{(s)})$" "\n" r"$/ (1 - \psi)$")
    for name, (value, share) in zip(names, (low, high)):
        axes.annotate(f"{name}\n{value:.2f}: {share:.0f} %", (value, share), (0, 2), textcoords="offset points",
                      ha="center", va="bottom", fontsize=8)
    axes.axvline(drawn.mean(), ymax=0.5, color=plots.INK, lw=1.2, ls=(0, (3, 2)))
    axes.annotate(f"mean {drawn.mean():.2f}", (drawn.mean(), 57), (6, 3), textcoords="offset points", ha="right",
                  va="bottom", fontsize=8)
    charts.light_grid(axes)
    axes.grid(visible=False, axis="x")
    axes.set(xlim=(-0.15, 1.85), ylim=(0, 114))
    axes.set_xlabel(f"one element: $x^{{(d)}}$ = {deep:g}, $x^{{(s)}}$ = {shallow:g}", fontsize=9)
    axes.set_ylabel("draws (%)", fontsize=9)
    return (f"with x(d) {deep:g}, x(s) {shallow:g} and psi {OURS.psi:g} it is {low[0]:.2f} in {low[1]:.0f} % and "
            f"{high[0]:.2f} in {high[1]:.0f} % of {draws} draws, {drawn.mean():.2f} on average, as x(d)")


def fig9(_run: Session) -> Drawn:
    """The classification loss of one class against its score."""
    figure, (axes,) = _charts(1, (4.6, 2.9))
    scores = torch.linspace(-6, 6, 121)
    for tag, label, colour in ((1, "tagged class, z = 1", "#0072B2"), (0, "other class, z = 0", "#D55E00")):
        losses = [float(soft_margin_loss(score.view(1, 1), torch.full((1, 1), tag))) for score in scores]
        axes.plot(scores, losses, color=colour, lw=1.8, ls="-" if tag else "--", label=label)
    axes.axvline(0, color="#888888", lw=0.9, ls=(0, (2, 2)), zorder=1)
    axes.set_xlim(-6, 6)
    axes.set_ylim(0, 6)
    axes.set_xlabel(r"class score $y_c$", fontsize=9)
    axes.set_ylabel("loss of the class", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="upper center")
    alt = ("Soft-margin loss of one class against its score: for a tagged class it falls from 6 at a score of -6 over "
           "0.69 at 0 towards 0, for any other class it rises the same way, so that both saturate on the right side.")
    return Drawn(figure, "Soft-margin classification loss", alt, "schematic")


def penalty_curves(_run: Session) -> Drawn:
    """The focal penalty of small masks (Eqs. 4 and 5) against the mean of the mask, by p and by lambda."""
    figure, (left, right) = _charts(2, (7.6, 2.9))
    even, small = torch.linspace(0, 1, 401), torch.logspace(-4, 0, 401)
    for index, power in enumerate(POWERS):
        label = f"p = {power}" + (" (Eq. 4)" if power == 0 else "")
        left.plot(even, size_penalty(even.view(1, -1, 1, 1), power, FLOOR)[0], lw=1.8, label=label,
                  **charts.line_style(index))
    for index, floor in enumerate(FLOORS):
        right.plot(small, size_penalty(small.view(1, -1, 1, 1), POWER, floor)[0], lw=1.8, label=f"λ = {floor:g}",
                   **charts.line_style(index + len(POWERS)))
    left.set_title(f"λ = {FLOOR:g}", fontsize=9)
    right.set_title(f"p = {POWER:g}", fontsize=9)
    left.set_ylabel("penalty in the class score", fontsize=9)
    left.set_xlim(0, 1)
    right.set_xscale("log")
    right.set_xlim(1e-4, 1)
    for axes in (left, right):
        axes.set_ylim(-7.2, 0.3)
        axes.set_xlabel(r"mean of the mask, $\bar m_c$", fontsize=9)
        axes.legend(fontsize=8, frameon=False, loc="lower right")
    quarter = [float(size_penalty(torch.full((1, 1, 1, 1), 0.25), power)) for power in (0, POWER)]
    alt = ("Penalty against the mean of the mask. Left: with lambda 0.01 it starts at log 0.01 = -4.6 for every p; at "
           f"a mean of 0.25 it is {quarter[0]:.2f} for p = 0 and {quarter[1]:.2f} for p = 3, which lets go of masks "
           "that are no longer near zero. Right: with p = 3, lambda sets what an empty mask costs: -2.3, -4.6 or -6.9.")
    return Drawn(figure, "Focal penalty of small masks", alt, "schematic")


def pooling_limits(_run: Session) -> Drawn:
    """Weighted pooling as a mask vanishes: along two paths (Lemma 1), and with one score everywhere (Eqs. 17-20)."""
    figure, (left, right) = _charts(2, (8.6, 3.0))
    mass = torch.logspace(1, -4, 201, dtype=torch.float64)
    scores, constant = (2.0, -3.0), -2.0
    for place, score in enumerate(scores):
        # Both pixels' masks vanish, but the other one faster, so that in the end only this one is left.
        masks = torch.stack([mass if index == place else mass**2 / 20 for index in (0, 1)], 1)[:, None, None]
        both = torch.tensor(scores, dtype=torch.float64).expand(len(mass), 1, 1, 2)
        for epsilon in (0.0, EPSILON):
            left.plot(mass, weighted_pooling(both, masks, epsilon), lw=1.8,
                      label=f"ε = {epsilon:g}, mask at the pixel with y = {score:g}".replace("-", "−"),
                      **_path_style(place, epsilon))
    for epsilon in (0.0, EPSILON):
        alone = weighted_pooling(torch.full((len(mass), 1, 1, 1), constant, dtype=torch.float64),
                                 mass.view(-1, 1, 1, 1), epsilon)
        right.plot(mass, alone, lw=1.8, label=f"ε = {epsilon:g}", **_path_style(1, epsilon))
    titles = "two pixels, two paths (Lemma 1)", f"every score y = {constant:g} (Eqs. 18, 20)".replace("-", "−")
    for axes, title in zip((left, right), titles):
        axes.set_xscale("log")
        axes.set_xlim(10, 1e-4)
        axes.set_ylim(-3.4, 2.4)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("sum of the mask, on its way to 0", fontsize=9)
    left.set_ylabel(r"pooled score $y_c^{nGWP}$", fontsize=9)
    figure.legend(*left.get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside lower center", ncol=2)
    alt = ("Pooled score of a class as the sum of its mask goes to 0. Left: two pixels with the scores 2 and -3, of "
           "which one keeps all of the mask. With epsilon = 0 the score ends at 2 or at -3, depending on which, so it "
           "has no limit; with epsilon = 1 both paths end at 0. Right: with -2 everywhere the score stays -2 for "
           "epsilon = 0 and rises to 0 for epsilon = 1, where it is always the higher one.")
    return Drawn(figure, "What an empty mask scores", alt, "schematic")


def _path_style(place: int, epsilon: float) -> dict:
    return {"color": charts.LINE_COLOURS[place], "linestyle": "-" if epsilon else "--"}


def _charts(count: int, size: tuple[float, float]) -> tuple:
    """A figure with charts side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    all_axes = figure.subplots(1, count, squeeze=False)[0]
    for axes in all_axes:
        charts.light_grid(axes)
    return figure, all_axes


WATCHED = 16  # train images that are looked at inside the training
ALIKE = 0.1  # neighbouring pixels whose colours differ by less, of 1, look alike


class Pictures(SplitPictures):
    """Panels of the images of one split at seed 0, and the scores by which images are chosen."""

    def prediction(self, row: str, crf: bool, index: int, title: str = "") -> Panel:
        """Labels by a row of araslanov2020.ROWS, tags predicted."""
        return self.stored(self.route.prediction(row, self.split)["refined" if crf else "masks"], index, title)

    def cam(self, index: int, title: str = "") -> Panel:
        """Labels by the CAM baseline, tags known."""
        return self.stored(self.route.cam_labels("main", self.split)["masks"], index, title)

    def truth_of(self, label: int, index: int, title: str = "") -> Panel:
        """The ground truth with one class only; label: 1..C."""
        mask = self.view.mask(index)
        return Panel(np.where((mask == label) | (mask == 255), mask, 0), "mask", title)

    def area(self, label: int, index: int) -> float:
        """Share of an image's pixels that the ground truth gives to a label."""
        return float((self.view.mask(index) == label).mean())

    def network_iou(self, row: str, crf: bool) -> np.ndarray:
        """Mean IoU (N,) of a row's labels over the classes that each image shows or is said to show."""
        score = self.route.score(self.route.prediction(row, self.split), self.split, crf)
        return mean_iou(np.asarray(self.run.load(score["confusions"])))

    # --- shortcomings of the CAM baseline (Fig. 2), each (N,) -------------------------------------------------------

    @cached_property
    def _cam_counts(self) -> np.ndarray:
        score = self.route.score(self.route.cam_labels("main", self.split), self.split)
        return np.asarray(self.run.load(score["confusions"]), np.float64)

    @cached_property
    def cam_mistaken(self) -> np.ndarray:
        """Share of the object pixels that CAM labels as another object, nan without objects."""
        objects = self._cam_counts[:, 1:, 1:-1]
        hits = np.trace(objects, axis1=1, axis2=2)
        return divide(objects.sum((1, 2)) - hits, self._cam_counts[:, 1:].sum((1, 2)))

    @cached_property
    def cam_missed(self) -> np.ndarray:
        """Share of the object pixels that CAM leaves to the background; nan but for the quarter of the images in which
        CAM labels the fewest background pixels as an object."""
        background, objects = self._cam_counts[:, 0], self._cam_counts[:, 1:]
        false = divide(background[:, 1:-1].sum(1), background[:, 1:-1].sum(1) + objects[..., 1:-1].sum((1, 2)))
        missed = divide(objects[..., 0].sum(1), objects.sum((1, 2)))
        precise = false <= np.nanquantile(false, 0.25) if np.isfinite(false).any() else np.isfinite(missed)
        return np.where(precise, missed, np.nan)

    @cached_property
    def cam_torn(self) -> np.ndarray:
        """Share of the neighbouring pixels that CAM labels differently, of those that look alike and lie on the same
        object; nan without any."""
        return np.array([self._torn(index) for index in range(len(self.view))])

    def _torn(self, index: int) -> float:
        image, mask, labels = self.view.image(index) / 255, self.view.mask(index), self.cam(index).data
        on_object = (mask > 0) & (mask < 255)
        torn = alike = 0
        for axis in (0, 1):
            first = on_object[:-1] if axis == 0 else on_object[:, :-1]
            similar = first & (np.diff(mask.astype(int), axis=axis) == 0)
            similar &= np.abs(np.diff(image, axis=axis)).mean(2) < ALIKE
            torn += (similar & (np.diff(labels.astype(int), axis=axis) != 0)).sum()
            alike += similar.sum()
        return float(divide(torn, alike))


class Watched(Pictures):
    """Train images inside the training of "ours", early and at its end: masks on the images' own pixels.

    images: their rows, `WATCHED` random ones (fixed seed) of those with several tags.
    """

    def __init__(self, run: Session):
        super().__init__(run, "train")
        rows = self.with_several_tags
        self.images = tuple(int(rows[place]) for place in random_images(len(rows), WATCHED, seed=1))

    def step(self, late: bool) -> Step:
        """The step that makes the masks."""
        return self.route.pictures(self.images, late)

    def pooling(self) -> Step:
        """The step that makes the maps of Fig. 4."""
        route = self.route
        return Step("segmenter", pooled_maps, {"backbone": route.backbone(), "method": route.method("ours"),
                                               "images": list(self.images)},
                    {"view": route.world.train_view("train"), "cam_state": route.cam()["state"],
                     "state": route.trained("ours")["state"]}, f"maps that are pooled, seed {route.seed}")

    @property
    def iterations(self) -> int:
        """Iterations of PAMR."""
        return self.route.method("ours")["iterations"]

    def on_canvas(self, index: int, late: bool = False) -> np.ndarray:
        """Masks of an image before PAMR and after each iteration, on their own grid: float (T + 1, 1 + C, h, w)."""
        return np.asarray(self.run.load(self.step(late)["masks"])[self.images.index(index)], np.float32)

    def masks(self, index: int, iteration: int, late: bool = False) -> np.ndarray:
        """Masks after an iteration on the image's pixels: float (1 + C, H, W), 0 for classes that are not tags."""
        return self.on_image(self.on_canvas(index, late)[iteration], index)

    def on_image(self, maps: np.ndarray, index: int) -> np.ndarray:
        """Maps of the canvas on the image's pixels: (K, h, w) -> (K, H, W)."""
        size, side = self.view.size(index), self.route.backbone()["side"]
        return from_canvas(maps, canvas_box(*size, side), side, size)

    def winners(self, index: int, iteration: int, late: bool = False, title: str = "") -> Panel:
        """The class with the largest mask at each pixel, after an iteration of PAMR."""
        return Panel(self.masks(index, iteration, late).argmax(0).astype(np.uint8), "mask", title)

    def pseudo_labels(self, index: int, late: bool = False, title: str = "") -> Panel:
        """The pseudo ground truth, 255 where it is ignored."""
        labels = np.asarray(self.run.load(self.step(late)["labels"])[self.images.index(index)])
        top, left, height, width = canvas_box(*self.view.size(index), len(labels))
        return Panel(labels[top:top + height, left:left + width], "mask", title)

    def soft(self, label: int, index: int, iteration: int, title: str = "") -> Panel:
        """The early mask of one class after an iteration, on its own grid; bordered: where it is the largest."""
        masks = self.on_canvas(index)[iteration]
        (height, width), side = masks.shape[1:], self.route.backbone()["side"]
        top, left, tall, wide = canvas_box(*self.view.size(index), side)
        rows = slice(top * height // side, -(-(top + tall) * height // side))
        columns = slice(left * width // side, -(-(left + wide) * width // side))
        return Panel(masks[label, rows, columns], "heat", title, outline=(masks.argmax(0) == label)[rows, columns])

    def most_changed(self, index: int) -> int:
        """The tag whose early mask PAMR changes most."""
        steps = self.on_canvas(index)
        return int(np.abs(steps[-1, 1:] - steps[0, 1:]).sum((1, 2)).argmax()) + 1

    @cached_property
    def changed(self) -> np.ndarray:
        """Share of the pixels whose largest mask PAMR changes early in training: (images,)."""
        return np.array([np.mean(self.winners(index, 0).data != self.winners(index, self.iterations).data)
                         for index in self.images])

    def gives_labels(self, late: bool = False) -> np.ndarray:
        """Which images give pseudo labels: bool (images,)."""
        return (np.asarray(self.run.load(self.step(late)["labels"])) != 255).any((1, 2))

    @cached_property
    def gain(self) -> np.ndarray:
        """By how much PAMR raises the mean IoU of the largest masks early in training: (images,)."""
        return np.array([self._iou(index, self.iterations) - self._iou(index, 0) for index in self.images])

    def _iou(self, index: int, iteration: int) -> float:
        labels = self.winners(index, iteration).data
        return float(mean_iou(confusion_matrix(labels, self.view.mask(index), 1 + len(self.classes))))

    def small_image(self, index: int, size: tuple[int, int]) -> torch.Tensor:
        """The canvas of an image on the grid of its masks, as PAMR sees it: float (1, 3, h, w) in [0, 1]."""
        canvas, _ = self.view.canvas([index], self.route.backbone()["side"])
        return F.interpolate(canvas.float() / 255, size=size, mode="bilinear", align_corners=True)


_WATCHED_RULE = f"of up to {WATCHED} random training images with several tags (fixed seed)"


def steps(run: Session) -> list[Step]:
    """Everything that figures and charts show: scores of all seeds, and pictures of seed 0."""
    route, watched = run.route, Watched(run)
    shown, baseline = route.prediction("ours"), route.cam_labels()
    return [route.score(baseline), *(route.score(shown, crf=crf) for crf in (False, True)), watched.step(late=False),
            watched.step(late=True), watched.pooling(), *chart_steps(run)]


# --- the idea ----------------------------------------------------------------------------------------------------

def fig1(run: Session) -> Drawn:
    """The best results on val beside the ground truth."""
    val = Pictures(run, "val")
    rows = val.with_several_tags
    scores = val.network_iou("ours", crf=False)
    best = rows[ranked(scores[rows])[:6]]
    panels = [[panel for index in best[first:first + 2] for panel in
               (val.image(index), val.prediction("ours", False, index, per_cent(scores[index])), val.truth(index))]
              for first in range(0, len(best), 2)]
    figure = plots.grid(panels, ["image", "ours", "ground truth"] * 2, classes=val.classes, size=1.3,
                        groups=[("", 3), ("", 3)])
    alt = (f"Image, labels of the final model without CRF, and ground truth of the {len(best)} val images with several "
           f"tags that have the highest IoU, from {100 * scores[best[0]]:.0f} % to {100 * scores[best[-1]]:.0f} %.")
    return Drawn(figure, "The best results of one network", alt)


def fig2(run: Session) -> Drawn:
    """Three shortcomings of class activation maps, each where it is largest."""
    val = Pictures(run, "val")
    lacking = {"locally inconsistent": (val.cam_torn, "of alike\nneighbours torn apart"),
               "incomplete": (val.cam_missed, "of the object\npixels missed"),
               "semantically wrong": (val.cam_mistaken, "of the object\npixels mistaken")}
    shown: dict[int, str] = {}
    for name, (values, words) in lacking.items():
        index = next(int(index) for index in ranked(values) if index not in shown)
        shown[index] = f"{name}:\n{100 * values[index]:.0f} % {words}"
    rows = [[val.image(index), val.cam(index), val.truth(index)] for index in shown]
    figure = plots.grid(rows, ["image", "CAM", "ground truth"], list(shown.values()), val.classes, size=1.45)
    alt = ("Labels by class activation maps, tags known, on val, each row with the image where the shortcoming is "
           "largest: neighbouring pixels of one object that look alike and get different labels; object pixels left to "
           "the background, among the quarter of the images with the fewest background pixels taken for objects; "
           "object pixels given to another class.")
    return Drawn(figure, "Shortcomings of attention maps", alt)


def fig4(run: Session) -> Drawn:
    """Both ways from maps to a class score, on one image."""
    watched, stored = Watched(run), run.load(Watched(run).pooling())
    settings = run.route.method("ours")
    terms = class_scores(torch.tensor(np.asarray(stored["pixel_scores"])), *(
        settings[name] for name in ("power", "floor", "epsilon", "penalty")))
    tagged = watched.view.tags[list(watched.images)]
    place = int(np.where(tagged, sum(terms), np.inf).min(1).argmax())
    index, (pooled, penalty) = watched.images[place], (term[place] for term in terms)
    class_maps, pixel_scores = (torch.tensor(np.asarray(stored[name][place]))[None]
                                for name in ("class_maps", "pixel_scores"))
    average = average_pooling(class_maps)[0]
    tags = watched.view.tags[index]
    labels = sorted(np.flatnonzero(tags) + 1, key=lambda label: -watched.area(label, index))
    absent = np.flatnonzero(~tags)
    labels += [absent[(pooled + penalty)[absent].argmax()] + 1] if len(absent) else []
    shown = np.array(labels) - 1
    maps = watched.on_image(class_maps[0, shown].numpy(), index)
    scores = watched.on_image(pixel_scores[0, shown].numpy(), index)
    masks = watched.on_image(masks_of(pixel_scores)[0, shown + 1].numpy(), index)
    first = [watched.image(index, "image"), watched.truth(index, "ground truth")] + [None] * (len(labels) - 2)
    rows = [[panel, _relative(maps, row), _words(f"{average[place]:+.2f}"),
             _relative(scores, row, scores.min()), _relative(masks, row, mean=True),
             _words(f"{pooled[place]:+.2f}\n{penalty[place]:+.2f}\n= {(pooled + penalty)[place]:+.2f}")]
            for row, (panel, place) in enumerate(zip(first, shown))]
    names = [f"{watched.classes[label - 1]}\n" + (f"{100 * watched.area(label, index):.0f} % of the\npixels"
             if tags[label - 1] else "not in\nthe image") for label in labels]
    columns = ["", "class map", "mean over\nthe image", "pixel scores y", "mask m", "weighted mean\n+ penalty"]
    figure = plots.grid(rows, columns, names, watched.classes, size=1.3,
                        groups=[("", 1), ("(a) CAM-GAP", 2), ("(b) nGWP", 3)])
    told = "; ".join(f"{watched.classes[place]} {average[place]:+.2f} and {(pooled + penalty)[place]:+.2f}"
                     for place in shown)
    alt = (f"From maps to class scores on the image whose weakest tag has the highest one, {_WATCHED_RULE}: (a) class "
           "map and its mean; (b) pixel scores, the masks after a softmax with the background, and the mean of the "
           f"scores weighted by the mask plus the size penalty. Last row: a class that isn't there. Scores: {told}.")
    return Drawn(figure, "Two ways from maps to class scores", alt)


def _relative(maps: np.ndarray, row: int, low: float = 0.0, mean: bool = False) -> Panel:
    """A map on a common scale from `low` to the largest value of all, with its own range or mean as the title."""
    own, top = maps[row], max(float(maps.max()), low + 1e-6)
    title = f"mean {own.mean():.2f}, up to {own.max():.2f}" if mean else f"{own.min():.1f} to {own.max():.1f}"
    return Panel(np.clip((own - low) / (top - low), 0, 1), "heat", title.replace("-", "−"))


def _words(text: str) -> Panel:
    return Panel(text.replace("-", "−"), "text")


def fig5(run: Session) -> Drawn:
    """PAMR on one image: the weights of one pixel's neighbours, and what they do to a mask."""
    watched = Watched(run)
    index = watched.images[int(ranked(watched.gain)[0])]
    label, masks = watched.most_changed(index), watched.on_canvas(index)
    settings = run.route.method("ours")
    dilations, size = settings["dilations"], masks.shape[-2:]
    small = watched.small_image(index, size)
    row, column = _most_moved(np.abs(masks[-1, label] - masks[0, label]), max(dilations))
    weights = affinities(small, dilations, settings["bandwidth"])[0, :, row, column].numpy()
    rings = [weights[first:first + len(RING)] for first in range(0, len(weights), len(RING))]
    below = [Panel(_ring_picture(ring) / weights.max(), "heat", f"dilation {dilation}: {100 * ring.sum():.0f} %")
             for dilation, ring in zip(dilations, rings)]
    image = (255 * small[0].permute(1, 2, 0).numpy()).round().astype(np.uint8)
    counts = [count for count in (0, 1, 2) if count < watched.iterations] + [watched.iterations]
    above = [Panel(image, title="image and neighbours"),
             *(Panel(masks[count, label], "heat", "mask" if not count else _iterations(count)) for count in counts)]
    names = [f"mask of\n{watched.classes[label - 1]}", "neighbours'\nweights"]
    figure = plots.grid([above, below], (), names, watched.classes, size=1.45)
    _mark_neighbours(figure.axes[0], row, column, dilations, weights)
    for axes in figure.axes[1:len(above)]:
        axes.plot(column, row, "x", color="white", ms=6, mew=1.6)
    for axes in figure.axes[len(above):len(above) + len(rings)]:
        axes.plot(1, 1, "x", color=plots.INK, ms=6, mew=1.6)
    before, after = masks[0, label, row, column], masks[-1, label, row, column]
    alt = (f"A training image on the grid of its masks with one pixel (cross) and its neighbours at dilations "
           f"{', '.join(map(str, dilations))}, brighter where their colours count more; the mask of "
           f"{watched.classes[label - 1]} before PAMR and after up to {watched.iterations} iterations, early in "
           "training; below, the weights by dilation and their sums. The image is the one whose IoU PAMR raises most, "
           f"{_WATCHED_RULE}, the pixel the one whose mask moves most: from {before:.2f} to {after:.2f}.")
    return Drawn(figure, "Pixel-adaptive mask refinement", alt)


def _iterations(count: int) -> str:
    return f"after {count} iteration" + "s" * (count > 1)


def _most_moved(change: np.ndarray, margin: int) -> tuple[int, int]:
    """Row and column of the largest value, with as much room around it as fits."""
    room = min(margin, (min(change.shape) - 1) // 2)
    inner = change[room:change.shape[0] - room, room:change.shape[1] - room]
    row, column = np.unravel_index(int(inner.argmax()), inner.shape)
    return int(row) + room, int(column) + room


def _ring_picture(ring: np.ndarray) -> np.ndarray:
    """Eight weights around an empty middle: (3, 3)."""
    return np.insert(ring, len(ring) // 2, np.nan).reshape(3, 3)


def _mark_neighbours(axes, row: int, column: int, dilations, weights: np.ndarray) -> None:
    steps_of = np.array([step for dilation in dilations for step in dilation * np.array(RING)])
    order = np.argsort(weights)
    axes.scatter(column + steps_of[order, 1], row + steps_of[order, 0], c=weights[order], cmap=plots.MAP_COLOURS,
                 vmin=0, vmax=weights.max(), s=10, ec="white", lw=0.6)
    axes.plot(column, row, "x", color="white", ms=6, mew=1.6)


def fig6(run: Session) -> Drawn:
    """What the segmentation loss is made of, early in the training and at its end."""
    watched = Watched(run)
    early, late = watched.gives_labels(), watched.gives_labels(late=True)
    chosen = late if late.sum() >= 5 else np.ones_like(late)
    indices = [watched.images[place] for place in spread_ranks(np.where(chosen, watched.gain, np.nan), 5)]
    rows = [[watched.image(index), watched.truth(index),
             *(panel for late in (False, True) for panel in
               (watched.winners(index, 0, late), watched.winners(index, watched.iterations, late),
                watched.pseudo_labels(index, late)))] for index in indices]
    scale = run.route.scale
    columns = ["image", "ground truth", *["prediction", "after PAMR", "pseudo labels"] * 2]
    figure = plots.grid(rows, columns, classes=watched.classes, size=1.15, groups=[
        ("", 2), (f"after {round(scale.snapshot * scale.schedule.iterations)} iterations", 3),
        (f"after {scale.schedule.iterations} iterations", 3)])
    which = "that give pseudo labels at the end, " if chosen is late else ""
    alt = ("Inside the training: image, ground truth, and early and at the end the largest mask per pixel before and "
           f"after PAMR and the pseudo labels, white where ignored. {len(indices)} images {which}at evenly spread "
           f"ranks of what PAMR adds to the IoU early, {_WATCHED_RULE}. Of all of these {early.sum()} give labels "
           f"early, {late.sum()} at the end; PAMR adds {100 * np.nanmean(watched.gain):+.1f} pp early.")
    return Drawn(figure, "Intermediate results at training time", alt)


# --- results -----------------------------------------------------------------------------------------------------

def fig8(run: Session) -> Drawn:
    """Results on val without and with CRF, and two failures."""
    val = Pictures(run, "val")
    scores, refined = (val.network_iou("ours", crf) for crf in (False, True))
    worst = ranked(scores)[-2:][::-1]
    others = np.where(np.isin(np.arange(len(scores)), worst), np.nan, scores)
    shown = spread_ranks(others, 8)
    pairs = [*(shown[first:first + 2] for first in range(0, len(shown), 2)), worst]
    rows = [[panel for index in pair for panel in
             (val.image(index), val.prediction("ours", False, index, per_cent(scores[index])),
              val.prediction("ours", True, index, per_cent(refined[index])), val.truth(index))] for pair in pairs]
    figure = plots.grid(rows, ["image", "ours", "ours + CRF", "ground truth"] * 2,
                        [""] * (len(rows) - 1) + ["failures"], val.classes, size=1.15, groups=[("", 4), ("", 4)])
    alt = (f"Image, result of the final model without and with CRF, and ground truth of {len(shown)} val images at "
           "evenly spread ranks of IoU without CRF from best to worst; last row: the two with the lowest. The CRF "
           f"raises the IoU of {100 * np.mean(refined > scores):.0f} % of all val images and lowers that of "
           f"{100 * np.mean(refined < scores):.0f} %.")
    return Drawn(figure, "Results on val, with two failures", alt)


def fig10(run: Session) -> Drawn:
    """The mask of one class after 0, 1, 2, 5 and 10 iterations of PAMR, early in training."""
    watched = Watched(run)
    indices = [watched.images[place] for place in ranked(watched.changed)[:4]]
    labels = [watched.most_changed(index) for index in indices]
    counts = [count for count in (0, 1, 2, 5, 10) if count <= watched.iterations]
    rows = [[watched.image(index), *(watched.soft(label, index, count) for count in counts),
             watched.truth_of(label, index)] for index, label in zip(indices, labels)]
    columns = ["image", "network", *(f"{count} iteration" + "s" * (count > 1) for count in counts[1:]), "ground truth"]
    figure = plots.grid(rows, columns, [watched.classes[label - 1] for label in labels], watched.classes, size=1.2)
    alt = (f"Masks early in the training after {', '.join(map(str, counts))} iterations of PAMR, with the border of "
           f"the pixels where they are the largest. The {len(indices)} images of which PAMR relabels most pixels, "
           f"{_WATCHED_RULE}, {100 * np.max(watched.changed):.0f} % in the first; shown: the tag that changes most.")
    return Drawn(figure, "Masks over the iterations of PAMR", alt)


#: Artifact id -> function of a session: the paper's own, then those of this project.
FIGURES: dict[str, Callable[[Session], Drawn]] = {
    "fig1": fig1, "fig2": fig2, "fig3": fig3, "fig4": fig4, "fig5": fig5, "fig6": fig6, "fig7": fig7, "fig8": fig8,
    "fig9": fig9, "fig10": fig10, "penalty_curves": penalty_curves, "pooling_limits": pooling_limits,
    "learning_curves": learning_curves, "ablation_bars": ablation_bars, "kernels": kernels,
}
