"""Stored labels and attention of Roy & Todorovic 2017 as panels, and the scores by which images are chosen."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from wsss_lab.data.canvas import canvas_box, from_canvas
from wsss_lab.evaluation.confusion import confusion_matrix, divide, mean_iou
from wsss_lab.evaluation.object_recall import object_areas
from wsss_lab.lab.plots import Panel
from wsss_lab.lab.steps import Step
from wsss_lab.papers.shared_pictures import SplitPictures
from wsss_lab.seeds.top_down import Attention

#: Attention without neighbours and the neurons' own activation: excitation back-propagation.
PARENTS_ONLY = Attention("none", activation=0.0)
MIN_AREA = 0.005  # share of the image below which a region is a speck, as in wsss_lab.evaluation.object_recall
MISSED = 0.1  # an object of which a smaller share is found counts as missed


class SeenObject(NamedTuple):
    """An object of the ground truth. label: 1..C. area: its share of the image. recall: the share of it that gets its
    label from the full approach. place: its number among the objects of its image, largest first."""

    index: int
    label: int
    area: float
    recall: float
    place: int


class Pictures(SplitPictures):
    """Panels of the images of one split at seed 0, and the scores by which images are chosen; labels are those of the
    full approach."""

    # --- panels --------------------------------------------------------------------------------------------------

    def prediction(self, index: int, title: str = "") -> Panel:
        """Labels by the full approach, tags predicted."""
        return self.stored(self._labels["masks"], index, title)

    def attention(self, label: int, index: int, neighbours: bool = True, title: str = "") -> Panel:
        """Attention p^A of a label, tags known, over the image; bordered: where it is the largest of all labels."""
        maps = self.attention_maps(index, neighbours)
        return Panel(maps[label], "heat", title, under=self.view.image(index), outline=maps.argmax(0) == label)

    def canvas(self, index: int, title: str = "", box: tuple[float, ...] | None = None) -> Panel:
        """The image on the network's canvas."""
        pixels, _ = self.view.canvas([index], self.route.backbone["side"])
        return Panel(pixels[0].permute(1, 2, 0).numpy(), title=title, box=box)

    # --- attention -----------------------------------------------------------------------------------------------

    def attention_step(self, neighbours: bool = True) -> Step:
        """Attention of the full approach's network, tags known; without neighbours also without own activation."""
        return self.route.attention("full", None if neighbours else PARENTS_ONLY, self.split)

    def attention_maps(self, index: int, neighbours: bool = True) -> np.ndarray:
        """Attention p^A on the image's pixels: float32 (1 + C, H, W) in [0, 1], background first."""
        stored = self.run.load(self.attention_step(neighbours)["maps"])[index]
        size, side = self.view.size(index), self.route.backbone["side"]
        return from_canvas(np.asarray(stored, np.float32), canvas_box(*size, side), side, size)

    @cached_property
    def attention_gain(self) -> np.ndarray:
        """By how much neighbours and own activation raise the mean IoU of the labels of largest attention: (N,)."""
        scores = {neighbours: np.array([self._attention_iou(index, neighbours) for index in range(len(self.view))])
                  for neighbours in (True, False)}
        return scores[True] - scores[False]

    @cached_property
    def without_evidence(self) -> float:
        """Share of the tags that get no attention at all from their parents alone."""
        maps = np.asarray(self.run.load(self.attention_step(neighbours=False)["maps"]))[:, 1:]
        return float(np.mean(maps.max((2, 3))[self.view.tags] == 0))

    def _attention_iou(self, index: int, neighbours: bool) -> float:
        labels = self.attention_maps(index, neighbours).argmax(0)
        return float(mean_iou(confusion_matrix(labels, self.view.mask(index), 1 + len(self.classes))))

    # --- labels --------------------------------------------------------------------------------------------------

    @property
    def _labels(self) -> Step:
        return self.route.prediction("full", self.split)

    @cached_property
    def confusions(self) -> np.ndarray:
        """(N, 1 + C, 2 + C) counts of the full approach."""
        return np.asarray(self.run.load(self.route.scored("full", self.split)["confusions"]))

    @cached_property
    def network_iou(self) -> np.ndarray:
        """Mean IoU (N,) over the labels that each image shows or is said to show."""
        return mean_iou(self.confusions)

    @cached_property
    def presence(self) -> np.ndarray:
        """p(y|x) of every label: float (N, 1 + C), background first."""
        return torch.tensor(np.asarray(self.run.load(self._labels["scores"]))).sigmoid().numpy()

    def main_label(self, index: int) -> int:
        """The class, 1..C, that takes most pixels of an image's ground truth."""
        return 1 + int(self.confusions[index, 1:].sum(-1).argmax())

    # --- failures ------------------------------------------------------------------------------------------------

    def largest_miss(self) -> tuple[int, int]:
        """Image and class, 1..C, of which the smallest share is found; of several (none of it), the largest one."""
        counts = self.confusions[:, 1:]
        pixels = counts.sum(-1)
        recall = divide(np.diagonal(counts[..., 1:-1], axis1=1, axis2=2), pixels)
        share = pixels / self.confusions.sum((1, 2))[:, None]
        order = np.lexsort((-share.ravel(), recall.ravel()))  # nan, a class that isn't there, comes last
        index, place = np.unravel_index(order[0], recall.shape)
        return int(index), int(place) + 1

    @cached_property
    def objects(self) -> list[SeenObject]:
        """All objects of the split; an object is an 8-connected region of one class, at least MIN_AREA of its image."""
        labels, found = self.run.load(self._labels["masks"]), []
        for index in range(len(self.view)):
            mask, predicted = self.view.mask(index), self.cut(labels[index], index)
            for place, inside in enumerate(object_areas(mask, MIN_AREA)):
                label = int(mask[inside][0])
                found.append(SeenObject(index, label, inside.mean(), np.mean(predicted[inside] == label), place))
        return found

    def missed_small(self) -> dict[int, list[SeenObject]]:
        """Missed objects smaller than the median of all objects, by image: the image with most of them first, of equal
        numbers the one with the larger objects."""
        median = np.median([each.area for each in self.objects])
        missed: dict[int, list[SeenObject]] = {}
        for each in self.objects:
            if each.area < median and each.recall < MISSED:
                missed.setdefault(each.index, []).append(each)
        return dict(sorted(missed.items(), key=lambda item: (-len(item[1]), -sum(each.area for each in item[1]))))

    def regions(self, objects: list[SeenObject]) -> dict[int, np.ndarray]:
        """The pixels of objects of one image, by label: bool (H, W)."""
        parts = object_areas(self.view.mask(objects[0].index), MIN_AREA)
        found: dict[int, np.ndarray] = {}
        for each in objects:
            found[each.label] = found.get(each.label, False) | parts[each.place]
        return found
