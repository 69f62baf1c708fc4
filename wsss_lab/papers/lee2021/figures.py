"""The figures of Lee et al. 2021 (EPS) from what a session has stored: `run.compute(*steps(run))` comes first.

Pictures are taken from seed 0 and chosen by rule, never by hand; every alt text states the rule. Charts of measured
numbers are in lee2021_charts, the diagram of the framework, which needs no run, in lee2021_diagrams.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from wsss_lab.evaluation.boundaries import boundary_scores
from wsss_lab.evaluation.co_occurrence import co_occurring_pairs
from wsss_lab.evaluation.confusion import divide, iou, mean_iou, nan_mean
from wsss_lab.evaluation.intervals import Interval, difference_interval, interval
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.lab import charts, plots
from wsss_lab.lab.choices import random_images, ranked, spread_ranks
from wsss_lab.lab.plots import Drawn, Panel
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers.lee2021.route import (
    DETECTORS,
    DIAL,
    MOMENTUM_ROWS,
    SHARES,
    TAUS,
    Route,
    detector_row,
    segmenters,
    share_row,
    shown_maps,
    tau_row,
    trained_rows,
)
from wsss_lab.papers.lee2021.tables import Evidence
from wsss_lab.papers.shared_pictures import SplitPictures, over_seeds, per_cent
from wsss_lab.seeds.localisation import BACKGROUND
from wsss_lab.seeds.saliency_supervision import HALF, SHARE, TAU, Selection, overlap_ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


WATCHED = 24  # train images whose localisation maps are looked at
SALIENT = 127  # of 255; a pixel with more is salient, as in the map selection


def shown_detectors(profile: str) -> list[str]:
    """Detectors and damaged maps that a profile trains a row with, in the order of DETECTORS and DIAL."""
    return [name for name in (*DETECTORS, *DIAL) if detector_row(name) in trained_rows(profile)]


def shown_segmenter(profile: str) -> str:
    """The segmenter whose results are shown: the paper's best one, or the only one of the profile."""
    names = segmenters(profile)
    return "V1, ResNet101" if "V1, ResNet101" in names else next(iter(names))


def crowded_route(run: Session) -> tuple[Route, str]:
    """The route of the world of many objects and its segmenter; the main route and its own where there is none."""
    crowded = run.route.crowded
    return (run.route, shown_segmenter(run.profile)) if crowded is None else (crowded, "V2, VGG16")


