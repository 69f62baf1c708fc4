"""The augmented training set of PASCAL VOC 2012: 10,582 images, those of VOC and those that SBD adds.

The list follows from its definition: train and val of SBD (Hariharan et al. 2011) without val of VOC 2012, and train
of VOC 2012. Images of both have VOC's mask, which is finer and marks void. `build_augmented` writes a folder that
`wsss_lab.data.folder.VocFolder` reads:

    JPEGImages, Annotations              links to the folders of VOC
    SegmentationClassAug/<name>.png      masks of trainaug and val: VOC's, as they are, or SBD's, converted
    SegmentationClass                    a link to SegmentationClassAug
    SegmentationContext, *classes.txt    a link and copies, where the folder of VOC has them
    ImageSets/Segmentation/<split>.txt   train, val, trainaug; written last

Where links aren't possible, they are folders with copies of what the three splits need, 12,031 images.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from wsss_lab.data import sbd
from wsss_lab.data.files import (
    AUGMENTED_MARKER,
    SBD_PLACE,
    VOC_PLACE,
    each_once,
    fetch_command,
    listing,
    read_list,
    some,
)
from wsss_lab.data.folder import (
    ANNOTATIONS,
    CLASS_LIST,
    CONTEXT_LIST,
    CONTEXTS,
    IMAGES,
    MASKS,
    SPLITS,
)
from wsss_lab.data.voc_export import PLAIN_NAME
from wsss_lab.errors import DataError

SPLIT, AUGMENTED_MASKS = "trainaug", "SegmentationClassAug"
COUNT = 10_582
VOC_COUNTS, SBD_COUNT = {"train": 1_464, "val": 1_449}, 11_355
FETCH_VOC = "run `wsss data voc`"


class Lists(NamedTuple):
    """Names by their list, each in its order: train and val of VOC 2012, train and val of SBD together."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    sbd: tuple[str, ...]


def voc_folder(root: str | os.PathLike) -> Path:
    """The folder with JPEGImages: `root`, or VOC2012 or VOCdevkit/VOC2012 in it. Raises DataError for none of them."""
    return _locate(Path(root), IMAGES, ("", "VOC2012", VOC_PLACE), "voc")


def sbd_folder(root: str | os.PathLike) -> Path:
    """The folder with cls: `root`, or dataset or benchmark_RELEASE/dataset in it. Raises DataError for none of them."""
    return _locate(Path(root), sbd.MATS, ("", "dataset", SBD_PLACE), "sbd")


def names_digest(names: Iterable[str]) -> str:
    """SHA-256 of the sorted names, one per line: what `LC_ALL=C sort trainaug.txt | sha256sum` prints.

    >>> names_digest(["b", "a"]) == hashlib.sha256(b"a\\nb\\n").hexdigest()
    True
    """
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()


def build_augmented(
    voc_root: str | os.PathLike,
    sbd_root: str | os.PathLike,
    out: str | os.PathLike,
    *,
    count: int = COUNT,
    digest: str | None = None,
    report: sbd.Report = sbd.silent,
) -> Path:
    """Write the augmented set in VOC layout, see above; a build that was interrupted goes on where it stopped.

    voc_root, sbd_root: as for `voc_folder` and `sbd_folder`
    count: how many names there must be    digest: what `names_digest` must give for them, if known
    out: a new or empty folder, or one that this function wrote from the same two folders
    report: progress, and the digest of the names at its end
    returns: out, whose splits train, val and trainaug have photographs, annotations and masks

    Files of VOC are not decoded: `VocFolder(out).check("trainaug")` reads them all. Raises DataError for missing files,
    counted, and for damaged ones of SBD, named, before a split list is written.
    """
    voc, boundaries, out = voc_folder(voc_root), sbd_folder(sbd_root), Path(out)
    lists = _read_lists(voc, boundaries)
    names = _augmented(lists, count, digest)
    own = (*lists.train, *lists.val)
    added = tuple(sorted(set(names) - set(own)))
    shown = (*own, *added)
    for folder, suffix, needed in ((IMAGES, ".jpg", shown), (ANNOTATIONS, ".xml", shown), (MASKS, ".png", own)):
        _require(voc / folder, suffix, needed, _fetch_voc(voc))
    _require(boundaries / sbd.MATS, ".mat", added, _fetch_sbd(boundaries))

    _claim(out, voc, boundaries)
    masks = out / AUGMENTED_MASKS
    _copy_files(voc / MASKS, masks, own, ".png")
    if added:
        sbd.convert_masks(boundaries / sbd.MATS, voc / IMAGES, masks, added, report)
    _link(masks, out / MASKS, shown, ".png")
    _link(voc / IMAGES, out / IMAGES, shown, ".jpg")
    _link(voc / ANNOTATIONS, out / ANNOTATIONS, shown, ".xml")
    _add_extras(voc, out)
    for split, listed in (("train", lists.train), ("val", lists.val), (SPLIT, names)):
        _write(out / SPLITS / f"{split}.txt", "".join(f"{name}\n" for name in listed))
    report(len(added), len(added), f"{SPLIT}: {len(names):,} names, sha256 {names_digest(names)}")
    return out


