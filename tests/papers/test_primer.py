"""The primer: its route, its tables and pictures, and the notebook itself."""

import re
import statistics
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from tiny_notebooks import write_notebook

from wsss_lab.data.views import EvalView
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.lab import notebooks, summary
from wsss_lab.measure.world_card import STATISTICS
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.primer import figures as pictures
from wsss_lab.papers.primer import route as primer
from wsss_lab.papers.shared_pictures import world_samples
from wsss_lab.refinement.dense_crf import V1

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "notebooks" / "0_primer.ipynb"
LONGEST_CELL, MEDIAN_CELL = 20, 8


@pytest.fixture
def notebook():
    return nbformat.read(PATH, as_version=4)


@pytest.fixture
def view():
    """Three pictures: a cat, a cat with a dog, and neither, the last two in the grass. There is no cow."""
    masks = np.zeros((3, 2, 4), np.uint8)
    masks[0, 0], masks[1, 0], masks[1, 1, :2] = 1, 1, 2
    contexts = np.zeros((3, 2, 4), np.uint8)
    contexts[1] = contexts[2] = 1
    contexts[1, 0], contexts[0] = 2, 255  # what lies on the objects is none of their surroundings
    tags = np.array([[True, False, False], [True, True, False], [False, False, False]])
    images = np.zeros((3, 2, 4, 3), np.uint8)
    return EvalView.from_arrays("drawn/val", ("cat", "dog", "cow"), ("a", "b", "c"), tags, images, "generator", masks,
                                contexts, ("grass", "sky"))


def test_its_steps_are_those_of_oh2017_so_that_they_are_computed_once():
    ours, theirs = primer.routes("toy", 2, world_seed=1), oh2017.routes("toy", 2, world_seed=1)
    for one, other in zip(ours, theirs, strict=True):
        assert [one.scored(name).key for name in primer.ROWS] == [other.scored(name).key for name in primer.ROWS]
    assert ours[0].scored("G2").key != ours[1].scored("G2").key


def test_a_paper_is_a_link_where_its_notebook_exists(tmp_path):
    write_notebook(tmp_path / "1_oh2017_guided.ipynb")
    lines = primer.matrix(tmp_path).splitlines()
    assert lines[0] == "| paper | seeds | saliency | fusion | refinement | segmenter |"
    assert lines[2].startswith("| [Oh et al. 2017](1_oh2017_guided.ipynb) | GAP networks, gradients | ")
    assert lines[4].startswith("| Roy and Todorovic 2017 | top-down attention | – | ")
    assert {line.count("|") for line in lines} == {len(primer.STAGES) + 2}


def test_the_table_of_classes_counts_pictures_pixels_and_company(view):
    cat, dog, cow = pictures.world_table(view, view).to_dict("records")
    assert (cat["images in train"], cat["images in val"], cat["share of picture (%)"]) == (2, 2, 50)
    assert (cat["with another class (%)"], cat["most frequent stuff"]) == (50, "grass (50 %)")
    assert (dog["images in val"], dog["share of picture (%)"], dog["with another class (%)"]) == (1, 25, 100)
    assert (cow["images in val"], cow["most frequent stuff"]) == (0, "–") and np.isnan(cow["share of picture (%)"])


def test_samples_show_a_new_picture_per_class(view):
    axes = world_samples(view).figure.axes
    assert len(axes) == 4 and axes[1].get_title() == "cat\ndog"  # two pictures above their masks


def test_every_knob_is_explained_and_every_turn_is_allowed():
    table = pictures.knob_table().set_index("knob")
    assert table.loc["noise", "what it does"].startswith("Standard deviation of the pixel noise")
    assert table["what it does"].str.len().min() > 10
    assert set(pictures.KNOB_TURNS) <= set(table.index)
    for name, turns in pictures.KNOB_TURNS.items():
        assert all(getattr(pictures.Knobs(**{name: turn}), name) == turn for turn in turns)


