"""Deciders for the claims of Lee et al. 2021 on segmenters taught by pseudo-masks: Tables 5 to 7, Sec. 5.3, Fig. 6."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from wsss_lab.evaluation.confusion import iou, nan_mean
from wsss_lab.evaluation.intervals import Interval, interval
from wsss_lab.evaluation.rank_correlation import CORRELATION, correlation, rank_sums
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.lab.claims import (
    Claim,
    Decider,
    Decision,
    NotMeasured,
    decide_difference,
    decide_jointly,
    decide_range,
    not_testable,
)
from wsss_lab.papers.lee2021 import DETECTORS, detector_row, segmenters, taught
from wsss_lab.papers.lee2021_claims_evidence import CAM, EPS, ClaimEvidence, shown, splits
from wsss_lab.papers.shared_claims import (
    all_positive,
    apart,
    half_size,
    if_measured,
    over_seeds,
    percent,
    pooled_miou,
    told,
)

Sentence = Callable[[ClaimEvidence], str]

V1_VGG, V2_VGG, V1_RESNET, V2_RESNET = "V1, VGG16", "V2, VGG16", "V1, ResNet101", "V2, ResNet101"
OTHERS = {V1_VGG: (CAM, "CAM + AffinityNet"), V1_RESNET: (CAM, "G2")}  # other methods that teach a segmenter
UNSUPERVISED = detector_row("unsupervised")
HEADS_ALIKE = 1.5  # pp between V1 and V2, of C12's rule
DETECTORS_ALIKE = 4.0  # pp, of C15's rule


def best_other(evidence: ClaimEvidence, net: str, split: str) -> str:
    """The method without EPS that teaches a segmenter best, by its result on this split."""
    return max(OTHERS[net], key=lambda labels: pooled_miou(evidence.segmented(labels, net, split)))


def results(evidence: ClaimEvidence, net: str, split: str, *labels: str) -> str:
    """What a segmenter has from several labels, as in "EPS 71.0, CAM 60.2"."""
    return ", ".join(f"{shown(each)} {pooled_miou(evidence.segmented(each, net, split)):.1f}" for each in labels)


def against(evidence: ClaimEvidence, net: str, split: str, better: str, worse: str) -> Interval:
    """Difference of mIoU between segmenters taught by two labels."""
    return apart(evidence.segmented(better, net, split), evidence.segmented(worse, net, split))


def compared(claim: Claim, evidence: ClaimEvidence, net: str, labels: str, half: float | None,
             other: str = "") -> Decision:
    """One segmenter taught by `labels` against the same by another method ("" = the best), on val and test."""
    parts = []
    for split in splits(evidence):
        pair = labels, other or best_other(evidence, net, split)
        parts.append(decide_difference(claim, against(evidence, net, split, *pair), half,
                                       measured=f"{split}: {results(evidence, net, split, *pair)}"))
    return decide_jointly(claim, parts)


# --- Tables 5 and 6: C10 to C13 --------------------------------------------------------------------------------------


def beats_others(net: str, *explain: Sentence) -> Decider:
    """A decider for EPS against the best other method with one segmenter, with half of its published size."""

    def decide(claim: Claim, evidence: ClaimEvidence) -> Decision:
        decision = compared(claim, evidence, net, EPS, half_size(claim))
        every = "; ".join(f"{split} {results(evidence, net, split, EPS, *OTHERS[net])}" for split in splits(evidence))
        return told(decision, f"All with {net}: {every} %.", *(if_measured(each, evidence) for each in explain))

    return decide


def with_crf(net: str) -> Sentence:
    """A sentence on what a CRF adds to a segmenter that EPS taught."""
    return lambda evidence: (f"With CRF EPS has {pooled_miou(evidence.segmented(EPS, net, crf=True)):.1f} % on val, "
                             f"{apart(evidence.segmented(EPS, net, crf=True), evidence.segmented(EPS, net))} "
                             "against without it.")


def of_full(evidence: ClaimEvidence) -> str:
    """A sentence on the same segmenter taught by the ground truth."""
    full, eps = (pooled_miou(evidence.segmented(labels, V1_RESNET)) for labels in ("full", EPS))
    reached = f"of which EPS reaches {100 * eps / full:.0f} %" if full > eps else (
        "less than by EPS: its training, and not the labels alone, limits these figures")
    return f"Taught by the ground truth it has {full:.1f} % on val, {reached}."


def with_the_same_saliency(evidence: ClaimEvidence) -> str:
    """A sentence on EPS with the detector that G2 uses, where it is another than its own."""
    detector = evidence.detector_of_guides
    if detector in (None, DETECTORS[0]):
        return ""
    row = detector_row(detector)
    listed = ", ".join(f"{split} {against(evidence, V1_RESNET, split, row, 'G2')}" for split in splits(evidence))
    return f"EPS against G2 with the same detector ('{detector}' instead of '{DETECTORS[0]}'): {listed}."


def every_segmenter(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C12: EPS against CAM with each segmenter that CAM teaches; V1 against V2 with each backbone; on val."""
    nets = taught(evidence.profile)[CAM]
    if len(nets) < 2:
        raise NotMeasured(f"profile {evidence.profile} trains one segmenter, and the rule compares several")
    gains = {net: against(evidence, net, "val", EPS, CAM) for net in nets}
    heads = {split: heads_apart(evidence, split) for split in splits(evidence)}
    parts = [all_positive(claim, gains, "mIoU between EPS and CAM")]
    parts += [decide_range(claim, difference, -HEADS_ALIKE, HEADS_ALIKE, unit="pp",
                           measured=f"{name} {difference.mean:+.1f} pp") for name, difference in heads["val"].items()]
    every = "; ".join(f"{net} {pooled_miou(evidence.segmented(EPS, net)):.1f}" for net in segmenters(evidence.profile))
    return over_seeds(told(
        decide_jointly(claim, parts), f"EPS on val: {every} %.", f"EPS against CAM: {_joined(gains)}.",
        f"On test: {_joined(heads['test'])}." if "test" in heads else ""))


