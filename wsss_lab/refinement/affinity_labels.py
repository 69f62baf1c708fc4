"""What AffinityNet is trained on: labels that class maps are sure of, and 255 elsewhere (Ahn & Kwak 2018, Sec. 3.2.1).

Maps have no background. It gets (1 - largest map)^alpha: strong for a small alpha, weak for a large one. What is
foreground beside a strong background, and background where it is weak, is taken for sure.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from wsss_lab.data import frames
from wsss_lab.data.views import TrainView
from wsss_lab.errors import ParameterError
from wsss_lab.networks.losses import IGNORE
from wsss_lab.refinement.dense_crf import CrfParameters, refine_probabilities
from wsss_lab.seeds.localisation import localisations

ALPHAS = (4, 24)  # 32 instead of 24 in the released code of Ahn & Kwak


def with_background(relative: np.ndarray, alpha: float) -> np.ndarray:
    """Maps (C, H, W) in [0, 1] behind a background of (1 - largest)^alpha: (1 + C, H, W).

    >>> with_background(np.array([[[0.0, 0.5, 1.0]]]), 2)[0].tolist()
    [[1.0, 0.25, 0.0]]
    """
    return np.concatenate([(1 - relative.max(0, keepdims=True)) ** alpha, relative])


def affinity_labels(image: np.ndarray, relative: np.ndarray, tags: np.ndarray, crf: CrfParameters,
                    alphas: Sequence[float] = ALPHAS) -> np.ndarray:
    """Sure labels of one image: uint8 (H, W), 0 background, 1..C classes among the tags, 255 neither for sure.

    image: uint8 (H, W, 3). relative: float (C, H, W) in [0, 1]. tags: bool (C,). alphas: of the strong and of the weak
    background. Both sets of scores, divided by their sum, go through the dense CRF with the present labels only. Where
    the two disagree, background counts (released code).

    Raises ParameterError for alphas that are not positive or don't increase.
    """
    strong, weak = alphas
    if not 0 < strong < weak:
        raise ParameterError(f"alphas {tuple(alphas)}", "a small one above 0, then a large one", f"use {ALPHAS}")
    present = [0, *(1 + np.flatnonzero(tags))]

    def labels_beside(alpha: float) -> np.ndarray:
        scores = with_background(relative, alpha)
        return refine_probabilities(image, scores / scores.sum(0), crf, present).argmax(0)

    beside_strong = labels_beside(strong)
    sure = np.where(beside_strong == 0, IGNORE, beside_strong)
    return np.where(labels_beside(weak) == 0, 0, sure).astype(np.uint8)


def affinity_label_frames(view: TrainView, state: dict[str, Tensor], backbone: dict, scales: Sequence[float],
                          crf: dict, alphas: Sequence[float] = ALPHAS) -> dict:
    """Sure labels of every image from the maps of a trained localisation network, whose state is given; uses tags.

    crf: parameters of the dense CRF. Returns {"masks": frame (N, Hmax, Wmax) uint8}.
    """
    parameters = CrfParameters(**crf)
    maps = localisations(view, state, backbone, scales)
    return {"masks": frames.stack(view, (
        affinity_labels(view.image(index), found.relative, view.tags[index], parameters, alphas)
        for index, found in enumerate(maps)))}
