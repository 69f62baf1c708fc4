"""Write views as a folder in PASCAL VOC layout (see `wsss_lab.data.folder`, which reads it back)."""

import csv
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from wsss_lab.data.files import some, whole, write_lines
from wsss_lab.data.folder import ANNOTATIONS, CLASS_LIST, CONTEXT_LIST, CONTEXTS, IMAGES, MASKS, SPLITS, TAG_TABLE
from wsss_lab.data.pixels import voc_palette
from wsss_lab.data.views import EvalView
from wsss_lab.errors import DataError

JPEG_QUALITY = 95
MARKER = ".wsss_export"
PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def export_voc(splits: Mapping[str, EvalView], root: str | Path, classes: Sequence[str],
               context_classes: Sequence[str] = (), overwrite: bool = False) -> Path:
    """Write splits as JPEGs (quality 95, 4:4:4), palette PNGs, XML annotations, a tag table and split lists.

    splits: split name -> view; all views have the classes `classes`, and no image name occurs twice
    overwrite: replace the layout's folders and lists in a folder that was not written by this function; other
        files in it stay. A folder that this function wrote, complete or not, is replaced without asking.
    returns: root

    The split lists come last and at once, so an export that was interrupted has no split and cannot be read.
    Tags are the view's: the XML has one object per connected component of each tagged class, and an object
    over the whole image where a tagged class has no pixel. Raises DataError before anything is written.
    """
    from PIL import Image

    root = Path(root)
    _check_splits(splits, tuple(classes), tuple(context_classes))
    claim(root, overwrite)
    # The split lists go first: from here on the folder is recognisably incomplete.
    layout = (SPLITS.parts[0], IMAGES, MASKS, CONTEXTS, ANNOTATIONS, CLASS_LIST, CONTEXT_LIST, TAG_TABLE)
    for path in (root / name for name in layout):
        if path.is_symlink() or path.is_file():
            path.unlink()  # a link is removed, never followed: nothing outside root is written or deleted
        elif path.is_dir():
            shutil.rmtree(path)
    (root / IMAGES).mkdir()
    (root / ANNOTATIONS).mkdir()
    rows = []
    for view in splits.values():
        for i, name in enumerate(view.names):
            mask, tags = view.mask(i), view.tags[i]
            Image.fromarray(view.image(i)).save(root / IMAGES / f"{name}.jpg", quality=JPEG_QUALITY, subsampling=0)
            write_labels(root / MASKS / f"{name}.png", mask)
            if context_classes:
                write_labels(root / CONTEXTS / f"{name}.png", view.context(i))
            _write_annotation(root / ANNOTATIONS / f"{name}.xml", name, mask, tags, view.classes)
            rows.append([name, *map(str, tags.astype(int))])
    write_lines(root / CLASS_LIST, classes)
    if context_classes:
        write_lines(root / CONTEXT_LIST, context_classes)
    _write_tag_table(root / TAG_TABLE, [["image", *classes], *rows])
    unfinished = root / f"{MARKER}_splits"
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / SPLITS.name).mkdir(parents=True)
    for split, view in splits.items():
        write_lines(unfinished / SPLITS.name / f"{split}.txt", view.names)
    unfinished.rename(root / SPLITS.parts[0])
    return root


def _check_splits(splits: Mapping[str, EvalView], classes: tuple[str, ...], context_classes: tuple[str, ...]) -> None:
    names = [name for view in splits.values() for name in view.names]
    if odd := [name for name in (*splits, *names) if not PLAIN_NAME.fullmatch(name)]:
        raise DataError(f"{len(odd)} names are no file names: {some(odd)}", "letters, digits, _ - and .")
    if not names:
        raise DataError("nothing to export", "at least one split with an image")
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{len(repeated)} image names occur twice: {some(repeated)}", "each image in one split")
    for split, view in splits.items():
        if view.classes != classes:
            raise DataError(f"split {split} has the classes {some(view.classes)}", some(classes))
        if context_classes and view.context_classes != context_classes:
            raise DataError(f"split {split} has the contexts {some(view.context_classes)}", some(context_classes))


def claim(root: Path, overwrite: bool = False) -> None:
    """Make a folder, and mark it, for an export to come. Raises DataError for a file, and for a folder that is not
    ours unless it is to be overwritten."""
    if root.exists() and not root.is_dir():
        raise DataError(f"{root} is a file", "a folder to write to", "choose another folder")
    if root.is_dir() and any(root.iterdir()) and not (root / MARKER).exists() and not overwrite:
        raise DataError(
            f"{root} is not empty and was not written by this export", "an empty or new folder",
            "choose another folder, or give --overwrite (overwrite=True) to replace its images, masks and lists")
    root.mkdir(parents=True, exist_ok=True)
    (root / MARKER).write_text("Written by wsss_lab.data.voc_export; replaced by the next export.\n")


def write_labels(path: Path, labels: np.ndarray) -> None:
    """Write labels, uint8 (H, W), as a PNG with VOC's palette, complete or not at all."""
    from PIL import Image

    image = Image.fromarray(labels)
    image.putpalette(voc_palette().tobytes())
    with whole(path) as part:
        image.save(part, format="PNG")


def _write_annotation(path: Path, name: str, mask: np.ndarray, tags: np.ndarray, classes: Sequence[str]) -> None:
    height, width = mask.shape
    annotation = ElementTree.Element("annotation")
    _add(annotation, filename=f"{name}.jpg")
    _add(ElementTree.SubElement(annotation, "size"), width=width, height=height, depth=3)
    _add(annotation, segmented=1)
    for index in np.flatnonzero(tags):
        for xmin, ymin, xmax, ymax in component_boxes(mask == index + 1) or [(1, 1, width, height)]:
            entry = ElementTree.SubElement(annotation, "object")
            _add(entry, name=classes[index], difficult=0)
            _add(ElementTree.SubElement(entry, "bndbox"), xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
    ElementTree.indent(annotation)
    ElementTree.ElementTree(annotation).write(path, encoding="utf-8")


def _add(parent: ElementTree.Element, **values: object) -> None:
    for tag, value in values.items():
        ElementTree.SubElement(parent, tag).text = str(value)


def component_boxes(region: np.ndarray) -> list[tuple[int, int, int, int]]:
    """xmin, ymin, xmax, ymax of the 8-connected components of a bool (H, W) region, from 1, ends included."""
    import cv2

    _, _, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    return [(x + 1, y + 1, x + width, y + height) for x, y, width, height, _ in stats[1:].tolist()]


def _write_tag_table(path: Path, rows: list[list[str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
