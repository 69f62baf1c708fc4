"""What is measured of Araslanov & Roth 2020, and its tables: ablations, pseudo-masks, stages, backbones, switches."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Output, Step
from wsss_lab.measure.quantities import Derived, NotMeasured, Quantity, Source, cached, figure, mean
from wsss_lab.measure.strata import Dial
from wsss_lab.measure.tables import NOT_RUN, REFERENCE, Column, Table, ends, measured, table
from wsss_lab.measure.world_card import colours_bind
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
from wsss_lab.papers.shared_tables import (
    CLASSES_NOTE,
    FAMILIES,
    LABEL_QUALITY,
    NO_TEST,
    TAGS_KNOWN,
    TAGS_UNUSED,
    beyond_tags,
    class_table,
    labels_of,
    labels_used,
    object_share,
    printed_slips,
    protocol,
    scale_words,
    source_of,
    when_table,
    words_on_test,
)
from wsss_lab.seeds.gap_cam import train_cam
from wsss_lab.segmenter.single_stage import train_single_stage
from wsss_lab.segmenter.training import train_second_stage

#: Backbones by their names for readers, and the row of ROWS with the final method on each.
NETS = {"main": "WideResNet-38", **{net: net for net in EXCHANGED}}
ROW_OF = {"main": "ours", **{net: net for net in EXCHANGED}}
LOST = "lost"  # a printed cell that the paper's text, where the numbers were read, has not kept
NO_XCEPTION = "not run: torchvision has no Xception-65"


# --- what is measured -------------------------------------------------------------------------------------------------


def net_of(route: Route, net: str) -> str:
    """A backbone; raises NotMeasured where the profile doesn't train it."""
    if net in EXCHANGED and net not in trained_nets(route.profile):
        raise NotMeasured(f"profile {route.profile} doesn't train the backbone '{net}'")
    return net


def row_of(route: Route, row: str) -> str:
    """A row of ROWS; raises NotMeasured where the profile doesn't train it."""
    if row in ROWS and row not in trained_rows(route.profile):
        raise NotMeasured(f"profile {route.profile} doesn't train the row '{net_of(route, row)}'")
    return row


def trains_second(profile: str) -> bool:
    """Whether a profile trains networks of a second stage, on labels or on the ground truth."""
    return "ResNet-101" in trained_nets(profile)


def split_of(route: Route, split: str) -> str:
    """A split; raises NotMeasured for a test split without masks."""
    if split == "test" and not has_test(route.profile):
        raise NotMeasured(f"profile {route.profile} has no test split with masks")
    return split


def named(name: str, crf: bool, split: str = "val") -> str:
    return name + " + CRF" * crf + f" on {split}" * (split != "val")


def _miou(name: str, labels: Callable[[Route, str], Step], crf: bool, split: str) -> Quantity:
    """Mean IoU of labels, before or after the dense CRF. labels: from route and split to the step that makes them."""

    def confusions(route: Route) -> Output:
        made = labels(route, split_of(route, split))
        return route.score(made, split, "refined" if crf else "masks")["confusions"]

    return figure(named(name, crf, split), confusions, mean_iou)


@cached
def miou(row: str, crf: bool = False, split: str = "val", tags: str = "predicted", exchanged: bool = False,
         power: float = 1.0) -> Quantity:
    """Mean IoU of a row of ROWS; arguments as those of Route.prediction."""
    return _miou(row, lambda route, split: route.prediction(row_of(route, row), split, tags, exchanged, power), crf,
                 split)


def known(net: str = "main", crf: bool = False, split: str = "val", exchanged: bool = False) -> Quantity:
    """Mean IoU of the final model on one of the backbones NETS, tags known. exchanged: at the scales of App. F."""
    return miou(ROW_OF[net], crf, split, "known", exchanged)


@cached
def cam(net: str = "main", crf: bool = False, split: str = "val", exchanged: bool = False) -> Quantity:
    """The same of the CAM baseline."""
    return _miou("CAM", lambda route, split: route.cam_labels(net_of(route, net), split, exchanged), crf, split)


