"""Code fingerprints: which edits lose a cached result and which do not."""

import importlib
import sys
import types

import pytest

from wsss_lab.errors import ParameterError
from wsss_lab.lab import fingerprint

FILES = {
    "__init__.py": '"""A package."""\n',
    "train.py": (
        '"""Trains."""\n'
        "from . import helper\n"
        "from .data import loader\n"
        "def fit(x):\n"
        '    """Fits."""\n'
        "    from toycode.late import finish  # only here\n"
        "    return finish(helper.double(loader.load(x)))\n"
    ),
    "helper.py": "import math\nfrom toycode.constants import TWO\ndef double(x):\n    return TWO * x\n",
    "constants.py": "TWO = 2\n",
    "late.py": "def finish(x):\n    return x\n",
    "data/__init__.py": "",
    "data/loader.py": "from ..constants import TWO\nfrom .names import NAME\ndef load(x):\n    return x\n",
    "data/names.py": "NAME = 'a'\n",
    "unrelated.py": "X = 1\n",
    "errors.py": "class E(Exception):\n    pass\n",
    "lab/__init__.py": "",
    "lab/steps.py": "Y = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """edit(file, old, new) on a small package; returns the fingerprint of its function afterwards."""
    folder = tmp_path / "toycode"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    function = importlib.import_module("toycode.train").fit

    def edit(file: str = "", old: str = "", new: str = "") -> str:
        if file:
            text = (folder / file).read_text()
            assert old in text
            (folder / file).write_text(text.replace(old, new))
        fingerprint.forget()
        return fingerprint.code_fingerprint(function)

    yield edit
    fingerprint.forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "toycode"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("train.py", "return finish(", "return 2 * finish("),
        ("helper.py", "TWO * x", "TWO + x"),
        ("constants.py", "2", "3"),
        ("late.py", "return x", "return -x"),
        ("data/loader.py", "return x", "return x + 1"),
        ("data/names.py", "'a'", "'b'"),
    ],
)
def test_editing_code_that_the_function_needs_changes_its_fingerprint(package, file, old, new):
    before = package()
    assert package(file, old, new) != before
    assert package(file, new, old) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("train.py", "Fits.", "Fits the thing."),
        ("train.py", "# only here", "# for speed"),
        ("train.py", "Trains.", "Learns."),
        ("helper.py", "def double(x):\n", "\n\ndef double(\n    x\n):\n"),
        ("unrelated.py", "1", "2"),
    ],
)
def test_words_layout_and_other_modules_do_not(package, file, old, new):
    before = package()
    assert package(file, old, new) == before


def test_the_lab_and_the_errors_are_not_part_of_a_result(package):
    package("train.py", "from . import helper\n", "from . import helper\nfrom toycode import errors\n")
    before = package("helper.py", "import math\n", "import math\nimport toycode.lab.steps\n")
    assert package("errors.py", "pass", "code = 3") == before
    assert package("lab/steps.py", "1", "2") == before


def test_modules_are_followed_however_they_are_imported(package):
    assert fingerprint.code_modules("toycode.train") == (
        "toycode.constants", "toycode.data.loader", "toycode.data.names", "toycode.helper", "toycode.late",
        "toycode.train",
    )


def test_a_name_taken_from_a_package_depends_on_the_package(package):
    package("data/__init__.py", "", "from .names import NAME\n")
    before = package("train.py", "from .data import loader\n", "from .data import loader, NAME\n")
    assert package("data/names.py", "'a'", "'c'") != before


def test_code_without_a_source_file_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "typed_in", types.ModuleType("typed_in"))
    function = types.FunctionType((lambda: 0).__code__, {"__name__": "typed_in"}, "f")
    with pytest.raises(ParameterError, match="typed_in"):
        fingerprint.code_fingerprint(function)
