"""The knobs of the toy world: everything that makes it easier or harder, in one place."""

from dataclasses import dataclass, fields

from wsss_lab.errors import ParameterError

_SHARE = (0.0, 1.0)
_LENGTH = (3.0, 40.0)

# Smallest and largest accepted value of each knob; of a pair, of both its numbers.
_RANGES: dict[str, tuple[float, float]] = {
    "size": (32, 256),
    "context": _SHARE,
    "stray_context": _SHARE,
    "main_length": _LENGTH,
    "secondary_length": _LENGTH,
    "secondary": _SHARE,
    "touching_pair": _SHARE,
    "camouflage": _SHARE,
    "camouflage_blend": _SHARE,
    "quiet_main": _SHARE,
    "quiet_secondary": _SHARE,
    "quiet_length": _LENGTH,
    "quiet_blend": _SHARE,
    "distractor": _SHARE,
    "distractor_length": _LENGTH,
    "clutter": _SHARE,
    "clutter_length": (1.0, 40.0),
    "head": (0.3, 1.1),
    "mark": (0.3, 1.0),
    "contrast": (0.0, 0.5),
    "body_texture": (0.0, 0.5),
    "shadow": _SHARE,
    "illumination": _SHARE,
    "noise": (0.0, 0.3),
    "border": (0.0, 5.0),
    "min_visible": (1, 400),
}


@dataclass(frozen=True)
class Knobs:
    """How hard the toy world is. Lengths are in pixels of a 64-pixel picture, whatever `size` is.

    A pair is a range from which each object draws uniformly, except `secondary`.

    >>> Knobs(size=96, context=0.5).context
    0.5

    Raises ParameterError naming the knob whose value is out of range.
    """

    size: int = 64
    """Side of a picture in pixels. Scales everything: the same seed shows the same scene, larger."""
    context: float = 0.85
    """Probability that a main object of a class with a context stands in it (parrot in the sky)."""
    stray_context: float = 0.16
    """Probability of a random context stuff in a scene whose main object does not bring its own."""
    main_length: tuple[float, float] = (15.0, 28.0)
    """Half length of the body of a main object."""
    secondary: tuple[float, float] = (0.36, 0.50)
    """Probability of a secondary object, smaller and off centre, and of another one if there is one."""
    secondary_length: tuple[float, float] = (9.0, 17.0)
    """Half length of a secondary object of a loud class."""
    touching_pair: float = 0.15
    """Probability that the main object has a peer: another class, equally large, touching it."""
    camouflage: float = 0.18
    """Probability that a main object takes on the colour of the background around it."""
    camouflage_blend: tuple[float, float] = (0.45, 0.75)
    """How much of the background colour a camouflaged body takes on."""
    quiet_main: float = 0.18
    """Probability that the main object is of a quiet class."""
    quiet_secondary: float = 0.50
    """Probability that a secondary object is of a quiet class."""
    quiet_length: tuple[float, float] = (9.0, 14.0)
    """Half length of a quiet object; as a main object it is 1.3 times as long."""
    quiet_blend: tuple[float, float] = (0.30, 0.65)
    """How much of the local background colour a quiet body takes on."""
    distractor: float = 0.50
    """Probability of a salient animal that belongs to no class."""
    distractor_length: tuple[float, float] = (9.0, 20.0)
    """Half length of a distractor."""
    clutter: float = 0.45
    """Probability of each of two boulders lying about."""
    clutter_length: tuple[float, float] = (2.5, 7.0)
    """Half length of a boulder."""
    head: float = 0.83
    """Radius of the head relative to half the height of the body."""
    mark: float = 0.95
    """Share of the head's radius that is painted with the class pattern, the only evidence of the class."""
    contrast: float = 0.38
    """Smallest difference of a body from the background around it in one colour channel, before blending."""
    body_texture: float = 0.06
    """Standard deviation of the random texture of bodies (colours are in 0..1)."""
    shadow: float = 0.25
    """Darkness of the shadow an animal casts on the ground."""
    illumination: float = 0.14
    """Strength of the uneven light over the picture."""
    noise: float = 0.02
    """Standard deviation of the pixel noise (colours are in 0..1)."""
    border: float = 1.0
    """Width of the void line (255) around objects in a mask."""
    min_visible: float = 24
    """Smallest visible area in pixels; less of an object is void and gives no tag."""

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name), field.default)
            if isinstance(field.default, tuple):  # a list, as JSON gives it, becomes a pair
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))
        object.__setattr__(self, "size", int(self.size))


def _check(name: str, value, default) -> None:
    low, high = _RANGES[name]
    pair = isinstance(default, tuple)
    expected = f"{'two numbers' if pair else 'a number'} from {low:g} to {high:g}"
    if pair and name != "secondary":
        expected += ", the smaller one first"
    try:
        numbers = [float(v) for v in value] if pair else [float(value)]
    except (TypeError, ValueError):
        numbers = []
    fits = len(numbers) == (2 if pair else 1) and all(low <= v <= high for v in numbers)
    if pair and name != "secondary":
        fits = fits and numbers[0] <= numbers[1]
    if name == "size":
        fits = fits and numbers[0] == int(numbers[0])
        expected = f"a whole number from {low:g} to {high:g}"
    if not fits:
        raise ParameterError(
            f"toy world knob {name}={value!r} is out of range",
            expected,
            f"Knobs({name}={default!r}) is the default",
        )
