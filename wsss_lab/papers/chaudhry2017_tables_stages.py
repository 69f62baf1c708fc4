"""What the stages of Chaudhry et al. 2017 bring before a segmenter is scored: attention, saliency, cues, means."""

import numpy as np
import pandas as pd

from wsss_lab.evaluation.intervals import interval, ratio
from wsss_lab.evaluation.precision_recall import map_interval, sweep
from wsss_lab.evaluation.saliency_scores import foreground_precision_recall
from wsss_lab.fusion.harmonic import MEANS
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers.chaudhry2017 import AS_RELEASED, DETECTORS, HIERARCHY, ROWS, Route, trained_rows, tuning_split
from wsss_lab.papers.chaudhry2017_evidence import Evidence
from wsss_lab.papers.shared_tables import (
    NOT_RUN,
    Table,
    cut_at,
    detector_name,
    label_quality,
    labels_used,
    miou,
    miou_of_cut,
    nearest,
    protocol,
    sweep_cells,
)

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
