"""What the project's files say of each other: the Makefile, the README's commands, pyproject.toml, environment.yml."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import wsss_lab

PROJECT = Path(__file__).parents[2]
CONDA_NAMES = {"torch": "pytorch", "opencv-python-headless": "opencv", "pydensecrf2": "pydensecrf"}
CONDA_ONLY = {"python", "pip", "setuptools"}
# conda-forge numbers pydensecrf by date, not like PyPI.
OWN_VERSIONS = {"pydensecrf"}
TARGETS = {"help", "reproduce", "quick", "compare", "plan", "rehearsal", "test", "lab", "doctor", "book", "lint",
           "clean"}

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    # Without what a surrounding `make test` hands down, as if typed in a fresh shell.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "WSSS_"))}
    return subprocess.run(["make", *arguments], cwd=PROJECT, capture_output=True, text=True,
                          env=inherited | environment)


@needs_make
def test_help_is_the_default_goal_and_lists_every_target_and_folder():
    answer = make("-s")
    assert answer.returncode == 0, answer.stderr
    assert set(re.findall(r"^  make (\S+) +\S", answer.stdout, re.MULTILINE)) == TARGETS
    assert answer.stdout == make("-s", "help").stdout
    assert re.findall(r"(WSSS_\w+)=folder", answer.stdout) == [
        "WSSS_DATA", "WSSS_WEIGHTS", "WSSS_SALIENCY", "WSSS_COCO", "WSSS_CACHE"]


@needs_make
def test_reproduce_hands_its_options_to_the_command():
    answer = make("-n", "reproduce", f"PYTHON={sys.executable}", "PAPER=oh2017", "PROFILE=photos", "SEEDS=3",
                  "WORLD_SEED=7", "DEVICE=cpu", "JOBS=2", "OUT=somewhere", "EXECUTED=elsewhere",
                  "PARAMS=tau=0.3 limit=4")
    command = answer.stdout.replace("\\\n", " ").split()
    start = command.index("reproduce")
    assert command[start - 3 : start] == [sys.executable, "-m", "wsss_lab"]
    assert [word.strip('"') for word in command[start + 1 :]] == [
        "--paper", "oh2017", "--profile", "photos", "--seeds", "3", "--world-seed", "7", "--device", "cpu",
        "--jobs", "2", "--out", "somewhere", "--executed", "elsewhere", "--param", "tau=0.3", "--param", "limit=4",
    ]  # fmt: skip


@needs_make
def test_quick_is_reproduce_in_the_quick_profile_and_a_misspelt_option_is_refused():
    assert '--profile "quick"' in make("-n", "quick", f"PYTHON={sys.executable}", "PROFILE=toy").stdout
    answer = make("-n", "reproduce", f"PYTHON={sys.executable}", "SEED=3")
    assert answer.returncode != 0 and "unknown option SEED=" in answer.stderr and "SEEDS" in answer.stderr


@needs_make
def test_folders_reach_the_command_from_the_command_line_and_the_environment():
    rule = "--eval=show: ; @echo $$WSSS_DATA $$WSSS_WEIGHTS $$WSSS_SALIENCY $$WSSS_COCO"
    answer = make("-s", rule, "show", "WSSS_DATA=/photos", "WSSS_SALIENCY=/maps", WSSS_WEIGHTS="/weights",
                  WSSS_COCO="/coco")
    assert answer.stdout == "/photos /weights /maps /coco\n"


@needs_make
def test_the_virtual_environment_is_the_default_and_another_one_needs_the_package(tmp_path):
    assert "\n.venv/bin/python -m wsss_lab doctor" in "\n" + make("-n", "doctor").stdout
    without = make("-n", "doctor", WSSS_NO_VENV="1").stdout
    assert "\npython -m wsss_lab doctor" in without and ".venv" not in without
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    answer = make("-s", "doctor", f"PYTHON={python}")
    assert answer.returncode != 0 and f"{python} -m pip install" in answer.stderr


@needs_make
def test_every_make_command_in_the_readmes_can_be_made():
    readme = "".join((PROJECT / name).read_text() for name in ("README.md", "notebooks/README.md"))
    commands = [line for block in re.findall(r"```\w*\n(.*?)```", readme, re.DOTALL) for line in block.splitlines()
                if re.match(r"\s*(\w+=\S+ )*make\b", line)]
    assert {"make reproduce", "make test"} <= {command.split("#")[0].strip() for command in commands}
    for command in commands:
        words = command.split("#")[0].split()
        arguments = words[words.index("make") + 1 :]
        assert make("-n", *arguments).returncode == 0, command


# --- packages --------------------------------------------------------------------------------------------------------


def split_requirement(text: str) -> tuple[str, str]:
    name, bound = re.fullmatch(r"([\w-]+)\s*(?:>=\s*([\d.]+))?", text.strip()).groups()
    return name, bound or ""


PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
REQUIRED = [split_requirement(text) for text in PYPROJECT["project"]["dependencies"]]


def test_conda_environment_lists_the_packages_of_pyproject_with_the_same_bounds():
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text())
    assert (environment["name"], environment["channels"]) == ("wsss-lab", ["conda-forge"])
    *conda, pip = environment["dependencies"]
    listed = dict(map(split_requirement, [*conda, *pip["pip"]]))
    assert PYPROJECT["project"]["requires-python"] == f">={listed['python']}"
    extras = {extra: list(map(split_requirement, texts))
              for extra, texts in PYPROJECT["project"]["optional-dependencies"].items()}
    assert set(extras["cluster"]) <= set(extras["dev"])  # tests need it, too
    wanted = {CONDA_NAMES.get(name, name): bound for name, bound in [*REQUIRED, *extras["dev"]]}
    assert sorted(listed.keys() - CONDA_ONLY) == sorted(wanted)
    assert {name for name in wanted if listed[name] != wanted[name]} == OWN_VERSIONS & set(wanted)


def test_every_installed_package_satisfies_its_lower_bound():
    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text)[:3]]

    for name, bound in REQUIRED:
        if name not in CONDA_NAMES:  # another name where conda installed it
            assert numbers(metadata.version(name)) >= numbers(bound), name


@pytest.mark.parametrize(("part", "files"), [("published", "*.csv"), ("weights", "*.pth"), ("lab", "*.html")])
def test_data_that_the_package_reads_is_packaged(part, files):
    folder = PROJECT / "wsss_lab" / part
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"][f"wsss_lab.{part}"]
    packaged = {path for pattern in patterns for path in folder.glob(pattern)}
    assert packaged and packaged == set(folder.rglob(files))


def test_citation_has_the_version_and_licence_of_the_package():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (wsss_lab.__version__, PYPROJECT["project"]["license"])
