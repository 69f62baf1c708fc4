"""The centre mean shape by hand."""

import numpy as np

from wsss_lab.seeds.cam import centre_mean_shape


class Masks:
    """As much of a view as the mean shape looks at."""

    def __init__(self, *masks):
        self.masks = [np.array(mask, np.uint8) for mask in masks]

    def __len__(self):
        return len(self.masks)

    def mask(self, i):
        return self.masks[i]


def test_mean_of_two_masks_ignores_classes():
    shape = centre_mean_shape(Masks([[0, 3], [5, 0]], [[0, 1], [0, 0]]), 2)
    assert shape.dtype == np.float32
    assert shape.tolist() == [[0.0, 1.0], [0.5, 0.0]]


def test_masks_of_other_sizes_are_stretched():
    wide = [[1, 1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 2]]  # cells of 1 x 4 after stretching to 2 x 2
    assert centre_mean_shape(Masks(wide), 2).tolist() == [[0.5, 0.0], [0.25, 0.25]]
    assert centre_mean_shape(Masks([[0, 1]]), 2).tolist() == [[0.0, 1.0], [0.0, 1.0]]


def test_void_counts_neither_way():
    shape = centre_mean_shape(Masks([[255, 255], [1, 0]], [[1, 255], [1, 0]]), 2)
    assert shape.tolist() == [[1.0, 0.0], [1.0, 0.0]]
