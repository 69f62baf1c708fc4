"""Settings: what is accepted, and that whatever reads a variable refuses the rest."""

import math
from types import SimpleNamespace

import pytest
from arithmetic import count

from wsss_lab import settings
from wsss_lab.errors import ParameterError
from wsss_lab.lab import compute, doctor, pool, progress, rehearsal, several
from wsss_lab.lab.steps import Step
from wsss_lab.lab.store import Store
from wsss_lab.networks.machine import Machine, resolve_device

READERS = {
    "WSSS_JOBS": (pool.default_jobs,),
    "WSSS_GPUS": (lambda: several.call(SimpleNamespace(trains=True), None),),
    "WSSS_GPU_SHARE": (pool.free_gpus,),
    "WSSS_PARTS": (Machine.here,), "WSSS_WORKERS": (Machine.here,), "WSSS_CHECKPOINT_MINUTES": (Machine.here,),
    "WSSS_PRECISION": (Machine.here,),
    "WSSS_PROGRESS": (progress.reporter, lambda: progress.Transfer("voc.tar")),
    "WSSS_DEVICE": (resolve_device,),
    "WSSS_CLUSTER": (lambda: compute.compute([Step("data", count, {"n": 1})], Store()),),
    "WSSS_REHEARSAL": (lambda: rehearsal.scale_of({"voc": None}, "voc"),),
}  # fmt: skip


@pytest.mark.parametrize("name", settings.VARIABLES)
@pytest.mark.parametrize("value", ["foo", "-1", "nan", str(10**20), " "])
def test_whatever_reads_a_variable_refuses_values_that_make_no_sense(monkeypatch, tmp_path, name, value):
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path))
    monkeypatch.setenv(name, value)
    for read in (*READERS[name], settings.check_variables):
        with pytest.raises(ParameterError, match=f"^{name}={value}\n  expected: (.|\n)*  fix: unset {name}, or"):
            read()


def test_numbers_are_whole_where_they_count_and_within_their_ends():
    assert [settings.checked("jobs", value) for value in (1, "1024", 2.0)] == [1, 1024, 2]
    assert settings.checked("tflops", "20.5") == 20.5
    for name, value in (("jobs", 0), ("jobs", 2.5), ("jobs", "2.5"), ("jobs", None), ("jobs", math.inf),
                        ("tflops", 0.0), ("tflops", -5), ("tflops", math.nan), ("tflops", math.inf), ("seeds", 10**20),
                        ("world_seed", 2**32), ("device", "CPU"), ("device", None), ("network", "")):
        with pytest.raises(ParameterError, match=f"^{name}="):
            settings.checked(name, value)


def test_the_doctor_lists_them_and_warns_of_names_that_nothing_reads():
    found = doctor.check_variables({"WSSS_JOBS": "abc", "WSSS_PARTS": "2", "WSSS_PRECISON": "bf16", "HOME": "/root"})
    assert [str(check).splitlines() for check in found] == [
        ["[missing] WSSS_JOBS=abc, expected a whole number from 1 to 1,024",
         "          fix: unset WSSS_JOBS, or set it to that"],
        ["[warn]    unknown variable 'WSSS_PRECISON'", "          fix: did you mean 'WSSS_PRECISION'?"]]