class Pictures(SplitPictures):
    """Panels of the images of one split at seed 0, and the scores by which images are chosen, each (N,)."""

    # --- panels --------------------------------------------------------------------------------------------------

    def saliency(self, detector: str, index: int, title: str = "") -> Panel:
        """A detector's map with the border of the salient pixels."""
        return self._salient(self.route.saliency(detector, self.split), index, title)

    def estimated(self, index: int, title: str = "") -> Panel:
        """The saliency that the localisation maps of EPS stand for."""
        return self._salient(self.route.estimated("adaptive", self.split), index, title)

    def _salient(self, step: Step, index: int, title: str) -> Panel:
        values = self.cut(self.run.load(step["maps"])[index], index)
        return Panel(values / 255, "heat", title, outline=values > SALIENT)

    def pseudo(self, row: str, index: int, title: str = "") -> Panel:
        """Pseudo-mask by a row of lee2021.ROWS, tags known."""
        return self.stored(self.route.masks(row, self.split)["masks"], index, title)

    def prediction(self, net: str, index: int, title: str = "") -> Panel:
        """Labels by a segmenter that learned from EPS."""
        return self.stored(self.route.prediction("adaptive", net, self.split)["masks"], index, title)

    # --- saliency ------------------------------------------------------------------------------------------------

    def saliency_iou(self, detector: str) -> np.ndarray:
        """Foreground IoU of a detector's salient pixels, nan where there is nothing to find and nothing is found."""
        return self._foreground_iou(self.route.saliency(detector, self.split))

    @cached_property
    def estimated_iou(self) -> np.ndarray:
        """The same of the saliency that EPS estimates."""
        return self._foreground_iou(self.route.estimated("adaptive", self.split))

    def _foreground_iou(self, maps: Step) -> np.ndarray:
        return foreground_iou(np.asarray(self.run.load(self.route.saliency_score(maps, self.split)["counts"])))

    @cached_property
    def salient_share(self) -> np.ndarray:
        """Share of the pixels of each class that the detector finds salient: (N, C), nan without pixels."""
        covered = self.route.covered(self.route.saliency("masks", self.split), self.split)
        counts = np.asarray(self.run.load(covered["confusions"]))[:, 1:]
        return divide(counts[..., 1], counts.sum(-1))

    # --- pseudo-masks --------------------------------------------------------------------------------------------

    def _confusions(self, row: str) -> np.ndarray:
        score = self.route.score(self.route.masks(row, self.split), self.split)
        return np.asarray(self.run.load(score["confusions"]))

    def class_iou(self, row: str) -> np.ndarray:
        """IoU of each tagged class: (N, C), nan for other classes."""
        return np.where(self.view.tags, iou(self._confusions(row))[:, 1:], np.nan)

    def recall(self, row: str) -> np.ndarray:
        """Recall of each tagged class: (N, C), nan for other classes and those without a pixel."""
        counts = self._confusions(row)[:, 1:]
        hits = np.diagonal(counts[..., 1:-1], axis1=1, axis2=2)
        return np.where(self.view.tags, divide(hits, counts.sum(-1)), np.nan)

    def image_iou(self, row: str) -> np.ndarray:
        """Mean IoU over the labels that an image shows or is said to show."""
        return mean_iou(self._confusions(row))

    def boundary_f1(self, row: str) -> np.ndarray:
        """F1 of the boundaries, at the smaller tolerance."""
        step = self.route.boundaries(self.route.masks(row, self.split), self.split)
        return boundary_scores(np.asarray(self.run.load(step["counts"]))[:, 0]).f1

    def _contexts(self, row: str) -> dict[str, np.ndarray]:
        stored = self.run.load(self.route.contexts(self.route.masks(row, self.split), self.split))
        return {name: np.asarray(stored[name]) for name in ("false", "present", "known", "confusions")}

    @cached_property
    def _pairs(self) -> list[tuple[int, int]]:
        found = self._contexts("adaptive")
        return co_occurring_pairs(self.view.tags[found["known"]], found["present"][found["known"]])

    @property
    def surroundings(self) -> list[str]:
        """What `false_surroundings` counts, in words."""
        names = [f"{self.view.context_classes[k]} labelled\nas {self.classes[c]}" for k, c in self._pairs]
        return names or ["background labelled\nas an object"]

    def false_surroundings(self, row: str) -> np.ndarray:
        """Share of an image that is surroundings labelled as the class that keeps to them: (N, pairs), nan outside the
        images of a pair; (N, 1) for background labelled as an object where no class keeps to its surroundings."""
        found = self._contexts(row)
        pixels = found["confusions"].sum((1, 2))
        if not self._pairs:
            return divide(found["confusions"][:, :1, 1:-1].sum(2), pixels[:, None])
        return np.stack([np.where(found["present"][:, k] & self.view.tags[:, c],
                                  divide(found["false"][:, k, c], pixels), np.nan) for k, c in self._pairs], 1)

    # --- segmenters ----------------------------------------------------------------------------------------------

    def segmenter_iou(self, net: str) -> np.ndarray:
        """Mean IoU of a segmenter that learned from EPS, over the labels that an image shows or is said to show."""
        score = self.route.score(self.route.prediction("adaptive", net, self.split), self.split)
        return mean_iou(np.asarray(self.run.load(score["confusions"])))


class Crowded(Pictures):
    """Val images of the world of many objects; of the main world where there is no other.

    net: the segmenter that is shown there. stands_in: whether it is the main world.
    """

    def __init__(self, run: Session):
        self.run, self.split = run, "val"
        self.route, self.net = crowded_route(run)
        self.stands_in = self.route is run.route
        reference = self.route.world.eval_view(self.split)
        run.compute(*reference.steps)
        self.view = reference.load(run.store)
        self.classes = self.view.classes

    @cached_property
    def objects(self) -> tuple[np.ndarray, np.ndarray]:
        """How many objects the images show, and how large they are: numbers and mean shares of the image, (N,) each."""
        facts = self.run.load(self.route.objects(self.split))
        return np.asarray(facts["objects"]), np.asarray(facts["area"])


