from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from scipy import ndimage

from wsss_lab.data.canvas import canvas_box, from_canvas, label_canvas, nearest, normalise, to_canvas
from wsss_lab.errors import ParameterError


def test_canvas_box_centres_the_image_and_fills_the_longest_side():
    with pytest.raises(ParameterError, match="side 0"):
        canvas_box(4, 4, 0)
    assert canvas_box(213, 320, 224) == (37, 0, 149, 224)  # 213 * 224 / 320 = 149.1
    assert canvas_box(320, 213, 224) == (0, 37, 224, 149)
    assert canvas_box(1000, 1, 10) == (0, 4, 10, 1)  # never thinner than a pixel


def test_to_canvas_reflects_without_repeating_the_edge():
    image = np.repeat(np.array([[10, 20, 30, 40, 50, 60]], np.uint8).T[:, :, None], 3, axis=2)  # 6 x 1
    image = np.repeat(image, 2, axis=1)
    image[:, 1] += 1  # columns a, b
    canvas, box = to_canvas(image, 6)
    assert box == (0, 2, 6, 2)
    # Around the columns a b, reflected: a b [a b] a b.
    assert canvas[0, :, 0].tolist() == [10, 11, 10, 11, 10, 11]
    rows, _ = to_canvas(image.transpose(1, 0, 2)[:, :4], 4)
    assert rows[:, 0, 0].tolist() == [11, 10, 11, 10]
    strip = np.repeat(np.arange(9, dtype=np.uint8)[:, None, None], 3, 2)  # further than it is wide
    assert (to_canvas(strip, 9)[0] == strip).all()


def test_to_canvas_averages_when_it_shrinks_and_keeps_an_image_of_its_size():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, :2] = [[[0], [100]], [[100], [200]]]
    assert to_canvas(image, 2)[0][..., 0].tolist() == [[100, 0], [0, 0]]
    canvas, box = to_canvas(image, 4)
    assert box == (0, 0, 4, 4) and (canvas == image).all()


def test_label_canvas_keeps_labels_and_reflects_or_ignores():
    mask = np.array([[1, 1, 2, 2], [255, 255, 0, 0]], np.uint8)
    first, second, void = [1, 1, 2, 2], [255, 255, 0, 0], [255] * 4
    assert label_canvas(mask, 4).tolist() == [second, first, second, first]
    assert label_canvas(mask, 4, padding="ignore").tolist() == [void, first, second, void]
    np.testing.assert_array_equal(label_canvas(mask, 8)[2:6], np.kron(mask, np.ones((2, 2), np.uint8)))
    with pytest.raises(ParameterError, match="'zero'"):
        label_canvas(mask, 4, padding="zero")
    image = np.random.default_rng(0).integers(0, 256, (5, 9, 3), np.uint8)
    canvas, _ = to_canvas(image, 9)
    np.testing.assert_array_equal(label_canvas(image[:, :, 0], 9), canvas[:, :, 0])


@pytest.mark.parametrize(("old", "new"), [((4, 6), (2, 3)), ((2, 16), (7, 56)), ((213, 320), (149, 224)),
                                          ((5, 3), (1, 1)), ((1, 7), (9, 7)), ((128, 192), (224, 33))])
def test_a_label_is_taken_from_where_its_pixels_centre_lies(old, new):
    """In fractions; a centre between two pixels takes the second."""
    mask = np.arange(old[0] * old[1], dtype=np.int32).reshape(old)
    rows, columns = ([floor((i + Fraction(1, 2)) * n / m) for i in range(m)] for n, m in zip(old, new))
    np.testing.assert_array_equal(nearest(mask, new), [[mask[row, column] for column in columns] for row in rows])


def test_from_canvas_cuts_the_box_out_and_upsamples_between_pixel_centres():
    maps = torch.arange(16.0).view(1, 4, 4)
    assert from_canvas(maps, (1, 0, 2, 4), 4, (2, 4)).tolist() == [[[4, 5, 6, 7], [8, 9, 10, 11]]]
    # 2 -> 4 with align_corners=False: positions -0.25, 0.25, 0.75, 1.25 of [0, 8], clamped at the ends.
    row = np.array([[[0.0, 8.0], [0.0, 8.0]]], np.float32)
    out = from_canvas(row, (0, 0, 4, 4), 4, (4, 4))
    assert isinstance(out, np.ndarray) and out.dtype == np.float32
    assert out[0, 1].tolist() == [0.0, 2.0, 6.0, 8.0]


def test_from_canvas_aligns_corners_as_a_zoom_of_spline_order_1_does():
    maps, size = np.random.default_rng(0).random((2, 5, 5)).astype(np.float32), (17, 29)
    grown = np.stack([ndimage.zoom(each, 33 / 5, order=1) for each in maps])[:, 6:23]
    expected = np.stack([ndimage.zoom(each, (1, 29 / 33), order=1) for each in grown])
    found = from_canvas(maps, (6, 0, 17, 33), 33, size, released=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found[:, [0, -1]][:, :, [0, -1]], expected[:, [0, -1]][:, :, [0, -1]])
    assert abs(found - from_canvas(maps, (6, 0, 17, 33), 33, size)).max() > 0.05


def test_normalise_by_hand():
    batch = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    batch[0, 0, 0, 0] = 255
    out = normalise(batch)
    assert out.dtype == torch.float32 and out.is_contiguous(memory_format=torch.channels_last)
    assert out[0, 0, 0, 0].item() == pytest.approx((1 - 0.485) / 0.229, abs=1e-5)
    assert out[0, :, 1, 1].tolist() == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], abs=1e-5)
