"""The route of Roy & Todorovic 2017: printed values, rows and trainings, the graph, what changes keys."""

import re
from dataclasses import asdict, replace

import pytest
import torch
from step_graph import functions, graph
from tiny_views import write_photographs

from wsss_lab.errors import DataError, ParameterError, WeightsError
from wsss_lab.lab import worlds
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.published import published
from wsss_lab.lab.steps import EVALUATION_READS
from wsss_lab.lab.worlds import FolderWorld
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.trunks import TOY_BLOCKS, VGG16_BLOCKS, vgg_trunk
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.roy2017 import route as roy2017
from wsss_lab.papers.roy2017.route import (
    AGGREGATIONS,
    BASELINES,
    ITERATIONS,
    OPTIONS,
    PUBLISHED,
    ROWS,
    SCALES,
    TAUGHT,
    TRAININGS,
    Row,
    labelled_rows,
    taught,
)
from wsss_lab.refinement import crf_rnn
from wsss_lab.seeds import neighbours
from wsss_lab.seeds.top_down import Attention
from wsss_lab.segmenter import fusion
from wsss_lab.segmenter.fusion import Method

torch.set_num_threads(1)
PAPER = roy2017
PROFILES = ("quick", "toy", "photos", "voc")
PARENTS = Attention("none", activation=0.0)


def differences(one, default):
    """The switches in which two methods or rows differ, those of the attention among the others."""
    def flat(values):
        values = asdict(values)
        return values | values.pop("attention", {})

    default = flat(default)
    return {name: value for name, value in flat(one).items() if value != default[name]}


# --- printed values --------------------------------------------------------------------------------------------------


def test_published_values_are_those_of_the_paper():
    assert asdict(PUBLISHED) == {
        "batch": 20, "iterations": 10000, "lr": 0.001, "decay_every": 2000, "momentum": 0.9, "weight_decay": 0.0005,
        "head_lr": 10, "warm_up": 0.1, "input_side": 321, "dilation": 12, "dropout": 0.5,
        "crf": {"bilateral_weight": 4, "bilateral_xy": 121, "bilateral_rgb": 5, "spatial_weight": 3, "spatial_xy": 3,
                "iterations": 10},
    }  # fmt: skip
    values = published("roy2017", "text_values")["value"].tolist()
    assert values[:4] == [fusion.WEIGHT, neighbours.SIGMA_Z, neighbours.SIGMA_R, crf_rnn.ITERATIONS]


def test_the_voc_profile_trains_as_printed(printed):
    scale = SCALES["voc"]
    for schedule in (scale.schedule, scale.segmenter):
        assert (schedule.iterations, schedule.batch, schedule.lr, schedule.momentum) == (10000, 20, 1e-3, 0.9)
        assert (schedule.optimiser, schedule.policy, schedule.decay_every) == ("sgd", "step", 2000)
        factors = [schedule.factor(iteration) for iteration in (0, 1999, 2000, 9999)]
        assert factors == pytest.approx([1, 1, 0.1, 1e-4])
    assert scale.backbone == Backbone("vgg", VGG16_BLOCKS, 1024, 12, dropout=0.5, side=321)
    assert (scale.pretraining, scale.warm_up, scale.image_scale) == (False, 1000, 1)
    settings = printed.trained().settings
    assert settings["schedule"] == scale.schedule.settings() and settings["warm_up"] == 1000
    assert settings["backbone"]["side"] == 321


def test_every_profile_warms_up_for_a_tenth_of_its_training():
    assert set(SCALES) == set(PROFILES)
    for scale in SCALES.values():
        assert 0 < scale.warm_up == round(scale.schedule.iterations / 10)


def test_lengths_in_pixels_are_scaled_with_the_input(route, printed):
    assert route.crf(PUBLISHED.crf)["bilateral_xy"] == pytest.approx(121 * 64 / 321)
    assert printed.crf(PUBLISHED.crf) == asdict(PUBLISHED.crf)
    assert route.prediction("w/o CRF-RNN").settings["crf"] == route.crf(PUBLISHED.crf)


# --- rows and trainings ----------------------------------------------------------------------------------------------


