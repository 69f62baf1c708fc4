"""Tables as text."""

import numpy as np
import pandas as pd
import pytest

from wsss_lab.errors import ParameterError
from wsss_lab.lab import tables


def frame():
    return pd.DataFrame({
        "method": ["G2 | ours", "SEC [25]", "seeds*"],
        "paper": [51.2, 50.7, np.nan],
        "recall": [59, 60.0, 37.04],
        "crf": [True, False, None],
        "source": ["measured", "quoted", "measured"],
    })


def test_markdown_is_aligned_and_marks_quoted_rows():
    assert tables.to_markdown(frame()) == (
        "| method     |  paper | recall | crf  | source   |\n"
        "| ---------- | -----: | -----: | ---- | -------- |\n"
        "| G2 \\| ours |   51.2 |     59 | yes  | measured |\n"
        "| *SEC [25]* | *50.7* |   *60* | *no* | *quoted* |\n"
        "| seeds\\*    |      – |     37 | –    | measured |\n"
    )


def test_a_column_shows_the_decimals_its_values_need_up_to_the_limit():
    numbers = pd.DataFrame({"a": [1.0, 2.0], "b": [0.25, 0.5], "c": [-0.04, 1 / 3], "d": [1e-9, np.inf]})
    text = tables.as_text(numbers, decimals={"b": 3})
    assert text["a"].tolist() == ["1", "2"]
    assert text["b"].tolist() == ["0.25", "0.50"]
    assert text["c"].tolist() == ["0.0", "0.3"]
    assert text["d"].tolist() == ["0", "inf"]


def test_csv_is_rounded_and_does_not_depend_on_the_last_bits():
    one = pd.DataFrame({"x": [0.1 + 0.2, -1e-9, 12.0], "n": [1, 2, 3], "mixed": [1 / 3, "a", None]})
    other = pd.DataFrame({"x": [0.3, 0.0, 12.0], "n": [1, 2, 3], "mixed": [0.3333333, "a", None]})
    assert tables.to_csv(one) == tables.to_csv(other) == "x,n,mixed\n0.3,1,0.3333\n0.0,2,a\n12.0,3,\n"


def test_a_named_index_becomes_a_column_a_counting_one_does_not_and_repeated_ones_are_refused():
    named = pd.DataFrame({"x": [1]}, index=pd.Index(["G2"], name="method"))
    assert tables.flat(named).columns.tolist() == ["method", "x"]
    assert tables.flat(pd.DataFrame({"x": [1, 2]}).iloc[1:]).columns.tolist() == ["x"]
    with pytest.raises(ParameterError, match="x"):
        tables.flat(pd.DataFrame([[1, 2]], columns=["x", "x"]))


def test_text_is_put_on_one_line():
    assert "| a b " in tables.to_markdown(pd.DataFrame({"t": ["a\n b"]}))
