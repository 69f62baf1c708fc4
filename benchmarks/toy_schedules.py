"""How long networks of the toy world must learn: each kind on its schedule and on one twice as long, on dev.

    python benchmarks/toy_schedules.py [detector segmenter]

Dev has scenes of its own; val is never opened. The saliency detector learns from its own set and is compared by the
IoU of its salient pixels with all objects; the segmenter learns from the training masks (full supervision) and is
compared by mIoU. No row of a paper is looked at. Results are lines of benchmarks/results/toy_schedules.csv; trainings
go to the run store, so that an interrupted comparison goes on.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wsss_lab.evaluation.confusion import mean_iou
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.lab.session import Session, start
from wsss_lab.lab.steps import Step
from wsss_lab.papers.oh2017.route import Route

RESULTS = Path(__file__).parent / "results" / "toy_schedules.csv"
FACTORS, SEEDS = (1, 2), 3


#: Kind -> its schedule in a scale, the step that scores it on dev, the file of counts there, and their score.
KINDS: dict[str, tuple[str, Callable[[Route], Step], str, Callable]] = {
    "detector": ("saliency", lambda route: route.saliency_score("dev"), "counts", foreground_iou),
    "segmenter": ("segmenter", lambda route: route.score(route.prediction(route.trained("full"), split="dev"), "dev"),
                  "confusions", mean_iou)}


def scores(run: Session, kind: str, factor: int) -> dict[str, Any]:
    """The columns of a kind's line: one training per seed, on a schedule that is `factor` times as long."""
    schedule, score, name, of = KINDS[kind]
    usual = getattr(run.route.scale, schedule)
    longer = replace(usual, iterations=factor * usual.iterations)
    steps = [score(replace(route, scale=replace(route.scale, **{schedule: longer}))) for route in run.routes]
    run.compute(*steps)
    found = [100 * float(of(run.load(step)[name].sum(0))) for step in steps]
    return {"kind": kind, "iterations": longer.iterations, "batch": longer.batch,
            **{f"dev IoU, seed {seed}": round(value, 2) for seed, value in enumerate(found)},
            "mean": round(float(np.mean(found)), 2)}


def main() -> None:
    run = start("oh2017", "toy", seeds=SEEDS, figures="")
    found = pd.DataFrame([scores(run, kind, factor) for kind in sys.argv[1:] or KINDS for factor in FACTORS])
    kept = pd.read_csv(RESULTS) if RESULTS.exists() else found[:0]
    together = pd.concat([kept[~kept["kind"].isin(found["kind"])], found])
    together.to_csv(RESULTS, index=False, lineterminator="\n")
    print(together.to_string(index=False))


if __name__ == "__main__":
    main()
