"""Guide labels of Oh et al. 2017, section 5.2: pseudo-masks from seeds and saliency by rules of growing wit.

- G0: everything salient is one object, of a class drawn from the tags.
- G1: every salient component is an object, of the class whose score gains most when the rest is hidden.
- G2: every salient component is an object, of the class of the seeds that touch it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from wsss_lab.data import frames
from wsss_lab.data.canvas import normalise, to_canvas
from wsss_lab.data.components import components
from wsss_lab.data.views import TrainView
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.networks.machine import resolve_device
from wsss_lab.refinement.dense_crf import V2, CrfParameters, dense_crf

BACKGROUND, IGNORE = 0, 255
RULES = ("G0", "G1", "G2")
MIN_EXTENT = 2  # rows and columns that a salient component spans at least (released code)
CLIP = 1e-3  # G2's seed maps are clipped to [CLIP, 1 - CLIP] before they are blurred (released code)
MEAN_COLOUR = np.array((124, 116, 104), np.uint8)  # of ImageNet, RGB: zero for a network whose input has it taken off


def salient_components(salient: np.ndarray, min_area: float = 0.01) -> tuple[np.ndarray, int]:
    """Salient regions large enough to be an object.

    salient: bool (H, W). min_area: share of the image. Returns int32 (H, W) with 0 outside and 1..n inside, and n.
    """
    return components(salient, min_area * salient.size, MIN_EXTENT)


def named(index: int, guide: Callable[..., np.ndarray], *arguments) -> np.ndarray:
    """What a rule gives for an image; its DataError names the image."""
    try:
        return guide(*arguments)
    except DataError as error:
        raise DataError(f"image {index}: {error.problem}", error.expected, error.fix) from error


# ---------------------------------------------------------------------------------------------------------------------
# G2: seeds say which class a salient region is, saliency says how far it reaches (Oh et al. 2017, supplement E).


@dataclass(frozen=True)
class G2Rules:
    """The figures of G2; sizes are for images with a longest side of 321 pixels, see `scaled`."""

    variant: str = "paper"  # pixels left undecided: "paper" ignores them, "released" calls them background
    min_area: float = 0.01  # of the image; smaller salient components are dropped (supplement E)
    min_seed_area: float = 25  # pixels; smaller seed components are dropped (released code)
    blur: float = 10.0  # pixels, width of the Gaussian over the seed maps for the CRF (released code)
    crf: CrfParameters = V2  # (released code)

    def __post_init__(self) -> None:
        if self.variant not in ("paper", "released"):
            raise ParameterError(f"no variant {self.variant!r} of G2", "'paper' or 'released'")

    def scaled(self, factor: float) -> "G2Rules":
        """The same rules for images whose sides are `factor` times as long."""
        return replace(self, min_seed_area=self.min_seed_area * factor**2, blur=self.blur * factor,
                       crf=self.crf.scaled(factor))


PAPER_RULES = G2Rules()


def g2_guide(image: np.ndarray, seeds: np.ndarray, salient: np.ndarray, tags: np.ndarray,
             rules: G2Rules = PAPER_RULES) -> np.ndarray:
    """Guide labels of one image by rule G2.

    image: uint8 (H, W, 3). seeds: uint8 (H, W), 0 or the label of a tag. salient: bool (H, W). tags: bool (C,).
    Returns uint8 (H, W): 0, labels of tags, 255 ignore.

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
    regions, count = salient_components(salient, rules.min_area)
    guide = np.full(seeds.shape, IGNORE, dtype=np.uint8)
    touching = np.zeros((count + 1, len(tags) + 1), dtype=bool)  # which label's seeds touch which region
    for label in (BACKGROUND, *np.flatnonzero(tags) + 1):
        parts, number = components(seeds == label, rules.min_seed_area)
        pairs = np.bincount((parts * (count + 1) + regions).ravel(), minlength=(number + 1) * (count + 1))
        overlap = pairs.reshape(number + 1, count + 1) > 0  # whether a component shares a pixel with a region
        overlap[0] = False
        used = overlap[:, 1:].any(1)
        guide[(parts > 0) & ~used[parts]] = label
        if label == BACKGROUND:
            guide[used[parts] & ~salient] = BACKGROUND
        else:
            touching[1:, label] = overlap[:, 1:].any(0)
    classes = touching.sum(1)
    whole = np.where(classes == 1, touching.argmax(1), IGNORE).astype(np.uint8)
    guide[regions > 0] = whole[regions[regions > 0]]
    for mixed in np.unique(touching[classes > 1], axis=0):
        inside = (touching == mixed).all(1)[regions]
        guide[inside] = _divide(image, seeds, np.flatnonzero(mixed), rules)[inside]
    if rules.variant == "released":
        guide[guide == IGNORE] = BACKGROUND
    return guide


def _divide(image: np.ndarray, seeds: np.ndarray, labels: np.ndarray, rules: G2Rules) -> np.ndarray:
    """Labels (H, W) by a dense CRF among the classes whose seeds touch one region.

    The unary energy of a class is minus its blurred seed map over the whole image, as in the released code: the
    map itself, not its logarithm, and without background.
    """
    import cv2

    maps = np.clip(seeds == labels[:, None, None], CLIP, 1 - CLIP, dtype=np.float32)
    blurred = [cv2.GaussianBlur(each, (0, 0), rules.blur, borderType=cv2.BORDER_REFLECT) for each in maps]
    return labels[dense_crf(image, -np.stack(blurred), rules.crf).argmax(0)]


