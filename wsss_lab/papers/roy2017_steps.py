"""Measurements that only Roy & Todorovic 2017 needs."""

from collections.abc import Sequence

import numpy as np
import torch

from wsss_lab.data import frames
from wsss_lab.data.canvas import normalise
from wsss_lab.data.views import TrainView
from wsss_lab.networks.inference import device_of
from wsss_lab.seeds.frames import normalised_maps
from wsss_lab.seeds.rectified_gaussian import MODES, eigenvalues, mode
from wsss_lab.seeds.threshold import seed_labels
from wsss_lab.seeds.top_down import Attention, cell_weights, top_down_maps
from wsss_lab.segmenter.fusion import Method, restore_fusion

IGNORE = 255


def sparse_seeds(view: TrainView, maps: np.ndarray, side: int, low: float, high: float) -> dict:
    """Labels where class maps are sure: {"masks": frame (N, Hmax, Wmax) uint8, 255 = ignore}.

    maps: (N, C, h, w) as wsss_lab.segmenter.fusion_labels.class_maps gives them, on canvases of `side` pixels. A class
    where its map is the largest and reaches `high` of its maximum, background where no map reaches `low` of it.
    """
    def labels() -> list[np.ndarray]:
        for each in normalised_maps(view, maps, side):
            sure = seed_labels(each, high)
            yield np.where((sure == 0) & (seed_labels(each, low) > 0), IGNORE, sure).astype(np.uint8)

    return {"masks": frames.stack(view, labels())}


@torch.no_grad()
def gaussian_study(view: TrainView, state: dict, backbone: dict, method: dict, images: Sequence[int]) -> dict:
    """The rectified Gaussian's modes on the attention of some images, each for its first tag (Eqs. 2 and 3).

    b (Eqs. 5 to 7) is taken where attention ends, summed over channels; parents have passed it down without neighbours.
    Returns {"b": float32 (n, h, w), "similarity": (n, (2 radius + 1)^2, h, w)}, of each of the four MODES "maps" (4, n,
    h, w), "residual" (4, n), see rectified_gaussian.kkt_residual, and "active" (4, n), the share of the cells above a
    thousandth of the maximum, and "eigenvalues" of D for "literal" and "smooth" (2, n, h w), ascending.
    """
    net, method = restore_fusion(state, backbone, method), Method.from_settings(method)
    canvases, _ = view.canvas(list(images), backbone["side"])
    canvases = canvases.to(device_of(net))
    features = net.features(normalise(canvases))
    present = torch.zeros(len(images), 1 + len(view.classes), dtype=torch.bool, device=features.device)
    present[torch.arange(len(images)), 1 + torch.tensor(view.tags[list(images)].argmax(1))] = True
    weights = cell_weights(canvases, features.shape[2:])
    how = Attention("none", activation=method.attention.activation, layers="last")
    b = top_down_maps(net, features, present, weights, how)
    found = [mode(b[:, None], weights, name) for name in MODES]
    maps = torch.cat([each.maps for each in found], 1).transpose(0, 1)
    most = maps.amax((2, 3), keepdim=True)
    outputs = {
        "b": b, "similarity": weights, "maps": maps, "residual": torch.cat([each.residual for each in found], 1).T,
        "active": (maps > most / 1000).float().mean((2, 3)),
        "eigenvalues": torch.stack([eigenvalues(weights, name) for name in ("literal", "smooth")]),
    }
    return {name: value.cpu().numpy() for name, value in outputs.items()}
