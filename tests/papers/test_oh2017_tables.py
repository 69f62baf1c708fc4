import numpy as np
import pytest
from fake_run import TablesRun, oh2017_routes
from table_parts import assert_in_intervals, line, mean_score

from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.confusion import precision_recall_of_labels
from wsss_lab.evaluation.precision_recall import BINS, mean_precision
from wsss_lab.lab.published import artifact_list
from wsss_lab.measure.tables import REFERENCE
from wsss_lab.papers.oh2017.tables import TABLES, guide_miou, miou, seeder_score

IMAGES, LABELS = 12, len(CLASSES) + 1
#: Headings of our tables, and the printed columns that they show.
PRINTED = {
    "table1": {"network": "network", "mP paper": "mean_precision_pct", "mAP paper": "classification_map_pct"},
    "table2": {"method": "method", "fg P paper": "guide_fg_precision_pct", "fg R paper": "guide_fg_recall_pct",
               "bg P paper": "guide_bg_precision_pct", "bg R paper": "guide_bg_recall_pct",
               "mIoU paper": "val_miou_pct"},
    "table3": {"method": "method", "val paper": "val_miou_pct", "test paper": "test_miou_pct",
               "FS% paper": "fully_supervised_pct"},
    **dict.fromkeys(("table4", "table5"), {"seeds": "seed_method", "guide": "guide_rule", "mIoU paper": "val_miou_pct",
                                           "delta paper": "delta_miou_pp"}),
}


def make(run: TablesRun, function: str, settings: dict) -> dict:
    counts = run.rng.integers(5, 15, (IMAGES, 3, LABELS, BINS))
    counts[:, 1, 0], counts[:, 2] = 0, counts[:, 2] // 3
    confusions = run.draw(8, IMAGES, LABELS, LABELS + 1)
    confusions[:, range(LABELS), range(LABELS)] += run.rng.integers(10, 90)
    return {"score_masks": {"confusions": confusions, "with_void": confusions + 1}, "score_maps": {"counts": counts},
            "score_saliency": {"counts": run.rng.integers(1, 90, (IMAGES, 4))},
            "classifier_outputs": {"scores": run.rng.normal(size=(IMAGES, len(CLASSES)))}}[function]


@pytest.fixture(scope="module")
def run():
    return TablesRun("oh2017", "quick", oh2017_routes(2), make, IMAGES)


@pytest.fixture(scope="module")
def made(run):
    return {name: table(run).frame for name, table in TABLES.items()}


def scored(run, *row, output="confusions") -> np.ndarray:
    return run.results.stack(lambda route: route.scored(*row)[output])


def test_every_table_of_the_paper_is_here():
    listed = artifact_list("oh2017")
    assert {*listed["id"][listed["kind"] == "table"]} <= set(TABLES)


@pytest.mark.parametrize("name", PRINTED)
def test_printed_columns_are_those_of_the_paper(run, made, name):
    printed = run.published(name)
    for heading, column in PRINTED[name].items():
        assert made[name][heading][:len(printed)].astype(object).fillna("-").tolist() == (
            printed[column].astype(object).fillna("-").tolist()), heading


def test_rows_are_scored_by_their_own_labels_and_networks(run, made):
    frame = made["table2"]
    for method, row in (("Seeds only", "seeds"), ("G0", "G0"), ("Saliency oracle", "oracle")):
        found = line(frame, method=method)
        assert found["mIoU ours"] == pytest.approx(mean_score(scored(run, row)))
        assert found["void as bg"] == pytest.approx(mean_score(scored(run, row, output="with_void")))
        quality = precision_recall_of_labels(run.results.stack(
            lambda route, row=row: route.score(route.guides_of(row), "train")["confusions"]).sum(1))
        for heading, value in {"fg P": quality.foreground.precision, "fg R": quality.foreground.recall,
                               "bg P": quality.precision[:, 0], "bg R": quality.recall[:, 0]}.items():
            assert found[f"{heading} ours"] == pytest.approx(100 * value.mean()), heading
    assert_in_intervals(frame["mIoU ours"], frame["95 %"])
    ours = line(made["table3"], method="G2")
    assert ours["val ours"] == pytest.approx(mean_score(scored(run, "G2", "v2"))) and ours["source"] == "measured"
    assert made["table3"]["val ours"].notna().tolist() == (made["table3"]["source"] == "measured").tolist()
    net = run.results.stack(lambda route: seeder_score(route, "ROI")["counts"])
    assert line(made["table1"], network="GAP-ROI")["mP ours"] == pytest.approx(100 * mean_precision(net.sum(1)).mean())


@pytest.mark.parametrize("name", ["table4", "table5"])
def test_deltas_are_against_the_row_that_the_paper_compares_with(run, made, name):
    frame = made[name]
    reference = mean_score(scored(run, "seeds, crf-loss v1", "v1"))
    np.testing.assert_allclose(frame["delta ours"], frame["mIoU ours"] - reference, atol=1e-9)
    assert (frame["delta 95 %"] == REFERENCE).tolist() == (frame["delta paper"] == 0).tolist()
    rows = {("GAP-ROI", "saliency G2"): ("ROI G2", "v2"), ("GAP-HighRes", "saliency G2"): ("G2", "v2")}
    for (seeds, guide), row in rows.items():
        assert line(frame, seeds=seeds, guide=guide)["mIoU ours"] == pytest.approx(mean_score(scored(run, *row)))


@pytest.mark.parametrize(("undecided", "expected"), [
    ("missed", (6 / 11, 5 / 12)), ("background", (8 / 15, 5 / 12)), ("left out", (6 / 9, 5 / 8))])
def test_undecided_pixels_of_a_guide_by_hand(undecided, expected):
    leaf, = guide_miou("G2", undecided).leaves
    found = leaf.per_seed(np.ones((1, 1)), np.array([[[[6, 2, 2], [1, 5, 4]]]]))
    assert found.item() == pytest.approx(np.mean(expected))


def test_a_mistyped_row_is_answered_with_the_closest():
    route, = oh2017_routes(1)
    (source,) = miou("oracel").sources
    with pytest.raises(ParameterError, match="unknown row 'oracel'") as caught:
        source(route)
    assert caught.value.fix == "did you mean 'oracle'?"
