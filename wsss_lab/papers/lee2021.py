"""Lee et al. 2021, "Railroad is not a train: saliency as pseudo-pixel supervision" (EPS): its rows and its route.

The route is a graph of cached steps: saliency -> classifier with C + 1 maps, taught by tags and saliency ->
pseudo-masks (as they are, after a CRF, after AffinityNet) -> four segmenters -> scores. Nothing is computed here;
`run.compute` does that.
"""

import os
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from wsss_lab.evaluation import scoring
from wsss_lab.evaluation.boundaries import score_boundaries
from wsss_lab.evaluation.co_occurrence import score_contexts
from wsss_lab.lab.profiles import unknown_name
from wsss_lab.lab.steps import EVALUATION_READS, Step, seeded_step
from wsss_lab.lab.worlds import CocoWorld, ToyWorld, World, saliency_folder, weights_file
from wsss_lab.networks.fit import Schedule
from wsss_lab.papers import araslanov2020, oh2017
from wsss_lab.papers import lee2021_steps as measurements
from wsss_lab.papers.lee2021_values import DIAL, PUBLISHED, RESERVED, SCALES, SEGMENTERS, START_WEIGHTS, Scale
from wsss_lab.papers.shared_rehearsal import scale_of
from wsss_lab.refinement.affinity import affinity_label_frames, train_affinity, walk_frames
from wsss_lab.saliency import maps as saliency
from wsss_lab.saliency.dial import dial_frames
from wsss_lab.saliency.network import saliency_frames, train_saliency
from wsss_lab.seeds.localisation import estimated_frames, pseudo_masks, score_localisations
from wsss_lab.seeds.saliency_supervision import Selection, train_localisation
from wsss_lab.segmenter.training import segment, train_segmenter

DETECTORS = ("masks", "boxes", "unsupervised")  # stand for PFAN, DSS and USPS
TAUS = (0.1, 0.3, 0.35, 0.4, 0.45, 0.5, 0.9)
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # lambda


@dataclass(frozen=True)
class Row:
    """One trained classifier. selection: None trains the CAM baseline. detector: one of DETECTORS or of DIAL.

    rate: factor on the learning rate. momentum: of SGD, None = the profile's.
    """

    selection: Selection | None = field(default_factory=Selection)
    detector: str = "masks"
    rate: float = 1.0
    momentum: float | None = None


def tau_row(tau: float) -> str:
    """The row with this tau."""
    return "adaptive" if tau == Selection.tau else f"tau={tau:g}"


def share_row(share: float) -> str:
    """The row with this lambda."""
    return "adaptive" if share == Selection.share else f"lambda={share:g}"


def detector_row(detector: str) -> str:
    """The adaptive row with this detector or damaged saliency."""
    return "adaptive" if detector == "masks" else f"saliency: {detector}"


#: Rows of Table 3 in its order.
STRATEGY_ROWS = {"baseline": "none", "naive": "naive", "pre-defined": "pre-defined", "adaptive": "adaptive"}

#: What the released momentum does: a tenth of the rate with it, and with the usual one, whose steps add up to ten times
#: their size. At the full rate with the usual one, small networks diverge.
MOMENTUM_ROWS = {"rate / 10": Row(rate=0.1),
                 "rate / 10, momentum 0.9": Row(rate=0.1, momentum=PUBLISHED.usual_momentum)}

ROWS = {
    "CAM": Row(None),
    **{name: Row(Selection(strategy)) for name, strategy in STRATEGY_ROWS.items()},
    **{tau_row(tau): Row(Selection(tau=tau)) for tau in TAUS},
    **{share_row(share): Row(Selection(share=share)) for share in SHARES},
    **{detector_row(name): Row(detector=name) for name in (*DETECTORS, *DIAL)},
    **MOMENTUM_ROWS,
}

#: Rows that a profile runs whose networks take minutes each on a CPU.
_PHOTO_ROWS = ("CAM", "naive", "adaptive", detector_row("unsupervised"), detector_row("oracle"))

