"""Localisation maps of EPS and CAM: relative and averaged maps, labels from them, estimated saliency, scores."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_views import blobs, normal

from wsss_lab.data import frames
from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.errors import ContractError, ParameterError
from wsss_lab.evaluation.scoring import score_seeds
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.inference import multiscale_mean
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.refinement.dense_crf import V1, label_image, refine_probabilities
from wsss_lab.seeds import gap_cam, localisation
from wsss_lab.seeds.localisation import Localisation, pseudo_masks, scores_of
from wsss_lab.seeds.saliency_supervision import Selection, localisation_net, restore_localisation

pytestmark = pytest.mark.usefixtures("on_cpu")  # what is computed twice is compared to the last digits
SIZES = ((32, 32), (24, 32), (32, 20))
BACKBONE = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, dropout=0.5, side=32)
SETTINGS, SCALES = BACKBONE.settings(), (1.0, 0.5)
LABELLED = blobs(SIZES)
VIEW = LABELLED.train_view()


def state_of(background):
    """A network that knows nothing, with raw maps of both signs around 0 that differ from pixel to pixel."""
    torch.manual_seed(0)
    net, (canvas, _) = localisation_net(BACKBONE, 2, background).eval(), VIEW.canvas(range(3), 32)
    with torch.inference_mode():
        features = net.features(normalise(canvas)).movedim(1, -1).flatten(0, 2)
        mean, weights = features.mean(0), net.classifier.weight[:, :, 0, 0]
        weights = weights - torch.outer(weights @ mean, mean) / (mean @ mean)
        weights = 3 * weights / (features @ weights.T).std(0)[:, None]
    return net.state_dict() | {"classifier.weight": weights.clone()[:, :, None, None]}


@pytest.fixture(scope="module")
def states():
    return {"EPS": state_of(True), "CAM": state_of(False)}


@pytest.fixture(scope="module")
def found(states):
    return {name: list(localisation.localisations(VIEW, state, SETTINGS, SCALES)) for name, state in states.items()}


def mean_literally(state, index, activation, scales=SCALES):
    """Maps averaged over scales and mirror images, at image size: (K, H, W)."""
    net, _ = restore_localisation(state, SETTINGS, 2)
    canvas, boxes = VIEW.canvas([index], 32)
    with torch.inference_mode():
        mean, _ = multiscale_mean(lambda x: (activation(net.class_maps(x)), torch.zeros(2, 2)), normalise(canvas),
                                  scales)
    return from_canvas(mean[0], boxes[0], 32, SIZES[index]).numpy()


def softmax(raw):
    return raw.softmax(1)


@pytest.mark.parametrize(("name", "activation"), [("EPS", softmax), ("CAM", torch.relu)])
def test_eps_averages_the_softmax_with_its_background_and_cam_rectified_maps(states, found, name, activation):
    for index, each in enumerate(found[name]):
        expected, tag = mean_literally(states[name], index, activation), index % 2
        np.testing.assert_allclose(each.relative[tag], expected[tag] / expected[tag].max(), atol=1e-4)
        assert not each.relative[1 - tag].any() and (each.mean is None) == (name == "CAM")
        if name == "EPS":
            np.testing.assert_allclose(each.mean, expected, atol=1e-5)


#: Four pixels, two classes of which the second is no tag.
BY_HAND = Localisation(np.array([[1.0, 0.5, 0.1, 0.0], [0, 0, 0, 0]], np.float32)[:, None], np.array(
    [[0.6, 0.3, 0.06, 0.0], [0.1, 0.6, 0.04, 0.1], [0.3, 0.1, 0.9, 0.9]], np.float32)[:, None])
TAGS = np.array([True, False])


def test_a_constant_background_is_a_threshold_and_a_learned_one_competes_with_averaged_maps_by_hand():
    np.testing.assert_allclose(scores_of(BY_HAND, TAGS)[:, 0], [[0.2] * 4, [1, 0.5, 0.1, 0], [0] * 4], rtol=1e-6)
    for background, expected in ((0.05, [1, 1, 1, 0]), (0.5, [1, 0, 0, 0]), (1, [0] * 4), (0, [1, 1, 1, 0])):
        assert scores_of(BY_HAND, TAGS, background).argmax(0)[0].tolist() == expected
    np.testing.assert_array_equal(scores_of(BY_HAND, TAGS, "learned")[:, 0],
                                  np.float32([[0.3, 0.1, 0.9, 0.9], [0.6, 0.3, 0.06, 0], [0] * 4]))


@pytest.mark.parametrize(("background", "mean", "message"), [
    *((each, BY_HAND.mean, r"background=(.|\n)*'learned' or a number in \[0, 1\]")
      for each in (-0.1, 1.1, float("nan"), "constant")), ("learned", None, "without a background map")])
def test_another_background_is_refused(background, mean, message):
    with pytest.raises(ParameterError, match=message):
        scores_of(BY_HAND._replace(mean=mean), TAGS, background)


@pytest.mark.parametrize(("name", "background"), [("EPS", 0.2), ("EPS", 0.6), ("CAM", 0.2)])
def test_labels_are_the_tags_above_either_background_and_the_crf_takes_scores_divided_by_their_sum(
        states, found, name, background):
    crf, expected = V1.scaled(0.1), {"masks": [], "learned": [], "refined": []}
    for index, each in enumerate(found[name]):
        tag, scores = index % 2, np.zeros((3, *SIZES[index]), np.float32)
        scores[0], scores[1 + tag] = background, each.relative[tag]
        expected["masks"].append(np.where(each.relative[tag] > np.float32(background), 1 + tag, 0))
        if name == "EPS":
            expected["learned"].append(np.where(each.mean[tag] > each.mean[-1], 1 + tag, 0))
        refined = refine_probabilities(VIEW.image(index), scores / scores.sum(0), crf, [0, 1 + tag])
        expected["refined"].append(refined.argmax(0))
    labels = pseudo_masks(VIEW, states[name], SETTINGS, SCALES, background, learned=name == "EPS", crf=asdict(crf))
    assert labels.keys() == {kind for kind, rows in expected.items() if rows}
    for kind in labels:
        np.testing.assert_array_equal(labels[kind], frames.stack(VIEW, expected[kind]))
    assert len({kind.tobytes() for kind in labels.values()}) == len(labels)  # all different
    assert pseudo_masks(VIEW, states[name], SETTINGS, (1.0,)).keys() == {"masks"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("selection", [Selection(tau=0.3, share=0.8), Selection("naive", share=1), Selection("none")])
def test_estimated_saliency_is_that_of_the_equation(states, selection):
    saliency = np.random.default_rng(3).integers(0, 256, (3, 32, 32), np.uint8)
    maps = localisation.estimated_frames(VIEW, states["EPS"], SETTINGS, selection.settings(), saliency)["maps"]
    expected = []
    for index, (height, width) in enumerate(SIZES):
        mean, tag = mean_literally(states["EPS"], index, softmax, (1.0,)), index % 2
        area, salient = mean[tag] > 0.5, saliency[index, :height, :width] > 127.5
        chosen = selection.strategy == "naive" or (area.any() and (area & salient).sum() / area.sum() > selection.tau)
        foreground, background = (mean[tag], mean[2]) if chosen else (0, mean[2] + mean[tag])
        estimate = selection.share * foreground + (1 - selection.share) * (1 - background)
        expected.append(255 * (1 - mean[2] if selection.strategy == "none" else estimate))
    assert maps.dtype == np.uint8 and abs(maps - frames.stack(VIEW, expected, float, 0)).max() <= 0.51


@pytest.mark.parametrize("name", ["EPS", "CAM"])
def test_relative_maps_are_scored_as_seeds_are(states, found, name):
    counts = localisation.score_localisations(LABELLED, states[name], SETTINGS, SCALES)["counts"]
    np.testing.assert_array_equal(counts, score_seeds(LABELLED, (each.relative for each in found[name])))
    with pytest.raises(ContractError, match="pixel labels of tiny/train were touched"):
        localisation.score_localisations(LABELLED.guarded(), states[name], SETTINGS, SCALES)


def test_scores_of_cam_are_a_linear_layer_of_pooled_features(states):
    """Eqs. (1) and (2) of Araslanov & Roth 2020: no bias, so the score is the mean of the maps."""
    net, _ = restore_localisation(states["CAM"], SETTINGS, 2)
    x = normal(2, 3, 32, 32).float()
    with torch.inference_mode():
        weights, features = net.classifier.weight[:, :, 0, 0], net.trunk(x)
        torch.testing.assert_close(net(x), F.linear(features.mean((2, 3)), weights))
        torch.testing.assert_close(net.class_maps(x), torch.einsum("ck,bkhw->bchw", weights, features))
    assert net.classifier.bias is None


@pytest.mark.parametrize(("scales", "crf"), [((1.0,), None), ((1.0, 0.5), V1.scaled(0.1))])
def test_labels_of_cam_are_those_of_relative_maps_beside_a_constant_background(states, scales, crf):
    labels = []
    for index in range(3):
        maps, tag = mean_literally(states["CAM"], index, torch.relu, scales), index % 2
        scores = np.zeros((3, *SIZES[index]), np.float32)
        scores[0], scores[1 + tag] = 0.1, maps[tag] / maps[tag].max()
        labels.append(label_image(VIEW.image(index), scores, crf))
    found = gap_cam.label_cams(VIEW, states["CAM"], SETTINGS, scales, crf and asdict(crf))
    for name, expected in zip(("masks", "refined"), zip(*labels), strict=True):
        np.testing.assert_array_equal(found[name], frames.stack(VIEW, expected))
