"""The scoreboard's three charts."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from wsss_lab.lab import charts
from wsss_lab.lab.choices import ranked
from wsss_lab.lab.plots import Drawn
from wsss_lab.lab.session import Session
from wsss_lab.papers.scoreboard.route import FUSIONS, MAPS, Labels
from wsss_lab.papers.scoreboard.tables import (
    FULL,
    PARTS,
    PRINTED,
    labels_miou,
    network_miou,
    printed,
    taught_miou,
    worth,
)
from wsss_lab.papers.shared_pictures import SplitPictures


def history(run: Session) -> Drawn:
    """What was printed, paper by paper, beside three measurements of ours."""
    figure, every = charts.side_by_side(2, (8.4, 3.0), sharey=True)
    at = np.arange(len(PRINTED))
    every[0].plot([printed(paper) for paper in PRINTED], at, "D", mfc="white", mec=charts.PAPER_COLOUR, mew=1.5)
    charts.label(every[0], "mIoU (%)", title="as printed: VOC 2012 val")
    ours = {"own network, val": network_miou, "own labels, train": labels_miou, "one segmenter on them": taught_miou}
    for number, (name, quantity) in enumerate(ours.items()):
        found = [quantity(paper).interval(run.results) for paper in PRINTED]
        low, high = ([getattr(each, end) for each in found] for end in ("low", "high"))
        place, colour = at + 0.22 * (number - 1), charts.LINE_COLOURS[number + 1]
        every[1].hlines(place, low, high, color=colour, lw=1.6)
        every[1].plot([each.mean for each in found], place, "o^s"[number], color=colour, label=name)
    charts.mark(every[1], taught_miou(FULL).value(run.results), FULL)
    charts.label(every[1], "mIoU (%)", title=f"measured here: {run.world.name}, 95 % intervals")
    every[0].set_yticks(at, [cite for cite, *_ in PRINTED.values()])
    every[0].invert_yaxis()
    charts.legend_outside(every[1], "lower", 4)
    return Drawn(figure, "The five papers, as printed and with one segmenter for all",
                 "A line per paper. Left: its printed mIoU. Right, with intervals: its own network here, its labels of"
                 " the training images, and one segmenter that has learnt from them. A dashed line: full supervision.")


def swaps_map(run: Session) -> Drawn:
    """mIoU of labels and of the segmenter for each kind of class maps in each fusion."""
    import seaborn

    figure, every = charts.side_by_side(2, (8.6, 2.9), sharey=True)
    for axes, (title, quantity) in zip(every, {"labels of the training images": labels_miou,
                                               "one segmenter that has learnt from them, val": taught_miou}.items()):
        values = pd.DataFrame([[quantity(Labels(maps, fusion)).value(run.results) for fusion in FUSIONS]
                               for maps in MAPS], list(MAPS), list(FUSIONS))
        seaborn.heatmap(values, ax=axes, annot=True, fmt=".1f", cmap="YlGnBu", cbar_kws={"label": "mIoU (%)"},
                        linewidths=0.5, annot_kws={"fontsize": 8})
        axes.tick_params(length=0, labelsize=8)
        axes.set_xticklabels(FUSIONS, rotation=20, ha="right")
        axes.set_yticklabels(MAPS, rotation=0)
        axes.set_title(title, fontsize=9)
    return Drawn(figure, "Whose class maps in which fusion",
                 "Two grids of numbers, a row for each kind of class maps and a column for each fusion: mIoU of the"
                 " labels, and of the segmenter that has learnt from them.")


def parts_chart(run: Session) -> Drawn:
    """What each option of a part brings to the labels, against the mean of the part."""
    figure, every = charts.side_by_side(len(PARTS), (9.6, 2.6))
    for axes, (part, options) in zip(every, PARTS.items()):
        found = [worth(part, option).interval(run.results) for option in options]
        charts.points(axes, range(len(found)), found, charts.OUR_COLOUR)
        charts.label(axes, "", "against the mean (pp)" if axes is every[0] else "", part)
        axes.axhline(0, color="#888888", lw=0.9)
        axes.set_xticks(range(len(found)), list(options), rotation=30, ha="right")
        axes.margins(x=0.15)
    low, high = (limit(axes.get_ylim()[end] for axes in every) for limit, end in ((min, 0), (max, 1)))
    for axes in every:
        axes.set_ylim(low, high)
    return Drawn(figure, "What each part is worth",
                 "Four charts, one per part, with a point and its interval for each option: how much better or worse"
                 " its labels are than the mean of the part, over all combinations.")


def ways_shown(run: Session, ways: Sequence[Labels], count: int = 4) -> Drawn:
    """Labels made in some ways, of the training images with most tags, beside the truth."""
    pictures = SplitPictures(run, "train")
    run.compute(*(run.route.labels(way) for way in ways))
    columns = [(str(way).replace(" + ", "\n"), partial(pictures.stored, run.route.labels(way)["masks"]))
               for way in ways]
    figure = pictures.grid(ranked(pictures.view.tags.sum(1))[:count],
                           [("image", pictures.image), *columns, ("truth", pictures.truth)])
    return Drawn(figure, "Labels made in some ways", f"{count} training images with most tags, their labels by "
                                                     f"{'; '.join(map(str, ways))}, and the truth.")


FIGURES = {"history": history, "swaps_map": swaps_map, "parts_chart": parts_chart}
