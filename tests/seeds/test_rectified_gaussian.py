"""Modes of the rectified Gaussian: dense solutions, KKT conditions, the collapse of the printed programme."""

import itertools

import pytest
import torch
from tiny_views import normal, uniform

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.seeds import rectified_gaussian
from wsss_lab.seeds.neighbours import normalised, similarity, spread
from wsss_lab.seeds.rectified_gaussian import MODES, eigenvalues, kkt_residual, mode

GRID, COUNT = (4, 5), 20
EYE = torch.eye(COUNT, dtype=torch.float64)


def some_weights(grid=GRID):
    """Similarities of two two-coloured, noisy images."""
    colours = 25 * uniform(2, 3, *grid)
    colours[..., grid[1] // 2 :] += 60
    return similarity(colours)


WEIGHTS, B = some_weights(), uniform(2, 3, *GRID)


def matrix_of(weights):
    """Dense similarity (B, N, N); symmetric, so rows and columns are the same."""
    batch, _, *grid = weights.shape
    units = torch.eye(grid[0] * grid[1], dtype=torch.float64).view(1, -1, *grid)
    return spread(weights, units.expand(batch, -1, -1, -1)).flatten(2)


def printed_d(weights):
    """The symmetric part of D of Eq. 9 from the dense matrix."""
    matrix = matrix_of(weights)
    d = matrix / matrix.sum(2, keepdim=True) - 1
    return (d + d.mT) / 2


def best_by_supports(d, b):
    """Highest value of Eq. 3 for one small problem, by trying every set of active neurons; d (N, N), b (N,)."""
    best, where = 0.0, torch.zeros_like(b)
    for size in range(1, len(b) + 1):
        for chosen in itertools.combinations(range(len(b)), size):
            active = list(chosen)
            p = torch.zeros_like(b)
            p[active] = torch.linalg.solve(-d[active][:, active], b[active])
            found = float(0.5 * p @ d @ p + b @ p)
            if (p >= 0).all() and found > best:
                best, where = found, p
    return where


def test_the_printed_d_has_one_negative_eigenvalue_and_ours_only_negative_ones():
    weights = some_weights((6, 6))
    printed = eigenvalues(weights, "literal")
    assert printed.shape == (2, 36) and ((printed > 0).sum(1) == 35).all()
    torch.testing.assert_close(printed, torch.linalg.eigvalsh(printed_d(weights)))
    ours = eigenvalues(weights, "smooth")
    assert (ours > -1.9).all()
    torch.testing.assert_close(ours[:, -1], torch.full((2,), -0.1, dtype=torch.float64))
    torch.testing.assert_close(eigenvalues(weights, "smooth", 0.5)[:, -1], torch.full((2,), -0.5, dtype=torch.float64))
    with pytest.raises(ParameterError, match="mode 'steps'"):
        eigenvalues(weights, "steps")


def test_a_concave_programme_against_all_sets_of_active_neurons():
    """Four neurons that inhibit and excite each other, two of them silent in the end."""
    root = normal(4, 4, seed=2)
    d = -(root @ root.T + 0.5 * torch.eye(4, dtype=torch.float64))
    b = torch.tensor([1.0, -0.5, 0.8, 0.3], dtype=torch.float64)
    expected = best_by_supports(d, b)
    assert 0 < (expected == 0).sum() < 4

    def interaction(p):
        return (p.flatten(2) @ d).view_as(p)

    eigen = torch.linalg.eigvalsh(-d)
    b = b.view(1, 1, 2, 2)
    for found in (rectified_gaussian.coordinate_ascent(interaction, -d.diagonal().view(1, 1, 2, 2), b),
                  rectified_gaussian.projected_ascent(interaction, b, 0.9 / float(eigen[-1]), 2000)):
        torch.testing.assert_close(found.flatten(), expected, rtol=0, atol=1e-5)
        assert kkt_residual(interaction, b, found).item() < 1.1e-6


def test_the_kkt_residual_by_hand():
    """D = -I, b = (2, -1, 1, 0), p = (2, 0.5, 0, 0): gradients (0, -1.5, 1, 0), of which the third is worst, 1 of 2."""
    b = torch.tensor([2.0, -1.0, 1.0, 0.0]).view(1, 1, 2, 2)
    p = torch.tensor([2.0, 0.5, 0.0, 0.0]).view(1, 1, 2, 2)
    assert kkt_residual(torch.neg, b, p).item() == 0.5
    assert kkt_residual(torch.neg, 8 * b, 8 * p).item() == 0.5
    assert kkt_residual(torch.neg, b, torch.zeros_like(b)).item() == 1
    assert kkt_residual(torch.neg, 0 * b, 0 * b).item() == 0


def test_the_printed_programme_collapses_to_one_neuron():
    """The finding: b / (1 - w) at one position, 0 elsewhere, whatever the map."""
    weights, b = some_weights((7, 7)), 0.2 + uniform(2, 3, 7, 7)
    found = mode(b, weights, "literal")
    assert ((found.maps > 0).sum((2, 3)) == 1).all() and (found.residual < 1e-6).all()
    own = normalised(weights, "rows")[:, 24].flatten(1)
    winners = (b.flatten(2) ** 2 / (1 - own[:, None])).argmax(2)
    assert torch.equal(found.maps.flatten(2).argmax(2), winners)
    expected = (b.flatten(2) / (1 - own[:, None])).gather(2, winners[..., None])[..., 0]
    torch.testing.assert_close(found.maps.sum((2, 3)), expected)


def test_a_cell_unlike_all_others_has_a_bounded_mode():
    colours = torch.zeros(1, 3, 3, 3)
    colours[..., 1, 1] = 1000
    found = mode(torch.ones(1, 1, 3, 3), similarity(colours), "literal")
    assert found.maps[0, 0, 1, 1].item() == pytest.approx(1e6)
    assert (found.maps > 0).sum() == 1 and found.residual.item() < 1e-6


def test_steps_are_projected_gradient_steps_from_b():
    d, p = printed_d(WEIGHTS), B.flatten(2)
    rate = 0.9 / d.abs().sum(2).amax(1)
    for count in range(4):
        torch.testing.assert_close(mode(B, WEIGHTS, "steps", steps=count).maps.flatten(2), p)
        p = (p + rate[:, None, None] * (p @ d + B.flatten(2))).clamp(min=0)


@pytest.mark.parametrize("rho", [0, 0.3, 0.9, 0.99])
def test_smooth_is_the_dense_solution_also_by_the_smoother_and_without_rho_b(rho):
    inverse = torch.linalg.inv(EYE - rho * matrix_of(normalised(WEIGHTS, "symmetric")))
    found = mode(B ** 4, WEIGHTS, rho=rho)
    torch.testing.assert_close(found.maps.flatten(2), (B ** 4).flatten(2) @ inverse, rtol=0, atol=1e-5)
    assert (found.residual < 1e-6).all() and found.residual.shape == (2, 3)
    torch.testing.assert_close(rectified_gaussian.smoother(WEIGHTS, rho), inverse)
    torch.testing.assert_close(mode(B, WEIGHTS, "smooth" if rho == 0 else "none", rho).maps, B)


@pytest.mark.parametrize("how", MODES)
def test_modes_are_not_negative_keep_type_and_scale_with_b_and_are_0_for_a_map_of_zeros(how):
    b = B.float()
    b[0, 1] = 0
    found = mode(b, WEIGHTS.float(), how)
    assert found.maps.dtype == torch.float32 and (found.maps >= 0).all()
    assert not found.maps[0, 1].any() and found.residual[0, 1] == 0 and found.maps[0, 0].any()
    torch.testing.assert_close(mode(1e-4 * b, WEIGHTS.float(), how).maps, 1e-4 * found.maps, rtol=1e-4, atol=1e-10)
    torch.testing.assert_close(mode(b - 0.5, WEIGHTS, how).maps, mode((b - 0.5).clamp(min=0), WEIGHTS, how).maps)


@pytest.mark.parametrize(("bad", "message"), [
    ({"how": "exact"}, "mode 'exact'"), ({"rho": 1}, "rho=1"), ({"rho": -0.1}, "rho=-0.1"),
    ({"how": "steps", "steps": -1}, "steps=-1"),
    *(({"b": uniform(*shape)}, r"b of shape(.|\n)*\(2, M, 4, 5\)")
      for shape in ((2, *GRID), (1, 3, *GRID), (2, 3, 5, 4)))])
def test_what_means_nothing_is_refused(bad, message):
    with pytest.raises((DataError, ParameterError), match=message):
        mode(**{"b": B, "weights": WEIGHTS} | bad)
