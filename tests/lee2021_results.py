"""Made-up results of Lee et al. 2021 (EPS) on drawn scenes: what its tables and figures are tried out on."""

from types import SimpleNamespace

import numpy as np
from fake_run import FakeRun, lee2021_routes

from wsss_lab.data.toyvoc import CLASSES, make_scenes
from wsss_lab.data.toyvoc_types import CONTEXT_OF_CLASS, CONTEXTS
from wsss_lab.data.views import EvalView
from wsss_lab.lab.profiles import has_test

IMAGES, LABELS, ITERATIONS, BINS = 24, len(CLASSES) + 1, 40, 20
PAIRS = [(CONTEXTS.index(name), CLASSES.index(each)) for each, name in CONTEXT_OF_CLASS.items()]  # (k, c)


class MadeRun(FakeRun):
    """Has no test split where the profile has none. Photographs are wider than high and have no maps of surroundings.
    """

    @property
    def store(self) -> SimpleNamespace:
        return SimpleNamespace(load=self.load)

    def load(self, item):
        other_world = hasattr(item, "split") and item.world != self.world
        return item.load(self) if other_world else super().load(item)

    def view(self, split: str) -> EvalView:
        assert split.partition("[")[0] in ("train", "val") or has_test(self.profile), f"{split} isn't there"
        photos = self.profile == "photos"
        rows = slice(0, 48 if photos else 64)
        more = {} if photos else {"contexts": self.scenes["contexts"], "context_classes": CONTEXTS}
        return EvalView.from_arrays(split, self.world.classes, [f"{split}{number}" for number in range(IMAGES)],
                                    self.scenes["tags"], self.scenes["images"][:, rows], "generator",
                                    masks=self.scenes["masks"][:, rows], **more)


def fake_run(profile: str = "quick", seeds: int = 2) -> MadeRun:
    """Its scenes are few, and yet show all PAIRS."""
    run = MadeRun("lee2021", profile, lee2021_routes(profile, seeds), make, IMAGES)
    run.scenes = make_scenes(IMAGES, 15)
    return run


def make(run: MadeRun, function: str, settings: dict) -> dict:
    if function.endswith("_frames"):  # of saliency, in 0..255
        return {"maps": run.draw_frames(255, IMAGES)}
    if function in ("pseudo_masks", "segment"):
        return {name: run.draw_frames(LABELS - 1, IMAGES) for name in ("masks", "learned", "refined")}
    if function == "toy_scenes":
        return make_scenes(IMAGES, 5) if settings["knobs"] else run.scenes
    if function == "shown_maps":
        return shown_maps(run, settings["images"])
    confusions = run.draw(9, IMAGES, LABELS, LABELS + 1) * run.draw(1, IMAGES, LABELS, LABELS + 1)
    confusions[:, range(LABELS), range(LABELS)] += run.rng.integers(2, 20)
    kinds, tags = 0 if run.profile == "photos" else len(CONTEXTS), run.scenes["tags"]
    present = np.stack([tags[:, dict(PAIRS)[k]] if k in dict(PAIRS) else np.zeros(IMAGES, bool)
                        for k in range(len(CONTEXTS))], 1)
    truth, won = (5 + run.draw(9, IMAGES, LABELS, BINS) for _ in range(2))
    return {
        "score_masks": {"confusions": confusions, "with_void": confusions + 1},
        "score_boundaries": {"counts": np.stack([run.draw(9, IMAGES, 2), *(run.draw(90, IMAGES, 2) + 9 for _ in "ab")],
                                                -1)},
        "score_contexts": {"false": run.draw(50, IMAGES, kinds, LABELS - 1), "present": present[:, :kinds],
                           "confusions": 50 + confusions, "known": np.full(IMAGES, kinds > 0), "missing": 0},
        "score_localisations": {"counts": np.stack([truth, won, np.minimum(truth, won)], 1)},
        "score_saliency": {"counts": 1 + run.draw(90, IMAGES, 4)},
        "object_facts": {"objects": 1 + run.draw(7, IMAGES), "area": 0.02 + run.rng.random(IMAGES) / 4},
        "train_localisation": {"curves": {name: run.rng.random(ITERATIONS).tolist() for name in (
            "classification", "saliency", "selected tags")}},
    }[function]


def shown_maps(run: MadeRun, images: list[int]) -> dict:
    shape = len(images), len(CLASSES)
    maps, overlaps = run.rng.random((*shape, 64, 64)) / 2, run.rng.random(shape)
    maps[::3] += 0.4
    background = np.clip(1 - maps.sum(1, keepdims=True), 0, 1)
    return {"maps": np.concatenate([maps, background], 1).astype(np.float16), "overlaps": overlaps,
            "chosen": run.scenes["tags"][images] & (overlaps > 0.4)}
