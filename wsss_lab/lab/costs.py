"""What steps will take: minutes of this machine or hours of a GPU, memory of a GPU, room on the disk.

Minutes are measured in small: some steps of each kind run on a few images, or for a few iterations, on real inputs that
are made in the same way and not stored; as many workers as a run has do so at once, since they slow each other down.

Hours of a GPU are an estimate: floating-point operations of the trunk (counted on the network itself, without computing
it), three times as many for a training as for a look at an image, divided by what a GPU keeps up. Memory is counted on
the trunk too: weights, their gradients, what the optimiser keeps for each, and the activations that the backward pass
of a batch needs. Heads, losses and what exists for a moment come on top.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from wsss_lab.data.views import TrainView
from wsss_lab.lab.fingerprint import definitions_of
from wsss_lab.lab.pool import free_gpus, shared_pool
from wsss_lab.lab.stand_ins import IMAGES, StandIns
from wsss_lab.lab.steps import Output, Step, nested, references
from wsss_lab.lab.worlds import PhotoWorld, World
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.machine import resolve_device

TFLOPS = 20.0  # kept up by a data-centre GPU in mixed precision; our assumption, an option of `wsss plan`
BACKWARD = 3  # a training step costs about three looks
FULL, HALF = 4, 2  # bytes of a number in fp32, and in bf16 or fp16
HEADS = 1.35  # what is stored of a training, relative to its trunk: 1.1 to 1.4 in rehearsals of the papers' networks
V3PLUS = "v3plus"  # a trunk cut and frozen as in DeepLabv3+
PIXELS = {False: 64 * 64, True: 500 * 500}  # of a drawn image, of a photograph
#: How much smaller what is made of an image is stored (benchmarks/results/packed.txt): maps of labels, saliency, class
#: maps of the size of the network's view; on its grid, they stay as they are.
PACKED = {False: {"labels": 20.0, "saliency": 1.6, "classes": 12.0},
          True: {"labels": 40.0, "saliency": 4.5, "classes": 12.0}}
STRIDE = {False: 4, True: 8}  # of that grid
DRAWN = 3 + 3 / 16  # bytes per pixel of a drawn image, with its masks
GRADED = {"maps", "S1", "S2", "S3"}  # outputs that aren't labels
ITERATIONS = 2  # of a training on trial; the first isn't timed
TRIED = 3  # steps of a kind, at most, and one of every four
SHORTENED = {"warm_up": 0, "snapshot": 1}  # settings that are numbers of iterations
CHOSEN = {"images", "count", "schedule"}  # settings of steps that look at a few images of a view, however many it has


@dataclass(frozen=True)
class Cost:
    """What one step will take. hours: of a worker or a GPU. bytes: in the run store. stored: nothing, it is there."""

    step: Step
    hours: float
    bytes: float
    stored: bool


def costs(steps: Iterable[Step], world: World, stored: Any = (), tflops: float = TFLOPS,
          measured: Mapping[Step, float] | None = None) -> list[Cost]:
    """What each of some steps will take, in the order given. stored: holds the steps that are there already, a store
    for instance. measured: seconds by step, 0 for those left out; None: hours of a GPU are estimated."""
    steps = list(steps)
    taken: dict[Step, set[str]] = {}  # what others take of a step
    for each in references(value for step in steps for value in step.inputs.values()):
        if isinstance(each, Output):
            taken.setdefault(each.step, set()).add(each.name)
    return [Cost(step, hours(step, tflops) if measured is None else measured.get(step, 0.0) / 3600,
                 _bytes(step, world, taken.get(step, set())), step in stored) for step in steps]


def summary(costs: Iterable[Cost], jobs: int = 0, on_gpu: bool = True) -> dict[str, Any]:
    """Steps, those stored already, and of those that are left: trainings, GPU-hours, GB of GPU memory of the largest
    training, GB on the disk. jobs: workers, where minutes were measured, which then stand in place of GPU-hours."""
    costs = list(costs)
    left = [each for each in costs if not each.stored]
    largest = max((training_bytes(each.step) for each in left), default=0)
    hours = sum(each.hours for each in left)
    return {"steps": len(costs), "stored": len(costs) - len(left), "trainings": sum(each.step.trains for each in left),
            **({"computing, minutes": 60 * hours, "minutes": 60 * wall(left, jobs)} if jobs else {"GPU-hours": hours}),
            **({"GPU GB": largest / 1e9} if on_gpu else {}), "GB": sum(each.bytes for each in left) / 1e9}


def wall(costs: Sequence[Cost], jobs: int) -> float:
    """Hours until so many workers are done, at best: the longest chain of steps, or the share of each worker or of each
    place on a GPU. costs: every step after those that it needs."""
    ends: dict[Step, float] = {}
    for each in costs:
        ends[each.step] = each.hours + max((ends.get(parent, 0.0) for parent in each.step.parents), default=0.0)
    places = len(free_gpus() or range(jobs))
    return max([sum(each.hours for each in costs) / jobs,
                sum(each.hours for each in costs if each.step.runs_network) / places, *ends.values()])


def hours(step: Step, tflops: float = TFLOPS) -> float:
    """Hours of a GPU that a step will take, by its operations; 0 for one that runs no network."""
    if not step.runs_network:
        return 0.0
    operations = counted(Backbone.from_settings(step.settings["backbone"]), cut_of(step)).operations
    if step.trains:
        operations *= BACKWARD * step.settings["schedule"]["iterations"] * step.settings["schedule"]["batch"]
    else:  # every scale is mirrored too
        images = step.inputs["view"].count if "view" in step.inputs else 0
        operations *= images * (2 * sum(scale ** 2 for scale in step.settings.get("scales") or ()) or 1)
    return operations / (tflops * 1e12 * 3600)


def _bytes(step: Step, world: World, taken: set[str]) -> float:
    """What a step will store, roughly: the weights of a training, maps of each image that is looked at. taken: outputs
    that others take."""
    backbone, photographs = step.settings.get("backbone"), isinstance(world, PhotoWorld)
    if step.trains:
        return HEADS * FULL * counted(Backbone.from_settings(backbone), "DeepLab").weights if backbone else 0.0
    if step.stage == "evaluation":
        return 0.0
    pixels, packed, graded = PIXELS[photographs], PACKED[photographs], len(taken & GRADED)
    if step.stage == "data":
        of_image = 0.0 if photographs else DRAWN * pixels
    elif not graded:
        of_image = pixels / packed["labels"]
    elif step.stage == "saliency":
        of_image = graded * pixels / packed["saliency"]
    else:
        planes = HALF * len(world.classes)
        of_image = (planes * (backbone["side"] / STRIDE[photographs]) ** 2 if backbone else
                    planes * step.settings.get("side", 0) ** 2 / packed["classes"])
    return amount(step) * of_image


# --- seconds, by trial -----------------------------------------------------------------------------------------------


def measured(steps: Sequence[Step], classes: int, jobs: int) -> dict[Step, float]:
    """Seconds that each step will take a worker or a GPU; left out are those whose kind can't be tried. classes: of the
    world. jobs: workers that compute at once."""
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
            found |= {step: rate * amount(step) for step in of_kind if rate}
    return found


def rates(kinds: Iterable[Sequence[Step]], classes: int) -> list[float]:
    """Of each kind of steps, the mean of the seconds that they take here by unit of `amount`; 0 where all fail."""
    trial, found = Trial(classes), []
    for steps in kinds:
        for step in steps:
            trial.load(step)
        found.append(float(np.mean([trial.rates[step] for step in steps if step in trial.rates] or 0.0)))
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
    """Takes the place of the store: what is loaded is made in small, and by a stand-in where that fails, as results of
    a few images and iterations can be empty. rates: seconds by unit of `amount`."""

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
                self.made[step] = StandIns(step, self.classes)
        return self.made[step]

    def _run(self, step: Step) -> Mapping[str, Any]:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        settings = dict(step.settings)
        if step.trains:
            settings |= {name: short for name, short in SHORTENED.items() if settings.get(name)}
            settings["schedule"] = settings["schedule"] | {"iterations": ITERATIONS}
        elif not step.inputs:
            settings["count"] = min(settings["count"], IMAGES)
        inputs = {name: nested(value, self._few) for name, value in step.inputs.items()}
        times = [_now()]
        hook = register_optimizer_step_post_hook(lambda *_: times.append(_now()))
        try:
            made = step.function(**inputs, **settings)
        finally:
            hook.remove()
        self.rates[step] = ((times[-1] - times[1]) / (ITERATIONS - 1) if step.trains else
                            (_now() - times[0]) / min(IMAGES, amount(step)))
        return made

    def _few(self, value: Any) -> Any:
        """An input, with the first images of a view."""
        found = value.load(self)
        return found.subset(range(min(IMAGES, len(found)))) if isinstance(found, TrainView) else found


def _spread(steps: Sequence[Step]) -> list[Step]:
    """Some of the steps that differ in more than their seed."""
    different = list({json.dumps(step.settings | {"seed": 0}): step for step in reversed(steps)}.values())
    places = np.linspace(0, len(different) - 1, min(TRIED, 1 + len(different) // 4)).astype(int)
    return [different[place] for place in places]


def _now() -> float:
    """A clock: of this process where it computes by itself, of the wall where it waits for a GPU."""
    if resolve_device().type == "cpu":
        return time.process_time()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


# --- operations and memory, counted on trunks that are built without weights and computed without numbers ------------


@dataclass(frozen=True)
class Counted:
    """What a trunk takes. operations: floating-point ones of a look at an image. weights, trained: how many there are,
    and how many of them are trained. activations: floating-point numbers per image that the backward pass needs. bytes:
    what it needs beside them, which no precision changes (the places of maxima)."""

    operations: float
    weights: int
    trained: int
    activations: int
    bytes: int


def training_bytes(step: Step, mixed: bool = True, parts: int = 1) -> float:
    """GPU memory of the trunk of a step's network at its peak; 0 for a step that trains none. mixed: activations, and a
    copy of the weights, in half precision. parts: how many a batch is worked through in."""
    if not step.trains or not step.runs_network:
        return 0.0
    schedule = step.settings["schedule"]
    kept = counted(Backbone.from_settings(step.settings["backbone"]), cut_of(step), schedule["trunk_lr"] > 0)
    momenta = 2 if schedule["optimiser"] == "adamw" else int(schedule["momentum"] > 0)
    weights = kept.weights * (FULL + HALF * mixed) + kept.trained * FULL * (1 + momenta)
    images = -(-schedule["batch"] // parts)
    return weights + images * (kept.activations * (HALF if mixed else FULL) + kept.bytes)


def cut_of(step: Step) -> str:
    """How a step's trunk is cut: V3PLUS where its code builds that of DeepLabv3+, else a variant of Backbone.trunk."""
    builds = any(name == "v3plus_trunk" for _, name in definitions_of(step.function))
    return V3PLUS if builds else step.settings.get("variant", "DeepLab")


