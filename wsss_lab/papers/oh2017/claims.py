"""The claims of Oh et al. 2017, each as the condition under which it counts as reproduced."""

import numpy as np

from wsss_lab.evaluation.confusion import nan_mean
from wsss_lab.evaluation.intervals import image_values, ratio
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.evaluation.saliency_scores import foreground_iou
from wsss_lab.lab.steps import Output
from wsss_lab.measure.claims import (
    Claim,
    Condition,
    Decision,
    Sentence,
    about_zero,
    above,
    agree,
    all_above,
    also,
    between,
    condition,
    every,
    given,
    holds,
    jointly,
    labels_learnt,
    largest,
    ordered,
    sentence,
    told,
)
from wsss_lab.measure.quantities import Derived, NotMeasured, Quantity, Results, best, cached, figure, joined, result
from wsss_lab.papers.oh2017.route import BACKPROP, GAP_NETS, POOLED, POOLED_LAST, Route
from wsss_lab.papers.oh2017.tables import average_precision, good, guide, guide_miou, miou, mp, saliency_counts, seeder
from wsss_lab.papers.shared_tables import train_tags, val_tags
from wsss_lab.seeds.periodicity import periodic_peak
from wsss_lab.seeds.training import compare_poolings

SEEDERS = (*GAP_NETS, *BACKPROP)
PRECISE_NETS = ("LowRes", "HighRes", "ROI")  # all but the dilated one
G2_ROWS = {"LowRes": "LowRes G2", "HighRes": "G2", "ROI": "ROI G2", "DeepLab": "DeepLab G2"}
LEVELS = (0.2, 0.4, 0.6)  # of recall, at which C15 compares precision
SAMPLE = 100  # images whose class maps are looked at for periods
ALPHA = 0.05


# --- what only claims read --------------------------------------------------------------------------------------------

def compared_poolings(route: Route) -> Output:
    """The largest differences between pooling first and pooling last on the trained network."""
    return route.step(compare_poolings, f"both orders of pooling in {POOLED}", view="val", variant=POOLED,
                      state=route.classifier(POOLED)["state"])["differences"]


def curve_area(counts: np.ndarray) -> np.ndarray:
    return sweep(counts).foreground.area()


@cached
def precision(name: str, recall: float) -> Quantity:
    """Foreground precision at a recall; nan where the curve doesn't reach it. Between few points it is interpolated."""
    return seeder(name, lambda counts: sweep(counts).foreground.precision_at(recall, interpolate=True))


@cached
def peak(net: str) -> Quantity:
    """Peak of the autocorrelation of class maps at the period of GAP-DeepLab's dilation, on a random sample of images.

    Finer or coarser maps are looked at over the same distance in the image.
    """

    def sums(maps: np.ndarray, widest: np.ndarray, tags: np.ndarray, dilations: np.ndarray) -> np.ndarray:
        period = max(2, round(float(dilations[0]) * maps.shape[-1] / widest.shape[-1]))
        if period >= min(maps.shape[-2:]) - 1:
            raise NotMeasured(f"Maps of {maps.shape[-1]} positions a side are too small for a pattern to repeat.")
        sample = np.sort(np.random.default_rng(0).permutation(maps.shape[1])[:SAMPLE])
        found = np.where(tags[:, sample], periodic_peak(maps[:, sample], period), np.nan)
        return image_values(nan_mean(found))

    maps, widest = (result("maps", Route.class_maps, name, "val") for name in (net, "DeepLab"))
    return figure(net, (maps, widest, val_tags, dilation), ratio, sums, unit="")


def dilation(route: Route) -> Derived:
    """Dilation of GAP-DeepLab, in pixels of its class maps."""
    return Derived(lambda: route.scale.backbone.dilation)


def off_the_shelf(route: Route) -> Derived:
    """Whether the saliency detector came with weights trained elsewhere, on pixel masks."""
    return Derived(lambda: route.u2net is not None)


def crowding(route: Route) -> Derived:
    """What may distract from an object, per val image: name -> (N,). Photographs have the number of tags only."""
    if not hasattr(route.world, "scenes"):
        return Derived(lambda view: {"classes in the image": view.tags.sum(1)}, route.world.train_view("val"))
    return Derived(lambda scenes: {name: np.asarray(scenes[name]) for name in ("instances", "distractors")},
                   route.world.scenes("val"))


# --- sentences and claims that need a function ------------------------------------------------------------------------

def labels(*rows: str) -> Sentence:
    """Precision and recall of what rows learn from."""
    return labels_learnt({row: (guide(row, "precision"), guide(row, "recall")) for row in rows})


@sentence(train_tags)
def several_tags(results: Results) -> str:
    several = 100 * float((results.first(train_tags).sum(1) > 1).mean())
    return f"Only the {several:.0f} % of training images with several classes can differ."


@sentence(off_the_shelf)
def origin_of_saliency(results: Results) -> str:
    return "The learned detector came with weights trained on pixel masks of other data." * results.first(off_the_shelf)


