"""The run store: what is written, what is found damaged, what happens when it cannot be written."""

import errno
import json
import os
import pickle
import subprocess
from pathlib import Path

import arithmetic
import numpy as np
import pytest
import torch

from wsss_lab.errors import ParameterError, StoreError
from wsss_lab.lab import store as store_module
from wsss_lab.lab.compute import run_step
from wsss_lab.lab.steps import Step
from wsss_lab.lab.store import Store, default_root


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


@pytest.fixture
def step():
    return Step("data", arithmetic.count, {"n": 4}, label="four numbers")


def test_outputs_come_back_as_they_were(store):
    step = Step("seeds", arithmetic.weights, {"k": 0.5})
    run_step(step, store.root)
    entry = step.load(store)
    assert sorted(entry) == ["history", "image", "state"]
    assert torch.equal(entry["state"]["w"], torch.full((2, 3), 0.5))
    assert entry["state"]["steps"] == 7
    assert entry["history"] == [1.0, 0.5]
    assert torch.equal(step["image"].load(store), torch.zeros(2))


def test_arrays_are_read_only_memory_maps_and_read_once(store, step):
    run_step(step, store.root)
    entry = step.load(store)
    assert isinstance(entry["numbers"], np.memmap)
    assert entry["numbers"] is entry["numbers"]
    assert entry["numbers"].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        entry["numbers"][0] = 9


def test_outputs_are_read_when_asked_for(store, step, monkeypatch):
    run_step(step, store.root)
    read = []
    monkeypatch.setattr(store_module, "read_value", lambda path: read.append(path.name))
    entry = step.load(store)
    assert read == []
    entry["n"]
    assert read == ["n.json"]


def test_a_view_of_a_large_tensor_is_stored_small(store, step):
    store.save(step, {"part": torch.zeros(1_000_000)[:10]}, {})
    assert (store.folder(step) / "part.pt").stat().st_size < 10_000


def test_numpy_scalars_in_plain_values_are_stored(store, step):
    store.save(step, {"scores": {"miou": np.float32(0.5), "n": [np.int64(3)]}}, {})
    assert step.load(store)["scores"] == {"miou": 0.5, "n": [3]}


@pytest.mark.parametrize(
    ("outputs", "named"),
    [
        ({"x": {"inside": np.zeros(3)}}, "output 'x'"),
        ({"x": np.array([object()])}, "output 'x'"),
        ({"not a name": 1}, "not a name"),
        ({"x": object()}, "output 'x'"),
    ],
)
def test_outputs_that_cannot_be_stored_are_named(store, step, outputs, named):
    with pytest.raises(ParameterError, match=named):
        store.save(step, outputs, {})
    assert step not in store
    assert list(store.root.glob("data/.*")) == []


def test_a_function_must_return_named_outputs(store):
    with pytest.raises(ParameterError, match="returned ndarray"):
        run_step(Step("data", arithmetic.numbers_only), store.root)


def test_the_manifest_says_what_made_the_entry(store, step):
    run_step(step, store.root)
    child = Step("seeds", arithmetic.add, {"k": 1}, {"numbers": step["numbers"]})
    run_step(child, store.root)
    manifest = json.loads((store.folder(child) / "manifest.json").read_text())
    assert manifest["function"] == "arithmetic.add"
    assert manifest["settings"] == {"k": 1}
    assert manifest["inputs"] == {"numbers": f"{step.key}/numbers"}
    assert manifest["code"] == child.code
    assert manifest["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert manifest["device"] in ("cpu", "cuda")
    assert manifest["seconds"] >= 0 and manifest["cpu_seconds"] >= 0 and manifest["peak_memory_mb"] > 1
    size = (store.folder(child) / "numbers.npy").stat().st_size
    assert manifest["files"]["numbers.npy"]["bytes"] == size
    assert store.manifests("data")[0]["label"] == "four numbers"
    assert len(store.manifests()) == 2


def test_the_commit_is_that_of_the_source(store, step):
    run_step(step, store.root)
    folder = Path(store_module.__file__).parent
    answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True)
    commit = step.load(store).manifest["commit"].removesuffix("-dirty")
    assert len(commit) == 40 if answer.returncode == 0 else commit == ""


