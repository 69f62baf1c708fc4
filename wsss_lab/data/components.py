"""Connected components of masks."""

import numpy as np


def components(mask: np.ndarray, min_area: float = 1, min_extent: int = 1) -> tuple[np.ndarray, int]:
    """Number the 8-connected components of a mask, leaving out the small ones.

    mask: bool or integer (H, W), non-zero inside
    min_area, min_extent: fewest pixels of a component that is kept; fewest rows, and columns, that it spans
    returns: int32 (H, W) with 0 outside and 1..n inside, and n

    >>> components(np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]]))[0].tolist()
    [[1, 0, 1], [0, 1, 0], [0, 0, 0], [2, 2, 0]]
    """
    import cv2

    mask = np.ascontiguousarray(mask != 0).view(np.uint8)
    # 16 bits are faster, and enough where a pixel out of each block of 2 x 2, cut ones too, can be a component.
    height, width = mask.shape
    depth = cv2.CV_16U if (height + 1) // 2 * ((width + 1) // 2) <= 65535 else cv2.CV_32S
    if min_area <= 1 and min_extent <= 1:
        count, labels = cv2.connectedComponents(mask, connectivity=8, ltype=depth)
        return labels.astype(np.int32), count - 1
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=depth)
    shortest = np.minimum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    kept = (stats[:, cv2.CC_STAT_AREA] >= min_area) & (shortest >= min_extent)
    kept[0] = False
    return np.where(kept, kept.cumsum(), 0).astype(np.int32)[labels], int(kept.sum())
