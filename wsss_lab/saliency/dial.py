"""A dial of saliency quality for studies: the true foreground with known damage. READS PIXEL LABELS.

Lee et al. 2021 train on the maps of one off-the-shelf detector as if they were pixel labels (Sec. 3.2), so that its
errors become those of the method. Maps of known damage show how good saliency has to be, and which kind of error hurts:

- "oracle": the true foreground as it is;
- "eroded": objects are found but too small, by the width of a margin;
- "blurred": objects are found but their boundaries are soft;
- "noisy": whole objects are missed, and as many things are taken for objects. This, and not noise of single pixels,
  is how detectors err: what they find has compact regions and sound boundaries, but it may be the wrong thing;
- "none": nothing is salient.
"""

import numpy as np

from wsss_lab.data import frames
from wsss_lab.data.components import components
from wsss_lab.data.views import EvalView
from wsss_lab.errors import ParameterError
from wsss_lab.saliency.maps import oracle_saliency

DAMAGES = ("oracle", "eroded", "blurred", "noisy", "none")
APART = 1.5  # pixels: regions further apart than this don't even touch at a corner


def damaged(foreground: np.ndarray, kind: str, amount: float, generator: np.random.Generator) -> np.ndarray:
    """The foreground as a saliency map that has one kind of damage.

    foreground: bool (H, W). kind: one of DAMAGES. amount: in [0, 1]; with 0 the first four kinds give the foreground.

    - "eroded": radius of the disc that erodes, as a share of the shorter side of the image; objects aren't eroded from
      the border of the image, where it cuts them off.
    - "blurred": standard deviation of the Gaussian, as a share of the shorter side.
    - "noisy": probability that an object (8-connected component, so that objects which touch are one) is missed; for
      every object missed a disc of its area is put elsewhere on the background, cut to it where none fits, so that
      precision and recall fall alike. generator: drawn from by this kind alone.

    Returns float32 (H, W) in [0, 1]. Raises ParameterError for an unknown kind and an amount outside [0, 1].
    """
    if kind not in DAMAGES:
        raise ParameterError(f"no kind of damage {kind!r}", f"one of {', '.join(DAMAGES)}")
    if not 0 <= amount <= 1:
        raise ParameterError(f"amount is {amount}", "a number from 0 to 1")
    margin = amount * min(foreground.shape)
    if kind == "none":
        return np.zeros(foreground.shape, np.float32)
    if kind == "eroded":
        foreground = _eroded(foreground, margin)
    elif kind == "noisy":
        foreground = _noisy(foreground, amount, generator)
    saliency = foreground.astype(np.float32)
    return _blurred(saliency, margin) if kind == "blurred" else saliency


def dial_frames(view: EvalView, kind: str, amount: float, seed: int) -> dict:
    """The damaged foreground of every image: {"maps": saliency frame}. READS PIXEL LABELS.

    view: with masks; void pixels aren't foreground. kind, amount, errors: see `damaged`. seed: image i draws from
    (seed, i), so that a subset of the first images gets the same. The frame is uint8 (N, Hmax, Wmax), 255 = 1: unlike
    other frames it isn't stretched to an image's maximum, so that a blurred map keeps its values.
    """
    def saliency(index: int) -> np.ndarray:
        generator = np.random.default_rng([seed, index])
        values = damaged(oracle_saliency(view.mask(index)), kind, amount, generator)
        return np.round(255 * values).astype(np.uint8)

    return {"maps": frames.stack(view, map(saliency, range(len(view))), fill=0)}


def _eroded(foreground: np.ndarray, radius: float) -> np.ndarray:
    """What is left of a mask (H, W) when every pixel within `radius` of the background is taken off."""
    from scipy.ndimage import distance_transform_edt

    if foreground.all():  # the transform needs background to measure from
        return foreground
    return foreground & (distance_transform_edt(foreground) > radius)


def _blurred(saliency: np.ndarray, width: float) -> np.ndarray:
    """A Gaussian of standard deviation `width` pixels; mirrored at the borders, it keeps the mean of the map."""
    from scipy.ndimage import gaussian_filter

    return np.clip(gaussian_filter(saliency, width, mode="reflect"), 0, 1)


def _noisy(foreground: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Every component is missed with probability `share`; a disc of its area stands elsewhere."""
    objects, count = components(foreground)
    missed = 1 + np.flatnonzero(generator.random(count) < share)
    found = foreground & ~np.isin(objects, missed)
    free = ~foreground
    for number in missed:
        disc = _disc_within(free, np.sqrt((objects == number).sum() / np.pi), generator)
        found, free = found | disc, free & ~disc
    return found


def _disc_within(free: np.ndarray, radius: float, generator: np.random.Generator) -> np.ndarray:
    """A disc at a random place of `free` (H, W) that holds it; cut to what is free at its deepest if none does."""
    from scipy.ndimage import distance_transform_edt

    room = distance_transform_edt(np.pad(free, 1))[1:-1, 1:-1]  # beyond the border nothing is free
    fitting = np.argwhere(room > radius + APART)
    places = fitting if len(fitting) else np.argwhere(room == room.max())
    row, column = places[generator.integers(len(places))]
    rows, columns = np.ogrid[: free.shape[0], : free.shape[1]]
    return free & ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)
