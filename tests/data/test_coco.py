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
    (root / f"annotations/instances_{split}2014.json").write_text(json.dumps({**content, **changes}))


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


# --- what there is ---------------------------------------------------------------------------------------------------


def test_what_a_folder_holds(root):
    folder = CocoFolder(root)
    assert folder.splits == ("train", "val") and folder.classes == ("person", "stop sign", "toothbrush")
    view = folder.eval_view("train")
    assert type(view) is EvalView and view.name == f"{root.name}/train" and view.classes == folder.classes
    assert view.names == folder.names("train") and view.tags_source == "json instances_train2014.json"
    assert view.size(0) == (32, 40) and view.image(0).shape == (32, 40, 3)
    assert not view.has_context and folder.eval_view("val").size(0) == (40, 32)


def test_images_without_an_object_are_left_out_and_tags_follow_the_ids_and_count_crowds(root):
    (root / f"images/train2014/{name_of('train', 30)}.jpg").unlink()  # shows no object, so needn't exist
    folder = CocoFolder(root)
    assert folder.names("train") == (name_of("train", 9), name_of("train", 20))
    assert folder.train_view("train").tags.tolist() == [[True, True, False], [False, False, True]]
    assert folder.train_view("val").tags.tolist() == [[True, False, False]]


def test_masks_have_classes_background_and_void(root):
    view = CocoFolder(root).eval_view("train")
    expected = np.zeros((32, 40), np.uint8)
    expected[24:26] = 255
    for row, labels in enumerate(((1, 2), (3, 0))):
        expected[4:8, 4:8], expected[4:8, 12:16] = labels
        np.testing.assert_array_equal(view.mask(row), expected)
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


def test_every_value_of_a_pixel_map_by_a_slow_reference():
    ids = [1, 2, 11, 13, 90]
    table = label_table(tuple((number, str(number)) for number in ids))
    for value in range(256):
        expected = 255 if value == 255 else ids.index(value + 1) + 1 if value + 1 in ids else 0
        assert table[value] == expected


def test_objects_are_counted_and_measured_without_crowds(root):
    folder = CocoFolder(root)
    facts = folder.object_facts("train")
    assert facts.dtype == np.float64 and facts[:, 0].tolist() == [2, 1]
    assert facts[:, 1] == pytest.approx([(320 + 80) / 2 / 1280, 128 / 1280])
    count, area = folder.object_facts("val")[0]
    assert count == 0 and math.isnan(area)


def test_photographs_may_lie_beside_the_other_folders(root):
    before = CocoFolder(root).train_view("train").canvas([0, 1], 32)[0]
    for split in ("train", "val"):
        (root / f"images/{split}2014").rename(root / f"{split}2014")
    path = root / "train2014" / Path(PLACES["image"]).name
    path.rename(path.with_suffix(".JPG"))
    assert torch.equal(CocoFolder(root).train_view("train").canvas([0, 1], 32)[0], before)


def test_masks_are_found_under_the_names_of_2017(root):
    before = [CocoFolder(root).eval_view("train").mask(row) for row in range(2)]
    for number, folder, suffix in ((9, "train2017", "png"), (20, "val2017", "PNG")):
        (root / "stuffthingmaps" / folder).mkdir()
        path = root / f"stuffthingmaps/train2014/{name_of('train', number)}.png"
        path.rename(root / f"stuffthingmaps/{folder}/{number:012d}.{suffix}")
    (root / "stuffthingmaps/train2014").rename(root / "stuffthingmaps/elsewhere")
    view = CocoFolder(root).eval_view("train")
    np.testing.assert_array_equal([view.mask(row) for row in range(2)], before)


def test_training_opens_no_mask_and_works_without_any(root, monkeypatch):
    def spy(path, *arguments, **keywords):
        opened.append(str(path))
        return read(path, *arguments, **keywords)

    read, opened = Image.open, []
    monkeypatch.setattr(Image, "open", spy)
    before = CocoFolder(root).train_view("train")
    canvas = before.canvas([0, 1], 32)[0], before.size(0), before.image(1)
    assert opened and not any("stuffthingmaps" in path for path in opened)
    CocoFolder(root).eval_view("train").mask(0)
    assert any("stuffthingmaps" in path for path in opened)
    shutil.rmtree(root / "stuffthingmaps")
    view = CocoFolder(root).train_view("train")
    assert type(view) is TrainView and view.tags.tolist() == before.tags.tolist()
    assert torch.equal(view.canvas([0, 1], 32)[0], canvas[0])
    assert CocoFolder(root).object_facts("train").shape == (2, 2) and CocoFolder(root).fingerprint


# --- errors ----------------------------------------------------------------------------------------------------------


def test_missing_folder_and_missing_json(root):
    with pytest.raises(DataError, match="no folder .*nowhere") as caught:
        CocoFolder(root / "nowhere")
    assert "annotations_trainval2014.zip" in caught.value.fix and "stuffthingmaps" in caught.value.expected
    (root / "annotations/instances_val2014.json").unlink()
    folder = CocoFolder(root)
    assert folder.splits == ("train",)
    for split in ("val", "test"):
        with pytest.raises(DataError, match=f"no file .*instances_{split}2014.json") as caught:
            folder.train_view(split)
        assert caught.value.expected == "one of the splits train"
    (root / PLACES["json"]).unlink()
    with pytest.raises(DataError, match=r"no file .*instances_train2014\.json"):
        CocoFolder(root)


