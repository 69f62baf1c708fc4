"""How the toy world is painted: ground, animals whose bodies look alike and whose heads tell the class, light, noise.

Shapes are signed distances (negative inside), so that edges are anti-aliased at any size.
Body coordinates: u points forward, v downwards, 1 is half the length of the body.
Head coordinates: likewise, 1 is the radius of the head.
"""

from functools import lru_cache
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from wsss_lab.data.toyvoc_layout import Ground, Objects, Rng
from wsss_lab.data.toyvoc_types import CLASSES, CONTEXTS, HEAD_COLOURS, HEAD_PATTERN, STUFF_TABLE, Knobs

Array = np.ndarray


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
        self.owner, self.context = np.zeros((2, n, side, side), np.uint8)
        self.soft = np.zeros((n, side, side), bool)

    def coverage(self, distance: Array) -> Array:
        """Share of each pixel that is inside, for a signed distance in units (negative inside)."""
        return np.clip(np.float32(0.5) - distance * np.float32(self.pixels), 0, 1)


def column(values: Array) -> Array:
    """(m,) -> (m, 1, 1), to broadcast over pixels."""
    return values[:, None, None]


# --- ground and light ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _interpolation(points: int, side: int) -> Array:
    """(side, points) weights of a smooth interpolation between `points` equally spaced values."""
    place = (np.arange(side, dtype=np.float32) + 0.5) / side * (points - 1)
    apart = np.abs(place[:, None] - np.arange(points, dtype=np.float32))
    return (0.5 + 0.5 * np.cos(np.pi * np.minimum(apart, 1))).astype(np.float32)


def random_field(rng: Rng, n: int, rows: int, columns: int, side: int) -> Array:
    """n smooth random fields (n, side, side) through rows x columns standard normal values."""
    values = rng.standard_normal((n, rows, columns), np.float32)
    return _interpolation(rows, side) @ values @ _interpolation(columns, side).T


class Fields:
    """The random fields of a batch of pictures, shared by ground and bodies (which shift them)."""

    def __init__(self, rng: Rng, canvas: Canvas):
        share = canvas.extent / 64.0  # a picture that shows less of the world shows fewer blotches
        self.coarse, self.medium, self.fine, self.blades = (
            random_field(rng, canvas.n, 1 + int(rows * share), 1 + int(columns * share), canvas.side)
            for rows, columns in ((4, 4), (12, 12), (36, 36), (14, 44)))


def paint_ground(canvas: Canvas, ground: Ground, fields: Fields, texture: float = 1.0) -> Array:
    """Fill the canvas with stuff and set its context map.

    Returns (n, 2, 3) the mean colour of the upper and of the lower part.
    """
    across, phase = canvas.across, column(ground.phase)
    line = column(ground.slope) * (across - 32) + column(ground.roll) * np.sin(0.22 * across + phase)
    depth = canvas.down - column(ground.horizon) - line  # below the horizon, in units
    ridge = 0.6 + 0.4 * np.sin(0.13 * across + 2.3 * phase) + 0.3 * np.sin(0.31 * across)
    hills = column(ground.hills)
    above, below = (_stuff(canvas, ground, part, fields, depth, texture) for part in (0, 1))
    means = np.stack([above.mean((2, 3)), below.mean((2, 3))], 1)
    image, low = canvas.image, canvas.coverage(-depth)[:, None]
    # Hazy hills: between the colours of both parts, and a little blue.
    haze = 0.5 * means[:, 0] + 0.5 * means[:, 1] * np.float32([0.85, 0.95, 1.1])
    hilly = (canvas.coverage(-depth - hills * ridge) * (hills > 0))[:, None]
    image[:] = above
    image += hilly * (haze[:, :, None, None] + 0.04 * fields.medium[:, None] - image)
    image += low * (below - image)
    upper, lower = np.where(ground.stuff < len(CONTEXTS), ground.stuff + 1, 0).astype(np.uint8).T
    canvas.context[:] = np.where(depth > 0, column(lower), column(upper) * (hilly[:, 0] < 0.5))
    return means


