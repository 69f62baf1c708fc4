"""The figures of Lee et al. 2021 from made-up results: which pictures are shown, and what charts draw."""

import numpy as np
import pytest
import torch
from figure_parts import assert_all_described, panels, read_of_seed_one, rows_shown, shown, words
from lee2021_results import BINS, IMAGES, PAIRS, fake_run
from table_parts import mean_score

from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.evaluation.confusion import iou, mean_iou
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.lab.plots import colour_mask
from wsss_lab.papers.lee2021 import figures as lee
from wsss_lab.papers.lee2021 import tables
from wsss_lab.papers.lee2021.figures import FIGURES, WATCHED, Pictures, Watched, example, shown_detectors, span
from wsss_lab.papers.lee2021.route import SHARES, TAUS, share_row, tau_row

EXPECTED = {"fig1": 20, "fig2": 9, "fig3": 32, "fig4": 20, "fig5": 36, "detector_maps": 54, "learning_curves": 3,
            "fig6": 36, "backgrounds": 1, "robustness": 2, "dial": 1, "when_curves": 3}


def titles(figure) -> list[str]:
    return [axes.get_title() for axes in panels(figure)]


def loaded(run, step, name: str = "confusions") -> np.ndarray:
    return np.asarray(run.load(step[name]), float)


def pseudo_score(run, row: str) -> np.ndarray:
    return loaded(run, run.route.score(run.route.masks(row)))


def miou(run, row: str, output: str = "masks") -> float:
    return mean_score(run.results.stack(tables.confusions(row, output)))


def detected(run, name: str, split: str) -> np.ndarray:
    """Foreground IoU by image at seed 0."""
    return foreground_iou(loaded(run, run.route.saliency_score(run.route.saliency(name, split), split), "counts"))


# --- all figures ------------------------------------------------------------------------------------------------------

def test_figures_are_complete_and_described(run, figures, of_photos):
    assert_all_described("lee2021", figures, of_photos, EXPECTED, {"fig2"})
    assert read_of_seed_one(run) == {"score_masks", "score_saliency", "score_localisations", "train_localisation"}


def test_detectors_need_no_classifier():
    run = fake_run()
    FIGURES["detector_maps"](run)
    assert run.loaded and not any(step.stage == "seeds" for step in run.loaded)


def test_figures_of_photographs_do_without_what_is_not_run(of_photos, monkeypatch):
    assert "this profile trains no other value" in of_photos["robustness"].alt
    assert "this profile has no world of many objects" in of_photos["fig6"].alt and "MobileNet" in of_photos["fig6"].alt
    assert len(panels(of_photos["detector_maps"].figure)) == 6 * 5  # image, truth, masks, unsupervised, oracle
    axes = of_photos["learning_curves"].figure.axes[0]
    assert [line.get_label() for line in axes.lines if line.get_lw() > 1] == ["EPS", "naive selection"]
    assert any("background labelled" in text for text in words(of_photos["fig4"].figure))
    monkeypatch.delenv("WSSS_SALIENCY", raising=False)
    voc = fake_run("voc", 1)  # without the dial
    assert len(panels(FIGURES["detector_maps"](voc).figure)) == 6 * 4
    assert {text.get_text() for text in FIGURES["dial"](voc).figure.axes[0].texts} == {"masks", "unsupervised"}


# --- pictures ---------------------------------------------------------------------------------------------------------

def test_fig1_shows_objects_that_saliency_misses_and_eps_finds(run, figures):
    route, tags, figure = run.route, run.scenes["tags"], figures["fig1"].figure
    covered, scores = loaded(run, route.covered()), iou(pseudo_score(run, "adaptive"))
    share = covered[:, 1:, 1] / covered[:, 1:].sum(-1)
    gains = {(i, c): scores[i, c + 1] - share[i, c] for i in np.flatnonzero(tags.sum(1) > 1)
             for c in np.flatnonzero(tags[i]) if np.isfinite(share[i, c])}
    best = {}
    for i, c in sorted(gains, key=lambda place: -gains[place]):
        best.setdefault(i, c)
    expected = list(best)[:4]
    assert rows_shown(run.scenes["images"], figure, range(0, 20, 5)) == expected
    i, c = expected[0], best[expected[0]]
    cam = iou(pseudo_score(run, "CAM"))[i, c + 1]
    assert CLASSES[c] in words(figure) and titles(figure)[2:5] == [
        f"{100 * share[i, c]:.0f} % salient", f"IoU {100 * cam:.0f} %", f"IoU {100 * scores[i, c + 1]:.0f} %"]
    pseudo = run.load(route.masks("CAM")["masks"])[i]
    np.testing.assert_array_equal(shown(panels(figure)[3]), colour_mask(pseudo, len(CLASSES)))


