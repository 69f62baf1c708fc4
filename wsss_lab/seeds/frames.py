"""From stored class maps to seeds of every image, at image size."""

from collections.abc import Iterator

import numpy as np

from wsss_lab.data import frames
from wsss_lab.data.canvas import canvas_box
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.evaluation.scoring import score_seeds
from wsss_lab.refinement.dense_crf import CrfParameters, refine_probabilities
from wsss_lab.seeds.cam import expand
from wsss_lab.seeds.centre import centre_mean_shape
from wsss_lab.seeds.threshold import seed_labels


def normalised_maps(view: TrainView, maps: np.ndarray, side: int, released: bool = False) -> Iterator[np.ndarray]:
    """Yield the normalised class maps of one image after another: float32 (C, H, W) in [0, 1], tags only.

    maps: (N, C, h, w) as `wsss_lab.seeds.training.classifier_outputs` gives them, on canvases of `side` pixels.
    released: see `wsss_lab.data.canvas.from_canvas`.
    """
    for index in range(len(view)):
        size = view.size(index)
        yield expand(np.asarray(maps[index]), canvas_box(*size, side), side, size, view.tags[index], released)


def label_seeds(view: TrainView, maps: np.ndarray, side: int, tau: float, released: bool = False) -> dict:
    """Seed labels of every image: {"masks": frame (N, Hmax, Wmax) uint8, 0 background, c + 1 class c}."""
    labels = (seed_labels(each, tau) for each in normalised_maps(view, maps, side, released))
    return {"masks": frames.stack(view, labels)}


def refine_seeds(view: TrainView, maps: np.ndarray, side: int, tau: float, crf: dict, released: bool = False) -> dict:
    r"""Seed labels after a dense CRF on the seed maps: `crf-seed` of Oh et al. 2017, Table 5.

    The paper doesn't give the unary. Here background gets the score tau, so that without pairwise terms the result is
    exactly that of `label_seeds`; scores are divided by their sum. Only background and the image's tags take part.
    """
    parameters = CrfParameters(**crf)

    def refined() -> Iterator[np.ndarray]:
        for index, each in enumerate(normalised_maps(view, maps, side, released)):
            kept = np.flatnonzero(np.concatenate([[True], view.tags[index]]))
            scores = np.concatenate([np.full_like(each[:1], tau), each])
            probabilities = scores / scores.sum(0, keepdims=True)
            labels = refine_probabilities(view.image(index), probabilities, parameters, labels=kept)
            yield labels.argmax(0).astype(np.uint8)

    return {"masks": frames.stack(view, refined())}


def refine_maps(view: TrainView, maps: np.ndarray, side: int, crf: dict) -> dict:
    """Back-propagation maps after a dense CRF, one tag against the rest (Oh et al. 2017, Sec. 4.2).

    The unary is the map against 1 - map, as the paper gives none; the CRF runs at image size. Returns {"maps": float16
    (N, C, side, side)} on the canvas, 0 outside the image, as `normalised_maps` takes them.
    """
    parameters = CrfParameters(**crf)
    result = np.zeros((len(view), len(view.classes), side, side), np.float16)
    for index, each in enumerate(normalised_maps(view, maps, side)):
        image = view.image(index)
        top, left, height, width = canvas_box(*view.size(index), side)
        for tag in np.flatnonzero(view.tags[index]):
            pair = np.stack([1 - each[tag], each[tag]])
            refined = refine_probabilities(image, pair, parameters)[1]
            result[index, tag, top:top + height, left:left + width] = _resize(refined, (width, height))
    return {"maps": result}


def _resize(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    return cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)


def score_maps(view: EvalView, maps: np.ndarray, side: int) -> dict:
    """Precision and recall of seeds over all thresholds: {"counts": int32 (N, 3, K, bins)}, for evaluation only."""
    return {"counts": score_seeds(view, normalised_maps(view, maps, side))}


def centre_outputs(view: TrainView, labelled: EvalView, side: int) -> dict:
    """The centre mean shape of the labelled images as the map of every class: {"maps": float16 (N, C, side, side)}.

    READS PIXEL LABELS: those of the training set (Oh et al. 2017, Fig. 3's lower bound).
    """
    shape = centre_mean_shape(labelled, side).astype(np.float16)
    return {"maps": np.broadcast_to(shape, (len(view), len(view.classes), side, side)).copy()}
