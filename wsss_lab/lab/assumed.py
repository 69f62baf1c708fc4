"""PASCAL VOC 2012 and start weights that aren't on the disk yet: as much of them as a plan asks for.

What a run of the profile voc takes depends on how many images there are, and not on what they show. So it can be told
before anything is fetched. Only planning assumes; a run that lacks its data says so and ends.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

DATA, WEIGHTS = "WSSS_DATA", "WSSS_WEIGHTS"
_assuming: ContextVar[bool] = ContextVar("assuming", default=False)


@contextmanager
def assume() -> Iterator[None]:
    """While it is entered, what the profile voc reads is taken to be there where its variable isn't set."""
    before = _assuming.set(True)
    try:
        yield
    finally:
        _assuming.reset(before)


def planning() -> bool:
    """Whether something is planned: nothing is computed, and no image looked at."""
    return _assuming.get()


def assumed(variable: str, profile: str = "voc") -> bool:
    """Whether what a variable names, DATA or WEIGHTS, is assumed to be there."""
    return planning() and profile == "voc" and not os.environ.get(variable)


@dataclass(frozen=True)
class Listed:
    """What a folder in VOC layout tells of its images before it is looked into. splits: counts of images by list."""

    classes: tuple[str, ...]
    splits: dict[str, int]
    fingerprint = "VOC 2012, assumed"
    tags_source = "xml"

    def names(self, split: str) -> range:
        """As many as there are images in a list."""
        return range(self.splits[split])


@lru_cache
def voc2012() -> Listed:
    """VOC 2012 with the images that SBD adds."""
    from wsss_lab.data.augmented import COUNT, VOC_COUNTS
    from wsss_lab.data.folder import VOC_CLASSES

    return Listed(VOC_CLASSES, {"trainaug": COUNT} | VOC_COUNTS)


def told(profile: str) -> list[str]:
    """Sentences on what was assumed for a plan, with the commands that fetch it and their sizes."""
    from wsss_lab.lab.acquire import download_size

    lines = []
    if assumed(DATA, profile):
        counts = voc2012().splits
        lines += [f"{DATA} isn't set: counted for VOC 2012 with SBD, {counts['trainaug']:,} images to train on and "
                  f"{counts['val']:,} to score. To fetch them ({download_size('voc', 'sbd')}, as much again unpacked):",
                  "  wsss data voc && wsss data sbd && wsss data trainaug"]
    if assumed(WEIGHTS, profile):
        lines += [f"{WEIGHTS} isn't set: start weights are taken to be there. To fetch all but WideResNet-38's "
                  f"({download_size('imagenet-weights', 'saliency')}):",
                  "  wsss data imagenet-weights && wsss data saliency"]
    return lines
