"""A measurement that only the claims of Lee et al. 2021 need."""

from collections.abc import Sequence

import numpy as np

from wsss_lab.data.views import EvalView
from wsss_lab.evaluation.salient_pixels import score_salient_pixels


def score_cuts(view: EvalView, saliency: np.ndarray, cuts: Sequence[float]) -> dict:
    """Foreground counts of saliency maps at several thresholds in (0, 1]: {"counts": int64 (N, cuts, 4)}.

    saliency: frame uint8, 255 = 1. Raises ParameterError as score_salient_pixels does.
    """
    return {"counts": np.stack([score_salient_pixels(view, saliency, cut)["counts"] for cut in cuts], 1)}
