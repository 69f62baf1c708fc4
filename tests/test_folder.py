import os
import pickle
import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from wsss_lab.data.canvas import canvas_box, to_canvas
from wsss_lab.data.folder import VOC_CLASSES, VocFolder
from wsss_lab.data.folder_check import check_folder
from wsss_lab.data.pixels import CanvasCache, read_image, read_labels
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.errors import DataError, ParameterError

torch.set_num_threads(1)
NAMES = ("a", "b", "c")
TAGS = [[True, False], [False, True], [True, True]]


def _photo(height, width):
    """A smooth picture, which JPEG keeps within a few grey values."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) * 2], axis=2).astype(np.uint8)


def _write_labels(path, labels):
    image = Image.fromarray(labels)
    image.putpalette([value for label in range(256) for value in (label, 255 - label, 7)])
    image.save(path)


@pytest.fixture
def root(tmp_path):
    """Three images of 24x16 pixels (one 16x24), classes cat and dog, contexts grass and sky, splits train and val."""
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationContext", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    for name, present in zip(NAMES, TAGS, strict=True):
        height, width = (24, 16) if name == "c" else (16, 24)
        mask = np.zeros((height, width), np.uint8)
        mask[0] = 255
        for index in np.flatnonzero(present):
            mask[4 + 4 * index : 6 + 4 * index, 3:9] = index + 1
        Image.fromarray(_photo(height, width)).save(tmp_path / f"JPEGImages/{name}.jpg", quality=95)
        _write_labels(tmp_path / f"SegmentationClass/{name}.png", mask)
        _write_labels(tmp_path / f"SegmentationContext/{name}.png", 1 + (mask == 0).astype(np.uint8))
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "context_classes.txt").write_text("grass\nsky\n")
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("c\n\n")
    (tmp_path / "image_labels.csv").write_text("image,cat,dog\na,1,0\nb,0,1\nc,1,1\n")
    return tmp_path


def _write_xml(root, names=NAMES):
    (root / "Annotations").mkdir()
    for name, present in zip(NAMES, TAGS, strict=True):
        if name in names:
            objects = "".join(f"<object><name>{('cat', 'dog')[i]}</name></object>" for i in np.flatnonzero(present))
            (root / f"Annotations/{name}.xml").write_text(f"<annotation>{objects}</annotation>")


def test_what_a_folder_holds(root):
    folder = VocFolder(root)
    assert folder.classes == ("cat", "dog") and folder.context_classes == ("grass", "sky")
    assert folder.splits == ("train", "val") and folder.names("val") == ("c",)
    view = folder.eval_view("train")
    assert type(view) is EvalView and view.name == f"{root.name}/train" and view.names == ("a", "b")
    assert view.tags.tolist() == TAGS[:2] and view.tags_source == "csv image_labels.csv"
    assert view.size(0) == (16, 24) and view.image(0).shape == (16, 24, 3)
    assert np.abs(view.image(0).astype(int) - _photo(16, 24)).mean() < 5
    assert np.unique(view.mask(1)).tolist() == [0, 2, 255]
    assert np.unique(view.context(1)).tolist() == [1, 2]
    folder.check("train")


def test_tags_are_looked_for_in_xml_then_csv_then_masks(root):
    def resolved():
        folder = VocFolder(root)
        return folder.tags_source, folder.train_view("train").tags_source, folder.train_view("train").tags.tolist()

    _write_xml(root)
    assert resolved() == ("xml", "xml", TAGS[:2])
    shutil.rmtree(root / "Annotations")
    assert resolved() == ("csv", "csv image_labels.csv", TAGS[:2])
    (root / "image_labels.csv").unlink()
    assert resolved() == ("masks", "masks", TAGS[:2])
    shutil.rmtree(root / "SegmentationClass")
    with pytest.raises(DataError, match="no tags"):
        VocFolder(root)


def test_tags_can_be_chosen(root):
    _write_xml(root)
    assert VocFolder(root, tags="masks").train_view("val").tags_source == "masks"
    assert VocFolder(root, tags="csv").tags_source == "csv"
    (root / "image_labels.csv").unlink()
    with pytest.raises(DataError, match="no tags"):
        VocFolder(root, tags="csv")
    with pytest.raises(ParameterError, match="tags='xlm'"):
        VocFolder(root, tags="xlm")


def test_training_works_without_any_mask(root):
    before = VocFolder(root).train_view("train").canvas([0, 1], 32)[0]
    shutil.rmtree(root / "SegmentationClass")
    shutil.rmtree(root / "SegmentationContext")
    folder = VocFolder(root)
    view = folder.train_view("train")
    assert type(view) is TrainView and view.tags.tolist() == TAGS[:2]
    assert torch.equal(view.canvas([0, 1], 32)[0], before)
    with pytest.raises(DataError, match=r"2 of 2 images of train have no mask: a, b"):
        folder.eval_view("train")


def test_a_train_view_opens_nothing_but_photographs(root, monkeypatch):
    opened = []

    def spy(path, *arguments, **keywords):
        opened.append(str(path))
        return read(path, *arguments, **keywords)

    read = Image.open
    monkeypatch.setattr(Image, "open", spy)
    view = VocFolder(root).train_view("train")
    view.canvas([0, 1], 32), view.size(0), view.image(1)
    assert opened and not any("Segmentation" in path for path in opened)


def test_folders_without_class_list_are_voc(root):
    (root / "classes.txt").unlink()
    (root / "image_labels.csv").unlink()
    folder = VocFolder(root)
    assert folder.classes == VOC_CLASSES and len(VOC_CLASSES) == 20 and VOC_CLASSES[14] == "person"
    assert folder.train_view("train").tags[:, :2].tolist() == TAGS[:2]


def test_folders_without_contexts(root):
    shutil.rmtree(root / "SegmentationContext")
    view = VocFolder(root).eval_view("train")
    assert not view.has_context and view.context(0) is None and view.context_classes == ()
    VocFolder(root).check("train")


def test_canvases_of_a_folder_and_their_cache(root, monkeypatch):
    view = VocFolder(root).eval_view("train").subset([1, 0])
    pixels, boxes = view.canvas([0, 1], 12)
    expected, box = to_canvas(view.image(1), 12)
    np.testing.assert_array_equal(pixels[1].permute(1, 2, 0), expected)
    assert boxes[1].tolist() == list(box) == list(canvas_box(16, 24, 12))
    pixels.zero_()  # the batch is the caller's; the cache keeps its own
    for name in NAMES:
        (root / f"JPEGImages/{name}.jpg").unlink()
    np.testing.assert_array_equal(view.canvas([1], 12)[0][0].permute(1, 2, 0), expected)
    with pytest.raises(DataError, match="no file"):
        view.canvas([1], 13)
    with pytest.raises(DataError, match="no file"):
        pickle.loads(pickle.dumps(view)).canvas([1], 12)  # a copy starts with an empty cache


def test_the_cache_drops_the_least_recently_used():
    made = []

    def canvas(key):
        def make():
            made.append(key)
            return np.full((10, 10, 3), key, np.uint8), canvas_box(10, 10, 10)

        return cache.get((key, 10), make)[0][0, 0, 0]

    cache = CanvasCache(limit_bytes=650)  # room for two canvases of 300 bytes
    assert [canvas(key) for key in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert made == [1, 2, 3, 2]


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match="no folder .*nowhere") as caught:
        VocFolder(tmp_path / "nowhere")
    assert "WSSS_DATA" in caught.value.fix
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DataError, match="no image in JPEGImages"):
        VocFolder(tmp_path)


def test_an_unknown_split_lists_those_there_are(root):
    with pytest.raises(DataError, match=r"no split file .*test.txt") as caught:
        VocFolder(root).train_view("test")
    assert caught.value.expected == "one of train, val"
    shutil.rmtree(root / "ImageSets")
    with pytest.raises(DataError, match="no split file") as caught:
        VocFolder(root).train_view("train")
    assert "interrupted" in caught.value.fix


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a\nz\n", r"1 of 2 images are not in JPEGImages: z"),
        ("a\nb\na\n", r"train.txt repeats a"),
        ("\n", r"train.txt is empty"),
    ],
)
def test_split_lists_with_errors(root, lines, message):
    (root / "ImageSets/Segmentation/train.txt").write_text(lines)
    with pytest.raises(DataError, match=message):
        VocFolder(root).train_view("train")


def test_a_table_that_lacks_an_image_or_has_one_too_many(root):
    (root / "image_labels.csv").write_text("image,cat,dog\na,1,0\nc,1,1\n")
    VocFolder(root).train_view("val")  # rows of other splits are no extra rows
    with pytest.raises(DataError, match=r"1 of 2 images missing: b"):
        VocFolder(root).train_view("train")
    (root / "image_labels.csv").write_text("image,cat,dog\na,1,0\nb,0,1\nc,1,1\nghost,0,0\n")
    with pytest.raises(DataError, match=r"1 extra images that do not exist: ghost"):
        VocFolder(root).train_view("train")


def test_masks_that_are_missing(root):
    (root / "SegmentationClass/b.png").unlink()
    with pytest.raises(DataError, match=r"1 of 2 images of train have no mask: b"):
        VocFolder(root).eval_view("train")
    with pytest.raises(DataError, match=r"have no mask: b"):
        VocFolder(root, tags="masks").train_view("train")


def test_masks_of_another_size(root):
    _write_labels(root / "SegmentationClass/a.png", np.zeros((24, 16), np.uint8))
    view = VocFolder(root).eval_view("train")
    with pytest.raises(DataError, match=r"a\.png is 16x24 pixels") as caught:
        view.mask(0)
    assert caught.value.expected == "24x16, the size of a.jpg"


def test_labels_outside_the_classes(root):
    mask = np.zeros((16, 24), np.uint8)
    mask[3, 3], mask[4, 4] = 3, 254
    _write_labels(root / "SegmentationClass/a.png", mask)
    with pytest.raises(DataError, match=r"a\.png has the label 3, 254") as caught:
        VocFolder(root).eval_view("train").mask(0)
    assert caught.value.expected == "0 to 2, or 255 for void"
    _write_labels(root / "SegmentationContext/a.png", mask)
    with pytest.raises(DataError, match=r"SegmentationContext.*a\.png has the label 3, 254"):
        VocFolder(root).eval_view("train").context(0)


def test_masks_in_colour(root):
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(root / "SegmentationClass/a.png")
    with pytest.raises(DataError, match="mode RGB"):
        VocFolder(root).eval_view("train").mask(0)


def test_indices_are_read_not_colours(root):
    grey = np.array(Image.open(root / "SegmentationClass/a.png").convert("L"))
    labels = read_labels(root / "SegmentationClass/a.png")
    assert np.unique(labels).tolist() == [0, 1, 255] and not np.array_equal(grey, labels)
    Image.fromarray(labels).save(root / "SegmentationClass/a.png")  # mode L, as some label sets are published
    np.testing.assert_array_equal(read_labels(root / "SegmentationClass/a.png"), labels)


@pytest.mark.parametrize("kept", [0, 0.2, 0.6, 0.98])
def test_truncated_files_are_named(root, kept):
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    Image.fromarray(noise).save(root / "JPEGImages/a.jpg")
    _write_labels(root / "SegmentationClass/a.png", np.random.default_rng(0).integers(0, 3, (16, 24), np.uint8))
    for path, read in ((root / "JPEGImages/a.jpg", read_image), (root / "SegmentationClass/a.png", read_labels)):
        data = path.read_bytes()
        read(path)
        # The last chunk of a PNG (12 bytes) holds no pixels.
        path.write_bytes(data[: int(kept * (len(data) - 12))])
        with pytest.raises(DataError, match=rf"{path.name} is damaged or truncated") as caught:
            read(path)
        assert "download" in caught.value.fix


def test_bytes_after_the_end_of_a_jpeg_do_not_matter(root):
    path = root / "JPEGImages/a.jpg"
    before = read_image(path)
    path.write_bytes(path.read_bytes() + b"camera")
    np.testing.assert_array_equal(read_image(path), before)


def test_images_keep_the_geometry_of_their_masks(root):
    photo = Image.fromarray(_photo(16, 24))
    exif = photo.getexif()
    exif[0x0112] = 6  # "turn by 90 degrees to view"
    photo.save(root / "JPEGImages/a.jpg", exif=exif)
    assert cv2.imread(str(root / "JPEGImages/a.jpg")).shape == (24, 16, 3)  # what a viewer shows
    view = VocFolder(root).eval_view("train")
    assert view.image(0).shape[:2] == view.size(0) == view.mask(0).shape == (16, 24)


def test_check_reports_every_problem_at_once(root):
    (root / "ImageSets/Segmentation/train.txt").write_text("a\nb\nc\nz\n")
    data = (root / "JPEGImages/a.jpg").read_bytes()
    (root / "JPEGImages/a.jpg").write_bytes(data[: len(data) // 2])
    (root / "SegmentationClass/b.png").unlink()
    _write_labels(root / "SegmentationClass/c.png", np.full((24, 16), 77, np.uint8))
    _write_labels(root / "SegmentationContext/c.png", np.zeros((3, 3), np.uint8))
    found = {finding.file: finding.what for finding in check_folder(VocFolder(root), ["train"])}
    expected = {
        "ImageSets/Segmentation/train.txt": "1 of 4 images are not in JPEGImages: z",
        "JPEGImages/a.jpg": "is damaged or truncated",
        "SegmentationClass/b.png": "no file",
        "SegmentationClass/c.png": "has the label 77 (expected: 0 to 2",
        "SegmentationContext/c.png": "is 3x3 pixels (expected: 16x24",
    }
    assert found.keys() == expected.keys() and all(words in found[file] for file, words in expected.items())
    with pytest.raises(DataError, match="4 problems"):  # images without a context map are left out of its scores
        VocFolder(root).check("train")


def test_the_fingerprint_follows_the_files(root):
    seen = {VocFolder(root).fingerprint}
    assert VocFolder(root).fingerprint in seen

    def changed():
        fingerprint = VocFolder(root).fingerprint
        new = fingerprint not in seen
        seen.add(fingerprint)
        return new

    (root / "JPEGImages/unlisted.jpg").write_bytes(b"in no split")
    assert not changed()
    os.utime(root / "SegmentationClass/a.png", ns=(1, 1))
    assert changed()
    (root / "image_labels.csv").write_text("image,cat,dog\na,1,1\nb,0,1\nc,1,1\n")
    assert changed()
    (root / "ImageSets/Segmentation/train.txt").write_text("a\n")
    assert changed()
    with (root / "JPEGImages/a.jpg").open("ab") as file:
        file.write(b"x")
    assert changed()
    assert VocFolder(root, tags="masks").fingerprint not in seen
    _write_xml(root)
    assert changed()


def test_photographs_of_ones_own_cannot_be_fetched(root):
    def problem():
        with pytest.raises(DataError) as caught:
            VocFolder(root).eval_view("train")
        return caught.value

    (root / "SegmentationClass/a.png").unlink()
    assert problem().fix == "add the masks, or remove these images from the split list"
    _write_xml(root, names=("b",))
    assert problem().problem.endswith("1 of 2 images of train have no mask: a")
    with pytest.raises(DataError, match="1 of 2 images of train have no XML annotation: a") as caught:
        VocFolder(root).train_view("train")
    assert 'tags="csv"' in caught.value.fix
    (root / "JPEGImages/a.jpg").unlink()
    assert problem().fix == "add the images or correct the list"
    (root / "ImageSets/Segmentation/train.txt").unlink()
    assert "choose one of these" in problem().fix


def test_a_real_folder():
    root = os.environ.get("WSSS_DATA")
    if not root:
        pytest.skip("WSSS_DATA names no folder in VOC layout")
    folder = VocFolder(root)
    split = "val" if "val" in folder.splits else folder.splits[0]
    view = folder.eval_view(split).subset(range(min(16, len(folder.names(split)))))
    from_masks = VocFolder(root, tags="masks")
    pixels, boxes = view.canvas(range(len(view)), 96)
    assert pixels.shape == (len(view), 3, 96, 96) and (boxes[:, 2:].max(dim=1).values == 96).all()
    for i in range(len(view)):
        assert view.mask(i).shape == view.size(i) == view.image(i).shape[:2]
    # Image-level labels and masks describe the same photographs: nearly all entries agree.
    agreement = (from_masks.train_view(split).tags == folder.train_view(split).tags).mean()
    assert agreement > 0.95
