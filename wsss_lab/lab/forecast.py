"""What a run will take, before any training starts: trainings, hours and memory of a GPU, room on the disk.

For single tables and figures see wsss_lab.lab.needs. Hours are an estimate: floating-point operations of the trunk
(counted on the network itself, without computing it), three times as many for a training as for a look at an image,
divided by what a GPU keeps up.
"""

import importlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import pandas as pd

from wsss_lab.lab import memory
from wsss_lab.lab.assumed import DATA, assumed, told
from wsss_lab.lab.session import Session, start
from wsss_lab.lab.steps import Step, topological
from wsss_lab.lab.store import Store
from wsss_lab.networks.backbones import Backbone

TFLOPS = 20.0  # kept up by a data-centre GPU in mixed precision; our assumption, an option of `wsss plan`
BACKWARD = 3  # a training step costs about three looks
WEIGHT_BYTES = 4
HEADS = 1.35  # what is stored of a training, relative to its trunk: 1.1 to 1.4 in rehearsals of the papers' networks
PIXELS = {False: 64 * 64, True: 500 * 500}  # of a drawn image, of a photograph
_HOUR = 3600
_DECIMALS = {"GPU-hours": 1, "GB": 1, "GPU GB": 1}  # by column of what is printed; 0 for others


@dataclass(frozen=True)
class Cost:
    """What one step will take. hours: of a GPU. bytes: in the run store. stored: nothing of it, it is there."""

    step: Step
    hours: float
    bytes: float
    stored: bool

    @property
    def trains(self) -> bool:
        """Whether the step trains a network."""
        return self.step.trains


def all_steps(run: Session) -> tuple[Step, ...]:
    """Everything that a paper's notebook computes: what its tables, figures and claims name, and what that needs."""
    wanted: list[Step] = []
    for kind in ("tables", "claims"):
        part = importlib.import_module(f"wsss_lab.papers.{run.paper}.{kind}")
        wanted += [step for route in run.routes for step in part.steps(route, run.profile)]
    wanted += importlib.import_module(f"wsss_lab.papers.{run.paper}.figures").steps(run)
    return topological(wanted)


def has_forecast(paper: str) -> bool:
    """Whether a notebook is one of a paper with tables, claims and figures; the primer isn't."""
    return all(find_spec(f"wsss_lab.papers.{paper}.{kind}") for kind in ("tables", "claims", "figures"))


def costs(run: Session, steps: Iterable[Step], tflops: float = TFLOPS) -> list[Cost]:
    """What each of some steps will take, in the order given."""
    return [Cost(step, hours(step, tflops), _bytes(step, run), step in run.store) for step in steps]


def hours(step: Step, tflops: float = TFLOPS) -> float:
    """Hours of a GPU that a step will take."""
    return _operations(step) / (tflops * 1e12 * _HOUR)


def summary(costs: Iterable[Cost]) -> dict[str, Any]:
    """Steps, those stored already, and of those that are left: trainings, GPU-hours, GB of GPU memory of the largest
    training, GB on the disk."""
    costs = list(costs)
    left = [each for each in costs if not each.stored]
    largest = max((memory.training_bytes(each.step) for each in left), default=0)
    return {"steps": len(costs), "stored": len(costs) - len(left), "trainings": sum(each.trains for each in left),
            "GPU-hours": sum(each.hours for each in left), "GPU GB": largest / 1e9,
            "GB": sum(each.bytes for each in left) / 1e9}


def trainings(costs: Iterable[Cost]) -> pd.DataFrame:
    """One row per training: what it is called, network, iterations, batch, side, GPU-hours and GB of GPU memory."""
    rows = []
    for each in costs:
        if each.trains:
            backbone, schedule = each.step.settings.get("backbone", {}), each.step.settings["schedule"]
            rows.append({"training": each.step.label, "network": backbone.get("family", ""),
                         "iterations": schedule["iterations"], "batch": schedule["batch"],
                         "side": backbone.get("side", 0), "GPU-hours": each.hours,
                         "GPU GB": memory.training_bytes(each.step) / 1e9,
                         "state": "stored" if each.stored else "to run"})
    return pd.DataFrame(rows)


def of_papers(papers: Iterable[str], profile: str, seeds: int, tflops: float = TFLOPS) -> dict[str, list[Cost]]:
    """What each paper that has a forecast will take; steps that papers share are counted with the first of them.

    Raises DataError or WeightsError when a folder that the profile reads doesn't hold what it needs.
    """
    from wsss_lab.lab.dry_run import DryRun

    kind = DryRun if assumed(DATA, profile) else Session  # there is nothing that figures could look at
    seen: set[Step] = set()
    found = {}
    for paper in filter(has_forecast, papers):
        run = start(paper, profile, seeds, figures="", kind=kind)
        found[paper] = costs(run, (step for step in all_steps(run) if step not in seen), tflops)
        seen |= {each.step for each in found[paper]}
    return found


def render(papers: Iterable[str], profile: str, seeds: int, tflops: float = TFLOPS, listed: bool = False) -> str:
    """The forecast as text: a line per paper that has one, their sum, and every training where asked for. Raises what
    `of_papers` raises."""
    found = of_papers(papers, profile, seeds, tflops)
    together = [each for added in found.values() for each in added]
    rows = {paper: summary(added) for paper, added in found.items()} | {"together": summary(together)}
    left = [each.step for each in together if each.trains and not each.stored]
    lines = [as_text(pd.DataFrame(rows).T),
             f"Hours are an estimate, at {tflops:g} TFLOP/s kept up; what is stored already is left out.",
             *room(together), *memory.advice(left, memory.gpu_bytes()), *told(profile)]
    if listed:
        lines.append(as_text(trainings(together), index=False))
    return "\n".join(lines)


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


def _operations(step: Step) -> float:
    """Floating-point operations of a step that runs a network; 0 for others."""
    if not step.settings.get("backbone"):
        return 0.0
    look = _of_a_look(Backbone.from_settings(step.settings["backbone"]), memory.cut_of(step))
    if step.trains:
        schedule = step.settings["schedule"]
        return BACKWARD * look * schedule["iterations"] * schedule["batch"]
    scales = step.settings.get("scales") or ()
    return look * _images(step) * (2 * sum(scale ** 2 for scale in scales) or 1)  # every scale is mirrored too


def _bytes(step: Step, run: Session) -> float:
    """What a step will store, roughly: the weights of a training, a byte per pixel of what is made of images."""
    if step.trains:
        backbone = step.settings.get("backbone")
        return HEADS * WEIGHT_BYTES * _weights(Backbone.from_settings(backbone)) if backbone else 0.0
    return 0.0 if step.stage == "evaluation" else _images(step) * PIXELS[run.artifacts.photographs]


@lru_cache
def _of_a_look(backbone: Backbone, cut: str) -> float:
    """Operations of the trunk on one image of the backbone's side. cut: see wsss_lab.lab.memory.cut_of."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        memory.trunk_of(backbone, cut)(torch.zeros(1, 3, backbone.side, backbone.side))
    return float(counter.get_total_flops())


@lru_cache
def _weights(backbone: Backbone) -> int:
    """Number of the trunk's weights."""
    import torch

    with torch.device("meta"):
        return sum(weight.numel() for weight in backbone.trunk("DeepLab").parameters())


def _images(step: Step) -> int:
    """Images of the split that a step looks at."""
    view = step.inputs.get("view")
    return view.count if view is not None else 0
