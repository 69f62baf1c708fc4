r"""What a world is like, in numbers that a drawn world and photographs have in common.

A statistic is a mean over values; an image gives none, one, or one for each of its objects or classes. An object is an
8-connected region of one class with at least `LEAST_OBJECT` of the image. All is measured with the longer side of an
image brought to `CANVAS` pixels, the size of the drawn world: images by area averaging, masks and salient pixels by
nearest neighbour. Void (255) is left out everywhere. Colours are RGB in 0..255, their distance is Euclidean.
"""

from collections.abc import Iterable

import numpy as np

from wsss_lab.data import frames
from wsss_lab.data.canvas import canvas_box, nearest, to_canvas
from wsss_lab.data.views import EvalView
from wsss_lab.evaluation.boundaries import reference_edges
from wsss_lab.evaluation.co_occurrence import co_occurring_pairs, score_contexts
from wsss_lab.evaluation.confusion import VOID, divide, nan_mean
from wsss_lab.evaluation.intervals import LEVEL, resampled
from wsss_lab.evaluation.object_recall import object_areas
from wsss_lab.evaluation.saliency_scores import FALSE, HIT, foreground_counts, foreground_iou
from wsss_lab.refinement.dense_crf import CRF_SETS, refine_probabilities
from wsss_lab.refinement.pamr import DILATIONS, pamr

CANVAS = 64  # pixels of an image's longer side
LEAST_OBJECT, SMALL = 0.005, 2.0  # share of the image, and per cent of it below which an object is small
NEAR_VOID = 2.0  # pixels; farther inside void there is no border
REACH = 2  # pixels from the middle of three to the others, so that the edge itself, half of each side, isn't compared
MOST_PIXELS = 64  # drawn from an object, and from the background, whose colours are compared
MISSED = 0.1  # a detector that marks at most this share of an object misses it

BLUR, GROWN, HOLE, HOLES_APART, WRONG, SURE = 3.0, 3.0, 6, 12, 0.1, 0.8
#: What is done to the truth, see `damaged`.
DAMAGES = {"blurred": f"every label under a Gaussian of {BLUR:g} pixels",
           "dilated": f"objects grown by {GROWN:g} pixels",
           "with holes": f"squares of {HOLE} pixels, {HOLES_APART} apart, labelled background",
           "noisy": f"{100 * WRONG:g} % of the pixels with another of the image's labels"}
REFINERS = ("CRF v1", "CRF v2", "PAMR")
_PAPER_SIDE, _PAPER_MASK_SIDE = 321, 81  # pixels, for which the CRFs' widths and PAMR's dilations are printed
_CRFS = {name: CRF_SETS[name[-2:]].scaled(CANVAS / _PAPER_SIDE) for name in REFINERS[:2]}
_DILATIONS = tuple(sorted({max(1, round(each * CANVAS / _PAPER_MASK_SIDE)) for each in DILATIONS}))

#: Statistics of salient pixels: they depend on a detector.
SALIENCY = {
    "saliency: IoU (%)": "of salient pixels with all objects, per image",
    "saliency: objects missed (%)": f"objects of which at most {100 * MISSED:g} % is salient",
    "saliency: classes missed (%)": f"classes of an image of whose pixels at most {100 * MISSED:g} % are salient",
    "saliency: of no class (%)": "salient pixels that belong to no class, per image",
}
#: Statistic -> what it is the mean of; in the order of the table.
STATISTICS = {
    "classes": "per image",
    "objects": "per image",
    "object size (%)": "share of the image, per object",
    f"objects below {SMALL:g} % (%)": "of the image",
    "border length": "of all objects of an image together, in sides of the image (roots of its area)",
    "cells per object": "of the class maps of the network, per object",
    "colour: inside objects (%)": "how often a pixel of the background is farther in colour from one of the object than"
                                  " another of the object is (AUC), per object",
    "colour: across borders (%)": f"how often colour changes more over {REACH} pixels across a border than over"
                                  f" {REACH} before it (AUC), per image",
    **{f"truth {damage}: IoU (%)": f"of an image's classes; {how}" for damage, how in DAMAGES.items()},
    **{f"truth {damage}: {refiner} (pp)": "what it adds to that IoU" for damage in DAMAGES for refiner in REFINERS},
    **SALIENCY,
    "context: classes with their own (%)": "classes of an image that have surroundings of their own",
    "context: there with the class (%)": "images of such a class that show its surroundings",
    "context: there without it (%)": "the other images, likewise",
}


