"""Reading weight files: never unpickled, always checked."""

from pathlib import Path

import torch
from torch import Tensor, nn

from wsss_lab.errors import WeightsError

WRAPPERS = ("module.", "_orig_mod.")  # of nn.DataParallel, of torch.compile


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file, with floating-point tensors as float32.

    It may be the file, or one value of a dictionary such as {"state_dict": ..., "epoch": ...}; what wrappers put before
    every name (WRAPPERS) is left out. Raises WeightsError when the file is missing, damaged, holds something else than
    named tensors, several state dicts, or numbers that aren't finite.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no weights file '{path}'", "a PyTorch state dict",
                           "set WSSS_WEIGHTS to the folder that holds it ('make doctor' lists what is looked for)")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"'{path}' can't be read as weights ({type(error).__name__})",
                           "a file saved by torch.save that loads with weights_only=True",
                           "the file is damaged or of another kind: fetch it again and compare its checksum") from error
    state = plain_names(_state_dict(state, path))
    wild = [name for name, value in state.items() if not value.isfinite().all()]
    if wild:
        raise WeightsError(f"'{path}': {len(wild)} of {len(state)} tensors aren't finite (first: {wild[0]})",
                           "numbers", "take weights of an earlier epoch, or fetch the file again")
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    """The named tensors that a file is, or has one dictionary of."""
    def is_state(value: object) -> bool:
        return isinstance(value, dict) and bool(value) and all(
            isinstance(name, str) and isinstance(each, Tensor) for name, each in value.items())

    if is_state(content):
        return content
    parts = [key for key, value in content.items() if is_state(value)] if isinstance(content, dict) else []
    if len(parts) != 1:
        found = f" but several: {', '.join(map(str, parts))}" if parts else ""
        raise WeightsError(f"'{path}' holds no state dict{found}",
                           "a dictionary of named tensors, by itself or as 'state_dict' of another one",
                           "save it by itself with torch.save")
    return content[parts[0]]


def plain_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without what wrappers have put before every name.

    >>> list(plain_names({"module._orig_mod.weight": torch.ones(1), "module._orig_mod.bias": torch.ones(1)}))
    ['weight', 'bias']
    """
    while state and any(all(name.startswith(wrapper) for name in state) for wrapper in WRAPPERS):
        state = {name.partition(".")[2]: value for name, value in state.items()}
    return state


def load_into(net: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Load a state dict into a network; WeightsError names what doesn't fit."""
    state = plain_names(state)
    own = net.state_dict()
    wrong = {"missing": own.keys() - state.keys(), "unknown": state.keys() - own.keys(),
             "of another shape": {name for name in own.keys() & state.keys() if own[name].shape != state[name].shape}}
    if any(wrong.values()):
        found = [f"{len(names)} {what} (first: {min(names)})" for what, names in wrong.items() if names]
        raise WeightsError(f"'{path}' is for another architecture: " + ", ".join(found),
                           f"the {len(own)} tensors of {type(net).__name__}",
                           "give weights of this architecture ('make doctor' lists the files that are looked for)")
    net.load_state_dict(state)
