"""The six tables of Oh et al. 2017: the printed numbers beside ours, measured rows beside quoted ones."""

import numpy as np
import pandas as pd

from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.intervals import Interval, image_values, interval, mean_and_interval, ratio
from wsss_lab.evaluation.precision_recall import mean_average_precision, mean_precision
from wsss_lab.evaluation.saliency_scores import foreground_iou, foreground_precision_recall, is_good
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.shared_evidence import SeededEvidence
from wsss_lab.papers.shared_tables import (
    NOT_RUN,
    Table,
    detector_name,
    label_quality,
    miou,
    miou_gain,
    protocol,
    sweep_cells,
)


def scored_rows(profile: str) -> list[tuple[str, str | None]]:
    """(row, crf-postproc) pairs that a profile trains and scores on val."""
    plain = [(name, None) for name in oh2017.trained_rows(profile)]
    return plain + [pair for pair in oh2017.POSTPROCESSED if pair[0] in oh2017.trained_rows(profile)]


class Evidence(SeededEvidence):
    """Stored scores of a session, stacked over its S seeds.

    Confusions are (S, N, K, K + 1) counts per seed and image; seed counts are (S, N, 3, K, bins).
    """

    def confusions(self, row: str, crf: str | None = None, void: bool = False, split: str = "val") -> np.ndarray:
        """Confusions of a row's segmenter on a split; void=True counts void pixels as background."""
        return self.stack(lambda route: route.scored(row, crf, split), "with_void" if void else "confusions")

    def guide_confusions(self, row: str) -> np.ndarray:
        """Confusions of the pseudo-masks that a row learns from, on the training images."""
        return self.stack(lambda route: route.score(route.guides_of(row), "train"), "confusions")

    def seed_counts(self, seeder: str, split: str = "val") -> np.ndarray:
        """Confidence counts of a seeder on a split: a GAP network, a back-propagation method, or "centre"."""
        return self.stack(lambda route: seeder_score(route, seeder, split), "counts")

    def classifier_scores(self, variant: str) -> np.ndarray:
        """Class scores of a classifier on val: (S, N, C)."""
        return self.stack(lambda route: route.class_maps(variant, "val"), "scores")

    def average_precision(self, variant: str) -> np.ndarray:
        """Mean average precision on val, per seed: (S,) in [0, 1]."""
        return np.array([mean_average_precision(scores, self.tags) for scores in self.classifier_scores(variant)])

    def saliency_counts(self, detector: str = "") -> np.ndarray:
        """Saliency counts on val: (S, N, 4), see wsss_lab.evaluation.saliency_scores."""
        return self.stack(lambda route: route.saliency_score("val", detector), "counts")


def seeder_score(route: "oh2017.Route", seeder: str, split: str = "val") -> Step:
    """The precision-recall step of a seeder on a split."""
    if seeder == "centre":
        return route.seed_scores(route.centre_shape(split)["maps"], "centre mean shape", split)
    if seeder in oh2017.BACKPROP:
        return route.seed_scores(route.backprop(seeder, split)["maps"], f"{seeder} back-propagation", split)
    return route.seed_scores(route.class_maps(seeder, split)["maps"], seeder, split)


def steps(route: "oh2017.Route", profile: str) -> list[Step]:
    """Everything that the tables read, for one seed."""
    rows = [route.scored(name, crf) for name, crf in scored_rows(profile)]
    guides = [route.score(route.guides_of(name), "train") for name in _guide_rows(profile)]
    return rows + guides + saliency_steps(route) + seed_steps(route, profile)


def seed_steps(route: "oh2017.Route", profile: str) -> list[Step]:
    """What Table 1 reads, for one seed; the plain classifier, which other sections need, is trained along."""
    nets = oh2017.trained_nets(profile)
    on_train = [seeder_score(route, net, "train") for net in nets]
    return [*(seeder_score(route, net) for net in nets), *on_train, route.classifier("VGG-16")]


