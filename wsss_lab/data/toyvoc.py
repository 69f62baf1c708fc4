"""toyvoc: a procedural world in the shape of PASCAL VOC, on which everything runs in seconds.

Toy animals stand in landscapes. The class of an animal shows only in its painted head, a small part of a body that
looks like everybody else's. Four classes keep to one kind of ground (`CONTEXTS`), two are small and hard to see
(`QUIET`), and animals of no class walk about. Two companions come with it: crops to pre-train networks on (in place of
ImageNet) and a saliency world of other animals (in place of MSRA and DUTS). `make_*(count, seed, knobs)` returns the
same arrays every time, and its first n pictures do not depend on `count`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from wsss_lab.data.toyvoc_layout import DISTRACTOR, MAIN, Ground, Objects, Rng, plan_crops, plan_saliency, plan_scenes
from wsss_lab.data.toyvoc_paint import Canvas, Fields, is_class, light_up, owner_labels, paint_ground, paint_slot
from wsss_lab.data.toyvoc_types import CLASSES, CONTEXT_OF_CLASS, CONTEXTS, QUIET, TYPES, Knobs
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.errors import ParameterError

__all__ = ["CLASSES", "CONTEXTS", "CONTEXT_OF_CLASS", "QUIET", "SPLITS", "TYPES", "Knobs", "make_pretraining",
           "make_saliency_scenes", "make_scenes", "split_seed"]

#: The splits of a world and their usual number of pictures.
SPLITS: dict[str, int] = {"train": 2000, "dev": 500, "val": 500, "test": 500, "pretraining": 8000, "saliency": 1500}
#: Knobs of the saliency set: people who collect pictures for it choose what stands out.
CONSPICUOUS = {"coat": 0.0, "contrast": 0.38}
VOID = 255
_CHUNK = 32  # pictures painted together; they share a random stream, so changing this changes the world
_ANNOTATORS = 3


def split_seed(world_seed: int, split: str) -> int:
    """Seed of a split: different for every pair of a world seed and a split, so splits never overlap.

    >>> split_seed(0, "train") != split_seed(0, "val") != split_seed(1, "train")
    True

    Raises ParameterError for an unknown split or a negative world seed.
    """
    if split not in SPLITS:
        raise ParameterError(f"unknown split {split!r}", f"one of {', '.join(SPLITS)}", "choose one of them")
    if world_seed < 0:
        raise ParameterError(f"world seed {world_seed} is negative", "a whole number from 0", "set WORLD_SEED to one")
    return world_seed * len(SPLITS) + list(SPLITS).index(split)


def make_scenes(count: int, seed: int, knobs: Knobs | None = None) -> dict[str, np.ndarray]:
    """Scenes with tags, masks and context maps; S is `knobs.size`, C the number of classes.

    images (N, S, S, 3) uint8 RGB
    tags (N, C) bool: the class is in the mask; at least one per scene
    masks (N, S, S) uint8: 0 background, 1..C classes, 255 void (edges, and objects of which too little shows)
    contexts (N, S, S) uint8: the stuff behind the objects, 1..len(CONTEXTS), 0 elsewhere
    instance_map (N, S, S) uint8: 0, or a number of the object where the mask holds a class
    instances, distractors (N,) int64: how many objects of a class and of no class can be seen
    main_class (N,) int64: class index of the main object

    Raises ParameterError if count or seed is negative, or if the knobs leave nothing to be seen.
    """
    return _in_chunks(count, seed, _scene_chunk, knobs)


def make_saliency_scenes(count: int, seed: int, knobs: Knobs | None = None) -> dict[str, np.ndarray]:
    """Pictures of one annotated animal of no class; duller ones near the sides are not annotated.

    images (N, S, S, 3) uint8 RGB
    masks (N, S, S) uint8: 1 on the annotated animal, else 0
    boxes (N, 4) int64: x0, y0, x1, y1 in pixels, x1 and y1 exclusive; the mean of what three somewhat generous
        annotators drew, and never smaller than the animal
    types (N,) int64: type of the animal, len(CLASSES)..TYPES-1

    Raises ParameterError if count or seed is negative.
    """
    return _in_chunks(count, seed, _saliency_chunk, knobs)


def make_pretraining(count: int, seed: int, knobs: Knobs | None = None) -> dict[str, np.ndarray]:
    """Tight crops of single animals of all types, half the size of a scene, to pre-train networks on.

    images (N, S/2, S/2, 3) uint8 RGB     labels (N,) int64: 0..TYPES-1, the classes first

    Raises ParameterError if count or seed is negative.
    """
    return _in_chunks(count, seed, _crop_chunk, knobs)


def _in_chunks(count: int, seed: int, make_chunk: Callable[[Rng, Rng, Knobs], dict[str, np.ndarray]],
               knobs: Knobs | None) -> dict[str, np.ndarray]:
    """Whole chunks, each from its own random streams, cut to `count`: so the first ones do not depend on it."""
    if count < 0 or seed < 0:
        raise ParameterError(f"cannot make {count} pictures from seed {seed}", "two numbers from 0",
                             "use split_seed for a seed")
    parts = []
    for index in range(max(1, -(-count // _CHUNK))):
        # Pixel noise has its own stream, as the amount drawn from it depends on the size of the pictures.
        plan_rng, pixel_rng = (np.random.default_rng([seed, index, stream]) for stream in (0, 1))
        parts.append(make_chunk(plan_rng, pixel_rng, knobs or Knobs()))
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}


def _paint(canvas: Canvas, objects: Objects, ground: Ground, rng: Rng, pixel_rng: Rng, knobs: Knobs) -> np.ndarray:
    """Paint planned pictures from back to front. Returns them, (n, side, side, 3) uint8."""
    fields = Fields(rng, canvas)
    ground_colours = paint_ground(canvas, ground, fields, knobs.ground_texture)
    for slots in np.argsort(objects.order, 1).T:
        pictures = np.flatnonzero(objects.present[np.arange(canvas.n), slots])
        if len(pictures):
            paint_slot(canvas, objects, pictures, slots[pictures], ground, ground_colours, fields, knobs)
    return light_up(canvas, rng, pixel_rng, knobs.illumination, knobs.noise, knobs.grain)


def _scene_chunk(rng: Rng, pixel_rng: Rng, knobs: Knobs) -> dict[str, np.ndarray]:
    """A chunk of scenes; those in which no object of a class can be seen are drawn again."""
    scenes = _draw_scenes(_CHUNK, rng, pixel_rng, knobs)
    for _ in range(20):
        empty = np.flatnonzero(~scenes["tags"].any(1))
        if not len(empty):
            return scenes
        for name, redrawn in _draw_scenes(len(empty), rng, pixel_rng, knobs).items():
            scenes[name][empty] = redrawn
    raise ParameterError("these knobs leave scenes in which no object of a class can be seen",
                         f"less than the {knobs.min_visible:g} pixels of min_visible, or larger objects",
                         "lower min_visible, or raise main_length and quiet_length")


def _draw_scenes(n: int, rng: Rng, pixel_rng: Rng, knobs: Knobs) -> dict[str, np.ndarray]:
    objects, ground = plan_scenes(rng, n, knobs)
    canvas = Canvas(n, knobs.size)
    images = _paint(canvas, objects, ground, rng, pixel_rng, knobs)
    seen = np.where(canvas.soft, 0, canvas.owner)
    areas = np.stack([(seen == slot + 1).sum((1, 2)) for slot in range(objects.type.shape[1])], 1)
    visible = areas >= knobs.min_visible * (knobs.size / 64) ** 2
    masks = owner_labels(objects.type, canvas.owner)
    masks[canvas.soft] = VOID
    shown = np.pad(visible, ((0, 0), (1, 0)))
    shows = np.take_along_axis(shown, canvas.owner.reshape(n, -1), 1).reshape(masks.shape)
    of_class = (masks > 0) & (masks != VOID)
    masks[of_class & ~shows] = VOID
    of_class &= shows
    labels = masks.reshape(n, -1)
    return {
        "images": images,
        "tags": np.stack([(labels == c + 1).any(1) for c in range(len(CLASSES))], 1),
        "masks": masks,
        "contexts": np.where((masks == 0) & (canvas.owner == 0), canvas.context, 0).astype(np.uint8),
        "instance_map": np.where(of_class, canvas.owner, 0).astype(np.uint8),
        "instances": (visible & is_class(objects.type)).sum(1),
        "distractors": visible[:, DISTRACTOR].astype(np.int64),
        "main_class": objects.type[:, MAIN].astype(np.int64),
    }


def _saliency_chunk(rng: Rng, pixel_rng: Rng, knobs: Knobs) -> dict[str, np.ndarray]:
    objects, ground = plan_saliency(rng, _CHUNK, knobs)
    outwards = rng.uniform(0, 2.0, (_CHUNK, _ANNOTATORS, 4)).mean(1)  # before anything depends on the size
    canvas = Canvas(_CHUNK, knobs.size)
    images = _paint(canvas, objects, ground, rng, pixel_rng, replace(knobs, **CONSPICUOUS))
    masks = (canvas.owner == MAIN + 1).astype(np.uint8)
    return {"images": images, "masks": masks, "boxes": _annotators_boxes(masks, outwards * knobs.size / 64),
            "types": objects.type[:, MAIN].astype(np.int64)}


def _annotators_boxes(masks: np.ndarray, outwards: np.ndarray) -> np.ndarray:
    """Tight boxes (n, 4) of masks (n, S, S), moved outwards by (n, 4) pixels but not out of the picture."""
    side = masks.shape[1]
    columns, rows = masks.any(1), masks.any(2)
    x0, y0 = columns.argmax(1), rows.argmax(1)
    x1, y1 = side - columns[:, ::-1].argmax(1), side - rows[:, ::-1].argmax(1)
    tight = np.stack([x0, y0, x1, y1], 1)
    moved = np.rint(tight + outwards * [-1, -1, 1, 1]).astype(np.int64)
    return np.clip(moved, 0, side)


def _crop_chunk(rng: Rng, pixel_rng: Rng, knobs: Knobs) -> dict[str, np.ndarray]:
    objects, ground = plan_crops(rng, _CHUNK)
    images = _paint(Canvas(_CHUNK, knobs.size // 2, extent=32.0), objects, ground, rng, pixel_rng, knobs)
    return {"images": images, "labels": objects.type[:, MAIN].astype(np.int64)}


# --- the toy world as steps: plain settings in, arrays out; and as views of what they drew ----------------------------


def toy_scenes(count: int, seed: int, knobs: dict) -> dict[str, np.ndarray]:
    """One split of the toy world (see make_scenes)."""
    return make_scenes(count, seed, Knobs(**knobs))


def toy_crops(count: int, seed: int, knobs: dict) -> dict[str, np.ndarray]:
    """Single-object crops for pre-training (see make_pretraining)."""
    return make_pretraining(count, seed, Knobs(**knobs))


def toy_saliency_scenes(count: int, seed: int, knobs: dict) -> dict[str, np.ndarray]:
    """Scenes of other objects with boxes and masks (see make_saliency_scenes)."""
    return make_saliency_scenes(count, seed, Knobs(**knobs))


def toy_view(split: str, scenes: Mapping[str, np.ndarray], masks: bool) -> TrainView | EvalView:
    """A drawn split as images and tags, with their masks and contexts if `masks`."""
    names = [f"{split}_{number:05d}" for number in range(len(scenes["images"]))]
    common = (f"toyvoc/{split}", CLASSES, names, np.asarray(scenes["tags"]), scenes["images"], "generator")
    if not masks:
        return TrainView.from_arrays(*common)
    return EvalView.from_arrays(*common, masks=scenes["masks"], contexts=scenes["contexts"], context_classes=CONTEXTS)
