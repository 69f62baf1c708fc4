"""Hierarchical saliency of every image of a view, with each detector of the lab.

Frames are uint8 (N, Hmax, Wmax), 255 = 1. Unlike in wsss_lab.saliency.frames, values are the detector's own and not
relative to the image's maximum: erasing thresholds and Algorithm 1 read them as they are, and an image in which
nothing is left must stay dark.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data import frames
from wsss_lab.data.canvas import from_canvas, normalise, to_canvas
from wsss_lab.data.views import TrainView
from wsss_lab.errors import DataError
from wsss_lab.networks.device import place, resolve_device
from wsss_lab.networks.u2netp import U2NetP, predict
from wsss_lab.saliency.hierarchy import THRESHOLDS, Detector, hierarchical_saliency
from wsss_lab.saliency.network import restore_saliency
from wsss_lab.saliency.unsupervised import detect

FOUND = 0.5  # saliency that counts as found


def network_detector(state: dict[str, Tensor], backbone: dict) -> Detector:
    """The world's own saliency network (wsss_lab.saliency.network): foreground probability at image size."""
    net, side = restore_saliency(state, backbone), backbone["side"]

    @torch.inference_mode()
    def look(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        canvases, boxes = zip(*(to_canvas(image, side) for image in images))
        batch = torch.from_numpy(np.stack(canvases)).permute(0, 3, 1, 2)
        scores = net(normalise(batch.to(resolve_device()))).float().cpu()
        return [from_canvas(score, box, side, image.shape[:2]).softmax(0)[1].numpy()
                for image, score, box in zip(images, scores, boxes)]

    return look


def u2net_detector(state: dict[str, Tensor]) -> Detector:
    """U2-Net-P with given weights, which were trained on pixel masks of salient objects (DUTS)."""
    net = U2NetP()
    net.load_state_dict(state)
    net = place(net).eval()
    return lambda images: predict(net, list(images))


def unsupervised_detector(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The hand-crafted detector of wsss_lab.saliency.unsupervised."""
    return [np.asarray(detect(image)) for image in images]


def hierarchy_frames(view: TrainView, detector: Detector, thresholds: Sequence[float] = THRESHOLDS,
                     batch: int = 32) -> dict:
    """S1, S2, ... of every image of a view.

    Returns {"S1": frame, "S2": frame, ..., "found": bool (N, steps), where anything reaches 0.5}.
    Raises DataError when the detector finds nothing in any image: it then has no say, and all cues are background.
    """
    steps: list[list[np.ndarray]] = [[] for _ in range(len(thresholds) + 1)]
    for first in range(0, len(view), batch):
        images = [view.image(index) for index in range(first, min(first + batch, len(view)))]
        for kept, maps in zip(steps, hierarchical_saliency(images, detector, thresholds)):
            kept += [np.round(255 * each).astype(np.uint8) for each in maps]
    found = np.array([[each.max(initial=0) >= 255 * FOUND for each in maps] for maps in steps]).T
    if not found.any():
        raise DataError(f"the saliency detector finds nothing in any of the {len(view)} images of {view.name}",
                        f"maps that reach {FOUND} somewhere",
                        "check the detector's weights and the images it was made for")
    named = {f"S{number}": frames.stack(view, maps, fill=0) for number, maps in enumerate(steps, start=1)}
    return {**named, "found": found}


def network_hierarchy(view: TrainView, state: dict[str, Tensor], backbone: dict, thresholds: Sequence[float]) -> dict:
    """`hierarchy_frames` with the world's own saliency network."""
    return hierarchy_frames(view, network_detector(state, backbone), thresholds)


def u2net_hierarchy(view: TrainView, state: dict[str, Tensor], thresholds: Sequence[float]) -> dict:
    """`hierarchy_frames` with U2-Net-P. Its weights were trained on pixel masks: say so beside every score."""
    return hierarchy_frames(view, u2net_detector(state), thresholds, batch=8)


def unsupervised_hierarchy(view: TrainView, thresholds: Sequence[float]) -> dict:
    """`hierarchy_frames` with the hand-crafted detector."""
    return hierarchy_frames(view, unsupervised_detector, thresholds)
