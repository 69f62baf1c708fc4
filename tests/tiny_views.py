"""Small worlds in memory, of images of any sizes, for tests."""

from collections.abc import Sequence

import numpy as np

from wsss_lab.data.canvas import to_canvas
from wsss_lab.data.views import EvalView, stack_canvases
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.vgg import TOY_BLOCKS

#: A network for 32-pixel inputs: class maps and scores of 8x8 cells.
BACKBONE = Backbone("vgg", TOY_BLOCKS, width=16, dilation=2, aspp=(1, 2), dropout=0.0, side=32).settings()


class Arrays:
    """Images or label images by row, of different sizes."""

    def __init__(self, arrays: Sequence[np.ndarray]):
        self.arrays = arrays

    def read(self, row):
        return self.arrays[row].copy()

    def size(self, row):
        return self.arrays[row].shape[:2]

    def canvas(self, rows, side):
        return stack_canvases([to_canvas(self.arrays[row], side) for row in rows], side)


def make_view(images: Sequence[np.ndarray], masks: Sequence[np.ndarray], tags=None, classes=("cat", "dog")) -> EvalView:
    """A view of these images and masks; tags are those of the masks unless given."""
    if tags is None:
        tags = [[bool((mask == label + 1).any()) for label in range(len(classes))] for mask in masks]
    names = [f"image{row}" for row in range(len(images))]
    return EvalView("tiny/train", classes, names, np.array(tags, bool), "generator", Arrays(images),
                    masks=Arrays(masks))


def blobs(sizes: Sequence[tuple[int, int]]) -> EvalView:
    """A red cat in the left half of images 0, 2, ... and a green dog in the right half of the others, on grey."""
    images, masks = [], []
    for row, (height, width) in enumerate(sizes):
        mask = np.zeros((height, width), np.uint8)
        first = width // 2 * (row % 2)
        mask[height // 4:-(height // 4), first + width // 8:first + width * 3 // 8] = 1 + row % 2
        image = np.full((height, width, 3), 110, np.uint8)
        image[mask == 1], image[mask == 2] = (230, 30, 30), (30, 230, 30)
        images.append(image)
        masks.append(mask)
    return make_view(images, masks)
