"""What the claims of Lee et al. 2021 read: its stored results, with a reason where a profile leaves one out.

Some steps are needed beyond its tables: CAM expanded without saliency, and other cuts of saliency maps.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from wsss_lab.evaluation.confusion import divide, iou, nan_mean
from wsss_lab.evaluation.intervals import Statistic
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.lab.claims import NotMeasured
from wsss_lab.lab.steps import EVALUATION_READS, Step, seeded_step
from wsss_lab.papers.lee2021 import DETECTORS, Route, detector_row, has_test, segmenters, taught, trained_rows
from wsss_lab.papers.lee2021_claims_steps import score_cuts
from wsss_lab.papers.lee2021_evidence import Evidence
from wsss_lab.papers.shared_claims import MeasuredEvidence
from wsss_lab.seeds.localisation import BACKGROUND, pseudo_masks

EPS, CAM = "adaptive", "CAM"  # the rows of the paper's method and of its baseline
CUTS = (0.2, 0.3, 0.4)  # of saliency maps, besides the map selection's one half
LOW_BACKGROUND = BACKGROUND / 2  # constant score beside which CAM's maps cover more of the image
CONTEXT_COUNTS = ("false", "present", "confusions", "known")


def expanded_contexts(route: Route) -> Step:
    """Co-occurrence counts of CAM at LOW_BACKGROUND: coverage without any cue for boundaries."""
    masks = seeded_step(route.seed, "seeds", pseudo_masks,
                        f"pseudo-masks of {route.scored} by CAM, background {LOW_BACKGROUND:g}",
                        {"backbone": route.backbone, "scales": route.scale.scales, "background": LOW_BACKGROUND},
                        {"view": route.world.train_view(route.scored), "state": route.trained(CAM)["state"]})
    return route.contexts(masks)


def walked_contexts(route: Route) -> Step:
    """Co-occurrence counts of CAM after AffinityNet, whose affinities are taught by a dense CRF, which sees edges."""
    return route.contexts(route.walked(CAM))


def cut_scores(route: Route, maps: Step) -> Step:
    """Foreground counts of saliency maps of val at each of CUTS."""
    return seeded_step(None, "evaluation", score_cuts, f"cuts of {maps.label}", {"cuts": CUTS},
                       {"view": route.world.eval_view("val"), "saliency": maps["maps"]}, EVALUATION_READS)


class Pair(NamedTuple):
    """A class with the surroundings that go with it: 0-based indices and a name, as in "boat on water"."""

    k: int
    c: int
    name: str


class ClaimEvidence(MeasuredEvidence, Evidence):
    """What the claims read; raises NotMeasured for what a session's profile leaves out."""

    def of(self, route: Any, many: bool = False) -> Any:
        if many and route.crowded is None:
            where = "; there it is COCO 2014, in the folder that WSSS_COCO names" if self.profile == "voc" else ""
            raise NotMeasured(f"profile {self.profile} has no world of many objects{where}")
        return super().of(route, many)

    def confusions(self, row: str, crf: bool = False, split: str = "") -> np.ndarray:
        """Confusions of a row's pseudo-masks: (row, crf) is a cell, see wsss_lab.papers.shared_claims."""
        return self.pseudo(row, split, "refined" if crf else "masks")

    def pseudo(self, row: str, split: str = "", output: str = "masks", many: bool = False,
               void: bool = False) -> np.ndarray:
        self._check_trained(row)
        return super().pseudo(row, split, output, many, void)

    def learned(self, row: str) -> np.ndarray:
        """As `confusions`, with the learned background map in place of the constant score; not for CAM."""
        return self.pseudo(row, output="learned")

    def segmented(self, labels: str, net: str, split: str = "val", crf: bool = False, many: bool = False,
                  void: bool = False) -> np.ndarray:
        if not many:
            self._check_taught(labels, net)
        return super().segmented(labels, net, split, crf, many, void)

    def expanded_contexts(self) -> dict[str, np.ndarray]:
        """As `contexts`, of CAM at a low background score."""
        return {name: self.stack(expanded_contexts, name) for name in CONTEXT_COUNTS}

    def walked_contexts(self) -> dict[str, np.ndarray]:
        """As `contexts`, of CAM after AffinityNet, where the profile has one."""
        return {name: self.stack(walked_contexts, name) for name in CONTEXT_COUNTS}

    def cuts(self, estimated: bool) -> np.ndarray:
        """Foreground counts (S, N, cuts, 4) of the saliency that EPS estimates on val, or of its detector's."""
        def step(route: Any) -> Step:
            return cut_scores(route, route.estimated() if estimated else route.saliency(split="val"))

        return self.stack(step, "counts")

    def objects(self, split: str = "val", many: bool = True) -> dict[str, np.ndarray]:
        step = self.of(self.run.route, many).objects(split)
        return {name: np.asarray(self._load(step, name)) for name in ("objects", "area")}

    @property
    def profile(self) -> str:
        """The session's profile."""
        return self.run.profile

    @property
    def has_affinity(self) -> bool:
        """Whether the profile trains AffinityNet."""
        return self.run.route.scale.affinity is not None

    @property
    def classes(self) -> Sequence[str]:
        """Names of the foreground classes."""
        return self.run.world.classes

    @property
    def reserved(self) -> np.ndarray:
        """The classes that the "pre-defined" strategy counts with the background: bool (C,)."""
        return np.isin(np.arange(len(self.classes)), self.run.route.selection("pre-defined")["reserved"])

    @property
    def scored_tags(self) -> np.ndarray:
        """Tags of the images whose pseudo-masks are scored: bool (N, C)."""
        return self.scored_view().tags

    @property
    def detector_of_guides(self) -> str | None:
        """Which of DETECTORS the G2 guides of Oh et al. 2017 use, None where it is none of them."""
        theirs = self.run.route.guided.saliency_maps("train")
        return next((name for name in DETECTORS if self.run.route.saliency(name) == theirs), None)

    def named_pairs(self) -> list[Pair]:
        """Classes with the surroundings that go with them; raises NotMeasured where there are none."""
        view = self.scored_view()
        if not view.has_context:
            raise NotMeasured("these images have no maps of their surroundings")
        found = [Pair(k, c, f"{self.classes[c]} on {view.context_classes[k]}") for k, c in self.pairs()]
        if not found:
            raise NotMeasured("in these images no class keeps to one kind of surroundings")
        return found

    def _check_trained(self, row: str) -> None:
        if row not in trained_rows(self.profile):
            raise NotMeasured(f"profile {self.profile} doesn't train the row '{row}'")

    def _check_taught(self, labels: str, net: str) -> None:
        if net not in segmenters(self.profile):
            raise NotMeasured(f"profile {self.profile} doesn't train the segmenter '{net}'")
        if net not in taught(self.profile).get(labels, ()):
            raise NotMeasured(f"profile {self.profile} doesn't train the segmenter '{net}' on '{labels}'")


