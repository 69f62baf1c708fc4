"""Views of one split: images and tags for training, masks only for evaluation.

Weak supervision is kept by construction. A `TrainView` is built from an image source and a tag matrix, and
nothing that it refers to can produce a mask. An `EvalView` adds the label sources; `train_view()` gives the
stripped view and `guarded()` a view whose labels raise when touched.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextvars import ContextVar
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data.canvas import IGNORE, canvas_box, to_canvas
from wsss_lab.errors import ContractError, DataError

T = TypeVar("T")
#: Threads that read images for this one; None: it reads them itself.
_readers: ContextVar[Executor | None] = ContextVar("threads that read images", default=None)


class LabelSource(Protocol):
    """Label images (masks or contexts) by row number: uint8 (H, W), owned by the caller."""

    def read(self, row: int) -> np.ndarray: ...


class ImageSource(LabelSource, Protocol):
    """Images by row number: uint8 (H, W, 3), RGB, owned by the caller; their (H, W); canvases as of `TrainView`."""

    def size(self, row: int) -> tuple[int, int]: ...
    def canvas(self, rows: np.ndarray, side: int) -> tuple[Tensor, Tensor]: ...


def read_with(readers: Executor) -> None:
    """From here on, what this thread asks `every` for is worked out by other threads."""
    _readers.set(readers)


def every(function: Callable[[int], T], rows: Iterable[int]) -> list[T]:
    """The function's value of every row, in order; in several threads where `read_with` has named them."""
    readers = _readers.get()
    return list((map if readers is None else readers.map)(function, rows))


def stack_canvases(canvases: Sequence[tuple[np.ndarray, tuple]], side: int) -> tuple[Tensor, Tensor]:
    """Canvases and boxes from `to_canvas` as one batch: uint8 (B, 3, side, side) and int64 (B, 4)."""
    pixels = np.empty((len(canvases), side, side, 3), np.uint8)
    boxes = np.empty((len(canvases), 4), np.int64)
    for row, (canvas, box) in enumerate(canvases):
        pixels[row], boxes[row] = canvas, box
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(boxes)


def labels_outside(labels: np.ndarray, largest: int) -> list[int]:
    """The labels, in order, that are neither in 0 .. largest nor 255 (void).

    >>> labels_outside(np.array([0, 3, 9, 255, 4]), 3)
    [4, 9]
    """
    return np.unique(labels[(labels > largest) & (labels != IGNORE)]).tolist()


class ArrayRows:
    """Label images in an array or memmap, uint8 (N, H, W), one by one."""

    def __init__(self, array: np.ndarray):
        self.array = array

    def read(self, row: int) -> np.ndarray:
        return np.array(self.array[row])


class ArrayImages(ArrayRows):
    """Images of one size in an array or memmap, uint8 (N, H, W, 3)."""

    def size(self, row: int) -> tuple[int, int]:
        return self.array.shape[1:3]

    def canvas(self, rows: np.ndarray, side: int) -> tuple[Tensor, Tensor]:
        pixels = np.asarray(self.array[rows])
        if pixels.shape[1:3] != (side, side):
            return stack_canvases([to_canvas(image, side) for image in pixels], side)
        boxes = torch.tensor(canvas_box(side, side, side)).repeat(len(rows), 1)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2), boxes


class ForbiddenLabels:
    """Raises ContractError whenever a label image is asked for."""

    def __init__(self, owner: str):
        self.owner = owner

    def read(self, row: int) -> np.ndarray:
        raise ContractError(f"pixel labels of {self.owner} were touched (row {row})", "only images and tags",
                            "train on view.train_view(), or declare in the protocol that pixel labels are used")


