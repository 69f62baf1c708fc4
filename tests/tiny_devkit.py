"""PASCAL VOC and SBD in their layouts, each with a handful of images."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SIZE = (24, 32)
VOC_TRAIN = ("2007_000001", "2007_000002")  # the first is SBD's too
VOC_VAL = ("2007_000003", "2007_000004")  # the first is SBD's too
SBD_TRAIN = ("2007_000001", "2007_000003", "2008_000005")
SBD_VAL = ("2008_000006",)
AUGMENTED = ("2007_000001", "2007_000002", "2008_000005", "2008_000006")
BIRD, CAT = 3, 8


def voc_mask():
    """A bird with a line of void on its right, as VOC draws."""
    labels = np.zeros(SIZE, np.uint8)
    labels[4:12, 4:12], labels[4:12, 12] = BIRD, 255
    return labels


def sbd_mask():
    """A cat, not symmetric in any way."""
    labels = np.zeros(SIZE, np.uint8)
    labels[2:10, 5:21] = CAT
    labels[10, 5] = CAT
    return labels


def write_voc(root: Path) -> Path:
    """Photographs, annotations and masks of all images; SBD's photographs are VOC's, which has no masks for them."""
    for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for name in sorted({*VOC_TRAIN, *VOC_VAL, *SBD_TRAIN, *SBD_VAL}):
        Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(root / f"JPEGImages/{name}.jpg")
        of_voc = name in VOC_TRAIN + VOC_VAL
        write_xml(root / f"Annotations/{name}.xml", ["bird" if of_voc else "cat"])
        if of_voc:
            Image.fromarray(voc_mask()).save(root / f"SegmentationClass/{name}.png")
    for split, names in (("train", VOC_TRAIN), ("val", VOC_VAL)):
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return root


def write_xml(path: Path, names, extra=""):
    objects = "".join(f"<object><name>{name}</name>{extra}</object>" for name in names)
    path.write_text(f"<annotation>{objects}</annotation>")


def write_sbd(root: Path) -> Path:
    (root / "cls").mkdir(parents=True)
    for split, names in (("train", SBD_TRAIN), ("val", SBD_VAL)):
        (root / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            write_mat(root / f"cls/{name}.mat", sbd_mask())
    return root


def write_mat(path: Path, labels) -> None:
    """Of SBD's struct what is read of it."""
    savemat(path, {"GTcls": {"Segmentation": labels}}, do_compression=True)
