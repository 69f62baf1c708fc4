"""Saliency maps and masks of every image: where they come from, and how files hold them."""


import numpy as np

from wsss_lab.data import frames
from wsss_lab.data.views import EvalView, TrainView

# ---------------------------------------------------------------------------------------------------------------------
# Saliency of every image of a view, from each kind of detector, in one common form.
#
# A saliency frame is uint8 (N, Hmax, Wmax), image i in the top-left corner of row i, 255 = the image's maximum.


def quantise(saliency: np.ndarray) -> np.ndarray:
    """A map (H, W) of values that are not negative as uint8, its maximum at 255; a map of zeros stays zero.

    >>> quantise(np.array([[0.0, 0.2, 0.4]])).tolist()
    [[0, 128, 255]]
    """
    peak = saliency.max()
    scaled = saliency * (255 / peak) if peak > 0 else np.zeros_like(saliency)
    return np.round(scaled).astype(np.uint8)


def salient_masks(view: TrainView, maps: np.ndarray, fraction: float = 0.5) -> dict:
    """Salient pixels of every image: at least `fraction` of the image's maximum (Oh et al. 2017, Sec. 6.1).

    Returns {"masks": frame of 0 and 1}; outside the images it is 0.
    """
    from wsss_lab.saliency.threshold import salient_mask

    masks = (salient_mask(each, fraction).astype(np.uint8) for each in frames.rows_of(view, maps))
    return {"masks": frames.stack(view, masks, fill=0)}


def unsupervised_frames(view: TrainView) -> dict:
    """The hand-crafted detector of wsss_lab.saliency.unsupervised on every image: {"maps": saliency frame}."""
    from wsss_lab.saliency.unsupervised import detect

    maps = (quantise(detect(view.image(index))) for index in range(len(view)))
    return {"maps": frames.stack(view, maps, fill=0)}


def u2net_frames(view: TrainView, state: dict, batch: int = 8) -> dict:
    """U2-Net-P on every image, from given weights: {"maps": saliency frame}.

    Its weights were trained on pixel masks of salient objects (DUTS): say so beside every score.
    """
    from wsss_lab.networks.machine import place
    from wsss_lab.networks.u2netp import U2NetP, predict

    net = U2NetP()
    net.load_state_dict(state)
    place(net)

    def maps():
        for first in range(0, len(view), batch):
            images = [view.image(index) for index in range(first, min(first + batch, len(view)))]
            yield from (quantise(each) for each in predict(net, images))

    return {"maps": frames.stack(view, maps(), fill=0)}


def folder_frames(view: TrainView, folder: str) -> dict:
    """Maps that somebody else made, from a folder of <name>.png or <name>.npy: {"maps": saliency frame}."""
    from wsss_lab.saliency.precomputed import SaliencyMaps

    found = SaliencyMaps(folder)
    maps = (quantise(found.read(name, view.size(index))) for index, name in enumerate(view.names))
    return {"maps": frames.stack(view, maps, fill=0)}


def oracle_frames(view: EvalView) -> dict:
    """The ground-truth foreground as saliency: the oracle row of Oh et al. 2017, Table 2. READS PIXEL LABELS."""
    from wsss_lab.fusion.guides import oracle_saliency

    maps = (quantise(oracle_saliency(view.mask(index)).astype(np.float32)) for index in range(len(view)))
    return {"maps": frames.stack(view, maps, fill=0)}


def grabcut_targets(images: np.ndarray, boxes: np.ndarray) -> dict:
    """Training masks that GrabCut cuts out of boxes: {"masks": uint8 (N, H, W) in {0, 1}} (Oh et al., Sec. 6.1)."""
    from wsss_lab.saliency.boxes import grabcut_masks

    return {"masks": grabcut_masks(np.asarray(images), np.asarray(boxes))}
