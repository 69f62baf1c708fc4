"""Pictures of images, masks and maps, and drawn diagrams; white background, colour-blind-safe colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

IGNORE = 255

#: Okabe and Ito's palette (without black and grey), then lighter variants of it for longer class lists.
_BASE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#8C6BB1")
BACKGROUND, UNDECIDED = "#3B3B3B", "#FFFFFF"


def class_colours(classes: int) -> np.ndarray:
    """Colours of background and classes: float (classes + 1, 3) in [0, 1], background dark grey first."""
    from matplotlib.colors import to_rgb

    base = np.array([to_rgb(colour) for colour in _BASE])
    rounds = [base, 0.5 * base + 0.5, 0.55 * base]
    colours = np.concatenate(rounds)[np.arange(classes) % (3 * len(base))]
    return np.vstack([to_rgb(BACKGROUND), colours])


def colour_mask(mask: np.ndarray, classes: int) -> np.ndarray:
    """A label map as an RGB picture; 255 (void, ignore) is white. mask: (H, W) labels. Returns float (H, W, 3)."""
    from matplotlib.colors import to_rgb

    table = np.tile(np.array(to_rgb(UNDECIDED)), (256, 1))
    table[:classes + 1] = class_colours(classes)
    return table[np.asarray(mask, dtype=np.uint8)]


@dataclass(frozen=True)
class Panel:
    """One picture of a grid: an image, a label map, a map in [0, 1], or an image under a map.

    kind: "image", "mask" or "heat". under: an image (H, W, 3) shown pale below a heat map or the contours of a mask.
    title: a line above the picture. box: (x0, y0, x1, y1) drawn on it.
    """

    data: np.ndarray
    kind: str = "image"
    title: str = ""
    under: np.ndarray | None = None
    box: Sequence[float] | None = None


def grid(rows: Sequence[Sequence[Panel]], columns: Sequence[str] = (), names: Sequence[str] = (),
         classes: Sequence[str] = (), size: float = 1.35, legend: bool = True):
    """A figure with one picture per panel, column headings, row names and a legend of the classes shown.

    rows: panels row by row. classes: class names, for the colours of masks and their legend.
    size: inches per picture. Returns a matplotlib Figure.
    """
    from matplotlib.figure import Figure

    wide = max(len(row) for row in rows)
    left = 0.12 + 0.075 * max((len(name) for name in names), default=0)
    shown = _labels_shown(rows) if legend else []
    bottom = 0.36 * -(-len(shown) // max(1, int(wide * size / 1.05))) if shown else 0.02
    top = 0.3 if columns else 0.05
    titled = any(panel.title for row in rows for panel in row)
    step = size + (0.22 if titled else 0.04)
    width, height = left + wide * (size + 0.04), top + len(rows) * step + bottom
    figure = Figure(figsize=(width, height), facecolor="white")
    for y, row in enumerate(rows):
        for x, panel in enumerate(row):
            place = [left + x * (size + 0.04), height - top - (y + 1) * step, size, size]
            axes = figure.add_axes([place[0] / width, place[1] / height, place[2] / width, place[3] / height])
            draw(axes, panel, len(classes))
            if y == 0 and x < len(columns):
                axes.text(0.5, 1.04 + (0.17 if titled else 0), columns[x], transform=axes.transAxes, ha="center",
                          va="bottom", fontsize=9)
            if x == 0 and y < len(names):
                axes.text(-0.06, 0.5, names[y], transform=axes.transAxes, ha="right", va="center", fontsize=9)
    if shown:
        _legend(figure, shown, classes, max(1, int(wide * size / 1.05)))
    return figure


def draw(axes, panel: Panel, classes: int) -> None:
    """Draw one panel into matplotlib axes."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#999999")
        spine.set_linewidth(0.6)
    data = np.asarray(panel.data)
    if panel.kind == "heat":
        if panel.under is not None:
            axes.imshow(_pale(panel.under), interpolation="nearest")
        axes.imshow(data, cmap="viridis", vmin=0, vmax=1, alpha=0.75 if panel.under is not None else 1.0,
                    interpolation="nearest")
    elif panel.kind == "mask":
        axes.imshow(colour_mask(data, classes), interpolation="nearest")
        if panel.under is not None:
            axes.imshow(panel.under, alpha=0.35, interpolation="nearest")
        _contours(axes, data)
    else:
        axes.imshow(data, interpolation="nearest")
    if panel.box is not None:
        from matplotlib.patches import Rectangle

        x0, y0, x1, y1 = panel.box
        for colour, line in (("white", 2.4), ("#D55E00", 1.2)):
            axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ec=colour, lw=line))
    if panel.title:
        axes.set_title(panel.title, fontsize=7.5, pad=2)


