"""The claims of Chaudhry et al. 2017: what must be computed to decide them, and the decisions."""

from typing import TYPE_CHECKING

from wsss_lab.fusion.harmonic import MEANS
from wsss_lab.lab.claims import decide_all
from wsss_lab.lab.published import claims
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers import chaudhry2017_claims_cues, chaudhry2017_claims_networks
from wsss_lab.papers.chaudhry2017 import POSTPROCESSED, TESTED, Route, has_test, trained_rows, tuning_split
from wsss_lab.papers.chaudhry2017_claims_evidence import (
    ClaimEvidence,
    compared_with_cam,
    final_split,
    measured_shapes,
)

if TYPE_CHECKING:
    import pandas as pd


def steps(route: Route, profile: str) -> list[Step]:
    """Everything that the claims need at one seed and that a profile runs."""
    return [*_scores(route, profile), *_cue_scores(route, profile), *_map_scores(route, profile)]


def decide(run: Session) -> "pd.DataFrame":
    """Every claim of the paper once: claim_id, statement, published, measured, interval, verdict, why."""
    deciders = chaudhry2017_claims_networks.DECIDERS | chaudhry2017_claims_cues.DECIDERS
    return decide_all("chaudhry2017", deciders, ClaimEvidence(run), claims("chaudhry2017"))


def _scores(route: Route, profile: str) -> list[Step]:
    rows = trained_rows(profile)
    tested = [(row, True, "test") for row in TESTED if row in rows and has_test(profile)]
    return [*(route.scored(row) for row in rows), *(route.scored(row, True) for row in POSTPROCESSED if row in rows),
            *(route.scored(*cell) for cell in tested), route.score(route.direct("predicted")),
            route.score(route.direct("known"))]


def _cue_scores(route: Route, profile: str) -> list[Step]:
    rows = trained_rows(profile)
    explained = [(name, 1) for name in ("S1", "S2", "S3", "G2", "VGG, S3 + adapt", "VGG, G2") if name in rows]
    return [route.score(route.cues_of(*each), "train") for each in (*explained, ("S3 + adapt", 2))]


def _map_scores(route: Route, profile: str) -> list[Step]:
    swept = [route.agreement(mean, "S3", split) for mean in MEANS for split in (tuning_split(profile), "train")]
    return [*swept, route.attention_score("train"), route.attention_score("val"), route.attention_score("val", "max"),
            route.objects_found("S1"), route.objects_found("S3"), compared_with_cam(route),
            measured_shapes(route, final_split(profile))]
