"""The command `wsss data`, and the sources it knows."""

import errno
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from collections import namedtuple
from functools import partial
from pathlib import Path

import pytest
from file_server import running
from PIL import Image
from tiny_devkit import AUGMENTED, write_sbd, write_voc
from typer.testing import CliRunner

from wsss_lab.data import archives, download
from wsss_lab.data.augmented import build_augmented
from wsss_lab.data.coco import CocoFolder
from wsss_lab.data.download import Remote
from wsss_lab.data.folder import VocFolder
from wsss_lab.errors import DataError, LabError, ParameterError, WeightsError
from wsss_lab.lab import acquire, cli, doctor
from wsss_lab.lab.acquire import SOURCES, Item, Source


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("WSSS_PROGRESS", "plain")
    with running() as state:
        yield state


def data(*options):
    return CliRunner().invoke(cli.app, ["data", *map(str, options)])


def offer(monkeypatch, *items, name="voc", **more) -> None:
    """Make the command know a source of these items."""
    source = Source("A small world", "https://example.org", items, **more)
    monkeypatch.setitem(SOURCES, name, lambda: source)


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB" if kind == "JPEG" else "P", (8, 6), 1).save(buffer, kind)
    return buffer.getvalue()


def devkit() -> bytes:
    root = "VOCdevkit/VOC2012"
    return tar_of({f"{root}/JPEGImages/1.jpg": picture("JPEG"), f"{root}/SegmentationClass/1.png": picture("PNG"),
                   f"{root}/ImageSets/Segmentation/train.txt": b"1\n"})


def test_a_data_set_arrives_unpacked_and_a_second_call_fetches_nothing(server, tmp_path, monkeypatch):
    content, folder = devkit(), tmp_path / "my data"
    item = Item(Remote("devkit.tar", (server.serve("a", content),), size=len(content)), into="", unpacked=20_000)
    offer(monkeypatch, item, variable="WSSS_DATA", leads_to="VOCdevkit/VOC2012")
    first = data("voc", "--to", folder)
    assert first.exit_code == 0, first.output
    lines = first.output.splitlines()
    assert lines[0] == "A small world" and "https://example.org" in lines[1]
    assert f"devkit.tar, {len(content) / 1e3:.1f} kB, no checksum published: unchecked" in lines[2]
    assert lines[3] == f"    from {server.address}/a"
    assert f"{(len(content) + 20_000) / 1e3:.1f} kB needed in {folder}, " in lines[4] and lines[4].endswith(" free")
    assert f"devkit.tar: 100 % of {len(content) / 1e3:.1f} kB" in first.output
    assert "is unchecked: no checksum is published; its sha256 is " in first.output
    assert lines[-3].endswith("you may delete devkit.tar")
    assert lines[-2] == "  unchecked, as no checksum is published: devkit.tar"
    assert lines[-1] == f"  export WSSS_DATA='{folder}/VOCdevkit/VOC2012'"
    assert VocFolder(folder / "VOCdevkit" / "VOC2012").names("train") == ("1",)
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "store"))
    assert doctor.check_data({"WSSS_DATA": str(folder / "VOCdevkit" / "VOC2012")}).state == "ok"

    (folder / "devkit.tar").unlink()
    second = data("voc", "--to", folder)
    assert second.exit_code == 0 and len(server.asked) == 1
    assert "devkit.tar, " in second.output and ": there already" in second.output
    assert "0 bytes needed" in second.output and "delete" not in second.output


