"""Deciders for the claims of Chaudhry et al. 2017 on trained networks: Tables 1, 2, 4, 5 and 6."""

from collections.abc import Callable

import numpy as np

from wsss_lab.evaluation.confusion import iou, mean_iou, nan_mean
from wsss_lab.evaluation.intervals import Interval, combined_interval, difference_interval
from wsss_lab.evaluation.shapes import area_share, elongation, pieces
from wsss_lab.lab.claims import (
    Claim,
    Decider,
    Decision,
    decide_difference,
    decide_equivalence,
    decide_jointly,
    decide_range,
    decide_true,
    not_testable,
)
from wsss_lab.papers.chaudhry2017 import has_test
from wsss_lab.papers.chaudhry2017_claims_evidence import ClaimEvidence, final_split
from wsss_lab.papers.shared_claims import (
    Cell,
    also,
    better_by,
    change,
    figures,
    gain,
    half_size,
    if_measured,
    miou,
    over_seeds,
    pooled_miou,
    quality_of_labels,
    told,
)

Sentence = Callable[[ClaimEvidence], str]

DCSP, VGG, LONGER, TWICE = "S3 + adapt", "VGG, S3 + adapt", "S3, longer", "S3 + adapt twice"
STANDS_OUT = 1.25  # times the median class: from here a class counts as thin or fragmented


def with_crf(row: str, split: str) -> Cell:
    """The cell of a row with CRF on a split."""
    return (row, True) if split == "val" else (row, True, split)


def splits(evidence: ClaimEvidence) -> tuple[str, ...]:
    """The splits of claims on val and test: both, or val where a profile has no other."""
    return ("val", "test") if has_test(evidence.profile) else ("val",)



def cue_quality(*rows: str) -> Sentence:
    """A sentence on the cues that the first round of rows learns from."""
    return lambda evidence: quality_of_labels({row: evidence.cue_confusions(row) for row in rows})



def explained(better: Cell, worse: Cell, rows: tuple[str, str] | None = None) -> Sentence:
    """The difference of two other cells, and the cues of their rows, or of other ones."""

    def sentences(evidence: ClaimEvidence) -> str:
        cues = if_measured(cue_quality(*(rows or (better[0], worse[0]))), evidence)
        return f"{cues} {also(evidence, change(better, worse))}".strip()

    return sentences


def better_on_splits(better: str, worse: str, explain: Sentence) -> Decider:
    """A decider for one difference of mIoU with CRF that must hold on val, and on test where there is one."""

    def decide(claim: Claim, evidence: ClaimEvidence) -> Decision:
        pairs = [(with_crf(better, split), with_crf(worse, split)) for split in splits(evidence)]
        parts = [decide_difference(claim, gain(evidence, *pair), half_size(claim), measured=figures(evidence, *pair))
                 for pair in pairs]
        return told(decide_jointly(claim, parts), explain(evidence))

    return decide


