"""One training loop for every network of the lab."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsss_lab.errors import ParameterError, TrainingError
from wsss_lab.networks.batches import ahead
from wsss_lab.networks.machine import Machine, Ranks

# ---------------------------------------------------------------------------------------------------------------------
# What a training writes down in each iteration, beside its loss.


class Curves(dict):
    """name -> list of one value per iteration; names that are written later have shorter lists.

    A batch that is worked through in parts writes once per part, between `begin` and `join`, which leaves one value.

    >>> curves = Curves()
    >>> curves.begin()
    >>> for value in (1.0, 3.0):  # two parts of one batch, of one and of three images
    ...     curves.write({"loss": value})
    >>> curves.join((0.25, 0.75))
    ['loss']
    >>> curves, curves.iteration
    ({'loss': [2.5]}, 1)
    """

    def __init__(self):
        super().__init__()
        self._marks: dict[str, int] | None = None
        self._number = 0

    @property
    def iteration(self) -> int:
        """How many iterations came before this one; the same for all parts of a batch."""
        return self._longest() if self._marks is None else self._number

    def write(self, facts: Mapping[str, Tensor | float]) -> None:
        """Note scalars."""
        for name, value in facts.items():
            self.setdefault(name, []).append(float(value.detach() if isinstance(value, Tensor) else value))

    def begin(self) -> None:
        """What is written from here on belongs to one iteration."""
        self._number = self._longest()
        self._marks = {name: len(values) for name, values in self.items()}

    def join(self, shares: Sequence[float]) -> list[str]:
        """End the iteration: of each name that was written, keep the mean of its parts; returns these names.

        shares: of the batch, one per part.
        """
        written = [name for name, values in self.items() if len(values) > self._marks.get(name, 0)]
        for name in written:
            start = self._marks.get(name, 0)
            parts = self[name][start:]
            self[name][start:] = [sum(share * part for share, part in zip(shares, parts)) / sum(shares)]
        self._marks = None
        return written

    def undo(self) -> None:
        """Forget what was written since `begin`."""
        for name in list(self):
            del self[name][self._marks.get(name, 0):]
            if not self[name]:
                del self[name]
        self._marks = None

    def _longest(self) -> int:
        return max(map(len, self.values()), default=0)


# ---------------------------------------------------------------------------------------------------------------------
# The state of a training on disk, so that an interrupted one goes on and ends as if nothing had happened.


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

    next_batch: draws one batch, a tuple of tensors (B, ...), with the given generator and no other, and without regard
    to the network or the iteration: batches may be drawn ahead, see wsss_lab.networks.batches. loss_of(net, *batch) ->
    scalar loss, a mean over the batch. It may have `curves`, a wsss_lab.networks.fit.Curves, and `kept`, named
    tensors that a checkpoint shall hold too. prepare: called once after ``net.train()``, for instance to freeze batch
    norms.
    For precision, parts of batches and checkpoints see wsss_lab.networks.machine: a training that was interrupted goes
    on from its last checkpoint and gives the same result.

    When the memory of a GPU is too small for a batch, it is worked through in two parts, then four, and so on, which is
    said. Raises TrainingError, naming the iteration, when the loss is not a finite number or when not even one image
    fits.
    """
    torch.manual_seed(seed)  # dropout
    generator = torch.Generator().manual_seed(seed)
    net.train()
    if schedule.trunk_lr == 0:
        net.trunk.requires_grad_(False)
    if prepare is not None:
        prepare(net)
    training = _Training(net, loss_of, schedule, Machine.here())
    checkpoint = Checkpoint(training.machine.checkpoints, identity_of(net, schedule.settings(), seed),
                            training.machine.minutes)
    if state := checkpoint.load():
        training.restore(state)
        restore_random_states(state["random"], generator)
    done = len(training.history)
    with ahead(next_batch, generator, schedule.iterations - done, training.machine) as batches:
        for iteration, batch in enumerate(batches, start=done):
            training.step(iteration, batch)
            if checkpoint.due() and training.ranks.number == 0:
                checkpoint.save(training.state() | {"random": random_states(generator)})
    net.eval()
    checkpoint.remove()
    return training.history


