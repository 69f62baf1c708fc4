"""Deciders for the claims of Roy & Todorovic 2017 on attention maps and single objects: C12, C13, C15, C18.

All on val, with the network of the full approach; attention maps are those of the image's tags.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from wsss_lab.evaluation.confusion import divide, nan_mean
from wsss_lab.evaluation.intervals import (
    Interval,
    Statistic,
    difference_interval,
    image_values,
    interval,
    mean_and_interval,
    ratio,
)
from wsss_lab.evaluation.precision_recall import foreground_area, sweep
from wsss_lab.evaluation.rank_correlation import CORRELATION, correlation, rank_sums
from wsss_lab.lab.claims import Claim, Decider, Decision, decide_difference, decide_jointly, decide_range
from wsss_lab.papers.roy2017_claims_evidence import PARENTS, UNACTIVATED, ClaimEvidence, predicted_classes
from wsss_lab.papers.shared_claims import apart, if_measured, percent, told

MOST_TIME = 1.5  # times, of C13's rule
MISSED = 0.1  # of an object's pixels; below it counts as missed

# --- neighbours: C12, C13 --------------------------------------------------------------------------------------------


def variation(inside: np.ndarray) -> np.ndarray:
    """Per-image values of the total variation per pair inside of objects: (S, N, 4) -> (S, N, 2), `image_values`."""
    return image_values(divide(inside[..., 0], inside[..., 1]))


def relative_variation(inside: np.ndarray) -> np.ndarray:
    """As `variation`, divided by the mean attention on the objects of the image."""
    return image_values(divide(inside[..., 0] * inside[..., 3], inside[..., 1] * inside[..., 2]))


def precision_at_half(counts: np.ndarray) -> float:
    """Foreground precision where attention is at least one half: counts (S, N, 3, K, bins) -> mean over the seeds."""
    precision = sweep(counts.sum(1)).precision[:, 1:]
    return float(nan_mean(precision[..., precision.shape[-1] // 2]).mean())


def recall_at_precision(level: float) -> Statistic:
    """The largest foreground recall of all thresholds with at least this foreground precision, 0 without any."""
    def statistic(counts: np.ndarray) -> np.ndarray:
        curve = sweep(counts).foreground
        return np.where(curve.precision >= level, curve.recall, 0).max(-1)

    return statistic


def neighbours_smooth_and_cover(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C12: attention with neighbours against that of parents alone in the same network, paired over images."""
    ours, parents = evidence.attention(), evidence.attention(PARENTS)
    level = min(precision_at_half(each["counts"]) for each in (ours, parents))
    at_level, pair = recall_at_precision(level), (ours["counts"], parents["counts"])
    steps = [variation(each["inside"]) for each in (ours, parents)]
    decision = decide_jointly(claim, [
        decide_difference(claim, difference_interval(*steps, ratio), sign=-1,
                          measured="total variation with {:.2f}, without {:.2f} % per pixel".format(
                              *(percent(each, ratio) for each in steps))),
        decide_difference(claim, apart(*pair, at_level),
                          measured=f"recall at {100 * level:.1f} % precision with {percent(pair[0], at_level):.1f}, "
                                   f"without {percent(pair[1], at_level):.1f} %"),
    ])
    relative = [relative_variation(each["inside"]) for each in (ours, parents)]
    return told(decision, "p^A of one network without its neighbours is that of parents alone, as in excitation "
                          "back-propagation. Total variation is the mean change of a class's p^A between neighbouring "
                          "pixels of an object; the level of precision is the lower of both where p^A is at least one "
                          "half.",
                "Relative to the mean p^A on the object it is {:.2f} and {:.2f} % per pixel, {}.".format(
                    *(percent(each, ratio) for each in relative), difference_interval(*relative, ratio).percent("pp")),
                "The area under the precision-recall curve is {:.1f} and {:.1f} %, {}.".format(
                    *(percent(each, foreground_area) for each in pair), apart(*pair, foreground_area)),
                if_measured(_neighbours_alone(level, parents), evidence))


def _neighbours_alone(level: float, parents: Mapping[str, np.ndarray]) -> Callable[[ClaimEvidence], str]:
    """A sentence on neighbours without the neurons' own activation, which the paper adds with them."""
    def sentence(evidence: ClaimEvidence) -> str:
        alone, at_level = evidence.attention(UNACTIVATED), recall_at_precision(level)
        steps = [variation(each["inside"]) for each in (alone, parents)]
        return ("With neighbours but without own activation (Eq. 7) total variation is "
                f"{percent(steps[0], ratio):.2f} % per pixel, {difference_interval(*steps, ratio).percent('pp')} "
                f"against parents alone, and recall at that precision {percent(alone['counts'], at_level):.1f} %, "
                f"{apart(alone['counts'], parents['counts'], at_level)}.")

    return sentence


