"""The measured tables of Chaudhry et al. 2017: the printed numbers beside ours, measured rows beside quoted ones.

Table 3 is made of pictures and stands with the figures.
"""

import numpy as np
import pandas as pd

from wsss_lab.evaluation.confusion import iou, nan_mean
from wsss_lab.evaluation.intervals import Interval
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers.chaudhry2017 import AS_RELEASED, POSTPROCESSED, ROWS, TESTED, Route, trained_rows
from wsss_lab.papers.chaudhry2017_evidence import Evidence
from wsss_lab.papers.chaudhry2017_tables_stages import (
    attention_steps,
    attention_summary,
    cue_steps,
    cue_summary,
    hierarchy_steps,
    hierarchy_summary,
    mean_steps,
    mean_summary,
    scales_of,
)
from wsss_lab.papers.shared_tables import (
    NO_TEST,
    NOT_RUN,
    Table,
    labels_used,
    miou,
    miou_gain,
    printed_slips,
    protocol,
    score_cells,
    split_cells,
    words_on_test,
)

FULL = "S3 + adapt"  # the paper's method
IOU = "_iou_pct"  # ends the names of printed columns of IoU

#: Table 1's methods that are run here, under their printed names.
OWN_METHODS = {"Joon et al.": "VGG, G2", "DCSP-VGG16 (ours)": "VGG, S3 + adapt", "DCSP-ResNet-101 (ours)": FULL}

#: What `ablations` compares with the paper's method: (what is different, row of ROWS, scales at test time).
ABLATIONS = (
    ("gradient as released: class loss reaches its own layer only", "S3 + adapt, released gradient", ()),
    ("pixel loss only (labels pixels as the row above)", "S3 + adapt, pixel loss only", ()),
    ("adapted cues as released: absent classes set to score 0", "S3 + adapt, released masking", ()),
    ("cues adapted from one scale", "S3 + adapt, one scale", ()),
    ("stage 1 as released: new layers only", "S3 + adapt, frozen trunk", ()),
    ("cues not adapted, one round", "S3", ()),
    ("cues not adapted, two rounds", "S3, longer", ()),
    ("cues adapted twice, three rounds", "S3 + adapt twice", ()),
    ("one scale at test time", FULL, (1.0,)),
    ("ground truth as cues", "full", ()),
)


def steps(route: Route, profile: str) -> list[Step]:
    """Everything that the tables read, for one seed."""
    rows = trained_rows(profile)
    scored = [route.scored(name) for name in rows] + [route.scored(FULL, scales=(1.0,))]
    refined = [route.scored(name, True) for name in POSTPROCESSED if name in rows]
    tested = [route.scored(name, crf, "test") for name in TESTED if name in rows and has_test(profile)
              for crf in (False, True)]
    direct = [route.score(route.direct(tags)) for tags in ("predicted", "known")]
    stages = [step for of in (attention_steps, hierarchy_steps, cue_steps, mean_steps) for step in of(route, profile)]
    return [*scored, *refined, *tested, *direct, *stages]


def table1(run: Session) -> Table:
    """State of the art as printed, and our rows of the paper's methods and of Oh et al.'s."""
    evidence, rows = Evidence(run), []
    for _, row in run.published("table1").iterrows():
        cells = {"method": row["method"].removesuffix(" (ours)"), "reference": row["reference"], "CRF": row["crf"],
                 "val paper": row["val_miou_pct"], "test paper": row["test_miou_pct"]}
        measured = {"source": "quoted"}
        if row["method"] in OWN_METHODS:
            measured = _measured_cells(evidence, OWN_METHODS[row["method"]], row["crf"] == "yes")
        rows.append({**cells, **measured, "remark in print": row["note"]})
    for crf in ("no", "yes"):
        rows.append({"method": "Joon et al. with DCSP's network", "CRF": crf,
                     **_measured_cells(evidence, "G2", crf == "yes")})
    order = ["method", "reference", "CRF", "val paper", "val ours", "val 95 %", "test paper", "test ours", "test 95 %",
             "network", "labels used", "remark in print", "source"]
    note = (" Quoted rows are as printed, measured by others on VOC. Joon et al. is Oh et al. 2017: its rule G2, with "
            "VGG as in print; the last two rows, not in the paper's table, give it the network of DCSP-ResNet-101, so "
            f"that only cues and losses differ. network, labels used: of our rows. "
            f"{words_on_test(run, has_test(run.profile))}")
    frame = pd.DataFrame(rows).reindex(columns=order)
    return Table(frame, "Methods compared, mIoU in per cent", _protocol(run) + note)


