"""What a run will take, before any training starts: trainings, minutes of this machine, memory of a GPU, room on the
disk.

For single tables and figures see wsss_lab.lab.needs. Minutes are measured in small (wsss_lab.lab.trial). Where that
can't be done, the profile voc without its data or without a GPU, hours of a GPU are an estimate: floating-point
operations of the trunk (counted on the network itself, without computing it), three times as many for a training as for
a look at an image, divided by what a GPU keeps up. Memory is counted on the trunk too: weights, their gradients, what
the optimiser keeps for each, and the activations that the backward pass of a batch needs. Heads, losses and what exists
for a moment come on top.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import pandas as pd

from wsss_lab.lab import trial
from wsss_lab.lab.assumed import DATA, WEIGHTS, assumed, told
from wsss_lab.lab.fingerprint import definitions_of
from wsss_lab.lab.pool import free_gpus
from wsss_lab.lab.session import Session, route_module, start
from wsss_lab.lab.steps import Output, Step, references, topological
from wsss_lab.lab.store import Store
from wsss_lab.networks.backbones import Backbone

TFLOPS = 20.0  # kept up by a data-centre GPU in mixed precision; our assumption, an option of `wsss plan`
BACKWARD = 3  # a training step costs about three looks
FULL, HALF = 4, 2  # bytes of a number in fp32, and in bf16 or fp16
HEADS = 1.35  # what is stored of a training, relative to its trunk: 1.1 to 1.4 in rehearsals of the papers' networks
PIXELS = {False: 64 * 64, True: 500 * 500}  # of a drawn image, of a photograph
#: How much smaller what is made of an image is stored (benchmarks/results/packed.txt): maps of labels, saliency, class
#: maps of the size of the network's view; on its grid, they stay as they are.
PACKED = {False: {"labels": 20.0, "saliency": 1.6, "classes": 12.0},
          True: {"labels": 40.0, "saliency": 4.5, "classes": 12.0}}
STRIDE = {False: 4, True: 8}  # of that grid
DRAWN = 3 + 3 / 16  # bytes per pixel of a drawn image, with its masks
GRADED = {"maps", "S1", "S2", "S3"}  # outputs that aren't labels
NAMED = 4  # trainings that are too large and named
V3PLUS = "v3plus"  # a trunk cut and frozen as in DeepLabv3+
#: By column of what is printed; 0 for others.
_DECIMALS = {"GPU-hours": 1, "computing, minutes": 1, "minutes": 1, "GB": 2, "GPU GB": 1}


@dataclass(frozen=True)
class Cost:
    """What one step will take. hours: of a worker or a GPU. bytes: in the run store. stored: nothing, it is there."""

    step: Step
    hours: float
    bytes: float
    stored: bool


def has_forecast(paper: str) -> bool:
    """Whether a notebook is one of the package's."""
    return find_spec(f"wsss_lab.papers.{paper}") is not None


def costs(run: Session, steps: Iterable[Step], tflops: float = TFLOPS,
          measured: Mapping[Step, float] | None = None) -> list[Cost]:
    """What each of some steps will take, in the order given. measured: seconds by step, 0 for those left out; None:
    estimated."""
    steps = list(steps)
    taken: dict[Step, set[str]] = {}  # what others take of a step
    for each in references(value for step in steps for value in step.inputs.values()):
        if isinstance(each, Output):
            taken.setdefault(each.step, set()).add(each.name)
    return [Cost(step, hours(step, tflops) if measured is None else measured.get(step, 0.0) / 3600,
                 _bytes(step, run, taken.get(step, set())), step in run.store) for step in steps]


def hours(step: Step, tflops: float = TFLOPS) -> float:
    """Hours of a GPU that a step will take, by its operations; 0 for one that runs no network."""
    if not step.runs_network:
        return 0.0
    operations = _operations(Backbone.from_settings(step.settings["backbone"]), cut_of(step))
    if step.trains:
        operations *= BACKWARD * step.settings["schedule"]["iterations"] * step.settings["schedule"]["batch"]
    else:  # every scale is mirrored too
        operations *= _images(step) * (2 * sum(scale ** 2 for scale in step.settings.get("scales") or ()) or 1)
    return operations / (tflops * 1e12 * 3600)


