"""Deciders for the claims of Araslanov & Roth 2020 on results: baselines, other methods, backbones (Tables 2 to 9)."""

from collections.abc import Callable

import numpy as np

from wsss_lab.evaluation.confusion import iou, mean_iou
from wsss_lab.evaluation.intervals import Interval, difference_interval
from wsss_lab.lab.claims import (
    Claim,
    Decider,
    Decision,
    NotMeasured,
    decide_difference,
    decide_jointly,
    decide_ordering,
    decide_range,
    decide_true,
    not_testable,
)
from wsss_lab.papers.araslanov2020 import has_test, trained_nets
from wsss_lab.papers.araslanov2020_claims_evidence import (
    KNOWN_TAGS,
    ClaimEvidence,
    mean_difference,
    row_of,
)
from wsss_lab.papers.shared_claims import (
    all_positive,
    also,
    figures,
    foreground_quality,
    gain,
    half_size,
    if_measured,
    pooled_miou,
    told,
)

Sentence = Callable[[ClaimEvidence], str]

WIDE = "WideResNet-38"  # the main backbone of every profile that has several
HALF_MEAN_GAIN = 8.3  # pp, of C23's rule


def splits(evidence: ClaimEvidence) -> tuple[str, ...]:
    """The splits of claims on val and test: both, or val where a profile has no other."""
    return ("val", "test") if has_test(evidence.profile) else ("val",)


def known(evidence: ClaimEvidence, split: str, crf: bool = False) -> np.ndarray:
    """Confusions of the final model with tags known."""
    return evidence.confusions("ours", crf, split, "known")


def apart(better: np.ndarray, worse: np.ndarray) -> Interval:
    """Difference of mIoU in pp with its interval; both (S, N, K, K + 1)."""
    return difference_interval(better, worse, mean_iou).percent("pp")


# --- CAM and the CRF: C17, C19 ---------------------------------------------------------------------------------------


