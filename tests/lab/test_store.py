"""The run store: what is written, what is found damaged, what happens when it cannot be written."""

import errno
import json
import os
import pickle
import platform
import shutil
import subprocess
import time
from pathlib import Path

import arithmetic
import numpy as np
import pytest
import torch

from wsss_lab.errors import ParameterError, StoreError
from wsss_lab.lab import provenance
from wsss_lab.lab import store as store_module
from wsss_lab.lab.compute import compute, run_step
from wsss_lab.lab.steps import Step
from wsss_lab.lab.store import Store, default_root


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


@pytest.fixture
def step():
    return Step("data", arithmetic.count, {"n": 4}, label="four numbers")


def test_outputs_come_back_as_they_were_views_small_and_numpy_scalars_plain(store):
    step = Step("seeds", arithmetic.weights, {"k": 0.5})
    run_step(step, store.root)
    entry = step.load(store)
    assert sorted(entry) == ["history", "image", "state"] and entry["history"] == [1.0, 0.5]
    assert torch.equal(entry["state"]["w"], torch.full((2, 3), 0.5)) and entry["state"]["steps"] == 7
    assert torch.equal(step["image"].load(store), torch.zeros(2))
    other = Step("seeds", arithmetic.weights, {"k": 1.0})
    scores = {"miou": np.float32(0.5), "n": [np.int64(3)]}
    store.save(other, {"part": torch.zeros(1_000_000)[:10], "scores": scores}, {})
    assert (store.folder(other) / "part.pt").stat().st_size < 10_000
    assert other.load(store)["scores"] == {"miou": 0.5, "n": [3]}


@pytest.mark.parametrize(("outputs", "named"), [
    ({"x": {"inside": np.zeros(3)}}, "output 'x'"), ({"x": np.array([object()])}, "output 'x'"),
    ({"not a name": 1}, "not a name"), ({"x": object()}, "output 'x'")])
def test_outputs_that_cannot_be_stored_are_named(store, step, outputs, named):
    with pytest.raises(ParameterError, match=named):
        store.save(step, outputs, {})
    assert step not in store and list(store.root.glob("data/.*")) == []
    with pytest.raises(ParameterError, match="returned ndarray"):
        run_step(Step("data", arithmetic.numbers_only), store.root)


def test_the_manifest_says_what_made_the_entry(store, step, monkeypatch):
    monkeypatch.setenv("WSSS_DEVICE", "cpu")
    run_step(step, store.root)
    child = Step("seeds", arithmetic.add, {"k": 1}, {"numbers": step["numbers"]})
    run_step(child, store.root)
    manifest = json.loads((store.folder(child) / "manifest.json").read_text())
    answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    told = {"function": "arithmetic.add", "settings": {"k": 1}, "inputs": {"numbers": f"{step.key}/numbers"},
            "code": child.code, "device": "cpu"}
    assert {name: manifest[name] for name in told} == told
    assert {name: manifest["versions"][name] for name in ("python", "numpy", "torch")} == {
        "python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__.partition("+")[0]}
    assert manifest["commit"].removesuffix("-dirty") == (answer.stdout.strip() if answer.returncode == 0 else "")
    assert manifest["seconds"] >= 0 and manifest["cpu_seconds"] >= 0 and manifest["peak_memory_mb"] > 1
    assert manifest["files"]["numbers.npy"]["bytes"] == (store.folder(child) / "numbers.npy").stat().st_size
    assert store.manifests("data")[0]["label"] == "four numbers" and len(store.manifests()) == 2


@pytest.mark.parametrize(("module", "where", "problem"), [
    *((store_module, where, OSError(code, os.strerror(code))) for where in ("write_value", "_flush")
      for code in (errno.ENOSPC, errno.EROFS, errno.EACCES)),
    (torch, "save", RuntimeError("PytorchStreamWriter failed writing file"))])
def test_what_cannot_be_written_names_the_folder_and_the_way_out(store, monkeypatch, module, where, problem):
    def fail(*_):
        raise problem

    step = Step("seeds", arithmetic.weights, {"k": 1.0})
    monkeypatch.setattr(module, where, fail)
    with pytest.raises(StoreError, match=f"{store.root}: .*{getattr(problem, 'strerror', 'Pytorch')}") as caught:
        run_step(step, store.root)
    assert "WSSS_CACHE" in caught.value.fix and step not in store and not list(store.root.glob("*/*"))


def test_the_folder_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "elsewhere"))
    assert Store().root == pickle.loads(pickle.dumps(Store())).root == tmp_path / "elsewhere"
    monkeypatch.delenv("WSSS_CACHE")
    assert default_root().name == ".wsss_cache"


