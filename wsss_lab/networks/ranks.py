"""One training on several processes, each with a GPU of its own: every one works through its part of each batch.

All processes draw the same batches, so that the training is the one that a single process with the same batch size
would do, up to rounding (and to dropout, which each process draws for its own part).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from wsss_lab.errors import ParameterError


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is. number: from 0."""

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
