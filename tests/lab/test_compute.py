"""Running a graph of steps: order, reuse, failures, kills, worker processes."""

import concurrent.futures
import importlib
import os
import platform
import signal
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path

import arithmetic
import pytest
import torch

from wsss_lab.errors import LabError, StoreError
from wsss_lab.lab import compute as compute_module
from wsss_lab.lab import fingerprint, pool
from wsss_lab.lab.compute import compute, missing, plan, run_step
from wsss_lab.lab.steps import Step
from wsss_lab.lab.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


def graph(log, n=4, ks=(1, 2), pause=0.0):
    """count -> add k -> total; only the first two leave a line in the log."""
    note = {"log": str(log), "pause": pause}
    numbers = Step("data", arithmetic.count, {"n": n} | note, label="numbers")
    sums = [Step("seeds", arithmetic.add, {"k": k} | note, {"numbers": numbers["numbers"]}, label=f"add {k}")
            for k in ks]
    total = Step("evaluation", arithmetic.total, {}, {"parts": [part["numbers"] for part in sums]})
    return numbers, sums, total


def run(steps, store, **how):
    compute(steps, store, **({"executor": "serial", "progress": "none"} | how))


def lines(log):
    return log.read_text().split("\n")[:-1]


def test_what_is_missing_runs_once_and_upstream_first(store, log):
    numbers, _, total = graph(log)
    run([total, total], store)
    assert lines(log) == ["count 4", "add 1", "add 2"]
    assert total.load(store)["total"] == (1 + 2 + 3 + 4) + (2 + 3 + 4 + 5)
    for changed, more in ((graph(log)[2], []), (graph(log, ks=(1, 3))[2], ["add 3"]),
                          (graph(log, n=5)[2], ["count 5", "add 1", "add 2"])):
        before = len(lines(log))
        run([changed], Store(store.root))
        assert lines(log)[before:] == more
    store.remove(numbers)  # what a stored step was made from is not needed again
    assert missing([total], store) == []


def test_a_damaged_result_is_made_again_with_a_note_and_progress_counts_the_steps_that_run(store, log, capsys):
    _, sums, total = graph(log)
    told = []
    run([total], store, progress=lambda *what: told.append(what))
    assert [what[:2] for what in told] == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert told[2][2].startswith("seeds (add 1)")
    (store.folder(sums[0]) / "numbers.npy").write_bytes(b"short")
    store.remove(total)
    run([total], store, progress="plain")
    assert lines(log)[3:] == ["add 1"]
    printed = capsys.readouterr().err.splitlines()
    assert "seeds (add 1): damaged result removed (numbers.npy has 5 bytes" in printed[0]
    assert printed[1] == "2 steps to run" and printed[2].startswith("[1/2] seeds (add 1)") and len(printed) == 4


def test_long_chains_start_first_and_any_executor_with_the_standard_interface_will_do(store, log):
    numbers = Step("data", arithmetic.count, {"n": 1, "log": str(log)})
    lone = [Step("data", arithmetic.count, {"n": n, "log": str(log)}) for n in (7, 8)]
    chain = Step("seeds", arithmetic.add, {"k": 1}, {"numbers": numbers["numbers"]})
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        run([*lone, chain], store, executor=threads)
    assert lines(log) == ["count 1", "count 7", "count 8"] and chain in store


def test_two_processes_may_compute_the_same_thing(store, log):
    both = [start(store, log, how="executor='serial'", pause=0.2) for _ in range(2)]
    for process in both:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    _, _, total = graph(log, pause=0.2)
    assert Store(store.root).damage(total) == "" and total in store and not list(store.root.glob("*/.tmp-*"))