#: What the segmenters of Tables 5 and 6 are taught by, and which of SEGMENTERS.
TAUGHT = {
    "adaptive": tuple(SEGMENTERS), "CAM": ("V1, VGG16", "V1, ResNet101"), "CAM + AffinityNet": ("V1, VGG16",),
    "G2": ("V1, ResNet101",), "full": ("V1, ResNet101",),
    detector_row("boxes"): ("V1, ResNet101",), detector_row("unsupervised"): ("V1, ResNet101",),
}
_PHOTO_SEGMENTER = "V1, MobileNetV2"


def trained_rows(profile: str) -> tuple[str, ...]:
    """The rows of ROWS that a profile trains; in `voc` no dial, and "boxes" only where somebody made such maps."""
    if profile == "photos":
        return _PHOTO_ROWS
    known = (*DETECTORS, *DIAL)
    if profile == "voc":
        known = DETECTORS if saliency_folder("boxes", DETECTORS) else ("masks", "unsupervised")
    return tuple(name for name, row in ROWS.items() if row.detector in known)


def segmenters(profile: str) -> dict[str, tuple[str, str]]:
    """The segmenters of a profile: name -> (backbone, head)."""
    return {_PHOTO_SEGMENTER: ("MobileNetV2", "largefov")} if profile == "photos" else SEGMENTERS


def taught(profile: str) -> dict[str, tuple[str, ...]]:
    """Labels that segmenters learn from in a profile -> names of these segmenters."""
    if profile == "photos":
        return {name: (_PHOTO_SEGMENTER,) for name in ("adaptive", "CAM")}
    rows = trained_rows(profile)
    return {labels: nets for labels, nets in TAUGHT.items() if labels in rows or labels not in ROWS}


