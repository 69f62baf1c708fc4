"""Run store: results of steps in folders named by their keys.

    <root>/<stage>/<key>/manifest.json      what made it, how long it took, size and checksum of every file
                         masks.npy ...      one file per output
    <root>/.checkpoints/<key>/              the state of a training on its way
    <root>/.probes/                         files that show whether the folder can be written, or is seen elsewhere

An entry appears under its name in one rename, so that it is complete or absent. What was altered afterwards
is found by size and checksum, that of the manifest itself too, and counts as absent.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_lab.errors import StoreError
from wsss_lab.lab import provenance
from wsss_lab.lab.values import read_value, write_value

if TYPE_CHECKING:
    from wsss_lab.lab.steps import Step

MANIFEST = "manifest.json"
CHECKPOINTS, PROBES = ".checkpoints", ".probes"  # folders beside those of the stages
FORMAT = 2  # of what is stored, part of every key
_TEMPORARY = ".tmp-"
_FORGOTTEN_AFTER = 24 * 3600  # seconds until another machine's half-written entry counts as left behind


class WriteError(StoreError):
    """The run store can't be written: whatever is computed next would be lost."""


def default_root() -> Path:
    """WSSS_CACHE, or .wsss_cache in the clone (in the current folder for an installed package)."""
    return Path(os.environ.get("WSSS_CACHE") or provenance.project_folder() / ".wsss_cache").expanduser()


class Entry(Mapping):
    """Read-only mapping of the stored outputs of one step; each is read when first asked for."""

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.folder, self.manifest = folder, manifest
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self.manifest["outputs"]:
            raise StoreError(f"{self.manifest['stage']} ({self.manifest['label']}) has no output {name!r}",
                             expected=f"one of: {', '.join(self)}")
        if name not in self._values:
            self._values[name] = read_value(self.folder / self.manifest["outputs"][name])
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.manifest["outputs"])

    def __len__(self) -> int:
        return len(self.manifest["outputs"])

    def __contains__(self, name: object) -> bool:
        return name in self.manifest["outputs"]


