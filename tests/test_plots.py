"""Grids of pictures and block diagrams."""

import cv2
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from wsss_lab.lab.plots import BACKGROUND, IGNORE, Drawn, Panel, class_colours, colour_mask, draw, flow, grid

CLASSES = ("cat", "dog", "bird")


def image(height=8, width=8) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def mask(*labels) -> np.ndarray:
    return np.resize(np.array(labels, np.uint8), (8, 8))


def legend(figure) -> list[str]:
    """The words of the legend, in no particular order."""
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def reading_order(figure) -> tuple[list[str], int]:
    """The legend's words line by line, and the number of lines."""
    FigureCanvasAgg(figure).draw()
    texts = figure.legends[0].get_texts()
    places = {text.get_text(): text.get_window_extent() for text in texts}
    order = sorted(places, key=lambda word: (-round(places[word].y0), places[word].x0))
    return order, len({round(place.y0) for place in places.values()})


def pictures(figure) -> list:
    return [axes for axes in figure.axes if axes.get_label() != "scale of maps"]


def corners(axes) -> np.ndarray:
    return axes.get_position().get_points()


@pytest.mark.parametrize("classes", [8, 21])
def test_every_class_has_a_colour_of_its_own(classes):
    colours = class_colours(classes)
    assert colours.shape == (classes + 1, 3) and colours.min() >= 0 and colours.max() <= 1
    lab = cv2.cvtColor(np.float32(np.vstack([colours, (1, 1, 1)]))[None], cv2.COLOR_RGB2LAB)[0]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    assert distances[np.triu_indices(len(lab), 1)].min() > 12  # a difference of 2 can just be seen
    assert distances[0, 1:].min() > 30


def test_masks_take_the_colours_of_their_labels_and_void_is_white():
    coloured = colour_mask(np.array([[0, 2, IGNORE]]), 3)
    np.testing.assert_allclose(coloured[0], [to_rgb(BACKGROUND), class_colours(3)[2], (1, 1, 1)])


def test_pictures_stand_in_rows_and_columns_in_the_shape_of_most_images_and_a_gap_stays_empty():
    figure = grid([[Panel(image(6, 9), title="a")] * 3] * 2, ["x", "y", "z"], ["one", "two"])
    places = np.array([corners(axes) for axes in figure.axes]).reshape(2, 3, 2, 2)
    assert np.all(places[:, 1:, 0, 0] > places[:, :-1, 1, 0])  # next column right of this one
    assert np.all(places[1, :, 1, 1] < places[0, :, 0, 1])  # second row below the first
    assert places.min() >= 0 and places.max() <= 1
    figure = grid([[Panel(image(6, 9)), Panel(image(6, 9))], [Panel(image(9, 6)), None]])
    width, height = figure.axes[0].get_position().size * figure.get_size_inches()
    assert height / width == pytest.approx(6 / 9) and len(pictures(figure)) == 3


def test_the_legend_names_the_labels_that_occur_line_by_line_and_maps_get_a_scale():
    figure = grid([[Panel(mask(0, 3), "mask"), Panel(mask(IGNORE, 1), "mask"), Panel(image())]], classes=CLASSES)
    assert sorted(legend(figure)) == ["background", "bird", "cat", "void / ignore"]
    names = [f"a rather long class name {number}" for number in range(4)]
    assert reading_order(grid([[Panel(mask(1, 2, 3, 4), "mask")]], classes=names, size=4.2)) == (names, 2)
    with_map, plain = grid([[Panel(np.zeros((4, 4)), "heat")]]), grid([[Panel(image())]])
    assert [axes.get_label() for axes in with_map.axes].count("scale of maps") == 1
    assert len(plain.axes) == 1 and not plain.legends


def drawn(panel: Panel):
    axes = Figure().subplots()
    draw(axes, panel, len(CLASSES))
    return axes


def test_a_box_covers_the_pixels_inside_it_and_a_text_panel_shows_its_words():
    rectangle = drawn(Panel(image(), box=(2, 3, 6, 8))).patches[-1]
    assert (*rectangle.get_xy(), rectangle.get_width(), rectangle.get_height()) == (1.5, 2.5, 4, 5)
    axes = drawn(Panel("person\nbicycle", "text"))
    assert [text.get_text() for text in axes.texts] == ["person\nbicycle"] and not axes.images


def test_an_outline_runs_between_inside_and_outside_and_of_everything_or_nothing_draws_nothing():
    region = np.zeros((8, 8), bool)
    region[:, 4:] = True
    (line,) = drawn(Panel(np.zeros((8, 8)), "heat", outline=region)).collections[0].get_paths()
    assert np.all(line.vertices[:, 0] == 3.5)
    for whole in (np.zeros((4, 4), bool), np.ones((4, 4), bool)):
        assert not drawn(Panel(np.zeros((4, 4)), "heat", outline=whole)).collections


@pytest.mark.parametrize("kind", ["mask", "heat"])
def test_an_image_shows_through_what_is_drawn_over_it_and_only_then(kind):
    data = np.zeros((4, 4), dtype=np.uint8)
    below, above = drawn(Panel(data, kind, under=image())).images
    assert (below.get_array() == 90).all() and 0.4 < above.get_alpha() < 0.8
    (alone,) = drawn(Panel(data, kind)).images
    assert alone.get_alpha() == 1


