"""Saliency maps made elsewhere, read from a folder: one file per image, `<name>.png` or `<name>.npy`."""

import contextlib
from pathlib import Path

import numpy as np

from wsss_lab.data.files import File, listing
from wsss_lab.errors import DataError

#: What the largest value of a map stands for can be read off all maps of a folder alone: one map may be nearly empty.
SCALES = (1, 255, 65535)
ABOVE = 1.001  # of a scale: floating-point numbers may be a little above


class SaliencyMaps:
    """A folder of maps: grey PNGs of 8 or 16 bits, or .npy arrays.

    Their values are in [0, 1], in 0..255 or, 16-bit integers, in 0..65535: in the first of these ranges that holds for
    all files of the folder with the same suffix and type of numbers. Files are read when a map asks for it.
    Raises DataError without the folder.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError(f"no folder {self.folder} with saliency maps",
                            "a folder with <name>.png or <name>.npy files")
        self._names = files_of(self.folder)
        self._scales: dict[tuple[str, np.dtype], int] = {}

    def read(self, name: str, size: tuple[int, int]) -> np.ndarray:
        """The map of one image, float32 (H, W) in [0, 1].

        name: of the image, without extension. size: (H, W) of the image. Raises DataError naming the file where it is
        missing, cannot be read, is of another size than the image, or holds other values.
        """
        suffix = next((suffix for suffix, found in self._names.items() if name in found), None)
        if suffix is None:
            raise DataError(f"no saliency map for image {name!r} in {self.folder}", f"{name}.png or {name}.npy",
                            "compute the map of this image, or leave the image out of the split")
        path = self.folder / self._names[suffix][name].name
        values = _read(path)
        if values.shape != tuple(size):
            raise DataError(f"saliency map {path} has shape {values.shape}",
                            f"{tuple(size)} (height, width), as its image",
                            "compute it again on this image, or resize it")
        return (values / self._scale(suffix, values)).clip(0, 1).astype(np.float32)

    def _scale(self, suffix: str, values: np.ndarray) -> int:
        """The scale of all files of a suffix and type of numbers; files that can't be read are told at their turn."""
        kind = suffix, values.dtype
        if kind not in self._scales:
            largest = max(scale for scale in SCALES if scale <= _largest(values.dtype))
            scale = _scale_of(values)
            for file in self._names[suffix].values():
                if scale == largest:
                    break
                with contextlib.suppress(DataError):
                    other = _read(self.folder / file.name)
                    scale = max(scale, _scale_of(other)) if other.dtype == values.dtype else scale
            self._scales[kind] = scale
        return self._scales[kind]


def read_saliency(folder: Path | str, name: str, size: tuple[int, int]) -> np.ndarray:
    """The map of one image of a folder, as `SaliencyMaps` reads it: float32 (H, W) in [0, 1]."""
    return SaliencyMaps(folder).read(name, size)


def files_of(folder: Path) -> dict[str, dict[str, File]]:
    """The maps of a folder: suffix -> image -> file."""
    return {suffix: listing(folder, suffix) for suffix in (".png", ".npy")}


def _scale_of(values: np.ndarray) -> int:
    return next(scale for scale in SCALES if values.max() <= scale * ABOVE)


def _largest(kind: np.dtype) -> int:
    """What values of a type may be at most."""
    return 1 if kind.kind == "b" else SCALES[-1] if kind == np.uint16 else 255


def _read(path: Path) -> np.ndarray:
    """The numbers of a file, as they are: bool, uint8, uint16, other integers or floating-point, (H, W)."""
    from PIL import Image

    mode = ""
    try:
        if path.suffix.lower() == ".png":
            with Image.open(path) as image:
                mode, values = image.mode, np.asarray(image)
        else:
            values = np.load(path, allow_pickle=False)
            if not isinstance(values, np.ndarray):
                raise ValueError("it is an archive of arrays")
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"saliency map {path} cannot be read ({error})", "an undamaged file",
                        "compute it again") from error
    if mode == "P" or mode and values.ndim != 2:
        raise DataError(f"saliency map {path} is not grey (mode {mode})", "a grey PNG of 8 or 16 bits")
    if not (values.size and values.dtype.kind in "buif"):
        raise DataError(f"saliency map {path} holds {values.dtype} {values.shape}", "real numbers (H, W)")
    if mode not in ("", "1", "L"):
        values = values.astype(np.uint16)
    lowest, highest = values.min(), values.max()  # NaN if there is one, and then no comparison holds
    if not (lowest >= 0 and highest <= _largest(values.dtype) * ABOVE):
        raise DataError(f"saliency map {path} holds values from {lowest:g} to {highest:g}",
                        "values in [0, 1] or in 0..255", "scale the map")
    return values
