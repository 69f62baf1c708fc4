"""What notebooks have saved: the one reader of <figures>/<profile>/<paper>, for summary, gallery and README."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from wsss_lab.lab.artifacts import CLAIMS, ID, MANIFEST, read_manifest
from wsss_lab.lab.profiles import PROFILES
from wsss_lab.lab.published import artifact_list, papers
from wsss_lab.measure.claims import SEEDS_FOR_A_VERDICT

RECORD = "run.json"
CLOCK_SLACK = 2.0  # seconds by which a file system's clock may be behind


@dataclass(frozen=True)
class Saved:
    """What one notebook has saved in one profile.

    artifacts: entries of the manifest by id, in the order of the paper. claims: the decided ones, one row each; empty
    without any. record: what the run took (wsss_lab.lab.runs.record); {} without one that can be read.
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

    @property
    def decides(self) -> bool:
        """Whether trainings are enough for verdicts on claims, if there are any."""
        return self.seeds >= SEEDS_FOR_A_VERDICT or self.claims.empty

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
