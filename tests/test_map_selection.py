"""Estimated saliency: overlap ratios and Eqs. (1) to (3) by hand and by loops, rows of Table 3, bounds, gradients."""

import json

import pytest
import torch

from wsss_lab.errors import DataError, ParameterError
from wsss_lab.seeds.saliency_supervision import SMALL, Selection, estimated_saliency, overlap_ratio, saliency_loss

torch.set_num_threads(1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_case(batch=3, classes=4, height=6, width=5, seed=0):
    """Softmax maps sharp enough for areas above a half, saliency, and tags of all kinds."""
    draw = generator(seed)
    maps = (4 * torch.randn(batch, classes + 1, height, width, generator=draw)).softmax(1)
    tags = torch.rand(batch, classes, generator=draw) < 0.6
    return maps, torch.rand(batch, height, width, generator=draw), tags.float()


def by_hand():
    """Ten pixels in a row, three classes and the background.

    Class 1 lies on pixels 0 to 4 and class 2 on 5 to 9; pixels 0 to 4 and 5 are salient: ratios 1 and 1/5. Class 3 is
    0.1 everywhere and the background takes the rest.
    """
    first = torch.tensor([0.7] * 5 + [0.1] * 5)
    second = torch.tensor([0.1] * 5 + [0.6] * 5)
    third = torch.full((10,), 0.1)
    maps = torch.stack([first, second, third, 1 - first - second - third])[None, :, None]
    saliency = torch.tensor([0.9] * 6 + [0.2] * 4)[None, None]
    return maps, saliency


# --- overlap ---------------------------------------------------------------------------------------------------------


def square(rows, columns, value=0.9, side=8):
    area = torch.zeros(side, side)
    area[rows, columns] = value
    return area


def test_ratios_of_objects_inside_across_and_outside_of_the_salient_area():
    salient = square(slice(0, 4), slice(0, 8))
    inside, outside = square(slice(1, 3), slice(2, 6)), square(slice(5, 7), slice(0, 3))
    across = square(slice(3, 7), slice(0, 2))
    found = overlap_ratio(torch.stack([inside, across, outside])[None], salient[None])
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.25, 0.0]]), atol=1e-3, rtol=0)
    assert 0.999 < found[0, 0] < 1  # 8 / (8 + 64 * SMALL)
    assert found[0, 0] == pytest.approx(8 / (8 + 64 * 1e-4)) and SMALL == 1e-4


def test_a_map_that_is_nowhere_above_a_half_has_ratio_0():
    found = overlap_ratio(torch.full((1, 1, 4, 4), 0.49), torch.ones(1, 4, 4))
    assert found.tolist() == [[0]]


def test_exactly_a_half_belongs_neither_to_a_map_nor_to_the_salient_area():
    sure, half = torch.ones(1, 1, 2, 2), torch.full((1, 2, 2), 0.5)
    assert overlap_ratio(sure, half).tolist() == [[0]]
    assert overlap_ratio(half[:, None], torch.ones(1, 2, 2)).tolist() == [[0]]
    assert overlap_ratio(sure, half + 1e-6)[0, 0] > 0.99 and overlap_ratio(sure / 2 + 1e-6, sure[0])[0, 0] > 0.99


def test_ratios_are_those_of_each_image_and_class_on_its_own():
    maps, saliency, _ = random_case(batch=4)
    found = overlap_ratio(maps, saliency)
    for image in range(4):
        for row in range(5):
            alone = overlap_ratio(maps[image : image + 1, row : row + 1], saliency[image : image + 1])
            assert found[image, row] == alone[0, 0]
    assert len(found.unique()) > 10


# --- which tags are foreground ---------------------------------------------------------------------------------------


def test_a_tag_above_tau_and_a_tag_below_by_hand():
    maps, saliency = by_hand()
    estimate, chosen = Selection().estimate(maps, saliency, torch.tensor([[1, 1, 0]]))
    assert chosen.tolist() == [[True, False, False]] and chosen.dtype == torch.bool
    # On pixels 0 to 4: M_fg = 0.7, M_bg = 0.1 + 0.1; on the others: M_fg = 0.1, M_bg = 0.6 + 0.2.
    expected = [0.5 * 0.7 + 0.5 * (1 - 0.2)] * 5 + [0.5 * 0.1 + 0.5 * (1 - 0.8)] * 5
    assert estimate.shape == (1, 1, 10) and estimate[0, 0].tolist() == pytest.approx(expected)


