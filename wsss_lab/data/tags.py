"""Image-level labels from XML annotations, from a CSV table or from masks.

Every reader returns `Tags`: the multi-hot matrix and, in words, where it came from. A matrix read from masks
has seen pixel labels; its source says so, and the protocol of whatever is trained on it must repeat it.
"""

import csv
import io
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from wsss_lab.data.files import image_named, normal, read_bytes, read_text, some
from wsss_lab.errors import DataError, problem

IMAGE = "image"  # the column of a table that names images


class Tags(NamedTuple):
    """values: bool (N, C), one row per image.    source: "xml", "csv <file name>" or "masks"."""

    values: np.ndarray
    source: str


def tags_from_xml(paths: Sequence[Path], classes: Sequence[str]) -> Tags:
    """Tags from VOC annotations: a class is present if one of its objects is annotated, "difficult" ones too.

    paths: one XML file per image. Objects of no listed class and parts of objects (head, hand, foot) don't count.
    Raises DataError for missing or unreadable files, and where there are objects and none is of a listed class.
    """
    columns, others = class_columns(classes), Counter()
    values = np.zeros((len(paths), len(classes)), bool)
    for row, path in enumerate(paths):
        for found in object_names(path):
            column = columns.get(found, columns.get(folded(found)))
            if column is None:
                others[found] += 1
            else:
                values[row, column] = True
    if others and not values.any():
        raise problem("no class", paths[0].parent, count=others.total(), names=some(others), expected=some(classes))
    return Tags(values, "xml")


def class_columns(classes: Sequence[str]) -> dict[str, int]:
    """Columns of the classes by name, and by `folded` name where only one class has it."""
    counts = Counter(map(folded, classes))
    alike = {folded(name): column for column, name in enumerate(classes) if counts[folded(name)] == 1}
    return alike | {name: column for column, name in enumerate(classes)}


def folded(name: str) -> str:
    """A class name without regard to capitals."""
    return normal(name).casefold()


def object_names(path: Path) -> list[str]:
    """Names of the annotated objects of one VOC XML file, without parts. Raises DataError if it is no annotation."""
    try:
        root = ElementTree.fromstring(read_bytes(path))
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: unknown encodings
        raise problem("no annotation", path, reason=error) from error
    if root.tag != "annotation":
        raise problem("no annotation", path, reason=f"it begins with <{root.tag.rpartition('}')[2]}>")
    # Parts are <part> elements inside an <object>; only the object's own name is asked for.
    found = [normal(entry.findtext("name") or "") for entry in root.findall("object")]
    if not all(found):
        raise problem("no annotation", path, reason="an object has no <name>")
    return found


def tags_from_csv(path: Path, names: Sequence[str], classes: Sequence[str], known: Iterable[str] | None = None) -> Tags:
    """Tags from a table with the column `image` and one 0/1 column per class, columns in any order.

    names: images to return, in this order.    known: all images that may have a row (default: `names`).
    Raises DataError for missing or extra images (counted, the first few named), repeated images, missing or
    unknown class columns, and values other than 0 and 1.
    """
    header, rows = _read_table(path)
    columns = class_columns(classes)
    header = [classes[columns[folded(name)]] if folded(name) in columns and name not in classes else name
              for name in header]
    if wrong := _listed("{what}: {names}", {
            "missing": [name for name in (IMAGE, *classes) if name not in header],
            "unknown": [name for name in header if name != IMAGE and name not in classes],
            "repeated": sorted(name for name, count in Counter(header).items() if count > 1)}):
        raise DataError(f"{path}: columns {wrong}", f"image, {', '.join(classes)}",
                        "make the first row of the table agree with classes.txt")
    known = set(names if known is None else known)
    listed = _images(header, rows, known)
    present = set(listed)
    if wrong := _listed("{count} {what}: {names}", {
            f"of {len(names)} images missing": [name for name in names if name not in present],
            "extra images that do not exist": [name for name in listed if name not in known],
            "repeated images": list((Counter(listed) - Counter(present)).elements())}):
        raise DataError(f"{path}: {wrong}", "one row per image of the split, and rows for images of the folder only",
                        'correct the table, or read the tags from elsewhere with tags="xml" or tags="masks"')
    row_of = dict(zip(listed, rows, strict=True))
    cells = [[row_of[name][header.index(each)] for each in classes] for name in names]
    if wrong := [name for name, row in zip(names, cells, strict=True) if not set(row) <= {"0", "1"}]:
        raise DataError(f"{path}: {len(wrong)} images have values other than 0 and 1: {some(wrong)}",
                        "0 (absent) or 1 (present) in each class column", "correct these rows")
    values = np.array([[cell == "1" for cell in row] for row in cells], bool).reshape(len(names), len(classes))
    return Tags(values, f"csv {path.name}")


def _listed(text: str, found: dict[str, list[str]]) -> str:
    """What is wrong with a table, by kind; "" where nothing is."""
    return "; ".join(text.format(what=what, count=len(names), names=some(names)) for what, names in found.items()
                     if names)


def images_in_csv(path: Path, known: Container[str]) -> set[str]:
    """The images that a table has a row for. Raises DataError for a table that can't be read."""
    header, rows = _read_table(path)
    return set(_images(header, rows, known)) if IMAGE in header else set()


def _images(header: list[str], rows: list[list[str]], known: Container[str]) -> list[str]:
    cells = [row[header.index(IMAGE)] for row in rows]
    return [image_named(cell, known) or cell for cell in cells]


def _read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    expected = "a CSV table: the column `image` and one 0/1 column per class"
    text = read_text(path)
    # Spreadsheets write semicolons where the comma separates decimals.
    separator = max(",;\t", key=text.partition("\n")[0].count)
    try:
        table = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        lines = [[normal(cell) for cell in line] for line in table if any(line)]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read: {error}", expected, "write the file again") from error
    if not lines:
        raise DataError(f"{path} is empty", expected, "write the file again")
    header, rows = [IMAGE if folded(name) == IMAGE else name for name in lines[0]], lines[1:]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DataError(f"{path}: row {number} has {len(row)} values",
                            f"{len(header)}, one per column of its first row", "correct the row")
    return header, rows


def tags_from_masks(masks: Iterable[np.ndarray], class_count: int) -> Tags:
    """Tags from masks, uint8 (H, W) each, read one at a time: class c is present if a pixel has the label c + 1."""
    rows = [np.bincount(mask.ravel(), minlength=256)[1 : class_count + 1] > 0 for mask in masks]
    return Tags(np.array(rows, bool).reshape(len(rows), class_count), "masks")
