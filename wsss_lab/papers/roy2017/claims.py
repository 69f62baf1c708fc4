"""The claims of Roy & Todorovic 2017, each as the condition under which it counts as reproduced.

mIoU is compared on val and, where a profile has one with masks, on test; such a claim must hold on both. Attention is
that of the network of the full approach on val, for an image's tags, unless another training is named.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from wsss_lab.evaluation.co_occurrence import extra_classes, false_positives
from wsss_lab.evaluation.confusion import divide, iou, mean_iou, nan_mean
from wsss_lab.evaluation.intervals import correlation, image_values, rank_sums, ratio
from wsss_lab.evaluation.precision_recall import foreground_area, sweep
from wsss_lab.lab.published import published
from wsss_lab.measure.claims import (
    Claim,
    Condition,
    Decision,
    Sentence,
    Verdict,
    above,
    all_above,
    also,
    between,
    by_profile,
    condition,
    every,
    holds,
    labels_learnt,
    largest,
    not_testable,
    on_splits,
    ordered,
    sentence,
    told,
    where_run,
)
from wsss_lab.measure.quantities import (
    Leaf,
    Quantity,
    Results,
    Source,
    cached,
    figure,
    joined,
    per_image_sums,
    result,
)
from wsss_lab.papers.roy2017.route import BASELINES, ITERATIONS, PARENTS, UNACTIVATED, Route, labelled_rows
from wsss_lab.papers.roy2017.tables import (
    BOUND,
    COMPETITOR,
    FULL,
    classified,
    confusions,
    miou,
    predicted_classes,
    quality,
    scores,
)
from wsss_lab.papers.shared_tables import LABEL_QUALITY, val_tags
from wsss_lab.seeds.top_down import Attention

NO_ATTENTION, NO_LOSS, NO_UNARY = "w/o att", "w/o seg loss", "w/o att unary"
NO_NEIGHBOUR, NEIGHBOURS_ALONE = "w/o neighbor", "parents and neighbours"  # both trained without alpha (Eq. 7)
NO_CRF, NO_INFERENCE, IMAGE_PRIOR = "w/o CRF-RNN", "w/o att inference", "image-level prior"
NAMES = {None: "with neighbours", PARENTS: "parents alone", UNACTIVATED: "with neighbours, without own activation"}
MISSED = 0.1  # of an object's pixels; below it counts as missed

# --- what only claims read --------------------------------------------------------------------------------------------

BEFORE_CRF = figure("before the dense CRF", result(
    "confusions", lambda route, row: route.score(route.prediction(row)), NO_CRF), mean_iou)
SEEDS_OF_COMPETITOR = tuple(figure("seeds", result(
    "confusions", lambda route, name: route.score(route.lessons(name), "train"), COMPETITOR), LABEL_QUALITY[which])
    for which in ("precision", "recall"))


@cached
def wrong(row: str) -> Quantity:
    """The share of the background that is labelled as an object."""
    return figure(row, confusions(row), ratio, false_positives)


@cached
def extra(row: str) -> Quantity:
    """Classes per image that are predicted but not there."""
    return figure(row, confusions(row), ratio, lambda counts: image_values(extra_classes(counts) * 1.0), unit="")


@cached
def won(split: str) -> Quantity:
    """The share of the classes, background among them, on which the full approach is above the competitor."""

    def share(both: np.ndarray) -> np.ndarray:  # (R, 2, K, K + 1) -> (R,)
        ours, theirs = np.moveaxis(iou(both), 1, 0)
        return divide((ours > theirs).sum(-1), (~np.isnan(ours + theirs)).sum(-1))

    return figure(f"classes on which {FULL} is best", (confusions(FULL, split), confusions(COMPETITOR, split)),
                  share, lambda *both: np.stack(both, 2))


@cached
def agreement(split: str) -> Quantity:
    """Spearman's correlation of the mIoU of Table 1's rows with the printed ones."""

    def with_printed(*values: np.ndarray) -> np.ndarray:
        from scipy.stats import rankdata

        ours, theirs = (rankdata(each, axis=-1) - (len(values) + 1) / 2
                        for each in (np.stack(values, -1), printed(split)))
        return divide((ours * theirs).sum(-1), np.sqrt((ours**2).sum(-1) * (theirs**2).sum()))

    rows = [miou(row, split) for row in BASELINES]
    return joined(with_printed, "rank correlation with the printed order", *rows, unit="")


def printed(split: str) -> np.ndarray:
    """mIoU of Table 1 in the order of BASELINES, as printed."""
    return published("roy2017", "table1")[f"{split}_miou_pct"].to_numpy(float)


def counts(how: Attention | None) -> Source:
    """Confidence counts of attention: (N, 3, K, bins), see `score_attention`."""
    return result("counts", Route.score_attention, how)


def at_half(curve: np.ndarray) -> np.ndarray:
    """The value at the threshold 1/2, the middle one: (..., T) -> (...)."""
    return curve[..., curve.shape[-1] // 2]


@cached
def attention(how: Attention | None, which: str) -> Quantity:
    """mIoU of attention taken for labels, cut at one "half" or, for each training, where it is "best" on these images;
    or "area" under its precision-recall curve."""
    return figure(NAMES[how], counts(how), {
        "half": lambda summed: at_half(sweep(summed).mean_iou),
        "best": lambda summed: sweep(summed).mean_iou.max(-1), "area": foreground_area}[which])


@cached
def variation(how: Attention | None, relative: bool = False) -> Quantity:
    """Total variation per pair of neighbouring pixels inside of objects, mean over the images; relative: over the mean
    attention on the objects of the image."""

    def per_image(inside: np.ndarray) -> np.ndarray:
        change, pairs, attention, pixels = np.moveaxis(inside, -1, 0)
        return image_values(divide(change * pixels, pairs * attention) if relative else divide(change, pairs))

    return figure(NAMES[how], result("inside", Route.score_attention, how), ratio, per_image)


@cached
def covered(how: Attention | None) -> Quantity:
    """The largest foreground recall of all thresholds with at least the precision of `level`, 0 without any."""

    def recall(summed: np.ndarray, least: float) -> np.ndarray:
        curve = sweep(summed).foreground
        return np.where(curve.precision >= least, curve.recall, 0).max(-1)

    def per_seed(weights: np.ndarray, own: np.ndarray, parents: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return per_image_sums(partial(recall, least=level(own, parents)), lambda counts: counts)(weights, counts)

    sources = tuple(counts(each) for each in (None, PARENTS, how))
    return Quantity((Leaf(sources, per_seed, lambda *arrays: arrays[0].shape[1]),), NAMES[how])


def level(*both: np.ndarray) -> float:
    """The lower foreground precision where attention is at least one half: counts (S, N, 3, K, bins) of each."""
    return min(float(nan_mean(at_half(sweep(each.sum(1)).precision[:, 1:])).mean()) for each in both)


def times(name: str, over: list[int], under: list[int]) -> Quantity:
    """How many times as long something takes: the median over the repeats of each training. over, under: columns of
    `attention_seconds`, added up."""

    def per_seed(weights: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        return np.tile(np.median(seconds[..., over].sum(-1) / seconds[..., under].sum(-1), 1), (len(weights), 1))

    return Quantity((Leaf((result("seconds", Route.attention_time),), per_seed, lambda each: each.shape[1]),), name, "")


_NETWORK, _SIMILARITY, _PASS, _OWN, _PARENTS = range(5)  # columns of `attention_seconds`
TIMES = [
    times("attention with neighbours against parents alone, times as long", [_SIMILARITY, _PASS], [_PARENTS]),
    times("the pass alone, for which similarity is known", [_PASS], [_PARENTS]),
    times("against own activation without neighbours", [_SIMILARITY, _PASS], [_OWN]),
    times("network and attention together", [_NETWORK, _SIMILARITY, _PASS], [_NETWORK, _PARENTS]),
]


PREDICTED, OBJECTS, TOUCHING, TOUCHED = range(4)  # columns of `count_pieces`


@cached
def pieces(row: str, of: int, per: int, unit: str = "") -> Quantity:
    """One of these counts over another one."""
    return figure(row, result("counts", Route.pieces, row), lambda counts: ratio(counts[..., [of, per]]), unit=unit)


def fact(name: str) -> Source:
    """Of the M objects of val, see `score_each_object`."""
    return result(name, Route.objects)


def over_images(sums: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Sums of objects (S, M, ...) added up to sums of images (S, N, ...); image: (M,), index of each object's image."""
    return np.einsum("mn,sm...->sn...", image[:, None] == np.arange(image.max() + 1), sums)


