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

from wsss_lab.lab import provenance
from wsss_lab.settings import variable

#: The environment of workers. One thread: two workers of one are much faster than one of two on small networks. And
#: glibc is to keep memory that torch gives back: by itself it returns large tensors to the system, which has to clear
#: fresh memory for the next ones, a tenth to a sixth of the time of a training (benchmarks/results/memory.txt).
WORKERS = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1"
) | dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**32))
_pools: dict[tuple, "WorkerPool"] = {}


class SerialExecutor(Executor):
    """Executor that runs a call at once, in this process; for tests and for debugging a step."""

    jobs = 1

    def submit(self, function, /, *args, **kwargs) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as problem:
            future.set_exception(problem)
        return future


class WorkerPool(Executor):
    """Worker processes that compute with one thread, ignore Ctrl-C and end with their parent. Each is a process pool of
    its own, so that one that dies takes no other with it; the next call gets a fresh one."""

    def __init__(self, jobs: int):
        self.jobs = jobs  # 0 when stopped
        self.gpus = free_gpus()
        self._calls: dict[ProcessPoolExecutor, int] = {}  # by worker, those that aren't done
        self._lock = threading.Lock()

    def submit(self, function, /, *args, **kwargs) -> Future:
        while True:
            worker = self._least_busy()
            try:
                # The first call of a worker starts its process.
                with _as_workers_start():
                    future = worker.submit(function, *args, **kwargs)
                break
            except BrokenExecutor:  # it died while it had nothing to do
                self._calls.pop(worker, None)
        future.add_done_callback(lambda done: self._count_off(worker, done))
        return future

    def kill(self) -> None:
        """Stop the workers in the middle of what they do."""
        with self._lock:
            workers, self._calls, self.jobs = list(self._calls), {}, 0
        for worker in workers:
            for process in list((worker._processes or {}).values()):
                process.terminate()
        for worker in workers:
            worker.shutdown(wait=True, cancel_futures=True)

    def _least_busy(self) -> ProcessPoolExecutor:
        with self._lock:
            if not self.jobs:
                raise RuntimeError("these workers have been stopped")
            worker = min(self._calls, key=self._calls.get, default=None)
            if worker is None or (self._calls[worker] and len(self._calls) < self.jobs):
                # Spawned, not forked: a forked copy of a process whose threads hold locks can hang.
                worker = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _set_up_worker)
            self._calls[worker] = self._calls.get(worker, 0) + 1
            return worker

    def _count_off(self, worker: ProcessPoolExecutor, done: Future) -> None:
        with self._lock:
            if not done.cancelled() and isinstance(done.exception(), BrokenExecutor):
                self._calls.pop(worker, None)
            if worker in self._calls:
                self._calls[worker] -= 1


def default_jobs() -> int:
    """WSSS_JOBS, or the number of cores this process may use."""
    return variable("WSSS_JOBS") or provenance.cores()


def free_gpus() -> list[int] | None:
    """The GPU of each step that may use one at a time: a step for each GPU, or WSSS_GPU_SHARE of them; a training on
    several GPUs (WSSS_GPUS) has them to itself. None where steps compute on CPUs."""
    share, together = variable("WSSS_GPU_SHARE") or 1, variable("WSSS_GPUS") or 1
    if variable("WSSS_DEVICE") == "cpu":
        return None
    from wsss_lab.networks.machine import resolve_device

    if resolve_device().type == "cpu":
        return None
    import torch

    return [0] if together > 1 else list(range(torch.cuda.device_count())) * share


def shared_pool(jobs: int) -> WorkerPool:
    """The session's pool of workers, kept because importing torch takes a worker seconds.

    It is replaced when another number of jobs is asked for and when a WSSS_ variable (such as the device) has changed:
    workers see the environment as it was when they started.
    """
    wanted = (jobs, *sorted(item for item in os.environ.items() if item[0].startswith("WSSS_")))
    if wanted not in _pools:
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
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    importlib.import_module("torch").set_num_threads(1)


def _exit_with_parent() -> None:
    """End this worker when its parent is killed; it would wait for work for ever."""
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


@contextmanager
def _as_workers_start() -> Iterator[None]:
    """What processes that start meanwhile take over: the environment WORKERS; no main script, which they would import,
    and start over where it has no __main__ guard; and Ctrl-C held back until they can ignore it (here it comes later).
    """
    main, before = sys.modules["__main__"], dict(os.environ)
    hidden = {name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__}
    main.__spec__ = None
    os.environ.update(WORKERS)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        main.__dict__.update(hidden)
        for name in WORKERS:
            os.environ.pop(name)
        os.environ.update({name: before[name] for name in WORKERS if name in before})
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
