import numpy as np
import pytest
from printed import Printed, decide, decided

from wsss_lab.measure.claims import Verdict, claim_steps
from wsss_lab.measure.quantities import Quantity
from wsss_lab.papers.oh2017 import claims as oh
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.oh2017.claims import CLAIMS, POOLED_LAST, guide, guide_miou, miou, mp, precision

IMAGES = 20
REPRODUCED, NOT, OPEN, DIRECTION = (Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.INCONCLUSIVE,
                                    Verdict.DIRECTION_ONLY)


def precise(name, early, later):
    """Precision of a seeder at a recall of 5 %, and from 20 % on."""
    return {precision(name, recall): later if recall > 0.1 else early for recall in (0.05, *oh.LEVELS)}


def crowded(slope):
    """Saliency counts (hit, false, missed, rest) whose IoU changes with the place of an image."""
    iou = 0.5 + slope * np.arange(IMAGES) / IMAGES
    return {oh.saliency_counts(): np.stack([iou, 1 - iou, 0 * iou, 1 + iou], -1)}


def area(net):
    return oh.seeder(net, oh.curve_area)


# As printed where the paper prints a number (mIoU in per cent), else made up so that its words hold.
FIGURES = {miou(*cell): value for cell, value in {
    ("seeds",): 37.5, ("G0",): 45.8, ("G1",): 46.2, ("G2",): 51.2, ("oracle",): 56.9, ("seeds", "v2"): 39.8,
    ("G0", "v2"): 48.8, ("G2", "v2"): 55.7, ("full", "v2"): 67.6, ("seeds", "v1"): 45.5, ("ROI seeds",): 37.6,
    ("seeds, crf-loss v1",): 46.4, ("seeds, crf-loss v1", "v1"): 50.4, ("seeds, crf-loss v2", "v2"): 45.2,
    ("seeds, crf-seed v1",): 33.0, ("ROI seeds, crf-loss v1", "v1"): 45.0, ("ROI seeds, crf-loss v2", "v2"): 44.2,
    ("ROI G2", "v2"): 54.6, ("ROI G2",): 51.5, ("LowRes G2",): 50.0, ("DeepLab G2",): 45.0,
    ("G2, crf-loss v1",): 51.0, ("G2, crf-loss v2",): 50.5, ("G2", None, "train"): 68.0, ("G2", "v2", "train"): 72.0,
}.items()} | {of(net): value for of, values in {
    oh.average_precision: (88.0, 87.0, 87.2, 92.7), mp: (76.5, 80.7, 80.8, 57.7), area: (66.0, 70.0, 70.2, 45.0),
    oh.peak: (0.01, 0.0, 0.02, 0.5)}.items() for net, value in zip(oh.GAP_NETS, values, strict=True)}
FIGURES |= {mp("vanilla"): 40.0, mp("guided"): 42.0, mp("excitation"): 46.0, mp("centre"): 20.0, mp(POOLED_LAST): 80.7,
            guide_miou("G2", "background"): 60.0, guide_miou("G2", "left out"): 66.0,
            oh.good(): 20.0, oh.good("unsupervised"): 10.0}
for name, values in {"LowRes": (70, 70), "HighRes": (80, 80), "ROI": (80, 80), "DeepLab": (50, 50), "vanilla": (45, 40),
                     "guided": (90, 30), "excitation": (48, 45), "centre": (20, 20)}.items():
    FIGURES |= precise(name, *values)
for name, values in {"seeds": (69, 37), "G0": (65, 52), "G1": (75, 51), "G2": (73, 59),
                     "seeds, crf-seed v1": (60, 30)}.items():
    FIGURES |= zip((guide(name, "precision"), guide(name, "recall")), values)
ARRAYS = crowded(-0.4) | {
    oh.crowding: {"instances": np.arange(IMAGES)}, oh.off_the_shelf: False,
    oh.compared_poolings: {"scores": 1e-15, "gradients": 1e-15},
    oh.train_tags: np.array([[True, True], [True, False], [False, True], [True, False]])}


def results(changes=()):
    changed = dict(changes)
    own = {key: changed.pop(key) for key in [*changed] if isinstance(key, Quantity)}
    return Printed(FIGURES | own, ARRAYS | changed)


def test_the_papers_own_numbers_reproduce_every_claim():
    frame = decided("oh2017", CLAIMS, results())
    assert len(frame) == 31
    failed = frame[frame["verdict"] != Verdict.REPRODUCED]
    assert failed.empty, failed[["measured", "verdict", "why"]].to_string()


