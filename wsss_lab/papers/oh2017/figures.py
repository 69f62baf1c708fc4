"""The figures of Oh et al. 2017. Pictures are of seed 0, chosen by a rule that their alt text states."""

from functools import cached_property, partial
from itertools import product

import numpy as np

from wsss_lab.data.canvas import canvas_box
from wsss_lab.evaluation.confusion import nan_mean
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.lab import charts, plots
from wsss_lab.lab.choices import at_quantile, random_images, ranked, spread_ranks
from wsss_lab.lab.plots import Drawn, Panel
from wsss_lab.lab.session import Session
from wsss_lab.measure.quantities import result
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.oh2017.route import PUBLISHED, Route
from wsss_lab.papers.oh2017.tables import DIALS, miou, seeder_score
from wsss_lab.papers.shared_pictures import SplitPictures, class_iou, compared, over_seeds, per_cent, when_chart
from wsss_lab.seeds.cam import expand


class Pictures(SplitPictures):
    def seeds(self, index: int, title: str = "") -> Panel:
        return self.stored(self.route.seeds(split=self.split)["masks"], index, title)

    def guide(self, rule: str, index: int, title: str = "") -> Panel:
        """rule: "G0", "G1" or "G2"."""
        return self.stored(self.route.guides(rule, split=self.split)["masks"], index, title)

    def prediction(self, crf: str | None, index: int, title: str = "") -> Panel:
        """Labels of the segmenter that learned from G2."""
        return self.stored(self.route.prediction(self.route.trained("G2"), crf, self.split)["masks"], index, title)

    def salient(self, index: int, title: str = "") -> Panel:
        """Saliency map with the border of the salient pixels."""
        return self.saliency(self.route.saliency_maps(self.split)["maps"], index, salient_of, title)

    def class_map(self, variant: str, index: int) -> Panel:
        """Heat map of a GAP network over the image: at each pixel the highest map of the image's classes."""
        side, size = self.route.side, self.view.size(index)
        raw = self.loaded(self.route.class_maps(variant, self.split)["maps"])[index]
        maps = expand(raw, canvas_box(*size, side), side, size, self.view.tags[index])
        return Panel(maps.max(0), "heat", under=self.view.image(index))

    @cached_property
    def guide_iou(self) -> np.ndarray:
        """Mean IoU (N,) of the G2 guide over the classes of each image."""
        return self.iou(self.route.score(self.route.guides("G2", split=self.split), self.split))

    def segmenter_iou(self, crf: str | None) -> np.ndarray:
        """The same of the segmenter that learned from G2."""
        return self.iou(self.route.scored("G2", crf, self.split))

    @cached_property
    def saliency_iou(self) -> np.ndarray:
        """Foreground IoU (N,) of the salient pixels of each image, nan where an image has no object."""
        return foreground_iou(self.loaded(self.route.saliency_score(self.split)["counts"]))

    def several_tags_at(self, quantile: float) -> int:
        """The image with several tags whose G2 guide is at this quantile of IoU: 1 the best, 0.5 the median."""
        rows = self.with_several_tags
        return int(rows[at_quantile(self.guide_iou[rows], quantile)])


def salient_of(saliency: np.ndarray) -> np.ndarray:
    """The salient pixels of a map (H, W): bool (Sec. 5.1)."""
    return saliency >= PUBLISHED.salient_fraction * saliency.max()


#: Rows of Table 2 and full supervision: name -> row of oh2017.ROWS.
LADDER = {"seeds only": "seeds", "G0": "G0", "G1": "G1", "G2": "G2", "G2, oracle saliency": "oracle",
          "full supervision": "full"}
STAGES = 7  # images in each of Fig. 7, 12 and 13
TRAINING_SALIENCY = (6, 12)  # images in Fig. 5 and in Fig. 9


# --- the idea ----------------------------------------------------------------------------------------------------

def fig1(run: Session) -> Drawn:
    train, val = Pictures(run, "train"), Pictures(run, "val")
    trained, unseen = train.several_tags_at(0.75), at_quantile(val.segmenter_iou("v2"), 0.75)
    row = [Panel(train.tags(trained), "text", "(a) image labels"), train.image(trained, "training image"),
           train.salient(trained, "(b) saliency"), val.image(unseen, "val image"),
           val.prediction("v2", unseen, "(c) our result"), val.truth(unseen, "ground truth")]
    figure = plots.grid([row], classes=val.classes, size=1.6, groups=[("training", 3), ("after training", 3)])
    alt = (f"What the method learns from, the tags of a training image ({train.tags(trained, ', ')}) and its "
           "saliency, and what it gives: every pixel of a val image labelled, beside the "
           "truth. Training image: of those with several tags, the one at the upper quartile of guide IoU; val image: "
           "the one at the upper quartile of IoU.")
    return Drawn(figure, "What the method learns from and what it gives", alt)


