"""What the claims of Lee et al. 2021 need beyond its tables: CAM expanded without saliency, other cuts of saliency."""

from collections.abc import Sequence

import numpy as np

from wsss_lab.data.views import EvalView
from wsss_lab.evaluation.salient_pixels import score_salient_pixels
from wsss_lab.lab.steps import EVALUATION_READS, Step, seeded_step
from wsss_lab.papers.lee2021 import Route
from wsss_lab.seeds.localisation import BACKGROUND, pseudo_masks

CUTS = (0.2, 0.3, 0.4)  # of saliency maps, besides the map selection's one half
LOW_BACKGROUND = BACKGROUND / 2  # constant score beside which CAM's maps cover more of the image


def expanded_contexts(route: Route) -> Step:
    """Co-occurrence counts of CAM at LOW_BACKGROUND: coverage without any cue for boundaries."""
    masks = seeded_step(route.seed, "seeds", pseudo_masks,
                        f"pseudo-masks of {route.scored} by CAM, background {LOW_BACKGROUND:g}",
                        {"backbone": route.backbone, "scales": route.scale.scales, "background": LOW_BACKGROUND},
                        {"view": route.world.train_view(route.scored), "state": route.trained("CAM")["state"]})
    return route.contexts(masks)


def walked_contexts(route: Route) -> Step:
    """Co-occurrence counts of CAM after AffinityNet, whose affinities are taught by a dense CRF, which sees edges."""
    return route.contexts(route.walked("CAM"))


def cut_scores(route: Route, maps: Step) -> Step:
    """Foreground counts of saliency maps of val at each of CUTS."""
    return seeded_step(None, "evaluation", score_cuts, f"cuts of {maps.label}", {"cuts": CUTS},
                       {"view": route.world.eval_view("val"), "saliency": maps["maps"]}, EVALUATION_READS)


def score_cuts(view: EvalView, saliency: np.ndarray, cuts: Sequence[float]) -> dict:
    """Foreground counts at several thresholds: {"counts": int64 (N, cuts, 4)}; see score_salient_pixels."""
    return {"counts": np.stack([score_salient_pixels(view, saliency, cut)["counts"] for cut in cuts], 1)}
