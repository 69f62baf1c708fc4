"""Batches drawn ahead by threads: the same trainings, errors at their place, no thread left, a shared cache."""

import signal
import threading
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_views import BACKBONE, write_photographs
from torch import nn

from wsss_lab.data.canvas import augment, canvas_box, scale_crop
from wsss_lab.data.folder import VocFolder
from wsss_lab.data.pixels import CanvasCache, JpegFiles
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.data.views import every
from wsss_lab.errors import DataError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import DEPTH, Batches, ahead, labelled_batches, pixel_batches, tagged_batches
from wsss_lab.networks.deeplab_v3plus import v3plus_trunk
from wsss_lab.networks.fit import Curves, Schedule, fit
from wsss_lab.networks.machine import Machine
from wsss_lab.networks.trunks import TOY_BLOCKS, vgg_trunk
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.seeds.saliency_supervision import scale_and_jitter
from wsss_lab.seeds.training import train_classifier
from wsss_lab.segmenter.single_stage import Losses, Method, train_single_stage
from wsss_lab.segmenter.training import train_segmenter

torch.set_num_threads(1)
SCHEDULE = Schedule(6, 4, 0.05, "sgd", "poly")
WIDE = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, aspp=(1, 2), dropout=0.0, side=32)
METHOD = Method(dilations=(1, 2), iterations=3, aspp_statistics="trained")


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in ("WSSS_WORKERS", "WSSS_PARTS", "WSSS_PRECISION", "WSSS_CHECKPOINTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return VocFolder(write_photographs(tmp_path_factory.mktemp("photographs") / "root", masks=False))


def machine(workers, kind="cpu"):
    return Machine(torch.device(kind), workers=workers)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


class Loss:
    """Mean squared error; calls `at` with the iteration before it."""

    def __init__(self, at=lambda iteration: None):
        self.curves, self.at = Curves(), at

    def __call__(self, net, x, y):
        self.at(self.curves.iteration)
        loss = F.mse_loss(net(x), y)
        self.curves.write({"loss": loss})
        return loss


def draw(generator):
    x = torch.randn(4, 4, generator=generator)
    return x, x[:, :2] * 2


def train(next_batch=draw, loss=None):
    torch.manual_seed(5)
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 2))
    history = fit(net, next_batch, loss or Loss(), SCHEDULE, seed=1)
    return history, net.state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


# --- the same results ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_training_with_dropout_is_the_same_to_the_bit(monkeypatch, workers):
    history, state = train()
    monkeypatch.setenv("WSSS_WORKERS", workers)
    again, found = train()
    assert again == history and len(history) == 6 and same(found, state)


def classifier(view):
    start = vgg_trunk("HighRes", TOY_BLOCKS).state_dict()
    return train_classifier(view, start, "HighRes", BACKBONE, SCHEDULE.settings(), 0)


def segmenter(view):
    start = vgg_trunk("DeepLab", TOY_BLOCKS).state_dict()
    labels = np.random.default_rng(0).integers(0, 3, (len(view), 24, 36), np.uint8)
    return train_segmenter(view, labels, start, BACKBONE, SCHEDULE.settings(), 0)


def single_stage(view, iterations=6, snapshot=2):
    schedule = replace(SCHEDULE, iterations=iterations, policy="constant").settings()
    return train_single_stage(view, v3plus_trunk(WIDE).state_dict(), WIDE.settings(), schedule, 0, METHOD.settings(),
                              1, snapshot)


@pytest.mark.parametrize("training", [classifier, segmenter, single_stage])
def test_trainings_on_photographs_are_the_same_to_the_bit(folder, monkeypatch, training):
    """With tags, with labels and with pixels; each on a view of its own, whose cache is empty."""
    results = []
    for workers in ("0", "3"):
        monkeypatch.setenv("WSSS_WORKERS", workers)
        torch.manual_seed(9)
        results.append(training(folder.train_view("train")))
    assert results[0]["history"] == results[1]["history"] and np.ptp(results[0]["history"]) > 0
    assert same(results[0]["state"], results[1]["state"])


CHANGES = [augment, crop_and_jitter, partial(scale_crop, low=0.5, high=1.5),
           partial(scale_and_jitter, scales=(0.5, 1.5))]