def test_fig3_goes_from_the_largest_gain_over_the_median_to_the_largest_loss(run, figures):
    route, figure = run.route, figures["fig3"].figure
    before, after = detected(run, "masks", "val"), foreground_iou(
        loaded(run, route.saliency_score(route.estimated()), "counts"))
    order = np.argsort(before - after, kind="stable")
    places = [*order[:3], *order[11:13], *order[-3:]]
    assert rows_shown(run.scenes["images"], figure, range(8)) == places
    assert titles(figure)[16:] == [f"IoU {100 * each[i]:.0f} %" for each in (before, after) for i in places]
    maps = run.load(route.estimated()["maps"])[places[0]]
    np.testing.assert_allclose(shown(panels(figure)[24]), maps / 255)


def test_fig4_shows_where_eps_changes_each_score_most(run, figures):
    route, tags = run.route, run.scenes["tags"]
    rows = ("CAM", "naive", "adaptive")
    confusions = {row: pseudo_score(run, row) for row in rows}
    edges, false = {}, {}
    for row in rows:
        counts = loaded(run, route.boundaries(route.masks(row)), "counts")[:, 0]
        edges[row] = [{0: 2 * matched / (found + true)} for matched, found, true in counts]
        contexts = route.contexts(route.masks(row))
        pixels = loaded(run, contexts).sum((1, 2))
        false[row] = [{c: loaded(run, contexts, "false")[i, k, c] / pixels[i] for k, c in PAIRS if tags[i, c]}
                      for i in range(IMAGES)]
    recall = {row: [{c: each[c + 1, c + 1] / each[c + 1].sum() for c in np.flatnonzero(tags[i])}
                    for i, each in enumerate(confusions[row])] for row in rows}
    whole = {row: [{0: score} for score in mean_iou(confusions[row])] for row in rows}
    expected, scores = [], []
    for values, sign in ((false, -1), (edges, 1), (recall, 1), (whole, -1)):
        change = {(i, c): sign * (values["adaptive"][i][c] - values["CAM"][i][c]) for i in range(IMAGES)
                  for c in values["CAM"][i] if i not in expected}
        i, c = max(change, key=change.get)
        expected.append(i)
        scores += ["", "", *(f"{100 * values[row][i][c]:.0f} %" for row in rows)]
    assert rows_shown(run.scenes["images"], figures["fig4"].figure, range(0, 20, 5)) == expected
    assert titles(figures["fig4"].figure) == scores


def test_surroundings_are_all_background_where_no_class_keeps_to_a_context(photos):
    (names, scores, sign), *_ = lee.faults(photos, Pictures(photos, photos.route.scored))
    assert names == ["co-occurrence:\nbackground labelled\nas an object,\nof the image"] and sign == -1
    counts = loaded(photos, photos.route.contexts(photos.route.masks("adaptive")))
    np.testing.assert_allclose(scores[-1][:, 0], [each[0, 1:-1].sum() / each.sum() for each in counts])


def test_fig5_shows_the_best_the_median_and_the_worst(run, figures):
    scores, figure = mean_iou(loaded(run, run.route.score(run.route.prediction(), "val"))), figures["fig5"].figure
    order = np.argsort(-scores, kind="stable")
    expected = [*order[:3], *order[9:15], *order[:-4:-1]]
    assert rows_shown(run.scenes["images"], figure, range(0, 36, 3)) == expected
    assert titles(figure)[2::3] == [f"IoU {100 * scores[i]:.0f} %" for i in expected]


def test_fig6_compares_the_quarters_with_the_fewest_and_the_most_objects(run, monkeypatch):
    crowded, facts = run.route.crowded, run.load(run.route.crowded.objects())
    images = run.load(crowded.world.scenes("val"))["images"]
    scores = mean_iou(loaded(run, crowded.score(crowded.prediction(net="V2, VGG16"), "val")))
    order = sorted(range(IMAGES), key=lambda i: (facts["objects"][i], -facts["area"][i]))
    few, many = (sorted(group, key=lambda i: -scores[i]) for group in (order[:6], order[-6:]))
    drawn = FIGURES["fig6"](run).figure
    assert rows_shown(images, drawn, range(0, 36, 3)) == few + many
    assert {span(facts["objects"][group], facts["area"][group]) for group in (few, many)} <= set(words(drawn))
    handful = np.zeros(IMAGES, int)
    handful[[3, 8, 11, 20]] = 4, 1, 2, 3
    monkeypatch.setitem(facts, "objects", handful)
    drawn = FIGURES["fig6"](run).figure
    assert rows_shown(images, drawn, (0, 3)) == [8, 3] and len(panels(drawn)) == 6


