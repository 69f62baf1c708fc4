"""What the claims of Roy & Todorovic 2017 read: their steps and their statistics."""

import numpy as np
import pytest
import torch
from fake_run import FakeRun, roy2017_routes
from scipy.stats import spearmanr

from wsss_lab.data.canvas import canvas_box, from_canvas
from wsss_lab.data.toyvoc import CLASSES, make_scenes
from wsss_lab.data.views import EvalView
from wsss_lab.evaluation.confusion import VOID
from wsss_lab.evaluation.intervals import ratio
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.evaluation.rank_correlation import correlation, rank_sums
from wsss_lab.lab.claims import NotMeasured, Verdict
from wsss_lab.lab.published import published
from wsss_lab.lab.steps import EVALUATION_READS
from wsss_lab.papers import roy2017_claims
from wsss_lab.papers.roy2017 import BASELINES
from wsss_lab.papers.roy2017_claims_attention import (
    groups,
    over_images,
    recall_at_precision,
    relative_variation,
    variation,
)
from wsss_lab.papers.roy2017_claims_evidence import (
    PARENTS,
    UNACTIVATED,
    ClaimEvidence,
    counted_pieces,
    named_classes,
    predicted_classes,
    scored_attention,
    scored_objects,
    timed_attention,
    unrefined,
)
from wsss_lab.papers.roy2017_claims_rows import printed
from wsss_lab.papers.roy2017_claims_steps import (
    attention_seconds,
    count_pieces,
    inside_objects,
    maps_on_images,
    pieces_of,
    score_attention,
    score_each_object,
)
from wsss_lab.papers.roy2017_values import SCALES
from wsss_lab.segmenter.fusion import Method

torch.set_num_threads(1)


def view_of(masks: np.ndarray, classes: int = 2) -> EvalView:
    """Black images with these masks (N, H, W); tags are the classes of the masks."""
    tags = np.stack([(masks == label).any((1, 2)) for label in range(1, classes + 1)], 1)
    return EvalView.from_arrays("val", CLASSES[:classes], [str(number) for number in range(len(masks))], tags,
                                np.zeros((*masks.shape, 3), np.uint8), "generator", masks=masks)


# --- statistics ------------------------------------------------------------------------------------------------------


def test_recall_is_the_largest_of_all_thresholds_that_are_precise_enough():
    rng = np.random.default_rng(0)
    truth, won = rng.integers(1, 40, (2, 5, 4, 8))
    counts = np.stack([truth, won, np.minimum(truth, won)], 1)  # five times 4 labels and 8 bins
    for level in (0.3, 0.6, 2.0):
        expected = []
        for each in counts:
            best, swept = 0.0, sweep(each)
            for place in range(9):
                precise, found = swept.precision[1:, place], swept.recall[1:, place]
                if not np.isnan(precise).all() and np.nanmean(precise) >= level:
                    best = max(best, found.mean())
            expected.append(best)
        assert recall_at_precision(level)(counts) == pytest.approx(expected)
    assert (recall_at_precision(2.0)(counts) == 0).all()


def test_variation_is_that_of_an_images_pairs_and_of_the_mean_over_images():
    inside = np.array([[[2.0, 10, 8, 16], [0, 0, 0, 0], [9, 30, 24, 40]]])
    assert ratio(variation(inside).sum(1)) == pytest.approx((0.2 + 0.3) / 2)
    assert ratio(relative_variation(inside).sum(1)) == pytest.approx((0.2 / 0.5 + 0.3 / 0.6) / 2)


def test_objects_are_added_up_in_their_images():
    values = np.arange(8.0).reshape(1, 4, 2)
    assert over_images(values, np.array([2, 0, 2, 2]), 4).tolist() == [[[2, 3], [0, 0], [10, 13], [0, 0]]]


