"""Worlds as inputs of steps: which images a run looks at, and whether it may see their masks."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from wsss_lab.data.toyvoc import CLASSES, SPLITS, split_seed, toy_crops, toy_saliency_scenes, toy_scenes, toy_view
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.errors import DataError, ParameterError, WeightsError
from wsss_lab.lab.fingerprint import code_of
from wsss_lab.lab.profiles import LESSON, check_inputs, named, profile_named
from wsss_lab.lab.steps import Step
from wsss_lab.settings import DATA, WEIGHTS, stands_in


@dataclass(frozen=True)
class View:
    """A reference to one split of a world, with masks (EvalView) or without any way to them (TrainView). split: its
    name, or the first images of it, as in "train[:500]"."""

    world: Any
    split: str
    exposes_masks: bool

    @cached_property
    def _part(self) -> tuple[str, int]:
        """Name of the split, and how many of its images, 0 = all. Raises ParameterError for another form."""
        form = re.fullmatch(r"([^\[\]]+)(?:\[:([1-9][0-9]*)\])?", self.split)
        if form is None:
            raise ParameterError(f"split '{self.split}'",
                                 "a name such as train, or the first of its images, as in train[:500]")
        return form[1], int(form[2] or 0)

    @cached_property
    def key(self) -> str:
        split, count = self._part
        identity = [self.world.key(split), count, self.exposes_masks, code_of(_first, *self.world.readers)]
        return hashlib.blake2b(json.dumps(identity).encode(), digest_size=16).hexdigest()

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.world.steps(self._part[0])

    @property
    def count(self) -> int:
        """Number of images; none of them is opened."""
        split, count = self._part
        known = self.world.count(split)
        return min(count, known) if count else known

    def load(self, store) -> TrainView | EvalView:
        """The view itself; image data stays on disk until it is read."""
        split, count = self._part
        return _first(self.world.open(split, self.exposes_masks, store), count)


def _first(view: TrainView | EvalView, count: int) -> TrainView | EvalView:
    """The first images of a view, 0 = all."""
    return view.subset(range(min(count, len(view)))) if count else view


class World:
    """What all worlds share: references to their splits. readers: the functions that make views of what is stored;
    their code is part of a view's key."""

    readers: tuple[Callable, ...] = ()

    def answered(self, step: Step) -> Step:
        """A step of a route, or another one in its place that gives what it would."""
        return step

    def train_view(self, split: str = "train") -> View:
        """Images and tags of a split; masks are out of reach."""
        return View(self, split, exposes_masks=False)

    def eval_view(self, split: str) -> View:
        """Images, tags, masks and contexts of a split; a step that takes it says why in `reads_masks`."""
        return View(self, split, exposes_masks=True)


@dataclass(frozen=True)
class ToyWorld(World):
    """toyvoc: drawn, deterministic from `seed`. counts: (split, number of images) pairs; knobs: (name, value) pairs
    that differ from the defaults."""

    seed: int = 0
    counts: tuple[tuple[str, int], ...] = tuple(SPLITS.items())
    knobs: tuple[tuple[str, Any], ...] = ()
    name = "toyvoc"
    readers = (toy_view,)
    classes = CLASSES

    def scenes(self, split: str) -> Step:
        """The step that draws a split."""
        return self._draw(toy_scenes, split, ("masks", "contexts", "instance_map"))

    def crops(self) -> Step:
        """The step that draws the pre-training set, the stand-in for ImageNet."""
        return self._draw(toy_crops, "pretraining", ())

    def saliency_scenes(self) -> Step:
        """The step that draws the saliency set: other objects, with boxes and masks of these other objects."""
        return self._draw(toy_saliency_scenes, "saliency", ("masks",))

    def _draw(self, function, split: str, mask_outputs: tuple[str, ...]) -> Step:
        counts = dict(self.counts)
        settings = {"count": counts[named("split of this toy world", split, counts)],
                    "seed": split_seed(self.seed, split), "knobs": dict(self.knobs)}
        return Step("data", function, settings, label=f"toyvoc {split}", mask_outputs=mask_outputs)

    def count(self, split: str) -> int:
        return self.scenes(split).settings["count"]

    def key(self, split: str) -> str:
        return self.scenes(split).key

    def steps(self, split: str) -> tuple[Step, ...]:
        return (self.scenes(split),)

    def open(self, split: str, masks: bool, store) -> TrainView | EvalView:
        return toy_view(split, self.scenes(split).load(store), masks)


