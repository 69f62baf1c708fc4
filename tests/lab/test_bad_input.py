"""What a run makes of bad input: the thing and the fix are named, and what was finished is kept.

The errors themselves are tested where they are raised: folders, tags, weights, notebooks, the command, the store.
"""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_views import RandomTrunk, write_photographs

from wsss_lab.errors import LabError, WeightsError
from wsss_lab.lab import worlds
from wsss_lab.lab.compute import compute
from wsss_lab.lab.store import Store
from wsss_lab.lab.worlds import FolderWorld
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import TOY_BLOCKS, vgg_trunk
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.oh2017.route import SCALES, Route

torch.set_num_threads(1)


@pytest.fixture
def root(tmp_path):
    return write_photographs(tmp_path / "photos", masks=True)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def route_on(root, start=None):
    """The smallest networks and trainings of one iteration on a folder."""
    worlds._folder.cache_clear()
    short = Schedule(1, 2)
    scale = dataclasses.replace(SCALES["quick"], classifier=short, segmenter=short, plain_classifier=short)
    return Route(FolderWorld(str(root)), scale, 0, start or RandomTrunk())


def eps_on(root):
    """The route of Lee et al. 2021 with a small classifier and trainings of one iteration."""
    scale = lee2021.SCALES["quick"]
    main = dataclasses.replace(scale.main, family="vgg", blocks=TOY_BLOCKS)
    scale = dataclasses.replace(scale, main=main, classifier=Schedule(1, 2), scored="train")
    guided = route_on(root)
    return lee2021.Route(guided.world, scale, 0, {"main": guided.start}, guided)


def run(steps, store):
    compute(steps, store, executor="serial", progress="none")


def refused(steps, store, *told):
    """Every text in the error that steps end with."""
    with pytest.raises(LabError) as caught:
        run(steps, store)
    for text in told:
        assert text in str(caught.value)


def mask(root, name, value, size=(24, 36)):
    Image.fromarray(np.full(size, value, np.uint8)).save(root / f"{name}.png")


def test_a_damaged_photograph_is_named_and_the_rest_is_kept(root, store):
    path = root / "JPEGImages/p3.jpg"
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    route = route_on(root)
    refused([route.class_maps("HighRes", "val"), route.seeds()], store, "p3.jpg is damaged or truncated",
            "maps of HighRes on val", "download it again", "everything that finished is stored")
    assert route.classifier("HighRes") in store and route.seeds() in store


def test_a_mask_that_does_not_fit_stops_the_scores_only(root, store):
    mask(root / "SegmentationClass", "p3", 0, (20, 20))
    route = route_on(root)
    predicted = route.prediction(route.segmenter(route.seeds()))
    scored = route.score(predicted)
    refused([scored], store, "p3.png is 20x20 pixels", "36x24, the size of p3.jpg", f"{scored}:")
    assert predicted in store and scored not in store


SCALE = "expected: values in [0, 1] or in 0..255\n", "scale the map"


@pytest.mark.parametrize(("values", "told"), [
    (None, ("no saliency map for image 'p1' in {}", "expected: p1.png or p1.npy", "compute the map of this image")),
    (np.zeros((20, 20), np.uint8), ("{}/p1.npy has shape (20, 20)", "expected: (24, 36) (height, width), as its image",
                                    "resize it")),
    (np.full((24, 36), 256.0), ("{}/p1.npy holds values from 256 to 256", *SCALE)),
    (np.full((24, 36), np.nan), ("{}/p1.npy holds values from nan to nan", *SCALE))],
    ids=["missing", "another size", "above 255", "not a number"])
def test_a_saliency_map_that_cannot_be_used_is_named_and_what_needs_none_goes_on(root, store, maps, values, told):
    (maps / "p1.png").unlink()
    if values is not None:
        np.save(maps / "p1.npy", values)
    route = eps_on(root)
    refused([route.trained("adaptive"), route.trained("CAM")], store, "fix: ", "saliency 'masks' of train",
            *(text.replace("{}", str(maps)) for text in told))
    assert route.trained("CAM") in store and route.trained("adaptive") not in store


def test_a_saliency_map_of_a_split_that_is_not_asked_for_may_be_missing(root, store, maps):
    (maps / "p3.png").unlink()  # of val
    route = eps_on(root)
    run([route.trained("adaptive")], store)
    refused([route.estimated("val")], store, "no saliency map for image 'p3'")


@pytest.mark.parametrize("name, profile, source", [("vgg16_imagenet.pth", "voc", "imagenet-weights"),
                                                   ("u2netp_saliency.pth", "photos", "saliency")])