def test_correlation_over_objects_is_spearmans():
    rng = np.random.default_rng(0)
    area, recall, image = rng.random(30), rng.random((2, 30)), rng.integers(0, 5, 30)
    found = correlation(over_images(rank_sums(area, recall), image, 5).sum(1))
    assert found == pytest.approx([spearmanr(area, row).statistic for row in recall])


def test_groups_of_objects_have_their_own_means():
    values, second = np.array([[1.0, 2, 3, 10]]), np.array([[False, True, False, True]])
    sums = groups(values, second, np.array([0, 0, 1, 1]), 2)
    assert sums.tolist() == [[[[1, 1], [2, 1]], [[3, 1], [10, 1]]]]
    assert ratio(sums.sum(1)).tolist() == [[2, 6]]


def test_predicted_classes_are_those_that_the_method_labels_with():
    scores = np.array([[[9.0, -1, 0.5, 2], [0, -3, -2, -4]]], np.float32)
    assert predicted_classes(scores).tolist() == [[[False, True, True], [False, True, False]]]
    tags = np.array([[True, True, False], [False, True, True]])
    assert named_classes(scores, tags) == (pytest.approx(200 / 3), 50)


# --- measurements ----------------------------------------------------------------------------------------------------


def test_attention_changes_between_pixels_of_one_object_alone():
    mask = np.array([[1, 1, 0], [1, 2, 2], [1, 2, VOID]], np.uint8)
    maps = np.array([[[0.1, 0.4, 0], [0.3, 0, 0], [0.3, 0, 0]], [[0, 0, 0], [0, 0.5, 0.6], [0, 0.9, 1]]])
    change = (0.3 + 0.2 + 0.0) + (0.1 + 0.4)
    assert inside_objects(maps, mask) == pytest.approx((change, 5, 0.1 + 0.4 + 0.3 + 0.3 + 0.5 + 0.6 + 0.9, 7))


def test_attention_does_not_change_across_the_border_of_the_image():
    mask = np.array([[1, 0, 1]] * 2, np.uint8)
    assert inside_objects(np.array([[[0, 0, 1.0]] * 2]), mask) == (0, 2, 2, 4)


def test_maps_are_brought_to_the_image_without_background():
    rng = np.random.default_rng(0)
    view, maps = view_of(np.ones((2, 6, 12), np.uint8)), rng.random((2, 3, 4, 4)).astype(np.float16)
    for each, expected in zip(maps_on_images(view, maps, 8), maps, strict=True):
        assert each.shape == (2, 6, 12)
        assert np.array_equal(each, from_canvas(expected[1:].astype(np.float32), canvas_box(6, 12, 8), 8, (6, 12)))


def test_attention_is_counted_against_the_masks():
    masks = np.array([[[1, 1], [0, 2]]], np.uint8)
    p = np.array([[[0.9, 0.2], [0.6, 0.1]], [[0.05, 0.0], [0.2, 0.7]]])
    maps = np.concatenate([1 - p.sum(0, keepdims=True), p])[None].astype(np.float16)
    found = score_attention(view_of(masks), maps, 2)
    swept = sweep(found["counts"].sum(0))
    assert swept.recall[1:, 64].tolist() == [0.5, 1] and swept.precision[1:, 64].tolist() == [0.5, 1]
    assert found["inside"] == pytest.approx(np.array([[0.7, 1, 0.9 + 0.2 + 0.7, 3]]), abs=1e-3)


def test_pieces_of_a_small_example():
    mask = np.array([[1, 1, 1, 0, 2], [0, 0, 0, 0, 0], [1, 1, VOID, 0, 0]], np.uint8)
    labels = np.array([[1, 0, 1, 0, 1], [0, 2, 2, 0, 0], [0, 0, 1, 1, VOID]], np.uint8)
    # Pieces: (0, 0); (0, 2); (0, 4); (2, 2) with (2, 3); and the one of class 2. The first object is touched by two.
    assert pieces_of(labels, mask) == (5, 3, 2, 1)
    assert pieces_of(mask, mask) == (3, 3, 3, 3)
    assert pieces_of(0 * mask, mask) == (0, 3, 0, 0)


