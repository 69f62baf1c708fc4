"""Charts of measured numbers."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from wsss_lab.errors import ParameterError
from wsss_lab.lab.charts import (
    class_heatmap,
    compare,
    grouped_bars,
    learning_curves,
    line_style,
    moving_mean,
    training_curve,
)

ROWS = ["seeds only", "G0", "released G2"]


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_moving_mean_agrees_with_a_loop_and_is_the_mean_over_more_than_there_is():
    values = np.random.default_rng(0).random(17)
    expected = [values[max(0, i - 2):i + 3].mean() for i in range(17)]
    np.testing.assert_allclose(moving_mean(values, 4), expected)
    assert moving_mean([1, 2, 3], 100).tolist() == [2, 2, 2]


def test_learning_curves_have_a_raw_and_a_labelled_smooth_line_per_run_and_no_two_styles_are_alike():
    (axes,) = learning_curves({"LowRes": [1.0, 0.5, 0.2], "HighRes": [0.9, 0.4]}).axes
    assert len(axes.lines) == 4
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["LowRes", "HighRes"]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1, 2, 3])
    assert len({tuple(line_style(index).items()) for index in range(28)}) == 28


def test_compare_says_what_the_points_are():
    def legend(**arguments):
        (box,) = compare(["G0"], [45.8], [36.0], **arguments).legends
        return [text.get_text() for text in box.get_texts()]

    assert legend() == ["paper: VOC 2012 val", "ours: toyvoc val"]
    assert legend(intervals=[(35, 37)], our_label="ours: photos")[1] == "ours: photos, 95 % interval"


def test_charts_refuse_values_that_do_not_fit_their_rows_or_groups():
    with pytest.raises(ParameterError, match="ours has 2 values for 3 rows"):
        compare(ROWS, [1, 2, 3], [1, 2])
    with pytest.raises(ParameterError, match="S1 has 1 values for 2 groups"):
        grouped_bars(["largest", "second"], {"S1": [(1, 0, 2)]}, "recall (%)")


def test_a_training_curve_is_the_mean_over_seeds_and_ends_with_the_training():
    axes = Figure().add_subplot()
    training_curve(axes, np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]), "late", 1, total=60, linestyle=":")
    raw, smooth = axes.lines
    assert raw.get_xdata().tolist() == smooth.get_xdata().tolist() == [58, 59, 60]
    assert raw.get_ydata().tolist() == [2, 3, 4] and smooth.get_ydata().tolist() == [2.5, 3, 3.5]
    assert smooth.get_label() == "late" and smooth.get_linestyle() == ":"
    assert raw.get_color() == smooth.get_color() == line_style(1)["color"]


def test_compare_puts_both_values_in_the_row_of_their_name():
    figure = compare(ROWS, [38.7, 45.8, None], [30.0, 36.25, 41.0], [(28, 32), (35, 37), (np.nan, np.nan)])
    (axes,) = figure.axes
    paper, ours = axes.lines
    assert [label.get_text() for label in axes.get_yticklabels()] == ROWS
    np.testing.assert_array_equal(paper.get_xdata(), [38.7, 45.8, np.nan])
    np.testing.assert_array_equal(ours.get_xdata(), [30.0, 36.25, 41.0])
    assert np.all(np.round(paper.get_ydata()) == [0, 1, 2]) and np.all(np.round(ours.get_ydata()) == [0, 1, 2])
    spans = [path.vertices[:, 0].tolist() for path in axes.collections[0].get_paths()]
    assert spans[:2] == [[28, 32], [35, 37]] and np.isnan(spans[2]).all()
    assert texts(axes) == ["paper", "38.7", "45.8", "–", "ours", "30.0", "36.2", "41.0"]


def test_a_class_heatmap_writes_every_number():
    values = pd.DataFrame({"background": [80.0, 90.0], "dog": [12.0, np.nan]}, index=["seeds", "G2"])
    axes = class_heatmap(values).axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["12", "80", "90"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["seeds", "G2"]


def test_bars_stand_side_by_side_with_their_numbers_and_intervals():
    series = {"S1": [(75, 70, 80), (56, 50, 61)], "S2": [(84, np.nan, np.nan), (np.nan, np.nan, np.nan)]}
    (axes,) = grouped_bars(["largest", "second"], series, "recall (%)").axes
    bars = [[bar for bar in container] for container in axes.containers]
    np.testing.assert_array_equal([bar.get_height() for bar in bars[0]], [75, 56])
    assert bars[0][0].get_x() + bars[0][0].get_width() <= bars[1][0].get_x()
    assert bars[1][0].get_x() + bars[1][0].get_width() < bars[0][1].get_x()
    (low, high), _ = [path.vertices[:, 1].tolist() for path in axes.collections[0].get_paths()]
    assert (low, high) == (70, 80)
    heights = dict(zip(texts(axes), [text.xy[1] for text in axes.texts]))
    assert heights == {"75": 80, "56": 61, "84": 84, "–": 0}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["S1", "S2"]
