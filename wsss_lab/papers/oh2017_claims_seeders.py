"""Deciders for the claims of Oh et al. 2017 on seeders; their intervals rest on 1000 replicates (SeederFigures)."""

import numpy as np

from wsss_lab.evaluation.confusion import nan_mean
from wsss_lab.evaluation.intervals import Interval, difference_interval, image_values, ratio
from wsss_lab.lab.claims import (
    Claim,
    Decider,
    Decision,
    NotMeasured,
    decide_difference,
    decide_equivalence,
    decide_jointly,
    decide_ordering,
    decide_range,
    decide_true,
)
from wsss_lab.papers.oh2017 import BACKPROP, GAP_NETS
from wsss_lab.papers.oh2017_claims_evidence import POOLED, POOLED_LAST, ClaimEvidence
from wsss_lab.papers.shared_claims import ROUNDING, all_positive, half_size, miou, told
from wsss_lab.seeds.periodicity import periodic_peak

SEEDERS = (*GAP_NETS, *BACKPROP)
PRECISE_NETS = ("LowRes", "HighRes", "ROI")  # all but the dilated one
G2_ROWS = {"LowRes": "LowRes G2", "HighRes": "G2", "ROI": "ROI G2", "DeepLab": "DeepLab G2"}
SAMPLE = 100  # images whose class maps are looked at for periods


def precisions(evidence: ClaimEvidence, *seeders: str) -> str:
    """The seeders with their mP, as in "mP HighRes 80.7, LowRes 76.5"."""
    return "mP " + ", ".join(f"{seeder} {evidence.seeders.value(seeder, 'mP'):.1f}" for seeder in seeders)


def average_precision(evidence: ClaimEvidence, variant: str) -> float:
    """mAP on val in per cent, mean over the seeds."""
    return 100 * float(evidence.average_precision(variant).mean())


def seeds_of(evidence: ClaimEvidence) -> int:
    """Number of training seeds."""
    return len(evidence.seed_counts("HighRes"))


def more_precise_by(better: str, worse: str) -> Decider:
    """A decider for one difference of mP with half of its published size, as in the claim's rule."""

    def decide(claim: Claim, evidence: ClaimEvidence) -> Decision:
        return decide_difference(claim, evidence.seeders.difference(better, worse, "mP"), half_size(claim),
                                 measured=precisions(evidence, better, worse))

    return decide


