"""The measured tables of Araslanov & Roth 2020: ablations, pseudo-masks, two stages, backbones; and its switches.

The tables that compare with other methods are in araslanov2020_tables_compared.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from wsss_lab.evaluation.confusion import iou, mean_iou, nan_mean
from wsss_lab.evaluation.intervals import Interval, difference_interval, interval
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.published import mismatches
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.measure.tables import NOT_RUN, Table
from wsss_lab.papers.araslanov2020.route import (
    EXCHANGED,
    GATE_ROWS,
    ITERATION_ROWS,
    KERNELS,
    PSIS,
    PUBLISHED,
    ROWS,
    SWITCHES,
    Route,
    gate_row,
    penalty_row,
    trained_nets,
    trained_rows,
)
from wsss_lab.papers.shared_evidence import SeededEvidence
from wsss_lab.papers.shared_tables import (
    FAMILIES,
    NO_TEST,
    TAGS_KNOWN,
    TAGS_UNUSED,
    label_quality,
    labels_used,
    miou,
    miou_gain,
    printed_slips,
    protocol,
    score_cells,
    split_cells,
    words_on_test,
)
from wsss_lab.seeds.gap_cam import train_cam
from wsss_lab.segmenter.single_stage import train_single_stage
from wsss_lab.segmenter.training import train_second_stage


class Evidence(SeededEvidence):
    """Stored scores of a session, stacked over its S seeds.

    Confusions are (S, N, K, K + 1) counts per seed and image; rows are keys of araslanov2020.ROWS. crf: after the dense
    CRF. The other arguments are those of the route's methods of the same name.
    """

    def confusions(self, row: str, crf: bool = False, split: str = "val", tags: str = "predicted",
                   exchanged: bool = False, power: float = 1.0, void: bool = False) -> np.ndarray:
        """Confusions of a row's labels; void=True counts void pixels as background."""
        return self.stack(lambda route: route.score(route.prediction(row, split, tags, exchanged, power), split, crf),
                          "with_void" if void else "confusions")

    def cam_confusions(self, net: str = "main", crf: bool = False, split: str = "val", exchanged: bool = False,
                       void: bool = False) -> np.ndarray:
        """Confusions of the CAM baseline's labels, tags known."""
        return self.stack(lambda route: route.score(route.cam_labels(net, split, exchanged), split, crf),
                          "with_void" if void else "confusions")

    def second_confusions(self, labels: str = "ours", net: str = "ResNet-101", crf: bool = False, split: str = "val",
                          void: bool = False) -> np.ndarray:
        """Confusions of a network of the second stage."""
        return self.stack(lambda route: route.score(route.second_labels(labels, net, split), split, crf),
                          "with_void" if void else "confusions")

    def curves(self, row: str) -> dict[str, np.ndarray]:
        """What a training wrote down per iteration, name -> (S, iterations); shorter where it starts after the warm-up,
        see wsss_lab.segmenter.single_stage.Losses."""
        each = self.stack(lambda route: route.trained(row), "curves")
        return {name: np.array([curves[name] for curves in each]) for name in each[0]}


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


LOST = "lost"  # a printed cell that the paper's text, where the numbers were read, has not kept
NO_XCEPTION = "not run: torchvision has no Xception-65"

SPLITS = ("train", "val")  # of Table 2

#: The rows of Table 1c that it doesn't print: the other mixing rates.
MORE_PSIS = {gate_row(psi, injected): f"psi={psi:g}{'' if injected else ' w/o GCI'}"
             for psi in PSIS for injected in (True, False) if gate_row(psi, injected) not in GATE_ROWS}

#: Second stages of Table 8: (labels, backbone).
SECOND = (("ours", "ResNet-101"), ("ours", "main"), ("full", "main"))

