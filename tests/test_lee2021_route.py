"""The route of Lee et al. 2021: its rows, its graph, and what changes keys."""

import re
from dataclasses import asdict, replace

import pytest
import torch
from step_graph import functions, graph
from tiny_views import write_photographs

from wsss_lab.data.folder import VOC_CLASSES
from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.lab import worlds
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.published import published
from wsss_lab.lab.worlds import OWN_TRAIN, FolderWorld
from wsss_lab.papers.araslanov2020 import route as araslanov2020
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.lee2021.route import (
    DETECTORS,
    DIAL,
    ROWS,
    SCALES,
    SEGMENTERS,
    SHARES,
    STRATEGY_ROWS,
    TAUS,
    Row,
    detector_row,
    segmenters,
    share_row,
    tau_row,
    taught,
    trained_rows,
)
from wsss_lab.seeds.saliency_supervision import Selection

torch.set_num_threads(1)
pytestmark = pytest.mark.usefixtures("no_folders")
PAPER = lee2021
PROFILES = ("quick", "toy", "photos", "voc")


# --- rows ------------------------------------------------------------------------------------------------------------


def test_each_row_changes_what_its_name_says():
    default = asdict(Row())
    assert default["selection"] == asdict(Selection()) == {
        "strategy": "adaptive", "tau": 0.4, "share": 0.5, "reserved": ()}
    assert (default["detector"], default["rate"], default["momentum"]) == ("masks", 1.0, None)

    def differences(name):
        row = asdict(ROWS[name])
        changed = {key: value for key, value in row.items() if key != "selection" and value != default[key]}
        return changed | {key: value for key, value in (row["selection"] or {"selection": None}).items()
                          if value != default["selection"].get(key, "none")}

    assert {name: differences(name) for name in ROWS} == {
        "CAM": {"selection": None}, "baseline": {"strategy": "none"}, "naive": {"strategy": "naive"},
        "pre-defined": {"strategy": "pre-defined"}, "adaptive": {}, "tau=0.1": {"tau": 0.1}, "tau=0.3": {"tau": 0.3},
        "tau=0.35": {"tau": 0.35}, "tau=0.45": {"tau": 0.45}, "tau=0.5": {"tau": 0.5}, "tau=0.9": {"tau": 0.9},
        "lambda=0": {"share": 0.0}, "lambda=0.25": {"share": 0.25}, "lambda=0.75": {"share": 0.75},
        "lambda=1": {"share": 1.0}, "saliency: boxes": {"detector": "boxes"},
        "saliency: unsupervised": {"detector": "unsupervised"}, "saliency: oracle": {"detector": "oracle"},
        "saliency: eroded": {"detector": "eroded"}, "saliency: blurred": {"detector": "blurred"},
        "saliency: noisy": {"detector": "noisy"}, "saliency: no saliency": {"detector": "no saliency"},
        "rate / 10": {"rate": 0.1}, "rate / 10, momentum 0.9": {"rate": 0.1, "momentum": 0.9}}


def test_the_default_is_a_row_of_every_study():
    assert tau_row(0.4) == share_row(0.5) == detector_row("masks") == STRATEGY_ROWS["adaptive"] == "adaptive"
    names = [*map(tau_row, TAUS), *map(share_row, SHARES), *map(detector_row, (*DETECTORS, *DIAL)), *STRATEGY_ROWS]
    assert set(names) < set(ROWS) and names.count("adaptive") == 4


def test_what_the_paper_prints_is_measured():
    assert len(published("lee2021", "table3")) == len(STRATEGY_ROWS)
    assert len(published("lee2021", "text_saliency_detectors")) == len(DETECTORS)
    values = published("lee2021", "text_values").set_index("quantity")["value"]
    assert (Selection.tau, Selection.share) == (values["tau (default)"], values["lambda (default)"])
    assert {values["lower end of the robust tau range"], values["upper end of the robust tau range"]} < set(TAUS)
    ours = [f"{line['segmenter']}, {net}" for table, net in (("table5", "VGG16"), ("table6", "ResNet101"))
            for _, line in published("lee2021", table).iterrows() if line["method"] == "EPS (ours)"]
    assert tuple(ours) == tuple(SEGMENTERS) == taught("voc")["adaptive"]
    assert {float(min(SHARES)), float(max(SHARES))} == {0, 1}


def test_profiles_train_what_they_can():
    for profile in PROFILES:
        rows = trained_rows(profile)
        assert {"CAM", "naive", "adaptive"} <= set(rows) <= set(ROWS)
        assert set(taught(profile)) <= set(rows) | {"full", "G2", "CAM + AffinityNet"}
        assert {net for nets in taught(profile).values() for net in nets} == set(segmenters(profile))
        assert {backbone for backbone, _ in segmenters(profile).values()} == set(SCALES[profile].nets)
        assert has_test(profile) == ("test" in dict(worlds.TOY_COUNTS.get(profile, ())))
        assert ("CAM + AffinityNet" in taught(profile)) <= (SCALES[profile].affinity is not None)
    assert trained_rows("quick") == trained_rows("toy") == tuple(ROWS)
    assert set(ROWS) - set(trained_rows("voc")) == {detector_row(name) for name in ("boxes", *DIAL)}


