"""What was measured for Roy & Todorovic 2017, gathered over the seeds of a session; for its tables and claims."""

from typing import Any

import numpy as np

from wsss_lab.papers.shared_evidence import SeededEvidence


class Evidence(SeededEvidence):
    """Stored scores of a session, stacked over its S seeds.

    Confusions are (S, N, K, K + 1) counts per seed and image; rows are keys of roy2017.ROWS.
    """

    def confusions(self, row: str = "full", split: str = "val", void: bool = False) -> np.ndarray:
        """Confusions of a row's labels; void=True counts void pixels as background."""
        return self.stack(lambda route: route.scored(row, split), "with_void" if void else "confusions")

    def taught(self, name: str, split: str = "val", void: bool = False) -> np.ndarray:
        """Confusions of a network of roy2017.TAUGHT."""
        return self.stack(lambda route: route.taught_score(name, split), "with_void" if void else "confusions")

    def labels(self, row: str = "full", split: str = "val") -> np.ndarray:
        """Label maps of a row: uint8 (S, N, Hmax, Wmax)."""
        return self.stack(lambda route: route.prediction(row, split), "masks")

    def class_scores(self, row: str = "full", split: str = "val") -> np.ndarray:
        """Image scores of a row's network: (S, N, K) logits, background first."""
        return self.stack(lambda route: route.prediction(row, split), "scores")

    def curves(self, training: str = "full") -> dict[str, np.ndarray]:
        """What a training wrote down per iteration, name -> (S, iterations); shorter where it starts after the warm-up,
        see wsss_lab.segmenter.fusion.Losses."""
        each = self.stack(lambda route: route.trained(training), "curves")
        return {name: np.array([curves[name] for curves in each]) for name in each[0]}

    def study(self) -> dict[str, Any]:
        """The modes of the rectified Gaussian on some images, of the first seed, see
        wsss_lab.papers.roy2017_steps.gaussian_study."""
        names = ("b", "maps", "residual", "active", "eigenvalues", "similarity")
        return {name: self.run.load(self.run.routes[0].study()[name]) for name in names}
