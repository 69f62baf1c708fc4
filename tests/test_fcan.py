"""The attention network: pooling after linear class filters is CAM, and what changes when it isn't linear."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import AttentionNet, attention_net
from wsss_lab.networks.trunks import TOY_BLOCKS, TOY_RESNET_BLOCKS, convolutions

torch.set_num_threads(1)
VGG = Backbone("vgg", TOY_BLOCKS, width=8, aspp=(1, 2), dropout=0.0, side=32)
RESNET = Backbone("resnet", TOY_RESNET_BLOCKS, width=8, aspp=(1, 2), dropout=0.0, side=32)


def tiny(pooling="average", labels=4):
    """A net of doubles whose filters are not small, so that nothing hides in rounding."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Tanh())
    net = AttentionNet(trunk, nn.Conv2d(5, labels, 1), labels, pooling)
    nn.init.normal_(net.attention.weight)
    nn.init.normal_(net.attention.bias)
    return net.double().eval()


def images(count=2, side=8):
    return torch.randn(count, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def as_linear(net, pooled):
    """What a linear classifier with the net's filters makes of pooled features (B, K)."""
    return F.linear(pooled, net.attention.weight[:, :, 0, 0], net.attention.bias)


class WithRelu(AttentionNet):
    """The same net with a non-linearity between f and V."""

    def class_maps(self, x):
        return self.attention(self.scores(x).relu())


# --- pooling and CAM -------------------------------------------------------------------------------------------------


def test_volumes_by_hand():
    """f = x: filters (1, -1) and (0, 2) with biases 0.5 and -1 on two pixels."""
    net = AttentionNet(nn.Sequential(), nn.Identity(), 3)
    net.attention.weight.data = torch.tensor([[1.0, -1.0, 0.0], [0.0, 2.0, 1.0]])[..., None, None]
    net.attention.bias.data = torch.tensor([0.5, -1.0])
    x = torch.tensor([[[1.0, 3.0]], [[2.0, 0.0]], [[0.0, 4.0]]])[None]
    with torch.no_grad():
        assert torch.equal(net.scores(x), x)
        assert net.class_maps(x).tolist() == [[[[-0.5, 3.5]], [[3.0, 3.0]]]]
        assert net(x).tolist() == [[1.5, 3.0]]
        net.pooling = "max"
        assert net(x).tolist() == [[3.5, 3.0]]


def test_pooling_the_volume_is_classifying_the_pooled_scores():
    """GAP(V) = w . GAP(f) + b, with the same gradients."""
    net, x = tiny(), images().requires_grad_()
    after, before = net(x), as_linear(net, net.scores(x).mean((2, 3)))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-12)
    for wanted in (x, *net.parameters()):
        first, = torch.autograd.grad(after.square().sum(), wanted, retain_graph=True)
        second, = torch.autograd.grad(before.square().sum(), wanted, retain_graph=True)
        assert first.abs().sum() > 0
        torch.testing.assert_close(first, second, rtol=0, atol=1e-10)


def test_the_volume_is_the_class_activation_map_up_to_its_bias():
    """What each position of f adds to the score of a linear classifier, times the number of positions."""
    net, x = tiny(), images()
    features = net.scores(x).detach().requires_grad_()
    scores = as_linear(net, features.mean((2, 3)))
    for label in range(scores.shape[1]):
        gradient, = torch.autograd.grad(scores[:, label].sum(), features, retain_graph=True)
        cam = (gradient * features).sum(1) * gradient[0, 0].numel()
        volume = net.class_maps(x)[:, label] - net.attention.bias[label]
        torch.testing.assert_close(volume, cam, rtol=0, atol=1e-12)


def test_the_equality_needs_average_pooling_and_no_step_between_the_volumes():
    x = images()
    largest = tiny("max")
    assert not torch.allclose(largest(x), as_linear(largest, largest.scores(x).amax((2, 3))), atol=1e-3)
    assert not torch.allclose(largest(x), tiny()(x), atol=1e-3)
    bent = WithRelu(*(tiny().trunk, tiny().head), 4).double()
    bent.load_state_dict(tiny().state_dict())
    assert not torch.allclose(bent(x), as_linear(bent, bent.scores(x).mean((2, 3))), atol=1e-3)


def test_max_pooling_reads_one_position_and_average_pooling_all():
    for pooling, count in (("average", 16), ("max", 1)):
        volume = torch.randn(1, 1, 4, 4, dtype=torch.float64).requires_grad_()
        tiny(pooling).pool(volume).sum().backward()
        assert int((volume.grad != 0).sum()) == count
        assert float(volume.grad.sum()) == pytest.approx(1)


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_gradients_of_the_scores(pooling):
    assert torch.autograd.gradcheck(tiny(pooling), images(1, 6).requires_grad_())


def test_pooling_has_a_known_name():
    with pytest.raises(ParameterError, match="global pooling 'min'"):
        attention_net(VGG, 3, "min")


# --- on a backbone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", [VGG, RESNET], ids=["vgg", "resnet"])
def test_sizes_of_what_comes_out(backbone):
    net = attention_net(backbone, 4).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert net.scores(x).shape == (2, 4, 8, 8)
        assert net.class_maps(x).shape == (2, 3, 8, 8)
        assert net(x).shape == (2, 3)
        assert torch.allclose(net(x), net.class_maps(x).mean((2, 3)), atol=1e-6)


@pytest.mark.parametrize(("backbone", "layers"), [(VGG, 3), (RESNET, 1)], ids=["vgg", "resnet"])
def test_the_segmentation_head_is_the_sum_of_its_branches(backbone, layers):
    """Behind a VGG each branch has an fc6 and an fc7."""
    net = attention_net(backbone, 3).eval()
    features = torch.randn(1, net.trunk.out_channels, 8, 8)
    first, second = net.head.branches
    assert len(convolutions(first)) == len(convolutions(second)) == layers
    with torch.no_grad():
        assert torch.equal(net.head(features), first(features) + second(features))


def test_new_filters_start_from_a_narrow_gaussian_and_no_bias():
    torch.manual_seed(0)
    net = attention_net(Backbone("resnet", TOY_RESNET_BLOCKS, aspp=(1, 2, 3, 4)), 21)
    for layer in (net.attention, *net.head.branches):
        assert float(layer.weight.detach().std()) == pytest.approx(0.01, rel=0.15)
        assert not layer.bias.any()
    assert net.attention.weight.shape == (20, 21, 1, 1)
    assert [branch.dilation for branch in net.head.branches] == [(1, 1), (2, 2), (3, 3), (4, 4)]