#: What `switches` says of the rows of SWITCHES; the last one depends on the profile.
SWITCH_WORDS = {
    "bandwidth of Eq. 8": "Eq. 8 as printed: differences over the variance, not over 0.1 times the deviation",
    "average of Eq. 23": "Eq. 23 as printed: images weighted by their labelled pixels",
    "injection of Eq. 11": "Eq. 11 as printed: each image normalised by itself, gain z, not 1 + z",
    "no least confidence": "pseudo labels without a least confidence of 0.2",
    "epsilon=0": "epsilon of Eq. 3 is 0, not 1",
    "other ASPP statistics": "batch statistics of ASPP {}",
}


def steps(route: Route, profile: str) -> list[Step]:
    """Everything that the tables read, for one seed."""
    trained = trained_rows(profile)
    labels = [(route.prediction(row), "val") for row in trained if row not in (*EXCHANGED, *SWITCHES)]
    labels += [(route.prediction(row, power=PUBLISHED.background_power), "val") for row in ("ours", "reference")]
    for split in SPLITS:
        labels += [(route.prediction("ours", split, "known"), split), (route.cam_labels("main", split), split)]
    for net in trained_nets(profile):
        labels += [(route.prediction(_row_of(net), tags="known", exchanged=True), "val"),
                   (route.cam_labels(net, exchanged=True), "val")]
    tested = ("val", "test") if has_test(profile) else ("val",)
    if has_test(profile):
        labels.append((route.prediction("ours", "test"), "test"))
    if trains_second(profile):
        labels += [(route.second_labels(*second, split), split) for second in SECOND for split in tested]
    scored = [route.score(made, split, crf) for made, split in labels for crf in (False, True)]
    return scored + [route.score(route.prediction(row)) for row in SWITCHES if row in trained]


# --- Tables 1a, 1b, 1c and 7: one thing changed at a time ------------------------------------------------------------


def table1a(run: Session) -> Table:
    """The size penalty: p and lambda, and no penalty."""
    printed, lines = run.published("table1a"), []
    for _, row in printed.iterrows():
        penalised = row["mask_penalty"] == "yes"
        lost = LOST if penalised else None  # the row without penalty is in the text alone
        cells = {"penalty": "yes" if penalised else "no", "p": row["p"], "lambda": row["lambda"],
                 "val paper": row["val_miou_pct"], "val + CRF paper": row["val_miou_crf_pct"]}
        cells = {name: lost if name.endswith("paper") and pd.isna(value) else value for name, value in cells.items()}
        if not cells["val paper"] == cells["val + CRF paper"] == LOST:
            cells["remark"] = row["note"]
        lines.append((cells, penalty_row(row["p"], row["lambda"]) if penalised else "no penalty"))
    note = (f" {LOST}: of the table's grid the paper's text has kept what its sentences repeat. "
            f"{_gain_words('p = 3, lambda = 0.01')}")
    return _ablation(run, lines, "reference", "Size penalty (Eqs. 4 and 5)", note, {"lambda": 3})


def table1b(run: Session) -> Table:
    """PAMR's kernel: none, and the dilations of the others."""
    none, small, other, shape, last, best = run.published("table1b")["val_miou_pct"]
    small, large = f"{small:g} or {other:g}", f"{shape:g} or {last:g}"
    lines = []
    for (row, kernel), paper in zip(KERNELS.items(), (none, small, small, large, large, best)):
        dilations = run.route.scale.dilations(kernel)
        cells = {"kernel": "-".join(map(str, kernel)) or "no PAMR",
                 "dilations here": "-".join(map(str, dilations)) or None, "val paper": paper}
        if row == "reference":
            cells["gain paper"] = paper - none
        lines.append((cells, row))
    note = (f" 'or': the paper's text has lost which of two kernels has which value; of the two small ones it names "
            "1-2-4-8, and 1-2-4 is our choice of the other. dilations here: the same shares of our masks. "
            f"{_gain_words('no PAMR')}")
    return _ablation(run, lines, "no PAMR", "Kernel of PAMR (Eqs. 7 and 8)", note)


