"""How a training uses the machine. Nothing here is part of a result's identity; results differ by rounding at most."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from wsss_lab.errors import ParameterError, SetupError
from wsss_lab.networks.keeping import checkpoint_folder
from wsss_lab.settings import checked, variable


def resolve_device(name: str | None = None) -> torch.device:
    """The device to compute on: the GPU when there is one, the CPU without changes.

    name: "auto", "cpu" or "cuda"; None reads the environment variable WSSS_DEVICE ("auto" when unset).
    Raises ParameterError for another name and SetupError for "cuda" on a machine without a usable GPU.
    """
    name = checked("device", name) if name else variable("WSSS_DEVICE") or "auto"
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    elif name == "cuda" and not torch.cuda.is_available():
        raise SetupError("DEVICE=cuda, but torch sees no usable GPU",
                         "an NVIDIA GPU with a driver that torch.cuda.is_available() accepts",
                         "use DEVICE=auto, or run 'make doctor' for the state of the driver")
    return torch.device(name)


def place(net: nn.Module) -> nn.Module:
    """The network on the chosen device, channels last (the faster layout for convolutions on both kinds)."""
    return net.to(resolve_device(), memory_format=torch.channels_last)


PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MINUTES = 10.0  # between two checkpoints
WORKERS = 8  # at most, unless asked for


@dataclass(frozen=True)
class Machine:
    """Settings of this process, from the environment.

    precision: WSSS_PRECISION, a key of PRECISIONS; by default bf16 on a GPU that has it, fp16 on another, fp32 on a
    CPU. parts: WSSS_PARTS, into how many parts a batch is split, whose gradients are added up, which takes less memory.
    checkpoints: see `checkpoint_folder`, for the state of long trainings, None = none is kept. minutes:
    WSSS_CHECKPOINT_MINUTES, between two of them. workers: WSSS_WORKERS, threads that read the images of batches drawn
    ahead (wsss_lab.networks.batches), 0 = each batch is drawn when it is needed; by default one per core and at most
    `WORKERS` beside a GPU, none on a CPU, whose cores the network needs.
    """

    device: torch.device
    precision: str = "fp32"
    parts: int = 1
    checkpoints: Path | None = None
    minutes: float = MINUTES
    workers: int = 0

    @classmethod
    def here(cls) -> "Machine":
        """The settings in force. Raises ParameterError for a value that makes no sense."""
        device, precision, workers = resolve_device(), "fp32", 0
        if device.type == "cuda":
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            workers = min(WORKERS, cores)
        minutes, asked_workers = variable("WSSS_CHECKPOINT_MINUTES"), variable("WSSS_WORKERS")
        return cls(device, variable("WSSS_PRECISION") or precision, variable("WSSS_PARTS") or 1, checkpoint_folder(),
                   MINUTES if minutes is None else minutes, workers if asked_workers is None else asked_workers)

    def autocast(self) -> torch.autocast:
        """Matrix products in half precision where that is asked for."""
        return torch.autocast(self.device.type, PRECISIONS[self.precision], enabled=self.precision != "fp32")

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps gradients in the range of fp16; does nothing otherwise. Its usual first factor of 65,536 costs a short
        training the steps until it is small enough."""
        return torch.amp.GradScaler(self.device.type, init_scale=1024.0, enabled=self.precision == "fp16")


@dataclass(frozen=True)
class Ranks:
    """One training on several processes: which of how many this is, from 0. Each has a GPU of its own.

    All draw the same batches and work through their part of each, so that the training is the one that a single process
    with the same batch size would do, up to rounding (and to dropout, which each process draws for its own part).
    """

    number: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> "Ranks":
        """Of the process group that was started (by torchrun), or alone."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def check(self, batch: int) -> None:
        """Raises ParameterError for a batch that has less than one image for each process."""
        if batch < self.count:
            raise ParameterError(f"a batch of {batch} on {self.count} processes", "at least one image for each",
                                 f"set WSSS_GPUS to {batch} or less")

    def mine(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """This process's part of a batch of tensors (B, ...)."""
        return batch if self.count == 1 else tuple(each.tensor_split(self.count)[self.number] for each in batch)

    def total(self, values: Iterable[float]) -> list[float]:
        """Sums over all processes, in the order given, which must be the same everywhere."""
        values = list(values)
        if self.count == 1 or not values:
            return values
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        summed = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(summed)
        return summed.tolist()

    def add_gradients(self, net: nn.Module) -> None:
        """Add up the gradients of all processes; weights that have none anywhere stay without."""
        if self.count == 1:
            return
        weights = [weight for weight in net.parameters() if weight.requires_grad]
        used = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.float32,
                            device=weights[0].device)
        dist.all_reduce(used)
        weights = [weight for weight, count in zip(weights, used.tolist()) if count]
        flat = torch.cat([torch.zeros_like(weight).flatten() if weight.grad is None else weight.grad.flatten()
                          for weight in weights])
        dist.all_reduce(flat)
        for weight, part in zip(weights, flat.split([weight.numel() for weight in weights])):
            weight.grad = part.view_as(weight).clone()