def table2(run: Session) -> Table:
    """Saliency mask against adapting, with and without CRF; and the control that trains as long without adapting."""
    evidence, rows = Evidence(run), []
    printed = run.published("table2")
    before = printed[printed["adapt"] == "no"].set_index(["crf", "saliency_mask"])["val_miou_pct"]
    for _, row in printed.iterrows():
        kind, crf, adapt = row["saliency_mask"].split()[0], row["crf"] == "yes", row["adapt"] == "yes"
        cells = {"CRF": row["crf"], "saliency mask": row["saliency_mask"], "adapt": row["adapt"],
                 "val paper": row["val_miou_pct"]}
        if adapt:
            cells["gain paper"] = row["val_miou_pct"] - before[row["crf"], row["saliency_mask"]]
        rows.append(cells | _gain_cells(evidence, f"{kind} + adapt" if adapt else kind, kind, crf))
    rows.append({"CRF": "no", "saliency mask": "S3 (HS)", "adapt": "no, two rounds",
                 **_gain_cells(evidence, "S3, longer", "S3", False)})
    order = ["CRF", "saliency mask", "adapt", "rounds", "val paper", "val ours", "val 95 %", "gain paper", "gain ours",
             "gain 95 %"]
    note = (" gain: in percentage points over the row with the same saliency mask and CRF whose cues are not adapted. "
            "Adapting comes with a second round of training; the last row, not in the paper's table, trains the second "
            f"round on the old cues. {labels_used(evidence, run.route.trained(FULL))}")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Saliency mask, adapted cues and CRF: mIoU in per cent",
                 _protocol(run) + note)


def table4(run: Session) -> Table:
    """Attention and saliency combined directly on val, against the network that learns from them jointly."""
    evidence = Evidence(run)
    printed = run.published("table4").set_index("joint_training")["val_miou_pct"]
    direct, joint = evidence.direct_confusions("predicted"), evidence.confusions(FULL)
    known = evidence.direct_confusions("known")
    rows = [_joint_row("no", "Algorithm 1 on val, classes predicted", printed["no"], direct),
            _joint_row("no", "Algorithm 1 on val, tags known", None, known, miou_gain(known, direct)),
            _joint_row("yes", FULL, printed["yes"], joint, miou_gain(joint, direct), printed["yes"] - printed["no"])]
    note = (" gain: over the first row, in percentage points. Without joint training, attention and S3 are combined on "
            "each val image and scored as they are. The paper does not say which classes it lets in: those that the "
            "attention network sees with a probability above 1/2 (the best one if there is none), as a method without "
            "tags must; or, in the row that says so, the image's own tags. What the class loss alone brings is another "
            f"question, see the ablations. {labels_used(evidence, run.route.trained(FULL))}")
    order = ["joint training", "scored", "val paper", "val ours", "val 95 %", "gain paper", "gain ours", "gain 95 %"]
    return Table(pd.DataFrame(rows).reindex(columns=order), "Joint training: mIoU in per cent", _protocol(run) + note)


def table5(run: Session) -> Table:
    """IoU of every class by erasing step, on val."""
    return _class_table(run, "table5", "val")


def table6(run: Session) -> Table:
    """IoU of every class by erasing step, on test; in a profile without test split, the printed means alone."""
    return _class_table(run, "table6", "test")


def ablations(run: Session) -> Table:
    """One thing changed at a time, against the paper's method."""
    evidence = Evidence(run)
    printed = run.published("table2")
    printed = printed[printed["crf"] == "no"].set_index(["saliency_mask", "adapt"])["val_miou_pct"]
    paper = {FULL: printed["S3 (HS)", "yes"], "S3": printed["S3 (HS)", "no"]}
    reference = evidence.confusions(FULL)
    rows = [{"changed": f"nothing: {FULL}, joint loss", **score_cells(miou(reference), "val"),
             "gain 95 %": "reference", "val paper": paper[FULL], "labels used": _reasons(evidence, FULL)}]
    for changed, name, scales in ABLATIONS:
        if name == AS_RELEASED and name not in trained_rows(run.profile):
            continue
        cells = {"changed": changed, "val ours": None, "val 95 %": NOT_RUN}
        if name in trained_rows(run.profile):
            confusions = evidence.confusions(name, scales=scales)
            cells |= score_cells(miou(confusions), "val") | score_cells(miou_gain(confusions, reference), "gain")
            cells["labels used"] = _reasons(evidence, name)
        if not scales:
            cells["val paper"] = paper.get(name)
        rows.append(cells)
    order = ["changed", "val paper", "val ours", "val 95 %", "gain ours", "gain 95 %", "labels used"]
    note = (" gain: over the first row, in percentage points, paired by image and seed. Each round is equally long. "
            "With the released gradient the class loss changes nothing that labels pixels, so that one of these two "
            "changes is enough.")
    return Table(pd.DataFrame(rows).reindex(columns=order), "One thing changed at a time, mIoU in per cent",
                 _protocol(run) + note)


