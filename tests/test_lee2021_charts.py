"""The charts of Lee et al. 2021 from made-up results, its diagram, and the maps that the selection is shown with."""

import numpy as np
import pytest
import torch
from lee2021_scenes import LABELS, fake_run

from wsss_lab.data.toyvoc import CLASSES, make_scenes
from wsss_lab.data.views import TrainView
from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.papers.lee2021.figures import (
    backgrounds,
    dial,
    example,
    fig2,
    learning_curves,
    robustness,
    shown_detectors,
)
from wsss_lab.papers.lee2021.route import SCALES, SHARES, TAUS, share_row, shown_maps, tau_row, trained_rows
from wsss_lab.papers.lee2021.tables import Evidence
from wsss_lab.seeds.localisation import estimated_frames
from wsss_lab.seeds.saliency_supervision import Selection, localisation_net

CHARTS = {each.__name__: each for each in (robustness, dial, backgrounds, learning_curves)}


@pytest.fixture(scope="module")
def figures(run):
    return {name: draw(run) for name, draw in CHARTS.items()} | {"fig2": fig2(None)}


@pytest.fixture(scope="module")
def of_photos():
    return {name: draw(fake_run("photos", 1)) for name, draw in CHARTS.items()}


# --- charts ----------------------------------------------------------------------------------------------------------


def miou(run, row: str, output: str = "masks") -> float:
    return 100 * mean_iou(Evidence(run).pseudo(row, output=output).sum(1)).mean()


def test_robustness_draws_differences_to_the_default(run, figures, of_photos):
    for axes, values, row_of in zip(figures["robustness"].figure.axes, (TAUS, SHARES), (tau_row, share_row)):
        (line,) = [line for line in axes.lines if line.get_label() == "EPS, 95 % interval"]
        assert list(line.get_xdata()) == list(range(len(values)))
        assert [label.get_text() for label in axes.get_xticklabels()] == [f"{value:g}" for value in values]
        np.testing.assert_allclose(line.get_ydata(), [miou(run, row_of(value)) - miou(run, "adaptive")
                                                      for value in values], atol=1e-9)
    assert "this profile trains no other value" in of_photos["robustness"].alt


def test_dial_draws_pseudo_masks_against_the_saliency_they_were_learned_from(run, figures):
    (axes,) = figures["dial"].figure.axes
    points = {(round(x, 6), round(y, 6)) for line in axes.lines if line.get_marker() in "oD"
              for x, y in zip(line.get_xdata(), line.get_ydata())}
    rows = {"masks": "adaptive"} | {name: f"saliency: {name}" for name in shown_detectors("quick")[1:]}
    expected = {(round(100 * foreground_iou(Evidence(run).saliency(name, "train").sum(1)).mean(), 6),
                 round(miou(run, row), 6)) for name, row in rows.items()}
    assert points == expected and len(points) == 8
    (level,) = [line for line in axes.lines if line.get_label() == "CAM, without saliency"]
    assert level.get_ydata()[0] == pytest.approx(miou(run, "CAM"))


def test_labels_of_the_dial_do_not_overlap(figures):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = figures["dial"].figure
    FigureCanvasAgg(figure).draw()
    places = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(places) == 8
    assert not any(a.overlaps(b) for i, a in enumerate(places) for b in places[:i])


def test_backgrounds_sweep_the_constant_score_and_mark_the_learned_map(run, figures):
    (axes,) = figures["backgrounds"].figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    for row, name in (("CAM", "CAM"), ("naive", "naive selection"), ("adaptive", "EPS")):
        truth, won, hit = np.moveaxis(Evidence(run).counts(row).sum(1), 1, 0)  # (S, K, bins) each
        scores = []
        for t, w, h in zip(truth, won, hit):  # at a background of one half, 4 of 8 bins
            predicted, hits = w[:, 4:].sum(1), h[:, 4:].sum(1)
            predicted[0] += t[:, :4].sum()
            hits[0] += t[0, :4].sum()
            scores.append(np.mean(hits / (predicted + t.sum(1) - hits)))
        place = list(lines[name].get_xdata()).index(0.5)
        assert lines[name].get_ydata()[place] == pytest.approx(100 * np.mean(scores))
    assert lines["EPS, learned background"].get_ydata()[0] == pytest.approx(miou(run, "adaptive", "learned"))
    assert "CAM, learned background" not in lines