def _bytes(step: Step, run: Session, taken: set[str]) -> float:
    """What a step will store, roughly: the weights of a training, maps of each image that is looked at. taken: outputs
    that others take."""
    backbone, photographs = step.settings.get("backbone"), run.artifacts.photographs
    if step.trains:
        return HEADS * FULL * _kept(Backbone.from_settings(backbone), "DeepLab", False).weights if backbone else 0.0
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
        planes = HALF * len(run.world.classes)
        of_image = (planes * (backbone["side"] / STRIDE[photographs]) ** 2 if backbone else
                    planes * step.settings.get("side", 0) ** 2 / packed["classes"])
    return trial.amount(step) * of_image


def _images(step: Step) -> int:
    """Images of the split that a step looks at."""
    view = step.inputs.get("view")
    return view.count if view is not None else 0


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


def trainings(costs: Iterable[Cost], jobs: int = 0, on_gpu: bool = True) -> pd.DataFrame:
    """One row per training: what it is called, network, iterations, batch, side, GPU-hours and GB of GPU memory; see
    `summary`."""
    rows = []
    for each in costs:
        if each.step.trains:
            backbone, schedule = each.step.settings.get("backbone", {}), each.step.settings["schedule"]
            rows.append({"training": each.step.label, "network": backbone.get("family", ""),
                         "iterations": schedule["iterations"], "batch": schedule["batch"],
                         "side": backbone.get("side", 0),
                         **({"minutes": 60 * each.hours} if jobs else {"GPU-hours": each.hours}),
                         **({"GPU GB": training_bytes(each.step) / 1e9} if on_gpu else {}),
                         "state": "stored" if each.stored else "to run"})
    return pd.DataFrame(rows)


def can_be_tried(profile: str) -> bool:
    """Whether minutes of this machine can be told: the networks of the profile voc need a GPU and their data."""
    from wsss_lab.networks.machine import resolve_device

    return profile != "voc" or resolve_device().type == "cuda" and not (
        assumed(DATA, profile) or assumed(WEIGHTS, profile))


def of_papers(papers: Iterable[str], profile: str, seeds: int, tflops: float = TFLOPS, jobs: int = 0,
              device: str = "auto") -> dict[str, list[Cost]]:
    """What each notebook of the package will take; steps that several share are counted with the first of them.

    jobs: workers that try steps out; 0 = GPU-hours are estimated at `tflops`. Raises DataError or WeightsError when a
    folder that the profile reads doesn't hold what it needs.
    """
    from wsss_lab.lab.needs import DryRun

    kind = DryRun if assumed(DATA, profile) else Session  # there is nothing that figures could look at
    seen: set[Step] = set()
    asked = []
    for paper in filter(has_forecast, papers):
        run = start(paper, profile, seeds, device=device, figures="", kind=kind)
        own = getattr(route_module(paper), "steps_needed", None)
        steps = [step for step in topological(own(run) if own else run.needs()) if step not in seen]
        asked.append((run, steps))
        seen.update(steps)
    left = [step for run, steps in asked for step in steps if step not in run.store]
    measured = trial.measured(left, len(asked[0][0].world.classes), jobs) if jobs and left else None
    return {run.paper: costs(run, steps, tflops, measured) for run, steps in asked}


def render(papers: Iterable[str], profile: str, seeds: int, tflops: float = TFLOPS, listed: bool = False,
           jobs: int = 0, device: str = "auto") -> str:
    """The forecast as text: a line per notebook, their sum, and every training where asked for; jobs: see `of_papers`.
    Raises what `of_papers` raises."""
    import torch

    found = of_papers(papers, profile, seeds, tflops, jobs, device)
    together = [each for added in found.values() for each in added]
    gpu = float(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else None
    on_gpu = not jobs or gpu is not None
    rows = pd.DataFrame([summary(added, jobs, on_gpu) for added in [*found.values(), together]], [*found, "together"])
    left = [each.step for each in together if each.step.trains and not each.stored]
    if jobs:  # one notebook after the other
        rows.loc["together", "minutes"] = rows["minutes"].iloc[:-1].sum()
    return "\n".join([as_text(rows), *_explained(together, tflops, jobs), *room(together),
                      *(advice(left, gpu) if on_gpu else ()), *told(profile),
                      *([as_text(trainings(together, jobs, on_gpu), index=False)] if listed else [])])


def _explained(costs: Iterable[Cost], tflops: float, jobs: int) -> list[str]:
    """What minutes or hours rest on."""
    if not jobs:
        return [f"Hours are an estimate, at {tflops:g} TFLOP/s kept up; what is stored already is left out."]
    missing = Counter(each.step.function.__name__ for each in costs if not each.stored and not each.hours)
    workers = "1 worker" if jobs == 1 else f"{jobs} workers"
    return [f"Minutes are those of this machine with {workers}: some steps of each kind were tried out in small.",
            "Drawing tables and figures comes on top; what is stored already is left out.",
            *([f"Not counted, as a trial came to no end: {', '.join(missing)}."] if missing else [])]


def room(costs: Iterable[Cost]) -> list[str]:
    """What steps that aren't stored take on the disk of the run store, what is free there, and what to do if that is
    too little."""
    root = Store().root
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    needed, free = summary(costs)["GB"], shutil.disk_usage(there).free / 1e9
    lines = [f"The run store {root} will take about {needed:.1f} GB; {free:.1f} GB are free there."]
    if needed > free:
        lines.append("  Too little: set WSSS_CACHE to a folder on a larger disk, or make room (wsss cache lists what "
                     "is stored).")
    return lines


def as_text(table: pd.DataFrame, index: bool = True) -> str:
    """A table to be printed, with words on the left."""
    table = table.copy()
    for name in table.columns:
        if pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].map(f"{{:.{_DECIMALS.get(name, 0)}f}}".format)
        else:
            width = max(map(len, [name, *table[name]]))
            table[name] = table[name].str.ljust(width)
    return table.to_string(index=index)


