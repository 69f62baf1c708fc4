"""What the claims of Lee et al. 2021 read: their steps and their statistics."""

from types import SimpleNamespace

import numpy as np
import pytest
from fake_run import FakeRun, lee2021_routes
from scipy.stats import spearmanr

from wsss_lab.data.toyvoc import CLASSES, CONTEXTS
from wsss_lab.data.views import EvalView
from wsss_lab.evaluation.confusion import confusion_matrix
from wsss_lab.evaluation.rank_correlation import correlation, rank_sums
from wsss_lab.lab.claims import NotMeasured, Verdict
from wsss_lab.papers import lee2021_claims
from wsss_lab.papers.lee2021 import TAUS, share_row, tau_row
from wsss_lab.papers.lee2021_claims_evidence import (
    CUTS,
    LOW_BACKGROUND,
    ClaimEvidence,
    expanded_contexts,
    recall_of_classes,
    shown,
    walked_contexts,
)
from wsss_lab.papers.lee2021_claims_masks import labelled_by_saliency, of_images
from wsss_lab.papers.lee2021_claims_segmenters import image_iou
from wsss_lab.papers.lee2021_claims_steps import score_cuts

# --- statistics ------------------------------------------------------------------------------------------------------


def test_rank_correlation_is_spearmans_and_leaves_out_what_is_unknown():
    rng = np.random.default_rng(0)
    facts, values = rng.integers(1, 6, 40).astype(float), rng.normal(size=(2, 40)) + np.linspace(0, 3, 40)
    facts[3], values[:, 7] = np.nan, np.nan
    known = ~np.isnan(facts) & ~np.isnan(values[0])
    expected = [spearmanr(facts[known], row[known]).statistic for row in values]
    assert correlation(rank_sums(facts, values).sum(1)) == pytest.approx(expected)
    assert np.isnan(correlation(rank_sums(np.ones(4), np.arange(4.0)[None]).sum(1))).all()


def test_iou_of_an_image_counts_the_classes_that_it_shows():
    target, prediction = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 2, 1, 0]], np.uint8)
    counts = np.stack([confusion_matrix(prediction, target, 3), confusion_matrix(prediction, 0 * target, 3)])
    assert image_iou(counts) == pytest.approx([0.5, np.nan], nan_ok=True)


def test_saliency_is_labelled_by_the_only_tag():
    truth, salient = np.array([[[0, 0, 2, 2]], [[0, 1, 2, 2]]], np.uint8), np.array([[[0, 1, 1, 0]]] * 2, np.uint8)
    tags = np.array([[False, True], [True, True]])
    counts = np.stack([confusion_matrix(*pair, 3) for pair in zip(salient, truth, strict=True)])[None]
    labelled = labelled_by_saliency(counts, tags)
    assert (labelled == confusion_matrix(2 * salient[0], truth[0], 3)).all() and labelled.shape == (1, 1, 3, 4)


def test_class_recall_of_saliency_is_pooled_over_images():
    counts = np.zeros((1, 2, 3, 4))
    counts[0, :, 1, 0], counts[0, :, 1, 1] = (10, 30), (10, 0)
    assert recall_of_classes(counts) == pytest.approx([0.2, np.nan], nan_ok=True)


def test_images_that_are_not_of_a_pair_count_nothing():
    assert of_images(np.ones((1, 2, 3, 4)), np.array([[True, False]])).sum((2, 3)).tolist() == [[12, 0]]


def test_saliency_is_cut_at_every_threshold():
    masks = np.array([[[0, 1, 1, 255]]], np.uint8)
    view = EvalView.from_arrays("val", ("a",), ["0"], np.ones((1, 1), bool), np.zeros((1, 1, 4, 3), np.uint8),
                                "generator", masks=masks)
    found = score_cuts(view, np.array([[[60, 60, 110, 255]]], np.uint8), CUTS)["counts"]
    assert found.tolist() == [[[2, 1, 0, 0], [1, 0, 1, 1], [1, 0, 1, 1]]]  # right, wrong, missed, rest


def test_rows_are_shown_by_what_a_reader_knows():
    assert [shown(row) for row in ("adaptive", "saliency: boxes", "G2")] == ["EPS", "EPS (boxes)", "G2"]


# --- steps -----------------------------------------------------------------------------------------------------------


class Run(FakeRun):
    """A session on scenes with contexts."""

    def view(self, split):
        view, scenes = super().view(split), self.scenes
        return EvalView.from_arrays(split, CLASSES, view.names, scenes["tags"], scenes["images"], "generator",
                                    masks=scenes["masks"], contexts=scenes["contexts"], context_classes=CONTEXTS)


