"""What a run will take: operations counted by hand, images of splits, what is stored left out."""

import re

import pytest
from typer.testing import CliRunner

from wsss_lab.lab import cli, forecast
from wsss_lab.lab.session import start
from wsss_lab.networks.backbones import Backbone

TINY = Backbone("vgg", ((1, 4), (1, 8)), side=16)


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path))


@pytest.fixture
def run():
    return start("roy2017", "quick", figures="")


def by_label(run, steps):
    return {each.step.label: each for each in forecast.costs(run, steps, tflops=1e-6)}


def test_operations_of_a_look_are_those_of_its_convolutions():
    # conv4 and conv5 of DeepLab on 16 x 16 pixels, both of stride 1: 2 * 9 * in * out at each of 256 positions
    assert forecast._of_a_look(TINY) == 2 * 9 * 256 * (3 * 4 + 4 * 8)
    assert forecast._weights(TINY) == 9 * 3 * 4 + 4 + 9 * 4 * 8 + 8


def test_a_training_takes_three_looks_per_image_and_a_prediction_one(run):
    route = run.route
    look = forecast._of_a_look(Backbone.from_settings(route.backbone))
    schedule = route.scale.schedule
    found = by_label(run, (route.trained(), route.prediction(), route.scored()))
    training = found["train full, seed 0"]
    assert training.trains and training.hours * 3600e6 == pytest.approx(3 * look * schedule.iterations * schedule.batch)
    prediction = found["labels of val, full, seed 0"]
    assert not prediction.trains and prediction.hours * 3600e6 == pytest.approx(24 * look)
    assert prediction.bytes == 24 * 64 * 64
    score = found["score of labels of val, full, seed 0"]
    assert score.hours == score.bytes == 0


def test_images_of_a_split_are_counted_without_opening_it(run):
    assert run.world.train_view("val").count == 24 and run.world.train_view("train[:5]").count == 5
    assert run.world.train_view("val[:99]").count == 24 and not list(run.store.root.glob("*/*"))


def test_what_is_stored_is_left_out(run):
    scenes = run.world.scenes("val")
    before, = forecast.costs(run, [scenes])
    run.compute(scenes)
    after, = forecast.costs(run, [scenes])
    assert (before.stored, after.stored) == (False, True)
    assert forecast.summary([before])["stored"] == 0 and forecast.summary([after])["stored"] == 1


def test_the_command_counts_what_two_papers_share_once():
    result = CliRunner().invoke(cli.app, ["plan", "--profile", "quick", "--paper", "oh2017,roy2017", "--trainings"])
    assert result.exit_code == 0, result.output
    alone = CliRunner().invoke(cli.app, ["plan", "--profile", "quick", "--paper", "roy2017"])
    count = {name: int(re.search(rf"^{name}\s+(\d+)", text, re.M)[1])
             for name, text in (("oh2017", result.output), ("roy2017", alone.output), ("together", result.output))}
    assert count["oh2017"] < count["together"] < count["oh2017"] + count["roy2017"]
    assert "train HighRes, seed 0" in result.output and "train full, seed 0" in result.output


def test_the_primer_has_no_forecast():
    assert forecast.has_forecast("oh2017") and not forecast.has_forecast("primer")
