"""Views laid out as VOC 2012, SBD and COCO are, and read back as the real ones are."""

import numpy as np
import pytest

from wsss_lab.data.augmented import build_augmented
from wsss_lab.data.coco import CocoFolder
from wsss_lab.data.devkit import export_coco, export_devkit, link_layout
from wsss_lab.data.folder import VocFolder
from wsss_lab.data.views import EvalView
from wsss_lab.errors import DataError

CLASSES = ("cat", "owl", "rat")
SIZE = (24, 32)


def scene(split, count, seed):
    """Images of grey, each with a square of one class, void on its right and a dot of another class."""
    generator = np.random.default_rng(seed)
    images, masks, tags = np.full((count, *SIZE, 3), 90, np.uint8), np.zeros((count, *SIZE), np.uint8), []
    for mask in masks:
        first, second = generator.choice(3, 2, replace=False) + 1
        mask[4:12, 4:12], mask[4:12, 12], mask[20, 30] = first, 255, second
        tags.append([label in (first, second) for label in (1, 2, 3)])
    names = [f"{split}_{row}" for row in range(count)]
    return EvalView.from_arrays(split, CLASSES, names, np.array(tags), images, "generator", masks=masks)


@pytest.fixture
def views():
    return scene("train", 4, 0), scene("added", 3, 1), scene("val", 2, 2)


def test_voc_has_masks_of_its_own_lists_only_and_photographs_of_all(views, tmp_path):
    train, added, val = views
    voc, _ = export_devkit(train, added, val, tmp_path)
    assert voc == tmp_path / "VOCdevkit/VOC2012"
    assert {path.stem for path in (voc / "SegmentationClass").iterdir()} == {*train.names, *val.names}
    assert {path.stem for path in (voc / "JPEGImages").iterdir()} == {*train.names, *val.names, *added.names}
    folder = VocFolder(voc)
    assert folder.splits == ("train", "val") and folder.tags_source == "xml" and folder.classes == CLASSES
    np.testing.assert_array_equal(folder.train_view("train").tags, train.tags)


def test_the_augmented_set_follows_from_the_two_folders(views, tmp_path):
    train, added, val = views
    voc, boundaries = export_devkit(train, added, val, tmp_path)
    names = (boundaries / "val.txt").read_text().split()
    assert names == list(val.names[::2])  # SBD's lists overlap with VOC's val, as the real ones do
    root = build_augmented(voc, boundaries, tmp_path / "trainaug", count=7)
    folder = VocFolder(root)
    assert set(folder.names("trainaug")) == {*train.names, *added.names} and folder.classes == CLASSES
    view = folder.eval_view("trainaug")
    for row, name in enumerate(view.names):
        source = train if name in train.names else added
        truth = source.mask(source.names.index(name))
        if source is added:
            truth = np.where(truth == 255, 0, truth)  # SBD has no void
        np.testing.assert_array_equal(view.mask(row), truth)
        np.testing.assert_array_equal(view.tags[row], source.tags[source.names.index(name)])


def test_coco_gives_back_masks_and_tags(views, tmp_path):
    train, _, val = views
    folder = CocoFolder(export_coco({"train": train, "val": val}, tmp_path))
    assert folder.classes == CLASSES and folder.splits == ("train", "val")
    for split, view in (("train", train), ("val", val)):
        found = folder.eval_view(split)
        np.testing.assert_array_equal(found.tags, view.tags)
        for row in range(len(view)):
            np.testing.assert_array_equal(found.mask(row), view.mask(row))
    assert folder.object_facts("train")[0].tolist() == pytest.approx([2, (64 + 1) / 2 / (24 * 32)])


def test_linked_layouts_have_lists_of_their_own(views, tmp_path):
    voc, _ = export_devkit(*views, tmp_path)
    folder = VocFolder(link_layout(voc, tmp_path / "fewer", {"train": ["train_2"]}))
    assert folder.splits == ("train",) and folder.names("train") == ("train_2",) and folder.classes == CLASSES
    np.testing.assert_array_equal(folder.eval_view("train").mask(0), views[0].mask(2))


def test_more_classes_than_sbd_has_are_refused(tmp_path):
    view = EvalView.from_arrays("many", [f"class{number}" for number in range(21)], ["a"], np.ones((1, 21), bool),
                                np.zeros((1, *SIZE, 3), np.uint8), "generator", masks=np.zeros((1, *SIZE), np.uint8))
    with pytest.raises(DataError, match="21 classes"):
        export_devkit(view, view, view, tmp_path)
    assert not list(tmp_path.iterdir())