def name_of_best(text: str, *options: Quantity) -> Sentence:
    """The name of the quantity with the greatest figure."""
    return sentence(*options)(lambda results: text.format(best(*options).resolve(results).name))


@condition(*(precision(name, recall) for name in (*BACKPROP, *PRECISE_NETS) for recall in LEVELS))
def gap_beats_backprop(claim: Claim, results: Results) -> Decision:
    """C15: each of three GAP networks against each method, at the levels of recall that the method reaches."""
    reached = [(method, recall) for method in BACKPROP for recall in LEVELS
               if not np.isnan(precision(method, recall).value(results))]
    found = all_above({f"{net} - {method} at {100 * recall:.0f} % recall": precision(net, recall) - precision(
        method, recall) for net in PRECISE_NETS for method, recall in reached}, "precision")
    beyond = len(BACKPROP) * len(LEVELS) - len(reached)
    left_out = f"Back-propagation doesn't reach {beyond} of its 9 levels of recall, which are left out."
    return told(found, left_out * (beyond > 0)).decide(claim, results)


@condition(*(precision(name, 0.05) for name in (*SEEDERS, "centre")),
           *(precision(name, 0.2) for name in ("guided", "HighRes")))
def guided_is_precise_early(claim: Claim, results: Results) -> Decision:
    """C17: the highest precision of all at 5 % recall, but below GAP-HighRes at 20 %, or not even there."""
    early = {name: precision(name, 0.05) for name in (*SEEDERS, "centre")}
    known = {name: each for name, each in early.items() if name == "guided" or not np.isnan(each.value(results))}
    first = largest("guided", known).decide(claim, results)
    if np.isnan(precision("guided", 0.2).value(results)):
        later = holds(not np.isnan(precision("HighRes", 0.2).value(results)),
                      "guided back-propagation doesn't reach 20 % recall", seeds=results.seeds)
    else:
        later = above(precision("HighRes", 0.2) - precision("guided", 0.2)).decide(claim, results)
    return jointly([first, later])


@condition(saliency_counts(), crowding)
def clutter_hurts_saliency(claim: Claim, results: Results) -> Decision:
    """C29: rank correlation of an image's saliency IoU, mean over trainings, with what may distract in it."""
    from scipy.stats import spearmanr

    per_image = nan_mean(foreground_iou(results.stack(saliency_counts())).T)
    known = ~np.isnan(per_image)
    found = {name: spearmanr(count[known], per_image[known]) for name, count in results.first(crowding).items()}
    text = ", ".join(f"{name} rho {rho:+.2f} (p {p:.1g})" for name, (rho, p) in found.items())
    if any(rho < 0 and p < ALPHA for rho, p in found.values()):
        true, why = True, f"IoU falls with at least one of these numbers (rho < 0, p < {ALPHA})"
    elif all(rho > 0 and p < ALPHA for rho, p in found.values()):
        true, why = False, f"IoU rises with these numbers (p < {ALPHA})"
    else:
        true, why = None, f"no negative correlation with p < {ALPHA}"
    return holds(true, f"Rank correlation over {known.sum()} val images: {why}", text, seeds=results.seeds)


def rank_correlation(*values: np.ndarray) -> np.ndarray:
    """Spearman's rho of two halves of values, arrays of one shape, without ties."""
    one, other = np.stack(values).reshape(2, -1, *np.shape(values[0])).argsort(1).argsort(1)
    return 1 - 6 * ((one - other) ** 2).sum(0) / (len(one) * (len(one) ** 2 - 1))


def span(name: str, quantities: dict[str, Quantity]) -> Quantity:
    """Greatest less least."""
    return joined(lambda *values: np.ptp(np.stack(values), axis=0), name, *quantities.values()).called(name)


# --- the claims -------------------------------------------------------------------------------------------------------

SEC, SEEDS, G2, FULL = miou("seeds, crf-loss v1", "v1"), miou("seeds"), miou("G2", "v2"), miou("full", "v2")
LABEL_ONLY = (SEEDS, miou("seeds", "v2"), SEC, miou("seeds, crf-loss v2", "v2"))
HIGHRES = (miou("seeds", "v1"), miou("seeds", "v2"), miou("seeds, crf-loss v1"), SEC, miou("seeds, crf-loss v2", "v2"))
ROI_SEEDS = miou("ROI seeds")
ROI = (miou("ROI seeds, crf-loss v1", "v1"), miou("ROI seeds, crf-loss v2", "v2"))
CRF_GAINS = {row: miou(row, "v2") - miou(row) for row in ("seeds", "G0", "G2")}
GAIN, ROI_GAIN = G2 - SEEDS, miou("ROI G2", "v2") - ROI_SEEDS
BOTH, ROI_BOTH = SEC - SEEDS, ROI[0] - ROI_SEEDS
MAP, MP = ({net: of(net) for net in GAP_NETS} for of in (average_precision, mp))
OTHERS = (*LABEL_ONLY, miou("G0"), miou("G0", "v2"), miou("G1"))

