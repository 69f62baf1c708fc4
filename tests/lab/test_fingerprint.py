"""Code fingerprints: which edits lose a cached result and which do not."""

import ast
import importlib
import shutil
import sys
import types

import pytest

from wsss_lab.errors import ParameterError
from wsss_lab.lab import choices, fingerprint, provenance
from wsss_lab.lab.forecast import Forecast, asked_by
from wsss_lab.lab.session import start
from wsss_lab.lab.steps import topological
from wsss_lab.papers.oh2017 import route as oh2017_shown

FILES = {
    "__init__.py": '"""A package."""\nNAME = 1\n',
    "train.py": '''
"""Trains."""
import math
from typing import TYPE_CHECKING

import numpy as np

import toycode.deep.tools
from toycode.constants import *
from wsss_lab.errors import DataError

from . import helper
from .data import Loader as Reader, renamed
from .marks import MARKED
from .registry import RULES

if TYPE_CHECKING:
    from toycode.shapes import Shape

def fit(x, scale=helper.half(2)):
    """Fits."""
    from toycode.late import finish  # only here
    if x is None:
        raise DataError("nothing to fit", "a number", f"call {fit.__name__}(1)")
    def inner(y):
        return toycode.deep.tools.first(y)
    return finish(helper.double(Reader(inner(x)).load()) + TWO)

def score(x: "Shape"):
    return renamed(np.asarray(x)) + math.pi + len("nothing to fit") + len(MARKED)

def choose(rule):
    return RULES[rule](1)

def by_name(name):
    return getattr(helper, name)(3)

def blindly(name):
    import importlib
    return importlib.import_module(name)

def published():
    return open(__file__)

a = 1
b = 2
c = 3
d = 4
e = 5
f = 6
g = 7
def shadow(a, b=b):
    c = [c for c in (1, 2)]
    def inner():
        global d
        return a, d, e
    d = e = [f for f in f]
    try:
        from toycode.fast import unused as g
    except ImportError as h:
        return lambda e: (c, h, e)
    return inner, g
''',
    "helper.py": '''
from toycode import helper2
from toycode.constants import TWO
def double(x):
    return TWO * x
def half(x):
    return x / helper2.TWO
COUNTS = {}
for COUNT in range(3):
    COUNTS[COUNT] = 0
''',
    "helper2.py": "TWO = 2\nTWO += 0\nTHREE: int = 3\n",
    "constants.py": "from toycode.helper2 import THREE\nTWO = 2\n",
    "late.py": '''
import functools
try:
    from toycode.fast import finish_fast
except ImportError:
    finish_fast = None
@functools.cache
def finish(x):
    return (finish_fast or abs)(x)
''',
    "fast.py": "def finish_fast(x):\n    return x\ndef unused(x):\n    return x\n",
    "marks.py": "MARKED = []\ndef marked(function):\n    MARKED.append(function)\n    return function\n",
    "data/__init__.py": "from .loader import Loader\nfrom .names import plain as renamed\n",
    "data/loader.py": '''
from ..deep import base as b
class Loader(b.Base):
    size = 3
    def load(self):
        return self.size
''',
    "data/names.py": "def plain(x):\n    global COUNT\n    COUNT = 1\n    return x\nCOUNT = 0\n",
    "deep/__init__.py": "",
    "deep/base.py": "class Base:\n    def __init__(self, x):\n        self.x = x\n",
    "deep/tools.py": "def first(x):\n    return x\ndef second(x):\n    return first(x)\n",
    "registry.py": '''
from toycode.deep.tools import second
from toycode.marks import marked
@marked
def on_the_list(x):
    return x
def mean(x):
    return x
RULES = {"mean": mean, "second": second}
''',
    "shapes.py": "class Shape:\n    pass\n",
    "table.csv": "a,b\n",
}
FUNCTIONS = ("fit", "score", "choose", "by_name", "blindly", "published", "shadow")
ALL = {"blindly", "published"}  # what they reach isn't known
EVERY = ALL | {"fit", "score", "choose", "by_name", "shadow"}
# Whose fingerprint changes with a definition, besides ALL. What the loop in helper does counts for all that imports
# helper; registry:on_the_list is put on a list when registry is imported, so it counts for what looks at this list.
CHANGES = {
    "__init__:NAME": set(),
    "train:fit": {"fit"}, "train:score": {"score"}, "train:choose": {"choose"}, "train:by_name": {"by_name"},
    "train:blindly": set(), "train:published": set(), "train:shadow": {"shadow"},
    # parameters and names bound inside a function are not the module's; defaults, what a comprehension goes over, what
    # is declared global and what may fail to be imported are
    "train:a": set(), "train:b": {"shadow"}, "train:c": set(), "train:d": {"shadow"}, "train:e": set(),
    "train:f": {"shadow"}, "train:g": {"shadow"},
    "helper:double": {"fit", "by_name"}, "helper:half": {"fit", "by_name"},
    "helper:COUNTS": EVERY, "helper:COUNT": EVERY,
    "helper2:TWO": {"fit", "by_name"}, "helper2:THREE": EVERY,
    "constants:TWO": EVERY,
    "late:finish_fast": {"fit"}, "late:finish": {"fit"},
    "fast:finish_fast": {"fit"}, "fast:unused": {"shadow"},
    "marks:MARKED": {"score"}, "marks:marked": {"score"}, "registry:on_the_list": {"score"},
    "data.loader:Loader": {"fit"}, "data.names:plain": {"score"}, "data.names:COUNT": {"score"},
    "deep.base:Base": {"fit"}, "deep.tools:first": {"fit", "choose"}, "deep.tools:second": {"choose"},
    "registry:mean": {"choose"}, "registry:RULES": {"choose"},
    "shapes:Shape": set(),
}


