"""Deciders for the claims of Lee et al. 2021 on pseudo-masks: boundaries, surroundings, refinement, joint training.

Tables 1, 2 and 4, Fig. 3. EPS is the row "adaptive"; pseudo-masks are those of training images, tags known.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from wsss_lab.evaluation.boundaries import boundary_scores
from wsss_lab.evaluation.co_occurrence import confusion_ratio, pair_sums
from wsss_lab.evaluation.confusion import iou, mean_iou
from wsss_lab.evaluation.intervals import Interval, Statistic, combined_interval, difference_interval, ratio
from wsss_lab.evaluation.saliency_scores import foreground_iou, foreground_precision_recall
from wsss_lab.lab.claims import (
    Claim,
    Decider,
    Decision,
    NotMeasured,
    decide_difference,
    decide_jointly,
    decide_range,
    decide_true,
)
from wsss_lab.papers.lee2021_claims_evidence import (
    CAM,
    CUTS,
    EPS,
    LOW_BACKGROUND,
    ClaimEvidence,
    Pair,
    at_best_background,
    shown,
)
from wsss_lab.papers.lee2021_values import PUBLISHED
from wsss_lab.papers.shared_claims import (
    all_positive,
    apart,
    foreground_quality,
    half_size,
    if_measured,
    percent,
    pooled_miou,
    told,
)
from wsss_lab.seeds.localisation import BACKGROUND

Contexts = Mapping[str, np.ndarray]

HALF_F1 = 19.2  # pp, of C01's rule
MOST_REFINED = 4.0  # pp that refinement may add to EPS, of C09's rule
BOUNDARY = ("f1", "recall", "precision")


def not_run(*methods: str) -> str:
    """A sentence on methods that the paper compares with."""
    return f"Not run here: {', '.join(methods)}."


# --- boundaries: C01 -------------------------------------------------------------------------------------------------


def boundary(name: str) -> Statistic:
    """One of BOUNDARY as a statistic of boundary counts (..., 3)."""
    return lambda summed: getattr(boundary_scores(summed), name)


def better_boundaries(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C01: at the tolerance of the boundary benchmark; F1 at the wider one is told."""
    eps, cam = evidence.boundaries(EPS), evidence.boundaries(CAM)

    def compared(name: str, tolerance: int) -> tuple[Interval, str]:
        pair = eps[:, :, tolerance], cam[:, :, tolerance]
        figures = [percent(each, boundary(name)) for each in pair]
        words = "F1" if name == "f1" else name
        return apart(*pair, boundary(name)), "{} EPS {:.1f}, CAM {:.1f}".format(words, *figures)

    parts = []
    for name in BOUNDARY:
        difference, measured = compared(name, 0)
        parts.append(decide_difference(claim, difference, HALF_F1 if name == "f1" else None, measured=measured))
    narrow, wide = PUBLISHED.boundary_shares
    difference, measured = compared("f1", 1)
    return told(decide_jointly(claim, parts),
                f"Boundaries match within {100 * narrow:g} % of an image's diagonal, or 1 pixel where that is more. "
                f"Within {100 * wide:g} %: {measured} %, {difference}.", not_run("BES", "SEAM"))


# --- surroundings: C02 to C04 ----------------------------------------------------------------------------------------


def ratios(evidence: ClaimEvidence, pairs: list[Pair], methods: Mapping[str, Contexts]) -> str:
    """Confusion ratios of each pair by each method, as in "boat on water CAM 0.74, EPS 0.10"."""
    tags = evidence.scored_tags

    def value(found: Contexts, pair: Pair) -> str:
        scores = confusion_ratio(found["false"], found["present"], found["confusions"], tags, pair.k, pair.c)
        mean = float(scores.ratio.mean())
        return "undefined" if np.isnan(mean) else f"{mean:.2f}"

    return "; ".join(f"{pair.name} " + ", ".join(f"{name} {value(found, pair)}" for name, found in methods.items())
                     for pair in pairs)


def ratio_differences(evidence: ClaimEvidence, pairs: list[Pair], higher: Contexts, lower: Contexts
                      ) -> dict[str, Interval]:
    """m of one method less that of another for each pair, by the pair's name."""
    tags = evidence.scored_tags

    def sums(found: Contexts, pair: Pair) -> np.ndarray:
        return pair_sums(found["false"], found["present"], found["confusions"], tags, pair.k, pair.c)

    return {pair.name: difference_interval(sums(higher, pair), sums(lower, pair), ratio) for pair in pairs}


