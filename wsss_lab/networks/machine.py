"""How a training uses the machine. Nothing here is part of a result's identity; results differ by rounding at most."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from wsss_lab.networks.device import resolve_device
from wsss_lab.networks.keeping import checkpoint_folder
from wsss_lab.settings import variable

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
    ahead (wsss_lab.networks.prefetch), 0 = each batch is drawn when it is needed; by default one per core and at most
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
        device = resolve_device()
        minutes, workers = variable("WSSS_CHECKPOINT_MINUTES"), variable("WSSS_WORKERS")
        return cls(device, variable("WSSS_PRECISION") or _usual_precision(device), variable("WSSS_PARTS") or 1,
                   checkpoint_folder(), MINUTES if minutes is None else minutes,
                   _usual_workers(device) if workers is None else workers)

    def autocast(self) -> torch.autocast:
        """Mixed precision where it is asked for."""
        return torch.autocast(self.device.type, PRECISIONS[self.precision] if self.mixed else None, enabled=self.mixed)

    @property
    def mixed(self) -> bool:
        """Whether matrix products are taken in half precision."""
        return self.precision != "fp32"

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps gradients in the range of fp16; does nothing otherwise. Its usual first factor of 65,536 costs a short
        training the steps until it is small enough."""
        return torch.amp.GradScaler(self.device.type, init_scale=1024.0, enabled=self.precision == "fp16")


def _usual_precision(device: torch.device) -> str:
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _usual_workers(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(WORKERS, cores)
