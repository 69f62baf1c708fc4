"""The tables of Araslanov & Roth 2020, made from made-up results of the right shapes."""

import io

import numpy as np
import pandas as pd
import pytest
from fake_run import FakeRun, TablesRun, araslanov2020_routes
from table_parts import assert_sound, line

from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.evaluation.confusion import mean_iou, precision_recall_of_labels
from wsss_lab.lab.published import artifact_list
from wsss_lab.lab.steps import topological
from wsss_lab.lab.tables import to_csv
from wsss_lab.measure.tables import NOT_RUN
from wsss_lab.papers.araslanov2020.route import GATE_ROWS, SWITCHES, trained_rows
from wsss_lab.papers.araslanov2020.tables import LOST, NO_XCEPTION, SWITCH_WORDS, TABLES
from wsss_lab.papers.shared_tables import NO_TEST, TAGS_KNOWN, TAGS_UNUSED

IMAGES, LABELS = 12, len(CLASSES) + 1
ALL = TABLES
GRID = [f"p={p}, lambda={floor}" if (p, floor) != (3, 0.01) else "reference"
        for p in (0, 3, 5) for floor in (0.1, 0.01, 0.001)]
#: Rows of the ablations by table, and the one that gains are over.
LINES = {"table1a": ([*GRID, "no penalty"], "reference"),
         "table1b": (["no PAMR", "kernel 1-2-4", "kernel 1-2-4-8", "kernel 1-3-6-9-12-16", "kernel 1-2-4-8-12-16",
                      "reference"], "no PAMR"),
         "table1c": ([*GATE_ROWS, "psi=0.1", "psi=0.1, no GCI", "psi=0.7", "psi=0.7, no GCI"], "reference"),
         "table7": (["5 iterations", "reference", "15 iterations"], "reference")}


def fake_run(profile: str = "quick", seeds: int = 2) -> TablesRun:
    return TablesRun("araslanov2020", profile, araslanov2020_routes(profile, seeds), make, IMAGES)


def make(run: FakeRun, function: str, _settings: dict) -> dict:
    assert function == "score_masks"
    confusions = run.rng.integers(0, 9, (IMAGES, LABELS, LABELS + 1))
    confusions[:, range(LABELS), range(LABELS)] += run.rng.integers(10, 90)
    return {"confusions": confusions}


def summed(run, labels, crf=False, split="val") -> np.ndarray:
    """Confusions of all images by training: (S, K, K + 1). labels: from a route to the step that makes them."""
    output = "refined" if crf else "masks"
    return np.stack([run.load(route.score(labels(route), split, output)["confusions"]).sum(0) for route in run.routes])


def score(run, labels, crf=False, split="val") -> float:
    """Mean IoU in per cent of a row with predicted tags, or of the labels of a route."""
    if isinstance(labels, str):
        return score(run, lambda route: route.prediction(labels, split), crf, split)
    return 100 * mean_iou(summed(run, labels, crf, split)).mean()


def full(run, crf=False, split="val") -> float:
    return score(run, lambda route: route.second_labels("full", "main", split), crf, split)


# --- all tables ------------------------------------------------------------------------------------------------------


def test_every_table_of_the_paper_is_here():
    listed = artifact_list("araslanov2020")
    assert list(TABLES) == [*listed[listed["kind"] == "table"]["id"], "switches", "when"]


@pytest.mark.parametrize("profile, there", [("quick", True), ("photos", False)])
def test_only_profiles_with_a_test_split_and_second_stages_read_them(everything, profile, there):
    labels = [step.label for step in topological(list(everything[profile][2]))]
    for part in (" test ", "second stage", "ResNet-50"):
        assert any(part in label for label in labels) is there


