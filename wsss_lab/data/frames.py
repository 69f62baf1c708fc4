"""Per-image maps of different sizes in one array: image i fills the top-left corner of row i."""

from collections.abc import Iterable, Iterator

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


def unstack(view: TrainView, frame: np.ndarray) -> Iterator[np.ndarray]:
    """The (H, W) map of each image of the view, cut out of its row."""
    for index in range(len(view)):
        height, width = view.size(index)
        yield np.asarray(frame[index, :height, :width])
