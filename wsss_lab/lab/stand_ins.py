"""Stand-ins for results, of the right shapes: what a table or figure can be made from before anything is computed.

A step's outputs are told by their names, and by the step's function where several functions use one name; the module
of a function may list its own, as STAND_INS.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wsss_lab.data.views import EvalView
from wsss_lab.lab.steps import Step

IMAGES, SIDE, GRID, BINS, CONTEXTS = 12, 64, 8, 8, 4
CURVES = ("classification", "segmentation", "saliency", "selected tags", "background", "absent score",
          "absent pooling", "absent penalty", "kept images", "labelled pixels")


class StandIns(dict):
    """Outputs of a step in a world of some classes, each made when it is first asked for; KeyError for unknown ones.
    `count`: images that they are about, IMAGES unless the step says which or how many."""

    def __init__(self, step: Step, classes: int):
        super().__init__()
        self.function, self.settings = step.function.__name__, step.settings
        self.classes, self.labels = classes, classes + 1
        self.own = getattr(inspect.getmodule(step.function), "STAND_INS", {})
        images = self.settings.get("images")
        self.count = len(images) if isinstance(images, list) else step.inputs and self.settings.get("count") or IMAGES

    def __missing__(self, name: str) -> Any:
        key = self.function, name
        make = self.own.get(key) or _OF_FUNCTION.get(key) or _OF_NAME[name]
        self[name] = make(self)
        return self[name]

    def whole(self, *shape: int, below: int = 50) -> np.ndarray:
        """Random whole numbers from 1 on, by image and whatever else."""
        return np.random.default_rng(0).integers(1, below, (self.count, *shape))

    def frame(self, below: int) -> np.ndarray:
        """A frame of labels, or of maps in 0..255."""
        return self.whole(SIDE, SIDE, below=below).astype(np.uint8)

    def share(self, *shape: int) -> np.ndarray:
        """Random numbers in [0, 1), by image and whatever else."""
        return np.random.default_rng(0).random((self.count, *shape))

    def confusions(self) -> np.ndarray:
        """Counts of the labels that the images show."""
        shown = np.ones((self.count, self.labels), bool)
        shown[:, 1:] = tags_of(self.count, self.classes)
        return self.whole(self.labels, self.labels + 1) * shown[:, :, None]

    def curves(self, *names: str) -> dict[str, list[float]]:
        """What a training writes down, by name."""
        return {name: self.curve() for name in names}

    def curve(self) -> list[float]:
        """A value per iteration of a training."""
        return [1.0] * self.settings["schedule"]["iterations"]


def view(split: str, classes: Sequence[str]) -> EvalView:
    """A split of IMAGES drawn images that show two classes each, if there are two."""
    tags = tags_of(IMAGES, len(classes))
    masks = np.zeros((IMAGES, SIDE, SIDE), np.uint8)
    for mask, shown in zip(masks, tags):
        for place, label in enumerate(np.flatnonzero(shown)):
            mask[8:40, 4 + 30 * place:24 + 30 * place] = label + 1
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
    names = [f"{split}{number}" for number in range(IMAGES)]
    return EvalView.from_arrays(split, tuple(classes), names, tags, images, "generator", masks=masks,
                                contexts=np.zeros_like(masks),
                                context_classes=[f"context {number}" for number in range(CONTEXTS)])


def tags_of(images: int, classes: int) -> np.ndarray:
    """Tags of the images of a view: bool (images, classes)."""
    tags = np.zeros((images, classes), bool)
    for row, shown in enumerate(tags):
        shown[[row % classes, (row + 1) % classes]] = True
    return tags


#: Output -> how it is made, whichever function it is of.
_OF_NAME: dict[str, Callable[[StandIns], Any]] = {
    "confusions": StandIns.confusions,
    "with_void": StandIns.confusions,
    "counts": lambda made: made.whole(3, made.labels, BINS),
    "tags": lambda made: tags_of(made.count, made.classes),
    "images": lambda made: made.whole(SIDE, SIDE, 3).astype(np.uint8),
    "contexts": lambda made: made.frame(CONTEXTS),
    "maps": lambda made: made.frame(255),
    "scores": lambda made: made.share(made.classes),
    "class_maps": lambda made: made.share(made.classes, GRID, GRID),
    "pixel_scores": lambda made: made.share(made.classes, GRID, GRID),
    "indices": lambda made: np.arange(made.count) % IMAGES,
    "objects": lambda made: made.whole(),
    "area": lambda made: made.share(),
    "curves": lambda made: made.curves(*CURVES),
} | dict.fromkeys(("masks", "refined", "learned"), lambda made: made.frame(made.labels)) | dict.fromkeys(
    ("S1", "S2", "S3"), lambda made: made.frame(255)) | dict.fromkeys(
    ("history", "classification", "pixel"), StandIns.curve)

#: (Function, output) -> how it is made, where it isn't as its name says.
_OF_FUNCTION: dict[tuple[str, str], Callable[[StandIns], Any]] = {
    ("score_saliency", "counts"): lambda made: made.whole(4),
    ("score_salient_pixels", "counts"): lambda made: made.whole(4),
    ("score_boundaries", "counts"): lambda made: made.whole(2, 3),
    ("score_objects", "counts"): lambda made: made.whole(3, 2),
    ("score_contexts", "false"): lambda made: made.whole(CONTEXTS, made.classes),
    ("score_contexts", "present"): lambda made: made.share(CONTEXTS) < 0.5,
    ("score_contexts", "known"): lambda made: np.ones(made.count, bool),
    ("score_contexts", "missing"): lambda made: 0,
    ("toy_saliency_scenes", "boxes"): lambda made: np.tile([10.0, 12.0, 40.0, 50.0], (made.count, 1)),
    ("classifier_outputs", "maps"): lambda made: made.share(made.classes, GRID, GRID),
    ("attention_outputs", "maps"): lambda made: made.share(made.classes, GRID, GRID),
    ("attention_maps", "maps"): lambda made: made.share(made.labels, GRID, GRID),
    ("segment_fusion", "scores"): lambda made: made.share(made.labels),
    ("training_pictures", "masks"): lambda made: made.share(
        made.settings["method"]["iterations"] + 1, made.labels, GRID, GRID),
    ("training_pictures", "labels"): lambda made: made.whole(
        *[made.settings["backbone"]["side"]] * 2, below=made.labels).astype(np.uint8),
    ("train_fusion", "curves"): lambda made: made.curves("classification", "segmentation"),
}
