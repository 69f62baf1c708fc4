"""The state of a training on disk, so that an interrupted one goes on and ends as if nothing had happened."""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn


class Checkpoint:
    """One training's file in a folder, `state.pt`, renewed every few minutes.

    folder: None keeps nothing. identity: plain JSON values that a training must share with the file to go on from it.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, Any], minutes: float):
        self.identity = json.loads(json.dumps(identity))
        name = hashlib.blake2b(json.dumps(self.identity, sort_keys=True).encode(), digest_size=8).hexdigest()
        self.path = None if folder is None else folder / f"{name}.pt"
        self.seconds = 60 * minutes
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to save again."""
        return self.path is not None and time.monotonic() - self._last >= self.seconds

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state, complete or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        torch.save({"identity": self.identity, **state}, part)
        os.replace(part, self.path)
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved state, None where there is none, or none that can be used (said)."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if state["identity"] == self.identity:
                return state
            problem = "is of another training"
        except Exception as error:  # damaged files raise whatever they lead to
            problem = f"can't be read ({type(error).__name__})"
        print(f"checkpoint '{self.path}' {problem}: the training begins anew", flush=True)
        return None

    def remove(self) -> None:
        """Forget the file: the training has ended."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def identity_of(net: nn.Module, schedule: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What makes two trainings the same, but for their data: tensors of the network, schedule, seed."""
    return {"tensors": {name: list(value.shape) for name, value in net.state_dict().items()},
            "schedule": dict(schedule), "seed": seed}


def random_states(generator: torch.Generator) -> dict[str, Any]:
    """The states of all random numbers that a training draws: of its batches, and of dropout and the like."""
    found = {"batches": generator.get_state(), "cpu": torch.get_rng_state()}
    return found | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def restore_random_states(states: Mapping[str, Any], generator: torch.Generator) -> None:
    """Go on drawing where `random_states` was taken."""
    generator.set_state(states["batches"])
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
