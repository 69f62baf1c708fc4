"""Masks painted from COCO's own outlines: polygons, run lengths, crowds, gaps in the ids, and what is no outline."""

import json

import numpy as np
import pytest

from wsss_lab.data.coco_outlines import OutlineMasks
from wsss_lab.errors import DataError

CATEGORIES = ((1, "person"), (13, "stop sign"), (90, "toothbrush"))
TRIANGLE = [[2, 2, 12, 2, 2, 12]]  # of area 50; 45 pixels in COCO, 66 where borders are painted
FLECK, SQUARE = [[3, 3, 5, 3, 5, 5, 3, 5]], [[12, 12, 16, 12, 16, 16, 12, 16]]
CROWD = {"size": [20, 20], "counts": [380, 20]}  # column by column: the last one


def masks(tmp_path, *objects):
    path = tmp_path / "instances_val2014.json"
    path.write_text(json.dumps({
        "images": [{"id": number, "file_name": f"{number}.jpg", "height": 20, "width": 20} for number in (7, 900)],
        "annotations": [{"id": row, "image_id": image, "category_id": category, "segmentation": outline}
                        for row, (image, category, outline) in enumerate(objects)]}))
    return OutlineMasks(path, ["900", "7"], CATEGORIES)


def test_objects_are_filled_as_coco_does_small_ones_last_and_crowds_as_their_class(tmp_path):
    found = masks(tmp_path, (900, 90, FLECK), (900, 1, TRIANGLE), (900, 13, CROWD), (7, 13, FLECK + SQUARE))
    mask = found.read(0)
    assert {label: (mask == label).sum() for label in (1, 2, 3)} == {1: 45 - 4, 2: 20, 3: 4}
    assert mask[2, 2:12].tolist() == [1] * 9 + [0] and mask[3:5, 3:5].min() == 3 and mask[:, 19].min() == 2
    assert np.array_equal(np.argwhere(found.read(1) == 2), [[y, x] for a in ((3, 5), (12, 16)) for y in range(*a)
                                                            for x in range(*a)])


@pytest.mark.parametrize("outline", [None, [], [[1, 2, 3, 4]], {"size": [4, 4], "counts": [16]}, {"size": [20, 20]}])
def test_what_is_no_outline_is_named(tmp_path, outline):
    with pytest.raises(DataError, match=r"instances_val2014.json: the outline of annotation 1 can't be read"):
        masks(tmp_path, (7, 1, SQUARE), (7, 1, outline)).read(1)