@pytest.mark.parametrize("claim, changes, verdict", [
    ("C01", {miou("G0"): 40.0}, DIRECTION),  # +2.5 of the 3.55 pp that are half
    ("C02", {miou("G1"): 48.0}, NOT), ("C03", {miou("G2"): 48.0}, DIRECTION), ("C04", {miou("oracle"): 51.0}, NOT),
    ("C05", {miou("G1"): 44.0}, NOT), ("C06", {guide("G0", "precision"): 50}, NOT),  # 19 pp of precision lost
    ("C07", {miou("G0", "v2"): 52.0}, NOT),  # gains everywhere, most for G0
    ("C08", {miou("full", "v2"): 75.0}, NOT), ("C08", {miou("full", "v2"): 63.2}, NOT),  # 74.3 and 88.1 %
    ("C08", {miou("full", "v2"): None}, Verdict.NOT_TESTABLE), ("C09", {miou("seeds, crf-loss v1", "v1"): 56.0}, NOT),
    ("C10", {miou("G0", "v2"): 47.3}, NOT), ("C11", {mp("LowRes"): 79.7}, DIRECTION), ("C12", {mp("DeepLab"): 85}, NOT),
    ("C13", {mp("ROI"): 70}, NOT), ("C13", {oh.average_precision("ROI"): 90}, NOT),  # not equivalent as classifiers
    ("C14", {oh.average_precision("DeepLab"): 87.5}, NOT),  # not the best classifier
    ("C14", {mp("DeepLab"): 78}, NOT),  # not the worst seeder
    ("C14", {oh.average_precision("LowRes"): 70.0}, NOT),  # mAP spans as much as mP
    ("C15", precise("excitation", 72, 72), NOT), ("C16", {area("LowRes"): 75}, NOT),
    ("C17", precise("guided", 78, 30), NOT), ("C17", precise("guided", 90, 85), NOT),  # still good at 20 % recall
    ("C17", precise("guided", 90, np.nan), REPRODUCED),  # doesn't get there
    ("C18", {mp("centre"): 46.5}, NOT), ("C19", {oh.peak("LowRes"): 0.6}, NOT),
    ("C20", {oh.compared_poolings: {"scores": 1e-3, "gradients": 1e-3}}, NOT), ("C20", {mp(POOLED_LAST): 70}, NOT),
    ("C21", {miou("ROI seeds, crf-loss v1", "v1"): 49.0}, NOT),  # gains 1.5 pp apart
    ("C21", {miou("ROI seeds"): 40.0}, OPEN),  # seeds not of equal quality
    ("C21", {miou("seeds, crf-loss v1", "v1"): 33.0}, NOT),  # apart, with both signs reversed
    ("C22", {miou("seeds, crf-loss v2", "v2"): 49.0}, DIRECTION),
    ("C23", {miou("ROI G2", "v2"): 51.0}, DIRECTION),  # one of both networks
    ("C24", {miou("ROI G2", "v2"): 50.0}, NOT),  # gains 5.8 pp apart
    ("C25", {miou("seeds, crf-seed v1"): 37.0}, DIRECTION), ("C26", {miou("seeds, crf-loss v1"): 51.0}, NOT),
    ("C27", {miou("G2, crf-loss v2"): 52.0}, NOT), ("C28", {oh.good("unsupervised"): 90}, NOT),
    ("C28", {oh.good(): 60}, NOT),  # good on most images
    ("C29", crowded(0.4), NOT), ("C29", crowded(0.0), OPEN), ("C30", {miou("G2", None, "train"): 50.0}, NOT),
    ("C31", {miou("DeepLab G2"): 60.0}, NOT),
])  # fmt: skip
def test_verdict_when_one_figure_changes(claim, changes, verdict):
    found = decide("oh2017", CLAIMS, results(changes), claim)
    assert found["verdict"] == verdict, found["measured"] + " | " + found["why"]


def test_reasons_carry_numbers_and_the_cause_that_was_measured():
    worse, several, reached = (decide("oh2017", CLAIMS, results(changes), claim) for claim, changes in (
        ("C01", {miou("G0"): 36.0}), ("C02", {}), ("C15", precise("vanilla", 45, np.nan))))
    assert worse["measured"] == "G0 36.0, seeds 37.5 (-1.5 pp)" and "G0 65/52, seeds 69/37" in worse["why"]
    assert "25 % of training images with several classes" in several["why"]
    assert reached["verdict"] == "reproduced" and "doesn't reach 3 of its 9 levels" in reached["why"]


def test_rank_correlation_by_hand():
    values = np.array([1.0, 2, 3, 4, 10, 30, 20, 40])[:, None, None]
    assert oh.rank_correlation(*values) == pytest.approx(1 - 6 * 2 / (4 * 15))


def test_peaks_are_looked_at_on_maps_that_are_large_enough():
    wave, flat = (np.broadcast_to(f(np.arange(16))[:, None] + f(np.arange(16)), (3, IMAGES, 2, 16, 16)) for f in (
        lambda x: np.cos(np.pi * x / 2), lambda x: np.exp(-((x - 8) ** 2) / 8)))
    tags, dilations = np.ones((3, IMAGES, 2), bool), np.array([4, 4, 4])
    leaf = oh.peak("HighRes").leaves[0]
    found = [leaf.per_seed(np.ones((1, IMAGES)), maps, wave, tags, dilations) for maps in (wave, flat)]
    assert found[0].min() > 0.9 > 0.5 > found[1].max()
    with pytest.raises(oh.NotMeasured, match="5 positions a side"):
        leaf.images(flat[..., :5, :5], wave[..., :5, :5], tags, dilations)


def test_what_claims_read_is_what_is_computed():
    route = oh2017.routes("quick", 1)[0]
    labels = {step.label for step in claim_steps(CLAIMS, route)}
    assert {"score of seeds of HighRes + CRF v1 on train, seed 0", "both orders of pooling in HighRes, seed 0",
            "precision-recall of centre mean shape on val"} <= labels  # fmt: skip
    assert len(labels) == 47
