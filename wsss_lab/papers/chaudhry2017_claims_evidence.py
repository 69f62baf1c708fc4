"""What the claims of Chaudhry et al. 2017 need beyond its tables and figures: further steps, and their results."""

import numpy as np

from wsss_lab.evaluation.shapes import score_shapes
from wsss_lab.lab.claims import NotMeasured
from wsss_lab.lab.steps import EVALUATION_READS, Step
from wsss_lab.papers.chaudhry2017 import Route, has_test, trained_rows
from wsss_lab.papers.chaudhry2017_evidence import Evidence
from wsss_lab.papers.shared_claims import MeasuredEvidence
from wsss_lab.seeds.cam_equality import compare_with_cam


def final_split(profile: str) -> str:
    """The split of the paper's test results, or val where a profile has none with masks."""
    return "test" if has_test(profile) else "val"


def compared_with_cam(route: Route) -> Step:
    """The largest differences between attention volumes and class activation maps on the trained network."""
    attention = route.attention()
    return Step("seeds", compare_with_cam, {"backbone": route.scale.main.settings()},
                {"view": route.world.train_view("val"), "state": attention["state"]},
                f"attention volumes against class activation maps, seed {route.seed}")


def measured_shapes(route: Route, split: str) -> Step:
    """How thin, fragmented and large the objects of each class are."""
    return Step("evaluation", score_shapes, {}, {"view": route.world.eval_view(split)},
                f"shapes of the objects on {split}", EVALUATION_READS)


class ClaimEvidence(MeasuredEvidence, Evidence):
    """What the claims read; raises NotMeasured for what a session's profile leaves out."""

    def confusions(self, row: str, crf: bool = False, split: str = "val", void: bool = False,
                   scales: tuple[float, ...] = ()) -> np.ndarray:
        self._check_trained(row)
        return super().confusions(row, crf, split, void, scales)

    def cue_confusions(self, row: str, round: int = 1) -> np.ndarray:
        self._check_trained(row)
        return super().cue_confusions(row, round)

    def cam_differences(self) -> dict[str, float]:
        """Largest relative difference from class activation maps over the seeds: of "maps" and "scores"."""
        each = [self._load(compared_with_cam(route), "differences") for route in self.run.routes]
        return {name: max(found[name] for found in each) for name in ("maps", "scores")}

    def shapes(self, split: str) -> np.ndarray:
        """Shape counts of a split: (N, C, 5), see wsss_lab.evaluation.shapes."""
        return np.asarray(self._load(measured_shapes(self.run.route, split), "counts"))

    @property
    def profile(self) -> str:
        """The session's profile."""
        return self.run.profile

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the foreground classes."""
        return self.run.world.classes

    @property
    def gamma(self) -> float:
        """The threshold of Algorithm 1 with the harmonic mean."""
        return self.run.route.scale.gamma

    def _check_trained(self, row: str) -> None:
        if row not in trained_rows(self.run.profile):
            raise NotMeasured(f"profile {self.run.profile} doesn't train the row '{row}'")
