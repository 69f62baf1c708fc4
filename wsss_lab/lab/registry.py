"""Every artifact of a paper by its id: its tables, its figures, its claims one by one, and all of them.

    makers_of("oh2017")["table2"]       a function of a session, which makes the table
    choose("oh2017/table2,lee2021", papers)

Ids are the keys of TABLES, FIGURES and CLAIMS in the modules `tables`, `figures` and `claims` of a paper's package.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from wsss_lab.errors import ParameterError
from wsss_lab.lab.profiles import named
from wsss_lab.lab.published import claims
from wsss_lab.measure.claims import Condition, claim_steps, decide_all

if TYPE_CHECKING:
    import pandas as pd

    from wsss_lab.lab.session import Session
    from wsss_lab.lab.steps import Step

ALL_CLAIMS = "claims"


class Chosen(NamedTuple):
    """An artifact of a paper: `id` as in its folder of results, make(session) -> table, figure or claims."""

    paper: str
    id: str
    make: "Callable[[Session], Any]"


class Claims(NamedTuple):
    """Decided claims, as rows of claims.csv."""

    frame: "pd.DataFrame"


class Decider(NamedTuple):
    """Decides claims of a session's paper; conditions: "C01" -> condition."""

    conditions: Mapping[str, Condition]

    def reads(self, run: "Session") -> "list[Step]":
        """The steps whose results the claims read."""
        return [step for route in run.routes for step in claim_steps(self.conditions, route)]

    def __call__(self, run: "Session") -> Claims:
        run.ensure(self.reads(run))
        return Claims(decide_all(run.paper, self.conditions, run.results, self._listed(run.paper)))

    def title(self, paper: str) -> str:
        """The first claim's statement."""
        return self._listed(paper)["statement"].iloc[0]

    def _listed(self, paper: str) -> "pd.DataFrame":
        listed = claims(paper)
        return listed[listed["claim_id"].isin([f"{paper}-{name}" for name in self.conditions])]


def makers_of(paper: str) -> "dict[str, Callable[[Session], Any]]":
    """Artifact id -> function: tables, figures, the claims one by one ("C05"), and all of them ("claims")."""
    makers = _listed(paper, "tables") | _listed(paper, "figures")
    if conditions := _listed(paper, "claims"):
        makers |= {name: Decider({name: condition}) for name, condition in conditions.items()}
        makers[ALL_CLAIMS] = Decider(conditions)
    return makers


def maker_of(paper: str, id: str) -> "Callable[[Session], Any]":
    """The function that makes an artifact. Raises ParameterError for an unknown id, with the known ones."""
    makers = makers_of(paper)
    return makers[named(f"artifact of {paper}", id, makers)]


def artifacts_of(paper: str) -> list[str]:
    """The ids of what a paper's notebook shows; its claims count once, all together."""
    singly = _listed(paper, "claims")
    return [id for id in makers_of(paper) if id not in singly]


def choose(names: str, papers: Sequence[str]) -> list[Chosen]:
    """Artifacts by names such as "oh2017/table2,lee2021/fig3"; "oh2017" alone stands for all of a paper.

    papers: those that have a notebook. Raises ParameterError for unknown names, with the known ones, and for a notebook
    whose artifacts aren't listed, such as the primer's.
    """
    found: list[Chosen] = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        paper, _, id = name.partition("/")
        if not makers_of(named("paper", paper, papers)):
            raise ParameterError(f"artifact '{name}': tables and figures of {paper} are made by its notebook alone",
                                 "an artifact of a paper, as in oh2017/table2",
                                 f"run the notebook as a whole: wsss reproduce --paper {paper}")
        found += [Chosen(paper, each, maker_of(paper, each)) for each in ([id] if id else artifacts_of(paper))]
    if not found:
        raise ParameterError(f"artifact '{names}' names nothing", "paper/artifact, as in oh2017/table2")
    return found


def told_by(paper: str, part: str, name: str, default: Any = None) -> Any:
    """What a module of a paper's package has under a name; the default where there is none, no such module, or no
    package."""
    package = f"wsss_lab.papers.{paper}"
    there = find_spec(package) and find_spec(f"{package}.{part}")
    return getattr(importlib.import_module(f"{package}.{part}"), name, default) if there else default


def _listed(paper: str, kind: str) -> dict[str, Any]:
    return told_by(paper, kind, kind.upper(), {})
