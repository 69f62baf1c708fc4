"""What tables, figures, claims and whole notebooks need, before anything is computed, and what that will take.

Which steps an artifact reads stands nowhere but in the function that makes it, which asks the session for one result
after the other, as its rows, splits and networks are in the profile. So this function is called, in a session that
computes nothing: it notes what is asked for and answers with stand-ins of the right shapes. What depends on results is
not foreseen: images that are shown are as many as in a run, but others.

The profile voc is forecast also where its data or start weights aren't on the disk yet (wsss_lab.lab.worlds has their
stand-ins): what a run takes depends on how many images there are, and not on what they show. Only forecasts do so; a
run that lacks its data says so and ends.
"""

import shutil
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from wsss_lab.data.views import EvalView
from wsss_lab.errors import LabError
from wsss_lab.lab import plots, stand_ins
from wsss_lab.lab.acquire import download_size
from wsss_lab.lab.costs import TFLOPS, Cost, costs, measured, summary, training_bytes
from wsss_lab.lab.registry import Chosen, Decider, artifacts_of, maker_of, told_by
from wsss_lab.lab.session import Session, start
from wsss_lab.lab.steps import Output, Step, topological
from wsss_lab.lab.store import Store, WriteError
from wsss_lab.lab.worlds import open_world, voc2012
from wsss_lab.measure.quantities import Derived, Results
from wsss_lab.settings import DATA, WEIGHTS, stands_in

NAMED = 4  # trainings that are too large and named
#: By column of what is printed; 0 for others.
DECIMALS = {"GPU-hours": 1, "computing, minutes": 1, "minutes": 1, "GB": 2, "GPU GB": 1}
OF_ARTIFACT = ("steps", "trainings", "GPU-hours", "GPU GB", "computing, minutes")  # columns of an artifact's row


class Needs(NamedTuple):
    """What an artifact needs. steps: those that it reads and all that they need, in the order in which they can run.
    complete: False where its function came to a halt at stand-ins, so that more may be needed."""

    title: str
    steps: tuple[Step, ...]
    complete: bool


class Forecast(Session):
    """A session that computes nothing and has nothing stored. `asked`: the steps whose results were asked for, in
    order."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.store = self  # what is opened with the store of a session is asked for like everything else
        self.forget()

    def forget(self) -> None:
        """Take note of what is asked for anew."""
        self.asked: dict[Step, None] = {}
        self.results = Results(self, most=2)

    def __contains__(self, step: Step) -> bool:
        return False

    def compute(self, *wanted: Step | str) -> None:
        """Nothing but noting the steps."""
        self.ensure([step for step in wanted if isinstance(step, Step)])

    def ensure(self, steps: Sequence[Step]) -> None:
        self.asked |= dict.fromkeys(steps)

    def load(self, item: Any) -> Any:
        """Stand-ins for the results of a step (a mapping), for one of its outputs, or for what is made of such."""
        if isinstance(item, Derived):
            return item.make(*map(self.load, item.references))
        if not isinstance(item, Step | Output):
            return self.view(item.split)
        step = item if isinstance(item, Step) else item.step
        self.ensure([step])
        made = stand_ins.StandIns(step, len(self.world.classes))
        return made if isinstance(item, Step) else made[item.name]

    def view(self, split: str) -> EvalView:
        """A stand-in for a split of the world."""
        self.ensure(self.world.eval_view(split).steps)
        return stand_ins.view(split, self.world.classes)

    def tried(self, artifact: Chosen) -> tuple[str, bool]:
        """Call an artifact's function. Returns its title and True; "" and False where it came to a halt."""
        if isinstance(artifact.make, Decider):  # what claims read is declared
            self.ensure(artifact.make.reads(self))
            return artifact.make.title(self.paper), True
        with warnings.catch_warnings(), plots.nothing_drawn():
            warnings.simplefilter("ignore")  # numbers that mean nothing
            try:
                return artifact.make(self).title, True
            except Exception:  # whatever stand-ins can lead to; what is known by then is told
                return "", False


