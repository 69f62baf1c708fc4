"""Centre mean shape: a seed map that doesn't look at the image (baseline of Oh et al. 2017, Fig. 3)."""

import numpy as np
import torch
import torch.nn.functional as F

from wsss_lab.data.views import EvalView


def centre_mean_shape(view: EvalView, side: int) -> np.ndarray:
    """How often each place of an image is foreground, whatever the class.

    THIS READS PIXEL LABELS: the baseline asks how far the average position of objects alone would get, and
    the paper takes it from the training set's masks. Every mask is stretched to the grid; void pixels (255)
    count neither way.

    view: images with masks, of any sizes. side: of the grid. Returns float32 (side, side) in [0, 1].
    """
    foreground = np.zeros((side, side))
    counted = np.zeros((side, side))
    for index in range(len(view)):
        mask = view.mask(index)
        planes = np.stack([(mask != 0) & (mask != 255), mask != 255]).astype(np.float32)
        cells = F.adaptive_avg_pool2d(torch.from_numpy(planes), side).numpy()
        foreground += cells[0]
        counted += cells[1]
    return np.divide(foreground, counted, out=np.zeros_like(foreground), where=counted > 0).astype(np.float32)
