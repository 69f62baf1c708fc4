"""What networks are trained on: batches of images with tags or labels, drawn and augmented with a given generator."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from wsss_lab.data.canvas import augment, draw_variants, label_canvas, normalise, scale_crop, trim_labels
from wsss_lab.data.views import TrainView, every, read_with
from wsss_lab.networks.machine import Machine, resolve_device

DEPTH = 2  # batches that are drawn, or being drawn, while the network works on another


@dataclass(frozen=True)
class Batches:
    """Batches that come about in two steps: a function of a generator, like any that `fit` takes.

    draw: a batch, tensors (B, ...) in main memory, from a generator. finish: the same batch as the loss wants it, on
    its device; called when the batch has its turn, so that no memory of a GPU is held for those drawn ahead.
    """

    draw: Callable[[torch.Generator], tuple[Tensor, ...]]
    finish: Callable[..., tuple[Tensor, ...]]

    def __call__(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """One finished batch."""
        return self.finish(*self.draw(generator))


@contextmanager
def ahead(next_batch: Callable[[torch.Generator], tuple], generator: torch.Generator, count: int,
          machine: Machine) -> Iterator[Iterator[tuple]]:
    """`count` batches in order, the same ones with and without workers.

    Without workers each is drawn when it is asked for. Otherwise, so that a GPU needn't wait for photographs to be
    decoded, one thread draws them in order, up to `DEPTH` ahead, and `machine.workers` others read the images of a
    batch. These are threads rather than processes because decoding releases Python's global lock, nothing is copied
    between processes, and what a view can't reach stays out of reach. Whenever a batch is handed out, `generator`
    stands where it would stand had the batch been drawn just now.

    next_batch: draws a batch with a generator, and depends on nothing that the training changes. What it raises is
    raised at its batch. At the end of the ``with`` block, also by an error or Ctrl-C, all threads have ended.
    """
    if not machine.workers:
        yield (next_batch(generator) for _ in range(count))
        return
    gpu = torch.cuda.current_device() if machine.device.type == "cuda" else None

    def set_up() -> None:
        read_with(readers)
        if gpu is not None:  # a thread begins on the first GPU, whichever the training uses
            torch.cuda.set_device(gpu)

    with (ThreadPoolExecutor(machine.workers, "wsss-reader") as readers,
          ThreadPoolExecutor(1, "wsss-drawer", set_up) as drawer):
        try:
            yield _in_turn(drawer, next_batch, generator, count, pin=gpu is not None)
        finally:
            drawer.shutdown(wait=False, cancel_futures=True)


def _in_turn(drawer: ThreadPoolExecutor, next_batch: Callable[[torch.Generator], tuple], generator: torch.Generator,
             count: int, pin: bool) -> Iterator[tuple]:
    """pin: draw into memory that a GPU copies from while the program goes on; what is on a GPU stays there."""
    steps = next_batch if isinstance(next_batch, Batches) else Batches(next_batch, lambda *batch: batch)
    own = torch.Generator()  # the given one stays behind, for checkpoints
    own.set_state(generator.get_state())

    def draw() -> tuple[tuple, Tensor]:
        batch = steps.draw(own)
        if pin:
            batch = tuple(each if each.is_cuda else each.pin_memory() for each in batch)
        return batch, own.get_state()

    waiting = deque(drawer.submit(draw) for _ in range(min(DEPTH, count)))
    for number in range(count):
        batch, state = waiting.popleft().result()
        if number + DEPTH < count:
            waiting.append(drawer.submit(draw))
        generator.set_state(state)
        yield steps.finish(*batch)


# ---------------------------------------------------------------------------------------------------------------------
# Batches of a view. change: the augmentation, see wsss_lab.data.canvas.augment. It is done on the network's device, so
# its random numbers may depend on the number of images alone, neither on their size nor on what they show.


def augmentation(random_scale: Sequence[float] | None) -> Callable:
    """How batches are changed: random scale and crop between two factors, as in the paper, or None: trim and mirror."""
    return augment if random_scale is None else partial(scale_crop, low=random_scale[0], high=random_scale[1])


def pixel_batches(view: TrainView, side: int, batch: int, change: Callable = augment) -> Batches:
    """Augmented batches (uint8 images (B, 3, side, side), tags (B, C)) of a view; tags are float32 in {0, 1}."""
    return _batches(view, side, batch, change, lambda pixels, tags, _labels: (pixels, tags))


def tagged_batches(view: TrainView, side: int, batch: int, change: Callable = augment,
                   features: np.ndarray | None = None) -> Batches:
    """Augmented batches (normalised images, tags) of a view. features: see `_of_features`."""
    if features is not None:
        return _of_features(view, features, side, batch)
    return _batches(view, side, batch, change, lambda pixels, tags, _labels: (normalise(pixels), tags))


def labelled_batches(view: TrainView, pseudo_masks: np.ndarray, side: int, batch: int,
                     change: Callable = augment, features: np.ndarray | None = None) -> Batches:
    """Augmented batches (normalised images, labels, uint8 images, tags) of a view.

    pseudo_masks: (N, Hmax, Wmax) uint8, image i in the top-left corner of row i. features: see `_of_features`.
    """
    if features is not None:
        return _of_features(view, features, side, batch, pseudo_masks)
    return _batches(view, side, batch, change, lambda pixels, tags, labels: (normalise(pixels), labels, pixels, tags),
                    pseudo_masks)


def _of_features(view: TrainView, features: np.ndarray, side: int, batch: int,
                 pseudo_masks: np.ndarray | None = None) -> Batches:
    """Batches in which what `wsss_lab.networks.mobilenet.frozen_features` has made stands for the images, normalised
    and uint8 alike: (features, tags), or (features, labels, features, tags) with labels trimmed as the images were."""
    trims, flips = draw_variants(len(view), features.shape[1], side)
    all_tags, label_of = torch.tensor(view.tags, dtype=torch.float32), _label_canvases(view, pseudo_masks, side)

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        indices = torch.randint(len(view), (batch,), generator=generator)
        variants = torch.randint(features.shape[1], (batch,), generator=generator)
        drawn = torch.from_numpy(features[indices.numpy(), variants.numpy()]).float()
        if pseudo_masks is None:
            return drawn, all_tags[indices]
        labels = torch.from_numpy(np.stack(every(label_of, indices.tolist())))
        return drawn, trim_labels(labels, trims[indices, variants], flips[indices, variants]), drawn, all_tags[indices]

    return Batches(draw, lambda *drawn: tuple(each.to(resolve_device(), non_blocking=True) for each in drawn))


def _label_canvases(view: TrainView, pseudo_masks: np.ndarray | None, side: int) -> Callable[[int], np.ndarray]:
    """The pseudo-mask of an image, by its number, on the canvas."""
    def label_of(index: int) -> np.ndarray:
        height, width = view.size(index)
        return label_canvas(np.asarray(pseudo_masks[index, :height, :width]), side)

    return label_of


def _batches(view: TrainView, side: int, batch: int, change: Callable, handed_out: Callable[..., tuple[Tensor, ...]],
             pseudo_masks: np.ndarray | None = None) -> Batches:
    device = resolve_device()
    all_tags, label_of = torch.tensor(view.tags, dtype=torch.float32), _label_canvases(view, pseudo_masks, side)

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        indices = torch.randint(len(view), (batch,), generator=generator)
        pixels, _ = view.canvas(indices.numpy(), side)
        labels = () if pseudo_masks is None else (torch.from_numpy(np.stack(every(label_of, indices.tolist()))),)
        state = generator.get_state()
        change(torch.zeros(batch, 3, 2, 2, dtype=torch.uint8), None, generator)  # only draws what `finish` uses
        return state, pixels, all_tags[indices], *labels

    def finish(state: Tensor, pixels: Tensor, tags: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        generator = torch.Generator()
        generator.set_state(state)
        pixels, tags, labels = (each if each is None else each.to(device, non_blocking=True)
                                for each in (pixels, tags, labels))
        pixels, labels = change(pixels, labels, generator)
        return handed_out(pixels, tags, labels)

    return Batches(draw, finish)
