"""Batches: what they hold, and drawn ahead by threads: the same trainings, errors at their place, no thread left."""

import signal
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from tiny_views import blobs, make_view, write_photographs
from torchvision.models import mobilenet_v2

from wsss_lab.data.canvas import augment, draw_variants, label_canvas, normalise, scale_crop, trim_and_flip
from wsss_lab.data.folder import VocFolder
from wsss_lab.data.pixels import JpegFiles
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.data.views import every
from wsss_lab.errors import DataError
from wsss_lab.evaluation.scoring import ground_truth
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import DEPTH, Batches, ahead, labelled_batches, pixel_batches, tagged_batches
from wsss_lab.networks.heads import deeplab
from wsss_lab.networks.machine import Machine
from wsss_lab.networks.mobilenet import frozen_features
from wsss_lab.seeds.saliency_supervision import scale_and_jitter


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


def draw(generator):
    x = torch.randn(4, 4, generator=generator)
    return x, x[:, :2] * 2


def test_batches_of_photographs_are_the_same_to_the_bit_and_read_by_the_workers(folder, monkeypatch):
    """Each on a view of its own, whose cache is empty."""
    readers, read = set(), JpegFiles.read
    monkeypatch.setattr(JpegFiles, "read", lambda self, row: readers.add(threading.current_thread().name)
                        or read(self, row))
    masks, found = np.random.default_rng(0).integers(0, 3, (3, 24, 36), np.uint8), []
    for workers in (0, 3):
        readers.clear()
        next_batch = labelled_batches(folder.train_view("train"), masks, 32, 4, crop_and_jitter)
        with ahead(next_batch, generator(), 4, machine(workers)) as batches:
            found.append([tensor for batch in batches for tensor in batch])
    assert len(found[0]) == 4 * 4 and all(torch.equal(*pair) for pair in zip(*found, strict=True))
    assert readers and all(name.startswith("wsss-reader_") for name in readers)


def test_a_batch_holds_the_images_labels_and_tags_that_belong_together():
    """Red images show a cat, green ones a dog: what is drawn belongs together, whatever the jitter."""
    labelled = blobs([(32, 32), (16, 32), (32, 32), (40, 24)])
    view, masks = labelled.train_view(), ground_truth(labelled)["masks"]
    pixels, tags = pixel_batches(view, 32, 8, crop_and_jitter)(generator())
    assert (pixels.shape, pixels.dtype, tags.shape, tags.dtype) == ((8, 3, 32, 32), torch.uint8, (8, 2), torch.float32)
    excess = (pixels[:, 0].float() - pixels[:, 1].float()).flatten(1)
    assert torch.equal(excess.amax(1) > 60, tags[:, 0] == 1) and torch.equal(excess.amin(1) < -60, tags[:, 1] == 1)
    images, labels, same_pixels, same_tags = labelled_batches(view, masks, 32, 8, crop_and_jitter)(generator())
    assert torch.equal(same_pixels, pixels) and torch.equal(same_tags, tags) and torch.equal(images, normalise(pixels))
    for label, tag in zip(labels, tags):
        assert set(label.unique().tolist()) - {0} == set((tag.nonzero()[:, 0] + 1).tolist())
    assert tags.sum(0).min() > 0
    for found, expected in zip(tagged_batches(view, 32, 8, crop_and_jitter)(generator()), (images, tags), strict=True):
        assert torch.equal(found, expected)


CHANGES = [augment, crop_and_jitter, partial(scale_crop, low=0.5, high=1.5),
           partial(scale_and_jitter, scales=(0.6, 1.1))]


@pytest.mark.parametrize("change", CHANGES)
def test_augmentations_are_done_later_with_the_numbers_of_their_turn_and_no_others(folder, change):
    """Dropout draws from torch's global generator meanwhile."""
    view, masks = folder.train_view("train"), np.random.default_rng(0).integers(0, 3, (3, 24, 36), np.uint8)
    batches = labelled_batches(view, masks, 32, 4, change)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    at_once, later = generator(), generator()
    indices = torch.randint(3, (4,), generator=at_once)
    labels = torch.from_numpy(np.stack([label_canvas(masks[index], 32) for index in indices]))
    expected, expected_labels = change(view.canvas(indices, 32)[0], labels, at_once)
    drawn = batches.draw(later)
    assert torch.equal(later.get_state(), at_once.get_state())  # the next batch is drawn from the same numbers
    _, found_labels, found, _ = batches.finish(*drawn)
    assert torch.equal(found, expected) and torch.equal(found_labels, expected_labels)
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


