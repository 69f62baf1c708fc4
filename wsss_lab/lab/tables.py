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
    rounded = frame.astype(object).map(lambda value: round(float(value), CSV_DECIMALS) + 0.0 if _is_float(value)
                                       else value)  # + 0.0 turns -0.0 into 0.0
    return rounded.to_csv(index=False, lineterminator="\n")


def as_text(frame: "pd.DataFrame", decimals: int | Mapping[str, int] = 1) -> "pd.DataFrame":
    """The frame as a person reads it: all cells text.

    decimals: at most so many, for all columns or by column (1 for those not named). A column gets as many as its
        values need.
    """
    import pandas as pd

    limits = decimals if isinstance(decimals, Mapping) else dict.fromkeys(frame.columns, decimals)
    places = {name: _places(frame[name], limits.get(name, 1)) for name in frame.columns}
    return pd.DataFrame({str(name): [_text(value, places[name]) for value in frame[name]] for name in frame.columns},
                        dtype=object)


def numeric_columns(frame: "pd.DataFrame") -> list[str]:
    """Columns that hold numbers and nothing else, apart from missing values."""
    return [str(name) for name in frame.columns
            if frame[name].notna().any() and all(map(_is_number, frame[name].dropna()))]


def to_markdown(frame: "pd.DataFrame", decimals: int | Mapping[str, int] = 1) -> str:
    """The frame as a Markdown table with aligned pipes, numbers to the right, quoted rows in italics."""
    text = as_text(frame, decimals).map(in_markdown)
    for row in np.flatnonzero(quoted_rows(frame)):
        text.iloc[row] = [f"*{cell}*" if cell != NOTHING else cell for cell in text.iloc[row]]
    right = set(numeric_columns(frame))
    columns = []
    for name in text.columns:
        cells = [in_markdown(name), *text[name]]
        width = max(3, *map(len, cells))
        head, *cells = (cell.rjust(width) if name in right else cell.ljust(width) for cell in cells)
        columns.append([head, "-" * (width - 1) + (":" if name in right else "-"), *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in zip(*columns))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) or _is_float(value)


def _is_float(value: Any) -> bool:
    return isinstance(value, (float, np.floating))


def _places(column: "pd.Series", limit: int) -> int:
    """Decimals, at most limit, without which some number of the column would look different."""
    numbers = [float(value) for value in column if _is_number(value) and np.isfinite(value)]
    fitting = (places for places in range(limit) if all(round(x, limit) == round(x, places) for x in numbers))
    return next(fitting, limit)


def _text(value: Any, places: int) -> str:
    import pandas as pd

    if value is None or value is pd.NA or np.isscalar(value) and pd.isna(value):
        return NOTHING
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return f"{round(float(value), places) + 0.0:.{places}f}" if _is_float(value) else str(value)
