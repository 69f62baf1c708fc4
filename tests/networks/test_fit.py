"""The training loop: its schedule, and trainings that are interrupted, in half precision, or in parts."""

import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_views import BACKBONE
from torch import nn

from wsss_lab.errors import ParameterError, SetupError, TrainingError
from wsss_lab.lab.compute import compute
from wsss_lab.lab.steps import Step
from wsss_lab.lab.store import Store
from wsss_lab.networks import machine
from wsss_lab.networks.backbones import pretrain
from wsss_lab.networks.fit import Curves, Schedule, fit
from wsss_lab.networks.keeping import checkpoint_folder
from wsss_lab.networks.machine import Machine, resolve_device

SGD = Schedule(8, 6, 0.1, "sgd", "poly")
ADAM = Schedule(8, 6, 0.01)


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in ("WSSS_PRECISION", "WSSS_PARTS", "WSSS_CHECKPOINTS", "WSSS_CHECKPOINT_MINUTES", "WSSS_WORKERS"):
        monkeypatch.delenv(name, raising=False)


class Loss:
    """Mean squared error with curves, and a copy of the bias from the third iteration on."""

    def __init__(self, stop_at: int | None = None):
        self.curves, self.kept, self.stop_at = Curves(), {}, stop_at

    def __call__(self, net, x, y):
        if self.curves.iteration == self.stop_at:
            time.sleep(0.01)  # workers draw ahead of what a checkpoint may hold
            raise KeyboardInterrupt
        if self.curves.iteration == 3 and not self.kept:
            self.kept["bias"] = net[2].bias.detach().clone()
        loss = F.mse_loss(net(x), y)
        self.curves.write({"loss": loss, "images": float(len(x))})
        return loss


def network():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 2))


def draw(generator):
    x = torch.randn(6, 4, generator=generator)
    return x, x[:, :2] * 2


def squared_error(net, x, y):
    return F.mse_loss(net(x), y)


def train(schedule=SGD, loss=None, seed=1):
    net, loss = network(), loss or Loss()
    history = fit(net, draw, loss, schedule, seed)
    return history, {name: value.clone() for name, value in net.state_dict().items()}, loss


def interrupted(monkeypatch, folder, at=4, schedule=SGD, minutes="0"):
    """The files that a training leaves which is interrupted after some iterations."""
    monkeypatch.setenv("WSSS_CHECKPOINTS", str(folder))
    monkeypatch.setenv("WSSS_CHECKPOINT_MINUTES", minutes)
    with pytest.raises(KeyboardInterrupt):
        train(schedule, Loss(at))
    return list(folder.iterdir())


@pytest.mark.parametrize(("policy", "expected"), [
    ("constant", [1, 1, 1, 1]), ("step", [1, 1, 0.1, 0.1]), ("poly", [1, 0.75**0.9, 0.5**0.9, 0.25**0.9]),
    ("cosine", [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2])])
@pytest.mark.parametrize("optimiser", ["AdamW", "SGD"])
def test_each_iteration_has_the_learning_rates_of_its_policy(monkeypatch, policy, expected, optimiser):
    """Also inside the training: the first iteration has the whole rate, and new layers a multiple of the trunk's."""
    schedule = Schedule(4, 6, 0.5, optimiser.lower(), policy, decay_every=2, trunk_lr=0.1, head_lr=3.0)
    assert [schedule.factor(iteration) for iteration in range(4)] == pytest.approx(expected)
    kind, rates = getattr(torch.optim, optimiser), []

    class Recording(kind):
        def step(self, closure=None):
            rates.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, optimiser, Recording)
    net = nn.Sequential(OrderedDict(trunk=nn.Linear(4, 8), head=nn.Linear(8, 2)))
    fit(net, draw, squared_error, schedule, 0)
    assert rates == [pytest.approx([0.05 * each, 1.5 * each]) for each in expected]


