"""Run what is missing of a graph of steps, and say beforehand what that is and why."""

import concurrent.futures
import errno
import shutil
import sys
from collections.abc import Iterable
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import nullcontext
from pathlib import Path

from wsss_lab.errors import LabError, StoreError
from wsss_lab.lab import cluster, pool, provenance, several
from wsss_lab.lab.fingerprint import code_of
from wsss_lab.lab.plan import plan
from wsss_lab.lab.progress import Progress, reporter
from wsss_lab.lab.steps import Step, topological
from wsss_lab.lab.store import Store, WriteError
from wsss_lab.networks.keeping import keeping_checkpoints
from wsss_lab.settings import variable

__all__ = ["compute", "missing", "plan", "run_step"]

LOOK = 5.0  # seconds after which to see whether more workers have come
_NO_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def compute(steps: Iterable[Step], store: Store, executor: Executor | str | None = None, jobs: int | None = None,
            progress: Progress | str = "") -> None:
    """Run every step that is not in the store, what it needs first; each is stored as soon as it is done.

    executor: anything with the concurrent.futures interface whose workers see the store's folder, "serial" to
        run in this process, or None for the workers of the cluster that WSSS_CLUSTER names, without it for the
        session's pool of one-thread worker processes, which later calls use again.
    jobs: workers of that pool, None for pool.default_jobs(), 0 to run in this process.
    progress: a function called as progress(done, total, line), or a style for progress.reporter.

    A failing step stops what depends on it and nothing else. At the end LabError names every failed step with
    what went wrong. A step whose worker dies is tried once more, by another one. Raises WriteError as soon as a
    result can't be stored. On Ctrl-C the workers are stopped; the next call goes on with what is missing.
    """
    report = progress if callable(progress) else reporter(progress)
    store.clean()
    waiting = missing(list(steps), store, report)
    if not waiting:
        return
    with store.probe():  # can it be written?
        pass
    if executor == "serial" or jobs == 0:
        executor = pool.SerialExecutor()
    address = variable("WSSS_CLUSTER")
    if executor is None and not address:
        executor = pool.shared_pool(jobs or pool.default_jobs())
    with cluster.connected(address, waiting, store) if executor is None else nullcontext(executor) as workers:
        _Session(waiting, store, workers, report).run()


def missing(steps: list[Step], store: Store, report: Progress | None = None) -> list[Step]:
    """The steps that have to run to have all of these stored, every step after the ones it needs. A damaged entry is
    removed on the way and counts as missing; report is told about it."""
    needed: dict[Step, None] = {}
    stack = list(steps)
    while stack:
        step = stack.pop()
        if step in needed:
            continue
        if problem := store.damage(step):
            store.remove(step)
            if report:
                report(0, 0, f"{step}: damaged result removed ({problem}); it is made again")
        if step not in store:
            needed[step] = None
            stack += step.parents
    return [step for step in topological(steps) if step in needed]


def run_step(step: Step, root: str | Path, gpu: int | None = None) -> float:
    """Run one step whose inputs are stored, store its outputs, return its seconds. gpu: the one that it uses, None =
    as torch chooses, if any.

    Called in worker processes. Raises LabError for whatever goes wrong, because not every exception survives
    the way back to the parent.
    """
    store = Store(root)
    try:
        if gpu is not None:
            import torch

            torch.cuda.set_device(gpu)
        if code_of(step.function)[0] != step.code:
            raise StoreError(f"the code of {step.function_name} was edited after this session started",
                             "the same code in all processes", "restart the kernel or the command")
        with provenance.measured() as facts, keeping_checkpoints(store.checkpoints(step)):
            outputs = several.call(step, store)
        if step.trains:
            from wsss_lab.networks.machine import Machine

            facts["precision"] = Machine.here().precision
        store.save(step, outputs, facts)
        shutil.rmtree(store.checkpoints(step), ignore_errors=True)
    except LabError:
        raise
    except Exception as problem:
        if getattr(problem, "errno", 0) in _NO_WRITING or "PytorchStreamWriter" in str(problem):  # of a checkpoint
            raise store.write_error(problem) from problem
        raise LabError(f"{type(problem).__name__}: {problem}") from problem
    return facts["seconds"]


