"""Charts of what was measured for Chaudhry et al. 2017; the picture figures are in chaudhry2017_figures."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from wsss_lab.evaluation.confusion import iou, mean_iou, nan_mean
from wsss_lab.evaluation.intervals import interval, ratio
from wsss_lab.evaluation.object_recall import AREA
from wsss_lab.evaluation.precision_recall import ThresholdSweep, sweep
from wsss_lab.fusion.harmonic import MEANS
from wsss_lab.lab import charts
from wsss_lab.lab.plots import Drawn
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers import chaudhry2017
from wsss_lab.papers.chaudhry2017_evidence import Evidence
from wsss_lab.papers.shared_pictures import over_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RANKS = ("largest", "second", "third")

#: Rows of the ladder: name -> (row of chaudhry2017.ROWS, CRF, table of the paper, what the printed row must have).
#: Row "" is Algorithm 1 used as the segmentation itself.
LADDER = {
    "Algorithm 1 as the answer": ("", False, "table4", {"joint_training": "no"}),
    "S1": ("S1", False, "table2", {"saliency_mask": "S1", "adapt": "no", "crf": "no"}),
    "S1 + adapt": ("S1 + adapt", False, "table2", {"saliency_mask": "S1", "adapt": "yes", "crf": "no"}),
    "S2": ("S2", False, "", {}),
    "S2 + adapt": ("S2 + adapt", False, "table5", {"saliency_step": "S2", "crf": "no"}),
    "S3": ("S3", False, "table2", {"saliency_mask": "S3 (HS)", "adapt": "no", "crf": "no"}),
    "S3, longer, no adapt": ("S3, longer", False, "", {}),
    "S3 + adapt": ("S3 + adapt", False, "table2", {"saliency_mask": "S3 (HS)", "adapt": "yes", "crf": "no"}),
    "S3 + adapt + CRF": ("S3 + adapt", True, "table2", {"saliency_mask": "S3 (HS)", "adapt": "yes", "crf": "yes"}),
    "G2 (Oh et al.)": ("G2", False, "", {}),
    "VGG: S3 + adapt": ("VGG, S3 + adapt", False, "table1", {"method": "DCSP-VGG16 (ours)", "crf": "no"}),
    "VGG: G2 (Oh et al.)": ("VGG, G2", False, "table1", {"method": "Joon et al.", "crf": "no"}),
    "full supervision": ("full", False, "", {}),
}


def early_steps(run: Session) -> list[Step]:
    """What `hierarchy`, `erasing_curves` and `gamma_curves` show, at all seeds."""
    splits = ("train", chaudhry2017.tuning_split(run.profile))
    return [step for route in run.routes for step in (
        *(route.objects_found(name) for name in chaudhry2017.HIERARCHY),
        *(route.agreement(kind=name) for name in chaudhry2017.HIERARCHY),
        *(route.agreement(mean, "S3", split) for mean in MEANS for split in splits))]


def trained_steps(run: Session) -> list[Step]:
    """What `ladder`, `per_class` and `learning_curves` show, at all seeds."""
    trained = chaudhry2017.trained_rows(run.profile)
    scored = [(row, crf) for row, crf, *_ in LADDER.values() if row in trained]
    return [step for route in run.routes for step in (
        route.score(route.direct()), *(route.scored(row, crf) for row, crf in scored))]


# --- before a segmenter is trained -------------------------------------------------------------------------------

def hierarchy(run: Session) -> Drawn:
    """How much of the largest, the second and the third object S1, S2 and S3 cover."""
    evidence = Evidence(run)
    counts = {step: evidence.object_counts(step) for step in chaudhry2017.HIERARCHY}
    images = (counts["S1"][0, ..., AREA] > 0).sum(0)
    found = {step: [interval(each[:, :, rank], ratio).percent() for rank in range(len(RANKS))]
             for step, each in counts.items()}
    groups = [f"{name} object\nof {number} images" for name, number in zip(RANKS, images)]
    series = {step: [(each.mean, each.low, each.high) for each in row] for step, row in found.items()}
    figure = charts.grouped_bars(groups, series, "share of its pixels found (%)")
    facts = "; ".join(f"{name} object {', '.join(f'{found[step][rank].mean:.0f} %' for step in found)}"
                      for rank, name in enumerate(RANKS) if images[rank])
    alt = ("Share of the pixels of the largest, second and third object of val images that have a saliency of at least "
           f"0.5 in S1, S2 and S3, with 95 % intervals, {over_seeds(run)}: {facts}.")
    return Drawn(figure, "What erasing finds, by size of the object", alt, "measured")


def gamma_curves(run: Session) -> Drawn:
    """Quality of the cues against gamma, for the three means of attention and S3."""
    evidence, tuning = Evidence(run), chaudhry2017.tuning_split(run.profile)
    swept = {f"{mean} mean": sweep(evidence.agreement_counts(mean).sum(1)) for mean in MEANS}
    figure, axes = _against_gamma(run, swept)
    for index, (mean, each) in enumerate(zip(MEANS, swept.values())):
        chosen = [sweep(seed.sum(0)).best_threshold()[0] for seed in evidence.agreement_counts(mean, split=tuning)]
        at = [np.interp(gamma, each.thresholds, 100 * curve) for gamma, curve in zip(chosen, each.mean_iou)]
        axes.plot(chosen, at, "o", ms=5, color=charts.line_style(index)["color"])
    axes.plot([], [], "o", ms=5, color="#555555", label=f"γ chosen on {tuning}")
    _legend(axes)
    alt = (f"Mean IoU of Algorithm 1's cues on the training images against gamma, {over_seeds(run)}, for three means "
           f"of attention and S3; the best points: {_best_points(swept)}. Dots: gamma chosen on {tuning}.")
    return Drawn(figure, "Each mean needs a threshold of its own", alt, "measured")


def erasing_curves(run: Session) -> Drawn:
    """Quality of the cues against gamma after no, one and two erasings: at which gamma does erasing help?"""
    evidence, gamma = Evidence(run), run.route.scale.gamma
    swept = {step: sweep(evidence.agreement_counts(kind=step).sum(1)) for step in chaudhry2017.HIERARCHY}
    figure, axes = _against_gamma(run, swept)
    _legend(axes)
    gain = 100 * (nan_mean(swept["S3"].mean_iou.T) - nan_mean(swept["S1"].mean_iou.T))
    thresholds = swept["S1"].thresholds
    better = thresholds[gain > 0]
    where = f"from {better.min():.2f} to {better.max():.2f}" if len(better) else "nowhere"
    alt = (f"Mean IoU of Algorithm 1's cues on the training images against gamma, {over_seeds(run)}, with S1, S2 and "
           f"S3; the best points: {_best_points(swept)}. S3 is above S1 for gamma {where}; at {gamma:g} it differs by "
           f"{np.interp(gamma, thresholds, gain):+.1f} pp.")
    return Drawn(figure, "Quality of the cues against γ, by erasing step", alt, "measured")


def _against_gamma(run: Session, swept: dict[str, ThresholdSweep]) -> "tuple[Figure, Axes]":
    """Curves of cue mIoU over gamma, mean over seeds, and the paper's gamma."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.0), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for index, (name, each) in enumerate(swept.items()):
        axes.plot(each.thresholds, 100 * nan_mean(each.mean_iou.T), lw=1.6, label=name, **charts.line_style(index))
    gamma = run.route.scale.gamma
    axes.axvline(gamma, color="#888888", lw=0.9, ls=(0, (2, 2)), zorder=1, label=f"the paper's γ, {gamma:g}")
    charts.light_grid(axes)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("threshold γ", fontsize=9)
    axes.set_ylabel("mIoU of the cues on train (%)", fontsize=9)
    return figure, axes


