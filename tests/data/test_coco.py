"""COCO 2014 with the masks of COCO-Stuff: tags, masks, what is left out, and what is refused."""

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsss_lab.data.coco import CocoFolder, label_table
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.errors import DataError
from wsss_lab.lab import worlds
from wsss_lab.lab.worlds import CocoWorld

#: In no order and with gaps, as in COCO: in order of their ids they are person, stop sign, toothbrush.
CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}]
#: (image, category, box, crowd); image 30 has none, image 40 only a crowd.
OBJECTS = {
    "train": [(20, 90, (2, 3, 16, 8), 0), (9, 1, (0, 0, 20, 16), 0), (9, 1, (20, 0, 10, 8), 0),
              (9, 13, (0, 0, 40, 32), 1)],
    "val": [(40, 1, (0, 0, 20, 20), 1)],
}
IMAGES = {"train": {20: (32, 40), 9: (32, 40), 30: (32, 40)}, "val": {40: (40, 32)}}
PLACES = {"json": "annotations/instances_train2014.json", "image": "images/train2014/COCO_train2014_000000000009.jpg",
          "mask": "stuffthingmaps/train2014/COCO_train2014_000000000009.png"}


def name_of(split, number):
    return f"COCO_{split}2014_{number:012d}"


def stuff_map(number, size):
    """Stuff 120 everywhere but for things, a thing without a category, and pixels without a label."""
    labels = np.full(size, 120, np.uint8)
    if number == 9:
        labels[4:8, 4:8], labels[4:8, 12:16] = 0, 12  # person, stop sign
    if number == 20:
        labels[4:8, 4:8] = 89  # toothbrush
    labels[20:22], labels[24:26] = 11, 255  # 11 is category 12, which COCO doesn't annotate
    return labels


