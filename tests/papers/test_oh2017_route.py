"""The route of Oh et al. 2017: printed values, the graph of its rows, what changes keys and what doesn't."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.lab.published import published
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.oh2017.route import ROWS
from wsss_lab.refinement.dense_crf import CRF_SETS

torch.set_num_threads(1)
PAPER = oh2017


# --- printed values --------------------------------------------------------------------------------------------------

def test_sizes_of_g2_are_printed_at_321_pixels_and_scaled_with_the_input(route, printed):
    settings = route.guides("G2").settings
    assert settings["min_seed_area"] == pytest.approx(25 * (64 / 321) ** 2)
    assert settings["blur"] == pytest.approx(10 * 64 / 321) and settings["min_area"] == 0.01
    settings = printed.guides("G2", detector="unsupervised").settings
    assert (settings["min_seed_area"], settings["blur"], settings["crf"]) == (25, 10, asdict(CRF_SETS["v2"]))


@pytest.mark.parametrize("name", ["table4", "table5"])
def test_the_delta_column_follows_from_the_printed_scores(name):
    """Delta is the difference to the row of GAP-HighRes seeds with CRF loss and post-processing v1, 50.4."""
    table = published("oh2017", name)
    reference = table.query("seed_method == 'GAP-HighRes' and crf_loss == crf_postproc == 'v1'")["val_miou_pct"].item()
    assert reference == 50.4
    np.testing.assert_allclose(table["val_miou_pct"] - reference, table["delta_miou_pp"], atol=0.05)


def test_every_row_of_table_2_is_trained_on_photographs_too(route):
    assert {"seeds", "G0", "G1", "G2", "oracle", "full"} <= set(oh2017.trained_rows("photos"))
    assert set(oh2017.trained_rows("photos")) <= set(ROWS) == set(oh2017.trained_rows("toy"))
    assert replace(route, profile="photos").left_out >= {"DeepLab", "ROI G2"} and not route.left_out


# --- the graph -------------------------------------------------------------------------------------------------------

def test_a_row_rests_on_its_own_networks_and_on_no_other_segmenter(route):
    nets = {net: route.classifier(net) for net in ("HighRes", "ROI", "VGG-16")}
    assert {row: [net for net, step in nets.items() if step in route.trained(row).ancestors()] for row in (
        "seeds", "G0", "G1", "G2", "ROI G2", "full")} == {
            "seeds": ["HighRes"], "G0": [], "G1": ["VGG-16"], "G2": ["HighRes"], "ROI G2": ["ROI"], "full": []}
    behind = route.trained("G2").ancestors()
    assert {each.stage for each in behind} == {"data", "networks", "seeds", "saliency", "fusion"}
    assert {route.saliency_network(), route.guides("G2")} <= set(behind)
    assert route.guides_of("seeds, crf-loss v1") == route.guides_of("seeds") == route.seeds()


def test_the_pooling_is_moved_behind_the_linear_layer_of_one_network(route):
    last, first = map(route.class_maps, (oh2017.POOLED_LAST, oh2017.POOLED))
    assert last.settings == first.settings
    trainings = [maps.inputs["state"].step for maps in (last, first)]
    assert [each.function.__name__ for each in trainings] == ["train_pooled_last", "train_classifier"]
    assert trainings[0].settings == trainings[1].settings


# --- keys ------------------------------------------------------------------------------------------------------------

def test_the_released_variant_is_another_guide_from_the_same_parts(route):
    paper, released = route.guides("G2"), route.guides("G2", unset="released")
    assert paper.key != released.key and set(paper.parents) == set(released.parents)
    assert route.guides_of("G2 released") == released and route.guides_of("G2") == paper


def test_crf_switches_change_exactly_their_own_step(route):
    plain, loss = route.trained("seeds"), route.trained("seeds, crf-loss v1")
    assert plain.key != loss.key and set(plain.parents) == set(loss.parents)
    assert route.prediction(plain).key != route.prediction(plain, "v1").key != route.prediction(plain, "v2").key
    refined = route.guides_of("seeds, crf-seed v1")
    assert refined.key != route.seeds().key and set(refined.parents) == set(route.seeds().parents)
    released = route.seeds(released=True)
    assert released.settings == {**route.seeds().settings, "released": True} and released.label != route.seeds().label


def test_words_that_mean_nothing_are_refused(route):
    with pytest.raises(ParameterError, match="unknown guide rule 'G3'"):
        route.guides("G3")
    with pytest.raises(ParameterError, match="unknown saliency detector 'orcale'") as caught:
        route.salient(detector="orcale")
    assert caught.value.fix == "did you mean 'oracle'?"


def test_maps_of_somebody_else_come_from_a_folder(route, tmp_path):
    import cv2

    from wsss_lab.lab.compute import compute
    from wsss_lab.lab.store import Store

    store, step = Store(tmp_path / "store"), None
    compute(route.world.train_view("val").steps, store, jobs=0, progress="none")
    view = route.world.train_view("val").load(store)
    maps = tmp_path / "maps"
    maps.mkdir()
    for index, name in enumerate(view.names):
        picture = np.zeros(view.size(index), np.uint8)
        picture[:10] = 255
        cv2.imwrite(str(maps / f"{name}.png"), picture)
    step = route.salient("val", str(maps))
    compute([step], store, jobs=0, progress="none")
    salient = step.load(store)["masks"]
    assert salient[:, :10].all() and not salient[:, 10:].any()

    (maps / f"{view.names[0]}.png").write_bytes(b"other")
    assert route.salient("val", str(maps)).key != step.key
    with pytest.raises(DataError, match="no folder"):
        _ = route.salient("val", str(tmp_path / "nowhere") + "/").key