GROUPS = {
    "found": lambda area, recall: recall >= MISSED, "missed": lambda area, recall: recall < MISSED,
    "smaller": lambda area, recall: area <= np.median(area), "larger": lambda area, recall: area > np.median(area),
}  # fmt: skip


@cached
def of_objects(groups: str, fact_name: str, *more: Source,
               value: Callable[..., np.ndarray] = lambda image, values: values) -> Quantity:
    """A mean over the objects of all named GROUPS. value: from the objects' images and what is read to (S, M)."""

    def sums(image: np.ndarray, area: np.ndarray, recall: np.ndarray, *known: np.ndarray) -> np.ndarray:
        chosen = np.logical_and.reduce([GROUPS[name](area, recall) for name in groups.split()])
        return over_images(image_values(np.where(chosen, value(image[0], *known), np.nan)), image[0])

    return figure(groups, (*map(fact, ("image", "area", "recall", fact_name)), *more), ratio, sums)


def named(groups: str) -> Quantity:
    """How many of the objects are of classes that the network, without tags, predicts for their images."""
    return of_objects(groups, "label", scores(FULL), value=lambda image, label, scores:
                      predicted_classes(scores)[:, image, label[0] - 1])


RANKS = figure("rank correlation of recall with area", tuple(map(fact, ("image", "area", "recall"))), correlation,
               lambda image, area, recall: over_images(rank_sums(area[0], recall), image[0]), unit="")

