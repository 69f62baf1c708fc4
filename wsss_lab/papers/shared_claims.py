"""What the deciders of all papers' claims share: their evidence, and figures and sentences made from it.

All figures are in per cent, differences in percentage points (pp). A cell is a trained row with the CRF at test time:
the leading arguments of the evidence's `confusions`, which are (row, crf) for scores on val.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.confusion import mean_iou, precision_recall_of_labels
from wsss_lab.evaluation.intervals import Interval, Statistic, difference_interval
from wsss_lab.lab.claims import (
    SEEDS_FOR_A_VERDICT,
    Claim,
    Decider,
    Decision,
    NotMeasured,
    Verdict,
    decide_difference,
    decide_true,
)
from wsss_lab.lab.steps import Step
from wsss_lab.papers.shared_evidence import SeededEvidence

Cell = tuple
ROUNDING = 1e-9  # relative, in double precision


class MeasuredEvidence(SeededEvidence):
    """Evidence that raises NotMeasured, with a reason for the reader, for what a session's profile leaves out."""

    def _load(self, step: Step, output: str) -> Any:
        if step not in self.run.store:
            name = step.label.split(", seed ")[0]
            raise NotMeasured(f"profile {self.run.profile} has no result of '{name}'")
        return self.run.load(step[output])

    def stack(self, step_of: Callable[[Any], Step], output: str) -> np.ndarray:
        return np.stack([np.asarray(self._load(step_of(route), output)) for route in self.run.routes])


def name_of(cell: Cell) -> str:
    """The cell's name for readers.

    >>> name_of(("G2", "v2")), name_of(("S3", True)), name_of(("S1", False, "test"))
    ('G2 + CRF v2', 'S3 + CRF', 'S1 on test')
    """
    row, crf, *split = cell
    post = f" + CRF {crf}" if isinstance(crf, str) else " + CRF" if crf else ""
    return f"{row}{post}" + (f" on {split[0]}" if split else "")


def pooled_miou(confusions: np.ndarray) -> float:
    """Mean IoU in per cent of confusions (S, N, K, K + 1), pooled over the images, mean over the seeds."""
    return 100 * float(mean_iou(confusions.sum(1)).mean())


def miou(evidence: Any, cell: Cell) -> float:
    """Mean IoU of a cell in per cent, mean over the seeds."""
    return pooled_miou(evidence.confusions(*cell))


def gain(evidence: Any, better: Cell, worse: Cell) -> Interval:
    """mIoU(better) - mIoU(worse) in pp, with its interval over images and seeds."""
    return difference_interval(evidence.confusions(*better), evidence.confusions(*worse), mean_iou).percent("pp")


def foreground_quality(confusions: np.ndarray) -> tuple[float, float]:
    """Foreground precision and recall in per cent of labels with confusions (S, N, K, K + 1), means over the seeds."""
    found = precision_recall_of_labels(confusions.sum(1)).foreground
    return 100 * float(found.precision.mean()), 100 * float(found.recall.mean())


def quality_of_labels(named: Mapping[str, np.ndarray]) -> str:
    """A sentence on what rows learn from; named: row -> confusions (S, N, K, K + 1) of its labels."""
    texts = ["{} {:.0f}/{:.0f}".format(row, *foreground_quality(confusions)) for row, confusions in named.items()]
    return f"Foreground precision/recall of the labels they learn from: {', '.join(texts)} %."


def best_of(evidence: Any, cells: Sequence[Cell]) -> Cell:
    """The cell with the greatest mIoU."""
    return max(cells, key=lambda cell: miou(evidence, cell))


def figures(evidence: Any, *cells: Cell) -> str:
    """The cells with their mIoU, as in "G2 51.2, G1 46.2"."""
    return ", ".join(f"{name_of(cell)} {miou(evidence, cell):.1f}" for cell in cells)


def apart(better: np.ndarray, worse: np.ndarray, statistic: Statistic = mean_iou) -> Interval:
    """Difference of a statistic of per-image sums (S, N, ...), in pp with its interval."""
    return difference_interval(better, worse, statistic).percent("pp")


