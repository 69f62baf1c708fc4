"""Figures of Araslanov & Roth 2020 that need no run: block diagrams, and functions of the method as curves."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from wsss_lab.lab import charts, plots
from wsss_lab.lab.plots import Drawn
from wsss_lab.lab.session import Session
from wsss_lab.networks.deeplab_v3plus import gate
from wsss_lab.papers.araslanov2020 import FLOORS, OURS, POWERS
from wsss_lab.seeds.weighted_pooling import EPSILON, FLOOR, POWER, size_penalty, soft_margin_loss, weighted_pooling

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
