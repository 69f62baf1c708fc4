"""The parts of the five papers in each other's places: class maps x saliency x fusion x refinement.

All else is the same for all: one world, image tags known, one segmenter and one training of it (those of Oh et al.
2017). Networks look at an image once for their class maps (attention's in its three sizes, whose maximum the maps are),
each tag's largest value is 1. Thresholds are those that do best on dev,
one for each kind of maps and fusion: dev's pixel labels are the only ones that pseudo-masks rest on.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data import frames
from wsss_lab.data.canvas import normalise
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.evaluation.scoring import score_seeds
from wsss_lab.fusion.guides import g2_frames
from wsss_lab.fusion.harmonic import harmonic_mean
from wsss_lab.lab.steps import Output, Step
from wsss_lab.networks.inference import batches_of, device_of
from wsss_lab.papers.araslanov2020 import route as araslanov2020
from wsss_lab.papers.chaudhry2017 import route as chaudhry2017
from wsss_lab.papers.chaudhry2017.route import tuning_split
from wsss_lab.papers.lee2021 import route as lee2021
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.route import PaperRoute
from wsss_lab.papers.roy2017 import route as roy2017
from wsss_lab.refinement.dense_crf import CrfParameters, refine_probabilities
from wsss_lab.refinement.pamr import DILATIONS, pamr
from wsss_lab.saliency.maps import salient_masks
from wsss_lab.seeds.cam import normalised_maps, seed_labels
from wsss_lab.seeds.localisation import restore_localisation
from wsss_lab.seeds.weighted_pooling import masks_of
from wsss_lab.segmenter.single_stage import restore_single_stage

#: Whose class maps -> the paper that they are from.
MAPS = {"GAP": "oh2017", "attention": "chaudhry2017", "top-down": "roy2017", "single stage": "araslanov2020",
        "EPS": "lee2021"}
FUSIONS = ("threshold", "region", "harmonic mean", "G2")
#: The first is everybody's unless another is named. "boxes" and "masks": what the detector has learnt from; "erasing":
#: that of "boxes" after three looks.
DETECTORS = ("boxes", "erasing", "unsupervised", "masks")
REFINEMENTS = ("none", "dense CRF", "PAMR")
SURE = 0.7  # probability of a label that is to be refined; the rest is shared by the image's other labels
PAPERS = {module.__name__.split(".")[-2]: module
          for module in (oh2017, chaudhry2017, roy2017, araslanov2020, lee2021)}


# --- class maps of networks whose own papers look at images in several sizes ------------------------------------------


@torch.inference_mode()
def _grids(view: TrainView, net: torch.nn.Module, side: int, look: Callable[[Tensor], Tensor]) -> dict:
    """{"maps": float16 (N, C, h, w) on canvases of this side}; look: from pixels to maps of the classes."""
    parts = [look(normalise(pixels.to(device_of(net)))) for _, pixels, _ in batches_of(view, side)]
    return {"maps": torch.cat(parts).half().cpu().numpy()}


def single_stage_maps(view: TrainView, state: dict[str, Tensor], backbone: dict, method: dict) -> dict:
    """The masks of the classes of Araslanov & Roth's network, on one canvas per image, see `_grids`."""
    net = restore_single_stage(state, backbone, method)
    return _grids(view, net, backbone["side"], lambda pixels: masks_of(net(pixels).float())[:, 1:])


def eps_maps(view: TrainView, state: dict[str, Tensor], backbone: dict) -> dict:
    """The localisation maps of Lee et al.'s network beside its background map, on one canvas, see `_grids`."""
    net, _ = restore_localisation(state, backbone, len(view.classes))
    return _grids(view, net, backbone["side"],
                  lambda pixels: net.class_maps(pixels).float().softmax(1)[:, :len(view.classes)])


# --- fusion -----------------------------------------------------------------------------------------------------------


