"""The parts of the papers in each other's places: how labels are made, what may be read, what is shown."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from fake_run import TablesRun
from step_graph import functions, graph

from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.papers.scoreboard import figures, tables
from wsss_lab.papers.scoreboard import route as scoreboard
from wsss_lab.papers.scoreboard.route import DETECTORS, FUSIONS, MAPS, REFINEMENTS, SWAPS, Labels
from wsss_lab.refinement.dense_crf import V1

SIDE = 4


@pytest.fixture(scope="module")
def routes():
    return scoreboard.routes("quick", 2)


@pytest.fixture
def view():
    """One image of a cat and a dog; there is a cow among the classes."""
    images = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    images[:, :, 2:] = 255
    tags = np.array([[True, True, False]])
    return TrainView.from_arrays("train", ("cat", "dog", "cow"), ("a",), tags, images, "drawn")


@pytest.fixture
def maps():
    """Cat on the left, dog on the right, cow everywhere, which is no tag; before them a background."""
    left = np.tile([4.0, 2, 1, 0], (SIDE, 1))
    return np.stack([np.full((SIDE, SIDE), 9.0), left, 2 * left[:, ::-1], np.full((SIDE, SIDE), 8.0)])[None]


def test_maps_are_taken_relative_to_each_tags_maximum_without_background_and_classes_that_are_no_tags(view, maps):
    (plain,), (cows, *_) = scoreboard.agreed(view, maps, SIDE), scoreboard.agreed(view, maps[:, 1:], SIDE)
    assert plain[:, 0].tolist() == [[1, 0.5, 0.25, 0], [0, 0.25, 0.5, 1], [0, 0, 0, 0]]
    assert np.array_equal(plain, cows)
    saliency = np.full((1, SIDE, SIDE), 51, np.uint8)  # 0.2; the harmonic mean with 1, 1/2 and 1/4
    (mean,) = scoreboard.agreed(view, maps, SIDE, saliency)
    assert mean[0, 0].tolist() == pytest.approx([1 / 3, 2 / 7, 2 / 9, 0])


def test_the_threshold_is_that_which_does_best_on_other_images(view, maps):
    masks = np.tile(np.array([1, 1, 0, 0], np.uint8), (1, SIDE, 1))  # a cat alone, where its map is 1/2 or more
    other = EvalView.from_arrays("dev", view.classes, view.names, np.array([[True, False, False]]), view.image(0)[None],
                                 "drawn", masks=masks)
    counts = scoreboard.score_agreed(other, maps, SIDE)["counts"]
    found = scoreboard.cut(view, maps, SIDE, counts)
    assert 0.25 < found["threshold"] <= 0.5 and found["masks"][0, 0].tolist() == [1, 1, 2, 2]
    none = np.zeros((1, SIDE, SIDE), np.uint8)
    assert scoreboard.cut(view, maps, SIDE, counts, none)["masks"].max() == 0


def test_a_salient_region_is_filled_with_tags_alone(view, maps):
    salient = np.zeros((1, SIDE, SIDE), np.uint8)
    salient[0, :, 1:] = 1
    assert scoreboard.fill_region(view, maps, SIDE, salient)["masks"][0, 0].tolist() == [0, 1, 2, 2]
    assert set(np.unique(scoreboard.fill_region(view, 0 * maps, SIDE, salient)["masks"])) == {0, 1}  # never the cow


def test_labels_are_believed_with_seven_tenths_and_undecided_ones_not_at_all(view):
    found, present = scoreboard.belief(np.array([[0, 2, 255]], np.uint8), view.tags[0])
    assert present.tolist() == [0, 1, 2]
    assert found[:, 0].T.tolist() == [pytest.approx(row) for row in ([0.7, 0.15, 0.15], [0.15, 0.15, 0.7], [1 / 3] * 3)]


@pytest.mark.parametrize("how", [{"dilations": (1,)}, {"crf": asdict(replace(V1, spatial_weight=0))}])
def test_refined_labels_follow_the_colours(view, how):
    labels = np.zeros((1, SIDE, SIDE), np.uint8)
    labels[:, :, 2:], labels[0, 1, 2], labels[0, 2, 3] = 1, 0, 255  # the bright half is a cat, with a hole and a doubt
    refined = scoreboard.refine_labels(view, labels, **how)["masks"]
    assert np.array_equal(refined[0] == 1, view.image(0)[..., 0] > 0)


def test_each_way_is_one_step_of_its_own_and_all_papers_share_world_and_seed(routes):
    ways = [replace(way, detector=detector, refinement=refinement) for way in SWAPS for detector in DETECTORS
            for refinement in REFINEMENTS if way.fusion != "threshold" or detector == DETECTORS[0]]
    for route in routes:
        assert {each.seed for each in route.of.values()} == {route.seed}
        assert {each.world for each in route.of.values()} == {route.world}
        assert len({route.labels(way).key for way in ways}) == len({str(way) for way in ways}) == len(ways) == 195
    assert len(SWAPS) == len(MAPS) * len(FUSIONS) >= 20


def test_only_thresholds_read_masks_and_only_those_of_dev(routes):
    route = routes[0]
    for way in SWAPS:
        step = route.labels(way)
        reads = [each.label for each in graph(step) if each.reads_masks and each.stage == "evaluation"]
        expected = way.fusion in ("threshold", "harmonic mean", "G2")
        assert bool(reads) == expected and all("on dev" in each for each in reads), way
        assert any("dev" in each for each in step.pixel_labels()) == expected
    own = graph(*map(route.own_labels, MAPS.values()))
    assert not [each for each in own if each.stage == "evaluation"]


def test_papers_labels_and_networks_are_their_own_and_the_segmenter_is_one(routes):
    route = routes[1]
    assert route.own_labels("oh2017") == route.guided.guides_of("G2")
    assert route.taught(route.own_labels("oh2017")) == route.own_network("oh2017") == route.guided.scored("G2")
    assert "adapt_cues" in functions(route.own_labels("chaudhry2017"))
    for paper in MAPS.values():
        (taught,) = (each for each in reversed(graph(route.taught(route.own_labels(paper))))
                     if each.function.__name__ == "train_segmenter" and each.stage == "segmenter"
                     and each.inputs["pseudo_masks"].step == route.own_labels(paper))
        assert taught.settings["schedule"] == route.guided.scale.segmenter.settings()


def test_each_saliency_is_the_output_that_its_paper_makes(routes):
    route = routes[0]
    of = {name: route.saliency(name) for name in DETECTORS}
    assert of["erasing"].name == "S3" and of["erasing"].step == route.of["chaudhry2017"].hierarchy()
    assert of["boxes"].step == route.guided.saliency_maps() and "grabcut_targets" in functions(of["boxes"].step)
    assert functions(of["unsupervised"].step) == ["unsupervised_frames"]
    assert any("masks of other objects" in each for each in of["masks"].step.pixel_labels())


def test_shown_are_the_images_with_most_tags(routes, monkeypatch):
    run = TablesRun("scoreboard", "quick", routes, lambda run, *_: {"masks": run.draw_frames(8, run.images)}, images=8)
    run.compute = lambda *steps: None
    shown = []
    monkeypatch.setattr(figures.SplitPictures, "image", lambda self, index, title="": shown.append(index))
    figures.ways_shown(run, [Labels("EPS", "G2", "masks")], 3)
    tags = run.view("train").tags.sum(1)
    assert len(set(shown)) == 3 and min(tags[shown]) >= max(np.delete(tags, shown)) and max(tags) > min(tags)


def make(run: TablesRun, name: str, settings: dict) -> dict:
    assert name == "score_masks", name
    counts = run.draw(50, run.images, 9, 10)
    return {"confusions": counts}


def test_tables_and_charts_are_made_of_scores_alone(routes):
    run = TablesRun("scoreboard", "quick", routes, make, images=8)
    board = tables.scoreboard(run).frame.set_index("paper")
    assert board["printed, VOC val"].dropna().tolist() == [55.7, 60.8, 52.8, 62.7, 71.0]
    assert board.loc[tables.FULL, "of full supervision"] == 100
    swaps = tables.swaps(run).frame.set_index(["class maps", "fusion"])
    assert len(swaps) == len(SWAPS) and swaps["labels, train"].notna().all()
    parts = tables.parts(run).frame.set_index(["part", "option"])
    assert parts["combinations"].groupby("part").first().to_dict() == {
        "class maps": 4, "fusion": 5, "saliency": 15, "refinement": 5}
    assert parts["against the part's mean"].groupby("part").mean().to_dict() == pytest.approx(
        dict.fromkeys(tables.PARTS, 0), abs=1e-9)
    mean = swaps["labels, train"].xs("G2", level="fusion").mean()
    assert parts.loc[("fusion", "G2"), "labels, train"] == pytest.approx(mean)
    for figure in figures.FIGURES.values():
        assert figure(run).alt
