"""One scoreboard for five papers, and what each of their parts is worth in the others' places."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.lab.published import published
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.measure.quantities import Quantity, cached, figure, mean
from wsss_lab.measure.tables import REFERENCE, Table, measured, table
from wsss_lab.papers.scoreboard.route import (
    DETECTORS,
    FUSIONS,
    MAPS,
    PAPERS,
    REFINEMENTS,
    SWAPS,
    Labels,
    Route,
    tuning_split,
)
from wsss_lab.papers.shared_tables import protocol, scored_images

#: Paper -> (citation, table and row of its own best result on VOC val).
PRINTED = {
    "oh2017": ("Oh et al. 2017", "table3", "G2"),
    "chaudhry2017": ("Chaudhry et al. 2017", "table1", "DCSP-ResNet-101 (ours)"),
    "roy2017": ("Roy and Todorovic 2017", "table5", "FCL (ours)"),
    "araslanov2020": ("Araslanov and Roth 2020", "table3", "Ours + CRF"),
    "lee2021": ("Lee et al. 2021", "table6", "EPS (ours)"),
}
CAM, FULL = "class maps alone (GAP)", "full supervision"


def printed(paper: str) -> float:
    """A paper's best mIoU on VOC val, in per cent, of its backbones and with its CRF."""
    _, name, row = PRINTED[paper]
    frame = published(paper, name)
    return float(frame[(frame == row).any(axis=1)]["val_miou_pct"].max())


# --- what is measured: of pseudo-masks on train, of networks on val ---------------------------------------------------


def _score(name: str, step: Callable[[Route], Step]) -> Quantity:
    return figure(name, lambda route: step(route)["confusions"], mean_iou)


def made(route: Route, row: str | Labels) -> Step:
    """The pseudo-masks of a row: a paper's own, of a swap, CAM's or the ground truth."""
    if row in PAPERS:
        return route.own_labels(row)
    return route.guided.truth() if row == FULL else route.labels(Labels("GAP", "threshold") if row == CAM else row)


@cached
def labels_miou(row: str | Labels) -> Quantity:
    """mIoU of pseudo-masks on the training images; undecided pixels are missed."""
    return _score(f"labels of {row}", lambda route: route.score(made(route, row), "train"))


@cached
def taught_miou(row: str | Labels) -> Quantity:
    """mIoU on val of the one segmenter after it has learnt from a row's pseudo-masks."""
    return _score(str(row), lambda route: route.taught(made(route, row)))


@cached
def network_miou(paper: str) -> Quantity:
    """mIoU on val of a paper's own last network."""
    return _score(paper, lambda route: route.own_network(paper))


# --- tables -----------------------------------------------------------------------------------------------------------


def _protocol(run: Session) -> str:
    return protocol(run, "one scale", ours=f"labels on {scored_images(run, 'train')}, segmenters on "
                                           f"{scored_images(run, 'val')}") + (
        " Every segmenter is a DeepLab-LargeFOV with the schedule of Oh et al. 2017. Labels are made with image tags "
        f"known; thresholds of swapped parts are chosen on {tuning_split(run.profile)}, by its pixel labels.")


def scoreboard(run: Session) -> Table:
    """The five papers: as printed, their own networks here, their labels, and one segmenter that learns from these."""
    lines = [{"row": paper, "paper": cite} for paper, (cite, *_) in PRINTED.items()]
    lines += [{"row": row, "paper": row} for row in (CAM, FULL)]

    def of_paper(quantity: Callable[[str], Any]) -> Callable[[Mapping[str, Any]], Any]:
        return lambda line: quantity(line["row"]) if line["row"] in PRINTED else None

    def labels(line: Mapping[str, Any]) -> Quantity | str:
        return REFERENCE if line["row"] == FULL else labels_miou(line["row"])

    return table(run, lines, {
        "paper": "paper",
        "printed, VOC val": of_paper(printed),
        **measured("own network, val", of_paper(network_miou), "± 95 %, own", "{}", None),
        **measured("own labels, train", labels, "± 95 %, labels", "{}", None),
        **measured("one segmenter on them, val", lambda line: taught_miou(line["row"]), "± 95 %, segmenter", "{}"),
        "of full supervision": lambda line: (taught_miou(line["row"]) / taught_miou(FULL)).called("share", "%"),
    }, "Scoreboard: five papers with one segmenter (mIoU, %)", _protocol(run) + (
        " Printed: the paper's best on VOC 2012 val, of its backbones and with its CRF. EPS has learnt with a detector "
        "that has seen masks, the others with one that has seen boxes."))


def swaps(run: Session) -> Table:
    """Each kind of class maps with each fusion: the labels, and the segmenter that has learnt from them."""
    lines = [{"way": way, "class maps": way.maps, "fusion": way.fusion} for way in SWAPS]
    return table(run, lines, {
        "class maps": "class maps", "fusion": "fusion",
        **measured("labels, train", lambda line: labels_miou(line["way"]), ours="{}"),
        **measured("segmenter, val", lambda line: taught_miou(line["way"]), ours="{}"),
    }, "Each paper's class maps in each fusion (mIoU, %)", _protocol(run) + f" Saliency: '{DETECTORS[0]}'.")


#: Part -> its options, each with the ways that have it; means are over these.
PARTS: dict[str, dict[str, Sequence[Labels]]] = {
    "class maps": {name: [way for way in SWAPS if way.maps == name] for name in MAPS},
    "fusion": {name: [way for way in SWAPS if way.fusion == name] for name in FUSIONS},
    "saliency": {name: [replace(way, detector=name) for way in SWAPS if way.fusion != "threshold"]
                 for name in DETECTORS},
    "refinement": {name: [replace(way, refinement=name) for way in SWAPS if way.fusion == "threshold"]
                   for name in REFINEMENTS},
}


def worth(part: str, option: str) -> Quantity:
    """Mean mIoU of the labels of all ways that have an option, less that over all options of the part."""
    of_option, every = PARTS[part][option], [way for ways in PARTS[part].values() for way in ways]
    return (mean(option, [labels_miou(way) for way in of_option])
            - mean("all", [labels_miou(way) for way in every])).called(option, "pp")


def parts(run: Session) -> Table:
    """What an option of a part brings, over everything that it is combined with."""
    lines = [{"part": part, "option": option, "of": len(ways)}
             for part, options in PARTS.items() for option, ways in options.items()]
    return table(run, lines, {
        "part": "part", "option": "option", "combinations": "of",
        "labels, train": lambda line: mean(line["option"], [labels_miou(way)
                                                            for way in PARTS[line["part"]][line["option"]]]),
        **measured("against the part's mean", lambda line: worth(line["part"], line["option"]), ours="{}"),
    }, "What each part is worth: means over all that it is combined with (mIoU of labels, %)",
                 _protocol(run) + " Maps are refined as they are, cut at a threshold.")


TABLES = {"scoreboard": scoreboard, "swaps": swaps, "parts": parts}
