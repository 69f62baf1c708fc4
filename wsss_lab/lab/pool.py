"""Worker processes: one thread each, started once and kept for the whole session."""

import atexit
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait

from wsss_lab.settings import variable

# Two one-thread workers are much faster than one two-thread worker on small networks.
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1"
)
_pools: dict[tuple, "WorkerPool"] = {}


class SerialExecutor(Executor):
    """Executor that runs a call at once, in this process; for tests and for debugging a step."""

    def submit(self, function, /, *args, **kwargs) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as problem:
            future.set_exception(problem)
        return future


class WorkerPool(ProcessPoolExecutor):
    """Process pool whose workers compute with one thread, ignore Ctrl-C and end with their parent."""

    def __init__(self, jobs: int):
        # Spawned, not forked: a forked copy of a process whose threads hold locks can hang.
        context = multiprocessing.get_context("spawn")
        super().__init__(jobs, mp_context=context, initializer=_set_up_worker)

    def submit(self, function, /, *args, **kwargs) -> Future:
        # Workers are started here, as long as there are fewer than jobs.
        with _environment(_ONE_THREAD), _without_main_file():
            return super().submit(function, *args, **kwargs)

    def kill(self) -> None:
        """Stop the workers in the middle of what they do."""
        for process in list((self._processes or {}).values()):
            process.terminate()
        self.shutdown(wait=True, cancel_futures=True)


def default_jobs() -> int:
    """WSSS_JOBS, or the number of cores this process may use."""
    if wanted := variable("WSSS_JOBS"):
        return wanted
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shared_pool(jobs: int) -> WorkerPool:
    """The session's pool of workers.

    It is started by the first call and kept, because importing torch takes a worker seconds. It is replaced
    when another number of jobs is asked for, when a WSSS_ variable (such as the device) has changed and when one
    of its workers was killed.
    """
    # Workers see the environment as it was when they started.
    variables = sorted(item for item in os.environ.items() if item[0].startswith("WSSS_"))
    wanted = (jobs, *variables)
    try:
        _pools[wanted].submit(int)
    except (KeyError, BrokenExecutor):
        close_pools()
        atexit.register(close_pools)
        _pools[wanted] = WorkerPool(jobs)
    return _pools[wanted]


def close_pools() -> None:
    """Stop the session's workers."""
    while _pools:
        _, pool = _pools.popitem()
        pool.kill()


def _set_up_worker() -> None:
    # Ctrl-C goes to every process of a terminal; the parent decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    importlib.import_module("torch").set_num_threads(1)


def _exit_with_parent() -> None:
    """End this worker when its parent is killed; it would wait for work for ever."""
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_main_file() -> Iterator[None]:
    """Keep workers from importing the main script again.

    Step functions live in importable modules, so the script is not needed, and one without a __main__ guard
    would start itself over in every worker.
    """
    main = sys.modules["__main__"]
    hidden = {name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(hidden)