def highres_equals_roi(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C13: decided on mP, mAP is reported."""
    decision = decide_equivalence(claim, evidence.seeders.difference("HighRes", "ROI", "mP"),
                                  measured=precisions(evidence, "HighRes", "ROI"))
    highres, roi = (average_precision(evidence, variant) for variant in ("HighRes", "ROI"))
    return told(decision, f"As classifiers they have mAP {highres:.1f} and {roi:.1f} %.")


def classifier_is_no_guide(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C14: direction only when DeepLab is the best classifier and worst seeder, but the spans are alike."""
    quality = {net: evidence.seeders.value(net, "mP") for net in GAP_NETS}
    classifying = {net: average_precision(evidence, net) for net in GAP_NETS}
    spans = [max(values.values()) - min(values.values()) for values in (classifying, quality)]
    measured = "; ".join(f"{net} mAP {classifying[net]:.1f}, mP {quality[net]:.1f}" for net in GAP_NETS)
    if np.isnan([*quality.values(), *classifying.values()]).any():
        return decide_true(claim, None, measured, "one of the figures is missing", seeds=seeds_of(evidence))
    behind = max(classifying.values()) - classifying["DeepLab"]
    opposite = behind <= 2 and min(quality, key=quality.get) == "DeepLab"
    worst = min(quality, key=quality.get)
    why = (f"GAP-DeepLab is {behind:.1f} pp behind the best mAP (at most 2 asked for), {worst} has the lowest mP; "
           f"mP spans {spans[1]:.1f} pp, mAP {spans[0]:.1f} pp (at least twice as much asked for)")
    return decide_true(claim, opposite and spans[1] >= 2 * spans[0], measured, why, partly=opposite,
                       seeds=seeds_of(evidence))


def gap_beats_backprop(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C15: each of three GAP networks against each method, at the levels of recall that the method reaches."""
    figures = evidence.seeders
    reached = [(method, recall) for method in BACKPROP for recall in (0.2, 0.4, 0.6)
               if not np.isnan(figures.value(method, recall))]
    differences = {f"{net} - {method} at {100 * recall:.0f} % recall": figures.difference(net, method, recall)
                   for net in PRECISE_NETS for method, recall in reached}
    beyond = 3 * len(BACKPROP) - len(reached)
    left_out = f"Back-propagation doesn't reach {beyond} of its 9 levels of recall, which are left out."
    return told(all_positive(claim, differences, "precision"), left_out if beyond else "")


def curve_order(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C16: areas under the mean foreground curve, in per cent of the unit square."""
    areas = {net: evidence.seeders.value(net, "area") for net in GAP_NETS}
    return decide_ordering(claim, areas, "HighRes ~ ROI > LowRes > DeepLab", seeds=seeds_of(evidence))


def guided_is_precise_early(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C17: the highest precision at 5 % recall, but below GAP-HighRes at 20 %."""
    early = {seeder: evidence.seeders.value(seeder, 0.05) for seeder in (*SEEDERS, "centre") if seeder != "guided"}
    second = max(early, key=lambda seeder: np.nan_to_num(early[seeder]))
    ahead = evidence.seeders.difference("guided", second, 0.05)
    first = decide_range(claim, ahead, low=0, unit="pp",
                         measured=f"at 5 % recall guided {evidence.seeders.value('guided', 0.05):.1f}, "
                                  f"best other {second} {early[second]:.1f} ({ahead.mean:+.1f} pp)")
    guided, highres = (evidence.seeders.value(seeder, 0.2) for seeder in ("guided", "HighRes"))
    if np.isnan(guided):
        later = decide_true(claim, not np.isnan(highres), "", "guided back-propagation doesn't reach 20 % recall")
    else:
        later = decide_difference(claim, evidence.seeders.difference("HighRes", "guided", 0.2),
                                  measured=f"at 20 % recall HighRes {highres:.1f}, guided {guided:.1f}")
    return decide_jointly(claim, [first, later])


def seeders_beat_centre(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C18."""
    differences = {f"{seeder} - centre": evidence.seeders.difference(seeder, "centre", "mP") for seeder in SEEDERS}
    decision = all_positive(claim, differences, "mP")
    return told(decision, f"The centre mean shape has mP {evidence.seeders.value('centre', 'mP'):.1f} %.")


def dilation_shows(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C19: the peak of the autocorrelation at the period of GAP-DeepLab's dilation, on a random sample of images.

    Finer or coarser maps are looked at over the same distance in the image.
    """
    width = evidence.class_maps("DeepLab").shape[-1]
    sample = np.sort(np.random.default_rng(0).permutation(len(evidence.tags))[:SAMPLE])
    peaks = {}
    for net in GAP_NETS:
        maps = evidence.class_maps(net)[:, sample]
        period = max(2, round(evidence.dilation * maps.shape[-1] / width))
        if period >= min(maps.shape[-2:]) - 1:
            raise NotMeasured(f"Maps of {maps.shape[-1]} positions a side are too small for a pattern to repeat.")
        peak = np.where(evidence.tags[sample], periodic_peak(maps, period), np.nan)  # (S, images, C)
        peaks[net] = image_values(nan_mean(peak))
    means = {net: float(ratio(values.sum(1)).mean()) for net, values in peaks.items()}
    differences: dict[str, Interval] = {f"DeepLab - {net}": difference_interval(peaks["DeepLab"], peaks[net], ratio)
                                        for net in PRECISE_NETS}
    decision = all_positive(claim, differences, "the peak of autocorrelation")
    listed = ", ".join(f"{net} {mean:+.2f}" for net, mean in means.items())
    return told(decision, f"Peak at a lag of {evidence.dilation} pixels of GAP-DeepLab's maps, over {len(sample)} val "
                          f"images: {listed}.")


def pooling_order(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C20: one function to rounding errors, and less than 1 pp of mP apart when trained again."""
    found = evidence.pooling_differences()
    largest = max(found.values())
    same = decide_true(claim, largest < ROUNDING,
                       f"scores {found['scores']:.0e}, gradients {found['gradients']:.0e} apart (relative)",
                       f"scores and gradients agree to {ROUNDING:.0e} in double precision" if largest < ROUNDING else
                       f"scores or gradients differ by more than {ROUNDING:.0e} in double precision")
    apart = evidence.seeders.difference(POOLED_LAST, POOLED, "mP")
    again = decide_range(claim, apart, -1, 1, unit="pp",
                         measured=f"{precisions(evidence, POOLED, POOLED_LAST)} ({apart.mean:+.1f} pp)")
    return decide_jointly(claim, [same, again])


def precision_predicts(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C31: rank correlation of mP with the mIoU on val of what is trained through G2, over the GAP networks."""
    from scipy.stats import spearmanr

    quality = {net: evidence.seeders.value(net, "mP") for net in G2_ROWS}
    final = {net: miou(evidence, (row, None)) for net, row in G2_ROWS.items()}
    rho = float(spearmanr(list(quality.values()), list(final.values())).statistic)
    measured = f"rho {rho:+.2f}; " + ", ".join(f"{net} mP {quality[net]:.1f}, mIoU {final[net]:.1f}" for net in G2_ROWS)
    why = f"rank correlation over {len(G2_ROWS)} seed networks (above 0 asked for)"
    return decide_true(claim, None if np.isnan(rho) else rho > 0, measured, why, seeds=seeds_of(evidence))


DECIDERS: dict[str, Decider] = {
    "oh2017-C11": more_precise_by("HighRes", "LowRes"),
    "oh2017-C12": more_precise_by("HighRes", "DeepLab"),
    "oh2017-C13": highres_equals_roi,
    "oh2017-C14": classifier_is_no_guide,
    "oh2017-C15": gap_beats_backprop,
    "oh2017-C16": curve_order,
    "oh2017-C17": guided_is_precise_early,
    "oh2017-C18": seeders_beat_centre,
    "oh2017-C19": dilation_shows,
    "oh2017-C20": pooling_order,
    "oh2017-C31": precision_predicts,
}
