"""Deciders for the claims of Chaudhry et al. 2017 on attention, saliency and the cues made of them."""

from dataclasses import replace

import numpy as np

from wsss_lab.evaluation.confusion import divide, mean_iou
from wsss_lab.evaluation.false_alarms import extra_classes, false_positives
from wsss_lab.evaluation.intervals import Interval, difference_interval, image_values, interval, ratio
from wsss_lab.evaluation.object_recall import object_recall
from wsss_lab.evaluation.precision_recall import HIT, TRUTH, WON, foreground_precision_at, sweep
from wsss_lab.fusion.harmonic import MEANS
from wsss_lab.lab.claims import (
    Claim,
    Decider,
    Decision,
    decide_difference,
    decide_jointly,
    decide_range,
    decide_true,
)
from wsss_lab.papers.chaudhry2017 import tuning_split
from wsss_lab.papers.chaudhry2017_claims_evidence import ClaimEvidence
from wsss_lab.papers.shared_claims import (
    ROUNDING,
    foreground_quality,
    if_measured,
    miou,
    pooled_miou,
    told,
)

MEAN_ROWS = {"harmonic": "S3", "geometric": "S3, geometric mean", "arithmetic": "S3, arithmetic mean"}


# --- adapting: C06, C16 ----------------------------------------------------------------------------------------------


