"""Files from the web: resumed after an interruption, taken from another mirror when one fails, checked before use.

    <name>.part        the bytes that have arrived; renamed to <name> once they are complete and checked
    <name>.part.json   what the server said of them: address, validator (ETag or date of change), length

A kept part is continued by an HTTP range request (RFC 9110, Sec. 14), tied to the validator where the address is the
same. Another mirror may continue it only if a checksum is known, which tells whether the pieces belong together.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import shlex
import shutil
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError

from wsss_lab import __version__
from wsss_lab.errors import DataError, LabError

CHUNK = 2**18  # bytes
TIMEOUT = 60  # seconds without a byte until a connection counts as dropped
WAITS = (1, 2, 4, 8)  # seconds before the next try at a mirror, growing while no try brings anything new
FULL = (errno.ENOSPC, errno.EDQUOT)
_digests: dict[tuple, str] = {}  # by algorithm and what tells a file from its earlier states

Say = Callable[[str], None]
Moved = Callable[[int, int | None], None]  # bytes that are there, bytes of the whole file if known


@dataclass(frozen=True)
class Remote:
    """A file that can be fetched.

    name: what it is called on disk    urls: its mirrors, tried in this order
    checksum: as pooch writes it, "md5:..." or "sha256:..." in hexadecimal digits, "" where none is known; the first
        digits of a sha256, at least 8, are enough
    size: exact bytes, None where unknown    about: bytes to reckon with where the size is unknown
    check: raises LabError for a file that can't be read; what is left to trust where no checksum is known
    error: the class of errors about this file
    """

    name: str
    urls: tuple[str, ...]
    checksum: str = ""
    size: int | None = None
    about: int = 0
    check: Callable[[Path], object] | None = None
    error: type[LabError] = DataError

    @property
    def reckoned(self) -> int:
        """Bytes to reckon with, 0 where nothing is known."""
        return self.about if self.size is None else self.size


def fetch(file: Remote, folder: str | os.PathLike, again: str = "the same command", say: Say = lambda text: None,
          moved: Moved = lambda done, total: None) -> Path:
    """Have a file in a folder: fetched, unless it is there already with the right size and checksum.

    folder: made if it isn't there    again: the command that an error tells to run again
    say(text): called with what happens on the way    moved(done, total): called as bytes arrive

    returns: <folder>/<name>. After Ctrl-C, a kill or an error, `<name>.part` stays and the next call goes on from it.
    Raises the file's error when all mirrors fail, each with its reason; when the disk has no room; when another
    program is fetching the file; and when another file has its name, which is left alone.
    """
    target = Path(folder).expanduser() / file.name
    with telling_os_errors(target, again):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(target):
            _Download(file, target, again, say, moved).run()
        elif reason := fault(file, target) if target.is_file() else "it is no file":
            move = f"mv {shlex.quote(str(target))} {shlex.quote(f'{target}.other')}"
            raise file.error(f"{target} is there, but {reason}", "the published file, or none under this name",
                             f"move it out of the way ({move}), then: {again}")
    if not file.checksum:
        say(f"{file.name} is unchecked: no checksum is published; its sha256 is {digest(target)}")
    return target


def digest(path: Path, algorithm: str = "sha256") -> str:
    """The checksum of a file, hexadecimal; worked out once per process, also if the file is renamed in between."""
    import pooch

    stat = path.stat()
    key = (algorithm, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if key not in _digests:
        _digests[key] = pooch.file_hash(str(path), alg=algorithm)
    return _digests[key]


def fault(file: Remote, path: Path) -> str:
    """Why a file on disk isn't the one wanted: its size, its checksum, or what `check` says; "" if it is the one."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"it has {size:,} bytes, expected {file.size:,}"
    if file.checksum:
        algorithm, wanted = file.checksum.split(":")
        got = digest(path, algorithm)
        if not got.startswith(wanted.lower()):
            return f"its {algorithm} is {got}, expected {wanted}"
    try:
        if file.check:
            file.check(path)
    except LabError as error:
        return error.problem
    return ""