class _Training:
    """A network on its way: optimiser, scaler of gradients, losses so far."""

    def __init__(self, net: nn.Module, loss_of: Callable[..., Tensor], schedule: Schedule, machine: Machine):
        self.net, self.loss_of, self.schedule, self.machine = net, loss_of, schedule, machine
        self.optimiser, self.scaler = make_optimiser(net, schedule), machine.scaler()
        self.curves: Curves | None = getattr(loss_of, "curves", None)
        self.history: list[float] = []
        self.parts = min(machine.parts, schedule.batch)
        self.ranks = Ranks.here()
        self.ranks.check(schedule.batch)

    def state(self) -> dict:
        """What a checkpoint holds."""
        return {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict(), "parts": self.parts,
                "scaler": self.scaler.state_dict(), "history": self.history, "curves": dict(self.curves or {}),
                "kept": dict(getattr(self.loss_of, "kept", {}))}

    def restore(self, state: dict) -> None:
        """Go on from a checkpoint."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.history, self.parts = list(state["history"]), state["parts"]
        if self.curves is not None:
            self.curves.update(state["curves"])
        if state["kept"]:
            self.loss_of.kept.update(state["kept"])

    def step(self, iteration: int, batch: tuple) -> None:
        """One iteration; in more parts from here on where memory is short."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * self.schedule.factor(iteration)
        while (value := self._if_it_fits(batch)) is None:
            self._split_further(len(batch[0]))
        if not math.isfinite(value):
            raise TrainingError(f"the loss is {value} at iteration {iteration + 1} of {self.schedule.iterations}",
                                "a finite number",
                                f"lower the learning rate (now {self.schedule.lr}) or check the images")
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.history.append(value)

    def _if_it_fits(self, batch: tuple) -> float | None:
        """The loss, None where memory is too small; by then, what the attempt has taken is free again."""
        try:
            return self._gradients(batch)
        except torch.OutOfMemoryError as error:
            if self.ranks.count > 1:  # the others would wait for this one's gradients
                raise TrainingError("the GPU's memory is too small for a process's part of a batch", "more memory",
                                    f"set WSSS_PARTS={2 * self.parts}: parts are worked through one by one") from error
            return None

    def _gradients(self, batch: tuple) -> float:
        """Gradients of the mean loss of a batch, from all its parts; returns the loss."""
        self.optimiser.zero_grad(set_to_none=True)
        mine = self.ranks.mine(batch)
        parts = min(self.parts, len(mine[0]))
        pieces = [mine] if parts == 1 else list(zip(*(each.tensor_split(parts) for each in mine)))
        shares = [len(piece[0]) / len(batch[0]) for piece in pieces]
        if self.curves is not None:
            self.curves.begin()
        total = 0.0
        for share, piece in zip(shares, pieces):
            with self.machine.autocast():
                loss = self.loss_of(self.net, *piece) * share
            total += float(loss.detach())
            if math.isfinite(total):
                self.scaler.scale(loss).backward()
        total, = self.ranks.total([total])
        if math.isfinite(total):
            self.ranks.add_gradients(self.net)
        if self.curves is not None:
            written = self.curves.join(shares)
            means = self.ranks.total(self.curves[name][-1] * sum(shares) for name in written)
            for name, mean in zip(written, means):
                self.curves[name][-1] = mean
        return total

    def _split_further(self, count: int) -> None:
        if self.parts >= count:
            raise TrainingError("the GPU's memory is too small for one image of a batch", "a GPU with more memory",
                                "WSSS_PRECISION=bf16 halves what activations take; or DEVICE=cpu")
        if self.curves is not None:
            self.curves.undo()
        self.parts = min(2 * self.parts, count)
        torch.cuda.empty_cache()
        print(f"GPU memory is short: batches of {count} are worked through in {self.parts} parts", flush=True)