def seed_summary(run: Session) -> Table:
    """Seeds on the training images, as the guides use them: at the paper's threshold, and at the best one."""
    evidence = Evidence(run)
    rows = [{"network": f"GAP-{net}", **sweep_cells(evidence.seed_counts(net, "train"), run.route.scale.seed_threshold)}
            for net in oh2017.trained_nets(run.profile)]
    note = "training images of {}, tags known, {} seed(s); the best threshold is chosen on pixel labels and not used."
    return Table(pd.DataFrame(rows), "Seeds on the training images, per cent",
                 note.format(run.world.name, run.seeds))


def saliency_steps(route: "oh2017.Route") -> list[Step]:
    """What `saliency_summary` reads, for one seed."""
    return [route.saliency_score("val", detector) for detector in ("", "unsupervised")]


def saliency_summary(run: Session) -> Table:
    """The in-text figure: on which share of the val images the salient pixels overlap the objects well."""
    evidence, rows = Evidence(run), []
    in_text = run.published("text_values").set_index("quantity")["value"]
    printed = in_text["share of val images whose foreground saliency has IoU > 0.6"]
    for detector in ("", "unsupervised"):
        counts = evidence.saliency_counts(detector)
        good = interval(image_values(is_good(counts, oh2017.PUBLISHED.good_saliency_iou)), ratio).percent()
        pooled = foreground_precision_recall(counts.sum(1))
        rows.append({"detector": detector_name(run.route, detector),
                     "IoU pooled": 100 * foreground_iou(counts.sum(1)).mean(),
                     "precision": 100 * pooled.precision.mean(), "recall": 100 * pooled.recall.mean(),
                     "images with IoU > 0.6": good.mean, "95 %": good.ends,
                     "paper": None if detector else printed})
    return Table(pd.DataFrame(rows), "Salient pixels against the objects, per cent of val images and pixels",
                 _protocol(run) + " The paper's figure is an 'about', for its own detector on VOC (Sec. 5.1).")


def table1(run: Session) -> Table:
    """GAP variants: architecture against mP and mAP."""
    evidence, printed = Evidence(run), run.published("table1")
    rows = []
    for _, row in printed.iterrows():
        net = row["network"].removeprefix("GAP-")
        ours = {"mP ours": None, "mP 95 %": NOT_RUN, "mAP ours": None}
        if net in oh2017.trained_nets(run.profile):
            precision = interval(evidence.seed_counts(net), mean_precision, replicates=500).percent()
            classified = mean_and_interval(100 * evidence.average_precision(net))
            ours = {"mP ours": precision.mean, "mP 95 %": precision.ends, "mAP ours": classified.mean}
        rows.append({
            "network": row["network"], "high resolution": row["high_resolution_output"],
            "dilated": row["dilated_convolution"], "ROI pooling": row["roi_pooling"],
            "mP paper": row["mean_precision_pct"], **ours, "mAP paper": row["classification_map_pct"],
        })
    frame = pd.DataFrame(rows)
    frame = frame[[*frame.columns[:5], "mP ours", "mP 95 %", "mAP paper", "mAP ours"]]
    return Table(frame, "GAP networks: architecture, seed quality (mP) and classification (mAP), per cent",
                 _protocol(run) + " Seeds are read with the image's tags known, as in the paper.")


def table2(run: Session) -> Table:
    """Guide labeller variants: guide quality on the training images, segmenter quality on val."""
    evidence, printed = Evidence(run), run.published("table2")
    names = {"Seeds only": "seeds", "Saliency oracle": "oracle"}
    rows = [_guide_row(evidence, names.get(row["method"], row["method"]), row) for _, row in printed.iterrows()]
    if "G2 released" in oh2017.trained_rows(run.profile):
        rows.append(_guide_row(evidence, "G2 released", pd.Series({
            "method": "G2, undecided = background", "uses_seeds": "yes", "uses_saliency": "yes"})))
    rows.append(_guide_row(evidence, "G2, seeds at 0.5", pd.Series({
        "method": "G2, seed threshold 0.5", "uses_seeds": "yes", "uses_saliency": "yes"})))
    rows.append(_guide_row(evidence, "full", pd.Series({"method": "Full supervision", "uses_seeds": "no",
                                                         "uses_saliency": "no"})))
    note = (" Guide precision (P) and recall (R) on training images, foreground = mean over classes; undecided pixels "
            "count as missed in recall. The last rows are not in the paper's Table 2 (the released code turns "
            "undecided pixels into background; 0.5 is about the best seed threshold on the masks of the photographs). "
            "void as bg: mIoU with void pixels counted as background instead of left out. The paper prints the same "
            "bg and fg P/R for G0 and G1: not compared.")
    return Table(pd.DataFrame(rows), "Guide labellers: quality of the guides, and of the segmenter trained on them",
                 _protocol(run) + note)


