"""The toy world as steps: plain settings in, arrays out; and as views of what they drew."""

from collections.abc import Mapping

import numpy as np

from wsss_lab.data.toyvoc import CLASSES, CONTEXTS, Knobs, make_pretraining, make_saliency_scenes, make_scenes
from wsss_lab.data.views import EvalView, TrainView


def toy_scenes(count: int, seed: int, knobs: dict) -> dict[str, np.ndarray]:
    """One split of the toy world (see wsss_lab.data.toyvoc.make_scenes)."""
    return make_scenes(count, seed, Knobs(**knobs))


def toy_crops(count: int, seed: int, knobs: dict) -> dict[str, np.ndarray]:
    """Single-object crops for pre-training (see wsss_lab.data.toyvoc.make_pretraining)."""
    return make_pretraining(count, seed, Knobs(**knobs))


def toy_saliency_scenes(count: int, seed: int, knobs: dict) -> dict[str, np.ndarray]:
    """Scenes of other objects with boxes and masks (see wsss_lab.data.toyvoc.make_saliency_scenes)."""
    return make_saliency_scenes(count, seed, Knobs(**knobs))


def toy_view(split: str, scenes: Mapping[str, np.ndarray], masks: bool) -> TrainView | EvalView:
    """A drawn split as images and tags, with their masks and contexts if `masks`."""
    names = [f"{split}_{number:05d}" for number in range(len(scenes["images"]))]
    common = (f"toyvoc/{split}", CLASSES, names, np.asarray(scenes["tags"]), scenes["images"], "generator")
    if not masks:
        return TrainView.from_arrays(*common)
    return EvalView.from_arrays(*common, masks=scenes["masks"], contexts=scenes["contexts"], context_classes=CONTEXTS)