def percent(sums: np.ndarray, statistic: Statistic = mean_iou) -> float:
    """A statistic of per-image sums (S, N, ...) in per cent, mean over the seeds."""
    return 100 * float(np.asarray(statistic(sums.sum(1))).mean())


def half_size(claim: Claim) -> float:
    """The difference in pp, half of the published one, from which the size counts as reproduced by the claim's rule.

    Raises ParameterError for a rule that asks for no size.
    """
    found = re.search(r"at least ([\d.]+) pp \(half of the published", claim.reproduced_if)
    if found is None:
        raise ParameterError(f"the rule of {claim.claim_id} has no size", "'at least ... pp (half of the published'")
    return float(found[1])


def better_by(better: Cell, worse: Cell, explain: Callable[[Any], str] | None = None) -> Decider:
    """A decider for one difference of mIoU with half of its published size, as in the claim's rule."""

    def decide(claim: Claim, evidence: Any) -> Decision:
        decision = decide_difference(claim, gain(evidence, better, worse), half_size(claim),
                                     measured=figures(evidence, better, worse))
        return told(decision, if_measured(explain, evidence) if explain else "")

    return decide


def over_seeds(decision: Decision) -> Decision:
    """The decision, left open where a rule about all trainings is applied to fewer seeds than it asks for.

    For claims that nothing changes: the interval of one training doesn't hold what another one would give.
    """
    if decision.seeds is None or decision.seeds >= SEEDS_FOR_A_VERDICT:
        return decision
    return told(replace(decision, verdict=Verdict.INCONCLUSIVE), f"By these figures alone: {decision.verdict}.")


def told(decision: Decision, *sentences: str) -> Decision:
    """The decision with sentences for the reader before the rule that was applied."""
    rule = decision.why[:1].upper() + decision.why[1:]
    return replace(decision, why=" ".join([*filter(None, sentences), rule]))


def if_measured(sentence: Callable[[Any], str], evidence: Any) -> str:
    """A sentence that explains without being needed: "" where these runs can't tell it."""
    try:
        return sentence(evidence)
    except NotMeasured:
        return ""


def change(better: Cell, worse: Cell) -> Callable[[Any], str]:
    """A part of a sentence with a difference of mIoU, as in "S3 against S1 +3.1 [+2.0, +4.2] pp"."""
    return lambda evidence: f"{name_of(better)} against {name_of(worse)} {gain(evidence, better, worse)}"


def also(evidence: Any, *changes: Callable[[Any], str]) -> str:
    """A sentence on further differences, those that were measured."""
    known = [text for each in changes if (text := if_measured(each, evidence))]
    return f"Also: {'; '.join(known)}." if known else ""


def all_positive(claim: Claim, differences: Mapping[str, Interval], what: str) -> Decision:
    """A claim of many differences that must all be above 0 with intervals that exclude it; shows the least one.

    differences: name -> interval; nan where one of the two has no figure. what: what they are differences of.
    One that is below 0 with its interval settles it; otherwise an interval around 0 leaves it inconclusive.
    """
    known = {name: value for name, value in differences.items() if not np.isnan([value.mean, value.low]).any()}
    if not known:
        return decide_true(claim, None, "", f"none of the differences of {what} could be measured")
    above = sum(value.low > 0 for value in known.values())
    below = [name for name, value in known.items() if value.high < 0]
    least = min(below or known, key=lambda name: known[name].mean)
    condition = False if below else True if above == len(differences) else None
    why = f"{above} of {len(differences)} differences of {what} are above 0 with an interval that excludes 0"
    why += f", {len(below)} below" if below else ""
    why += f"; {len(differences) - len(known)} could not be measured" if len(known) < len(differences) else ""
    unit = f" {known[least].unit}" if known[least].unit else ""
    shown = f"least: {least} {known[least].mean:+.{1 if unit else 2}f}{unit}"
    return decide_true(claim, condition, shown, why, interval=known[least])
