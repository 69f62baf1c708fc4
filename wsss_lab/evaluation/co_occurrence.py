"""How much of the surroundings is labelled as the object that stands in them (Lee et al. 2021, Sec. 5.1 and Table 2).

.. math:: m_{k,c} = FP_{k,c} / TP_c

FP are the pixels of surroundings k (water) that are labelled c (boat) although they aren't c in the mask, TP the
pixels of c that are labelled c. The paper takes the surroundings from PASCAL-Context and doesn't say on which images it
counts; here they are those of the pair (k, c): c is among the tags and k is to be seen. (The IoU that it prints for one
class differs between two surroundings.) Labels in maps are c + 1 and k + 1.
"""

import numpy as np

from wsss_lab.data import frames
from wsss_lab.data.views import EvalView
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.evaluation.confusion import VOID, confusion_matrix

LEAST_SHARE = 0.5  # of the images of a class that show the surroundings
CLEARLY = 2  # how many times as often surroundings must come with a class as without it
LEAST_IMAGES = 3  # that show both; one or two may be chance


def context_counts(
    prediction: np.ndarray, mask: np.ndarray, context: np.ndarray, classes: int, contexts: int
) -> np.ndarray:
    """Pixels of each context that are labelled as a class they don't belong to: int64 (R, C), all FP of one image.

    prediction: uint8 (H, W) labels. mask: uint8 (H, W), 0 background, 1..C, 255 void. context: uint8 (H, W), 1..R,
    other values none. classes, contexts: C and R.
    Void pixels of the mask are left out, and so are predictions of the background or of no class.
    Raises DataError when the maps differ in size.
    """
    if not prediction.shape == mask.shape == context.shape:
        raise DataError(f"prediction {prediction.shape}, mask {mask.shape} and context {context.shape} do not match",
                        "three maps of one size")
    labelled = (prediction >= 1) & (prediction <= classes) & (context >= 1) & (context <= contexts)
    wrong = labelled & (prediction != mask) & (mask != VOID)
    code = (context[wrong].astype(np.int64) - 1) * classes + prediction[wrong] - 1
    return np.bincount(code, minlength=contexts * classes).reshape(contexts, classes)


def score_contexts(view: EvalView, masks: np.ndarray) -> dict:
    """Compare label maps with masks and context maps of a view.

    masks: frame (N, Hmax, Wmax) uint8 of labels, 255 = undecided.
    Returns, with K = C + 1,
        "false": int64 (N, R, C), see `context_counts`
        "present": bool (N, R), the context surrounds objects in this image: most of its pixels in the mask, void left
            out, belong to no class. (PASCAL-Context has boats as well as water; an object doesn't surround itself.)
        "confusions": int32 (N, K, K + 1), void left out, see wsss_lab.evaluation.confusion
        "known": bool (N,), whether the image has a readable context map; in others nothing is false or present
        "missing": int, how many images have none although the world has contexts; without any, R is 0
    """
    labels = len(view.classes) + 1
    contexts = len(view.context_classes) if view.has_context else 0
    false = np.zeros((len(view), contexts, labels - 1), np.int64)
    present = np.zeros((len(view), contexts), bool)
    confusions = np.zeros((len(view), labels, labels + 1), np.int32)
    known = np.zeros(len(view), bool)
    for index, prediction in enumerate(frames.rows_of(view, masks)):
        mask = view.mask(index)
        confusions[index] = confusion_matrix(prediction, mask, labels)
        try:
            context = view.context(index)
        except DataError:  # PASCAL-Context doesn't cover all of VOC 2012
            context = None
        if context is not None:
            known[index] = True
            false[index] = context_counts(prediction, mask, context, labels - 1, contexts)
            outside, inside = (np.bincount(context[pixels], minlength=256)[1:contexts + 1]
                               for pixels in (mask == 0, (mask > 0) & (mask != VOID)))
            present[index] = outside > inside
    missing = int((~known).sum()) if view.has_context else 0
    return {"false": false, "present": present, "confusions": confusions, "known": known, "missing": missing}


def pair_sums(
    false: np.ndarray, present: np.ndarray, confusions: np.ndarray, tags: np.ndarray, k: int, c: int
) -> np.ndarray:
    """Per-image sums (..., N, 2) whose `ratio` is m_{k,c}: FP and TP, zeros where an image isn't of the pair.

    false (..., N, R, C), present (..., N, R), confusions (..., N, K, K + 1): see `score_contexts`, with training seeds
    in front or without. tags: bool (N, C). Raises ParameterError for a context or class that isn't there.
    """
    contexts, classes = present.shape[-1], tags.shape[-1]
    if not (0 <= k < contexts and 0 <= c < classes):
        raise ParameterError(f"context {k} and class {c}", f"k below {contexts} and c below {classes}, from 0")
    sums = np.stack(np.broadcast_arrays(false[..., k, c], confusions[..., c + 1, c + 1]), -1)
    return np.where((present[..., k] & tags[..., c])[..., None], sums, 0).astype(np.int64)


def co_occurring_pairs(tags: np.ndarray, present: np.ndarray) -> list[tuple[int, int]]:
    """The context that goes with each class, where there is one: pairs (k, c) in the order of classes.

    P(k | c) is the share of images with tag c in which k is present. A context goes with a class if P(k | c) is at
    least a half and at least twice P(k | not c), and if three images or more show both; of several the first with the
    largest difference P(k | c) - P(k | not c), since the quotient would prefer rare surroundings. A class that all
    images show has no pair.

    tags: bool (N, C). present: bool (N, R), see `score_contexts`; give both of the images with a known context map.
    """
    pairs = []
    for c, tagged in enumerate(tags.T):
        if tagged.all() or not tagged.any():
            continue
        within, elsewhere = present[tagged].mean(0), present[~tagged].mean(0)
        together = (within >= LEAST_SHARE) & (within >= CLEARLY * elsewhere) & (present[tagged].sum(0) >= LEAST_IMAGES)
        if together.any():
            pairs.append((int(np.where(together, within - elsewhere, -1).argmax()), c))
    return pairs


# ---------------------------------------------------------------------------------------------------------------------
# What label maps claim that isn't there: background taken for objects, and classes that an image doesn't show.


def false_positives(confusions: np.ndarray) -> np.ndarray:
    """Sums (..., 2) whose `ratio` is the share of background pixels that are labelled as an object: these, and all.

    confusions: (..., K, K + 1), abstained pixels in the last column.

    >>> false_positives(np.array([[6, 2, 1], [1, 9, 0]])).tolist()
    [2, 9]
    """
    background = np.asarray(confusions)[..., 0, :]
    return np.stack([background[..., 1:-1].sum(-1), background.sum(-1)], -1)


def extra_classes(confusions: np.ndarray) -> np.ndarray:
    """Number of object classes that are predicted but not there, (...), in confusions (..., K, K + 1) of single images.

    >>> int(extra_classes(np.array([[6, 2, 1, 0], [1, 9, 0, 0], [0, 0, 0, 0]])))
    1
    """
    confusions = np.asarray(confusions)
    seen, there = confusions[..., :-1].sum(-2) > 0, confusions.sum(-1) > 0
    return (seen & ~there)[..., 1:].sum(-1)
