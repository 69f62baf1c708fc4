"""Masks from the outlines of COCO's own annotations, where there are no maps of COCO-Stuff.

Outlines are polygons, or run lengths for crowds and some objects. They are filled by pycocotools, as COCO itself does:
other libraries give the same polygon more pixels, as they paint its border (findings/polygon_area.sh).
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss_lab.errors import DataError, SetupError


class OutlineMasks:
    """Masks by row, painted when they are read: uint8 (H, W), 0 background, 1..C classes.

    Objects are painted from the largest to the smallest, as COCO doesn't say which is in front; crowds as their class.
    """

    def __init__(self, path: Path, images: Sequence[str], categories: Sequence[tuple[int, str]]):
        """path: an instances_*.json. images: stems of file names, one per row. categories: (id, name), by id."""
        try:
            from pycocotools import mask
        except ImportError as error:
            raise SetupError("masks of COCO are painted by pycocotools, which isn't installed",
                             fix="pip install 'wsss-lab[coco]', or unpack stuffthingmaps_trainval2017.zip of COCO-Stuff"
                             ) from error
        self.path, self.rle = path, mask
        self.label = {category: label for label, (category, _) in enumerate(categories, start=1)}
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        of_image = defaultdict(list)
        for entry in content["annotations"]:
            of_image[entry["image_id"]].append(entry)
        known = {Path(entry["file_name"]).stem: entry for entry in content["images"]}
        self.rows = [(known[name]["height"], known[name]["width"], of_image[known[name]["id"]]) for name in images]

    def read(self, row: int) -> np.ndarray:
        """Raises DataError for an outline that isn't one."""
        height, width, objects = self.rows[row]
        regions = [(self.region(entry, height, width), self.label[entry["category_id"]]) for entry in objects]
        painted = np.zeros((height, width), np.uint8)
        for region, label in sorted(regions, key=lambda each: -each[0].sum()):
            painted[region] = label
        return painted

    def region(self, entry: Mapping[str, Any], height: int, width: int) -> np.ndarray:
        """The pixels of an annotation: bool (H, W)."""
        outline = entry.get("segmentation")
        try:
            if isinstance(outline, dict):
                if isinstance(outline["counts"], list):
                    outline = self.rle.frPyObjects(outline, height, width)
            else:
                outline = self.rle.merge(self.rle.frPyObjects(outline, height, width))
            region = self.rle.decode(outline).astype(bool)
        except Exception as error:  # pycocotools raises that itself
            region, problem = np.zeros(0), str(error)
        else:
            problem = f"of {' x '.join(map(str, region.shape))} pixels in an image of {height} x {width}"
        if region.shape != (height, width):
            raise DataError(f"{self.path}: the outline of annotation {entry.get('id')} can't be read: {problem}",
                            "polygons of at least three points, or run lengths of the image's size")
        return region
