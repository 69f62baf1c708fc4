"""The route of Araslanov & Roth 2020: printed values, the graph of its rows, what changes keys and what doesn't."""

from dataclasses import asdict, replace
from itertools import product

import pytest
import torch
from step_graph import functions, graph

from wsss_lab.errors import DataError, ParameterError, WeightsError
from wsss_lab.lab import worlds
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.published import published
from wsss_lab.lab.steps import EVALUATION_READS
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.trunks import RESNET50_BLOCKS, RESNET101_BLOCKS, TOY_BLOCKS, VGG16_BLOCKS, vgg_trunk
from wsss_lab.networks.wide_resnet import WIDE_RESNET38
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
    PUBLISHED,
    REFERENCE,
    ROWS,
    SCALES,
    SWITCHES,
    gate_row,
    penalty_row,
    trained_nets,
    trained_rows,
)
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.refinement.dense_crf import V1, CrfParameters
from wsss_lab.segmenter.single_stage import Method

torch.set_num_threads(1)
PAPER = araslanov2020
PROFILES = ("quick", "toy", "photos", "voc")


# --- printed values --------------------------------------------------------------------------------------------------


def test_published_values_are_those_of_the_paper():
    assert asdict(PUBLISHED) == {
        "reference_psi": 0.5, "warm_up": 0.25, "batch": 16, "epochs": 20, "cam_epochs": 6,
        "epochs_of": (("VGG16", 32), ("ResNet-50", 20), ("ResNet-101", 20)), "images": 10582, "lr": 1e-3,
        "resnet50_lr": 5e-4, "head_lr": 10, "momentum": 0.9, "weight_decay": 5e-4, "side": 321, "exchanged_side": 448,
        "mask_side": 81, "width": 256, "aspp": (12, 24, 36), "dropout": 0.5, "scales": (1.0, 0.5, 1.5, 2.0),
        "exchanged_scales": (1.0, 0.75, 1.25, 1.5), "background_power": 3,
        "crf": {"bilateral_weight": 10, "bilateral_xy": 80, "bilateral_rgb": 13, "spatial_weight": 3, "spatial_xy": 3,
                "iterations": 10},
    }  # fmt: skip


@pytest.mark.parametrize(("net", "epochs", "iterations", "lr"), [
    ("main", 20, 13227, 1e-3), ("VGG16", 32, 21164, 1e-3), ("ResNet-50", 20, 13227, 5e-4),
    ("ResNet-101", 20, 13227, 1e-3)])
def test_the_voc_profile_trains_as_printed(printed, net, epochs, iterations, lr):
    """Whole batches of 16 in so many epochs over 10582 images, at a constant rate."""
    assert epochs * 10582 // 16 == iterations
    step = printed.trained("ours" if net == "main" else net)
    assert step.settings["schedule"] == {
        "iterations": iterations, "batch": 16, "lr": lr, "optimiser": "sgd", "policy": "constant", "decay_every": 0,
        "momentum": 0.9, "weight_decay": 5e-4, "head_lr": 10.0, "trunk_lr": 1.0}
    assert step.settings["warm_up"] == {13227: 3307, 21164: 5291}[iterations]  # 5 of 20 epochs


def test_the_baseline_and_the_second_stage_are_trained_as_printed(printed):
    assert SCALES["voc"].cam.iterations == 6 * 10582 // 16 == 3968
    assert printed.cam().settings["schedule"] == SCALES["voc"].cam.settings()
    second = printed.second().settings["schedule"]
    assert (second["iterations"], second["batch"], second["lr"], second["policy"]) == (13227, 16, 1e-3, "constant")
    assert SCALES["voc"].pretraining is None


def test_the_voc_profile_has_the_printed_networks():
    scale = SCALES["voc"]
    assert scale.main == Backbone("wide_resnet", WIDE_RESNET38, 256, aspp=(12, 24, 36), dropout=0.5, side=321)
    assert {name: (net.family, net.blocks, net.side) for name, net in scale.nets.items()} == {
        "VGG16": ("vgg", VGG16_BLOCKS, 448), "ResNet-50": ("resnet", RESNET50_BLOCKS, 448),
        "ResNet-101": ("resnet", RESNET101_BLOCKS, 448)}
    assert all((net.width, net.aspp, net.dropout) == (256, (12, 24, 36), 0.5) for net in scale.nets.values())
    assert tuple(scale.nets) == EXCHANGED