def confuses_least(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C02: m(CAM) - m(EPS) for every pair."""
    pairs, eps, cam = evidence.named_pairs(), evidence.contexts(EPS), evidence.contexts(CAM)
    decision = all_positive(claim, ratio_differences(evidence, pairs, cam, eps),
                            "the confusion ratio between CAM and EPS")
    return told(decision, f"Confusion ratios: {ratios(evidence, pairs, {'CAM': cam, 'EPS': eps})}.",
                not_run("SEAM", "ICD", "SGAN"))


def segments_the_target_better(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C03: IoU of the pair's class on the images of the pair."""
    tags = evidence.scored_tags
    methods = {"EPS": evidence.contexts(EPS), "CAM": evidence.contexts(CAM)}
    differences, listed = {}, []
    for k, c, name in evidence.named_pairs():
        confusions = [of_images(found["confusions"], found["present"][..., k] & tags[:, c])
                      for found in methods.values()]
        differences[name] = apart(*confusions, lambda summed, c=c: iou(summed)[..., c + 1])
        values = (percent(each, lambda summed, c=c: iou(summed)[..., c + 1]) for each in confusions)
        listed.append(f"{name} " + ", ".join(f"{method} {value:.1f}"
                                             for method, value in zip(methods, values, strict=True)))
    return told(all_positive(claim, differences, "the class's IoU between EPS and CAM"),
                f"IoU of the class: {'; '.join(listed)} %.", not_run("SGAN"))


def of_images(sums: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Per-image sums (S, N, ...) with those of other images set to 0; chosen: bool (S, N)."""
    return np.where(chosen.reshape(*chosen.shape, *(1,) * (sums.ndim - 2)), sums, 0)


def expansion_confuses_more(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C04: the expansion method is CAM with half of its background score."""
    pairs, cam, wider = evidence.named_pairs(), evidence.contexts(CAM), evidence.expanded_contexts()
    decision = all_positive(claim, ratio_differences(evidence, pairs, wider, cam),
                            "the confusion ratio between expanded CAM and CAM")
    methods = {"CAM": cam, "expanded": wider}
    if evidence.has_affinity:
        methods["AffinityNet"] = evidence.walked_contexts()
    boundaries = "; CAM + AffinityNet is an expansion with cues for boundaries" * evidence.has_affinity
    return told(decision, f"CAM expands with a background score of {LOW_BACKGROUND:g} instead of {BACKGROUND:g}"
                          f"{boundaries}. Confusion ratios: {ratios(evidence, pairs, methods)}.", not_run("SEAM"))


# --- accuracy and refinement: C08, C09, C20 --------------------------------------------------------------------------


def eps_against_cam(explain: Callable[[ClaimEvidence], str]) -> Decider:
    """A decider for the mIoU of EPS less that of CAM, with half of its published size. explain: told beside it."""

    def decide(claim: Claim, evidence: ClaimEvidence) -> Decision:
        eps, cam = (evidence.confusions(row) for row in (EPS, CAM))
        decision = decide_difference(claim, apart(eps, cam), half_size(claim),
                                     measured=f"EPS {pooled_miou(eps):.1f}, CAM {pooled_miou(cam):.1f}")
        return told(decision, if_measured(explain, evidence))

    return decide


def quality_and_background(evidence: ClaimEvidence) -> str:
    """Sentences on what both pseudo-masks find, and on what the constant background score does to them."""
    quality = ["{} {:.0f}/{:.0f}".format(shown(row), *foreground_quality(evidence.confusions(row)))
               for row in (EPS, CAM)]
    best = ["{} {:.1f} % at {:.2f}".format(shown(row), *reversed(at_best_background(evidence.counts(row))))
            for row in (EPS, CAM)]
    learned = evidence.learned(EPS)
    return (f"Foreground precision/recall: {', '.join(quality)} %. Each with the background score that suits it best, "
            f"chosen on these masks, instead of {BACKGROUND:g}: {', '.join(best)}. With its learned background map EPS "
            f"has {pooled_miou(learned):.1f} %, {apart(learned, evidence.confusions(CAM))} against CAM. "
            f"{not_run('SEAM', 'ICD', 'SGAN')}")


def labelled_by_saliency(salient: np.ndarray, tags: np.ndarray) -> np.ndarray:
    """Confusions of the salient pixels under an image's one tag, and background elsewhere, on images with one tag.

    salient: confusions (S, N, K, K + 1) of `covered`. tags: bool (N, C). Returns (S, n, K, K + 1).
    """
    one = tags.sum(1) == 1
    labelled = np.zeros_like(salient[:, one])
    labelled[..., 0] = salient[:, one][..., 0]
    labelled[..., 1:-1] = salient[:, one][..., 1:2] * tags[one][:, None]
    return labelled


def each_source_alone(evidence: ClaimEvidence) -> str:
    """A sentence on tags alone and saliency alone, on images of one tag, which gives salient pixels their label."""
    one = evidence.scored_tags.sum(1) == 1
    if not one.any():
        raise NotMeasured("every image has several tags")
    alone = labelled_by_saliency(evidence.covered(), evidence.scored_tags)
    eps, cam = (evidence.confusions(row)[:, one] for row in (EPS, CAM))
    return (f"On the {one.sum()} of {len(one)} images with one tag, the salient pixels under that tag have "
            f"{pooled_miou(alone):.1f} %, CAM {pooled_miou(cam):.1f}, EPS {pooled_miou(eps):.1f}; EPS against saliency "
            f"alone {apart(eps, alone)}.")


def refinement_adds_little(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C09: what every refiner of the profile adds to EPS; against CAM with AffinityNet, which the paper prints."""
    alone = [evidence.confusions(row) for row in (EPS, CAM)]
    refined = {"CRF": [evidence.confusions(row, crf=True) for row in (EPS, CAM)]}
    if evidence.has_affinity:
        refined["AffinityNet"] = [evidence.walked(row) for row in (EPS, CAM)]
    added = {name: [apart(*pair) for pair in zip(each, alone, strict=True)] for name, each in refined.items()}
    parts = [decide_range(claim, eps, high=MOST_REFINED, unit="pp", measured=f"{name} adds {eps.mean:+.1f} pp to EPS")
             for name, (eps, _) in added.items()]
    compared = list(refined)[-1]
    parts.append(_half_of_cams_gain(claim, compared, added[compared][1], [*refined[compared], *alone]))
    listed = "; ".join(f"{name} EPS {eps}, CAM {cam}" for name, (eps, cam) in added.items())
    return told(decide_jointly(claim, parts), f"Added: {listed}. Without refinement EPS has "
                                              f"{pooled_miou(alone[0]):.1f} %, CAM {pooled_miou(alone[1]):.1f} %.")


def _half_of_cams_gain(claim: Claim, refiner: str, cams: Interval, confusions: Sequence[np.ndarray]) -> Decision:
    """Whether EPS gains less than half of what CAM gains; open where CAM gains nothing.

    cams: CAM's gain. confusions: of EPS and CAM refined, then of both without refinement.
    """
    if not cams.mean > 0:
        return decide_true(claim, None, f"{cams.mean:+.1f} pp to CAM",
                           f"{refiner} adds nothing to CAM of which EPS could gain less than half", interval=cams)
    ahead = combined_interval(confusions, mean_iou,
                              lambda eps_refined, cam_refined, eps, cam: (cam_refined - cam) / 2 - (eps_refined - eps))
    return decide_difference(claim, ahead, measured=f"half of what {refiner} adds to CAM, less what it adds to EPS")


# --- saliency: C19 ---------------------------------------------------------------------------------------------------


def estimate_is_better(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C19: foreground IoU on val of what EPS makes of the tags' maps, against the detector that taught it."""
    estimated, detected = evidence.estimated(EPS), evidence.saliency()
    figures = [percent(each, foreground_iou) for each in (estimated, detected)]
    decision = decide_difference(claim, apart(estimated, detected, foreground_iou),
                                 measured="estimated {:.1f}, detector {:.1f}".format(*figures))
    changes = {name: apart(estimated, detected, foreground_score(name)) for name in ("recall", "precision")}
    known = ", ".join(f"{name} {change}" for name, change in changes.items() if not np.isnan(change.mean))
    return told(decision, f"The estimate knows the tags of the image, the detector doesn't. Restored objects show in "
                          f"recall, removed noise in precision: {known}.", if_measured(other_cuts, evidence))


def other_cuts(evidence: ClaimEvidence) -> str:
    """A sentence on the same maps cut elsewhere, as one half may suit one of them better."""
    listed = []
    for place, cut in enumerate(CUTS):
        figures = [percent(evidence.cuts(estimated)[:, :, place], foreground_iou) for estimated in (True, False)]
        listed.append("at {:g} {:.1f} and {:.1f}".format(cut, *figures))
    return f"Maps count as salient from one half on; {', '.join(listed)} %."


def foreground_score(name: str) -> Statistic:
    """Precision or recall of the foreground as a statistic of foreground counts (..., 4)."""
    return lambda summed: getattr(foreground_precision_recall(summed), name)


DECIDERS: dict[str, Decider] = {
    "lee2021-C01": better_boundaries,
    "lee2021-C02": confuses_least,
    "lee2021-C03": segments_the_target_better,
    "lee2021-C04": expansion_confuses_more,
    "lee2021-C08": eps_against_cam(quality_and_background),
    "lee2021-C09": refinement_adds_little,
    "lee2021-C19": estimate_is_better,
    "lee2021-C20": eps_against_cam(each_source_alone),
}
