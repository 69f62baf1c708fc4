"""The measured tables of Roy & Todorovic 2017: baselines, aggregation, values of the text, other readings.

The tables that compare with other methods are in roy2017_tables_compared.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
import torch

from wsss_lab.evaluation.confusion import divide, iou, nan_mean
from wsss_lab.evaluation.intervals import interval
from wsss_lab.evaluation.precision_recall import map_interval
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.published import mismatches
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.measure.tables import NOT_RUN, Table
from wsss_lab.papers.roy2017.route import (
    AGGREGATIONS,
    BASELINES,
    ITERATIONS,
    PUBLISHED,
    ROWS,
    TAUGHT,
    TRAININGS,
    Route,
    labelled_rows,
    taught,
)
from wsss_lab.papers.shared_evidence import SeededEvidence
from wsss_lab.papers.shared_tables import (
    NO_TEST,
    label_quality,
    labels_used,
    miou,
    miou_gain,
    printed_slips,
    protocol,
    score_cells,
    words_on_test,
)
from wsss_lab.seeds.neighbours import SIGMA_R, SIGMA_Z, SPACING
from wsss_lab.seeds.rectified_gaussian import MODES, RHO, STEPS
from wsss_lab.segmenter.fusion import PRESENCE, predicted_labels


class Evidence(SeededEvidence):
    """Stored scores of a session, stacked over its S seeds.

    Confusions are (S, N, K, K + 1) counts per seed and image; rows are keys of roy2017.ROWS.
    """

    def confusions(self, row: str = "full", split: str = "val", void: bool = False) -> np.ndarray:
        """Confusions of a row's labels; void=True counts void pixels as background."""
        return self.stack(lambda route: route.scored(row, split), "with_void" if void else "confusions")

    def taught(self, name: str, split: str = "val", void: bool = False) -> np.ndarray:
        """Confusions of a network of roy2017.TAUGHT."""
        return self.stack(lambda route: route.taught_score(name, split), "with_void" if void else "confusions")

    def labels(self, row: str = "full", split: str = "val") -> np.ndarray:
        """Label maps of a row: uint8 (S, N, Hmax, Wmax)."""
        return self.stack(lambda route: route.prediction(row, split), "masks")

    def class_scores(self, row: str = "full", split: str = "val") -> np.ndarray:
        """Image scores of a row's network: (S, N, K) logits, background first."""
        return self.stack(lambda route: route.prediction(row, split), "scores")

    def curves(self, training: str = "full") -> dict[str, np.ndarray]:
        """What a training wrote down per iteration, name -> (S, iterations); shorter where it starts after the warm-up,
        see wsss_lab.segmenter.fusion.Losses."""
        each = self.stack(lambda route: route.trained(training), "curves")
        return {name: np.array([curves[name] for curves in each]) for name in each[0]}

    def study(self) -> dict[str, Any]:
        """The modes of the rectified Gaussian on some images, of the first seed, see
        wsss_lab.papers.roy2017.route.gaussian_study."""
        names = ("b", "maps", "residual", "active", "eigenvalues", "similarity")
        return {name: self.run.load(self.run.routes[0].study()[name]) for name in names}


FULL = "full"  # the paper's method
COMPETITOR = "SEC-like"
IOU = "_iou_pct"  # ends the names of printed columns of IoU

#: Our rows of Tables 2 and 3 that are not in the paper's: method -> a row of ROWS or a network of TAUGHT.
MORE = {"w/o att (B1)": "w/o att", COMPETITOR: COMPETITOR, "full supervision": "full supervision"}


# --- what tables share -----------------------------------------------------------------------------------------------


def tables_protocol(run: Session, split: str = "val") -> str:
    """The sentences under a table of scores on a split."""
    return f"{protocol(run, 'one scale', split)} The CRF-RNN is a part of the network and no CRF in this sense."


# --- Tables 2 and 3 --------------------------------------------------------------------------------------------------


