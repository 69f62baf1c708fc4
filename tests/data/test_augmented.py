"""The augmented training set of VOC: its list and the folder that is built."""

import hashlib
import os
import shutil

import numpy as np
import pytest
import tiny_devkit as tiny
from PIL import Image
from tiny_devkit import AUGMENTED, SIZE, sbd_mask, voc_mask, write_mat, write_sbd, write_voc

from wsss_lab.data.augmented import build_augmented, convert_masks, names_digest, read_sbd_labels
from wsss_lab.data.folder import VocFolder
from wsss_lab.data.pixels import read_labels
from wsss_lab.data.voc_export import voc_palette
from wsss_lab.errors import DataError

COUNT = len(AUGMENTED)


@pytest.fixture
def roots(tmp_path):
    return write_voc(tmp_path / "VOC2012"), write_sbd(tmp_path / "sbd")


def build(roots, out, **options):
    return build_augmented(*roots, out, count=COUNT, **options)


@pytest.mark.parametrize("which, file, command", [
    (0, "ImageSets/Segmentation/val.txt", "wsss data voc"), (1, "val.txt", "wsss data sbd")])
def test_missing_and_odd_lists_are_refused(roots, tmp_path, which, file, command):
    path = roots[which] / file
    for content in ("", "../../etc\n", "a\na\n", None):
        path.write_text(content) if content is not None else path.unlink()
        with pytest.raises(DataError, match="val.txt" if content is not None else "no file") as caught:
            build(roots, tmp_path / "out")
        assert command in caught.value.fix
    with pytest.raises(DataError, match=r"4 names, not 10,582: VOC train has 2, VOC val 2, SBD train and val 4"):
        build_augmented(write_voc(tmp_path / "voc"), write_sbd(tmp_path / "sbd2"), tmp_path / "out")


def check_built(out):
    folder = VocFolder(out)
    assert folder.splits == ("train", "trainaug", "val") and folder.tags_source == "xml"
    assert folder.names("train") == tiny.VOC_TRAIN and folder.names("val") == tiny.VOC_VAL
    assert folder.names("trainaug") == AUGMENTED
    for split in folder.splits:
        folder.check(split)
    view = folder.eval_view("trainaug")
    for row, name in enumerate(AUGMENTED):
        assert np.array_equal(view.mask(row), voc_mask() if name in tiny.VOC_TRAIN else sbd_mask())
    assert view.tags.argmax(axis=1).tolist() == [tiny.BIRD - 1, tiny.BIRD - 1, tiny.CAT - 1, tiny.CAT - 1]
    assert np.array_equal(folder.eval_view("val").mask(0), voc_mask())
    assert {path.stem for path in (out / "SegmentationClassAug").iterdir()} == {*AUGMENTED, *tiny.VOC_VAL}


def test_the_built_folder_has_three_splits_with_masks_and_no_copied_photographs(roots, tmp_path):
    """The digest of the sorted names is reported at the end."""
    reports = []
    out = build(roots, tmp_path / "new/out", report=lambda *said: reports.append(said))
    check_built(out)
    digest = hashlib.sha256(b"2007_000001\n2007_000002\n2008_000005\n2008_000006\n").hexdigest()
    assert names_digest(reversed(AUGMENTED)) == digest and reports[0][:2] == (0, 2) and digest in reports[-1][2]
    assert (out / "JPEGImages").is_symlink() and (out / "JPEGImages").samefile(roots[0] / "JPEGImages")
    check_built(out.rename(tmp_path / "moved"))


