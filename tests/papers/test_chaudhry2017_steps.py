"""Steps that join stages of Chaudhry et al. 2017: every gamma at once, a tuned gamma, cues as the segmentation."""

import numpy as np
import pytest
from tiny_views import make_view

from wsss_lab.data import frames
from wsss_lab.errors import DataError
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.evaluation.scoring import score_masks
from wsss_lab.fusion.harmonic import MEANS, class_specific_pixels, cue_frames
from wsss_lab.papers.chaudhry2017.route import agreement_maps, direct_labels, score_agreement, tuned_cues
from wsss_lab.seeds.attention import attention_maps

SIZES = ((8, 8), (4, 8), (10, 6))
SIDE = 8


@pytest.fixture
def labelled():
    rng = np.random.default_rng(0)
    masks = [rng.choice(np.array([0, 0, 1, 2, 255], np.uint8), size) for size in SIZES]
    return make_view([np.zeros((*size, 3), np.uint8) for size in SIZES], masks,
                     [[True, False], [True, True], [False, True]])


@pytest.fixture
def view(labelled):
    return labelled.train_view()


@pytest.fixture
def maps():
    return np.random.default_rng(1).normal(size=(3, 2, 4, 4)).astype(np.float16)


@pytest.fixture
def saliency(view):
    """Quarters: with full saliency and without any."""
    rng = np.random.default_rng(2)
    return frames.stack(view, (rng.choice(np.array([0, 64, 128, 255], np.uint8), size) for size in SIZES), fill=0)


@pytest.mark.parametrize("mean", MEANS)
def test_agreement_is_the_mean_of_both_maps_and_0_off_the_tags(view, maps, saliency, mean):
    found = list(agreement_maps(view, maps, saliency, SIDE, mean))
    salient = frames.rows_of(view, saliency)
    for index, attention in enumerate(attention_maps(view, maps, SIDE)):
        assert found[index].shape == (2, *SIZES[index])
        for label, tag in enumerate(view.tags[index]):
            expected = MEANS[mean](attention[label], np.float32(salient[index]) / 255) if tag else 0
            np.testing.assert_array_equal(found[index][label], np.broadcast_to(expected, SIZES[index]))


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("gamma", [0.125, 0.5, 0.75])
def test_one_sweep_scores_algorithm_1_at_every_gamma(labelled, view, maps, saliency, mean, gamma):
    """Bin edges are exact: the sweep at a gamma is the score of the cues made with it."""
    swept = sweep(score_agreement(labelled, maps, saliency, SIDE, mean)["counts"].sum(0))
    at = int(np.flatnonzero(swept.thresholds == gamma)[0])
    cues = cue_frames(view, maps, saliency, SIDE, gamma, mean)["masks"]
    confusion = score_masks(labelled, cues)["confusions"].sum(0)
    np.testing.assert_array_equal(swept.hits[:, at], np.diag(confusion))
    np.testing.assert_array_equal(swept.predicted[:, at], confusion[:, :3].sum(0))


def test_the_tuned_gamma_is_the_best_one_of_the_other_images(labelled, view, maps, saliency):
    counts = score_agreement(labelled, maps, saliency, SIDE, "geometric")["counts"]
    tuned = tuned_cues(view, maps, saliency, counts, SIDE, "geometric")
    best = max(np.linspace(0, 1, 129)[1:-1], key=lambda gamma: sweep(counts.sum(0)).mean_iou[round(gamma * 128)])
    assert tuned["gamma"] == pytest.approx(best)
    np.testing.assert_array_equal(tuned["masks"],
                                  cue_frames(view, maps, saliency, SIDE, tuned["gamma"], "geometric")["masks"])
    assert isinstance(tuned["gamma"], float)


@pytest.mark.parametrize(("confidence", "gamma"), [(127, 0.99), (0, 0.01)])
def test_a_gamma_at_either_end_is_moved_into_the_allowed_range(view, maps, saliency, confidence, gamma):
    """Where every pixel is right, or every one is wrong, the sweep's best threshold is an end of it."""
    counts = np.zeros((1, 3, 3, 128), int)
    counts[0, 0, 0 if gamma > 0.5 else 1, confidence] = 10  # true class: background, or the winner
    counts[0, 1, 1, confidence] = 10
    if gamma < 0.5:
        counts[0, 2, 1, confidence] = 10
    assert tuned_cues(view, maps, saliency, counts, SIDE, "harmonic")["gamma"] == gamma


def test_cues_as_the_segmentation_use_the_tags_that_the_network_sees(view, maps, saliency):
    scores = np.array([[-1.0, 2.0], [3.0, -3.0], [-2.0, -1.0]])
    seen = np.array([[False, True], [True, False], [False, True]])
    found = frames.rows_of(view, direct_labels(view, maps, scores, saliency, SIDE, 0.3, "predicted")["masks"])
    salient = frames.rows_of(view, saliency)
    for index, attention in enumerate(attention_maps(view, maps, SIDE, seen)):
        expected = class_specific_pixels(attention, salient[index] / 255, seen[index], 0.3)
        np.testing.assert_array_equal(found[index], expected)
        assert set(np.unique(found[index])) == {0, int(np.flatnonzero(seen[index])[0]) + 1}
    known = direct_labels(view, maps, scores, saliency, SIDE, 0.3, "known")["masks"]
    np.testing.assert_array_equal(known, cue_frames(view, maps, saliency, SIDE, 0.3)["masks"])


def test_an_image_without_tags_can_still_be_labelled_by_what_is_seen(labelled, maps, saliency):
    untagged = make_view([labelled.image(index) for index in range(3)], [labelled.mask(index) for index in range(3)],
                         [[True, False], [False, False], [False, True]])
    scores = np.array([[1.0, -1.0]] * 3)
    found = direct_labels(untagged, maps, scores, saliency, SIDE, 0.3, "predicted")["masks"]
    assert set(np.unique(frames.rows_of(untagged, found)[1])) == {0, 1}
    with pytest.raises(DataError, match="image image1"):
        direct_labels(untagged, maps, scores, saliency, SIDE, 0.3, "known")
