"""What is measured of Lee et al. 2021 (EPS), and its tables: the printed numbers beside ours."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wsss_lab.data.views import EvalView
from wsss_lab.evaluation.boundaries import boundary_scores, tolerance_pixels
from wsss_lab.evaluation.co_occurrence import co_occurring_pairs, pair_sums
from wsss_lab.evaluation.confusion import divide, iou, mean_iou, nan_mean
from wsss_lab.evaluation.intervals import ratio
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.evaluation.saliency_scores import foreground_iou, foreground_precision_recall
from wsss_lab.evaluation.scoring import score_salient_pixels
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.measure.quantities import Derived, NotMeasured, Quantity, Results, Source, cached, figure, result
from wsss_lab.measure.strata import Dial
from wsss_lab.measure.tables import REFERENCE, Column, Table, measured, table
from wsss_lab.papers import shared_tables as shared
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.lee2021.route import DETECTORS, MOMENTUM_ROWS, PUBLISHED, STRATEGY_ROWS, Route, detector_row
from wsss_lab.saliency.maps import folder_frames
from wsss_lab.seeds.localisation import BACKGROUND, pseudo_masks

EPS, CAM = "adaptive", "CAM"
EXPANDED, AFFINITY = "expanded", "AffinityNet"  # what else is made of the maps of CAM
CUTS = (0.2, 0.3, 0.4)  # of saliency maps, besides the map selection's one half
LOW_BACKGROUND = BACKGROUND / 2  # constant score beside which CAM's maps cover more of the image
CROWDED_NET = "V2, VGG16"  # of Table 7


# --- what is measured -------------------------------------------------------------------------------------------------

def shown(labels: str) -> str:
    """A name beside other methods: rows of EPS that differ by their saliency are "EPS" and "EPS (boxes)"."""
    return ({EPS: "EPS"} | {detector_row(name): f"EPS ({name})" for name in DETECTORS[1:]}).get(labels, labels)


def long_name(row: str) -> str:
    """A name among rows that differ by their selection or training."""
    if row in STRATEGY_ROWS and row != EPS:
        return f"EPS, {row} selection"
    return f"EPS, {row.replace('rate', 'learning rate')}" if row in MOMENTUM_ROWS else shown(row)


def in_world(route: Route, many: bool) -> Route:
    """The route, or its counterpart on the world of many objects."""
    if many and route.crowded is None:
        where = "; there it is COCO 2014, in the folder that WSSS_COCO names" if route.profile == "voc" else ""
        raise NotMeasured(f"profile {route.profile} has no world of many objects{where}")
    return route.crowded if many else route


def scored_view(route: Route) -> Any:
    """The training images whose pseudo-masks are scored, with their masks."""
    return route.world.eval_view(route.scored)


def scored_tags(route: Route) -> Derived:
    return Derived(lambda view: view.tags, scored_view(route))


@cached
def confusions(row: str, output: str = "masks", many: bool = False) -> Source:
    """Confusions of a row's pseudo-masks. output: "masks", "learned" (with the learned background map), "refined" (by
    the dense CRF) or "walked" (by AffinityNet). many: of the world of many objects."""

    def source(route: Route) -> Any:
        made = in_world(route, many)
        labels = made.walked(row) if output == "walked" else made.masks(row, crf=output == "refined")
        return made.score(labels, output="masks" if output == "walked" else output)["confusions"]

    return source


@cached
def pseudo(row: str, output: str = "masks", many: bool = False) -> Quantity:
    """mIoU of a row's pseudo-masks; arguments as for `confusions`."""
    after = {"masks": "", "learned": ", learned", "refined": " + CRF", "walked": " + AffinityNet"}[output]
    return figure(shown(row) + after, confusions(row, output, many), mean_iou)


@cached
def of_classes(row: str, chosen: tuple[bool, ...], of: str, output: str = "masks") -> Quantity:
    """Mean IoU of chosen foreground classes, one flag for each, by a row's pseudo-masks. of: name of these classes."""
    return figure(f"{shown(row)} on {of}", confusions(row, output),
                  lambda summed: nan_mean(iou(summed)[..., 1:][..., np.array(chosen)]))


@cached
def found(row: str, which: str) -> Quantity:
    """Foreground "precision" or "recall" of a row's pseudo-masks."""
    return figure(row, confusions(row), shared.LABEL_QUALITY[which])


def covered(route: Route) -> Any:
    """Confusions (N, K, K + 1) whose column 1 counts the salient pixels of each class."""
    return route.covered()["confusions"]


def salient_share(counts: np.ndarray) -> np.ndarray:
    """Share of an image's object pixels that are salient, in per cent: `covered` (..., K, K + 1) -> (...).

    >>> float(salient_share(np.array([[5, 3, 0, 0], [1, 2, 0, 0], [0, 1, 0, 0]])))  # 3 of 4
    75.0
    """
    return 100 * divide(counts[..., 1:, 1].sum(-1), counts[..., 1:, :].sum((-2, -1)))


