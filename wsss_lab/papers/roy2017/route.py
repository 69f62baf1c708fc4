"""Roy & Todorovic 2017, "Combining bottom-up, top-down, and smoothness cues": its rows and its route, one network
trained to classify and to follow its own attention -> labels with attention as a prior, refined inside of the network
-> scores."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from wsss_lab.data import frames
from wsss_lab.data.canvas import canvas_box, from_canvas, normalise
from wsss_lab.data.components import components
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.evaluation import scoring
from wsss_lab.evaluation.confusion import VOID
from wsss_lab.evaluation.object_recall import object_areas
from wsss_lab.evaluation.scoring import score_seeds
from wsss_lab.lab.profiles import has_test, named
from wsss_lab.lab.rehearsal import scale_of
from wsss_lab.lab.stand_ins import GRID
from wsss_lab.lab.steps import Step
from wsss_lab.lab.worlds import open_world
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.inference import device_of
from wsss_lab.papers.oh2017 import route as oh2017
from wsss_lab.papers.route import PaperRoute, longer, start_file
from wsss_lab.refinement.dense_crf import CrfParameters
from wsss_lab.seeds.cam import normalised_maps, seed_labels
from wsss_lab.seeds.rectified_gaussian import MODES, eigenvalues, mode
from wsss_lab.seeds.top_down import Attention, cell_weights, top_down_maps
from wsss_lab.segmenter.fusion import (
    Method,
    attention_maps,
    class_maps,
    restore_fusion,
    segment_fusion,
    train_fusion,
    with_background,
)
from wsss_lab.segmenter.training import segment, train_segmenter

IGNORE = 255
LEAST = 0.005  # share of the image below which a region is a speck, as in wsss_lab.evaluation.object_recall


def sparse_seeds(view: TrainView, maps: np.ndarray, side: int, low: float, high: float) -> dict:
    """Labels where class maps are sure: {"masks": frame (N, Hmax, Wmax) uint8, 255 = ignore}.

    A class where its map is the largest and reaches `high` of its maximum, background where no map reaches `low` of it.
    maps: (N, C, h, w) as wsss_lab.segmenter.fusion.class_maps gives them, on canvases of `side` pixels.
    """
    def labels() -> list[np.ndarray]:
        for each in normalised_maps(view, maps, side):
            sure = seed_labels(each, high)
            yield np.where((sure == 0) & (seed_labels(each, low) > 0), IGNORE, sure).astype(np.uint8)

    return {"masks": frames.stack(view, labels())}


@torch.no_grad()
def gaussian_study(view: TrainView, state: dict, backbone: dict, method: dict, images: Sequence[int]) -> dict:
    """The rectified Gaussian's modes on the attention of some images, each for its first tag (Eqs. 2 and 3).

    b (Eqs. 5 to 7) is taken where attention ends, summed over channels; parents have passed it down without neighbours.
    Returns {"b": float32 (n, h, w), "similarity": (n, (2 radius + 1)^2, h, w)}, of each of the four MODES "maps" (4, n,
    h, w), "residual" (4, n), see rectified_gaussian.kkt_residual, and "active" (4, n), the share of the cells above a
    thousandth of the maximum, and "eigenvalues" of D for "literal" and "smooth" (2, n, h w), ascending.
    """
    net, method = restore_fusion(state, backbone, method), Method.from_settings(method)
    canvases, _ = view.canvas(list(images), backbone["side"])
    canvases = canvases.to(device_of(net))
    features = net.features(normalise(canvases))
    present = torch.zeros(len(images), 1 + len(view.classes), dtype=torch.bool, device=features.device)
    present[torch.arange(len(images)), 1 + torch.tensor(view.tags[list(images)].argmax(1))] = True
    weights = cell_weights(canvases, features.shape[2:])
    how = Attention("none", activation=method.attention.activation, layers="last")
    b = top_down_maps(net, features, present, weights, how)
    found = [mode(b[:, None], weights, name) for name in MODES]
    maps = torch.cat([each.maps for each in found], 1).transpose(0, 1)
    most = maps.amax((2, 3), keepdim=True)
    outputs = {
        "b": b, "similarity": weights, "maps": maps, "residual": torch.cat([each.residual for each in found], 1).T,
        "active": (maps > most / 1000).float().mean((2, 3)),
        "eigenvalues": torch.stack([eigenvalues(weights, name) for name in ("literal", "smooth")]),
    }
    return {name: value.cpu().numpy() for name, value in outputs.items()}


def score_attention(view: EvalView, maps: np.ndarray, side: int) -> dict:
    """Attention against the objects, per image: {"counts": int32 (N, 3, K, bins), confidence counts of the classes'
    maps, see wsss_lab.evaluation.precision_recall; "inside": float64 (N, 4), see `inside_objects`}.

    maps: p^A (N, K, h, w) of wsss_lab.segmenter.fusion.attention_maps, on canvases of `side` pixels.
    """
    on_images = maps_on_images(view, maps, side)
    inside = [inside_objects(each, view.mask(index)) for index, each in enumerate(on_images)]
    return {"counts": score_seeds(view, on_images), "inside": np.array(inside)}


def maps_on_images(view: TrainView, maps: np.ndarray, side: int) -> frames.Rows:
    """Maps of the classes, without background, at image size: one float32 (C, H, W) per image."""
    def row(index: int) -> np.ndarray:
        size = view.size(index)
        return from_canvas(np.asarray(maps[index, 1:]), canvas_box(*size, side), side, size)

    return frames.Rows(len(view), row)


def inside_objects(maps: np.ndarray, mask: np.ndarray) -> tuple[float, float, float, float]:
    """How much attention changes inside of objects: sum of |p_i - p_j|, number of these pairs, sum of p, pixels.

    Pairs are neighbouring pixels, in a row or a column, of one class in the mask; p is that class's map. Their sum over
    their number is the total variation per pair. maps: (C, H, W). mask: uint8 (H, W), 0 background, 255 void.
    """
    total = np.zeros(4)
    for label in np.setdiff1d(mask, (0, VOID)):
        inside, p = mask == label, maps[label - 1].astype(np.float64)
        for axis in (0, 1):
            both = inside & np.roll(inside, -1, axis)
            both[(-1, slice(None)) if axis == 0 else (slice(None), -1)] = False
            total[:2] += np.abs(p - np.roll(p, -1, axis))[both].sum(), both.sum()
        total[2:] += p[inside].sum(), inside.sum()
    return tuple(total)


@torch.no_grad()
def attention_seconds(view: TrainView, state: dict, backbone: dict, method: dict, images: int, repeats: int) -> dict:
    """What attention costs on the first images of a view, as one batch, tags known: {"seconds": (repeats, 5)}.

    Columns: the network alone, up to its label maps; similarity of the cells (Eq. 8); the top-down pass as the method
    has it; the same without neighbours; and from parents alone, without own activation too. Processor time on a CPU, so
    that other programs on the machine matter little; elapsed time on a GPU. A first repeat isn't counted.
    """
    net, how = restore_fusion(state, backbone, method), Method.from_settings(method).attention
    chosen, device = list(range(min(images, len(view)))), device_of(net)
    canvases = view.canvas(chosen, backbone["side"])[0].to(device)
    present = with_background(torch.tensor(view.tags[chosen], device=device))
    passes = how, replace(how, neighbours="none"), replace(how, neighbours="none", activation=0.0)

    def once() -> list[float]:
        at = [_clock(device)]
        features = net.features(normalise(canvases))
        net.scores(features)
        at.append(_clock(device))
        weights = cell_weights(canvases, features.shape[2:])
        at.append(_clock(device))
        for attention in passes:
            attention.label_attention(net, features.float(), present, weights)
            at.append(_clock(device))
        return np.diff(at).tolist()

    return {"seconds": np.array([once() for _ in range(repeats + 1)][1:])}


def _clock(device: torch.device) -> float:
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def count_pieces(view: EvalView, masks: np.ndarray) -> dict:
    """How many pieces labels, a frame (N, Hmax, Wmax) with 255 = undecided, fall into: {"counts": int64 (N, 4)}.

    Per image: predicted pieces; true objects; pieces of an object's class that touch it, summed over objects; objects
    with such a piece. Both are 8-connected regions of one class; objects below LEAST of the image are left out.
    """
    return {"counts": np.array([pieces_of(row, view.mask(index))
                                for index, row in enumerate(frames.rows_of(view, masks))])}


def pieces_of(labels: np.ndarray, mask: np.ndarray) -> tuple[int, int, int, int]:
    """The counts of one image, see `count_pieces`."""
    numbered = {label: components(labels == label) for label in np.setdiff1d(labels, (0, VOID))}
    objects = object_areas(mask, LEAST)
    none = np.zeros(labels.shape, np.int32), 0
    touching = [len(np.setdiff1d(numbered.get(mask[each][0], none)[0][each], 0)) for each in objects]
    return sum(count for _, count in numbered.values()), len(objects), sum(touching), np.count_nonzero(touching)


def score_each_object(view: EvalView, masks: np.ndarray, maps: np.ndarray, side: int) -> dict:
    """Every object of a view by itself, M of them: how much of it is found, and how much attention it gets.

    masks: frame of labels. maps: p^A as for `score_attention`. Returns {"image": int64 (M,), its index; "label": int64
    (M,), its class, 1 and up; "area": (M,), share of the image; "recall": (M,), share of its pixels with its label;
    "attention": (M,), the largest p^A of its class on it}. For objects see `count_pieces`.
    """
    rows, on_images = frames.rows_of(view, masks), maps_on_images(view, maps, side)
    found: dict[str, list] = {name: [] for name in ("image", "label", "area", "recall", "attention")}
    for index, (labels, attention) in enumerate(zip(rows, on_images, strict=True)):
        mask = view.mask(index)
        for inside in object_areas(mask, LEAST):
            label = int(mask[inside][0])
            facts = (index, label, inside.mean(), (labels[inside] == label).mean(), attention[label - 1][inside].max())
            for name, value in zip(found, facts, strict=True):
                found[name].append(value)
    return {name: np.array(values, int if name in ("image", "label") else float) for name, values in found.items()}


#: What a forecast answers with, see wsss_lab.lab.stand_ins: (function, output) -> how it is made.
STAND_INS = {
    ("score_each_object", "image"): lambda made: np.arange(made.count),
    ("score_each_object", "label"): lambda made: np.ones(made.count, int),
    ("score_each_object", "recall"): lambda made: made.share(),
    ("gaussian_study", "b"): lambda made: made.share(GRID, GRID),
    ("gaussian_study", "similarity"): lambda made: made.share(49, GRID, GRID),
    ("gaussian_study", "eigenvalues"): lambda made: np.stack([made.share(GRID * GRID)] * 2),
    ("gaussian_study", "maps"): lambda made: np.stack([made.share(GRID, GRID)] * len(MODES)),
} | dict.fromkeys((("gaussian_study", "residual"), ("gaussian_study", "active")),
                  lambda made: np.stack([made.share()] * len(MODES)))


@dataclass(frozen=True)
class Published:
    """Values that the paper prints (section). lambda, the widths of Eq. (8) and the iterations of the CRF-RNN are
    defaults of wsss_lab.segmenter.fusion, wsss_lab.seeds.neighbours and wsss_lab.refinement.crf_rnn; what isn't printed
    is DeepLab's, as of Oh et al. 2017."""

    batch: int = 20  # Sec. 7
    iterations: int = 10000  # Sec. 7
    lr: float = 1e-3  # Sec. 7
    decay_every: int = 2000  # Sec. 7
    momentum: float = 0.9  # Sec. 7
    warm_up: float = 0.1  # share of the iterations with the classification loss alone; our choice
    crf: CrfParameters = CrfParameters(4, 121, 5, 3, 3)  # "as in DeepLab", of the row without CRF-RNN


