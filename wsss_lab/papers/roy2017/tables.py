"""What is measured of Roy & Todorovic 2017, and its tables, also of other readings and of the rectified Gaussian."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from wsss_lab.evaluation.confusion import divide, mean_iou, nan_mean
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.session import Session
from wsss_lab.measure.quantities import Quantity, Source, cached, figure, result
from wsss_lab.measure.strata import Dial
from wsss_lab.measure.tables import NOT_RUN, REFERENCE, Column, Table, measured, table
from wsss_lab.papers.roy2017.route import AGGREGATIONS, BASELINES, ITERATIONS, PUBLISHED, ROWS, TAUGHT, TRAININGS, Route
from wsss_lab.papers.shared_tables import (
    CLASSES_NOTE,
    LABEL_QUALITY,
    NO_TEST,
    average_precision_of,
    class_table,
    labels_of,
    labels_used,
    object_share,
    printed_slips,
    protocol,
    source_of,
    val_tags,
    when_table,
    words_on_test,
)
from wsss_lab.seeds.neighbours import SIGMA_R, SIGMA_Z, SPACING
from wsss_lab.seeds.rectified_gaussian import MODES, RHO, STEPS
from wsss_lab.segmenter.fusion import PRESENCE, predicted_labels

FULL = "full"  # the paper's method
COMPETITOR, BOUND = TAUGHT

# --- what is measured -------------------------------------------------------------------------------------------------

def confusions(row: str, split: str = "val") -> Source:
    """Of the labels of a row of ROWS or by a network of TAUGHT."""
    return result("confusions", Route.scored, row, split)


@cached
def miou(row: str, split: str = "val") -> Quantity:
    return figure(row, confusions(row, split), mean_iou)


@cached
def quality(row: str, which: str) -> Quantity:
    """A key of LABEL_QUALITY, such as "precision", on val."""
    return figure(row, confusions(row), LABEL_QUALITY[which])


def scores(row: str) -> Source:
    """Image scores of a row's network: (N, K) logits, background first."""
    return result("scores", Route.prediction, row)


def predicted_classes(scores: np.ndarray) -> np.ndarray:
    """The classes that images are taken to show: logits (..., K), background first -> bool (..., C), C = K - 1."""
    flat = torch.from_numpy(np.ascontiguousarray(scores)).flatten(0, -2)
    return predicted_labels(flat)[:, 1:].numpy().reshape(*scores.shape[:-1], -1)


@cached
def classified(row: str) -> Quantity:
    """Mean average precision of the image scores of a row's network on val."""
    return average_precision_of(row, scores(row), val_tags)


@cached
def found_classes(row: str) -> Quantity:
    """Balanced accuracy of the classes that a row's network predicts for val images."""

    def counts(scores: np.ndarray, tags: np.ndarray) -> np.ndarray:
        predicted = predicted_classes(scores)
        there, found = np.stack([~tags, tags], -1), np.stack([~predicted, predicted], -1)
        return there[..., :, None] & found[..., None, :]

    return figure(row, (scores(row), val_tags), balanced_accuracy, counts)


def balanced_accuracy(counts: np.ndarray) -> np.ndarray:
    """Mean of recall and specificity, mean over the classes that have both. counts: (..., C, 2, 2), images by absence
    and presence of a class, then whether it is predicted. Returns (...) in [0, 1]."""
    right = np.stack([counts[..., 0, 0], counts[..., 1, 1]], -1)
    return nan_mean(divide(right, counts.sum(-1)).mean(-1))


# --- what tables share ------------------------------------------------------------------------------------------------

SPLITS = ("val", "test")
CHANGE_WORDS = (" change: against the full approach, in percentage points, paired by image and seed; below 0 where the "
                "full approach is better.")


def tables_protocol(run: Session, split: str = "val") -> str:
    """The sentences under a table of scores on a split."""
    return f"{protocol(run, 'one scale', split)} The CRF-RNN is a part of the network and no CRF in this sense."


def unmeasured(run: Session, split: str) -> str:
    """Why a row has no score on a split."""
    return NOT_RUN if split == "val" or has_test(run.profile) else NO_TEST


def change(row: str, split: str = "val") -> Quantity | str:
    """How far a row's mIoU is from that of the full approach."""
    return REFERENCE if row == FULL else miou(row, split) - miou(FULL, split)


