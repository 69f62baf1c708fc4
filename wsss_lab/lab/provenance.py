"""Where a result comes from: code version, package versions, machine, device, time and memory."""

import ctypes
import functools
import importlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
#: Packages that make numbers, by the name they are imported under; cv2 comes under several, so it is asked itself.
NUMBER_MAKERS = {"torch": "torch", "torchvision": "torchvision", "cv2": "opencv", "pydensecrf": "pydensecrf2",
                 "scipy": "scipy", "sklearn": "scikit-learn", "numpy": "numpy", "PIL": "pillow"}


def project_folder() -> Path:
    """The folder with notebooks/ and figures/: the checkout the package comes from, else the current one."""
    checkout = PACKAGE_FOLDER.parent
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


@functools.cache
def version_of(module: str) -> str:
    """Version of a package of NUMBER_MAKERS; "absent" where it isn't installed."""
    try:
        own = importlib.import_module(module).__version__ if module == "cv2" else ""
        return own or metadata.version(NUMBER_MAKERS[module])
    except (ImportError, metadata.PackageNotFoundError):
        return "absent"


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python, of the packages that make numbers and of this one."""
    own = "not installed"
    with suppress(metadata.PackageNotFoundError):
        own = metadata.version("wsss-lab")
    return {"python": platform.python_version(), **{name: version_of(each) for each, name in NUMBER_MAKERS.items()},
            "wsss-lab": own}


@functools.cache
def git_commit() -> str:
    """Commit of the source, with "-dirty" when it has been edited since; empty outside a git clone."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, cwd=PACKAGE_FOLDER, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def device() -> str:
    """Device that networks of this process are placed on: "cpu" or "cuda"."""
    if "torch" not in sys.modules:
        return "cpu"
    from wsss_lab.networks.machine import resolve_device

    return str(resolve_device())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gib() -> float:
    """Physical memory; a container's limit counts when it is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # no such file, or "max"
            total = min(total, int(Path(limit).read_text()))
    return total / 2**30


def processor(facts: Path = Path("/proc/cpuinfo")) -> str:
    """The processor as Linux calls it, else as Python does; at least its architecture."""
    names = []
    with suppress(OSError):
        lines = facts.read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, (*names, platform.processor(), platform.machine())), "unknown")


def now() -> str:
    """Time in UTC, such as 2017-07-21T09:00:00+00:00."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def measured() -> Iterator[dict[str, Any]]:
    """Measure a block: the dict holds seconds, cpu_seconds and peak_memory_mb after it.

    The peak is that of the block on Linux and that of the process so far elsewhere. A block that had tensors on a GPU
    adds peak_gpu_memory_mb and gpu, its name.
    """
    facts: dict[str, Any] = {}
    with suppress(AttributeError, OSError, TypeError):  # what an earlier block has left unused isn't this one's
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if cuda := _cuda_in_use():
        cuda.reset_peak_memory_stats()
    wall, cpu = time.perf_counter(), time.process_time()
    yield facts
    facts["seconds"] = round(time.perf_counter() - wall, 3)
    facts["cpu_seconds"] = round(time.process_time() - cpu, 3)
    facts["peak_memory_mb"] = _peak_memory_mb()
    if (cuda := _cuda_in_use()) and cuda.max_memory_allocated():
        facts |= {"peak_gpu_memory_mb": round(cuda.max_memory_allocated() / 2**20, 1), "gpu": cuda.get_device_name()}


def _cuda_in_use() -> Any:
    """torch.cuda if this process has used a GPU, else None; the question itself neither loads torch nor wakes a GPU."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda and cuda.is_initialized() else None


def _peak_memory_mb() -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024, 1)
    except (OSError, StopIteration):
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