def write_json(root, split, **changes):
    content = {
        "info": {"year": 2014},
        "images": [{"id": number, "file_name": f"{name_of(split, number)}.jpg", "height": height, "width": width}
                   for number, (height, width) in IMAGES[split].items()],
        "annotations": [{"id": row, "image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd}
                        for row, (image, category, box, crowd) in enumerate(OBJECTS[split])],
        "categories": CATEGORIES,
    }
    (root / f"annotations/instances_{split}2014.json").write_text(
        json.dumps({**content, **changes}), encoding="utf-8-sig" if split == "val" else "utf-8")  # as some editors save


@pytest.fixture
def root(tmp_path):
    """Three photographs of 40x32 pixels in train and one of 32x40 in val."""
    (tmp_path / "annotations").mkdir()
    for split, images in IMAGES.items():
        for folder in ("images", "stuffthingmaps"):
            (tmp_path / folder / f"{split}2014").mkdir(parents=True)
        for number, size in images.items():
            rows, columns = np.mgrid[: size[0], : size[1]]
            photo = np.stack([rows * 4, columns * 4, rows * 0 + 2 * number], axis=2).astype(np.uint8)
            Image.fromarray(photo).save(tmp_path / f"images/{split}2014/{name_of(split, number)}.jpg")
            path = tmp_path / f"stuffthingmaps/{split}2014/{name_of(split, number)}.png"
            Image.fromarray(stuff_map(number, size)).save(path)
        write_json(tmp_path, split)
    return tmp_path


def test_without_maps_of_coco_stuff_masks_are_the_outlines(root):
    shutil.rmtree(root / "stuffthingmaps")
    square = [[2, 3, 6, 3, 6, 7, 2, 7]]
    write_json(root, "val", annotations=[{"id": 5, "image_id": 40, "category_id": 90, "bbox": [2, 3, 4, 4],
                                          "segmentation": square}])
    mask = CocoFolder(root).eval_view("val").mask(0)
    assert mask[3:7, 2:6].min() == 3 and (mask > 0).sum() == 16


def test_what_a_folder_holds_by_hand(root):
    """Images without an object are left out, and needn't exist; tags follow the ids and count crowds, facts don't."""
    (root / f"images/train2014/{name_of('train', 30)}.jpg").unlink()
    folder = CocoFolder(root)
    assert folder.splits == ("train", "val") and folder.classes == ("person", "stop sign", "toothbrush")
    view, val = folder.eval_view("train"), folder.eval_view("val")
    assert type(view) is EvalView and view.name == f"{root.name}/train" and view.classes == folder.classes
    assert view.names == folder.names("train") == (name_of("train", 9), name_of("train", 20))
    assert view.tags_source == "json instances_train2014.json" and not view.has_context
    assert view.size(0) == (32, 40) and view.image(0).shape == (32, 40, 3) and val.size(0) == (40, 32)
    assert view.tags.tolist() == [[True, True, False], [False, False, True]]
    assert val.tags.tolist() == [[True, False, False]]
    facts, (count, area) = folder.object_facts("train"), folder.object_facts("val")[0]
    assert facts.dtype == np.float64 and facts[:, 0].tolist() == [2, 1] and count == 0 and math.isnan(area)
    assert facts[:, 1] == pytest.approx([(320 + 80) / 2 / 1280, 128 / 1280])


def test_masks_have_classes_background_and_void(root):
    view = CocoFolder(root).eval_view("train")
    expected = np.zeros((32, 40), np.uint8)
    expected[24:26] = 255
    for row, labels in enumerate(((1, 2), (3, 0))):
        expected[4:8, 4:8], expected[4:8, 12:16] = labels
        np.testing.assert_array_equal(view.mask(row), expected)
    ids = [1, 2, 11, 13, 90]
    expected = [255 if value == 255 else ids.index(value + 1) + 1 if value + 1 in ids else 0 for value in range(256)]
    assert label_table(tuple((number, str(number)) for number in ids)).tolist() == expected
    assert view.mask(0).dtype == np.uint8


@pytest.mark.parametrize(("relabel", "told"), [
    (lambda maps: np.where(maps == 255, 0, maps + 1), "; they are where things count from 1"),
    (lambda maps: np.where(maps == 0, 89, np.where(maps == 12, 89, maps)), "annotates\n"),
])
def test_maps_with_other_labels_are_told_by_the_json(root, relabel, told):
    for path in (root / "stuffthingmaps").glob("*/*.png"):
        Image.fromarray(relabel(np.array(Image.open(path))).astype(np.uint8)).save(path)
    with pytest.raises(DataError, match="train2014: . of . things in maps looked at are none") as caught:
        CocoFolder(root).eval_view("train")
    assert told in str(caught.value) and ("255 for 0" in caught.value.fix) == ("count" in told)
    assert CocoFolder(root).train_view("train").tags.any()  # which reads no map


def test_photographs_and_masks_are_found_in_other_places(root):
    """Photographs beside the other folders, suffixes in capitals, masks under the names of 2017."""
    before = CocoFolder(root).eval_view("train")
    canvas, masks = before.canvas([0, 1], 32)[0], [before.mask(row) for row in range(2)]
    for split in ("train", "val"):
        (root / f"images/{split}2014").rename(root / f"{split}2014")
    path = root / "train2014" / Path(PLACES["image"]).name
    path.rename(path.with_suffix(".JPG"))
    for number, folder, suffix in ((9, "train2017", "png"), (20, "val2017", "PNG")):
        (root / "stuffthingmaps" / folder).mkdir()
        path = root / f"stuffthingmaps/train2014/{name_of('train', number)}.png"
        path.rename(root / f"stuffthingmaps/{folder}/{number:012d}.{suffix}")
    (root / "stuffthingmaps/train2014").rename(root / "stuffthingmaps/elsewhere")
    view = CocoFolder(root).eval_view("train")
    assert torch.equal(view.canvas([0, 1], 32)[0], canvas)
    np.testing.assert_array_equal([view.mask(row) for row in range(2)], masks)


def test_training_opens_no_mask_and_works_without_any(root, opened):
    view = CocoFolder(root).train_view("train")
    canvas = view.canvas([0, 1], 32)[0], view.size(0), view.image(1)
    assert opened and not any("stuffthingmaps" in path for path in opened)
    CocoFolder(root).eval_view("train").mask(0)
    assert any("stuffthingmaps" in path for path in opened)
    shutil.rmtree(root / "stuffthingmaps")
    view = CocoFolder(root).train_view("train")
    assert type(view) is TrainView and torch.equal(view.canvas([0, 1], 32)[0], canvas[0])
    assert CocoFolder(root).object_facts("train").shape == (2, 2) and CocoFolder(root).fingerprint


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost, words, expected, by_hand", [
    ("", "no folder ", "stuffthingmaps/", "annotations_trainval2014.zip"),
    ("annotations", "no file ", "images/", "annotations_trainval2014.zip"),
    ("annotations/instances_val2014.json", "no file .*instances_val2014.json", "one of the splits train", "choose one"),
    ("images/val2014", f"1 of 1 images of .* missing: {name_of('val', 40)}", "images/val2014 or val2014", "val2014"),
    ("stuffthingmaps/val2014", f"1 of 1 .* mask: {name_of('val', 40)}", "train2017 or val2017", "COCO-Stuff"),
])
def test_what_is_missing_is_named_and_can_be_fetched_by_a_command(root, lost, words, expected, by_hand):
    (root / lost).unlink() if (root / lost).is_file() else shutil.rmtree(root / lost)
    with pytest.raises(DataError, match=words) as caught:
        CocoFolder(root).eval_view("val")
    assert expected in caught.value.expected and by_hand in caught.value.fix
    assert caught.value.fix.endswith(f"or let the command do it: wsss data coco --to {root}")


