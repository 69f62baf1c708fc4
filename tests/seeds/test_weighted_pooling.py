"""Weighted pooling, the size penalty and the soft margin: equations by hand and pixel by pixel."""

import math
from functools import partial

import pytest
import torch

from wsss_lab.errors import ParameterError
from wsss_lab.seeds.weighted_pooling import class_scores, masks_of, size_penalty, soft_margin_loss, weighted_pooling


def doubles(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def shares(*shape, seed=1):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pooled_literally(scores, masks, epsilon):
    """Eq. (3) as it is printed, pixel by pixel."""
    result = torch.empty(scores.shape[:2], dtype=scores.dtype)
    for image in range(scores.shape[0]):
        for label in range(scores.shape[1]):
            above, below = 0.0, epsilon
            for score, mask in zip(scores[image, label].flatten().tolist(), masks[image, label].flatten().tolist()):
                above, below = above + mask * score, below + mask
            result[image, label] = above / below
    return result


def test_masks_are_the_softmax_with_a_constant_background_by_hand():
    """Scores 1 and 1 + log 2 beside the background's 1: shares 1, 1 and 2 of 4."""
    masks = masks_of(torch.tensor([1.0, 1 + math.log(2)]).view(1, 2, 1, 1))
    assert masks.flatten().tolist() == pytest.approx([0.25, 0.25, 0.5])


def test_weighted_pooling_is_eq_3():
    scores, masks = doubles(2, 3, 4, 5), shares(2, 3, 4, 5)
    for epsilon in (0.0, 1.0, 2.5):
        torch.testing.assert_close(weighted_pooling(scores, masks, epsilon), pooled_literally(scores, masks, epsilon))
    assert torch.equal(weighted_pooling(scores, masks), weighted_pooling(scores, masks, 1.0))


def test_an_empty_mask_scores_0_and_without_epsilon_nothing():
    scores, empty = doubles(1, 2, 3, 3), torch.zeros(1, 2, 3, 3, dtype=torch.float64)
    assert weighted_pooling(scores, empty).tolist() == [[0, 0]]
    assert weighted_pooling(scores, empty, 0.0).isnan().all()


@pytest.mark.parametrize(("rule", "bad", "message"), [
    (partial(weighted_pooling, masks=torch.zeros(1, 1, 2, 2)), {"epsilon": -1}, "epsilon=-1"),
    *((size_penalty, each, "size penalty with") for each in ({"power": -1}, {"floor": 0}, {"floor": -0.1}))])
def test_what_means_nothing_is_refused(rule, bad, message):
    with pytest.raises(ParameterError, match=message):
        rule(torch.zeros(1, 1, 2, 2), **bad)


def test_the_penalty_by_hand():
    """A quarter of the pixels, p = 3, lambda = 0.01: (3/4)^3 log 0.26."""
    mask = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64).view(1, 1, 2, 2)
    assert size_penalty(mask).item() == pytest.approx(27 / 64 * math.log(0.26))
    assert size_penalty(mask, 5, 0.1).item() == pytest.approx(0.75**5 * math.log(0.35))
    assert torch.equal(size_penalty(mask), size_penalty(mask, 3, 0.01))


def test_the_penalty_has_a_gradient_for_a_mask_that_fills_the_image():
    mask = torch.ones(1, 1, 3, 3, requires_grad=True)
    size_penalty(mask).backward()
    assert mask.grad.isfinite().all()


def test_class_scores_are_both_terms_of_the_masks_of_the_scores():
    scores = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    exponents = torch.cat([torch.full((2, 1, 4, 4), math.e), scores.exp()], 1)
    masks = (exponents / exponents.sum(1, keepdim=True))[:, 1:]
    pooled, penalty = class_scores(scores, 5, 0.1, 0.5)
    torch.testing.assert_close(pooled, pooled_literally(scores, masks, 0.5))
    torch.testing.assert_close(penalty, (1 - masks.mean((2, 3))) ** 5 * (0.1 + masks.mean((2, 3))).log())


def test_without_penalty_the_second_term_is_0_and_the_first_the_same():
    scores = torch.randn(2, 3, 4, 4)
    pooled, penalty = class_scores(scores, penalty=False)
    assert torch.equal(pooled, class_scores(scores)[0]) and not penalty.any() and class_scores(scores)[1].all()


def test_gradients_flow_through_masks_and_scores():
    scores = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    fixed = masks_of(scores)[:, 1:].detach()
    whole, = torch.autograd.grad(class_scores(scores, penalty=False)[0].sum(), scores)
    through_scores, = torch.autograd.grad(weighted_pooling(scores, fixed).sum(), scores)
    through_masks, = torch.autograd.grad(weighted_pooling(scores.detach(), masks_of(scores)[:, 1:]).sum(), scores)
    assert through_masks.abs().sum() > 0.01
    torch.testing.assert_close(whole, through_scores + through_masks)


def soft_margin_literally(scores, tags):
    """Eq. (6) as it is printed, and the mean over images."""
    losses = []
    for of_image, present in zip(scores.tolist(), tags.tolist()):
        terms = [z * math.log(1 / (1 + math.exp(-y))) + (1 - z) * math.log(math.exp(-y) / (1 + math.exp(-y)))
                 for y, z in zip(of_image, present)]
        losses.append(-sum(terms) / len(terms))
    return sum(losses) / len(losses)


def test_the_soft_margin_is_eq_6():
    scores, tags = 3 * torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), (torch.eye(5)[:4] + 0.0)
    assert soft_margin_loss(scores, tags).item() == pytest.approx(soft_margin_literally(scores, tags), rel=1e-5)


def test_the_soft_margin_stays_finite_for_large_scores():
    loss = soft_margin_loss(torch.tensor([[1000.0, -1000.0]]), torch.tensor([[0.0, 0.0]]))
    assert loss.item() == pytest.approx(500)