def test_the_voc_profile_looks_as_printed(printed):
    settings = printed.prediction("ours").settings
    assert settings["scales"] == [1.0, 0.5, 1.5, 2.0] and (settings["tags"], settings["power"]) == ("predicted", 1.0)
    assert CrfParameters(**settings["crf"]) == PUBLISHED.crf == V1
    assert printed.prediction("ours", exchanged=True).settings["scales"] == [1.0, 0.75, 1.25, 1.5]
    assert printed.cam_labels(exchanged=True).settings["scales"] == [1.0, 0.75, 1.25, 1.5]
    assert printed.method("ours") == Method().settings()
    assert printed.method("kernel 1-2-4")["dilations"] == [1, 2, 4]


def test_lengths_in_pixels_are_scaled_with_the_input(route):
    assert route.crf["bilateral_xy"] == pytest.approx(80 * 64 / 321)
    assert (route.crf["bilateral_rgb"], route.crf["bilateral_weight"], route.crf["spatial_weight"]) == (13, 10, 3)


@pytest.mark.parametrize(("kernel", "small"), [
    ((1, 2, 4), (1, 2)), ((1, 2, 4, 8), (1, 2, 3)), ((1, 3, 6, 9, 12, 16), (1, 2, 4, 5, 6)),
    ((1, 2, 4, 8, 12, 16), (1, 2, 3, 5, 6)), ((1, 2, 4, 8, 12, 24), (1, 2, 3, 5, 9))])
def test_kernels_cover_the_same_share_of_a_smaller_mask(route, kernel, small):
    """Masks of 32 cells for 81: 4 becomes 1.6 and 24 becomes 9.5, whole numbers, none of them twice."""
    assert route.scale.dilations(kernel) == small
    assert SCALES["voc"].dilations(kernel) == kernel
    name, = (name for name, dilations in KERNELS.items() if dilations == kernel)
    assert route.method(name)["dilations"] == list(small)


# --- rows ------------------------------------------------------------------------------------------------------------


def test_the_final_model_and_the_reference_differ_in_the_mixing_rate_alone():
    assert ROWS["ours"].method == OURS == Method() and ROWS["reference"].method == REFERENCE
    assert replace(REFERENCE, psi=0.3) == OURS and REFERENCE.psi == 0.5


def differences(row, base=REFERENCE):
    method = asdict(ROWS[row].method)
    return {name: value for name, value in method.items() if value != asdict(base)[name]}


def test_each_row_changes_what_its_name_says():
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
    assert differences("no penalty") == {"penalty": False}
    assert differences("no gate") == {"gate": "none"}
    assert differences("deterministic gate") == {"gate": "deterministic"}


def test_switches_are_the_other_choice_of_what_is_open():
    assert {name: differences(name) for name in SWITCHES} == {
        "bandwidth of Eq. 8": {"bandwidth": "paper"}, "average of Eq. 23": {"average": "paper"},
        "injection of Eq. 11": {"cue": "paper"}, "no least confidence": {"least": 0.0}, "epsilon=0": {"epsilon": 0.0},
        "other ASPP statistics": {}}


def test_exchanged_backbones_have_the_final_method():
    assert all(ROWS[name].net == name and not differences(name, OURS) for name in EXCHANGED)
    assert {row.net for name, row in ROWS.items() if name not in EXCHANGED} == {"main"}


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
    names = published("araslanov2020", "table9")["backbone"].tolist()
    assert names == [*EXCHANGED, "WideResNet-38", "Mean"]


def test_profiles_train_what_they_can():
    for profile in PROFILES:
        rows = trained_rows(profile)
        assert {ROWS[name].net for name in rows} <= set(trained_nets(profile))
        assert {"ours", "reference"} <= set(rows) <= set(ROWS)
        assert rows == tuple(ROWS) or profile == "photos"
        assert has_test(profile) == ("test" in dict(worlds.TOY_COUNTS.get(profile, ())))
    assert trained_nets("voc") == trained_nets("toy") == ("main", *EXCHANGED) and trained_nets("photos") == ("main",)


# --- the graph -------------------------------------------------------------------------------------------------------


def test_a_single_stage_needs_nothing_but_pretraining(route):
    made = [step.function.__name__ for step in graph(route.score(route.prediction("ours"))) if step.stage != "data"]
    assert made == ["pretrain", "train_single_stage", "segment_single_stage", "score_masks"]


