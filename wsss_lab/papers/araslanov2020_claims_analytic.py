"""Deciders for the claims of Araslanov & Roth 2020 on class scores and on the memory of PAMR: Sec. 3.2, 3.3, App. B."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from wsss_lab.evaluation.confusion import divide
from wsss_lab.evaluation.intervals import difference_interval, interval, ratio
from wsss_lab.lab.claims import (
    Claim,
    Decider,
    Decision,
    decide_difference,
    decide_jointly,
    decide_range,
    decide_true,
)
from wsss_lab.papers.araslanov2020_claims_evidence import ClaimEvidence, tail
from wsss_lab.papers.shared_claims import ROUNDING, gain, told
from wsss_lab.seeds.weighted_pooling import average_pooling, weighted_pooling

GRID, SIDES = 128, (32, 64, 128)  # squares on a grid, all of them far larger than epsilon
SCORE = 2.0  # of every pixel of an object in C26
PIXELS = (2.0, -3.0)  # y_k and y_l of C28
SATURATED = 0.05  # largest relative fall of the loss within the last third of a training that counts as none
PER_TENTH = "logits per tenth of training"


# --- by the formulas: C26, C28 ---------------------------------------------------------------------------------------


def squares() -> tuple[Tensor, Tensor]:
    """Scores and masks of squares of several sizes: SCORE and 1 on the object, 0 elsewhere; (sizes, 1, GRID, GRID)."""
    masks = torch.zeros(len(SIDES), 1, GRID, GRID, dtype=torch.float64)
    for mask, side in zip(masks, SIDES, strict=True):
        mask[:, :side, :side] = 1
    return SCORE * masks, masks


def score_ignores_size(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C26: one object in several sizes; weighted pooling may differ by epsilon / area, which is what Eq. (3) leaves."""
    scores, masks = squares()
    areas = np.array(SIDES) ** 2
    weighted, exact = (weighted_pooling(scores, masks, epsilon).numpy()[:, 0] for epsilon in (1.0, 0.0))
    average = average_pooling(scores).numpy()[:, 0]
    constant = np.ptp(weighted) / SCORE <= 1 / areas.min() and np.ptp(exact) / SCORE < ROUNDING
    proportional = np.ptp(average / areas) * areas.max() / SCORE < ROUNDING
    return decide_true(
        claim, bool(constant and proportional),
        f"areas of {', '.join(map(str, areas))} pixels: nGWP {_listed(weighted)}, GAP {_listed(average)}",
        f"nGWP is {'' if constant else 'not '}constant but for epsilon / area (exactly so with epsilon = 0), GAP is "
        f"{'' if proportional else 'not '}proportional to the area")


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def epsilon_removes_the_jump(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C28: the two paths of Lemma 1's proof, on which the mask of one of two pixels vanishes and the other's is 0."""
    scores = torch.tensor(PIXELS, dtype=torch.float64).reshape(1, 1, 1, 2).repeat(2, 1, 1, 1)
    one_pixel = torch.eye(2, dtype=torch.float64).reshape(2, 1, 1, 2)  # path k, path l
    sizes = [10.0 ** -power for power in range(2, 13, 2)]
    pooled = {epsilon: np.stack([weighted_pooling(scores, size * one_pixel, epsilon).numpy()[:, 0] for size in sizes])
              for epsilon in (0.0, 1.0)}
    jumps = np.abs(pooled[0.0] - np.array(PIXELS)).max() < ROUNDING
    vanishes = bool((np.diff(np.abs(pooled[1.0]), axis=0) < 0).all() and np.abs(pooled[1.0][-1]).max() < ROUNDING)
    without, with_it = _listed(pooled[0.0][-1]), ", ".join(f"{value:.0e}" for value in pooled[1.0][-1])
    return decide_true(
        claim, bool(jumps and vanishes),
        f"pixels of score {_listed(np.array(PIXELS))}, masks of {sizes[-1]:.0e}: {without} with epsilon = 0, {with_it} "
        "with epsilon = 1",
        f"with epsilon = 0 the two paths {'keep' if jumps else 'do not keep'} the scores of their pixels, with "
        f"epsilon = 1 both {'go' if vanishes else 'do not go'} to 0")


# --- in the training: C16, C29, C30 ----------------------------------------------------------------------------------


def iteration_costs_little(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C16: one iteration of PAMR against one training iteration."""
    memory = evidence.memory()
    share = 100 * memory["pamr_iteration"] / memory["training"]
    size = {name: value / 2 ** 20 for name, value in memory.items()}
    decision = decide_range(claim, share, high=2, unit="%", measured=f"{share:.2f} % of a training iteration")
    return told(decision, f"A training iteration holds {size['training']:.1f} MiB, an iteration of PAMR adds "
                          f"{size['pamr_iteration']:.2f} MiB; the weights of the neighbours, made once for all "
                          f"iterations, take {size['pamr_weights']:.2f} MiB.")


def trend_sums(values: np.ndarray, iterations: int) -> np.ndarray:
    """Sums for `slope`: curves (S, n) -> (S, n, 5), iterations counted in tenths of the training."""
    places = np.broadcast_to(np.arange(values.shape[1]) / (iterations / 10), values.shape)
    return np.stack([np.ones_like(values), places, values, places ** 2, places * values], -1)


def slope(summed: np.ndarray) -> np.ndarray:
    """Least-squares slope of summed `trend_sums` (..., 5), per tenth of the training."""
    count, x, y, xx, xy = np.moveaxis(summed, -1, 0)
    return divide(count * xy - x * y, count * xx - x * x)


def epsilon_stops_the_decrease(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C29: pixel scores of absent classes in the last third of both trainings, and mIoU.

    Intervals are over iterations and seeds; both trainings see the same images in the same order.
    """
    trained = {1: evidence.curves("reference"), 0: evidence.curves("epsilon=0")}
    iterations = iterations_of(trained[1])
    sums = {epsilon: trend_sums(tail(curves["absent score"], iterations), iterations)
            for epsilon, curves in trained.items()}
    slopes = {epsilon: replace(interval(each, slope), unit=PER_TENTH) for epsilon, each in sums.items()}
    bounded = bool(slopes[1].high >= 0)
    apart = gain(evidence, ("reference", False), ("epsilon=0", False))
    decision = decide_jointly(claim, [
        _has_saturated(claim, [tail(curves["classification"], iterations) for curves in trained.values()]),
        decide_true(claim, bounded, f"epsilon = 1: {slopes[1].mean:+.3f} {PER_TENTH}",
                    f"with epsilon = 1 the scores of absent classes {'no longer' if bounded else 'still'} decrease",
                    interval=slopes[1]),
        replace(decide_difference(claim, slopes[0], sign=-1), measured=f"epsilon = 0: {slopes[0].mean:+.3f}"),
        decide_range(claim, apart, low=0, unit="pp", measured=f"mIoU {apart.mean:+.1f} pp"),
    ])
    last = {epsilon: curves["absent score"][:, -max(1, iterations // 10):].mean()
            for epsilon, curves in trained.items()}
    return told(decision, f"Last third of the training. In its last tenth the mean score of absent classes is "
                          f"{last[1]:.2f} with epsilon = 1, {last[0]:.2f} with 0; the slopes differ by "
                          f"{replace(difference_interval(sums[1], sums[0], slope), unit=PER_TENTH)}.",
                "" if evidence.policy == "constant" else "The learning rate falls meanwhile, which slows both.")


def iterations_of(curves: dict[str, np.ndarray]) -> int:
    """Length of a training by its curves."""
    return curves["classification"].shape[1]


def _has_saturated(claim: Claim, losses: list[np.ndarray]) -> Decision:
    """Whether the classification losses no longer fall within a window: means of its halves, each (S, n)."""
    halves = [[part.mean() for part in np.array_split(loss, 2, axis=1)] for loss in losses]
    change = min(after / before - 1 for before, after in halves)
    still = change < -SATURATED
    return decide_true(claim, None if still else True, f"loss {100 * change:+.1f} %",
                       f"the classification loss has {'not yet ' if still else ''}saturated: between the halves of the "
                       f"last third it falls by {'more than' if still else 'at most'} {100 * SATURATED:g} %",
                       seeds=len(losses[0]))


def penalty_dominates(claim: Claim, evidence: ClaimEvidence) -> Decision:
    """C30: sizes of the two terms of the score of absent classes, medians over each batch, late in the training."""
    curves = evidence.curves("reference")
    iterations = iterations_of(curves)
    sizes = np.stack([curves[f"absent {name}"] for name in ("penalty", "pooling")], -1)  # (S, iterations, 2)
    late = interval(tail(sizes, iterations), ratio)
    early = ratio(sizes[:, :max(1, iterations // 10)].sum((0, 1)))
    decision = decide_range(claim, late, low=1, measured=f"penalty {late.mean:.1f} times as large as nGWP")
    return told(decision, "Medians over the absent classes of a batch, in the last third of the training; in its first "
                          f"tenth the ratio is {early:.1f}.")


DECIDERS: dict[str, Decider] = {
    "araslanov2020-C16": iteration_costs_little,
    "araslanov2020-C26": score_ignores_size,
    "araslanov2020-C28": epsilon_removes_the_jump,
    "araslanov2020-C29": epsilon_stops_the_decrease,
    "araslanov2020-C30": penalty_dominates,
}