def require_room(folder: Path, needed: int, what: str, again: str) -> None:
    """Raises DataError if the disk of a folder, which exists, has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(f"not enough room for {what} in {folder}: {readable(needed)} needed, {readable(free)} free",
                        f"{readable(needed - free)} more", f"make room or choose another folder, then: {again}")


@contextlib.contextmanager
def telling_os_errors(path: Path, again: str) -> Iterator[None]:
    """Turns a disk that is full, a folder that can't be written and the like into DataError.

    path: what was to be written    again: the command to run when it is put right
    """
    try:
        yield
    except OSError as error:
        remedy = "make room" if error.errno in FULL else "put this right"
        raise DataError(f"can't read or write {error.filename or path}: {error.strerror or error}",
                        "a folder that can be written, with room in it",
                        f"{remedy} or choose another folder, then: {again}") from error


def readable(count: float) -> str:
    """Bytes for people.

    >>> readable(1_999_639_040), readable(14_212_972), readable(17)
    ('2.0 GB', '14.2 MB', '17 bytes')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} bytes"


class _Interrupted(Exception):
    """A connection brought less than it should; the same mirror may still bring the rest."""


class _Failed(Exception):
    """A mirror doesn't have the file."""


class _Download:
    """One file on its way to its place."""

    def __init__(self, file: Remote, target: Path, again: str, say: Say, moved: Moved):
        self.file, self.target, self.again, self.say, self.moved = file, target, again, say, moved
        self.part, self.facts = (target.with_name(f"{file.name}.part{suffix}") for suffix in ("", ".json"))
        self.joined = True  # whether the part may come from several connections

    def run(self) -> None:
        """Try one mirror after the other."""
        reasons = []
        with self._alone():
            for url in self.file.urls:
                if not (reason := self._take(url)):
                    os.replace(self.part, self.target)
                    return self.facts.unlink(missing_ok=True)
                reasons.append(f"\n  - {url}: {reason}")
                self.say(f"{url}: {reason}")
        size = "" if self.file.size is None else f"{self.file.size:,} bytes"
        expected = ", ".join(filter(None, (size, self.file.checksum.replace(":", " ")))) or "a file that can be read"
        raise self.file.error(
            f"{self.file.name} can't be fetched:{''.join(reasons)}", expected,
            f"check the network connection, or put the file at {self.target} yourself; then: {self.again}")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second program from writing into the same part; leaves no empty part behind."""
        with open(self.part, "ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self.file.error(f"{self.part} is being written by another program", "one download at a time",
                                      f"wait for it to end, or stop it, then: {self.again}") from None
            except OSError:
                pass  # a network disk without locks
            try:
                yield
            finally:
                if self.part.exists() and not self._size():
                    self.part.unlink()
                    self.facts.unlink(missing_ok=True)

    def _take(self, url: str, last: bool = False) -> str:
        """Complete the part from one mirror and check it; pieces that don't fit together are fetched anew, once.

        returns: why that has failed, "" where it hasn't
        """
        try:
            self._fill(url)
        except _Failed as failure:
            return str(failure)
        if reason := fault(self.file, self.part):
            self._discard()
            if self.joined and not last:
                self.say(f"{self.file.name}: {reason}; the pieces don't fit together, so it is fetched anew")
                return self._take(url, last=True)
        return reason

    def _fill(self, url: str) -> None:
        """Connect until the part is complete; gives up after several tries that bring nothing new."""
        idle, most = 0, self._size()
        while True:
            try:
                return self._receive(url)
            except _Interrupted as reason:
                size = self._size()
                idle = 0 if size > most else idle + 1
                most = max(most, size)
                if idle == len(WAITS):
                    raise _Failed(f"{reason} ({idle} tries)") from None
                self.say(f"{self.file.name}: {reason}; {readable(size)} kept, next try in {WAITS[idle]} s")
                time.sleep(WAITS[idle])

    def _receive(self, url: str) -> None:
        """What one connection brings."""
        try:
            known = json.loads(self.facts.read_text())
        except (OSError, ValueError):
            known = {}
        here = known if known.get("url") == url else {}  # what this mirror has said before
        whole = known.get("total") if self.file.size is None else self.file.size
        if not (here.get("validator") or self.file.checksum) or (whole is not None and self._size() > whole):
            self._discard()
        offset = self._size()
        if whole is not None and offset == whole > 0:
            return
        with self._connect(url, offset, here.get("validator")) as response:
            tag = response.headers["ETag"] or ""  # If-Range accepts a strong one, or the date of change
            validator = tag if tag.startswith('"') else response.headers["Last-Modified"] or ""
            start, total = self._told(response)
            lengths, validators = {total, known.get("total")}, {validator, here.get("validator", "")}
            if response.status == 206 and (start != offset or len(lengths - {None}) > 1 or len(validators - {""}) > 1):
                self._discard()
                raise _Interrupted("the file on the server isn't the one begun")
            if None not in (total, self.file.size) and total != self.file.size:
                raise _Failed(f"it offers {total:,} bytes, expected {self.file.size:,}")
            if start < offset:
                self.say(f"{self.file.name}: the server can't go on from {readable(offset)}, so it is fetched anew")
            self.facts.write_text(json.dumps({"url": url, "validator": validator, "total": total}))
            self.joined = start > 0
            require_room(self.part.parent, (self.file.reckoned if total is None else total) - start, self.file.name,
                         self.again)
            self._copy(response, start, self.file.size if total is None else total)

    def _connect(self, url: str, offset: int, validator: str | None) -> HTTPResponse:
        headers = {"User-Agent": f"wsss-lab/{__version__}", "Accept-Encoding": "identity"}
        if offset:
            headers |= {"Range": f"bytes={offset}-"} | ({"If-Range": validator} if validator else {})
        try:
            return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
        except HTTPError as error:
            error.close()
            if error.code == 416:
                self._discard()
                raise _Interrupted("the server has no bytes beyond those that were kept") from error
            raise _Failed(f"HTTP {error.code} {error.reason}") from error
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise _Failed(f"its certificate isn't valid ({reason.verify_message})") from error
            raise _Interrupted(f"no connection ({reason or type(reason).__name__})") from error

    def _told(self, response: HTTPResponse) -> tuple[int, int | None]:
        """The byte that a response starts from, and the length of the whole file if the server tells it."""
        if response.headers.get_content_type() == "text/html":
            raise _Failed("it answers with a web page instead of the file")
        length = response.headers["Content-Length"] or ""
        if response.status != 206:
            return 0, int(length) if length.isdecimal() else None
        told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", (response.headers["Content-Range"] or "").strip())
        return (int(told[1]), None if told[2] == "*" else int(told[2])) if told else (-1, None)

    def _copy(self, response: HTTPResponse, start: int, total: int | None) -> None:
        done = start
        with open(self.part, "r+b") as sink:
            sink.seek(start)
            sink.truncate()
            self.moved(done, total)
            while total is None or done < total:
                try:
                    chunk = response.read1(CHUNK if total is None else min(CHUNK, total - done))
                except (OSError, HTTPException) as error:
                    raise _Interrupted(f"the connection was dropped ({error or type(error).__name__})") from error
                if not chunk:
                    break
                sink.write(chunk)
                done += len(chunk)
                self.moved(done, total)
        if total is not None and done < total:
            raise _Interrupted(f"the connection ended at {readable(done)} of {readable(total)}")

    def _size(self) -> int:
        return self.part.stat().st_size

    def _discard(self) -> None:
        """Empty the part; the file itself stays, because the lock is on it."""
        os.truncate(self.part, 0)
