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
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from torch import Tensor

from wsss_lab.data.canvas import Box, to_canvas
from wsss_lab.data.remedies import complete_voc, meant_instead
from wsss_lab.data.tags import Tags, some, tags_from_csv, tags_from_masks, tags_from_xml
from wsss_lab.data.views import EvalView, TrainView, every, labels_outside, stack_canvases
from wsss_lab.errors import DataError, ParameterError

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
IMAGES, MASKS, CONTEXTS, ANNOTATIONS = "JPEGImages", "SegmentationClass", "SegmentationContext", "Annotations"
#: Folder: suffix of its files, what they are, and what to do without one where nothing can be fetched.
NEEDED = {
    MASKS: (".png", "mask", "add the masks, or remove these images from the split list"),
    ANNOTATIONS: (".xml", "XML annotation", 'add the files, or read the tags elsewhere: tags="csv" or tags="masks"'),
}
SPLITS = Path("ImageSets") / "Segmentation"
TAG_TABLE, CLASS_LIST, CONTEXT_LIST = "image_labels.csv", "classes.txt", "context_classes.txt"
VOC_SPLITS = ("train", "val")  # that can be fetched
CACHE_BYTES = 512 * 2**20


class VocFolder:
    """A folder in VOC layout.

    root: the folder    tags: "xml", "csv", "masks", or "auto" for the first of these that the folder has
    classes, context_classes: label names in order    splits: names of the split lists
    tags_source: "xml", "csv" or "masks", resolved

    Files are read, and checked, when a view asks for them; `check(split)` reads them all.
    Raises DataError for a missing or empty folder, ParameterError for an unknown word for `tags`.
    """

    def __init__(self, root: str | os.PathLike, tags: str = "auto"):
        self.root = Path(root)
        self._images = listing(self.root / IMAGES, ".jpg")
        if not self._images:
            raise self._no_images()
        self.classes = _read_list(self.root / CLASS_LIST, VOC_CLASSES)
        self.context_classes = _read_list(self.root / CONTEXT_LIST, ())
        self.has_context = bool(self.context_classes) and (self.root / CONTEXTS).is_dir()
        self.splits = tuple(sorted(listing(self.root / SPLITS, ".txt")))
        self.tags_source = self._resolve(tags)
        self._tags: dict[str, Tags] = {}

    def __repr__(self) -> str:
        return f"VocFolder({str(self.root)!r}: {', '.join(self.splits)}; tags from {self.tags_source})"

    def names(self, split: str) -> tuple[str, ...]:
        """Image names of a split. Raises DataError for an unknown split or a list that names other things."""
        names = self._listed(split)
        unknown = [name for name in names if name not in self._images]
        if unknown:
            shown = f"{len(unknown)} of {len(names)} images are not in {IMAGES}: {some(unknown)}"
            raise DataError(f"{self._list_path(split)}: {shown}", "image names without folder and .jpg, one per line",
                            self._remedy("add the images or correct the list"))
        return names

    def train_view(self, split: str) -> TrainView:
        """Images and tags of a split. Opens no mask, unless `tags_source` is "masks"."""
        return TrainView(*self._train_arguments(split))

    def eval_view(self, split: str) -> EvalView:
        """Images, tags, masks and, if the folder has them, contexts. Raises DataError for missing masks."""
        names, contexts = self.names(split), None
        self._require(MASKS, split, names)
        arguments = self._train_arguments(split)
        if self.has_context:
            contexts = self._labels(CONTEXTS, names, len(self.context_classes))
        return EvalView(
            *arguments,
            masks=self._labels(MASKS, names, len(self.classes)),
            contexts=contexts,
            context_classes=self.context_classes if self.has_context else (),
        )

    def check(self, split: str) -> None:
        """Read all files of a split. Raises one DataError with all problems."""
        names = self._listed(split)
        images = JpegFiles(self._paths(IMAGES, names, ".jpg"))
        labels = [self._labels(MASKS, names, len(self.classes))]
        if self.has_context:
            labels.append(self._labels(CONTEXTS, names, len(self.context_classes)))
        reads = [partial(source.read, row) for row in range(len(names)) for source in (images, *labels)]
        if self.tags_source != "masks":  # tags from masks can only repeat the problems of the masks
            reads.insert(0, partial(self._read_tags, split, names))
        found = [error for error in map(_problem_of, reads) if error is not None]
        # A missing image is met again when the size of its mask is compared.
        problems = dict.fromkeys(f"{error.problem} (expected: {error.expected})" for error in found)
        if problems:
            lines = "".join(f"\n  - {problem}" for problem in problems)
            raise DataError(
                f"{self.root}, split {split}: {len(problems)} problems{lines}",
                "sound files",
                "correct, download again or remove these files (and their names in the split list)",
            )

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of class and split lists, sizes and times of the files in use, and the tags' source."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.classes, self.context_classes, self.tags_source)).encode())
        folders = [(IMAGES, ".jpg"), (MASKS, ".png")]
        folders += [(CONTEXTS, ".png")] if self.has_context else []
        folders += [(ANNOTATIONS, ".xml")] if self.tags_source == "xml" else []
        stamps = [listing(self.root / folder, suffix) for folder, suffix in folders]
        for split in self.splits:
            names = self.names(split)
            digest.update(repr((split, names)).encode())
            digest.update(repr([[stamp.get(name) for name in names] for stamp in stamps]).encode())
        if self.tags_source == "csv":
            digest.update((self.root / TAG_TABLE).read_bytes())
        return digest.hexdigest()

    def _resolve(self, tags: str) -> str:
        available = {
            "xml": any((self.root / ANNOTATIONS).glob("*.xml")),
            "csv": (self.root / TAG_TABLE).is_file(),
            "masks": (self.root / MASKS).is_dir(),
        }
        if tags not in ("auto", *available):
            raise ParameterError(f"tags={tags!r}", f"auto, {', '.join(available)}")
        wanted = tuple(available) if tags == "auto" else (tags,)
        found = next((kind for kind in wanted if available[kind]), None)
        if found is None:
            places = {"xml": f"{ANNOTATIONS}/*.xml", "csv": TAG_TABLE, "masks": f"{MASKS}/*.png"}
            raise DataError(
                f"{self.root}: no tags",
                " or ".join(places[kind] for kind in wanted),
                'add them, or choose what the folder has with tags="xml", "csv" or "masks"',
            )
        return found

    def _train_arguments(self, split: str) -> tuple:
        names = self.names(split)
        tags = self._read_tags(split, names)
        images = JpegFiles(self._paths(IMAGES, names, ".jpg"))
        return f"{self.root.name}/{split}", self.classes, names, tags.values, tags.source, images

    def _list_path(self, split: str) -> Path:
        return self.root / SPLITS / f"{split}.txt"

    def _listed(self, split: str) -> tuple[str, ...]:
        path = self._list_path(split)
        if split not in self.splits:
            known = f"one of {', '.join(self.splits)}" if self.splits else f"at least one list in {path.parent}"
            own = "choose one of these, or add the list; an interrupted export has none: run it again"
            raise DataError(f"no split file {path}", known, self._remedy(own) if split in VOC_SPLITS else own)
        return _read_list(path)

    def _read_tags(self, split: str, names: Sequence[str]) -> Tags:
        if split not in self._tags:
            if self.tags_source == "xml":
                self._require(ANNOTATIONS, split, names)
                tags = tags_from_xml(self.root / ANNOTATIONS, names, self.classes)
            elif self.tags_source == "csv":
                tags = tags_from_csv(self.root / TAG_TABLE, names, self.classes, known=self._images)
            else:
                self._require(MASKS, split, names)
                masks = self._labels(MASKS, names, len(self.classes))
                tags = tags_from_masks(map(masks.read, range(len(names))), len(self.classes))
            self._tags[split] = tags
        return self._tags[split]

    def _require(self, folder: str, split: str, names: Sequence[str]) -> None:
        suffix, what, own = NEEDED[folder]
        present = listing(self.root / folder, suffix)
        if missing := [name for name in names if name not in present]:
            shown = f"{len(missing)} of {len(names)} images of {split} have no {what}: {some(missing)}"
            raise DataError(f"{self.root / folder}: {shown}", f"one <image name>{suffix} per image", self._remedy(own))

    def _no_images(self) -> DataError:
        problem = f"{self.root}: no image in {IMAGES}" if self.root.is_dir() else f"no folder {self.root}"
        expected = f"a folder in VOC layout: {IMAGES}/*.jpg, {MASKS}/*.png, {SPLITS}/<split>.txt"
        if meant := meant_instead(self.root, IMAGES):
            return DataError(problem, expected, f"did you mean {meant}?")
        own = "set WSSS_DATA (or the option) to such a folder"
        return DataError(problem, expected, self._remedy(own) if (self.root / SPLITS).is_dir() else own)

    def _remedy(self, own: str) -> str:
        """What fetches missing files; `own` for photographs with a list of classes, which can't be fetched."""
        return own if (self.root / CLASS_LIST).exists() else complete_voc(self.root)

    def _labels(self, folder: str, names: Sequence[str], largest: int) -> "LabelFiles":
        images = JpegFiles(self._paths(IMAGES, names, ".jpg"))
        return LabelFiles(self._paths(folder, names, ".png"), images, largest)

    def _paths(self, folder: str, names: Sequence[str], suffix: str) -> tuple[Path, ...]:
        return tuple(self.root / folder / f"{name}{suffix}" for name in names)