PUBLISHED = Published()

#: Thresholds of the competitor's seeds: class maps of SEC at a fifth of their maximum; background where no map reaches
#: the lower one (SEC has a saliency map for that).
SEED_THRESHOLDS = (0.05, 0.2)


@dataclass(frozen=True)
class Scale:
    """How large and how long everything is in one profile; shared by all rows of all tables.

    schedule: of all trainings. segmenter: of the networks that learn from labels (competitor and upper bound).
    pretraining: whether the trunk starts from the toy world's crops instead of a file.
    """

    backbone: Backbone
    schedule: Schedule
    segmenter: Schedule
    pretraining: bool = False
    image_scale: float = 1.0  # size of the images against the paper's: lengths in pixels are multiplied by it


_TOY, _PHOTOS, _VOC = (oh2017.SCALES[profile] for profile in ("toy", "photos", "voc"))
_PRINTED = replace(_VOC.segmenter, iterations=PUBLISHED.iterations, batch=PUBLISHED.batch, lr=PUBLISHED.lr,
                   decay_every=PUBLISHED.decay_every, momentum=PUBLISHED.momentum)

_SCALES = {
    "quick": Scale(_TOY.backbone, Schedule(8, 8), Schedule(6, 8), True, _TOY.image_scale),
    "toy": Scale(_TOY.backbone, Schedule(500, 8, 1e-3, head_lr=10.0), Schedule(400, 8, 1e-3, head_lr=10.0), True,
                 _TOY.image_scale),
    "photos": Scale(_PHOTOS.backbone, _PHOTOS.classifier, _PHOTOS.segmenter),
    "voc": Scale(_VOC.backbone, _PRINTED, _PRINTED),
}
SCALES = _SCALES | {"toy-long": longer(_SCALES["toy"], schedule=4, segmenter=4)}

