#!/usr/bin/env bash
# torchvision's v2.Resize takes other pixels of a mask that is a Pillow image than of the same mask as a tensor.
#
# Versions: torchvision 0.29.1, torch 2.14.1, Pillow 13.0.0
# Guessed:  nearest neighbour is nearest neighbour; a mask is resized alike before and after it becomes a tensor.
# Seen:     Pillow takes the pixel at the centre of an output pixel (1 3 5 7 of 8), a tensor and a tv_tensors.Mask the
#           one at its upper left corner (0 2 4 6): half an output pixel apart. NEAREST_EXACT takes centres of both.
source "$(dirname "$0")/environment.sh"
environment torchvision==0.29.1 torch==2.14.1 pillow==13.0.0 numpy==2.4.6

"$python" - <<'PYTHON'
import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.tv_tensors import Mask

mask = np.tile(np.arange(8, dtype=np.uint8), (8, 1))
tensor = torch.from_numpy(mask)[None]
nearest, exact = (v2.Resize((4, 4), mode) for mode in (InterpolationMode.NEAREST, InterpolationMode.NEAREST_EXACT))
for resize, labels, expected in [(nearest, Image.fromarray(mask), [1, 3, 5, 7]), (nearest, tensor, [0, 2, 4, 6]),
                                 (nearest, Mask(tensor), [0, 2, 4, 6]), (exact, tensor, [1, 3, 5, 7]),
                                 (exact, Image.fromarray(mask), [1, 3, 5, 7])]:
    first = np.asarray(resize(labels)).reshape(4, 4)[0].tolist()
    print(resize.interpolation.name, type(labels).__name__, first)
    assert first == expected
print("as seen before")
PYTHON
