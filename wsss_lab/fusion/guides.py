"""Guide labels of Oh et al. 2017, section 5.2: pseudo-masks from seeds and saliency by rules of growing wit.

- G0: everything salient is one object, of a class drawn from the tags.
- G1: every salient component is an object, of the class whose score gains most when the rest is hidden.
- G2: every salient component is an object, of the class of the seeds that touch it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from wsss_lab.data import frames
from wsss_lab.data.canvas import normalise, to_canvas
from wsss_lab.data.components import components
from wsss_lab.data.views import TrainView
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.networks.machine import resolve_device
from wsss_lab.refinement.dense_crf import V2, CrfParameters, dense_crf

# ---------------------------------------------------------------------------------------------------------------------
# G2: seeds say which class a salient region is, saliency says how far it reaches (Oh et al. 2017, supplement E).


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


RULES = ("G0", "G1", "G2")
MEAN_COLOUR = (124, 116, 104)  # of ImageNet, RGB: zero for a network whose input has the mean taken off


def g0_guide(salient: np.ndarray, tags: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All salient pixels get one class drawn from the tags, the rest is background.

    salient: bool (H, W)    tags: bool (C,)    returns: uint8 (H, W), all background for an image without tags
    """
    labels = np.flatnonzero(tags) + 1
    drawn = rng.choice(labels) if labels.size else BACKGROUND
    return np.where(salient, drawn, BACKGROUND).astype(np.uint8)


def region_images(image: np.ndarray, regions: np.ndarray, count: int, fill: Sequence[int] = MEAN_COLOUR) -> np.ndarray:
    """The image once per region, all else painted over with one colour.

    image: uint8 (H, W, 3)    regions: int (H, W), numbered 1..count    returns: uint8 (count, H, W, 3)
    """
    inside = regions == np.arange(1, count + 1)[:, None, None]
    return np.where(inside[..., None], image, np.array(fill, dtype=np.uint8))


def score_differences(
    images: Sequence[np.ndarray],
    regions: Sequence[tuple[np.ndarray, int]],
    score: Callable[[np.ndarray], np.ndarray],
    fill: Sequence[int] = MEAN_COLOUR,
) -> Iterator[np.ndarray]:
    r"""How much each class gains when only one region is seen: :math:`\Delta_c = s_c(I \odot R) - s_c(I)`.

    images: uint8 (H, W, 3) each    regions: per image what salient_components returns
    score: from uint8 (B, H, W, 3) to class logits (B, C)
    yields: float (n, C) per image, n being its number of regions
    """
    for image, (labels, count) in zip(images, regions, strict=True):
        scores = score(np.concatenate([image[None], region_images(image, labels, count, fill)]))
        yield scores[1:] - scores[:1]


def g1_guide(regions: np.ndarray, differences: np.ndarray, tags: np.ndarray, no_gain: str = "largest") -> np.ndarray:
    """Every salient component gets the tag with the greatest score difference, the rest is background.

    regions: int (H, W), 0 outside and 1..n inside    differences: (n, C), see score_differences
    tags: bool (C,)
    no_gain: where no tag's difference is positive, "largest" takes the largest all the same, "ignore" leaves the
             component undecided. The paper says "greatest positive" and leaves this case open.
    returns: uint8 (H, W); all background for an image without tags
    """
    if no_gain not in ("largest", "ignore"):
        raise ParameterError(f"no_gain is {no_gain!r}", "'largest' or 'ignore'")
    count = int(regions.max(initial=0))
    if differences.shape[0] < count or differences.shape[1:] != tags.shape:
        raise DataError(
            f"score differences {differences.shape} for {count} regions and {tags.shape} tags",
            f"({count}, {len(tags)})",
        )
    fill = np.full(len(differences) + 1, BACKGROUND, dtype=np.uint8)
    if tags.any():
        among_tags = np.where(tags, differences, -np.inf)
        undecided = (among_tags.max(1) <= 0) & (no_gain == "ignore")
        fill[1:] = np.where(undecided, IGNORE, among_tags.argmax(1) + 1)
    return fill[regions]


def oracle_saliency(mask: np.ndarray) -> np.ndarray:
    """The true foreground as saliency: READS PIXEL LABELS, for the oracle row of Table 2 only.

    mask: uint8 (H, W)    returns: bool (H, W), neither background nor void
    """
    return (mask != BACKGROUND) & (mask != IGNORE)


def each_guide(
    rule: str,
    tags: np.ndarray,
    salient: Sequence[np.ndarray] | None = None,
    seeds: Sequence[np.ndarray] | None = None,
    images: Sequence[np.ndarray] | None = None,
    differences: Sequence[np.ndarray] | None = None,
    rules: G2Rules = PAPER_RULES,
    no_gain: str = "largest",
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """Guide labels of many images, of any sizes, by one of the RULES.

    tags: bool (N, C)    salient: bool (H, W) each    seeds: uint8 (H, W) each    images: uint8 (H, W, 3) each
    differences: for G1, (n, C) each, of salient_components(salient, rules.min_area, rules.min_extent)
    rules: of G2; G1 takes the smallest size of a salient component from it
    seed: of G0's draws; image i draws from (seed, i), so that a subset of the first images gets the same
    yields: uint8 (H, W) per image

    Needed are, besides the tags, salient for "G0", salient and differences for "G1", salient, seeds and images for
    "G2"; ParameterError where one is missing. DataError names the image.
    """
    needs = {
        "G0": {"salient": salient},
        "G1": {"salient": salient, "differences": differences},
        "G2": {"salient": salient, "seeds": seeds, "images": images},
    }
    if rule not in needs:
        raise ParameterError(f"no guide rule {rule!r}", f"one of {', '.join(RULES)}")
    for name, given in needs[rule].items():
        if given is None or len(given) != len(tags):
            had = "nothing" if given is None else f"{len(given)} of them"
            raise ParameterError(f"rule {rule} got {had} for {name!r}", f"one per image: {len(tags)}")

    def guide(i: int) -> np.ndarray:
        if rule == "G0":
            return g0_guide(salient[i], tags[i], np.random.default_rng([seed, i]))
        if rule == "G1":
            regions, _ = salient_components(salient[i], rules.min_area, rules.min_extent)
            return g1_guide(regions, differences[i], tags[i], no_gain)
        return g2_guide(images[i], seeds[i], salient[i], tags[i], rules)

    return (_named(i, guide) for i in range(len(tags)))


def _named(i: int, guide: Callable[[int], np.ndarray]) -> np.ndarray:
    try:
        return guide(i)
    except DataError as error:
        raise DataError(f"image {i}: {error.problem}", error.expected, error.fix) from error


# ---------------------------------------------------------------------------------------------------------------------
# Guide labels of every image of a view, by each rule of Oh et al. 2017.
#
# Frames are uint8 (N, Hmax, Wmax), image i in the top-left corner of row i (see wsss_lab.data.frames).


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