class Package:
    """A small package on disk whose functions are fingerprinted anew each time."""

    def __init__(self, folder):
        self.folder = folder
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, file, text):
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def edit(self, file, old, new):
        text = (self.folder / file).read_text()
        assert old in text
        self.write(file, text.replace(old, new))

    def codes(self, module="train"):
        fingerprint.forget()
        functions = {name: types.SimpleNamespace(__module__=f"toycode.{module}", __qualname__=name)
                     for name in FUNCTIONS}
        return {name: fingerprint.code_of(function)[0] for name, function in functions.items()}

    def definitions(self):
        """Statement of every definition: {"module:name": (file, place of the statement)}."""
        return {f"{file[:-3].replace('/', '.')}:{name}": (file, place) for file in FILES if file.endswith(".py")
                for place, node in enumerate(ast.parse((self.folder / file).read_text()).body)
                if not isinstance(node, (ast.Import, ast.ImportFrom)) for name in bound(node)}


def bound(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    return [each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)]


def altered(text, place):
    """The text with one statement changed in what it does."""
    tree = ast.parse(text)
    statement = tree.body[place]
    if hasattr(statement, "value"):
        statement.value = ast.parse(f"(({ast.unparse(statement.value)}), 'altered')[0]", mode="eval").body
    else:
        statement.body.append(ast.parse("altered = 1").body[0])
    return ast.unparse(tree)


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield Package(tmp_path / "toycode")
    fingerprint.forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "toycode"]:
        del sys.modules[name]


def test_every_edited_definition_changes_what_reaches_it_and_nothing_else(package):
    before = package.codes()
    definitions = package.definitions()
    assert definitions.keys() == CHANGES.keys()
    changed = {}
    for name, (file, place) in definitions.items():
        text = (package.folder / file).read_text()
        package.write(file, altered(text, place))
        after = package.codes()
        changed[name] = {function for function in FUNCTIONS if after[function] != before[function]}
        package.write(file, text)
    assert changed == {name: functions | ALL for name, functions in CHANGES.items()}
    assert package.codes() == before


@pytest.mark.parametrize(("file", "old", "new", "changed"), [
    # words and layout
    ("train.py", "Fits.", "Fits the thing.", set()),
    ("train.py", "# only here", "# for speed", set()),
    ("helper.py", "def double(x):\n", "\n\ndef double(\n    x\n):\n", set()),
    ("train.py", '"nothing to fit", "a number"', 'f"{x} cannot be fitted"', set()),
    ("train.py", "raise DataError(", "raise ValueError(", ALL | {"fit"}),
    ("train.py", 'len("nothing to fit")', 'len("nothing")', ALL | {"score"}),
    # what an imported name stands for
    ("data/__init__.py", "plain as renamed", "COUNT as renamed", ALL | {"score"}),
    ("train.py", "import numpy as np", "import torch as np", ALL | {"score"}),
    ("registry.py", "deep.tools import second", "deep.tools import first as second", ALL | {"choose"}),
    ("helper.py", "helper2.TWO", "helper2.THREE", ALL | {"fit", "by_name"}),
    ("late.py", "toycode.fast import finish_fast", "toycode.fast import unused as finish_fast", ALL | {"fit"}),
    # statements outside of definitions, wherever they are imported from
    ("deep/base.py", "class Base", "print()\nclass Base", EVERY),
    ("data/__init__.py", "from .loader", "print()\nfrom .loader", EVERY),
    ("shapes.py", "class Shape", "print()\nclass Shape", ALL),
    ("shapes.py", "class Shape", "if __name__ == '__main__':\n    print()\nclass Shape", set()),
    # what is in the package besides modules
    ("table.csv", "a,b", "a,c", {"published", "blindly"}),
])
def test_edits_of_other_kinds(package, file, old, new, changed):
    before = package.codes()
    package.edit(file, old, new)
    after = package.codes()
    assert {function for function in FUNCTIONS if after[function] != before[function]} == changed