def table2(run: Session) -> Table:
    """IoU of every class on val."""
    return _class_table(run, "table2", "val")


def table3(run: Session) -> Table:
    """IoU of every class on test; in a profile without test split, the printed numbers alone."""
    return _class_table(run, "table3", "test")


def _class_table(run: Session, name: str, split: str) -> Table:
    """Table 2 or 3: a line for each printed one, then ours that the paper does not have; classes of the run's world."""
    evidence, rows, printed = Evidence(run), [], run.published(name)
    sec = printed.set_index("method").loc["SEC", f"mean{IOU}"]
    for _, row in printed.iterrows():
        cells = {column.removesuffix(IOU): row[column] for column in row.index if column.endswith(IOU)}
        mean = cells.pop("mean")
        line = {"method": row["method"], "reference": row["reference"], "mean paper": mean,
                "mean of printed cells": float(nan_mean(np.array(list(cells.values()), float))), "source": "quoted"}
        ours = None
        if row["method"] == "Our approach":
            ours = _measured(evidence, FULL, split)
            line |= {"gain paper": mean - sec, **_own_cells(evidence, FULL, split)}
        rows.append(line | _class_cells(run, ours, cells))
    rows += [{"method": method, **_own_cells(evidence, own, split),
              **_class_cells(run, _measured(evidence, own, split), {})} for method, own in MORE.items()]
    first = ["method", "reference", "mean paper", "mean of printed cells", "mean ours", "95 %",
             *(f"gain {of}" for of in ("paper", "ours", "95 %"))]
    classes = [name for name in rows[0] if name.endswith((" paper", " ours")) and name not in first]
    frame = pd.DataFrame(rows).reindex(columns=[*first, *classes, "labels used", "source"])
    there = split == "val" or has_test(run.profile)
    where = tables_protocol(run, split) if there else (
        f"paper: PASCAL VOC 2012 {split}; {run.world.name} has {NO_TEST}: nothing is measured in this profile.")
    note = (" Quoted rows are as printed, measured by others on VOC. Means are over background and all classes, ours "
            "of the cells of their line. A class is compared where both data sets have it (the paper prints a line per "
            f"class). gain: of the mean, in percentage points; in print over SEC, ours over {COMPETITOR}. The last "
            f"rows are not in the paper's table. {COMPETITOR}: DeepLab taught by the sure pixels of class maps, with "
            "SEC's constrain-to-boundary loss; it has neither SEC's expansion loss nor its saliency maps and is not "
            f"SEC. Kept as printed: {_mean_slips(run, name)}.")
    return Table(frame, f"IoU of each class, {split}, per cent", where + note, {"mean of printed cells": 2})


def _mean_slips(run: Session, name: str) -> str:
    """Where the means of a printed table disagree with its cells."""
    found = mismatches(run.paper)
    return "; ".join(found["detail"][(found["artifact"] == name) & (found["kind"] == "class mean vs printed mean")])


def _measured(evidence: Evidence, own: str, split: str) -> np.ndarray | str:
    """Confusions (S, N, K, K + 1) of a row of ROWS or a network of TAUGHT, or why there are none."""
    profile = evidence.run.profile
    if split == "test" and not has_test(profile):
        return NO_TEST
    if own not in (*labelled_rows(profile), *taught(profile)):
        return NOT_RUN
    return evidence.taught(own, split) if own in TAUGHT else evidence.confusions(own, split)


def _own_cells(evidence: Evidence, own: str, split: str) -> dict:
    """Our cells of a line before those of its classes: mean, gain over the competitor, labels used."""
    found, route = _measured(evidence, own, split), evidence.run.route
    if isinstance(found, str):
        return {"95 %": found}
    made = route.segmenter(own) if own in TAUGHT else route.trained(ROWS[own].training)
    cells = {"mean ours": float(nan_mean(_per_class(found))), "95 %": miou(found).ends, "source": "measured",
             "labels used": evidence.protocol(made)}
    if own == COMPETITOR:
        return cells | {"gain 95 %": "reference"}
    reference = _measured(evidence, COMPETITOR, split)
    if isinstance(reference, str):
        return cells
    return cells | score_cells(miou_gain(found, reference), "gain")


