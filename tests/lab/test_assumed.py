"""Plans of the profile voc before its data and weights are there: as with them, and nothing but plans."""

import pytest
from typer.testing import CliRunner

from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.errors import DataError, WeightsError
from wsss_lab.lab import acquire, assumed, cli, forecast, rehearsal
from wsss_lab.lab.assumed import Listed, assume
from wsss_lab.lab.session import start
from wsss_lab.lab.worlds import AssumedWeights, AssumedWorld, open_world, weights_file

COUNTS = {"train": 3, "dev": 4, "val": 2}


@pytest.fixture(autouse=True)
def nothing_there(tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "cache"))
    for name in (assumed.DATA, assumed.WEIGHTS, "WSSS_COCO", "WSSS_SALIENCY", "WSSS_REHEARSAL"):
        monkeypatch.delenv(name, raising=False)


def plan(*options):
    return CliRunner().invoke(cli.app, ["plan", "--profile", "voc", "--paper", "roy2017", *options])


def test_a_plan_of_voc_needs_neither_images_nor_weights(tmp_path):
    result = plan()
    assert result.exit_code == 0, result.output
    assert "WSSS_DATA isn't set" in result.output and "10,582 images to train on and 1,449 to score" in result.output
    assert "WSSS_WEIGHTS isn't set" in result.output and "wsss data imagenet-weights" in result.output
    result = plan("--artifact", "roy2017/table2")
    assert result.exit_code == 0 and "roy2017/table2" in result.output and "WSSS_DATA isn't set" in result.output
    assert not list((tmp_path / "cache").rglob("*.json"))


@pytest.mark.parametrize("paper", ["roy2017", "lee2021"])
def test_the_plan_is_that_of_a_folder_with_as_many_images(paper, tmp_path, monkeypatch):
    def hours():
        return {each.step.label: (each.hours, each.bytes) for each in forecast.of_papers([paper], "voc", 1)[paper]}

    monkeypatch.setattr(rehearsal, "COUNTS", COUNTS)
    rehearsal.draw_devkit(tmp_path / "drawn")
    monkeypatch.setattr(assumed, "voc2012", lambda: Listed(CLASSES, {"trainaug": 7, "train": 3, "val": 2}))
    with assume():
        expected = hours()
        monkeypatch.setenv(assumed.DATA, str(tmp_path / "drawn/trainaug"))
        assert not isinstance(open_world("voc"), AssumedWorld)
        assert hours() == expected


def test_only_plans_assume():
    for missing in (lambda: open_world("voc"), lambda: start("roy2017", "voc", figures="")):
        with pytest.raises(DataError, match="WSSS_DATA, which isn't set"):
            missing()
    with assume():
        assert isinstance(open_world("voc"), AssumedWorld)
    with pytest.raises(WeightsError, match="no weights file"):
        weights_file("vgg16_imagenet.pth", lambda *_: None)


def test_nothing_is_assumed_of_photographs_nor_of_a_folder_that_is_named(tmp_path, monkeypatch):
    with assume():
        with pytest.raises(DataError, match="profile 'photos' needs WSSS_DATA"):
            open_world("photos")
        monkeypatch.setenv(assumed.DATA, str(tmp_path / "nowhere"))
        with pytest.raises(DataError, match="no such folder"):
            open_world("voc")
        monkeypatch.setenv(assumed.WEIGHTS, str(tmp_path))
        with pytest.raises(WeightsError, match="no weights file"):
            weights_file("vgg16_imagenet.pth", lambda *_: None)


def test_the_world_counts_the_images_of_voc():
    with assume():
        world = open_world("voc")
    assert [world.count(split) for split in ("train", "train-voc", "val")] == [10_582, 1_464, 1_449]
    assert world.eval_view("val[:100]").count == 100 and len(world.classes) == 20
    assert world.train_view("train").key != world.train_view("val").key != world.eval_view("val").key


def test_assumed_weights_differ_by_file():
    with assume():
        files = [weights_file(name, lambda *_: None) for name in ("a.pth", "b.pth")]
    assert all(isinstance(each, AssumedWeights) for each in files) and files[0].key != files[1].key


def test_sizes_are_those_of_the_downloads():
    whole = sum(item.remote.reckoned for name in ("voc", "sbd") for item in acquire.SOURCES[name]().items)
    assert acquire.download_size("voc", "sbd") == f"{whole / 1e9:.1f} GB"
