"""Masks of SBD: what is read, converted and refused."""

import os

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat
from tiny_devkit import CAT, SIZE, sbd_mask, write_mat

from wsss_lab.data.pixels import read_labels
from wsss_lab.data.sbd import convert_masks, read_sbd_labels
from wsss_lab.data.voc_export import voc_palette
from wsss_lab.errors import DataError


@pytest.fixture
def mat(tmp_path):
    path = tmp_path / "a.mat"
    write_mat(path, sbd_mask())
    return path


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


def converted(root):
    return sorted(path.name for path in (root / "out").glob("*.png"))


def test_labels_are_those_of_the_file(mat):
    content = loadmat(mat)["GTcls"]  # by the access that public readers of SBD use
    assert content[0]["Segmentation"][0].dtype == np.uint8 and content[0]["Boundaries"][0].shape == (20, 1)
    assert content[0]["Boundaries"][0][0][0].toarray().shape == SIZE
    labels = read_sbd_labels(mat, SIZE)
    assert labels.dtype == np.uint8 and labels.flags.c_contiguous and np.array_equal(labels, sbd_mask())
    with pytest.raises(DataError, match=r"a.mat is 32x24 pixels, its photograph 24x32"):
        read_sbd_labels(mat, SIZE[::-1])


def test_damaged_files_are_refused(mat):
    whole = mat.read_bytes()
    for content in (b"", b"no mat file" * 30, whole[: len(whole) // 2], whole[:200] + b"\0" * 40 + whole[240:]):
        mat.write_bytes(content)
        with pytest.raises(DataError, match="damaged or no mask of SBD"):
            read_sbd_labels(mat, SIZE)
    mat.unlink()
    with pytest.raises(DataError, match="no file(.|\n)*wsss data sbd"):
        read_sbd_labels(mat, SIZE)


@pytest.mark.parametrize("labels, reason", [
    (np.full(SIZE, 21, np.uint8), "label 21"), (np.full(SIZE, 255, np.uint8), "label 255"),
    (np.ones(SIZE), "uint8"), (np.ones((*SIZE, 3), np.uint8), "uint8"),
])  # fmt: skip
def test_what_is_no_mask_is_refused(tmp_path, labels, reason):
    write_mat(tmp_path / "a.mat", sbd_mask(), Segmentation=labels)
    with pytest.raises(DataError, match=reason):
        read_sbd_labels(tmp_path / "a.mat", SIZE)


def test_converted_masks_are_palette_pngs_with_the_colours_of_voc(three):
    convert(three)
    assert sorted(path.name for path in (three / "out").iterdir()) == ["a.png", "b.png", "c.png"]
    assert np.array_equal(read_labels(three / "out/b.png"), sbd_mask())
    with Image.open(three / "out/b.png") as image:
        assert image.mode == "P"
        assert image.convert("RGB").getpixel((5, 2)) == tuple(voc_palette()[CAT]) == (64, 0, 0)


def test_converting_again_keeps_what_is_there(three):
    convert(three, "ab")
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
    assert converted(three) == ["c.png"]


def test_an_interrupted_write_leaves_no_mask(three, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(three)
    assert converted(three) == []
    monkeypatch.undo()
    convert(three)
    assert len(converted(three)) == 3


def test_a_long_conversion_reports_about_a_hundred_times(three, monkeypatch):
    for name, answer in (("read_sbd_labels", sbd_mask()), ("image_size", SIZE), ("write_labels", None)):
        monkeypatch.setattr(f"wsss_lab.data.sbd.{name}", lambda *_, answer=answer: answer)
    reports = convert(three, [f"n{row}" for row in range(1050)])
    assert len(reports) <= 110 and reports[0][0] == 0 and reports[-1][:2] == (1050, 1050)
