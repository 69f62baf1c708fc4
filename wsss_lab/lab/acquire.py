"""Fetching a whole source of `wsss_lab.data.sources`: announced, checked against the disk, unpacked, ready for use."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

from wsss_lab.data import sources
from wsss_lab.data.archives import extract, is_unpacked
from wsss_lab.data.augmented import build_augmented
from wsss_lab.data.download import Remote, fault, fetch, readable, require_room, telling_os_errors
from wsss_lab.data.sources import Item, Source
from wsss_lab.lab.notebooks import project_folder
from wsss_lab.lab.profiles import unknown_name
from wsss_lab.lab.transfer import Transfer

Print = Callable[[str], None]

#: What `wsss data` makes of two sources, without fetching anything.
AUGMENTED = "trainaug"
AUGMENTED_SUMMARY = "the 10,582 training images of PASCAL VOC 2012 with the masks of SBD, and val"


def source_named(name: str) -> Source:
    """A source by the name that `wsss data` knows it by; ParameterError lists the known ones."""
    if name not in sources.SOURCES:
        raise unknown_name("source", name, [*sources.SOURCES, AUGMENTED])
    return sources.SOURCES[name]()


def default_folder(name: str) -> Path:
    """Where a source goes unless a folder is given. Files of weights share one folder, as WSSS_WEIGHTS names one."""
    weights = ("imagenet-weights", "saliency")
    return project_folder() / "datasets" / ("weights" if name in weights else name)


def acquire(source: Source, folder: Path, say: Print = print) -> None:
    """Fetch what a source lacks in a folder, unpack it, and tell how to use it.

    What is there already is neither fetched nor unpacked again, also when the archives were deleted since. Raises
    LabError, with the command to run again, for what goes wrong; an interruption loses nothing that has arrived.
    """
    folder = folder.expanduser().absolute()
    again = f"wsss data {source.name} --to {shlex.quote(str(folder))}"
    with telling_os_errors(folder, again):
        folder.mkdir(parents=True, exist_ok=True)
    missing = [item for item in source.items if not _is_ready(item, folder)]
    _announce(source, missing, folder, say)
    if missing:
        require_room(folder, sum(_room(item, folder) for item in missing), source.name, again)
    for item in missing:
        _get(item, folder, again, say)
    for line in _closing(source, folder):
        say(line)


def augment(voc: Path, sbd: Path, folder: Path, say: Print = print) -> None:
    """Build the augmented training set from the folders of VOC 2012 and SBD, and tell how to use it.

    Nothing is fetched. What an earlier call has converted is kept. Raises DataError for missing or damaged files.
    """
    folder = folder.expanduser().absolute()
    say(f"{AUGMENTED_SUMMARY}\n  from {voc} and {sbd}")
    again = f"wsss data {AUGMENTED} --to {shlex.quote(str(folder))}"
    with telling_os_errors(folder, again):
        build_augmented(voc, sbd, folder, report=lambda done, total, line: say(f"  {done:,} of {total:,}: {line}"))
    say(f"{AUGMENTED} is ready in {folder}\n  export WSSS_DATA={shlex.quote(str(folder))}")


def listing() -> str:
    """All sources: size, files with what they are checked by, and where they lead."""
    lines = []
    for name in sources.SOURCES:
        source = source_named(name)
        size = readable(sum(item.remote.reckoned for item in source.items))
        lines.append(f"{name}: {source.summary} ({size}{f'; {source.variable}' if source.variable else ''})")
        lines += [f"    {_described(item.remote)}" for item in source.items]
    return "\n".join([*lines, f"{AUGMENTED}: {AUGMENTED_SUMMARY} (built from voc and sbd, WSSS_DATA)"])


def _is_ready(item: Item, folder: Path) -> bool:
    """Whether nothing is left to do."""
    if item.into is not None:
        return is_unpacked(item.remote.name, folder / item.into, item.members)
    if item.becomes:
        return (folder / item.becomes).is_file()
    path = folder / item.remote.name
    return path.is_file() and not fault(item.remote, path)


def _get(item: Item, folder: Path, again: str, say: Print) -> None:
    name = item.remote.name
    with Transfer(name) as shown:
        path = fetch(item.remote, folder, again, shown.say, shown.moved)
    if item.into is not None:
        say(f"{name}: unpacking into {folder / item.into}")
        extract(path, folder / item.into, item.members, again)
    elif item.convert is not None:
        with telling_os_errors(folder, again):
            item.convert(path, folder / item.becomes)
        say(f"{name}: written anew as {item.becomes}")


def _room(item: Item, folder: Path) -> int:
    """Bytes that an item still takes: what hasn't arrived of it, and what it becomes."""
    if (folder / item.remote.name).is_file():
        return item.unpacked
    part = folder / f"{item.remote.name}.part"
    arrived = part.stat().st_size if part.is_file() else 0
    return max(item.remote.reckoned - arrived, 0) + item.unpacked


def _announce(source: Source, missing: list[Item], folder: Path, say: Print) -> None:
    say(f"{source.summary}\n  about it, and its terms of use: {source.home}")
    for item in source.items:
        say(f"  {_described(item.remote)}{'' if item in missing else ': there already'}")
        if item in missing:
            say("\n".join(f"    from {url}" for url in item.remote.urls))
    needed = sum(_room(item, folder) for item in missing)
    say(f"  {readable(needed)} needed in {folder}, {readable(shutil.disk_usage(folder).free)} free")


def _described(remote: Remote) -> str:
    size = readable(remote.reckoned) if remote.size is not None else f"about {readable(remote.reckoned)}"
    algorithm, digits = remote.checksum or ("no checksum", "published: unchecked")
    beginning = "..." if algorithm == "sha256" and len(digits) < 64 else ""
    return f"{remote.name}, {size}, {algorithm} {digits}{beginning}"


def _closing(source: Source, folder: Path) -> list[str]:
    lines = [f"{source.name} is ready in {folder}"]
    archives = [item.remote.name for item in source.items if item.into is not None]
    spent = [name for name in archives if (folder / name).is_file()]
    if spent:
        lines.append(f"  unpacked, so you may delete {', '.join(spent)}")
    unchecked = [item.remote.name for item in source.items if not item.remote.checksum]
    if unchecked:
        lines.append(f"  unchecked, as no checksum is published: {', '.join(unchecked)}")
    if source.note:
        lines.append(f"  {source.note}")
    if source.variable:
        lines.append(f"  export {source.variable}={shlex.quote(str(folder / source.leads_to))}")
    return lines