@pytest.mark.parametrize("name", sorted(ALL.keys() - {"table4"}))
def test_a_table_is_sound(made, name):
    tags = (TAGS_KNOWN, TAGS_UNUSED) if name in ("table2", "table9") else (TAGS_UNUSED, TAGS_KNOWN)
    scales = "scales 1, 0.75 and 1.25" if name == "table9" else "scales 1 and 0.75"
    assert tags[1] not in made[name].protocol
    assert_sound(made[name], tags[0], "2 training seed(s)", f"{scales} and mirror images",
                 mixed=name in ("table1a", "table1b"))


def test_a_profile_that_leaves_rows_out_says_so(made, made_of_photos):
    for name in ALL:
        assert NOT_RUN not in made[name].frame.to_string(), name
        without = name in ("table2", "table4", "table6", "when")
        assert (NOT_RUN in made_of_photos[name].frame.to_string()) != without, name
    assert "bootstrap over images only" in made_of_photos["table2"].protocol


# --- Tables 1a, 1b, 1c and 7 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LINES)
def test_an_ablation_scores_every_line_and_compares_it_with_its_reference(run, made, made_of_photos, name):
    frame, (rows, reference) = made[name].frame, LINES[name]
    plain, refined = ([score(run, row, crf) for row in rows] for crf in (False, True))
    np.testing.assert_allclose(frame["val ours"], plain)
    np.testing.assert_allclose(frame["val + CRF ours"], refined)
    np.testing.assert_allclose(frame["CRF adds ours"], np.subtract(refined, plain))
    at = rows.index(reference)
    assert frame["gain 95 %"][at] == "reference"
    np.testing.assert_allclose(frame["gain ours"], [np.nan if row == reference else value - plain[at]
                                                    for row, value in zip(rows, plain)])
    quality = precision_recall_of_labels(summed(run, lambda route: route.prediction(rows[-1]))).foreground
    assert frame[["fg P", "fg R"]].iloc[-1].tolist() == pytest.approx(
        [100 * quality.precision.mean(), 100 * quality.recall.mean()])
    few, trained = made_of_photos[name].frame, [row in trained_rows("photos") for row in rows]
    assert few["val ours"].notna().tolist() == trained and 0 < sum(trained) < len(trained)
    assert (few["val 95 %"] != NOT_RUN).tolist() == trained
    assert few["fg P"].notna().tolist() == trained


def test_lost_cells_of_table1a_are_not_left_blank_and_ours_are_measured(made):
    frame = made["table1a"].frame
    assert frame["val paper"].tolist() == [LOST] * 4 + [59.4] + [LOST] * 4 + [56.6]
    assert frame["val + CRF paper"][:9].tolist() == [LOST, 60.5, LOST, LOST, 62.2, LOST, 59.8, LOST, LOST]
    assert pd.isna(frame["val + CRF paper"][9])  # never printed, not lost
    assert f"{LOST}: " in made["table1a"].protocol
    assert frame["remark"].notna().tolist() == [False, True, False, False, True, False, True, False, False, True]


def test_table1b_keeps_both_values_where_the_kernel_is_lost_and_shows_ours(made):
    frame = made["table1b"].frame
    assert frame["val paper"].tolist() == [31.8, "50.6 or 55.7", "50.6 or 55.7", "57.9 or 58.2", "57.9 or 58.2", 59.4]
    assert frame["gain paper"].dropna().tolist() == pytest.approx([27.6])
    here = frame.set_index("kernel")["dilations here"]
    # 32 positions stand for 81: 24 becomes 9.48, 12 becomes 4.74, 4 becomes 1.58, and nothing is below 1.
    assert here["1-2-4-8-12-24"] == "1-2-3-5-9" and here["1-2-4"] == "1-2" and pd.isna(here["no PAMR"])


