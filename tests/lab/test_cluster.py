"""Steps on the workers of a Dask scheduler: equal results, deaths, and what is told when something doesn't fit."""

import importlib
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import arithmetic
import pytest
from test_compute import graph, lines, wait_until

from wsss_lab.errors import LabError, SetupError
from wsss_lab.lab import cluster
from wsss_lab.lab.compute import compute
from wsss_lab.lab.steps import Step
from wsss_lab.lab.store import Store, WriteError

distributed = pytest.importorskip("distributed", reason="distributed is not installed: pip install distributed")


@contextmanager
def dask(what, *arguments, folder):
    """A scheduler or a worker, as one starts it by hand in a folder."""
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join(map(str, (tests, tests.parent)))
    own = {name: value for name, value in os.environ.items() if not name.startswith(("WSSS_", "OMP_"))}
    own |= {"PYTHONPATH": paths, "WSSS_PARTS": "7"}  # a setting of the worker's own, which no run may get
    with open(folder / f"{what}.txt", "a") as told:
        process = subprocess.Popen([sys.executable, "-m", "dask", what, *arguments, "--no-dashboard"], cwd=folder,
                                   env=own, stdout=told, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A scheduler with two worker processes."""
    folder = tmp_path_factory.mktemp("cluster")
    found = folder / "scheduler.json"
    with dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(found), folder=folder):
        wait_until(lambda: found.exists() and found.read_text().endswith("}"))
        here = json.loads(found.read_text())["address"]
        with dask("worker", here, "--nworkers", "2", "--nthreads", "1", "--memory-limit", "0", folder=folder):
            yield here


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 2)
    yield
    cluster._clients.clear()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "shared")


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


def run(address, steps, store, **how):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSS_CLUSTER", address)
        compute(steps, store, **({"progress": "none"} | how))


def test_results_are_those_of_one_machine_with_a_thread_and_the_settings_of_the_run(address, store, log, monkeypatch):
    together = {"folder": str(log.parent), "others": 2}
    meetings = [Step("data", arithmetic.meet, {"name": name} | together) for name in "ab"]
    chosen, limits = Step("data", arithmetic.setting, {"name": "WSSS_PRECISION"}), Step("data", arithmetic.threads)
    its_own = Step("data", arithmetic.setting, {"name": "WSSS_PARTS"})
    numbers, _, total = graph(log)
    monkeypatch.setenv("WSSS_PRECISION", "bf16")
    run(address, [*meetings, total, chosen, its_own, limits], store)
    where = {meeting["where"].load(store) for meeting in meetings}
    assert len(where) == 2 and os.getpid() not in where
    assert chosen["value"].load(store) == "bf16" and its_own["value"].load(store) == ""
    assert dict(limits.load(store)) == {"torch": 1, "omp": "1"}
    assert lines(log)[0] == "count 4" and sorted(lines(log)[1:]) == ["add 1", "add 2"]
    alone = Store(store.root.with_name("alone"))
    compute([total], alone, executor="serial", progress="none")
    for step in (numbers, total):
        assert store.look(store.folder(step))[0]["files"] == alone.look(alone.folder(step))[0]["files"]
    assert not list(store.root.glob(".probes/*"))


def test_a_step_whose_worker_dies_is_tried_once_more_while_the_others_go_on(address, store, log):
    numbers, _, total = graph(log)
    marker, told = log.with_name("died"), []
    unlucky = Step("fusion", arithmetic.die_once, {"marker": str(marker)}, {"numbers": numbers["numbers"]})
    deadly = Step("segmenter", arithmetic.die, {"log": str(log)}, {"numbers": numbers["numbers"]}, label="too large")
    with pytest.raises(LabError, match="too large.*: its worker process died, twice") as caught:
        run(address, [deadly, unlucky, total], store, progress=lambda *what: told.append(what[2]))
    assert "1 of 6 steps failed" in str(caught.value) and "larger workers" in str(caught.value)
    assert total in store and unlucky in store and marker.exists()
    assert [lines(log).count(each) for each in ("die", "add 1", "add 2")] == [2, 1, 1]
    assert sum("tried once more" in line for line in told) == 2


def test_ctrl_c_ends_what_the_workers_do(address, store, log):
    slow = Step("data", arithmetic.count, {"n": 9, "log": str(log), "pause": 600.0})

    def stop(done, total, line):
        if done:
            wait_until(lambda: "count 9" in lines(log))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(address, [slow, Step("data", arithmetic.count, {"n": 2})], store, progress=stop)
    together = {"folder": str(log.parent), "others": 2}
    run(address, [Step("data", arithmetic.meet, {"name": name} | together) for name in "cd"], store)  # both are free


def test_a_worker_with_another_store_is_found_before_anything_runs(address, tmp_path, log, monkeypatch):
    # One path, and another folder for every process: the one that it runs in.
    monkeypatch.chdir(tmp_path)
    store = Store("/proc/self/cwd/shared")
    with pytest.raises(WriteError, match=r"worker tcp://\S+ on \S+ doesn't see the run store /proc/self/cwd/shared of"
                                         r" this run \(2 of 2 workers have problems\)") as caught:
        run(address, [graph(log)[2]], store)
    assert "WSSS_CACHE" in caught.value.fix and lines(log) == []


def test_workers_with_other_code_or_packages_are_found_before_anything_runs(address, store, log, tmp_path, monkeypatch):
    step, newer = (Step("data", arithmetic.count, {"n": n, "log": str(log)}) for n in (1, 2))
    vars(step)["_code"] = ("0" * 32, step.packages)
    vars(newer)["_code"] = (newer.code, {"numpy": "99.9"})
    (tmp_path / "only_here.py").write_text("def make(): return {'x': 1}\n")
    monkeypatch.syspath_prepend(tmp_path)
    unknown = Step("data", importlib.import_module("only_here").make)
    for each, told in ((step, "has another arithmetic.count"), (newer, r"has numpy \S+ instead of 99.9"),
                       (unknown, "can't load it: ModuleNotFoundError.*No module named 'only_here'")):
        with pytest.raises(SetupError, match=f"code of this run isn't that of its workers: the worker tcp.*{told}"):
            run(address, [each], store)
    assert lines(log) == []


def test_what_is_missing_is_told_at_once(store, log, monkeypatch):
    monkeypatch.setattr(cluster, "JOIN", 0.5)
    step, began = graph(log)[2], time.monotonic()
    with pytest.raises(SetupError, match="WSSS_CLUSTER=tcp://127.0.0.1:9: no scheduler answers there within 2 s"):
        run("tcp://127.0.0.1:9", [step], store)
    assert time.monotonic() - began < 10
    with distributed.LocalCluster(n_workers=0, threads_per_worker=2, processes=False, protocol="tcp",
                                  dashboard_address=":0") as local:
        with pytest.raises(SetupError, match="has had no worker for 0.5 seconds") as caught:
            run(local.scheduler_address, [step], store)
        assert f"dask worker {local.scheduler_address}" in caught.value.fix
        local.scale(1)
        monkeypatch.setattr(cluster, "JOIN", 60)
        with pytest.raises(SetupError, match="has 2 threads") as caught:
            run(local.scheduler_address, [step], store)
        assert "--nthreads 1" in caught.value.fix
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SetupError, match="'distributed' isn't installed") as caught:
        run("tcp://127.0.0.1:9", [step], store)
    assert "pip install distributed" in caught.value.fix and lines(log) == []


def test_a_scheduler_that_ends_ends_the_run(store, log, tmp_path):
    found = tmp_path / "scheduler.json"
    with dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(found),
              folder=tmp_path) as scheduler:
        wait_until(lambda: found.exists() and found.read_text().endswith("}"))
        here = json.loads(found.read_text())["address"]
        with dask("worker", here, "--nthreads", "1", "--no-nanny", "--memory-limit", "0", folder=tmp_path):
            slow = Step("data", arithmetic.count, {"n": 9, "log": str(log), "pause": 3.0})
            below = Step("seeds", arithmetic.add, {"k": 1}, {"numbers": slow["numbers"]})

            def end(done, total, line):
                if done == 1:
                    scheduler.kill()

            others = [Step("data", arithmetic.count, {"n": 1}), below]
            with pytest.raises(LabError, match="the connection to the scheduler is lost"):
                run(here, others, store, progress=end)
