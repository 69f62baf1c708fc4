"""Saliency without training: what cannot be reached from the border of the image stands out.

Three classical cues, all cheap: the minimum barrier distance to the border (Zhang et al., ICCV 2015), the
contrast to the colours of the border, and a preference for the middle of the picture. It stands for the
hand-crafted detectors that Oh et al. 2017 (section 5.1) compare their learned one with.
"""

import numpy as np

from wsss_lab.errors import DataError

ROUNDS = 2  # passes over the image in each of the four directions
CENTRE = 0.5  # standard deviation of the centre preference, as a share of each side
THICKNESS = 0.1  # of a border, as a share of the side


def detect(image: np.ndarray) -> np.ndarray:
    r"""Saliency map of one image.

    .. math:: S = \sqrt{\sqrt{B \, C} \, G}

    with barrier distance B, border contrast C and centre preference G.
    image: uint8 (H, W, 3) RGB. Returns float32 (H, W) in [0, 1], maximum 1; 0 everywhere for an image of one colour.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"an image of {image.dtype} {image.shape}", "uint8 (H, W, 3)")
    lab = _smooth_lab(image)
    barrier, contrast = _stretch(barrier_distance(lab).sum(0)), _stretch(border_contrast(lab))
    down, right = (_centre(side) for side in image.shape[:2])
    cues = barrier**0.5 * contrast**0.5 * (down[:, None] * right)
    # The square root lifts the middle, so that half of the maximum is a fitting threshold.
    return np.sqrt(_stretch(_smooth(cues, 0.02)))


def barrier_distance(values: np.ndarray, rounds: int = ROUNDS) -> np.ndarray:
    """Smallest barrier between each pixel and the border: the range of the values on the best path there.

    values: float32 (M, H, W), every channel on its own. Returns float32 (M, H, W), 0 on the border.

    Paths (4-connected) are improved by sweeping a line of pixels over the image downwards, upwards, to the right and to
    the left, `rounds` times: an upper bound of the exact distance, close to it after two rounds.
    """
    values = np.asarray(values, dtype=np.float32)
    distance = np.full(values.shape, np.inf, dtype=np.float32)
    distance[:, [0, -1], :] = 0
    distance[:, :, [0, -1]] = 0
    highest, lowest = values.copy(), values.copy()  # on the best path so far
    # The swept line comes first, so that one step is one contiguous block of memory.
    by_row = [np.ascontiguousarray(np.moveaxis(array, 1, 0)) for array in (values, distance, highest, lowest)]
    for _ in range(rounds):
        _sweep_both_ways(*by_row)
        by_column = [np.ascontiguousarray(np.moveaxis(array, -1, 0)) for array in by_row]
        _sweep_both_ways(*by_column)
        by_row = [np.ascontiguousarray(np.moveaxis(array, 0, -1)) for array in by_column]
    return np.moveaxis(by_row[1], 0, 1)


def _sweep_both_ways(values: np.ndarray, *state: np.ndarray) -> None:
    """Offer each line the paths of its neighbour, first line to last and back; changes `state` in place."""
    length = len(values)
    for lines, step in ((range(1, length), -1), (range(length - 2, -1, -1), 1)):
        for line in lines:
            distance, highest, lowest = (array[line] for array in state)
            near_distance, near_highest, near_lowest = (array[line + step] for array in state)
            up, down = np.maximum(near_highest, values[line]), np.minimum(near_lowest, values[line])
            barrier = np.where(np.isfinite(near_distance), up - down, np.inf)
            better = barrier < distance
            for old, new in ((distance, barrier), (highest, up), (lowest, down)):
                np.copyto(old, new, where=better)


def border_contrast(lab: np.ndarray) -> np.ndarray:
    """Colour distance from the borders of the image: float32 (3, H, W) -> float32 (H, W), 0 or more.

    Per border the Mahalanobis distance to its mean colour. The four are divided by their maximum and summed
    without the greatest, so that an object cut by one border does not pass for background.
    """
    rows, columns = (max(1, round(THICKNESS * side)) for side in lab.shape[1:])
    borders = (lab[:, :rows], lab[:, -rows:], lab[..., :columns], lab[..., -columns:])
    scaled = []
    for border in borders:
        pixels = border.reshape(3, -1)
        mean = pixels.mean(1)
        centred = pixels - mean[:, None]
        # A border of one colour would make every other colour infinitely far: at least 3 Lab units of spread.
        inverse = np.linalg.inv(centred @ centred.T / pixels.shape[1] + 9 * np.eye(3, dtype=np.float32))
        away = lab - mean[:, None, None]
        distance = np.sqrt(np.einsum("chw,cd,dhw->hw", away, inverse, away, optimize=True).clip(0))
        scaled.append(distance / (distance.max() + 1e-6))
    return np.sum(scaled, 0) - np.max(scaled, 0)


def _smooth_lab(image: np.ndarray) -> np.ndarray:
    """Lab colours, float32 (3, H, W), lightly blurred against noise."""
    import cv2

    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.ascontiguousarray(_smooth(lab, 0.01).transpose(2, 0, 1))


def _smooth(plane: np.ndarray, width: float) -> np.ndarray:
    """Gaussian blur of (H, W, ...), its width a share of the longer side."""
    import cv2

    return cv2.GaussianBlur(plane, (0, 0), width * max(plane.shape[:2]), borderType=cv2.BORDER_REFLECT)


def _stretch(plane: np.ndarray) -> np.ndarray:
    """Shift and scale to [0, 1]; a constant map becomes 0."""
    return ((plane - plane.min()) / np.maximum(plane.max() - plane.min(), 1e-6)).astype(np.float32)


def _centre(length: int) -> np.ndarray:
    from_middle = (np.arange(length, dtype=np.float32) + 0.5) / length - 0.5
    return np.exp(-0.5 * (from_middle / CENTRE) ** 2)
