"""The claims of Lee et al. 2021 (EPS), each as the condition under which it counts as reproduced.

EPS is the row "adaptive"; pseudo-masks are those of training images, tags known. Segmenters see no tags.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from types import ModuleType
from typing import Any

import numpy as np

from wsss_lab.evaluation.confusion import divide, iou, mean_iou, nan_mean
from wsss_lab.evaluation.intervals import correlation, rank_sums
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.lab.profiles import has_test, profile_named, scales_as
from wsss_lab.lab.steps import Step
from wsss_lab.measure.claims import (
    Claim,
    Condition,
    Decision,
    Sentence,
    above,
    all_above,
    all_positive,
    also,
    between,
    by_profile,
    condition,
    every,
    holds,
    jointly,
    largest,
    sentence,
    told,
    where_run,
)
from wsss_lab.measure.quantities import NotMeasured, Quantity, Results, Source, best, cached, figure
from wsss_lab.papers.araslanov2020 import route as araslanov2020
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.lee2021 import tables
from wsss_lab.papers.lee2021.route import DETECTORS, SCALES, TAUGHT, Route, detector_row, share_row, tau_row, taught
from wsss_lab.papers.lee2021.tables import AFFINITY, CAM, EPS, Pair, confused, confusions, pseudo, segmented, shown
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.seeds.localisation import BACKGROUND

UNSUPERVISED = detector_row("unsupervised")
V1_VGG, V2_VGG, V1_RESNET, V2_RESNET = "V1, VGG16", "V2, VGG16", "V1, ResNet101", "V2, ResNet101"
OTHERS = {V1_VGG: (CAM, "CAM + AffinityNet"), V1_RESNET: (CAM, "G2")}  # what else teaches these segmenters
SUPERVISED = ("G2", "DCSP")  # methods with the saliency of a trained detector
LOWEST = 0.25  # share of the classes, from below, that saliency ignores
LEARNED = "With the learned background map instead of the constant score"
MANY, MANY_MASKS = ([make(row) for row in (EPS, CAM)] for make in (
    lambda row: segmented(row, V2_VGG, many=True), lambda row: pseudo(row, many=True)))


# --- other papers, and what only claims read --------------------------------------------------------------------------

#: Segmenters of other notebooks, no CRF, by ours of the same backbone: the paper, and from route and split to labels.
ELSEWHERE: dict[str, dict[str, tuple[ModuleType, Callable[[Any, str], Step]]]] = {
    V1_VGG: {"G2 of Oh et al.": (oh2017, lambda other, split: other.prediction(other.trained("G2"), split=split)),
             "DCSP": (chaudhry2017, lambda other, split: other.prediction("VGG, S3 + adapt", split=split))},
    V1_RESNET: {"DCSP": (chaudhry2017, lambda other, split: other.prediction("S3 + adapt", split=split)),
                "two stages": (araslanov2020, lambda other, split: other.second_labels(split=split))},
}


def compares(profile: str) -> bool:
    """Whether a profile compares with rows of other papers' notebooks: on drawn worlds."""
    return profile_named(profile).world == "toyvoc"


@cached
def routes_of(paper: ModuleType, *how: Any) -> list:
    return paper.routes(*how)


def theirs(paper: ModuleType, make: Callable[[Any], Step], split: str) -> Source:
    """Confusions of labels that another paper's route makes of the same world, where they are no large extra."""

    def source(route: Route) -> Any:
        if not compares(route.profile):
            raise NotMeasured(f"profile {route.profile} compares with no other notebook")
        other = routes_of(paper, route.profile, route.seed + 1, route.world.seed)[route.seed]
        return other.score(make(other), split)["confusions"]

    return source


@cached
def elsewhere(name: str, net: str, split: str) -> Quantity:
    paper, make = ELSEWHERE[net][name]
    return figure(name + " on test" * (split == "test"), theirs(paper, lambda other: make(other, split), split),
                  mean_iou)


def splits(profile: str) -> tuple[str, ...]:
    """The splits of claims on val and test: both, or val where a profile has no other with masks."""
    return ("val", "test") if has_test(profile) else ("val",)


def rivals(net: str, split: str, profile: str) -> dict[str, Quantity]:
    """Methods without EPS: those that teach a segmenter, and other papers' with its backbone."""
    own = {labels: segmented(labels, net, split) for labels in OTHERS[net]}
    return own | {name: elsewhere(name, net, split) for name in ELSEWHERE[net] if compares(profile)}


