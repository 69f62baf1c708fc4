"""Diagrams of Roy & Todorovic 2017 that need no run: the overview, the top-down pass, and a mean-field step."""

from typing import TYPE_CHECKING

from wsss_lab.lab import plots
from wsss_lab.lab.plots import Drawn
from wsss_lab.lab.session import Session
from wsss_lab.refinement.crf_rnn import ITERATIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        "crf": (0.785, 0.20, f"CRF-RNN\n{ITERATIONS} mean-field\niterations"),
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
    alt = (f"Block diagram of one of the {ITERATIONS} mean-field iterations: the current probabilities of all labels "
           "go through a bilateral filter with a fixed kernel from the image and a learned 1x1 convolution, the "
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
