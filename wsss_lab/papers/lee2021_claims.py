"""The claims of Lee et al. 2021: what must be computed to decide them, and the decisions."""

from typing import TYPE_CHECKING

from wsss_lab.lab.claims import decide_all
from wsss_lab.lab.published import claims
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers import lee2021_claims_masks, lee2021_claims_segmenters, lee2021_claims_selection
from wsss_lab.papers.lee2021 import DETECTORS, MOMENTUM_ROWS, Route, detector_row, has_test, taught, trained_rows
from wsss_lab.papers.lee2021_claims_evidence import (
    CAM,
    EPS,
    ClaimEvidence,
    cut_scores,
    expanded_contexts,
    walked_contexts,
)
from wsss_lab.papers.lee2021_claims_segmenters import V1_RESNET, V1_VGG, V2_VGG
from wsss_lab.papers.lee2021_values import DIAL

if TYPE_CHECKING:
    import pandas as pd

DECIDERS = (lee2021_claims_masks.DECIDERS | lee2021_claims_selection.DECIDERS
            | lee2021_claims_segmenters.DECIDERS)

#: Rows whose pseudo-masks no claim reads.
_UNREAD = (*MOMENTUM_ROWS, *map(detector_row, DIAL))


def steps(route: Route, profile: str) -> list[Step]:
    """Everything that the claims need at one seed and that a profile runs."""
    return [*_masks(route, profile), *_refined(route), *_details(route), *_saliency(route, profile),
            *_segmenters(route, profile), *_many(route)]


def decide(run: Session) -> "pd.DataFrame":
    """Every claim of the paper once: claim_id, statement, published, measured, interval, verdict, why."""
    return decide_all("lee2021", DECIDERS, ClaimEvidence(run), claims("lee2021"))


def _masks(route: Route, profile: str) -> list[Step]:
    """Scores of pseudo-masks with both backgrounds, and the training whose curves are read."""
    rows = [row for row in trained_rows(profile) if row not in _UNREAD]
    return [route.trained(EPS), *(route.score(route.masks(row)) for row in rows),
            *(route.score(route.masks(row), output="learned") for row in rows if row != CAM)]


def _refined(route: Route) -> list[Step]:
    """EPS and CAM after the CRF, and after AffinityNet where it is run."""
    scores = [route.score(route.masks(row, crf=True), output="refined") for row in (EPS, CAM)]
    if route.scale.affinity is None:
        return scores
    return [*scores, *(route.score(route.walked(row)) for row in (EPS, CAM)), walked_contexts(route)]


def _details(route: Route) -> list[Step]:
    """Boundaries, surroundings and all background scores of EPS and CAM."""
    return [step for row in (EPS, CAM) for step in (
        route.boundaries(route.masks(row)), route.contexts(route.masks(row)), route.localisation_score(row),
    )] + [expanded_contexts(route)]


def _saliency(route: Route, profile: str) -> list[Step]:
    """Scores of the detectors that the profile trains with, of the estimate, and which classes are salient."""
    detectors = [name for name in DETECTORS if detector_row(name) in trained_rows(profile)]
    return [*(route.saliency_score(route.saliency(name, "val")) for name in detectors),
            route.saliency_score(route.estimated()), route.covered(route.saliency(split=route.scored)),
            cut_scores(route, route.estimated()), cut_scores(route, route.saliency(split="val"))]


def _segmenters(route: Route, profile: str) -> list[Step]:
    """Every segmenter on val, all but that of the ground truth on test where there is one, those told with CRF."""
    cells = [(labels, net) for labels, nets in taught(profile).items() for net in nets]
    tested = [cell for cell in cells if cell[0] != "full" and has_test(profile)]
    with_crf = [net for net in (V1_VGG, V1_RESNET) if (EPS, net) in cells]
    return [*(route.score(route.prediction(*cell), "val") for cell in cells),
            *(route.score(route.prediction(*cell, "test"), "test") for cell in tested),
            *(route.score(route.prediction(EPS, net, crf=True), "val") for net in with_crf)]


def _many(route: Route) -> list[Step]:
    """EPS and CAM on the world of many objects, where there is one."""
    many = route.crowded
    if many is None:
        return []
    return [*(step for row in (EPS, CAM) for step in (
        many.score(many.masks(row)), many.score(many.prediction(row, V2_VGG), "val"))), many.objects()]
