"""Attention maps: Eq. (1), slices by hand, training with and without the trunk, volumes of a view."""

import math

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs, schedule

from wsss_lab.data.canvas import canvas_box, from_canvas
from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import attention_net
from wsss_lab.networks.trunks import TOY_RESNET_BLOCKS
from wsss_lab.seeds.attention import (
    attention_maps,
    attention_outputs,
    augmentation,
    cam_differences,
    class_loss,
    compare_with_cam,
    normalise_slices,
    predicted_tags,
    score_attention,
    train_attention,
)

RESNET = Backbone("resnet", TOY_RESNET_BLOCKS, width=8, aspp=(1, 2), dropout=0.0, side=32).settings()
SIZES = ((32, 32), (16, 32), (32, 32), (40, 24))


@pytest.fixture(scope="module")
def view():
    return blobs(SIZES).train_view()


@pytest.fixture(scope="module")
def starts():
    torch.manual_seed(0)
    return {name: Backbone.from_settings(settings).trunk("DeepLab").state_dict()
            for name, settings in (("vgg", BACKBONE), ("resnet", RESNET))}


@pytest.fixture(scope="module")
def trained(view, starts):
    return train_attention(view, starts["vgg"], BACKBONE, schedule(40), seed=0)


def test_class_loss_by_hand():
    """Probabilities 3/4, 1/2 and 1/5 of three classes of which the first and the last are tags."""
    scores = torch.tensor([[math.log(3), 0.0, -math.log(4)]])
    expected = -(math.log(3 / 4) + math.log(1 / 2) + math.log(1 / 5)) / 3
    assert class_loss(scores, torch.tensor([[1.0, 0.0, 1.0]])).item() == pytest.approx(expected)


def test_each_slice_is_stretched_on_its_own():
    volume = np.array([[[-3.0, -1.0], [1.0, 5.0]], [[10.0, 10.5], [11.0, 12.0]], [[7.0, 8.0], [9.0, 0.0]]])
    found = normalise_slices(volume, np.array([True, True, False]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[[0, 0.25], [0.5, 1]], [[0, 0.25], [0.5, 1]], [[0, 0], [0, 0]]], atol=1e-6)


def test_a_constant_slice_says_everywhere_and_divides_nothing_by_zero():
    with np.errstate(all="raise"):
        assert (normalise_slices(np.full((1, 2, 3), 5.0), np.array([True])) == 1).all()


def test_maps_are_normalised_at_image_size_inside_the_box(view):
    """What the padding of the canvas holds has no say in the minimum and maximum."""
    maps = np.random.default_rng(3).normal(size=(4, 2, 8, 8)).astype(np.float16)
    maps[1, :, :2], maps[1, :, 6:] = 50, -50  # rows above and below image 1, which is half as high as its canvas
    found = list(attention_maps(view, maps, 32))
    assert [each.shape for each in found] == [(2, *size) for size in SIZES]
    for index, each in enumerate(found):
        grown = from_canvas(maps[index].astype(np.float32), canvas_box(*SIZES[index], 32), 32, SIZES[index])
        kept, = np.flatnonzero(view.tags[index])
        stretched = (grown[kept] - grown[kept].min()) / (grown[kept].max() - grown[kept].min())
        np.testing.assert_allclose(each[kept], stretched, atol=1e-5)
        assert each[kept].max() == 1 and not each[1 - kept].any()


def test_predicted_tags_by_hand():
    scores = [[0.1, -0.1, 3.0], [-5.0, -1.0, -2.0], [0.0, -1.0, -1.0]]
    assert predicted_tags(scores).astype(int).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert predicted_tags([[1.0, 3.0]], threshold=0.9).tolist() == [[False, True]]  # log 9 = 2.197
    assert (predicted_tags(np.random.default_rng(0).normal(-3, 1, (50, 4))).sum(1) >= 1).all()


