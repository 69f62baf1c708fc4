"""Worlds on disk in the layout of PASCAL VOC.

    JPEGImages/<name>.jpg                        the photographs
    SegmentationClass/<name>.png                 palette PNG: 0 background, 1..C classes, 255 void
    SegmentationContext/<name>.png               optional: 1..R kinds of surroundings, 255 void
    ImageSets/Segmentation/<split>.txt           one image name per line
    classes.txt, context_classes.txt             one name per line, line k is label k
    Annotations/<name>.xml or image_labels.csv   optional: tags

Without classes.txt the classes are the 20 of VOC; contexts are read only where both folder and list exist.
Masks are opened by evaluation views only, unless the tags themselves are asked from them.
"""

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from wsss_lab.data.files import File, complete_voc, each_once, image_named, listing, meant_instead, read_list, some
from wsss_lab.data.pixels import JpegFiles, LabelFiles
from wsss_lab.data.tags import Tags, images_in_csv, tags_from_csv, tags_from_masks, tags_from_xml
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.errors import DataError, ParameterError, problem

if TYPE_CHECKING:
    from wsss_lab.data.folder_check import Finding

VOC_CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
               "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")
IMAGES, MASKS, CONTEXTS, ANNOTATIONS = "JPEGImages", "SegmentationClass", "SegmentationContext", "Annotations"
#: What every image of a split needs: what it is called, and what to do without one where nothing can be fetched.
NEEDED = {MASKS: ("mask", "add the masks, or remove these images from the split list"),
          ANNOTATIONS: ("XML annotation", 'add the files, or read the tags elsewhere: tags="csv" or tags="masks"')}
SUFFIXES = {IMAGES: ".jpg", MASKS: ".png", CONTEXTS: ".png", ANNOTATIONS: ".xml"}
SPLITS = Path("ImageSets") / "Segmentation"
TAG_TABLE, CLASS_LIST, CONTEXT_LIST = "image_labels.csv", "classes.txt", "context_classes.txt"
VOC_SPLITS = ("train", "val")  # that can be fetched
MOST_CLASSES = 254
#: What lists of other programs say before the first class: label 0, and pixels to leave out.
NO_CLASSES = ("background", "_background_", "__background__", "__ignore__")


