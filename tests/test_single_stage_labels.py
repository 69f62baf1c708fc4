"""Labels of the trained network: absent classes, the background's power, scales, and pictures of training."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_views import blobs

from wsss_lab.data import frames
from wsss_lab.data.canvas import normalise
from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.inference import averaged_maps
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.refinement.dense_crf import V1, label_image
from wsss_lab.refinement.pamr import pamr
from wsss_lab.seeds.weighted_pooling import class_scores, masks_of
from wsss_lab.segmenter import single_stage
from wsss_lab.segmenter.single_stage import (
    PRESENCE,
    Method,
    keep_present,
    present_classes,
    restore_single_stage,
    segment_single_stage,
    training_pictures,
)

torch.set_num_threads(1)
SIZES = ((32, 32), (24, 32), (32, 20))
BACKBONE = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, aspp=(1, 2), dropout=0.0, side=32)
METHOD = Method(dilations=(1, 2), iterations=3)
SCALES = (1.0, 0.5)


@pytest.fixture(scope="module")
def view():
    return blobs(SIZES).train_view()


@pytest.fixture(scope="module")
def state():
    """A network that knows nothing, with scores large enough for all three labels to win somewhere."""
    torch.manual_seed(0)
    state = METHOD.network(BACKBONE, 2).state_dict()
    state["decoder.4.weight"] *= 60
    state["decoder.4.bias"] = torch.tensor([-1.0, -1.0])
    return state


def segment(view, state, **options):
    return segment_single_stage(view, state, BACKBONE.settings(), METHOD.settings(), SCALES, **options)


@pytest.fixture(scope="module")
def averaged(view, state):
    """Masks and class scores of every image, averaged over scales."""
    net = restore_single_stage(state, BACKBONE.settings(), METHOD.settings())

    def run(images):
        scores = net(images)
        return masks_of(scores), sum(class_scores(scores))

    return [(masks.numpy(), scores) for masks, scores in averaged_maps(net, run, view, 32, SCALES)]


# --- which classes may be labelled -----------------------------------------------------------------------------------


def test_a_confidence_of_10_percent_is_present(monkeypatch):
    assert PRESENCE == 0.1
    view = blobs([(16, 16)])
    edge = math.log(0.1 / 0.9)
    scores = torch.tensor([edge + 1e-3, edge - 1e-3])
    assert present_classes(view, 0, scores, "predicted").tolist() == [True, False]
    assert present_classes(view, 0, -scores, "predicted").tolist() == [True, True]
    monkeypatch.setattr(single_stage, "PRESENCE", 0.5)  # which floats hold exactly
    assert present_classes(view, 0, torch.tensor([0.0, -1e-6]), "predicted").tolist() == [True, False]


def test_known_tags_are_those_of_the_image():
    view = blobs([(16, 16)] * 2)
    for index, expected in enumerate(([True, False], [False, True])):
        assert present_classes(view, index, torch.tensor([-9.0, 9.0]), "known").tolist() == expected


def test_another_word_for_tags_is_refused(view, state):
    with pytest.raises(ParameterError, match="tags='guessed' is not known") as caught:
        segment(view, state, tags="guessed")
    assert caught.value.expected == "predicted or known"


def test_masks_of_absent_classes_go_and_the_background_is_raised():
    masks = np.array([[0.5, 0.2], [0.3, 0.1], [0.2, 0.7]], np.float64)[:, None]
    found = keep_present(masks, np.array([False, True]), 3.0)
    assert found.dtype == np.float32 and found.shape == (3, 1, 2)
    np.testing.assert_allclose(found[:, 0], [[0.125, 0.008], [0, 0], [0.2, 0.7]], rtol=1e-6)
    np.testing.assert_allclose(keep_present(masks, np.array([True, True])), masks, rtol=1e-6)
    assert masks[0, 0, 0] == 0.5  # what came in is left alone


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tags", ["predicted", "known"])
@pytest.mark.parametrize("power", [1.0, 3.0])
def test_labels_are_the_largest_of_the_kept_masks(view, state, averaged, tags, power):
    found = segment(view, state, tags=tags, power=power)
    for index, (masks, scores) in enumerate(averaged):
        present = view.tags[index] if tags == "known" else torch.sigmoid(scores).numpy() >= 0.1
        expected = [masks[0] ** power, *(masks[1 + c] * present[c] for c in range(2))]
        np.testing.assert_array_equal(frames.rows_of(view, found["masks"])[index], np.argmax(expected, 0))
        np.testing.assert_allclose(found["scores"][index], scores, rtol=1e-5)
    np.testing.assert_array_equal(found["masks"], found["refined"])
    assert found["scores"].shape == (3, 2) and found["scores"].dtype == np.float32


def test_classes_below_the_least_confidence_lose_their_pixels(view, state, monkeypatch):
    """At a least confidence of 1/2, as the second class of this network is never that sure."""
    plain = segment(view, state)
    monkeypatch.setattr(single_stage, "PRESENCE", 0.5)
    found = segment(view, state)
    assert (plain["masks"] == 2).any() and not (found["masks"] == 2).any() and (found["masks"] == 1).any()
    np.testing.assert_array_equal(found["scores"], plain["scores"])


def test_known_tags_and_the_power_make_a_difference(view, state):
    plain = segment(view, state)["masks"]
    known, cubed = segment(view, state, tags="known")["masks"], segment(view, state, power=3.0)["masks"]
    assert (known != plain).any() and (cubed != plain).any()
    inside = frames.rows_of(view, cubed)
    before = frames.rows_of(view, plain)
    for index in range(3):
        assert set(np.unique(frames.rows_of(view, known)[index])) <= {0, 1 + index % 2}
        assert (before[index][inside[index] == 0] == 0).all()  # a weaker background wins no pixel


def test_the_crf_refines_kept_masks(view, state, averaged):
    crf = V1.scaled(0.1)
    found = segment(view, state, tags="known", crf=asdict(crf))
    for index, (masks, _) in enumerate(averaged):
        plain, refined = label_image(view.image(index), keep_present(masks, view.tags[index]), crf)
        np.testing.assert_array_equal(frames.rows_of(view, found["masks"])[index], plain)
        np.testing.assert_array_equal(frames.rows_of(view, found["refined"])[index], refined)
    assert (found["masks"] != found["refined"]).any()


def test_class_scores_are_those_of_the_method(view, state):
    """Without the penalty they are larger; a floor of lambda near 1 hardly has one."""
    scores = {}
    for name, method in (("paper", METHOD), ("none", Method(penalty=False)), ("strict", Method(floor=1e-6))):
        scores[name] = segment_single_stage(view, state, BACKBONE.settings(), method.settings(), SCALES)["scores"]
    assert (scores["none"] > scores["paper"]).all() and (scores["paper"] > scores["strict"]).all()


# --- pictures of training --------------------------------------------------------------------------------------------


def pictures(view, state, images, method=METHOD):
    return training_pictures(view, state, BACKBONE.settings(), method.settings(), images)


@pytest.fixture(scope="module")
def taken(view, state):
    return pictures(view, state, (2, 0))


def test_pictures_hold_the_masks_before_and_after_each_iteration(view, state, taken):
    assert taken["masks"].shape == (2, 4, 3, 16, 16) and taken["masks"].dtype == np.float16
    net = restore_single_stage(state, BACKBONE.settings(), METHOD.settings())
    for row, index in enumerate((2, 0)):
        canvas, _ = view.canvas([index], 32)
        with torch.inference_mode():
            masks = masks_of(net(normalise(canvas)))
        small = F.interpolate(canvas / 255, size=(16, 16), mode="bilinear", align_corners=True)
        for iteration in range(4):
            present = torch.tensor([True, *view.tags[index].tolist()]).view(3, 1, 1)
            expected = pamr(small, masks, (1, 2), iteration)[0] * present
            np.testing.assert_allclose(taken["masks"][row, iteration], expected, atol=1e-3)


def test_pictures_show_the_pseudo_ground_truth_of_the_loss(view, taken):
    assert taken["labels"].shape == (2, 32, 32) and taken["labels"].dtype == np.uint8
    tags = torch.tensor(view.tags[[2, 0]])
    refined = torch.from_numpy(taken["masks"][:, -1]).float()
    expected, kept = METHOD.pseudo_labels(refined, tags, (32, 32))
    assert kept.all()
    assert (taken["labels"] == expected.numpy()).mean() > 0.99  # masks are stored in half precision


def test_pictures_are_taken_in_the_order_asked_for(view, state, taken):
    np.testing.assert_allclose(pictures(view, state, [0])["masks"][0], taken["masks"][1], atol=2e-3)
    assert pictures(view, state, [1], Method(iterations=0))["masks"].shape == (1, 1, 3, 16, 16)
