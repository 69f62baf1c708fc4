"""The route of Araslanov & Roth 2020: printed values, the graph of its rows, its keys and labels, what it measures."""

from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest
import torch
from step_graph import functions
from tiny_views import make_view

from wsss_lab.data.canvas import normalise
from wsss_lab.data.toyvoc import CLASSES, make_scenes
from wsss_lab.data.views import TrainView
from wsss_lab.errors import ParameterError, WeightsError
from wsss_lab.lab import worlds
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.published import published
from wsss_lab.lab.steps import EVALUATION_READS
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import RESNET50_BLOCKS, RESNET101_BLOCKS, TOY_BLOCKS, VGG16_BLOCKS, vgg_trunk
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.papers.araslanov2020 import route as araslanov2020
from wsss_lab.papers.araslanov2020.route import (
    EXCHANGED,
    FLOORS,
    GATE_ROWS,
    ITERATION_ROWS,
    KERNELS,
    OURS,
    POWERS,
    PSIS,
    REFERENCE,
    ROWS,
    SCALES,
    SWITCHES,
    gate_row,
    measure_memory,
    net_of_row,
    penalty_row,
    pooled_maps,
    trained_nets,
    trained_rows,
)
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.refinement.dense_crf import V1, CrfParameters
from wsss_lab.seeds.gap_cam import cam_net
from wsss_lab.segmenter.single_stage import Method

torch.set_num_threads(1)
PAPER = araslanov2020
PROFILES = ("quick", "toy", "toy-long", "photos", "voc")


# --- printed values --------------------------------------------------------------------------------------------------


