"""AffinityNet: its features layer by layer for every family of trunks, and its training."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_views import BACKBONE as VGG
from tiny_views import blobs

from wsss_lab.data import frames
from wsss_lab.data.canvas import normalise
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import labelled_batches
from wsss_lab.networks.deeplab_v3plus import AffinityNet, v3plus_trunk
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.losses import reduce_labels
from wsss_lab.networks.machine import place
from wsss_lab.networks.trunks import TOY_BLOCKS, TOY_RESNET_BLOCKS
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.refinement.affinity import affinities, affinity_loss, half_disc, pair_labels, train_affinity

FAMILIES = {"wide_resnet": TOY_WIDE_RESNET, "vgg": TOY_BLOCKS, "resnet": TOY_RESNET_BLOCKS, "mobilenet": ()}
SCHEDULE = Schedule(3, 4, policy="constant")


def build(family):
    """A small network whose norms have seen some images, so that they do something in evaluation mode too."""
    torch.manual_seed(0)
    net = AffinityNet(Backbone(family, FAMILIES[family]))
    net.trunk(torch.randn(4, 3, 64, 64) * 2 + 1)
    return net


def literal_levels(family, trunk, x):
    """The three levels, layer by layer."""
    if family == "wide_resnet":
        fifth = trunk.b4(trunk.b3(trunk.b2(trunk.conv1a(x))))
        sixth = trunk.b5(fifth)
        return [F.relu(trunk.b5.bn_branch2a(fifth)), F.relu(trunk.b6.bn_branch2a(sixth)),
                F.relu(trunk.bn6(trunk.b6(sixth)))]
    if family == "resnet":
        second = trunk.layer2(trunk.layer1(trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(x))))))
        third = trunk.layer3(second)
        return [second, third, trunk.layer4(third)]
    # (past the last layer) of each level: conv3 with pool3 and conv4 with pool4; features[6] and features[13].
    first, second = {"vgg": (6, 9), "mobilenet": (7, 14)}[family]
    return [trunk[:first](x), trunk[:second](x), trunk(x)]


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_joined_on_the_grid_of_the_trunks_output(family):
    net, x = build(family).eval(), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        levels = literal_levels(family, net.trunk, x)
        size = levels[-1].shape[-2:]
        reduced = []
        for layer, level in zip(net.reduce, levels):
            factor = level.shape[-1] // size[-1]
            reduced.append(F.elu(layer(F.avg_pool2d(level, factor))))
        expected = F.elu(torch.einsum("oi,bihw->bohw", net.merge.weight[:, :, 0, 0], torch.cat(reduced, 1)))
        torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def labelled():
    return blobs(((32, 32), (24, 32), (32, 20)))


@pytest.fixture(scope="module")
def labels(labelled):
    found = frames.stack(labelled, [labelled.mask(index) for index in range(3)])
    found[:, :4] = 255
    return found


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(5)
    return v3plus_trunk(Backbone.from_settings(VGG)).state_dict()


def train(view, labels, start, schedule=SCHEDULE, seed=0, radius=5):
    return train_affinity(view, labels, start, VGG, schedule.settings(), seed, radius)


def test_the_first_loss_is_that_of_the_labels_on_the_networks_grid(labelled, labels, start):
    history = train(labelled.guarded(), labels, start, replace(SCHEDULE, iterations=1), 3, 3)["history"]
    torch.manual_seed(3)
    net = place(AffinityNet(Backbone.from_settings(VGG)))
    net.trunk.load_state_dict(start)
    draw = labelled_batches(labelled.train_view(), labels, 32, 4, crop_and_jitter)
    _, drawn, pixels, _ = draw(torch.Generator().manual_seed(3))
    features = net(normalise(pixels).to(next(net.parameters()).device))
    pairs = pair_labels(reduce_labels(drawn, (8, 8)), half_disc(3))
    assert features.shape[-2:] == (8, 8) and all(group.any() for group in pairs)
    assert history == [pytest.approx(affinity_loss(affinities(features, half_disc(3)), pairs).item(), rel=1e-4)]
