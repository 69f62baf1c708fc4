"""What networks are trained on: batches of images with tags or labels, drawn and augmented with a given generator."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data.canvas import augment, label_canvas, normalise
from wsss_lab.data.scale_crop import scale_crop
from wsss_lab.data.views import TrainView, every
from wsss_lab.networks.device import resolve_device
from wsss_lab.networks.prefetch import Batches, changed, skip


def augmentation(random_scale: Sequence[float] | None):
    """How batches are changed: random scale and crop between two factors, as in the paper, or None: trim and mirror."""
    return augment if random_scale is None else partial(scale_crop, low=random_scale[0], high=random_scale[1])


def tagged_batches(view: TrainView, side: int, batch: int, change=augment) -> Batches:
    """A function that draws one augmented batch (images, tags) of a view with a given generator.

    change: the augmentation, see wsss_lab.data.canvas.augment; it is done on the network's device.
    """
    device = resolve_device()
    tags = torch.tensor(view.tags, dtype=torch.float32)

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        indices = torch.randint(len(view), (batch,), generator=generator)
        images, _ = view.canvas(indices.numpy(), side)
        return images, tags[indices], skip(change, batch, generator)

    def finish(images: Tensor, tags: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        images, _ = changed(change, images.to(device, non_blocking=True), None, state)
        return normalise(images), tags.to(device, non_blocking=True)

    return Batches(draw, finish)


def labelled_batches(view: TrainView, pseudo_masks: np.ndarray, side: int, batch: int, change=augment) -> Batches:
    """A function that draws one augmented batch (normalised images, labels, uint8 images, tags).

    pseudo_masks: (N, Hmax, Wmax) uint8, image i in the top-left corner of row i. change: the augmentation, see
    wsss_lab.data.canvas.augment.
    """
    device = resolve_device()
    tags = torch.tensor(view.tags, dtype=torch.float32)

    def label_of(index: int) -> np.ndarray:
        height, width = view.size(index)
        return label_canvas(np.asarray(pseudo_masks[index, :height, :width]), side)

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        indices = torch.randint(len(view), (batch,), generator=generator)
        images, _ = view.canvas(indices.numpy(), side)
        labels = torch.from_numpy(np.stack(every(label_of, indices.tolist())))
        return images, labels, tags[indices], skip(change, batch, generator)

    def finish(images: Tensor, labels: Tensor, tags: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        images, labels, tags = (each.to(device, non_blocking=True) for each in (images, labels, tags))
        images, labels = changed(change, images, labels, state)
        return normalise(images), labels, images, tags

    return Batches(draw, finish)
