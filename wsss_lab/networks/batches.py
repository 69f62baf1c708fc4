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
from wsss_lab.networks.prefetch import Batches


def augmentation(random_scale: Sequence[float] | None):
    """How batches are changed: random scale and crop between two factors, as in the paper, or None: trim and mirror."""
    return augment if random_scale is None else partial(scale_crop, low=random_scale[0], high=random_scale[1])


def tagged_batches(view: TrainView, side: int, batch: int, change=augment) -> Batches:
    """A function that draws one augmented batch (images, tags) of a view with a given generator.

    change: the augmentation, see wsss_lab.data.canvas.augment.
    """
    device = resolve_device()
    tags = torch.tensor(view.tags, dtype=torch.float32)

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        indices = torch.randint(len(view), (batch,), generator=generator)
        images, _ = view.canvas(indices.numpy(), side)
        images, _ = change(images, None, generator)
        return images, tags[indices]

    def finish(images: Tensor, tags: Tensor) -> tuple[Tensor, Tensor]:
        return normalise(images.to(device, non_blocking=True)), tags.to(device, non_blocking=True)

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

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        indices = torch.randint(len(view), (batch,), generator=generator)
        images, _ = view.canvas(indices.numpy(), side)
        labels = torch.from_numpy(np.stack(every(label_of, indices.tolist())))
        images, labels = change(images, labels, generator)
        return images, labels, tags[indices]

    def finish(images: Tensor, labels: Tensor, tags: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        moved, labels, tags = (each.to(device, non_blocking=True) for each in (images, labels, tags))
        return normalise(moved), labels, images, tags

    return Batches(draw, finish)
