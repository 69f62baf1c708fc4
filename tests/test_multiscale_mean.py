"""The mean over scales and mirror images against a literal loop, and class scores at their best."""

import pytest
import torch
import torch.nn.functional as F
from tiny_views import blobs
from torch import nn

from wsss_lab.data.canvas import from_canvas, normalise
from wsss_lab.errors import ParameterError
from wsss_lab.networks import inference
from wsss_lab.networks.inference import averaged_maps, multiscale_mean

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def net():
    """Three maps at stride 2 that tell left from right."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1)).eval()


@pytest.fixture
def run(net):
    def maps_and_scores(images):
        maps = net(images)
        return maps, maps.mean((2, 3))[:, :2]

    return maps_and_scores


def images(count=2, height=24, width=20):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def literally(run, images, scales):
    """Image by image, scale by scale, as it is and mirrored; maps are brought back before the mean."""
    results = []
    for image in images:
        maps, scores = [], []
        for scale in scales:
            size = [round(scale * side) for side in image.shape[1:]]
            resized = F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)
            for mirror in (False, True):
                found, score = run(resized.flip(3) if mirror else resized)
                found = found.flip(3) if mirror else found
                maps.append(F.interpolate(found, size=image.shape[1:], mode="bilinear", align_corners=False)[0])
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


@torch.no_grad()
def test_a_mirrored_image_has_mirrored_maps_and_the_same_scores(run):
    maps, scores = multiscale_mean(run, images(), (1.0, 0.5))
    mirrored, same = multiscale_mean(run, images().flip(3), (1.0, 0.5))
    torch.testing.assert_close(mirrored, maps.flip(3), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(same, scores)
    assert not torch.allclose(run(images().flip(3))[0], run(images())[0].flip(3), atol=1e-2)  # one pass is not


@torch.no_grad()
def test_the_order_of_scales_does_not_matter(run):
    one, other = (multiscale_mean(run, images(), scales) for scales in ((1.0, 0.5, 1.5), (1.5, 1.0, 0.5)))
    for first, second in zip(one, other):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_scores_are_the_largest_of_each_class():
    """Made up: the score is the mean of the image and of its negative, so that each is best somewhere else."""
    seen = []

    def run(each):
        seen.append(tuple(each.shape))
        left = each[:, 0, :, :each.shape[3] // 2].mean((1, 2))
        return each[:, :1], torch.stack([left, -left], 1)

    ramp = torch.linspace(0, 1, 8).expand(1, 3, 8, 8)
    _, scores = multiscale_mean(run, ramp, (1.0, 0.5))
    assert scores.tolist()[0] == pytest.approx([11 / 14, -3 / 14])
    assert seen == [(2, 3, 8, 8), (2, 3, 4, 4)]


@pytest.mark.parametrize("scales", [(), (1.0, 0.0), (-1.0,)])
def test_scales_that_mean_nothing_are_refused(run, scales):
    with pytest.raises(ParameterError, match="scales"):
        multiscale_mean(run, images(), scales)


@pytest.mark.parametrize("batch", [1, 2, 32])
def test_maps_of_a_view_have_the_size_of_its_images(net, run, batch, monkeypatch):
    monkeypatch.setattr(inference, "PIXELS_AT_ONCE", batch * 2 * 32**2)
    batches = []
    view = blobs([(32, 32), (20, 32), (32, 18), (40, 24), (16, 16)]).train_view()
    found = list(averaged_maps(net, lambda x: batches.append(len(x) // 2) or run(x), view, 32, (1.0, 0.5)))
    assert len(found) == 5 and max(batches) == min(batch, 5)
    for index, (maps, scores) in enumerate(found):
        canvas, boxes = view.canvas([index], 32)
        with torch.no_grad():
            expected, expected_scores = literally(run, normalise(canvas), (1.0, 0.5))
        assert maps.shape == (3, *view.size(index)) and maps.dtype == scores.dtype == torch.float32
        torch.testing.assert_close(maps, from_canvas(expected[0], boxes[0], 32, view.size(index)), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(scores, expected_scores[0], rtol=1e-3, atol=1e-4)
