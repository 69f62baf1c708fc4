#!/usr/bin/env bash
# One triangle has 45 pixels in pycocotools and 66 in Pillow, OpenCV and scikit-image; its area is 50.
#
# Versions: pycocotools 2.0.11, Pillow 13.0.0, opencv-python-headless 5.0.0.93, scikit-image 0.26.0
# Guessed:  the pixels whose centre lies in the polygon: about 50, whoever fills it.
# Seen:     COCO takes coordinates for corners of pixels, the three others take them for centres and paint the border
#           too. A square of 10 x 10 has 100 pixels in COCO and 121 in the others, so two annotations that share an edge
#           overlap by a line of pixels there and not in COCO.
source "$(dirname "$0")/environment.sh"
environment pycocotools==2.0.11 pillow==13.0.0 opencv-python-headless==5.0.0.93 scikit-image==0.26.0 numpy==2.4.6

"$python" - <<'PYTHON'
import cv2
import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco
from skimage.draw import polygon2mask

SIZE = (20, 20)


def drawn(points):
    image = Image.new("L", SIZE)
    ImageDraw.Draw(image).polygon(points, fill=1)
    filled = cv2.fillPoly(np.zeros(SIZE, np.uint8), [np.array(points)], 1)
    rle = coco.frPyObjects([np.ravel(points).astype(float).tolist()], *SIZE)
    return {"COCO": coco.decode(rle)[..., 0] > 0, "Pillow": np.array(image) > 0, "OpenCV": filled > 0,
            "scikit-image": polygon2mask(SIZE, np.array(points)[:, ::-1])}


def areas(points):
    return {name: int(mask.sum()) for name, mask in drawn(points).items()}


triangle = [(2, 2), (12, 2), (2, 12)]
left, right = ([(x, 2), (x + 5, 2), (x + 5, 12), (x, 12)] for x in (2, 7))
shared = {name: int((mask & drawn(right)[name]).sum()) for name, mask in drawn(left).items()}
print("triangle", areas(triangle), "shared by two rectangles", shared)
assert areas(triangle) == {"COCO": 45, "Pillow": 66, "OpenCV": 66, "scikit-image": 66}
assert areas([(2, 2), (12, 2), (12, 12), (2, 12)]) == {"COCO": 100, "Pillow": 121, "OpenCV": 121, "scikit-image": 121}
assert shared == {"COCO": 0, "Pillow": 11, "OpenCV": 11, "scikit-image": 11}
print("as seen before")
PYTHON
