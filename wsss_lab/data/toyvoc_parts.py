"""The animals of the toy world: bodies that look alike, and heads that tell the class.

Shapes are signed distances (negative inside), so that edges are anti-aliased at any size.
Body coordinates: u points forward, v downwards, 1 is half the length of the body.
Head coordinates: likewise, 1 is the radius of the head.
"""

from dataclasses import dataclass, fields

import numpy as np

from wsss_lab.data.toyvoc_ground import Canvas, Fields, column
from wsss_lab.data.toyvoc_layout import Background, Objects
from wsss_lab.data.toyvoc_types import CLASSES, HEAD_COLOURS, HEAD_PATTERN, PATTERNS, Knobs

Array = np.ndarray


# ---------------------------------------------------------------- patterns, in head coordinates
# Each returns about the signed distance by which a point is inside the second colour (positive inside).


def _spots(u: Array, v: Array) -> Array:
    centres = ((0.0, 0.05), (-0.52, -0.30), (0.10, -0.62), (-0.42, 0.45), (0.30, 0.60))
    return 0.21 - np.sqrt(np.minimum.reduce([(u - a) ** 2 + (v - b) ** 2 for a, b in centres]))


def _bands(u: Array, v: Array) -> Array:
    return 0.15 - np.abs(np.abs(u) - 0.36)


def _diagonal(u: Array, v: Array) -> Array:
    return 0.13 - np.abs(np.abs(u + v) * 0.71 - 0.30)


def _checks(u: Array, v: Array) -> Array:
    return np.sin(5.2 * u) * np.sin(5.2 * v) * 0.2


def _ring(u: Array, v: Array) -> Array:
    return 0.13 - np.abs(np.sqrt(u * u + v * v) - 0.45)


def _bars(u: Array, v: Array) -> Array:
    return np.sin(8.5 * v) * 0.118


def _zigzag(u: Array, v: Array) -> Array:
    tooth = np.abs((1.5 * u) % 1.0 - 0.5)
    return 0.11 - np.abs(v + 0.05 - 1.1 * (tooth - 0.25))


def _star(u: Array, v: Array) -> Array:
    u, v = np.abs(u), np.abs(v)
    return 0.4 * (0.66 - u - v - 1.8 * np.minimum(u, v))


_PATTERN_FUNCTIONS = dict(
    zip(PATTERNS, (_spots, _bands, _diagonal, _checks, _ring, _bars, _zigzag, _star), strict=True)
)


def head_pattern(types: Array, u: Array, v: Array) -> Array:
    """Pattern of each head: types (m,), u and v (m, h, w) -> (m, h, w), positive in the second colour."""
    value = np.empty_like(u)
    patterns = HEAD_PATTERN[types]
    for index in np.unique(patterns):
        rows = np.flatnonzero(patterns == index)
        value[rows] = _PATTERN_FUNCTIONS[PATTERNS[index]](u[rows], v[rows])
    return value


# ---------------------------------------------------------------- shapes


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


# ---------------------------------------------------------------- looks


class _Looks:
    """Random looks of m objects, all (m, 1, 1): one named number from each of their shape draws."""

    def __init__(self, draws: Array, knobs: Knobs):
        rest = iter(draws.T)

        def between(low: float, high: float) -> Array:
            return column(low + (high - low) * next(rest)).astype(np.float32)

        self.tilt = between(-0.32, 0.32)
        self.height = between(0.52, 0.78)  # half the height of the body
        self.bulges = between(-0.13, 0.13), between(-0.13, 0.13), between(-0.10, 0.10)
        self.head_radius = knobs.head * self.height * between(0.90, 1.10)
        self.head_u = between(0.70, 0.86)
        self.head_v = -self.height * between(0.10, 0.60)
        self.leg_width = between(0.07, 0.11)
        self.leg_length = self.height * between(1.15, 1.5)
        self.hind_leg, self.fore_leg = between(-0.72, -0.45), between(0.20, 0.50)
        self.stride = between(-0.14, 0.14)
        self.four_legs = between(0, 1) < 0.6
        self.tail_end = between(-0.75, 0.35)
        self.tail = between(0, 1) < 0.7
        self.ears = between(0, 1) < 0.5
        self.wing = between(-0.16, 0.16)  # brightness of a patch on the flank
        self.hue, self.saturation, self.value = between(0, 1), between(0.05, 0.62), between(0.30, 0.97)
        self.texture_coarse, self.texture_fine = between(0.4, 1.3), between(0.0, 0.8)
        self.shift = (next(rest) * 64).astype(int)  # which cut of the random fields is on the body


