"""The figures of Lee et al. 2021 (EPS) from what a session has stored: `run.compute(*steps(run))` comes first.

Pictures are taken from seed 0 and chosen by rule, never by hand; every alt text states the rule. Charts of measured
numbers are in lee2021_charts, the diagram of the framework, which needs no run, in lee2021_diagrams.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from wsss_lab.evaluation.confusion import nan_mean
from wsss_lab.lab import plots
from wsss_lab.lab.choices import ranked, spread_ranks
from wsss_lab.lab.plots import Drawn, Panel
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers import lee2021_charts
from wsss_lab.papers.lee2021 import DETECTORS
from wsss_lab.papers.lee2021_charts import backgrounds, dial, learning_curves, robustness
from wsss_lab.papers.lee2021_diagrams import fig2
from wsss_lab.papers.lee2021_pictures import (
    Crowded,
    Pictures,
    Watched,
    crowded_route,
    shown_detectors,
    shown_segmenter,
)
from wsss_lab.papers.shared_pictures import per_cent
from wsss_lab.seeds.saliency_supervision import TAU, Selection

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
            Watched(run).step(), *lee2021_charts.steps(run)]


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
