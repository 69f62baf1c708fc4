"""One table or figure at a time: only what it reads is computed.

A notebook computes everything it shows. Where a training takes hours, somebody who wants one table wants the steps of
this table: they run when its function asks for their results.
"""

import importlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

from wsss_lab.errors import ParameterError
from wsss_lab.lab.profiles import unknown_name
from wsss_lab.lab.session import Session, start
from wsss_lab.lab.steps import Output, Step


class Chosen(NamedTuple):
    """An artifact of a paper: `id` as in its folder of results, make(session) -> table or figure."""

    paper: str
    id: str
    make: Callable[[Session], Any]


class OnDemand(Session):
    """A session that runs a step when its result is asked for. `asked`: the steps that were, in order."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.asked: list[Step] = []

    def load(self, item: Step | Output) -> Any:
        step = item if isinstance(item, Step) else item.step
        self.asked.append(step)
        if step not in self.store:
            self.compute(step)
        return super().load(item)


def choose(names: str, papers: Sequence[str]) -> list[Chosen]:
    """Artifacts by names such as "oh2017/table2,lee2021/fig3"; "oh2017" alone stands for all of a paper.

    papers: those that have a notebook. Raises ParameterError for unknown names, with the known ones.
    """
    found: list[Chosen] = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        paper, _, id = name.partition("/")
        if paper not in papers:
            raise unknown_name("paper", paper, list(papers))
        makers = makers_of(paper)
        if id and id not in makers:
            raise unknown_name(f"artifact of {paper}", id, list(makers))
        found += [Chosen(paper, each, makers[each]) for each in ([id] if id else makers)]
    if not found:
        raise ParameterError(f"artifact '{names}' names nothing", "paper/artifact, as in oh2017/table2")
    return found


def makers_of(paper: str) -> dict[str, Callable[[Session], Any]]:
    """Artifact id -> function: TABLES of the module <paper>_tables and FIGURES of <paper>_figures."""
    makers: dict[str, Callable[[Session], Any]] = {}
    for kind in ("tables", "figures"):
        module = f"wsss_lab.papers.{paper}_{kind}"
        if find_spec(module):
            makers |= getattr(importlib.import_module(module), kind.upper(), {})
    return makers


def make(chosen: Sequence[Chosen], **settings) -> dict[str, list[Step]]:
    """Make artifacts into the folder of results, computing what they read and no more.

    settings: those of wsss_lab.lab.session.start, but for the paper. Returns "paper/artifact" -> the steps whose
    results it has asked for.
    """
    sessions: dict[str, OnDemand] = {}
    asked = {}
    for paper, id, function in chosen:
        run = sessions.get(paper) or start(paper, **settings, kind=OnDemand)
        sessions[paper] = run
        run.asked = []
        run.save(id, function(run))
        asked[f"{paper}/{id}"] = list(dict.fromkeys(run.asked))
    return asked
