#!/usr/bin/env bash
# torchvision's v2 transforms flip an image tensor and leave the mask tensor beside it as it was.
#
# Versions: torchvision 0.29.1, torch 2.14.1, Pillow 13.0.0
# Guessed:  transform(image, mask) does the same to both.
# Seen:     of several plain tensors only the first is an image, the others pass through, without a warning. Two Pillow
#           images are both images: a mask of the labels 0 and 20 gets labels between them from the default Resize. A
#           mask has to be wrapped as tv_tensors.Mask.
source "$(dirname "$0")/environment.sh"
environment torchvision==0.29.1 torch==2.14.1 pillow==13.0.0 numpy==2.4.6

"$python" - <<'PYTHON'
import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.tv_tensors import Mask

row = torch.arange(4, dtype=torch.uint8)[None, None]
flip = v2.RandomHorizontalFlip(p=1)
for mask, expected in ((row, [0, 1, 2, 3]), (Mask(row), [3, 2, 1, 0])):
    image, flipped = flip(row.expand(3, 1, 4), mask)
    print(type(mask).__name__, "image", image[0, 0].tolist(), "mask", flipped[0, 0].tolist())
    assert image[0, 0].tolist() == [3, 2, 1, 0] and flipped[0, 0].tolist() == expected

mask = Image.fromarray(np.repeat(np.array([[0, 20]], np.uint8), 4, 1).repeat(8, 0))
_, resized = v2.Resize((3, 3))(mask.convert("RGB"), mask)
print("Pillow", np.asarray(resized)[0].tolist())
assert not set(np.unique(resized)) <= {0, 20}
print("as seen before")
PYTHON