def test_each_training_changes_what_its_name_says():
    assert {name: differences(method, Method()) for name, method in TRAININGS.items()} == {
        "full": {}, "classification": {"weight": 0.0}, "w/o att unary": {"prior": False},
        "w/o neighbor": {"neighbours": "none", "activation": 0.0}, "w/o CRF-RNN": {"iterations": 0},
        "GMP": {"aggregation": "GMP"}, "GAP": {"aggregation": "GAP"}, "LSE": {"aggregation": "LSE"},
        "background unit": {"background": "unit"}, "no warm-up": {}, "loss before the CRF-RNN": {"compared": "softmax"},
        "loss after the CRF-RNN": {"compared": "crf"}, "neighbours, last layer": {"layers": "last"},
        "parents and neighbours": {"activation": 0.0}}


def test_each_row_changes_what_its_name_says():
    trainings = {"w/o att unary": {"prior": "none"}, "w/o neighbor": {}, "w/o CRF-RNN": {"refined": True}}
    trainings |= {name: {} for name in (*AGGREGATIONS, *OPTIONS)}
    expected = {name: {"training": name} | others for name, others in trainings.items()} | {
        "w/o att": {"training": "classification", "prior": "none"}, "w/o seg loss": {"training": "classification"},
        "w/o att inference": {"prior": "none"}, "full": {}, "image-level prior": {"prior": "image"},
        "tags known": {"tags": "known"}} | {f"{count} iterations": {"iterations": count} for count in (0, 1, 2, 5, 10)}
    assert {name: differences(row, Row()) for name, row in ROWS.items()} == expected
    assert asdict(Row()) == {"training": "full", "prior": "attention", "iterations": None, "tags": "predicted",
                             "refined": False}


def test_printed_rows_are_measured_in_their_order():
    names = [name.replace("Full approach", "full") for name in published("roy2017", "table1")["baseline"]]
    assert names == list(BASELINES)
    assert [name.split()[0] for name in published("roy2017", "table5")["aggregation"]] == [*AGGREGATIONS, "FCL"]
    assert Method().aggregation == "FCL" and Method().iterations == 3 not in ITERATIONS


def test_profiles_label_what_they_can(route):
    for profile in PROFILES:
        rows = labelled_rows(profile)
        assert set(rows) <= set(ROWS) and "full" in rows and set(taught(profile)) <= set(TAUGHT)
        assert has_test(profile) == ("test" in dict(worlds.TOY_COUNTS.get(profile, ())))
    assert labelled_rows("quick") == labelled_rows("toy") == labelled_rows("voc") == tuple(ROWS)
    assert taught("quick") == taught("toy") == taught("voc") == TAUGHT and taught("photos") == ()
    photos = labelled_rows("photos")
    assert set(BASELINES) - set(photos) == {"w/o att unary"} and set(photos) - set(BASELINES) == {"tags known"}
    assert {ROWS[name].training for name in photos} == {"full", "classification", "w/o neighbor", "w/o CRF-RNN"}


# --- the graph -------------------------------------------------------------------------------------------------------


def test_each_row_is_labelled_by_its_training_and_its_switches(route):
    for name, row in ROWS.items():
        step = route.prediction(name)
        assert step.inputs["state"] == route.trained(row.training)["state"] and step.inputs["view"].split == "val"
        options = {key: step.settings[key] for key in ("prior", "iterations", "tags")}
        assert options == {"prior": row.prior, "iterations": row.iterations, "tags": row.tags}
        assert step.settings["method"] == route.trained(row.training).settings["method"]
        assert (step.settings["crf"] is not None) == row.refined == (name == "w/o CRF-RNN")
        scored = route.scored(name)
        assert scored.inputs["masks"] == step["refined" if row.refined else "masks"]
        assert functions(scored) == ["pretrain", "train_fusion", "segment_fusion", "score_masks"]


def test_each_training_has_its_method_and_the_rest_in_common(route):
    common = {"backbone", "schedule", "seed"}
    for name, method in TRAININGS.items():
        step = route.trained(name)
        assert Method.from_settings(step.settings["method"]) == method
        assert step.settings["warm_up"] == (0 if name == "no warm-up" else 1)
        assert {key: step.settings[key] for key in common} == {key: route.trained().settings[key] for key in common}
        assert step.inputs["start"] == route.start and step.inputs["view"].split == "train"


