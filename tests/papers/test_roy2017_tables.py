"""The tables of Roy & Todorovic 2017, made from made-up results of the right shapes."""

import numpy as np
import pandas as pd
import pytest
from fake_run import FakeRun, TablesRun, roy2017_routes
from sklearn.metrics import balanced_accuracy_score
from table_parts import assert_sound, mean_score

from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.evaluation.precision_recall import average_precisions
from wsss_lab.lab.published import artifact_list
from wsss_lab.measure.tables import NOT_RUN
from wsss_lab.papers.roy2017.route import AGGREGATIONS, BASELINES, OPTIONS
from wsss_lab.papers.roy2017.tables import OURS, READINGS, TABLES, balanced_accuracy, confusions, scores
from wsss_lab.papers.shared_tables import NO_TEST
from wsss_lab.seeds.rectified_gaussian import MODES

IMAGES, LABELS, GRID = 12, len(CLASSES) + 1, (3, 4)
CELLS = GRID[0] * GRID[1]
ALL = TABLES


def fake_run(profile: str = "quick", seeds: int = 2) -> TablesRun:
    return TablesRun("roy2017", profile, roy2017_routes(profile, seeds), make, IMAGES)


def make(run: FakeRun, function: str, settings: dict) -> dict:
    if function == "gaussian_study":
        even, alone = np.ones(GRID), np.zeros(GRID)
        alone[1, 2] = 3
        maps = np.array([[alone] * 2, [even + alone] * 2, [even, 2 * even], [even, even]], np.float32)
        spectra = np.linspace([[-5, -6], [-0.9, -0.8]], [[1.5, 0.5], [-0.1, -0.2]], CELLS, axis=-1)
        return {"maps": maps, "residual": np.array([[0, 0], [0.25, 0.5], [1e-8, 3e-8], [0, 0]]),
                "active": np.array([[1 / CELLS] * 2, [0.5, 0.25], [1, 1], [1, 1]]), "eigenvalues": spectra}
    counted = run.draw(8, IMAGES, LABELS, LABELS + 1)
    counted[:, range(LABELS), range(LABELS)] += run.rng.integers(10, 90)
    return {"score_masks": {"confusions": counted},
            "segment_fusion": {"scores": run.rng.normal(size=(IMAGES, LABELS)).astype(np.float32)}}[function]


def score(run, row: str = "full", split: str = "val") -> float:
    """Mean over seeds of the mean IoU of a row of ROWS or a network of TAUGHT, in per cent."""
    return mean_score(run.results.stack(confusions(row, split)))


def test_every_table_of_the_paper_and_the_values_of_its_text_are_here():
    listed = artifact_list("roy2017")
    assert list(TABLES) == [*listed["id"][listed["published_csv"].notna()], "options", "study", "when"]


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("table4", "study")])
def test_a_table_is_sound(made, name):
    table = made[name]
    assert_sound(table, f"toyvoc {'test' if name == 'table3' else 'val'} (12 images, longer side 64; 12 for training), "
                 "2 training seed(s)", "image tags not used at test time", "one scale", "The CRF-RNN is a part of the",
                 "bootstrap over images, Student's t over seeds", "Start weights: pre-trained on drawn crops")
    assert "Labels that training rests on: image tags." in table.protocol or "labels used" in table.frame


def test_a_profile_that_leaves_rows_out_says_so(made, made_of_photos):
    for name in ("table1", "table2", "table5", "text-values", "options"):
        assert (NOT_RUN in made_of_photos[name].frame.to_string(), NOT_RUN in made[name].frame.to_string()) == (
            True, False), name
    first = made_of_photos["table1"].frame.set_index("id")
    assert list(first.index[first["val ours"].isna()]) == ["B3"] and first["val 95 %"]["B3"] == NOT_RUN
    assert first["test ours"].isna().all() and set(first["test 95 %"]) == {NO_TEST}
    assert f"Test: {NO_TEST}." in made_of_photos["table1"].protocol
    classes = made_of_photos["table2"].frame.set_index("method")
    assert classes["mean ours"].dropna().index.tolist() == ["Our approach", "w/o att (B1)"]
    assert classes[["gain ours", "gain 95 %"]].isna().all(axis=None)  # without its competitor
    test = made_of_photos["table3"]
    assert set(test.frame.set_index("method").loc[list(OURS), "95 %"]) == {NO_TEST}
    assert "nothing is measured in this profile" in test.protocol and "ours: " not in test.protocol


