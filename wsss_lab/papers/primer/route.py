"""The primer: the five stages in miniature, and the map of the papers.

It trains nothing of its own: its networks are those of the notebook on Oh et al. 2017, so the two share the run store.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from wsss_lab.data.views import EvalView
from wsss_lab.evaluation.confusion import VOID, confusion_matrix, iou, mean_iou, nan_mean
from wsss_lab.evaluation.precision_recall import ThresholdSweep, sweep
from wsss_lab.lab.notebooks import find_notebooks, project_folder
from wsss_lab.lab.published import published
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.measure.tables import Table, table
from wsss_lab.measure.world_card import CANVAS, STATISTICS, measure_world, summary, within
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.oh2017.tables import miou, seeder_score
from wsss_lab.papers.shared_tables import labels_of
from wsss_lab.refinement.dense_crf import CrfParameters, refine_probabilities

#: Tables and figures that the notebook makes in every profile.
PROMISED = ("fig_world", "table_world", "fig_companions", "fig_knobs", "table_card", "fig_flow", "fig_seeds",
            "fig_saliency", "fig_drawing", "fig_fusion", "fig_refinement", "table_crf", "fig_stages", "fig_metrics",
            "table_metrics", "table_rows", "table_scores")

#: Rows of Oh et al. 2017 that the primer looks at -> their label in the paper's Table 2 ("" = not in it).
ROWS = {"seeds": "Seeds only", "G2": "G2", "oracle": "Saliency oracle", "full": ""}
STAGES = ("seeds", "saliency", "fusion", "refinement", "segmenter")

#: Paper -> (citation, what it does in each of the STAGES); "" = the paper skips that stage.
PAPERS = {
    "oh2017": ("Oh et al. 2017", "GAP networks, gradients", "network trained on boxes", "guides G0, G1, G2",
               "dense CRF on seeds, in the loss, on results", "DeepLab-LargeFOV"),
    "chaudhry2017": ("Chaudhry et al. 2017", "fully convolutional attention", "hierarchical erasing",
                     "harmonic mean", "adapted cues, dense CRF", "joint class and pixel loss"),
    "roy2017": ("Roy and Todorovic 2017", "top-down attention", "", "attention times pixel scores",
                "CRF-RNN, part of the network", "the same network, end to end"),
    "araslanov2020": ("Araslanov and Roth 2020", "nGWP with a size penalty", "", "confident pixels",
                      "PAMR, during training", "the same network, with a stochastic gate"),
    "lee2021": ("Lee et al. 2021", "one map per class and one for background", "any detector",
                "maps chosen by overlap, saliency loss", "", "DeepLab"),
}


#: One route per training seed: those of Oh et al. 2017, with equal keys.
routes = oh2017.routes


def steps_needed(run: Session) -> list[Step]:
    """All that the notebook loads: the networks of ROWS for every seed, and each stage's result at seed 0."""
    scored = [step for route in run.routes for name in ROWS
              for step in (route.scored(name), route.score(route.guides_of(name), "train"))]
    route = run.route
    shown = [route.classifier("HighRes"), route.class_maps("HighRes"), route.saliency_maps(), route.guides("G2"),
             route.trained("G2"), route.seeds(split="val"), route.salient("val"),
             route.prediction(route.trained("G2")), card_step(route), seeder_score(route, "HighRes")]
    views = [step for split in ("train", "val") for step in run.world.eval_view(split).steps]
    return [*scored, *shown, *views]


def row_table(run: Session) -> pd.DataFrame:
    """The paper's mIoU beside ours for the ROWS, and ours minus that of the first row, in per cent and points.

    Intervals come from the paired bootstrap over images, and from Student's t over seeds where there are several.
    """
    printed = published("oh2017", "table2").set_index("method")["val_miou_pct"]
    first, *_ = ROWS
    lines = [{"row": name, "paper": printed.get(label)} for name, label in ROWS.items()]
    return table(run, lines, {
        "row": "row", "paper": "paper", "ours": lambda line: miou(line["row"]),
        "gain over seeds": lambda line: ("–" if line["row"] == first else
                                         str((miou(line["row"]) - miou(first)).interval(run.results))),
        "learnt from": lambda line: labels_of(run, run.route.trained(line["row"])),
    }, "").frame


#: Statistics of photographs: what `benchmarks/world_card.py` has measured.
CARD, CARD_SPLIT = "benchmarks/results/world_card.csv", "val[:300]"
PRECISION = 0.6
RECALL = f"class maps: recall at {100 * PRECISION:g} % precision (%)"
RECALLED = "classes; where all images' pixels are labelled at one threshold, the lowest with this mean precision"


