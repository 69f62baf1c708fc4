import numpy as np
import pytest
from scipy import ndimage

from wsss_lab.data.components import components


def draw(*rows):
    return np.array([[c == "#" for c in row] for row in rows])


@pytest.mark.parametrize("seed", range(5))
def test_same_partition_as_scipy(seed):
    mask = np.random.default_rng(seed).random((40, 31)) < 0.35
    ours, count = components(mask)
    theirs, expected = ndimage.label(mask, np.ones((3, 3)))
    assert count == expected and ours.dtype == np.int32
    pairs = np.unique(np.stack([ours[mask], theirs[mask]]), axis=1)
    assert pairs.shape[1] == count and not ours[~mask].any()


@pytest.mark.parametrize("rows, least, kept, pixels", [
    (("#..##", "...##", ".....", "####.", ".....", ".#..."), {"min_area": 4}, 2, 8),
    (("#..##", "...##", ".....", "####.", ".....", ".#..."), {"min_area": 4.5}, 0, 0),
    (("####..", "......", "#.....", "#...##", "#...#.", "......"), {"min_extent": 2}, 1, 3),
    (("....", "...."), {}, 0, 0), (("....", "...."), {"min_area": 3}, 0, 0)])
def test_small_ones_are_left_out_and_the_rest_numbered_without_gaps(rows, least, kept, pixels):
    mask = draw(*rows)
    labels, count = components(mask, **least)
    assert count == kept and labels.shape == mask.shape and (labels > 0).sum() == pixels
    assert set(np.unique(labels)) == set(range(kept + 1)) and not labels[~mask].any()


@pytest.mark.parametrize("size", [(520, 520), (511, 511), (509, 513), (510, 514), (1, 131071), (131069, 1)])
@pytest.mark.parametrize("min_area", [1, 2])
def test_as_many_components_as_there_can_be(size, min_area):
    """Around 65535 of them, which is what 16 bits hold."""
    mask = np.zeros(size, bool)
    mask[::2, ::2] = True
    mask[(0, 1) if size[1] > 1 else (1, 0)] = True  # joins two
    labels, count = components(mask, min_area=min_area)
    most = mask[::2, ::2].size - 1
    assert count == (most if min_area == 1 else 1)
    assert labels.max() == count
