"""Every notebook in the smallest profile, through the command that readers use."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from wsss_lab.lab.artifacts import read_manifest
from wsss_lab.lab.published import claims
from wsss_lab.lab.summary import promised_artifacts

#: Tables and figures of each paper.
PROMISED = {"oh2017": 19, "chaudhry2017": 11, "roy2017": 10, "araslanov2020": 21, "lee2021": 13}

PROJECT = Path(__file__).resolve().parents[2]


def make_quick(tmp_path: Path) -> subprocess.CompletedProcess:
    """`make quick` in this environment, with a run store and a figures folder of its own."""
    command = ["make", "quick", f"PYTHON={sys.executable}", f"OUT={tmp_path / 'figures'}", "JOBS=2",
               f"WSSS_CACHE={tmp_path / 'store'}"]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=1500, check=False,
                          env={**os.environ, "PYTHONPATH": str(PROJECT)})


def check_artifacts(folder: Path, paper: str, count: int) -> None:
    """Everything that a paper's notebook promises is there, and every claim is decided once."""
    promised = promised_artifacts(paper)
    assert len(promised) == count
    assert set(promised) <= read_manifest(folder).keys()
    assert all((folder / f"{name}.png").stat().st_size > 5000 for name in promised if name.startswith("fig"))
    decided = pd.read_csv(folder / "claims.csv")
    assert decided["claim_id"].tolist() == claims(paper)["claim_id"].tolist()


@pytest.mark.slow
def test_all_notebooks_run_and_a_second_run_recomputes_nothing(tmp_path):
    first = make_quick(tmp_path)
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    assert "FAILED" not in first.stdout and "MISSING" not in first.stdout

    folder = tmp_path / "figures" / "quick"
    for paper, count in PROMISED.items():
        check_artifacts(folder / paper, paper, count)
    table = pd.read_csv(folder / "oh2017" / "table2.csv")
    assert {"Seeds only", "G0", "G1", "G2", "Saliency oracle"} <= set(table["method"])
    assert table["mIoU ours"].between(0, 100).all()
    tables = {path: path.read_bytes() for path in folder.glob("*/*.csv")}

    second = make_quick(tmp_path)
    assert second.returncode == 0, second.stdout[-3000:] + second.stderr[-3000:]
    assert "steps to run" in first.stderr and "steps to run" not in second.stderr
    assert {path: path.read_bytes() for path in folder.glob("*/*.csv")} == tables
