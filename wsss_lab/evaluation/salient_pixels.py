"""Hierarchical saliency against the objects: which pixels it finds, and which of them are none of an object's."""

import numpy as np

from wsss_lab.data.views import EvalView
from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.scoring import score_saliency


def score_salient_pixels(view: EvalView, saliency: np.ndarray, threshold: float = 0.5) -> dict:
    """Salient pixels against the foreground of any class, per image: {"counts": int64 (N, 4)}, void left out.

    saliency: frame uint8, 255 = 1. threshold: a pixel is salient from there on, in (0, 1]; the same for every image,
    as Algorithm 1 reads the maps. For the counts see wsss_lab.evaluation.saliency_scores.foreground_counts.
    Raises ParameterError for a threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ParameterError(f"threshold {threshold} of salient pixels", "above 0 and at most 1")
    return score_saliency(view, (np.asarray(saliency) >= 255 * threshold).astype(np.uint8))