def test_detectors_show_the_maps_that_classifiers_learn_from(run, figures):
    figure, names = figures["detector_maps"].figure, ["masks", "boxes", "unsupervised", "oracle", "eroded", "blurred",
                                                      "noisy"]
    assert shown_detectors("quick") == [*names, "no saliency"]
    scores = [detected(run, name, "train") for name in names]
    indices = rows_shown(run.scenes["images"], figure, range(0, 54, 9))
    assert scores[0][indices[0]] == scores[0].max() and scores[0][indices[-1]] == scores[0].min()
    assert np.all(np.diff(scores[0][indices]) <= 0)
    assert titles(figure)[2:9] == [f"IoU {100 * each[indices[0]]:.0f} %" for each in scores]
    maps = run.load(run.route.saliency("noisy")["maps"])
    np.testing.assert_allclose(shown(panels(figure)[8]), maps[indices[0]] / 255)


def test_selection_shows_one_image_for_each_number_of_selected_tags(run, photos, figures):
    watched, figure = Watched(run), figures["selection"].figure
    step, = (step for step in run.loaded if step.function.__name__ == "shown_maps")
    stored = {name: np.asarray(each) for name, each in run.load(step).items()}
    tags = run.scenes["tags"][watched.images]
    assert len(set(watched.images)) == len(watched.images) == min(WATCHED, (run.scenes["tags"].sum(1) == 2).sum())
    assert np.all(tags.sum(1) == 2) and step.settings["images"] == watched.images
    clear = [(stored["maps"][place, :-1][tag] > 0.5).any((1, 2)).all() for place, tag in enumerate(tags)]
    expected = {}
    for name, count, value in (("one of\ntwo tags", 1, np.ptp), ("both\ntags", 2, np.min),
                               ("neither\ntag", 0, lambda pair: -np.max(pair))):
        values = {(clear[place], value(stored["overlaps"][place][tag])): place
                  for place, tag in enumerate(tags) if stored["chosen"][place][tag].sum() == count}
        if values:
            expected[name] = values[max(values)]
    assert watched.cases() == expected and len(expected) >= 2
    images = [watched.images[place] for place in expected.values()]
    assert rows_shown(run.scenes["images"], figure, range(0, 9 * len(images), 9)) == images
    place = next(iter(expected.values()))
    maps, chosen = torch.tensor(stored["maps"][place].astype(np.float32)), torch.tensor(stored["chosen"][place])
    background = maps[:-1][torch.tensor(tags[place]) & ~chosen].sum(0) + maps[-1]
    estimate = 0.5 * maps[:-1][chosen].sum(0) + 0.5 * (1 - background)
    for panel, values in zip(panels(figure)[6:9], (maps[:-1][chosen].sum(0), background, estimate)):
        np.testing.assert_allclose(shown(panel), values.clip(0, 1), atol=1e-6)
    first = max(np.flatnonzero(tags[place]), key=lambda c: stored["overlaps"][place, c])
    assert titles(figure)[3] == f"{CLASSES[first]} {stored['overlaps'][place, first]:.2f} > 0.4"
    assert {maps.shape[1:] for maps in Watched(photos).maps} == {(48, 64)}  # cut to the image


@pytest.mark.parametrize(("counts", "words"), [([1, 1], "1 object"), ([2, 2], "2 objects"), ([1, 3], "1 to 3 objects")])
def test_a_group_of_images_is_named_by_its_numbers_of_objects(counts, words):
    assert span(np.array(counts), np.array([0.25, 0.15])) == f"{words},\neach 20 % of\nthe image"


# --- charts -----------------------------------------------------------------------------------------------------------

def test_robustness_draws_differences_to_the_default(run, figures):
    for axes, values, row_of in zip(figures["robustness"].figure.axes, (TAUS, SHARES), (tau_row, share_row)):
        (line,) = [line for line in axes.lines if line.get_label() == "EPS, 95 % interval"]
        assert list(line.get_xdata()) == list(range(len(values)))
        assert [label.get_text() for label in axes.get_xticklabels()] == [f"{value:g}" for value in values]
        np.testing.assert_allclose(line.get_ydata(), [miou(run, row_of(value)) - miou(run, "adaptive")
                                                      for value in values], atol=1e-9)