def test_the_pool_is_kept_until_the_jobs_or_the_settings_of_the_run_change(monkeypatch, no_workers_left):
    monkeypatch.setenv("WSSS_JOBS", "3")
    assert pool.default_jobs() == 3
    for name in ("WSSS_JOBS", "WSSS_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    first = pool.shared_pool(1)
    assert pool.default_jobs() >= 1 and pool.shared_pool(1) is first
    monkeypatch.setenv("WSSS_DEVICE", "cpu")
    other = pool.shared_pool(1)
    with pytest.raises(RuntimeError):  # it has been stopped
        first.submit(int)
    assert first is not other is not pool.shared_pool(2)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library manages memory by rules of its own")
def test_workers_do_not_import_the_main_script_and_keep_the_memory_of_large_tensors(monkeypatch, no_workers_left):
    main, before = types.ModuleType("__main__"), dict(os.environ)
    main.__file__, main.__spec__ = "/no/such/script.py", "its specification"
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert pool.shared_pool(1).submit(arithmetic.fresh_pages, 64).result() < 1000  # it has 16384 pages of 4096 bytes
    assert (main.__file__, main.__spec__, dict(os.environ)) == ("/no/such/script.py", "its specification", before)


def test_a_step_runs_on_the_gpu_that_it_is_given(store, monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    run_step(Step("seeds", arithmetic.look, {"n": 1}), store.root)
    run_step(Step("seeds", arithmetic.look, {"n": 2}), store.root, 3)
    assert chosen == [3]


def test_a_failing_step_does_not_stop_the_others_and_is_tried_again(store, log):
    numbers, _, total = graph(log)
    bad = Step("segmenter", arithmetic.diverge, {}, {"numbers": numbers["numbers"]}, label="G2, seed 0")
    below = Step("evaluation", arithmetic.add, {"k": 1}, {"numbers": bad["numbers"]}, label="score of G2")
    stumbling = Step("fusion", arithmetic.stumble, {}, {"numbers": numbers["numbers"]}, label="G1")
    with pytest.raises(LabError) as caught:
        run([bad, below, stumbling, total], store)
    message = str(caught.value)
    for part in ("2 of 7 steps failed; 1 that need them did not run", "use a smaller learning rate",
                 "segmenter (G2, seed 0): the loss is not a number at iteration 3",
                 "fusion (G1): IndexError: index 99 is out of bounds"):
        assert part in message
    assert total in store and bad not in store and below not in store
    with pytest.raises(LabError, match="1 of 1"):
        run([bad], store)
    assert lines(log) == ["count 4", "add 1", "add 2"]


def test_workers_run_in_parallel_with_one_thread_and_are_kept(store, log):
    together = {"folder": str(log.parent), "others": 2}
    meetings = [Step("data", arithmetic.meet, {"name": name} | together) for name in "ab"]
    limits = Step("data", arithmetic.threads)
    try:
        run([*meetings, limits], store, executor=None, jobs=2)
        first = {meeting["where"].load(store) for meeting in meetings}
        assert len(first) == 2 and os.getpid() not in first
        assert dict(limits.load(store)) == {"torch": 1, "omp": "1"}
        sums = graph(log)[1]
        run(sums, store, executor=None, jobs=2)
        assert {part["where"].load(store) for part in sums} <= first
    finally:
        pool.close_pools()


def test_a_step_whose_worker_dies_is_tried_once_more_while_the_others_go_on(store, log):
    numbers, sums, total = graph(log)
    marker = log.with_name("died")
    unlucky = Step("fusion", arithmetic.die_once, {"marker": str(marker)}, {"numbers": numbers["numbers"]})
    deadly = Step("segmenter", arithmetic.die, {"log": str(log)}, {"numbers": numbers["numbers"]}, label="too large")
    told = []
    try:
        with pytest.raises(LabError, match="too large.*: its worker process died, twice") as caught:
            run([deadly, unlucky, total], store, executor=None, jobs=2, progress=lambda *what: told.append(what[2]))
        assert "1 of 6 steps failed" in str(caught.value) and "fewer jobs" in str(caught.value)
        assert total in store and unlucky in store and marker.exists()
        assert lines(log).count("die") == 2 and lines(log).count("add 1") == 1
        assert sum("tried once more" in line for line in told) == 2
        run([Step("data", arithmetic.count, {"n": 2})], store, executor=None, jobs=2)
    finally:
        pool.close_pools()


@pytest.mark.parametrize("how", [{"executor": "serial"}, {"executor": None, "jobs": 2}])
def test_the_first_result_that_cannot_be_stored_ends_the_run(store, log, how):
    numbers, sums, total = graph(log, ks=range(200))
    run([numbers], store)
    full = Step("segmenter", arithmetic.full_disk, {}, {"numbers": numbers["numbers"]})
    chain = Step("seeds", arithmetic.add, {"k": 1}, {"numbers": full["numbers"]})
    longer = Step("seeds", arithmetic.add, {"k": 2}, {"numbers": chain["numbers"]})  # so that full comes first
    try:
        with pytest.raises(StoreError, match=f"cannot write to the run store {store.root}: No space") as caught:
            run([longer, total], store, **how)
    finally:
        pool.close_pools()
    # One worker may be at work while the other one still starts.
    assert "WSSS_CACHE" in caught.value.fix and len(lines(log)) <= (4 if how.get("executor") else 150)


def test_a_store_that_cannot_be_written_is_found_before_anything_is_computed(store, log):
    store.root.write_text("no folder")
    with pytest.raises(StoreError, match="cannot write to the run store"):
        run([graph(log)[2]], store)
    assert lines(log) == []


# What a notebook does, as text: `python -` has no file that workers could import as their main module, and
# the functions come from an importable module.
SCRIPT = """
import sys
sys.path[:0] = {tests!r}
from test_compute import graph
from wsss_lab.lab.compute import compute
from wsss_lab.lab.store import Store
{before}
compute([graph({log!r}, pause={pause})[2]], Store({root!r}), {how}, progress="plain")
"""


def start(store, log, how="jobs=2", pause=0.0, before=""):
    here = Path(__file__).parent
    tests, root = [str(here), str(here.parent)], str(store.root)
    script = SCRIPT.format(tests=tests, log=str(log), pause=pause, root=root, how=how, before=before)
    process = subprocess.Popen([sys.executable, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, start_new_session=True)
    process.stdin.write(script)
    process.stdin.close()
    process.stdin = None
    return process


def wait_until(condition, seconds=300.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def members(process):
    """Processes of the session that a process started, itself included while it lives."""
    command = ["ps", "-o", "pid=,stat=", "-s", str(process.pid)]
    answer = subprocess.run(command, capture_output=True, text=True)
    return [line for line in answer.stdout.splitlines() if line and "Z" not in line.split()[1]]


def test_a_killed_run_resumes_with_what_is_missing(store, log):
    pause = 0.5
    numbers, sums, total = graph(log, pause=pause)
    process = start(store, log, pause=pause)
    wait_until(lambda: len(lines(log)) >= 2)
    process.kill()
    process.communicate(timeout=300)
    wait_until(lambda: not members(process))
    assert numbers in store and total not in store
    done = [part for part in sums if part in store]
    started = len(lines(log))
    run([total], store)
    assert len(lines(log)) == started + len(sums) - len(done)
    assert total in store


def test_an_entry_killed_while_it_is_written_is_absent_and_cleaned_up(store, log):
    slow = "import time, wsss_lab.lab.store as s; s._flush = lambda path: time.sleep(60)"
    process = start(store, log, how="executor='serial'", before=slow)
    wait_until(lambda: list(store.root.glob("data/.tmp-*/manifest.json")))
    process.kill()
    process.communicate(timeout=300)
    numbers, _, total = graph(log)
    assert numbers not in store and list(store.root.glob("data/.tmp-*"))
    run([total], store)
    assert total in store and not list(store.root.glob("*/.tmp-*"))


def test_ctrl_c_stops_the_workers_and_the_next_run_goes_on(store, log):
    pause = 1.0
    numbers, _, total = graph(log, pause=pause)
    process = start(store, log, pause=pause)
    wait_until(lambda: len(lines(log)) >= 2)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert output.count("stopped: 1 of 4 steps are stored; the next run goes on with the others") == 1
    assert output.count("Traceback") == output.count("KeyboardInterrupt\n") == 1  # the script's own, no worker's
    wait_until(lambda: not members(process))
    assert numbers in store and total not in store
    run([total], store)
    assert lines(log).count("count 4") == 1


def write_module(folder, body):
    """A fresh module `edited` with this function body."""
    (folder / "edited.py").write_text(textwrap.dedent(body))
    sys.modules.pop("edited", None)
    importlib.invalidate_caches()
    fingerprint.forget()
    return importlib.import_module("edited").double


@pytest.fixture
def edited(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield lambda body: Step("data", write_module(tmp_path, body), {"x": 4}, label="double")
    sys.modules.pop("edited", None)
    fingerprint.forget()


def test_edited_code_runs_again_and_edited_words_do_not(store, edited):
    run([edited("def double(x):\n    return {'y': 2 * x}\n")], store)
    assert edited("def double(x):\n    '''Twice.'''\n    return {'y': 2 * x}  # exact\n") in store
    changed = edited("def double(x):\n    return {'y': x + x + 1}\n")
    assert changed not in store
    run([changed], store)
    assert changed.load(store)["y"] == 9


def test_code_edited_under_a_running_session_is_refused(store, edited, tmp_path):
    step = edited("def double(x):\n    return {'y': 2 * x}\n")
    key = step.key
    write_module(tmp_path, "def double(x):\n    return {'y': 3 * x}\n")
    with pytest.raises(StoreError, match=r"edited\.double was edited"):
        run_step(step, store.root)
    assert step.key == key and step not in store


def test_the_plan_says_what_is_reused_and_why_the_rest_is_not(store, log, edited):
    numbers, sums, total = graph(log)
    card = plan([total], store)
    assert card.state.tolist() == ["missing"] * 4
    assert set(card.why) == {"never run"}
    run([total], store)
    card = plan([total], store)
    assert card.state.tolist() == ["cached"] * 4
    assert card.seconds.notna().all()

    changed = graph(log, n=5)[2]
    card = plan([changed], store).set_index("label")
    assert card.why["numbers"] == "settings changed: n 4 -> 5"
    assert card.why["add 1"] == "upstream changed: numbers"
    assert card.state["add 1"] == "missing"

    store.remove(numbers)
    assert plan([total], store).set_index("label").state["numbers"] == "not needed"
    (store.folder(total) / "total.json").write_text("1234")
    card = plan([total], store)
    assert card.state.tolist() == ["not needed", "cached", "cached", "damaged"]
    assert card.why.tolist()[-1].startswith("total.json has 4 bytes")
    assert store.folder(total).exists()
    run([edited("def double(x):\n    return {'y': 2 * x}\n")], store)
    assert plan([edited("def double(x):\n    return {'y': 3 * x}\n")], store).why.tolist() == ["code changed"]


# --- workers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_workers_left():
    yield
    pool.close_pools()


# --- GPUs ------------------------------------------------------------------------------------------------------------


class Held(concurrent.futures.Executor):
    """Workers with GPUs that begin a call when it is handed out and end it when a test says so."""

    jobs, gpus = 4, [0, 1]

    def __init__(self):
        self.begun = {}

    def submit(self, function, step, root, *gpu):
        assert function is run_step
        self.begun[step.settings["n"]] = (gpu, future := concurrent.futures.Future())
        return future


def test_as_many_steps_use_a_gpu_at_once_as_may_share_it(store):
    steps = [Step("seeds", arithmetic.look, {"n": n} | ({"backbone": "vgg"} if n < 5 else {})) for n in range(8)]
    workers = Held()
    session = compute_module._Session(steps, store, workers, lambda *_: None)
    session._submit()
    session._submit()  # nothing more is free
    assert {n: gpu for n, (gpu, _) in workers.begun.items()} == {0: (0,), 1: (1,), 5: (), 6: ()}
    for n, more in ((5, {7: ()}), (1, {2: (1,)}), (0, {3: (0,)}), (7, {}), (3, {4: (0,)})):
        before = set(workers.begun)
        future = workers.begun[n][1]
        future.set_result(0.1)
        session._collect(future)
        session._submit()
        assert {n: gpu for n, (gpu, _) in workers.begun.items() if n not in before} == more


def test_gpus_are_shared_when_asked_for_and_one_step_on_several_has_them_all(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("WSSS_DEVICE", "WSSS_GPUS", "WSSS_GPU_SHARE"):
        monkeypatch.delenv(name, raising=False)
    assert pool.free_gpus() == pool.WorkerPool(4).gpus == [0, 1]
    monkeypatch.setenv("WSSS_GPU_SHARE", "3")
    assert sorted(pool.free_gpus()) == [0, 0, 0, 1, 1, 1]
    monkeypatch.setenv("WSSS_GPUS", "2")
    assert pool.free_gpus() == [0]
    monkeypatch.setenv("WSSS_DEVICE", "cpu")
    assert pool.free_gpus() is None
