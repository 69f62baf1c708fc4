"""Pictures of images, masks and maps in a grid, and block diagrams; white background, colour-blind-safe colours."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wsss_lab.lab.pictures import Picture
from wsss_lab.lab.pictures import draw as render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IGNORE = 255

#: Okabe and Ito's palette without black and grey, and a violet; then darker and paler ones for longer class lists.
_BASE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#8C6BB1")
BACKGROUND, UNDECIDED = "#2B2B2B", "#FFFFFF"
INK = "#444444"
MAP_COLOURS = "viridis"
_GAP = 0.04  # inches between two pictures
_SMALL = 128  # pixels; pictures up to this size keep their pixels visible, which also makes smaller files
_HEADING, _NOTE = 9.0, 7.5  # font sizes in points


_drawing: ContextVar[bool] = ContextVar("drawing", default=True)


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """While it is entered, grids stay empty: for who wants to know what pictures read, and not to see them."""
    before = _drawing.set(False)
    try:
        yield
    finally:
        _drawing.reset(before)


class Drawn(NamedTuple):
    """A figure with what `Artifacts.figure` wants to know of it; a notebook shows it as a picture with its alt text.

    kind: "measured", "schematic" or "qualitative".
    """

    figure: Any
    title: str
    alt: str
    kind: str = "qualitative"

    def _repr_html_(self) -> str:
        return Picture(render(self.figure), self.alt)._repr_html_()


def class_colours(classes: int) -> np.ndarray:
    """Colours of background and classes: float (classes + 1, 3) in [0, 1], background dark grey first."""
    from matplotlib.colors import to_rgb

    base = np.array([to_rgb(colour) for colour in _BASE])
    rounds = np.concatenate([base, 0.65 * base, 0.5 * base + 0.5])
    return np.vstack([to_rgb(BACKGROUND), rounds[np.arange(classes) % len(rounds)]])


def colour_mask(mask: np.ndarray, classes: int) -> np.ndarray:
    """A label map as an RGB picture; 255 (void, ignore) is white. mask: (H, W) labels. Returns float (H, W, 3)."""
    from matplotlib.colors import to_rgb

    table = np.tile(np.array(to_rgb(UNDECIDED)), (256, 1))
    table[:classes + 1] = class_colours(classes)
    return table[np.asarray(mask, dtype=np.uint8)]


@dataclass(frozen=True)
class Panel:
    """One picture of a grid.

    data: an image (H, W, 3), a label map (H, W), a map (H, W) in [0, 1], or the words of a text panel.
    kind: "image", "mask", "heat" or "text". title: a line above the picture.
    under: an image (H, W, 3) shown in grey below a heat map. outline: bool (H, W), its border is drawn.
    box: (x0, y0, x1, y1) in pixels, right and lower ends excluded.
    """

    data: Any
    kind: str = "image"
    title: str = ""
    under: np.ndarray | None = None
    outline: np.ndarray | None = None
    box: Sequence[float] | None = None


def grid(rows: Sequence[Sequence[Panel | None]], columns: Sequence[str] = (), names: Sequence[str] = (),
         classes: Sequence[str] = (), size: float = 1.35, groups: Sequence[tuple[str, int]] = (), note: str = ""
         ) -> "Figure":
    """Pictures in rows and columns with headings, and a legend of the classes that occur in them.

    rows: panels row by row, None leaves a place empty. columns, names: headings of columns and rows; those of columns
    that no row has, where there are few images to show, are left out. classes: class names, for the colours of masks
    and their legend. size: width of a picture in inches. groups: (heading, number of columns) from left to right, above
    the columns; a gap sets them apart. note: a line above everything.
    """
    from matplotlib.figure import Figure

    if not _drawing.get():
        return _undrawn(sum(panel is not None for row in rows for panel in row))
    wide = max(len(row) for row in rows)
    columns, groups = columns[:wide], _within(groups, wide)
    lefts, width = _column_places(wide, size, [count for _, count in groups])
    tall = size * _aspect(rows)
    titled = _line_height(max((panel.title for row in rows for panel in row if panel), key=len, default=""))
    step = tall + titled + _GAP
    top = 0.05 + 0.17 * max((1 + text.count("\n") for text in columns), default=0)
    top += 0.22 if any(text for text, _ in groups) else 0
    height = top + len(rows) * step
    figure = Figure(figsize=(width, height), facecolor="white")
    for y, row in enumerate(rows):
        for x, panel in enumerate(row):
            if panel is None:
                continue
            bottom = height - top - (y + 1) * step + _GAP
            axes = figure.add_axes([lefts[x] / width, bottom / height, size / width, tall / height])
            draw(axes, panel, len(classes))
    for x, text in enumerate(columns):
        above = height - top + 0.04
        figure.text((lefts[x] + size / 2) / width, above / height, text, ha="center", va="bottom", fontsize=_HEADING)
    for y, text in enumerate(names):
        middle = height - top - (y + 1) * step + _GAP + tall / 2
        figure.text((lefts[0] - 0.06) / width, middle / height, text, ha="right", va="center", fontsize=_HEADING)
    _group_headings(figure, groups, lefts, size)
    if note:
        figure.text(lefts[0] / width, 1 + 0.12 / height, note, va="bottom", fontsize=_HEADING, style="italic")
    _keys(figure, rows, classes)
    return figure


def _undrawn(panels: int) -> "Figure":
    """A figure without pictures that names as many axes as a grid has: the same again and again, as each takes time."""
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    figure.__class__ = type("Undrawn", (Figure,), {"axes": [axes] * panels})
    return figure


def draw(axes: "Axes", panel: Panel, classes: int) -> None:
    """Draw one panel into matplotlib axes. classes: number of classes, for the colours of a mask."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color="#999999", linewidth=0.6, visible=panel.kind != "text")
    if panel.title:
        axes.set_title(panel.title, fontsize=_NOTE, pad=2)
    if panel.kind == "text":
        axes.text(0.5, 0.5, panel.data, ha="center", va="center", fontsize=11, transform=axes.transAxes)
        return
    data = np.asarray(panel.data)
    smooth = {"interpolation": "nearest" if max(data.shape[:2]) <= _SMALL else "antialiased"}
    if panel.kind == "mask":
        axes.imshow(colour_mask(data, classes), interpolation="nearest")
        _outline(axes, (data > 0) & (data != IGNORE), "black", 0.5)
    elif panel.kind == "heat":
        if panel.under is not None:
            axes.imshow(np.asarray(panel.under).mean(2), cmap="gray", vmin=0, vmax=255, **smooth)
        axes.imshow(data, cmap=MAP_COLOURS, vmin=0, vmax=1, alpha=1.0 if panel.under is None else 0.65, **smooth)
    else:
        axes.imshow(data, **smooth)
    if panel.outline is not None:
        _outline(axes, np.asarray(panel.outline, dtype=bool), "white", 1.0)
    if panel.box is not None:
        _box(axes, panel.box)


