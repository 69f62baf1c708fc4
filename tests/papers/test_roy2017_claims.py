"""The claims of Roy & Todorovic 2017: on the paper's numbers, on changed ones, and on made-up results of every step."""

from types import SimpleNamespace

import numpy as np
import pytest
from fake_run import FakeRun, roy2017_routes
from printed import Printed, decide, decided
from scipy.stats import spearmanr

from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.lab.published import published
from wsss_lab.measure.claims import Verdict, claim_steps, decide_all
from wsss_lab.papers.roy2017 import claims as rc
from wsss_lab.papers.roy2017.claims import CLAIMS, miou, of_objects, pieces
from wsss_lab.papers.roy2017.route import AGGREGATIONS, BASELINES, PARENTS, UNACTIVATED, Route

VAL, TEST = "val", "test"
FULL, NO_ATTENTION, NO_LOSS, NO_UNARY, NO_INFERENCE = "full", rc.NO_ATTENTION, rc.NO_LOSS, rc.NO_UNARY, rc.NO_INFERENCE


def printed_classes(method: str, split: str) -> np.ndarray:
    """IoU of all 21 classes of a method in per cent, as printed."""
    table = published("roy2017", "table2" if split == VAL else "table3").set_index("method")
    columns = [name for name in table.columns if name.endswith("_iou_pct") and name != "mean_iou_pct"]
    return table.loc[method, columns].to_numpy(float)


def printed_figures() -> dict:
    """Figures as printed where the paper prints one, else made up so that its words hold."""
    found = {}
    for split, competitor in ((VAL, 50.7), (TEST, 51.7)):
        found |= {miou(row, split): value for row, value in zip(BASELINES, rc.printed(split), strict=True)}
        table = published("roy2017", "table5").set_index("aggregation")
        found |= {miou(row, split): table.loc[row, f"{split}_miou_pct"] for row in AGGREGATIONS}
        found |= {miou(rc.COMPETITOR, split): competitor, rc.won(split): 100 * np.mean(
            printed_classes("Our approach", split) > printed_classes("SEC", split))}
    found |= {miou(f"{count} iterations"): 51.3 + 0.5 * min(count, 3) for count in (0, 1, 2, 5, 10)}
    found |= {miou(rc.IMAGE_PRIOR): 51.8, miou(rc.BOUND): 70.0, miou(rc.NEIGHBOURS_ALONE): 52.7, rc.BEFORE_CRF: 48.0}
    found |= {rc.wrong(row): value for row, value in ((FULL, 5.0), (rc.IMAGE_PRIOR, 8.0), (NO_INFERENCE, 9.0))}
    for how, values in ((None, (80.0, 2.0, 2.5)), (PARENTS, (60.0, 3.0, 5.0)), (UNACTIVATED, (70.0, 2.5, 3.6))):
        found |= dict(zip((rc.covered(how), rc.variation(how), rc.variation(how, True)), values, strict=True))
    found |= dict(zip(rc.TIMES, (1.3, 1.2, 1.18, 1.15), strict=True))
    found |= {pieces(row, rc.TOUCHING, rc.TOUCHED): value for row, value in ((FULL, 1.1), (NO_UNARY, 1.5))}
    found |= {rc.RANKS: 0.4, of_objects("smaller found", "attention"): 90.0,
              of_objects("smaller missed", "attention"): 40.0}
    return found


PRINTED = printed_figures()


def test_the_papers_own_numbers_reproduce_every_claim_that_can_be_tested():
    frame = decided("roy2017", CLAIMS, Printed(PRINTED))
    assert len(frame) == 18 and list(frame.index[frame["verdict"] == Verdict.NOT_TESTABLE]) == ["C11"]
    failed = frame[~frame["verdict"].isin([Verdict.REPRODUCED, Verdict.NOT_TESTABLE])]
    assert failed.empty, failed[["measured", "verdict", "why"]].to_string()
    assert frame.loc["C01", "measured"].startswith("val: full 52.8, w/o att 30.5 (+22.3 pp); test: full 53.7, w/o att "
                                                   "31.6 (+22.1 pp); val: least: w/o seg loss - w/o att +17.0")
    assert "(1.000)" in frame.loc["C07", "measured"]
    for claim, text in (("C03", "'w/o att inference' has 50.4 % on val"), ("C08", "on val: w/o seg loss +17.0 ["),
                        ("C05", "from 48.0 to 49.4 % on val (+1.4 [+1.4, +1.4] pp), the CRF-RNN the full approach from "
                                "51.3 to 52.8 %"), ("C10", "taught by the masks has 70.0 % on val"),
                        ("C13", "is known 1.200; against own activation without neighbours 1.180; network and"),
                        ("C14", "0 iterations 51.3, 1 iteration 51.8, 2 iterations 52.3 %"),
                        ("C16", "Without any mIoU is 50.4 %, with p(y|x) +1.4 [+1.4, +1.4] pp higher")):
        assert text in frame.loc[claim, "why"], claim


