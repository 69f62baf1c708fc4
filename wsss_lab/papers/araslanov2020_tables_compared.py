"""Araslanov & Roth 2020 beside other methods: Tables 3, 4, 5 and 6; and the cells that all of its tables share."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from wsss_lab.evaluation.confusion import iou, nan_mean
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.published import mismatches
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers.araslanov2020 import Route, trained_nets
from wsss_lab.papers.araslanov2020_evidence import Evidence
from wsss_lab.papers.shared_tables import (
    FAMILIES,
    NO_TEST,
    NOT_RUN,
    TAGS_KNOWN,
    TAGS_UNUSED,
    Table,
    labels_used,
    miou,
    printed_slips,
    protocol,
    split_cells,
    words_on_test,
)
from wsss_lab.seeds.gap_cam import train_cam
from wsss_lab.segmenter.single_stage import train_single_stage
from wsss_lab.segmenter.training import train_second_stage

IOU = "_iou_pct"  # ends the names of printed columns of IoU

#: Our rows of Tables 3, 5 and 6 under their printed names, and whether the dense CRF follows.
OWN_METHODS = {"Ours": False, "Ours + CRF": True}
FULL = {"DeepLabv3+ on ground truth": False, "DeepLabv3+ on ground truth + CRF": True}  # not in the paper's tables


def trains_second(profile: str) -> bool:
    """Whether a profile trains networks of a second stage, on labels or on the ground truth."""
    return "ResNet-101" in trained_nets(profile)


def scales_of(run: Session, exchanged: bool = False) -> str:
    """How test images are looked at: words for `protocol`. exchanged: with the scales of App. F."""
    scale = run.route.scale
    *others, last = (f"{each:g}" for each in (scale.exchanged_scales if exchanged else scale.scales))
    return f"masks averaged over scales {', '.join(others)} and {last} and mirror images"


def tables_protocol(run: Session, split: str = "val", known: bool = False, exchanged: bool = False) -> str:
    """The sentence under a table of scores. known: labels were made with the image's tags, as in Tables 2 and 9."""
    return protocol(run, scales_of(run, exchanged), split, TAGS_KNOWN if known else TAGS_UNUSED)


def network_name(route: Route, net: str = "main") -> str:
    """The family of a backbone, "main" or a name of Table 9, as it is run in this profile."""
    return FAMILIES[route.backbone(net)["family"]]


def own_cells(evidence: Evidence, crf: bool) -> dict:
    """Our cells of the final model in Tables 3 and 8."""
    route, tested = evidence.run.route, has_test(evidence.run.profile)
    return {**split_cells(lambda split: evidence.confusions("ours", crf, split), tested), "source": "measured",
            "network": network_name(route), "labels used": evidence.protocol(route.trained("ours"))}


def second_cells(evidence: Evidence, labels: str, net: str, crf: bool) -> dict:
    """Our cells of a network trained on labels ("ours") or on the ground truth ("full"), in Tables 3 and 8."""
    run = evidence.run
    if not trains_second(run.profile):
        return {"val 95 %": NOT_RUN, "test 95 %": NOT_RUN}
    scores = split_cells(lambda split: evidence.second_confusions(labels, net, crf, split), has_test(run.profile))
    return {**scores, "source": "measured", "network": network_name(run.route, net),
            "labels used": evidence.protocol(run.route.second(labels, net))}


# --- Tables 3 and 4 --------------------------------------------------------------------------------------------------


def table3(run: Session) -> Table:
    """State of the art as printed, our rows of the paper's method, and the same network on the ground truth."""
    evidence, rows = Evidence(run), []
    for _, row in run.published("table3").iterrows():
        measured = {"source": "quoted"}
        if row["method"] in OWN_METHODS:
            measured = own_cells(evidence, OWN_METHODS[row["method"]])
        rows.append({**{name: row[name] for name in ("group", "method", "reference", "backbone", "supervision")},
                     "depends on": row["dependence"], "val paper": row["val_miou_pct"],
                     "test paper": row["test_miou_pct"], "remark": row["note"], **measured})
    rows += [{"group": "fully supervised", "method": method, "supervision": "F",
              **second_cells(evidence, "full", "main", crf)} for method, crf in FULL.items()]
    order = ["group", "method", "reference", "backbone", "supervision", "depends on", "val paper", "val ours",
             "val 95 %", "test paper", "test ours", "test 95 %", "network", "labels used", "remark", "source"]
    note = (" Quoted rows are as printed, measured by others on VOC. I image tags, S saliency, D additional data, "
            "F masks. network, labels used: of our rows. The last rows, not in the paper's table, train the network of "
            f"our single stage on the ground truth. {words_on_test(run, has_test(run.profile))}")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Methods compared, mIoU in per cent",
                 tables_protocol(run) + note)


