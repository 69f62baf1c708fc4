"""Folders as they come: what is read as it was meant, and what the check of a whole folder says of the rest."""

import json
import os
import struct
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_views import write_photographs

from wsss_lab.data.files import image_named
from wsss_lab.data.folder import VocFolder
from wsss_lab.data.folder_check import NOTES, Finding, check_folder, table, told
from wsss_lab.data.pixels import read_image, read_labels, voc_palette
from wsss_lab.data.tags import tags_from_csv
from wsss_lab.errors import KINDS, DataError
from wsss_lab.lab import data_check, doctor
from wsss_lab.lab.profiles import profile_named
from wsss_lab.lab.session import start
from wsss_lab.settings import forecasting

TRAIN, MASK, PHOTO = "ImageSets/Segmentation/train.txt", "SegmentationClass/p1.png", "JPEGImages/p1.jpg"
XML = "<annotation><object><name>{}</name></object></annotation>"
ACCENT = "caf\u00e9"


@pytest.fixture
def root(tmp_path):
    """Four photographs of a cat or a dog, with masks and XML annotations."""
    root = write_photographs(tmp_path / "folder", masks=True)
    (root / "Annotations").mkdir()
    for index in range(4):
        (root / f"Annotations/p{index}.xml").write_text(XML.format(("cat", "dog")[index % 2]))
    return root


def findings(root, tags="auto"):
    return check_folder(VocFolder(root, tags), VocFolder(root).splits)


# --- read as it was meant --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [
    b"\xef\xbb\xbfp0\r\np1\r\np2\r\n",
    *("p0\np1\np2".encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")),
    "p0\u200b\n\n p1 \np2".encode(),
    b"./JPEGImages/p0.jpg\n../JPEGImages/p1\nC:\\photos\\p2.JPG\n",
    b"/JPEGImages/p0.jpg /SegmentationClassAug/p0.png\nJPEGImages/p1.jpg\tp1.png\np2 p2\n",
], ids=["mark", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "blanks", "paths", "two columns of one image"])
def test_a_list_is_read_in_every_form_that_can_mean_one_thing_only(root, content):
    (root / TRAIN).write_bytes(content)
    assert VocFolder(root).names("train") == ("p0", "p1", "p2") and findings(root) == []


@pytest.mark.parametrize("line", ["p1 0", "p0 p1", "q/p7.jpg", "p1.txt", "p", ""])
def test_a_line_that_can_mean_several_images_or_none_means_none(line):
    assert image_named(line, {"p0", "p1"}) is None


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".Jpeg"])
def test_names_are_compared_in_one_unicode_form_and_suffixes_without_capitals(root, form, suffix):
    (root / PHOTO).rename(root / "JPEGImages" / (unicodedata.normalize(form, ACCENT) + suffix))
    (root / MASK).rename(root / "SegmentationClass" / (unicodedata.normalize("NFD", ACCENT) + ".PNG"))
    (root / "Annotations/p1.xml").rename(root / f"Annotations/{ACCENT}.XML")
    (root / TRAIN).write_text(f"p0\n{ACCENT}\n", encoding="utf-8")
    view = VocFolder(root).eval_view("train")
    assert view.names == ("p0", ACCENT) and view.tags.tolist() == [[True, False], [False, True]]
    assert view.image(1).shape[:2] == view.mask(1).shape == (24, 36) and findings(root) == []
    (root / f"JPEGImages/{unicodedata.normalize('NFC', ACCENT)}.jpeg").write_bytes(b"")
    with pytest.raises(DataError, match="have one name"):
        VocFolder(root)


@pytest.mark.parametrize("lines", ["\ufeffcat\ndog\n", "__ignore__\n_background_\ncat\ndog\n", "Cat\nDOG\n"])
def test_class_lists_of_other_programs_keep_labels_and_tags_in_place(root, lines):
    (root / "classes.txt").write_text(lines, encoding="utf-8")
    folder = VocFolder(root)
    assert [name.lower() for name in folder.classes] == ["cat", "dog"] and findings(root) == []
    assert folder.train_view("train").tags.tolist() == [[True, False], [False, True], [True, False]]


