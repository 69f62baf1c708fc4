"""Saliency without training: what cannot be reached from the border of the image stands out.

Three classical cues, all cheap: the minimum barrier distance to the border (Zhang et al., ICCV 2015), the
contrast to the colours of the border, and a preference for the middle of the picture. It stands for the
hand-crafted detectors that Oh et al. 2017 (section 5.1) compare their learned one with.
"""

from __future__ import annotations

import numpy as np

from wsss_lab.errors import DataError


def detect_batch(
    images: np.ndarray,
    barrier_share: float = 0.5,
    centre_width: float = 0.5,
    rounds: int = 2,
    chunk: int = 32,
) -> np.ndarray:
    r"""Saliency maps of a batch of images of one size.

    .. math:: S = \sqrt{B^a \, C^{1-a} \, G}

    with barrier distance B, border contrast C, centre preference G, and a = `barrier_share`.

    images: uint8 (N, H, W, 3) RGB
    barrier_share: in [0, 1]; 0 uses the contrast alone, 1 the barrier distance alone
    centre_width: standard deviation of the centre preference as a share of each side
    rounds: passes over the image in each of the four directions
    chunk: images worked on at once, which bounds the memory and keeps it in the processor's cache
    returns: float32 (N, H, W) in [0, 1], maximum 1; 0 everywhere for an image of one colour
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DataError(f"images of {images.dtype} {images.shape}", "uint8 (N, H, W, 3)")
    height, width = images.shape[1:3]
    centre = _centre(height, centre_width)[:, None] * _centre(width, centre_width)
    maps = np.empty(images.shape[:3], dtype=np.float32)
    for start in range(0, len(images), chunk):
        lab = _smooth_lab(images[start : start + chunk])
        barrier = _stretch(barrier_distance(lab, rounds).sum(1))
        contrast = _stretch(border_contrast(lab))
        cues = barrier**barrier_share * contrast ** (1 - barrier_share) * centre
        # The square root lifts the middle, so that half of the maximum is a fitting threshold.
        maps[start : start + chunk] = np.sqrt(_stretch(_smooth(cues, 0.02)))
    return maps


def detect(image: np.ndarray) -> np.ndarray:
    """Saliency map of one image: uint8 (H, W, 3) to float32 (H, W), see detect_batch (faster per image)."""
    return detect_batch(np.asarray(image)[None])[0]


def barrier_distance(values: np.ndarray, rounds: int = 2) -> np.ndarray:
    """Smallest barrier between each pixel and the border: the range of the values on the best path there.

    values: float32 (N, M, H, W), every image and channel on its own
    returns: float32 (N, M, H, W), 0 on the border

    Paths (4-connected) are improved by sweeping a line of pixels over the image downwards, upwards, to the
    right and to the left, `rounds` times. As with all raster scans this is an upper bound of the exact
    distance, and close to it after two rounds.
    """
    values = np.asarray(values, dtype=np.float32)
    distance = np.full(values.shape, np.inf, dtype=np.float32)
    distance[..., [0, -1], :] = 0
    distance[..., :, [0, -1]] = 0
    highest, lowest = values.copy(), values.copy()  # on the best path so far
    state = (values, distance, highest, lowest)
    # The swept line comes first, so that one step is one contiguous block of memory.
    by_row = [np.ascontiguousarray(np.moveaxis(array, -2, 0)) for array in state]
    for _ in range(rounds):
        _sweep_both_ways(*by_row)
        by_column = [np.ascontiguousarray(np.moveaxis(array, -1, 0)) for array in by_row]
        _sweep_both_ways(*by_column)
        by_row = [np.ascontiguousarray(np.moveaxis(array, 0, -1)) for array in by_column]
    return np.moveaxis(by_row[1], 0, -2)


def border_contrast(lab: np.ndarray, thickness: float = 0.1) -> np.ndarray:
    """Colour distance from the borders of the image.

    lab: float32 (N, 3, H, W)    thickness: of a border, as a share of the side
    returns: float32 (N, H, W), 0 or more

    Per border the Mahalanobis distance to its mean colour. The four are divided by their maximum and summed
    without the greatest, so that an object cut by one border does not pass for background.
    """
    height, width = lab.shape[2:]
    rows, columns = max(1, round(thickness * height)), max(1, round(thickness * width))
    borders = (lab[:, :, :rows], lab[:, :, -rows:], lab[..., :columns], lab[..., -columns:])
    distances = []
    for border in borders:
        pixels = border.reshape(*lab.shape[:2], -1)
        mean = pixels.mean(2)
        centred = pixels - mean[..., None]
        spread = centred @ centred.transpose(0, 2, 1) / pixels.shape[2]
        # A border of one colour would make every other colour infinitely far: at least 3 Lab units of spread.
        inverse = np.linalg.inv(spread + 9 * np.eye(3, dtype=np.float32))
        away = lab - mean[:, :, None, None]
        distances.append(np.sqrt(np.einsum("nchw,ncd,ndhw->nhw", away, inverse, away, optimize=True).clip(0)))
    scaled = np.stack([distance / (distance.max((1, 2), keepdims=True) + 1e-6) for distance in distances])
    return scaled.sum(0) - scaled.max(0)


def _sweep_both_ways(values: np.ndarray, *state: np.ndarray) -> None:
    """Offer each line the paths of its neighbour, first line to last and back; changes `state` in place."""
    length = len(values)
    for lines, step in ((range(1, length), -1), (range(length - 2, -1, -1), 1)):
        for line in lines:
            _offer_paths(values[line], *(array[line] for array in state), *(array[line + step] for array in state))


def _offer_paths(value, distance, highest, lowest, near_distance, near_highest, near_lowest) -> None:
    up, down = np.maximum(near_highest, value), np.minimum(near_lowest, value)
    barrier = np.where(np.isfinite(near_distance), up - down, np.inf)
    better = barrier < distance
    np.copyto(distance, barrier, where=better)
    np.copyto(highest, up, where=better)
    np.copyto(lowest, down, where=better)


def _smooth_lab(images: np.ndarray) -> np.ndarray:
    """Lab colours, float32 (N, 3, H, W), lightly blurred against noise."""
    import cv2

    lab = np.stack([cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for image in images])
    return np.ascontiguousarray(_smooth(lab, 0.01).transpose(0, 3, 1, 2))


def _smooth(maps: np.ndarray, width: float) -> np.ndarray:
    """Gaussian blur of each map (H, W, ...), its width a share of the longer side."""
    import cv2

    sigma = width * max(maps.shape[1:3])
    return np.stack([cv2.GaussianBlur(each, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for each in maps])


def _stretch(maps: np.ndarray) -> np.ndarray:
    """Shift and scale each map to [0, 1]; a constant map becomes 0."""
    lowest, highest = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return ((maps - lowest) / np.maximum(highest - lowest, 1e-6)).astype(np.float32)


def _centre(length: int, width: float) -> np.ndarray:
    from_middle = (np.arange(length, dtype=np.float32) + 0.5) / length - 0.5
    return np.exp(-0.5 * (from_middle / width) ** 2)
