"""What the tables of every paper share: their form, the sentence under them, and the cells that several have."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss_lab.evaluation.confusion import divide, nan_mean, precision_recall_of_labels
from wsss_lab.evaluation.intervals import REPLICATES
from wsss_lab.evaluation.precision_recall import average_precisions, sweep
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.published import mismatches
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import EVALUATION_READS, Step
from wsss_lab.lab.worlds import WeightsFile
from wsss_lab.measure.quantities import Derived, Leaf, Quantity, Source
from wsss_lab.measure.strata import Dial
from wsss_lab.measure.tables import NOT_RUN, Column, Table, measured, table
from wsss_lab.papers.shared_pictures import class_iou
from wsss_lab.saliency.maps import grabcut_targets

NO_TEST = "no test split with masks"
TAGS_UNUSED, TAGS_KNOWN = "image tags not used at test time", "image tags known at test time"
FAMILIES = {"wide_resnet": "WideResNet", "vgg": "VGG", "resnet": "ResNet", "mobilenet": "MobileNetV2"}
PROTOCOL = (
    "paper: {paper}; ours: {ours}, {seeds} training seed(s), {tags}, {scales}, no CRF unless the row says so. In "
    "brackets: 95 % interval, {covers}. {start}"
)


def covers(seeds: int) -> str:
    """What intervals are made of."""
    return "bootstrap over images, Student's t over seeds" if seeds > 1 else "bootstrap over images only"


def protocol(run: Session, scales: str, split: str = "val", tags: str = TAGS_UNUSED, paper: str = "",
             ours: str = "", nets: Iterable[str] = ()) -> str:
    """The sentences under a table of scores on a split. scales: how test images are looked at, such as "one scale".
    tags: TAGS_UNUSED or TAGS_KNOWN. paper, ours: which images were scored, "" = PASCAL VOC 2012 and the split of the
    run's world. nets: as in `start_words`."""
    return PROTOCOL.format(paper=paper or f"PASCAL VOC 2012 {split}", seeds=run.seeds, tags=tags, scales=scales,
                           ours=ours or scored_images(run, split), covers=covers(run.seeds),
                           start=start_words(run.route, nets))


def scored_images(run: Session, split: str) -> str:
    """Which images a table's scores are from, and how many there were for training."""
    scored, training = run.view(split), run.view("train")
    largest = max(max(scored.size(index)) for index in range(len(scored)))
    return f"{run.world.name} {split} ({len(scored)} images, longer side {largest}; {len(training):,} for training)"


def start_words(route: Any, nets: Iterable[str] = ()) -> str:
    """A sentence on the start weights of a route's networks. nets: keys of `route.starts`, none = all of them."""
    known = getattr(route, "starts", None) or {"": route.start}
    starts = [known[net] for net in nets] or known.values()
    files = [Path(start.path).name for start in starts if isinstance(start, WeightsFile)]
    return f"Start weights: {', '.join(dict.fromkeys(files)) or 'pre-trained on drawn crops of other objects'}."


def labels_used(run: Session, step: Step) -> str:
    """A sentence on the labels that a result rests on."""
    return f"Labels that training rests on: {labels_of(run, step)}."


def labels_of(run: Session, step: Step) -> str:
    """Which labels a result rests on, beyond its scoring: a cell of a table."""
    tags = "image tags" + (" derived from masks" if run.view("val").tags_source == "masks" else "")
    return "; ".join([tags, *beyond_tags(step)])


def beyond_tags(step: Step) -> list[str]:
    """Which labels a result rests on that are no image tags, beyond its scoring."""
    boxes = any(each.function is grabcut_targets for each in step.ancestors())
    return ["boxes of other objects"] * boxes + [
        reason for reason in step.pixel_labels() if reason != EVALUATION_READS]


def train_tags(route: Any) -> Derived:
    """Source: tags of the training images, bool (N, C)."""
    return Derived(lambda view: view.tags, route.world.train_view("train"))


def val_tags(route: Any) -> Derived:
    """Source: tags of the val images, bool (N, C)."""
    return Derived(lambda view: view.tags, route.world.train_view("val"))


def average_precision_of(name: str, scores: Source, tags: Source, replicates: int = REPLICATES) -> Quantity:
    """Mean average precision of a classifier. scores: source of (N, C) class scores, one of the background may come
    before them. tags: source of bool (N, C)."""

    def per_seed(weights: np.ndarray, scores: np.ndarray, tags: np.ndarray) -> np.ndarray:
        of_classes = scores[..., -tags.shape[-1]:]
        return np.stack([nan_mean(average_precisions(each, tags[0], weights)) for each in of_classes], 1)

    return Quantity((Leaf((scores, tags), per_seed, lambda scores, tags: scores.shape[1], replicates),), name)


def printed_slips(run: Session, artifact: str, kind: str = "") -> str:
    """Where a table of the paper contradicts itself in print, in a way or in any: text for the sentence under it."""
    found = mismatches(run.paper)
    return "; ".join(found["detail"][(found["artifact"] == artifact) & (found["kind"].eq(kind) | (kind == ""))])


#: Under tables with a column per class.
CLASSES_NOTE = (" Means are over background and all classes, ours of the cells of their line. A class is compared "
                "where both data sets have it (the paper prints a line per class).")


