"""What the claims of Araslanov & Roth 2020 read: its stored results, with a reason where a profile leaves one out."""

from collections.abc import Sequence

import numpy as np

from wsss_lab.evaluation.confusion import mean_iou, precision_recall_of_labels
from wsss_lab.evaluation.intervals import Interval, Statistic, combined_interval
from wsss_lab.lab.claims import NotMeasured
from wsss_lab.papers.araslanov2020 import trained_nets, trained_rows
from wsss_lab.papers.araslanov2020_evidence import Evidence
from wsss_lab.papers.shared_claims import Cell, MeasuredEvidence

#: Splits on which CAMs and our labels are compared with tags known (Table 2).
KNOWN_TAGS = ("train", "val")


class ClaimEvidence(MeasuredEvidence, Evidence):
    """What the claims read; raises NotMeasured for what a session's profile leaves out."""

    def confusions(self, row: str, crf: bool = False, split: str = "val", tags: str = "predicted",
                   exchanged: bool = False, power: float = 1.0, void: bool = False) -> np.ndarray:
        self._check_trained(row)
        return super().confusions(row, crf, split, tags, exchanged, power, void)

    def cam_confusions(self, net: str = "main", crf: bool = False, split: str = "val", exchanged: bool = False,
                       void: bool = False) -> np.ndarray:
        self._check_backbone(net)
        return super().cam_confusions(net, crf, split, exchanged, void)

    def second_confusions(self, labels: str = "ours", net: str = "ResNet-101", crf: bool = False, split: str = "val",
                          void: bool = False) -> np.ndarray:
        self._check_backbone(net)
        return super().second_confusions(labels, net, crf, split, void)

    def curves(self, row: str) -> dict[str, np.ndarray]:
        self._check_trained(row)
        return super().curves(row)

    @property
    def profile(self) -> str:
        """The session's profile."""
        return self.run.profile

    @property
    def policy(self) -> str:
        """How the learning rate changes in a training, see wsss_lab.networks.fit.Schedule."""
        return self.run.route.scale.schedule.policy

    def dilations(self, row: str) -> tuple[int, ...]:
        """Dilations of PAMR in a row, on this profile's masks."""
        return tuple(self.run.route.method(row)["dilations"])

    def has_row(self, row: str) -> bool:
        """Whether the profile trains a row."""
        return row in trained_rows(self.profile)

    def _check_trained(self, row: str) -> None:
        if not self.has_row(row):
            raise NotMeasured(f"profile {self.profile} doesn't train the row '{row}'")

    def _check_backbone(self, net: str) -> None:
        if net not in trained_nets(self.profile):
            raise NotMeasured(f"profile {self.profile} doesn't train the backbone '{net}'")


def row_of(net: str) -> str:
    """The row of the final model with a backbone: "main" or a name of Table 9."""
    return "ours" if net == "main" else net


def mean_difference(better: Sequence[np.ndarray], worse: Sequence[np.ndarray],
                    statistic: Statistic = mean_iou, over: int = 0) -> Interval:
    """Mean over pairs of methods of statistic(better) - statistic(worse), in pp with its interval.

    better, worse: equally many arrays of per-image sums, such as confusions (S, N, K, K + 1). over: what the sum of the
    differences is divided by, 0 for their number; half of it for a difference of gains.
    """
    pairs = len(better)
    return combined_interval([*better, *worse], statistic, lambda *values: (
        sum(values[:pairs]) - sum(values[pairs:])) / (over or pairs)).percent("pp")


def recall(summed: np.ndarray) -> np.ndarray:
    """Foreground recall of summed confusions (..., K, K + 1), a statistic for intervals."""
    return precision_recall_of_labels(summed).foreground.recall


def precision(summed: np.ndarray) -> np.ndarray:
    """Foreground precision, as `recall`."""
    return precision_recall_of_labels(summed).foreground.precision


def mean_figure(methods: Sequence[np.ndarray], statistic: Statistic = mean_iou) -> float:
    """A statistic in per cent, mean over methods and seeds."""
    return 100 * float(np.mean([statistic(sums.sum(1)).mean() for sums in methods]))


def cells(rows: Sequence[str], crf: bool = False) -> list[Cell]:
    """The cells of rows on val."""
    return [(row, crf) for row in rows]




def loaded(evidence: ClaimEvidence, cells: Sequence[Cell]) -> list[np.ndarray]:
    """Confusions of several cells."""
    return [evidence.confusions(*cell) for cell in cells]


def tail(values: np.ndarray, iterations: int) -> np.ndarray:
    """The last third of a training of so many iterations: (S, n, ...) -> (S, iterations / 3, ...)."""
    return values[:, -max(2, round(iterations / 3)):]
