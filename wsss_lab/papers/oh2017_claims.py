"""The claims of Oh et al. 2017: what must be computed to decide them, and the decisions."""

from typing import TYPE_CHECKING

from wsss_lab.lab.claims import decide_all
from wsss_lab.lab.published import claims
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers import oh2017_claims_seeders, oh2017_claims_segmenters
from wsss_lab.papers.oh2017 import Route
from wsss_lab.papers.oh2017_claims_evidence import ClaimEvidence, compared_poolings, pooled_last_score

if TYPE_CHECKING:
    import pandas as pd


def steps(route: Route, _profile: str) -> list[Step]:
    """What the claims need at one seed beyond the rows, seeders and guides of the tables and figures; the same in all
    profiles."""
    return [
        *(route.scored("G2", crf, split="train") for crf in (None, "v2")),
        *(route.saliency_score("val", detector) for detector in ("", "unsupervised")),
        compared_poolings(route),
        pooled_last_score(route),
    ]


def decide(run: Session) -> "pd.DataFrame":
    """Every claim of the paper once: claim_id, statement, published, measured, interval, verdict, why."""
    deciders = oh2017_claims_segmenters.DECIDERS | oh2017_claims_seeders.DECIDERS
    return decide_all("oh2017", deciders, ClaimEvidence(run), claims("oh2017"))