def table1c(run: Session) -> Table:
    """The gate: mixing rates with and without Global Cue Injection, no gate, a deterministic one."""
    printed, lines = run.published("table1c"), []
    first = printed["val_miou_pct"].iloc[0]
    for (_, row), name in zip(printed.iterrows(), GATE_ROWS, strict=True):
        cells = {"gate": row["config"], **_printed_cells(row)}
        if name != "reference":
            cells["gain paper"] = row["val_miou_pct"] - first
        lines.append((cells, name))
    lines += [({"gate": words}, name) for name, words in MORE_PSIS.items()]
    note = (" GCI: Global Cue Injection; SG: stochastic gate. The deterministic gate takes Eq. 10 in training too, "
            "since Eq. 9 with r = psi gives back the deep features. Rows without a printed number are not in the "
            f"paper. {_gain_words('the first row')}")
    return _ablation(run, lines, "reference", "Stochastic gate (Eqs. 9 to 11)", note)


def table7(run: Session) -> Table:
    """Number of iterations of PAMR."""
    names = {count: row for row, count in ITERATION_ROWS.items()}
    printed = run.published("table7").set_index("pamr_iterations")
    lines = []
    for count, row in printed.iterrows():
        cells = {"iterations": count, **_printed_cells(row)}
        if names[count] != "reference":
            cells["gain paper"] = row["val_miou_pct"] - printed["val_miou_pct"][10]
        lines.append((cells, names[count]))
    return _ablation(run, lines, "reference", "Iterations of PAMR in training", f" {_gain_words('10 iterations')}")


def _printed_cells(row: pd.Series) -> dict:
    plain, refined = row["val_miou_pct"], row["val_miou_crf_pct"]
    return {"val paper": plain, "val + CRF paper": refined, "CRF adds paper": refined - plain}


def _gain_words(reference: str) -> str:
    return (f"gain: over {reference}, in percentage points and without CRF, paired by image and seed. CRF adds: mIoU "
            "with CRF over that without. fg P and R: precision and recall without CRF, means over classes.")


def _ablation(run: Session, lines: list[tuple[dict, str]], reference: str, changed: str, note: str,
              decimals: dict[str, int] | None = None) -> Table:
    """lines: what a line says before our numbers, and its row of ROWS. reference: the row that gains are over."""
    evidence = Evidence(run)
    frame = pd.DataFrame([cells | _ablation_cells(evidence, row, reference) for cells, row in lines])
    numbers = [f"{what} {of}" for what in ("val", "gain", "val + CRF", "CRF adds") for of in ("paper", "ours", "95 %")]
    numbers += ["fg P", "fg R"]
    first = [name for name in frame if name not in (*numbers, "remark")]
    order = [name for name in (*first, *numbers, "remark") if name in frame]
    psi = ROWS["reference"].method.psi
    settings = f" What a row does not say: psi = {psi:g} with GCI, p = 3, lambda = 0.01, 10 iterations of PAMR."
    return Table(frame[order], f"{changed}: mIoU in per cent",
                 f"{tables_protocol(run)}{settings}{note} {labels_used(evidence, run.route.trained(reference))}",
                 decimals or 1)


def _ablation_cells(evidence: Evidence, row: str, reference: str) -> dict:
    trained = trained_rows(evidence.run.profile)
    if row not in trained:
        return {"val 95 %": NOT_RUN}
    plain, refined = evidence.confusions(row), evidence.confusions(row, True)
    quality = label_quality(plain)
    cells = {**score_cells(miou(plain), "val"), **score_cells(miou(refined), "val + CRF"),
             **score_cells(miou_gain(refined, plain), "CRF adds"), "fg P": quality["fg P"], "fg R": quality["fg R"]}
    if row == reference:
        return cells | {"gain 95 %": "reference"}
    return cells | score_cells(miou_gain(plain, evidence.confusions(reference)), "gain")


# --- Tables 2, 8 and 9 -----------------------------------------------------------------------------------------------


