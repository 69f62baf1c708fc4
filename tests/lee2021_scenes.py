"""Made-up results of Lee et al. 2021 (EPS) on drawn scenes: what its figures are tried out on."""

from types import SimpleNamespace

import numpy as np
from fake_run import FakeRun, lee2021_routes

from wsss_lab.data.toyvoc import CLASSES, make_scenes
from wsss_lab.data.toyvoc_types import CONTEXT_OF_CLASS, CONTEXTS
from wsss_lab.data.views import EvalView

IMAGES, LABELS, ITERATIONS, BINS = 24, len(CLASSES) + 1, 40, 8
PAIRS = [(CONTEXTS.index(name), CLASSES.index(each)) for each, name in CONTEXT_OF_CLASS.items()]  # (k, c)


def make(run: FakeRun, function: str, settings: dict) -> dict:
    if function.endswith("_frames"):  # of saliency, in 0..255
        return {"maps": run.draw_frames(255, IMAGES)}
    return globals()[f"make_{function}"](run, settings)


def make_score_masks(run: FakeRun, _settings: dict) -> dict:
    return {"confusions": run.draw(9, IMAGES, LABELS, LABELS + 1) * run.draw(1, IMAGES, LABELS, LABELS + 1)}


def make_pseudo_masks(run: FakeRun, _settings: dict) -> dict:
    return {name: run.draw_frames(LABELS - 1, IMAGES) for name in ("masks", "learned", "refined")}


make_segment = make_pseudo_masks


def make_score_boundaries(run: FakeRun, _settings: dict) -> dict:
    return {"counts": run.draw(20, IMAGES, 2, 3) + [0, 20, 20]}


def make_score_contexts(run: FakeRun, _settings: dict) -> dict:
    present = np.zeros((IMAGES, len(CONTEXTS)), bool)
    for k, c in PAIRS:
        present[:, k] = run.scenes["tags"][:, c]
    return {"false": run.draw(50, IMAGES, len(CONTEXTS), len(CLASSES)), "present": present,
            "known": np.ones(IMAGES, bool), "confusions": 50 + run.draw(9, IMAGES, LABELS, LABELS + 1)}


def make_score_saliency(run: FakeRun, _settings: dict) -> dict:
    return {"counts": 1 + run.draw(99, IMAGES, 4)}


def make_object_facts(run: FakeRun, _settings: dict) -> dict:
    return {"objects": 1 + run.draw(7, IMAGES), "area": 0.02 + run.rng.random(IMAGES) / 4}


def make_train_localisation(run: FakeRun, _settings: dict) -> dict:
    return {"curves": {name: run.rng.random(ITERATIONS).tolist() for name in (
        "classification", "saliency", "selected tags", "background")}}


def make_score_localisations(run: FakeRun, _settings: dict) -> dict:
    return {"counts": 5 + run.draw(9, IMAGES, 3, LABELS, BINS)}


def make_shown_maps(run: FakeRun, settings: dict) -> dict:
    shape = len(settings["images"]), len(CLASSES)
    maps, overlaps = run.rng.random((*shape, 64, 64)) / 2, run.rng.random(shape)
    maps[::3] += 0.4
    background = np.clip(1 - maps.sum(1, keepdims=True), 0, 1)
    return {"maps": np.concatenate([maps, background], 1).astype(np.float16), "overlaps": overlaps,
            "chosen": run.scenes["tags"][settings["images"]] & (overlaps > 0.4)}


def make_toy_scenes(run: FakeRun, settings: dict) -> dict:
    return make_scenes(IMAGES, 5) if settings["knobs"] else run.scenes


class PicturesRun(FakeRun):
    """With contexts, and a store to open another world from; `wide`: photographs that are wider than high."""

    wide = False

    @property
    def store(self) -> SimpleNamespace:
        return SimpleNamespace(load=self.load)

    def compute(self, *steps) -> None:
        pass

    def view(self, split: str) -> EvalView:
        rows = slice(0, 48 if self.wide else 64)
        return EvalView.from_arrays(
            split, CLASSES, [f"{split}{number}" for number in range(self.images)], self.scenes["tags"],
            self.scenes["images"][:, rows], "generator", masks=self.scenes["masks"][:, rows],
            contexts=self.scenes["contexts"][:, rows], context_classes=CONTEXTS)


def fake_run(profile: str = "quick", seeds: int = 2) -> PicturesRun:
    run = PicturesRun("lee2021", profile, lee2021_routes(profile, seeds), make, IMAGES)
    run.wide = profile == "photos"
    return run

