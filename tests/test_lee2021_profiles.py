"""The route of Lee et al. 2021 in its profiles: printed values, many objects, photographs, folders of the user."""

import json
from dataclasses import replace

import pytest
import torch
from step_graph import functions
from tiny_views import RandomTrunk

from wsss_lab.errors import WeightsError
from wsss_lab.lab import worlds
from wsss_lab.lab.steps import EVALUATION_READS
from wsss_lab.lab.worlds import CocoWorld, FolderWorld
from wsss_lab.networks.trunks import RESNET101_BLOCKS, TOY_BLOCKS, VGG16_BLOCKS, vgg_trunk
from wsss_lab.networks.wide_resnet import WIDE_RESNET38
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.lee2021.route import (
    DETECTORS,
    MANY,
    PUBLISHED,
    ROWS,
    SCALES,
    detector_row,
    segmenters,
    taught,
    trained_rows,
)
from wsss_lab.papers.oh2017 import route as oh2017

torch.set_num_threads(1)
pytestmark = pytest.mark.usefixtures("no_folders")
DUTS = "saliency weights trained on class-agnostic pixel masks (DUTS)"
ELSEWHERE = "saliency made elsewhere"


@pytest.fixture(scope="module")
def route():
    return lee2021.routes("quick", seeds=1)[0]


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


# --- printed values --------------------------------------------------------------------------------------------------


def test_the_voc_profile_trains_classifiers_as_printed(printed):
    """Momentum is what the released code sets: the decay stands in its place."""
    expected = {"iterations": 20000, "batch": 8, "lr": 0.01, "optimiser": "sgd", "policy": "poly", "decay_every": 0,
                "momentum": 5e-4, "weight_decay": 5e-4, "head_lr": 10.0, "trunk_lr": 1.0}
    for name in ROWS:
        changed = {"rate / 10": {"lr": 0.001}, "rate / 10, momentum 0.9": {"lr": 0.001, "momentum": 0.9}}.get(name, {})
        settings = printed.trained(name).settings
        assert settings["schedule"] == pytest.approx(expected | changed)
        assert settings["random_scale"] == [256 / 448, 512 / 448]
        assert (settings["backbone"]["family"], settings["backbone"]["side"]) == ("wide_resnet", 448)
    assert (SCALES["voc"].main.blocks, SCALES["voc"].main.dropout) == (WIDE_RESNET38, 0.5)


@pytest.mark.parametrize(("net", "blocks", "head", "lr"), [
    ("V1, VGG16", VGG16_BLOCKS, "largefov", 1e-3), ("V2, VGG16", VGG16_BLOCKS, "aspp-fc", 1e-3),
    ("V1, ResNet101", RESNET101_BLOCKS, "largefov", 2.5e-4), ("V2, ResNet101", RESNET101_BLOCKS, "aspp", 2.5e-4)])
def test_the_voc_profile_has_the_printed_segmenters(printed, net, blocks, head, lr):
    settings = printed.segmenter("adaptive", net).settings
    assert settings["head"] == head and settings["backbone"]["side"] == 321
    assert settings["backbone"]["blocks"] == [list(block) for block in blocks]
    assert (settings["backbone"]["dilation"], settings["backbone"]["aspp"]) == (12, [6, 12, 18, 24])
    assert settings["schedule"] == {
        "iterations": 20000, "batch": 10, "lr": lr, "optimiser": "sgd", "policy": "poly", "decay_every": 0,
        "momentum": 0.9, "weight_decay": 5e-4, "head_lr": 10.0, "trunk_lr": 1.0}
    looked = printed.prediction("adaptive", net, crf=True).settings
    assert (looked["head"], looked["backbone"]) == (head, settings["backbone"])


