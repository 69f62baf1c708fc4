r"""Which tags explain a saliency map, and how well class maps reproduce it (Lee et al. 2021, Sec. 3.2 and 3.3).

A classifier with C + 1 localisation maps estimates the saliency of an image from the maps of its tags and from the
inverted map of its background. A tag whose map lies mostly outside of what the detector found is counted with the
background, so that the detector's mistakes don't push it away.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from wsss_lab.errors import DataError, ParameterError

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
        chosen = tags.bool()
        if self.strategy == "adaptive":
            return chosen & (overlap_ratio(maps, saliency) > self.tau)
        if self.strategy == "pre-defined":
            return chosen & ~_members(self.reserved, tags)
        return chosen

    def estimate(self, maps: Tensor, saliency: Tensor, tags: Tensor) -> tuple[Tensor, Tensor]:
        """The estimated saliency map (B, h, w) of Eqs. (1) and (2), and which tags are its foreground (B, C).

        maps: (B, C + 1, h, w), the softmax over classes and background, which comes last; others as in `foreground`.
        Raises DataError for shapes that don't fit.
        """
        _check(maps, saliency, tags)
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


def _members(indices: Sequence[int], tags: Tensor) -> Tensor:
    """bool (C,): the classes with these indices."""
    if any(not 0 <= index < tags.shape[1] for index in indices):
        raise ParameterError(f"reserved classes {list(indices)}", f"indices from 0 to {tags.shape[1] - 1}")
    member = torch.zeros(tags.shape[1], dtype=torch.bool, device=tags.device)
    member[list(indices)] = True
    return member


def _check(maps: Tensor, saliency: Tensor, tags: Tensor) -> None:
    batch, planes, *size = maps.shape
    if tags.shape != (batch, planes - 1) or saliency.shape != (batch, *size):
        raise DataError(f"maps {tuple(maps.shape)}, saliency {tuple(saliency.shape)}, tags {tuple(tags.shape)}",
                        "maps (B, C + 1, h, w), saliency (B, h, w), tags (B, C)")
