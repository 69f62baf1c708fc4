"""The object a notebook works with: its steps, its store, its artifacts, and the card that says what will happen."""

import importlib
import os
import pkgutil
import re
import time
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd

import wsss_lab.papers
from wsss_lab.errors import ParameterError
from wsss_lab.lab import data_check, provenance, runs
from wsss_lab.lab.artifacts import Artifacts
from wsss_lab.lab.compute import compute, missing, plan
from wsss_lab.lab.notebooks import KEPT, OWN, project_folder, shown_folder
from wsss_lab.lab.pictures import Picture, draw
from wsss_lab.lab.profiles import LESSON, check_inputs, named, profile_named
from wsss_lab.lab.published import published
from wsss_lab.lab.registry import ALL_CLAIMS, Chosen, Claims, maker_of
from wsss_lab.lab.steps import Step
from wsss_lab.lab.store import Store
from wsss_lab.lab.worlds import AUGMENTED, TOY_COUNTS, PhotoWorld
from wsss_lab.measure.quantities import Results
from wsss_lab.settings import check_variables, checked, variable

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler


class Session:
    """One run of a paper's notebook. routes: one per seed, 0 to seeds - 1. world: what images are looked at. artifacts:
    where tables and figures go."""

    def __init__(self, paper: str, profile: str, routes: list, jobs: int, figures: str):
        self.paper, self.profile, self.routes, self.jobs = paper, profile, routes, jobs
        self.world = routes[0].world
        self.store = Store()
        self.started = time.monotonic()
        folder = Path(figures) / profile / paper if figures else None
        self._stored_only = False
        self._read: set[Step] = set()
        self._asked: dict[tuple[str, ...], list[Step]] = {}
        self.artifacts = Artifacts(folder, settings={"profile": profile, "world": self.world.name,
                                                     "world_seed": getattr(self.world, "seed", None)},
                                   seeds=[route.seed for route in routes],
                                   photographs=profile_named(profile).world == "folder",
                                   caveat=profile_named(profile).caveat)

    @property
    def seeds(self) -> int:
        """Number of training seeds."""
        return len(self.routes)

    @property
    def route(self):
        """The route at seed 0, the one that pictures are taken from."""
        return self.routes[0]

    @cached_property
    def results(self) -> Results:
        """What is measured, each quantity once."""
        return Results(self)

    def compute(self, *wanted: Step | str) -> None:
        """Run what is missing of steps, of what artifacts (ids) read, and of everything that they need, in workers. In
        a lesson, artifacts that it lacks trainings for are left out."""
        steps = [each for each in wanted if isinstance(each, Step)]
        ids = [each for each in wanted if isinstance(each, str) and not self.lacking(each)]
        for group in [(id,) for id in ids] if self.profile == LESSON else [ids] * bool(ids):
            steps += self.needs(*group)
        self._run(steps)
        runs.note(steps)

    def _run(self, steps: list[Step]) -> None:
        if self.profile == LESSON and any(step.trains for step in missing(steps, self.store)):
            print(f"This trains on {self.world.count('train')} images; networks that come with the package have learnt "
                  f"from {dict(TOY_COUNTS['toy'])['train']:,}.")
        compute(steps, self.store, jobs=self.jobs or None)

    def needs(self, *ids: str) -> list[Step]:
        """The steps that artifacts read (none = all of the paper), as far as they can be told before a run."""
        from wsss_lab.lab.forecast import asked_by

        if ids not in self._asked:
            self._asked[ids] = asked_by(self, ids)
        return self._asked[ids]

    def lacking(self, id: str) -> list[Step]:
        """The trainings that a lesson would have to run for an artifact; none in other profiles."""
        return [step for step in missing(self.needs(id), self.store) if step.trains] if self.profile == LESSON else []

    def load(self, item: Any) -> Any:
        """The result of a step (a mapping), of one of its outputs or of a view; what isn't stored yet is computed."""
        self.ensure([item] if isinstance(item, Step) else item.steps)
        return item.load(self.store)

    def ensure(self, steps: Sequence[Step]) -> None:
        """Have steps in the store, and note them as read; each is looked at once."""
        new = [step for step in steps if step not in self._read]
        if unknown := [step for step in new if step not in self.store]:
            if self._stored_only:
                raise NotStored(str(unknown[0]))
            self._run(unknown)
        if new:
            runs.note(new)
            self._read.update(new)

    def view(self, split: str):
        """A split with masks, for looking and scoring in the notebook; training steps get their own view."""
        return self.load(self.world.eval_view(split))

    def make(self, id: str, *next_ids: str) -> Any:
        """A table, a figure or the decided claims of the paper; what it and the next ones read is computed at once. In
        a lesson, a sentence (Markdown) in the place of what it lacks trainings for."""
        maker = maker_of(self.paper, id)
        self._stored_only = True
        try:
            return maker(self)
        except NotStored:
            pass
        finally:
            self._stored_only = False
        if lacking := self.lacking(id):
            return self._told(id, lacking)
        self.compute(id, *next_ids)
        return maker(self)

    def _told(self, id: str, lacking: list[Step]) -> Any:
        """In the place of an artifact: what it needs that a lesson lacks, how to get it, and the kept one."""
        from IPython.display import Markdown

        from wsss_lab.lab.twins import artifact

        told = (f"*{id}* needs {len(lacking)} training{'s' * (len(lacking) > 1)} more than a lesson has: `make "
                f"reproduce PAPER={self.paper} ARTIFACT={self.paper}/{id}` makes it, in minutes.")
        place = Path(KEPT, "toy", self.paper)
        saved, twin = runs.read(project_folder() / place), place / "notebook.md"
        if id in saved.artifacts:
            lines = [f"{told} Here is the kept one, of `toy` with {saved.seeds} trainings.\n", *artifact(saved, id)]
            own = re.compile(r"\]\((?=[\w-]+\.(csv|md|png)\))")  # links from the folder of the kept one
            told = own.sub(f"](../{place.as_posix()}/", "\n".join(lines))
        elif (project_folder() / twin).is_file():
            told += f" Kept ones are in [{twin}](../{twin})."
        return Markdown(told)

    def show(self, what: Any, *more: str) -> Any:
        """Artifacts of the paper by their ids, such as "table2": made, saved and displayed. Or a figure, for display
        only, and its alt text: one sentence for a reader who does not see it."""
        if hasattr(what, "alt") and not more:  # a figure that tells its own
            what, more = what.figure, (what.alt,)
        if hasattr(what, "savefig") and len(more) == 1:
            if self.profile != LESSON:  # whose networks have learnt: what is only looked at needs no remark
                self.artifacts.note(what)
            return Picture(draw(what), *more)
        if not all(isinstance(each, str) for each in (what, *more)):
            raise ParameterError(f"run.show can't show {type(what).__name__}",
                                 'ids of artifacts, as in run.show("table2", "fig3"), or a figure and its alt text')
        from IPython.display import display

        ids = (what, *more)
        shown = [self.save(id, self.make(id, *ids[place:])) for place, id in enumerate(ids, start=1)]
        for each in shown[:-1]:
            display(each)
        return shown[-1]

    def save(self, id: str, made: Any) -> Any:
        """Save a table (frame, title, protocol, decimals), a figure (figure, title, alt, kind) or decided claims under
        its id and show it."""
        if hasattr(made, "_repr_markdown_"):  # a lesson's sentence
            return made
        if isinstance(made, Claims):  # one of them is only shown
            return (self.artifacts if id == ALL_CLAIMS else Artifacts(None)).claims(made.frame)
        if hasattr(made, "frame"):
            return self.artifacts.table(id, made.frame, made.title, made.protocol, decimals=made.decimals)
        return self.artifacts.figure(id, made.figure, made.title, made.alt, made.kind)

    def published(self, name: str) -> pd.DataFrame:
        """A table of printed numbers of this paper."""
        return published(self.paper, name)

    def plan(self, *steps: Step) -> pd.DataFrame:
        """Which steps are in the store and which will run, and why."""
        return plan(steps, self.store)

    def minutes(self) -> float:
        """Minutes since the session was started."""
        return (time.monotonic() - self.started) / 60

    def card(self, *steps: Step) -> "Styler":
        """The run card: what is computed on, where results go, what of the steps is reused and what isn't, and why.
        steps: none = all that the paper's artifacts read."""
        import torch

        from wsss_lab.networks.machine import resolve_device

        if self.profile == LESSON:
            work = {"networks": "of the profile toy, training seed 0; they come with the package"}
        else:
            state = self.plan(*(steps or self.needs()))
            why = [row.why.partition(":")[0] for row in state.itertuples() if row.state != "cached"]
            told = ", ".join(f"{reason} {count}" for reason, count in Counter(why).most_common())
            work = {"steps": f"{len(state)}: {len(state) - len(why)} reused, {len(why)} to run"
                             + f" ({told})" * bool(told)}
        address, images = variable("WSSS_CLUSTER"), f"{self.world.count('train'):,}"
        workers = f"workers of {address}" if address else f"{self.jobs or 'one per core'} worker(s)"
        if isinstance(self.world, PhotoWorld):
            images += f", tags from {self.world.folder.tags_source}"
        if self.profile == "voc" and AUGMENTED not in self.world.folder.splits:
            images += "; no list trainaug: for those that SBD adds, wsss data sbd && wsss data trainaug"
        return _facts({
            "paper": self.paper,
            "profile": f"{self.profile}: {profile_named(self.profile).summary}",
            "world": f"{self.world.name}, classes: {', '.join(self.world.classes)}",
            "training images": images,
            "seeds": self.seeds,
            "device": f"{resolve_device()}, {workers}, torch {torch.__version__}",
            **work,
            "results": shown_folder(self.artifacts.folder),
            "run store": shown_folder(self.store.root)})

    def provenance(self) -> "Styler":
        """What made the results of this run: versions, device, commit, seeds, minutes, and where they are."""
        return _facts({
            "profile, seeds": f"{self.profile}, {self.seeds}",
            "world": f"{self.world.name}, seed {getattr(self.world, 'seed', '-')}",
            "device": provenance.device(),
            "versions": ", ".join(f"{name} {number}" for name, number in provenance.versions().items()),
            "commit": provenance.git_commit() or "unknown",
            "minutes in this notebook": f"{self.minutes():.1f}",
            "tables and figures": shown_folder(self.artifacts.folder)})