@dataclass(frozen=True)
class Route:
    """The steps of one full run of the paper at one seed, on one world.

    starts: start weights, "main" (classifiers, AffinityNet) and by backbone of the segmenters. guided: the route of Oh
    et al. 2017 on the same world, whose detectors and G2 guides are used. many: the world of many objects that stands
    for COCO (Table 7), None where there is none. profile: its name, which says what is left out. Every method returns a
    Step; equal arguments give the same step.
    """

    world: World
    scale: Scale
    seed: int
    starts: dict[str, Any]
    guided: oh2017.Route
    many: World | None = None
    profile: str = "toy"

    # --- saliency ------------------------------------------------------------------------------------------------

    def saliency(self, detector: str = "masks", split: str = "train") -> Step:
        """Saliency of a split by one of DETECTORS or of DIAL.

        Maps that somebody else made are read from <WSSS_SALIENCY>/<detector> where the environment names such a folder.
        """
        view = self.world.train_view(split)
        if detector in DIAL:
            kind, amount = DIAL[detector]
            return self._step("saliency", dial_frames, f"saliency '{detector}' of {split}{self._where}",
                              {"kind": kind, "amount": amount, "seed": self.seed},
                              {"view": self.world.eval_view(split)}, "true foreground as saliency")
        if detector not in DETECTORS:
            raise unknown_name("saliency detector", detector, [*DETECTORS, *DIAL])
        if folder := saliency_folder(detector, DETECTORS):
            return seeded_step(None, "saliency", saliency.folder_frames,
                               f"saliency maps '{detector}' of {split}{self._where}", {},
                               {"view": view, "folder": folder}, "saliency made elsewhere")
        if detector == "unsupervised" or self.guided.u2net is not None:
            return replace(self.guided, world=self.world).saliency_maps(split, "" if detector == "masks" else detector)
        return self._step("saliency", saliency_frames, f"saliency ({detector}) of {split}{self._where}",
                          {"backbone": self.guided.scale.backbone.settings()},
                          {"view": view, "state": self.saliency_network(detector)["state"]})

    def saliency_network(self, detector: str) -> Step:
        """A detector trained on other objects' masks ("masks"), or on what GrabCut makes of their boxes ("boxes")."""
        if detector == "boxes":
            return self.guided.saliency_network()
        scenes, scale = self.guided.world.saliency_scenes(), self.guided.scale
        return self._step("saliency", train_saliency, "train saliency network on masks",
                          {"backbone": scale.backbone.settings(), "schedule": scale.saliency.settings(),
                           "seed": self.seed},
                          {"images": scenes["images"], "masks": scenes["masks"], "start": self.guided.start},
                          "masks of other objects (saliency set)")

    def estimated(self, name: str = "adaptive", split: str = "val") -> Step:
        """The saliency maps that a row's localisation maps stand for (Eq. 1)."""
        inputs = {"view": self.world.train_view(split), "state": self.trained(name)["state"],
                  "saliency": self.saliency(ROWS[name].detector, split)["maps"]}
        return self._step("saliency", estimated_frames, f"saliency of {split}{self._where} estimated by {name}",
                          {"backbone": self.backbone, "selection": self.selection(name)}, inputs)

    # --- seeds and fusion ----------------------------------------------------------------------------------------

    def selection(self, name: str) -> dict | None:
        """Settings of a row's map selection on this world; None for CAM."""
        selection = ROWS[name].selection
        if selection is None:
            return None
        names = RESERVED if selection.strategy == "pre-defined" else ()
        reserved = tuple(index for index, each in enumerate(self.world.classes) if each in names)
        share = PUBLISHED.coco_share if isinstance(self.world, CocoWorld) else selection.share
        return replace(selection, share=share, reserved=reserved).settings()

    def trained(self, name: str) -> Step:
        """The classifier of a row of ROWS."""
        if name not in ROWS:
            raise unknown_name("row", name, list(ROWS))
        row, inputs = ROWS[name], {"view": self.world.train_view("train"), "start": self.starts["main"]}
        if row.selection is not None:
            inputs["saliency"] = self.saliency(row.detector)["maps"]
        return self._step("seeds", train_localisation, f"train {name}{self._where}",
                          {"backbone": self.backbone, "schedule": self._schedule(row).settings(), "seed": self.seed,
                           "selection": self.selection(name), "random_scale": self.scale.random_scale}
                          | ({} if row.selection else {"saliency": None}), inputs)

    @property
    def scored(self) -> str:
        """The training images whose pseudo-masks are scored."""
        return self.scale.scored

    def masks(self, name: str, split: str = "", crf: bool = False) -> Step:
        """Pseudo-masks of a split ("" = `scored`) by a row of ROWS, tags known: "masks", "learned" (with the learned
        background map, not for CAM) and, with crf, "refined"."""
        trained, split = self.trained(name), split or self.scored
        return self._step("seeds", pseudo_masks, f"pseudo-masks of {split}{self._where} by {name}{' + CRF' * crf}",
                          {"backbone": self.backbone, "scales": self.scale.scales,
                           "learned": ROWS[name].selection is not None,
                           "crf": self.crf(PUBLISHED.crf) if crf else None},
                          {"view": self.world.train_view(split), "state": trained["state"]})

    # --- refinement ----------------------------------------------------------------------------------------------

    def affinity_net(self, name: str) -> Step:
        """An AffinityNet trained on pairs of pixels that a row's maps and a dense CRF are sure of."""
        view = self.world.train_view(self.scale.paired)
        labels = self._step("refinement", affinity_label_frames, f"affinity labels by {name}",
                            {"backbone": self.backbone, "scales": self.scale.scales,
                             "crf": self.crf(PUBLISHED.affinity_crf), "alphas": PUBLISHED.affinity_alphas},
                            {"view": view, "state": self.trained(name)["state"]})
        return self._step("refinement", train_affinity, f"AffinityNet on {name}",
                          {"backbone": self.backbone, "schedule": self.scale.affinity.settings(), "seed": self.seed},
                          {"view": view, "labels": labels["masks"], "start": self.starts["main"]})

    def walked(self, name: str, split: str = "") -> Step:
        """Pseudo-masks of a split ("" = `scored`) after the random walk of AffinityNet."""
        split = split or self.scored
        return self._step("refinement", walk_frames, f"pseudo-masks of {split} by {name} + AffinityNet",
                          {"backbone": self.backbone, "scales": self.scale.scales, "steps": self.scale.walk_steps},
                          {"view": self.world.train_view(split), "state": self.trained(name)["state"],
                           "affinity_state": self.affinity_net(name)["state"]})

    # --- segmenter -----------------------------------------------------------------------------------------------

    def lessons(self, labels: str) -> Step:
        """What a segmenter is taught: pseudo-masks of a row of ROWS, those of CAM after AffinityNet, the G2 guides of
        Oh et al. 2017, or "full", the ground truth."""
        if labels == "full":
            return self.guided.truth("train")
        if labels == "G2":
            return self.guided.guides("G2")
        if labels == "CAM + AffinityNet":
            return self.walked("CAM", "train")
        return self.masks(labels, "train")

    def segmenter(self, labels: str = "adaptive", net: str = "V1, ResNet101") -> Step:
        """A segmenter (see `segmenters`) trained on pseudo-masks."""
        name, network = self._segmenter(net)
        return self._step("segmenter", train_segmenter, f"{net} on {labels}{self._where}",
                          {**network, "schedule": self.scale.segmenters[name].settings(), "seed": self.seed},
                          {"view": self.world.train_view("train"), "pseudo_masks": self.lessons(labels)["masks"],
                           "start": self.starts[name]})

    def prediction(self, labels: str = "adaptive", net: str = "V1, ResNet101", split: str = "val",
                   crf: bool = False) -> Step:
        """Label maps of a split by a segmenter; tags are not used."""
        _, network = self._segmenter(net)
        return self._step("segmenter", segment, f"labels of {split}{self._where} by {net} on {labels}{' + CRF' * crf}",
                          {**network, "crf": self.crf(PUBLISHED.crf) if crf else None},
                          {"view": self.world.train_view(split), "state": self.segmenter(labels, net)["state"]})

    # --- evaluation: on `scored`, where no split is given --------------------------------------------------------

    def score(self, made: Step, split: str = "", output: str = "masks") -> Step:
        """Confusion matrices, per image, of label maps against the ground truth. output: see the step's method."""
        return self._evaluation(scoring.score_masks, made, split, output)

    def boundaries(self, made: Step, split: str = "", output: str = "masks") -> Step:
        """Matched, found and true boundary pixels per image, for every tolerance (Table 1)."""
        return self._evaluation(score_boundaries, made, split, output, shares=PUBLISHED.boundary_shares)

    def contexts(self, made: Step, split: str = "", output: str = "masks") -> Step:
        """Pixels of surroundings that are labelled as objects, per image (Table 2)."""
        return self._evaluation(score_contexts, made, split, output)

    def localisation_score(self, name: str, split: str = "") -> Step:
        """Histograms of a row's relative maps: scores for every constant background."""
        split = split or self.scored
        return self._step("evaluation", score_localisations, f"all backgrounds of {name} on {split}",
                          {"backbone": self.backbone, "scales": self.scale.scales},
                          {"view": self.world.eval_view(split), "state": self.trained(name)["state"]}, EVALUATION_READS)

    def salient(self, maps: Step, split: str = "val") -> Step:
        """Salient pixels of saliency maps: above one half, as the map selection reads them."""
        return seeded_step(None, "saliency", measurements.salient_halves, f"salient pixels of {maps.label}", {},
                           {"view": self.world.train_view(split), "maps": maps["maps"]})

    def saliency_score(self, maps: Step, split: str = "val") -> Step:
        """Foreground counts of saliency maps, per image; see wsss_lab.evaluation.saliency_scores."""
        salient = self.salient(maps, split)
        return seeded_step(None, "evaluation", scoring.score_saliency, f"score of {salient.label}", {},
                           {"view": self.world.eval_view(split), "salient": salient["masks"]}, EVALUATION_READS)

    def covered(self, maps: Step, split: str = "") -> Step:
        """Salient pixels of each class: confusions whose column 1 counts them."""
        split = split or self.scored
        return self.score(self.salient(maps, split), split)

    def objects(self, split: str = "val") -> Step:
        """How many objects the images of a split show, and how large they are."""
        return seeded_step(None, "evaluation", measurements.object_facts, f"objects of {split}{self._where}", {},
                           {"view": self.world.eval_view(split)}, EVALUATION_READS)

    # --- the world of many objects -------------------------------------------------------------------------------

    @cached_property
    def crowded(self) -> "Route | None":
        """The same route on the world of many objects (Table 7, Fig. 6); its detectors are those of this one."""
        if self.many is None:
            return None
        scale = self.scale
        if scale.many is not None:
            main = replace(scale.main, side=min(scale.main.side, PUBLISHED.coco_side))  # less in a rehearsal
            scale = replace(scale, classifier=scale.many, main=main, random_scale=PUBLISHED.coco_scale, scored="train")
        return replace(self, world=self.many, scale=scale, many=None)

    # --- helpers -------------------------------------------------------------------------------------------------

    @cached_property
    def backbone(self) -> dict:
        """Settings of the classifiers' backbone."""
        return self.scale.main.settings()

    def crf(self, parameters) -> dict:
        """CRF parameters for images of this profile, position widths scaled with their size."""
        return asdict(parameters.scaled(self.scale.image_scale))

    def _schedule(self, row: Row) -> Schedule:
        schedule = self.scale.classifier
        momentum = schedule.momentum if row.momentum is None else row.momentum
        return replace(schedule, lr=row.rate * schedule.lr, momentum=momentum)

    def _segmenter(self, net: str) -> tuple[str, dict]:
        """The name of a segmenter's backbone, and the settings that say which network it is."""
        known = SEGMENTERS | segmenters("photos")
        if net not in known:
            raise unknown_name("segmenter", net, list(known))
        backbone, head = known[net]
        return backbone, {"backbone": self.scale.nets[backbone].settings(), "head": head}

    def _evaluation(self, function, made: Step, split: str, output: str, **settings) -> Step:
        split = split or self.scored
        what = function.__name__.replace("_", " ")
        label = f"{what} of {made.label}" + ("" if output == "masks" else f", {output}")
        return seeded_step(None, "evaluation", function, label, settings,
                           {"view": self.world.eval_view(split), "masks": made[output]}, EVALUATION_READS)

    @property
    def _where(self) -> str:
        return "" if self.world == self.guided.world else " (many objects)"

    def _step(self, *arguments) -> Step:
        return seeded_step(self.seed, *arguments)