def _legend(axes: "Axes") -> None:
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0)


def _best_points(swept: dict[str, ThresholdSweep]) -> str:
    curves = {name: 100 * nan_mean(each.mean_iou.T) for name, each in swept.items()}
    return ", ".join(f"{name} {np.nanmax(curve):.1f} % at {swept[name].thresholds[np.nanargmax(curve)]:.2f}"
                     for name, curve in curves.items())


# --- trained networks --------------------------------------------------------------------------------------------

def learning_curves(run: Session) -> Drawn:
    """Both loss terms over the stages of "S3 + adapt", at seed 0."""
    from matplotlib.figure import Figure

    route = run.route
    rounds = [run.load(route.trained("S3 + adapt", number)) for number in (1, 2)]
    stages = {"stage 1\nimage tags": {"classification": run.load(route.attention()["history"])},
              "round 1\nAlgorithm 1's cues": rounds[0], "round 2\nadapted cues": rounds[1]}
    figure = Figure(figsize=(7.2, 2.9), facecolor="white", layout="constrained")
    axes = figure.subplots()
    terms = {"classification": "classification loss", "pixel": "pixel loss"}
    start, ends = 0, {}
    for heading, history in stages.items():
        length = len(history["classification"])
        for index, (term, label) in enumerate(terms.items()):
            if term not in history:
                continue
            at, values, style = start + np.arange(1, length + 1), history[term], charts.line_style(index)
            smooth = charts.moving_mean(values, length // 20)
            axes.plot(at, values, color=style["color"], lw=0.6, alpha=0.25)
            axes.plot(at, smooth, lw=1.6, label=label if heading.startswith("round 1") else None, **style)
            ends[label] = smooth[-1]
        axes.text(start + length / 2, 1.02, heading, transform=axes.get_xaxis_transform(), ha="center", va="bottom",
                  fontsize=8)
        start += length
        axes.axvline(start, color="#888888", lw=0.9, ls=(0, (2, 2)), zorder=1)
    charts.light_grid(axes)
    axes.set_xlim(0, start)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("iteration", fontsize=9)
    axes.set_ylabel("training loss", fontsize=9)
    _legend(axes)
    last = ", ".join(f"{label} {value:.2f}" for label, value in ends.items())
    return Drawn(figure, "Both terms of the training loss",
                 "Training loss against iteration over three stages: attention (classification loss alone), then both "
                 f"terms on Algorithm 1's cues, then on adapted cues; at the end: {last}.", "measured")


def ladder(run: Session) -> Drawn:
    """The main rows of Tables 1, 2, 4 and 5 as points, the paper's beside ours."""
    evidence, trained = Evidence(run), chaudhry2017.trained_rows(run.profile)
    ours, printed = {}, []
    for name, (row, crf, table, wanted) in LADDER.items():
        printed.append(_printed(run, table, wanted))
        if not row or row in trained:
            counts = evidence.confusions(row, crf) if row else evidence.direct_confusions()
            ours[name] = interval(counts, mean_iou).percent()
    shown = [ours.get(name) for name in LADDER]
    figure = charts.compare(list(LADDER), printed, [each.mean if each else np.nan for each in shown],
                            [(each.low, each.high) if each else (np.nan, np.nan) for each in shown], "val mIoU (%)",
                            our_label=f"ours: {run.world.name} val")
    facts = ", ".join(f"{name} {each.mean:.1f}" for name, each in ours.items())
    return Drawn(figure, "What each part is worth",
                 f"Val mIoU by cues and training, the paper's values beside ours: {facts}.", "measured")


def _printed(run: Session, table: str, wanted: dict[str, str]) -> float:
    """The val mIoU that the paper prints in a row of one of its tables; nan without a table."""
    if not table:
        return np.nan
    rows = run.published(table)
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    (row,) = rows.to_dict("records")
    return float(row["val_miou_pct"] if "val_miou_pct" in row else row["mean_iou_pct"])


def per_class(run: Session) -> Drawn:
    """Val IoU of each class by the saliency that the cues were made with, all adapted, without CRF."""
    evidence, classes = Evidence(run), ["background", *run.world.classes]
    rows = {f"{step} + adapt": f"{step} + adapt" for step in chaudhry2017.HIERARCHY} | {"full supervision": "full"}
    trained = chaudhry2017.trained_rows(run.profile)
    values = {name: 100 * nan_mean(iou(evidence.confusions(row).sum(1)).T) for name, row in rows.items()
              if row in trained}
    frame = pd.DataFrame(values, index=classes).T
    change = (frame.loc["S3 + adapt"] - frame.loc["S1 + adapt"]).dropna()
    alt = (f"Val IoU of every class, {over_seeds(run)}, by the saliency behind the cues, adapted, without CRF. From S1 "
           f"to S3 it changes by {change.max():+.0f} pp for {change.idxmax()}, the best, and by {change.min():+.0f} pp "
           f"for {change.idxmin()}, the worst.")
    return Drawn(charts.class_heatmap(frame), "IoU per class by erasing step", alt, "measured")