@pytest.mark.parametrize("text", ["", '{"images": [', "\x00", "[1, 2]", "7"])
def test_a_json_that_is_no_json_of_coco(root, text):
    (root / PLACES["json"]).write_text(text)
    with pytest.raises(DataError, match=r"instances_train2014\.json is damaged") as caught:
        CocoFolder(root).train_view("train")
    assert "images, annotations and categories" in caught.value.expected and "unpack" in caught.value.fix


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({part: value}, f"no list {part}") for part in ("images", "annotations", "categories")
          for value in (None, {"1": 2})),
        ({"images": [{"id": 9}]}, "KeyError: 'file_name'"),
        ({"images": [{"id": 9, "file_name": "a.jpg", "width": 0, "height": 3}]}, "ZeroDivisionError"),
        ({"annotations": []}, "no annotation of an object"),
        ({"annotations": [3]}, "TypeError"),
        ({"annotations": [{"image_id": 9, "category_id": 1, "bbox": [1, 2, 3]}]}, "ValueError"),
        *(({"annotations": [{"id": 5, "image_id": 9, "category_id": 1, "bbox": [1, 2, 3, side]}]}, told)
          for side, told in ((math.nan, r"annotation 5 has the box \[1, 2, 3, nan"), (-1, "annotation 5 has the box"),
                             ("4", "TypeError"), (None, "TypeError"))),
        ({"annotations": [{"id": 5, "image_id": 8, "category_id": 1}]}, "annotation 5 belongs to image 8"),
        ({"annotations": [{"id": 5, "image_id": 9, "category_id": 2}]}, "image 9 and category 2, which are not both"),
        ({"categories": [{"id": 92, "name": "banner"}]}, "category ids 92"),
        ({"categories": [*CATEGORIES, {"id": 1, "name": "cat"}]}, "a category id comes twice"),
    ],
)
def test_entries_that_are_not_as_they_should_be(root, changes, message):
    if "images" in changes and "no list" not in message:
        changes = {**changes, "annotations": [{"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4]}]}
    write_json(root, "train", **changes)
    with pytest.raises(DataError, match=f"instances_train2014.json is damaged: .*{message}"):
        CocoFolder(root).train_view("train")


def test_splits_with_other_categories(root):
    write_json(root, "val", categories=[*CATEGORIES, {"id": 2, "name": "bicycle"}])
    folder = CocoFolder(root)
    assert len(folder.classes) == 3
    with pytest.raises(DataError, match=r"val2014\.json has other categories than instances_train2014\.json"):
        folder.names("val")


def test_images_without_a_file_are_counted_and_named(root):
    (root / PLACES["image"]).unlink()
    with pytest.raises(DataError, match=rf"1 of 2 images of .* are missing: {name_of('train', 9)}") as caught:
        CocoFolder(root).train_view("train")
    assert "images/train2014 or train2014" in caught.value.expected and "train2014.zip" in caught.value.fix
    shutil.rmtree(root / "images")
    with pytest.raises(DataError, match="2 of 2 images"):
        CocoFolder(root).names("train")


def test_masks_that_are_missing_or_of_another_size_or_with_other_values(root):
    def told(labels):
        Image.fromarray(labels).save(root / PLACES["mask"])
        with pytest.raises(DataError, match=r"0009\.png ") as caught:
            CocoFolder(root).eval_view("train").mask(0)
        return caught.value.problem.partition(".png ")[2], caught.value.expected

    assert told(np.zeros((40, 32), np.uint8)) == ("is 32x40 pixels", f"40x32, the size of {name_of('train', 9)}.jpg")
    assert told(np.full((32, 40), 182, np.uint8)) == ("has the label 182", "0 to 181, or 255 for void")
    (root / PLACES["mask"]).unlink()
    with pytest.raises(DataError, match=rf"1 of 2 images of train have no mask: {name_of('train', 9)}") as caught:
        CocoFolder(root).eval_view("train")
    assert "train2017 or val2017" in caught.value.expected and "stuffthingmaps" in caught.value.fix


@pytest.mark.parametrize("lost", ["annotations", "annotations/instances_val2014.json", "images/val2014",
                                  "stuffthingmaps"])
def test_what_is_missing_can_be_fetched_by_a_command(root, lost):
    shutil.rmtree(root / lost, ignore_errors=True)
    (root / lost).unlink(missing_ok=True)
    with pytest.raises(DataError) as caught:
        CocoFolder(root).eval_view("val")
    assert caught.value.fix.endswith(f"or let the command do it: wsss data coco --to {root}")


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


def test_the_world_gives_views_and_needs_no_steps(root):
    world = CocoWorld(str(root))
    assert world.name == root.name and world.classes == ("person", "stop sign", "toothbrush")
    reference = world.train_view()
    view = reference.load(None)
    assert type(view) is TrainView and len(view) == 2 and reference.steps == () and not reference.exposes_masks
    assert np.unique(world.eval_view("train").load(None).mask(1)).tolist() == [0, 3, 255]
    assert CocoWorld(str(root), limit=1).train_view().load(None).names == view.names[:1]


def test_the_key_of_the_world_follows_its_files_and_what_is_used_of_it(root):
    def key(split="train", masks=False, **options):
        worlds._coco.cache_clear()
        world = CocoWorld(str(root), **options)
        return (world.eval_view(split) if masks else world.train_view(split)).key

    before = key()
    assert key() == before
    assert len({before, key("val"), key(masks=True), key(limit=1)}) == 4
    write_json(root, "train", annotations=[])
    assert key() != before