class Watched(Pictures):
    """Train images whose localisation maps are looked at; pictures of what the map selection does with them.

    images: their rows, `WATCHED` random ones (fixed seed) of those with two tags.
    """

    def __init__(self, run: Session):
        super().__init__(run, "train")
        rows = np.flatnonzero(self.view.tags.sum(1) == 2)
        self.images = tuple(int(rows[place]) for place in random_images(len(rows), WATCHED, seed=2))

    def step(self) -> Step:
        """The step that makes the maps."""
        route = self.route
        return Step("seeds", shown_maps, {"backbone": route.backbone, "selection": route.selection("adaptive"),
                                          "images": list(self.images)},
                    {"view": route.world.train_view("train"), "state": route.trained("adaptive")["state"],
                     "saliency": route.saliency("masks")["maps"]}, f"maps that are selected, seed {route.seed}")

    def labels(self, index: int) -> list[int]:
        """The classes (0-based) of an image, the one with the larger overlap first."""
        tags = np.flatnonzero(self.view.tags[index])
        return tags[np.argsort(-self.overlap(index)[tags], kind="stable")].tolist()

    def maps(self, index: int) -> np.ndarray:
        """Localisation maps on the image's pixels: float (C + 1, H, W), background last."""
        height, width = self.view.size(index)
        return self._stored("maps", index)[:, :height, :width].astype(np.float32)

    def overlap(self, index: int) -> np.ndarray:
        """Share of each map's area that is salient: (C,)."""
        return self._stored("overlaps", index)

    def chosen(self, index: int) -> np.ndarray:
        """Which tags are foreground: bool (C,)."""
        return self._stored("chosen", index)

    @cached_property
    def _found(self) -> dict[str, np.ndarray]:
        stored = self.run.load(self.step())
        return {name: np.asarray(stored[name]) for name in ("maps", "overlaps", "chosen")}

    def _stored(self, name: str, index: int) -> np.ndarray:
        return self._found[name][self.images.index(index)]

    def empty(self, index: int) -> np.ndarray:
        """Which maps are nowhere above a half, so that their overlap is 0: bool (C,)."""
        return (self.maps(index)[:-1] <= HALF).all((1, 2))

    def cases(self) -> dict[str, int]:
        """An image for each outcome that occurs, by name: one tag in the foreground (overlaps furthest apart), both
        (the smaller overlap largest), neither (the larger one smallest); where both maps are above a half somewhere, if
        there is such an image."""
        labels = [self.labels(index) for index in self.images]
        overlaps, chosen, empty = (np.array([each(index)[pair] for index, pair in zip(self.images, labels)])
                                   for each in (self.overlap, self.chosen, self.empty))
        rules = {"one of\ntwo tags": (1, overlaps[:, 0] - overlaps[:, 1]), "both\ntags": (2, overlaps[:, 1]),
                 "neither\ntag": (0, -overlaps[:, 0])}
        order = {name: ranked(np.where(chosen.sum(1) == count, value - 2 * empty.any(1), np.nan))
                 for name, (count, value) in rules.items()}
        return {name: self.images[places[0]] for name, places in order.items() if len(places)}


#: Rows of `backgrounds`, and the curves of `learning_curves`: row -> name.
SWEPT = {"CAM": "CAM", "naive": "naive selection", "adaptive": "EPS"}
CURVES = {"adaptive": "EPS", "naive": "naive selection", **{row: f"EPS, {row}" for row in MOMENTUM_ROWS}}


def chart_steps(run: Session) -> list[Step]:
    """What the charts show, at all seeds."""
    trained, made = trained_rows(run.profile), []
    settings = [*map(tau_row, TAUS), *map(share_row, SHARES), *map(detector_row, shown_detectors(run.profile))]
    for route in run.routes:
        made += [route.score(route.masks(row)) for row in ("CAM", *settings) if row in trained]
        made += [route.score(route.masks(row), output="learned") for row in SWEPT if row != "CAM"]
        made += [route.localisation_score(row) for row in SWEPT]
        made += [route.saliency_score(route.saliency(name, "train"), "train") for name in shown_detectors(run.profile)]
        made += [route.trained(row) for row in CURVES if row in trained]
    return made


# --- settings ----------------------------------------------------------------------------------------------------