def _stuff(canvas: Canvas, ground: Ground, part: int, fields: Fields, depth: Array, texture: float) -> Array:
    """Pictures (n, 3, side, side) full of the stuff of the upper (0) or lower (1) part."""
    stuff, tint = ground.stuff[:, part], ground.tint[:, part]
    get = {name: column(values[stuff]) for name, values in STUFF_TABLE.items() if name != "colour"}
    step = -1 if part else 1  # the two parts see the same fields, one of them mirrored
    coarse, medium, fine = (each[:, :, ::step] for each in (fields.coarse, fields.medium, fields.fine))
    # Waves come closer together towards the horizon and are bent by the fields.
    distance = np.sqrt(np.abs(depth) + 2) * 7.0
    turned = distance * np.cos(get["angle"]) + canvas.across * np.sin(get["angle"])
    waves = np.sin(2 * np.pi / 64 * get["frequency"] * (turned + 2.5 * coarse + 0.8 * medium) + column(ground.phase))
    light = (get["coarse"] * coarse + get["medium"] * medium + get["fine"] * fine + get["blades"] * fields.blades
             + get["waves"] * waves + get["glow"] * np.exp(-np.abs(depth) / 14))
    colour = STUFF_TABLE["colour"][stuff] + STUFF_TABLE["jitter"][stuff][:, None] * tint
    picture = np.clip(colour, 0.06, 0.97)[:, :, None, None] + texture * light[:, None]
    clouds = get["clouds"] * np.clip(coarse + 0.45 * medium - 0.25, 0, 1.2)
    picture += clouds[:, None] * (0.97 - picture)
    return picture


def light_up(canvas: Canvas, rng: Rng, pixel_rng: Rng, illumination: float, noise: float, grain: float = 0.0) -> Array:
    """Uneven light, a colour cast and pixel noise. Returns the pictures, (n, side, side, 3) uint8."""
    n, side, image = canvas.n, canvas.side, canvas.image
    level = 1 + illumination * rng.uniform(-1.2, 1.2, (n, 1, 1)).astype(np.float32)
    light = np.clip(level + illumination * random_field(rng, n, 3, 3, side), 0.5, 1.5)
    cast = 1 + 0.25 * illumination * rng.standard_normal((n, 3, 1, 1), np.float32)
    if grain > 0:
        light = light * (1 + np.float32(grain) * random_field(rng, n, 40, 40, side))
    image *= light[:, None] * cast
    if noise > 0:
        image += np.float32(noise) * pixel_rng.standard_normal(image.shape, np.float32)
    picture = np.clip(image, 0, 1) * 255 + np.float32(0.5)
    return np.ascontiguousarray(picture.astype(np.uint8).transpose(0, 2, 3, 1))


# --- animals ---------------------------------------------------------------------------------------------------------

_SPOTS = ((0.0, 0.05), (-0.52, -0.30), (0.10, -0.62), (-0.42, 0.45), (0.30, 0.60))


def _star(u: Array, v: Array) -> Array:
    u, v = np.abs(u), np.abs(v)
    return 0.4 * (0.66 - u - v - 1.8 * np.minimum(u, v))


#: In head coordinates, about the signed distance by which a point is inside the second colour (positive inside).
PATTERNS = {
    "spots": lambda u, v: 0.21 - np.sqrt(np.minimum.reduce([(u - a) ** 2 + (v - b) ** 2 for a, b in _SPOTS])),
    "bands": lambda u, v: 0.15 - np.abs(np.abs(u) - 0.36),
    "diagonal": lambda u, v: 0.13 - np.abs(np.abs(u + v) * 0.71 - 0.30),
    "checks": lambda u, v: np.sin(5.2 * u) * np.sin(5.2 * v) * 0.2,
    "ring": lambda u, v: 0.13 - np.abs(np.sqrt(u * u + v * v) - 0.45),
    "bars": lambda u, v: np.sin(8.5 * v) * 0.118,
    "zigzag": lambda u, v: 0.11 - np.abs(v + 0.05 - 1.1 * (np.abs((1.5 * u) % 1.0 - 0.5) - 0.25)),
    "star": _star,
}