def fig2(run: Session) -> Drawn:
    boxes = {
        "image": (0.075, 0.32, "Training image"), "labels": (0.075, 0.72, "Image labels\n“dog, sofa”"),
        "seeder": (0.305, 0.72, "Seeder\nGAP classifier: where"),
        "saliency": (0.305, 0.32, "Saliency\nany object: how far"),
        "fusion": (0.485, 0.52, "Fusion\nG0, G1, G2"), "guide": (0.645, 0.52, "Guide\nlabels, ignore"),
        "segmenter": (0.815, 0.52, "Segmenter\nDeepLab"), "output": (0.945, 0.52, "Label of\neach pixel"),
    }
    arrows = [("labels", "Guide labeller"), ("image", "Guide labeller"), ("seeder", "fusion"), ("saliency", "fusion"),
              ("Guide labeller", "guide"), ("guide", "segmenter"), ("segmenter", "output"),
              ("image", "segmenter", "below")]
    colours = {"seeder": "#FCE8BF", "saliency": "#D3EBF8", "fusion": "#CFE9DF", "segmenter": "#F3DCE8"}
    figure = plots.flow(boxes, arrows, (9.6, 2.9), colours, {"Guide labeller": ("seeder", "saliency", "fusion")})
    alt = ("Block diagram: a training image and its labels go into the guide labeller, where a seeder and a saliency "
           "detector are fused into guide labels; the segmenter is trained on the image with these guide labels as its "
           "targets, and then labels every pixel of new images by itself.")
    return Drawn(figure, "Architecture: guide labeller and segmenter", alt, "schematic")


# --- seeds -------------------------------------------------------------------------------------------------------

def fig3(run: Session) -> Drawn:
    nets, gradients = oh2017.trained_nets(run.profile), oh2017.BACKPROP
    sweeps = {name: sweep(run.results.stack(result("counts", seeder_score, name)).sum(1))
              for name in (*nets, *gradients, "centre")}
    figure, every = charts.side_by_side(2, (8.6, 5.6), rows=2)
    groups = {"GAP networks": (*nets, "centre"), "back-propagation": (*gradients, "HighRes", "centre")}
    # solid lines for GAP networks, dashed for back-propagation, dotted for the baseline; a colour for each
    styles = {name: {"color": charts.LINE_COLOURS[index % len(charts.LINE_COLOURS)]} | (
        {"label": "centre mean shape", "color": "#555555", "linestyle": ":"} if name == "centre" else
        {"label": f"{name} back-propagation", "linestyle": (0, (5, 1.5))} if name in gradients else
        {"label": f"GAP-{name}", "linestyle": "-"}) for index, name in enumerate(sweeps)}
    for axes, (group, (kind, level)) in zip(every, product(groups, (("foreground", 0.2), ("background", 0.8)))):
        charts.mark(axes, level, "where mP is read")
        for name in groups[group]:
            curve = getattr(sweeps[name], kind)
            recall, precision = nan_mean(curve.recall.T), nan_mean(curve.precision.T)  # over the seeds
            axes.plot(recall, precision, lw=1.6, **styles[name])
            far = _far_apart(recall)
            axes.plot(recall[far], precision[far], ".", ms=5, color=styles[name]["color"])
        axes.set(xlim=(0, 1), ylim=(0, 1) if kind == "foreground" else (None, 1))
        charts.label(axes, "recall", "precision", f"{group}: {kind}{', mean over classes' * (kind == 'foreground')}")
        if kind == "background":
            charts.legend_beside(axes, borderaxespad=None, handlelength=2.6)
    early = {name: 100 * nan_mean(each.foreground.precision_at(0.2, interpolate=True)) for name, each in sweeps.items()}
    known = sorted((name for name in early if not np.isnan(early[name])), key=early.get, reverse=True)
    facts = ", ".join(f"{name} {early[name]:.0f} %" for name in known)
    alt = (f"Precision against recall of {len(sweeps)} seeders on val, {over_seeds(run)}, for the mean of the "
           "foreground classes and for background: GAP networks above, back-propagation below, there with GAP-HighRes "
           "again and the centre mean shape. Dots: ends of a line between thresholds that are far apart. "
           + (f"Foreground precision at 20 % recall: {facts}." if facts else "None reaches 20 % recall.")
           + _not_trained(run.profile))
    return Drawn(figure, "Precision and recall of the seeds", alt, "measured")


def _far_apart(recall: np.ndarray, least: float = 0.1) -> np.ndarray:
    """Which points (T,) are ends of a long step in recall: there the line joins two thresholds, and nothing between.

    >>> _far_apart(np.array([0.0, 0.02, 0.5, 0.55])).tolist()
    [False, True, True, False]
    """
    long = np.diff(recall) > least
    return np.append(long, False) | np.append(False, long)