def test_each_library_that_is_here_scores_the_pair_as_was_found_and_ours_leaves_the_class_out():
    truth = np.array([[0, 0, 1], [0, 1, 1], [255, 2, 2]], np.uint8)
    guess = np.array([[0, 1, 1], [0, 1, 1], [2, 2, 0]], np.uint8)
    table = primer.score_table(guess, truth, classes=4).set_index("call")
    assert table.loc["mean_iou", ["absent class", "measured"]].tolist() == ["left out", "by this run"]
    assert table.loc["mean_iou", "mIoU"] == pytest.approx(7 / 12)
    kept = pd.read_csv(ROOT / "findings" / "absent_class.csv").set_index("call")["mIoU"]
    here = primer.library_scores(guess, truth, 4)
    assert here == pytest.approx({call: kept[call] for call in here}, abs=1e-4)
    found = dict(zip(table.index, table["absent class"]))
    assert found["MeanIoU ignore_empty=False"] == "counted as 1"
    assert found["jaccard_score average=macro labels=range(4)"] == "counted as 0"
    assert set(primer.score_table(truth, truth, classes=4)["call"]) == {"mean_iou", *here}  # kept for that pair alone


def test_a_crf_without_pairs_changes_nothing_however_it_is_asked_and_one_with_pairs_eats_a_pixel(view):
    maps = np.zeros((2, 3, 2, 4), np.float32)
    maps[:, 0, 0, 1] = 0.3  # one pixel of cat, which the colours tell from nothing
    alone = primer.crf_table(view, maps, 0.2, replace(V1, bilateral_weight=0, spatial_weight=0))
    assert len(alone) == 4 + len(primer.ASKED_AGAIN) and not alone["changed (%)"].any()
    assert alone["IoU of tags (%)"].tolist() == pytest.approx([(25 + (25 + 0) / 2) / 2] * len(alone))
    pulled = primer.crf_table(view, maps, 0.2, V1).set_index("labels of")
    assert pulled.loc["CRF, sure belief", ["changed (%)", "IoU of tags (%)"]].tolist() == [12.5, 0]
    assert pulled.loc["CRF, sure belief", "better / worse than seeds"] == "0 / 2"


def test_the_recall_of_maps_is_read_where_they_are_precise_enough():
    counts = np.zeros((3, 2, 4), np.int64)  # four pixels of a cat, which maps see from the second of four bins on
    counts[:, 1] = [0, 4, 0, 0], [0, 5, 2, 1], [0, 2, 1, 1]
    # Precision and recall from the bins 3, 2 and 1 on: 1/1 and 1/4, 2/3 and 2/4, 4/8 and 4/4.
    assert [primer.recall_at(sweep(counts), level) for level in (0.5, 0.6, 0.9)] == [1, 0.5, 0.25]
    counts[2] = 0
    assert np.isnan(primer.recall_at(sweep(counts), 0.5))


def test_the_card_puts_photographs_beside_the_world_and_says_where_it_lies(tmp_path, monkeypatch):
    sums = np.zeros((4, len(STATISTICS), 2))
    sums[:, :3] = [[2, 1], [8, 2], [50, 1]]
    seen = pd.DataFrame([("a", "classes", 1, 0.5, 1.5, "4 images"), ("b", "classes", 2.5, 2, 3, "5 images"),
                         ("a", "objects", 3, 2, 3.5, "4 images")],
                        columns=["world", "statistic", "value", "low", "high", "source"])
    seen.to_csv(tmp_path / "card.csv", index=False)
    monkeypatch.setattr(primer, "CARD", str(tmp_path / "card.csv"))
    monkeypatch.setattr(primer, "card_step", lambda route: "card")
    monkeypatch.setattr(primer, "seeder_score", lambda route, name: "maps")
    view = SimpleNamespace(count=4)
    run = SimpleNamespace(route=None, world=SimpleNamespace(name="drawn", eval_view=lambda split: view),
                          load={"card": {"sums": sums}, "maps": {"counts": np.ones((1, 3, 2, 4))}}.get)
    made = primer.card_table(run)
    rows = made.frame.set_index("statistic")
    assert [*rows.index] == [*STATISTICS, primer.RECALL] and rows["mean over"].str.len().min() > 5
    columns = ["drawn", "a", "b", "lies"]
    assert rows.loc["classes", columns].tolist() == [2, 1, 2.5, "within"]
    assert rows.loc["objects", "lies"] == "above" and rows.loc["object size (%)", "drawn"] == 50
    assert pd.isna(rows.loc["object size (%)", "lies"])  # of which nothing is known of photographs
    assert made.protocol.startswith("drawn: the first 4 val images") and "; a: 4 images; b: 5 images." in made.protocol


