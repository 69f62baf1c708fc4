"""What the notebooks use to talk to a reader: the package's source, numbers in prose, answers that stay closed."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from wsss_lab.lab.plots import Drawn, Panel, grid
from wsss_lab.lab.progress import chosen_style

if TYPE_CHECKING:
    from IPython.display import Markdown


def show_source(*objects: Callable | type) -> "Markdown":
    """The source of functions or classes of the package as a code block, without their docstrings.

    What a reader sees is what runs: a notebook shows an equation's code this way instead of repeating it.
    Raises TypeError for an object without source, such as a module's constant.
    """
    from IPython.display import Markdown

    parts = []
    for item in objects:
        source = source_without_docstrings(item)
        parts.append(f"# {inspect.getmodule(item).__name__.replace('.', '/')}.py\n{source}")
    return Markdown("```python\n" + "\n\n".join(parts) + "\n```")


def source_without_docstrings(item: Callable | type) -> str:
    """Source of a function or class, dedented, comments kept, docstrings of it and of its methods left out."""
    lines = textwrap.dedent(inspect.getsource(item)).splitlines()
    dropped = set()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and len(node.body) > 1 and ast.get_docstring(node):
            docstring = node.body[0]
            dropped.update(range(docstring.lineno, docstring.end_lineno + 1))
            if not lines[docstring.end_lineno].strip():
                dropped.add(docstring.end_lineno + 1)
    return "\n".join(line for number, line in enumerate(lines, start=1) if number not in dropped)


def say(text: str) -> "Markdown":
    """A paragraph whose numbers come from the run: an f-string, shown as Markdown; its indentation is removed."""
    from IPython.display import Markdown

    return Markdown(textwrap.dedent(text).strip())


def reveal(text: str, title: str = "Answer") -> "Markdown":
    """An answer with numbers from the run, closed until the reader opens it."""
    return say(f"<details><summary><b>{title}</b></summary>\n\n{textwrap.dedent(text).strip()}\n\n</details>")


def turn(panel: Callable[[Any], Panel], name: str, values: Sequence[Any], classes: Sequence[str] = ()) -> Drawn:
    """A picture for each value of a setting, side by side; above them, where ipywidgets is and somebody watches, a
    slider with a large one. panel: from a value to its picture. classes: names of the labels in it."""
    stills = grid([[replace(panel(value), title=f"{name} = {value}") for value in values]], classes=classes, size=1.8)
    if find_spec("ipywidgets") and chosen_style() == "bar":
        from IPython.display import display
        from ipywidgets import SelectionSlider, interact

        def show(value: Any) -> None:
            display(Drawn(grid([[panel(value)]], classes=classes, size=4), name, f"{name} = {value}"))

        interact(show, value=SelectionSlider(options=values, description=name, continuous_update=False))
    return Drawn(stills, name, f"The same image at {name} = {', '.join(map(str, values))}.")
