"""The page that says how a paper is added, followed to the letter in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys

from wsss_lab.lab.notebooks import project_folder
from wsss_lab.lab.provenance import PACKAGE_FOLDER


def test_what_the_page_adds_shows_its_table_and_its_verdict(tmp_path):
    page = (project_folder() / "notebooks/adding-a-paper.md").read_text()
    shutil.copytree(PACKAGE_FOLDER, tmp_path / "wsss_lab", ignore=shutil.ignore_patterns("__pycache__"))
    files = re.findall(r"`(wsss_lab/\S+)`:\n\n```\w+\n(.*?)```", page, re.S)
    assert [name.rpartition("/")[2] for name, _ in files] == [
        "route.py", "tables.py", "claims.py", "artifacts.csv", "claims.csv"]
    (tmp_path / "wsss_lab/papers/tiny2026").mkdir()
    (tmp_path / "wsss_lab/papers/tiny2026/__init__.py").touch()
    for name, text in files:
        with (tmp_path / name).open("a", encoding="utf-8") as file:
            file.write(text)
    code = re.search(r"See it.*?```python\n(.*?)```", page, re.S)[1]
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=900,
                          env=os.environ | {"PYTHONPATH": str(tmp_path), "WSSS_CACHE": str(tmp_path / "store")})
    assert told.returncode == 0, told.stderr
    assert re.search(r"^0 +0\.50? +40\.0 +\d+\.\d+ +\[", told.stdout, re.M), told.stdout
    assert re.search(r"^verdict +(reproduced|not reproduced|inconclusive)$", told.stdout, re.M), told.stdout
    assert list((tmp_path / "store").glob("fusion/*"))