def head_pattern(types: Array, u: Array, v: Array) -> Array:
    """Pattern of each head: types (m,), u and v (m, h, w) -> (m, h, w), positive in the second colour."""
    value, patterns = np.empty_like(u), HEAD_PATTERN[types]
    for name in set(patterns):
        rows = np.flatnonzero(patterns == name)
        value[rows] = PATTERNS[name](u[rows], v[rows])
    return value


def ellipse(u: Array, v: Array, a: Array | float, b: Array | float) -> Array:
    """About the signed distance to an ellipse with half axes a and b around the origin."""
    u, v = u / a, v / b
    reach = np.sqrt(u * u + v * v)
    steepness = np.sqrt((u / a) ** 2 + (v / b) ** 2) + 1e-6
    return reach * (reach - 1) / steepness


def capsule(u: Array, v: Array, start: tuple, end: tuple, radius: Array | float) -> Array:
    """Signed distance to a stroke of the given radius with round ends."""
    (a, b), (c, d) = start, end
    along_u, along_v = c - a, d - b
    u, v = u - a, v - b
    t = np.clip((u * along_u + v * along_v) / (along_u**2 + along_v**2), 0, 1)
    return np.sqrt((u - t * along_u) ** 2 + (v - t * along_v) ** 2) - radius


#: Looks of an object, in the order of its shape draws: the lowest and the highest value.
LOOKS = {
    "tilt": (-0.32, 0.32), "height": (0.52, 0.78),  # half of the body's
    "bulge_2u": (-0.13, 0.13), "bulge_2v": (-0.13, 0.13), "bulge_4": (-0.10, 0.10),
    "head_radius": (0.90, 1.10), "head_u": (0.70, 0.86), "head_v": (0.10, 0.60),
    "leg_width": (0.07, 0.11), "leg_length": (1.15, 1.5), "hind_leg": (-0.72, -0.45), "fore_leg": (0.20, 0.50),
    "stride": (-0.14, 0.14), "four_legs": (0, 1), "tail_end": (-0.75, 0.35), "tail": (0, 1), "ears": (0, 1),
    "wing": (-0.16, 0.16),  # brightness of a patch on the flank
    "hue": (0, 1), "saturation": (0.05, 0.62), "value": (0.30, 0.97), "texture_coarse": (0.4, 1.3),
    "texture_fine": (0.0, 0.8), "shift": (0, 64),  # which cut of the random fields is on the body
    "coated": (0, 1), "coat_share": (-0.2, 1.0), "coat_value": (0.7, 1.3),
}


def _looks(draws: Array, knobs: Knobs) -> SimpleNamespace:
    """Random looks of m objects, all (m, 1, 1), from their shape draws (m, ...)."""
    looks = SimpleNamespace(**{name: column(low + (high - low) * drawn).astype(np.float32)
                               for (name, (low, high)), drawn in zip(LOOKS.items(), draws.T)})
    looks.head_radius = knobs.head * looks.height * looks.head_radius
    looks.head_v, looks.leg_length = -looks.height * looks.head_v, looks.height * looks.leg_length
    looks.four_legs, looks.tail, looks.ears = looks.four_legs < 0.6, looks.tail < 0.7, looks.ears < 0.5
    return looks


class _Shape(NamedTuple):
    """Signed distances (m, h, w) in units of length, and coordinates in the body and in the head."""

    whole: Array
    head: Array
    body_u: Array
    body_v: Array
    head_u: Array
    head_v: Array


def _body_colour(looks: SimpleNamespace, around: Array, blend: Array, contrast: float) -> Array:
    """(m, 3): a random colour, at least `contrast` away from the colour around, then blended with it."""
    hue, saturation, value = (each[:, :, 0] for each in (looks.hue, looks.saturation, looks.value))
    k = (hue * 6 + np.float32([5, 3, 1])) % 6
    colour = value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1))  # from HSV to RGB
    away = colour - around
    size = np.abs(away).max(1, keepdims=True) + 1e-4
    push = away * (contrast / size)
    leaves = ((around + push > 1) | (around + push < 0)).any(1, keepdims=True)  # too bright or dark: turn back
    colour = np.where(size < contrast, around + np.where(leaves, -push, push), colour)
    return np.clip(colour + blend[:, None] * (around - colour), 0.05, 0.97)


