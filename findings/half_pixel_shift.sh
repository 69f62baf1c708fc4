#!/usr/bin/env bash
# grid_sample with mode="nearest" doubles some pixels of a mask and loses others when it is moved by half a pixel.
#
# Versions: torch 2.14.1
# Guessed:  between two pixels the left or the right one is taken, always the same: the mask moves by 0 or 1.
# Seen:     positions are rounded half to even, so that 0 1 2 3 4 5 6 7 becomes 0 2 2 4 4 6 6 and the border. At half
#           the size with align_corners=False every position is a half, and 0 2 4 6 is taken, where
#           interpolate(mode="nearest-exact") takes 1 3 5 7.
source "$(dirname "$0")/environment.sh"
environment torch==2.14.1 numpy==2.4.6

"$python" - <<'PYTHON'
import torch
import torch.nn.functional as F

mask = torch.arange(8.0).expand(1, 1, 1, 8)


def sample(positions):
    grid = torch.stack([(2 * positions + 1) / 8 - 1, torch.zeros_like(positions)], -1)[None, None]
    return F.grid_sample(mask, grid, "nearest", "border", align_corners=False)[0, 0, 0].int().tolist()


shifted, halved = sample(torch.arange(8.0) + 0.5), sample(torch.arange(4.0) * 2 + 0.5)
exact = F.interpolate(mask, size=(1, 4), mode="nearest-exact")[0, 0, 0].int().tolist()
print("shifted", shifted, "halved", halved, "nearest-exact", exact)
assert shifted == [0, 2, 2, 4, 4, 6, 6, 7]
assert halved == [0, 2, 4, 6] and exact == [1, 3, 5, 7]
print("as seen before")
PYTHON