def test_learning_curves_are_means_over_seeds(run, figures, of_photos):
    names = ["EPS", "naive selection", "EPS, rate / 10", "EPS, rate / 10, momentum 0.9"]
    for axes, name, scale in zip(figures["learning_curves"].figure.axes,
                                 ("classification", "saliency", "selected tags"), (1, 1, 100)):
        raw = [line for line in axes.lines if line.get_lw() == 0.5]
        assert [line.get_label() for line in axes.lines if line not in raw] == names
        for line, row in zip(raw, ("adaptive", "naive", "rate / 10", "rate / 10, momentum 0.9"), strict=True):
            np.testing.assert_allclose(line.get_ydata(), scale * Evidence(run).curves(row)[name].mean(0))
    labels = [line.get_label() for line in of_photos["learning_curves"].figure.axes[0].lines if line.get_lw() > 1]
    assert labels == names[:2] and "rate / 10" not in trained_rows("photos")


# --- the framework ---------------------------------------------------------------------------------------------------


def test_the_framework_shows_a_salient_and_a_missed_object(figures):
    drawn = example()
    inside = [((each > 0.5) & (drawn.saliency > 0.5)).sum() / (each > 0.5).sum() for each in drawn.maps[:2]]
    np.testing.assert_allclose(drawn.overlaps, inside, atol=0.03)
    assert list(drawn.chosen) == [True, False]
    np.testing.assert_allclose(drawn.maps.sum(0), 1)
    np.testing.assert_allclose(drawn.background, drawn.maps[1] + drawn.maps[2])
    np.testing.assert_allclose(drawn.estimated, 0.5 * drawn.maps[0] + 0.5 * (1 - drawn.background))
    assert f"tag 1: overlap {drawn.overlaps[0]:.2f} > 0.4" in [
        text.get_text().strip() for text in figures["fig2"].figure.axes[0].texts]


def test_the_framework_keeps_its_pictures_apart(figures):
    whole, *pictures = (axes.get_position() for axes in figures["fig2"].figure.axes)
    for number, picture in enumerate(pictures):
        assert whole.x0 < picture.x0 and picture.x1 < whole.x1 and whole.y0 < picture.y0 and picture.y1 < whole.y1
        assert not any(picture.overlaps(other) for other in pictures[:number])


# --- maps ----------------------------------------------------------------------------------------------------------


def test_shown_maps_are_those_that_the_saliency_is_estimated_from():
    backbone, selection = SCALES["quick"].main, Selection()
    scenes, rng = make_scenes(4, 0), np.random.default_rng(0)
    view = TrainView.from_arrays("toyvoc/train", CLASSES, list("abcd"), scenes["tags"], scenes["images"][:, :48],
                                 "generator")
    saliency = rng.integers(0, 256, (4, 48, 64)).astype(np.uint8)
    torch.manual_seed(0)
    net = localisation_net(backbone, len(CLASSES), background=True)
    with torch.no_grad():
        net.classifier.weight.mul_(400)  # so that the map of a tag exceeds a half
    found = shown_maps(view, net.state_dict(), backbone.settings(), selection.settings(), saliency, [3, 1])
    assert found["maps"].shape == (2, LABELS, 48, 64) and found["chosen"].any()
    np.testing.assert_allclose(found["maps"].astype(float).sum(1), 1, atol=0.01)
    expected = estimated_frames(view, net.state_dict(), backbone.settings(), selection.settings(), saliency)["maps"]
    for place, image in enumerate((3, 1)):
        maps, tags = found["maps"][place].astype(np.float32), scenes["tags"][image]
        inside = [((each > 0.5) & (saliency[image] > 127)).sum() / ((each > 0.5).sum() + 1e-4 * 48 * 64)
                  for each in maps[:-1]]
        np.testing.assert_allclose(found["overlaps"][place], inside, atol=0.02)
        np.testing.assert_array_equal(found["chosen"][place], tags & (found["overlaps"][place] > 0.4))
        background = maps[:-1][tags & ~found["chosen"][place]].sum(0) + maps[-1]
        estimate = 0.5 * maps[:-1][found["chosen"][place]].sum(0) + 0.5 * (1 - background)
        np.testing.assert_allclose(255 * estimate, expected[image], atol=1)
