"""The figures of Lee et al. 2021 (EPS).

Pictures are taken from seed 0 and chosen by rule, never by hand; every alt text states the rule.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from wsss_lab.evaluation.boundaries import boundary_scores
from wsss_lab.evaluation.confusion import divide, iou, mean_iou, nan_mean
from wsss_lab.evaluation.intervals import Interval
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.lab import charts, plots
from wsss_lab.lab.choices import random_images, ranked, spread_ranks
from wsss_lab.lab.plots import Drawn, Panel
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.measure.quantities import NotMeasured, Source
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.lee2021 import tables
from wsss_lab.papers.lee2021.route import DETECTORS, DIAL, SHARES, TAUS, detector_row, trained_rows
from wsss_lab.papers.lee2021.tables import CAM, EPS, confusions, foreground, pseudo
from wsss_lab.papers.shared_pictures import SplitPictures, in_rows, over_seeds, per_cent, when_chart
from wsss_lab.seeds.localisation import BACKGROUND
from wsss_lab.seeds.saliency_supervision import HALF, SHARE, TAU, Selection, overlap_ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WATCHED = 24  # train images whose localisation maps are looked at

#: Rows of Fig. 4, of `backgrounds` and of `learning_curves`, and their names.
COMPARED = {CAM: "CAM", "naive": "naive", EPS: "EPS"}
SWEPT = COMPARED | {"naive": "naive selection"}
CURVES = {EPS: "EPS", "naive": "naive selection", **{row: f"EPS, {row}" for row in lee2021.MOMENTUM_ROWS}}
_DETECTOR_NAMES = {"masks": "learned\nfrom masks", "boxes": "learned\nfrom boxes", "unsupervised": "unsuper-\nvised",
                   "oracle": "as it is"}


def shown_detectors(profile: str) -> list[str]:
    """Detectors and damaged maps that a profile trains a row with, in the order of DETECTORS and DIAL."""
    return [name for name in (*DETECTORS, *DIAL) if detector_row(name) in trained_rows(profile)]


class Pictures(SplitPictures):
    """Panels of the images of one split at seed 0. route: none = the main one."""

    def __init__(self, run: Session, split: str, route: lee2021.Route | None = None):
        self.run, self.split, self.route = run, split, route or run.route
        self.view = run.load(route.world.eval_view(split)) if route else run.view(split)
        self.classes = self.view.classes

    def salient(self, maps: Step, index: int, title: str = "") -> Panel:
        """A saliency map with the border of the salient pixels, as in the map selection."""
        return self.saliency(maps["maps"], index, lambda values: values > HALF, title)

    def pseudo(self, row: str, index: int, title: str = "") -> Panel:
        """Pseudo-mask by a row of ROWS, tags known."""
        return self.stored(self.route.masks(row, self.split)["masks"], index, title)

    def results(self, net: str, images: Sequence[Sequence[int]], names: Sequence[str]) -> "Figure":
        """Image, ground truth and labels by a segmenter that learned from EPS, three images to a row."""
        labels, scores = self.route.prediction(EPS, net, self.split)["masks"], self.segmenter_iou(net)
        return self.grid(images, {"image": self.image, "ground truth": self.truth, "EPS": lambda index: self.stored(
            labels, index, per_cent(scores[index]))}, names, size=1.1)

    def segmenter_iou(self, net: str) -> np.ndarray:
        """Mean IoU (N,) of a segmenter that learned from EPS by image."""
        return self.iou(self.route.score(self.route.prediction(EPS, net, self.split), self.split))


def per_image(run: Session, source: Source, statistic: Callable[[np.ndarray], np.ndarray] = np.asarray) -> np.ndarray:
    """A statistic of what a source gives of each image, at seed 0."""
    return statistic(np.asarray(run.load(source(run.route))))


def saliency_iou(run: Session, of: str, split: str = "val") -> np.ndarray:
    """Foreground IoU (N,) of a detector's salient pixels or of those that EPS estimates."""
    return per_image(run, foreground(of, split=split).sources[0], foreground_iou)


