"""Deciders for the claims of Araslanov & Roth 2020 on what its training is made of: Tables 1a to 1c and 7."""

from collections.abc import Sequence

import numpy as np

from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.intervals import Interval, Statistic, combined_interval, difference_interval
from wsss_lab.lab.claims import (
    Claim,
    Decider,
    Decision,
    decide_difference,
    decide_equivalence,
    decide_jointly,
    decide_ordering,
    decide_range,
    decide_true,
)
from wsss_lab.papers.araslanov2020 import FLOORS, POWERS, PSIS, gate_row, penalty_row
from wsss_lab.papers.araslanov2020_claims_evidence import (
    ClaimEvidence,
    cells,
    loaded,
    mean_difference,
    mean_figure,
    precision,
    recall,
    tail,
)
from wsss_lab.papers.shared_claims import (
    also,
    best_of,
    better_by,
    change,
    figures,
    foreground_quality,
    gain,
    half_size,
    miou,
    name_of,
    over_seeds,
    told,
)

REFERENCE, NO_PENALTY, NO_PAMR = "reference", "no penalty", "no PAMR"
SMALL, LARGE = "kernel 1-2-4-8", ("kernel 1-3-6-9-12-16", "kernel 1-2-4-8-12-16")
NO_GCI, NO_GATE, FIXED_GATE = gate_row(0.5, injected=False), "no gate", "deterministic gate"


def quality(evidence: ClaimEvidence, *rows: str) -> str:
    """A sentence on foreground precision and recall of rows on val, without CRF."""
    texts = ["{} {:.0f}/{:.0f}".format(row, *foreground_quality(evidence.confusions(row))) for row in rows]
    return f"Foreground precision/recall on val: {', '.join(texts)} %."


# --- the size penalty: C01 to C05, C27 -------------------------------------------------------------------------------