def test_dial_draws_pseudo_masks_against_the_saliency_they_were_learned_from(run, figures):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = figures["dial"].figure
    (axes,) = figure.axes
    points = {(round(x, 6), round(y, 6)) for line in axes.lines if line.get_marker() in "oD"
              for x, y in zip(line.get_xdata(), line.get_ydata())}
    rows = {"masks": "adaptive"} | {name: f"saliency: {name}" for name in shown_detectors("quick")[1:]}
    counts = {name: run.results.stack(tables.foreground(name, split="train").sources[0]).sum(1) for name in rows}
    assert points == {(round(100 * foreground_iou(counts[name]).mean(), 6), round(miou(run, row), 6))
                      for name, row in rows.items()} and len(points) == 8
    (level,) = [line for line in axes.lines if line.get_label() == "CAM, without saliency"]
    assert level.get_ydata()[0] == pytest.approx(miou(run, "CAM"))
    FigureCanvasAgg(figure).draw()
    places = [text.get_window_extent() for text in axes.texts]
    assert len(places) == 8 and not any(a.overlaps(b) for i, a in enumerate(places) for b in places[:i])


def test_backgrounds_sweep_the_constant_score_and_mark_the_learned_map(run, figures):
    (axes,) = figures["backgrounds"].figure.axes
    lines, half = {line.get_label(): line for line in axes.lines}, BINS // 2
    for row, name in (("CAM", "CAM"), ("naive", "naive selection"), ("adaptive", "EPS")):
        truth, won, hit = np.moveaxis(run.results.stack(tables.backgrounds(row)).sum(1), 1, 0)  # (S, K, bins) each
        scores = []
        for t, w, h in zip(truth, won, hit):  # at a background of one half
            predicted, hits = w[:, half:].sum(1), h[:, half:].sum(1)
            predicted[0] += t[:, :half].sum()
            hits[0] += t[0, :half].sum()
            scores.append(np.mean(hits / (predicted + t.sum(1) - hits)))
        place = list(lines[name].get_xdata()).index(0.5)
        assert lines[name].get_ydata()[place] == pytest.approx(100 * np.mean(scores))
    assert lines["EPS, learned background"].get_ydata()[0] == pytest.approx(miou(run, "adaptive", "learned"))
    assert "CAM, learned background" not in lines


def test_learning_curves_are_means_over_seeds(run, figures):
    names = ["EPS", "naive selection", "EPS, rate / 10", "EPS, rate / 10, momentum 0.9"]
    for axes, name, scale in zip(figures["learning_curves"].figure.axes,
                                 ("classification", "saliency", "selected tags"), (1, 1, 100)):
        raw = [line for line in axes.lines if line.get_lw() == 0.5]
        assert [line.get_label() for line in axes.lines if line not in raw] == names
        for line, row in zip(raw, ("adaptive", "naive", "rate / 10", "rate / 10, momentum 0.9"), strict=True):
            seeds = [scale * np.array(seed[name]) for seed in run.results.each(tables.curves(row))]
            np.testing.assert_allclose(line.get_ydata(), np.mean(seeds, 0))


def test_the_framework_shows_a_salient_and_a_missed_object(figures):
    drawn, figure = example(), figures["fig2"].figure
    maps, overlaps = drawn["maps"], drawn["overlaps"]
    inside = [((each > 0.5) & (drawn["saliency"] > 0.5)).sum() / (each > 0.5).sum() for each in maps[:2]]
    np.testing.assert_allclose(overlaps, inside, atol=0.03)
    assert list(drawn["chosen"]) == [True, False]
    np.testing.assert_allclose(maps.sum(0), 1)
    np.testing.assert_allclose(drawn["background"], maps[1] + maps[2])
    np.testing.assert_allclose(drawn["estimated"], 0.5 * maps[0] + 0.5 * (1 - drawn["background"]))
    texts = [text.get_text().strip() for text in figure.axes[0].texts]
    assert f"tag 1: overlap {overlaps[0]:.2f} > 0.4" in texts
    whole, *pictures = (axes.get_position() for axes in figure.axes)
    for number, picture in enumerate(pictures):
        assert whole.x0 < picture.x0 and picture.x1 < whole.x1 and whole.y0 < picture.y0 and picture.y1 < whole.y1
        assert not any(picture.overlaps(other) for other in pictures[:number])