class LessonWorld(ToyWorld):
    """The first images of the toy world, and networks that have learnt on all of them (wsss_lab.lab.lesson)."""

    def answered(self, step: Step) -> Step:
        from wsss_lab.lab.lesson import answered

        return answered(step)


#: Images per split of the toy world, by profile.
TOY_COUNTS = {"quick": (("train", 48), ("dev", 24), ("val", 24), ("test", 24), ("pretraining", 256), ("saliency", 48)),
              LESSON: (("train", 64), ("dev", 24), ("val", 32), ("test", 24), ("pretraining", 64), ("saliency", 48)),
              **dict.fromkeys(("toy", "toy-long"), tuple(SPLITS.items()))}


def open_world(profile: str, world_seed: int = 0) -> "ToyWorld | FolderWorld":
    """The world that a profile looks at: toyvoc, or the folder that WSSS_DATA names. Raises ParameterError for an
    unknown profile, DataError or WeightsError when a folder it reads isn't named."""
    check_inputs(profile_named(profile))
    if profile in TOY_COUNTS:
        return (LessonWorld if profile == LESSON else ToyWorld)(world_seed, TOY_COUNTS[profile])
    world = StandInWorld() if stands_in(DATA, profile) else FolderWorld(os.environ[DATA])
    if profile != "voc":
        return world
    training = AUGMENTED if AUGMENTED in world.folder.splits else "train"
    return replace(world, lists=(("train", training), (OWN_TRAIN, "train")))


#: In the profile voc, training images are those of trainaug where there is such a list; VOC's own 1,464 are this split.
AUGMENTED, OWN_TRAIN = "trainaug", "train-voc"


@lru_cache(maxsize=4)
def _folder(root: str, tags: str):
    from wsss_lab.data.folder import VocReader

    return VocReader(root, tags)


@lru_cache(maxsize=4)
def _coco(root: str):
    from wsss_lab.data.coco import CocoFolder

    return CocoFolder(root)


def _split(folder: Any, listed: str, masks: bool) -> TrainView | EvalView:
    return folder.eval_view(listed) if masks else folder.train_view(listed)


class PhotoWorld(World):
    """What worlds of photographs share: views straight from a folder, without steps. A subclass is a dataclass with
    `root` first and `limit` among its fields; its `folder` reads the files."""

    lists = ()  # (split, name of its list) pairs, where they aren't the same

    @property
    def name(self) -> str:
        return Path(self.root).name

    @property
    def classes(self) -> tuple[str, ...]:
        return self.folder.classes

    def key(self, split: str) -> str:
        identity = [self.folder.fingerprint, split, *astuple(self)[1:]]
        return hashlib.blake2b(json.dumps(identity).encode(), digest_size=16).hexdigest()

    def steps(self, split: str) -> tuple[Step, ...]:
        return ()

    def count(self, split: str) -> int:
        listed = len(self.folder.names(self._list_of(split)))
        return min(self.limit, listed) if self.limit else listed

    def open(self, split: str, masks: bool, store) -> TrainView | EvalView:
        return _first(_split(self.folder, self._list_of(split), masks), self.limit)

    def _list_of(self, split: str) -> str:
        return dict(self.lists).get(split, split)


@dataclass(frozen=True)
class FolderWorld(PhotoWorld):
    """Photographs in VOC layout. tags: "auto", "xml", "csv" or "masks". limit: images per split at most, 0 = all.
    lists: (split, name of its list) pairs, where they aren't the same."""

    root: str
    tags: str = "auto"
    limit: int = 0
    lists: tuple[tuple[str, str], ...] = ()
    readers = (_folder, _split)

    @property
    def folder(self):
        return _folder(self.root, self.tags)


@dataclass(frozen=True)
class StandInFolder:
    """What a folder in VOC layout tells of its images before it is looked into. splits: counts of images by list."""

    classes: tuple[str, ...]
    splits: dict[str, int]
    fingerprint = "VOC 2012, assumed"
    tags_source = "xml"

    def names(self, split: str) -> range:
        """As many as there are images in a list."""
        return range(self.splits[split])


