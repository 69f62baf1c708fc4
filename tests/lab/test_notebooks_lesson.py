"""The papers' notebooks in the profile that they open with: nothing is trained, and sections 1 to 5 lack nothing."""

import pytest
from typer.testing import CliRunner

from wsss_lab.lab import cli, lesson, lesson_file, notebooks
from wsss_lab.lab.artifacts import read_manifest
from wsss_lab.lab.published import papers
from wsss_lab.lab.store import Store

FASTEST = "roy2017"


@pytest.fixture(scope="module")
def kept():
    """Keys under which a store holds networks that come with the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WSSS_WEIGHTS", raising=False)
        return {lesson.answered(step).key for step in lesson_file.trainings()}


@pytest.mark.parametrize("paper", [pytest.param(paper, marks=[pytest.mark.slow] * (paper != FASTEST))
                                   for paper in papers()])
def test_a_notebook_runs_as_a_lesson_and_trains_nothing(paper, kept, tmp_path, monkeypatch):
    monkeypatch.delenv("WSSS_WEIGHTS", raising=False)
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "store"))
    monkeypatch.setenv("PYTHONPATH", str(notebooks.project_folder()))
    asked = {"paper": paper, "profile": "lesson", "device": "cpu", "jobs": 1, "out": tmp_path, "executed": tmp_path}
    result = CliRunner().invoke(cli.app, ["reproduce", *(f"--{name}={value}" for name, value in asked.items())])
    assert result.exit_code == 0, result.output  # although it shows kept tables where it can't make any

    networks = {each["key"]: each["label"] for each in Store().manifests()
                if "schedule" in each["settings"] and each["stage"] != "evaluation"}
    assert networks.keys() & kept
    assert [label for key, label in networks.items() if key not in kept] == []  # those were trained

    folder = tmp_path / "lesson" / paper
    saved = read_manifest(folder)
    assert set(lesson_file.shown(paper)) <= saved.keys()
    figures = [folder / name for entry in saved.values() for name in entry["files"] if name.endswith(".png")]
    assert all(path.stat().st_size > 5000 for path in figures)
    cells = notebooks.read(next(tmp_path.glob("*.ipynb"))).cells
    outputs = [output.get("data", {}).get("text/html", "") for cell in cells for output in cell.get("outputs", ())]
    assert sum(text.startswith("<img ") for text in outputs) > len(figures)  # others are only looked at