def score_columns(run: Session, splits: tuple[str, ...] = ("val",), printed: bool = False) -> dict[str, Column]:
    """Scores of lines with a "row", and how far they are from those of the full approach; printed: the paper's too."""
    columns: dict[str, Column] = {}
    for split in splits:
        paper = f"{split}_miou_pct"
        columns |= {f"{split} paper": paper} if printed else {}
        columns |= measured(split, lambda line, split=split: line.get("row") and miou(line["row"], split),
                            unmeasured=unmeasured(run, split))
        columns |= {f"{split} change paper": lambda line, paper=paper: (
            None if line["row"] == FULL else line[paper] - line["full"][paper])} if printed else {}
        columns |= measured(f"{split} change", lambda line, split=split: line.get("row") and change(line["row"], split),
                            unmeasured=None)
    return columns


QUALITY_COLUMNS: dict[str, Column] = {
    "fg P": lambda line: quality(line["row"], "precision"), "fg R": lambda line: quality(line["row"], "recall"),
}


def printed_lines(run: Session, name: str, rows: tuple[str, ...]) -> list[dict]:
    """Printed lines with their rows of ROWS, and with the one of the full approach, the last."""
    lines = run.published(name).to_dict("records")
    return [line | {"row": row, "full": lines[-1]} for line, row in zip(lines, rows, strict=True)]


# --- Tables 1 and 5 ---------------------------------------------------------------------------------------------------

#: What is different in the rows of Table 1.
DIFFERENCES = {
    "w/o att": "classification loss alone, no attention in the unary",
    "w/o seg loss": "classification loss alone, attention in the unary",
    "w/o att unary": "no attention in the unary, in training and at test",
    "w/o neighbor": "attention from parents alone: no neighbours, no alpha (Eq. 7)",
    "w/o CRF-RNN": "a dense CRF after the network instead of the CRF-RNN",
    "w/o att inference": "the full approach's network, no attention in the unary at test",
    "full": "nothing",
}


def table1(run: Session) -> Table:
    note = (f"{CHANGE_WORDS} fg P and R: precision and recall on val, means over classes. B1 and B2 are one network: "
            "without the segmentation loss the CRF-RNN learns nothing, and attention only comes in at test. B6 is the "
            f"network of the full approach. Classes that get attention at test: p(y|x) above {PRESENCE:g}, and at "
            "least the likeliest. "
            f"{labels_used(run, run.route.trained(FULL))} {words_on_test(run, has_test(run.profile))}")
    return table(run, printed_lines(run, "table1", tuple(BASELINES)), {
        "baseline": "baseline", "id": "id", "different": lambda line: DIFFERENCES[line["row"]],
        **score_columns(run, SPLITS, printed=True), **QUALITY_COLUMNS,
    }, "The full approach and its baselines, mIoU in per cent", tables_protocol(run) + note)


def table5(run: Session) -> Table:
    """Ways to aggregate label maps to image scores, and how good each network is at classifying images."""
    note = (f"{CHANGE_WORDS} fg P and R: precision and recall on val, means over classes. mAP: of the image scores "
            "p(y|x) on val. predicted: balanced accuracy of the predicted classes on val (p(y|x) above "
            f"{PRESENCE:g}, and at least the likeliest), mean of the share of their images in which classes are found "
            "and of the others in which they are not; 50 by chance. Only predicted classes get attention at test. The "
            "paper does not say how sharp LSE is (r = 5 here) nor how FCL starts (as GAP here). "
            f"{labels_used(run, run.route.trained(FULL))} {words_on_test(run, has_test(run.profile))}")
    return table(run, printed_lines(run, "table5", (*AGGREGATIONS, FULL)), {
        "aggregation": lambda line: line["aggregation"].removesuffix(" (ours)"),
        **score_columns(run, SPLITS, printed=True), **QUALITY_COLUMNS,
        **measured("mAP", lambda line: classified(line["row"]), unmeasured=None),
        **measured("predicted", lambda line: found_classes(line["row"]), unmeasured=None),
    }, "Aggregation of label maps to image scores, per cent", tables_protocol(run) + note)


# --- Tables 2, 3 and 4 ------------------------------------------------------------------------------------------------

#: Rows of Tables 2 and 3 that are measured here: method -> a row of ROWS or a network of TAUGHT.
OURS = {"Our approach": FULL, "w/o att (B1)": "w/o att", COMPETITOR: COMPETITOR, BOUND: BOUND}


