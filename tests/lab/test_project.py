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
TARGETS = {"help", "reproduce", "quick", "plan", "rehearsal", "test", "lab", "doctor", "book", "lint", "clean"}

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    # Without what a surrounding `make test` hands down, as if typed in a fresh shell.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "WSSS_"))}
    return subprocess.run(["make", *arguments], cwd=PROJECT, capture_output=True, text=True,
                          env=inherited | environment)


@needs_make
def test_help_is_the_default_goal_and_lists_every_target():
    answer = make("-s")
    assert answer.returncode == 0, answer.stderr
    assert set(re.findall(r"^  make (\S+) +\S", answer.stdout, re.MULTILINE)) == TARGETS
    assert answer.stdout == make("-s", "help").stdout


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
def test_quick_is_reproduce_in_the_quick_profile_whatever_profile_is_set():
    assert '--profile "quick"' in make("-n", "quick", f"PYTHON={sys.executable}", "PROFILE=toy").stdout


@needs_make
def test_a_misspelt_option_is_refused():
    answer = make("-n", "reproduce", f"PYTHON={sys.executable}", "SEED=3")
    assert answer.returncode != 0
    assert "unknown option SEED=" in answer.stderr
    assert "SEEDS" in answer.stderr


@needs_make
def test_folders_reach_the_command_from_the_command_line_and_the_environment():
    rule = "--eval=show: ; @echo $$WSSS_DATA $$WSSS_WEIGHTS $$WSSS_SALIENCY $$WSSS_COCO"
    answer = make("-s", rule, "show", "WSSS_DATA=/photos", "WSSS_SALIENCY=/maps", WSSS_WEIGHTS="/weights",
                  WSSS_COCO="/coco")
    assert answer.stdout == "/photos /weights /maps /coco\n"


@needs_make
def test_help_names_every_folder():
    folders = re.findall(r"(WSSS_\w+)=folder", make("-s").stdout)
    assert folders == ["WSSS_DATA", "WSSS_WEIGHTS", "WSSS_SALIENCY", "WSSS_COCO", "WSSS_CACHE"]


@needs_make
def test_the_virtual_environment_is_the_default_and_can_be_left_out():
    assert "\n.venv/bin/python -m wsss_lab doctor" in "\n" + make("-n", "doctor").stdout
    without = make("-n", "doctor", WSSS_NO_VENV="1").stdout
    assert "\npython -m wsss_lab doctor" in without
    assert ".venv" not in without


@needs_make
def test_an_environment_without_the_package_is_named(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    answer = make("-s", "doctor", f"PYTHON={python}")
    assert answer.returncode != 0
    assert f"{python} -m pip install" in answer.stderr


@needs_make
def test_every_make_command_in_the_readme_can_be_made():
    readme = (PROJECT / "README.md").read_text()
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


def pyproject() -> dict:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())


def conda_packages() -> dict[str, str]:
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]
    assert environment["name"] == "wsss-lab"
    return dict(split_requirement(text) for text in environment["dependencies"])


def test_conda_environment_lists_the_packages_of_pyproject_with_the_same_bounds():
    project = pyproject()["project"]
    wanted = dict(map(split_requirement, project["dependencies"] + project["optional-dependencies"]["dev"]))
    wanted = {CONDA_NAMES.get(name, name): bound for name, bound in wanted.items()}
    listed = {name: bound for name, bound in conda_packages().items() if name not in CONDA_ONLY}
    assert sorted(listed) == sorted(wanted)
    different = {name for name in wanted if listed[name] != wanted[name]}
    assert different == OWN_VERSIONS & set(wanted)


def test_conda_environment_has_the_python_that_pyproject_asks_for():
    assert pyproject()["project"]["requires-python"] == f">={conda_packages()['python']}"


def test_every_installed_package_satisfies_its_lower_bound():
    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text)[:3]]

    for name, bound in map(split_requirement, pyproject()["project"]["dependencies"]):
        if name in CONDA_NAMES:  # another name where conda installed it
            continue
        assert numbers(metadata.version(name)) >= numbers(bound), name


def test_package_data_reaches_the_published_tables():
    patterns = pyproject()["tool"]["setuptools"]["package-data"]["wsss_lab.published"]
    folder = PROJECT / "wsss_lab" / "published"
    packaged = {path for pattern in patterns for path in folder.glob(pattern)}
    assert packaged == set(folder.rglob("*.csv"))
    assert packaged


def test_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    assert citation["version"] == wsss_lab.__version__
    assert citation["license"] == pyproject()["project"]["license"]