class NotStored(Exception):
    """A session that takes stored results only was asked for another one."""


def _facts(rows: dict[str, Any]) -> "Styler":
    """Names and values as a table whose texts are shown in full."""
    left = [{"selector": "td, th", "props": "text-align: left; max-width: 60em"}]
    shown = pd.DataFrame({"": rows}).style.format(escape="html").format_index(escape="html")
    return shown.set_table_styles(left).hide(axis="columns")


def start(paper: str, profile: str = "toy", seeds: int = 1, world_seed: int = 0, device: str = "auto", jobs: int = 0,
          figures: str = OWN, kind: type[Session] = Session) -> Session:
    """Open a session for a paper. A lesson has training seed 0 and world seed 0.

    seeds: number of training seeds. device: auto, cpu or cuda. jobs: worker processes, 0 = one per core. figures:
    folder that receives tables and figures, from the project's top; "" = show them only. kind: Session, or a class
    derived from it. Raises ParameterError for unknown values, SetupError without a GPU where one is asked for,
    DataError or WeightsError when a folder that the profile needs isn't given, DataError for bad photographs, masks or
    lists.
    """
    from wsss_lab.networks.machine import resolve_device

    seeds, world_seed, jobs = checked("seeds", seeds), checked("world_seed", world_seed), jobs and checked("jobs", jobs)
    check_variables()
    if profile == LESSON and (seeds, world_seed) != (1, 0):
        raise ParameterError(f"profile lesson with seeds={seeds}, world_seed={world_seed}",
                             "seeds=1, world_seed=0, those of the networks that come with the package",
                             "choose the profile toy")
    check_inputs(profile_named(profile))
    data_check.before_run(profile_named(profile))
    os.environ["WSSS_DEVICE"] = checked("device", device)
    resolve_device()
    routes = route_module(paper).routes(profile, seeds, world_seed)
    if figures and not Path(figures).is_absolute():
        figures = str(project_folder() / figures)
    return kind(paper, profile, routes, jobs, figures)


def route_module(paper: str) -> ModuleType:
    """The module with the routes of a paper (or of the primer)."""
    known = [module.name for module in pkgutil.iter_modules(wsss_lab.papers.__path__) if module.ispkg]
    return importlib.import_module(f"wsss_lab.papers.{named('paper', paper, known)}.route")


def make_artifacts(chosen: Sequence[Chosen], **settings) -> None:
    """Make artifacts into the folder of results, computing what they read and no more; a single claim is printed.
    settings: those of `start`, but for the paper."""
    sessions = {paper: start(paper, **settings) for paper in dict.fromkeys(each.paper for each in chosen)}
    for paper, id, _ in chosen:
        made = (run := sessions[paper]).make(id)
        if isinstance(made, Claims) and id != ALL_CLAIMS:
            print("\n".join(f"{what}: {cell}" for what, cell in made.frame.iloc[0].items() if cell))
        else:
            run.save(id, made)