@cached
def boundary_counts(row: str) -> Source:
    return lambda route: route.boundaries(route.masks(row))["counts"]


@cached
def boundary(which: str, row: str, tolerance: int = 0) -> Quantity:
    """The "f1", "recall" or "precision" of a row's boundaries at one of the tolerances of Table 1."""
    return figure(f"{'F1' if which == 'f1' else which} of {shown(row)}", boundary_counts(row),
                  lambda summed: getattr(boundary_scores(summed), which), lambda counts: counts[:, :, tolerance])


def backgrounds(row: str) -> Source:
    """Confidence counts (N, 3, K, bins) of a row's maps."""
    return result("counts", Route.localisation_score, row)


@cached
def at_background(row: str, place: int) -> Quantity:
    """mIoU of a row's pseudo-masks by a constant background score, the threshold at this place of `sweep`."""
    return figure(row, backgrounds(row), lambda cuts: sweep(cuts).mean_iou[..., 1],
                  lambda counts: shared.cut_at(counts, place))


def curves(row: str) -> Source:
    """What a training wrote down per iteration, by name."""
    return result("curves", Route.trained, row)


def selected_tags(results: Results, row: str) -> float:
    """Per cent of the tags that a row counts with the foreground, mean over the last tenth of its trainings."""
    each = np.array([curves["selected tags"] for curves in results.each(curves(row))])
    return 100 * float(each[:, -max(1, each.shape[1] // 10):].mean())


@cached
def segmented(labels: str, net: str, split: str = "val", crf: bool = False, many: bool = False) -> Quantity:
    """mIoU of a segmenter taught by labels of TAUGHT. many: of the world of many objects."""

    def source(route: Route) -> Any:
        if not many and net not in lee2021.taught(route.profile).get(labels, ()):
            raise NotMeasured(f"profile {route.profile} doesn't train the segmenter '{net}' on '{labels}'")
        if split == "test" and not has_test(route.profile):
            raise NotMeasured(f"profile {route.profile} has no masks of {split}")
        made = in_world(route, many)
        return made.score(made.prediction(labels, net, split, crf), split)["confusions"]

    return figure(shown(labels) + " + CRF" * crf + " on test" * (split == "test"), source, mean_iou)


@cached
def objects(fact: str) -> Source:
    """"objects" or "area" of the images of val of the world of many objects: (N,)."""
    return lambda route: in_world(route, True).objects()[fact]


def score_cuts(view: EvalView, saliency: np.ndarray, cuts: Sequence[float]) -> dict:
    """Foreground counts of saliency maps at several thresholds in (0, 1]: {"counts": int64 (N, cuts, 4)}.

    saliency: frame uint8, 255 = 1. Raises ParameterError as score_salient_pixels does.
    """
    return {"counts": np.stack([score_salient_pixels(view, saliency, cut)["counts"] for cut in cuts], 1)}


#: What a forecast answers with, see wsss_lab.lab.stand_ins.
STAND_INS = {("score_cuts", "counts"): lambda made: made.whole(len(CUTS), 4)}


@cached
def foreground(of: str, which: str = "iou", cut: int | None = None, split: str = "val") -> Quantity:
    """Foreground "iou", "recall" or "precision" of the saliency that EPS estimates (of="estimated") or of one of
    DETECTORS or DIAL, cut at one half or at one of CUTS."""

    def source(route: Route) -> Any:
        if of != "estimated":
            route.trained(detector_row(of))  # of detectors that a profile has a row for
        maps = route.estimated(split) if of == "estimated" else route.saliency(of, split)
        if cut is None:
            return route.saliency_score(maps, split)["counts"]
        return route.step(score_cuts, f"cuts of {maps.label}", "evaluation", view=split, saliency=maps["maps"],
                          cuts=CUTS)["counts"]

    score = foreground_iou if which == "iou" else lambda summed: getattr(foreground_precision_recall(summed), which)
    name = "detector" if of == "masks" else of
    return figure(name if which == "iou" else f"{which} {name}", source, score,
                  lambda counts: counts if cut is None else counts[:, :, cut])


class Pair(NamedTuple):
    """A class with the surroundings that go with it: 0-based indices and a name, as in "boat on water"."""

    k: int
    c: int
    name: str


def wider_masks(route: Route) -> Step:
    """Pseudo-masks of CAM at LOW_BACKGROUND: coverage without any cue for boundaries."""
    return route.step(pseudo_masks, f"pseudo-masks of {route.scored} by CAM, background {LOW_BACKGROUND:g}",
                      view=route.scored, state=route.trained(CAM)["state"], backbone=route.scale.main,
                      scales=route.scale.scales, background=LOW_BACKGROUND)


@cached
def contexts(method: str, output: str) -> Source:
    """Co-occurrence counts (see wsss_lab.evaluation.co_occurrence) of the pseudo-masks of a row, of CAM with a lower
    background (EXPANDED) or of CAM after AffinityNet, whose affinities are taught by a dense CRF, which sees edges."""
    made = {EXPANDED: wider_masks, AFFINITY: lambda route: route.walked(CAM)}
    make = made.get(method, lambda route: route.masks(method))
    return lambda route: route.contexts(make(route))[output]


@cached
def confused(method: str, pair: Pair) -> Quantity:
    """The confusion ratio m of a pair by pseudo-masks of a method of `contexts`."""
    return figure(f"{pair.name} {shown(method)}",
                  [*(contexts(method, name) for name in ("false", "present", "confusions")), scored_tags], ratio,
                  lambda false, present, matrices, tags: pair_sums(false, present, matrices, tags[0], pair.k, pair.c),
                  unit="")


@cached
def target(method: str, pair: Pair) -> Quantity:
    """IoU of the pair's class on the images of the pair."""
    return figure(f"{pair.name} {shown(method)}",
                  [contexts(method, "confusions"), contexts(method, "present"), scored_tags],
                  lambda summed: iou(summed)[..., pair.c + 1], lambda matrices, present, tags: np.where(
                      (present[..., pair.k] & tags[0][:, pair.c])[..., None, None], matrices, 0))


def pairs_of(read: Callable[[Source], Any]) -> list[Pair]:
    """Classes with the surroundings that go with them, by the ground truth alone; NotMeasured where there are none.

    read: gives the value of a source at the first seed.
    """
    view = read(scored_view)
    if not view.has_context:
        raise NotMeasured("these images have no maps of their surroundings")
    known, present = (np.asarray(read(contexts(CAM, name))) for name in ("known", "present"))
    pairs = co_occurring_pairs(view.tags[known], present[known])
    if not pairs:
        raise NotMeasured("in these images no class keeps to one kind of surroundings")
    return [Pair(k, c, f"{view.classes[c]} on {view.context_classes[k]}") for k, c in pairs]


# --- what tables share ------------------------------------------------------------------------------------------------

Line = Mapping[str, Any]

#: Our methods in Tables 1, 2 and 4 -> rows of ROWS; the last one is not in the paper's tables.
METHODS = {"CAM": CAM, "EPS": EPS, "EPS, naive selection": "naive"}
PREDICTED_FROM = "one scale"  # how segmenters look at test images


def printed_lines(run: Session, name: str) -> list[dict]:
    """The lines of a printed table, with what they have in common: method, reference, and that they are quoted."""
    return [line | {"method": line["method"].removesuffix(" (ours)"), "source": "quoted", "reference": " ".join(
                line[each] for each in ("venue", "reference") if not pd.isna(line.get(each, np.nan))) or None}
            for line in run.published(name).to_dict("records")]


def pseudo_protocol(run: Session, paper: str = "PASCAL VOC 2012 train") -> str:
    """The sentences under a table of pseudo-masks. paper: which images the paper scores."""
    route, scales = run.route, run.route.scale.scales
    scales = f"{shared.scale_words(scales)} and mirror images" if len(scales) > 1 else "image and mirror image"
    return shared.protocol(run, f"maps averaged over {scales}", tags=shared.TAGS_KNOWN, paper=paper,
                           ours=f"{run.world.name} {scored_words(route, len(run.view(route.scored)))}", nets=["main"])


def scored_words(route: Route, images: int) -> str:
    """The training images whose pseudo-masks are scored, such as "train (the first 500 images)"."""
    split, _, part = route.scored.partition("[")
    return f"{split} ({'the first ' if part else ''}{images} images)"


def row_labels(run: Session) -> Column:
    """A column on the labels that the row of a line rests on."""
    return of(lambda row: shared.labels_of(run, run.route.trained(row)), "row")


def of(quantity: Callable[..., Any], *names: str) -> Column:
    """A column with a quantity of what a line has under these names, for lines that have the first of them."""
    return lambda line: quantity(*(line[name] for name in names)) if line.get(names[0]) else None


def over(reference: str, quantity: Callable[..., Quantity], *names: str) -> Column:
    """A column with what the quantity of a line gains over that of a reference, the first of its arguments."""
    def gained(row: str, *more: Any) -> Quantity | str:
        return REFERENCE if row == reference else quantity(row, *more) - quantity(reference, *more)

    return of(gained, *names)


def pseudo_columns(run: Session, reference: str = EPS, gain: Mapping[str, Column] | None = None,
                   classes: Mapping[str, Column] | None = None) -> dict[str, Column]:
    """Columns on trained rows: their pseudo-masks, the gain over a reference, those by the learned background (not for
    CAM), and the tags that they select. gain, classes: columns before the gain and behind it."""
    return {**measured("train", of(pseudo, "row")), **(gain or {}),
            **measured("gain", over(reference, pseudo, "row"), unmeasured=None), **(classes or {}),
            **measured("learned", of(lambda row: pseudo(row, "learned") if row != CAM else None, "row"),
                       unmeasured=None),
            "selected tags": of(lambda row: selected_tags(run.results, row) if row not in (CAM, "baseline") else None,
                                "row")}


PSEUDO_NOTE = (" learned: labels by the learned background map instead of the constant score. selected tags: per cent "
               "of the tags in the foreground map, mean over the last tenth of training.")


def table1(run: Session) -> Table:
    """Recall, precision and F1 of the boundaries of pseudo-masks, at two tolerances."""
    printed = {line["method"]: line for line in printed_lines(run, "table1")}
    view, lines = run.view(run.route.scored), []
    for method in dict.fromkeys([*printed, *METHODS]):
        ours = [{"row": METHODS[method], "at": at, "tolerance": tolerance_words(view, share), "source": "measured"}
                for at, share in enumerate(PUBLISHED.boundary_shares) if method in METHODS]
        lines += [{"method": method} | ({} if at else printed.get(method, {})) | each
                  for at, each in enumerate(ours or [{}])]
    f1 = partial(boundary, "f1")
    note = (" Whatever the classes on its two sides, a boundary is found if it lies within the tolerance, in per cent "
            "of the image's diagonal and at least one pixel, of one of the ground truth; each pixel is matched once, "
            "and pixels of all images are pooled. The paper gives no tolerance; its numbers stand beside ours at "
            f"{100 * PUBLISHED.boundary_shares[0]:g} %, that of the benchmark it names. Edges are two pixels wide "
            "here; the benchmark thins them. gain: F1 over CAM at the same tolerance, in percentage points. "
            f"{shared.labels_used(run, run.route.trained(EPS))}")
    return table(run, lines, {
        "method": "method", "reference": "reference", "tolerance": "tolerance", "recall paper": "boundary_recall_pct",
        "recall ours": of(partial(boundary, "recall"), "row", "at"), "precision paper": "boundary_precision_pct",
        "precision ours": of(partial(boundary, "precision"), "row", "at"), "F1 paper": "boundary_f1_pct",
        **measured("F1", of(f1, "row", "at")), **measured("gain", over(CAM, f1, "row", "at")),
        "remark": "note", "source": "source",
    }, "Boundaries of pseudo-masks, per cent", pseudo_protocol(run, "SBD trainval (VOC images)") + note)


def tolerance_words(view: EvalView, share: float) -> str:
    """A tolerance in words: "0.75 %, 1 px", or from the smallest to the largest image, "2 %, 5.2 to 6.4 px"."""
    pixels = {tolerance_pixels(view.size(index), share) for index in range(len(view))}
    ends = dict.fromkeys(f"{round(end, 1):g}" for end in (min(pixels), max(pixels)))
    return f"{100 * share:g} %, {' to '.join(ends)} px"


UNDEFINED = "undefined"
RATIO, PAIR_IOU = "_confusion_ratio", "_iou_pct"  # end the names of printed columns of Table 2


def table2(run: Session) -> Table:
    """How much of its usual surroundings is labelled as a class: the printed pairs, and the pairs of this world."""
    results, view, printed = run.results, run.view(run.route.scored), printed_lines(run, "table2")
    known, present, missing = (np.asarray(results.first(contexts(CAM, name)))
                               for name in ("known", "present", "missing"))
    of_paper = [tuple(name.removesuffix(RATIO).split("_")) for name in printed[0] if name.endswith(RATIO)]
    own, lines = [], []
    for row in METHODS.values():  # whatever pairs there are, so that it is known before they are
        results.each(contexts(row, "false"))
    with suppress(NotMeasured):
        own = [(view.classes[pair.c], view.context_classes[pair.k]) for pair in pairs_of(results.first)]
    for c, k in dict.fromkeys([*of_paper, *own]):
        quoted = {line["method"]: {
            "method": line["method"], "reference": line["reference"], "source": "quoted",
            "ratio": line[f"{c}_{k}{RATIO}"],
            "iou": line.get(f"{c}_{k}{PAIR_IOU}", line.get(f"{c}{PAIR_IOU}")),  # a class with one pair has its name
        } for line in printed if (c, k) in of_paper}
        ours = {}
        if c in view.classes and k in view.context_classes:
            pair = Pair(list(view.context_classes).index(k), list(view.classes).index(c), f"{c} on {k}")
            images = int((present[:, pair.k] & view.tags[:, pair.c]).sum())
            ours = {method: {"method": method, "row": images and row, "pair": pair, "images": images,
                             "source": "measured"} for method, row in METHODS.items()}
        lines += [{"class": c, "surroundings": k, "images": None} | quoted.get(method, {}) | ours.get(method, {})
                  for method in dict.fromkeys([*quoted, *ours])]

    def known_or(undefined: str | None, column: Callable[[Line], Any]) -> Callable[[Line], Any]:
        def cell(line: Line) -> Any:
            found = column(line)
            return undefined if isinstance(found, Quantity) and np.isnan(found.value(results)) else found

        return cell

    pairs = ("have surroundings that half or more of the images with the class show, at least twice as often as the "
             "others")
    where = f"The pairs of {run.world.name} {pairs}." if own else (
        f"In {run.world.name} no class has surroundings that go with it.")
    if not known.any():
        where = f"{run.world.name} has no maps of surroundings: nothing is measured."
    note = (" ratio: pixels of the surroundings wrongly labelled as the class, over the pixels of the class labelled "
            f"rightly; 0 is best, {UNDEFINED} where none is. IoU: of the class, in per cent. Both are pooled over the "
            "images that show class and surroundings; the paper does not say how it chose its images. change: of the "
            f"ratio, against CAM. {where}{f' {missing} images have no map of surroundings.' if missing else ''} "
            f"{shared.labels_used(run, run.route.trained(EPS))}")
    return table(run, lines, {
        "class": "class", "surroundings": "surroundings", "method": "method", "reference": "reference",
        "images": "images", "ratio paper": "ratio",
        **measured("ratio", known_or(UNDEFINED, of(confused, "row", "pair"))),
        **measured("change", known_or(None, over(CAM, confused, "row", "pair"))),
        "IoU paper": "iou", **measured("IoU", of(target, "row", "pair")), "source": "source",
    }, "Surroundings taken for the class: ratio; IoU in per cent",
        pseudo_protocol(run, "PASCAL-Context, images not stated") + note,
        {"ratio paper": 2, "ratio ours": 3, "change ours": 3})


def table3(run: Session) -> Table:
    """The strategies of map selection: pseudo-masks, classes that saliency ignores, and how many tags are selected."""
    reference = "baseline"
    reserved = np.isin(np.arange(len(run.world.classes)), run.route.selection("pre-defined")["reserved"])
    lines = [{"name": line["map_selection"].removesuffix(" (ours)"), "row": row,
              "paper": line["train_pseudo_mask_miou_pct"]}
             for line, row in zip(run.published("table3").to_dict("records"), STRATEGY_ROWS, strict=True)]
    base = next(line["paper"] for line in lines if line["row"] == reference)
    names = ", ".join(np.array(run.world.classes)[reserved]) or "none in this world"
    coverage = ""
    if reserved.any():
        pixels = run.results.stack(covered).sum((0, 1))[1:]
        salient = 100 * pixels[:, 1] / np.maximum(pixels.sum(1), 1)
        coverage = (f"Saliency finds {salient[reserved].mean():.0f} % of the pixels of the former classes and "
                    f"{salient[~reserved].mean():.0f} % of those of the latter. ")
    note = (f" gain: over {reference}, in percentage points, paired by image and seed. baseline: the paper leaves it "
            "open; here the background map alone answers for saliency (lambda = 0, whatever the tags). IoU: means over "
            f"the classes that Pre-defined counts with the background ({names}) and over the others.{PSEUDO_NOTE} "
            f"{coverage}{shared.labels_used(run, run.route.trained(EPS))}")
    return table(run, lines, {
        "map selection": "name", "train paper": "paper", **pseudo_columns(
            run, reference,
            {"gain paper": lambda line: line["paper"] - base if line["row"] != reference else None},
            {f"IoU {name}": of(partial(of_classes, chosen=tuple(chosen), of=f"the {name}"), "row")
             for name, chosen in (("reserved", reserved), ("others", ~reserved))}),
    }, "Map selection: mIoU of pseudo-masks in per cent", pseudo_protocol(run) + note)


#: What is printed for each refinement of Table 4, and which output of `pseudo` it is.
REFINEMENTS = {"none": ("train_miou_no_refinement_pct", "masks"), "CRF": ("train_miou_crf_pct", "refined"),
               AFFINITY: ("train_miou_affinitynet_pct", "walked")}


def table4(run: Session) -> Table:
    unrefined, lines = REFINEMENTS["none"][0], []
    for line in printed_lines(run, "table4"):
        lines += [line | {"refinement": how, "paper": line[printed], "row": METHODS.get(line["method"]),
                          "output": output, "gain": None if how == "none" else line[printed] - line[unrefined]}
                  for how, (printed, output) in REFINEMENTS.items()
                  if line["method"] in METHODS or not pd.isna(line[printed])]
    *_, (method, row) = METHODS.items()
    lines.append({"method": method, "refinement": "none", "row": row, "output": "masks"})
    walks = run.route.scale.affinity is not None
    for line in lines:
        if line["row"] and (walks or line["refinement"] != AFFINITY):
            line |= {"source": "measured", "done": line["row"]}

    note = (" gain: of the refinement, in percentage points. over CAM: with the same refinement, in percentage points. "
            f"Quoted rows are as printed. Kept as printed: {shared.printed_slips(run, 'table4')}. The last row is not "
            f"in the paper's table. {shared.labels_used(run, run.route.trained(EPS))}")
    return table(run, lines, {
        "method": "method", "reference": "reference", "refinement": "refinement", "train paper": "paper",
        **measured("train", of(pseudo, "row", "output")), "gain paper": "gain",
        **measured("gain", of(lambda row, output: pseudo(row, output) - pseudo(row) if output != "masks" else None,
                              "done", "output")),
        **measured("over CAM", over(CAM, pseudo, "done", "output")),
        "remark": "note", "source": "source",
    }, "Refinement of pseudo-masks: mIoU in per cent", pseudo_protocol(run) + note)


#: What else teaches segmenters: labels -> (method, supervision). Not in the paper's tables.
LESSONS = {"CAM": ("CAM", "I"), "CAM + AffinityNet": ("CAM + AffinityNet", "I"),
           "G2": ("G2 guides of Oh et al. 2017", "I+S"), "full": ("ground truth", "F")}


def segmenter_of(profile: str, head: str, backbone: str) -> str:
    """The segmenter that a profile runs for one of the paper's, "" for none.

    head: "V1" or "V2". backbone: "VGG16" or "ResNet101"; photographs have MobileNetV2 for both.
    """
    names = (f"{head}, {backbone}", f"{head}, MobileNetV2")
    return next((name for name in names if name in lee2021.segmenters(profile)), "")


def mark_taught(run: Session, lines: list[dict]) -> list[dict]:
    """Lines with "labels" and the segmenter "net", and with "done", the labels where the profile trains it on them."""
    taught = lee2021.taught(run.profile)
    return [line | {"done": line["labels"]} if line.get("net") in taught.get(line.get("labels"), ()) else line
            for line in lines]


def score_columns(run: Session, split: str) -> dict[str, Column]:
    """Our score on a split of the segmenter of a line that is taught by its labels, if it has these."""
    if split == "test" and not has_test(run.profile):
        return measured(split, lambda line: shared.NO_TEST if "done" in line else of(segmented, "labels", "net")(line))
    return measured(split, of(partial(segmented, split=split), "labels", "net"))


def segmenter_labels(run: Session) -> Column:
    return of(lambda labels, net: shared.labels_of(run, run.route.segmenter(labels, net)), "done", "net")


def segmenter_table(run: Session, name: str, backbone: str, lessons: tuple[str, ...]) -> Table:
    """Table 5 or 6: state of the art as printed, and ours. lessons: what else than EPS teaches its segmenters."""
    lines = [line | ({"labels": EPS, "net": segmenter_of(run.profile, line["segmenter"], backbone)}
                     if line["method"] == "EPS" else {}) for line in printed_lines(run, name)]
    net = segmenter_of(run.profile, "V1", backbone)
    nets = {name: trunk for name, (trunk, _) in lee2021.segmenters(run.profile).items()}
    lines += [{"method": LESSONS[labels][0], "segmenter": "V1", "supervision": LESSONS[labels][1], "labels": labels,
               "net": net} for labels in lessons]
    slips = shared.printed_slips(run, name)
    note = (" Quoted rows are as printed, measured by others on VOC. V1: DeepLab-LargeFOV; V2: DeepLab-ASPP. I image "
            "tags, S saliency, F masks. The paper does not say whether a CRF follows its segmenters. gain: on val, "
            "over CAM where it teaches the same segmenter, in percentage points. The rows after EPS are not in the "
            "paper's table. network, labels used: of our rows. "
            f"{shared.words_on_test(run, has_test(run.profile))}{f' Kept as printed: {slips}.' if slips else ''}")
    return table(run, mark_taught(run, lines), {
        "method": "method", "reference": "reference", "segmenter": "segmenter", "supervision": "supervision",
        "val paper": "val_miou_pct", **score_columns(run, "val"),
        **measured("gain", over(CAM, segmented, "done", "net"), unmeasured=None),
        **measured("val + CRF", of(lambda labels, net: segmented(labels, net, crf=True) if labels == EPS else None,
                                   "done", "net")),
        "test paper": "test_miou_pct", **score_columns(run, "test"),
        "network": of(lambda _, net: shared.FAMILIES[run.route.scale.nets[nets[net]].family], "done", "net"),
        "labels used": segmenter_labels(run),
        "source": lambda line: "measured" if "done" in line else line.get("source"),
    }, f"Segmenters with {backbone}, mIoU in per cent", shared.protocol(run, PREDICTED_FROM, nets=[nets[net]]) + note)


def table7(run: Session) -> Table:
    crowded, net = run.route.crowded, CROWDED_NET
    lines = [line | ({"row": EPS} if line["method"] == "EPS" else {}) for line in printed_lines(run, "table7")]
    lines.append({"method": "CAM", "segmenter": net[:2], "supervision": "I", "row": CAM})
    if crowded:
        lines = [line | ({"done": line["row"], "source": "measured"} if "row" in line else {}) for line in lines]

    score = partial(segmented, net=net, many=True)
    note = (f" Kept as printed: {shared.printed_slips(run, 'table7')}. Quoted rows are as printed, measured by others "
            "on COCO, with VGG16. V1: DeepLab-LargeFOV; V2: DeepLab-ASPP. I image tags, S saliency.")
    return table(run, lines, {
        "method": "method", "reference": "reference", "segmenter": "segmenter", "supervision": "supervision",
        "val paper": "val_miou_pct", **measured("val", of(score, "row")), **measured("gain", over(CAM, score, "done")),
        **measured("pseudo-masks", of(partial(pseudo, many=True), "done")),
        "network": of(lambda _: shared.FAMILIES[crowded.scale.nets["VGG16"].family], "done"),
        "labels used": of(lambda row: shared.labels_of(run, crowded.segmenter(row, net)), "done"), "source": "source",
    }, "Segmenters where objects are many, mIoU in per cent", _crowded_protocol(run) + note)


def _crowded_protocol(run: Session) -> str:
    crowded = run.route.crowded
    if crowded is None:
        return ("paper: COCO 2014 val; nothing is measured in this profile: profile voc does where WSSS_COCO names the "
                "folder of COCO 2014, and quick and toy draw a world of many objects.")
    counts, areas = (np.asarray(run.results.first(objects(fact))) for fact in ("objects", "area"))
    name = crowded.world.name
    if name == run.world.name:
        name += " with more and smaller objects,"
    sentence = shared.protocol(run, PREDICTED_FROM, paper="COCO 2014 val", ours=f"{name} val ({len(areas)} images)",
                        nets=["main", "VGG16"])
    share, scored = crowded.selection(EPS)["share"], len(run.results.first(confusions(CAM, many=True)))
    return (f"{sentence} {counts.mean():.1f} objects per image; one covers {100 * nan_mean(areas):.1f} % of it on "
            f"average. lambda = {share:g}. gain: over CAM, in percentage points. pseudo-masks: mIoU on "
            f"{scored_words(crowded, scored)} of the same world, tags known.")


def text_saliency(run: Session) -> Table:
    """The saliency detector: how well it finds the foreground, and what EPS makes of its maps."""
    net, trained = segmenter_of(run.profile, "V1", "ResNet101"), lee2021.trained_rows(run.profile)
    lines = [line | {"detector": detector, "row": detector_row(detector), "net": net,
                     "in print": f"{line['saliency_detector']} {line['reference']}"}
             for line, detector in zip(run.published("text_saliency_detectors").to_dict("records"), DETECTORS,
                                       strict=True)]
    lines = mark_taught(run, [line | {"labels": line["row"] if line["row"] in trained else None}
                              for line in [*lines, {"row": CAM, "net": net}]])
    where = scored_words(run.route, len(run.view(run.route.scored)))
    note = (f" Segmenter in the paper: V1, ResNet101; here: {net}. Each detector here stands for the one in print on "
            "its line. saliency: IoU of its salient pixels (above one half) with the foreground of val. estimated: the "
            "same of the map that the trained classifier estimates (Eq. 1). pseudo-masks: mIoU on "
            f"{where}, tags known. val, test: mIoU of the segmenter. The last row, not in the paper, has no saliency. "
            f"labels used: of our rows. {shared.words_on_test(run, has_test(run.profile))}")
    return table(run, lines, {
        "detector in print": "in print", "its supervision": "supervision",
        "detector here": lambda line: detector_words(run, line["detector"]) if "detector" in line else "none: CAM",
        **measured("saliency", of(foreground, "detector")),
        **measured("estimated", of(lambda row: foreground("estimated") if row == EPS else None, "row")),
        **measured("pseudo-masks", of(pseudo, "row"), unmeasured=None),
        "val paper": "val_miou_pct", **score_columns(run, "val"),
        "test paper": "test_miou_pct", **score_columns(run, "test"),
        "labels used": lambda line: segmenter_labels(run)(line) or row_labels(run)(line),
    }, "Saliency detectors and what EPS makes of them, per cent",
        shared.protocol(run, PREDICTED_FROM, nets=["main", lee2021.segmenters(run.profile)[net][0]]) + note)


def detector_words(run: Session, detector: str) -> str:
    """What one of DETECTORS is in this profile; NotMeasured where it isn't looked at."""
    run.route.trained(detector_row(detector))
    if run.route.saliency(detector).function is folder_frames:
        return f"maps from the folder '{detector}'"
    if detector == "masks" and run.route.guided.u2net is None:
        return "network trained on masks"
    return shared.detector_name(run.route.guided, detector if detector == "unsupervised" else "")


#: What is wrong with the saliency of DIAL, by the kind of damage.
DAMAGED = {
    "oracle": "nothing: the true foreground",
    "eroded": "objects too small: a margin of {:.0f} % of the image's side is missing",
    "blurred": "soft boundaries: Gaussian of {:.0f} % of the image's side",
    "noisy": "{:.0f} % of the objects missed, as many discs elsewhere",
    "none": "nothing is salient",
}


def dial(run: Session) -> Table:
    """How good saliency has to be: detectors, and the true foreground with known damage."""
    lines = [{"saliency": "none: CAM", "row": CAM},
             *({"saliency": name, "row": detector_row(name), "detector": name} for name in DETECTORS),
             *({"saliency": name, "row": detector_row(name), "damage": DAMAGED[kind].format(100 * amount)}
               for name, (kind, amount) in lee2021.DIAL.items())]
    note = (f" gain: over the default, saliency '{DETECTORS[0]}', in percentage points, paired by image and seed."
            f"{PSEUDO_NOTE} Rows with the true foreground are studies: they read the masks of the training images.")
    return table(run, lines, {
        "saliency": "saliency", "what it is": lambda line: line.get("damage") or (
            detector_words(run, line["detector"]) if "detector" in line else None),
        **pseudo_columns(run), "labels used": row_labels(run),
    }, "Saliency and its damage: mIoU of pseudo-masks in per cent", pseudo_protocol(run) + note)


ROBUST = tuple(tau for tau in lee2021.TAUS if 0.3 <= tau <= 0.5)  # between which the paper sees no change


def robustness(run: Session) -> Table:
    lines = [*({"name": "tau", "value": tau, "row": lee2021.tau_row(tau)} for tau in lee2021.TAUS),
             *({"name": "lambda", "value": share, "row": lee2021.share_row(share)} for share in lee2021.SHARES)]
    spread = ""
    with suppress(NotMeasured):
        near = [pseudo(lee2021.tau_row(tau)).value(run.results) for tau in ROBUST]
        spread = (f" For tau from {ROBUST[0]:g} to {ROBUST[-1]:g} the scores lie {max(near) - min(near):.1f} "
                  "percentage points apart.")
    note = (" gain: over the default (tau = 0.4, lambda = 0.5), in percentage points, paired by image and seed."
            f"{PSEUDO_NOTE} lambda = 0 leaves the foreground map out, lambda = 1 the background map. The paper "
            f"leaves these studies to its supplement, which was not at hand.{spread} "
            f"{shared.labels_used(run, run.route.trained(EPS))}")
    return table(run, lines, {"parameter": "name", "value": "value", **pseudo_columns(run)},
                 "Parameters tau and lambda: mIoU of pseudo-masks in per cent", pseudo_protocol(run) + note,
                 {"value": 2})


def switches(run: Session) -> Table:
    lines = [{"changed": f"nothing: EPS, constant background {BACKGROUND:g}", "row": EPS, "figure": pseudo(EPS)}]
    lines += [{"changed": f"{long_name(row)}: learned background map", "row": row, "figure": pseudo(row, "learned"),
               "against": f"the same, background {BACKGROUND:g}", "gain": pseudo(row, "learned") - pseudo(row)}
              for row in (*STRATEGY_ROWS, *MOMENTUM_ROWS)]
    lines += [{"changed": long_name(row), "against": long_name(against), "row": row, "figure": pseudo(row),
               "gain": pseudo(row) - pseudo(against)} for row, against in zip(MOMENTUM_ROWS, (EPS, *MOMENTUM_ROWS))]
    for row in (CAM, "naive", EPS):
        swept = sweep(run.results.stack(backgrounds(row)).sum((0, 1)))
        best, _ = swept.best_threshold()
        chosen, usual = (shared.nearest(swept.thresholds, each) for each in (best, BACKGROUND))
        lines.append({"changed": f"{long_name(row)}: best constant, {best:.2f}", "row": row,
                      "against": f"the same, background {swept.thresholds[usual]:.2f}",
                      "figure": at_background(row, chosen),
                      "gain": at_background(row, chosen) - at_background(row, usual),
                      "more labels": "; masks of the scored images, for the constant"})
    momentum = (f" Momentum is {PUBLISHED.momentum:g} elsewhere, as in the released code, where the weight decay "
                "stands in its place; at the full rate, one of 0.9 lets small networks diverge.")
    note = (" gain: over what the row is compared with, in percentage points, paired by image and seed."
            f"{momentum if set(MOMENTUM_ROWS) <= set(lee2021.trained_rows(run.profile)) else ''} The best constant is "
            "chosen on the masks that it is scored with: an upper bound, not a result. The paper prints none of these "
            "comparisons.")
    return table(run, lines, {
        "changed": "changed", "compared with": "against", **measured("train", lambda line: line["figure"]),
        **measured("gain", lambda line: line.get("gain", REFERENCE), unmeasured=None),
        "labels used": lambda line: row_labels(run)(line) + line.get("more labels", ""),
    }, "Switches of the method: mIoU of pseudo-masks in per cent", pseudo_protocol(run) + note)


#: When does it help? See wsss_lab.measure.strata.
DIALS = tuple(
    Dial((a - b).called(name), "% of the objects that is salient", covered, salient_share) for name, a, b in (
        ("adaptive - naive", pseudo("adaptive"), pseudo("naive")),
        ("adaptive - naive, learned background", pseudo("adaptive", "learned"), pseudo("naive", "learned")),
        ("EPS - CAM", pseudo(EPS), pseudo(CAM))))

TABLES = {"table1": table1, "table2": table2, "table3": table3, "table4": table4,
          "table5": partial(segmenter_table, name="table5", backbone="VGG16", lessons=("CAM", "CAM + AffinityNet")),
          "table6": partial(segmenter_table, name="table6", backbone="ResNet101", lessons=("CAM", "G2", "full")),
          "table7": table7, "text-saliency": text_saliency, "switches": switches, "parameters": robustness,
          "detectors": dial,
          "when": partial(shared.when_table, dials=DIALS, words=pseudo_protocol, scores="pseudo-masks")}
