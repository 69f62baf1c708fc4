"""The route of Lee et al. 2021: its rows, its graph, printed values, profiles, folders of the user, its own steps."""

import json
import re
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from lee2021_results import LABELS
from step_graph import functions
from tiny_views import RandomTrunk, make_view, write_photographs

from wsss_lab.data.folder import VOC_CLASSES
from wsss_lab.data.toyvoc import CLASSES, Knobs, make_scenes
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.errors import ContractError, DataError, ParameterError, WeightsError
from wsss_lab.lab import worlds
from wsss_lab.lab.published import published
from wsss_lab.lab.worlds import OWN_TRAIN, CocoWorld, FolderWorld
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.trunks import RESNET101_BLOCKS, TOY_BLOCKS, VGG16_BLOCKS, vgg_trunk
from wsss_lab.networks.wide_resnet import WIDE_RESNET38
from wsss_lab.papers.araslanov2020 import route as araslanov2020
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.lee2021.route import DETECTORS, DIAL, PUBLISHED, ROWS, SCALES, detector_row
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.seeds.localisation import estimated_frames
from wsss_lab.seeds.saliency_supervision import HALF, Selection, localisation_net

pytestmark = pytest.mark.usefixtures("no_folders")
PAPER = lee2021
PROFILES = ("quick", "toy", "toy-long", "photos", "voc")
DUTS = "saliency weights trained on class-agnostic pixel masks (DUTS)"
ELSEWHERE = "saliency made elsewhere"


# --- rows -------------------------------------------------------------------------------------------------------------

def test_each_row_changes_what_its_name_says():
    default = asdict(lee2021.Row())
    assert default == {"selection": {"strategy": "adaptive", "tau": 0.4, "share": 0.5, "reserved": ()},
                       "detector": "masks", "rate": 1.0, "momentum": None}

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


def test_what_the_paper_prints_is_measured():
    assert len(published("lee2021", "table3")) == len(lee2021.STRATEGY_ROWS)
    assert len(published("lee2021", "text_saliency_detectors")) == len(DETECTORS)
    values = published("lee2021", "text_values").set_index("quantity")["value"]
    assert (Selection.tau, Selection.share) == (values["tau (default)"], values["lambda (default)"])
    assert {values[f"{end} end of the robust tau range"] for end in ("lower", "upper")} < set(lee2021.TAUS)
    ours = [f"{line['segmenter']}, {net}" for table, net in (("table5", "VGG16"), ("table6", "ResNet101"))
            for _, line in published("lee2021", table).iterrows() if line["method"] == "EPS (ours)"]
    assert tuple(ours) == tuple(lee2021.SEGMENTERS) == lee2021.taught("voc")["adaptive"]
    assert lee2021.STRATEGY_ROWS["adaptive"] == "adaptive"
    names = [*map(lee2021.tau_row, lee2021.TAUS), *map(lee2021.share_row, lee2021.SHARES),
             *map(detector_row, (*DETECTORS, *DIAL)), *lee2021.STRATEGY_ROWS]
    assert set(names) < set(ROWS) and names.count("adaptive") == 4  # the default is a row of every study


def test_profiles_train_what_they_can():
    for profile in PROFILES:
        rows = lee2021.trained_rows(profile)
        assert {"CAM", "naive", "adaptive"} <= set(rows) <= set(ROWS)
        assert set(lee2021.taught(profile)) <= set(rows) | {"full", "G2", "CAM + AffinityNet"}
        assert {net for nets in lee2021.taught(profile).values() for net in nets} == set(lee2021.segmenters(profile))
        assert {backbone for backbone, _ in lee2021.segmenters(profile).values()} == set(SCALES[profile].nets)
        assert ("CAM + AffinityNet" in lee2021.taught(profile)) <= (SCALES[profile].affinity is not None)
    assert lee2021.trained_rows("quick") == lee2021.trained_rows("toy") == tuple(ROWS)
    assert set(ROWS) - set(lee2021.trained_rows("voc")) == {detector_row(name) for name in ("boxes", *DIAL)}
    scored = [SCALES[each].scored for each in PROFILES]
    assert scored == ["train[:24]", "train[:500]", "train[:500]", "train", OWN_TRAIN]
    assert SCALES["photos"].paired == SCALES["voc"].paired == "train"


# --- the graph -------------------------------------------------------------------------------------------------------

