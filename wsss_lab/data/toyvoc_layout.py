"""Who stands where: random plans of pictures of the toy world, before anything is painted.

A plan is drawn without knowing the size in pixels, so the same seed gives the same scene at any size.
Lengths are in units of 1/64 of the side of a scene. What is drawn in which order is part of the world.
"""

from dataclasses import dataclass

import numpy as np

from wsss_lab.data import toyvoc_types as world
from wsss_lab.data.toyvoc_types import CLASSES, CONTEXTS, QUIET, TYPES, Knobs

Rng = np.random.Generator
MAIN, PEER, SECOND, THIRD, DISTRACTOR = range(5)  # the slots of a scene; clutter comes behind them
CLUTTER_SLOTS, SHAPE_DRAWS = 2, 28
COLOUR = slice(18, 21)  # of the shape draws: hue, saturation and value
BOULDER, _NO_CONTEXT = -1, -1  # the type of clutter

_LOUD = np.array([c for c in range(len(CLASSES)) if c not in QUIET])
_CONTEXT = np.array([CONTEXTS.index(world.CONTEXT_OF_CLASS[name]) if name in world.CONTEXT_OF_CLASS else _NO_CONTEXT
                     for name in CLASSES] + [_NO_CONTEXT] * (TYPES - len(CLASSES)))


#: Loud classes without a context.
_ANYWHERE = np.array([c for c in _LOUD if _CONTEXT[c] == _NO_CONTEXT])


class Objects:
    """The objects of n pictures in k slots: all empty at first, with random looks and a random painting order.

    Every field is (n, k). present: bool. type: int, 0..TYPES-1 or BOULDER. length: half that of the body. x, y: centre
    of the body, to the right and downwards. facing: 1 looks right, -1 left. blend: share of the local background colour
    in the body's. order: smaller is painted earlier, so lies behind. shape: (n, k, SHAPE_DRAWS) uniform in [0, 1), the
    rest of the looks.
    """

    def __init__(self, rng: Rng, n: int, slots: int):
        self.present, self.type = np.zeros((n, slots), bool), np.full((n, slots), BOULDER)
        self.length, self.blend = np.ones((n, slots), np.float32), np.zeros((n, slots), np.float32)
        self.x, self.y = np.full((2, n, slots), 32.0, np.float32)
        self.facing = np.where(chance(rng, 0.5, n, slots), np.float32(1), np.float32(-1))
        self.order = rng.random((n, slots), np.float32)
        self.shape = rng.random((n, slots, SHAPE_DRAWS), np.float32)

    def put(self, slot: int, **values) -> None:
        """Set fields of a slot, (n,) or one value for all pictures."""
        for name, value in values.items():
            getattr(self, name)[:, slot] = value


@dataclass
class Ground:
    """The ground of n pictures; every field is (n,) unless noted."""

    stuff: np.ndarray  # (n, 2) indices into STUFF of the upper and the lower part
    horizon: np.ndarray  # height of the line between them
    slope: np.ndarray
    roll: np.ndarray  # amplitude of its hills
    phase: np.ndarray
    hills: np.ndarray  # height of a distant hill range above the horizon, 0 if there is none
    tint: np.ndarray  # (n, 2, 3) by how many jitters the colours of both parts are off


def uniform(rng: Rng, low, high, *shape: int) -> np.ndarray:
    """Uniform float32 draws in [low, high); low and high may be arrays that broadcast to shape."""
    return (low + (np.float32(high) - np.float32(low)) * rng.random(shape, np.float32)).astype(np.float32)


def chance(rng: Rng, probability, *shape: int) -> np.ndarray:
    return rng.random(shape, np.float32) < probability


def _pick(rng: Rng, choices, n: int) -> np.ndarray:
    return np.asarray(choices)[rng.integers(len(choices), size=n)]


def _pick_type(rng: Rng, quiet: np.ndarray) -> np.ndarray:
    """A quiet class where `quiet` (n,), else a loud one."""
    return np.where(quiet, _pick(rng, QUIET, len(quiet)), _pick(rng, _LOUD, len(quiet)))


def _normal(rng: Rng, mean: float, std: float, limit: float, n: int) -> np.ndarray:
    """Normal draws cut off at mean +- limit."""
    return mean + np.clip(std * rng.standard_normal(n, np.float32), -limit, limit)


def _around_centre(rng: Rng, n: int, inner: float) -> dict[str, np.ndarray]:
    """Places near the sides of the picture, at least `inner` from its centre."""
    angle, radius = uniform(rng, 0.0, 2 * np.pi, n), uniform(rng, inner, 29.0, n)
    return {"x": np.clip(32.0 + radius * np.cos(angle), 6.0, 58.0),
            "y": np.clip(34.0 + 0.8 * radius * np.sin(angle), 7.0, 57.0)}


