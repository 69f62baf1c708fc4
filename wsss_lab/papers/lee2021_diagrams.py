"""The diagram of the framework of Lee et al. 2021 (Fig. 2), filled with maps of a drawn scene; it needs no run."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from wsss_lab.lab import plots
from wsss_lab.lab.plots import Drawn, Panel
from wsss_lab.lab.session import Session
from wsss_lab.seeds.saliency_supervision import TAU, Selection, overlap_ratio

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 64  # pixels of the drawn scene
PICTURE = 0.78  # inches
LINE = 0.17  # inches from line to line in a box
_ROOM = "\n" * 4  # in the text of a box, above its caption: room for a picture


class Example(NamedTuple):
    """A drawn scene with two tagged objects of which saliency finds one, and what EPS makes of it.

    image: uint8 (H, W, 3). saliency, foreground, background, estimated: float (H, W) in [0, 1]. maps: float (3, H, W),
    of both objects and the background. overlaps, chosen: (2,), of the objects' maps.
    """

    image: np.ndarray
    saliency: np.ndarray
    maps: np.ndarray
    overlaps: np.ndarray
    chosen: np.ndarray
    foreground: np.ndarray
    background: np.ndarray
    estimated: np.ndarray


def example() -> Example:
    """A large object that is salient and a small one that isn't, with maps that spill over their borders."""
    large, small = _disc(0.40, 0.56, 0.26), _disc(0.85, 0.26, 0.11)
    image = np.full((SIDE, SIDE, 3), (214, 226, 232), np.float64)
    for shape, colour in ((large, (0, 114, 178)), (small, (213, 94, 0))):
        image = np.where((shape > 0.5)[..., None], colour, image)
    saliency = _disc(0.41, 0.55, 0.27, 0.02)
    classes = np.stack([0.95 * _disc(0.37, 0.58, 0.26, 0.05), 0.9 * _disc(0.81, 0.28, 0.13, 0.04)])
    maps = np.concatenate([classes, 1 - classes.sum(0, keepdims=True)])
    batch, target, tags = (torch.tensor(each)[None] for each in (maps, saliency, np.ones(2)))
    estimated, chosen = Selection().estimate(batch, target, tags)
    overlaps, chosen = overlap_ratio(batch[:, :-1], target)[0].numpy(), chosen[0].numpy()
    return Example(image.astype(np.uint8), saliency, maps, overlaps, chosen, classes[chosen].sum(0),
                   classes[~chosen].sum(0) + maps[-1], estimated[0].numpy())


def _disc(x: float, y: float, radius: float, softness: float = 1e-3) -> np.ndarray:
    """A disc in a square of side 1 that goes from 1 to 0 over about four times its softness."""
    rows, columns = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE
    return 1 / (1 + np.exp(np.clip((np.hypot(rows - y, columns - x) - radius) / softness, -30, 30)))


def fig2(_run: Session) -> Drawn:
    """Diagram of the framework, with the maps of a drawn scene."""
    shown = example()
    first, second = (f"overlap {overlap:.2f} {'>' if overlap > TAU else '≤'} {TAU:g}" for overlap in shown.overlaps)
    maps = "C + 1 localisation maps"
    boxes = {
        "image": (0.062, 0.553, _ROOM + "training image"),
        "net": (0.188, 0.553, "Classifier\nwith C + 1\nmaps"),
        "first": (0.35, 0.765, f"{_ROOM}tag 1: {first}"),
        "second": (0.35, 0.553, f"{_ROOM}tag 2: {second}"),
        "last": (0.35, 0.341, _ROOM + "background"),
        "tags": (0.915, 0.90, "Image tags"),
        "class loss": (0.655, 0.90, "Classification loss (Eq. 4)\nof the means of the C maps of classes"),
        "select": (0.53, 0.553, "Map selection\n(Eq. 2)"),
        "foreground": (0.682, 0.675, _ROOM + "foreground: tag 1"),
        "background": (0.682, 0.431, _ROOM + "background + tag 2"),
        "estimated": (0.85, 0.553, _ROOM + "estimated saliency\n(Eq. 1)"),
        "detector": (0.188, 0.205, "Saliency\ndetector"),
        "saliency": (0.53, 0.205, _ROOM + "saliency map"),
        "saliency loss": (0.85, 0.205, "Saliency loss (Eq. 3)\nmean squared difference"),
    }
    arrows = [("image", "net"), ("net", maps), (maps, "class loss"), ("tags", "class loss"), (maps, "select"),
              ("select", "foreground"), ("select", "background"), ("foreground", "estimated"),
              ("background", "estimated"), ("estimated", "saliency loss"), ("image", "detector", "corner"),
              ("detector", "saliency", "below"), ("saliency", "select"), ("saliency", "saliency loss")]
    colours = {"net": "#F6D5C8", "class loss": "#FCE8BF", "tags": "#FCE8BF", "select": "#CFE9DF",
               "detector": "#D3EBF8", "saliency": "#D3EBF8", "saliency loss": "#D3EBF8"}
    figure = plots.flow(boxes, arrows, (11.4, 6.3), colours, {maps: ("first", "second", "last")})
    pictures = {"image": Panel(shown.image), "first": _map(shown.maps[0]), "second": _map(shown.maps[1]),
                "last": _map(shown.maps[2]), "foreground": _map(shown.foreground), "background": _map(shown.background),
                "estimated": _map(shown.estimated), "saliency": _map(shown.saliency)}
    for name, panel in pictures.items():
        _put(figure, boxes[name], panel)
    alt = ("Diagram: a classifier gives C + 1 localisation maps; the means of the C maps of classes go into the "
           "classification loss against the tags. A saliency detector finds one of two tagged objects: the tag whose "
           f"map overlaps it by {shown.overlaps[0]:.2f} is taken for the foreground, the one with "
           f"{shown.overlaps[1]:.2f}, not above tau = {TAU:g}, counts with the background, and the saliency estimated "
           "from both is compared with the detector's in the saliency loss.")
    return Drawn(figure, "Framework: saliency as pseudo-pixel supervision", alt, "schematic")


def _map(values: np.ndarray) -> Panel:
    return Panel(values, "heat")


def _put(figure: "Figure", box: tuple[float, float, str], panel: Panel) -> None:
    """A picture in the upper part of a box of `plots.flow` whose text begins with `_ROOM`."""
    width, height = figure.get_size_inches()
    x, y, text = box
    lines = text.count("\n") + 1
    middle = y + (lines - 3.35) / 2 * LINE / height
    axes = figure.add_axes([x - PICTURE / 2 / width, middle - PICTURE / 2 / height, PICTURE / width, PICTURE / height])
    plots.draw(axes, panel, 0)