def _contours(axes, mask: np.ndarray) -> None:
    foreground = ((mask > 0) & (mask != IGNORE)).astype(float)
    if 0 < foreground.mean() < 1:
        axes.contour(foreground, levels=[0.5], colors="black", linewidths=0.5)


def _pale(image: np.ndarray) -> np.ndarray:
    grey = np.asarray(image, dtype=float).mean(2, keepdims=True) / 255
    return np.repeat(grey, 3, axis=2)


def _labels_shown(rows) -> list[int]:
    masks = [np.unique(panel.data) for row in rows for panel in row if panel.kind == "mask"]
    return sorted(set(np.concatenate(masks).tolist())) if masks else []


def _legend(figure, labels: list[int], classes: Sequence[str], per_row: int) -> None:
    from matplotlib.patches import Patch

    colours = class_colours(len(classes))
    entries = []
    for label in labels:
        if label == IGNORE:
            entries.append(Patch(facecolor=UNDECIDED, edgecolor="black", label="void / ignore"))
        else:
            name = "background" if label == 0 else classes[label - 1]
            entries.append(Patch(facecolor=colours[label], edgecolor="black", label=name))
    figure.legend(handles=entries, loc="lower center", ncol=min(per_row, len(entries)), frameon=False, fontsize=8,
                  handlelength=1.1, columnspacing=1.0, borderaxespad=0.1)


def flow(boxes: dict[str, tuple[float, float, str]], arrows: Sequence[tuple[str, str]], size=(8.0, 2.6),
         colours: dict[str, str] | None = None):
    """A block diagram: boxes with text, arrows between them.

    boxes: name -> (x, y, text), centres in a 0..1 square. arrows: (from, to) names. Returns a matplotlib Figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    figure = Figure(figsize=size, facecolor="white")
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    colours = colours or {}
    texts = {}
    for name, (x, y, text) in boxes.items():
        texts[name] = axes.text(x, y, text, ha="center", va="center", fontsize=9, zorder=3, linespacing=1.35)
    renderer = _renderer(figure)
    extents = {}
    for name, text in texts.items():
        extent = text.get_window_extent(renderer).transformed(axes.transData.inverted()).padded(0)
        x0, y0, w, h = extent.x0 - 0.012, extent.y0 - 0.035, extent.width + 0.024, extent.height + 0.07
        extents[name] = (x0, y0, w, h)
        axes.add_patch(FancyBboxPatch((x0, y0), w, h, boxstyle="round,pad=0,rounding_size=0.012", mutation_aspect=2,
                                      fc=colours.get(name, "#F3F3F3"), ec="#444444", lw=1.0, zorder=2))
    for start, end in arrows:
        axes.annotate("", xy=_edge(extents[end], extents[start]), xytext=_edge(extents[start], extents[end]),
                      arrowprops={"arrowstyle": "-|>", "color": "#444444", "lw": 1.2, "shrinkA": 1, "shrinkB": 1})
    return figure


def _renderer(figure) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return FigureCanvasAgg(figure).get_renderer()


def _edge(box: tuple, other: tuple) -> tuple[float, float]:
    """The point of a box's border that faces the other box: left/right where they are side by side, else top/bottom."""
    x, y, w, h = box
    cx, cy, ox, oy = x + w / 2, y + h / 2, other[0] + other[2] / 2, other[1] + other[3] / 2
    if ox - other[2] / 2 > x + w:
        return x + w, cy
    if ox + other[2] / 2 < x:
        return x, cy
    return (cx, y + h) if oy > cy else (cx, y)


def spread_ranks(values: np.ndarray, count: int) -> np.ndarray:
    """Positions of `count` values from best to worst, evenly spread over the ranks: a rule to choose pictures by.

    >>> spread_ranks(np.array([0.1, 0.9, 0.5]), 2).tolist()
    [1, 0]
    """
    order = np.argsort(-np.asarray(values), kind="stable")
    return order[np.linspace(0, len(order) - 1, count).round().astype(int)]
