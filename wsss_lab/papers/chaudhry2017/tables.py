"""What is measured of Chaudhry et al. 2017, and its tables: the printed numbers beside ours.

Table 3 is made of pictures and stands with the figures.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from wsss_lab.evaluation.confusion import divide, mean_iou
from wsss_lab.evaluation.intervals import Interval, combined, ratio, resampled
from wsss_lab.evaluation.object_recall import AREA, FOUND
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.evaluation.saliency_scores import foreground_precision_recall
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Output
from wsss_lab.measure.quantities import Derived, NotMeasured, Quantity, Source, cached, figure, result
from wsss_lab.measure.strata import Dial
from wsss_lab.measure.tables import REFERENCE, Column, Table, measured, table
from wsss_lab.papers import shared_tables as shared
from wsss_lab.papers.chaudhry2017.route import AS_RELEASED, HIERARCHY, ROWS, Route, trained_rows, tuning_split

FULL, FROZEN = "S3 + adapt", "S3 + adapt, frozen trunk"  # the paper's method; stage 1 as in the released code

#: Ways to train stage 1: (pooling, whether the trunk is frozen).
ATTENTION = (("average", False), ("max", False), ("average", True))

#: One row of ROWS for each way to make the cues; they differ before or after adapting.
CUE_ROWS = ("attention only", "S1 + adapt", "S2 + adapt", FULL, "S3 + adapt twice", "S3 + adapt, one scale",
            "S3 + adapt, released masking", "S3 + adapt, released gradient", "S3 + adapt, pixel loss only", FROZEN,
            "S3, geometric mean", "S3, arithmetic mean", "VGG, S3 + adapt", "G2")

#: The rows of ROWS that learn from each mean of attention and saliency.
MEAN_ROWS = {"harmonic": "S3", "geometric": "S3, geometric mean", "arithmetic": "S3, arithmetic mean"}
OBJECTS = ("largest", "second", "third")

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


# --- what is measured -------------------------------------------------------------------------------------------------

def confusions(row: str, crf: bool = False, split: str = "val", scales: tuple[float, ...] = ()) -> Source:
    """Of a row's network. scales: at test time, () = the profile's."""
    return result("confusions", Route.scored, row, crf, split, scales)


def cue_confusions(row: str, round: int = 1, output: str = "confusions") -> Source:
    """Of the cues that a round of a row learns from, on the training images."""
    return result(output, Route.scored_cues, row, round)


def agreement(mean: str = "harmonic", split: str = "train", kind: str = "S3") -> Source:
    """Confidence counts of Algorithm 1's means; "tuning" is the split that gammas are chosen on."""
    return result("counts", Route.agreement, mean, kind, split)


@cached
def attention(split: str, pooling: str = "average", frozen: bool = False, output: str = "counts") -> Source:
    """Confidence counts of the attention maps alone, or other outputs of Route.volumes. frozen: as FROZEN starts."""

    def source(route: Route) -> Output:
        if frozen and FROZEN in route.left_out:
            raise NotMeasured(f"profile {route.profile} doesn't have '{FROZEN}'")
        return (route.attention_score(split, pooling, frozen) if output == "counts" else
                route.volumes(split, "main", pooling, frozen))[output]

    return source


def objects_found(step: str, output: str = "counts", detector: str = "") -> Source:
    return result(output, Route.objects_found, step, "val", detector)


@cached
def recall(step: str, rank: int, detector: str = "") -> Quantity:
    """Share of the pixels of each image's largest (rank 0), second or third object that are salient."""
    return figure("", objects_found(step, detector=detector), ratio, lambda counts: counts[:, :, rank])


def gamma(route: Route) -> Derived:
    """The threshold of Algorithm 1 with the harmonic mean."""
    return Derived(lambda: route.scale.gamma)


@cached
def miou(row: str, crf: bool = False, split: str = "val", scales: tuple[float, ...] = ()) -> Quantity:
    """Mean IoU of a row's network on a split."""
    name = row + " + CRF" * crf + (f" on {split}" if split != "val" else "")
    return figure(name, confusions(row, crf, split, scales), mean_iou)


@cached
def cues_miou(row: str, round: int) -> Quantity:
    return figure("adapted" if round > 1 else "initial", cue_confusions(row, round), mean_iou)


@cached
def cues(row: str, which: str, round: int = 1) -> Quantity:
    """Foreground "precision" or "recall" of the cues that a round of a row learns from."""
    return figure(row, cue_confusions(row, round), shared.LABEL_QUALITY[which])