def test_without_attention_and_without_its_loss_are_one_training(route):
    assert route.prediction("w/o att").inputs == route.prediction("w/o seg loss").inputs
    assert route.prediction("w/o att").key != route.prediction("w/o seg loss").key
    assert route.prediction("w/o att inference").inputs == route.prediction("full").inputs
    networks = {route.trained(row.training).key for row in BASELINES.values()}
    assert len(networks) == 5


def test_start_weights_are_shared_with_the_first_paper(route):
    assert route.start == oh2017.routes("quick", 1)[0].start
    for name in TAUGHT:
        assert route.segmenter(name).inputs["start"] == route.start
    assert SCALES["quick"].backbone == SCALES["toy"].backbone == oh2017.SCALES["toy"].backbone


def test_attention_is_looked_at_with_the_trained_network(route):
    plain, parents = route.attention(), route.attention(how=PARENTS)
    assert plain.inputs == parents.inputs and plain.inputs["state"] == route.trained()["state"]
    assert plain.settings["method"] == Method().settings() and plain.inputs["view"].split == "val"
    assert parents.settings["method"] == Method(PARENTS).settings()
    assert parents.label == "attention of full on val, none neighbours, seed 0"
    assert route.attention("w/o neighbor").settings == parents.settings
    assert route.attention("w/o neighbor").inputs != parents.inputs
    assert route.study().settings["images"] == [0, 1, 2, 3] and route.study().inputs == plain.inputs


def test_the_competitor_learns_from_sparse_seeds_with_a_crf_loss_and_full_supervision_from_masks(route):
    sparse, full = (route.segmenter(name) for name in TAUGHT)
    seeds = route.lessons("SEC-like")
    assert sparse.inputs["pseudo_masks"] == seeds["masks"] and seeds.inputs["maps"] == route.class_maps()["maps"]
    assert route.class_maps().inputs["state"] == route.trained("classification")["state"]
    assert (seeds.settings["low"], seeds.settings["high"]) == (0.05, 0.2)
    assert seeds.inputs["view"] == sparse.inputs["view"] == route.world.train_view("train")
    assert full.inputs["pseudo_masks"] == route.lessons("full supervision")["masks"]
    assert (sparse.settings["crf_loss"], full.settings["crf_loss"]) == (route.crf(PUBLISHED.crf), None)
    assert {**sparse.settings, "crf_loss": None} == full.settings
    labels = route.taught_score("SEC-like").inputs["masks"].step
    assert labels.settings["crf"] is None and labels.inputs["state"] == sparse["state"]


def test_splits_are_looked_at_as_asked(route):
    for step in (route.scored("full", "test"), route.taught_score("SEC-like", "test"), route.attention(split="test")):
        assert step.inputs["view"].split == "test"
        trainings = [each for each in graph(step) if each.label.startswith("train ")]
        assert trainings and all(each.inputs["view"].split == "train" for each in trainings)


# --- the contract ----------------------------------------------------------------------------------------------------


def masks_among_inputs(step):
    return [value for value in step.inputs.values() if value.exposes_masks]


def test_nothing_but_scores_and_full_supervision_reads_masks(route):
    weak = [route.prediction(name) for name in ROWS] + [route.attention(), route.study(), route.segmenter("SEC-like")]
    weak += [route.trained(name) for name in TRAININGS]
    for step in weak:
        assert step.pixel_labels() == ()
        assert not any(masks_among_inputs(each) or each.reads_masks for each in graph(step))
    for name in ROWS:
        assert route.scored(name).pixel_labels() == (EVALUATION_READS,)
        assert all(parent.stage != "evaluation" for parent in route.scored(name).ancestors())
    assert route.taught_score("SEC-like").pixel_labels() == (EVALUATION_READS,)
    full = route.segmenter("full supervision")
    assert full.pixel_labels() == ("training masks",)
    assert [each.label for each in graph(full) if each.reads_masks] == ["ground truth of train"]


def test_no_saliency_takes_part(route):
    assert not any(step.stage == "saliency" for step in every_step(route))


# --- keys and labels -------------------------------------------------------------------------------------------------


def every_step(route):
    """Everything that tables, figures and claims may ask for at one seed."""
    steps = [route.scored(name, split) for name in ROWS for split in ("val", "test")]
    steps += [route.taught_score(name, split) for name in TAUGHT for split in ("val", "test")]
    return graph(*steps, route.attention(), route.attention(how=PARENTS), route.study())


