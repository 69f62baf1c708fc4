"""What a drawn figure shows: its panels, their images, its words."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsss_lab.lab.plots import Drawn
from wsss_lab.lab.published import artifact_list


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


def assert_all_described(paper: str, figures: Mapping[str, Drawn], of_photos: Mapping[str, Drawn],
                         places: Mapping[str, int], schematic: set[str]) -> None:
    """The paper's figures come first and in its order; each has its number of panels or charts, a title and an alt
    text; of those on photographs only what shows none is kept in the repository."""
    listed = artifact_list(paper)
    of_paper = listed[(listed["kind"] == "figure") | (listed["regeneration"] == "qualitative figure")]["id"]
    assert list(figures)[:len(of_paper)] == list(of_paper)
    kept = (Path(__file__).parents[1] / ".gitignore").read_text().splitlines()
    for name, drawn in figures.items():
        assert name not in places or len(panels(drawn.figure)) == places[name], name
        for each in (drawn, of_photos.get(name, drawn)):
            assert_described(each)
            assert each.kind == drawn.kind and (drawn.kind == "schematic") == (name in schematic), name
        shared = any(f"!figures/photos/{folder}/{name}.png" in kept for folder in (paper, "*"))
        assert shared == (drawn.kind != "qualitative"), name


def read_of_seed_one(run) -> set[str]:
    """Functions whose results of the second seed were read: for charts, as pictures are of the first."""
    return {step.function.__name__ for step in run.loaded if "seed 1" in step.label}