#: What is trained. The first six are Table 1's (B1 and B2 share one: without the segmentation loss, nothing but the
#: classification loss moves a weight), then Table 5's, then readings of what the paper leaves open.
TRAININGS = {
    "full": Method(),
    "classification": Method(weight=0.0),
    "w/o att unary": Method(prior=False),
    "w/o neighbor": Method(Attention("none", activation=0.0)),
    "w/o CRF-RNN": Method(iterations=0),
    "GMP": Method(aggregation="GMP"),
    "GAP": Method(aggregation="GAP"),
    "LSE": Method(aggregation="LSE"),
    "background unit": Method(Attention(background="unit")),
    "no warm-up": Method(),
    "loss before the CRF-RNN": Method(compared="softmax"),
    "loss after the CRF-RNN": Method(compared="crf"),
    "neighbours, last layer": Method(Attention(layers="last")),
    "parents and neighbours": Method(Attention(activation=0.0)),
}
#: Attention from parents alone, as in excitation back-propagation, and with neighbours but without alpha (Eq. 7).
PARENTS, UNACTIVATED = (TRAININGS[name].attention for name in ("w/o neighbor", "parents and neighbours"))


@dataclass(frozen=True)
class Row:
    """One way to label images. training: a key of TRAININGS. prior, iterations, tags: see
    wsss_lab.segmenter.fusion.segment_fusion. refined: whether a dense CRF follows."""

    training: str = "full"
    prior: str = "attention"
    iterations: int | None = None
    tags: str = "predicted"
    refined: bool = False