def test_the_network_learns_its_tags(view, trained):
    history = trained["history"]
    assert len(history) == 40 and history[-1] < 0.3 * history[0]
    scores = attention_outputs(view, trained["state"], BACKBONE)["scores"]
    np.testing.assert_array_equal(scores > 0, view.tags)


def moved(state, start):
    """Names of the trunk's tensors that differ from the start weights."""
    return {name for name, value in start.items() if not torch.equal(value, state[f"trunk.{name}"])}


@pytest.mark.parametrize("name", ["vgg", "resnet"])
def test_a_frozen_trunk_stays_as_it_was_and_new_layers_learn(view, starts, name):
    settings = {"vgg": BACKBONE, "resnet": RESNET}[name]
    frozen = schedule(trunk_lr=0.0, weight_decay=0.1)
    state = train_attention(view, starts[name], settings, frozen, seed=0)["state"]
    other = train_attention(view, starts[name], settings, schedule(1, lr=0.0), seed=0)["state"]
    assert moved(state, starts[name]) == set()
    new = [key for key in state if not key.startswith("trunk.")]
    assert {key.split(".")[0] for key in new} == {"head", "attention"}
    assert not any(torch.equal(state[key], other[key]) for key in new if key.endswith("weight"))


def test_switches_of_the_training_change_it(view, starts):
    def history(**options):
        return train_attention(view, starts["vgg"], BACKBONE, schedule(3), 0, **options)["history"]

    plain = history()
    assert history(pooling="max") != plain and history(random_scale=(0.5, 1.5)) != plain
    assert augmentation((0.5, 1.5)).keywords == {"low": 0.5, "high": 1.5}
    with pytest.raises(ParameterError, match="global pooling 'median'"):
        history(pooling="median")


def test_scores_are_those_of_the_plain_image_whatever_the_scales(view, trained):
    three = attention_outputs(view, trained["state"], BACKBONE)
    one = attention_outputs(view, trained["state"], BACKBONE, scales=(1.0,))
    np.testing.assert_array_equal(three["scores"], one["scores"])
    np.testing.assert_allclose(one["maps"].astype(np.float32).mean((2, 3)), one["scores"], rtol=5e-3, atol=5e-3)
    assert (three["maps"] >= one["maps"]).all() and (three["maps"] > one["maps"]).any()


def test_attention_is_scored_by_its_winner_at_every_threshold(trained):
    labelled = blobs(SIZES)
    maps = attention_outputs(labelled.train_view(), trained["state"], BACKBONE)["maps"]
    counts = score_attention(labelled, maps, 32)["counts"]
    assert counts.shape[:3] == (4, 3, 3)
    for index, each in enumerate(attention_maps(labelled, maps, 32)):
        label = 1 + int(np.flatnonzero(labelled.tags[index])[0])
        truth, won, hit = counts[index].sum(-1)
        assert truth.tolist() == np.bincount(labelled.mask(index).ravel(), minlength=3).tolist()
        assert won[label] == (each[label - 1] > 0).sum()
        assert hit[label] == ((each[label - 1] > 0) & (labelled.mask(index) == label)).sum()


def tiny_net(pooling="average"):
    torch.manual_seed(0)
    net = attention_net(Backbone.from_settings(BACKBONE), 3, pooling).double().eval()
    torch.nn.init.normal_(net.attention.weight, std=100.0)  # features of an untrained head are small
    torch.nn.init.normal_(net.attention.bias)
    return net


def images():
    return torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_maps_and_scores_agree():
    assert max(cam_differences(tiny_net(), images()).values()) < 1e-12


def test_max_pooling_keeps_the_maps_and_changes_the_scores():
    found = cam_differences(tiny_net("max"), images())
    assert found["maps"] < 1e-12 and found["scores"] > 1e-3


def test_trained_network_of_a_view():
    view = blobs([(32, 32), (24, 32), (32, 20)])
    state = {name: value.float() for name, value in tiny_net().state_dict().items()}
    found = compare_with_cam(view.train_view(), state, BACKBONE, images=2)["differences"]
    assert set(found) == {"maps", "scores"} and max(found.values()) < 1e-9