def test_waiting_takes_time_but_not_the_processor():
    with provenance.measured() as facts:
        time.sleep(0.2)
    assert 0.2 <= facts["seconds"] < 5 and facts["cpu_seconds"] < 0.15


def test_outputs_are_read_when_asked_for_once_and_arrays_as_read_only_memory_maps(store, step, monkeypatch):
    run_step(step, store.root)
    read, read_value = [], store_module.read_value
    monkeypatch.setattr(store_module, "read_value", lambda path: read.append(path.name) or read_value(path))
    entry = step.load(store)
    assert read == [] and isinstance(entry["numbers"], np.memmap) and entry["numbers"] is entry["numbers"]
    assert entry["numbers"].tolist() == [0, 1, 2, 3] and read == ["numbers.npy"]
    with pytest.raises(ValueError, match="read-only"):
        entry["numbers"][0] = 9
    with pytest.raises(StoreError, match="one of: numbers, n"):
        step["masks"].load(store)


def forged(change):
    """Write the manifest as `change` leaves it, with a checksum that fits."""
    def damage(folder):
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest["checksum"]
        change(manifest)
        manifest["checksum"] = store_module._checksum_of(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return damage


def in_text(old, new):
    def damage(folder):
        text = (folder / "manifest.json").read_text()
        assert old in text
        (folder / "manifest.json").write_text(text.replace(old, new, 1))
    return damage


def replaced(file, make):
    """Take a file of the entry ("" for the entry) away and put something else in its place."""
    def damage(folder):
        path = folder / file if file else folder
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(path)
    return damage


def altered(folder):
    path = folder / "numbers.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


DAMAGES = {
    "a file cut": (lambda folder: os.truncate(folder / "numbers.npy", 130), "numbers.npy has 130 bytes"),
    "a file altered": (altered, "bytes of numbers.npy have changed"),
    "a file lost": (lambda folder: (folder / "n.json").unlink(), "n.json is missing"),
    "a file renamed": (lambda folder: (folder / "n.json").rename(folder / "m.json"), "n.json is missing"),
    "a file that is a folder": (replaced("n.json", Path.mkdir), "n.json has"),
    "no manifest": (replaced("manifest.json", lambda path: None), "manifest is missing"),
    "half a manifest": (lambda folder: os.truncate(folder / "manifest.json", 100), "manifest cannot be read"),
    "a manifest of zeros": (replaced("manifest.json", lambda path: path.write_bytes(bytes(9))), "cannot be read"),
    "a list": (replaced("manifest.json", lambda path: path.write_text("[]")), "manifest cannot be read"),
    "too deep": (replaced("manifest.json", lambda path: path.write_text("[" * 99999)), "manifest cannot be read"),
    "a manifest that is a folder": (replaced("manifest.json", Path.mkdir), "manifest cannot be read"),
    "a manifest that leads nowhere": (replaced("manifest.json", lambda path: path.symlink_to("gone")), "is missing"),
    "no files": (in_text('"files": {', '"files": {}, "filez": {'), "manifest has been changed"),
    "no checksum": (in_text('"checksum"', '"checksun"'), "manifest cannot be read"),
    "a key with another bit": (in_text('"outputs"', '"output3"'), "manifest has been changed"),
    "seconds changed": (in_text('"seconds": ', '"seconds": 1'), "manifest has been changed"),
    "of another entry": (forged(lambda told: told.update(key="0" * 32)), "belongs to another entry"),
    "files a list": (forged(lambda told: told.update(files=[])), "manifest cannot be read"),
    "files empty": (forged(lambda told: told.update(files={})), "names other files"),
    "files a text": (forged(lambda told: told.update(files="numbers.npy")), "manifest cannot be read"),
    "sizes a text": (forged(lambda told: told["files"].update({"n.json": "3"})), "manifest cannot be read"),
    "outputs a list": (forged(lambda told: told.update(outputs=["n"])), "manifest cannot be read"),
    "a path": (forged(lambda told: told.update(outputs={"n": "../n.json"}, files={"../n.json": {}})), "other files"),
    "an entry that is a file": (replaced("", Path.touch), "not a folder"),
    "an entry that leads nowhere": (replaced("", lambda path: path.symlink_to("gone")), "not a folder"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_is_found_not_used_and_mended(store, step, what):
    run_step(step, store.root)
    assert step in store and store.entries()[0][2] == ""
    damage, named = DAMAGES[what]
    damage(store.folder(step))
    for each in (store, Store(store.root)):
        assert named in each.damage(step) and step not in each
        assert each.manifests() == [] or what == "a file altered"  # found by its bytes, which aren't read for a list
        with pytest.raises(StoreError, match=named):
            step.load(each)
    told = []
    compute([step], store, executor="serial", progress=lambda done, total, line: told.append(line))
    assert named in told[0] and step in Store(store.root)
    assert step.load(store)["numbers"].tolist() == [0, 1, 2, 3]
    assert [path.name for path in (store.root / "data").iterdir()] == [step.key]


def test_a_step_that_was_not_run_says_so(store, step):
    assert step not in store and store.damage(step) == ""
    with pytest.raises(StoreError, match="four numbers.* has not been run"):
        step.load(store)


def test_saving_again_replaces_a_damaged_entry_and_keeps_a_sound_one(store, step):
    run_step(step, store.root)
    before = (store.folder(step) / "manifest.json").stat().st_ino
    run_step(step, store.root)
    assert (store.folder(step) / "manifest.json").stat().st_ino == before
    assert [path.name for path in (store.root / "data").iterdir()] == [step.key]
    altered(store.folder(step))
    run_step(step, store.root)
    assert Store(store.root).damage(step) == ""


def test_half_written_entries_of_dead_processes_are_removed(store, step):
    run_step(step, store.root)
    dead = subprocess.Popen(["true"])
    dead.wait()
    host = store_module.socket.gethostname()
    left = store.root / "data" / f".tmp-{step.key[:12]}-{host}-{dead.pid}-abcdef12"
    left.mkdir()
    (left / "numbers.npy").write_bytes(b"half")
    alive = store.root / "data" / f".tmp-{step.key[:12]}-{host}-{os.getpid()}-abcdef12"
    alive.mkdir()
    elsewhere = store.root / "data" / f".tmp-{step.key[:12]}-another-host-{dead.pid}-abcdef12"
    elsewhere.mkdir()
    for stray in (".tmp-stray", ".tmp-1-2-3", f".tmp-x-{host}-{10**30}-abcdef12"):
        (store.root / "data" / stray).mkdir()
    (store.root / "data" / ".tmp-file").touch()
    assert len(store.manifests()) == 1
    assert store.clean() == 5
    assert sorted(path.name for path in store.root.glob("data/.*")) == sorted([alive.name, elsewhere.name])
    assert step in store


# --- where a result comes from ---------------------------------------------------------------------------------------


@pytest.mark.skipif(platform.system() != "Linux", reason="the peak of a block is known on Linux only")
def test_the_peak_is_that_of_the_block():
    with provenance.measured() as large:
        np.ones(40_000_000).sum()  # 305 MB
    with provenance.measured() as small:
        np.ones(1_000).sum()
    assert large["peak_memory_mb"] > small["peak_memory_mb"] + 250