def test_missing_weights_come_with_the_command_that_fetches_them(photographs, name, profile, source):
    (photographs / name).unlink(missing_ok=True)
    with pytest.raises(WeightsError) as caught:
        oh2017.routes(profile, seeds=1)
    assert caught.value.problem == f"no weights file '{photographs / name}'"
    assert caught.value.fix == f"wsss data {source} --to {photographs}"
    with pytest.raises(WeightsError, match=r"no weights file .*rna-a1") as caught:  # which its authors alone share
        worlds.weights_file("ilsvrc-cls_rna-a1_cls1000_ep-0001.pth", print)
    assert caught.value.fix.startswith("put it there") and "wsss data imagenet-weights" in caught.value.fix


def test_labels_and_tags_that_do_not_fit_are_named(root, store):
    mask(root / "SegmentationClass", "p1", 7)
    refused([route_on(root).truth()], store, "p1.png has the label 7", "expected: 0 to 2, or 255")
    (root / "image_labels.csv").write_text("image,cat,dog\np0,1,0\np1,0,1\np3,1,0\n")
    refused([route_on(root).classifier("HighRes")], store, "image_labels.csv: 1 of 3 images missing: p2")


def test_a_loss_that_is_not_a_number_names_the_training_and_keeps_the_rest(root, store):
    route = route_on(root, RandomTrunk(float("nan")))
    other = route.salient(detector="unsupervised")
    refused([route.seeds(), other], store, "the loss is nan at iteration 1 of 1", "train HighRes, seed 0",
            "lower the learning rate")
    assert other in store and route.classifier("HighRes") not in store


def test_a_disk_that_fills_up_in_the_middle_keeps_what_was_stored(root, store, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    route = route_on(root)
    run([route.classifier("HighRes")], store)
    with monkeypatch.context() as patched:
        patched.setattr("wsss_lab.lab.store.write_value", full_disk)
        refused([route.seeds()], store, "No space left on device", "WSSS_CACHE")
    assert route.classifier("HighRes") in store
    run([route.seeds()], store)
    assert route.seeds() in store


# --- saliency maps and context maps ----------------------------------------------------------------------------------


@pytest.fixture
def maps(tmp_path, monkeypatch):
    """WSSS_SALIENCY with maps of one detector; their folder."""
    folder = tmp_path / "saliency/masks"
    folder.mkdir(parents=True)
    for index in range(4):
        mask(folder, f"p{index}", 60 * index)
    monkeypatch.setenv("WSSS_SALIENCY", str(folder.parent))
    return folder


@pytest.mark.parametrize("damage", ["missing", "cut off", "another size", "no contexts"])
def test_an_image_without_a_context_map_is_counted_and_the_others_are_scored(root, store, damage):
    contexts = root / "SegmentationContext"
    if damage != "no contexts":
        (root / "context_classes.txt").write_text("grass\n")
        contexts.mkdir()
        for index in range(4):
            mask(contexts, f"p{index}", 1)
    if damage == "missing":
        (contexts / "p1.png").unlink()
    elif damage == "cut off":
        (contexts / "p1.png").write_bytes((contexts / "p1.png").read_bytes()[:40])
    elif damage == "another size":
        mask(contexts, "p1", 1, (20, 20))
    route = eps_on(root)
    step = route.contexts(route.lessons("full"))
    run([step], store)
    found = step.load(store)
    assert found["confusions"].sum() == 3 * 24 * 36
    if damage == "no contexts":
        assert found["missing"] == 0 and found["present"].shape == (3, 0) and found["false"].shape == (3, 0, 2)
    else:
        assert found["missing"] == 1 and found["known"].tolist() == [True, False, True]
        assert found["present"].tolist() == [[True], [False], [True]]


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenet_v2_imagenet.pth", "u2netp_saliency.pth"])
def test_weights_that_do_not_fit_are_named_before_anything_runs(photographs, name):
    path = photographs / name
    whole = path.read_bytes()
    route, = oh2017.routes("photos", seeds=1)
    assert route.start.path == str(photographs / "mobilenet_v2_imagenet.pth")
    assert route.u2net.key in str(route.saliency_maps().input_keys)
    for content, told in ((vgg_trunk("HighRes", TOY_BLOCKS).state_dict(), "is for another architecture"),
                          ([1, 2, 3], "holds no state dict"), (whole[:1000], "can't be read")):
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        with pytest.raises(WeightsError, match=f"{name}(.|\n)*{told}|{told}(.|\n)*{name}"):
            oh2017.routes("photos", seeds=1)


def test_weights_of_another_architecture_say_which_one_is_needed(photographs):
    torch.save(vgg_trunk("HighRes", TOY_BLOCKS).state_dict(), photographs / "vgg16_imagenet.pth")
    with pytest.raises(WeightsError, match=r"vgg16_imagenet\.pth' is for another architecture: 4 layers") as caught:
        oh2017.routes("voc", seeds=1)
    assert "13 convolutions" in caught.value.expected and "torchvision's vgg16" in caught.value.fix