def splits(evidence: ClaimEvidence) -> tuple[str, ...]:
    """The splits of claims on val and test: both, or val where a profile has no other with masks."""
    return ("val", "test") if has_test(evidence.profile) else ("val",)


def shown(labels: str) -> str:
    """A name beside other methods: rows of EPS that differ by their saliency are "EPS" and "EPS (boxes)"."""
    others = {detector_row(name): f"EPS ({name})" for name in DETECTORS[1:]}
    return "EPS" if labels == EPS else others.get(labels, labels)


def iou_of(chosen: np.ndarray) -> Statistic:
    """Mean IoU of chosen foreground classes, bool (C,), a statistic of confusions."""
    return lambda summed: nan_mean(iou(summed)[..., 1:][..., chosen])


def recall_of_classes(salient: np.ndarray) -> np.ndarray:
    """Which part of each class is salient: confusions (S, N, K, K + 1) of `covered` -> (C,), mean over the seeds."""
    pooled = salient.sum(1)[:, 1:]
    return divide(pooled[..., 1], pooled.sum(-1)).mean(0)


def at_best_background(counts: np.ndarray) -> tuple[float, float]:
    """The constant background score of greatest mIoU, and that mIoU in per cent, mean over the seeds.

    counts: confidence counts (S, N, 3, K, bins). It is chosen on the pixel labels it is scored with.
    """
    swept = sweep(counts.sum(1))
    each = swept.mean_iou.mean(0)
    return float(swept.thresholds[each.argmax()]), 100 * float(each.max())
