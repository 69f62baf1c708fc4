"""What was measured for Lee et al. 2021, gathered over the seeds of a session; for its tables and claims."""

import numpy as np

from wsss_lab.evaluation.co_occurrence import co_occurring_pairs
from wsss_lab.lab.steps import Step
from wsss_lab.papers.shared_evidence import SeededEvidence


class Evidence(SeededEvidence):
    """Stored scores of a session, stacked over its S seeds.

    Confusions are (S, N, K, K + 1) counts per seed and image; rows are keys of lee2021.ROWS, segmenters names of
    lee2021.segmenters. split: "" is the part of the training images that pseudo-masks are scored on. many: of the world
    of many objects (Table 7) instead of the main one.
    """

    def of(self, route, many: bool = False):
        """A route, or its counterpart on the world of many objects."""
        return route.crowded if many else route

    def pseudo(self, row: str, split: str = "", output: str = "masks", many: bool = False,
               void: bool = False) -> np.ndarray:
        """Confusions of a row's pseudo-masks. output: "masks", "learned" (with the learned background map) or "refined"
        (after the dense CRF); void=True counts void pixels as background."""
        def score(route) -> Step:
            route = self.of(route, many)
            return route.score(route.masks(row, split, output == "refined"), split, output)

        return self.stack(score, "with_void" if void else "confusions")

    def walked(self, row: str, split: str = "") -> np.ndarray:
        """Confusions of a row's pseudo-masks after AffinityNet."""
        return self.stack(lambda route: route.score(route.walked(row, split), split), "confusions")

    def segmented(self, labels: str, net: str, split: str = "val", crf: bool = False, many: bool = False,
                  void: bool = False) -> np.ndarray:
        """Confusions of a segmenter that was taught by `labels`."""
        def score(route) -> Step:
            route = self.of(route, many)
            return route.score(route.prediction(labels, net, split, crf), split)

        return self.stack(score, "with_void" if void else "confusions")

    def boundaries(self, row: str, split: str = "") -> np.ndarray:
        """Boundary counts of a row's pseudo-masks: (S, N, tolerances, 3)."""
        return self.stack(lambda route: route.boundaries(route.masks(row, split), split), "counts")

    def contexts(self, row: str, split: str = "") -> dict[str, np.ndarray]:
        """Co-occurrence counts of a row's pseudo-masks, name -> (S, ...); see wsss_lab.evaluation.co_occurrence."""
        def step(route) -> Step:
            return route.contexts(route.masks(row, split), split)

        return {name: self.stack(step, name) for name in ("false", "present", "confusions", "known", "missing")}

    def scored_view(self):
        """The training images whose pseudo-masks are scored, with their masks."""
        return self.run.view(self.run.route.scored)

    def pairs(self) -> list[tuple[int, int]]:
        """The surroundings k that go with classes c, both 0-based, by the masks and context maps of the scored images.

        Empty where the world has no context maps, or no class keeps to one kind of surroundings.
        """
        found = self.contexts("CAM")  # any row: the ground truth alone is read
        known = found["known"][0]
        return co_occurring_pairs(self.scored_view().tags[known], found["present"][0][known])

    def counts(self, row: str, split: str = "") -> np.ndarray:
        """Confidence counts of a row's maps: (S, N, 3, K, bins)."""
        return self.stack(lambda route: route.localisation_score(row, split), "counts")

    def curves(self, row: str) -> dict[str, np.ndarray]:
        """What a training wrote down per iteration, name -> (S, iterations); empty for CAM."""
        each = self.stack(lambda route: route.trained(row), "curves")
        return {name: np.array([curves[name] for curves in each]) for name in each[0]}

    def saliency(self, detector: str = "masks", split: str = "val") -> np.ndarray:
        """Foreground counts (S, N, 4) of a detector's maps."""
        return self.stack(lambda route: route.saliency_score(route.saliency(detector, split), split), "counts")

    def estimated(self, row: str = "adaptive", split: str = "val") -> np.ndarray:
        """Foreground counts (S, N, 4) of the saliency that a row estimates."""
        return self.stack(lambda route: route.saliency_score(route.estimated(row, split), split), "counts")

    def covered(self, detector: str = "masks", split: str = "") -> np.ndarray:
        """Confusions (S, N, K, K + 1) whose column 1 counts the salient pixels of each class."""
        return self.stack(lambda route: route.covered(route.saliency(detector, split or route.scored), split),
                          "confusions")

    def objects(self, split: str = "val", many: bool = True) -> dict[str, np.ndarray]:
        """Objects per image and their mean area: name -> (N,)."""
        step = self.of(self.run.routes[0], many).objects(split)
        return {name: np.asarray(self.run.load(step[name])) for name in ("objects", "area")}
