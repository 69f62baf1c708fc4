"""Files of a data set: which ones a folder has, and what a list of names says.

Lists are read in every encoding that can be told: UTF-8, and UTF-16 or UTF-32 as Windows writes them. Names are
compared in Unicode's normal form C, since macOS may write "é" as two characters where a list has one.
"""

import codecs
import os
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from wsss_lab.errors import DataError, problem

SHOWN = 5
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


def unreadable(path: Path, reason: object) -> DataError:
    """The error about a file that can't be read: not there, a link to nothing, closed, something else, or damaged."""
    if isinstance(reason, PermissionError):
        return problem("closed", path)
    if not path.exists():
        return problem("dangling", path, target=os.readlink(path)) if path.is_symlink() else problem("absent", path)
    with suppress(OSError), path.open("rb") as file:
        head = file.read(64)
        bare = head.lstrip(b"\xef\xbb\xbf \r\n\t")
        reason = next((what for start, what in STRANGERS if bare.startswith(start)), reason if head else "it is empty")
    return problem("damaged", path, reason=reason)


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
                found[name] = File(entry.name, -1, 0)  # a link to nothing is told when the file is asked for
                with suppress(OSError):
                    state = entry.stat()
                    found[name] = File(entry.name, state.st_size, state.st_mtime_ns)
    except OSError as error:
        if folder.is_symlink() or not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise unreadable(folder, error) from error
    return found


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place beside a file to write it to: it appears under its name, in its folder, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # no ".png" at its end: nobody takes it for a mask
    yield part
    os.replace(part, path)


def write_lines(path: Path, lines: Iterable[object]) -> None:
    """Write a text file of these lines, in UTF-8, complete or not at all."""
    with whole(path) as part:
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


# --- what puts a folder right in which files are missing -------------------------------------------------------------


VOC_PLACE, SBD_PLACE = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"  # where the archives unpack to
AUGMENTED_MARKER = ".wsss_augmented"  # in folders that wsss_lab.data.augmented has built: where VOC and SBD are, a line


def fetch_command(source: str, folder: Path, place: str = "") -> str:
    """The command that completes a folder, what is there being kept.

    source: what `wsss data` calls it    place: where its archive unpacks to, below --to
    A folder elsewhere isn't completed: the command then has no --to, and makes another folder.

    >>> fetch_command("voc", Path("/data/VOCdevkit/VOC2012"), VOC_PLACE)
    'wsss data voc --to /data'
    >>> fetch_command("voc", Path("/data/VOC2012"), VOC_PLACE)
    'wsss data voc'
    """
    home = folder.absolute()
    for name in reversed(Path(place).parts):
        if home.name != name:
            return f"wsss data {source}"
        home = home.parent
    return f"wsss data {source} --to {shlex.quote(str(home))}"


def complete_voc(root: Path) -> str:
    """The command that completes PASCAL VOC in the folder `root`, or the augmented set that was built there."""
    try:
        origins = zip(("voc", "sbd"), (root / AUGMENTED_MARKER).read_text(encoding="utf-8").splitlines(), strict=False)
        options = "".join(f" --{name} {shlex.quote(path)}" for name, path in origins)
        return fetch_command("trainaug", root) + options
    except OSError:
        command = fetch_command("voc", root, VOC_PLACE)
        return command if "--to" in command else f"{command}, and take the folder that it names at its end"


def meant_instead(root: Path, wanted: str) -> Path | None:
    """The folder below or above `root` that has the folder `wanted`, which `root` hasn't; None if there is none."""
    near = (root / "VOC2012", root / VOC_PLACE, root.parent)
    return next((folder for folder in near if (folder / wanted).is_dir()), None)