def asked_by(run: Session, ids: Sequence[str] = ()) -> list[Step]:
    """The steps whose results artifacts of a session's paper ask for; ids: none = all of them."""
    foreseen = Forecast(run.paper, run.profile, run.routes, run.jobs, "")
    for id in ids or artifacts_of(run.paper):
        foreseen.tried(Chosen(run.paper, id, maker_of(run.paper, id)))
    return list(foreseen.asked)


def compute_ahead(paper: str, ids: Sequence[str], **settings) -> None:
    """Compute what artifacts of a paper read as one graph, so that no worker waits for another between two of them.

    What fails is left to whoever makes the artifacts, and will tell where. settings: of wsss_lab.lab.session.start.
    Raises WriteError as soon as a result can't be stored.
    """
    try:
        start(paper, **settings).compute(*ids)
    except LabError as problem:
        if isinstance(problem, WriteError):
            raise


def needs(chosen: Iterable[Chosen], **settings) -> dict[str, Needs]:
    """What artifacts need: "paper/artifact" -> Needs. settings: those of wsss_lab.lab.session.start, but for the paper.
    Raises what `start` raises."""
    chosen, found = list(chosen), {}
    runs = {paper: start(paper, **settings, figures="", kind=Forecast)
            for paper in dict.fromkeys(each.paper for each in chosen)}
    for each in chosen:
        (run := runs[each.paper]).forget()
        title, complete = run.tried(each)
        found[f"{each.paper}/{each.id}"] = Needs(title, topological(list(run.asked)), complete)
    return found


def of_papers(papers: Iterable[str], profile: str, seeds: int, tflops: float = TFLOPS, jobs: int = 0,
              device: str = "auto") -> dict[str, list[Cost]]:
    """What each notebook of the package will take; steps that several share are counted with the first of them.

    jobs: workers that try steps out; 0 = GPU-hours are estimated at `tflops`. Raises DataError or WeightsError when a
    folder that the profile reads doesn't hold what it needs.
    """
    kind = Forecast if stands_in(DATA, profile) else Session  # there is nothing that figures could look at
    seen: set[Step] = set()
    asked = []
    for paper in papers:
        if not told_by(paper, "route", "routes"):  # a notebook without a package
            continue
        run = start(paper, profile, seeds, device=device, figures="", kind=kind)
        own = told_by(paper, "route", "steps_needed")
        steps = [step for step in topological(own(run) if own else run.needs()) if step not in seen]
        asked.append((run, steps))
        seen.update(steps)
    left = [step for run, steps in asked for step in steps if step not in run.store]
    tried = measured(left, len(asked[0][0].world.classes), jobs) if jobs and left else None
    return {run.paper: costs(steps, run.world, run.store, tflops, tried) for run, steps in asked}


def can_be_tried(profile: str) -> bool:
    """Whether minutes of this machine can be told: the networks of the profile voc need a GPU and their data."""
    from wsss_lab.networks.machine import resolve_device

    return profile != "voc" or resolve_device().type == "cuda" and not (
        stands_in(DATA, profile) or stands_in(WEIGHTS, profile))


# --- as text ---------------------------------------------------------------------------------------------------------