class _Session:
    """One call of compute(): hands out steps whose inputs are stored and collects what comes back."""

    def __init__(self, steps: list[Step], store: Store, workers: Executor, report: Progress):
        self.store, self.workers, self.report = store, workers, report
        self.total = len(steps)
        self.waiting = {step: set(step.parents) & set(steps) for step in steps}
        self.height = dict.fromkeys(steps, 1)  # length of the longest chain of steps that starts at each one
        for step in reversed(steps):
            for parent in self.waiting[step]:
                self.height[parent] = max(self.height[parent], self.height[step] + 1)
        self.running: dict[Future, Step] = {}
        self.gpus: list[int] | None = getattr(workers, "gpus", None)  # for each step that may use one more of them
        self.on_gpu: dict[Step, int] = {}
        self.failed: dict[Step, BaseException] = {}
        self.tried: set[Step] = set()  # steps whose worker died
        self.done = 0
        self.broken = False

    def run(self) -> None:
        self.report(0, self.total, f"{self.total} steps to run")
        try:
            self._submit()
            while self.running:
                finished, _ = concurrent.futures.wait(self.running, LOOK, concurrent.futures.FIRST_COMPLETED)
                for future in finished:
                    self._collect(future)
                self._submit()
        except (LabError, KeyboardInterrupt) as problem:
            for future in self.running:
                future.cancel()
            pool.close_pools()
            self.store.clean()
            if isinstance(problem, KeyboardInterrupt):
                kept = f"{self.done - len(self.failed)} of {self.total} steps are stored"
                print(f"stopped: {kept}; the next run goes on with the others", file=sys.stderr)
            raise
        if self.failed:
            problems = "\n".join(f"{step}: {problem}" for step, problem in self.failed.items())
            held_up = f"; {len(self.waiting)} that need them did not run" if self.waiting else ""
            raise LabError(f"{len(self.failed)} of {self.total} steps failed{held_up}\n{problems}",
                           fix="put it right and run again; everything that finished is stored"
                           ) from next(iter(self.failed.values()))

    def _submit(self) -> None:
        ready = [step for step, parents in self.waiting.items() if not parents and not self.broken]
        # Long chains first, so that no worker is left alone with one at the end.
        ready.sort(key=lambda step: -self.height[step])
        limit = max(1, getattr(self.workers, "jobs", self.total)) if ready else 0
        for step in ready:
            uses_gpu = self.gpus is not None and step.runs_network
            if len(self.running) >= limit or uses_gpu and not self.gpus:
                continue
            del self.waiting[step]
            chosen = ()
            if uses_gpu:
                self.on_gpu[step] = self.gpus.pop(0)
                chosen = (self.on_gpu[step],)
            try:
                future = self.workers.submit(run_step, step, self.store.root, *chosen)
            except BrokenExecutor as problem:
                future = Future()
                future.set_exception(problem)
                self.broken = True
            self.running[future] = step

    def _collect(self, future: Future) -> None:
        step = self.running.pop(future)
        if step in self.on_gpu:
            self.gpus.append(self.on_gpu.pop(step))
        problem = future.exception()
        if isinstance(problem, WriteError):
            self.report(self.done, self.total, f"{step}  failed: {_first_line(problem)}; stopped")
            raise problem
        if isinstance(problem, BrokenExecutor) and step not in self.tried and not self.broken:
            self.tried.add(step)
            self.waiting[step] = set()
            self.report(self.done, self.total, f"{step}  its worker process died; it is tried once more")
            return
        if isinstance(problem, BrokenExecutor):
            problem = LabError("its worker process died, twice" if step in self.tried else "its worker process died",
                               "enough memory for every worker", "run again with fewer jobs (on a cluster, with larger "
                               "workers); everything that finished is stored")
        self.done += 1
        if problem is None:
            for parents in self.waiting.values():
                parents.discard(step)
            self.report(self.done, self.total, f"{step}  {future.result():.1f} s")
        else:
            self.failed[step] = problem
            self.report(self.done, self.total, f"{step}  failed: {_first_line(problem)}")


def _first_line(problem: BaseException) -> str:
    return str(problem).partition("\n")[0]
