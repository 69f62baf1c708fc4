"""One training loop for every network of the lab."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from wsss_lab.errors import ParameterError, TrainingError
from wsss_lab.networks.device import resolve_device


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    optimiser: "adamw" or "sgd". policy: "constant", "step" (divide by 10 every `decay_every` iterations), "poly"
    (power 0.9) or "cosine". head_lr: factor on the learning rate of every parameter outside the trunk.
    trunk_lr: factor for the trunk; 0 freezes it.
    """

    iterations: int
    batch: int = 32
    lr: float = 1e-3
    optimiser: str = "adamw"
    policy: str = "cosine"
    decay_every: int = 0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    head_lr: float = 1.0
    trunk_lr: float = 1.0

    def settings(self) -> dict:
        """As plain JSON values, for the settings of a step."""
        return asdict(self)

    def factor(self, iteration: int) -> float:
        """Factor on the learning rate at an iteration (counted from 0)."""
        if self.policy == "constant":
            return 1.0
        if self.policy == "step":
            return 0.1 ** (iteration // self.decay_every)
        progress = iteration / self.iterations
        if self.policy == "poly":
            return (1 - progress) ** 0.9
        if self.policy == "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        raise ParameterError(f"learning-rate policy '{self.policy}' is not known", "constant, step, poly or cosine")


def make_optimiser(net: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """An optimiser with two groups: the trunk and everything behind it."""
    trunk = [p for name, p in net.named_parameters() if name.startswith("trunk.") and p.requires_grad]
    rest = [p for name, p in net.named_parameters() if not name.startswith("trunk.") and p.requires_grad]
    groups = [{"params": trunk, "base": schedule.lr * schedule.trunk_lr},
              {"params": rest, "base": schedule.lr * schedule.head_lr}]
    groups = [dict(group, lr=group["base"]) for group in groups if group["params"]]
    if schedule.optimiser == "adamw":
        return torch.optim.AdamW(groups, weight_decay=schedule.weight_decay)
    if schedule.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=schedule.momentum, weight_decay=schedule.weight_decay)
    raise ParameterError(f"optimiser '{schedule.optimiser}' is not known", "adamw or sgd")


def fit(net: nn.Module, next_batch: Callable[[torch.Generator], tuple], loss_of: Callable[..., Tensor],
        schedule: Schedule, seed: int, prepare: Callable[[nn.Module], None] | None = None) -> list[float]:
    """Train a network in place and return the loss of every iteration.

    next_batch: draws one batch with the given generator. loss_of(net, *batch) -> scalar loss.
    prepare: called once after ``net.train()``, for instance to freeze batch norms.
    Raises TrainingError, naming the iteration, when the loss is not a finite number.
    """
    torch.manual_seed(seed)  # dropout
    generator = torch.Generator().manual_seed(seed)
    net.train()
    if schedule.trunk_lr == 0:
        net.trunk.requires_grad_(False)
    if prepare is not None:
        prepare(net)
    optimiser = make_optimiser(net, schedule)
    device = resolve_device()
    amp = torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.type == "cuda")
    history = []
    for iteration in range(schedule.iterations):
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * schedule.factor(iteration)
        with amp:
            loss = loss_of(net, *next_batch(generator))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"the loss is {value} at iteration {iteration + 1} of {schedule.iterations}",
                                "a finite number", f"lower the learning rate (now {schedule.lr}) or check the images")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        history.append(value)
    net.eval()
    return history
