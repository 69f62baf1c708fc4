"""PAMR against loops over pixels and neighbours, and what it must and must not do to masks."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from tiny_views import normal

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.refinement import pamr as module
from wsss_lab.refinement.pamr import affinities, pamr, pamr_present, pamr_steps

FEW, MANY = 2, module.SPARSE_PLANES + 1  # planes that are refined by slices, and by sparse matrices


def pictures(batch=2, height=5, width=6, seed=0):
    """Doubles, half of whose pixels repeat one colour, so that some windows are flat."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64)
    images[:, :, : height // 2] = images[:, :, :1, :1]
    return images


def soft_masks(images, planes, seed=1):
    """Masks that sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(images), planes, *images.shape[2:], generator=generator, dtype=images.dtype)
    return (2 * noise).softmax(1)


def clamped(y, x, height, width):
    return min(max(y, 0), height - 1), min(max(x, 0), width - 1)


def literal_weights(image, y, x, dilations, bandwidth):
    """Places of the neighbours of one pixel and their weights, as Eqs. 7 and 8 say it; image: (3, H, W)."""
    ring = [(v, u) for v, u in product((-1, 0, 1), repeat=2) if (v, u) != (0, 0)]
    places = [clamped(y + v * d, x + u * d, *image.shape[1:]) for d in dilations for v, u in ring]
    kernels = [0.0] * len(places)
    for channel in image.tolist():
        values = [channel[v][u] for v, u in places]
        window = values + [channel[y][x]] * len(dilations)
        mean = sum(window) / len(window)
        variance = sum((value - mean) ** 2 for value in window) / (len(window) - 1)
        divisor = 1e-8 + (variance if bandwidth == "paper" else 0.1 * math.sqrt(variance))
        kernels = [kernel - abs(channel[y][x] - value) / divisor / 3 for kernel, value in zip(kernels, values)]
    powers = [math.exp(kernel - max(kernels)) for kernel in kernels]
    return places, [power / sum(powers) for power in powers]


def literal(images, masks, dilations, iterations, bandwidth):
    _, _, height, width = images.shape
    for _ in range(iterations):
        refined = torch.zeros_like(masks)
        for b, y, x in product(range(len(images)), range(height), range(width)):
            places, weights = literal_weights(images[b], y, x, dilations, bandwidth)
            for (v, u), weight in zip(places, weights):
                refined[b, :, y, x] += weight * masks[b, :, v, u]
        masks = refined
    return masks


@pytest.mark.parametrize(("dilations", "bandwidth"), [((1,), "paper"), ((1, 2), "released"), ((2, 1, 9), "paper")])
@pytest.mark.parametrize("planes", [1, FEW, MANY])
def test_pamr_equals_loops_over_pixels_and_neighbours(planes, dilations, bandwidth):
    images = pictures()
    masks = soft_masks(images, planes) if planes > 1 else images[:, :1]
    expected = literal(images, masks, dilations, 2, bandwidth)
    torch.testing.assert_close(pamr(images, masks, dilations, 2, bandwidth), expected, rtol=0, atol=1e-9)
    single = pamr(images.float(), masks.float(), dilations, 2, bandwidth)
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("planes", "way"), [(MANY - 2, "_by_slices"), (MANY - 1, "_by_matrices")])
def test_sparse_matrices_take_over_where_there_are_many_planes(planes, way, monkeypatch):
    images = pictures()
    marked = torch.full((2, planes, 5, 6), 7.0)
    monkeypatch.setattr(module, way, lambda *arguments: marked)
    assert torch.equal(pamr(images, soft_masks(images, planes)), marked)


@pytest.mark.parametrize("planes", [FEW, MANY])
def test_inside_a_training_in_half_precision_it_keeps_its_own(planes):
    images, masks = torch.rand(1, 3, 8, 8), torch.rand(1, planes, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = pamr(images, masks, (1, 2))
    assert found.dtype == torch.float32 and torch.equal(found, pamr(images, masks, (1, 2)))


def test_faint_texture_does_not_underflow():
    """Differences of 1e-4 over a variance of 1e-8: the exponential of such a kernel is 0 for every neighbour."""
    weights = affinities(0.5 + 1e-4 * pictures(1, 20, 30).float(), bandwidth="paper")
    torch.testing.assert_close(weights.sum(1), torch.ones(1, 20, 30))


TAGS = torch.tensor([[1, 0, 0, 1, 0, 0, 0, 1], [0] * 8, [0, 0, 1, 0, 0, 0, 0, 0], [1] * 8], dtype=torch.bool)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [0, 2], [1]])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_present_planes_are_those_of_the_full_refinement_and_the_others_zero(rows, dtype):
    tags, images = TAGS[rows].to(dtype), pictures(len(rows), 11, 8)
    masks = soft_masks(images, 9)
    refined = pamr_present(images, masks, tags, (1, 2, 4), 3, "paper")
    expected = pamr(images, masks, (1, 2, 4), 3, "paper") * F.pad(tags, (1, 0), value=1)[..., None, None]
    torch.testing.assert_close(refined, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("planes", [FEW, MANY])
def test_steps_are_the_masks_after_every_iteration_and_nothing_carries_a_gradient(planes):
    images = pictures().requires_grad_()
    masks = soft_masks(images.detach(), planes).requires_grad_()
    steps = list(pamr_steps(images, masks, (1, 3), 2, "paper"))
    assert len(steps) == 3 and torch.equal(steps[0], masks) and not affinities(images).requires_grad
    for iterations, step in enumerate(steps):
        whole = pamr(images, masks, (1, 3), iterations, "paper")
        torch.testing.assert_close(step, whole)
        present = pamr_present(images, masks, torch.ones(2, planes - 1), iterations=iterations)
        assert not (step.requires_grad or whole.requires_grad or present.requires_grad) and torch.is_grad_enabled()


PICTURES = pictures()
CALLS = {"affinities": lambda images, masks, tags, **options: affinities(images, **options),
         "pamr": lambda images, masks, tags, **options: pamr(images, masks, **options),
         "pamr_steps": lambda images, masks, tags, **options: pamr_steps(images, masks, **options),
         "pamr_present": pamr_present}


@pytest.mark.parametrize(("bad", "error", "said", "calls"), [
    *(({"dilations": each}, ParameterError, "dilations=", CALLS) for each in ((), (1, 0))),
    ({"bandwidth": "variance"}, ParameterError, "'variance'", CALLS),
    ({"iterations": -1}, ParameterError, "iterations=-1", ("pamr", "pamr_steps", "pamr_present")),
    *(({"images": each}, DataError, "PAMR got images", CALLS) for each in (
        torch.rand(3, 5, 6), torch.rand(2, 1, 5, 6), torch.rand(0, 3, 5, 6), torch.zeros(2, 3, 5, 6, dtype=torch.uint8),
        torch.rand(2, 3, 5, 6) - 0.5, 255 * torch.rand(2, 3, 5, 6), torch.full((2, 3, 5, 6), math.nan))),
    *(({"masks": each}, DataError, "PAMR got masks", ("pamr", "pamr_present")) for each in (
        normal(2, 4, 5, 7), normal(2, 4, 6, 6), normal(1, 4, 5, 6), normal(2, 0, 5, 6), normal(2, 5, 6),
        torch.zeros(2, 4, 5, 6))),
    *(({"tags": torch.ones(shape)}, DataError, "PAMR got tags", ["pamr_present"]) for shape in ((2, 4), (1, 3), (3,)))])
def test_what_does_not_fit_is_refused(bad, error, said, calls):
    good = {"images": PICTURES, "masks": soft_masks(PICTURES, 4), "tags": torch.ones(2, 3)}
    for name in calls:
        with pytest.raises(error, match=said):
            CALLS[name](**good | bad)
