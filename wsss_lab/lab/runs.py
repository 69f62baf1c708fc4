"""What notebooks have saved below <figures>/<profile>/<paper>, and the record of what each one took: run.json.

Summary, gallery and README read a folder of results here.

While `wsss reproduce` runs a notebook, its session notes the steps that it computes, with all that these need. What
each of them took stands in the run store, whichever run made it. So the record knows two costs: what this run took, and
what a run takes that finds nothing stored.
"""

import hashlib
import json
import math
import os
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from wsss_lab.lab import provenance
from wsss_lab.lab.artifacts import CLAIMS, ID, MANIFEST, read_manifest, write_files
from wsss_lab.lab.notebooks import STEPS_VARIABLE, Outcome
from wsss_lab.lab.pool import default_jobs
from wsss_lab.lab.profiles import PROFILES
from wsss_lab.lab.published import artifact_list, papers
from wsss_lab.lab.steps import Step, topological
from wsss_lab.lab.store import Store
from wsss_lab.settings import variable

RECORD = "run.json"
CLOCK_SLACK = 2.0  # seconds by which a file system's clock may be behind
NOT_SETTINGS = ("figures", "device", "jobs")  # parameters that change no result


def note(steps: Iterable[Step]) -> None:
    """Note steps and all that they need, one "stage/key" a line, in the file that STEPS_VARIABLE names, if any."""
    if path := os.environ.get(STEPS_VARIABLE):
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(f"{step.stage}/{step.key}\n" for step in topological(list(steps)))


def save(folder: Path, outcome: Outcome, parameters: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """Write the record of a notebook that ran to its end and return it; {} and no file for any other. folder:
    figures/<profile>/<paper>. Raises StoreError when it can't be written."""
    if outcome.failure or not outcome.steps:
        return {}
    made = record(outcome, parameters, store)
    text = json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False)
    write_files(folder, {RECORD: f"{text}\n".encode()})
    return made


def record(outcome: Outcome, parameters: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """What a run took.

    parameters: what the notebook was given; `jobs` 0 means a worker per core. workers is None on a cluster.

    Returns settings, workers, device, date, versions and
        steps: how many were `run` and `reused`, and how many are `gone`: not in the store, what was made of them is
        minutes: of the `notebook`, and of `computing`: the sum over all steps in the store, run or reused
        peak_memory_mb, peak_gpu_memory_mb: the most that a single step took; None where it isn't known
        trainings, training_seconds: how many steps are trainings, and the median of their times (None without any)
        precision: of the trainings (see WSSS_PRECISION), None where it isn't known
        machine: cpu, cores, memory_gib, and gpu where one was used; the GPU is that of the steps
    """
    known = [store.look(store.root / name, contents=False) for name in outcome.steps]
    found = [manifest for manifest, problem in known if manifest and not problem]

    def most(fact: str) -> float | None:
        return max((each[fact] for each in found if not math.isnan(each.get(fact) or math.nan)), default=None)

    began = datetime.fromtimestamp(outcome.started, UTC).isoformat(timespec="seconds")
    fresh = sum(each["created"] >= began for each in found)
    trained = [each.get("seconds", 0) for each in found
               if each["stage"] != "evaluation" and "schedule" in each["settings"]]
    gpus = sorted({each["gpu"] for each in found if "gpu" in each})
    return {
        "settings": {name: value for name, value in parameters.items() if name not in NOT_SETTINGS},
        "workers": None if variable("WSSS_CLUSTER") else parameters.get("jobs") or default_jobs(),
        "steps": {"run": fresh, "reused": len(found) - fresh, "gone": len(known) - len(found)},
        "minutes": {"notebook": round(outcome.seconds / 60, 2),
                    "computing": round(sum(each.get("seconds", 0) for each in found) / 60, 2)},
        "peak_memory_mb": most("peak_memory_mb"),
        "peak_gpu_memory_mb": most("peak_gpu_memory_mb"),
        "trainings": len(trained),
        "training_seconds": round(statistics.median(trained), 2) if trained else None,
        "precision": ", ".join(sorted({each["precision"] for each in found if "precision" in each})) or None,
        "device": ", ".join(sorted({each["device"] for each in found})),
        "machine": {"cpu": provenance.processor(), "cores": provenance.cores(),
                    "memory_gib": round(provenance.memory_gib(), 1), **({"gpu": ", ".join(gpus)} if gpus else {})},
        "versions": provenance.versions(),
        "date": provenance.now(),
    }


@dataclass(frozen=True)
class Saved:
    """What one notebook has saved in one profile.

    artifacts: entries of the manifest by id, in the order of the paper. claims: the decided ones, one row each; empty
    without any. record: what the run took (see `record`); {} without one that can be read.
    """

    folder: Path
    artifacts: Mapping[str, Mapping[str, Any]]
    claims: pd.DataFrame
    record: Mapping[str, Any]

    @property
    def profile(self) -> str:
        return self.folder.parent.name

    @property
    def paper(self) -> str:
        return self.folder.name

    @property
    def seeds(self) -> int:
        """Number of trainings, that of the artifact which rests on most."""
        return max((len(entry.get("seeds", ())) for entry in self.artifacts.values()), default=0)

    def with_file(self, suffix: str) -> list[str]:
        """Ids of the artifacts with such a file, ".md" for tables and ".png" for figures."""
        return [id for id, entry in self.artifacts.items() if f"{id}{suffix}" in entry["files"]]

    def problem(self, id: str, started: float) -> str:
        """What is wrong with an artifact of a run that started then (seconds since the epoch), "" if nothing."""
        files = self.artifacts.get(id, {}).get("files")
        if not files:
            return "not made"
        for name, checksum in files.items():
            path = self.folder / name
            if not path.is_file():
                return f"{name} is listed in {MANIFEST} but not there"
            if not is_of_run(path, started):
                return f"{name} is left from an earlier run"
            if hashlib.blake2b(path.read_bytes(), digest_size=len(checksum) // 2).hexdigest() != checksum:
                return f"{name} has changed since it was made"
        return ""


def is_of_run(path: Path, started: float) -> bool:
    """Whether a file is there and was written after a run had started (seconds since the epoch)."""
    return path.is_file() and path.stat().st_mtime >= started - CLOCK_SLACK


def read(folder: Path) -> Saved:
    """What a folder of results holds; what isn't there or can't be read is empty."""
    paper, entries = folder.name, read_manifest(folder)
    listed = list(artifact_list(paper)["id"]) if paper in papers() else []
    ids = [id for id in listed if id in entries] + sorted(entries.keys() - set(listed))
    path = folder / CLAIMS
    claims = pd.read_csv(path, keep_default_na=False, na_values=[""]) if path.is_file() else pd.DataFrame()
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = {}
    return Saved(folder, {id: entries[id] for id in ids}, claims, record if isinstance(record, dict) else {})


def read_all(figures: Path, file: str = MANIFEST) -> Iterator[Saved]:
    """What is saved below a folder of figures where such a file is: profiles in their order, papers in that of
    teaching, then other notebooks by their names."""
    for profile in PROFILES:
        found = {path.parent.name: path.parent for path in (figures / profile.name).glob(f"*/{file}")}
        others = sorted(filter(ID.fullmatch, found.keys() - {*papers()}))
        yield from (read(found[paper]) for paper in (*papers(), *others) if paper in found)