def table3(run: Session) -> Table:
    """State of the art as printed, and our rows of the paper's own methods (with CRF v2)."""
    evidence, printed = Evidence(run), run.published("table3")
    own = {"Seeds only": "seeds", "G0": "G0", "G2": "G2", "DeepLabv1": "full"}
    full = _score(evidence, "full", "v2").mean
    rows = []
    for _, row in printed.iterrows():
        cells = {"method": row["method"], "data": row["data"], "val paper": row["val_miou_pct"],
                 "test paper": row["test_miou_pct"], "FS% paper": row["fully_supervised_pct"],
                 "val ours": None, "95 %": None, "FS% ours": None, "labels used": None, "source": "quoted"}
        if row["method"] in own:
            score = _score(evidence, own[row["method"]], "v2")
            cells |= {"val ours": score.mean, "95 %": score.ends, "FS% ours": 100 * score.mean / full,
                      "labels used": evidence.protocol(run.route.trained(own[row["method"]])), "source": "measured"}
        rows.append(cells)
    note = (" Own rows: with dense CRF v2 at test time. Quoted rows are as printed, measured by others on VOC. "
            "FS% ours is relative to our fully supervised row on val; the paper's is relative to test. "
            "I image tags, P VOC images, S saliency, E extra images, Z sizes, mu micro-annotation.")
    return Table(pd.DataFrame(rows), "Methods compared, mIoU in per cent", _protocol(run) + note)


def table4(run: Session) -> Table:
    """CRF variants, short form."""
    return _crf_table(run, "table4", "CRF variants of the seeds-only segmenter, against saliency (short)")


def table5(run: Session) -> Table:
    """CRF variants, all combinations."""
    return _crf_table(run, "table5", "CRF variants of the seeds-only segmenter, against saliency (all)")


def table6(run: Session) -> Table:
    """Layer shapes of the GAP networks, read off the full-size networks that the `voc` profile trains."""
    from wsss_lab.networks.heads import gap_net, output_size

    backbone = oh2017.SCALES["voc"].backbone
    columns = {}
    for net in ("VGG-16", *oh2017.GAP_NETS):
        built = gap_net(net, backbone, 20)
        side = oh2017.PUBLISHED.input_side
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


TABLES = {"table1": table1, "table2": table2, "table3": table3, "table4": table4, "table5": table5, "table6": table6,
          "text_seeds": seed_summary, "text_saliency": saliency_summary}


def _guide_rows(profile: str) -> list[str]:
    wanted = ("seeds", "G0", "G1", "G2", "oracle", "G2 released", "G2, seeds at 0.5")
    return [name for name in wanted if name in oh2017.trained_rows(profile)]


def _guide_row(evidence: Evidence, name: str, printed: pd.Series) -> dict:
    cells = {"method": printed["method"], "seeds": printed["uses_seeds"], "saliency": printed["uses_saliency"]}
    ours, guide_iou = dict.fromkeys(("fg P", "fg R", "bg P", "bg R")), None
    if name != "full":
        guides = evidence.guide_confusions(name)
        ours, guide_iou = label_quality(guides), 100 * float(mean_iou(guides.sum(1)).mean())
    for cell, value in ours.items():
        place, letter = cell.split()
        kind = {"P": "precision", "R": "recall"}[letter]
        cells[f"{cell} paper"] = printed.get(f"guide_{place}_{kind}_pct")
        cells[f"{cell} ours"] = value
    score = _score(evidence, name)
    return cells | {"guide mIoU ours": guide_iou, "mIoU paper": printed.get("val_miou_pct"),
                    "mIoU ours": score.mean, "95 %": score.ends,
                    "void as bg": 100 * float(mean_iou(evidence.confusions(name, void=True).sum(1)).mean()),
                    "labels used": evidence.protocol(evidence.run.route.trained(name))}


