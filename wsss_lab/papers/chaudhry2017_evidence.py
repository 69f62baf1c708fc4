"""What was measured for Chaudhry et al. 2017, gathered over the seeds of a session; for its tables and claims."""

import numpy as np

from wsss_lab.evaluation.precision_recall import mean_average_precision
from wsss_lab.papers.shared_evidence import SeededEvidence


class Evidence(SeededEvidence):
    """Stored scores of a session, stacked over its S seeds.

    Confusions are (S, N, K, K + 1) counts per seed and image; confidence counts are (S, N, 3, K, bins), see
    wsss_lab.evaluation.precision_recall; rows are keys of chaudhry2017.ROWS.
    """

    def confusions(self, row: str, crf: bool = False, split: str = "val", void: bool = False,
                   scales: tuple[float, ...] = ()) -> np.ndarray:
        """Confusions of a row's network on a split; void=True counts void pixels as background."""
        return self.stack(lambda route: route.scored(row, crf, split, scales), "with_void" if void else "confusions")

    def cue_confusions(self, row: str, round: int = 1, void: bool = False) -> np.ndarray:
        """Confusions, on the training images, of the cues that a round of a row learns from; void as above."""
        return self.stack(lambda route: route.score(route.cues_of(row, round), "train"),
                          "with_void" if void else "confusions")

    def direct_confusions(self, tags: str = "predicted") -> np.ndarray:
        """Confusions of attention and S3 combined directly, on val (Table 4, "no")."""
        return self.stack(lambda route: route.score(route.direct(tags)), "confusions")

    def attention_counts(self, split: str = "val", pooling: str = "average", frozen: bool = False) -> np.ndarray:
        """Confidence counts of the attention maps alone."""
        return self.stack(lambda route: route.attention_score(split, pooling, frozen), "counts")

    def agreement_counts(self, mean: str = "harmonic", kind: str = "S3", split: str = "train") -> np.ndarray:
        """Confidence counts of Algorithm 1's means: the threshold of their sweep is gamma."""
        return self.stack(lambda route: route.agreement(mean, kind, split), "counts")

    def object_counts(self, step: str, split: str = "val", detector: str = "") -> np.ndarray:
        """Found and all pixels of the three largest objects: (S, N, 3, 2), see wsss_lab.evaluation.object_recall."""
        return self.stack(lambda route: route.objects_found(step, split, detector), "counts")

    def salient_counts(self, step: str, split: str = "val", detector: str = "") -> np.ndarray:
        """Salient pixels of S1, S2 or S3 against the objects: (S, N, 4), see wsss_lab.evaluation.saliency_scores."""
        return self.stack(lambda route: route.salient_pixels(step, split, detector), "counts")

    def number_of_objects(self, split: str = "val") -> np.ndarray:
        """How many separate objects each image shows: (N,)."""
        return self.stack(lambda route: route.objects_found("S1", split), "objects")[0]

    def classifier_scores(self, net: str = "main", pooling: str = "average", frozen: bool = False) -> np.ndarray:
        """Class scores of the attention network on val: (S, N, C) logits."""
        return self.stack(lambda route: route.volumes("val", net, pooling, frozen), "scores")

    def average_precision(self, net: str = "main", pooling: str = "average", frozen: bool = False) -> np.ndarray:
        """Mean average precision of the attention network as a classifier on val, per seed: (S,) in [0, 1]."""
        return np.array([mean_average_precision(scores, self.tags)
                         for scores in self.classifier_scores(net, pooling, frozen)])