def test_unknown_words_are_refused_and_a_loss_that_is_not_a_number_names_the_iteration():
    for wrong in ({"policy": "linear"}, {"optimiser": "adam"}):
        with pytest.raises(ParameterError, match=f"'{list(wrong.values())[0]}' is not known"):
            train(replace(SGD, **wrong))
    calls = iter(range(10))
    with pytest.raises(TrainingError, match="nan at iteration 4 of 8(.|\n)*lower the learning rate .now 0.1"):
        train(loss=lambda net, x, y: net(x).mean() * (float("nan") if next(calls) == 3 else 1.0))


def test_a_trunk_without_a_learning_rate_does_not_move():
    net = nn.Sequential(OrderedDict(trunk=nn.Linear(4, 3), head=nn.Linear(3, 2)))
    before = {name: value.clone() for name, value in net.named_parameters()}
    fit(net, draw, squared_error, Schedule(3, 6, trunk_lr=0.0), 0)
    assert [name for name, value in net.named_parameters() if not torch.equal(value, before[name])] == [
        "head.weight", "head.bias"]


def test_pretraining_learns_two_colours():
    labels = np.arange(200) % 2
    images = np.zeros((200, 32, 32, 3), np.uint8)
    images[labels == 1, :, :, 0] = 200
    assert pretrain(images, labels, BACKBONE, Schedule(15, 16).settings(), 0)["accuracy"] == 1.0


@pytest.mark.parametrize("schedule", [SGD, ADAM])
@pytest.mark.parametrize(("stop_at", "first", "then"), [(1, "0", "0"), (5, "0", "2"), (5, "2", "0"), (1, "2", "2")])
def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path, monkeypatch, schedule, stop_at, first, then):
    """Also where batches are drawn ahead by workers, in either half."""
    history, weights, whole = train(schedule)
    monkeypatch.setenv("WSSS_WORKERS", first)
    assert len(interrupted(monkeypatch, tmp_path, stop_at, schedule)) == 1
    monkeypatch.setenv("WSSS_WORKERS", then)
    drawn = []
    monkeypatch.setitem(globals(), "draw", lambda generator, draw=draw: drawn.append(1) or draw(generator))
    again, found, loss = train(schedule)
    assert len(drawn) == 8 - stop_at
    assert again == history and loss.curves == whole.curves
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert torch.equal(loss.kept["bias"], whole.kept["bias"])
    assert not list(tmp_path.iterdir())


def test_short_trainings_leave_nothing_behind_and_another_seed_looks_elsewhere(tmp_path, monkeypatch):
    assert not interrupted(monkeypatch, tmp_path, minutes="10")
    file, = interrupted(monkeypatch, tmp_path)
    assert train(seed=2)[0] == train(seed=2)[0] and file.is_file()


def of_another_seed(file):
    state = torch.load(file, weights_only=True)
    torch.save(state | {"identity": state["identity"] | {"seed": 7}}, file)


@pytest.mark.parametrize(("damage", "said"), [
    (lambda file: file.write_bytes(b""), "can't be read"), (of_another_seed, "is of another training"),
    (lambda file: file.write_bytes(file.read_bytes()[:-100]), "can't be read"),
    (lambda file: torch.save([1, 2], file), "can't be read")])
def test_a_checkpoint_that_cannot_be_used_is_said_and_the_training_begins_anew(tmp_path, monkeypatch, capsys, damage,
                                                                               said):
    history, weights, _ = train()
    file, = interrupted(monkeypatch, tmp_path)
    damage(file)
    again, found, _ = train()
    assert again == history and all(torch.equal(found[name], weights[name]) for name in weights)
    assert capsys.readouterr().out.startswith(f"checkpoint '{file}' {said}")
    assert not file.exists()


def folder_of_checkpoints(where: str) -> dict:
    """A step that tells where its trainings keep their state."""
    folder = checkpoint_folder()
    folder.mkdir(parents=True)
    time.sleep(0.05)
    return {"folder": str(folder), "there": where}