def test_affinity_net_passes_eight_times_over_the_images(printed):
    """Epochs of 10,582 images in batches of 8."""
    schedule = printed.affinity_net("CAM").settings["schedule"]
    assert (schedule["iterations"], schedule["batch"], schedule["lr"]) == (8 * 10582 // 8, 8, 0.1) == (10582, 8, 0.1)
    labels = printed.affinity_net("CAM").inputs["labels"].step
    assert labels.settings["alphas"] == [4, 24]
    assert labels.settings["crf"] == {"bilateral_weight": 10, "bilateral_xy": 80, "bilateral_rgb": 13,
                                      "spatial_weight": 3, "spatial_xy": 3, "iterations": 10}


def test_the_voc_profile_labels_as_the_released_code(printed):
    settings = printed.masks("adaptive", crf=True).settings
    assert settings["scales"] == [1.0, 0.5, 1.5, 2.0] and "background" not in settings  # the stage's own, 0.2
    assert settings["crf"] == {"bilateral_weight": 4, "bilateral_xy": 67, "bilateral_rgb": 3, "spatial_weight": 3,
                               "spatial_xy": 1, "iterations": 10}
    assert printed.prediction(crf=True).settings["crf"] == settings["crf"]
    assert printed.masks("adaptive").settings["crf"] is None
    assert printed.boundaries(printed.masks("CAM")).settings["shares"] == [0.0075, 0.02]


def test_lengths_in_pixels_are_scaled_with_the_input(route):
    crf = route.masks("adaptive", crf=True).settings["crf"]
    assert crf["bilateral_xy"] == pytest.approx(67 * 64 / 321) and crf["spatial_xy"] == 1  # not below a pixel
    assert (crf["bilateral_rgb"], crf["bilateral_weight"], crf["spatial_weight"]) == (3, 4, 3)


# --- the world of many objects ---------------------------------------------------------------------------------------


def test_the_route_on_many_objects_differs_in_its_world_alone(route):
    crowded = route.crowded
    assert crowded is route.crowded and crowded.crowded is None
    assert crowded.world == replace(route.world, knobs=MANY, counts=crowded.world.counts)
    assert dict(crowded.world.counts) == {split: count // 2 for split, count in route.world.counts}
    for name in ("CAM", "adaptive"):
        ours, theirs = crowded.trained(name), route.trained(name)
        assert (ours.settings, ours.inputs["start"]) == (theirs.settings, theirs.inputs["start"])
        assert ours.inputs["view"].world == crowded.world and ours.label == f"train {name} (many objects), seed 0"
    assert crowded.saliency_network("masks") == route.saliency_network("masks")
    assert crowded.saliency("masks").inputs["state"] == route.saliency("masks").inputs["state"]
    assert crowded.saliency("masks") != route.saliency("masks")
    assert crowded.objects().inputs["view"].world == crowded.world


def coco(root):
    """COCO in its layout, with three categories and one image, which isn't opened."""
    (root / "annotations").mkdir(parents=True)
    categories = [{"id": number, "name": name} for number, name in ((1, "person"), (62, "chair"), (17, "cat"))]
    (root / "annotations/instances_train2014.json").write_text(json.dumps({
        "images": [{"id": 9, "file_name": "a.jpg", "height": 4, "width": 4}], "categories": categories,
        "annotations": [{"id": 1, "image_id": 9, "category_id": 62, "bbox": [0, 0, 2, 2], "iscrowd": 0}]}))
    return root


@pytest.fixture
def voc_routes(photographs, monkeypatch):
    """Routes of the profile on VOC with weights of the right form and photographs in VOC's place."""
    worlds._coco.cache_clear()
    world, weights = FolderWorld(str(photographs.parent / "photos")), RandomTrunk()
    guided = oh2017.Route(world, oh2017.SCALES["voc"], 0, weights, weights)
    monkeypatch.setattr(oh2017, "routes", lambda *arguments: [guided])
    monkeypatch.setattr(lee2021, "_files", lambda scale: dict.fromkeys(("main", *scale.nets), weights))
    return lambda profile="voc": lee2021.routes(profile, seeds=1)[0]


def test_coco_is_the_world_of_many_objects_where_it_is_named(voc_routes, tmp_path, monkeypatch):
    assert voc_routes().crowded is None
    monkeypatch.setenv("WSSS_COCO", str(coco(tmp_path / "coco")))
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


# --- other profiles --------------------------------------------------------------------------------------------------


def test_photographs_have_few_rows_and_one_segmenter(photographs):
    route, = lee2021.routes("photos", seeds=1)
    assert route.crowded is None and route.starts.keys() == {"main", "MobileNetV2"}
    assert {start.path for start in route.starts.values()} == {str(photographs / "mobilenet_v2_imagenet.pth")}
    assert {name: route.trained(name).pixel_labels() for name in trained_rows("photos")} == {
        "CAM": (), "naive": (DUTS,), "adaptive": (DUTS,), "saliency: unsupervised": (),
        "saliency: oracle": ("true foreground as saliency",)}
    assert route.saliency("masks") == route.guided.saliency_maps("train")
    net, = segmenters("photos")
    for labels in taught("photos"):
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
        lee2021._files(scale)
    torch.save(vgg_trunk("HighRes", TOY_BLOCKS).state_dict(), tmp_path / name)
    with pytest.raises(WeightsError, match=f"{name}' is for another architecture"):
        lee2021._files(scale)


# --- saliency made elsewhere -----------------------------------------------------------------------------------------


def test_maps_made_elsewhere_take_the_place_of_a_detector(voc_routes, maps):
    route = voc_routes()
    for detector in DETECTORS:
        step = route.saliency(detector, "val")
        assert step.function.__name__ == "folder_frames" and step.pixel_labels() == (ELSEWHERE,)
        assert step.inputs["folder"].path == str(maps / detector) and step.inputs["view"].split == "val"
        assert functions(route.trained(detector_row(detector))) == ["folder_frames", "train_localisation"]
    assert {name: route.trained(name).pixel_labels() for name in trained_rows("voc")} == {
        name: (() if name == "CAM" else (ELSEWHERE,)) for name in trained_rows("voc")}
    assert route.saliency("oracle").pixel_labels() == ("true foreground as saliency",)
    assert replace(route, seed=1).saliency("masks") == route.saliency("masks")  # all seeds share the maps
    for labels, nets in taught("voc").items():
        for net in nets:
            assert EVALUATION_READS in route.score(route.prediction(labels, net), "val").pixel_labels()


def test_a_detector_without_maps_elsewhere_is_the_profiles_own(route, maps):
    for file in (maps / "boxes").iterdir():
        file.unlink()
    (maps / "boxes").rmdir()
    assert route.saliency("boxes") == route.guided.saliency_maps("train")
    assert route.saliency("masks").pixel_labels() == (ELSEWHERE,)


def test_other_maps_make_other_trainings(route, maps):
    before = route.trained("adaptive").key
    assert route.trained("adaptive").key == before
    (maps / "boxes" / "p1.png").write_text("another map")
    assert route.trained("adaptive").key == before
    (maps / "masks" / "p1.png").write_text("another map")
    assert route.trained("adaptive").key != before
