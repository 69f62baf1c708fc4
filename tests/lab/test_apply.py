"""Photos of anybody's: how they are read, what stages make of one, what is written, and the file of two networks."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image
from tiny_views import BACKBONE, blobs
from typer.testing import CliRunner

from wsss_lab.data.folder import VOC_CLASSES
from wsss_lab.data.pixels import read_labels, voc_palette
from wsss_lab.errors import DataError, LabError, WeightsError
from wsss_lab.evaluation.confusion import mean_iou, nan_mean
from wsss_lab.evaluation.precision_recall import average_precisions
from wsss_lab.fusion.guides import g0_guide
from wsss_lab.lab import apply as lab
from wsss_lab.lab import cli, notebooks, provenance, trained
from wsss_lab.lab.compute import compute
from wsss_lab.lab.store import Store
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.trunks import TOY_BLOCKS, vgg_trunk
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.saliency.maps import salient_mask
from wsss_lab.saliency.unsupervised import detect
from wsss_lab.seeds.training import classifier_outputs, train_classifier
from wsss_lab.segmenter.training import train_segmenter

RED, GREY = (230, 30, 30), (110, 110, 110)


@pytest.fixture(scope="module")
def networks():
    """A classifier and a segmenter that tell a red cat from a green dog, trained in seconds."""
    torch.manual_seed(0)
    start, schedule = vgg_trunk("HighRes", TOY_BLOCKS).state_dict(), asdict(Schedule(120, 8, 3e-3))
    view = blobs([(32, 32)] * 8)
    masks = np.stack([view.mask(index) for index in range(len(view))])
    about = {"classes": list(view.classes), "backbone": BACKBONE, "variant": "HighRes"}
    return trained.Networks(
        train_classifier(view.train_view(), start, "HighRes", BACKBONE, schedule, seed=0)["state"],
        train_segmenter(view.train_view(), masks, start, BACKBONE, schedule, seed=0)["state"], about)


def save(networks, path):
    packed = trained.pack({"classifier": networks.classifier, "segmenter": networks.segmenter})
    torch.save({"state": packed, "about": json.dumps(networks.about)}, path)
    return path


@pytest.fixture
def cat(tmp_path, monkeypatch):
    """A red rectangle on grey, where `blobs` has it, larger than what is looked at."""
    monkeypatch.setattr(lab, "LONGEST", 128)
    pixels = np.full((400, 400, 3), GREY, np.uint8)
    pixels[100:300, 50:150] = RED
    Image.fromarray(pixels).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path):
    """Neither U2-Net-P nor networks are there but for what a test puts into its folder; the package has none either."""
    monkeypatch.setenv("WSSS_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(trained, "PACKAGE_FOLDER", tmp_path / "package")
    monkeypatch.setenv("WSSS_DEVICE", "cpu")


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_photo_is_seen_as_it_is_meant_whatever_its_kind(tmp_path):
    left = np.zeros((40, 60, 3), np.uint8)
    left[:, :30] = 200
    grey, path = left[..., 0], tmp_path / "photo"

    def read(image, **options):
        image.save(path, **options)
        return lab.read_photo(path)

    flags = Image.Exif()
    flags[0x0112] = 6  # stored on its left side: to be turned by 90 degrees, clockwise
    seen, size = read(Image.fromarray(left), format="PNG", exif=flags)
    assert size == (60, 40) and np.array_equal(seen, np.rot90(left, -1)) and seen.flags.writeable
    pasted = np.where(left > 0, 200, 255)
    transparent = np.dstack([left, np.uint8(255 * (grey > 0))])
    deep = np.uint16(257) * np.uint16(grey)
    for image, expected, kind in (
        (Image.fromarray(grey), left, "PNG"), (Image.fromarray(left).quantize(8), left, "PNG"),
        (Image.fromarray(grey > 0).convert("1"), np.where(left > 0, 255, 0), "PNG"),
        (Image.fromarray(deep), np.where(left > 0, 255, 0), "PNG"),
        (Image.fromarray(np.float32(grey)), np.where(left > 0, 255, 0), "TIFF"),
        (Image.fromarray(left).convert("CMYK"), left, "TIFF"), (Image.fromarray(transparent), pasted, "PNG"),
        (Image.fromarray(transparent).quantize(8), pasted, "PNG"),
    ):
        seen, size = read(image, format=kind)
        assert size == (40, 60) and seen.dtype == np.uint8, image.mode
        assert abs(seen.astype(int) - expected).max() <= 1, image.mode
    frozen = left.copy()
    frozen.setflags(write=False)
    assert np.array_equal(lab.read_photo(frozen)[0], left)
    seen, size = read(Image.fromarray(left.repeat(50, 0).repeat(50, 1)), format="JPEG")
    assert size == (2000, 3000) and seen.shape == (341, 512, 3)


@pytest.mark.parametrize(("content", "told"), [
    (None, "no file"), (b"", "it is empty"), (b"<html>", "web page"), (b"\xff\xd8\xff\xe0cut", "damaged or truncated")])
def test_what_is_no_photo_is_one_error(tmp_path, content, told):
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"no photo: .*{told}"):
        lab.read_photo(path)
    for small in (np.zeros((8, 9, 3), np.uint8), np.zeros((5000, 40, 3), np.uint8)):
        with pytest.raises(DataError, match="at least 16"):
            lab.read_photo(small)
    with pytest.raises(DataError, match="no photo: float64"):
        lab.read_photo(np.zeros((40, 40, 7)))


def test_a_cut_jpeg_is_refused_and_not_filled_with_grey(tmp_path, cat):
    Image.open(cat).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[:len(content) // 2])
    with pytest.raises(DataError, match="truncated"):
        lab.read_photo(tmp_path / "cut.jpg")


# --- stages ----------------------------------------------------------------------------------------------------------


def test_every_stage_finds_the_cat_and_masks_have_the_size_of_the_photo(tmp_path, cat, networks):
    save(networks, tmp_path / trained.FILE)
    options = ["apply", str(cat), "--out", str(tmp_path / "out")]
    told = CliRunner().invoke(cli.app, options, catch_exceptions=False).output
    assert "400 x 400 pixels, looked at with 128 x 128" in told and "tags: cat (predicted" in told
    assert "hand-crafted" in told and "wsss data saliency" in told
    written = {path.name for path in (tmp_path / "out").iterdir()}
    masks = set(lab.STAGES) - {"saliency", "cam", "selection"}
    assert written == {"cat_strip.png", *(f"cat_{stage}.png" for stage in masks)}
    truth = np.zeros((400, 400), bool)
    truth[100:300, 50:150] = True
    for stage in masks:
        path = tmp_path / "out" / f"cat_{stage}.png"
        labels = read_labels(path)
        assert labels.shape == truth.shape, stage
        assert set(np.unique(labels)) <= {0, 1, 255} or stage.startswith("segmenter"), stage  # sees no tag
        found = (labels == 1) & truth
        assert found.sum() > 0.7 * truth.sum(), stage
        assert stage in ("seeds", "crf", "pamr") or found.sum() > 0.3 * ((labels == 1) | truth).sum(), stage
        assert Image.open(path).getpalette()[:768] == voc_palette().ravel().tolist()
    assert Image.open(tmp_path / "out" / "cat_strip.png").format == "PNG" and cat.is_file()


def test_given_tags_count_and_a_stage_is_what_the_package_makes_of_the_photo(cat, networks):
    photo = lab.Photo(cat, ["Dog "], networks)
    found = lab.apply(photo, ["saliency", "G0", "seeds", "segmenter"])
    assert list(found) == ["saliency", "G0", "seeds", "segmenter"] and photo.names == ["dog"]
    assert np.array_equal(found["saliency"], np.float32(detect(photo.image)).clip(0, 1))
    drawn = g0_guide(salient_mask(found["saliency"]), np.array([False, True]), np.random.default_rng(0))
    assert np.array_equal(found["G0"], drawn) and 2 in drawn
    assert set(np.unique(found["seeds"])) <= {0, 2} and {0, 1} <= set(np.unique(found["segmenter"]))
    told = lab.report(photo, found)
    assert "tags: dog (given)" in told and "classifier: cat" in told


def test_maps_that_are_not_salient_are_not_selected(cat, networks):
    photo = lab.Photo(cat, ["cat", "dog"], networks)
    photo.saliency, photo.maps = np.zeros((2, 4), np.float32), np.zeros((2, 2, 4), np.float32)
    photo.saliency[:, :2] = 1
    photo.maps[0, :, 1:3], photo.maps[1, :, :3] = 0.9, 0.8  # half of the cat's map is salient, two thirds of the dog's
    overlap, chosen = lab.selected(photo)
    assert overlap == pytest.approx([0.5, 2 / 3], abs=1e-3) and chosen.tolist() == [True, True]
    photo.maps[0, :, 1] = 0
    assert lab.selected(photo)[1].tolist() == [False, True]
    assert np.array_equal(lab.apply(photo, ["selection"])["selection"], photo.maps[1])


def test_what_cannot_be_done_is_one_error_that_says_what_can(tmp_path, cat, networks):
    def refusal(*options, out=tmp_path / "out"):
        answer = CliRunner().invoke(cli.app, ["apply", str(cat), "--out", str(out), *options])
        assert isinstance(answer.exception, LabError) and not answer.output and not list(tmp_path.glob("out/*"))
        return str(answer.exception)

    assert "wsss weights" in refusal() and "no photos_networks.pth" in refusal("--stages", "seeds")
    assert "did you mean 'person'?" in refusal("--tags", "cat,persn")
    (tmp_path / trained.FILE).write_bytes(b"PK")
    assert "wsss weights" in refusal()
    save(networks, tmp_path / trained.FILE)
    assert "unknown tag 'zebra'\n  expected: one of cat, dog" in refusal("--tags", "zebra")
    assert "did you mean 'seeds'?" in refusal("--stages", "sedes")
    assert "cannot write to" in refusal(out=cat) and "--out folder" in refusal(out=cat)


def test_without_networks_a_tag_and_saliency_still_make_a_mask(tmp_path, cat):
    options = ["apply", str(cat), "--tags", "cat", "--stages", "saliency,G0", "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(cli.app, options).exit_code == 0
    assert set(np.unique(read_labels(tmp_path / "out" / "cat_G0.png"))) == {0, 8}  # cat is VOC's eighth class


# --- the file of networks --------------------------------------------------------------------------------------------


def test_weights_are_packed_once_where_they_agree_and_rounded_by_channel():
    large = torch.linspace(-1, 1, trained.LARGE).reshape(2, -1, 1, 1) * torch.tensor([1.0, 100.0]).view(2, 1, 1, 1)
    alike = {"norm.weight": torch.tensor([0.1, 3.0]), "steps": torch.tensor(7)}
    states = {"classifier": alike | {"a": large}, "segmenter": alike | {"a": -large}}
    packed = trained.pack(states)
    assert sorted(packed) == ["both.norm.weight", "both.steps", "classifier.a", "classifier.a.scale", "segmenter.a",
                              "segmenter.a.scale"]
    assert packed["classifier.a"].dtype == torch.int8 and packed["classifier.a.scale"].flatten().tolist() == (
        pytest.approx([1 / 127, 100 / 127]))
    back = trained.unpack(packed)
    for part, state in states.items():
        assert back[part].keys() == state.keys() and back[part]["steps"] == 7
        assert torch.equal(back[part]["norm.weight"], state["norm.weight"].half().float())
        error = (back[part]["a"] - state["a"]).abs().amax((1, 2, 3))
        assert (error <= torch.tensor([0.5, 50]) / 127 * 1.001).all() and error.min() > 0


def test_a_file_of_another_network_is_refused_with_the_command_that_makes_the_right_one(tmp_path, networks):
    path = save(networks, tmp_path / "networks.pth")
    read = trained.read(path)
    assert read.classes == ("cat", "dog") and Backbone.from_settings(read.about["backbone"]).side == 32
    torch.save(networks.classifier, tmp_path / "bare.pth")
    wider = {**networks.about, "backbone": {**BACKBONE, "width": 17}}
    save(trained.Networks(networks.classifier, networks.segmenter, wider), tmp_path / "wider.pth")
    for name in ("bare.pth", "wider.pth"):
        with pytest.raises(WeightsError, match=name) as refused:
            trained.read(tmp_path / name)
        assert "wsss weights" in refused.value.fix


def test_the_command_writes_what_the_run_store_holds(tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "store"))
    monkeypatch.setattr(trained, "compute", lambda steps, store, jobs: compute(steps, store, "serial"))
    options = ["weights", "--profile", "quick", "--row", "seeds", "--out", str(tmp_path)]
    told = CliRunner().invoke(cli.app, options, catch_exceptions=False).output
    networks = trained.read(tmp_path / "quick_networks.pth")
    assert len(networks.classes) == 8 and networks.about["made"]["segmenter"]["label"].startswith("segmenter on seeds")
    route, store = oh2017.routes("quick", 1)[0], Store()
    compute([seen := route.class_maps("HighRes", "val"), scored := route.scored("seeds")], store, "serial")
    view = route.world.train_view("val").load(store)
    kept = classifier_outputs(view, networks.classifier, "HighRes", networks.about["backbone"])["scores"]
    assert torch.allclose(kept, seen.load(store)["scores"], atol=0.05)
    whole = {"mAP": nan_mean(average_precisions(seen.load(store)["scores"].numpy(), view.tags)),
             "mIoU": float(mean_iou(scored.load(store)["confusions"].sum(0)))}
    scores = networks.about["scores"]  # of the rounded networks
    assert scores == pytest.approx({name: 100 * value for name, value in whole.items()}, abs=1)
    assert networks.about["pixel_labels"] == [] and f"learnt on toyvoc, mAP {scores['mAP']:.1f} %" in told


def test_the_networks_of_the_package_are_small_and_see_who_is_there():
    path = provenance.PACKAGE_FOLDER / "weights" / trained.FILE
    networks = trained.read(path)
    assert networks.classes == VOC_CLASSES and path.stat().st_size < 6e6
    scores, readme = networks.about["scores"], (notebooks.project_folder() / "README.md").read_text(encoding="utf-8")
    for told in (f"{path.stat().st_size / 1e6:.1f} MB", f"{scores['mAP']:.1f} % mAP", f"{scores['mIoU']:.1f} % mIoU",
                 f"*{networks.about['row']}*"):
        assert told in readme
    photo = lab.Photo(get_sample_data("grace_hopper.jpg", asfileobj=False), networks=networks)
    person = 1 + photo.classes.index("person")
    assert photo.names == ["person"] and (lab.apply(photo, ["segmenter"])["segmenter"] == person).mean() > 0.2


def test_the_notebook_runs_and_shows_the_strip(tmp_path, cat, networks, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(notebooks.project_folder()))
    save(networks, tmp_path / trained.FILE)
    (item,) = notebooks.select_notebooks(notebooks.find_notebooks(), "photo")
    outcome = notebooks.run_notebook(item, {"photo": str(cat), "device": "cpu"}, tmp_path / "executed.ipynb")
    assert outcome.failure is None
    cells = notebooks.read(outcome.executed).cells
    pictures = [output for cell in cells for output in cell.get("outputs", ()) if "<img" in str(output)]
    assert len(pictures) == 6  # the strip, and a picture for each setting
