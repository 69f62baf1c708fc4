"""Pseudo ground truth from confident pixels of refined masks (Araslanov & Roth 2020, Sec. 3.3)."""

import torch
from torch import Tensor

from wsss_lab.errors import ParameterError

IGNORE = 255
CONFIDENCE = 0.6  # of the largest value of a class's mask, Sec. 3.3
BACKGROUND_CONFIDENCE = 0.7  # Sec. 3.3
LEAST = 0.2  # released code; the paper has no such floor


def confident_labels(masks: Tensor, tags: Tensor, confidence: float = CONFIDENCE,
                     background_confidence: float = BACKGROUND_CONFIDENCE,
                     least: float = LEAST) -> tuple[Tensor, Tensor]:
    """Label the pixels that exactly one mask is confident about.

    A mask is confident where it exceeds a share of its own largest value in the image, and `least`. Pixels of which
    several masks or none is confident are ignored. An image gives no label at all unless background and each of its
    tags has a pixel.

    masks: (B, 1 + C, H, W) in [0, 1], background first; planes of classes that are not tags don't count. tags: (B, C)
    in {0, 1}. confidence, background_confidence: shares in (0, 1). least: 0 = no floor.
    Returns (labels, kept): int64 (B, H, W), 255 = ignore, and bool (B,), the images that give labels.
    Raises ParameterError for a share outside (0, 1).
    """
    for share in (confidence, background_confidence):
        if not 0 < share < 1:
            raise ParameterError(f"a confident share of {share}", "above 0 and below 1, as in 0.6 of the maximum")
    present = torch.cat([torch.ones_like(tags[:, :1]), tags], 1).bool()
    shares = masks.new_full((masks.shape[1],), confidence)
    shares[0] = background_confidence
    threshold = (shares * masks.amax((2, 3))).clamp(min=least)
    confident = (masks > threshold[:, :, None, None]) & present[:, :, None, None]
    single = confident.sum(1, dtype=torch.uint8) == 1
    planes = torch.arange(masks.shape[1], dtype=torch.uint8, device=masks.device)
    label = (confident * planes[:, None, None]).sum(1, dtype=torch.uint8)  # of the only confident mask
    labels = torch.where(single, label, IGNORE).long()
    found = (confident & single[:, None]).any(3).any(2)
    kept = (found | ~present).all(1)
    return torch.where(kept[:, None, None], labels, IGNORE), kept
