"""Augmentations whose random numbers are drawn with a batch, and which are done later."""

from functools import partial

import pytest
import torch

from wsss_lab.data.canvas import augment, scale_crop
from wsss_lab.data.resized_crop import crop_and_jitter
from wsss_lab.networks.batches import changed, skip
from wsss_lab.seeds.saliency_supervision import scale_and_jitter

CHANGES = [augment, crop_and_jitter, partial(scale_crop, low=0.5, high=1.5),
           partial(scale_and_jitter, scales=(0.6, 1.1))]


@pytest.fixture(params=CHANGES, ids=lambda change: getattr(change, "func", change).__name__)
def change(request):
    return request.param


@pytest.mark.parametrize("size", [(24, 24), (9, 40)])
@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_done_later_is_what_would_have_been_done(change, size, labelled):
    numbers = torch.Generator().manual_seed(0)
    images = torch.randint(256, (5, 3, *size), dtype=torch.uint8, generator=numbers)
    labels = torch.randint(3, (5, *size), dtype=torch.uint8, generator=numbers) if labelled else None
    at_once, later = torch.Generator().manual_seed(7), torch.Generator().manual_seed(7)
    expected, expected_labels = change(images, labels, at_once)
    state = skip(change, len(images), later)
    assert torch.equal(later.get_state(), at_once.get_state())  # the next batch is drawn from the same numbers
    found, found_labels = changed(change, images, labels, state)
    assert torch.equal(found, expected) and not torch.equal(found, images)
    assert found_labels is None if labels is None else torch.equal(found_labels, expected_labels)
