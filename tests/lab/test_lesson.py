"""The profile lesson: trainings that a file answers, and what a lesson says of those that it doesn't."""

import io
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from wsss_lab.errors import ParameterError, WeightsError
from wsss_lab.lab import lesson, lesson_file, session, trained
from wsss_lab.lab.artifacts import Artifacts
from wsss_lab.lab.charts import legend_outside, side_by_side
from wsss_lab.lab.compute import compute
from wsss_lab.lab.notebooks import project_folder
from wsss_lab.lab.plots import Panel, grid
from wsss_lab.lab.session import start
from wsss_lab.lab.store import Store
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.heads import gap_net
from wsss_lab.papers.oh2017 import route as oh2017


@pytest.fixture(scope="module")
def toy():
    return oh2017.routes("toy", seeds=1)[0]


@pytest.fixture(scope="module")
def taught(toy):
    """Two trainings of the profile toy, and what they might have given."""
    torch.manual_seed(0)
    net = gap_net("HighRes", toy.scale.backbone, len(toy.world.classes))
    return {toy.classifier("HighRes"): {"state": net.state_dict(), "history": np.linspace(2, 1, 600).tolist()},
            toy.start.step: {"state": {"weight": torch.ones(2)}, "accuracy": 0.5}}


@pytest.fixture(scope="module")
def opened(taught, tmp_path_factory):
    """The folder of a file with these networks, as the command writes it from a run store that holds them; both are
    those that sessions find."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSS_CACHE", str(tmp_path_factory.mktemp("store")))
        for step, outputs in taught.items():
            Store().save(step, outputs, {"seconds": 0.0})
        folder = tmp_path_factory.mktemp("weights")
        lesson_file.write(folder, dict.fromkeys(taught, "oh2017"), jobs=0)
        patch.setenv("WSSS_WEIGHTS", str(folder))
        patch.setattr(session, "compute", lambda steps, store, jobs: compute(steps, store, "serial"))
        yield folder


def test_what_a_training_gave_comes_back_rounded(taught):
    outputs = next(iter(taught.values()))
    back = lesson.unpack(*lesson.pack(outputs))
    assert back.keys() == outputs.keys() and back["state"].keys() == outputs["state"].keys()
    assert back["history"] == pytest.approx(outputs["history"], rel=1e-3)
    for name, value in outputs["state"].items():
        assert torch.equal(back["state"][name], trained.restored(trained.rounded(name, value))[name])
        assert (back["state"][name] - value).abs().max() <= value.abs().max() / 100


def test_a_training_is_known_by_what_it_and_those_above_it_are_told(toy):
    few = replace(toy, world=replace(toy.world, counts=tuple((split, 9) for split, _ in toy.world.counts)))
    assert few.trained("G2").key != toy.trained("G2").key
    assert lesson.told(few.trained("G2")) == lesson.told(toy.trained("G2")) != lesson.told(toy.trained("G0"))
    for other in (replace(toy, scale=replace(toy.scale, seed_threshold=0.3)), replace(toy, seed=1),
                  replace(toy, scale=replace(toy.scale, classifier=Schedule(599, 16, 2e-3))),
                  replace(toy, world=replace(toy.world, seed=1))):
        assert lesson.told(other.trained("G2")) != lesson.told(toy.trained("G2"))


def test_the_file_says_how_its_networks_were_made_and_what_they_score(opened, taught):
    networks = lesson.read(opened / lesson.FILE)
    classifier, first = taught
    assert networks.keys() == {lesson.told(step) for step in taught}
    about = networks[lesson.told(classifier)][1]
    assert about["label"] == classifier.label and about["made"]["key"] == classifier.key
    assert networks[lesson.told(first)][1]["score"] is None  # start weights
    (step,) = lesson_file.evaluations("oh2017", [lesson.told(classifier)]).values()
    assert step.label == about["score"]["of"] == "precision-recall of HighRes on val, seed 0"
    store = Store()
    compute([step], store, "serial")
    assert about["score"]["mP"] == pytest.approx(lesson_file.score(step, store)["mP"], nan_ok=True)


def test_a_lesson_takes_from_the_file_what_it_can_and_says_what_it_lacks(opened, taught, capsys):
    run = start("oh2017", "lesson", figures="")
    step, (toys, outputs) = run.route.classifier("HighRes"), next(iter(taught.items()))
    assert isinstance(step, lesson.Kept) and not step.trains and step.parents == () and step.key != toys.key
    assert run.load(step)["state"].keys() == outputs["state"].keys()
    maps = run.load(run.route.class_maps("HighRes", "val"))["maps"]
    assert len(maps) == run.world.count("val") < 100
    assert not isinstance(run.route.classifier("LowRes"), lesson.Kept)
    shown = run.show("table1").data
    assert "needs 3 trainings" in shown and "make reproduce PAPER=oh2017 ARTIFACT=oh2017/table1" in shown
    for kept, own in ((shown, "table1.csv"), (run.show("fig3").data, "fig3.png")):
        links = re.findall(r"\]\((\.\./[^)]*)\)", kept)
        assert "Here is the kept one" in kept and any(link.endswith(own) for link in links)
        assert all((project_folder() / "notebooks" / link).is_file() for link in links)
    run.compute("table1", "fig5")  # leaves out what it would have to train for
    assert not [each for each in run.store.manifests() if each["label"].startswith(("train LowRes", "train saliency"))]
    assert "they come with the package" in run.card().data.loc["networks", ""] and capsys.readouterr().out.find(
        "This trains") < 0


def test_only_the_seeds_of_the_file_can_be_asked_for(opened):
    for wrong in ({"seeds": 2}, {"world_seed": 1}):
        with pytest.raises(ParameterError, match="profile lesson with"):
            start("oh2017", "lesson", figures="", **wrong)


def test_a_network_tells_which_pixel_labels_it_has_learnt_from(toy, tmp_path, monkeypatch):
    step = toy.trained("oracle")
    data, about = lesson.pack({"state": {"weight": torch.ones(2)}})
    lesson.save(tmp_path / lesson.FILE, {lesson.told(step): (data, about | {"label": step.label})})
    monkeypatch.setenv("WSSS_WEIGHTS", str(tmp_path))
    route = start("oh2017", "lesson", figures="").route
    kept = route.trained("oracle")
    assert isinstance(kept, lesson.Kept) and kept.pixel_labels() == step.pixel_labels() != ()
    assert route.prediction(kept).pixel_labels() == step.pixel_labels()


def test_a_file_that_is_missing_damaged_or_of_another_kind_is_refused_with_the_way_out(taught, tmp_path, monkeypatch):
    outputs = next(iter(taught.values()))
    save = partial(lesson.save, path := tmp_path / lesson.FILE)
    data, about = lesson.pack(outputs)
    save({"name": (data, about)})
    assert lesson.read(path).keys() == {"name"}
    for network in ((data[:-1], about), (np.append(data, data[:1]), about), (data, {"plain": {}}),
                    lesson.pack({"state": {"weight": torch.tensor([1.0, torch.inf])}})):
        lesson._read.cache_clear()
        save({"name": network})
        with pytest.raises(WeightsError, match="holds no networks for lessons") as refused:
            lesson.read(path)
        assert "wsss weights --profile lesson" in refused.value.fix
    torch.save(outputs["state"], path.with_name("other.pth"))
    monkeypatch.setattr(trained, "PACKAGE_FOLDER", tmp_path / "nowhere")
    monkeypatch.delenv("WSSS_WEIGHTS", raising=False)
    for other in (path.with_name("other.pth"), tmp_path / "missing.pth", trained.find(lesson.FILE)):
        with pytest.raises(WeightsError) as refused:
            lesson.read(other)
        assert "wsss weights --profile lesson" in refused.value.fix


def test_what_is_no_result_says_so_on_tables_and_pictures(tmp_path):
    frame = pd.DataFrame({"a": [1.0]})
    for caveat in ("", "it means nothing"):
        artifacts = Artifacts(tmp_path / caveat, caveat=caveat)
        artifacts.table("table1", frame, "Title", protocol="Protocol.")
        assert ("Protocol: Protocol; it means nothing" in (tmp_path / caveat / "table1.md").read_text()) == bool(caveat)
        for kind in ("measured", "qualitative", "schematic"):
            figure = Figure()
            figure.subplots()
            artifacts.figure("fig1", figure, "Title", "alt", kind)
            told = " ".join(text.get_text() for text in figure.texts)
            assert ("it means nothing" in told) == (bool(caveat) and kind != "schematic")


def test_that_it_is_no_result_is_said_below_a_legend_that_stands_outside_the_charts():
    figure, (axes,) = side_by_side(1, (4, 3))
    axes.plot([], [], color=(0, 0, 1), lw=4, label="line")
    legend_outside(axes, "lower", 1)
    picture = Artifacts(None, caveat="it means nothing").figure("fig1", figure, "Title", "alt")
    red, green, blue = np.moveaxis(np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"), float), -1, 0)
    line, told = (blue > red + 200).any(1), (red > np.maximum(green, blue) + 100).any(1)
    assert line.any() and told.any() and np.flatnonzero(line).max() < np.flatnonzero(told).min()


def test_a_legend_that_has_its_place_below_pictures_stays_there():
    figure = grid([[Panel(np.ones((4, 4), np.uint8), "mask")]], ["heading"], classes=["cat"])
    (legend,) = figure.legends
    figure.draw_without_rendering()
    before = legend.get_window_extent().bounds
    Artifacts(None, caveat="it means nothing").note(figure)
    figure.draw_without_rendering()
    assert legend.get_window_extent().bounds == pytest.approx(before)
