"""Deciders for the claims of Roy & Todorovic 2017 that compare rows of its tables: Tables 1 to 5, Secs. 5 and 7.

Differences are read on val and, where a profile has one with masks, on test; a claim must hold on both.
"""

from collections.abc import Callable, Sequence

import numpy as np

from wsss_lab.evaluation.average_precision import mean_average_precision
from wsss_lab.evaluation.confusion import iou
from wsss_lab.evaluation.false_alarms import extra_classes, false_positives
from wsss_lab.evaluation.intervals import Interval, difference_interval, image_values, ratio
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.lab.claims import (
    Claim,
    Decider,
    Decision,
    decide_difference,
    decide_equivalence,
    decide_jointly,
    decide_ordering,
    decide_true,
    not_testable,
)
from wsss_lab.lab.published import published
from wsss_lab.papers.roy2017 import AGGREGATIONS, BASELINES, ITERATIONS
from wsss_lab.papers.roy2017_claims_evidence import BOUND, COMPETITOR, FULL, PARENTS, ClaimEvidence, named_classes
from wsss_lab.papers.shared_claims import (
    apart,
    foreground_quality,
    half_size,
    if_measured,
    over_seeds,
    percent,
    pooled_miou,
    told,
)
from wsss_lab.seeds.top_down import Attention

Sentence = Callable[[ClaimEvidence], str]

NO_ATTENTION, NO_LOSS, NO_UNARY = "w/o att", "w/o seg loss", "w/o att unary"
NO_CRF, NO_INFERENCE, IMAGE_PRIOR = "w/o CRF-RNN", "w/o att inference", "image-level prior"
LEAST_CORRELATION = 0.75  # of C07's rule
ALIKE = 0.5  # pp, of C14's rule


# --- figures and sentences -------------------------------------------------------------------------------------------


def miou(evidence: ClaimEvidence, row: str, split: str = "val") -> float:
    """Mean IoU of a row in per cent, mean over the seeds."""
    return pooled_miou(evidence.confusions(row, split))


def gain(evidence: ClaimEvidence, better: str, worse: str, split: str = "val") -> Interval:
    """Difference of mIoU between two rows in pp."""
    return apart(evidence.confusions(better, split), evidence.confusions(worse, split))


def figures(evidence: ClaimEvidence, rows: Sequence[str], split: str = "val") -> str:
    """Rows with their mIoU, as in "full 52.8, w/o att 30.5"."""
    return ", ".join(f"{row} {miou(evidence, row, split):.1f}" for row in rows)


def quality(*rows: str) -> Sentence:
    """A sentence on what the labels of rows find and what of it is right."""
    return lambda evidence: "Foreground precision/recall on val: " + ", ".join(
        "{} {:.0f}/{:.0f}".format(row, *foreground_quality(evidence.confusions(row))) for row in rows) + " %."


def classifiers(*rows: str) -> Sentence:
    """A sentence on how well the networks of rows name the classes of val images."""
    def sentence(evidence: ClaimEvidence) -> str:
        texts = []
        for row in rows:
            scores = evidence.class_scores(row)
            average = 100 * np.mean([mean_average_precision(each[:, 1:], evidence.tags) for each in scores])
            texts.append("{} {:.1f} and {:.0f}/{:.0f}".format(row, average, *named_classes(scores, evidence.tags)))
        return ("Mean average precision of p(y|x) on val, and precision/recall of the classes that get attention: "
                f"{', '.join(texts)} %.")

    return sentence


def attention_alone(evidence: ClaimEvidence) -> str:
    """A sentence on the attention of the full approach taken for labels, tags known."""
    half, best = _attention_as_labels(evidence)
    return (f"Attention of the full approach alone, with the image's tags and cut at one half, has {half:.1f} % on "
            f"val, with its best cut {best:.1f}.")


def attention_of_parents(evidence: ClaimEvidence) -> str:
    """A sentence on what neighbours change in the attention of one network, taken for labels."""
    ours, parents = (_attention_as_labels(evidence, how)[1] for how in (None, PARENTS))
    return (f"Attention of the full approach alone, with the image's tags and its best cut, has {ours:.1f} % on val, "
            f"that of parents alone in the same network {parents:.1f}.")