def heads_apart(evidence: ClaimEvidence, split: str) -> dict[str, Interval]:
    """V1 less V2 on one split, by backbone."""
    return {f"{first.split(', ')[1]}, V1 - V2": apart(evidence.segmented(EPS, first, split),
                                                      evidence.segmented(EPS, second, split))
            for first, second in ((V1_VGG, V2_VGG), (V1_RESNET, V2_RESNET))}


def _joined(differences: dict[str, Interval]) -> str:
    return "; ".join(f"{name} {value}" for name, value in differences.items())


def small_against_large(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C13: its rule says that it can't be tested; what is known here is told."""

    def known(evidence: ClaimEvidence) -> str:
        best = best_other(evidence, V1_RESNET, "val")
        own = " and ".join(f"{pooled_miou(evidence.segmented(EPS, net)):.1f} % with {net}" for net in (V1_VGG, V2_VGG))
        return (f"On val EPS has {own}; {best}, the best other method run with {V1_RESNET}, has "
                f"{pooled_miou(evidence.segmented(best, V1_RESNET)):.1f} %.")

    return told(not_testable(claim, "The rule says that this can't be transferred without the other methods, which "
                                    "are not run here."), if_measured(known, evidence))


# --- many objects: C14, C21 ------------------------------------------------------------------------------------------


def carries_over(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C14: on the world of many objects, val, against CAM."""
    eps, cam = (evidence.segmented(row, V2_VGG, many=True) for row in (EPS, CAM))
    masks = [evidence.pseudo(row, many=True) for row in (EPS, CAM)]
    decision = decide_difference(claim, apart(eps, cam), half_size(claim),
                                 measured=f"EPS {pooled_miou(eps):.1f}, CAM {pooled_miou(cam):.1f}")
    return told(decision, stands_for_coco(evidence), f"Their pseudo-masks have {pooled_miou(masks[0]):.1f} and "
                          f"{pooled_miou(masks[1]):.1f} %, {apart(*masks)} apart. SGAN is not run here.")


def stands_for_coco(evidence: ClaimEvidence) -> str:
    """A sentence on the world of many objects, "" where it is COCO."""
    return "" if evidence.profile == "voc" else "A toy world of more and smaller objects stands for COCO."


def image_iou(confusions: np.ndarray) -> np.ndarray:
    """Mean IoU of the classes that an image shows, background left out: (..., K, K + 1) -> (...), nan without any."""
    shows = confusions[..., 1:, :].sum(-1) > 0
    return nan_mean(np.where(shows, iou(confusions)[..., 1:], np.nan))


def weak_on_many_small_objects(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C21: per-image IoU of the segmenter that EPS taught, on val of the world of many objects."""
    facts = evidence.objects()
    values = image_iou(evidence.segmented(EPS, V2_VGG, many=True))
    parts = []
    for name, words, sign in (("objects", "number of objects", -1), ("area", "mean area of an object", 1)):
        found = interval(rank_sums(facts[name].astype(float), values), correlation)
        parts.append(decide_difference(claim, replace(found, unit=CORRELATION), sign=sign, measured=f"IoU by {words}"))
    few = facts["objects"] <= np.median(facts["objects"])
    halves = [100 * float(nan_mean(values[:, chosen]).mean()) for chosen in (few, ~few)]
    return told(decide_jointly(claim, parts), stands_for_coco(evidence),
                f"Mean IoU of the classes that an image shows: {halves[0]:.1f} % with up to "
                f"{np.median(facts['objects']):g} objects, {halves[1]:.1f} % with more.")


# --- saliency detectors: C15, C16 ------------------------------------------------------------------------------------


def every_detector_works(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C15: EPS with each detector against the best method without EPS; the best detector against the worst."""
    rows = {name: detector_row(name) for name in DETECTORS}
    parts = []
    for split in splits(evidence):
        value = {row: pooled_miou(evidence.segmented(row, V1_RESNET, split)) for row in rows.values()}
        other = best_other(evidence, V1_RESNET, split)
        differences = {f"{name} on {split}": against(evidence, V1_RESNET, split, row, other)
                       for name, row in rows.items()}
        parts.append(all_positive(claim, differences, f"mIoU between EPS and {other} on {split}"))
        spread = against(evidence, V1_RESNET, split, max(value, key=value.get), min(value, key=value.get))
        parts.append(decide_range(claim, spread, high=DETECTORS_ALIKE, unit="pp",
                                  measured=f"{split}: {spread.mean:.1f} pp between detectors"))
    return told(decide_jointly(claim, parts), if_measured(detectors_in_numbers(rows), evidence),
                if_measured(masks_in_numbers(rows), evidence))


def detectors_in_numbers(rows: dict[str, str]) -> Sentence:
    """Sentences on the detectors, and on the segmenters on val that EPS taught with them."""

    def sentences(evidence: ClaimEvidence) -> str:
        quality = {name: percent(evidence.saliency(name), foreground_iou) for name in rows}
        taught_by = {name: pooled_miou(evidence.segmented(row, V1_RESNET)) for name, row in rows.items()}
        listed = ", ".join(f"{name} {quality[name]:.1f} and {taught_by[name]:.1f}" for name in rows)
        alike = sorted(rows, key=quality.get) == sorted(rows, key=taught_by.get)
        return (f"Foreground IoU of the detectors and mIoU of the segmenters on val: {listed} %; the order by both is "
                f"{'' if alike else 'not '}the same.")

    return sentences


def masks_in_numbers(rows: dict[str, str]) -> Sentence:
    """A sentence on the pseudo-masks of EPS with each detector."""
    return lambda evidence: "Pseudo-masks with the constant background score, and with the learned map: " + ", ".join(
        f"{name} {pooled_miou(evidence.confusions(row)):.1f} and {pooled_miou(evidence.learned(row)):.1f}"
        for name, row in rows.items()) + " %."


def unsupervised_beats_supervised(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C16: EPS with saliency that nobody trained against G2 with a trained detector."""
    decision = compared(claim, evidence, V1_RESNET, UNSUPERVISED, None, "G2")
    listed = [f"{split} {against(evidence, V1_RESNET, split, UNSUPERVISED, CAM)}" for split in splits(evidence)]
    return told(decision, if_measured(with_the_same_saliency, evidence),
                f"Unsupervised EPS against CAM: {', '.join(listed)}. DCSP is not run here.")


DECIDERS: dict[str, Decider] = {
    "lee2021-C10": beats_others(V1_VGG, with_crf(V1_VGG)),
    "lee2021-C11": beats_others(V1_RESNET, with_crf(V1_RESNET), of_full, with_the_same_saliency),
    "lee2021-C12": every_segmenter,
    "lee2021-C13": small_against_large,
    "lee2021-C14": carries_over,
    "lee2021-C15": every_detector_works,
    "lee2021-C16": unsupervised_beats_supervised,
    "lee2021-C21": weak_on_many_small_objects,
}