def test_the_second_stage_learns_from_our_labels_with_tags_and_crf(route):
    second = route.second()
    cleaned = route.prediction("ours", "train", "known")["refined"]
    assert second.inputs["pseudo_masks"] == route.pseudo_masks() == cleaned
    assert route.trained("ours") in graph(second)
    assert second.settings["backbone"]["blocks"] == route.backbone("ResNet-101")["blocks"]
    assert route.second_labels(net="main").settings["backbone"] == route.backbone()
    assert "tags" not in route.second_labels().settings


def test_full_supervision_says_that_it_reads_masks(route):
    full = route.second("full", "main")
    assert full.inputs["pseudo_masks"] == route.guided.truth("train")["masks"]
    assert full.pixel_labels() == ("training masks",) and route.second("ours", "main").pixel_labels() == ()
    assert "train_single_stage" not in functions(full)


def test_scores_take_labels_before_or_after_the_crf(route):
    labels = route.prediction("ours")
    for crf, name in ((False, "masks"), (True, "refined")):
        step = route.score(labels, "val", crf)
        assert step.inputs["masks"] == labels[name] and step.inputs["view"].split == "val"
        assert step.pixel_labels() == (EVALUATION_READS,)
        assert step.label.endswith(" + CRF") == crf


def test_every_kind_of_labels_comes_with_the_crf(route):
    assert route.prediction("ours").settings["crf"] == route.cam_labels().settings["crf"] == route.crf
    assert route.second_labels().settings["crf"] == route.crf


def test_pictures_are_of_the_early_or_the_late_network(route):
    early, late = route.pictures((3, 1)), route.pictures((3, 1), late=True)
    assert (early.inputs["state"].name, late.inputs["state"].name) == ("early", "state")
    assert early.inputs["state"].step == route.trained("ours") and early.settings["images"] == [3, 1]
    assert early.key != late.key and early.label != late.label


def test_only_the_final_model_keeps_a_snapshot(route):
    assert route.trained("ours").settings["snapshot"] == round(0.3 * 8)
    assert {route.trained(name).settings["snapshot"] for name in ROWS if name != "ours"} == {0}
    assert {route.trained(name).settings["warm_up"] for name in ROWS} == {2}
    for profile in PROFILES:  # an early state, after the warm-up
        scale = SCALES[profile]
        iterations = scale.schedule.iterations
        assert round(0.25 * iterations) <= round(scale.snapshot * iterations) < iterations


def test_baselines_and_rows_share_their_start_weights(route):
    earlier = chaudhry2017.routes("quick", 1)[0]
    assert route.starts["VGG16"] == earlier.starts["second"] and route.starts["ResNet-50"] == earlier.starts["main"]
    assert len({start.key for start in route.starts.values()}) == 4
    for net in ("main", *EXCHANGED):
        row = "ours" if net == "main" else net
        assert route.trained(row).inputs["start"] == route.cam(net).inputs["start"] == route.starts[net]
        assert route.trained(row).settings["backbone"] == route.cam(net).settings["backbone"]
    assert route.starts["main"].step.settings["backbone"] == route.backbone()


def test_the_other_statistics_are_the_ones_that_a_profile_does_not_use(route, printed):
    assert (route.method("reference")["aspp_statistics"], route.method("other ASPP statistics")["aspp_statistics"]) == (
        "trained", "frozen")
    assert (printed.method("ours")["aspp_statistics"], printed.method("other ASPP statistics")["aspp_statistics"]) == (
        "frozen", "trained")
    assert route.second().settings["aspp_statistics"] == "trained"


def test_memory_is_measured_on_the_training_of_ours(route):
    step = route.memory()
    assert step.settings == {key: route.trained("ours").settings[key] for key in ("backbone", "schedule", "method")}
    assert step.pixel_labels() == () and step.function.__name__ == "measure_memory"
    assert "seed" not in step.label and step.inputs["view"].split == "train"


# --- keys ------------------------------------------------------------------------------------------------------------


def test_rows_are_trainings_of_their_own(route):
    assert len({route.trained(name).key for name in ROWS}) == len(ROWS) == 35


def test_equal_arguments_give_equal_keys(route):
    again = araslanov2020.routes("quick", seeds=1)[0]
    assert all(again.prediction(name).key == route.prediction(name).key for name in ROWS)
    assert again.second_labels("full").key == route.second_labels("full").key


