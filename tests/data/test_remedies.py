"""What is said of a devkit of PASCAL VOC that isn't whole: how much is missing, and what fetches it."""

import shutil

import pytest
from tiny_devkit import AUGMENTED, write_sbd, write_voc

from wsss_lab.data.augmented import build_augmented
from wsss_lab.data.folder import VocFolder
from wsss_lab.errors import DataError


@pytest.fixture
def devkit(tmp_path):
    """PASCAL VOC as `wsss data voc --to <tmp_path>` unpacks it; train has two images."""
    return write_voc(tmp_path / "VOCdevkit/VOC2012")


def problem_with(folder, split="train"):
    """What is said when a split is opened for scoring."""
    with pytest.raises(DataError) as caught:
        VocFolder(folder).eval_view(split)
    return caught.value


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
    error = problem_with(devkit)
    assert problem in error.problem and error.fix == f"wsss data voc --to {tmp_path}"
    fix = problem_with(devkit.rename(tmp_path / "mine")).fix  # another place can't be completed
    assert fix.startswith("wsss data voc, and") and "--to" not in fix


def test_the_augmented_set_is_completed_by_the_command_that_built_it(devkit, tmp_path):
    out = build_augmented(devkit, write_sbd(tmp_path / "sbd"), tmp_path / "my set", count=len(AUGMENTED))
    (out / f"SegmentationClassAug/{AUGMENTED[0]}.png").unlink()
    error = problem_with(out, "trainaug")
    assert "1 of 4 images of trainaug have no mask" in error.problem
    assert error.fix == f"wsss data trainaug --to '{out}' --voc {devkit} --sbd {tmp_path / 'sbd'}"


def test_a_folder_above_or_below_the_devkit_is_answered_with_the_right_one(devkit, tmp_path):
    for folder in (tmp_path, tmp_path / "VOCdevkit", devkit / "JPEGImages", devkit / "Annotations"):
        with pytest.raises(DataError, match="no image in JPEGImages") as caught:
            VocFolder(folder)
        assert caught.value.fix == f"did you mean {devkit}?"
    assert "wsss data" not in problem_with(devkit, "dev").fix  # a split that VOC doesn't have