def both(row: str) -> dict:
    """A row a point behind the full approach on both splits."""
    return {miou(row, split): PRINTED[miou(FULL, split)] - 1 for split in (VAL, TEST)}


NOT, DIRECTION, OPEN, REPRODUCED = (Verdict.NOT_REPRODUCED, Verdict.DIRECTION_ONLY, Verdict.INCONCLUSIVE,
                                    Verdict.REPRODUCED)


@pytest.mark.parametrize("claim, changes, verdict, profile", [(*case, "toy")[:4] for case in (
    ("C01", {miou(NO_ATTENTION, TEST): 44.0}, DIRECTION),  # +9.7 of the 11.15 pp that are half
    ("C01", {miou(NO_LOSS, TEST): 30.0}, DIRECTION),  # another row is worse
    ("C01", {miou(NO_ATTENTION, TEST): 54.0}, REPRODUCED, "voc"),  # which has no test masks
    ("C01", {miou(NO_UNARY): None}, REPRODUCED, "photos"),  # which doesn't have this row
    ("C02", {miou(NO_LOSS): 51.0}, DIRECTION), ("C03", {miou(NO_UNARY): 53.0}, NOT),
    ("C04", {miou(rc.NEIGHBOURS_ALONE): 50.0}, NOT),  # the gain is that of alpha
    ("C04", {miou(rc.NEIGHBOURS_ALONE): None}, REPRODUCED, "photos"),
    ("C05", {miou(rc.NO_CRF, TEST): 53.0}, DIRECTION), ("C06", {miou(NO_INFERENCE, TEST): 54.0}, NOT),
    ("C07", {miou(NO_ATTENTION): 52.0}, NOT),  # the correlation falls to 0.11
    ("C07", {miou(NO_ATTENTION): 48.0}, DIRECTION),  # above one row
    ("C07", {miou(NO_LOSS): 50.2}, DIRECTION),  # not among the two worst of the rest
    ("C07", {miou("w/o neighbor"): 53.3}, DIRECTION),  # leaving it out does no damage
    ("C07", {miou(row): 9.0 for row in BASELINES}, OPEN),  # all alike
    ("C08", both(NO_LOSS) | both(NO_UNARY), REPRODUCED),  # no size is asked for
    ("C08", {miou(NO_UNARY, TEST): 55.0}, NOT), ("C09", {miou("LSE"): 52.0}, DIRECTION),
    ("C09", {miou("GAP", TEST): 50.0}, DIRECTION),  # the order of two heuristics
    ("C09", {miou("GAP"): 54.0}, NOT),  # another heuristic is better
    ("C10", {miou(rc.COMPETITOR): 54.0}, NOT), ("C12", {rc.variation(None): 4.0}, NOT),  # less smooth
    ("C12", {rc.variation(None, True): 5.5}, NOT),  # weaker, not smoother
    ("C12", {rc.covered(None): 50.0}, NOT),  # covers less
    ("C12", {rc.covered(UNACTIVATED): 55.0}, NOT),  # its own activation covers, not neighbours
    ("C13", {rc.TIMES[0]: 1.6}, NOT), ("C14", {miou("10 iterations"): 53.5}, NOT),  # 0.7 pp
    ("C14", {miou("10 iterations"): 45.0}, REPRODUCED),  # more would harm: three suffice
    ("C15", {pieces(FULL, rc.TOUCHING, rc.TOUCHED): 1.6}, NOT), ("C16", {miou(rc.IMAGE_PRIOR): 53.5}, NOT),
    ("C16", {rc.wrong(NO_INFERENCE): 4.0}, NOT),  # it removes none
    ("C17", {rc.won(VAL): 45.0}, NOT), ("C17", {rc.won(TEST): 45.0}, REPRODUCED, "voc"), ("C18", {rc.RANKS: -0.4}, NOT),
    ("C18", {of_objects("smaller missed", "attention"): 95.0}, NOT),
)])  # fmt: skip
def test_verdict_when_one_figure_changes(claim, changes, verdict, profile):
    row = decide("roy2017", CLAIMS, Printed(PRINTED | changes, profile=profile), claim)
    assert row["verdict"] == verdict, row["measured"] + " | " + row["interval"] + " | " + row["why"]


# --- figures by hand --------------------------------------------------------------------------------------------------

