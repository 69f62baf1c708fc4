"""Unpacking downloaded archives: never outside of the folder, never half, never twice.

An archive is unpacked into `.unpacking-<archive>` inside the folder and moved to its place when all of it is sound.
`.unpacked-<archive>.json` then tells the archive's checksum and the size of every file that came from it.
"""

import calendar
import contextlib
import filecmp
import json
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PureWindowsPath
from typing import BinaryIO, NamedTuple

from wsss_lab.data.download import CHUNK, digest, require_room, telling_os_errors
from wsss_lab.data.files import AUGMENTED_MARKER, some, whole
from wsss_lab.data.voc_export import MARKER
from wsss_lab.errors import DataError

#: Names by which this package knows what it has fetched, unpacked or written itself.
OWN = (".unpack*", "*.part", "*.part.json", f"{MARKER}*", AUGMENTED_MARKER)
#: What the readers of zip and tar raise for bytes that are damaged or end too early.
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)


class Member(NamedTuple):
    """One entry of an archive: its name there, whether it is a folder, bytes when unpacked, seconds since 1970 of its
    last change, why it may not be unpacked ("" if it may), and what opens its content."""

    name: str
    folder: bool
    size: int
    changed: float
    problem: str
    open: Callable[[], BinaryIO]


def extract(archive: str | os.PathLike, folder: str | os.PathLike, members: Sequence[str] | None = None,
            again: str = "the same command") -> Path:
    """Unpack a zip or a tar (plain, gzip, bzip2, xz) into a folder, unless it is unpacked there already.

    folder: made if it isn't there    members: patterns of the names to unpack, as of fnmatch; None for all
    again: the command that an error tells to run again

    returns: the folder. Files that are there already with the same content are left as they are.
    Raises DataError, and changes nothing in the folder, for an archive that is damaged or cut short; that holds none
    of the members; that holds, among them, a link, a device or a name that leads out of the folder; that differs from
    files in the folder; and for a disk without room.
    """
    archive, folder = Path(archive), Path(folder)
    with telling_os_errors(folder, again):
        if not archive.is_file():
            raise DataError(f"no archive {archive}", "a zip or tar file", again)
        checksum = digest(archive)
        if is_unpacked(archive.name, folder, members, checksum):
            return folder
        temporary = folder / f".unpacking-{archive.name}"
        shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
        temporary.mkdir(parents=True)
        try:
            with telling_damage(archive, again):
                sizes = _unpack(archive, temporary, members, again)
            if clashes := [name for name in sizes if _in_the_way(temporary / name, folder / name)]:
                raise DataError(
                    f"{folder} has {len(clashes)} other file(s) where {archive.name} has its own: {some(clashes)}",
                    "the same files, or none", f"move them away, or choose another folder, then: {again}")
            for name in sizes:
                _move_in(temporary / name, folder / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        with whole(_marker(archive.name, folder)) as part:
            part.write_text(json.dumps({"sha256": checksum, "members": members and list(members), "files": sizes}))
    return folder


def is_unpacked(name: str, folder: str | os.PathLike, members: Sequence[str] | None = None, sha256: str = "") -> bool:
    """Whether all files of an archive are in a folder with the sizes they had when `extract` put them there.

    name: of the archive, which need not exist any more    members: what was asked for
    sha256: of the archive; "" accepts any
    """
    try:
        known = json.loads(_marker(name, Path(folder)).read_text())
        if known["members"] != (members and list(members)) or sha256 not in ("", known["sha256"]):
            return False
        return all((Path(folder) / file).stat().st_size == size for file, size in known["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # no marker, a damaged one, or files that are gone


def check_archive(path: Path) -> None:
    """A quick look: raises DataError for a file that is no zip or tar, and for a zip that is cut short."""
    with telling_damage(path, "the same command"):
        next(_members(path), None)


@contextlib.contextmanager
def telling_damage(archive: Path, again: str) -> Iterator[None]:
    """Turns what the readers of archives raise into DataError."""
    try:
        yield
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the content
        raise DataError(f"{archive} is damaged or cut short ({error or type(error).__name__})",
                        "a complete zip or tar file", f"delete it (rm {archive}), then: {again}") from error


def _members(archive: Path) -> Iterator[Member]:
    with open(archive, "rb") as file:
        return (_zip_members if file.read(2) == b"PK" else _tar_members)(archive)


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was made without Unix modes
            problem = "" if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "is a link or a device"
            # A zip has local times of an unknown zone: taken as UTC, so that all machines agree.
            yield Member(info.filename, info.is_dir(), info.file_size, calendar.timegm((*info.date_time, 0, 0, 0)),
                         problem or _name_problem(info.filename), lambda info=info: opened.open(info))


def _tar_members(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive) as opened:
        for info in opened:
            problem = _name_problem(info.name) if info.isreg() or info.isdir() else "is a link or a device"
            if not problem and hasattr(tarfile, "data_filter"):  # Python's own look, of 3.11.4 and later
                try:
                    tarfile.data_filter(info, str(archive.parent))
                except tarfile.FilterError as error:
                    problem = f"is refused by Python's data filter ({error})"
            yield Member(info.name, info.isdir(), info.size, info.mtime, problem,
                         lambda info=info: opened.extractfile(info))
        # tarfile takes whatever is no header for the end of the archive; a sound one ends with a block of zeros.
        opened.fileobj.seek(opened.offset)
        if opened.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("its end is missing")
        while opened.fileobj.read(CHUNK):  # to its very end, where gzip keeps its checksum
            pass


def _name_problem(name: str) -> str:
    """Why a name may lead out of the folder, on any system, or be one of OWN; "" if neither.

    >>> _name_problem("VOC2012/a..b.jpg"), _name_problem("a/../../b"), _name_problem("/etc/passwd")
    ('', 'leads out of the folder', 'is an absolute path')
    """
    parts = re.split(r"[/\\]", name)
    if any(fnmatchcase(part.lower(), own) for part in parts for own in OWN):
        return "has a name that this package gives to files of its own"
    if not parts[0] or PureWindowsPath(name).drive:
        return "is an absolute path"
    return "leads out of the folder" if ".." in parts else ""


def _unpack(archive: Path, temporary: Path, members: Sequence[str] | None, again: str) -> dict[str, int]:
    """Write the wanted members below a folder; the sizes of the files by their names."""
    least = 0 if members else archive.stat().st_size  # a tar has no list of its members
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            least = sum(info.file_size for info in opened.infolist() if _is_wanted(info.filename, members))
    require_room(temporary, least, f"the files of {archive.name}", again)
    sizes: dict[str, int] = {}
    for member in _members(archive):
        if not _is_wanted(member.name, members):
            continue
        if member.problem:
            raise DataError(f"{archive}: the entry '{member.name}' {member.problem}",
                            "files and folders with names inside of the folder",
                            "nothing was unpacked: find out where this archive comes from, and fetch it elsewhere")
        if not member.folder:
            path = temporary / member.name
            _write(member, path)
            sizes[path.relative_to(temporary).as_posix()] = member.size
    if not sizes:
        raise DataError(f"{archive} holds none of the files that are wanted",
                        f"files named like {', '.join(members)}" if members else "files",
                        f"delete it (rm {archive}), then: {again}")
    return sizes


def _is_wanted(name: str, members: Sequence[str] | None) -> bool:
    return not members or any(fnmatchcase(name.removeprefix("./"), pattern) for pattern in members)


def _write(member: Member, path: Path) -> None:
    """Content and time of change, neither owner nor permissions. The time tells whether data are the same later on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as source, open(path, "wb") as sink:
        shutil.copyfileobj(source, sink, CHUNK)
    if path.stat().st_size != member.size:
        raise EOFError(f"{member.name} has {path.stat().st_size:,} bytes instead of {member.size:,}")
    os.utime(path, (member.changed, member.changed))


def _in_the_way(new: Path, old: Path) -> bool:
    """Whether something else than the new file is at its place, or no folder where its folders are to be."""
    if os.path.lexists(old):
        return not old.is_file() or not filecmp.cmp(new, old, shallow=False)
    return not next(way for way in old.parents if os.path.lexists(way)).is_dir()


def _move_in(new: Path, place: Path) -> None:
    """Rename to a place, unless the same file is there already."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        os.rename(new, place)


def _marker(name: str, folder: Path) -> Path:
    return folder / f".unpacked-{name}.json"
