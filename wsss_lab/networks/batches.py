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

from wsss_lab.data.canvas import augment, label_canvas, normalise, scale_crop
from wsss_lab.data.views import TrainView, every, read_with
from wsss_lab.networks.machine import Machine, resolve_device

# ---------------------------------------------------------------------------------------------------------------------
# Batches drawn ahead of their turn, so that a GPU needn't wait for photographs to be decoded.


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


Change = Callable[[Tensor, Tensor | None, torch.Generator], tuple[Tensor, Tensor | None]]


def skip(change: Change, count: int, generator: torch.Generator) -> Tensor:
    """Draw the random numbers of an augmentation without doing it: it is done later, on the network's device.

    change: its random numbers depend on the number of images alone, neither on their size nor on what they show.
    Returns the generator's state before them, for `changed`.
    """
    state = generator.get_state()
    change(torch.zeros(count, 3, 2, 2, dtype=torch.uint8), None, generator)
    return state


def changed(change: Change, images: Tensor, labels: Tensor | None, state: Tensor) -> tuple[Tensor, Tensor | None]:
    """What the augmentation would have given where its random numbers were skipped."""
    generator = torch.Generator()
    generator.set_state(state)
    return change(images, labels, generator)


@contextmanager
def ahead(next_batch: Callable[[torch.Generator], tuple], generator: torch.Generator, count: int,
          machine: Machine) -> Iterator[Iterator[tuple]]:
    """`count` batches in order, the same ones with and without workers.

    Without workers each is drawn when it is asked for. Otherwise one thread draws them in order, up to `DEPTH` ahead,
    and `machine.workers` others read the images of a batch. These are threads rather than processes because decoding
    releases Python's global lock, nothing is copied between processes, and what a view can't reach stays out of reach.
    Whenever a batch is handed out, `generator` stands where it would stand had the batch been drawn just now.

    next_batch: draws a batch with a generator, and depends on nothing that the training changes. What it raises is
    raised at its batch. At the end of the ``with`` block, also by an error or Ctrl-C, all threads have ended.
    """
    if not machine.workers:
        yield (next_batch(generator) for _ in range(count))
        return
    # A thread begins on the first GPU, whichever the training uses.
    gpu = torch.cuda.current_device() if machine.device.type == "cuda" else None
    with (ThreadPoolExecutor(machine.workers, "wsss-reader") as readers,
          ThreadPoolExecutor(1, "wsss-drawer", _set_up, (readers, gpu)) as drawer):
        try:
            yield _in_turn(drawer, next_batch, generator, count, pin=gpu is not None)
        finally:
            drawer.shutdown(wait=False, cancel_futures=True)


def _set_up(readers: ThreadPoolExecutor, gpu: int | None) -> None:
    read_with(readers)
    if gpu is not None:
        torch.cuda.set_device(gpu)


def _in_turn(drawer: ThreadPoolExecutor, next_batch: Callable[[torch.Generator], tuple], generator: torch.Generator,
             count: int, pin: bool) -> Iterator[tuple]:
    steps = next_batch if isinstance(next_batch, Batches) else Batches(next_batch, lambda *batch: batch)
    own = torch.Generator()  # the given one stays behind, for checkpoints
    own.set_state(generator.get_state())

    def draw() -> tuple[tuple, Tensor]:
        batch = steps.draw(own)
        return _pinned(batch) if pin else batch, own.get_state()

    waiting = deque(drawer.submit(draw) for _ in range(min(DEPTH, count)))
    for number in range(count):
        batch, state = waiting.popleft().result()
        if number + DEPTH < count:
            waiting.append(drawer.submit(draw))
        generator.set_state(state)
        yield steps.finish(*batch)


def _pinned(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """In memory that a GPU copies from while the program goes on; what is on a GPU stays there."""
    return tuple(each if each.is_cuda else each.pin_memory() for each in batch)


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


# ---------------------------------------------------------------------------------------------------------------------
# Batches for trainings that read the colours of their images too: uint8 pixels and tags.


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