def agreed(view: TrainView, maps: np.ndarray, side: int, saliency: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield the class maps of an image, or their harmonic mean with saliency: float32 (C, H, W) in [0, 1], tags only.

    maps: (N, C or 1 + C, h, w), background first if at all, on canvases of this side. saliency: frame, 255 = 1.
    """
    salient = None if saliency is None else frames.rows_of(view, saliency)
    for index, each in enumerate(normalised_maps(view, np.asarray(maps)[:, -len(view.classes):], side)):
        yield each if salient is None else harmonic_mean(each, np.float32(salient[index]) / 255)


def score_agreed(view: EvalView, maps: np.ndarray, side: int, saliency: np.ndarray | None = None) -> dict:
    """Labels at every threshold: {"counts": int32 (N, 3, K, bins)}."""
    return {"counts": score_seeds(view, agreed(view, maps, side, saliency))}


def cut(view: TrainView, maps: np.ndarray, side: int, counts: np.ndarray, saliency: np.ndarray | None = None) -> dict:
    """The best class of each pixel from a threshold on, background below: {"masks": frame, "threshold": float}.

    counts: of `score_agreed` on other images, on whose pixel labels the threshold does best.
    """
    best, _ = sweep(np.asarray(counts).sum(0)).best_threshold()
    threshold = min(max(float(best), 0.01), 0.99)
    labels = (seed_labels(each, threshold) for each in agreed(view, maps, side, saliency))
    return {"masks": frames.stack(view, labels), "threshold": threshold}


def fill_region(view: TrainView, maps: np.ndarray, side: int, salient: np.ndarray) -> dict:
    """Salient pixels get the tag of the largest map, all others are background: {"masks": frame}.

    salient: frame of 0 and 1. Needs no threshold.
    """
    regions = frames.rows_of(view, salient)

    def labels() -> Iterator[np.ndarray]:
        for index, each in enumerate(agreed(view, maps, side)):
            of_tags = np.where(view.tags[index][:, None, None], each, -1)
            yield np.where(regions[index] == 1, of_tags.argmax(0) + 1, 0).astype(np.uint8)

    return {"masks": frames.stack(view, labels())}


# --- refinement -------------------------------------------------------------------------------------------------------


def belief(labels: np.ndarray, tags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What labels (H, W) say of background and tags: float32 (1 + tags, H, W), summing to 1, and these labels.

    SURE for a pixel's own label, equal shares of the rest for others, equal shares of all where it is undecided (255).
    """
    present = np.array([0, *(1 + np.flatnonzero(tags))], np.uint8)
    own, decided = labels[None] == present[:, None, None], labels != 255
    rest = (1 - SURE) / max(len(present) - 1, 1)
    return np.where(decided, np.where(own, np.float32(SURE), np.float32(rest)), np.float32(1 / len(present))), present


def refine_labels(view: TrainView, masks: np.ndarray, crf: dict | None = None, dilations: tuple[int, ...] = ()) -> dict:
    """Labels after a dense CRF with these parameters, or after PAMR with these dilations: {"masks": frame}."""
    rows = frames.rows_of(view, masks)

    def labels() -> Iterator[np.ndarray]:
        for index in range(len(view)):
            image, (probabilities, present) = view.image(index), belief(rows[index], view.tags[index])
            if crf:
                refined = refine_probabilities(image, probabilities, CrfParameters(**crf))
            else:
                pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
                refined = pamr(pixels, torch.from_numpy(probabilities)[None], dilations)[0].numpy()
            yield present[refined.argmax(0)]

    return {"masks": frames.stack(view, labels())}


# --- the graph --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Labels:
    """A way to pseudo-masks: a key of MAPS, one of FUSIONS, of DETECTORS (unused by "threshold") and REFINEMENTS."""

    maps: str
    fusion: str
    detector: str = DETECTORS[0]
    refinement: str = REFINEMENTS[0]

    def __str__(self) -> str:
        parts = [self.maps, self.fusion, self.fusion != "threshold" and self.detector != DETECTORS[0] and self.detector,
                 self.refinement != REFINEMENTS[0] and self.refinement]
        return " + ".join(filter(None, parts))


#: What the segmenter learns from, besides what the papers themselves make.
SWAPS = tuple(Labels(maps, fusion) for maps in MAPS for fusion in FUSIONS)


@dataclass(frozen=True)
class Route(PaperRoute):
    """The steps of one seed. of: the papers' own routes at this seed, on the same world. profile: their name."""

    of: Mapping[str, Any]
    profile: str

    @property
    def guided(self) -> oh2017.Route:
        """The route whose segmenter everybody trains."""
        return self.of["oh2017"]

    @property
    def start(self) -> Any:
        return self.guided.start

    def class_maps(self, name: str, split: str = "train") -> tuple[Output, int]:
        """Class maps of a key of MAPS, and the side of their canvases."""
        route, label = self.of[MAPS[name]], f"maps of {name} on {split}, one look"
        if name == "GAP":
            return route.class_maps("HighRes", split)["maps"], route.side
        if name == "attention":
            return route.volumes(split)["maps"], route.side
        if name == "top-down":
            return route.attention(split=split)["maps"], route.scale.backbone.side
        backbone = route.scale.main
        if name == "single stage":
            step = self.step(single_stage_maps, label, "seeds", view=split, state=route.trained("ours")["state"],
                             backbone=backbone, method=route.method("ours"))
        else:
            step = self.step(eps_maps, label, "seeds", view=split, state=route.trained("adaptive")["state"],
                             backbone=backbone)
        return step["maps"], backbone.side

    def saliency(self, detector: str, split: str = "train") -> Output:
        """Saliency of a split by one of DETECTORS."""
        if detector == "erasing":
            return self.of["chaudhry2017"].hierarchy(split)["S3"]
        if detector == "masks":
            return self.of["lee2021"].saliency("masks", split)["maps"]
        return self.guided.saliency_maps(split, "" if detector == "boxes" else detector)["maps"]

    def labels(self, way: Labels) -> Step:
        """The pseudo-masks of the training images."""
        label, view = f"labels of {way}", "train"
        if way.refinement != "none":
            scale, plain = self.of["araslanov2020"].scale, self.labels(replace(way, refinement="none"))
            how = ({"crf": self.guided.crf("v2")} if way.refinement == "dense CRF" else
                   {"dilations": replace(scale, mask_side=self.guided.side).dilations(DILATIONS)})
            return self.step(refine_labels, label, "refinement", view=view, masks=plain["masks"], **how)
        maps, side = self.class_maps(way.maps)
        if way.fusion in ("threshold", "harmonic mean"):
            dev = tuning_split(self.profile)
            salient = {split: None if way.fusion == "threshold" else self.saliency(way.detector, split)
                       for split in (view, dev)}
            swept = self.step(score_agreed, f"{way} at every threshold on {dev}", "evaluation", view=dev, side=side,
                              maps=self.class_maps(way.maps, dev)[0], saliency=salient[dev])
            return self.step(cut, label, "fusion", f"threshold chosen on the masks of {dev}", view=view, maps=maps,
                             side=side, counts=swept["counts"], saliency=salient[view])
        printed, factor = oh2017.PUBLISHED, self.guided.scale.image_scale
        salient = self.step(salient_masks, f"salient pixels ({way.detector}) on {view}", view=view,
                            maps=self.saliency(way.detector), fraction=printed.salient_fraction)["masks"]
        if way.fusion == "region":
            return self.step(fill_region, label, "fusion", view=view, maps=maps, side=side, salient=salient)
        return self.step(g2_frames, label, view=view, salient=salient, variant="paper",
                         seeds=self.labels(Labels(way.maps, "threshold"))["masks"], min_area=printed.min_salient_area,
                         min_seed_area=printed.min_seed_pixels * factor**2, blur=printed.guide_blur * factor,
                         crf=self.guided.crf(printed.guide_crf))

    def own_labels(self, paper: str) -> Step:
        """What a paper makes of the training images and their tags: its pseudo-masks, or its network's labels."""
        route = self.of[paper]
        return {"oh2017": lambda: route.guides_of("G2"),
                "chaudhry2017": lambda: route.cues_of("S3 + adapt", 2),
                "roy2017": lambda: route.prediction("tags known", "train"),
                "araslanov2020": lambda: route.prediction("ours", "train", "known"),
                "lee2021": lambda: route.masks("adaptive", "train")}[paper]()

    def own_network(self, paper: str) -> Step:
        """The score on val of a paper's own last network, without CRF and tags unknown."""
        route = self.of[paper]
        if paper == "lee2021":
            net = "V1, ResNet101" if self.profile != "photos" else next(iter(lee2021.segmenters(self.profile)))
            return route.score(route.prediction("adaptive", net), "val")
        if paper == "araslanov2020":
            return route.score(route.prediction("ours"))
        return route.scored({"oh2017": "G2", "chaudhry2017": "S3 + adapt", "roy2017": "full"}[paper])

    def taught(self, labels: Step) -> Step:
        """The score on val of the segmenter that has learnt from labels of the training images."""
        return self.score(self.guided.prediction(self.guided.segmenter(labels)))


def routes(profile: str, seeds: int, world_seed: int = 0) -> list[Route]:
    """The routes of a profile, one per training seed.

    Raises WeightsError or DataError when the folders that the profile reads don't hold what it needs.
    """
    of = {paper: module.routes(profile, seeds, world_seed) for paper, module in PAPERS.items()}
    return [Route(own.world, own.scale, own.seed, {paper: each[own.seed] for paper, each in of.items()}, profile)
            for own in of["oh2017"]]
