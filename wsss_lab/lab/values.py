"""Files of a stored step: one per output, in the plainest format that holds the value and doesn't waste room."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wsss_lab.errors import ParameterError
from wsss_lab.lab import packed


def write_value(folder: Path, name: str, value: Any) -> Path:
    """Write one output and return the file: arrays as .npy, compressed where that saves much, anything with tensors as
    .pt, the rest as .json. Raises ParameterError for a value none of the three can hold."""
    if not name.isidentifier():
        raise ParameterError(f"output name {name!r} is not a name", expected="a name such as 'masks'")
    if isinstance(value, np.ndarray | packed.Packed):
        value = np.asarray(value)
        if value.dtype.hasobject:
            raise ParameterError(f"output {name!r} is an array of Python objects",
                                 expected="numbers, booleans or text of a fixed length")
        if packed.is_worth_packing(value):
            packed.write(path := folder / f"{name}{packed.SUFFIX}", value)
        else:
            np.save(path := folder / f"{name}.npy", value, allow_pickle=False)
        return path
    plain, tensors = _detached(value)
    if tensors:
        import torch

        torch.save(plain, path := folder / f"{name}.pt")
        return path
    path = folder / f"{name}.json"
    try:
        text = json.dumps(value, default=_from_numpy)
    except (TypeError, ValueError) as problem:
        raise ParameterError(f"output {name!r} cannot be stored: {problem}",
                             expected="an array, tensors in dicts and lists, or plain JSON values",
                             fix="return each array as an output of its own") from None
    path.write_text(text)
    return path


def read_value(path: Path) -> Any:
    """Read one output; arrays come back read-only, as memory maps or row by row, tensors on the CPU."""
    if path.name.endswith(packed.SUFFIX):
        return packed.Packed(path)
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r", allow_pickle=False)
    if path.suffix == ".json":
        return json.loads(path.read_text())
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)


def _detached(value: Any) -> tuple[Any, bool]:
    """Copy with every tensor on the CPU, without its history or the rest of a larger buffer behind it; and whether
    there is any. JSON results shall not import torch, so a tensor is told by where its type comes from."""
    if isinstance(value, Mapping):
        items, tensors = _detached(list(value.values()))
        return dict(zip(value, items)), tensors
    if isinstance(value, (list, tuple)):
        found = [_detached(item) for item in value]
        return [item for item, _ in found], any(tensors for _, tensors in found)
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        return value.detach().cpu().clone(), True
    return value, False


def _from_numpy(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} inside it is not plain JSON")
