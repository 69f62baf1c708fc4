"""From boxes to masks: the training targets of the saliency network (Oh et al. 2017, section 6.1).

A box is (x0, y0, x1, y1) in pixels, the right and lower ends excluded: (0, 0, W, H) is the whole image.
"""

from __future__ import annotations

import numpy as np

from wsss_lab.errors import DataError

# GrabCut fits five Gaussians to either side; with fewer pixels than this on one side there is nothing to fit.
_FEWEST_PIXELS = 25


def box_masks(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Filled boxes.

    boxes: (N, 4), rounded to pixels and clipped to the image    returns: uint8 (N, height, width), 0 or 1

    Raises DataError naming the first box that is not finite, has no pixel, or lies outside the image.
    """
    x0, y0, x1, y1 = (edge[:, None] for edge in _whole_pixels(boxes, height, width).T)
    column, row = np.arange(width), np.arange(height)
    inside_x, inside_y = (column >= x0) & (column < x1), (row >= y0) & (row < y1)
    return (inside_y[:, :, None] & inside_x[:, None, :]).astype(np.uint8)


def grabcut_masks(
    images: np.ndarray,
    boxes: np.ndarray,
    iterations: int = 5,
    least: float = 0.10,
    most: float = 0.99,
) -> np.ndarray:
    """GrabCut (Rother et al. 2004) started from one box per image.

    images: uint8 (N, H, W, 3)    boxes: (N, 4)    returns: uint8 (N, H, W), 1 on the object

    Outside the box is always background. Where the object covers less than `least` or more than `most` of the
    box, GrabCut has lost it, and the box itself is the mask; so it is where the box or its surroundings have
    too few pixels to fit a colour model. The paper gives no such details; these are ours. Each image starts
    from the same random state, so a mask does not depend on the rest of the batch.
    """
    import cv2

    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DataError(f"images of {images.dtype} {images.shape}", "uint8 (N, H, W, 3)")
    if len(boxes) != len(images):
        raise DataError(f"{len(boxes)} boxes for {len(images)} images", "one box per image")
    height, width = images.shape[1:3]
    masks = box_masks(boxes, height, width)
    inside = masks.sum((1, 2), dtype=np.int64)
    fittable = (inside >= _FEWEST_PIXELS) & (height * width - inside >= _FEWEST_PIXELS)
    for i in np.flatnonzero(fittable):
        # probable foreground in the box and certain background elsewhere: what a start from a rectangle means
        labels = np.where(masks[i], cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.setRNGSeed(0)
        cv2.grabCut(np.ascontiguousarray(images[i]), labels, None, *models, iterations, cv2.GC_INIT_WITH_MASK)
        found = labels == cv2.GC_PR_FGD
        if least * inside[i] <= found.sum() <= most * inside[i]:
            masks[i] = found
    return masks


def _numbers(boxes: np.ndarray) -> np.ndarray:
    try:
        return np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"boxes that are no numbers: {error}", "x0, y0, x1, y1 of each box, in pixels",
                        "correct or drop these boxes") from error


def _whole_pixels(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    boxes = _numbers(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"boxes of shape {boxes.shape}", "(N, 4): x0, y0, x1, y1")
    ends = np.array([width, height, width, height])
    clipped = np.clip(np.round(boxes), 0, ends)
    bad = ~np.isfinite(boxes).all(1) | ~(clipped[:, 2:] > clipped[:, :2]).all(1)
    if bad.any():
        first = int(bad.argmax())
        raise DataError(
            f"box {first} is {boxes[first].tolist()} in an image of {width}x{height} (width x height)",
            "x0 < x1 and y0 < y1, and at least one pixel inside the image",
            "correct or drop this box",
        )
    return clipped.astype(np.int64)
