"""Two trained networks in one small file: what `wsss weights` takes out of the run store, for `wsss apply`.

The classifier and the segmenter of Oh et al. 2017 at seed 0. Layers that both have alike, which were never trained, are
kept once; large weights in 8 bits, by output channel, others in 16. Scores are those of the run store, before rounding.
"""

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data.files import whole
from wsss_lab.errors import LabError, WeightsError
from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.precision_recall import average_precisions
from wsss_lab.lab.compute import compute
from wsss_lab.lab.profiles import unknown_name
from wsss_lab.lab.provenance import PACKAGE_FOLDER
from wsss_lab.lab.store import Store
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import deeplab, gap_net
from wsss_lab.networks.weights import load_into, read_weights
from wsss_lab.papers.oh2017 import route as oh2017

FILE = "photos_networks.pth"  # its name in the folder WSSS_WEIGHTS, and in the package
PARTS, BOTH, SCALE = ("classifier", "segmenter"), "both", ".scale"
LARGE = 4096  # weights of a layer, from which on they are kept in 8 bits
LEAST = 1e-12  # scale of a channel, so that zeros can be divided by it


@dataclass(frozen=True)
class Networks:
    """State dicts of a classifier and of a segmenter, and what is known of them.

    about: `classes` (names), `backbone` (settings), `variant` of the classifier, `row` of the segmenter, `world`,
    `profile`, `seed`, `pixel_labels` (why what was learnt depends on some), `scores` on val in per cent, as far as the
    run store has them, and `made`: date, commit and key of both steps.
    """

    classifier: dict[str, Tensor]
    segmenter: dict[str, Tensor]
    about: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.about["classes"])


def write(folder: Path, profile: str = "photos", row: str = "G2", jobs: int | None = None) -> tuple[Path, Networks]:
    """Write the networks of a profile to <folder>/<profile>_networks.pth: the path, and what can be read there.

    Whatever isn't in the run store yet is trained first. row: of oh2017's ROWS, whose segmenter is taken.
    """
    if row not in (known := oh2017.trained_rows(profile)):
        raise unknown_name(f"row of profile {profile}", row, list(known))
    route, store = oh2017.routes(profile, seeds=1)[0], Store()
    steps = dict(zip(PARTS, (route.classifier("HighRes"), route.trained(row))))
    compute(list(steps.values()), store, jobs=jobs)
    entries = {part: step.load(store) for part, step in steps.items()}
    about = {"classes": list(route.world.classes), "backbone": route.scale.backbone.settings(), "variant": "HighRes",
             "row": row, "world": route.world.name, "profile": profile, "seed": route.seed,
             "pixel_labels": list(steps["segmenter"].pixel_labels()),
             "made": {part: {name: entry.manifest[name] for name in ("label", "key", "commit", "created")}
                      for part, entry in entries.items()},
             "scores": _scores(route, row, store)}
    packed = pack({part: entry["state"] for part, entry in entries.items()})
    buffer, path = io.BytesIO(), folder / f"{profile}_networks.pth"
    torch.save({"state": packed, "about": json.dumps(about)}, buffer)
    with whole(path) as part:
        part.write_bytes(buffer.getvalue())
    return path, Networks(**unpack(packed), about=about)


def _scores(route: oh2017.Route, row: str, store: Store) -> dict[str, float]:
    """Mean average precision of the classifier and mean IoU of the segmenter on val, in per cent, where stored."""
    seen, scored, found = route.class_maps("HighRes", "val"), route.scored(row), {}
    if seen in store:
        tags = route.world.train_view("val").load(store).tags
        found["mAP"] = 100 * float(np.nanmean(average_precisions(np.asarray(seen.load(store)["scores"]), tags)))
    if scored in store:
        found["mIoU"] = 100 * float(mean_iou(np.asarray(scored.load(store)["confusions"]).sum(0)))
    return found


def pack(states: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """State dicts by part as one, smaller: "classifier.trunk.0.weight", or "both.trunk.0.weight" where they agree."""
    first, second = (states[part] for part in PARTS)
    alike = {name for name in first.keys() & second.keys() if torch.equal(first[name], second[name])}
    packed = {}
    for part, state in ((BOTH, {name: first[name] for name in sorted(alike)}), *states.items()):
        for name, value in state.items():
            if part == BOTH or name not in alike:
                packed |= _rounded(f"{part}.{name}", value)
    return packed


def _rounded(name: str, value: Tensor) -> dict[str, Tensor]:
    if not value.is_floating_point():
        return {name: value}
    if value.ndim < 2 or value.numel() < LARGE:
        return {name: value.half()}
    scale = (value.abs().flatten(1).amax(1) / 127).clamp(min=LEAST).view(-1, *[1] * (value.ndim - 1))
    return {name: (value / scale).round().to(torch.int8), name + SCALE: scale}


def unpack(packed: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The inverse of `pack`, but for rounding: in a layer of LARGE by 1/254 of its channel's largest weight."""
    states: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for name, value in packed.items():
        part, _, own = name.partition(".")
        if own.endswith(SCALE):
            continue
        scale = packed.get(name + SCALE)
        value = value if scale is None else value.float() * scale.float()
        for each in PARTS if part == BOTH else [part]:
            states[each][own] = value.float() if value.is_floating_point() else value
    return states


def find() -> Path | None:
    """The file of trained networks in the folder WSSS_WEIGHTS, else in the package; None for neither."""
    folders = [Path(os.environ["WSSS_WEIGHTS"]).expanduser()] if os.environ.get("WSSS_WEIGHTS") else []
    places = [folder / FILE for folder in (*folders, PACKAGE_FOLDER / "weights")]
    return next(filter(Path.is_file, places), None)


def read(path: Path | None = None) -> Networks:
    """The networks of a file, by default `find`'s, checked against the architecture that the file names.

    Raises WeightsError, with the command that makes the file, where it is missing, damaged or of another kind.
    """
    expected = "the file that `wsss weights` writes"
    make = "wsss weights --profile photos --out $WSSS_WEIGHTS   (trains them where the run store hasn't got them)"
    path = path or find()
    if path is None:
        raise WeightsError(f"no trained networks: no {FILE} in WSSS_WEIGHTS, nor in the package", expected, make)
    try:
        states = unpack(read_weights(path))
        about = json.loads(torch.load(path, map_location="cpu", weights_only=True)["about"])
        backbone, classes = Backbone.from_settings(about["backbone"]), len(about["classes"])
        load_into(gap_net(about["variant"], backbone, classes), states["classifier"], path)
        load_into(deeplab(backbone, classes + 1), states["segmenter"], path)
    except (LabError, KeyError, TypeError, ValueError) as error:
        problem = getattr(error, "problem", f"'{path}' holds no trained networks ({type(error).__name__}: {error})")
        raise WeightsError(problem, expected, make) from error
    return Networks(**states, about=about)
