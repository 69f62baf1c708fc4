"""Araslanov & Roth 2020, "Single-stage semantic segmentation from image labels": its rows and its route.

One network, one training: what earlier papers do in stages happens inside the loss. The route is a graph of cached
steps: training -> labels (with predicted or known tags, with and without the dense CRF) -> scores. Nothing is computed
here; `run.compute` does that.
"""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import Any

from wsss_lab.evaluation import scoring
from wsss_lab.lab.profiles import unknown_name
from wsss_lab.lab.steps import EVALUATION_READS, Output, Step, seeded_step
from wsss_lab.lab.worlds import World, open_world, weights_file
from wsss_lab.networks.backbones import Backbone, pretrain
from wsss_lab.networks.deeplab_v3plus import v3plus_trunk
from wsss_lab.networks.fit import Schedule
from wsss_lab.papers import araslanov2020_steps as measurements
from wsss_lab.papers import chaudhry2017, oh2017
from wsss_lab.papers.araslanov2020_values import EXCHANGED, PUBLISHED, SCALES, START_WEIGHTS, Scale
from wsss_lab.papers.shared_rehearsal import scale_of
from wsss_lab.refinement.pamr import DILATIONS
from wsss_lab.seeds.gap_cam import label_cams, train_cam
from wsss_lab.segmenter.single_stage import Method, segment_single_stage, train_single_stage, training_pictures
from wsss_lab.segmenter.training import segment_second_stage, train_second_stage

REFERENCE = Method(psi=PUBLISHED.reference_psi)  # what Tables 1a, 1b and 7 change one thing of
OURS = Method()


@dataclass(frozen=True)
class Row:
    """One trained network: what it changes of the method, and its backbone ("main", or a name of Table 9)."""

    method: Method
    net: str = "main"


def penalty_row(power: float, floor: float) -> str:
    """The row of Table 1a with these p and lambda."""
    return "reference" if (power, floor) == (3, 0.01) else f"p={power:g}, lambda={floor:g}"


POWERS, FLOORS = (0, 3, 5), (0.1, 0.01, 0.001)  # Table 1a
PSIS = (0.1, 0.3, 0.5, 0.7)  # Table 1c has 0.3 and 0.5

#: Rows of Table 1b and the dilations of their kernels. The paper's text has lost which two small ones it tried; one of
#: them is 1-2-4-8, the smaller one here is our choice.
KERNELS = {"no PAMR": (), "kernel 1-2-4": (1, 2, 4), "kernel 1-2-4-8": (1, 2, 4, 8),
           "kernel 1-3-6-9-12-16": (1, 3, 6, 9, 12, 16), "kernel 1-2-4-8-12-16": (1, 2, 4, 8, 12, 16),
           "reference": DILATIONS}

#: Rows of Table 7 and their iterations.
ITERATION_ROWS = {"5 iterations": 5, "reference": 10, "15 iterations": 15}


def gate_row(psi: float, injected: bool = True) -> str:
    """The row with a stochastic gate of this mixing rate, with or without Global Cue Injection."""
    names = {0.3: "ours", 0.5: "reference"} if injected else {}
    return names.get(psi, f"psi={psi:g}" + ("" if injected else ", no GCI"))


#: Rows of Table 1c in its order, after which come the other mixing rates.
GATE_ROWS = ("reference", "psi=0.5, no GCI", "ours", "psi=0.3, no GCI", "no gate", "deterministic gate")

#: Where the paper and its released code differ, and what the paper leaves open: the other choice, from the reference.
SWITCHES = {
    "bandwidth of Eq. 8": replace(REFERENCE, bandwidth="paper"),
    "average of Eq. 23": replace(REFERENCE, average="paper"),
    "injection of Eq. 11": replace(REFERENCE, cue="paper"),
    "no least confidence": replace(REFERENCE, least=0.0),
    "epsilon=0": replace(REFERENCE, epsilon=0.0),
    "other ASPP statistics": REFERENCE,  # frozen where the profile trains them, and the other way round
}

ROWS = {
    "ours": Row(OURS),
    "reference": Row(REFERENCE),
    "no penalty": Row(replace(REFERENCE, penalty=False)),
    **{penalty_row(power, floor): Row(replace(REFERENCE, power=power, floor=floor))
       for power in POWERS for floor in FLOORS},
    **{name: Row(replace(REFERENCE, dilations=kernel) if kernel else replace(REFERENCE, iterations=0))
       for name, kernel in KERNELS.items()},
    **{name: Row(replace(REFERENCE, iterations=count)) for name, count in ITERATION_ROWS.items()},
    **{gate_row(psi, injected): Row(replace(REFERENCE, psi=psi, cue="released" if injected else "none"))
       for psi in PSIS for injected in (True, False)},
    "no gate": Row(replace(REFERENCE, gate="none")),
    "deterministic gate": Row(replace(REFERENCE, gate="deterministic")),
    **{name: Row(method) for name, method in SWITCHES.items()},
    **{name: Row(OURS, name) for name in EXCHANGED},
}