# --- sentences --------------------------------------------------------------------------------------------------------

def of_labels(*rows: str) -> Sentence:
    """What the labels of rows find and what of it is right."""
    return labels_learnt({row: (quality(row, "precision"), quality(row, "recall")) for row in rows},
                         "Foreground precision/recall on val")


def classifiers(*rows: str) -> Sentence:
    """How well the networks of rows name the classes of val images."""

    @sentence(val_tags, *map(scores, rows), *map(classified, rows))
    def listed(results: Results) -> str:
        tags, texts = results.first(val_tags), []
        for row in rows:
            named = predicted_classes(results.stack(scores(row)))  # (S, N, C)
            right, all_tags = 100 * (named & tags).sum(), len(named) * tags.sum()
            precision, recall = divide(right, named.sum()), divide(right, all_tags)
            texts.append(f"{row} {classified(row).value(results):.1f} and {precision:.0f}/{recall:.0f}")
        return ("Mean average precision of p(y|x) on val, and precision/recall of the classes that get attention: "
                f"{', '.join(texts)} %.")

    return listed


def classes_won(split: str) -> Sentence:
    """On how many classes the full approach is best, by IoU over all trainings, and the others."""

    @sentence(confusions(FULL, split), confusions(COMPETITOR, split))
    def listed(results: Results) -> str:
        ours, theirs = (100 * iou(results.stack(confusions(row, split)).sum(1)).mean(0) for row in (FULL, COMPETITOR))
        known, best = ~np.isnan(ours + theirs), ours > theirs
        lost = [f"{name} {a:.1f} against {b:.1f}" for name, a, b, compared in
                zip(("background", *results.route.world.classes), ours, theirs, known & ~best, strict=True) if compared]
        return f"On {split} it is best on {best.sum()} of {known.sum()}" + (
            f" (not on {', '.join(lost)} %)." if lost else ".")

    return listed


