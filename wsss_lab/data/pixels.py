"""Photographs and label images as files: decoded as they are stored, refused where that would be a guess."""

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from torch import Tensor

from wsss_lab.data.canvas import IGNORE, Box, to_canvas
from wsss_lab.data.files import read_bytes, some, unreadable
from wsss_lab.data.views import every, labels_outside, stack_canvases
from wsss_lab.errors import DataError, problem

CACHE_BYTES = 512 * 2**20
ORIENTATION, AS_STORED, TRANSPOSED = 0x0112, 1, 5  # the EXIF tag; its value for "as stored"; the first that swaps sides
STRETCHED = {"L;2": 85, "L;4": 17}  # by what Pillow multiplies grey values of 2 and 4 bits
#: Bytes of no meaning to a JPEG, without 0xff, which begins its marks.
FILLER = bytes(byte for byte in np.random.default_rng(0).bytes(4096) if byte != 0xFF)


def voc_palette() -> np.ndarray:
    """The VOC colour map, uint8 (256, 3): the bits of a label, dealt in turn to red, green and blue, the highest first.

    >>> voc_palette()[[1, 2, 4]].tolist()
    [[128, 0, 0], [0, 128, 0], [0, 0, 128]]
    """
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= (((np.arange(256) >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    return palette


@cache
def _label_of_colour() -> dict[tuple[int, ...], int]:
    return {tuple(colour): label for label, colour in enumerate(voc_palette().tolist())}


class JpegFiles:
    """Photographs by row, decoded when read; their canvases stay in memory up to a limit."""

    def __init__(self, paths: Sequence[Path], cache_bytes: int = CACHE_BYTES):
        self.paths, self._canvases = tuple(paths), CanvasCache(cache_bytes)

    def read(self, row: int) -> np.ndarray:
        return read_image(self.paths[row])

    def size(self, row: int) -> tuple[int, int]:
        return image_size(self.paths[row])

    def canvas(self, rows: np.ndarray, side: int) -> tuple[Tensor, Tensor]:
        def canvas(row: int) -> tuple[np.ndarray, Box]:
            return self._canvases.get((row, side), lambda: to_canvas(self.read(row), side))

        return stack_canvases(every(canvas, rows.tolist()), side)


class LabelFiles:
    """PNGs of labels by row, checked against the size of their image, VOC's colours and the largest label when read."""

    def __init__(self, paths: Sequence[Path], images: JpegFiles, largest: int):
        self.paths, self.images, self.largest = tuple(paths), images, largest

    def read(self, row: int) -> np.ndarray:
        return self.read_with_colours(row)[0]

    def read_with_colours(self, row: int) -> tuple[np.ndarray, dict[int, tuple[int, ...]]]:
        """The label image, and the colours that a palette has for the labels that occur."""
        path, photograph, size = self.paths[row], self.images.paths[row], self.images.size(row)
        labels, colours = _labels_and_colours(path)
        if labels.shape != size:
            flag = orientation(photograph)
            kind = "drawn upright" if flag >= TRANSPOSED and labels.shape == size[::-1] else "another size"
            found, wanted = (f"{width}x{height}" for height, width in (labels.shape, size))  # as image programs say it
            raise problem(kind, path, found=found, size=wanted, image=photograph.name, flag=flag)
        meant = [_label_of_colour().get(colour) for colour in colours.values()]
        if meant != list(colours) and all(label in (*range(self.largest + 1), IGNORE) for label in meant):
            raise problem("reindexed", path, labels=some(map(str, colours)), meant=some(map(str, meant)))
        if outside := labels_outside(labels, self.largest):
            raise problem("label", path, labels=some(map(str, outside)), largest=self.largest)
        return labels, colours


class CanvasCache:
    """Canvases by (row, side), the least recently used dropped first. A pickled copy starts empty.

    Several threads may use it at once; one that asks for what another is making makes it too.
    """

    def __init__(self, limit_bytes: int):
        self.limit_bytes, self._bytes, self._lock = limit_bytes, 0, threading.Lock()
        self._entries: OrderedDict[tuple[int, int], tuple[np.ndarray, Box]] = OrderedDict()

    def __reduce__(self):
        return CanvasCache, (self.limit_bytes,)

    def get(self, key: tuple[int, int], make: Callable[[], tuple[np.ndarray, Box]]) -> tuple[np.ndarray, Box]:
        """The stored canvas and box, or those that `make` returns, kept if there is room."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        made = make()  # without the lock: this is what takes time
        with self._lock:
            if key not in self._entries:
                self._entries[key] = made
                self._bytes += made[0].nbytes
            while self._bytes > self.limit_bytes:
                self._bytes -= self._entries.popitem(last=False)[1][0].nbytes
        return made


def read_image(path: Path, thoroughly: bool = False) -> np.ndarray:
    """A JPEG as uint8 (H, W, 3), RGB, as stored: an orientation flag isn't applied, since masks don't have one.

    thoroughly: decode it twice more, to find one that was cut and closed with an end mark
    Raises DataError for a file that is missing, cut, filled up with zeros, too large or no image.
    """
    import cv2

    data = read_bytes(path)
    # OpenCV and Pillow fill what is missing with grey, silently.
    if data.startswith(b"\xff\xd8"):
        end = _end_mark(data)
        if end < 0:  # cut, zeros in the place of what was cut off, or nothing but the mark is missing
            thoroughly, end = True, len(data := data.rstrip(b"\0"))
            data += b"\xff\xd9"
        if thoroughly and _lacks_data(path, data, end):
            raise unreadable(path, "its data end before the photograph does")
    else:
        with _opened(path, data) as image:
            image.load()
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:  # more than 2^30 pixels
        raise problem("too large", path, reason=error) from error
    if image is None:
        raise unreadable(path, "not a JPEG image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _end_mark(data: bytes) -> int:
    """Where the end mark of a JPEG is, that of its preview left aside; -1 for none."""
    place = 2
    while 0 <= (place := data.find(b"\xff", place)) < len(data) - 3:
        if data[place + 1] == 0xDA:  # the scan begins
            return data.find(b"\xff\xd9", place)
        place += 1 if data[place + 1] == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4])
    return -1


def _lacks_data(path: Path, data: bytes, end: int) -> bool:
    """Whether the data of a JPEG end too early: then, and only then, more of them before the end mark can be seen."""
    decoded = []
    for each in (data, data[:end] + FILLER + data[end:]):
        with _opened(path, each) as image:
            decoded.append(np.asarray(image))
    return not np.array_equal(*decoded)


def read_labels(path: Path) -> np.ndarray:
    """A palette or grey PNG of up to 8 bits as its indices, uint8 (H, W); colours are never converted.

    Raises DataError for a file that is missing, truncated, too large, of another type or mode.
    """
    return _labels_and_colours(path)[0]


def _labels_and_colours(path: Path) -> tuple[np.ndarray, dict[int, tuple[int, ...]]]:
    """The labels, and the colours of those that occur; none for a grey PNG."""
    with _opened(path) as image:
        if image.format != "PNG":
            raise problem("no PNG", path, format=image.format)
        if image.mode not in ("P", "L", "1"):
            raise problem("colours", path, mode=image.mode)
        stretched = STRETCHED.get(image.tile[0][3], 1)
        labels = np.array(image).astype(np.uint8) // np.uint8(stretched)
        palette = image.getpalette() or [] if image.mode == "P" else []
    used = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist() if palette else []
    return labels, {label: tuple(palette[3 * label : 3 * label + 3]) for label in used}


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) from the header of an image file, as stored. Raises DataError if it cannot be read."""
    with _opened(path) as image:
        return image.height, image.width


def orientation(path: Path) -> int:
    """The orientation flag of a photograph, 1 (as stored) to 8. Raises DataError if its header cannot be read."""
    with _opened(path) as image:
        flag = image.getexif().get(ORIENTATION, AS_STORED)
    return flag if flag in range(1, 9) else AS_STORED


@contextmanager
def _opened(path: Path, data: bytes | None = None) -> Iterator:
    """A file (or what it holds) as a Pillow image; what Pillow makes of a damaged one raises DataError."""
    from PIL import Image

    try:
        with Image.open(path if data is None else io.BytesIO(data)) as image:
            yield image
    except (DataError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise problem("too large", path, reason=error) from error
    except Exception as error:  # the parsers pass on whatever a damaged byte leads them to
        raise unreadable(path, error) from error
