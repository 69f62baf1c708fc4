"""Any views as the downloads of PASCAL VOC 2012, SBD and COCO lay them out, to rehearse and test what reads them.

    VOCdevkit/VOC2012           photographs and annotations of all images, masks of train and val only
    benchmark_RELEASE/dataset   SBD: labels in .mat files of the images that it adds, and of some of VOC's
    COCO                        photographs, instances_<split>2014.json, stuffthingmaps
"""

import json
from pathlib import Path

import numpy as np

from wsss_lab.data import coco
from wsss_lab.data.augmented import MATS
from wsss_lab.data.files import write_lines
from wsss_lab.data.folder import ANNOTATIONS, CONTEXTS, IMAGES, MASKS, SPLITS, TAG_TABLE
from wsss_lab.data.views import EvalView
from wsss_lab.data.voc_export import component_boxes, export_voc
from wsss_lab.errors import DataError

VOC, SBD, COCO = Path("VOCdevkit") / "VOC2012", Path("benchmark_RELEASE") / "dataset", Path("COCO")
ADDED = "sbd"  # list of what SBD adds, while the folder is being written
SBD_CLASSES = 20
STUFF = 120  # the label of everything that isn't an object


def export_devkit(train: EvalView, added: EvalView, val: EvalView, root: Path) -> tuple[Path, Path]:
    """Write VOC 2012 and SBD below a new or empty folder, and return the two folders.

    train, val: VOC's own splits, with masks. added: images whose masks SBD alone has. SBD's lists also name every
    other image of train and of val, as the real ones do. Raises DataError as `export_voc` does, and for more than 20
    classes.
    """
    if len(train.classes) > SBD_CLASSES:
        raise DataError(f"{len(train.classes)} classes", f"at most {SBD_CLASSES}, as SBD has", "export fewer classes")
    views = {"train": train, "val": val, ADDED: added}
    voc = export_voc(views, root / VOC, train.classes, train.context_classes if train.has_context else ())
    boundaries = root / SBD
    (boundaries / MATS).mkdir(parents=True)
    # VOC has no masks of what SBD adds, no table of tags and no list of it.
    masks = [voc / MASKS / f"{name}.png" for name in added.names]
    for extra in (*masks, voc / TAG_TABLE, voc / SPLITS / f"{ADDED}.txt"):
        extra.unlink()
    listed = {"train": [(added, row) for row in range(len(added))] + [(train, row) for row in range(0, len(train), 2)],
              "val": [(val, row) for row in range(0, len(val), 2)]}
    for split, rows in listed.items():
        write_lines(boundaries / f"{split}.txt", [view.names[row] for view, row in rows])
        for view, row in rows:
            write_mat(boundaries / MATS / f"{view.names[row]}.mat", view.mask(row))
    return voc, boundaries


def write_mat(path: Path, mask: np.ndarray) -> None:
    """What is read of a mask of SBD: the labels of a mask, uint8 (H, W), void as background."""
    from scipy.io import savemat

    savemat(path, {"GTcls": {"Segmentation": np.where(mask == 255, 0, mask).astype(np.uint8)}}, do_compression=True)


def export_coco(splits: dict[str, EvalView], root: Path) -> Path:
    """Write the splits "train" and "val" as COCO 2014 with the masks of COCO-Stuff below a folder; returns it.

    Category ids are the classes' labels. An object is a connected component of a class, without a crowd.
    """
    from PIL import Image

    root = root / COCO
    (root / coco.ANNOTATIONS).mkdir(parents=True)
    for split, view in splits.items():
        photographs, maps = (root / folder / f"{split}2014" for folder in (coco.IMAGES, coco.MASKS))
        photographs.mkdir(parents=True)
        maps.mkdir(parents=True)
        images, objects = [], []
        for number in range(len(view)):
            name, mask = f"COCO_{split}2014_{number + 1:012d}", view.mask(number)
            # COCO-Stuff counts its labels from 0: category 1 is label 0. Void stays 255.
            labels = np.where(mask == 255, 255, np.where(mask == 0, STUFF, mask.astype(int) - 1)).astype(np.uint8)
            Image.fromarray(view.image(number)).save(photographs / f"{name}.jpg", quality=95, subsampling=0)
            Image.fromarray(labels).save(maps / f"{name}.png")
            height, width = mask.shape
            images.append({"id": number + 1, "file_name": f"{name}.jpg", "height": height, "width": width})
            for label in range(1, len(view.classes) + 1):
                for xmin, ymin, xmax, ymax in component_boxes(mask == label):
                    objects.append({"id": len(objects) + 1, "image_id": number + 1, "category_id": label, "iscrowd": 0,
                                    "bbox": [xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1]})
        categories = [{"id": label, "name": name} for label, name in enumerate(view.classes, start=1)]
        content = {"images": images, "annotations": objects, "categories": categories}
        (root / coco.ANNOTATIONS / f"instances_{split}2014.json").write_text(json.dumps(content))
    return root


def link_layout(source: Path, out: Path, lists: dict[str, list[str]]) -> Path:
    """A folder in VOC layout with other lists, whose photographs, masks and class lists are links to another one's."""
    (out / SPLITS).mkdir(parents=True)
    for name in (IMAGES, MASKS, ANNOTATIONS, CONTEXTS, TAG_TABLE, "classes.txt", "context_classes.txt"):
        if (source / name).exists():
            (out / name).symlink_to((source / name).resolve())
    for split, names in lists.items():
        write_lines(out / SPLITS / f"{split}.txt", names)
    return out
