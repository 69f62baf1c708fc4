r"""Pixel-Adaptive Mask Refinement (PAMR): masks that follow the colours of the image.

Every pixel takes the average of its neighbours' labels, weighted by how alike their colours are, some ten times over:

.. math:: m^t_{:,ij} = \sum_{ln \in N(ij)} \alpha_{ij,ln}\, m^{t-1}_{:,ln}, \qquad
          \alpha_{ij,ln} = \mathrm{softmax}_{ln}\, \bar k(I_{ij}, I_{ln}), \qquad
          k(I_{ij}, I_{ln}) = -\frac{|I_{ij} - I_{ln}|}{\sigma_{ij}^2}

N(ij) are the eight neighbours at each of several dilations, without the pixel itself; borders are replicated. Nothing
here is differentiated through. Source: Araslanov and Roth 2020, Sec. 3.3, Eqs. 7 and 8.
"""

import warnings
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_lab.errors import DataError, ParameterError

BANDWIDTHS = ("released", "paper")
DILATIONS = (1, 2, 4, 8, 12, 24)
ITERATIONS = 10
RING = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))  # (row, column) steps, centre left out
PIXELS_AT_ONCE = 2**17  # of the images refined together on a CPU: the weights of more would leave its caches
SPARSE_PLANES = 6  # on a CPU, from so many planes on, a sparse matrix is worth building; measured
RANGE_SLACK = 1e-3  # resizing and undoing a normalisation leave 0..1 by rounding


@torch.no_grad()
def affinities(images: Tensor, dilations: Sequence[int] = DILATIONS, bandwidth: str = "released") -> Tensor:
    r"""How much each neighbour counts: weights of Eq. 7, not negative and summing to 1 over the neighbours.

    images: float32 or float64 (B, 3, H, W) in [0, 1]. Returns the same dtype (B, 8 * len(dilations), H, W): one
    dilation after the other, in each the 3x3 ring in reading order. With s the unbiased standard deviation of a channel
    over the nine positions of every dilation (the centre counts once per dilation), the absolute difference is divided
    by 1e-8 + 0.1 s for "released" (the released code) and by 1e-8 + s^2 for "paper" (Eq. 8), and then averaged over the
    channels.
    Raises ParameterError for no dilations, one below 1 or an unknown bandwidth, DataError for other images.
    """
    _check(images, images, dilations, ITERATIONS, bandwidth)
    images = images.contiguous()
    around = _neighbours(_pad(images, dilations), *images.shape[2:], dilations)
    rate = _variance(images, around, samples=9 * len(dilations))
    if bandwidth == "released":
        rate.sqrt_().mul_(0.1)
    rate.add_(1e-8).reciprocal_().div_(-images.shape[1])
    weights = images.new_empty(len(images), len(around), *images.shape[2:])
    difference = torch.empty_like(images)
    for neighbour, weight in zip(around, weights.unbind(1)):
        torch.sub(neighbour, images, out=difference)
        torch.sum(difference.abs_().mul_(rate), 1, out=weight)
    weights.sub_(weights.amax(1, keepdim=True)).exp_()  # the softmax in place: this is the largest tensor here
    return weights.div_(weights.sum(1, keepdim=True))


