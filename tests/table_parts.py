"""What tests read in tables: single lines, scores, intervals."""

import numpy as np
import pandas as pd

from wsss_lab.evaluation.confusion import mean_iou


def mean_score(confusions: np.ndarray) -> float:
    """Mean over seeds of the mean IoU in per cent. confusions: (S, N, K, K + 1)."""
    return 100 * mean_iou(confusions.sum(1)).mean()


def line(frame: pd.DataFrame, **wanted) -> pd.Series:
    """The only row with these cells."""
    (place,) = np.flatnonzero((frame[list(wanted)] == list(wanted.values())).all(axis=1))
    return frame.iloc[place]


def assert_in_intervals(values: pd.Series, intervals: pd.Series) -> None:
    """Each value lies in its interval, which is printed with one decimal, "[45.1, 47.3] %" or " pp"."""
    for value, text in zip(values, intervals):
        low, high = (float(part) for part in text.strip("[] %p").split(", "))
        assert low < high and low - 0.05 <= value <= high + 0.05, text