def adapting_removes_false_positives(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C06: false-positive pixels of cues (train) and predictions (val), and absent classes that are predicted (val)."""
    cues = [false_positives(evidence.cue_confusions("S3 + adapt", round)) for round in (1, 2)]
    confusions = [evidence.confusions(row) for row in ("S3", "S3 + adapt")]
    predictions = [false_positives(each) for each in confusions]
    extra = [image_values(extra_classes(each).astype(float)) for each in confusions]
    counted = replace(difference_interval(extra[1], extra[0], ratio), unit="classes per image")
    decision = decide_jointly(claim, [
        *(decide_difference(claim, difference_interval(after, before, ratio), sign=-1,
                            measured=f"{name} {_percent(before)} -> {_percent(after)} %")
          for name, (before, after) in (("cues", cues), ("predictions", predictions))),
        decide_difference(claim, counted, sign=-1,
                          measured=f"absent classes {_pooled(extra[0]):.2f} -> {_pooled(extra[1]):.2f} per image"),
    ])
    return told(decision, "Background pixels labelled as objects, before and after adapting with S3.",
                if_measured(_with_s1, evidence))


def _with_s1(evidence: ClaimEvidence) -> str:
    before, after = (false_positives(evidence.confusions(row)) for row in ("S1", "S1 + adapt"))
    return f"With S1 the predictions have {_percent(before)} and {_percent(after)} %."


def adapted_cues_are_better(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C16: mIoU on the training images of what the second round of S3 + adapt learns from, and the first."""
    initial, adapted = (evidence.cue_confusions("S3 + adapt", round) for round in (1, 2))
    quality = ["{:.0f}/{:.0f}".format(*foreground_quality(each)) for each in (initial, adapted)]
    decision = decide_difference(claim, difference_interval(adapted, initial, mean_iou),
                                 measured=f"adapted {pooled_miou(adapted):.1f}, initial {pooled_miou(initial):.1f}")
    return told(decision, f"Foreground precision/recall: initial {quality[0]}, adapted {quality[1]} %.")


# --- means and attention: C11 to C13, C18 ----------------------------------------------------------------------------


def at_threshold(counts: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Confidence counts with one threshold left: pixels below and from each seed's threshold on.

    counts: (S, N, 3, K, bins). thresholds: (S,), brought to the nearest edge of a bin. Returns (S, N, 3, K, 2).
    """
    edges = np.round(np.asarray(thresholds) * counts.shape[-1]).astype(int)
    return np.stack([np.stack([seed[..., :edge].sum(-1), seed[..., edge:].sum(-1)], -1)
                     for seed, edge in zip(counts, edges, strict=True)])


def miou_of_two(counts: np.ndarray) -> np.ndarray:
    """Mean IoU (...) at the threshold of `at_threshold` (..., 3, K, 2)."""
    return sweep(counts).mean_iou[..., 1]


def harmonic_mean_is_best(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C11: cues of the training images, each mean with the gamma that is best on other images."""
    tuned_on = tuning_split(evidence.profile)
    gammas = {mean: np.array([sweep(seed.sum(0)).best_threshold()[0]
                              for seed in evidence.agreement_counts(mean, split=tuned_on)]) for mean in MEANS}
    cues = {mean: at_threshold(evidence.agreement_counts(mean), gammas[mean]) for mean in MEANS}
    quality = {mean: 100 * float(miou_of_two(each.sum(1)).mean()) for mean, each in cues.items()}
    parts = [decide_range(claim, apart, low=0, unit="pp", measured=f"harmonic - {other} {apart.mean:+.1f} pp")
             for other in ("geometric", "arithmetic")
             for apart in [difference_interval(cues["harmonic"], cues[other], miou_of_two).percent("pp")]]
    listed = ", ".join(f"{mean} {quality[mean]:.1f} % at gamma {gammas[mean].mean():.2f}" for mean in MEANS)
    return told(decide_jointly(claim, parts), f"mIoU of the cues, gammas chosen on {tuned_on}: {listed}.",
                if_measured(_learnt_from_means, evidence))


def _learnt_from_means(evidence: ClaimEvidence) -> str:
    listed = ", ".join(f"{mean} {miou(evidence, (row, False)):.1f}" for mean, row in MEAN_ROWS.items())
    return f"Networks that learn from them reach {listed} % on val (harmonic with the paper's gamma)."


def average_pooling_covers_more(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C12: the part of an image's objects that their attention covers, mean over images with one tag.

    With several tags the classes compete for pixels, so that what one class covers depends on the others' maps.
    The threshold is the attention below which Algorithm 1 takes a pixel for background whatever its saliency:
    h(a, 1) >= gamma where a >= gamma / (2 - gamma).
    """
    one = evidence.tags.sum(1) == 1
    counts = [evidence.attention_counts(pooling=pooling)[:, one] for pooling in ("average", "max")]
    threshold = evidence.gamma / (2 - evidence.gamma)
    average, largest = (covered(each, threshold) for each in counts)
    decision = decide_difference(claim, difference_interval(average, largest, ratio),
                                 measured=f"average pooling {_percent(average)} %, max {_percent(largest)} %")
    higher = difference_interval(*(covered(each, 0.5) for each in counts), ratio).percent("pp")
    areas = [difference_interval(*(claimed(each, level) for each in counts), ratio).percent("pp")
             for level in (threshold, 0.5)]
    return told(decision, f"Covered part of the objects of {one.sum()} val images with one tag at an attention of "
                          f"{threshold:g}, the least that Algorithm 1 accepts; at 0.5 the difference is {higher}. "
                          f"The area above these thresholds differs by {areas[0]} and {areas[1]} of the image.")


def covered(counts: np.ndarray, threshold: float) -> np.ndarray:
    """Per-image values of the covered part of the objects: (S, N, 3, K, bins) -> (S, N, 2), see `image_values`."""
    above = at_threshold(counts, np.full(len(counts), threshold))[..., 1:, :]
    return image_values(divide(above[..., HIT, :, 1].sum(-1), above[..., TRUTH, :, :].sum((-2, -1))))


def claimed(counts: np.ndarray, threshold: float) -> np.ndarray:
    """Per-image values of the part of the image above a threshold, as `covered`."""
    above = at_threshold(counts, np.full(len(counts), threshold))
    return image_values(divide(above[..., WON, 1:, 1].sum(-1), above[..., TRUTH, :, :].sum((-2, -1))))


def saliency_makes_precise(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C13: foreground precision at the recall of Algorithm 1's cues, on the training images."""
    level = foreground_quality(evidence.cue_confusions("S3"))[1] / 100

    def precision(summed: np.ndarray) -> np.ndarray:
        return foreground_precision_at(summed, level, interpolate=True)

    counts = {"Algorithm 1": evidence.agreement_counts("harmonic"), "attention": evidence.attention_counts("train")}
    listed = ", ".join(f"{name} {100 * float(precision(each.sum(1)).mean()):.1f}" for name, each in counts.items())
    return decide_difference(claim, difference_interval(*counts.values(), precision),
                             measured=f"precision at {100 * level:.1f} % recall: {listed} %")


def volumes_are_activation_maps(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C18: attention volumes of the trained network against class activation maps of the same weights."""
    found = evidence.cam_differences()
    same = max(found.values()) < ROUNDING
    return decide_true(claim, same, f"maps {found['maps']:.0e}, scores {found['scores']:.0e} apart (relative)",
                       f"maps less their bias, and scores, {'agree' if same else 'do not agree'} to {ROUNDING:.0e} in "
                       "double precision")


# --- saliency: C14 ---------------------------------------------------------------------------------------------------


def erasing_finds_more_objects(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C14: gain from S1 to S3 in pixel recall of the largest three objects, with several objects and with one."""
    counts = np.stack([evidence.object_counts(step) for step in ("S1", "S3")], 2)  # (S, N, step, rank, 2)
    number = evidence.number_of_objects()
    groups = np.stack([number == 1, number >= 2], -1)  # (N, group)
    sums = counts.sum(3)[:, :, None] * groups[None, :, :, None, None]  # (S, N, group, step, 2)
    recall = 100 * ratio(sums.sum(1)).mean(0)  # (group, step)
    decision = decide_difference(claim, _more_gained(sums),
                                 measured=f"recall S1 -> S3: 2 or more objects {recall[1, 0]:.1f} -> {recall[1, 1]:.1f}"
                                          f", one {recall[0, 0]:.1f} -> {recall[0, 1]:.1f} %")
    first, second = (100 * object_recall(counts[:, groups[:, 1], 0]).mean(0))[:2]
    return told(decision, f"{groups[:, 1].sum()} of {len(number)} val images have 2 or more objects; S1 finds "
                          f"{first:.1f} % of their largest object and {second:.1f} % of the second.")


def _more_gained(sums: np.ndarray) -> Interval:
    """Gain in recall from S1 to S3 of images of several objects less that of the others: (S, N, group, step, 2)."""

    def statistic(summed: np.ndarray) -> np.ndarray:
        recall = ratio(summed)
        gained = recall[..., 1] - recall[..., 0]
        return gained[..., 1] - gained[..., 0]

    return interval(sums, statistic)


def _pooled(sums: np.ndarray) -> float:
    """The ratio of per-image sums (S, N, 2), mean over the seeds."""
    return float(ratio(sums.sum(1)).mean())


def _percent(sums: np.ndarray) -> str:
    return f"{100 * _pooled(sums):.1f}"


DECIDERS: dict[str, Decider] = {
    "chaudhry2017-C06": adapting_removes_false_positives,
    "chaudhry2017-C11": harmonic_mean_is_best,
    "chaudhry2017-C12": average_pooling_covers_more,
    "chaudhry2017-C13": saliency_makes_precise,
    "chaudhry2017-C14": erasing_finds_more_objects,
    "chaudhry2017-C16": adapted_cues_are_better,
    "chaudhry2017-C18": volumes_are_activation_maps,
}