# --- the graph -------------------------------------------------------------------------------------------------------


def test_cam_needs_no_saliency_and_eps_a_detector(route):
    cam, eps = (functions(route.score(route.masks(name))) for name in ("CAM", "adaptive"))
    assert cam == ["pretrain", "train_localisation", "pseudo_masks", "score_masks"]
    assert sorted(eps) == sorted([*cam, "pretrain", "train_saliency", "saliency_frames"])
    assert route.trained("CAM").settings["selection"] is None and route.trained("CAM").settings["saliency"] is None
    assert route.trained("adaptive").inputs["saliency"] == route.saliency("masks", "train")["maps"]


def test_each_row_learns_from_the_maps_of_its_detector(route):
    for name, row in ROWS.items():
        if row.selection is not None:
            assert route.trained(name).inputs["saliency"] == route.saliency(row.detector)["maps"]
            assert route.estimated(name).inputs["saliency"] == route.saliency(row.detector, "val")["maps"]
            assert route.estimated(name).settings["selection"] == route.trained(name).settings["selection"]
        assert route.masks(name).settings["learned"] == (row.selection is not None)


def test_detectors_are_those_of_the_first_paper_but_for_the_one_trained_on_masks(route):
    for split in ("train", "val"):
        assert route.saliency("boxes", split) == route.guided.saliency_maps(split)
        assert route.saliency("unsupervised", split) == route.guided.saliency_maps(split, "unsupervised")
    one, other = route.saliency_network("masks"), route.saliency_network("boxes")
    assert one.settings == other.settings and one.inputs["start"] == other.inputs["start"]
    assert one.inputs["masks"] == route.world.saliency_scenes()["masks"]
    assert functions(other).count("grabcut_targets") == 1 and "grabcut_targets" not in functions(one)


@pytest.mark.parametrize("name", DIAL)
def test_the_dial_damages_the_foreground_of_the_split(route, name):
    step = route.saliency(name, "val")
    kind, amount = DIAL[name]
    assert step.settings == {"kind": kind, "amount": amount, "seed": 0} and step.inputs["view"].split == "val"
    assert step.pixel_labels() == ("true foreground as saliency",)


def test_scores_are_of_the_first_training_images_and_lessons_of_all(route):
    assert route.scored == "train[:24]" and route.masks("CAM").inputs["view"].split == "train[:24]"
    for step in (route.score(route.masks("CAM")), route.boundaries(route.masks("CAM")), route.walked("CAM"),
                 route.contexts(route.masks("CAM")), route.localisation_score("CAM"),
                 route.covered(route.saliency("masks", route.scored))):
        assert step.inputs["view"].split == "train[:24]"
    assert {name: route.lessons(name) for name in ("adaptive", "G2", "full", "CAM + AffinityNet")} == {
        "adaptive": route.masks("adaptive", "train"), "G2": route.guided.guides("G2"),
        "full": route.guided.truth("train"), "CAM + AffinityNet": route.walked("CAM", "train")}
    for labels in taught("quick"):
        segmenter = route.segmenter(labels)
        assert segmenter.inputs["view"].split == "train"
        assert segmenter.inputs["pseudo_masks"] == route.lessons(labels)["masks"]
    affinity = route.affinity_net("CAM")
    assert affinity.inputs["view"] == affinity.inputs["labels"].step.inputs["view"]
    assert affinity.inputs["view"].split == route.scale.paired == "train[:24]"
    assert SCALES["photos"].paired == SCALES["voc"].paired == "train"
    assert [SCALES[each].scored for each in ("photos", "voc", "toy")] == ["train", OWN_TRAIN, "train[:500]"]


def test_every_network_starts_from_weights_for_its_backbone(route):
    single, dcsp = araslanov2020.routes("quick", 1)[0], chaudhry2017.routes("quick", 1)[0]
    assert route.starts == {"main": single.starts["main"], "VGG16": dcsp.starts["second"],
                            "ResNet101": dcsp.starts["main"]}
    for name in ("CAM", "adaptive"):
        assert route.trained(name).inputs["start"] == route.affinity_net(name).inputs["start"] == route.starts["main"]
    for net, (backbone, _) in SEGMENTERS.items():
        assert route.segmenter("adaptive", net).inputs["start"] == route.starts[backbone]
    for name, backbone in {"main": SCALES["quick"].main, **SCALES["quick"].nets}.items():
        pretrained = route.starts[name].step.settings["backbone"]
        assert (pretrained["family"], pretrained["blocks"]) == (backbone.family, backbone.settings()["blocks"])