#: mIoU of other papers' labels, no CRF, on the images whose pseudo-masks are scored, the first of the training images.
LABELS = {name: figure(name, [theirs(paper, make, "train"), confusions(EPS)], mean_iou,
                       lambda whole, ours: whole[:, :ours.shape[1]])
          for name, (paper, make) in {
              "cues of DCSP": (chaudhry2017, lambda other: other.cues_of("S3 + adapt")),
              "single stage": (araslanov2020, lambda other: other.prediction("ours", "train", "known"))}.items()}


def one_tag(tags: np.ndarray) -> np.ndarray:
    """Which images have one tag: bool (N,), of tags (S, N, C)."""
    one = tags[0].sum(1) == 1
    if not one.any():
        raise NotMeasured("every image has several tags")
    return one


def labelled_by_saliency(salient: np.ndarray, tags: np.ndarray) -> np.ndarray:
    """Confusions of the salient pixels under an image's one tag, and background elsewhere, on images with one tag.

    salient: confusions (S, N, K, K + 1) of `covered`. tags: bool (S, N, C). Returns (S, n, K, K + 1).
    """
    one = one_tag(tags)
    labelled = np.zeros_like(salient[:, one])
    labelled[..., 0] = salient[:, one][..., 0]
    labelled[..., 1:-1] = salient[:, one][..., 1:2] * tags[0][one][:, None]
    return labelled


SALIENCY_ALONE = figure("saliency under the one tag", [tables.covered, tables.scored_tags], mean_iou,
                        labelled_by_saliency)
ON_ONE_TAG = {row: figure(f"{shown(row)} on images with one tag", [confusions(row), tables.scored_tags], mean_iou,
                          lambda matrices, tags: matrices[:, one_tag(tags)]) for row in (EPS, CAM)}


@cached
def follows(fact: str, words: str, sign: int) -> Quantity:
    """Rank correlation of an image's IoU with a fact of route.objects times `sign`, on the world of many objects."""
    return figure(f"rank correlation of IoU with {words}", [*MANY[0].sources, tables.objects(fact)], correlation,
                  lambda matrices, facts: rank_sums(sign * facts[0].astype(float), image_iou(matrices)), unit="")


def image_iou(matrices: np.ndarray) -> np.ndarray:
    """Mean IoU of the classes that an image shows, background left out: (..., K, K + 1) -> (...), nan without any."""
    shows = matrices[..., 1:, :].sum(-1) > 0
    return nan_mean(np.where(shows, iou(matrices)[..., 1:], np.nan))


# --- conditions that several claims share -----------------------------------------------------------------------------

def at_most(high: float, differences: Mapping[str, Quantity]) -> Condition:
    """Differences of which none exceeds `high`, interval included; the largest is shown."""
    parts = [between(each, high=high) for each in differences.values()]

    def decide(claim: Claim, results: Results) -> Decision:
        name = max(differences, key=lambda each: differences[each].value(results))
        known = differences[name].interval(results)
        return replace(jointly(part.decide(claim, results) for part in parts), interval=known.ends,
                       measured=f"largest: {name} {known.number(known.mean)}")

    return Condition(decide, tuple(dict.fromkeys(source for part in parts for source in part.reads)))


