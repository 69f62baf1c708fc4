"""Labels from the trained network of Araslanov & Roth 2020 (Sec. 4.1), and what it makes of images in training."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.data.canvas import normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import ParameterError
from wsss_lab.networks.inference import averaged_maps, device_of
from wsss_lab.refinement.label_frames import label_frames
from wsss_lab.refinement.pamr import pamr_steps
from wsss_lab.seeds.weighted_pooling import class_scores, masks_of
from wsss_lab.segmenter.single_stage import Method, restore_single_stage

PRESENCE = 0.1  # a class with less confidence than this is removed, Sec. 4.1
TAGS = ("predicted", "known")


def keep_present(masks: np.ndarray, present: np.ndarray, power: float = 1.0) -> np.ndarray:
    """Masks of one image without those of absent classes, the background's raised to a power.

    masks: (1 + C, H, W) in [0, 1], background first. present: bool (C,). power: 3 in the released code, which weakens
    the background; the paper has none (1). Returns float32 (1 + C, H, W), not summing to 1.

    >>> keep_present(np.array([0.5, 0.25, 0.25]).reshape(3, 1, 1), np.array([True, False]), 3).ravel().tolist()
    [0.125, 0.25, 0.0]
    """
    kept = np.concatenate([[True], np.asarray(present, bool)])[:, None, None]
    result = np.where(kept, masks, 0).astype(np.float32)
    result[0] **= power
    return result


def present_classes(view: TrainView, index: int, scores: Tensor, tags: str) -> np.ndarray:
    """Classes that may be labelled in an image, bool (C,): "known", its tags; "predicted", those whose score (C,), a
    logit, means a confidence of at least PRESENCE. Raises ParameterError for another word."""
    if tags not in TAGS:
        raise ParameterError(f"tags='{tags}' is not known", " or ".join(TAGS))
    return view.tags[index] if tags == "known" else scores.sigmoid().numpy() >= PRESENCE


def segment_single_stage(view: TrainView, state: dict[str, Tensor], backbone: dict, method: dict,
                         scales: Sequence[float], tags: str = "predicted", power: float = 1.0,
                         crf: dict | None = None) -> dict:
    """Label every image of a view: masks are the mean over scales and mirror images, the best one wins.

    tags: "predicted", as a method at test time must do, or "known", with the image's own tags (Tables 2 and 9).
    power: of the background, see `keep_present`. crf: dense CRF parameters for "refined", None = off.
    Returns {"masks": frame (N, Hmax, Wmax) uint8 of labels, "refined": the same after the CRF, "scores": float32
    (N, C), the largest class scores (logits) over scales}.
    """
    net, method = restore_single_stage(state, backbone, method), Method(**method)
    scores: list[np.ndarray] = []

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        pixel_scores = net(images).float()
        terms = class_scores(pixel_scores, method.power, method.floor, method.epsilon, method.penalty)
        return masks_of(pixel_scores), sum(terms)

    def masks() -> Iterator[np.ndarray]:
        for index, (each, score) in enumerate(averaged_maps(net, run, view, backbone["side"], scales)):
            scores.append(score.numpy())
            yield keep_present(each.numpy(), present_classes(view, index, score, tags), power)

    labels = label_frames(view, masks(), crf)
    return labels | {"scores": np.stack(scores)}


@torch.inference_mode()
def training_pictures(view: TrainView, state: dict[str, Tensor], backbone: dict, method: dict,
                      images: Sequence[int]) -> dict:
    """What the loss sees of some images, unaugmented, at the state of a training (Figs. 6 and 10).

    Returns {"masks": float16 (n, iterations + 1, 1 + C, h, w), before PAMR and after each of its iterations, planes of
    absent classes 0; "labels": uint8 (n, side, side), the pseudo ground truth on the canvas, 255 = ignored}.
    """
    net, method, side = restore_single_stage(state, backbone, method), Method(**method), backbone["side"]
    canvases, _ = view.canvas(list(images), side)
    tags = torch.tensor(view.tags[list(images)])
    masks = masks_of(net(normalise(canvases.to(device_of(net))))).cpu()
    small = F.interpolate(canvases.float() / 255, size=masks.shape[-2:], mode="bilinear", align_corners=True)
    steps = torch.stack(list(pamr_steps(small, masks, method.dilations, method.iterations, method.bandwidth)), 1)
    present = torch.cat([torch.ones_like(tags[:, :1]), tags], 1)[:, None, :, None, None]
    steps = steps * present
    labels, _ = method.pseudo_labels(steps[:, -1], tags, (side, side))
    return {"masks": steps.half().numpy(), "labels": labels.to(torch.uint8).numpy()}
