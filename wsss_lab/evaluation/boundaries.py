"""How well the boundaries of label maps follow those of the ground truth, whatever the classes on their two sides.

Lee et al. 2021, Table 1 and Sec. 5.1, after the boundary benchmark of SBD (Hariharan et al. 2011): edges of both maps
are matched one to one within a tolerance, and counted over all images before recall and precision are taken. Edges here
are two pixels wide, one on each side of a boundary; the benchmark thins them first. A boundary that is off by at most
the tolerance counts in full, one off by up to a pixel more counts half, because its nearer half still finds partners.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wsss_lab.data import frames
from wsss_lab.data.views import EvalView
from wsss_lab.errors import DataError, ParameterError
from wsss_lab.evaluation.confusion import VOID, divide

MATCHED, FOUND, REFERENCE = range(3)
SMALLEST_TOLERANCE = 1.0  # pixels


def edges(labels: np.ndarray) -> np.ndarray:
    """Pixels whose label differs from that of one of their 4 neighbours, where the Laplacian of some label's indicator
    isn't 0: bool (H, W). The rim of the image is no edge.

    labels: uint8 (H, W), every value a label of its own. Raises DataError for another type or shape.

    >>> edges(np.array([[1, 2, 3, 3, 3]], np.uint8)).astype(int).tolist()
    [[1, 1, 1, 0, 0]]
    """
    _check("labels", labels)
    found = np.zeros(labels.shape, bool)
    down, across = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    found[1:] |= down
    found[:-1] |= down
    found[:, 1:] |= across
    found[:, :-1] |= across
    return found


def reference_edges(mask: np.ndarray, depth: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges of a ground-truth mask, and the pixels where it can't tell: (edges, undecided), bool (H, W) each.

    Void takes the label of the nearest labelled pixel, so that a thin line of void around an object, as VOC has it,
    leaves an edge in its middle, and void inside one region none. Pixels farther than `depth` pixels from any labelled
    one are undecided and no edges: the true boundary may be anywhere there.

    mask: uint8 (H, W), 255 void. Raises DataError for another type or shape.
    """
    from scipy.ndimage import distance_transform_edt

    _check("mask", mask)
    void = mask == VOID
    if void.all():
        return np.zeros(mask.shape, bool), void
    if not void.any():
        return edges(mask), void
    distance, nearest = distance_transform_edt(void, return_indices=True)
    undecided = distance > depth
    return edges(mask[tuple(nearest)]) & ~undecided, undecided


def matches(found: np.ndarray, reference: np.ndarray, tolerance: float) -> int:
    """The largest number of pairs of a found and a reference edge pixel that are at most `tolerance` pixels apart.

    Every pixel is in one pair at most, so this is the number of matched pixels on both sides. The benchmark takes the
    pairs of the least total distance among the largest sets of pairs; their number is the same.
    found, reference: bool (H, W). tolerance: Euclidean distance.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_flow
    from scipy.spatial import cKDTree

    ours, theirs = np.argwhere(found), np.argwhere(reference)
    if not len(ours) or not len(theirs):
        return 0
    near = cKDTree(ours).sparse_distance_matrix(cKDTree(theirs), tolerance, output_type="ndarray")
    # A flow of units from a source (node 0) over found pixels, then reference pixels, to a sink. SciPy's matching of
    # bipartite graphs gives the same number, but takes half a minute on some maps that this takes milliseconds for.
    first, sink = 1 + len(ours), 1 + len(ours) + len(theirs)
    start = np.concatenate([np.zeros(len(ours), np.int32), 1 + near["i"], np.arange(first, sink)])
    end = np.concatenate([np.arange(1, first), first + near["j"], np.full(len(theirs), sink)])
    graph = csr_matrix((np.ones(len(start), np.int32), (start, end)), (sink + 1, sink + 1))
    return int(maximum_flow(graph, 0, sink, method="dinic").flow_value)


def tolerance_pixels(size: tuple[int, int], share: float) -> float:
    """How far apart matched edges may be, in pixels: a share of the image's diagonal, at least 1.

    The benchmark takes 0.0075. On an image of 64 x 64 that is 0.7 pixels: only edges that coincide would match.
    size: (H, W). Raises ParameterError for a share that isn't between 0 and 1.

    >>> tolerance_pixels((300, 400), 0.02), tolerance_pixels((64, 64), 0.0075)
    (10.0, 1.0)
    """
    if not 0 < share < 1:
        raise ParameterError(f"share {share} of the diagonal", "above 0 and below 1, 0.0075 in the boundary benchmark")
    return max(SMALLEST_TOLERANCE, share * float(np.hypot(*size)))


def boundary_counts(prediction: np.ndarray, mask: np.ndarray, share: float) -> np.ndarray:
    """Edge pixels of one image: int64 (3,), how many are matched, found and in the reference.

    prediction: uint8 (H, W) labels, 255 (undecided) as background: no object is claimed there. mask: uint8 (H, W), 255
    void. share: of the diagonal, see `tolerance_pixels`. Found edges farther than the tolerance from labelled pixels
    are left out. Raises DataError for other types or shapes, ParameterError for a share outside (0, 1).
    """
    if prediction.shape != mask.shape:
        raise DataError(f"prediction {prediction.shape} and mask {mask.shape} do not match", "two maps of one size")
    tolerance = tolerance_pixels(mask.shape, share)
    reference, undecided = reference_edges(mask, tolerance)
    found = edges(np.where(prediction == VOID, 0, prediction)) & ~undecided
    return np.array([matches(found, reference, tolerance), found.sum(), reference.sum()], np.int64)


class BoundaryScores(NamedTuple):
    """Fractions in [0, 1], each (...) float64; nan where there is nothing to find, or nothing was found, or both."""

    recall: np.ndarray
    precision: np.ndarray
    f1: np.ndarray


def boundary_scores(counts: np.ndarray) -> BoundaryScores:
    """Recall, precision and F1 = 2 PR / (P + R) from counts of `boundary_counts`.

    counts: (..., 3), already summed over the images, as the benchmark pools edge pixels over the set.
    Recall is nan without reference edges, precision without found ones; F1 only without either, otherwise 0 at worst.

    >>> [float(score) for score in boundary_scores(np.array([30, 40, 60]))]
    [0.5, 0.75, 0.6]
    """
    counts = np.asarray(counts)
    matched, found, reference = counts[..., MATCHED], counts[..., FOUND], counts[..., REFERENCE]
    return BoundaryScores(divide(matched, reference), divide(matched, found), divide(2 * matched, found + reference))


def score_boundaries(view: EvalView, masks: np.ndarray, shares: Sequence[float]) -> dict:
    """Edge pixels of label maps against the ground truth of a view: {"counts": int64 (N, len(shares), 3)}.

    masks: frame (N, Hmax, Wmax) uint8 of labels, 255 = undecided. shares: tolerances as shares of the diagonal, each
    with its own counts, see `boundary_counts`; sum over the images for `boundary_scores`.
    """
    counts = np.zeros((len(view), len(shares), 3), np.int64)
    for index, prediction in enumerate(frames.rows_of(view, masks)):
        mask = view.mask(index)
        for column, share in enumerate(shares):
            counts[index, column] = boundary_counts(prediction, mask, share)
    return {"counts": counts}


def _check(name: str, labels: np.ndarray) -> None:
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise DataError(f"{name}: {labels.dtype} of shape {labels.shape}", "uint8 labels (H, W)")
