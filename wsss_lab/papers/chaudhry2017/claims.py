"""The claims of Chaudhry et al. 2017, each as the condition under which it counts as reproduced."""

from functools import partial

import numpy as np

from wsss_lab.evaluation.co_occurrence import extra_classes, false_positives
from wsss_lab.evaluation.confusion import divide, iou, nan_mean, precision_recall_of_labels
from wsss_lab.evaluation.intervals import image_values, ratio
from wsss_lab.evaluation.object_recall import object_recall
from wsss_lab.evaluation.precision_recall import HIT, TRUTH, WON, foreground_precision_at
from wsss_lab.evaluation.shapes import area_share, elongation, pieces, score_shapes
from wsss_lab.fusion.harmonic import MEANS
from wsss_lab.lab.steps import Output
from wsss_lab.measure.claims import (
    Claim,
    Condition,
    Decision,
    Sentence,
    Verdict,
    about_zero,
    above,
    against,
    agree,
    also,
    between,
    condition,
    every,
    holds,
    labels_learnt,
    on_splits,
    sentence,
    told,
    where_run,
)
from wsss_lab.measure.quantities import Derived, Leaf, Quantity, Results, cached, figure, joined, per_image_sums
from wsss_lab.papers.chaudhry2017 import tables
from wsss_lab.papers.chaudhry2017.route import Route, tuning_split
from wsss_lab.papers.chaudhry2017.tables import agreement, confusions, cue_confusions, cues, cues_miou, miou
from wsss_lab.papers.shared_tables import val_tags
from wsss_lab.seeds.attention import compare_with_cam

DCSP, VGG, LONGER, TWICE = "S3 + adapt", "VGG, S3 + adapt", "S3, longer", "S3 + adapt twice"
STANDS_OUT = 1.25  # times the median class: from here a class counts as thin or fragmented


# --- what only claims read --------------------------------------------------------------------------------------------

def compared_with_cam(route: Route) -> Output:
    """The largest differences between attention volumes and class activation maps on the trained network."""
    return route.step(compare_with_cam, "attention volumes against class activation maps", view="val",
                      state=route.attention()["state"], backbone=route.scale.main)["differences"]


def shapes(route: Route) -> Output:
    """How thin, fragmented and large the objects of each class are, of the final split."""
    split = route.split("final")
    return route.step(score_shapes, f"shapes of the objects on {split}", view=split)["counts"]


def classes(route: Route) -> Derived:
    return Derived(lambda: route.world.classes)


@cached
def false_alarms(source, name: str) -> Quantity:
    """Share of the background pixels that are labelled as objects."""
    return figure(name, source, ratio, false_positives)


@cached
def absent_classes(row: str) -> Quantity:
    """Absent classes that are predicted, per image."""
    return figure(f"absent classes per image, {row}", confusions(row), ratio,
                  lambda counts: image_values(extra_classes(counts).astype(float)), unit="")


@cached
def extent(pooling: str, of: str, level: float = 0.0) -> Quantity:
    """What attention above a level takes of images with one tag: of the "objects", or of the "image".

    With several tags the classes compete for pixels, so that what one class covers depends on the others' maps.
    level: 0 = the attention below which Algorithm 1 takes a pixel for background whatever its saliency,
        h(a, 1) >= gamma where a >= gamma / (2 - gamma)
    """

    def sums(counts: np.ndarray, tags: np.ndarray, gammas: np.ndarray) -> np.ndarray:
        threshold = level or gammas[0] / (2 - gammas[0])
        two = tables.at_threshold(counts, np.full(len(counts), threshold))[:, tags[0].sum(1) == 1]
        won = two[..., HIT, 1:, 1].sum(-1) if of == "objects" else two[..., WON, 1:, 1].sum(-1)
        return image_values(divide(won, two[..., TRUTH, 1 if of == "objects" else 0:, :].sum((-2, -1))))

    return figure(f"{pooling} pooling", (tables.attention("val", pooling), val_tags, tables.gamma), ratio, sums)


@cached
def precision_at_cues_recall(maps: str) -> Quantity:
    """Foreground precision at the recall of Algorithm 1's cues, on the training images."""
    source = agreement("harmonic") if maps == "Algorithm 1" else tables.attention("train")

    def per_seed(weights: np.ndarray, counts: np.ndarray, cued: np.ndarray) -> np.ndarray:
        level = float(precision_recall_of_labels(cued.sum(1)).foreground.recall.mean())
        precision = partial(foreground_precision_at, recall=level, interpolate=True)
        return per_image_sums(precision, lambda counts: counts)(weights, counts)

    return Quantity((Leaf((source, cue_confusions("S3")), per_seed, lambda counts, cued: counts.shape[1]),), maps)