class JpegFiles:
    """Photographs by row, decoded when read; their canvases stay in memory up to a limit."""

    def __init__(self, paths: Sequence[Path], cache_bytes: int = CACHE_BYTES):
        self.paths = tuple(paths)
        self._canvases = CanvasCache(cache_bytes)

    def read(self, row: int) -> np.ndarray:
        return read_image(self.paths[row])

    def size(self, row: int) -> tuple[int, int]:
        return image_size(self.paths[row])

    def canvas(self, rows: np.ndarray, side: int) -> tuple[Tensor, Tensor]:
        return stack_canvases(every(partial(self._canvas, side=side), rows.tolist()), side)

    def _canvas(self, row: int, side: int) -> tuple[np.ndarray, Box]:
        return self._canvases.get((row, side), lambda: to_canvas(self.read(row), side))


class LabelFiles:
    """Palette PNGs by row, checked against the size of their image and the largest label when read."""

    def __init__(self, paths: Sequence[Path], images: JpegFiles, largest: int):
        self.paths, self.images, self.largest = tuple(paths), images, largest

    def read(self, row: int) -> np.ndarray:
        path = self.paths[row]
        labels = read_labels(path)
        size = self.images.size(row)
        if labels.shape != size:
            raise DataError(
                f"{path} is {_by(labels.shape)} pixels",
                f"{_by(size)}, the size of {self.images.paths[row].name}",
                "write it again at the size of its image",
            )
        outside = labels_outside(labels, self.largest)
        if outside:
            raise DataError(
                f"{path} has the label {', '.join(map(str, outside))}",
                f"0 to {self.largest}, or 255 for void",
                "correct the file, or complete the class list",
            )
        return labels


