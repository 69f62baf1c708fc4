"""The measured tables of Chaudhry et al. 2017: the printed numbers beside ours, measured rows beside quoted ones.

Table 3 is made of pictures and stands with the figures.
"""

import numpy as np
import pandas as pd

from wsss_lab.evaluation.confusion import iou, nan_mean
from wsss_lab.evaluation.intervals import Interval, interval, ratio
from wsss_lab.evaluation.precision_recall import map_interval, mean_average_precision, sweep
from wsss_lab.evaluation.saliency_scores import foreground_precision_recall
from wsss_lab.fusion.harmonic import MEANS
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.measure.tables import NOT_RUN, Table
from wsss_lab.papers.chaudhry2017.route import (
    AS_RELEASED,
    DETECTORS,
    HIERARCHY,
    POSTPROCESSED,
    ROWS,
    TESTED,
    Route,
    trained_rows,
    tuning_split,
)
from wsss_lab.papers.shared_evidence import SeededEvidence
from wsss_lab.papers.shared_tables import (
    NO_TEST,
    cut_at,
    detector_name,
    label_quality,
    labels_used,
    miou,
    miou_gain,
    miou_of_cut,
    nearest,
    printed_slips,
    protocol,
    score_cells,
    split_cells,
    sweep_cells,
    words_on_test,
)


class Evidence(SeededEvidence):
    """Stored scores of a session, stacked over its S seeds.

    Confusions are (S, N, K, K + 1) counts per seed and image; confidence counts are (S, N, 3, K, bins), see
    wsss_lab.evaluation.precision_recall; rows are keys of chaudhry2017.ROWS.
    """

    def confusions(self, row: str, crf: bool = False, split: str = "val", void: bool = False,
                   scales: tuple[float, ...] = ()) -> np.ndarray:
        """Confusions of a row's network on a split; void=True counts void pixels as background."""
        return self.stack(lambda route: route.scored(row, crf, split, scales), "with_void" if void else "confusions")

    def cue_confusions(self, row: str, round: int = 1, void: bool = False) -> np.ndarray:
        """Confusions, on the training images, of the cues that a round of a row learns from; void as above."""
        return self.stack(lambda route: route.score(route.cues_of(row, round), "train"),
                          "with_void" if void else "confusions")

    def direct_confusions(self, tags: str = "predicted") -> np.ndarray:
        """Confusions of attention and S3 combined directly, on val (Table 4, "no")."""
        return self.stack(lambda route: route.score(route.direct(tags)), "confusions")

    def attention_counts(self, split: str = "val", pooling: str = "average", frozen: bool = False) -> np.ndarray:
        """Confidence counts of the attention maps alone."""
        return self.stack(lambda route: route.attention_score(split, pooling, frozen), "counts")

    def agreement_counts(self, mean: str = "harmonic", kind: str = "S3", split: str = "train") -> np.ndarray:
        """Confidence counts of Algorithm 1's means: the threshold of their sweep is gamma."""
        return self.stack(lambda route: route.agreement(mean, kind, split), "counts")

    def object_counts(self, step: str, split: str = "val", detector: str = "") -> np.ndarray:
        """Found and all pixels of the three largest objects: (S, N, 3, 2), see wsss_lab.evaluation.object_recall."""
        return self.stack(lambda route: route.objects_found(step, split, detector), "counts")

    def salient_counts(self, step: str, split: str = "val", detector: str = "") -> np.ndarray:
        """Salient pixels of S1, S2 or S3 against the objects: (S, N, 4), see wsss_lab.evaluation.saliency_scores."""
        return self.stack(lambda route: route.salient_pixels(step, split, detector), "counts")

    def number_of_objects(self, split: str = "val") -> np.ndarray:
        """How many separate objects each image shows: (N,)."""
        return self.stack(lambda route: route.objects_found("S1", split), "objects")[0]

    def classifier_scores(self, net: str = "main", pooling: str = "average", frozen: bool = False) -> np.ndarray:
        """Class scores of the attention network on val: (S, N, C) logits."""
        return self.stack(lambda route: route.volumes("val", net, pooling, frozen), "scores")

    def average_precision(self, net: str = "main", pooling: str = "average", frozen: bool = False) -> np.ndarray:
        """Mean average precision of the attention network as a classifier on val, per seed: (S,) in [0, 1]."""
        return np.array([mean_average_precision(scores, self.tags)
                         for scores in self.classifier_scores(net, pooling, frozen)])


