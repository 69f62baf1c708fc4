"""Steps that join two stages of Oh et al. 2017; apart from the route, so that editing it leaves them valid."""

import numpy as np
from torch import Tensor

from wsss_lab.data.views import TrainView
from wsss_lab.fusion.guides import g1_frames
from wsss_lab.seeds.training import restore_classifier


def classify_components(view: TrainView, salient: np.ndarray, state: dict[str, Tensor], variant: str, backbone: dict,
                        min_area: float) -> dict:
    """G1 with a trained classifier: {"masks": frame} (see wsss_lab.fusion.guides.g1_frames)."""
    return g1_frames(view, salient, restore_classifier(state, variant, backbone), backbone["side"], min_area)
