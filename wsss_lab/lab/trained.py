"""Two trained networks in one small file: what `wsss weights` takes out of the run store, for `wsss apply`.

The classifier and the segmenter of Oh et al. 2017 at seed 0. Layers that both have alike, which were never trained, are
kept once; large weights in 8 bits, by output channel, others in 16. Scores on val are those of the rounded networks.
"""

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsss_lab.data.files import whole
from wsss_lab.errors import LabError, WeightsError
from wsss_lab.evaluation import scoring
from wsss_lab.evaluation.confusion import mean_iou, nan_mean
from wsss_lab.evaluation.precision_recall import average_precisions
from wsss_lab.lab.compute import compute
from wsss_lab.lab.profiles import named
from wsss_lab.lab.provenance import PACKAGE_FOLDER
from wsss_lab.lab.store import Store
from wsss_lab.lab.worlds import World
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import deeplab, gap_net
from wsss_lab.networks.weights import load_into, read_weights
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.seeds.training import classifier_outputs
from wsss_lab.segmenter.training import segment

FILE = "photos_networks.pth"  # its name in the folder WSSS_WEIGHTS, and in the package
PARTS, BOTH, SCALE = ("classifier", "segmenter"), "both", ".scale"
LARGE = 4096  # weights of a layer, from which on they are kept in 8 bits
LEAST = 1e-12  # scale of a channel, so that zeros can be divided by it


@dataclass(frozen=True)
class Networks:
    """State dicts of a classifier and of a segmenter, and what is known of them.

    about: `classes` (names), `backbone` (settings), `variant` of the classifier, `row` of the segmenter, `world`,
    `profile`, `seed`, `pixel_labels` (why what was learnt depends on some), `scores` on val in per cent, and `made`:
    date, commit and key of both steps.
    """

    classifier: dict[str, Tensor]
    segmenter: dict[str, Tensor]
    about: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.about["classes"])


def write(folder: Path, profile: str, row: str, jobs: int | None = None) -> tuple[Path, Networks]:
    """Write the networks of a profile to <folder>/<profile>_networks.pth: the path, and what can be read there.
    Whatever isn't in the run store yet is trained first. row: of oh2017's ROWS, whose segmenter is taken."""
    named(f"row of profile {profile}", row, oh2017.trained_rows(profile))
    route, store = oh2017.routes(profile, seeds=1)[0], Store()
    steps = dict(zip(PARTS, (route.classifier("HighRes"), route.trained(row))))
    compute([*steps.values(), *route.world.eval_view("val").steps], store, jobs=jobs)
    entries = {part: step.load(store) for part, step in steps.items()}
    about = {"classes": list(route.world.classes), "backbone": route.scale.backbone.settings(), "variant": "HighRes",
             "row": row, "world": route.world.name, "profile": profile, "seed": route.seed,
             "pixel_labels": list(steps["segmenter"].pixel_labels()),
             "made": {part: {name: entry.manifest[name] for name in ("label", "key", "commit", "created")}
                      for part, entry in entries.items()}}
    packed = pack({part: entry["state"] for part, entry in entries.items()})
    networks = Networks(**unpack(packed), about=about)
    about["scores"] = _scores(networks, route.world, store)
    buffer, path = io.BytesIO(), folder / f"{profile}_networks.pth"
    torch.save({"state": packed, "about": json.dumps(about)}, buffer)
    with whole(path) as part:
        part.write_bytes(buffer.getvalue())
    return path, networks


def _scores(networks: Networks, world: World, store: Store) -> dict[str, float]:
    """Mean average precision of the classifier and mean IoU of the segmenter on val, in per cent. READS PIXEL LABELS,
    after both have been trained."""
    view, labelled = world.train_view("val").load(store), world.eval_view("val").load(store)
    backbone = networks.about["backbone"]
    seen = classifier_outputs(view, networks.classifier, networks.about["variant"], backbone)["scores"]
    masks = segment(view, networks.segmenter, backbone)["masks"]
    return {"mAP": 100 * nan_mean(average_precisions(seen.numpy(), view.tags)),
            "mIoU": 100 * float(mean_iou(scoring.score_masks(labelled, masks)["confusions"].sum(0)))}


def pack(states: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """State dicts by part as one, smaller: "classifier.trunk.0.weight", or "both.trunk.0.weight" where they agree."""
    first, second = (states[part] for part in PARTS)
    alike = {name for name in first.keys() & second.keys() if torch.equal(first[name], second[name])}
    packed = {}
    for part, state in ((BOTH, {name: first[name] for name in sorted(alike)}), *states.items()):
        for name, value in state.items():
            if part == BOTH or name not in alike:
                packed |= rounded(f"{part}.{name}", value)
    return packed


def rounded(name: str, value: Tensor) -> dict[str, Tensor]:
    """A tensor, smaller: in 8 bits with a scale per output channel where it is LARGE, else in 16; integers stay."""
    if not value.is_floating_point():
        return {name: value}
    if value.ndim < 2 or value.numel() < LARGE:
        return {name: value.half()}
    scale = (value.abs().flatten(1).amax(1) / 127).clamp(min=LEAST).view(-1, *[1] * (value.ndim - 1))
    return {name: (value / scale).round().to(torch.int8), name + SCALE: scale}


def restored(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `rounded`, but for rounding: in a layer of LARGE by 1/254 of its channel's largest weight."""
    found = {}
    for name, value in packed.items():
        if not name.endswith(SCALE):
            scale = packed.get(name + SCALE)
            value = value if scale is None else value.float() * scale.float()
            found[name] = value.float() if value.is_floating_point() else value
    return found


def unpack(packed: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The inverse of `pack`, but for rounding."""
    states: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for name, value in restored(packed).items():
        part, _, own = name.partition(".")
        for each in PARTS if part == BOTH else [part]:
            states[each][own] = value
    return states


def find(name: str = FILE) -> Path | None:
    """A file of trained networks in the folder WSSS_WEIGHTS, else in the package; None for neither."""
    folders = [Path(os.environ["WSSS_WEIGHTS"]).expanduser()] if os.environ.get("WSSS_WEIGHTS") else []
    places = [folder / name for folder in (*folders, PACKAGE_FOLDER / "weights")]
    return next(filter(Path.is_file, places), None)


def read(path: Path | None = None) -> Networks:
    """The networks of a file, by default `find`'s, checked against the architecture that the file names. Raises
    WeightsError, with the command that makes the file, where it is missing, damaged or of another kind."""
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