def _outline(axes: "Axes", region: np.ndarray, colour: str, width: float) -> None:
    from matplotlib.patheffects import withStroke

    if 0 < region.mean() < 1:
        casing = [withStroke(linewidth=width + 1.2, foreground="black")] if colour == "white" else None
        axes.contour(region.astype(float), levels=[0.5], colors=colour, linewidths=width).set(path_effects=casing)


def _box(axes: "Axes", box: Sequence[float]) -> None:
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = box
    for colour, line in (("white", 2.4), ("#D55E00", 1.2)):
        axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ec=colour, lw=line))


def _aspect(rows) -> float:
    """Height over width that suits most of the pictures."""
    shapes = [np.shape(panel.data)[:2] for row in rows for panel in row if panel and panel.kind != "text"]
    return float(np.clip(np.median([h / w for h, w in shapes]), 0.5, 1.5)) if shapes else 1.0


def _column_places(wide: int, size: float, counts: Sequence[int]) -> tuple[list[float], float]:
    """Left edges of the columns and the width of them all, in inches; groups are set apart by a gap."""
    starts = set(np.cumsum(counts)[:-1].tolist()) if counts else set()
    lefts, at = [], 0.02
    for x in range(wide):
        at += 0.14 if x in starts else 0
        lefts.append(at)
        at += size + _GAP
    return lefts, at - _GAP + 0.02