# ---------------------------------------------------------------------------------------------------------------------
# Memory of a GPU.


def training_bytes(step: Step, mixed: bool = True, parts: int = 1) -> float:
    """GPU memory of the trunk of a step's network at its peak; 0 for a step that trains none.

    mixed: activations, and a copy of the weights, in half precision. parts: how many a batch is worked through in.
    """
    if not step.trains or not step.runs_network:
        return 0.0
    schedule = step.settings["schedule"]
    kept = _kept(Backbone.from_settings(step.settings["backbone"]), cut_of(step), schedule["trunk_lr"] > 0)
    momenta = 2 if schedule["optimiser"] == "adamw" else int(schedule["momentum"] > 0)
    weights = kept.weights * (FULL + HALF * mixed) + kept.trained * FULL * (1 + momenta)
    images = -(-schedule["batch"] // parts)
    return weights + images * (kept.activations * (HALF if mixed else FULL) + kept.bytes)


def advice(trainings: Sequence[Step], gpu: float | None) -> list[str]:
    """Sentences on the largest of some trainings, and on those that a GPU is too small for.

    gpu: its memory in bytes, None = there is none here.
    """
    if not trainings:
        return []
    largest = max(trainings, key=training_bytes)
    lines = [f"The largest training, {largest.label}, needs about {training_bytes(largest) / 1e9:.1f} GB of GPU memory "
             f"in bf16, {training_bytes(largest, mixed=False) / 1e9:.1f} GB in fp32,",
             "for its trunk: heads and losses come on top. A batch that doesn't fit is worked through in parts; "
             "WSSS_PARTS=2 does so",
             f"from the start, which takes {training_bytes(largest, parts=2) / 1e9:.1f} GB in bf16."]
    if gpu is not None:
        names = [each.label for each in trainings if training_bytes(each) > gpu]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        lines.append(f"This GPU has {gpu / 1e9:.1f} GB: " + (
            f"in bf16 too little for whole batches of {', '.join(names[:NAMED])}{more}." if names else
            "enough for whole batches of every training's trunk in bf16."))
    return lines


# ---------------------------------------------------------------------------------------------------------------------
# What is counted on trunks, which are built without their weights and computed without numbers.


@dataclass(frozen=True)
class Kept:
    """What a trunk keeps in training. weights, trained: how many there are, and how many of them are trained.
    activations: floating-point numbers per image that the backward pass needs. bytes: what it needs beside them, which
    no precision changes (the places of maxima)."""

    weights: int
    trained: int
    activations: int
    bytes: int


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
def _operations(backbone: Backbone, cut: str) -> float:
    """Floating-point operations of the trunk on one image of the backbone's side."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        trunk_of(backbone, cut)(torch.zeros(1, 3, backbone.side, backbone.side))
    return float(counter.get_total_flops())


@lru_cache
def _kept(backbone: Backbone, cut: str, trained: bool) -> Kept:
    """trained: whether the trunk's learning rate isn't 0."""
    import torch
    from torch.autograd.graph import saved_tensors_hooks

    with torch.device("meta"):
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
    return Kept(sum(each.numel() for each in weights), sum(each.numel() for each in weights if each.requires_grad),
                sum(each.numel() for each in saved.values() if each.is_floating_point()),
                sum(each.nbytes for each in saved.values() if not each.is_floating_point()))
