"""What was measured for Araslanov & Roth 2020, gathered over the seeds of a session; for its tables and charts."""

import numpy as np

from wsss_lab.papers.shared_evidence import SeededEvidence


class Evidence(SeededEvidence):
    """Stored scores of a session, stacked over its S seeds.

    Confusions are (S, N, K, K + 1) counts per seed and image; rows are keys of araslanov2020.ROWS. crf: after the dense
    CRF. The other arguments are those of the route's methods of the same name.
    """

    def confusions(self, row: str, crf: bool = False, split: str = "val", tags: str = "predicted",
                   exchanged: bool = False, power: float = 1.0, void: bool = False) -> np.ndarray:
        """Confusions of a row's labels; void=True counts void pixels as background."""
        return self.stack(lambda route: route.score(route.prediction(row, split, tags, exchanged, power), split, crf),
                          "with_void" if void else "confusions")

    def cam_confusions(self, net: str = "main", crf: bool = False, split: str = "val", exchanged: bool = False,
                       void: bool = False) -> np.ndarray:
        """Confusions of the CAM baseline's labels, tags known."""
        return self.stack(lambda route: route.score(route.cam_labels(net, split, exchanged), split, crf),
                          "with_void" if void else "confusions")

    def second_confusions(self, labels: str = "ours", net: str = "ResNet-101", crf: bool = False, split: str = "val",
                          void: bool = False) -> np.ndarray:
        """Confusions of a network of the second stage."""
        return self.stack(lambda route: route.score(route.second_labels(labels, net, split), split, crf),
                          "with_void" if void else "confusions")

    def curves(self, row: str) -> dict[str, np.ndarray]:
        """What a training wrote down per iteration, name -> (S, iterations); shorter where it starts after the warm-up,
        see wsss_lab.segmenter.single_stage.Losses."""
        each = self.stack(lambda route: route.trained(row), "curves")
        return {name: np.array([curves[name] for curves in each]) for name in each[0]}
