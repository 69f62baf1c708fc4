"""What a user may set, as an option, as a parameter of a notebook or as a variable WSSS_..., and to which values."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from wsss_lab.errors import ParameterError


class Number(NamedTuple):
    """Numbers of a kind, int or float, from `least` to `most`."""

    least: float
    most: float
    kind: type = int

    def __str__(self) -> str:
        return f"a {'whole ' if self.kind is int else ''}number from {self.least:,} to {self.most:,}"

    def read(self, value: Any) -> Any:
        """The number that a value or a text stands for, None where it isn't one of these."""
        try:
            found = self.kind(value)
        except (TypeError, ValueError, OverflowError):
            return None
        exact = isinstance(value, str) or found == value  # 2.5 is no whole number
        return found if exact and self.least <= found <= self.most else None


class Address(NamedTuple):
    """Addresses of a form, a regular expression. example: one of them."""

    form: str
    example: str

    def __str__(self) -> str:
        return f"an address such as {self.example}"

    def read(self, value: Any) -> str | None:
        """The address, None where it isn't one."""
        return value if isinstance(value, str) and re.fullmatch(self.form, value) else None


DATA, WEIGHTS = "WSSS_DATA", "WSSS_WEIGHTS"  # folders of the profiles photos and voc
PROCESSES = 1024  # more than a machine has cores
IMAGES = Number(1, 10**5 - 1)  # of a drawn split: their names have five digits
DEVICES, NETWORKS = ("auto", "cpu", "cuda"), ("paper", "mobilenet")

#: The numbers, addresses or words that are accepted, by name.
ALLOWED: dict[str, Number | Address | tuple[str, ...]] = {
    "seeds": Number(1, 1000),
    "world_seed": Number(0, 2**32 - 1),
    "jobs": Number(1, PROCESSES),
    "device": DEVICES,
    "tflops": Number(0.001, 10**6, float),
    "train": IMAGES, "dev": IMAGES, "val": IMAGES,
    "network": NETWORKS,
    "WSSS_JOBS": Number(1, PROCESSES),
    "WSSS_GPUS": Number(1, PROCESSES),
    "WSSS_GPU_SHARE": Number(1, PROCESSES),
    "WSSS_PARTS": Number(1, 10**6),
    "WSSS_WORKERS": Number(0, PROCESSES),
    "WSSS_CHECKPOINT_MINUTES": Number(0, 10**6, float),
    "WSSS_PRECISION": ("fp32", "bf16", "fp16"),
    "WSSS_PROGRESS": ("bar", "plain", "none"),
    "WSSS_DEVICE": DEVICES,
    "WSSS_REHEARSAL": NETWORKS,
    "WSSS_CLUSTER": Address(r"(tcp|tls)://\S+:\d+", "tcp://scheduler:8786"),
}  # fmt: skip
VARIABLES = tuple(filter(str.isupper, ALLOWED))
#: Variables whose values are checked where they are used: folders, and what the project sets itself.
OTHERS = (DATA, WEIGHTS, "WSSS_SALIENCY", "WSSS_COCO", "WSSS_CACHE", "WSSS_CHECKPOINTS", "WSSS_NO_VENV",
          "WSSS_STEPS")


def checked(name: str, value: Any) -> Any:
    """The value of a setting, a name of ALLOWED, as a number or a word; ParameterError for one that isn't allowed.

    >>> checked("jobs", "2"), checked("tflops", 20), checked("device", "cpu")
    (2, 20.0, 'cpu')
    """
    allowed = ALLOWED[name]
    if isinstance(allowed, Number | Address):
        found, expected = allowed.read(value), str(allowed)
    else:
        found, expected = value if value in allowed else None, f"{', '.join(allowed[:-1])} or {allowed[-1]}"
    if found is None:
        fix = f"unset {name}, or set it to that" if name.isupper() else "leave it out, or give that"
        raise ParameterError(f"{name}={value}", expected, fix)
    return found


def variable(name: str, environment: Mapping[str, str] = os.environ) -> Any:
    """The value of a variable WSSS_..., None where it isn't set or empty. Raises ParameterError as `checked` does."""
    return checked(name, environment[name]) if environment.get(name) else None


def check_variables(environment: Mapping[str, str] = os.environ) -> None:
    """Raises ParameterError for a variable with a value that isn't allowed."""
    for name in VARIABLES:
        variable(name, environment)


_forecast: ContextVar[bool] = ContextVar("forecast", default=False)


@contextmanager
def forecasting() -> Iterator[None]:
    """While it is entered nothing is computed and no image looked at, and what the profile voc reads needn't be there
    where its variable isn't set."""
    before = _forecast.set(True)
    try:
        yield
    finally:
        _forecast.reset(before)


def is_forecast() -> bool:
    """Whether `forecasting` is entered."""
    return _forecast.get()


def stands_in(variable: str, profile: str = "voc") -> bool:
    """Whether something stands in for what a variable names, DATA or WEIGHTS, in a forecast."""
    return is_forecast() and profile == "voc" and not os.environ.get(variable)