@pytest.mark.parametrize("change", CHANGES)
def test_batches_use_no_random_numbers_but_the_generators(folder, change):
    """Dropout draws from torch's global generator meanwhile."""
    view = folder.train_view("train")
    batches = [tagged_batches(view, 32, 2, change), pixel_batches(view, 32, 2, change),
               labelled_batches(view, np.zeros((3, 24, 36), np.uint8), 32, 2, change)]
    for next_batch in batches:
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        one, other = next_batch(generator()), next_batch(generator())
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
        assert torch.equal(torch.get_rng_state(), torch_state)
        assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_generator_stands_behind_the_batch_that_was_handed_out(workers, count):
    mine, theirs = generator(), generator()
    with ahead(draw, mine, count, machine(workers)) as batches:
        seen = 0
        for x, y in batches:
            time.sleep(0.002)  # time to draw ahead
            expected = draw(theirs)
            assert torch.equal(x, expected[0]) and torch.equal(y, expected[1])
            assert torch.equal(mine.get_state(), theirs.get_state())
            seen += 1
    assert seen == count and torch.equal(mine.get_state(), theirs.get_state())


# --- how far, and by whom --------------------------------------------------------------------------------------------


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


@pytest.mark.parametrize(("workers", "depth"), [("0", 0), ("1", DEPTH)])
def test_so_many_batches_are_drawn_ahead_and_no_more(monkeypatch, workers, depth):
    monkeypatch.setenv("WSSS_WORKERS", workers)
    drawn = []

    def check(iteration):
        expected = min(iteration + 1 + depth, SCHEDULE.iterations)
        wait_for(lambda: len(drawn) >= expected)
        time.sleep(0.01)
        assert drawn == [drawn[0]] * expected

    train(lambda generator: drawn.append(threading.current_thread()) or draw(generator), Loss(check))
    assert (drawn[0] is threading.current_thread()) == (depth == 0)


def test_images_of_a_batch_are_read_side_by_side_and_stay_in_order():
    together = threading.Barrier(3)

    def read(row):
        together.wait(10)  # for three threads
        time.sleep(0.01 * (3 - row % 3))  # the last ends first
        return row

    with ahead(lambda generator: every(read, range(6)), generator(), 2, machine(3)) as batches:
        assert list(batches) == [(0, 1, 2, 3, 4, 5)] * 2


def test_photographs_are_read_by_the_workers(folder, monkeypatch):
    readers, read = set(), JpegFiles.read
    monkeypatch.setattr(JpegFiles, "read", lambda self, row: readers.add(threading.current_thread().name)
                        or read(self, row))
    next_batch = tagged_batches(folder.train_view("train"), 32, 8)
    with ahead(next_batch, generator(), 2, machine(2)) as batches:
        assert len(list(batches)) == 2
    assert readers <= {"wsss-reader_0", "wsss-reader_1"} and readers
    readers.clear()
    with ahead(tagged_batches(folder.train_view("train"), 32, 8), generator(), 1, machine(0)) as batches:
        list(batches)
    assert readers == {threading.current_thread().name}


def test_for_a_gpu_batches_are_pinned_ahead_and_finished_in_their_turn(monkeypatch):
    """The calls alone: no GPU is needed here."""
    happened = []

    def note(what):
        happened.append((what, threading.current_thread() is threading.main_thread()))

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: note(f"device {device}"))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: note("pin") or self + 0)
    steps = Batches(draw, lambda *batch: note("finish") or batch)
    expected = draw(generator())
    with ahead(steps, generator(), 1, machine(1, "cuda")) as batches:
        (x, y), = batches
    assert torch.equal(x, expected[0]) and torch.equal(y, expected[1])
    assert happened == [("device 1", False), ("pin", False), ("pin", False), ("finish", True)]


def test_batches_in_two_steps_are_a_function_of_a_generator():
    steps = Batches(draw, lambda x, y: (x + 1, y))
    x, y = steps(generator())
    assert torch.equal(x, draw(generator())[0] + 1) and torch.equal(y, draw(generator())[1])


# --- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_error_in_drawing_is_raised_at_its_batch(monkeypatch, workers):
    monkeypatch.setenv("WSSS_WORKERS", workers)
    drawn, trained = [], []

    def failing(generator):
        drawn.append(1)
        if len(drawn) == 4:
            raise DataError("image 4 is damaged", "a sound image", "remove it")
        return draw(generator)

    with pytest.raises(DataError, match="image 4 is damaged") as caught:
        train(failing, Loss(trained.append))
    assert trained == [0, 1, 2] and caught.value.fix == "remove it"


