"""One table or figure at a time: only what it reads is computed.

A notebook computes everything it shows. Where a training takes hours, somebody who wants one table wants the steps of
this table: they run when its function asks for their results.
"""

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from wsss_lab.errors import ParameterError
from wsss_lab.lab.profiles import unknown_name
from wsss_lab.lab.published import claims
from wsss_lab.lab.session import Session, start
from wsss_lab.lab.steps import Output, Step
from wsss_lab.measure.claims import Condition, claim_steps, decide_all
from wsss_lab.measure.quantities import Results

if TYPE_CHECKING:
    import pandas as pd


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
        found += [Chosen(paper, each, makers[each]) for each in ([id] if id else makers)
                  if id or each not in claims_of(paper)]
    if not found:
        raise ParameterError(f"artifact '{names}' names nothing", "paper/artifact, as in oh2017/table2")
    return found


def makers_of(paper: str) -> dict[str, Callable[[Session], Any]]:
    """Artifact id -> function: TABLES of the module <paper>_tables, FIGURES of <paper>_figures, and CLAIMS of
    <paper>_claims, one by one ("C05") or all ("claims")."""
    makers: dict[str, Callable[[Session], Any]] = {}
    for kind in ("tables", "figures"):
        module = f"wsss_lab.papers.{paper}.{kind}"
        if find_spec(module):
            makers |= getattr(importlib.import_module(module), kind.upper(), {})
    conditions = claims_of(paper)
    makers |= {name: partial(_decided, names=(name,)) for name in conditions}
    return makers | ({"claims": partial(_decided, names=tuple(conditions))} if conditions else {})


def claims_of(paper: str) -> dict[str, Condition]:
    """The claims of a paper by number: "C01" -> the condition under which it counts as reproduced."""
    module = f"wsss_lab.papers.{paper}.claims"
    return importlib.import_module(module).CLAIMS if find_spec(module) else {}


class Claims(NamedTuple):
    """Decided claims, as rows of claims.csv."""

    frame: "pd.DataFrame"
    title: str


def _decided(run: Session, names: Sequence[str]) -> Claims:
    """Decide claims, computing what they read."""
    conditions = {name: claims_of(run.paper)[name] for name in names}
    run.compute(*(step for route in run.routes for step in claim_steps(conditions, route)))
    listed = claims(run.paper)
    asked = listed[listed["claim_id"].isin([f"{run.paper}-{name}" for name in names])]
    return Claims(decide_all(run.paper, conditions, Results(run), asked), " ".join(asked["statement"][:1]))


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
        made = function(run)
        if not isinstance(made, Claims):
            run.save(id, made)
        elif id == "claims":
            run.artifacts.claims(made.frame)
        else:
            print("\n".join(f"{what}: {cell}" for what, cell in made.frame.iloc[0].items() if cell))
        asked[f"{paper}/{id}"] = list(dict.fromkeys(run.asked))
    return asked
