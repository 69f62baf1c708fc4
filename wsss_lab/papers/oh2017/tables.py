"""What is measured of Oh et al. 2017, and its tables: the printed numbers beside ours."""

from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import nn

from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.intervals import image_values, ratio
from wsss_lab.evaluation.precision_recall import mean_precision
from wsss_lab.evaluation.saliency_scores import foreground_iou, foreground_precision_recall, is_good
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.measure.quantities import Quantity, Source, cached, figure, result
from wsss_lab.measure.strata import Dial
from wsss_lab.measure.tables import REFERENCE, Table, ends, measured, table
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.oh2017.route import BACKPROP, PUBLISHED, ROWS, Route, Row, trained_nets, trained_rows
from wsss_lab.papers.shared_tables import (
    LABEL_QUALITY,
    TAGS_KNOWN,
    average_precision_of,
    detector_name,
    labels_of,
    protocol,
    sweep_cells,
    train_tags,
    val_tags,
    when_table,
)

RESAMPLED = 1000  # replicates where each goes through all thresholds of a curve


# --- what is measured -------------------------------------------------------------------------------------------------

@cached
def miou(row: str, crf: str | None = None, split: str = "val", void: bool = False) -> Quantity:
    """Mean IoU of a row's segmenter, with or without a CRF at test time. void: its pixels count as background."""
    name = row + (f" + CRF {crf}" if crf else "") + (f" on {split}" if split != "val" else "")
    return figure(name, result("with_void" if void else "confusions", Route.scored, row, crf, split), mean_iou)


@cached
def guide(row: str, which: str) -> Quantity:
    """A key of LABEL_QUALITY: precision or recall of what a row learns from; undecided pixels are missed."""
    return figure(f"{which} {row}", result("confusions", Route.guide_score, row), LABEL_QUALITY[which])


@cached
def guide_miou(row: str, undecided: str) -> Quantity:
    """Mean IoU of what a row learns from; undecided pixels are "missed", "background", or "left out"."""

    def statistic(summed: np.ndarray) -> np.ndarray:
        moved = summed.copy()
        moved[..., 0] += (undecided == "background") * moved[..., -1]
        moved[..., -1] *= undecided == "missed"
        return mean_iou(moved)

    return figure("guide", result("confusions", Route.guide_score, row), statistic)


def seeder_score(route: Route, name: str, split: str = "val") -> Step:
    """The precision-recall step of a seeder: a GAP network, a back-propagation method, "centre" or POOLED_LAST."""
    if name == "centre":
        return route.seed_scores(route.centre_shape(split)["maps"], "centre mean shape", split)
    if name in BACKPROP:
        return route.seed_scores(route.backprop(name, split)["maps"], f"{name} back-propagation", split)
    return route.seed_scores(route.class_maps(name, split)["maps"], name, split)


@cached
def seeder(name: str, statistic, label: str = "") -> Quantity:
    """A statistic of the confidence counts of a seeder on val."""
    return figure(f"{label}{name}", result("counts", seeder_score, name), statistic, replicates=RESAMPLED)


def mp(name: str) -> Quantity:
    """Mean precision over recall."""
    return seeder(name, mean_precision, "mP ")


@cached
def average_precision(net: str) -> Quantity:
    """Mean average precision of a GAP network as a classifier on val."""
    return average_precision_of(f"mAP {net}", result("scores", Route.class_maps, net, "val"), val_tags, RESAMPLED)


def saliency_counts(detector: str = "") -> Source:
    return result("counts", Route.saliency_score, "val", detector)


@cached
def good(detector: str = "") -> Quantity:
    """Share of the val images whose salient pixels overlap the objects well."""
    return figure("hand-crafted" if detector else "learned", saliency_counts(detector), ratio,
                  lambda counts: image_values(is_good(counts, PUBLISHED.good_saliency_iou)))


# --- the tables -------------------------------------------------------------------------------------------------------

