"""Made-up results of Lee et al. 2021 (EPS): what its tables are tried out on."""

import numpy as np
from fake_run import FakeRun, lee2021_routes
from table_parts import mean_score

from wsss_lab.data.toyvoc import CLASSES
from wsss_lab.data.views import EvalView
from wsss_lab.lab.profiles import has_test
from wsss_lab.papers.lee2021.tables import Evidence

IMAGES, LABELS = 12, len(CLASSES) + 1
SURROUNDINGS = ("meadow", "water")


class TablesRun(FakeRun):
    """On 12 scenes, of which six show the first class, on a meadow, and the others water; all show all other classes.

    Has no test split where the profile has none, and no maps of surroundings (contexts) for photographs.
    """

    @property
    def contexts(self) -> bool:
        return self.profile != "photos"

    def view(self, split: str) -> EvalView:
        assert split.partition("[")[0] in ("train", "val") or has_test(self.profile), f"{split} isn't there"
        tags = np.ones((IMAGES, LABELS - 1), bool)
        tags[:, 0] = np.arange(IMAGES) % 2
        more = {"contexts": self.scenes["masks"] * 0 + 1, "context_classes": SURROUNDINGS} if self.contexts else {}
        return EvalView.from_arrays(split, self.world.classes, [f"{split}{number}" for number in range(IMAGES)], tags,
                                    self.scenes["images"], "generator", masks=self.scenes["masks"], **more)


def fake_run(profile: str = "quick", seeds: int = 2) -> TablesRun:
    return TablesRun("lee2021", profile, lee2021_routes(profile, seeds), make, IMAGES)


def make(run: TablesRun, function: str, settings: dict) -> dict:
    confusions = run.draw(8, IMAGES, LABELS, LABELS + 1)
    confusions[:, range(LABELS), range(LABELS)] += run.rng.integers(10, 90)
    if function == "score_masks":
        return {"confusions": confusions, "with_void": confusions + 1}
    if function == "score_contexts":
        kinds, first = len(SURROUNDINGS) * run.contexts, np.arange(IMAGES) % 2 == 1
        return {"false": run.draw(50, IMAGES, kinds, LABELS - 1), "present": np.stack([first, ~first], 1)[:, :kinds],
                "confusions": confusions, "known": np.full(IMAGES, run.contexts), "missing": 0}
    if function == "score_boundaries":
        return {"counts": np.stack([run.draw(9, IMAGES, 2), *(run.draw(90, IMAGES, 2) + 9 for _ in range(2))], -1)}
    if function == "score_localisations":
        truth, won = run.draw(40, IMAGES, LABELS, 128), run.draw(40, IMAGES, LABELS, 128)
        return {"counts": np.stack([truth, won, np.minimum(truth, won)], 1)}
    return {"score_saliency": {"counts": run.draw(90, IMAGES, 4) + 1},
            "object_facts": {"objects": np.arange(IMAGES), "area": np.full(IMAGES, 0.0321)},
            "train_localisation": {"curves": {"selected tags": run.rng.random(40).tolist()}}}[function]


def pseudo(run, row: str, **more) -> float:
    """Score of a row's pseudo-masks. more: see Evidence.pseudo."""
    return mean_score(Evidence(run).pseudo(row, **more))


def selected(run, row: str) -> float:
    """Per cent of selected tags in the last four of forty iterations."""
    return 100 * np.mean([curve[-4:] for curve in Evidence(run).curves(row)["selected tags"]])
