"""Heads: their layers and start, the volumes of an attention network by hand."""

import pytest
import torch
from torch import nn

from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import AttentionNet, attention_net, deeplab, gap_net
from wsss_lab.networks.trunks import TOY_BLOCKS, TOY_RESNET_BLOCKS, convolutions

VGG = Backbone("vgg", TOY_BLOCKS, width=16, aspp=(1, 2), dropout=0.0, side=64)
RESNET = Backbone("resnet", TOY_RESNET_BLOCKS, width=8, aspp=(1, 2, 3, 4), dropout=0.0, side=64)


def test_the_roi_window_is_three_by_three():
    """A change two cells away from a position can't reach it through the pooled window and the 1x1 layers."""
    net = gap_net("ROI", VGG, 8).eval()
    features = torch.zeros(1, 64, 7, 7)
    touched = features.clone()
    touched[..., 3, 3] = 9.0
    pool, head = net.trunk[-1], net.head
    moved = (head(pool(touched)) - head(pool(features))).abs().amax(1)[0] > 0
    assert moved[2:5, 2:5].any() and not moved[:2].any() and not moved[5:].any()


@pytest.mark.parametrize(("wrong", "problem"), [
    (lambda: deeplab(VGG, 3, "big"), "head 'big'"), (lambda: attention_net(VGG, 3, "min"), "global pooling 'min'")])
def test_unknown_names_are_refused(wrong, problem):
    with pytest.raises(ParameterError, match=problem):
        wrong()


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


@pytest.mark.parametrize("backbone", [VGG, RESNET], ids=["vgg", "resnet"])
def test_the_segmentation_head_is_the_sum_of_branches_that_start_from_a_narrow_gaussian(backbone):
    """Behind a VGG each branch has an fc6 and an fc7 of its own, which start as in He et al. 2015."""
    torch.manual_seed(0)
    net, x = attention_net(backbone, 21).eval(), torch.randn(2, 3, 64, 64)
    for rate, branch in zip(backbone.aspp, net.head.branches, strict=True):
        *hidden, last = convolutions(branch)
        assert [(layer.kernel_size[0], layer.dilation[0], layer.out_channels) for layer in (*hidden, last)] == (
            [(3, rate, 16), (1, 1, 16), (1, 1, 21)] if backbone == VGG else [(3, rate, 21)])
        for layer, width in ((last, 0.01), (net.attention, 0.01), *((each, (2 / each.weight[0].numel()) ** 0.5)
                                                                    for each in hidden)):
            assert layer.weight.std().item() == pytest.approx(width, rel=0.2) and not layer.bias.any()
    with torch.inference_mode():
        torch.testing.assert_close(net.scores(x), sum(branch(net.trunk(x)) for branch in net.head.branches))
        torch.testing.assert_close(net.class_maps(x), net.attention(net.scores(x)))