def test_cam_needs_no_saliency_and_eps_a_detector(route):
    cam, eps = (functions(route.score(route.masks(name))) for name in ("CAM", "adaptive"))
    assert cam == ["pretrain", "train_localisation", "pseudo_masks", "score_masks"]
    assert sorted(eps) == sorted([*cam, "pretrain", "train_saliency", "saliency_frames"])
    assert {route.trained("CAM").settings[name] for name in ("selection", "saliency")} == {None}


def test_each_row_learns_from_the_maps_of_its_detector(route):
    for name, row in ROWS.items():
        if row.selection is not None:
            assert route.trained(name).inputs["saliency"] == route.saliency(row.detector)["maps"]
        assert route.masks(name).settings["learned"] == (row.selection is not None)
    assert route.estimated().inputs["saliency"] == route.saliency(split="val")["maps"]
    assert route.estimated().settings["selection"] == route.trained("adaptive").settings["selection"]
    for split in ("train", "val"):
        assert route.saliency("boxes", split) == route.guided.saliency_maps(split)
        assert route.saliency("unsupervised", split) == route.guided.saliency_maps(split, "unsupervised")
    one, other = route.saliency_network("masks"), route.saliency_network("boxes")
    assert one.settings == other.settings and one.inputs["start"] == other.inputs["start"]
    assert one.inputs["masks"] == route.world.saliency_scenes()["masks"]
    assert functions(other).count("grabcut_targets") == 1 and "grabcut_targets" not in functions(one)
    for name, (kind, amount) in DIAL.items():  # damages the foreground of the split
        step = route.saliency(name, "val")
        assert step.settings == {"kind": kind, "amount": amount, "seed": 0} and step.inputs["view"].split == "val"
        assert step.pixel_labels() == ("true foreground as saliency",)


def test_scores_are_of_the_first_training_images_and_lessons_of_all(route):
    assert route.scored == "train[:24]" and route.masks("CAM").inputs["view"].split == "train[:24]"
    for step in (route.score(route.masks("CAM")), route.boundaries(route.masks("CAM")), route.walked("CAM"),
                 route.contexts(route.masks("CAM")), route.localisation_score("CAM"), route.covered()):
        assert step.inputs["view"].split == "train[:24]"
    assert {name: route.lessons(name) for name in ("adaptive", "G2", "full", "CAM + AffinityNet")} == {
        "adaptive": route.masks("adaptive", "train"), "G2": route.guided.guides("G2"),
        "full": route.guided.truth("train"), "CAM + AffinityNet": route.walked("CAM", "train")}
    for labels in lee2021.taught("quick"):
        segmenter = route.segmenter(labels)
        assert segmenter.inputs["view"].split == "train"
        assert segmenter.inputs["pseudo_masks"] == route.lessons(labels)["masks"]
    affinity = route.affinity_net("CAM")
    assert affinity.inputs["view"] == affinity.inputs["labels"].step.inputs["view"]
    assert affinity.inputs["view"].split == route.scale.paired == "train[:24]"


def test_every_network_starts_from_weights_for_its_backbone(route):
    single, dcsp = araslanov2020.routes("quick", 1)[0], chaudhry2017.routes("quick", 1)[0]
    assert route.starts == {"main": single.starts["main"], "VGG16": dcsp.starts["second"],
                            "ResNet101": dcsp.starts["main"]}
    for step in (route.trained("CAM"), route.trained("adaptive"), route.affinity_net("CAM")):
        assert step.inputs["start"] == route.starts["main"]
    for net, (backbone, _) in lee2021.SEGMENTERS.items():
        assert route.segmenter("adaptive", net).inputs["start"] == route.starts[backbone]


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


def test_words_that_mean_nothing_are_refused(route):
    for call, kind, known in ((lambda: route.trained("EPS"), "row 'EPS'", "adaptive"),
                              (lambda: route.saliency("mask"), "saliency detector 'mask'", "'masks'"),
                              (lambda: route.segmenter("adaptive", "V3"), "segmenter 'V3'", "V1, VGG16"),
                              (lambda: route.prediction("CAM + CRF"), "row 'CAM + CRF'", "CAM")):
        with pytest.raises(ParameterError, match=re.escape(f"unknown {kind}")) as caught:
            call()
        assert known in str(caught.value)


