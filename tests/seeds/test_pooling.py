import numpy as np
import pytest
import torch

from wsss_lab.data.views import TrainView
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.heads import gap_net
from wsss_lab.seeds.training import compare_poolings, pooling_differences, train_classifier, train_pooled_last

BACKBONE = Backbone("vgg", ((1, 4), (1, 4), (1, 4), (1, 4), (1, 4)), width=6, dilation=2, dropout=0.0, side=32)


def tiny_view():
    rng = np.random.default_rng(0)
    tags = np.array([[True, False], [False, True], [True, True], [True, False]])
    images = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    return TrainView.from_arrays("tiny/train", ("a", "b"), tuple("wxyz"), tags, images, "generator")


@pytest.mark.parametrize("variant", ["LowRes", "HighRes", "ROI", "DeepLab"])
def test_both_orders_are_one_function(variant):
    torch.manual_seed(0)
    net = gap_net(variant, BACKBONE, 2).double().eval()
    found = pooling_differences(net, torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    assert max(found.values()) < 1e-12


def test_a_bias_behind_the_pooling_only_would_be_seen():
    class Biased(type(gap_net("HighRes", BACKBONE, 2))):
        def class_maps(self, x):
            return super().class_maps(x) + 0.1

    torch.manual_seed(0)
    net = gap_net("HighRes", BACKBONE, 2).double().eval()
    net.__class__ = Biased
    found = pooling_differences(net, torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    assert found["scores"] > 1e-3 and found["gradients"] > 1e-3


def test_training_with_either_order_gives_the_same_weights():
    start = BACKBONE.trunk("HighRes").state_dict()
    arguments = (tiny_view(), start, "HighRes", BACKBONE.settings(), Schedule(3, 2, 1e-3, "sgd").settings(), 0)
    first, last = train_classifier(*arguments), train_pooled_last(*arguments)
    assert first["history"] == pytest.approx(last["history"], rel=1e-5)
    for name, weight in first["state"].items():
        torch.testing.assert_close(last["state"][name], weight, rtol=1e-4, atol=1e-6)
    found = compare_poolings(tiny_view(), last["state"], "HighRes", BACKBONE.settings())["differences"]
    assert set(found) == {"scores", "gradients"} and max(found.values()) < 1e-9