def seed_summary(run: Session) -> Table:
    rows = [{"network": f"GAP-{net}", **sweep_cells(run.results.stack(result("counts", seeder_score, net, "train")),
                                                   run.route.scale.seed_threshold)}
            for net in trained_nets(run.profile)]
    note = "training images of {}, tags known, {} seed(s); the best threshold is chosen on pixel labels and not used."
    return Table(pd.DataFrame(rows), "Seeds on the training images, per cent",
                 note.format(run.world.name, run.seeds))


def saliency_summary(run: Session) -> Table:
    """The in-text figure: on which share of the val images the salient pixels overlap the objects well."""
    in_text = run.published("text_values").set_index("quantity")["value"]
    printed = in_text["share of val images whose foreground saliency has IoU > 0.6"]
    return table(run, [{"detector": "", "good": printed}, {"detector": "unsupervised"}], {
        "detector": lambda line: detector_name(run.route, line["detector"]),
        **{heading: lambda line, of=of: figure("", saliency_counts(line["detector"]), of) for heading, of in {
            "IoU pooled": foreground_iou, "precision": lambda summed: foreground_precision_recall(summed).precision,
            "recall": lambda summed: foreground_precision_recall(summed).recall}.items()},
        **measured("", lambda line: good(line["detector"]), "95 %", "images with IoU > 0.6"), "paper": "good",
    }, "Salient pixels against the objects, per cent of val images and pixels",
        protocol(run, "one scale") + " The paper's figure is an 'about', for its own detector on VOC (Sec. 5.1).")


def table1(run: Session) -> Table:
    def net(line):
        return line["network"].removeprefix("GAP-")

    return table(run, run.published("table1"), {
        "network": "network", "high resolution": "high_resolution_output", "dilated": "dilated_convolution",
        "ROI pooling": "roi_pooling", "mP paper": "mean_precision_pct",
        **measured("mP", lambda line: mp(net(line))), "mAP paper": "classification_map_pct",
        "mAP ours": lambda line: average_precision(net(line)),
    }, "GAP networks: architecture, seed quality (mP) and classification (mAP), per cent",
        protocol(run, "one scale") + " Seeds are read with the image's tags known, as in the paper.")


#: Lines of Table 2 that are not in print.
_MORE_GUIDES = [dict(zip(("method", "row", "uses_seeds", "uses_saliency"), line)) for line in (
    ("G2, undecided = background", "G2 released", "yes", "yes"),
    ("G2, seed threshold 0.5", "G2, seeds at 0.5", "yes", "yes"), ("Full supervision", "full", "no", "no"))]


def table2(run: Session) -> Table:
    rows = {"Seeds only": "seeds", "Saliency oracle": "oracle"}
    lines = [line | {"row": rows.get(line["method"], line["method"])}
             for line in run.published("table2").to_dict("records")]
    lines += [line for line in _MORE_GUIDES if line["row"] in trained_rows(run.profile)]
    quality = {}
    for cell, which in zip(("fg P", "fg R", "bg P", "bg R"), LABEL_QUALITY, strict=True):
        printed = f"guide_{cell[:2]}_{which.split()[-1]}_pct"
        quality |= {f"{cell} paper": printed, f"{cell} ours": lambda line, which=which: (
            guide(line["row"], which) if line["row"] != "full" else None)}
    note = (" Guide precision (P) and recall (R) on training images, foreground = mean over classes; undecided pixels "
            "count as missed in recall. The last rows are not in the paper's Table 2 (the released code turns "
            "undecided pixels into background; 0.5 is about the best seed threshold on the masks of the photographs). "
            "void as bg: mIoU with void pixels counted as background instead of left out. The paper prints the same "
            "bg and fg P/R for G0 and G1: not compared.")
    return table(run, lines, {
        "method": "method", "seeds": "uses_seeds", "saliency": "uses_saliency", **quality,
        "guide mIoU ours": lambda line: guide_miou(line["row"], "missed") if line["row"] != "full" else None,
        "mIoU paper": "val_miou_pct", **measured("mIoU", lambda line: miou(line["row"]), "95 %"),
        "void as bg": lambda line: miou(line["row"], void=True),
        "labels used": lambda line: labels_of(run, run.route.trained(line["row"])),
    }, "Guide labellers: quality of the guides, and of the segmenter trained on them",
        protocol(run, "one scale") + note)


