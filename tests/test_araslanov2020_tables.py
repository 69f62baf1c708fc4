"""The tables of Araslanov & Roth 2020, made from made-up results of the right shapes."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fake_run import FakeRun, TablesRun, araslanov2020_routes
from table_parts import assert_in_intervals, line, mean_score

from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.lab.published import artifact_list
from wsss_lab.lab.steps import topological
from wsss_lab.lab.tables import numeric_columns, to_csv
from wsss_lab.measure.tables import NOT_RUN
from wsss_lab.papers.araslanov2020 import tables as araslanov2020_tables
from wsss_lab.papers.araslanov2020.route import GATE_ROWS, SWITCHES, trained_rows
from wsss_lab.papers.araslanov2020.tables import (
    LOST,
    NO_TEST,
    NO_XCEPTION,
    SWITCH_WORDS,
    TABLES,
    TAGS_KNOWN,
    TAGS_UNUSED,
    Evidence,
)
from wsss_lab.papers.shared_tables import label_quality

IMAGES, LABELS = 12, len(CLASSES) + 1
ALL = TABLES


def fake_run(profile: str = "quick", seeds: int = 2) -> TablesRun:
    return TablesRun("araslanov2020", profile, araslanov2020_routes(profile, seeds), make, IMAGES)


def make(run: FakeRun, function: str, settings: dict) -> dict:
    confusions = run.rng.integers(0, 9, (IMAGES, LABELS, LABELS + 1))
    confusions[:, range(LABELS), range(LABELS)] += run.rng.integers(10, 90)
    return {"score_masks": {"confusions": confusions, "with_void": confusions + 1}}[function]


def score(run, *what, **more) -> float:
    return mean_score(Evidence(run).confusions(*what, **more))


# --- all tables ------------------------------------------------------------------------------------------------------


def test_every_table_of_the_paper_is_here():
    listed = artifact_list("araslanov2020")
    assert list(TABLES) == [*listed[listed["kind"] == "table"]["id"], "switches"]


@pytest.mark.parametrize("profile", ["quick", "photos"])
def test_steps_names_exactly_what_the_tables_load(everything, profile):
    run, _, loaded = everything[profile]
    promised = {step for route in run.routes for step in araslanov2020_tables.steps(route, profile)}
    assert not [str(step) for step in promised ^ loaded]


@pytest.mark.parametrize("profile, there", [("quick", True), ("photos", False)])
def test_only_profiles_with_a_test_split_and_second_stages_compute_them(everything, profile, there):
    labels = [step.label for step in topological(list(everything[profile][2]))]
    assert any(" test " in label for label in labels) is there
    assert any("second stage" in label for label in labels) is there
    assert any("ResNet-50" in label for label in labels) is there and any(" val " in label for label in labels)


@pytest.mark.parametrize("name", sorted(ALL.keys() - {"table4"}))
def test_a_table_has_a_title_a_protocol_and_numbers_in_columns_of_their_own(made, name):
    table = made[name]
    assert table.frame.columns.is_unique and table.frame.index.is_unique
    assert 20 < len(table.title) < 80 and not table.title.endswith(".")
    known = name in ("table2", "table9")
    assert (TAGS_KNOWN if known else TAGS_UNUSED) in table.protocol
    assert (TAGS_UNUSED if known else TAGS_KNOWN) not in table.protocol
    assert "2 training seed(s)" in table.protocol and table.protocol.endswith(".")
    scales = "scales 1, 0.75 and 1.25" if name == "table9" else "scales 1 and 0.75"
    assert f"{scales} and mirror images" in table.protocol
    for column in table.frame.columns:
        if column.endswith(" ours") or (column.endswith(" paper") and name not in ("table1a", "table1b")):
            assert column in numeric_columns(table.frame) or table.frame[column].isna().all(), column


@pytest.mark.parametrize("name, column, ends", [
    *((name, f"{what} ours", f"{what} 95 %") for name in ("table1a", "table1b", "table1c", "table7")
      for what in ("val", "gain", "val + CRF", "CRF adds")),
    *((f"table{number}", f"{split} ours", f"{split} 95 %") for number in (3, 8) for split in ("val", "test")),
    *(("table2", f"{what} ours", f"{what} 95 %") for what in ("train", "train gain", "val", "val gain")),
    ("table5", "mean ours", "95 %"), ("table6", "mean ours", "95 %"), ("table8", "gain ours", "gain 95 %"),
    *(("table9", f"{what} ours", f"{what} 95 %") for what in ("CAM", "single stage", "gain")),
    *(("switches", f"{what} ours", f"{what} 95 %") for what in ("val", "gain", "val + CRF", "gain + CRF")),
])
def test_figures_lie_in_their_intervals(made, name, column, ends):
    known = made[name].frame.dropna(subset=[column])
    assert len(known) > 1
    assert_in_intervals(known[column], known[ends])


def test_a_profile_that_leaves_rows_out_says_so(made, made_of_photos):
    for name in ("table1a", "table1b", "table1c", "table3", "table5", "table7", "table8", "table9", "switches"):
        assert NOT_RUN in made_of_photos[name].frame.to_string(), name
    for name in ALL:
        assert NOT_RUN not in made[name].frame.to_string(), name
    assert "bootstrap over images only" in made_of_photos["table2"].protocol


# --- Tables 1a, 1b, 1c and 7 -----------------------------------------------------------------------------------------


#: The row of ROWS behind each line of an ablation.
LINES = {
    "table1a": ["p=0, lambda=0.1", "p=0, lambda=0.01", "p=0, lambda=0.001", "p=3, lambda=0.1", "reference",
                "p=3, lambda=0.001", "p=5, lambda=0.1", "p=5, lambda=0.01", "p=5, lambda=0.001", "no penalty"],
    "table1b": ["no PAMR", *(f"kernel {kernel}" for kernel in ("1-2-4", "1-2-4-8", "1-3-6-9-12-16", "1-2-4-8-12-16")),
                "reference"],
    "table1c": ["reference", "psi=0.5, no GCI", "ours", "psi=0.3, no GCI", "no gate", "deterministic gate",
                "psi=0.1", "psi=0.1, no GCI", "psi=0.7", "psi=0.7, no GCI"],
    "table7": ["5 iterations", "reference", "15 iterations"],
}


@pytest.mark.parametrize("name, reference", [("table1a", "reference"), ("table1b", "no PAMR"),
                                             ("table1c", "reference"), ("table7", "reference")])
def test_an_ablation_scores_every_row_and_compares_it_with_its_reference(run, made, name, reference):
    frame, rows = made[name].frame, LINES[name]
    plain, refined = ([score(run, row, crf) for row in rows] for crf in (False, True))
    assert frame["val ours"].tolist() == pytest.approx(plain)
    assert frame["val + CRF ours"].tolist() == pytest.approx(refined)
    np.testing.assert_allclose(frame["CRF adds ours"], np.subtract(refined, plain))
    at = rows.index(reference)
    assert frame["gain 95 %"][at] == "reference" and np.isnan(frame["gain ours"][at])
    others = [place for place in range(len(rows)) if place != at]
    np.testing.assert_allclose(frame["gain ours"][others], np.array(plain)[others] - plain[at])
    quality = label_quality(Evidence(run).confusions(rows[-1]))
    assert frame[["fg P", "fg R"]].iloc[-1].tolist() == pytest.approx([quality["fg P"], quality["fg R"]])


def test_lost_cells_of_table1a_are_not_left_blank_and_ours_are_measured(made):
    frame = made["table1a"].frame
    assert frame["val paper"].tolist() == [LOST] * 4 + [59.4] + [LOST] * 4 + [56.6]
    assert frame["val + CRF paper"][:9].tolist() == [LOST, 60.5, LOST, LOST, 62.2, LOST, 59.8, LOST, LOST]
    assert pd.isna(frame["val + CRF paper"][9])  # never printed, not lost
    assert frame["val ours"].notna().all() and f"{LOST}: " in made["table1a"].protocol
    assert frame["remark"].notna().tolist() == [False, True, False, False, True, False, True, False, False, True]


def test_table1b_keeps_both_values_where_the_kernel_is_lost_and_shows_ours(made):
    frame = made["table1b"].frame
    assert frame["val paper"].tolist() == [31.8, "50.6 or 55.7", "50.6 or 55.7", "57.9 or 58.2", "57.9 or 58.2", 59.4]
    assert frame["gain paper"].dropna().tolist() == pytest.approx([27.6])
    frame = frame.set_index("kernel")["dilations here"]
    # 32 positions stand for 81: 24 becomes 9.48, 12 becomes 4.74, 4 becomes 1.58, and nothing is below 1.
    assert frame["1-2-4-8-12-24"] == "1-2-3-5-9" and frame["1-2-4"] == "1-2" and pd.isna(frame["no PAMR"])


def test_table1c_has_the_printed_rows_and_the_other_mixing_rates(run, made):
    frame, printed = made["table1c"].frame, run.published("table1c")
    assert frame["gate"][:6].tolist() == printed["config"].tolist() and len(printed) == len(GATE_ROWS)
    assert frame["val paper"].dropna().tolist() == printed["val_miou_pct"].tolist()
    assert frame["gain paper"].round(9).tolist()[1:6] == [0.4, 0.3, -1.7, -3.8, -1.9]
    assert frame["CRF adds paper"].round(9).tolist()[:4] == [2.8, 1.1, 3.0, 2.6]
    assert frame["gate"][6:].tolist() == ["psi=0.1", "psi=0.1 w/o GCI", "psi=0.7", "psi=0.7 w/o GCI"]


def test_table7_has_its_gains_over_ten_iterations(made):
    gains = made["table7"].frame.set_index("iterations")["gain paper"]
    assert gains.dropna().round(9).to_dict() == {5: -0.3, 15: -0.4}


def test_ablations_of_photographs_measure_what_was_trained(made_of_photos):
    for name, rows in LINES.items():
        frame, trained = made_of_photos[name].frame, [row in trained_rows("photos") for row in rows]
        assert frame["val ours"].notna().tolist() == trained and 0 < sum(trained) < len(trained)
        assert (frame["val 95 %"] != NOT_RUN).tolist() == trained


# --- Tables 2, 8 and 9 -----------------------------------------------------------------------------------------------


def test_table2_measures_train_and_val_with_tags_known(run, made):
    frame, evidence = made["table2"].frame, Evidence(run)
    assert frame["source"].tolist() == ["measured"] * 2 + ["quoted"] * 3 + ["measured"] * 2
    assert frame[frame["source"] == "quoted"].filter(like="ours").isna().all(axis=None)
    for split in ("train", "val"):
        cam = [mean_score(evidence.cam_confusions("main", crf, split)) for crf in (False, True)]
        ours = [score(run, "ours", crf, split, "known") for crf in (False, True)]
        assert frame[f"{split} ours"].dropna().tolist() == pytest.approx([*cam, *ours])
        gains = [cam[1] - cam[0], ours[0] - cam[0], ours[1] - cam[0]]
        assert frame[f"{split} gain ours"].dropna().tolist() == pytest.approx(gains)


def test_table8_trains_on_our_labels_and_leaves_xception_out(run, made):
    frame, evidence, printed = made["table8"].frame, Evidence(run), run.published("table8")
    assert frame["val paper"][:len(printed)].fillna(0).tolist() == printed["val_miou_pct"].fillna(0).tolist()
    xception = line(frame, backbone="Xception-65", group="two stage")
    assert xception["val 95 %"] == NO_XCEPTION and xception["source"] == "quoted" and np.isnan(xception["val ours"])
    single = score(run, "ours", True)
    for backbone, net in (("ResNet-101", "ResNet-101"), ("WideResNet-38", "main")):
        for crf in (False, True):
            row = line(frame, method="Ours + DeepLabv3+" + " + CRF" * crf, backbone=backbone)
            val, test = (mean_score(evidence.second_confusions("ours", net, crf, of)) for of in ("val", "test"))
            assert row[["val ours", "test ours", "gain ours"]].tolist() == pytest.approx([val, test, val - single])
    assert line(frame, method="Ours + CRF")["val ours"] == pytest.approx(single)
    full = line(frame, method="DeepLabv3+ on ground truth")
    assert full["val ours"] == pytest.approx(mean_score(evidence.second_confusions("full", "main")))
    assert "masks" in full["labels used"] and "masks" not in xception.fillna("")["labels used"]
    assert "masks" not in line(frame, backbone="ResNet-101", method="Ours + DeepLabv3+")["labels used"]


def test_table9_scores_each_backbone_at_the_other_scales_and_averages_the_four(run, made):
    frame, evidence = made["table9"].frame, Evidence(run)
    for mark, crf in (("no", False), ("yes", True)):
        half = frame[frame["CRF"] == mark].set_index("backbone")
        for backbone, net, row in (("VGG16", "VGG16", "VGG16"), ("ResNet-101", "ResNet-101", "ResNet-101"),
                                   ("WideResNet-38", "main", "ours")):
            cam = mean_score(evidence.cam_confusions(net, crf, exchanged=True))
            ours = score(run, row, crf, tags="known", exchanged=True)
            assert half.loc[backbone, ["CAM ours", "single stage ours", "gain ours"]].tolist() == pytest.approx(
                [cam, ours, ours - cam])
        of_ours = half[["CAM ours", "single stage ours", "gain ours"]]
        np.testing.assert_allclose(of_ours.loc["Mean"], of_ours.iloc[:4].mean())


def test_printed_gains_over_cam_are_those_of_the_text(run, made):
    stated = run.published("text_values").set_index("quantity")["value"]
    ours, frame = line(made["table2"].frame, method="Ours + CRF"), made["table9"].frame
    means = [line(frame, backbone="Mean", CRF=mark)["gain paper"] for mark in ("no", "yes")]
    for split in ("train", "val"):
        assert ours[f"{split} gain paper"] == pytest.approx(stated[f"gain over CAM on {split} (Table 2, with CRF)"])
    assert means == pytest.approx([stated[f"mean gain over CAM across backbones {words} CRF"]
                                   for words in ("without", "with")])


def test_table9_of_photographs_has_the_main_backbone_and_no_mean(made_of_photos):
    frame = made_of_photos["table9"].frame
    assert frame.loc[frame["CAM ours"].notna(), "backbone"].tolist() == ["WideResNet-38"] * 2
    assert line(frame, backbone="WideResNet-38", CRF="no")["network"] == "MobileNetV2"
    assert set(frame.loc[frame["backbone"] == "Mean", "CAM 95 %"]) == {NOT_RUN}


# --- Tables 3 to 6 --------------------------------------------------------------------------------------------------


def test_table3_quotes_every_printed_row_in_order(run, made):
    frame, printed = made["table3"].frame, run.published("table3")
    assert len(printed) == 22
    for ours, theirs in (("val paper", "val_miou_pct"), ("test paper", "test_miou_pct"), ("method", "method"),
                         ("depends on", "dependence")):
        pd.testing.assert_series_equal(frame[ours][:22], printed[theirs], check_names=False)
    quoted = frame[frame["source"] == "quoted"]
    assert len(quoted) == 20 and quoted[["val ours", "val 95 %", "test ours", "network"]].isna().all(axis=None)


def test_table3_measures_our_rows_and_full_supervision_on_val_and_test(run, made):
    frame, evidence = made["table3"].frame, Evidence(run)
    for crf, mark in ((False, ""), (True, " + CRF")):
        for split in ("val", "test"):
            assert line(frame, method=f"Ours{mark}")[f"{split} ours"] == pytest.approx(score(run, "ours", crf, split))
            full = mean_score(evidence.second_confusions("full", "main", crf, split))
            assert line(frame, method=f"DeepLabv3+ on ground truth{mark}")[f"{split} ours"] == pytest.approx(full)
    assert "masks" in line(frame, method="DeepLabv3+ on ground truth")["labels used"]
    assert "masks" not in line(frame, method="Ours")["labels used"]


@pytest.mark.parametrize("name", ["table3", "table8"])
def test_photographs_have_the_single_stage_alone_and_no_test(made_of_photos, name):
    frame = made_of_photos[name].frame
    measured = frame[frame["source"] == "measured"]
    assert measured["method"].tolist() == ["Ours", "Ours + CRF"] and set(measured["test 95 %"]) == {NO_TEST}
    assert set(measured["network"]) == {"MobileNetV2"} and f"Test: {NO_TEST}." in made_of_photos[name].protocol


def test_table4_counts_the_networks_that_are_trained(run, made, made_of_photos):
    frame, printed = made["table4"].frame, run.published("table4")
    assert frame["stages"][:24].tolist() == printed["stages_as_printed"].tolist()
    here = frame.dropna(subset=["stages here"]).set_index("method")
    assert here["stages here"].to_dict() == {"Ours": 1, "CAM (the paper's baseline)": 1, "Ours + DeepLabv3+": 2}
    assert here["PSR here"].tolist() == ["no", "no", "yes"] and set(here["extras here"]) == {"none"}
    assert "BMVC" in made["table4"].protocol and set(frame["source"]) == {"quoted", "measured"}
    assert "Ours + DeepLabv3+" not in set(made_of_photos["table4"].frame["method"])


@pytest.mark.parametrize("name, split, rows", [("table5", "val", 12), ("table6", "test", 10)])
def test_class_means_equal_the_exported_mean_to_rounding(run, made, name, split, rows):
    exported = pd.read_csv(io.StringIO(to_csv(made[name].frame)))
    assert exported["mean paper"].notna().sum() == rows
    measured = exported[exported["source"] == "measured"]
    classes = [f"{label} ours" for label in ("background", *CLASSES)]
    np.testing.assert_allclose(measured[classes].mean(axis=1), measured["mean ours"], atol=1e-4)
    full = [mean_score(Evidence(run).second_confusions("full", "main", crf, split)) for crf in (False, True)]
    expected = [*(score(run, "ours", crf, split) for crf in (False, True)), *full]
    np.testing.assert_allclose(measured["mean ours"], expected, atol=1e-4)
    assert exported.loc[exported["source"] == "quoted", [*classes, "95 %"]].isna().all(axis=None)


@pytest.mark.parametrize("name, apart", [("table5", ["Ours + CRF"]), ("table6", ["CRF-RNN"])])
def test_printed_means_are_kept_beside_the_mean_of_their_cells(run, made, name, apart):
    frame, printed = made[name].frame.dropna(subset=["mean paper"]), run.published(name)
    cells = printed[[column for column in printed if column.endswith("_iou_pct") and column != "mean_iou_pct"]]
    assert cells.shape[1] == 21
    np.testing.assert_allclose(frame["mean of printed cells"], cells.mean(axis=1))
    wrong = (frame["mean of printed cells"] - frame["mean paper"]).abs() > 0.051
    assert frame["method"][wrong].tolist() == apart and f"{apart[0]}: cells average" in made[name].protocol


def test_classes_of_the_paper_are_shown_where_the_world_has_them():
    run = fake_run("quick", 1)
    run.world = SimpleNamespace(name="half of VOC", classes=("cat", "dragon", "dog"), seed=0)
    frame, printed = TABLES["table5"](run).frame, run.published("table5")
    assert list(frame.columns[-8:-1]) == ["background paper", "background ours", "cat paper", "cat ours",
                                          "dragon ours", "dog paper", "dog ours"]
    assert frame["dog paper"].dropna().tolist() == printed["dog_iou_pct"].tolist()


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
        assert row["val ours"] == pytest.approx(score(run, name))
        assert row["gain ours"] == pytest.approx(score(run, name) - score(run, "reference"))
        assert pd.isna(row["val + CRF ours"]) and run.route.prediction(name).settings["crf"] is None


def test_labelling_otherwise_and_full_supervision_are_compared_with_the_method(run, made):
    frame = made["switches"].frame
    known = score(run, "ours", tags="known")
    for name, against in (("reference", "psi = 0.5"), ("ours", "psi = 0.3")):
        row = frame[frame["changed"].str.contains("power 3") & (frame["compared with"] == against)]
        ours = score(run, name, power=3.0)
        assert row[["val ours", "gain ours"]].iloc[0].tolist() == pytest.approx([ours, ours - score(run, name)])
    scales = line(frame, changed="tags known, scales of App. F")
    expected = score(run, "ours", tags="known", exchanged=True)
    assert scales["compared with"] == "psi = 0.3, tags known"
    assert scales[["val ours", "gain ours"]].tolist() == pytest.approx([expected, expected - known])
    tags = line(frame, changed="tags known at test time")
    assert tags["gain ours"] == pytest.approx(known - score(run, "ours"))
    bound = line(frame, changed="plain DeepLabv3+ on the ground truth")
    full = mean_score(Evidence(run).second_confusions("full", "main"))
    assert bound[["val ours", "gain ours"]].tolist() == pytest.approx([full, full - score(run, "ours")])
    assert "masks" in bound["labels used"] and frame["labels used"].str.contains("masks").sum() == 1


def test_equal_scales_are_no_switch(made_of_photos):
    frame = made_of_photos["switches"].frame
    assert line(frame, changed="tags known, scales of App. F")["val 95 %"] == NOT_RUN
    assert frame.loc[frame["val ours"].notna(), "changed"].str.contains("psi|power|tags known").all()
