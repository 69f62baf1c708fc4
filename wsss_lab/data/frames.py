"""Per-image maps of different sizes in one array: image i fills the top-left corner of row i."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from wsss_lab.data.views import TrainView

VOID = 255


def stack(view: TrainView, maps: Iterable[np.ndarray], dtype=np.uint8, fill: int = VOID) -> np.ndarray:
    """One array (N, Hmax, Wmax) from one (H, W) map per image of the view, in its order; the rest is `fill`.

    Raises ValueError when a map is not as large as its image or when maps are missing.
    """
    sizes = [view.size(index) for index in range(len(view))]
    frame = np.full((len(view), max(h for h, _ in sizes), max(w for _, w in sizes)), fill, dtype=dtype)
    for row, (height, width), values in zip(frame, sizes, maps, strict=True):
        if values.shape != (height, width):
            raise ValueError(f"a map of size {values.shape} for an image of size {(height, width)}")
        row[:height, :width] = values
    return frame


class Rows(Sequence):
    """A sequence whose items are made when they are asked for, so that a large split needn't fit into memory.

    >>> list(Rows(3, lambda index: index * index))
    [0, 1, 4]
    """

    def __init__(self, count: int, row: Callable[[int], np.ndarray]):
        self.count, self.row = count, row

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.row(index)


def images_of(view: TrainView) -> Rows:
    """The images of a view, one by one."""
    return Rows(len(view), view.image)


def rows_of(view: TrainView, frame: np.ndarray) -> Rows:
    """The (H, W) maps of a view's images, one by one (see `stack`)."""
    return Rows(len(view), lambda index: np.asarray(frame[index][tuple(map(slice, view.size(index)))]))