def table3(run: Session) -> Table:
    """State of the art as printed, and our rows of the paper's own methods (with CRF v2)."""
    own = {"Seeds only": "seeds", "G0": "G0", "G2": "G2", "DeepLabv1": "full"}

    def ours(line, quantity=lambda row: miou(row, "v2")):
        return quantity(own[line["method"]]) if line["method"] in own else None

    note = (" Own rows: with dense CRF v2 at test time. Quoted rows are as printed, measured by others on VOC. "
            "FS% ours is relative to our fully supervised row on val; the paper's is relative to test. "
            "I image tags, P VOC images, S saliency, E extra images, Z sizes, mu micro-annotation.")
    return table(run, run.published("table3"), {
        "method": "method", "data": "data", "val paper": "val_miou_pct", "test paper": "test_miou_pct",
        "FS% paper": "fully_supervised_pct", **measured("val", ours, "95 %"),
        "FS% ours": lambda line: ours(line, lambda row: miou(row, "v2") / miou("full", "v2")),
        "labels used": lambda line: ours(line, lambda row: labels_of(run, run.route.trained(row))),
        "source": lambda line: "measured" if line["method"] in own else "quoted",
    }, "Methods compared, mIoU in per cent", protocol(run, "one scale") + note)


def crf_table(run: Session, name: str, rows: str) -> Table:
    """CRF variants, as Table 4 (short) or 5 (all)."""
    reference, switches = ("seeds, crf-loss v1", "v1"), ("crf_seed", "crf_loss", "crf_postproc")
    lines = run.published(name).fillna(dict.fromkeys(switches, "none"))

    def pair(line):
        """The row of ROWS that a line asks for, and its crf-postproc."""
        *settings, after = (None if line[switch] == "none" else line[switch] for switch in switches)
        rule, net = line["guide_rule"].removeprefix("saliency "), line["seed_method"].removeprefix("GAP-")
        wanted = Row(rule, net, **dict(zip(switches, settings)))
        return next(row for row, each in ROWS.items() if each == wanted), after if rule == "seeds" else "v2"

    note = (" v1: parameters of SEC, v2: of DeepLab v1. The paper leaves the CRF cells of the G2 rows open; ours use "
            "crf-postproc v2, as its Table 3 does. delta: to crf-loss v1 + crf-postproc v1 on GAP-HighRes seeds, "
            "in percentage points.")
    return table(run, lines, {
        "seeds": "seed_method", "guide": "guide_rule", "crf-seed": "crf_seed", "crf-loss": "crf_loss",
        "crf-postproc": lambda line: (line["crf_postproc"] if line["guide_rule"] == "seeds" else
                                      f"{pair(line)[1]} (ours)"),
        "mIoU paper": "val_miou_pct", "delta paper": "delta_miou_pp", "mIoU ours": lambda line: miou(*pair(line)),
        "delta ours": lambda line: miou(*pair(line)) - miou(*reference),
        "delta 95 %": ends(lambda line: (REFERENCE if pair(line) == reference else
                                         miou(*pair(line)) - miou(*reference))),
    }, f"CRF variants of the seeds-only segmenter, against saliency ({rows})", protocol(run, "one scale") + note)


