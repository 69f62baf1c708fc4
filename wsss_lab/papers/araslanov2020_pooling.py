"""What the two ways of pooling see of an image: class maps of the CAM baseline, pixel scores of the single stage."""

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_lab.data.canvas import normalise
from wsss_lab.data.views import TrainView
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.inference import device_of
from wsss_lab.networks.machine import place
from wsss_lab.seeds.gap_cam import cam_net
from wsss_lab.segmenter.single_stage import restore_single_stage


@torch.inference_mode()
def pooled_maps(view: TrainView, cam_state: dict[str, Tensor], state: dict[str, Tensor], backbone: dict, method: dict,
                images: Sequence[int]) -> dict:
    """The maps that global average pooling and weighted pooling take the class scores from (Fig. 4).

    cam_state, state: weights of the CAM baseline and of the single stage, both on this backbone. images: rows of the
    view; each is looked at once, unaugmented, on its canvas.
    Returns float32 {"class_maps": (n, C, h, w), before the ReLU of Eq. (2), "pixel_scores": (n, C, h', w')}.
    """
    baseline = cam_net(Backbone.from_settings(backbone), len(view.classes))
    baseline.load_state_dict(cam_state)
    baseline = place(baseline).eval()
    net = restore_single_stage(state, backbone, method)
    pixels, _ = view.canvas(list(images), backbone["side"])
    pixels = normalise(pixels.to(device_of(net)))
    return {"class_maps": baseline.class_maps(pixels).float().cpu().numpy(),
            "pixel_scores": net(pixels).float().cpu().numpy()}
