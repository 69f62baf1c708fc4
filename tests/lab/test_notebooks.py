"""Finding, checking and running notebooks; tiny ones, written for the purpose."""

import os
import sys

import nbformat
import pytest
from tiny_notebooks import PARAMETERS, write_notebook

from wsss_lab.errors import LabError, ParameterError, SetupError
from wsss_lab.lab import notebooks


@pytest.fixture
def shelf(tmp_path):
    for name in ("2_roy2017_topdown", "0_primer", "10_lee2021_eps", "1_oh2017_guided", "scratch", "copy of 1_oh2017"):
        write_notebook(tmp_path / f"{name}.ipynb")
    return notebooks.find_notebooks(tmp_path)


def test_notebooks_are_found_by_name_in_the_order_of_their_numbers(shelf, tmp_path):
    assert [(item.number, item.paper, item.alias) for item in shelf] == [
        (0, "primer", ""), (1, "oh2017", "guided"), (2, "roy2017", "topdown"), (10, "lee2021", "eps")]
    with pytest.raises(SetupError, match=f"no notebooks in '{tmp_path}/none'"):
        notebooks.find_notebooks(tmp_path / "none")


def test_papers_are_selected_by_name_or_alias_in_teaching_order_and_unknown_ones_refused(shelf):
    for asked, found in (("all", ["primer", "oh2017", "roy2017", "lee2021"]), ("eps, primer", ["primer", "lee2021"]),
                         ("guided", ["oh2017"]), ("oh2017,guided", ["oh2017"])):
        assert [item.paper for item in notebooks.select_notebooks(shelf, asked)] == found
    for asked in ("oh2O17", "chaudhry2017", "", "primer,,oh2017", "oh2071"):
        with pytest.raises(ParameterError, match="one of all, primer, oh2017, roy2017, lee2021") as caught:
            notebooks.select_notebooks(shelf, asked)
    assert "did you mean 'oh2017'" in caught.value.fix


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    return write_notebook(tmp_path / "1_oh2017.ipynb")


def test_parameters_are_read_with_defaults_and_help(path):
    parameters = notebooks.notebook_parameters(path)
    assert list(parameters) == ["profile", "seeds", "world_seed", "device", "jobs", "figures", "tau"]
    assert (parameters["tau"]["default"], parameters["tau"]["help"]) == ("0.2", "threshold of the seeds")


@pytest.mark.parametrize("tagged, told", [
    ((), "1_oh2017.ipynb' has no cells tagged 'parameters'"),
    ((PARAMETERS, PARAMETERS), "1_oh2017.ipynb' has 2 cells tagged 'parameters'"),
    (('profile: str = "toy"\nseeds: int | None = None\n',), "line of parameter 'seeds'"),
    (('profile: str = "toy"\nseeds: int = 1  # 1 = one seed\n',), "line of parameter 'seeds'"),
])
def test_what_papermill_would_overlook_is_an_error(tmp_path, tagged, told):
    path = write_notebook(tmp_path / "1_oh2017.ipynb", "print(1)", parameters=tagged)
    with pytest.raises(ParameterError, match=told):
        notebooks.notebook_parameters(path)


def test_a_file_that_is_no_notebook_or_has_no_language_is_named(path):
    bare = nbformat.read(path, as_version=4)
    bare.metadata = {}
    nbformat.write(bare, path)
    with pytest.raises(ParameterError, match="choose the kernel 'Python 3'"):
        notebooks.notebook_parameters(path)
    path.write_text('{"cells": [')
    with pytest.raises(LabError, match="1_oh2017.ipynb' can't be read as a notebook"):
        notebooks.notebook_parameters(path)


@pytest.mark.parametrize("text, name, value", [
    ("tau=0.3", "tau", 0.3), ("tau=1", "tau", 1.0), ("seeds = 3", "seeds", 3), ("device=1", "device", "1"),
    ("figures=a=b", "figures", "a=b")])  # fmt: skip
def test_assignments_get_the_type_of_the_default(path, text, name, value):
    given = notebooks.given_parameters(path, {"jobs": 2}, [text])
    assert given == {"jobs": 2, name: value} and type(given[name]) is type(value)


@pytest.mark.parametrize("options, text, told", [
    ({}, "tau", "can't read the parameter 'tau'"), ({}, "=3", "can't read the parameter '=3'"),
    ({}, "tau=high", "tau=high of 1_oh2017.ipynb is of another type\n  expected: float"),
    ({}, "seeds=1.5", "expected: int"), ({}, "seeds=True", "expected: int"),
    ({}, "sedes=2", "unknown parameter of 1_oh2017.ipynb 'sedes'\n  expected: one of device, figures, jobs, profile, "
                    "seeds, tau, world_seed\n  fix: did you mean 'seeds'?"),
    ({"seed": 0}, "tau=1", "unknown parameter of 1_oh2017.ipynb 'seed'"),
])
def test_bad_assignments_are_refused(path, options, text, told):
    with pytest.raises(ParameterError) as caught:
        notebooks.given_parameters(path, options, [text])
    assert told in str(caught.value)


# --- running ---------------------------------------------------------------------------------------------------------


def test_a_notebook_runs_in_this_interpreter_from_its_own_folder(tmp_path, capfd, monkeypatch):
    # A kernel of the user's that has the same name, and doesn't work.
    registered = tmp_path / "jupyter" / "kernels" / "python3"
    registered.mkdir(parents=True)
    (registered / "kernel.json").write_text('{"argv": ["false"], "language": "python", "display_name": "Python 3"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    source = "import os, sys\nprint(sys.executable, os.getcwd(), tau, os.environ['WSSS_PROGRESS'])"
    path = write_notebook(tmp_path / "notebooks" / "1_oh2017.ipynb", source)
    before = path.read_bytes()
    outcome = notebooks.run_notebook(notebooks.Notebook(path, 1, "oh2017"), {"tau": 0.5},
                                     tmp_path / "build" / "1_oh2017.ipynb")
    assert outcome.failure is None and outcome.seconds > 0
    assert f"{sys.executable} {os.path.realpath(path.parent)} 0.5 plain" in capfd.readouterr().out
    assert nbformat.read(outcome.executed, as_version=4).cells[-1].outputs
    assert path.read_bytes() == before


def test_a_dead_kernel_is_a_failure_with_a_word_about_memory_and_hands_over_its_steps(tmp_path):
    path = write_notebook(tmp_path / "1_oh2017.ipynb", """import os, pathlib, signal
pathlib.Path(os.environ['WSSS_STEPS']).write_text('a/1\\nb/2\\na/1\\n')
os.kill(os.getpid(), signal.SIGKILL)""")
    outcome = notebooks.run_notebook(notebooks.Notebook(path, 1, "oh2017"), {}, tmp_path / "executed.ipynb")
    assert outcome.steps == ("a/1", "b/2")
    assert "memory" in outcome.failure.error
    assert outcome.executed.is_file()