@cached
def second(net: str = "ResNet-101", crf: bool = False, split: str = "val", labels: str = "ours") -> Quantity:
    """Mean IoU of a network trained on our labels (Table 8), or on the ground truth ("full")."""

    def made(route: Route, split: str) -> Step:
        net_of(route, "ResNet-101")  # a profile trains all second stages or none
        return route.second_labels(labels, net, split)

    return _miou(f"second network, {NETS[net]}", made, crf, split)


@cached
def of(which: str, score: Quantity) -> Quantity:
    """Another statistic of the confusions behind a mIoU: a key of LABEL_QUALITY."""
    return figure(f"{which} of {score.name}", score.sources, LABEL_QUALITY[which])


@cached
def curves(row: str) -> Source:
    """What a training wrote down per iteration, see wsss_lab.segmenter.single_stage.Losses."""
    return lambda route: route.trained(row_of(route, row))["curves"]


# --- what tables share ------------------------------------------------------------------------------------------------

#: Our results in Tables 3, 5, 6 and 8: what a network is trained on, its backbone, and whether the dense CRF follows.
#: On "tags" it is the single stage, on our labels ("ours") or the ground truth ("full") one of the second stage.
SINGLE = {"Ours": ("tags", "main", False), "Ours + CRF": ("tags", "main", True)}


def own_score(taught: str, net: str, crf: bool, split: str = "val") -> Quantity:
    return miou("ours", crf, split) if taught == "tags" else second(net, crf, split, taught)


def own_training(route: Route, taught: str, net: str) -> Step | None:
    """The training behind one of our results; None where the profile doesn't run it."""
    if taught == "tags":
        return route.trained("ours")
    return route.second(taught, net) if trains_second(route.profile) else None


def split_columns(run: Session, split: str) -> dict[str, Column]:
    """The paper's score on a split and ours, of lines with our result under "own"; others show their reason "why"."""
    def score(line: Mapping[str, Any]) -> Quantity | None:
        return own_score(*line["own"], split) if "own" in line else None

    why = NO_TEST if split == "test" and not has_test(run.profile) else NOT_RUN
    return {f"{split} paper": f"{split}_miou_pct", f"{split} ours": score,
            f"{split} 95 %": ends(lambda line: score(line) or (line.get("why") if split == "val" else None), why)}


def own_columns(run: Session) -> dict[str, Column]:
    """Network and labels of our results, and the source of each line."""
    def of_training(show: Callable[[Step], str]) -> Column:
        def cell(line: Mapping[str, Any]) -> str | None:
            step = own_training(run.route, *line["own"][:2]) if "own" in line else None
            return show(step) if step else None

        return cell

    measured_here = of_training(lambda step: "measured")
    return {"network": of_training(lambda step: FAMILIES[step.settings["backbone"]["family"]]),
            "labels used": of_training(lambda step: labels_of(run, step)),
            "source": lambda line: measured_here(line) or line.get("source")}


def quoted(printed: pd.DataFrame) -> list[dict]:
    """Printed lines, those of the single stage with our result."""
    return [line | {"source": "quoted"} | ({"own": SINGLE[line["method"]]} if line["method"] in SINGLE else {})
            for line in printed.to_dict("records")]


def with_masks(**cells: str) -> list[dict]:
    """Lines of the same network trained on the ground truth, which are not in the paper's tables."""
    return [{"group": "fully supervised", "method": "DeepLabv3+ on ground truth" + " + CRF" * crf, **cells,
             "own": ("full", "main", crf)} for crf in (False, True)]


def tables_protocol(run: Session, split: str = "val", known: bool = False, exchanged: bool = False) -> str:
    """The sentence under a table of scores. known: labels were made with the image's tags, as in Tables 2 and 9.
    exchanged: at the scales of App. F."""
    scale = run.route.scale
    scales = scale_words(scale.exchanged_scales if exchanged else scale.scales)
    return protocol(run, f"masks averaged over {scales} and mirror images", split,
                    TAGS_KNOWN if known else TAGS_UNUSED)