def of_arrays(quantity, *arrays, images=None):
    """A quantity's figure of each training, in its unit; arrays (S, N, ...) of its leaf's sources."""
    leaf, = quantity.leaves
    whole = leaf.per_seed(np.ones((1, leaf.images(*arrays))), *arrays)
    return (100 if quantity.unit else 1) * whole[0]


def test_classes_won_are_a_share_of_those_that_have_a_figure():
    ours, theirs = np.zeros((2, 1, 1, 4, 5))
    ours[..., range(3), range(3)], ours[0, 0, :3, -1] = (6, 3, 2), (1, 1, 2)  # 6/7, 3/4, 2/4; the last has no pixel
    theirs[..., range(3), range(3)], theirs[0, 0, :3, -1] = (5, 4, 1), (2, 0, 3)
    assert of_arrays(rc.won(VAL), ours, theirs) == pytest.approx([200 / 3])
    run = SimpleNamespace(world=SimpleNamespace(classes=("cat", "dog", "owl")))
    sources = [rc.confusions(row) for row in (FULL, rc.COMPETITOR)]
    results = Printed({}, dict(zip(sources, (ours[0], theirs[0]), strict=True)), route=run)
    assert rc.classes_won(VAL).text(results) == "On val it is best on 2 of 3 (not on cat 75.0 against 100.0 %)."


def test_agreement_is_spearmans_correlation_of_each_training():
    values = np.random.default_rng(0).random((7, 3))
    found = rc.agreement(VAL).combine(*values)
    assert found == pytest.approx([spearmanr(each, rc.printed(VAL)).statistic for each in values.T])


def test_recall_is_the_largest_of_all_thresholds_that_are_precise_enough():
    rng = np.random.default_rng(0)
    truth, won = rng.integers(1, 40, (2, 3, 5, 4, 8))  # three trainings, five images, 4 labels and 8 bins
    counts = np.stack([truth, won, np.minimum(truth, won)], 2)
    least, expected = rc.level(counts, counts), []
    for each in counts:
        swept = sweep(each.sum(0))
        expected.append(max(swept.recall[1:, place].mean() for place in range(8)  # the last one finds nothing
                            if swept.precision[1:, place].mean() >= least))
    assert of_arrays(rc.covered(None), counts, counts, counts) == pytest.approx(100 * np.array(expected))
    assert of_arrays(rc.covered(None), np.repeat(counts[:1], 3, 0), counts, 0 * counts).tolist() == [0] * 3


def test_precision_is_taken_where_attention_is_at_least_one_half():
    counts = np.zeros((1, 1, 3, 2, 4))
    counts[0, 0, 0] = [[3, 0, 2, 1], [0, 1, 1, 4]]  # truth: background, the class; bins from 0 to 1
    counts[0, 0, 1, 1] = [3, 1, 3, 5]
    counts[0, 0, 2, 1] = [0, 1, 1, 4]
    better = counts.copy()
    better[0, 0, 2, 1, 2] = 3
    assert rc.level(counts) == rc.level(better, counts) == 5 / 8 and rc.level(better) == 7 / 8
    assert of_arrays(rc.covered(None), better, counts, better) == pytest.approx(100 * 8 / 6)  # hits of all bins but one


COUNTED = np.array([[[4, 2, 3, 1], [2, 2, 1, 1]]])
INSIDE = np.array([[[2.0, 10, 8, 16], [0, 0, 0, 0], [9, 30, 24, 40]]])  # change, pairs, attention, pixels
SECONDS = np.multiply.outer(np.ones(2), np.array([[9, 1, 2, 2, 1], [1, 0.5, 1, 1, 1], [1, 8, 1, 1, 1.0]]))


@pytest.mark.parametrize("quantity, array, expected", [
    (rc.variation(None), INSIDE, 100 * (0.2 + 0.3) / 2),
    (rc.variation(None, True), INSIDE, 100 * (0.2 / 0.5 + 0.3 / 0.6) / 2),
    (rc.TIMES[0], SECONDS, [3, 3]), (rc.TIMES[3], SECONDS, [1.25, 1.25]),  # medians of the repeats
    (pieces(FULL, rc.TOUCHING, rc.TOUCHED), COUNTED, 2), (pieces(FULL, rc.TOUCHED, rc.OBJECTS, "%"), COUNTED, 50),
])  # fmt: skip
def test_variation_time_and_pieces_by_hand(quantity, array, expected):
    assert of_arrays(quantity, array) == pytest.approx(expected)


