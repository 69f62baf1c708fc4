"""Seed maps from back-propagation for a whole view: pass back, smooth, store (Oh et al. 2017, Fig. 3)."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_lab.data.canvas import normalise
from wsss_lab.data.views import TrainView
from wsss_lab.errors import ParameterError
from wsss_lab.networks.inference import device_of, eval_mode

# ---------------------------------------------------------------------------------------------------------------------
# Back-propagation of a class score to the image: vanilla (Simonyan et al. 2014) and guided (Springenberg et al. 2015).


def vanilla_maps(net: nn.Module, images: Tensor, tags: Tensor) -> Tensor:
    r""":math:`\max_{rgb} |\partial s_c / \partial x|` of every (image, tag) pair.

    net: (B, 3, H, W) -> scores (B, C). images: (B, 3, H, W) float, normalised. tags: (B, C) bool, M of them true.
    Returns (M, H, W), not negative, in the order of ``tags.nonzero()``.
    """
    return class_gradients(net, images, tags).abs().amax(1)


def guided_maps(net: nn.Module, images: Tensor, tags: Tensor) -> Tensor:
    """As `vanilla_maps`, with the pseudo-gradient of guided back-propagation (see `guided_relus`)."""
    return class_gradients(net, images, tags, guided=True).abs().amax(1)


def class_gradients(net: nn.Module, images: Tensor, tags: Tensor, guided: bool = False) -> Tensor:
    """(Pseudo-)gradient of each tag's score with respect to its image: (M, 3, H, W), arguments as in `vanilla_maps`.

    An image is repeated for each of its tags, so that one pass forward and back serves all. The net stays as it was.
    """
    rows, classes = tags.nonzero(as_tuple=True)
    repeated = images[rows].detach()
    if len(rows) == 0:
        return repeated
    with torch.enable_grad(), eval_mode(net), guided_relus(net) if guided else nullcontext():
        repeated.requires_grad_(True)
        scores = net(repeated).gather(1, classes[:, None])
        # Images don't mix in evaluation mode, so the sum's gradient holds each image's own one.
        return torch.autograd.grad(scores.sum(), repeated)[0]


@contextmanager
def guided_relus(net: nn.Module) -> Iterator[None]:
    """Inside the block, a ReLU passes a gradient back only where its input *and* the gradient are positive.

    The ReLU's own backward rule tests the input; a hook on its output removes the negative gradients before that.
    """
    def drop_negative_gradient(relu: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient.clamp(min=0))

    handles = [module.register_forward_hook(drop_negative_gradient) for module in net.modules()
               if isinstance(module, (nn.ReLU, nn.ReLU6))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# ---------------------------------------------------------------------------------------------------------------------
# Excitation back-propagation: which activations did a class score come from, as a probability?
#
# A unit of mass starts at one class score and is passed down, each neuron sharing its mass among the neurons
# that excited it, in proportion to activation times positive weight:
#
# .. math:: P_i = a_i \sum_j w^+_{ij} \frac{P_j}{\sum_{i'} a_{i'} w^+_{i'j}}, \qquad w^+ = \max(w, 0)
#
# Biases take no part. Source: Zhang et al. 2016, "Top-down neural attention by excitation backprop", Sec. 3.2.

_PASS = (nn.ReLU, nn.ReLU6, nn.Dropout, nn.Dropout2d, nn.Identity)
_DEAD = 1e-20  # a parent whose excitation is not above this has no exciting child to pass its mass to


def excitation_maps(net: nn.Module, images: Tensor, tags: Tensor, stop_at: int | None = None) -> Tensor:
    """Attention of every (image, tag) pair: the mass at an inner layer, summed over channels.

    net: has ``layers()``, its layers in forward order from the image to the class scores.
    images: (B, 3, H, W) float, normalised. tags: (B, C) bool, M of them true.
    stop_at: index of the layer at whose input the mass is read; None = `deepest_stop`.
    Returns (M, h, w), not negative, in the order of ``tags.nonzero()``; each map sums to 1 where no mass was lost.
    """
    with eval_mode(net):
        return excitation_mass(net.layers(), images, tags, stop_at).sum(1)


@torch.no_grad()
def excitation_mass(layers: Sequence[nn.Module], images: Tensor, tags: Tensor, stop_at: int | None = None) -> Tensor:
    """Mass of every (image, tag) pair at the input of layer `stop_at`: (M, channels, h, w).

    layers: flat, in forward order, in evaluation mode; those from `stop_at` on must be convolutions, max or
    average poolings, ReLUs or dropouts. The last output is (B, C, 1, 1). Arguments as in `excitation_maps`.

    The images run forward once and every layer's denominator is computed once per image; the tags of an image differ
    only in the mass that is passed down. Negative activations (raw scores, a normalised image) count as 0. Mass is lost
    only at a neuron that nothing excites: one fired by its bias alone, or a class without positive evidence.
    """
    stop = deepest_stop(layers) if stop_at is None else stop_at
    inputs, x = [], images
    for index, layer in enumerate(layers):
        if index >= stop:
            inputs.append(x)
        x = layer(x)
    rows, classes = tags.nonzero(as_tuple=True)
    mass = x.new_zeros(len(rows), *x.shape[1:])
    mass[torch.arange(len(rows), device=rows.device), classes] = 1.0
    for layer in reversed(layers[stop:]):
        mass = pass_down(layer, inputs.pop(), mass, rows)
    return mass


def deepest_stop(layers: Sequence[nn.Module]) -> int:
    """How far down mass can go: to the output of the first convolution, or of the last layer without a rule.

    Not to the image: the rule needs activations that are not negative, so that its dark pixels would never get any
    mass. Layers without a rule are, for instance, the residual blocks of a MobileNet.
    """
    without_rule = [index for index, layer in enumerate(layers) if not _has_rule(layer)]
    convolutions = [index for index, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    return max(without_rule or convolutions[:1], default=-1) + 1


def hands_on(layer: nn.Module) -> bool:
    """Whether a layer hands every neuron's mass to the neuron at the same place, as a ReLU does."""
    return isinstance(layer, _PASS)


