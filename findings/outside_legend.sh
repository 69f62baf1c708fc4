#!/usr/bin/env bash
# matplotlib moves a legend that stands "outside" its charts when a figure is saved cut to what is drawn.
#
# Versions: matplotlib 3.11.2
# Guessed:  savefig(bbox_inches="tight") changes the margins and nothing else, so that a text which was put below the
#           legend by its extent stays below it.
# Seen:     a legend with loc="outside lower center" is anchored to the edge of what is saved: the text makes that larger,
#           and the legend goes down onto it. Saved without "tight", it stays. So does one that is anchored to
#           figure.transFigure once the layout is done.
source "$(dirname "$0")/environment.sh"
environment matplotlib==3.11.2 numpy==2.4.6

"$python" - <<'PYTHON'
import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread


def gap(keep=False, **options):
    """Rows of pixels from the lowest one of the legend's blue to the first one of the text's red."""
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.plot([], [], color=(0, 0, 1), lw=4, label="line")
    figure.legend(loc="outside lower center")
    figure.draw_without_rendering()
    below = figure.legends[0].get_window_extent().y0 / figure.bbox.height
    if keep:
        figure.set_layout_engine("none")
        figure.legends[0].set_bbox_to_anchor((0, 0, 1, 1), transform=figure.transFigure)
    figure.text(0.5, below, "below", va="top", ha="center", color=(1, 0, 0), fontsize=20, weight="bold")
    file = io.BytesIO()
    figure.savefig(file, **options)
    file.seek(0)
    red, green, blue = np.moveaxis(imread(file)[..., :3], -1, 0)
    text, line = ((each > 0.8) & (green < 0.3) & (other < 0.3) for each, other in ((red, blue), (blue, red)))
    return int(np.flatnonzero(text.any(1))[0] - np.flatnonzero(line.any(1))[-1])


tight, kept = gap(bbox_inches="tight"), gap(keep=True, bbox_inches="tight")
print("rows between legend and text: tight", tight, "kept in place", kept)
assert tight < 0 < kept
print("as seen before")
PYTHON