def _rgb(hue: Array, saturation: Array, value: Array) -> Array:
    """(m,) each, in 0..1 -> (m, 3)."""
    k = (hue[:, None] * 6 + np.float32([5, 3, 1])) % 6
    return value[:, None] * (1 - saturation[:, None] * np.clip(np.minimum(k, 4 - k), 0, 1))


def _body_colour(looks: _Looks, around: Array, blend: Array, contrast: float) -> Array:
    """(m, 3): a random colour, at least `contrast` away from the colour around, then blended with it."""
    colour = _rgb(looks.hue[:, 0, 0], looks.saturation[:, 0, 0], looks.value[:, 0, 0])
    away = colour - around
    size = np.abs(away).max(1, keepdims=True) + 1e-4
    push = away * (contrast / size)
    leaves = ((around + push > 1) | (around + push < 0)).any(1, keepdims=True)  # too bright or dark: turn back
    colour = np.where(size < contrast, around + np.where(leaves, -push, push), colour)
    return np.clip(colour + blend[:, None] * (around - colour), 0.05, 0.97)


# ---------------------------------------------------------------- painting


@dataclass
class _Shape:
    """Signed distances (m, h, w) in units of length, and coordinates in the body and in the head."""

    whole: Array
    head: Array
    body_u: Array
    body_v: Array
    head_u: Array
    head_v: Array


def _outline(u: Array, v: Array, looks: _Looks, length: Array, boulder: Array) -> _Shape:
    """Shape of animals, from body coordinates."""
    body_u, body_v = u + 0.12, v
    squared = body_u**2 + (body_v / looks.height) ** 2 + 1e-4
    cos2 = (body_u**2 - (body_v / looks.height) ** 2) / squared
    sin2 = 2 * body_u * body_v / looks.height / squared
    first, second, third = looks.bulges
    bulge = 1 + first * cos2 + second * sin2 + third * (cos2**2 - sin2**2)
    body = ellipse(body_u / bulge, body_v / bulge, 0.88, looks.height)
    head_u, head_v = (u - looks.head_u) / looks.head_radius, (v - looks.head_v) / looks.head_radius
    head = (np.sqrt(head_u**2 + head_v**2) - 1) * looks.head_radius
    foot, hip = looks.leg_length, 0.5 * looks.height
    gone = np.float32(9.0)  # far away from everything
    limbs = [
        capsule(u, v, (x, hip), (x + slant, foot), looks.leg_width)
        for x, slant in ((looks.hind_leg, looks.stride), (looks.fore_leg, -looks.stride))
    ]
    middle = 0.5 * (looks.hind_leg + looks.fore_leg)
    third_leg = capsule(u, v, (middle, hip), (middle + looks.stride, foot), looks.leg_width)
    limbs.append(np.where(looks.four_legs, third_leg, gone))
    tail = capsule(u, v, (-0.85, -0.1), (-1.3, looks.tail_end), 0.07)
    limbs.append(np.where(looks.tail, tail, gone))
    for ear_u in (-0.55, 0.35):
        ear = (np.sqrt((head_u - ear_u) ** 2 + (head_v + 0.95) ** 2) - 0.30) * looks.head_radius
        limbs.append(np.where(looks.ears, ear, gone))
    animal = np.minimum.reduce([body, head, *limbs])
    whole = np.where(boulder, body, animal) * length
    return _Shape(whole, np.where(boulder, gone, head) * length, u, v, head_u, head_v)


def paint_slot(
    canvas: Canvas,
    objects: Objects,
    pictures: Array,
    slots: Array,
    ground: Background,
    ground_colours: Array,
    random_fields: Fields,
    knobs: Knobs,
) -> None:
    """Paint one object in each of `pictures` (m,): the one in slot `slots` (m,)."""
    one = {f.name: getattr(objects, f.name)[pictures, slots] for f in fields(objects)}
    looks = _Looks(one["shape"], knobs)
    length, boulder = column(one["length"]), column(one["type"] < 0)
    away_x = (canvas.across - column(one["x"])) * column(one["facing"])
    away_y = canvas.down - column(one["y"])
    cos, sin = np.cos(looks.tilt) / length, np.sin(looks.tilt) / length
    u, v = away_x * cos + away_y * sin, away_y * cos - away_x * sin
    shape = _outline(u, v, looks, length, boulder)

    grounded = one["y"] > ground.horizon[pictures]
    around = np.where(grounded[:, None], ground_colours[pictures, 1], ground_colours[pictures, 0])
    body = _body_colour(looks, around, one["blend"], knobs.contrast)
    rows, columns = _cut(looks.shift, canvas.side)
    picture = pictures[:, None, None]
    texture = knobs.body_texture * (
        looks.texture_coarse * random_fields.medium[picture, rows, columns]
        + looks.texture_fine * random_fields.fine[picture, rows, columns]
    )
    colour = _animal_colours(canvas, shape, looks, body, texture, one["type"], length, knobs)

    image = canvas.image[pictures]
    if knobs.shadow > 0:
        fall = ((away_x + 0.1 * length) / length) ** 2 + (
            (away_y - looks.leg_length * length) / (0.22 * length)
        ) ** 2
        image *= 1 - (knobs.shadow * column(grounded) * ~boulder * np.exp(-1.5 * fall))[:, None]
    cover = canvas.coverage(shape.whole)
    image += cover[:, None] * (colour - image)
    canvas.image[pictures] = image
    _claim(canvas, objects, pictures, slots, shape.whole, knobs.border)


