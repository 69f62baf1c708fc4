"""Steps on several machines: the worker processes of a Dask scheduler (WSSS_CLUSTER), with the run store on a shared
folder.

Each worker runs one step at a time, with one thread and with the settings (WSSS_...) of the run that asks for it.
Workers may come and go meanwhile. What is sent and stored is what the workers of one machine get and store.
"""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, InvalidStateError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_lab.errors import LabError, SetupError
from wsss_lab.lab.fingerprint import code_of
from wsss_lab.lab.pool import WORKERS
from wsss_lab.lab.steps import Step
from wsss_lab.lab.store import MANIFEST, Store, WriteError

if TYPE_CHECKING:
    from distributed import Client

CONNECT = 10  # seconds until a scheduler counts as not reachable
JOIN = 60  # seconds until workers count as missing: one that has died is started anew
APPEAR = 60  # seconds until what another machine has stored must be seen: network file systems remember absence
OWN = ("WSSS_CLUSTER", "WSSS_STEPS")  # variables that concern the process which hands out steps
START = "dask worker {address} --nworkers 4 --nthreads 1 --memory-limit 0"

Codes = list[tuple[Callable, str, dict[str, str]]]  # functions, the fingerprints of their code, packages
_clients: dict[str, "Client"] = {}


class Workers(Executor):
    """The workers of a scheduler as an executor of steps. token: a file in the store that every worker has to see."""

    def __init__(self, client: "Client", store: Store, token: Path):
        self.client, self.store, self.token = client, store, token
        self.settings = {name: value for name, value in os.environ.items()
                         if name.startswith("WSSS_") and name not in OWN}
        self._running: dict[Any, Future] = {}  # by Dask's future

    @property
    def jobs(self) -> int:
        """How many workers there are at the moment; waits for the first. Raises SetupError when none comes."""
        if self.client.status != "running":
            raise _gone()
        address = self.client.scheduler.address

        def one_try(dask_scheduler) -> int:  # a step whose worker dies comes back, instead of killing three more
            dask_scheduler.allowed_failures = 0
            return len(dask_scheduler.workers)

        try:
            self.client.wait_for_workers(1, timeout=JOIN)
            return self.client.run_on_scheduler(one_try)
        except Exception as problem:
            if isinstance(problem, TimeoutError) and self.client.status == "running":
                raise SetupError(f"the scheduler {address} has had no worker for {JOIN} seconds", "at least one",
                                 f"start some, on any machine: {START.format(address=address)}") from problem
            if isinstance(problem, OSError) or self.client.status != "running":
                raise _gone() from problem
            raise

    def submit(self, function, /, step: Step, root: Path) -> Future:
        codes = [(step.function, step.code, step.packages)]
        try:
            remote = self.client.submit(_work, self.token, self.settings, codes, function, step, root, pure=False,
                                        key=f"{step.stage}-{step.key[:12]}-{time.time_ns()}")
        except Exception as problem:
            if self.client.status != "running":
                raise _gone() from problem
            raise
        self._running[remote] = answer = Future()
        remote.add_done_callback(lambda done: self._hand_over(done, step))
        return answer

    def kill(self) -> None:
        """Forget the steps that run; workers that are watched by a nanny (as usual) are started anew."""
        if self.client.status != "running":
            return
        with contextlib.suppress(Exception):
            keys = {remote.key for remote in list(self._running)}
            busy = [worker for worker, doing in self.client.processing().items() if keys & set(doing)]
            self.client.cancel(list(self._running), force=True)
            if busy:
                self.client.restart_workers(busy, timeout=CONNECT, raise_for_error=False)

    def _hand_over(self, remote: Any, step: Step) -> None:
        """Give what came of a step to whoever waits for it."""
        from distributed import KilledWorker

        answer = self._running.pop(remote)
        with contextlib.suppress(InvalidStateError):  # of a step that is no longer wanted
            try:
                seconds = remote.result()
                _appear(self.store, [step])
                answer.set_result(seconds)
            except (KilledWorker, CancelledError) as problem:
                lost = self.client.status != "running"
                answer.set_exception(_gone() if lost else BrokenExecutor(str(problem)))
            except Exception as problem:
                answer.set_exception(problem)


@contextlib.contextmanager
def connected(address: str, steps: Iterable[Step], store: Store) -> Iterator[Workers]:
    """The workers of the scheduler at an address, for steps whose results go to a store.

    Raises SetupError when Dask, the scheduler or its workers are missing, or when a worker doesn't see the store or has
    other code or other packages than this process.
    """
    client = _client(address)
    with store.probe() as token:
        workers = Workers(client, store, token)
        codes = list({step.function: (step.function, step.code, step.packages) for step in steps}.values())
        if workers.jobs:
            _refuse(client.run(_check, token, codes, on_error="return"))
        try:
            yield workers
        except BaseException:
            workers.kill()
            raise


