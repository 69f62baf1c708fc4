"""Class activation maps, and the seeds of every image that a threshold makes of them."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from wsss_lab.data import frames
from wsss_lab.data.canvas import canvas_box, from_canvas, normalise
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.errors import ParameterError, TrainingError
from wsss_lab.evaluation.scoring import score_seeds
from wsss_lab.networks.inference import batches_of, device_of, eval_mode
from wsss_lab.refinement.dense_crf import CrfParameters, refine_probabilities

TAU = 0.2  # threshold of the seeds for guide labels (Oh et al. 2017, Sec. 6.1)

# ---------------------------------------------------------------------------------------------------------------------
# Class activation maps (Zhou et al. 2016) as seeds (Oh et al. 2017, Sec. 4): compute on the canvas, expand to the
# image, normalise, cut at a threshold.


@torch.no_grad()
def raw_class_maps(net: nn.Module, view: TrainView, side: int, batch: int | None = None) -> np.ndarray:
    """Class maps as the network gives them: coarse, signed, for all classes.

    net: has ``class_maps``, (B, 3, side, side) -> (B, C, h, w). side: canvas side in pixels.
    Returns float16 (N, C, h, w) on the canvas grid: small enough to keep, and precise to 1/2000 of a value.
    Raises TrainingError when a map is not finite.
    """
    parts = []
    with eval_mode(net):
        for _, images, _ in batches_of(view, side, batch):
            parts.append(net.class_maps(normalise(images.to(device_of(net)))).half().cpu().numpy())
    maps = np.concatenate(parts)
    if not np.isfinite(maps).all():
        raise TrainingError(f"{type(net).__name__} gives class maps that are not finite",
                            "scores within +-65504", "train it again with a lower learning rate")
    return maps


def normalise_maps(maps: np.ndarray, tags: np.ndarray) -> np.ndarray:
    r"""Each tag's map relative to its own maximum: :math:`\hat h_c(u) = \max(h_c(u), 0) / \max_{u'} h_c(u')`.

    maps: (..., C, H, W), signed, at the resolution that is to be thresholded. tags: (..., C) bool.
    Returns float32 (..., C, H, W) in [0, 1]; 0 for classes that are not tags and where the maximum is not
    positive (dividing by it would turn the map over).

    >>> normalise_maps(np.array([[[-1.0, 1.0, 4.0]], [[-2.0, -1.0, -4.0]]]), np.array([True, True])).tolist()
    [[[0.0, 0.25, 1.0]], [[0.0, 0.0, 0.0]]]
    """
    maps = np.asarray(maps, dtype=np.float32)
    peak = maps.max((-2, -1), keepdims=True)
    used = np.asarray(tags, dtype=bool)[..., None, None] & (peak > 0)
    relative = maps / np.where(used, peak, np.inf)
    return np.maximum(relative, 0, out=relative)


def expand(raw: np.ndarray, box: Sequence[int], side: int, out_size: tuple[int, int], tags: np.ndarray,
           released: bool = False) -> np.ndarray:
    """One image's coarse maps at image size, normalised: (C, h, w) -> float32 (C, H, W) in [0, 1].

    Maps grow (bilinear) before they are normalised, so that the maximum is that of the map that is
    thresholded. Only the maps of tags are computed. box: (top, left, height, width) of the image on the canvas.
    side: of the canvas in pixels. out_size: (H, W). tags: (C,) bool. released: see `from_canvas`.
    """
    tags = np.asarray(tags, dtype=bool)
    maps = np.zeros((len(tags), *out_size), np.float32)
    if tags.any():
        grown = from_canvas(raw[tags].astype(np.float32), box, side, out_size, released)
        maps[tags] = normalise_maps(grown, np.ones(len(grown), dtype=bool))
    return maps


def seed_labels(maps: np.ndarray, tau: float = TAU) -> np.ndarray:
    r"""The strongest class where it is strong enough, background elsewhere.

    .. math:: \ell(u) = \arg\max_c \hat h_c(u) \text{ where } \max_c \hat h_c(u) \ge \tau, \text{ else } 0

    maps: (..., C, H, W) in [0, 1], 0 for classes that the image doesn't have. tau: in (0, 1]; 0 would give a
    class to pixels without any evidence. Returns uint8 (..., H, W): 0 background, c + 1 for class index c; of
    equal classes the first. Raises ParameterError for another tau. Source: Oh et al. 2017, Sec. 4.2.

    >>> seed_labels(np.array([[[0.1, 0.2, 0.3]], [[0.0, 0.1, 1.0]]])).tolist()
    [[0, 1, 2]]
    """
    if not 0 < tau <= 1:
        raise ParameterError(f"tau={tau} is no seed threshold", "above 0 and at most 1", f"the paper uses tau={TAU}")
    return np.where(maps.max(-3) >= tau, maps.argmax(-3) + 1, 0).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------------------------
# From stored class maps to seeds of every image, at image size.


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
    import cv2

    parameters = CrfParameters(**crf)
    result = np.zeros((len(view), len(view.classes), side, side), np.float16)
    for index, each in enumerate(normalised_maps(view, maps, side)):
        image = view.image(index)
        top, left, height, width = canvas_box(*view.size(index), side)
        for tag in np.flatnonzero(view.tags[index]):
            pair = np.stack([1 - each[tag], each[tag]])
            refined = refine_probabilities(image, pair, parameters)[1]
            result[index, tag, top:top + height, left:left + width] = cv2.resize(refined, (width, height))
    return {"maps": result}


def score_maps(view: EvalView, maps: np.ndarray, side: int) -> dict:
    """Precision and recall of seeds over all thresholds: {"counts": int32 (N, 3, K, bins)}, for evaluation only."""
    return {"counts": score_seeds(view, normalised_maps(view, maps, side))}


# ---------------------------------------------------------------------------------------------------------------------
# Centre mean shape: a seed map that doesn't look at the image (baseline of Oh et al. 2017, Fig. 3).


def centre_mean_shape(view: EvalView, side: int) -> np.ndarray:
    """How often each place of an image is foreground, whatever the class.

    THIS READS PIXEL LABELS: the baseline asks how far the average position of objects alone would get, and
    the paper takes it from the training set's masks. Every mask is stretched to the grid; void pixels (255)
    count neither way. view: of images of any sizes. side: of the grid. Returns float32 (side, side) in [0, 1].
    """
    foreground, counted = np.zeros((2, side, side))
    for index in range(len(view)):
        mask = view.mask(index)
        planes = np.stack([(mask != 0) & (mask != 255), mask != 255]).astype(np.float32)
        cells = F.adaptive_avg_pool2d(torch.from_numpy(planes), side).numpy()
        foreground += cells[0]
        counted += cells[1]
    return np.divide(foreground, counted, out=np.zeros_like(foreground), where=counted > 0).astype(np.float32)


def centre_outputs(view: TrainView, labelled: EvalView, side: int) -> dict:
    """The centre mean shape of the labelled images as the map of every class: {"maps": float16 (N, C, side, side)}.

    READS PIXEL LABELS: those of the training set (Oh et al. 2017, Fig. 3's lower bound).
    """
    shape = centre_mean_shape(labelled, side).astype(np.float16)
    return {"maps": np.broadcast_to(shape, (len(view), len(view.classes), side, side)).copy()}