IMAGE, AREA = np.array([[2, 0, 2, 2]] * 2), np.array([[0.1, 0.2, 0.3, 0.4]] * 2)
RECALL, HEIGHT = np.array([[0, 0.5, 0.05, 1], [0.2, 0, 0.3, 0]]), np.array([[0.1, 0.4, 0.3, 0.8], [0.6, 0.2, 0.5, 0]])


@pytest.mark.parametrize("groups, expected", [
    ("found", (60, 55)), ("missed", (20, 10)), ("smaller found", (40, 60)), ("smaller missed", (10, 20)),
    ("larger", (55, 25)), ("", (40, 32.5)),
])  # fmt: skip
def test_objects_are_chosen_by_area_and_recall(groups, expected):
    found = of_arrays(of_objects(groups, "attention"), IMAGE, AREA, RECALL, HEIGHT)
    assert found == pytest.approx(expected)


def test_correlation_over_objects_is_spearmans_and_their_sums_are_those_of_their_images():
    rng = np.random.default_rng(0)
    area, recall, image = np.tile(rng.random(30), (2, 1)), rng.random((2, 30)), np.tile(rng.integers(0, 5, 30), (2, 1))
    assert of_arrays(rc.RANKS, image, area, recall) == pytest.approx([spearmanr(area[0], row).statistic
                                                                     for row in recall])
    assert rc.over_images(np.arange(8.0).reshape(1, 4, 2), IMAGE[0]).tolist() == [[[2, 3], [0, 0], [10, 13]]]


def test_predicted_classes_are_those_that_the_method_labels_with():
    scores = np.array([[[9.0, -1, 0.5, 2], [0, -3, -2, -4]]], np.float32)
    assert rc.predicted_classes(scores).tolist() == [[[False, True, True], [False, True, False]]]
    image, label = np.array([[0, 0, 1, 1]]), np.array([[1, 3, 2, 3]])
    assert of_arrays(rc.named(""), image, np.ones((1, 4)), np.ones((1, 4)), label, scores) == 50


# --- what is read -----------------------------------------------------------------------------------------------------

def made_up(run: FakeRun, name: str, settings: dict) -> dict:
    labels, number = len(CLASSES) + 1, 2 * run.images
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
        return {"image": np.arange(number) // 2, "label": np.ones(number, int), "area": np.arange(number) / 99,
                "recall": run.rng.random(number), "attention": run.rng.random(number)}
    return {"confusions": run.draw(99, run.images, labels, labels + 1) + 1}


def decided_on(profile: str):
    """Claims of a run of made-up results, and the run."""
    run = FakeRun("roy2017", profile, roy2017_routes(profile, 2), made_up, images=8)
    return decide_all("roy2017", CLAIMS, run.results).set_index("claim_id"), run


def test_every_claim_is_decided_on_the_steps_that_it_declares():
    frame, run = decided_on("quick")
    assert list(frame.index[frame["verdict"] == Verdict.NOT_TESTABLE]) == ["roy2017-C11"]
    assert not frame.drop(index="roy2017-C11")["measured"].eq("").any()
    for claim, told in (("C01", "cut at one half"), ("C02", "Mean average precision"), ("C03", "attention in training"),
                        ("C04", "parents alone"), ("C05", "The dense CRF takes"), ("C06", "cut at one half"),
                        ("C08", "Against neither"), ("C09", "LSE"), ("C10", "of its seeds on train: "),
                        ("C12", "% precision, the lower"), ("C15", "Touched are"), ("C16", "Without any"),
                        ("C17", "On test it is best on"), ("C18", "names the class"), ("C18", "16 objects")):
        assert told in frame.loc[f"roy2017-{claim}", "why"], claim
    declared = {step for route in run.routes for step in claim_steps(CLAIMS, route)}
    assert {step for step in declared if step.stage != "data"} == set(run.loaded)


def test_what_photographs_leave_out_is_named():
    frame, _ = decided_on("photos")
    untestable = frame[frame["verdict"] == Verdict.NOT_TESTABLE]["why"]
    assert {name[-2:] for name in untestable.index} == {"03", "07", "08", "09", "10", "11", "14", "15", "16", "17"}
    assert untestable["roy2017-C03"] == "profile photos doesn't have 'w/o att unary'"
    assert untestable["roy2017-C10"] == "profile photos doesn't have 'SEC-like'"
    assert "test" not in frame["measured"]["roy2017-C02"] and "of 5 differences" in frame["why"]["roy2017-C01"]


@pytest.mark.parametrize("source", [rc.confusions("w/o attention"), rc.scores("LSEE"),
                                    rc.result("counts", Route.pieces, "ful")])
def test_a_mistyped_row_is_an_error_and_no_reason(source):
    with pytest.raises(ParameterError, match="unknown row"):
        source(roy2017_routes("photos", 1)[0])