@pytest.mark.parametrize("text", ["", '{"images": [', "\x00", "[1, 2]"])
def test_a_json_that_is_no_json_of_coco(root, text):
    (root / PLACES["json"]).write_text(text)
    with pytest.raises(DataError, match=r"instances_train2014\.json is damaged") as caught:
        CocoFolder(root).train_view("train")
    assert "images, annotations and categories" in caught.value.expected and "unpack" in caught.value.fix


@pytest.mark.parametrize(("part", "value", "message"), [
    *((part, value, f"no list {part}") for part, value in (("images", None), ("annotations", 1), ("categories", {}))),
    ("images", [{"id": 9}], "KeyError: 'file_name'"),
    ("images", [{"id": 9, "file_name": "a.jpg", "width": 0, "height": 3}], "ZeroDivisionError"),
    ("annotations", [], "no annotation of an object"),
    ("annotations", [3], "TypeError"),
    *(("annotations", [{"id": 5, "image_id": 9, "category_id": 1, "bbox": box}], told) for box, told in (
        ([1, 2, 3], "ValueError"), ([1, 2, 3, math.nan], r"annotation 5 has the box \[1, 2, 3, nan"),
        ([1, 2, 3, -1], "annotation 5 has the box"), ([1, 2, -3, 1], "annotation 5 has the box"),
        ([1, 2, 3, "4"], "TypeError"))),
    ("annotations", [{"id": 5, "image_id": 8, "category_id": 1}], "annotation 5 belongs to image 8"),
    ("annotations", [{"id": 5, "image_id": 9, "category_id": 2}], "image 9 and category 2, which are not both"),
    ("categories", [{"id": 92, "name": "banner"}], "category ids 92"),
    ("categories", [*CATEGORIES, {"id": 1, "name": "cat"}], "a category id comes twice"),
])
def test_entries_that_are_not_as_they_should_be(root, part, value, message):
    more = {"annotations": [{"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4]}]} if part == "images" else {}
    write_json(root, "train", **more, **{part: value})
    with pytest.raises(DataError, match=f"instances_train2014.json is damaged: .*{message}"):
        CocoFolder(root).train_view("train")


def test_splits_with_other_categories(root):
    write_json(root, "val", categories=[*CATEGORIES, {"id": 2, "name": "bicycle"}])
    folder = CocoFolder(root)
    assert len(folder.classes) == 3
    with pytest.raises(DataError, match=r"val2014\.json has other categories than instances_train2014\.json"):
        folder.names("val")


@pytest.mark.parametrize("labels, found, expected", [
    (np.zeros((40, 32), np.uint8), "is 32x40 pixels", f"40x32, the size of {name_of('train', 9)}.jpg"),
    (np.full((32, 40), 182, np.uint8), "has the label 182", "0 to 181, or 255 for void")])
def test_masks_of_another_size_or_with_other_values(root, labels, found, expected):
    Image.fromarray(labels).save(root / PLACES["mask"])
    with pytest.raises(DataError, match=f"0009\\.png {found}") as caught:
        CocoFolder(root).eval_view("train").mask(0)
    assert caught.value.expected == expected


# --- identity --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_the_fingerprint_follows_the_files(root, place):
    before = CocoFolder(root).fingerprint
    (root / "annotations/captions_train2014.json").write_text("{}")  # isn't read
    assert CocoFolder(root).fingerprint == before
    with (root / PLACES[place]).open("ab") as file:
        file.write(b" ")
    longer = CocoFolder(root).fingerprint
    os.utime(root / PLACES[place], ns=(1, 1))
    assert len({before, longer, CocoFolder(root).fingerprint}) == 3


def test_the_world_gives_views_whose_keys_follow_its_files_and_what_is_used_of_it(root):
    def key(split="train", masks=False, **options):
        worlds._coco.cache_clear()
        world = CocoWorld(str(root), **options)
        return (world.eval_view(split) if masks else world.train_view(split)).key

    before, world = key(), CocoWorld(str(root))
    assert key() == before and len({before, key("val"), key(masks=True), key(limit=1)}) == 4
    assert world.name == root.name and world.classes == ("person", "stop sign", "toothbrush")
    reference = world.train_view()
    view = reference.load(None)
    assert type(view) is TrainView and len(view) == 2 and reference.steps == () and not reference.exposes_masks
    assert np.unique(world.eval_view("train").load(None).mask(1)).tolist() == [0, 3, 255]
    assert CocoWorld(str(root), limit=1).train_view().load(None).names == view.names[:1]
    write_json(root, "train", annotations=[])
    assert key() != before