def test_without_links_what_the_splits_need_is_copied(roots, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no links here")

    shutil.copy(roots[0] / "JPEGImages/2007_000001.jpg", roots[0] / "JPEGImages/2012_004242.jpg")
    monkeypatch.setattr(os, "symlink", refuse)
    out = build(roots, tmp_path / "out")
    assert not any(path.is_symlink() for path in out.iterdir())
    assert {path.stem for path in (out / "JPEGImages").iterdir()} == {*AUGMENTED, *tiny.VOC_VAL}
    check_built(out)
    build(roots, tmp_path / "out")
    check_built(out)


def test_building_again_changes_nothing_and_puts_right_what_is_missing_or_another(roots, tmp_path):
    out = build(roots, tmp_path / "out")
    before = VocFolder(out).fingerprint
    build(roots, out)
    assert VocFolder(out).fingerprint == before
    (out / "SegmentationClassAug/2008_000006.png").unlink()
    Image.fromarray(sbd_mask()).save(out / "SegmentationClassAug/2007_000001.png")  # which VOC's mask replaces
    other = out / "SegmentationClassAug/2007_000002.png"
    os.utime(other, ns=(1, 1))
    build(roots, out)
    check_built(out)
    assert other.stat().st_mtime_ns == (roots[0] / "SegmentationClass/2007_000002.png").stat().st_mtime_ns


def test_damaged_masks_leave_a_folder_without_splits_that_can_be_completed(roots, tmp_path):
    broken = roots[1] / f"cls/{tiny.SBD_VAL[0]}.mat"
    broken.write_bytes(b"")
    with pytest.raises(DataError, match=tiny.SBD_VAL[0]):
        build(roots, tmp_path / "out")
    assert not (tmp_path / "out/ImageSets").exists()
    write_mat(broken, sbd_mask())
    check_built(build(roots, tmp_path / "out"))


@pytest.mark.parametrize("which, file, found, command", [
    (0, "JPEGImages/2008_000005.jpg", "1 of 6", "wsss data voc"),
    (0, "Annotations/2007_000003.xml", "1 of 6", "wsss data voc"),
    (0, "SegmentationClass/2007_000004.png", "1 of 4", "wsss data voc"),
    (1, "cls/2008_000006.mat", "1 of 2", "wsss data sbd"),
])  # fmt: skip
def test_missing_files_are_counted_before_anything_is_written(roots, tmp_path, which, file, found, command):
    (roots[which] / file).unlink()
    with pytest.raises(DataError, match=f"{found} files are missing") as caught:
        build(roots, tmp_path / "out")
    assert command in caught.value.fix and not (tmp_path / "out").exists()


def test_the_command_that_completes_a_folder_says_where_it_is(tmp_path):
    voc, sbd = write_voc(tmp_path / "my voc/VOCdevkit/VOC2012"), write_sbd(tmp_path / "sbd/benchmark_RELEASE/dataset")
    fetch_voc, fetch_sbd = f"wsss data voc --to '{tmp_path}/my voc'", f"wsss data sbd --to {tmp_path}/sbd"
    assert VocFolder(build((tmp_path / "my voc", tmp_path / "sbd"), tmp_path / "built")).names("trainaug") == AUGMENTED
    for change, told, command in (
            (lambda: shutil.rmtree(sbd / "cls"), "sbd: no folder cls", fetch_sbd),
            ((sbd / "cls").mkdir, "cls: 2 of 2 files are missing: 2008_000005, 2008_000006", fetch_sbd),
            (lambda: shutil.rmtree(voc / "Annotations"), "Annotations: 6 of 6 files are missing", fetch_voc),
            ((sbd / "val.txt").unlink, r"no file .*val\.txt", fetch_sbd),
            (lambda: shutil.rmtree(tmp_path / "my voc"), "no folder", fetch_voc)):
        change()
        with pytest.raises(DataError, match=told) as caught:
            build((tmp_path / "my voc", tmp_path / "sbd"), tmp_path / "out")
        assert caught.value.fix == f"run `{command}`"


def test_folders_of_others_are_left_alone(roots, tmp_path):
    with pytest.raises(DataError, match="not empty"):
        build(roots, roots[0])
    assert not (roots[0] / "SegmentationClassAug").exists()
    out = build(roots, tmp_path / "out")
    other = shutil.copytree(roots[1], tmp_path / "other")
    with pytest.raises(DataError, match="other folders"):
        build((roots[0], other), out)


@pytest.fixture
def three(tmp_path):
    """Folders cls and img with a, b and c."""
    for folder in ("cls", "img"):
        (tmp_path / folder).mkdir()
    for name in "abc":
        write_mat(tmp_path / f"cls/{name}.mat", sbd_mask())
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / f"img/{name}.jpg")
    return tmp_path


def convert(root, names="abc"):
    """What is reported."""
    reports = []
    convert_masks(root / "cls", root / "img", root / "out", names, lambda *said: reports.append(said))
    return reports


def test_labels_are_those_of_the_file(three):
    mat = three / "cls/a.mat"
    labels = read_sbd_labels(mat, SIZE)
    assert labels.dtype == np.uint8 and labels.flags.c_contiguous and np.array_equal(labels, sbd_mask())
    with pytest.raises(DataError, match=r"a.mat is 32x24 pixels, its photograph 24x32"):
        read_sbd_labels(mat, SIZE[::-1])
    for wrong, reason in ((np.full(SIZE, 21, np.uint8), "label 21"), (np.full(SIZE, 255, np.uint8), "label 255"),
                          (np.ones(SIZE), "uint8"), (np.ones((*SIZE, 3), np.uint8), "uint8")):
        write_mat(mat, wrong)
        with pytest.raises(DataError, match=reason):
            read_sbd_labels(mat, SIZE)


def test_damaged_files_are_refused(three):
    mat = three / "cls/a.mat"
    whole = mat.read_bytes()
    for content in (b"", b"no mat file" * 30, whole[: len(whole) // 2], whole[:150] + b"\0" * 20 + whole[170:]):
        mat.write_bytes(content)
        with pytest.raises(DataError, match="damaged or no mask of SBD"):
            read_sbd_labels(mat, SIZE)
    mat.unlink()
    with pytest.raises(DataError, match="no file(.|\n)*wsss data sbd"):
        read_sbd_labels(mat, SIZE)


def test_converted_masks_are_palette_pngs_with_the_colours_of_voc_and_those_that_are_there_are_kept(three):
    convert(three, "ab")
    assert sorted(path.name for path in (three / "out").iterdir()) == ["a.png", "b.png"]
    assert np.array_equal(read_labels(three / "out/b.png"), sbd_mask())
    with Image.open(three / "out/b.png") as image:
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((5, 2)) == tuple(voc_palette()[tiny.CAT]) == (64, 0, 0)
    (three / "out/a.png").write_bytes(b"kept")
    reports = convert(three)
    assert (three / "out/a.png").read_bytes() == b"kept" and (three / "out/c.png").is_file()
    assert [said[:2] for said in reports] == [(0, 1), (1, 1)] and "2 already there" in reports[0][2]


def test_all_sound_masks_are_converted_before_one_error_names_the_others(three):
    (three / "cls/a.mat").write_bytes(b"")
    (three / "img/b.jpg").unlink()
    with pytest.raises(DataError, match="2 of 3 masks") as caught:
        convert(three)
    assert [name in caught.value.problem for name in ("a.mat", "b.jpg", "c.mat")] == [True, True, False]
    assert [path.name for path in (three / "out").iterdir()] == ["c.png"]