def _class_cells(run: Session, ours: np.ndarray | str | None, printed: dict[str, float]) -> dict:
    """IoU per class of a line beside printed ones of the same name, in per cent.

    ours: confusions (S, N, K, K + 1), why there are none, or None for a quoted line.
    """
    labels, cells = ("background", *run.world.classes), {}
    values = dict(zip(labels, _per_class(ours).tolist())) if isinstance(ours, np.ndarray) else {}
    for label in labels:
        if label in printed:
            cells[f"{label} paper"] = printed[label]
        cells[f"{label} ours"] = values.get(label)
    return cells


def _per_class(confusions: np.ndarray) -> np.ndarray:
    """IoU of background and classes in per cent, mean over seeds: (K,)."""
    return 100 * nan_mean(iou(confusions.sum(1)).T)


# --- Table 4 ---------------------------------------------------------------------------------------------------------


def table4(run: Session) -> Table:
    """Methods with more labels than image tags, as printed."""
    printed = run.published("table4")
    own = run.published("table1").iloc[-1]
    frame = pd.DataFrame({
        "method": printed["method"], "reference": printed["reference"], "val paper": printed["val_miou_pct"],
        "test paper": printed["test_miou_pct"], "labels beyond tags": printed["additional_supervision"],
        "remark": printed["note"], "source": "quoted",
    })
    note = ("paper: PASCAL VOC 2012. Quoted: all numbers are as printed, measured by others; none of these methods is "
            "run in this collection. The paper, which uses image tags alone, calls a direct comparison unfair; its own "
            f"numbers (Table 1) are {own['val_miou_pct']:g} on val and {own['test_miou_pct']:g} on test. "
            f"Kept as printed: {printed_slips(run, 'table4')}.")
    return Table(frame, "Methods with more labels than image tags, mIoU in per cent", note)


SPLITS = ("val", "test")
CHANGE_WORDS = (" change: against the full approach, in percentage points, paired by image and seed; below 0 where the "
                "full approach is better.")

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

#: Lines of `options`: what they are about, how it is here, what is done instead, row of ROWS.
READINGS = (
    ("attention of the background", "1 - the largest map of the classes present", "passed down from its own unit",
     "background unit"),
    ("start of the segmentation loss", f"after {100 * PUBLISHED.warm_up:g} % of the iterations", "at once",
     "no warm-up"),
    ("p^S of Eq. (15)", "mean of the losses before and after the CRF-RNN", "before the CRF-RNN (Eq. 1)",
     "loss before the CRF-RNN"),
    ("p^S of Eq. (15)", "mean of the losses before and after the CRF-RNN", "after the CRF-RNN",
     "loss after the CRF-RNN"),
    ("layers with neighbours and alpha", "all", "the last, where attention ends", "neighbours, last layer"),
    ("alpha (Eq. 7)", "as printed", "left out, neighbours kept", "parents and neighbours"),
    ("classes with attention at test", f"predicted: p(y|x) above {PRESENCE:g}", "the image's tags", "tags known"),
    ("prior in the unary at test (Eq. 11)", "attention of each position", "p(y|x) at all positions",
     "image-level prior"),
)

#: D of the modes of the rectified Gaussian, and how each is found.
INTERACTIONS = {
    "literal": "Eq. 9, solved", "steps": f"Eq. 9, {STEPS} projected-gradient steps from p = b",
    "smooth": f"{RHO:g} times the normalised similarity, minus 1 for each neuron itself; solved", "none": "-I: p = b",
}