# --- Tables 1 and 5 --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, rows, ids, change", [
    ("table1", tuple(BASELINES), ["B1", "B2", "B3", "B4", "B5", "B6", "full"], -22.3),
    ("table5", (*AGGREGATIONS, "full"), ["GMP", "GAP", "LSE", "FCL"], -4.5),
])
def test_printed_rows_stand_in_order_beside_ours_and_changes_are_against_the_last(run, made, name, rows, ids, change):
    frame, printed = made[name].frame, run.published(name)
    assert list(frame["id" if name == "table1" else "aggregation"]) == ids
    for split in ("val", "test"):
        assert frame[f"{split} paper"].tolist() == printed[f"{split}_miou_pct"].tolist()
        assert frame[f"{split} ours"].tolist() == pytest.approx([score(run, row, split) for row in rows])
        for of in ("paper", "ours"):
            found, values = frame[f"{split} change {of}"], frame[f"{split} {of}"]
            np.testing.assert_allclose(found[:-1], values[:-1] - values.iloc[-1])
            assert np.isnan(found.iloc[-1])
        assert frame[f"{split} change 95 %"].iloc[-1] == "reference"
    assert frame["val change paper"].iloc[0] == pytest.approx(change)
    assert list(printed.iloc[:-1, 0]) == [f"{row}" for row in rows[:-1]]  # by their printed names


def test_table5_measures_each_classifier(run, made):
    frame, tags = made["table5"].frame, run.view("val").tags
    for row, mean, right in zip((*AGGREGATIONS, "full"), frame["mAP ours"], frame["predicted ours"], strict=True):
        precisions, accuracies = [], []
        for found in run.results.stack(scores(row))[..., 1:]:
            precisions.append(np.nanmean(average_precisions(found, tags)))
            predicted = (found > 0) | (found == found.max(1, keepdims=True))
            accuracies.append(np.mean([balanced_accuracy_score(*pair) for pair in zip(tags.T, predicted.T)]))
        assert mean == pytest.approx(100 * np.mean(precisions)) and right == pytest.approx(100 * np.mean(accuracies))


def test_balanced_accuracy_is_the_mean_of_recall_and_specificity_of_classes_that_have_both():
    one, always = [[3, 1], [2, 6]], [[0, 0], [1, 9]]
    assert balanced_accuracy(np.array([one])) == pytest.approx((3 / 4 + 6 / 8) / 2)
    assert balanced_accuracy(np.array([one, always])) == balanced_accuracy(np.array([one]))


# --- Tables 2, 3 and 4 -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, split, over_sec, apart", [
    ("table2", "val", 2.1, ["EM", "CCNN", "SEC"]), ("table3", "test", 2.0, ["CCNN", "Our approach"])])
