"""Deciders for the claims of Oh et al. 2017 on guides, saliency, the CRF and the segmenters learnt from them."""

import numpy as np

from wsss_lab.evaluation.confusion import mean_iou, nan_mean, precision_recall_of_labels
from wsss_lab.evaluation.intervals import (
    combined_interval,
    difference_interval,
    image_values,
    ratio,
)
from wsss_lab.evaluation.saliency_scores import foreground_iou, is_good
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
from wsss_lab.papers.oh2017 import PUBLISHED
from wsss_lab.papers.oh2017_claims_evidence import ClaimEvidence
from wsss_lab.papers.shared_claims import (
    best_of,
    better_by,
    figures,
    gain,
    half_size,
    miou,
    name_of,
    quality_of_labels,
    told,
)

SEEDS, G0, G1, G2, ORACLE = ((row, None) for row in ("seeds", "G0", "G1", "G2", "oracle"))
G2_CRF, G0_CRF, FULL_CRF = ("G2", "v2"), ("G0", "v2"), ("full", "v2")
SEC_LIKE = ("seeds, crf-loss v1", "v1")
HIGHRES_CRF = [("seeds", "v1"), ("seeds", "v2"), ("seeds, crf-loss v1", None), SEC_LIKE, ("seeds, crf-loss v2", "v2")]
ROI_CRF = [("ROI seeds, crf-loss v1", "v1"), ("ROI seeds, crf-loss v2", "v2")]
ALPHA = 0.05


# --- guides: Tables 2 and 3 ------------------------------------------------------------------------------------------


def guide_quality(*rows: str):
    """A sentence on precision and recall of the labels that rows learn from."""

    def sentence(evidence: ClaimEvidence) -> str:
        return quality_of_labels({row: evidence.guide_confusions(row) for row in rows})

    return sentence


def saliency_quality(evidence: ClaimEvidence) -> str:
    """A sentence on how well saliency covers the foreground."""
    pooled = 100 * float(foreground_iou(evidence.saliency_counts().sum(1)).mean())
    return f"The salient pixels that stand in for the ground truth have a foreground IoU of {pooled:.1f} % on val."