@torch.no_grad()
def pamr(images: Tensor, masks: Tensor, dilations: Sequence[int] = DILATIONS, iterations: int = ITERATIONS,
         bandwidth: str = "released") -> Tensor:
    """Masks after a number of iterations of Eq. 7.

    images: float32 or float64 (B, 3, H, W) in [0, 1]; masks: (B, K, H, W) of the same dtype, size and device, any
    values. Returns (B, K, H, W); each plane is filtered for itself and stays within its own range, so masks that sum
    to 1 over K still do. 0 iterations return the masks. Never carries a gradient.
    Raises ParameterError as `affinities` does and for fewer than 0 iterations, DataError for images and masks that do
    not fit each other.
    """
    _check(images, masks, dilations, iterations, bandwidth)
    if iterations == 0:
        return masks.detach()
    some = len(images)
    if images.device.type == "cpu":
        some = max(1, PIXELS_AT_ONCE // images[0, 0].numel())
    return torch.cat([_iterate(affinities(image, dilations, bandwidth), mask, dilations, iterations)
                      for image, mask in zip(images.split(some), masks.split(some))])


def pamr_steps(images: Tensor, masks: Tensor, dilations: Sequence[int] = DILATIONS, iterations: int = ITERATIONS,
               bandwidth: str = "released") -> Iterator[Tensor]:
    """The masks after 0, 1, ..., `iterations` iterations; arguments and errors are those of `pamr`."""
    _check(images, masks, dilations, iterations, bandwidth)

    def steps(masks: Tensor) -> Iterator[Tensor]:
        yield masks
        weights = affinities(images, dilations, bandwidth)
        for _ in range(iterations):
            masks = _iterate(weights, masks, dilations, 1)
            yield masks

    return steps(masks.detach())


@torch.no_grad()
def pamr_present(images: Tensor, masks: Tensor, tags: Tensor, dilations: Sequence[int] = DILATIONS,
                 iterations: int = ITERATIONS, bandwidth: str = "released") -> Tensor:
    """`pamr` on the background and the classes among an image's tags only; planes of absent classes are 0.

    masks: (B, C + 1, H, W), background first; tags: bool or 0/1 (B, C). Returns (B, C + 1, H, W). As planes do not mix,
    the others come out as if all had been refined, for a fraction of the work.
    Raises as `pamr` does, and DataError for tags of another shape.
    """
    _check(images, masks, dilations, iterations, bandwidth)
    batch, planes = masks.shape[:2]
    if tags.shape != (batch, planes - 1):
        raise DataError(f"PAMR got tags of shape {tuple(tags.shape)} for masks of shape {tuple(masks.shape)}",
                        f"({batch}, {planes - 1}), one per class without the background")
    present = F.pad(tags.to(masks.device).bool(), (1, 0), value=True)
    # Present planes first; images with fewer tags than others fill up with planes of absent classes, emptied below.
    chosen = present.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, : int(present.sum(1).max())]
    index = chosen[..., None, None].expand(-1, -1, *masks.shape[2:])
    refined = pamr(images, masks.gather(1, index), dilations, iterations, bandwidth)
    refined = refined.masked_fill(~present.gather(1, chosen)[..., None, None], 0)
    return torch.zeros_like(masks).scatter_(1, index, refined)


def _pad(planes: Tensor, dilations: Sequence[int]) -> Tensor:
    """Replicated borders as wide as the largest dilation: (B, K, H, W) -> (B, K, H + 2r, W + 2r)."""
    return F.pad(planes, (max(dilations),) * 4, mode="replicate")


def _neighbours(padded: Tensor, height: int, width: int, dilations: Sequence[int]) -> list[Tensor]:
    """Views (B, K, H, W) of a padded tensor, one per neighbour: what lies there, for every pixel at once."""
    reach = max(dilations)
    corners = [(reach + row * dilation, reach + column * dilation) for dilation in dilations for row, column in RING]
    return [padded[..., top : top + height, left : left + width] for top, left in corners]


def _variance(images: Tensor, around: list[Tensor], samples: int) -> Tensor:
    """Unbiased variance (B, 3, H, W) over the neighbours and the centres (one per dilation).

    Sums of differences to the centre, for which the centres add nothing: a flat area gives exactly 0, and no other
    loses digits, as the distance from centre to mean is itself part of the variance.
    """
    total, squares = torch.zeros_like(images), torch.zeros_like(images)
    difference = torch.empty_like(images)
    for neighbour in around:
        torch.sub(neighbour, images, out=difference)
        total.add_(difference)
        squares.addcmul_(difference, difference)
    return squares.addcmul_(total, total, value=-1 / samples).div_(samples - 1).clamp_(min=0)


def _iterate(weights: Tensor, masks: Tensor, dilations: Sequence[int], iterations: int) -> Tensor:
    """Eq. 7, one or more times: weights (B, N, H, W), masks (B, K, H, W) -> (B, K, H, W).

    In full precision also inside a training that is not: autocast would turn the sparse product into one of bf16, which
    torch (2.14.1) does not have on a CPU and ends with an error.
    """
    sparse = masks.device.type == "cpu" and masks.shape[1] >= SPARSE_PLANES
    with torch.autocast(masks.device.type, enabled=False):
        return (_by_matrices if sparse else _by_slices)(weights, masks, dilations, iterations)


