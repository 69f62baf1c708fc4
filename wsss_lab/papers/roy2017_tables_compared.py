"""Roy & Todorovic 2017 beside other methods: Tables 2, 3 and 4; and the sentences that all of its tables share."""


import numpy as np
import pandas as pd

from wsss_lab.evaluation.confusion import iou, nan_mean
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.published import mismatches
from wsss_lab.lab.session import Session
from wsss_lab.papers.roy2017 import ROWS, TAUGHT, labelled_rows, taught
from wsss_lab.papers.roy2017_evidence import Evidence
from wsss_lab.papers.shared_tables import (
    NO_TEST,
    NOT_RUN,
    Table,
    miou,
    miou_gain,
    printed_slips,
    protocol,
    score_cells,
)

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