def test_pieces_are_counted_image_by_image_and_specks_are_no_objects():
    masks = np.zeros((2, 20, 20), np.uint8)
    masks[0, 3, 3], masks[1, 5:9, 5:9] = 1, 2  # 1 of 400 pixels is below LEAST
    labels = masks.copy()
    labels[1, 0, 0] = 1
    assert count_pieces(view_of(masks), labels)["counts"].tolist() == [[1, 0, 0, 0], [2, 1, 1, 1]]


def test_every_object_has_its_recall_and_its_attention():
    none = [0] * 4
    masks = np.array([[[1, 1, 0, 2], [1, 1, 0, 0], none, [2] * 4], [none, none, none, [0, 0, 0, 1]]], np.uint8)
    labels = np.array([[[1, 0, 0, 1], [1, 1, 0, 0], none, [2, 2, 0, 0]], [none] * 4], np.uint8)
    maps = np.zeros((2, 3, 4, 4), np.float16)
    maps[0, 1, 0, :2], maps[0, 2, 3, 2], maps[0, 2, 0, 3], maps[1, 2] = (0.5, 0.25), 0.75, 0.125, 1
    found = score_each_object(view_of(masks), labels, maps, 4)
    assert {name: values.tolist() for name, values in found.items()} == {
        "image": [0, 0, 0, 1], "label": [1, 2, 2, 1], "area": [0.25, 0.25, 0.0625, 0.0625],
        "recall": [0.75, 0.5, 0, 0], "attention": [0.5, 0.75, 0.125, 0]}


def test_attention_takes_time_in_all_its_parts():
    scenes, backbone = make_scenes(9, 0), SCALES["quick"].backbone
    view = EvalView.from_arrays("val", CLASSES, list("abcdefghi"), scenes["tags"], scenes["images"], "generator",
                                masks=scenes["masks"])
    method = Method(iterations=1)
    state = method.network(backbone, len(CLASSES)).state_dict()
    seconds = [attention_seconds(view, state, backbone.settings(), method.settings(), images, 4)["seconds"]
               for images in (1, 99)]
    assert all(each.shape == (4, 5) and (each > 0).all() for each in seconds)
    assert np.median(seconds[0], 0)[[2, 4]].sum() < np.median(seconds[1], 0)[[2, 4]].sum()


# --- steps -----------------------------------------------------------------------------------------------------------