# --- Tables 1a, 1b, 1c and 7: one thing changed at a time -------------------------------------------------------------


def table1a(run: Session) -> Table:
    """The size penalty: p and lambda, and no penalty."""
    lines = []
    for line in run.published("table1a").to_dict("records"):
        penalised = line["mask_penalty"] == "yes"
        paper = [LOST if penalised and pd.isna(line[name]) else line[name]  # without penalty it is in the text alone
                 for name in ("val_miou_pct", "val_miou_crf_pct")]
        lines.append(line | {"row": penalty_row(line["p"], line["lambda"]) if penalised else "no penalty",
                             "penalty": "yes" if penalised else "no", "val paper": paper[0],
                             "val + CRF paper": paper[1], "remark": None if paper == [LOST, LOST] else line["note"]})
    note = (f" {LOST}: of the table's grid the paper's text has kept what its sentences repeat. "
            f"{_gain_words('p = 3, lambda = 0.01')}")
    return _ablation(run, lines, {"penalty": "penalty", "p": "p", "lambda": "lambda"}, "reference",
                     "Size penalty (Eqs. 4 and 5)", note, {"remark": "remark"}, {"lambda": 3})


def table1b(run: Session) -> Table:
    """PAMR's kernel: none, and the dilations of the others."""
    none, small, other, shape, last, best = run.published("table1b")["val_miou_pct"]
    small, large = f"{small:g} or {other:g}", f"{shape:g} or {last:g}"
    lines = [{"row": row, "kernel": _dashes(kernel) or "no PAMR", "val paper": paper,
              "gain paper": paper - none if row == "reference" else None,
              "dilations here": _dashes(run.route.scale.dilations(kernel)) or None}
             for (row, kernel), paper in zip(KERNELS.items(), (none, small, small, large, large, best), strict=True)]
    note = (f" 'or': the paper's text has lost which of two kernels has which value; of the two small ones it names "
            "1-2-4-8, and 1-2-4 is our choice of the other. dilations here: the same shares of our masks. "
            f"{_gain_words('no PAMR')}")
    return _ablation(run, lines, {"kernel": "kernel", "dilations here": "dilations here"}, "no PAMR",
                     "Kernel of PAMR (Eqs. 7 and 8)", note)


def table1c(run: Session) -> Table:
    """The gate: mixing rates with and without Global Cue Injection, no gate, a deterministic one."""
    lines = [line | {"row": row} for line, row in zip(_printed(run, "table1c", 0), GATE_ROWS, strict=True)]
    lines += [{"row": gate_row(psi, injected), "config": f"psi={psi:g}{'' if injected else ' w/o GCI'}"}
              for psi in PSIS for injected in (True, False) if gate_row(psi, injected) not in GATE_ROWS]
    note = (" GCI: Global Cue Injection; SG: stochastic gate. The deterministic gate takes Eq. 10 in training too, "
            "since Eq. 9 with r = psi gives back the deep features. Rows without a printed number are not in the "
            f"paper. {_gain_words('the first row')}")
    return _ablation(run, lines, {"gate": "config"}, "reference", "Stochastic gate (Eqs. 9 to 11)", note)


def table7(run: Session) -> Table:
    rows = {count: row for row, count in ITERATION_ROWS.items()}
    lines = [line | {"row": rows[line["pamr_iterations"]]} for line in _printed(run, "table7", 1)]
    return _ablation(run, lines, {"iterations": "pamr_iterations"}, "reference", "Iterations of PAMR in training",
                     f" {_gain_words('10 iterations')}")


def _dashes(kernel: Sequence[int]) -> str:
    return "-".join(map(str, kernel))


