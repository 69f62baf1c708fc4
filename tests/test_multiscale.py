"""The maximum over scales: by hand, never below the plain output, and what it is given."""

import pytest
import torch
import torch.nn.functional as F
from tiny_views import BACKBONE, blobs
from torch import nn

from wsss_lab.data.canvas import normalise
from wsss_lab.errors import ParameterError
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.heads import attention_net
from wsss_lab.networks.inference import SCALES, multiscale_maximum, volumes

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = attention_net(Backbone.from_settings(BACKBONE), 3).eval()
    nn.init.normal_(net.attention.weight)
    return net


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_scale_1_alone_is_the_plain_output(net, images):
    for run in (net.scores, net.class_maps):
        with torch.inference_mode():
            assert torch.equal(multiscale_maximum(run, images, (1.0,)), run(images))


def test_the_maximum_is_that_of_the_resized_volumes(net, images):
    with torch.inference_mode():
        found = multiscale_maximum(net.class_maps, images)
        each = []
        for side in (32, 24, 16):
            volume = net.class_maps(F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False))
            assert volume.shape[-1] == side // 4
            each.append(F.interpolate(volume, size=(8, 8), mode="bilinear", align_corners=False))
        torch.testing.assert_close(found, torch.stack(each).amax(0))
    wins = torch.stack(each).argmax(0).unique(return_counts=True)[1]
    assert len(wins) == 3 and (wins > 10).all()  # each scale has its say


def test_it_is_never_below_the_plain_output_and_more_scales_never_lower_it(net, images):
    with torch.inference_mode():
        plain = net.scores(images)
        two, three = (multiscale_maximum(net.scores, images, scales) for scales in ((1.0, 0.75), SCALES))
    assert (two >= plain).all() and (three >= two).all() and (three > plain).any()


def test_scales_in_any_order_come_back_on_the_grid_of_the_largest(net, images):
    with torch.inference_mode():
        first, second = (multiscale_maximum(net.scores, images, scales) for scales in ((0.5, 1.0), (1.0, 0.5)))
        smaller = multiscale_maximum(net.scores, images, (0.5, 0.75))
    assert torch.equal(first, second) and first.shape[-2:] == (8, 8)
    assert smaller.shape[-2:] == (6, 6)


def test_each_scale_sees_the_whole_image_at_its_size():
    seen = []

    def run(x):
        seen.append(tuple(x.shape))
        return x.mean(1, keepdim=True)

    multiscale_maximum(run, torch.zeros(2, 3, 20, 30))
    assert seen == [(2, 3, 20, 30), (2, 3, 15, 22), (2, 3, 10, 15)]


def test_the_papers_scales_are_the_default():
    assert SCALES == (1.0, 0.75, 0.5)


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -0.5), (1.5, 1.0), (float("nan"),)])
def test_scales_outside_0_to_1_are_refused(scales):
    with pytest.raises(ParameterError, match="scales") as caught:
        multiscale_maximum(lambda x: x, torch.zeros(1, 3, 4, 4), scales)
    assert "at most 1" in caught.value.expected


def test_volumes_of_a_view_come_one_by_one_with_their_boxes(net):
    view = blobs([(32, 32), (16, 32), (40, 24)]).train_view()
    for batch in (2, 32):
        found = list(volumes(net, net.scores, view, 32, batch=batch))
        assert [index for index, _, _ in found] == [0, 1, 2]
        canvases, boxes = view.canvas(range(3), 32)
        with torch.inference_mode():
            expected = multiscale_maximum(net.scores, normalise(canvases))
        for (_, volume, box), other, place in zip(found, expected, boxes):
            torch.testing.assert_close(volume, other, rtol=1e-4, atol=1e-5)
            assert tuple(int(each) for each in box) == tuple(place.tolist())
        assert [tuple(int(each) for each in box) for _, _, box in found][1:] == [(8, 0, 16, 32), (0, 6, 32, 19)]
