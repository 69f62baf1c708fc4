"""Folders in VOC layout: what they hold, how it is read, what is refused, and what their key follows."""

import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_devkit import AUGMENTED, write_sbd, write_voc
from tiny_views import write_photographs

from wsss_lab.data.augmented import build_augmented
from wsss_lab.data.canvas import canvas_box, to_canvas
from wsss_lab.data.folder import VOC_CLASSES, VocFolder
from wsss_lab.data.pixels import read_image, read_labels
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.errors import DataError, ParameterError

SIZE, TAGS = (24, 36), [[True, False], [False, True], [True, False]]
TRAIN, PHOTO, MASK = "ImageSets/Segmentation/train.txt", "JPEGImages/p0.jpg", "SegmentationClass/p0.png"


def write_labels(path, labels):
    """A palette PNG whose colours aren't VOC's."""
    image = Image.fromarray(labels)
    image.putpalette([value for label in range(256) for value in (label, 255 - label, 7)])
    image.save(path)


def write_xml(root, names=("p0", "p1", "p2", "p3")):
    (root / "Annotations").mkdir()
    for name in names:
        text = f"<annotation><object><name>{('cat', 'dog')[int(name[1]) % 2]}</name></object></annotation>"
        (root / f"Annotations/{name}.xml").write_text(text)


@pytest.fixture
def root(tmp_path):
    """Four photographs of a cat or a dog, p0 to p2 in train and p3 in val, with masks, contexts and a table of tags."""
    root = write_photographs(tmp_path / "folder", masks=True)
    (root / "SegmentationContext").mkdir()
    for path in (root / "SegmentationClass").iterdir():
        mask = np.array(Image.open(path))
        mask[0] = 255
        write_labels(path, mask)
        write_labels(root / "SegmentationContext" / path.name, 1 + (mask == 0).astype(np.uint8))
    (root / "context_classes.txt").write_text("grass\nsky\n")
    return root


def error_of(call, *arguments):
    with pytest.raises(DataError) as caught:
        call(*arguments)
    return caught.value


def test_what_a_folder_holds(root):
    folder = VocFolder(root)
    assert folder.classes == ("cat", "dog") and folder.context_classes == ("grass", "sky")
    assert folder.splits == ("train", "val") and folder.names("val") == ("p3",)
    view = folder.eval_view("train")
    assert type(view) is EvalView and view.name == "folder/train" and view.names == ("p0", "p1", "p2")
    assert view.tags.tolist() == TAGS and view.tags_source == "csv image_labels.csv"
    assert view.size(0) == SIZE and view.image(0).shape == (*SIZE, 3)
    assert np.unique(view.mask(1)).tolist() == [0, 2, 255] and np.unique(view.context(1)).tolist() == [1, 2]
    shutil.rmtree(root / "SegmentationContext")
    view = VocFolder(root).eval_view("train")
    assert not view.has_context and view.context(0) is None and view.context_classes == ()


def test_tags_are_looked_for_in_xml_then_csv_then_masks_and_can_be_chosen(root):
    def source(tags="auto"):
        folder = VocFolder(root, tags)
        view = folder.train_view("train")
        assert view.tags.tolist() == TAGS and view.tags_source.startswith(folder.tags_source)
        return folder.tags_source

    write_xml(root)
    assert [source(tags) for tags in ("auto", "xml", "csv", "masks")] == ["xml", "xml", "csv", "masks"]
    shutil.rmtree(root / "Annotations")
    assert source() == "csv"
    (root / "image_labels.csv").unlink()
    assert source() == "masks" and error_of(VocFolder, root, "csv").problem.endswith("no tags")
    shutil.rmtree(root / "SegmentationClass")
    assert error_of(VocFolder, root).problem.endswith("no tags")
    with pytest.raises(ParameterError, match="tags='xlm'"):
        VocFolder(root, tags="xlm")


