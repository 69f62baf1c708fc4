"""The figures of Oh et al. 2017, drawn from made-up results of the right shapes."""

import numpy as np
import pytest
import torch
from fake_run import SIDE, FakeRun, oh2017_routes
from figure_parts import assert_all_described, legend, panels, read_of_seed_one, rows_shown, shown

from wsss_lab.data.toyvoc import CLASSES, make_scenes
from wsss_lab.data.views import TrainView
from wsss_lab.lab.choices import spread_ranks
from wsss_lab.networks.heads import deeplab
from wsss_lab.papers.oh2017 import figures as oh2017_figures
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.oh2017.figures import Pictures
from wsss_lab.papers.oh2017.route import detect_shown, refine_shown
from wsss_lab.segmenter.training import segment

IMAGES, LABELS, BINS = 24, len(CLASSES) + 1, 8
#: Those of the paper; the others are charts of what its tables read.
FIGURES = {name: draw for name, draw in oh2017_figures.FIGURES.items() if name.startswith("fig")}


def fake_run(profile: str = "quick", seeds: int = 2, ready_made: bool = False) -> FakeRun:
    return FakeRun("oh2017", profile, oh2017_routes(seeds, ready_made), make)


def make(run: FakeRun, function: str, settings: dict) -> dict:
    draw, draw_frames, count = run.draw, run.draw_frames, settings.get("count", IMAGES)
    return {
        "toy_saliency_scenes": lambda: {"images": draw(255, 48, SIDE, SIDE, 3).astype(np.uint8),
                                        "boxes": np.tile([10.0, 12.0, 40.0, 50.0], (48, 1))},
        "score_masks": lambda: {"confusions": draw(9, IMAGES, LABELS, LABELS + 1)},
        "score_saliency": lambda: {"counts": draw(9, IMAGES, 4)},
        "score_maps": lambda: {"counts": 5 + draw(9, IMAGES, 3, LABELS, BINS)},
        "classifier_outputs": lambda: {"maps": run.rng.random((IMAGES, len(CLASSES), 8, 8))},
        "refine_shown": lambda: {"indices": run.rng.permutation(IMAGES)[:count],
                                 "masks": draw_frames(LABELS - 1, count)},
        "train_segmenter": lambda: {"history": np.linspace(2, 1, 40).tolist()},
        "detect_shown": lambda: {"indices": np.arange(count), "maps": draw_frames(255, count)},
        "saliency_frames": lambda: {"maps": draw_frames(255, IMAGES)},
        "u2net_frames": lambda: {"maps": draw_frames(255, IMAGES)},
    }.get(function, lambda: {"masks": draw_frames(LABELS - 1, IMAGES)})()


EXPECTED = {"fig1": 6, "fig2": 1, "fig3": 4, "fig4": 27, "fig5": 12, "fig6": 8, "fig7": 49, "fig8": 36, "fig9": 24,
            "fig10": 48, "fig11": 42, "fig12": 49, "fig13": 49}


def test_figures_are_complete_and_described(run, figures):
    assert_all_described("oh2017", figures, {}, EXPECTED, {"fig2"})
    assert read_of_seed_one(run) == {"score_maps"}


def test_figures_of_stages_share_no_image(figures):
    images = [shown(panels(figures[name].figure)[place]).tobytes() for name in ("fig7", "fig12", "fig13")
              for place in range(7)]
    assert len(set(images)) == 21


def test_images_are_chosen_by_the_rules_of_the_alt_texts(run, figures):
    train, quality, tags = Pictures(run, "train"), Pictures(run, "val").saliency_iou, run.scenes["tags"].sum(1)

    def rows(name, places):
        return rows_shown(run.scenes["images"], figures[name].figure, places)

    assert rows("fig4", range(9)) == list(spread_ranks(quality, 9))
    drawn = rows("fig10", [*range(8), *range(16, 24), *range(32, 40)])  # the last are the worst of the others
    assert sorted(drawn) == list(range(IMAGES)) and np.all(np.diff(quality[drawn[16:]]) >= 0)
    (median,), others = rows("fig6", [0]), rows("fig11", range(0, 42, 7))
    apart = np.sign(train.guide_iou[tags > 1] - train.guide_iou[median])
    assert abs(apart.sum()) <= 1 and median not in others and (tags[[median, *others]] > 1).all()


