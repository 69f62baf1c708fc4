"""What tables and figures need: told without computing anything, and the same as what they read in a run."""

import fake_run
import lee2021_results
import numpy as np
import pytest
from typer.testing import CliRunner

from wsss_lab.lab import cli, made_up, needs, registry, trial
from wsss_lab.lab.forecast import hours, training_bytes
from wsss_lab.lab.needs import DryRun
from wsss_lab.lab.registry import Chosen
from wsss_lab.lab.session import start
from wsss_lab.lab.steps import topological
from wsss_lab.papers.lee2021 import tables as lee2021_tables

PAPERS = ("oh2017", "chaudhry2017", "araslanov2020", "roy2017", "lee2021")
TABLE2 = "roy2017/table2"
#: What is drawn by code, or only quotes and printed numbers; everything else reads results.
READS_NOTHING = {
    "oh2017/fig2", "oh2017/table6", "chaudhry2017/fig2", "araslanov2020/table4", "araslanov2020/fig3",
    "araslanov2020/fig7",
    "araslanov2020/fig9", "araslanov2020/penalty_curves", "araslanov2020/pooling_limits", "roy2017/table4",
    "roy2017/fig1", "roy2017/fig3", "lee2021/fig2", "araslanov2020/C26", "araslanov2020/C28",
    "roy2017/C11",
}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path))
    return tmp_path


def of(names: str, profile: str = "quick", seeds: int = 1) -> dict[str, needs.Needs]:
    return needs.needs(registry.choose(names, PAPERS), profile=profile, seeds=seeds)


def test_an_artifact_needs_what_its_function_asks_for_and_all_upstream():
    def make(run):
        run.load(run.route.trained("seeds"))
        run.load(run.route.scored("G0")["confusions"])
        run.load(run.route.scored("G0")["with_void"])
        return type("Made", (), {"title": "Two rows"})

    route = start("oh2017", "quick", figures="").route
    found, = needs.needs([Chosen("oh2017", "mine", make)], profile="quick").values()
    assert found == ("Two rows", topological([route.trained("seeds"), route.scored("G0")]), True)


def test_what_an_artifact_needs_is_the_same_beside_others():
    """Figures that both read are asked for by both."""
    assert of("oh2017/table2,oh2017/ladder")["oh2017/ladder"] == of("oh2017/ladder")["oh2017/ladder"]


def test_nothing_is_computed_and_nothing_stored(store):
    found = of(TABLE2)[TABLE2]
    assert len(found.steps) > 10 and not list(store.rglob("*.json"))


def test_steps_of_every_seed_are_told():
    labels = {step.label for step in of(TABLE2, seeds=2)[TABLE2].steps}
    assert {"train full, seed 0", "train full, seed 1"} <= labels


def test_what_halts_at_made_up_results_is_told_as_far_as_it_went():
    def make(run):
        run.load(run.route.scored("full")["confusions"])
        run.load(run.route.scored("full")["no such output"])

    found, = needs.needs([Chosen("roy2017", "mine", make)], profile="quick").values()
    assert not found.complete and found.title == "" and "train full, seed 0" in {step.label for step in found.steps}
    text = needs.render([Chosen("roy2017", "mine", make)], "quick", 1)
    assert "At least, as it can't be told before results are there: roy2017/mine." in text


@pytest.mark.parametrize("paper", PAPERS)
def test_every_table_and_figure_of_the_papers_can_be_told(paper):
    names = [f"{paper}/{id}" for id in registry.makers_of(paper)]
    found = of(",".join(names), "toy")
    assert [name for name, each in found.items() if not each.complete] == []
    assert {name for name, each in found.items() if not each.steps} == {
        name for name in READS_NOTHING if name.startswith(paper)}
    assert all(each.title for each in found.values())


@pytest.mark.parametrize("paper", PAPERS)
def test_tables_of_photographs_can_be_told(paper):
    routes = {"oh2017": lambda *_: fake_run.oh2017_routes(1, ready_made=True)}.get(
        paper, getattr(fake_run, f"{paper}_routes"))("photos", 1)
    run = DryRun(paper, "photos", routes, 0, "")
    for id, make in registry.makers_of(paper).items():
        if id.startswith("table"):
            make(run)
    assert any(step.trains for step in topological(list(run.asked)))


@pytest.mark.parametrize("profile", ["quick", "photos"])
def test_tables_ask_for_the_same_as_of_other_results(profile):
    made, dry = lee2021_results.fake_run(profile, 1), DryRun(
        "lee2021", profile, fake_run.lee2021_routes(profile, 1), 0, "")
    for make in lee2021_tables.TABLES.values():
        made.loaded, dry.asked = {}, {}
        make(made)
        make(dry)
        read, asked = ({step for step in steps if step.stage != "data"} for steps in (made.loaded, dry.asked))
        assert read == asked


def test_a_made_up_view_has_the_classes_of_the_world_and_masks_that_agree_with_its_tags():
    view = made_up.view("val", ("cat", "dog", "cow"))
    assert view.classes == ("cat", "dog", "cow") and len(view) == made_up.IMAGES
    for index in range(len(view)):
        assert np.unique(view.mask(index)).tolist() == [0, *(np.flatnonzero(view.tags[index]) + 1)]
    assert made_up.view("val", ("cat",)).tags.all()


def test_the_table_sums_hours_and_takes_the_largest_training():
    found = of(f"{TABLE2},roy2017/table4")
    table = needs.table(found, tflops=1e-3).set_index("artifact")
    steps = found[TABLE2].steps
    trained = [step for step in steps if step.trains]
    row = table.loc[TABLE2]
    assert (row["steps"], row["trainings"]) == (len(steps), len(trained))
    assert row["GPU-hours"] == pytest.approx(sum(hours(step, 1e-3) for step in steps)) and row["GPU-hours"] > 0
    assert row["GPU GB"] == max(map(training_bytes, trained)) / 1e9
    assert table.loc["roy2017/table4"].tolist()[:-1] == [0, 0, 0, 0]


def test_the_command_lists_the_artifacts_that_are_asked_for(monkeypatch):
    monkeypatch.setattr(trial, "measured", lambda steps, classes, jobs: dict.fromkeys(steps, 60.0))
    options = ["plan", "--profile", "quick", "--paper", "roy2017,oh2017", "--artifact", f"{TABLE2},oh2017/fig2"]
    result = CliRunner().invoke(cli.app, options)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].split() == ["artifact", "steps", "trainings", "computing,", "minutes", "title"]
    assert lines[1].startswith(TABLE2) and lines[1].rstrip().endswith("IoU of each class, val, per cent")
    assert float(lines[1].split()[1]) == float(lines[1].split()[3]) > 0  # a minute per step
    assert lines[2].split()[:4] == ["oh2017/fig2", "0", "0", "0.0"] and "from an empty run store" in lines[3]


def test_the_command_refuses_an_unknown_artifact():
    result = CliRunner().invoke(cli.app, ["plan", "--profile", "quick", "--artifact", "roy2017/table9"])
    assert result.exit_code and "unknown artifact of roy2017 'table9'" in str(result.exception)