def routes(profile: str, seeds: int, world_seed: int = 0) -> list[Route]:
    """The routes of a profile, one per training seed. In `voc`, WSSS_COCO names the folder of COCO, if there is one.

    Raises WeightsError or DataError when the folders that the profile reads don't hold what it needs.
    """
    scale, guided = scale_of(SCALES, profile), oh2017.routes(profile, seeds, world_seed)
    world = guided[0].world
    starts = _toy_starts(profile, world_seed) if guided[0].scale.pretraining else _files(scale)
    return [Route(world, scale, each.seed, starts, each, _many(profile, world), profile) for each in guided]


def _many(profile: str, world: World) -> World | None:
    """The world of Table 7: COCO, or a toy world with more and smaller animals."""
    if isinstance(world, ToyWorld):
        halves = tuple((split, count // 2) for split, count in world.counts)
        return replace(world, knobs=measurements.MANY, counts=halves)
    root = os.environ.get("WSSS_COCO", "")
    return CocoWorld(root) if root and profile == "voc" else None


def _toy_starts(profile: str, world_seed: int) -> dict[str, Any]:
    """Pre-trained on crops, as in the other papers' notebooks."""
    starts = araslanov2020.routes(profile, 1, world_seed)[0].starts
    return {"main": starts["main"], "VGG16": starts["VGG16"], "ResNet101": starts["ResNet-50"]}


def _files(scale: Scale) -> dict[str, Any]:
    """Start weights from the folder WSSS_WEIGHTS, each of them looked at before anything runs."""
    def start(name: str, backbone):
        file = oh2017.START_WEIGHTS["mobilenet"] if backbone.family == "mobilenet" else START_WEIGHTS[name]
        trunk = backbone.trunk("DeepLab")
        return weights_file(file, lambda state, path: backbone.load_start(trunk, state, path))

    return {name: start(name, backbone) for name, backbone in {"main": scale.main, **scale.nets}.items()}
