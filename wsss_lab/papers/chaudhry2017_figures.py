"""The figures of Chaudhry et al. 2017 from what a session has stored: `run.compute(*steps(run))` comes first.

Pictures are taken from seed 0 and chosen by rule, never by hand; every alt text states the rule. Charts of measured
numbers are in chaudhry2017_charts.
"""

from collections.abc import Callable

import numpy as np

from wsss_lab.evaluation.co_occurrence import extra_classes, false_positives
from wsss_lab.evaluation.intervals import ratio
from wsss_lab.lab import plots
from wsss_lab.lab.choices import at_quantile, random_images, ranked, spread_ranks
from wsss_lab.lab.plots import Drawn
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers import chaudhry2017, chaudhry2017_charts
from wsss_lab.papers.chaudhry2017_charts import (
    erasing_curves,
    gamma_curves,
    hierarchy,
    ladder,
    learning_curves,
    per_class,
)
from wsss_lab.papers.chaudhry2017_pictures import Pictures
from wsss_lab.papers.shared_pictures import per_cent

FINAL = ("S3 + adapt", True)  # the paper's full method, with CRF


def steps(run: Session) -> list[Step]:
    """Everything that figures and charts show: scores of all seeds, and pictures of seed 0."""
    return early_steps(run) + trained_steps(run)


def early_steps(run: Session) -> list[Step]:
    """What Fig. 1 and the figures of attention, hierarchy and gamma show; no segmenter is trained for it."""
    route = run.route
    return [route.volumes("train"), route.hierarchy("train"), *map(route.objects_found, ("S1", "S3"), ("train",) * 2),
            route.volumes("val"), route.volumes("val", pooling="max"), *chaudhry2017_charts.early_steps(run)]


def trained_steps(run: Session) -> list[Step]:
    """What the figures of trained networks show."""
    route = run.route
    shown = [FINAL, *((row, crf) for step in _compared(run.profile) for row in _pair(step) for crf in (False, True))]
    made = [step for row, crf in shown for step in (route.prediction(row, crf), route.scored(row, crf))]
    return made + chaudhry2017_charts.trained_steps(run)


def _pair(step: str) -> tuple[str, str]:
    """The rows with these cues, before and after adapting."""
    return step, f"{step} + adapt"


def _compared(profile: str) -> tuple[str, ...]:
    """Those of S1, S2 and S3 from which a profile trains networks, with and without adapting."""
    trained = chaudhry2017.trained_rows(profile)
    return tuple(step for step in chaudhry2017.HIERARCHY if set(_pair(step)) <= set(trained))


# --- the idea ----------------------------------------------------------------------------------------------------

def fig1(run: Session) -> Drawn:
    """Image, hierarchical saliency, and the attention of two tags before and after it met saliency."""
    train = Pictures(run, "train")
    rows = np.flatnonzero(train.view.tags.sum(1) == 2)
    rows, among = (rows, "images with two tags") if len(rows) else (np.arange(len(train.view)), "images")
    index = int(rows[at_quantile(train.second_object_gain[rows], 0.9)])
    labels = (np.flatnonzero(train.view.tags[index]) + 1).tolist()
    steps_of = chaudhry2017.HIERARCHY
    panels = [[train.image(index, "image"), *(train.saliency(step, index, f"saliency {step}") for step in steps_of),
               train.truth(index, "ground truth")]]
    for label in labels:
        panels.append([train.attention(label, index, "attention A"),
                       *(train.agreement(label, step, index, f"A with {step}") for step in steps_of),
                       train.truth_of(label, index)])
    names = ["", *(train.classes[label - 1] for label in labels)]
    figure = plots.grid(panels, names=names, classes=train.classes, size=1.5)
    alt = (f"A training image with the tags {train.tags(index, ' and ')}: above, S1, S2 and S3 with the border of what "
           "is found; below, for each tag, its attention map and the harmonic mean with S1, S2 and S3, with the "
           f"border of the pixels that Algorithm 1 takes. Of the {among}, the one at the 90th percentile "
           "of what S3 finds more of the second largest object than S1 "
           f"({100 * train.second_object_gain[index]:+.0f} pp).")
    return Drawn(figure, "Discovering class-specific pixels", alt)


