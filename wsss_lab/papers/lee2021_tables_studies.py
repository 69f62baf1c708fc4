"""What Lee et al. 2021 (EPS) leave open or to their supplement: parameters, saliency of known damage, and switches."""

import numpy as np
import pandas as pd

from wsss_lab.evaluation.intervals import difference_interval
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.lab.session import Session
from wsss_lab.papers.lee2021 import (
    DETECTORS,
    MOMENTUM_ROWS,
    SHARES,
    STRATEGY_ROWS,
    TAUS,
    detector_row,
    share_row,
    tau_row,
    trained_rows,
)
from wsss_lab.papers.lee2021_evidence import Evidence
from wsss_lab.papers.lee2021_tables_compared import detector_words, gain_cells, pseudo_protocol
from wsss_lab.papers.lee2021_values import DIAL, PUBLISHED
from wsss_lab.papers.shared_tables import (
    NOT_RUN,
    Table,
    cut_at,
    labels_used,
    miou,
    miou_of_cut,
    nearest,
    score_cells,
)
from wsss_lab.seeds.localisation import BACKGROUND

DEFAULT = "adaptive"
ROBUST = (0.3, 0.5)  # taus between which the paper sees no change

#: What is wrong with each damaged saliency of DIAL.
DAMAGES = {
    "oracle": "nothing: the true foreground",
    "eroded": "objects too small: a margin of {:.0f} % of the image's side is missing",
    "blurred": "soft boundaries: Gaussian of {:.0f} % of the image's side",
    "noisy": "{:.0f} % of the objects missed, as many discs elsewhere",
    "no saliency": "nothing is salient",
}


