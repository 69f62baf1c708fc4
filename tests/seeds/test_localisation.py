"""Localisation maps of a trained network: relative and averaged maps, labels from them, estimated saliency, scores."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from tiny_views import blobs, make_view

from wsss_lab.data import frames
from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.errors import ParameterError
from wsss_lab.evaluation.precision_recall import sweep
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.inference import multiscale_mean
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.refinement.dense_crf import V1, refine_probabilities
from wsss_lab.seeds.localisation import (
    BACKGROUND,
    Localisation,
    estimated_frames,
    localisations,
    pseudo_masks,
    score_localisations,
    scores_of,
)
from wsss_lab.seeds.saliency_supervision import Selection, localisation_net, restore_localisation

pytestmark = pytest.mark.usefixtures("on_cpu")  # what is computed twice is compared to the last digits
SIZES = ((32, 32), (24, 32), (32, 20))
BACKBONE = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, dropout=0.5, side=32)
SCALES = (1.0, 0.5)


def state_of(background):
    """A network that knows nothing, with raw maps of both signs around 0 that differ from pixel to pixel."""
    torch.manual_seed(0)
    net = localisation_net(BACKBONE, 2, background).eval()
    canvas, _ = blobs(SIZES).canvas(range(3), 32)
    with torch.inference_mode():
        features = net.features(normalise(canvas)).movedim(1, -1).flatten(0, 2)
        mean = features.mean(0)
        weights = net.classifier.weight[:, :, 0, 0]
        weights = weights - torch.outer(weights @ mean, mean) / (mean @ mean)
        weights = 3 * weights / (features @ weights.T).std(0)[:, None]
    return net.state_dict() | {"classifier.weight": weights.clone()[:, :, None, None]}


@pytest.fixture(scope="module")
def view():
    return blobs(SIZES)


@pytest.fixture(scope="module")
def states():
    return {"EPS": state_of(True), "CAM": state_of(False)}


@pytest.fixture(scope="module")
def found(view, states):
    return {name: list(localisations(view.train_view(), state, BACKBONE.settings(), SCALES))
            for name, state in states.items()}


def mean_literally(state, view, index, activation, scales):
    """Maps averaged over scales and mirror images, at image size: (K, H, W)."""
    net, _ = restore_localisation(state, BACKBONE.settings(), 2)
    canvas, boxes = view.canvas([index], 32)
    with torch.inference_mode():
        mean, _ = multiscale_mean(lambda x: (activation(net.class_maps(x)), torch.zeros(2, 2)), normalise(canvas),
                                  scales)
    return from_canvas(mean[0], boxes[0], 32, view.size(index)).numpy()


def test_eps_averages_the_softmax_with_its_background(view, states, found):
    for index, each in enumerate(found["EPS"]):
        expected = mean_literally(states["EPS"], view, index, lambda raw: raw.softmax(1), SCALES)
        assert each.mean.shape == (3, *SIZES[index]) and each.mean.dtype == np.float32
        np.testing.assert_allclose(each.mean, expected, atol=1e-5)
        np.testing.assert_allclose(each.mean.sum(0), 1, atol=1e-5)
        tag = index % 2
        np.testing.assert_allclose(each.relative[tag], expected[tag] / expected[tag].max(), atol=1e-5)


def test_cam_averages_rectified_maps_and_has_no_background(view, states, found):
    for index, each in enumerate(found["CAM"]):
        expected = mean_literally(states["CAM"], view, index, lambda raw: raw.relu(), SCALES)
        tag = index % 2
        assert each.mean is None and expected[tag].max() > 0
        np.testing.assert_allclose(each.relative[tag], expected[tag] / expected[tag].max(), atol=1e-4)


def by_hand():
    """Four pixels, two classes of which the second is no tag."""
    mean = np.array([[0.6, 0.3, 0.06, 0.0], [0.1, 0.6, 0.04, 0.1], [0.3, 0.1, 0.9, 0.9]], np.float32)[:, None]
    relative = np.array([[1.0, 0.5, 0.1, 0.0], [0, 0, 0, 0]], np.float32)[:, None]
    return Localisation(relative, mean), np.array([True, False])


def test_a_constant_background_is_a_threshold_by_hand():
    found, tags = by_hand()
    scores = scores_of(found, tags)
    assert BACKGROUND == 0.2 and scores.dtype == np.float32
    np.testing.assert_allclose(scores[:, 0], [[0.2] * 4, [1, 0.5, 0.1, 0], [0] * 4], rtol=1e-6)
    for background, expected in ((0.05, [1, 1, 1, 0]), (0.2, [1, 1, 0, 0]), (0.5, [1, 0, 0, 0]), (1, [0] * 4),
                                 (0, [1, 1, 1, 0])):
        assert scores_of(found, tags, background).argmax(0)[0].tolist() == expected


def test_the_learned_background_competes_with_the_averaged_maps_by_hand():
    found, tags = by_hand()
    scores = scores_of(found, tags, "learned")
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores[:, 0], np.float32([[0.3, 0.1, 0.9, 0.9], [0.6, 0.3, 0.06, 0], [0] * 4]))
    assert scores.argmax(0)[0].tolist() == [1, 1, 0, 0]


def test_a_learned_background_needs_a_network_that_has_one(view, states):
    with pytest.raises(ParameterError, match="without a background map"):
        pseudo_masks(view, states["CAM"], BACKBONE.settings(), SCALES, learned=True)


@pytest.mark.parametrize("background", [-0.1, 1.1, float("nan"), "constant"])
def test_another_background_is_refused(background):
    with pytest.raises(ParameterError, match="background=") as caught:
        scores_of(*by_hand(), background)
    assert caught.value.expected == "'learned' or a number in [0, 1]"


@pytest.mark.parametrize("background", [0.2, 0.9])
@pytest.mark.parametrize("name", ["EPS", "CAM"])
def test_labels_are_the_tags_above_the_constant_background(view, states, found, name, background):
    labels = pseudo_masks(view.train_view(), states[name], BACKBONE.settings(), SCALES, background)
    assert set(labels) == {"masks"} and labels["masks"].dtype == np.uint8
    for index, each in enumerate(found[name]):
        tag = index % 2
        expected = np.where(each.relative[tag] > np.float32(background), 1 + tag, 0)
        np.testing.assert_array_equal(frames.rows_of(view, labels["masks"])[index], expected)
    assert labels["masks"][1, 24:].min() == 255  # outside of the image


def test_learned_labels_are_those_of_the_background_map(view, states, found):
    labels = pseudo_masks(view, states["EPS"], BACKBONE.settings(), SCALES, learned=True)
    assert set(labels) == {"masks", "learned"}
    for index, each in enumerate(found["EPS"]):
        tag = index % 2
        expected = np.where(each.mean[tag] > each.mean[-1], 1 + tag, 0)
        np.testing.assert_array_equal(frames.rows_of(view, labels["learned"])[index], expected)
    assert (labels["learned"] != labels["masks"]).any()


def test_no_pixel_gets_a_class_that_is_no_tag(states):
    """Images with no tag, one tag and both."""
    images = list(np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), np.uint8))
    view = make_view(images, [np.zeros((32, 32), np.uint8)] * 3, [[False, False], [False, True], [True, True]])
    crf = asdict(V1.scaled(0.1))
    labels = pseudo_masks(view, states["EPS"], BACKBONE.settings(), SCALES, 0.6, learned=True, crf=crf)
    assert set(labels) == {"masks", "learned", "refined"}
    for each in labels.values():
        assert not each[0].any() and set(np.unique(each[1])) <= {0, 2} and set(np.unique(each[2])) <= {0, 1, 2}
    assert {0, 1, 2} == set(np.unique(labels["masks"][2]))


def test_the_crf_refines_scores_divided_by_their_sum(view, states, found):
    crf = V1.scaled(0.1)
    labels = pseudo_masks(view, states["EPS"], BACKBONE.settings(), SCALES, 0.6, crf=asdict(crf))
    for index, each in enumerate(found["EPS"]):
        tag = index % 2
        scores = np.zeros((3, *SIZES[index]), np.float32)
        scores[0], scores[1 + tag] = 0.6, each.relative[tag]
        refined = refine_probabilities(view.image(index), scores / scores.sum(0), crf, [0, 1 + tag])
        np.testing.assert_array_equal(frames.rows_of(view, labels["refined"])[index], refined.argmax(0))
    assert (labels["refined"] != labels["masks"]).any()


def estimate(view, state, saliency, selection=None):
    settings = (selection or Selection()).settings()
    return estimated_frames(view, state, BACKBONE.settings(), settings, saliency)["maps"]


@pytest.fixture(scope="module")
def saliency():
    return np.random.default_rng(3).integers(0, 256, (3, 32, 32), np.uint8)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("selection", [Selection(tau=0.3, share=0.8), Selection("naive", share=1), Selection("none")])
def test_estimated_saliency_is_that_of_the_equation(view, states, saliency, selection):
    maps = estimate(view.train_view(), states["EPS"], saliency, selection)
    assert maps.shape == (3, 32, 32) and maps.dtype == np.uint8
    for index, (height, width) in enumerate(SIZES):
        mean = mean_literally(states["EPS"], view, index, lambda raw: raw.softmax(1), (1.0,))
        tag = index % 2
        area, salient = mean[tag] > 0.5, saliency[index, :height, :width] > 127.5
        chosen = selection.strategy == "naive" or (area.any() and (area & salient).sum() / area.sum() > selection.tau)
        foreground, background = (mean[tag], mean[2]) if chosen else (0, mean[2] + mean[tag])
        expected = selection.share * foreground + (1 - selection.share) * (1 - background)
        if selection.strategy == "none":
            expected = 1 - mean[2]
        assert abs(maps[index, :height, :width] - 255 * expected).max() <= 0.51
        assert not maps[index, height:].any() and not maps[index, :, width:].any()


@pytest.mark.parametrize("name", ["EPS", "CAM"])
def test_counts_agree_with_labels_at_a_threshold(view, states, found, name):
    counts = score_localisations(view, states[name], BACKBONE.settings(), SCALES)["counts"]
    assert counts.shape[:3] == (3, 3, 3) and counts.dtype == np.int32
    swept = sweep(counts.sum(0))
    for threshold in (0.25, 0.75):
        at = list(swept.thresholds).index(threshold)
        predicted, hits = np.zeros(3), np.zeros(3)
        for index, each in enumerate(found[name]):
            labels = np.where(each.relative.max(0) >= threshold, 1 + each.relative.argmax(0), 0)
            for label in range(3):
                predicted[label] += (labels == label).sum()
                hits[label] += ((labels == label) & (view.mask(index) == label)).sum()
        assert swept.predicted[:, at].tolist() == predicted.tolist() and swept.hits[:, at].tolist() == hits.tolist()
        assert (predicted > 0).all()


def test_scores_of_maps_need_masks(view, states):
    with pytest.raises(Exception, match="pixel labels of tiny/train were touched"):
        score_localisations(view.guarded(), states["EPS"], BACKBONE.settings(), SCALES)