def test_tables_1c_and_7_have_their_printed_gains_and_the_other_mixing_rates(run, made):
    frame, printed = made["table1c"].frame, run.published("table1c")
    assert frame["gate"].tolist() == [*printed["config"], "psi=0.1", "psi=0.1 w/o GCI", "psi=0.7", "psi=0.7 w/o GCI"]
    assert frame["val paper"].dropna().tolist() == printed["val_miou_pct"].tolist()
    assert frame["gain paper"].round(9).tolist()[1:6] == [0.4, 0.3, -1.7, -3.8, -1.9]
    assert frame["CRF adds paper"].round(9).tolist()[:4] == [2.8, 1.1, 3.0, 2.6]
    gains = made["table7"].frame.set_index("iterations")["gain paper"]
    assert gains.dropna().round(9).to_dict() == {5: -0.3, 15: -0.4}


# --- Tables 2 to 9 ---------------------------------------------------------------------------------------------------


def test_table2_measures_train_and_val_with_tags_known(run, made):
    frame = made["table2"].frame
    assert frame["source"].tolist() == ["measured"] * 2 + ["quoted"] * 3 + ["measured"] * 2
    for split in ("train", "val"):
        cam, ours = ([score(run, labels, crf, split) for crf in (False, True)] for labels in (
            lambda route, split=split: route.cam_labels(split=split),
            lambda route, split=split: route.prediction("ours", split, "known")))
        assert frame[f"{split} ours"].dropna().tolist() == pytest.approx([*cam, *ours])
        gains = [cam[1] - cam[0], ours[0] - cam[0], ours[1] - cam[0]]
        assert frame[f"{split} gain ours"].dropna().tolist() == pytest.approx(gains)


def test_table8_trains_on_our_labels_and_leaves_xception_out(run, made):
    frame, printed = made["table8"].frame, run.published("table8")
    assert frame["val paper"][:len(printed)].fillna(0).tolist() == printed["val_miou_pct"].fillna(0).tolist()
    xception = line(frame, backbone="Xception-65", group="two stage")
    assert xception["val 95 %"] == NO_XCEPTION and xception["source"] == "quoted" and np.isnan(xception["val ours"])
    single = score(run, "ours", True)
    for backbone, net in (("ResNet-101", "ResNet-101"), ("WideResNet-38", "main")):
        for crf in (False, True):
            row = line(frame, method="Ours + DeepLabv3+" + " + CRF" * crf, backbone=backbone)
            val, test = (score(run, lambda route, split=split, net=net: route.second_labels("ours", net, split), crf,
                               split) for split in ("val", "test"))
            assert row[["val ours", "test ours", "gain ours"]].tolist() == pytest.approx([val, test, val - single])
    ours = line(frame, method="Ours + CRF")
    assert (ours["val ours"], ours["gain 95 %"]) == (pytest.approx(single), "reference")
    truth = line(frame, method="DeepLabv3+ on ground truth")
    assert truth["val ours"] == pytest.approx(full(run)) and "masks" in truth["labels used"]
    assert "masks" not in line(frame, backbone="ResNet-101", method="Ours + DeepLabv3+")["labels used"]


def test_table9_scores_each_backbone_at_the_other_scales_and_averages_the_four(run, made, made_of_photos):
    frame = made["table9"].frame
    for mark, crf in (("no", False), ("yes", True)):
        half = frame[frame["CRF"] == mark].set_index("backbone")
        for backbone, net, row in (("VGG16", "VGG16", "VGG16"), ("ResNet-101", "ResNet-101", "ResNet-101"),
                                   ("WideResNet-38", "main", "ours")):
            cam = score(run, lambda route, net=net: route.cam_labels(net, exchanged=True), crf)
            ours = score(run, lambda route, row=row: route.prediction(row, tags="known", exchanged=True), crf)
            assert half.loc[backbone, ["CAM ours", "single stage ours", "gain ours"]].tolist() == pytest.approx(
                [cam, ours, ours - cam])
        of_ours = half[["CAM ours", "single stage ours", "gain ours"]]
        np.testing.assert_allclose(of_ours.loc["Mean"], of_ours.iloc[:4].mean())
    few = made_of_photos["table9"].frame
    assert few.loc[few["CAM ours"].notna(), "backbone"].tolist() == ["WideResNet-38"] * 2
    assert line(few, backbone="WideResNet-38", CRF="no")["network"] == "MobileNetV2"
    assert set(few.loc[few["backbone"] == "Mean", "CAM 95 %"]) == {NOT_RUN}


