#!/usr/bin/env bash
# A VOC mask read as grey merges classes for good, and "unchanged" means colours in one library, labels in another.
#
# Versions: Pillow 13.0.0, opencv-python-headless 5.0.0.93, torchvision 0.29.1, torch 2.14.1, scikit-image 0.26.0
# Guessed:  a PNG with one byte per pixel gives that byte, at least when it is read unchanged or as grey.
# Seen:     Pillow and torchvision give the label; OpenCV (IMREAD_UNCHANGED) and scikit-image give the palette's colour.
#           Read as grey the labels are brightnesses, and some of VOC's 21 are the same one: 1 aeroplane and 16 potted
#           plant, 3 bird and 18 sofa by Pillow's convert("L"); 2 bicycle and 17 sheep, 5 bottle and 20 tv monitor in
#           OpenCV (IMREAD_GRAYSCALE) and torchvision (ImageReadMode.GRAY), whose brightness is rounded otherwise.
source "$(dirname "$0")/environment.sh"
environment pillow==13.0.0 opencv-python-headless==5.0.0.93 torchvision==0.29.1 torch==2.14.1 scikit-image==0.26.0 \
    numpy==2.4.6

"$python" - <<'PYTHON'
import os
import tempfile

import cv2
import numpy as np
import skimage.io
from PIL import Image
from torchvision.io import ImageReadMode, decode_image


def voc_colour(label):
    bits = [label >> position & 1 for position in range(8)]
    return [sum(bit << 7 - place for place, bit in enumerate(bits[channel::3])) for channel in range(3)]


with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "mask.png")
    mask = Image.fromarray(np.arange(21, dtype=np.uint8)[None])
    mask.putpalette(np.ravel([voc_colour(label) for label in range(256)]).tolist())
    mask.save(path)
    read = {"Pillow": np.array(Image.open(path)), "torchvision unchanged": decode_image(path)[0].numpy(),
            "OpenCV unchanged": cv2.imread(path, cv2.IMREAD_UNCHANGED), "scikit-image": skimage.io.imread(path)}
    grey = {"OpenCV": cv2.imread(path, cv2.IMREAD_GRAYSCALE), "Pillow": np.array(Image.open(path).convert("L")),
            "torchvision": decode_image(path, ImageReadMode.GRAY)[0].numpy()}
print({name: pixels.shape for name, pixels in read.items()})
assert all((read[name] == np.arange(21)).all() for name in ("Pillow", "torchvision unchanged"))
assert all(read[name].shape == (1, 21, 3) for name in ("OpenCV unchanged", "scikit-image"))
merged = {name: {(a, b) for a in range(21) for b in range(a) if row[a] == row[b]} for name, (row,) in grey.items()}
print("labels that are one grey:", merged)
assert merged == {"OpenCV": {(17, 2), (20, 5)}, "Pillow": {(16, 1), (18, 3)}, "torchvision": {(17, 2), (20, 5)}}
print("as seen before")
PYTHON