def better_than_cam(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C17: on train and on val, tags known, both without CRF; with CRF is told."""
    parts, with_crf = [], []
    for split in KNOWN_TAGS:
        ours, cam = known(evidence, split), evidence.cam_confusions("main", False, split)
        shown = f"{split}: ours {pooled_miou(ours):.1f}, CAM {pooled_miou(cam):.1f}"
        parts.append(decide_difference(claim, apart(ours, cam), half_size(claim), measured=shown))
        crf = apart(known(evidence, split, crf=True), evidence.cam_confusions("main", True, split))
        with_crf.append(f"{split} {crf}")
    quality = ["{:.0f}/{:.0f}".format(*foreground_quality(each))
               for each in (known(evidence, "val"), evidence.cam_confusions("main"))]
    return told(decide_jointly(claim, parts), f"Both with CRF: {', '.join(with_crf)}.",
                f"Foreground precision/recall on val: ours {quality[0]}, CAM {quality[1]} %.")


def crf_adds(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C19: the final model with predicted tags on val, and on test where there is one."""
    parts = []
    for split in splits(evidence):
        with_crf, without = ("ours", True, split), ("ours", False, split)
        parts.append(decide_difference(claim, gain(evidence, with_crf, without), half_size(claim),
                                       measured=figures(evidence, with_crf, without)))
    with_tags = apart(known(evidence, "val", crf=True), known(evidence, "val"))
    return told(decide_jointly(claim, parts), f"With tags known on val: {with_tags}.")


# --- other methods: C18, C20 to C22, C32, C33 ------------------------------------------------------------------------


def needs(what: str, beside: Sentence) -> Decider:
    """A decider for a claim against methods that aren't run here. what: a sentence; beside: what is known without."""
    return lambda claim, evidence: told(not_testable(claim, what), if_measured(beside, evidence))


def labels_of_train(evidence: ClaimEvidence) -> str:
    """A sentence on our labels of the training images, as they would be compared."""
    ours, cam = known(evidence, "train", crf=True), evidence.cam_confusions("main", True, "train")
    return (f"On train with tags known, ours + CRF has {pooled_miou(ours):.1f} %, CAM + CRF without a learnt affinity "
            f"{pooled_miou(cam):.1f} %.")


def final_result(evidence: ClaimEvidence) -> str:
    """A sentence on the final model."""
    listed = ", ".join(f"{pooled_miou(evidence.confusions('ours', True, split)):.1f} % on {split}"
                       for split in splits(evidence))
    return f"Ours + CRF has {listed}."


def against_second_stage(evidence: ClaimEvidence) -> str:
    """A sentence on the only result with more than one stage, from tags alone, that is run here."""
    ours, second = evidence.confusions("ours", True), evidence.second_confusions(crf=True)
    return ("The only result here with more than one stage is the paper's own second network on these labels; ours + "
            f"CRF against it, with CRF, is {apart(ours, second)} on val.")


def classes_won(evidence: ClaimEvidence) -> str:
    """A sentence on the classes that either of this paper's own two results wins."""
    ours, second = (iou(each.sum(1)).mean(0) for each in (evidence.confusions("ours", True),
                                                          evidence.second_confusions(crf=True)))
    both = ~np.isnan(ours) & ~np.isnan(second)
    return (f"Of this paper's own results with CRF on val, the single stage has the higher IoU in "
            f"{(ours > second)[both].sum()} of {both.sum()} classes, a second network on its labels in "
            f"{(second > ours)[both].sum()}.")


def second_stage_helps(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C22: a network of ResNet-101's family on our labels, without CRF, against the single stage with CRF."""
    parts = []
    for split in splits(evidence):
        single, second = evidence.confusions("ours", True, split), evidence.second_confusions(split=split)
        shown = f"{split}: second network {pooled_miou(second):.1f}, ours + CRF {pooled_miou(single):.1f}"
        parts.append(decide_difference(claim, apart(second, single), half_size(claim), measured=shown))
    return told(decide_jointly(claim, parts), "The second network has the ResNet-101 of this profile and no CRF.",
                also(evidence, _second_against_ours("with CRF", "ResNet-101", True),
                     _second_against_ours(f"with {WIDE}", "main", False),
                     _second_against_ours(f"with {WIDE} and CRF", "main", True)))


def _second_against_ours(name: str, net: str, crf: bool) -> Sentence:
    """A part of a sentence: another second network against ours + CRF on val."""

    def sentence(evidence: ClaimEvidence) -> str:
        second, single = evidence.second_confusions("ours", net, crf), evidence.confusions("ours", True)
        return f"second network {name} against ours + CRF {apart(second, single)} on val"

    return sentence


# --- backbones: C23 to C25, C31 --------------------------------------------------------------------------------------


def several_nets(evidence: ClaimEvidence) -> tuple[str, ...]:
    """The backbones of Table 9 that a profile trains; raises NotMeasured where it is only one."""
    nets = trained_nets(evidence.profile)
    if len(nets) < 2:
        raise NotMeasured(f"profile {evidence.profile} trains one backbone, and the rule compares several")
    return nets


def named(net: str) -> str:
    """A backbone's name for readers."""
    return WIDE if net == "main" else net


def of_net(evidence: ClaimEvidence, net: str, crf: bool = False, exchanged: bool = True) -> np.ndarray:
    """Confusions of the final model with a backbone on val, tags known; exchanged: with the scales of Table 9."""
    return evidence.confusions(row_of(net), crf, "val", "known", exchanged)


def better_for_every_backbone(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C23: without CRF; every gain above 0, and their mean."""
    nets = several_nets(evidence)
    pairs = {crf: [(of_net(evidence, net, crf), evidence.cam_confusions(net, crf, exchanged=True)) for net in nets]
             for crf in (False, True)}
    gains = {named(net): apart(*pair) for net, pair in zip(nets, pairs[False], strict=True)}
    mean = {crf: mean_difference(*zip(*each, strict=True)) for crf, each in pairs.items()}
    parts = [all_positive(claim, gains, "mIoU between ours and CAM"),
             decide_difference(claim, mean[False], HALF_MEAN_GAIN, measured=f"mean of {len(nets)} backbones")]
    listed = ", ".join(f"{name} {value.mean:+.1f}" for name, value in gains.items())
    return told(decide_jointly(claim, parts), f"Gains: {listed} pp; mean with CRF {mean[True]}.")


def crf_helps_masks_not_cams(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C24: what the CRF adds to ours and to CAM, mean over the backbones that a profile trains, tags known."""
    nets = trained_nets(evidence.profile)
    table9 = len(nets) > 1  # its scales are run where there is something to compare
    ours, ours_crf = ([of_net(evidence, net, crf, table9) for net in nets] for crf in (False, True))
    cam, cam_crf = ([evidence.cam_confusions(net, crf, exchanged=table9) for net in nets] for crf in (False, True))
    own, theirs = mean_difference(ours_crf, ours), mean_difference(cam_crf, cam)
    more = mean_difference([*ours_crf, *cam], [*ours, *cam_crf], over=len(nets))
    return told(decide_jointly(claim, [
        decide_difference(claim, more, measured=f"CRF adds {own.mean:+.1f} pp to ours, {theirs.mean:+.1f} pp to CAM"),
        decide_range(claim, theirs, high=1, unit="pp", measured=f"CAM alone {theirs.mean:+.1f} pp"),
    ]), f"Mean over {len(nets)} backbone{'s' * table9}, tags known.")


def stronger_backbones_are_better(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C25: with CRF."""
    values = {named(net): pooled_miou(of_net(evidence, net, crf=True)) for net in several_nets(evidence)}
    best = max(WIDE, "ResNet-101", key=values.get)
    decision = decide_ordering(claim, values, f"{best} > ResNet-50 > VGG16", seeds=len(of_net(evidence, "main")))
    small = "" if evidence.profile == "voc" else ("The networks here are small ones of these families, so that depth "
                                                  "and size differ less than the paper's. ")
    return told(decision, f"{small}All: {', '.join(f'{name} {value:.1f}' for name, value in values.items())} %.")


def other_scales_are_better(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C31: mean over the backbones without CRF; below 0 its rule leaves nothing open, whatever the interval."""
    nets = several_nets(evidence)
    per_crf = {crf: [[of_net(evidence, net, crf, exchanged) for net in nets] for exchanged in (True, False)]
               for crf in (False, True)}
    difference, with_crf = (mean_difference(*per_crf[crf]) for crf in (False, True))
    above = bool(difference.mean > 0)
    open_still = above and not difference.low > 0
    each = ", ".join(f"{named(net)} {apart(*pair).mean:+.1f}"
                     for net, pair in zip(nets, zip(*per_crf[False], strict=True), strict=True))
    decision = decide_true(claim, None if open_still else above,
                           f"mean over {len(nets)} backbones {difference.mean:+.2f} pp",
                           f"the mean difference is {'' if above else 'not '}above 0"
                           + ", but its interval includes 0" * open_still, interval=difference)
    return told(decision, f"By backbone: {each} pp; mean with CRF {with_crf}.")


NO_AFFINITY = ("The rule asks for CAMs refined by a random walk on learnt affinities, or by IRN, on the same data; "
               "these runs hold neither.")
NO_CRF_RNN = "The rule asks for CRF-RNN (Roy & Todorovic 2017) re-run on the same data, which these runs don't hold."
NO_MULTI_STAGE = "The rule asks for IRN or SSDD re-run on the same data; these runs hold neither."
NO_OTHERS = "The rule compares with re-run methods of other authors, and these runs hold none."

DECIDERS: dict[str, Decider] = {
    "araslanov2020-C17": better_than_cam,
    "araslanov2020-C18": needs(NO_AFFINITY, labels_of_train),
    "araslanov2020-C19": crf_adds,
    "araslanov2020-C20": needs(NO_CRF_RNN, final_result),
    "araslanov2020-C21": needs(NO_MULTI_STAGE, against_second_stage),
    "araslanov2020-C22": second_stage_helps,
    "araslanov2020-C23": better_for_every_backbone,
    "araslanov2020-C24": crf_helps_masks_not_cams,
    "araslanov2020-C25": stronger_backbones_are_better,
    "araslanov2020-C31": other_scales_are_better,
    "araslanov2020-C32": needs(NO_OTHERS, final_result),
    "araslanov2020-C33": needs(NO_OTHERS, classes_won),
}
