"""Worlds as inputs of steps: identity, what they show, what they refuse."""

import re
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from wsss_lab.data.toyvoc import CLASSES, CONTEXTS, split_seed
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.errors import DataError, ParameterError, WeightsError
from wsss_lab.lab import fingerprint, worlds
from wsss_lab.lab.compute import compute
from wsss_lab.lab.store import Store
from wsss_lab.lab.worlds import OWN_TRAIN, CocoWorld, FolderWorld, ToyWorld, WeightsFile, open_world, weights_file

torch.set_num_threads(1)
TINY = ToyWorld(3, (("train", 3), ("val", 2), ("pretraining", 4), ("saliency", 2)))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("cache"))
    compute([TINY.scenes("train"), TINY.scenes("val")], store, executor="serial", progress="none")
    return store


@pytest.fixture
def root(tmp_path):
    """Three photographs of 12x8 pixels; a and b are train, c is val; classes cat and dog."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    for label, name in enumerate("abc"):
        mask = np.zeros((8, 12), np.uint8)
        mask[2:5, 3:6] = 1 + label % 2
        Image.fromarray(np.full((8, 12, 3), 80 * label, np.uint8)).save(tmp_path / f"JPEGImages/{name}.jpg")
        Image.fromarray(mask).save(tmp_path / f"SegmentationClass/{name}.png")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("c\n")
    return tmp_path


def test_a_toy_split_is_drawn_from_its_own_seed_and_a_training_view_has_no_masks(store):
    step = TINY.scenes("val")
    assert step.settings == {"count": 2, "seed": split_seed(3, "val"), "knobs": {}}
    view = TINY.eval_view("val").load(store)
    assert type(view) is EvalView and view.classes == CLASSES and view.context_classes == CONTEXTS
    assert view.names == ("val_00000", "val_00001") and view.tags_source == "generator"
    for index in range(2):
        present = np.setdiff1d(view.mask(index), [0, 255]) - 1
        assert np.flatnonzero(view.tags[index]).tolist() == present.tolist()
    reference = TINY.train_view()
    assert not reference.exposes_masks and TINY.eval_view("train").exposes_masks
    assert type(reference.load(store)) is TrainView and reference.load(store).name == "toyvoc/train"
    assert reference.steps == (TINY.scenes("train"),)


def test_views_of_other_worlds_splits_masks_and_numbers_of_images_have_other_keys():
    worlds_ = TINY, ToyWorld(4, TINY.counts), ToyWorld(3, TINY.counts, (("noise", 0.0),))
    splits = ("train", "train[:1]", "train[:3]", "val", "val[:2]")  # also where it is the number of the split
    keys = {view(split).key for world in worlds_ for split in splits for view in (world.train_view, world.eval_view)}
    assert len(keys) == 3 * 5 * 2 and ToyWorld(3, TINY.counts).train_view().key == TINY.train_view().key


def test_the_first_images_of_a_split_are_those_of_the_split(store):
    for whole, part in ((TINY.train_view("train"), TINY.train_view("train[:2]")),
                        (TINY.eval_view("train"), TINY.eval_view("train[:2]"))):
        assert part.steps == whole.steps and part.exposes_masks == whole.exposes_masks
        first, every = part.load(store), whole.load(store)
        assert type(first) is type(every) and len(first) == 2 and first.names == every.names[:2]
        np.testing.assert_array_equal(first.tags, every.tags[:2])
        for look in ("image", "mask", "context")[:3 if part.exposes_masks else 1]:
            np.testing.assert_array_equal(getattr(first, look)(1), getattr(every, look)(1))
    for split in ("train[:3]", "train[:4]", "train[:1000]"):
        assert TINY.eval_view(split).load(store).names == TINY.eval_view("train").load(store).names


@pytest.mark.parametrize("split", ["train[:0]", "train[:-1]", "train[:05]", "train[2]", "train[1:2]", "train[2:]",
                                   "train[:]", "train[:2.5]", "train[:n]", "train[:2", "train:2]", "train[:2][:1]",
                                   "train[:2] ", "[:2]", ""])
def test_other_parts_of_a_split_are_refused(split):
    view = TINY.train_view(split)
    for look in (lambda: view.key, lambda: view.steps, lambda: view.load(None)):
        with pytest.raises(ParameterError, match="^split '") as caught:
            look()
        assert f"'{split}'" in str(caught.value) and "as in train[:500]" in caught.value.expected


def test_companions_of_the_toy_world_keep_their_masks_apart_and_an_unknown_split_lists_those_there_are():
    assert TINY.scenes("train").mask_outputs == ("masks", "contexts", "instance_map")
    scenes = TINY.saliency_scenes()
    assert scenes["masks"].exposes_masks and not scenes["boxes"].exposes_masks and not TINY.crops().exposes_masks
    assert len({step.settings["seed"] for step in (TINY.scenes("train"), scenes, TINY.crops())}) == 3
    for look in (lambda: TINY.scenes("trian"), lambda: TINY.train_view("trian[:2]").key):
        with pytest.raises(ParameterError, match="unknown split of this toy world 'trian'") as caught:
            look()
        assert caught.value.expected == "one of train, val, pretraining, saliency" and "'train'" in caught.value.fix
    with pytest.raises(ParameterError, match="world seed -1"):
        ToyWorld(-1, TINY.counts).scenes("train")


def test_profiles_open_their_worlds(monkeypatch, root):
    assert open_world("quick", 5) == ToyWorld(5, worlds.TOY_COUNTS["quick"]) and open_world("toy", 5) == ToyWorld(5)
    for name in ("WSSS_DATA", "WSSS_WEIGHTS"):
        monkeypatch.setenv(name, str(root))
    assert open_world("photos") == FolderWorld(str(root))
    monkeypatch.delenv("WSSS_DATA")
    for profile, error, told in (("voc", DataError, "needs WSSS_DATA"), ("tyo", ParameterError, "profile 'tyo'")):
        with pytest.raises(error, match=told):
            open_world(profile)
    with pytest.raises(DataError, match=f"no image in JPEGImages|no folder {root.parent}/none") as caught:
        FolderWorld(f"{root.parent}/none").train_view().key  # noqa: B018
    assert "WSSS_DATA" in caught.value.fix


def test_the_check_of_a_folder_and_its_words_are_in_no_key():
    reached = set(fingerprint.definitions_of(*FolderWorld.readers))
    assert ("wsss_lab.data.folder", "VocReader") in reached and ("wsss_lab.errors", "KINDS") not in reached
    assert not {"wsss_lab.data.folder_check", "wsss_lab.lab.data_check"} & {module for module, _ in reached}


def test_the_key_of_weights_is_their_content_and_they_are_tried_out_before_anything_runs(tmp_path, monkeypatch):
    torch.save({"w": torch.ones(2)}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes((tmp_path / "a.pth").read_bytes())
    torch.save({"w": torch.zeros(2)}, tmp_path / "c.pth")
    first, same, other = (WeightsFile(str(tmp_path / name)) for name in ("a.pth", "b.pth", "c.pth"))
    assert first.key == same.key != other.key
    assert first.load(None)["w"].tolist() == [1, 1] and not first.exposes_masks and first.steps == ()
    monkeypatch.setenv("WSSS_WEIGHTS", str(tmp_path))
    seen = []
    weights_file("a.pth", lambda state, path: seen.append((list(state), path)))
    assert seen == [(["w"], str(tmp_path / "a.pth"))]
    (tmp_path / "b.pth").write_bytes(b"cut off")
    for name, told in (("d.pth", "no weights file .*d.pth"), ("b.pth", "b.pth' can't be read")):
        with pytest.raises(WeightsError, match=told) as caught:
            weights_file(name, lambda state, path: None)
    assert caught.value.fix


def test_the_profile_voc_trains_on_trainaug_where_there_is_such_a_list(monkeypatch, root):
    monkeypatch.setenv("WSSS_DATA", str(root))
    monkeypatch.setenv("WSSS_WEIGHTS", str(root))
    plain = open_world("voc")
    assert plain.train_view("train").load(None).names == plain.train_view(OWN_TRAIN).load(None).names == ("a", "b")
    (root / "ImageSets/Segmentation/trainaug.txt").write_text("b\na\n")
    worlds._folder.cache_clear()
    world = open_world("voc")
    assert world.train_view("train").load(None).names == ("b", "a")
    assert world.eval_view(OWN_TRAIN).load(None).names == ("a", "b")
    assert world.train_view("train").key not in (world.train_view(OWN_TRAIN).key, plain.train_view("train").key)
    assert open_world("photos").train_view("train").load(None).names == ("a", "b")


def test_a_folder_gives_views_and_needs_no_steps(root):
    world = FolderWorld(str(root))
    assert world.classes == ("cat", "dog") and world.name == root.name and world.train_view().steps == ()
    view = world.train_view().load(None)
    assert type(view) is TrainView and view.names == ("a", "b")
    assert view.tags.tolist() == [[True, False], [False, True]] and view.tags_source == "masks"
    assert np.unique(world.eval_view("val").load(None).mask(0)).tolist() == [0, 1]
    first = world.eval_view("train[:1]").load(None)
    assert type(first) is EvalView and first.names == ("a",) and first.tags.tolist() == [[True, False]]
    assert world.train_view("train[:5]").load(None).names == ("a", "b")
    assert FolderWorld(str(root), limit=1).train_view("train[:2]").load(None).names == ("a",)


def test_the_key_of_a_folder_follows_its_files_and_what_is_used_of_it(root):
    def key(split="train", **options):
        worlds._folder.cache_clear()
        return FolderWorld(str(root), **options).train_view(split).key

    before = key()
    assert key() == before
    assert len({before, key("val"), key("train[:1]"), key("train[:2]"), key(limit=1), key(tags="masks")}) == 6
    Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(root / "JPEGImages/a.jpg", quality=20)
    assert key() != before


@pytest.mark.parametrize(("kind", "module", "name"), [
    (FolderWorld, "data.pixels", "_labels_and_colours"), (FolderWorld, "data.tags", "tags_from_xml"),
    (FolderWorld, "data.views", "EvalView"), (FolderWorld, "lab.worlds", "_first"),
    (CocoWorld, "data.coco", "CocoFolder"), (CocoWorld, "data.pixels", "read_image"),
    (ToyWorld, "data.toyvoc", "toy_view"), (WeightsFile, "networks.weights", "read_weights"),
])
def test_keys_follow_the_code_that_reads(root, tmp_path, monkeypatch, kind, module, name):
    """An edit of a definition gives another key; the file that it stands in is read from a copy."""
    monkeypatch.setattr(CocoWorld, "folder", property(lambda self: SimpleNamespace(fingerprint="")))
    weights = tmp_path / "weights.pth"
    weights.touch()

    def key():
        fingerprint.forget()
        if kind is WeightsFile:
            return WeightsFile(str(weights)).key
        return (kind(str(root)) if kind is not ToyWorld else TINY).eval_view("val").key

    before, file_of = key(), fingerprint._source_file
    original = file_of(f"wsss_lab.{module}")
    copy = tmp_path / original.name
    text = original.read_text()
    copy.write_text(re.sub(rf"^(def|class) {name}\b", rf"@staticmethod\n\1 {name}", text, flags=re.MULTILINE))
    assert copy.read_text() != text
    monkeypatch.setattr(fingerprint, "_source_file", lru_cache(lambda each: copy if each == f"wsss_lab.{module}"
                                                               else file_of(each)))
    assert key() != before
    monkeypatch.undo()
    fingerprint.forget()
