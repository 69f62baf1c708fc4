"""What is computed for the pictures of Lee et al. 2021 alone: localisation maps of a few images."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data import frames
from wsss_lab.data.views import TrainView
from wsss_lab.networks.inference import averaged_maps
from wsss_lab.seeds.saliency_supervision import Selection, overlap_ratio, restore_localisation


def shown_maps(view: TrainView, state: dict[str, Tensor], backbone: dict, selection: dict, saliency: np.ndarray,
               images: Sequence[int]) -> dict:
    """Localisation maps of a few images and what the map selection makes of them (Eqs. 1 and 2); tags are used.

    At one scale and at image size, the mean over image and mirror image. saliency: frame of the detector's maps, uint8.
    images: rows of the view. Returns, with n images,
        "maps": float16 frame (n, C + 1, Hmax, Wmax) in [0, 1], background last
        "overlaps": float32 (n, C), the share of each map's area that is salient; "chosen": bool (n, C)
    """
    net, _ = restore_localisation(state, backbone, len(view.classes))
    shown, select = view.subset(images), Selection(**selection)
    sizes = [shown.size(index) for index in range(len(shown))]
    maps = np.zeros((len(shown), len(view.classes) + 1, *np.max(sizes, 0)), np.float16)
    overlaps, chosen = (np.zeros((len(shown), len(view.classes)), kind) for kind in (np.float32, bool))

    def run(pixels: Tensor) -> tuple[Tensor, Tensor]:
        raw = net.class_maps(pixels).float()
        return raw.softmax(1), raw.mean((2, 3))

    detected = frames.rows_of(shown, saliency[list(images)])
    for index, (each, _) in enumerate(averaged_maps(net, run, shown, backbone["side"], (1.0,))):
        target = torch.from_numpy(detected[index] / np.float32(255))[None]
        tags = torch.tensor(shown.tags[index])[None]
        maps[index, :, :sizes[index][0], :sizes[index][1]] = each.numpy()
        overlaps[index] = overlap_ratio(each[None, :-1], target)[0]
        chosen[index] = select.foreground(each[None, :-1], target, tags)[0]
    return {"maps": maps, "overlaps": overlaps, "chosen": chosen}
