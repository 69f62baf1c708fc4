"""Rehearsals of the profile voc: what is shortened, and what they read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from wsss_lab.data.folder import VocFolder
from wsss_lab.errors import ParameterError
from wsss_lab.lab import doctor, rehearsal
from wsss_lab.lab.rehearsal import BATCH, ITERATIONS, SIDES, scale_of
from wsss_lab.lab.worlds import CocoWorld, open_world, saliency_folder
from wsss_lab.networks.weights import read_weights
from wsss_lab.papers.araslanov2020 import route as araslanov2020
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.roy2017 import route as roy2017

SIDE = SIDES["paper"]
PAPERS = (oh2017, chaudhry2017, roy2017, araslanov2020, lee2021)


@pytest.fixture
def devkit(tmp_path, monkeypatch):
    """A drawn devkit of few images, with random weights left out."""
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(rehearsal, "COUNTS", {"train": 3, "dev": 4, "val": 2})
    monkeypatch.setattr(rehearsal, "random_weights", lambda folder: (folder / "weights.pth").touch())
    for name in ("WSSS_DATA", "WSSS_WEIGHTS", "WSSS_COCO", "WSSS_SALIENCY"):
        monkeypatch.delenv(name, raising=False)
    return rehearsal.prepare(tmp_path / "rehearsal")


# --- what is shortened -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", PAPERS)
def test_a_rehearsal_shortens_every_schedule_and_keeps_everything_else(paper, monkeypatch):
    monkeypatch.delenv("WSSS_REHEARSAL", raising=False)
    assert all(scale_of(paper.SCALES, profile) is scale for profile, scale in paper.SCALES.items())
    monkeypatch.setenv("WSSS_REHEARSAL", "paper")
    full, short = paper.SCALES["voc"], scale_of(paper.SCALES, "voc")
    for name, value in vars(full).items():
        pairs = [(value, getattr(short, name))]
        if isinstance(value, dict):
            pairs = [(value[key], getattr(short, name)[key]) for key in value]
        for before, after in pairs:
            if hasattr(before, "iterations"):
                assert (after.iterations, after.batch) == (ITERATIONS, BATCH) == (2, 2)
                assert replace(after, iterations=before.iterations, batch=before.batch) == before
            elif hasattr(before, "family"):
                assert after.side == SIDE and (after.family, after.blocks) == (before.family, before.blocks)
                for old, new in zip((before.dilation, *before.aspp), (after.dilation, *after.aspp), strict=True):
                    assert abs(new / SIDE - old / before.side) <= 0.5 / SIDE + 1e-9
            elif name in ("scales", "exchanged_scales"):
                assert after == tuple(each for each in before if each <= 1) != ()
            else:
                assert after == before


def test_mobilenet_takes_the_place_of_every_network(monkeypatch):
    monkeypatch.setenv("WSSS_REHEARSAL", "mobilenet")
    scale = scale_of(lee2021.SCALES, "voc")
    nets = [scale.main, *scale.nets.values()]
    assert {(each.family, each.side) for each in nets} == {("mobilenet", SIDES["mobilenet"])}


def test_only_the_profile_voc_is_rehearsed(monkeypatch):
    monkeypatch.setenv("WSSS_REHEARSAL", "paper")
    with pytest.raises(ParameterError, match="with the profile toy") as caught:
        scale_of(oh2017.SCALES, "toy")
    assert caught.value.fix == "unset it, or set PROFILE=voc"


# --- what is read ----------------------------------------------------------------------------------------------------


def test_without_data_the_toy_world_is_laid_out_and_joined(devkit, monkeypatch):
    folder = VocFolder(devkit["WSSS_DATA"])
    assert folder.splits == ("train", "trainaug", "val") and len(folder.names("trainaug")) == 7
    assert folder.tags_source == "xml" and folder.has_context
    for split in folder.splits:
        folder.check(split)
    for name, place in devkit.items():
        monkeypatch.setenv(name, place)
    assert open_world("voc").count("train") == 7 and open_world("voc").count("train-voc") == 3
    for detector in lee2021.DETECTORS:
        maps = Path(saliency_folder(detector, lee2021.DETECTORS).path)
        assert len(list(maps.glob("*.png"))) == (3 + 4 + 2) + (4 + 2)  # of the devkit and of COCO


def test_what_is_there_is_used_again(devkit, tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsal, "draw_devkit", None)
    assert rehearsal.prepare(tmp_path / "rehearsal") == devkit
    (tmp_path / "rehearsal/devkit" / rehearsal.MARKER).unlink()  # interrupted
    drawn = []
    monkeypatch.setattr(rehearsal, "draw_devkit", drawn.append)
    rehearsal.prepare(tmp_path / "rehearsal")
    assert drawn == [tmp_path / "rehearsal/devkit"]


def test_photographs_are_thinned(devkit, tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_DATA", devkit["WSSS_DATA"])
    monkeypatch.setenv("WSSS_WEIGHTS", "anything")
    monkeypatch.setattr(rehearsal, "THINNED", 4)
    found = rehearsal.prepare(tmp_path / "again")
    assert found == {"WSSS_DATA": str(tmp_path / "again/thinned-trainaug")}
    whole, thin = VocFolder(devkit["WSSS_DATA"]), VocFolder(found["WSSS_DATA"])
    counts = whole.train_view("trainaug").tags.sum(1)
    groups = [np.flatnonzero(counts > 1), np.flatnonzero(counts == 1)]
    assert max(map(len, groups)) > 2 and min(map(len, groups)) > 0
    kept = sorted({group[end] for group in groups for end in (0, -1)})
    assert thin.names("trainaug") == tuple(whole.names("trainaug")[row] for row in kept)
    assert thin.names("val") == whole.names("val")
    np.testing.assert_array_equal(thin.eval_view("val").mask(1), whole.eval_view("val").mask(1))


def test_random_weights_are_read_by_the_networks_of_the_profile(tmp_path):
    rehearsal.random_weights(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(doctor.WEIGHT_FILES)
    for name, backbone in {"main": araslanov2020.SCALES["voc"].main, **araslanov2020.SCALES["voc"].nets}.items():
        path = tmp_path / araslanov2020.START_WEIGHTS[name]
        trunk = backbone.trunk("DeepLab")
        backbone.load_start(trunk, read_weights(path), path)
        with torch.no_grad():
            features = trunk.eval()(torch.randn(1, 3, 65, 65))
        assert torch.isfinite(features).all() and 0.1 < features.std() < 5
        path.unlink()


def test_coco_is_shortened_too(devkit, monkeypatch):
    for name, place in devkit.items():
        monkeypatch.setenv(name, place)
    monkeypatch.setenv("WSSS_REHEARSAL", "paper")
    world, scale = open_world("voc"), scale_of(lee2021.SCALES, "voc")
    crowded = lee2021.Route(world, scale, 0, {}, None, CocoWorld(devkit["WSSS_COCO"])).crowded
    assert crowded.scale.main.side == SIDE and crowded.scale.classifier.iterations == ITERATIONS
    full = lee2021.Route(world, lee2021.SCALES["voc"], 0, {}, None, CocoWorld(devkit["WSSS_COCO"])).crowded
    assert full.scale.main.side == lee2021.PUBLISHED.coco_side
