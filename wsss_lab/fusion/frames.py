"""Guide labels of every image of a view, by each rule of Oh et al. 2017.

Frames are uint8 (N, Hmax, Wmax), image i in the top-left corner of row i (see wsss_lab.data.frames).
"""

import numpy as np
import torch

from wsss_lab.data import frames
from wsss_lab.data.canvas import normalise, to_canvas
from wsss_lab.data.views import TrainView
from wsss_lab.fusion.g2 import G2Rules, salient_components
from wsss_lab.fusion.guides import each_guide, score_differences
from wsss_lab.networks.machine import resolve_device
from wsss_lab.refinement.dense_crf import CrfParameters


def g0_frames(view: TrainView, salient: np.ndarray, seed: int) -> dict:
    """G0: everything salient is one object of a class drawn from the image's tags: {"masks": frame}.

    salient: frame of 0 and 1. seed: of the draws; one draw per image, the same in every epoch.
    """
    guides = each_guide("G0", view.tags, salient=frames.rows_of(view, salient), seed=seed)
    return {"masks": frames.stack(view, guides)}


def g1_frames(view: TrainView, salient: np.ndarray, scorer, side: int, min_area: float) -> dict:
    """G1: each salient component takes the tag whose score gains most when all else is hidden: {"masks": frame}.

    scorer: network with images (B, 3, side, side) -> class scores (B, C).
    """
    rows = frames.rows_of(view, salient)
    regions = frames.Rows(len(view), lambda index: salient_components(rows[index], min_area))

    @torch.inference_mode()
    def score(images: np.ndarray) -> np.ndarray:
        canvases = np.stack([to_canvas(image, side)[0] for image in images])
        batch = torch.from_numpy(canvases).permute(0, 3, 1, 2)
        return scorer(normalise(batch.to(resolve_device()))).float().cpu().numpy()

    differences = list(score_differences(frames.images_of(view), regions, score))
    guides = each_guide("G1", view.tags, salient=rows, differences=differences, rules=G2Rules(min_area=min_area))
    return {"masks": frames.stack(view, guides)}


def g2_frames(view: TrainView, salient: np.ndarray, seeds: np.ndarray, variant: str, min_area: float,
              min_seed_area: float, blur: float, crf: dict) -> dict:
    """G2: seeds name the salient components they touch: {"masks": frame, 255 = ignore}.

    seeds: frame of seed labels. variant: "paper" or "released", what becomes of undecided pixels.
    min_area: share of the image. min_seed_area: pixels. blur: pixels. crf: parameters, all at image size.
    """
    rules = G2Rules(variant, min_area=min_area, min_seed_area=min_seed_area, blur=blur, crf=CrfParameters(**crf))
    guides = each_guide("G2", view.tags, salient=frames.rows_of(view, salient), seeds=frames.rows_of(view, seeds),
                        images=frames.images_of(view), rules=rules)
    return {"masks": frames.stack(view, guides)}
