"""What the routes of all papers share: how steps are made of functions, at one training seed, on one world."""

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from wsss_lab.evaluation import scoring
from wsss_lab.lab.steps import EVALUATION_READS, Output, Step, is_reference, references
from wsss_lab.lab.worlds import WeightsFile, World, weights_file
from wsss_lab.networks.backbones import Backbone, pretrain
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.mobilenet import frozen_features
from wsss_lab.refinement.dense_crf import CRF_SETS, CrfParameters

#: Ways in which each training image is trimmed and mirrored where frozen layers see it once and for all.
VARIANTS = 8


def longer(scale: Any, **times: int) -> Any:
    """A paper's scale whose schedules of these names, or all of a mapping of them, are so many times as long."""
    def stretched(each: Any, factor: int) -> Any:
        if isinstance(each, Mapping):
            return {name: stretched(one, factor) for name, one in each.items()}
        return replace(each, iterations=factor * each.iterations, decay_every=factor * each.decay_every)

    return replace(scale, **{name: stretched(getattr(scale, name), factor) for name, factor in times.items()})


@dataclass(frozen=True)
class PaperRoute:
    """The steps of one full run of a paper at one training seed, on one world; each paper's Route adds its methods.

    scale: how large and how long everything is, of the paper's SCALES. Equal arguments give the same step.
    """

    world: World
    scale: Any
    seed: int

    def step(self, function: Callable[..., dict], label: str, /, stage: str = "", reads_masks: str = "",
             **arguments: Any) -> Step:
        """The step that calls function(**arguments).

        stage: by default the subpackage of the function's module. arguments: steps, outputs, views and files, and lists
        of these, are inputs, all others settings; of what has a method settings() (a schedule) what that says. A view
        may be the name of a split: steps of the evaluation see its masks (and have their reason for it), all others
        images and tags. A function that takes a seed gets the route's unless another is given, and likewise backbone,
        side and start weights that it can't do without. The label ends with the route's seed where the result depends
        on it.
        """
        stage = stage or function.__module__.split(".")[1]
        if isinstance(split := arguments.get("view"), str):
            arguments["view"] = self.world.eval_view(split) if stage == "evaluation" else self.world.train_view(split)
        own = {"seed": lambda: self.seed, "backbone": lambda: self.scale.backbone, "side": lambda: self.side,
               "start": lambda: self.start}
        arguments |= {name: own[name]() for name, parameter in inspect.signature(function).parameters.items()
                      if name in own and name not in arguments
                      and (name == "seed" or parameter.default is parameter.empty)}
        inputs = {name: value for name, value in arguments.items() if is_reference(value)}
        settings = {name: value.settings() if hasattr(value, "settings") else value
                    for name, value in arguments.items() if name not in inputs}
        given = list(references(inputs.values()))
        if stage == "evaluation" and any(each.exposes_masks for each in given):
            reads_masks = reads_masks or EVALUATION_READS
        parents = {parent.label for each in given for parent in getattr(each, "steps", ())}
        seeded = "seed" in settings or any(self.unseeded(parent) != parent for parent in parents)
        label = self.unseeded(label) + (f", seed {self.seed}" if seeded else "")
        return self.world.answered(Step(stage, function, settings, inputs, label, reads_masks))

    def unseeded(self, label: str) -> str:
        """A label, or a text with labels in it, without the route's seed."""
        return re.sub(rf", seed {self.seed}\b", "", label)

    @property
    def side(self) -> int:
        """Of the network's canvas, in pixels."""
        return self.scale.backbone.side

    @property
    def left_out(self) -> Collection[str]:
        """Rows, networks and splits that the route's profile doesn't have: of these nothing is measured."""
        return ()

    def score(self, labels: Step, split: str = "val", output: str = "masks") -> Step:
        """Confusion matrices, per image, of an output of a step, label maps, against the ground truth."""
        name = f"score of {labels.label}" + ("" if output == "masks" else f", {output}")
        return self.step(scoring.score_masks, name, view=split, masks=labels[output])

    def frozen(self, backbone: Backbone, start: Any) -> dict:
        """The argument `features` of trainings behind layers that stay as they are, MobileNetV2's; {} for others."""
        if backbone.family != "mobilenet":
            return {}
        step = self.step(frozen_features, "frozen layers on train", view="train", start=start, side=backbone.side,
                         variants=VARIANTS)
        return {"features": step["features"]}

    def crf(self, parameters: CrfParameters | str | None) -> dict | None:
        """Dense CRF parameters for images of this profile, position widths scaled with their size; None for no CRF.

        parameters: those for images of the paper's size, or a name of CRF_SETS.
        """
        parameters = CRF_SETS[parameters] if isinstance(parameters, str) else parameters
        return asdict(parameters.scaled(self.scale.image_scale)) if parameters else None


def pretrained(backbone: Backbone, schedule: Schedule, world: World, label: str = "pre-training on crops") -> Output:
    """Start weights of a trunk, learnt from the crops of a toy world at the world's own seed."""
    crops = world.crops()
    settings = {"backbone": backbone.settings(), "schedule": schedule.settings(), "seed": world.seed}
    inputs = {name: crops[name] for name in ("images", "labels")}
    return world.answered(Step("networks", pretrain, settings, inputs, label))["state"]


def start_file(name: str, backbone: Backbone, trunk: Any) -> WeightsFile:
    """Start weights in the folder WSSS_WEIGHTS, put into the trunk before anything runs; see `weights_file`."""
    return weights_file(name, lambda state, path: backbone.load_start(trunk, state, path))
