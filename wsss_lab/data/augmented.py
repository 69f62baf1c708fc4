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

SBD's masks come as MATLAB files; they are coarser than those of VOC 2012, whose photographs SBD shares:

    cls/<name>.mat         a struct GTcls: Segmentation, labels 0..20 as in VOC, without void;
                           Boundaries, one sparse map for each of the 20 classes
    train.txt, val.txt     names, 8,498 and 2,857
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from wsss_lab.data import files
from wsss_lab.data.folder import ANNOTATIONS, CLASS_LIST, CONTEXT_LIST, CONTEXTS, IMAGES, MASKS, SPLITS, VOC_CLASSES
from wsss_lab.data.pixels import image_size
from wsss_lab.data.voc_export import PLAIN_NAME, write_labels
from wsss_lab.errors import DataError

SPLIT, AUGMENTED_MASKS, MATS = "trainaug", "SegmentationClassAug", "cls"
COUNT = 10_582
VOC_COUNTS, SBD_COUNT = {"train": 1_464, "val": 1_449}, 11_355
FETCH_SBD = "run `wsss data sbd`"
UPDATES = 100  # how often a long conversion reports, at most
Report = Callable[[int, int, str], object]  # (done, total, line), first with done = 0


def names_digest(names: Iterable[str]) -> str:
    """SHA-256 of the sorted names, one per line: what `LC_ALL=C sort trainaug.txt | sha256sum` prints.

    >>> names_digest(["b", "a"]) == hashlib.sha256(b"a\\nb\\n").hexdigest()
    True
    """
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()


def build_augmented(voc_root: str | os.PathLike, sbd_root: str | os.PathLike, out: str | os.PathLike, *,
                    count: int = COUNT, report: Report = lambda done, total, line: None) -> Path:
    """Write the augmented set in VOC layout, see above; a build that was interrupted goes on where it stopped.

    voc_root: the folder with JPEGImages, or one that has it in VOC2012 or VOCdevkit/VOC2012
    sbd_root: the folder with cls, or one that has it in dataset or benchmark_RELEASE/dataset
    count: how many names there must be
    out: a new or empty folder, or one that this function wrote from the same two folders
    report: progress, and the digest of the names at its end
    returns: out, whose splits train, val and trainaug have photographs, annotations and masks

    Files of VOC are not decoded: `VocFolder(out).check("trainaug")` reads them all. Raises DataError for missing files,
    counted, and for damaged ones of SBD, named, before a split list is written.
    """
    voc = _locate(Path(voc_root), IMAGES, ("", "VOC2012", files.VOC_PLACE), "voc")
    boundaries = _locate(Path(sbd_root), MATS, ("", "dataset", files.SBD_PLACE), "sbd")
    fetch_voc, fetch_sbd = (f"run `{files.fetch_command(source, folder, place)}`" for source, folder, place in (
        ("voc", voc, files.VOC_PLACE), ("sbd", boundaries, files.SBD_PLACE)))
    train, val = (_read_names(voc / SPLITS / f"{split}.txt", fetch_voc) for split in ("train", "val"))
    listed = {name for split in ("train", "val") for name in _read_names(boundaries / f"{split}.txt", fetch_sbd)}
    names = tuple(sorted((listed - set(val)) | set(train)))
    if len(names) != count:
        voc_is_whole = [len(train), len(val)] == list(VOC_COUNTS.values())
        raise DataError(
            f"the augmented list has {len(names):,} names, not {count:,}: VOC train has {len(train):,}, "
            f"VOC val {len(val):,}, SBD train and val {len(listed):,}",
            f"the lists of VOC 2012 ({VOC_COUNTS['train']:,} and {VOC_COUNTS['val']:,}) and of SBD ({SBD_COUNT:,})",
            FETCH_SBD if voc_is_whole else "run `wsss data voc`")
    own = (*train, *val)
    added = tuple(sorted(set(names) - set(own)))
    shown = (*own, *added)
    for folder, suffix, needed, fetch in (
            (voc / IMAGES, ".jpg", shown, fetch_voc), (voc / ANNOTATIONS, ".xml", shown, fetch_voc),
            (voc / MASKS, ".png", own, fetch_voc), (boundaries / MATS, ".mat", added, fetch_sbd)):
        present = files.listing(folder, suffix)
        if missing := [name for name in needed if name not in present]:
            raise DataError(f"{folder}: {len(missing):,} of {len(needed):,} files are missing: {files.some(missing)}",
                            f"one <name>{suffix} per name of the lists", fetch)

    out, masks = Path(out), Path(out) / AUGMENTED_MASKS
    _claim(out, voc, boundaries)
    _copy_files(voc / MASKS, masks, own, ".png")
    if added:
        convert_masks(boundaries / MATS, voc / IMAGES, masks, added, report)
    for source, place, needed, suffix in (
            (masks, MASKS, shown, ".png"), (voc / IMAGES, IMAGES, shown, ".jpg"),
            (voc / ANNOTATIONS, ANNOTATIONS, shown, ".xml"),
            (voc / CONTEXTS, CONTEXTS, sorted(files.listing(voc / CONTEXTS, ".png")), ".png")):
        if source.is_dir():
            _link(source, out / place, needed, suffix)
    for name in (CLASS_LIST, CONTEXT_LIST):
        if (voc / name).is_file():
            files.write_lines(out / name, (voc / name).read_text(encoding="utf-8").splitlines())
    for split, of_split in (("train", train), ("val", val), (SPLIT, names)):
        files.write_lines(out / SPLITS / f"{split}.txt", of_split)
    report(len(added), len(added), f"{SPLIT}: {len(names):,} names, sha256 {names_digest(names)}")
    return out