def plan_scenes(rng: Rng, n: int, knobs: Knobs) -> tuple[Objects, Ground]:
    """n scenes: a main object, sometimes a peer touching it, secondary objects, a distractor, clutter."""
    objects = Objects(rng, n, DISTRACTOR + 1 + CLUTTER_SLOTS)
    quiet, hidden = chance(rng, knobs.quiet_main, n), chance(rng, knobs.camouflage, n)
    blend = np.where(hidden, uniform(rng, *knobs.camouflage_blend, n), uniform(rng, *knobs.blend, n))
    objects.put(MAIN, present=True, type=_pick_type(rng, quiet),
                length=np.where(quiet, 1.3 * uniform(rng, *knobs.quiet_length, n), uniform(rng, *knobs.main_length, n)),
                blend=np.where(quiet, uniform(rng, *knobs.quiet_blend, n), blend),
                x=_normal(rng, 32.0, 10.0, 16.0, n), y=_normal(rng, 33.0, 8.0, 13.0, n))
    _plan_peer(rng, objects, n, knobs)
    for slot, probability in zip((SECOND, THIRD), knobs.secondary, strict=True):
        quiet = chance(rng, knobs.quiet_secondary, n)
        objects.put(slot, present=chance(rng, probability, n), type=_pick_type(rng, quiet),
                    length=np.where(quiet, uniform(rng, *knobs.quiet_length, n),
                                    uniform(rng, *knobs.secondary_length, n)),
                    blend=np.where(quiet, uniform(rng, *knobs.quiet_blend, n), uniform(rng, *knobs.blend, n)),
                    **_around_centre(rng, n, 20.0))
    objects.present[:, THIRD] &= objects.present[:, SECOND]
    objects.put(DISTRACTOR, present=chance(rng, knobs.distractor, n), type=rng.integers(len(CLASSES), TYPES, n),
                length=uniform(rng, *knobs.distractor_length, n), blend=uniform(rng, *knobs.blend, n),
                **_around_centre(rng, n, 15.0))
    objects.order[:, DISTRACTOR] -= 0.4
    _plan_clutter(rng, objects, n, knobs)
    # Animals whose head would be outside the picture turn; small ones stand in front more often.
    head = objects.x + 0.7 * objects.facing * objects.length
    objects.facing = np.where(np.abs(head - 32.0) > 28.0, np.sign(32.0 - objects.x), objects.facing)
    objects.order -= 0.025 * objects.length
    kin = chance(rng, knobs.kin, n, objects.type.shape[1] - DISTRACTOR)
    main = objects.shape[:, [MAIN], COLOUR]
    objects.shape[:, DISTRACTOR:, COLOUR] = np.where(kin[..., None], main, objects.shape[:, DISTRACTOR:, COLOUR])
    own = np.where(chance(rng, knobs.context, n), _CONTEXT[objects.type[:, MAIN]], _NO_CONTEXT)
    ground = _plan_background(rng, own, chance(rng, knobs.stray_context, n, 2))
    _send_home(rng, objects, ground, chance(rng, knobs.context, n, 3))
    return objects, ground


def _send_home(rng: Rng, objects: Objects, ground: Ground, sent: np.ndarray) -> None:
    """Peer and secondary objects whose context isn't in the picture become ones of a class that needs none.

    sent: (n, 3) bool, for PEER, SECOND and THIRD.
    """
    for slot, leaves in zip((PEER, SECOND, THIRD), sent.T):
        home = _CONTEXT[objects.type[:, slot]]
        away = leaves & (home != _NO_CONTEXT) & ~(ground.stuff == home[:, None]).any(1)
        other = rng.integers(len(_ANYWHERE), size=len(away))
        other = np.where(_ANYWHERE[other] == objects.type[:, MAIN], other - 1, other)
        objects.type[:, slot] = np.where(away, _ANYWHERE[other], objects.type[:, slot])


