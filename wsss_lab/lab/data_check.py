"""The check of a folder in VOC layout, kept: it takes no time again until a file or the code of the check changes."""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from wsss_lab.data.files import whole
from wsss_lab.data.folder import VocFolder
from wsss_lab.data.folder_check import Finding, check_folder, table
from wsss_lab.errors import KINDS
from wsss_lab.lab.fingerprint import code_of
from wsss_lab.lab.profiles import Profile
from wsss_lab.lab.store import default_root
from wsss_lab.settings import DATA, is_forecast

KEPT = ".checked"  # folder of the run store, with a file per folder that was found to be sound
MANY = 1000  # photographs from which on the first check takes long enough to say so


def checked(root: str | os.PathLike, say: Callable[[str], None] = print) -> tuple[Finding, ...]:
    """What is worth a word about the files of a folder and stops nothing. Raises DataError with a table of all else."""
    folder = VocFolder(root)
    place = default_root() / KEPT / f"{_digest(str(folder.root.absolute()))}.json"
    key = _digest(json.dumps([folder.stamps, code_of(check_folder), KINDS]))
    with suppress(OSError, ValueError, TypeError, KeyError):  # nothing kept, or damaged
        kept = json.loads(place.read_text(encoding="utf-8"))
        if kept["key"] == key:
            return tuple(Finding(*row) for row in kept["notes"])
    if len(folder.stamps[0]) >= MANY:
        say(f"Looking through {len(folder.stamps[0]):,} photographs of {folder.root}, once ...")
    notes = folder.check()
    with suppress(OSError), whole(place) as part:  # a store that can't be written is told by what can't do without
        part.write_text(json.dumps({"key": key, "notes": notes}), encoding="utf-8")
    return notes


def before_run(profile: Profile) -> None:
    """Check the photographs that a profile reads, and print what is worth a word. Raises DataError as `checked`."""
    if profile.needs_data and not is_forecast():
        root = Path(os.environ[DATA])
        if notes := checked(root):
            print(f"{root}: worth a look, though nothing stops a run\n{table(notes)}", flush=True)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
