"""What a run of the notebooks has brought: artifacts made of those promised, claims by verdict, failures."""

import hashlib
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from wsss_lab.lab.artifacts import CLAIMS, MANIFEST, read_manifest, verdict_line
from wsss_lab.lab.notebooks import Outcome
from wsss_lab.lab.published import artifact_list, papers

CLOCK_SLACK = 2.0  # seconds by which a file system's clock may be behind


@dataclass(frozen=True)
class Report:
    """What one notebook has brought.

    promised: ids of the artifacts it owes in this profile.
    waived: artifact id -> why this profile doesn't make it.
    lacking: artifact id -> what is wrong with it ("not made", "left from an earlier run" ...).
    claims: the decided claims, one row each; empty when this run decided none.
    record: what the run took (wsss_lab.lab.runs.record); empty for a notebook without steps and for one that failed.
    """

    outcome: Outcome
    folder: Path
    promised: tuple[str, ...] = ()
    waived: Mapping[str, str] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    claims: pd.DataFrame = field(default_factory=pd.DataFrame)
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """The notebook ran to its end and everything promised is there."""
        return self.outcome.failure is None and not self.lacking


def promised_artifacts(paper: str) -> tuple[str, ...]:
    """Ids of the tables and figures a notebook owes: those of the paper, else PROMISED of its module (the primer)."""
    if paper not in papers():
        return tuple(getattr(_module(paper), "PROMISED", ()))
    listed = artifact_list(paper)
    return tuple(listed["id"][listed["kind"].isin(["table", "figure"])])


def waived_artifacts(paper: str, profile: str) -> dict[str, str]:
    """Artifact id -> reason, for what a profile can't make: NOT_MADE[profile] of the paper's module."""
    return dict(getattr(_module(paper), "NOT_MADE", {}).get(profile, {}))


def _module(paper: str) -> ModuleType | None:
    """The module with the routes of a paper, None where there is none."""
    name = f"wsss_lab.papers.{paper}"
    return importlib.import_module(f"{name}.route") if importlib.util.find_spec(name) else None


def report(outcome: Outcome, folder: Path, promised: Sequence[str], waived: Mapping[str, str],
           record: Mapping[str, Any] | None = None) -> Report:
    """Look at the folder a notebook has written to.

    folder: figures/<profile>/<paper>, with the manifest, the files it lists and claims.csv.
    promised: ids of the artifacts owed; those in `waived` are forgiven. record: what the run took, if known.
    An artifact counts when its files are there, agree with the manifest, and were written in this run. Papers
    also owe their claims; the primer makes none.
    """
    owed = tuple(name for name in promised if name not in waived)
    entries = read_manifest(folder)
    lacking = {name: problem for name in owed
               if (problem := _artifact_problem(folder, entries.get(name), outcome.started))}
    claims = _read_claims(folder / CLAIMS, outcome.started)
    if promised and outcome.notebook.paper in papers() and claims.empty:
        lacking["claims"] = f"no {CLAIMS} of this run"
    forgiven = {name: waived[name] for name in promised if name in waived}
    return Report(outcome, folder, owed, forgiven, lacking, claims, record or {})


def render(reports: Sequence[Report], profile: str, gallery: Path | None = None) -> str:
    """The summary as text: failures first, then one line per notebook, the totals and where to look."""
    lines: list[str] = []
    for item in reports:
        lines += _failure_lines(item.outcome)
        if item.lacking:
            lines += [f"MISSING from {item.folder}:"]
            lines += [f"    {name}: {problem}" for name, problem in item.lacking.items()]
    lines += ["", f"Summary, profile {profile}"]
    lines += [_paper_line(item) for item in reports]
    lines += [_paper_line_total(reports)] if len(reports) > 1 else []
    lines += ["", "Where to look"]
    lines += [f"    {item.folder}" for item in reports if item.promised]
    lines += [f"    {gallery}   every table and figure beside the paper's numbers"] if gallery else []
    lines += [f"    {item.outcome.executed}" for item in reports]
    lines += [f"    make book PROFILE={profile}   the executed notebooks as web pages"]
    return "\n".join(lines)


def _paper_line(item: Report) -> str:
    state = "failed" if item.outcome.failure else "ok" if item.good else "incomplete"
    return _line(item.outcome.notebook.paper, state, item.outcome.seconds, [item])


def _paper_line_total(reports: Sequence[Report]) -> str:
    state = "ok" if all(item.good for item in reports) else "not ok"
    return _line("together", state, sum(item.outcome.seconds for item in reports), reports)


def _line(name: str, state: str, seconds: float, reports: Sequence[Report]) -> str:
    owed = [artifact for item in reports for artifact in item.promised]
    made = len(owed) - sum(artifact in item.lacking for item in reports for artifact in item.promised)
    waived = sum(len(item.waived) for item in reports)
    verdicts = verdict_line(pd.concat([item.claims for item in reports]))
    parts = [f"    {name:<14}{state:<11}{seconds / 60:5.1f} min"]
    if owed:
        parts.append(f"artifacts {made}/{len(owed)}")
    if waived:
        parts.append(f"{waived} not made in this profile")
    if verdicts:
        parts.append(f"claims: {verdicts}")
    recorded = [item.record["steps"] for item in reports if item.record]
    if recorded:
        run, reused = (sum(steps[state] for steps in recorded) for state in ("run", "reused"))
        parts.append(f"steps: {run} run, {reused} reused")
    return "   ".join(parts)


def _failure_lines(outcome: Outcome) -> list[str]:
    failure = outcome.failure
    if failure is None:
        return []
    where = f", cell In [{failure.cell}]" if failure.cell is not None else ""
    section = f", section '{failure.section}'" if failure.section else ""
    return [
        "",
        f"FAILED {outcome.notebook.path.name}{where}{section}",
        *(f"    | {line}" for line in failure.source.splitlines()),
        *(f"  {line}" for line in failure.error.splitlines()),
        f"  executed so far: {outcome.executed}",
    ]


def _artifact_problem(folder: Path, entry: dict | None, started: float) -> str:
    """What is wrong with one artifact, "" if nothing."""
    if not entry or not entry.get("files"):
        return "not made"
    for name, checksum in entry["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is listed in {MANIFEST} but not there"
        if path.stat().st_mtime < started - CLOCK_SLACK:
            return f"{name} is left from an earlier run"
        if hashlib.blake2b(path.read_bytes(), digest_size=len(checksum) // 2).hexdigest() != checksum:
            return f"{name} has changed since it was made"
    return ""


def _read_claims(path: Path, started: float) -> pd.DataFrame:
    """The claims decided in this run; empty without such a file."""
    if not path.is_file() or path.stat().st_mtime < started - CLOCK_SLACK:
        return pd.DataFrame()
    return pd.read_csv(path, keep_default_na=False)