def test_the_papers_values_are_the_default():
    assert Selection() == Selection("adaptive", tau=0.4, share=0.5, reserved=())


def test_the_ratio_has_to_exceed_tau():
    maps, saliency = by_hand()
    tags = torch.ones(1, 3)
    ratios = overlap_ratio(maps[:, :-1], saliency)
    for row, ratio in enumerate(ratios[0, :2].tolist()):
        assert not Selection(tau=ratio).foreground(maps[:, :-1], saliency, tags)[0, row]
        assert Selection(tau=ratio - 1e-4).foreground(maps[:, :-1], saliency, tags)[0, row]


def test_with_tau_0_any_overlap_is_enough_and_without_overlap_naive_differs():
    maps, saliency = by_hand()
    tags = torch.ones(1, 3)
    naive = Selection("naive").foreground(maps[:, :-1], saliency, tags)
    assert naive.tolist() == [[True] * 3]
    # Class 3 is nowhere above a half: with the background, even for tau = 0.
    assert Selection(tau=0).foreground(maps[:, :-1], saliency, tags).tolist() == [[True, True, False]]
    saliency[..., 5] = 0
    assert Selection(tau=0).foreground(maps[:, :-1], saliency, tags).tolist() == [[True, False, False]]


def test_with_tau_0_and_overlap_everywhere_adaptive_is_naive():
    maps, _ = by_hand()
    maps, tags = maps[:, [0, 1, 3]], torch.ones(1, 2)
    saliency = torch.full((1, 1, 10), 0.8)
    adaptive, naive = (choice.estimate(maps, saliency, tags) for choice in (Selection(tau=0), Selection("naive")))
    assert torch.equal(adaptive[0], naive[0]) and torch.equal(adaptive[1], naive[1])


def test_with_tau_1_all_tags_go_to_the_background():
    maps, _ = by_hand()
    tags = torch.tensor([[1.0, 0.0, 1.0]])
    estimate, chosen = Selection(tau=1).estimate(maps, torch.ones(1, 1, 10), tags)
    assert not chosen.any()
    background = maps[:, 0] + maps[:, 2] + maps[:, 3]
    torch.testing.assert_close(estimate, 0.5 * (1 - background))


def test_only_tags_are_foreground():
    maps, saliency, _ = random_case()
    for strategy in ("adaptive", "naive", "pre-defined", "none"):
        tags = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]])
        assert not (Selection(strategy, tau=0).foreground(maps[:, :-1], saliency, tags) & (tags == 0)).any()


def test_reserved_classes_are_background_by_hand():
    maps, saliency = by_hand()
    selection = Selection("pre-defined", reserved=(0,))
    estimate, chosen = selection.estimate(maps, saliency, torch.tensor([[1, 1, 0]]))
    assert chosen.tolist() == [[False, True, False]]
    # On pixels 0 to 4: M_fg = 0.1, M_bg = 0.7 + 0.1; on the others: M_fg = 0.6, M_bg = 0.1 + 0.2.
    expected = [0.5 * 0.1 + 0.5 * (1 - 0.8)] * 5 + [0.5 * 0.6 + 0.5 * (1 - 0.3)] * 5
    assert estimate[0, 0].tolist() == pytest.approx(expected)


def test_a_reserved_class_that_is_no_tag_belongs_to_neither_side():
    maps, saliency, _ = random_case()
    tags = torch.tensor([[0.0, 1, 1, 0]] * 3)
    reserved, naive = (choice.estimate(maps, saliency, tags) for choice in (
        Selection("pre-defined", reserved=(0, 3)), Selection("naive")))
    assert torch.equal(reserved[0], naive[0])
    assert torch.equal(Selection("pre-defined").estimate(maps, saliency, tags)[0], naive[0])  # nothing reserved