@pytest.mark.parametrize(("workers", "depth"), [(0, 0), (1, DEPTH)])
def test_so_many_batches_are_drawn_ahead_and_no_more(workers, depth):
    drawn, end = [], time.monotonic() + 10
    with ahead(lambda generator: drawn.append(threading.current_thread()) or draw(generator), generator(), 6,
               machine(workers)) as batches:
        for number, _ in enumerate(batches, start=1):
            expected = min(number + depth, 6)
            while len(drawn) < expected and time.monotonic() < end:
                time.sleep(0.001)
            time.sleep(0.01)
            assert drawn == [drawn[0]] * expected
    assert (drawn[0] is threading.current_thread()) == (depth == 0)


def test_images_of_a_batch_are_read_side_by_side_and_stay_in_order():
    together = threading.Barrier(3)

    def read(row):
        together.wait(10)  # for three threads
        time.sleep(0.01 * (3 - row % 3))  # the last ends first
        return row

    with ahead(lambda generator: every(read, range(6)), generator(), 2, machine(3)) as batches:
        assert list(batches) == [(0, 1, 2, 3, 4, 5)] * 2


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


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_drawing_is_raised_at_its_batch(workers):
    drawn, seen = [], []

    def failing(generator):
        drawn.append(1)
        if len(drawn) == 4:
            raise DataError("image 4 is damaged", "a sound image", "remove it")
        return draw(generator)

    with (pytest.raises(DataError, match="image 4 is damaged(.|\n)*remove it"),
          ahead(failing, generator(), 6, machine(workers)) as batches):
        seen.extend(batches)
    assert len(seen) == 3


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
def test_what_fails_between_batches_ends_the_threads(problem):
    with (pytest.raises(problem), ahead(lambda generator: (every(abs, [-1, -2]), draw(generator))[1], generator(), 6,
                                        machine(2)) as batches):
        next(batches)
        assert {"wsss-drawer_0", "wsss-reader_0"} <= {thread.name for thread in threading.enumerate()}
        raise problem


def test_ctrl_c_while_a_batch_is_awaited_ends_the_threads():
    drawn = []

    def slow(generator):
        drawn.append(1)
        if len(drawn) == 3:
            time.sleep(0.05)  # by now it is waited for
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.05)
        return draw(generator)

    with pytest.raises(KeyboardInterrupt), ahead(slow, generator(), 6, machine(2)) as batches:
        list(batches)
    assert len(drawn) <= 1 + 1 + DEPTH  # no batch was begun after that


def test_a_network_sees_the_same_by_features_of_frozen_layers_as_by_the_images_they_were_made_of():
    side, variants, draw = 64, 3, np.random.default_rng(0)
    view = make_view([draw.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(5)],
                     [draw.integers(0, 3, (48, 64), dtype=np.uint8) for _ in range(5)])
    start = mobilenet_v2(weights=None).eval().state_dict()
    features = frozen_features(view, start, side, variants)["features"]
    assert features.shape == (5, variants, 96, 4, 4) and features.dtype == np.float16
    backbone = Backbone("mobilenet", width=8, dilation=2, dropout=0.0, side=side)
    net = deeplab(backbone, 3)
    backbone.load_start(net.trunk, start)
    net.train()
    backbone.prepare(net)  # batch norms keep their statistics, as in a training
    masks = ground_truth(view)["masks"]
    found, labels, _, tags = labelled_batches(view, masks, side, 16, features=features)(generator())
    again = generator()
    rows, which = torch.randint(5, (16,), generator=again), torch.randint(variants, (16,), generator=again)
    trims, flips = draw_variants(5, variants, side)
    images, _ = view.canvas(rows.numpy(), side)
    canvases = torch.from_numpy(np.stack([label_canvas(masks[row], side) for row in rows]))
    moved, expected = trim_and_flip(images, canvases, trims[rows, which], flips[rows, which])
    assert torch.equal(labels, expected) and torch.equal(tags, torch.tensor(view.tags)[rows].float())
    assert len(set(zip(rows.tolist(), which.tolist()))) > 5  # images come in several variants
    torch.testing.assert_close(net(found), net(normalise(moved)), atol=1e-3, rtol=1e-2)
    found, tags = tagged_batches(view, side, 4, features=features)(generator())
    assert found.shape == (4, 96, 4, 4) and tags.shape == (4, 2)
