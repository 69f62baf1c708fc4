"""The figures of Chaudhry et al. 2017.

Pictures are taken from seed 0 and chosen by rule, never by hand; every alt text states the rule.
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from wsss_lab.evaluation.co_occurrence import extra_classes, false_positives
from wsss_lab.evaluation.confusion import divide, nan_mean
from wsss_lab.evaluation.intervals import ratio
from wsss_lab.evaluation.object_recall import AREA, FOUND
from wsss_lab.evaluation.precision_recall import ThresholdSweep, sweep
from wsss_lab.fusion.harmonic import MEANS, harmonic_mean
from wsss_lab.lab import charts, plots
from wsss_lab.lab.choices import at_quantile, random_images, ranked, spread_ranks
from wsss_lab.lab.plots import Drawn, Panel
from wsss_lab.lab.session import Session
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.chaudhry2017 import tables
from wsss_lab.papers.chaudhry2017.tables import OBJECTS, agreement, confusions, miou, objects_found, recall
from wsss_lab.papers.shared_pictures import (
    SplitPictures,
    class_iou,
    compared,
    over_seeds,
    pairs_and_worst,
    per_cent,
    when_chart,
)
from wsss_lab.seeds.attention import normalise_slices

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


# --- before a segmenter is trained -------------------------------------------------------------------------------

def hierarchy(run: Session) -> Drawn:
    """How much of the largest, the second and the third object S1, S2 and S3 cover."""
    counts = {step: run.results.stack(objects_found(step)) for step in chaudhry2017.HIERARCHY}
    images = (counts["S1"][0, ..., AREA] > 0).sum(0)
    found = {step: [recall(step, rank).interval(run.results) for rank in range(len(OBJECTS))] for step in counts}
    groups = [f"{name} object\nof {number} images" for name, number in zip(OBJECTS, images)]
    series = {step: [(each.mean, each.low, each.high) for each in row] for step, row in found.items()}
    figure = charts.grouped_bars(groups, series, "share of its pixels found (%)")
    facts = "; ".join(f"{name} object {', '.join(f'{found[step][rank].mean:.0f} %' for step in found)}"
                      for rank, name in enumerate(OBJECTS) if images[rank])
    alt = ("Share of the pixels of the largest, second and third object of val images that have a saliency of at least "
           f"0.5 in S1, S2 and S3, with 95 % intervals, {over_seeds(run)}: {facts}.")
    return Drawn(figure, "What erasing finds, by size of the object", alt, "measured")


def gamma_curves(run: Session) -> Drawn:
    """Quality of the cues against gamma, for the three means of attention and S3."""
    tuning = chaudhry2017.tuning_split(run.profile)
    counts = {f"{mean} mean": run.results.stack(agreement(mean)) for mean in MEANS}
    figure, swept, alt = _against_gamma(run, counts, "for three means of attention and S3")
    (axes,) = figure.axes
    for index, (mean, each) in enumerate(zip(MEANS, swept.values())):
        chosen = tables.best_gammas(run.results.stack(agreement(mean, "tuning")))
        at = [np.interp(gamma, each.thresholds, 100 * curve) for gamma, curve in zip(chosen, each.mean_iou)]
        axes.plot(chosen, at, "o", ms=5, color=charts.line_style(index)["color"])
    axes.plot([], [], "o", ms=5, color="#555555", label=f"γ chosen on {tuning}")
    charts.legend_beside(axes)
    return Drawn(figure, "Each mean needs a threshold of its own", f"{alt} Dots: gamma chosen on {tuning}.", "measured")


def erasing_curves(run: Session) -> Drawn:
    """Quality of the cues against gamma after no, one and two erasings: at which gamma does erasing help?"""
    gamma = run.route.scale.gamma
    counts = {step: run.results.stack(agreement(kind=step)) for step in chaudhry2017.HIERARCHY}
    figure, swept, alt = _against_gamma(run, counts, "by S1, S2 and S3")
    charts.legend_beside(figure.axes[0])
    gain = 100 * (nan_mean(swept["S3"].mean_iou.T) - nan_mean(swept["S1"].mean_iou.T))
    thresholds = swept["S1"].thresholds
    better = thresholds[gain > 0]
    where = f"from {better.min():.2f} to {better.max():.2f}" if len(better) else "nowhere"
    return Drawn(figure, "Quality of the cues against γ, by erasing step", f"{alt} S3 is above S1 for gamma {where}; "
                 f"at {gamma:g} it differs by {np.interp(gamma, thresholds, gain):+.1f} pp.", "measured")


def _against_gamma(run: Session, counts: dict[str, np.ndarray], by: str
                   ) -> "tuple[Figure, dict[str, ThresholdSweep], str]":
    """Curves of cue mIoU over gamma, mean over seeds, with their 95 % intervals, and the paper's gamma; what is drawn,
    and an alt text that names the best points.

    counts: (S, N, 3, K, bins) of each curve. by: what the curves differ by.
    """
    figure, (axes,) = charts.side_by_side(1, (5.6, 3.0))
    swept, best = {name: sweep(each.sum(1)) for name, each in counts.items()}, []
    for index, (name, each) in enumerate(swept.items()):
        band, style = tables.swept_intervals(counts[name]), charts.line_style(index)
        axes.plot(each.thresholds, [at.mean for at in band], lw=1.6, label=name, **style)
        axes.fill_between(each.thresholds, [at.low for at in band], [at.high for at in band], alpha=0.15, lw=0,
                          color=style["color"])
        curve = 100 * nan_mean(each.mean_iou.T)
        best.append(f"{name} {np.nanmax(curve):.1f} % at {each.thresholds[np.nanargmax(curve)]:.2f}")
    gamma = run.route.scale.gamma
    charts.mark(axes, gamma, f"the paper's γ, {gamma:g}")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    charts.label(axes, "threshold γ", "mIoU of the cues on train (%)")
    return figure, swept, (f"Mean IoU of Algorithm 1's cues on the training images against gamma, {over_seeds(run)}, "
                           f"with 95 % intervals, {by}; the best points: {', '.join(best)}.")


# --- trained networks --------------------------------------------------------------------------------------------

def learning_curves(run: Session) -> Drawn:
    """Both loss terms over the stages of "S3 + adapt", at seed 0."""
    route = run.route
    rounds = [run.load(route.trained("S3 + adapt", number)) for number in (1, 2)]
    stages = {"stage 1\nimage tags": {"classification": run.load(route.attention()["history"])},
              "round 1\nAlgorithm 1's cues": rounds[0], "round 2\nadapted cues": rounds[1]}
    figure, (axes,) = charts.side_by_side(1, (7.2, 2.9))
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
        charts.mark(axes, start)
    axes.set_xlim(0, start)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    charts.label(axes, "iteration", "training loss")
    charts.legend_beside(axes)
    last = ", ".join(f"{label} {value:.2f}" for label, value in ends.items())
    return Drawn(figure, "Both terms of the training loss",
                 "Training loss against iteration over three stages: attention (classification loss alone), then both "
                 f"terms on Algorithm 1's cues, then on adapted cues; at the end: {last}.", "measured")


def ladder(run: Session) -> Drawn:
    """The main rows of Tables 1, 2, 4 and 5 as points, the paper's beside ours."""
    ours = {name: miou(row, crf) if row else tables.direct("predicted") for name, (row, crf, *_) in LADDER.items()}
    printed = [_printed(run, table, wanted) for *_, table, wanted in LADDER.values()]
    return compared(run, ours, printed, "What each part is worth", "Val mIoU by cues and training")


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
    rows = [f"{step} + adapt" for step in chaudhry2017.HIERARCHY]
    frame = class_iou(run, {row: confusions(row) for row in rows} | {"full supervision": confusions("full")})
    change = (frame.loc["S3 + adapt"] - frame.loc["S1 + adapt"]).dropna()
    alt = (f"Val IoU of every class, {over_seeds(run)}, by the saliency behind the cues, adapted, without CRF. From S1 "
           f"to S3 it changes by {change.max():+.0f} pp for {change.idxmax()}, the best, and by {change.min():+.0f} pp "
           f"for {change.idxmin()}, the worst.")
    return Drawn(charts.class_heatmap(frame), "IoU per class by erasing step", alt, "measured")


