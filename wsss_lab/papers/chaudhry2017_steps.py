"""Steps that join stages of Chaudhry et al. 2017; apart from the route, so that editing it leaves them valid."""

from collections.abc import Iterator

import numpy as np

from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.evaluation.scoring import score_seeds
from wsss_lab.fusion.harmonic import MEANS, cue_frames
from wsss_lab.seeds.attention import attention_maps, predicted_tags


def agreement_maps(view: TrainView, maps: np.ndarray, saliency: np.ndarray, side: int,
                   mean: str) -> Iterator[np.ndarray]:
    """Yield the mean of attention and saliency of one image after another: float (C, H, W) in [0, 1], 0 off the tags.

    maps: attention volumes (N, C, h, w). saliency: frame uint8, 255 = 1. mean: a key of MEANS.
    """
    for index, attention in enumerate(attention_maps(view, maps, side)):
        height, width = view.size(index)
        agreement = MEANS[mean](attention, np.float32(saliency[index, :height, :width]) / 255)
        yield agreement * view.tags[index][:, None, None]


def score_agreement(view: EvalView, maps: np.ndarray, saliency: np.ndarray, side: int, mean: str) -> dict:
    """Cues of Algorithm 1 at every gamma at once: {"counts": int32 (N, 3, K, bins)}; the threshold is gamma."""
    return {"counts": score_seeds(view, agreement_maps(view, maps, saliency, side, mean))}


def tuned_cues(view: TrainView, maps: np.ndarray, saliency: np.ndarray, counts: np.ndarray, side: int,
               mean: str) -> dict:
    """Algorithm 1 with the gamma that gives the best cues on other, labelled images: {"masks": frame, "gamma": float}.

    counts: of `score_agreement` on these images. The choice reads their pixel labels.
    """
    gamma, _ = sweep(np.asarray(counts).sum(0)).best_threshold()
    gamma = min(max(float(gamma), 0.01), 0.99)
    return {**cue_frames(view, maps, saliency, side, gamma, mean), "gamma": gamma}


def direct_labels(view: TrainView, maps: np.ndarray, scores: np.ndarray, saliency: np.ndarray, side: int, gamma: float,
                  tags: str) -> dict:
    """Algorithm 1 used as the segmentation itself, without training a segmenter (Table 4, "no").

    tags: "predicted", classes that the attention network sees with a probability above 1/2, as a method at test time
    must do; "known", the image's own tags. Returns {"masks": frame}.
    """
    seen = predicted_tags(scores) if tags == "predicted" else view.tags
    return cue_frames(view, maps, saliency, side, gamma, tags=seen)