def _attention_as_labels(evidence: ClaimEvidence, how: Attention | None = None) -> tuple[float, float]:
    """mIoU in per cent of attention cut at one half and at its best cut, chosen on these images."""
    each = 100 * sweep(evidence.attention(how)["counts"].sum(1)).mean_iou.mean(0)
    return each[len(each) // 2], each.max()


def on_splits(claim: Claim, evidence: ClaimEvidence, worse: str, half: float | None) -> Decision:
    """mIoU of the full approach less that of another row, on every split."""
    return decide_jointly(claim, [
        decide_difference(claim, gain(evidence, FULL, worse, split), half,
                          measured=f"{split}: {figures(evidence, (FULL, worse), split)}") for split in evidence.splits])


# --- Table 1: C01 to C08 ---------------------------------------------------------------------------------------------


def better_than(worse: str, *explain: Sentence) -> Decider:
    """A decider for the full approach against one baseline, with half of its published size."""

    def decide(claim: Claim, evidence: ClaimEvidence) -> Decision:
        return told(on_splits(claim, evidence, worse, half_size(claim)),
                    *(if_measured(each, evidence) for each in explain))

    return decide


def attention_is_essential(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C01: against the network without any attention, which must also be the worst of all baselines."""
    parts = [better_than(NO_ATTENTION, quality(FULL, NO_ATTENTION), attention_alone)(claim, evidence)]
    for split in evidence.splits:
        values = {row: miou(evidence, row, split) for row in BASELINES if row in evidence.rows}
        worst = min(values, key=values.get)
        holds = worst == NO_ATTENTION
        shown = "" if holds else f", which is {worst} with {values[worst]:.1f}"
        parts.append(decide_true(claim, holds, "", f"on {split} '{NO_ATTENTION}' is {'' if holds else 'not '}the worst "
                                                   f"of {len(values)} rows{shown}",
                                 partly=values[FULL] > values[NO_ATTENTION]))
    return decide_jointly(claim, parts)


def training_with_prior(evidence: ClaimEvidence) -> str:
    """A sentence on the prior at inference for a network that was trained with it, and for both together."""
    return (f"Both use attention in training; without it at inference alone the row '{NO_INFERENCE}' has "
            f"{miou(evidence, NO_INFERENCE):.1f} % on val.")


def crf_in_numbers(evidence: ClaimEvidence) -> str:
    """A sentence on what the dense CRF adds to the network trained without CRF-RNN, and what the CRF-RNN adds."""
    before, after = evidence.unrefined(), evidence.confusions(NO_CRF)
    added = gain(evidence, FULL, "0 iterations")
    return (f"The dense CRF takes '{NO_CRF}' from {pooled_miou(before):.1f} to {pooled_miou(after):.1f} % on val "
            f"({apart(after, before)}), the CRF-RNN the full approach from {miou(evidence, '0 iterations'):.1f} to "
            f"{miou(evidence, FULL):.1f} % ({added}).")


def order_of_damage(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C07: rank correlation of the seven rows with the printed ones, B1 last, B2 among the two worst of the rest."""
    return decide_jointly(claim, [_order_on(claim, evidence, split) for split in evidence.splits])


def _order_on(claim: Claim, evidence: ClaimEvidence, split: str) -> Decision:
    from scipy.stats import spearmanr

    confusions = {row: evidence.confusions(row, split) for row in BASELINES}
    values = {row: pooled_miou(each) for row, each in confusions.items()}
    order = sorted(values, key=values.get)
    alike = len(set(values.values())) == 1
    rho = np.nan if alike else float(spearmanr(list(values.values()), printed(split)).statistic)
    last, low = order[0] == NO_ATTENTION, NO_LOSS in [row for row in order if row != NO_ATTENTION][:2]
    shown = " > ".join(f"{row} {values[row]:.1f}" for row in reversed(order))
    why = (f"on {split} the rank correlation is {rho:.2f} (asked: at least {LEAST_CORRELATION}), '{NO_ATTENTION}' is "
           f"{'' if last else 'not '}last and '{NO_LOSS}' {'' if low else 'not '}among the two worst of the rest")
    strong = rho >= LEAST_CORRELATION
    return decide_true(claim, None if alike else bool(strong and last and low), f"{split}: {shown}", why,
                       partly=strong, seeds=len(confusions[FULL]))


def printed(split: str) -> list[float]:
    """mIoU of Table 1 in the order of BASELINES, as printed."""
    return published("roy2017", "table1")[f"{split}_miou_pct"].tolist()


def both_uses_help(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C08: the full approach above each single use of attention."""
    return told(decide_jointly(claim, [on_splits(claim, evidence, row, None) for row in (NO_LOSS, NO_UNARY)]),
                f"Attention in the unary alone is '{NO_LOSS}', in the loss alone '{NO_UNARY}', in neither "
                f"'{NO_ATTENTION}'.", if_measured(_single_uses, evidence))


def _single_uses(evidence: ClaimEvidence) -> str:
    return "Against neither on val: " + ", ".join(
        f"{row} {gain(evidence, row, NO_ATTENTION)}" for row in (NO_LOSS, NO_UNARY)) + "."


# --- Table 5: C09 ----------------------------------------------------------------------------------------------------


def learned_aggregation_is_best(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C09: FCL, that of the full approach, against LSE; and the order of all four."""
    parts = [on_splits(claim, evidence, "LSE", half_size(claim))]
    for split in evidence.splits:
        rows = {"FCL": FULL} | {name: name for name in AGGREGATIONS}
        values = {name: miou(evidence, row, split) for name, row in rows.items()}
        ordered = decide_ordering(claim, values, "FCL > LSE > GMP > GAP", seeds=len(evidence.confusions()))
        parts.append(told(ordered, f"On {split}:"))
    return told(decide_jointly(claim, parts), "The full approach has FCL.",
                if_measured(classifiers(FULL, *AGGREGATIONS), evidence))


# --- other methods: C10, C11, C17 ------------------------------------------------------------------------------------


def best_of_label_only(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C10: against the competitor that is trained on the same data and trunk."""
    parts = []
    for split in evidence.splits:
        ours, theirs = evidence.confusions(FULL, split), evidence.taught(COMPETITOR, split)
        parts.append(decide_difference(claim, apart(ours, theirs), measured=f"{split}: {FULL} {pooled_miou(ours):.1f}, "
                                       f"{COMPETITOR} {pooled_miou(theirs):.1f}"))
    return told(decide_jointly(claim, parts), _about_the_competitor(), if_measured(_competitor_in_numbers, evidence),
                "The other methods of Tables 2 and 3, F-B and DSCM among them, are not run here.")


def _about_the_competitor() -> str:
    return (f"{COMPETITOR} is a DeepLab trained on sparse seeds and a constrain-to-boundary loss, as SEC is, with the "
            "same start weights and trunk, without SEC's expansion loss and its saliency.")


def _competitor_in_numbers(evidence: ClaimEvidence) -> str:
    return ("Foreground precision/recall of its seeds on train: {:.0f}/{:.0f} %. ".format(
                *foreground_quality(evidence.seed_confusions()))
            + f"The same DeepLab taught by the masks has {pooled_miou(evidence.taught(BOUND)):.1f} % on val.")


def more_supervision(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C11: its rule says that it can't be transferred."""
    return not_testable(claim, "The rule says that this can't be transferred without running methods with boxes, "
                               "clicks, sizes or chosen masks, and none of them is run here.")


def best_on_most_classes(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C17: classes, background among them, on which the mean IoU over seeds is above the competitor's."""
    parts = [_classes_won(claim, evidence, split) for split in evidence.splits]
    return told(decide_jointly(claim, parts), f"The one competitor run here is {COMPETITOR}.", _about_the_competitor())


def _classes_won(claim: Claim, evidence: ClaimEvidence, split: str) -> Decision:
    confusions = evidence.confusions(FULL, split), evidence.taught(COMPETITOR, split)
    ours, theirs = (100 * iou(each.sum(1)).mean(0) for each in confusions)
    known = ~np.isnan(ours + theirs)
    won = ours > theirs
    lost = [f"{name} {a:.1f} against {b:.1f}" for name, a, b, is_known, is_won
            in zip(evidence.classes, ours, theirs, known, won, strict=True) if is_known and not is_won]
    listed = f" (not on {', '.join(lost)} %)" if lost else ""
    most = bool(won.sum() > known.sum() / 2)
    return decide_true(claim, most, f"{split}: best on {won.sum()} of {known.sum()}",
                       f"on {split} it is best on {'more' if most else 'no more'} than half of the classes{listed}",
                       seeds=len(confusions[0]))


# --- what is fused: C14, C16 -----------------------------------------------------------------------------------------


def three_iterations_suffice(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C14: the same network with 3, its own number, and with more iterations at inference."""
    parts = [decide_equivalence(claim, gain(evidence, FULL, row), within=ALIKE, interval_within=2 * ALIKE,
                                measured=f"3 iterations {miou(evidence, FULL):.1f}, {row} {miou(evidence, row):.1f}")
             for row in ("5 iterations", "10 iterations")]
    fewer = [f"{count} iterations" for count in ITERATIONS if count < 3]
    return over_seeds(told(decide_jointly(claim, parts), "It is trained with 3; other numbers are those at inference.",
                           f"Fewer: {figures(evidence, fewer)} %."))


def pixels_know_more_than_images(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C16: p^A or p(y|x) in the unary of the same network at inference."""
    pixel, image = evidence.confusions(FULL), evidence.confusions(IMAGE_PRIOR)
    wrong = [false_positives(each) for each in (pixel, image)]
    extra = [ratio(image_values(extra_classes(each).astype(float)).sum(1)).mean() for each in (pixel, image)]
    parts = [
        decide_difference(claim, apart(pixel, image),
                          measured=f"mIoU with p^A {pooled_miou(pixel):.1f}, with p(y|x) {pooled_miou(image):.1f}"),
        decide_difference(claim, difference_interval(*wrong, ratio), sign=-1,
                          measured="false positives {:.1f} and {:.1f} % of the background".format(
                              *(percent(each, ratio) for each in wrong))),
    ]
    none = evidence.confusions(NO_INFERENCE)
    return told(decide_jointly(claim, parts), f"Without any prior mIoU is {pooled_miou(none):.1f} %, with "
                f"{percent(false_positives(none), ratio):.1f} % false positives; p(y|x) against none "
                f"{apart(image, none)}. Absent classes per image: {extra[0]:.2f} with p^A, {extra[1]:.2f} with p(y|x). "
                "The network was trained with p^A in its unary.", quality(FULL, IMAGE_PRIOR, NO_INFERENCE)(evidence))


DECIDERS: dict[str, Decider] = {
    "roy2017-C01": attention_is_essential,
    "roy2017-C02": better_than(NO_LOSS, quality(FULL, NO_LOSS), classifiers(FULL, NO_LOSS)),
    "roy2017-C03": better_than(NO_UNARY, quality(FULL, NO_UNARY), training_with_prior),
    "roy2017-C04": better_than("w/o neighbor", quality(FULL, "w/o neighbor"), attention_of_parents),
    "roy2017-C05": better_than(NO_CRF, quality(FULL, NO_CRF), crf_in_numbers),
    "roy2017-C06": better_than(NO_INFERENCE, quality(FULL, NO_INFERENCE), attention_alone),
    "roy2017-C07": order_of_damage,
    "roy2017-C08": both_uses_help,
    "roy2017-C09": learned_aggregation_is_best,
    "roy2017-C10": best_of_label_only,
    "roy2017-C11": more_supervision,
    "roy2017-C14": three_iterations_suffice,
    "roy2017-C16": pixels_know_more_than_images,
    "roy2017-C17": best_on_most_classes,
}
