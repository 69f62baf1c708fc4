import csv
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from wsss_lab.data import voc_export
from wsss_lab.data.folder import VocFolder
from wsss_lab.data.toyvoc import CLASSES, CONTEXTS, make_scenes
from wsss_lab.data.views import EvalView
from wsss_lab.data.voc_export import component_boxes, export_voc, voc_palette
from wsss_lab.errors import DataError


def _view(split, count, seed):
    scenes = make_scenes(count, seed)
    return EvalView.from_arrays(f"toyvoc/{split}", CLASSES, [f"{split}_{i:05d}" for i in range(count)], scenes["tags"],
                                scenes["images"], "generator", masks=scenes["masks"], contexts=scenes["contexts"],
                                context_classes=CONTEXTS)


@pytest.fixture(scope="module")
def splits():
    return {"train": _view("train", 12, 1), "val": _view("val", 5, 2)}


def _small_view(tags, classes=("cat", "dog"), names=("a",), mask=None):
    mask = np.zeros((1, 6, 8), np.uint8) if mask is None else mask
    images = np.zeros((*mask.shape, 3), np.uint8)
    return EvalView.from_arrays("w/train", classes, names, np.array(tags, bool), images, "generator", masks=mask)


def test_the_palette_of_voc():
    palette = voc_palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 8: (64, 0, 0),
             15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}  # fmt: skip
    for label, colour in known.items():
        assert tuple(palette[label].tolist()) == colour
    assert len(np.unique(palette, axis=0)) == 256


def test_component_boxes_by_hand():
    region = np.zeros((6, 8), bool)
    region[1:3, 2:5] = True
    region[3, 5] = True  # touches by a corner, so it belongs to the first
    region[5, 0] = True
    assert sorted(component_boxes(region)) == [(1, 6, 1, 6), (3, 2, 6, 4)]
    assert component_boxes(np.zeros((3, 3), bool)) == []


@pytest.mark.parametrize("tags", ["xml", "csv", "masks"])
def test_what_is_exported_is_read_back(splits, tmp_path, tags):
    root = export_voc(splits, tmp_path / "new" / "toyvoc", CLASSES, CONTEXTS)
    folder = VocFolder(root, tags=tags)
    assert folder.splits == ("train", "val") and folder.classes == tuple(CLASSES)
    for split, view in splits.items():
        folder.check(split)
        back = folder.eval_view(split)
        assert back.names == view.names and back.context_classes == tuple(CONTEXTS)
        assert back.tags_source.startswith(tags)
        np.testing.assert_array_equal(back.tags, view.tags)
        for i in range(len(view)):
            np.testing.assert_array_equal(back.mask(i), view.mask(i))
            np.testing.assert_array_equal(back.context(i), view.context(i))
            error = back.image(i).astype(int) - view.image(i)
            assert np.abs(error).mean() < 6 and abs(error.mean()) < 1


