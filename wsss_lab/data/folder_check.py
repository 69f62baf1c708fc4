"""The check of a whole folder in VOC layout: every file read once, and what only all of them together can tell."""

import os
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from wsss_lab.data.canvas import IGNORE
from wsss_lab.data.files import image_named, listing, some
from wsss_lab.data.folder import ANNOTATIONS, CONTEXTS, IMAGES, MASKS, TAG_TABLE, VocFolder
from wsss_lab.data.pixels import AS_STORED, TRANSPOSED, orientation, read_image
from wsss_lab.data.tags import folded, object_names
from wsss_lab.errors import DataError, problem

T = TypeVar("T")
ROWS, WIDTHS = 20, (34, 50, 36)  # of the table: rows at most, characters of a column
NOTES = ("no tagged objects", "other names", "only void", "turned", "untagged")  # kinds that stop nothing
OFTEN = 5  # images that show a class, from which on not one that is tagged with it is no accident


class Finding(NamedTuple):
    """A row of the check's table. stops: whether a run on the folder would be wrong or end in an error."""

    file: str
    what: str
    fix: str
    stops: bool = True


@dataclass
class _Seen:
    """What an image's files tell: labels of its mask, their colours, names of its objects, its orientation flag."""

    labels: tuple[int, ...] | None = None
    colours: dict[int, tuple[int, ...]] = field(default_factory=dict)
    objects: Sequence[str] = ()
    flag: int = AS_STORED
    sides: tuple[int, ...] = ()  # of the mask, where it fits the photograph as stored


def check_folder(folder: VocFolder, splits: Iterable[str]) -> list[Finding]:
    """Everything that is wrong or odd with the files of some splits.

    A split without any mask, or without any tag, is taken to be meant so, unless tags are read from masks.
    """
    return _Check(folder, splits).findings()