def test_printed_gains_over_cam_are_those_of_the_text(run, made):
    stated = run.published("text_values").set_index("quantity")["value"]
    ours, frame = line(made["table2"].frame, method="Ours + CRF"), made["table9"].frame
    for split in ("train", "val"):
        assert ours[f"{split} gain paper"] == pytest.approx(stated[f"gain over CAM on {split} (Table 2, with CRF)"])
    for mark, words in (("no", "without"), ("yes", "with")):
        assert line(frame, backbone="Mean", CRF=mark)["gain paper"] == pytest.approx(
            stated[f"mean gain over CAM across backbones {words} CRF"])


def test_table3_quotes_every_printed_row_in_order_and_measures_ours_and_full_supervision(run, made):
    frame, printed = made["table3"].frame, run.published("table3")
    for ours, theirs in (("val paper", "val_miou_pct"), ("test paper", "test_miou_pct"), ("method", "method"),
                         ("depends on", "dependence")):
        pd.testing.assert_series_equal(frame[ours][:22], printed[theirs], check_names=False)
    quoted = frame[frame["source"] == "quoted"]
    assert len(quoted) == 20 and quoted[["val ours", "val 95 %", "test ours", "network"]].isna().all(axis=None)
    for crf, mark in ((False, ""), (True, " + CRF")):
        for split in ("val", "test"):
            assert line(frame, method=f"Ours{mark}")[f"{split} ours"] == pytest.approx(score(run, "ours", crf, split))
            truth = line(frame, method=f"DeepLabv3+ on ground truth{mark}")
            assert truth[f"{split} ours"] == pytest.approx(full(run, crf, split)) and "masks" in truth["labels used"]
    assert "masks" not in line(frame, method="Ours")["labels used"]


@pytest.mark.parametrize("name", ["table3", "table8"])
def test_photographs_have_the_single_stage_alone_and_no_test(made_of_photos, name):
    frame = made_of_photos[name].frame
    measured = frame[frame["source"] == "measured"]
    assert measured["method"].tolist() == ["Ours", "Ours + CRF"] and set(measured["test 95 %"]) == {NO_TEST}
    assert set(measured["network"]) == {"MobileNetV2"} and f"Test: {NO_TEST}." in made_of_photos[name].protocol
    full_supervision = frame[frame["method"].str.startswith("DeepLabv3+ on")]
    assert set(full_supervision["val 95 %"]) == {NOT_RUN} and full_supervision["network"].isna().all()


def test_table4_counts_the_networks_that_are_trained(run, made, made_of_photos):
    frame, printed = made["table4"].frame, run.published("table4")
    assert frame["stages"][:24].tolist() == printed["stages_as_printed"].tolist()
    here = frame.dropna(subset=["stages here"]).set_index("method")
    assert here["stages here"].to_dict() == {"Ours": 1, "CAM (the paper's baseline)": 1, "Ours + DeepLabv3+": 2}
    assert here["PSR here"].tolist() == ["no", "no", "yes"] and set(here["extras here"]) == {"none"}
    assert "BMVC" in made["table4"].protocol and set(frame["source"]) == {"quoted", "measured"}
    assert "Ours + DeepLabv3+" not in set(made_of_photos["table4"].frame["method"])


@pytest.mark.parametrize("name, split, rows, apart", [
    ("table5", "val", 12, "Ours + CRF"), ("table6", "test", 10, "CRF-RNN")])
