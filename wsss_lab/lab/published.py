"""What the papers print: their tables, the claims they make, the tables and figures they hold.

The numbers are facts copied from the papers as printed, slips included; mismatches() lists the slips.
"""

from typing import TYPE_CHECKING

from wsss_lab.errors import ParameterError
from wsss_lab.lab.provenance import PACKAGE_FOLDER

if TYPE_CHECKING:
    import pandas as pd

FOLDER = PACKAGE_FOLDER / "published"

def papers() -> tuple[str, ...]:
    """Names of the papers, in the order in which they are taught."""
    return tuple(_read("artifacts")["paper"].unique())


def published(paper: str, name: str) -> "pd.DataFrame":
    """A table of printed numbers, one row per printed row, percentages as printed. paper: for instance "oh2017". name:
    for instance "table2" or "text_values". Raises ParameterError, listing what exists, for an unknown paper or name."""
    names = sorted(path.stem for path in (FOLDER / _known(paper)).glob("*.csv"))
    if name not in names:
        raise ParameterError(f"{paper} has no published numbers {name!r}", f"one of: {', '.join(names)}")
    return _read(f"{paper}/{name}")


def claims(paper: str = "") -> "pd.DataFrame":
    """The testable claims of a paper, or of all: claim_id, statement, published_values, reproduced_if, ..."""
    return _of(paper, "claims")


def artifact_list(paper: str = "") -> "pd.DataFrame":
    """The tables and figures of a paper, or of all: id, kind, title, what it shows, ..."""
    return _of(paper, "artifacts")


def mismatches(paper: str = "") -> "pd.DataFrame":
    """Where a paper, or any, contradicts itself in print: artifact, kind, detail and what was decided."""
    return _of(paper, "mismatches")


def main_rows() -> "pd.DataFrame":
    """The rows of the papers' tables that say most: paper, name, table, where ("column=value", separated by ";"), and
    column, whose printed value, ours and our interval are the table's "<column> paper", "<column> ours" and so on."""
    return _read("main_rows")


def _of(paper: str, name: str) -> "pd.DataFrame":
    table = _read(name)
    return table[table["paper"] == _known(paper)].reset_index(drop=True) if paper else table


def _known(paper: str) -> str:
    if paper not in papers():
        raise ParameterError(f"paper {paper!r} is not known", f"one of: {', '.join(papers())}")
    return paper


def _read(name: str) -> "pd.DataFrame":
    import pandas as pd

    # The word "None" isn't a missing value.
    return pd.read_csv(FOLDER / f"{name}.csv", keep_default_na=False, na_values=[""])
