"""What lives in the toy world: its animals' heads, the stuff it is made of, and the knobs that make it hard."""

from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np

from wsss_lab.errors import ParameterError


class Head(NamedTuple):
    """Two colours (RGB in 0..1) and the pattern (see toyvoc_paint) in which the second one lies on the first."""

    pattern: str
    colour: tuple[float, float, float]
    second: tuple[float, float, float]


class Stuff(NamedTuple):
    """A background material. Colours are RGB in 0..1, the other numbers are amplitudes of brightness."""

    colour: tuple[float, float, float]
    jitter: float  # of the colour, from picture to picture
    coarse: float = 0.0  # blotches a quarter of the picture wide
    medium: float = 0.0  # blotches a tenth of the picture wide
    fine: float = 0.0  # grain
    blades: float = 0.0  # upright strokes
    waves: float = 0.0  # parallel waves
    frequency: float = 8.0  # of the waves, per picture
    angle: float = 0.0  # of the waves, radians from horizontal
    clouds: float = 0.0  # soft white patches
    glow: float = 0.0  # brightening towards the horizon


_CLASS_HEADS = {
    "ladybird": Head("spots", (0.90, 0.09, 0.10), (0.14, 0.04, 0.07)),
    "clownfish": Head("bands", (1.00, 0.47, 0.04), (1.00, 0.94, 0.85)),
    "parrot": Head("diagonal", (0.10, 0.24, 0.95), (0.72, 0.88, 1.00)),
    "gecko": Head("checks", (1.00, 0.30, 0.68), (0.66, 0.02, 0.40)),
    "peacock": Head("ring", (0.00, 0.55, 0.53), (0.45, 1.00, 0.88)),
    "bee": Head("bars", (1.00, 0.84, 0.05), (0.17, 0.12, 0.04)),
    "chameleon": Head("zigzag", (0.56, 0.95, 0.08), (0.16, 0.48, 0.04)),
    "moth": Head("star", (0.55, 0.06, 0.88), (0.98, 0.88, 0.66)),
}

CLASSES: tuple[str, ...] = tuple(_CLASS_HEADS)  # class index c (from 0) has label c + 1 in masks
QUIET = tuple(CLASSES.index(name) for name in ("chameleon", "moth"))  # whose objects are small and blend in

# Heads of animals of no class: no hue, or a dull one that no class has.
_OTHER_HEADS = (
    Head("spots", (0.95, 0.95, 0.95), (0.08, 0.08, 0.08)),
    Head("spots", (0.50, 0.30, 0.16), (0.93, 0.86, 0.72)),
    Head("bands", (0.10, 0.10, 0.10), (0.95, 0.95, 0.95)),
    Head("bands", (0.15, 0.19, 0.42), (0.68, 0.74, 0.82)),
    Head("diagonal", (0.58, 0.58, 0.58), (0.12, 0.12, 0.12)),
    Head("diagonal", (0.45, 0.12, 0.15), (0.90, 0.75, 0.74)),
    Head("checks", (0.93, 0.93, 0.93), (0.45, 0.45, 0.45)),
    Head("checks", (0.44, 0.43, 0.14), (0.88, 0.86, 0.68)),
    Head("ring", (0.09, 0.09, 0.09), (0.92, 0.92, 0.92)),
    Head("ring", (0.38, 0.16, 0.36), (0.86, 0.78, 0.84)),
    Head("bars", (0.42, 0.42, 0.42), (0.94, 0.94, 0.94)),
    Head("bars", (0.11, 0.32, 0.18), (0.74, 0.86, 0.74)),
    Head("zigzag", (0.95, 0.95, 0.95), (0.15, 0.15, 0.15)),
    Head("zigzag", (0.80, 0.66, 0.44), (0.40, 0.24, 0.12)),
    Head("star", (0.08, 0.08, 0.08), (0.90, 0.90, 0.90)),
    Head("star", (0.34, 0.44, 0.54), (0.96, 0.97, 0.98)),
)

_HEADS = tuple(_CLASS_HEADS.values()) + _OTHER_HEADS
TYPES = len(_HEADS)  # types of animals: the classes first, then those of no class
HEAD_PATTERN = np.array([head.pattern for head in _HEADS])
HEAD_COLOURS = np.array([(head.colour, head.second) for head in _HEADS], np.float32)  # (TYPES, 2, 3)

