"""What a run will take: operations counted by hand, images of splits, what is stored left out."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from wsss_lab.lab import cli, forecast, trial
from wsss_lab.lab.fingerprint import definitions_of
from wsss_lab.lab.needs import asked_by
from wsss_lab.lab.session import start
from wsss_lab.lab.steps import Step, topological
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.segmenter.training import train_segmenter

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
    assert forecast._operations(TINY, "DeepLab") == 2 * 9 * 256 * (3 * 4 + 4 * 8)
    assert forecast._kept(TINY, "DeepLab", True).weights == 9 * 3 * 4 + 4 + 9 * 4 * 8 + 8


def test_a_training_takes_three_looks_per_image_and_a_prediction_one(run):
    route = run.route
    look = forecast._operations(route.scale.backbone, "DeepLab")
    schedule = route.scale.schedule
    found = by_label(run, (route.trained(), route.prediction(), route.scored()))
    training = found["train full, seed 0"]
    seen = schedule.iterations * schedule.batch
    assert training.step.trains and training.hours * 3600e6 == pytest.approx(3 * look * seen)
    weights = forecast._kept(route.scale.backbone, "DeepLab", True).weights
    assert 1 < forecast.HEADS < 2 and training.bytes == forecast.HEADS * 4 * weights
    prediction = found["labels of val, full, seed 0"]
    assert not prediction.step.trains and prediction.hours * 3600e6 == pytest.approx(24 * look)
    assert prediction.bytes == pytest.approx(24 * 64 * 64 / 20)
    score = found["score of labels of val, full, seed 0"]
    assert score.hours == score.bytes == 0


def test_a_measurement_that_looks_at_a_schedule_is_no_training_and_every_scale_is_mirrored():
    run = start("araslanov2020", "quick", figures="")
    measured, labels = forecast.costs(run, [run.route.memory(), run.route.prediction("ours")])
    look = forecast._operations(run.route.backbone(), "v3plus")
    assert "schedule" in measured.step.settings and not measured.step.trains and measured.bytes == 0
    assert measured.hours * 3600 * 20e12 == pytest.approx(48 * look)  # of the images of train
    assert labels.step.settings["scales"] == [1.0, 0.75]
    assert labels.hours * 3600 * 20e12 == pytest.approx(24 * 2 * (1 + 0.75 ** 2) * look)


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


def test_a_disk_that_is_too_small_is_told_with_what_to_do(run, monkeypatch):
    usage = shutil.disk_usage(run.store.root.parent)
    left, stored = (forecast.Cost(run.world.scenes("val"), 0.0, 3e9, there) for there in (False, True))
    monkeypatch.setattr(forecast.shutil, "disk_usage", lambda _: usage._replace(free=5_000_000_000))
    assert forecast.room([left, stored]) == [
        f"The run store {run.store.root} will take about 3.0 GB; 5.0 GB are free there."]
    much, remedy = forecast.room([left, left])
    assert "about 6.0 GB; 5.0 GB are free" in much and "WSSS_CACHE" in remedy


def test_the_command_counts_what_notebooks_share_once(monkeypatch):
    tried = []
    monkeypatch.setattr(trial, "measured", lambda steps, classes, jobs: tried.append((classes, jobs)) or dict.fromkeys(
        steps, 60.0))

    def printed(*options):
        result = CliRunner().invoke(cli.app, ["plan", "--profile", "quick", "--jobs", "4", *options])
        assert result.exit_code == 0, result.output
        return result.output, {line[0]: [float(cell) for cell in line[1:7]] for line in map(
            str.split, result.output.splitlines()) if line[0] in ("primer", "roy2017", "together")}

    output, rows = printed("--paper", "primer,roy2017", "--trainings")
    _, alone = printed("--paper", "roy2017")
    assert rows["roy2017"][0] < alone["roy2017"][0] < rows["together"][0]
    for steps, stored, trainings, computing, wall, _ in rows.values():  # a minute per step
        assert computing == steps > trainings > 0 == stored and wall >= computing / 4 - 0.1
    assert np.add(rows["primer"], rows["roy2017"])[:5] == pytest.approx(rows["together"][:5])
    assert "train HighRes, seed 0" in output and "train full, seed 0" in output and "with 4 workers" in output
    assert "GPU" not in output and tried == [(8, 4)] * 2


def test_workers_are_done_with_the_longest_chain_or_with_their_share(run, monkeypatch):
    steps = [run.route.trained(), run.route.prediction(), run.route.scored()]  # each needs the one before
    costs = [forecast.Cost(step, hours, 0.0, False) for step, hours in zip(steps, (3.0, 2.0, 1.0))]
    assert forecast.wall(costs, 2) == 6 and forecast.wall(costs[:1] + costs[2:], 2) == 3
    assert forecast.wall(costs, 1) == 6 and forecast.wall([], 2) == 0
    alone = [forecast.Cost(step, hours, 0.0, False) for step, hours in ((run.world.scenes("val"), 4.0), (
        run.route.trained(), 3.0), (run.route.trained("classification"), 3.0))]
    assert forecast.wall(alone, 4) == 4
    monkeypatch.setattr(forecast, "free_gpus", lambda: [0])  # for the trainings, one after the other
    assert forecast.wall(alone, 4) == 6


# --- memory of a GPU -------------------------------------------------------------------------------------------------


def training(backbone: Backbone, **changed) -> Step:
    """The training of a segmenter, with an optimiser and other settings of the schedule."""
    schedule = Schedule(**{"iterations": 5, "batch": 4, "optimiser": "sgd"} | changed)
    given = {name: Somewhere() for name in ("view", "start", "pseudo_masks")}
    settings = {"backbone": backbone.settings(), "schedule": schedule.settings(), "seed": 0}
    return Step("segmenter", train_segmenter, settings, given, f"train a {backbone.family}")


class Somewhere:
    """An input that is never read."""

    key, exposes_masks, load = "somewhere", False, None


def test_activations_are_those_that_the_backward_pass_reads_each_counted_once():
    # 256 positions: the image, then per block the rectified convolution, which the pool reads too; between the blocks
    # the pool's result; and places of maxima, 8 bytes each
    assert forecast._kept(TINY, "DeepLab", trained=True) == forecast.Kept(
        weights=9 * 3 * 4 + 4 + 9 * 4 * 8 + 8, trained=408, activations=256 * (3 + 4 + 4 + 8), bytes=256 * (4 + 8) * 8)


def test_memory_is_weights_gradients_momenta_and_the_activations_of_a_batch():
    weights, floats, places = 408, 4864, 24576
    assert forecast.training_bytes(training(TINY), mixed=False) == 12 * weights + 4 * (4 * floats + places)
    assert forecast.training_bytes(training(TINY)) == 14 * weights + 4 * (2 * floats + places)
    assert forecast.training_bytes(training(TINY, optimiser="adamw"), mixed=False) == 16 * weights + 4 * (
        4 * floats + places)
    assert forecast.training_bytes(training(TINY, momentum=0.0), mixed=False) == 8 * weights + 4 * (4 * floats + places)


def test_parts_of_a_batch_take_the_memory_of_the_largest_part():
    whole, halves, single = (forecast.training_bytes(training(TINY, batch=5), parts=parts) for parts in (1, 2, 9))
    image = 2 * 4864 + 24576
    assert whole - halves == 2 * image and whole - single == 4 * image


def test_a_frozen_trunk_keeps_no_activations_and_what_trains_nothing_takes_no_memory(run):
    assert forecast.training_bytes(training(TINY, trunk_lr=0.0), mixed=False) == 4 * 408
    assert forecast.training_bytes(run.route.scored()) == forecast.training_bytes(run.world.scenes("val")) == 0


def test_activations_agree_with_what_a_network_really_saves():
    for family, blocks, cut in (("resnet", ((1, 8), (1, 8), (1, 8), (1, 8)), "v3plus"), ("mobilenet", (), "HighRes"),
                                ("wide_resnet", TOY_WIDE_RESNET, "v3plus")):
        backbone = Backbone(family, blocks, side=96)
        trunk = forecast.trunk_of(backbone, cut)
        own = {each.data_ptr() for each in (*trunk.parameters(), *trunk.buffers())}
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda each, saved=saved: saved.append(each), lambda each: each):
            trunk(torch.zeros(1, 3, 96, 96))
        real = sum({each.data_ptr(): each.nbytes for each in saved if each.data_ptr() not in own}.values())
        kept = forecast._kept(backbone, cut, trained=True)
        assert 4 * kept.activations + kept.bytes == pytest.approx(real, rel=0.02)  # batch norms' vectors differ


def test_trainings_freeze_their_trunk_as_deeplab_v3plus_does_where_they_build_that_of_it():
    for paper in ("oh2017", "chaudhry2017", "araslanov2020", "roy2017", "lee2021"):
        for step in topological(asked_by(start(paper, "quick", figures=""))):
            if step.trains:
                freezes = any(name == "freeze_trunk" for _, name in definitions_of(step.function))
                assert freezes == (forecast.cut_of(step) == forecast.V3PLUS), step.function_name


def test_the_largest_training_is_named_with_what_it_takes_and_what_helps():
    small, large = training(TINY), training(Backbone("vgg", ((1, 400), (1, 800)), side=160))
    text = " ".join(forecast.advice([small, large], None))
    needs, full, half = (forecast.training_bytes(large, *how) / 1e9 for how in ((), (False,), (True, 2)))
    assert 0.1 < half < needs < full
    assert f"train a vgg, needs about {needs:.1f} GB of GPU memory in bf16, {full:.1f} GB in fp32" in text
    assert f"WSSS_PARTS=2 does so from the start, which takes {half:.1f} GB in bf16." in text
    assert forecast.advice([], 1e9) == []


def test_trainings_that_a_gpu_is_too_small_for_are_named():
    small = training(TINY)
    large = [replace(training(Backbone("vgg", ((1, 40), (1, 80)), side=160)), label=f"large {n}") for n in range(6)]
    gpu = (forecast.training_bytes(small) + forecast.training_bytes(large[0])) / 2
    assert forecast.advice([small, *large], gpu)[-1].endswith(
        "too little for whole batches of large 0, large 1, large 2, large 3 and 2 more.")
    assert forecast.advice([small, large[0]], gpu)[-1].endswith("too little for whole batches of large 0.")
    assert "enough for whole batches" in forecast.advice([small], gpu)[-1]


def test_the_listing_says_what_each_training_takes(run):
    step = run.route.trained()
    table = forecast.trainings(forecast.costs(run, [run.world.scenes("val"), step]))
    assert table["training"].tolist() == [step.label]
    assert table["GPU GB"].tolist() == [forecast.training_bytes(step) / 1e9]
    assert forecast.summary(forecast.costs(run, [step]))["GPU GB"] == forecast.training_bytes(step) / 1e9


def test_maps_take_the_room_that_packed_ones_do():
    run = start("oh2017", "quick", figures="")
    route, images = run.route, 48
    seeds, maps, scenes = route.seeds(), route.class_maps("HighRes"), run.world.scenes("train")
    found = {each.step: each.bytes for each in forecast.costs(run, topological([seeds, route.saliency_maps()]))}
    expected = {seeds: 64 * 64 / 20, maps: 8 * 2 * (64 / 4) ** 2, scenes: 64 * 64 * (3 + 3 / 16)}
    assert {step: found[step] for step in expected} == {step: pytest.approx(images * each) for step, each in
                                                         expected.items()}
    learned = {each.step: each.bytes for each in forecast.costs(run, topological([route.salient()]))}
    assert learned[route.saliency_maps()] == pytest.approx(images * 64 * 64 / 1.6)
    assert learned[route.salient()] == pytest.approx(images * 64 * 64 / 20)