def test_fig8_lights_up_where_the_map_of_a_tag_is_highest(run):
    val = Pictures(run, "val")
    heat = val.class_map("HighRes", 3)
    assert heat.data.shape == (SIDE, SIDE) and heat.data.min() >= 0 and heat.data.max() == pytest.approx(1)
    np.testing.assert_array_equal(heat.under, run.scenes["images"][3])


def test_fig3_draws_the_mean_over_seeds(run, figures):
    figure = figures["fig3"].figure
    assert [legend(axes) for axes in figure.axes[1::2]] == [
        ["where mP is read", "GAP-LowRes", "GAP-HighRes", "GAP-ROI", "GAP-DeepLab", "centre mean shape"],
        ["where mP is read", "vanilla back-propagation", "guided back-propagation", "excitation back-propagation",
         "GAP-HighRes", "centre mean shape"]]
    counts = np.stack([run.load(oh2017_figures.seeder_score(route, "LowRes")["counts"]) for route in run.routes])
    whole = counts.sum((1, 4))  # (S, 3, K): at threshold 0 every pixel takes its winner
    recall = (whole[:, 2, 1:] / whole[:, 0, 1:]).mean()
    precision = (whole[:, 2, 1:] / whole[:, 1, 1:]).mean()
    line = next(line for line in figure.axes[0].lines if line.get_label() == "GAP-LowRes")
    np.testing.assert_allclose((line.get_xdata()[-1], line.get_ydata()[-1]), (recall, precision))


def test_learning_curves_are_those_of_table_2_and_of_full_supervision(run):
    drawn = oh2017_figures.learning_curves(run)
    names = [text.get_text() for text in drawn.figure.axes[0].get_legend().get_texts()]
    assert names == ["seeds only", "G0", "G1", "G2", "G2, saliency oracle", "ground truth"]
    assert "seeds only 1.01" in drawn.alt


def test_photographs_have_no_boxes_and_not_all_networks_and_the_alt_texts_say_so(figures):
    of_photos = {name: FIGURES[name](fake_run("photos", 1, ready_made=True)) for name in ("fig3", "fig5", "fig8")}
    assert "no saliency training set" in of_photos["fig5"].alt
    axes = panels(of_photos["fig5"].figure)
    assert not any(each.patches for each in axes) and shown(axes[0]).shape == (SIDE, SIDE, 3)
    assert all("Not trained in this profile: GAP-DeepLab." in of_photos[name].alt for name in ("fig3", "fig8"))
    assert len(panels(of_photos["fig8"].figure)) == 6 * 5
    assert not any("Not trained" in drawn.alt for drawn in figures.values())


# --- what is computed for the pictures alone --------------------------------------------------------------------------

BACKBONE = oh2017.SCALES["quick"].backbone


def network(labels: int) -> dict:
    torch.manual_seed(0)
    return deeplab(BACKBONE, labels).state_dict()


def test_refined_images_are_at_spread_ranks_and_labelled_as_in_the_whole_split():
    scenes = make_scenes(5, 1)
    view = TrainView.from_arrays("train", CLASSES, list("abcde"), scenes["tags"], scenes["images"], "generator")
    confusions = np.zeros((5, LABELS, LABELS + 1), int)
    confusions[:, 0, 0], confusions[:, 0, 1] = 10, [4, 0, 3, 1, 2]  # the best first: images 1, 3, 4, 2, 0
    crf = oh2017.routes("quick", 1)[0].crf("v2")
    state = network(LABELS)
    made = refine_shown(view, confusions, state, BACKBONE.settings(), crf, 3)
    assert made["indices"].tolist() == [1, 4, 0]
    everything = segment(view, state, BACKBONE.settings(), crf=crf)["masks"]
    np.testing.assert_array_equal(made["masks"], everything[[1, 4, 0]])


def test_detected_images_are_random_but_the_same_each_time():
    images = make_scenes(6, 2)["images"]
    state = network(2)
    made = detect_shown(images, state, BACKBONE.settings(), 4)
    assert len(set(made["indices"].tolist())) == 4 and made["maps"].shape == (4, SIDE, SIDE)
    assert made["maps"].max(axis=(1, 2)).tolist() == [255] * 4
    again = detect_shown(images, state, BACKBONE.settings(), 4)
    np.testing.assert_array_equal(again["maps"], made["maps"])