def per_class(run: Session, name: str, split: str) -> Table:
    """Table 2 or 3: a line for each printed one, then ours that the paper does not have."""
    printed = run.published(name)
    sec = printed.set_index("method")["mean_iou_pct"]["SEC"]
    lines = [line | {"row": OURS.get(line["method"])} for line in printed.to_dict("records")]
    lines += [{"method": method, "row": row} for method, row in OURS.items() if method not in set(printed["method"])]

    def gain(line: Mapping[str, Any]) -> Quantity | str | None:
        if not line["here"]:
            return None
        return REFERENCE if line["row"] == COMPETITOR else miou(line["row"], split) - miou(COMPETITOR, split)

    note = (f" Quoted rows are as printed, measured by others on VOC.{CLASSES_NOTE} gain: of the mean, in percentage "
            f"points; in print over SEC, ours over {COMPETITOR}. The last rows are not in the paper's table. "
            f"{COMPETITOR}: DeepLab taught by the sure pixels of class maps, with SEC's constrain-to-boundary loss; it "
            "has neither SEC's expansion loss nor its saliency maps and is not SEC. Kept as printed: "
            f"{printed_slips(run, name, 'class mean vs printed mean')}.")
    return class_table(run, name, split, lines, lambda line: line["row"] and miou(line["row"], split),
                       f"IoU of each class, {split}, per cent", tables_protocol, note,
                       {"method": "method", "reference": "reference"}, {
        "gain paper": lambda line: line["mean_iou_pct"] - sec if line["method"] == "Our approach" else None,
        **measured("gain", gain, unmeasured=None)}, {
        "labels used": lambda line: labels_of(run, run.route.network_of(line["row"])) if line["here"] else None,
        "source": source_of})


def table4(run: Session) -> Table:
    own = run.published("table1").iloc[-1]
    note = ("paper: PASCAL VOC 2012. Quoted: all numbers are as printed, measured by others; none of these methods is "
            "run in this collection. The paper, which uses image tags alone, calls a direct comparison unfair; its own "
            f"numbers (Table 1) are {own['val_miou_pct']:g} on val and {own['test_miou_pct']:g} on test. "
            f"Kept as printed: {printed_slips(run, 'table4')}.")
    return table(run, run.published("table4"), {
        "method": "method", "reference": "reference", "val paper": "val_miou_pct", "test paper": "test_miou_pct",
        "labels beyond tags": "additional_supervision", "remark": "note", "source": lambda line: "quoted",
    }, "Methods with more labels than image tags, mIoU in per cent", note)


# --- values of the text, other readings -------------------------------------------------------------------------------

def text_values(run: Session) -> Table:
    """Values that the paper states in its text, ours, and what the number of iterations of the CRF-RNN does."""
    trained = TRAININGS[FULL].iterations
    beside, diagonal = (math.exp(-times * (SPACING / SIGMA_Z) ** 2) for times in (1, 2))  # Eq. (8), of one colour
    apart, histograms = (math.exp(-square / SIGMA_R ** 2) for square in (SIGMA_R ** 2, 2))
    ours = {"weight lambda of the segmentation loss": (TRAININGS[FULL].weight, None),
            "sigma_z (location)": (SIGMA_Z, f"neurons of one colour, {SPACING:g} pixels from one to the next: "
                                   f"w = {beside:.3f} beside each other, {diagonal:.3f} across a corner"),
            "sigma_r (HSV histogram)": (SIGMA_R, f"factor {apart:.3f} for mean colours {SIGMA_R:g} of 255 apart; "
                                        f"histograms that sum to 1 would keep it at {histograms:.3f} or above"),
            "CRF-RNN iterations (training and inference)": (trained, "see the last rows")}
    lines = run.published("text_values").to_dict("records")
    lines += [{"quantity": f"{count} CRF-RNN iterations at test",
               "row": FULL if count == trained else f"{count} iterations"} for count in sorted((*ITERATIONS, trained))]
    note = (f"{CHANGE_WORDS} The last rows label images with the network of the full approach, trained with {trained} "
            "iterations of the CRF-RNN; the paper has no numbers for them. Our time of training depends on the machine "
            f"and is no part of this table. {labels_used(run, run.route.trained(FULL))}")
    return table(run, lines, {
        "quantity": "quantity", "where": "where", "unit": "unit", "value paper": "value",
        "value ours": lambda line: ours.get(line["quantity"], (None, None))[0],
        "what follows": lambda line: ours.get(line["quantity"], (None, None))[1], **score_columns(run),
    }, "Values of the text; mIoU in per cent", tables_protocol(run) + note)