def _locate(root: Path, wanted: str, places: Sequence[str], source: str) -> Path:
    for place in places:
        if (root / place / wanted).is_dir():
            return root / place
    raise DataError(f"{root}: no folder {wanted}" if root.is_dir() else f"no folder {root}",
                    f"a folder with {wanted}, or with {' or '.join(f'{place}/{wanted}' for place in places if place)}",
                    f"run `{files.fetch_command(source, root)}`")


def _read_names(path: Path, fetch: str) -> tuple[str, ...]:
    try:
        names = files.read_list(path)
        files.each_once(path, names)
    except DataError as error:
        raise DataError(error.problem, error.expected, fetch) from error
    if odd := [name for name in names if not PLAIN_NAME.fullmatch(name)]:
        raise DataError(f"{path} has names like {files.some(odd)}", "image names without folder and suffix",
                        f"remove it, and {fetch}")
    return names


def _claim(out: Path, voc: Path, boundaries: Path) -> None:
    """Make `out` ours. Masks of another source, kept because they are there, would go unnoticed: refused."""
    marker, origins = out / files.AUGMENTED_MARKER, [str(voc.resolve()), str(boundaries.resolve())]
    if marker.is_file():
        problem = "was built from other folders" if marker.read_text("utf-8").splitlines() != origins else ""
    elif out.is_dir():
        problem = "is not empty and was not written by this build" if any(out.iterdir()) else ""
    else:
        problem = "is a file" if out.exists() else ""
    if problem:
        raise DataError(f"{out} {problem}", "a new or empty folder", "choose another folder, or remove this one")
    files.write_lines(marker, origins)


def _link(source: Path, place: Path, names: Sequence[str], suffix: str) -> None:
    """Make `place` a link to the folder `source`, or, where that fails, a folder with copies of the named files."""
    if place.is_symlink():
        if place.exists() and place.samefile(source):
            return
        place.unlink()
    if not place.is_dir():
        # Beside each other, so that both can be moved together.
        target = Path(source.name) if source.parent == place.parent else source.resolve()
        with suppress(OSError, NotImplementedError):  # no links on this file system, or no right to make them
            return place.symlink_to(target, target_is_directory=True)
    _copy_files(source, place, names, suffix)


def _copy_files(source: Path, target: Path, names: Sequence[str], suffix: str) -> None:
    """Copy files, times included; those that are there with the same size and time are kept."""
    there, present = files.listing(source, suffix), files.listing(target, suffix)
    for name in names:
        if name not in present or present[name][1:] != there[name][1:]:
            with files.whole(target / f"{name}{suffix}") as part:
                shutil.copy2(source / there[name].name, part)


# ---------------------------------------------------------------------------------------------------------------------
# Masks of SBD.


def read_sbd_labels(path: str | os.PathLike, size: tuple[int, int]) -> np.ndarray:
    """The mask of a .mat file, uint8 (H, W): 0 background, 1..20 the classes of VOC in alphabetical order.

    size: (H, W) of the photograph. Raises DataError for a file that is missing, damaged, no SBD mask, of another size,
    or with other labels.
    """
    from scipy.io import loadmat

    path = Path(path)
    if not path.is_file():
        raise DataError(f"no file {path}", "one .mat file per image of SBD", FETCH_SBD)
    try:
        labels = loadmat(path, appendmat=False, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
    except Exception as error:  # the parser passes on whatever a damaged byte leads it to
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not isinstance(labels, np.ndarray) or labels.dtype != np.uint8 or labels.ndim != 2:
        raise _damaged(path, "GTcls.Segmentation is no matrix of type uint8")
    if labels.shape != tuple(size):
        raise DataError(f"{path} is {labels.shape[1]}x{labels.shape[0]} pixels, its photograph {size[1]}x{size[0]}",
                        "the size of the photograph", f"remove it, and {FETCH_SBD}")
    if labels.max() > len(VOC_CLASSES):
        raise _damaged(path, f"it has the label {labels.max()}, and SBD's labels end at {len(VOC_CLASSES)}")
    return np.ascontiguousarray(labels)


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is damaged or no mask of SBD: {reason}",
                     f"a MATLAB 5 file with GTcls.Segmentation (uint8, 0..{len(VOC_CLASSES)}) and GTcls.Boundaries",
                     f"remove it, and {FETCH_SBD}")


def convert_masks(mats: Path, images: Path, out: Path, names: Sequence[str], report: Report) -> None:
    """Write the masks of .mat files as PNGs with VOC's palette; those already there are kept, so it can be resumed.

    mats, images: folders with <name>.mat and <name>.jpg    out: folder for <name>.png, made if need be
    report: progress, at most about a hundred calls

    A file appears under its name when it is complete. All sound files are converted before one DataError names those
    that are not: a missing photograph, and whatever `read_sbd_labels` refuses.
    """
    present = files.listing(out, ".png")
    left = [name for name in names if name not in present]
    report(0, len(left), f"{len(left):,} masks of SBD to convert, {len(names) - len(left):,} already there")
    problems, step = [], max(1, len(left) // UPDATES)
    for done, name in enumerate(left, start=1):
        try:
            write_labels(out / f"{name}.png", read_sbd_labels(mats / f"{name}.mat", image_size(images / f"{name}.jpg")))
        except DataError as error:
            problems.append(f"\n  - {error.problem}")
        if done % step == 0 or done == len(left):
            report(done, len(left), name)
    if problems:
        raise DataError(
            f"{mats}: {len(problems):,} of {len(names):,} masks cannot be converted{''.join(problems)}",
            "sound .mat files and photographs of the same size",
            f"remove these files, {FETCH_SBD} (photographs: `wsss data voc`), and convert again: the others are kept")
