"""Profiles: how much work a run does, and on which kind of data.

Only what all papers share is kept here; a paper's schedules per profile stand in its own file under
`wsss_lab/papers/`.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from wsss_lab.errors import DataError, ParameterError, WeightsError
from wsss_lab.settings import DATA, WEIGHTS, stands_in


@dataclass(frozen=True)
class Profile:
    """One way of running everything. name: what PROFILE= and --profile accept. summary: for help texts and run cards.
    world: "toyvoc" (images drawn by the package) or "folder" (photographs in VOC layout, from WSSS_DATA).
    needs_weights: whether pre-trained weights are read from the folder WSSS_WEIGHTS. caveat: what is written beside its
    tables and pictures, which are no results; "" for results."""

    name: str
    summary: str
    world: str
    needs_weights: bool = False
    caveat: str = ""

    @property
    def needs_data(self) -> bool:
        """Whether the images come from a folder that the user names."""
        return self.world == "folder"


LESSON = "lesson"
PROFILES = (Profile("quick", "every cell runs, with seconds per training; its numbers mean nothing", "toyvoc",
                    caveat="profile quick: networks of a few iterations, it means nothing"),
            Profile(LESSON, "networks that come with the package, on a few images: seconds per cell", "toyvoc",
                    caveat="profile lesson: few images, to look at and not to quote"),
            Profile("toy", "the full set of experiments on the toy world, without any download", "toyvoc"),
            Profile("toy-long", "the same with up to four times the training: hours, for verdicts", "toyvoc"),
            Profile("photos", "a folder of photographs in VOC layout, with ImageNet weights", "folder", True),
            Profile("voc", "the paper's data, networks and schedule (a GPU is advisable)", "folder", True))


def has_test(profile: str) -> bool:
    """Whether a profile's world has a test split with masks (VOC keeps its own, photographs have none)."""
    return any(each.name == profile and each.world == "toyvoc" for each in PROFILES)


def scales_as(profile: str) -> str:
    """The profile whose networks, schedules and sizes a profile has: of a lesson toy, else its own."""
    return "toy" if profile == LESSON else profile


def profile_named(name: str) -> Profile:
    """The profile of this name; ParameterError lists the known ones and the closest."""
    known = {profile.name: profile for profile in PROFILES}
    return known[named("profile", name, known)]


def unknown_name(kind: str, name: str, known: list[str]) -> ParameterError:
    """The error for a name that isn't among the known ones; suggests the closest.

    >>> print(unknown_name("profile", "tyo", ["quick", "toy"]))
    unknown profile 'tyo'
      expected: one of quick, toy
      fix: did you mean 'toy'?
    """
    close = get_close_matches(name, known, n=1)
    return ParameterError(f"unknown {kind} '{name}'",
                          f"one of {', '.join(known)}" if known else f"there is no {kind} to choose from",
                          f"did you mean '{close[0]}'?" if close else "")


def named(kind: str, name: str, known: Collection[str]) -> str:
    """The name, which is among the known ones; else raises `unknown_name`."""
    if name not in known:
        raise unknown_name(kind, name, list(known))
    return name


def check_inputs(profile: Profile, environment: Mapping[str, str] = os.environ) -> None:
    """Check that the folders a profile reads are named, and that those, and others that are named, are there. Raises
    DataError (WSSS_DATA and others) or WeightsError (WSSS_WEIGHTS) with the command that would work."""
    fix = f"make reproduce PROFILE={profile.name} WSSS_DATA=/path/to/photos WSSS_WEIGHTS=/path/to/weights"
    for variable, needed, expected, error in (
        (DATA, profile.needs_data, "a folder in VOC layout (JPEGImages, SegmentationClass, ImageSets)", DataError),
        (WEIGHTS, profile.needs_weights, "a folder with pre-trained weights", WeightsError),
    ):
        if needed and not stands_in(variable, profile.name):
            if not (folder := environment.get(variable, "")):
                raise error(f"profile '{profile.name}' needs {variable}, which isn't set", expected, fix)
            if not Path(folder).is_dir():
                raise error(f"{variable}={folder}: no such folder", expected, fix)
    for variable in ("WSSS_SALIENCY", "WSSS_COCO"):
        if (folder := environment.get(variable)) and not Path(folder).is_dir():
            raise DataError(f"{variable}={folder}: no such folder", fix="correct the path, or unset the variable")