CLAIMS: dict[str, Condition] = {
    "C01": told(above(miou("G0") - SEEDS, half=True), labels("G0", "seeds")),
    "C02": told(about_zero(miou("G1") - miou("G0")), several_tags),
    "C03": told(above(miou("G2") - miou("G1"), half=True), labels("G2", "G1")),
    "C04": told(above(miou("oracle") - miou("G2"), half=True), also(
        "The salient pixels that stand in for the ground truth have a foreground IoU of {} % on val.",
        figure("saliency", saliency_counts(), foreground_iou))),
    "C05": ordered("oracle > G2 > G1 >= G0 > seeds", {row: miou(row) for row in ("oracle", "G2", "G1", "G0", "seeds")}),
    "C06": told(every(above(guide("G0", "recall") - guide("seeds", "recall")),
                      above(guide("G2", "recall") - guide("G0", "recall")),
                      between(guide("G0", "precision") - guide("seeds", "precision"), -10, 10)),
                labels("seeds", "G0", "G1", "G2")),
    "C07": every(*map(above, CRF_GAINS.values()), largest("G2", CRF_GAINS)),
    "C08": between(G2 / FULL, 75, 85),
    "C09": told(all_above({f"G2 + CRF v2 - {each.name}": G2 - each for each in OTHERS}, "mIoU"),
                f"Compared with {len(OTHERS)} methods run in this code; cited numbers come from other data and don't "
                "count."),
    "C10": told(between(miou("G0", "v2") - best(SEEDS, *HIGHRES), low=-3),
                name_of_best("The best method run here with image labels only is {}.", SEEDS, *HIGHRES)),
    "C11": above(mp("HighRes") - mp("LowRes"), half=True),
    "C12": above(mp("HighRes") - mp("DeepLab"), half=True),
    "C13": every(about_zero(mp("HighRes") - mp("ROI")), about_zero(MAP["HighRes"] - MAP["ROI"])),
    "C14": every(largest("DeepLab", MAP),
                 all_above({f"{net} - DeepLab": MP[net] - MP["DeepLab"] for net in PRECISE_NETS}, "mP"),
                 above(span("span of mP", MP) - (span("", MAP) / 0.5).called("twice the span of mAP"))),
    "C15": gap_beats_backprop,
    "C16": ordered("HighRes ~ ROI > LowRes > DeepLab", {net: seeder(net, curve_area) for net in GAP_NETS}),
    "C17": guided_is_precise_early,
    "C18": told(all_above({f"{name} - centre": mp(name) - mp("centre") for name in SEEDERS}, "mP"),
                also("The centre mean shape has mP {} %.", mp("centre"))),
    "C19": told(all_above({f"DeepLab - {net}": peak("DeepLab") - peak(net) for net in PRECISE_NETS},
                          "the peak of autocorrelation"),
                also("Peaks at the period of GAP-DeepLab's dilation: LowRes {}, HighRes {}, ROI {}, DeepLab {}.",
                     *map(peak, GAP_NETS))),
    "C20": every(agree(compared_poolings, "scores and gradients", "scores", "gradients"),
                 between(mp(POOLED_LAST) - mp(POOLED), -1, 1)),
    "C21": given(between(SEEDS - ROI_SEEDS, -1, 1), every(above(BOTH), between(BOTH - ROI_BOTH, low=3))),
    "C22": told(above(SEC - miou("seeds, crf-loss v2", "v2"), half=True),
                also("The same on GAP-ROI: {}.", ROI[0] - ROI[1])),
    "C23": told(every(*(above(each - best(*HIGHRES, *ROI), half=True) for each in (G2, miou("ROI G2", "v2")))),
                name_of_best("The best CRF combination here is {}.", *HIGHRES, *ROI)),
    "C24": every(above(GAIN), above(ROI_GAIN), between(GAIN - ROI_GAIN, -3, 3)),
    "C25": told(above(SEEDS - miou("seeds, crf-seed v1"), half=True), labels("seeds", "seeds, crf-seed v1")),
    "C26": ordered("both > loss > none, both > postproc > none",
                   {"both": SEC, "loss": miou("seeds, crf-loss v1"), "postproc": miou("seeds", "v1"), "none": SEEDS}),
    "C27": told(every(*(between(miou(f"G2, crf-loss {name}") - miou("G2"), high=0.5) for name in ("v1", "v2"))),
                also("G2 alone reaches {} % on val.", miou("G2"))),
    "C28": told(every(above(good() - good("unsupervised")), between(good(), high=50)),
                also("Learned saliency is good on {} % of the val images (paper: about 20 %).", good()),
                origin_of_saliency),
    "C29": clutter_hurts_saliency,
    "C30": told(every(above(miou("G2", split="train") - guide_miou("G2", "background")),
                      above(miou("G2", "v2", "train") - miou("G2", split="train"))),
                also("Undecided pixels of the guide count as background; on its decided pixels alone the guide has "
                     "{} %.", guide_miou("G2", "left out"))),
    "C31": above(joined(rank_correlation, "rho", *MP.values(), *map(miou, G2_ROWS.values()), unit="")),
}