TABLES = {"table1": table1, "table2": table2, "table4": table4, "table5": table5, "table6": table6,
          "text_attention": attention_summary, "text_hierarchy": hierarchy_summary, "text_cues": cue_summary,
          "text_means": mean_summary, "ablations": ablations}


def _protocol(run: Session, split: str = "val") -> str:
    return protocol(run, scales_of(run), split)


def _reasons(evidence: Evidence, name: str) -> str:
    return evidence.protocol(evidence.run.route.trained(name))


def _measured_cells(evidence: Evidence, name: str, crf: bool) -> dict:
    """Our scores on val and test of a row of Table 1, or why there are none."""
    run = evidence.run
    if name not in trained_rows(run.profile):
        return {"val 95 %": NOT_RUN, "test 95 %": NOT_RUN, "source": "quoted"}
    scores = split_cells(lambda split: evidence.confusions(name, crf, split), has_test(run.profile))
    return {**scores, "source": "measured", "network": run.route.network_name(ROWS[name].net),
            "labels used": _reasons(evidence, name)}


def _gain_cells(evidence: Evidence, name: str, without: str, crf: bool) -> dict:
    """Our cells of a line of Table 2. without: the row that the gain is counted from."""
    if name not in trained_rows(evidence.run.profile):
        return {"val 95 %": NOT_RUN}
    confusions = evidence.confusions(name, crf)
    cells = {"rounds": ROWS[name].rounds, **score_cells(miou(confusions), "val")}
    if name == without:
        return cells
    return cells | score_cells(miou_gain(confusions, evidence.confusions(without, crf)), "gain")


def _joint_row(joint: str, scored: str, paper: float | None, confusions: np.ndarray, gain: Interval | None = None,
               gain_paper: float | None = None) -> dict:
    """A line of Table 4."""
    gained = {} if gain is None else score_cells(gain, "gain")
    return {"joint training": joint, "scored": scored, "val paper": paper, **score_cells(miou(confusions), "val"),
            "gain paper": gain_paper, **gained}


def _class_table(run: Session, name: str, split: str) -> Table:
    """Table 5 or 6: a line for each printed column, classes of the run's own world."""
    evidence, rows = Evidence(run), []
    for _, row in run.published(name).iterrows():
        printed = {column.removesuffix(IOU): row[column] for column in row.index if column.endswith(IOU)}
        mean = printed.pop("mean")
        rows.append({"saliency": row["saliency_step"], "CRF": row["crf"], "mean paper": mean,
                     "mean of printed cells": float(np.mean(list(printed.values()))),
                     **_class_cells(evidence, f"{row['saliency_step']} + adapt", row["crf"] == "yes", split, printed)})
    there = split == "val" or has_test(run.profile)
    where = _protocol(run, split) if there else (
        f"paper: PASCAL VOC 2012 {split}; {run.world.name} has {NO_TEST}: nothing is measured in this profile.")
    note = (" All rows with adapted cues. Means are over background and all classes, ours of the cells of their line. "
            "A class is compared where both data sets have it (the paper prints a line per class). Means that disagree "
            f"with their cells in print are kept: {printed_slips(run, name)}. "
            f"{labels_used(evidence, run.route.trained(FULL))}")
    return Table(pd.DataFrame(rows), f"IoU of each class by erasing step, {split}, per cent", where + note,
                 {"mean of printed cells": 2})


def _class_cells(evidence: Evidence, name: str, crf: bool, split: str, printed: dict[str, float]) -> dict:
    """Our mean and IoU per class of a row, in per cent; printed ones beside those of the same name."""
    run = evidence.run
    ours, cells = {}, {"mean ours": None, "95 %": NOT_RUN}
    if split == "test" and not has_test(run.profile):
        cells["95 %"] = NO_TEST
    elif name in trained_rows(run.profile):
        confusions = evidence.confusions(name, crf, split)
        values = 100 * nan_mean(iou(confusions.sum(1)).T)
        ours = dict(zip(("background", *run.world.classes), values.tolist()))
        cells = {"mean ours": float(nan_mean(values)), "95 %": miou(confusions).ends}
    for label in ("background", *run.world.classes):
        if label in printed:
            cells[f"{label} paper"] = printed[label]
        cells[f"{label} ours"] = ours.get(label)
    return cells