def table2(run: Session) -> Table:
    """Pseudo-masks of train and val with tags known: the single stage against CAM, and quoted methods."""
    evidence, printed, rows = Evidence(run), run.published("table2"), []
    base = printed.iloc[0]
    for _, row in printed.iterrows():
        cells = {"method": row["method"], "reference": row["reference"], "source": "quoted"}
        for split in SPLITS:
            paper = row[f"{split}_miou_pct"]
            cells[f"{split} paper"] = paper
            if row["method"] in OWN_METHODS:
                cells[f"{split} gain paper"] = paper - base[f"{split}_miou_pct"]
        if row["method"] in OWN_METHODS:
            crf = OWN_METHODS[row["method"]]
            known = [evidence.confusions("ours", crf, split, tags="known") for split in SPLITS]
            cells |= _against_cam(evidence, known)
        rows.append(cells)
        if row["method"] == base["method"]:
            cells |= _against_cam(evidence, [evidence.cam_confusions("main", False, split) for split in SPLITS], False)
            refined = [evidence.cam_confusions("main", True, split) for split in SPLITS]
            rows.append({"method": "CAM + CRF", **_against_cam(evidence, refined)})
    order = [f"{split}{what}" for split in SPLITS
             for what in (" paper", " ours", " 95 %", " gain paper", " gain ours", " gain 95 %")]
    frame = pd.DataFrame(rows).reindex(columns=["method", "reference", *order, "source"])
    note = (f" Train: the {len(run.view('train'))} training images; their masks only score. Classes that are not tags "
            "get no pixel. gain: over the first row, CAM without CRF, in percentage points. CAM + CRF is not in the "
            f"paper's table. {labels_used(evidence, run.route.trained('ours'))}")
    return Table(frame, "Pseudo-masks with tags known, mIoU in per cent", tables_protocol(run, known=True) + note)


def _against_cam(evidence: Evidence, confusions: list[np.ndarray], gains: bool = True) -> dict:
    """Our cells of a line of Table 2. confusions: (S, N, K, K + 1) of train and val. gains: over CAM without CRF."""
    cells = {"source": "measured"}
    for split, each in zip(SPLITS, confusions):
        cells |= score_cells(miou(each), split)
        if gains:
            gain = miou_gain(each, evidence.cam_confusions("main", False, split))
            cells |= score_cells(gain, f"{split} gain")
    return cells


def table8(run: Session) -> Table:
    """A DeepLabv3+ trained on our pseudo labels, against the single stage and quoted methods."""
    evidence, rows = Evidence(run), []
    single = run.published("table3").set_index("method").loc["Ours + CRF", "val_miou_pct"]
    for _, row in run.published("table8").iterrows():
        cells = {**{name: row[name] for name in ("group", "method", "reference", "backbone", "supervision")},
                 "val paper": row["val_miou_pct"], "test paper": row["test_miou_pct"], "source": "quoted"}
        if row["group"] == "two stage":
            cells["gain paper"] = row["val_miou_pct"] - single
            run_here = row["backbone"] == "ResNet-101"
            cells |= _two_stage_cells(evidence, "ResNet-101", False) if run_here else {"val 95 %": NO_XCEPTION}
        rows.append(cells)
    named = {"group": "two stage", "method": "Ours + DeepLabv3+", "supervision": "I"}
    rows += [{**named, "method": named["method"] + (" + CRF" if crf else ""), "backbone": backbone,
              **_two_stage_cells(evidence, net, crf)}
             for net, backbone, crf in (("ResNet-101", "ResNet-101", True), ("main", "WideResNet-38", False),
                                        ("main", "WideResNet-38", True))]
    printed = run.published("table3").set_index("method")
    rows += [{"group": "single stage", "method": method, "backbone": "WideResNet-38", "supervision": "I",
              "val paper": printed.loc[method, "val_miou_pct"], "test paper": printed.loc[method, "test_miou_pct"],
              **own_cells(evidence, crf), "gain 95 %": "reference" if crf else None}
             for method, crf in OWN_METHODS.items()]
    rows += [{"group": "fully supervised", "method": f"DeepLabv3+ on ground truth{' + CRF' * crf}", "supervision": "F",
              "backbone": "WideResNet-38", **second_cells(evidence, "full", "main", crf)} for crf in (False, True)]
    order = ["group", "method", "reference", "backbone", "supervision", "val paper", "val ours", "val 95 %",
             "gain paper", "gain ours", "gain 95 %", "test paper", "test ours", "test 95 %", "network", "labels used",
             "source"]
    note = (" Quoted rows are as printed, measured by others on VOC. Two stages: trained on the labels that our single "
            "stage gives the training images, with their tags and the CRF. gain: on val, over the single stage with "
            "CRF, in percentage points. The rows after the paper's last one are not in its table; those of the single "
            f"stage have its numbers of Table 3. network, labels used: of our rows. "
            f"{words_on_test(run, has_test(run.profile))}")
    return Table(pd.DataFrame(rows).reindex(columns=order), "A second stage on our labels, mIoU in per cent",
                 tables_protocol(run) + note)


