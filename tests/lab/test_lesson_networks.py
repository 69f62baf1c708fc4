"""The networks of lessons that come with the package: all that lessons show, small, and as good as the file says."""

import pytest

from wsss_lab.lab import lesson, lesson_file, trained
from wsss_lab.lab.compute import compute
from wsss_lab.lab.provenance import PACKAGE_FOLDER
from wsss_lab.lab.store import Store
from wsss_lab.networks.backbones import pretrain
from wsss_lab.papers.primer import route as primer

PATH = PACKAGE_FOLDER / "weights" / lesson.FILE
MAKE = "run: wsss weights --profile lesson --out wsss_lab/weights"


@pytest.fixture(autouse=True)
def packaged(monkeypatch):
    monkeypatch.delenv("WSSS_WEIGHTS", raising=False)
    assert trained.find(lesson.FILE) == PATH


def test_they_are_those_that_lessons_show_and_say_how_they_were_made():
    networks, wanted = lesson.read(PATH), {lesson.told(step): step for step in lesson_file.trainings()}
    assert networks.keys() == wanted.keys(), MAKE
    for name, step in wanted.items():
        about = networks[name][1]
        assert about["label"] == step.label and about["made"].keys() == {"key", "commit", "created", "pixel_labels"}
        assert about["made"]["pixel_labels"] == list(step.pixel_labels())
        assert (about["score"] is None) == (step.function is pretrain), step
    assert PATH.stat().st_size < 6e6


@pytest.mark.parametrize("paper", [paper for paper in lesson_file.lessons() if paper in primer.PAPERS])
def test_they_score_what_the_file_says(paper, tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path))
    scores = {name: about["score"] for name, (_, about) in lesson.read(PATH).items() if about["score"]}
    own, store = {name: score for name, score in scores.items() if score["paper"] == paper}, Store()
    found = lesson_file.evaluations(paper, own)
    compute(found.values(), store, "serial")
    for name, score in own.items():
        again = {"paper": paper, "of": found[name].label} | lesson_file.score(found[name], store)
        assert again == pytest.approx(score, abs=0.5), MAKE