def fig1(run: Session) -> Drawn:
    train, counts = Pictures(run, run.route.scored), per_image(run, tables.covered)[:, 1:]
    found = divide(counts[..., 1], counts.sum(-1))
    cam, restored = (np.where(train.view.tags, per_image(run, confusions(row), iou)[:, 1:], np.nan)
                     for row in (CAM, EPS))
    several = np.isin(np.arange(len(found)), train.with_several_tags)
    gain = np.where(several[:, None], restored - found, np.nan)
    indices = ranked(np.fmax.reduce(gain, 1))[:4]
    places = [int(np.nanargmax(gain[index])) for index in indices]
    rows = [[train.image(index), train.truth(index),
             train.salient(run.route.saliency(split=train.split), index, f"{100 * found[index, c]:.0f} % salient"),
             *(train.pseudo(row, index, per_cent(scores[index, c])) for row, scores in ((CAM, cam), (EPS, restored)))]
            for index, c in zip(indices, places)]
    figure = plots.grid(rows, ["image", "ground truth", "saliency", "CAM", "EPS"], [train.classes[c] for c in places],
                        train.classes, size=1.35)
    missed = found < 0.5
    alt = (f"Pseudo-masks of the {len(rows)} training images with several tags where the IoU of an object by EPS most "
           "exceeds the share of it that is salient, beside saliency (white outline: above one half) and CAM; above "
           f"the pictures, the scores of this object. Over all images, {missed.sum()} of {np.isfinite(found).sum()} "
           "tagged classes are less than half salient; on these the mean IoU is "
           f"{100 * nan_mean(cam[missed]):.0f} % by CAM and {100 * nan_mean(restored[missed]):.0f} % by EPS.")
    return Drawn(figure, "What saliency misses and EPS restores", alt)


SIDE = 64  # pixels of the drawn scene
PICTURE = 0.78  # inches
LINE = 0.17  # inches from line to line in a box
_ROOM = "\n" * 4  # in the text of a box, above its caption: room for a picture


def example() -> dict[str, np.ndarray]:
    """A drawn scene with two tagged objects, a large one that is salient and a small one that isn't, whose maps spill
    over their borders, and what EPS makes of it.

    "image": uint8 (H, W, 3). "saliency", "foreground", "background", "estimated": float (H, W) in [0, 1]. "maps": float
    (3, H, W), of both objects and the background. "overlaps", "chosen": (2,), of the objects' maps.
    """
    image = np.full((SIDE, SIDE, 3), (214, 226, 232), np.float64)
    for shape, colour in ((_disc(0.40, 0.56, 0.26), (0, 114, 178)), (_disc(0.85, 0.26, 0.11), (213, 94, 0))):
        image = np.where((shape > 0.5)[..., None], colour, image)
    saliency = _disc(0.41, 0.55, 0.27, 0.02)
    classes = np.stack([0.95 * _disc(0.37, 0.58, 0.26, 0.05), 0.9 * _disc(0.81, 0.28, 0.13, 0.04)])
    maps = np.concatenate([classes, 1 - classes.sum(0, keepdims=True)])
    batch, target, tags = (torch.tensor(each)[None] for each in (maps, saliency, np.ones(2)))
    estimated, chosen = Selection().estimate(batch, target, tags)
    chosen = chosen[0].numpy()
    return {"image": image.astype(np.uint8), "saliency": saliency, "maps": maps, "estimated": estimated[0].numpy(),
            "overlaps": overlap_ratio(batch[:, :-1], target)[0].numpy(), "chosen": chosen,
            "foreground": classes[chosen].sum(0), "background": classes[~chosen].sum(0) + maps[-1]}


def _disc(x: float, y: float, radius: float, softness: float = 1e-3) -> np.ndarray:
    """A disc in a square of side 1 that goes from 1 to 0 over about four times its softness."""
    rows, columns = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE
    return 1 / (1 + np.exp(np.clip((np.hypot(rows - y, columns - x) - radius) / softness, -30, 30)))


