"""The measured tables of Lee et al. 2021 (EPS): boundaries, co-occurrence, map selection, refinement of pseudo-masks.

Its segmenters are in lee2021_tables_compared, its parameters and switches in lee2021_tables_studies.
"""

import numpy as np
import pandas as pd

from wsss_lab.evaluation.boundaries import boundary_scores, tolerance_pixels
from wsss_lab.evaluation.co_occurrence import pair_sums
from wsss_lab.evaluation.confusion import iou, nan_mean
from wsss_lab.evaluation.intervals import difference_interval, interval, ratio
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers.lee2021 import DETECTORS, STRATEGY_ROWS, Route, detector_row, taught, trained_rows
from wsss_lab.papers.lee2021_evidence import Evidence
from wsss_lab.papers.lee2021_tables_compared import (
    CROWDED_NET,
    OWN,
    gain_cells,
    method_cells,
    pseudo_protocol,
    table5,
    table6,
    table7,
    text_saliency,
)
from wsss_lab.papers.lee2021_tables_studies import PSEUDO_NOTE, dial, robustness, selected_share, switches
from wsss_lab.papers.lee2021_values import PUBLISHED
from wsss_lab.papers.shared_tables import (
    NOT_RUN,
    Table,
    labels_used,
    miou,
    miou_gain,
    printed_slips,
    score_cells,
)

#: Our methods in Tables 1, 2 and 4 -> rows of ROWS; the last one is not in the paper's tables.
METHODS = {"CAM": "CAM", OWN: "adaptive", "EPS, naive selection": "naive"}
REFINED = ("CAM", "adaptive")  # rows that are refined too, and run on the world of many objects
UNDEFINED = "undefined"
RATIO, PAIR_IOU = "_confusion_ratio", "_iou_pct"  # end the names of printed columns of Table 2

#: Columns of Table 4: what is printed for each refinement.
REFINEMENTS = {"none": "train_miou_no_refinement_pct", "CRF": "train_miou_crf_pct",
               "AffinityNet": "train_miou_affinitynet_pct"}


def steps(route: Route, profile: str) -> list[Step]:
    """Everything that the tables read, for one seed."""
    rows, scored = trained_rows(profile), []
    scored += [route.trained(name) for name in rows if name != "CAM"]
    scored += [route.score(route.masks(name)) for name in rows]
    scored += [route.score(route.masks(name), output="learned") for name in rows if name != "CAM"]
    for name in REFINED:
        scored.append(route.score(route.masks(name, crf=True), output="refined"))
        if route.scale.affinity is not None:
            scored.append(route.score(route.walked(name)))
    for name in METHODS.values():
        scored += [route.boundaries(route.masks(name)), route.contexts(route.masks(name)),
                   route.localisation_score(name)]
    detectors = [name for name in DETECTORS if detector_row(name) in rows]
    scored += [route.saliency_score(route.saliency(name, "val")) for name in detectors]
    scored += [route.saliency_score(route.estimated()), route.covered(route.saliency("masks", route.scored))]
    return [*scored, *_segmenter_steps(route, profile), *_crowded_steps(route)]


def _segmenter_steps(route: Route, profile: str) -> list[Step]:
    splits = ("val", "test") if has_test(profile) else ("val",)
    pairs = [(labels, net) for labels, nets in taught(profile).items() for net in nets]
    return [*(route.score(route.prediction(*pair, split), split) for pair in pairs for split in splits),
            *(route.score(route.prediction("adaptive", net, crf=True), "val") for net in taught(profile)["adaptive"])]


def _crowded_steps(route: Route) -> list[Step]:
    many = route.crowded
    if many is None:
        return []
    return [many.objects(), *(many.score(many.masks(name)) for name in REFINED),
            *(many.score(many.prediction(name, CROWDED_NET), "val") for name in REFINED)]


# --- Table 1 ---------------------------------------------------------------------------------------------------------