def _add_extras(voc: Path, out: Path) -> None:
    """Bring along what VOC itself doesn't have: names of other classes, maps of the surroundings."""
    for name in (CLASS_LIST, CONTEXT_LIST):
        if (voc / name).is_file():
            _write(out / name, (voc / name).read_text(encoding="utf-8"))
    if (voc / CONTEXTS).is_dir():
        _link(voc / CONTEXTS, out / CONTEXTS, sorted(listing(voc / CONTEXTS, ".png")), ".png")


def _fetch_voc(folder: Path) -> str:
    return f"run `{fetch_command('voc', folder, VOC_PLACE)}`"


def _fetch_sbd(folder: Path) -> str:
    return f"run `{fetch_command('sbd', folder, SBD_PLACE)}`"


def _locate(root: Path, wanted: str, places: Sequence[str], source: str) -> Path:
    found = next((root / place for place in places if (root / place / wanted).is_dir()), None)
    if found is None:
        raise DataError(
            f"{root}: no folder {wanted}" if root.is_dir() else f"no folder {root}",
            f"a folder with {wanted}, or with {' or '.join(f'{place}/{wanted}' for place in places if place)}",
            f"run `{fetch_command(source, root)}`",
        )
    return found


def _read_lists(voc: Path, boundaries: Path) -> Lists:
    of_voc = [_read_names(voc / SPLITS / f"{split}.txt", _fetch_voc(voc)) for split in ("train", "val")]
    of_sbd = [_read_names(boundaries / f"{split}.txt", _fetch_sbd(boundaries)) for split in ("train", "val")]
    return Lists(*of_voc, of_sbd[0] + of_sbd[1])


def _read_names(path: Path, fetch: str) -> tuple[str, ...]:
    try:
        names = read_list(path)
        each_once(path, names)
    except DataError as error:
        raise DataError(error.problem, error.expected, fetch) from error
    if odd := [name for name in names if not PLAIN_NAME.fullmatch(name)]:
        raise DataError(f"{path} has names like {some(odd)}", "image names without folder and suffix, one per line",
                        f"remove it, and {fetch}")
    return names


def _augmented(lists: Lists, count: int, digest: str | None) -> tuple[str, ...]:
    names = tuple(sorted((set(lists.sbd) - set(lists.val)) | set(lists.train)))
    if len(names) != count:
        voc_is_whole = len(lists.train) == VOC_COUNTS["train"] and len(lists.val) == VOC_COUNTS["val"]
        raise DataError(
            f"the augmented list has {len(names):,} names, not {count:,}: VOC train has {len(lists.train):,}, "
            f"VOC val {len(lists.val):,}, SBD train and val {len(set(lists.sbd)):,}",
            f"the lists of VOC 2012 ({VOC_COUNTS['train']:,} and {VOC_COUNTS['val']:,}) and of SBD ({SBD_COUNT:,})",
            sbd.FETCH if voc_is_whole else FETCH_VOC,
        )
    if digest is not None and names_digest(names) != digest.lower():
        raise DataError(
            f"the augmented list has {count:,} names, but others: their SHA-256 is {names_digest(names)}",
            digest,
            f"compare the lists; to fetch them again, {FETCH_VOC} and `wsss data sbd`",
        )
    return names


def _require(folder: Path, suffix: str, names: Sequence[str], fetch: str) -> None:
    present = listing(folder, suffix)
    missing = [name for name in names if name not in present]
    if missing:
        raise DataError(
            f"{folder}: {len(missing):,} of {len(names):,} files are missing: {some(missing)}",
            f"one <name>{suffix} per name of the lists",
            fetch,
        )


def _claim(out: Path, voc: Path, boundaries: Path) -> None:
    """Make `out` ours. Masks of another source, kept because they are there, would go unnoticed: refused."""
    marker, content = out / AUGMENTED_MARKER, f"{voc.resolve()}\n{boundaries.resolve()}\n"
    if marker.is_file():
        problem = "was built from other folders" if marker.read_text(encoding="utf-8") != content else ""
    elif out.is_dir():
        problem = "is not empty and was not written by this build" if any(out.iterdir()) else ""
    else:
        problem = "is a file" if out.exists() else ""
    if problem:
        raise DataError(f"{out} {problem}", "a new or empty folder", "choose another folder, or remove this one")
    out.mkdir(parents=True, exist_ok=True)
    _write(marker, content)


def _link(source: Path, place: Path, names: Sequence[str], suffix: str) -> None:
    """Make `place` a link to the folder `source`, or, where that fails, a folder with copies of the named files."""
    if place.is_symlink():
        if place.exists() and place.samefile(source):
            return
        place.unlink()
    if not place.is_dir():
        # Beside each other, so that both can be moved together.
        target = Path(source.name) if source.parent == place.parent else source.resolve()
        try:
            place.symlink_to(target, target_is_directory=True)
            return
        except (OSError, NotImplementedError):
            pass  # no links on this file system, or no right to make them
    _copy_files(source, place, names, suffix)


def _copy_files(source: Path, target: Path, names: Sequence[str], suffix: str) -> None:
    """Copy files, times included; those that are there with the same size and time are kept."""
    target.mkdir(parents=True, exist_ok=True)
    there, present = listing(source, suffix), listing(target, suffix)
    for name in names:
        if name not in present or present[name][1:] != there[name][1:]:
            path = target / f"{name}{suffix}"
            part = _part(path)
            shutil.copy2(source / there[name].name, part)
            os.replace(part, path)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    part.write_text(text, encoding="utf-8", newline="\n")
    os.replace(part, path)


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.part")