def _printed(run: Session, name: str, reference: int) -> list[dict]:
    """Lines of an ablation with their printed scores and differences. reference: the place of the line that gains are
    over."""
    frame = run.published(name)
    plain, refined = frame["val_miou_pct"], frame["val_miou_crf_pct"]
    return frame.assign(**{"val paper": plain, "gain paper": (plain - plain[reference]).drop(reference),
                           "val + CRF paper": refined, "CRF adds paper": refined - plain}).to_dict("records")


def _gain_words(reference: str) -> str:
    return (f"gain: over {reference}, in percentage points and without CRF, paired by image and seed. CRF adds: mIoU "
            "with CRF over that without. fg P and R: precision and recall without CRF, means over classes.")


def _ablation(run: Session, lines: list[dict], first: Mapping[str, Column], reference: str, changed: str, note: str,
              last: Mapping[str, Column] | None = None, decimals: int | Mapping[str, int] = 1) -> Table:
    """lines: "row", of ROWS, and what is printed of it, such as "val paper". reference: the row that gains are over.
    first, last: columns before and after the numbers."""
    columns = dict(first)
    for what, quantity in {
            "val": miou, "gain": lambda row: REFERENCE if row == reference else miou(row) - miou(reference),
            "val + CRF": lambda row: miou(row, True), "CRF adds": lambda row: miou(row, True) - miou(row)}.items():
        if any(f"{what} paper" in line for line in lines):
            columns[f"{what} paper"] = f"{what} paper"
        columns |= measured(what, lambda line, quantity=quantity: quantity(line["row"]),
                            unmeasured=NOT_RUN if what == "val" else None)
    columns |= {f"fg {which[0].upper()}": lambda line, which=which: of(which, miou(line["row"]))
                for which in ("precision", "recall")}
    settings = (f" What a row does not say: psi = {ROWS['reference'].psi:g} with GCI, p = 3, lambda = 0.01, "
                "10 iterations of PAMR.")
    return table(run, lines, columns | dict(last or {}), f"{changed}: mIoU in per cent",
                 f"{tables_protocol(run)}{settings}{note} {labels_used(run, run.route.trained(reference))}", decimals)


# --- Tables 2 to 9 ----------------------------------------------------------------------------------------------------


def table2(run: Session) -> Table:
    """Pseudo-masks of train and val with tags known: the single stage against CAM, and quoted methods."""
    ours = {"CAM (baseline)": cam, "CAM + CRF": partial(cam, crf=True), "Ours": known,
            "Ours + CRF": partial(known, crf=True)}
    base, *others = run.published("table2").to_dict("records")

    def gain(line: Mapping[str, Any], split: str) -> Quantity | None:
        score = ours.get(line["method"])
        return score(split=split) - cam(split=split) if score and score is not cam else None

    def score(line: Mapping[str, Any], split: str) -> Quantity | None:
        return ours[line["method"]](split=split) if line["method"] in ours else None

    columns = {"method": "method", "reference": "reference"}
    for split in ("train", "val"):
        paper = f"{split}_miou_pct"
        columns |= {
            f"{split} paper": paper, **measured(split, partial(score, split=split)),
            f"{split} gain paper": lambda line, paper=paper: (
                line[paper] - base[paper] if line["method"] in SINGLE else None),
            **measured(f"{split} gain", partial(gain, split=split))}
    columns["source"] = lambda line: "measured" if line["method"] in ours else "quoted"
    note = (f" Train: the {len(run.view('train'))} training images; their masks only score. Classes that are not tags "
            "get no pixel. gain: over the first row, CAM without CRF, in percentage points. CAM + CRF is not in the "
            f"paper's table. {labels_used(run, run.route.trained('ours'))}")
    return table(run, [base, {"method": "CAM + CRF"}, *others], columns,
                 "Pseudo-masks with tags known, mIoU in per cent", tables_protocol(run, known=True) + note)