@sentence(counts(None), counts(PARENTS))
def compared_at(results: Results) -> str:
    found = 100 * level(results.stack(counts(None)), results.stack(counts(PARENTS)))
    return f"Recall is that at {found:.1f} % precision, the lower of both where p^A is at least one half."


@sentence(fact("recall"))
def number_missed(results: Results) -> str:
    recall = results.stack(fact("recall"))
    return (f"Missed are objects of which less than {100 * MISSED:g} % are found, {100 * (recall < MISSED).mean():.0f} "
            f"% of {recall.shape[1]} objects.")


ATTENTION_ALONE = also("Attention of the full approach alone, with the image's tags and cut at one half, has {} % on "
                       "val, with its best cut {}.", attention(None, "half"), attention(None, "best"))
ABOUT_THE_COMPETITOR = (f"{COMPETITOR} is a DeepLab trained on sparse seeds and a constrain-to-boundary loss, as SEC "
                        "is, with the same start weights and trunk, without SEC's expansion loss and its saliency.")

# --- conditions -------------------------------------------------------------------------------------------------------

def changed(condition: Condition, change: Callable[[Decision], Decision]) -> Condition:
    """A condition whose decision is put in another way."""
    return replace(condition, decide=lambda claim, results: change(condition.decide(claim, results)))


def noted(name: str, condition: Condition) -> Condition:
    """The condition with a name before its figures."""
    return changed(condition, lambda found: replace(found, measured=found.measured and f"{name}: {found.measured}"))


def named_splits(condition: Callable[[str], Condition]) -> Condition:
    """A condition on val, and on test where there are masks of it, with their names."""
    return on_splits(lambda split: noted(split, condition(split)))


def in_part(condition: Condition) -> Condition:
    """A condition for the whole of a claim whose other conditions say less: where it clearly fails, these are left."""
    return changed(condition, lambda found: replace(found, verdict=Verdict.DIRECTION_ONLY) if
                   found.verdict == Verdict.NOT_REPRODUCED else found)


def better_than(row: str, *sentences: Sentence) -> Condition:
    """The full approach against a baseline, with half of the published size."""
    return told(named_splits(lambda split: above(miou(FULL, split) - miou(row, split), half=True)),
                of_labels(FULL, row), *sentences)


def worst(split: str) -> Condition:
    """That no other of the profile's baselines is as bad as the one without attention."""
    differences = {row: miou(row, split) - miou(NO_ATTENTION, split) for row in BASELINES if row != NO_ATTENTION}
    return by_profile(lambda profile: all_above({each.name: each for row, each in differences.items() if row in
                                                 labelled_rows(profile)}, f"the other rows to '{NO_ATTENTION}'"))


def among_the_two_worst(split: str) -> Condition:
    """That at most one row is worse than the one without segmentation loss, that without attention apart."""
    differences = [miou(row, split) - miou(NO_LOSS, split) for row in BASELINES if row not in (NO_ATTENTION, NO_LOSS)]

    @condition(*differences)
    def decide(claim: Claim, results: Results) -> Decision:
        found = [each.interval(results) for each in differences]
        over, under = sum(each.low > 0 for each in found), sum(each.high < 0 for each in found)
        among = True if over >= len(found) - 1 else False if under > 1 else None
        return holds(among, f"of the other {len(found)} rows {over} are clearly above '{NO_LOSS}' and {under} below it "
                            "(asked: at most one not above)", seeds=found[0].seeds)

    return decide


def order(split: str) -> Condition:
    """C07: the correlation decides on which rows do more damage; what it allows to be otherwise, the others."""
    return every(between(agreement(split), low=0.75), *map(in_part, (
        largest(FULL, {row: miou(row, split) for row in BASELINES}), worst(split), among_the_two_worst(split))))


def aggregations(split: str) -> Condition:
    """C09: FCL above each of the others, LSE by half of the published size; in part, their order."""
    rows = {"FCL": miou(FULL, split).called("FCL"), **{name: miou(name, split) for name in ("LSE", "GMP", "GAP")}}
    return every(above(rows["FCL"] - rows["LSE"], half=True), largest("FCL", rows),
                 in_part(ordered("LSE > GMP > GAP", rows)))