#: Lines of `options`: row of ROWS, what it is about, how it is here, what is done instead.
READINGS = (
    ("background unit", "attention of the background", "1 - the largest map of the classes present",
     "passed down from its own unit"),
    ("no warm-up", "start of the segmentation loss", f"after {100 * PUBLISHED.warm_up:g} % of the iterations",
     "at once"),
    *((f"loss {place} the CRF-RNN", "p^S of Eq. (15)", "mean of the losses before and after the CRF-RNN",
       f"{place} the CRF-RNN{equation}") for place, equation in (("before", " (Eq. 1)"), ("after", ""))),
    ("neighbours, last layer", "layers with neighbours and alpha", "all", "the last, where attention ends"),
    ("parents and neighbours", "alpha (Eq. 7)", "as printed", "left out, neighbours kept"),
    ("tags known", "classes with attention at test", f"predicted: p(y|x) above {PRESENCE:g}", "the image's tags"),
    ("image-level prior", "prior in the unary at test (Eq. 11)", "attention of each position",
     "p(y|x) at all positions"),
)


def options(run: Session) -> Table:
    lines = [dict(zip(("row", "about", "here", "instead"), reading)) for reading in (
        (FULL, "nothing: the full approach"), *READINGS)]
    note = (f"{CHANGE_WORDS} fg P and R: precision and recall, means over classes. trained apart: yes for a network of "
            "its own, no where the network of the full approach labels images in another way. w/o neighbor of Table 1 "
            f"leaves out neighbours and alpha at once. {labels_used(run, run.route.trained(FULL))}")
    return table(run, lines, {
        "about": "about", "here": "here", "instead": "instead",
        "trained apart": lambda line: ROWS[line["row"]].training != FULL if "here" in line else None,
        **score_columns(run), **QUALITY_COLUMNS,
    }, "Other readings of the paper, mIoU in per cent", tables_protocol(run) + note)


# --- the rectified Gaussian -------------------------------------------------------------------------------------------

#: D of the modes of the rectified Gaussian, and how each is found.
INTERACTIONS = {
    "literal": "Eq. 9, solved", "steps": f"Eq. 9, {STEPS} projected-gradient steps from p = b",
    "smooth": f"{RHO:g} times the normalised similarity, minus 1 for each neuron itself; solved", "none": "-I: p = b",
}


def study(run: Session) -> Table:
    facts = run.load(run.route.study())
    _, images, *grid = facts["maps"].shape
    cells = math.prod(grid)
    spectra = {"smooth": facts["eigenvalues"][1], "none": np.full((1, cells), -1.0)}
    lines = []
    for at, mode in enumerate(MODES):
        values, active = spectra.get(mode, facts["eigenvalues"][0]), 100 * facts["active"][at]
        maps = facts["maps"][at].reshape(-1, cells).astype(np.float64)
        evenly = divide(maps.sum(1) ** 2, cells * (maps ** 2).sum(1))
        lines.append({
            "mode": mode, "D": INTERACTIONS[mode], "positive eigenvalues": float((values > 0).sum(1).mean()),
            "of": cells, "largest eigenvalue": float(values.max()), "active %": float(active.mean()),
            "active % least": float(active.min()), "active % most": float(active.max()),
            "spread %": 100 * float(nan_mean(evenly)), "residual": f"{facts['residual'][at].max():.1g}"})
    note = (f"{run.world.name} val, {images} images on {' x '.join(map(str, grid))} cells, each for its first tag, "
            "first training seed; b is the attention that parents and activation give where attention ends, summed "
            "over channels. positive eigenvalues, of the cells: the programme is concave without any, mean over "
            "images; largest: of all images. active: cells above a thousandth of the maximum, in per cent, mean, least "
            "and most over images. spread: the same counted as (sum of p)^2 over the sum of p^2, the share of cells "
            "that evenly hold as much. residual: how far p is from solving its programme (conditions of Karush, Kuhn "
            "and Tucker), largest of all images. No masks are read.")
    return Table(pd.DataFrame(lines), "Modes of the rectified Gaussian (Eqs. 2, 3 and 9)", note, dict.fromkeys(
        ("largest eigenvalue", "active %", "active % least", "active % most", "spread %"), 2))


#: When does it help? See wsss_lab.measure.strata.
DIALS = tuple(Dial((miou(FULL) - miou(row)).called(f"{FULL} - {row}"), "objects, % of the image", confusions(FULL),
                   object_share) for row in ("w/o neighbor", "w/o att unary"))

TABLES = {"table1": table1, "table2": partial(per_class, name="table2", split="val"),
          "table3": partial(per_class, name="table3", split="test"), "table4": table4, "table5": table5,
          "text-values": text_values, "options": options, "study": study,
          "when": partial(when_table, dials=DIALS, scores="rows on val", words=lambda run: (
              f"{tables_protocol(run)} {labels_used(run, run.route.trained(FULL))}"))}