def made_up(run: FakeRun, name: str, settings: dict) -> dict:
    labels, kinds = len(CLASSES) + 1, len(CONTEXTS)
    confusions = run.draw(99, run.images, labels, labels + 1) + 1
    if name == "score_contexts":
        present = run.scenes["tags"][:, :kinds]  # each of the first classes has its surroundings
        return {"false": run.draw(9, run.images, kinds, labels - 1), "present": present, "confusions": confusions,
                "known": np.ones(run.images, bool), "missing": 0}
    if name == "object_facts":
        return {"objects": run.draw(5, run.images), "area": run.rng.random(run.images)}
    if name == "train_localisation":
        return {"curves": {"selected tags": run.rng.random(12).tolist()}}
    shape = {"score_boundaries": (2, 3), "score_saliency": (4,), "score_cuts": (3, 4),
             "score_localisations": (3, labels, 16)}.get(name)
    return {"confusions": confusions} if shape is None else {"counts": run.draw(99, run.images, *shape) + 1}


def session(profile: str) -> Run:
    """A session whose store holds the steps of the claims and no more."""
    run = Run("lee2021", profile, lee2021_routes(profile, 2), made_up)
    run.store = {step for route in run.routes for step in lee2021_claims.steps(route, profile)}
    return run


def test_steps_hold_all_that_the_claims_read_and_no_more():
    run = session("quick")
    frame = lee2021_claims.decide(run).set_index("claim_id")
    assert list(frame.index[frame["verdict"] == Verdict.NOT_TESTABLE]) == ["lee2021-C13"]
    assert not frame.drop(index="lee2021-C13")["measured"].eq("").any()
    for claim, told in (("C01", "Within 2 %"), ("C02", "ladybird on grass"), ("C04", "AffinityNet"),
                        ("C05", "of the tags"), ("C07", "chameleon, moth"), ("C08", "suits it best"),
                        ("C11", "Taught by the ground truth"), ("C11", "'boxes' instead of 'masks'"),
                        ("C13", "On val EPS has"), ("C15", "Pseudo-masks with"), ("C19", "at 0.2"),
                        ("C20", "with one tag")):
        assert told in frame.loc[f"lee2021-{claim}", "why"], claim
    assert not [step.label for step in run.store - set(run.loaded)]


def test_what_photographs_leave_out_is_named():
    frame = lee2021_claims.decide(session("photos")).set_index("claim_id")
    untestable = frame[frame["verdict"] == Verdict.NOT_TESTABLE]["why"]
    assert set(untestable.index.str[-2:]) == {"05", "07", "10", "11", "12", "13", "14", "15", "16", "17", "18", "21"}
    assert untestable["lee2021-C07"] == "profile photos doesn't train the row 'pre-defined'"
    assert untestable["lee2021-C11"] == "profile photos doesn't train the segmenter 'V1, ResNet101'"
    assert "one segmenter" in untestable["lee2021-C12"]
    assert untestable["lee2021-C21"] == "profile photos has no world of many objects"
    assert "AffinityNet" not in frame["measured"]["lee2021-C09"] + frame["why"]["lee2021-C04"]


def test_missing_results_and_worlds_are_named():
    run = session("quick")
    evidence = ClaimEvidence(run)
    with pytest.raises(NotMeasured, match="doesn't train the segmenter 'V2, VGG16' on 'CAM'"):
        evidence.segmented("CAM", "V2, VGG16")
    run.view = lambda split: FakeRun.view(run, split)
    with pytest.raises(NotMeasured, match="no maps of their surroundings"):
        evidence.named_pairs()
    run.store = set()
    with pytest.raises(NotMeasured, match="profile quick has no result of 'train adaptive"):
        evidence.curves("adaptive")
    with pytest.raises(NotMeasured, match="objects of val"):
        evidence.objects()


def test_world_without_coco_says_where_it_belongs():
    run = SimpleNamespace(profile="voc", route=SimpleNamespace(crowded=None))
    with pytest.raises(NotMeasured, match="WSSS_COCO"):
        ClaimEvidence(run).objects()


def test_expanded_cams_differ_from_cams_by_their_background_alone():
    route = lee2021_routes("quick", 1)[0]
    [plain], [wider] = (route.contexts(route.masks("CAM")).parents[-1:], expanded_contexts(route).parents[-1:])
    assert wider.settings == {"backbone": plain.settings["backbone"], "scales": plain.settings["scales"],
                              "background": LOW_BACKGROUND}
    assert wider.function is plain.function and wider.input_keys == plain.input_keys
    assert walked_contexts(route).parents[-1] == route.walked("CAM")


def test_detector_that_guides_share_is_found_by_its_maps():
    assert ClaimEvidence(session("quick")).detector_of_guides == "boxes"
    assert ClaimEvidence(session("photos")).detector_of_guides == "masks"


def test_rows_that_claims_name_are_those_of_the_paper():
    assert [tau_row(tau) for tau in TAUS if 0.3 <= tau <= 0.5] == ["tau=0.3", "tau=0.35", "adaptive", "tau=0.45",
                                                                  "tau=0.5"]
    assert share_row(0.5) == "adaptive"
