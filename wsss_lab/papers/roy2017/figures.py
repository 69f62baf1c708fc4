"""The figures of Roy & Todorovic 2017. Pictures are of seed 0, chosen by a rule that their alt text states."""

from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from wsss_lab.evaluation.confusion import divide, mean_iou, nan_mean
from wsss_lab.evaluation.object_recall import object_areas
from wsss_lab.lab import charts, plots
from wsss_lab.lab.choices import at_quantile, ranked
from wsss_lab.lab.plots import Drawn, Panel
from wsss_lab.lab.session import Session
from wsss_lab.measure.quantities import result
from wsss_lab.papers.roy2017.claims import MISSED
from wsss_lab.papers.roy2017.route import BASELINES, ITERATIONS, LEAST, PARENTS, STUDIED, Route, labelled_rows
from wsss_lab.papers.roy2017.tables import DIALS, FULL, miou
from wsss_lab.papers.shared_pictures import SplitPictures, compared, over_seeds, per_cent, when_chart
from wsss_lab.refinement import crf_rnn
from wsss_lab.seeds.neighbours import SIGMA_Z, SPACING, window
from wsss_lab.seeds.rectified_gaussian import MODES
from wsss_lab.seeds.top_down import Attention
from wsss_lab.segmenter.fusion import PRESENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# --- scores and training ----------------------------------------------------------------------------------------------

def baselines(run: Session) -> Drawn:
    alt = f"Val mIoU of the full approach and of its six baselines, {over_seeds(run)}, with 95 % intervals"
    return compared(run, {row: miou(row) for row in BASELINES}, run.published("table1")["val_miou_pct"].tolist(),
                    "What each use of attention is worth", alt)


_CLOSE = 0.5  # pp; differences this small count as none


def iterations(run: Session) -> Drawn:
    """Val mIoU over the iterations of the CRF-RNN at inference, and its difference to three."""
    usual = crf_rnn.ITERATIONS
    rows = {count: FULL if count == usual else f"{count} iterations" for count in sorted((*ITERATIONS, usual))
            if count == usual or f"{count} iterations" in labelled_rows(run.profile)}
    scores = {count: miou(row).interval(run.results) for count, row in rows.items()}
    changes = {count: (miou(row) - miou(FULL)).interval(run.results) for count, row in rows.items() if count != usual}
    figure, (left, right) = charts.side_by_side(2, (7.8, 2.9))
    right.axhspan(-_CLOSE, _CLOSE, color="#EFEFEF", zorder=0)
    right.axhline(0, color="#888888", lw=0.9, zorder=1)
    for axes, found, colour, of_usual, quantity in (
            (left, scores, charts.OUR_COLOUR, scores[usual].mean, "val mIoU (%)"),
            (right, changes, charts.LINE_COLOURS[0], 0, f"difference to {usual} (pp), paired")):
        charts.points(axes, list(found), found.values(), colour, "o-", 1.6, ms=5, lw=1.2)
        axes.plot(usual, of_usual, "o", ms=8, mfc="white", mec=colour, mew=1.8)
        axes.set_xticks(list(scores))
        axes.set_xlim(-0.5, max(ITERATIONS) + 0.5)
        charts.label(axes, "iterations of the CRF-RNN at inference", quantity)
        axes.margins(y=0.12)
    facts = ", ".join(f"{count}: {each.mean:.1f} %" for count, each in scores.items())
    differences = ", ".join(f"{count}: {each.mean:+.2f}" for count, each in changes.items())
    alt = (f"Val mIoU of the full approach, trained with {usual} iterations of the CRF-RNN, by their number at "
           f"inference, {over_seeds(run)}, with 95 % intervals: {facts}. "
           + (f"Differences to {usual}, in pp: {differences}; grey: within {_CLOSE} pp." if changes else
              "This profile runs no other number."))
    return Drawn(figure, "How many mean-field iterations", alt, "measured")


CURVES = (FULL, "no warm-up", "loss before the CRF-RNN", "loss after the CRF-RNN")  # trainings of `learning_curves`


