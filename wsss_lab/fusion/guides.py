"""Guide labels of Oh et al. 2017, section 5.2: pseudo-masks from seeds and saliency by rules of growing wit.

- G0: everything salient is one object, of a class drawn from the tags.
- G1: every salient component is an object, of the class whose score gains most when the rest is hidden.
- G2: every salient component is an object, of the class of the seeds that touch it (wsss_lab.fusion.g2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.fusion.g2 import BACKGROUND, IGNORE, PAPER_RULES, G2Rules, g2_guide, salient_components

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
