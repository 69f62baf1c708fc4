"""The figures of Chaudhry et al. 2017, drawn from made-up results of the right shapes."""

import numpy as np
import pytest
from fake_run import FakeRun, chaudhry2017_routes
from figure_parts import assert_all_described, legend, panels, read_of_seed_one, rows_shown, words

from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.object_recall import object_recall
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.papers.chaudhry2017.figures import FIGURES, LADDER, Pictures
from wsss_lab.papers.chaudhry2017.tables import agreement, miou, objects_found

IMAGES, LABELS, BINS = 24, len(CLASSES) + 1, 8


def make(run: FakeRun, function: str, settings: dict) -> dict:
    draw, area = run.draw, 1 + run.draw(99, IMAGES, 3)
    losses = {"history": np.linspace(3, 1, 40).tolist()}
    maps = {"maps": run.rng.normal(size=(IMAGES, len(CLASSES), 8, 8)).astype(np.float16)}
    first = run.draw_frames(255, IMAGES)
    second = np.maximum(first, run.draw_frames(255, IMAGES))
    hierarchy = {"S1": first, "S2": second, "S3": np.maximum(second, run.draw_frames(255, IMAGES))}
    return {
        "attention_outputs": maps, "train_attention": losses, "network_hierarchy": hierarchy,
        "u2net_hierarchy": hierarchy,
        "train_joint": losses | {"classification": np.linspace(1, 0.5, 40).tolist(),
                                 "pixel": np.linspace(2, 0.5, 40).tolist()},
        "segment_multiscale": {"masks": run.draw_frames(LABELS - 1, IMAGES)},
        "score_masks": {"confusions": draw(9, IMAGES, LABELS, LABELS + 1) * draw(1, IMAGES, LABELS, LABELS + 1)},
        "score_objects": {"counts": np.stack([(area * run.rng.random(area.shape)).astype(int), area], -1)},
        "score_agreement": {"counts": 5 + draw(9, IMAGES, 3, LABELS, BINS)},
    }[function]


def fake_run(profile: str = "quick", seeds: int = 2) -> FakeRun:
    return FakeRun("chaudhry2017", profile, chaudhry2017_routes(profile, seeds), make, IMAGES)


# --- all figures -----------------------------------------------------------------------------------------------------

EXPECTED = {"fig1": 15, "fig2": 1, "fig3": 30, "fig4": 32, "fig5": 32, "table3": 28, "attention_pooling": 28,
            "hierarchy": 1, "erasing_curves": 1, "gamma_curves": 1, "ladder": 1, "per_class": 2, "learning_curves": 1,
            "when_curves": 2}


def test_figures_are_complete_and_described(run, figures, of_photos):
    assert_all_described("chaudhry2017", figures, of_photos, EXPECTED, {"fig2"})
    assert read_of_seed_one(run) == {"score_masks", "score_objects", "score_agreement"}


# --- pictures --------------------------------------------------------------------------------------------------------

def test_fig1_shows_the_image_near_the_top_of_what_erasing_finds(run, figures):
    (index,) = rows_shown(run.scenes["images"], figures["fig1"].figure, [0])
    first, last = (np.asarray(run.load(run.route.objects_found(step, "train")["counts"]), float)
                   for step in ("S1", "S3"))
    gain = {i: (last[i, 1, 0] / last[i, 1, 1]) - (first[i, 1, 0] / first[i, 1, 1])
            for i in np.flatnonzero(run.scenes["tags"].sum(1) == 2)}
    better = sum(value > gain[index] for value in gain.values())
    assert len(gain) > 4 and abs(better / (len(gain) - 1) - 0.1) <= 0.5 / (len(gain) - 1)


