"""Errors that say what is wrong, what was expected and how to put it right."""

from collections.abc import Iterable
from pathlib import Path


class LabError(Exception):
    """A problem a user can solve.

    problem: what is wrong, naming the file or argument. expected: what would have been accepted. fix: the command or
    step that puts it right.

    >>> print(LabError("no folder 'x'", "a VOC-layout folder", "set WSSS_DATA"))
    no folder 'x'
      expected: a VOC-layout folder
      fix: set WSSS_DATA
    """

    def __init__(self, problem: str, expected: str = "", fix: str = ""):
        self.problem, self.expected, self.fix = problem, expected, fix
        super().__init__(problem, expected, fix)

    def __str__(self) -> str:
        told = (("expected", self.expected), ("fix", self.fix))
        return "\n".join([self.problem, *(f"  {what}: {text}" for what, text in told if text)])


class DataError(LabError):
    """An image, mask, tag file or folder is missing or not as it should be."""


class WeightsError(LabError):
    """A weights file is missing, damaged or of another architecture."""


class ContractError(LabError):
    """Training code was about to see pixel labels without saying so."""


class TrainingError(LabError):
    """A training run went wrong, for instance with a loss that is not a number."""


class ParameterError(LabError):
    """A parameter, profile, paper or class is not known."""


def one_of(what: str, word: str, known: Iterable[str]) -> str:
    """The word; ParameterError, which lists the known ones, where it is none of them.

    >>> one_of("gate", "open", ("stochastic", "none"))
    Traceback (most recent call last):
    wsss_lab.errors.ParameterError: gate 'open' is not known
      expected: stochastic or none
    """
    if word not in known:
        raise ParameterError(f"{what} '{word}' is not known", " or ".join(known))
    return word


class SetupError(LabError):
    """Something is missing on the machine: a package, a device, a program."""


class StoreError(LabError):
    """The run store cannot be read or written."""


#: What can be wrong with a file of a data set: what is told of it, what was expected, what puts it right.
KINDS = {
    # files of any kind
    "absent": ("no file {path}", "one file per image of the split", "add it or correct the split list"),
    "dangling": ("{path} is a link to {target}, which isn't there", "a file, or a link to one",
                 "mount the disk that it points to, or put the file in its place"),
    "closed": ("{path}: no permission to read it", "files and folders that you may read",
               "give yourself that right: chmod -R u+rX"),
    "damaged": ("{path} is damaged or truncated: {reason}", "a complete file", "remove it and download it again"),
    "twice": ("{path} and {other} have one name", "one file per name, whatever its suffix", "remove one of them"),
    # lists of names
    "no text": ("{path} is no text in UTF-8: {reason}", "UTF-8, or UTF-16 with a byte order mark",
                "save it as UTF-8 in an editor, or: iconv -f WINDOWS-1252 -t UTF-8"),
    "empty list": ("{path} is empty", "one name per line, each once", "correct the list"),
    "repeats": ("{path} repeats {names}", "one name per line, each once", "correct the list"),
    "columns": ("{path}: {count} lines hold more than a name: {names}",
                "image names without folder and suffix, one per line",
                "keep the first column; labels of images belong into image_labels.csv or XML annotations"),
    "background": ("{path} lists {names} as class {number}",
                   "names of the classes 1 to 254, in order; 0 is background and 255 is void, without a line",
                   "remove the line, or move it to the top if masks count it as 0"),
    "many classes": ("{path} lists {number} classes", "1 to 254: masks have 8 bits, 0 is background and 255 is void",
                     "merge classes, in the list and in the masks"),
    # annotations
    "no annotation": ("{path} is no annotation: {reason}", "XML as PASCAL VOC has it, with <annotation> outermost",
                      "download or write the file again"),
    "no class": ("{path}: {count} objects, and none is of a listed class: {names}", "{expected}",
                 "write the classes as the annotations do, one per line, into classes.txt"),
    "other names": ("{path} names objects of no listed class, which don't count: {names}", "{expected}",
                    "nothing, if they shall not count; else add them to classes.txt and to the masks"),
    "untagged": ("{path} says nothing of any image of {split}", "", "nothing, if nothing is to be trained on them"),
    # photographs
    "too large": ("{path} is too large: {reason}", "pictures within Pillow's limit", "reduce it, and its mask alike"),
    "orientation": ("{path} has the orientation flag {flag}, which isn't applied: as stored, it is turned or mirrored, "
                    "and the size of its mask doesn't tell how that was drawn",
                    "photographs stored as they are shown",
                    "turn the file as its flag says: exiftran -ai, or mogrify -auto-orient"),
    "turned": ("{path} has the orientation flag {flag}, which isn't applied: networks see it as it is stored", "",
               "turn the file as its flag says: exiftran -ai, or mogrify -auto-orient"),
    "drawn upright": ("{path} is {found} pixels, drawn on {image} as its orientation flag {flag} shows it",
                      "{size}, the size of the photograph as it is stored, without the flag",
                      "turn the photograph as its flag says: exiftran -ai, or mogrify -auto-orient"),
    # masks
    "another size": ("{path} is {found} pixels", "{size}, the size of {image}", "write it again at that size"),
    "no PNG": ("{path} is a file of type {format}, whatever its suffix", "a PNG: other types may change the labels",
               "write the labels again as a PNG; renaming doesn't help"),
    "colours": ("{path} is a PNG of mode {mode}", "a palette PNG (mode P) or 8-bit grey (mode L) of labels",
                "write the label indices, not their colours"),
    "reindexed": ("{path} has the labels {labels} with VOC's colours of {meant}", "labels and colours that agree",
                  "write the labels again (an image program has renumbered the palette)"),
    "palettes": ("{path} has the colour {colour} for label {label}, {there} for label {other}",
                 "one colour per label in all masks",
                 "write the labels again with one palette (image programs renumber it, and the labels with it)"),
    "label": ("{path} has the label {labels}", "0 to {largest}, or 255 for void",
              "correct the file, or complete the class list"),
    "void only": ("{path} is void everywhere, so nothing of it is scored", "labels 0 to {largest}",
                  "annotate it, or take the image out of the list"),
    "only void": ("{path} shows no class, only void, and its image is tagged {names}", "", "see whether that is meant"),
    "no objects": ("{path}: not one mask of {split} has a class; they hold {labels}",
                   "0 for background, 1 to {largest} for classes, 255 for void, which isn't scored",
                   "write objects with the label of their class, 1 for the first"),
    "no tagged objects": ("{path}: not one mask of {split} has a class, nor are its images tagged; they hold {labels}",
                          "", "nothing, if these are backgrounds"),
    "disagree": ("{path}: masks of {count} images show {names}, and {agree} of them have this tag",
                 "masks and tags of the same classes", "put classes.txt into the order of the masks' labels"),
}  # fmt: skip


def problem(kind: str, path: Path, **facts: object) -> DataError:
    """The error of a kind (see KINDS) about a file or folder of a data set."""
    return DataError(*(text.format(path=path, **facts) for text in KINDS[kind]))
