"""Training of a segmentation network on pseudo-masks, and its predictions."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.data import frames
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.data.views import TrainView
from wsss_lab.networks.backbones import Backbone, restore, train
from wsss_lab.networks.batches import labelled_batches
from wsss_lab.networks.deeplab_v3plus import DeepLabV3Plus
from wsss_lab.networks.heads import DeepLab, deeplab
from wsss_lab.networks.inference import averaged_maps, label_probabilities
from wsss_lab.networks.losses import pixel_loss
from wsss_lab.refinement.constrain_to_boundary import boundary_loss, crf_targets
from wsss_lab.refinement.dense_crf import CrfParameters, label_frames, refine_probabilities


def train_segmenter(view: TrainView, pseudo_masks: np.ndarray, start: dict[str, Tensor], backbone: dict,
                    schedule: dict, seed: int, head: str = "largefov", crf_loss: dict | None = None,
                    features: np.ndarray | None = None) -> dict:
    """Train a DeepLab on pseudo-masks (Oh et al. 2017, Sec. 3 and 6.1).

    pseudo_masks: frame (N, Hmax, Wmax) uint8, 255 = ignore. start: state dict of the pre-trained trunk.
    crf_loss: CRF parameters on the canvas; adds the constrain-to-boundary loss of SEC (Table 4), None = off.
    features: of the frozen layers, see `labelled_batches`; not with crf_loss, which sees the images.
    Returns {"state": state dict, "history": loss per iteration}.
    """
    crf = CrfParameters(**crf_loss) if crf_loss else None

    def loss_of(net: DeepLab, images: Tensor, labels: Tensor, pixels: Tensor, _tags: Tensor) -> Tensor:
        scores = net(images)
        loss = pixel_loss(scores, labels)
        if crf is not None:
            log_probabilities = scores.float().log_softmax(1)
            targets = crf_targets(log_probabilities.detach().exp(), pixels, crf)
            loss = loss + boundary_loss(log_probabilities, targets)
        return loss

    return train(lambda backbone: deeplab(backbone, len(view.classes) + 1, head),
                 partial(labelled_batches, view, pseudo_masks, features=features), loss_of, start, backbone, schedule,
                 seed)


def segment(view: TrainView, state: dict[str, Tensor], backbone: dict, head: str = "largefov",
            crf: dict | None = None) -> dict:
    """Label every image of a view with a trained network; image tags are not used.

    crf: dense CRF parameters for post-processing (`crf-postproc` of Oh et al. 2017) with all labels; None = off.
    Returns {"masks": frame (N, Hmax, Wmax) uint8 of labels}.
    """
    net = restore(deeplab(Backbone.from_settings(backbone), len(view.classes) + 1, head), state)
    parameters = CrfParameters(**crf) if crf else None

    def masks() -> Iterator[np.ndarray]:
        for index, probabilities in enumerate(label_probabilities(net, view, backbone["side"])):
            if parameters is not None:
                probabilities = refine_probabilities(view.image(index), probabilities, parameters)
            yield probabilities.argmax(0).astype(np.uint8)

    return {"masks": frames.stack(view, masks())}


# ---------------------------------------------------------------------------------------------------------------------
# A second network trained on the labels of the first (Araslanov & Roth 2020, App. E), or on the ground truth.


def train_second_stage(view: TrainView, pseudo_masks: np.ndarray, start: dict[str, Tensor], backbone: dict,
                       schedule: dict, seed: int, aspp_statistics: str = "frozen") -> dict:
    """Train a plain DeepLabv3+ (no gate) with cross-entropy on labels, as in full supervision.

    pseudo_masks: frame (N, Hmax, Wmax) uint8, 255 = ignore. start: state dict of the pre-trained trunk.
    aspp_statistics: see wsss_lab.networks.deeplab_v3plus.
    Returns {"state": state dict, "history": loss per iteration}.
    """
    def build(backbone: Backbone) -> DeepLabV3Plus:
        return DeepLabV3Plus(backbone, len(view.classes) + 1, mode="none", aspp_statistics=aspp_statistics)

    def loss_of(net: DeepLabV3Plus, images: Tensor, labels: Tensor, _pixels: Tensor, _tags: Tensor) -> Tensor:
        scores = F.interpolate(net(images), size=labels.shape[-2:], mode="bilinear", align_corners=True)
        return pixel_loss(scores, labels)

    return train(build, partial(labelled_batches, view, pseudo_masks, change=crop_and_jitter), loss_of, start, backbone,
                 schedule, seed, lambda _backbone, net: net.prepare())


def segment_second_stage(view: TrainView, state: dict[str, Tensor], backbone: dict, scales: Sequence[float],
                         crf: dict | None = None) -> dict:
    """Label every image of a view without its tags: {"masks": frame, "refined": frame after the CRF}."""
    net = restore(DeepLabV3Plus(Backbone.from_settings(backbone), len(view.classes) + 1, mode="none"), state)

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        scores = net(images).float()
        return scores.softmax(1), scores.amax((2, 3))

    masks = (each.numpy() for each, _ in averaged_maps(net, run, view, backbone["side"], scales))
    return label_frames(view, masks, crf)