@cached
def lost_tags(row: str, round: int) -> Quantity:
    """How many tags of training images get no pixel of their class in the cues of a round of a row."""

    def missing(counts: np.ndarray, tags: np.ndarray) -> np.ndarray:
        given = counts.sum(2)[:, :, 1:-1]  # pixels of each class in the cues, without the undecided ones
        return ((given == 0) & tags[:1]).sum(-1)

    labels = cue_confusions(row, round, "with_void")  # with void, so that no pixel is left out
    return figure("lost", (labels, shared.train_tags), lambda summed: summed, missing, unit="")


@cached
def direct(tags: str) -> Quantity:
    """Mean IoU of attention and S3 combined directly, on val (Table 4, "no")."""
    return figure("direct", lambda route: route.score(route.direct(tags))["confusions"], mean_iou)


def at_threshold(counts: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Confidence counts with one threshold left: pixels below and from each training's threshold on.

    counts: (S, N, 3, K, bins). thresholds: (S,), brought to the nearest edge of a bin. Returns (S, N, 3, K, 2).
    """
    edges = np.round(np.asarray(thresholds) * counts.shape[-1]).astype(int)
    return np.stack([shared.cut_at(seed, edge) for seed, edge in zip(counts, edges, strict=True)])


def miou_of_two(counts: np.ndarray) -> np.ndarray:
    """Mean IoU (...) at the threshold of `at_threshold` (..., 3, K, 2)."""
    return sweep(counts).mean_iou[..., 1]


def best_gammas(tuning: np.ndarray) -> np.ndarray:
    """The gamma of greatest mIoU of each training: (S, N, 3, K, bins) -> (S,)."""
    return np.array([sweep(seed.sum(0)).best_threshold()[0] for seed in tuning])


def swept_intervals(counts: np.ndarray, replicates: int = 200) -> list[Interval]:
    """Mean IoU in per cent at every threshold with its interval. counts: (S, N, 3, K, bins)."""
    flat = counts.reshape(*counts.shape[:2], -1).astype(np.float32)

    def curves(weights: np.ndarray) -> np.ndarray:
        drawn = [(np.float32(weights) @ each).reshape(-1, *counts.shape[2:]) for each in flat]
        return np.stack([sweep(each.astype(np.float64)).mean_iou for each in drawn], 1)  # (R, S, thresholds)

    whole, drawn = curves(np.ones((1, counts.shape[1])))[0], resampled(curves, counts.shape[1], replicates)
    return [combined(whole[:, at], drawn[:, :, at], counts.shape[1]).percent() for at in range(whole.shape[1])]


@cached
def mean_of_maps(mean: str) -> Quantity:
    """Mean IoU of the training images' cues by a mean of attention and saliency, gamma chosen on other images."""
    return figure(mean, (agreement(mean, "tuning"), agreement(mean)), miou_of_two,
                  lambda tuning, counts: at_threshold(counts, best_gammas(tuning)))


@cached
def miou_at(source: Source, threshold: float) -> Quantity:
    """Mean IoU at a given threshold of confidence counts."""
    return figure("", source, miou_of_two, lambda counts: at_threshold(counts, np.full(len(counts), threshold)))


# --- the tables -------------------------------------------------------------------------------------------------------

Line = Mapping[str, Any]


def score(line: Line, split: str = "val") -> Quantity | None:
    """What the row of a line reaches on a split, with its CRF and at its scales."""
    return line["row"] and miou(line["row"], line.get("crf") == "yes", split, line.get("scales", ()))


def of_row(run: Session, cell: Callable[[str], Any]) -> Column:
    """A column on the row of a line, where the profile trains it."""
    return lambda line: cell(line["row"]) if line["row"] in trained_rows(run.profile) else None


def _labels(run: Session) -> Column:
    return of_row(run, lambda row: shared.labels_of(run, run.route.trained(row)))


def _rows_of(run: Session, rows: tuple[str, ...]) -> list[str]:
    """Rows without the one that stands in for another where the profile trains that other one."""
    return [row for row in rows if row != AS_RELEASED or row in trained_rows(run.profile)]


def _protocol(run: Session, split: str = "val", tags: str = shared.TAGS_UNUSED) -> str:
    return shared.protocol(run, f"maximum of the scores at {shared.scale_words(run.route.scale.scales)}", split, tags)


def attention_summary(run: Session) -> Table:
    """Average against max pooling, and the whole network against the new layers only, in stage 1."""
    gamma = run.route.scale.gamma
    alone = gamma / (2 - gamma)

    def swept(*cells):
        return {cell: lambda line, cell=cell: shared.sweep_cells(
            run.results.stack(attention("val", *line["kind"])), alone)[cell] for cell in cells}

    def classified(line):
        return shared.average_precision_of("", attention("val", *line["kind"], output="scores"), shared.val_tags)

    note = (" Attention maps are read with the image's tags known, as cues are made. threshold: what Algorithm 1 asks "
            f"of attention where saliency is 1, gamma / (2 - gamma) with gamma {gamma:g}. The best threshold is chosen "
            "on the same pixel labels and used for nothing. fg: mean over classes. "
            f"{shared.labels_used(run, run.route.attention())}")
    return table(run, [{"kind": kind} for kind in ATTENTION], {
        "network": lambda line: run.route.network_name("main"), "pooling": lambda line: line["kind"][0],
        "trained in stage 1": lambda line: "new layers" if line["kind"][1] else "whole network",
        **measured("mAP", classified, ours="{}"), **swept("threshold", "fg precision", "fg recall"),
        **measured("mIoU", lambda line: miou_at(attention("val", *line["kind"]), alone), ours="{}", unmeasured=None),
        **swept("best threshold", "mIoU at the best"),
    }, "Attention maps alone, after stage 1, per cent", _protocol(run) + note, {"threshold": 2, "best threshold": 2})


def hierarchy_summary(run: Session) -> Table:
    """What erasing and looking again finds: recall by the rank of the object, precision and recall of all pixels."""
    def pixels(line, which):
        return figure("", result("counts", Route.salient_pixels, line["step"], "val", line["of"]),
                      lambda summed: getattr(foreground_precision_recall(summed), which))

    found: dict[str, Column] = {}
    for rank, which in enumerate(OBJECTS):
        found |= measured(which, lambda line, rank=rank: recall(line["step"], rank, line["of"]), ours="{} object")
    objects = run.results.first(objects_found("S1", "objects"))
    counted = ", ".join(f"{(objects > rank).sum()} with a {which} object" for rank, which in enumerate(OBJECTS) if rank)
    note = (f"{run.world.name} val ({len(objects)} images, {counted}), {run.seeds} training seed(s), image tags not "
            "used. Recall of the pixels of each image's largest, second and third object (8-connected regions of one "
            "class), and precision and recall of all foreground pixels, at saliency 0.5. In brackets: 95 % interval, "
            f"{shared.covers(run.seeds)}. The unsupervised detector erases the share of pixels that the other one "
            "erases at the printed thresholds, which is why it has that one's labels. The paper shows pictures only.")
    return table(run, [{"of": detector, "step": step} for detector in ("", "unsupervised") for step in HIERARCHY], {
        "detector": lambda line: shared.detector_name(run.route.guided, line["of"]), "saliency": "step", **found,
        **{f"fg {which}": lambda line, which=which: pixels(line, which) for which in ("precision", "recall")},
        "labels used": lambda line: "; ".join(shared.beyond_tags(run.route.hierarchy("val", line["of"]))) or "none",
    }, "Hierarchical saliency: which objects are found, per cent of their pixels", note)


def cue_summary(run: Session) -> Table:
    """The pixel cues on the training images before and after adapting, and the segmenter that learns from them."""
    found: dict[str, Column] = {}
    for when in ("before", "after"):
        def of(quantity, *more, when=when):
            return lambda line: quantity(line["row"], *more, line[when]) if line[when] else None

        found |= {f"fg P {when}": of(cues, "precision"), f"fg R {when}": of(cues, "recall"),
                  **measured(when, of(cues_miou), "mIoU 95 % {}", "mIoU {}"), f"lost {when}": of(lost_tags)}
    train = run.view("train")
    note = (f" Cues: on the {len(train)} training images with their tags known; before adapting (Algorithm 1, or G2's "
            "guides, whose undecided pixels count as missed) and after, those of the last round. fg precision (P) and "
            f"recall (R): means over classes. lost: of the {train.tags.sum()} tags of training images, how many get no "
            "pixel at all. The paper gives no numbers for cues.")
    lines = [{"row": name, "before": 1, "after": ROWS[name].rounds if ROWS[name].adapt and ROWS[name].rounds > 1 else 0}
             for name in _rows_of(run, CUE_ROWS)]
    return table(run, lines, {
        "row": "row", **found, **measured("val", score, ours="segmenter {}", unmeasured=None),
        "labels used": _labels(run),
    }, "Pixel cues and what is learnt from them, per cent", _protocol(run) + note)


def mean_summary(run: Session) -> Table:
    tuning, gamma = tuning_split(run.profile), run.route.scale.gamma
    bins = run.results.stack(agreement("harmonic")).shape[-1]
    note = (f" Cues: mIoU with S3 on the {len(run.view('train'))} training images, tags known; gamma goes in steps of "
            f"1/{bins}, the best one is chosen on the masks of {tuning}. Segmenter: one round on cues "
            f"that are not adapted, gamma {gamma:g} for the harmonic mean as in the paper, the best for the others. "
            "The paper gives no numbers.")
    return table(run, [{"mean": mean, "row": row} for mean, row in MEAN_ROWS.items()], {
        "mean": "mean", **measured(f"at gamma {gamma:g}", lambda line: miou_at(agreement(line["mean"]), gamma),
                                   "95 % {}", "cues {}"),
        f"best gamma on {tuning}": lambda line: float(best_gammas(run.results.stack(
            agreement(line["mean"], "tuning"))).mean()),
        **measured("at the best", lambda line: mean_of_maps(line["mean"]), "95 % {}", "cues {}"),
        **measured("val", score, ours="segmenter {}"), "labels used": _labels(run),
    }, "Means of attention and saliency, mIoU in per cent", _protocol(run) + note, {f"best gamma on {tuning}": 2})



def table1(run: Session) -> Table:
    """State of the art as printed, and our rows of the paper's methods and of Oh et al.'s."""
    lines = [line | {"row": OWN_METHODS.get(line["method"]), "method": line["method"].removesuffix(" (ours)")}
             for line in run.published("table1").to_dict("records")]
    lines += [{"method": "Joon et al. with DCSP's network", "crf": crf, "row": "G2"} for crf in ("no", "yes")]
    note = (" Quoted rows are as printed, measured by others on VOC. Joon et al. is Oh et al. 2017: its rule G2, with "
            "VGG as in print; the last two rows, not in the paper's table, give it the network of DCSP-ResNet-101, so "
            f"that only cues and losses differ. network, labels used: of our rows. "
            f"{shared.words_on_test(run, has_test(run.profile))}")
    return table(run, lines, {
        "method": "method", "reference": "reference", "CRF": "crf", "val paper": "val_miou_pct",
        **measured("val", score), "test paper": "test_miou_pct",
        **measured("test", partial(score, split="test"), unmeasured=shared.NO_TEST),
        "network": of_row(run, lambda row: run.route.network_name(ROWS[row].net)),
        "labels used": _labels(run), "remark in print": "note",
        "source": lambda line: of_row(run, lambda row: "measured")(line) or "quoted",
    }, "Methods compared, mIoU in per cent", _protocol(run) + note)


def table2(run: Session) -> Table:
    """Saliency mask against adapting, with and without CRF; and the control that trains as long without adapting."""
    printed = run.published("table2")
    before = printed[printed["adapt"] == "no"].set_index(["crf", "saliency_mask"])["val_miou_pct"]
    lines = [line | {"plain": kind, "row": kind + " + adapt" * (line["adapt"] == "yes")}
             for line in printed.to_dict("records") for kind in line["saliency_mask"].split()[:1]]
    lines.append({"crf": "no", "saliency_mask": "S3 (HS)", "adapt": "no, two rounds", "row": "S3, longer",
                  "plain": "S3"})

    def printed_gain(line):
        return line["val_miou_pct"] - before[line["crf"], line["saliency_mask"]] if line["adapt"] == "yes" else None

    def gain(line):
        return score(line) - score(line | {"row": line["plain"]}) if line["row"] != line["plain"] else None

    note = (" gain: in percentage points over the row with the same saliency mask and CRF whose cues are not adapted. "
            "Adapting comes with a second round of training; the last row, not in the paper's table, trains the second "
            f"round on the old cues. {shared.labels_used(run, run.route.trained(FULL))}")
    return table(run, lines, {
        "CRF": "crf", "saliency mask": "saliency_mask", "adapt": "adapt",
        "rounds": of_row(run, lambda row: ROWS[row].rounds), "val paper": "val_miou_pct",
        **measured("val", score), "gain paper": printed_gain, **measured("gain", gain, unmeasured=None),
    }, "Saliency mask, adapted cues and CRF: mIoU in per cent", _protocol(run) + note)


def table4(run: Session) -> Table:
    """Attention and saliency combined directly on val, against the network that learns from them jointly."""
    printed = run.published("table4").set_index("joint_training")["val_miou_pct"]
    lines = [{"joint": "no", "scored": "Algorithm 1 on val, classes predicted", "paper": printed["no"],
              "ours": direct("predicted")},
             {"joint": "no", "scored": "Algorithm 1 on val, tags known", "ours": direct("known")},
             {"joint": "yes", "scored": FULL, "paper": printed["yes"], "gain": printed["yes"] - printed["no"],
              "ours": miou(FULL)}]
    note = (" gain: over the first row, in percentage points. Without joint training, attention and S3 are combined on "
            "each val image and scored as they are. The paper does not say which classes it lets in: those that the "
            "attention network sees with a probability above 1/2 (the best one if there is none), as a method without "
            "tags must; or, in the row that says so, the image's own tags. What the class loss alone brings is another "
            f"question, see the ablations. {shared.labels_used(run, run.route.trained(FULL))}")
    return table(run, lines, {
        "joint training": "joint", "scored": "scored", "val paper": "paper",
        **measured("val", lambda line: line["ours"]), "gain paper": "gain",
        **measured("gain", lambda line: line["ours"] - lines[0]["ours"] if line is not lines[0] else None),
    }, "Joint training: mIoU in per cent", _protocol(run) + note)


def per_class(run: Session, name: str, split: str) -> Table:
    """Table 5 or 6: a line for each printed column."""
    lines = [line | {"row": f"{line['saliency_step']} + adapt"} for line in run.published(name).to_dict("records")]
    note = (f" All rows with adapted cues.{shared.CLASSES_NOTE} Means that disagree with their cells in print are "
            f"kept: {shared.printed_slips(run, name)}. {shared.labels_used(run, run.route.trained(FULL))}")
    return shared.class_table(run, name, split, lines, partial(score, split=split),
                              f"IoU of each class by erasing step, {split}, per cent", _protocol, note,
                              {"saliency": "saliency_step", "CRF": "crf"})


def ablations(run: Session) -> Table:
    printed = run.published("table2")
    printed = printed[printed["crf"] == "no"].set_index(["saliency_mask", "adapt"])["val_miou_pct"]
    paper = {(FULL, ()): printed["S3 (HS)", "yes"], ("S3", ()): printed["S3 (HS)", "no"]}
    first = (f"nothing: {FULL}, joint loss", FULL, ())
    rows = _rows_of(run, (FULL, *(row for _, row, _ in ABLATIONS)))
    lines = [{"changed": changed, "row": row, "scales": scales, "paper": paper.get((row, scales))}
             for changed, row, scales in (first, *ABLATIONS) if row in rows]
    note = (" gain: over the first row, in percentage points, paired by image and seed. Each round is equally long. "
            "With the released gradient the class loss changes nothing that labels pixels, so that one of these two "
            "changes is enough.")
    return table(run, lines, {
        "changed": "changed", "val paper": "paper", **measured("val", score),
        **measured("gain", lambda line: REFERENCE if line is lines[0] else score(line) - miou(FULL), unmeasured=None),
        "labels used": _labels(run),
    }, "One thing changed at a time, mIoU in per cent", _protocol(run) + note)


#: When does it help? See wsss_lab.measure.strata.
DIALS = tuple(
    Dial((cues_miou("S3", 1) - cues_miou("S1", 1)).called("S3 - S1"), by,
         lambda route: route.objects_found("S1", "train")["counts"], of, parts) for by, of, parts in (
        ("% of the second object that S1 finds",
         lambda counts: 100 * divide(counts[:, :, 1, FOUND], counts[:, :, 1, AREA]), 5),
        ("objects, 3 or more", lambda counts: (counts[..., AREA] > 0).sum(-1, dtype=float), 3)))

TABLES = {"table1": table1, "table2": table2, "table4": table4,
          "table5": partial(per_class, name="table5", split="val"),
          "table6": partial(per_class, name="table6", split="test"),
          "text_attention": attention_summary, "text_hierarchy": hierarchy_summary, "text_cues": cue_summary,
          "text_means": mean_summary, "ablations": ablations,
          "when": partial(shared.when_table, dials=DIALS, words=lambda run: _protocol(run, "train", shared.TAGS_KNOWN),
                          scores="the cues on the training images")}