def fig2(run: Session) -> Drawn:
    """Block diagram of the approach."""
    boxes = {
        "image": (0.105, 0.15, "Training image\nand its tags"),
        "saliency": (0.105, 0.86, "Hierarchical saliency S\ndetect, erase,\ndetect again"),
        "trunk": (0.262, 0.15, "Trunk, four\ndilated heads"),
        "f": (0.44, 0.15, "Segmentation volume f\nbackground and classes"),
        "V": (0.44, 0.53, "Attention volume V\none map per class"),
        "fusion": (0.44, 0.86, "Algorithm 1\nharmonic mean of\nattention and S, above γ"),
        "cues": (0.935, 0.86, "Cues M\na label for\neach pixel"),
        "class loss": (0.665, 0.53, "Classification loss\nmean of V,\nagainst the tags"),
        "adapt": (0.79, 0.34, "After a round: adapt\nbest of f among the tags"),
        "pixel loss": (0.935, 0.15, "Pixel loss\nf, against M"),
    }
    arrows = [("image", "trunk"), ("image", "saliency"), ("trunk", "f"), ("f", "V"), ("V", "fusion"),
              ("saliency", "fusion"), ("fusion", "cues"), ("V", "class loss"), ("f", "adapt"),
              ("adapt", "cues", "corner"), ("f", "pixel loss"), ("cues", "pixel loss")]
    colours = {"V": "#FCE8BF", "saliency": "#D3EBF8", "fusion": "#CFE9DF", "adapt": "#E4DEF2", "f": "#F3DCE8",
               "trunk": "#F3DCE8"}
    figure = plots.flow(boxes, arrows, (9.6, 4.4), colours, {"One network": ("trunk", "f", "V")})
    alt = ("Block diagram: one network turns a training image into a segmentation volume f and, with class filters on "
           "top, an attention volume V. Algorithm 1 joins attention and hierarchical saliency to cues. The network is "
           "trained with a classification loss on V against the tags and a pixel loss on f against the cues; after "
           "a round, its own best labels among the tags replace the cues.")
    return Drawn(figure, "Approach: one network, two losses, adapted cues", alt, "schematic")


def attention_pooling(run: Session) -> Drawn:
    """Attention maps of networks with average and with max pooling, on random val images."""
    val = Pictures(run, "val")
    indices = random_images(len(val.view), 7, seed=1)
    kinds = {"average pooling": "average", "max pooling": "max"}
    rows = [[val.image(index) for index in indices],
            *([val.all_attention(index, pooling) for index in indices] for pooling in kinds.values()),
            [val.truth(index) for index in indices]]
    figure = plots.grid(rows, [val.tags(index) for index in indices], ["image", *kinds, "ground truth"], val.classes,
                        size=1.15)
    alt = (f"Attention maps of the network trained with average and with max pooling on {len(indices)} random val "
           "images (fixed seed): at each pixel the highest map of the image's tags, over the image in grey. White "
           "outlines: what Algorithm 1 would take if saliency were 1.")
    return Drawn(figure, "Attention with average and with max pooling", alt)


# --- results -----------------------------------------------------------------------------------------------------

def fig3(run: Session) -> Drawn:
    """Results of the full method on val, and two failures."""
    val = Pictures(run, "val")
    scores = val.network_iou(*FINAL)
    worst = ranked(scores)[-2:][::-1]
    others = np.where(np.isin(np.arange(len(scores)), worst), np.nan, scores)
    shown = spread_ranks(others, 8)
    pairs = [*(shown[first:first + 2] for first in range(0, len(shown), 2)), worst]
    rows = [[panel for index in pair for panel in
             (val.image(index), val.truth(index), val.prediction(*FINAL, index, per_cent(scores[index])))]
            for pair in pairs]
    figure = plots.grid(rows, ["image", "ground truth", "ours"] * 2, [""] * (len(rows) - 1) + ["failures"],
                        val.classes, size=1.2, groups=[("", 3), ("", 3)])
    alt = (f"Image, ground truth and result (S3, adapted, with CRF) of {len(shown)} val images at evenly spread ranks "
           "of IoU from best to worst; last row: the two with the lowest IoU.")
    return Drawn(figure, "Results on val, with two failures", alt)


