"""How much GPU memory a training takes, told before it starts.

Counted on the trunk of its network, without computing it: weights, their gradients, what the optimiser keeps for each,
and the activations that the backward pass of a batch needs. Heads, losses and what exists for a moment come on top.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from wsss_lab.lab.steps import Step
from wsss_lab.networks.backbones import Backbone

FULL, HALF = 4, 2  # bytes of a number in fp32, and in bf16 or fp16
NAMED = 4  # trainings that are too large and named

#: Trainings whose trunk is cut and frozen as in DeepLabv3+ (wsss_lab.networks.deeplab_v3plus and skip).
V3PLUS = ("train_single_stage", "train_second_stage", "train_cam", "train_localisation", "train_affinity")


@dataclass(frozen=True)
class Kept:
    """What a trunk keeps in training. weights, trained: how many there are, and how many of them are trained.
    activations: floating-point numbers per image that the backward pass needs. bytes: what it needs beside them, which
    no precision changes (the places of maxima)."""

    weights: int
    trained: int
    activations: int
    bytes: int


def training_bytes(step: Step, mixed: bool = True, parts: int = 1) -> float:
    """GPU memory of the trunk of a step's network at its peak; 0 for a step that trains none.

    mixed: activations, and a copy of the weights, in half precision. parts: how many a batch is worked through in.
    """
    if not step.trains or not step.settings.get("backbone"):
        return 0.0
    schedule = step.settings["schedule"]
    kept = _kept(Backbone.from_settings(step.settings["backbone"]), cut_of(step), schedule["trunk_lr"] > 0)
    momenta = 2 if schedule["optimiser"] == "adamw" else int(schedule["momentum"] > 0)
    weights = kept.weights * (FULL + HALF * mixed) + kept.trained * FULL * (1 + momenta)
    images = -(-schedule["batch"] // parts)
    return weights + images * (kept.activations * (HALF if mixed else FULL) + kept.bytes)


def advice(trainings: Sequence[Step], gpu: float | None) -> list[str]:
    """Sentences on the largest of some trainings, and on those that a GPU is too small for.

    gpu: its memory in bytes, None = there is none here.
    """
    if not trainings:
        return []
    largest = max(trainings, key=training_bytes)
    lines = [f"The largest training, {largest.label}, needs about {training_bytes(largest) / 1e9:.1f} GB of GPU memory "
             f"in bf16, {training_bytes(largest, mixed=False) / 1e9:.1f} GB in fp32,",
             "for its trunk: heads and losses come on top. A batch that doesn't fit is worked through in parts; "
             "WSSS_PARTS=2 does so",
             f"from the start, which takes {training_bytes(largest, parts=2) / 1e9:.1f} GB in bf16."]
    if gpu is not None:
        names = [each.label for each in trainings if training_bytes(each) > gpu]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        lines.append(f"This GPU has {gpu / 1e9:.1f} GB: " + (
            f"in bf16 too little for whole batches of {', '.join(names[:NAMED])}{more}." if names else
            "enough for whole batches of every training's trunk in bf16."))
    return lines


def gpu_bytes() -> float | None:
    """Memory of this machine's first GPU; None without one."""
    import torch

    return float(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else None


def cut_of(step: Step) -> str:
    """A variant of Backbone.trunk, or "v3plus"."""
    return "v3plus" if step.function.__name__ in V3PLUS else step.settings.get("variant", "DeepLab")


@lru_cache
def _kept(backbone: Backbone, cut: str, trained: bool) -> Kept:
    """trained: whether the trunk's learning rate isn't 0."""
    import torch

    with torch.device("meta"):
        trunk = trunk_of(backbone, cut).requires_grad_(trained)
        _freeze(trunk, backbone, cut)
        saved = _saved(trunk, torch.zeros(1, 3, backbone.side, backbone.side))
    weights = list(trunk.parameters())
    floats = [each for each in saved if each.is_floating_point()]
    return Kept(sum(each.numel() for each in weights), sum(each.numel() for each in weights if each.requires_grad),
                sum(each.numel() for each in floats),
                sum(each.nbytes for each in saved if not each.is_floating_point()))


def trunk_of(backbone: Backbone, cut: str) -> Any:
    """A backbone's trunk in training mode. cut: see `cut_of`."""
    from wsss_lab.networks.deeplab_v3plus import v3plus_trunk

    return (v3plus_trunk(backbone) if cut == "v3plus" else backbone.trunk(cut)).train()


def _freeze(trunk: Any, backbone: Backbone, cut: str) -> None:
    """Freeze what trainings freeze before they begin."""
    from torch import nn

    from wsss_lab.networks.deeplab_v3plus import freeze_trunk

    if cut == "v3plus":
        freeze_trunk(backbone.family, trunk)
    else:
        backbone.prepare(nn.ModuleDict({"trunk": trunk}))


def _saved(trunk: Any, image: Any) -> list[Any]:
    """The tensors that the backward pass needs beside the trunk's own, each once."""
    from torch.autograd.graph import saved_tensors_hooks

    own = {each.untyped_storage()._cdata for each in (*trunk.parameters(), *trunk.buffers())}
    found: dict[int, Any] = {}

    def note(tensor: Any) -> Any:
        place = tensor.untyped_storage()._cdata  # a layer that works in place saves its input's memory again
        if place not in own:
            found[place] = tensor
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        trunk(image)
    return list(found.values())