def test_voc_compares_the_detectors_whose_maps_somebody_made(tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_SALIENCY", str(tmp_path))
    (tmp_path / "boxes").mkdir()
    assert detector_row("boxes") in lee2021.trained_rows("voc") and detector_row("boxes") in lee2021.taught("voc")
    assert detector_row("oracle") not in lee2021.trained_rows("voc")
    (tmp_path / "boxes").rename(tmp_path / "mask")
    with pytest.raises(DataError, match="masks or boxes or unsupervised"):
        lee2021.trained_rows("voc")


# --- profiles ---------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def printed(route):
    return replace(route, scale=replace(SCALES["voc"], scored="train"))  # on a world that is there


@pytest.fixture
def maps(tmp_path, monkeypatch):
    """WSSS_SALIENCY with maps of each detector for the photographs, which are none that could be read."""
    for detector in DETECTORS:
        (tmp_path / "saliency" / detector).mkdir(parents=True)
        for index in range(4):
            (tmp_path / "saliency" / detector / f"p{index}.png").write_text(detector)
    monkeypatch.setenv("WSSS_SALIENCY", str(tmp_path / "saliency"))
    return tmp_path / "saliency"


def test_the_voc_profile_trains_as_printed(printed):
    """What tests of printed values say of the scale reaches the steps; momentum is what the released code sets."""
    for name in ROWS:
        changed = {"rate / 10": {"lr": 0.001}, "rate / 10, momentum 0.9": {"lr": 0.001, "momentum": 0.9}}.get(name, {})
        settings = printed.trained(name).settings
        assert settings["schedule"] == pytest.approx(SCALES["voc"].classifier.settings() | changed)
        assert (settings["random_scale"], settings["backbone"]["side"]) == ([256 / 448, 512 / 448], 448)
    assert (SCALES["voc"].main.blocks, SCALES["voc"].main.dropout) == (WIDE_RESNET38, 0.5)
    affinity = printed.affinity_net("CAM")
    schedule, labels = affinity.settings["schedule"], affinity.inputs["labels"].step.settings
    assert (schedule["iterations"], schedule["batch"], schedule["lr"]) == (8 * 10582 // 8, 8, 0.1)  # eight epochs
    assert (labels["alphas"], list(labels["crf"].values())) == ([4, 24], [10, 80, 13, 3, 3, 10])
    settings = printed.masks("adaptive", crf=True).settings
    assert settings["scales"] == [1.0, 0.5, 1.5, 2.0] and "background" not in settings  # the stage's own, 0.2
    assert list(settings["crf"].values()) == [4, 67, 3, 3, 1, 10] == list(printed.prediction(crf=True).settings["crf"
                                                                                                  ].values())
    assert printed.masks("adaptive").settings["crf"] is None
    assert printed.boundaries(printed.masks("CAM")).settings["shares"] == [0.0075, 0.02]
    for net, blocks, head, lr in (("V1, VGG16", VGG16_BLOCKS, "largefov", 1e-3),
                                  ("V2, VGG16", VGG16_BLOCKS, "aspp-fc", 1e-3),
                                  ("V1, ResNet101", RESNET101_BLOCKS, "largefov", 2.5e-4),
                                  ("V2, ResNet101", RESNET101_BLOCKS, "aspp", 2.5e-4)):
        settings, looked = printed.segmenter("adaptive", net).settings, printed.prediction("adaptive", net).settings
        assert settings["head"] == looked["head"] == head and settings["backbone"] == looked["backbone"]
        assert settings["backbone"] == Backbone(settings["backbone"]["family"], blocks, side=321).settings()
        assert settings["schedule"] == SCALES["voc"].segmenters[net[4:]].settings() and settings["schedule"]["lr"] == lr


def test_the_route_on_many_objects_differs_in_its_world_alone(route):
    crowded = route.crowded
    assert crowded is route.crowded and crowded.crowded is None
    assert crowded.world == replace(route.world, knobs=lee2021.MANY, counts=crowded.world.counts)
    assert dict(crowded.world.counts) == {split: count // 2 for split, count in route.world.counts}
    for name in ("CAM", "adaptive"):
        ours, theirs = crowded.trained(name), route.trained(name)
        assert (ours.settings, ours.inputs["start"]) == (theirs.settings, theirs.inputs["start"])
        assert ours.inputs["view"].world == crowded.world and ours.label == f"train {name} (many objects), seed 0"
    assert crowded.saliency_network("masks") == route.saliency_network("masks")
    assert crowded.saliency("masks").inputs["state"] == route.saliency("masks").inputs["state"]
    assert crowded.saliency("masks") != route.saliency("masks")
    assert crowded.objects().inputs["view"].world == crowded.world


@pytest.fixture
def voc_routes(photographs, monkeypatch):
    """Routes of the profile on VOC with weights of the right form and photographs in VOC's place."""
    worlds._coco.cache_clear()
    world, weights = FolderWorld(str(photographs.parent / "photos")), RandomTrunk()
    guided = oh2017.Route(world, oh2017.SCALES["voc"], 0, weights, weights)
    monkeypatch.setattr(oh2017, "routes", lambda *arguments: [guided])
    monkeypatch.setattr(lee2021, "start_files", lambda scale: dict.fromkeys(("main", *scale.nets), weights))
    return lambda profile="voc": lee2021.routes(profile, seeds=1)[0]


def test_coco_is_the_world_of_many_objects_where_it_is_named(voc_routes, tmp_path, monkeypatch):
    assert voc_routes().crowded is None
    (tmp_path / "coco/annotations").mkdir(parents=True)  # three categories and an image, which isn't opened
    (tmp_path / "coco/annotations/instances_train2014.json").write_text(json.dumps({
        "images": [{"id": 9, "file_name": "a.jpg", "height": 4, "width": 4}],
        "categories": [{"id": number, "name": name} for number, name in ((1, "person"), (62, "chair"), (17, "cat"))],
        "annotations": [{"id": 1, "image_id": 9, "category_id": 62, "bbox": [0, 0, 2, 2], "iscrowd": 0}]}))
    monkeypatch.setenv("WSSS_COCO", str(tmp_path / "coco"))
    route = voc_routes()
    crowded = route.crowded
    assert crowded.world == CocoWorld(str(tmp_path / "coco")) and crowded.world.classes == ("person", "cat", "chair")
    settings = crowded.trained("adaptive").settings
    assert settings["schedule"] == route.trained("adaptive").settings["schedule"] | {"batch": 16, "iterations": 256500}
    assert settings["random_scale"] == [256 / 321, 448 / 321] and settings["backbone"]["side"] == 321
    assert (settings["selection"]["share"], route.selection("adaptive")["share"]) == (PUBLISHED.coco_share, 0.5)
    assert PUBLISHED.coco_share == 0.9 and settings["selection"]["tau"] == 0.4
    assert crowded.trained("adaptive").inputs["view"].world == crowded.world and crowded.scored == "train"
    assert voc_routes("photos").crowded is None


def test_photographs_have_few_rows_and_one_segmenter(photographs):
    route, = lee2021.routes("photos", seeds=1)
    assert route.crowded is None and route.starts.keys() == {"main", "MobileNetV2"}
    assert {start.path for start in route.starts.values()} == {str(photographs / "mobilenet_v2_imagenet.pth")}
    assert {name: route.trained(name).pixel_labels() for name in lee2021.trained_rows("photos")} == {
        "CAM": (), **dict.fromkeys(lee2021.STRATEGY_ROWS, (DUTS,)), "saliency: unsupervised": (),
        "saliency: oracle": ("true foreground as saliency",)}
    assert route.saliency("masks") == route.guided.saliency_maps("train")
    net, = lee2021.segmenters("photos")
    for labels in lee2021.taught("photos"):
        step = route.prediction(labels, net)
        assert step.settings["head"] == "largefov" and step.settings["backbone"]["family"] == "mobilenet"
    assert route.score(route.masks("CAM")).inputs["view"].split == "train"


@pytest.mark.parametrize("name", ["ilsvrc-cls_rna-a1_cls1000_ep-0001.pth", "vgg16_imagenet.pth"])
def test_weights_are_looked_at_before_anything_runs(tmp_path, monkeypatch, name):
    """With a small network in the place of WideResNet-38, which takes long to make."""
    monkeypatch.setenv("WSSS_WEIGHTS", str(tmp_path))
    scale = replace(SCALES["voc"], main=SCALES["toy"].main)
    if not name.startswith("ilsvrc"):
        torch.save(scale.main.trunk("DeepLab").state_dict(), tmp_path / "ilsvrc-cls_rna-a1_cls1000_ep-0001.pth")
    with pytest.raises(WeightsError, match=f"no weights file .*{name}"):
        lee2021.start_files(scale)
    torch.save(vgg_trunk("HighRes", TOY_BLOCKS).state_dict(), tmp_path / name)
    with pytest.raises(WeightsError, match=f"{name}' is for another architecture"):
        lee2021.start_files(scale)


def test_maps_made_elsewhere_take_the_place_of_a_detector(voc_routes, maps):
    route = voc_routes()
    for detector in DETECTORS:
        step = route.saliency(detector, "val")
        assert step.function.__name__ == "folder_frames" and step.pixel_labels() == (ELSEWHERE,)
        assert step.inputs["folder"].path == str(maps / detector) and step.inputs["view"].split == "val"
        assert functions(route.trained(detector_row(detector))) == ["folder_frames", "train_localisation"]
    assert {name: route.trained(name).pixel_labels() for name in lee2021.trained_rows("voc")} == {
        name: (() if name == "CAM" else (ELSEWHERE,)) for name in lee2021.trained_rows("voc")}
    assert route.saliency("oracle").pixel_labels() == ("true foreground as saliency",)
    assert replace(route, seed=1).saliency("masks") == route.saliency("masks")  # all seeds share the maps


def test_maps_made_elsewhere_are_part_of_a_trainings_key(route, maps):
    before = route.trained("adaptive").key
    for detector, same in (("boxes", True), ("masks", False)):
        (maps / detector / "p1.png").write_text("another map")
        assert (route.trained("adaptive").key == before) is same
    shutil.rmtree(maps / "boxes")
    assert route.saliency("boxes") == route.guided.saliency_maps("train")  # the profile's own


# --- its own steps ----------------------------------------------------------------------------------------------------

def view_of(*masks):
    return make_view([np.zeros((*mask.shape, 3), np.uint8) for mask in masks], masks)


def test_salient_are_the_values_that_the_map_selection_takes_for_salient():
    """Unlike the salient pixels of Oh et al. 2017 they aren't relative to the image's maximum."""
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    found = lee2021.salient_halves(view_of(np.zeros((16, 16), np.uint8)).train_view(), values)["masks"]
    expected = [value / np.float32(255) > HALF for value in range(256)]
    assert found.dtype == np.uint8 and found.ravel().tolist() == expected and found.ravel().argmax() == 128
    view = view_of(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8)).train_view()
    assert lee2021.salient_halves(view, np.full((2, 3, 3), 255, np.uint8))["masks"].tolist() == [
        [[1, 1, 1], [1, 1, 1], [0, 0, 0]], [[1, 1, 0], [1, 1, 0], [1, 1, 0]]]


def test_objects_are_counted_and_measured_by_hand():
    """Regions of one class, joined at corners too, from 0.2 % of their own image on."""
    three, corner, speck, least, void, empty = np.zeros((6, 100, 100), np.uint8)
    three[:20, :20], three[:20, 20:35], three[50:60, 50:70] = 1, 2, 1  # 400, 300 and 200 of 10000 pixels
    corner[:10, :10] = corner[10:20, 10:20] = 1
    speck[0, :19] = least[0, :20] = 1
    void[20:60, 20:60] = 255
    small = np.zeros((20, 30), np.uint8)
    small[:10] = 2
    facts = lee2021.object_facts(view_of(three, corner, speck, least, void, empty, small))
    assert lee2021.LEAST == 0.002 and facts["objects"].dtype == np.int64 and facts["area"].dtype == np.float64
    assert facts["objects"].tolist() == [3, 1, 0, 1, 0, 0, 1]
    assert facts["area"] == pytest.approx([0.03, 0.02, np.nan, 0.002, np.nan, np.nan, 0.5], nan_ok=True)
    with pytest.raises(ContractError, match="pixel labels of tiny/train were touched"):
        lee2021.object_facts(view_of(empty).guarded())


def test_the_world_of_many_objects_shows_more_and_smaller_ones():
    facts = []
    for knobs in (Knobs(), Knobs(**dict(lee2021.MANY))):
        scenes = make_scenes(64, 0, knobs)
        facts.append(lee2021.object_facts(EvalView.from_arrays("toy", CLASSES, [str(number) for number in range(64)],
                                                       scenes["tags"], scenes["images"], "generator",
                                                       masks=scenes["masks"])))
    usual, many = facts
    assert many["objects"].mean() > 1.5 * usual["objects"].mean()
    assert np.nanmean(many["area"]) < 0.6 * np.nanmean(usual["area"])


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
    found = lee2021.shown_maps(view, net.state_dict(), backbone.settings(), selection.settings(), saliency, [3, 1])
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