def made_up(run: FakeRun, name: str, settings: dict) -> dict:
    labels = len(CLASSES) + 1
    if name == "segment_fusion":
        return {"scores": run.rng.normal(size=(run.images, labels)).astype(np.float32)}
    if name == "score_attention":
        truth, won = (run.draw(9, run.images, labels, 8) for _ in range(2))
        return {"counts": np.stack([truth, won, np.minimum(truth, won)], 1), "inside": run.draw(9, run.images, 4) + 1}
    if name == "attention_seconds":
        return {"seconds": run.rng.random((3, 5)) + 0.1}
    if name == "count_pieces":
        return {"counts": run.draw(9, run.images, 4) + 1}
    if name == "score_each_object":
        number = 2 * run.images
        values = {each: run.rng.random(number) for each in ("recall", "attention")}
        return values | {"image": np.arange(number) // 2, "label": np.ones(number, int), "area": np.arange(number) / 99}
    return {"confusions": run.draw(99, run.images, labels, labels + 1) + 1}


def session(profile: str) -> FakeRun:
    """A session whose store holds the steps of the claims, the labels and seeds that they score, and no more."""
    run = FakeRun("roy2017", profile, roy2017_routes(profile, 2), made_up)
    run.store = {each for route in run.routes for step in roy2017_claims.steps(route, profile)
                 for each in (step, *(parent for parent in step.parents if parent.stage == "segmenter"))}
    return run


@pytest.fixture(scope="module")
def route():
    return roy2017_routes("quick", 1)[0]


def test_steps_hold_all_that_the_claims_read_and_no_more():
    run = session("quick")
    frame = roy2017_claims.decide(run).set_index("claim_id")
    assert list(frame.index[frame["verdict"] == Verdict.NOT_TESTABLE]) == ["roy2017-C11"]
    assert not frame.drop(index="roy2017-C11")["measured"].eq("").any()
    for claim, told in (("C01", "Attention of the full approach"), ("C02", "Mean average precision"),
                        ("C03", "attention in training"), ("C04", "parents alone"), ("C05", "The dense CRF takes"),
                        ("C06", "cut at one half"), ("C08", "Against neither"), ("C09", "LSE"),
                        ("C10", "of its seeds on train"), ("C12", "without own activation"),
                        ("C16", "Without any prior"), ("C18", "names the class")):
        assert told in frame.loc[f"roy2017-{claim}", "why"], claim
    assert not [step.label for step in run.store - set(run.loaded) if step.stage == "evaluation"]


def test_what_photographs_leave_out_is_named():
    frame = roy2017_claims.decide(session("photos")).set_index("claim_id")
    untestable = frame[frame["verdict"] == Verdict.NOT_TESTABLE]["why"]
    assert {name[-2:] for name in untestable.index} == {"03", "07", "08", "09", "10", "11", "14", "15", "16", "17"}
    assert untestable["roy2017-C03"] == "profile photos doesn't have the row 'w/o att unary'"
    assert untestable["roy2017-C10"] == "profile photos doesn't train the network 'SEC-like'"
    assert "test" not in frame["measured"]["roy2017-C02"] and "worst of 6 rows" in frame["why"]["roy2017-C01"]


def test_missing_results_are_named():
    run = session("quick")
    run.store = set()
    with pytest.raises(NotMeasured, match="profile quick has no result of 'score of attention of full on val'"):
        ClaimEvidence(run).attention()
    with pytest.raises(NotMeasured, match="time of attention"):
        ClaimEvidence(run).seconds()


def test_steps_of_the_claims_read_masks_for_scoring_alone(route):
    for step in roy2017_claims.steps(route, "quick"):
        assert step.reads_masks == (EVALUATION_READS if step.stage == "evaluation" else ""), step
    assert timed_attention(route).pixel_labels() == ()
    assert scored_objects(route).pixel_labels() == (EVALUATION_READS,)


def test_attention_is_compared_in_one_network(route):
    maps = [scored_attention(route, how).inputs["maps"].step for how in (None, PARENTS, UNACTIVATED)]
    assert len({step.inputs["state"].key for step in maps}) == 1
    assert [step.settings["method"]["attention"]["neighbours"] for step in maps] == ["smooth", "none", "smooth"]
    assert [step.settings["method"]["attention"]["activation"] for step in maps] == [1, 0, 0]
    assert timed_attention(route).settings["method"] == maps[0].settings["method"]


def test_objects_and_pieces_are_those_of_the_scored_labels(route):
    assert scored_objects(route).inputs["masks"] == route.prediction("full")["masks"]
    assert counted_pieces(route, "w/o att unary").inputs["masks"] == route.scored("w/o att unary").inputs["masks"]
    assert unrefined(route).inputs["masks"] == route.prediction("w/o CRF-RNN")["masks"]
    assert route.scored("w/o CRF-RNN").inputs["masks"] == route.prediction("w/o CRF-RNN")["refined"]


def test_printed_rows_are_in_the_order_of_the_baselines():
    names = published("roy2017", "table1")["baseline"].tolist()
    assert [*BASELINES] == [*names[:-1], "full"] and names[-1] == "Full approach"
    assert printed("val")[0] == 30.5 and printed("test")[-1] == 53.7
