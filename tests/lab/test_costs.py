"""What steps take: operations and memory counted by hand, steps that burn a known time, what is stored left out."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from wsss_lab.lab import costs
from wsss_lab.lab.costs import Cost, hours, training_bytes
from wsss_lab.lab.fingerprint import definitions_of
from wsss_lab.lab.forecast import advice, asked_by
from wsss_lab.lab.pool import SerialExecutor
from wsss_lab.lab.session import start
from wsss_lab.lab.steps import Step, topological
from wsss_lab.lab.worlds import ToyWorld
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.segmenter.training import train_segmenter

TINY = Backbone("vgg", ((1, 4), (1, 8)), side=16)
LOOK, ITERATION = 0.004, 0.02  # seconds
WORLD = ToyWorld(counts=(("train", 200), ("val", 50)))


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def run():
    return start("roy2017", "quick", figures="")


def bytes_of(run, *steps):
    return {each.step: each.bytes for each in costs.costs(topological(list(steps)), run.world, run.store)}


def test_operations_and_memory_of_a_trunk_are_those_of_its_convolutions():
    # conv4 and conv5 of DeepLab on 16 x 16 pixels, both of stride 1: 2 * 9 * in * out at each of 256 positions. The
    # backward pass reads, each once: the image, then per block the rectified convolution, which the pool reads too;
    # between the blocks the pool's result; and places of maxima, 8 bytes each.
    assert costs.counted(TINY, "DeepLab") == costs.Counted(
        operations=2 * 9 * 256 * (3 * 4 + 4 * 8), weights=9 * 3 * 4 + 4 + 9 * 4 * 8 + 8, trained=408,
        activations=256 * (3 + 4 + 4 + 8), bytes=256 * (4 + 8) * 8)


def test_images_are_counted_without_opening_a_split_and_what_is_stored_is_left_out(run):
    assert run.world.train_view("val").count == 24 and run.world.train_view("train[:5]").count == 5
    assert run.world.train_view("val[:99]").count == 24 and not list(run.store.root.glob("*/*"))
    scenes = run.world.scenes("val")
    assert [costs.summary(costs.costs([scenes], run.world, stored))["stored"] for stored in ([], [scenes])] == [0, 1]


def shown_only(view, images):
    return {}


def from_pictures(images):
    return {}


def test_a_step_takes_what_a_few_images_or_iterations_take_times_all_of_them(store):
    """Chosen images are as many in every world; what is made of pictures takes as many as there are."""
    seen, trained, labels = steps()
    view, scenes = WORLD.train_view("train"), WORLD.scenes("train")
    shown = Step("seeds", shown_only, {"images": [3, 1]}, {"view": view})
    cut = Step("saliency", from_pictures, {}, {"images": scenes["images"]})
    assert [costs.amount(each) for each in (seen, labels, trained, WORLD.scenes("val"), shown, cut)] == [
        200, 50, 500, 50, 1, 200]
    assert costs.rates([[seen, labels], [trained]], classes=8) == pytest.approx([LOOK, ITERATION], rel=0.3)
    assert not list(store.iterdir())


def test_what_a_trial_that_fails_makes_has_a_stand_in_and_its_kind_is_left_out(monkeypatch):
    seen, trained, _ = steps(empty=True)
    monkeypatch.setattr(costs, "shared_pool", lambda jobs: SerialExecutor())
    assert costs.measured([seen, trained], 8, jobs=2) == {trained: pytest.approx(500 * ITERATION, rel=0.3)}


@pytest.mark.parametrize(("changed", "how", "expected"), [
    ({}, {"mixed": False}, 12 * 408 + 4 * (4 * 4864 + 24576)), ({}, {}, 14 * 408 + 4 * (2 * 4864 + 24576)),
    ({"optimiser": "adamw"}, {"mixed": False}, 16 * 408 + 4 * (4 * 4864 + 24576)),
    ({"momentum": 0.0}, {"mixed": False}, 8 * 408 + 4 * (4 * 4864 + 24576)),
    ({"trunk_lr": 0.0}, {"mixed": False}, 4 * 408),  # frozen: nothing is kept
    ({"batch": 5}, {"parts": 2}, 14 * 408 + 3 * (2 * 4864 + 24576)),  # the largest part counts
    ({"batch": 5}, {"parts": 9}, 14 * 408 + 2 * 4864 + 24576)])
def test_memory_is_weights_gradients_momenta_and_the_activations_of_a_batch(changed, how, expected):
    """408 weights; per image 4,864 floating-point numbers and 24,576 bytes."""
    assert training_bytes(training(TINY, **changed), **how) == expected


def test_the_largest_training_and_those_that_a_gpu_is_too_small_for_are_named_with_what_helps(run):
    small, large = training(TINY), training(Backbone("vgg", ((1, 400), (1, 800)), side=160))
    text = " ".join(advice([small, large], None))
    needs, full, half = (training_bytes(large, *how) / 1e9 for how in ((), (False,), (True, 2)))
    assert 0.1 < half < needs < full
    assert f"train a vgg, needs about {needs:.1f} GB of GPU memory in bf16, {full:.1f} GB in fp32" in text
    assert f"WSSS_PARTS=2 does so from the start, which takes {half:.1f} GB in bf16." in text
    several = [replace(large, label=f"large {n}") for n in range(6)]
    gpu = (training_bytes(small) + training_bytes(large)) / 2
    for trainings, told in (([small, *several], "of large 0, large 1, large 2, large 3 and 2 more."),
                            ([small, several[0]], "too little for whole batches of large 0."),
                            ([small], "enough for whole batches of every training's trunk in bf16.")):
        assert advice(trainings, gpu)[-1].endswith(told)
    assert advice([], 1e9) == []
    assert training_bytes(run.route.scored()) == training_bytes(run.world.scenes("val")) == 0  # nothing is trained


def test_a_training_takes_three_looks_per_image_and_a_prediction_one(run):
    route = run.route
    look = costs.counted(route.scale.backbone, "DeepLab").operations
    schedule, training, prediction, score = route.scale.schedule, route.trained(), route.prediction(), route.scored()
    found = bytes_of(run, score)
    seen = schedule.iterations * schedule.batch
    assert training.trains and hours(training, 1e-6) * 3600e6 == pytest.approx(3 * look * seen)
    weights = costs.counted(route.scale.backbone, "DeepLab", True).weights
    assert 1 < costs.HEADS < 2 and found[training] == costs.HEADS * 4 * weights
    assert not prediction.trains and hours(prediction, 1e-6) * 3600e6 == pytest.approx(24 * look)
    assert found[prediction] == pytest.approx(24 * 64 * 64 / 20)
    assert hours(score) == found[score] == 0


def test_a_measurement_that_looks_at_a_schedule_is_no_training_and_every_scale_is_mirrored():
    run = start("araslanov2020", "quick", figures="")
    memory, labels = run.route.memory(), run.route.prediction("ours")
    look = costs.counted(run.route.backbone(), "v3plus").operations
    assert "schedule" in memory.settings and not memory.trains and bytes_of(run, memory)[memory] == 0
    assert hours(memory) * 3600 * 20e12 == pytest.approx(48 * look)  # of the images of train
    assert labels.settings["scales"] == [1.0, 0.75]
    assert hours(labels) * 3600 * 20e12 == pytest.approx(24 * 2 * (1 + 0.75 ** 2) * look)


def test_maps_take_the_room_that_packed_ones_do():
    run = start("oh2017", "quick", figures="")
    route, images = run.route, 48
    seeds, maps, scenes = route.seeds(), route.class_maps("HighRes"), run.world.scenes("train")
    found = bytes_of(run, seeds, route.saliency_maps())
    expected = {seeds: 64 * 64 / 20, maps: 8 * 2 * (64 / 4) ** 2, scenes: 64 * 64 * (3 + 3 / 16)}
    assert {step: found[step] for step in expected} == {step: pytest.approx(images * each) for step, each in
                                                         expected.items()}
    learned = bytes_of(run, route.salient())
    assert learned[route.saliency_maps()] == pytest.approx(images * 64 * 64 / 1.6)
    assert learned[route.salient()] == pytest.approx(images * 64 * 64 / 20)


def test_workers_are_done_with_the_longest_chain_or_with_their_share(run, monkeypatch):
    steps = [run.route.trained(), run.route.prediction(), run.route.scored()]  # each needs the one before
    chain = [Cost(step, hours, 0.0, False) for step, hours in zip(steps, (3.0, 2.0, 1.0))]
    assert costs.wall(chain, 2) == 6 and costs.wall(chain[:1] + chain[2:], 2) == 3
    assert costs.wall(chain, 1) == 6 and costs.wall([], 2) == 0
    alone = [Cost(step, hours, 0.0, False) for step, hours in ((run.world.scenes("val"), 4.0), (
        run.route.trained(), 3.0), (run.route.trained("classification"), 3.0))]
    assert costs.wall(alone, 4) == 4
    monkeypatch.setattr(costs, "free_gpus", lambda: [0])  # for the trainings, one after the other
    assert costs.wall(alone, 4) == 6


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
    assert len(masks) == len(view) <= costs.IMAGES
    burn(0.1)  # to begin with, which isn't counted
    weight = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.SGD([weight], lr=1.0)
    for _ in range(schedule["iterations"]):
        burn(ITERATION)
        weight.grad = torch.ones(1)
        optimiser.step()
    return {"state": {"weight": weight.detach()}}


def steps(empty=False):
    view = WORLD.train_view("train")
    seen = Step("seeds", look, {"empty": empty}, {"view": view}, "seen")
    trained = Step("segmenter", learn, {"schedule": Schedule(iterations=500).settings(), "seed": 0},
                   {"view": view, "masks": seen["masks"]}, "trained")
    return seen, trained, Step("segmenter", look, {}, {"view": WORLD.train_view("val"), "state": trained["state"]})


def test_every_kind_of_step_of_a_paper_can_be_tried(run):
    kinds = list({step.function_name: [step] for step in topological(asked_by(run))}.values())
    assert len(kinds) > 10 and min(costs.rates(kinds, len(run.world.classes))) > 0


def training(backbone: Backbone, **changed) -> Step:
    """The training of a segmenter, with an optimiser and other settings of the schedule."""
    schedule = Schedule(**{"iterations": 5, "batch": 4, "optimiser": "sgd"} | changed)
    given = {name: Somewhere() for name in ("view", "start", "pseudo_masks")}
    settings = {"backbone": backbone.settings(), "schedule": schedule.settings(), "seed": 0}
    return Step("segmenter", train_segmenter, settings, given, f"train a {backbone.family}")


class Somewhere:
    """An input that is never read."""

    key, exposes_masks, load = "somewhere", False, None


def test_activations_agree_with_what_a_network_really_saves():
    for family, blocks, cut in (("resnet", ((1, 8), (1, 8), (1, 8), (1, 8)), "v3plus"), ("mobilenet", (), "HighRes"),
                                ("wide_resnet", TOY_WIDE_RESNET, "v3plus")):
        backbone = Backbone(family, blocks, side=96)
        trunk = costs.trunk_of(backbone, cut)
        own = {each.data_ptr() for each in (*trunk.parameters(), *trunk.buffers())}
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda each, saved=saved: saved.append(each), lambda each: each):
            trunk(torch.zeros(1, 3, 96, 96))
        real = sum({each.data_ptr(): each.nbytes for each in saved if each.data_ptr() not in own}.values())
        kept = costs.counted(backbone, cut, trained=True)
        assert 4 * kept.activations + kept.bytes == pytest.approx(real, rel=0.02)  # batch norms' vectors differ


def test_trainings_freeze_their_trunk_as_deeplab_v3plus_does_where_they_build_that_of_it():
    for paper in ("oh2017", "chaudhry2017", "araslanov2020", "roy2017", "lee2021"):
        for step in topological(asked_by(start(paper, "quick", figures=""))):
            if step.trains:
                freezes = any(name == "freeze_trunk" for _, name in definitions_of(step.function))
                assert freezes == (costs.cut_of(step) == costs.V3PLUS), step.function_name