@pytest.mark.parametrize("tau", [0.0, 0.4, 1.0])
def test_without_selection_the_estimate_is_the_inverted_background_map(tau):
    maps, saliency, tags = random_case()
    for each in (tags, torch.zeros_like(tags), torch.ones_like(tags)):
        estimate, _ = Selection("none", tau=tau, share=0.7).estimate(maps, saliency, each)
        torch.testing.assert_close(estimate, 1 - maps[:, -1])


# --- the estimate ----------------------------------------------------------------------------------------------------


def test_lambda_0_is_the_inverted_background_and_lambda_1_the_foreground():
    maps, saliency = by_hand()
    tags = torch.tensor([[1, 1, 0]])
    inverted, foreground = (Selection(share=share).estimate(maps, saliency, tags)[0][0, 0] for share in (0, 1))
    assert inverted.tolist() == pytest.approx([0.8] * 5 + [0.2] * 5)
    assert foreground.tolist() == pytest.approx([0.7] * 5 + [0.1] * 5)


@pytest.mark.parametrize("seed", range(5))
def test_foreground_and_background_share_what_is_there(seed):
    """M_fg + M_bg is 1 less the maps of absent classes; the estimate stays in [0, 1]."""
    maps, saliency, tags = random_case(batch=8, seed=seed)
    foreground, inverted = (Selection(share=share).estimate(maps, saliency, tags)[0] for share in (1, 0))
    absent = (maps[:, :-1] * (1 - tags)[:, :, None, None]).sum(1)
    torch.testing.assert_close(inverted - foreground, absent, atol=1e-5, rtol=0)
    assert (foreground + (1 - inverted) <= 1 + 1e-6).all()
    for strategy in ("adaptive", "naive", "none"):
        estimate, _ = Selection(strategy, tau=0.2, share=0.3).estimate(maps, saliency, tags)
        assert estimate.min() > -1e-6 and estimate.max() < 1 + 1e-6


def estimate_literally(maps, saliency, tags, tau, share):
    """Eqs. (1) and (2) pixel by pixel."""
    batch, planes, height, width = maps.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    estimate = torch.zeros(batch, height, width, dtype=maps.dtype)
    for image in range(batch):
        is_foreground = []
        for row in range(planes - 1):
            area = [pixel for pixel in pixels if maps[image, row][pixel] > 0.5]
            inside = [pixel for pixel in area if saliency[image][pixel] > 0.5]
            is_foreground.append(bool(area) and len(inside) / len(area) > tau)
        for pixel in pixels:
            foreground, background = 0.0, float(maps[image, -1][pixel])
            for row in range(planes - 1):
                value = float(tags[image, row] * maps[image, row][pixel])
                if is_foreground[row]:
                    foreground += value
                else:
                    background += value
            estimate[image][pixel] = share * foreground + (1 - share) * (1 - background)
    return estimate


@pytest.mark.parametrize(("tau", "share"), [(0.4, 0.5), (0.55, 0.9), (0.5, 0.0)])
def test_estimate_and_loss_are_those_of_the_equations(tau, share):
    maps, saliency, tags = random_case(seed=7)
    expected = estimate_literally(maps, saliency, tags, tau, share)
    found, chosen = Selection(tau=tau, share=share).estimate(maps, saliency, tags)
    assert chosen.any() and (chosen.float() != tags).any()  # tags on either side
    torch.testing.assert_close(found, expected)
    per_image = [sum((float(s) - float(e)) ** 2 for s, e in zip(saliency[i].flatten(), expected[i].flatten())) / 30
                 for i in range(3)]
    assert saliency_loss(saliency, found).item() == pytest.approx(sum(per_image) / 3, rel=1e-5)


def test_the_loss_by_hand():
    saliency, estimate = torch.tensor([[[1.0, 0.0], [0.5, 0.2]]]), torch.tensor([[[0.5, 0.0], [0.6, 0.2]]])
    assert saliency_loss(saliency, estimate).item() == pytest.approx((0.25 + 0.01) / 4)


