"""What tables, figures and claims need, before anything is computed.

Which steps an artifact reads stands nowhere but in the function that makes it, which asks the session for one result
after the other, as its rows, splits and networks are in the profile. So this function is called, in a session that
computes nothing: it notes what is asked for and answers with made-up results of the right shapes.

What depends on results is not foreseen: images that are shown are as many as in a run, but others.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from wsss_lab.data.views import EvalView
from wsss_lab.errors import LabError
from wsss_lab.lab import assumed, forecast, made_up, plots, trial
from wsss_lab.lab.registry import Chosen, Decider, artifacts_of, maker_of
from wsss_lab.lab.session import Session, start
from wsss_lab.lab.steps import Output, Step, topological
from wsss_lab.lab.store import WriteError
from wsss_lab.lab.worlds import open_world
from wsss_lab.measure.quantities import Derived, Results


class Needs(NamedTuple):
    """What an artifact needs. steps: those that it reads and all that they need, in the order in which they can run.
    complete: False where its function came to a halt at made-up results, so that more may be needed."""

    title: str
    steps: tuple[Step, ...]
    complete: bool


class DryRun(Session):
    """A session that computes nothing and has nothing stored. `asked`: the steps whose results were asked for, in
    order."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.asked: dict[Step, None] = {}
        self.results = Results(self, most=2)
        self.store = self  # what is opened with the store of a session is asked for like everything else

    def __contains__(self, step: Step) -> bool:
        return False

    def compute(self, *wanted: Step | str) -> None:
        """Nothing but noting the steps."""
        self.ensure([step for step in wanted if isinstance(step, Step)])

    def ensure(self, steps: Sequence[Step]) -> None:
        self.asked |= dict.fromkeys(steps)

    def load(self, item: Any) -> Any:
        """Made-up results of a step (a mapping), of one of its outputs, or of what is made of such."""
        if isinstance(item, Derived):
            return item.make(*map(self.load, item.references))
        if not isinstance(item, Step | Output):
            return self.view(item.split)
        step = item if isinstance(item, Step) else item.step
        self.ensure([step])
        made = made_up.MadeUp(step, len(self.world.classes))
        return made if isinstance(item, Step) else made[item.name]

    def view(self, split: str) -> EvalView:
        """A made-up split of the world."""
        self.ensure(self.world.eval_view(split).steps)
        return made_up.view(split, self.world.classes)


def asked_by(run: Session, ids: Sequence[str] = ()) -> list[Step]:
    """The steps whose results artifacts of a session's paper ask for; ids: none = all of them."""
    dry = DryRun(run.paper, run.profile, run.routes, run.jobs, "")
    for id in ids or artifacts_of(run.paper):
        _tried(Chosen(run.paper, id, maker_of(run.paper, id)), dry)
    return list(dry.asked)


def compute_ahead(paper: str, ids: Sequence[str], **settings) -> None:
    """Compute what artifacts of a paper read as one graph, so that no worker waits for another between two of them.

    What fails is left to whoever makes the artifacts, and will tell where. settings: of wsss_lab.lab.session.start.
    Raises WriteError as soon as a result can't be stored.
    """
    try:
        run = start(paper, **settings)
        run.compute(*ids)
    except WriteError:
        raise
    except LabError:
        return


def needs(chosen: Iterable[Chosen], **settings) -> dict[str, Needs]:
    """What artifacts need: "paper/artifact" -> Needs. settings: those of wsss_lab.lab.session.start, but for the paper.

    Raises what `start` raises.
    """
    runs: dict[str, DryRun] = {}
    found = {}
    for each in chosen:
        if each.paper not in runs:
            runs[each.paper] = start(each.paper, **settings, figures="", kind=DryRun)
        run = runs[each.paper]
        run.asked, run.results = {}, Results(run, most=2)
        title, complete = _tried(each, run)
        found[f"{each.paper}/{each.id}"] = Needs(title, topological(list(run.asked)), complete)
    return found


def _tried(artifact: Chosen, run: DryRun) -> tuple[str, bool]:
    """Call an artifact's function. Returns its title and True; "" and False where it came to a halt."""
    if isinstance(artifact.make, Decider):  # what claims read is declared
        run.ensure(artifact.make.reads(run))
        return artifact.make.title(run.paper), True
    with warnings.catch_warnings(), plots.nothing_drawn():
        warnings.simplefilter("ignore")  # numbers that mean nothing
        try:
            return artifact.make(run).title, True
        except Exception:  # whatever made-up numbers can lead to; what is known by then is told
            return "", False


def table(found: dict[str, Needs], tflops: float = forecast.TFLOPS,
          measured: Mapping[Step, float] | None = None) -> pd.DataFrame:
    """One row per artifact: steps, trainings, GPU-hours and GB of GPU memory of the largest training, or minutes of a
    worker where seconds were measured, title; nothing is taken from a store."""
    rows = []
    for name, each in found.items():
        trainings = [step for step in each.steps if step.trains]
        if measured is None:
            taken = {"GPU-hours": sum(forecast.hours(step, tflops) for step in each.steps),
                     "GPU GB": max(map(forecast.training_bytes, trainings), default=0) / 1e9}
        else:
            taken = {"computing, minutes": sum(measured.get(step, 0.0) for step in each.steps) / 60}
        rows.append({"artifact": name, "steps": len(each.steps), "trainings": len(trainings), **taken,
                     "title": each.title})
    return pd.DataFrame(rows)


def render(chosen: Sequence[Chosen], profile: str, seeds: int, tflops: float = forecast.TFLOPS, jobs: int = 0) -> str:
    """What artifacts need, as text: a line for each; jobs: workers that try steps out, 0 = hours of a GPU are
    estimated. Raises DataError or WeightsError when a folder that the profile reads doesn't hold what it needs."""
    found = needs(chosen, profile=profile, seeds=seeds)
    steps = list(dict.fromkeys(step for each in found.values() for step in each.steps))
    measured = trial.measured(steps, len(open_world(profile).classes), jobs) if jobs else None
    halted = [name for name, each in found.items() if not each.complete]
    lines = [forecast.as_text(table(found, tflops, measured), index=False),
             "Each for itself, from an empty run store: they share steps."
             + (" GPU GB: largest training, in bf16." if measured is None else ""),
             *assumed.told(profile)]
    if halted:
        lines.append(f"At least, as it can't be told before results are there: {', '.join(halted)}.")
    return "\n".join(lines)