def _check(image: np.ndarray, seeds: np.ndarray, salient: np.ndarray, tags: np.ndarray) -> None:
    if not image.shape[:2] == seeds.shape == salient.shape:
        raise DataError(f"image {image.shape}, seeds {seeds.shape} and salient pixels {salient.shape} differ in size",
                        "(H, W, 3), (H, W) and (H, W)", "bring seeds and saliency to the size of the image")
    if seeds.dtype != np.uint8:
        raise DataError(f"a seed map of {seeds.dtype}", "uint8 labels")
    allowed = np.array([BACKGROUND, *np.flatnonzero(tags) + 1])
    strange = np.setdiff1d(seeds, allowed)
    if strange.size:
        raise DataError(f"the seeds hold labels {strange.tolist()}, which are not among the image's tags",
                        f"{allowed.tolist()}", "compute the seeds with the tags of this image")


def g2_frames(view: TrainView, salient: np.ndarray, seeds: np.ndarray, variant: str, min_area: float,
              min_seed_area: float, blur: float, crf: dict) -> dict:
    """G2: seeds name the salient components they touch: {"masks": frame, 255 = ignore}.

    salient: frame of 0 and 1. seeds: frame of seed labels. variant: "paper" or "released", what becomes of undecided
    pixels. min_area: share of the image. min_seed_area: pixels. blur: pixels. crf: parameters, all at image size.
    """
    rules = G2Rules(variant, min_area, min_seed_area, blur, CrfParameters(**crf))
    salient, seeds = frames.rows_of(view, salient), frames.rows_of(view, seeds)
    guides = (named(i, g2_guide, view.image(i), seeds[i], salient[i], view.tags[i], rules) for i in range(len(view)))
    return {"masks": frames.stack(view, guides)}


# ---------------------------------------------------------------------------------------------------------------------
# G0 and G1, which need no seeds.


def g0_guide(salient: np.ndarray, tags: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All salient pixels get one class drawn from the tags, the rest is background.

    salient: bool (H, W). tags: bool (C,). Returns uint8 (H, W), all background for an image without tags.
    """
    labels = np.flatnonzero(tags) + 1
    drawn = rng.choice(labels) if labels.size else BACKGROUND
    return np.where(salient, drawn, BACKGROUND).astype(np.uint8)


def g0_frames(view: TrainView, salient: np.ndarray, seed: int) -> dict:
    """G0: everything salient is one object of a class drawn from the image's tags: {"masks": frame}.

    salient: frame of 0 and 1. Image i draws from (seed, i), once, so that a subset of the first images gets the same.
    """
    guides = (g0_guide(each, view.tags[i], np.random.default_rng([seed, i]))
              for i, each in enumerate(frames.rows_of(view, salient)))
    return {"masks": frames.stack(view, guides)}


def g1_guide(image: np.ndarray, regions: tuple[np.ndarray, int], tags: np.ndarray,
             score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    r"""Every salient component gets the tag that gains most when all else is hidden, the rest is background.

    The gain is :math:`\Delta_c = s_c(I \odot R) - s_c(I)`. The paper says "greatest positive" and leaves open what
    becomes of a component where none is; here it takes the largest all the same.

    image: uint8 (H, W, 3). regions: see `salient_components`. tags: bool (C,). score: from uint8 (B, H, W, 3) to class
    logits (B, C). Returns uint8 (H, W), all background for an image without tags.
    """
    labels, count = regions
    inside = labels == np.arange(1, count + 1)[:, None, None]
    scores = score(np.concatenate([image[None], np.where(inside[..., None], image, MEAN_COLOUR)]))
    gains = scores[1:] - scores[:1]
    if gains.shape != (count, len(tags)):
        raise DataError(f"score differences {gains.shape} for {count} regions and {len(tags)} tags",
                        f"({count}, {len(tags)})")
    fill = np.full(count + 1, BACKGROUND, dtype=np.uint8)
    if tags.any():
        fill[1:] = np.where(tags, gains, -np.inf).argmax(1) + 1
    return fill[labels]


def g1_frames(view: TrainView, salient: np.ndarray, scorer, side: int, min_area: float) -> dict:
    """G1: each salient component takes the tag whose score gains most when all else is hidden: {"masks": frame}.

    salient: frame of 0 and 1. scorer: network with images (B, 3, side, side) -> class scores (B, C).
    """
    @torch.inference_mode()
    def score(images: np.ndarray) -> np.ndarray:
        canvases = np.stack([to_canvas(image, side)[0] for image in images])
        batch = torch.from_numpy(canvases).permute(0, 3, 1, 2)
        return scorer(normalise(batch.to(resolve_device()))).float().cpu().numpy()

    guides = (named(i, g1_guide, view.image(i), salient_components(each, min_area), view.tags[i], score)
              for i, each in enumerate(frames.rows_of(view, salient)))
    return {"masks": frames.stack(view, guides)}