def table6(run: Session) -> Table:
    """Layer shapes of the GAP networks, read off the full-size networks that the `voc` profile trains."""
    from wsss_lab.networks.heads import gap_net, output_size

    backbone = oh2017.SCALES["voc"].backbone
    columns = {}
    for net in ("VGG-16", *oh2017.GAP_NETS):
        with torch.device("meta"):  # shapes are all that is asked for
            built = gap_net(net, backbone, 20)
        side = PUBLISHED.input_side
        name = net if net == "VGG-16" else f"GAP-{net}"
        height, width = output_size(built.eval(), side)
        columns[name] = {"input": f"(3,{side},{side})", **_layers(built, backbone.blocks),
                         "heatmap": f"(20,{height},{width})"}
    order = ["input", *(f"{kind}{block}" for block in range(1, 6) for kind in ("conv", "pool")), "fc6", "fc7", "GAP",
             "fc8", "heatmap"]
    frame = pd.DataFrame(columns).reindex(order).fillna("none").rename_axis("layer").reset_index()
    note = ("(channels, kernel, kernel), st = stride, pad, dil; read off the package's networks, so nothing is "
            "quoted. VGG-16 here is the sliding classifier: its fc6 and fc7 have 1024 channels and average over "
            "positions, so that it takes any input size. Pools of stride 2 round sizes up, as Caffe does. "
            "GAP-DeepLab: pool3 has stride 2 (the printed 1 would give 81x81), and pool5 is the released code's 3x3, "
            "stride 1. Toy networks: conv2 to conv5 with one convolution each, same pools, kernels and ratios.")
    return Table(frame, "Architectures of the GAP networks", note)


def _layers(net: nn.Module, blocks: tuple[tuple[int, int], ...]) -> dict[str, str]:
    """Shape of each named layer of a GAP network; the convolutions of a block share one line."""
    blocks_of = [number for number, (count, _) in enumerate(blocks, start=1) for _ in range(count)]
    shapes, seen = {}, 0
    for layer in net.trunk:
        if isinstance(layer, nn.Conv2d):
            shapes[f"conv{blocks_of[seen]}"] = f"{blocks[blocks_of[seen] - 1][0]} x {_convolution(layer)}"
            seen += 1
        elif isinstance(layer, nn.MaxPool2d):
            size, stride, pad = layer.kernel_size, layer.stride, layer.padding
            shapes[f"pool{blocks_of[seen - 1]}"] = f"(-,{size},{size}) st={stride} pad={pad}"
    hidden = [layer for layer in net.head if isinstance(layer, nn.Conv2d)]
    shapes |= {f"fc{number}": _convolution(layer) for number, layer in enumerate(hidden, start=6)}
    return shapes | {"GAP": "GAP", "fc8": _convolution(net.classifier)}


def _convolution(layer: nn.Conv2d) -> str:
    dilated = f" dil={layer.dilation[0]}" if layer.dilation[0] > 1 else ""
    return f"({layer.out_channels},{layer.kernel_size[0]},{layer.kernel_size[1]}){dilated} pad={layer.padding[0]}"


#: When does it help? See wsss_lab.measure.strata.
DIALS = (
    *(Dial((guide_miou("G2", "background") - guide_miou(row, "background")).called(f"G2 - {row}"),
           "IoU of the detector, %", lambda route: route.saliency_score("train")["counts"],
           lambda counts: 100 * foreground_iou(counts)) for row in ("seeds", "G0")),
    Dial((guide_miou("G2", "background") - guide_miou("G0", "background")).called("G2 - G0"), "tags, 3 or more",
         train_tags, lambda tags: np.minimum(tags.sum(-1, dtype=float), 3), parts=3),
)

TABLES = {"table1": table1, "table2": table2, "table3": table3,
          "table4": partial(crf_table, name="table4", rows="short"),
          "table5": partial(crf_table, name="table5", rows="all"), "table6": table6,
          "text_seeds": seed_summary, "text_saliency": saliency_summary,
          "when": partial(when_table, dials=DIALS, words=lambda run: protocol(run, "one scale", "train", TAGS_KNOWN),
                          scores="guides on the training images, undecided pixels taken for background")}