def trunk_of(backbone: Backbone, cut: str, trained: bool = True) -> Any:
    """A trunk as it is when a training begins. cut: see `cut_of`. trained: whether its learning rate isn't 0."""
    from torch import nn

    from wsss_lab.networks.deeplab_v3plus import freeze_trunk, v3plus_trunk

    trunk = (v3plus_trunk(backbone) if cut == V3PLUS else backbone.trunk(cut)).train().requires_grad_(trained)
    if cut == V3PLUS:
        freeze_trunk(backbone.family, trunk)
    else:
        backbone.prepare(nn.ModuleDict({"trunk": trunk}))
    return trunk


@lru_cache
def counted(backbone: Backbone, cut: str, trained: bool = True) -> Counted:
    """What a trunk takes with an image of the backbone's side. trained: whether its learning rate isn't 0."""
    import torch
    from torch.autograd.graph import saved_tensors_hooks
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        trunk = trunk_of(backbone, cut, trained)
        own = {each.untyped_storage()._cdata for each in (*trunk.parameters(), *trunk.buffers())}
        saved: dict[int, Any] = {}  # a layer that works in place saves its input's memory again: each counts once

        def note(tensor: Any) -> Any:
            if (place := tensor.untyped_storage()._cdata) not in own:
                saved[place] = tensor
            return tensor

        with saved_tensors_hooks(note, lambda tensor: tensor):
            trunk(torch.zeros(1, 3, backbone.side, backbone.side))
    weights = list(trunk.parameters())
    return Counted(float(counter.get_total_flops()), sum(each.numel() for each in weights),
                   sum(each.numel() for each in weights if each.requires_grad),
                   sum(each.numel() for each in saved.values() if each.is_floating_point()),
                   sum(each.nbytes for each in saved.values() if not each.is_floating_point()))
