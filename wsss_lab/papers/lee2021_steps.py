"""Small measurements that only the notebook on Lee et al. 2021 needs."""

import numpy as np

from wsss_lab.data import frames
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.evaluation.object_recall import object_areas

#: Knobs of a toy world with more and smaller animals, which stands for COCO: several to a picture, seldom alone.
MANY = (("main_length", (10.0, 18.0)), ("secondary", (1.0, 0.9)), ("secondary_length", (7.0, 12.0)),
        ("touching_pair", 0.4))
LEAST = 0.002  # share of the image below which a region is no object


def salient_halves(view: TrainView, maps: np.ndarray) -> dict:
    """Pixels of saliency maps above one half, as the map selection reads them: {"masks": frame of 0 and 1}."""
    masks = ((each > 127).astype(np.uint8) for each in frames.rows_of(view, maps))
    return {"masks": frames.stack(view, masks, fill=0)}


def object_facts(view: EvalView) -> dict:
    """Separate objects of each image: {"objects": int64 (N,), how many; "area": float64 (N,), mean share of the image}.

    An object is a connected region of one class; nan area where there is none.
    """
    found = [[np.count_nonzero(each) / each.size for each in object_areas(view.mask(index), LEAST)]
             for index in range(len(view))]
    return {"objects": np.array([len(areas) for areas in found]),
            "area": np.array([np.mean(areas) if areas else np.nan for areas in found])}