#: Ways to train stage 1: (pooling, whether the trunk is frozen).
ATTENTION = (("average", False), ("max", False), ("average", True))
FROZEN_ROW = "S3 + adapt, frozen trunk"

#: One row of ROWS for each way to make the cues; they differ before or after adapting.
CUE_ROWS = ("attention only", "S1 + adapt", "S2 + adapt", "S3 + adapt", "S3 + adapt twice",
            "S3 + adapt, one scale", "S3 + adapt, released masking", "S3 + adapt, released gradient",
            "S3 + adapt, pixel loss only", FROZEN_ROW,
            "S3, geometric mean", "S3, arithmetic mean", "VGG, S3 + adapt", "G2")

#: The rows of ROWS that learn from each mean of attention and saliency.
MEAN_ROWS = {"harmonic": "S3", "geometric": "S3, geometric mean", "arithmetic": "S3, arithmetic mean"}
OBJECTS = ("largest", "second", "third")


def scales_of(run: Session) -> str:
    """How test images are looked at: words for `protocol`."""
    *others, last = (f"{scale:g}" for scale in run.route.scale.scales)
    return f"maximum of the scores at scales {', '.join(others)} and {last}"


# --- attention -------------------------------------------------------------------------------------------------------


def attention_steps(route: Route, profile: str) -> list[Step]:
    """What `attention_summary` reads, for one seed."""
    kinds = [kind for kind in ATTENTION if _trains(profile, *kind)]
    return [step for pooling, frozen in kinds for step in
            (route.attention_score("val", pooling, frozen), route.volumes("val", pooling=pooling, frozen=frozen))]


def attention_summary(run: Session) -> Table:
    """Average against max pooling, and the whole network against the new layers only, in stage 1."""
    evidence, gamma, rows = Evidence(run), run.route.scale.gamma, []
    alone = gamma / (2 - gamma)
    for pooling, frozen in ATTENTION:
        cells = {"network": run.route.network_name("main"), "pooling": pooling,
                 "trained in stage 1": "new layers" if frozen else "whole network", "mAP": None, "mAP 95 %": NOT_RUN}
        if _trains(run.profile, pooling, frozen):
            counts = evidence.attention_counts("val", pooling, frozen)
            classified = map_interval(evidence.classifier_scores("main", pooling, frozen), evidence.tags).percent()
            cut = miou_of_cut(cut_at(counts, nearest(sweep(counts[0, 0]).thresholds, alone)))
            cells |= {"mAP": classified.mean, "mAP 95 %": classified.ends, **sweep_cells(counts, alone),
                      "mIoU": cut.mean, "mIoU 95 %": cut.ends}
        rows.append(cells)
    note = (" Attention maps are read with the image's tags known, as cues are made. threshold: what Algorithm 1 asks "
            f"of attention where saliency is 1, gamma / (2 - gamma) with gamma {gamma:g}. The best threshold is chosen "
            "on the same pixel labels and used for nothing. fg: mean over classes. "
            f"{labels_used(evidence, run.route.attention())}")
    frame = pd.DataFrame(rows)
    frame.insert(frame.columns.get_loc("mIoU") + 1, "mIoU 95 %", frame.pop("mIoU 95 %"))
    return Table(frame, "Attention maps alone, after stage 1, per cent",
                 protocol(run, scales_of(run)) + note, {"threshold": 2, "best threshold": 2})


# --- saliency --------------------------------------------------------------------------------------------------------