#: Rows that a profile runs whose networks take minutes each on a CPU.
_PHOTO_ROWS = ("ours", "reference", "no PAMR", "no gate")


def trained_rows(profile: str) -> tuple[str, ...]:
    """The rows of ROWS that a profile trains."""
    return _PHOTO_ROWS if profile == "photos" else tuple(ROWS)


def trained_nets(profile: str) -> tuple[str, ...]:
    """The backbones that a profile trains: "main", and those of Table 9."""
    return ("main", *SCALES[profile].nets)


@dataclass(frozen=True)
class Route:
    """The steps of one full run of the paper at one seed, on one world.

    starts: start weights by backbone, "main" and names of Table 9. guided: the route of Oh et al. 2017 on the same
    world, whose ground truth full supervision takes. profile: its name. Every method returns a Step; equal arguments
    give the same step.
    """

    world: World
    scale: Scale
    seed: int
    starts: dict[str, Any]
    guided: oh2017.Route
    profile: str

    # --- one network, one training -------------------------------------------------------------------------------

    def method(self, name: str) -> dict:
        """Settings of a row's method: kernels on this profile's masks, statistics as it keeps them."""
        method = ROWS[name].method
        statistics = self.scale.aspp_statistics
        if name == "other ASPP statistics":
            statistics = "trained" if statistics == "frozen" else "frozen"
        return replace(method, dilations=self.scale.dilations(method.dilations), aspp_statistics=statistics).settings()

    def trained(self, name: str) -> Step:
        """The network of a row of ROWS."""
        if name not in ROWS:
            raise unknown_name("row", name, list(ROWS))
        net = ROWS[name].net
        schedule = self._schedule(net)
        iterations = schedule.iterations
        return self._step("segmenter", train_single_stage, f"train {name}",
                          {"backbone": self.backbone(net), "schedule": schedule.settings(), "seed": self.seed,
                           "method": self.method(name), "warm_up": round(PUBLISHED.warm_up * iterations),
                           "snapshot": round(self.scale.snapshot * iterations) if name == "ours" else 0},
                          {"view": self.world.train_view("train"), "start": self.starts[net]})

    def prediction(self, name: str, split: str = "val", tags: str = "predicted", exchanged: bool = False,
                   power: float = 1.0) -> Step:
        """Labels of a split by a row of ROWS: "masks", and "refined" by the dense CRF (not for SWITCHES, of which the
        paper prints no scores).

        tags: "predicted" or "known". exchanged: with the scales of App. F. power: of the background, 3 as in the
        released code.
        """
        trained = self.trained(name)
        label = f"labels of {split} by {name}" + (", tags known" if tags == "known" else "")
        label += (", scales of App. F" if exchanged else "") + (f", background to the {power:g}" if power != 1 else "")
        return self._step("segmenter", segment_single_stage, label,
                          {"backbone": self.backbone(ROWS[name].net), "method": self.method(name),
                           "scales": self._scales(exchanged), "tags": tags, "power": power,
                           "crf": None if name in SWITCHES else self.crf},
                          {"view": self.world.train_view(split), "state": trained["state"]})

    def pictures(self, images: tuple[int, ...], late: bool = False, split: str = "train") -> Step:
        """Masks, refined masks and pseudo ground truth of images inside the training of "ours": early or at its end."""
        trained = self.trained("ours")
        return self._step("segmenter", training_pictures, f"pictures of {'the end of ' if late else ''}training",
                          {"backbone": self.backbone(), "method": self.method("ours"), "images": list(images)},
                          {"view": self.world.train_view(split), "state": trained["state" if late else "early"]})

    def memory(self) -> Step:
        """Memory of a training iteration, and of PAMR inside it."""
        return seeded_step(None, "evaluation", measurements.measure_memory, "memory of PAMR and of training",
                           {"backbone": self.backbone(), "schedule": self.scale.schedule.settings(),
                            "method": self.method("ours")}, {"view": self.world.train_view("train")})

    # --- the baseline and the two-stage extension ----------------------------------------------------------------

    def cam(self, net: str = "main") -> Step:
        """The CAM baseline's classifier."""
        return self._step("seeds", train_cam, f"train CAM{self._of(net)}",
                          {"backbone": self.backbone(net), "schedule": self.scale.cam.settings(), "seed": self.seed},
                          {"view": self.world.train_view("train"), "start": self.starts[net]})

    def cam_labels(self, net: str = "main", split: str = "val", exchanged: bool = False) -> Step:
        """Labels of a split by CAMs of its tags; arguments and outputs as for `prediction`."""
        label = f"CAM labels of {split}{self._of(net)}" + (", scales of App. F" if exchanged else "")
        return self._step("seeds", label_cams, label,
                          {"backbone": self.backbone(net), "scales": self._scales(exchanged), "crf": self.crf},
                          {"view": self.world.train_view(split), "state": self.cam(net)["state"]})

    def second(self, labels: str = "ours", net: str = "ResNet-101") -> Step:
        """A DeepLabv3+ trained on labels of the train split: "ours" (with tags and CRF) or "full", the ground truth."""
        if labels not in ("ours", "full"):
            raise unknown_name("kind of labels", labels, ["ours", "full"])
        taught = self.guided.truth("train")["masks"] if labels == "full" else self.pseudo_masks()
        return self._step("segmenter", train_second_stage, f"second stage on {labels}{self._of(net)}",
                          {"backbone": self.backbone(net), "schedule": self.scale.second.settings(), "seed": self.seed,
                           "aspp_statistics": self.scale.aspp_statistics},
                          {"view": self.world.train_view("train"), "pseudo_masks": taught, "start": self.starts[net]})

    def pseudo_masks(self) -> Output:
        """Our labels of the train split, with its tags and the CRF."""
        return self.prediction("ours", "train", "known")["refined"]

    def second_labels(self, labels: str = "ours", net: str = "ResNet-101", split: str = "val") -> Step:
        """Labels of a split by a second-stage network, tags not used; outputs as for `prediction`."""
        name = f"labels of {split} by the second stage on {labels}{self._of(net)}"
        return self._step("segmenter", segment_second_stage, name,
                          {"backbone": self.backbone(net), "scales": self._scales(False), "crf": self.crf},
                          {"view": self.world.train_view(split), "state": self.second(labels, net)["state"]})

    # --- evaluation ----------------------------------------------------------------------------------------------

    def score(self, labels: Step, split: str = "val", crf: bool = False) -> Step:
        """Confusion matrices, per image, of a step's labels, without or after the dense CRF."""
        return seeded_step(None, "evaluation", scoring.score_masks, f"score of {labels.label}{' + CRF' * crf}", {},
                           {"view": self.world.eval_view(split), "masks": labels["refined" if crf else "masks"]},
                           EVALUATION_READS)

    # --- helpers -------------------------------------------------------------------------------------------------

    def beside(self, paper: ModuleType) -> Any:
        """The route of another paper on the same world, at the same seed."""
        return paper.routes(self.profile, self.seed + 1, getattr(self.world, "seed", 0))[self.seed]

    @cached_property
    def crf(self) -> dict:
        """The dense CRF's parameters for images of this profile, its position widths scaled with their size."""
        return asdict(PUBLISHED.crf.scaled(self.scale.image_scale))

    def backbone(self, net: str = "main") -> dict:
        """Settings of a backbone, "main" or a name of Table 9."""
        return (self.scale.main if net == "main" else self.scale.nets[net]).settings()

    def _schedule(self, net: str) -> Schedule:
        return self.scale.schedules.get(net, self.scale.schedule)

    def _scales(self, exchanged: bool) -> tuple[float, ...]:
        return self.scale.exchanged_scales if exchanged else self.scale.scales

    def _of(self, net: str) -> str:
        return "" if net == "main" else f" ({net})"

    def _step(self, *arguments) -> Step:
        return seeded_step(self.seed, *arguments)


