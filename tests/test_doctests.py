"""The examples in docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

import wsss_lab

PACKAGE = Path(wsss_lab.__file__).parent
MODULES = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
           for path in sorted(PACKAGE.rglob("*.py")) if ">>>" in path.read_text()]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0 and found.failed == 0
