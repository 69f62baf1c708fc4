"""The figures of Roy & Todorovic 2017, drawn from made-up results of the right shapes."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fake_run import FakeRun, roy2017_routes
from figure_parts import assert_all_described, panels, read_of_seed_one, rows_shown, shown, words
from matplotlib.colors import to_hex

from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.data.views import EvalView
from wsss_lab.evaluation.confusion import mean_iou, per_image_confusions
from wsss_lab.lab.charts import OUR_COLOUR, PAPER_COLOUR
from wsss_lab.lab.plots import colour_mask
from wsss_lab.lab.steps import Output, Step
from wsss_lab.papers.roy2017.figures import FIGURES, Pictures
from wsss_lab.papers.roy2017.route import BASELINES, PARENTS
from wsss_lab.seeds.rectified_gaussian import MODES

IMAGES, LABELS, GRID, CELLS, RADIUS = 24, len(CLASSES) + 1, 8, 12, 3


class ScoredRun(FakeRun):
    """Labels are made up, their scores are not. Photographs are wider than high: their canvases have margins."""

    def load(self, item: Step | Output):
        step = item.step if isinstance(item, Output) else item
        if step.stage == "evaluation" and step not in self.made:
            self.loaded[step] = None
            inputs = {name: self.load(value) for name, value in step.inputs.items() if name != "view"}
            self.made[step] = step.function(self.view("val"), **inputs, **step.settings)
        return super().load(item)

    def view(self, split: str) -> EvalView:
        rows, names = 48 if self.profile == "photos" else 64, [f"{split}{number}" for number in range(self.images)]
        return EvalView.from_arrays(split, CLASSES, names, self.scenes["tags"], self.scenes["images"][:, :rows],
                                    "generator", masks=self.scenes["masks"][:, :rows])


def make_segment_fusion(run: FakeRun, _settings: dict) -> dict:
    """Labels that are right in about a quarter of 16 squares."""
    right = run.draw_frames(3, IMAGES) == 1
    truth = np.where(run.scenes["masks"] == 255, 0, run.scenes["masks"])
    frames = {name: np.where(right, truth, run.draw_frames(LABELS - 1, IMAGES)).astype(np.uint8)
              for name in ("masks", "refined")}
    rows = run.view("val").size(0)[0]
    return {name: each[:, :rows] for name, each in frames.items()} | {
        "scores": run.rng.normal(size=(IMAGES, LABELS)).astype(np.float32)}


def make_attention_maps(run: FakeRun, settings: dict) -> dict:
    present = np.concatenate([np.ones((IMAGES, 1), bool), run.scenes["tags"]], 1)
    if settings["method"]["attention"]["neighbours"] == "none":
        present[:6, 1:] = False
    maps = (run.rng.random((IMAGES, LABELS, GRID, GRID)) ** 4 + 1e-9) * present[..., None, None]
    return {"maps": (maps / maps.sum(1, keepdims=True)).astype(np.float16)}


def make_gaussian_study(run: FakeRun, settings: dict) -> dict:
    count = len(settings["images"])
    maps = run.rng.random((len(MODES), count, CELLS, CELLS)).astype(np.float32)
    maps[0] = 0
    maps[0, :, 3, 5] = 7
    weights = run.rng.random((count, (2 * RADIUS + 1) ** 2, CELLS, CELLS)).astype(np.float32)
    eigenvalues = np.sort(run.rng.random((2, count, CELLS**2)), -1)
    eigenvalues[0, :, 0] = -140
    eigenvalues[1] -= 1.1
    return {"b": maps[3], "maps": maps, "similarity": weights, "eigenvalues": eigenvalues,
            "residual": np.array([[0.0], [0.3], [6e-8], [0]]).repeat(count, 1),
            "active": np.array([[1 / CELLS**2], [0.25], [1], [1]]).repeat(count, 1)}


def make_train_fusion(run: FakeRun, settings: dict) -> dict:
    total, late = settings["schedule"]["iterations"], settings["schedule"]["iterations"] - settings["warm_up"]
    return {"curves": {"classification": run.rng.random(total).tolist(),
                       "segmentation": [0.0] * settings["warm_up"] + (1 + run.rng.random(late)).tolist()}}


def fake_run(profile: str = "quick", seeds: int = 2) -> FakeRun:
    return ScoredRun("roy2017", profile, roy2017_routes(profile, seeds),
                     lambda run, function, settings: globals()[f"make_{function}"](run, settings), IMAGES)


def confusions(run, row: str = "full", seed: int = 0) -> np.ndarray:
    return np.asarray(run.load(run.routes[seed].scored(row)["confusions"]), float)


def attention(run, index: int, how=None) -> np.ndarray:
    """Attention on the pixels of a square image whose canvas is the image itself."""
    maps = run.load(run.route.attention("full", how)["maps"])[index].astype(np.float32)
    return F.interpolate(torch.tensor(maps)[None], size=(64, 64), mode="bilinear", align_corners=False)[0].numpy()


def largest_class(run, index: int) -> int:
    mask = run.scenes["masks"][index]
    return max(range(1, LABELS), key=lambda label: (mask == label).sum())


EXPECTED = {"fig1": 1, "fig2": 14, "fig3": 1, "fig4": 32, "fig5": 8, "gaussian_study": 22, "similarity": 12,
            "baselines": 1, "learning_curves": 2, "iterations": 2, "when_curves": 2}


def test_figures_are_complete_and_described(run, figures, of_photos):
    assert_all_described("roy2017", figures, of_photos, EXPECTED, {"fig1", "fig3"})
    assert read_of_seed_one(run) == {"score_masks", "segment_fusion", "train_fusion"}


def test_fig2_shows_attention_at_three_ranks_of_what_neighbours_add(run, figures):
    scores = []
    for how in (None, PARENTS):
        labels = [attention(run, index, how).argmax(0) for index in range(IMAGES)]
        scores.append(mean_iou(per_image_confusions(labels, list(run.scenes["masks"]), LABELS)))
    order = np.argsort(scores[1] - scores[0], kind="stable")
    expected = [order[round(0.1 * 23)], order[round(0.5 * 23)], order[round(0.9 * 23)]]
    assert rows_shown(run.scenes["images"], figures["fig2"].figure, (0, 4, 8)) == expected
    for first, index in zip((0, 4, 8), expected):
        label = largest_class(run, index)
        for place, how in ((2, PARENTS), (3, None)):
            np.testing.assert_allclose(shown(panels(figures["fig2"].figure)[first + place]),
                                       attention(run, index, how)[label], atol=1e-6)
    gain = 100 * (scores[0] - scores[1])
    assert f"{gain.mean():+.1f} pp on average" in figures["fig2"].alt


def test_fig2_draws_neighbours_and_own_activation_at_the_right_only(run, figures):
    left, right = ([to_hex(patch.get_edgecolor()) for patch in axes.patches]
                   for axes in panels(figures["fig2"].figure)[-2:])
    beside, own = "#009e73", "#0072b2"
    assert not {beside, own} & set(left) and (right.count(beside), right.count(own)) == (4, 1)
    tags = run.scenes["tags"]
    assert Pictures(run, "val").without_evidence == pytest.approx(tags[:6].sum() / tags.sum())


def test_attention_is_cut_to_the_image(photos):
    val = Pictures(photos, "val")
    maps = val.attention_maps(2)
    assert maps.shape == (LABELS, 48, 64)
    side = photos.route.scale.backbone.side
    stored = photos.load(photos.route.attention()["maps"])[2].astype(np.float32).transpose(1, 2, 0)
    grown = cv2.resize(stored, (side, side), interpolation=cv2.INTER_LINEAR)[side // 8:side - side // 8]
    shrunk = F.interpolate(torch.tensor(grown.transpose(2, 0, 1))[None], size=(48, 64), mode="bilinear")[0]
    np.testing.assert_allclose(maps, shrunk.numpy(), atol=1e-4)
    assert val.canvas(2).data.shape == (side, side, 3)


def test_fig4_goes_from_the_best_to_the_lower_quartile(run, figures):
    scores = mean_iou(confusions(run))
    order = np.argsort(-scores, kind="stable")
    expected = [*order[:2], *order[6:8], *order[12:14], *order[18:20]]
    assert rows_shown(run.scenes["images"], figures["fig4"].figure, range(0, 32, 4)) == expected
    axes, labels = panels(figures["fig4"].figure), run.load(run.route.prediction()["masks"])
    assert [each.get_title() for each in axes[1::4]] == [f"IoU {100 * scores[i]:.0f} %" for i in expected]
    index = expected[2]
    np.testing.assert_array_equal(shown(axes[9]), colour_mask(labels[index], len(CLASSES)))
    np.testing.assert_allclose(shown(axes[11]), attention(run, index)[largest_class(run, index)], atol=1e-6)
    assert f"the median ({100 * np.median(scores):.0f} %)" in figures["fig4"].alt


def test_fig5_shows_the_largest_class_of_which_least_is_found(run, figures):
    labels, masks = run.load(run.route.prediction()["masks"]), run.scenes["masks"]
    found = {(i, c): ((labels[i] == c)[masks[i] == c].mean(), -(masks[i] == c).sum())
             for i in range(IMAGES) for c in range(1, LABELS) if (masks[i] == c).any()}
    index, label = min(found, key=found.get)
    assert rows_shown(run.scenes["images"], figures["fig5"].figure, [0]) == [index]
    maps, panel = attention(run, index)[label], panels(figures["fig5"].figure)[3]
    np.testing.assert_allclose(shown(panel), maps, atol=1e-6)
    highest, score = maps[masks[index] == label].max(), run.load(run.route.prediction()["scores"])[index, label]
    assert panel.get_title() == f"there up to {highest:.2f}"
    assert f"at most: {CLASSES[label - 1]} {highest:.2f} ({1 / (1 + np.exp(-score)):.2f})" in figures["fig5"].alt


def test_fig5_shows_the_image_with_most_missed_small_objects(run, figures):
    image, label, area, recall = (run.load(run.route.objects())[name] for name in ("image", "label", "area", "recall"))
    missed = (area < np.median(area)) & (recall < 0.1)
    first, second = rows_shown(run.scenes["images"], figures["fig5"].figure, [0, 4])
    counts = {index: (np.sum(missed & (image == index)), area[missed & (image == index)].sum())
              for index in range(IMAGES) if index != first}
    assert second == max(counts, key=counts.get) and counts[second][0] > 0
    assert f"small: {counts[second][0]}\nobjects missed" in words(figures["fig5"].figure)
    here = missed & (image == second)
    found = [(name, inside.mean()) for name, inside in Pictures(run, "val").missed_small()[second]]
    assert found == list(zip(label[here], area[here], strict=True))
    np.testing.assert_allclose(shown(panels(figures["fig5"].figure)[7]), attention(run, second)[label[here]].max(0),
                               atol=1e-6)


def test_fig5_says_so_where_no_small_object_is_missed():
    run = fake_run(seeds=1)
    stored = run.load(run.route.prediction())
    right = run.scenes["masks"].copy()
    whole = largest_class(run, 0)
    right[0][right[0] == whole] = 0
    stored["masks"] = np.where(right == 255, 0, right)
    drawn = FIGURES["fig5"](run)
    assert len(panels(drawn.figure)) == 4 and "No small object is missed elsewhere." in drawn.alt
    assert f"large:\n{CLASSES[whole - 1]}" in words(drawn.figure)


def test_gaussian_study_shows_signs_of_eigenvalues_and_three_modes_divided_by_their_maximum(run, figures):
    study, axes = run.load(run.route.study()), panels(figures["gaussian_study"].figure)
    for chart, values in zip(axes[-2:], study["eigenvalues"]):
        drawn = {line.get_color(): np.sort(line.get_ydata()) for line in chart.lines if line.get_marker() == "."}
        np.testing.assert_array_equal(drawn[OUR_COLOUR], np.sort(values[values > 0]))
        np.testing.assert_array_equal(drawn[PAPER_COLOUR], np.sort(values[values <= 0]))
        assert chart.get_ylim()[0] < values.min() and values.max() < chart.get_ylim()[1]
    share = 100 * (study["eigenvalues"][0] > 0).mean()
    assert f"{share:.1f} % of them for D as printed, 0.0 % for 'smooth'" in figures["gaussian_study"].alt
    assert rows_shown(run.scenes["images"], figures["gaussian_study"].figure, range(0, 20, 5)) == [0, 1, 2, 3]
    for place in range(4):
        modes = (study["maps"][MODES.index(mode), place] for mode in ("literal", "steps", "smooth"))
        for panel, values in zip(axes[5 * place + 1:], (study["b"][place], *modes)):
            np.testing.assert_allclose(shown(panel), values / values.max(), rtol=1e-6)
    assert [panel.get_title() for panel in axes[2:5]] == ["1 cell, KKT 0", "36 cells, KKT 0.3", "144 cells, KKT 6e-08"]


def test_similarity_shows_the_cells_with_most_median_and_least_weight(run, figures):
    weights, axes = run.load(run.route.study()["similarity"]), panels(figures["similarity"].figure)
    inner = range(RADIUS, CELLS - RADIUS)
    sums = sorted((weights[i, :, row, column].sum(), i, row, column) for i in range(4) for row in inner
                  for column in inner)
    stride = 64 / CELLS
    position = [[np.exp(-0.64 * (row**2 + column**2)) for column in range(-3, 4)] for row in range(-3, 4)]
    for first, (_, index, row, column) in zip((0, 4, 8), (sums[-1], sums[(len(sums) - 1) // 2], sums[0])):
        image, window, similar, alone = axes[first:first + 4]
        np.testing.assert_array_equal(shown(image), run.scenes["images"][index])
        np.testing.assert_array_equal(shown(similar), weights[index, :, row, column].reshape(7, 7))
        np.testing.assert_allclose(shown(alone), position)
        (top, bottom), (left, right) = (((at - 3) * stride, (at + 4) * stride) for at in (row, column))
        box = image.patches[-1]
        assert (box.get_x(), box.get_y(), box.get_width()) == pytest.approx((left - 0.5, top - 0.5, right - left))
        np.testing.assert_array_equal(shown(window), run.scenes["images"][index][round(top):round(bottom),
                                                                                 round(left):round(right)])


def test_baselines_stand_beside_the_papers(run, figures, of_photos):
    (axes,) = panels(figures["baselines"].figure)
    paper, ours = axes.lines
    assert paper.get_xdata().tolist() == [30.5, 47.5, 50.1, 51.3, 49.4, 50.4, 52.8]
    expected = [np.mean([100 * mean_iou(confusions(run, row, seed).sum(0)) for seed in (0, 1)])
                for row in BASELINES]
    np.testing.assert_allclose(ours.get_xdata(), expected)
    (axes,) = panels(of_photos["baselines"].figure)
    assert np.isnan(axes.lines[1].get_xdata()).tolist() == [row == "w/o att unary" for row in BASELINES]


def test_iterations_are_compared_with_three(run, figures, of_photos):
    left, right = panels(figures["iterations"].figure)
    rows = {0: "0 iterations", 1: "1 iterations", 2: "2 iterations", 3: "full", 5: "5 iterations", 10: "10 iterations"}
    scores = {count: np.mean([100 * mean_iou(confusions(run, row, seed).sum(0)) for seed in (0, 1)])
              for count, row in rows.items()}
    assert list(left.lines[0].get_xdata()) == list(scores)
    np.testing.assert_allclose(left.lines[0].get_ydata(), list(scores.values()))
    changes = next(line for line in right.lines if len(line.get_xdata()) == 5)
    np.testing.assert_allclose(changes.get_ydata(), [scores[count] - scores[3] for count in (0, 1, 2, 5, 10)])
    assert f"10: {scores[10]:.1f} %" in figures["iterations"].alt
    assert "This profile runs no other number." in of_photos["iterations"].alt


def test_learning_curves_begin_after_the_warm_up(run, figures, of_photos):
    charts = panels(figures["learning_curves"].figure)
    names = ["full approach", "no warm-up", "loss before the CRF-RNN", "loss after the CRF-RNN"]
    for axes, begins in zip(charts, ([1, 1, 1, 1], [2, 1, 2, 2])):
        assert [line.get_label() for line in axes.lines[1::2]] == names
        assert [line.get_xdata()[0] for line in axes.lines[::2]] == begins
        assert {line.get_xdata()[-1] for line in axes.lines[::2]} == {run.route.scale.schedule.iterations}
    curves = [run.load(route.trained("full"))["curves"]["segmentation"] for route in run.routes]
    np.testing.assert_allclose(charts[1].lines[0].get_ydata(), np.mean(curves, 0)[1:])
    assert [line.get_label() for line in panels(of_photos["learning_curves"].figure)[0].lines[1::2]] == names[:1]


def test_an_effect_that_is_not_measured_gets_no_empty_chart(figures, of_photos):
    names = [[axes.get_title() for axes in panels(each["when_curves"].figure)] for each in (figures, of_photos)]
    assert names == [["full - w/o neighbor", "full - w/o att unary"], ["full - w/o neighbor"]]