def table1(run: Session) -> Table:
    """Recall, precision and F1 of the boundaries of pseudo-masks, at two tolerances."""
    evidence, rows = Evidence(run), []
    lines = {cells["method"]: cells for cells in map(_printed_boundaries, run.published("table1").iloc)}
    for method in dict.fromkeys([*lines, *METHODS]):
        quoted = lines.get(method, {"method": method})
        if method not in METHODS:
            rows.append(quoted)
            continue
        ours = [_boundary_cells(evidence, METHODS[method], at) for at in range(len(PUBLISHED.boundary_shares))]
        rows += [quoted | ours[0], *({"method": method, **cells} for cells in ours[1:])]
    order = ["method", "reference", "tolerance", "recall paper", "recall ours", "precision paper", "precision ours",
             "F1 paper", "F1 ours", "F1 95 %", "gain ours", "gain 95 %", "remark", "source"]
    note = (" Whatever the classes on its two sides, a boundary is found if it lies within the tolerance, in per cent "
            "of the image's diagonal and at least one pixel, of one of the ground truth; each pixel is matched once, "
            "and pixels of all images are pooled. The paper gives no tolerance; its numbers stand beside ours at "
            f"{100 * PUBLISHED.boundary_shares[0]:g} %, that of the benchmark it names. Edges are two pixels wide "
            "here; the benchmark thins them. gain: F1 over CAM at the same tolerance, in percentage points. "
            f"{labels_used(evidence, _eps(run))}")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Boundaries of pseudo-masks, per cent",
                 pseudo_protocol(run, "SBD trainval (VOC images)") + note)


def _printed_boundaries(row: pd.Series) -> dict:
    printed = {f"{name} paper": row[f"boundary_{name.lower()}_pct"] for name in ("recall", "precision", "F1")}
    return {**method_cells(row), **printed, "remark": row["note"], "source": "quoted"}


def _tolerance(evidence: Evidence, share: float) -> str:
    """A tolerance in words: "0.75 %, 1 px", or from the smallest to the largest image, "2 %, 5.2 to 6.4 px"."""
    view = evidence.scored_view()
    pixels = {tolerance_pixels(view.size(index), share) for index in range(len(view))}
    ends = dict.fromkeys(f"{round(end, 1):g}" for end in (min(pixels), max(pixels)))
    return f"{100 * share:g} %, {' to '.join(ends)} px"


def _boundary_cells(evidence: Evidence, row: str, at: int) -> dict:
    """Our cells of a line of Table 1. at: which tolerance."""
    counts, reference = (evidence.boundaries(name)[:, :, at] for name in (row, "CAM"))
    found = boundary_scores(counts.sum(1))
    gain = {"gain 95 %": "reference"}
    if row != "CAM":
        gain = score_cells(difference_interval(counts, reference, _f1).percent("pp"), "gain")
    return {"tolerance": _tolerance(evidence, PUBLISHED.boundary_shares[at]), "source": "measured",
            "recall ours": 100 * float(nan_mean(found.recall)),
            "precision ours": 100 * float(nan_mean(found.precision)),
            **score_cells(interval(counts, _f1).percent(), "F1"), **gain}


def _f1(sums: np.ndarray) -> np.ndarray:
    return boundary_scores(sums).f1


# --- Table 2 ---------------------------------------------------------------------------------------------------------


def table2(run: Session) -> Table:
    """How much of its usual surroundings is labelled as a class: the printed pairs, and the pairs of this world."""
    evidence, printed = Evidence(run), run.published("table2")
    facts, view = {row: evidence.contexts(row) for row in METHODS.values()}, evidence.scored_view()
    classes, surroundings = list(view.classes), list(view.context_classes)
    of_paper = [tuple(column.removesuffix(RATIO).split("_")) for column in printed if column.endswith(RATIO)]
    own, rows = [(classes[c], surroundings[k]) for k, c in evidence.pairs()], []
    for c, k in dict.fromkeys([*of_paper, *own]):
        lines = {}
        if (c, k) in of_paper:
            lines = {cells["method"]: cells for cells in (_printed_pair(row, c, k) for row in printed.iloc)}
        for method, row in METHODS.items():
            if c in classes and k in surroundings:
                ours = _pair_cells(facts[row], facts["CAM"], view.tags, surroundings.index(k), classes.index(c))
                lines[method] = lines.get(method, {}) | ours
        rows += [{"class": c, "surroundings": k, **cells, "method": method} for method, cells in lines.items()]
    order = ["class", "surroundings", "method", "reference", "images", "ratio paper", "ratio ours", "ratio 95 %",
             "change ours", "change 95 %", "IoU paper", "IoU ours", "IoU 95 %", "source"]
    return Table(pd.DataFrame(rows).reindex(columns=order), "Surroundings taken for the class: ratio; IoU in per cent",
                 pseudo_protocol(run, "PASCAL-Context, images not stated") + _pair_note(evidence, facts["CAM"], own),
                 {"ratio paper": 2, "ratio ours": 3, "change ours": 3})