def smoother_and_wider(how: Attention | None) -> Condition:
    """C12: attention with neighbours against that of parents alone in the same network; weaker isn't smoother."""
    return every(*(noted(name, above(quantity)) for name, quantity in (
        ("total variation in % per pixel", variation(PARENTS) - variation(how)),
        ("the same relative to p^A", variation(PARENTS, True) - variation(how, True)),
        ("recall", covered(how) - covered(PARENTS)))))


MORE_PIECES = pieces(NO_UNARY, TOUCHING, TOUCHED) - pieces(FULL, TOUCHING, TOUCHED)
HALVES = [of_objects(group, "recall") for group in ("smaller", "larger")]
FEWER_WRONG = {row: wrong(row) - wrong(FULL) for row in (IMAGE_PRIOR, NO_INFERENCE)}

CLAIMS: dict[str, Condition] = {
    "C01": every(better_than(NO_ATTENTION, ATTENTION_ALONE), named_splits(lambda split: in_part(worst(split)))),
    "C02": better_than(NO_LOSS, classifiers(FULL, NO_LOSS)),
    "C03": better_than(NO_UNARY, also(f"Both use attention in training; without it at inference alone the row "
                                      f"'{NO_INFERENCE}' has {{}} % on val.", miou(NO_INFERENCE))),
    "C04": told(every(better_than(NO_NEIGHBOUR), where_run(noted(
        "val, both without own activation", above(miou(NEIGHBOURS_ALONE) - miou(NO_NEIGHBOUR))))),
                f"'{NO_NEIGHBOUR}' leaves out the neurons' own activation (Eq. 7) too.",
                also("Attention of the full approach alone, with the image's tags and its best cut, has {} % on val, "
                     "that of parents alone in the same network {}.",
                     *(attention(how, "best") for how in (None, PARENTS)))),
    "C05": better_than(NO_CRF, also(
        f"The dense CRF takes '{NO_CRF}' from {{}} to {{}} % on val ({{}}), the CRF-RNN the full approach from {{}} to "
        "{} % ({}).", BEFORE_CRF, miou(NO_CRF), miou(NO_CRF) - BEFORE_CRF, miou("0 iterations"), miou(FULL),
        miou(FULL) - miou("0 iterations"))),
    "C06": better_than(NO_INFERENCE, ATTENTION_ALONE),
    "C07": named_splits(order),
    "C08": told(every(*(named_splits(lambda split, row=row: above(miou(FULL, split) - miou(row, split)))
                        for row in (NO_LOSS, NO_UNARY))),
                f"Attention in the unary alone is '{NO_LOSS}', in the loss alone '{NO_UNARY}', in neither "
                f"'{NO_ATTENTION}'.",
                also(f"Against neither on val: {NO_LOSS} {{}}, {NO_UNARY} {{}}.",
                     *(miou(row) - miou(NO_ATTENTION) for row in (NO_LOSS, NO_UNARY)))),
    "C09": told(named_splits(aggregations), "The full approach has FCL.", classifiers(FULL, "GMP", "GAP", "LSE")),
    "C10": told(named_splits(lambda split: above(miou(FULL, split) - miou(COMPETITOR, split))), ABOUT_THE_COMPETITOR,
                labels_learnt({"": SEEDS_OF_COMPETITOR}, "Foreground precision/recall of its seeds on train"),
                also("The same DeepLab taught by the masks has {} % on val.", miou(BOUND)),
                "The other methods of Tables 2 and 3, F-B and DSCM among them, are not run here."),
    "C11": not_testable("The rule says that this can't be transferred without running methods with boxes, clicks, "
                        "sizes or chosen masks, and none of them is run here."),
    "C12": told(every(smoother_and_wider(None), noted("neighbours without own activation",
                                                      smoother_and_wider(UNACTIVATED))),
                "p^A of one network without its neighbours is that of parents alone, as in excitation "
                "back-propagation; the neurons' own activation (Eq. 7) comes with neighbours in the paper, and is left "
                "out in the second comparison. Total variation is the mean change of a class's p^A between "
                "neighbouring pixels of an object.", compared_at,
                also("The area under the precision-recall curve is {} and {} %, {}.", attention(None, "area"),
                     attention(PARENTS, "area"), attention(None, "area") - attention(PARENTS, "area"))),
    "C13": told(between(TIMES[0], high=1.5),
                "Against parents alone, as in excitation back-propagation; both passes run the layers above the end of "
                "attention again.", also("Other ratios: " + "; ".join(f"{each.name} {{}}" for each in TIMES[1:]) + ".",
                                         *TIMES[1:]),
                "They depend on the machine and the network: to pass through a layer of c channels, n cells and 3 x 3 "
                "kernels takes 9 n c^2 multiplications a label, to join its neighbours c n^2."),
    "C14": told(every(*(between(miou(f"{count} iterations") - miou(FULL), high=0.5) for count in ITERATIONS
                        if count > 3)), "It is trained with 3; other numbers are those at inference.",
                also("Fewer: 0 iterations {}, 1 iteration {}, 2 iterations {} %.",
                     *(miou(f"{count} iterations") for count in ITERATIONS if count < 3))),
    "C15": told(above(MORE_PIECES),
                "Pieces of an object's class that touch it, per object that is touched at all: a network that finds "
                "less has fewer pieces in all.",
                also(f"Touched are {{}} % of the objects by '{FULL}', {{}} % by '{NO_UNARY}' and {{}} % by "
                     f"'{NO_INFERENCE}', the same network as full, which has {{}} pieces, {{}} against full.",
                     *(pieces(row, TOUCHED, OBJECTS, "%") for row in (FULL, NO_UNARY, NO_INFERENCE)),
                     pieces(NO_INFERENCE, TOUCHING, TOUCHED),
                     pieces(NO_INFERENCE, TOUCHING, TOUCHED) - pieces(FULL, TOUCHING, TOUCHED)),
                also(f"Predicted pieces per object, touched or not: {FULL} {{}}, {NO_UNARY} {{}}, {NO_INFERENCE} {{}}.",
                     *(pieces(row, PREDICTED, OBJECTS) for row in (FULL, NO_UNARY, NO_INFERENCE)))),
    "C16": told(every(noted("mIoU", above(miou(FULL) - miou(IMAGE_PRIOR))),
                      *(noted("false positives in % of the background", above(each)) for each in FEWER_WRONG.values())),
                f"p^A is the prior of '{FULL}', p(y|x) that of '{IMAGE_PRIOR}', and '{NO_INFERENCE}' has none.",
                also("Without any mIoU is {} %, with p(y|x) {} higher.", miou(NO_INFERENCE),
                     miou(IMAGE_PRIOR) - miou(NO_INFERENCE)),
                also("Absent classes per image: {} with p^A, {} with p(y|x).", extra(FULL), extra(IMAGE_PRIOR)),
                "The network was trained with p^A in its unary.", of_labels(FULL, IMAGE_PRIOR, NO_INFERENCE)),
    "C17": told(named_splits(lambda split: between(won(split), low=50)),
                f"The one competitor run here is {COMPETITOR}.", ABOUT_THE_COMPETITOR,
                *map(classes_won, ("val", "test"))),
    "C18": told(every(above(RANKS), noted("largest p^A on objects", above(
        of_objects("smaller found", "attention") - of_objects("smaller missed", "attention")))), number_missed,
                also("Mean recall of the smaller half {} %, of the larger {}, {}.", *HALVES, HALVES[1] - HALVES[0]),
                also("Largest p^A on all objects found {} %, on all missed {}.",
                     *(of_objects(group, "attention") for group in ("found", "missed"))),
                "p^A is relative to the largest attention that a class gets in its image.",
                also("The network, without tags, names the class of {} % of the objects found and of {} % of those "
                     "missed; what it doesn't name gets no attention.", named("found"), named("missed")),
                "Whether an object looks unusual isn't measured."),
}  # fmt: skip
