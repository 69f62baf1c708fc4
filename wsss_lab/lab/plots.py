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
    from matplotlib.transforms import Bbox

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
    kind: "measured", "schematic" or "qualitative"."""

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
    under: an image (H, W, 3) shown in grey below a mask or heat map. outline: bool (H, W), its border is drawn.
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

    panels = [panel for row in rows for panel in row if panel]
    if not _drawing.get():  # as many axes as a grid has: the same again and again, as each takes time
        figure = Figure()
        figure.__class__ = type("Undrawn", (Figure,), {"axes": [figure.add_axes((0, 0, 1, 1))] * len(panels)})
        return figure
    wide = max(len(row) for row in rows)
    starts = np.cumsum([0, *(count for _, count in groups)]).tolist()
    columns = columns[:wide]
    groups = [(text, start, min(count, wide - start)) for (text, count), start in zip(groups, starts) if start < wide]
    gaps = np.cumsum([0.14 * (x > 0 and x in starts[:len(groups)]) for x in range(wide)])
    lefts = 0.02 + gaps + np.arange(wide) * (size + _GAP)
    width = lefts[-1] + size + 0.02
    shapes = [np.shape(panel.data)[:2] for panel in panels if panel.kind != "text"]
    tall = size * float(np.clip(np.median([h / w for h, w in shapes]), 0.5, 1.5)) if shapes else size
    step = tall + 0.17 * any(panel.title for panel in panels) + _GAP
    top = 0.05 + 0.17 * max((1 + text.count("\n") for text in columns), default=0)
    top += 0.22 * any(text for text, _, _ in groups)
    height = top + len(rows) * step
    figure = Figure(figsize=(width, height), facecolor="white")

    def write(x: float, y: float, text: str, **style: Any) -> None:  # in inches
        figure.text(x / width, y / height, text, **{"ha": "center", "va": "bottom", "fontsize": _HEADING} | style)

    for y, row in enumerate(rows):
        for x, panel in enumerate(row):
            if panel is not None:
                bottom = height - top - (y + 1) * step + _GAP
                axes = figure.add_axes([lefts[x] / width, bottom / height, size / width, tall / height])
                draw(axes, panel, len(classes))
    for x, text in enumerate(columns):
        write(lefts[x] + size / 2, height - top + 0.04, text)
    for y, text in enumerate(names):
        write(lefts[0] - 0.06, height - top - (y + 1) * step + _GAP + tall / 2, text, ha="right", va="center")
    for text, first, count in groups:
        write((lefts[first] + lefts[first + count - 1] + size) / 2, height - 0.02, text, va="top", weight="bold")
    if note:
        write(lefts[0], height + 0.12, note, ha="left", style="italic")
    _keys(figure, panels, classes)
    return figure


def draw(axes: "Axes", panel: Panel, classes: int) -> None:
    """Draw one panel into matplotlib axes. classes: number of classes, for the colours of a mask."""
    from matplotlib.patches import Rectangle

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
    if panel.under is not None:
        axes.imshow(np.asarray(panel.under).mean(2), cmap="gray", vmin=0, vmax=255, **smooth)
    if panel.kind == "mask":
        axes.imshow(colour_mask(data, classes), interpolation="nearest", alpha=1.0 if panel.under is None else 0.55)
        _outline(axes, (data > 0) & (data != IGNORE), "black", 0.5)
    elif panel.kind == "heat":
        axes.imshow(data, cmap=MAP_COLOURS, vmin=0, vmax=1, alpha=1.0 if panel.under is None else 0.65, **smooth)
    else:
        axes.imshow(data, **smooth)
    if panel.outline is not None:
        _outline(axes, np.asarray(panel.outline, dtype=bool), "white", 1.0)
    if panel.box is not None:
        x0, y0, x1, y1 = panel.box
        for colour, line in (("white", 2.4), ("#D55E00", 1.2)):
            axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ec=colour, lw=line))


def _outline(axes: "Axes", region: np.ndarray, colour: str, width: float) -> None:
    from matplotlib.patheffects import withStroke

    if 0 < region.mean() < 1:
        casing = [withStroke(linewidth=width + 1.2, foreground="black")] if colour == "white" else None
        axes.contour(region.astype(float), levels=[0.5], colors=colour, linewidths=width).set(path_effects=casing)


def _keys(figure: "Figure", panels: Sequence[Panel], classes: Sequence[str]) -> None:
    """Below the pictures: the colours of the labels that occur, and a bar from 0 to 1 as the scale of the maps."""
    from matplotlib.patches import Patch

    width, height = figure.get_size_inches()
    below = -0.06
    labels = sorted({label for panel in panels if panel.kind == "mask" for label in np.unique(panel.data).tolist()})
    if labels:
        names = dict(enumerate(["background", *classes])) | {IGNORE: "void / ignore"}
        words, colours = [names[label] for label in labels], colour_mask(np.array([labels]), len(classes))[0]
        entries = [Patch(facecolor=colour, edgecolor="black", label=word) for colour, word in zip(colours, words)]
        fitting = int(np.clip(width / (0.36 + 0.066 * max(map(len, words))), 1, len(entries)))
        lines = -(-len(entries) // fitting)
        per_line = -(-len(entries) // lines)
        by_column = [entry for column in range(per_line) for entry in entries[column::per_line]]  # a legend's own order
        figure.legend(handles=by_column, loc="upper center", bbox_to_anchor=(0.5, below / height), ncol=per_line,
                      frameon=False, fontsize=8, handlelength=1.1, columnspacing=1.0, borderaxespad=0, borderpad=0)
        below -= 0.17 * lines + 0.03
    if any(panel.kind == "heat" for panel in panels):
        place = 0.5 - 0.5 / width, (below - 0.12) / height, 1 / width, 0.1 / height
        bar = figure.add_axes(place, label="scale of maps")
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
    from matplotlib.path import Path
    from matplotlib.transforms import Bbox

    figure = Figure(figsize=size, facecolor="white")
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    renderer = FigureCanvasAgg(figure).get_renderer()

    def rounded(place: Bbox, **style: Any) -> Bbox:
        axes.add_patch(FancyBboxPatch(place.p0, place.width, place.height, lw=1.0, ec=INK, mutation_aspect=2,
                                      boxstyle="round,pad=0,rounding_size=0.012", **style))
        return place

    places = {}
    for name, (x, y, text) in boxes.items():
        words = axes.text(x, y, text, ha="center", va="center", fontsize=_HEADING, zorder=3, linespacing=1.35)
        needed = words.get_window_extent(renderer).transformed(axes.transData.inverted())
        places[name] = rounded(needed.padded(0.012, 0.035), fc=(colours or {}).get(name, "#F3F3F3"), zorder=2)
    for heading, inside in (frames or {}).items():
        (x0, y0), (x1, y1) = Bbox.union([places[name] for name in inside]).get_points()
        places[heading] = place = rounded(Bbox.from_extents(x0 - 0.018, y0 - 0.05, x1 + 0.018, y1 + 0.12), fc="#FAFAFA",
                                          linestyle="--", zorder=1)
        axes.text((place.x0 + place.x1) / 2, place.y1 - 0.025, heading, ha="center", va="top", fontsize=_HEADING,
                  weight="bold", zorder=3)
    lowest = min(place.y0 for place in places.values()) - 0.07
    for start, end, *way in arrows:
        points = _way(places[start], places[end], lowest, *way)
        axes.add_patch(FancyArrowPatch(path=Path(points), arrowstyle="-|>", mutation_scale=11, color=INK, lw=1.2,
                                       zorder=2.5))
    return figure


def _way(start: "Bbox", end: "Bbox", lowest: float, kind: str = "") -> list[tuple[float, float]]:
    """The points of an arrow from a box to another one."""
    left, right, level = (start.x0 + start.x1) / 2, (end.x0 + end.x1) / 2, (end.y0 + end.y1) / 2
    if kind == "below":
        return [(left, start.y0), (left, lowest), (right, lowest), (right, end.y0)]
    if kind == "corner":
        return [(left, start.y1 if level > start.y0 else start.y0), (left, level),
                (end.x0 if end.x0 > left else end.x1, level)]
    if kind == "turn":
        return _way(end, start, lowest, "corner")[::-1]
    return [_edge(start, end), _edge(end, start)]


def _edge(box: "Bbox", other: "Bbox") -> tuple[float, float]:
    """The point of a box's border that faces the other box: left or right where they are side by side, else top or
    bottom; where they overlap in height, in the middle of what both have."""
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    if other.x0 <= box.x1 and other.x1 >= box.x0:
        return x, box.y1 if other.y0 + other.y1 > 2 * y else box.y0
    low, high = max(box.y0, other.y0), min(box.y1, other.y1)
    return box.x1 if other.x0 > box.x1 else box.x0, (low + high) / 2 if low < high else y