def _cut(shift: Array, side: int) -> tuple[Array, Array]:
    """Rows and columns (m, side, 1), (m, 1, side) of random fields moved by `shift` 64ths of the picture.

    They are mirrored at the border, as wrapping them around would leave a seam.
    """
    offset = shift[:, None] * side // 64
    rows, columns = (np.arange(side) + offset) % (2 * side), (np.arange(side) + 2 * offset) % (2 * side)
    rows, columns = np.minimum(rows, 2 * side - 1 - rows), np.minimum(columns, 2 * side - 1 - columns)
    return rows[:, :, None], columns[:, None, :]


def _animal_colours(
    canvas: Canvas,
    shape: _Shape,
    looks: _Looks,
    body: Array,
    texture: Array,
    types: Array,
    length: Array,
    knobs: Knobs,
) -> Array:
    """(m, 3, h, w): body colour with texture and shading, then the painted head and its eye."""
    flank = canvas.coverage(
        ellipse(shape.body_u + 0.2, shape.body_v - 0.05, 0.42, 0.6 * looks.height) * length
    )
    shading = -0.16 * shape.body_v + looks.wing * flank
    # A darker rim inside the outline and around the head makes the toy look solid.
    rim = np.clip(1 + shape.whole / (0.09 * length), 0, 1)
    neck = np.clip(1 - np.abs(shape.head) / (0.05 * length), 0, 1)
    light = (texture + shading) - 0.15 * np.maximum(rim, neck)
    colour = body[:, :, None, None] + light[:, None]

    heads = np.maximum(types, 0)
    radius = looks.head_radius * length
    painted = canvas.coverage(shape.head + (1 - knobs.mark) * radius)[:, None]
    second = canvas.coverage(-head_pattern(heads, shape.head_u, shape.head_v) * radius)[:, None]
    first_colour, second_colour = HEAD_COLOURS[heads, 0], HEAD_COLOURS[heads, 1]
    paint = first_colour[:, :, None, None] + second * (second_colour - first_colour)[:, :, None, None]
    colour += painted * (paint + 0.5 * light[:, None] - colour)

    eye = np.sqrt((shape.head_u - 0.36) ** 2 + (shape.head_v + 0.26) ** 2)
    is_animal = column(types >= 0)
    white = (canvas.coverage((eye - 0.27) * radius) * is_animal)[:, None]
    pupil = (canvas.coverage((eye - 0.15) * radius) * is_animal)[:, None]
    colour += white * (0.97 - colour)
    colour += pupil * (0.05 - colour)
    return colour


def _claim(
    canvas: Canvas, objects: Objects, pictures: Array, slots: Array, distance: Array, border: float
) -> None:
    """Write the object into the canvas's owner map, and its edge into the map of soft edges.

    The edge of something of no class matters only where it cuts an object of a class.
    """
    inside = distance < 0
    edge = np.abs(distance) * canvas.pixels < 0.5 * border * canvas.side / 64
    owner, soft = canvas.owner[pictures], canvas.soft[pictures]
    of_class = owner_labels(objects.type[pictures], owner) > 0
    edge &= column(is_class(objects.type[pictures, slots])) | of_class
    owner[inside] = np.broadcast_to(column(slots + 1), owner.shape)[inside]
    soft &= ~inside
    soft |= edge
    canvas.owner[pictures], canvas.soft[pictures] = owner, soft


def is_class(types: Array) -> Array:
    return (types >= 0) & (types < len(CLASSES))


def owner_labels(types: Array, owner: Array) -> Array:
    """Labels (n, h, w) uint8 of an owner map (n, h, w), given the types (n, k) of the objects in the slots."""
    labels = np.pad(np.where(is_class(types), types + 1, 0), ((0, 0), (1, 0))).astype(np.uint8)
    return np.take_along_axis(labels, owner.reshape(len(owner), -1), 1).reshape(owner.shape)