def fig2(_run: Session) -> Drawn:
    shown = example()
    overlaps = shown["overlaps"]
    first, second = (f"overlap {overlap:.2f} {'>' if overlap > TAU else '≤'} {TAU:g}" for overlap in overlaps)
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
    width, height = figure.get_size_inches()
    pictures = shown | dict(zip(("first", "second", "last"), shown["maps"]))
    for name, (x, y, text) in boxes.items():
        if _ROOM in text:
            middle = y + (text.count("\n") + 1 - 3.35) / 2 * LINE / height
            axes = figure.add_axes([x - PICTURE / 2 / width, middle - PICTURE / 2 / height, PICTURE / width,
                                    PICTURE / height])
            plots.draw(axes, Panel(pictures[name], "image" if name == "image" else "heat"), 0)
    alt = ("Diagram: a classifier gives C + 1 localisation maps; the means of the C maps of classes go into the "
           "classification loss against the tags. A saliency detector finds one of two tagged objects: the tag whose "
           f"map overlaps it by {overlaps[0]:.2f} is taken for the foreground, the one with {overlaps[1]:.2f}, not "
           f"above tau = {TAU:g}, counts with the background, and the saliency estimated from both is compared with "
           "the detector's in the saliency loss.")
    return Drawn(figure, "Framework: saliency as pseudo-pixel supervision", alt, "schematic")


def detectors(run: Session) -> Drawn:
    """Maps of the saliency detectors, and the true foreground with known damage."""
    train, names = Pictures(run, "train"), [name for name in shown_detectors(run.profile) if name != "no saliency"]
    scores = {name: saliency_iou(run, name, "train") for name in names}
    indices = spread_ranks(scores["masks"], 6)
    maps = {_DETECTOR_NAMES.get(name, name): lambda index, name=name: train.salient(
        run.route.saliency(name), index, per_cent(scores[name][index])) for name in names}
    learned = sum(name in DETECTORS for name in names)
    groups = [("", 2), ("detectors", learned), ("true foreground", len(names) - learned)]
    figure = train.grid(indices, {"image": train.image, "ground truth": train.truth, **maps}, size=1.15,
                        groups=[each for each in groups if each[1]])
    facts = ", ".join(f"{name} {100 * nan_mean(each):.0f} %" for name, each in scores.items())
    alt = (f"Saliency of {len(indices)} training images by every detector, and their true foreground with known "
           "damage; white outlines: above one half. The images are at evenly spread ranks of the foreground IoU of the "
           f"first detector. Foreground IoU, mean over the training images (tables and dial pool all pixels): {facts}.")
    return Drawn(figure, "Saliency from better to worse", alt)