def _outline(u: Array, v: Array, looks: SimpleNamespace, length: Array, boulder: Array) -> _Shape:
    """Shape of animals, from body coordinates."""
    body_u, body_v = u + 0.12, v
    squared = body_u**2 + (body_v / looks.height) ** 2 + 1e-4
    cos2 = (body_u**2 - (body_v / looks.height) ** 2) / squared
    sin2 = 2 * body_u * body_v / looks.height / squared
    bulge = 1 + looks.bulge_2u * cos2 + looks.bulge_2v * sin2 + looks.bulge_4 * (cos2**2 - sin2**2)
    body = ellipse(body_u / bulge, body_v / bulge, 0.88, looks.height)
    head_u, head_v = (u - looks.head_u) / looks.head_radius, (v - looks.head_v) / looks.head_radius
    head = (np.sqrt(head_u**2 + head_v**2) - 1) * looks.head_radius
    gone = np.float32(9.0)  # far away from everything
    middle = 0.5 * (looks.hind_leg + looks.fore_leg)
    hind, fore, third_leg = (
        capsule(u, v, (x, 0.5 * looks.height), (x + slant, looks.leg_length), looks.leg_width)
        for x, slant in ((looks.hind_leg, looks.stride), (looks.fore_leg, -looks.stride), (middle, looks.stride)))
    tail = capsule(u, v, (-0.85, -0.1), (-1.3, looks.tail_end), 0.07)
    ears = ((np.sqrt((head_u - ear_u) ** 2 + (head_v + 0.95) ** 2) - 0.30) * looks.head_radius
            for ear_u in (-0.55, 0.35))
    animal = np.minimum.reduce([body, head, hind, fore, np.where(looks.four_legs, third_leg, gone),
                                np.where(looks.tail, tail, gone), *(np.where(looks.ears, ear, gone) for ear in ears)])
    whole = np.where(boulder, body, animal) * length
    return _Shape(whole, np.where(boulder, gone, head) * length, u, v, head_u, head_v)


def paint_slot(canvas: Canvas, objects: Objects, pictures: Array, slots: Array, ground: Ground,
               ground_colours: Array, fields: Fields, knobs: Knobs) -> None:
    """Paint one object in each of `pictures` (m,): the one in slot `slots` (m,)."""
    one = {name: values[pictures, slots] for name, values in vars(objects).items()}
    looks = _looks(one["shape"], knobs)
    length, boulder = column(one["length"]), column(one["type"] < 0)
    away_x = (canvas.across - column(one["x"])) * column(one["facing"])
    away_y = canvas.down - column(one["y"])
    cos, sin = np.cos(looks.tilt) / length, np.sin(looks.tilt) / length
    shape = _outline(away_x * cos + away_y * sin, away_y * cos - away_x * sin, looks, length, boulder)

    grounded = one["y"] > ground.horizon[pictures]
    around = np.where(grounded[:, None], ground_colours[pictures, 1], ground_colours[pictures, 0])
    body = _body_colour(looks, around, one["blend"], knobs.contrast)
    cut = column(pictures), *_cut(looks.shift, canvas.side)
    texture = knobs.body_texture * (looks.texture_coarse * fields.medium[cut] + looks.texture_fine * fields.fine[cut])
    coat = (looks.coated < knobs.coat) * np.clip(0.5 + 3 * (fields.medium[cut] - looks.coat_share), 0, 1)
    second = np.clip(around * looks.coat_value[:, :, 0], 0.05, 0.97)
    colour = _animal_colours(canvas, shape, looks, body, second, coat, texture, one["type"], length, knobs)

    image = canvas.image[pictures]
    if knobs.shadow > 0:
        fall = ((away_x + 0.1 * length) / length) ** 2 + ((away_y - looks.leg_length * length) / (0.22 * length)) ** 2
        image *= 1 - (knobs.shadow * column(grounded) * ~boulder * np.exp(-1.5 * fall))[:, None]
    image += canvas.coverage(shape.whole)[:, None] * (colour - image)
    canvas.image[pictures] = image

    # The object becomes the owner of its pixels. The edge of something of no class matters only where it cuts an
    # object of a class.
    inside = shape.whole < 0
    edge = np.abs(shape.whole) * canvas.pixels < 0.5 * knobs.border * canvas.side / 64
    owner, soft = canvas.owner[pictures], canvas.soft[pictures]
    edge &= column(is_class(one["type"])) | (owner_labels(objects.type[pictures], owner) > 0)
    owner[inside] = np.broadcast_to(column(slots + 1), owner.shape)[inside]
    canvas.owner[pictures], canvas.soft[pictures] = owner, soft & ~inside | edge


