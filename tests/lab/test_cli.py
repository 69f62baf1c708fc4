"""The command `wsss`: what it refuses, what it runs, what it reports."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from unittest.mock import Mock

import pytest
import torch
from tiny_notebooks import write_notebook
from typer.testing import CliRunner

from wsss_lab.errors import DataError, ParameterError, SetupError, WeightsError
from wsss_lab.lab import cli, data_check, forecast, notebooks, profiles, runs, summary
from wsss_lab.lab import store as store_module
from wsss_lab.lab.steps import Step
from wsss_lab.lab.store import Store

FAILING = """\
from wsss_lab.errors import TrainingError
raise TrainingError("the loss is nan", "a number", "a lower rate")"""

SAVING = """\
import pathlib
import pandas as pd
from wsss_lab.lab.artifacts import Artifacts
artifacts = Artifacts(pathlib.Path(figures, profile, "oh2017"))
artifacts.table("table1", pd.DataFrame({"mIoU": [38.7]}), "Guides")
(artifacts.folder / "claims.csv").write_text("claim_id,verdict\\nC1,reproduced\\n")
print("seeds", seeds, "world", world_seed, "device", device, "jobs", jobs, "tau", tau)"""


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in ("WSSS_DATA", "WSSS_WEIGHTS", "WSSS_SALIENCY", "WSSS_COCO", "WSSS_DEVICE"):
        monkeypatch.setenv(name, "")  # makes monkeypatch take back what the command sets
        monkeypatch.delenv(name)
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "store"))


def reproduce(tmp_path, *options):
    folders = ["--notebooks-dir", tmp_path / "notebooks", "--out", tmp_path / "figures", "--executed",
               tmp_path / "executed"]  # fmt: skip
    return CliRunner().invoke(cli.app, ["reproduce", *map(str, folders), *options])


def refused(tmp_path, error, *options) -> str:
    """The message of the error that reproduce ends with, before anything ran."""
    write_notebook(tmp_path / "notebooks" / "1_oh2017_guided.ipynb")
    result = reproduce(tmp_path, *options)
    assert type(result.exception) is error, result.output
    assert not (tmp_path / "executed").exists()
    return str(result.exception)


@pytest.mark.parametrize("options, told", [
    (["--profile", "qiuck"],
     "unknown profile 'qiuck'\n"
     "  expected: one of quick, lesson, toy, toy-long, photos, voc\n  fix: did you mean 'quick'?"),
    (["--paper", "lee2021"], "unknown paper 'lee2021'\n  expected: one of all, oh2017"),
    (["--seeds", "0"], "seeds=0"), (["--world-seed", str(2**64)], "from 0 to 4,294,967,295"),
    (["--jobs", "0"], "jobs=0"), (["--jobs", str(10**20)], "from 1 to 1,024"), (["--device", "gpu"], "device=gpu"),
    (["--param", "seedz=3"], "unknown parameter of 1_oh2017_guided.ipynb 'seedz'"),
    (["--param", "seeds=3"], "fix: --seeds 3"), (["--param", "figures=x"], "fix: --out x"),
    (["--param=tau=0.3", "--param=tau=0.4"], "tau is given twice"),
    (["--param=tau=0.3", "--artifact=oh2017/table1"], "no notebook is run"),
])  # fmt: skip
def test_values_that_make_no_sense_are_refused(tmp_path, options, told):
    assert told in refused(tmp_path, ParameterError, *options)


@pytest.mark.parametrize("command", [
    ["plan", "--tflops", "0"], ["plan", "--tflops", "nan"], ["plan", "--seeds", str(10**20)],
    ["rehearse", "--network", ""], ["rehearse", "--network", "foo"], ["rehearse", "--jobs", "-1"],
    ["rehearse", "--paper", "foo"], ["export", "{}", "--train", "0"], ["export", "{}", "--world-seed", "-1"],
])
def test_every_command_refuses_such_values_before_it_begins(tmp_path, monkeypatch, command):
    monkeypatch.setenv("WSSS_REHEARSAL", "")
    folder = tmp_path / "made"
    out = ["--out", str(folder)] * (command[0] == "rehearse")
    result = CliRunner().invoke(cli.app, [part.format(folder) for part in command] + out)
    assert type(result.exception) is ParameterError, result.output
    assert result.output == "" and not folder.exists()


@pytest.mark.parametrize("command", [["reproduce", "--profile", "quick"], ["plan"], ["export", "made"], ["gallery"]])
def test_every_command_refuses_variables_that_make_no_sense(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSSS_JOBS", "abc")
    result = CliRunner().invoke(cli.app, command)
    assert str(result.exception) == ("WSSS_JOBS=abc\n  expected: a whole number from 1 to 1,024\n"
                                     "  fix: unset WSSS_JOBS, or set it to that")
    assert result.output == "" and not (tmp_path / "made").exists()


def test_what_a_run_lacks_is_told_before_any_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "DEVICE=auto" in refused(tmp_path, SetupError, "--device", "cuda")
    for option in ("saliency", "coco"):
        message = refused(tmp_path, DataError, "--profile", "quick", f"--{option}", str(tmp_path / "nowhere"))
        assert message.startswith(f"WSSS_{option.upper()}={tmp_path}/nowhere: no such folder\n  fix: correct the path")
        monkeypatch.delenv(f"WSSS_{option.upper()}")
    write_notebook(tmp_path / "notebooks" / "2_roy2017.ipynb", parameters=())
    assert "2_roy2017.ipynb' has no cells tagged" in refused(tmp_path, ParameterError)


def test_a_package_that_is_not_installed_is_named_and_help_loads_nothing_heavy(tmp_path):
    program = """