@pytest.mark.parametrize("text", ["image;Cat;DOG\np0.jpg;1;0\nJPEGImages/p1.jpg;0;1\n",
                                  "\ufeffImage\tcat\tdog\np0\t1\t0\np1\t0\t1\n"], ids=["spreadsheet", "tabs"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_table_is_read_as_spreadsheets_write_it(tmp_path, text, encoding):
    path = tmp_path / "image_labels.csv"
    path.write_text(text, encoding=encoding)
    assert tags_from_csv(path, ["p0", "p1"], ["cat", "dog"]).values.tolist() == [[True, False], [False, True]]


def grey_png(labels, depth):
    """A grey PNG of 1, 2, 4 or 8 bits, as the standard has it."""
    bits = np.unpackbits(labels[..., None], axis=-1)[..., 8 - depth:].reshape(len(labels), -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(bits, axis=1))
    parts = ((b"IHDR", struct.pack(">IIBBBBB", *labels.shape[::-1], depth, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows)),
             (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_masks_of_few_bits_keep_their_labels(tmp_path, depth):
    labels = np.random.default_rng(0).integers(0, 2**min(depth, 5), (5, 11), np.uint8)
    (tmp_path / "grey.png").write_bytes(grey_png(labels, depth))
    palette = Image.fromarray(labels)
    palette.putpalette(voc_palette().tobytes())
    palette.save(tmp_path / "palette.png", bits=depth)
    for name in ("grey", "palette"):
        np.testing.assert_array_equal(read_labels(tmp_path / f"{name}.png"), labels)


def test_what_nobody_lists_stops_nothing(root):
    (root / "JPEGImages/spare.jpg").symlink_to("/not/mounted/spare.jpg")
    (root / "JPEGImages/._p0.jpg").write_bytes(b"Mac OS X")
    (root / "ImageSets/Segmentation/._train.txt").write_bytes(b"\0\5\x16\7Mac OS X")
    assert VocFolder(root).splits == ("train", "val") and findings(root) == []


# --- what the check says ---------------------------------------------------------------------------------------------


def put(path, content):
    """Damage: the file holds this, text or bytes, or what a function makes of what it held."""
    def damage(root):
        file = root / path
        made = content(file.read_bytes()) if callable(content) else content
        file.write_bytes(made.encode() if isinstance(made, str) else made)
    return damage


def draw(change, path=MASK, palette=None, **options):
    """Damage: an image is saved again, changed."""
    def damage(root):
        image = Image.fromarray(change(np.array(Image.open(root / path))))
        if palette is not None:
            image.putpalette(palette)
        image.save(root / path, **options)
    return damage


def as_void(mask):
    return np.where(mask > 0, 255, 0).astype(np.uint8)


def each_mask(change, *palette):
    """Damage: all masks are saved again, changed."""
    return lambda root: [draw(change, path.relative_to(root), *palette)(root)
                         for path in root.glob("SegmentationClass/*")]


def flagged(flag, *damages, path=PHOTO):
    """Damage: a photograph says how it is to be shown, and more."""
    def damage(root):
        exif = Image.Exif()
        exif[0x0112] = flag
        Image.open(root / path).copy().save(root / path, exif=exif)
        for more in damages:
            more(root)
    return damage


def as_link(root):
    (root / PHOTO).unlink()
    (root / PHOTO).symlink_to("/not/mounted/file")


def progressive_and_cut(root):
    image = Image.open(root / PHOTO).resize((360, 240))
    image.save(root / PHOTO, progressive=True)
    Image.fromarray(np.zeros((240, 360), np.uint8)).save(root / MASK)
    put(PHOTO, lambda data: data[:-400] + b"\xff\xd9")(root)


VOC_GREEN = (0, 0, 0, 0, 128, 0, 128, 0, 0)
OTHER_COLOURS = ((9, 9, 9, 250, 0, 0, 0, 0, 250), (9, 9, 9, 0, 0, 250, 250, 0, 0))
DAMAGES = {
    "photograph zero-filled": (put(PHOTO, lambda data: data[:700] + bytes(len(data) - 700)), PHOTO, "damaged"),
    "photograph cut and closed": (put(PHOTO, lambda data: data[:-100] + b"\xff\xd9"), PHOTO, "data end before"),
    "progressive photograph cut and closed": (progressive_and_cut, PHOTO, "data end before"),
    "photograph empty": (put(PHOTO, ""), PHOTO, "it is empty"),
    "photograph is a web page": (put(PHOTO, "\n<!DOCTYPE html>"), PHOTO, "a web page"),
    "photograph is a link to nothing": (as_link, PHOTO, "is a link to /not/mounted/file"),
    "photograph upside down": (flagged(3), PHOTO, "orientation flag 3"),
    "photograph on its side, mask upright": (flagged(6, draw(np.transpose)), MASK, "its orientation flag 6 shows it"),
    "photograph on its side, no mask": (flagged(6, lambda root: [path.unlink() for path in root.glob("Seg*/*")]),
                                        PHOTO, "networks see it as it is stored"),
    "mask renumbered": (draw(lambda mask: 2 - mask // 2, palette=VOC_GREEN), MASK, "VOC's colours"),
    "mask with another palette": (
        lambda root: [draw(lambda mask: mask, f"SegmentationClass/p{i}.png", OTHER_COLOURS[i == 3])(root)
                      for i in range(4)],
        "SegmentationClass/p3.png", "has the colour (250, 0, 0) for label 2, p0 for label 1"),
    "mask is a JPEG": (draw(lambda mask: mask, format="JPEG"), MASK, "a file of type JPEG"),
    "mask in colour": (draw(lambda mask: np.dstack([mask] * 3)), MASK, "mode RGB"),
    "mask of 16 bits": (draw(lambda mask: mask.astype(np.uint16)), MASK, "mode I;16"),
    "mask is a pointer": (put(MASK, "version https://git-lfs.github.com/spec/v1"), MASK, "Git LFS"),
    "mask is void": (draw(lambda mask: np.full_like(mask, 255)), MASK, "void everywhere"),
    "mask has only void for a tag": (draw(lambda mask: np.where(mask == 2, 255, 0).astype(np.uint8)), MASK,
                                     "shows no class, only void, and its image is tagged dog"),
    "mask has a label too many": (draw(lambda mask: mask + 1), MASK, "has the label 3"),
    "objects are 255": (each_mask(as_void), "SegmentationClass",
                        "not one mask of train has a class; they hold 0, 255"),
    "masks are empty": (each_mask(np.zeros_like), "SegmentationClass", "not one mask of val has a class; they hold 0 "),
    "masks of other classes": (each_mask(lambda mask: np.array([0, 2, 1], np.uint8)[mask]), "SegmentationClass",
                               "show cat, dog, and 0 of them"),
    "annotation is a web page": (put("Annotations/p1.xml", "<html><body/></html>"), "Annotations/p1.xml",
                                 "no annotation: it begins with <html>"),
    "annotation of an unknown encoding": (put("Annotations/p1.xml", '<?xml version="1.0" encoding="x"?><annotation/>'),
                                          "Annotations/p1.xml", "no annotation: unknown encoding"),
    "annotation without a name": (put("Annotations/p1.xml", XML.format(" ")), "Annotations/p1.xml", "no <name>"),
    "annotation of another class": (put("Annotations/p1.xml", XML.format("bird")), "Annotations",
                                    "objects of no listed class, which don't count: bird"),
    "no annotation of a split": (lambda root: (root / "Annotations/p3.xml").unlink(), "Annotations",
                                 "says nothing of any image of val"),
    "no annotation of an image": (lambda root: (root / "Annotations/p1.xml").unlink(), "Annotations/p1.xml", "no file"),
    "list names others": (put(TRAIN, "p0\np9\n"), TRAIN, "1 of 2 images are not in JPEGImages: p9"),
    "list has labels": (put(TRAIN, "p0 1\np1 -1\n"), TRAIN, "2 lines hold more than a name: p0 1, p1 -1"),
    "list names an image twice": (put(TRAIN, "p0\np0.jpg\n"), TRAIN, "repeats p0"),
    "list isn't UTF-8": (put(TRAIN, b"p0\n\xe9\n"), TRAIN, "byte 0xe9 in line 2"),
    "list is empty": (put(TRAIN, "\n"), TRAIN, "is empty"),
}


@pytest.mark.parametrize("damage, file, words", DAMAGES.values(), ids=DAMAGES)
def test_the_check_names_the_file_and_says_what_is_wrong_with_it(root, damage, file, words):
    damage(root)
    every = findings(root)
    found = [finding for finding in every if finding.file == file and words in finding.what]
    assert len(found) == 1 and found[0].fix and str(root) not in found[0].what, every
    if any(finding.stops for finding in every):
        with pytest.raises(DataError, match=r": \d+ problem"):
            told(root, every)
    else:
        assert told(root, every) == tuple(every)


@pytest.mark.parametrize("lines, words", [
    ("cat\nbackground\n", "lists background as class 2"), ("cat\nvoid\n", "lists void as class 2"),
    ("background\n", "lists 0 classes"),
    ("".join(f"{number}\n" for number in range(255)), "lists 255 classes"), ("cat\ndog\ncat\n", "repeats cat"),
])
def test_class_lists_that_fit_no_mask_are_refused(root, lines, words):
    (root / "classes.txt").write_text(lines)
    with pytest.raises(DataError, match=words) as caught:
        VocFolder(root)
    assert caught.value.expected and caught.value.fix


def test_annotations_without_any_listed_class_are_no_images_without_tags(root):
    (root / "classes.txt").write_text("kitten\npuppy\n")
    with pytest.raises(DataError, match="3 objects, and none is of a listed class: cat, dog") as caught:
        VocFolder(root).train_view("train")
    assert caught.value.expected == "kitten, puppy"


def test_masks_of_a_class_that_is_never_tagged_are_no_accident(root):
    """One class of three, all else in order: fewer than half of all pairs."""
    (root / "classes.txt").write_text("cat\nbird\ndog\n")
    for index in range(40):
        label = 1 + index % 3
        for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
            (root / f"{folder}/q{index}.{suffix}").write_bytes((root / f"{folder}/p0.{suffix}").read_bytes())
        draw(lambda mask, label=label: np.where(mask > 0, np.uint8(label), np.uint8(0)),
             f"SegmentationClass/q{index}.png")(root)
    (root / TRAIN).write_text("".join(f"q{index}\n" for index in range(40)))
    for tags, expected in ((("cat", "bird", "dog"), []),
                           (("cat", "cat", "dog"), ["masks of 13 images show bird, and 0 of them have this tag"])):
        for index in range(40):
            (root / f"Annotations/q{index}.xml").write_text(XML.format(tags[index % 3]))
        found = check_folder(VocFolder(root), ["train"])
        assert [finding.what.partition(" (")[0] for finding in found if finding.stops] == expected


@pytest.mark.parametrize("tags", ["csv", "masks"])
def test_a_split_may_show_backgrounds_alone(tmp_path, tags):
    root = write_photographs(tmp_path / "folder", masks=True)
    draw(as_void, "SegmentationClass/p3.png")(root)
    (root / "image_labels.csv").write_text("image,cat,dog\np0,1,0\np1,0,1\np2,1,0\n")
    found = findings(root, tags)
    assert not any(finding.stops for finding in found)
    assert any("not one mask of val has a class, nor" in finding.what for finding in found)
    draw(np.zeros_like, "SegmentationClass/p0.png")(root)
    each_mask(as_void)(root)
    assert any(finding.stops for finding in findings(root, tags))


@pytest.mark.parametrize("rows, file, words", [
    ("image,cat,dog\np0,1,0\np1,0,1\np2,1,0\n", "image_labels.csv", "says nothing of any image of val"),
    ("image,cat,dog\np0,1,0\np1,0,1\np3,0,1\n", "image_labels.csv", "1 of 3 images missing: p2"),
    ("image,cat,dog\np0,1,0\np1,0,1,1\n", "image_labels.csv", "row 3 has 4 values"),
    ("image,cat,dog\np0,0,1\np1,1,0\np2,0,1\np3,1,0\n", "SegmentationClass", "0 of them have this tag"),
])
def test_a_table_of_tags_is_checked_by_split_and_against_the_masks(tmp_path, rows, file, words):
    root = write_photographs(tmp_path / "folder", masks=True)
    assert findings(root) == []
    (root / "image_labels.csv").write_text(rows)
    assert any(finding.file == file and words in finding.what for finding in findings(root)), findings(root)


@pytest.mark.parametrize("damage", [
    flagged(6, flagged(3, path="JPEGImages/p2.jpg")),  # sizes tell that masks are as stored
    each_mask(lambda mask: mask, (9, 9, 9, 9, 9, 9, 0, 0, 250)),  # a palette with one colour for two labels
    put(PHOTO, lambda data: data.removesuffix(b"\xff\xd9")),
    put(PHOTO, lambda data: data + b"camera"),
], ids=["orientation flags", "colours twice", "no end mark", "bytes after the end"])
def test_what_is_unusual_and_no_problem(root, damage):
    before = read_image(root / PHOTO)
    damage(root)
    assert findings(root) == [] and VocFolder(root).check() == ()
    assert np.abs(read_image(root / PHOTO).astype(int) - before).mean() < 9


def test_pictures_beyond_pillows_limit_are_named(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 36 // 2 - 1)
    assert {finding.file for finding in findings(root)} == {f"JPEGImages/p{index}.jpg" for index in range(4)}
    assert all("is too large" in finding.what for finding in findings(root))
    with pytest.raises(DataError, match=r"p1\.png is too large"):
        read_labels(root / MASK)


def test_files_and_folders_that_are_closed_say_so(root, monkeypatch):
    def closed(place, *_):
        raise PermissionError(13, "Permission denied", str(place))

    view = VocFolder(root).train_view("train")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", closed)
        with pytest.raises(DataError, match=r"p1\.jpg: no permission"):
            view.image(1)
    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DataError, match="JPEGImages: no permission") as caught:
        VocFolder(root)
    assert "chmod" in caught.value.fix


def test_the_table_joins_files_of_one_finding_and_ends_with_a_count():
    rows = [Finding("b", "odd", "leave it", stops=False), *(Finding(name, "is cut", "fetch it") for name in "ac")]
    texts = (("file", "what", "what to do"), ("a, c", "is cut", "fetch it"), ("b", "odd", "leave it"))
    assert table(rows).splitlines() == [f"  {file:<36}{what:<52}{fix}" for file, what, fix in texts]
    assert table(Finding(str(n), str(n), "") for n in range(23)).splitlines()[-1] == "  and 3 more rows"


def test_every_kind_says_what_is_wrong_and_what_puts_it_right():
    assert all("{path}" in what and fix for what, _, fix in KINDS.values()) and set(NOTES) <= set(KINDS)


def test_all_problems_are_told_at_once_and_a_context_map_stops_nothing(root):
    """Images without a context map are left out of its scores."""
    (root / "SegmentationContext").mkdir()
    (root / "context_classes.txt").write_text("grass\n")
    for index in range(4):
        size = (24, 36) if index else (3, 3)
        Image.fromarray(np.ones(size, np.uint8)).save(root / f"SegmentationContext/p{index}.png")
    assert [(finding.file, finding.stops) for finding in findings(root)] == [("SegmentationContext/p0.png", False)]
    put(PHOTO, "")(root)
    (root / "SegmentationClass/p2.png").unlink()
    with pytest.raises(DataError, match=r"2 problems\n(.*\n)*.*p1.jpg(.*\n)*.*p2.png"):
        VocFolder(root).check("train")


# --- kept ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch, tmp_path):
    """How often the files of a folder have been read, with a run store of its own."""
    looks, found = [], VocFolder.check
    monkeypatch.setattr(VocFolder, "check", lambda self, *splits: looks.append(self.root) or found(self, *splits))
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "store"))
    return looks


def test_the_check_is_kept_until_a_file_or_its_code_changes(root, looks, monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(data_check, "MANY", 4)
    put("Annotations/p1.xml", XML.format("bird"))(root)
    notes = data_check.checked(root, said.append)
    assert [finding.file for finding in notes] == ["Annotations"]
    assert data_check.checked(str(root), said.append) == notes and len(looks) == 1
    assert said == [f"Looking through 4 photographs of {root}, once ..."]
    os.utime(root / MASK, ns=(1, 1))
    for expected in (2, 3):
        for _ in range(2):
            data_check.checked(root)
        assert len(looks) == expected
        monkeypatch.setattr(data_check, "code_of", lambda function: ("another", {}))
    kept, = (tmp_path / "store/.checked").iterdir()
    for damage in ("", "[]", "null", "3", json.dumps(json.loads(kept.read_text()) | {"notes": [[1]]})):
        kept.write_text(damage)
        assert data_check.checked(root) == notes
    assert len(looks) == 8


def test_problems_are_looked_for_again_and_a_store_that_is_closed_stops_nothing(root, looks, monkeypatch):
    put(PHOTO, "")(root)
    for _ in range(2):
        with pytest.raises(DataError, match="1 problem\n"):
            data_check.checked(root)
    monkeypatch.setenv("WSSS_CACHE", str(root / "classes.txt"))  # a file
    write_photographs(root / "sound", masks=False)
    assert data_check.checked(root / "sound") == () and len(looks) == 3


def test_the_doctor_and_the_start_of_a_run_look_into_the_data(root, looks, photographs, monkeypatch, capsys):
    monkeypatch.setenv("WSSS_DATA", str(root))
    assert doctor.check_data(os.environ).state == "ok"
    data_check.before_run(profile_named("photos"))
    assert len(looks) == 1 and not capsys.readouterr().out
    put("Annotations/p1.xml", XML.format("bird"))(root)
    data_check.before_run(profile_named("photos"))
    assert "bird" in capsys.readouterr().out and doctor.check_data(os.environ).state == "warn"
    data_check.before_run(profile_named("toy"))
    put(TRAIN, "p0\np9\n")(root)
    check = doctor.check_data(os.environ)
    assert check.state == "missing" and check.what.startswith(f"WSSS_DATA={root}: 1 problem\n") and "p9" in check.what
    with pytest.raises(DataError, match="p9"):
        start("oh2017", "photos", figures="")
    put(TRAIN, "p0\np1\np2\n")(root)
    looked = len(looks)
    with forecasting():
        start("oh2017", "photos", figures="")
    assert len(looks) == looked
    start("oh2017", "photos", figures="")
    assert len(looks) == looked + 1