def test_coco_is_laid_out_as_its_reader_wants_it(server, tmp_path, monkeypatch):
    def annotations(number):
        return json.dumps({"images": [{"id": number, "file_name": f"COCO_{number:012}.jpg", "width": 8, "height": 6}],
                           "annotations": [{"id": 1, "image_id": number, "category_id": 1, "bbox": [0, 0, 4, 3]}],
                           "categories": [{"id": 1, "name": "person"}]}).encode()

    archives = {
        "annotations_trainval2014.zip": {"annotations/instances_train2014.json": annotations(1),
                                         "annotations/instances_val2014.json": annotations(2),
                                         "annotations/captions_val2014.json": b"{}"},
        "stuffthingmaps_trainval2017.zip": {"train2017/000000000001.png": picture("PNG"),
                                            "val2017/000000000002.png": picture("PNG")},
        "train2014.zip": {"train2014/COCO_000000000001.jpg": picture("JPEG")},
        "val2014.zip": {"val2014/COCO_000000000002.jpg": picture("JPEG")},
    }
    real = acquire.coco()
    items = []
    for item in real.items:
        url = server.serve(item.remote.name, zip_of(archives[item.remote.name]))
        items.append(Item(Remote(item.remote.name, (url,), check=item.remote.check), item.into, item.members))
    offer(monkeypatch, *items, name="coco", variable=real.variable, leads_to=real.leads_to)
    result = data("coco", "--to", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"  export WSSS_COCO={tmp_path}"
    folder = CocoFolder(tmp_path)
    for split, name in (("train", "COCO_000000000001"), ("val", "COCO_000000000002")):
        assert folder.names(split) == (name,) and folder.eval_view(split).mask(0).shape == (6, 8)
    assert not (tmp_path / "annotations" / "captions_val2014.json").exists()


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(server, tmp_path, monkeypatch):
    content = tar_of({"a.bin": bytes(10**6)})
    offer(monkeypatch, Item(Remote("a.tar", (server.serve("a", content, etag='"1"'),)), into=""))
    with monkeypatch.context() as patched:
        def stop(self, done, total):
            if done:
                raise KeyboardInterrupt

        patched.setattr(acquire.Transfer, "moved", stop)
        stopped = data("voc", "--to", tmp_path)
    assert stopped.exit_code == cli.INTERRUPTED
    assert "Stopped. What is finished is kept: the same command goes on from there." in stopped.output
    assert (tmp_path / "a.tar.part").stat().st_size > 0
    assert data("voc", "--to", tmp_path).exit_code == 0
    assert server.asked[1][1].startswith("bytes=") and (tmp_path / "a.bin").stat().st_size == 10**6


def test_the_disk_is_looked_at_for_all_files_together_before_any_is_fetched(server, tmp_path, monkeypatch):
    url = server.serve("a", b"")
    items = [Item(Remote(f"{name}.tar", (url,), size=10**9), into="", unpacked=10**9) for name in "ab"]
    offer(monkeypatch, *items)
    usage = namedtuple("usage", "total used free")(10**10, 10**10 - 35 * 10**8, 35 * 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    error = data("voc", "--to", tmp_path).exception
    assert isinstance(error, DataError) and f"wsss data voc --to {tmp_path}" in error.fix
    assert f"not enough room for voc in {tmp_path}: 4.0 GB needed, 3.5 GB free" in error.problem and server.asked == []
    (tmp_path / "a.tar.part").write_bytes(bytes(1000))
    assert acquire._room(items[0], tmp_path) == 2 * 10**9 - 1000
    (tmp_path / "a.tar").touch()  # only to be unpacked yet
    assert acquire._room(items[0], tmp_path) == 10**9


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where, kept, asked", [
    ("fetching", "devkit.tar.part", 2), ("unpacking", "devkit.tar", 1), ("converting", "devkit.tar", 1)])
def test_a_disk_that_fills_up_names_the_command_and_it_goes_on_when_there_is_room(server, tmp_path, monkeypatch, where,
                                                                                  kept, asked):
    content = devkit() + bytes(2 * download.CHUNK)  # more than one piece; a tar may end with zeros
    becomes = {"becomes": "anew", "convert": lambda source, target: target.write_bytes(source.read_bytes())}
    file = Remote("devkit.tar", (server.serve("a", content, etag='"1"'),))
    offer(monkeypatch, Item(file, **becomes) if where == "converting" else Item(file, into=""))
    with monkeypatch.context() as patched:
        patched.setattr(*{"fetching": (acquire.Transfer, "moved", lambda self, done, total: done and full_disk()),
                          "unpacking": (archives, "_write", full_disk), "converting": (Path, "write_bytes", full_disk)
                          }[where])
        error = data("voc", "--to", tmp_path).exception
    assert isinstance(error, DataError) and "No space left on device" in error.problem
    assert error.fix == f"make room or choose another folder, then: wsss data voc --to {tmp_path}"
    assert {path.name for path in tmp_path.iterdir()} - {"devkit.tar.part.json"} == {kept}
    assert data("voc", "--to", tmp_path).exit_code == 0 and len(server.asked) == asked
    assert where == "converting" or VocFolder(tmp_path / "VOCdevkit/VOC2012").names("train") == ("1",)


def test_a_problem_names_the_command_to_run_again(server, tmp_path, monkeypatch):
    offer(monkeypatch, Item(Remote("a.tar", (f"{server.address}/nothing",), f"sha256:{'0b6a3f1e' * 8}"), into=""))
    error = data("voc", "--to", tmp_path / "my data").exception
    assert isinstance(error, DataError) and "HTTP 404" in error.problem
    assert f"wsss data voc --to '{tmp_path}/my data'" in error.fix
    server.serve("bad", b"PK is no archive")
    offer(monkeypatch, Item(Remote("a.zip", (f"{server.address}/bad",)), into=""))
    error = data("voc", "--to", tmp_path).exception
    assert isinstance(error, DataError) and "damaged or cut short" in error.problem and "wsss data voc" in error.fix


