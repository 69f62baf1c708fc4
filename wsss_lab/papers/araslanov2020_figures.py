"""The figures of Araslanov & Roth 2020 from what a session has stored: `run.compute(*steps(run))` comes first.

Pictures are taken from seed 0 and chosen by rule, never by hand; every alt text states the rule. Charts of measured
numbers are in araslanov2020_charts, diagrams and curves that need no run in araslanov2020_diagrams.
"""

from collections.abc import Callable

import numpy as np
import torch

from wsss_lab.lab import plots
from wsss_lab.lab.choices import ranked, spread_ranks
from wsss_lab.lab.plots import Drawn, Panel
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers import araslanov2020_charts
from wsss_lab.papers.araslanov2020_charts import ablation_bars, kernels, learning_curves
from wsss_lab.papers.araslanov2020_diagrams import fig3, fig7, fig9, penalty_curves, pooling_limits
from wsss_lab.papers.araslanov2020_pictures import WATCHED, Pictures, Watched
from wsss_lab.papers.shared_pictures import per_cent
from wsss_lab.refinement.pamr import RING, affinities
from wsss_lab.seeds.weighted_pooling import average_pooling, class_scores, masks_of

_WATCHED_RULE = f"of up to {WATCHED} random training images with several tags (fixed seed)"


def steps(run: Session) -> list[Step]:
    """Everything that figures and charts show: scores of all seeds, and pictures of seed 0."""
    route, watched = run.route, Watched(run)
    shown, baseline = route.prediction("ours"), route.cam_labels()
    return [route.score(baseline), *(route.score(shown, crf=crf) for crf in (False, True)), watched.step(late=False),
            watched.step(late=True), watched.pooling(), *araslanov2020_charts.steps(run)]


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
