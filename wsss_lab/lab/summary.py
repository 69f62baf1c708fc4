"""What a run of the notebooks has brought: artifacts made of those promised, claims by verdict, failures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from wsss_lab.errors import SetupError
from wsss_lab.lab.artifacts import CLAIMS, verdict_line
from wsss_lab.lab.notebooks import Outcome
from wsss_lab.lab.published import artifact_list, papers
from wsss_lab.lab.registry import artifacts_of, told_by
from wsss_lab.lab.runs import Saved, is_of_run, read, read_all
from wsss_lab.measure.claims import POINTING


@dataclass(frozen=True)
class Report:
    """What one notebook has brought.

    saved: what its folder of results holds; claims and record are of this run. promised: ids of the artifacts it owes
    in this profile. waived: artifact id -> why this profile doesn't make it. lacking: artifact id -> what is wrong.
    """

    outcome: Outcome
    saved: Saved
    promised: tuple[str, ...]
    waived: Mapping[str, str]
    lacking: Mapping[str, str]

    @property
    def good(self) -> bool:
        """The notebook ran to its end and everything promised is there."""
        return self.outcome.failure is None and not self.lacking


def promised_artifacts(paper: str) -> tuple[str, ...]:
    """Ids of the tables and figures a notebook owes: those of the paper; of others, PROMISED of the module (the
    primer) or all that it lists."""
    if paper not in papers():
        return tuple(told_by(paper, "route", "PROMISED", artifacts_of(paper)))
    listed = artifact_list(paper)
    return tuple(listed["id"][listed["kind"].isin(["table", "figure"])])


def waived_artifacts(paper: str, profile: str) -> dict[str, str]:
    """Artifact id -> reason, for what a profile can't make: NOT_MADE[profile] of the paper's module."""
    return dict(told_by(paper, "route", "NOT_MADE", {}).get(profile, {}))


def report(outcome: Outcome, folder: Path, promised: Sequence[str], waived: Mapping[str, str],
           record: Mapping | None = None) -> Report:
    """Look at the folder that a notebook has written to, figures/<profile>/<paper>.

    promised: ids of the artifacts owed; those in `waived` are forgiven. record: what the run took, if known. An
    artifact counts when its files are there, agree with the manifest, and were written in this run. Papers also owe
    claims.
    """
    saved = replace(read(folder), record=record or {})
    owed = tuple(name for name in promised if name not in waived)
    lacking = {name: problem for name in owed if (problem := saved.problem(name, outcome.started))}
    if not is_of_run(folder / CLAIMS, outcome.started):
        saved = replace(saved, claims=pd.DataFrame())
    if promised and outcome.notebook.paper in papers() and saved.claims.empty:
        lacking["claims"] = f"no {CLAIMS} of this run"
    return Report(outcome, saved, owed, {name: waived[name] for name in promised if name in waived}, lacking)


def render(reports: Sequence[Report], profile: str, gallery: Path | None = None) -> str:
    """The summary as text: failures first, then one line per notebook, the totals and where to look."""
    lines: list[str] = []
    for item in reports:
        if failure := item.outcome.failure:
            where = f", cell In [{failure.cell}]" if failure.cell is not None else ""
            section = f", section '{failure.section}'" if failure.section else ""
            lines += ["", f"FAILED {item.outcome.notebook.path.name}{where}{section}",
                      *(f"    | {line}" for line in failure.source.splitlines()),
                      *(f"  {line}" for line in failure.error.splitlines()),
                      f"  executed so far: {item.outcome.executed}"]
        if item.lacking:
            lines += [f"MISSING from {item.saved.folder}:",
                      *(f"    {name}: {problem}" for name, problem in item.lacking.items())]
    lines += ["", f"Summary, profile {profile}"]
    for item in reports:
        state = "failed" if item.outcome.failure else "ok" if item.good else "incomplete"
        lines.append(_line(item.outcome.notebook.paper, state, [item]))
    if len(reports) > 1:
        lines.append(_line("together", "ok" if all(item.good for item in reports) else "not ok", reports))
    places = [str(item.saved.folder) for item in reports if item.promised]
    places += [f"{gallery}   every table and figure beside the paper's numbers"] if gallery else []
    places += [str(item.outcome.executed) for item in reports]
    places += ["make compare   what of it differs from the results that are kept in figures/"] if gallery else []
    places += [f"make book PROFILE={profile}   the executed notebooks and the gallery as a site"]
    return "\n".join([*lines, "", "Where to look", *(f"    {place}" for place in places)])


def compared(own: Path, kept: Path) -> str:
    """Results of own runs beside kept ones, as text: how many verdicts agree, as far as fewer trainings can tell, and
    how many tables are the same; verdicts that differ, each with what was measured.

    Raises SetupError where there is nothing to compare.
    """
    record = {(saved.profile, saved.paper): saved for saved in read_all(kept)}
    lines = []
    for saved in read_all(own):
        if not (before := record.get((saved.profile, saved.paper))):
            continue
        tables = [before.artifacts[id]["files"].get(f"{id}.csv") == entry["files"][f"{id}.csv"]
                  for id, entry in saved.artifacts.items() if id in before.artifacts and f"{id}.csv" in entry["files"]]
        lines.append(f"{saved.profile}/{saved.paper}, trainings kept {before.seeds}, own {saved.seeds}: "
                     f"{sum(tables)} of {len(tables)} tables are the same")
        if saved.claims.empty or before.claims.empty:
            continue
        both = before.claims.merge(saved.claims, on="claim_id", suffixes=("", "_own"))
        pairs = both[["verdict", "verdict_own"]].map(lambda verdict: POINTING.get(verdict, verdict))
        other = both[pairs["verdict"] != pairs["verdict_own"]]
        lines[-1] += f"; {len(both) - len(other)} of {len(both)} verdicts agree"
        lines += [f"    {each.claim_id}: kept {each.verdict} ({each.measured}), own {each.verdict_own} "
                  f"({each.measured_own})" for each in other.itertuples()]
    if not lines:
        raise SetupError(f"no results in {own} of notebooks that are kept in {kept}", fix="make reproduce")
    return "\n".join(lines)


def _line(name: str, state: str, reports: Sequence[Report]) -> str:
    owed = sum(len(item.promised) for item in reports)
    made = owed - sum(artifact in item.lacking for item in reports for artifact in item.promised)
    waived = sum(len(item.waived) for item in reports)
    verdicts = verdict_line(pd.concat([item.saved.claims for item in reports]))
    recorded = [item.saved.record["steps"] for item in reports if item.saved.record]
    run, reused = (sum(steps[kind] for steps in recorded) for kind in ("run", "reused"))
    parts = {f"    {name:<14}{state:<11}{sum(item.outcome.seconds for item in reports) / 60:5.1f} min": True,
             f"artifacts {made}/{owed}": owed, f"{waived} not made in this profile": waived,
             f"claims: {verdicts}": verdicts, f"steps: {run} run, {reused} reused": recorded}
    return "   ".join(part for part, told in parts.items() if told)
