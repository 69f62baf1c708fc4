"""From boxes to masks: the training targets of the saliency network (Oh et al. 2017, section 6.1).

A box is (x0, y0, x1, y1) in pixels, the right and lower ends excluded: (0, 0, W, H) is the whole image.
"""

import numpy as np

from wsss_lab.errors import DataError

ITERATIONS = 5  # the paper gives no details of its GrabCut: this figure and the next ones are our choice
LEAST, MOST = 0.10, 0.99  # share of its box that an object covers
FEWEST_PIXELS = 25  # GrabCut fits five Gaussians to either side; with fewer on one side there is nothing to fit


def box_masks(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Filled boxes: (N, 4), rounded to pixels and clipped to the image -> uint8 (N, height, width), 0 or 1.

    Raises DataError naming the first box that is not finite, has no pixel, or lies outside the image.
    """
    try:
        boxes = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"boxes that are no numbers: {error}", "x0, y0, x1, y1 of each box, in pixels",
                        "correct or drop these boxes") from error
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"boxes of shape {boxes.shape}", "(N, 4): x0, y0, x1, y1")
    clipped = np.clip(np.round(boxes), 0, [width, height, width, height])
    bad = ~np.isfinite(boxes).all(1) | ~(clipped[:, 2:] > clipped[:, :2]).all(1)
    if bad.any():
        first = int(bad.argmax())
        raise DataError(f"box {first} is {boxes[first].tolist()} in an image of {width}x{height} (width x height)",
                        "x0 < x1 and y0 < y1, and at least one pixel inside the image", "correct or drop this box")
    x0, y0, x1, y1 = (edge[:, None] for edge in clipped.T)
    column, row = np.arange(width), np.arange(height)
    inside_x, inside_y = (column >= x0) & (column < x1), (row >= y0) & (row < y1)
    return (inside_y[:, :, None] & inside_x[:, None, :]).astype(np.uint8)


def grabcut_masks(images: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """GrabCut (Rother et al. 2004) started from one box per image.

    images: uint8 (N, H, W, 3). boxes: (N, 4). Returns uint8 (N, H, W), 1 on the object.

    Outside the box is always background. Where the object covers less than LEAST or more than MOST of the box, GrabCut
    has lost it, and the box itself is the mask; so it is where the box or its surroundings have too few pixels to fit a
    colour model. Each image starts from the same random state, so a mask does not depend on the rest of the batch.
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
    fittable = (inside >= FEWEST_PIXELS) & (height * width - inside >= FEWEST_PIXELS)
    for i in np.flatnonzero(fittable):
        # probable foreground in the box and certain background elsewhere: what a start from a rectangle means
        labels = np.where(masks[i], cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.setRNGSeed(0)
        cv2.grabCut(np.ascontiguousarray(images[i]), labels, None, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
        found = labels == cv2.GC_PR_FGD
        if LEAST * inside[i] <= found.sum() <= MOST * inside[i]:
            masks[i] = found
    return masks
