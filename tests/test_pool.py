"""The session's worker processes."""

import sys
import types

import pytest

from wsss_lab.lab import pool


@pytest.fixture(autouse=True)
def no_workers_left():
    yield
    pool.close_pools()


def test_the_pool_is_kept_until_the_jobs_or_the_settings_of_the_run_change(monkeypatch):
    monkeypatch.delenv("WSSS_DEVICE", raising=False)
    first = pool.shared_pool(1)
    assert pool.shared_pool(1) is first
    monkeypatch.setenv("WSSS_DEVICE", "cpu")
    other = pool.shared_pool(1)
    assert other is not first
    with pytest.raises(RuntimeError):  # it has been stopped
        first.submit(int)
    assert pool.shared_pool(2) is not other


def test_workers_do_not_import_the_main_script(monkeypatch):
    main = types.ModuleType("__main__")
    main.__file__, main.__spec__ = "/no/such/script.py", "its specification"
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert pool.shared_pool(1).submit(abs, -3).result() == 3
    assert main.__file__ == "/no/such/script.py" and main.__spec__ == "its specification"


def test_the_serial_executor_runs_at_once_and_keeps_the_exception():
    executor = pool.SerialExecutor()
    assert executor.submit(divmod, 7, 2).result() == (3, 1)
    failed = executor.submit(divmod, 7, 0)
    assert failed.done()
    with pytest.raises(ZeroDivisionError):
        failed.result()


def test_jobs_come_from_the_environment_or_the_cores(monkeypatch):
    monkeypatch.setenv("WSSS_JOBS", "3")
    assert pool.default_jobs() == 3
    monkeypatch.delenv("WSSS_JOBS")
    assert pool.default_jobs() >= 1