def test_maps_of_a_tag_are_bordered_where_they_would_make_a_cue(run):
    train, gamma = Pictures(run, "train"), run.route.scale.gamma
    label = int(np.flatnonzero(run.scenes["tags"][3])[0]) + 1
    attention, both, saliency = (train.agreement(label, "", 3), train.agreement(label, "S2", 3),
                                 train.saliency_map("S2", 3))
    assert (attention.data.min(), attention.data.max()) == pytest.approx((0, 1))
    alone = gamma / (2 - gamma)  # with full saliency
    sure = np.abs(attention.data - alone) > 1e-5
    np.testing.assert_array_equal(attention.outline[sure], (attention.data >= alone)[sure])
    weaker = np.minimum(attention.data, saliency)
    assert np.all(both.data <= 2 * weaker + 1e-6) and np.all(both.data >= weaker - 1e-6)
    np.testing.assert_array_equal(both.outline, both.data >= gamma)


def test_ground_truth_of_one_class_keeps_void(run):
    mask, label = run.scenes["masks"][3], int(np.flatnonzero(run.scenes["tags"][3])[0]) + 1
    shown = Pictures(run, "train").truth_of(label, 3).data
    assert set(np.unique(shown)) == {0, label, 255}
    np.testing.assert_array_equal(shown == label, mask == label)
    np.testing.assert_array_equal(shown == 255, mask == 255)


def test_table3_goes_from_the_largest_gain_to_the_largest_loss(run, figures):
    first, last = (mean_iou(run.load(run.route.scored(row)["confusions"])) for row in ("S1 + adapt", "S3 + adapt"))
    gain = (last - first)[rows_shown(run.scenes["images"], figures["table3"].figure, range(7))]
    assert gain[0] == (last - first).max() and gain[-1] == (last - first).min() and np.all(np.diff(gain) <= 0)
    assert words(figures["table3"].figure)[0] == f"{100 * gain[0]:+.0f} pp"


@pytest.mark.parametrize(["name", "crf"], [("fig4", True), ("fig5", False)])
def test_adapting_is_shown_where_it_removes_most(run, figures, name, crf):
    def confusions(row: str) -> np.ndarray:
        return run.load(run.route.scored(row, crf)["confusions"])

    def wrong(i: int, row: str) -> float:
        background = confusions(row)[i, 0]
        return background[1:-1].sum() / background.sum()

    def extra(i: int, row: str) -> int:
        counts = confusions(row)[i]
        return sum(counts[:, label].sum() > 0 and counts[label].sum() == 0 for label in range(1, LABELS))

    def removed(count, i: int) -> float:
        return sum(count(i, step) - count(i, f"{step} + adapt") for step in ("S1", "S2", "S3"))

    shown = rows_shown(run.scenes["images"], figures[name].figure, range(0, 32, 8))
    others = set(range(IMAGES)) - set(shown[:2])
    assert shown[:2] == sorted(range(IMAGES), key=lambda i: -removed(wrong, i))[:2]
    assert len(set(shown)) == 4
    assert sorted((removed(extra, i) for i in shown[2:]), reverse=True) == sorted(
        (removed(extra, i) for i in others), reverse=True)[:2]
    counted = [sum(extra(shown[2], row) for row in rows) for rows in (("S1", "S2", "S3"),
               ("S1 + adapt", "S2 + adapt", "S3 + adapt"))]
    assert f"classes that\naren't there\n{counted[0]} → {counted[1]}" in words(figures[name].figure)


def test_what_a_profile_leaves_out_is_named(monkeypatch, figures):
    monkeypatch.setattr("wsss_lab.papers.chaudhry2017.route._PHOTO_ROWS", ("S1", "S1 + adapt", "S3", "S3 + adapt"))
    for name in ("fig4", "fig5"):
        drawn = FIGURES[name](fake_run("photos", 1))
        assert "Not trained in this profile: S2." in drawn.alt and len(panels(drawn.figure)) == 4 * 6
    assert not any("Not trained" in drawn.alt for drawn in figures.values())


def test_both_kinds_of_pooling_are_shown_on_the_same_images(run, figures):
    axes = panels(figures["attention_pooling"].figure)
    val, indices = Pictures(run, "val"), rows_shown(run.scenes["images"], figures["attention_pooling"].figure, range(7))
    for row, pooling in ((1, "average"), (2, "max")):
        for place, index in enumerate(indices):
            drawn = np.asarray(axes[7 * row + place].images[-1].get_array())
            np.testing.assert_array_equal(drawn, val.attention_maps(index, pooling).max(0))
    assert len(set(indices)) == 7


