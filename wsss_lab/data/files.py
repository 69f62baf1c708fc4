"""Files of a data set: which ones a folder has, what a list of names says, and one table of what can be wrong.

Lists are read in every encoding that can be told: UTF-8, and UTF-16 or UTF-32 as Windows writes them. Names are
compared in Unicode's normal form C, since macOS may write "é" as two characters where a list has one.
"""

import codecs
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable
from pathlib import Path
from typing import NamedTuple

from wsss_lab.errors import DataError

SHOWN = 5
#: What can be wrong with a file: what is told of it, what was expected, what puts it right.
KINDS = {
    # files of any kind
    "absent": ("no file {path}", "one file per image of the split", "add it or correct the split list"),
    "dangling": ("{path} is a link to {target}, which isn't there", "a file, or a link to one",
                 "mount the disk that it points to, or put the file in its place"),
    "closed": ("{path}: no permission to read it", "files and folders that you may read",
               "give yourself that right: chmod -R u+rX"),
    "damaged": ("{path} is damaged or truncated: {reason}", "a complete file", "remove it and download it again"),
    "twice": ("{path} and {other} have one name", "one file per name, whatever its suffix", "remove one of them"),
    # lists of names
    "no text": ("{path} is no text in UTF-8: {reason}", "UTF-8, or UTF-16 with a byte order mark",
                "save it as UTF-8 in an editor, or: iconv -f WINDOWS-1252 -t UTF-8"),
    "empty list": ("{path} is empty", "one name per line, each once", "correct the list"),
    "repeats": ("{path} repeats {names}", "one name per line, each once", "correct the list"),
    "columns": ("{path}: {count} lines hold more than a name: {names}",
                "image names without folder and suffix, one per line",
                "keep the first column; labels of images belong into image_labels.csv or XML annotations"),
    "background": ("{path} lists {names} as class {number}",
                   "names of the classes 1 to 254, in order; 0 is background and 255 is void, without a line",
                   "remove the line, or move it to the top if masks count it as 0"),
    "many classes": ("{path} lists {number} classes", "1 to 254: masks have 8 bits, 0 is background and 255 is void",
                     "merge classes, in the list and in the masks"),
    # annotations
    "no annotation": ("{path} is no annotation: {reason}", "XML as PASCAL VOC has it, with <annotation> outermost",
                      "download or write the file again"),
    "no class": ("{path}: {count} objects, and none is of a listed class: {names}", "{expected}",
                 "write the classes as the annotations do, one per line, into classes.txt"),
    "other names": ("{path} names objects of no listed class, which don't count: {names}", "{expected}",
                    "nothing, if they shall not count; else add them to classes.txt and to the masks"),
    "untagged": ("{path} says nothing of any image of {split}", "", "nothing, if nothing is to be trained on them"),
    # photographs
    "too large": ("{path} is too large: {reason}", "pictures within Pillow's limit", "reduce it, and its mask alike"),
    "orientation": ("{path} has the orientation flag {flag}, which isn't applied: as stored, it is turned or mirrored, "
                    "and the size of its mask doesn't tell how that was drawn",
                    "photographs stored as they are shown",
                    "turn the file as its flag says: exiftran -ai, or mogrify -auto-orient"),
    "turned": ("{path} has the orientation flag {flag}, which isn't applied: networks see it as it is stored", "",
               "turn the file as its flag says: exiftran -ai, or mogrify -auto-orient"),
    "drawn upright": ("{path} is {found} pixels, drawn on {image} as its orientation flag {flag} shows it",
                      "{size}, the size of the photograph as it is stored, without the flag",
                      "turn the photograph as its flag says: exiftran -ai, or mogrify -auto-orient"),
    # masks
    "another size": ("{path} is {found} pixels", "{size}, the size of {image}", "write it again at that size"),
    "no PNG": ("{path} is a file of type {format}, whatever its suffix", "a PNG: other types may change the labels",
               "write the labels again as a PNG; renaming doesn't help"),
    "colours": ("{path} is a PNG of mode {mode}", "a palette PNG (mode P) or 8-bit grey (mode L) of labels",
                "write the label indices, not their colours"),
    "reindexed": ("{path} has the labels {labels} with VOC's colours of {meant}", "labels and colours that agree",
                  "write the labels again (an image program has renumbered the palette)"),
    "palettes": ("{path} has the colour {colour} for label {label}, {there} for label {other}",
                 "one colour per label in all masks",
                 "write the labels again with one palette (image programs renumber it, and the labels with it)"),
    "label": ("{path} has the label {labels}", "0 to {largest}, or 255 for void",
              "correct the file, or complete the class list"),
    "void only": ("{path} is void everywhere, so nothing of it is scored", "labels 0 to {largest}",
                  "annotate it, or take the image out of the list"),
    "only void": ("{path} shows no class, only void, and its image is tagged {names}", "", "see whether that is meant"),
    "no objects": ("{path}: not one mask of {split} has a class; they hold {labels}",
                   "0 for background, 1 to {largest} for classes, 255 for void, which isn't scored",
                   "write objects with the label of their class, 1 for the first"),
    "disagree": ("{path}: masks of {count} images show {names}, and {agree} of them have this tag",
                 "masks and tags of the same classes", "put classes.txt into the order of the masks' labels"),
}  # fmt: skip
#: How files begin that are something else than they are called.
STRANGERS = ((b"<", "it holds markup, such as a web page"), (b"\0", "it holds zeros"), (b"{", "it holds JSON"),
             (b"version https://git-lfs", "it is a pointer of Git LFS; `git lfs pull` brings the file"))  # fmt: skip
