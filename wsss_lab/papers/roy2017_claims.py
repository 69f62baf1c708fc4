"""The claims of Roy & Todorovic 2017: what must be computed to decide them, and the decisions."""

from typing import TYPE_CHECKING

from wsss_lab.lab.claims import decide_all
from wsss_lab.lab.published import claims
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers import roy2017_claims_attention, roy2017_claims_rows
from wsss_lab.papers.roy2017 import (
    AGGREGATIONS,
    BASELINES,
    ITERATIONS,
    Route,
    has_test,
    labelled_rows,
    taught,
)
from wsss_lab.papers.roy2017_claims_evidence import (
    BOUND,
    COMPETITOR,
    PARENTS,
    UNACTIVATED,
    ClaimEvidence,
    counted_pieces,
    scored_attention,
    scored_objects,
    scored_seeds,
    timed_attention,
    unrefined,
)
from wsss_lab.papers.roy2017_claims_rows import IMAGE_PRIOR, NO_INFERENCE, NO_UNARY

if TYPE_CHECKING:
    import pandas as pd

DECIDERS = roy2017_claims_rows.DECIDERS | roy2017_claims_attention.DECIDERS

_ON_SPLITS = (*BASELINES, *AGGREGATIONS)


def steps(route: Route, profile: str) -> list[Step]:
    """Everything that the claims need at one seed and that a profile runs."""
    return [*_rows(route, profile), *_others(route, profile), *_attention(route), *_objects(route, profile)]


def decide(run: Session) -> "pd.DataFrame":
    """Every claim of the paper once: claim_id, statement, published, measured, interval, verdict, why."""
    return decide_all("roy2017", DECIDERS, ClaimEvidence(run), claims("roy2017"))


def _rows(route: Route, profile: str) -> list[Step]:
    """Scores of the rows that claims compare, on all splits with masks."""
    wanted = (*_ON_SPLITS, IMAGE_PRIOR, *(f"{count} iterations" for count in ITERATIONS))
    rows = [row for row in wanted if row in labelled_rows(profile)]
    tested = [row for row in rows if row in _ON_SPLITS and has_test(profile)]
    return [*(route.scored(row) for row in rows), *(route.scored(row, "test") for row in tested), unrefined(route)]


def _others(route: Route, profile: str) -> list[Step]:
    """Scores of the competitor, of its seeds and of the upper bound."""
    if not taught(profile):
        return []
    tested = [route.taught_score(COMPETITOR, "test")] if has_test(profile) else []
    return [route.taught_score(COMPETITOR), *tested, route.taught_score(BOUND), scored_seeds(route)]


def _attention(route: Route) -> list[Step]:
    """Attention with and without neighbours against the objects, and its time."""
    return [*(scored_attention(route, how) for how in (None, PARENTS, UNACTIVATED)), timed_attention(route)]


def _objects(route: Route, profile: str) -> list[Step]:
    """Every object of val, and pieces of the rows that differ by attention in the unary."""
    rows = ("full", NO_UNARY, NO_INFERENCE)
    if NO_UNARY not in labelled_rows(profile):
        return [scored_objects(route)]
    return [scored_objects(route), *(counted_pieces(route, row) for row in rows)]