def _has_rule(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return layer.output_size in (1, (1, 1))
    if isinstance(layer, nn.AvgPool2d):
        return not layer.ceil_mode
    return isinstance(layer, (nn.MaxPool2d, *_PASS))


def pass_down(layer: nn.Module, activation: Tensor, mass: Tensor, rows: Tensor) -> Tensor:
    """Mass at a layer's input (M, c, h, w) from the mass at its output, by the rule at the top of this section.

    layer: one that has a rule, see `excitation_mass`. activation: (B, c, h, w), the layer's input. mass: (M, c', h',
    w'), not negative. rows: (M,) int64, the image of each mass. The winner of a max pooling's window takes all of it.
    """
    if hands_on(layer):
        return mass
    if isinstance(layer, nn.MaxPool2d):
        _, winners = F.max_pool2d(activation, layer.kernel_size, layer.stride, layer.padding, layer.dilation,
                                  layer.ceil_mode, return_indices=True)
        received = mass.new_zeros(len(rows), activation.shape[1], activation[0, 0].numel())
        received.scatter_add_(2, winners[rows].flatten(2), mass.flatten(2))
        return received.unflatten(2, activation.shape[2:])
    activation = activation.clamp(min=0)
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return activation[rows] * _ratio(mass, activation.sum((2, 3), keepdim=True)[rows])
    if isinstance(layer, nn.AvgPool2d):
        # The divisor of the mean cancels out, which leaves a per-channel convolution with ones.
        size, stride, padding = (_pair(each) for each in (layer.kernel_size, layer.stride, layer.padding))
        channels = activation.shape[1]
        weight, geometry = activation.new_ones(channels, 1, *size), (stride, padding, (1, 1), channels)
    else:
        weight, geometry = layer.weight.clamp(min=0), (layer.stride, layer.padding, layer.dilation, layer.groups)
    ratio = _ratio(mass, F.conv2d(activation, weight, None, *geometry)[rows])
    shared = torch.nn.grad.conv2d_input((len(rows), *activation.shape[1:]), weight, ratio, *geometry)
    return shared.mul_(activation[rows])


def _ratio(mass: Tensor, excitation: Tensor) -> Tensor:
    return torch.where(excitation > _DEAD, mass / excitation.clamp(min=_DEAD), 0)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


# ---------------------------------------------------------------------------------------------------------------------
# Smoothed maps of every image.

#: method(net, images (B, 3, H, W), tags (B, C)) -> one map per (image, tag) pair, (M, h, w).
METHODS = {"vanilla": vanilla_maps, "guided": guided_maps, "excitation": excitation_maps}
SIGMA_AT_321 = 8.0  # width of the Gaussian, in pixels of a 321-pixel input; the paper gives none


def backprop_maps(net: nn.Module, view: TrainView, side: int, method: str, sigma: float | None = None,
                  stride: int = 1, batch: int = 16) -> np.ndarray:
    """Smoothed back-propagation maps of all images of a view on the canvas grid.

    method: a key of METHODS. side: canvas side in pixels. sigma: of the Gaussian in canvas pixels, None = 8 px at 321,
    scaled with `side`. stride: the maps are averaged down by it to save space; a smooth map bears sigma / 2.
    Returns float16 (N, C, h, h) with h = ceil(side / stride): each tag's map divided by its maximum, 0 for other
    classes; `wsss_lab.seeds.cam.expand` brings them to image size. Raises ParameterError for an unknown method.
    """
    if method not in METHODS:
        raise ParameterError(f"back-propagation method '{method}' is not known", ", ".join(METHODS))
    sigma = SIGMA_AT_321 * side / 321 if sigma is None else sigma
    device = device_of(net)
    tags = torch.from_numpy(np.array(view.tags, dtype=bool))
    grid = math.ceil(side / stride)
    maps = torch.zeros(*tags.shape, grid, grid, dtype=torch.float16)
    for start in range(0, len(view), batch):
        indices = range(start, min(start + batch, len(view)))
        images, _ = view.canvas(indices, side)
        part = METHODS[method](net, normalise(images.to(device)), tags[start:indices.stop].to(device))
        part = F.interpolate(part[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]
        part = F.adaptive_avg_pool2d(gaussian_smooth(part, sigma), grid)
        peak = part.amax((1, 2), keepdim=True)  # gradients can be too small for float16: scaled before storing
        maps[start:indices.stop][tags[start:indices.stop]] = torch.where(peak > 0, part / peak, 0).half().cpu()
    return maps.numpy()


def gaussian_smooth(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian filter of (M, H, W) maps, borders mirrored; sigma 0 returns the maps.

    It is cut at 4 sigma, or nearer where a map is smaller than the filter.
    """
    if sigma == 0 or len(maps) == 0:
        return maps
    for _ in range(2):
        width = maps.shape[-1]
        radius = min(int(4 * sigma + 0.5), width - 1)
        offsets = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
        kernel = torch.softmax(-0.5 * (offsets / sigma) ** 2, dim=0)
        rows = F.pad(maps.reshape(-1, 1, width), (radius, radius), mode="reflect")
        maps = F.conv1d(rows, kernel[None, None]).reshape(maps.shape).mT
    return maps
