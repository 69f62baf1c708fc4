"""The picture figures of Lee et al. 2021, and what holds for all of its figures, from made-up results."""

from pathlib import Path

import numpy as np
import pytest
import torch
from figure_parts import assert_described, panels, rows_shown, shown, words
from lee2021_scenes import IMAGES, LABELS, PAIRS, fake_run
from step_graph import unlisted

from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.evaluation.confusion import iou, mean_iou
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.lab.plots import colour_mask
from wsss_lab.lab.published import artifact_list
from wsss_lab.lab.steps import topological
from wsss_lab.papers.lee2021 import figures as lee2021_figures
from wsss_lab.papers.lee2021.figures import FIGURES, WATCHED, Crowded, Pictures, Watched, _span, shown_detectors

MEASURED = {"learning_curves", "backgrounds", "robustness", "dial"}


def titles(figure) -> list[str]:
    return [axes.get_title() for axes in panels(figure)]


def loaded(run, step, name: str = "confusions") -> np.ndarray:
    return np.asarray(run.load(step[name]), float)


def pseudo_score(run, row: str) -> np.ndarray:
    return loaded(run, run.route.score(run.route.masks(row)))


# --- all figures -----------------------------------------------------------------------------------------------------


def test_every_figure_of_the_paper_is_here():
    listed = artifact_list("lee2021")
    figures = list(listed["id"][listed["kind"] == "figure"])
    assert list(FIGURES)[:len(figures)] == figures


EXPECTED = {"fig1": 20, "fig2": 9, "fig3": 32, "fig4": 20, "fig5": 36, "detector_maps": 54, "learning_curves": 3,
            "fig6": 36, "backgrounds": 1, "robustness": 2, "dial": 1}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_its_panels_a_title_and_an_alt_text(figures, of_photos, name):
    if name in EXPECTED:
        assert len(panels(figures[name].figure)) == EXPECTED[name]
    for drawn in (figures[name], of_photos[name]):
        assert_described(drawn)
        assert drawn.kind == ("measured" if name in MEASURED else "schematic" if name == "fig2" else "qualitative")


@pytest.mark.usefixtures("figures", "of_photos")
def test_steps_names_all_that_the_figures_load(run, photos):
    for each in (run, photos):
        assert each.loaded and not unlisted(each.loaded, lee2021_figures.steps(each))


def test_detectors_need_no_classifier():
    run = fake_run()
    FIGURES["detector_maps"](run)
    promised = set(topological(lee2021_figures.saliency_steps(run)))
    assert run.loaded and set(run.loaded) <= promised
    assert not any(step.stage == "seeds" for step in promised)


def test_pictures_are_of_seed_zero_and_charts_of_all_seeds(run, figures):
    of_seed_one = {step.function.__name__ for step in run.loaded if "seed 1" in step.label}
    assert of_seed_one == {"score_masks", "score_saliency", "score_localisations", "train_localisation"}


def test_photographs_stay_out_of_the_repository_and_charts_do_not():
    kept = (Path(__file__).parent.parent / ".gitignore").read_text().splitlines()
    for name in FIGURES:
        assert (f"!figures/photos/lee2021/{name}.png" in kept) == (name in MEASURED or name == "fig2"), name


# --- pictures --------------------------------------------------------------------------------------------------------


def test_fig1_shows_objects_that_saliency_misses_and_eps_finds(run, figures):
    route, tags = run.route, run.scenes["tags"]
    covered = loaded(run, route.covered(route.saliency("masks", route.scored)))
    scores = iou(pseudo_score(run, "adaptive"))
    gains = {}
    for i in np.flatnonzero(tags.sum(1) > 1):
        of_tags = {c: scores[i, c + 1] - covered[i, c + 1, 1] / covered[i, c + 1].sum()
                   for c in np.flatnonzero(tags[i])}
        c = max((c for c in of_tags if np.isfinite(of_tags[c])), key=of_tags.get)
        gains[i] = (of_tags[c], c)
    best = sorted(gains, key=lambda i: -gains[i][0])[:4]
    assert rows_shown(run.scenes["images"], figures["fig1"].figure, range(0, 20, 5)) == best
    c = gains[best[0]][1]
    share = covered[best[0], c + 1, 1] / covered[best[0], c + 1].sum()
    assert CLASSES[c] in words(figures["fig1"].figure)
    cam = iou(pseudo_score(run, "CAM"))[best[0], c + 1]
    assert titles(figures["fig1"].figure)[2:5] == [
        f"{100 * share:.0f} % salient", f"IoU {100 * cam:.0f} %", f"IoU {100 * scores[best[0], c + 1]:.0f} %"]
    pseudo = run.load(route.masks("CAM")["masks"])[best[0]]
    np.testing.assert_array_equal(shown(panels(figures["fig1"].figure)[3]), colour_mask(pseudo, len(CLASSES)))


