"""What is computed for the pictures of Oh et al. 2017 alone: on a few images, chosen by rule."""

import numpy as np
from torch import Tensor

from wsss_lab.data.views import TrainView
from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.lab.choices import random_images, spread_ranks
from wsss_lab.saliency.network import saliency_frames
from wsss_lab.segmenter.training import segment


def refine_shown(view: TrainView, confusions: np.ndarray, state: dict[str, Tensor], backbone: dict, crf: dict,
                 count: int) -> dict:
    """Post-process a segmenter's labels of the images of Fig. 7, 12 and 13.

    The images are at evenly spread ranks of the segmenter's IoU, read from confusions (N, K, K + 1).
    Returns {"indices": (count,) rows of the view, best first; "masks": frame (count, Hmax, Wmax) uint8 of labels}.
    """
    indices = spread_ranks(mean_iou(confusions), count)
    return {"indices": indices, **segment(view.subset(indices), state, backbone, crf=crf)}


def detect_shown(images: np.ndarray, state: dict[str, Tensor], backbone: dict, count: int) -> dict:
    """Saliency of random images of the saliency network's own training set (Fig. 5 and 9).

    images: (N, s, s, 3) uint8. Returns {"indices": (count,); "maps": saliency frame of these images}.
    """
    indices = random_images(len(images), count)
    shown = np.ascontiguousarray(images[indices])
    names, no_tags = [str(index) for index in indices], np.zeros((len(indices), 1), dtype=bool)
    view = TrainView.from_arrays("saliency set", ("object",), names, no_tags, shown, "none")
    return {"indices": indices, **saliency_frames(view, state, backbone)}
