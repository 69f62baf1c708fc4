"""What tables, figures and notebooks need: told without computing anything, and the same as what they read in a run."""

import shutil

import fake_run
import lee2021_results
import numpy as np
import pytest
from typer.testing import CliRunner

from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.errors import DataError, WeightsError
from wsss_lab.lab import acquire, cli, forecast, registry, rehearsal, stand_ins, worlds
from wsss_lab.lab.costs import Cost, hours, training_bytes
from wsss_lab.lab.forecast import Forecast
from wsss_lab.lab.registry import Chosen
from wsss_lab.lab.session import start
from wsss_lab.lab.steps import topological
from wsss_lab.lab.worlds import StandInFolder, StandInWeights, StandInWorld, open_world, weights_file
from wsss_lab.papers.lee2021 import tables as lee2021_tables
from wsss_lab.settings import DATA, WEIGHTS, forecasting

PAPERS = ("oh2017", "chaudhry2017", "araslanov2020", "roy2017", "lee2021")
TABLE2 = "roy2017/table2"
#: What is drawn by code, or only quotes and printed numbers; everything else reads results.
READS_NOTHING = {
    "oh2017/fig2", "oh2017/table6", "chaudhry2017/fig2", "araslanov2020/table4", "araslanov2020/fig3",
    "araslanov2020/fig7", "araslanov2020/fig9", "araslanov2020/penalty_curves", "araslanov2020/pooling_limits",
    "roy2017/table4", "roy2017/fig1", "roy2017/fig3", "lee2021/fig2", "araslanov2020/C26", "araslanov2020/C28",
    "roy2017/C11",
}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """An empty run store; no data and no weights."""
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path))
    for name in (DATA, WEIGHTS, "WSSS_COCO", "WSSS_SALIENCY", "WSSS_REHEARSAL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def run():
    return start("roy2017", "quick", figures="")


def of(names: str, profile: str = "quick", seeds: int = 1) -> dict[str, forecast.Needs]:
    return forecast.needs(registry.choose(names, PAPERS), profile=profile, seeds=seeds)


def plan(*options, good=True):
    result = CliRunner().invoke(cli.app, ["plan", *options])
    assert bool(result.exit_code) != good, result.output
    return result.output if good else str(result.exception)


def test_an_artifact_needs_what_its_function_asks_for_and_all_upstream_as_far_as_it_gets(store):
    def make(run):
        run.load(run.route.trained("seeds"))
        run.load(run.route.scored("G0")["confusions"])
        run.load(run.route.scored("G0")["with_void"])
        return type("Made", (), {"title": "Two rows"})

    def halt(run):
        make(run)
        run.load(run.route.scored("G0")["no such output"])

    route, mine = start("oh2017", "quick", figures="").route, Chosen("oh2017", "mine", halt)
    found, = forecast.needs([mine._replace(make=make)], profile="quick").values()
    assert found == ("Two rows", topological([route.trained("seeds"), route.scored("G0")]), True)
    halted, = forecast.needs([mine], profile="quick").values()
    assert halted == ("", found.steps, False)
    text = forecast.of_artifacts([mine], "quick", 1)
    assert "At least, as it can't be told before results are there: oh2017/mine." in text
    # figures that both read are asked for by both; steps of every seed are told, and nothing is computed
    assert of("oh2017/table2,oh2017/ladder")["oh2017/ladder"] == of("oh2017/ladder")["oh2017/ladder"]
    labels = {step.label for step in of(TABLE2, seeds=2)[TABLE2].steps}
    assert {"train full, seed 0", "train full, seed 1"} <= labels and not list(store.rglob("*.json"))


def test_the_command_lists_the_artifacts_that_are_asked_for(monkeypatch):
    chosen = registry.choose(f"{TABLE2},roy2017/table4", PAPERS)
    head, table2, table4, *_ = forecast.of_artifacts(chosen, "quick", 1, tflops=1e-6).splitlines()
    steps = of(TABLE2)[TABLE2].steps
    trained = [step for step in steps if step.trains]
    assert head.split() == ["artifact", "steps", "trainings", "GPU-hours", "GPU", "GB", "title"]
    assert table2.split()[:5] == [TABLE2, str(len(steps)), str(len(trained)),
                                  f"{sum(hours(step, 1e-6) for step in steps):.1f}",
                                  f"{max(map(training_bytes, trained)) / 1e9:.1f}"]
    assert float(table2.split()[3]) > 0 and table4.split()[1:5] == ["0", "0", "0.0", "0.0"]
    monkeypatch.setattr(forecast, "measured", lambda steps, classes, jobs: dict.fromkeys(steps, 60.0))
    lines = plan("--profile", "quick", "--paper", "roy2017,oh2017", "--artifact", f"{TABLE2},oh2017/fig2").splitlines()
    assert lines[0].split() == ["artifact", "steps", "trainings", "computing,", "minutes", "title"]
    assert lines[1].startswith(TABLE2) and lines[1].rstrip().endswith("IoU of each class, val, per cent")
    assert float(lines[1].split()[1]) == float(lines[1].split()[3]) > 0  # a minute per step
    assert lines[2].split()[:4] == ["oh2017/fig2", "0", "0", "0.0"] and "from an empty run store" in lines[3]
    told = plan("--profile", "quick", "--artifact", "roy2017/table9", good=False)
    assert "unknown artifact of roy2017 'table9'" in told


def test_only_forecasts_have_stand_ins_and_none_for_photographs_nor_for_a_folder_that_is_named(tmp_path, monkeypatch):
    def weights(name="a.pth"):
        return weights_file(name, lambda *_: None)

    def refused(error, told, *looks):
        for look in looks:
            with pytest.raises(error, match=told):
                look()

    refused(DataError, "WSSS_DATA, which isn't set", lambda: open_world("voc"),
            lambda: start("roy2017", "voc", figures=""))
    refused(WeightsError, "no weights file", weights)
    with forecasting():
        world, files = open_world("voc"), [weights(), weights("b.pth")]
        refused(DataError, "profile 'photos' needs WSSS_DATA", lambda: open_world("photos"))
        monkeypatch.setenv(DATA, str(tmp_path / "nowhere"))
        refused(DataError, "no such folder", lambda: open_world("voc"))
        monkeypatch.setenv(WEIGHTS, str(tmp_path))
        refused(WeightsError, "no weights file", weights)
    assert [world.count(split) for split in ("train", "train-voc", "val")] == [10_582, 1_464, 1_449]
    assert world.eval_view("val[:100]").count == 100 and len(world.classes) == 20
    assert world.train_view("train").key != world.train_view("val").key != world.eval_view("val").key
    assert all(isinstance(each, StandInWeights) for each in files) and files[0].key != files[1].key


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
    run = Forecast(paper, "photos", routes, 0, "")
    for id, make in registry.makers_of(paper).items():
        if id.startswith("table"):
            make(run)
    assert any(step.trains for step in topological(list(run.asked)))


@pytest.mark.parametrize("profile", ["quick", "photos"])
def test_tables_ask_for_the_same_as_of_other_results(profile):
    made, foreseen = lee2021_results.fake_run(profile, 1), Forecast(
        "lee2021", profile, fake_run.lee2021_routes(profile, 1), 0, "")
    for make in lee2021_tables.TABLES.values():
        made.loaded, foreseen.asked = {}, {}
        make(made)
        make(foreseen)
        read, asked = ({step for step in steps if step.stage != "data"} for steps in (made.loaded, foreseen.asked))
        assert read == asked


def test_a_view_s_stand_in_has_the_classes_of_the_world_and_masks_that_agree_with_its_tags():
    view = stand_ins.view("val", ("cat", "dog", "cow"))
    assert view.classes == ("cat", "dog", "cow") and len(view) == stand_ins.IMAGES
    for index in range(len(view)):
        assert np.unique(view.mask(index)).tolist() == [0, *(np.flatnonzero(view.tags[index]) + 1)]
    assert stand_ins.view("val", ("cat",)).tags.all()


def test_the_command_counts_what_notebooks_share_once(monkeypatch):
    tried = []
    monkeypatch.setattr(forecast, "measured", lambda steps, classes, jobs: tried.append((classes, jobs)) or
                        dict.fromkeys(steps, 60.0))

    def printed(*options):
        output = plan("--profile", "quick", "--jobs", "4", *options)
        return output, {line[0]: [float(cell) for cell in line[1:7]] for line in map(
            str.split, output.splitlines()) if line[0] in ("primer", "roy2017", "together")}

    output, rows = printed("--paper", "primer,roy2017", "--trainings")
    _, alone = printed("--paper", "roy2017")
    assert rows["roy2017"][0] < alone["roy2017"][0] < rows["together"][0]
    for steps, stored, trainings, computing, wall, _ in rows.values():  # a minute per step
        assert computing == steps > trainings > 0 == stored and wall >= computing / 4 - 0.1
    assert np.add(rows["primer"], rows["roy2017"])[:5] == pytest.approx(rows["together"][:5])
    assert "train HighRes, seed 0" in output and "train full, seed 0" in output and "with 4 workers" in output
    assert "GPU" not in output and tried == [(8, 4)] * 2
    run = start("roy2017", "quick", figures="")
    step = run.route.trained()
    table = forecast.trainings(forecast.costs([run.world.scenes("val"), step], run.world))
    assert table[["training", "GPU GB"]].values.tolist() == [[step.label, training_bytes(step) / 1e9]]


def test_a_disk_that_is_too_small_is_told_with_what_to_do(run, monkeypatch):
    usage = shutil.disk_usage(run.store.root.parent)
    left, stored = (Cost(run.world.scenes("val"), 0.0, 3e9, there) for there in (False, True))
    monkeypatch.setattr(forecast.shutil, "disk_usage", lambda _: usage._replace(free=5_000_000_000))
    assert forecast.room([left, stored]) == [
        f"The run store {run.store.root} will take about 3.0 GB; 5.0 GB are free there."]
    much, remedy = forecast.room([left, left])
    assert "about 6.0 GB; 5.0 GB are free" in much and "WSSS_CACHE" in remedy


def test_a_plan_of_voc_needs_neither_images_nor_weights(store):
    output = plan("--profile", "voc", "--paper", "roy2017")
    assert "WSSS_DATA isn't set" in output and "10,582 images to train on and 1,449 to score" in output
    assert "WSSS_WEIGHTS isn't set" in output and "wsss data imagenet-weights" in output
    whole = sum(item.remote.reckoned for name in ("voc", "sbd") for item in acquire.SOURCES[name]().items)
    assert f"{whole / 1e9:.1f} GB, as much again unpacked" in output
    output = plan("--profile", "voc", "--artifact", TABLE2)
    assert TABLE2 in output and "WSSS_DATA isn't set" in output
    assert not list(store.rglob("*.json"))


@pytest.mark.parametrize("paper", ["roy2017", "lee2021"])
def test_the_plan_is_that_of_a_folder_with_as_many_images(paper, tmp_path, monkeypatch):
    def found():
        return {each.step.label: (each.hours, each.bytes) for each in forecast.of_papers([paper], "voc", 1)[paper]}

    monkeypatch.setattr(rehearsal, "COUNTS", {"train": 3, "dev": 4, "val": 2})
    rehearsal.draw_devkit(tmp_path / "drawn")
    monkeypatch.setattr(worlds, "voc2012", lambda: StandInFolder(CLASSES, {"trainaug": 7, "train": 3, "val": 2}))
    with forecasting():
        expected = found()
        monkeypatch.setenv(DATA, str(tmp_path / "drawn/trainaug"))
        assert not isinstance(open_world("voc"), StandInWorld)
        assert found() == expected
