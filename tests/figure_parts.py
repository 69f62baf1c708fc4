"""What a drawn figure shows: its panels, their images, its words."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsss_lab.lab.plots import Drawn


def panels(figure: Figure) -> list[Axes]:
    """The axes of a figure, apart from the colour bar of maps."""
    return [axes for axes in figure.axes if axes.get_label() != "scale of maps"]


def shown(axes: Axes) -> np.ndarray:
    """The uppermost image of a panel."""
    return np.asarray(axes.images[-1].get_array())


def rows_shown(images: np.ndarray, figure: Figure, places: Sequence[int]) -> list[int]:
    """Which of the images (N, H, W, 3) the panels at these places show."""
    axes = panels(figure)
    return [next(row for row, image in enumerate(images) if np.array_equal(image, shown(axes[place])))
            for place in places]


def words(figure: Figure) -> list[str]:
    """The words beside the panels."""
    return [text.get_text() for text in figure.texts]


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def assert_described(drawn: Drawn) -> None:
    """It has a short title without a full stop and one line of alternative text in which no number is missing."""
    assert 5 < len(drawn.title) < 60 and not drawn.title.endswith(".")
    assert 60 < len(drawn.alt) < 600 and drawn.alt.endswith(".") and "\n" not in drawn.alt
    assert "nan" not in drawn.alt