def _client(address: str) -> "Client":
    """The session's connection to a scheduler."""
    try:
        from distributed import Client
    except ImportError as problem:
        raise SetupError(f"WSSS_CLUSTER={address}, but the package 'distributed' isn't installed", "Dask's scheduler",
                         "python -m pip install distributed, or unset WSSS_CLUSTER") from problem
    if address not in _clients or _clients[address].status != "running":
        try:
            _clients[address] = Client(address, timeout=CONNECT, set_as_default=False)
        except (OSError, ValueError) as problem:
            raise SetupError(f"WSSS_CLUSTER={address}: no scheduler answers there within {CONNECT} seconds",
                             "the address that `dask scheduler` prints",
                             "start one (dask scheduler), correct the address, or unset WSSS_CLUSTER") from problem
    return _clients[address]


def _gone() -> SetupError:
    return SetupError("the connection to the scheduler is lost", "a scheduler that runs until all steps are done",
                      "start it and its workers, and run again; everything that finished is stored")


def _refuse(answers: dict[str, Any]) -> None:
    """Raise the first problem that workers have told."""
    problems = {address: answer for address, answer in answers.items() if isinstance(answer, Exception)}
    if not problems:
        return
    address, first = next(iter(problems.items()))
    others = f" ({len(problems)} of {len(answers)} workers have problems)" if len(answers) > 1 else ""
    if isinstance(first, LabError):
        raise type(first)(first.problem + others, first.expected, first.fix) from first
    raise _other_code(f"the worker {address} can't load it: {first}{others}") from first


def _other_code(how: str) -> SetupError:
    return SetupError(f"the code of this run isn't that of its workers: {how}",
                      "the same wsss_lab and packages on all machines",
                      "install the same versions there, and start the workers again")


# --- what runs in a worker -------------------------------------------------------------------------------------------


def _check(token: Path, codes: Codes, dask_worker) -> None:
    """Raises WriteError or SetupError for a worker that can't do its part."""
    here = f"the worker {dask_worker.address} on {socket.gethostname()}"
    if not _seen([token], 1):
        raise WriteError(f"{here} doesn't see the run store {token.parents[1]} of this run",
                         "one shared folder, under the same path on all machines",
                         "mount it there, or set WSSS_CACHE to a shared folder before the run")
    if dask_worker.state.nthreads != 1:
        raise SetupError(f"{here} has {dask_worker.state.nthreads} threads, each for a step of its own",
                         "one, as steps of one process disturb each other",
                         f"start it anew: {START.format(address=dask_worker.scheduler.address)}")
    for function, code, packages in codes:
        own_code, own_packages = code_of(function)
        if packages != own_packages:
            told = [f"{name} {own_packages.get(name)} instead of {version}" for name, version in packages.items()
                    if own_packages.get(name) != version]
            raise _other_code(f"{here} has {', '.join(told)}")
        if code != own_code:
            raise _other_code(f"{here} has another {function.__module__}.{function.__qualname__}")


def _work(token: Path, settings: dict[str, str], codes: Codes, function: Callable, step: Step, root: Path) -> float:
    """Run a step here, with the settings of the run that asks for it."""
    from distributed import get_worker

    _check(token, codes, get_worker())  # it may have joined late
    for name in [name for name in os.environ if name.startswith("WSSS_")]:
        del os.environ[name]
    os.environ.update(settings | WORKERS)
    if "torch" in sys.modules:  # else it will read the environment
        sys.modules["torch"].set_num_threads(1)
    _appear(Store(root), step.parents)
    return function(step, root)


def _appear(store: Store, steps: Iterable[Step]) -> None:
    """Wait until this machine, too, sees the results of steps that are stored."""
    _seen([store.folder(step) / MANIFEST for step in steps], APPEAR)


def _seen(paths: list[Path], seconds: float) -> bool:
    """Whether files that another machine has written are there, or come to be seen in time."""
    end = time.monotonic() + seconds
    while absent := [path for path in paths if not path.exists()]:
        if time.monotonic() > end:
            return False
        for folder in {folder for path in absent for folder in path.parents[1:3]}:
            with contextlib.suppress(OSError):
                os.listdir(folder)  # makes a network file system ask again
        time.sleep(0.1)
    return True
