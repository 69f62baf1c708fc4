"""Classifiers whose localisation maps are taught by a saliency map (EPS, Lee et al. 2021), and their CAM baseline."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.data.canvas import scale_crop
from wsss_lab.data.resized_crop import crop_and_jitter, jitter_colours, jitter_factors
from wsss_lab.data.views import TrainView
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.networks.backbones import Backbone, restore, train
from wsss_lab.networks.batches import labelled_batches, tagged_batches
from wsss_lab.networks.fit import Curves
from wsss_lab.networks.heads import GapNet
from wsss_lab.seeds.gap_cam import cam_net, freeze
from wsss_lab.seeds.weighted_pooling import average_pooling, soft_margin_loss

# ---------------------------------------------------------------------------------------------------------------------
# Which tags explain a saliency map, and how well class maps reproduce it (Lee et al. 2021, Sec. 3.2 and 3.3).
#
# A classifier with C + 1 localisation maps estimates the saliency of an image from the maps of its tags and from the
# inverted map of its background. A tag whose map lies mostly outside of what the detector found is counted with the
# background, so that the detector's mistakes don't push it away.

STRATEGIES = ("none", "naive", "pre-defined", "adaptive")
TAU, SHARE = 0.4, 0.5  # tau and lambda, Sec. 3.2
HALF = 0.5  # from which value on a pixel belongs to a map
SMALL = 1e-4  # added to the denominator for every pixel; released code


def overlap_ratio(maps: Tensor, saliency: Tensor) -> Tensor:
    r"""Share of a map's area that is salient, :math:`O(M_i, M_s) = |B_i \cap B_s| / |B_i|`, with B = [M > 0.5].

    maps: (B, C, h, w) in [0, 1]. saliency: (B, h, w) in [0, 1]. Returns (B, C), without gradient. The denominator gets
    SMALL per pixel (released code), so that a map that is nowhere above a half has ratio 0.
    """
    with torch.no_grad():
        areas = maps > HALF
        inside = (areas & (saliency > HALF)[:, None]).sum((2, 3))
        return inside / (areas.sum((2, 3)) + SMALL * maps[0, 0].numel())


@dataclass(frozen=True)
class Selection:
    """How a saliency map is estimated from localisation maps: the rows of Table 3 and the two parameters.

    strategy: "adaptive", by overlap (Eq. 2); "naive", all tags are foreground; "pre-defined", all but the classes
    `reserved` (their indices, 0-based); "none", the inverted background map alone, whatever the tags ("baseline").
    tau: overlap that a tag of the foreground exceeds. share: lambda, of the foreground map in Eq. (1).
    Raises ParameterError for another strategy, or for a share or tau outside [0, 1].
    """

    strategy: str = "adaptive"
    tau: float = TAU
    share: float = SHARE
    reserved: tuple[int, ...] = ()

    def __post_init__(self):
        if self.strategy not in STRATEGIES:
            raise ParameterError(f"map selection '{self.strategy}' is not known", ", ".join(STRATEGIES))
        for name in ("tau", "share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ParameterError(f"{name}={getattr(self, name)} of the map selection", "a number in [0, 1]")
        object.__setattr__(self, "reserved", tuple(self.reserved))

    def settings(self) -> dict:
        """As plain JSON values, for the settings of a step."""
        return asdict(self) | {"reserved": list(self.reserved)}

    def foreground(self, maps: Tensor, saliency: Tensor, tags: Tensor) -> Tensor:
        """Which tags belong to the foreground map, bool (B, C): the indicator of Eq. (2).

        maps: (B, C, h, w) in [0, 1], of the classes. saliency: (B, h, w) in [0, 1]. tags: (B, C) in {0, 1}.
        """
        chosen = tags.bool().clone()
        if self.strategy == "adaptive":
            return chosen & (overlap_ratio(maps, saliency) > self.tau)
        if self.strategy == "pre-defined":
            if any(not 0 <= index < tags.shape[1] for index in self.reserved):
                raise ParameterError(f"reserved classes {list(self.reserved)}",
                                     f"indices from 0 to {tags.shape[1] - 1}")
            chosen[:, list(self.reserved)] = False
        return chosen

    def estimate(self, maps: Tensor, saliency: Tensor, tags: Tensor) -> tuple[Tensor, Tensor]:
        """The estimated saliency map (B, h, w) of Eqs. (1) and (2), and which tags are its foreground (B, C).

        maps: (B, C + 1, h, w), the softmax over classes and background, which comes last; others as in `foreground`.
        Raises DataError for shapes that don't fit.
        """
        batch, planes, *size = maps.shape
        if tags.shape != (batch, planes - 1) or saliency.shape != (batch, *size):
            raise DataError(f"maps {tuple(maps.shape)}, saliency {tuple(saliency.shape)}, tags {tuple(tags.shape)}",
                            "maps (B, C + 1, h, w), saliency (B, h, w), tags (B, C)")
        chosen = self.foreground(maps[:, :-1], saliency, tags)
        share = 0.0 if self.strategy == "none" else self.share
        return estimated_saliency(maps, tags, chosen, share), chosen


def estimated_saliency(maps: Tensor, tags: Tensor, chosen: Tensor, share: float = SHARE) -> Tensor:
    r"""Saliency that localisation maps stand for (Eqs. 1 and 2), in [0, 1] for maps that sum to 1.

    .. math:: \hat M_s = \lambda M_{fg} + (1 - \lambda)(1 - M_{bg}), \qquad
              M_{fg} = \sum_{i \, chosen} M_i, \quad M_{bg} = \sum_{i \, tag, not chosen} M_i + M_{C+1}

    maps: (B, C + 1, h, w), background last. tags, chosen: (B, C). share: lambda in [0, 1]. Returns (B, h, w).
    Classes that are not tags belong to neither sum.
    """
    tags, chosen = tags.bool(), chosen.bool()
    # Sums of products, as autocast would take a matrix product (einsum) in half precision.
    foreground = (maps[:, :-1] * (tags & chosen)[:, :, None, None]).sum(1)
    background = (maps[:, :-1] * (tags & ~chosen)[:, :, None, None]).sum(1) + maps[:, -1]
    return share * foreground + (1 - share) * (1 - background)


def saliency_loss(saliency: Tensor, estimated: Tensor) -> Tensor:
    r"""Mean squared difference per pixel (Eq. 3), :math:`\frac{1}{HW} \| M_s - \hat M_s \|^2`, over a batch.

    saliency, estimated: (B, h, w) in [0, 1]. Returns a scalar; gradients go to `estimated`.
    """
    return (saliency - estimated).square().mean()


# ---------------------------------------------------------------------------------------------------------------------
# The network and its training.


def localisation_net(backbone: Backbone, classes: int, background: bool) -> GapNet:
    """trunk -> 1x1 convolution without bias: localisation maps of the classes, and of a background that comes last.

    background: True for EPS (C + 1 maps, no dropout), False for the CAM baseline (C maps behind channel dropout;
    released code). `class_maps` gives the raw maps V, whose spatial mean is the class score.
    """
    return cam_net(replace(backbone, dropout=0.0), classes + 1) if background else cam_net(backbone, classes)


def scale_and_jitter(images: Tensor, labels: Tensor | None, generator: torch.Generator,
                     scales: Sequence[float]) -> tuple[Tensor, Tensor | None]:
    """Random scale, crop, mirror and colour jitter of the released code, on uint8 (B, 3, H, W) and labels (B, H, W).

    Where a shrunk image leaves room, the saliency that stands in `labels` is 0: supervised as background.
    """
    images, labels = scale_crop(images, labels, generator, *scales)
    return jitter_colours(images.float(), *jitter_factors(len(images), generator)).to(images.dtype), labels


def augmentation(random_scale: Sequence[float] | None):
    """How batches are changed: random scale between two factors, as in the paper, or None: crops of 90 % and more."""
    return crop_and_jitter if random_scale is None else partial(scale_and_jitter, scales=random_scale)


def classification_loss(maps: Tensor, tags: Tensor) -> Tensor:
    """Soft margin loss (Eq. 4) of the means of the first C raw maps: none of it reaches the background's map.

    maps: raw (B, C or C + 1, h, w). tags: (B, C) in {0, 1}. Returns a scalar.
    """
    return soft_margin_loss(average_pooling(maps[:, :tags.shape[1]]), tags)


class JointLoss:
    """Classification plus saliency loss (Sec. 3.3), and what is written down in each iteration.

    curves: name -> value per iteration: both losses, the share of tags that are foreground, and of pixels whose
    background map is above one half.
    """

    def __init__(self, selection: Selection):
        self.selection = selection
        self.curves = Curves()

    def __call__(self, net: GapNet, images: Tensor, saliency: Tensor, _pixels: Tensor, tags: Tensor) -> Tensor:
        """Total loss of a batch. images: normalised (B, 3, H, W). saliency: (B, H, W) in 0..255. tags: (B, C)."""
        raw = net.class_maps(images).float()
        maps = raw.softmax(1)
        # The released code brings saliency to the grid of the maps by nearest neighbour.
        target = F.interpolate(saliency[:, None].float() / 255, size=maps.shape[-2:], mode="nearest")[:, 0]
        estimated, chosen = self.selection.estimate(maps, target, tags)
        losses = {"classification": classification_loss(raw, tags), "saliency": saliency_loss(target, estimated)}
        self.curves.write(losses | {"selected tags": chosen.sum() / tags.sum().clamp(min=1),
                                    "background": (maps[:, -1] > HALF).float().mean()})
        return sum(losses.values())


def train_localisation(view: TrainView, start: dict[str, Tensor], backbone: dict, schedule: dict, seed: int,
                       selection: dict | None = None, saliency: np.ndarray | None = None,
                       random_scale: Sequence[float] | None = None, features: np.ndarray | None = None) -> dict:
    """Train on images, tags and, for EPS, saliency maps that somebody else's detector made.

    start: state dict of the pre-trained trunk. selection: settings of a Selection; None trains the CAM baseline, with
    the classification loss alone and without a background map. saliency: saliency frame (N, Hmax, Wmax) uint8, needed
    with a selection. random_scale: see `augmentation`. features: of the frozen layers, see `labelled_batches`.
    Returns {"state": state dict, "history": total loss per iteration, "curves": see `JointLoss`, empty for CAM}.
    Raises ParameterError for a selection without saliency.
    """
    if selection is not None and saliency is None:
        raise ParameterError("saliency=None beside a map selection", "a saliency frame, uint8 (N, Hmax, Wmax)",
                             "give saliency maps, or selection=None for the CAM baseline")
    change, curves = augmentation(random_scale), {}
    if selection is None:
        batches = partial(tagged_batches, view, change=change, features=features)

        def loss(net: GapNet, images: Tensor, tags: Tensor) -> Tensor:
            return soft_margin_loss(net(images), tags)
    else:
        loss = JointLoss(Selection(**selection))
        batches, curves = partial(labelled_batches, view, saliency, change=change, features=features), loss.curves
    trained = train(lambda backbone: localisation_net(backbone, len(view.classes), selection is not None), batches,
                    loss, start, backbone, schedule, seed, freeze)
    return trained | {"curves": dict(curves)}


def restore_localisation(state: dict[str, Tensor], backbone: dict, classes: int) -> tuple[GapNet, bool]:
    """The trained network in evaluation mode on the chosen device, and whether its last map is a background."""
    background = len(state["classifier.weight"]) == classes + 1
    return restore(localisation_net(Backbone.from_settings(backbone), classes, background), state), background