def class_table(run: Session, name: str, split: str, lines: Sequence[Mapping[str, Any]],
                ours: Callable[[Mapping[str, Any]], Quantity | None], title: str,
                protocol: Callable[[Session, str], str], note: str, first: Mapping[str, Column],
                more: Mapping[str, Column] | None = None, last: Mapping[str, Column] | None = None) -> Table:
    """IoU of each class of the run's world on a split, the paper's beside ours.

    lines: of a printed table, and more. ours: a line's mean IoU, whose confusions give the classes. protocol: from run
    and split to the sentences before the note. first, more, last: columns before the means, behind them, and behind the
    classes; "here" says of a line whether it is measured.
    """
    there, printed = split == "val" or has_test(run.profile), run.published(name)
    classes = [column for column in printed if column.endswith("_iou_pct") and column != "mean_iou_pct"]
    found = class_iou(run, {place: mean.sources[0] for place, line in enumerate(lines) if (mean := ours(line))})
    lines = [line | {"place": place, "here": place in found.index, "cells": (
        float(nan_mean(np.array([line[cell] for cell in classes]))) if classes[0] in line else None)}
             for place, line in enumerate(lines)]
    columns = {**first, "mean paper": "mean_iou_pct", "mean of printed cells": "cells",
               **measured("mean", ours, "95 %", unmeasured=NOT_RUN if there else NO_TEST), **(more or {})}
    for label in ("background", *run.world.classes):
        columns |= {f"{label} paper": f"{label}_iou_pct"} if f"{label}_iou_pct" in classes else {}
        columns[f"{label} ours"] = lambda line, label=label: found[label].get(line["place"])
    where = protocol(run, split) if there else (
        f"paper: PASCAL VOC 2012 {split}; {run.world.name} has {NO_TEST}: nothing is measured in this profile.")
    return table(run, lines, columns | dict(last or {}), title, where + note, {"mean of printed cells": 2})


def source_of(line: Mapping[str, Any]) -> str | None:
    """A column of `class_table`: whether a line is measured or quoted."""
    return "measured" if line["here"] else None if line["cells"] is None else "quoted"


def scale_words(scales: Iterable[float]) -> str:
    """Two or more scales in words.

    >>> scale_words((1.0, 0.75, 0.5))
    'scales 1, 0.75 and 0.5'
    """
    *others, last = (f"{scale:g}" for scale in scales)
    return f"scales {', '.join(others)} and {last}"


def words_on_test(run: Session, tested: bool) -> str:
    """A sentence on the test split. tested: whether it has masks."""
    return f"Test: {run.world.name} test ({len(run.view('test'))} images)." if tested else f"Test: {NO_TEST}."


#: Precision and recall of labels, of the foreground the mean over classes: statistics of summed confusions.
LABEL_QUALITY = {
    "precision": lambda summed: precision_recall_of_labels(summed).foreground.precision,
    "recall": lambda summed: precision_recall_of_labels(summed).foreground.recall,
    "background precision": lambda summed: precision_recall_of_labels(summed).precision[..., 0],
    "background recall": lambda summed: precision_recall_of_labels(summed).recall[..., 0],
}


def nearest(thresholds: np.ndarray, wanted: float) -> int:
    """Place of the threshold closest to the wanted one."""
    return int(np.abs(thresholds - wanted).argmin())


def sweep_cells(counts: np.ndarray, threshold: float) -> dict[str, float]:
    """Class maps cut at a threshold in [0, 1], the nearest bin edge, and at the one of greatest mean IoU; all seeds and
    images pooled, in per cent. counts: (S, N, 3, K, bins), see wsss_lab.evaluation.precision_recall."""
    swept = sweep(counts.sum((0, 1)))
    at = nearest(swept.thresholds, threshold)
    best, best_iou = swept.best_threshold()
    return {"threshold": swept.thresholds[at], "fg precision": 100 * nan_mean(swept.precision[1:, at]),
            "fg recall": 100 * nan_mean(swept.recall[1:, at]), "mIoU": 100 * swept.mean_iou[at],
            "best threshold": best, "mIoU at the best": 100 * best_iou}


def detector_name(guided: Any, detector: str = "") -> str:
    """What a saliency detector is called in tables. guided: route of Oh et al. 2017. detector: "" or "unsupervised"."""
    return detector or ("U2-Net-P" if guided.u2net else "network trained on boxes")


def cut_at(counts: np.ndarray, place: int) -> np.ndarray:
    """Confidence counts with two bins left, below a threshold and from it on: (..., 3, K, bins) to (..., 3, K, 2), few
    enough for intervals. place: of the threshold among those of `sweep`."""
    return np.stack([counts[..., :place].sum(-1), counts[..., place:].sum(-1)], -1)


def object_share(counts: np.ndarray) -> np.ndarray:
    """Share of an image's scored pixels that are objects, in per cent: confusions (..., K, K + 1) -> (...).

    >>> float(object_share(np.array([[1, 4, 1], [2, 0, 0]])))  # 2 of 8 are of the class
    25.0
    """
    return 100 * divide(counts[..., 1:, :].sum((-2, -1)), counts.sum((-2, -1)))


def when_table(run: Session, dials: Sequence[Dial], words: Callable[[Session], str], scores: str) -> Table:
    """The effect of each dial on each part of the images, and whether the last part differs from the first. words: the
    protocol of the paper's tables. scores: what the effects are differences of."""
    lines = [{"dial": dial, "part": part} for dial in dials for part in (*range(dial.parts), "last - first")]

    def effect(line: Mapping[str, Any]) -> Quantity:
        return line["dial"].on(line["part"]) if isinstance(line["part"], int) else line["dial"].change

    return table(run, lines, {
        "effect": lambda line: line["dial"].effect.name,
        "images sorted by": lambda line: line["dial"].by,
        "part": lambda line: f"{line['part'] + 1} of {line['dial'].parts}" if isinstance(line["part"], int)
        else line["part"],
        "mean there": lambda line: line["dial"].value(line["part"]) if isinstance(line["part"], int) else None,
        **measured("effect", effect)}, "When does it help? Effects on parts of the images", (
            f"{words(run)} Effects: differences of the mIoU of {scores}, in percentage points. Parts are equally "
            "large, or have one value each."))
