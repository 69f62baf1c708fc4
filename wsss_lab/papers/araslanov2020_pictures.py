"""Stored labels and masks of Araslanov & Roth 2020 as panels, and the scores by which images are chosen."""

from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

from wsss_lab.data.canvas import canvas_box, from_canvas
from wsss_lab.evaluation.confusion import confusion_matrix, divide, mean_iou
from wsss_lab.lab.choices import random_images
from wsss_lab.lab.plots import Panel
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers.araslanov2020_pooling import pooled_maps
from wsss_lab.papers.shared_pictures import SplitPictures

WATCHED = 16  # train images that are looked at inside the training
ALIKE = 0.1  # neighbouring pixels whose colours differ by less, of 1, look alike


class Pictures(SplitPictures):
    """Panels of the images of one split at seed 0, and the scores by which images are chosen."""

    def prediction(self, row: str, crf: bool, index: int, title: str = "") -> Panel:
        """Labels by a row of araslanov2020.ROWS, tags predicted."""
        return self.stored(self.route.prediction(row, self.split)["refined" if crf else "masks"], index, title)

    def cam(self, index: int, title: str = "") -> Panel:
        """Labels by the CAM baseline, tags known."""
        return self.stored(self.route.cam_labels("main", self.split)["masks"], index, title)

    def truth_of(self, label: int, index: int, title: str = "") -> Panel:
        """The ground truth with one class only; label: 1..C."""
        mask = self.view.mask(index)
        return Panel(np.where((mask == label) | (mask == 255), mask, 0), "mask", title)

    def area(self, label: int, index: int) -> float:
        """Share of an image's pixels that the ground truth gives to a label."""
        return float((self.view.mask(index) == label).mean())

    def network_iou(self, row: str, crf: bool) -> np.ndarray:
        """Mean IoU (N,) of a row's labels over the classes that each image shows or is said to show."""
        score = self.route.score(self.route.prediction(row, self.split), self.split, crf)
        return mean_iou(np.asarray(self.run.load(score["confusions"])))

    # --- shortcomings of the CAM baseline (Fig. 2), each (N,) -------------------------------------------------------

    @cached_property
    def _cam_counts(self) -> np.ndarray:
        score = self.route.score(self.route.cam_labels("main", self.split), self.split)
        return np.asarray(self.run.load(score["confusions"]), np.float64)

    @cached_property
    def cam_mistaken(self) -> np.ndarray:
        """Share of the object pixels that CAM labels as another object, nan without objects."""
        objects = self._cam_counts[:, 1:, 1:-1]
        hits = np.trace(objects, axis1=1, axis2=2)
        return divide(objects.sum((1, 2)) - hits, self._cam_counts[:, 1:].sum((1, 2)))

    @cached_property
    def cam_missed(self) -> np.ndarray:
        """Share of the object pixels that CAM leaves to the background; nan but for the quarter of the images in which
        CAM labels the fewest background pixels as an object."""
        background, objects = self._cam_counts[:, 0], self._cam_counts[:, 1:]
        false = divide(background[:, 1:-1].sum(1), background[:, 1:-1].sum(1) + objects[..., 1:-1].sum((1, 2)))
        missed = divide(objects[..., 0].sum(1), objects.sum((1, 2)))
        precise = false <= np.nanquantile(false, 0.25) if np.isfinite(false).any() else np.isfinite(missed)
        return np.where(precise, missed, np.nan)

    @cached_property
    def cam_torn(self) -> np.ndarray:
        """Share of the neighbouring pixels that CAM labels differently, of those that look alike and lie on the same
        object; nan without any."""
        return np.array([self._torn(index) for index in range(len(self.view))])

    def _torn(self, index: int) -> float:
        image, mask, labels = self.view.image(index) / 255, self.view.mask(index), self.cam(index).data
        on_object = (mask > 0) & (mask < 255)
        torn = alike = 0
        for axis in (0, 1):
            first = on_object[:-1] if axis == 0 else on_object[:, :-1]
            similar = first & (np.diff(mask.astype(int), axis=axis) == 0)
            similar &= np.abs(np.diff(image, axis=axis)).mean(2) < ALIKE
            torn += (similar & (np.diff(labels.astype(int), axis=axis) != 0)).sum()
            alike += similar.sum()
        return float(divide(torn, alike))


