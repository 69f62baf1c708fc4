"""The solutions of the notebooks' exercises, pasted below the cells that they need, in the profile quick."""

import re
import symtable
from pathlib import Path

import nbformat
import pytest
from IPython.display import display

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4).cells for path in sorted(FOLDER.glob("*.ipynb"))}
SOLUTIONS = [pytest.param(name, code, id=f"{name.split('_')[0]}-{number}")
             for name, cells in NOTEBOOKS.items() for cell in cells if cell.cell_type == "markdown"
             for number, exercise in re.findall(r"^\*\*(\d)(.*?)^</details>", cell.source, re.DOTALL | re.MULTILINE)
             for code in re.findall(r"```python\n(.*?)```", exercise, re.DOTALL)]
CHOSEN = 'profile, jobs, figures = "quick", 1, ""'  # where a notebook's parameters end


def names(source: str) -> tuple[set[str], set[str]]:
    """What a cell takes from cells above it, or from Python, and what it defines."""
    def free(table: symtable.SymbolTable) -> set[str]:
        own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced() and symbol.is_global()}
        return own.union(*map(free, table.get_children()))

    top = symtable.symtable(source, "a cell", "exec")
    defined = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    return free(top) - defined, defined


def needed(cells: list[str], source: str) -> list[int]:
    """The cells that define what a source and these cells use, and those that compute what these load, in order."""
    wanted, chosen, loads = names(source)[0], [], False
    for index, cell in reversed(list(enumerate(cells))):
        used, defined = names(cell)
        if wanted & defined or loads and "run.compute(" in cell:
            wanted, loads = (wanted - defined) | used, loads or "run.load(" in cell
            chosen.append(index)
    return chosen[::-1]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Per notebook, its code cells, what those that have run have defined, and which these are; one store for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSS_CACHE", str(tmp_path_factory.mktemp("store")))
        patch.setenv("WSSS_PROGRESS", "plain")
        patch.setenv("WSSS_DEVICE", "cpu")
        patch.chdir(FOLDER)
        yield {name: ([f"{cell.source}\n{CHOSEN}" if "parameters" in cell.metadata.get("tags", ()) else cell.source
                       for cell in cells if cell.cell_type == "code"], {"__name__": name, "display": display}, set())
               for name, cells in NOTEBOOKS.items()}


def test_every_exercise_with_a_solution_in_python_is_tried():
    fences = sum(cell.source.count("```python") for cells in NOTEBOOKS.values() for cell in cells
                 if cell.cell_type == "markdown" and "## Exercises" in cell.source)
    assert len(SOLUTIONS) == fences == 19
    assert {f"{paper}-{number}" for paper in range(1, 6) for number in (1, 2, 3)} <= {each.id for each in SOLUTIONS}


@pytest.mark.parametrize(("name", "solution"), SOLUTIONS)
def test_a_solution_runs_as_it_is_pasted(opened, name, solution):
    cells, defined, ran = opened[name]
    for index in needed(cells, solution):
        if index not in ran:
            exec(compile(cells[index], f"{name}, code cell {index}", "exec"), defined)
            ran.add(index)
    found = dict(defined)
    exec(compile(solution, f"{name}, solution", "exec"), found)
    steps = found.get("steps", {})
    compared = list(steps.values()) if isinstance(steps, dict) else steps
    assert len(set(compared)) == len(compared), "two of the steps that it compares are the same"
