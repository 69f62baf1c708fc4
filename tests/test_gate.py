"""The stochastic gate and the cue injection: expectation, limits, printed and released forms."""

from functools import partial

import pytest
import torch

from wsss_lab.errors import ParameterError
from wsss_lab.networks.deeplab_v3plus import CueInjection, gate

torch.set_num_threads(1)


def features(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def eq_9(deep, shallow, psi, r):
    """As it is printed, for any r."""
    return (1 - r) * (deep - psi * shallow) / (1 - psi) + r * shallow


# --- the gate --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("psi", [0.1, 0.3, 0.5, 0.7])
def test_the_expected_value_is_the_deep_feature(psi):
    """Monte Carlo over 40000 draws, to five standard errors."""
    torch.manual_seed(0)
    deep, shallow = features(6), features(6, seed=1)
    drawn = gate(deep.expand(40000, 6), shallow.expand(40000, 6), psi, training=True)
    error = (drawn.mean(0) - deep).abs() / (drawn.std(0) / 200)
    assert (error < 5).all() and (drawn.std(0) > 0.01).all()


def test_each_element_is_one_of_both_terms_of_eq_9():
    torch.manual_seed(0)
    deep, shallow = features(2, 3, 50, 50), features(2, 3, 50, 50, seed=1)
    drawn = gate(deep, shallow, 0.3, training=True)
    taken = drawn == shallow
    torch.testing.assert_close(drawn, eq_9(deep, shallow, 0.3, taken.double()))
    assert taken.double().mean().item() == pytest.approx(0.3, abs=0.02)


def test_channels_positions_and_images_are_drawn_on_their_own():
    torch.manual_seed(0)
    deep, shallow = torch.zeros(2, 2, 40, 40), torch.ones(2, 2, 40, 40)
    taken = (gate(deep, shallow, 0.5, training=True) == 1).double().flatten(2).flatten(0, 1)
    correlations = torch.corrcoef(taken)[~torch.eye(4, dtype=torch.bool)]
    assert correlations.abs().max() < 0.1


def test_eq_9_with_the_rate_itself_as_r_cancels_to_the_deep_feature():
    """So the paper's "simply summed" deterministic gate cannot be meant as Eq. (9) with r = psi."""
    deep, shallow = features(4, 5), features(4, 5, seed=1)
    for psi in (0.3, 0.5):
        torch.testing.assert_close(eq_9(deep, shallow, psi, psi), deep)
        assert not torch.allclose(gate(deep, shallow, psi, training=False), deep)


@pytest.mark.parametrize("training", [True, False])
def test_a_rate_of_0_passes_the_deep_features(training):
    deep = features(3, 4)
    assert torch.equal(gate(deep, features(3, 4, seed=1), 0.0, training), deep)


def test_at_inference_both_are_mixed_as_in_eq_10():
    deep, shallow = torch.tensor([1.0, 0.0, -2.0]), torch.tensor([0.0, 10.0, 4.0])
    assert gate(deep, shallow, 0.3, training=False).tolist() == pytest.approx([0.7, 3.0, -0.2])


def test_inference_draws_nothing_and_training_follows_the_global_generator():
    deep, shallow = features(50), features(50, seed=1)
    state = torch.get_rng_state()
    gate(deep, shallow, 0.5, training=False)
    assert torch.equal(torch.get_rng_state(), state)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(gate(deep, shallow, 0.5, training=True))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_gradients_flow_to_both_features():
    def seeded(deep, shallow):
        torch.manual_seed(3)
        return gate(deep, shallow, 0.4, training=True)

    inputs = features(2, 5).requires_grad_(), features(2, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(seeded, inputs)
    assert torch.autograd.gradcheck(partial(gate, psi=0.4, training=False), inputs)


@pytest.mark.parametrize("psi", [-0.1, 1.0, 1.5])
def test_a_rate_that_means_nothing_is_refused(psi):
    with pytest.raises(ParameterError, match="mixing rate psi="):
        gate(torch.zeros(1), torch.zeros(1), psi, training=True)


# --- cue injection ---------------------------------------------------------------------------------------------------


def injection(form, shallow=3, width=4):
    """A module whose last layers change nothing but negative values, and whose cues are easy to read."""
    torch.manual_seed(0)
    module = CueInjection(shallow, width, form).double()
    with torch.no_grad():
        module.last[0].weight.copy_(torch.eye(width)[..., None, None])
    module.last[1].eps = 0.0
    return module.eval()


def cues_literally(module, deep):
    """z and b of every image: the largest rectified value of each channel of the 1x1 convolution."""
    kernel, norm = module.cues[0].weight[:, :, 0, 0], module.cues[1]
    values = torch.einsum("ok,bkhw->bohw", kernel, deep) / (1 + norm.eps) ** 0.5
    cues = values.clamp(min=0).flatten(2).max(2).values[..., None, None]
    return cues[:, :4], cues[:, 4:]


def test_the_printed_form_is_eq_11_with_the_statistics_of_each_image():
    module, shallow, deep = injection("paper"), 3 * features(2, 3, 5, 6) + 2, features(2, 4, 5, 6, seed=1)
    z, b = cues_literally(module, deep)
    projected = torch.einsum("ok,bkhw->bohw", module.project.weight[:, :, 0, 0], shallow)
    mu = projected.mean((2, 3), keepdim=True)
    sigma = (projected - mu).square().mean((2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(module(shallow, deep), (z * (projected - mu) / sigma + b).clamp(min=0), rtol=1e-4,
                               atol=1e-5)
    assert z.min() > 0 or b.min() > 0


def test_the_released_form_normalises_by_batch_and_adds_one_to_the_gain():
    module, shallow, deep = injection("released"), 3 * features(2, 3, 5, 6) + 2, features(2, 4, 5, 6, seed=1)
    z, b = cues_literally(module, deep)
    module.normalise.train()
    projected = torch.einsum("ok,bkhw->bohw", module.project.weight[:, :, 0, 0], shallow)
    mu = projected.mean((0, 2, 3), keepdim=True)
    sigma = (projected - mu).square().mean((0, 2, 3), keepdim=True).sqrt()
    expected = ((1 + z) * (projected - mu) / sigma + b).clamp(min=0)
    torch.testing.assert_close(module(shallow, deep), expected, rtol=1e-4, atol=1e-5)


def test_the_released_form_uses_what_it_learned_of_batches_when_it_is_not_trained():
    """The statistics of Eq. (11) as printed are always those of the image."""
    released, paper = (injection(form) for form in ("released", "paper"))
    shallow, deep = features(1, 3, 5, 6), features(1, 4, 5, 6, seed=1)
    lifted = shallow + 5 * shallow.new_ones(1, 3, 1, 1)
    assert torch.allclose(paper(shallow, deep), paper(lifted, deep))
    assert not torch.allclose(released(shallow, deep), released(lifted, deep))
    assert not list(released.normalise.parameters()) and not list(paper.normalise.parameters())


def test_without_injection_deep_features_are_not_read():
    module, shallow = injection("none"), features(2, 3, 5, 6)
    one, other = (module(shallow, features(2, 4, 5, 6, seed=seed)) for seed in (1, 2))
    assert torch.equal(one, other) and not hasattr(module, "cues")
    assert not torch.allclose(injection("released")(shallow, features(2, 4, 5, 6)),
                              injection("released")(shallow, features(2, 4, 5, 6, seed=1)))


@pytest.mark.parametrize("form", ["released", "paper"])
def test_no_position_of_the_deep_features_is_passed_on(form):
    module, shallow, deep = injection(form), features(1, 3, 5, 6), features(1, 4, 5, 6, seed=1)
    shuffled = deep.flatten(2)[..., torch.randperm(30)].view(deep.shape)
    torch.testing.assert_close(module(shallow, deep), module(shallow, shuffled))


@pytest.mark.parametrize("form", ["released", "paper", "none"])
def test_the_output_has_the_width_of_the_deep_features_and_is_rectified(form):
    out = CueInjection(3, 4, form).train()(torch.randn(2, 3, 5, 6), torch.randn(2, 4, 5, 6))
    assert out.shape == (2, 4, 5, 6) and out.min() == 0 and out.max() > 0


def test_gradients_reach_the_deep_features_through_the_cues():
    shallow, deep = features(1, 3, 4, 4), features(1, 4, 4, 4, seed=1).requires_grad_()
    injection("released")(shallow, deep).sum().backward()
    reached = (deep.grad != 0).any(1).sum().item()
    assert 0 < reached <= 8  # at most the position of each of the eight maxima


def test_another_form_is_refused():
    with pytest.raises(ParameterError, match="cue injection 'film' is not known"):
        CueInjection(3, 4, "film")