def fig8(run: Session) -> Drawn:
    val, variants = Pictures(run, "val"), oh2017.trained_nets(run.profile)
    indices = random_images(len(val.view), 6, seed=8)
    maps = {f"GAP-{variant}": partial(val.class_map, variant) for variant in variants}
    figure = val.grid(indices, {"image": val.image, **maps, "ground truth": val.truth}, [*map(val.tags, indices)],
                      size=1.2)
    alt = (f"Heat maps of {len(variants)} GAP networks on {len(indices)} random val images (fixed seed): at each pixel "
           f"the highest of the normalised maps of the image's classes, over the image in grey."
           f"{_not_trained(run.profile)}")
    return Drawn(figure, "Heat maps of the GAP networks", alt)


# --- saliency ----------------------------------------------------------------------------------------------------

def fig4(run: Session) -> Drawn:
    val = Pictures(run, "val")
    indices = spread_ranks(val.saliency_iou, 9)
    thirds = [len(part) for part in np.array_split(indices, 3)]
    figure = val.grid(indices, {"image": val.image, "saliency": val.salient, "ground truth": val.truth},
                      [*map(per_cent, val.saliency_iou[indices])], across=True, size=1.0,
                      groups=[*zip(("(a) high quality", "(b) medium quality", "(c) low quality"), thirds)])
    alt = (f"Saliency maps of {len(indices)} val images at evenly spread ranks of their foreground IoU, from the best "
           "to the worst; white outlines: salient pixels, at least half of the image's maximum.")
    return Drawn(figure, "Saliency maps of high, medium and low quality", alt)


def training_saliency(run: Session, more: bool) -> Drawn:
    """Fig. 5, or 9 with more images: of the saliency set, or photographs where the profile's detector is ready-made."""
    first, total = TRAINING_SALIENCY[0], sum(TRAINING_SALIENCY)
    part = slice(first, None) if more else slice(first)
    if run.route.u2net is not None:
        train, heading = Pictures(run, "train"), "image"
        shown = [(train.image(index), train.salient(index)) for index in random_images(len(train.view), total)[part]]
        what = (f"Saliency on {len(shown)} random training photographs. This profile has no saliency training set, as "
                "its detector is ready-made; so there are no boxes.")
    else:
        detected, heading = run.load(run.route.shown_saliency(total)), "object, box"
        images, boxes = (run.load(run.world.saliency_scenes()[name]) for name in ("images", "boxes"))
        shown = [(Panel(images[index], box=boxes[index]), Panel(map, "heat", outline=salient_of(map)))
                 for index, map in zip(detected["indices"][part], np.asarray(detected["maps"][part]) / 255)]
        what = (f"{len(shown)} random images of the set that the saliency network learned from: the box around the "
                "salient object, and the map that the trained network gives for the image.")
    if more:
        rows = [sum(shown[start:start + 3], ()) for start in range(0, len(shown), 3)]
        figure = plots.grid(rows, (heading, "saliency") * 3, size=1.2, groups=[("", 2)] * 3)
    else:
        figure = plots.grid(list(zip(*shown)), names=(heading, "saliency"), size=1.2)
    return Drawn(figure, f"{'More saliency' if more else 'Saliency'} on its own training data",
                 f"{what} White outlines: salient pixels. Images drawn with a fixed seed.")


def fig10(run: Session) -> Drawn:
    val, wide = Pictures(run, "val"), 8
    drawn = random_images(len(val.view), 2 * wide, seed=10)
    worst = [index for index in ranked(val.saliency_iou)[::-1] if index not in drawn][:wide]
    rows = [[*map(panel, indices)] for indices in (drawn[:wide], drawn[wide:], worst) for panel in (
        val.image, val.salient)]
    figure = plots.grid(rows, names=[*["random", "saliency"] * 2, "lowest IoU", "saliency"], size=1.0)
    alt = (f"Saliency maps of {len(drawn)} random val images (fixed seed), and below them of the {len(worst)} other "
           "images with the lowest foreground IoU. White outlines: salient pixels.")
    return Drawn(figure, "More saliency on val images, with failures", alt)


# --- guides and segmenter ----------------------------------------------------------------------------------------

