"""The classifiers that seeds come from (Oh et al. 2017): training, outputs, and both orders of pooling."""

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs, schedule

from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import gap_net
from wsss_lab.seeds.training import (
    backprop_outputs,
    classifier_outputs,
    compare_poolings,
    pooling_differences,
    train_classifier,
    train_pooled_last,
)


@pytest.fixture(scope="module")
def view():
    return blobs(((32, 32), (16, 32), (32, 32), (40, 24))).train_view()


@pytest.fixture(scope="module")
def trained(view, start):
    return train_classifier(view, start, "HighRes", BACKBONE, schedule(25), seed=0)


def test_a_classifier_learns_its_tags_and_its_maps_belong_to_its_scores(view, trained):
    history = trained["history"]
    assert len(history) == 25 and history[-1] < 0.5 * history[0]
    outputs = classifier_outputs(view, trained["state"], "HighRes", BACKBONE)
    assert ((outputs["scores"] > 0).numpy() == view.tags).all()
    assert outputs["maps"].shape == (4, 2, 8, 8) and outputs["maps"].dtype == np.float16
    assert outputs["scores"].shape == (4, 2) and outputs["scores"].dtype == torch.float32
    np.testing.assert_allclose(outputs["maps"].astype(np.float32).mean((2, 3)), outputs["scores"], rtol=0.01, atol=0.01)


@pytest.mark.parametrize("method", ["vanilla", "guided", "excitation"])
def test_backpropagation_maps_are_those_of_the_tags(view, trained, method):
    maps = backprop_outputs(view, trained["state"], "HighRes", BACKBONE, method, stride=2)["maps"]
    assert maps.shape == (4, 2, 16, 16) and maps.dtype == np.float16
    assert (maps[~view.tags] == 0).all() and (maps[view.tags].max((1, 2)) == 1).all()


def differences(variant="HighRes", kind=None):
    """Scores and gradients of a network in doubles, pooled behind and before its last layer."""
    torch.manual_seed(0)
    net = gap_net(variant, Backbone.from_settings(BACKBONE), 2).double().eval()
    net.__class__ = kind or net.__class__
    return pooling_differences(net, torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("variant", ["LowRes", "HighRes", "ROI", "DeepLab"])
def test_both_orders_of_pooling_are_one_function(variant):
    assert max(differences(variant).values()) < 1e-12


def test_a_bias_behind_the_pooling_only_would_be_seen():
    class Biased(type(gap_net("HighRes", Backbone.from_settings(BACKBONE), 2))):
        def class_maps(self, x):
            return super().class_maps(x) + 0.1

    found = differences(kind=Biased)
    assert found["scores"] > 1e-3 and found["gradients"] > 1e-3


def test_training_with_either_order_gives_the_same_weights(view, start):
    arguments = view, start, "HighRes", BACKBONE, schedule(3, lr=1e-3, optimiser="sgd"), 0
    first, last = train_classifier(*arguments), train_pooled_last(*arguments)
    assert first["history"] == pytest.approx(last["history"], rel=1e-5)
    for name, weight in first["state"].items():
        torch.testing.assert_close(last["state"][name], weight, rtol=1e-4, atol=1e-6)
    found = compare_poolings(view, last["state"], "HighRes", BACKBONE)["differences"]
    assert set(found) == {"scores", "gradients"} and max(found.values()) < 1e-9
