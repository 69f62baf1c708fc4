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

from wsss_lab.data.files import image_named, listing, normal, read_bytes, read_text, some
from wsss_lab.errors import DataError, problem

IMAGE = "image"  # the column of a table that names images


class Tags(NamedTuple):
    """values: bool (N, C), one row per image.    source: "xml", "csv <file name>" or "masks"."""

    values: np.ndarray
    source: str


def tags_from_xml(folder: Path, names: Sequence[str], classes: Sequence[str]) -> Tags:
    """Tags from VOC annotations: a class is present if one of its objects is annotated, "difficult" ones too.

    folder: holds <image name>.xml. Objects of no listed class and parts of objects (head, hand, foot) do not
    count.
    Raises DataError for missing or unreadable files, and where there are objects and none is of a listed class.
    """
    folder = Path(folder)
    present = listing(folder, ".xml")
    missing = [name for name in names if name not in present]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(names)} images have no XML annotation: {some(missing)}",
            "one <image name>.xml per image of the split",
            'add the files, or read the tags from elsewhere with tags="csv" or tags="masks"',
        )
    columns = class_columns(classes)
    values = np.zeros((len(names), len(classes)), bool)
    others: Counter[str] = Counter()
    for row, name in enumerate(names):
        for found in object_names(folder / present[name].name):
            column = columns.get(found, columns.get(folded(found)))
            if column is None:
                others[found] += 1
            else:
                values[row, column] = True
    if others and not values.any():
        raise problem("no class", folder, count=others.total(), names=some(others), expected=some(classes))
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
    path = Path(path)
    header, rows = _read_table(path)
    columns = class_columns(classes)
    header = [classes[columns[folded(name)]] if folded(name) in columns and name not in classes else name
              for name in header]
    _check_columns(path, header, classes)
    known = set(names if known is None else known)
    listed = _images(header, rows, known)
    _check_images(path, listed, names, known)

    class_cells = [header.index(name) for name in classes]
    row_of = {image: row for image, row in zip(listed, rows, strict=True)}
    cells = [[row_of[name][column] for column in class_cells] for name in names]
    wrong = [name for name, row in zip(names, cells, strict=True) if not set(row) <= {"0", "1"}]
    if wrong:
        raise DataError(
            f"{path}: {len(wrong)} images have values other than 0 and 1: {some(wrong)}",
            "0 (absent) or 1 (present) in each class column",
            "correct these rows",
        )
    values = np.array([[cell == "1" for cell in row] for row in cells], bool).reshape(len(names), len(classes))
    return Tags(values, f"csv {path.name}")


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
    uneven = next((number for number, row in enumerate(rows, start=2) if len(row) != len(header)), None)
    if uneven is not None:
        raise DataError(
            f"{path}: row {uneven} has {len(rows[uneven - 2])} values",
            f"{len(header)}, one per column of its first row",
            "correct the row",
        )
    return header, rows


def _check_columns(path: Path, header: list[str], classes: Sequence[str]) -> None:
    absent = [name for name in (IMAGE, *classes) if name not in header]
    unknown = [name for name in header if name != IMAGE and name not in classes]
    repeated = sorted({name for name in header if header.count(name) > 1})
    wrong = [
        f"{what} {some(found)}"
        for what, found in (("missing:", absent), ("unknown:", unknown), ("repeated:", repeated))
        if found
    ]
    if wrong:
        raise DataError(
            f"{path}: columns {'; '.join(wrong)}",
            f"image, {', '.join(classes)}",
            "make the first row of the table agree with classes.txt",
        )


def _check_images(path: Path, listed: list[str], names: Sequence[str], known: set[str]) -> None:
    present = set(listed)
    missing = [name for name in names if name not in present]
    extra = [name for name in listed if name not in known]
    seen: set[str] = set()
    repeated = [name for name in listed if name in seen or seen.add(name)]
    wrong = [
        f"{len(found)} {what}: {some(found)}"
        for what, found in (
            (f"of {len(names)} images missing", missing),
            ("extra images that do not exist", extra),
            ("repeated images", repeated),
        )
        if found
    ]
    if wrong:
        raise DataError(
            f"{path}: {'; '.join(wrong)}",
            "one row per image of the split, and rows for images of the folder only",
            'correct the table, or read the tags from elsewhere with tags="xml" or tags="masks"',
        )


def tags_from_masks(masks: Iterable[np.ndarray], class_count: int) -> Tags:
    """Tags from masks: class c is present if a pixel has the label c + 1; 0 and 255 are no class.

    masks: uint8 (H, W) each, read one at a time    class_count: C
    Raises DataError for a label above C other than 255.
    """
    rows = []
    for number, mask in enumerate(masks):
        present = np.bincount(mask.ravel(), minlength=256) > 0
        if present[class_count + 1 : 255].any():
            label = class_count + 1 + int(present[class_count + 1 : 255].argmax())
            raise DataError(
                f"mask {number} has the label {label}",
                f"0 to {class_count}, or 255 for void",
                "correct the mask or the class list",
            )
        rows.append(present[1 : class_count + 1])
    return Tags(np.array(rows, bool).reshape(len(rows), class_count), "masks")