_CONTEXT_STUFF = {
    "grass": Stuff((0.42, 0.60, 0.30), 0.035, coarse=0.04, medium=0.02, fine=0.02, blades=0.075),
    "water": Stuff((0.36, 0.58, 0.66), 0.035, coarse=0.03, medium=0.02, waves=0.065, frequency=9.0),
    "sky": Stuff((0.52, 0.72, 0.90), 0.030, coarse=0.02, clouds=0.55, glow=0.10),
    "sand": Stuff((0.85, 0.75, 0.54), 0.03, coarse=0.04, medium=0.03, fine=0.03, waves=0.03, frequency=6.0, angle=0.25),
}

CONTEXTS: tuple[str, ...] = tuple(_CONTEXT_STUFF)  # stuff index k (from 0) has label k + 1 in context maps
CONTEXT_OF_CLASS = {"ladybird": "grass", "clownfish": "water", "parrot": "sky", "gecko": "sand"}

_PLAIN_ABOVE = (
    Stuff((0.93, 0.80, 0.72), 0.06, coarse=0.06, glow=0.10),  # dusk
    Stuff((0.80, 0.82, 0.83), 0.06, coarse=0.06, clouds=0.3),  # mist
    Stuff((0.78, 0.70, 0.76), 0.08, coarse=0.05, fine=0.015, waves=0.035, frequency=7.0, angle=1.57),  # wallpaper
    Stuff((0.40, 0.44, 0.46), 0.08, coarse=0.08, medium=0.05, blades=0.05),  # far wood
    Stuff((0.74, 0.66, 0.60), 0.09, coarse=0.08, medium=0.04),  # wall
)
_PLAIN_BELOW = (
    Stuff((0.91, 0.92, 0.95), 0.03, coarse=0.06, medium=0.03),  # snow
    Stuff((0.55, 0.53, 0.52), 0.07, coarse=0.05, medium=0.05, fine=0.06),  # rock
    Stuff((0.66, 0.50, 0.38), 0.07, coarse=0.05, waves=0.05, frequency=6.0, angle=0.05),  # planks
    Stuff((0.60, 0.45, 0.50), 0.10, coarse=0.05, fine=0.04, waves=0.03, frequency=12.0, angle=0.8),  # carpet
    Stuff((0.48, 0.40, 0.34), 0.06, coarse=0.05, medium=0.05, fine=0.06),  # soil
)

STUFF = tuple(_CONTEXT_STUFF.values()) + _PLAIN_ABOVE + _PLAIN_BELOW
# Indices into STUFF of what may fill the upper and the lower part, and of the contexts that fill the upper one.
ABOVE = tuple(range(len(CONTEXTS), len(CONTEXTS) + len(_PLAIN_ABOVE)))
BELOW = tuple(range(ABOVE[-1] + 1, len(STUFF)))
UPPER_CONTEXTS = (CONTEXTS.index("sky"),)
# STUFF by property: arrays (len(STUFF),), for `colour` (len(STUFF), 3).
STUFF_TABLE = {name: np.array([getattr(stuff, name) for stuff in STUFF], np.float32) for name in Stuff._fields}

Pair = tuple[float, float]
SHARE, LENGTH = (0.0, 1.0), (3.0, 40.0)


def _knob(default, low: float, high: float, text: str):
    """A field of `Knobs` whose values lie in low .. high; of a pair, both its numbers."""
    return field(default=default, metadata={"range": (low, high), "help": text})


