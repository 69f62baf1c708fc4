"""Saliency maps made elsewhere, read from a folder: one file per image, `<name>.png` or `<name>.npy`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsss_lab.errors import DataError


def read_saliency(folder: Path | str, name: str, size: tuple[int, int]) -> np.ndarray:
    """The saliency map of one image.

    folder: where the maps lie    name: of the image, without extension    size: (H, W) of the image
    returns: float32 (H, W) in [0, 1]

    A PNG is grey, of 8 or 16 bits. A .npy array holds numbers in [0, 1] or, if any of them is above 1, in
    0..255; 8-bit integers are always 0..255. Raises DataError naming the file where it is missing, cannot be
    read, is of another size than the image, or holds other values.
    """
    path = _find(Path(folder), name)
    values = _read_png(path) if path.suffix == ".png" else _read_npy(path)
    if values.shape != tuple(size):
        raise DataError(
            f"saliency map {path} has shape {values.shape}",
            f"{tuple(size)} (height, width), as its image",
            "compute it again on this image, or resize it",
        )
    return values


def _find(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise DataError(f"no folder {folder} with saliency maps", "a folder with <name>.png or <name>.npy files")
    for suffix in (".png", ".npy"):
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise DataError(
        f"no saliency map for image {name!r} in {folder}",
        f"{name}.png or {name}.npy",
        "compute the map of this image, or leave the image out of the split",
    )


def _read_png(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            mode, values = image.mode, np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise _unreadable(path, error) from error
    if values.ndim != 2 or mode == "P":
        raise DataError(f"saliency map {path} is not grey (mode {mode})", "a grey PNG of 8 or 16 bits")
    if mode == "1":
        return values.astype(np.float32)
    return (values / (255 if mode == "L" else 65535)).astype(np.float32)


def _read_npy(path: Path) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error
    if not (values.size and np.issubdtype(values.dtype, np.number) and np.isrealobj(values)):
        raise DataError(f"saliency map {path} holds {values.dtype} {values.shape}", "real numbers (H, W)")
    lowest, highest = values.min(), values.max()  # NaN if there is one, and then no comparison holds
    if not (lowest >= 0 and highest <= 255):
        raise DataError(
            f"saliency map {path} holds values from {lowest:g} to {highest:g}",
            "values in [0, 1] or in 0..255",
            "scale the map",
        )
    scale = 255 if values.dtype == np.uint8 or highest > 1 else 1
    return (values / scale).astype(np.float32)


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"saliency map {path} cannot be read ({error})", "an undamaged file", "compute it again")