def fig3(run: Session) -> Drawn:
    val, before, after = Pictures(run, "val"), saliency_iou(run, "masks"), saliency_iou(run, "estimated")
    gain = after - before
    order = ranked(gain)
    middle = max(0, len(order) // 2 - 1)
    parts = {"largest gains": order[:3], "median": order[middle:middle + 2], "largest losses": order[-3:]}
    indices = [int(index) for part in parts.values() for index in part]
    maps = {name: lambda index, maps=maps, scores=scores: val.salient(maps, index, per_cent(scores[index]))
            for name, maps, scores in (("saliency", run.route.saliency(split="val"), before),
                                       ("estimated\nsaliency", run.route.estimated(), after))}
    figure = val.grid(indices, {"image": val.image, "ground truth": val.truth, **maps},
                      [f"{100 * gain[index]:+.0f} pp".replace("-", "−") for index in indices], across=True, size=1.1,
                      groups=[(name, len(part)) for name, part in parts.items()])
    better, worse = (100 * np.mean(change[np.isfinite(gain)]) for change in (gain > 0, gain < 0))
    alt = ("Val images where the saliency estimated by EPS (tags known) gains most foreground IoU over the detector's, "
           f"two at the median, and those where it loses most; white outlines: above one half. It is better on "
           f"{better:.0f} % and worse on {worse:.0f} % of the images, {100 * nan_mean(gain):+.1f} pp on average.")
    return Drawn(figure, "Saliency before and after EPS", alt)


class Watched(Pictures):
    """Random train images with two tags (fixed seed) and what the map selection makes of their localisation maps.

    By place among these images: `images`, their rows in the split; `maps`, float (C + 1, H, W), background last; and of
    both tags, the one with the larger overlap first: `labels` (0-based), `overlaps`, `chosen` for the foreground, and
    `empty`, whether the map is nowhere above a half, so that its overlap is 0.
    """

    def __init__(self, run: Session):
        super().__init__(run, "train")
        rows = np.flatnonzero(self.view.tags.sum(1) == 2)
        self.images = rows[random_images(len(rows), WATCHED, seed=2)].tolist()
        route = self.route
        stored = run.load(route.step(
            lee2021.shown_maps, "maps that are selected", "seeds", view="train", state=route.trained(EPS)["state"],
            saliency=route.saliency()["maps"], backbone=route.scale.main, selection=route.selection(EPS),
            images=self.images))
        maps, overlaps, chosen = (np.asarray(stored[name]) for name in ("maps", "overlaps", "chosen"))
        sizes = map(self.view.size, self.images)
        self.maps = [each[:, :height, :width].astype(np.float32) for each, (height, width) in zip(maps, sizes)]
        both = self.view.tags[self.images].nonzero()[1].reshape(-1, 2)
        order = np.argsort(-np.take_along_axis(overlaps, both, 1), 1, kind="stable")
        self.labels = np.take_along_axis(both, order, 1)
        empty = np.array([(each[:-1] <= HALF).all((1, 2)) for each in self.maps])
        self.overlaps, self.chosen, self.empty = (np.take_along_axis(each, self.labels, 1)
                                                  for each in (overlaps, chosen, empty))

    def cases(self) -> dict[str, int]:
        """The place of an image for each outcome that occurs, by name: one tag in the foreground (overlaps furthest
        apart), both (the smaller overlap largest), neither (the larger one smallest); where both maps are above a half
        somewhere, if there is such an image."""
        larger, smaller = self.overlaps.T
        rules = {"one of\ntwo tags": (1, larger - smaller), "both\ntags": (2, smaller), "neither\ntag": (0, -larger)}
        order = {name: ranked(np.where(self.chosen.sum(1) == count, value - 2 * self.empty.any(1), np.nan))
                 for name, (count, value) in rules.items()}
        return {name: int(places[0]) for name, places in order.items() if len(places)}


def selection(run: Session) -> Drawn:
    """Which tags the map selection takes for the foreground, and the saliency that follows."""
    watched, select = Watched(run), Selection(**run.route.selection(EPS))
    cases, rows = watched.cases(), []
    for place in cases.values():
        index, maps, chosen = watched.images[place], watched.maps[place], watched.chosen[place]
        of_tags = maps[watched.labels[place]]
        foreground, background = of_tags[chosen].sum(0), of_tags[~chosen].sum(0) + maps[-1]
        estimate = select.share * foreground + (1 - select.share) * (1 - background)
        titles = [f"{watched.classes[label]} {value:.2f} {'>' if value > TAU else '≤'} {TAU:g}"
                  for label, value in zip(watched.labels[place], watched.overlaps[place])]
        rows.append([watched.image(index), watched.truth(index), watched.salient(run.route.saliency(), index),
                     *map(_map, of_tags, titles), *map(_map, (maps[-1], foreground, background, estimate))])
    columns = ["image", "ground truth", "saliency", "tag with\nmore overlap", "tag with\nless overlap", "background",
               "$M_{fg}$", "$M_{bg}$", "estimated\nsaliency"]
    figure = plots.grid(rows, columns, list(cases), watched.classes, size=1.15,
                        groups=[("", 3), ("maps, and overlap with saliency", 3), ("Eqs. (2) and (1)", 3)])
    chosen, empty = watched.chosen, watched.empty
    alt = (f"Localisation maps of training images with two tags, their overlap with saliency against tau = {TAU:g}, "
           "and the maps of foreground, background and estimated saliency; white outlines: above one half. Of "
           f"{len(watched.images)} random images (fixed seed) the adaptive selection takes one tag for the foreground "
           f"in {(chosen.sum(1) == 1).sum()}, both in {chosen.all(1).sum()}, none in {(~chosen).all(1).sum()}; of "
           f"{empty.size} maps, {empty.sum()} are nowhere above a half. Shown: the clearest image of each kind.")
    return Drawn(figure, "Which tags explain the saliency", alt)


def _map(values: np.ndarray, title: str = "") -> Panel:
    return Panel(np.clip(values, 0, 1), "heat", title, outline=values > 0.5)


def fig4(run: Session) -> Drawn:
    """Pseudo-masks of CAM, naive selection and EPS: where EPS mends each fault most, and where it fails."""
    train = Pictures(run, run.route.scored)
    shown: dict[int, str] = {}
    rows = []
    for names, scores, sign in faults(run, train):
        change = sign * (scores[-1] - scores[0])
        index = next(int(index) for index in ranked(np.fmax.reduce(change, 1)) if index not in shown)
        place = int(np.nanargmax(change[index]))
        shown[index] = names[place]
        rows.append([train.image(index), train.truth(index),
                     *(train.pseudo(row, index, f"{100 * score[index, place]:.0f} %")
                       for row, score in zip(COMPARED, scores))])
    figure = plots.grid(rows, ["image", "ground truth", *COMPARED.values()], list(shown.values()), train.classes,
                        size=1.35)
    cam, eps = (per_image(run, confusions(row), mean_iou) for row in (CAM, EPS))
    alt = ("Pseudo-masks of the training images where EPS, against CAM, labels least surroundings as an object, gains "
           "most F1 of boundaries, gains most recall of a class, and loses most IoU; these scores are above the "
           f"pictures. EPS has the higher IoU on {100 * np.mean(eps > cam):.0f} % of the images. SEAM, ICD and SGAN, "
           "which the paper shows too, were not run.")
    return Drawn(figure, "Pseudo-masks compared", alt)


def faults(run: Session, train: Pictures) -> list[tuple[list[str], list[np.ndarray], int]]:
    """What the rows of Fig. 4 show: names of P scores, the scores (N, P) of every row of COMPARED, and 1 for their
    largest rise or -1 for their largest fall; nan where an image has no such score."""
    tags, pairs = train.view.tags, []
    with suppress(NotMeasured):
        pairs = tables.pairs_of(lambda source: run.load(source(run.route)))

    def recall(counts: np.ndarray) -> np.ndarray:
        hits = np.diagonal(counts[:, 1:, 1:-1], axis1=1, axis2=2)
        return np.where(tags, divide(hits, counts[:, 1:].sum(-1)), np.nan)

    def surroundings(row: str) -> np.ndarray:
        """Share of an image that is surroundings labelled as the class that keeps to them, on images of the pair; where
        no class does, background labelled as an object."""
        false, present, counts = (per_image(run, tables.contexts(row, name))
                                  for name in ("false", "present", "confusions"))
        pixels = counts.sum((1, 2))
        if not pairs:
            return divide(counts[:, :1, 1:-1].sum(2), pixels[:, None])
        return np.stack([np.where(present[:, k] & tags[:, c], divide(false[:, k, c], pixels), np.nan)
                         for k, c, _ in pairs], 1)

    names = [f"{train.view.context_classes[k]} labelled\nas {train.classes[c]}" for k, c, _ in pairs]
    f1, recalls, whole = ([per_image(run, source(row), statistic) for row in COMPARED] for source, statistic in (
        (tables.boundary_counts, lambda counts: boundary_scores(counts[:, 0]).f1[:, None]), (confusions, recall),
        (confusions, lambda counts: mean_iou(counts)[:, None])))
    return [([f"co-occurrence:\n{name},\nof the image" for name in names or ["background labelled\nas an object"]],
             [surroundings(row) for row in COMPARED], -1),
            (["boundary:\nF1"], f1, 1), ([f"extent:\nrecall of\n{name}" for name in train.classes], recalls, 1),
            (["failure:\nIoU"], whole, -1)]


def backgrounds(run: Session) -> Drawn:
    """MIoU of the pseudo-masks over the constant score of the background, and with the learned background map."""
    figure, (axes,) = charts.side_by_side(1, (6.6, 3.2))
    charts.label(axes, "constant score of the background", "mIoU of the pseudo-masks (%)")
    facts = []
    for number, (row, name) in enumerate(SWEPT.items()):
        swept, colour = sweep(run.results.stack(tables.backgrounds(row)).sum(1)), charts.LINE_COLOURS[number]
        curve = 100 * nan_mean(swept.mean_iou.T)
        best = int(np.nanargmax(curve))
        axes.plot(swept.thresholds, curve, color=colour, lw=1.8, label=name, ls=("--", "-.", "-")[number])
        axes.plot(swept.thresholds[best], curve[best], "o", color=colour, ms=6)
        usual = np.interp(BACKGROUND, swept.thresholds, curve)
        fact = f"{name} {usual:.1f} at {BACKGROUND:g}, {curve[best]:.1f} at {swept.thresholds[best]:.2f}"
        if row != CAM:
            level = pseudo(row, "learned").value(run.results)
            axes.axhline(level, color=colour, lw=1.2, ls=(0, (1, 1.5)), label=f"{name}, learned background")
            fact += f", {level:.1f} with the learned map"
        facts.append(fact)
    charts.mark(axes, BACKGROUND, f"{BACKGROUND:g}, as in the released code")
    axes.plot([], [], "o", ms=6, color="#555555", label="best, chosen on pixel labels")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    charts.legend_beside(axes)
    alt = (f"MIoU of the pseudo-masks, in per cent, against the constant score of the background, {over_seeds(run)}: "
           + "; ".join(facts) + ". Dots: the best constant, chosen on pixel labels.")
    return Drawn(figure, "What is background", alt, "measured")


def robustness(run: Session) -> Drawn:
    score = pseudo(EPS).value(run.results)
    figure, (left, right) = charts.side_by_side(2, (8.4, 3.1), sharey=True, width_ratios=(len(TAUS), len(SHARES)))
    left.axvspan(TAUS.index(0.3), TAUS.index(0.5), color="#EFEFEF", zorder=0, label="robust, says the paper")
    facts = []
    for number, (axes, symbol, name, values, row_of, usual) in enumerate((
            (left, "τ", "tau", TAUS, lee2021.tau_row, TAU), (right, "λ", "lambda", SHARES, lee2021.share_row, SHARE))):
        found = {value: (pseudo(row_of(value)) - pseudo(EPS)).interval(run.results)
                 for value in values if row_of(value) in trained_rows(run.profile)}
        at, colour = [values.index(value) for value in found], charts.LINE_COLOURS[number]
        axes.axhline(0, color="#888888", lw=0.9, zorder=1)
        charts.points(axes, at, found.values(), colour, "o-", bar=1.6, ms=5, lw=1.4, label="EPS, 95 % interval")
        for place, each in zip(at, found.values()):
            if (each.low, each.high) != (0, 0):  # the default itself
                axes.annotate(f"{each.mean:+.1f}".replace("-", "−"), (place, each.mean), (5, 3), ha="left",
                              textcoords="offset points", fontsize=8)
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axes.set_xlim(-0.4, len(values) - 0.4)
        axes.margins(y=0.12)
        axes.plot(values.index(usual), 0, "o", ms=8, mfc="white", mec=colour, mew=1.8, label=f"default, {score:.1f} %")
        charts.label(axes, symbol)
        facts += [f"{name} {value:g} {each.mean:+.1f}" for value, each in found.items() if value != usual]
    left.set_ylabel("mIoU against the default (pp)", fontsize=9)
    charts.legend_outside(left, "upper", 3)
    alt = (f"MIoU of the pseudo-masks as a difference to EPS with tau {TAU:g} and lambda {SHARE:g}, {score:.1f} %, "
           f"{over_seeds(run)}" + (f", with 95 % intervals: {', '.join(facts)} pp." if facts else
                                   "; this profile trains no other value."))
    return Drawn(figure, "Other values of τ and λ", alt, "measured")


def dial(run: Session) -> Drawn:
    names = shown_detectors(run.profile)
    quality = {name: foreground(name, split="train").value(run.results) for name in names}
    scores = {name: pseudo(detector_row(name)).interval(run.results) for name in names}
    figure, (axes,) = charts.side_by_side(1, (6.8, 3.6))
    charts.label(axes, "foreground IoU of the saliency on train (%)", "mIoU of the pseudo-masks (%)")
    for kind, known, colour, marker in (("detectors", DETECTORS, charts.LINE_COLOURS[0], "o"),
                                        ("true foreground, damaged", DIAL, charts.LINE_COLOURS[1], "D")):
        if chosen := [name for name in names if name in known]:
            charts.points(axes, [quality[name] for name in chosen], [scores[name] for name in chosen], colour, marker,
                          bar=1.4, ms=6, label=kind)
    cam = pseudo(CAM).interval(run.results)
    axes.axhspan(cam.low, cam.high, color="#EFEFEF", zorder=0)
    axes.axhline(cam.mean, color="#555555", lw=1.2, ls="--", label="CAM, without saliency")
    axes.set_xlim(-4, 114)
    axes.set_xticks(range(0, 101, 20))
    _name_points(axes, {name: (quality[name], scores[name]) for name in names})
    charts.legend_outside(axes, "upper", 3)
    facts = ", ".join(f"{name} {scores[name].mean:.1f} ({quality[name]:.0f})"
                      for name in sorted(names, key=lambda name: -scores[name].mean))
    alt = (f"MIoU of EPS's pseudo-masks by the saliency that the classifier learned from, {over_seeds(run)}, with 95 % "
           f"intervals, in brackets the foreground IoU of the saliency, in per cent: {facts}. CAM, without saliency: "
           f"{cam.mean:.1f}.")
    return Drawn(figure, "How good saliency has to be", alt, "measured")


def _name_points(axes: "Axes", points: Mapping[str, tuple[float, Interval]]) -> None:
    """Names beside points (x in per cent, y with its bar), as near as no bar and no other name stands."""
    low, high = axes.get_ylim()
    line, letter = 0.055 * (high - low), 1.4  # what a line and a letter take, in units of the axes
    taken = [(x - 0.8, x + 0.8, bar.low, bar.high) for x, bar in points.values()]
    for name, (x, bar) in sorted(points.items(), key=lambda point: -point[1][1].mean):
        for shift, up, side in ((shift, up, side) for shift in range(99) for up in (1, -1) for side in (1, -1)):
            y, near = bar.mean + shift * up * line / 4, x + 1.5 * side
            left, right = sorted((near, near + side * letter * len(name)))
            if not any(left < other[1] and other[0] < right and y - line / 2 < other[3] and other[2] < y + line / 2
                       for other in taken):
                break
        taken.append((left, right, y - line / 2, y + line / 2))
        axes.text(near, y, name, ha="right" if side < 0 else "left", va="center", fontsize=8,
                  bbox={"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.5})
    axes.set_ylim(min(low, *(place[2] for place in taken)), max(high, *(place[3] for place in taken)))


def learning_curves(run: Session) -> Drawn:
    quantities = {"classification": ("classification loss", 1, ".2f"), "saliency": ("saliency loss", 1, ".3f"),
                  "selected tags": ("tags in the foreground (%)", 100, ".0f")}
    rows = [row for row in CURVES if row in trained_rows(run.profile)]
    panels = {title: {CURVES[row]: scale * np.array([seed[name] for seed in run.results.each(tables.curves(row))])
                      for row in rows} for name, (title, scale, _) in quantities.items()}
    total = run.results.first(tables.curves(EPS))["classification"]
    figure = charts.training_panels(panels, len(total), (10.4, 3.2))
    for axes, (_, scale, _) in zip(figure.axes, quantities.values()):
        axes.set_ylim(0, 103 if scale == 100 else None)
    last = max(1, len(total) // 20)
    facts = "; ".join(f"{CURVES[row]} " + ", ".join(
        f"{panels[title][CURVES[row]][:, -last:].mean():{digits}}" for title, _, digits in quantities.values()) + " %"
        for row in rows)
    alt = (f"Classification loss, saliency loss and share of the tags in the foreground against iteration, "
           f"{over_seeds(run)}. At the end: {facts}.")
    return Drawn(figure, "Inside the training", alt, "measured")


def shown_segmenter(profile: str) -> str:
    """The segmenter whose results are shown: the paper's best one, or the only one of the profile."""
    known = lee2021.segmenters(profile)
    return "V1, ResNet101" if "V1, ResNet101" in known else next(iter(known))


def fig5(run: Session) -> Drawn:
    val, net = Pictures(run, "val"), shown_segmenter(run.profile)
    scores = val.segmenter_iou(net)
    order = ranked(scores)
    middle = max(0, len(order) // 2 - 3)
    parts = {"best": order[:3], "median": order[middle:middle + 3], "": order[middle + 3:middle + 6],
             "failures": order[-3:][::-1]}
    figure = val.results(net, list(parts.values()), list(parts))
    alt = (f"Image, ground truth and result of the segmenter ({net}) that learned from EPS, without CRF, on val: the "
           f"three images of highest IoU, six around the median, the three of lowest. The median is "
           f"{100 * np.nanmedian(scores):.0f} %, a quarter of the images is above "
           f"{100 * np.nanquantile(scores, 0.75):.0f} %, a quarter below {100 * np.nanquantile(scores, 0.25):.0f} %.")
    return Drawn(figure, "Results on val, with failures", alt)


def fig6(run: Session) -> Drawn:
    crowded = run.route.crowded
    val, net = Pictures(run, "val", crowded), tables.CROWDED_NET if crowded else shown_segmenter(run.profile)
    facts, scores = run.load(val.route.objects()), val.segmenter_iou(net)
    objects, area = (np.asarray(facts[name]) for name in ("objects", "area"))
    order = np.lexsort((-area, objects))[np.count_nonzero(objects == 0):]
    quarter = max(1, len(order) // 4)
    few, many = order[:quarter], order[-quarter:]
    rows, names = [], []
    for group in (few, many):
        parts = in_rows(group[spread_ranks(scores[group], 6)], 3)
        rows += parts
        names += [span(objects[group], area[group]), ""][:len(parts)]
    figure = val.results(net, rows, names)
    where = (f"val images of a world with {objects.mean():.1f} objects per image" if crowded else
             "val, as this profile has no world of many objects")
    alt = (f"Results of the segmenter ({net}) that learned from EPS, without CRF, on {where}: at evenly spread "
           f"ranks of IoU, from the quarter with the fewest objects and, below, that with the most (the smaller ones "
           f"where the number is the same). Mean IoU: {100 * nan_mean(scores[few]):.0f} % with few, "
           f"{100 * nan_mean(scores[many]):.0f} % with many.")
    return Drawn(figure, "Few objects, and many small ones", alt)


def span(counts: np.ndarray, areas: np.ndarray) -> str:
    """Numbers of objects and their mean area in words, as in "2 to 4 objects, each 5 % of the image"."""
    low, high = counts.min(), counts.max()
    number = f"{low} to {high} objects" if low < high else f"{low} object{'s' if low > 1 else ''}"
    return f"{number},\neach {100 * areas.mean():.0f} % of\nthe image"


#: Artifact id -> function of a session: the paper's own, then those of this project.
FIGURES: dict[str, Callable[[Session], Drawn]] = {
    "fig1": fig1, "fig2": fig2, "fig3": fig3, "fig4": fig4, "fig5": fig5, "fig6": fig6, "detector_maps": detectors,
    "selection": selection, "learning_curves": learning_curves, "backgrounds": backgrounds, "robustness": robustness,
    "dial": dial,
    "when_curves": partial(when_chart, dials=tables.DIALS),
}