def table4(run: Session) -> Table:
    """Related work by its number of stages as printed, and what this collection trains for the paper's own methods."""
    evidence, route, rows = Evidence(run), run.route, []
    printed = run.published("table4").rename(columns={
        "stages_as_printed": "stages", "stages_total": "stages in all", "training_cycles": "cycles", "psr": "PSR"})
    for _, row in printed.iterrows():
        counted = {"source": "quoted"}
        if row["method"] == "Ours":
            counted = _stage_cells(evidence, route.trained("ours"))
        rows.append(row.to_dict() | counted)
    rows.append({"method": "CAM (the paper's baseline)", **_stage_cells(evidence, route.cam())})
    if trains_second(run.profile):
        rows.append({"method": "Ours + DeepLabv3+", **_stage_cells(evidence, route.second())})
    note = ("As printed: extras beyond image tags (S saliency, D additional data, or earlier work), number of stages "
            "(sets of weights that are learnt apart, with results saved between them), training cycles of the same "
            "model, and whether a standalone segmentation network is trained at the end (PSR). here: counted from what "
            "this collection trains, pre-training left out. The last rows are not in the paper's table. "
            f"Kept as printed: {printed_slips(run, 'table4')}.")
    return Table(pd.DataFrame(rows), "Related work by stages", note)


def _stage_cells(evidence: Evidence, step: Step) -> dict:
    """What a training rests on, counted from the graph of steps."""
    trainings = {each for each in (*step.ancestors(), step)
                 if each.function in (train_cam, train_single_stage, train_second_stage)}
    return {"stages here": len(trainings), "extras here": "; ".join(evidence.beyond_tags(step)) or "none",
            "PSR here": "yes" if step.function is train_second_stage else "no", "source": "measured"}


# --- Tables 5 and 6 --------------------------------------------------------------------------------------------------


def table5(run: Session) -> Table:
    """IoU of every class on val."""
    return _class_table(run, "table5", "val")


def table6(run: Session) -> Table:
    """IoU of every class on test; in a profile without test split, the printed numbers alone."""
    return _class_table(run, "table6", "test")


def _class_table(run: Session, name: str, split: str) -> Table:
    """Table 5 or 6: a line for each printed one and for full supervision, classes of the run's own world."""
    evidence, rows = Evidence(run), []
    for _, row in run.published(name).iterrows():
        printed = {column.removesuffix(IOU): row[column] for column in row.index if column.endswith(IOU)}
        mean = printed.pop("mean")
        cells = {"group": row["group"], "method": row["method"], "reference": row["reference"],
                 "backbone": row["backbone_mark"], "saliency or extra data": row["saliency_or_extra_data"],
                 "mean paper": mean, "mean of printed cells": float(np.mean(list(printed.values()))),
                 "mean ours": None, "95 %": None, "source": "quoted"}
        ours = None
        if row["method"] in OWN_METHODS:
            crf = OWN_METHODS[row["method"]]
            ours = _measured(run, split, True, lambda crf=crf: evidence.confusions("ours", crf, split))
        rows.append(cells | _class_cells(run, ours, printed))
    for method, crf in FULL.items():
        ours = _measured(run, split, trains_second(run.profile),
                         lambda crf=crf: evidence.second_confusions("full", "main", crf, split))
        rows.append({"group": "fully supervised", "method": method, **_class_cells(run, ours, {})})
    frame = pd.DataFrame(rows)
    frame["source"] = frame.pop("source")  # to the end
    there = split == "val" or has_test(run.profile)
    where = tables_protocol(run, split) if there else (
        f"paper: PASCAL VOC 2012 {split}; {run.world.name} has {NO_TEST}: nothing is measured in this profile.")
    slips = mismatches(run.paper)
    slips = "; ".join(slips["detail"][(slips["artifact"] == name) & (slips["kind"] == "class mean vs printed mean")])
    note = (" Means are over background and all classes, ours of the cells of their line. A class is compared where "
            "both data sets have it (the paper prints a line per class). A mean that disagrees with its cells in print "
            f"is kept: {slips}. {labels_used(evidence, run.route.trained('ours'))} The last rows train on masks.")
    return Table(frame, f"IoU of each class, {split}, per cent", where + note, {"mean of printed cells": 2})


def _measured(run: Session, split: str, trained: bool, confusions: Callable[[], np.ndarray]) -> np.ndarray | str:
    """Confusions of a line of Table 5 or 6, or why there are none."""
    if split == "test" and not has_test(run.profile):
        return NO_TEST
    return confusions() if trained else NOT_RUN


def _class_cells(run: Session, ours: np.ndarray | str | None, printed: dict[str, float]) -> dict:
    """IoU per class of a line beside printed ones of the same name, in per cent, and our mean.

    ours: confusions (S, N, K, K + 1), why there are none, or None for a quoted line.
    """
    labels, cells, values = ("background", *run.world.classes), {}, {}
    if isinstance(ours, str):
        cells = {"95 %": ours}
    elif ours is not None:
        per_class = 100 * nan_mean(iou(ours.sum(1)).T)
        values = dict(zip(labels, per_class.tolist()))
        cells = {"mean ours": float(nan_mean(per_class)), "95 %": miou(ours).ends, "source": "measured"}
    for label in labels:
        if label in printed:
            cells[f"{label} paper"] = printed[label]
        cells[f"{label} ours"] = values.get(label)
    return cells
