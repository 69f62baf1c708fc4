import numpy as np
import pytest
import torch

from wsss_lab.errors import DataError
from wsss_lab.refinement.constrain_to_boundary import boundary_loss, crf_targets
from wsss_lab.refinement.dense_crf import V1, CrfParameters, refine_probabilities


def batch(size=2, classes=4, grid=8, stride=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, classes, grid, grid, generator=generator)
    images = torch.randint(0, 256, (size, 3, grid, grid), dtype=torch.uint8, generator=generator)
    return logits, images.repeat_interleave(stride, 2).repeat_interleave(stride, 3)


def test_loss_by_hand():
    # position 1: Q = (1, 0), f = (1/2, 1/2) -> log 2;  position 2: Q = (1/4, 3/4), f = (1/2, 1/2)
    log_f = torch.full((1, 2, 1, 2), 0.5, dtype=torch.float64).log()
    q = torch.tensor([[1.0, 0.25], [0.0, 0.75]], dtype=torch.float64).view(1, 2, 1, 2)
    second = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    assert boundary_loss(log_f, q).item() == pytest.approx((np.log(2) + second) / 2)


def test_no_gradient_flows_into_the_targets():
    logits, images = batch()
    logits.requires_grad_()
    probabilities = torch.softmax(logits, 1)
    targets = crf_targets(probabilities, images, V1)
    assert not targets.requires_grad
    boundary_loss(torch.log(probabilities), targets).backward()
    torch.testing.assert_close(logits.grad, ((torch.softmax(logits, 1) - targets) / (2 * 64)).detach())
    loose = targets.clone().requires_grad_()
    assert not boundary_loss(torch.log(probabilities.detach()), loose).requires_grad


def test_targets_are_the_crf_on_the_grid_with_widths_divided_by_the_stride():
    logits, images = batch(stride=4)
    probabilities = torch.softmax(logits, 1)
    targets = crf_targets(probabilities, images, V1)
    for i in range(2):
        small = np.ascontiguousarray(images[i, :, ::4, ::4].permute(1, 2, 0).numpy())
        by_hand = refine_probabilities(small, probabilities[i].numpy(), V1.scaled(1 / 4))
        np.testing.assert_allclose(targets[i].numpy(), by_hand, atol=1e-6)


def test_images_shrink_to_the_nearest_level_of_their_mean():
    """Every other cell is 1/4 or 3/4 of a level lighter than the rest, for a CRF to which one level matters."""
    logits, images = batch(stride=2)
    images = torch.full_like(images, 100)
    lighter = torch.tensor([[0, 1], [1, 0]], dtype=torch.uint8).repeat_interleave(2, 0).repeat_interleave(2, 1)

    def targets(*pixels):
        light = images + lighter.repeat(4, 4) * torch.tensor(pixels, dtype=torch.uint8).view(2, 2).repeat(8, 8)
        return crf_targets(torch.softmax(logits, 1), light, CrfParameters(5, 8, 1, 0, 1))

    assert torch.equal(targets(0, 1, 1, 1), targets(1, 1, 1, 1))
    assert torch.equal(targets(0, 1, 0, 0), targets(0, 0, 0, 0))
    assert not torch.allclose(targets(1, 1, 1, 1), targets(0, 0, 0, 0), atol=0.01)


def test_tags_keep_background_and_present_classes_only():
    logits, images = batch()
    tags = torch.tensor([[False, True, False], [False, False, False]])
    targets = crf_targets(torch.softmax(logits, 1), images, V1, tags=tags)
    assert (targets[0, [1, 3]] == 0).all() and (targets[0, [0, 2]].sum(0) - 1).abs().max() < 1e-5
    assert (targets[1, 0] == 1).all(), "no tag: all background"
    assert torch.isfinite(boundary_loss(torch.log_softmax(logits, 1), targets))


def test_bad_input_is_named():
    logits, images = batch()
    with pytest.raises(DataError, match="torch.float32"):
        crf_targets(torch.softmax(logits, 1), images.float(), V1)
    with pytest.raises(DataError, match=r"tags of shape \(2, 4\)"):
        crf_targets(torch.softmax(logits, 1), images, V1, tags=torch.ones(2, 4, dtype=torch.bool))
