"""What the claims of Roy & Todorovic 2017 read: its stored results, with a reason where a profile leaves one out.

Some steps are needed beyond its tables: attention and labels against single objects, and the time attention takes.
"""

from dataclasses import replace

import numpy as np
import torch

from wsss_lab.evaluation.confusion import divide
from wsss_lab.lab.claims import NotMeasured
from wsss_lab.lab.steps import EVALUATION_READS, Step, seeded_step
from wsss_lab.papers.roy2017 import ROWS, Route, has_test, labelled_rows, taught
from wsss_lab.papers.roy2017_claims_steps import attention_seconds, count_pieces, score_attention, score_each_object
from wsss_lab.papers.roy2017_evidence import Evidence
from wsss_lab.papers.shared_claims import MeasuredEvidence
from wsss_lab.seeds.top_down import Attention
from wsss_lab.segmenter.fusion_labels import predicted_labels

FULL = "full"
COMPETITOR, BOUND = "SEC-like", "full supervision"
PARENTS = Attention("none", activation=0.0)  # parents alone, as in excitation back-propagation
UNACTIVATED = Attention(activation=0.0)  # parents and neighbours, without the neurons' own activation (Eq. 7)
TIMED_IMAGES, TIMED_REPEATS = 16, 7
OBJECT_FACTS = ("image", "label", "area", "recall", "attention")


def scored_attention(route: Route, how: Attention | None = None) -> Step:
    """Attention of the full approach on val against the objects; how: another attention than its own."""
    maps = route.attention(FULL, how)
    return seeded_step(None, "evaluation", score_attention, f"score of {maps.label}", {"side": route.backbone["side"]},
                       {"view": route.world.eval_view("val"), "maps": maps["maps"]}, EVALUATION_READS)


def timed_attention(route: Route) -> Step:
    """What attention of the full approach costs."""
    trained = route.trained(FULL)
    settings = {name: trained.settings[name] for name in ("backbone", "method")}
    return seeded_step(route.seed, "seeds", attention_seconds, "time of attention",
                       settings | {"images": TIMED_IMAGES, "repeats": TIMED_REPEATS},
                       {"view": route.world.train_view("val"), "state": trained["state"]})


def counted_pieces(route: Route, row: str = FULL) -> Step:
    """How many pieces the labels of a row fall into on val."""
    labels = route.prediction(row)
    return seeded_step(None, "evaluation", count_pieces, f"pieces in {labels.label}", {},
                       {"view": route.world.eval_view("val"), "masks": labels["masks"]}, EVALUATION_READS)


def scored_objects(route: Route) -> Step:
    """Every object of val with what the full approach finds of it and its attention, tags known."""
    labels = route.prediction(FULL)
    return seeded_step(None, "evaluation", score_each_object, f"objects in {labels.label}",
                       {"side": route.backbone["side"]},
                       {"view": route.world.eval_view("val"), "masks": labels["masks"],
                        "maps": route.attention(FULL)["maps"]}, EVALUATION_READS)


def unrefined(route: Route) -> Step:
    """Score on val of the network without CRF-RNN before its dense CRF."""
    scored = route.score(route.prediction("w/o CRF-RNN"))
    return replace(scored, label=f"{scored.label}, before the dense CRF")


def scored_seeds(route: Route) -> Step:
    """Score of what the competitor learns from, on train."""
    return route.score(route.lessons(COMPETITOR), "train")


class ClaimEvidence(MeasuredEvidence, Evidence):
    """What the claims read; raises NotMeasured for what a session's profile leaves out."""

    def confusions(self, row: str = FULL, split: str = "val", void: bool = False) -> np.ndarray:
        self._check_row(row)
        return super().confusions(row, split, void)

    def taught(self, name: str, split: str = "val", void: bool = False) -> np.ndarray:
        if name not in taught(self.run.profile):
            raise NotMeasured(f"profile {self.run.profile} doesn't train the network '{name}'")
        return super().taught(name, split, void)

    def class_scores(self, row: str = FULL, split: str = "val") -> np.ndarray:
        self._check_row(row)
        return super().class_scores(row, split)

    def unrefined(self) -> np.ndarray:
        """As `confusions`, of the network without CRF-RNN before its dense CRF, on val."""
        return self.stack(unrefined, "confusions")

    def seed_confusions(self) -> np.ndarray:
        """As `confusions`, of what the competitor learns from, on train; undecided pixels in the last column."""
        return self.stack(scored_seeds, "confusions")

    def attention(self, how: Attention | None = None) -> dict[str, np.ndarray]:
        """Attention on val, tags known: "counts" (S, N, 3, K, bins), "inside" (S, N, 4), see score_attention."""
        return {name: self.stack(lambda route: scored_attention(route, how), name) for name in ("counts", "inside")}

    def seconds(self) -> np.ndarray:
        """What attention costs: (S, repeats, 5), see attention_seconds."""
        return self.stack(timed_attention, "seconds")

    def pieces(self, row: str = FULL) -> np.ndarray:
        """Counts of pieces and objects on val: (S, N, 4), see count_pieces."""
        self._check_row(row)
        return self.stack(lambda route: counted_pieces(route, row), "counts")

    def objects(self) -> dict[str, np.ndarray]:
        """OBJECT_FACTS of the M objects of val, see score_each_object: "recall" and "attention" are (S, M), others (M,)
        as they are the same at every seed."""
        facts = {name: self.stack(scored_objects, name) for name in OBJECT_FACTS}
        return {name: values if name in ("recall", "attention") else values[0] for name, values in facts.items()}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of claims on val and test: both, or val where a profile has no other with masks."""
        return ("val", "test") if has_test(self.run.profile) else ("val",)

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows that the profile labels."""
        return labelled_rows(self.run.profile)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of all labels, background first."""
        return ("background", *self.run.world.classes)

    def _check_row(self, row: str) -> None:
        if row in ROWS and row not in self.rows:
            raise NotMeasured(f"profile {self.run.profile} doesn't have the row '{row}'")


def predicted_classes(scores: np.ndarray) -> np.ndarray:
    """The classes that images are taken to show: logits (..., K), background first -> bool (..., C), C = K - 1."""
    flat = torch.from_numpy(np.ascontiguousarray(scores)).flatten(0, -2)
    return predicted_labels(flat)[:, 1:].numpy().reshape(*scores.shape[:-1], -1)


def named_classes(scores: np.ndarray, tags: np.ndarray) -> tuple[float, float]:
    """Precision and recall in per cent of the predicted classes, over all images and seeds.

    scores: (S, N, K) logits. tags: bool (N, C).
    """
    named = predicted_classes(scores)
    right = (named & tags).sum()
    return 100 * float(divide(right, named.sum())), 100 * float(divide(right, len(named) * tags.sum()))
