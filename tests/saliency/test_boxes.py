import cv2
import numpy as np
import pytest

from wsss_lab.errors import DataError
from wsss_lab.saliency import boxes
from wsss_lab.saliency.boxes import box_masks, grabcut_masks


def drawn(side=64, seed=0, ellipse=True):
    """A reddish shape on a greenish ground, both noisy; its mask; a box two pixels wider on every side."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    if ellipse:
        mask = ((x - 33) / 18) ** 2 + ((y - 30) / 12) ** 2 < 1
    else:
        mask = (abs(x - 33) < 15) & (abs(y - 30) < 10)
    image = np.where(mask[..., None], [200, 60, 50], [60, 150, 70]) + rng.normal(0, 15, (side, side, 3))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = [columns[0] - 2, rows[0] - 2, columns[-1] + 3, rows[-1] + 3]
    return image.clip(0, 255).astype(np.uint8), mask, box


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("ellipse", [True, False])
def test_grabcut_finds_the_drawn_shape_better_than_the_box(ellipse):
    image, mask, box = drawn(ellipse=ellipse)
    found = grabcut_masks(image[None], [box])[0]
    assert set(np.unique(found)) == {0, 1} and found.dtype == np.uint8
    assert iou(found == 1, mask) > max(0.9, iou(box_masks([box], 64, 64)[0] == 1, mask))


def patchwork(seed):
    """Patches of ten colours; half of those in the middle have ten others. What GrabCut finds hangs on its start."""
    rng = np.random.default_rng(seed)
    colours, patches = rng.integers(0, 256, (2, 10, 3)), rng.integers(0, 10, (2, 8, 8))
    other = np.zeros((8, 8), bool)
    other[2:6, 2:6] = rng.random((4, 4)) < 0.5
    image = np.where(other[..., None], colours[1][patches[1]], colours[0][patches[0]]).repeat(4, 0).repeat(4, 1)
    return (image + rng.normal(0, 5, image.shape)).clip(0, 255).astype(np.uint8)


def test_masks_do_not_depend_on_the_batch(monkeypatch):
    images = np.stack([patchwork(seed) for seed in range(12)])
    inner = [[6, 6, 26, 26]] * 12
    together = grabcut_masks(images, inner)
    np.testing.assert_array_equal(grabcut_masks(images[::-1], inner)[::-1], together)
    for image, mask in zip(images[::4], together[::4]):
        np.testing.assert_array_equal(grabcut_masks(image[None], inner[:1])[0], mask)
    seed_with = cv2.setRNGSeed
    monkeypatch.setattr(cv2, "setRNGSeed", lambda _: seed_with(1))
    assert (grabcut_masks(images, inner) != together).any(), "images for which the random state matters"


@pytest.mark.parametrize(("name", "share"), [("LEAST", 0.95), ("MOST", 0.3)])
def test_box_is_the_mask_where_grabcut_loses_the_object_or_has_nothing_to_fit(monkeypatch, name, share):
    """The ellipse takes about two thirds of its box: both bounds can be made to fail. And a flat image, small boxes."""
    image, _, box = drawn()
    whole = box_masks([box], 64, 64)
    assert (grabcut_masks(image[None], [box]) != whole).any()
    monkeypatch.setattr(boxes, name, share)
    np.testing.assert_array_equal(grabcut_masks(image[None], [box]), whole)
    for box in ([5, 6, 20, 21], [0, 0, 32, 32], [3, 3, 5, 5], [0, 0, 32, 31.9]):
        found = grabcut_masks(np.full((1, 32, 32, 3), 90, np.uint8), [box])
        np.testing.assert_array_equal(found, box_masks([box], 32, 32))


def test_box_ends_are_excluded_rounded_and_clipped():
    masks = box_masks([[1, 2, 3, 5], [-4, 0.6, 1.4, 99]], 6, 4)
    assert masks[0].sum() == 2 * 3 and masks[0][2:5, 1:3].all()
    assert masks[1].sum() == 1 * 5 and masks[1][1:6, 0:1].all()


IMAGES = np.zeros((2, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(("images", "second", "words"), [
    *((IMAGES, [box], "box 1 is .* in an image of 32x32") for box in ([5, 1, 5, 9], [5, 1, 4, 9], [40, 1, 50, 9])),
    (IMAGES, [[0, 0, 10, np.nan]], "box 1 is .*nan"), (IMAGES, [[0, 0, np.inf, 10]], "box 1 is .*inf"),
    (IMAGES, [[0, 0, 10, "ten"]], "no numbers"), (IMAGES, [[0, 0, 10, None]], "box 1 is "),
    (IMAGES, [[0, 0, 10]], "no numbers"), (IMAGES, [], "1 boxes for 2 images"),
    (IMAGES / 1, [[0, 0, 4, 4]], "float64")])
def test_boxes_and_images_that_cannot_be_are_named(images, second, words):
    with pytest.raises(DataError, match=words):
        grabcut_masks(images, [[0, 0, 4, 4], *second])