def _crf_table(run: Session, name: str, title: str) -> Table:
    evidence, printed = Evidence(run), run.published(name)
    reference = ("seeds, crf-loss v1", "v1")
    rows = []
    for _, row in printed.iterrows():
        settings = {column: row[column] if isinstance(row[column], str) else "none"
                    for column in ("crf_seed", "crf_loss", "crf_postproc")}
        trained, crf = crf_row(row["seed_method"], row["guide_rule"], **settings)
        if row["guide_rule"] != "seeds":
            settings["crf_postproc"] = f"{crf} (ours)"
        cells = {"seeds": row["seed_method"], "guide": row["guide_rule"],
                 **{column.replace("_", "-"): value for column, value in settings.items()},
                 "mIoU paper": row["val_miou_pct"], "delta paper": row["delta_miou_pp"],
                 "mIoU ours": None, "delta ours": None, "delta 95 %": NOT_RUN}
        if (trained, crf) in scored_rows(run.profile) and reference in scored_rows(run.profile):
            ours = evidence.confusions(trained, crf)
            delta = miou_gain(ours, evidence.confusions(*reference))
            cells |= {"mIoU ours": _score(evidence, trained, crf).mean, "delta ours": delta.mean,
                      "delta 95 %": delta.ends if (trained, crf) != reference else "reference"}
        elif (trained, crf) in scored_rows(run.profile):
            cells |= {"mIoU ours": _score(evidence, trained, crf).mean, "delta 95 %": ""}
        rows.append(cells)
    note = (" v1: parameters of SEC, v2: of DeepLab v1. The paper leaves the CRF cells of the G2 rows open; ours use "
            "crf-postproc v2, as its Table 3 does. delta: to crf-loss v1 + crf-postproc v1 on GAP-HighRes seeds, "
            "in percentage points.")
    return Table(pd.DataFrame(rows), title, _protocol(run) + note)


def crf_row(seed_method: str, guide: str, crf_seed: str, crf_loss: str, crf_postproc: str) -> tuple[str, str | None]:
    """The (row of ROWS, crf-postproc) that a line of Tables 4 and 5 asks for."""
    net = seed_method.removeprefix("GAP-")
    prefix = "" if net == "HighRes" else f"{net} "
    if guide != "seeds":
        return f"{prefix}G2", "v2"
    switched = {"crf-seed": crf_seed, "crf-loss": crf_loss}
    extra = "".join(f", {name} {value}" for name, value in switched.items() if value != "none")
    return f"{prefix}seeds{extra}", None if crf_postproc == "none" else crf_postproc


def _score(evidence: Evidence, row: str, crf: str | None = None) -> Interval:
    return miou(evidence.confusions(row, crf))


def _protocol(run: Session) -> str:
    return protocol(run, "one scale")


def _layers(net, blocks: tuple[tuple[int, int], ...]) -> dict[str, str]:
    """Shape of each named layer of a GAP network; the convolutions of a block share one line."""
    from torch import nn

    blocks_of = [number for number, (count, _) in enumerate(blocks, start=1) for _ in range(count)]
    shapes: dict[str, str] = {}
    seen = 0
    for layer in net.trunk:
        if isinstance(layer, nn.Conv2d):
            shapes[f"conv{blocks_of[seen]}"] = f"{blocks[blocks_of[seen] - 1][0]} x {_convolution(layer)}"
            seen += 1
        elif isinstance(layer, nn.MaxPool2d):
            shapes[f"pool{blocks_of[seen - 1]}"] = _pool(layer)
    hidden = [layer for layer in net.head if isinstance(layer, nn.Conv2d)]
    for number, layer in enumerate(hidden, start=6):
        shapes[f"fc{number}"] = _convolution(layer)
    return shapes | {"GAP": "GAP", "fc8": _convolution(net.classifier)}


def _convolution(layer) -> str:
    text = f"({layer.out_channels},{layer.kernel_size[0]},{layer.kernel_size[1]})"
    if layer.dilation[0] > 1:
        text += f" dil={layer.dilation[0]}"
    return text + f" pad={layer.padding[0]}"


def _pool(layer) -> str:
    return f"(-,{layer.kernel_size},{layer.kernel_size}) st={layer.stride} pad={layer.padding}"
