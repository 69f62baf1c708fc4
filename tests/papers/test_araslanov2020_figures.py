"""The figures of Araslanov & Roth 2020, drawn from made-up results of the right shapes."""

import numpy as np
import pytest
from fake_run import FakeRun, araslanov2020_routes
from figure_parts import assert_all_described, legend, panels, read_of_seed_one, rows_shown, shown, words

from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.data.views import EvalView
from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.lab.plots import colour_mask
from wsss_lab.papers.araslanov2020 import figures as paper
from wsss_lab.papers.araslanov2020.figures import ABLATIONS, ALIKE, WATCHED, Pictures, Watched, name_of, printed_scores
from wsss_lab.papers.araslanov2020.route import KERNELS
from wsss_lab.refinement.pamr import RING, affinities

FIGURES = paper.FIGURES
IMAGES, LABELS, ITERATIONS, WARM_UP = 24, len(CLASSES) + 1, 40, 10


def make(run: FakeRun, function: str, settings: dict) -> dict:
    def frames() -> dict:
        return {name: run.draw_frames(LABELS - 1, IMAGES) for name in ("masks", "refined")}

    def training() -> dict:
        late = ITERATIONS - WARM_UP
        curves = {name: run.rng.random(ITERATIONS).tolist() for name in (
            "classification", "absent score", "absent pooling", "absent penalty")}
        curves |= {name: run.rng.random(late).tolist() for name in ("kept images", "labelled pixels")}
        return {"curves": curves | {"segmentation": [0.0] * WARM_UP + run.rng.random(late).tolist()}}

    def pictures() -> dict:
        images, side, steps = settings["images"], settings["backbone"]["side"], settings["method"]["iterations"] + 1
        masks = run.rng.random((len(images), steps, LABELS, side // 4, side // 4)) ** 8
        present = np.concatenate([np.ones((len(images), 1), bool), run.scenes["tags"][images]], 1)
        labels = run.draw(LABELS, len(images), side, side)
        labels[0] = LABELS
        return {"masks": (masks * present[:, None, :, None, None]).astype(np.float16),
                "labels": np.where(labels == LABELS, 255, labels).astype(np.uint8)}

    return {
        "score_masks": lambda: {"confusions": run.draw(9, IMAGES, LABELS, LABELS + 1) * run.draw(
            1, IMAGES, LABELS, LABELS + 1)},
        "train_single_stage": training, "training_pictures": pictures,
        "pooled_maps": lambda: {
            name: run.rng.normal(size=(len(settings["images"]), len(CLASSES), side, side)).astype(np.float32)
            for name, side in (("class_maps", 8), ("pixel_scores", 16))},
    }.get(function, frames)()


class WideRun(FakeRun):
    """Images that are wider than high, so that their canvases have margins."""

    def view(self, split: str) -> EvalView:
        names = [f"{split}{number}" for number in range(self.images)]
        return EvalView.from_arrays(split, CLASSES, names, self.scenes["tags"], self.scenes["images"][:, :48],
                                    "generator", masks=self.scenes["masks"][:, :48])


def fake_run(profile: str = "quick", seeds: int = 2) -> FakeRun:
    kind = WideRun if profile == "photos" else FakeRun
    return kind("araslanov2020", profile, araslanov2020_routes(profile, seeds), make, IMAGES)


def scores_of(run, output: str = "masks") -> np.ndarray:
    """Mean IoU of each image by the final model."""
    return mean_iou(run.load(run.route.score(run.route.prediction("ours"), output=output)["confusions"]))


def score(run, row: str) -> float:
    """Mean IoU of a row in per cent, mean over the trainings."""
    return np.mean([100 * mean_iou(run.load(route.score(route.prediction(row))["confusions"]).sum(0))
                    for route in run.routes])


# --- all figures -----------------------------------------------------------------------------------------------------


EXPECTED = {"fig1": 18, "fig2": 9, "fig3": 1, "fig5": 10, "fig6": 40, "fig7": 2, "fig8": 40, "fig9": 1, "fig10": 28,
            "penalty_curves": 2, "pooling_limits": 2, "learning_curves": 3, "ablation_bars": 1, "kernels": 1,
            "when_curves": 3}


def test_figures_are_complete_and_described(run, figures, of_photos):
    schematic = {"fig3", "fig7", "fig9", "penalty_curves", "pooling_limits"}
    assert_all_described("araslanov2020", figures, of_photos, EXPECTED, schematic)
    assert read_of_seed_one(run) == {"score_masks", "train_single_stage"}


# --- pictures --------------------------------------------------------------------------------------------------------


def test_fig1_shows_the_best_images_with_several_tags(run, figures):
    several = np.flatnonzero(run.scenes["tags"].sum(1) > 1)
    best = sorted(several, key=lambda i: -scores_of(run)[i])[:6]
    assert rows_shown(run.scenes["images"], figures["fig1"].figure, range(0, 18, 3)) == best


def test_fig2_shows_the_image_where_each_shortcoming_is_largest(run, figures):
    route, few = run.route, 4  # images that are looked at pixel by pixel
    confusions = run.load(route.score(route.cam_labels())["confusions"]).astype(float)
    labels = run.load(route.cam_labels()["masks"])
    neighbours = [((y, x), there) for y in range(64) for x in range(64) for there in ((y + 1, x), (y, x + 1))
                  if max(there) < 64]
    torn = []
    for image, mask, label in zip(run.scenes["images"][:few] / 255, run.scenes["masks"], labels):
        pairs = [(here, there) for here, there in neighbours if 0 < mask[here] < 255 and mask[here] == mask[there]
                 and np.abs(image[here] - image[there]).mean() < ALIKE]
        torn.append(np.mean([label[here] != label[there] for here, there in pairs]))
    false, missed, mistaken = [], [], []
    for counts in confusions:
        objects, on_background = counts[1:], counts[0, 1:-1].sum()
        false.append(on_background / (on_background + objects[:, 1:-1].sum()))
        missed.append(objects[:, 0].sum() / objects.sum())
        mistaken.append((objects[:, 1:-1].sum() - np.trace(objects[:, 1:-1])) / objects.sum())
    precise = np.array(false) <= np.quantile(false, 0.25)
    found = Pictures(run, "val").cam_shortcomings()
    np.testing.assert_allclose(found[0][:few], torn)
    np.testing.assert_allclose(found[1:], [np.where(precise, missed, np.nan), mistaken])
    expected = []
    for values in found:
        expected.append(next(i for i in np.argsort(-np.nan_to_num(values), kind="stable") if i not in expected))
    assert precise.sum() == 6 and rows_shown(run.scenes["images"], figures["fig2"].figure, (0, 3, 6)) == expected
    assert f"incomplete:\n{100 * missed[expected[1]]:.0f} % of the object\npixels missed" in words(
        figures["fig2"].figure)


def test_fig4_writes_down_the_scores_of_both_ways_of_pooling(run, figures):
    watched = Watched(run)
    stored = run.load(run.route.pooled(watched.images))
    (index,) = rows_shown(run.scenes["images"], figures["fig4"].figure, [0])
    place = watched.images.index(index)

    def literal(place: int, label: int) -> tuple[float, float]:
        scores = stored["pixel_scores"][place].astype(float)
        mask = np.exp(scores[label]) / (np.e + np.exp(scores).sum(0))
        size = mask.mean()
        return (mask * scores[label]).sum() / (1 + mask.sum()), (1 - size) ** 3 * np.log(0.01 + size)

    weakest = [min(sum(literal(each, label)) for label in np.flatnonzero(run.scenes["tags"][image]))
               for each, image in enumerate(watched.images)]
    assert weakest[place] == max(weakest)
    absent = [label for label in range(len(CLASSES)) if not run.scenes["tags"][index, label]]
    rows = [*np.flatnonzero(run.scenes["tags"][index]), max(absent, key=lambda label: sum(literal(place, label)))]
    written = [text.get_text().replace("−", "-") for axes in figures["fig4"].figure.axes for text in axes.texts]
    for label in rows:
        pooled, penalty = literal(place, label)
        assert f"{pooled:+.2f}\n{penalty:+.2f}\n= {pooled + penalty:+.2f}" in written
        assert f"{stored['class_maps'][place, label].mean():+.2f}" in written


def test_fig5_shows_the_weights_of_one_pixels_neighbours(run, figures):
    watched, axes = Watched(run), panels(figures["fig5"].figure)
    dilations = run.route.scale.dilations(KERNELS["reference"])
    (marker,) = axes[1].lines
    column, row = int(marker.get_xdata()[0]), int(marker.get_ydata()[0])
    index = watched.images[int(np.nanargmax(watched.gain))]
    label, masks = watched.most_changed(index), watched.on_canvas(index)
    np.testing.assert_array_equal(shown(axes[1]), masks[0, label])
    np.testing.assert_array_equal(shown(axes[4]), masks[-1, label])
    moved = np.abs(masks[-1, label] - masks[0, label])
    room = min(max(dilations), (len(moved) - 1) // 2)
    assert moved[row, column] == moved[room:-room, room:-room].max()
    small = watched.small_image(index, masks.shape[-2:])
    weights = affinities(small, dilations)[0, :, row, column].numpy()
    for number, (dilation, drawn) in enumerate(zip(dilations, axes[5:])):
        ring = weights[8 * number:8 * number + 8]
        for (down, right), weight in zip(RING, ring):
            assert shown(drawn)[1 + down, 1 + right] == pytest.approx(weight / weights.max())
        assert np.isnan(shown(drawn)[1, 1])
        assert drawn.get_title() == f"dilation {dilation}: {100 * ring.sum():.0f} %"
    (dots,) = axes[0].collections
    brightest = np.argmax(dots.get_array())
    number, direction = divmod(int(weights.argmax()), 8)
    down, right = dilations[number] * np.array(RING[direction])
    assert dots.get_offsets()[brightest].tolist() == [column + right, row + down]


def test_fig6_shows_masks_before_and_after_pamr_and_pseudo_labels(run, figures):
    watched, axes = Watched(run), panels(figures["fig6"].figure)
    indices = rows_shown(run.scenes["images"], figures["fig6"].figure, range(0, 40, 8))
    gains = [watched.gain[watched.images.index(index)] for index in indices]
    useful = watched.gives_labels(late=True)
    assert list(useful) == [False] + [True] * (len(useful) - 1) and watched.images[0] not in indices
    assert gains == sorted(gains, reverse=True)
    assert (gains[0], gains[-1]) == (watched.gain[useful].max(), watched.gain[useful].min())
    for first, index in zip(range(0, 40, 8), indices):
        for place, late in ((2, False), (5, True)):
            expected = (watched.winners(index, 0, late), watched.winners(index, 10, late),
                        watched.pseudo_labels(index, late))
            for drawn, panel in zip(axes[first + place:], expected):
                np.testing.assert_array_equal(shown(drawn), colour_mask(panel.data, len(CLASSES)))
    assert "after 2 iterations" in words(figures["fig6"].figure)  # 0.3 of 8


def test_masks_are_cut_to_the_image(photos):
    watched = Watched(photos)
    index, side = watched.images[2], photos.route.backbone().side
    winners, pseudo, soft = watched.winners(index, 0), watched.pseudo_labels(index), watched.soft(1, index, 3)
    assert winners.data.shape == (48, 64)
    margin = side // 8  # of a canvas whose image is 3/4 as high as wide
    stored = photos.load(watched.made(late=False))
    np.testing.assert_array_equal(pseudo.data, stored["labels"][2][margin:side - margin])
    grid = stored["masks"][2, 3].astype(np.float32)[:, margin // 4:(side - margin) // 4]
    np.testing.assert_array_equal(soft.data, grid[1])
    np.testing.assert_array_equal(soft.outline, grid.argmax(0) == 1)


def test_changes_by_pamr_are_measured_on_the_pixels_of_images_with_several_classes(run):
    watched, several = Watched(run), run.scenes["tags"].sum(1) > 1
    assert len(set(watched.images)) == len(watched.images) == min(WATCHED, several.sum())
    assert several[list(watched.images)].all()
    before, after = (watched.winners(watched.images[1], step).data for step in (0, 10))
    assert watched.changed[1] == pytest.approx(np.mean(before != after))
    mask = run.scenes["masks"][watched.images[1]]

    def score(labels: np.ndarray) -> float:
        known = mask != 255
        pairs = [(labels[known] == label, mask[known] == label) for label in range(LABELS)]
        return np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs if (a | b).any()])

    assert watched.gain[1] == pytest.approx(score(after) - score(before))


def test_fig8_goes_from_the_best_image_down_and_ends_with_the_two_worst(run, figures):
    places = rows_shown(run.scenes["images"], figures["fig8"].figure, range(0, 40, 4))
    scores = scores_of(run)[places]
    assert scores[0] == scores_of(run).max() and np.all(np.diff(scores[:8]) <= 0)
    assert sorted(scores[8:]) == sorted(scores_of(run))[:2] and scores[7] > max(scores[8:])
    titles = [axes.get_title() for axes in panels(figures["fig8"].figure)[:4]]
    refined = scores_of(run, "refined")[places[0]]
    assert titles == ["", f"IoU {100 * scores[0]:.0f} %", f"IoU {100 * refined:.0f} %", ""]


def test_fig10_shows_the_iterations_of_the_images_that_change_most(run, figures):
    watched, axes = Watched(run), panels(figures["fig10"].figure)
    indices = rows_shown(run.scenes["images"], figures["fig10"].figure, range(0, 28, 7))
    changed = [watched.changed[watched.images.index(index)] for index in indices]
    assert changed == sorted(watched.changed, reverse=True)[:4]
    masks = watched.on_canvas(indices[0])
    label = watched.most_changed(indices[0])
    for drawn, count in zip(axes[1:6], (0, 1, 2, 5, 10)):
        np.testing.assert_array_equal(shown(drawn), masks[count, label])


# --- charts ----------------------------------------------------------------------------------------------------------


def test_printed_scores_leave_out_what_is_lost(run):
    assert printed_scores(run) == {
        "reference": 59.4, "no penalty": 56.6, "no PAMR": 31.8, "psi=0.5, no GCI": 59.8, "ours": 59.7,
        "psi=0.3, no GCI": 57.7, "no gate": 55.6, "deterministic gate": 57.5, "5 iterations": 59.1,
        "15 iterations": 59.0}


def test_ablation_bars_draw_every_row_as_a_difference_to_the_reference(run, figures):
    (axes,) = figures["ablation_bars"].figure.axes
    at = {label.get_text(): tick for label, tick in zip(axes.get_yticklabels(), axes.get_yticks())}
    rows = [row for rows in ABLATIONS.values() for row in rows if row != "reference"]
    assert list(at) == [name_of(row) for row in rows] and len(set(at)) == len(rows) == 31
    points = {(line.get_label().split(":")[0], float(line.get_ydata()[0])): line.get_xdata()[0]
              for line in axes.lines if line.get_marker() in "oD"}
    printed = printed_scores(run)

    for row in rows:
        assert points["ours", at[name_of(row)]] == pytest.approx(score(run, row) - score(run, "reference"))
        paper, (left, right) = points["paper", at[name_of(row)]], np.add(axes.get_xlim(), (1, -1))
        expected = np.clip(printed.get(row, np.nan) - 59.4, left, right)  # at the edge, with its value, if beyond
        assert paper == pytest.approx(expected, nan_ok=True)
    beyond = {f"{printed[row] - 59.4:+.1f}" for row in rows if row in printed
              if not left <= printed[row] - 59.4 <= right}
    assert {text.get_text().split()[1] for text in axes.texts if text.get_text()[0] in "←→"} == beyond


def test_charts_show_the_rows_that_a_profile_trains(of_photos):
    (axes,) = of_photos["ablation_bars"].figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "no penalty", "no PAMR", "ψ=0.3 (the final model)", "no gate"]
    assert "epsilon" not in of_photos["learning_curves"].alt
    assert legend(of_photos["learning_curves"].figure.axes[2]) == ["pooling, ε = 1", "penalty, ε = 1"]


def test_kernels_stand_in_order_and_the_papers_open_assignment_is_shown_as_such(run, figures, of_photos):
    (axes,) = figures["kernels"].figure.axes
    by_label = {}
    for line in axes.lines:
        by_label.setdefault(line.get_label(), []).append(line)
    (ours,), (paper,) = by_label["ours: toyvoc val, 95 % interval"], by_label["paper: VOC 2012 val"]
    np.testing.assert_allclose(ours.get_ydata(), [score(run, row) for row in KERNELS])
    np.testing.assert_array_equal(paper.get_ydata(), [31.8, np.nan, np.nan, np.nan, np.nan, 59.4])
    either = {tuple(line.get_xdata()): set() for line in by_label["paper, one of the two"]}
    for line in by_label["paper, one of the two"]:
        either[tuple(line.get_xdata())].add(line.get_ydata()[0])
    assert either == {(1, 2): {50.6, 55.7}, (3, 4): {57.9, 58.2}}
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert ticks[0] == "none" and ticks[-1] == "1-2-4-8-12-24\nhere 1-2-3-5-9"
    (of_two,) = [line for line in of_photos["kernels"].figure.axes[0].lines if line.get_label()[:4] == "ours"]
    assert list(of_two.get_xdata()) == [0, 5]


def test_learning_curves_are_means_over_seeds_and_start_labels_after_the_warm_up(run, figures):
    losses, shares, absent = figures["learning_curves"].figure.axes
    raw = [line for line in shares.lines if line.get_lw() == 0.5]
    for line, name in zip(raw, ("kept images", "labelled pixels"), strict=True):
        assert (line.get_xdata()[0], line.get_xdata()[-1]) == (WARM_UP + 1, ITERATIONS)
        recorded = [run.load(route.trained("ours")["curves"])[name] for route in run.routes]
        np.testing.assert_allclose(line.get_ydata(), 100 * np.mean(recorded, 0))
    assert [line.get_xdata()[0] for line in losses.lines if line.get_lw() == 0.5] == [1, WARM_UP + 1]
    assert legend(absent) == ["pooling, ε = 1", "penalty, ε = 1", "pooling, ε = 0", "penalty, ε = 0"]


# --- diagrams ---------------------------------------------------------------------------------------------------------


def test_fig7_takes_a_share_psi_and_keeps_the_mean(figures):
    axes = figures["fig7"].figure.axes[1]
    low, high = axes.patches
    assert low.get_height() == pytest.approx(30, abs=0.5) and high.get_height() == pytest.approx(70, abs=0.5)
    centres = [bar.get_x() + bar.get_width() / 2 for bar in (low, high)]
    assert centres == pytest.approx([0.2, (1 - 0.3 * 0.2) / 0.7], abs=1e-4)
    assert axes.lines[0].get_xdata()[0] == pytest.approx(1, abs=0.01)


def test_fig9_draws_the_soft_margin_loss(figures):
    positive, negative, _zero = figures["fig9"].figure.axes[0].lines
    scores = np.asarray(positive.get_xdata())
    np.testing.assert_allclose(positive.get_ydata(), np.log1p(np.exp(-scores)), rtol=1e-5)
    np.testing.assert_allclose(negative.get_ydata(), np.log1p(np.exp(scores)), rtol=1e-5)


def test_penalty_curves_are_equations_four_and_five(figures):
    left, right = figures["penalty_curves"].figure.axes
    for lines, settings in ((left.lines, [(0, 0.01), (3, 0.01), (5, 0.01)]),
                            (right.lines, [(3, 0.1), (3, 0.01), (3, 0.001)])):
        for line, (power, floor) in zip(lines, settings, strict=True):
            size = np.asarray(line.get_xdata(), float)
            np.testing.assert_allclose(line.get_ydata(), (1 - size) ** power * np.log(floor + size), atol=1e-5)


def test_pooling_has_a_limit_only_with_epsilon(figures):
    left, right = figures["pooling_limits"].figure.axes
    assert [line.get_ydata()[-1] for line in left.lines] == pytest.approx([2, 0, -3, 0], abs=1e-3)
    without, with_epsilon = right.lines
    np.testing.assert_allclose(without.get_ydata(), -2)
    assert np.all(np.asarray(with_epsilon.get_ydata()) > -2)
    assert with_epsilon.get_ydata()[-1] == pytest.approx(0, abs=1e-3)