import sys
sys.modules["papermill"] = None
from wsss_lab.lab.cli import main
print({"torch", "numpy", "pandas"} & set(sys.modules))
sys.argv = ["wsss", "reproduce", "--profile", "quick", "--notebooks-dir", sys.argv[1]]
main()"""
    folder = write_notebook(tmp_path / "0_primer.ipynb").parent
    answer = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (2, "set()\n")
    assert "the package 'papermill' is not installed" in answer.stderr and "make doctor" in answer.stderr
    text = CliRunner().invoke(cli.app, ["--help"]).stdout
    for command in ("reproduce", "doctor", "book", "gallery", "cache", "export"):
        assert f"\n  {command} " in text


@pytest.mark.parametrize("good, status", [((True, True), 0), ((False, True), 1), ((True, False), 1)])
def test_the_exit_status_is_0_where_every_notebook_is_good(tmp_path, monkeypatch, good, status):
    monkeypatch.setattr(notebooks, "run_notebook", lambda item, *_: notebooks.Outcome(item, tmp_path, 0.0, 0.0))
    monkeypatch.setattr(runs, "save", Mock())
    monkeypatch.setattr(summary, "report", Mock(side_effect=[Mock(good=each) for each in good]))
    monkeypatch.setattr(summary, "render", lambda *_: "")
    for name in ("0_primer", "1_oh2017_guided"):
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb")
    assert reproduce(tmp_path, "--profile", "quick").exit_code == status


@pytest.mark.parametrize("option, named", [("--out", "OUT="), ("--executed", "EXECUTED=")])
def test_folders_for_results_are_tried_before_anything_runs(tmp_path, monkeypatch, option, named):
    monkeypatch.setattr(notebooks, "run_notebook", Mock(side_effect=AssertionError("ran")))
    write_notebook(tmp_path / "notebooks" / "0_primer.ipynb")
    (tmp_path / "file").touch()
    error = reproduce(tmp_path, "--profile", "quick", option, str(tmp_path / "file/sub")).exception  # the last counts
    assert isinstance(error, SetupError) and str(tmp_path / "file/sub") in str(error) and named in error.fix


@pytest.fixture
def entries(tmp_path):
    """A store with these entries: folders by stage and number."""
    steps = [Step(stage, summary.promised_artifacts, {"paper": paper})
             for stage, paper in (("fusion", "3"), ("fusion", "4"), ("segmenter", "5"))]
    for step in steps:
        Store().save(step, {"number": 1}, {"seconds": 1})
    return [Store().folder(step) for step in steps]


def test_the_cache_is_listed_by_stage_and_cleared(entries):
    listing = CliRunner().invoke(cli.app, ["cache"]).stdout
    assert [line.split()[:2] for line in listing.splitlines()[2:]] == [["fusion", "2"], ["segmenter", "1"]]
    CliRunner().invoke(cli.app, ["cache", "--clear", "--stage", "fusion"])
    assert [manifest["stage"] for manifest in Store().manifests()] == ["segmenter"]
    for stage in ("fusion", "..", "*", "segmenter/..", "segmentr"):
        error = CliRunner().invoke(cli.app, ["cache", "--clear", "--stage", stage]).exception
        assert isinstance(error, ParameterError) and error.expected == "one of segmenter"
    assert len(Store().manifests()) == 1


def test_clearing_the_cache_deletes_nothing_but_entries(tmp_path, entries):
    victim, own = tmp_path / "victim", entries[0].with_name("notes")
    for folder in (victim, own):
        folder.mkdir()
        (folder / "text").touch()
    manifest = json.loads((entries[0] / "manifest.json").read_text()) | {"key": f"../../{victim}", "stage": str(victim)}
    del manifest["checksum"]
    manifest["checksum"] = store_module._checksum_of(manifest)
    (entries[0] / "manifest.json").write_text(json.dumps(manifest))
    entries[0].with_name("a" * 32).symlink_to(victim)
    listing = CliRunner().invoke(cli.app, ["cache"]).stdout
    assert f"fusion/{entries[0].name}: the manifest belongs to another entry" in listing
    assert f"fusion/{'a' * 32}: the manifest is missing" in listing
    assert CliRunner().invoke(cli.app, ["cache", "--clear"]).stdout.endswith("4 result(s) deleted\n")
    assert [path.name for path in own.parent.iterdir()] == ["notes"]
    assert (victim / "text").exists() and (own / "text").exists()


@pytest.mark.parametrize("profile", ["photos", "voc"])
def test_profiles_on_photographs_ask_for_the_folders(tmp_path, profile):
    message = refused(tmp_path, DataError, "--profile", profile)
    assert f"profile '{profile}' needs WSSS_DATA" in message
    assert f"make reproduce PROFILE={profile} WSSS_DATA=" in message
    nowhere = str(tmp_path / "nowhere")
    assert "nowhere: no such folder" in refused(tmp_path, DataError, "--profile", profile, "--data", nowhere)
    assert "WSSS_WEIGHTS" in refused(tmp_path, WeightsError, "--profile", profile, "--data", str(tmp_path))
    profiles.check_inputs(profiles.profile_named("toy"), {})


def test_every_folder_given_to_reproduce_reaches_the_notebooks_as_an_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSSS_COCO", "/coco")  # an option's value may come from the environment
    refused(tmp_path, ParameterError, "--data", "photos", "--weights", "/w", "--saliency", "maps", "--seeds", "0")
    names = ("WSSS_DATA", "WSSS_WEIGHTS", "WSSS_SALIENCY", "WSSS_COCO")
    assert [os.environ[name] for name in names] == [f"{tmp_path}/photos", "/w", f"{tmp_path}/maps", "/coco"]


@pytest.mark.parametrize("profile, rehearsal, told", [("voc", "", 1), ("voc", "paper", 0), ("photos", "", 0)])
def test_a_long_run_begins_with_what_it_will_take(tmp_path, monkeypatch, profile, rehearsal, told):
    monkeypatch.setenv("WSSS_REHEARSAL", rehearsal)
    asked = []
    monkeypatch.setattr(forecast, "of_notebooks", lambda *given: asked.append(given) or "300 GPU-hours")
    monkeypatch.setattr(notebooks, "run_notebook", Mock(side_effect=KeyboardInterrupt))
    monkeypatch.setattr(data_check, "before_run", looked := Mock())
    write_notebook(tmp_path / "notebooks/1_oh2017_guided.ipynb")
    folders = ("--data", str(tmp_path), "--weights", str(tmp_path))
    answer = reproduce(tmp_path, "--profile", profile, "--seeds", "2", *folders)
    assert answer.exit_code == 130 and answer.output.count("300 GPU-hours") == told
    assert asked == [(["oh2017"], "voc", 2)] * told
    looked.assert_called_once_with(profiles.profile_named(profile))


@pytest.mark.parametrize("command, told", [
    (["reproduce", "--profile", "lecture"],
     "error: unknown profile 'lecture'\n  expected: one of quick, lesson, toy, toy-long, photos, voc\n"),
    (["export", "/dev/null/x", "--train", "1"], "error: can't read or write /dev/null/x: Not a directory\n  expected"),
    (["book", "--executed", "{}", "--out", "/dev/null/x"],
     "error: can't read or write /dev/null/x: Not a directory\n  expected")])
def test_a_problem_is_told_without_a_traceback_and_with_status_2(tmp_path, command, told):
    write_notebook(tmp_path / "1_oh2017_guided.ipynb")
    command = [sys.executable, "-m", "wsss_lab", *(part.format(tmp_path) for part in command)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (2, "") and answer.stderr.startswith(told)


def test_a_failing_notebook_is_shown_with_its_cell_and_the_others_run(tmp_path, monkeypatch, capfd):
    promised = {"oh2017": ("table1", "table2", "table3")}
    monkeypatch.setattr(summary, "promised_artifacts", lambda paper: promised.get(paper, ()))
    monkeypatch.setattr(summary, "waived_artifacts", lambda paper, profile: {"table3": "no boxes here"})
    write_notebook(tmp_path / "notebooks" / "0_primer.ipynb", "# Seeds", "1 + 1", "# Fusion", FAILING, "print('later')")
    write_notebook(tmp_path / "notebooks" / "1_oh2017_guided.ipynb", SAVING)
    result = reproduce(tmp_path, "--profile", "quick", "--seeds", "2", "--world-seed", "5", "--device", "cpu",
                       "--jobs", "3", "--param", "tau=0.4")
    assert result.exit_code == 1
    for told in ("FAILED 0_primer.ipynb, cell In [4], section 'Fusion'", textwrap.indent(FAILING, "    | "),
                 "TrainingError: the loss is nan\n    expected: a number\n    fix: a lower rate",
                 "seeds 2 world 5 device cpu jobs 3 tau 0.4", "table2: not made", "artifacts 1/2",
                 "1 not made in this profile", "claims: 1 reproduced"):
        assert told in result.stdout
    assert "later" not in result.stdout and (tmp_path / "executed" / "1_oh2017_guided.ipynb").is_file()
    assert not (tmp_path / "figures" / "README.md").exists()  # nothing of the quick profile in the gallery


@pytest.mark.parametrize("numbers, busy, left", [
    ([signal.SIGINT], "", True),
    ([signal.SIGTERM] * 2, "signal.signal(signal.SIGINT, signal.SIG_IGN)", False),  # the second one kills the kernel
])
def test_ctrl_c_and_sigterm_stop_the_notebook_cleanly_and_say_how_to_go_on(tmp_path, numbers, busy, left):
    source = f"""
