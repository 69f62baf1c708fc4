"""pyproject.toml, environment.yml and CITATION.cff say the same."""

import re
import tomllib
from pathlib import Path

import yaml

import wsss_lab

PROJECT = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch", "opencv-python-headless": "opencv", "pydensecrf2": "pydensecrf"}
CONDA_ONLY = {"python", "pip", "setuptools"}
# conda-forge numbers pydensecrf by date, not like PyPI.
OWN_VERSIONS = {"pydensecrf"}


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
    from importlib.metadata import version

    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text)[:3]]

    for name, bound in map(split_requirement, pyproject()["project"]["dependencies"]):
        if name in CONDA_NAMES:  # another name where conda installed it
            continue
        assert numbers(version(name)) >= numbers(bound), name


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
