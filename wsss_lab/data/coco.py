"""COCO 2014 (Lin et al. 2014) with the masks of COCO-Stuff (Caesar et al. 2018), as Lee et al. 2021 use them (Sec. 4).

    images/<split>2014/<name>.jpg, or <split>2014/<name>.jpg    the photographs
    annotations/instances_<split>2014.json                      image sizes, categories, boxes of the objects
    stuffthingmaps/<split>2014/<name>.png                       pixel maps, grey PNG

The splits are "train" and "val". COCO-Stuff is published under the names of 2017, which divide the same photographs
otherwise: a map is also found as stuffthingmaps/train2017/000000000009.png or val2017/..., by its twelve digits.

Images without any annotated object are left out, as in the paper: 82,081 of train and 40,137 of val remain. Tags come
from the json alone; masks are opened by evaluation views only.
"""

import contextlib
import hashlib
import json
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wsss_lab.data.canvas import IGNORE
from wsss_lab.data.coco_outlines import OutlineMasks
from wsss_lab.data.files import fetch_command, listing, some
from wsss_lab.data.pixels import JpegFiles, LabelFiles, read_labels
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.errors import DataError

SPLITS = ("train", "val")
IMAGES, ANNOTATIONS, MASKS = "images", "annotations", "stuffthingmaps"
MASK_FOLDERS_OF_2017 = ("train2017", "val2017")
LOOKED_AT = 40  # maps, to see whether their labels are the right ones
LAST_THING, LAST_STUFF = 91, 181  # the greatest category id of a thing; the greatest value of a pixel map
GET_JSON = "unpack annotations_trainval2014.zip of cocodataset.org here"


class Annotated(NamedTuple):
    """What the json of a split says of its N images with an object, in order of the image ids.

    categories: (id, name) of the C categories, by id    names: N image names
    tags: bool (N, C)    facts: float64 (N, 2), see `CocoFolder.object_facts`
    """

    categories: tuple[tuple[int, str], ...]
    names: tuple[str, ...]
    tags: np.ndarray
    facts: np.ndarray


