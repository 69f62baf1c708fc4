"""The route of Chaudhry et al. 2017: printed values, the graph of its rows, what changes keys and what doesn't."""

from dataclasses import replace

import pytest
import torch
from fake_run import chaudhry2017_routes
from step_graph import functions, graph

from wsss_lab.errors import DataError, ParameterError, WeightsError
from wsss_lab.lab import worlds
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.published import published
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.trunks import RESNET101_BLOCKS, TOY_BLOCKS, VGG16_BLOCKS, vgg_trunk
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.chaudhry2017.route import (
    POSTPROCESSED,
    PUBLISHED,
    ROWS,
    SCALES,
    TESTED,
    Row,
    trained_rows,
    tuning_split,
)
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.refinement.dense_crf import CrfParameters

torch.set_num_threads(1)
PAPER = chaudhry2017
PROFILES = ("quick", "toy", "photos", "voc")


# --- printed values --------------------------------------------------------------------------------------------------


def test_the_voc_profile_has_the_printed_networks(printed):
    scale = SCALES["voc"]
    assert scale.main == Backbone("resnet", RESNET101_BLOCKS, aspp=(6, 12, 18, 24), side=321)
    assert scale.second == Backbone("vgg", VGG16_BLOCKS, 1024, 12, (6, 12, 18, 24), 0.5, 321)
    assert (printed.network_name("main"), printed.network_name("second"), printed.side) == ("ResNet", "VGG", 321)


def test_the_voc_profile_looks_as_printed(printed):
    predicted = printed.prediction("S3 + adapt", crf=True).settings
    assert predicted["scales"] == [1.0, 0.75, 0.5] and CrfParameters(**predicted["crf"]) == PUBLISHED.crf
    assert printed.prediction("S3 + adapt").settings["crf"] is None
    for step in (printed.hierarchy(), printed.erasing_thresholds()):
        assert step.settings["thresholds"] == [0.7, 0.8]
    assert printed.cues("S3").settings["gamma"] == 0.4
    for step in (printed.volumes(), printed.cues_of("S3 + adapt", 2)):
        assert step.settings["scales"] == [1.0, 0.75, 0.5]
    for step in (printed.attention(), printed.trained("S3")):
        assert step.settings["random_scale"] == [0.5, 1.5]


def test_lengths_in_pixels_are_scaled_with_the_input(route):
    crf = route.crf(PUBLISHED.crf)
    assert crf["bilateral_xy"] == pytest.approx(49 * 64 / 321)
    assert (crf["bilateral_rgb"], crf["bilateral_weight"], crf["spatial_weight"]) == (5, 4, 3)


def test_gamma_is_the_papers_in_every_profile():
    assert {SCALES[profile].gamma for profile in PROFILES} == {0.4} and set(SCALES) == set(PROFILES)


# --- rows ------------------------------------------------------------------------------------------------------------


def test_every_printed_row_of_table_2_is_trained_and_scored():
    for _, line in published("chaudhry2017", "table2").iterrows():
        name = line["saliency_mask"].split()[0] + (" + adapt" if line["adapt"] == "yes" else "")
        assert ROWS[name] == Row(line["saliency_mask"].split()[0], 2 if line["adapt"] == "yes" else 1)
        assert line["crf"] == "no" or name in POSTPROCESSED


@pytest.mark.parametrize(("table", "tested"), [("table5", False), ("table6", True)])
def test_every_printed_row_of_tables_5_and_6_is_trained_and_scored(table, tested):
    for _, line in published("chaudhry2017", table).iterrows():
        name = f"{line['saliency_step']} + adapt"
        assert ROWS[name] == Row(line["saliency_step"], 2) and name in POSTPROCESSED
        assert not tested or name in TESTED


def test_profiles_train_what_they_can():
    alike = chaudhry2017.AS_RELEASED
    assert set(ROWS) - set(trained_rows("toy")) == set(ROWS) - set(trained_rows("quick")) == {alike}
    assert set(ROWS) - set(trained_rows("voc")) == {alike, "S3, geometric mean", "S3, arithmetic mean"}
    for profile in PROFILES:  # the two label pixels alike
        assert len({alike, "S3 + adapt, released gradient"} & set(trained_rows(profile))) == 1
    photos = [ROWS[name] for name in trained_rows("photos")]
    assert {row.net for row in photos} == {"main"} and {row.mean for row in photos} == {"harmonic"}
    assert {"S1", "S1 + adapt", "S3", "S3 + adapt", "G2"} <= set(trained_rows("photos"))
    assert set(TESTED) <= set(POSTPROCESSED) <= set(ROWS)
    for profile in PROFILES:
        world = dict(worlds.TOY_COUNTS.get(profile, ()))
        assert has_test(profile) == ("test" in world) and tuning_split(profile) == ("dev" if "dev" in world else "val")


def test_both_networks_of_a_comparison_are_trained_for_as_long():
    """The G2 rows and the control without adapted cues get the second round too."""
    for name in ("S3, longer", "G2", "full", "VGG, G2"):
        assert ROWS[name].rounds == ROWS["S3 + adapt"].rounds and not ROWS[name].adapt
    assert ROWS["G2"].gradient == ROWS["VGG, G2"].gradient == "pixel"


