import numpy as np
import pytest
from tiny_views import make_view

from wsss_lab.errors import DataError
from wsss_lab.evaluation.shapes import area_share, elongation, perimeter, pieces, score_shapes, shape_counts


def mask_of(*boxes, side=40):
    """Boxes (label, top, left, height, width) on background."""
    mask = np.zeros((side, side), np.uint8)
    for label, top, left, height, width in boxes:
        mask[top:top + height, left:left + width] = label
    return mask


def test_perimeter_counts_the_border_of_the_image_and_of_holes():
    ring = np.ones((3, 3), bool)
    assert perimeter(ring) == 12
    ring[1, 1] = False
    assert perimeter(ring) == 16


def test_elongation_is_1_for_squares_of_any_size_and_grows_with_length():
    counts = [shape_counts(mask_of((1, 0, 0, n, n), (2, 20, 0, 2, 2 * n)), 2, 0.0)[None] for n in (4, 8)]
    for counted, n in zip(counts, (4, 8)):
        np.testing.assert_allclose(elongation(counted), [1, (n + 1) ** 2 / (4 * n)])


def test_elongation_of_several_pieces_is_their_mean_weighted_by_area():
    counts = shape_counts(mask_of((1, 0, 0, 10, 10), (1, 20, 0, 2, 20)), 1)[None]
    np.testing.assert_allclose(elongation(counts), [(100 * 1 + 40 * 44**2 / 16 / 40) / 140])


def test_pieces_and_area_are_means_over_the_images_that_show_the_class():
    masks = [mask_of((1, 0, 0, 10, 10), (1, 20, 20, 10, 10)), mask_of((1, 0, 0, 8, 20)), mask_of((2, 0, 0, 4, 4))]
    view = make_view([np.zeros((40, 40, 3), np.uint8)] * 3, masks)
    counts = score_shapes(view)["counts"]
    assert counts.shape == (3, 2, 5)
    np.testing.assert_allclose(pieces(counts), [1.5, 1])
    np.testing.assert_allclose(area_share(counts), [(200 + 160) / 2 / 1600, 16 / 1600])


def test_specks_and_void_are_no_pieces():
    mask = mask_of((1, 0, 0, 10, 10), (1, 30, 30, 2, 2), (2, 30, 0, 2, 2), (255, 20, 0, 10, 10))
    counts = shape_counts(mask, 2)
    assert counts[0].tolist() == [100, 1600, 1, 1, 100 / 1600]
    assert not counts[1].any()
    assert np.isnan(elongation(counts[None])[1]) and np.isnan(pieces(counts[None])[1])


def test_other_counts_are_refused():
    with pytest.raises(DataError, match="shape counts have shape"):
        elongation(np.zeros((4, 5)))
