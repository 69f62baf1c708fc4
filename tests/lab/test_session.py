"""The session of a notebook: what it is opened with, what it refuses, what its card says."""

import dataclasses
import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_devkit import AUGMENTED, write_sbd, write_voc

from wsss_lab.data.augmented import build_augmented
from wsss_lab.data.views import EvalView
from wsss_lab.errors import DataError, ParameterError, SetupError
from wsss_lab.lab import session
from wsss_lab.lab.artifacts import read_manifest
from wsss_lab.lab.pool import close_pools
from wsss_lab.lab.profiles import profile_named
from wsss_lab.lab.session import start
from wsss_lab.lab.worlds import FolderWorld
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.shared_tables import labels_of

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """A store of its own, and the device as it was."""
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WSSS_DEVICE", "cpu")
    monkeypatch.setenv("WSSS_PROGRESS", "none")
    for name in ("WSSS_DATA", "WSSS_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    yield
    close_pools()


def test_a_session_has_one_route_per_seed_and_names_what_made_it(tmp_path):
    run = start("oh2017", "quick", seeds=3, world_seed=7, device="auto", figures="")
    assert run.seeds == 3 and [route.seed for route in run.routes] == [0, 1, 2] and run.route is run.routes[0]
    assert run.store.root == tmp_path / "cache" and os.environ["WSSS_DEVICE"] == "auto"  # for the workers
    facts = run.provenance().data[""]
    assert facts["profile, seeds"] == "quick, 3" and facts["world"] == "toyvoc, seed 7"
    assert facts["tables and figures"] == "not saved" and "numpy " + np.__version__ in facts["versions"]
    assert 0 <= float(facts["minutes in this notebook"]) <= run.minutes() + 0.05
    toy = start("oh2017", "toy", figures="")
    assert (run.route.scale, toy.route.scale) == (oh2017.SCALES["quick"], oh2017.SCALES["toy"])
    assert run.published("table2").set_index("method").loc["G2", "val_miou_pct"] == 51.2


@pytest.mark.parametrize(("wrong", "error", "told"), [
    ({"paper": "oh2071"}, ParameterError, "unknown paper 'oh2071'\n  expected: .*oh2017.*\n  fix: did you mean"),
    ({"paper": "oh2017_evidence"}, ParameterError, "unknown paper 'oh2017_evidence'\n  expected: "),
    ({"profile": "quik"}, ParameterError, "unknown profile 'quik'\n  expected: "),
    ({"seeds": 0}, ParameterError, "seeds=0\n  expected: "), ({"jobs": -1}, ParameterError, "jobs=-1\n  expected: "),
    ({"world_seed": -1}, ParameterError, "world_seed=-1\n  expected: "),
    ({"device": "tpu"}, ParameterError, "device=tpu\n  expected: "),
    ({"device": "cuda"}, SetupError, "DEVICE=cuda(.|\n)*DEVICE=auto"),
    ({"profile": "photos"}, DataError, "needs WSSS_DATA")])
def test_values_that_make_no_sense_are_refused(monkeypatch, wrong, error, told):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(error, match=told):
        start(**({"paper": "oh2017", "profile": "quick", "figures": ""} | wrong))


def test_results_go_to_the_folder_of_profile_and_paper(tmp_path, monkeypatch):
    assert start("oh2017", "quick", figures=str(tmp_path)).artifacts.folder == tmp_path / "quick" / "oh2017"
    monkeypatch.setattr(session, "project_folder", lambda: tmp_path / "project")
    assert start("oh2017", "quick").artifacts.folder == tmp_path / "project" / "figures/own/quick" / "oh2017"


def test_steps_are_run_loaded_and_shown_on_the_card():
    run = start("oh2017", "quick", jobs=1, figures="")
    scenes = run.world.scenes("val")
    card = run.card(scenes).data[""]
    assert card["steps"] == "1: 0 reused, 1 to run (never run 1)" and card["seeds"] == 1
    assert "toyvoc" in card["world"] and card["profile"].startswith("quick: ")
    assert profile_named("quick").summary in card["profile"] and "1 worker" in card["device"]
    run.compute(scenes)
    assert run.card(scenes).data[""]["steps"] == "1: 1 reused, 0 to run"
    assert run.plan(scenes)["state"].tolist() == ["cached"]
    view = run.view("val")
    assert type(view) is EvalView and len(view) == dict(run.world.counts)["val"]
    np.testing.assert_array_equal(run.load(scenes)["tags"], view.tags)


@pytest.mark.parametrize("augmented", [True, False])
def test_the_card_counts_training_images_and_says_where_voc_has_more(tmp_path, augmented):
    voc = write_voc(tmp_path / "VOC2012")
    if augmented:
        build_augmented(voc, write_sbd(tmp_path / "sbd"), tmp_path / "trainaug", count=len(AUGMENTED))
    folder = FolderWorld(str(tmp_path / "trainaug" if augmented else voc))
    listed = "trainaug" if augmented else "train"
    run = start("oh2017", "quick", figures="")
    scenes = run.world.scenes("val")
    assert run.card(scenes).data[""]["training images"] == "48"
    run.profile, run.world = "voc", dataclasses.replace(folder, lists=(("train", listed),))
    shown = run.card(scenes).data[""]["training images"]
    assert shown.startswith("4, tags from xml" if augmented else "2, tags from xml; no list trainaug")
    assert ("wsss data sbd && wsss data trainaug" in shown) is not augmented
    run.profile = "photos"
    assert "trainaug" not in run.card(scenes).data[""]["training images"]


def test_tables_and_figures_are_saved_under_their_id(tmp_path):
    from matplotlib.figure import Figure

    run = start("oh2017", "quick", figures=str(tmp_path))
    run.save("table1", SimpleNamespace(frame=pd.DataFrame({"ours": [1.25]}), title="Table 1", protocol="image tags",
                                       decimals=2))
    run.save("fig3", SimpleNamespace(figure=Figure(), title="Fig. 3", alt="Nothing.", kind="schematic"))
    folder = tmp_path / "quick" / "oh2017"
    assert {"table1.csv", "table1.md", "fig3.png", "manifest.json"} <= {path.name for path in folder.iterdir()}
    assert "| 1.25 |" in (folder / "table1.md").read_text()
    assert read_manifest(folder).keys() == {"table1", "fig3"}


@pytest.mark.parametrize(("profile", "said"), [("quick", True), ("toy", False)])
def test_pictures_of_quick_say_that_they_mean_nothing_also_where_they_are_only_shown(profile, said):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots()
    start("oh2017", profile, figures="").show(figure, "Nothing.")
    assert ("it means nothing" in " ".join(text.get_text() for text in figure.texts)) == said


@pytest.mark.parametrize(("source", "tags"), [("generator", "image tags"), ("masks", "image tags derived from masks")])
def test_a_protocol_says_where_tags_come_from(monkeypatch, source, tags):
    run = start("oh2017", "quick", figures="")
    monkeypatch.setattr(run, "view", lambda split: SimpleNamespace(tags_source=source))
    assert labels_of(run, run.route.trained("seeds")) == tags
    assert labels_of(run, run.route.scored("G0")) == f"{tags}; boxes of other objects"
    assert labels_of(run, run.route.scored("full")).startswith(f"{tags}; training masks")