def test_fig3_goes_from_the_largest_gain_over_the_median_to_the_largest_loss(run, figures):
    route = run.route
    before, after = (foreground_iou(run.load(route.saliency_score(maps)["counts"]))
                     for maps in (route.saliency("masks", "val"), route.estimated()))
    order = np.argsort(before - after, kind="stable")
    places = [*order[:3], *order[11:13], *order[-3:]]
    assert rows_shown(run.scenes["images"], figures["fig3"].figure, range(8)) == places
    assert titles(figures["fig3"].figure)[16:] == [f"IoU {100 * each[i]:.0f} %" for each in (before, after)
                                                   for i in places]
    maps = run.load(route.estimated()["maps"])[places[0]]
    np.testing.assert_allclose(shown(panels(figures["fig3"].figure)[24]), maps / 255)


def test_fig4_shows_where_eps_changes_each_score_most(run, figures):
    route, tags = run.route, run.scenes["tags"]
    rows = ("CAM", "naive", "adaptive")
    confusions = {row: pseudo_score(run, row) for row in rows}
    edges, false, pixels = {}, {}, {}
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


def test_false_surroundings_are_all_background_where_no_class_keeps_to_a_context(run):
    other = fake_run(seeds=1)
    stored = other.load(other.route.contexts(other.route.masks("adaptive")))
    stored["present"][:] = False
    train = Pictures(other, other.route.scored)
    counts = np.asarray(stored["confusions"], float)
    np.testing.assert_allclose(train.false_surroundings("adaptive")[:, 0],
                               [each[0, 1:-1].sum() / each.sum() for each in counts])
    assert train.surroundings == ["background labelled\nas an object"]
    assert len(Pictures(run, run.route.scored).surroundings) == len(PAIRS)


def test_fig5_shows_the_best_the_median_and_the_worst(run, figures):
    scores = mean_iou(loaded(run, run.route.score(run.route.prediction(), "val")))
    order = np.argsort(-scores, kind="stable")
    expected = [*order[:3], *order[9:15], *order[:-4:-1]]
    assert rows_shown(run.scenes["images"], figures["fig5"].figure, range(0, 36, 3)) == expected
    assert titles(figures["fig5"].figure)[2::3] == [f"IoU {100 * scores[i]:.0f} %" for i in expected]


def test_fig6_compares_the_quarters_with_the_fewest_and_the_most_objects(run, figures):
    images = run.load(run.route.crowded.world.scenes("val"))["images"]
    facts = run.load(run.route.crowded.objects())
    scores = Crowded(run).segmenter_iou("V2, VGG16")
    order = sorted(range(IMAGES), key=lambda i: (facts["objects"][i], -facts["area"][i]))
    few, many = (sorted(group, key=lambda i: -scores[i]) for group in (order[:6], order[-6:]))
    assert rows_shown(images, figures["fig6"].figure, range(0, 36, 3)) == few + many
    counts = facts["objects"][many]
    assert any(text.startswith(f"{counts.min()} to {counts.max()} objects,\n") for text in words(
        figures["fig6"].figure))


def test_fig6_gets_by_with_a_handful_of_images(run, monkeypatch):
    objects = np.zeros(IMAGES, int)
    objects[[3, 8, 11, 20]] = 4, 1, 2, 3
    monkeypatch.setattr(Crowded, "objects", property(lambda val: (objects, np.full(IMAGES, 0.1))))
    images = run.load(run.route.crowded.world.scenes("val"))["images"]
    drawn = lee2021_figures.fig6(run)
    assert rows_shown(images, drawn.figure, (0, 3)) == [8, 3] and len(panels(drawn.figure)) == 6


def test_fig6_looks_at_the_main_world_where_there_is_no_other(photos, of_photos):
    val = Crowded(photos)
    assert val.stands_in and val.net == "V1, MobileNetV2" and val.route is photos.route
    assert "this profile has no world of many objects" in of_photos["fig6"].alt