def test_the_card_was_read_as_it_is(notebook):
    (text,) = (cell.source for cell in notebook.cells if "**Reading the card**" in cell.source)
    notes, rows = re.findall(r"<!-- card: (.*) -->", text), pd.read_csv(ROOT / "figures/toy/primer/table_card.csv")
    rows = rows.drop(columns="mean over").set_index("statistic")
    italics = re.findall(r"\*([^*]+)\*", text.partition("card**")[2].replace("\n", " "))
    named = [name for name in italics if name in rows.index]
    expected = "; ".join(f"{name} {rows.loc[name, 'lies']}, " + " ".join(
        f"{value:.2g}" for value in rows.loc[name].drop("lies")) for name in named)
    assert len(named) >= 8 and notes == [expected], f"read the text again, then put <!-- card: {expected} --> into it"


def test_beliefs_agree_in_their_labels_and_only_one_is_certain(view):
    maps = np.array([[[0, 0.1, 0.3, 1]], [[0, 0, 0.5, 0]], [[0, 0, 0, 0]]])
    sure, doubtful = primer.beliefs(maps, view.tags[1], 0.2).values()
    assert sure.sum(0) == pytest.approx(1) and sure[0, 0].tolist() == pytest.approx([1, 2 / 3, 0.2, 1 / 6])
    assert doubtful[0, 0, 0] == pytest.approx(np.e / (np.e + 2))
    assert primer.label_map(sure, view.tags[1]).tolist() == [[0, 0, 2, 1]]
    assert (sure.argmax(0) == doubtful.argmax(0)).all()


def test_the_parameters_are_those_that_every_notebook_has():
    parameters = notebooks.notebook_parameters(PATH)
    assert {name: each["default"] for name, each in parameters.items()} == {
        "profile": '"lesson"', "seeds": "1", "world_seed": "0", "device": '"auto"', "jobs": "0",
        "figures": '"figures/own"'}
    assert all(each["help"] for each in parameters.values())


def test_it_is_committed_without_results_and_its_cells_are_short(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    lines = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code]
    assert max(lines) <= LONGEST_CELL and statistics.median(lines) < MEDIAN_CELL


def test_what_it_promises_is_what_its_cells_save(notebook):
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert sorted(re.findall(r'"((?:fig|table)_\w+)"', source)) == sorted(primer.PROMISED)


def solutions(notebook) -> list[str]:
    """The code of the exercises' solutions."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_it_runs_in_profile_quick_and_so_do_the_solutions(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "store"))
    assert len(solutions(notebook)) == 3
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in solutions(notebook)]
    nbformat.write(notebook, tmp_path / PATH.name)
    parameters = {"profile": "quick", "jobs": 1, "figures": str(tmp_path / "figures")}
    outcome = notebooks.run_notebook(notebooks.Notebook(tmp_path / PATH.name, 0, "primer"), parameters,
                                     tmp_path / "executed.ipynb")
    assert outcome.failure is None, outcome.failure
    report = summary.report(outcome, tmp_path / "figures" / "quick" / "primer", primer.PROMISED, {})
    assert report.good, report.lacking