SALIENT = 0.5  # from here on a pixel counts as found; see wsss_lab.evaluation.object_recall


class Pictures(SplitPictures):
    """Panels of the images of one split at seed 0, and the scores by which images are chosen."""

    def prediction(self, row: str, crf: bool, index: int, title: str = "") -> Panel:
        """Labels by the network of a row of chaudhry2017.ROWS."""
        return self.stored(self.route.prediction(row, crf, self.split)["masks"], index, title)

    def found(self, step: str, index: int, title: str = "") -> Panel:
        """S1, S2 or S3 with the border of the pixels that count as found."""
        return self.saliency(self.route.hierarchy(self.split)[step], index, lambda maps: maps >= SALIENT, title)

    def agreement(self, label: int, step: str, index: int, title: str = "") -> Panel:
        """Harmonic mean of a tag's attention and S1, S2 or S3 over the image; with step "" the attention. Bordered:
        what Algorithm 1 takes, of attention alone where saliency is 1."""
        return self._evidence(self.attention_maps(index)[label - 1], step, index, title)

    def all_attention(self, pooling: str, index: int) -> Panel:
        """At each pixel the highest attention of the image's tags; bordered as in `agreement`."""
        return self._evidence(self.attention_maps(index, pooling).max(0), "", index)

    def _evidence(self, attention: np.ndarray, step: str, index: int, title: str = "") -> Panel:
        taken = harmonic_mean(attention, self.saliency_map(step, index) if step else 1.0)
        return Panel(taken if step else attention, "heat", title, under=self.view.image(index),
                     outline=taken >= self.route.scale.gamma)

    def saliency_map(self, step: str, index: int) -> np.ndarray:
        """float (H, W) in [0, 1]."""
        return self.cut(self.run.load(self.route.hierarchy(self.split)[step])[index], index) / 255

    def attention_maps(self, index: int, pooling: str = "average") -> np.ndarray:
        """float (C, H, W) in [0, 1], 0 for classes that are not tags."""
        volume = self.run.load(self.route.volumes(self.split, pooling=pooling)["maps"])[index]
        return normalise_slices(self.on_image(volume, index, self.route.side), self.view.tags[index])

    def network_iou(self, row: str, crf: bool) -> np.ndarray:
        """Mean IoU (N,) of a row's network by image."""
        return self.iou(self.route.scored(row, crf, self.split))

    @cached_property
    def second_object_gain(self) -> np.ndarray:
        """By how much S3 covers more of the second largest object than S1: (N,) in [-1, 1], nan where there is none."""
        first, last = (self._second_object(step) for step in ("S1", "S3"))
        return last - first

    def _second_object(self, step: str) -> np.ndarray:
        counts = self.loaded(self.route.objects_found(step, self.split)["counts"])[:, 1]
        return divide(counts[:, FOUND], counts[:, AREA])


