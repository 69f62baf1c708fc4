"""What tests read in tables: single lines, scores, intervals."""

import numpy as np
import pandas as pd
import pytest

from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.lab.tables import numeric_columns, to_csv
from wsss_lab.measure.tables import Table


def mean_score(confusions: np.ndarray) -> float:
    """Mean over seeds of the mean IoU in per cent. confusions: (S, N, K, K + 1)."""
    return 100 * mean_iou(confusions.sum(1)).mean()


def line(frame: pd.DataFrame, **wanted) -> pd.Series:
    """The only row with these cells."""
    (place,) = np.flatnonzero((frame[list(wanted)] == list(wanted.values())).all(axis=1))
    return frame.iloc[place]


def assert_cells(cells: pd.Series, expected: dict) -> None:
    """A row shows these cells: numbers to rounding, None for none."""
    for column, value in expected.items():
        found = cells[column]
        right = (found is None or np.isnan(found)) if value is None else (
            found == (value if isinstance(value, str) else pytest.approx(value)))
        assert right, f"{dict(cells)}: {column} is {found} instead of {value}"


def assert_in_intervals(values: pd.Series, intervals: pd.Series) -> None:
    """Each value lies in its interval, which is printed with one decimal, "[45.1, 47.3] %" or " pp"."""
    for value, text in zip(values, intervals):
        low, high = (float(part) for part in text.strip("[] %p").split(", "))
        assert low < high and low - 0.06 <= value <= high + 0.06, text


def assert_sound(table: Table, *words: str, mixed: bool = False) -> None:
    """A title, a protocol with these words, numbers in columns of their own (but for the paper's, where mixed) that lie
    in their intervals."""
    frame = table.frame
    assert frame.columns.is_unique and "nan" not in to_csv(frame)
    assert 20 < len(table.title) < 80 and not table.title.endswith(".") and table.protocol.endswith(".")
    assert [each for each in words if each not in table.protocol] == []
    for column in frame.columns:
        if column.endswith(" ours") or (column.endswith(" paper") and not mixed):
            assert column in numeric_columns(frame) or frame[column].isna().all(), column
        if column.endswith("95 %"):
            ours = next((each for each in (column.replace("95 %", "ours"), column[:-5], "mean ours") if each in frame),
                        None)
            known = frame[[ours, column]].dropna() if ours else frame[:0]
            assert_in_intervals(known[ours] if ours else [], known[column])