def voc2012() -> StandInFolder:
    """VOC 2012 with the images that SBD adds."""
    from wsss_lab.data.augmented import COUNT, VOC_COUNTS
    from wsss_lab.data.folder import VOC_CLASSES

    return StandInFolder(VOC_CLASSES, {AUGMENTED: COUNT} | VOC_COUNTS)


@dataclass(frozen=True)
class StandInWorld(FolderWorld):
    """Stands in for VOC 2012 with SBD in a forecast: its images are counted and never opened."""

    root: str = "VOC2012"
    folder = property(lambda self: voc2012())


@dataclass(frozen=True)
class CocoWorld(PhotoWorld):
    """COCO 2014 with the masks of COCO-Stuff (wsss_lab.data.coco). limit: images per split at most, 0 = all."""

    root: str
    limit: int = 0
    readers = (_coco, _split)

    @property
    def folder(self):
        return _coco(self.root)


@dataclass(frozen=True)
class WeightsFile:
    """A file of start weights as an input of a step; its key is a hash of its content and of the code that reads it."""

    path: str
    exposes_masks: bool = False
    steps: tuple = ()

    @cached_property
    def key(self) -> str:
        content = hashlib.blake2b(Path(self.path).read_bytes(), digest_size=16).hexdigest()
        return json.dumps([content, *code_of(_read)])

    def load(self, store) -> dict:
        return _read(self.path)


def _read(path: str) -> dict:
    from wsss_lab.networks.weights import read_weights

    return read_weights(path)


@dataclass(frozen=True)
class StandInWeights(WeightsFile):
    """Stands in for start weights in a forecast: nothing can be loaded."""

    @property
    def key(self) -> str:
        return f"{self.path}, assumed"


@dataclass(frozen=True)
class MapsFolder:
    """A folder of maps that somebody else made; its key follows the names, sizes and dates of its files."""

    path: str
    exposes_masks: bool = False
    steps: tuple = ()

    @cached_property
    def key(self) -> str:
        from wsss_lab.saliency.precomputed import files_of

        if not Path(self.path).is_dir():
            raise DataError(f"no folder '{self.path}'", "a folder with one .png or .npy saliency map per image")
        facts = [sorted(found.values()) for found in files_of(Path(self.path)).values()]
        return hashlib.blake2b(json.dumps([self.path, facts]).encode(), digest_size=16).hexdigest()

    def load(self, store) -> str:
        return self.path


def saliency_folder(detector: str, known: Sequence[str]) -> MapsFolder | None:
    """The maps of a detector in the folder that WSSS_SALIENCY names, <folder>/<detector>; None where there are none.
    known: names that such folders can have. Raises DataError when the variable names a folder with none of them."""
    root = os.environ.get("WSSS_SALIENCY", "")
    if not root:
        return None
    there = [name for name in known if (Path(root) / name).is_dir()]
    if not there:
        raise DataError(f"WSSS_SALIENCY={root} holds no saliency maps",
                        f"a folder with {' or '.join(known)} in it, each with one .png or .npy map per image",
                        "correct the path, or unset the variable")
    return MapsFolder(str(Path(root) / detector)) if detector in there else None


def weights_file(name: str, try_out: Callable[[dict, str], None]) -> WeightsFile:
    """A file of the folder that WSSS_WEIGHTS names, looked at before anything runs.

    try_out(state, path): puts the weights into their network. Raises WeightsError when the file isn't there, with the
    command that fetches it, is damaged or is for another architecture.
    """
    if stands_in(WEIGHTS):
        return StandInWeights(name)
    file = WeightsFile(str(Path(os.environ.get(WEIGHTS, "")) / name))
    if not (path := Path(file.path)).is_file():
        from wsss_lab.data.files import fetch_command
        from wsss_lab.lab.doctor import WEIGHT_FILES

        use, source = WEIGHT_FILES.get(path.name, ("a PyTorch state dict", ""))
        by_hand = "put it there, or set WSSS_WEIGHTS to its folder; `wsss data imagenet-weights` says who shares it"
        raise WeightsError(f"no weights file '{path}'", use, fetch_command(source, path.parent) if source else by_hand)
    try_out(file.load(None), file.path)
    return file
