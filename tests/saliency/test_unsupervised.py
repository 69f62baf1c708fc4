import numpy as np
import pytest
from scipy import ndimage

from wsss_lab.errors import DataError
from wsss_lab.saliency.maps import salient_mask
from wsss_lab.saliency.unsupervised import barrier_distance, border_contrast, detect


def exact_barrier(values):
    """Per interval of values: what can be reached from the border inside it."""
    distance = np.full(values.shape, np.inf)
    border = np.ones(values.shape, bool)
    border[1:-1, 1:-1] = False
    for low in np.unique(values):
        for high in np.unique(values[values >= low]):
            open_ = (values >= low) & (values <= high)
            reached = ndimage.binary_propagation(border & open_, mask=open_)
            distance[reached] = np.minimum(distance[reached], high - low)
    return distance


def disc(side=48, centre=(20, 27), radius=11, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
    image = np.where(mask[..., None], [210, 120, 40], [60, 110, 170]) + rng.normal(0, 8, (side, side, 3))
    return image.clip(0, 255).astype(np.uint8), mask


def test_barrier_by_hand():
    # all 5s leave by the 2s on the right (5 - 2) rather than over a 1 (5 - 1); so does the 9 (9 - 2)
    values = [[1, 1, 1, 1, 1], [1, 5, 5, 5, 1], [1, 5, 9, 2, 2], [1, 5, 5, 5, 1], [1, 1, 1, 1, 1]]
    expected = np.zeros((5, 5))
    expected[1:4, 1:4] = [[3, 3, 3], [3, 7, 0], [3, 3, 3]]
    np.testing.assert_array_equal(barrier_distance([values], rounds=3)[0], expected)


@pytest.mark.parametrize("seed", range(3))
def test_barrier_is_an_upper_bound_close_to_the_exact_distance(seed):
    noise = np.random.default_rng(seed).random((14, 11))
    values = np.round(20 * ndimage.gaussian_filter(noise, 1) / noise.std()).astype(np.float32)
    exact, swept = exact_barrier(values), barrier_distance([values], rounds=3)[0]
    assert (swept >= exact).all()
    assert (swept == exact).mean() > 0.75 and (swept - exact).mean() <= 0.15 * exact.mean()


def test_every_turn_of_a_spiral_costs_a_sweep():
    spiral = np.ones((9, 9), np.float32)
    # right, down, left, up, right, down: the order down, up, right, left takes the last turn in round 4
    spiral[1, :8] = spiral[1:8, 7] = spiral[7, 1:8] = spiral[3:8, 1] = spiral[3, 1:6] = spiral[3:6, 5] = 0
    inner = [barrier_distance([spiral], rounds)[0, 5, 5] for rounds in (3, 4)]
    assert inner == [1, 0]


def test_contrast_forgives_one_border():
    lab = np.zeros((3, 20, 20), np.float32)
    lab[:, 12:, 6:14] = 50  # an object that the lower border cuts
    contrast = border_contrast(lab)
    assert contrast[15, 10] > 10 * contrast[5, 5] + 1


def test_finds_a_disc_of_another_colour_and_nothing_in_an_image_of_one():
    image, mask = disc()
    saliency = detect(image)
    assert saliency.dtype == np.float32 and saliency.min() >= 0 and saliency.max() == pytest.approx(1)
    found = salient_mask(saliency)
    assert (found & mask).sum() / (found | mask).sum() > 0.8
    assert not detect(np.full((20, 30, 3), 77, np.uint8)).any()


def test_the_middle_is_preferred():
    image = np.full((60, 60, 3), 100, np.uint8)
    image[25:35, 8:18] = image[25:35, 30:40] = (200, 60, 60)
    saliency = detect(image)
    assert saliency[30, 35] > saliency[30, 13] > 0.1
    for wrong in (image[..., 0], image / 1):
        with pytest.raises(DataError, match=f"an image of {wrong.dtype}"):
            detect(wrong)
