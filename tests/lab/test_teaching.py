"""Source shown to readers: docstrings go, everything else stays."""

import ast
import importlib
import inspect
import re

import nbformat
import pytest

from wsss_lab.lab.notebooks import project_folder
from wsss_lab.lab.teaching import reveal, say, show_source, source_without_docstrings
from wsss_lab.seeds.cam import seed_labels


def area(width, height):
    """Area of a rectangle.

    width, height: in pixels
    """
    return width * height  # always >= 0


class Counter:
    """Counts."""

    #: where it starts
    start = 0

    def next(self, value):
        """The number after value."""
        text = """not a docstring"""
        return value + len(text)


def silent():
    """Nothing but this."""


def test_functions_classes_and_methods_lose_their_docstrings_and_keep_their_comments():
    assert source_without_docstrings(area) == (
        "def area(width, height):\n    return width * height  # always >= 0")
    source = source_without_docstrings(Counter)
    assert source.splitlines()[:3] == ["class Counter:", "    #: where it starts", "    start = 0"]
    assert "The number after" not in source and '"""not a docstring"""' in source
    assert source_without_docstrings(Counter.next).startswith("def next(self, value):\n    text =")
    compile(source_without_docstrings(silent), "silent", "exec")  # a body that is only a docstring keeps it


def test_source_is_a_code_block_that_names_its_files():
    text = show_source(seed_labels, area).data
    assert text.startswith("```python\n# wsss_lab/seeds/cam.py\ndef seed_labels(")
    assert "def area(" in text and text.endswith("\n```")
    with pytest.raises(TypeError):
        show_source(3)


def test_prose_loses_its_indentation_and_an_answer_is_closed_with_its_markdown_outside_of_the_tag():
    assert say("""
        one **two**
        three
    """).data == "one **two**\nthree"
    text = reveal("""
        The answer is *4*.
    """, "How many?").data
    assert text == "<details><summary><b>How many?</b></summary>\n\nThe answer is *4*.\n\n</details>"


# --- the package's code in a cell, for readers to change --------------------------------------------------------------

NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4).cells
             for path in sorted((project_folder() / "notebooks").glob("*.ipynb"))}
CHANGED = re.compile(r"# (wsss_lab/\S+)\.py, to be changed\n")


class Bare(ast.NodeTransformer):
    """What a function does, without its docstring, annotations, defaults and refusals of bad input."""

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        if ast.get_docstring(node):
            del node.body[0]
        node.returns, node.decorator_list, node.args.defaults = None, [], []
        return node

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_If(self, node):
        return None if all(isinstance(each, ast.Raise) for each in node.body) else self.generic_visit(node)

    def visit_For(self, node):
        self.generic_visit(node)
        return node if node.body else None


def bare(source):
    return ast.dump(Bare().visit(ast.parse(source).body[0]))


SHOWN = [pytest.param(cell.source, module, id=f"{name[0]}: {module.rsplit('/')[-1]}")
         for name, cells in NOTEBOOKS.items() for cell in cells if cell.cell_type == "code"
         for module in CHANGED.findall(cell.source)]


@pytest.mark.parametrize(("source", "module"), SHOWN)
def test_a_cell_for_readers_to_change_holds_what_the_package_does(source, module):
    node = ast.parse(source).body[0]
    members = vars(importlib.import_module(module.replace("/", "."))).values()
    (original,) = {each for kept in members for each in [kept, *(vars(kept).values() if inspect.isclass(kept) else ())]
                   if inspect.isfunction(each) and each.__name__ == node.name
                   and each.__module__ == module.replace("/", ".")}
    assert bare(ast.unparse(node)) == bare(source_without_docstrings(original))


def test_each_paper_has_a_cell_to_change_a_recap_exercises_and_links_to_what_it_refers_to():
    for name, cells in NOTEBOOKS.items():
        code, text = ("\n".join(cell.source for cell in cells if cell.cell_type == kind)
                      for kind in ("code", "markdown"))
        if name[0] in "012345":
            assert CHANGED.search(code) and "## Recap" in text and "## Exercises" in text, name
            assert text.split("References")[-1].count("](https://") >= 4, name


def test_a_changed_line_is_told_from_the_package():
    checked = "def f(a, b=1):\n    if a:\n        raise ValueError\n    return a + b"
    assert bare(checked) == bare("def f(a, b):\n    return a + b")
    assert bare("def f(a):\n    return a >= 1") != bare("def f(a):\n    return a > 1")