class Store:
    """Folder of step results. root: the folder; None means default_root(). It is made when the first result is
    saved."""

    def __init__(self, root: str | Path | None = None):
        self.root = Path(root).expanduser().absolute() if root is not None else default_root().absolute()
        self._verified: dict[Path, tuple[int, int]] = {}

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def __reduce__(self):
        return Store, (self.root,)

    def folder(self, step: "Step") -> Path:
        """Where the results of a step are or will be."""
        return self.root / step.stage / step.key

    def __contains__(self, step: "Step") -> bool:
        manifest, problem = self.look(self.folder(step))
        return bool(manifest) and not problem

    def damage(self, step: "Step") -> str:
        """What is wrong with the entry of a step, in one line; empty for a sound entry and for no entry."""
        return self.look(self.folder(step))[1]

    def load(self, step: "Step") -> Entry:
        """Outputs of a step. Raises StoreError if it has not been run or its entry is damaged."""
        folder = self.folder(step)
        manifest, problem = self.look(folder)
        if problem:
            raise StoreError(f"the stored result of {step} is damaged: {problem}", f"{folder} as it was written",
                             "run it again: compute() removes and remakes a damaged result")
        if not manifest:
            raise StoreError(f"{step} has not been run with these settings", f"a result in {folder}",
                             "compute([step], store) first")
        return Entry(folder, manifest)

    def save(self, step: "Step", outputs: Mapping[str, Any], facts: Mapping[str, Any]) -> Path:
        """Store the outputs of a step and return the folder; an equal entry that another process has stored is kept.

        outputs: values that values.write_value can write. facts: further entries of the manifest, such as seconds.
        Raises WriteError when the folder cannot be written.
        """
        target = self.folder(step)
        temporary = target.with_name(_temporary(step.key[:12]))
        with self._explained():
            try:
                temporary.mkdir(parents=True)
                files = {key: write_value(temporary, key, value).name for key, value in outputs.items()}
                manifest = {
                    "format": FORMAT, "stage": step.stage, "label": step.label, "key": step.key,
                    "function": step.function_name, "settings": step.settings, "inputs": step.input_keys,
                    "code": step.code, "packages": step.packages, "pixel_labels": list(step.pixel_labels()),
                    "outputs": files,
                    "files": {name: {"bytes": (temporary / name).stat().st_size, "blake2b": _checksum(temporary / name)}
                              for name in files.values()},
                    "created": provenance.now(), "commit": provenance.git_commit(),
                    "versions": provenance.versions(), "device": provenance.device(), **facts,
                }
                manifest["checksum"] = _checksum_of(manifest)
                (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
                for path in [*temporary.iterdir(), temporary]:
                    _flush(path)
                if step not in self:
                    self.remove(step)
                    try:
                        os.rename(temporary, target)
                    except OSError:  # another process was faster; its entry is as good as ours
                        if step not in self:
                            raise
                    _flush(target.parent)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return target

    def remove(self, step: "Step") -> None:
        """Take the entry of a step away; nothing happens if there is none."""
        self.discard(self.folder(step))

    def discard(self, folder: Path) -> None:
        """Take away what is found under the name of an entry: a folder, a file or a link, not what it leads to."""
        aside = folder.with_name(_temporary("removed"))
        with self._explained(), suppress(FileNotFoundError):
            folder.rename(aside)  # first, so that no other process meets half an entry
        _delete(aside)

    def clean(self) -> int:
        """Remove what killed processes left half-written; returns how many folders went."""
        return len([_delete(path) for path in self.root.glob(f"*/{_TEMPORARY}*") if _is_left_behind(path)])

    def entries(self, stage: str = "*") -> list[tuple[Path, dict[str, Any], str]]:
        """Folder, manifest and damage ("" for none) of all entries (of one stage); sizes are looked at, not contents.
        The manifest of an entry whose own is damaged is empty."""
        folders = [path for path in self.root.glob(f"{stage}/*") if re.fullmatch(r"[0-9a-f]{32}", path.name)]
        return [(folder, *self.look(folder, contents=False)) for folder in sorted(folders)]

    def manifests(self, stage: str = "*") -> list[dict[str, Any]]:
        """Manifests of all sound entries (of one stage), oldest first."""
        found = [manifest for _, manifest, problem in self.entries(stage) if not problem]
        return sorted(found, key=lambda manifest: (manifest["created"], manifest["key"]))

    def checkpoints(self, step: "Step") -> Path:
        """Folder for the state of a training that isn't finished."""
        return self.root / CHECKPOINTS / step.key

    def look(self, folder: Path, contents: bool = True) -> tuple[dict[str, Any], str]:
        """The manifest of an entry and what is wrong with the entry; no manifest and nothing wrong where there is none.
        contents: whether the bytes of its files are checked, and not their number only."""
        if not os.path.lexists(folder):
            return {}, ""
        if not folder.is_dir():
            return {}, "it is not a folder"
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
            if manifest.pop("checksum") != _checksum_of(manifest):
                return {}, "the manifest has been changed"
            if (manifest["stage"], manifest["key"]) != (folder.parent.name, folder.name):
                return {}, "the manifest belongs to another entry"
            files, outputs = manifest["files"], manifest["outputs"]
            if files.keys() != set(outputs.values()) or any(Path(name).name != name for name in files):
                return {}, "the manifest names other files than outputs"
            problems = [self._file_damage(folder / name, facts, contents) for name, facts in files.items()]
            return manifest, next(filter(None, problems), "")
        except FileNotFoundError:
            return {}, "the manifest is missing"
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return {}, "the manifest cannot be read"

    def _file_damage(self, path: Path, facts: dict[str, Any], contents: bool) -> str:
        try:
            status = path.stat()
            if status.st_size != facts["bytes"]:
                return f"{path.name} has {status.st_size} bytes instead of {facts['bytes']}"
            # A file is read in full once per process, and again when its time of change says so.
            state = (status.st_size, status.st_mtime_ns)
            if contents and self._verified.get(path) != state:
                if _checksum(path) != facts["blake2b"]:
                    return f"the bytes of {path.name} have changed"
                self._verified[path] = state
        except FileNotFoundError:
            return f"{path.name} is missing"
        except OSError as problem:
            return f"{path.name} cannot be read ({problem.strerror})"
        return ""

    @contextmanager
    def probe(self) -> Iterator[Path]:
        """A small file that is in the store meanwhile. Raises WriteError where it can't be written."""
        path = self.root / PROBES / _temporary("probe")
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"?")
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def write_error(self, problem: Exception) -> WriteError:
        """The error for what went wrong while something was written."""
        return WriteError(f"cannot write to the run store {self.root}: {getattr(problem, 'strerror', None) or problem}",
                          "a folder that can be written, with free space",
                          "make room there, or set WSSS_CACHE to another folder")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the file system says into an error that names the folder and the way out."""
        try:
            yield
        except (OSError, RuntimeError) as problem:  # the latter of torch
            raise self.write_error(problem) from problem


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _checksum_of(manifest: dict[str, Any]) -> str:
    """Checksum of a manifest by its content."""
    return hashlib.blake2b(json.dumps(manifest, sort_keys=True).encode(), digest_size=16).hexdigest()


def _delete(path: Path) -> None:
    """Take away a folder with what is in it, a file or a link, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _flush(path: Path) -> None:
    """Ask the system to put a file or folder on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _temporary(what: str) -> str:
    """Name of a folder that says which process of which machine is responsible for it."""
    return f"{_TEMPORARY}{what}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _is_left_behind(path: Path) -> bool:
    """Whether the process that made a temporary folder is gone, or none can have made it."""
    form = re.fullmatch(r"(.*)-([1-9][0-9]{0,8})-[0-9a-f]{8}", path.name)
    if form is None:
        return True
    if not form[1].endswith(f"-{socket.gethostname()}"):
        return time.time() - path.lstat().st_mtime > _FORGOTTEN_AFTER
    try:
        os.kill(int(form[2]), 0)
    except OSError as problem:  # or a living one of another user
        return isinstance(problem, ProcessLookupError)
    return False