def test_equal_arguments_give_equal_keys(route):
    again = roy2017.routes("quick", seeds=1)[0]
    assert [step.key for step in every_step(again)] == [step.key for step in every_step(route)]
    assert len({route.trained(name).key for name in TRAININGS}) == len(TRAININGS) == 14
    assert len({route.prediction(name).key for name in ROWS}) == len(ROWS)


def test_different_steps_have_different_labels_that_say_their_seed_once(routes):
    steps = [step for step in graph(*(step for route in routes for step in every_step(route))) if step.stage != "data"]
    labels = [(step.stage, step.label) for step in steps]
    assert len(steps) > 200 and sorted(label for label in set(labels) if labels.count(label) > 1) == []
    assert not any(label.count(", seed ") > 1 for _, label in labels)
    assert routes[1].trained().label == "train full, seed 1"


def test_labels_are_for_people_and_no_part_of_a_key(route):
    assert all(replace(step, label="another").key == step.key for step in every_step(route))


def test_the_seed_changes_trainings_and_nothing_else(routes):
    one, two = routes
    assert one.start.step == two.start.step and one.lessons("full supervision") == two.lessons("full supervision")
    for name in TRAININGS:
        assert one.trained(name) != two.trained(name)
        assert differing(one.trained(name), two.trained(name)) == {"seed"}
    assert all(one.segmenter(name) != two.segmenter(name) for name in TAUGHT)
    assert roy2017.routes("quick", 1, world_seed=1)[0].trained() != one.trained()


def differing(one, other):
    return {name for name in one.settings if one.settings[name] != other.settings[name]}


def test_words_that_mean_nothing_are_refused(route):
    for call, kind, known in ((lambda: route.trained("w/o att"), "training 'w/o att'", "classification"),
                              (lambda: route.attention("none"), "training 'none'", "w/o neighbor"),
                              (lambda: route.prediction("B1"), "row 'B1'", "w/o att"),
                              (lambda: route.segmenter("SEC"), "taught network 'SEC'", "SEC-like"),
                              (lambda: route.taught_score("full"), "taught network 'full'", "full supervision")):
        with pytest.raises(ParameterError, match=re.escape(f"unknown {kind}")) as caught:
            call()
        assert known in str(caught.value)


# --- other profiles --------------------------------------------------------------------------------------------------


def test_photographs_start_from_the_weights_that_the_first_paper_uses(photographs):
    route, = roy2017.routes("photos", seeds=1)
    assert route.start.path == str(photographs / "mobilenet_v2_imagenet.pth")
    assert route.backbone == oh2017.SCALES["photos"].backbone.settings()
    steps = [route.scored(name) for name in labelled_rows("photos")]
    assert all(step.key for step in steps) and "pretrain" not in functions(steps[0])
    assert {step.function.__name__ for step in graph(*steps)} == {"train_fusion", "segment_fusion", "score_masks"}


def test_photographs_need_masks_for_scores_alone(tmp_path, route):
    world = FolderWorld(str(write_photographs(tmp_path / "photos", masks=False)))
    photos = replace(route, world=world, scale=SCALES["photos"])
    for name in labelled_rows("photos"):
        assert photos.prediction(name).pixel_labels() == ()


def test_folders_that_are_not_named_are_asked_for(monkeypatch):
    monkeypatch.delenv("WSSS_DATA", raising=False)
    with pytest.raises(DataError, match="WSSS_DATA"):
        roy2017.routes("photos", seeds=1)


@pytest.mark.parametrize("damage", ["missing", "another architecture"])
@pytest.mark.parametrize(("profile", "name"), [("photos", "mobilenet_v2_imagenet.pth"), ("voc", "vgg16_imagenet.pth")])
def test_start_weights_are_looked_at_before_anything_runs(photographs, profile, name, damage):
    path = photographs / name
    path.unlink(missing_ok=True)
    if damage != "missing":
        torch.save(vgg_trunk("HighRes", TOY_BLOCKS).state_dict(), path)
    with pytest.raises(WeightsError, match=re.escape(name)) as caught:
        roy2017.routes(profile, seeds=1)
    assert {"missing": "no weights file", "another architecture": "is for another architecture"}[damage] in str(
        caught.value)
