"""How long, and how exactly, networks of the toy world must learn: each kind on its schedule, on longer ones, and in
half precision, on dev.

    python benchmarks/toy_schedules.py [--seeds 3] [kind ...]    # on the schedule of toy
    python benchmarks/toy_schedules.py --longer [kind ...]       # doubled until that gains little, up to four times
    WSSS_PRECISION=bf16 python benchmarks/toy_schedules.py [kind ...]

Dev has scenes of its own; val is never opened. A saliency detector is compared by the IoU of its salient pixels with
all objects, segmenters by the mIoU that they reach from the training masks (full supervision), whatever learns from
tags by its mean average precision, but EPS, which gives no scores of tags, by the mIoU of its pseudo-masks. No row of a
paper is looked at. Results are lines of benchmarks/results/toy_schedules.csv; trainings go to a run store of each
precision, so that an interrupted comparison goes on.
"""

import argparse
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wsss_lab.evaluation.confusion import mean_iou, nan_mean
from wsss_lab.evaluation.precision_recall import average_precisions
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.lab.session import Session, start
from wsss_lab.lab.steps import Step
from wsss_lab.networks.machine import Machine
from wsss_lab.papers.route import longer

RESULTS = Path(__file__).parent / "results" / "toy_schedules.csv"
LITTLE, LONGEST = 0.5, 4  # points that a doubled schedule gains where one goes on; times the schedule of toy

# Kind -> paper, the schedule in its scale, and the training's step that scores or labels dev: "counts" of salient
# pixels, "confusions", or "scores" of tags.
KINDS: dict[str, tuple[str, str, Callable[[Any], Step]]] = {
    "detector": ("oh2017", "saliency", lambda route: route.saliency_score("dev")),
    "GAP network": ("oh2017", "classifier", lambda route: route.class_maps("HighRes", "dev")),
    "segmenter": ("oh2017", "segmenter", lambda route: route.scored("full", split="dev")),
    "attention network": ("chaudhry2017", "attention", lambda route: route.volumes("dev")),
    "joint rounds": ("chaudhry2017", "round", lambda route: route.scored("full", split="dev")),
    "fusion network": ("roy2017", "schedule", lambda route: route.prediction("w/o att inference", "dev")),
    "single stage": ("araslanov2020", "schedule", lambda route: route.prediction("ours", "dev")),
    "DeepLabv3+": ("araslanov2020", "second",
                   lambda route: route.score(route.second_labels("full", "main", "dev"), "dev")),
    "EPS": ("lee2021", "classifier", lambda route: route.score(route.masks("adaptive", "dev"), "dev")),
}


def score(run: Session, step: Step) -> float:
    """Of one training, in per cent."""
    found = run.load(step)
    if "confusions" in found:
        return 100 * float(mean_iou(found["confusions"].sum(0)))
    if "counts" in found:
        return 100 * float(foreground_iou(found["counts"].sum(0)))
    tags = run.load(run.routes[0].world.train_view("dev")).tags
    return 100 * nan_mean(average_precisions(np.asarray(found["scores"])[:, -tags.shape[1]:], tags))


def scores(kind: str, factor: int, seeds: int) -> dict[str, Any]:
    """The columns of a kind's line: one training per seed, on a schedule that is `factor` times as long."""
    paper, schedule, of = KINDS[kind]
    run = start(paper, "toy", seeds=seeds, figures="")
    scale = longer(run.routes[0].scale, **{schedule: factor})
    steps, learnt = [of(replace(route, scale=scale)) for route in run.routes], getattr(scale, schedule)
    run.compute(*steps)
    found = [score(run, step) for step in steps]
    return {"kind": kind, "iterations": learnt.iterations, "batch": learnt.batch,
            "precision": Machine.here().precision,
            **{f"dev, seed {seed}": round(value, 2) for seed, value in enumerate(found)},
            "mean": round(float(np.mean(found)), 2)}


def noted(line: dict[str, Any]) -> None:
    """Write a line among the results; of the same kind, length and precision, seeds that it lacks stay."""
    found, key = pd.read_csv(RESULTS), ["kind", "iterations", "precision"]
    together = pd.concat([pd.DataFrame([line]), found]).groupby(key, sort=False).first().reset_index()[found.columns]
    together["mean"] = together.filter(like="seed").mean(axis=1).round(2)
    places = {name: place for place, name in enumerate(KINDS)}
    together = together.sort_values(key, key=lambda column: column.replace(places) if column.name == "kind" else column)
    together.to_csv(RESULTS, index=False, lineterminator="\n")
    print(together[together["kind"] == line["kind"]].to_string(index=False), flush=True)


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("kinds", nargs="*", default=list(KINDS))
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--longer", action="store_true")
    asked = asked.parse_args()
    os.environ["WSSS_CACHE"] = f"build/toy_schedules/{Machine.here().precision}"  # keys don't tell precisions apart
    for kind in asked.kinds:
        factor, before, gained = 1, -math.inf, math.inf
        while gained >= LITTLE and factor <= LONGEST:
            noted(line := scores(kind, factor, asked.seeds))
            gained, before = line["mean"] - before, line["mean"]
            factor = 2 * factor if asked.longer else LONGEST + 1


if __name__ == "__main__":
    main()