def test_steps_side_by_side_in_threads_keep_their_checkpoints_apart_beside_the_store_and_clear_them(tmp_path):
    store = Store(tmp_path)
    steps = [Step("networks", folder_of_checkpoints, {"where": str(number)}) for number in range(6)]
    with ThreadPoolExecutor(3) as threads:
        compute(steps, store, executor=threads)
    for step in steps:
        assert step.load(store)["folder"] == str(store.checkpoints(step)) == str(tmp_path / ".checkpoints" / step.key)
        assert not store.checkpoints(step).exists()
    assert checkpoint_folder() is None and len(list(store.manifests())) == 6


def without_dropout():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


@pytest.mark.parametrize("parts", [2, 4, 6, 99])
def test_parts_of_a_batch_add_up_to_the_same_training(monkeypatch, parts):
    monkeypatch.setitem(globals(), "network", without_dropout)
    history, weights, whole = train()
    monkeypatch.setenv("WSSS_PARTS", str(parts))
    found, others, loss = train()
    assert found == pytest.approx(history, rel=1e-5)
    assert loss.curves["loss"] == pytest.approx(whole.curves["loss"], rel=1e-5)
    assert {name: len(values) for name, values in loss.curves.items()} == {"loss": 8, "images": 8}
    assert loss.curves["images"][0] < 6
    for name in weights:
        torch.testing.assert_close(others[name], weights[name], rtol=1e-4, atol=1e-6)


class Hungry(Loss):
    """A loss that has memory for so many images."""

    def __init__(self, room):
        super().__init__()
        self.room, self.asked = room, []

    def __call__(self, net, x, y):
        self.asked.append(len(x))
        if len(x) > self.room:
            self.curves.write({"loss": 1e9})
            raise torch.OutOfMemoryError
        return super().__call__(net, x, y)


def test_where_memory_is_short_a_batch_is_split_and_that_is_said(monkeypatch, capsys):
    monkeypatch.setitem(globals(), "network", without_dropout)
    history, _, whole = train()
    loss = Hungry(2)
    assert train(loss=loss)[0] == pytest.approx(history, rel=1e-5)
    assert loss.asked[:2] == [6, 3] and max(loss.asked[2:]) == 2 and len(loss.asked) == 2 + 4 * 8
    assert loss.curves["loss"] == pytest.approx(whole.curves["loss"], rel=1e-5)
    assert capsys.readouterr().out.splitlines() == [
        f"GPU memory is short: batches of 6 are worked through in {parts} parts" for parts in (2, 4)]
    with pytest.raises(TrainingError, match="too small for one image(.|\n)*WSSS_PRECISION=bf16"):
        train(loss=Hungry(0))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_nearly_the_same_training_with_full_weights(monkeypatch, precision):
    monkeypatch.setitem(globals(), "network", without_dropout)
    history, weights, _ = train()
    monkeypatch.setenv("WSSS_PRECISION", precision)
    seen = []
    found, others, _ = train(loss=lambda net, x, y: (seen.append(net(x).dtype), F.mse_loss(net(x).float(), y))[1])
    assert set(seen) == {getattr(torch, "bfloat16" if precision == "bf16" else "float16")}
    assert found != history and found == pytest.approx(history, rel=0.05)
    assert all(value.dtype == torch.float32 for value in others.values())


def test_machines_by_default_and_as_told(monkeypatch):
    """A CPU computes in full precision and without workers; beside a GPU there is one per core but no more than 8."""
    here = Machine.here()
    assert (here.precision, here.parts, here.checkpoints, here.workers) == ("fp32", 1, None, 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("cpu").type == resolve_device("auto").type == "cpu"
    for name, error, message in (("cuda", SetupError, "DEVICE=cuda"), ("tpu", ParameterError, "device=tpu")):
        with pytest.raises(error, match=message):
            resolve_device(name)
    monkeypatch.setattr(machine, "resolve_device", lambda: torch.device("cuda"))
    monkeypatch.setenv("WSSS_PRECISION", "bf16")
    for cores, expected in ((2, 2), (16, 8)):
        monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        assert Machine.here().workers == expected
    monkeypatch.setenv("WSSS_WORKERS", "12")
    assert Machine.here().workers == 12