def _printed_pair(row: pd.Series, c: str, k: str) -> dict:
    own = f"{c}_{k}{PAIR_IOU}"  # a class with one pair alone has its IoU under the name of the class
    return {**method_cells(row), "ratio paper": row[f"{c}_{k}{RATIO}"], "source": "quoted",
            "IoU paper": row[own if own in row else f"{c}{PAIR_IOU}"]}


def _pair_cells(facts: dict, cam: dict, tags: np.ndarray, k: int, c: int) -> dict:
    """Our cells of a line of Table 2. facts, cam: `Evidence.contexts` of the row and of CAM. k, c: the pair."""
    shown = facts["present"][..., k] & tags[:, c]
    if not shown.any():
        return {"images": 0, "source": "measured"}
    counted = [(each["false"], each["present"], each["confusions"]) for each in (facts, cam)]
    sums, reference = (pair_sums(*each, tags, k, c) for each in counted)
    found, change = interval(sums, ratio), difference_interval(sums, reference, ratio)
    cells = {"ratio 95 %": UNDEFINED} if np.isnan(found.mean) else score_cells(found, "ratio")
    if facts is cam:
        cells["change 95 %"] = "reference"
    elif not np.isnan(change.mean):
        cells |= score_cells(change, "change")
    of_pair = np.where(shown[..., None, None], facts["confusions"], 0)
    overlap = interval(of_pair, lambda each: iou(each)[..., c + 1]).percent()
    return {"images": int(shown[0].sum()), **cells, **score_cells(overlap, "IoU"), "source": "measured"}


def _pair_note(evidence: Evidence, facts: dict, own: list) -> str:
    """What follows the protocol of Table 2. facts: `Evidence.contexts` of any row. own: the pairs of this world."""
    name, missing = evidence.run.world.name, int(facts["missing"][0])
    pairs = ("have surroundings that half or more of the images with the class show, at least twice as often as the "
             "others")
    where = f"The pairs of {name} {pairs}." if own else f"In {name} no class has surroundings that go with it."
    if not facts["known"].any():
        where = f"{name} has no maps of surroundings: nothing is measured."
    return (" ratio: pixels of the surroundings wrongly labelled as the class, over the pixels of the class labelled "
            f"rightly; 0 is best, {UNDEFINED} where none is. IoU: of the class, in per cent. Both are pooled over the "
            "images that show class and surroundings; the paper does not say how it chose its images. change: of the "
            f"ratio, against CAM. {where}{f' {missing} images have no map of surroundings.' if missing else ''} "
            f"{labels_used(evidence, _eps(evidence.run))}")


# --- Tables 3 and 4 --------------------------------------------------------------------------------------------------


def table3(run: Session) -> Table:
    """The strategies of map selection: pseudo-masks, classes that saliency ignores, and how many tags are selected."""
    evidence, trained, rows = Evidence(run), trained_rows(run.profile), []
    printed = run.published("table3")
    reference = "baseline" if "baseline" in trained else "naive"
    base = dict(zip(STRATEGY_ROWS, printed["train_pseudo_mask_miou_pct"], strict=True))[reference]
    reserved = list(run.route.selection("pre-defined")["reserved"])
    for (_, line), row in zip(printed.iterrows(), STRATEGY_ROWS, strict=True):
        paper = line["train_pseudo_mask_miou_pct"]
        cells = {"map selection": line["map_selection"].removesuffix(" (ours)"), "train paper": paper,
                 "gain paper": None if row == reference else paper - base, "train 95 %": NOT_RUN}
        rows.append(cells | (_strategy_cells(evidence, row, reference, reserved) if row in trained else {}))
    order = ["map selection", *(f"{what} {of}" for what in ("train", "gain") for of in ("paper", "ours", "95 %")),
             "IoU reserved", "IoU others", "learned ours", "learned 95 %", "selected tags"]
    note = (f" gain: over {reference}, in percentage points, paired by image and seed. baseline: the paper leaves it "
            "open; here the background map alone answers for saliency (lambda = 0, whatever the tags). IoU: means "
            f"over the classes {_reserved_words(run, reserved)}.{PSEUDO_NOTE} {_coverage_words(evidence, reserved)}"
            f"{labels_used(evidence, _eps(run))}")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Map selection: mIoU of pseudo-masks in per cent",
                 pseudo_protocol(run) + note)