#: Rows of Table 1 in its order.
BASELINES = {
    "w/o att": Row("classification", "none"),
    "w/o seg loss": Row("classification"),
    "w/o att unary": Row("w/o att unary", "none"),
    "w/o neighbor": Row("w/o neighbor"),
    "w/o CRF-RNN": Row("w/o CRF-RNN", refined=True),
    "w/o att inference": Row(prior="none"),
    "full": Row(),
}
AGGREGATIONS = ("GMP", "GAP", "LSE")
OPTIONS = ("background unit", "no warm-up", "loss before the CRF-RNN", "loss after the CRF-RNN",
           "neighbours, last layer", "parents and neighbours")
ITERATIONS = (0, 1, 2, 5, 10)

ROWS = {
    **BASELINES,
    **{name: Row(name) for name in (*AGGREGATIONS, *OPTIONS)},
    **{f"{count} iterations": Row(iterations=count) for count in ITERATIONS},
    "image-level prior": Row(prior="image"),
    "tags known": Row(tags="known"),
}

#: Networks that learn from labels: the competitor, sparse seeds with a CRF loss, and the upper bound.
TAUGHT = ("SEC-like", "full supervision")

TIMED_IMAGES, TIMED_REPEATS = 16, 7
STUDIED = 4  # images of the rectified Gaussian


def labelled_rows(profile: str) -> tuple[str, ...]:
    """The rows of ROWS and networks of TAUGHT that a profile trains and scores."""
    photos = (*(row for row in BASELINES if row != "w/o att unary"), "tags known")
    return photos if profile == "photos" else (*ROWS, *TAUGHT)