FINAL = ("S3 + adapt", True)  # the paper's full method, with CRF

# --- the idea ----------------------------------------------------------------------------------------------------

def fig1(run: Session) -> Drawn:
    train = Pictures(run, "train")
    rows = np.flatnonzero(train.view.tags.sum(1) == 2)
    rows, among = (rows, "images with two tags") if len(rows) else (np.arange(len(train.view)), "images")
    index = int(rows[at_quantile(train.second_object_gain[rows], 0.9)])
    labels = (np.flatnonzero(train.view.tags[index]) + 1).tolist()
    steps = chaudhry2017.HIERARCHY
    panels = [[train.image(index, "image"), *(train.found(step, index, f"saliency {step}") for step in steps),
               train.truth(index, "ground truth")]]
    panels += [[*(train.agreement(label, step, index, f"A with {step}" if step else "attention A")
                  for step in ("", *steps)), train.truth_of(label, index)] for label in labels]
    names = ["", *(train.classes[label - 1] for label in labels)]
    figure = plots.grid(panels, names=names, classes=train.classes, size=1.5)
    alt = (f"A training image with the tags {train.tags(index, ' and ')}: above, S1, S2 and S3 with the border of what "
           "is found; below, for each tag, its attention map and the harmonic mean with S1, S2 and S3, with the "
           f"border of the pixels that Algorithm 1 takes. Of the {among}, the one at the 90th percentile "
           "of what S3 finds more of the second largest object than S1 "
           f"({100 * train.second_object_gain[index]:+.0f} pp).")
    return Drawn(figure, "Discovering class-specific pixels", alt)


