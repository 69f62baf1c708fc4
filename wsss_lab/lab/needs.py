"""What single tables and figures need, before anything is computed.

Which steps an artifact reads stands nowhere but in the function that makes it, which asks the session for one result
after the other, as its rows, splits and networks are in the profile. So this function is called, in a session that
computes nothing: it notes what is asked for and answers with made-up results of the right shapes. The steps are those
of the profile itself. A record of what was read in a run of another profile would not do: labels of one profile's
steps stand for no step of another where splits, networks or detectors differ, and rows that it leaves out are missed.

What depends on results is not foreseen: images that are shown are as many as in a run, but others.
"""

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from wsss_lab.lab import assumed, forecast
from wsss_lab.lab.chosen import Chosen
from wsss_lab.lab.dry_run import DryRun
from wsss_lab.lab.session import start
from wsss_lab.lab.steps import Step, topological


class Needs(NamedTuple):
    """What an artifact needs. steps: those that it reads and all that they need, in the order in which they can run.
    complete: False where its function came to a halt at made-up results, so that more may be needed."""

    title: str
    steps: tuple[Step, ...]
    complete: bool


def needs(chosen: Iterable[Chosen], **settings) -> dict[str, Needs]:
    """What artifacts need: "paper/artifact" -> Needs. settings: those of wsss_lab.lab.session.start, but for the paper.

    Raises what `start` raises.
    """
    runs: dict[str, DryRun] = {}
    found = {}
    for each in chosen:
        if each.paper not in runs:
            runs[each.paper] = start(each.paper, **settings, figures="", kind=DryRun)
        found[f"{each.paper}/{each.id}"] = _needs_of(each, runs[each.paper])
    return found


def _needs_of(artifact: Chosen, run: DryRun) -> Needs:
    run.asked, title, complete = {}, "", True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numbers that mean nothing
        try:
            title = artifact.make(run).title
        except Exception:  # whatever made-up numbers can lead to; what is known by then is told
            complete = False
    return Needs(title, topological(list(run.asked)), complete)


def table(found: dict[str, Needs], tflops: float = forecast.TFLOPS) -> pd.DataFrame:
    """One row per artifact: steps, trainings, GPU-hours, GB of GPU memory of the largest training, title; nothing is
    taken from a store."""
    rows = []
    for name, each in found.items():
        hours = sum(forecast.hours(step, tflops) for step in each.steps)
        trainings = [step for step in each.steps if step.trains]
        rows.append({"artifact": name, "steps": len(each.steps), "trainings": len(trainings), "GPU-hours": hours,
                     "GPU GB": max(map(forecast.training_bytes, trainings), default=0) / 1e9, "title": each.title})
    return pd.DataFrame(rows)


def render(chosen: Sequence[Chosen], profile: str, seeds: int, tflops: float = forecast.TFLOPS) -> str:
    """What artifacts need, as text: a line for each. Raises DataError or WeightsError when a folder that the profile
    reads doesn't hold what it needs."""
    found = needs(chosen, profile=profile, seeds=seeds)
    halted = [name for name, each in found.items() if not each.complete]
    lines = [forecast.as_text(table(found, tflops), index=False),
             "Each for itself, from an empty run store: they share steps. GPU GB: largest training, in bf16.",
             *assumed.told(profile)]
    if halted:
        lines.append(f"At least, as it can't be told before results are there: {', '.join(halted)}.")
    return "\n".join(lines)
