"""The ground of toy-world pictures: random fields, stuff, horizons, light and noise."""

from functools import lru_cache

import numpy as np

from wsss_lab.data.toyvoc_layout import Background, Rng
from wsss_lab.data.toyvoc_types import CONTEXTS, STUFF_TABLE


class Canvas:
    """A batch of n pictures being painted: square, `extent` units of length and `side` pixels wide.

    image: (n, 3, side, side) float32, about 0..1     owner: (n, side, side) uint8, 0 or 1 + object slot
    context: (n, side, side) uint8, 0 or 1 + context stuff    soft: (n, side, side) bool, edges of objects
    across, down: (1, side) and (side, 1), where the pixel centres lie, in units of length
    """

    def __init__(self, n: int, side: int, extent: float = 64.0):
        self.n, self.side, self.extent = n, side, extent
        self.pixels = side / extent  # per unit of length
        centres = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(self.pixels)
        self.across, self.down = centres[None, :], centres[:, None]
        self.image = np.zeros((n, 3, side, side), np.float32)
        self.owner = np.zeros((n, side, side), np.uint8)
        self.context = np.zeros((n, side, side), np.uint8)
        self.soft = np.zeros((n, side, side), bool)

    def coverage(self, distance: np.ndarray) -> np.ndarray:
        """Share of each pixel that is inside, for a signed distance in units (negative inside)."""
        return np.clip(np.float32(0.5) - distance * np.float32(self.pixels), 0, 1)


def column(values: np.ndarray) -> np.ndarray:
    """(m,) -> (m, 1, 1), to broadcast over pixels."""
    return values[:, None, None]


@lru_cache(maxsize=64)
def _interpolation(points: int, side: int) -> np.ndarray:
    """(side, points) weights of a smooth interpolation between `points` equally spaced values."""
    place = (np.arange(side, dtype=np.float32) + 0.5) / side * (points - 1)
    apart = np.abs(place[:, None] - np.arange(points, dtype=np.float32))
    return (0.5 + 0.5 * np.cos(np.pi * np.minimum(apart, 1))).astype(np.float32)


def random_field(rng: Rng, n: int, rows: int, columns: int, side: int) -> np.ndarray:
    """n smooth random fields (n, side, side) through rows x columns standard normal values."""
    values = rng.standard_normal((n, rows, columns), np.float32)
    return _interpolation(rows, side) @ values @ _interpolation(columns, side).T


class Fields:
    """The random fields of a batch of pictures, shared by ground and bodies (which shift them)."""

    def __init__(self, rng: Rng, canvas: Canvas):
        def draw(rows: int, columns: int) -> np.ndarray:
            share = canvas.extent / 64.0  # a picture that shows less of the world shows fewer blotches
            return random_field(rng, canvas.n, 1 + int(rows * share), 1 + int(columns * share), canvas.side)

        self.coarse, self.medium, self.fine = draw(4, 4), draw(12, 12), draw(36, 36)
        self.blades = draw(14, 44)


def paint_ground(canvas: Canvas, ground: Background, fields: Fields) -> np.ndarray:
    """Fill the canvas with stuff and set its context map.

    Returns (n, 2, 3) the mean colour of the upper and of the lower part.
    """
    across, down = canvas.across, canvas.down
    line = column(ground.slope) * (across - 32) + column(ground.roll) * np.sin(
        0.22 * across + column(ground.phase)
    )
    depth = down - column(ground.horizon) - line  # below the horizon, in units
    ridge = 0.6 + 0.4 * np.sin(0.13 * across + 2.3 * column(ground.phase)) + 0.3 * np.sin(0.31 * across)
    hills = column(ground.hills)
    above, below = (_stuff(canvas, ground, part, fields, depth) for part in (0, 1))
    means = np.stack([above.mean((2, 3)), below.mean((2, 3))], 1)
    image, low = canvas.image, canvas.coverage(-depth)[:, None]
    # Hazy hills: between the colours of both parts, and a little blue.
    haze = 0.5 * means[:, 0] + 0.5 * means[:, 1] * np.float32([0.85, 0.95, 1.1])
    hilly = (canvas.coverage(-depth - hills * ridge) * (hills > 0))[:, None]
    image[:] = above
    image += hilly * (haze[:, :, None, None] + 0.04 * fields.medium[:, None] - image)
    image += low * (below - image)
    upper, lower = _context_label(ground.stuff[:, 0]), _context_label(ground.stuff[:, 1])
    canvas.context[:] = np.where(depth > 0, column(lower), column(upper) * (hilly[:, 0] < 0.5))
    return means


def _context_label(stuff: np.ndarray) -> np.ndarray:
    return np.where(stuff < len(CONTEXTS), stuff + 1, 0).astype(np.uint8)


def _stuff(canvas: Canvas, ground: Background, part: int, fields: Fields, depth: np.ndarray) -> np.ndarray:
    """Pictures (n, 3, side, side) full of the stuff of the upper (0) or lower (1) part."""
    stuff, tint = ground.stuff[:, part], ground.tint[:, part]
    get = {name: column(values[stuff]) for name, values in STUFF_TABLE.items() if name != "colour"}
    step = -1 if part else 1  # the two parts see the same fields, one of them mirrored
    coarse, medium, fine = (f[:, :, ::step] for f in (fields.coarse, fields.medium, fields.fine))
    # Waves come closer together towards the horizon and are bent by the fields.
    distance = np.sqrt(np.abs(depth) + 2) * 7.0
    turned = distance * np.cos(get["angle"]) + canvas.across * np.sin(get["angle"])
    waves = np.sin(2 * np.pi / 64 * get["frequency"] * (turned + 2.5 * coarse + 0.8 * medium) + column(ground.phase))
    light = (
        get["coarse"] * coarse
        + get["medium"] * medium
        + get["fine"] * fine
        + get["blades"] * fields.blades
        + get["waves"] * waves
        + get["glow"] * np.exp(-np.abs(depth) / 14)
    )
    colour = STUFF_TABLE["colour"][stuff] + STUFF_TABLE["jitter"][stuff][:, None] * tint
    picture = np.clip(colour, 0.06, 0.97)[:, :, None, None] + light[:, None]
    clouds = get["clouds"] * np.clip(coarse + 0.45 * medium - 0.25, 0, 1.2)
    picture += clouds[:, None] * (0.97 - picture)
    return picture


def light_up(canvas: Canvas, rng: Rng, pixel_rng: Rng, illumination: float, noise: float) -> np.ndarray:
    """Uneven light, a colour cast and pixel noise. Returns the pictures, (n, side, side, 3) uint8."""
    n, side = canvas.n, canvas.side
    level = 1 + illumination * rng.uniform(-1.2, 1.2, (n, 1, 1)).astype(np.float32)
    light = np.clip(level + illumination * random_field(rng, n, 3, 3, side), 0.5, 1.5)
    cast = 1 + 0.25 * illumination * rng.standard_normal((n, 3, 1, 1), np.float32)
    image = canvas.image
    image *= light[:, None] * cast
    if noise > 0:
        image += np.float32(noise) * pixel_rng.standard_normal(image.shape, np.float32)
    picture = np.clip(image, 0, 1) * 255 + np.float32(0.5)
    return np.ascontiguousarray(picture.astype(np.uint8).transpose(0, 2, 3, 1))
