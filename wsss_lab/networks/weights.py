"""Reading weight files: never unpickled, always checked."""

from pathlib import Path

import torch
from torch import Tensor, nn

from wsss_lab.errors import WeightsError


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file, with floating-point tensors as float32.

    Raises WeightsError when the file is missing, damaged, or holds something else than named tensors.
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
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"'{path}' holds no state dict", "a dictionary of named tensors")
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def load_into(net: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Load a state dict into a network; WeightsError names what doesn't fit."""
    own = net.state_dict()
    missing = sorted(own.keys() - state.keys())
    unknown = sorted(state.keys() - own.keys())
    other = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    if missing or unknown or other:
        found = [f"{len(names)} {what} (first: {names[0]})"
                 for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", other)) if names]
        raise WeightsError(f"'{path}' is for another architecture: " + ", ".join(found),
                           f"the {len(own)} tensors of {type(net).__name__}",
                           "give weights of this architecture ('make doctor' lists the files that are looked for)")
    net.load_state_dict(state)