def test_training_opens_no_mask_and_works_without_any(root, opened):
    view = VocFolder(root).train_view("train")
    before = view.canvas([0, 1], 32)[0], view.size(0), view.image(1)
    assert opened and not any("Segmentation" in path for path in opened)
    shutil.rmtree(root / "SegmentationClass")
    shutil.rmtree(root / "SegmentationContext")
    view = VocFolder(root).train_view("train")
    assert type(view) is TrainView and view.tags.tolist() == TAGS
    assert torch.equal(view.canvas([0, 1], 32)[0], before[0])
    assert "3 of 3 images of train have no mask: p0, p1, p2" in error_of(VocFolder(root).eval_view, "train").problem


def test_folders_without_class_list_are_voc(root):
    (root / "classes.txt").unlink()
    (root / "image_labels.csv").unlink()
    folder = VocFolder(root)
    assert folder.classes == VOC_CLASSES and len(VOC_CLASSES) == 20 and VOC_CLASSES[14] == "person"
    assert folder.train_view("train").tags[:, :2].tolist() == TAGS


def test_canvases_of_a_folder_and_their_cache(root):
    view = VocFolder(root).eval_view("train").subset([1, 0])
    pixels, boxes = view.canvas([0, 1], 12)
    expected, box = to_canvas(view.image(1), 12)
    np.testing.assert_array_equal(pixels[1].permute(1, 2, 0), expected)
    assert boxes[1].tolist() == list(box) == list(canvas_box(*SIZE, 12))
    pixels.zero_()  # the batch is the caller's; the cache keeps its own
    shutil.rmtree(root / "JPEGImages")
    np.testing.assert_array_equal(view.canvas([1], 12)[0][0].permute(1, 2, 0), expected)
    for other, side in ((view, 13), (pickle.loads(pickle.dumps(view)), 12)):  # a copy starts with an empty cache
        assert "no file" in error_of(other.canvas, [1], side).problem


def test_missing_and_empty_folders(tmp_path):
    error = error_of(VocFolder, tmp_path / "nowhere")
    assert error.problem.startswith("no folder") and "WSSS_DATA" in error.fix
    (tmp_path / "JPEGImages").mkdir()
    assert error_of(VocFolder, tmp_path).problem.endswith("no image in JPEGImages")
    (tmp_path / "JPEGImages/p0.png").touch()
    assert "no image in JPEGImages, only p0.png" in error_of(VocFolder, tmp_path).problem


def test_masks_that_do_not_fit(root):
    def told(read, labels, path=MASK):
        write_labels(root / path, labels)
        error = error_of(getattr(VocFolder(root).eval_view("train"), read), 0)
        return error.problem.removeprefix(f"{root / path} "), error.expected

    assert told("mask", np.zeros((36, 24), np.uint8)) == ("is 24x36 pixels", "36x24, the size of p0.jpg")
    odd = np.zeros(SIZE, np.uint8)
    odd[3, 3], odd[4, 4] = 3, 254
    assert told("mask", odd) == ("has the label 3, 254", "0 to 2, or 255 for void")
    assert told("context", odd, "SegmentationContext/p0.png")[0] == "has the label 3, 254"
    (root / MASK).unlink()
    for call in (VocFolder(root).eval_view, VocFolder(root, tags="masks").train_view):
        assert "1 of 3 images of train have no mask: p0" in error_of(call, "train").problem


@pytest.mark.parametrize("kept", [0, 0.2, 0.6, 0.98])
@pytest.mark.parametrize(("path", "read"), [(PHOTO, read_image), (MASK, read_labels)])
def test_truncated_files_are_named(root, path, read, kept):
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    Image.fromarray(noise if path == PHOTO else noise[..., 0]).save(root / path)
    data = (root / path).read_bytes()
    read(root / path)
    (root / path).write_bytes(data[: int(kept * (len(data) - 12))])  # the last chunk of a PNG holds no pixels
    error = error_of(read, root / path)
    assert f"{path} is damaged or truncated" in error.problem and "download" in error.fix