def routes(profile: str, seeds: int, world_seed: int = 0) -> list[Route]:
    """The routes of a profile, one per training seed.

    Toy backbones that earlier papers pre-train too share their start weights with them. Raises WeightsError or
    DataError when the folders that the profile reads don't hold what it needs.
    """
    scale, guided = scale_of(SCALES, profile), oh2017.routes(profile, seeds, world_seed)
    starts = _toy_starts(profile, scale, world_seed) if scale.pretraining else _files(scale)
    return [Route(open_world(profile, world_seed), scale, each.seed, starts, each, profile) for each in guided]


def _toy_starts(profile: str, scale: Scale, world_seed: int) -> dict[str, Any]:
    """Start weights pre-trained on crops; VGG's and the shallow ResNet's are those of the earlier papers."""
    earlier = chaudhry2017.routes(profile, 1, world_seed)[0].starts
    crops = open_world(profile, world_seed).crops()

    def own(backbone: Backbone, name: str) -> Output:
        return Step("networks", pretrain, {"backbone": backbone.settings(), "schedule": scale.pretraining.settings(),
                                           "seed": world_seed},
                    {"images": crops["images"], "labels": crops["labels"]}, f"pre-training of {name} on crops")["state"]

    return {"main": own(scale.main, "WideResNet"), "VGG16": earlier["second"], "ResNet-50": earlier["main"],
            "ResNet-101": own(scale.nets["ResNet-101"], "deep ResNet")}


def _files(scale: Scale) -> dict[str, Any]:
    """Start weights from the folder WSSS_WEIGHTS, each of them looked at before anything runs."""
    def start(name: str, backbone: Backbone):
        file = START_WEIGHTS["mobilenet" if backbone.family == "mobilenet" else name]
        trunk = v3plus_trunk(backbone)
        return weights_file(file, lambda state, path: backbone.load_start(trunk, state, path))

    return {name: start(name, backbone) for name, backbone in {"main": scale.main, **scale.nets}.items()}