class Watched(Pictures):
    """Train images inside the training of "ours", early and at its end: masks on the images' own pixels.

    images: their rows, `WATCHED` random ones (fixed seed) of those with several tags.
    """

    def __init__(self, run: Session):
        super().__init__(run, "train")
        rows = self.with_several_tags
        self.images = tuple(int(rows[place]) for place in random_images(len(rows), WATCHED, seed=1))

    def step(self, late: bool) -> Step:
        """The step that makes the masks."""
        return self.route.pictures(self.images, late)

    def pooling(self) -> Step:
        """The step that makes the maps of Fig. 4."""
        route = self.route
        return Step("segmenter", pooled_maps, {"backbone": route.backbone(), "method": route.method("ours"),
                                               "images": list(self.images)},
                    {"view": route.world.train_view("train"), "cam_state": route.cam()["state"],
                     "state": route.trained("ours")["state"]}, f"maps that are pooled, seed {route.seed}")

    @property
    def iterations(self) -> int:
        """Iterations of PAMR."""
        return self.route.method("ours")["iterations"]

    def on_canvas(self, index: int, late: bool = False) -> np.ndarray:
        """Masks of an image before PAMR and after each iteration, on their own grid: float (T + 1, 1 + C, h, w)."""
        return np.asarray(self.run.load(self.step(late)["masks"])[self.images.index(index)], np.float32)

    def masks(self, index: int, iteration: int, late: bool = False) -> np.ndarray:
        """Masks after an iteration on the image's pixels: float (1 + C, H, W), 0 for classes that are not tags."""
        return self.on_image(self.on_canvas(index, late)[iteration], index)

    def on_image(self, maps: np.ndarray, index: int) -> np.ndarray:
        """Maps of the canvas on the image's pixels: (K, h, w) -> (K, H, W)."""
        size, side = self.view.size(index), self.route.backbone()["side"]
        return from_canvas(maps, canvas_box(*size, side), side, size)

    def winners(self, index: int, iteration: int, late: bool = False, title: str = "") -> Panel:
        """The class with the largest mask at each pixel, after an iteration of PAMR."""
        return Panel(self.masks(index, iteration, late).argmax(0).astype(np.uint8), "mask", title)

    def pseudo_labels(self, index: int, late: bool = False, title: str = "") -> Panel:
        """The pseudo ground truth, 255 where it is ignored."""
        labels = np.asarray(self.run.load(self.step(late)["labels"])[self.images.index(index)])
        top, left, height, width = canvas_box(*self.view.size(index), len(labels))
        return Panel(labels[top:top + height, left:left + width], "mask", title)

    def soft(self, label: int, index: int, iteration: int, title: str = "") -> Panel:
        """The early mask of one class after an iteration, on its own grid; bordered: where it is the largest."""
        masks = self.on_canvas(index)[iteration]
        (height, width), side = masks.shape[1:], self.route.backbone()["side"]
        top, left, tall, wide = canvas_box(*self.view.size(index), side)
        rows = slice(top * height // side, -(-(top + tall) * height // side))
        columns = slice(left * width // side, -(-(left + wide) * width // side))
        return Panel(masks[label, rows, columns], "heat", title, outline=(masks.argmax(0) == label)[rows, columns])

    def most_changed(self, index: int) -> int:
        """The tag whose early mask PAMR changes most."""
        steps = self.on_canvas(index)
        return int(np.abs(steps[-1, 1:] - steps[0, 1:]).sum((1, 2)).argmax()) + 1

    @cached_property
    def changed(self) -> np.ndarray:
        """Share of the pixels whose largest mask PAMR changes early in training: (images,)."""
        return np.array([np.mean(self.winners(index, 0).data != self.winners(index, self.iterations).data)
                         for index in self.images])

    def gives_labels(self, late: bool = False) -> np.ndarray:
        """Which images give pseudo labels: bool (images,)."""
        return (np.asarray(self.run.load(self.step(late)["labels"])) != 255).any((1, 2))

    @cached_property
    def gain(self) -> np.ndarray:
        """By how much PAMR raises the mean IoU of the largest masks early in training: (images,)."""
        return np.array([self._iou(index, self.iterations) - self._iou(index, 0) for index in self.images])

    def _iou(self, index: int, iteration: int) -> float:
        labels = self.winners(index, iteration).data
        return float(mean_iou(confusion_matrix(labels, self.view.mask(index), 1 + len(self.classes))))

    def small_image(self, index: int, size: tuple[int, int]) -> torch.Tensor:
        """The canvas of an image on the grid of its masks, as PAMR sees it: float (1, 3, h, w) in [0, 1]."""
        canvas, _ = self.view.canvas([index], self.route.backbone()["side"])
        return F.interpolate(canvas.float() / 255, size=size, mode="bilinear", align_corners=True)