def card_step(route: oh2017.Route) -> Step:
    """The statistics of the world."""
    return route.step(measure_world, f"world card of {CARD_SPLIT}", "evaluation", view=CARD_SPLIT,
                      salient=route.salient("val")["masks"], cells=route.side // route.scale.stride)


def recall_at(swept: ThresholdSweep, precision: float) -> float:
    """The largest recall, a mean over classes, at a threshold where their mean precision is at least this; else nan."""
    curve = swept.foreground
    reached = curve.recall[curve.precision >= precision]
    return float(reached.max()) if len(reached) else np.nan


def card_table(run: Session) -> Table:
    """Each statistic of the run's world and of photographs, and where the former lies in what the latter span."""
    kept = pd.read_csv(project_folder() / CARD)
    ours = {name: each["value"] for name, each in summary(run.load(card_step(run.route))["sums"]).items()}
    ours[RECALL] = 100 * recall_at(sweep(run.load(seeder_score(run.route, "HighRes"))["counts"].sum(0)), PRECISION)
    rows = []
    for name, value in ours.items():
        found = kept[kept["statistic"] == name]
        rows.append({"statistic": name, run.world.name: value, **dict.fromkeys(kept["world"]),
                     **dict(zip(found["world"], found["value"])),
                     "lies": within(value, found.to_dict("records")) or None,
                     "mean over": {**STATISTICS, RECALL: RECALLED}[name]})
    sources = kept.drop_duplicates("world").set_index("world")["source"]
    return Table(pd.DataFrame(rows), "World card: the images of this run beside photographs", (
        f"{run.world.name}: the first {run.world.eval_view(CARD_SPLIT).count} val images, networks of training seed 0; "
        + "; ".join(f"{world}: {source}" for world, source in sources.items())
        + f". All with a longer side of {CANVAS} pixels, cells of the class maps as of each network. lies: from the "
          "lowest to the highest end of the photographs' 95 % intervals over images"))


#: A way to ask a CRF the same question once more -> (what is done to planes (K, H, W), its inverse, factor of widths).
ASKED_AGAIN = {
    "mirrored left to right": (lambda planes: planes[..., ::-1], lambda planes: planes[..., ::-1], 1),
    "turned by a quarter": (lambda planes: np.rot90(planes, 1, (1, 2)), lambda planes: np.rot90(planes, -1, (1, 2)), 1),
    "twice as large, with twice the widths": (lambda planes: planes.repeat(2, 1).repeat(2, 2),
                                              lambda planes: planes[:, ::2, ::2], 2),
}


def beliefs(maps: np.ndarray, tags: np.ndarray, tau: float) -> dict[str, np.ndarray]:
    """What a CRF may be told of an image: float (1 + tags, H, W), background first, their sum 1 and their argmax seeds.

    maps: normalised, float (C, H, W) in [0, 1]. tags: bool (C,). tau: the score of background.
    "sure": scores over their sum, which is 1 for background wherever all maps are 0. "doubtful": the softmax of
    scores / tau, which is 0 or 1 nowhere.
    """
    from scipy.special import softmax

    scores = np.concatenate([np.full_like(maps[:1], tau), maps[tags]])
    return {"sure": scores / scores.sum(0), "doubtful": softmax(scores / tau, axis=0)}


def label_map(belief: np.ndarray, tags: np.ndarray) -> np.ndarray:
    """Labels (H, W) uint8 of a belief (1 + tags, H, W): 0 background, c + 1 class c."""
    return np.array([0, *np.flatnonzero(tags) + 1], np.uint8)[belief.argmax(0)]


def tag_iou(labels: np.ndarray, mask: np.ndarray, tags: np.ndarray) -> float:
    """IoU of an image's tags, averaged, in per cent. labels, mask: (H, W) uint8. tags: bool (C,)."""
    return 100 * float(nan_mean(iou(confusion_matrix(labels, mask, len(tags) + 1))[1:][tags]))


def crf_table(view: EvalView, class_maps: Iterable[np.ndarray], tau: float,
              parameters: CrfParameters) -> pd.DataFrame:
    """What a CRF changes in seeds, and what changes when it is asked the same in another way: labels, IoU, images.

    class_maps: normalised maps (C, H, W) of the first images of the view, whose masks are read for the IoU alone.
    Labels have changed from the seeds, or, where the row is "the same", from those of the doubtful belief.
    """
    found: dict[str, list[np.ndarray]] = {}
    for index, maps in enumerate(class_maps):
        image, tags = view.image(index), view.tags[index]
        sure, doubtful = beliefs(maps, tags, tau).values()
        told = {"sure belief": sure, "sure belief in 0.01 .. 0.99": sure.clip(0.01, 0.99), "doubtful belief": doubtful}
        asked = {"seeds": sure, **{f"CRF, {name}": refine_probabilities(image, belief, parameters)
                                   for name, belief in told.items()}}
        for name, (there, back, factor) in ASKED_AGAIN.items():
            moved = np.ascontiguousarray(there(image.transpose(2, 0, 1)).transpose(1, 2, 0))
            asked[f"the same, {name}"] = back(refine_probabilities(moved, there(doubtful), parameters.scaled(factor)))
        for name, belief in asked.items():
            found.setdefault(name, []).append(label_map(belief, tags))
    rows = []
    for name, labels in found.items():
        reference = found["CRF, doubtful belief" if name.startswith("the same") else "seeds"]
        changed = [100 * (one != other).mean() for one, other in zip(labels, reference)]
        scores = np.array([tag_iou(each, view.mask(index), view.tags[index]) for index, each in enumerate(labels)])
        if name == "seeds":
            before = scores
        rows.append({"labels of": name, "changed (%)": np.mean(changed), "in the worst image (%)": np.max(changed),
                     "IoU of tags (%)": float(nan_mean(scores)),
                     "better / worse than seeds": f"{(scores > before).sum()} / {(scores < before).sum()}"})
    return pd.DataFrame(rows)


#: Counts of the pair of masks of findings/absent_class.sh, see `confusion_matrix`.
FOUND_FOR = np.array([[2, 1, 0, 0, 0], [0, 3, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0]])


def library_scores(prediction: np.ndarray, truth: np.ndarray, classes: int) -> dict[str, float]:
    """Call -> macro IoU of two label maps by those libraries that are installed here, void left out beforehand."""
    from sklearn.metrics import jaccard_score

    truth, prediction = truth[truth != VOID], prediction[truth != VOID]
    scores = {
        "jaccard_score average=macro": jaccard_score(truth, prediction, average="macro"),
        f"jaccard_score average=macro labels=range({classes})":
            jaccard_score(truth, prediction, average="macro", labels=range(classes), zero_division=0),
    }
    with suppress(ImportError):
        import torch
        from torchmetrics.functional.classification import multiclass_jaccard_index

        pair = torch.from_numpy(prediction).long(), torch.from_numpy(truth).long()
        scores["multiclass_jaccard_index"] = float(multiclass_jaccard_index(*pair, classes))
        scores["mean of multiclass_jaccard_index average=none"] = float(
            multiclass_jaccard_index(*pair, classes, average="none").mean())
    return scores


def score_table(prediction: np.ndarray, truth: np.ndarray, classes: int) -> pd.DataFrame:
    """mIoU of one pair of masks by this package and by libraries, with the date of what this run couldn't measure.

    prediction, truth: (H, W) uint8. For the pair of findings/absent_class.sh, its numbers stand for libraries not found
    here; for any other, these are left out.
    """
    from importlib.metadata import version

    kept = pd.read_csv(project_folder() / "findings/absent_class.csv")
    measured = library_scores(prediction, truth, classes)
    counts = confusion_matrix(prediction, truth, classes)
    if not np.array_equal(counts, FOUND_FOR):
        kept = kept[kept["call"].isin(measured)]
    there = iou(counts)[~np.isnan(iou(counts))]
    treated = {"left out": there.mean(), "counted as 0": there.sum() / classes,
               "counted as 1": (there.sum() + classes - len(there)) / classes}
    rows = [("wsss_lab", "mean_iou", float(mean_iou(counts)), "by this run")]
    for library, number, call, value in zip(kept["library"], kept["version"], kept["call"], kept["mIoU"]):
        here = call in measured
        rows.append((f"{library} {version(library) if here else number}", call, measured.get(call, value),
                     "by this run" if here else "on 2026-11-29"))
    frame = pd.DataFrame(rows, columns=["scored by", "call", "mIoU", "measured"])
    frame.insert(2, "absent class", [min(treated, key=lambda how: abs(treated[how] - each)) for each in frame["mIoU"]])
    return frame


def matrix(folder: Path) -> str:
    """Papers x stages as a Markdown table; a paper whose notebook lies in the folder is a link to it."""
    links = {item.paper: item.path.name for item in find_notebooks(folder)}
    lines = ["| paper | " + " | ".join(STAGES) + " |", "| --- " * (len(STAGES) + 1) + "|"]
    for paper, (citation, *cells) in PAPERS.items():
        name = f"[{citation}]({links[paper]})" if paper in links else citation
        lines.append(f"| {name} | " + " | ".join(cell or "–" for cell in cells) + " |")
    return "\n".join(lines)
