"""Tables as text: the same rounding, dashes and marks in Markdown, in the notebook and in the gallery."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wsss_lab.errors import ParameterError
from wsss_lab.lab.escape import in_markdown

if TYPE_CHECKING:
    import pandas as pd

NOTHING = "–"
SOURCE, QUOTED = "source", "quoted"
CSV_DECIMALS = 4


def flat(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The frame with its index, if that has a name, as columns. Raises ParameterError for repeated columns."""
    frame = frame.reset_index(drop=frame.index.names == [None])
    repeated = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
    if repeated:
        raise ParameterError(f"repeated table columns: {', '.join(repeated)}", "columns with different names")
    return frame


def quoted_rows(frame: "pd.DataFrame") -> np.ndarray:
    """Which rows are quoted from a paper rather than measured here: those whose source says so. (rows,) bool."""
    if SOURCE not in frame.columns:
        return np.zeros(len(frame), dtype=bool)
    return (frame[SOURCE] == QUOTED).to_numpy(dtype=bool, na_value=False)


def to_csv(frame: "pd.DataFrame") -> str:
    """The frame as CSV, numbers rounded to 4 decimals, so that equal results give equal bytes."""
    rounded = frame.astype(object).map(_rounded)
    return rounded.to_csv(index=False, lineterminator="\n")


def as_text(frame: "pd.DataFrame", decimals: int | Mapping[str, int] = 1) -> "pd.DataFrame":
    """The frame as a person reads it: all cells text.

    decimals: at most so many, for all columns or by column (1 for those not named). A column gets as many as its
        values need.
    """
    import pandas as pd

    limits = decimals if isinstance(decimals, Mapping) else dict.fromkeys(frame.columns, decimals)
    columns = {}
    for name in frame.columns:
        places = _places(frame[name], limits.get(name, 1))
        columns[str(name)] = [_text(value, places) for value in frame[name]]
    return pd.DataFrame(columns, dtype=object)


def numeric_columns(frame: "pd.DataFrame") -> list[str]:
    """Columns that hold numbers and nothing else, apart from missing values."""
    return [
        str(name)
        for name in frame.columns
        if frame[name].notna().any() and all(_is_number(value) for value in frame[name].dropna())
    ]


def to_markdown(frame: "pd.DataFrame", decimals: int | Mapping[str, int] = 1) -> str:
    """The frame as a Markdown table with aligned pipes, numbers to the right, quoted rows in italics."""
    text = as_text(frame, decimals).map(in_markdown)
    for row in np.flatnonzero(quoted_rows(frame)):
        text.iloc[row] = [f"*{cell}*" if cell != NOTHING else cell for cell in text.iloc[row]]
    right = set(numeric_columns(frame))
    heads = [in_markdown(name) for name in text.columns]
    lines = [heads, *text.to_numpy().tolist()]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(heads))]
    aligned = [[_padded(cell, width, name in right) for cell, width, name in zip(line, widths, text.columns)]
               for line in lines]
    rule = ["-" * (width - 1) + (":" if name in right else "-") for width, name in zip(widths, text.columns)]
    aligned.insert(1, rule)
    return "".join(f"| {' | '.join(line)} |\n" for line in aligned)


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return value is None or (np.isscalar(value) and bool(pd.isna(value))) or value is pd.NA


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, (bool, np.bool_))


def _rounded(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return round(float(value), CSV_DECIMALS) + 0.0  # + 0.0 turns -0.0 into 0.0
    return value


def _places(column: "pd.Series", limit: int) -> int:
    """Decimals, at most limit, without which some number of the column would look different."""
    numbers = [float(value) for value in column if _is_number(value) and np.isfinite(value)]
    return next(
        (places for places in range(limit) if all(round(x, limit) == round(x, places) for x in numbers)), limit
    )


def _text(value: Any, places: int) -> str:
    if _is_missing(value):
        return NOTHING
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return f"{round(float(value), places) + 0.0:.{places}f}"
    return str(value)


def _padded(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)
