"""A rehearsal of the profile voc: the same code, data and networks, with trainings that end at once.

WSSS_REHEARSAL=paper keeps the papers' networks; WSSS_REHEARSAL=mobilenet puts MobileNetV2 in the place of each of them.
Results mean nothing: they show that every step runs and every table and figure can be made.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.settings import variable

ITERATIONS, BATCH = 2, 2  # at most, of every training
#: Pixels, at most, of what networks see; dilations shrink with them. MobileNetV2 has maps of half the size, or less.
SIDES = {"paper": 65, "mobilenet": 113}
LOOKS = ("scales", "exchanged_scales")  # of images at test time: enlarged ones are left out, which take most time


def asked() -> str:
    """Which networks a rehearsal shall have, "" = this is none. Raises ParameterError for others."""
    return variable("WSSS_REHEARSAL") or ""


def scale_of(scales: Mapping[str, Any], profile: str) -> Any:
    """A paper's scale in a profile, shortened for a rehearsal where one is asked for.

    Raises ParameterError for a rehearsal of another profile than voc: `quick` is the toy world's.
    """
    network = asked()
    if network and profile != "voc":
        raise ParameterError(f"WSSS_REHEARSAL={network} with the profile {profile}", "the profile voc",
                             "unset it, or set PROFILE=voc")
    return _shortened(scales[profile], network) if network else scales[profile]


def _shortened(value: Any, network: str) -> Any:
    if isinstance(value, Schedule):
        return replace(value, iterations=min(value.iterations, ITERATIONS), batch=min(value.batch, BATCH))
    if isinstance(value, Backbone):
        family = value.family if network == "paper" else network
        return _smaller(replace(value, family=family), SIDES[network])
    if isinstance(value, Mapping):
        return {name: _shortened(each, network) for name, each in value.items()}
    if is_dataclass(value):
        return replace(value, **{field.name: _looks(getattr(value, field.name)) if field.name in LOOKS
                                 else _shortened(getattr(value, field.name), network) for field in fields(value)})
    return value


def _looks(scales: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(scale for scale in scales if scale <= 1)


def _smaller(backbone: Backbone, side: int) -> Backbone:
    """On images of at most `side` pixels, with dilations that are the same shares of the maps."""
    side = min(backbone.side, side)
    dilation, *aspp = (max(1, round(each * side / backbone.side)) for each in (backbone.dilation, *backbone.aspp))
    return replace(backbone, side=side, dilation=dilation, aspp=tuple(aspp))
