"""The tables of Chaudhry et al. 2017, made from made-up results of the right shapes."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fake_run import FakeRun, TablesRun, chaudhry2017_routes
from table_parts import assert_cells, assert_sound, line

from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.evaluation.confusion import nan_mean
from wsss_lab.evaluation.intervals import interval
from wsss_lab.evaluation.precision_recall import BINS, average_precisions, sweep
from wsss_lab.lab.published import artifact_list
from wsss_lab.lab.tables import to_csv
from wsss_lab.measure.tables import NOT_RUN
from wsss_lab.papers.chaudhry2017.tables import (
    TABLES,
    agreement,
    attention,
    best_gammas,
    cues_miou,
    direct,
    lost_tags,
    miou,
    objects_found,
    swept_intervals,
)
from wsss_lab.papers.shared_tables import NO_TEST

IMAGES, LABELS = 12, len(CLASSES) + 1
ALL = TABLES


def fake_run(profile: str = "quick", seeds: int = 2) -> TablesRun:
    return TablesRun("chaudhry2017", profile, chaudhry2017_routes(profile, seeds), make, IMAGES)


def make(run: FakeRun, function: str, settings: dict) -> dict:
    counts = run.rng.integers(5, 15, (IMAGES, 3, LABELS, BINS))
    counts[:, 1, 0], counts[:, 2] = 0, counts[:, 2] // 3
    found = run.rng.integers(1, 20, (IMAGES, 3, 1))
    confusions = run.rng.integers(0, 9, (IMAGES, LABELS, LABELS + 1))
    confusions[:, range(LABELS), range(LABELS)] += run.rng.integers(10, 90)
    return {
        "score_masks": {"confusions": confusions, "with_void": confusions + 1},
        "score_objects": {"counts": np.concatenate([found, found + 5], 2), "objects": np.arange(IMAGES) % 4},
        "score_salient_pixels": {"counts": run.rng.integers(1, 90, (IMAGES, 4))},
        "score_attention": {"counts": counts}, "score_agreement": {"counts": counts},
        "attention_outputs": {"scores": run.rng.normal(size=(IMAGES, len(CLASSES)))},
    }[function]


def score(run, *row) -> float:
    return miou(*row).value(run.results)


# --- all tables ------------------------------------------------------------------------------------------------------

def test_every_measured_table_of_the_paper_is_here():
    listed = artifact_list("chaudhry2017")
    numbered = listed[(listed["kind"] == "table") & listed["published_csv"].notna()]
    assert list(TABLES)[:len(numbered)] == list(numbered["id"])


@pytest.mark.parametrize("name", ALL)
def test_a_table_is_sound(made, name):
    scales = ["maximum of the scores at scales 1, 0.875 and 0.75"] if name != "text_hierarchy" else []
    tags = "image tags known" if name == "when" else "image tags not used"
    assert_sound(made[name], tags, "2 training seed(s)", "bootstrap over images, Student's t over seeds", *scales)


def test_a_profile_that_leaves_rows_out_says_so(made, made_of_photos):
    for name in ("table1", "text_attention", "text_cues", "text_means", "ablations"):
        assert NOT_RUN in made_of_photos[name].frame.to_string(), name
        assert NOT_RUN not in made[name].frame.to_string(), name
    assert "1 training seed(s)" in made_of_photos["table2"].protocol
    assert "bootstrap over images only" in made_of_photos["table2"].protocol


# --- scores of rows --------------------------------------------------------------------------------------------------

def rows_of_table1(run):
    for method, row, network in (("Joon et al.", "VGG, G2", "VGG"), ("DCSP-VGG16", "VGG, S3 + adapt", "VGG"),
                                 ("DCSP-ResNet-101", "S3 + adapt", "ResNet"),
                                 ("Joon et al. with DCSP's network", "G2", "ResNet")):
        for crf in (False, True):
            yield {"method": method, "CRF": "yes" if crf else "no"}, {
                "val ours": score(run, row, crf), "test ours": score(run, row, crf, "test"), "network": network,
                "source": "measured"}


def rows_of_table2(run):
    gains = {("S1 + adapt", False): 0.3, ("S1 + adapt", True): 0.3, ("S3 + adapt", False): 1.0,
             ("S3 + adapt", True): 0.4}
    for crf in (False, True):
        for kind, name in (("S1", "S1"), ("S3", "S3 (HS)")):
            before, after = score(run, kind, crf), score(run, f"{kind} + adapt", crf)
            where = {"CRF": "yes" if crf else "no", "saliency mask": name}
            yield where | {"adapt": "no"}, {"val ours": before, "rounds": 1, "gain ours": None, "gain paper": None}
            yield where | {"adapt": "yes"}, {"val ours": after, "rounds": 2, "gain ours": after - before,
                                             "gain paper": gains[f"{kind} + adapt", crf]}
    longer = score(run, "S3, longer")
    yield {"adapt": "no, two rounds"}, {"val ours": longer, "rounds": 2, "gain ours": longer - score(run, "S3"),
                                        "CRF": "no", "val paper": None}


def rows_of_table4(run):
    predicted, known = (direct(tags).value(run.results) for tags in ("predicted", "known"))
    stated = run.published("text_values").set_index("quantity")["value"]["gain of joint training"]
    yield {"scored": "Algorithm 1 on val, classes predicted"}, {"val ours": predicted, "val paper": 48.3,
                                                                "gain ours": None}
    yield {"scored": "Algorithm 1 on val, tags known"}, {"val ours": known, "val paper": None,
                                                         "gain ours": known - predicted}
    yield {"scored": "S3 + adapt"}, {"val ours": score(run, "S3 + adapt"), "val paper": 59.5, "gain paper": stated,
                                     "gain ours": score(run, "S3 + adapt") - predicted, "joint training": "yes"}


def rows_of_ablations(run):
    full = score(run, "S3 + adapt")
    yield {"changed": "nothing: S3 + adapt, joint loss"}, {"val ours": full, "val paper": 59.5, "gain ours": None}
    for changed, row, scales, paper in (
            ("cues not adapted, one round", "S3", (), 58.5), ("cues not adapted, two rounds", "S3, longer", (), None),
            ("one scale at test time", "S3 + adapt", (1.0,), None), ("ground truth as cues", "full", (), None)):
        own = score(run, row, False, "val", scales)
        assert own != pytest.approx(full)
        yield {"changed": changed}, {"val ours": own, "gain ours": own - full, "val paper": paper}


def rows_of_cues(run):
    for row, last in (("S1 + adapt", 2), ("S3 + adapt twice", 3), ("attention only", 1), ("S3, geometric mean", 1),
                      ("G2", 1)):
        after = cues_miou(row, last).value(run.results) if last > 1 else None
        yield {"row": row}, {"mIoU before": cues_miou(row, 1).value(run.results), "mIoU after": after,
                             "segmenter val": score(run, row), "lost before": 0, "lost after": 0 if last > 1 else None}


ROWS_OF = {"table1": rows_of_table1, "table2": rows_of_table2, "table4": rows_of_table4,
           "ablations": rows_of_ablations, "text_cues": rows_of_cues}


@pytest.mark.parametrize("name", ROWS_OF)
def test_lines_show_the_scores_of_their_rows(run, made, name):
    for where, expected in ROWS_OF[name](run):
        assert_cells(line(made[name].frame, **where), expected)


def test_printed_lines_are_all_quoted_in_order(run, made):
    frame, printed = made["table1"].frame, run.published("table1")
    assert len(printed) == 19 and frame["val paper"][19:].isna().all()
    for ours, theirs in (("val paper", "val_miou_pct"), ("test paper", "test_miou_pct"), ("CRF", "crf")):
        pd.testing.assert_series_equal(frame[ours][:19], printed[theirs], check_names=False)
    assert list(frame["method"][:19]) == [name.removesuffix(" (ours)") for name in printed["method"]]
    quoted = frame[frame["source"] == "quoted"]
    assert len(quoted) == 13
    assert quoted[["val ours", "val 95 %", "test ours", "test 95 %", "network"]].isna().all(axis=None)
    assert list(made["table2"].frame["val paper"][:8]) == list(run.published("table2")["val_miou_pct"])


def test_lines_say_which_labels_they_rest_on(made):
    labels = made["ablations"].frame.set_index("changed")["labels used"]
    assert "training masks" in labels["ground truth as cues"] and labels.str.contains("masks").sum() == 1


def test_table1_of_photographs_measures_val_alone_and_names_their_network(made_of_photos):
    frame = made_of_photos["table1"].frame
    measured = frame[frame["source"] == "measured"]
    assert set(measured["method"]) == {"DCSP-ResNet-101", "Joon et al. with DCSP's network"}
    assert set(measured["network"]) == {"MobileNetV2"} and set(measured["test 95 %"]) == {NO_TEST}
    assert frame["test ours"].isna().all() and f"Test: {NO_TEST}." in made_of_photos["table1"].protocol
    assert "DUTS" in measured["labels used"].iloc[0] and "boxes" not in measured["labels used"].iloc[0]


# --- Tables 5 and 6 --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, split", [("table5", "val"), ("table6", "test")])
def test_class_means_equal_the_exported_mean_and_printed_ones_stand_beside_that_of_their_cells(run, made, name, split):
    frame, printed = made[name].frame, run.published(name)
    exported = pd.read_csv(io.StringIO(to_csv(frame)))
    classes = [f"{label} ours" for label in ("background", *CLASSES)]
    np.testing.assert_allclose(exported[classes].mean(axis=1), exported["mean ours"], atol=1e-4)
    expected = [score(run, f"{step} + adapt", crf, split) for step in ("S1", "S2", "S3") for crf in (False, True)]
    np.testing.assert_allclose(exported["mean ours"], expected, atol=1e-4)
    assert frame["mean paper"].tolist() == printed["mean_iou_pct"].tolist()
    cells = printed[[column for column in printed if column.endswith("_iou_pct") and column != "mean_iou_pct"]]
    assert cells.shape == (6, 21)
    np.testing.assert_allclose(frame["mean of printed cells"], cells.mean(axis=1))
    apart = (frame["mean of printed cells"] - frame["mean paper"]).abs() > 0.051
    assert apart.sum() == 2 and made[name].protocol.count("cells average") == 2


def test_classes_of_the_paper_are_shown_where_the_world_has_them():
    run = fake_run("quick", 1)
    run.world = SimpleNamespace(name="half of VOC", classes=("cat", "dragon", "dog", *CLASSES[:LABELS - 4]), seed=0)
    frame = TABLES["table5"](run).frame
    assert list(frame.columns[6:13]) == ["background paper", "background ours", "cat paper", "cat ours", "dragon ours",
                                       "dog paper", "dog ours"]
    assert frame["dog paper"].tolist() == run.published("table5")["dog_iou_pct"].tolist()


def test_a_class_that_no_image_has_leaves_the_mean_alone():
    run = fake_run("quick", 1)
    for name in ("S1", "S2", "S3"):
        for crf in (False, True):
            confusions = run.load(run.route.scored(f"{name} + adapt", crf)["confusions"])
            confusions[:, 2], confusions[:, :, 2] = 0, 0
    frame = TABLES["table5"](run).frame
    assert frame[f"{CLASSES[1]} ours"].isna().all()
    classes = [column for column in frame if column.endswith(" ours") and column != "mean ours"]
    np.testing.assert_allclose(frame["mean ours"], frame[classes].mean(axis=1))


def test_table6_of_photographs_says_that_there_is_no_test_split(made_of_photos):
    table = made_of_photos["table6"]
    assert set(table.frame["95 %"]) == {NO_TEST} and table.frame["mean ours"].isna().all()
    assert table.frame[["mean paper", "background paper"]].notna().all(axis=None)
    assert "nothing is measured in this profile" in table.protocol and "ours:" not in table.protocol


# --- stages ----------------------------------------------------------------------------------------------------------

def test_attention_is_cut_where_algorithm_1_does_with_saliency_1(run, made):
    frame = made["text_attention"].frame
    assert frame["threshold"].tolist() == [0.25] * 3  # gamma 0.4: 0.4 / 1.6
    assert frame[["pooling", "trained in stage 1"]].to_numpy().tolist() == [
        ["average", "whole network"], ["max", "whole network"], ["average", "new layers"]]
    counts = run.results.stack(attention("val", "max"))
    expected = 100 * sweep(counts.sum(1)).mean_iou[:, BINS // 4].mean()
    assert frame["mIoU"][1] == pytest.approx(expected)
    scores = run.results.stack(lambda route: route.volumes("val", pooling="average", frozen=True)["scores"])
    expected = np.mean([nan_mean(average_precisions(each, run.scenes["tags"])) for each in scores])
    assert frame["mAP"][2] == pytest.approx(100 * expected)


def test_hierarchy_gives_recall_by_rank_of_the_object(run, made):
    frame = made["text_hierarchy"].frame
    assert frame["detector"].tolist() == ["network trained on boxes"] * 3 + ["unsupervised"] * 3
    assert frame["saliency"].tolist() == ["S1", "S2", "S3"] * 2
    objects = run.results.stack(objects_found("S2", detector="unsupervised")).sum(1)  # (seeds, ranks, found and all)
    recall = 100 * (objects[..., 0] / objects[..., 1]).mean(0)
    assert frame.loc[4, ["largest object", "second object", "third object"]].tolist() == pytest.approx(recall)
    pixels = run.results.stack(lambda route: route.salient_pixels("S2", "val", "unsupervised")["counts"]).sum(1)
    assert frame["fg precision"][4] == pytest.approx(100 * (pixels[:, 0] / pixels[:, :2].sum(1)).mean())
    assert frame["labels used"].tolist() == ["boxes of other objects"] * 6
    assert "12 images, 6 with a second object, 3 with a third object" in made["text_hierarchy"].protocol


def test_a_tag_is_lost_when_no_pixel_has_its_class():
    """Counted with void as background, so that a tag whose pixels all lie on void is not lost."""
    tags = np.array([[True, True], [True, False]])
    confusions = np.zeros((2, 2, 3, 4))
    confusions[:, 0, 0, 1] = 5  # class 1 in the first image, in the wrong place: not lost
    confusions[:, 0, 2, 3] = 9  # class 2's pixels are undecided: lost
    confusions[1, 1, 0, 1] = 1  # class 1 in the second image: lost with the first seed only
    (leaf,) = lost_tags("S3", 1).leaves
    assert leaf.per_seed(np.ones((1, 2)), confusions, tags[None]).tolist() == [[2, 1]]
    route = chaudhry2017_routes("quick", 1)[0]
    assert leaf.sources[0](route) == route.score(route.cues_of("S3"), "train")["with_void"]


def test_means_are_compared_at_the_papers_gamma_and_at_their_own(run, made):
    frame = made["text_means"].frame.set_index("mean")
    assert list(frame.index) == ["harmonic", "geometric", "arithmetic"]
    train = sweep(run.results.stack(agreement("geometric")).sum(1)).mean_iou
    chosen = best_gammas(run.results.stack(agreement("geometric", "tuning")))
    assert frame["best gamma on dev"]["geometric"] == pytest.approx(np.mean(chosen))
    assert frame["cues at gamma 0.4"]["geometric"] == pytest.approx(100 * train[:, round(0.4 * BINS)].mean())
    own = [each[round(gamma * BINS)] for each, gamma in zip(train, chosen)]
    assert frame["cues at the best"]["geometric"] == pytest.approx(100 * np.mean(own))
    assert frame["segmenter val"]["arithmetic"] == pytest.approx(score(run, "S3, arithmetic mean"))


def test_the_best_gamma_is_chosen_seed_by_seed():
    counts = np.zeros((2, 3, 3, 2, 4), int)
    counts[:, :, 0, 0, 0] = 10  # background, without confidence
    for seed, place in ((0, 1), (1, 3)):
        counts[seed, :, :, 1, place] = 5  # the object, rightly won at this confidence
        counts[seed, :, :2, [0, 1], place - 1] = 7  # background won by the class just below it
    assert best_gammas(counts).tolist() == [0.25, 0.75]


def test_without_a_dev_split_gamma_is_chosen_on_val_and_no_segmenter_learns_from_it(made_of_photos):
    frame = made_of_photos["text_means"].frame
    assert "best gamma on val" in frame and "chosen on the masks of val" in made_of_photos["text_means"].protocol
    assert frame["val 95 %"].tolist()[1:] == [NOT_RUN] * 2 and frame["segmenter val"].notna().tolist()[0]


def test_intervals_at_all_thresholds_are_those_at_each():
    counts = np.random.default_rng(0).integers(1, 30, (3, 8, 3, 3, 4))
    found = swept_intervals(counts, 50)
    for place, each in enumerate(found):
        alone = interval(counts, lambda sums, place=place: sweep(sums).mean_iou[..., place], replicates=50).percent()
        assert (each.mean, each.low, each.high) == pytest.approx((alone.mean, alone.low, alone.high), rel=1e-4)
