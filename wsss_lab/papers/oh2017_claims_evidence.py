"""What the claims of Oh et al. 2017 need beyond its tables and figures: further steps, and their results."""

import hashlib
from collections.abc import Callable
from functools import cached_property

import numpy as np

from wsss_lab.evaluation.intervals import Interval, bootstrap
from wsss_lab.evaluation.precision_recall import mean_precision, sweep
from wsss_lab.lab.steps import Step
from wsss_lab.papers.oh2017 import Route
from wsss_lab.papers.oh2017_evidence import Evidence
from wsss_lab.papers.shared_claims import MeasuredEvidence
from wsss_lab.seeds.pooling import compare_poolings, train_pooled_last
from wsss_lab.seeds.training import classifier_outputs

POOLED = "HighRes"  # the network whose pooling is moved (Supp. B.1)
POOLED_LAST = f"{POOLED}, pooled last"
SEEDER_REPLICATES = 1000


def compared_poolings(route: Route) -> Step:
    """The largest differences between pooling first and pooling last on the trained network."""
    return Step("seeds", compare_poolings, {"variant": POOLED, "backbone": route.scale.backbone.settings()},
                {"view": route.world.train_view("val"), "state": route.classifier(POOLED)["state"]},
                f"both orders of pooling in {POOLED}, seed {route.seed}")


def pooled_last_score(route: Route) -> Step:
    """The precision-recall step of a network trained with the pooling behind the linear layer."""
    backbone = {"variant": POOLED, "backbone": route.scale.backbone.settings()}
    trained = Step("seeds", train_pooled_last,
                   {**backbone, "schedule": route.scale.classifier.settings(), "seed": route.seed},
                   {"view": route.world.train_view("train"), "start": route.start},
                   f"train {POOLED_LAST}, seed {route.seed}")
    maps = Step("seeds", classifier_outputs, backbone,
                {"view": route.world.train_view("val"), "state": trained["state"]},
                f"maps of {POOLED_LAST} on val, seed {route.seed}")
    return route.seed_scores(maps["maps"], POOLED_LAST)


class ClaimEvidence(MeasuredEvidence, Evidence):
    """What the claims read; raises NotMeasured for what a session's profile leaves out."""

    def pooling_differences(self) -> dict[str, float]:
        """Largest relative difference between the orders of pooling over the seeds: of "scores" and "gradients"."""
        each = [self._load(compared_poolings(route), "differences") for route in self.run.routes]
        return {name: max(found[name] for found in each) for name in ("scores", "gradients")}

    def seed_counts(self, seeder: str) -> np.ndarray:
        """As `Evidence.seed_counts`, with POOLED_LAST as a further seeder."""
        return self.stack(pooled_last_score, "counts") if seeder == POOLED_LAST else super().seed_counts(seeder)

    @cached_property
    def seeders(self) -> "SeederFigures":
        """Figures of seeders and their differences."""
        return SeederFigures(self.seed_counts)

    def class_maps(self, variant: str) -> np.ndarray:
        """Class maps of a GAP network on val, signed, on its own grid: (S, N, C, h, w)."""
        return self.stack(lambda route: route.class_maps(variant, "val"), "maps")

    @property
    def dilation(self) -> int:
        """Dilation of GAP-DeepLab, in pixels of its class maps."""
        return self.run.route.scale.backbone.dilation

    @property
    def off_the_shelf_saliency(self) -> bool:
        """Whether the saliency detector came with weights trained elsewhere, on pixel masks."""
        return self.run.route.u2net is not None

    @property
    def train_tags(self) -> np.ndarray:
        """Tags of the training images: bool (N, C)."""
        return self.run.view("train").tags

    def crowding(self) -> dict[str, np.ndarray]:
        """What may distract from an object, per val image: name -> (N,). Photographs have the number of tags only."""
        world = self.run.world
        if not hasattr(world, "scenes"):
            return {"classes in the image": self.tags.sum(1)}
        scenes = self.run.load(world.scenes("val"))
        return {name: np.asarray(scenes[name]) for name in ("instances", "distractors")}


class SeederFigures:
    """Figures of seeders on val, and intervals of their differences over images and seeds.

    counts_of: seeder -> confidence counts (S, N, 3, K, bins). Each replicate goes through all thresholds of a curve,
    so there are SEEDER_REPLICATES of them, and each seeder's figures are computed once however many others it is
    compared with: the bootstrap draws the same images every time.

    figure: "mP", "area" under the foreground curve, or a foreground recall in RECALLS, at which precision is read.
    """

    RECALLS = (0.05, 0.2, 0.4, 0.6)
    COLUMNS = ("mP", "area", *RECALLS)

    def __init__(self, counts_of: Callable[[str], np.ndarray]):
        self.counts_of = counts_of
        self._known: dict[tuple[str, bytes], np.ndarray] = {}

    def value(self, seeder: str, figure: str | float) -> float:
        """The figure in per cent, mean over the seeds; nan where the curve doesn't reach the recall."""
        weights = np.ones((1, self.counts_of(seeder).shape[1]))
        return 100 * float(self._figures(seeder, weights)[0, :, self.COLUMNS.index(figure)].mean())

    def difference(self, a: str, b: str, figure: str | float) -> Interval:
        """Figure of a less that of b, in pp."""
        column = self.COLUMNS.index(figure)

        def per_seed(weights: np.ndarray) -> np.ndarray:
            return (self._figures(a, weights) - self._figures(b, weights))[..., column]

        return bootstrap(per_seed, self.counts_of(a).shape[1], replicates=SEEDER_REPLICATES).percent("pp")

    def _figures(self, seeder: str, weights: np.ndarray) -> np.ndarray:
        """(R, S, COLUMNS) in [0, 1] under image weights (R, N)."""
        key = (seeder, hashlib.blake2b(weights.tobytes()).digest())
        if key not in self._known:
            self._known[key] = np.stack([self._of_seed(counts, weights) for counts in self.counts_of(seeder)], 1)
        return self._known[key]

    def _of_seed(self, counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
        # Single precision is ample for resampled sums, and twice as fast.
        flat = counts.reshape(len(counts), -1).astype(np.float32)
        drawn = (weights.astype(np.float32) @ flat).astype(np.float64).reshape(-1, *counts.shape[1:])
        curve = sweep(drawn).foreground
        # Maps that a CRF has made almost binary have few sweep points, so precision is read between them.
        at_recalls = (curve.precision_at(recall, interpolate=True) for recall in self.RECALLS)
        columns = [mean_precision(drawn), curve.area(), *at_recalls]
        return np.stack(columns, -1)