def _cut(shift: Array, side: int) -> tuple[Array, Array]:
    """Rows and columns (m, side, 1), (m, 1, side) of random fields moved by `shift` 64ths of the picture.

    They are mirrored at the border, as wrapping them around would leave a seam.
    """
    offset = shift[:, 0].astype(int) * side // 64
    rows, columns = ((np.arange(side) + moved) % (2 * side) for moved in (offset, 2 * offset))
    rows, columns = np.minimum(rows, 2 * side - 1 - rows), np.minimum(columns, 2 * side - 1 - columns)
    return rows[:, :, None], columns[:, None, :]


def _animal_colours(canvas: Canvas, shape: _Shape, looks: SimpleNamespace, body: Array, second: Array,
                    coat: Array, texture: Array, types: Array,
                    length: Array, knobs: Knobs) -> Array:
    """(m, 3, h, w): body colour with texture and shading, then the painted head and its eye."""
    flank = canvas.coverage(ellipse(shape.body_u + 0.2, shape.body_v - 0.05, 0.42, 0.6 * looks.height) * length)
    shading = -0.16 * shape.body_v + looks.wing * flank
    # A darker rim inside the outline and around the head makes the toy look solid.
    rim = np.clip(1 + shape.whole / (0.09 * length), 0, 1)
    neck = np.clip(1 - np.abs(shape.head) / (0.05 * length), 0, 1)
    light = (texture + shading) - 0.15 * np.maximum(rim, neck)
    colour = body[:, :, None, None] + coat[:, None] * (second - body)[:, :, None, None] + light[:, None]

    heads, radius = np.maximum(types, 0), looks.head_radius * length
    painted = canvas.coverage(shape.head + (1 - knobs.mark) * radius)[:, None]
    marked = canvas.coverage(-head_pattern(heads, shape.head_u, shape.head_v) * radius)[:, None]
    first_colour, second_colour = HEAD_COLOURS[heads, 0], HEAD_COLOURS[heads, 1]
    paint = first_colour[:, :, None, None] + marked * (second_colour - first_colour)[:, :, None, None]
    colour += painted * (paint + 0.5 * light[:, None] - colour)

    eye = np.sqrt((shape.head_u - 0.36) ** 2 + (shape.head_v + 0.26) ** 2)
    for reach, brightness in ((0.27, 0.97), (0.15, 0.05)):  # the white, the pupil
        colour += (canvas.coverage((eye - reach) * radius) * column(types >= 0))[:, None] * (brightness - colour)
    return colour


def is_class(types: Array) -> Array:
    return (types >= 0) & (types < len(CLASSES))


def owner_labels(types: Array, owner: Array) -> Array:
    """Labels (n, h, w) uint8 of an owner map (n, h, w), given the types (n, k) of the objects in the slots."""
    labels = np.pad(np.where(is_class(types), types + 1, 0), ((0, 0), (1, 0))).astype(np.uint8)
    return np.take_along_axis(labels, owner.reshape(len(owner), -1), 1).reshape(owner.shape)
