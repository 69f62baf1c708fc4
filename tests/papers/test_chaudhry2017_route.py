"""The route of Chaudhry et al. 2017: printed values, the graph of its rows, what changes keys and what doesn't."""

from dataclasses import replace

import pytest
import torch
from step_graph import functions, graph

from wsss_lab.errors import DataError, ParameterError, WeightsError
from wsss_lab.lab import worlds
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.published import published
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.trunks import RESNET101_BLOCKS, TOY_BLOCKS, VGG16_BLOCKS, vgg_trunk
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.chaudhry2017.route import PUBLISHED, ROWS, SCALES, Row, trained_rows, tuning_split
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.refinement.dense_crf import CrfParameters

torch.set_num_threads(1)
PAPER = chaudhry2017
PROFILES = ("quick", "toy", "toy-long", "photos", "voc")


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


def test_every_profile_has_the_papers_gamma_and_crf_for_the_size_of_its_images(route):
    assert {SCALES[profile].gamma for profile in PROFILES} == {0.4} and set(SCALES) == set(PROFILES)
    crf = route.crf(PUBLISHED.crf)
    assert crf["bilateral_xy"] == pytest.approx(49 * 64 / 321)
    assert (crf["bilateral_rgb"], crf["bilateral_weight"], crf["spatial_weight"]) == (5, 4, 3)


# --- rows ------------------------------------------------------------------------------------------------------------

def test_every_printed_row_is_trained():
    printed = {(line.saliency_mask.split()[0], line.adapt == "yes")
               for line in published("chaudhry2017", "table2").itertuples()}
    printed |= {(line.saliency_step, True) for name in ("table5", "table6")
                for line in published("chaudhry2017", name).itertuples()}
    assert len(printed) == 5
    for kind, adapted in printed:
        assert ROWS[kind + " + adapt" * adapted] == Row(kind, 1 + adapted)


def test_profiles_train_what_they_can():
    alike = chaudhry2017.AS_RELEASED
    assert set(ROWS) - set(trained_rows("toy")) == set(ROWS) - set(trained_rows("quick")) == {alike}
    assert set(ROWS) - set(trained_rows("voc")) == {alike, "S3, geometric mean", "S3, arithmetic mean"}
    for profile in PROFILES:  # the two label pixels alike
        assert len({alike, "S3 + adapt, released gradient"} & set(trained_rows(profile))) == 1
    photos = [ROWS[name] for name in trained_rows("photos")]
    assert {row.net for row in photos} == {"main"} and {row.mean for row in photos} == {"harmonic"}
    assert {"S1", "S1 + adapt", "S3", "S3 + adapt", "G2"} <= set(trained_rows("photos"))
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


@pytest.mark.parametrize("name", ROWS)
def test_a_row_goes_on_from_round_to_round_on_the_cues_that_it_names(route, name):
    row = ROWS[name]
    before = route.attention(row.net, frozen=row.frozen)
    for number in range(1, row.rounds + 1):
        cues, trained = route.cues_of(name, number), route.trained(name, number)
        if number > 1 and row.adapt:
            assert cues.inputs["state"] == before["state"] and cues.settings["absent"] == row.absent
            assert cues.settings["scales"] == ([1.0] if row.one_scale else list(route.scale.scales))
        else:
            assert cues == route.cues(row.cues, row.net, row.mean, row.frozen)
        assert trained.inputs["state"] == before["state"] and trained.inputs["cues"] == cues["masks"]
        assert trained.settings["gradient"] == row.gradient and trained.settings["seed"] == 1000 * number
        assert trained.settings["schedule"] == route.scale.round.settings()
        before = trained
    assert route.trained(name) == before and route.prediction(name).inputs["state"] == before["state"]
    assert functions(before).count("train_attention") == 1


def test_rows_share_the_rounds_that_they_have_in_common(route):
    assert route.trained("S3 + adapt twice", 2) == route.trained("S3 + adapt")
    assert route.trained("S3, longer", 1) == route.trained("S3 + adapt, released masking", 1) == route.trained("S3")
    assert all(route.trained(f"{kind} + adapt", 1) == route.trained(kind) for kind in ("S1", "S2", "S3"))


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
    assert route.guided.saliency_network() in graph(own) and route.guided.saliency_network() in graph(
        route.guided.guides("G2"))  # one network for both papers


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


def test_options_change_what_they_are_about_and_nothing_else(route):
    plain, frozen = route.attention(), route.attention(frozen=True)
    for largest in (route.attention(pooling="max"), route.volumes(pooling="max").inputs["state"].step):
        assert largest.settings == {**plain.settings, "pooling": "max"} and set(largest.parents) == set(plain.parents)
    assert frozen.settings == {**plain.settings, "schedule": {**plain.settings["schedule"], "trunk_lr": 0.0}}
    assert route.volumes(pooling="max").settings["pooling"] == "max"
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

def test_photographs_have_a_ready_made_detector_and_the_weights_of_the_first_paper(photographs):
    route, = chaudhry2017.routes("photos", seeds=1)
    found = route.hierarchy("val")
    assert found.function.__name__ == "u2net_hierarchy" and "pixel masks" in found.reads_masks
    assert "seed" not in found.label and route.network_name("main") == "MobileNetV2"
    assert found.inputs["state"].path == str(photographs / "u2netp_saliency.pth")
    assert route.starts["main"].path == str(photographs / "mobilenet_v2_imagenet.pth") == route.guided.start.path
    for name in trained_rows("photos"):
        assert route.scored(name).key and "train_saliency" not in functions(route.trained(name))


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