def test_masks_have_vocs_colours_and_photographs_keep_the_resolution_of_theirs(splits, tmp_path):
    export_voc(splits, tmp_path, CLASSES, CONTEXTS)
    view = splits["train"]
    with Image.open(tmp_path / f"SegmentationClass/{view.names[0]}.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image.convert("RGB")), voc_palette()[view.mask(0)])
    with Image.open(tmp_path / f"JPEGImages/{splits['val'].names[0]}.jpg") as image:
        assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # no chroma subsampling


def test_annotations_by_hand(tmp_path):
    mask = np.zeros((1, 6, 8), np.uint8)
    mask[0, 1:3, 2:5] = 2
    mask[0, 5, 7] = 2
    export_voc({"train": _small_view([[False, True]], mask=mask)}, tmp_path, ("cat", "dog"))
    annotation = ElementTree.parse(tmp_path / "Annotations/a.xml").getroot()
    assert annotation.findtext("filename") == "a.jpg"
    assert [annotation.findtext(f"size/{key}") for key in ("width", "height", "depth")] == ["8", "6", "3"]
    assert [entry.text for entry in annotation.findall("object/name")] == ["dog", "dog"]
    boxes = [[int(value.text) for value in box] for box in annotation.findall("object/bndbox")]
    assert sorted(boxes) == [[3, 2, 5, 3], [8, 6, 8, 6]]
    assert not (tmp_path / "SegmentationContext").exists() and not (tmp_path / "context_classes.txt").exists()
    with open(tmp_path / "image_labels.csv", newline="") as file:
        assert list(csv.reader(file)) == [["image", "cat", "dog"], ["a", "0", "1"]]


def test_tags_decide_what_is_annotated_not_masks(tmp_path):
    mask = np.full((1, 6, 8), 2, np.uint8)
    export_voc({"train": _small_view([[True, False]], mask=mask)}, tmp_path, ("cat", "dog"))
    assert VocFolder(tmp_path, tags="xml").train_view("train").tags.tolist() == [[True, False]]
    assert VocFolder(tmp_path, tags="masks").train_view("train").tags.tolist() == [[False, True]]
    box = ElementTree.parse(tmp_path / "Annotations/a.xml").find("object/bndbox")
    assert [value.text for value in box] == ["1", "1", "8", "6"]


def test_a_foreign_folder_is_left_alone_unless_asked(tmp_path):
    view = _small_view([[False, False]])
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "JPEGImages/mine.jpg").write_bytes(b"mine")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty") as caught:
        export_voc({"train": view}, tmp_path, view.classes)
    assert "overwrite=True" in caught.value.fix
    assert sorted(path.name for path in tmp_path.iterdir()) == ["JPEGImages", "notes.txt"]
    export_voc({"train": view}, tmp_path, view.classes, overwrite=True)
    assert [path.name for path in (tmp_path / "JPEGImages").iterdir()] == ["a.jpg"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_earlier_export_is_replaced(tmp_path):
    first, second = _small_view([[False, False]]), _small_view([[False, False]], names=("b",))
    export_voc({"train": first, "val": second}, tmp_path, first.classes)
    export_voc({"train": second}, tmp_path, first.classes)
    assert VocFolder(tmp_path).splits == ("train",) and VocFolder(tmp_path).names("train") == ("b",)
    assert not (tmp_path / "JPEGImages/a.jpg").exists()


def test_an_interrupted_export_cannot_be_read_and_can_be_repeated(splits, tmp_path, monkeypatch):
    export_voc(splits, tmp_path, CLASSES, CONTEXTS)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(voc_export, "_write_tag_table", stop)
    with pytest.raises(KeyboardInterrupt):
        export_voc(splits, tmp_path, CLASSES, CONTEXTS)
    with pytest.raises(DataError, match="no split file") as caught:
        VocFolder(tmp_path).train_view("train")
    assert "interrupted export" in caught.value.fix
    monkeypatch.undo()
    export_voc(splits, tmp_path, CLASSES, CONTEXTS)
    VocFolder(tmp_path).check("train")


def test_links_are_not_followed_out_of_the_folder(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir(), root.mkdir()
    (outside / "precious.jpg").write_bytes(b"x")
    (root / "JPEGImages").symlink_to(outside)
    view = _small_view([[False, False]])
    export_voc({"train": view}, root, view.classes, overwrite=True)
    assert [path.name for path in outside.iterdir()] == ["precious.jpg"]
    assert not (root / "JPEGImages").is_symlink() and (root / "JPEGImages/a.jpg").exists()


@pytest.mark.parametrize("name", ["../a", "/tmp/a", "a/b", "..", "", ".hidden", "a b"])
def test_names_that_would_leave_the_folder(tmp_path, name):
    view = _small_view([[False, False]], names=(name,))
    with pytest.raises(DataError, match="no file names"):
        export_voc({"train": view}, tmp_path / "root", view.classes)
    with pytest.raises(DataError, match="no file names"):
        export_voc({name: _small_view([[False, False]])}, tmp_path / "root", view.classes)
    assert not (tmp_path / "root").exists()


def test_splits_that_do_not_fit_together(tmp_path):
    view, root = _small_view([[False, False]]), tmp_path / "root"
    for splits, classes, contexts, told in (
            ({"train": view, "val": view}, view.classes, (), "1 image names occur twice: a"),
            ({"train": view}, ("dog", "cat"), (), "split train has the classes cat, dog"),
            ({"train": view}, view.classes, ("grass",), "split train has the contexts"),
            ({}, view.classes, (), "nothing to export")):
        with pytest.raises(DataError, match=told):
            export_voc(splits, root, classes, contexts)
    assert not root.exists()
    root.write_text("")
    with pytest.raises(DataError, match="is a file"):
        export_voc({"train": view}, root, view.classes)