@dataclass(frozen=True)
class Knobs:
    """How hard the toy world is. Lengths are in pixels of a 64-pixel picture, whatever `size` is.

    A pair is a range from which each object draws uniformly, except `secondary`.

    >>> Knobs(size=96, context=0.5).context
    0.5

    Raises ParameterError naming the knob whose value is out of range.
    """

    size: int = _knob(64, 32, 256, "Side of a picture in pixels. Scales everything: the same seed shows the same "
                      "scene, larger.")
    context: float = _knob(0.97, *SHARE, "Probability that a main object of a class with a context stands in it "
                           "(parrot in the sky).")
    stray_context: float = _knob(0.46, *SHARE, "Probability of a random context stuff in the upper, and in the lower "
                                 "part of a scene whose main object brings none there.")
    main_length: Pair = _knob((12.0, 28.0), *LENGTH, "Half length of the body of a main object.")
    secondary: Pair = _knob((0.28, 0.50), *SHARE, "Probability of a secondary object, smaller and off centre, and of "
                            "another one if there is one.")
    secondary_length: Pair = _knob((7.0, 15.0), *LENGTH, "Half length of a secondary object of a loud class.")
    touching_pair: float = _knob(0.12, *SHARE, "Probability that the main object has a peer: another class, equally "
                                 "large, touching it.")
    camouflage: float = _knob(0.2, *SHARE, "Probability that a main object takes on the colour of the background "
                              "around it.")
    camouflage_blend: Pair = _knob((0.45, 0.75), *SHARE, "How much of the background colour a camouflaged body takes "
                                   "on.")
    quiet_main: float = _knob(0.18, *SHARE, "Probability that the main object is of a quiet class.")
    quiet_secondary: float = _knob(0.50, *SHARE, "Probability that a secondary object is of a quiet class.")
    quiet_length: Pair = _knob((8.0, 13.0), *LENGTH, "Half length of a quiet object; as a main object it is 1.3 times "
                               "as long.")
    quiet_blend: Pair = _knob((0.35, 0.70), *SHARE, "How much of the local background colour a quiet body takes on.")
    distractor: float = _knob(0.25, *SHARE, "Probability of a salient animal that belongs to no class.")
    distractor_length: Pair = _knob((9.0, 20.0), *LENGTH, "Half length of a distractor.")
    clutter: float = _knob(0.6, *SHARE, "Probability of each of two boulders lying about.")
    clutter_length: Pair = _knob((3.0, 8.0), 1.0, 40.0, "Half length of a boulder.")
    head: float = _knob(0.74, 0.3, 1.1, "Radius of the head relative to half the height of the body.")
    mark: float = _knob(0.95, 0.3, 1.0, "Share of the head's radius that is painted with the class pattern, the only "
                        "evidence of the class.")
    blend: Pair = _knob((0.0, 0.35), *SHARE, "How much of the background colour around it the body of any other "
                        "animal takes on.")
    coat: float = _knob(0.8, *SHARE, "Probability that a body has patches in the colour of the background around it.")
    kin: float = _knob(0.5, *SHARE, "Probability that a boulder, or an animal of no class, has the colour of the "
                       "main object.")
    ground_texture: float = _knob(2.8, 0.0, 5.0, "Strength of the texture of the ground.")
    grain: float = _knob(0.15, 0.0, 1.0, "Strength of the texture of everything, one or two pixels wide.")
    contrast: float = _knob(0.18, 0.0, 0.5, "Smallest difference of a body from the background around it in one colour "
                            "channel, before blending.")
    body_texture: float = _knob(0.06, 0.0, 0.5, "Standard deviation of the random texture of bodies (colours are in "
                                "0..1).")
    shadow: float = _knob(0.25, *SHARE, "Darkness of the shadow an animal casts on the ground.")
    illumination: float = _knob(0.14, *SHARE, "Strength of the uneven light over the picture.")
    noise: float = _knob(0.03, 0.0, 0.3, "Standard deviation of the pixel noise (colours are in 0..1).")
    border: float = _knob(1.0, 0.0, 5.0, "Width of the void line (255) around objects in a mask.")
    min_visible: float = _knob(24, 1, 400, "Smallest visible area in pixels; less of an object is void and gives no "
                               "tag.")

    def __post_init__(self) -> None:
        for knob in fields(self):
            object.__setattr__(self, knob.name, _checked(knob, getattr(self, knob.name)))


def _checked(knob, value):
    """The value, as a pair where the default is one (JSON gives a list). Raises ParameterError if out of range."""
    (low, high), pair = knob.metadata["range"], isinstance(knob.default, tuple)
    whole, ordered = knob.name == "size", pair and knob.name != "secondary"
    try:
        numbers = [float(each) for each in (value if pair else [value])]
    except (TypeError, ValueError):
        numbers = []
    fits = len(numbers) == (2 if pair else 1) and all(low <= number <= high for number in numbers)
    if not fits or ordered and numbers[0] > numbers[1] or whole and numbers[0] != int(numbers[0]):
        expected = f"{'two numbers' if pair else 'a whole number' if whole else 'a number'} from {low:g} to {high:g}"
        raise ParameterError(f"toy world knob {knob.name}={value!r} is out of range",
                             expected + ", the smaller one first" * ordered,
                             f"Knobs({knob.name}={knob.default!r}) is the default")
    return int(value) if whole else tuple(value) if pair else value