def test_a_notebook_shows_a_drawn_figure_with_its_alt_text():
    shown = Drawn(grid([[Panel(image())]]), "Grey", "a grey square")._repr_html_()
    assert shown.startswith('<img src="data:image/png;base64,') and 'alt="a grey square"' in shown


def test_headings_stand_above_their_columns_and_names_beside_their_rows():
    rows = [[Panel(image(9, 3)), Panel(image())], [Panel(image()), Panel(image())]]
    figure = grid(rows, ["first", "second"], ["a", "b"])
    places = {text.get_text(): text.get_position() for text in figure.texts}
    boxes = np.array([corners(axes) for axes in figure.axes]).reshape(2, 2, 2, 2)
    middles = boxes.mean(2)
    assert (places["first"][0], places["second"][0]) == pytest.approx(tuple(middles[0, :, 0]))
    assert (places["a"][1], places["b"][1]) == pytest.approx(tuple(middles[:, 0, 1]))
    assert min(places["first"][1], places["second"][1]) > boxes[0, :, 1, 1].max()
    assert max(places["a"][0], places["b"][0]) < boxes[:, 0, 0, 0].min()


def test_headings_of_columns_that_no_row_has_are_left_out():
    whole, part = (grid([[Panel(image())] * count], ["a", "b", "c", "d", "e", "f"], groups=[("x", 3), ("y", 3)])
                   for count in (6, 4))
    assert [text.get_text() for text in whole.texts] == ["a", "b", "c", "d", "e", "f", "x", "y"]
    assert [text.get_text() for text in part.texts] == ["a", "b", "c", "d", "x", "y"]
    last = corners(pictures(part)[3])[:, 0].mean()
    assert part.texts[-1].get_position()[0] == pytest.approx(last)  # "y" over the one column that it has left
    one = grid([[Panel(image())] * 2], ["a", "b", "c"], groups=[("x", 3), ("y", 3)])
    assert [text.get_text() for text in one.texts] == ["a", "b", "x"]


def test_groups_are_set_apart_and_named_in_their_middle():
    figure = grid([[Panel(image())] * 4], groups=[("high", 2), ("low", 2)])
    lefts = [corners(axes)[0, 0] for axes in figure.axes]
    steps = np.diff(lefts)
    assert steps[1] > steps[0] and steps[0] == pytest.approx(steps[2])
    high, low = figure.texts
    assert (high.get_text(), low.get_text()) == ("high", "low")
    middle = (corners(figure.axes[0])[0, 0] + corners(figure.axes[1])[1, 0]) / 2
    assert high.get_position()[0] == pytest.approx(middle)


BOXES = {"a": (0.2, 0.7, "first"), "b": (0.7, 0.7, "second"), "c": (0.7, 0.2, "third")}


def arrow_ends(figure) -> list[np.ndarray]:
    (axes,) = figure.axes
    return [patch._path_original.vertices for patch in axes.patches if isinstance(patch, FancyArrowPatch)]


def test_a_diagram_has_a_box_per_text_and_arrows_between_their_facing_sides():
    figure = flow(BOXES, [("a", "b"), ("b", "c")])
    right, down = arrow_ends(figure)
    assert right[0][1] == pytest.approx(right[1][1]) and 0.2 < right[0][0] < right[1][0] < 0.7
    assert down[0][0] == pytest.approx(down[1][0]) and 0.7 > down[0][1] > down[1][1] > 0.2
    assert {text.get_text() for text in figure.axes[0].texts} == {"first", "second", "third"}


def test_an_arrow_below_passes_under_everything():
    (way,) = arrow_ends(flow(BOXES, [("a", "c", "below")]))
    assert way[:, 1].min() < 0.2 and way[1][1] == way[2][1]


@pytest.mark.parametrize(["start", "end"], [("a", "c"), ("c", "a")])
def test_an_arrow_around_a_corner_leaves_upwards_or_downwards_and_arrives_from_the_side(start, end):
    (way,) = arrow_ends(flow(BOXES, [(start, end, "corner")]))
    (x0, y0, _), (x1, y1, _) = BOXES[start], BOXES[end]
    first, turn, last = way
    assert first[0] == turn[0] == pytest.approx(x0) and turn[1] == last[1] == pytest.approx(y1)
    assert min(y0, y1) < first[1] < max(y0, y1) and min(x0, x1) < last[0] < max(x0, x1)
    (back,) = arrow_ends(flow(BOXES, [(end, start, "turn")]))  # leaves sideways and arrives from above or below
    np.testing.assert_allclose(back, way[::-1])


def test_a_frame_surrounds_its_boxes_and_takes_arrows():
    figure = flow(BOXES, [("a", "both")], frames={"both": ("b", "c")})
    (arrow,) = arrow_ends(figure)
    assert "both" in {text.get_text() for text in figure.axes[0].texts}
    frame = max(figure.axes[0].patches[:-1], key=lambda patch: patch.get_height())
    assert frame.get_x() == pytest.approx(arrow[1][0])
    assert frame.get_y() < 0.2 < 0.7 < frame.get_y() + frame.get_height()
