"""The profile lesson: trainings are answered by networks of the profile toy that come with the package.

The file, found by `wsss_lab.lab.trained.find`, is a state dict: for each training the bytes of its tensors, rounded,
and "about" with all else, JSON (`wsss_lab.lab.lesson_file` writes it). A training is found by what it was told (see
`told`), not by its code nor by how many images there are: a lesson looks at a few of those that were learnt from.
"""

import functools
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data.files import whole
from wsss_lab.errors import LabError, WeightsError
from wsss_lab.lab.steps import Output, Step, nested
from wsss_lab.lab.store import FORMAT, Store
from wsss_lab.lab.trained import find, restored, rounded
from wsss_lab.networks.weights import read_weights

FILE, ABOUT = "lesson_networks.pth", "about"
DIGITS = 4  # of the numbers that a training gives beside its weights: losses of every iteration

#: What a training has given, packed: bytes of its tensors, uint8 (n,); `tensors` (name, dtype and shape of each, in
#: their order), `plain` (its other outputs), and what else is known of it: `label`, `made`, `score`.
Network = tuple[np.ndarray, dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Kept(Step):
    """A training whose outputs are in a file, so that nothing that it learns from has to be there. path: of the file.
    name: of the network in it. digest: of the network's bytes."""

    path: str = ""
    name: str = ""
    digest: str = ""
    trains, parents = False, ()

    @functools.cached_property
    def key(self) -> str:
        return hashlib.blake2b(f"{FORMAT} {self.name} {self.digest}".encode(), digest_size=16).hexdigest()

    def call(self, store: Store) -> dict[str, Any]:
        return unpack(*read(Path(self.path))[self.name])


def answered(step: Step) -> Step:
    """The step, or in the place of a training that the file has one that takes its outputs from there. Raises
    WeightsError where there is no such file, or a damaged one."""
    if not step.trains:
        return step
    path, name = find(FILE), told(step)
    if name not in (networks := read(path)):
        return step
    digest = hashlib.blake2b(networks[name][0], digest_size=16).hexdigest()
    return Kept(step.stage, step.function, step.settings, step.inputs, step.label, "; ".join(step.pixel_labels()),
                step.mask_outputs, str(path), name, digest)


@functools.cache
def told(step: Step) -> str:
    """A hash of what a step is told: its function's name, its settings and those of the steps that it takes inputs
    from; neither code nor numbers of drawn images have a part in it."""
    settings = {name: value for name, value in step.settings.items() if (step.stage, name) != ("data", "count")}
    inputs = {name: nested(value, _told) for name, value in step.inputs.items()}
    text = json.dumps([step.stage, step.function.__qualname__, settings, inputs], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _told(value: Any) -> Any:
    if isinstance(value, Step | Output):
        return told(value) if isinstance(value, Step) else [told(value.step), value.name]
    if steps := value.steps:  # a split of a drawn world
        return [value.split, value.exposes_masks, *map(told, steps)]
    return value.key


def pack(outputs: Mapping[str, Any]) -> Network:
    """Outputs of a training: tensors of state dicts in 8 and 16 bits (see `rounded`), others in DIGITS digits."""
    arrays: dict[str, np.ndarray] = {}
    plain = {}
    for output, value in outputs.items():
        if isinstance(value, Mapping) and value and all(isinstance(each, Tensor) for each in value.values()):
            for name, each in value.items():
                arrays |= {part: small.numpy() for part, small in rounded(f"{output}/{name}", each).items()}
        else:
            plain[output] = _short(value)
    data = np.frombuffer(b"".join(array.tobytes() for array in arrays.values()), np.uint8)
    return data, {"plain": plain, "tensors": [[name, array.dtype.str, array.shape] for name, array in arrays.items()]}


def _short(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _short(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(each) for each in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def unpack(data: np.ndarray, about: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `pack`, but for rounding. Raises ValueError for bytes that don't fit, or aren't finite numbers."""
    place, packed = 0, {}
    for name, kind, shape in about["tensors"]:
        array = np.frombuffer(data, kind, int(np.prod(shape)), place).reshape(shape)
        packed[name], place = torch.from_numpy(array.copy()), place + array.nbytes
    if place != len(data):
        raise ValueError(f"{len(data) - place} bytes too many")
    outputs = dict(about["plain"])
    for name, value in restored(packed).items():
        if not value.isfinite().all():
            raise ValueError(f"{name} isn't finite")
        output, _, own = name.partition("/")
        outputs.setdefault(output, {})[own] = value
    return outputs


def save(path: Path, networks: Mapping[str, Network]) -> None:
    """Write networks by their names (see `told`); the file appears whole or not at all."""
    about = json.dumps({name: facts for name, (_, facts) in networks.items()}, sort_keys=True)
    parts = {name: data for name, (data, _) in networks.items()}
    parts[ABOUT] = np.frombuffer(zlib.compress(about.encode(), 9), np.uint8)
    with whole(path) as part:
        torch.save({name: torch.from_numpy(data.copy()) for name, data in parts.items()}, part)


def read(path: Path | None) -> dict[str, Network]:
    """The networks of a file by their names. Raises WeightsError, with the ways out, where it is missing or damaged."""
    return _read(path, path.stat().st_mtime_ns if path and path.is_file() else 0)


@functools.lru_cache(maxsize=2)
def _read(path: Path | None, changed: int) -> dict[str, Network]:
    try:
        parts = {name: value.numpy() for name, value in read_weights(path or FILE).items()}
        about = json.loads(zlib.decompress(parts.pop(ABOUT)))
        networks = {name: (parts[name], facts) for name, facts in about.items()}
        for network in networks.values():
            unpack(*network)
        return networks
    except (LabError, LookupError, TypeError, ValueError, AttributeError, zlib.error) as error:
        problem = getattr(error, "problem", f"'{path}' holds no networks for lessons ({type(error).__name__}: {error})")
        raise WeightsError(problem, "the file that `wsss weights --profile lesson` writes",
                           "wsss weights --profile lesson --out wsss_lab/weights (takes them from the run store of the "
                           "profile toy, and trains what is missing there); or choose the profile toy") from error
