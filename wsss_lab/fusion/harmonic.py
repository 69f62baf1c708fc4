"""Algorithm 1 of Chaudhry et al. 2017: class-specific pixels where attention and saliency agree."""

from collections.abc import Callable, Iterator

import numpy as np

from wsss_lab.data import frames
from wsss_lab.data.views import TrainView
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.saliency.hierarchy import check_saliency
from wsss_lab.seeds.attention import attention_maps

GAMMA = 0.4  # Sec. 5.1


def harmonic_mean(attention: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    r"""Agreement of attention and saliency: large only where both are.

    .. math:: h(a, s) = \frac{2}{1/a + 1/s} = \frac{2as}{a + s}, \qquad h(0, 0) = 0

    attention, saliency: arrays in [0, 1] that broadcast. Returns float in [0, 1], 0 wherever either is 0. The released
    code adds 1e-12 to both instead of treating 0 apart. Source: Chaudhry et al. 2017, Sec. 4.2.

    >>> round(float(harmonic_mean(0.8, 0.4)), 3), float(harmonic_mean(1.0, 0.0))
    (0.533, 0.0)
    """
    product, total = np.multiply(attention, saliency), np.add(attention, saliency)
    return 2 * product / np.where(total > 0, total, 1)


def geometric_mean(attention: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    r"""The mean that is compared with: :math:`\sqrt{as}`; 0 wherever either is 0."""
    return np.sqrt(np.multiply(attention, saliency))


def arithmetic_mean(attention: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """The other one: (a + s) / 2; either alone can lift it to 1/2."""
    return np.add(attention, saliency) / 2


MEANS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "harmonic": harmonic_mean, "geometric": geometric_mean, "arithmetic": arithmetic_mean,
}


def class_specific_pixels(attention: np.ndarray, saliency: np.ndarray, tags: np.ndarray, gamma: float = GAMMA,
                          mean: str = "harmonic") -> np.ndarray:
    r"""Algorithm 1: the tag that agrees most with saliency, background where none agrees enough.

    .. math:: M(m) = \begin{cases} 0 & \max_{c \in z} h(A^c(m), S(m)) < \gamma \\
              \arg\max_{c \in z} h(A^c(m), S(m)) & \text{else} \end{cases}

    attention: float (C, H, W) in [0, 1], 0 for classes that are not tags. saliency: float (H, W) in [0, 1].
    tags: bool (C,). gamma: in (0, 1). mean: a key of MEANS. Returns uint8 (H, W): 0 background, c + 1 for class index
    c; no pixel is ignored. With the harmonic and the geometric mean a pixel without saliency is background whatever
    its attention; with the arithmetic one it isn't.
    Raises ParameterError for another gamma or mean, DataError for maps of different size or range and for an image
    without tags.
    """
    if not 0 < gamma < 1:
        raise ParameterError(f"gamma={gamma} is no threshold of Algorithm 1", "above 0 and below 1",
                             f"the paper uses gamma={GAMMA}")
    if mean not in MEANS:
        raise ParameterError(f"mean '{mean}' of attention and saliency is not known", " or ".join(MEANS))
    if not np.any(tags):
        raise DataError("an image without tags has no class to discover", "at least one tag",
                        "leave the image out of the training split")
    saliency = check_saliency(np.asarray(saliency), attention.shape[1:], "the image")
    agreement = MEANS[mean](attention[np.asarray(tags, bool)], saliency)
    labels = (np.flatnonzero(tags) + 1).astype(np.uint8)
    return np.where(agreement.max(0) < gamma, 0, labels[agreement.argmax(0)]).astype(np.uint8)


def cue_frames(view: TrainView, maps: np.ndarray, saliency: np.ndarray | None, side: int, gamma: float,
               mean: str = "harmonic", tags: np.ndarray | None = None) -> dict:
    """Cues of every image: {"masks": frame (N, Hmax, Wmax) uint8 of labels}. A DataError names the image.

    maps: attention volumes (N, C, h, w) on canvases of `side` pixels. saliency: frame uint8, 255 = 1; None means 1
    everywhere, so that attention decides alone. tags: (N, C) bool, None means those of the view.
    """
    tags = view.tags if tags is None else np.asarray(tags, bool)
    salient = None if saliency is None else frames.rows_of(view, saliency)

    def cues() -> Iterator[np.ndarray]:
        for index, attention in enumerate(attention_maps(view, maps, side, tags)):
            found = np.ones(view.size(index), np.float32) if salient is None else np.float32(salient[index]) / 255
            try:
                yield class_specific_pixels(attention, found, tags[index], gamma, mean)
            except DataError as error:
                raise DataError(f"image {view.names[index]}: {error.problem}", error.expected, error.fix) from error

    return {"masks": frames.stack(view, cues())}