ENCODINGS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
             (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
ALSO = {".jpg": (".jpg", ".jpeg")}
UNSEEN = "\ufeff\u200b\u200e\u200f"  # marks that editors leave, which no one sees and strip() keeps


class File(NamedTuple):
    """A file of a folder: its name there, its size in bytes (-1 for a link to nothing) and its time of change, ns."""

    name: str
    size: int
    changed: int


def problem(kind: str, path: Path, **facts: object) -> DataError:
    """The error of a kind (see KINDS) about a file or folder."""
    return DataError(*(text.format(path=path, **facts) for text in KINDS[kind]))


def unreadable(path: Path, reason: object) -> DataError:
    """The error about a file that can't be read: not there, a link to nothing, closed, something else, or damaged."""
    if isinstance(reason, PermissionError):
        return problem("closed", path)
    if path.is_symlink() and not path.exists():
        return problem("dangling", path, target=os.readlink(path))
    if not path.exists():
        return problem("absent", path)
    return problem("damaged", path, reason=_stranger(path) or reason)


def _stranger(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return ""
    return next((what for start, what in STRANGERS if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(start)),
                "" if head else "it is empty")


def read_bytes(path: Path) -> bytes:
    """What a file holds. Raises DataError for one that can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def read_text(path: Path) -> str:
    """What a text file holds, its encoding told by its byte order mark or its zero bytes, else UTF-8.

    Raises DataError for a file that can't be read or is no text.
    """
    data = read_bytes(path)
    bare = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be" if data[:1] == b"\0" else "utf-8"
    encoding = next((name for mark, name in ENCODINGS if data.startswith(mark)), bare)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = 1 + data[: error.start].count(b"\n")
        raise problem("no text", path, reason=f"byte 0x{data[error.start]:02x} in line {line}") from error
    if "\0" in text:
        raise problem("no text", path, reason="it holds zero bytes")
    return text


def read_list(path: Path) -> tuple[str, ...]:
    """The non-empty lines of a text file, in normal form. Raises DataError if none is left."""
    if found := tuple(filter(None, map(normal, read_text(path).splitlines()))):
        return found
    raise problem("empty list", path)


def each_once(path: Path, names: Iterable[str]) -> None:
    """Raise DataError for names that a list has twice."""
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise problem("repeats", path, names=some(repeated))


def image_named(line: str, known: Container[str]) -> str | None:
    """The image that a line of a list or table means; None where that can't be told.

    known: names of images. A line may be a path, with or without the file's suffix, or several of one image, as lists
    of photographs and masks have them.

    >>> image_named("/JPEGImages/a.jpg /SegmentationClassAug/a.png", {"a", "b"})
    'a'
    """
    last = re.split(r"[/\\]", line)[-1]
    for name in (line, last, re.sub(r"\.(jpe?g|png|xml)$", "", last, flags=re.IGNORECASE)):
        if name in known:
            return name
    columns = line.split()
    named = {image_named(column, known) for column in columns} if len(columns) > 1 else {None}
    return named.pop() if len(named) == 1 else None


def normal(name: str) -> str:
    """A name in Unicode's normal form C, without blanks and invisible marks around it."""
    return unicodedata.normalize("NFC", name).strip().strip(UNSEEN).strip()


def some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are; what can't be seen in them is escaped.

    >>> some("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    names = [name if name.isprintable() else ascii(name) for name in names]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def listing(folder: Path, suffix: str) -> dict[str, File]:
    """Name without suffix, in normal form -> the file, for the files of a folder with this suffix in small or capitals.

    Empty without the folder; hidden files are left out. Raises DataError for a folder that can't be read and for two
    files of one name.
    """
    endings, found = ALSO.get(suffix, (suffix,)), {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                ending = next((ending for ending in endings if entry.name.lower().endswith(ending.lower())), None)
                if ending is None or entry.name.startswith("."):
                    continue
                name = normal(entry.name[: -len(ending)])
                if name in found:
                    raise problem("twice", folder / entry.name, other=found[name].name)
                try:
                    state = entry.stat()
                    found[name] = File(entry.name, state.st_size, state.st_mtime_ns)
                except OSError:  # a link to nothing, which is told when the file is asked for
                    found[name] = File(entry.name, -1, 0)
    except (FileNotFoundError, NotADirectoryError) as error:
        if folder.is_symlink():
            raise unreadable(folder, error) from error
        return {}
    except OSError as error:
        raise unreadable(folder, error) from error
    return found