def hierarchy_steps(route: Route, profile: str) -> list[Step]:
    """What `hierarchy_summary` reads, for one seed; the same in all profiles."""
    return [step for detector in DETECTORS for name in HIERARCHY for step in
            (route.objects_found(name, "val", detector), route.salient_pixels(name, "val", detector))]


def hierarchy_summary(run: Session) -> Table:
    """What erasing and looking again finds: recall by the rank of the object, precision and recall of all pixels."""
    evidence, rows = Evidence(run), []
    for detector in DETECTORS:
        for name in HIERARCHY:
            cells = {"detector": detector_name(run.route.guided, detector), "saliency": name}
            objects = evidence.object_counts(name, "val", detector)
            for rank, which in enumerate(OBJECTS):
                found = interval(objects[:, :, rank], ratio).percent()
                cells |= {f"{which} object": found.mean, f"{which} 95 %": found.ends}
            pooled = foreground_precision_recall(evidence.salient_counts(name, "val", detector).sum(1))
            learnt = evidence.beyond_tags(run.route.hierarchy("val", detector))
            rows.append(cells | {"fg precision": 100 * float(pooled.precision.mean()),
                                 "fg recall": 100 * float(pooled.recall.mean()),
                                 "labels used": "; ".join(learnt) or "none"})
    objects = evidence.number_of_objects()
    counted = ", ".join(f"{(objects > rank).sum()} with a {which} object" for rank, which in enumerate(OBJECTS) if rank)
    covers = "images and seeds" if run.seeds > 1 else "images only"
    note = (f"{run.world.name} val ({len(objects)} images, {counted}), {run.seeds} training seed(s), image tags not "
            "used. Recall of the pixels of each image's largest, second and third object (8-connected regions of one "
            "class), and precision and recall of all foreground pixels, at saliency 0.5. In brackets: 95 % interval, "
            f"bootstrap over {covers}. The unsupervised detector erases the share of pixels that the other one erases "
            "at the printed thresholds, which is why it has that one's labels. The paper shows pictures only.")
    return Table(pd.DataFrame(rows), "Hierarchical saliency: which objects are found, per cent of their pixels", note)


# --- cues ------------------------------------------------------------------------------------------------------------


def cue_steps(route: Route, profile: str) -> list[Step]:
    """What `cue_summary` reads, for one seed."""
    rows = [name for name in CUE_ROWS if name in trained_rows(profile)]
    cues = [route.score(route.cues_of(name, round), "train") for name in rows for round in {1, _last_round(name)}]
    return [*cues, *(route.scored(name) for name in rows)]


def cue_summary(run: Session) -> Table:
    """The pixel cues on the training images before and after adapting, and the segmenter that learns from them."""
    evidence, rows = Evidence(run), []
    for name in CUE_ROWS:
        if name == AS_RELEASED and name not in trained_rows(run.profile):
            continue
        cells = {"row": name, **_cue_cells(evidence, name, 1, "before")}
        if _last_round(name) > 1:
            cells |= _cue_cells(evidence, name, _last_round(name), "after")
        if name in trained_rows(run.profile):
            score = miou(evidence.confusions(name))
            cells |= {"segmenter val": score.mean, "val 95 %": score.ends,
                      "labels used": evidence.protocol(run.route.trained(name))}
        rows.append(cells)
    train = run.view("train")
    frame = pd.DataFrame(rows)
    order = ["row", *(name for when in ("before", "after") for name in frame if name.endswith(f" {when}")),
             "segmenter val", "val 95 %", "labels used"]
    note = (f" Cues: on the {len(train)} training images with their tags known; before adapting (Algorithm 1, or G2's "
            "guides, whose undecided pixels count as missed) and after, those of the last round. fg precision (P) and "
            f"recall (R): means over classes. lost: of the {train.tags.sum()} tags of training images, how many get no "
            "pixel at all. The paper gives no numbers for cues.")
    return Table(frame.reindex(columns=order), "Pixel cues and what is learnt from them, per cent",
                 protocol(run, scales_of(run)) + note)