def learning_curves(run: Session) -> Drawn:
    """Both losses over the training, with and without warm-up and by the p^S that the second one compares."""

    def values(row: str, loss: str) -> np.ndarray:
        begins = run.route.warm_up(row) if loss == "segmentation" else 0
        return np.array([curves[loss][begins:] for curves in run.results.each(result("curves", Route.trained, row))])

    total = run.route.scale.schedule.iterations
    panels = {f"{loss} loss (Eq. {number})": {
        "full approach" if row == FULL else row: values(row, loss)
        for row in CURVES if row in labelled_rows(run.profile)}
        for loss, number in (("classification", 14), ("segmentation", 15))}
    figure = charts.training_panels(panels, total, (8.8, 3.2))
    for axes in figure.axes:
        smooth = np.concatenate([line.get_ydata() for line in axes.lines[1::2]])
        axes.set_ylim(0.8 * smooth.min(), 1.1 * smooth.max())  # single batches may lie far outside
    first, second = ({name: values[:, -max(1, total // 20):].mean() for name, values in curves.items()}
                     for curves in panels.values())
    facts = "; ".join(f"{name} {first[name]:.2f} and {second[name]:.3f}" for name in first)
    alt = (f"Classification and segmentation loss against iteration, {over_seeds(run)}; the second one begins after "
           f"the warm-up of {run.route.warm_up('full')} iterations. At the end: {facts}.")
    return Drawn(figure, "Inside the training", alt, "measured")


# --- diagrams ---------------------------------------------------------------------------------------------------------

# Bottom-up, top-down, fusion and losses in one colour each, and a darker one of the first three for lines.
_UP, _DOWN, _FUSION, _LOSS = "#D3EBF8", "#F6D5C8", "#CFE9DF", "#FCE8BF"
_UP_LINE, _DOWN_LINE, _BESIDE_LINE = "#0072B2", "#D55E00", "#009E73"


def fig1(_run: Session) -> Drawn:
    boxes = {
        "image": (0.045, 0.20, "Image"), "net": (0.165, 0.20, "CNN\nDeepLab-\nLargeFOV"),
        "maps": (0.335, 0.20, "Label maps f\nbackground and\nclasses, softmax: $p^S$"),
        "fcl": (0.335, 0.56, "FCL\na weight for each\nlabel and position"),
        "scores": (0.335, 0.89, "Image's labels p(y|x)"), "class loss": (0.60, 0.89, "Classification loss (Eq. 14)"),
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
    colours = dict.fromkeys(("net", "maps", "fcl", "scores"), _UP) | dict.fromkeys(("fusion", "crf"), _FUSION)
    colours |= dict.fromkeys(("class loss", "pixel loss"), _LOSS) | {"attention": _DOWN}
    alt = ("Block diagram: a CNN gives a map of every label, whose softmax is the bottom-up cue; a fully connected "
           "layer turns the maps into probabilities of the image's labels for the classification loss. From the unit "
           "of each label that is tagged (in training) or predicted (later), attention runs back down the same "
           "network. Both cues are multiplied and refined by a CRF-RNN that sees the image. The segmentation loss "
           "pulls the labels of pixels, before and after the CRF-RNN, towards attention.")
    return Drawn(plots.flow(boxes, arrows, (10.4, 4.2), colours), "Bottom-up, top-down and smoothness cues", alt,
                 "schematic")


def fig3(_run: Session) -> Drawn:
    boxes = {
        "image": (0.30, 0.82, "Image"), "cues": (0.49, 0.82, "Attention $p^A$ and\nlabel maps $p^S$"),
        "unary": (0.71, 0.82, "Unary potential (Eq. 11)\nφ = −log($p^S p^A$)"),
        "q": (0.075, 0.34, "$Q^t$\nat the start\nsoftmax(−φ)"),
        "filter": (0.30, 0.34, "Bilateral filter\nof each label's map;\nkernel fixed (Eq. 8)"),
        "mu": (0.52, 0.34, "1×1 convolution μ\nlabels to labels,\nlearned (Eq. 12)"),
        "sum": (0.71, 0.34, "−φ minus\nmessages"), "softmax": (0.837, 0.34, "Softmax"),
        "next": (0.95, 0.34, "$Q^{t+1}$"),
    }
    arrows = [("cues", "unary"), ("image", "filter"), ("unary", "sum"), ("q", "filter"), ("filter", "mu"),
              ("mu", "sum"), ("sum", "softmax"), ("softmax", "next"), ("next", "q", "below")]
    colours = {"cues": _DOWN, "unary": _DOWN, "image": _UP, "filter": _FUSION, "mu": _LOSS}
    alt = (f"Block diagram of one of the {crf_rnn.ITERATIONS} mean-field iterations: the current probabilities of all "
           "labels go through a bilateral filter with a fixed kernel from the image and a learned 1x1 convolution, the "
           "compatibility of labels; the result is subtracted from the negative unary potential, in which bottom-up "
           "labels and attention are multiplied, and a softmax gives the probabilities of the next iteration.")
    return Drawn(plots.flow(boxes, arrows, (9.8, 2.7), colours), "One mean-field step as layers", alt, "schematic")


class Pictures(SplitPictures):
    """Panels of the images of one split at seed 0, and the scores by which images are chosen; labels are those of the
    full approach, attention is that of its network, tags known. how: another attention than its own."""

    def prediction(self, index: int, title: str = "") -> Panel:
        """Labels by the full approach, tags predicted."""
        return self.stored(self.route.prediction(FULL, self.split)["masks"], index, title)

    def attention(self, label: int, index: int, how: Attention | None = None, title: str = "") -> Panel:
        """Attention p^A of a label over the image; bordered: where it is the largest of all labels."""
        maps = self.attention_maps(index, how)
        return Panel(maps[label], "heat", title, under=self.view.image(index), outline=maps.argmax(0) == label)

    def canvas(self, index: int, box: tuple[float, ...] | None = None) -> Panel:
        """The image on the network's canvas."""
        pixels, _ = self.view.canvas([index], self.route.side)
        return Panel(pixels[0].permute(1, 2, 0).numpy(), box=box)

    def attention_maps(self, index: int, how: Attention | None = None) -> np.ndarray:
        """Attention p^A on the image's pixels: float32 (1 + C, H, W) in [0, 1], background first."""
        stored = self.run.load(self.route.attention(FULL, how, self.split)["maps"])[index]
        return self.on_image(stored, index, self.route.side)

    @cached_property
    def attention_gain(self) -> np.ndarray:
        """By how much neighbours and own activation raise the mean IoU of the labels of largest attention: (N,)."""
        alone, both = (np.array([self.iou_of(self.attention_maps(index, how).argmax(0), index)
                                 for index in range(len(self.view))]) for how in (PARENTS, None))
        return both - alone

    @cached_property
    def without_evidence(self) -> float:
        """Share of the tags that get no attention at all from their parents alone."""
        maps = self.loaded(self.route.attention(FULL, PARENTS, self.split)["maps"])[:, 1:]
        return float(np.mean(maps.max((2, 3))[self.view.tags] == 0))

    @cached_property
    def counts(self) -> np.ndarray:
        """(N, 1 + C, 2 + C) confusions of the full approach."""
        return self.confusions(self.route.scored(FULL, self.split))

    @cached_property
    def network_iou(self) -> np.ndarray:
        """Mean IoU (N,) of the full approach by image."""
        return mean_iou(self.counts)

    def main_label(self, index: int) -> int:
        """The class, 1..C, that takes most pixels of an image's ground truth."""
        return 1 + int(self.counts[index, 1:].sum(-1).argmax())

    def largest_miss(self) -> tuple[int, int]:
        """Image and class, 1..C, of which the smallest share is found; of several (none of it), the largest one."""
        counts = self.counts[:, 1:]
        pixels = counts.sum(-1)
        recall = divide(np.diagonal(counts[..., 1:-1], axis1=1, axis2=2), pixels)
        share = pixels / self.counts.sum((1, 2))[:, None]
        order = np.lexsort((-share.ravel(), recall.ravel()))  # nan, a class that isn't there, comes last
        index, place = np.unravel_index(order[0], recall.shape)
        return int(index), int(place) + 1

    def missed_small(self) -> dict[int, list[tuple[int, np.ndarray]]]:
        """Labels and pixels (H, W) of missed objects (see `count_pieces`) that are smaller than the median of all, by
        image: that with most of them first, of equal numbers the one with the larger objects."""
        image, label, area, recall = (self.loaded(self.route.objects()[name])
                                      for name in ("image", "label", "area", "recall"))
        missed, found = (area < np.median(area)) & (recall < MISSED), {}
        for index in np.unique(image[missed]).tolist():
            here = image == index
            pixels = zip(label[here], object_areas(self.view.mask(index), LEAST), missed[here])
            found[index] = [(int(name), inside) for name, inside, chosen in pixels if chosen]
        return dict(sorted(found.items(), key=lambda item: (-len(item[1]), -area[missed & (image == item[0])].sum())))


# --- attention without and with neighbours ----------------------------------------------------------------------------

def draw_top_down(axes: "Axes", neighbours: bool) -> None:
    """Neurons of two layers and what attention of the middle one depends on: its parents (Eq. 5), and with neighbours
    also its own activation (Eq. 7) and the neurons beside it (Eq. 9)."""
    from matplotlib.patches import Circle, FancyArrowPatch

    unit, parents, children = (5.0, 5.6), [(x, 3.7) for x in (2.4, 5.0, 7.6)], [(x, 1.6) for x in (1, 3, 5, 7, 9)]
    centre = x, y = children[2]  # the neuron whose terms are named

    def link(start: tuple, end: tuple, colour: str, width: float, alpha: float = 1.0, bend: float = 0.0) -> None:
        axes.add_patch(FancyArrowPatch(start, end, arrowstyle="<|-|>" if bend else "-|>", mutation_scale=8, shrinkA=9,
                                       shrinkB=9, connectionstyle=f"arc3,rad={bend}", color=colour, lw=width,
                                       alpha=alpha, zorder=2))

    def word(x: float, y: float, text: str, colour: str, side: str = "center", size: int = 8) -> None:
        axes.text(x, y, text, ha=side, va="center", fontsize=size, color=colour, zorder=4)

    axes.set_axis_off()
    axes.set(xlim=(-1.7, 10.7), ylim=(-0.7, 6.2), aspect="equal")
    for parent in parents:
        link(unit, parent, _DOWN_LINE, 1.2)
        for child in (child for child in children if abs(parent[0] - child[0]) < 3):
            link(parent, child, _DOWN_LINE, *((1.8, 1) if child == centre else (0.8, 0.35)))
    if neighbours:
        for child in (child for child in children if child != centre):
            link(child, centre, _BESIDE_LINE, 1.5, bend=0.35 if child < centre else -0.35)
        link((x, y - 1.8), centre, _UP_LINE, 1.8)
        word(x + 0.25, y - 1.7, r"$\alpha_i$, own activation", _UP_LINE, "left")
        word(0.9, y - 1.3, r"$\delta_{ii'}$, neighbours", _BESIDE_LINE)
    word(x + 0.15, y + 0.95, r"$\gamma_i$", _DOWN_LINE, "left")
    for where in (unit, *parents, *children):
        axes.add_patch(Circle(where, 0.36, fc="#F0C7B5" if where == centre else "#FFFFFF", ec=plots.INK, lw=1.0,
                              zorder=3))
    for where, text in ((unit, "$y$"), (centre, "$i$"), (parents[1], "$j$")):
        word(*where, text, "black", size=9)
    for level, text in ((unit[1], "label"), (parents[0][1], "layer $l-1$"), (y, "layer $l$")):
        word(0.3, level, text, plots.INK, "right")


def fig2(run: Session) -> Drawn:
    val = Pictures(run, "val")
    gain = val.attention_gain
    shown = {name: at_quantile(gain, quantile) for name, quantile in (
        ("90th\npercentile", 0.9), ("median", 0.5), ("10th\npercentile", 0.1))}
    figure = val.grid(list(shown.values()), {
        "image": val.image, "ground truth": val.truth,
        "parents only": lambda index: val.attention(val.main_label(index), index, PARENTS),
        "with own activation\nand neighbours": lambda index: val.attention(val.main_label(index), index),
    }, [f"{name}:\n{100 * gain[index]:+.0f} pp".replace("-", "−") for name, index in shown.items()], size=1.5)
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


def _above(figure: "Figure", tall: float, gap: float = 0.1, margin: float = 0.0) -> list["Axes"]:
    """Two places side by side above a grid of pictures, `tall` inches high and `gap` inches above it. margin: what each
    leaves free at its left, as a share of the grid's width."""
    height = figure.get_figheight()
    return [figure.add_axes([left + margin, 1 + gap / height, 0.48 - margin, tall / height]) for left in (0, 0.52)]


# --- results ----------------------------------------------------------------------------------------------------------

def fig4(run: Session) -> Drawn:
    val = Pictures(run, "val")
    scores = val.network_iou
    order = ranked(scores)
    first = {"best": 0, "upper\nquartile": len(order) // 4, "median": len(order) // 2,
             "lower\nquartile": 3 * len(order) // 4}
    figure = val.grid([order[start:start + 2] for start in first.values()], {
        "image": val.image, "result": lambda index: val.prediction(index, per_cent(scores[index])),
        "ground truth": val.truth, "attention": lambda index: val.attention(
            val.main_label(index), index, title=val.classes[val.main_label(index) - 1])}, list(first), size=1.15)
    alt = ("Val images with the result of the full approach, tags predicted, the ground truth, and attention of the "
           "class with most pixels, tags known (white outline: where it exceeds that of all other labels). Two images "
           f"from each of four ranks of IoU: the best, the upper quartile ({100 * np.nanquantile(scores, 0.75):.0f} "
           f"%), the median ({100 * np.nanmedian(scores):.0f} %) and the lower quartile "
           f"({100 * np.nanquantile(scores, 0.25):.0f} %).")
    return Drawn(figure, "Results on val, by rank of IoU", alt)


def fig5(run: Session) -> Drawn:
    val = Pictures(run, "val")
    whole, label = val.largest_miss()
    cases = {whole: (f"large:\n{val.classes[label - 1]}", [(label, val.view.mask(whole) == label)])}
    small = next(((index, missed) for index, missed in val.missed_small().items() if index != whole), None)
    if small is not None:
        cases[small[0]] = (f"small: {len(small[1])}\nobjects missed", small[1])
    presence = torch.tensor(np.asarray(run.load(run.route.prediction()["scores"]))).sigmoid().numpy()
    rows, facts = [], []
    for index, (_, missed) in cases.items():
        attention, regions = val.attention_maps(index), {}
        for name, inside in missed:
            regions[name] = regions.get(name, False) | inside
        highest, anywhere = attention[list(regions)].max(0), np.any(list(regions.values()), 0)
        rows.append([val.image(index), val.prediction(index, per_cent(val.network_iou[index])), val.truth(index),
                     Panel(highest, "heat", f"there up to {highest[anywhere].max():.2f}", under=val.view.image(index),
                           outline=anywhere)])
        facts.append(", ".join(f"{val.classes[name - 1]} {attention[name][inside].max():.2f} "
                               f"({presence[index, name]:.2f})" for name, inside in regions.items()))
    figure = plots.grid(rows, ["image", "result", "ground truth", "attention of\nwhat is missed"],
                        [name for name, _ in cases.values()], val.classes, size=1.5)
    second = (f"Below, the image with most missed objects (less than {100 * MISSED:.0f} % found) among those of less "
              f"than the median size and at least {100 * LEAST:g} % of the image: {facts[1]}." if len(facts) > 1 else
              "No small object is missed elsewhere.")
    alt = ("Results of the full approach on val. Above, the image with the largest class of which least is found. "
           f"Attention of it (white outline), were the tags known, is at most: {facts[0]}. "
           f"{second} In brackets: p(y|x), above {PRESENCE:g} for a class that is predicted (or the likeliest).")
    return Drawn(figure, "Two failures, and their attention", alt)


# --- the rectified Gaussian -------------------------------------------------------------------------------------------

_SHOWN_MODES = {"literal": "literal,\nsolved", "steps": "literal,\n5 steps", "smooth": "smooth"}


def gaussian_study(run: Session) -> Drawn:
    """What the programme of Eq. (3) makes of a map, as printed and in this lab's reading, and why."""
    val, study = Pictures(run, "val"), run.load(run.route.study())
    cells = study["b"][0].size
    rows, names = [], []
    for index in range(STUDIED):
        names.append(val.classes[val.view.tags[index].argmax()])
        rows.append([val.canvas(index), Panel(_relative(study["b"][index]), "heat")])
        for mode in _SHOWN_MODES:
            number = MODES.index(mode)
            count, residual = round(cells * study["active"][number, index]), study["residual"][number, index]
            title = f"{count} cell{'s' * (count > 1)}, KKT {residual:.1g}"
            rows[-1].append(Panel(_relative(study["maps"][number, index]), "heat", title))
    columns = ["image", "b\n(Eqs. 5 to 7)", *_SHOWN_MODES.values()]
    figure = plots.grid(rows, columns, names, val.classes, size=1.35)
    charted = _above(figure, 1.5, gap=0.5, margin=0.03)
    for axes, values, name in zip(charted, study["eigenvalues"], ("as printed (Eq. 9)", "smooth")):
        rank = np.broadcast_to(np.arange(1, cells + 1), values.shape)
        for chosen, colour in ((values > 0, charts.OUR_COLOUR), (values <= 0, charts.PAPER_COLOUR)):
            axes.plot(rank[chosen], values[chosen], ".", ms=4, color=colour)
        charts.light_grid(axes)
        axes.axhline(0, color="#888888", lw=0.9, zorder=1)
        axes.set_xlabel("rank", fontsize=8)
        axes.set_title(f"eigenvalues of D, {name}", fontsize=9)
    charted[0].set_yscale("symlog", linthresh=1)
    charted[0].set_yticks([-1000, -100, -10, -1, 0, 1], ["−1000", "−100", "−10", "−1", "0", "1"])
    charted[0].set_ylim(min(-1000, 2 * study["eigenvalues"].min()), 3)
    active, shares = 100 * study["active"].mean(1), 100 * (study["eigenvalues"] > 0).mean((1, 2))
    alt = (f"Above: eigenvalues of D on {len(rows)} val images, orange where positive: {shares[0]:.1f} % of them "
           f"for D as printed, {shares[1]:.1f} % for 'smooth'. Below: b for the first tag of each image, and the "
           "maps that the programme gives, each divided by its maximum; above them the cells above a thousandth of it "
           f"and the residual of the KKT conditions. Mean share of such cells: literal {active[0]:.1f} %, five steps "
           f"towards it {active[1]:.0f} %, smooth {active[2]:.0f} %.")
    return Drawn(figure, "One neuron takes all, or neighbours share", alt)


def _relative(values: np.ndarray) -> np.ndarray:
    """A map divided by its maximum."""
    return values / max(values.max(), np.finfo(values.dtype).tiny)


def similarity(run: Session) -> Drawn:
    val, study = Pictures(run, "val"), run.load(run.route.study())
    weights = study["similarity"]
    radius = (round(weights.shape[1] ** 0.5) - 1) // 2
    total = weights.sum(1)
    inner = np.full_like(total, np.nan)
    inside = (slice(None), slice(radius, total.shape[1] - radius), slice(radius, total.shape[2] - radius))
    inner[inside] = total[inside]
    by_position = np.exp(-(SPACING / SIGMA_Z) ** 2 * (np.array(window(radius)) ** 2).sum(1))
    rows, names = [], {"most\nalike": 1.0, "median": 0.5, "least\nalike": 0.0}
    for quantile in names.values():
        place, *cell = np.unravel_index(at_quantile(inner.ravel(), quantile), inner.shape)
        canvas = val.canvas(place).data
        stride = canvas.shape[0] / weights.shape[2]
        top, left = ((each - radius) * stride for each in cell)
        side, near, far = (2 * radius + 1) * stride, radius * stride, (radius + 1) * stride
        seen = canvas[round(top):round(top + side), round(left):round(left + side)]
        rows.append([
            val.canvas(place, box=(left, top, left + side, top + side)),
            Panel(seen, box=(near, near, far, far)),
            *(Panel(values.reshape(2 * radius + 1, -1), "heat") for values in (weights[place, :, *cell], by_position))])
    columns = ["image", "window", "similarity w\n(Eq. 8)", "position\nalone"]
    figure = plots.grid(rows, columns, list(names), val.classes, size=1.4)
    alt = ("Similarity of a cell to those in the window of "
           f"{2 * radius + 1} x {2 * radius + 1} cells around it, for the cell of {STUDIED} val images (not at "
           "their border) with the largest, the median and the smallest sum of weights "
           f"({', '.join(f'{np.nanquantile(inner, quantile):.1f}' for quantile in names.values())}); position alone "
           f"would give {by_position.sum():.1f} everywhere. Orange box: the window, and the cell itself in the second "
           "column.")
    return Drawn(figure, "Which neighbours are alike", alt)


FIGURES = {
    "fig1": fig1, "fig2": fig2, "fig3": fig3, "fig4": fig4, "fig5": fig5, "gaussian_study": gaussian_study,
    "similarity": similarity, "baselines": baselines, "learning_curves": learning_curves, "iterations": iterations,
    "when_curves": partial(when_chart, dials=DIALS),
}