def apart(quantities: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """All differences of quantities, of both signs."""
    return {f"{a} - {b}": quantities[a] - quantities[b] for a, b in permutations(quantities, 2)}


def listed(text: str, quantities: Mapping[str, Quantity], *more: Quantity) -> Sentence:
    """A sentence with names and figures in the place of its first {}; more: what fills the others."""
    return also(text.replace("{}", ", ".join(f"{name} {{}}" for name in quantities), 1), *quantities.values(), *more)


# --- surroundings: C02 to C04 -----------------------------------------------------------------------------------------

def over_pairs(condition_of: Callable[[list[Pair], list[str]], Condition], *methods: str) -> Condition:
    """A condition on the pairs of a world and on methods of `contexts`, AffinityNet too where a profile has it."""
    counts = ("false", "present", "confusions")
    reads = [tables.scored_view, tables.scored_tags, tables.contexts(CAM, "known")]
    reads += [tables.contexts(method, name) for method in (CAM, *methods) for name in counts]

    def decide(claim: Claim, results: Results) -> Decision:
        known = [*methods, AFFINITY] if SCALES[scales_as(results.run.profile)].affinity else [*methods]
        return condition_of(tables.pairs_of(results.first), known).decide(claim, results)

    return Condition(decide, tuple(reads), tuple(tables.contexts(AFFINITY, name) for name in counts))


def ratios(pairs: list[Pair], methods: Sequence[str]) -> Sentence:
    """Confusion ratios of each pair by each method, as in "boat on water CAM 0.74, EPS 0.10"."""
    return Sentence(lambda results: "Confusion ratios: " + "; ".join(f"{pair.name} " + ", ".join(
        f"{shown(method)} {confused(method, pair).value(results):.2f}" for method in methods) for pair in pairs) + ".")


def more_confused(pairs: list[Pair], methods: Sequence[str], other: str) -> dict[str, Quantity]:
    """The confusion ratio of each pair by each method less that by another one."""
    return {f"{pair.name}, {shown(method)} - {shown(other)}": confused(method, pair) - confused(other, pair)
            for pair in pairs for method in methods if method != other}


def confuses_least(pairs: list[Pair], methods: list[str]) -> Condition:
    """C02: less than CAM, and than CAM after AffinityNet where that is run."""
    return told(all_above(more_confused(pairs, methods, EPS), "the confusion ratio between others and EPS"),
                ratios(pairs, methods), "Not run here: SEAM, ICD, SGAN.")


def segments_the_target_better(pairs: list[Pair], methods: list[str]) -> Condition:
    """C03: "much" is half of the least printed gain, "at equal confusion" that EPS doesn't confuse more than CAM."""
    gains = [above(tables.target(EPS, pair) - tables.target(CAM, pair), half=6.35) for pair in pairs]
    return told(every(*gains, at_most(0.05, more_confused(pairs, [EPS], CAM))), ratios(pairs, methods),
                "Not run here: SGAN.")


def expansion_confuses_more(pairs: list[Pair], methods: list[str]) -> Condition:
    """C04: the expansion method is CAM with half of its background score."""
    cues = "; CAM + AffinityNet is an expansion with cues for boundaries" * (AFFINITY in methods)
    more = more_confused(pairs, [tables.EXPANDED], CAM)
    return told(all_above(more, "the confusion ratio between expanded CAM and CAM"),
                f"CAM expands with a background score of {tables.LOW_BACKGROUND:g} instead of {BACKGROUND:g}{cues}.",
                ratios(pairs, methods), "Not run here: SEAM.")


# --- map selection and its parameters: C05 to C07, C17, C18 -----------------------------------------------------------

STRATEGIES, LEARNED_STRATEGIES = ({row: pseudo(row, output) for row in lee2021.STRATEGY_ROWS}
                                  for output in ("masks", "learned"))


@sentence(tables.curves(EPS))
def tags_selected(results: Results) -> str:
    return (f"At the end of its training the adaptive strategy counts {tables.selected_tags(results, EPS):.0f} % of "
            "the tags with the foreground, the naive one all of them.")


def named(results: Results, chosen: np.ndarray) -> str:
    """Names of chosen classes, bool (C,)."""
    return ", ".join(np.array(results.first(tables.scored_view).classes)[chosen])


def gains_on(results: Results, worse: str, chosen: np.ndarray, output: str = "masks") -> list[Quantity]:
    """What EPS gains over a row on chosen classes, bool (C,), and on the others."""
    return [tables.of_classes(EPS, tuple(each), name, output) - tables.of_classes(worse, tuple(each), name, output)
            for each, name in ((chosen, named(results, chosen)), (~chosen, "the others"))]


def by_classes(results: Results, worse: str, chosen: np.ndarray) -> str:
    """Sentences on what EPS gains over a row on chosen classes, bool (C,), and on the others."""
    plain, learned = ([each.interval(results) for each in gains_on(results, worse, chosen, output)]
                      for output in ("masks", "learned"))
    text = f"on {named(results, chosen)} {{}}, on the others {{}}."
    return f"Gains: {text.format(*plain)} {LEARNED}: {text.format(*learned)}"


def class_reads(worse: str) -> tuple[Source, ...]:
    return tables.scored_view, *(confusions(row, output) for row in (EPS, worse) for output in ("masks", "learned"))


@condition(tables.covered, *class_reads("naive"))
def ignored_classes_gain(claim: Claim, results: Results) -> Decision:
    """C06: the quarter of the classes of which least is salient gain, and more than the others."""
    pooled = results.stack(tables.covered).sum(1)[:, 1:]
    salient = divide(pooled[..., 1], pooled.sum(-1)).mean(0)  # share of each class
    lowest = np.isin(np.arange(len(salient)),
                     np.argsort(salient)[:max(1, round(LOWEST * np.isfinite(salient).sum()))])
    own, others = gains_on(results, "naive", lowest)
    parts = [100 * nan_mean(salient[chosen]) for chosen in (lowest, ~lowest)]
    return told(every(above(own), above((own - others).called(f"more on {named(results, lowest)}", "pp"))),
                f"Of these classes {parts[0]:.0f} % of the pixels are salient, of the others {parts[1]:.0f} %. "
                f"{by_classes(results, 'naive', lowest)}").decide(claim, results)


@sentence(*class_reads("pre-defined"))
def reserved_classes(results: Results) -> str:
    """Where the choice per image differs from the list."""
    chosen = np.isin(np.arange(len(results.first(tables.scored_view).classes)),
                     results.route.selection("pre-defined")["reserved"])
    if not chosen.any():
        return "No class of this world is in the list, so that the pre-defined strategy is the naive one."
    return (f"The list counts {named(results, chosen)} with the background. "
            f"{by_classes(results, 'pre-defined', chosen)}")


TAU = {f"{tau:g}": tau_row(tau) for tau in lee2021.TAUS}
SHARE = {f"{share:g}": share_row(share) for share in lee2021.SHARES}
FLAT = {f"tau {tau}": pseudo(row) for tau, row in TAU.items() if 0.3 <= float(tau) <= 0.5}


def parameter(rows: Mapping[str, str], text: str) -> list[Sentence]:
    """Sentences on a parameter's settings. rows: its values -> rows."""
    known, learned = ({value: pseudo(row, output) for value, row in rows.items()} for output in ("masks", "learned"))

    @sentence(*known.values())
    def spread(results: Results) -> str:
        each = np.array([quantity.values(results) for quantity in known.values()])
        return f"The standard deviation over seeds is {each.std(1, ddof=1).mean():.1f} pp." if results.seeds > 1 else ""

    return [listed(f"{text} {{}} %.", known), spread, listed(f"{LEARNED}: {{}} %.", learned)]


# --- accuracy and refinement: C08, C09, C20 --------------------------------------------------------------------------

GAIN = pseudo(EPS) - pseudo(CAM)


@sentence(tables.backgrounds(EPS), tables.backgrounds(CAM))
def best_backgrounds(results: Results) -> str:
    """What the constant background score does to EPS and CAM."""
    swept = {row: sweep(results.stack(tables.backgrounds(row)).sum(1)) for row in (EPS, CAM)}
    scores = {row: each.mean_iou.mean(0) for row, each in swept.items()}
    best_ones = ", ".join(f"{shown(row)} {100 * each.max():.1f} % at {swept[row].thresholds[each.argmax()]:.2f}"
                          for row, each in scores.items())
    return (f"Each with the background score that suits it best, chosen on these masks, instead of {BACKGROUND:g}: "
            f"{best_ones}.")


def refinement_adds_little(profile: str) -> Condition:
    """C09: 0 to 4 pp to EPS by every refiner of the profile; of AffinityNet, whose gain of CAM is printed, CAM gains
    something and EPS less than half of it; of the CRF where there is no other."""
    refiners = {"CRF": "refined"} | ({"AffinityNet": "walked"} if SCALES[scales_as(profile)].affinity else {})
    added = {name: [pseudo(row, output) - pseudo(row) for row in (EPS, CAM)] for name, output in refiners.items()}
    name, (own, cams) = list(added.items())[-1]
    little = [between(eps.called(f"{refiner} adds to EPS"), 0, 4) for refiner, (eps, _) in added.items()]
    less = (cams / 2 - own).called(f"half of what {name} adds to CAM, less what it adds to EPS")
    texts = "; ".join(f"{refiner} EPS {{}}, CAM {{}}" for refiner in added)
    return told(every(*little, above(cams.called(f"{name} adds to CAM")), above(less)),
                also(f"Added: {texts}.", *(each for gains in added.values() for each in gains)),
                also("Without refinement EPS has {} %, CAM {} %.", pseudo(EPS), pseudo(CAM)))


# --- segmenters: C10 to C16, C21 -------------------------------------------------------------------------------------

def ahead(ours: Mapping[str, str], net: str, rivals_on: Mapping[str, Mapping[str, Quantity]]) -> dict[str, Quantity]:
    """How far a segmenter taught by rows of ours, name -> row, is ahead of rivals: split -> their names and figures."""
    return {f"{name} - {other} on {split}": segmented(row, net, split) - theirs for split, others in rivals_on.items()
            for name, row in ours.items() for other, theirs in others.items() if other not in ours}


def beats_others(net: str, *sentences: Sentence) -> Condition:
    """EPS against every other method with one segmenter or its backbone, the best by half of the published size."""

    def choose(profile: str) -> Condition:
        known = {split: {"EPS": segmented(EPS, net, split)} | rivals(net, split, profile) for split in splits(profile)}
        sized = [above(eps - best(*others), half=True) for eps, *others in (each.values() for each in known.values())]
        everything = {f"{split} {name}": score for split, each in known.items() for name, score in each.items()}
        alien = ", other papers' networks as in their notebooks" * compares(profile)
        return told(every(all_above(ahead({"EPS": EPS}, net, known), "mIoU between EPS and others"), *sized),
                    listed(f"All with {net}{alien}: {{}} %.", everything), *sentences)

    return by_profile(choose)


def with_crf(net: str) -> Sentence:
    """What a CRF adds to a segmenter that EPS taught."""
    crf = segmented(EPS, net, crf=True)
    return also("With CRF EPS has {} % on val, {} against without it.", crf, crf - segmented(EPS, net))


@sentence(segmented("full", V1_RESNET), segmented(EPS, V1_RESNET))
def of_full(results: Results) -> str:
    """The same segmenter taught by the ground truth."""
    full, eps = (segmented(labels, V1_RESNET).value(results) for labels in ("full", EPS))
    reached = f"of which EPS reaches {100 * eps / full:.0f} %" if full > eps else (
        "less than by EPS: its training, and not the labels alone, limits these figures")
    return f"Taught by the ground truth it has {full:.1f} % on val, {reached}."


@sentence(*(segmented(labels, V1_RESNET, split) for split in ("val", "test")
            for labels in ("G2", *map(detector_row, DETECTORS[1:]))))
def with_the_same_saliency(results: Results) -> str:
    """EPS with the detector that G2 uses, where it is another than its own."""
    theirs = results.route.guided.saliency_maps("train")
    detector = next((name for name in DETECTORS if results.route.saliency(name) == theirs), DETECTORS[0])
    if detector == DETECTORS[0]:
        return ""
    gains = {split: segmented(detector_row(detector), V1_RESNET, split) - segmented("G2", V1_RESNET, split)
             for split in splits(results.run.profile)}
    text = f"EPS against G2 with the same detector ('{detector}' instead of '{DETECTORS[0]}'): {{}}."
    return listed(text, gains).text(results)


def every_segmenter() -> Condition:
    """C12: EPS against CAM with each segmenter that CAM teaches, each gain more than half of the other; V1 against V2
    with each backbone; on val."""
    gains = {net: segmented(EPS, net) - segmented(CAM, net) for net in TAUGHT[CAM]}
    alike = {f"{a} - half of {b}": gains[a] - gains[b] / 2 for a, b in permutations(gains, 2)}
    heads = {split: {f"{backbone}, {names}": each for backbone in ("VGG16", "ResNet101") for names, each in apart(
        {head: segmented(EPS, f"{head}, {backbone}", split) for head in ("V1", "V2")}).items()}
        for split in ("val", "test")}
    on_test = {name: each for name, each in heads["test"].items() if name.endswith("V1 - V2")}
    return told(every(all_above(gains, "mIoU between EPS and CAM"), all_above(alike, "a gain and half of another"),
                      at_most(1.5, heads["val"])), listed("EPS on val: {} %.", {net: segmented(EPS, net)
                                                                                for net in TAUGHT[EPS]}),
                listed("EPS against CAM: {}.", gains), listed("On test: {}.", on_test))


def small_against_large(profile: str) -> Condition:
    """C13: EPS with VGG16 at most 1 pp behind each other method with ResNet101."""
    others = {f"{name} on {split}": each for split in splits(profile)
              for name, each in rivals(V1_RESNET, split, profile).items()}
    behind = {f"{name} - EPS": each - segmented(EPS, V2_VGG, name.rpartition(" ")[2]) for name, each in others.items()}
    return told(at_most(1, behind), listed("With ResNet101: {} %; on val EPS has {} % with V1, VGG16 and {} % with V2, "
                                           "VGG16.", others, segmented(EPS, V1_VGG), segmented(EPS, V2_VGG)))


@sentence()
def stands_for_coco(results: Results) -> str:
    return "" if results.run.profile == "voc" else "A toy world of more and smaller objects stands for COCO."


def every_detector_works(profile: str) -> Condition:
    """C15: EPS with each detector against every method without EPS; detectors at most 4 pp apart, in their order."""
    rows = {name: detector_row(name) for name in DETECTORS if detector_row(name) in taught(profile)}
    parts = []
    for split in splits(profile):
        results = {name: segmented(row, V1_RESNET, split) for name, row in rows.items()}
        others = {split: rivals(V1_RESNET, split, profile)}
        parts += [all_above(ahead(rows, V1_RESNET, others), f"mIoU between EPS and others on {split}"),
                  at_most(4, {f"{names} on {split}": each for names, each in apart(results).items()}),
                  better_detectors(results, split)]
    return told(every(*parts), detectors_in_numbers, masks_in_numbers)


def better_detectors(results: Mapping[str, Quantity], split: str) -> Condition:
    """Of two detectors the one with clearly greater foreground IoU on val teaches better. results: detector -> mIoU."""
    quality = {name: tables.foreground(name) for name in results}

    @condition(*quality.values(), *results.values())
    def decide(claim: Claim, measured: Results) -> Decision:
        gaps = {f"{a} - {b} on {split}": (results[a] - results[b]).interval(measured)
                for a, b in permutations(results, 2) if (quality[a] - quality[b]).interval(measured).low > 0}
        if not gaps:
            return holds(None, "no detector clearly has a greater foreground IoU", seeds=measured.seeds)
        return all_positive(gaps, f"mIoU between the better and the worse of two detectors on {split}")

    return decide


QUALITY = {name: tables.foreground(name) for name in DETECTORS}
TAUGHT_BY = {name: segmented(detector_row(name), V1_RESNET) for name in DETECTORS}


@sentence(*QUALITY.values(), *TAUGHT_BY.values())
def detectors_in_numbers(results: Results) -> str:
    """The detectors, and the segmenters on val that EPS taught with them."""
    quality, taught_by = ({name: each.value(results) for name, each in of.items()} for of in (QUALITY, TAUGHT_BY))
    listing = ", ".join(f"{name} {quality[name]:.1f} and {taught_by[name]:.1f}" for name in quality)
    alike = sorted(quality, key=quality.get) == sorted(quality, key=taught_by.get)
    return (f"Foreground IoU of the detectors and mIoU of the segmenters on val: {listing} %; the order by both is "
            f"{'' if alike else 'not '}the same.")


masks_in_numbers = also("Pseudo-masks with the constant background score, and with the learned map: "
                        + ", ".join(f"{name} {{}} and {{}}" for name in DETECTORS) + " %.",
                        *(pseudo(detector_row(name), output) for name in DETECTORS for output in ("masks", "learned")))


def unsupervised_beats_supervised(profile: str) -> Condition:
    """C16: EPS with saliency that nobody trained against methods with a trained detector."""
    others = {split: {name: each for name, each in rivals(V1_RESNET, split, profile).items() if name in SUPERVISED}
              for split in splits(profile)}
    cam = {split: segmented(UNSUPERVISED, V1_RESNET, split) - segmented(CAM, V1_RESNET, split) for split in others}
    return told(all_above(ahead({shown(UNSUPERVISED): UNSUPERVISED}, V1_RESNET, others),
                          "mIoU between EPS without supervised saliency and methods with it"),
                with_the_same_saliency, listed("Unsupervised EPS against CAM: {}.", cam))


@sentence(tables.objects("objects"), *MANY[0].sources)
def few_and_many(results: Results) -> str:
    """IoU of an image by how many objects it shows."""
    count, values = np.asarray(results.first(tables.objects("objects"))), image_iou(results.stack(MANY[0].sources[0]))
    few = count <= np.median(count)
    halves = [100 * float(nan_mean(values[:, chosen]).mean()) for chosen in (few, ~few)]
    return (f"Mean IoU of the classes that an image shows: {halves[0]:.1f} % with up to {np.median(count):g} objects, "
            f"{halves[1]:.1f} % with more.")


# --- the claims ------------------------------------------------------------------------------------------------------

F1_WIDE = [tables.boundary("f1", row, 1) for row in (EPS, CAM)]
NARROW, WIDE = (f"{100 * share:g} %" for share in lee2021.PUBLISHED.boundary_shares)
SALIENT = {which: tables.foreground("estimated", which) - tables.foreground("masks", which)
           for which in ("iou", "recall", "precision")}

CLAIMS: dict[str, Condition] = {
    "C01": told(every(*(above(tables.boundary(which, EPS) - tables.boundary(which, CAM), half=which == "f1" and 19.2)
                        for which in ("f1", "recall", "precision"))),
                also(f"Boundaries match within {NARROW} of an image's diagonal, or 1 pixel where that is more. Within "
                     f"{WIDE}: F1 EPS {{}}, CAM {{}} %, {{}}.", *F1_WIDE, F1_WIDE[0] - F1_WIDE[1]),
                "Not run here: BES, SEAM."),
    "C02": over_pairs(confuses_least, CAM, EPS),
    "C03": over_pairs(segments_the_target_better, CAM, EPS),
    "C04": over_pairs(expansion_confuses_more, CAM, tables.EXPANDED),
    "C05": told(every(largest(EPS, STRATEGIES), above(STRATEGIES[EPS] - STRATEGIES["naive"], half=1.45)),
                listed("mIoU: {} %.", STRATEGIES),
                listed(f"{LEARNED}: {{}} %, adaptive - naive {{}}.", LEARNED_STRATEGIES,
                       LEARNED_STRATEGIES[EPS] - LEARNED_STRATEGIES["naive"]), tags_selected),
    "C06": ignored_classes_gain,
    "C07": told(every(above(STRATEGIES[EPS] - STRATEGIES["pre-defined"], half=True),
                      largest("pre-defined", {row: each for row, each in STRATEGIES.items() if row != EPS})),
                reserved_classes),
    "C08": told(every(above(GAIN, half=True), where_run(all_above(
        {f"EPS - {name}": pseudo(EPS) - each for name, each in LABELS.items()}, "mIoU between EPS and other papers"))),
                also("Foreground precision/recall: EPS {}/{}, CAM {}/{} %.",
                     *(tables.found(row, which) for row in (EPS, CAM) for which in ("precision", "recall"))),
                best_backgrounds,
                also("With its learned background map EPS has {} %, {} against CAM.", pseudo(EPS, "learned"),
                     pseudo(EPS, "learned") - pseudo(CAM)), "Not run here: SEAM, ICD, SGAN."),
    "C09": by_profile(refinement_adds_little),
    "C10": beats_others(V1_VGG, with_crf(V1_VGG)),
    "C11": beats_others(V1_RESNET, with_crf(V1_RESNET), of_full, with_the_same_saliency),
    "C12": every_segmenter(),
    "C13": by_profile(small_against_large),
    "C14": told(above(MANY[0] - MANY[1], half=True), stands_for_coco,
                also("Their pseudo-masks have {} and {} %, {} apart. SGAN is not run here.", *MANY_MASKS,
                     MANY_MASKS[0] - MANY_MASKS[1])),
    "C15": by_profile(every_detector_works),
    "C16": by_profile(unsupervised_beats_supervised),
    "C17": told(at_most(1, apart(FLAT)), *parameter(TAU, "mIoU by tau:")),
    "C18": told(at_most(1, {f"lambda {share} - 0.5": pseudo(row) - pseudo(EPS) for share, row in SHARE.items()
                            if row != EPS}), *parameter(SHARE, "mIoU by lambda:")),
    "C19": told(every(*map(above, SALIENT.values())),
                "The estimate knows the tags of the image, the detector doesn't. Restored objects show in recall, "
                "removed noise in precision.",
                also("Maps count as salient from one half on; "
                     + ", ".join(f"at {cut:g} {{}} and {{}}" for cut in tables.CUTS) + " %.",
                     *(tables.foreground(of, cut=place) for place in range(len(tables.CUTS))
                       for of in ("estimated", "masks")))),
    "C20": told(every(above(GAIN, half=True), above(ON_ONE_TAG[EPS] - SALIENCY_ALONE)),
                also("On images with one tag, the salient pixels under that tag have {} %, CAM {}.", SALIENCY_ALONE,
                     ON_ONE_TAG[CAM])),
    "C21": told(every(above(follows("objects", "fewer objects", -1)), above(follows("area", "larger objects", 1))),
                stands_for_coco, few_and_many),
}

