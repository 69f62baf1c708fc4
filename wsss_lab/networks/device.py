"""Where to compute: the GPU when there is one, the CPU without changes."""

import torch

from wsss_lab.errors import SetupError
from wsss_lab.settings import checked, variable


def resolve_device(name: str | None = None) -> torch.device:
    """The device to compute on.

    name: "auto", "cpu" or "cuda"; None reads the environment variable WSSS_DEVICE ("auto" when unset).
    Raises ParameterError for another name and SetupError for "cuda" on a machine without a usable GPU.
    """
    name = checked("device", name) if name else variable("WSSS_DEVICE") or "auto"
    if name == "cuda" and not torch.cuda.is_available():
        raise SetupError(
            "DEVICE=cuda, but torch sees no usable GPU",
            "an NVIDIA GPU with a driver that torch.cuda.is_available() accepts",
            "use DEVICE=auto, or run 'make doctor' for the state of the driver",
        )
    use_gpu = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if use_gpu else "cpu")


def place(net: torch.nn.Module) -> torch.nn.Module:
    """The network on the chosen device, channels last (the faster layout for convolutions on both kinds)."""
    return net.to(resolve_device(), memory_format=torch.channels_last)
