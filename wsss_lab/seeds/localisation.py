"""Localisation maps of images whose tags are known, and pseudo-masks from them (Lee et al. 2021, Sec. 5.3)."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data import frames
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.scoring import score_seeds
from wsss_lab.refinement.dense_crf import CrfParameters, refine_probabilities
from wsss_lab.seeds.cam import normalise_maps
from wsss_lab.seeds.gap_cam import mean_maps
from wsss_lab.seeds.saliency_supervision import Selection, restore_localisation

BACKGROUND = 0.2  # score of the background beside maps whose maximum is 1; released code


class Localisation(NamedTuple):
    """What a classifier says of one image at its size.

    relative: float32 (C, H, W) in [0, 1], each tag's map divided by its maximum, 0 for other classes.
    mean: float32 (C + 1, H, W) as averaged over scales, background last; None without a background map (CAM).
    """

    relative: np.ndarray
    mean: np.ndarray | None


def localisations(view: TrainView, state: dict[str, Tensor], backbone: dict,
                  scales: Sequence[float]) -> Iterator[Localisation]:
    """Yield the Localisation of every image: mean over scales and mirror images, of the softmax (EPS) or ReLU (CAM)."""
    net, background = restore_localisation(state, backbone, len(view.classes))
    activation = partial(torch.softmax, dim=1) if background else torch.relu
    for index, maps in enumerate(mean_maps(net, activation, view, backbone["side"], scales)):
        relative = normalise_maps(maps[:len(view.classes)], view.tags[index])
        yield Localisation(relative, maps if background else None)


def scores_of(found: Localisation, tags: np.ndarray, background: str | float = BACKGROUND) -> np.ndarray:
    """Scores of all labels, background first: float32 (1 + C, H, W), not negative; the best one is the label.

    background: a number, the constant score beside the relative maps (released inference), or "learned", the
    averaged background map beside the averaged maps of the tags.
    Raises ParameterError for "learned" without a background map, and for a number outside [0, 1].
    """
    if background == "learned":
        if found.mean is None:
            raise ParameterError("background='learned' for a network without a background map", "a number, as in 0.2",
                                 "train the network with a map selection")
        return np.concatenate([found.mean[-1:], np.where(tags[:, None, None], found.mean[:-1], 0)])
    if isinstance(background, str) or not 0 <= background <= 1:
        raise ParameterError(f"background={background!r}", "'learned' or a number in [0, 1]")
    return np.concatenate([np.full_like(found.relative[:1], background), found.relative])


def pseudo_masks(view: TrainView, state: dict[str, Tensor], backbone: dict, scales: Sequence[float],
                 background: float = BACKGROUND, learned: bool = False, crf: dict | None = None) -> dict:
    """Label every image of a view by its localisation maps; its tags are used.

    background: the constant score. learned: "learned" labels too, by the background map. crf: parameters of a dense
    CRF on the constant-background scores divided by their sum, with the present labels only; None = off.
    Returns {"masks": frame (N, Hmax, Wmax) uint8, and where asked for "learned" and "refined"}.
    """
    parameters = CrfParameters(**crf) if crf else None
    kinds: dict[str, list[np.ndarray]] = {"masks": []}
    for index, found in enumerate(localisations(view, state, backbone, scales)):
        tags = view.tags[index]
        scores = scores_of(found, tags, background)
        kinds["masks"].append(scores.argmax(0))
        if learned:
            kinds.setdefault("learned", []).append(scores_of(found, tags, "learned").argmax(0))
        if parameters is not None:
            present = [0, *(1 + np.flatnonzero(tags))]
            refined = refine_probabilities(view.image(index), scores / scores.sum(0), parameters, present)
            kinds.setdefault("refined", []).append(refined.argmax(0))
    return {name: frames.stack(view, masks) for name, masks in kinds.items()}


def estimated_frames(view: TrainView, state: dict[str, Tensor], backbone: dict, selection: dict,
                     saliency: np.ndarray) -> dict:
    """The estimated saliency maps of Eq. (1): {"maps": frame uint8, 255 = salient for sure}; tags are used.

    At one scale, from the mean over the image and its mirror image, at image size (the loss compares on the grid of
    the network). saliency: frame of the detector's maps, which the selection compares with.
    """
    detected = frames.rows_of(view, saliency)

    def maps() -> Iterator[np.ndarray]:
        for index, found in enumerate(localisations(view, state, backbone, (1.0,))):
            estimate, _ = Selection(**selection).estimate(
                torch.from_numpy(found.mean)[None], torch.from_numpy(detected[index] / np.float32(255))[None],
                torch.tensor(view.tags[index])[None])
            yield (estimate[0] * 255).round().to(torch.uint8).numpy()

    return {"maps": frames.stack(view, maps(), fill=0)}


def score_localisations(view: EvalView, state: dict[str, Tensor], backbone: dict, scales: Sequence[float]) -> dict:
    """Confidence counts of the relative maps over all background scores: {"counts": int32 (N, 3, 1 + C, bins)}.

    See wsss_lab.evaluation.precision_recall.
    """
    found = localisations(view, state, backbone, scales)
    return {"counts": score_seeds(view, (each.relative for each in found))}
