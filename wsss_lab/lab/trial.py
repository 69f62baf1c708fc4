"""How long steps take on this machine: some of each kind run on a few images, or for a few iterations, and are timed.

What such a step needs is made in the same way, so that functions get real inputs; nothing is stored. As many workers
as a run has do so at once, since they slow each other down.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from wsss_lab.data.views import TrainView
from wsss_lab.lab.made_up import IMAGES, MadeUp
from wsss_lab.lab.pool import shared_pool
from wsss_lab.lab.steps import Step
from wsss_lab.networks.machine import resolve_device

ITERATIONS = 2  # of a training on trial; the first isn't timed
TRIED = 3  # steps of a kind, at most, and one of every four
SHORTENED = {"warm_up": 0, "snapshot": 1}  # settings that are numbers of iterations
CHOSEN = {"images", "count", "schedule"}  # settings of steps that look at a few images of a view, however many it has


def measured(steps: Sequence[Step], classes: int, jobs: int) -> dict[Step, float]:
    """Seconds that each step will take a worker or a GPU; left out are those whose kind can't be tried.

    classes: of the world. jobs: workers that compute at once.
    """
    kinds: dict[str, list[Step]] = {}  # of one function, network and size of batches, whatever else is set
    for step in steps:
        batch = step.settings["schedule"]["batch"] if step.trains else 0
        kinds.setdefault(json.dumps([step.function_name, batch, step.settings.get("backbone")]), []).append(step)
    tried = [_spread(of_kind) for of_kind in kinds.values()]
    jobs = jobs if resolve_device().type == "cpu" else 1
    parts = [shared_pool(jobs).submit(rates, tried[first::jobs], classes) for first in range(jobs)]
    found = {}
    for first, part in enumerate(parts):
        for of_kind, rate in zip(list(kinds.values())[first::jobs], part.result()):
            found |= {step: rate * amount(step) for step in of_kind if rate is not None}
    return found


def rates(kinds: Iterable[Sequence[Step]], classes: int) -> list[float | None]:
    """Of each kind of steps, the mean of the seconds that they take here by unit of `amount`; None where all fail."""
    trial, found = Trial(classes), []
    for steps in kinds:
        for step in steps:
            trial.load(step)
        known = [trial.rates[step] for step in steps if step in trial.rates]
        found.append(float(np.mean(known)) if known else None)
    return found


def amount(step: Step) -> int:
    """How much a step has to do: iterations of a training; of another, images of its view, of what it is made of, or
    that it draws."""
    if step.trains:
        return step.settings["schedule"]["iterations"]
    if not step.inputs:
        return step.settings["count"]
    if CHOSEN & step.settings.keys():
        return 1
    view = step.inputs.get("view")
    return view.count if view else max((amount(parent) for parent in step.parents if not parent.trains), default=1)


class Trial:
    """Takes the place of the store: what is loaded is made in small, and made up where that fails, as results of a few
    images and iterations can be empty. rates: seconds by unit of `amount`."""

    def __init__(self, classes: int):
        self.classes = classes
        self.made: dict[Step, Mapping[str, Any]] = {}
        self.rates: dict[Step, float] = {}

    def load(self, step: Step) -> Mapping[str, Any]:
        """What a step makes of a few images."""
        if step not in self.made:
            try:
                self.made[step] = self._run(step)
            except Exception:
                self.made[step] = MadeUp(step, self.classes)
        return self.made[step]

    def _run(self, step: Step) -> Mapping[str, Any]:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        settings = dict(step.settings)
        if step.trains:
            settings |= {name: short for name, short in SHORTENED.items() if settings.get(name)}
            settings["schedule"] = settings["schedule"] | {"iterations": ITERATIONS}
        elif not step.inputs:
            settings["count"] = min(settings["count"], IMAGES)
        inputs = {name: _few(value, self) for name, value in step.inputs.items()}
        times = [_now()]
        hook = register_optimizer_step_post_hook(lambda *_: times.append(_now()))
        try:
            made = step.function(**inputs, **settings)
        finally:
            hook.remove()
        taken = (times[-1] - times[1]) / (ITERATIONS - 1) if step.trains else (_now() - times[0]) / min(
            IMAGES, amount(step))
        self.rates[step] = taken
        return made


def _spread(steps: Sequence[Step]) -> list[Step]:
    """Some of the steps that differ in more than their seed."""
    different = list({json.dumps(step.settings | {"seed": 0}): step for step in reversed(steps)}.values())
    places = np.linspace(0, len(different) - 1, min(TRIED, 1 + len(different) // 4)).astype(int)
    return [different[place] for place in places]


def _few(value: Any, trial: Trial) -> Any:
    """An input, with the first images of a view."""
    if isinstance(value, list | tuple):
        return [_few(each, trial) for each in value]
    found = value.load(trial)
    return found.subset(range(min(IMAGES, len(found)))) if isinstance(found, TrainView) else found


def _now() -> float:
    """A clock: of this process where it computes by itself, of the wall where it waits for a GPU."""
    if resolve_device().type == "cpu":
        return time.process_time()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()