def steps(route: Route, profile: str) -> list[Step]:
    """Everything that the tables read, for one seed."""
    rows, networks = labelled_rows(profile), taught(profile)
    scored = [route.scored(row) for row in rows] + [route.taught_score(name) for name in networks]
    if has_test(profile):
        scored += [route.scored(row, "test") for row in (*BASELINES, *AGGREGATIONS)]
        scored += [route.taught_score(name, "test") for name in networks]
    return [*scored, route.study()]


# --- Tables 1 and 5 --------------------------------------------------------------------------------------------------


def table1(run: Session) -> Table:
    """The full approach and its six baselines."""
    evidence, rows, printed = Evidence(run), [], run.published("table1")
    full = printed.iloc[-1]
    for (_, line), row in zip(printed.iterrows(), BASELINES, strict=True):
        cells = {"baseline": line["baseline"], "id": line["id"], "different": DIFFERENCES[row]}
        rows.append(cells | _printed_cells(line, full) | _row_cells(evidence, row, SPLITS))
    note = (f"{CHANGE_WORDS} fg P and R: precision and recall on val, means over classes. B1 and B2 are one network: "
            "without the segmentation loss the CRF-RNN learns nothing, and attention only comes in at test. B6 is the "
            f"network of the full approach. Classes that get attention at test: p(y|x) above {PRESENCE:g}, and at "
            f"least the likeliest. {labels_used(evidence, run.route.trained(FULL))} "
            f"{words_on_test(run, has_test(run.profile))}")
    frame = pd.DataFrame(rows).reindex(columns=["baseline", "id", "different", *_score_columns(), "fg P", "fg R"])
    return Table(frame, "The full approach and its baselines, mIoU in per cent", tables_protocol(run) + note)


def table5(run: Session) -> Table:
    """Ways to aggregate label maps to image scores, and how good each network is at classifying images."""
    evidence, rows, printed = Evidence(run), [], run.published("table5")
    full = printed.iloc[-1]
    for (_, line), row in zip(printed.iterrows(), (*AGGREGATIONS, FULL), strict=True):
        cells = {"aggregation": line["aggregation"].removesuffix(" (ours)"), **_printed_cells(line, full)}
        cells |= _row_cells(evidence, row, SPLITS)
        if row in labelled_rows(run.profile):
            cells |= _classification_cells(evidence, row)
        rows.append(cells)
    note = (f"{CHANGE_WORDS} fg P and R: precision and recall on val, means over classes. mAP: of the image scores "
            "p(y|x) on val. predicted: balanced accuracy of the predicted classes on val (p(y|x) above "
            f"{PRESENCE:g}, and at least the likeliest), mean of the share of their images in which classes are found "
            "and of the others in which they are not; 50 by chance. Only predicted classes get attention at test. The "
            "paper does not say how sharp LSE is (r = 5 here) nor how FCL starts (as GAP here). "
            f"{labels_used(evidence, run.route.trained(FULL))} {words_on_test(run, has_test(run.profile))}")
    frame = pd.DataFrame(rows).reindex(columns=["aggregation", *_score_columns(), "fg P", "fg R", "mAP ours",
                                                "mAP 95 %", "predicted ours", "predicted 95 %"])
    return Table(frame, "Aggregation of label maps to image scores, per cent", tables_protocol(run) + note)


def balanced_accuracy(counts: np.ndarray) -> np.ndarray:
    """Mean of recall and specificity, mean over the classes that have both. counts: (..., C, 2, 2), images by absence
    and presence of a class, then whether it is predicted. Returns (...) in [0, 1]."""
    right = np.stack([counts[..., 0, 0], counts[..., 1, 1]], -1)
    return nan_mean(divide(right, counts.sum(-1)).mean(-1))