def fig2(run: Session) -> Drawn:
    boxes = {
        "image": (0.105, 0.24, "Training image\nand its tags"),
        "saliency": (0.105, 0.86, "Hierarchical saliency S\ndetect, erase,\ndetect again"),
        "trunk": (0.262, 0.24, "Trunk, four\ndilated heads"),
        "f": (0.44, 0.24, "Segmentation volume f\nbackground and classes"),
        "V": (0.44, 0.56, "Attention volume V\none map per class"),
        "fusion": (0.44, 0.86, "Algorithm 1\nharmonic mean of\nattention and S, above γ"),
        "cues": (0.935, 0.56, "Cues M\na label for\neach pixel"),
        "class loss": (0.65, 0.56, "Classification loss\nmean of V,\nagainst the tags"),
        "adapt": (0.755, 0.24, "After a round: adapt\nbest of f among the tags"),
        "pixel loss": (0.935, 0.24, "Pixel loss\nf, against M"),
    }
    arrows = [("image", "trunk"), ("image", "saliency"), ("trunk", "f"), ("f", "V"), ("V", "fusion"),
              ("saliency", "fusion"), ("fusion", "cues", "turn"), ("V", "class loss"), ("f", "adapt"),
              ("adapt", "cues", "corner"), ("f", "pixel loss", "below"), ("cues", "pixel loss")]
    colours = {"V": "#FCE8BF", "saliency": "#D3EBF8", "fusion": "#CFE9DF", "adapt": "#E4DEF2", "f": "#F3DCE8",
               "trunk": "#F3DCE8"}
    figure = plots.flow(boxes, arrows, (9.6, 4.4), colours, {"One network": ("trunk", "f", "V")})
    alt = ("Block diagram: one network turns a training image into a segmentation volume f and, with class filters on "
           "top, an attention volume V. Algorithm 1 joins attention and hierarchical saliency to cues. The network is "
           "trained with a classification loss on V against the tags and a pixel loss on f against the cues; after "
           "a round, its own best labels among the tags replace the cues.")
    return Drawn(figure, "Approach: one network, two losses, adapted cues", alt, "schematic")


def attention_pooling(run: Session) -> Drawn:
    val = Pictures(run, "val")
    indices = random_images(len(val.view), 7, seed=1)
    kinds = {f"{pooling} pooling": partial(val.all_attention, pooling) for pooling in ("average", "max")}
    figure = val.grid(indices, {"image": val.image, **kinds, "ground truth": val.truth}, [*map(val.tags, indices)],
                      across=True, size=1.15)
    alt = (f"Attention maps of the network trained with average and with max pooling on {len(indices)} random val "
           "images (fixed seed): at each pixel the highest map of the image's tags, over the image in grey. White "
           "outlines: what Algorithm 1 would take if saliency were 1.")
    return Drawn(figure, "Attention with average and with max pooling", alt)


# --- results -----------------------------------------------------------------------------------------------------

def fig3(run: Session) -> Drawn:
    val = Pictures(run, "val")
    scores = val.network_iou(*FINAL)
    pairs = pairs_and_worst(scores)
    figure = val.grid(pairs, {"image": val.image, "ground truth": val.truth, "ours": lambda index: val.prediction(
        *FINAL, index, per_cent(scores[index]))}, [""] * (len(pairs) - 1) + ["failures"], size=1.2)
    alt = (f"Image, ground truth and result (S3, adapted, with CRF) of {sum(map(len, pairs[:-1]))} val images at "
           "evenly spread ranks of IoU from best to worst; last row: the two with the lowest IoU.")
    return Drawn(figure, "Results on val, with two failures", alt)


