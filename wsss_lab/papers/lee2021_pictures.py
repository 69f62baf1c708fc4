"""Stored maps and labels of Lee et al. 2021 as panels, and the scores by which images are chosen."""

from functools import cached_property

import numpy as np

from wsss_lab.evaluation.boundaries import boundary_scores
from wsss_lab.evaluation.co_occurrence import co_occurring_pairs
from wsss_lab.evaluation.confusion import divide, iou, mean_iou
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.lab.choices import random_images, ranked
from wsss_lab.lab.plots import Panel
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers.lee2021 import DETECTORS, Route, detector_row, segmenters, trained_rows
from wsss_lab.papers.lee2021_shown import shown_maps
from wsss_lab.papers.lee2021_values import DIAL
from wsss_lab.papers.shared_pictures import SplitPictures
from wsss_lab.seeds.saliency_supervision import HALF

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