def second_erasing_changes_little(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C04: the same within 1 pp, and the first erasing changes more than three times as much."""
    parts = []
    for split in splits(evidence):
        s1, s2, s3 = (with_crf(row, split) for row in ("S1 + adapt", "S2 + adapt", DCSP))
        second = gain(evidence, s3, s2)
        first = gain(evidence, s2, s1)
        parts.append(decide_equivalence(claim, second, measured=figures(evidence, s3, s2)))
        holds = first.mean > 3 * abs(second.mean)
        amount = "more" if holds else "no more"
        parts.append(decide_true(claim, holds, f"from S1 to S2 {first.mean:+.1f} pp", f"on {split} the first erasing "
                                 f"adds {amount} than 3 times what the second one changes", seeds=first.seeds))
    return over_seeds(decide_jointly(claim, parts))


def adapting_helps(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C05: on S3 without CRF, against one round and, where it was run, the control of the rule: as many iterations."""
    adapted, longer = (DCSP, False), (LONGER, False)
    parts = [decide_difference(claim, gain(evidence, adapted, ("S3", False)), half_size(claim),
                               measured=figures(evidence, ("S3", False), adapted))]
    if if_measured(change(adapted, longer), evidence):
        parts.append(decide_difference(claim, gain(evidence, adapted, longer),
                                       measured=f"control on unchanged cues {miou(evidence, longer):.1f}"))
    cells = [(row, crf) for row in ("S1", "S3") for crf in (False, True) if (row, crf) != ("S3", False)]
    others = also(evidence, *(change((f"{row} + adapt", crf), (row, crf)) for row, crf in cells))
    return told(decide_jointly(claim, parts), others)


def joint_training_helps(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C07: against the combination with predicted tags, which a method at test time has to use."""
    joint, direct = evidence.confusions(DCSP), evidence.direct_confusions("predicted")
    decision = decide_difference(claim, difference_interval(joint, direct, mean_iou), half_size(claim),
                                 measured=f"joint {pooled_miou(joint):.1f}, direct {pooled_miou(direct):.1f}")
    known = pooled_miou(evidence.direct_confusions("known"))
    return told(decision, f"With the image's own tags the direct combination reaches {known:.1f} %.")


def little_need_of_crf(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C08: the CRF adds less than to G2, and below 2.5 pp."""
    ours, theirs = [(DCSP, True), (DCSP, False)], [("G2", True), ("G2", False)]
    apart = combined_interval([evidence.confusions(*cell) for cell in (*theirs, *ours)], mean_iou,
                              lambda a, b, c, d: (a - b) - (c - d)).percent("pp")
    own = gain(evidence, *ours)
    smaller = decide_difference(claim, apart, measured=f"CRF gains G2 {gain(evidence, *theirs).mean:+.1f} pp, {DCSP} "
                                                       f"{own.mean:+.1f} pp")
    below = decide_range(claim, own, high=2.5, unit="pp", measured=f"{DCSP} alone {own.mean:+.1f} pp")
    return told(decide_jointly(claim, [smaller, below]),
                f"mIoU without and with CRF: {figures(evidence, *reversed(ours), *reversed(theirs))} %.")


def second_adapting_changes_nothing(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C15: the same within half a point, interval within one."""
    twice, once = (TWICE, False), (DCSP, False)
    apart = gain(evidence, twice, once)
    decision = decide_equivalence(claim, apart, within=0.5, interval_within=1.0,
                                  measured=figures(evidence, twice, once))
    worse = "It lowers the result: it doesn't help, but the rule asks for no change." * (apart.high < -0.5)
    return over_seeds(told(decision, worse))


# --- classes: C17 ----------------------------------------------------------------------------------------------------


def difficult_classes_stay_poor(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C17: for the classes whose objects are thin or in pieces by measure; not testable where no class stands out."""
    split = final_split(evidence.profile)
    # Loaded first: without these rows it doesn't matter what the objects look like.
    first, second, last = (evidence.confusions(row, True, split) for row in ("S1 + adapt", "S2 + adapt", DCSP))
    shapes = evidence.shapes(split)
    stand_out = _above_median(elongation(shapes)) | _above_median(pieces(shapes))
    said = (f"Thin or fragmented are classes with an elongation or a number of pieces of at least {STANDS_OUT:g} times "
            f"the median class; over the {split} masks elongations are {_span(elongation(shapes))}, pieces per image "
            f"{_span(pieces(shapes))}.")
    if not stand_out.any():
        return not_testable(claim, f"No class of this world is thin or fragmented. {said} "
                                   + _small_classes(evidence, shapes, first, second, last))
    lowest = np.argsort(iou(last.sum(1)).mean(0)[1:])[:stand_out.sum()]
    holds, poor, average = bool(stand_out[lowest].all()), _mean_iou_of(last, stand_out), _mean_iou_of(last)
    parts = [
        decide_true(claim, holds, f"{_named(evidence, stand_out)} {poor:.1f} % IoU, the average class {average:.1f} %",
                    f"these classes are {'' if holds else 'not '}the {stand_out.sum()} with the lowest IoU",
                    partly=poor < average, seeds=len(last)),
        decide_difference(claim, _gain_beyond(first, second, stand_out),
                          measured="gain from S1 to S2 beyond the average class"),
    ]
    return told(decide_jointly(claim, parts), said)


def _small_classes(evidence: ClaimEvidence, shapes: np.ndarray, first: np.ndarray, second: np.ndarray,
                   last: np.ndarray) -> str:
    """A sentence on the classes of small objects, the other ones that are hard; "" where no class's are small."""
    share = area_share(shapes)
    small = share <= np.nanmedian(share) / STANDS_OUT
    if not small.any():
        return ""
    poor, average = _mean_iou_of(last, small), _mean_iou_of(last)
    return (f"Small objects, at most {1 / STANDS_OUT:g} times the median class in area, are those of "
            f"{_named(evidence, small)}: {poor:.1f} % IoU (the average class {average:.1f} %), from S1 to S2 they gain "
            f"{_gain_beyond(first, second, small)} more than the average class.")


def _above_median(values: np.ndarray) -> np.ndarray:
    return values >= STANDS_OUT * np.nanmedian(values)


def _span(values: np.ndarray) -> str:
    return f"{np.nanmin(values):.2f} to {np.nanmax(values):.2f} (median {np.nanmedian(values):.2f})"


def _named(evidence: ClaimEvidence, chosen: np.ndarray) -> str:
    return ", ".join(np.array(evidence.classes)[chosen])


def _mean_iou_of(confusions: np.ndarray, chosen: np.ndarray | slice = slice(None)) -> float:
    """Mean IoU in per cent of all or chosen foreground classes, bool (C,), mean over the seeds."""
    return 100 * float(nan_mean(iou(confusions.sum(1))[:, 1:][:, chosen]).mean())


def _gain_beyond(first: np.ndarray, second: np.ndarray, chosen: np.ndarray) -> Interval:
    """How much more chosen classes gain than the average foreground class, in pp with its interval."""

    def lead(summed: np.ndarray) -> np.ndarray:
        each = iou(summed)[..., 1:]
        return nan_mean(each[..., chosen]) - nan_mean(each)

    return difference_interval(second, first, lead).percent("pp")


DECIDERS: dict[str, Decider] = {
    "chaudhry2017-C01": better_by((DCSP, True), ("S1 + adapt", True), explained((DCSP, False), ("S1 + adapt", False))),
    "chaudhry2017-C02": better_by(("S3", False), ("S1", False), explained(("S3", True), ("S1", True))),
    "chaudhry2017-C03": better_on_splits("S2 + adapt", "S1 + adapt",
                                         explained(("S2 + adapt", False), ("S1 + adapt", False))),
    "chaudhry2017-C04": second_erasing_changes_little,
    "chaudhry2017-C05": adapting_helps,
    "chaudhry2017-C07": joint_training_helps,
    "chaudhry2017-C08": little_need_of_crf,
    "chaudhry2017-C09": better_on_splits(DCSP, "G2", explained((DCSP, False), ("G2", False))),
    "chaudhry2017-C10": better_on_splits(VGG, "VGG, G2", explained((DCSP, True), (VGG, True), (VGG, "VGG, G2"))),
    "chaudhry2017-C15": second_adapting_changes_nothing,
    "chaudhry2017-C17": difficult_classes_stay_poor,
}
