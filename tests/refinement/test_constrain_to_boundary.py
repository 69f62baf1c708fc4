import numpy as np
import pytest
import torch

from wsss_lab.errors import DataError
from wsss_lab.refinement.constrain_to_boundary import boundary_loss, crf_targets
from wsss_lab.refinement.dense_crf import V1, CrfParameters, refine_probabilities


def batch(stride=4):
    """Logits (2, 4, 8, 8), and images of which every cell has one colour."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 8, 8, generator=generator)
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return logits, images.repeat_interleave(stride, 2).repeat_interleave(stride, 3)


LOGITS, IMAGES = batch()


def test_loss_by_hand():
    # position 1: Q = (1, 0), f = (1/2, 1/2) -> log 2;  position 2: Q = (1/4, 3/4), f = (1/2, 1/2)
    log_f = torch.full((1, 2, 1, 2), 0.5, dtype=torch.float64).log()
    q = torch.tensor([[1.0, 0.25], [0.0, 0.75]], dtype=torch.float64).view(1, 2, 1, 2)
    second = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    assert boundary_loss(log_f, q).item() == pytest.approx((np.log(2) + second) / 2)


def test_targets_are_the_crf_on_the_grid_with_widths_divided_by_the_stride_and_carry_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    probabilities = torch.softmax(logits, 1)
    targets = crf_targets(probabilities, IMAGES, V1)
    for image, chances, found in zip(IMAGES, probabilities.detach().numpy(), targets):
        small = np.ascontiguousarray(image[:, ::4, ::4].permute(1, 2, 0).numpy())
        np.testing.assert_allclose(found, refine_probabilities(small, chances, V1.scaled(1 / 4)), atol=1e-6)
    assert not targets.requires_grad
    boundary_loss(torch.log(probabilities), targets.requires_grad_()).backward()
    torch.testing.assert_close(logits.grad, ((probabilities - targets) / (2 * 64)).detach())
    assert targets.grad is None


def test_images_shrink_to_the_nearest_level_of_their_mean():
    """Every other cell is 1/4 or 3/4 of a level lighter than the rest, for a CRF to which one level matters."""
    logits, images = batch(stride=2)
    lighter = torch.tensor([[0, 1], [1, 0]], dtype=torch.uint8).repeat_interleave(2, 0).repeat_interleave(2, 1)

    def targets(*pixels):
        light = lighter.repeat(4, 4) * torch.tensor(pixels, dtype=torch.uint8).view(2, 2).repeat(8, 8)
        return crf_targets(torch.softmax(logits, 1), torch.full_like(images, 100) + light, CrfParameters(5, 8, 1, 0, 1))

    assert torch.equal(targets(0, 1, 1, 1), targets(1, 1, 1, 1))
    assert torch.equal(targets(0, 1, 0, 0), targets(0, 0, 0, 0))
    assert not torch.allclose(targets(1, 1, 1, 1), targets(0, 0, 0, 0), atol=0.01)


def test_tags_keep_background_and_present_classes_only():
    tags = torch.tensor([[False, True, False], [False, False, False]])
    targets = crf_targets(torch.softmax(LOGITS, 1), IMAGES, V1, tags=tags)
    assert (targets[0, [1, 3]] == 0).all() and (targets[0, [0, 2]].sum(0) - 1).abs().max() < 1e-5
    assert (targets[1, 0] == 1).all(), "no tag: all background"
    assert torch.isfinite(boundary_loss(torch.log_softmax(LOGITS, 1), targets))
    for images, wrong, message in ((IMAGES.float(), tags, "torch.float32"),
                                   (IMAGES, tags[:, [0, 0, 0, 0]], r"tags of shape \(2, 4\)")):
        with pytest.raises(DataError, match=message):
            crf_targets(torch.softmax(LOGITS, 1), images, V1, tags=wrong)