def _two_stage_cells(evidence: Evidence, net: str, crf: bool) -> dict:
    cells = second_cells(evidence, "ours", net, crf)
    if not trains_second(evidence.run.profile):
        return cells
    gain = miou_gain(evidence.second_confusions("ours", net, crf), evidence.confusions("ours", True))
    return cells | score_cells(gain, "gain")


def table9(run: Session) -> Table:
    """CAM and the single stage by backbone, tags known, at the scales of App. F."""
    evidence, rows = Evidence(run), []
    printed = run.published("table9")
    backbones = [name for name in printed["backbone"] if name != "Mean"]
    for crf in (False, True):
        mark = "_crf" if crf else ""
        for _, row in printed.iterrows():
            nets = [_net_of(name) for name in (backbones if row["backbone"] == "Mean" else [row["backbone"]])]
            cam, ours = row[f"baseline_cam{mark}_val_miou_pct"], row[f"ours{mark}_val_miou_pct"]
            rows.append({"backbone": row["backbone"], "CRF": "yes" if crf else "no", "CAM paper": cam,
                         "single stage paper": ours, "gain paper": ours - cam, **_backbone_cells(evidence, nets, crf)})
    order = ["backbone", "CRF", "network", "CAM paper", "CAM ours", "CAM 95 %", "single stage paper",
             "single stage ours", "single stage 95 %", "gain paper", "gain ours", "gain 95 %"]
    note = (" Classes that are not tags get no pixel. network: the family run in this profile. gain: over CAM of the "
            "same line, in percentage points, paired by image and seed. Mean: of the four backbones. VGG16 ends at "
            "conv5 here; the released code goes on with fc6 and fc7 as convolutions. "
            f"{labels_used(evidence, run.route.trained('ours'))}")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Backbones, tags known, mIoU in per cent",
                 tables_protocol(run, known=True, exchanged=True) + note)


def _net_of(backbone: str) -> str:
    return backbone if backbone in EXCHANGED else "main"


def _row_of(net: str) -> str:
    return "ours" if net == "main" else net


def _backbone_cells(evidence: Evidence, nets: list[str], crf: bool) -> dict:
    """Our cells of a line of Table 9: mean over the backbones."""
    run = evidence.run
    if not set(nets) <= set(trained_nets(run.profile)):
        return {"CAM 95 %": NOT_RUN, "single stage 95 %": NOT_RUN}
    cam = np.stack([evidence.cam_confusions(net, crf, exchanged=True) for net in nets], 2)
    ours = np.stack([evidence.confusions(_row_of(net), crf, tags="known", exchanged=True) for net in nets], 2)
    gain = difference_interval(ours, cam, _mean_over_nets).percent("pp")
    network = network_name(run.route, nets[0]) if len(nets) == 1 else None
    return {"network": network, **score_cells(_net_interval(cam), "CAM"),
            **score_cells(_net_interval(ours), "single stage"), **score_cells(gain, "gain")}