def told(root: Path, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings that stop nothing; any other raises one DataError with the table of all."""
    if stopping := [finding for finding in findings if finding.stops]:
        count = f"{len(stopping)} problem{'s' * (len(stopping) > 1)}"
        raise DataError(f"{root}: {count}\n{table(findings)}", "sound files",
                        "correct, download again or remove these files (and their names in the split lists)")
    return tuple(findings)


def table(findings: Iterable[Finding]) -> str:
    """Findings as text in three columns; files with the same finding share a row."""
    rows = defaultdict(list)
    for finding in sorted(findings, key=lambda finding: not finding.stops):
        rows[finding.what, finding.fix].append(finding.file)
    cells = [("file", "what", "what to do"), *((some(files), *texts) for texts, files in rows.items())]
    lines = []
    for row in cells[: ROWS + 1]:
        columns = [textwrap.wrap(text, width, break_long_words=False) for text, width in zip(row, WIDTHS, strict=True)]
        for parts in zip_longest(*columns, fillvalue=""):
            lines.append("  ".join(part.ljust(width) for part, width in zip(parts, WIDTHS, strict=True)).rstrip())
    more = [f"and {len(cells) - 1 - ROWS} more rows"] if len(cells) - 1 > ROWS else []
    return "\n".join(f"  {line}" for line in lines + more)


class _Check:
    """What is wrong or odd with a folder, collected by several threads."""

    def __init__(self, folder: VocFolder, splits: Iterable[str]):
        self.folder, self._errors = folder, []
        names = {split: self._names(split) for split in splits}
        every = tuple(dict.fromkeys(name for listed in names.values() for name in listed))
        source = folder.root / (ANNOTATIONS if folder.tags_source == "xml" else TAG_TABLE)
        masks, of_masks = listing(folder.root / MASKS, ".png"), folder.tags_source == "masks"
        tagged = set() if of_masks else self.trying(source, folder.tagged) or set()
        with_tags = [split for split, listed in names.items() if not tagged.isdisjoint(listed)]
        for split, listed in names.items():
            if listed and not of_masks and split not in with_tags and not self.about(source.name):
                self.kind("untagged", source, split=split)
        self._painted = {name for listed in names.values() if of_masks or not masks.keys().isdisjoint(listed)
                         for name in listed}
        self._annotated = {name for split in with_tags for name in names[split] if folder.tags_source == "xml"}
        self._labels = {kind: folder._labels(kind, every) for kind in (MASKS, *[CONTEXTS] * folder.has_context)}
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            paths = (folder._paths(kind, every) for kind in (IMAGES, ANNOTATIONS))
            seen = dict(zip(every, threads.map(self._look, range(len(every)), every, *paths), strict=True))
        tags = {}
        if not self.about(ANNOTATIONS):  # else told, file by file
            tags = {split: self.trying(source, partial(folder._read_tags, split, names[split])) for split in with_tags}
        self._masks_of_splits(names, seen, tags)
        self._palettes(seen)
        self._orientations(seen)
        known = set(map(folded, folder.classes))
        others = Counter(name for each in seen.values() for name in each.objects if folded(name) not in known)
        if others and not self.about(ANNOTATIONS):
            self.kind("other names", source, names=some(others), expected=some(folder.classes))

    def trying(self, path: Path, read: Callable[[], T], stops: bool = True) -> T | None:
        """What `read` returns; None where it raises, which is kept as an error about `path`."""
        try:
            return read()
        except DataError as error:
            self._errors.append((path, error, stops))
        return None

    def kind(self, kind: str, path: Path, **facts: object) -> None:
        """Add a finding of a kind that wsss_lab.errors.KINDS describes."""
        self._errors.append((path, problem(kind, path, **facts), kind not in NOTES))

    def about(self, folder: str) -> bool:
        """Whether something is wrong with a folder or with files in it."""
        return any(stops and folder in (path.name, path.parent.name) for path, _, stops in self._errors)

    def findings(self) -> list[Finding]:
        """Each once, by file."""
        rows = set()
        for path, error, stops in self._errors:
            what = error.problem.replace(str(path), "").lstrip(": ").rstrip()
            expected = f" (expected: {error.expected})" if error.expected else ""
            rows.add(Finding(path.relative_to(self.folder.root).as_posix(), what + expected, error.fix, stops))
        return sorted(rows, key=lambda row: (not row.stops, row))

    def _names(self, split: str) -> tuple[str, ...]:
        """The images that a list names; of an odd list, those that are there."""
        names = self.trying(self.folder._list_path(split), partial(self.folder.names, split))
        if names is None:
            with suppress(DataError):  # told already
                known = (image_named(line, self.folder._images) for line in self.folder._listed(split)[1])
                names = tuple(dict.fromkeys(filter(None, known)))
        return names or ()

    def _look(self, row: int, name: str, photograph: Path, annotation: Path) -> _Seen:
        """Read the files of one image: its mask, and its annotation, if there are to be any."""
        seen, masks = _Seen(), self._labels[MASKS]
        if name in self._annotated:
            seen.objects = self.trying(annotation, partial(object_names, annotation)) or ()
        if self.trying(photograph, partial(read_image, photograph, thoroughly=True)) is None:
            return seen
        seen.flag = self.trying(photograph, partial(orientation, photograph)) or AS_STORED
        if contexts := self._labels.get(CONTEXTS):  # scores count the images without one
            self.trying(contexts.paths[row], partial(contexts.read, row), stops=False)
        if name in self._painted and (read := self.trying(masks.paths[row], partial(masks.read_with_colours, row))):
            seen.sides, seen.colours = read[0].shape, read[1]
            seen.labels = tuple(np.flatnonzero(np.bincount(read[0].ravel())).tolist())
            if seen.labels == (IGNORE,):
                self.kind("void only", masks.paths[row], largest=masks.largest)
        return seen

    def _masks_of_splits(self, names: dict, seen: dict[str, _Seen], tags: dict) -> None:
        """Do the masks of a split show classes, and those of its tags? A split may be of backgrounds alone."""
        classes, place = self.folder.classes, self.folder.root / MASKS
        any_class = any(set(each.labels or ()) - {0, IGNORE} for each in seen.values())
        for split, listed in names.items():
            shown, agreed, held, known = Counter(), Counter(), set(), tags.get(split)
            for row, (name, labels) in enumerate((name, seen[name].labels) for name in listed):
                objects = set(labels or ()) - {0, IGNORE}
                held.update(labels or ())
                shown.update(objects)
                if known is not None and labels is not None:
                    tagged = set(1 + known.values[row].nonzero()[0])
                    agreed.update(objects & tagged)
                    if IGNORE in labels and not objects and tagged:
                        self.kind("only void", self.folder._paths(MASKS, [name])[0],
                                  names=some(classes[label - 1] for label in sorted(tagged)))
            if held and not shown:
                meant = any_class if known is None else not known.values.any()
                self.kind("no tagged objects" if meant else "no objects", place, split=split,
                          labels=some(map(str, sorted(held))), largest=len(classes))
            odd = [label for label, count in shown.items() if count >= OFTEN and not agreed[label]]
            if known is not None and (odd or 2 * agreed.total() < shown.total()):
                wrong = [label for label in sorted(shown) if 2 * agreed[label] < shown[label]]
                self.kind("disagree", place, names=some(classes[label - 1] for label in wrong),
                          count=sum(shown[label] for label in wrong), agree=sum(agreed[label] for label in wrong))

    def _palettes(self, seen: dict[str, _Seen]) -> None:
        """Has a colour the same label in all masks? Colours that one palette has twice tell nothing."""
        uses, vague = defaultdict(lambda: defaultdict(list)), set()  # names of images by colour and label
        for name, each in seen.items():
            vague |= {colour for colour, count in Counter(each.colours.values()).items() if count > 1}
            for label, colour in each.colours.items():
                uses[colour][label].append(name)
        for colour, labels in uses.items():
            usual = max(labels, key=lambda label: len(labels[label]))
            for label, names in labels.items():
                if label != usual and colour not in vague:
                    for path in self.folder._paths(MASKS, names):
                        self.kind("palettes", path, colour=colour, label=label, other=usual, there=labels[usual][0])

    def _orientations(self, seen: dict[str, _Seen]) -> None:
        """Photographs that are shown otherwise than they are stored: do sizes tell how masks were drawn?"""
        flagged = {name: each for name, each in seen.items() if each.flag != AS_STORED}
        if not any(each.flag >= TRANSPOSED and len(set(each.sides)) == 2 for each in flagged.values()):
            for path, each in zip(self.folder._paths(IMAGES, list(flagged)), flagged.values(), strict=True):
                self.kind("orientation" if each.sides else "turned", path, flag=each.flag)