def test_class_tables_quote_and_measure_and_never_mix(run, made, name, split, over_sec, apart):
    frame, printed = made[name].frame.set_index("method"), run.published(name).set_index("method")
    assert list(frame.index) == [*printed.index, *list(OURS)[1:]]
    assert frame["mean paper"].dropna().tolist() == printed["mean_iou_pct"].tolist()
    quoted, ours = frame[frame["source"] == "quoted"], frame[frame["source"] == "measured"]
    measured = [column for column in frame if column.endswith((" ours", "95 %"))]
    assert quoted[measured].isna().all(axis=None) and {*quoted.index} == {*printed.index} - {"Our approach"}
    values = pd.Series({method: score(run, row, split) for method, row in OURS.items()})
    np.testing.assert_allclose(ours["mean ours"], values)
    np.testing.assert_allclose(ours[[f"{label} ours" for label in ("background", *CLASSES)]].mean(axis=1), values)
    means = frame["mean of printed cells"][printed.index]
    np.testing.assert_allclose(means, printed.filter(like="_iou_pct").drop(columns="mean_iou_pct").mean(axis=1))
    assert list(printed.index[(means - printed["mean_iou_pct"]).abs() > 0.0505]) == apart
    assert all(f"{method}: " in made[name].protocol for method in apart)
    # Gains: over SEC in print, over its likeness here.
    assert frame["gain paper"].dropna().round(9).to_dict() == {"Our approach": over_sec}
    expected = (values - values["SEC-like"]).drop("SEC-like").to_dict()
    assert frame["gain ours"].dropna().to_dict() == pytest.approx(expected)
    assert frame["gain 95 %"]["SEC-like"] == "reference"
    assert list(frame.index[frame["labels used"].str.contains("masks", na=False)]) == ["full supervision"]


# --- values of the text and other readings ---------------------------------------------------------------------------

def test_values_of_the_text_are_those_of_this_collection(run, made):
    frame, printed = made["text-values"].frame, run.published("text_values")
    stated, counted = frame[:len(printed)].set_index("quantity"), frame[len(printed):]
    assert stated["value paper"].tolist() == printed["value"].tolist()
    ours = stated["value ours"].dropna()
    assert len(ours) == 4 and (ours == stated["value paper"][ours.index]).all()
    assert "0.527 beside each other, 0.278 across a corner" in stated["what follows"]["sigma_z (location)"]
    assert f"{np.exp(-2 / 900):.3f} or above" in stated["what follows"]["sigma_r (HSV histogram)"]
    counts = [int(text.split()[0]) for text in counted["quantity"]]
    assert counts == [0, 1, 2, 3, 5, 10]
    rows = ["full" if count == 3 else f"{count} iterations" for count in counts]
    assert counted["val ours"].tolist() == pytest.approx([score(run, row) for row in rows])
    assert counted["val change 95 %"].tolist().index("reference") == 3


def test_options_compare_every_other_reading_with_the_full_approach(run, made):
    frame = made["options"].frame
    rows = [row for row, *_ in READINGS]
    assert set(rows) == {*OPTIONS, "tags known", "image-level prior"} and len(rows) == len(set(rows))
    assert frame["val ours"].tolist() == pytest.approx([score(run, row) for row in ("full", *rows)])
    np.testing.assert_allclose(frame["val change ours"][1:], frame["val ours"][1:] - frame["val ours"][0])
    apart = dict(zip(rows, frame["trained apart"][1:]))
    assert [row for row in rows if not apart[row]] == ["tags known", "image-level prior"]


# --- the rectified Gaussian ------------------------------------------------------------------------------------------

def test_study_by_hand():
    run = fake_run("quick", 1)
    frame = TABLES["study"](run).frame.set_index("mode")
    assert {step.function.__name__ for step in run.loaded} == {"gaussian_study"}
    assert not run.route.study().pixel_labels()
    assert list(frame.index) == list(MODES) and set(frame["of"]) == {CELLS}
    assert frame["residual"].tolist() == ["0", "0.5", "3e-08", "0"]
    assert frame["active % least"].tolist() == pytest.approx([100 / CELLS, 25, 100, 100])
    assert frame["active % most"].tolist() == pytest.approx([100 / CELLS, 50, 100, 100])
    assert frame["active %"]["steps"] == pytest.approx(37.5)
    literal = run.load(run.route.study()["eigenvalues"])[0]
    expected = np.mean([sum(value > 0 for value in each) for each in literal])
    assert 0 < expected < CELLS
    assert frame["positive eigenvalues"].tolist() == [expected, expected, 0, 0]
    assert frame["largest eigenvalue"].tolist() == pytest.approx([1.5, 1.5, -0.1, -1])
    # One cell alone, eleven ones and a four, even maps.
    assert frame["spread %"].tolist() == pytest.approx([100 / CELLS, 100 * 15 ** 2 / (CELLS * (11 + 16)), 100, 100])
