"""Measurements that only Roy & Todorovic 2017 needs."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from wsss_lab.data import frames
from wsss_lab.data.canvas import canvas_box, from_canvas, normalise
from wsss_lab.data.components import components
from wsss_lab.data.views import EvalView, TrainView
from wsss_lab.evaluation.confusion import VOID
from wsss_lab.evaluation.object_recall import object_areas
from wsss_lab.evaluation.scoring import score_seeds
from wsss_lab.networks.inference import device_of
from wsss_lab.seeds.cam import normalised_maps, seed_labels
from wsss_lab.seeds.rectified_gaussian import MODES, eigenvalues, mode
from wsss_lab.seeds.top_down import Attention, cell_weights, top_down_maps
from wsss_lab.segmenter.fusion import Method, restore_fusion, with_background

IGNORE = 255
LEAST = 0.005  # share of the image below which a region is a speck, as in wsss_lab.evaluation.object_recall


def sparse_seeds(view: TrainView, maps: np.ndarray, side: int, low: float, high: float) -> dict:
    """Labels where class maps are sure: {"masks": frame (N, Hmax, Wmax) uint8, 255 = ignore}.

    maps: (N, C, h, w) as wsss_lab.segmenter.fusion.class_maps gives them, on canvases of `side` pixels. A class
    where its map is the largest and reaches `high` of its maximum, background where no map reaches `low` of it.
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


# --- attention -------------------------------------------------------------------------------------------------------


def score_attention(view: EvalView, maps: np.ndarray, side: int) -> dict:
    """Attention against the objects, per image.

    maps: p^A (N, K, h, w), background first, on canvases of `side` pixels, see
    wsss_lab.segmenter.fusion.attention_maps. Returns {"counts": int32 (N, 3, K, bins), confidence counts of the
    classes' maps, see wsss_lab.evaluation.precision_recall; "inside": float64 (N, 4), see `inside_objects`}.
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


# --- labels ----------------------------------------------------------------------------------------------------------


def count_pieces(view: EvalView, masks: np.ndarray) -> dict:
    """How many pieces labels fall into: {"counts": int64 (N, 4)}.

    Per image: predicted pieces; true objects; pieces of an object's class that touch it, summed over objects; objects
    with such a piece. Pieces and objects are 8-connected regions of one class; objects below LEAST of the image are
    left out. masks: frame (N, Hmax, Wmax) uint8 of labels, 255 = undecided.
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