def table3(run: Session) -> Drawn:
    """Table 3, a table of pictures: networks that learned from S1 and from S3."""
    val, rows = Pictures(run, "val"), ("S1 + adapt", "S3 + adapt")
    first, last = (val.network_iou(row, False) for row in rows)
    gain = last - first
    indices = spread_ranks(gain, 7)
    figure = val.grid(indices, {"image": val.image, "ground truth": val.truth,
                                **{row[:2]: partial(val.prediction, row, False) for row in rows}},
                      [f"{100 * gain[index]:+.0f} pp" for index in indices], across=True, size=1.15)
    better = 100 * np.mean(gain > 0)
    alt = (f"{len(indices)} val images labelled by networks that learned from cues with S1 and with S3, both adapted, "
           "without CRF. The images are at evenly spread ranks of the change in IoU from S1 to S3, from the largest "
           f"gain to the largest loss; S3 is better on {better:.0f} % of all val images.")
    return Drawn(figure, "What erasing changes in the result", alt)


def adapting(run: Session, crf: bool) -> Drawn:
    """Fig. 4 (with CRF) or Fig. 5 (without): what adapting changes, for each kind of saliency."""
    val, trained = Pictures(run, "val"), chaudhry2017.trained_rows(run.profile)
    pairs = {step: (step, f"{step} + adapt") for step in chaudhry2017.HIERARCHY}
    compared = {step: pair for step, pair in pairs.items() if set(pair) <= set(trained)}
    before, after = (np.stack([val.confusions(val.route.scored(pair[place], crf, "val"))
                               for pair in compared.values()]) for place in (0, 1))
    wrong = np.stack([ratio(false_positives(each)).mean(0) for each in (before, after)])
    extra = np.stack([extra_classes(each).sum(0) for each in (before, after)])
    fewer_wrong, fewer_extra = wrong[0] - wrong[1], extra[0] - extra[1]
    first = ranked(fewer_wrong)[:2].tolist()
    second = [index for index in ranked(fewer_extra + fewer_wrong / 10).tolist() if index not in first][:2]
    names = [f"background taken\nfor objects\n{_change(100 * wrong[:, index])} %" for index in first]
    names += [f"classes that\naren't there\n{_change(extra[:, index])}" for index in second]
    columns = [("image", val.image), ("ground truth", val.truth)]
    columns += [(heading, partial(val.prediction, row, crf)) for pair in compared.values()
                for heading, row in zip(("round 1", "adapted"), pair)]
    mean = [f"{100 * np.nanmean(each):.0f}" for each in wrong]
    number = [f"{each.mean() / len(compared):.1f}" for each in extra]
    drawing = val.grid(first + second, columns, names, size=1.15,
                       groups=[("", 2), *((f"cues with {step}", 2) for step in compared)],
                       note="Adapting at its best. Over all val images, background taken for objects: "
                            f"{' → '.join(mean)} %; classes that aren't there, per image: {' → '.join(number)}.")
    left_out = ", ".join(step for step in pairs if step not in compared)
    alt = (f"Val images labelled by networks that learned from {', '.join(compared)}, before and after the cues "
           f"were adapted, {'with' if crf else 'without'} CRF. Rows 1-2: where adapting removes most false "
           "positives; rows 3-4: most classes that aren't there (sum over the columns). Over all val images "
           f"false positives go from {mean[0]} % to {mean[1]} % of the background, extra classes from "
           f"{number[0]} to {number[1]} per image."
           + f" Not trained in this profile: {left_out}." * bool(left_out))
    return Drawn(drawing, f"Effect of adapting, {'with' if crf else 'without'} CRF", alt)


def _change(values: np.ndarray) -> str:
    return " → ".join(f"{value:.0f}" for value in values)


#: Artifact id -> function of a session: the paper's own, then those of this project.
FIGURES: dict[str, Callable[[Session], Drawn]] = {
    "fig1": fig1, "fig2": fig2, "fig3": fig3, "fig4": partial(adapting, crf=True), "fig5": partial(adapting, crf=False),
    "table3": table3,
    "attention_pooling": attention_pooling, "hierarchy": hierarchy, "erasing_curves": erasing_curves,
    "gamma_curves": gamma_curves, "ladder": ladder,
    "per_class": per_class, "learning_curves": learning_curves,
    "when_curves": partial(when_chart, dials=tables.DIALS),
}