def test_perfect_maps_have_loss_0():
    """M_fg = M_s and M_bg = 1 - M_s, for any lambda."""
    saliency = (torch.rand(2, 5, 5, generator=generator()) > 0.6).float()
    maps = torch.stack([saliency, torch.zeros_like(saliency), 1 - saliency], 1)
    for share in (0.0, 0.5, 1.0):
        estimate, chosen = Selection(share=share).estimate(maps, saliency, torch.tensor([[1, 0]] * 2))
        assert chosen.tolist() == [[True, False]] * 2
        assert saliency_loss(saliency, estimate) == 0


def test_half_precision_around_the_loss_does_not_reach_the_sums():
    maps, _, tags = random_case()
    chosen = tags.bool() & (torch.arange(4) < 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = estimated_saliency(maps, tags, chosen)
    assert torch.equal(found, estimated_saliency(maps, tags, chosen))


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["adaptive", "naive", "none"])
def test_gradients_of_the_loss_are_right(strategy):
    draw = generator(3)
    scores = (3 * torch.randn(2, 4, 3, 3, generator=draw, dtype=torch.float64)).requires_grad_()
    saliency = torch.rand(2, 3, 3, generator=draw, dtype=torch.float64)
    tags = torch.tensor([[1, 1, 0], [0, 1, 1]])
    assert torch.autograd.gradcheck(
        lambda x: saliency_loss(saliency, Selection(strategy, tau=0.45).estimate(x.softmax(1), saliency, tags)[0]),
        scores)


def test_gradients_of_each_map_by_hand():
    """lambda for maps of the foreground, lambda - 1 for those of the background, 0 for absent classes."""
    maps = torch.rand(1, 4, 1, 2, generator=generator(), requires_grad=True)
    estimated_saliency(maps, torch.tensor([[1, 1, 0]]), torch.tensor([[1, 0, 1]]), 0.7).sum().backward()
    assert maps.grad[0, :, 0, 0].tolist() == pytest.approx([0.7, -0.3, 0.0, -0.3])


def test_no_gradient_goes_through_the_choice_of_tags():
    maps, saliency, tags = random_case()
    maps.requires_grad_()
    assert not overlap_ratio(maps, saliency).requires_grad
    estimate, chosen = Selection().estimate(maps, saliency.requires_grad_(), tags)
    assert not chosen.requires_grad
    estimate.square().sum().backward()
    assert saliency.grad is None and maps.grad.abs().sum() > 0


# --- settings and errors ---------------------------------------------------------------------------------------------


def test_settings_survive_json():
    selection = Selection("pre-defined", 0.3, 0.9, reserved=[4, 7])
    assert selection.reserved == (4, 7)
    assert Selection(**json.loads(json.dumps(selection.settings()))) == selection


def test_another_strategy_is_refused():
    with pytest.raises(ParameterError, match="map selection 'best' is not known") as caught:
        Selection("best")
    assert caught.value.expected == "none, naive, pre-defined, adaptive"


@pytest.mark.parametrize("name", ["tau", "share"])
@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_shares_outside_of_0_to_1_are_refused(name, value):
    with pytest.raises(ParameterError, match=f"{name}={value}"):
        Selection(**{name: value})
    Selection(**{name: 0}), Selection(**{name: 1})


@pytest.mark.parametrize("reserved", [(4,), (0, -1)])
def test_reserved_classes_that_are_not_there_are_refused(reserved):
    maps, saliency, tags = random_case()
    with pytest.raises(ParameterError, match="reserved classes") as caught:
        Selection("pre-defined", reserved=reserved).estimate(maps, saliency, tags)
    assert caught.value.expected == "indices from 0 to 3"


def test_shapes_that_do_not_fit_are_refused():
    maps, saliency, tags = random_case()
    for wrong in ((maps[:, :-1], saliency, tags), (maps, saliency[:, :-1], tags), (maps, saliency[:2], tags),
                  (maps, saliency[:, None], tags), (maps, saliency, tags[0])):
        with pytest.raises(DataError, match=r"maps \(.*saliency \(.*tags \("):
            Selection().estimate(*wrong)