@dataclass(frozen=True)
class Route(PaperRoute):
    """The steps of one full run of the paper at one seed, on one world.

    start: what gives the start weights of the trunk. profile: says what is left out, see `labelled_rows`.
    """

    start: Any
    profile: str

    @property
    def left_out(self) -> set[str]:
        return {*ROWS, *TAUGHT, "test"} - {*labelled_rows(self.profile), *["test"] * has_test(self.profile)}

    # --- one network: seeds and segmenter ------------------------------------------------------------------------

    def trained(self, training: str = "full") -> Step:
        """The network of a training of TRAININGS."""
        return self.step(train_fusion, f"train {training}", view="train", schedule=self.scale.schedule,
                         method=TRAININGS[named("training", training, TRAININGS)], warm_up=self.warm_up(training))

    def warm_up(self, training: str) -> int:
        """Iterations of a training with the classification loss alone."""
        return 0 if training == "no warm-up" else round(PUBLISHED.warm_up * self.scale.schedule.iterations)

    def attention(self, training: str = "full", how: Attention | None = None, split: str = "val") -> Step:
        """Attention maps of a split, tags known. how: another attention than the training's."""
        name = f"attention of {training} on {split}" + ("" if how is None else f", {how.neighbours} neighbours")
        return self._look(attention_maps, name, training, split, "seeds", how)

    def class_maps(self) -> Step:
        """Class activation maps of the training images by the network without segmentation loss, tags known."""
        return self._look(class_maps, "class maps of classification on train", "classification", "train", "seeds")

    def study(self) -> Step:
        """The modes of the rectified Gaussian on the first images of val, see `gaussian_study`."""
        return self._look(gaussian_study, "rectified Gaussian of full on val", "full", "val", "seeds",
                          images=tuple(range(STUDIED)))

    def _look(self, function, label: str, training: str, split: str, stage: str = "", how: Attention | None = None,
              **settings) -> Step:
        """A step that looks at the images of a split with a trained network."""
        method = TRAININGS[named("training", training, TRAININGS)]
        return self.step(function, label, stage, view=split, state=self.trained(training)["state"],
                         method=replace(method, attention=how or method.attention), **settings)

    # --- networks that learn from labels -------------------------------------------------------------------------

    def lessons(self, name: str) -> Step:
        """What a network of TAUGHT learns from."""
        if named("taught network", name, TAUGHT) == "full supervision":
            return self.step(scoring.ground_truth, "ground truth of train", "fusion", "training masks",
                             view=self.world.eval_view("train"))
        low, high = SEED_THRESHOLDS
        return self.step(sparse_seeds, "sparse seeds of train", "fusion", view="train", maps=self.class_maps()["maps"],
                         low=low, high=high)

    def segmenter(self, name: str) -> Step:
        """A DeepLab-LargeFOV trained on labels; the competitor has a CRF loss too."""
        loss = self.crf(PUBLISHED.crf if name == "SEC-like" else None)
        return self.step(train_segmenter, f"train {name}", view="train", pseudo_masks=self.lessons(name)["masks"],
                         schedule=self.scale.segmenter, crf_loss=loss,
                         **({} if loss else self.frozen(self.scale.backbone, self.start)))

    # --- labels and scores ---------------------------------------------------------------------------------------

    def network_of(self, name: str) -> Step:
        """The training behind a row of ROWS or a network of TAUGHT."""
        return self.segmenter(name) if name in TAUGHT else self.trained(ROWS[named("row", name, ROWS)].training)

    def prediction(self, name: str = "full", split: str = "val") -> Step:
        """Label maps of a row of ROWS, or by a network of TAUGHT, on a split: "masks", and "refined" after the row's
        dense CRF, if it has one."""
        label = f"labels of {split}, {name}"
        if name in TAUGHT:
            return self.step(segment, label, view=split, state=self.segmenter(name)["state"], crf=None)
        row = ROWS[named("row", name, ROWS)]
        return self._look(segment_fusion, label, row.training, split, prior=row.prior, iterations=row.iterations,
                          tags=row.tags, crf=self.crf(PUBLISHED.crf if row.refined else None))

    def scored(self, name: str = "full", split: str = "val") -> Step:
        """The score of a row of ROWS, or of a network of TAUGHT, on a split."""
        refined = name in ROWS and ROWS[name].refined
        return self.score(self.prediction(name, split), split, "refined" if refined else "masks")

    # --- attention and labels against single objects, on val -----------------------------------------------------

    def score_attention(self, how: Attention | None = None) -> Step:
        """Attention of the full approach against the objects; how: another attention than its own."""
        maps = self.attention("full", how)
        return self.step(score_attention, f"score of {maps.label}", "evaluation", view="val", maps=maps["maps"])

    def attention_time(self) -> Step:
        """What attention of the full approach costs."""
        return self._look(attention_seconds, "time of attention", "full", "val", "seeds", images=TIMED_IMAGES,
                          repeats=TIMED_REPEATS)

    def pieces(self, name: str = "full") -> Step:
        """How many pieces the labels of a row fall into."""
        labels = self.prediction(name)
        return self.step(count_pieces, f"pieces in {labels.label}", "evaluation", view="val", masks=labels["masks"])

    def objects(self) -> Step:
        """Every object with what the full approach finds of it and its attention, tags known."""
        labels = self.prediction()
        return self.step(score_each_object, f"objects in {labels.label}", "evaluation", view="val",
                         masks=labels["masks"], maps=self.attention()["maps"])


def routes(profile: str, seeds: int, world_seed: int = 0) -> list[Route]:
    """The routes of a profile, one per training seed; toy worlds share start weights with Oh et al. 2017.

    Raises WeightsError or DataError when the folders that the profile reads don't hold what it needs.
    """
    scale, world = scale_of(SCALES, profile), open_world(profile, world_seed)
    if scale.pretraining:
        start = oh2017.routes(profile, 1, world_seed)[0].start
    else:
        name = oh2017.START_WEIGHTS[scale.backbone.family]
        start = start_file(name, scale.backbone, scale.backbone.trunk("DeepLab"))
    return [Route(world, scale, seed, start, profile) for seed in range(seeds)]
