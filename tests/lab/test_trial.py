"""Minutes that a plan tells: steps that burn a known time are measured, and counted for all that they have to do."""

import time

import numpy as np
import pytest
import torch

from wsss_lab.lab import trial
from wsss_lab.lab.needs import asked_by
from wsss_lab.lab.session import start
from wsss_lab.lab.steps import Step, topological
from wsss_lab.lab.worlds import ToyWorld
from wsss_lab.networks.fit import Schedule

LOOK, ITERATION = 0.004, 0.02  # seconds
WORLD = ToyWorld(counts=(("train", 200), ("val", 50)))


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def look(view, state=None, empty=False):
    if empty:
        raise ValueError("nothing is seen in so few images")
    burn(LOOK * len(view))
    return {"masks": np.zeros((len(view), 64, 64), np.uint8), "state": state or {}}


def learn(view, masks, schedule, seed):
    assert len(masks) == len(view) <= trial.IMAGES
    burn(0.1)  # to begin with, which isn't counted
    weight = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.SGD([weight], lr=1.0)
    for _ in range(schedule["iterations"]):
        burn(ITERATION)
        weight.grad = torch.ones(1)
        optimiser.step()
    return {"state": {"weight": weight.detach()}}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path))
    return tmp_path


def steps(empty=False):
    view = WORLD.train_view("train")
    seen = Step("seeds", look, {"empty": empty}, {"view": view}, "seen")
    trained = Step("segmenter", learn, {"schedule": Schedule(iterations=500).settings(), "seed": 0},
                   {"view": view, "masks": seen["masks"]}, "trained")
    return seen, trained, Step("segmenter", look, {}, {"view": WORLD.train_view("val"), "state": trained["state"]})


def test_a_step_takes_what_a_few_images_or_iterations_take_times_all_of_them(store):
    seen, trained, labels = steps()
    rates = trial.rates([[seen, labels], [trained]], classes=8)
    assert rates == pytest.approx([LOOK, ITERATION], rel=0.3)
    assert [trial.amount(step) for step in (seen, labels, trained, WORLD.scenes("val"))] == [200, 50, 500, 50]
    assert not list(store.iterdir())


def test_what_comes_of_a_trial_that_fails_is_made_up_and_its_kind_is_left_out(monkeypatch):
    seen, trained, labels = steps(empty=True)
    assert trial.rates([[seen], [trained]], classes=8) == [None, pytest.approx(ITERATION, rel=0.3)]
    monkeypatch.setattr(trial, "shared_pool", lambda jobs: trial_here)
    assert trial.measured([seen, trained], 8, jobs=2) == {trained: pytest.approx(500 * ITERATION, rel=0.3)}


class trial_here:
    """Workers that compute at once."""

    @staticmethod
    def submit(function, *arguments):
        from wsss_lab.lab.pool import SerialExecutor

        return SerialExecutor().submit(function, *arguments)


def test_chosen_images_are_as_many_in_every_world_and_what_is_made_of_pictures_as_many_as_they():
    view, scenes = WORLD.train_view("train"), WORLD.scenes("train")
    shown = Step("seeds", shown_only, {"images": [3, 1]}, {"view": view})
    cut = Step("saliency", from_pictures, {}, {"images": scenes["images"]})
    assert trial.amount(shown) == 1 and trial.amount(cut) == 200


def shown_only(view, images):
    return {}


def from_pictures(images):
    return {}


def test_every_kind_of_step_of_a_paper_can_be_tried():
    run = start("roy2017", "quick", figures="")
    steps = topological(asked_by(run))
    kinds = list({step.function_name: [step] for step in steps}.values())
    assert len(kinds) > 10 and min(trial.rates(kinds, len(run.world.classes))) > 0