import pathlib, signal, time
{busy}
try:
    print("working", flush=True)
    time.sleep(120)
finally:
    pathlib.Path({str(tmp_path / "cleaned up")!r}).touch()"""
    write_notebook(tmp_path / "notebooks" / "0_primer.ipynb", source)
    write_notebook(tmp_path / "notebooks" / "1_oh2017.ipynb", "print('second')")
    command = [sys.executable, "-m", "wsss_lab", "reproduce", "--profile", "quick",
               "--notebooks-dir", str(tmp_path / "notebooks"), "--out", str(tmp_path / "figures"),
               "--executed", str(tmp_path / "executed")]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        shown = ""
        while "working" not in shown:
            line = process.stdout.readline()
            assert line, shown + process.stderr.read()
            shown += line
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.5)
        out, err = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    assert err.endswith("\nStopped. What is finished is kept: the same command goes on from there.\n")
    assert err.count("\n") == (2 if left else 3)
    assert "second" not in out
    assert (tmp_path / "cleaned up").exists() == left


def test_the_toy_world_is_exported_and_a_full_folder_is_refused_before_it_is_drawn(tmp_path):
    folder = tmp_path / "voc"
    folder.mkdir()
    (folder / "mine.txt").touch()
    options = ["export", str(folder), "--train", "3", "--dev", "1", "--val", "2"]
    refusal = CliRunner().invoke(cli.app, options)
    assert isinstance(refusal.exception, DataError) and "give --overwrite" in str(refusal.exception)
    assert refusal.output == "" and not (tmp_path / "store").exists()
    result = CliRunner().invoke(cli.app, [*options, "--overwrite"])
    assert result.exit_code == 0, result.output
    assert len(list((folder / "JPEGImages").iterdir())) == 6
    assert len((folder / "ImageSets" / "Segmentation" / "train.txt").read_text().split()) == 3