def truncate(folder):
    path = folder / "numbers.npy"
    path.write_bytes(path.read_bytes()[:-3])


def alter(folder):
    path = folder / "numbers.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def lose_manifest(folder):
    (folder / "manifest.json").unlink()


def garble_manifest(folder):
    (folder / "manifest.json").write_text("{")


def empty_manifest(folder):
    (folder / "manifest.json").write_text("[]")


def lose_file(folder):
    (folder / "n.json").unlink()


def swap_manifest(folder):
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace(folder.name, "0" * 32))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (truncate, "numbers.npy has"),
        (alter, "bytes of numbers.npy have changed"),
        (lose_manifest, "manifest is missing"),
        (garble_manifest, "manifest cannot be read"),
        (empty_manifest, "manifest cannot be read"),
        (lose_file, "n.json is missing"),
        (swap_manifest, "belongs to another entry"),
    ],
)
@pytest.mark.parametrize("same_process", [True, False])
def test_damage_is_found(store, step, damage, named, same_process):
    run_step(step, store.root)
    assert step in store
    damage(store.folder(step))
    store = store if same_process else Store(store.root)
    assert named in store.damage(step)
    assert step not in store
    with pytest.raises(StoreError, match=named):
        step.load(store)


def test_a_damaged_entry_is_replaced_by_saving(store, step):
    run_step(step, store.root)
    alter(store.folder(step))
    run_step(step, store.root)
    assert Store(store.root).damage(step) == ""
    assert step.load(store)["numbers"].tolist() == [0, 1, 2, 3]


def test_a_sound_entry_is_kept_when_it_is_made_twice(store, step):
    run_step(step, store.root)
    before = (store.folder(step) / "manifest.json").stat().st_ino
    run_step(step, store.root)
    assert (store.folder(step) / "manifest.json").stat().st_ino == before
    assert [path.name for path in (store.root / "data").iterdir()] == [step.key]


def test_a_step_that_was_not_run_says_so(store, step):
    assert step not in store and store.damage(step) == ""
    with pytest.raises(StoreError, match="four numbers.* has not been run"):
        step.load(store)


def test_an_unknown_output_names_the_known_ones(store, step):
    run_step(step, store.root)
    with pytest.raises(StoreError, match="one of: numbers, n"):
        step["masks"].load(store)


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
    assert store.clean() == 1
    assert not left.exists() and alive.exists() and elsewhere.exists()
    assert step in store


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("where", ["write_value", "_flush"])
def test_a_full_or_read_only_disk_names_the_folder_and_the_way_out(store, step, monkeypatch, code, where):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(store_module, where, fail)
    with pytest.raises(StoreError) as caught:
        run_step(step, store.root)
    assert str(store.root) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert "WSSS_CACHE" in caught.value.fix
    assert list(store.root.rglob("*.npy")) == []
    assert step not in store


def test_tensors_that_do_not_fit_on_the_disk_are_a_store_error(store, monkeypatch):
    def fail(*_):
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(StoreError, match="WSSS_CACHE"):
        run_step(Step("seeds", arithmetic.weights, {"k": 1.0}), store.root)


def test_a_store_path_that_is_a_file_is_a_store_error(tmp_path, step):
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(StoreError, match="cache"):
        run_step(step, tmp_path / "cache")


def test_the_folder_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "elsewhere"))
    assert Store().root == tmp_path / "elsewhere"
    assert pickle.loads(pickle.dumps(Store())).root == tmp_path / "elsewhere"
    monkeypatch.delenv("WSSS_CACHE")
    assert default_root().name == ".wsss_cache"