def lost_tags(confusions: np.ndarray, tags: np.ndarray) -> float:
    """How many tags of all images get no pixel of their class, mean over seeds.

    confusions: (S, N, K, K + 1) of cues, void counted as background so that no pixel is left out. tags: (N, K - 1).
    """
    given = confusions.sum(2)[:, :, 1:-1]  # pixels of each class in the cues, without the undecided ones
    return float(((given == 0) & tags).sum((1, 2)).mean())


def _cue_cells(evidence: Evidence, name: str, round: int, when: str) -> dict:
    if name not in trained_rows(evidence.run.profile):
        return {f"mIoU 95 % {when}": NOT_RUN}
    confusions = evidence.cue_confusions(name, round)
    quality, score = label_quality(confusions), miou(confusions)
    lost = lost_tags(evidence.cue_confusions(name, round, void=True), evidence.run.view("train").tags)
    return {f"fg P {when}": quality["fg P"], f"fg R {when}": quality["fg R"], f"mIoU {when}": score.mean,
            f"mIoU 95 % {when}": score.ends, f"lost {when}": lost}


def _last_round(name: str) -> int:
    return ROWS[name].rounds if ROWS[name].adapt else 1


# --- means of attention and saliency ---------------------------------------------------------------------------------


def mean_steps(route: Route, profile: str) -> list[Step]:
    """What `mean_summary` reads, for one seed."""
    scored = [route.agreement(mean, "S3", split) for mean in MEANS for split in ("train", tuning_split(profile))]
    return [*scored, *(route.scored(row) for row in MEAN_ROWS.values() if row in trained_rows(profile))]


def mean_summary(run: Session) -> Table:
    """Harmonic, geometric and arithmetic mean of attention and saliency, at the paper's gamma and at their own."""
    evidence, tuning, rows = Evidence(run), tuning_split(run.profile), []
    gamma = run.route.scale.gamma
    for mean, row in MEAN_ROWS.items():
        counts, chosen = evidence.agreement_counts(mean), best_gammas(evidence.agreement_counts(mean, split=tuning))
        thresholds = sweep(counts[0, 0]).thresholds
        fixed = miou_of_cut(cut_at(counts, nearest(thresholds, gamma)))
        tuned = miou_of_cut(np.stack([cut_at(each, nearest(thresholds, own)) for each, own in zip(counts, chosen)]))
        cells = {"mean": mean, f"cues at gamma {gamma:g}": fixed.mean, f"95 % at gamma {gamma:g}": fixed.ends,
                 f"best gamma on {tuning}": float(np.mean(chosen)), "cues at the best": tuned.mean,
                 "95 % at the best": tuned.ends, "segmenter val": None, "val 95 %": NOT_RUN}
        if row in trained_rows(run.profile):
            score = miou(evidence.confusions(row))
            cells |= {"segmenter val": score.mean, "val 95 %": score.ends,
                      "labels used": evidence.protocol(run.route.trained(row))}
        rows.append(cells)
    note = (f" Cues: mIoU with S3 on the {len(run.view('train'))} training images, tags known; gamma goes in steps of "
            f"1/{len(thresholds) - 1}, the best one is chosen on the masks of {tuning}. Segmenter: one round on cues "
            f"that are not adapted, gamma {gamma:g} for the harmonic mean as in the paper, the best for the others. "
            "The paper gives no numbers.")
    return Table(pd.DataFrame(rows), "Means of attention and saliency, mIoU in per cent",
                 protocol(run, scales_of(run)) + note, {f"best gamma on {tuning}": 2})


def best_gammas(counts: np.ndarray) -> list[float]:
    """The gamma of greatest mean IoU of each seed. counts: (S, N, 3, K, bins) of the images it is chosen on."""
    return [sweep(each.sum(0)).best_threshold()[0] for each in counts]


def _trains(profile: str, pooling: str, frozen: bool) -> bool:
    return not frozen or FROZEN_ROW in trained_rows(profile)


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
