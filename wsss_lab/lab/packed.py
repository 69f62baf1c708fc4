"""Arrays compressed row by row, so that the map of one image is read without the others.

    masks.npy.gz    parts, each compressed for itself: the header of a .npy file, every row of the array, how many bytes
                    each of these takes, how many bytes that takes

`gunzip masks.npy.gz` makes masks.npy of it, with the last two parts behind the array, which numpy.load doesn't read.
"""

import io
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

SUFFIX = ".npy.gz"
LEVEL = 3  # maps of labels are a fifth smaller than at level 1, in about its time (benchmarks/results/packed.txt)
LEAST = 2048  # bytes of a row that is worth a part of its own
SAMPLED = 16  # rows that tell whether compression is worth it
WORTH = 0.6  # of the size, at most, for compression to be worth it
_GZIP = 31  # what zlib calls its format
_LAST = 31  # bytes of the last part: a number of eight bytes, not compressed


class Packed(np.lib.mixins.NDArrayOperatorsMixin):
    """A stored array, read-only. Rows are decoded when they are asked for; whatever needs all of it decodes all."""

    def __init__(self, path: Path):
        self.path = path
        self._stored = np.asarray(np.memmap(path, np.uint8, "r"))
        index = -_LAST - int(np.frombuffer(zlib.decompress(self._stored[-_LAST:], _GZIP), "<u8")[0])
        sizes = np.frombuffer(zlib.decompress(self._stored[index:-_LAST], _GZIP), "<u4")
        self._ends = np.cumsum([0, *sizes])
        header = io.BytesIO(self._part(0))
        np.lib.format.read_magic(header)
        self.shape, _, self.dtype = np.lib.format.read_array_header_1_0(header)
        self.ndim, self.size = len(self.shape), int(np.prod(self.shape))
        self.nbytes = self.size * self.dtype.itemsize

    def __reduce__(self):
        return Packed, (self.path,)

    def __repr__(self) -> str:
        return f"Packed({str(self.path)!r}, {self.dtype}, {self.shape})"

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self._row, range(len(self)))

    def __getitem__(self, index: Any) -> np.ndarray:
        first, *rest = index if isinstance(index, tuple) else (index,)
        if first is None or first is Ellipsis or np.ndim(first) > 1:
            return np.asarray(self)[index]
        chosen = np.arange(len(self))[first]
        if chosen.ndim == 0:
            return self._row(int(chosen))[tuple(rest)]
        rows = self._stack(chosen)
        if np.ndim(first) and any(np.ndim(each) for each in rest):  # arrays of indices that belong together
            return rows[(np.arange(len(rows)), *rest)]
        return rows[(slice(None), *rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._stack(np.arange(len(self))).astype(dtype or self.dtype, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return getattr(ufunc, method)(*(np.asarray(each) if isinstance(each, Packed) else each for each in inputs),
                                      **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(name)
        return getattr(np.asarray(self), name)

    def _stack(self, rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for place, row in zip(found, rows):
            place[...] = self._row(int(row))
        return found

    def _row(self, number: int) -> np.ndarray:
        return np.frombuffer(self._part(1 + number), self.dtype).reshape(self.shape[1:])

    def _part(self, number: int) -> bytes:
        return zlib.decompress(self._stored[self._ends[number]:self._ends[number + 1]], _GZIP)


def is_worth_packing(array: np.ndarray) -> bool:
    """Whether an array has rows that become much smaller."""
    if array.ndim < 2 or len(array) == 0 or array[0].nbytes < LEAST:
        return False
    rows = array[np.linspace(0, len(array) - 1, min(SAMPLED, len(array))).astype(int)]
    return sum(len(_packed(row)) for row in rows) <= WORTH * rows.nbytes


def write(path: Path, array: np.ndarray) -> None:
    """Write an array, at most 4 GB a row."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {
        "descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape})
    with path.open("wb") as file:
        sizes = [file.write(_packed(part)) for part in chain([np.frombuffer(header.getvalue(), np.uint8)], array)]
        index = file.write(_packed(np.array(sizes, "<u4")))
        file.write(_packed(np.array(index, "<u8"), 0))


def _packed(values: np.ndarray, level: int = LEVEL) -> bytes:
    return zlib.compress(values.tobytes(), level, _GZIP)
