"""From normalised class maps to seed labels."""

import numpy as np

from wsss_lab.errors import ParameterError

#: Threshold of the seeds for guide labels (Oh et al. 2017, Sec. 6.1).
TAU = 0.2


def seed_labels(maps: np.ndarray, tau: float = TAU) -> np.ndarray:
    r"""The strongest class where it is strong enough, background elsewhere.

    .. math:: \ell(u) = \arg\max_c \hat h_c(u) \text{ where } \max_c \hat h_c(u) \ge \tau, \text{ else } 0

    maps: (..., C, H, W) in [0, 1], 0 for classes that the image doesn't have. tau: in (0, 1]; 0 would give a
    class to pixels without any evidence. Returns uint8 (..., H, W): 0 background, c + 1 for class index c; of
    equal classes the first. Raises ParameterError for another tau. Source: Oh et al. 2017, Sec. 4.2.

    >>> seed_labels(np.array([[[0.1, 0.2, 0.3]], [[0.0, 0.1, 1.0]]])).tolist()
    [[0, 1, 2]]
    """
    if not 0 < tau <= 1:
        raise ParameterError(f"tau={tau} is no seed threshold", "above 0 and at most 1",
                             f"the paper uses tau={TAU}")
    return np.where(maps.max(-3) >= tau, maps.argmax(-3) + 1, 0).astype(np.uint8)
