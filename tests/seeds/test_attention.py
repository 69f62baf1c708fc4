"""Attention maps: Eq. (1), slices by hand, volumes of a view; their relation to class activation maps."""

import math

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs, normal

from wsss_lab.data.canvas import canvas_box, from_canvas
from wsss_lab.evaluation.scoring import score_seeds
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import attention_net
from wsss_lab.seeds import attention
from wsss_lab.seeds.attention import attention_maps, attention_outputs, normalise_slices, predicted_tags

SIZES = ((32, 32), (16, 32), (32, 32), (40, 24))
LABELLED = blobs(SIZES)
VIEW = LABELLED.train_view()


def tiny_net(pooling="average"):
    torch.manual_seed(0)
    net = attention_net(Backbone.from_settings(BACKBONE), 3, pooling).double().eval()
    torch.nn.init.normal_(net.attention.weight, std=100.0)  # features of an untrained head are small
    torch.nn.init.normal_(net.attention.bias)
    return net


@pytest.fixture(scope="module")
def state():
    return {name: value.float() for name, value in tiny_net().state_dict().items()}


def test_class_loss_by_hand():
    """Probabilities 3/4, 1/2 and 1/5 of three classes of which the first and the last are tags."""
    scores = torch.tensor([[math.log(3), 0.0, -math.log(4)]])
    expected = -(math.log(3 / 4) + math.log(1 / 2) + math.log(1 / 5)) / 3
    assert attention.class_loss(scores, torch.tensor([[1.0, 0.0, 1.0]])).item() == pytest.approx(expected)


def test_each_slice_is_stretched_on_its_own_and_a_constant_one_says_everywhere():
    volume = np.array([[[-3.0, -1.0], [1.0, 5.0]], [[10.0, 10.5], [11.0, 12.0]], [[7.0, 8.0], [9.0, 0.0]]])
    found = normalise_slices(volume, np.array([True, True, False]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[[0, 0.25], [0.5, 1]], [[0, 0.25], [0.5, 1]], [[0, 0], [0, 0]]], atol=1e-6)
    with np.errstate(all="raise"):
        assert (normalise_slices(np.full((1, 2, 3), 5.0), np.array([True])) == 1).all()


def test_maps_are_normalised_at_image_size_inside_the_box():
    """What the padding of the canvas holds has no say in the minimum and maximum."""
    maps = np.random.default_rng(3).normal(size=(4, 2, 8, 8)).astype(np.float16)
    maps[1, :, :2], maps[1, :, 6:] = 50, -50  # rows above and below image 1, which is half as high as its canvas
    for index, each in enumerate(attention_maps(VIEW, maps, 32)):
        grown = from_canvas(maps[index].astype(np.float32), canvas_box(*SIZES[index], 32), 32, SIZES[index])
        kept, = np.flatnonzero(VIEW.tags[index])
        stretched = (grown[kept] - grown[kept].min()) / (grown[kept].max() - grown[kept].min())
        np.testing.assert_allclose(each[kept], stretched, atol=1e-5)
        assert each[kept].max() == 1 and not each[1 - kept].any()


def test_predicted_tags_by_hand():
    scores = [[0.1, -0.1, 3.0], [-5.0, -1.0, -2.0], [0.0, -1.0, -1.0]]
    assert predicted_tags(scores).astype(int).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert predicted_tags([[1.0, 3.0]], threshold=0.9).tolist() == [[False, True]]  # log 9 = 2.197


def test_scores_are_those_of_the_plain_image_whatever_the_scales(state):
    three, one = (attention_outputs(VIEW, state, BACKBONE, **scales) for scales in ({}, {"scales": (1.0,)}))
    np.testing.assert_array_equal(three["scores"], one["scores"])
    np.testing.assert_allclose(one["maps"].astype(np.float32).mean((2, 3)), one["scores"], rtol=5e-3, atol=5e-3)
    assert (three["maps"] >= one["maps"]).all() and (three["maps"] > one["maps"]).any()


def test_attention_is_scored_as_seeds_are(state):
    maps = attention_outputs(VIEW, state, BACKBONE)["maps"]
    np.testing.assert_array_equal(attention.score_attention(LABELLED, maps, 32)["counts"],
                                  score_seeds(LABELLED, attention_maps(LABELLED, maps, 32)))


def test_attention_is_a_class_activation_map_and_only_average_pooling_gives_its_scores(state):
    images = normal(2, 3, 32, 32)
    assert max(attention.cam_differences(tiny_net(), images).values()) < 1e-12
    found = attention.cam_differences(tiny_net("max"), images)
    assert found["maps"] < 1e-12 and found["scores"] > 1e-3
    found = attention.compare_with_cam(VIEW, state, BACKBONE, images=2)["differences"]
    assert set(found) == {"maps", "scores"} and max(found.values()) < 1e-9
