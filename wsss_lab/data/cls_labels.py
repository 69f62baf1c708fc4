"""Image-level labels from cls_labels.npy, as PSA (Ahn and Kwak 2018), IRN, SEAM and EPS (Lee et al. 2021) ship them.

The file is a pickle in the clothes of an array: a dictionary from image names to vectors of 20. Loading a pickle runs
whatever code it names, and even NumPy's own functions believe what it says about memory. So nothing it names is called
here: its values become inert `_Part`s, from which names and numbers are then read.
"""

import os
import pickle
import re
from pathlib import Path

import numpy as np

from wsss_lab.data.folder import VOC_CLASSES
from wsss_lab.data.voc_export import PLAIN_NAME
from wsss_lab.errors import DataError

EXPECTED = f"a dictionary from image names to vectors of {len(VOC_CLASSES)} zeros and ones, saved by numpy.save"
FIX = "take the file from the released code again"
NUMBER = re.compile(r"b1|[iu][1248]|f[248]")
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_cls_labels(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The labels of each image: bool (20,), in the order of VOC's classes, by names such as "2007_000032".

    Keys of the file are such names, or integers such as 2007000032 for them. Runs no code of the file. Raises DataError
    for a file that is missing or damaged, that names anything besides NumPy's arrays and numbers, and for other keys,
    shapes and values.
    """
    path = Path(path)
    labels: dict[str, np.ndarray] = {}
    for key, part in _load(path).items():
        name = _image_name(path, key)
        if name in labels:
            raise DataError(f"{path} has labels for {name} twice", "one vector per image", FIX)
        labels[name] = _vector(path, name, part)
    return labels


class _Part:
    """A value as the pickle describes it, from arguments and state; nothing is done with them."""

    arguments, state = (), ()

    def __init__(self, *arguments):
        self.arguments = arguments

    def __setstate__(self, state):
        self.state = state


class _Array(_Part):
    """state: version, shape, type, is-Fortran, data"""


class _Type(_Part):
    """arguments: kind and bytes, as "f4", and two flags    state: version, byte order, ..."""


class _Scalar(_Part):
    """arguments: type, data"""


class _Bytes(_Part):
    """arguments: text, "latin1": how protocol 2, of older NumPy, writes bytes"""


KNOWN = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Bytes,
} | {
    (f"numpy.{core}.multiarray", name): part
    for core in ("core", "_core")  # before and since NumPy 2
    for name, part in (("_reconstruct", _Array), ("scalar", _Scalar))
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Part]:
        if (module, name) not in KNOWN:
            raise _Refused(f"{module}.{name}")
        return KNOWN[module, name]


class _Refused(Exception):
    pass


def _load(path: Path) -> dict:
    try:
        with open(path, "rb") as file:
            header = HEADERS[np.lib.format.read_magic(file)](file)
            content = _Reader(file).load().state[-1][0] if header[-1].hasobject else None
    except FileNotFoundError as error:
        raise DataError(f"no file {path}", EXPECTED, FIX) from error
    except _Refused as error:
        raise DataError(
            f"{path} asks to call {error}; nothing was called",
            EXPECTED,
            "don't use this file: labels don't need that",
        ) from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{path} cannot be read: {type(error).__name__}: {error}", EXPECTED, FIX) from error
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path} holds no dictionary, or an empty one", EXPECTED, FIX)
    return content


def _image_name(path: Path, key: object) -> str:
    if isinstance(key, str) and PLAIN_NAME.fullmatch(key):
        return key
    if isinstance(key, _Scalar):
        key = _number(key)
    if isinstance(key, int) and 10**9 <= key < 10**10:
        return f"{str(key)[:4]}_{str(key)[4:]}"  # year and number
    shown = repr(key[:80]) if isinstance(key, str) else f"of type {type(key).__name__}, or a number of another form"
    raise DataError(f"{path} has a key {shown}", 'names such as "2007_000032", or integers such as 2007000032', FIX)


def _vector(path: Path, name: str, part: object) -> np.ndarray:
    expected = f"a vector of {len(VOC_CLASSES)} zeros and ones"
    try:
        _, shape, kind, _, data = part.state
        values = np.frombuffer(_bytes(data), _type(kind)).reshape(shape)
    except Exception as error:  # whatever is wrong with what the pickle said about it
        raise DataError(f"{path}: the value of {name} is no array of numbers", expected, FIX) from error
    if values.shape != (len(VOC_CLASSES),):
        raise DataError(f"{path}: the labels of {name} have the shape {values.shape}", expected, FIX)
    if not np.isin(values, (0, 1)).all():
        raise DataError(f"{path}: the labels of {name} have values other than 0 and 1", expected, FIX)
    return values.astype(bool)


def _number(part: _Scalar) -> object:
    try:
        kind, data = part.arguments
        return np.frombuffer(_bytes(data), _type(kind)).item()
    except Exception:  # as above; the caller shows the part as it is
        return part


def _type(part: _Type) -> np.dtype:
    if not NUMBER.fullmatch(part.arguments[0]):
        raise ValueError(f"values of type {part.arguments[0]}")
    return np.dtype(part.state[1] + part.arguments[0])


def _bytes(data: bytes | _Bytes) -> bytes:
    return data if isinstance(data, bytes) else data.arguments[0].encode("latin1")
