"""What a run makes of bad input: the thing and the fix are named, and what was finished is kept.

The errors themselves are tested where they are raised: folders, tags, weights, notebooks, the command, the store.
"""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_views import RandomTrunk, write_photographs

from wsss_lab.errors import LabError, StoreError, WeightsError
from wsss_lab.lab import worlds
from wsss_lab.lab.compute import compute
from wsss_lab.lab.store import Store
from wsss_lab.lab.worlds import FolderWorld
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import TOY_BLOCKS, vgg_trunk
from wsss_lab.networks.u2netp import U2NetP
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


def run(steps, store):
    compute(steps, store, executor="serial", progress="none")


def test_a_damaged_photograph_is_named_and_the_rest_is_kept(root, store):
    path = root / "JPEGImages/p3.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    route = route_on(root)
    trained = route.classifier("HighRes")
    with pytest.raises(LabError, match=r"p3\.jpg is damaged or truncated") as caught:
        run([route.class_maps("HighRes", "val"), route.seeds()], store)
    assert "maps of HighRes on val" in str(caught.value) and "download it again" in str(caught.value)
    assert "everything that finished is stored" in caught.value.fix
    assert trained in store and route.seeds() in store


def test_a_mask_that_does_not_fit_stops_the_scores_only(root, store):
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(root / "SegmentationClass/p3.png")
    route = route_on(root)
    trained = route.segmenter(route.seeds())
    scored = route.score(route.prediction(trained))
    with pytest.raises(LabError, match=r"p3\.png is 20x20 pixels") as caught:
        run([scored], store)
    assert "36x24, the size of p3.jpg" in str(caught.value) and f"{scored}:" in str(caught.value)
    assert route.prediction(trained) in store and scored not in store


def test_a_label_beyond_the_classes_is_named(root, store):
    mask = np.full((24, 36), 7, np.uint8)
    Image.fromarray(mask).save(root / "SegmentationClass/p1.png")
    with pytest.raises(LabError, match=r"p1\.png has the label 7(.|\n)*expected: 0 to 2, or 255"):
        run([route_on(root).truth()], store)


def test_a_tag_table_that_lacks_an_image_stops_before_training(root, store):
    (root / "image_labels.csv").write_text("image,cat,dog\np0,1,0\np1,0,1\np3,1,0\n")
    with pytest.raises(LabError, match=r"image_labels\.csv: 1 of 3 images missing: p2"):
        run([route_on(root).classifier("HighRes")], store)


def test_a_loss_that_is_not_a_number_names_the_training_and_keeps_the_rest(root, store):
    route = route_on(root, RandomTrunk(float("nan")))
    other = route.salient(detector="unsupervised")
    with pytest.raises(LabError, match="the loss is nan at iteration 1 of 1") as caught:
        run([route.seeds(), other], store)
    assert "train HighRes, seed 0" in str(caught.value) and "lower the learning rate" in str(caught.value)
    assert other in store and route.classifier("HighRes") not in store


def test_a_disk_that_fills_up_in_the_middle_keeps_what_was_stored(root, store, monkeypatch):
    route = route_on(root)
    run([route.classifier("HighRes")], store)
    monkeypatch.setattr("wsss_lab.lab.store.write_value", full_disk)
    with pytest.raises(LabError, match="No space left on device") as caught:
        run([route.seeds()], store)
    assert isinstance(caught.value, StoreError) and "WSSS_CACHE" in str(caught.value)
    monkeypatch.undo()
    assert route.classifier("HighRes") in store
    run([route.seeds()], store)
    assert route.seeds() in store


def full_disk(*args):
    raise OSError(28, "No space left on device")


# --- saliency maps and context maps ----------------------------------------------------------------------------------


def eps_on(root):
    """The route of Lee et al. 2021 with a small classifier and trainings of one iteration."""
    scale = lee2021.SCALES["quick"]
    main = dataclasses.replace(scale.main, family="vgg", blocks=TOY_BLOCKS)
    scale = dataclasses.replace(scale, main=main, classifier=Schedule(1, 2), scored="train")
    guided = route_on(root)
    return lee2021.Route(guided.world, scale, 0, {"main": guided.start}, guided)


@pytest.fixture
def maps(tmp_path, monkeypatch):
    """WSSS_SALIENCY with maps of one detector; their folder."""
    folder = tmp_path / "saliency/masks"
    folder.mkdir(parents=True)
    for index in range(4):
        Image.fromarray(np.full((24, 36), 60 * index, np.uint8)).save(folder / f"p{index}.png")
    monkeypatch.setenv("WSSS_SALIENCY", str(folder.parent))
    return folder


@pytest.mark.parametrize(("values", "problem", "expected", "fix"), [
    (None, "no saliency map for image 'p1' in {folder}", "p1.png or p1.npy", "compute the map of this image"),
    (np.zeros((20, 20), np.uint8), "{folder}/p1.npy has shape (20, 20)", "(24, 36) (height, width), as its image",
     "resize it"),
    (np.full((24, 36), 256.0), "{folder}/p1.npy holds values from 256 to 256", "values in [0, 1] or in 0..255",
     "scale the map"),
    (np.full((24, 36), -0.5), "{folder}/p1.npy holds values from -0.5 to -0.5", "values in [0, 1] or in 0..255",
     "scale the map"),
    (np.full((24, 36), np.nan), "{folder}/p1.npy holds values from nan to nan", "values in [0, 1] or in 0..255",
     "scale the map"),
], ids=["missing", "another size", "above 255", "below 0", "not a number"])
def test_a_saliency_map_that_cannot_be_used_is_named_and_what_needs_none_goes_on(root, store, maps, values, problem,
                                                                                 expected, fix):
    (maps / "p1.png").unlink()
    if values is not None:
        np.save(maps / "p1.npy", values)
    route = eps_on(root)
    with pytest.raises(LabError) as caught:
        run([route.trained("adaptive"), route.trained("CAM")], store)
    for part in (problem.format(folder=maps), f"expected: {expected}", "fix: ", fix, "saliency maps 'masks' of train"):
        assert part in str(caught.value)
    assert route.trained("CAM") in store and route.trained("adaptive") not in store