def _net_interval(confusions: np.ndarray) -> Interval:
    return interval(confusions, _mean_over_nets).percent()


def _mean_over_nets(sums: np.ndarray) -> np.ndarray:
    """Mean IoU of each network, mean over them. sums: (R, nets, K, K + 1)."""
    return mean_iou(sums).mean(-1)


# --- what the paper leaves open --------------------------------------------------------------------------------------


def switches(run: Session) -> Table:
    """Where paper and released code differ or say nothing: the other choice, against the one taken."""
    evidence, route = Evidence(run), run.route
    reference, ours, known = {"row": "reference"}, {"row": "ours"}, {"row": "ours", "tags": "known"}
    statistics = route.method("other ASPP statistics")["aspp_statistics"]
    power = {"power": PUBLISHED.background_power}
    to_power = f"background's mask to the power {PUBLISHED.background_power:g} before labelling, as released"
    lines = [("nothing: psi = 0.5", reference, None), ("nothing: psi = 0.3, the final model", ours, reference),
             *((SWITCH_WORDS[name].format(statistics), {"row": name}, reference) for name in SWITCHES),
             (to_power, reference | power, reference), (to_power, ours | power, ours),
             ("tags known at test time", known, ours),
             ("tags known, scales of App. F", known | {"exchanged": True}, known)]
    rows = [_switch_cells(evidence, *line) for line in lines]
    full = {"changed": "plain DeepLabv3+ on the ground truth", "compared with": "psi = 0.3", "val 95 %": NOT_RUN}
    if trains_second(run.profile):
        both = [evidence.second_confusions("full", "main", crf) for crf in (False, True)]
        full |= _compared_cells(both, [evidence.confusions("ours", crf) for crf in (False, True)])
        full["labels used"] = evidence.protocol(route.second("full", "main"))
    order = ["changed", "compared with", *(f"{what} {of}" for what in ("val", "gain", "val + CRF", "gain + CRF")
                                           for of in ("ours", "95 %")), "labels used"]
    note = (" gain: over what the row is compared with, in percentage points, paired by image and seed. The paper "
            "prints none of these comparisons. Rows that change the training are scored without CRF alone.")
    return Table(pd.DataFrame([*rows, full]).reindex(columns=order), "Switches of the method: mIoU in per cent",
                 tables_protocol(run) + note)


def _switch_cells(evidence: Evidence, changed: str, what: dict, against: dict | None) -> dict:
    """what, against: arguments of Evidence.confusions."""
    run = evidence.run
    cells = {"changed": changed, "val 95 %": NOT_RUN}
    if against:
        cells["compared with"] = (f"psi = {ROWS[against['row']].method.psi:g}"
                                  + (", tags known" if against.get("tags") == "known" else ""))
    same = what.get("exchanged") and run.route.scale.exchanged_scales == run.route.scale.scales
    if same or what["row"] not in trained_rows(run.profile):
        return cells
    crfs = (False,) if what["row"] in SWITCHES else (False, True)
    pairs = [[evidence.confusions(crf=crf, **each) for crf in crfs] for each in (what, against or what)]
    cells |= _compared_cells(*pairs)
    if not against:
        cells |= {name: None for name in cells if name.startswith("gain")}
        cells |= {"gain 95 %": "reference", "gain + CRF 95 %": "reference"}
    return cells | {"labels used": evidence.protocol(run.route.trained(what["row"]))}


def _compared_cells(what: list[np.ndarray], against: list[np.ndarray]) -> dict:
    """Scores and gains of confusions without and with CRF."""
    cells = {}
    for mark, ours, base in zip(("", " + CRF"), what, against):
        cells |= score_cells(miou(ours), f"val{mark}") | score_cells(miou_gain(ours, base), f"gain{mark}")
    return cells


TABLES = {"table1a": table1a, "table1b": table1b, "table1c": table1c, "table2": table2, "table3": table3,
          "table4": table4, "table5": table5, "table6": table6, "table7": table7, "table8": table8, "table9": table9,
          "switches": switches}