def test_the_classes_counted_with_the_background_are_those_of_the_world(route, tmp_path):
    def reserved(world, name="pre-defined"):
        return [world.classes[index] for index in replace(route, world=world).selection(name)["reserved"]]

    assert reserved(route.world) == [name for name in CLASSES if name in ("chameleon", "moth")]
    assert reserved(route.world, "adaptive") == reserved(route.world, "naive") == []
    photos = write_photographs(tmp_path / "photos", masks=False)
    assert reserved(FolderWorld(str(photos))) == []  # cats and dogs
    (photos / "classes.txt").unlink()
    worlds._folder.cache_clear()
    voc = FolderWorld(str(photos))
    assert voc.classes == VOC_CLASSES and reserved(voc) == ["chair", "diningtable", "sofa"]


# --- keys and labels -------------------------------------------------------------------------------------------------


def every_step(route):
    """Everything that tables and claims may ask for at one seed."""
    made = [route.masks(name) for name in ROWS] + [route.walked(name) for name in ("CAM", "adaptive")]
    steps = [route.score(step) for step in made]
    steps += [route.score(route.masks(name), output="learned") for name in ROWS if name != "CAM"]
    steps += [route.score(route.masks(name, crf=True), output="refined") for name in ("CAM", "adaptive")]
    for name in ("CAM", "naive", "adaptive"):
        steps += [score(route.masks(name)) for score in (route.boundaries, route.contexts)]
        steps.append(route.localisation_score(name))
    steps += [route.score(route.prediction(labels, net, split, crf), split) for labels, nets in taught("quick").items()
              for net in nets for split, crf in (("val", False), ("val", True), ("test", False))]
    steps += [route.saliency_score(route.saliency(name, "val")) for name in (*DETECTORS, *DIAL)]
    steps += [route.saliency_score(route.estimated()), route.covered(route.saliency("masks", route.scored))]
    crowded = route.crowded
    for name in ("CAM", "adaptive"):
        steps += [crowded.score(crowded.masks(name)), crowded.score(crowded.prediction(name, "V2, VGG16"), "val")]
    return graph(*steps, crowded.objects())


def test_equal_arguments_give_equal_keys_and_rows_are_trainings_of_their_own(route):
    again = lee2021.routes("quick", seeds=1)[0]
    assert [step.key for step in every_step(again)] == [step.key for step in every_step(route)]
    assert len({route.trained(name).key for name in ROWS}) == len(ROWS) == 24


def test_labels_are_for_people_and_no_part_of_a_key(route):
    assert all(replace(step, label="another").key == step.key for step in every_step(route))


def test_different_steps_have_different_labels_that_say_their_seed_once(routes):
    steps = [step for step in graph(*(step for route in routes for step in every_step(route))) if step.stage != "data"]
    labels = [(step.stage, step.label) for step in steps]
    assert len(steps) > 400 and len(set(labels)) == len(labels)
    assert not any(label.count(", seed ") > 1 for _, label in labels)
    assert routes[1].trained("adaptive").label == "train adaptive, seed 1"


def test_the_seed_changes_trainings_and_nothing_else(routes):
    one, two = routes
    shared = [lambda r: r.starts["main"].step, lambda r: r.saliency("unsupervised"), lambda r: r.lessons("full"),
              lambda r: r.objects(), lambda r: r.crowded.objects()]
    own = [lambda r: r.saliency("masks"), lambda r: r.saliency("noisy"), lambda r: r.affinity_net("CAM"),
           *(lambda r, name=name: r.trained(name) for name in ROWS),
           *(lambda r, net=net: r.segmenter("full", net) for net in SEGMENTERS)]
    assert all(step(one) == step(two) for step in shared) and all(step(one) != step(two) for step in own)
    assert lee2021.routes("quick", 1, world_seed=1)[0].trained("CAM") != one.trained("CAM")


def test_words_that_mean_nothing_are_refused(route):
    for call, kind, known in ((lambda: route.trained("EPS"), "row 'EPS'", "adaptive"),
                              (lambda: route.saliency("mask"), "saliency detector 'mask'", "'masks'"),
                              (lambda: route.segmenter("adaptive", "V3"), "segmenter 'V3'", "V1, VGG16"),
                              (lambda: route.prediction("CAM + CRF"), "row 'CAM + CRF'", "CAM")):
        with pytest.raises(ParameterError, match=re.escape(f"unknown {kind}")) as caught:
            call()
        assert known in str(caught.value)


def test_voc_compares_three_detectors_where_the_second_one_has_made_maps(tmp_path, monkeypatch):
    (tmp_path / "boxes").mkdir()
    monkeypatch.setenv("WSSS_SALIENCY", str(tmp_path))
    assert detector_row("boxes") in trained_rows("voc") and detector_row("boxes") in taught("voc")
    assert detector_row("oracle") not in trained_rows("voc")


def test_a_saliency_folder_without_any_known_detector_is_refused(tmp_path, monkeypatch):
    (tmp_path / "mask").mkdir()
    monkeypatch.setenv("WSSS_SALIENCY", str(tmp_path))
    with pytest.raises(DataError, match="masks or boxes or unsupervised"):
        trained_rows("voc")