def test_weights_that_are_there_are_neither_fetched_nor_written_again_and_others_are_not_replaced(server, tmp_path,
                                                                                                  monkeypatch):
    digits = hashlib.sha256(b"weights").hexdigest()[:8]
    file = Remote("net.pth", (server.serve("a", b"weights"),), f"sha256:{digits}", error=WeightsError)
    anew = Item(Remote("a.pth", (server.serve("b", b"weights"),)), becomes="b.pth",
                convert=lambda source, target: target.write_bytes(source.read_bytes().upper()))
    offer(monkeypatch, Item(file), anew, name="saliency", variable="WSSS_WEIGHTS")
    assert data("saliency", "--to", tmp_path).output.splitlines()[-1] == f"  export WSSS_WEIGHTS={tmp_path}"
    assert (tmp_path / "b.pth").read_bytes() == b"WEIGHTS"
    (tmp_path / "a.pth").unlink()
    again = data("saliency", "--to", tmp_path).output
    assert f"net.pth, about 0 bytes, sha256 {digits}...: there already" in again and len(server.asked) == 2
    (tmp_path / "net.pth").write_bytes(b"mine")
    error = data("saliency", "--to", tmp_path).exception
    assert isinstance(error, WeightsError) and (tmp_path / "net.pth").read_bytes() == b"mine"


def test_sources_of_weights_give_the_files_that_the_doctor_says_and_check_what_has_no_checksum(tmp_path):
    for name in acquire.WEIGHTS:
        given = {item.becomes or item.remote.name for item in SOURCES[name]().items}
        assert given == {file for file, (_, source) in doctor.WEIGHT_FILES.items() if source == name}
        assert acquire.default_folder(name).name == "weights"
    (tmp_path / "u2netp.pth").write_bytes(b"<html>too many downloads</html>")
    remote = acquire.saliency().items[0].remote
    with pytest.raises(LabError, match="can't be read as weights"):
        remote.check(tmp_path / "u2netp.pth")
    assert download.fault(remote, tmp_path / "u2netp.pth")


def test_the_augmented_set_is_built_from_two_folders_and_goes_on_where_it_was(tmp_path, monkeypatch):
    voc, sbd = write_voc(tmp_path / "voc/VOCdevkit/VOC2012"), write_sbd(tmp_path / "sbd/benchmark_RELEASE/dataset")
    options = ("trainaug", "--voc", tmp_path / "voc", "--sbd", tmp_path / "sbd", "--to", tmp_path / "out")
    assert "the augmented list has 4 names, not 10,582" in str(data(*options).exception)
    monkeypatch.setattr(acquire, "build_augmented", partial(build_augmented, count=len(AUGMENTED)))
    done = data(*options)
    assert done.exit_code == 0 and f"export WSSS_DATA={tmp_path / 'out'}" in done.output
    assert "2 masks of SBD to convert" in done.output
    assert VocFolder(tmp_path / "out").names("trainaug") == AUGMENTED
    assert "0 masks of SBD to convert, 2 already there" in data(*options).output
    shutil.rmtree(sbd)
    assert "wsss data sbd" in str(data(*options).exception) and voc.is_dir()


@pytest.mark.parametrize("options, told", [
    (["vox"], "one of voc, sbd, coco, imagenet-weights, saliency, trainaug\n  fix: did you mean 'voc'?"),
    (["voc", "--sbd", "folder"], "they say what trainaug is built from")])
def test_what_makes_no_sense_is_refused(options, told):
    error = data(*options).exception
    assert isinstance(error, ParameterError) and told in str(error)


@pytest.mark.parametrize("options", [["--list"], []])
def test_the_list_names_sizes_checksums_and_variables(options):
    text = data(*options).output
    for line in ("voc: PASCAL VOC 2012, train and val: images, masks, tags (2.0 GB; WSSS_DATA)",
                 "    VOCtrainval_11-May-2012.tar, 2.0 GB, md5 6cd6e144f989b92b3379bac3b3de84fd",
                 "    benchmark.tgz, about 1.4 GB, md5 82b4d87ceb2ed10f6038a1cba92111cb",
                 "    vgg16_imagenet.pth, about 553.4 MB, sha256 397923af...",
                 "    train2014.zip, 13.5 GB, sha256 ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
                 "    u2netp.pth, about 4.7 MB, no checksum published: unchecked"):
        assert line in text.splitlines()


@pytest.mark.parametrize("name", list(SOURCES))
def test_sources_are_complete(name):
    source = SOURCES[name]()
    assert source.items and source.home.startswith("http")
    for item in source.items:
        remote = item.remote
        assert remote.urls and all(url.startswith(("http://", "https://")) for url in remote.urls)
        assert remote.reckoned > 0 and Path(remote.name).name == remote.name
        assert remote.checksum or remote.check  # what has no checksum is at least read
        algorithm, _, digits = remote.checksum.partition(":")
        assert len(digits) in {"": [0], "md5": [32], "sha256": [8, 64]}[algorithm]
        assert (item.into is None) == remote.name.endswith(".pth")