def g1_equals_g0(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C02, with the share of images of several classes: the paper's reason why G1 can't add much."""
    decision = decide_equivalence(claim, gain(evidence, G1, G0), measured=figures(evidence, G1, G0))
    several = 100 * float((evidence.train_tags.sum(1) > 1).mean())
    return told(decision, f"Only the {several:.0f} % of training images with several classes can differ.")


def guide_order(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C05."""
    cells = (ORACLE, G2, G1, G0, SEEDS)
    seeds = len(evidence.confusions(*SEEDS))
    return decide_ordering(claim, {name_of(cell): miou(evidence, cell) for cell in cells},
                           "oracle > G2 > G1 >= G0 > seeds", seeds=seeds)


def recall_for_precision(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C06: on the labels of the training images, undecided pixels counted as missed."""
    seeds, g0, g2 = (evidence.guide_confusions(row) for row in ("seeds", "G0", "G2"))
    more, still_more = (difference_interval(a, b, lambda c: precision_recall_of_labels(c).foreground.recall)
                        for a, b in ((g0, seeds), (g2, g0)))
    precision = difference_interval(g0, seeds, lambda c: precision_recall_of_labels(c).foreground.precision)
    precision = precision.percent("pp")
    decision = decide_jointly(claim, [
        decide_difference(claim, more, measured="recall G0 - seeds"),
        decide_difference(claim, still_more, measured="recall G2 - G0"),
        decide_range(claim, precision, -10, 10, unit="pp", measured=f"precision G0 - seeds {precision.mean:+.1f} pp"),
    ])
    return told(decision, guide_quality("seeds", "G0", "G1", "G2")(evidence))


def crf_helps(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C07."""
    rows = ("seeds", "G0", "G2")
    gains = {row: gain(evidence, (row, "v2"), (row, None)) for row in rows}
    largest = max(rows, key=lambda row: gains[row].mean)
    each = [decide_difference(claim, gains[row], measured=figures(evidence, (row, None), (row, "v2"))) for row in rows]
    order = decide_true(claim, largest == "G2", "", f"the CRF adds most to {largest}", partly=True)
    return decide_jointly(claim, [*each, order])


def share_of_full_supervision(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C08: 75 % or more of the same segmenter with ground truth."""
    share = combined_interval([evidence.confusions(*G2_CRF), evidence.confusions(*FULL_CRF)], mean_iou, np.divide)
    share = share.percent()
    return decide_range(claim, share, low=75, high=np.inf, unit="%",
                        measured=f"{figures(evidence, G2_CRF, FULL_CRF)}: {share.mean:.1f} %")


def best_of_all(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C09, among the methods that were run here."""
    others = [SEEDS, ("seeds", "v2"), SEC_LIKE, ("seeds, crf-loss v2", "v2"), G0, G0_CRF, G1]
    second = best_of(evidence, others)
    decision = decide_difference(claim, gain(evidence, G2_CRF, second), measured=figures(evidence, G2_CRF, second))
    return told(decision, f"Compared with the best of {len(others)} methods run in this code, {name_of(second)}; "
                          "cited numbers come from other data and don't count.")


def saliency_is_competitive(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C10: at most 3 pp behind the best method that was run without saliency."""
    best = best_of(evidence, [SEEDS, *HIGHRES_CRF])
    behind = gain(evidence, G0_CRF, best)
    decision = decide_range(claim, behind, low=-3, unit="pp",
                            measured=f"{figures(evidence, G0_CRF, best)} ({behind.mean:+.1f} pp)")
    return told(decision, f"The best method run here with image labels only is {name_of(best)}.")


# --- the CRF study: Tables 4 and 5 -----------------------------------------------------------------------------------


def crf_gains_differ(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C21: the gains are over 3 pp apart although the seeds alone are less than 1 pp apart."""
    cells = [SEC_LIKE, SEEDS, ("ROI seeds, crf-loss v1", "v1"), ("ROI seeds", None)]
    apart = combined_interval([evidence.confusions(*cell) for cell in cells], mean_iou,
                              lambda a, b, c, d: (a - b) - (c - d)).percent("pp")
    both, none, roi_both, roi_none = (miou(evidence, cell) for cell in cells)
    alike, differ = abs(none - roi_none) < 1, abs(apart.mean) > 3
    if differ and alike:
        condition, why = True, "the gains are over 3 pp apart, the seeds alone under 1 pp"
    elif differ:
        condition, why = None, "the gains are over 3 pp apart, but so unequal seeds (1 pp or more) may be the cause"
    elif max(abs(apart.low), abs(apart.high)) > 3:
        condition, why = None, "the gains are at most 3 pp apart, but the interval reaches beyond that"
    else:
        condition, why = False, "the gains are at most 3 pp apart, interval included"
    measured = (f"HighRes {none:.1f} -> {both:.1f}, ROI {roi_none:.1f} -> {roi_both:.1f} "
                f"(gains {apart.mean:+.1f} pp apart)")
    return decide_true(claim, condition, measured, why, interval=apart)


def crf_parameters_matter(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C22: decided on HighRes, ROI is reported."""
    v2 = ("seeds, crf-loss v2", "v2")
    decision = decide_difference(claim, gain(evidence, SEC_LIKE, v2), half_size(claim),
                                 measured=figures(evidence, SEC_LIKE, v2))
    return told(decision, f"The same on GAP-ROI: {gain(evidence, *ROI_CRF)}.")


def saliency_beats_crf(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C23: both guides against the best CRF combination on seeds of either network."""
    best = best_of(evidence, HIGHRES_CRF + ROI_CRF)
    parts = [decide_difference(claim, gain(evidence, guide, best), half_size(claim),
                               measured=figures(evidence, guide, best))
             for guide in (G2_CRF, ("ROI G2", "v2"))]
    return told(decide_jointly(claim, parts), f"The best CRF combination here is {name_of(best)}.")


def saliency_gains_alike(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C24."""
    pairs = [(G2_CRF, SEEDS), (("ROI G2", "v2"), ("ROI seeds", None))]
    apart = combined_interval([evidence.confusions(*cell) for pair in pairs for cell in pair], mean_iou,
                              lambda a, b, c, d: (a - b) - (c - d)).percent("pp")
    parts = [decide_difference(claim, gain(evidence, *pair), measured=figures(evidence, *pair)) for pair in pairs]
    parts += [decide_range(claim, apart, -3, 3, unit="pp", measured=f"gains {apart.mean:+.1f} pp apart")]
    return decide_jointly(claim, parts)


def crf_places(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C26: loss and post-processing, parameter set v1."""
    cells = {"both": SEC_LIKE, "loss": ("seeds, crf-loss v1", None), "postproc": ("seeds", "v1"), "none": SEEDS}
    return decide_ordering(claim, {name: miou(evidence, cell) for name, cell in cells.items()},
                           "both > loss > none, both > postproc > none", seeds=len(evidence.confusions(*SEEDS)))


def crf_loss_on_guide(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C27: no parameter set adds more than 0.5 pp."""
    parts = []
    for name in ("v1", "v2"):
        added = gain(evidence, (f"G2, crf-loss {name}", None), G2)
        parts.append(decide_range(claim, added, high=0.5, unit="pp",
                                  measured=f"crf-loss {name} adds {added.mean:+.1f} pp"))
    return told(decide_jointly(claim, parts), f"G2 alone reaches {miou(evidence, G2):.1f} % on val.")


# --- saliency and noise ----------------------------------------------------------------------------------------------


def learned_saliency_better(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C28: the share of images with a foreground IoU above 0.6."""
    good = [image_values(is_good(evidence.saliency_counts(detector), PUBLISHED.good_saliency_iou))
            for detector in ("", "unsupervised")]
    learned, by_hand = (100 * float(ratio(values.sum(1)).mean()) for values in good)
    decision = decide_difference(claim, difference_interval(*good, ratio),
                                 measured=f"learned {learned:.1f} %, hand-crafted {by_hand:.1f} %")
    origin = "The learned detector came with weights trained on pixel masks of other data." * (
        evidence.off_the_shelf_saliency)
    return told(decision, f"Learned saliency is good on {learned:.0f} % of the val images (paper: about 20 %).", origin)


def clutter_hurts_saliency(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C29: rank correlation of an image's saliency IoU, mean over seeds, with what may distract in it."""
    from scipy.stats import spearmanr

    per_image = nan_mean(foreground_iou(evidence.saliency_counts()).T)
    known = ~np.isnan(per_image)
    found = {name: spearmanr(count[known], per_image[known]) for name, count in evidence.crowding().items()}
    text = ", ".join(f"{name} rho {rho:+.2f} (p {p:.1g})" for name, (rho, p) in found.items())
    if any(rho < 0 and p < ALPHA for rho, p in found.values()):
        condition, why = True, f"IoU falls with at least one of these numbers (rho < 0, p < {ALPHA})"
    elif all(rho > 0 and p < ALPHA for rho, p in found.values()):
        condition, why = False, f"IoU rises with these numbers (p < {ALPHA})"
    else:
        condition, why = None, f"no negative correlation with p < {ALPHA}"
    decision = decide_true(claim, condition, text, why, seeds=len(evidence.saliency_counts()))
    return told(decision, f"Rank correlation over {known.sum()} val images.")


def noise_averages_out(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C30: segmenter against the G2 guide it learnt from, on the training images, undecided pixels as background."""
    guide = evidence.guide_confusions("G2")
    as_background, masked = guide.copy(), guide.copy()
    as_background[..., 0] += guide[..., -1]
    as_background[..., -1] = masked[..., -1] = 0
    plain, refined = (evidence.confusions("G2", crf, split="train") for crf in (None, "v2"))
    on_guide, on_plain, on_refined, decided = (100 * mean_iou(c.sum(1)).mean()
                                               for c in (as_background, plain, refined, masked))
    parts = [
        decide_difference(claim, difference_interval(plain, as_background, mean_iou),
                          measured=f"segmenter {on_plain:.1f}, guide {on_guide:.1f}"),
        decide_difference(claim, difference_interval(refined, plain, mean_iou), measured=f"with CRF {on_refined:.1f}"),
    ]
    return told(decide_jointly(claim, parts), "Undecided pixels of the guide count as background; "
                                              f"on its decided pixels alone the guide has {decided:.1f} %.")


DECIDERS: dict[str, Decider] = {
    "oh2017-C01": better_by(G0, SEEDS, guide_quality("G0", "seeds")),
    "oh2017-C02": g1_equals_g0,
    "oh2017-C03": better_by(G2, G1, guide_quality("G2", "G1")),
    "oh2017-C04": better_by(ORACLE, G2, saliency_quality),
    "oh2017-C05": guide_order,
    "oh2017-C06": recall_for_precision,
    "oh2017-C07": crf_helps,
    "oh2017-C08": share_of_full_supervision,
    "oh2017-C09": best_of_all,
    "oh2017-C10": saliency_is_competitive,
    "oh2017-C21": crf_gains_differ,
    "oh2017-C22": crf_parameters_matter,
    "oh2017-C23": saliency_beats_crf,
    "oh2017-C24": saliency_gains_alike,
    "oh2017-C25": better_by(SEEDS, ("seeds, crf-seed v1", None), guide_quality("seeds", "seeds, crf-seed v1")),
    "oh2017-C26": crf_places,
    "oh2017-C27": crf_loss_on_guide,
    "oh2017-C28": learned_saliency_better,
    "oh2017-C29": clutter_hurts_saliency,
    "oh2017-C30": noise_averages_out,
}
