"""What was measured for Oh et al. 2017, gathered over the seeds of a session; tables and claims read from here."""

import numpy as np

from wsss_lab.evaluation.precision_recall import mean_average_precision
from wsss_lab.lab.steps import Step
from wsss_lab.papers import oh2017
from wsss_lab.papers.shared_evidence import SeededEvidence


def scored_rows(profile: str) -> list[tuple[str, str | None]]:
    """(row, crf-postproc) pairs that a profile trains and scores on val."""
    plain = [(name, None) for name in oh2017.trained_rows(profile)]
    return plain + [pair for pair in oh2017.POSTPROCESSED if pair[0] in oh2017.trained_rows(profile)]


class Evidence(SeededEvidence):
    """Stored scores of a session, stacked over its S seeds.

    Confusions are (S, N, K, K + 1) counts per seed and image; seed counts are (S, N, 3, K, bins).
    """

    def confusions(self, row: str, crf: str | None = None, void: bool = False, split: str = "val") -> np.ndarray:
        """Confusions of a row's segmenter on a split; void=True counts void pixels as background."""
        return self.stack(lambda route: route.scored(row, crf, split), "with_void" if void else "confusions")

    def guide_confusions(self, row: str) -> np.ndarray:
        """Confusions of the pseudo-masks that a row learns from, on the training images."""
        return self.stack(lambda route: route.score(route.guides_of(row), "train"), "confusions")

    def seed_counts(self, seeder: str, split: str = "val") -> np.ndarray:
        """Confidence counts of a seeder on a split: a GAP network, a back-propagation method, or "centre"."""
        return self.stack(lambda route: seeder_score(route, seeder, split), "counts")

    def classifier_scores(self, variant: str) -> np.ndarray:
        """Class scores of a classifier on val: (S, N, C)."""
        return self.stack(lambda route: route.class_maps(variant, "val"), "scores")

    def average_precision(self, variant: str) -> np.ndarray:
        """Mean average precision on val, per seed: (S,) in [0, 1]."""
        return np.array([mean_average_precision(scores, self.tags) for scores in self.classifier_scores(variant)])

    def saliency_counts(self, detector: str = "") -> np.ndarray:
        """Saliency counts on val: (S, N, 4), see wsss_lab.evaluation.saliency_scores."""
        return self.stack(lambda route: route.saliency_score("val", detector), "counts")


def seeder_score(route: "oh2017.Route", seeder: str, split: str = "val") -> Step:
    """The precision-recall step of a seeder on a split."""
    if seeder == "centre":
        return route.seed_scores(route.centre_shape(split)["maps"], "centre mean shape", split)
    if seeder in oh2017.BACKPROP:
        return route.seed_scores(route.backprop(seeder, split)["maps"], f"{seeder} back-propagation", split)
    return route.seed_scores(route.class_maps(seeder, split)["maps"], seeder, split)