# --- the graph -------------------------------------------------------------------------------------------------------


def test_the_stages_of_the_main_row(route):
    names = [step.function.__name__ for step in graph(route.scored("S3 + adapt", crf=True))]
    order = ["toy_crops", "pretrain", "train_attention", "attention_outputs", "cue_frames", "train_joint", "adapt_cues",
             "segment_multiscale", "score_masks"]
    assert [name for name in dict.fromkeys(names) if name in order] == order
    assert [names.count(name) for name in ("train_joint", "network_hierarchy", "train_saliency")] == [2, 1, 1]


def test_a_row_without_adapting_is_the_first_round_of_the_row_with_it(route):
    for kind in ("S1", "S2", "S3"):
        adapted = f"{kind} + adapt"
        assert route.trained(adapted, 1) == route.trained(kind)
        assert route.trained(kind) in route.trained(adapted).parents
        assert route.cues_of(adapted, 2).inputs["state"] == route.trained(kind)["state"]
        assert route.cues_of(adapted, 1) == route.cues_of(kind) == route.cues(kind)


def test_rows_share_the_rounds_that_they_have_in_common(route):
    main = route.trained("S3 + adapt")
    assert route.trained("S3 + adapt twice", 2) == main
    assert route.trained("S3, longer", 1) == route.trained("S3 + adapt, released masking", 1) == route.trained("S3")
    assert route.cues_of("S3 + adapt twice", 3).inputs["state"] == main["state"]
    assert route.cues_of("S3, longer", 2) == route.cues("S3")


def test_the_second_round_goes_on_from_the_first(route):
    for name, row in ROWS.items():
        if row.rounds > 1:
            assert route.trained(name).inputs["state"] == route.trained(name, row.rounds - 1)["state"]
        first = route.trained(name, 1)
        assert first.inputs["state"] == route.attention(row.net, frozen=row.frozen)["state"]


def test_each_round_draws_its_own_batches_and_has_the_same_schedule(route):
    rounds = [route.trained("S3 + adapt twice", number) for number in (1, 2, 3)]
    assert len({step.settings["seed"] for step in rounds}) == 3
    assert all(step.settings["schedule"] == route.scale.round.settings() for step in rounds)


def test_gradients_have_rounds_of_their_own_on_the_same_first_cues(route):
    names = ("S3 + adapt", "S3 + adapt, released gradient", "S3 + adapt, pixel loss only")
    for number in (1, 2):
        steps = [route.trained(name, number) for name in names]
        assert len({step.key for step in steps}) == 3
        assert [step.settings["gradient"] for step in steps] == ["joint", "released", "pixel"]
    assert len({route.cues_of(name).key for name in names}) == 1
    assert len({route.cues_of(name, 2).key for name in names}) == 3


def test_the_same_attention_serves_every_row_of_a_network(route):
    for name, row in ROWS.items():
        expected = route.attention(row.net, frozen=row.frozen)
        trainings = [step for step in graph(route.trained(name)) if step.function.__name__ == "train_attention"]
        assert expected in trainings and len(trainings) == 1


def test_cues_differ_in_their_saliency_only(route):
    steps = {kind: route.cues(kind) for kind in ("S1", "S2", "S3", "attention")}
    assert len({step.key for step in steps.values()}) == 4
    assert len({step.inputs["maps"].key for step in steps.values()}) == 1
    assert {kind: step.inputs["saliency"].name for kind, step in steps.items() if "saliency" in step.inputs} == {
        "S1": "S1", "S2": "S2", "S3": "S3"}
    assert "network_hierarchy" not in functions(steps["attention"])


def test_rows_of_another_paper_learn_from_its_guides(route):
    assert route.cues_of("G2") == route.cues_of("VGG, G2") == route.guided.guides("G2")
    assert route.cues_of("full") == route.guided.truth()
    assert not {"cue_frames", "network_hierarchy", "adapt_cues"} & set(functions(route.trained("G2")))


def test_another_mean_reads_other_images_for_its_gamma(route):
    for mean in ("geometric", "arithmetic"):
        cues = route.cues("S3", mean=mean)
        counts = cues.inputs["counts"].step
        assert counts == route.agreement(mean, "S3", "dev") and "gamma" not in cues.settings
        assert counts.inputs["view"].split == "dev" and cues.inputs["view"].split == "train"
    assert route.trained("S3, geometric mean").inputs["state"] == route.trained("S3").inputs["state"]


def test_the_second_network_uses_its_own_start_and_attention(route):
    names = functions(route.trained("VGG, S3 + adapt"))
    assert names.count("train_attention") == 1 and route.attention("main") not in graph(route.trained("VGG, G2"))
    assert route.attention("second").inputs["start"] == route.guided.start
    assert route.attention("main").inputs["start"].key != route.guided.start.key
    assert route.attention("second").settings["backbone"]["family"] == "vgg"