class VocReader:
    """A folder in VOC layout, whose files are read, and checked, when a view asks for them.

    root: the folder    tags: "xml", "csv", "masks", or "auto" for the first of these that the folder has
    classes, context_classes: label names in order    splits: names of the split lists
    tags_source: "xml", "csv" or "masks", resolved
    Raises DataError for a missing or empty folder, ParameterError for an unknown word for `tags`.
    """

    def __init__(self, root: str | os.PathLike, tags: str = "auto"):
        self.root = Path(root)
        self._images = listing(self.root / IMAGES, ".jpg")
        if not self._images:
            raise self._no_images()
        self.classes = _classes(self.root / CLASS_LIST, VOC_CLASSES)
        self.context_classes = _classes(self.root / CONTEXT_LIST, ())
        self.has_context = bool(self.context_classes) and (self.root / CONTEXTS).is_dir()
        self.splits = tuple(sorted(listing(self.root / SPLITS, ".txt")))
        self.tags_source = self._resolve(tags)
        self._tags: dict[str, Tags] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r}: {', '.join(self.splits)}; tags from {self.tags_source})"

    def names(self, split: str) -> tuple[str, ...]:
        """Image names of a split. Raises DataError for an unknown split or a list that names other things.

        Lines may be paths, as in other programs' lists, where they mean one image each.
        """
        path, lines = self._listed(split)
        names = tuple(image_named(line, self._images) for line in lines)
        if None not in names:
            each_once(path, names)
            return names
        unknown = [line for line, name in zip(lines, names, strict=True) if name is None]
        if columns := [line for line in unknown if image_named(line.split()[0], self._images)]:
            raise problem("columns", path, count=len(columns), names=some(columns))
        raise DataError(f"{path}: {len(unknown)} of {len(names)} images are not in {IMAGES}: {some(unknown)}",
                        "image names without folder and .jpg, one per line",
                        self._remedy("add the images or correct the list"))

    def train_view(self, split: str) -> TrainView:
        """Images and tags of a split. Opens no mask, unless `tags_source` is "masks"."""
        return TrainView(*self._train_arguments(split))

    def eval_view(self, split: str) -> EvalView:
        """Images, tags, masks and, if the folder has them, contexts. Raises DataError for missing masks."""
        names = self.names(split)
        self._require(MASKS, split, names)
        return EvalView(*self._train_arguments(split), masks=self._labels(MASKS, names),
                        contexts=self._labels(CONTEXTS, names) if self.has_context else None,
                        context_classes=self.context_classes if self.has_context else ())

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of class and split lists, sizes and times of the files in use, and the tags' source."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.classes, self.context_classes, self.tags_source)).encode())
        used = [IMAGES, MASKS, *[CONTEXTS] * self.has_context, *[ANNOTATIONS] * (self.tags_source == "xml")]
        stamps = [self._listing(folder) for folder in used]
        for split in self.splits:
            names = self.names(split)
            digest.update(repr((split, names)).encode())
            digest.update(repr([[stamp.get(name) for name in names] for stamp in stamps]).encode())
        if self.tags_source == "csv":
            digest.update((self.root / TAG_TABLE).read_bytes())
        return digest.hexdigest()

    def _resolve(self, tags: str) -> str:
        places = {"xml": f"{ANNOTATIONS}/*.xml", "csv": TAG_TABLE, "masks": f"{MASKS}/*.png"}
        if tags not in ("auto", *places):
            raise ParameterError(f"tags={tags!r}", f"auto, {', '.join(places)}")
        available = {"xml": bool(self._listing(ANNOTATIONS)), "csv": (self.root / TAG_TABLE).is_file(),
                     "masks": (self.root / MASKS).is_dir()}
        wanted = tuple(places) if tags == "auto" else (tags,)
        if found := [kind for kind in wanted if available[kind]]:
            return found[0]
        raise DataError(f"{self.root}: no tags", " or ".join(places[kind] for kind in wanted),
                        'add them, or choose what the folder has with tags="xml", "csv" or "masks"')

    def _train_arguments(self, split: str) -> tuple:
        names = self.names(split)
        tags = self._read_tags(split, names)
        images = JpegFiles(self._paths(IMAGES, names))
        return f"{self.root.name}/{split}", self.classes, names, tags.values, tags.source, images

    def _list_path(self, split: str) -> Path:
        present = listing(self.root / SPLITS, ".txt")
        return self.root / SPLITS / (present[split].name if split in present else f"{split}.txt")

    def _listed(self, split: str) -> tuple[Path, tuple[str, ...]]:
        """The list of a split, and its lines."""
        path = self._list_path(split)
        if split in self.splits:
            return path, read_list(path)
        known = f"one of {', '.join(self.splits)}" if self.splits else f"at least one list in {path.parent}"
        own = "choose one of these, or add the list; an interrupted export has none: run it again"
        raise DataError(f"no split file {path}", known, self._remedy(own) if split in VOC_SPLITS else own)

    def _read_tags(self, split: str, names: Sequence[str]) -> Tags:
        if split in self._tags:
            return self._tags[split]
        if self.tags_source == "csv":
            tags = tags_from_csv(self.root / TAG_TABLE, names, self.classes, known=self._images)
        else:
            self._require(ANNOTATIONS if self.tags_source == "xml" else MASKS, split, names)
            if self.tags_source == "xml":
                tags = tags_from_xml(self._paths(ANNOTATIONS, names), self.classes)
            else:
                masks = self._labels(MASKS, names)
                tags = tags_from_masks(map(masks.read, range(len(names))), len(self.classes))
        return self._tags.setdefault(split, tags)

    def _require(self, folder: str, split: str, names: Sequence[str]) -> None:
        (what, own), present = NEEDED[folder], self._listing(folder)
        if missing := [name for name in names if name not in present]:
            raise DataError(f"{self.root / folder}: {len(missing)} of {len(names)} images of {split} have no {what}: "
                            f"{some(missing)}", f"one <image name>{SUFFIXES[folder]} per image", self._remedy(own))

    def _no_images(self) -> DataError:
        folder = self.root / IMAGES
        missing = f"{self.root}: no image in {IMAGES}" if self.root.is_dir() else f"no folder {self.root}"
        if others := sorted(path.name for path in folder.iterdir()) if folder.is_dir() else ():
            missing += f", only {some(others)}"
        if meant := meant_instead(self.root, IMAGES):
            fix = f"did you mean {meant}?"
        else:
            own = "set WSSS_DATA (or the option) to such a folder"
            fix = self._remedy(own) if (self.root / SPLITS).is_dir() else own
        return DataError(missing, f"a folder in VOC layout: {IMAGES}/*.jpg, {MASKS}/*.png, {SPLITS}/<split>.txt", fix)

    def _remedy(self, own: str) -> str:
        """What fetches missing files; `own` for photographs with a list of classes, which can't be fetched."""
        return own if (self.root / CLASS_LIST).exists() else complete_voc(self.root)

    def _listing(self, folder: str) -> dict[str, File]:
        return self._images if folder == IMAGES else listing(self.root / folder, SUFFIXES[folder])

    def _labels(self, folder: str, names: Sequence[str]) -> LabelFiles:
        largest = len(self.context_classes if folder == CONTEXTS else self.classes)
        return LabelFiles(self._paths(folder, names), JpegFiles(self._paths(IMAGES, names)), largest)

    def _paths(self, folder: str, names: Sequence[str]) -> tuple[Path, ...]:
        """Where the files of images are, or would be."""
        present = self._listing(folder)
        return tuple(self.root / folder / (present[name].name if name in present else f"{name}{SUFFIXES[folder]}")
                     for name in names)