def test_steps_of_the_voc_profile_are_as_printed(printed):
    """Beside what test_printed_values looks up in its scale: that each network gets what is its own."""
    for net, epochs, lr in (("main", 20, 1e-3), ("VGG16", 32, 1e-3), ("ResNet-50", 20, 5e-4), ("ResNet-101", 20, 1e-3)):
        settings = printed.trained("ours" if net == "main" else net).settings
        assert settings["schedule"] == SCALES["voc"].schedule.settings() | {
            "iterations": epochs * 10582 // 16, "lr": lr}
        assert settings["warm_up"] == round(epochs * 10582 // 16 * 5 / 20)
    assert {name: (net.family, net.blocks, net.side) for name, net in SCALES["voc"].nets.items()} == {
        "VGG16": ("vgg", VGG16_BLOCKS, 448), "ResNet-50": ("resnet", RESNET50_BLOCKS, 448),
        "ResNet-101": ("resnet", RESNET101_BLOCKS, 448)}
    assert printed.cam().settings["schedule"]["iterations"] == 6 * 10582 // 16 == 3968
    assert printed.second().settings["schedule"] == SCALES["voc"].schedule.settings()
    assert printed.prediction("ours").settings["scales"] == [1.0, 0.5, 1.5, 2.0]
    for labels in (printed.prediction("ours", exchanged=True), printed.cam_labels(exchanged=True)):
        assert labels.settings["scales"] == [1.0, 0.75, 1.25, 1.5]
    assert printed.method("ours") == Method() and CrfParameters(**printed.cam_labels().settings["crf"]) == V1


@pytest.mark.parametrize(("kernel", "small"), [
    ((1, 2, 4), (1, 2)), ((1, 2, 4, 8), (1, 2, 3)), ((1, 3, 6, 9, 12, 16), (1, 2, 4, 5, 6)),
    ((1, 2, 4, 8, 12, 16), (1, 2, 3, 5, 6)), ((1, 2, 4, 8, 12, 24), (1, 2, 3, 5, 9))])
def test_kernels_cover_the_same_share_of_a_smaller_mask(route, kernel, small):
    """Masks of 32 cells for 81: 4 becomes 1.6 and 24 becomes 9.5, whole numbers, none of them twice."""
    assert SCALES["voc"].dilations(kernel) == kernel
    name, = (name for name, dilations in KERNELS.items() if dilations == kernel)
    assert route.method(name).dilations == small


# --- rows ------------------------------------------------------------------------------------------------------------


def differences(row, base=REFERENCE):
    method = asdict(ROWS[row])
    return {name: value for name, value in method.items() if value != asdict(base)[name]}


def test_each_row_changes_what_its_name_says():
    assert ROWS["ours"] == OURS == Method() == replace(REFERENCE, psi=0.3) and REFERENCE.psi == 0.5
    for power, floor in product(POWERS, FLOORS):
        changed = {"power": power} if power != 3 else {}
        assert differences(penalty_row(power, floor)) == changed | ({"floor": floor} if floor != 0.01 else {})
    for name, dilations in KERNELS.items():
        expected = {"iterations": 0} if name == "no PAMR" else {"dilations": dilations}
        assert differences(name) == ({} if name == "reference" else expected)
    for name, count in ITERATION_ROWS.items():
        assert differences(name) == ({} if name == "reference" else {"iterations": count})
    for psi, injected in product(PSIS, (True, False)):
        changed = ({"psi": psi} if psi != 0.5 else {}) | ({} if injected else {"cue": "none"})
        assert differences(gate_row(psi, injected)) == changed
    assert {name: differences(name) for name in ("no penalty", "no gate", "deterministic gate", *SWITCHES)} == {
        "no penalty": {"penalty": False}, "no gate": {"gate": "none"}, "deterministic gate": {"gate": "deterministic"},
        "bandwidth of Eq. 8": {"bandwidth": "paper"}, "average of Eq. 23": {"average": "paper"},
        "injection of Eq. 11": {"cue": "paper"}, "no least confidence": {"least": 0.0}, "epsilon=0": {"epsilon": 0.0},
        "other ASPP statistics": {}}
    assert not any(differences(name, OURS) for name in EXCHANGED)


def test_every_printed_row_of_the_ablations_is_trained():
    for _, line in published("araslanov2020", "table1a").iterrows():
        assert (penalty_row(float(line["p"]), float(line["lambda"])) if line["mask_penalty"] == "yes"
                else "no penalty") in ROWS
    assert len(KERNELS) == len(published("araslanov2020", "table1b"))
    assert KERNELS["reference"] == (1, 2, 4, 8, 12, 24)
    assert list(ITERATION_ROWS.values()) == published("araslanov2020", "table7")["pamr_iterations"].tolist()
    assert len(GATE_ROWS) == len(published("araslanov2020", "table1c")) and set(GATE_ROWS) <= set(ROWS)
    for row, (_, line) in zip(GATE_ROWS[:4], published("araslanov2020", "table1c").iterrows()):
        assert row == gate_row(float(line["psi"]), line["gci"] == "yes")
    assert published("araslanov2020", "table9")["backbone"].tolist() == [*EXCHANGED, "WideResNet-38", "Mean"]


def test_profiles_train_what_they_can():
    for profile in PROFILES:
        rows, scale = trained_rows(profile), SCALES[profile]
        assert {net_of_row(name) for name in rows} <= set(trained_nets(profile))
        assert {"ours", "reference"} <= set(rows) <= set(ROWS)
        assert rows == tuple(ROWS) or profile == "photos"
        assert has_test(profile) == ("test" in dict(worlds.TOY_COUNTS.get(profile, ())))
        iterations = scale.schedule.iterations  # the snapshot is an early state, after the warm-up
        assert round(0.25 * iterations) <= round(scale.snapshot * iterations) < iterations
    assert trained_nets("voc") == trained_nets("toy") == ("main", *EXCHANGED) and trained_nets("photos") == ("main",)


# --- the graph -------------------------------------------------------------------------------------------------------


def test_a_single_stage_needs_nothing_but_pretraining(route):
    assert functions(route.score(route.prediction("ours"))) == [
        "pretrain", "train_single_stage", "segment_single_stage", "score_masks"]


def test_the_second_stage_learns_from_our_labels_with_tags_and_crf_or_from_masks(route):
    second, full = route.second(), route.second("full", "main")
    assert second.inputs["pseudo_masks"] == route.prediction("ours", "train", "known")["refined"]
    assert second.settings["backbone"] == route.backbone("ResNet-101").settings() and second.pixel_labels() == ()
    assert "tags" not in route.second_labels().settings
    assert full.inputs["pseudo_masks"] == route.guided.truth("train")["masks"]
    assert full.pixel_labels() == ("training masks",) and "train_single_stage" not in functions(full)


def test_labels_are_scored_before_or_after_the_crf(route):
    crf = route.prediction("ours").settings["crf"]
    assert crf == route.cam_labels().settings["crf"] == route.second_labels().settings["crf"]
    assert crf["bilateral_xy"] == pytest.approx(80 * 64 / 321)  # a length, which shrinks with the images
    for output in ("masks", "refined"):
        step = route.score(route.prediction("ours"), "val", output)
        assert step.inputs["masks"] == route.prediction("ours")[output] and step.pixel_labels() == (EVALUATION_READS,)


def test_pictures_are_of_the_early_or_the_late_network_of_ours(route):
    early, late = route.pictures((3, 1)), route.pictures((3, 1), late=True)
    assert (early.inputs["state"].name, late.inputs["state"].name) == ("early", "state")
    assert early.inputs["state"].step == route.trained("ours") and early.settings["images"] == [3, 1]
    assert {route.trained(name).settings["snapshot"] for name in ROWS if name != "ours"} == {0}
    assert route.trained("ours").settings["snapshot"] == round(0.3 * 8)
    assert {route.trained(name).settings["warm_up"] for name in ROWS} == {2}


def test_baselines_and_rows_share_their_start_weights(route):
    earlier = chaudhry2017.routes("quick", 1)[0]
    assert route.starts["VGG16"] == earlier.starts["second"] and route.starts["ResNet-50"] == earlier.starts["main"]
    assert len({start.key for start in route.starts.values()}) == 4
    for net in ("main", *EXCHANGED):
        row = route.trained("ours" if net == "main" else net)
        assert row.inputs["start"] == route.cam(net).inputs["start"] == route.starts[net]
        assert row.settings["backbone"] == route.cam(net).settings["backbone"] == route.backbone(net).settings()
    assert route.starts["main"].step.settings["backbone"] == route.backbone().settings()


def test_the_other_statistics_are_the_ones_that_a_profile_does_not_use(route, printed):
    for each, used, other in ((route, "trained", "frozen"), (printed, "frozen", "trained")):
        assert each.method("ours").aspp_statistics == each.second().settings["aspp_statistics"] == used
        assert each.method("other ASPP statistics").aspp_statistics == other


# --- keys and labels -------------------------------------------------------------------------------------------------


def test_labels_of_one_network_have_keys_of_their_own(route):
    options = [{}, {"tags": "known"}, {"exchanged": True}, {"power": 3.0}, {"split": "train"}, {"split": "test"}]
    steps = [route.prediction("ours", **each) for each in options]
    assert len({step.key for step in steps}) == len(steps)
    assert {step.inputs["state"] for step in steps} == {route.trained("ours")["state"]}


# --- what users can get wrong, and other profiles --------------------------------------------------------------------


def test_words_that_mean_nothing_are_refused(route):
    with pytest.raises(ParameterError, match="unknown row 'theirs'") as caught:
        route.trained("theirs")
    assert "ours" in caught.value.expected
    with pytest.raises(ParameterError, match="unknown kind of labels 'half'"):
        route.second("half")


def test_photographs_start_from_the_weights_that_the_first_paper_uses(photographs):
    route, = araslanov2020.routes("photos", seeds=1)
    assert route.starts.keys() == {"main"}
    assert route.starts["main"].path == str(photographs / "mobilenet_v2_imagenet.pth") == route.guided.start.path
    assert all(route.score(route.prediction(name)).pixel_labels() == (EVALUATION_READS,)
               for name in trained_rows("photos"))


@pytest.mark.parametrize("damage", ["no weights file", "is for another architecture"])
def test_wide_resnet_weights_are_looked_at_before_anything_runs(photographs, monkeypatch, route, damage):
    guided = replace(route.guided, scale=oh2017.SCALES["voc"])
    monkeypatch.setattr(oh2017, "routes", lambda *arguments: [guided])
    name = "ilsvrc-cls_rna-a1_cls1000_ep-0001.pth"
    if damage != "no weights file":
        torch.save(vgg_trunk("HighRes", TOY_BLOCKS).state_dict(), photographs / name)
    with pytest.raises(WeightsError, match="ilsvrc-cls_rna-a1_cls1000_ep-0001") as caught:
        araslanov2020.routes("voc", seeds=1)
    assert damage in str(caught.value)


# --- what is measured ------------------------------------------------------------------------------------------------

SMALL = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, aspp=(1, 2), dropout=0.0, side=32)
METHOD, SCHEDULE, FLOAT = Method(dilations=(1, 2, 5)), Schedule(4, 6), 4  # bytes


def memory(method=METHOD, schedule=SCHEDULE):
    """Of images of noise, each with both tags."""
    noise = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    view = make_view(list(noise.numpy()), [image[..., 0] * 0 for image in noise.numpy()], [[True, True]] * 4)
    return measure_memory(view.train_view(), SMALL.settings(), schedule.settings(), method.settings())


def test_pamr_takes_new_masks_padded_ones_and_a_weight_per_neighbour():
    """Background and two tags of six images of 16 x 16 cells, borders of 5 cells on each side."""
    first, narrow = memory(), memory(Method(dilations=(1,)))
    assert first["pamr_iteration"] == FLOAT * 6 * 3 * (16 * 16 + 26 * 26)
    assert first["pamr_weights"] == FLOAT * 6 * (8 * 3) * 16 * 16 == 3 * narrow["pamr_weights"]
    assert narrow["pamr_iteration"] == FLOAT * 6 * 3 * (16 * 16 + 18 * 18)
    assert narrow["training"] == first["training"]  # nothing of it is kept for the backward pass
    assert memory() == first  # also where later tensors come to lie at the addresses of freed activations


def test_training_holds_weights_gradients_moments_and_activations():
    """Without activations it would be all weights and, of the trained ones, a gradient and two moments of AdamW."""
    net = Method().network(SMALL, 2)
    net.prepare()
    total = sum(weight.numel() for weight in net.parameters())
    trained = sum(weight.numel() for weight in net.parameters() if weight.requires_grad)
    held, without = memory()["training"], FLOAT * (total + 3 * trained)
    twice, sgd = (memory(schedule=replace(SCHEDULE, **change))["training"]
                  for change in ({"batch": 12}, {"optimiser": "sgd"}))
    assert held > 1.5 * without and twice - without == pytest.approx(2 * (held - without), rel=0.01)
    assert held - sgd == pytest.approx(FLOAT * trained, rel=0.01)  # one moment less
    assert memory(replace(METHOD, gate="none"))["training"] < 0.97 * held


def test_pooled_maps_are_what_the_networks_pool():
    backbone, method = SCALES["quick"].main, Method(aspp_statistics="trained")
    scenes = make_scenes(4, 0)
    view = TrainView.from_arrays("toyvoc/train", CLASSES, list("abcd"), scenes["tags"], scenes["images"][:, :48],
                                 "generator")
    torch.manual_seed(0)
    baseline, net = cam_net(backbone, len(CLASSES)), method.network(backbone, len(CLASSES))
    maps = pooled_maps(view, baseline.state_dict(), net.state_dict(), backbone.settings(), method.settings(), [3, 1])
    pixels = normalise(view.canvas([3, 1], backbone.side)[0])
    with torch.inference_mode():
        expected = baseline.eval()(pixels), net.eval()(pixels)
    np.testing.assert_allclose(maps["class_maps"].mean((2, 3)), expected[0], atol=1e-5)
    np.testing.assert_allclose(maps["pixel_scores"], expected[1], atol=1e-4)