def robustness(run: Session) -> Drawn:
    """MIoU of the pseudo-masks over tau and over lambda, as a difference to the default."""
    from matplotlib.figure import Figure

    evidence, trained = Evidence(run), trained_rows(run.profile)
    default = evidence.pseudo("adaptive")
    score = 100 * mean_iou(default.sum(1)).mean()
    figure = Figure(figsize=(8.4, 3.1), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(len(TAUS), len(SHARES)))
    left.axvspan(TAUS.index(0.3), TAUS.index(0.5), color="#EFEFEF", zorder=0, label="robust, says the paper")
    facts = []
    for number, (axes, symbol, name, values, row_of, usual) in enumerate((
            (left, "τ", "tau", TAUS, tau_row, TAU), (right, "λ", "lambda", SHARES, share_row, SHARE))):
        found = {value: difference_interval(evidence.pseudo(row_of(value)), default, mean_iou).percent("pp")
                 for value in values if row_of(value) in trained}
        _differences(axes, values, found, charts.LINE_COLOURS[number])
        axes.plot(values.index(usual), 0, "o", ms=8, mfc="white", mec=charts.LINE_COLOURS[number], mew=1.8,
                  label=f"default, {score:.1f} %")
        axes.set_xlabel(symbol, fontsize=9)
        facts += [f"{name} {value:g} {each.mean:+.1f}" for value, each in found.items() if value != usual]
    left.set_ylabel("mIoU against the default (pp)", fontsize=9)
    figure.legend(*left.get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside upper center", ncol=3)
    alt = (f"MIoU of the pseudo-masks as a difference to EPS with tau {TAU:g} and lambda {SHARE:g}, {score:.1f} %, "
           f"{over_seeds(run)}" + (f", with 95 % intervals: {', '.join(facts)} pp." if facts else
                                   "; this profile trains no other value."))
    return Drawn(figure, "Other values of τ and λ", alt, "measured")


def _differences(axes: "Axes", values: tuple[float, ...], found: dict[float, Interval], colour: str) -> None:
    """Points joined by a line, with their intervals and numbers; the values stand at equal distances."""
    at = [values.index(value) for value in found]
    charts.light_grid(axes)
    axes.axhline(0, color="#888888", lw=0.9, zorder=1)
    axes.vlines(at, [each.low for each in found.values()], [each.high for each in found.values()], color=colour, lw=1.6)
    axes.plot(at, [each.mean for each in found.values()], "o-", color=colour, ms=5, lw=1.4, label="EPS, 95 % interval")
    for place, each in zip(at, found.values()):
        if (each.low, each.high) != (0, 0):  # the default itself
            axes.annotate(f"{each.mean:+.1f}".replace("-", "−"), (place, max(each.mean, each.high)), (0, 3), ha="left",
                          textcoords="offset points", fontsize=8)
    axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    axes.set_xlim(-0.4, len(values) - 0.4)
    axes.margins(y=0.12)


def dial(run: Session) -> Drawn:
    """MIoU of the pseudo-masks against the quality of the saliency that they were learned from."""
    from matplotlib.figure import Figure

    evidence, names = Evidence(run), shown_detectors(run.profile)
    quality = {name: 100 * foreground_iou(evidence.saliency(name, "train").sum(1)).mean() for name in names}
    scores = {name: interval(evidence.pseudo(detector_row(name)), mean_iou).percent() for name in names}
    figure = Figure(figsize=(6.8, 3.6), facecolor="white", layout="constrained")
    axes = figure.subplots()
    charts.light_grid(axes)
    for kind, colour, marker in (("detectors", charts.LINE_COLOURS[0], "o"),
                                 ("true foreground, damaged", charts.LINE_COLOURS[1], "D")):
        chosen = [name for name in names if (name in DETECTORS) == (kind == "detectors")]
        if not chosen:
            continue
        at, found = [quality[name] for name in chosen], [scores[name] for name in chosen]
        axes.vlines(at, [each.low for each in found], [each.high for each in found], color=colour, lw=1.4)
        axes.plot(at, [each.mean for each in found], marker, color=colour, ms=6, label=kind)
    cam = interval(evidence.pseudo("CAM"), mean_iou).percent()
    axes.axhspan(cam.low, cam.high, color="#EFEFEF", zorder=0)
    axes.axhline(cam.mean, color="#555555", lw=1.2, ls="--", label="CAM, without saliency")
    axes.set_xlim(-4, 114)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("foreground IoU of the saliency on train (%)", fontsize=9)
    axes.set_ylabel("mIoU of the pseudo-masks (%)", fontsize=9)
    _name_points(axes, {name: (quality[name], scores[name].mean) for name in names})
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside upper center", ncol=3)
    facts = ", ".join(f"{name} {scores[name].mean:.1f} ({quality[name]:.0f})"
                      for name in sorted(names, key=lambda name: -scores[name].mean))
    alt = (f"MIoU of EPS's pseudo-masks by the saliency that the classifier learned from, {over_seeds(run)}, with 95 % "
           f"intervals, in brackets the foreground IoU of the saliency, in per cent: {facts}. CAM, without saliency: "
           f"{cam.mean:.1f}.")
    return Drawn(figure, "How good saliency has to be", alt, "measured")


def _name_points(axes: "Axes", points: dict[str, tuple[float, float]]) -> None:
    """Names beside points (x in per cent, y), of detectors at the left, others at the right; moved down where another
    name stands."""
    low, high = axes.get_ylim()
    line, letter = 0.055 * (high - low), 1.4  # what a line and a letter take, in units of the axes
    taken: list[tuple[float, float, float]] = []
    for name, (x, y) in sorted(points.items(), key=lambda point: -point[1][1]):
        side = -1 if name in DETECTORS else 1
        near, far = x + 1.5 * side, x + side * (1.5 + letter * len(name))
        left, right, level = min(near, far), max(near, far), y
        while any(left < other[1] and other[0] < right and abs(level - other[2]) < line for other in taken):
            level -= line / 4
        taken.append((left, right, level))
        axes.text(near, level, name, ha="right" if side < 0 else "left", va="center", fontsize=8)
    axes.set_ylim(min(low, *(level - line for _, _, level in taken)), high)


# --- pseudo-masks ------------------------------------------------------------------------------------------------

def backgrounds(run: Session) -> Drawn:
    """MIoU of the pseudo-masks over the constant score of the background, and with the learned background map."""
    from matplotlib.figure import Figure

    evidence = Evidence(run)
    figure = Figure(figsize=(6.6, 3.2), facecolor="white", layout="constrained")
    axes = figure.subplots()
    charts.light_grid(axes)
    facts = []
    for number, (row, name) in enumerate(SWEPT.items()):
        swept, colour = sweep(evidence.counts(row).sum(1)), charts.LINE_COLOURS[number]
        curve = 100 * nan_mean(swept.mean_iou.T)
        best = int(np.nanargmax(curve))
        axes.plot(swept.thresholds, curve, color=colour, lw=1.8, label=name, ls=("--", "-.", "-")[number])
        axes.plot(swept.thresholds[best], curve[best], "o", color=colour, ms=6)
        usual = np.interp(BACKGROUND, swept.thresholds, curve)
        fact = f"{name} {usual:.1f} at {BACKGROUND:g}, {curve[best]:.1f} at {swept.thresholds[best]:.2f}"
        if row != "CAM":
            level = 100 * mean_iou(evidence.pseudo(row, output="learned").sum(1)).mean()
            axes.axhline(level, color=colour, lw=1.2, ls=(0, (1, 1.5)), label=f"{name}, learned background")
            fact += f", {level:.1f} with the learned map"
        facts.append(fact)
    axes.axvline(BACKGROUND, color="#888888", lw=0.9, ls=(0, (2, 2)), zorder=1,
                 label=f"{BACKGROUND:g}, as in the released code")
    axes.plot([], [], "o", ms=6, color="#555555", label="best, chosen on pixel labels")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("constant score of the background", fontsize=9)
    axes.set_ylabel("mIoU of the pseudo-masks (%)", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0)
    alt = (f"MIoU of the pseudo-masks, in per cent, against the constant score of the background, {over_seeds(run)}: "
           + "; ".join(facts) + ". Dots: the best constant, chosen on pixel labels.")
    return Drawn(figure, "What is background", alt, "measured")


# --- training ----------------------------------------------------------------------------------------------------

def learning_curves(run: Session) -> Drawn:
    """Both losses and the share of selected tags, over the training."""
    from matplotlib.figure import Figure

    evidence = Evidence(run)
    curves = {row: evidence.curves(row) for row in CURVES if row in trained_rows(run.profile)}
    figure = Figure(figsize=(10.4, 3.2), facecolor="white", layout="constrained")
    quantities = {"classification": ("classification loss", 1), "saliency": ("saliency loss", 1),
                  "selected tags": ("tags in the foreground (%)", 100)}
    for axes, (name, (title, scale)) in zip(figure.subplots(1, 3), quantities.items()):
        for number, (row, each) in enumerate(curves.items()):
            charts.training_curve(axes, scale * each[name], CURVES[row], number, each[name].shape[1],
                                  linestyle=charts.LINE_STYLES[number])
        charts.light_grid(axes)
        axes.set_xlim(0, each[name].shape[1])
        axes.set_ylim(0, 103 if scale == 100 else None)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("iteration", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside lower center",
                  ncol=len(curves), handlelength=2.6)
    last = {row: {name: values[:, -max(1, values.shape[1] // 20):].mean() for name, values in each.items()}
            for row, each in curves.items()}
    facts = "; ".join(f"{CURVES[row]} {each['classification']:.2f}, {each['saliency']:.3f}, "
                      f"{100 * each['selected tags']:.0f} %" for row, each in last.items())
    alt = (f"Classification loss, saliency loss and share of the tags in the foreground against iteration, "
           f"{over_seeds(run)}. At the end: {facts}.")
    return Drawn(figure, "Inside the training", alt, "measured")


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
    pictures = {"image": Panel(shown.image), "first": _heat(shown.maps[0]), "second": _heat(shown.maps[1]),
                "last": _heat(shown.maps[2]), "foreground": _heat(shown.foreground),
                "background": _heat(shown.background),
                "estimated": _heat(shown.estimated), "saliency": _heat(shown.saliency)}
    for name, panel in pictures.items():
        _put(figure, boxes[name], panel)
    alt = ("Diagram: a classifier gives C + 1 localisation maps; the means of the C maps of classes go into the "
           "classification loss against the tags. A saliency detector finds one of two tagged objects: the tag whose "
           f"map overlaps it by {shown.overlaps[0]:.2f} is taken for the foreground, the one with "
           f"{shown.overlaps[1]:.2f}, not above tau = {TAU:g}, counts with the background, and the saliency estimated "
           "from both is compared with the detector's in the saliency loss.")
    return Drawn(figure, "Framework: saliency as pseudo-pixel supervision", alt, "schematic")


def _heat(values: np.ndarray) -> Panel:
    return Panel(values, "heat")


def _put(figure: "Figure", box: tuple[float, float, str], panel: Panel) -> None:
    """A picture in the upper part of a box of `plots.flow` whose text begins with `_ROOM`."""
    width, height = figure.get_size_inches()
    x, y, text = box
    lines = text.count("\n") + 1
    middle = y + (lines - 3.35) / 2 * LINE / height
    axes = figure.add_axes([x - PICTURE / 2 / width, middle - PICTURE / 2 / height, PICTURE / width, PICTURE / height])
    plots.draw(axes, panel, 0)


COMPARED = {"CAM": "CAM", "naive": "naive", "adaptive": "EPS"}  # rows of Fig. 4 and their names
_DETECTOR_NAMES = {"masks": "learned\nfrom masks", "boxes": "learned\nfrom boxes", "unsupervised": "unsuper-\nvised",
                   "oracle": "as it is"}


def steps(run: Session) -> list[Step]:
    """Everything that figures and charts show: scores of all seeds, and pictures of seed 0."""
    route, scored, net = run.route, run.route.scored, shown_segmenter(run.profile)
    crowded, many = crowded_route(run)
    pseudo = [step for row in COMPARED for made in [route.masks(row)]
              for step in (route.score(made), route.boundaries(made), route.contexts(made))]
    compared = [route.saliency_score(maps) for maps in (route.saliency("masks", "val"), route.estimated())]
    segmented = [route.score(route.prediction("adaptive", net), "val"),
                 crowded.score(crowded.prediction("adaptive", many), "val"), crowded.objects()]
    return [*saliency_steps(run), route.covered(route.saliency("masks", scored)), *pseudo, *compared, *segmented,
            Watched(run).step(), *chart_steps(run)]


def saliency_steps(run: Session) -> list[Step]:
    """What `detectors` shows; no classifier is trained for it."""
    route = run.route
    return [route.saliency_score(route.saliency(name, "train"), "train") for name in shown_detectors(run.profile)]


# --- the idea ----------------------------------------------------------------------------------------------------

def fig1(run: Session) -> Drawn:
    """Objects that saliency misses and EPS restores, beside CAM."""
    train = Pictures(run, run.route.scored)
    found, restored = train.salient_share, train.class_iou("adaptive")
    several = np.isin(np.arange(len(found)), train.with_several_tags)
    gain = np.where(several[:, None], restored - found, np.nan)
    indices = ranked(_largest(gain))[:4]
    cam, rows, names = train.class_iou("CAM"), [], []
    for index, c in zip(indices, (_place(gain, index) for index in indices)):
        names.append(train.classes[c])
        rows.append([train.image(index), train.truth(index),
                     train.saliency("masks", index, f"{100 * found[index, c]:.0f} % salient"),
                     train.pseudo("CAM", index, per_cent(cam[index, c])),
                     train.pseudo("adaptive", index, per_cent(restored[index, c]))])
    figure = plots.grid(rows, ["image", "ground truth", "saliency", "CAM", "EPS"], names, train.classes, size=1.35)
    missed = found < 0.5
    alt = (f"Pseudo-masks of the {len(rows)} training images with several tags where the IoU of an object by EPS most "
           "exceeds the share of it that is salient, beside saliency (white outline: above one half) and CAM; above "
           f"the pictures, the scores of this object. Over all images, {missed.sum()} of {np.isfinite(found).sum()} "
           "tagged classes are less than half salient; on these the mean IoU is "
           f"{100 * nan_mean(cam[missed]):.0f} % by CAM and {100 * nan_mean(restored[missed]):.0f} % by EPS.")
    return Drawn(figure, "What saliency misses and EPS restores", alt)


def _largest(values: np.ndarray) -> np.ndarray:
    """The largest number of each row: (N,), nan in rows without any."""
    return np.where(np.isnan(values).all(1), np.nan, np.nan_to_num(values, nan=-np.inf).max(1))


def _place(values: np.ndarray, index: int) -> int:
    """Where a row has its largest number."""
    return int(np.nanargmax(values[index]))


# --- saliency ----------------------------------------------------------------------------------------------------

def detectors(run: Session) -> Drawn:
    """Maps of the saliency detectors, and the true foreground with known damage."""
    train, names = Pictures(run, "train"), [name for name in shown_detectors(run.profile) if name != "no saliency"]
    scores = {name: train.saliency_iou(name) for name in names}
    indices = spread_ranks(scores["masks"], 6)
    rows = [[train.image(index), train.truth(index),
             *(train.saliency(name, index, per_cent(scores[name][index])) for name in names)] for index in indices]
    learned = sum(name in DETECTORS for name in names)
    groups = [("", 2), ("detectors", learned), ("true foreground", len(names) - learned)]
    figure = plots.grid(rows, ["image", "ground truth", *(_DETECTOR_NAMES.get(name, name) for name in names)],
                        classes=train.classes, size=1.15, groups=[each for each in groups if each[1]])
    facts = ", ".join(f"{name} {100 * nan_mean(each):.0f} %" for name, each in scores.items())
    alt = (f"Saliency of {len(rows)} training images by every detector, and their true foreground with known damage; "
           "white outlines: above one half. The images are at evenly spread ranks of the foreground IoU of the first "
           f"detector. Mean foreground IoU over all training images: {facts}.")
    return Drawn(figure, "Saliency from better to worse", alt)


def fig3(run: Session) -> Drawn:
    """The detector's saliency and what EPS estimates, from the largest gain to the largest loss."""
    val = Pictures(run, "val")
    before, after = val.saliency_iou("masks"), val.estimated_iou
    gain = after - before
    order = ranked(gain)
    middle = max(0, len(order) // 2 - 1)
    parts = {"largest gains": order[:3], "median": order[middle:middle + 2], "largest losses": order[-3:]}
    indices = [int(index) for part in parts.values() for index in part]
    rows = [[val.image(index) for index in indices], [val.truth(index) for index in indices],
            [val.saliency("masks", index, per_cent(before[index])) for index in indices],
            [val.estimated(index, per_cent(after[index])) for index in indices]]
    figure = plots.grid(rows, [_points(gain[index]) for index in indices],
                        ["image", "ground truth", "saliency", "estimated\nsaliency"], val.classes, size=1.1,
                        groups=[(name, len(part)) for name, part in parts.items()])
    better, worse = (100 * np.mean(change[np.isfinite(gain)]) for change in (gain > 0, gain < 0))
    alt = ("Val images where the saliency estimated by EPS (tags known) gains most foreground IoU over the detector's, "
           f"two at the median, and those where it loses most; white outlines: above one half. It is better on "
           f"{better:.0f} % and worse on {worse:.0f} % of the images, {100 * nan_mean(gain):+.1f} pp on average.")
    return Drawn(figure, "Saliency before and after EPS", alt)


def _points(change: float) -> str:
    return f"{100 * change:+.0f} pp".replace("-", "−")


# --- fusion ------------------------------------------------------------------------------------------------------

def selection(run: Session) -> Drawn:
    """Which tags the map selection takes for the foreground, and the saliency that follows."""
    watched = Watched(run)
    cases, select = watched.cases(), Selection(**run.route.selection("adaptive"))
    rows = []
    for index in cases.values():
        maps, chosen = watched.maps(index), watched.chosen(index)
        first, second = watched.labels(index)
        foreground = maps[:-1][chosen].sum(0)
        background = maps[[label for label in (first, second) if not chosen[label]]].sum(0) + maps[-1]
        estimate = select.share * foreground + (1 - select.share) * (1 - background)
        rows.append([watched.image(index), watched.truth(index), watched.saliency("masks", index),
                     *(_map(maps[label], _overlap(watched, index, label)) for label in (first, second)), _map(maps[-1]),
                     *map(_map, (foreground, background, estimate))])
    columns = ["image", "ground truth", "saliency", "tag with\nmore overlap", "tag with\nless overlap", "background",
               "$M_{fg}$", "$M_{bg}$", "estimated\nsaliency"]
    figure = plots.grid(rows, columns, list(cases), watched.classes, size=1.15,
                        groups=[("", 3), ("maps, and overlap with saliency", 3), ("Eqs. (2) and (1)", 3)])
    chosen, empty = (np.array([each(index)[watched.labels(index)] for index in watched.images])
                     for each in (watched.chosen, watched.empty))
    alt = (f"Localisation maps of training images with two tags, their overlap with saliency against tau = {TAU:g}, "
           "and the maps of foreground, background and estimated saliency; white outlines: above one half. Of "
           f"{len(watched.images)} random images (fixed seed) the adaptive selection takes one tag for the foreground "
           f"in {(chosen.sum(1) == 1).sum()}, both in {chosen.all(1).sum()}, none in {(~chosen).all(1).sum()}; of "
           f"{empty.size} maps, {empty.sum()} are nowhere above a half. Shown: the clearest image of each kind.")
    return Drawn(figure, "Which tags explain the saliency", alt)


def _overlap(watched: Watched, index: int, label: int) -> str:
    value = watched.overlap(index)[label]
    return f"{watched.classes[label]} {value:.2f} {'>' if value > TAU else '≤'} {TAU:g}"


def _map(values: np.ndarray, title: str = "") -> Panel:
    return Panel(np.clip(values, 0, 1), "heat", title, outline=values > 0.5)


# --- pseudo-masks ------------------------------------------------------------------------------------------------

def fig4(run: Session) -> Drawn:
    """Pseudo-masks of CAM, naive selection and EPS: where EPS mends each fault most, and where it fails."""
    train = Pictures(run, run.route.scored)
    shown: dict[int, str] = {}
    rows = []
    for fault in _faults(train):
        change = fault.sign * (fault.scores[-1] - fault.scores[0])
        index = next(int(index) for index in ranked(_largest(change)) if index not in shown)
        place = _place(change, index)
        shown[index] = fault.names[place]
        rows.append([train.image(index), train.truth(index),
                     *(train.pseudo(row, index, f"{100 * score[index, place]:.0f} %")
                       for row, score in zip(COMPARED, fault.scores))])
    figure = plots.grid(rows, ["image", "ground truth", *COMPARED.values()], list(shown.values()), train.classes,
                        size=1.35)
    better = 100 * np.mean(train.image_iou("adaptive") > train.image_iou("CAM"))
    alt = ("Pseudo-masks of the training images where EPS, against CAM, labels least surroundings as an object, gains "
           "most F1 of boundaries, gains most recall of a class, and loses most IoU; these scores are above the "
           f"pictures. EPS has the higher IoU on {better:.0f} % of the images. SEAM, ICD and SGAN, which the paper "
           "shows too, were not run.")
    return Drawn(figure, "Pseudo-masks compared", alt)


class _Fault(NamedTuple):
    """What a row of Fig. 4 shows: P scores by name, (N, P) by row of COMPARED; sign: -1 for their largest fall."""

    names: list[str]
    scores: list[np.ndarray]
    sign: int = 1


def _faults(train: Pictures) -> list[_Fault]:
    pairs = train.surroundings
    shares = [train.false_surroundings(row) for row in COMPARED]
    f1, recall, scores = ([of(row) for row in COMPARED] for of in (train.boundary_f1, train.recall, train.image_iou))
    return [_Fault([f"co-occurrence:\n{pair},\nof the image" for pair in pairs], shares, -1),
            _Fault(["boundary:\nF1"], [each[:, None] for each in f1]),
            _Fault([f"extent:\nrecall of\n{name}" for name in train.classes], recall),
            _Fault(["failure:\nIoU"], [each[:, None] for each in scores], -1)]


# --- segmenters --------------------------------------------------------------------------------------------------

def fig5(run: Session) -> Drawn:
    """Results on val: the best, the median, and failures."""
    val, net = Pictures(run, "val"), shown_segmenter(run.profile)
    scores = val.segmenter_iou(net)
    order = ranked(scores)
    middle = max(0, len(order) // 2 - 3)
    parts = {"best": order[:3], "median": order[middle:middle + 3], "": order[middle + 3:middle + 6],
             "failures": order[-3:][::-1]}
    rows = [_results(val, net, scores, part) for part in parts.values()]
    figure = plots.grid(rows, ["image", "ground truth", "EPS"] * 3, list(parts), val.classes, size=1.1,
                        groups=[("", 3)] * 3)
    alt = (f"Image, ground truth and result of the segmenter ({net}) that learned from EPS, without CRF, on val: the "
           f"three images of highest IoU, six around the median, the three of lowest. The median is "
           f"{100 * np.nanmedian(scores):.0f} %, a quarter of the images is above "
           f"{100 * np.nanquantile(scores, 0.75):.0f} %, a quarter below {100 * np.nanquantile(scores, 0.25):.0f} %.")
    return Drawn(figure, "Results on val, with failures", alt)


def _results(val: Pictures, net: str, scores: np.ndarray, indices: Sequence[int]) -> list[Panel]:
    return [panel for index in indices for panel in
            (val.image(index), val.truth(index), val.prediction(net, index, per_cent(scores[index])))]


def fig6(run: Session) -> Drawn:
    """Results where few objects are to be seen, and where many are; on val itself without a world of many objects."""
    val = Crowded(run)
    scores, (objects, area) = val.segmenter_iou(val.net), val.objects
    order = np.lexsort((-area, objects))[np.count_nonzero(objects == 0):]
    quarter = max(1, len(order) // 4)
    few, many = order[:quarter], order[-quarter:]
    rows, names = [], []
    for group in (few, many):
        shown = group[spread_ranks(scores[group], 6)]
        parts = [shown[first:first + 3] for first in range(0, len(shown), 3)]
        rows += [_results(val, val.net, scores, part) for part in parts]
        names += [_span(objects[group], area[group]), ""][:len(parts)]
    figure = plots.grid(rows, ["image", "ground truth", "EPS"] * 3, names, val.classes, size=1.1,
                        groups=[("", 3)] * 3)
    where = ("val, as this profile has no world of many objects" if val.stands_in else
             f"val images of a world with {objects.mean():.1f} objects per image")
    alt = (f"Results of the segmenter ({val.net}) that learned from EPS, without CRF, on {where}: at evenly spread "
           f"ranks of IoU, from the quarter with the fewest objects and, below, that with the most (the smaller ones "
           f"where the number is the same). Mean IoU: {100 * nan_mean(scores[few]):.0f} % with few, "
           f"{100 * nan_mean(scores[many]):.0f} % with many.")
    return Drawn(figure, "Few objects, and many small ones", alt)


def _span(counts: np.ndarray, areas: np.ndarray) -> str:
    low, high = counts.min(), counts.max()
    number = f"{low} to {high} objects" if low < high else f"{low} object{'' if low == 1 else 's'}"
    return f"{number},\neach {100 * areas.mean():.0f} % of\nthe image"


#: Artifact id -> function of a session: the paper's own, then those of this project.
FIGURES: dict[str, Callable[[Session], Drawn]] = {
    "fig1": fig1, "fig2": fig2, "fig3": fig3, "fig4": fig4, "fig5": fig5, "fig6": fig6, "detector_maps": detectors,
    "selection": selection, "learning_curves": learning_curves, "backgrounds": backgrounds, "robustness": robustness,
    "dial": dial,
}
