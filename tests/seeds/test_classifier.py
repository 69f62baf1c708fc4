"""The classifiers that seeds come from (Oh et al. 2017): outputs, and both orders of pooling."""

import numpy as np
import pytest
import torch
from tiny_views import BACKBONE, blobs, normal

from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import GapNet, gap_net
from wsss_lab.seeds import training

VIEW = blobs(((32, 32), (16, 32), (32, 32), (40, 24))).train_view()


def network(variant="HighRes"):
    torch.manual_seed(0)
    net = gap_net(variant, Backbone.from_settings(BACKBONE), 2)
    net.classifier.weight.data *= 100  # so that scores differ
    return net


def test_maps_of_a_classifier_belong_to_its_scores_and_those_of_backpropagation_to_the_tags():
    state = network().state_dict()
    outputs = training.classifier_outputs(VIEW, state, "HighRes", BACKBONE)
    assert outputs["maps"].shape == (4, 2, 8, 8) and outputs["maps"].dtype == np.float16
    assert outputs["scores"].shape == (4, 2) and outputs["scores"].dtype == torch.float32
    np.testing.assert_allclose(outputs["maps"].astype(np.float32).mean((2, 3)), outputs["scores"], rtol=0.01, atol=1e-4)
    assert outputs["scores"].std(0).min() > 1e-3
    maps = training.backprop_outputs(VIEW, state, "HighRes", BACKBONE, "vanilla", stride=2)["maps"]
    assert maps.shape == (4, 2, 16, 16) and maps.dtype == np.float16
    assert (maps[~VIEW.tags] == 0).all() and (maps[VIEW.tags].max((1, 2)) == 1).all()


class Biased(GapNet):
    """A network whose two orders of pooling differ."""

    def class_maps(self, x):
        return super().class_maps(x) + 0.1


@pytest.mark.parametrize("variant", ["LowRes", "HighRes", "ROI", "DeepLab"])
def test_both_orders_of_pooling_are_one_function(variant):
    net, images, tags = network(variant).double().eval(), normal(2, 3, 32, 32), torch.eye(2, dtype=torch.float64)
    assert max(training.pooling_differences(net, images, tags).values()) < 1e-12
    net.__class__ = Biased
    found = training.pooling_differences(net, images, tags)
    assert found["scores"] > 1e-3 and found["gradients"] > 1e-3
    found = training.compare_poolings(VIEW, network(variant).state_dict(), variant, BACKBONE)["differences"]
    assert set(found) == {"scores", "gradients"} and max(found.values()) < 1e-9
