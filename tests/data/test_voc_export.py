import csv
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from wsss_lab.data import voc_export
from wsss_lab.data.folder import VocFolder
from wsss_lab.data.toyvoc import CLASSES as ANIMALS
from wsss_lab.data.toyvoc import CONTEXTS, make_scenes, toy_view
from wsss_lab.data.views import EvalView
from wsss_lab.data.voc_export import component_boxes, export_voc, voc_palette
from wsss_lab.errors import DataError

CLASSES = ("cat", "dog")


@pytest.fixture(scope="module")
def splits():
    scenes = {"train": make_scenes(12, 1), "val": make_scenes(5, 2)}
    return {split: toy_view(split, drawn, masks=True) for split, drawn in scenes.items()}


def _view(*tags, name="a", mask=None):
    """One black image of 6 x 8 pixels with these tags of cat and dog, and a mask of background unless given."""
    mask = np.zeros((1, 6, 8), np.uint8) if mask is None else mask[None]
    return EvalView.from_arrays("w/train", CLASSES, [name], np.array([tags or (False, False)]),
                                np.zeros((1, 6, 8, 3), np.uint8), "generator", masks=mask)


def test_the_palette_of_voc():
    palette = voc_palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    known = {1: [128, 0, 0], 3: [128, 128, 0], 15: [192, 128, 128], 20: [0, 64, 128], 255: [224, 224, 192]}
    assert palette[list(known)].tolist() == list(known.values())
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
    root = export_voc(splits, tmp_path / "new" / "toyvoc", ANIMALS, CONTEXTS)
    folder = VocFolder(root, tags=tags)
    assert folder.splits == ("train", "val") and folder.classes == tuple(ANIMALS)
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
    export_voc(splits, tmp_path, ANIMALS, CONTEXTS)
    view = splits["train"]
    with Image.open(tmp_path / f"SegmentationClass/{view.names[0]}.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image.convert("RGB")), voc_palette()[view.mask(0)])
    with Image.open(tmp_path / f"JPEGImages/{splits['val'].names[0]}.jpg") as image:
        assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # no chroma subsampling


def test_annotations_by_hand(tmp_path):
    """An object per component of a tagged class; one over the whole image where a tagged class has no pixel."""
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 2:5] = mask[5, 7] = 2
    export_voc({"train": _view(False, True, mask=mask), "val": _view(True, False, name="b", mask=mask)}, tmp_path,
               CLASSES)
    annotation, other = (ElementTree.parse(tmp_path / f"Annotations/{name}.xml").getroot() for name in "ab")
    assert annotation.findtext("filename") == "a.jpg"
    assert [annotation.findtext(f"size/{key}") for key in ("width", "height", "depth")] == ["8", "6", "3"]
    assert [entry.text for entry in annotation.findall("object/name")] == ["dog", "dog"]
    boxes, whole = ([[int(value.text) for value in box] for box in each.findall("object/bndbox")]
                    for each in (annotation, other))
    assert sorted(boxes) == [[3, 2, 5, 3], [8, 6, 8, 6]] and whole == [[1, 1, 8, 6]]
    assert not (tmp_path / "SegmentationContext").exists() and not (tmp_path / "context_classes.txt").exists()
    with open(tmp_path / "image_labels.csv", newline="") as file:
        assert list(csv.reader(file)) == [["image", "cat", "dog"], ["a", "0", "1"], ["b", "1", "0"]]
    assert VocFolder(tmp_path, tags="xml").train_view("val").tags.tolist() == [[True, False]]
    assert VocFolder(tmp_path, tags="masks").train_view("val").tags.tolist() == [[False, True]]


def test_a_foreign_folder_is_left_alone_unless_asked_and_links_out_of_it_are_not_followed(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    for folder in (outside, root / "JPEGImages"):
        folder.mkdir(parents=True)
        (folder / "mine.jpg").write_bytes(b"mine")
    (root / "notes.txt").write_text("mine")
    (root / "Annotations").symlink_to(outside)
    with pytest.raises(DataError, match="not empty") as caught:
        export_voc({"train": _view()}, root, CLASSES)
    assert "overwrite=True" in caught.value.fix
    assert sorted(path.name for path in root.rglob("*")) == ["Annotations", "JPEGImages", "mine.jpg", "notes.txt"]
    export_voc({"train": _view()}, root, CLASSES, overwrite=True)
    assert [path.name for path in (root / "JPEGImages").iterdir()] == ["a.jpg"]
    assert (root / "notes.txt").read_text() == "mine"
    assert [path.name for path in outside.iterdir()] == ["mine.jpg"] and (root / "Annotations/a.xml").exists()


def test_an_earlier_export_is_replaced(tmp_path):
    export_voc({"train": _view(), "val": _view(name="b")}, tmp_path, CLASSES)
    export_voc({"train": _view(name="b")}, tmp_path, CLASSES)
    assert VocFolder(tmp_path).splits == ("train",) and VocFolder(tmp_path).names("train") == ("b",)
    assert not (tmp_path / "JPEGImages/a.jpg").exists()


def test_an_interrupted_export_cannot_be_read_and_can_be_repeated(splits, tmp_path, monkeypatch):
    export_voc(splits, tmp_path, ANIMALS, CONTEXTS)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(voc_export, "_write_tag_table", stop)
    with pytest.raises(KeyboardInterrupt):
        export_voc(splits, tmp_path, ANIMALS, CONTEXTS)
    with pytest.raises(DataError, match="no split file") as caught:
        VocFolder(tmp_path).train_view("train")
    assert "interrupted export" in caught.value.fix
    monkeypatch.undo()
    export_voc(splits, tmp_path, ANIMALS, CONTEXTS)
    VocFolder(tmp_path).check("train")


@pytest.mark.parametrize("name", ["../a", "/tmp/a", "a/b", "..", "", ".hidden", "a b"])
def test_names_that_would_leave_the_folder(tmp_path, name):
    for splits in ({"train": _view(name=name)}, {name: _view()}):
        with pytest.raises(DataError, match="no file names"):
            export_voc(splits, tmp_path / "root", CLASSES)
    assert not (tmp_path / "root").exists()


def test_splits_that_do_not_fit_together(tmp_path):
    root = tmp_path / "root"
    for splits, classes, contexts, told in (
            ({"train": _view(), "val": _view()}, CLASSES, (), "1 image names occur twice: a"),
            ({"train": _view()}, ("dog", "cat"), (), "split train has the classes cat, dog"),
            ({"train": _view()}, CLASSES, ("grass",), "split train has the contexts"),
            ({}, CLASSES, (), "nothing to export")):
        with pytest.raises(DataError, match=told):
            export_voc(splits, root, classes, contexts)
    assert not root.exists()
    root.write_text("")
    with pytest.raises(DataError, match="is a file"):
        export_voc({"train": _view()}, root, CLASSES)
