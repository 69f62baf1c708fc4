"""A session whose results are made up: what tables and figures are tried out on."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd

from wsss_lab.data.toyvoc import CLASSES, make_scenes
from wsss_lab.data.views import EvalView
from wsss_lab.lab.profiles import has_test
from wsss_lab.lab.published import published
from wsss_lab.lab.steps import Output, Step
from wsss_lab.measure.quantities import Results
from wsss_lab.papers.araslanov2020 import route as araslanov2020
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.roy2017 import route as roy2017

SIDE = 64


class FakeRun:
    """A session on drawn scenes whose results are random; remembers what was loaded.

    make: from this run, a step function's name and its settings to the result.
    """

    def __init__(self, paper: str, profile: str, routes: list, make: Callable[["FakeRun", str, dict], dict],
                 images: int = 24):
        self.paper, self.profile, self.routes, self.seeds = paper, profile, routes, len(routes)
        self.route, self.world = routes[0], routes[0].world
        self.scenes, self.images = make_scenes(images, 0), images
        self.rng = np.random.default_rng(0)
        self.loaded: dict[Step, None] = {}
        self.made, self._make = {}, make
        self.results = Results(self, most=20)

    def published(self, name: str) -> pd.DataFrame:
        return published(self.paper, name)

    def view(self, split: str) -> EvalView:
        names = [f"{split}{number}" for number in range(self.images)]
        return EvalView.from_arrays(split, CLASSES, names, self.scenes["tags"], self.scenes["images"], "generator",
                                    masks=self.scenes["masks"])

    def load(self, item):
        if not isinstance(item, Step | Output):  # a view, or what is made of views
            return item.make(*map(self.load, item.references)) if hasattr(item, "make") else self.view(item.split)
        step = item.step if isinstance(item, Output) else item
        self.loaded[step] = None
        if step not in self.made:
            self.made[step] = self._make(self, step.function.__name__, step.settings)
        return self.made[step][item.name] if isinstance(item, Output) else self.made[step]

    def draw(self, most: int, *shape: int) -> np.ndarray:
        """Random whole numbers from 0 to `most`."""
        return self.rng.integers(0, most + 1, shape)

    def draw_frames(self, most: int, count: int) -> np.ndarray:
        """Frames (count, SIDE, SIDE) of 16 x 16 squares."""
        return self.draw(most, count, 4, 4).repeat(SIDE // 4, 1).repeat(SIDE // 4, 2)


class TablesRun(FakeRun):
    """A session for tables: has no test split where the profile has none."""

    def view(self, split: str) -> EvalView:
        assert split in ("train", "val") or has_test(self.profile), f"{split} isn't there"
        return super().view(split)


def oh2017_routes(seeds: int, ready_made: bool = False) -> list:
    """Routes of the quick profile; ready_made: with U2-Net-P as the detector, as for photographs."""
    route = oh2017.routes("quick", 1)[0]
    u2net = SimpleNamespace(key="weights", exposes_masks=False, load=None) if ready_made else None
    profile = "photos" if ready_made else "quick"
    return [oh2017.Route(route.world, route.scale, seed, route.start, u2net, profile) for seed in range(seeds)]


def chaudhry2017_routes(profile: str, seeds: int) -> list:
    """Routes of the quick profile, or such as those of photographs: one network, U2-Net-P as the detector."""
    photos, real = profile == "photos", chaudhry2017.routes("quick", 1)[0]
    scale = chaudhry2017.SCALES["photos"] if photos else real.scale
    return [chaudhry2017.Route(real.world, scale, seed, real.starts, guided)
            for seed, guided in enumerate(oh2017_routes(seeds, ready_made=photos))]


def araslanov2020_routes(profile: str, seeds: int) -> list:
    """Routes of the quick profile, or such as those of photographs: one backbone, few rows."""
    photos, real = profile == "photos", araslanov2020.routes("quick", 1)[0]
    scale = araslanov2020.SCALES["photos"] if photos else real.scale
    return [araslanov2020.Route(real.world, scale, seed, real.starts, guided, profile)
            for seed, guided in enumerate(oh2017_routes(seeds, ready_made=photos))]


def roy2017_routes(profile: str, seeds: int) -> list:
    """Routes of the quick profile, or such as those of photographs: few rows."""
    real = roy2017.routes("quick", 1)[0]
    scale = roy2017.SCALES["photos"] if profile == "photos" else real.scale
    return [roy2017.Route(real.world, scale, seed, real.start, profile) for seed in range(seeds)]


def lee2021_routes(profile: str, seeds: int) -> list:
    """Routes of the quick profile, or such as those of photographs: few rows, one segmenter, no world of many
    objects."""
    photos, real = profile == "photos", lee2021.routes("quick", 1)[0]
    scale, many = (lee2021.SCALES["photos"], None) if photos else (real.scale, real.many)
    starts = real.starts | dict.fromkeys(scale.nets, real.starts["VGG16"]) if photos else real.starts
    return [lee2021.Route(guided.world, scale, seed, starts, guided, many, profile)
            for seed, guided in enumerate(oh2017_routes(seeds, ready_made=photos))]