def test_what_is_erased_takes_the_training_images_mean_and_thresholds_are_each_detectors_own(route):
    own, other, matched = route.hierarchy("val"), route.hierarchy("val", "unsupervised"), route.erasing_thresholds()
    colour = own.inputs["fill"]
    assert colour == other.inputs["fill"] == matched.inputs["fill"]
    assert colour.step.function.__name__ == "mean_colour" and colour.step.inputs["view"].split == "train"
    assert other.inputs["thresholds"] == matched["thresholds"] and "thresholds" not in other.settings
    assert matched.inputs["view"].split == "dev" and not matched.pixel_labels()
    assert matched.inputs["state"] == own.inputs["state"]


def test_saliency_of_both_papers_comes_from_one_network(route):
    assert route.guided.saliency_network() in graph(route.hierarchy()) and route.guided.saliency_network() in graph(
        route.guided.guides("G2"))


def test_scores_without_training_use_what_was_made_anyway(route):
    direct = route.direct("predicted")
    assert direct.inputs["maps"] == route.volumes("val")["maps"]
    assert direct.inputs["saliency"] == route.hierarchy("val")["S3"]
    assert route.direct("known").key != direct.key
    assert "train_joint" not in functions(route.score(direct))


# --- keys ------------------------------------------------------------------------------------------------------------


def test_gamma_changes_cues_and_neither_attention_nor_saliency(route):
    other = replace(route, scale=replace(route.scale, gamma=0.3))
    for step in (lambda r: r.attention(), lambda r: r.volumes(), lambda r: r.hierarchy(), lambda r: r.trained("G2"),
                 lambda r: r.agreement()):
        assert step(other) == step(route)
    for step in (lambda r: r.cues("S3"), lambda r: r.cues("attention"), lambda r: r.trained("S1"),
                 lambda r: r.direct()):
        assert step(other) != step(route)


def test_pooling_and_freezing_change_the_attention_only(route):
    plain = route.attention()
    largest, frozen = route.attention(pooling="max"), route.attention(frozen=True)
    assert len({plain.key, largest.key, frozen.key}) == 3
    assert set(plain.parents) == set(largest.parents) == set(frozen.parents)
    assert frozen.settings["schedule"] == {**plain.settings["schedule"], "trunk_lr": 0.0}
    assert largest.settings == {**plain.settings, "pooling": "max"}
    assert route.volumes(pooling="max").settings["pooling"] == "max"


def test_scales_and_crf_change_the_prediction_only(route):
    plain, crf, one = (route.prediction("S3", *options) for options in ((), (True,), (False, "val", (1.0,))))
    assert len({plain.key, crf.key, one.key}) == 3 and one.settings["scales"] == [1.0]
    assert plain.parents == crf.parents == one.parents


def test_words_that_mean_nothing_are_refused(route):
    with pytest.raises(ParameterError, match="unknown kind of cues 'S4'") as caught:
        route.cues("S4")
    assert caught.value.expected == "one of S1, S2, S3, attention, G2, full"
    with pytest.raises(ParameterError, match="unknown saliency detector 'oracle'"):
        route.hierarchy(detector="oracle")


# --- other profiles --------------------------------------------------------------------------------------------------


def test_photographs_are_looked_at_by_a_ready_made_detector():
    route = chaudhry2017_routes("photos", 1)[0]
    found = route.hierarchy()
    assert found.function.__name__ == "u2net_hierarchy" and "pixel masks" in found.reads_masks
    assert "seed" not in found.label and route.network_name("main") == "MobileNetV2"
    for name in trained_rows("photos"):
        assert "train_saliency" not in functions(route.trained(name))


def test_photographs_start_from_the_weights_that_the_first_paper_uses(photographs):
    route, = chaudhry2017.routes("photos", seeds=1)
    assert route.starts["main"].path == str(photographs / "mobilenet_v2_imagenet.pth") == route.guided.start.path
    assert route.hierarchy("val").inputs["state"].path == str(photographs / "u2netp_saliency.pth")
    assert all(route.scored(name).key for name in trained_rows("photos"))


def test_folders_that_are_not_named_are_asked_for(monkeypatch):
    monkeypatch.delenv("WSSS_DATA", raising=False)
    with pytest.raises(DataError, match="WSSS_DATA"):
        chaudhry2017.routes("photos", seeds=1)


@pytest.mark.parametrize("damage", ["missing", "another architecture"])
def test_resnet_weights_are_looked_at_before_anything_runs(photographs, monkeypatch, route, damage):
    """The VGG of the first paper is left out here: its weights have half a gigabyte."""
    guided = replace(route.guided, scale=oh2017.SCALES["voc"])
    monkeypatch.setattr(oh2017, "routes", lambda *arguments: [guided])
    if damage != "missing":
        torch.save(vgg_trunk("HighRes", TOY_BLOCKS).state_dict(), photographs / "resnet101_imagenet.pth")
    with pytest.raises(WeightsError, match=r"resnet101_imagenet\.pth") as caught:
        chaudhry2017.routes("voc", seeds=1)
    expected = {"missing": "no weights file", "another architecture": "is for another architecture"}
    assert expected[damage] in str(caught.value)
