"""Weighted pooling, the size penalty and the soft margin: equations by hand and pixel by pixel."""

import math
from functools import partial

import pytest
import torch
from tiny_views import normal, uniform

from wsss_lab.errors import ParameterError
from wsss_lab.seeds.weighted_pooling import class_scores, masks_of, size_penalty, soft_margin_loss, weighted_pooling

SCORES = normal(2, 3, 4, 5).float()


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


def test_weighted_pooling_is_eq_3_and_an_empty_mask_scores_0_or_without_epsilon_nothing():
    scores, masks = normal(2, 3, 4, 5), uniform(2, 3, 4, 5)
    for epsilon in (0.0, 1.0, 2.5):
        torch.testing.assert_close(weighted_pooling(scores, masks, epsilon), pooled_literally(scores, masks, epsilon))
    assert torch.equal(weighted_pooling(scores, masks), weighted_pooling(scores, masks, 1.0))
    assert not weighted_pooling(scores, 0 * masks).any() and weighted_pooling(scores, 0 * masks, 0.0).isnan().all()


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
    full = torch.ones(1, 1, 3, 3, requires_grad=True)
    size_penalty(full).backward()
    assert full.grad.isfinite().all()


def test_class_scores_are_both_terms_of_the_masks_of_the_scores():
    exponents = torch.cat([torch.full((2, 1, 4, 5), math.e), SCORES.exp()], 1)
    masks = (exponents / exponents.sum(1, keepdim=True))[:, 1:]
    pooled, penalty = class_scores(SCORES, 5, 0.1, 0.5)
    torch.testing.assert_close(pooled, pooled_literally(SCORES, masks, 0.5))
    torch.testing.assert_close(penalty, (1 - masks.mean((2, 3))) ** 5 * (0.1 + masks.mean((2, 3))).log())
    torch.testing.assert_close(class_scores(SCORES), class_scores(SCORES, 3, 0.01, 1.0))
    pooled, penalty = class_scores(SCORES, penalty=False)
    assert torch.equal(pooled, class_scores(SCORES)[0]) and not penalty.any()


def test_gradients_flow_through_masks_and_scores():
    scores = SCORES.clone().requires_grad_()
    whole, through_scores, through_masks = (torch.autograd.grad(each.sum(), scores)[0] for each in (
        class_scores(scores, penalty=False)[0], weighted_pooling(scores, masks_of(scores)[:, 1:].detach()),
        weighted_pooling(scores.detach(), masks_of(scores)[:, 1:])))
    assert through_masks.abs().sum() > 0.01
    torch.testing.assert_close(whole, through_scores + through_masks)


def test_the_soft_margin_is_eq_6():
    """As it is printed, and the mean over images; large scores stay finite."""
    scores, tags = 3 * normal(4, 5).float(), torch.eye(5)[:4]
    terms = [z * math.log(1 / (1 + math.exp(-y))) + (1 - z) * math.log(math.exp(-y) / (1 + math.exp(-y)))
             for y, z in zip(scores.flatten().tolist(), tags.flatten().tolist())]
    assert soft_margin_loss(scores, tags).item() == pytest.approx(-sum(terms) / len(terms), rel=1e-5)
    assert soft_margin_loss(torch.tensor([[1000.0, -1000.0]]), torch.zeros(1, 2)).item() == pytest.approx(500)
