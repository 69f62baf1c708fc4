import gc
import pickle

import numpy as np
import pytest
import torch

from wsss_lab.data.canvas import to_canvas
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.errors import ContractError, DataError

CLASSES = ("cat", "dog")


def _arrays(count=5, height=8, width=8):
    random = np.random.default_rng(0)
    masks = random.integers(0, 3, (count, height, width), np.uint8)
    masks[:, 0] = 255
    train = {"name": "world/train", "classes": CLASSES, "names": [f"image{i}" for i in range(count)],
             "tags": random.random((count, 2)) < 0.5, "tags_source": "generator",
             "images": random.integers(0, 256, (count, height, width, 3), np.uint8)}
    return train, {"masks": masks, "contexts": random.integers(1, 4, (count, height, width), np.uint8),
                   "context_classes": ("grass", "sky", "sea")}


def _eval_view(**size):
    train, labels = _arrays(**size)
    return EvalView.from_arrays(**train, **labels)


def test_a_view_gives_what_it_was_made_of():
    train, labels = _arrays()
    before = {name: np.copy(values) for name, values in (train | labels).items()}
    view = EvalView.from_arrays(**train, **labels)
    assert len(view) == 5 and view.names == tuple(train["names"]) and view.classes == CLASSES
    assert view.size(2) == (8, 8) and view.tags_source == "generator"
    np.testing.assert_array_equal(view.tags, train["tags"])
    assert view.has_context and view.context_classes == ("grass", "sky", "sea")
    assert repr(view) == "EvalView('world/train': 5 images, 2 classes, tags from generator)"
    view.image(3)[:] = view.mask(3)[:] = view.context(3)[:] = 0  # what a view hands out isn't the world's own
    view.canvas([3], 8)[0].zero_()
    for found, what in ((view.image(3), "images"), (view.mask(3), "masks"), (view.context(3), "contexts")):
        np.testing.assert_array_equal(found, before[what][3])
    with pytest.raises(ValueError, match="read-only"):
        view.tags[0, 0] = True
    view = EvalView.from_arrays(**train, masks=labels["masks"])
    assert not view.has_context and view.context(0) is None and view.guarded().context(0) is None


@pytest.mark.parametrize("side, size", [(8, {}), (6, {"height": 6, "width": 10}), (12, {"height": 6, "width": 10})])
def test_canvases_are_to_canvas_of_each_image(side, size):
    view = _eval_view(**size)
    pixels, boxes = view.canvas(torch.tensor([4, 0]), side)
    assert pixels.dtype == torch.uint8 and pixels.shape == (2, 3, side, side) and boxes.dtype == torch.int64
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    for row, index in enumerate((4, 0)):
        expected, box = to_canvas(view.image(index), side)
        np.testing.assert_array_equal(pixels[row].permute(1, 2, 0), expected)
        assert boxes[row].tolist() == list(box)
    pixels, boxes = view.canvas([], side)
    assert pixels.shape == (0, 3, side, side) and boxes.shape == (0, 4)


def test_subsets_of_subsets():
    view = _eval_view()
    part = view.subset([4, 2, 0]).subset(np.array([1, 0]))
    assert isinstance(part, EvalView) and part.names == ("image2", "image4")
    np.testing.assert_array_equal(part.tags, view.tags[[2, 4]])
    np.testing.assert_array_equal(part.image(0), view.image(2))
    np.testing.assert_array_equal(part.mask(1), view.mask(4))
    np.testing.assert_array_equal(part.context(1), view.context(4))
    np.testing.assert_array_equal(part.canvas([1], 8)[0], view.canvas([4], 8)[0])
    assert type(part.train_view().subset([0])) is TrainView


def _reachable(start):
    """Every object that can be reached from `start` through attributes, containers and array bases."""
    seen, queue = {}, [start]
    while queue:
        thing = queue.pop()
        if id(thing) in seen or isinstance(thing, type) or callable(thing):
            continue
        seen[id(thing)] = thing
        queue += gc.get_referents(thing)
        queue += list(getattr(thing, "__dict__", {}).values())
        if isinstance(thing, np.ndarray) and thing.base is not None:
            queue.append(thing.base)
    return list(seen.values())


def test_nothing_reachable_from_a_train_view_is_a_mask():
    view = _eval_view()
    masks, contexts = view._masks.array, view._contexts.array
    assert any(thing is masks for thing in _reachable(view))  # the search does find masks where they are
    for train in (view.train_view(), view.train_view().subset([1, 2]), view.subset([1]).train_view()):
        assert type(train) is TrainView and not isinstance(train, EvalView)
        found = _reachable(train)
        assert any(thing is view._images.array for thing in found)
        assert not any(thing is masks or thing is contexts for thing in found)
        assert not hasattr(train, "mask") and not hasattr(train, "context")
    assert view.exposes_masks and not view.train_view().exposes_masks


def test_guarded_labels_raise_and_images_do_not():
    guarded = _eval_view().guarded()
    assert len(guarded.image(0)) == 8 and guarded.canvas([0], 8)[0].shape == (1, 3, 8, 8)
    for touch in (guarded.mask, guarded.context, guarded.subset([1]).mask):
        with pytest.raises(ContractError, match="world/train were touched"):
            touch(0)


def test_memmaps_stay_on_disk_and_views_can_be_pickled(tmp_path):
    train, labels = _arrays()
    np.save(tmp_path / "images.npy", train["images"])
    train["images"] = np.load(tmp_path / "images.npy", mmap_mode="r")
    view = EvalView.from_arrays(**train, **labels)
    assert view._images.array is train["images"]
    copy = pickle.loads(pickle.dumps(view))
    np.testing.assert_array_equal(copy.canvas([2], 8)[0], view.canvas([2], 8)[0])
    np.testing.assert_array_equal(copy.mask(2), view.mask(2))
    assert copy.names == view.names and type(pickle.loads(pickle.dumps(view.train_view()))) is TrainView


@pytest.mark.parametrize(("change", "message"), [
    ({"tags": np.zeros((5, 3), bool)}, r"tags are bool \(5, 3\)"),
    ({"tags": np.zeros((5, 2))}, r"tags are float64"),
    ({"images": np.zeros((4, 8, 8, 3), np.uint8)}, r"images are uint8 \(4,"),
    ({"images": np.zeros((5, 8, 8, 3), np.float32)}, r"images are float32"),
    ({"images": np.zeros((5, 8, 8, 1), np.uint8)}, r"images of shape"),
    ({"names": ["same"] * 5}, r"4 image names occur twice"),
    ({"classes": ("cat", "cat")}, r"classes"),
    ({"masks": np.zeros((5, 8, 7), np.uint8)}, r"masks are of size \(8, 7\)"),
    ({"masks": np.full((5, 8, 8), 9, np.uint8)}, r"masks have the labels \[9\]"),
    ({"contexts": np.full((5, 8, 8), 4, np.uint8)}, r"contexts have the labels \[4\]"),
])
def test_parts_that_do_not_fit_together(change, message):
    train, labels = _arrays()
    with pytest.raises(DataError, match=message):
        EvalView.from_arrays(**{**train, **labels, **change})
