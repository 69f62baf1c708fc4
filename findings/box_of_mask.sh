#!/usr/bin/env bash
# The box of a mask of 10 x 10 pixels has the area 81 in torchvision and supervision, and 100 in COCO.
#
# Versions: torchvision 0.29.1, torch 2.14.1, supervision 0.31.2, pycocotools 2.0.11, scikit-image 0.26.0
# Guessed:  a box around 10 x 10 pixels is 10 x 10, and the box of one pixel isn't empty.
# Seen:     torchvision's masks_to_boxes and supervision's mask_to_xyxy end in the last pixel (5 5 14 14), pycocotools
#           and scikit-image behind it. torchvision's own box_area of one pixel is 0, and of the same 10 x 10 pixels the
#           boxes of two libraries have an IoU of 0.81.
source "$(dirname "$0")/environment.sh"
environment torchvision==0.29.1 torch==2.14.1 supervision==0.31.2 pycocotools==2.0.11 scikit-image==0.26.0 \
    numpy==2.4.6

"$python" - <<'PYTHON'
import numpy as np
import torch
from pycocotools import mask as coco
from skimage.measure import regionprops
from supervision import mask_to_xyxy
from torchvision.ops import box_area, box_iou, masks_to_boxes

mask = np.zeros((20, 20), np.uint8)
mask[5:15, 5:15] = 1
box = masks_to_boxes(torch.from_numpy(mask)[None])
left, top, width, height = coco.toBbox(coco.encode(np.asfortranarray(mask)))
whole = torch.tensor([[left, top, left + width, top + height]], dtype=torch.float)
supervision = mask_to_xyxy(mask[None].astype(bool))
print("torchvision", box.tolist(), "supervision", supervision.tolist(), "COCO", whole.tolist(), "scikit-image",
      regionprops(mask)[0].bbox)
assert box.tolist() == supervision.tolist() == [[5, 5, 14, 14]]
assert whole.tolist() == [[5, 5, 15, 15]] and regionprops(mask)[0].bbox == (5, 5, 15, 15)
assert box_area(box).item() == 81 and abs(box_iou(box, whole).item() - 0.81) < 1e-6
pixel = torch.zeros(1, 20, 20, dtype=torch.uint8)
pixel[0, 3, 3] = 1
assert box_area(masks_to_boxes(pixel)).item() == 0
print("as seen before")
PYTHON