def test_detectors_show_the_maps_that_classifiers_learn_from(run, figures, of_photos):
    route, figure = run.route, figures["detector_maps"].figure
    names = ["masks", "boxes", "unsupervised", "oracle", "eroded", "blurred", "noisy"]
    assert shown_detectors("quick") == [*names, "no saliency"]
    scores = [foreground_iou(run.load(route.saliency_score(route.saliency(name, "train"), "train")["counts"]))
              for name in names]
    indices = rows_shown(run.scenes["images"], figure, range(0, 54, 9))
    assert scores[0][indices[0]] == scores[0].max() and scores[0][indices[-1]] == scores[0].min()
    assert np.all(np.diff(scores[0][indices]) <= 0)
    assert titles(figure)[2:9] == [f"IoU {100 * each[indices[0]]:.0f} %" for each in scores]
    np.testing.assert_allclose(shown(panels(figure)[8]), run.load(route.saliency("noisy")["maps"])[indices[0]] / 255)
    assert len(panels(of_photos["detector_maps"].figure)) == 6 * 5  # image, truth, masks, unsupervised, oracle


def test_detectors_are_shown_without_the_dial_where_it_is_not_run(monkeypatch):
    monkeypatch.delenv("WSSS_SALIENCY", raising=False)
    voc = fake_run("voc", 1)
    assert len(panels(FIGURES["detector_maps"](voc).figure)) == 6 * 4  # image, truth, masks, unsupervised
    (axes,) = FIGURES["dial"](voc).figure.axes
    assert {text.get_text() for text in axes.texts} == {"masks", "unsupervised"}


def test_selection_shows_one_image_for_each_number_of_selected_tags(run, figures):
    watched, figure = Watched(run), figures["selection"].figure
    stored = {name: np.asarray(each) for name, each in run.load(watched.step()).items()}
    tags = run.scenes["tags"][list(watched.images)]
    assert len(set(watched.images)) == len(watched.images) == min(WATCHED, (run.scenes["tags"].sum(1) == 2).sum())
    assert np.all(tags.sum(1) == 2)
    clear = [(stored["maps"][place, :-1][tag] > 0.5).any((1, 2)).all() for place, tag in enumerate(tags)]
    expected = {}
    for name, count, value in (("one of\ntwo tags", 1, np.ptp), ("both\ntags", 2, np.min),
                               ("neither\ntag", 0, lambda pair: -np.max(pair))):
        values = {(clear[place], value(stored["overlaps"][place][tag])): watched.images[place]
                  for place, tag in enumerate(tags) if stored["chosen"][place][tag].sum() == count}
        if values:
            expected[name] = values[max(values)]
    assert watched.cases() == expected and len(expected) >= 2
    images = list(expected.values())
    assert rows_shown(run.scenes["images"], figure, range(0, 9 * len(images), 9)) == images
    place = watched.images.index(images[0])
    maps = torch.tensor(stored["maps"][place].astype(np.float32))
    chosen = torch.tensor(stored["chosen"][place])
    background = maps[:-1][torch.tensor(tags[place]) & ~chosen].sum(0) + maps[-1]
    estimate = 0.5 * maps[:-1][chosen].sum(0) + 0.5 * (1 - background)
    for panel, values in zip(panels(figure)[6:9], (maps[:-1][chosen].sum(0), background, estimate)):
        np.testing.assert_allclose(shown(panel), values.clip(0, 1), atol=1e-6)
    first = max(np.flatnonzero(tags[place]), key=lambda c: stored["overlaps"][place, c])
    assert titles(figure)[3] == f"{CLASSES[first]} {stored['overlaps'][place, first]:.2f} > 0.4"


def test_maps_are_cut_to_the_image(photos):
    watched = Watched(photos)
    index = watched.images[1]
    assert watched.maps(index).shape == (LABELS, 48, 64)
    assert watched.saliency("masks", index).data.shape == (48, 64)


@pytest.mark.parametrize(("counts", "words"), [([1, 1], "1 object"), ([2, 2], "2 objects"), ([1, 3], "1 to 3 objects")])
def test_a_group_of_images_is_named_by_its_numbers_of_objects(counts, words):
    assert _span(np.array(counts), np.array([0.25, 0.15])) == f"{words},\neach 20 % of\nthe image"