def test_class_tables_keep_printed_means_beside_the_means_of_their_cells(run, made, name, split, rows, apart):
    exported, printed = pd.read_csv(io.StringIO(to_csv(made[name].frame))), run.published(name)
    measured = exported[exported["source"] == "measured"]
    classes = [f"{label} ours" for label in ("background", *CLASSES)]
    np.testing.assert_allclose(measured[classes].mean(axis=1), measured["mean ours"], atol=1e-4)
    np.testing.assert_allclose(measured["mean ours"], [of(crf) for of in (
        lambda crf: score(run, "ours", crf, split), lambda crf: full(run, crf, split)) for crf in (False, True)],
        atol=1e-4)
    assert exported.loc[exported["source"] == "quoted", [*classes, "95 %"]].isna().all(axis=None)
    frame = exported.dropna(subset=["mean paper"])
    cells = printed[[column for column in printed if column.endswith("_iou_pct") and column != "mean_iou_pct"]]
    assert len(frame) == rows and cells.shape[1] == 21
    np.testing.assert_allclose(frame["mean of printed cells"], cells.mean(axis=1), atol=1e-4)
    wrong = (frame["mean of printed cells"] - frame["mean paper"]).abs() > 0.051
    assert frame["method"][wrong].tolist() == [apart] and f"{apart}: cells average" in made[name].protocol


def test_class_tables_of_photographs_lack_full_supervision_and_test(made_of_photos):
    frame, table = made_of_photos["table5"].frame, made_of_photos["table6"]
    ours = table.frame["method"].isin(["Ours", "Ours + CRF"])
    assert set(table.frame["95 %"][ours]) == {NO_TEST} and table.frame["mean ours"].isna().all()
    assert "nothing is measured in this profile" in table.protocol and "ours:" not in table.protocol
    assert frame.loc[frame["mean ours"].notna(), "method"].tolist() == ["Ours", "Ours + CRF"]
    assert frame.loc[frame["95 %"] == NOT_RUN, "group"].tolist() == ["fully supervised"] * 2


# --- switches --------------------------------------------------------------------------------------------------------


def test_every_switch_is_compared_with_the_reference(run, made):
    frame = made["switches"].frame.set_index("changed")
    assert list(SWITCH_WORDS) == list(SWITCHES)
    for name, words in SWITCH_WORDS.items():
        row = frame.loc[words.format("frozen")]
        assert row["compared with"] == "psi = 0.5"
        assert row[["val ours", "gain ours"]].tolist() == pytest.approx(
            [score(run, name), score(run, name) - score(run, "reference")])
        assert pd.isna(row["val + CRF ours"]) and run.route.prediction(name).settings["crf"] is None
    unchanged = frame.loc["nothing: psi = 0.5"]
    assert unchanged["gain + CRF 95 %"] == "reference" and pd.isna(unchanged["gain ours"])


def test_labelling_otherwise_and_full_supervision_are_compared_with_the_method(run, made, made_of_photos):
    frame, few = made["switches"].frame, made_of_photos["switches"].frame
    known, scales = (score(run, lambda route, other=other: route.prediction("ours", tags="known", exchanged=other))
                     for other in (False, True))
    expected = {("tags known at test time", "psi = 0.3"): (known, score(run, "ours")),
                ("tags known, scales of App. F", "psi = 0.3, tags known"): (scales, known),
                ("plain DeepLabv3+ on the ground truth", "psi = 0.3"): (full(run), score(run, "ours"))}
    words = "background's mask to the power 3 before labelling, as released"
    for name, against in (("reference", "psi = 0.5"), ("ours", "psi = 0.3")):
        powered = score(run, lambda route, name=name: route.prediction(name, power=3.0))
        expected[words, against] = powered, score(run, name)
    for (changed, against), (ours, base) in expected.items():
        row = line(frame, **{"changed": changed, "compared with": against})
        assert row[["val ours", "gain ours"]].tolist() == pytest.approx([ours, ours - base])
        assert ("masks" in row["labels used"]) == ("ground truth" in changed)
    same = line(few, changed="tags known, scales of App. F")  # equal scales are no switch
    assert same["val 95 %"] == NOT_RUN and pd.isna(same["labels used"])
    assert few.loc[few["val ours"].notna(), "changed"].str.contains("psi|power|tags known").all()
