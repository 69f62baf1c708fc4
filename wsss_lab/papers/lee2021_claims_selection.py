"""Deciders for the claims of Lee et al. 2021 on the map selection and its two parameters: Table 3, Sec. 3.2 and 5.2."""

from collections.abc import Callable, Mapping

import numpy as np

from wsss_lab.evaluation.confusion import mean_iou, nan_mean
from wsss_lab.lab.claims import (
    Claim,
    Decider,
    Decision,
    decide_difference,
    decide_jointly,
    decide_ordering,
    decide_range,
)
from wsss_lab.papers.lee2021 import SHARES, STRATEGY_ROWS, TAUS, share_row, tau_row
from wsss_lab.papers.lee2021_claims_evidence import EPS, ClaimEvidence, iou_of, recall_of_classes
from wsss_lab.papers.lee2021_tables_studies import selected_share
from wsss_lab.papers.shared_claims import apart, best_of, better_by, gain, miou, over_seeds, pooled_miou, told

HALF_GAIN = 1.45  # pp of adaptive over naive, of C05's rule
FLAT = 1.0  # pp, of the rules of C17 and C18
LOWEST = 0.25  # share of the classes, from below, that saliency ignores
FLAT_TAUS = (0.3, 0.5)
LEARNED = "With the learned background map instead of the constant score"


def named(evidence: ClaimEvidence, chosen: np.ndarray) -> str:
    """Names of chosen classes, bool (C,)."""
    return ", ".join(name for name, each in zip(evidence.classes, chosen, strict=True) if each)


def by_classes(evidence: ClaimEvidence, worse: str, chosen: np.ndarray) -> str:
    """Sentences on what EPS gains over a row on chosen classes, bool (C,), and on the others."""

    def gains(confusions: Callable[[str], np.ndarray]) -> str:
        pair = confusions(EPS), confusions(worse)
        return (f"on {named(evidence, chosen)} {apart(*pair, iou_of(chosen))}, on the others "
                f"{apart(*pair, iou_of(~chosen))}")

    return f"Gains: {gains(evidence.confusions)}. {LEARNED}: {gains(evidence.learned)}."


def listed(read: Callable[[str], np.ndarray], rows: Mapping[str, str]) -> str:
    """Names with the mIoU of their rows, as in "0.3 55.1, 0.4 55.3". read: from a row to its confusions."""
    return ", ".join(f"{name} {pooled_miou(read(row)):.1f}" for name, row in rows.items())


# --- strategies: C05 to C07 ------------------------------------------------------------------------------------------


def adaptive_is_best(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C05: the order of the four strategies, and adaptive against naive."""
    cells = [(row, False) for row in STRATEGY_ROWS]
    values = {row: miou(evidence, (row, crf)) for row, crf in cells}
    parts = [decide_ordering(claim, values, "adaptive > pre-defined > naive > baseline",
                             seeds=len(evidence.confusions(EPS))),
             decide_difference(claim, gain(evidence, (EPS, False), ("naive", False)), HALF_GAIN,
                               measured="adaptive - naive")]
    learned = listed(evidence.learned, {row: row for row in STRATEGY_ROWS})
    return told(decide_jointly(claim, parts), f"{LEARNED}: {learned} %, adaptive - naive "
                                              f"{apart(evidence.learned(EPS), evidence.learned('naive'))}.",
                tags_selected(evidence))


def tags_selected(evidence: ClaimEvidence) -> str:
    """A sentence on how much the adaptive strategy selects."""
    return (f"At the end of its training the adaptive strategy counts {selected_share(evidence, EPS):.0f} % of the "
            "tags with the foreground, the naive one all of them.")


def ignored_classes_gain(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C06: the quarter of the classes of which least is salient, against the others."""
    salient = recall_of_classes(evidence.covered())
    lowest = np.zeros(len(salient), bool)
    lowest[np.argsort(salient)[:max(1, round(LOWEST * np.isfinite(salient).sum()))]] = True

    def lead(summed: np.ndarray) -> np.ndarray:
        return iou_of(lowest)(summed) - iou_of(~lowest)(summed)

    decision = decide_difference(claim, apart(evidence.confusions(EPS), evidence.confusions("naive"), lead),
                                 measured=f"adaptive - naive on {named(evidence, lowest)} less that on the others")
    own = apart(evidence.confusions(EPS), evidence.confusions("naive"), iou_of(lowest))
    parts = [100 * nan_mean(salient[chosen]) for chosen in (lowest, ~lowest)]
    return told(decision, f"Of these classes {parts[0]:.0f} % of the pixels are salient, of the others "
                          f"{parts[1]:.0f} %. {by_classes(evidence, 'naive', lowest)}",
                "" if own.low > 0 else "That the first of these gains is above 0, the rule doesn't ask for.")


def reserved_classes(evidence: ClaimEvidence) -> str:
    """A sentence on where the choice per image differs from the list."""
    chosen = evidence.reserved
    if not chosen.any():
        return "No class of this world is in the list, so that the pre-defined strategy is the naive one."
    return (f"The list counts {named(evidence, chosen)} with the background. "
            f"{by_classes(evidence, 'pre-defined', chosen)}")


# --- parameters: C17, C18 --------------------------------------------------------------------------------------------


def also_told(evidence: ClaimEvidence, rows: Mapping[str, str]) -> str:
    """Sentences on how much one setting varies from training to training, and on the learned background map."""
    each = np.array([100 * mean_iou(evidence.confusions(row).sum(1)) for row in rows.values()])
    spread = f"The standard deviation over seeds is {each.std(1, ddof=1).mean():.1f} pp. " if each.shape[1] > 1 else ""
    return f"{spread}{LEARNED}: {listed(evidence.learned, rows)} %."


def tau_hardly_matters(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C17: the best tau of the range against the worst."""
    low, high = FLAT_TAUS
    rows = {f"{tau:g}": tau_row(tau) for tau in TAUS}
    inside, beyond = ({name: row for name, row in rows.items() if (low <= float(name) <= high) == within}
                      for within in (True, False))
    cells = [(row, False) for row in inside.values()]
    spread = gain(evidence, best_of(evidence, cells), min(cells, key=lambda cell: miou(evidence, cell)))
    decision = decide_range(claim, spread, high=FLAT, unit="pp",
                            measured=f"tau {listed(evidence.confusions, inside)}: {spread.mean:.1f} pp apart")
    return over_seeds(told(decision, f"Beyond the range: {listed(evidence.confusions, beyond)} %.",
                           also_told(evidence, rows)))


def half_is_a_good_share(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C18: how far the best lambda is ahead of 0.5."""
    rows = {f"{share:g}": share_row(share) for share in SHARES}
    best = best_of(evidence, [(row, False) for row in rows.values()])
    ahead = gain(evidence, best, (EPS, False))
    figures = listed(evidence.confusions, rows)
    decision = decide_range(claim, ahead, high=FLAT, unit="pp",
                            measured=f"lambda {figures}: the best {ahead.mean:+.1f} pp ahead of 0.5")
    return over_seeds(told(decision, also_told(evidence, rows)))


DECIDERS: dict[str, Decider] = {
    "lee2021-C05": adaptive_is_best,
    "lee2021-C06": ignored_classes_gain,
    "lee2021-C07": better_by((EPS, False), ("pre-defined", False), reserved_classes),
    "lee2021-C17": tau_hardly_matters,
    "lee2021-C18": half_is_a_good_share,
}
