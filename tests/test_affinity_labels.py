"""Sure labels for AffinityNet: by hand without a pairwise CRF, and what disagreement and a whole view give."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs

from wsss_lab.data import frames
from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.refinement import affinity as module
from wsss_lab.refinement.affinity import affinity_label_frames, affinity_labels, with_background
from wsss_lab.refinement.dense_crf import V1, CrfParameters
from wsss_lab.seeds.localisation import localisations
from wsss_lab.seeds.saliency_supervision import localisation_net

torch.set_num_threads(1)
NO_PAIRS = CrfParameters(bilateral_weight=0, bilateral_xy=1, bilateral_rgb=1, spatial_weight=0, spatial_xy=1)
TAGS = np.array([True, False, True])


def grey(*size):
    return np.full((*size, 3), 110, np.uint8)


def test_the_background_is_the_power_of_what_the_largest_map_leaves():
    maps = np.random.default_rng(0).random((3, 4, 5))
    found = with_background(maps, 4)
    np.testing.assert_array_equal(found[1:], maps)
    for y in range(4):
        for x in range(5):
            assert found[0, y, x] == pytest.approx((1 - max(maps[:, y, x])) ** 4)


def test_sure_labels_by_hand():
    """Strong background (1 - m)^4 and weak (1 - m)^24 beside the largest map m.

    m = 0: background. 0.05: weak 0.29 > m, background. 0.2: strong 0.41 > m > weak 0.005, not sure. 0.5: strong 0.06,
    foreground. 0.9 likewise, of the larger of two classes.
    """
    first, third = [0.0, 0.05, 0.2, 0.5, 0.9], [0.0, 0.0, 0.1, 0.0, 0.95]
    relative = np.array([[first], [[0.0] * 5], [third]])
    found = affinity_labels(grey(1, 5), relative, TAGS, NO_PAIRS)
    assert found.dtype == np.uint8 and found.tolist() == [[0, 0, 255, 1, 3]]
    # At 0.2 a strong (1 - m)^8 = 0.17 makes foreground, a weak (1 - m)^6 = 0.26 background.
    assert affinity_labels(grey(1, 5), relative, TAGS, NO_PAIRS, (8, 24)).tolist() == [[0, 0, 1, 1, 3]]
    assert affinity_labels(grey(1, 5), relative, TAGS, NO_PAIRS, (4, 6)).tolist() == [[0, 0, 0, 1, 3]]


def test_without_tags_all_is_background():
    found = affinity_labels(grey(2, 3), np.zeros((3, 2, 3)), np.zeros(3, bool), NO_PAIRS)
    assert found.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_the_crf_gets_scores_that_sum_to_one_and_only_present_labels(monkeypatch):
    asked = []

    def refine(image, probabilities, parameters, labels):
        asked.append((image, probabilities, parameters, labels))
        return probabilities

    monkeypatch.setattr(module, "refine_probabilities", refine)
    image, relative = grey(4, 6), np.random.default_rng(0).random((3, 4, 6))
    affinity_labels(image, relative, TAGS, NO_PAIRS)
    for alpha, (picture, probabilities, parameters, labels) in zip((4, 24), asked, strict=True):
        scores = with_background(relative, alpha)
        np.testing.assert_allclose(probabilities, scores / scores.sum(0))
        assert picture is image and parameters is NO_PAIRS and list(labels) == [0, 1, 3]


def test_background_counts_where_both_are_said(monkeypatch):
    """A CRF can turn a pixel to background beside the weak one and to a class beside the strong one."""
    strong, weak = np.array([[0, 1, 0, 1]]), np.array([[1, 0, 0, 1]])
    answers = iter([np.eye(2)[labels].transpose(2, 0, 1) for labels in (strong, weak)])
    monkeypatch.setattr(module, "refine_probabilities", lambda *_: next(answers))
    found = affinity_labels(grey(1, 4), np.ones((1, 1, 4)), np.array([True]), NO_PAIRS)
    assert found.tolist() == [[255, 0, 0, 1]]


@pytest.mark.parametrize("alphas", [(24, 4), (4, 4), (0, 4), (-1, 4)])
def test_alphas_that_do_not_increase_are_refused(alphas):
    with pytest.raises(ParameterError, match="alphas"):
        affinity_labels(grey(1, 1), np.zeros((3, 1, 1)), TAGS, NO_PAIRS, alphas)


def test_frames_hold_the_labels_of_every_image():
    view = blobs(((32, 32), (24, 32), (32, 20)))
    torch.manual_seed(0)
    state = localisation_net(Backbone.from_settings(BACKBONE), 2, background=True).state_dict()
    state["classifier.weight"] *= 30  # opinions
    crf = V1.scaled(0.1)
    found = affinity_label_frames(view.guarded(), state, BACKBONE, (1.0, 0.5), asdict(crf), (1, 3))["masks"]
    assert found.shape == (3, 32, 32) and found.dtype == np.uint8
    for index, maps in enumerate(localisations(view.train_view(), state, BACKBONE, (1.0, 0.5))):
        expected = affinity_labels(view.image(index), maps.relative, view.tags[index], crf, (1, 3))
        np.testing.assert_array_equal(frames.rows_of(view, found)[index], expected)
    assert {0, 255} < set(np.unique(found[:, :20, :20])) <= {0, 1, 2, 255}
