"""Tables as lines and columns: a line is a row as printed in the paper, a column says what to show of it.

    table(run, run.published("table2"), {
        "method": "method",                            a printed column
        "mIoU paper": "val_miou_pct",
        **measured("mIoU", lambda line: miou(ROW_OF[line["method"]])),    our figure, and its 95 % interval
    }, "Guide labellers")

What must be computed, and the intervals, follow from the quantities (wsss_lab.measure.quantities).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from wsss_lab.lab.profiles import unknown_name
from wsss_lab.measure.quantities import Best, NotMeasured, Quantity

if TYPE_CHECKING:
    from wsss_lab.lab.session import Session

NOT_RUN, REFERENCE = "not run in this profile", "reference"

#: What a column shows of a line: the name of a printed column, or a function to a plain value or to a quantity, of
#: which the figure is shown. A cell stays empty for None and for what isn't measured.
Column = str | Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Table:
    """A table ready to be saved: what `Session.save` takes. decimals: at most so many are shown, by column or for all;
    the exported CSV keeps more."""

    frame: pd.DataFrame
    title: str
    protocol: str
    decimals: int | Mapping[str, int] = 1


def table(run: "Session", lines: pd.DataFrame | Iterable[Mapping[str, Any]], columns: Mapping[str, Column], title: str,
          protocol: str = "", decimals: int | Mapping[str, int] = 1) -> Table:
    """A table with a row for each line. columns: heading -> what is shown. Raises ParameterError for a printed column
    that no line has."""
    lines = lines.to_dict("records") if isinstance(lines, pd.DataFrame) else list(lines)
    known = {name for line in lines for name in line}
    for column in columns.values():
        if isinstance(column, str) and known and column not in known:
            raise unknown_name("printed column", column, sorted(known))
    rows = [{heading: _cell(run, line, column) for heading, column in columns.items()} for line in lines]
    return Table(pd.DataFrame(rows, columns=list(columns)), title, protocol, decimals)


def measured(name: str, of: Callable[[Mapping[str, Any]], Any], interval: str = "{} 95 %", ours: str = "{} ours",
             unmeasured: str | None = NOT_RUN) -> dict[str, Column]:
    """Two columns: our figure, and its interval or why there is none. of: from a line to a quantity, to None where the
    line has none, or to a word in the place of its interval: REFERENCE for what others are compared with, or why there
    is no figure."""
    return {ours.format(name): lambda line: None if isinstance(of(line), str) else of(line),
            interval.format(name): ends(of, unmeasured)}


def ends(of: Callable[[Mapping[str, Any]], Any], unmeasured: str | None = NOT_RUN) -> Column:
    """A column with the 95 % interval of a line's quantity, or why there is none."""
    return _Ends(of, unmeasured)


@dataclass(frozen=True)
class _Ends:
    of: Callable[[Mapping[str, Any]], Any]
    unmeasured: str | None


def _cell(run: "Session", line: Mapping[str, Any], column: Column | _Ends) -> Any:
    if isinstance(column, str):
        return line.get(column)
    of = column.of if isinstance(column, _Ends) else column
    try:
        found = of(line)
        if not isinstance(found, Quantity | Best):
            return found
        quantity = found.resolve(run.results)
        return quantity.interval(run.results).ends if isinstance(column, _Ends) else quantity.value(run.results)
    except NotMeasured:
        return column.unmeasured if isinstance(column, _Ends) else None
