"""What the summary counts, on folders written by hand."""

import hashlib
import json
import os
import time
from pathlib import Path

import pandas as pd
import pytest

from wsss_lab.errors import SetupError
from wsss_lab.lab import summary
from wsss_lab.lab.artifacts import Artifacts
from wsss_lab.lab.notebooks import Failure, Notebook, Outcome

STARTED = time.time() - 60
PROMISED = ("table1", "fig1")


def outcome(failure: Failure | None = None, paper: str = "oh2017") -> Outcome:
    path = Path("notebooks/1_oh2017_guided.ipynb")
    return Outcome(Notebook(path, 1, paper, "guided"), Path("build/1_oh2017_guided.ipynb"), STARTED, 90.0, failure)


@pytest.fixture
def folder(tmp_path):
    """Two artifacts as the lab saves them, and claims."""
    manifest = {}
    for name, suffix in (("table1", "csv"), ("fig1", "png")):
        file = tmp_path / f"{name}.{suffix}"
        file.write_text(name)
        checksum = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
        manifest[name] = {"title": name, "files": {file.name: checksum}}
    (tmp_path / "manifest.json").write_text(json.dumps({"artifacts": manifest}))
    (tmp_path / "claims.csv").write_text("claim_id,verdict\nC1,reproduced\nC2,not reproduced\nC3,reproduced\n")
    return tmp_path


def test_everything_promised_is_there_and_what_a_profile_cannot_make_is_not_owed(folder):
    report = summary.report(outcome(), folder, (*PROMISED, "fig2"), {"fig2": "the folder has no boxes"})
    text = summary.render([report], "toy", folder / "README.md")
    assert report.good and all(told in text for told in (
        "artifacts 2/2", "claims: 2 reproduced, 1 not reproduced", "1.5 min", "1 not made in this profile",
        f"    {folder}\n", str(folder / "README.md"), "build/1_oh2017_guided.ipynb"))


def test_a_paper_owes_its_claims_and_the_primer_does_not_and_a_damaged_manifest_counts_as_none(folder):
    (folder / "claims.csv").unlink()
    assert summary.report(outcome(), folder, PROMISED, {}).lacking == {"claims": "no claims.csv of this run"}
    assert summary.report(outcome(paper="primer"), folder, PROMISED, {}).good
    (folder / "manifest.json").write_text('{"table1":')
    assert set(summary.report(outcome(), folder, PROMISED, {}).lacking) == {*PROMISED, "claims"}


def test_a_failure_is_shown_with_its_cell(folder):
    failure = Failure("TrainingError: the loss is nan\n  fix: lower the rate", 7, "Segmenter", "a = 1\nfit(a)")
    report = summary.report(outcome(failure), folder, PROMISED, {})
    text = summary.render([report], "toy")
    assert not report.good and "FAILED 1_oh2017_guided.ipynb, cell In [7], section 'Segmenter'" in text
    assert "    | a = 1\n    | fit(a)\n  TrainingError: the loss is nan\n    fix: lower the rate" in text


def test_what_was_never_made_is_missing_and_so_is_a_file_taken_away_altered_or_left_from_before(folder):
    report = summary.report(outcome(), folder, (*PROMISED, "fig2"), {})
    assert report.lacking == {"fig2": "not made"} and "artifacts 2/3" in summary.render([report], "toy")
    for change, told in (((folder / "fig1.png").unlink, "not there"),
                         (lambda: (folder / "fig1.png").write_text("another picture"), "changed"),
                         (lambda: os.utime(folder / "fig1.png", (STARTED - 3600, STARTED - 3600)), "earlier run")):
        change()
        assert told in summary.report(outcome(), folder, PROMISED, {}).lacking["fig1"]


def test_totals_are_given_for_several_notebooks(folder):
    records = [{"steps": {"run": 3, "reused": 140, "gone": 0}}, {"steps": {"run": 0, "reused": 9, "gone": 1}}, None]
    reports = [summary.report(outcome(), folder, PROMISED, {}, record) for record in records]
    lines = [line for line in summary.render(reports, "toy").splitlines() if " min " in line]
    assert [line.partition("steps: ")[2] for line in lines] == ["3 run, 140 reused", "0 run, 9 reused", "",
                                                                "3 run, 149 reused"]
    assert all(part in lines[-1] for part in ("together      ok", "artifacts 6/6", "6 reproduced", "4.5 min"))


def test_promises_are_the_tables_and_figures_of_the_paper_or_what_its_module_says():
    from wsss_lab.papers.primer.route import PROMISED

    promised = summary.promised_artifacts("oh2017")
    assert sorted(promised) == sorted([f"table{n}" for n in range(1, 7)] + [f"fig{n}" for n in range(1, 14)])
    assert summary.promised_artifacts("primer") == PROMISED and summary.promised_artifacts("scratch") == ()


def results(folder: Path, seeds: int, value: float, *verdicts: str) -> None:
    saved = Artifacts(folder / "toy" / "oh2017", seeds=range(seeds))
    for id, number in (("table1", 1.0), ("table2", value), ("table3", 3.0)):
        saved.table(id, pd.DataFrame({"ours": [number]}), title=id)
    saved.claims(pd.DataFrame([{"claim_id": f"oh2017-C{number}", "statement": "a", "verdict": verdict,
                                "measured": f"{value} pp"} for number, verdict in enumerate(verdicts, 1)]))


def test_own_results_are_compared_with_kept_ones_as_far_as_fewer_trainings_can_tell(tmp_path):
    kept, own = tmp_path / "kept", tmp_path / "own"
    results(kept, 3, 2.0, "reproduced", "inconclusive", "not reproduced", "not testable here")
    results(own, 1, 3.0, "points to yes", "points to no", "points to no", "not testable here")
    assert summary.compared(own, kept).splitlines() == [
        "toy/oh2017, trainings kept 3, own 1: 2 of 3 tables are the same; 3 of 4 verdicts agree",
        "    oh2017-C2: kept inconclusive (2.0 pp), own points to no (3.0 pp)"]
    with pytest.raises(SetupError, match="make reproduce"):
        summary.compared(tmp_path / "nothing", kept)