class CocoFolder:
    """A folder with COCO 2014 in the layout above, whose files are read, and checked, when a view asks for them.

    root: the folder    splits: those of "train" and "val" that have a json    classes: category names by category id
    Raises DataError for a missing folder, or one without any json.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = Path(root)
        self.splits = tuple(split for split in SPLITS if self._json(split).is_file())
        self._known: dict[str, Annotated] = {}
        if not self.splits:
            missing = f"no file {self._json('train')}" if self.root.is_dir() else f"no folder {self.root}"
            raise self._error(missing, "a folder with COCO 2014: images/, annotations/, stuffthingmaps/", GET_JSON)

    def __repr__(self) -> str:
        return f"CocoFolder({str(self.root)!r}: {', '.join(self.splits)})"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the categories in order of their ids: 80 of COCO, whose ids 1..90 have gaps."""
        return tuple(name for _, name in self._read(self.splits[0]).categories)

    def names(self, split: str) -> tuple[str, ...]:
        """Names of the images of a split that show an object, in order of their ids.

        Raises DataError for an unknown split, a damaged json and images without a file.
        """
        self._photographs(split)
        return self._read(split).names

    def train_view(self, split: str) -> TrainView:
        """Images and tags of a split; opens no mask.

        A class is present if one of its objects is annotated. Crowds count: COCO-Stuff paints them as their class.
        """
        return TrainView(*self._train_arguments(split))

    def eval_view(self, split: str) -> EvalView:
        """Images, tags and masks of a split. Raises DataError for missing masks, and for those of other labels.

        A mask has the classes 1..C where COCO-Stuff has a thing of the json's categories and 0, background, on stuff
        and all other things. Pixels without a label, 255, stay void: they aren't scored (the paper doesn't say).
        Without any map of COCO-Stuff, masks are painted from the outlines, see `wsss_lab.data.coco_outlines`.
        """
        arguments, found = self._train_arguments(split), self._read(split)
        if not any(listing(folder, ".png") for folder in self._mask_folders(*self.splits)):
            return EvalView(*arguments, masks=OutlineMasks(self._json(split), found.names, found.categories))
        files = LabelFiles(self._mask_paths(split), arguments[-1], LAST_STUFF)
        check_labels(files.paths, found)
        return EvalView(*arguments, masks=StuffMasks(files, label_table(found.categories)))

    def object_facts(self, split: str) -> np.ndarray:
        """How many objects an image has, and the mean area of their boxes as a share of the image.

        returns: float64 (N, 2), rows as in `names`. A crowd is no object here, its number being unknown; an image with
        crowds alone has 0 objects, and NaN as their mean area.
        """
        return self._read(split).facts

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of names, sizes and times of change of the json files, the images and the masks."""
        folders = [(self.root / ANNOTATIONS, self._json(split).name) for split in self.splits]
        folders += [(self._images(split), ".jpg") for split in self.splits]
        folders += [(folder, ".png") for folder in self._mask_folders(*self.splits)]
        stamps = [[str(folder.relative_to(self.root)), sorted(listing(folder, suffix).items())]
                  for folder, suffix in folders]
        return hashlib.blake2b(json.dumps(stamps).encode(), digest_size=16).hexdigest()

    def _error(self, told: str, expected: str, by_hand: str) -> DataError:
        return DataError(told, expected, f"{by_hand}; or let the command do it: {fetch_command('coco', self.root)}")

    def _json(self, split: str) -> Path:
        return self.root / ANNOTATIONS / f"instances_{split}2014.json"

    def _images(self, split: str) -> Path:
        nested, flat = self.root / IMAGES / f"{split}2014", self.root / f"{split}2014"
        return flat if flat.is_dir() and not nested.is_dir() else nested

    def _photographs(self, split: str) -> list[Path]:
        names, folder = self._read(split).names, self._images(split)
        present = listing(folder, ".jpg")
        if missing := [name for name in names if name not in present]:
            raise self._error(f"{folder}: {len(missing)} of {len(names)} images of {self._json(split).name} are missing"
                              f": {some(missing)}", f"one <name>.jpg per image, in {IMAGES}/{split}2014 or {split}2014",
                              f"unpack {split}2014.zip of cocodataset.org there")
        return [folder / present[name].name for name in names]

    def _mask_folders(self, *splits: str) -> list[Path]:
        return [self.root / MASKS / name for name in (*(f"{split}2014" for split in splits), *MASK_FOLDERS_OF_2017)]

    def _read(self, split: str) -> Annotated:
        if split not in self.splits:
            raise self._error(f"no file {self._json(split)}", f"one of the splits {', '.join(self.splits)}",
                              f"choose one of these, or {GET_JSON}")
        if split not in self._known:
            found = read_annotations(self._json(split))
            for other, known in self._known.items():
                if known.categories != found.categories:
                    raise DataError(f"{self._json(split)} has other categories than {self._json(other).name}",
                                    "the same ids and names in both", GET_JSON)
            self._known[split] = found
        return self._known[split]

    def _train_arguments(self, split: str) -> tuple:
        found, images = self._read(split), JpegFiles(self._photographs(split))
        classes, source = tuple(name for _, name in found.categories), f"json {self._json(split).name}"
        return f"{self.root.name}/{split}", classes, found.names, found.tags, source, images

    def _mask_paths(self, split: str) -> list[Path]:
        names, folders = self._read(split).names, self._mask_folders(split)
        by_number: dict[str, Path] = {}
        for folder in folders:
            for name, file in listing(folder, ".png").items():
                by_number.setdefault(_number(name), folder / file.name)
        if missing := [name for name in names if _number(name) not in by_number]:
            raise self._error(
                f"{folders[0]}: {len(missing)} of {len(names)} images of {split} have no mask: {some(missing)}",
                f"one <name>.png per image, here or under its twelve digits in {' or '.join(MASK_FOLDERS_OF_2017)}",
                "unpack stuffthingmaps_trainval2017.zip of COCO-Stuff there")
        return [by_number[_number(name)] for name in names]


class StuffMasks:
    """Pixel maps of COCO-Stuff by row, as masks: every value through a table."""

    def __init__(self, files: LabelFiles, table: np.ndarray):
        """files: the maps, checked when read    table: uint8 (256,), see `label_table`"""
        self.files, self.table = files, table

    def read(self, row: int) -> np.ndarray:
        return self.table[self.files.read(row)]


def check_labels(maps: Sequence[Path], found: Annotated) -> None:
    """Raises DataError where more than a quarter of the things that some maps show are none that the json annotates:
    their labels are others. COCO-Stuff itself has released such maps, whose things count from 1."""
    shown, strange = [0, 0], [0, 0]  # by where things count from
    table = label_table(found.categories)
    for row in np.unique(np.linspace(0, len(found.names) - 1, LOOKED_AT).astype(int)):
        with contextlib.suppress(DataError):  # told when the mask is asked for
            values = np.unique(read_labels(maps[row]))
            for first in (0, 1):
                things = set(table[values[values >= first] - first].tolist()) - {0, IGNORE}
                shown[first] += len(things)
                strange[first] += sum(not found.tags[row, label - 1] for label in things)
    if strange[0] > shown[0] / 4:
        from_one = strange[1] < shown[1] / 4
        raise DataError(
            f"{maps[0].parent}: {strange[0]} of {shown[0]} things in maps looked at are none that the json annotates"
            f"{'; they are where things count from 1' if from_one else ''}",
            f"COCO-Stuff's labels: things from 0 to {LAST_THING - 1}, stuff to {LAST_STUFF}, no label 255",
            "unpack stuffthingmaps_trainval2017.zip of COCO-Stuff there"
            f"{', or write each label less 1, and 255 for 0' if from_one else ''}")


def label_table(categories: tuple[tuple[int, str], ...]) -> np.ndarray:
    """The mask label of every value of a COCO-Stuff pixel map: uint8 (256,).

    categories: (id, name) of the C categories, by id
    Value v is the thing of category v + 1 (0..90) or stuff (91..181): category k of C becomes label k, everything else
    background, 255 stays void.

    >>> label_table(((1, "person"), (13, "stop sign")))[[0, 12, 11, 120, 255]].tolist()
    [1, 2, 0, 0, 255]
    """
    table = np.zeros(256, np.uint8)
    table[IGNORE] = IGNORE
    for label, (category, _) in enumerate(categories, start=1):
        table[category - 1] = label
    return table


def read_annotations(path: Path) -> Annotated:
    """The facts of an instances_*.json, without its outlines; images without an annotation are left out.

    Raises DataError for a file that cannot be read, isn't JSON, lacks one of its three lists or a field of an entry,
    has no annotation, or one of an image or category that it doesn't list.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            return _annotated(json.load(file))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        reason = error
    except DataError as error:
        reason = error.problem
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        reason = f"an entry is not as it should be ({type(error).__name__}: {error})"
    raise DataError(f"{path} is damaged: {reason}", "COCO's JSON: lists of images, annotations and categories, "
                    f"category ids from 1 to {LAST_THING}", GET_JSON)