def _within(groups: Sequence[tuple[str, int]], wide: int) -> list[tuple[str, int]]:
    """The groups that begin before column `wide`, each cut off there."""
    starts = np.cumsum([0, *(count for _, count in groups)]).tolist()
    return [(text, min(count, wide - start)) for (text, count), start in zip(groups, starts) if start < wide]


def _line_height(text: str) -> float:
    return 0.17 if text else 0.0


def _group_headings(figure: "Figure", groups: Sequence[tuple[str, int]], lefts: Sequence[float], size: float) -> None:
    width, height = figure.get_size_inches()
    first = 0
    for text, count in groups:
        middle = (lefts[first] + lefts[first + count - 1] + size) / 2
        figure.text(middle / width, 1 - 0.02 / height, text, ha="center", va="top", fontsize=_HEADING, weight="bold")
        first += count


def _keys(figure: "Figure", rows, classes: Sequence[str]) -> None:
    """Below the pictures: the colours of the labels that occur, and the scale of the maps."""
    from matplotlib.patches import Patch

    panels = [panel for row in rows for panel in row if panel]
    width, height = figure.get_size_inches()
    below = -0.06
    labels = sorted({label for panel in panels if panel.kind == "mask" for label in np.unique(panel.data).tolist()})
    if labels:
        colours = [UNDECIDED if label == IGNORE else class_colours(len(classes))[label] for label in labels]
        words = [_label_name(label, classes) for label in labels]
        entries = [Patch(facecolor=colour, edgecolor="black", label=word) for colour, word in zip(colours, words)]
        fitting = int(np.clip(width / (0.36 + 0.066 * max(map(len, words))), 1, len(entries)))
        lines = -(-len(entries) // fitting)
        per_line = -(-len(entries) // lines)
        by_column = [entry for column in range(per_line) for entry in entries[column::per_line]]  # a legend's own order
        figure.legend(handles=by_column, loc="upper center", bbox_to_anchor=(0.5, below / height), ncol=per_line,
                      frameon=False, fontsize=8, handlelength=1.1, columnspacing=1.0, borderaxespad=0, borderpad=0)
        below -= 0.17 * lines + 0.03
    if any(panel.kind == "heat" for panel in panels):
        _map_scale(figure, below)


def _label_name(label: int, classes: Sequence[str]) -> str:
    if label == IGNORE:
        return "void / ignore"
    return "background" if label == 0 else classes[label - 1]


def _map_scale(figure: "Figure", below: float) -> None:
    """A colour bar from 0 to 1, its upper edge `below` inches above the figure's lower edge."""
    width, height = figure.get_size_inches()
    bar = figure.add_axes([0.5 - 0.5 / width, (below - 0.12) / height, 1 / width, 0.1 / height], label="scale of maps")
    bar.imshow(np.linspace(0, 1, 64)[None], cmap=MAP_COLOURS, aspect="auto")
    bar.set_axis_off()
    for x, text, side in ((-0.04, "map: 0", "right"), (1.04, "1", "left")):
        bar.text(x, 0.5, text, transform=bar.transAxes, ha=side, va="center", fontsize=8)


def flow(boxes: Mapping[str, tuple[float, float, str]], arrows: Sequence[tuple[str, ...]],
         size: tuple[float, float] = (8.0, 2.6), colours: Mapping[str, str] | None = None,
         frames: Mapping[str, Sequence[str]] | None = None) -> "Figure":
    """A block diagram: boxes with text, frames around some of them, arrows between boxes or frames.

    boxes: name -> (x, y, text), centres in a 0..1 square. frames: heading -> names of the boxes inside.
    arrows: (from, to); (from, to, "below") to go around underneath everything; (from, to, "corner") to leave upwards
    or downwards and arrive from the side, (from, to, "turn") the other way round. colours: fill, by box name.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, facecolor="white")
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    places = {name: _text_place(axes, *box) for name, box in boxes.items()}
    for name, place in places.items():
        _rounded(axes, place, fc=(colours or {}).get(name, "#F3F3F3"), ec=INK, zorder=2)
    for heading, inside in (frames or {}).items():
        places[heading] = place = _around([places[name] for name in inside])
        _rounded(axes, place, fc="#FAFAFA", ec=INK, linestyle="--", zorder=1)
        axes.text(place[0] + place[2] / 2, place[1] + place[3] - 0.025, heading, ha="center", va="top",
                  fontsize=_HEADING, weight="bold", zorder=3)
    for start, end, *way in arrows:
        _arrow(axes, _way(places, start, end, *way))
    return figure


def _text_place(axes: "Axes", x: float, y: float, text: str) -> tuple[float, float, float, float]:
    """Write the text; the place (x, y, width, height) of the box that it needs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    words = axes.text(x, y, text, ha="center", va="center", fontsize=_HEADING, zorder=3, linespacing=1.35)
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    extent = words.get_window_extent(renderer).transformed(axes.transData.inverted())
    return extent.x0 - 0.012, extent.y0 - 0.035, extent.width + 0.024, extent.height + 0.07


def _around(places: Sequence[tuple]) -> tuple[float, float, float, float]:
    x0, y0 = (min(place[i] for place in places) for i in (0, 1))
    x1, y1 = (max(place[i] + place[i + 2] for place in places) for i in (0, 1))
    return x0 - 0.018, y0 - 0.05, x1 - x0 + 0.036, y1 - y0 + 0.17


def _rounded(axes: "Axes", place: tuple, **style) -> None:
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(FancyBboxPatch(place[:2], *place[2:], boxstyle="round,pad=0,rounding_size=0.012", lw=1.0,
                                  mutation_aspect=2, **style))


def _arrow(axes: "Axes", points: Sequence[tuple[float, float]]) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    axes.add_patch(FancyArrowPatch(path=Path(points), arrowstyle="-|>", mutation_scale=11, color=INK, lw=1.2,
                                   zorder=2.5))


def _way(places: Mapping[str, tuple], start: str, end: str, kind: str = "") -> list[tuple[float, float]]:
    if kind == "below":
        return _way_below(places, start, end)
    if kind == "corner":
        return _corner(places[start], places[end])
    if kind == "turn":
        return _corner(places[end], places[start])[::-1]
    return [_edge(places[start], places[end]), _edge(places[end], places[start])]


def _corner(start: tuple, end: tuple) -> list[tuple[float, float]]:
    (x0, y0, w0, h0), (x1, y1, w1, h1) = start, end
    left, level = x0 + w0 / 2, y1 + h1 / 2
    return [(left, y0 + h0 if level > y0 else y0), (left, level), (x1 if x1 > left else x1 + w1, level)]


def _way_below(places: Mapping[str, tuple], start: str, end: str) -> list[tuple[float, float]]:
    low = min(place[1] for place in places.values()) - 0.07
    (x0, y0, w0, _), (x1, y1, w1, _) = places[start], places[end]
    left, right = x0 + w0 / 2, x1 + w1 / 2
    return [(left, y0), (left, low), (right, low), (right, y1)]


def _edge(box: tuple, other: tuple) -> tuple[float, float]:
    """The point of a box's border that faces the other box: left or right where they are side by side, else top or
    bottom; where they overlap in height, in the middle of what both have."""
    x, y, w, h = box
    cx, cy, ox, oy = x + w / 2, y + h / 2, other[0] + other[2] / 2, other[1] + other[3] / 2
    beside = other[0] > x + w or other[0] + other[2] < x
    if not beside:
        return (cx, y + h) if oy > cy else (cx, y)
    low, high = max(y, other[1]), min(y + h, other[1] + other[3])
    level = (low + high) / 2 if low < high else cy
    return (x + w, level) if ox > cx else (x, level)