def table3(run: Session) -> Table:
    """State of the art as printed, our rows of the paper's method, and the same network on the ground truth."""
    lines, own = quoted(run.published("table3")) + with_masks(supervision="F"), own_columns(run)
    note = (" Quoted rows are as printed, measured by others on VOC. I image tags, S saliency, D additional data, "
            "F masks. network, labels used: of our rows. The last rows, not in the paper's table, train the network of "
            f"our single stage on the ground truth. {words_on_test(run, has_test(run.profile))}")
    return table(run, lines, {
        **{name: name for name in ("group", "method", "reference", "backbone", "supervision")},
        "depends on": "dependence", **split_columns(run, "val"), **split_columns(run, "test"),
        "network": own["network"], "labels used": own["labels used"], "remark": "note", "source": own["source"],
    }, "Methods compared, mIoU in per cent", tables_protocol(run) + note)


def table4(run: Session) -> Table:
    """Related work by its number of stages as printed, and what this collection trains for the paper's own methods."""
    route, printed = run.route, run.published("table4")
    lines = printed.to_dict("records")
    lines += [{"method": "CAM (the paper's baseline)"}, *[{"method": "Ours + DeepLabv3+"}] * trains_second(run.profile)]
    steps = {"Ours": lambda: route.trained("ours"), "CAM (the paper's baseline)": route.cam,
             "Ours + DeepLabv3+": route.second}

    def counted(count: Callable[[Step], Any]) -> Column:
        return lambda line: count(steps[line["method"]]()) if line["method"] in steps else None

    trainings = {train_cam, train_single_stage, train_second_stage}
    note = ("As printed: extras beyond image tags (S saliency, D additional data, or earlier work), number of stages "
            "(sets of weights that are learnt apart, with results saved between them), training cycles of the same "
            "model, and whether a standalone segmentation network is trained at the end (PSR). here: counted from what "
            "this collection trains, pre-training left out. The last rows are not in the paper's table. "
            f"Kept as printed: {printed_slips(run, 'table4')}.")
    return table(run, lines, {
        **{name: name for name in ("method", "venue", "year", "reference", "extras")}, "stages": "stages_as_printed",
        "stages in all": "stages_total", "cycles": "training_cycles", "PSR": "psr",
        "source": lambda line: "measured" if line["method"] in steps else "quoted",
        "stages here": counted(lambda step: sum(each.function in trainings for each in (*step.ancestors(), step))),
        "extras here": counted(lambda step: "; ".join(beyond_tags(step)) or "none"),
        "PSR here": counted(lambda step: "yes" if step.function is train_second_stage else "no"),
    }, "Related work by stages", note)


def per_class(run: Session, name: str, split: str) -> Table:
    """Table 5 or 6: a line for each printed one and for full supervision."""
    note = (f"{CLASSES_NOTE} A mean that disagrees with its cells in print is kept: "
            f"{printed_slips(run, name, 'class mean vs printed mean')}. "
            f"{labels_used(run, run.route.trained('ours'))} The last rows train on masks.")
    return class_table(run, name, split, quoted(run.published(name)) + with_masks(), lambda line: (
        own_score(*line["own"], split) if "own" in line else None), f"IoU of each class, {split}, per cent",
        tables_protocol, note, {
            "group": "group", "method": "method", "reference": "reference", "backbone": "backbone_mark",
            "saliency or extra data": "saliency_or_extra_data"}, last={"source": source_of})


