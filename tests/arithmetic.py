"""Step functions for the tests of the lab; worker processes import them by name."""

import errno
import os
import time
from pathlib import Path

import numpy as np

from wsss_lab.errors import TrainingError


def count(n: int, log: str = "", pause: float = 0.0) -> dict:
    """The numbers 0..n-1; every call leaves a line in the log."""
    _note(log, f"count {n}")
    time.sleep(pause)
    return {"numbers": np.arange(n), "n": n}


def add(numbers: np.ndarray, k: int, log: str = "", pause: float = 0.0) -> dict:
    _note(log, f"add {k}")
    time.sleep(pause)
    return {"numbers": numbers + k, "where": os.getpid()}


def total(parts: list) -> dict:
    return {"total": int(sum(part.sum() for part in parts))}


def describe(everything) -> dict:
    return {"names": sorted(everything), "n": everything["n"]}


def weights(k: float) -> dict:
    import torch

    torch.manual_seed(0)
    state = {"w": torch.full((2, 3), k), "steps": 7}
    return {"state": state, "history": [1.0, float(k)], "image": torch.zeros(2)}


def diverge(numbers: np.ndarray) -> dict:
    raise TrainingError("the loss is not a number at iteration 3", fix="use a smaller learning rate")


def stumble(numbers: np.ndarray) -> dict:
    return {"numbers": numbers[99]}


def die(numbers: np.ndarray, log: str = "") -> dict:
    _note(log, "die")
    os._exit(9)


def die_once(numbers: np.ndarray, marker: str) -> dict:
    if not Path(marker).exists():
        Path(marker).touch()
        os._exit(9)
    return {"numbers": numbers}


def full_disk(numbers: np.ndarray) -> dict:
    raise OSError(errno.ENOSPC, "No space left on device")


def numbers_only() -> np.ndarray:
    return np.zeros(3)


def threads() -> dict:
    import torch

    return {"torch": torch.get_num_threads(), "omp": os.environ["OMP_NUM_THREADS"]}


def setting(name: str) -> dict:
    return {"value": os.environ.get(name, "")}


def meet(folder: str, name: str, others: int) -> dict:
    """Wait until so many calls of this function are running at the same time."""
    place = Path(folder)
    (place / f"{name}.here").touch()
    for _ in range(3000):
        if len(list(place.glob("*.here"))) == others:
            return {"where": os.getpid()}
        time.sleep(0.01)
    raise TimeoutError("nobody came")


def _note(log: str, line: str) -> None:
    if log:
        with Path(log).open("a") as file:
            file.write(line + "\n")


def look(n, backbone=None):
    return {"n": n}


def fresh_pages(megabytes: int) -> int:
    """Pages that the system has to clear for the tenth of ten tensors of this size, each given back before the next."""
    import resource

    import torch

    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(megabytes << 20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