class CanvasCache:
    """Canvases by (row, side), the least recently used dropped first. A pickled copy starts empty.

    Several threads may use it at once; one that asks for what another is making makes it too.
    """

    def __init__(self, limit_bytes: int):
        self.limit_bytes, self._bytes = limit_bytes, 0
        self._entries: OrderedDict[tuple[int, int], tuple[np.ndarray, Box]] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self):
        return CanvasCache, (self.limit_bytes,)

    def get(self, key: tuple[int, int], make: Callable[[], tuple[np.ndarray, Box]]) -> tuple[np.ndarray, Box]:
        """The stored canvas and box, or those that `make` returns, kept if there is room."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        canvas, box = make()  # without the lock: this is what takes time
        with self._lock:
            if key not in self._entries:
                self._entries[key] = canvas, box
                self._bytes += canvas.nbytes
            while self._bytes > self.limit_bytes:
                _, (dropped, _) = self._entries.popitem(last=False)
                self._bytes -= dropped.nbytes
        return canvas, box


def read_image(path: Path) -> np.ndarray:
    """A JPEG as uint8 (H, W, 3), RGB, as stored (an orientation flag is not applied, masks do not have one).

    Raises DataError for a file that is missing, truncated or no image.
    """
    import cv2

    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not data.rstrip(b"\0").endswith(b"\xff\xd9"):
        _decode_strictly(path)  # OpenCV fills what is missing with grey, silently
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise _unreadable(path, "not a JPEG image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_labels(path: Path) -> np.ndarray:
    """A palette (or grey) PNG as its indices, uint8 (H, W); colours are never converted.

    Raises DataError for a file that is missing, truncated or in another mode.
    """
    image = _decode_strictly(path)
    if image.mode not in ("P", "L"):
        raise DataError(
            f"{path} is a PNG of mode {image.mode}",
            "a palette PNG (mode P) or 8-bit grey (mode L) whose values are the labels",
            "write the label indices, not their colours",
        )
    return np.array(image)


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) from the header of an image file. Raises DataError if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError) as error:
        raise _unreadable(path, error) from error


def _decode_strictly(path: Path):
    """The loaded PIL image; what is truncated or damaged raises DataError."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, reason: object) -> DataError:
    if not path.exists():
        return DataError(f"no file {path}", "one file per image of the split", "add it or correct the split list")
    return DataError(
        f"{path} is damaged or truncated: {reason}",
        "a complete image file",
        "remove it and download it again",
    )


def _problem_of(read: Callable[[], object]) -> DataError | None:
    try:
        read()
    except DataError as error:
        return error
    return None


def listing(folder: Path, suffix: str) -> dict[str, tuple[int, int]]:
    """Stem -> (size, time of change in ns) of the files with this suffix; empty without the folder."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.name.endswith(suffix)]
            stamps = [(entry.name.removesuffix(suffix), entry.stat()) for entry in found]
    except FileNotFoundError:
        return {}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stamps}


def _read_list(path: Path, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """The non-empty lines of a text file, or `default` if given and there is no file.

    Raises DataError if no line is left or one comes twice.
    """
    if default is not None and not path.exists():
        return default
    lines = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    repeated = [name for name, count in Counter(lines).items() if count > 1]
    if not lines or repeated:
        problem = f"repeats {some(repeated)}" if repeated else "is empty"
        raise DataError(f"{path} {problem}", "one name per line, each once", "correct the list")
    return lines


def _by(size: tuple[int, ...]) -> str:
    """(H, W) in words, width first as image programs say it."""
    return f"{size[1]}x{size[0]}"
