"""Where a result comes from."""

import platform
import time

import numpy as np
import pytest

from wsss_lab.lab import provenance


def test_versions_are_those_in_use():
    found = provenance.versions()
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert "torch" in found


def test_waiting_takes_time_but_not_the_processor():
    with provenance.measured() as facts:
        time.sleep(0.2)
    assert 0.2 <= facts["seconds"] < 5
    assert facts["cpu_seconds"] < 0.15


@pytest.mark.skipif(platform.system() != "Linux", reason="the peak of a block is known on Linux only")
def test_the_peak_is_that_of_the_block():
    with provenance.measured() as large:
        np.ones(40_000_000).sum()  # 305 MB
    with provenance.measured() as small:
        np.ones(1_000).sum()
    assert large["peak_memory_mb"] > small["peak_memory_mb"] + 250


def test_the_device_is_the_chosen_one(monkeypatch):
    import torch  # noqa: F401  a process that has not imported torch computes on the CPU

    monkeypatch.setenv("WSSS_DEVICE", "cpu")
    assert provenance.device() == "cpu"
