"""SBD, the Semantic Boundaries Dataset (Hariharan et al. 2011): its masks, which come as MATLAB files.

    cls/<name>.mat         a struct GTcls: Segmentation, labels 0..20 as in VOC, without void;
                           Boundaries, one sparse map for each of the 20 classes
    train.txt, val.txt     names, 8,498 and 2,857

The photographs are VOC's, under the names they have there. SBD's masks are coarser than those of VOC 2012.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from wsss_lab.data.files import listing
from wsss_lab.data.folder import VOC_CLASSES
from wsss_lab.data.pixels import image_size
from wsss_lab.data.voc_export import write_labels
from wsss_lab.errors import DataError

MATS = "cls"
FETCH = "run `wsss data sbd`"
UPDATES = 100  # how often a long conversion reports, at most
Report = Callable[[int, int, str], object]  # (done, total, line), first with done = 0


def read_sbd_labels(path: str | os.PathLike, size: tuple[int, int]) -> np.ndarray:
    """The mask of a .mat file, uint8 (H, W): 0 background, 1..20 the classes of VOC in alphabetical order.

    size: (H, W) of the photograph. Raises DataError for a file that is missing, damaged, no SBD mask, of another size,
    or with other labels.
    """
    from scipy.io import loadmat

    path = Path(path)
    if not path.is_file():
        raise DataError(f"no file {path}", "one .mat file per image of SBD", FETCH)
    try:
        labels = loadmat(path, appendmat=False, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
    except Exception as error:  # the parser passes on whatever a damaged byte leads it to
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not isinstance(labels, np.ndarray) or labels.dtype != np.uint8 or labels.ndim != 2:
        raise _damaged(path, "GTcls.Segmentation is no matrix of type uint8")
    if labels.shape != tuple(size):
        raise DataError(f"{path} is {labels.shape[1]}x{labels.shape[0]} pixels, its photograph {size[1]}x{size[0]}",
                        "the size of the photograph", f"remove it, and {FETCH}")
    if labels.max() > len(VOC_CLASSES):
        raise _damaged(path, f"it has the label {labels.max()}, and SBD's labels end at {len(VOC_CLASSES)}")
    return np.ascontiguousarray(labels)


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is damaged or no mask of SBD: {reason}",
                     f"a MATLAB 5 file with GTcls.Segmentation (uint8, 0..{len(VOC_CLASSES)}) and GTcls.Boundaries",
                     f"remove it, and {FETCH}")


def convert_masks(mats: Path, images: Path, out: Path, names: Sequence[str], report: Report) -> None:
    """Write the masks of .mat files as PNGs with VOC's palette; those already there are kept, so it can be resumed.

    mats, images: folders with <name>.mat and <name>.jpg    out: folder for <name>.png, made if need be
    report: progress, at most about a hundred calls

    A file appears under its name when it is complete. All sound files are converted before one DataError names those
    that are not: a missing photograph, and whatever `read_sbd_labels` refuses.
    """
    present = listing(out, ".png")
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
            f"remove these files, {FETCH} (photographs: `wsss data voc`), and convert again: the others are kept")