def fig6(run: Session) -> Drawn:
    train = Pictures(run, "train")
    index = train.several_tags_at(0.5)
    guides = [train.guide(rule, index, f"({letter}) {rule}") for letter, rule in zip("efg", ("G0", "G1", "G2"))]
    rows = [[train.image(index, "(a) image"), train.truth(index, "(b) ground truth"), train.seeds(index, "(c) seeds"),
             train.salient(index, "(d) saliency")],
            [Panel(f"image labels:\n{train.tags(index)}", "text"), *guides]]
    figure = plots.grid(rows, classes=train.classes, size=1.7)
    alt = (f"Guide labels of one training image ({train.tags(index, ', ')}): G0 gives all salient pixels one "
           "random tag, G1 classifies each component, G2 lets seeds name the components they touch; white is ignored. "
           f"The image with several tags whose G2 guide has the median IoU, {100 * train.guide_iou[index]:.0f} %.")
    return Drawn(figure, "Guide strategies on one image", alt)


def fig11(run: Session) -> Drawn:
    train = Pictures(run, "train")
    rows = train.with_several_tags
    indices = rows[random_images(len(rows), 6, 11, np.flatnonzero(rows == train.several_tags_at(0.5)))]
    columns = {"image": train.image, "seeds": train.seeds, "saliency": train.salient}
    columns |= {rule: partial(train.guide, rule) for rule in ("G0", "G1", "G2")} | {"ground truth": train.truth}
    figure = train.grid(indices, columns, [*map(train.tags, indices)], size=1.1)
    alt = (f"Seeds, saliency, guide labels by G0, G1 and G2 and ground truth of {len(indices)} training images with "
           "several tags, drawn with a fixed seed, others than in Fig. 6; white is ignored.")
    return Drawn(figure, "Guide strategies on more images", alt)


def stages(run: Session, part: int) -> Drawn:
    """Fig. 7 (part 0), 12 (part 1) or 13 (part 2): all stages on every third of the chosen training images."""
    train, refined = Pictures(run, "train"), run.load(run.route.shown(3 * STAGES))
    shown = dict(list(zip(np.asarray(refined["indices"]).tolist(), refined["masks"]))[part::3])
    drawing = train.grid(list(shown), {
        "image": train.image, "seeds": train.seeds, "saliency": train.salient, "G2": partial(train.guide, "G2"),
        "segmenter": partial(train.prediction, None), "+ CRF": lambda index: train.labels(shown[index], index),
        "ground truth": train.truth,
    }, [*map(per_cent, train.segmenter_iou(None)[list(shown)])], across=True, size=1.15)
    alt = (f"All stages on {len(shown)} training images: seeds, saliency, G2 guide (white is ignored), the "
           "segmenter trained on it, the same after a dense CRF, and the ground truth. The images are at evenly "
           "spread ranks of the segmenter's IoU without CRF, from best to worst; Fig. 7, 12 and 13 share no image.")
    return Drawn(drawing, "All stages of the system" if part == 0 else "All stages on more training images", alt)


def learning_curves(run: Session) -> Drawn:
    names = {"seeds": "seeds only", "G0": "G0", "G1": "G1", "G2": "G2", "oracle": "G2, saliency oracle",
             "full": "ground truth"}
    histories = {name: run.load(run.route.trained(row)["history"]) for row, name in names.items()}
    ends = ", ".join(f"{name} {np.mean(history[-len(history) // 20:]):.2f}" for name, history in histories.items())
    alt = f"Training loss against iteration of the segmenters, by what they learn from; at the end: {ends}."
    return Drawn(charts.learning_curves(histories), "Training loss of the segmenters", alt, "measured")


def ladder(run: Session) -> Drawn:
    printed = run.published("table2")["val_miou_pct"]
    return compared(run, {name: miou(row) for name, row in LADDER.items()}, [*printed, np.nan],
                    "From seeds to full supervision", "Val mIoU of the segmenter by what it learns from")


def per_class(run: Session) -> Drawn:
    frame = class_iou(run, {name: result("confusions", Route.scored, row) for name, row in LADDER.items()})
    return Drawn(charts.class_heatmap(frame), "IoU per class", "Val IoU of every class by what the segmenter learns "
                 f"from; G2 is weakest on {frame.loc['G2'].idxmin()}.", "measured")


def _not_trained(profile: str) -> str:
    """What the paper shows and this profile doesn't train, as a sentence; empty when nothing is missing."""
    missing = [f"GAP-{name}" for name in oh2017.GAP_NETS if name not in oh2017.trained_nets(profile)]
    return f" Not trained in this profile: {', '.join(missing)}." if missing else ""


FIGURES = {
    "fig1": fig1, "fig2": fig2, "fig3": fig3, "fig4": fig4, "fig5": partial(training_saliency, more=False),
    "fig6": fig6, "fig7": partial(stages, part=0), "fig8": fig8, "fig9": partial(training_saliency, more=True),
    "fig10": fig10, "fig11": fig11, "fig12": partial(stages, part=1), "fig13": partial(stages, part=2),
    "ladder": ladder, "per_class": per_class, "learning_curves": learning_curves,
    "when_curves": partial(when_chart, dials=DIALS),
}
