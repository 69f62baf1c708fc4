"""Looking at images: probabilities at image size, the maximum and the mean over scales against literal loops."""

import pytest
import torch
import torch.nn.functional as F
from tiny_views import blobs
from torch import nn

from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.errors import ParameterError
from wsss_lab.networks import inference
from wsss_lab.networks.inference import averaged_maps, batches_of, multiscale_maximum, multiscale_mean

SIZES = ((32, 32), (20, 32), (32, 18), (40, 24), (16, 16))
VIEW = blobs(SIZES).train_view()


@pytest.fixture(scope="module")
def net():
    """Three maps at stride 2 that tell left from right."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1)).eval()


@pytest.fixture
def run(net):
    """The maps, and their mean as scores of two classes."""
    def maps_and_scores(images):
        maps = net(images)
        return maps, maps.mean((2, 3))[:, :2]

    return maps_and_scores


def images(count=2, height=24, width=20):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def resized(maps, size):
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def test_batches_hold_every_image_once_and_in_order():
    canvases, boxes = VIEW.canvas(range(5), 32)
    for batch, expected in ((2, [[0, 1], [2, 3], [4]]), (32, [[0, 1, 2, 3, 4]])):
        indices, images, places = zip(*batches_of(VIEW, 32, batch))
        assert list(map(list, indices)) == expected
        assert torch.equal(torch.cat(images), canvases) and torch.equal(torch.cat(places), boxes)


@torch.inference_mode()
def test_probabilities_and_volumes_are_those_of_each_image(net):
    whole, boxes = VIEW.canvas(range(5), 32)
    scores, expected = net(normalise(whole)), multiscale_maximum(net, normalise(whole))
    for index, found in enumerate(inference.label_probabilities(net, VIEW, 32)):
        grown = from_canvas(scores[index], boxes[index], 32, SIZES[index])  # before the softmax, not after it
        torch.testing.assert_close(torch.from_numpy(found), grown.softmax(0), rtol=1e-4, atol=1e-5)
    for index, (position, volume, box) in enumerate(inference.volumes(net, net, VIEW, 32)):
        torch.testing.assert_close(volume, expected[index], rtol=1e-4, atol=1e-5)
        assert position == index and torch.equal(box, boxes[index])


@torch.inference_mode()
def test_the_maximum_is_that_of_the_resized_volumes(net):
    looks, seen = images(2, 32, 40), []

    def run(each):
        seen.append(tuple(each.shape[2:]))
        return net(each)

    found = multiscale_maximum(run, looks)
    assert inference.SCALES == (1.0, 0.75, 0.5) and seen == [(32, 40), (24, 30), (16, 20)]
    each_scale = torch.stack([resized(net(resized(looks, size)), (16, 20)) for size in seen])
    torch.testing.assert_close(found, each_scale.amax(0))
    wins = each_scale.argmax(0).unique(return_counts=True)[1]
    assert len(wins) == 3 and (wins > 10).all()  # each scale has its say
    first, second = (multiscale_maximum(run, looks, scales) for scales in ((0.5, 1.0), (1.0, 0.5)))
    assert torch.equal(first, second) and torch.equal(multiscale_maximum(run, looks, (1.0,)), run(looks))


@pytest.mark.parametrize(("merge", "expected", "scales"), [
    *((multiscale_maximum, "at most 1", scales) for scales in ((), (0.0,), (1.0, -0.5), (1.5, 1.0), (float("nan"),))),
    *((multiscale_mean, "factors above 0", scales) for scales in ((), (1.0, 0.0), (-1.0,)))])
def test_scales_that_mean_nothing_are_refused(merge, expected, scales):
    with pytest.raises(ParameterError, match="scales") as caught:
        merge(lambda x: x, torch.zeros(1, 3, 4, 4), scales)
    assert expected in caught.value.expected


def literally(run, images, scales):
    """Image by image, scale by scale, as it is and mirrored; maps are brought back before the mean."""
    results = []
    for image in images:
        maps, scores = [], []
        for scale in scales:
            scaled = resized(image[None], [round(scale * side) for side in image.shape[1:]])
            for mirror in (False, True):
                found, score = run(scaled.flip(3) if mirror else scaled)
                found = found.flip(3) if mirror else found
                maps.append(resized(found, image.shape[1:])[0])
                scores.append(score[0])
        results.append((torch.stack(maps).mean(0), torch.stack(scores).amax(0)))
    return tuple(torch.stack(each) for each in zip(*results))


@pytest.mark.parametrize("scales", [(1.0,), (0.5,), (1.0, 0.5, 1.5, 2.0)])
@torch.no_grad()
def test_the_mean_is_a_literal_loop(run, scales):
    maps, scores = multiscale_mean(run, images(), scales)
    expected_maps, expected_scores = literally(run, images(), scales)
    torch.testing.assert_close(maps, expected_maps, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores, expected_scores, rtol=1e-4, atol=1e-5)
    assert maps.shape == (2, 3, 24, 20) and scores.shape == (2, 2)


@pytest.mark.parametrize("batch", [1, 2, 32])
def test_averaged_maps_of_a_view_have_the_size_of_its_images(run, batch, monkeypatch):
    monkeypatch.setitem(inference.PIXELS_AT_ONCE, "cpu", batch * 2 * 32**2)
    batches, net = [], nn.Linear(1, 1)
    found = list(averaged_maps(net, lambda x: batches.append(len(x) // 2) or run(x), VIEW, 32, (1.0, 0.5)))
    assert len(found) == 5 and max(batches) == min(batch, 5)
    for index, (maps, scores) in enumerate(found):
        canvas, boxes = VIEW.canvas([index], 32)
        with torch.no_grad():
            expected, expected_scores = literally(run, normalise(canvas), (1.0, 0.5))
        assert maps.shape == (3, *SIZES[index]) and maps.dtype == scores.dtype == torch.float32
        torch.testing.assert_close(maps, from_canvas(expected[0], boxes[0], 32, SIZES[index]), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(scores, expected_scores[0], rtol=1e-3, atol=1e-4)
