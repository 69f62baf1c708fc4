"""Single tables and figures: found by name, made without a notebook, computing what they read and no more."""

import pytest
from tiny_notebooks import write_notebook
from typer.testing import CliRunner

from wsss_lab.errors import ParameterError
from wsss_lab.lab import cli, forecast, registry, session
from wsss_lab.lab.notebooks import find_notebooks, project_folder, shown_artifacts
from wsss_lab.lab.published import papers
from wsss_lab.lab.session import make_artifacts, start

PAPERS = ("primer", "oh2017", "lee2021")


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "store"))


def test_artifacts_are_found_by_name_and_a_paper_stands_for_all_of_its_own():
    found = registry.choose("oh2017/table2, lee2021/fig3", PAPERS)
    assert [(each.paper, each.id) for each in found] == [("oh2017", "table2"), ("lee2021", "fig3")]
    whole = [each.id for each in registry.choose("lee2021", PAPERS)]
    assert {"table7", "text-saliency", "fig6", "dial", "claims"} <= set(whole) and len(whole) == len(set(whole))
    assert "C05" not in whole


def test_claims_can_be_asked_for_one_by_one(capsys, tmp_path):
    make_artifacts(registry.choose("araslanov2020/C26", ("araslanov2020",)), profile="quick", figures=str(tmp_path))
    told = capsys.readouterr().out
    assert "claim_id: araslanov2020-C26\n" in told and "verdict: reproduced\n" in told
    found = forecast.needs(registry.choose("oh2017/C01", PAPERS), profile="quick")["oh2017/C01"]
    route = start("oh2017", "quick", figures="").route
    assert found.complete and {route.scored("G0"), route.scored("seeds")} <= set(found.steps)
    assert route.scored("G2") not in found.steps


def test_shown_artifacts_are_read_off_a_notebook(tmp_path):
    cells = ["# Seeds\n\n## Fusion\ntext", "%magic", 'run.show("table1", "fig2")\nrun.show(grid([]), "a picture")',
             "run.show()", 'display(run.show("C1"))']
    path = write_notebook(tmp_path / "1_oh2017.ipynb", *cells)
    assert shown_artifacts(path) == {"table1": "Fusion", "fig2": "Fusion", "C1": "Fusion"}


@pytest.mark.parametrize("notebook", [each for each in find_notebooks(project_folder() / "notebooks")
                                      if each.paper in papers()], ids=lambda each: each.paper)
def test_all_that_a_notebook_saves_can_be_asked_for(notebook):
    saved = shown_artifacts(notebook.path)
    assert len(saved) > 15 and set(saved) <= set(registry.makers_of(notebook.paper))


@pytest.mark.parametrize(("names", "problem", "hint"), [
    ("oh2071/table2", "unknown paper 'oh2071'", "did you mean 'oh2017'?"),
    ("oh2017/tabel2", "unknown artifact of oh2017 'tabel2'", "did you mean 'table2'?"),
    (" , ", "artifact ' , ' names nothing", ""),
    ("primer/table_card", "of primer are made by its notebook alone", "wsss reproduce --paper primer"),
    ("your", "artifact 'your': tables and figures of your are made", "wsss reproduce --paper your"),
])
def test_a_wrong_name_is_refused_with_the_closest(names, problem, hint):
    with pytest.raises(ParameterError, match=problem) as caught:
        registry.choose(names, (*PAPERS, "primer", "your"))
    assert hint in caught.value.fix


def test_an_artifact_is_made_by_the_command_without_a_notebook(tmp_path):
    out = tmp_path / "figures"
    options = ["reproduce", "--profile", "quick", "--out", str(out), "--artifact", "roy2017/table4"]
    result = CliRunner().invoke(cli.app, options)
    assert result.exit_code == 0, result.output
    assert (out / "quick/roy2017/table4.csv").is_file() and not (out / "quick/roy2017/table1.csv").exists()
    assert f"roy2017/table4: {out}/quick/roy2017, table4.*" in result.output


def test_what_is_computed_ahead_is_what_artifacts_read(monkeypatch):
    asked = []
    monkeypatch.setattr(session, "compute", lambda steps, *_, **__: asked.extend(steps))
    monkeypatch.setattr(session.runs, "note", lambda steps: None)
    forecast.compute_ahead("oh2017", ["C01"], profile="quick", figures="")
    route = start("oh2017", "quick", figures="").route
    assert {route.scored("G0"), route.scored("seeds")} <= set(asked) and route.scored("G2") not in asked
    forecast.compute_ahead("oh2017", ["no such"], profile="quick", figures="")