def focal_penalty_helps(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C01: the best of p > 0 against the best of p = 0, with CRF; beside it p = 3 against 0 without choosing."""
    grid = {power: cells([penalty_row(power, floor) for floor in FLOORS], crf=True) for power in POWERS}
    best = best_of(evidence, [*grid[3], *grid[5]])
    plain = best_of(evidence, grid[0])
    decision = decide_difference(claim, gain(evidence, best, plain), half_size(claim),
                                 measured=f"{figures(evidence, best)}; {figures(evidence, plain)}")
    paired = [f"p={power} {mean_difference(loaded(evidence, grid[power]), loaded(evidence, grid[0]))}"
              for power in (3, 5)]
    return told(decision, "Best of six settings against best of three, each chosen on the images that it is scored on. "
                          f"Without choosing, mean over lambda against p=0 with CRF: {', '.join(paired)}.")


def larger_floor_helps(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C02: the slope of the mean over p in log10 of lambda, per factor of ten."""
    decision = decide_difference(claim, _slope(evidence, crf=False), measured=_by_floor(evidence))
    return told(decision, f"The difference is the slope per factor of ten; with CRF {_slope(evidence, crf=True)}.")


def _slope(evidence: ClaimEvidence, crf: bool) -> Interval:
    """Least-squares slope of mIoU over log10(lambda), mean over p."""
    places = np.log10(FLOORS) - np.log10(FLOORS).mean()
    weights = np.tile(places / (places ** 2).sum(), len(POWERS)) / len(POWERS)
    grid = loaded(evidence, cells([penalty_row(power, floor) for power in POWERS for floor in FLOORS], crf))
    return combined_interval(grid, mean_iou, lambda *values: sum(
        weight * value for weight, value in zip(weights, values, strict=True))).percent("pp")


def _at_floor(evidence: ClaimEvidence, floor: float) -> list[np.ndarray]:
    return loaded(evidence, cells([penalty_row(power, floor) for power in POWERS]))


def _by_floor(evidence: ClaimEvidence) -> str:
    return ", ".join(f"lambda={floor:g} {mean_figure(_at_floor(evidence, floor)):.1f}" for floor in FLOORS)


def smaller_floor_trades_precision(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C03: recall and precision of the foreground, means over p."""
    small, middle = _at_floor(evidence, 0.001), _at_floor(evidence, 0.01)
    return told(decide_jointly(claim, [
        decide_difference(claim, mean_difference(small, middle, statistic), sign=sign,
                          measured=_from_to(name, middle, small, statistic))
        for name, statistic, sign in (("recall", recall, 1), ("precision", precision, -1))
    ]), "From lambda=0.01 to 0.001, mean over p, foreground on val without CRF.")


def _from_to(name: str, before: Sequence[np.ndarray], after: Sequence[np.ndarray],
             statistic: Statistic) -> str:
    return f"{name} {mean_figure(before, statistic):.1f} -> {mean_figure(after, statistic):.1f} %"


def high_power_gains_less(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C04: p=3, lambda=0.01 against p=5, lambda=0.1 with CRF; what the CRF adds to both is told."""
    middle, high = (penalty_row(*setting) for setting in ((3, 0.01), (5, 0.1)))
    pair = cells((middle, high), crf=True)
    decision = decide_difference(claim, gain(evidence, *pair), half_size(claim),
                                 measured="; ".join(figures(evidence, cell) for cell in pair))
    return told(decision, also(evidence, *(change((row, True), (row, False)) for row in (middle, high))))


def penalty_helps(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C05: mIoU, and recall too."""
    decision = better_by((REFERENCE, False), (NO_PENALTY, False))(claim, evidence)
    return told(decide_jointly(claim, [decision, _recall_of_penalty(claim, evidence)]),
                quality(evidence, REFERENCE, NO_PENALTY),
                also(evidence, change((REFERENCE, True), (NO_PENALTY, True))))


def penalty_raises_recall(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C27: recall of the masks alone."""
    return told(_recall_of_penalty(claim, evidence), quality(evidence, REFERENCE, NO_PENALTY))


def _recall_of_penalty(claim: Claim, evidence: ClaimEvidence) -> Decision:
    with_it, without = evidence.confusions(REFERENCE), evidence.confusions(NO_PENALTY)
    return decide_difference(claim, difference_interval(with_it, without, recall).percent("pp"),
                             measured=f"recall {mean_figure([with_it], recall):.1f}, without penalty "
                                      f"{mean_figure([without], recall):.1f} %")


# --- PAMR: C06 to C08, C15 -------------------------------------------------------------------------------------------


def labels_in_training(evidence: ClaimEvidence) -> str:
    """A sentence on how much pseudo ground truth a training has with and without PAMR."""
    texts = []
    for name, row in (("with PAMR", REFERENCE), ("without", NO_PAMR)):
        curves = evidence.curves(row)
        late = [100 * tail(curves[each], curves["classification"].shape[1]).mean()
                for each in ("kept images", "labelled pixels")]
        texts.append("{} {:.0f} and {:.0f} %".format(name, *late))
    return f"Images kept and pixels labelled in the last third of the training: {', '.join(texts)}."


def large_kernels_are_needed(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C07: mIoU by largest dilation, those of 16 averaged, and how far the kernel 1-2-4-8 falls behind."""
    rows = {"24": [REFERENCE], "16": LARGE, "8": [SMALL], "4": ["kernel 1-2-4"]}
    by_size = {size: mean_figure(loaded(evidence, cells(each))) for size, each in rows.items()}
    seeds = len(evidence.confusions(REFERENCE))
    listed = ", ".join(f"{size} {by_size[size]:.1f}" for size in by_size)
    apart = gain(evidence, (REFERENCE, False), (SMALL, False))
    parts = [decide_ordering(claim, by_size, "24 > 16 > 8 > 4", seeds=seeds, measured=f"by largest dilation {listed}"),
             decide_range(claim, apart, low=2, unit="pp", measured=f"24 against 8 {apart.mean:+.1f} pp")]
    here = ", ".join(f"{max(evidence.dilations(each[0]))} for {size}" for size, each in rows.items())
    return told(decide_jointly(claim, parts), "Largest dilations are named as in the paper; the same shares of the "
                                              f"masks here are {here}.")


def kernel_shape_hardly_matters(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C08: the two kernels whose largest dilation is 16."""
    first, second = cells(LARGE)
    decision = decide_equivalence(claim, gain(evidence, first, second), measured=figures(evidence, first, second))
    here = " and ".join("-".join(map(str, evidence.dilations(row))) for row in LARGE)
    return over_seeds(told(decision, f"On these masks the kernels are {here}."))


def ten_iterations_suffice(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C15: not more than 0.5 pp worse than 5 and 15 without CRF, more than 1 pp better than 5 with it."""
    asked = [("5 iterations", False, -0.5), ("15 iterations", False, -0.5), ("5 iterations", True, 1.0)]
    parts = []
    for row, crf, least in asked:
        apart = gain(evidence, (REFERENCE, crf), (row, crf))
        parts.append(decide_range(claim, apart, low=least, unit="pp",
                                  measured=f"10 against {name_of((row, crf))} {apart.mean:+.1f} pp"))
    return told(decide_jointly(claim, parts), also(evidence, change((REFERENCE, True), ("15 iterations", True))))


# --- the gate: C09 to C14 --------------------------------------------------------------------------------------------


def gate_is_crucial(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C09: the row that differs by the gate alone, without GCI, as in the paper's text; else the reference."""
    gated, other = (NO_GCI, REFERENCE) if evidence.has_row(NO_GCI) else (REFERENCE, NO_GCI)
    decision = better_by((gated, False), (NO_GATE, False))(claim, evidence)
    others = [(gated, True), (other, False), (other, True)]
    return told(decision, also(evidence, *(change((row, crf), (NO_GATE, crf)) for row, crf in others)))


def stochastic_form_matters(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C10: both with psi = 0.5 and GCI, so that the gate alone differs."""
    decision = better_by((REFERENCE, False), (FIXED_GATE, False))(claim, evidence)
    return told(decision, "Both have GCI.", also(evidence, change((REFERENCE, True), (FIXED_GATE, True)),
                                                 change((NO_GCI, False), (FIXED_GATE, False))))


def gates_in_order(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C11: the means of the three gates."""
    rows = {"stochastic": REFERENCE, "deterministic": FIXED_GATE, "none": NO_GATE}
    values = {name: miou(evidence, (row, False)) for name, row in rows.items()}
    decision = decide_ordering(claim, values, "stochastic > deterministic > none",
                               seeds=len(evidence.confusions(REFERENCE)))
    return told(decision, f"With CRF: {figures(evidence, *cells(rows.values(), crf=True))} %.")


def injection_is_stable(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C12: the range over psi of the mean over seeds; how much seeds differ is told."""
    ranges, spread, listed = {}, {}, {}
    for name, injected in (("with GCI", True), ("without", False)):
        per_seed = np.array([100 * mean_iou(evidence.confusions(gate_row(psi, injected)).sum(1)) for psi in PSIS])
        ranges[name], listed[name] = np.ptp(per_seed.mean(1)), per_seed.mean(1)
        spread[name] = per_seed.std(1, ddof=1).mean() if per_seed.shape[1] > 1 else np.nan
    smaller = bool(ranges["with GCI"] < ranges["without"])
    values = "; ".join(f"{name} {', '.join(f'{value:.1f}' for value in each)}" for name, each in listed.items())
    decision = decide_true(claim, smaller, ", ".join(f"range {name} {size:.1f} pp" for name, size in ranges.items()),
                           f"the range is {'' if smaller else 'not '}smaller with GCI", seeds=per_seed.shape[1])
    return told(decision, f"mIoU at psi {', '.join(f'{psi:g}' for psi in PSIS)}: {values} %.",
                "" if np.isnan(spread["without"]) else "Standard deviation over seeds: " + ", ".join(
                    f"{name} {value:.1f}" for name, value in spread.items()) + " pp.")


def injection_helps(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C13: mean over psi of what GCI adds, without and with CRF."""
    parts = []
    for crf, name in ((False, "without CRF"), (True, "with CRF")):
        pair = [loaded(evidence, cells(rows, crf)) for rows in _injected_or_not()]
        shown = f"{name}: with GCI {mean_figure(pair[0]):.1f}, without {mean_figure(pair[1]):.1f}"
        parts.append(decide_difference(claim, mean_difference(*pair), measured=shown))
    each = ", ".join(f"{psi:g} {gain(evidence, (gate_row(psi), False), (gate_row(psi, False), False))}" for psi in PSIS)
    return told(decide_jointly(claim, parts), f"Gain by psi without CRF: {each}.")


def injection_trades_precision(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C14: recall, precision and what the CRF adds, means over psi."""
    injected, plain = (loaded(evidence, cells(rows)) for rows in _injected_or_not())
    injected_crf, plain_crf = (loaded(evidence, cells(rows, crf=True)) for rows in _injected_or_not())
    parts = [decide_difference(claim, mean_difference(injected, plain, statistic), sign=sign,
                               measured=f"{name} with GCI {mean_figure(injected, statistic):.1f}, without "
                                        f"{mean_figure(plain, statistic):.1f} %")
             for name, statistic, sign in (("recall", recall, 1), ("precision", precision, -1))]
    more = mean_difference([*injected_crf, *plain], [*injected, *plain_crf], over=len(PSIS))
    parts.append(decide_difference(claim, more, measured="what the CRF adds more with GCI"))
    at_half = [change((row, True), (row, False)) for row in (REFERENCE, NO_GCI)]
    return told(decide_jointly(claim, parts), f"Means over psi {', '.join(f'{psi:g}' for psi in PSIS)}.",
                also(evidence, *at_half))


def _injected_or_not() -> tuple[list[str], list[str]]:
    """Rows with and without GCI, in the order of PSIS."""
    return [gate_row(psi) for psi in PSIS], [gate_row(psi, injected=False) for psi in PSIS]


DECIDERS: dict[str, Decider] = {
    "araslanov2020-C01": focal_penalty_helps,
    "araslanov2020-C02": larger_floor_helps,
    "araslanov2020-C03": smaller_floor_trades_precision,
    "araslanov2020-C04": high_power_gains_less,
    "araslanov2020-C05": penalty_helps,
    "araslanov2020-C06": better_by((REFERENCE, False), (NO_PAMR, False), labels_in_training),
    "araslanov2020-C07": large_kernels_are_needed,
    "araslanov2020-C08": kernel_shape_hardly_matters,
    "araslanov2020-C09": gate_is_crucial,
    "araslanov2020-C10": stochastic_form_matters,
    "araslanov2020-C11": gates_in_order,
    "araslanov2020-C12": injection_is_stable,
    "araslanov2020-C13": injection_helps,
    "araslanov2020-C14": injection_trades_precision,
    "araslanov2020-C15": ten_iterations_suffice,
    "araslanov2020-C27": penalty_raises_recall,
}
