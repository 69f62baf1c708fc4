"""The record of a run, and the README's section that is made of records."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from tiny_notebooks import write_notebook
from typer.testing import CliRunner

from wsss_lab.errors import StoreError
from wsss_lab.lab import cli, notebooks, provenance, runs, summary
from wsss_lab.lab.compute import compute
from wsss_lab.lab.notebooks import Failure, Notebook, Outcome, find_notebooks
from wsss_lab.lab.session import start
from wsss_lab.lab.steps import Step
from wsss_lab.lab.store import Store
from wsss_lab.lab.worlds import TOY_COUNTS, ToyWorld

PROJECT = Path(__file__).parents[2]
NOTEBOOK = Notebook(Path("1_oh2017_guided.ipynb"), 1, "oh2017")
STARTED = time.time() - 90
GIVEN = {"profile": "toy", "seeds": 2, "world_seed": 0, "device": "auto", "jobs": 3, "figures": "/home/me/figures",
         "tau": 0.3}
EARLIER, LATER = "2017-07-21T09:00:00+00:00", "2999-07-21T09:00:00+00:00"  # than any run of these tests


def number(value, of=None, schedule=None):
    return {"value": value}


def step_of(value, of=None, **settings):
    return Step("fusion", number, {"value": value} | settings, {"of": of["value"]} if of else {})


def outcome(*steps, failure=None):
    return Outcome(NOTEBOOK, Path("executed.ipynb"), STARTED, 90.0, failure,
                   tuple(f"{step.stage}/{step.key}" for step in steps))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def steps(store):
    """A training of an earlier run, two of this one, and a step whose result is gone."""
    found = [step_of(0, schedule={"iterations": 1}), step_of(1, schedule={"iterations": 2}), step_of(2), step_of(3)]
    facts = [{"seconds": 60, "peak_memory_mb": 512.5, "created": EARLIER, "precision": "bf16"},
             {"seconds": 30, "peak_memory_mb": 700.0, "created": LATER},
             {"seconds": 6, "peak_memory_mb": float("nan"), "created": LATER}]
    for step, about in zip(found, facts, strict=False):
        store.save(step, {"value": 0}, about)
    return found


def test_a_record_adds_up_what_the_steps_took_whichever_run_made_them(store, steps):
    made = runs.record(outcome(*steps), GIVEN, store)
    assert made["steps"] == {"run": 2, "reused": 1, "gone": 1}
    assert made["minutes"] == {"notebook": 1.5, "computing": 1.6}
    assert made["trainings"] == 2 and made["training_seconds"] == 45
    assert made["precision"] == "bf16"
    assert made["peak_memory_mb"] == 700 and made["peak_gpu_memory_mb"] is None
    assert made["workers"] == 3 and made["device"] == "cpu"
    assert made["settings"] == {"profile": "toy", "seeds": 2, "world_seed": 0, "tau": 0.3}
    assert set(made["machine"]) == {"cpu", "cores", "memory_gib"} and all(made["machine"].values())
    assert {"python", "torch"} <= set(made["versions"])
    assert "/home/me" not in json.dumps(made) and str(store.root) not in json.dumps(made)  # no folder of the machine
    assert runs.record(outcome(*steps), GIVEN | {"jobs": 0}, store)["workers"] >= 1


def test_steps_on_a_gpu_give_its_name_and_the_memory_taken_there(store, monkeypatch):
    with provenance.measured() as on_cpu:
        pass
    cuda = SimpleNamespace(is_initialized=lambda: True, reset_peak_memory_stats=lambda: None,
                           max_memory_allocated=lambda: 3 * 2**20, get_device_name=lambda: "Imaginary 9000")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    with provenance.measured() as facts:
        pass
    monkeypatch.undo()
    assert not {"gpu", "peak_gpu_memory_mb"} & set(on_cpu)
    store.save(step_of(1), {"value": 1}, facts | {"device": "cuda"})
    made = runs.record(outcome(step_of(1)), GIVEN, store)
    assert made["device"] == "cuda" and made["machine"]["gpu"] == "Imaginary 9000" and made["peak_gpu_memory_mb"] == 3


def test_a_record_is_written_and_read_and_stays_when_a_later_run_fails(store, steps, tmp_path):
    folder = tmp_path / "toy/oh2017"
    assert runs.read(folder).record == {}
    made = runs.save(folder, outcome(*steps), GIVEN, store)
    assert runs.read(folder).record == made and made["date"] > EARLIER
    assert runs.save(folder, outcome(steps[0], failure=Failure("stopped")), GIVEN, store) == {}
    assert runs.save(folder, outcome(), GIVEN, store) == {}
    assert runs.read(folder).record == made
    (folder / "run.json").write_text("[1")
    assert runs.read(folder).record == {}
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot save run\.json"):
        runs.save(tmp_path / "file", outcome(*steps), GIVEN, store)


def test_the_processor_is_named_as_the_system_does(tmp_path):
    facts = tmp_path / "cpuinfo"
    facts.write_text("processor\t: 0\nmodel name\t: A Fast One: 2\nmodel name\t: Another\n")
    assert provenance.processor(facts) == "A Fast One: 2"
    assert provenance.processor(tmp_path / "nothing")


def test_steps_are_noted_with_what_they_need_where_a_runner_asks_for_it(tmp_path, monkeypatch):
    first = step_of(1)
    monkeypatch.delenv("WSSS_STEPS", raising=False)
    runs.note([step_of(2, first)])
    monkeypatch.setenv("WSSS_STEPS", str(tmp_path / "steps"))
    runs.note([step_of(2, first)])
    runs.note(iter([first]))
    assert (tmp_path / "steps").read_text().split() == [
        f"fusion/{step.key}" for step in (first, step_of(2, first), first)]


def test_a_session_notes_what_it_computes_and_looks_at(tmp_path, monkeypatch):
    for name, value in (("WSSS_CACHE", "store"), ("WSSS_STEPS", "noted")):
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.setenv("WSSS_DEVICE", "cpu")
    scenes = [ToyWorld(0, TOY_COUNTS["quick"]).scenes(split) for split in ("val", "dev")]
    compute(scenes, Store(), "serial", progress="none")
    run = start("oh2017", "quick", device="cpu", figures="")
    run.view("val")
    run.compute(scenes[1])
    assert (tmp_path / "noted").read_text().split() == [f"data/{step.key}" for step in scenes]


def test_reproduce_records_the_run_and_says_what_was_reused(store, steps, tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "promised_artifacts", lambda paper: ())
    monkeypatch.setattr(notebooks, "run_notebook", lambda *_: outcome(*steps))
    monkeypatch.setenv("WSSS_CACHE", str(store.root))
    write_notebook(tmp_path / "notebooks/0_primer.ipynb")
    options = ["--notebooks-dir", str(tmp_path / "notebooks"), "--out", str(tmp_path), "--seeds", "3", "--jobs", "2"]
    result = CliRunner().invoke(cli.app, ["reproduce", *options, "--profile", "quick", "--param", "tau=0.4"])
    assert result.exit_code == 0, result.output
    made = runs.read(tmp_path / "quick/primer").record
    assert made["settings"] == {"profile": "quick", "seeds": 3, "world_seed": 0, "tau": 0.4} and made["workers"] == 2
    assert "steps: 2 run, 1 reused" in result.output


# --- the README ------------------------------------------------------------------------------------------------------

REGENERATE = "run: python benchmarks/readers.py"


@pytest.fixture(scope="module")
def readers():
    spec = importlib.util.spec_from_file_location("readers", PROJECT / "benchmarks/readers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_section_for_readers_is_what_the_kept_records_give(readers):
    plan = pd.read_csv(readers.PLANNED, index_col="paper")
    kept = json.loads(readers.KEPT.read_text())
    for page, text in ((readers.PAGE, readers.section(kept, plan)), (readers.README, readers.commands(kept, plan))):
        shown = page.read_text().partition(readers.BEGIN)[2].partition(readers.END)[0]
        assert shown.strip() == text.strip(), f"{page.name}: {REGENERATE}"


def test_the_kept_records_are_those_beside_the_committed_figures(readers):
    changed = ["git", "-C", str(PROJECT), "status", "--porcelain", "figures"]
    if not shutil.which("git") or not (PROJECT / ".git").exists():
        pytest.skip("no git clone: the figures may be those of the reader's own runs")
    if subprocess.run(changed, capture_output=True, text=True).stdout:
        pytest.skip("the figures have been made anew since the last commit")
    kept = json.loads(readers.KEPT.read_text())
    assert readers.collect(readers.FIGURES, kept) == kept, REGENERATE


def test_the_readme_names_the_notebooks_whose_kept_results_are_of_an_older_world(readers):
    kept, world_since = json.loads(readers.KEPT.read_text())["toy"], "2026-11-30"
    older = [each.number for each in find_notebooks() if each.paper in kept and kept[each.paper]["made"] < world_since]
    named = " and ".join(map(str, older))
    told = f"notebooks {named} are older" if len(older) > 1 else f"notebook {named} is older" if older else ""
    text = " ".join(readers.README.read_text().split())
    assert told in text and (older or not re.search("(is|are) older", text))


def brought(store, steps, **changes):
    return {"tables": 6, "figures": 13, "seeds": 3, "world": "toyvoc", "made": "2026-11-30",
            "verdicts": {"reproduced": 21, "inconclusive": 1},
            "record": runs.record(outcome(*steps), GIVEN, store) | changes}


def test_minutes_and_memory_stand_in_the_rows_of_the_notebooks_that_were_recorded(readers, store, steps):
    unknown = {"tables": 3, "figures": 11, "seeds": 1, "world": "toyvoc", "made": "", "verdicts": {}, "record": {}}
    found = brought(store, steps)
    text = readers.section({"toy": {"primer": unknown, "oh2017": found, "roy2017": found}}, pd.DataFrame())
    for told in ("| oh2017 | 2 | 1.5 | 2 / 1 | at least 1.6 | 700 |",
                 "| oh2017 | 2026-11-30 | 3 | 6 | 13 | 21 | 0 | 0 | 1 | 0 |",
                 "| **together** |  | **3.0** |  |  |  |",
                 "| primer |  | 1 | 3 | 11 | – | – | – | – | – |",
                 "What the profile `toy` has brought on toyvoc, claims counted", "3 workers", "no GPU", readers.NO_GPU,
                 "A training takes 45.0 to 45.0 s in the profile `toy` (medians of the notebooks, 4 trainings)"):
        assert told in text
    assert text.count("| primer |") == 1 and readers.NO_VOC not in text  # without a record it has no minutes


def test_what_was_never_run_is_estimated(readers):
    plan = pd.DataFrame({"trainings": [25.0], "GPU-hours": [1234.4], "GPU GB": [3.75], "GB": [89.6]}, ["oh2017"])
    text = readers.section({}, plan).partition("### PASCAL VOC")[2]
    assert readers.NO_VOC in text and "| oh2017 | 25 | 1,234 | 3.8 | 90 |" in text


def test_runs_on_a_gpu_are_shown_with_its_memory(readers, store, steps):
    machine = {"cpu": "A Fast One", "cores": 16, "memory_gib": 128.0, "gpu": "Imaginary 9000"}
    entry = brought(store, steps, device="cpu, cuda", machine=machine, peak_gpu_memory_mb=2048.0)
    profiles = ("toy", "photos", "voc")
    text = readers.section({name: {"oh2017": entry} for name in profiles}, pd.DataFrame())
    laptop, _, others = text.partition("### One GPU")
    assert "2,048" not in laptop and "Runs of" not in laptop
    assert others.count("| oh2017 | 2 | 1.5 | 2 / 1 | at least 1.6 | 700 | 2,048 |") == 3
    assert [others.count(f"Runs of the profile `{name}`, on") for name in profiles] == [1, 1, 1]
    assert "16 cores of A Fast One, 128 GiB, Imaginary 9000, 3 workers" in text
    assert readers.NO_GPU not in text and readers.NO_VOC not in text


def test_records_are_collected_by_profile_and_kept_where_there_are_no_figures(readers, store, steps, tmp_path):
    for paper in ("lee2021", "primer"):
        runs.save(tmp_path / "toy" / paper, outcome(*steps), GIVEN, store)
        made = {id: {"files": dict.fromkeys(files, ""), "seeds": [0, 1], "settings": {"world": "mine"},
                     "created": day}
                for id, day, files in (("table1", "2026-01-02T03", ("table1.csv", "table1.md")),
                                       ("fig1", "2026-01-01", ("fig1.png",)))}
        (tmp_path / "toy" / paper / "manifest.json").write_text(json.dumps({"artifacts": made}))
    (tmp_path / "toy/lee2021/claims.csv").write_text("claim_id,verdict\nC1,reproduced\nC2,inconclusive\n")
    quick = {"oh2017": {"tables": 0, "figures": 0, "verdicts": {}, "record": {}}}
    found = readers.collect(tmp_path, {"quick": quick, "toy": {"lee2021": {"tables": 99}}})
    assert list(found) == [profile.name for profile in readers.PROFILES] and found["quick"] == quick
    assert list(found["toy"]) == ["primer", "lee2021"]
    assert found["toy"]["lee2021"] == {
        "tables": 1, "figures": 1, "seeds": 2, "world": "mine", "made": "2026-01-02",
        "verdicts": {"inconclusive": 1, "reproduced": 1},
        "record": runs.read(tmp_path / "toy/lee2021").record}
    (tmp_path / "timed/toy/lee2021").mkdir(parents=True)  # of another run, whose record alone is taken
    (tmp_path / "timed/toy/lee2021/run.json").write_text('{"workers": 2}')
    timed = readers.timed_elsewhere(tmp_path / "timed", found)["toy"]
    assert timed == found["toy"] | {"lee2021": found["toy"]["lee2021"] | {"record": {"workers": 2}}}
    (tmp_path / "toy/lee2021/run.json").unlink()
    assert readers.collect(tmp_path, {"toy": timed})["toy"]["lee2021"]["record"] == {"workers": 2}


def test_writing_changes_the_section_alone(readers, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{readers.BEGIN}\nold\n{readers.END}\nafter\n")
    shown = readers.commands({}, pd.DataFrame())
    assert shown.count(readers.NOT_RECORDED) == 5
    for _ in range(2):
        readers.write(readme, shown)
        assert readme.read_text() == f"before\n{readers.BEGIN}\n\n{shown}\n{readers.END}\nafter\n"