@cached
def object_recall_gain(several: bool) -> Quantity:
    """Gain from S1 to S3 in pixel recall of the largest three objects, in images of several objects or of one."""

    def sums(first: np.ndarray, last: np.ndarray, number: np.ndarray) -> np.ndarray:
        chosen = (number[0] > 1) == several
        return np.stack([first, last], 2).sum(3) * chosen[None, :, None, None]  # (S, N, step, 2)

    def gained(summed: np.ndarray) -> np.ndarray:
        return ratio(summed)[..., 1] - ratio(summed)[..., 0]

    sources = tables.objects_found("S1"), tables.objects_found("S3"), tables.objects_found("S1", "objects")
    return figure("2 or more objects" if several else "one object", sources, gained, sums, unit="pp")


# --- sentences --------------------------------------------------------------------------------------------------------

def cue_quality(*rows: str) -> Sentence:
    return labels_learnt({row: (cues(row, "precision"), cues(row, "recall")) for row in rows})


@sentence(*(source for mean in MEANS for source in (agreement(mean, "tuning"), agreement(mean))))
def means_with_their_gammas(results: Results) -> str:
    listed = ", ".join(f"{mean} {tables.mean_of_maps(mean).value(results):.1f} % at gamma "
                       f"{tables.best_gammas(results.stack(agreement(mean, 'tuning'))).mean():.2f}" for mean in MEANS)
    return f"mIoU of the cues, gammas chosen on {tuning_split(results.run.profile)}: {listed}."


@sentence(val_tags, tables.gamma)
def what_extents_are(results: Results) -> str:
    one, level = (results.first(val_tags).sum(1) == 1).sum(), results.first(tables.gamma)
    return (f"Over {one} val images with one tag at an attention of {level / (2 - level):g}, the least that Algorithm 1"
            " accepts: the covered part of their objects, and the area of the image.")


@sentence(tables.objects_found("S1"), tables.objects_found("S1", "objects"))
def first_and_second_objects(results: Results) -> str:
    number, counts = results.first(tables.objects_found("S1", "objects")), results.stack(tables.objects_found("S1"))
    first, second = (100 * object_recall(counts[:, number > 1]).mean(0))[:2]
    return (f"{(number > 1).sum()} of {len(number)} val images have 2 or more objects; S1 finds {first:.1f} % of their "
            f"largest object and {second:.1f} % of the second.")


# --- claims that need a function --------------------------------------------------------------------------------------

ON_FINAL = [confusions(row, True, "final") for row in ("S1 + adapt", "S2 + adapt", DCSP)]


@condition(*ON_FINAL, shapes, classes)
def difficult_classes_stay_poor(claim: Claim, results: Results) -> Decision:
    """C17: for the classes whose objects are thin or in pieces by measure; not testable where no class stands out."""
    last, measured, names = results.stack(ON_FINAL[-1]), results.first(shapes), np.array(results.first(classes))
    facts = {"elongations are": elongation(measured), "pieces per image": pieces(measured)}
    chosen = np.any([values >= STANDS_OUT * np.nanmedian(values) for values in facts.values()], 0)
    spans = ", ".join(f"{what} {np.nanmin(values):.2f} to {np.nanmax(values):.2f} (median {np.nanmedian(values):.2f})"
                      for what, values in facts.items())
    said = (f"Thin or fragmented are classes with an elongation or a number of pieces of at least {STANDS_OUT:g} times "
            f"the median class; over the {results.route.split('final')} masks {spans}.")
    if not chosen.any():
        share = area_share(measured)
        small = share <= np.nanmedian(share) / STANDS_OUT
        return Decision(Verdict.NOT_TESTABLE, f"No class of this world is thin or fragmented. {said} " + (
            f"Small objects, at most {1 / STANDS_OUT:g} times the median class in area, are those of "
            f"{', '.join(names[small])}: {_miou_of(last, small):.1f} % IoU (the average class {_miou_of(last):.1f} %), "
            f"from S1 to S2 they gain {_gain_beyond(small).interval(results)} more than the average class."
            if small.any() else ""))
    lowest = np.argsort(iou(last.sum(1)).mean(0)[1:])[:chosen.sum()]
    true, poor, average = bool(chosen[lowest].all()), _miou_of(last, chosen), _miou_of(last)
    are_poor = Condition(lambda claim, results: holds(
        true, f"these classes are {'' if true else 'not '}the {chosen.sum()} with the lowest IoU",
        f"{', '.join(names[chosen])} {poor:.1f} % IoU, the average class {average:.1f} %", partly=poor < average,
        seeds=results.seeds))
    return told(every(are_poor, above(_gain_beyond(chosen))), said).decide(claim, results)


def _miou_of(counts: np.ndarray, chosen: np.ndarray | slice = slice(None)) -> float:
    """Mean IoU in per cent of all or chosen foreground classes, bool (C,), mean over the trainings."""
    return 100 * float(nan_mean(iou(counts.sum(1))[:, 1:][:, chosen]).mean())


