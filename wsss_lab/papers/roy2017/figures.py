"""The figures of Roy & Todorovic 2017 from what a session has stored: `run.compute(*steps(run))` comes first.

Pictures are taken from seed 0 and chosen by rule, never by hand; every alt text states the rule. Charts of measured
numbers are in roy2017_charts, diagrams, which need no run, in roy2017_diagrams.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from wsss_lab.data.canvas import canvas_box, from_canvas
from wsss_lab.evaluation.confusion import confusion_matrix, divide, mean_iou, nan_mean
from wsss_lab.evaluation.intervals import Interval, difference_interval, interval
from wsss_lab.evaluation.object_recall import object_areas
from wsss_lab.lab import charts, plots
from wsss_lab.lab.choices import at_quantile, ranked
from wsss_lab.lab.plots import Drawn, Panel
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers.roy2017.route import BASELINES, ITERATIONS, ROWS, labelled_rows
from wsss_lab.papers.roy2017.tables import Evidence
from wsss_lab.papers.shared_pictures import SplitPictures, over_seeds, per_cent
from wsss_lab.refinement import crf_rnn
from wsss_lab.seeds.neighbours import SIGMA_Z, SPACING, window
from wsss_lab.seeds.rectified_gaussian import MODES
from wsss_lab.seeds.top_down import Attention
from wsss_lab.segmenter.fusion import PRESENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


#: Trainings of `learning_curves`, by row of ROWS, and their names.
CURVES = {"full": "full approach", "no warm-up": "no warm-up",
          "loss before the CRF-RNN": "loss before the CRF-RNN", "loss after the CRF-RNN": "loss after the CRF-RNN"}
_CLOSE = 0.5  # pp; differences this small count as none


def chart_steps(run: Session) -> list[Step]:
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
    _curve_points(left, scores, charts.OUR_COLOUR)
    left.plot(usual, scores[usual].mean, "o", ms=8, mfc="white", mec=charts.OUR_COLOUR, mew=1.8)
    left.set_ylabel("val mIoU (%)", fontsize=9)
    right.axhspan(-_CLOSE, _CLOSE, color="#EFEFEF", zorder=0)
    right.axhline(0, color="#888888", lw=0.9, zorder=1)
    _curve_points(right, found, charts.LINE_COLOURS[0])
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


def _curve_points(axes: "Axes", found: dict[int, Interval], colour: str) -> None:
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


# Bottom-up, top-down, fusion and losses in one colour each, and a darker one of the first three for lines.
_UP, _DOWN, _FUSION, _LOSS = "#D3EBF8", "#F6D5C8", "#CFE9DF", "#FCE8BF"
_UP_LINE, _DOWN_LINE, _BESIDE_LINE = "#0072B2", "#D55E00", "#009E73"


def fig1(_run: Session) -> Drawn:
    """Block diagram of the approach: bottom-up, top-down, fusion, and the two losses."""
    boxes = {
        "image": (0.045, 0.20, "Image"),
        "net": (0.165, 0.20, "CNN\nDeepLab-\nLargeFOV"),
        "maps": (0.335, 0.20, "Label maps f\nbackground and\nclasses, softmax: $p^S$"),
        "fcl": (0.335, 0.56, "FCL\na weight for each\nlabel and position"),
        "scores": (0.335, 0.89, "Image's labels p(y|x)"),
        "class loss": (0.60, 0.89, "Classification loss (Eq. 14)"),
        "tags": (0.84, 0.89, "Image tags"),
        "attention": (0.555, 0.56, "Top-down attention $p^A$\nfrom the unit of a label\nback through FCL and CNN"),
        "fusion": (0.555, 0.20, "Fusion (Eq. 11)\n$p^S$ times $p^A$"),
        "crf": (0.785, 0.20, f"CRF-RNN\n{crf_rnn.ITERATIONS} mean-field\niterations"),
        "labels": (0.935, 0.20, "Labels of\nthe pixels"),
        "pixel loss": (0.785, 0.56, "Segmentation loss (Eq. 15)\n$p^S$, before and after\nthe CRF-RNN, against $p^A$"),
    }
    arrows = [("image", "net"), ("net", "maps"), ("maps", "fcl"), ("fcl", "scores"), ("scores", "class loss"),
              ("tags", "class loss"), ("fcl", "attention"), ("maps", "fusion"), ("attention", "fusion"),
              ("fusion", "crf"), ("crf", "labels"), ("attention", "pixel loss"), ("crf", "pixel loss"),
              ("image", "crf", "below")]
    colours = dict.fromkeys(("net", "maps", "fcl", "scores"), _UP) | {"attention": _DOWN, "fusion": _FUSION,
                                                                     "crf": _FUSION, "class loss": _LOSS,
                                                                     "pixel loss": _LOSS}
    figure = plots.flow(boxes, arrows, (10.4, 4.2), colours)
    alt = ("Block diagram: a CNN gives a map of every label, whose softmax is the bottom-up cue; a fully connected "
           "layer turns the maps into probabilities of the image's labels for the classification loss. From the unit "
           "of each label that is tagged (in training) or predicted (later), attention runs back down the same "
           "network. Both cues are multiplied and refined by a CRF-RNN that sees the image. The segmentation loss "
           "pulls the labels of pixels, before and after the CRF-RNN, towards attention.")
    return Drawn(figure, "Bottom-up, top-down and smoothness cues", alt, "schematic")


def fig3(_run: Session) -> Drawn:
    """Block diagram of one mean-field iteration as a stack of layers."""
    boxes = {
        "image": (0.30, 0.82, "Image"),
        "cues": (0.49, 0.82, "Attention $p^A$ and\nlabel maps $p^S$"),
        "unary": (0.71, 0.82, "Unary potential (Eq. 11)\nφ = −log($p^S p^A$)"),
        "q": (0.075, 0.34, "$Q^t$\nat the start\nsoftmax(−φ)"),
        "filter": (0.30, 0.34, "Bilateral filter\nof each label's map;\nkernel fixed (Eq. 8)"),
        "mu": (0.52, 0.34, "1×1 convolution μ\nlabels to labels,\nlearned (Eq. 12)"),
        "sum": (0.71, 0.34, "−φ minus\nmessages"),
        "softmax": (0.837, 0.34, "Softmax"),
        "next": (0.95, 0.34, "$Q^{t+1}$"),
    }
    arrows = [("cues", "unary"), ("image", "filter"), ("unary", "sum"), ("q", "filter"), ("filter", "mu"),
              ("mu", "sum"), ("sum", "softmax"), ("softmax", "next"), ("next", "q", "below")]
    colours = {"cues": _DOWN, "unary": _DOWN, "image": _UP, "filter": _FUSION, "mu": _LOSS}
    figure = plots.flow(boxes, arrows, (9.8, 2.7), colours)
    alt = (f"Block diagram of one of the {crf_rnn.ITERATIONS} mean-field iterations: the current probabilities of all "
           "labels go through a bilateral filter with a fixed kernel from the image and a learned 1x1 convolution, the "
           "compatibility of labels; the result is subtracted from the negative unary potential, in which bottom-up "
           "labels and attention are multiplied, and a softmax gives the probabilities of the next iteration.")
    return Drawn(figure, "One mean-field step as layers", alt, "schematic")


# --- the top-down pass (Fig. 2) ------------------------------------------------------------------------------------

_UNIT, _PARENTS, _CHILDREN = (5.0, 5.6), [(x, 3.7) for x in (2.4, 5.0, 7.6)], [(x, 1.6) for x in (1, 3, 5, 7, 9)]
_MIDDLE = 2  # the neuron whose terms are named
_RADIUS = 0.36


def draw_top_down(axes: "Axes", neighbours: bool) -> None:
    """Neurons of two layers and what attention of the middle one depends on: its parents (Eq. 5), and with neighbours
    also its own activation (Eq. 7) and the neurons beside it (Eq. 9)."""
    axes.set_axis_off()
    axes.set(xlim=(-1.7, 10.7), ylim=(-0.7, 6.2), aspect="equal")
    for parent in _PARENTS:
        _link(axes, _UNIT, parent, _DOWN_LINE, 1.2)
        for place, child in enumerate(_CHILDREN):
            if abs(parent[0] - child[0]) < 3:
                _link(axes, parent, child, _DOWN_LINE, 1.8 if place == _MIDDLE else 0.8,
                      1 if place == _MIDDLE else 0.35)
    centre = _CHILDREN[_MIDDLE]
    if neighbours:
        for place, child in enumerate(_CHILDREN):
            if place != _MIDDLE:
                _link(axes, child, centre, _BESIDE_LINE, 1.5, bend=0.35 * (1 if place < _MIDDLE else -1), both=True)
        _link(axes, (centre[0], centre[1] - 1.8), centre, _UP_LINE, 1.8)
        _word(axes, (centre[0] + 0.25, centre[1] - 1.7), r"$\alpha_i$, own activation", _UP_LINE, "left")
        _word(axes, (0.9, centre[1] - 1.3), r"$\delta_{ii'}$, neighbours", _BESIDE_LINE)
    _word(axes, (centre[0] + 0.15, centre[1] + 0.95), r"$\gamma_i$", _DOWN_LINE, "left")
    for where in (_UNIT, *_PARENTS, *_CHILDREN):
        _neuron(axes, where, "#F0C7B5" if where == centre else "#FFFFFF")
    for (x, y), text in ((_UNIT, "y"), (centre, "i"), (_PARENTS[1], "j")):
        axes.text(x, y, f"${text}$", ha="center", va="center", fontsize=9, zorder=4)
    for level, text in ((_UNIT[1], "label"), (_PARENTS[0][1], "layer $l-1$"), (centre[1], "layer $l$")):
        _word(axes, (0.3, level), text, plots.INK, "right")


def _neuron(axes: "Axes", where: tuple[float, float], fill: str) -> None:
    from matplotlib.patches import Circle

    axes.add_patch(Circle(where, _RADIUS, fc=fill, ec=plots.INK, lw=1.0, zorder=3))


def _link(axes: "Axes", start: tuple, end: tuple, colour: str, width: float, alpha: float = 1.0, bend: float = 0.0,
          both: bool = False) -> None:
    from matplotlib.patches import FancyArrowPatch

    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="<|-|>" if both else "-|>", mutation_scale=8, shrinkA=9,
                                   shrinkB=9, connectionstyle=f"arc3,rad={bend}", color=colour, lw=width, alpha=alpha,
                                   zorder=2))


def _word(axes: "Axes", where: tuple[float, float], text: str, colour: str, side: str = "center") -> None:
    axes.text(*where, text, ha=side, va="center", fontsize=8, color=colour, zorder=4)


#: Attention without neighbours and the neurons' own activation: excitation back-propagation.
PARENTS_ONLY = Attention("none", activation=0.0)
MIN_AREA = 0.005  # share of the image below which a region is a speck, as in wsss_lab.evaluation.object_recall
MISSED = 0.1  # an object of which a smaller share is found counts as missed


class SeenObject(NamedTuple):
    """An object of the ground truth. label: 1..C. area: its share of the image. recall: the share of it that gets its
    label from the full approach. place: its number among the objects of its image, largest first."""

    index: int
    label: int
    area: float
    recall: float
    place: int


class Pictures(SplitPictures):
    """Panels of the images of one split at seed 0, and the scores by which images are chosen; labels are those of the
    full approach."""

    # --- panels --------------------------------------------------------------------------------------------------

    def prediction(self, index: int, title: str = "") -> Panel:
        """Labels by the full approach, tags predicted."""
        return self.stored(self._labels["masks"], index, title)

    def attention(self, label: int, index: int, neighbours: bool = True, title: str = "") -> Panel:
        """Attention p^A of a label, tags known, over the image; bordered: where it is the largest of all labels."""
        maps = self.attention_maps(index, neighbours)
        return Panel(maps[label], "heat", title, under=self.view.image(index), outline=maps.argmax(0) == label)

    def canvas(self, index: int, title: str = "", box: tuple[float, ...] | None = None) -> Panel:
        """The image on the network's canvas."""
        pixels, _ = self.view.canvas([index], self.route.backbone["side"])
        return Panel(pixels[0].permute(1, 2, 0).numpy(), title=title, box=box)

    # --- attention -----------------------------------------------------------------------------------------------

    def attention_step(self, neighbours: bool = True) -> Step:
        """Attention of the full approach's network, tags known; without neighbours also without own activation."""
        return self.route.attention("full", None if neighbours else PARENTS_ONLY, self.split)

    def attention_maps(self, index: int, neighbours: bool = True) -> np.ndarray:
        """Attention p^A on the image's pixels: float32 (1 + C, H, W) in [0, 1], background first."""
        stored = self.run.load(self.attention_step(neighbours)["maps"])[index]
        size, side = self.view.size(index), self.route.backbone["side"]
        return from_canvas(np.asarray(stored, np.float32), canvas_box(*size, side), side, size)

    @cached_property
    def attention_gain(self) -> np.ndarray:
        """By how much neighbours and own activation raise the mean IoU of the labels of largest attention: (N,)."""
        scores = {neighbours: np.array([self._attention_iou(index, neighbours) for index in range(len(self.view))])
                  for neighbours in (True, False)}
        return scores[True] - scores[False]

    @cached_property
    def without_evidence(self) -> float:
        """Share of the tags that get no attention at all from their parents alone."""
        maps = np.asarray(self.run.load(self.attention_step(neighbours=False)["maps"]))[:, 1:]
        return float(np.mean(maps.max((2, 3))[self.view.tags] == 0))

    def _attention_iou(self, index: int, neighbours: bool) -> float:
        labels = self.attention_maps(index, neighbours).argmax(0)
        return float(mean_iou(confusion_matrix(labels, self.view.mask(index), 1 + len(self.classes))))

    # --- labels --------------------------------------------------------------------------------------------------

    @property
    def _labels(self) -> Step:
        return self.route.prediction("full", self.split)

    @cached_property
    def confusions(self) -> np.ndarray:
        """(N, 1 + C, 2 + C) counts of the full approach."""
        return np.asarray(self.run.load(self.route.scored("full", self.split)["confusions"]))

    @cached_property
    def network_iou(self) -> np.ndarray:
        """Mean IoU (N,) over the labels that each image shows or is said to show."""
        return mean_iou(self.confusions)

    @cached_property
    def presence(self) -> np.ndarray:
        """p(y|x) of every label: float (N, 1 + C), background first."""
        return torch.tensor(np.asarray(self.run.load(self._labels["scores"]))).sigmoid().numpy()

    def main_label(self, index: int) -> int:
        """The class, 1..C, that takes most pixels of an image's ground truth."""
        return 1 + int(self.confusions[index, 1:].sum(-1).argmax())

    # --- failures ------------------------------------------------------------------------------------------------

    def largest_miss(self) -> tuple[int, int]:
        """Image and class, 1..C, of which the smallest share is found; of several (none of it), the largest one."""
        counts = self.confusions[:, 1:]
        pixels = counts.sum(-1)
        recall = divide(np.diagonal(counts[..., 1:-1], axis1=1, axis2=2), pixels)
        share = pixels / self.confusions.sum((1, 2))[:, None]
        order = np.lexsort((-share.ravel(), recall.ravel()))  # nan, a class that isn't there, comes last
        index, place = np.unravel_index(order[0], recall.shape)
        return int(index), int(place) + 1

    @cached_property
    def objects(self) -> list[SeenObject]:
        """All objects of the split; an object is an 8-connected region of one class, at least MIN_AREA of its image."""
        labels, found = self.run.load(self._labels["masks"]), []
        for index in range(len(self.view)):
            mask, predicted = self.view.mask(index), self.cut(labels[index], index)
            for place, inside in enumerate(object_areas(mask, MIN_AREA)):
                label = int(mask[inside][0])
                found.append(SeenObject(index, label, inside.mean(), np.mean(predicted[inside] == label), place))
        return found

    def missed_small(self) -> dict[int, list[SeenObject]]:
        """Missed objects smaller than the median of all objects, by image: the image with most of them first, of equal
        numbers the one with the larger objects."""
        median = np.median([each.area for each in self.objects])
        missed: dict[int, list[SeenObject]] = {}
        for each in self.objects:
            if each.area < median and each.recall < MISSED:
                missed.setdefault(each.index, []).append(each)
        return dict(sorted(missed.items(), key=lambda item: (-len(item[1]), -sum(each.area for each in item[1]))))

    def regions(self, objects: list[SeenObject]) -> dict[int, np.ndarray]:
        """The pixels of objects of one image, by label: bool (H, W)."""
        parts = object_areas(self.view.mask(objects[0].index), MIN_AREA)
        found: dict[int, np.ndarray] = {}
        for each in objects:
            found[each.label] = found.get(each.label, False) | parts[each.place]
        return found


_STUDIED = range(4)  # rows of val that `Route.study` looks at
_SHOWN_MODES = {"literal": "literal,\nsolved", "steps": "literal,\n5 steps", "smooth": "smooth"}


def steps(run: Session) -> list[Step]:
    """Everything that figures and charts show: scores of all seeds, and pictures of seed 0."""
    val = Pictures(run, "val")
    return [val.attention_step(), val.attention_step(neighbours=False), *study_steps(run),
            *chart_steps(run)]


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
