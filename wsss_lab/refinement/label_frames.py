"""Labels of a whole view from class probabilities, with and without the dense CRF, in one pass."""

from collections.abc import Iterable

import numpy as np

from wsss_lab.data import frames
from wsss_lab.data.views import TrainView
from wsss_lab.refinement.dense_crf import CrfParameters, refine_probabilities

LEAST = 1e-12  # of a pixel's sum, so that it can be divided by


def label_image(image: np.ndarray, masks: np.ndarray, crf: CrfParameters | None) -> tuple[np.ndarray, np.ndarray]:
    """Labels (H, W) uint8 without and with the dense CRF; equal where crf is None.

    image: uint8 (H, W, 3). masks: (K, H, W), not negative. The CRF takes the masks divided by their sum; labels without
    a mask anywhere don't take part.
    """
    plain = masks.argmax(0).astype(np.uint8)
    if crf is None:
        return plain, plain
    kept = np.flatnonzero(masks.any((1, 2)))
    probabilities = masks / np.maximum(masks.sum(0), LEAST)
    return plain, refine_probabilities(image, probabilities, crf, labels=kept).argmax(0).astype(np.uint8)


def label_frames(view: TrainView, masks: Iterable[np.ndarray], crf: dict | None) -> dict:
    """Labels of every image of a view from its masks (K, H, W), see `label_image`.

    Returns {"masks": frame (N, Hmax, Wmax) uint8, "refined": the frame after the CRF, the same without one}.
    """
    parameters = CrfParameters(**crf) if crf else None
    pairs = [label_image(view.image(index), each, parameters) for index, each in enumerate(masks)]
    plain, refined = zip(*pairs, strict=True)
    return {"masks": frames.stack(view, plain), "refined": frames.stack(view, refined)}
