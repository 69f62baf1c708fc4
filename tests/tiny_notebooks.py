"""Notebooks of a few cells, for tests of what runs notebooks."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = """\
profile: str = "toy"  # how much work
seeds: int = 1
world_seed: int = 0
device: str = "auto"
jobs: int = 0
figures: str = "figures"
tau: float = 0.2  # threshold of the seeds
"""


def write_notebook(path: Path, *cells: str, parameters: tuple[str, ...] = (PARAMETERS,)) -> Path:
    """A notebook with cells tagged `parameters`, then the given cells: markdown if they start with #."""
    tagged = [new_code_cell(source, metadata={"tags": ["parameters"]}) for source in parameters]
    others = [new_markdown_cell(cell) if cell.startswith("# ") else new_code_cell(cell) for cell in cells]
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=tagged + others, metadata=kernel), path)
    return path