class TrainView:
    """What training may see of a split: images and tags.

    name: "<world>/<split>"    classes: C class names    names: N image names    tags: bool (N, C), read-only
    tags_source: where the tags came from, "masks" if they were derived from pixel labels

    Raises DataError where the parts do not fit together.
    """

    exposes_masks = False

    def __init__(self, name: str, classes: Sequence[str], names: Sequence[str], tags: np.ndarray, tags_source: str,
                 images: ImageSource, rows: np.ndarray | None = None):
        """images: source of the pixels; image i of the view is its row rows[i] (default: i)."""
        self.name, self.classes, self.names = name, tuple(classes), tuple(names)
        self.tags, self.tags_source, self._images = np.array(tags), tags_source, images
        self._rows = np.arange(len(self.names)) if rows is None else rows
        expected, different = (len(self.names), len(self.classes)), len(set(self.classes))
        if self.tags.dtype != bool or self.tags.shape != expected:
            raise DataError(f"{name}: tags are {self.tags.dtype} {self.tags.shape}", f"bool {expected}")
        if not 1 <= len(self.classes) == different <= 254:
            raise DataError(f"{name}: {len(self.classes)} classes with {different} names", "1 to 254 different names")
        if len(set(self.names)) != len(self.names):
            raise DataError(f"{name}: {len(self.names) - len(set(self.names))} image names occur twice")
        self.tags.setflags(write=False)

    @staticmethod
    def from_arrays(name: str, classes: Sequence[str], names: Sequence[str], tags: np.ndarray, images: np.ndarray,
                    tags_source: str) -> "TrainView":
        """A view of images uint8 (N, H, W, 3) in memory or mapped from a file; they are not copied."""
        _check_array("images", images, len(names), 4)
        if images.shape[3] != 3:
            raise DataError(f"images of shape {images.shape}", "(N, H, W, 3), RGB")
        return TrainView(name, classes, names, tags, tags_source, ArrayImages(images))

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return (f"{type(self).__name__}({self.name!r}: {len(self)} images, {len(self.classes)} classes, "
                f"tags from {self.tags_source})")

    def image(self, i: int) -> np.ndarray:
        """Image i, uint8 (H, W, 3), RGB; a copy."""
        return self._images.read(int(self._rows[i]))

    def size(self, i: int) -> tuple[int, int]:
        """(H, W) of image i, without decoding it."""
        return self._images.size(int(self._rows[i]))

    def canvas(self, indices: Sequence[int] | np.ndarray | Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Images on square canvases: longest side resized to `side`, padded by reflection (`to_canvas`).

        returns: uint8 (B, 3, side, side) in channels-last memory, and int64 (B, 4): top, left, height, width of
        each image on its canvas
        """
        return self._images.canvas(self._rows[_index(indices)], side)

    def subset(self, indices: Sequence[int] | np.ndarray | Tensor) -> "TrainView":
        """The view of the given images only, in the given order; shares the pixels."""
        return TrainView(*self._arguments(_index(indices)))

    def _arguments(self, chosen: np.ndarray) -> tuple:
        names = np.array(self.names, object)[chosen]
        return (self.name, self.classes, names, self.tags[chosen], self.tags_source, self._images, self._rows[chosen])


class EvalView(TrainView):
    """A split with its pixel labels, for evaluation and for what declares that it uses them.

    mask(i): 0 background, 1..C classes, 255 void.    context(i): 1..len(context_classes) kinds of
    surroundings, or None if the world has none.
    """

    exposes_masks = True

    def __init__(self, *train_arguments, masks: LabelSource, contexts: LabelSource | None = None,
                 context_classes: Sequence[str] = ()):
        """train_arguments: those of TrainView.    masks, contexts: by the same rows."""
        super().__init__(*train_arguments)
        self._masks, self._contexts, self.context_classes = masks, contexts, tuple(context_classes)

    @staticmethod
    def from_arrays(name: str, classes: Sequence[str], names: Sequence[str], tags: np.ndarray, images: np.ndarray,
                    tags_source: str, masks: np.ndarray, contexts: np.ndarray | None = None,
                    context_classes: Sequence[str] = ()) -> "EvalView":
        """A view of arrays or memmaps, not copied: images uint8 (N, H, W, 3), labels uint8 (N, H, W)."""
        train = TrainView.from_arrays(name, classes, names, tags, images, tags_source)
        for what, labels, count in (("masks", masks, len(train.classes)), ("contexts", contexts, len(context_classes))):
            if labels is not None:
                _check_labels(what, labels, images, count)
        return EvalView(*train._arguments(np.arange(len(train))), masks=ArrayRows(masks),
                        contexts=None if contexts is None else ArrayRows(contexts), context_classes=context_classes)

    @property
    def has_context(self) -> bool:
        return self._contexts is not None

    def mask(self, i: int) -> np.ndarray:
        """Mask of image i, uint8 (H, W): 0 background, 1..C classes, 255 void; a copy."""
        return self._masks.read(int(self._rows[i]))

    def context(self, i: int) -> np.ndarray | None:
        """Context map of image i, uint8 (H, W), 255 void, a copy; None without contexts."""
        return None if self._contexts is None else self._contexts.read(int(self._rows[i]))

    def subset(self, indices: Sequence[int] | np.ndarray | Tensor) -> "EvalView":
        return self._with_labels(_index(indices), self._masks, self._contexts)

    def train_view(self) -> TrainView:
        """The same images and tags without any way to the labels."""
        return TrainView(*self._arguments(np.arange(len(self))))

    def guarded(self) -> "EvalView":
        """The same view with labels that raise ContractError when read: what a contract test trains on."""
        labels = ForbiddenLabels(self.name)
        return self._with_labels(np.arange(len(self)), labels, labels if self.has_context else None)

    def _with_labels(self, chosen: np.ndarray, masks: LabelSource, contexts: LabelSource | None) -> "EvalView":
        return EvalView(*self._arguments(chosen), masks=masks, contexts=contexts, context_classes=self.context_classes)


def _index(indices: Sequence[int] | np.ndarray | Tensor) -> np.ndarray:
    index = np.asarray(indices)
    return index if index.size else index.astype(np.intp)  # an empty list would become an array of floats


def _check_array(what: str, array: np.ndarray, count: int, dimensions: int) -> None:
    if array.dtype != np.uint8 or array.ndim != dimensions or len(array) != count:
        raise DataError(f"{what} are {array.dtype} {array.shape}", f"uint8, {dimensions} dimensions, {count} in number")


def _check_labels(what: str, labels: np.ndarray, images: np.ndarray, largest: int) -> None:
    _check_array(what, labels, len(images), 3)
    if labels.shape != images.shape[:3]:
        raise DataError(f"{what} are of size {labels.shape[1:]}", f"{images.shape[1:3]}, the size of the images")
    if outside := labels_outside(labels, largest):
        raise DataError(f"{what} have the labels {outside}", f"0 to {largest}, or 255 for void")
