"""The toy world as steps: plain settings in, arrays out. Apart, so that nothing else makes it be drawn anew."""

import numpy as np

from wsss_lab.data.toyvoc import Knobs, make_pretraining, make_saliency_scenes, make_scenes


def toy_scenes(count: int, seed: int, knobs: dict) -> dict[str, np.ndarray]:
    """One split of the toy world (see wsss_lab.data.toyvoc.make_scenes)."""
    return make_scenes(count, seed, Knobs(**knobs))


def toy_crops(count: int, seed: int, knobs: dict) -> dict[str, np.ndarray]:
    """Single-object crops for pre-training (see wsss_lab.data.toyvoc.make_pretraining)."""
    return make_pretraining(count, seed, Knobs(**knobs))


def toy_saliency_scenes(count: int, seed: int, knobs: dict) -> dict[str, np.ndarray]:
    """Scenes of other objects with boxes and masks (see wsss_lab.data.toyvoc.make_saliency_scenes)."""
    return make_saliency_scenes(count, seed, Knobs(**knobs))
