"""G2: seeds say which class a salient region is, saliency says how far it reaches (Oh et al. 2017, supplement E)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.fusion.components import components
from wsss_lab.refinement.dense_crf import V2, CrfParameters, dense_crf

BACKGROUND, IGNORE = 0, 255


@dataclass(frozen=True)
class G2Rules:
    """The figures of G2; sizes are for images with a longest side of 321 pixels, see `scaled`."""

    variant: str = "paper"  # pixels left undecided: "paper" ignores them, "released" calls them background
    min_area: float = 0.01  # of the image; smaller salient components are dropped (supplement E)
    min_extent: int = 2  # rows and columns that a salient component spans at least (released code)
    min_seed_area: float = 25  # pixels; smaller seed components are dropped (released code)
    blur: float = 10.0  # pixels, width of the Gaussian over the seed maps for the CRF (released code)
    clip: float = 1e-3  # the seed maps are clipped to [clip, 1 - clip] before (released code)
    crf: CrfParameters = field(default=V2)  # (released code)

    def __post_init__(self) -> None:
        if self.variant not in ("paper", "released"):
            raise ParameterError(f"no variant {self.variant!r} of G2", "'paper' or 'released'")

    def scaled(self, factor: float) -> G2Rules:
        """The same rules for images whose sides are `factor` times as long."""
        return replace(
            self,
            min_seed_area=self.min_seed_area * factor**2,
            blur=self.blur * factor,
            crf=self.crf.scaled(factor),
        )


PAPER_RULES = G2Rules()


def salient_components(salient: np.ndarray, min_area: float = 0.01, min_extent: int = 2) -> tuple[np.ndarray, int]:
    """Salient regions large enough to be an object.

    salient: bool (H, W)    min_area: share of the image    min_extent: rows, and columns, spanned
    returns: int32 (H, W) with 0 outside and 1..n inside, and n
    """
    return components(salient, min_area * salient.size, min_extent)


def g2_guide(
    image: np.ndarray,
    seeds: np.ndarray,
    salient: np.ndarray,
    tags: np.ndarray,
    rules: G2Rules = PAPER_RULES,
) -> np.ndarray:
    """Guide labels of one image by rule G2.

    image: uint8 (H, W, 3)    seeds: uint8 (H, W), 0 or the label of a tag    salient: bool (H, W)
    tags: bool (C,)    returns: uint8 (H, W), 0, labels of tags, 255 ignore

    Seeds of every class, and of background, fall into 8-connected components, as the salient pixels do.

    - A salient component that no foreground seed touches is ignored; one touched by seeds of one class becomes
      that class; one touched by several classes is divided among them by a dense CRF.
    - A seed that touches several salient components gives its class to all of them.
    - What sticks out of the salient components it touches is ignored in a seed, and background in a background
      seed where nothing at all is salient.
    - A seed that touches no salient component stays as it is, background too.
    - Salient pixels that belong to no component, being too few, keep their seed label by these rules; where
      that is a background seed which touches another salient component they are ignored.

    The released code finally turns everything ignored into background: `variant="released"`. (It also paints
    background seeds into the first two rows by a slip of an index, which we leave out.)
    """
    _check(image, seeds, salient, tags)
    salient = salient != 0
    regions, count = salient_components(salient, rules.min_area, rules.min_extent)
    guide = np.full(seeds.shape, IGNORE, dtype=np.uint8)
    touching = np.zeros((count + 1, len(tags) + 1), dtype=bool)  # which label's seeds touch which region
    for label in (BACKGROUND, *np.flatnonzero(tags) + 1):
        parts, overlap = _overlap(seeds == label, regions, count, rules.min_seed_area)
        used = overlap[:, 1:].any(1)
        guide[(parts > 0) & ~used[parts]] = label
        if label == BACKGROUND:
            guide[used[parts] & ~salient] = BACKGROUND
        else:
            touching[1:, label] = overlap[:, 1:].any(0)
    _fill(guide, regions, touching, lambda labels: _divide(image, seeds, labels, rules))
    if rules.variant == "released":
        guide[guide == IGNORE] = BACKGROUND
    return guide


def _overlap(mask, regions, count, min_area) -> tuple[np.ndarray, np.ndarray]:
    """Components of a mask, and whether component p shares a pixel with region r: bool (parts + 1, count + 1).

    Row 0 stands for no component and is False throughout.
    """
    parts, number = components(mask, min_area)
    pairs = np.bincount((parts * (count + 1) + regions).ravel(), minlength=(number + 1) * (count + 1))
    overlap = pairs.reshape(number + 1, count + 1) > 0
    overlap[0] = False
    return parts, overlap


def _fill(guide, regions, touching, divide) -> None:
    """Label the inside of every region, in place."""
    classes = touching.sum(1)
    whole = np.where(classes == 1, touching.argmax(1), IGNORE).astype(np.uint8)
    guide[regions > 0] = whole[regions[regions > 0]]
    for mixed in np.unique(touching[classes > 1], axis=0):
        inside = (touching == mixed).all(1)[regions]
        guide[inside] = divide(np.flatnonzero(mixed))[inside]


def _divide(image, seeds, labels, rules) -> np.ndarray:
    """Labels (H, W) by a dense CRF among the classes whose seeds touch one region.

    The unary energy of a class is minus its blurred seed map over the whole image, as in the released code: the
    map itself, not its logarithm, and without background.
    """
    import cv2

    maps = np.clip(seeds == labels[:, None, None], rules.clip, 1 - rules.clip, dtype=np.float32)
    blurred = [cv2.GaussianBlur(each, (0, 0), rules.blur, borderType=cv2.BORDER_REFLECT) for each in maps]
    return labels[dense_crf(image, -np.stack(blurred), rules.crf).argmax(0)]


def _check(image: np.ndarray, seeds: np.ndarray, salient: np.ndarray, tags: np.ndarray) -> None:
    if not image.shape[:2] == seeds.shape == salient.shape:
        raise DataError(
            f"image {image.shape}, seeds {seeds.shape} and salient pixels {salient.shape} differ in size",
            "(H, W, 3), (H, W) and (H, W)",
            "bring seeds and saliency to the size of the image",
        )
    _check_labels(seeds, tags)


def _check_labels(seeds: np.ndarray, tags: np.ndarray) -> None:
    """DataError where a seed map holds a label that is not among the image's tags."""
    allowed = np.zeros(256, dtype=bool)
    allowed[[BACKGROUND, *np.flatnonzero(tags) + 1]] = True
    if seeds.dtype != np.uint8:
        raise DataError(f"a seed map of {seeds.dtype}", "uint8 labels")
    strange = np.unique(seeds[~allowed[seeds]])
    if strange.size:
        raise DataError(
            f"the seeds hold labels {strange.tolist()}, which are not among the image's tags",
            f"{np.flatnonzero(allowed).tolist()}",
            "compute the seeds with the tags of this image",
        )