# --- charts ----------------------------------------------------------------------------------------------------------

def test_hierarchy_draws_the_pooled_recall_of_each_rank(run, figures):
    (axes,) = figures["hierarchy"].figure.axes
    assert legend(axes) == ["S1", "S2", "S3"]
    for step, bars in zip(("S1", "S2", "S3"), axes.containers):
        expected = 100 * object_recall(run.results.stack(objects_found(step))).mean(0)
        np.testing.assert_allclose([bar.get_height() for bar in bars], expected)
    assert [label.get_text() for label in axes.get_xticklabels()][0] == f"largest object\nof {IMAGES} images"


def test_gamma_curves_are_means_over_seeds_with_a_dot_for_each_seed(run, figures):
    (axes,) = figures["gamma_curves"].figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    for mean in ("harmonic", "geometric", "arithmetic"):
        curves = 100 * sweep(run.results.stack(agreement(mean)).sum(1)).mean_iou
        np.testing.assert_allclose(lines[f"{mean} mean"].get_ydata(), curves.mean(0))
    dots = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    chosen = [sweep(each.sum(0)).best_threshold()[0] for each in run.results.stack(agreement(split="tuning"))]
    np.testing.assert_allclose(dots[0].get_xdata(), chosen)
    assert {len(dot.get_xdata()) for dot in dots} == {run.seeds} and "γ chosen on dev" in lines
    lines = {line.get_label(): line for line in figures["erasing_curves"].figure.axes[0].lines}
    for step in ("S1", "S2", "S3"):
        curves = 100 * sweep(run.results.stack(agreement(kind=step)).sum(1)).mean_iou
        np.testing.assert_allclose(lines[step].get_ydata(), curves.mean(0))
    assert "the paper's γ, 0.4" in lines


def test_ladder_has_the_printed_value_beside_ours_and_a_dash_for_what_a_profile_leaves_out(run, figures, of_photos):
    (axes,) = figures["ladder"].figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    paper, ours = (dict(zip(names, line.get_xdata())) for line in axes.lines)
    assert {name: value for name, value in paper.items() if not np.isnan(value)} == {
        "Algorithm 1 as the answer": 48.3, "S1": 55.4, "S1 + adapt": 55.7, "S2 + adapt": 59.5, "S3": 58.5,
        "S3 + adapt": 59.5, "S3 + adapt + CRF": 60.8, "VGG: S3 + adapt": 56.5, "VGG: G2 (Oh et al.)": 51.2}
    assert ours["S3 + adapt + CRF"] == pytest.approx(miou("S3 + adapt", True).value(run.results))
    assert not np.isnan(list(ours.values())).any()
    photos = of_photos["ladder"].figure.axes[0]  # without full supervision, which is neither printed nor run
    assert [label.get_text() for label in photos.get_yticklabels()] == [*LADDER][:-1]
    left_out = dict(zip(LADDER, photos.lines[1].get_xdata()))
    assert [name for name, value in left_out.items() if np.isnan(value)] == ["VGG: S3 + adapt", "VGG: G2 (Oh et al.)"]


def test_per_class_shows_the_rows_that_are_trained(figures, of_photos):
    rows = [[label.get_text() for label in drawn["per_class"].figure.axes[0].get_yticklabels()]
            for drawn in (figures, of_photos)]
    adapted = ["S1 + adapt", "S2 + adapt", "S3 + adapt"]
    assert rows == [[*adapted, "full supervision"], adapted]


def test_learning_curves_put_the_stages_one_after_the_other(figures):
    (axes,) = figures["learning_curves"].figure.axes
    spans = [(int(line.get_xdata()[0]), int(line.get_xdata()[-1])) for line in axes.lines if line.get_lw() == 1.6]
    assert spans == [(1, 40), (41, 80), (41, 80), (81, 120), (81, 120)]
    assert legend(axes) == ["classification loss", "pixel loss"]
    assert "classification loss 0.5" in figures["learning_curves"].alt