def test_what_labels_look_at_changes_the_labels_only(route):
    options = [{}, {"tags": "known"}, {"exchanged": True}, {"power": 3.0}, {"split": "train"}, {"split": "test"}]
    steps = [route.prediction("ours", **each) for each in options]
    assert len({step.key for step in steps}) == len(steps)
    assert {step.inputs["state"] for step in steps} == {route.trained("ours")["state"]}


def test_the_seed_changes_trainings_and_nothing_else(routes):
    one, two = routes
    shared = [lambda r: r.starts["main"].step, lambda r: r.memory(), lambda r: r.guided.truth("train")]
    own = [lambda r: r.cam(), lambda r: r.second("full"), *(lambda r, name=name: r.trained(name) for name in ROWS)]
    assert all(step(one) == step(two) for step in shared) and all(step(one) != step(two) for step in own)


def test_the_world_seed_changes_everything(route):
    other = araslanov2020.routes("quick", seeds=1, world_seed=1)[0]
    assert other.starts["main"].key != route.starts["main"].key
    assert all(other.trained(name).key != route.trained(name).key for name in ROWS)


def test_words_that_mean_nothing_are_refused(route):
    with pytest.raises(ParameterError, match="unknown row 'theirs'") as caught:
        route.trained("theirs")
    assert "ours" in caught.value.expected
    with pytest.raises(ParameterError, match="unknown kind of labels 'half'"):
        route.second("half")


# --- labels ----------------------------------------------------------------------------------------------------------


def every_step(route):
    """Everything that tables, figures and claims may ask for at one seed."""
    labels = [route.prediction(name) for name in ROWS]
    labels += [route.prediction(name, *options) for name, options in product(("ours", "reference", *EXCHANGED), product(
        ("val", "train"), ("predicted", "known"), (False, True), (1.0, 3.0)))]
    labels += [route.cam_labels(*options)
               for options in product(trained_nets("quick"), ("val", "train"), (False, True))]
    labels += [route.second_labels(*options) for options in product(
        ("ours", "full"), ("ResNet-101", "main"), ("val", "test"))]
    steps = [route.score(step, "val", crf) for step, crf in product(labels, (False, True))]
    return graph(*steps, route.memory(), route.pictures((0,)), route.pictures((0,), late=True))


def test_different_steps_have_different_labels(routes):
    steps = graph(*(step for route in routes for step in every_step(route)))
    labels = [(step.stage, step.label) for step in steps]
    assert len(steps) > 400 and len(set(labels)) == len(labels)


def test_a_step_says_which_seed_it_belongs_to_once(routes):
    labels = [step.label for step in every_step(routes[1])]
    assert not any(label.count("seed 1") > 1 for label in labels) and not any("seed 0" in label for label in labels)
    assert routes[1].trained("ours").label == "train ours, seed 1"


# --- other profiles --------------------------------------------------------------------------------------------------


def test_photographs_start_from_the_weights_that_the_first_paper_uses(photographs):
    route, = araslanov2020.routes("photos", seeds=1)
    assert route.starts.keys() == {"main"}
    assert route.starts["main"].path == str(photographs / "mobilenet_v2_imagenet.pth") == route.guided.start.path
    assert all(route.score(route.prediction(name)).pixel_labels() == (EVALUATION_READS,)
               for name in trained_rows("photos"))


def test_folders_that_are_not_named_are_asked_for(monkeypatch):
    monkeypatch.delenv("WSSS_DATA", raising=False)
    with pytest.raises(DataError, match="WSSS_DATA"):
        araslanov2020.routes("photos", seeds=1)


@pytest.mark.parametrize("damage", ["missing", "another architecture"])
def test_wide_resnet_weights_are_looked_at_before_anything_runs(photographs, monkeypatch, route, damage):
    guided = replace(route.guided, scale=oh2017.SCALES["voc"])
    monkeypatch.setattr(oh2017, "routes", lambda *arguments: [guided])
    name = "ilsvrc-cls_rna-a1_cls1000_ep-0001.pth"
    if damage != "missing":
        torch.save(vgg_trunk("HighRes", TOY_BLOCKS).state_dict(), photographs / name)
    with pytest.raises(WeightsError, match="ilsvrc-cls_rna-a1_cls1000_ep-0001") as caught:
        araslanov2020.routes("voc", seeds=1)
    assert {"missing": "no weights file", "another architecture": "is for another architecture"}[damage] in str(
        caught.value)