def _classification_cells(evidence: Evidence, row: str) -> dict:
    """Cells on the image scores of a row's network."""
    scores, tags = evidence.class_scores(row), evidence.tags
    predicted = np.stack([predicted_labels(torch.tensor(each)).numpy() for each in scores])[..., 1:]
    known, found = np.stack([~tags, tags], -1), np.stack([~predicted, predicted], -1)
    counts = known[..., :, None] & found[..., None, :]  # (S, N, C, 2, 2)
    return {**score_cells(map_interval(scores[..., 1:], tags).percent(), "mAP"),
            **score_cells(interval(counts, balanced_accuracy).percent(), "predicted")}


def _score_columns() -> list[str]:
    return [f"{split}{what} {of}" for split in SPLITS for what in ("", " change") for of in ("paper", "ours", "95 %")]


def _printed_cells(line: pd.Series, full: pd.Series) -> dict:
    """Printed scores of a line of Table 1 or 5, and what they are over those of the full approach."""
    cells = {}
    for split in SPLITS:
        paper, reference = line[f"{split}_miou_pct"], full[f"{split}_miou_pct"]
        cells[f"{split} paper"] = paper
        if line.name != full.name:
            cells[f"{split} change paper"] = paper - reference
    return cells


def _row_cells(evidence: Evidence, row: str, splits: tuple[str, ...] = ("val",)) -> dict:
    """Our scores of a row of ROWS, against the full approach, or why there are none; quality of its labels of val."""
    run, cells = evidence.run, {}
    for split in splits:
        if split == "test" and not has_test(run.profile):
            cells |= {"test 95 %": NO_TEST}
        elif row not in labelled_rows(run.profile):
            cells |= {f"{split} 95 %": NOT_RUN}
        else:
            confusions = evidence.confusions(row, split)
            cells |= score_cells(miou(confusions), split) | _change_cells(evidence, row, confusions, split)
            if split == "val":
                quality = label_quality(confusions)
                cells |= {name: quality[name] for name in ("fg P", "fg R")}
    return cells


def _change_cells(evidence: Evidence, row: str, confusions: np.ndarray, split: str) -> dict:
    if row == FULL:
        return {f"{split} change 95 %": "reference"}
    return score_cells(miou_gain(confusions, evidence.confusions(FULL, split)), f"{split} change")


# --- values of the text, other readings ------------------------------------------------------------------------------


def text_values(run: Session) -> Table:
    """Values that the paper states in its text, ours, and what the number of iterations of the CRF-RNN does."""
    evidence, trained = Evidence(run), TRAININGS[FULL].iterations
    ours = {"weight lambda of the segmentation loss": (TRAININGS[FULL].weight, None),
            "sigma_z (location)": (SIGMA_Z, _spatial_words()), "sigma_r (HSV histogram)": (SIGMA_R, _colour_words()),
            "CRF-RNN iterations (training and inference)": (trained, "see the last rows")}
    rows = []
    for _, line in run.published("text_values").iterrows():
        value, follows = ours.get(line["quantity"], (None, None))
        rows.append({"quantity": line["quantity"], "where": line["where"], "unit": line["unit"],
                     "value paper": line["value"], "value ours": value, "what follows": follows})
    for count in sorted((*ITERATIONS, trained)):
        row = FULL if count == trained else f"{count} iterations"
        rows.append({"quantity": f"{count} CRF-RNN iterations at test", **_row_cells(evidence, row)})
    order = ["quantity", "where", "unit", "value paper", "value ours", "what follows", "val ours", "val 95 %",
             "val change ours", "val change 95 %"]
    note = (f"{CHANGE_WORDS} The last rows label images with the network of the full approach, trained with {trained} "
            "iterations of the CRF-RNN; the paper has no numbers for them. Our time of training depends on the machine "
            f"and is no part of this table. {labels_used(evidence, run.route.trained(FULL))}")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Values of the text; mIoU in per cent",
                 tables_protocol(run) + note)


def _spatial_words() -> str:
    """What Eq. (8) says of neighbours of one colour."""
    beside, diagonal = (math.exp(-times * (SPACING / SIGMA_Z) ** 2) for times in (1, 2))
    return (f"neurons of one colour, {SPACING:g} pixels from one to the next: w = {beside:.3f} beside each other, "
            f"{diagonal:.3f} across a corner")


