"""One training loop for every network of the lab."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsss_lab.errors import ParameterError, TrainingError
from wsss_lab.networks.batches import ahead
from wsss_lab.networks.machine import Machine, Ranks


class Curves(dict):
    """What a training writes down beside its loss: name -> list of one value per iteration.

    Names that are written later have shorter lists. `fit` works through a batch in parts: what they write between
    `begin` and `join` becomes one value.

    >>> curves = Curves()
    >>> curves.begin()
    >>> for value in (1.0, 3.0):  # two parts of one batch, of one and of three images
    ...     curves.write({"loss": value})
    >>> curves.join((0.25, 0.75))
    >>> curves, curves.iteration
    ({'loss': [2.5]}, 1)
    """

    _parts: list[dict[str, float]] | None = None

    @property
    def iteration(self) -> int:
        """How many iterations came before this one; the same for all parts of a batch."""
        return max(map(len, self.values()), default=0)

    def write(self, facts: Mapping[str, Tensor | float]) -> None:
        """Note scalars."""
        values = {name: float(value.detach() if isinstance(value, Tensor) else value) for name, value in facts.items()}
        if self._parts is None:
            self._add(values)
        else:
            self._parts.append(values)

    def begin(self) -> None:
        """What is written from here on belongs to one iteration; forgets an iteration that came to no end."""
        self._parts = []

    def join(self, shares: Sequence[float], total: Callable[[Iterable[float]], Iterable[float]] = list) -> None:
        """End the iteration: of each name that was written, add the mean of its parts.

        shares: of the batch, one per part. total: sums over all processes that work on the batch.
        """
        parts, self._parts = self._parts, None
        if parts:
            means = total(sum(share * part[name] for share, part in zip(shares, parts)) for name in parts[0])
            self._add(dict(zip(parts[0], means)))

    def _add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.setdefault(name, []).append(value)


class Checkpoint:
    """The state of a training on disk, so that an interrupted one goes on and ends as if nothing had happened.

    folder: of the file, which is renewed every few minutes; None keeps nothing. identity: plain JSON values that a
    training must share with the file to go on from it.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, Any], minutes: float):
        text = json.dumps(identity, sort_keys=True)
        self.identity = json.loads(text)
        name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self.path = None if folder is None else folder / f"{name}.pt"
        self.seconds, self._last = 60 * minutes, time.monotonic()

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
        progress = iteration / self.iterations
        match self.policy:
            case "constant":
                return 1.0
            case "step":
                return 0.1 ** (iteration // self.decay_every)
            case "poly":
                return (1 - progress) ** 0.9
            case "cosine":
                return 0.5 * (1 + math.cos(math.pi * progress))
        raise ParameterError(f"learning-rate policy '{self.policy}' is not known", "constant, step, poly or cosine")


def make_optimiser(net: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """An optimiser with two groups: the trunk and everything behind it."""
    trained = [(name, weight) for name, weight in net.named_parameters() if weight.requires_grad]
    groups = [{"params": [weight for name, weight in trained if name.startswith("trunk.") == of_trunk],
               "base": schedule.lr * factor, "lr": schedule.lr * factor}
              for of_trunk, factor in ((True, schedule.trunk_lr), (False, schedule.head_lr))]
    groups = [group for group in groups if group["params"]]
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
    scalar loss, a mean over the batch. It may have `curves`, a `Curves`, and `kept`, named tensors that a checkpoint
    shall hold too. prepare: called once after ``net.train()``, for instance to freeze batch norms.
    For precision, parts of batches and checkpoints see wsss_lab.networks.machine: a training that was interrupted goes
    on from its last checkpoint and gives the same result.

    When the memory of a GPU is too small for a batch, it is worked through in two parts, then four, and so on, which is
    said. Raises TrainingError, naming the iteration, when the loss is not a finite number or when not even one image
    fits.
    """
    torch.manual_seed(seed)  # dropout
    net.train()
    if schedule.trunk_lr == 0:
        net.trunk.requires_grad_(False)
    if prepare is not None:
        prepare(net)
    machine = Machine.here()
    training = _Training(net, loss_of, schedule, machine, torch.Generator().manual_seed(seed))
    identity = {"tensors": {name: list(value.shape) for name, value in net.state_dict().items()},
                "schedule": schedule.settings(), "seed": seed}
    checkpoint = Checkpoint(machine.checkpoints, identity, machine.minutes)
    if state := checkpoint.load():
        training.restore(state)
    done = len(training.history)
    with ahead(next_batch, training.generator, schedule.iterations - done, machine) as batches:
        for iteration, batch in enumerate(batches, start=done):
            training.step(iteration, batch)
            if checkpoint.due() and training.ranks.number == 0:
                checkpoint.save(training.state())
    net.eval()
    checkpoint.remove()
    return training.history


class _Training:
    """A network on its way: optimiser, scaler of gradients, losses so far, the generator of its batches."""

    def __init__(self, net: nn.Module, loss_of: Callable[..., Tensor], schedule: Schedule, machine: Machine,
                 generator: torch.Generator):
        self.net, self.loss_of, self.schedule, self.machine, self.generator = net, loss_of, schedule, machine, generator
        self.optimiser, self.scaler = make_optimiser(net, schedule), machine.scaler()
        self.curves, self.kept = getattr(loss_of, "curves", Curves()), getattr(loss_of, "kept", {})
        self.history: list[float] = []
        self.parts, self.ranks = min(machine.parts, schedule.batch), Ranks.here()
        self.ranks.check(schedule.batch)

    def state(self) -> dict:
        """What a checkpoint holds, with the states of all random numbers: of batches, and of dropout and the like."""
        random = {"batches": self.generator.get_state(), "cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            random["cuda"] = torch.cuda.get_rng_state()
        return {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict(), "parts": self.parts,
                "scaler": self.scaler.state_dict(), "history": self.history, "curves": dict(self.curves),
                "kept": dict(self.kept), "random": random}

    def restore(self, state: dict) -> None:
        """Go on from a checkpoint."""
        for part in ("net", "optimiser", "scaler"):
            getattr(self, part).load_state_dict(state[part])
        self.history, self.parts = list(state["history"]), state["parts"]
        self.curves.update(state["curves"])
        self.kept.update(state["kept"])
        self.generator.set_state(state["random"]["batches"])
        torch.set_rng_state(state["random"]["cpu"])
        if "cuda" in state["random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["random"]["cuda"])

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
        self.curves.join(shares, self.ranks.total)
        return total

    def _split_further(self, count: int) -> None:
        if self.parts >= count:
            raise TrainingError("the GPU's memory is too small for one image of a batch", "a GPU with more memory",
                                "WSSS_PRECISION=bf16 halves what activations take; or DEVICE=cpu")
        self.parts = min(2 * self.parts, count)
        torch.cuda.empty_cache()
        print(f"GPU memory is short: batches of {count} are worked through in {self.parts} parts", flush=True)
