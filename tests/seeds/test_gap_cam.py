"""The CAM baseline: its network, its training, and labels by maps relative to their maximum."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_views import blobs

from wsss_lab.data import frames
from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import tagged_batches
from wsss_lab.networks.deeplab_v3plus import freeze_trunk, v3plus_trunk
from wsss_lab.networks.fit import Schedule
from wsss_lab.networks.inference import multiscale_mean
from wsss_lab.networks.machine import place
from wsss_lab.networks.wide_resnet import TOY_WIDE_RESNET
from wsss_lab.refinement.dense_crf import V1, label_image
from wsss_lab.seeds.gap_cam import cam_maps, cam_net, label_cams, train_cam

SIZES = ((32, 32), (24, 32), (32, 20))
BACKBONE = Backbone("wide_resnet", TOY_WIDE_RESNET, width=16, dropout=0.5, side=32)
SCHEDULE = Schedule(3, 4, policy="constant")


@pytest.fixture(scope="module")
def view():
    return blobs(SIZES)


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(5)
    return v3plus_trunk(BACKBONE).state_dict()


def train(view, start, schedule=SCHEDULE, seed=0):
    return train_cam(view, start, BACKBONE.settings(), schedule.settings(), seed)


@pytest.fixture(scope="module")
def state(view, start):
    """Trained on images and tags alone, but with weights of both signs, so that maps have both signs too."""
    weights = torch.randn(2, 64, 1, 1, generator=torch.Generator().manual_seed(2))
    return train(view.guarded(), start)["state"] | {"classifier.weight": weights - weights.mean(1, keepdim=True)}


@pytest.fixture(scope="module")
def net(state):
    net = cam_net(BACKBONE, 2)
    net.load_state_dict(state)
    return net.eval()


def test_scores_are_a_linear_layer_of_pooled_features(net):
    """Eqs. (1) and (2): no bias, so the score is the mean of the maps."""
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        weights, features = net.classifier.weight[:, :, 0, 0], net.trunk(x)
        torch.testing.assert_close(net(x), F.linear(features.mean((2, 3)), weights))
        torch.testing.assert_close(net.class_maps(x), torch.einsum("ck,bkhw->bchw", weights, features))
        torch.testing.assert_close(net(x), net.class_maps(x).mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert net.classifier.bias is None


def test_the_first_loss_is_the_soft_margin_of_the_tags(view, start):
    """Retraced, dropout and batch from the seed."""
    history = train(view, start, replace(SCHEDULE, iterations=1), 3)["history"]
    torch.manual_seed(3)
    net = place(cam_net(BACKBONE, 2))
    net.trunk.load_state_dict(start)
    torch.manual_seed(3)
    net.train()
    freeze_trunk("wide_resnet", net.trunk)
    images, tags = tagged_batches(view, 32, 4, crop_and_jitter)(torch.Generator().manual_seed(3))
    expected = F.multilabel_soft_margin_loss(net(images), tags)
    assert history == [pytest.approx(expected.item(), rel=1e-5)]


def maps_literally(net, view, index, scales):
    """Rectified maps, averaged over scales and mirror images, cut to the image, then divided by their maximum."""
    canvas, boxes = view.canvas([index], 32)

    def run(images):
        maps = net.class_maps(images)
        return maps.relu(), maps.mean((2, 3))

    with torch.inference_mode():
        mean = multiscale_mean(run, normalise(canvas), scales)[0][0]
    mean = from_canvas(mean, boxes[0], 32, view.size(index)).numpy()
    relative = [plane / plane.max() if tag and plane.max() > 0 else 0 * plane
                for plane, tag in zip(mean, view.tags[index])]
    return np.stack([np.full(view.size(index), 0.1), *relative])


def found_maps(view, state, scales=(1.0, 0.5)):
    return list(cam_maps(view.train_view(), state, BACKBONE.settings(), scales))


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5)])
def test_maps_of_tags_are_relative_to_their_maximum(net, view, state, scales):
    for index, maps in enumerate(found_maps(view, state, scales)):
        assert maps.shape == (3, *SIZES[index])
        np.testing.assert_allclose(maps, maps_literally(net, view, index, scales), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("crf", [None, V1.scaled(0.1)])
def test_labels_are_those_of_the_maps(view, state, crf):
    found = label_cams(view.train_view(), state, BACKBONE.settings(), (1.0, 0.5), crf and asdict(crf))
    for index, maps in enumerate(found_maps(view, state)):
        plain, refined = label_image(view.image(index), maps, crf)
        np.testing.assert_array_equal(frames.rows_of(view, found["masks"])[index], plain)
        np.testing.assert_array_equal(frames.rows_of(view, found["refined"])[index], refined)
        assert set(np.unique(plain)) <= {0, 1 + index % 2}
    assert found["masks"].any() and (found["masks"] == found["refined"]).all() == (crf is None)