def _gain_beyond(chosen: np.ndarray) -> Quantity:
    """How much more chosen classes gain from S1 to S2 than the average foreground class."""

    def lead(summed: np.ndarray) -> np.ndarray:
        each = iou(summed)[..., 1:]
        return nan_mean(each[..., chosen]) - nan_mean(each)

    first, second = (figure("", source, lead) for source in ON_FINAL[:2])
    return (second - first).called("gain from S1 to S2 beyond the average class")


# --- the claims -------------------------------------------------------------------------------------------------------

def erasings(split: str, times: float) -> tuple[Quantity, Quantity, Quantity]:
    """What the first and the second erasing add, adapted, with CRF; the first less some times the second's change."""
    s1, s2, s3 = (miou(row, True, split) for row in ("S1 + adapt", "S2 + adapt", DCSP))
    beyond = joined(lambda a, b, c: (b - a) - times * np.abs(c - b), "", s1, s2, s3)
    return s2 - s1, s3 - s2, beyond.called(f"the first erasing's gain less {times:g} times the second's change")


ADAPTED = {(row, crf): (miou(f"{row} + adapt", crf), miou(row, crf)) for row in ("S1", "S3") for crf in (False, True)}
OWN, THEIRS = miou(DCSP, True) - miou(DCSP), miou("G2", True) - miou("G2")

CLAIMS: dict[str, Condition] = {
    "C01": told(above(miou(DCSP, True) - miou("S1 + adapt", True), half=True), cue_quality(DCSP, "S1 + adapt"),
                against((miou(DCSP), miou("S1 + adapt")))),
    "C02": told(above(miou("S3") - miou("S1"), half=True), cue_quality("S3", "S1"),
                against((miou("S3", True), miou("S1", True)))),
    "C03": told(on_splits(lambda split: every(above(erasings(split, 1)[0], half=True), above(erasings(split, 1)[2]))),
                cue_quality("S2 + adapt", "S1 + adapt"), against((miou("S2 + adapt"), miou("S1 + adapt")))),
    "C04": on_splits(lambda split: every(about_zero(erasings(split, 3)[1]), above(erasings(split, 3)[2]))),
    "C05": told(every(above(miou(DCSP) - miou("S3"), half=True), where_run(above(miou(DCSP) - miou(LONGER)))),
                *(against(pair) for cell, pair in ADAPTED.items() if cell != ("S3", False))),
    "C06": told(every(above(false_alarms(cue_confusions(DCSP, 1), "cues before")
                            - false_alarms(cue_confusions(DCSP, 2), "after")),
                      above(false_alarms(confusions("S3"), "predictions before")
                            - false_alarms(confusions(DCSP), "after")),
                      above(absent_classes("S3") - absent_classes(DCSP))),
                "Background pixels labelled as objects, before and after adapting with S3.",
                also("With S1 the predictions have {} and {} %.", false_alarms(confusions("S1"), "before"),
                     false_alarms(confusions("S1 + adapt"), "after"))),
    "C07": told(above(miou(DCSP) - tables.direct("predicted"), half=True),
                also("With the image's own tags the direct combination reaches {} %.", tables.direct("known"))),
    "C08": every(above(THEIRS - OWN), between(OWN, high=2.5)),
    "C09": told(on_splits(lambda split: above(miou(DCSP, True, split) - miou("G2", True, split), half=True)),
                cue_quality(DCSP, "G2"), against((miou(DCSP), miou("G2")))),
    "C10": told(on_splits(lambda split: above(miou(VGG, True, split) - miou("VGG, G2", True, split), half=True)),
                cue_quality(VGG, "VGG, G2"), against((miou(DCSP, True), miou(VGG, True)))),
    "C11": told(every(*(between(tables.mean_of_maps("harmonic") - tables.mean_of_maps(other), low=0)
                        for other in ("geometric", "arithmetic"))),
                means_with_their_gammas,
                also("Networks that learn from them reach harmonic {}, geometric {}, arithmetic {} % on val (harmonic "
                     "with the paper's gamma).", *(miou(row) for row in tables.MEAN_ROWS.values()))),
    "C12": told(every(*(above(extent("average", of) - extent("max", of)) for of in ("objects", "image"))),
                what_extents_are,
                also("At 0.5 they differ by {} and {}.", *(extent("average", of, 0.5) - extent("max", of, 0.5)
                                                           for of in ("objects", "image")))),
    "C13": above(precision_at_cues_recall("Algorithm 1") - precision_at_cues_recall("attention")),
    "C14": told(above(object_recall_gain(True) - object_recall_gain(False)), first_and_second_objects),
    "C15": between(miou(TWICE) - miou(DCSP), high=0.5),
    "C16": told(above(cues_miou(DCSP, 2) - cues_miou(DCSP, 1)),
                also("Foreground precision/recall: initial {}/{}, adapted {}/{} %.", *(
                    cues(DCSP, which, round) for round in (1, 2) for which in ("precision", "recall")))),
    "C17": difficult_classes_stay_poor,
    "C18": agree(compared_with_cam, "maps less their bias, and scores,", "maps", "scores"),
}
