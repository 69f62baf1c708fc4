"""One network trained to classify and to segment, on cues that it then improves itself (Chaudhry et al. 2017)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data import frames
from wsss_lab.data.canvas import from_canvas
from wsss_lab.data.views import TrainView
from wsss_lab.errors import one_of
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import augmentation, labelled_batches
from wsss_lab.networks.fit import Curves, Schedule, fit
from wsss_lab.networks.heads import AttentionNet
from wsss_lab.networks.inference import SCALES, volumes
from wsss_lab.networks.losses import pixel_loss
from wsss_lab.networks.machine import place
from wsss_lab.refinement.dense_crf import CrfParameters, refine_probabilities
from wsss_lab.seeds.attention import class_loss, restore_attention

GRADIENTS = ("joint", "released", "pixel")
ABSENT = ("excluded", "zero")


def joint_losses(net: AttentionNet, images: Tensor, labels: Tensor, tags: Tensor,
                 gradient: str = "joint") -> tuple[Tensor, Tensor]:
    r"""The two terms of Eq. (2), :math:`\ell = \ell_c + \ell_s`, both computed from one pass.

    images: normalised (B, 3, H, W). labels: (B, H, W), 255 = ignore. tags: (B, C) in {0, 1}.
    gradient: "joint", both terms reach every shared layer, as Eq. (2) says; "released", the classification loss reaches
    the class filters only, as in the released code, whose gradient lists are concatenated where they should be added;
    "pixel", as if there were no classification loss (returned as 0).
    Returns (l_c, l_s), scalars; l_s is the mean over pixels.
    """
    one_of("gradient", gradient, GRADIENTS)
    scores = net.scores(images)
    pixels = pixel_loss(scores, labels)
    if gradient == "pixel":
        return torch.zeros_like(pixels), pixels
    attended = scores.detach() if gradient == "released" else scores
    return class_loss(net.pool(net.attention(attended)), tags), pixels


class Losses:
    """Eq. (2) as the loss of a training; curves: its terms "classification" and "pixel" per iteration."""

    def __init__(self, gradient: str):
        self.gradient, self.curves = gradient, Curves()

    def __call__(self, net: AttentionNet, images: Tensor, labels: Tensor, _pixels: Tensor, tags: Tensor) -> Tensor:
        """Total loss of a batch, see `joint_losses`."""
        classification, pixels = joint_losses(net, images, labels, tags, self.gradient)
        self.curves.write({"classification": classification, "pixel": pixels})
        return classification + pixels


def train_joint(view: TrainView, cues: np.ndarray, state: dict[str, Tensor], backbone: dict, schedule: dict, seed: int,
                gradient: str = "joint", random_scale: Sequence[float] | None = None,
                features: np.ndarray | None = None) -> dict:
    """Train with Eq. (2) on pixel cues, from a network's present weights: one round of the paper's second half.

    cues: frame (N, Hmax, Wmax) uint8 of labels, 255 = ignore. state: of the whole network (`train_attention`, or an
    earlier round). gradient: see `joint_losses`. random_scale: see wsss_lab.networks.batches.augmentation.
    features: of the frozen layers, see `labelled_batches`.
    The learning rate starts anew in every round.
    Returns {"state": state dict, "history": total loss, "classification": l_c, "pixel": l_s, per iteration}.
    """
    backbone, schedule = Backbone.from_settings(backbone), Schedule(**schedule)
    net = restore_attention(state, backbone.settings())
    losses = Losses(gradient)
    batches = labelled_batches(view, cues, backbone.side, schedule.batch, augmentation(random_scale), features)
    history = fit(place(net), batches, losses, schedule, seed, prepare=backbone.prepare)
    return {"state": net.cpu().state_dict(), "history": history, **losses.curves}


def adapt(scores: np.ndarray, tags: np.ndarray, absent: str = "excluded") -> np.ndarray:
    r"""New cues of one image from the network's own scores: :math:`M(m) = \arg\max_{c \in z \cup \{0\}} f_c(m)`.

    scores: float (K, H, W), background first. tags: bool (K - 1,). absent: "excluded", classes that are not tags can't
    win; "zero", their scores are set to 0, as in the released code, so that one of them wins where every score that
    counts is negative. Returns uint8 (H, W) of labels. Source: Chaudhry et al. 2017, Sec. 4.3.

    >>> scores, tags = np.array([-3.0, -2.0, 9.0]).reshape(3, 1, 1), np.array([True, False])
    >>> adapt(scores, tags).tolist(), adapt(scores, tags, absent="zero").tolist()
    ([[1]], [[2]])
    """
    one_of("absent", absent, ABSENT)
    present = np.concatenate([[True], np.asarray(tags, bool)])[:, None, None]
    return np.where(present, scores, -np.inf if absent == "excluded" else 0).argmax(0).astype(np.uint8)


def image_scores(view: TrainView, state: dict[str, Tensor], backbone: dict,
                 scales: Sequence[float]) -> Iterator[np.ndarray]:
    """Yield the network's scores at image size, maximum over scales, of one image after another: float32 (K, H, W)."""
    net, side = restore_attention(state, backbone), backbone["side"]
    for index, volume, box in volumes(net, net.scores, view, side, scales):
        yield from_canvas(volume, box, side, view.size(index)).numpy()


def adapt_cues(view: TrainView, state: dict[str, Tensor], backbone: dict, scales: Sequence[float] = SCALES,
               absent: str = "excluded") -> dict:
    """New cues of every image of a view (see `adapt`): {"masks": frame}. Tags are used, saliency is not."""
    scored = image_scores(view, state, backbone, scales)
    return {"masks": frames.stack(view, (adapt(each, tags, absent) for each, tags in zip(scored, view.tags)))}


def segment_multiscale(view: TrainView, state: dict[str, Tensor], backbone: dict, scales: Sequence[float] = SCALES,
                       crf: dict | None = None) -> dict:
    """Label every image of a view; tags are not used, class filters are dropped (Sec. 5.1).

    Scores are the maximum over `scales`, brought to image size. crf: dense CRF parameters, None = off.
    Returns {"masks": frame (N, Hmax, Wmax) uint8 of labels}.
    """
    parameters = CrfParameters(**crf) if crf else None

    def masks() -> Iterator[np.ndarray]:
        for index, scores in enumerate(image_scores(view, state, backbone, scales)):
            if parameters is not None:
                probabilities = torch.from_numpy(scores).softmax(0).numpy()
                scores = refine_probabilities(view.image(index), probabilities, parameters)
            yield scores.argmax(0).astype(np.uint8)

    return {"masks": frames.stack(view, masks())}