def table8(run: Session) -> Table:
    """A DeepLabv3+ trained on our pseudo labels, against the single stage and quoted methods."""
    single = run.published("table3").set_index("method", drop=False).loc[list(SINGLE)]
    lines = quoted(run.published("table8"))
    for line in lines:
        if line["group"] == "two stage":
            here = line["backbone"] == "ResNet-101"
            line |= {"own": ("ours", "ResNet-101", False)} if here else {"why": NO_XCEPTION}
            line["gain"] = line["val_miou_pct"] - single.loc["Ours + CRF", "val_miou_pct"]
    lines += [{"group": "two stage", "method": "Ours + DeepLabv3+" + " + CRF" * crf, "backbone": NETS[net],
               "supervision": "I", "own": ("ours", net, crf)}
              for net, crf in (("ResNet-101", True), ("main", False), ("main", True))]
    lines += [{"group": "single stage", "supervision": "I", "own": SINGLE[line["method"]],
               **{name: line[name] for name in ("method", "backbone", "val_miou_pct", "test_miou_pct")}}
              for line in single.to_dict("records")]
    lines += with_masks(supervision="F", backbone=NETS["main"])

    def gain(line: Mapping[str, Any]) -> Quantity | str | None:
        if line.get("own") == SINGLE["Ours + CRF"]:
            return REFERENCE
        return own_score(*line["own"]) - miou("ours", True) if "own" in line and line["group"] == "two stage" else None

    note = (" Quoted rows are as printed, measured by others on VOC. Two stages: trained on the labels that our single "
            "stage gives the training images, with their tags and the CRF. gain: on val, over the single stage with "
            "CRF, in percentage points. The rows after the paper's last one are not in its table; those of the single "
            f"stage have its numbers of Table 3. network, labels used: of our rows. "
            f"{words_on_test(run, has_test(run.profile))}")
    return table(run, lines, {
        **{name: name for name in ("group", "method", "reference", "backbone", "supervision")},
        **split_columns(run, "val"), "gain paper": "gain", **measured("gain", gain, unmeasured=None),
        **split_columns(run, "test"), **own_columns(run),
    }, "A second stage on our labels, mIoU in per cent", tables_protocol(run) + note)


def table9(run: Session) -> Table:
    net_named = {name: net for net, name in NETS.items()}
    lines = [{"backbone": line["backbone"], "crf": crf, "CAM": line[f"baseline_cam{'_crf' * crf}_val_miou_pct"],
              "single stage": line[f"ours{'_crf' * crf}_val_miou_pct"],
              "nets": list(NETS) if line["backbone"] == "Mean" else [net_named[line["backbone"]]]}
             for crf in (False, True) for line in run.published("table9").to_dict("records")]

    def over_nets(score: Callable[..., Quantity], line: Mapping[str, Any]) -> Quantity:
        return mean("", [score(net, line["crf"], exchanged=True) for net in line["nets"]])

    def network(line: Mapping[str, Any]) -> str | None:
        net, *others = line["nets"]
        return None if others else FAMILIES[run.route.backbone(net_of(run.route, net)).family]

    note = (" Classes that are not tags get no pixel. network: the family run in this profile. gain: over CAM of the "
            "same line, in percentage points, paired by image and seed. Mean: of the four backbones. VGG16 ends at "
            "conv5 here; the released code goes on with fc6 and fc7 as convolutions. "
            f"{labels_used(run, run.route.trained('ours'))}")
    return table(run, lines, {
        "backbone": "backbone", "CRF": lambda line: "yes" if line["crf"] else "no", "network": network,
        "CAM paper": "CAM", **measured("CAM", partial(over_nets, cam)),
        "single stage paper": "single stage", **measured("single stage", partial(over_nets, known)),
        "gain paper": lambda line: line["single stage"] - line["CAM"],
        **measured("gain", lambda line: over_nets(known, line) - over_nets(cam, line), unmeasured=None),
    }, "Backbones, tags known, mIoU in per cent", tables_protocol(run, known=True, exchanged=True) + note)


# --- what the paper leaves open ---------------------------------------------------------------------------------------

#: What `switches` says of the rows of SWITCHES; the last one depends on the profile.
SWITCH_WORDS = {
    "bandwidth of Eq. 8": "Eq. 8 as printed: differences over the variance, not over 0.1 times the deviation",
    "average of Eq. 23": "Eq. 23 as printed: images weighted by their labelled pixels",
    "injection of Eq. 11": "Eq. 11 as printed: each image normalised by itself, gain z, not 1 + z",
    "no least confidence": "pseudo labels without a least confidence of 0.2",
    "epsilon=0": "epsilon of Eq. 3 is 0, not 1",
    "other ASPP statistics": "batch statistics of ASPP {}",
}


