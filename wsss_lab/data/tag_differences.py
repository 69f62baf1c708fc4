"""How far the tags of a folder depend on where they are read from: XML annotations or masks."""

from typing import NamedTuple

import numpy as np

from wsss_lab.data.folder import VocFolder


class TagDifferences(NamedTuple):
    """Where the two sets of tags of a split disagree.

    classes: C class names    image_count: N    names: the images with at least one difference
    only_xml, only_masks: int64 (C,), how many images have the class in one source alone
    """

    classes: tuple[str, ...]
    image_count: int
    names: tuple[str, ...]
    only_xml: np.ndarray
    only_masks: np.ndarray

    def __str__(self) -> str:
        class_count = np.count_nonzero(self.only_xml + self.only_masks)
        return (
            f"{len(self.names):,} of {self.image_count:,} images differ, in {class_count} of {len(self.classes)} "
            f"classes: {self.only_xml.sum():,} tags are in the XML alone, {self.only_masks.sum():,} in the masks alone"
        )


def tag_differences(folder: VocFolder, split: str) -> TagDifferences:
    """Compare the tags of a split from XML with those from masks; reads all its masks.

    folder: with annotations and masks, whatever its own `tags_source`
    Raises DataError for missing or damaged files of either source.

    Known reasons on VOC 2012, where papers differ in the source they take:
    - objects marked "difficult" are objects in the XML and may be void in the mask;
    - other objects have a box and not one pixel of their own: hidden, tiny, or overlooked in SBD's coarser masks;
    - SBD's masks were drawn by others than VOC's boxes, and may show an object that has no box.
    Parts of a person (head, hand, foot) are no reason here: they have names in the XML, but within their object,
    and neither source counts them. A reader that takes every `name` element must drop them by the list of classes.
    """
    annotated = VocFolder(folder.root, tags="xml").train_view(split)
    painted = VocFolder(folder.root, tags="masks").train_view(split)
    only_xml, only_masks = annotated.tags & ~painted.tags, painted.tags & ~annotated.tags
    rows = np.flatnonzero((only_xml | only_masks).any(axis=1))
    return TagDifferences(
        classes=folder.classes,
        image_count=len(annotated.names),
        names=tuple(annotated.names[row] for row in rows),
        only_xml=only_xml.sum(axis=0),
        only_masks=only_masks.sum(axis=0),
    )