def of_notebooks(papers: Iterable[str], profile: str, seeds: int, tflops: float = TFLOPS, listed: bool = False,
                 jobs: int = 0, device: str = "auto") -> str:
    """A line per notebook, their sum, and every training where asked for; jobs: see `of_papers`, which says what is
    raised."""
    import torch

    found = of_papers(papers, profile, seeds, tflops, jobs, device)
    together = [each for added in found.values() for each in added]
    gpu = float(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else None
    on_gpu = not jobs or gpu is not None
    rows = pd.DataFrame([summary(added, jobs, on_gpu) for added in [*found.values(), together]], [*found, "together"])
    if jobs:  # one notebook after the other
        rows.loc["together", "minutes"] = rows["minutes"].iloc[:-1].sum()
    left = [each.step for each in together if each.step.trains and not each.stored]
    return "\n".join([as_text(rows), *_explained(together, tflops, jobs), *room(together),
                      *(advice(left, gpu) if on_gpu else ()), *told(profile),
                      *([as_text(trainings(together, jobs, on_gpu), index=False)] if listed else [])])


def of_artifacts(chosen: Sequence[Chosen], profile: str, seeds: int, tflops: float = TFLOPS, jobs: int = 0) -> str:
    """A line for each artifact; jobs: workers that try steps out, 0 = hours of a GPU are estimated. Raises what `needs`
    raises."""
    found, world = needs(chosen, profile=profile, seeds=seeds), open_world(profile)
    steps = list(dict.fromkeys(step for each in found.values() for step in each.steps))
    tried = measured(steps, len(world.classes), jobs) if jobs else None
    rows = [{"artifact": name, **summary(costs(each.steps, world, (), tflops, tried), jobs, on_gpu=not jobs),
             "title": each.title} for name, each in found.items()]
    table = pd.DataFrame(rows).filter(["artifact", *OF_ARTIFACT, "title"])
    lines = [as_text(table, index=False), "Each for itself, from an empty run store: they share steps."
             + ("" if jobs else " GPU GB: largest training, in bf16."), *told(profile)]
    if halted := [name for name, each in found.items() if not each.complete]:
        lines.append(f"At least, as it can't be told before results are there: {', '.join(halted)}.")
    return "\n".join(lines)


def trainings(costs: Iterable[Cost], jobs: int = 0, on_gpu: bool = True) -> pd.DataFrame:
    """One row per training: what it is called, network, iterations, batch, side, and what wsss_lab.lab.costs.summary
    tells of it."""
    rows = []
    for each in (each for each in costs if each.step.trains):
        backbone, schedule = each.step.settings.get("backbone", {}), each.step.settings["schedule"]
        rows.append({"training": each.step.label, "network": backbone.get("family", ""),
                     "iterations": schedule["iterations"], "batch": schedule["batch"], "side": backbone.get("side", 0),
                     "minutes" if jobs else "GPU-hours": each.hours * (60 if jobs else 1),
                     **({"GPU GB": training_bytes(each.step) / 1e9} if on_gpu else {}),
                     "state": "stored" if each.stored else "to run"})
    return pd.DataFrame(rows)


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
    way_out = "  Too little: set WSSS_CACHE to a folder on a larger disk, or make room (wsss cache lists it)."
    return [f"The run store {root} will take about {needed:.1f} GB; {free:.1f} GB are free there.",
            *[way_out] * (needed > free)]


def advice(trainings: Sequence[Step], gpu: float | None) -> list[str]:
    """Sentences on the largest of some trainings, and on those that a GPU is too small for. gpu: its memory in bytes,
    None = there is none here."""
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
        told = (f"in bf16 too little for whole batches of {', '.join(names[:NAMED])}{more}." if names else
                "enough for whole batches of every training's trunk in bf16.")
        lines.append(f"This GPU has {gpu / 1e9:.1f} GB: {told}")
    return lines


def told(profile: str) -> list[str]:
    """Sentences on what has a stand-in, with the commands that fetch it and their sizes."""
    lines = []
    if stands_in(DATA, profile):
        counts = voc2012().splits
        lines += [f"{DATA} isn't set: counted for VOC 2012 with SBD, {counts['trainaug']:,} images to train on and "
                  f"{counts['val']:,} to score. To fetch them ({download_size('voc', 'sbd')}, as much again unpacked):",
                  "  wsss data voc && wsss data sbd && wsss data trainaug"]
    if stands_in(WEIGHTS, profile):
        lines += [f"{WEIGHTS} isn't set: start weights are taken to be there. To fetch all but WideResNet-38's "
                  f"({download_size('imagenet-weights', 'saliency')}):",
                  "  wsss data imagenet-weights && wsss data saliency"]
    return lines


def as_text(table: pd.DataFrame, index: bool = True) -> str:
    """A table to be printed, with words on the left."""
    table = table.copy()
    for name in table.columns:
        if pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].map(f"{{:.{DECIMALS.get(name, 0)}f}}".format)
        else:
            width = max(map(len, [name, *table[name]]))
            table[name] = table[name].str.ljust(width)
    return table.to_string(index=index)