def neighbours_cost_little(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C13: median over repeats of (similarity + pass with neighbours) / pass from parents alone, mean over seeds."""
    network, similarity, ours, own, parents = np.moveaxis(evidence.seconds(), -1, 0)  # (S, repeats) each
    ratios = {
        "asked": (similarity + ours) / parents,
        "the pass alone, for which similarity is known": ours / parents,
        "against own activation without neighbours": (similarity + ours) / own,
        "network and attention together": (network + similarity + ours) / (network + parents),
    }
    times = {name: mean_and_interval(np.median(values, 1)) for name, values in ratios.items()}
    asked = times.pop("asked")
    decision = decide_range(claim, asked, high=MOST_TIME, unit="times",
                            measured=f"attention takes {asked.mean:.2f} times as long")
    listed = "; ".join(f"{name} {value.mean:.2f}" for name, value in times.items())
    return told(decision, "Against parents alone, as in excitation back-propagation; both passes run the layers above "
                          f"the end of attention again. Other ratios: {listed}. They depend on the machine and the "
                          "network: to pass through a layer of c channels, n cells and 3 x 3 kernels takes 9 n c^2 "
                          "multiplications a label, to join its neighbours c n^2.")


# --- pieces: C15 -----------------------------------------------------------------------------------------------------


def attention_keeps_whole(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C15: predicted pieces per object of the full approach and of the network without attention in its unary."""
    rows = ("full", "w/o att unary", "w/o att inference")
    pieces = {row: evidence.pieces(row) for row in rows}
    decision = decide_difference(claim, _more_pieces(pieces[rows[0]], pieces[rows[1]], _per_object), sign=-1,
                                 measured=", ".join(f"{row} {_mean(pieces[row], _per_object):.2f}" for row in rows[:2]))
    touching = ", ".join(f"{row} {_mean(each, _per_found_object):.2f} on {100 * _mean(each, _found):.0f} %"
                         for row, each in pieces.items())
    return told(decision, f"Predicted pieces per object. '{rows[2]}', the same network as full, has "
                          f"{_mean(pieces[rows[2]], _per_object):.2f}, full against it "
                          f"{_more_pieces(pieces[rows[0]], pieces[rows[2]], _per_object)}. Pieces of its class on an "
                          f"object that is touched at all, and how many of the objects are: {touching}; full against "
                          f"'{rows[1]}' {_more_pieces(pieces[rows[0]], pieces[rows[1]], _per_found_object)}.")


def _per_object(counts: np.ndarray) -> np.ndarray:
    return divide(counts[..., 0], counts[..., 1])


def _per_found_object(counts: np.ndarray) -> np.ndarray:
    return divide(counts[..., 2], counts[..., 3])


def _found(counts: np.ndarray) -> np.ndarray:
    return divide(counts[..., 3], counts[..., 1])


def _mean(sums: np.ndarray, statistic: Statistic) -> float:
    return float(statistic(sums.sum(1)).mean())


def _more_pieces(a: np.ndarray, b: np.ndarray, statistic: Statistic) -> Interval:
    return replace(difference_interval(a, b, statistic), unit="pieces")


# --- objects: C18 ----------------------------------------------------------------------------------------------------


def small_objects_fail(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C18: rank correlation of recall with area over objects; largest attention of objects found and missed."""
    facts, images = evidence.objects(), len(evidence.tags)
    ranks = over_images(rank_sums(facts["area"], facts["recall"]), facts["image"], images)
    increases = interval(ranks, correlation)
    missed = facts["recall"] < MISSED
    heights = groups(facts["attention"], missed, facts["image"], images)
    found, without = percent(heights[:, :, 0], ratio), percent(heights[:, :, 1], ratio)
    decision = decide_jointly(claim, [
        decide_difference(claim, replace(increases, unit=CORRELATION), measured="recall by area"),
        decide_difference(claim, _less(heights), measured=f"largest p^A on objects found {found:.1f}, missed "
                                                          f"{without:.1f} %"),
    ])
    small = facts["area"] <= np.median(facts["area"])
    halves = groups(facts["recall"], np.broadcast_to(small, facts["recall"].shape), facts["image"], images)
    larger, smaller = (percent(halves[:, :, group], ratio) for group in (0, 1))
    return told(decision, f"Missed are objects of which less than {100 * MISSED:g} % are found, "
                          f"{100 * missed.mean():.0f} % of {len(small)} objects. Mean recall of the smaller half "
                          f"{smaller:.1f} %, of the larger {larger:.1f}, {_less(halves).percent('pp')}. p^A is "
                          "relative to the largest attention that a class gets in its image.",
                if_measured(_named(facts, missed), evidence))


def over_images(sums: np.ndarray, image: np.ndarray, images: int) -> np.ndarray:
    """Sums of objects (S, M, ...) added up to sums of images (S, N, ...); image: (M,), index of each object's image."""
    total = np.zeros((len(sums), images, *sums.shape[2:]))
    for each, row in zip(total, sums, strict=True):
        np.add.at(each, image, row)
    return total


def groups(values: np.ndarray, second: np.ndarray, image: np.ndarray, images: int) -> np.ndarray:
    """Per-image sums whose `ratio` is the mean of two groups of objects: (S, N, 2, 2), group before sum and number.

    values: (S, M). second: bool (S, M), objects of the second group.
    """
    chosen = np.stack([~second, second], -1)
    return over_images(np.stack([np.where(chosen, values[..., None], 0), chosen], -1), image, images)


def _less(sums: np.ndarray) -> Interval:
    """How much less the second group of `groups` has than the first."""
    return interval(sums, lambda summed: ratio(summed[..., 0, :]) - ratio(summed[..., 1, :]))


def _named(facts: Mapping[str, np.ndarray], missed: np.ndarray) -> Callable[[ClaimEvidence], str]:
    """A sentence on classes that the network doesn't name, whose objects get no attention at test time."""
    def sentence(evidence: ClaimEvidence) -> str:
        named = predicted_classes(evidence.class_scores())[:, facts["image"], facts["label"] - 1]
        shares = [100 * named[group].mean() if group.any() else np.nan for group in (~missed, missed)]
        return ("The network, without tags, names the class of {:.0f} % of the objects found and of {:.0f} % of those "
                "missed; what it doesn't name gets no attention.".format(*shares))

    return sentence


DECIDERS: dict[str, Decider] = {
    "roy2017-C12": neighbours_smooth_and_cover,
    "roy2017-C13": neighbours_cost_little,
    "roy2017-C15": attention_keeps_whole,
    "roy2017-C18": small_objects_fail,
}
