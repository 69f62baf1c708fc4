"""Figures and sentences that the deciders of Oh et al. 2017 share; all figures in per cent, differences in pp."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.intervals import Interval, difference_interval
from wsss_lab.lab.claims import Claim, Decision, NotMeasured, decide_true
from wsss_lab.papers.oh2017_claims_evidence import ClaimEvidence

Cell = tuple[str, str | None]  # a row of oh2017.ROWS, and the CRF at test time or None


def name_of(cell: Cell) -> str:
    """The cell's name for readers.

    >>> name_of(("G2", "v2"))
    'G2 + CRF v2'
    """
    row, crf = cell
    return f"{row} + CRF {crf}" if crf else row


def miou(evidence: ClaimEvidence, cell: Cell) -> float:
    """Mean IoU on val in per cent, mean over the seeds."""
    return 100 * float(mean_iou(evidence.confusions(*cell).sum(1)).mean())


def gain(evidence: ClaimEvidence, better: Cell, worse: Cell) -> Interval:
    """mIoU(better) - mIoU(worse) on val in pp, with its interval over images and seeds."""
    return difference_interval(evidence.confusions(*better), evidence.confusions(*worse), mean_iou).percent("pp")


def best_of(evidence: ClaimEvidence, cells: list[Cell]) -> Cell:
    """The cell with the greatest mIoU."""
    return max(cells, key=lambda cell: miou(evidence, cell))


def figures(evidence: ClaimEvidence, *cells: Cell) -> str:
    """The cells with their mIoU on val, as in "G2 51.2, G1 46.2"."""
    return ", ".join(f"{name_of(cell)} {miou(evidence, cell):.1f}" for cell in cells)


def told(decision: Decision, *sentences: str) -> Decision:
    """The decision with sentences for the reader before the rule that was applied."""
    rule = decision.why[:1].upper() + decision.why[1:]
    return replace(decision, why=" ".join([*filter(None, sentences), rule]))


def if_measured(sentence: Callable[[ClaimEvidence], str], evidence: ClaimEvidence) -> str:
    """A sentence that explains without being needed: "" where these runs can't tell it."""
    try:
        return sentence(evidence)
    except NotMeasured:
        return ""


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