def selected_share(evidence: Evidence, row: str) -> float:
    """Per cent of the tags that a row selects for the foreground map, mean over seeds and the last tenth of training.
    """
    curves = evidence.curves(row)["selected tags"]
    return 100 * float(curves[:, -max(1, curves.shape[1] // 10):].mean())


def pseudo_cells(evidence: Evidence, row: str) -> dict:
    """Our cells of a trained row: its pseudo-masks, their gain over the default's, those by the learned background
    (not for CAM), and the tags that it selects; or why there are none."""
    if row not in trained_rows(evidence.run.profile):
        return {"train 95 %": NOT_RUN}
    confusions = evidence.pseudo(row)
    cells = {**score_cells(miou(confusions), "train"),
             **gain_cells(confusions, None if row == DEFAULT else evidence.pseudo(DEFAULT))}
    if row == "CAM":
        return cells
    return {**cells, **score_cells(miou(evidence.pseudo(row, output="learned")), "learned"),
            "selected tags": selected_share(evidence, row)}


PSEUDO_COLUMNS = [*(f"{what} {of}" for what in ("train", "gain", "learned") for of in ("ours", "95 %")),
                  "selected tags"]
PSEUDO_NOTE = (" learned: labels by the learned background map instead of the constant score. selected tags: per cent "
               "of the tags in the foreground map, mean over the last tenth of training.")


def robustness(run: Session) -> Table:
    """tau of Eq. (2) and lambda of Eq. (1), one changed at a time."""
    evidence = Evidence(run)
    lines = [*(("tau", tau, tau_row(tau)) for tau in TAUS), *(("lambda", share, share_row(share)) for share in SHARES)]
    rows = [{"parameter": name, "value": value, **pseudo_cells(evidence, row)} for name, value, row in lines]
    low, high = ROBUST
    near = [row.get("train ours") for row in rows if row["parameter"] == "tau" and low <= row["value"] <= high]
    spread = "" if None in near else (f" For tau from {low:g} to {high:g} the scores lie {max(near) - min(near):.1f} "
                                      "percentage points apart.")
    note = (" gain: over the default (tau = 0.4, lambda = 0.5), in percentage points, paired by image and seed."
            f"{PSEUDO_NOTE} lambda = 0 leaves the foreground map out, lambda = 1 the background map. The paper "
            f"leaves these studies to its supplement, which was not at hand.{spread} "
            f"{labels_used(evidence, run.route.trained(DEFAULT))}")
    return Table(pd.DataFrame(rows).reindex(columns=["parameter", "value", *PSEUDO_COLUMNS]),
                 "Parameters tau and lambda: mIoU of pseudo-masks in per cent", pseudo_protocol(run) + note,
                 {"value": 2})


def dial(run: Session) -> Table:
    """How good saliency has to be: detectors, and the true foreground with known damage."""
    evidence, trained = Evidence(run), trained_rows(run.profile)
    known = [(detector, detector_words(run.route, detector) if detector_row(detector) in trained else None)
             for detector in DETECTORS]
    known += [(name, DAMAGES[name].format(100 * amount)) for name, (_, amount) in DIAL.items()]
    rows = [{"saliency": "none: CAM", **pseudo_cells(evidence, "CAM"), "labels used": _labels(evidence, "CAM")}]
    for name, words in known:
        row = detector_row(name)
        rows.append({"saliency": name, "what it is": words, **pseudo_cells(evidence, row),
                     "labels used": _labels(evidence, row) if row in trained else None})
    note = (f" gain: over the default, saliency '{DETECTORS[0]}', in percentage points, paired by image and seed."
            f"{PSEUDO_NOTE} Rows with the true foreground are studies: they read the masks of the training images.")
    return Table(pd.DataFrame(rows).reindex(columns=["saliency", "what it is", *PSEUDO_COLUMNS, "labels used"]),
                 "Saliency and its damage: mIoU of pseudo-masks in per cent", pseudo_protocol(run) + note)


def _labels(evidence: Evidence, row: str) -> str:
    return evidence.protocol(evidence.run.route.trained(row))


def switches(run: Session) -> Table:
    """Where paper and released code differ or say nothing: the other choice, against the one taken."""
    evidence, trained = Evidence(run), trained_rows(run.profile)
    rows = [{"changed": f"nothing: EPS, constant background {BACKGROUND:g}", "train 95 %": NOT_RUN,
             **_compared(evidence, DEFAULT, evidence.pseudo(DEFAULT), None)}]
    constant = f"background {BACKGROUND:g}"
    for row in (*STRATEGY_ROWS, *MOMENTUM_ROWS):
        cells = {"changed": f"{_named(row)}: learned background map", "compared with": f"the same, {constant}",
                 "train 95 %": NOT_RUN}
        if row in trained:
            cells |= _compared(evidence, row, evidence.pseudo(row, output="learned"), evidence.pseudo(row))
        rows.append(cells)
    for row, against in zip(MOMENTUM_ROWS, (DEFAULT, *MOMENTUM_ROWS)):
        cells = {"changed": _named(row), "compared with": _named(against), "train 95 %": NOT_RUN}
        if row in trained:
            cells |= _compared(evidence, row, evidence.pseudo(row), evidence.pseudo(against))
        rows.append(cells)
    rows += [_best_constant(evidence, row) for row in ("CAM", "naive", DEFAULT)]
    order = ["changed", "compared with", "train ours", "train 95 %", "gain ours", "gain 95 %", "labels used"]
    momentum = (f" Momentum is {PUBLISHED.momentum:g} elsewhere, as in the released code, where the weight decay "
                "stands in its place; at the full rate, one of 0.9 lets small networks diverge.")
    note = (" gain: over what the row is compared with, in percentage points, paired by image and seed."
            f"{momentum if set(MOMENTUM_ROWS) <= set(trained) else ''} The best constant is chosen on the masks that "
            "it is scored with: an upper bound, not a result. The paper prints none of these comparisons.")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Switches of the method: mIoU of pseudo-masks in per cent",
                 pseudo_protocol(run) + note)


def _named(row: str) -> str:
    if row == DEFAULT:
        return "EPS"
    return f"EPS, {row} selection" if row in STRATEGY_ROWS else f"EPS, {row.replace('rate', 'learning rate')}"


def _compared(evidence: Evidence, row: str, confusions: np.ndarray, reference: np.ndarray | None) -> dict:
    return {**score_cells(miou(confusions), "train"), **gain_cells(confusions, reference),
            "labels used": _labels(evidence, row)}


def _best_constant(evidence: Evidence, row: str) -> dict:
    """Our cells of the constant background score with the greatest mean IoU, all seeds and images pooled."""
    counts = evidence.counts(row)
    swept = sweep(counts.sum((0, 1)))
    best, _ = swept.best_threshold()
    places = [nearest(swept.thresholds, each) for each in (best, BACKGROUND)]
    chosen, usual = (cut_at(counts, place) for place in places)
    gain = difference_interval(chosen, usual, lambda sums: sweep(sums).mean_iou[..., 1]).percent("pp")
    used = swept.thresholds[places[1]]
    return {"changed": f"{'CAM' if row == 'CAM' else _named(row)}: best constant, {best:.2f}",
            "compared with": f"the same, background {used:.2f}", **score_cells(miou_of_cut(chosen), "train"),
            **score_cells(gain, "gain"),
            "labels used": f"{_labels(evidence, row)}; masks of the scored images, for the constant"}
