"""Scoring steps: what they return is kept per image, so that intervals can resample images."""

from collections.abc import Iterable

import numpy as np

from wsss_lab.data import frames
from wsss_lab.data.views import EvalView
from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.confusion import per_image_confusions
from wsss_lab.evaluation.precision_recall import per_image_confidence_counts
from wsss_lab.evaluation.saliency_scores import per_image_foreground_counts


def score_masks(view: EvalView, masks: np.ndarray) -> dict:
    """Compare label maps with the ground truth of a view.

    masks: frame (N, Hmax, Wmax) uint8 of labels, 255 = undecided.
    Returns {"confusions": int32 (N, K, K + 1), void pixels left out; "with_void": the same, void as background}.
    """
    labels = len(view.classes) + 1
    targets = [view.mask(index) for index in range(len(view))]
    predictions = list(frames.rows_of(view, masks))
    return {"confusions": per_image_confusions(predictions, targets, labels),
            "with_void": per_image_confusions(predictions, targets, labels, void_as_background=True)}


def score_seeds(view: EvalView, maps: Iterable[np.ndarray]) -> np.ndarray:
    """Confidence counts of class maps over all thresholds, per image: int32 (N, 3, K, bins).

    maps: one normalised map (C, H, W) in [0, 1] per image, at image size.
    """

    def pixels():
        for index, each in enumerate(maps):
            confidence = each.max(0)
            winner = np.where(confidence > 0, each.argmax(0) + 1, 0)
            yield confidence, winner, view.mask(index)

    return per_image_confidence_counts(pixels(), len(view.classes) + 1)


def score_saliency(view: EvalView, salient: np.ndarray) -> dict:
    """Salient pixels against the ground-truth foreground (any class), void left out.

    salient: frame (N, Hmax, Wmax) of 0 and 1. Returns {"counts": int64 (N, 4)}, see
    wsss_lab.evaluation.saliency_scores.foreground_counts.
    """
    found = (mask > 0 for mask in frames.rows_of(view, salient))
    targets = (view.mask(index) for index in range(len(view)))
    return {"counts": per_image_foreground_counts(found, targets)}


def ground_truth(view: EvalView) -> dict:
    """The masks of a view as a frame, for full supervision. READS PIXEL LABELS."""
    return {"masks": frames.stack(view, (view.mask(index) for index in range(len(view))))}


def score_salient_pixels(view: EvalView, saliency: np.ndarray, threshold: float = 0.5) -> dict:
    """`score_saliency` of saliency maps, a frame uint8, 255 = 1, that are salient from a threshold in (0, 1] on.

    The threshold is the same for every image, as Algorithm 1 reads the maps. Raises ParameterError for another one.
    """
    if not 0 < threshold <= 1:
        raise ParameterError(f"threshold {threshold} of salient pixels", "above 0 and at most 1")
    return score_saliency(view, (np.asarray(saliency) >= 255 * threshold).astype(np.uint8))
