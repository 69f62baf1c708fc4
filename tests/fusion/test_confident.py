"""Pseudo ground truth: the paper's shares of the maximum by hand, all rules against a loop over pixels."""

import pytest
import torch

from wsss_lab.errors import ParameterError
from wsss_lab.fusion.confident import IGNORE, confident_labels


def label(planes, *tags, **options):
    """Labels of the pixels of one image with masks of a single row, and whether the image is kept."""
    labels, kept = confident_labels(torch.tensor(planes)[None, :, None], torch.tensor([tags]), **options)
    assert labels.dtype == torch.int64 and kept.dtype == torch.bool
    return labels[0, 0].tolist(), bool(kept)


def literally(masks, tags, confidence, background_confidence, least):
    """Sec. 3.3, pixel by pixel."""
    batch, planes, height, width = masks.shape
    labels, kept = torch.full((batch, height, width), 255), []
    for image in range(batch):
        present = [0] + [c + 1 for c in range(planes - 1) if tags[image, c]]
        limit = {c: max(least, (confidence if c else background_confidence) * float(masks[image, c].max()))
                 for c in present}
        for y in range(height):
            for x in range(width):
                sure = [c for c in present if float(masks[image, c, y, x]) > limit[c]]
                if len(sure) == 1:
                    labels[image, y, x] = sure[0]
        kept.append(set(present) <= set(labels[image].unique().tolist()))
        if not kept[-1]:
            labels[image] = 255
    return labels, torch.tensor(kept)


def test_classes_need_60_and_background_70_percent_of_their_own_maximum_and_the_least_confidence():
    """Background: above 0.7 * 0.8 = 0.56; the class: above 0.6 * 0.5 = 0.3. 60 % of 0.25 is less than 0.2."""
    masks = [[0.8, 0.57, 0.55, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.29, 0.31, 0.5]]
    assert label(masks, 1) == ([0, 0, IGNORE, IGNORE, 1, 1], True)
    masks = [[0.9, 0.1, 0.1], [0.0, 0.18, 0.25]]
    assert label(masks, 1) == ([0, IGNORE, 1], True) and label(masks, 1, least=0.0) == ([0, 1, 1], True)


@pytest.mark.parametrize("least", [0.0, 0.2, 0.45])
def test_random_masks_are_labelled_as_a_loop_does(least):
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(30, 4, 3, 4, generator=generator).pow(2)
    masks = (masks / masks.sum(1, keepdim=True)).double()
    tags = (torch.rand(30, 3, generator=generator) < 0.6).float()
    found, kept = confident_labels(masks, tags, 0.6, 0.7, least)
    expected, expected_kept = literally(masks, tags, 0.6, 0.7, least)
    assert torch.equal(found, expected) and torch.equal(kept, expected_kept)
    assert 3 < int(kept.sum()) < 30 and set(found.unique().tolist()) == {0, 1, 2, 3, IGNORE}


def test_the_last_of_many_classes_keeps_its_number():
    """Labels up to 254 and the ignored one fit into a byte side by side."""
    masks, tags = torch.zeros(1, 255, 1, 2), torch.zeros(1, 254)
    masks[0, 0, 0, 0] = masks[0, 254, 0, 1] = tags[0, 253] = 1
    assert confident_labels(masks, tags)[0].flatten().tolist() == [0, 254]


@pytest.mark.parametrize("options", [{"confidence": 0.0}, {"confidence": 1.0}, {"background_confidence": 1.2}])
def test_a_share_that_means_nothing_is_refused(options):
    with pytest.raises(ParameterError, match="a confident share of"):
        confident_labels(torch.zeros(1, 2, 1, 1), torch.ones(1, 1), **options)