def test_exchanged_names_change_a_fingerprint_though_the_same_definitions_are_reached(package):
    package.write("registry.py", "from toycode.deep.tools import first as a, second as b\nRULES = {1: a, 2: b}\n")
    before = package.codes()["choose"]
    package.edit("registry.py", "first as a, second as b", "first as b, second as a")
    assert package.codes()["choose"] != before


def test_definitions_can_be_moved_to_other_files_and_modules_renamed(package):
    before = package.codes()
    # double gets a file of its own, the deep modules another name, and what is in train another module.
    package.edit("helper.py", "def double(x):\n    return TWO * x\n", "")
    package.write("twice.py", "from toycode.helper2 import THREE\nfrom toycode.constants import TWO\n"
                              "def double(x):\n    return TWO * x\n")
    package.edit("train.py", "from . import helper\n", "from . import helper, twice\n")
    package.edit("train.py", "helper.double", "twice.double")
    shutil.move(package.folder / "deep", package.folder / "low")
    for file in ("train.py", "registry.py", "data/loader.py"):
        package.edit(file, "deep", "low")
    shutil.move(package.folder / "train.py", package.folder / "low" / "learn.py")
    package.edit("low/learn.py", "from .", "from ..")
    package.edit("low/learn.py", "from .. import", "from toycode import")
    after = package.codes("low.learn")
    assert {name for name in FUNCTIONS if after[name] != before[name]} == {"by_name"} | ALL  # these count modules whole


def blind_spots(package):
    """Definitions of a package that use something which can't be followed and counts whole, as module:name."""
    keys = [(name, each) for name in (package, *fingerprint._submodules(package))
            for each in (*fingerprint._module(name).defined, fingerprint.LOOSE)]
    return [":".join(key) for key in keys
            if any(use[1] in (fingerprint.MODULE, fingerprint.PACKAGE) for use in fingerprint._definition(key).uses
                   if isinstance(use, tuple))]


def test_what_cannot_be_followed_is_listed(package):
    fingerprint.forget()
    assert blind_spots("toycode") == ["toycode.train:by_name", "toycode.train:blindly",
                                                  "toycode.train:published", "toycode.train:"]


def test_packages_that_make_numbers_count_by_their_minor_version(package, monkeypatch):
    package.codes()
    function = types.SimpleNamespace(__module__="toycode.train", __qualname__="score")
    monkeypatch.setattr(provenance, "version_of", lambda name: {"numpy": "2.4.6+local"}[name])
    assert fingerprint.code_of(function)[1] == {"numpy": "2.4"}


def test_code_without_a_source_file_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "typed_in", types.ModuleType("typed_in"))
    function = types.FunctionType((lambda: 0).__code__, {"__name__": "typed_in"}, "f")
    with pytest.raises(ParameterError, match="typed_in"):
        fingerprint.code_of(function)


# Modules with definitions that find code or files by names which only a run knows, or hand on a module.
BLIND = {f"wsss_lab.lab.{name}" for name in (
    "book", "cluster", "doctor", "fingerprint", "pictures", "pool", "progress", "provenance", "registry",
    "session", "teaching")}


def test_no_step_reaches_what_cannot_be_followed():
    runs = [start(paper, "toy", 1, figures="", kind=Forecast)
            for paper in ("oh2017", "chaudhry2017", "roy2017", "araslanov2020", "lee2021")]
    functions = {step.function for run in runs for step in topological(asked_by(run))}
    assert len(functions) > 70
    for function in functions:
        whole = [key for key in fingerprint.definitions_of(function) if key[1] in ("*", "**", "")]
        assert whole == [], function
    spots = {spot.partition(":")[0] for spot in blind_spots("wsss_lab")}
    assert {spot for spot in spots if not spot.startswith("wsss_lab.papers.")} == BLIND


def test_the_choice_of_shown_images_is_followed():
    assert (choices.__name__, "spread_ranks") in fingerprint.definitions_of(oh2017_shown.refine_shown)
