"""Batches for trainings that read the colours of their images too: uint8 pixels and tags."""

import torch
from torch import Tensor

from wsss_lab.data.canvas import augment
from wsss_lab.data.views import TrainView
from wsss_lab.networks.device import resolve_device
from wsss_lab.networks.prefetch import Batches, changed, skip


def pixel_batches(view: TrainView, side: int, batch: int, change=augment) -> Batches:
    """A function that draws one augmented batch (uint8 images (B, 3, side, side), tags (B, C)) with a generator.

    change: the augmentation, see wsss_lab.data.canvas.augment. Tags are float32 in {0, 1}.
    """
    device = resolve_device()
    tags = torch.tensor(view.tags, dtype=torch.float32)

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        indices = torch.randint(len(view), (batch,), generator=generator)
        images, _ = view.canvas(indices.numpy(), side)
        return images, tags[indices], skip(change, batch, generator)

    def finish(images: Tensor, tags: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        images, _ = changed(change, images.to(device, non_blocking=True), None, state)
        return images, tags.to(device, non_blocking=True)

    return Batches(draw, finish)