def _strategy_cells(evidence: Evidence, row: str, reference: str, reserved: list[int]) -> dict:
    """Our cells of a line of Table 3. reserved: classes (from 0) that the "pre-defined" strategy reserves."""
    confusions = evidence.pseudo(row)
    of_class = nan_mean(iou(confusions.sum(1)).T)[1:]
    others = np.setdiff1d(np.arange(len(of_class)), reserved)
    return {**score_cells(miou(confusions), "train"),
            **gain_cells(confusions, None if row == reference else evidence.pseudo(reference)),
            "IoU reserved": 100 * float(nan_mean(of_class[reserved])),
            "IoU others": 100 * float(nan_mean(of_class[others])),
            **score_cells(miou(evidence.pseudo(row, output="learned")), "learned"),
            "selected tags": None if row == "baseline" else selected_share(evidence, row)}


def _reserved_words(run: Session, reserved: list[int]) -> str:
    names = ", ".join(run.world.classes[index] for index in reserved)
    return f"that Pre-defined counts with the background ({names or 'none in this world'}) and over the others"


def _coverage_words(evidence: Evidence, reserved: list[int]) -> str:
    """A sentence on how much of the classes the default detector finds; "" without reserved classes."""
    if not reserved:
        return ""
    pixels = evidence.covered().sum((0, 1))[1:]
    found = pixels[:, 1] / np.maximum(pixels.sum(1), 1)
    others = np.delete(found, reserved)
    return (f"Saliency finds {100 * found[reserved].mean():.0f} % of the pixels of the former classes and "
            f"{100 * others.mean():.0f} % of those of the latter. ")


def table4(run: Session) -> Table:
    """Pseudo-masks as they are, after a CRF and after AffinityNet."""
    evidence, rows = Evidence(run), []
    for _, line in run.published("table4").iterrows():
        for how, column in REFINEMENTS.items():
            paper, named = line[column], method_cells(line)
            cells = {**named, "refinement": how, "train paper": paper, "source": "quoted", "remark": line["note"]}
            if how != "none":
                cells["gain paper"] = paper - line[REFINEMENTS["none"]]
            if named["method"] in METHODS:
                cells |= _refined_cells(evidence, METHODS[named["method"]], how)
            elif pd.isna(paper):
                continue
            rows.append(cells)
    *_, (method, row) = METHODS.items()
    rows.append({"method": method, "refinement": "none", **_refined_cells(evidence, row, "none")})
    order = ["method", "reference", "refinement", *(f"{what} {of}" for what in ("train", "gain")
                                                    for of in ("paper", "ours", "95 %")),
             "over CAM ours", "over CAM 95 %", "remark", "source"]
    note = (" gain: of the refinement, in percentage points. over CAM: with the same refinement, in percentage points. "
            f"Quoted rows are as printed. Kept as printed: {printed_slips(run, 'table4')}. The last row is not in the "
            f"paper's table. {labels_used(evidence, _eps(run))}")
    return Table(pd.DataFrame(rows).reindex(columns=order), "Refinement of pseudo-masks: mIoU in per cent",
                 pseudo_protocol(run) + note)


def _refined_cells(evidence: Evidence, row: str, how: str) -> dict:
    """Our cells of a line of Table 4. how: one of REFINEMENTS."""
    if how == "AffinityNet" and evidence.run.route.scale.affinity is None:
        return {"train 95 %": NOT_RUN}
    confusions = _refined(evidence, row, how)
    cells = {**score_cells(miou(confusions), "train"), "source": "measured"}
    if how != "none":
        cells |= score_cells(miou_gain(confusions, evidence.pseudo(row)), "gain")
    if row == "CAM":
        return cells | {"over CAM 95 %": "reference"}
    return cells | score_cells(miou_gain(confusions, _refined(evidence, "CAM", how)), "over CAM")


def _refined(evidence: Evidence, row: str, how: str) -> np.ndarray:
    if how == "AffinityNet":
        return evidence.walked(row)
    return evidence.pseudo(row, output="refined" if how == "CRF" else "masks")


def _eps(run: Session) -> Step:
    return run.route.trained("adaptive")


TABLES = {"table1": table1, "table2": table2, "table3": table3, "table4": table4, "table5": table5, "table6": table6,
          "table7": table7, "text-saliency": text_saliency, "switches": switches, "parameters": robustness,
          "detectors": dial}