def _by_slices(weights: Tensor, masks: Tensor, dilations: Sequence[int], iterations: int) -> Tensor:
    """Add up weighted views of the padded masks: no more memory than the masks take, on any device."""
    padded = _pad(masks.contiguous(), dilations)
    around = _neighbours(padded, *masks.shape[2:], dilations)
    weights_around = weights.unsqueeze(2).unbind(1)  # each (B, 1, H, W)
    refined = torch.empty_like(masks, memory_format=torch.contiguous_format)
    for iteration in range(iterations):
        if iteration:
            padded.copy_(_pad(refined, dilations))
        refined.zero_()
        for weight, neighbour in zip(weights_around, around):
            refined.addcmul_(weight, neighbour)
    return refined


def _by_matrices(weights: Tensor, masks: Tensor, dilations: Sequence[int], iterations: int) -> Tensor:
    """Multiply by a sparse matrix (HW, HW) per image: all planes of a pixel share the reading of its weights."""
    refined = torch.empty_like(masks, memory_format=torch.contiguous_format)
    for matrix, mask, result in zip(_matrices(weights, dilations), masks, refined):
        pixels = mask.flatten(1).T.contiguous()  # (HW, K)
        for _ in range(iterations):
            pixels = matrix @ pixels
        result.copy_(pixels.T.view_as(result))
    return refined


def sparse_matrix(starts: Tensor, columns: Tensor, values: Tensor) -> Tensor:
    """A square CSR matrix. starts, columns: 32-bit integers, as MKL would convert others anew for every product."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts, columns, values, (len(starts) - 1,) * 2, check_invariants=False)


def _matrices(weights: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """CSR matrices whose row holds the weights of a pixel's neighbours; replicated borders repeat a column."""
    _, neighbours, height, width = weights.shape
    steps = torch.tensor([(row * dilation, column * dilation) for dilation in dilations for row, column in RING],
                         dtype=torch.int32)
    row = (torch.arange(height, dtype=torch.int32)[:, None] + steps[:, 0]).clamp_(0, height - 1)
    column = (torch.arange(width, dtype=torch.int32)[:, None] + steps[:, 1]).clamp_(0, width - 1)
    columns = (row[:, None] * width + column).flatten()
    starts = torch.arange(0, len(columns) + 1, neighbours, dtype=torch.int32)
    for of_image in weights:
        yield sparse_matrix(starts, columns, of_image.permute(1, 2, 0).flatten())


def _check(images: Tensor, masks: Tensor, dilations: Sequence[int], iterations: int, bandwidth: str) -> None:
    if len(dilations) == 0 or min(dilations) < 1:
        raise ParameterError(f"dilations={tuple(dilations)} of PAMR", "at least one, each 1 or more",
                             f"the paper uses {DILATIONS}")
    if bandwidth not in BANDWIDTHS:
        raise ParameterError(f"bandwidth '{bandwidth}' of PAMR is not known", " or ".join(BANDWIDTHS))
    if iterations < 0:
        raise ParameterError(f"iterations={iterations} of PAMR", "0 or more", f"the paper uses {ITERATIONS}")
    floats = images.dtype in (torch.float32, torch.float64)
    if not floats or images.ndim != 4 or images.shape[1] != 3 or images.numel() == 0:
        raise DataError(f"PAMR got images of {images.dtype} {tuple(images.shape)}",
                        "float32 or float64 (B, 3, H, W), not empty")
    low, high = images.aminmax()
    if not (low >= -RANGE_SLACK and high <= 1 + RANGE_SLACK):
        raise DataError(f"PAMR got images with values from {low:.3g} to {high:.3g}", "colours in 0..1",
                        "undo the normalisation of the images first")
    batch, _, height, width = images.shape
    if masks.ndim != 4 or masks.shape[1] == 0 or (len(masks), *masks.shape[2:]) != (batch, height, width):
        raise DataError(f"PAMR got masks of shape {tuple(masks.shape)} for images of shape {tuple(images.shape)}",
                        f"({batch}, K, {height}, {width})", "resize the images to the size of the masks first")
    if masks.dtype != images.dtype or masks.device != images.device:
        raise DataError(f"PAMR got masks of {masks.dtype} on {masks.device}",
                        f"{images.dtype} on {images.device}, as the images")