def measure_world(view: EvalView, salient: np.ndarray, cells: int) -> dict:
    """{"sums": float64 (N, len(STATISTICS), 2)}: sum and number of the values that each image gives to each statistic.

    salient: frame of 0 and 1, of the size of the images. cells: of a class map along an image's longer side.
    """
    sums = np.zeros((len(view), len(STATISTICS), 2))
    for row, (index, found) in zip(sums, enumerate(frames.rows_of(view, salient))):
        values = image_statistics(*on_canvas(view.image(index), view.mask(index), found), cells, index)
        row[:] = [(np.sum(values.get(name, ())), len(values.get(name, ()))) for name in STATISTICS]
    for name, (with_it, of_them) in context_statistics(view, salient).items():
        sums[:, list(STATISTICS).index(name)] = np.stack([100 * with_it, of_them], 1)
    return {"sums": sums}


def summary(sums: np.ndarray) -> dict[str, dict[str, float]]:
    """Statistic -> value, low and high (95 % interval over images), images and values that it rests on; nan for none.

    sums: see `measure_world`.
    """
    flat = sums.reshape(len(sums), -1)

    def means(weights: np.ndarray) -> np.ndarray:
        pairs = (weights @ flat).reshape(len(weights), -1, 2)
        return divide(pairs[..., 0], pairs[..., 1])

    drawn, tails = resampled(means, len(sums)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    known = [column[~np.isnan(column)] for column in drawn.T]
    ends = [np.quantile(column, tails) if len(column) else [np.nan] * 2 for column in known]
    counts, values = sums[..., 1], means(np.ones((1, len(sums))))[0]
    return {name: {"value": value, "low": low, "high": high, "images": int((given > 0).sum()),
                   "values": int(given.sum())}
            for name, value, (low, high), given in zip(STATISTICS, values, ends, counts.T)}


def on_canvas(image: np.ndarray, mask: np.ndarray, salient: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (H, W, 3), mask and salient pixels (H, W) with a longer side of CANVAS pixels; the latter bool."""
    top, left, height, width = box = canvas_box(*mask.shape, CANVAS)
    small = to_canvas(image, CANVAS)[0][top:top + height, left:left + width]
    return small, nearest(mask, box[2:]), nearest(salient, box[2:]) > 0


def image_statistics(image: np.ndarray, mask: np.ndarray, salient: np.ndarray, cells: int,
                     seed: int) -> dict[str, list[float]]:
    """The values that an image on the canvas gives to statistics. salient: bool (H, W). seed: of what is drawn."""
    rng, classes, objects = np.random.default_rng(seed), np.setdiff1d(mask, (0, VOID)), object_areas(mask, LEAST_OBJECT)
    areas = np.array([np.count_nonzero(inside) for inside in objects])
    shares = 100 * areas / mask.size
    counts = foreground_counts(salient, mask)
    values = {
        "classes": [len(classes)], "objects": [len(objects)], "object size (%)": shares,
        f"objects below {SMALL:g} % (%)": 100.0 * (shares < SMALL),
        "border length": [reference_edges(mask, NEAR_VOID)[0].sum() / 2 / np.sqrt(mask.size)],
        "cells per object": areas * (cells / CANVAS) ** 2,
        "colour: inside objects (%)": [100 * colour_inside(image, inside, mask == 0, rng) for inside in objects],
        "colour: across borders (%)": [100 * colour_across_borders(image, mask)],
        **refinement_of_damage(image, mask, rng),
        "saliency: IoU (%)": [100 * foreground_iou(counts)],
        "saliency: objects missed (%)": [100.0 * (salient[inside].mean() <= MISSED) for inside in objects],
        "saliency: classes missed (%)": [100.0 * (salient[mask == label].mean() <= MISSED) for label in classes],
        "saliency: of no class (%)": [100 * divide(counts[FALSE], counts[[HIT, FALSE]].sum())],
    }
    return {name: [each for each in some if not np.isnan(each)] for name, some in values.items()}


def colours_bind(view: EvalView) -> np.ndarray:
    """`colour_inside`, mean over the objects of each image, in per cent: (N,), nan without objects."""
    found = np.full(len(view), np.nan)
    for index in range(len(view)):
        image, mask, _ = on_canvas(view.image(index), view.mask(index), view.mask(index))
        rng, objects = np.random.default_rng(index), object_areas(mask, LEAST_OBJECT)
        found[index] = 100 * nan_mean(np.array([colour_inside(image, inside, mask == 0, rng) for inside in objects]))
    return found


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.sqrt(((one.astype(np.float32) - other) ** 2).sum(-1))


def _exceeds(farther: np.ndarray, nearer: np.ndarray) -> np.ndarray:
    """1 where `farther` is the larger one, 1/2 where both are equal, else 0."""
    return (farther > nearer) + 0.5 * (farther == nearer)


def colour_inside(image: np.ndarray, inside: np.ndarray, background: np.ndarray, rng: np.random.Generator) -> float:
    r"""How often a pixel b of the background is farther in colour from a pixel a of an object than another one of it.

    .. math:: \frac{1}{|A| (|A| - 1) |B|} \sum_{a \in A} \sum_{a' \in A, a' \ne a} \sum_{b \in B}
              [|I_b - I_a| > |I_{a'} - I_a|] + \tfrac12 [|I_b - I_a| = |I_{a'} - I_a|]

    This is the AUC of colour distance, for telling the object's own pixels from others: 1/2 by chance, 1 for an object
    of one colour that its background doesn't have. inside, background: bool (H, W). A and B are MOST_PIXELS each drawn
    from them, or all. nan where one is empty or the object has a single pixel.
    """
    drawn = [image[chosen] if len(image[chosen]) <= MOST_PIXELS else rng.permutation(image[chosen])[:MOST_PIXELS]
             for chosen in (inside, background)]
    own, others = drawn
    if len(own) < 2 or not len(others):
        return np.nan
    among = _distance(own[:, None], own)[~np.eye(len(own), dtype=bool)].reshape(len(own), -1)
    return float(_exceeds(_distance(own[:, None], others)[:, None, :], among[:, :, None]).mean())


def colour_across_borders(image: np.ndarray, mask: np.ndarray) -> float:
    r"""How often colour changes more across a border than before it.

    .. math:: \text{mean over } p \text{ of } [|I_{p+r} - I_p| > |I_{p-r} - I_p|] + \tfrac12 [\dots = \dots]

    p are the pixels with a neighbour r = REACH pixels away, left, right, above or below, of another label, and one as
    far on the other side of the same label; each such pair of neighbours counts. nan without any.
    """
    found = []
    for flipped in (False, True):
        for turned in (False, True):
            pixels, labels = (each.swapaxes(0, 1) if turned else each for each in (image, mask))
            pixels, labels = (each[::-1] if flipped else each for each in (pixels, labels))
            before, at, beyond = (slice(None, -2 * REACH), slice(REACH, -REACH), slice(2 * REACH, None))
            known = (labels[before] == labels[at]) & (labels[at] != labels[beyond])
            known &= (labels[at] != VOID) & (labels[beyond] != VOID)
            middle = pixels[at][known]
            found.append(_exceeds(_distance(pixels[beyond][known], middle), _distance(pixels[before][known], middle)))
    found = np.concatenate(found)
    return float(found.mean()) if len(found) else np.nan


def damaged(truth: np.ndarray, labels: np.ndarray, damage: str, rng: np.random.Generator) -> np.ndarray:
    """A damaged truth as the belief of a network: float32 (K, H, W), its sum over K is 1.

    truth: (H, W) without void. labels: (K,) those that occur, background first. damage: one of DAMAGES. "blurred" keeps
    the maps; the others are sure: SURE for the damaged label, the rest in equal parts for the others.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    if damage == "blurred":
        return np.stack([gaussian_filter((truth == label).astype(np.float32), BLUR, mode="nearest")
                         for label in labels])
    if damage == "dilated":
        distance, closest = distance_transform_edt(truth == 0, return_indices=True)
        spoilt = np.where(distance <= GROWN, truth[tuple(closest)], 0)
    elif damage == "with holes":
        rows, columns = (np.arange(size) % HOLES_APART < HOLE for size in truth.shape)
        spoilt = np.where(rows[:, None] & columns, 0, truth)
    else:
        place = np.searchsorted(labels, truth)
        other = (place + rng.integers(1, len(labels), truth.shape)) % len(labels)
        spoilt = np.where(rng.random(truth.shape) < WRONG, labels[other], truth)
    rest = (1 - SURE) / (len(labels) - 1)
    return np.where(spoilt == labels[:, None, None], SURE, rest).astype(np.float32)


def object_iou(labels: np.ndarray, mask: np.ndarray) -> float:
    """IoU of the classes of a mask, void left out, their mean in per cent. labels, mask: (H, W) uint8.

    >>> object_iou(np.array([[0, 1, 1, 1]]), np.array([[1, 1, 255, 0]]))
    33.33333333333333
    """
    known = mask != VOID
    pairs = [((labels == label) & known, mask == label) for label in np.setdiff1d(mask, (0, VOID))]
    return 100 * float(np.mean([(ours & true).sum() / (ours | true).sum() for ours, true in pairs]))


def refinement_of_damage(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> dict[str, list[float]]:
    """IoU of each damaged truth, in per cent, and the points that each refiner adds; nothing without a class.

    Void takes the label of the nearest labelled pixel before the damage, and isn't scored. A dense CRF has its printed
    weights, with the widths of positions scaled to the canvas, PAMR its dilations.
    """
    import torch
    from scipy.ndimage import distance_transform_edt

    truth = mask[tuple(distance_transform_edt(mask == VOID, return_distances=False, return_indices=True))]
    labels = np.setdiff1d(np.union1d(truth, 0), VOID)
    if len(labels) < 2:
        return {}
    beliefs = np.stack([damaged(truth, labels, damage, rng) for damage in DAMAGES])
    pixels = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    planes = torch.from_numpy(beliefs.reshape(1, -1, *mask.shape))  # planes don't mix: all beliefs at once
    refined = {"PAMR": pamr(pixels, planes, _DILATIONS)[0].numpy().reshape(beliefs.shape)}
    for name, parameters in _CRFS.items():
        refined[name] = [refine_probabilities(np.ascontiguousarray(image), belief, parameters) for belief in beliefs]
    values = {}
    for place, damage in enumerate(DAMAGES):
        before = object_iou(labels[beliefs[place].argmax(0)], mask)
        values[f"truth {damage}: IoU (%)"] = [before]
        for refiner in REFINERS:
            after = object_iou(labels[refined[refiner][place].argmax(0)], mask)
            values[f"truth {damage}: {refiner} (pp)"] = [after - before]
    return values


def context_statistics(view: EvalView, salient: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Statistic -> per image how often it holds, and of how many: (N,) each. Nothing for a world without contexts.

    Surroundings of a class are those that go with it in this world, see `co_occurring_pairs`; whether an image shows
    surroundings is read at its own size, see `score_contexts`.
    """
    if not view.has_context:
        return {}
    found = score_contexts(view, salient)  # of labels, it is what the maps say of surroundings that is used
    known, present = found["known"], found["present"]
    tags = view.tags & known[:, None]
    pairs = co_occurring_pairs(view.tags[known], present[known])
    kinds, classes = (np.array([pair[place] for pair in pairs], int) for place in (0, 1))
    shown, tagged, untagged = present[:, kinds], tags[:, classes], known[:, None] & ~tags[:, classes]
    return {"context: classes with their own (%)": (tagged.sum(1), tags.sum(1)),
            "context: there with the class (%)": ((shown & tagged).sum(1), tagged.sum(1)),
            "context: there without it (%)": ((shown & untagged).sum(1), untagged.sum(1))}


def within(value: float, others: Iterable[dict[str, float]]) -> str:
    """Where a value lies in what others span, from their lowest to their highest end: "within", "below", "above" or "".

    others: `summary` of a statistic in other worlds; those without a value don't count.

    >>> within(4, [{"low": 1, "high": 2}, {"low": 3, "high": 5}]), within(0, [{"low": 1, "high": 2}]), within(0, [])
    ('within', 'below', '')
    """
    ends = [(each["low"], each["high"]) for each in others if not np.isnan(each["low"])]
    if not ends or np.isnan(value):
        return ""
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    return "below" if value < low else "above" if value > high else "within"