def table3(run: Session) -> Drawn:
    """Table 3, a table of pictures: networks that learned from S1 and from S3."""
    val, rows = Pictures(run, "val"), ("S1 + adapt", "S3 + adapt")
    first, last = (val.network_iou(row, False) for row in rows)
    gain = last - first
    indices = spread_ranks(gain, 7)
    panels = [[val.image(index) for index in indices], [val.truth(index) for index in indices],
              *([val.prediction(row, False, index) for index in indices] for row in rows)]
    figure = plots.grid(panels, [f"{100 * gain[index]:+.0f} pp" for index in indices],
                        ["image", "ground truth", "S1", "S3"], val.classes, size=1.15)
    better = 100 * np.mean(gain > 0)
    alt = (f"{len(indices)} val images labelled by networks that learned from cues with S1 and with S3, both adapted, "
           "without CRF. The images are at evenly spread ranks of the change in IoU from S1 to S3, from the largest "
           f"gain to the largest loss; S3 is better on {better:.0f} % of all val images.")
    return Drawn(figure, "What erasing changes in the result", alt)


def _adapting(crf: bool) -> Callable[[Session], Drawn]:
    """Fig. 4 (with CRF) or Fig. 5 (without)."""

    def figure(run: Session) -> Drawn:
        """What adapting changes, for each kind of saliency."""
        val, compared = Pictures(run, "val"), _compared(run.profile)
        before, after = (np.stack([val.confusions(_pair(step)[place], crf) for step in compared]) for place in (0, 1))
        wrong = np.stack([ratio(false_positives(each)).mean(0) for each in (before, after)])
        extra = np.stack([extra_classes(each).sum(0) for each in (before, after)])
        fewer_wrong, fewer_extra = wrong[0] - wrong[1], extra[0] - extra[1]
        first = ranked(fewer_wrong)[:2].tolist()
        second = [index for index in ranked(fewer_extra + fewer_wrong / 10).tolist() if index not in first][:2]
        names = [f"background taken\nfor objects\n{_change(100 * wrong[:, index])} %" for index in first]
        names += [f"classes that\naren't there\n{_change(extra[:, index])}" for index in second]
        rows = [[val.image(index), val.truth(index),
                 *(val.prediction(row, crf, index) for step in compared for row in _pair(step))]
                for index in first + second]
        drawing = plots.grid(rows, ["image", "ground truth", *["round 1", "adapted"] * len(compared)], names,
                             val.classes, size=1.15, groups=[("", 2), *((f"cues with {step}", 2) for step in compared)])
        mean = [f"{100 * np.nanmean(each):.0f}" for each in wrong]
        number = [f"{each.mean() / len(compared):.1f}" for each in extra]
        alt = (f"Val images labelled by networks that learned from {', '.join(compared)}, before and after the cues "
               f"were adapted, {'with' if crf else 'without'} CRF. Rows 1-2: where adapting removes most false "
               "positives; rows 3-4: most classes that aren't there (sum over the columns). Over all val images "
               f"false positives go from {mean[0]} % to {mean[1]} % of the background, extra classes from "
               f"{number[0]} to {number[1]} per image.{_left_out(compared)}")
        return Drawn(drawing, f"Effect of adapting, {'with' if crf else 'without'} CRF", alt)

    return figure


fig4, fig5 = _adapting(True), _adapting(False)


def _change(values: np.ndarray) -> str:
    return " → ".join(f"{value:.0f}" for value in values)


def _left_out(compared: tuple[str, ...]) -> str:
    missing = [step for step in chaudhry2017.HIERARCHY if step not in compared]
    return f" Not trained in this profile: {', '.join(missing)}." if missing else ""


#: Artifact id -> function of a session: the paper's own, then those of this project.
FIGURES: dict[str, Callable[[Session], Drawn]] = {
    "fig1": fig1, "fig2": fig2, "fig3": fig3, "fig4": fig4, "fig5": fig5, "table3": table3,
    "attention_pooling": attention_pooling, "hierarchy": hierarchy, "erasing_curves": erasing_curves,
    "gamma_curves": gamma_curves, "ladder": ladder,
    "per_class": per_class, "learning_curves": learning_curves,
}