def switches(run: Session) -> Table:
    """Where paper and released code differ or say nothing: the other choice, against the one taken."""
    route = run.route

    def other_scales(crf: bool) -> Quantity:
        if route.scale.exchanged_scales == route.scale.scales:
            raise NotMeasured("the scales of App. F are those of all tables")
        return known(crf=crf, exchanged=True)

    reference, ours = partial(miou, "reference"), partial(miou, "ours")
    psi = {row: f"psi = {ROWS[row].psi:g}" for row in ("reference", "ours")}
    statistics, power = route.method("other ASPP statistics").aspp_statistics, PUBLISHED.background_power
    to_power = f"background's mask to the power {power:g} before labelling, as released"
    plain = [(SWITCH_WORDS[row].format(statistics), psi["reference"], partial(miou, row), reference, row)
             for row in SWITCHES]
    lines = [dict(zip(("changed", "against", "score", "base", "row"), line, strict=True)) for line in (
        (f"nothing: {psi['reference']}", None, reference, None, "reference"),
        (f"nothing: {psi['ours']}, the final model", psi["reference"], ours, reference, "ours"), *plain,
        (to_power, psi["reference"], partial(reference, power=power), reference, "reference"),
        (to_power, psi["ours"], partial(ours, power=power), ours, "ours"),
        ("tags known at test time", psi["ours"], known, ours, "ours"),
        ("tags known, scales of App. F", f"{psi['ours']}, tags known", other_scales, known, "ours"),
        ("plain DeepLabv3+ on the ground truth", psi["ours"], partial(second, "main", labels="full"), ours, None))]

    def score(line: Mapping[str, Any], crf: bool) -> Quantity | None:
        return line["score"](crf=crf) if not crf or line["row"] not in SWITCHES else None

    def gain(line: Mapping[str, Any], crf: bool) -> Quantity | str | None:
        found = score(line, crf)
        return REFERENCE if line["base"] is None else found and found - line["base"](crf=crf)

    def labels(line: Mapping[str, Any]) -> str | None:
        score(line, crf=False)
        step = route.trained(row_of(route, line["row"])) if line["row"] else own_training(route, "full", "main")
        return labels_of(run, step) if step else None

    columns = {"changed": "changed", "compared with": "against"}
    for mark, crf in (("", False), (" + CRF", True)):
        columns |= measured(f"val{mark}", partial(score, crf=crf), unmeasured=None if crf else NOT_RUN)
        columns |= measured(f"gain{mark}", partial(gain, crf=crf), unmeasured=None)
    note = (" gain: over what the row is compared with, in percentage points, paired by image and seed. The paper "
            "prints none of these comparisons. Rows that change the training are scored without CRF alone.")
    return table(run, lines, columns | {"labels used": labels}, "Switches of the method: mIoU in per cent",
                 tables_protocol(run) + note)


#: When does it help? See wsss_lab.measure.strata.
DIALS = (
    Dial((miou("ours") - miou("no PAMR")).called("ours - no PAMR"), "how well colours bind, %",
         lambda route: Derived(colours_bind, route.world.eval_view("val")), lambda found: found),
    *(Dial((miou("ours") - miou(row)).called(f"ours - {row}"), "objects, % of the image", miou("ours").sources[0],
           object_share) for row in ("no penalty", "no gate")),
)

TABLES = {"table1a": table1a, "table1b": table1b, "table1c": table1c, "table2": table2, "table3": table3,
          "table4": table4, "table5": partial(per_class, name="table5", split="val"),
          "table6": partial(per_class, name="table6", split="test"), "table7": table7, "table8": table8,
          "table9": table9, "switches": switches,
          "when": partial(when_table, dials=DIALS, words=tables_protocol, scores="rows on val")}
