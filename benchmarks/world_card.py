"""Measure a folder of photographs as the primer measures the drawn world, for its table "world card".

    WSSS_WEIGHTS=weights python benchmarks/world_card.py VOCdevkit/VOC2012 train "VOC 2012"
    python benchmarks/world_card.py VOCdevkit/VOC2012 train "VOC 2012, CSNet" --saliency maps

The rows of benchmarks/results/world_card.csv under that name are written anew: numbers, how many images and values
they rest on, and where they come from. Saliency is that of U2-Net-P; with a folder of another detector's maps, one per
image, the statistics of saliency are written alone.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd

from wsss_lab.data.folder import VocReader
from wsss_lab.measure.world_card import SALIENCY, measure_world, summary
from wsss_lab.networks.u2netp import WEIGHTS_FILE
from wsss_lab.networks.weights import read_weights
from wsss_lab.saliency.maps import folder_frames, salient_masks, u2net_frames

RESULTS = Path(__file__).parent / "results" / "world_card.csv"
CELLS = 41  # of the class maps of VGG-16 at 321 pixels, as in the papers: stride 8


def measured(folder: str, split: str, count: int = 300, saliency: str = "") -> pd.DataFrame:
    """A row per statistic, of `count` images spread evenly over a split of a folder in VOC layout."""
    whole = VocReader(folder).eval_view(split)
    view = whole.subset(np.unique(np.linspace(0, len(whole) - 1, count).round().astype(int)))
    if saliency:
        detector, maps = "the maps given", folder_frames(view, saliency)["maps"]
    else:
        weights = read_weights(Path(os.environ.get("WSSS_WEIGHTS", "")) / WEIGHTS_FILE)
        detector, maps = "U2-Net-P", u2net_frames(view.train_view(), weights)["maps"]
    found = summary(measure_world(view, salient_masks(view, maps)["masks"], CELLS)["sums"])
    rows = pd.DataFrame([{"statistic": name, **values} for name, values in found.items() if values["values"]])
    rows["source"] = f"{len(view)} of {len(whole)} images of {split}, saliency of {detector}"
    return rows[rows["statistic"].isin(SALIENCY)] if saliency else rows


def main(arguments: list[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, text in (("folder", "in VOC layout"), ("split", "name of a list"), ("name", "what the table calls it")):
        parser.add_argument(name, help=text)
    parser.add_argument("--saliency", default="", help="folder of maps of another detector, one per image")
    parser.add_argument("--count", type=int, default=300, help="number of images at most")
    given = parser.parse_args(arguments)
    rows = measured(given.folder, given.split, given.count, given.saliency)
    rows.insert(0, "world", given.name)
    if results.exists():
        kept = pd.read_csv(results)
        rows = pd.concat([kept[kept["world"] != given.name], rows])
    rows.round(4).to_csv(results, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