def _colour_words() -> str:
    """What Eq. (8) says of colours: mean colours on the scale of 0 to 255 here, histograms in print."""
    apart, histograms = (math.exp(-square / SIGMA_R ** 2) for square in (SIGMA_R ** 2, 2))
    return (f"factor {apart:.3f} for mean colours {SIGMA_R:g} of 255 apart; histograms that sum to 1 would keep it at "
            f"{histograms:.3f} or above")


def options(run: Session) -> Table:
    """Other readings of the paper, against the full approach."""
    evidence = Evidence(run)
    rows = [{"about": "nothing: the full approach", **_row_cells(evidence, FULL)}]
    rows += [{"about": about, "here": here, "instead": instead,
              "trained apart": ROWS[row].training != FULL, **_row_cells(evidence, row)}
             for about, here, instead, row in READINGS]
    order = ["about", "here", "instead", "trained apart", "val ours", "val 95 %", "val change ours", "val change 95 %",
             "fg P", "fg R"]
    note = (f"{CHANGE_WORDS} fg P and R: precision and recall, means over classes. trained apart: yes for a network of "
            "its own, no where the network of the full approach labels images in another way. w/o neighbor of Table 1 "
            f"leaves out neighbours and alpha at once. {labels_used(evidence, run.route.trained(FULL))}")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Other readings of the paper, mIoU in per cent",
                 tables_protocol(run) + note)


# --- the rectified Gaussian ------------------------------------------------------------------------------------------


def study(run: Session) -> Table:
    """Whether the programme of Eq. (3) has a solution that is spread out, mode by mode."""
    facts = Evidence(run).study()
    _, images, *grid = facts["maps"].shape
    rows = [_mode_cells(facts, mode) for mode in MODES]
    note = (f"{run.world.name} val, {images} images on {' x '.join(map(str, grid))} cells, each for its first tag, "
            "first training seed; b is the attention that parents and activation give where attention ends, summed "
            "over channels. positive eigenvalues, of the cells: the programme is concave without any, mean over "
            "images; largest: of all images. active: cells above a thousandth of the maximum, in per cent, mean, least "
            "and most over images. spread: the same counted as (sum of p)^2 over the sum of p^2, the share of cells "
            "that evenly hold as much. residual: how far p is from solving its programme (conditions of Karush, Kuhn "
            "and Tucker), largest of all images. No masks are read.")
    return Table(pd.DataFrame(rows), "Modes of the rectified Gaussian (Eqs. 2, 3 and 9)", note,
                 {"largest eigenvalue": 2, "active %": 2, "active % least": 2, "active % most": 2, "spread %": 2})


def _mode_cells(facts: dict, mode: str) -> dict:
    """The line of a mode. facts: see Evidence.study."""
    at, cells = MODES.index(mode), facts["b"][0].size
    spectra = {"smooth": facts["eigenvalues"][1], "none": np.full((1, cells), -1.0)}
    values = spectra.get(mode, facts["eigenvalues"][0])
    maps, active = facts["maps"][at].reshape(-1, cells).astype(np.float64), 100 * facts["active"][at]
    evenly = divide(maps.sum(1) ** 2, cells * (maps ** 2).sum(1))
    return {"mode": mode, "D": INTERACTIONS[mode], "positive eigenvalues": float((values > 0).sum(1).mean()),
            "of": cells, "largest eigenvalue": float(values.max()), "active %": float(active.mean()),
            "active % least": float(active.min()), "active % most": float(active.max()),
            "spread %": 100 * float(nan_mean(evenly)), "residual": f"{facts['residual'][at].max():.1g}"}


TABLES = {"table1": table1, "table2": table2, "table3": table3, "table4": table4, "table5": table5,
          "text-values": text_values, "options": options, "study": study}
