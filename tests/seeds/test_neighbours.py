"""Similarity of cells: colours on the cone, Eq. 8, normalisation and spreading against dense matrices."""

import colorsys
import math
from functools import partial

import pytest
import torch
from tiny_views import normal, uniform

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.seeds.neighbours import cell_colours, normalised, radius_of, similarity, spread, symmetric_part, window


def noise(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


#: Similarities of colours that differ enough to matter and not so much that nothing is alike.
WEIGHTS = similarity(30 * uniform(2, 3, 4, 5), radius=2)


def dense(weights):
    """The matrices (B, N, N) that a window of planes stands for, entry by entry."""
    batch, count, height, width = weights.shape
    found = torch.zeros(batch, height * width, height * width, dtype=weights.dtype)
    for plane, (down, right) in zip(range(count), window(radius_of(weights))):
        for row in range(height):
            for column in range(width):
                if 0 <= row + down < height and 0 <= column + right < width:
                    other = (row + down) * width + column + right
                    found[:, row * width + column, other] = weights[:, plane, row, column]
    return found


def matrix_of_eq_8(colours, spacing, sigma_z, sigma_r):
    """All pairs (N, N) of one image (D, h, w), as the equation is printed."""
    cells = torch.cartesian_prod(*(torch.arange(side) for side in colours.shape[1:])).double()
    flat = colours.flatten(1).T
    far, unlike = ((each[:, None] - each).square().sum(2) for each in (spacing * cells, flat))
    return torch.exp(-far / sigma_z ** 2) * torch.exp(-unlike / sigma_r ** 2)


def test_colours_of_single_pixels_are_those_of_hsv():
    """Of noise, a grey, which has no hue, and black."""
    images = noise(1, 3, 6, 6)
    images[..., 0, 0], images[..., 0, 1] = 90, 0
    found = cell_colours(images, (6, 6))
    assert found.dtype == torch.float32
    for row in range(6):
        for column in range(6):
            hue, saturation, value = colorsys.rgb_to_hsv(*(images[0, :, row, column] / 255).tolist())
            chroma = 255 * saturation * value
            expected = chroma * math.cos(2 * math.pi * hue), chroma * math.sin(2 * math.pi * hue), 255 * value
            assert found[0, :, row, column].tolist() == pytest.approx(expected, abs=1e-3)


def test_a_cell_has_the_mean_colour_of_its_pixels():
    images = noise(2, 3, 6, 8)
    pixels, cells = cell_colours(images, (6, 8)), cell_colours(images, (2, 4))
    torch.testing.assert_close(cells, pixels.unflatten(3, (4, 2)).unflatten(2, (2, 3)).mean((3, 5)))


def test_all_weights_are_eq_8():
    colours = 40 * uniform(2, 3, 4, 5)
    found = dense(similarity(colours, spacing=3, sigma_z=7, sigma_r=20, radius=4))
    for matrix, each in zip(found, colours):
        torch.testing.assert_close(matrix, matrix_of_eq_8(each, 3, 7, 20))
    assert torch.equal(similarity(colours), similarity(colours, 8, 10, 30, 3))  # the paper's widths


def test_normalisations_and_the_symmetric_part_against_matrices():
    matrix, rows = dense(WEIGHTS), normalised(WEIGHTS, "rows")
    scale = torch.diag_embed(matrix.sum(2).rsqrt())
    torch.testing.assert_close(dense(normalised(WEIGHTS, "symmetric")), scale @ matrix @ scale)
    torch.testing.assert_close(dense(rows), matrix / matrix.sum(2, keepdim=True))
    torch.testing.assert_close(dense(symmetric_part(rows)), (dense(rows) + dense(rows).mT) / 2)


@pytest.mark.parametrize("extra", [(), (3,), (2, 3)])
def test_spreading_is_the_product_with_the_matrix(extra):
    weights, maps = normalised(WEIGHTS, "rows"), normal(2, *extra, 4, 5)
    expected = torch.einsum("bij,b...j->b...i", dense(weights), maps.flatten(-2)).view_as(maps)
    torch.testing.assert_close(spread(weights, maps), expected)


@pytest.mark.parametrize(("call", "message"), [
    *((partial(cell_colours, each, (2, 2)), "cell colours of")
      for each in (torch.zeros(1, 3, 4, 4), noise(1, 4, 4, 4), noise(3, 4, 4))),
    (lambda: cell_colours(noise(1, 3, 4, 4), (5, 4)), r"\(5, 4\) cells on images of \(4, 4\)"),
    *((partial(similarity, torch.zeros(1, 3, 2, 2), **{name: value}), f"{name}={value}")
      for name, value in (("spacing", 0), ("sigma_z", -1), ("sigma_r", 0), ("radius", -1))),
    (lambda: normalised(WEIGHTS, "columns"), "'columns'"),
    *((partial(spread, WEIGHTS, torch.zeros(each)), r"maps of shape(.|\n)*\(2, ..., 4, 5\)")
      for each in ((4, 5), (2, 3, 4, 4), (1, 3, 4, 5))),
    *((partial(radius_of, torch.zeros(each)), "weights of shape")
      for each in ((1, 4, 3, 3), (1, 10, 3, 3), (9, 3, 3)))])
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises((DataError, ParameterError), match=message):
        call()