def _plan_peer(rng: Rng, objects: Objects, n: int, knobs: Knobs) -> None:
    """Place another class beside the main object, both so small that they fit, and let them touch."""
    main = objects.type[:, MAIN]
    # The loud classes are the first ones; a step of 1..len-1 never leads back to the main class.
    other = _LOUD[(main + rng.integers(1, len(_LOUD), n)) % len(_LOUD)]
    pair = chance(rng, knobs.touching_pair, n) & np.isin(main, _LOUD)
    length = uniform(rng, *knobs.main_length, n) * 0.4 + 6.5
    ratio = uniform(rng, 0.9, 1.1, n)
    aside = np.where(chance(rng, 0.5, n), 1, -1) * (0.92 * length)
    objects.put(PEER, present=pair, type=other, length=length * ratio, blend=uniform(rng, *knobs.blend, n),
                x=32.0 - aside, y=_normal(rng, 34.0, 4.0, 8.0, n))
    beside = {"length": length / ratio, "x": 32.0 + aside, "y": objects.y[:, PEER] + uniform(rng, -4.0, 4.0, n)}
    objects.put(MAIN, **{name: np.where(pair, value, getattr(objects, name)[:, MAIN])
                         for name, value in beside.items()})


def _plan_clutter(rng: Rng, objects: Objects, n: int, knobs: Knobs) -> None:
    """Boulders in the last slots, behind everything else."""
    slots = objects.type.shape[1]
    for slot in range(slots - CLUTTER_SLOTS, slots):
        objects.put(slot, present=chance(rng, knobs.clutter, n), type=BOULDER,
                    length=uniform(rng, *knobs.clutter_length, n), blend=uniform(rng, 0.0, 0.4, n),
                    **_around_centre(rng, n, 5.0))
        objects.order[:, slot] -= 2.0


def plan_saliency(rng: Rng, n: int, knobs: Knobs) -> tuple[Objects, Ground]:
    """n pictures of one central animal of no class, in front of small, dull ones near the sides."""
    objects = Objects(rng, n, 3 + CLUTTER_SLOTS)
    objects.type[:] = rng.integers(len(CLASSES), TYPES, objects.type.shape)
    objects.put(MAIN, present=True, length=uniform(rng, 11.0, 26.0, n), blend=uniform(rng, 0.0, 0.2, n),
                x=_normal(rng, 32.0, 7.0, 12.0, n), y=_normal(rng, 33.0, 6.0, 10.0, n))
    objects.order[:, MAIN] += 2.0
    for slot, probability in ((1, 0.5), (2, 0.3)):
        objects.put(slot, present=chance(rng, probability, n), length=uniform(rng, 5.0, 11.0, n),
                    blend=uniform(rng, 0.2, 0.7, n), **_around_centre(rng, n, 22.0))
    _plan_clutter(rng, objects, n, knobs)
    return objects, _plan_background(rng, np.full(n, _NO_CONTEXT), chance(rng, 0.3, n, 2))


def plan_crops(rng: Rng, n: int) -> tuple[Objects, Ground]:
    """n crops of side 32 around the front half of one animal of any type."""
    objects = Objects(rng, n, 1)
    objects.put(MAIN, present=True, type=rng.integers(TYPES, size=n), length=uniform(rng, 10.0, 24.0, n),
                blend=uniform(rng, 0.0, 0.4, n))
    back = 0.6 * objects.facing[:, MAIN] * objects.length[:, MAIN]  # brings the head into the middle
    objects.put(MAIN, x=_normal(rng, 16.0, 2.5, 5.0, n) - back, y=_normal(rng, 16.5, 2.0, 4.0, n))
    background = _plan_background(rng, np.full(n, _NO_CONTEXT), chance(rng, 0.3, n, 2))
    background.horizon = background.horizon - 16.0
    return objects, background


def _plan_background(rng: Rng, own: np.ndarray, stray: np.ndarray) -> Ground:
    """own: (n,) context stuff the main object brings, or -1; stray: (n, 2) bool, a random one above, below."""
    n = len(own)
    above = np.isin(own, world.UPPER_CONTEXTS)
    below = (own != _NO_CONTEXT) & ~above
    lower = [k for k in range(len(CONTEXTS)) if k not in world.UPPER_CONTEXTS]
    plain = np.stack([_pick(rng, world.ABOVE, n), _pick(rng, world.BELOW, n)], 1)
    stuff = np.where(stray, np.stack([_pick(rng, world.UPPER_CONTEXTS, n), _pick(rng, lower, n)], 1), plain)
    stuff[above, 0], stuff[below, 1] = own[above], own[below]
    share = rng.random(n, np.float32)  # a context takes the larger part of the picture
    horizon = 22.0 + 18.0 * share + 12.0 * above - 6.0 * below
    return Ground(stuff=stuff, horizon=horizon.astype(np.float32), slope=uniform(rng, -0.14, 0.14, n),
                      roll=uniform(rng, 0.0, 2.0, n), phase=uniform(rng, 0.0, 2 * np.pi, n),
                      hills=np.where(chance(rng, 0.5, n), uniform(rng, 3.0, 9.0, n), np.float32(0)),
                      tint=np.clip(rng.standard_normal((n, 2, 3), np.float32), -2, 2))