def test_a_damaged_photograph_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_WORKERS", "3")
    view = VocFolder(write_photographs(tmp_path / "root", masks=False)).train_view("train")
    (tmp_path / "root/JPEGImages/p1.jpg").write_bytes(b"\xff\xd8 no more")
    with pytest.raises(DataError, match=r"p1\.jpg is damaged or truncated"):
        classifier(view)


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
def test_a_training_that_fails_ends_its_threads(monkeypatch, problem):
    monkeypatch.setenv("WSSS_WORKERS", "2")
    seen = []

    def fail(iteration):
        seen.extend(thread.name for thread in threading.enumerate() if thread.name.startswith("wsss"))
        raise problem

    with pytest.raises(problem):
        train(lambda generator: (every(abs, [-1, -2]), draw(generator))[1], Loss(fail))
    assert "wsss-drawer_0" in seen and "wsss-reader_0" in seen


def test_ctrl_c_while_a_batch_is_awaited_ends_the_threads(monkeypatch):
    monkeypatch.setenv("WSSS_WORKERS", "2")
    drawn = []

    def slow(generator):
        drawn.append(1)
        if len(drawn) == 3:
            time.sleep(0.05)  # by now it is waited for
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.05)
        return draw(generator)

    with pytest.raises(KeyboardInterrupt):
        train(slow)
    assert len(drawn) <= 1 + 1 + DEPTH  # no batch was begun after that


# --- the cache -------------------------------------------------------------------------------------------------------


def canvas(key):
    return np.full((10, 10, 3), key, np.uint8), canvas_box(10, 10, 10)


def in_threads(*calls):
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_what_two_threads_make_at_once_counts_once():
    cache, together, made = CanvasCache(limit_bytes=650), threading.Barrier(2), []  # room for two of 300 bytes

    def make():
        together.wait(10)
        return canvas(1)

    in_threads(*[lambda: cache.get((1, 10), make)] * 2)
    cache.get((2, 10), lambda: canvas(2))
    for key in (1, 2):
        assert cache.get((key, 10), lambda key=key: made.append(key) or canvas(key))[0][0, 0, 0] == key
    assert made == []


def test_other_canvases_can_be_had_while_one_is_made():
    cache, asked, had = CanvasCache(limit_bytes=650), threading.Event(), threading.Event()

    def slow():
        asked.set()
        assert had.wait(10)
        return canvas(1)

    def other():
        asked.wait(10)
        cache.get((2, 10), lambda: canvas(2))
        had.set()

    in_threads(lambda: cache.get((1, 10), slow), other)
    assert had.is_set()


def test_the_cache_keeps_to_its_limit_under_many_threads():
    cache, wrong = CanvasCache(limit_bytes=1000), []  # room for three

    def use(seed):
        for key in np.random.default_rng(seed).integers(0, 9, 400).tolist():
            if cache.get((key, 10), lambda key=key: canvas(key))[0][0, 0, 0] != key:
                wrong.append(key)

    in_threads(*[partial(use, seed) for seed in range(8)])
    made = []
    for key in range(9):
        cache.get((key, 10), lambda key=key: made.append(key) or canvas(key))
    assert not wrong and len(made) >= 6
    made.clear()
    for key in (8, 7, 6, 5):  # exactly the last three are kept: nothing is counted that isn't there
        cache.get((key, 10), lambda key=key: made.append(key) or canvas(key))
    assert made == [5]


# --- the snapshot of the single stage --------------------------------------------------------------------------------


@pytest.mark.parametrize(("workers", "parts"), [("0", "1"), ("2", "1"), ("2", "2")])
def test_a_snapshot_is_the_network_after_as_many_iterations_whoever_draws(folder, monkeypatch, workers, parts):
    monkeypatch.setenv("WSSS_WORKERS", workers)
    monkeypatch.setenv("WSSS_PARTS", parts)
    view = folder.train_view("train")
    torch.manual_seed(9)
    whole = single_stage(view, iterations=4, snapshot=2)
    torch.manual_seed(9)
    short = single_stage(view, iterations=2, snapshot=2)
    assert same(whole["early"], short["state"]) and not same(whole["early"], whole["state"])
    assert short["early"] == {}


def test_a_snapshot_is_taken_once_and_before_the_forward_pass():
    torch.manual_seed(0)
    net = METHOD.network(WIDE, 2).train()
    net.prepare()
    losses, pixels = Losses(METHOD, warm_up=9, snapshot=1), torch.full((2, 3, 32, 32), 99, dtype=torch.uint8)
    tags = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    losses(net, pixels, tags)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert losses.kept == {}
    losses.curves.begin()
    for _ in range(2):  # two parts, or a second attempt
        losses(net, pixels, tags)
        assert same(losses.kept, before)
    losses.curves.join((0.5, 0.5))
    assert not same(net.state_dict(), before)  # batch norms have moved