class VocFolder(VocReader):
    """A folder in VOC layout that can be looked through as a whole.

    Apart from what reads it, so that results made from a folder don't depend on the code of its check.
    """

    def check(self, *splits: str) -> tuple["Finding", ...]:
        """Read all files of splits, by default of all, and return what is worth a word and stops nothing.

        Raises one DataError with a table of all problems: file, what is wrong with it, what to do.
        """
        from wsss_lab.data.folder_check import check_folder, told

        return told(self.root, check_folder(self, splits or self.splits))

    def tagged(self) -> set[str]:
        """Images that have an annotation or, where tags are read from a table, a row in it."""
        if self.tags_source == "csv":
            return images_in_csv(self.root / TAG_TABLE, self._images)
        return set(self._listing(ANNOTATIONS))

    @property
    def stamps(self) -> list:
        """Names, sizes and times of change of all files, in use or not."""
        places = (*SUFFIXES.items(), (SPLITS, ".txt"), (".", ".txt"), (".", ".csv"))
        return [sorted(listing(self.root / folder, suffix).items()) for folder, suffix in places]


def _classes(path: Path, default: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a list, or `default` without one. Raises DataError for an odd list."""
    if not path.exists() and not path.is_symlink():
        return default
    classes = read_list(path)
    each_once(path, classes)
    first = next((place for place, name in enumerate(classes) if name.casefold() not in NO_CLASSES), len(classes))
    for number, name in enumerate(classes[first:], start=1):
        if name.casefold() in (*NO_CLASSES, "void"):
            raise problem("background", path, names=name, number=number)
    if not 1 <= len(classes) - first <= MOST_CLASSES:
        raise problem("many classes", path, number=len(classes) - first)
    return classes[first:]