def test_photographs_of_ones_own_cannot_be_fetched(root):
    (root / MASK).unlink()
    assert error_of(VocFolder(root).eval_view, "train").fix.startswith("add the masks, or remove these images")
    write_xml(root, names=("p1", "p2"))
    error = error_of(VocFolder(root).train_view, "train")
    assert "1 of 3 images of train have no XML annotation: p0" in error.problem and 'tags="csv"' in error.fix
    (root / PHOTO).unlink()
    assert error_of(VocFolder(root).eval_view, "train").fix == "add the images or correct the list"
    (root / TRAIN).unlink()
    error = error_of(VocFolder(root).eval_view, "train")
    assert "no split file" in error.problem and error.expected == "one of val" and "choose one of these" in error.fix


def test_the_fingerprint_follows_the_files(root):
    seen = {VocFolder(root).fingerprint}

    def changed(tags="auto"):
        fingerprint, before = VocFolder(root, tags).fingerprint, len(seen)
        seen.add(fingerprint)
        return len(seen) > before

    (root / "JPEGImages/unlisted.jpg").write_bytes(b"in no split")
    assert not changed()
    os.utime(root / MASK, ns=(1, 1))
    assert changed()
    (root / "image_labels.csv").write_text("image,cat,dog\np0,1,1\np1,0,1\np2,1,1\np3,1,1\n")
    assert changed()
    (root / TRAIN).write_text("p0\n")
    assert changed()
    with (root / PHOTO).open("ab") as file:
        file.write(b"x")
    assert changed() and changed("masks")
    write_xml(root)
    assert changed()


# --- PASCAL VOC that isn't whole: how much is missing, and what fetches it --------------------------------------------


@pytest.fixture
def devkit(tmp_path):
    """PASCAL VOC as `wsss data voc --to <tmp_path>` unpacks it; train has two images."""
    return write_voc(tmp_path / "VOCdevkit/VOC2012")


@pytest.mark.parametrize(("lost", "problem"), [
    ("JPEGImages/2007_000001.jpg", "train.txt: 1 of 2 images are not in JPEGImages: 2007_000001"),
    ("SegmentationClass/2007_000002.png", "SegmentationClass: 1 of 2 images of train have no mask: 2007_000002"),
    ("Annotations/2007_000001.xml", "Annotations: 1 of 2 images of train have no XML annotation: 2007_000001"),
    ("ImageSets/Segmentation/train.txt", "no split file"),
    ("ImageSets/Segmentation", "no split file"),
    ("JPEGImages", "VOC2012: no image in JPEGImages"),
    ("SegmentationClass", "SegmentationClass: 2 of 2 images of train have no mask"),
])  # fmt: skip
def test_what_a_devkit_lacks_is_counted_with_the_command_that_fetches_it(devkit, tmp_path, lost, problem):
    path = devkit / lost
    path.unlink() if path.is_file() else shutil.rmtree(path)
    error = error_of(lambda: VocFolder(devkit).eval_view("train"))
    assert problem in error.problem and error.fix == f"wsss data voc --to {tmp_path}"
    moved = devkit.rename(tmp_path / "mine")  # a place that can't be completed
    fix = error_of(lambda: VocFolder(moved).eval_view("train")).fix
    assert fix.startswith("wsss data voc, and") and "--to" not in fix


def test_the_augmented_set_is_completed_by_the_command_that_built_it(devkit, tmp_path):
    out = build_augmented(devkit, write_sbd(tmp_path / "sbd"), tmp_path / "my set", count=len(AUGMENTED))
    (out / f"SegmentationClassAug/{AUGMENTED[0]}.png").unlink()
    error = error_of(VocFolder(out).eval_view, "trainaug")
    assert "1 of 4 images of trainaug have no mask" in error.problem
    assert error.fix == f"wsss data trainaug --to '{out}' --voc {devkit} --sbd {tmp_path / 'sbd'}"


def test_a_folder_above_or_below_the_devkit_is_answered_with_the_right_one(devkit, tmp_path):
    for folder in (tmp_path, tmp_path / "VOCdevkit", devkit / "JPEGImages", devkit / "Annotations"):
        error = error_of(VocFolder, folder)
        assert "no image in JPEGImages" in error.problem and error.fix == f"did you mean {devkit}?"
    assert "wsss data" not in error_of(VocFolder(devkit).eval_view, "dev").fix  # a split that VOC doesn't have
