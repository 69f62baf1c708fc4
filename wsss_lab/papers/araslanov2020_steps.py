"""Measurements that only Araslanov & Roth 2020 needs."""

import torch
from torch import Tensor, nn

from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.data.views import TrainView
from wsss_lab.networks.backbones import Backbone
from wsss_lab.networks.batches import pixel_batches
from wsss_lab.networks.fit import Schedule, make_optimiser
from wsss_lab.refinement.pamr import affinities
from wsss_lab.seeds.weighted_pooling import masks_of
from wsss_lab.segmenter.single_stage import Losses, Method


def measure_memory(view: TrainView, backbone: dict, schedule: dict, method: dict) -> dict:
    """Memory of one training iteration against that of PAMR inside it (Sec. 3.3's "less than 1 %").

    A training iteration holds weights, gradients and the optimiser's state, and what the backward pass needs. One
    iteration of PAMR adds the new masks of background and tags, and their copy with replicated borders; the weights of
    the neighbours are made once for all iterations.
    Returns bytes: {"training", "pamr_iteration", "pamr_weights"}, for one batch of the schedule.
    """
    backbone, schedule, method = Backbone.from_settings(backbone), Schedule(**schedule), Method(**method)
    torch.manual_seed(0)
    net = method.network(backbone, len(view.classes)).train()
    net.prepare()
    pixels, tags = pixel_batches(view, backbone.side, schedule.batch, crop_and_jitter)(torch.Generator().manual_seed(0))
    pixels, tags = pixels.cpu(), tags.cpu()
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = Losses(method, warm_up=0)(net, pixels, tags)
    held |= {weight.data_ptr(): _bytes(weight) for weight in net.parameters()}  # activations among them count once
    optimiser = make_optimiser(net, schedule)
    loss.backward()  # frees activations, whose places others may take
    optimiser.step()
    state = [value for values in optimiser.state.values() for value in values.values() if isinstance(value, Tensor)]
    gradients = [weight.grad for weight in net.parameters() if weight.grad is not None]
    total = sum(held.values()) + sum(map(_bytes, [*gradients, *state]))
    return {"training": total, **_pamr_bytes(net, pixels, tags, method)}


def _pamr_bytes(net: nn.Module, pixels: Tensor, tags: Tensor, method: Method) -> dict[str, int]:
    with torch.no_grad():
        height, width = masks_of(net(pixels.float() / 255)).shape[-2:]
        small = torch.nn.functional.interpolate(pixels.float() / 255, size=(height, width), mode="bilinear")
        weights = affinities(small, method.dilations, method.bandwidth)
    planes = len(tags) * (1 + int(tags.sum(1).max()))
    border = 2 * max(method.dilations)
    one_iteration = 4 * planes * (height * width + (height + border) * (width + border))
    return {"pamr_iteration": one_iteration, "pamr_weights": _bytes(weights)}


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
