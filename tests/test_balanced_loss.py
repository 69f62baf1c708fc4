"""The self-supervised pixel loss: weights by hand, both averages against pixel loops, gradients."""

import math
from functools import partial

import pytest
import torch

from wsss_lab.errors import ParameterError
from wsss_lab.segmenter.single_stage import IGNORE, balanced_pixel_loss, class_weights

torch.set_num_threads(1)


def some_labels(batch=3, height=4, width=5, classes=3, seed=0):
    """Labels with ignored pixels; one image more labelled than another, the last one not at all."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (batch, height, width), generator=generator)
    ignored = torch.rand(batch, height, width, generator=generator) < torch.linspace(0.1, 0.9, batch)[:, None, None]
    labels[ignored] = IGNORE
    labels[-1] = IGNORE
    return labels


def some_scores(batch=3, classes=3, height=4, width=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(batch, classes, height, width, dtype=torch.float64, generator=generator)


def literally(scores, labels, average):
    """Eqs. (21) to (23) as they are printed, or the mean over all pixels of all images."""
    batch, classes, height, width = scores.shape
    total, above, below = 0.0, 0.0, 0
    for b in range(batch):
        counts = [int((labels[b] == c).sum()) for c in range(classes)]
        labelled, of_image = sum(counts), 0.0
        for i in range(height):
            for j in range(width):
                c = int(labels[b, i, j])
                if c != IGNORE:
                    exponents = [math.exp(y) for y in scores[b, :, i, j].tolist()]
                    q = (labelled - counts[c]) / (1 + labelled)
                    of_image += -q * math.log(exponents[c] / sum(exponents))
        total += of_image
        above, below = above + labelled * of_image, below + labelled
    return total / (batch * height * width) if average == "released" else above / below / (height * width)


# --- weights ---------------------------------------------------------------------------------------------------------


def test_class_weights_by_hand():
    """Counts 3, 1 and 0 of 4 labelled pixels: (4 - 3) / 5, (4 - 1) / 5 and 4 / 5."""
    labels = torch.tensor([[[0, 0, 0], [1, IGNORE, IGNORE]]])
    assert class_weights(labels, 3).flatten().tolist() == pytest.approx([0.2, 0.6, 0.8])


def test_weights_are_those_of_each_image():
    labels = torch.tensor([[[0, 1]], [[1, 1]], [[IGNORE, 0]], [[IGNORE, IGNORE]]])
    expected = torch.tensor([[1 / 3, 1 / 3], [2 / 3, 0], [0, 1 / 2], [0, 0]])
    torch.testing.assert_close(class_weights(labels, 2), expected)


def test_a_single_label_weighs_nothing():
    assert class_weights(torch.full((1, 8, 8), 2), 4)[0, 2] == 0
    assert balanced_pixel_loss(torch.randn(1, 4, 8, 8), torch.full((1, 8, 8), 2)) == 0


def test_a_label_that_is_missing_weighs_most():
    weights = class_weights(some_labels(), 4)[:-1]
    assert torch.equal(weights.argmax(1), torch.full((2,), 3)) and (weights < 1).all()


# --- the loss --------------------------------------------------------------------------------------------------------


def test_the_loss_of_one_image_by_hand():
    """Equal scores: -log of a half at each of three labelled pixels of four, weights 1/4, 1/4 and 2/4."""
    labels = torch.tensor([[[0, 0], [1, IGNORE]]])
    expected = (0.25 + 0.25 + 0.5) * math.log(2) / 4
    for average in ("released", "paper"):
        assert balanced_pixel_loss(torch.zeros(1, 2, 2, 2), labels, average).item() == pytest.approx(expected)


@pytest.mark.parametrize("average", ["released", "paper"])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_a_literal_loop(average, seed):
    scores, labels = some_scores(seed=seed), some_labels(seed=seed)
    assert balanced_pixel_loss(scores, labels, average).item() == pytest.approx(
        literally(scores, labels, average), rel=1e-5)


def test_the_printed_average_prefers_images_with_many_labels():
    """Two images, one with all of its 100 pixels labelled, one with 4: shares 100 / 104 and 4 / 104."""
    scores, labels = some_scores(2, 3, 10, 10), some_labels(3, 10, 10)[:2]
    labels[0] = torch.arange(100).view(10, 10) % 3
    labels[1] = IGNORE
    labels[1, 0, :4] = torch.tensor([0, 1, 2, 1])
    one, two = (balanced_pixel_loss(scores[i:i + 1], labels[i:i + 1]).item() for i in (0, 1))
    assert balanced_pixel_loss(scores, labels, "paper").item() == pytest.approx((100 * one + 4 * two) / 104, rel=1e-5)
    assert balanced_pixel_loss(scores, labels).item() == pytest.approx((one + two) / 2, rel=1e-5)


def test_an_image_without_labels_halves_the_released_average_only():
    scores, labels = some_scores(2, seed=3), some_labels(seed=3)[:2]
    labels[1] = IGNORE
    alone = balanced_pixel_loss(scores[:1], labels[:1])
    torch.testing.assert_close(balanced_pixel_loss(scores, labels), alone / 2)
    torch.testing.assert_close(balanced_pixel_loss(scores, labels, "paper"), alone)


@pytest.mark.parametrize("average", ["released", "paper"])
def test_a_batch_without_labels_gives_0_and_no_gradient(average):
    scores = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = balanced_pixel_loss(scores, torch.full((2, 4, 4), IGNORE), average)
    loss.backward()
    assert loss.item() == 0 and not scores.grad.any()


def test_ignored_pixels_have_no_gradient_and_the_others_have_one():
    scores, labels = some_scores(2).requires_grad_(), some_labels()[:2]
    balanced_pixel_loss(scores, labels).backward()
    assert torch.equal(scores.grad.abs().sum(1) > 0, labels != IGNORE)


@pytest.mark.parametrize("average", ["released", "paper"])
def test_gradients_of_the_loss(average):
    """In single precision inside, hence the wide steps."""
    loss = partial(balanced_pixel_loss, labels=some_labels(), average=average)
    assert torch.autograd.gradcheck(loss, (some_scores().requires_grad_(),), eps=1e-2, atol=1e-4, rtol=1e-2)


def test_another_average_is_refused():
    with pytest.raises(ParameterError, match="average 'mean' is not known") as caught:
        balanced_pixel_loss(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long), "mean")
    assert caught.value.expected == "released or paper"