def _annotated(content: Any) -> Annotated:
    parts = ("images", "annotations", "categories")
    if lost := [part for part in parts if not isinstance(content, dict) or not isinstance(content.get(part), list)]:
        raise DataError(f"no list {', '.join(lost)}")
    categories = tuple(sorted((int(entry["id"]), str(entry["name"])) for entry in content["categories"]))
    column = {category: index for index, (category, _) in enumerate(categories)}
    outside = [category for category in column if not 1 <= category <= LAST_THING]
    if outside or len(column) < len(categories):
        raise DataError(f"category ids {some(map(str, outside))}" if outside else "a category id comes twice")
    images = {entry["id"]: (Path(entry["file_name"]).stem, entry["width"] * entry["height"])
              for entry in content["images"]}
    present, shares = _objects(content["annotations"], images, column)
    if not present:
        raise DataError("no annotation of an object")
    tags, facts = np.zeros((len(present), len(categories)), bool), np.zeros((len(present), 2))
    for row, image in enumerate(sorted(present)):
        tags[row, list(present[image])] = True
        facts[row] = len(shares[image]), np.mean(shares[image]) if shares[image] else np.nan
    return Annotated(categories, tuple(images[image][0] for image in sorted(present)), tags, facts)


def _objects(annotations: list[dict], images: dict, column: dict) -> tuple[dict, dict]:
    """By image id: the columns of its categories, crowds included, and the box shares of its single objects."""
    present, shares = defaultdict(set), defaultdict(list)
    for entry in annotations:
        image, category = entry["image_id"], entry["category_id"]
        if image not in images or category not in column:
            raise DataError(f"annotation {entry.get('id')} belongs to image {image} and category {category}, "
                            "which are not both listed")
        present[image].add(column[category])
        if not entry.get("iscrowd", 0):
            _, _, width, height = entry["bbox"]
            if not (0 <= width < math.inf and 0 <= height < math.inf):
                raise DataError(f"annotation {entry.get('id')} has the box {entry['bbox']}")
            shares[image].append(width * height / images[image][1])
    return present, shares


def _number(name: str) -> str:
    """The digits that an image is known by in both years.

    >>> _number("COCO_train2014_000000000009") == _number("000000000009")
    True
    """
    return name.rpartition("_")[2]