def test_a_saliency_map_of_a_split_that_is_not_asked_for_may_be_missing(root, store, maps):
    (maps / "p3.png").unlink()  # of val
    route = eps_on(root)
    run([route.trained("adaptive")], store)
    with pytest.raises(LabError, match="no saliency map for image 'p3'"):
        run([route.estimated("adaptive", "val")], store)


def write_contexts(root):
    (root / "context_classes.txt").write_text("grass\n")
    (root / "SegmentationContext").mkdir()
    for index in range(4):
        Image.fromarray(np.ones((24, 36), np.uint8)).save(root / f"SegmentationContext/p{index}.png")
    return root / "SegmentationContext/p1.png"


@pytest.mark.parametrize("damage", ["missing", "cut off", "another size"])
def test_an_image_without_a_context_map_is_counted_and_the_others_are_scored(root, store, damage):
    path = write_contexts(root)
    if damage == "missing":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:40])
    else:
        Image.fromarray(np.ones((20, 20), np.uint8)).save(path)
    route = eps_on(root)
    step = route.contexts(route.lessons("full"), "train")
    run([step], store)
    found = step.load(store)
    assert found["missing"] == 1 and found["known"].tolist() == [True, False, True]
    assert found["present"].tolist() == [[True], [False], [True]] and found["confusions"].sum() == 3 * 24 * 36


def test_a_folder_without_contexts_has_none_to_score_and_none_missing(root, store):
    route = eps_on(root)
    step = route.contexts(route.lessons("full"), "train")
    run([step], store)
    found = step.load(store)
    assert found["missing"] == 0 and found["present"].shape == (3, 0) and found["false"].shape == (3, 0, 2)
    assert found["confusions"].sum() == 3 * 24 * 36


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def weights(root, tmp_path, monkeypatch):
    """WSSS_DATA and WSSS_WEIGHTS for the profile on photographs, with weights that fit."""
    from torchvision.models import mobilenet_v2

    folder = tmp_path / "weights"
    folder.mkdir()
    torch.save(mobilenet_v2(weights=None).state_dict(), folder / "mobilenet_v2_imagenet.pth")
    torch.save(U2NetP().state_dict(), folder / "u2netp_saliency.pth")
    monkeypatch.setenv("WSSS_DATA", str(root))
    monkeypatch.setenv("WSSS_WEIGHTS", str(folder))
    return folder


def test_weights_that_fit_are_taken(weights):
    route, = oh2017.routes("photos", seeds=1)
    assert route.start.path == str(weights / "mobilenet_v2_imagenet.pth")
    assert route.u2net.key in str(route.saliency_maps().input_keys)


@pytest.mark.parametrize("name", ["mobilenet_v2_imagenet.pth", "u2netp_saliency.pth"])
@pytest.mark.parametrize("damage", ["missing", "cut off", "another architecture", "no weights"])
def test_weights_that_do_not_fit_are_named_before_anything_runs(weights, name, damage):
    path = weights / name
    if damage == "missing":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "another architecture":
        torch.save(vgg_trunk("HighRes", TOY_BLOCKS).state_dict(), path)
    else:
        torch.save([1, 2, 3], path)
    with pytest.raises(WeightsError, match=name) as caught:
        oh2017.routes("photos", seeds=1)
    expected = {"missing": "no weights file", "cut off": "can't be read", "no weights": "holds no state dict"}
    assert expected.get(damage, "is for another architecture") in str(caught.value)


def test_missing_weights_come_with_the_command_that_fetches_them(weights):
    with pytest.raises(WeightsError) as caught:
        oh2017.routes("voc", seeds=1)
    assert caught.value.problem == f"no weights file '{weights / 'vgg16_imagenet.pth'}'"
    assert caught.value.fix == f"wsss data imagenet-weights --to {weights}"
    with pytest.raises(WeightsError, match=r"no weights file .*rna-a1") as caught:  # which its authors share alone
        worlds.weights_file("ilsvrc-cls_rna-a1_cls1000_ep-0001.pth", print)
    assert caught.value.fix.startswith("put it there") and "wsss data imagenet-weights" in caught.value.fix


def test_a_missing_saliency_network_comes_with_its_command(weights):
    (weights / "u2netp_saliency.pth").unlink()
    with pytest.raises(WeightsError) as caught:
        oh2017.routes("photos", seeds=1)
    assert caught.value.fix == f"wsss data saliency --to {weights}"


def test_vgg_weights_of_another_architecture_are_named(weights):
    torch.save(vgg_trunk("HighRes", TOY_BLOCKS).state_dict(), weights / "vgg16_imagenet.pth")
    with pytest.raises(WeightsError, match=r"vgg16_imagenet\.pth' is for another architecture: 4 layers") as caught:
        oh2017.routes("voc", seeds=1)
    assert "13 convolutions" in caught.value.expected and "torchvision's vgg16" in caught.value.fix
