"""The claims of Araslanov & Roth 2020: what must be computed to decide them, and the decisions."""

from typing import TYPE_CHECKING

from wsss_lab.lab.claims import decide_all
from wsss_lab.lab.published import claims
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Step
from wsss_lab.papers import (
    araslanov2020_claims_analytic,
    araslanov2020_claims_networks,
    araslanov2020_claims_training,
)
from wsss_lab.papers.araslanov2020 import EXCHANGED, SWITCHES, Route, has_test, trained_nets, trained_rows
from wsss_lab.papers.araslanov2020_claims_evidence import KNOWN_TAGS, ClaimEvidence, row_of

if TYPE_CHECKING:
    import pandas as pd

DECIDERS = (araslanov2020_claims_training.DECIDERS | araslanov2020_claims_networks.DECIDERS
            | araslanov2020_claims_analytic.DECIDERS)


#: Rows whose scores no claim reads, and rows whose curves some do.
_UNREAD = (*EXCHANGED, *(name for name in SWITCHES if name != "epsilon=0"))
_CURVES = ("reference", "no PAMR", "epsilon=0")


def steps(route: Route, profile: str) -> list[Step]:
    """Everything that the claims need at one seed and that a profile runs."""
    return [*_trainings(route, profile), *_final(route, profile), *_backbones(route, profile), *_second(route, profile),
            route.memory()]


def decide(run: Session) -> "pd.DataFrame":
    """Every claim of the paper once: claim_id, statement, published, measured, interval, verdict, why."""
    return decide_all("araslanov2020", DECIDERS, ClaimEvidence(run), claims("araslanov2020"))


def _trainings(route: Route, profile: str) -> list[Step]:
    """Scores of the ablations' rows, and trainings whose curves are read."""
    rows = [row for row in trained_rows(profile) if row not in _UNREAD]
    scores = [step for row in rows if row not in SWITCHES for step in _scored(route, route.prediction(row))]
    scores += [route.score(route.prediction(row)) for row in rows if row in SWITCHES]
    return [*(route.trained(row) for row in _CURVES if row in rows), *scores]


def _final(route: Route, profile: str) -> list[Step]:
    """The final model and the CAM baseline with tags known, and the final model on test."""
    known = [step for split in KNOWN_TAGS
             for labels in (route.prediction("ours", split, "known"), route.cam_labels("main", split))
             for step in _scored(route, labels, split)]
    return known + (_scored(route, route.prediction("ours", "test"), "test") if has_test(profile) else [])


def _backbones(route: Route, profile: str) -> list[Step]:
    """Both methods with every backbone, tags known; a profile with one backbone has nothing to compare."""
    nets = trained_nets(profile)
    labels = [each for net in nets if len(nets) > 1
              for each in (*(route.prediction(row_of(net), "val", "known", exchanged) for exchanged in (True, False)),
                           route.cam_labels(net, "val", True))]
    return [step for each in labels for step in _scored(route, each)]


def _second(route: Route, profile: str) -> list[Step]:
    """Networks trained on our labels, where a profile has their backbones."""
    if "ResNet-101" not in trained_nets(profile):
        return []
    on_test = [route.score(route.second_labels(split="test"), "test")] if has_test(profile) else []
    return [step for net in ("ResNet-101", "main")
            for step in _scored(route, route.second_labels("ours", net))] + on_test


def _scored(route: Route, labels: Step, split: str = "val") -> list[Step]:
    return [route.score(labels, split), route.score(labels, split, crf=True)]
