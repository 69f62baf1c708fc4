#!/usr/bin/env bash
# Of five readers only OpenCV turns a photograph by its orientation flag, and IMREAD_UNCHANGED keeps it from doing so.
#
# Versions: Pillow 13.0.0, opencv-python-headless 5.0.0.93, imageio 2.38.1, scikit-image 0.26.0, matplotlib 3.11.2
# Guessed:  all readers agree on which side of a photograph is up, or at least on its height and width.
# Seen:     a JPEG of 32 x 16 pixels with the flag 6 (turned by a quarter) is 16 x 32 in cv2.imread, and 32 x 16 in the
#           others. The same goes for a PNG. A mask drawn over what one of them shows doesn't fit what another reads;
#           when the flag is 3 (upside down), not even the shapes tell.
source "$(dirname "$0")/environment.sh"
environment pillow==13.0.0 opencv-python-headless==5.0.0.93 imageio==2.38.1 scikit-image==0.26.0 matplotlib==3.11.2

"$python" - <<'PYTHON'
import os
import tempfile

import cv2
import imageio.v3
import matplotlib.image
import numpy as np
import skimage.io
from PIL import Image

ORIENTATION = 0x112
readers = {"Pillow": lambda path: np.asarray(Image.open(path)), "imageio": imageio.v3.imread,
           "scikit-image": skimage.io.imread, "matplotlib": matplotlib.image.imread,
           "OpenCV": cv2.imread, "OpenCV unchanged": lambda path: cv2.imread(path, cv2.IMREAD_UNCHANGED)}
flags = Image.Exif()
flags[ORIENTATION] = 6
with tempfile.TemporaryDirectory() as folder:
    for name in ("photo.jpg", "photo.png"):
        path = os.path.join(folder, name)
        Image.new("RGB", (32, 16)).save(path, exif=flags)
        shapes = {reader: read(path).shape[:2] for reader, read in readers.items()}
        print(name, shapes)
        assert shapes.pop("OpenCV") == (32, 16) and set(shapes.values()) == {(16, 32)}
print("as seen before")
PYTHON
